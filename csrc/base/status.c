/* SPDX-License-Identifier: Apache-2.0
 * Names and texts of the outcomes, expanded from status_table.h. */
#include "ipcx/status.h"

#include <errno.h>

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
    case EAGAIN:
        return IPCX_AGAIN;
    case EINTR:
        return IPCX_INTR;
    case EBADF:
        return IPCX_CLOSED;
    case ENOMEM:
        return IPCX_NOMEM;
    case ECONNREFUSED:
        return IPCX_REFUSED;
    case EADDRINUSE:
        return IPCX_ADDRESS_IN_USE;
    case EPIPE:
    case ECONNRESET:
        return IPCX_PEER_CLOSED;
    case EMSGSIZE:
        return IPCX_TOO_LARGE;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
        return IPCX_EXHAUSTED;
    case EOPNOTSUPP:
        return IPCX_UNSUPPORTED;
    default:
        return IPCX_SYSTEM;
    }
}
