/* SPDX-License-Identifier: Apache-2.0
 * Conditions and events: words that change, and who sleeps until they do. Nobody holds anything in
 * them, so nobody's death matters; a condition's mutex is a mutex.
 * Invariant: a condition's sequence number is read while its mutex is held, so a notification that
 * comes after that changes it. */
#include "ipcx/sync_wait.h"

#include <limits.h>

#include "os/sync/word.h"

/* ---- conditions */

/* In `value`: who waits, above the notifications that they have not taken yet; never more of these,
 * so nobody who comes later finds one. Who is killed while it waits stays counted, until a
 * notification too many, which looks like none. A count that is full is not changed any more. */
#define WAITER 0x10000u
#define OWED 0xffffu
#define FULL 0xffffu

static uint32_t without_one(uint32_t seen)
{
    uint32_t waiters = seen / WAITER, owed = seen & OWED;
    waiters -= waiters != 0 && waiters != FULL;
    return waiters * WAITER + (owed < waiters ? owed : waiters);
}

uint32_t ipcx_cond_begin(ipcx_sync *self)
{
    _Atomic uint32_t *value = &self->memory->value;
    uint32_t sequence = atomic_load(&self->memory->sequence), seen = atomic_load(value);
    while (self->kind == IPCX_CONDITION && seen / WAITER != FULL &&
           !atomic_compare_exchange_weak(value, &seen, seen + WAITER)) {
    }
    return sequence;
}

void ipcx_cond_leave(ipcx_sync *self)
{
    _Atomic uint32_t *value = &self->memory->value;
    uint32_t seen = atomic_load(value);
    while (self->kind == IPCX_CONDITION &&
           !atomic_compare_exchange_weak(value, &seen, without_one(seen))) {
    }
}

/* Takes a notification, and waits no more. */
static bool take_one(ipcx_sync *self)
{
    _Atomic uint32_t *value = &self->memory->value;
    uint32_t seen = atomic_load(value);
    do {
        if ((seen & OWED) == 0) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(value, &seen, without_one(seen - 1)));
    return true;
}

/* A new sequence number: there was a notification, and others may have been faster. */
static ipcx_status wait_from(ipcx_sync *self, uint32_t sequence, ipcx_deadline deadline,
                             ipcx_error *err)
{
    int64_t begun = ipcx_clock_now();
    ipcx_status status = IPCX_OK;
    bool look;
    for (;;) {
        uint32_t now = atomic_load(&self->memory->sequence);
        if (now != sequence && take_one(self)) {
            return IPCX_OK;
        }
        if (status != IPCX_OK) {
            return status;
        }
        sequence = now;
        status = deadline == IPCX_NOW ? IPCX_AGAIN
                                      : ipcx__sync_sleep(self, &self->memory->sequence, sequence,
                                                         begun, deadline, &look, err);
    }
}

ipcx_status ipcx_cond_wait_from(ipcx_sync *self, uint32_t sequence, ipcx_deadline deadline,
                                ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_CONDITION, err);
    if (status == IPCX_OK) {
        status = wait_from(self, sequence, deadline, err);
    }
    return ipcx__sync_leave(self, status, err);
}

ipcx_status ipcx_cond_wait(ipcx_sync *self, ipcx_sync *mutex, ipcx_deadline deadline,
                           ipcx_error *err)
{
    uint32_t sequence = ipcx_cond_begin(self);
    ipcx_status status = ipcx_mutex_unlock(mutex, err), again;
    if (status != IPCX_OK) {
        ipcx_cond_leave(self);
        return status;
    }
    status = ipcx_cond_wait_from(self, sequence, deadline, err);
    if (status != IPCX_OK) {
        ipcx_cond_leave(self);
    }
    do {
        again = ipcx_mutex_lock(mutex, IPCX_FOREVER, err);
    } while (again == IPCX_INTR);
    return again != IPCX_OK ? again : status;
}

/* How many of those who wait are to be woken: at most `n`, and none twice. */
static uint32_t owe(ipcx_sync *self, uint32_t n)
{
    _Atomic uint32_t *value = &self->memory->value;
    uint32_t seen = atomic_load(value), more;
    do {
        uint32_t waiters = seen / WAITER, owed = seen & OWED;
        more = waiters > owed ? waiters - owed : 0;
        more = more < n ? more : n;
    } while (more != 0 && !atomic_compare_exchange_weak(value, &seen, seen + more));
    return more;
}

ipcx_status ipcx_cond_notify(ipcx_sync *self, uint32_t n, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_is_open(self, err);
    uint32_t more;
    if (status == IPCX_OK && (status = ipcx__sync_expect(self, IPCX_CONDITION, err)) == IPCX_OK &&
        (more = owe(self, n)) != 0) {
        (void)atomic_fetch_add(&self->memory->sequence, 1);
        (void)ipcx__futex_wake(&self->memory->sequence, (int)more, IPCX__SHARED);
    }
    return ipcx__sync_whole(self, status, err);
}

/* ---- events */

#define SET 1u
#define WAITED 2u /* somebody sleeps, or did */

static ipcx_status to_event(const ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_is_open(self, err);
    return status == IPCX_OK ? ipcx__sync_expect(self, IPCX_EVENT, err) : status;
}

ipcx_status ipcx_event_set(ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = to_event(self, err);
    if (status == IPCX_OK && (atomic_exchange(&self->memory->value, SET) & WAITED) != 0) {
        (void)ipcx__futex_wake(&self->memory->value, INT_MAX, IPCX__SHARED);
    }
    return ipcx__sync_whole(self, status, err);
}

ipcx_status ipcx_event_clear(ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = to_event(self, err);
    if (status == IPCX_OK) {
        (void)atomic_fetch_and(&self->memory->value, ~SET);
    }
    return ipcx__sync_whole(self, status, err);
}

int ipcx_event_is_set(const ipcx_sync *self)
{
    return (atomic_load(&self->memory->value) & SET) != 0;
}

static ipcx_status wait_event(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    _Atomic uint32_t *value = &self->memory->value;
    int64_t begun = ipcx_clock_now();
    ipcx_status status = IPCX_OK;
    bool look;
    while (status == IPCX_OK) {
        uint32_t seen = atomic_load(value);
        if ((seen & SET) != 0) {
            return IPCX_OK;
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        if ((seen & WAITED) != 0 || atomic_compare_exchange_strong(value, &seen, seen | WAITED)) {
            status = ipcx__sync_sleep(self, value, seen | WAITED, begun, deadline, &look, err);
        }
    }
    return status;
}

ipcx_status ipcx_event_wait(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_EVENT, err);
    if (status == IPCX_OK) {
        status = wait_event(self, deadline, err);
    }
    return ipcx__sync_leave(self, status, err);
}
