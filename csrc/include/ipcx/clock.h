/* SPDX-License-Identifier: Apache-2.0
 * One absolute monotonic deadline for each blocking call: now is polling, forever is blocking.
 * Invariant: only CLOCK_MONOTONIC is read, so setting the wall clock never moves a time-out. */
#ifndef IPCX_CLOCK_H
#define IPCX_CLOCK_H

#include <stdint.h>

#include "ipcx/api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A point on CLOCK_MONOTONIC in nanoseconds, or one of the two below. */
typedef int64_t ipcx_deadline;

/* Do not wait: the call polls once. */
#define IPCX_NOW ((ipcx_deadline)0)
/* Wait until it is done, however long that takes. */
#define IPCX_FOREVER ((ipcx_deadline)INT64_MAX)

/* ipcx_clock_now: nanoseconds on CLOCK_MONOTONIC; always > 0, never fails, never blocks. */
IPCX_API int64_t ipcx_clock_now(void);

/* ipcx_deadline_after: the deadline `ns` nanoseconds from now. ns <= 0 gives IPCX_NOW; a sum past
 * the end of the scale gives IPCX_FOREVER. */
IPCX_API ipcx_deadline ipcx_deadline_after(int64_t ns);

/* ipcx_deadline_left: nanoseconds until `deadline`: 0 when it has passed (or is IPCX_NOW),
 * INT64_MAX for IPCX_FOREVER. Reads the clock only when it has to. */
IPCX_API int64_t ipcx_deadline_left(ipcx_deadline deadline);

#ifdef __cplusplus
}
#endif

#endif
