/* SPDX-License-Identifier: Apache-2.0
 * Filling in an ipcx_error. */
#include "ipcx/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

ipcx_status ipcx_error_set(ipcx_error *err, ipcx_status status, int sys_errno, const char *op,
                           const char *format, ...)
{
    int saved = errno;
    if (err != NULL) {
        va_list args;
        err->status = status;
        err->sys_errno = sys_errno;
        err->op = op;
        va_start(args, format);
        (void)vsnprintf(err->detail, sizeof err->detail, format, args);
        va_end(args);
        errno = saved;
    }
    return status;
}
