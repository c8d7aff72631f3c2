/* SPDX-License-Identifier: Apache-2.0
 * Sending: sendmsg(2) with a deadline, and the loop that sends all.
 * Invariant: `sent` counts what the kernel has taken, whatever the outcome. */
#include <errno.h>
#include <poll.h>

#include "os/gate.h"
#include "os/sock_io.h"

static ipcx_status send_in_kernel(const ipcx__io *io, const struct msghdr *msg, int flags,
                                  size_t *sent, ipcx_error *err)
{
    ssize_t n = sendmsg(io->fd, msg, flags);
    if (n >= 0) {
        *sent = (size_t)n;
        return IPCX_OK;
    }
    return errno == EAGAIN ? IPCX_AGAIN : ipcx__io_failed("send", err);
}

static bool iov_consume(struct msghdr *msg, size_t n)
{
    while (msg->msg_iovlen > 0 && n >= msg->msg_iov->iov_len) {
        n -= msg->msg_iov->iov_len;
        msg->msg_iov++;
        msg->msg_iovlen--;
    }
    if (msg->msg_iovlen > 0) {
        msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + n;
        msg->msg_iov->iov_len -= n;
    }
    return msg->msg_iovlen > 0;
}

ipcx_status ipcx__io_sendmsg(const ipcx__io *io, struct msghdr *msg, int flags, size_t *sent,
                             ipcx_error *err)
{
    ipcx__wait wait = {0};
    bool to_the_end = io->stream && io->deadline == IPCX_FOREVER && !(flags & MSG_DONTWAIT);
    ipcx_status status = IPCX_OK;

    *sent = 0;
    if (io->as_kernel && io->deadline == IPCX_FOREVER &&
        (ipcx__single_threaded() || (flags & MSG_DONTWAIT))) {
        return send_in_kernel(io, msg, flags, sent, err);
    }
    while (status == IPCX_OK) {
        ssize_t n = sendmsg(io->fd, msg, flags | MSG_DONTWAIT);
        if (n >= 0) {
            *sent += (size_t)n;
            wait.in_vain = 0;
            if (!to_the_end || !iov_consume(msg, (size_t)n)) {
                return IPCX_OK;
            }
            /* Descriptors travel with the first byte: unix(7). */
            msg->msg_control = NULL;
            msg->msg_controllen = 0;
            status = ipcx__wait_ready(io, &wait, POLLOUT, err);
            continue;
        }
        status = errno == EAGAIN ? ipcx__wait_ready(io, &wait, POLLOUT, err)
                                 : ipcx__io_failed("send", err);
    }
    return *sent > 0 && status != IPCX_CLOSED ? IPCX_OK : status;
}

ipcx_status ipcx__io_send_all(const ipcx__io *io, const void *data, size_t size, int flags,
                              size_t *sent, ipcx_error *err)
{
    ipcx__wait wait = {0};
    bool in_kernel = io->as_kernel && io->deadline == IPCX_FOREVER && ipcx__single_threaded();
    ipcx_status status = IPCX_OK;
    do {
        ssize_t n = send(io->fd, (const char *)data + *sent, size - *sent,
                         in_kernel ? flags : flags | MSG_DONTWAIT);
        if (n >= 0) {
            *sent += (size_t)n;
            wait.in_vain = 0;
            if (*sent < size) {
                /* The kernel's own call stops short at a signal only. */
                status = in_kernel ? IPCX_INTR : ipcx__wait_ready(io, &wait, POLLOUT, err);
            }
        } else if (errno != EAGAIN) {
            status = ipcx__io_failed("send", err);
        } else {
            status = in_kernel ? IPCX_AGAIN : ipcx__wait_ready(io, &wait, POLLOUT, err);
        }
    } while (status == IPCX_OK && *sent < size);
    return status;
}
