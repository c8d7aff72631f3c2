/* SPDX-License-Identifier: Apache-2.0
 * The handle by which a process uses a synchronisation object (os/sync/format.h), and what the
 * kinds of objects are made of: places, robust words, sleeping. ipcx/sync.h says how death is seen.
 * Invariant: what must be right is in the handle, for the memory is anybody's who may open it. */
#ifndef IPCX_OS_SYNC_PARTS_H
#define IPCX_OS_SYNC_PARTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/crash.h"
#include "base/guard.h"
#include "base/process.h"
#include "ipcx/sync.h"
#include "os/futex.h"
#include "os/gate.h"
#include "os/sync/format.h"

/* Whoever holds the guard for so long is stopped, or the word was written over. */
#define IPCX__SYNC_PATIENCE_NS ((int64_t)5000000000)

typedef struct ipcx__reader {
    uintptr_t thread;
} ipcx__reader;

struct ipcx_sync {
    ipcx__sync_memory *memory;
    _Atomic uint32_t mine;   /* our place and one; 0: none taken yet in this process */
    _Atomic uintptr_t owner; /* the thread that holds the mutex, or writes, by this handle */
    ipcx_sync_kind kind;
    uint32_t total, limit;  /* permits or parties at the start, at most; ours, not the memory's */
    _Atomic uint32_t plain; /* 1: an open semaphore whose permits are nobody's own */
    bool owned, persist, named;
    /* Each call that waits ends after some 40 ms with INTR. For who runs signal handlers between
     * calls: a signal that came while the thread slept in no system call interrupted none. */
    bool restless;
    int64_t patience; /* with the guard, for who has no deadline: IPCX__SYNC_PATIENCE_NS */
    int fd;
    uint32_t opened_in; /* fork generation in which the open file behind `fd` was made */
    dev_t device;       /* which object it is */
    ino_t inode;
    _Atomic uint32_t closing; /* 1: somebody closes it, or has */
    ipcx_gate gate;
    ipcx__latch latch; /* joining, sweeping, the list of readers */
    ipcx__own own;     /* in the list as long as it has locks that a child must not inherit */
    ipcx__guard *guard;
    ipcx__reader *readers;
    uint32_t reader_count, reader_room;
    char name[IPCX_SYNC_NAME_MAX + 1];
};

/* ---- the handle */

/* ipcx__sync_join: sees to it that this process has a place (self->mine). EXHAUSTED: all are taken
 * by the living. FORKED: the descriptor it inherited is gone. */
ipcx_status ipcx__sync_join(ipcx_sync *self, ipcx_error *err);

/* ipcx__sync_sweep: takes back what the process at `place` has left if it is dead. False: it lives,
 * or somebody else is at it. ipcx__sync_sweep_all: every place with a share, the two words'
 * holders.
 */
bool ipcx__sync_sweep(ipcx_sync *self, uint32_t place);
void ipcx__sync_sweep_all(ipcx_sync *self);

/* ipcx__sync_sleep: sleeps on a word of the memory while it is `expected`, until `deadline` at the
 * latest and shorter: whoever waits looks around at times. OK: look again; TIMEOUT only when
 * `deadline` has passed; *looked is set when it is time to look for the dead. */
ipcx_status ipcx__sync_sleep(ipcx_sync *self, const _Atomic uint32_t *word, uint32_t expected,
                             int64_t begun, ipcx_deadline deadline, bool *look, ipcx_error *err);

/* ipcx__sync_enter, ipcx__sync_leave: the gate. CLOSED; CORRUPT: the memory is gone, for somebody
 * truncated the file. leave: that, or else `status`. */
ipcx_status ipcx__sync_enter(ipcx_sync *self, ipcx_error *err);
ipcx_status ipcx__sync_leave(ipcx_sync *self, ipcx_status status, ipcx_error *err);

/* ipcx__sync_is_open, ipcx__sync_whole: the same, for who does not sleep and needs no gate. */
ipcx_status ipcx__sync_is_open(const ipcx_sync *self, ipcx_error *err);
ipcx_status ipcx__sync_whole(const ipcx_sync *self, ipcx_status status, ipcx_error *err);

