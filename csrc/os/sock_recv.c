/* SPDX-License-Identifier: Apache-2.0
 * Receiving: recvmsg(2) with a deadline, and two loops over a byte stream.
 * Invariant: bytes that were taken from the kernel are in the caller's buffer and counted, whatever
 * the outcome. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "os/gate.h"
#include "os/sock_io.h"

/* With other flags (MSG_OOB, MSG_ERRQUEUE …) recvmsg(2) does not wait or means another queue, which
 * poll(2) with POLLIN says nothing about. */
#define PLAIN_FLAGS (MSG_PEEK | MSG_TRUNC | MSG_WAITALL | MSG_CMSG_CLOEXEC | MSG_NOSIGNAL)

/* The kernel's own call; it may block. Outside the gate, so that close() need not wait for it. */
static ipcx_status recv_in_kernel(const ipcx__io *io, struct msghdr *msg, int flags, size_t *got,
                                  ipcx_error *err)
{
    ssize_t n;
    ipcx__gate_step_out(io->gate);
    n = recvmsg(io->fd, msg, flags);
    ipcx__gate_step_in(io->gate);
    if (n >= 0) {
        *got = (size_t)n;
        return IPCX_OK;
    }
    if (errno == EAGAIN) {
        return IPCX_AGAIN;
    }
    return ipcx__io_failed("recv", err);
}

static size_t iov_total(const struct msghdr *msg)
{
    size_t total = 0;
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        total += msg->msg_iov[i].iov_len;
    }
    return total;
}

static void iov_advance(struct msghdr *msg, size_t n)
{
    while (n > 0 && msg->msg_iovlen > 0) {
        size_t step = n < msg->msg_iov->iov_len ? n : msg->msg_iov->iov_len;
        msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + step;
        msg->msg_iov->iov_len -= step;
        n -= step;
        if (msg->msg_iov->iov_len == 0) {
            msg->msg_iov++;
            msg->msg_iovlen--;
        }
    }
}

/* MSG_WAITALL as recv(2) has it: less than was asked for only at a signal, an error, the end of the
 * stream or, on a Unix socket, where descriptors were sent along (MSG_CTRUNC tells). */
static ipcx_status recv_all(const ipcx__io *io, struct msghdr *msg, int flags, size_t *got,
                            ipcx_error *err)
{
    ipcx__wait wait = {0};
    size_t total = iov_total(msg), sum = 0;
    ipcx_status status = IPCX_OK;
    while (status == IPCX_OK && sum < total) {
        ssize_t n = recvmsg(io->fd, msg, (flags & ~MSG_WAITALL) | MSG_DONTWAIT);
        if (n > 0) {
            sum += (size_t)n;
            iov_advance(msg, (size_t)n);
            wait.in_vain = 0;
        }
        if (n == 0 || (n > 0 && (msg->msg_flags & MSG_CTRUNC))) {
            break;
        }
        if (n < 0) {
            status = errno == EAGAIN ? ipcx__wait_ready(io, &wait, POLLIN, err)
                                     : ipcx__io_failed("recv", err);
        }
    }
    *got = sum;
    return sum > 0 && status != IPCX_CLOSED ? IPCX_OK : status;
}

/* MSG_PEEK|MSG_WAITALL: the bytes stay in the queue, so only *new* ones are worth waking for. */
static ipcx_status peek_all(const ipcx__io *io, struct msghdr *msg, int flags, size_t *got,
                            ipcx_error *err)
{
    ipcx__wait wait = {0};
    size_t total = iov_total(msg);
    ipcx_status status;
    int epoll_fd = -1;
    ssize_t n, before = -1;
    for (;;) {
        n = recvmsg(io->fd, msg, (flags & ~MSG_WAITALL) | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            status = ipcx__wait_ready(io, &wait, POLLIN, err);
        } else if (n < 0) {
            status = ipcx__io_failed("recv", err);
        } else if (n == 0 || (size_t)n == total) {
            status = IPCX_OK;
            break;
        } else {
            struct pollfd peer = {.fd = io->fd, .events = POLLRDHUP};
            if (n == before && poll(&peer, 1, 0) > 0) {
                status = IPCX_OK; /* The peer has closed: this is all there will be. */
                break;
            }
            before = n;
            status = ipcx__wait_ask(io, &wait, POLLIN);
            if (status == IPCX_OK) {
                status = ipcx__gate_poll_edge(io->gate, &epoll_fd, io->fd, wait.deadline, err);
            }
        }
        if (status != IPCX_OK) {
            break;
        }
    }
    if (epoll_fd >= 0) {
        (void)close(epoll_fd);
    }
    *got = n > 0 ? (size_t)n : 0;
    if (n > 0 && status != IPCX_CLOSED) {
        return IPCX_OK;
    }
    return status == IPCX_TIMEOUT ? IPCX_AGAIN : status;
}

ipcx_status ipcx__io_recvmsg(const ipcx__io *io, struct msghdr *msg, int flags, size_t *got,
                             ipcx_error *err)
{
    ipcx__wait wait = {0};
    ipcx_status status;
    bool as_kernel = io->as_kernel && io->deadline == IPCX_FOREVER;

    if (as_kernel && (ipcx__single_threaded() || (flags & ~PLAIN_FLAGS))) {
        return recv_in_kernel(io, msg, flags, got, err);
    }
    if (as_kernel && (flags & MSG_WAITALL) && io->stream) {
        if (msg->msg_control == NULL) {
            return flags & MSG_PEEK ? peek_all(io, msg, flags, got, err)
                                    : recv_all(io, msg, flags, got, err);
        }
        status = ipcx__wait_ready(io, &wait, POLLIN, err);
        return status == IPCX_OK ? recv_in_kernel(io, msg, flags, got, err) : status;
    }
    for (;;) {
        ssize_t n = recvmsg(io->fd, msg, flags | MSG_DONTWAIT);
        if (n >= 0) {
            *got = (size_t)n;
            return IPCX_OK;
        }
        status = errno == EAGAIN ? ipcx__wait_ready(io, &wait, POLLIN, err)
                                 : ipcx__io_failed("recv", err);
        if (status != IPCX_OK) {
            return status;
        }
    }
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
            status = errno == EAGAIN ? ipcx__wait_ready(io, &wait, POLLIN, err)
                                     : ipcx__io_failed("recv", err);
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
        ipcx_status status = errno == EAGAIN ? ipcx__wait_ready(io, &wait, POLLIN, err)
                                             : ipcx__io_failed("recv", err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}
