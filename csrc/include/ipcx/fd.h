/* SPDX-License-Identifier: Apache-2.0
 * File descriptors: close, duplicate, and the two flags that matter (O_NONBLOCK, FD_CLOEXEC).
 * A descriptor is a plain int, owned by whoever opened it; -1 is none.
 * Invariant: every descriptor made here is close-on-exec from its first instant. */
#ifndef IPCX_FD_H
#define IPCX_FD_H

#include "ipcx/api.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ipcx_fd_close: closes `fd`. Whatever it returns, the descriptor has gone (unless CLOSED: there
 * was none) and must not be closed again: Linux releases the number before it waits, so a second
 * close after EINTR could hit a descriptor that another thread has just opened (close(2)). EINTR
 * and ECONNRESET are therefore OK.
 * Statuses: OK, CLOSED (EBADF), SYSTEM (EIO, EDQUOT …: data written before was lost).
 * May block where data lingers (SO_LINGER, network file systems). */
IPCX_API ipcx_status ipcx_fd_close(int fd, ipcx_error *err);

/* ipcx_fd_dup: `*out` is a new descriptor for the same open file, close-on-exec; the caller owns
 * it. Both share offset, O_NONBLOCK and socket. Statuses: OK, CLOSED, EXHAUSTED (EMFILE). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_fd_dup(int fd, int *out, ipcx_error *err);

/* ipcx_fd_set_nonblocking, ipcx_fd_get_nonblocking: O_NONBLOCK, a property of the open file and so
 * of all its duplicates in every process. Statuses: OK, CLOSED. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_fd_set_nonblocking(int fd, int on, ipcx_error *err);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_fd_get_nonblocking(int fd, int *on, ipcx_error *err);

/* ipcx_fd_set_cloexec, ipcx_fd_get_cloexec: FD_CLOEXEC, a property of this one descriptor; off lets
 * it live on in a program started by execve(2). Statuses: OK, CLOSED. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_fd_set_cloexec(int fd, int on, ipcx_error *err);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_fd_get_cloexec(int fd, int *on, ipcx_error *err);

#ifdef __cplusplus
}
#endif

#endif
