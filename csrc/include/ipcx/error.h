/* SPDX-License-Identifier: Apache-2.0
 * The detail of a failure, in storage of the caller's. Every fallible function takes an
 * `ipcx_error *` as its last parameter; NULL is allowed and means "the status is enough".
 * Invariant: it is filled once, at the point of failure, and passed up unchanged; ordinary answers
 * (> 0) never touch it. */
#ifndef IPCX_ERROR_H
#define IPCX_ERROR_H

#include "ipcx/api.h"
#include "ipcx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ipcx_error {
    ipcx_status status;
    int sys_errno;    /* errno as the failing call left it, 0 when none was involved */
    const char *op;   /* what was tried: "connect", "recv" …; static storage */
    char detail[248]; /* which object, and what to do; NUL-terminated; a long path fits */
} ipcx_error;

/* ipcx_error_set: fills `err` (which may be NULL) and returns `status`, so that
 * `return ipcx_error_set(err, IPCX_SYSTEM, errno, "bind", "%s", path);` is one line.
 * Cuts the text to the space there is. Keeps errno. */
IPCX_API ipcx_status ipcx_error_set(ipcx_error *err, ipcx_status status, int sys_errno,
                                    const char *op, const char *format, ...) IPCX_PRINTF(5, 6);

/* ipcx_error_system: a system call failed with `sys_errno`: sets `err` as above with the status of
 * ipcx_status_from_errno and returns that. EAGAIN and EINTR are ordinary answers: err untouched. */
IPCX_API ipcx_status ipcx_error_system(ipcx_error *err, int sys_errno, const char *op,
                                       const char *format, ...) IPCX_PRINTF(4, 5);

#ifdef __cplusplus
}
#endif

#endif
