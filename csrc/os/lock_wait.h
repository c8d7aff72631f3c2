/* SPDX-License-Identifier: Apache-2.0
 * Waiting for a lock on a part of a file: F_OFD_SETLKW of fcntl(2), with a deadline, a gate and
 * signals. Invariant: nobody sleeps for longer than a moment without looking at signals again. */
#ifndef IPCX_OS_LOCK_WAIT_H
#define IPCX_OS_LOCK_WAIT_H

#include <fcntl.h>

#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"

/* ipcx__lock_try: AGAIN: somebody has it. SYSTEM: errno says why. */
ipcx_status ipcx__lock_try(int fd, const struct flock *lock);

/* ipcx__lock_wait: waits for a lock that somebody had; the caller is inside `gate`. INTR: a signal
 * has come, or may have: one that comes just before a thread sleeps does not wake it, so each sleep
 * ends by itself after a tenth of a second. CLOSED: the gate was closed. SYSTEM: errno. */
ipcx_status ipcx__lock_wait(int fd, const struct flock *lock, ipcx_gate *gate,
                            ipcx_deadline deadline, ipcx_error *err);

#endif
