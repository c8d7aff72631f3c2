/* SPDX-License-Identifier: Apache-2.0
 * The read-write lock. The writer is a robust word; a reader is counted in its process's place.
 * Invariant: a reader counts itself first and then looks for a writer, a writer takes the word
 * first and then looks for readers, all in one order (seq_cst): so one of the two sees the other.
 */
#include "ipcx/sync_wait.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "ipcx/alloc.h"
#include "os/sync/word.h"

#define OP "lock"

static ipcx__place *my_place(const ipcx_sync *self)
{
    return &self->memory->places[atomic_load(&self->mine) - 1];
}

/* ---- which threads of this process read; under the latch */

static ipcx__reader *find(const ipcx_sync *self, uintptr_t thread)
{
    for (uint32_t i = 0; i < self->reader_count; i++) {
        if (self->readers[i].thread == thread) {
            return &self->readers[i];
        }
    }
    return NULL;
}

static bool has_room(ipcx_sync *self)
{
    if (self->reader_count == self->reader_room) {
        uint32_t room = self->reader_room != 0 ? 2 * self->reader_room : 4;
        ipcx__reader *more = ipcx_realloc(self->readers, room * sizeof *more);
        if (more == NULL) {
            return false;
        }
        self->readers = more;
        self->reader_room = room;
    }
    return true;
}

static bool forget(ipcx_sync *self, uintptr_t thread)
{
    ipcx__reader *reader = find(self, thread);
    if (reader == NULL) {
        return false;
    }
    *reader = self->readers[--self->reader_count];
    return true;
}

bool ipcx__rwlock_reads(ipcx_sync *self, uintptr_t thread)
{
    bool found;
    ipcx__latch_lock(&self->latch);
    found = find(self, thread) != NULL;
    ipcx__latch_unlock(&self->latch);
    return found;
}

/* ---- readers */

void ipcx__rwlock_left(ipcx_sync *self)
{
    if (atomic_load(&self->memory->word) != 0) {
        (void)atomic_fetch_add(&self->memory->sequence, 1);
        (void)ipcx__futex_wake(&self->memory->sequence, INT_MAX, IPCX__SHARED);
    }
}

static ipcx_status uncount(ipcx_sync *self, ipcx_error *err)
{
    _Atomic uint32_t *share = &my_place(self)->share;
    uint32_t seen = atomic_load(share);
    do {
        if (seen == 0 || seen > IPCX__SYNC_MOST) {
            return ipcx__sync_scribbled(self, err);
        }
    } while (!atomic_compare_exchange_weak(share, &seen, seen - 1));
    ipcx__rwlock_left(self);
    return IPCX_OK;
}

void ipcx__rwlock_forget(ipcx_sync *self, uintptr_t thread)
{
    bool found;
    ipcx__latch_lock(&self->latch);
    found = self->reader_count != 0 && forget(self, thread);
    ipcx__latch_unlock(&self->latch);
    if (found) {
        (void)uncount(self, NULL);
    }
}

/* Counts itself, with the list: AGAIN: there is a writer. */
static ipcx_status try_read(ipcx_sync *self, uintptr_t me, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    ipcx__latch_lock(&self->latch);
    if (!has_room(self)) {
        status = ipcx_error_set(err, IPCX_NOMEM, ENOMEM, OP, "one more reader");
    } else {
        (void)atomic_fetch_add(&my_place(self)->share, 1);
        IPCX_CRASH_POINT("rwlock-counted");
        if ((atomic_load(&self->memory->word) & IPCX__WORD_OWNER) == 0) {
            self->readers[self->reader_count++].thread = me;
        } else {
            status = IPCX_AGAIN;
        }
    }
    ipcx__latch_unlock(&self->latch);
    if (status == IPCX_AGAIN) {
        ipcx_status given = uncount(self, err);
        status = given != IPCX_OK ? given : status;
    }
    return status;
}

static ipcx_status has_already(ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_DEADLOCK, 0, OP, "this thread has it already");
}

