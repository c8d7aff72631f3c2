/* SPDX-License-Identifier: Apache-2.0
 * The other kinds of ipcx/sync.h's objects: read-write lock, condition, event, barrier.
 * Invariant: as there: any process may die in any of them, and the others go on or are told. */
#ifndef IPCX_SYNC_WAIT_H
#define IPCX_SYNC_WAIT_H

#include "ipcx/sync.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ipcx_rwlock_read, ipcx_rwlock_write: many read or one writes; a writer that waits keeps new
 * readers out. A dead reader's share is given back. A dead writer: ipcx_sync_recovered is 1, for
 * readers and writers, until a writer has held it and released it. AGAIN, TIMEOUT, INTR, CLOSED;
 * DEADLOCK: this thread has it already, in either way. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_rwlock_read(ipcx_sync *self, ipcx_deadline deadline,
                                                     ipcx_error *err);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_rwlock_write(ipcx_sync *self, ipcx_deadline deadline,
                                                      ipcx_error *err);

/* ipcx_rwlock_unlock, ipcx_rwlock_has, ipcx_rwlock_readers: gives back what this thread has, or
 * NOT_OWNER; 0, 'r' or 'w': what that is; how many threads read, in all processes. */
IPCX_API ipcx_status ipcx_rwlock_unlock(ipcx_sync *self, ipcx_error *err);
IPCX_API int ipcx_rwlock_has(ipcx_sync *self);
IPCX_API uint32_t ipcx_rwlock_readers(const ipcx_sync *self);

/* ipcx_cond_wait, ipcx_cond_notify: releases `mutex` (the condition itself has one in it), waits
 * for a notification, takes `mutex` again, however long that lasts, with INTR and TIMEOUT too;
 * after a death among those who wait it may return without one: look, and wait again. Wakes at most
 * `n` who wait, with the mutex held; UINT32_MAX: all. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_cond_wait(ipcx_sync *self, ipcx_sync *mutex,
                                                   ipcx_deadline deadline, ipcx_error *err);
IPCX_API ipcx_status ipcx_cond_notify(ipcx_sync *self, uint32_t n, ipcx_error *err);

/* ipcx_cond_begin, ipcx_cond_wait_from, ipcx_cond_leave: the parts of ipcx_cond_wait, for who
 * releases the mutex in between: with the mutex held; without it, and again after INTR; and at
 * last, unless the answer was OK. */
IPCX_API uint32_t ipcx_cond_begin(ipcx_sync *self);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_cond_wait_from(ipcx_sync *self, uint32_t sequence,
                                                        ipcx_deadline deadline, ipcx_error *err);
IPCX_API void ipcx_cond_leave(ipcx_sync *self);

/* ipcx_event_set, ipcx_event_clear, ipcx_event_is_set, ipcx_event_wait: once it is set, nobody
 * waits until it is cleared. */
IPCX_API ipcx_status ipcx_event_set(ipcx_sync *self, ipcx_error *err);
IPCX_API ipcx_status ipcx_event_clear(ipcx_sync *self, ipcx_error *err);
IPCX_API int ipcx_event_is_set(const ipcx_sync *self);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_event_wait(ipcx_sync *self, ipcx_deadline deadline,
                                                    ipcx_error *err);

/* ipcx_barrier_wait: `value` parties go on together, round after round. *place says how many were
 * still missing: 0 for the last. AGAIN, TIMEOUT, INTR, CLOSED: this one has not come, the others
 * wait on. BROKEN: a process that has ever waited here died (one that closed its handle has left,
 * and breaks nothing), or ipcx_barrier_abort: until ipcx_barrier_reset. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_barrier_wait(ipcx_sync *self, ipcx_deadline deadline,
                                                      uint32_t *place, ipcx_error *err);

/* ipcx_barrier_abort, ipcx_barrier_reset: breaks it; makes it as new. Both send away (BROKEN) who
 * waits just then. */
IPCX_API ipcx_status ipcx_barrier_abort(ipcx_sync *self, ipcx_error *err);
IPCX_API ipcx_status ipcx_barrier_reset(ipcx_sync *self, ipcx_error *err);

/* ipcx_barrier_waiting, ipcx_barrier_parties, ipcx_barrier_is_broken: how it is just now. */
IPCX_API uint32_t ipcx_barrier_waiting(const ipcx_sync *self);
IPCX_API uint32_t ipcx_barrier_parties(const ipcx_sync *self);
IPCX_API int ipcx_barrier_is_broken(const ipcx_sync *self);

#ifdef __cplusplus
}
#endif

#endif
