/* SPDX-License-Identifier: Apache-2.0
 * error: filled in at the point of failure, cut to size, errno kept, NULL allowed. */
#include "check.h"

#include "ipcx/error.h"

TEST(set_fills_and_returns)
{
    ipcx_error err;
    errno = ENOSYS;
    CHECK_STATUS(ipcx_error_set(&err, IPCX_PROTOCOL, EBADMSG, "decode", "byte %d", 7),
                 IPCX_PROTOCOL);
    CHECK_INT(errno, ENOSYS);
    CHECK_STATUS(err.status, IPCX_PROTOCOL);
    CHECK_INT(err.sys_errno, EBADMSG);
    CHECK_STR(err.op, "decode");
    CHECK_STR(err.detail, "byte 7");
}

TEST(system_takes_the_status_of_the_errno)
{
    ipcx_error err = {0};
    CHECK_STATUS(ipcx_error_system(&err, ECONNREFUSED, "connect", "%s", "x:1"), IPCX_REFUSED);
    CHECK_STATUS(err.status, IPCX_REFUSED);
    CHECK_INT(err.sys_errno, ECONNREFUSED);
    CHECK_STR(err.detail, "x:1");
}

TEST(ordinary_answers_leave_it_alone)
{
    ipcx_error err = {.op = "before"};
    CHECK_STATUS(ipcx_error_system(&err, EAGAIN, "recv", "x"), IPCX_AGAIN);
    CHECK_STATUS(ipcx_error_system(&err, EINTR, "recv", "x"), IPCX_INTR);
    CHECK_STR(err.op, "before");
}

TEST(null_is_allowed)
{
    CHECK_STATUS(ipcx_error_set(NULL, IPCX_NOMEM, 0, "x", "%d", 1), IPCX_NOMEM);
    CHECK_STATUS(ipcx_error_system(NULL, EPIPE, "x", "%d", 1), IPCX_PEER_CLOSED);
}

TEST(long_details_are_cut)
{
    struct {
        ipcx_error err;
        char behind[8];
    } both;
    char text[400];
    memset(text, 'd', sizeof text);
    text[sizeof text - 1] = '\0';
    memcpy(both.behind, "behind!", 8);
    (void)ipcx_error_set(&both.err, IPCX_INVALID, 0, "x", "%s", text);
    CHECK_INT(strlen(both.err.detail), sizeof both.err.detail - 1);
    CHECK_STR(both.behind, "behind!");
}
