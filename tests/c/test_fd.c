/* SPDX-License-Identifier: Apache-2.0
 * fd: close, dup and the flags, on real descriptors and on none. */
#include "check.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "ipcx/fd.h"

static int open_null(void)
{
    int fd = open("/dev/null", O_RDWR);
    REQUIRE(fd >= 0);
    return fd;
}

TEST(close_closes)
{
    ipcx_error err;
    int fd = open_null();
    CHECK_OK(ipcx_fd_close(fd, &err));
    CHECK_STATUS(ipcx_fd_close(fd, &err), IPCX_CLOSED);
    CHECK_INT(err.sys_errno, EBADF);
    CHECK_STR(err.op, "close");
    CHECK_STATUS(ipcx_fd_close(-1, NULL), IPCX_CLOSED);
}

TEST(close_reports_lost_data)
{
    int fd = open("/dev/full", O_WRONLY);
    REQUIRE(fd >= 0);
    CHECK(write(fd, "x", 1) == -1 && errno == ENOSPC);
    CHECK_OK(ipcx_fd_close(fd, NULL));
}

TEST(dup_is_close_on_exec_and_shares)
{
    int fd = open_null(), copy = -1, on = -1;
    CHECK_OK(ipcx_fd_dup(fd, &copy, NULL));
    CHECK(copy != fd);
    CHECK_OK(ipcx_fd_get_cloexec(copy, &on, NULL));
    CHECK_INT(on, 1);
    CHECK_OK(ipcx_fd_set_nonblocking(copy, 1, NULL));
    CHECK_OK(ipcx_fd_get_nonblocking(fd, &on, NULL));
    CHECK_INT(on, 1);
    CHECK_OK(ipcx_fd_close(fd, NULL));
    CHECK_OK(ipcx_fd_close(copy, NULL));
}

TEST(dup_without_room)
{
    struct rlimit before, none;
    ipcx_error err;
    int copy = 4711, fd = open_null();
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = 1;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK_STATUS(ipcx_fd_dup(fd, &copy, &err), IPCX_EXHAUSTED);
    CHECK_INT(err.sys_errno, EMFILE);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK_INT(copy, 4711);
    CHECK_OK(ipcx_fd_close(fd, NULL));
}

TEST(flags_go_on_and_off)
{
    int fd = open_null(), on = -1, i;
    for (i = 0; i < 4; i++) {
        CHECK_OK(ipcx_fd_set_nonblocking(fd, i & 1, NULL));
        CHECK_OK(ipcx_fd_get_nonblocking(fd, &on, NULL));
        CHECK_INT(on, i & 1);
        CHECK_OK(ipcx_fd_set_cloexec(fd, i & 1, NULL));
        CHECK_OK(ipcx_fd_get_cloexec(fd, &on, NULL));
        CHECK_INT(on, i & 1);
    }
    CHECK_INT(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
    CHECK_OK(ipcx_fd_close(fd, NULL));
}

TEST(no_descriptor)
{
    ipcx_error err;
    int out = 4711;
    CHECK_STATUS(ipcx_fd_dup(-1, &out, &err), IPCX_CLOSED);
    CHECK_STATUS(ipcx_fd_get_cloexec(-1, &out, &err), IPCX_CLOSED);
    CHECK_STATUS(ipcx_fd_get_nonblocking(1 << 30, &out, &err), IPCX_CLOSED);
    CHECK_STATUS(ipcx_fd_set_cloexec(-1, 1, &err), IPCX_CLOSED);
    CHECK_STATUS(ipcx_fd_set_nonblocking(-1, 1, &err), IPCX_CLOSED);
    CHECK_STR(err.op, "set_nonblocking");
    CHECK_STR(err.detail, "descriptor -1");
    CHECK_INT(out, 4711);
}
