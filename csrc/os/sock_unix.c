/* SPDX-License-Identifier: Apache-2.0
 * Descriptors and credentials over Unix sockets.
 * Invariant: each descriptor that recvmsg(2) hands us goes to the caller or is closed here. */
#include "ipcx/sock_unix.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/sock.h"

/* Room for the largest set, aligned as cmsg(3) wants it. */
typedef union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(IPCX_SOCK_FDS_MAX * sizeof(int))];
} control;

ipcx_status ipcx_sock_send_fds(ipcx_sock *sock, const void *data, size_t size, const int *fds,
                               int count, ipcx_deadline deadline, size_t *sent, ipcx_error *err)
{
    ipcx__visit visit;
    control with = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    size_t bytes = (size_t)count * sizeof *fds;
    ipcx_status status;

    if (size == 0 || count < 0 || count > IPCX_SOCK_FDS_MAX) {
        return ipcx_error_set(err, IPCX_INVALID, EINVAL, "send_fds",
                              "%d descriptors with %zu bytes; at most %d, with at least 1 byte",
                              count, size, IPCX_SOCK_FDS_MAX);
    }
    if (count > 0) {
        msg.msg_control = &with;
        msg.msg_controllen = CMSG_SPACE(bytes);
        with.header.cmsg_level = SOL_SOCKET;
        with.header.cmsg_type = SCM_RIGHTS;
        with.header.cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(&with.header), fds, bytes);
    }
    status = ipcx__sock_enter(sock, deadline, "send_fds", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_sendmsg(&visit.io, &msg, MSG_NOSIGNAL, &visit.event.bytes, visit.err);
    if (status == IPCX_OK) {
        *sent = visit.event.bytes;
    }
    return ipcx__sock_leave(sock, &visit, status);
}

/* Takes the descriptors out of `msg`: into fds while there is room, else they are closed. */
static int take_fds(struct msghdr *msg, int *fds, int room)
{
    int came = 0;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(msg); at != NULL; at = CMSG_NXTHDR(msg, at)) {
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            if (came < room) {
                fds[came] = fd;
            } else {
                (void)close(fd);
            }
            came++;
        }
    }
    return came;
}

ipcx_status ipcx_sock_recv_fds(ipcx_sock *sock, void *buffer, size_t size, int *fds, int *count,
                               ipcx_deadline deadline, size_t *got, ipcx_error *err)
{
    ipcx__visit visit;
    control with;
    struct iovec iov = {.iov_base = buffer, .iov_len = size};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &with, .msg_controllen = sizeof with};
    int room = *count, came;
    ipcx_status status = ipcx__sock_enter(sock, deadline, "recv_fds", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__io_recvmsg(&visit.io, &msg, MSG_CMSG_CLOEXEC, &visit.event.bytes, visit.err);
    if (status == IPCX_OK) {
        *got = visit.event.bytes;
        came = take_fds(&msg, fds, room);
        *count = came < room ? came : room;
        if (came > room || (msg.msg_flags & MSG_CTRUNC)) {
            while (*count > 0) {
                (void)close(fds[--*count]);
            }
            status = ipcx_error_set(visit.err, IPCX_PROTOCOL, 0, "recv_fds",
                                    "more descriptors came than the %d there is room for", room);
        } else if (msg.msg_flags & MSG_TRUNC) {
            status = ipcx_error_set(visit.err, IPCX_TOO_LARGE, EMSGSIZE, "recv_fds",
                                    "the datagram has more than %zu bytes", size);
        } else if (*got == 0 && size > 0 && visit.io.stream) {
            status = IPCX_EOF;
        }
    }
    return ipcx__sock_leave(sock, &visit, status);
}

ipcx_status ipcx_sock_peer_cred(ipcx_sock *sock, ipcx_cred *cred, ipcx_error *err)
{
    ipcx__visit visit;
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    ipcx_status status = ipcx__sock_enter(sock, IPCX_NOW, "peer_cred", &visit, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (getsockopt(visit.io.fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        status = ipcx_error_system(visit.err, errno, "peer_cred", "descriptor %d", visit.io.fd);
    } else if (peer.pid == 0 && peer.uid == (uid_t)-1) {
        status = ipcx_error_set(visit.err, IPCX_UNSUPPORTED, 0, "peer_cred",
                                "descriptor %d is not a connected Unix socket", visit.io.fd);
    } else {
        *cred = (ipcx_cred){.pid = peer.pid, .uid = peer.uid, .gid = peer.gid};
    }
    return ipcx__sock_leave(sock, &visit, status);
}
