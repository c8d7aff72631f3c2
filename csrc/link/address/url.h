/* SPDX-License-Identifier: Apache-2.0
 * How the files that open, listen and pair speak of an address when something is wrong with it. */
#ifndef IPCX_LINK_URL_H
#define IPCX_LINK_URL_H

#include "ipcx/error.h"
#include "ipcx/url.h"

/* ipcx__url_fail: fills `err` with "URL: why", the URL cut to what leaves room for the reason, and
 * returns `status`. */
IPCX_PRINTF(6, 7)
ipcx_status ipcx__url_fail(ipcx_error *err, ipcx_status status, int sys_errno, const char *op,
                           const char *url, const char *format, ...);

#endif
