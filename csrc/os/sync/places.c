/* SPDX-License-Identifier: Apache-2.0
 * The places of an object: taking one, sweeping a dead one's, letting a forked child go without.
 * Invariant: whoever changes a place that is not its own, or takes one, holds the lock of its byte;
 * self->latch is held meanwhile, since threads of one process share their open file's locks. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/sync/word.h"

static bool lock_byte(const ipcx_sync *self, uint32_t place, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)place, .l_len = 1};
    return fcntl(self->fd, F_OFD_SETLK, &lock) == 0;
}

/* ---- what the dead have left */

/* Once: whoever takes it after that may be another thread of the process whose place it is. */
static void abandon(_Atomic uint32_t *word, uint32_t as, int wake)
{
    uint32_t seen = atomic_load(word);
    while ((seen & IPCX__WORD_OWNER) == as) {
        if (atomic_compare_exchange_strong(word, &seen, IPCX__WORD_DIED)) {
            (void)ipcx__futex_wake(word, wake, IPCX__SHARED);
            return;
        }
    }
}

/* The shares and the party of a place that nobody has, under the guard as `as`. */
static void take_back(ipcx_sync *self, ipcx__place *place)
{
    bool party = atomic_exchange(&place->party, 0) != 0;
    if (atomic_exchange(&place->share, 0) == 0 && !party) {
        return;
    }
    if (self->kind == IPCX_SEMAPHORE) {
        ipcx__sem_repair(self);
    } else if (self->kind == IPCX_BARRIER) {
        ipcx__barrier_break(self);
    } else {
        ipcx__rwlock_left(self);
    }
}

/* With the byte locked. False: the guard is held just now; another time. */
static bool clean(ipcx_sync *self, uint32_t place)
{
    ipcx__place *left = &self->memory->places[place];
    uint32_t as = place + 1;
    abandon(&self->memory->guard, as, 1);
    abandon(&self->memory->word, as, self->kind == IPCX_RWLOCK ? INT_MAX : 1);
    IPCX_CRASH_POINT("sync-abandoned");
    if (atomic_load(&left->share) != 0 || atomic_load(&left->party) != 0) {
        if (!ipcx__sync_guard_spin(self, as)) {
            return false;
        }
        take_back(self, left);
        IPCX_CRASH_POINT("sync-taken-back");
        ipcx__sync_unguard(self, as);
    }
    atomic_store(&left->pid, 0);
    return true;
}

bool ipcx__sync_sweep(ipcx_sync *self, uint32_t place)
{
    bool swept = false;
    if (place >= IPCX__SYNC_PLACES || place + 1 == atomic_load(&self->mine)) {
        return false;
    }
    ipcx__latch_lock(&self->latch);
    if (self->fd >= 0 && atomic_load(&self->mine) != 0 && lock_byte(self, place, F_WRLCK)) {
        swept = clean(self, place);
        (void)lock_byte(self, place, F_UNLCK);
    }
    ipcx__latch_unlock(&self->latch);
    return swept;
}

static uint32_t places_used(const ipcx_sync *self)
{
    uint32_t used = atomic_load(&self->memory->used);
    return used < IPCX__SYNC_PLACES ? used : IPCX__SYNC_PLACES;
}

void ipcx__sync_sweep_all(ipcx_sync *self)
{
    uint32_t holders[] = {atomic_load(&self->memory->guard) & IPCX__WORD_OWNER,
                          atomic_load(&self->memory->word) & IPCX__WORD_OWNER};
    for (int i = 0; i < 2; i++) {
        (void)ipcx__sync_sweep(self, holders[i] - 1); /* 0 - 1: no place */
    }
    for (uint32_t place = 0; place < places_used(self); place++) {
        const ipcx__place *seen = &self->memory->places[place];
        if (atomic_load(&seen->share) != 0 || atomic_load(&seen->party) != 0) {
            (void)ipcx__sync_sweep(self, place);
        }
    }
}

bool ipcx__sync_sum(const ipcx_sync *self, uint32_t *sum)
{
    uint32_t all = 0;
    for (uint32_t place = 0; place < places_used(self); place++) {
        uint32_t share = atomic_load(&self->memory->places[place].share);
        if (share > IPCX__SYNC_MOST || all > IPCX__SYNC_MOST) {
            return false;
        }
        all += share;
    }
    *sum = all;
    return true;
}

/* ---- an open file of our own */

/* "/proc/self/fd/N", without anything that is not async-signal-safe. */
void ipcx__sync_path_of(int fd, char *path)
{
    static const char prefix[] = "/proc/self/fd/";
    char digits[12];
    int n = 0;
    for (size_t i = 0; i < sizeof prefix - 1; i++) {
        *path++ = prefix[i];
    }
    do {
        digits[n++] = (char)('0' + fd % 10);
        fd /= 10;
    } while (fd > 0);
    while (n > 0) {
        *path++ = digits[--n];
    }
    *path = '\0';
}

