/* SPDX-License-Identifier: Apache-2.0
 * The monotonic clock and deadlines on it.
 * Invariant: arithmetic saturates; no deadline wraps into the past. */
#include "ipcx/clock.h"

#include <time.h>

int64_t ipcx_clock_now(void)
{
    struct timespec ts;
    /* CLOCK_MONOTONIC cannot fail on Linux with a valid pointer: clock_gettime(2). */
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

ipcx_deadline ipcx_deadline_after(int64_t ns)
{
    int64_t deadline;
    if (ns <= 0) {
        return IPCX_NOW;
    }
    if (__builtin_add_overflow(ipcx_clock_now(), ns, &deadline)) {
        return IPCX_FOREVER;
    }
    return deadline;
}

int64_t ipcx_deadline_left(ipcx_deadline deadline)
{
    int64_t left;
    if (deadline <= IPCX_NOW) {
        return 0; /* the clock never shows less than 1, so the difference cannot overflow */
    }
    if (deadline == IPCX_FOREVER) {
        return INT64_MAX;
    }
    left = deadline - ipcx_clock_now();
    return left > 0 ? left : 0;
}