/* ipcx__sync_expect: INVALID where the object is of another kind. */
ipcx_status ipcx__sync_expect(const ipcx_sync *self, ipcx_sync_kind kind, ipcx_error *err);

/* ipcx__sync_scribbled: CORRUPT. */
ipcx_status ipcx__sync_scribbled(const ipcx_sync *self, ipcx_error *err);

/* ipcx__sync_sum: the shares of all places. False: one of them cannot be right. */
bool ipcx__sync_sum(const ipcx_sync *self, uint32_t *sum);

/* ipcx__sync_guard: holds the guard; the memory's counts are right when it is OK, whoever died with
 * it. ipcx__sync_guard_soon: for calls that have no deadline, INTR goes unseen; TIMEOUT: for
 * seconds somebody has not let go of what is held for a few instructions. ipcx__sync_unguard lets
 * go. */
ipcx_status ipcx__sync_guard(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err);
ipcx_status ipcx__sync_guard_soon(ipcx_sync *self, ipcx_error *err);
bool ipcx__sync_guard_spin(ipcx_sync *self, uint32_t as);
void ipcx__sync_unguard(ipcx_sync *self, uint32_t as);

/* ipcx__sync_reopen: another open file in the place of the one behind self->fd, under the same
 * number: an inherited one has the parent's locks, one that is mapped lives on in the children's
 * maps, locks and all. `unlock`: the one before is ours, and shall lose its flock(2). */
bool ipcx__sync_reopen(ipcx_sync *self, bool unlock);

/* ipcx__sync_quit: gives the place back. ipcx__sync_path_of: "/proc/self/fd/N". */
void ipcx__sync_quit(ipcx_sync *self);
void ipcx__sync_path_of(int fd, char *path);

/* ---- what a dead process has left, by kind, under the guard */

/* ipcx__sem_repair: makes the count of free permits anew, of the shares. ipcx__barrier_break: wakes
 * who waits: one of them will not come. ipcx__rwlock_left: wakes the writer: a reader has gone. */
void ipcx__sem_repair(ipcx_sync *self);
void ipcx__barrier_break(ipcx_sync *self);
void ipcx__rwlock_left(ipcx_sync *self);

/* ipcx__rwlock_reads: whether the thread reads by this handle. ipcx__sync_elsewhere: whether it has
 * the object, by another handle of this process. */
bool ipcx__rwlock_reads(ipcx_sync *self, uintptr_t thread);
bool ipcx__sync_elsewhere(const ipcx_sync *self, uintptr_t me);

/* ipcx__rwlock_forget: the thread's shares, because it has ended. */
void ipcx__rwlock_forget(ipcx_sync *self, uintptr_t thread);

/* ipcx__barrier_come, ipcx__barrier_stay, ipcx__barrier_leave: the parts of ipcx_barrier_wait, for
 * who looks after a signal and stays: comes (*missing 0: the round has ended); waits for the end of
 * the round, and has left, but for INTR: then stay again, or leave (INTR: it has not come). */
ipcx_status ipcx__barrier_come(ipcx_sync *self, ipcx_deadline deadline, uint32_t *round,
                               uint32_t *missing, ipcx_error *err);
ipcx_status ipcx__barrier_stay(ipcx_sync *self, uint32_t round, ipcx_deadline deadline,
                               ipcx_error *err);
ipcx_status ipcx__barrier_leave(ipcx_sync *self, uint32_t round, ipcx_error *err);

/* ipcx__barrier_quit: who waits here, by the handle whose place is `as`, has not come. */
void ipcx__barrier_quit(ipcx_sync *self, uint32_t as);

/* sync_name.c: the file of that name in the user's folder; see ipcx_sync_open. */
ipcx_status ipcx__sync_file(const char *name, unsigned flags, const ipcx_sync_options *options,
                            int *fd, ipcx_error *err);
ipcx_status ipcx__sync_format(int fd, const ipcx_sync_options *options, ipcx_error *err);
bool ipcx__sync_unlink_unused(int fd, const char *name);

#endif
