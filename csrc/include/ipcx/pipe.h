/* SPDX-License-Identifier: Apache-2.0
 * Pipes: bytes in one direction between two descriptors, pipe(7).
 *
 *     int ends[2];
 *     ipcx_pipe(ends, &err)             ends[0] is read from, ends[1] is written to
 *
 * Invariant: writing to a pipe that nobody reads any more is an answer, never SIGPIPE. */
#ifndef IPCX_PIPE_H
#define IPCX_PIPE_H

#include <stddef.h>

#include "ipcx/api.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ipcx_pipe: both ends, the caller's own, closed at exec(2). EXHAUSTED: descriptors. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_pipe(int ends[2], ipcx_error *err);

/* ipcx_pipe_write: at most `size` bytes, with one write(2); *written is how many went. AGAIN: the
 * pipe is full and `fd` has O_NONBLOCK · INTR. PEER_CLOSED: nobody reads it. SYSTEM: EBADF … */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_pipe_write(int fd, const void *bytes, size_t size,
                                                    size_t *written, ipcx_error *err);

#ifdef __cplusplus
}
#endif

#endif
