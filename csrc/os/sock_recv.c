/* SPDX-License-Identifier: Apache-2.0
 * Receiving: recvmsg(2) with a deadline, and two loops over a byte stream.
 * Invariant: bytes that were taken from the kernel are in the caller's buffer and counted, whatever
 * the outcome. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "os/gate.h"
#include "os/sock_io.h"

/* After a call that gave nothing: OK when it is worth trying again. */
static ipcx_status failed_or_ready(const ipcx__io *io, ipcx__wait *wait, ipcx_error *err)
{
    ipcx_status status = ipcx__io_failed("recv", err);
    return status == IPCX_AGAIN ? ipcx__wait_ready(io, wait, POLLIN, err) : status;
}

/* recvmsg(2), or recv(2), which costs less, where that says all there is to say. */
static ssize_t receive(int fd, struct msghdr *msg, int flags)
{
    if (msg->msg_iovlen == 1 && msg->msg_name == NULL && msg->msg_control == NULL) {
        return recv(fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len, flags);
    }
    return recvmsg(fd, msg, flags);
}

/* The kernel's own call, which may sleep. */
static ipcx_status recv_in_kernel(const ipcx__io *io, struct msghdr *msg, int flags, size_t *got,
                                  ipcx_error *err)
{
    ipcx__sleeper self;
    ssize_t n = -1;
    if (ipcx__gate_sleep(io->gate, &self)) {
        n = receive(io->fd, msg, flags);
    }
    ipcx__gate_wake_up(io->gate, &self);
    if (ipcx__gate_is_closed(io->gate) && (n < 0 || (flags & MSG_WAITALL))) {
        return ipcx__gate_closed("recv", err);
    }
    if (n < 0) {
        return ipcx__io_failed("recv", err);
    }
    *got = (size_t)n;
    return IPCX_OK;
}

ipcx_status ipcx__io_recvmsg(const ipcx__io *io, struct msghdr *msg, int flags, size_t *got,
                             ipcx_error *err)
{
    ipcx__wait wait = {0};
    ipcx_status status;
    if (io->as_kernel && io->deadline == IPCX_FOREVER) {
        return recv_in_kernel(io, msg, flags, got, err);
    }
    do {
        ssize_t n = receive(io->fd, msg, flags | MSG_DONTWAIT);
        if (n >= 0) {
            *got = (size_t)n;
            return IPCX_OK;
        }
        status = failed_or_ready(io, &wait, err);
    } while (status == IPCX_OK);
    return status;
}

ipcx_status ipcx__io_recv_exactly(const ipcx__io *io, void *buffer, size_t size, size_t *got,
                                  ipcx_error *err)
{
    ipcx__wait wait = {0};
    ipcx_status status = IPCX_OK;
    while (status == IPCX_OK && *got < size) {
        ssize_t n = recv(io->fd, (char *)buffer + *got, size - *got, MSG_DONTWAIT);
        if (n > 0) {
            *got += (size_t)n;
            wait.in_vain = 0;
        } else if (n == 0) {
            return IPCX_EOF;
        } else {
            status = failed_or_ready(io, &wait, err);
        }
    }
    return status;
}

/* How many of the `n` bytes after `got` belong to us: up to the delimiter's end, or all of them. */
static size_t take_until(const char *buffer, size_t got, size_t n, const char *delimiter,
                         size_t delimiter_size, bool *found)
{
    size_t overlap = got < delimiter_size - 1 ? got : delimiter_size - 1;
    const char *start = buffer + got - overlap;
    const char *at = memmem(start, overlap + n, delimiter, delimiter_size);
    *found = at != NULL;
    return at == NULL ? n : (size_t)(at - (buffer + got)) + delimiter_size;
}

ipcx_status ipcx__io_recv_until(const ipcx__io *io, char *buffer, size_t room, size_t limit,
                                const char *delimiter, size_t delimiter_size, size_t *got,
                                ipcx_error *err)
{
    ipcx__wait wait = {0};
    for (;;) {
        ssize_t n;
        if (*got == limit) {
            return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "recv_until",
                                  "no delimiter in the first %zu bytes", limit);
        }
        if (*got == room) {
            return IPCX_MORE;
        }
        n = recv(io->fd, buffer + *got, room - *got, MSG_PEEK | MSG_DONTWAIT);
        if (n > 0) {
            bool found;
            size_t take = take_until(buffer, *got, (size_t)n, delimiter, delimiter_size, &found);
            /* What was peeked is there: this does not wait and takes just as much. */
            n = recv(io->fd, buffer + *got, take, MSG_DONTWAIT);
            if (n > 0) {
                *got += (size_t)n;
                wait.in_vain = 0;
                if (found && (size_t)n == take) {
                    return IPCX_OK;
                }
                continue;
            }
        }
        if (n == 0) {
            return IPCX_EOF;
        }
        ipcx_status status = failed_or_ready(io, &wait, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}
