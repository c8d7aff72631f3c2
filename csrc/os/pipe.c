/* SPDX-License-Identifier: Apache-2.0
 * Pipes: bytes from one end to the other.
 * Invariant: as os/pipe.h says. */
#include "ipcx/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "os/pipe.h"

ssize_t ipcx__writev_quietly(int fd, const struct iovec *pieces, int count)
{
    const struct timespec at_once = {0};
    sigset_t sigpipe, old, pending;
    ssize_t n;
    int saved;
    (void)sigemptyset(&sigpipe);
    (void)sigaddset(&sigpipe, SIGPIPE);
    (void)sigpending(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
    n = writev(fd, pieces, count);
    saved = errno;
    if (n < 0 && saved == EPIPE && !sigismember(&pending, SIGPIPE)) {
        (void)sigtimedwait(&sigpipe, NULL, &at_once);
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = saved;
    return n;
}

ipcx_status ipcx_pipe(int ends[2], ipcx_error *err)
{
    return pipe2(ends, O_CLOEXEC) == 0 ? IPCX_OK : ipcx_error_system(err, errno, "pipe", "pipe");
}

ipcx_status ipcx_pipe_write(int fd, const void *bytes, size_t size, size_t *written,
                            ipcx_error *err)
{
    const struct iovec piece = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    ssize_t n = ipcx__writev_quietly(fd, &piece, 1);
    *written = n > 0 ? (size_t)n : 0;
    if (n >= 0) {
        return IPCX_OK;
    }
    if (errno == EPIPE) {
        return ipcx_error_set(err, IPCX_PEER_CLOSED, EPIPE, "write", "nobody reads this pipe");
    }
    return ipcx_error_system(err, errno, "write", "descriptor %d", fd);
}
