/* SPDX-License-Identifier: Apache-2.0
 * Names and texts of the outcomes, expanded from the tables.
 * Invariant: this file spells no status, text or errno of its own. */
#include "ipcx/status.h"

#include <errno.h>

#include "ipcx/explain_table.h"

const char *ipcx_status_name(ipcx_status status)
{
    switch (status) {
#define CASE(name, value, exception, bases, text)                                                  \
    case IPCX_##name:                                                                              \
        return #name;
        IPCX_STATUS_TABLE(CASE)
#undef CASE
    }
    return "?";
}

const char *ipcx_status_text(ipcx_status status)
{
    switch (status) {
#define CASE(name, value, exception, bases, text)                                                  \
    case IPCX_##name:                                                                              \
        return text;
        IPCX_STATUS_TABLE(CASE)
#undef CASE
    }
    return "not a status of ipcx";
}

ipcx_status ipcx_status_from_errno(int sys_errno)
{
    switch (sys_errno) {
#define STATUS_ROW(name, what, causes, cure, program)
#define ERRNO_ROW(name, sys_errno, what, causes, cure, program)                                    \
    case sys_errno:                                                                                \
        return IPCX_##name;
        IPCX_EXPLAIN_TABLE(STATUS_ROW, ERRNO_ROW)
#undef STATUS_ROW
#undef ERRNO_ROW
    default:
        return IPCX_SYSTEM;
    }
}
