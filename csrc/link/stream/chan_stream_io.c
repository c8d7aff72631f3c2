/* SPDX-License-Identifier: Apache-2.0
 * The system calls of a stream channel, over sockets, pipes and whatever was inherited.
 * Invariant: none waits but read_asleep, none raises SIGPIPE, and each descriptor that recvmsg(2)
 * hands us is kept in `fds` or closed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link/stream/chan_stream_parts.h"
#include "os/pipe.h"

#define FDS_MAX IPCX__END_FDS

typedef union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
} control;

void ipcx__fds_close(int *fds, int *count)
{
    while (*count > 0) {
        (void)close(fds[--*count]);
    }
}

void ipcx__unit_skip(ipcx__unit *unit, size_t sent)
{
    unit->begun = unit->begun || sent > 0;
    if (IPCX_LIKELY(sent == unit->left)) {
        unit->left = 0;
        unit->pieces = 0;
        return;
    }
    unit->left -= sent;
    while (unit->pieces > 0 && sent >= unit->piece[0].iov_len) {
        sent -= unit->piece[0].iov_len;
        unit->pieces--;
        memmove(&unit->piece[0], &unit->piece[1], (size_t)unit->pieces * sizeof unit->piece[0]);
    }
    if (unit->pieces > 0) {
        unit->piece[0].iov_base = (char *)unit->piece[0].iov_base + sent;
        unit->piece[0].iov_len -= sent;
    }
}

/* ---- writing */

static ssize_t send_socket(int fd, const ipcx__unit *unit)
{
    control with = {0};
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)unit->piece,
                         .msg_iovlen = (size_t)unit->pieces};
    if (unit->pieces == 1 && (unit->fd_count == 0 || unit->begun)) {
        return send(fd, unit->piece[0].iov_base, unit->piece[0].iov_len,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (unit->fd_count > 0 && !unit->begun) {
        size_t bytes = (size_t)unit->fd_count * sizeof(int);
        msg.msg_control = &with;
        msg.msg_controllen = CMSG_SPACE(bytes);
        with.header.cmsg_level = SOL_SOCKET;
        with.header.cmsg_type = SCM_RIGHTS;
        with.header.cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(&with.header), unit->fds, bytes);
    }
    return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool ready(int fd, short events)
{
    struct pollfd polled = {.fd = fd, .events = events};
    return poll(&polled, 1, 0) > 0;
}

/* Where others have the open file too, poll(2) first: it promises room for PIPE_BUF bytes, and so
 * little never blocks: pipe(7). */
static ssize_t write_pipe(const ipcx__stream *self, const ipcx__unit *unit)
{
    struct iovec little = unit->piece[0];
    const struct iovec *pieces = unit->piece;
    int count = unit->pieces;
    if (self->write_way == IPCX__WAY_SHARED) {
        if (!ready(self->write_fd, POLLOUT)) {
            errno = EAGAIN;
            return -1;
        }
        little.iov_len = little.iov_len < PIPE_BUF ? little.iov_len : PIPE_BUF;
        pieces = &little;
        count = 1;
    }
    if (self->raises_sigpipe) {
        return ipcx__writev_quietly(self->write_fd, pieces, count);
    }
    return count == 1 ? write(self->write_fd, pieces->iov_base, pieces->iov_len)
                      : writev(self->write_fd, pieces, count);
}

ssize_t ipcx__stream_write(ipcx__stream *self, const ipcx__unit *unit)
{
    ssize_t n;
    do {
        n = self->write_way == IPCX__WAY_SOCKET ? send_socket(self->write_fd, unit)
                                                : write_pipe(self, unit);
    } while (n < 0 && errno == EINTR);
    return n;
}

ssize_t ipcx__stream_put(ipcx__stream *self, const void *bytes, size_t size)
{
    ssize_t n;
    do {
        n = self->write_way == IPCX__WAY_SOCKET
                ? send(self->write_fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL)
                : write(self->write_fd, bytes, size);
    } while (n < 0 && errno == EINTR);
    return n;
}

/* ---- reading */

/* Takes the descriptors that came with bytes; false when they are not as they must be. */
static bool take_fds(ipcx__stream *self, struct msghdr *msg)
{
    bool good = (msg->msg_flags & MSG_CTRUNC) == 0;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(msg); at != NULL; at = CMSG_NXTHDR(msg, at)) {
        size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
            if (self->fd_count < FDS_MAX) {
                self->fds[self->fd_count++] = fd;
            } else {
                (void)close(fd);
                good = false;
            }
        }
    }
    if (!good) {
        ipcx__fds_close(self->fds, &self->fd_count);
    }
    return good;
}