static bool is_ours(const ipcx_sync *self)
{
    struct stat found;
    return fstat(self->fd, &found) == 0 && found.st_dev == self->device &&
           found.st_ino == self->inode;
}

bool ipcx__sync_reopen(ipcx_sync *self, bool unlock)
{
    char path[32];
    int fd, same;
    if (self->fd < 0 || !is_ours(self)) {
        return false;
    }
    ipcx__sync_path_of(self->fd, path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    (void)flock(fd, LOCK_SH | LOCK_NB); /* of a name: it is in use */
    if (unlock) {
        (void)flock(self->fd, LOCK_UN);
    }
    same = dup3(fd, self->fd, O_CLOEXEC);
    (void)close(fd);
    self->opened_in = ipcx__fork_generation();
    return same >= 0;
}

/* In a child: the locks are the parent's, and live as long as anybody has its open file. */
static void forked(ipcx__own *own)
{
    ipcx_sync *self = (ipcx_sync *)(void *)((char *)own - offsetof(ipcx_sync, own));
    int saved = errno;
    atomic_store(&self->mine, 0);
    atomic_store(&self->owner, 0);
    atomic_store(&self->latch.word, 0);
    self->readers = NULL; /* another thread may have been changing them */
    self->reader_count = self->reader_room = 0;
    if (!ipcx__sync_reopen(self, false) && self->fd >= 0 && is_ours(self)) {
        (void)close(self->fd);
        self->fd = -1;
    }
    errno = saved;
}

static void thread_ended(ipcx__own *own, uintptr_t thread)
{
    ipcx_sync *self = (ipcx_sync *)(void *)((char *)own - offsetof(ipcx_sync, own));
    uint32_t mine = atomic_load(&self->mine);
    if (mine == 0) {
        return;
    }
    if (atomic_load(&self->owner) == thread) {
        atomic_store(&self->owner, 0);
        abandon(&self->memory->word, mine, self->kind == IPCX_RWLOCK ? INT_MAX : 1);
    }
    ipcx__rwlock_forget(self, thread);
}

/* ---- a place of our own */

static bool take_place(ipcx_sync *self, uint32_t place)
{
    uint32_t used = atomic_load(&self->memory->used);
    if (!lock_byte(self, place, F_WRLCK)) {
        return false;
    }
    IPCX_CRASH_POINT("sync-place-locked");
    while (used <= place && !atomic_compare_exchange_weak(&self->memory->used, &used, place + 1)) {
    }
    if (!clean(self, place)) {
        (void)lock_byte(self, place, F_UNLCK);
        return false;
    }
    atomic_store(&self->memory->places[place].pid, (uint32_t)getpid());
    atomic_store(&self->mine, place + 1);
    return true;
}

/* First where nobody seems to be, then wherever nobody is. */
static ipcx_status find_place(ipcx_sync *self, ipcx_error *err)
{
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t place = 0; place < IPCX__SYNC_PLACES; place++) {
            bool seems_taken = atomic_load(&self->memory->places[place].pid) != 0;
            if (seems_taken == (pass != 0) && take_place(self, place)) {
                return IPCX_OK;
            }
        }
    }
    return ipcx_error_set(err, IPCX_EXHAUSTED, EUSERS, "join", "%d processes use this object",
                          IPCX__SYNC_PLACES);
}

ipcx_status ipcx__sync_join(ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    if (IPCX_LIKELY(atomic_load(&self->mine) != 0)) {
        return IPCX_OK;
    }
    /* From here on a fork finds it, and its latch, in the list. */
    ipcx__own_lock();
    if (self->own.link == NULL) {
        self->own.forked = forked;
        self->own.thread_ended = thread_ended;
        ipcx__own_add(IPCX__OWN_SYNCS, &self->own);
    }
    ipcx__own_unlock();
    ipcx__latch_lock(&self->latch);
    if (atomic_load(&self->mine) == 0) {
        if (self->opened_in != ipcx__fork_generation() && !ipcx__sync_reopen(self, false)) {
            status = ipcx_error_set(err, IPCX_FORKED, 0, "join",
                                    "the descriptor that was inherited is gone, or /proc is");
        } else {
            status = find_place(self, err);
        }
    }
    ipcx__latch_unlock(&self->latch);
    return status;
}

void ipcx__sync_quit(ipcx_sync *self)
{
    uint32_t mine;
    ipcx__own_lock();
    ipcx__own_remove(&self->own);
    ipcx__own_unlock();
    ipcx__latch_lock(&self->latch);
    mine = atomic_exchange(&self->mine, 0);
    atomic_store(&self->owner, 0);
    self->reader_count = 0;
    if (mine != 0) {
        atomic_store(&self->memory->places[mine - 1].party, 0); /* it says goodbye */
        if (self->kind == IPCX_BARRIER) {
            ipcx__barrier_quit(self, mine);
        }
        (void)clean(self, mine - 1); /* else the next sweep does it */
    }
    ipcx__latch_unlock(&self->latch);
}
