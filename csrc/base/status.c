/* SPDX-License-Identifier: Apache-2.0
 * Names and texts of the outcomes, expanded from status_table.h. */
#include "ipcx/status.h"

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
