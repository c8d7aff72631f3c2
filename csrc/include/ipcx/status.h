/* SPDX-License-Identifier: Apache-2.0
 * What every fallible function returns. Three ways: 0 done; > 0 an ordinary answer, free and
 * without text; < 0 a failure, with detail in the caller's ipcx_error if it gave one (error.h).
 * Invariant: the enum and the texts come from status_table.h alone. */
#ifndef IPCX_STATUS_H
#define IPCX_STATUS_H

#include "ipcx/api.h"
#include "ipcx/status_table.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ipcx_status {
#define IPCX_STATUS_ENUM(name, value, exception, bases, text) IPCX_##name = (value),
    IPCX_STATUS_TABLE(IPCX_STATUS_ENUM)
#undef IPCX_STATUS_ENUM
} ipcx_status;

/* ipcx_status_name: "AGAIN" for IPCX_AGAIN; "?" for a value that is no status. Static storage. */
IPCX_API const char *ipcx_status_name(ipcx_status status);

/* ipcx_status_text: what happened, one line, from the table. Static storage. */
IPCX_API const char *ipcx_status_text(ipcx_status status);

/* ipcx_status_from_errno: the status that stands for a system call's errno: REFUSED for
 * ECONNREFUSED, CLOSED for EBADF, AGAIN for EAGAIN, INTR for EINTR …, as the table's errno column
 * says; SYSTEM for every other, 0 included. */
IPCX_API ipcx_status ipcx_status_from_errno(int sys_errno);

#ifdef __cplusplus
}
#endif

#endif
