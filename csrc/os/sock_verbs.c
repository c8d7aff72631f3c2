/* SPDX-License-Identifier: Apache-2.0
 * What an ipcx_sock does: accept, connect, send, recv. The work is done in sock_io.h's functions.
 * Invariant: a verb enters the gate once and leaves it once. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>

#include "os/sock.h"

#ifndef IOV_MAX
#define IOV_MAX 1024 /* readv(2), Linux */
#endif

ipcx_status ipcx_sock_accept(ipcx_sock *sock, ipcx_sock *client, ipcx_addr *addr,
                             ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__visit visit;
    ipcx_addr peer = {0};
    int fd;
    ipcx_status status = ipcx__sock_enter(sock, deadline, "accept", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_accept(&visit.io, &fd, &peer, visit.err);
    if (status == IPCX_OK) {
        /* It cannot fail on a descriptor that the kernel has just given. */
        (void)fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
        ipcx__sock_begin(client, fd, visit.io.stream ? SOCK_STREAM : SOCK_SEQPACKET);
        if (addr != NULL) {
            *addr = peer;
        }
    }
    visit.event.addr = &peer.u.sa;
    visit.event.addr_len = status == IPCX_OK ? peer.len : 0;
    return ipcx__sock_leave(sock, &visit, status);
}

ipcx_status ipcx_sock_connect(ipcx_sock *sock, const ipcx_addr *addr, ipcx_deadline deadline,
                              ipcx_error *err)
{
    ipcx__visit visit;
    ipcx_status status = ipcx__sock_enter(sock, deadline, "connect", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_connect_or_wait(&visit.io, &addr->u.sa, addr->len, visit.err);
    if (status < 0) {
        /* The one who asked knows the address; sock_io.c has only its bytes. */
        (void)ipcx_addr_format(addr, visit.err->detail, sizeof visit.err->detail);
    }
    visit.event.addr = &addr->u.sa;
    visit.event.addr_len = addr->len;
    return ipcx__sock_leave(sock, &visit, status);
}

ipcx_status ipcx_sock_send_all(ipcx_sock *sock, const void *data, size_t size,
                               ipcx_deadline deadline, size_t *sent, ipcx_error *err)
{
    ipcx__visit visit;
    size_t before = *sent;
    ipcx_status status = ipcx__sock_enter(sock, deadline, "send", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_send_all(&visit.io, data, size, MSG_NOSIGNAL, sent, visit.err);
    visit.event.bytes = *sent - before;
    return ipcx__sock_leave(sock, &visit, status);
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
    ipcx__visit visit;
    struct iovec copy[IOV_MAX];
    struct msghdr msg;
    ipcx_status status = message_of(iov, count, copy, &msg, "send", err);
    if (status == IPCX_OK) {
        status = ipcx__sock_enter(sock, deadline, "send", &visit, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (addr != NULL) {
        msg.msg_name = (void *)(uintptr_t)&addr->u;
        msg.msg_namelen = addr->len;
        visit.event.addr = &addr->u.sa;
        visit.event.addr_len = addr->len;
    }
    status = ipcx__io_sendmsg(&visit.io, &msg, MSG_NOSIGNAL, &visit.event.bytes, visit.err);
    if (status == IPCX_OK) {
        *sent = visit.event.bytes;
    }
    return ipcx__sock_leave(sock, &visit, status);
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
    ipcx__visit visit;
    struct iovec copy[IOV_MAX];
    struct msghdr msg;
    ipcx_addr from = {0};
    size_t room = 0;
    ipcx_status status = message_of(iov, count, copy, &msg, "recv", err);
    if (status == IPCX_OK) {
        status = ipcx__sock_enter(sock, deadline, "recv", &visit, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    for (int i = 0; i < count; i++) {
        room += iov[i].iov_len;
    }
    msg.msg_name = &from.u;
    msg.msg_namelen = sizeof from.u;
    status = ipcx__io_recvmsg(&visit.io, &msg, MSG_CMSG_CLOEXEC, &visit.event.bytes, visit.err);
    if (status == IPCX_OK) {
        *got = visit.event.bytes;
        from.len = msg.msg_namelen;
        if (addr != NULL) {
            *addr = from;
        }
        if (*got == 0 && room > 0 && visit.io.stream) {
            status = IPCX_EOF;
        } else if (msg.msg_flags & MSG_TRUNC) {
            status = ipcx_error_set(visit.err, IPCX_TOO_LARGE, EMSGSIZE, "recv",
                                    "the datagram has more than %zu bytes", room);
        }
    }
    visit.event.addr = &from.u.sa;
    visit.event.addr_len = from.len;
    return ipcx__sock_leave(sock, &visit, status);
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
    ipcx__visit visit;
    size_t before = *got;
    ipcx_status status = ipcx__sock_enter(sock, deadline, "recv", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_recv_exactly(&visit.io, buffer, size, got, visit.err);
    visit.event.bytes = *got - before;
    return ipcx__sock_leave(sock, &visit, status);
}
