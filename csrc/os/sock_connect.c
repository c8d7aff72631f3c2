/* SPDX-License-Identifier: Apache-2.0
 * Accepting and connecting, which have no MSG_DONTWAIT.
 * Invariant: O_NONBLOCK of the descriptor is never touched. */
#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <poll.h>

#include "os/gate.h"
#include "os/sock_io.h"

static ipcx_status accept_once(const ipcx__io *io, bool may_sleep, int *fd, ipcx_addr *addr,
                               ipcx_error *err)
{
    struct sockaddr *sa = addr == NULL ? NULL : &addr->u.sa;
    socklen_t *len = addr == NULL ? NULL : &addr->len;
    ipcx__sleeper self;
    int accepted = -1;
    if (addr != NULL) {
        addr->len = sizeof addr->u;
    }
    if (!may_sleep) {
        accepted = accept4(io->fd, sa, len, SOCK_CLOEXEC);
    } else {
        if (ipcx__gate_sleep(io->gate, &self)) {
            accepted = accept4(io->fd, sa, len, SOCK_CLOEXEC);
        }
        ipcx__gate_wake_up(io->gate, &self);
        if (accepted < 0 && ipcx__gate_is_closed(io->gate)) {
            return ipcx__gate_closed("accept", err);
        }
    }
    if (accepted < 0) {
        return ipcx__io_failed("accept", err);
    }
    *fd = accepted;
    return IPCX_OK;
}

static bool is_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK);
}

ipcx_status ipcx__io_accept(const ipcx__io *io, int *fd, ipcx_addr *addr, ipcx_error *err)
{
    ipcx__wait wait = {0};
    ipcx_status status;
    bool sure;
    if (io->deadline == IPCX_NOW || (io->as_kernel && io->deadline == IPCX_FOREVER)) {
        return accept_once(io, io->deadline != IPCX_NOW, fd, addr, err);
    }
    /* On a listener that somebody has made blocking, accept4(2) would outlast the deadline. */
    sure = is_nonblocking(io->fd);
    do {
        struct pollfd listener = {.fd = io->fd, .events = POLLIN};
        status =
            sure || poll(&listener, 1, 0) > 0 ? accept_once(io, !sure, fd, addr, err) : IPCX_AGAIN;
        if (status != IPCX_AGAIN) {
            return status;
        }
        status = ipcx__wait_ready(io, &wait, POLLIN, err);
    } while (status == IPCX_OK);
    return status;
}

/* EAGAIN is a failure here: a Unix listener's backlog is full, or no port is left (connect(2)). */
static ipcx_status connect_failed(int error, ipcx_error *err)
{
    ipcx_status status = ipcx_error_system(err, error, "connect", "the peer's address");
    return status < 0 ? status
                      : ipcx_error_set(err, IPCX_SYSTEM, error, "connect", "the peer's address");
}

ipcx_status ipcx__io_connect(const ipcx__io *io, const struct sockaddr *addr, socklen_t len,
                             ipcx_error *err)
{
    bool kernel_waits = io->as_kernel && io->deadline == IPCX_FOREVER;
    ipcx__sleeper self;
    int result = -1;
    if (ipcx__gate_sleep(io->gate, &self)) {
        result = connect(io->fd, addr, len);
    }
    ipcx__gate_wake_up(io->gate, &self);
    if (result == 0) {
        return IPCX_OK;
    }
    if (ipcx__gate_is_closed(io->gate)) {
        return ipcx__gate_closed("connect", err);
    }
    /* Interrupted, it goes on in the background: connect(2), EINTR. */
    if (io->deadline != IPCX_NOW && (errno == EINTR || (errno == EINPROGRESS && !kernel_waits))) {
        return IPCX_MORE;
    }
    return connect_failed(errno, err);
}

ipcx_status ipcx__io_connect_or_wait(const ipcx__io *io, const struct sockaddr *addr, socklen_t len,
                                     ipcx_error *err)
{
    ipcx__wait naps = {.in_vain = INT_MAX};
    while (connect(io->fd, addr, len) < 0 && errno != EISCONN) {
        ipcx_status status;
        if (errno == EINPROGRESS || errno == EALREADY || errno == EINTR) {
            return ipcx__io_connected(io, err);
        }
        if (errno != EAGAIN || addr->sa_family != AF_UNIX) {
            return connect_failed(errno, err);
        }
        /* The listener's backlog is full, and there is nothing to poll for: look again later. */
        status = ipcx__wait_ready(io, &naps, POLLOUT, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    return IPCX_OK;
}

ipcx_status ipcx__io_connected(const ipcx__io *io, ipcx_error *err)
{
    ipcx__wait wait = {0};
    int error = 0;
    socklen_t size = sizeof error;
    ipcx_status status = ipcx__wait_ready(io, &wait, POLLOUT, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) {
        error = errno;
    }
    if (error == 0 || error == EISCONN) {
        return IPCX_OK;
    }
    return connect_failed(error, err);
}
