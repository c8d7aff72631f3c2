/* SPDX-License-Identifier: Apache-2.0
 * Accepting and connecting, which have no MSG_DONTWAIT.
 * Invariant: O_NONBLOCK of the descriptor is after each call what it was before. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#include "os/gate.h"
#include "os/sock_io.h"

static bool is_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK);
}

static ipcx_status accept_now(const ipcx__io *io, int *fd, ipcx_addr *addr, ipcx_error *err)
{
    struct sockaddr *sa = NULL;
    socklen_t *len = NULL;
    int accepted;
    if (addr != NULL) {
        addr->len = sizeof addr->u;
        sa = &addr->u.sa;
        len = &addr->len;
    }
    accepted = accept4(io->fd, sa, len, SOCK_CLOEXEC);
    if (accepted >= 0) {
        *fd = accepted;
        return IPCX_OK;
    }
    return errno == EAGAIN ? IPCX_AGAIN : ipcx__io_failed("accept", err);
}

/* On a blocking listener: outside the gate, for another process may win the connection between
 * poll(2) and accept4(2), and then this waits as long as the kernel lets it. */
static ipcx_status accept_in_kernel(const ipcx__io *io, int *fd, ipcx_addr *addr, ipcx_error *err)
{
    ipcx_status status;
    ipcx__gate_step_out(io->gate);
    status = accept_now(io, fd, addr, err);
    ipcx__gate_step_in(io->gate);
    return status;
}

ipcx_status ipcx__io_accept(const ipcx__io *io, int *fd, ipcx_addr *addr, ipcx_error *err)
{
    ipcx__wait wait = {0};
    struct pollfd listener = {.fd = io->fd, .events = POLLIN};
    bool blocking;
    ipcx_status status;

    if (io->deadline == IPCX_NOW) {
        return accept_now(io, fd, addr, err);
    }
    if (io->as_kernel && io->deadline == IPCX_FOREVER && ipcx__single_threaded()) {
        return accept_in_kernel(io, fd, addr, err);
    }
    blocking = !is_nonblocking(io->fd);
    for (;;) {
        if (blocking && poll(&listener, 1, 0) == 0) {
            status = IPCX_AGAIN;
        } else {
            status = blocking ? accept_in_kernel(io, fd, addr, err) : accept_now(io, fd, addr, err);
        }
        if (status == IPCX_AGAIN) {
            status = ipcx__wait_ready(io, &wait, POLLIN, err);
            if (status == IPCX_OK) {
                continue;
            }
        }
        return status;
    }
}

/* connect(2) that does not wait, whatever the descriptor's mode. */
static int connect_now(int fd, const struct sockaddr *addr, socklen_t len)
{
    int flags = fcntl(fd, F_GETFL);
    int result, error;
    if (flags < 0) {
        return -1;
    }
    (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    result = connect(fd, addr, len);
    error = errno;
    (void)fcntl(fd, F_SETFL, flags);
    errno = error;
    return result;
}

/* A Unix listener with a full backlog answers EAGAIN and has nothing to poll: look again after naps
 * that grow, at the gate. */
static ipcx_status connect_when_room(const ipcx__io *io, const struct sockaddr *addr, socklen_t len,
                                     ipcx_error *err)
{
    ipcx__wait wait = {.in_vain = INT_MAX}; /* Naps from the start. */
    for (;;) {
        ipcx_status status = ipcx__wait_ready(io, &wait, POLLOUT, err);
        if (status == IPCX_AGAIN) {
            return ipcx_error_set(err, IPCX_SYSTEM, EAGAIN, "connect", "the listener's backlog is full");
        }
        if (status != IPCX_OK) {
            return status;
        }
        if (connect_now(io->fd, addr, len) == 0) {
            return IPCX_OK;
        }
        if (errno != EAGAIN) {
            return ipcx__io_failed("connect", err);
        }
    }
}

ipcx_status ipcx__io_connect(const ipcx__io *io, const struct sockaddr *addr, socklen_t len,
                             ipcx_error *err)
{
    bool as_kernel = io->as_kernel && io->deadline == IPCX_FOREVER;
    if (!as_kernel || ipcx__single_threaded() || is_nonblocking(io->fd)) {
        if (connect(io->fd, addr, len) == 0) {
            return IPCX_OK;
        }
        /* Interrupted, it goes on in the background: connect(2), EINTR. */
        if (io->deadline != IPCX_NOW &&
            (errno == EINTR || (errno == EINPROGRESS && !as_kernel))) {
            return IPCX_MORE;
        }
        return ipcx_error_set(err, IPCX_SYSTEM, errno, "connect", "the peer's address");
    }
    if (connect_now(io->fd, addr, len) == 0) {
        return IPCX_OK;
    }
    if (errno == EINPROGRESS) {
        return IPCX_MORE;
    }
    if (errno == EAGAIN) {
        return connect_when_room(io, addr, len, err);
    }
    return ipcx__io_failed("connect", err);
}

/* How a connection that was under way has ended: 0 or errno. */
static int connect_result(const ipcx__io *io, const struct sockaddr *addr, socklen_t len)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (io->as_kernel && io->deadline == IPCX_FOREVER) {
        /* Asked by connect(2) itself, the socket is afterwards as a blocking connect leaves it: after
         * a failure it may be connected anew. */
        return connect_now(io->fd, addr, len) == 0 || errno == EISCONN ? 0 : errno;
    }
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) {
        return errno;
    }
    return error == EISCONN ? 0 : error;
}

ipcx_status ipcx__io_connected(const ipcx__io *io, const struct sockaddr *addr, socklen_t len,
                               ipcx_error *err)
{
    ipcx__wait wait = {0};
    ipcx_status status = ipcx__wait_ready(io, &wait, POLLOUT, err);
    int error;
    if (status == IPCX_AGAIN) {
        /* SO_SNDTIMEO: socket(7) has connect(2) end with EINPROGRESS. */
        return ipcx_error_set(err, IPCX_SYSTEM, EINPROGRESS, "connect", "still under way");
    }
    if (status != IPCX_OK) {
        return status;
    }
    error = connect_result(io, addr, len);
    return error == 0 ? IPCX_OK
                      : ipcx_error_set(err, IPCX_SYSTEM, error, "connect", "the peer's address");
}
