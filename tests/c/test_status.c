/* SPDX-License-Identifier: Apache-2.0
 * status: every row has a name and a text, and errnos lead to the row that names them. */
#include "check.h"

#include "ipcx/explain_table.h"

TEST(every_row_has_name_and_text)
{
#define ROW(name, value, exception, bases, text_)                                                  \
    CHECK_INT(IPCX_##name, value);                                                                 \
    CHECK_STR(ipcx_status_name(IPCX_##name), #name);                                               \
    CHECK_STR(ipcx_status_text(IPCX_##name), text_);
    IPCX_STATUS_TABLE(ROW)
#undef ROW
}

TEST(what_is_no_status)
{
    volatile int value = 4711;
    CHECK_STR(ipcx_status_name((ipcx_status)value), "?");
    CHECK_STR(ipcx_status_text((ipcx_status)value), "not a status of ipcx");
}

TEST(errnos)
{
#define STATUS_ROW(name, what, causes, cure, program)
#define ERRNO_ROW(name, sys_errno, what, causes, cure, program)                                    \
    CHECK_STATUS(ipcx_status_from_errno(sys_errno), IPCX_##name);
    IPCX_EXPLAIN_TABLE(STATUS_ROW, ERRNO_ROW)
#undef STATUS_ROW
#undef ERRNO_ROW
    CHECK_STATUS(ipcx_status_from_errno(EWOULDBLOCK), IPCX_AGAIN);
    CHECK_STATUS(ipcx_status_from_errno(EINVAL), IPCX_SYSTEM);
    CHECK_STATUS(ipcx_status_from_errno(0), IPCX_SYSTEM);
    CHECK_STATUS(ipcx_status_from_errno(-1), IPCX_SYSTEM);
}
