/* SPDX-License-Identifier: Apache-2.0
 * ipcx_sock: a descriptor and its gate; the verbs are those of sock_io.h.
 * Invariant: `fd` is ours exactly while `open` is set. */
#include "ipcx/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/fd.h"
#include "os/gate.h"
#include "os/sock.h"
#include "os/sock_io.h"

#ifndef IOV_MAX
#define IOV_MAX 1024 /* readv(2), Linux */
#endif

static void begin(ipcx_sock *sock, int fd, int type)
{
    *sock = (ipcx_sock){.fd = fd, .open = 1, .stream = type == SOCK_STREAM};
    ipcx__gate_reopen(&sock->gate);
}

ipcx_status ipcx__sock_enter(ipcx_sock *sock, ipcx_deadline deadline, const char *op, ipcx__io *io,
                             ipcx_error *err)
{
    if (!__atomic_load_n(&sock->open, __ATOMIC_ACQUIRE) || !ipcx__gate_enter(&sock->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, op, "the socket");
    }
    *io = (ipcx__io){
        .fd = sock->fd,
        .gate = &sock->gate,
        .deadline = deadline,
        .stream = sock->stream != 0,
    };
    return IPCX_OK;
}

ipcx_status ipcx__sock_leave(ipcx_sock *sock, int64_t begun, ipcx_status status,
                             ipcx_trace_event *event)
{
    ipcx__gate_leave(&sock->gate);
    if (IPCX_UNLIKELY(begun != 0)) {
        event->fd = sock->fd;
        event->status = status;
        ipcx__trace_end(begun, event);
    }
    return status;
}

ipcx_status ipcx_sock_open(ipcx_sock *sock, int family, int type, int protocol, ipcx_error *err)
{
    int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (fd < 0) {
        return ipcx_error_system(err, errno, "socket", "family %d, type %d", family, type);
    }
    begin(sock, fd, type);
    return IPCX_OK;
}

ipcx_status ipcx_sock_pair(ipcx_sock *a, ipcx_sock *b, int type, ipcx_error *err)
{
    int fds[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) {
        return ipcx_error_system(err, errno, "socketpair", "type %d", type);
    }
    begin(a, fds[0], type);
    begin(b, fds[1], type);
    return IPCX_OK;
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
        begin(sock, fd, type);
    }
    return status;
}

ipcx_status ipcx_sock_detach(ipcx_sock *sock, int *fd, ipcx_error *err)
{
    if (!sock->open) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, "detach", "the socket");
    }
    ipcx__gate_close(&sock->gate);
    *fd = sock->fd;
    *sock = (ipcx_sock){0};
    return IPCX_OK;
}

ipcx_status ipcx_sock_close(ipcx_sock *sock, ipcx_error *err)
{
    int fd;
    if (!__atomic_load_n(&sock->open, __ATOMIC_ACQUIRE)) {
        return IPCX_OK;
    }
    ipcx__gate_close(&sock->gate);
    fd = sock->fd;
    /* Of two threads that close at once, one finds it open. */
    return __atomic_exchange_n(&sock->open, 0, __ATOMIC_ACQ_REL) ? ipcx_fd_close(fd, err) : IPCX_OK;
}

ipcx_status ipcx_sock_bind(ipcx_sock *sock, const ipcx_addr *addr, ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    char text[IPCX_ADDR_TEXT_MAX];
    ipcx_status status = ipcx__sock_enter(sock, IPCX_NOW, "bind", &io, err);
    int64_t begun = ipcx__trace_begin();
    if (status != IPCX_OK) {
        return status;
    }
    if (bind(io.fd, &addr->u.sa, addr->len) < 0) {
        int error = errno;
        (void)ipcx_addr_format(addr, text, sizeof text);
        status = ipcx_error_system(err, error, "bind", "%s", text);
    }
    return ipcx__sock_leave(
        sock, begun, status,
        &(ipcx_trace_event){.op = "bind", .addr = &addr->u.sa, .addr_len = addr->len});
}

ipcx_status ipcx_sock_listen(ipcx_sock *sock, int backlog, ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    ipcx_status status = ipcx__sock_enter(sock, IPCX_NOW, "listen", &io, err);
    int64_t begun = ipcx__trace_begin();
    if (status != IPCX_OK) {
        return status;
    }
    if (listen(io.fd, backlog) < 0) {
        status = ipcx_error_system(err, errno, "listen", "backlog %d", backlog);
    }
    return ipcx__sock_leave(sock, begun, status, &(ipcx_trace_event){.op = "listen"});
}

