/* SPDX-License-Identifier: Apache-2.0
 * clock: it only goes forward, and deadlines saturate instead of wrapping. */
#include "check.h"

#include <time.h>

#include "ipcx/clock.h"

TEST(time_only_goes_forward)
{
    int64_t last = ipcx_clock_now();
    int i;
    CHECK(last > 0);
    for (i = 0; i < 1000; i++) {
        int64_t now = ipcx_clock_now();
        CHECK(now >= last);
        last = now;
    }
}

TEST(a_sleep_takes_at_least_its_time)
{
    struct timespec nap = {0, 5000000};
    int64_t begun = ipcx_clock_now();
    ipcx_deadline deadline = ipcx_deadline_after(5000000);
    CHECK(deadline >= begun + 5000000);
    CHECK(ipcx_deadline_left(deadline) <= 5000000);
    while (nanosleep(&nap, &nap) != 0) {
    }
    CHECK(ipcx_clock_now() - begun >= 5000000);
    CHECK_INT(ipcx_deadline_left(begun + 5000000), 0);
}

TEST(now_and_forever)
{
    CHECK_INT(ipcx_deadline_after(0), IPCX_NOW);
    CHECK_INT(ipcx_deadline_after(-1), IPCX_NOW);
    CHECK_INT(ipcx_deadline_after(INT64_MIN), IPCX_NOW);
    CHECK_INT(ipcx_deadline_after(INT64_MAX), IPCX_FOREVER);
    CHECK_INT(ipcx_deadline_left(IPCX_NOW), 0);
    CHECK_INT(ipcx_deadline_left(IPCX_FOREVER), INT64_MAX);
    CHECK_INT(ipcx_deadline_left(INT64_MIN), 0);
    CHECK(ipcx_deadline_left(ipcx_deadline_after(INT64_MAX / 2)) > INT64_MAX / 4);
}
