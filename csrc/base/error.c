/* SPDX-License-Identifier: Apache-2.0
 * Filling in an ipcx_error.
 * Invariant: errno survives, so a caller may still look at it. */
#include "ipcx/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void fill(ipcx_error *err, ipcx_status status, int sys_errno, const char *op,
                 const char *format, va_list args)
{
    int saved = errno;
    err->status = status;
    err->sys_errno = sys_errno;
    err->op = op;
    (void)vsnprintf(err->detail, sizeof err->detail, format, args);
    errno = saved;
}

ipcx_status ipcx_error_set(ipcx_error *err, ipcx_status status, int sys_errno, const char *op,
                           const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        fill(err, status, sys_errno, op, format, args);
        va_end(args);
    }
    return status;
}

ipcx_status ipcx_error_system(ipcx_error *err, int sys_errno, const char *op, const char *format,
                              ...)
{
    ipcx_status status = ipcx_status_from_errno(sys_errno);
    if (err != NULL && status < 0) {
        va_list args;
        va_start(args, format);
        fill(err, status, sys_errno, op, format, args);
        va_end(args);
    }
    return status;
}