static ipcx_status address_of(ipcx_sock *sock, int (*ask)(int, struct sockaddr *, socklen_t *),
                              const char *op, ipcx_addr *addr, ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    ipcx_addr found = {.len = sizeof found.u};
    ipcx_status status = ipcx__sock_enter(sock, IPCX_NOW, op, &io, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (ask(io.fd, &found.u.sa, &found.len) < 0) {
        status = ipcx_error_system(err, errno, op, "descriptor %d", io.fd);
    } else {
        *addr = found;
    }
    ipcx__gate_leave(&sock->gate);
    return status;
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

ipcx_status ipcx_sock_accept(ipcx_sock *sock, ipcx_sock *client, ipcx_addr *addr,
                             ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    ipcx_addr peer = {0};
    int fd = -1;
    ipcx_status status = ipcx__sock_enter(sock, deadline, "accept", &io, err);
    int64_t begun = ipcx__trace_begin();
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_accept(&io, &fd, &peer, err);
    if (status == IPCX_OK) {
        /* It cannot fail on a descriptor that the kernel has just given. */
        (void)fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
        begin(client, fd, sock->stream ? SOCK_STREAM : SOCK_SEQPACKET);
        if (addr != NULL) {
            *addr = peer;
        }
    }
    return ipcx__sock_leave(
        sock, begun, status,
        &(ipcx_trace_event){.op = "accept", .addr = &peer.u.sa, .addr_len = peer.len});
}

ipcx_status ipcx_sock_connect(ipcx_sock *sock, const ipcx_addr *addr, ipcx_deadline deadline,
                              ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    ipcx_status status = ipcx__sock_enter(sock, deadline, "connect", &io, err);
    int64_t begun = ipcx__trace_begin();
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_connect_or_wait(&io, &addr->u.sa, addr->len, err);
    return ipcx__sock_leave(
        sock, begun, status,
        &(ipcx_trace_event){.op = "connect", .addr = &addr->u.sa, .addr_len = addr->len});
}

ipcx_status ipcx_sock_send_all(ipcx_sock *sock, const void *data, size_t size,
                               ipcx_deadline deadline, size_t *sent, ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    size_t before = *sent;
    ipcx_status status = ipcx__sock_enter(sock, deadline, "send", &io, err);
    int64_t begun = ipcx__trace_begin();
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_send_all(&io, data, size, MSG_NOSIGNAL, sent, err);
    return ipcx__sock_leave(sock, begun, status,
                            &(ipcx_trace_event){.op = "send", .bytes = *sent - before});
}

/* The message that `iov` describes; sendmsg and recvmsg may use the copy up. */
static ipcx_status message_of(const struct iovec *iov, int count, struct iovec *copy,
                              struct msghdr *msg, const char *op, ipcx_error *err)
{
    if (count < 0 || count > IOV_MAX) {
        return ipcx_error_set(err, IPCX_INVALID, EINVAL, op, "%d pieces; 0 to %d can be", count,
                              IOV_MAX);
    }
    for (int i = 0; i < count; i++) {
        copy[i] = iov[i];
    }
    *msg = (struct msghdr){.msg_iov = copy, .msg_iovlen = (size_t)count};
    return IPCX_OK;
}

ipcx_status ipcx_sock_sendv(ipcx_sock *sock, const struct iovec *iov, int count,
                            const ipcx_addr *addr, ipcx_deadline deadline, size_t *sent,
                            ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    struct iovec copy[IOV_MAX];
    struct msghdr msg;
    size_t done = 0;
    int64_t begun = ipcx__trace_begin();
    ipcx_status status = message_of(iov, count, copy, &msg, "send", err);
    if (status == IPCX_OK) {
        status = ipcx__sock_enter(sock, deadline, "send", &io, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (addr != NULL) {
        msg.msg_name = (void *)(uintptr_t)&addr->u;
        msg.msg_namelen = addr->len;
    }
    status = ipcx__io_sendmsg(&io, &msg, MSG_NOSIGNAL, &done, err);
    if (status == IPCX_OK) {
        *sent = done;
    }
    return ipcx__sock_leave(sock, begun, status, &(ipcx_trace_event){.op = "send", .bytes = done});
}

ipcx_status ipcx_sock_send(ipcx_sock *sock, const void *data, size_t size, ipcx_deadline deadline,
                           size_t *sent, ipcx_error *err)
{
    const struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return ipcx_sock_sendv(sock, &iov, 1, NULL, deadline, sent, err);
}

ipcx_status ipcx_sock_recvv(ipcx_sock *sock, const struct iovec *iov, int count, ipcx_addr *addr,
                            ipcx_deadline deadline, size_t *got, ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    struct iovec copy[IOV_MAX];
    struct msghdr msg;
    ipcx_addr from = {0};
    size_t done = 0, room = 0;
    int64_t begun = ipcx__trace_begin();
    ipcx_status status = message_of(iov, count, copy, &msg, "recv", err);
    if (status == IPCX_OK) {
        status = ipcx__sock_enter(sock, deadline, "recv", &io, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    for (int i = 0; i < count; i++) {
        room += iov[i].iov_len;
    }
    msg.msg_name = &from.u;
    msg.msg_namelen = sizeof from.u;
    status = ipcx__io_recvmsg(&io, &msg, MSG_CMSG_CLOEXEC, &done, err);
    if (status == IPCX_OK) {
        *got = done;
        from.len = msg.msg_namelen;
        if (addr != NULL) {
            *addr = from;
        }
        if (done == 0 && room > 0 && io.stream) {
            status = IPCX_EOF;
        } else if (msg.msg_flags & MSG_TRUNC) {
            status = ipcx_error_set(err, IPCX_TOO_LARGE, EMSGSIZE, "recv",
                                    "the datagram has more than %zu bytes", room);
        }
    }
    return ipcx__sock_leave(
        sock, begun, status,
        &(ipcx_trace_event){.op = "recv", .bytes = done, .addr = &from.u.sa, .addr_len = from.len});
}

ipcx_status ipcx_sock_recv(ipcx_sock *sock, void *buffer, size_t size, ipcx_deadline deadline,
                           size_t *got, ipcx_error *err)
{
    const struct iovec iov = {.iov_base = buffer, .iov_len = size};
    return ipcx_sock_recvv(sock, &iov, 1, NULL, deadline, got, err);
}

ipcx_status ipcx_sock_recv_exactly(ipcx_sock *sock, void *buffer, size_t size,
                                   ipcx_deadline deadline, size_t *got, ipcx_error *err)
{
    ipcx__io io = {.fd = -1};
    size_t before = *got;
    ipcx_status status = ipcx__sock_enter(sock, deadline, "recv", &io, err);
    int64_t begun = ipcx__trace_begin();
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_recv_exactly(&io, buffer, size, got, err);
    return ipcx__sock_leave(sock, begun, status,
                            &(ipcx_trace_event){.op = "recv", .bytes = *got - before});
}