/* The kernel ends what it hands out behind the bytes that descriptors came with; so while some are
 * unclaimed, no others can come: unix(7). */
static ssize_t read_unix(ipcx__stream *self, void *room, size_t size, int flags)
{
    control with;
    struct iovec iov = {.iov_base = room, .iov_len = size};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &with, .msg_controllen = sizeof with};
    bool some = self->fd_count > 0;
    ssize_t n = recvmsg(self->read_fd, &msg, flags | MSG_CMSG_CLOEXEC);
    if (n >= 0 && (msg.msg_controllen > 0 || (msg.msg_flags & MSG_CTRUNC))) {
        if (!take_fds(self, &msg) || some) {
            ipcx__fds_close(self->fds, &self->fd_count);
            errno = EBADMSG;
            return -1;
        }
    }
    return n;
}

ssize_t ipcx__stream_read(ipcx__stream *self, void *room, size_t size)
{
    ssize_t n;
    do {
        if (self->is_unix) {
            n = read_unix(self, room, size, MSG_DONTWAIT);
        } else if (self->read_way == IPCX__WAY_SOCKET) {
            n = recv(self->read_fd, room, size, MSG_DONTWAIT);
        } else if (self->read_way == IPCX__WAY_SHARED && !ready(self->read_fd, POLLIN)) {
            errno = EAGAIN;
            n = -1;
        } else {
            n = read(self->read_fd, room, size);
        }
    } while (n < 0 && errno == EINTR);
    return n;
}

ssize_t ipcx__stream_read_asleep(ipcx__stream *self, void *room, size_t size)
{
    return read_unix(self, room, size, 0);
}

/* ---- what kind of descriptor it is */

/* A pipe that was inherited shares its O_NONBLOCK with whoever else has it, a shell perhaps. Opened
 * anew it is ours alone. Not for a file: that would begin at its first byte again. */
static int reopen(int fd, int flags)
{
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

ipcx_status ipcx__stream_way(int fd, int flags, ipcx__way *way, int *own, ipcx_error *err)
{
    struct stat kind;
    int modes;
    *own = -1;
    if (fd < 0) {
        *way = IPCX__WAY_NONE;
        return IPCX_OK;
    }
    modes = fcntl(fd, F_GETFL);
    if (modes < 0 || fstat(fd, &kind) < 0) {
        return ipcx_error_system(err, errno, "channel", "descriptor %d", fd);
    }
    if ((modes & O_ACCMODE) != O_RDWR && (modes & O_ACCMODE) != flags) {
        return ipcx_error_set(err, IPCX_SYSTEM, EBADF, "channel",
                              "descriptor %d is not open for %s", fd,
                              flags == O_RDONLY ? "reading" : "writing");
    }
    if (S_ISSOCK(kind.st_mode)) {
        *way = IPCX__WAY_SOCKET;
        return IPCX_OK;
    }
    *way = IPCX__WAY_SHARED;
    if (S_ISFIFO(kind.st_mode) && (modes & O_NONBLOCK)) {
        *way = IPCX__WAY_OWN; /* whoever set it so reckons with it */
    } else if (S_ISFIFO(kind.st_mode) || S_ISCHR(kind.st_mode)) {
        *own = reopen(fd, flags);
        *way = *own >= 0 ? IPCX__WAY_OWN : IPCX__WAY_SHARED;
    }
    return IPCX_OK;
}
