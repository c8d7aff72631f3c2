/* SPDX-License-Identifier: Apache-2.0
 * Pipes: bytes in one direction between two descriptors, pipe(7); and named ones, fifo(7), which
 * programs find by a path.
 *
 *     int ends[2];
 *     ipcx_pipe(ends, &err)                     ends[0] is read from, ends[1] is written to
 *     ipcx_fifo_make("/run/orders", 0600, &err)
 *     ipcx_fifo_open("/run/orders", 1, ipcx_deadline_after(ns), &fd, &err)
 *
 * Up to PIPE_BUF bytes (4096 on Linux) are written whole or not at all, whoever else writes; what
 * is longer may come mixed with others'. Invariant: writing to a pipe that nobody reads any more is
 * an answer, never SIGPIPE. */
#ifndef IPCX_PIPE_H
#define IPCX_PIPE_H

#include <stddef.h>

#include <sys/types.h>

#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ipcx_pipe: both ends, the caller's own, closed at exec(2). EXHAUSTED: descriptors. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_pipe(int ends[2], ipcx_error *err);

/* ipcx_pipe_write: at most `size` bytes, with one write(2); *written is how many went. AGAIN: the
 * pipe is full and `fd` has O_NONBLOCK · INTR. PEER_CLOSED: nobody reads it. SYSTEM: EBADF … */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_pipe_write(int fd, const void *bytes, size_t size,
                                                    size_t *written, ipcx_error *err);

/* ipcx_pipe_read: what is there, at least a byte. AGAIN (IPCX_NOW) · TIMEOUT · INTR · EOF: whoever
 * wrote has closed it. Before anybody has opened it to write, it waits. `gate`, or NULL: CLOSED
 * from the moment another thread has begun to close that (ipcx_pipe_close). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_pipe_read(int fd, ipcx_gate *gate, void *room, size_t size,
                                                   ipcx_deadline deadline, size_t *got,
                                                   ipcx_error *err);

/* ipcx_pipe_wait_room: until PIPE_BUF bytes find room, or nobody reads. AGAIN · TIMEOUT · INTR ·
 * CLOSED, as above. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_pipe_wait_room(int fd, ipcx_gate *gate,
                                                        ipcx_deadline deadline, ipcx_error *err);

/* ipcx_pipe_close: the calls of other threads that wait there end, and then the descriptor is
 * closed. Not twice. */
IPCX_API void ipcx_pipe_close(int fd, ipcx_gate *gate);

/* ipcx_fifo_make: a named pipe, with `mode` less the umask. ADDRESS_IN_USE: one is there, and
 * somebody reads from it. SYSTEM: EEXIST: one that nobody reads, or something else is there … */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_fifo_make(const char *path, mode_t mode, ipcx_error *err);

/* ipcx_fifo_open: one end, with O_NONBLOCK, the caller's own. To read: at once. To write: as soon
 * as somebody reads (AGAIN, with IPCX_NOW: nobody does · TIMEOUT · INTR). SYSTEM: ENOENT, EACCES ·
 * ELOOP: a symbolic link · EINVAL: no named pipe. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_fifo_open(const char *path, int writes,
                                                   ipcx_deadline deadline, int *fd,
                                                   ipcx_error *err);

#ifdef __cplusplus
}
#endif

#endif
