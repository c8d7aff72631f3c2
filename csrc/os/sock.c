/* SPDX-License-Identifier: Apache-2.0
 * ipcx_sock: a descriptor and its gate, from open to close. What moves data is in sock_verbs.c.
 * Invariant: `fd` is ours exactly while `open` is set. */
#include "ipcx/sock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/fd.h"
#include "os/gate.h"
#include "os/sock.h"
#include "os/sock_io.h"

void ipcx__sock_begin(ipcx_sock *sock, int fd, int type)
{
    *sock = (ipcx_sock){.fd = fd, .open = 1, .stream = type == SOCK_STREAM};
    ipcx__gate_reopen(&sock->gate);
}

ipcx_status ipcx__sock_enter(ipcx_sock *sock, ipcx_deadline deadline, const char *op,
                             ipcx__visit *visit, ipcx_error *err)
{
    if (!__atomic_load_n(&sock->open, __ATOMIC_ACQUIRE) || !ipcx__gate_enter(&sock->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, op, "the socket");
    }
    visit->io = (ipcx__io){
        .fd = sock->fd,
        .gate = &sock->gate,
        .deadline = deadline,
        .stream = sock->stream != 0,
    };
    visit->spare = (ipcx_error){0};
    visit->err = err == NULL ? &visit->spare : err;
    visit->event = (ipcx_trace_event){.op = op, .fd = sock->fd};
    visit->begun = ipcx__trace_begin();
    return IPCX_OK;
}

ipcx_status ipcx__sock_leave(ipcx_sock *sock, ipcx__visit *visit, ipcx_status status)
{
    ipcx__gate_leave(&sock->gate);
    if (IPCX_UNLIKELY(visit->begun != 0)) {
        visit->event.status = status;
        visit->event.sys_errno = status < 0 ? visit->err->sys_errno : 0;
        ipcx__trace_end(visit->begun, &visit->event);
    }
    return status;
}

ipcx_status ipcx__sock_made(const char *op, int fd, int64_t begun, ipcx_status status,
                            const ipcx_error *err)
{
    if (IPCX_UNLIKELY(begun != 0)) {
        ipcx__trace_end(begun, &(ipcx_trace_event){
                                   .op = op,
                                   .fd = fd,
                                   .status = status,
                                   .sys_errno = status < 0 && err != NULL ? err->sys_errno : 0,
                               });
    }
    return status;
}

ipcx_status ipcx_sock_open(ipcx_sock *sock, int family, int type, int protocol, ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    ipcx_status status = IPCX_OK;
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (fd < 0) {
        status = ipcx_error_system(err, errno, "socket", "family %d, type %d", family, type);
    } else {
        ipcx__sock_begin(sock, fd, type);
    }
    return ipcx__sock_made("socket", fd, begun, status, err);
}

ipcx_status ipcx_sock_pair(ipcx_sock *a, ipcx_sock *b, int type, ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    ipcx_status status = IPCX_OK;
    int fds[2] = {-1, -1};
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) {
        status = ipcx_error_system(err, errno, "socketpair", "type %d", type);
    } else {
        ipcx__sock_begin(a, fds[0], type);
        ipcx__sock_begin(b, fds[1], type);
    }
    return ipcx__sock_made("socketpair", fds[0], begun, status, err);
}

ipcx_status ipcx_sock_adopt(ipcx_sock *sock, int fd, ipcx_error *err)
{
    int type;
    socklen_t size = sizeof type;
    ipcx_status status;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) {
        return ipcx_error_set(err, IPCX_INVALID, errno, "adopt", "descriptor %d is no socket", fd);
    }
    status = ipcx_fd_set_cloexec(fd, 1, err);
    if (status == IPCX_OK) {
        status = ipcx_fd_set_nonblocking(fd, 1, err);
    }
    if (status == IPCX_OK) {
        ipcx__sock_begin(sock, fd, type);
    }
    return status;
}

/* Turns everybody out. True: it was open, and the descriptor is now the caller's alone; of two
 * threads that come at once, one finds it so. */
static bool end(ipcx_sock *sock, int *fd)
{
    if (!__atomic_load_n(&sock->open, __ATOMIC_ACQUIRE)) {
        return false;
    }
    ipcx__gate_close(&sock->gate);
    *fd = sock->fd;
    return __atomic_exchange_n(&sock->open, 0, __ATOMIC_ACQ_REL) != 0;
}

ipcx_status ipcx_sock_detach(ipcx_sock *sock, int *fd, ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    int mine;
    if (!end(sock, &mine)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, "detach", "the socket");
    }
    *fd = mine;
    return ipcx__sock_made("detach", mine, begun, IPCX_OK, NULL);
}

ipcx_status ipcx_sock_close(ipcx_sock *sock, ipcx_error *err)
{
    int64_t begun = ipcx__trace_begin();
    int fd;
    if (!end(sock, &fd)) {
        return IPCX_OK;
    }
    return ipcx__sock_made("close", fd, begun, ipcx_fd_close(fd, err), err);
}

ipcx_status ipcx_sock_bind(ipcx_sock *sock, const ipcx_addr *addr, ipcx_error *err)
{
    ipcx__visit visit;
    ipcx_status status = ipcx__sock_enter(sock, IPCX_NOW, "bind", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (bind(visit.io.fd, &addr->u.sa, addr->len) < 0) {
        char text[IPCX_ADDR_TEXT_MAX];
        int error = errno;
        (void)ipcx_addr_format(addr, text, sizeof text);
        status = ipcx_error_system(visit.err, error, "bind", "%s", text);
    }
    visit.event.addr = &addr->u.sa;
    visit.event.addr_len = addr->len;
    return ipcx__sock_leave(sock, &visit, status);
}

ipcx_status ipcx_sock_listen(ipcx_sock *sock, int backlog, ipcx_error *err)
{
    ipcx__visit visit;
    ipcx_status status = ipcx__sock_enter(sock, IPCX_NOW, "listen", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (listen(visit.io.fd, backlog) < 0) {
        status = ipcx_error_system(visit.err, errno, "listen", "backlog %d", backlog);
    }
    return ipcx__sock_leave(sock, &visit, status);
}

static ipcx_status address_of(ipcx_sock *sock, int (*ask)(int, struct sockaddr *, socklen_t *),
                              const char *op, ipcx_addr *addr, ipcx_error *err)
{
    ipcx__visit visit;
    ipcx_addr found = {.len = sizeof found.u};
    ipcx_status status = ipcx__sock_enter(sock, IPCX_NOW, op, &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (ask(visit.io.fd, &found.u.sa, &found.len) < 0) {
        status = ipcx_error_system(visit.err, errno, op, "descriptor %d", visit.io.fd);
    } else {
        *addr = found;
    }
    return ipcx__sock_leave(sock, &visit, status);
}

static int own_name(int fd, struct sockaddr *addr, socklen_t *len)
{
    return getsockname(fd, addr, len);
}

static int peer_name(int fd, struct sockaddr *addr, socklen_t *len)
{
    return getpeername(fd, addr, len);
}

ipcx_status ipcx_sock_name(ipcx_sock *sock, ipcx_addr *addr, ipcx_error *err)
{
    return address_of(sock, own_name, "getsockname", addr, err);
}

ipcx_status ipcx_sock_peer(ipcx_sock *sock, ipcx_addr *addr, ipcx_error *err)
{
    return address_of(sock, peer_name, "getpeername", addr, err);
}
