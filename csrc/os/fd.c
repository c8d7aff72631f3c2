/* SPDX-License-Identifier: Apache-2.0
 * Closing, duplicating and flagging descriptors.
 * Invariant: no call is repeated after it may have taken effect. */
#include "ipcx/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static ipcx_status fd_fail(ipcx_error *err, const char *op, int fd)
{
    return ipcx_error_system(err, errno, op, "descriptor %d", fd);
}

static ipcx_status fd_flag(int fd, int get, int set, int flag, int on, const char *op,
                           ipcx_error *err)
{
    int flags = fcntl(fd, get);
    int wanted;
    if (flags < 0) {
        return fd_fail(err, op, fd);
    }
    wanted = on ? flags | flag : flags & ~flag;
    if (wanted != flags && fcntl(fd, set, wanted) < 0) {
        return fd_fail(err, op, fd);
    }
    return IPCX_OK;
}

static ipcx_status fd_has_flag(int fd, int get, int flag, int *on, const char *op, ipcx_error *err)
{
    int flags = fcntl(fd, get);
    if (flags < 0) {
        return fd_fail(err, op, fd);
    }
    *on = (flags & flag) != 0;
    return IPCX_OK;
}

ipcx_status ipcx_fd_close(int fd, ipcx_error *err)
{
    if (close(fd) == 0 || errno == EINTR || errno == ECONNRESET) {
        return IPCX_OK;
    }
    return fd_fail(err, "close", fd);
}

ipcx_status ipcx_fd_dup(int fd, int *out, ipcx_error *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) {
        return fd_fail(err, "dup", fd);
    }
    *out = copy;
    return IPCX_OK;
}

ipcx_status ipcx_fd_set_nonblocking(int fd, int on, ipcx_error *err)
{
    return fd_flag(fd, F_GETFL, F_SETFL, O_NONBLOCK, on, "set_nonblocking", err);
}

ipcx_status ipcx_fd_get_nonblocking(int fd, int *on, ipcx_error *err)
{
    return fd_has_flag(fd, F_GETFL, O_NONBLOCK, on, "get_nonblocking", err);
}

ipcx_status ipcx_fd_set_cloexec(int fd, int on, ipcx_error *err)
{
    return fd_flag(fd, F_GETFD, F_SETFD, FD_CLOEXEC, on, "set_cloexec", err);
}

ipcx_status ipcx_fd_get_cloexec(int fd, int *on, ipcx_error *err)
{
    return fd_has_flag(fd, F_GETFD, FD_CLOEXEC, on, "get_cloexec", err);
}