static ipcx_status read_slowly(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    _Atomic uint32_t *word = &self->memory->word;
    uintptr_t me = ipcx__thread();
    int64_t begun = ipcx_clock_now();
    bool look = deadline == IPCX_NOW, first = true;
    ipcx_status status = ipcx__sync_join(self, err);
    if (status == IPCX_OK && (atomic_load(&self->owner) == me || ipcx__rwlock_reads(self, me))) {
        return has_already(err);
    }
    while (status == IPCX_OK) {
        uint32_t seen = atomic_load(word), owner = seen & IPCX__WORD_OWNER;
        if (owner == 0) {
            status = try_read(self, me, err);
            if (status != IPCX_AGAIN) {
                return status;
            }
            status = IPCX_OK;
            continue;
        }
        if (owner > IPCX__SYNC_PLACES) {
            return ipcx__sync_scribbled(self, err);
        }
        if (look && ipcx__sync_sweep(self, owner - 1)) {
            continue;
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        if (first && ipcx__sync_elsewhere(self, me)) {
            return has_already(err);
        }
        first = false;
        if ((seen & IPCX__WORD_WAITED) != 0 ||
            atomic_compare_exchange_strong(word, &seen, seen | IPCX__WORD_WAITED)) {
            status =
                ipcx__sync_sleep(self, word, seen | IPCX__WORD_WAITED, begun, deadline, &look, err);
        }
    }
    return status;
}

ipcx_status ipcx_rwlock_read(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_RWLOCK, err);
    if (status == IPCX_OK) {
        status = read_slowly(self, deadline, err);
    }
    return ipcx__sync_leave(self, status, err);
}

/* ---- the writer */

static ipcx_status reads_itself(ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_DEADLOCK, 0, OP, "this thread reads: release that first");
}

/* Has the word; waits until the last reader has gone. */
static ipcx_status wait_for_readers(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    _Atomic uint32_t *sequence = &self->memory->sequence;
    int64_t begun = ipcx_clock_now();
    bool look = deadline == IPCX_NOW, first = true;
    ipcx_status status = IPCX_OK;
    while (status == IPCX_OK) {
        uint32_t seen = atomic_load(sequence), sum;
        if (look) {
            ipcx__sync_sweep_all(self);
        }
        if (!ipcx__sync_sum(self, &sum)) {
            return ipcx__sync_scribbled(self, err);
        }
        if (sum == 0) {
            return IPCX_OK;
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        if (first && ipcx__sync_elsewhere(self, ipcx__thread())) { /* by another handle */
            return reads_itself(err);
        }
        first = false;
        status = ipcx__sync_sleep(self, sequence, seen, begun, deadline, &look, err);
    }
    return status;
}

static ipcx_status write_slowly(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    uint32_t died;
    ipcx_status status;
    if (ipcx__rwlock_reads(self, ipcx__thread())) {
        return reads_itself(err);
    }
    status = ipcx__mutex_lock_slowly(self, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    IPCX_CRASH_POINT("rwlock-word");
    status = wait_for_readers(self, deadline, err);
    if (status != IPCX_OK) { /* as if it had never come: what a dead writer left is still so */
        died = atomic_load(&self->memory->word) & IPCX__WORD_DIED;
        atomic_store(&self->owner, 0);
        (void)ipcx__word_free(&self->memory->word, atomic_load(&self->mine), died, INT_MAX);
    }
    return status;
}

ipcx_status ipcx_rwlock_write(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_RWLOCK, err);
    if (status == IPCX_OK) {
        status = write_slowly(self, deadline, err);
    }
    return ipcx__sync_leave(self, status, err);
}

/* ---- both */

int ipcx_rwlock_has(ipcx_sync *self)
{
    uintptr_t me = ipcx__thread();
    return atomic_load(&self->owner) == me ? 'w' : ipcx__rwlock_reads(self, me) ? 'r' : 0;
}

static ipcx_status unlock_inside(ipcx_sync *self, ipcx_error *err)
{
    uintptr_t me = ipcx__thread();
    bool found;
    if (atomic_load(&self->owner) == me) {
        return ipcx_mutex_unlock(self, err);
    }
    ipcx__latch_lock(&self->latch);
    found = forget(self, me);
    ipcx__latch_unlock(&self->latch);
    return found ? uncount(self, err)
                 : ipcx_error_set(err, IPCX_NOT_OWNER, 0, "unlock",
                                  "this thread neither reads nor writes");
}

ipcx_status ipcx_rwlock_unlock(ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = unlock_inside(self, err);
    return ipcx__sync_leave(self, status, err);
}

uint32_t ipcx_rwlock_readers(const ipcx_sync *self)
{
    uint32_t sum;
    return ipcx__sync_sum(self, &sum) ? sum : 0;
}
