/* SPDX-License-Identifier: Apache-2.0
 * Writing to what may raise SIGPIPE.
 * Invariant: a SIGPIPE that was pending before stays pending, one that a write here raised never
 * gets out. */
#ifndef IPCX_OS_PIPE_H
#define IPCX_OS_PIPE_H

#include <sys/types.h>
#include <sys/uio.h>

/* ipcx__writev_quietly: writev(2) in a thread where SIGPIPE is held back meanwhile. */
ssize_t ipcx__writev_quietly(int fd, const struct iovec *pieces, int count);

#endif
