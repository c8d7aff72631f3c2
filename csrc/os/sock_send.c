/* SPDX-License-Identifier: Apache-2.0
 * Sending: sendmsg(2) with a deadline, and the loop that sends all.
 * Invariant: `sent` counts what the kernel has taken, whatever the outcome. */
#include <errno.h>
#include <poll.h>
#include <sys/sendfile.h>

#include "os/gate.h"
#include "os/sock_io.h"

static ipcx_status failed_or_ready(const ipcx__io *io, ipcx__wait *wait, ipcx_error *err)
{
    ipcx_status status = ipcx__io_failed("send", err);
    return status == IPCX_AGAIN ? ipcx__wait_ready(io, wait, POLLOUT, err) : status;
}

/* sendmsg(2), or send(2), which costs less, where that says all there is to say. */
static ssize_t transmit(int fd, const struct msghdr *msg, int flags)
{
    if (msg->msg_iovlen == 1 && msg->msg_name == NULL && msg->msg_control == NULL) {
        return send(fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len, flags);
    }
    return sendmsg(fd, msg, flags);
}

static size_t total_of(const struct msghdr *msg)
{
    size_t total = 0;
    for (size_t i = 0; i < (size_t)msg->msg_iovlen; i++) {
        total += msg->msg_iov[i].iov_len;
    }
    return total;
}

/* The kernel's own call, which may sleep; a stream's takes all unless it is interrupted. */
static ipcx_status send_in_kernel(const ipcx__io *io, const struct msghdr *msg, int flags,
                                  size_t *sent, ipcx_error *err)
{
    ipcx__sleeper self;
    ssize_t n = -1;
    if (ipcx__gate_sleep(io->gate, &self)) {
        n = transmit(io->fd, msg, flags);
    }
    ipcx__gate_wake_up(io->gate, &self);
    if (ipcx__gate_is_closed(io->gate) && (n < 0 || (size_t)n < total_of(msg))) {
        return ipcx__gate_closed("send", err);
    }
    if (n < 0) {
        return ipcx__io_failed("send", err);
    }
    *sent = (size_t)n;
    return IPCX_OK;
}

bool ipcx__io_skip_sent(struct msghdr *msg, size_t n)
{
    while (msg->msg_iovlen > 0 && n >= msg->msg_iov->iov_len) {
        n -= msg->msg_iov->iov_len;
        msg->msg_iov++;
        msg->msg_iovlen--;
    }
    if (msg->msg_iovlen == 0) {
        return false;
    }
    msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + n;
    msg->msg_iov->iov_len -= n;
    msg->msg_control = NULL;
    msg->msg_controllen = 0;
    return true;
}

ipcx_status ipcx__io_sendmsg(const ipcx__io *io, struct msghdr *msg, int flags, size_t *sent,
                             ipcx_error *err)
{
    ipcx__wait wait = {0};
    bool to_the_end = io->stream && io->deadline == IPCX_FOREVER;
    ipcx_status status;

    *sent = 0;
    if (io->as_kernel && io->deadline == IPCX_FOREVER) {
        return send_in_kernel(io, msg, flags, sent, err);
    }
    do {
        ssize_t n = transmit(io->fd, msg, flags | MSG_DONTWAIT);
        if (n >= 0) {
            *sent += (size_t)n;
            wait.in_vain = 0;
            if (!to_the_end || !ipcx__io_skip_sent(msg, (size_t)n)) {
                return IPCX_OK;
            }
            status = ipcx__wait_ready(io, &wait, POLLOUT, err);
        } else {
            status = failed_or_ready(io, &wait, err);
        }
    } while (status == IPCX_OK);
    return *sent > 0 && status != IPCX_CLOSED ? IPCX_OK : status;
}

/* One step of send_all by the kernel's own call. It stops short at a signal, whose handlers are to
 * be run, or at SO_SNDTIMEO, which the next step will tell. */
static ipcx_status send_all_in_kernel(const ipcx__io *io, const char *rest, size_t size, int flags,
                                      size_t *sent, ipcx_error *err)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)rest, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    size_t step = 0;
    ipcx_status status = send_in_kernel(io, &msg, flags, &step, err);
    *sent += step;
    return status == IPCX_OK && step < size ? IPCX_INTR : status;
}

ipcx_status ipcx__io_sendfile(const ipcx__io *io, int from, off_t *offset, size_t count,
                              size_t *sent, ipcx_error *err)
{
    ipcx__wait wait = {0};
    ipcx_status status;
    do {
        ipcx__sleeper self;
        ssize_t n = -1;
        /* Non-blocking it does not sleep; blocking, the kernel waits. */
        if (ipcx__gate_sleep(io->gate, &self)) {
            n = sendfile(io->fd, from, offset, count);
        }
        ipcx__gate_wake_up(io->gate, &self);
        if (ipcx__gate_is_closed(io->gate)) {
            return ipcx__gate_closed("sendfile", err);
        }
        if (n >= 0) {
            *sent = (size_t)n;
            return IPCX_OK;
        }
        status = failed_or_ready(io, &wait, err);
    } while (status == IPCX_OK);
    return status;
}

ipcx_status ipcx__io_send_all(const ipcx__io *io, const void *data, size_t size, int flags,
                              size_t *sent, ipcx_error *err)
{
    ipcx__wait wait = {0};
    ipcx_status status = IPCX_OK;
    do {
        const char *rest = (const char *)data + *sent;
        ssize_t n;
        if (io->as_kernel && io->deadline == IPCX_FOREVER) {
            return send_all_in_kernel(io, rest, size - *sent, flags, sent, err);
        }
        n = send(io->fd, rest, size - *sent, flags | MSG_DONTWAIT);
        if (n >= 0) {
            *sent += (size_t)n;
            wait.in_vain = 0;
            if (*sent < size) {
                status = ipcx__wait_ready(io, &wait, POLLOUT, err);
            }
        } else {
            status = failed_or_ready(io, &wait, err);
        }
    } while (status == IPCX_OK && *sent < size);
    return status;
}
