/* SPDX-License-Identifier: Apache-2.0
 * Waiting for a turn, on a futex.
 * Invariant: the bit WAITED is set before anybody sleeps, and whoever was woken sets it again, for
 * there may be more who sleep: so the next to leave wakes the next. A wake too many is harmless. */
#include "os/turn.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/gate.h"

static void wake(ipcx__turn *turn, int count)
{
    int saved = errno;
    (void)syscall(SYS_futex, &turn->word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
    errno = saved;
}

void ipcx__turn_leave_shared(ipcx__turn *turn)
{
    uint32_t old = atomic_fetch_and(&turn->word, ~(IPCX__TURN_TAKEN | IPCX__TURN_WAITED));
    if (old & IPCX__TURN_WAITED) {
        wake(turn, 1);
    }
}

void ipcx__turn_tell(ipcx__turn *turn)
{
    if (atomic_fetch_add(&turn->word, IPCX__TURN_TOLD) & IPCX__TURN_WAITED) {
        wake(turn, INT_MAX);
    }
}

void ipcx__turn_pass(ipcx__turn *turn)
{
    /* Where it is taken, the bit was set by whoever was woken, and leaving wakes the next. */
    if ((atomic_load(&turn->word) & IPCX__TURN_TAKEN) == 0) {
        wake(turn, 1);
    }
}

/* FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC: futex(2). */
static long sleep_on(ipcx__turn *turn, uint32_t word, ipcx_deadline deadline)
{
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000),
                             .tv_nsec = (long)(deadline % 1000000000)};
    return syscall(SYS_futex, &turn->word, FUTEX_WAIT_BITSET_PRIVATE, word,
                   deadline == IPCX_FOREVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

/* `unless`: 0, or the bit without which there is nothing to wait for. */
static ipcx_status wait_while(ipcx__turn *turn, ipcx_gate *gate, uint32_t seen, uint32_t unless,
                              ipcx_deadline deadline, ipcx_error *err)
{
    uint32_t word = atomic_load(&turn->word);
    ipcx__sleeper self;
    long slept = 0;
    int why;
    do {
        if ((word & unless) != unless || ((word ^ seen) & ~(IPCX__TURN_TOLD - 1)) != 0) {
            return IPCX_OK;
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
    } while (!atomic_compare_exchange_weak(&turn->word, &word, word | IPCX__TURN_WAITED));
    if (ipcx__gate_sleep(gate, &self)) {
        slept = sleep_on(turn, word | IPCX__TURN_WAITED, deadline);
    }
    why = slept < 0 ? errno : 0;
    ipcx__gate_wake_up(gate, &self);
    (void)atomic_fetch_or(&turn->word, IPCX__TURN_WAITED);
    if (ipcx__gate_is_closed(gate)) {
        return ipcx__gate_closed("wait", err);
    }
    if (why == EINTR) {
        return IPCX_INTR;
    }
    return why == ETIMEDOUT ? IPCX_TIMEOUT : IPCX_OK;
}

ipcx_status ipcx__turn_wait(ipcx__turn *turn, ipcx_gate *gate, uint32_t seen,
                            ipcx_deadline deadline, ipcx_error *err)
{
    return wait_while(turn, gate, seen, IPCX__TURN_TAKEN, deadline, err);
}

ipcx_status ipcx__turn_wait_told(ipcx__turn *turn, ipcx_gate *gate, uint32_t seen,
                                 ipcx_deadline deadline, ipcx_error *err)
{
    return wait_while(turn, gate, seen, 0, deadline, err);
}

ipcx_status ipcx__turn_take_by(ipcx__turn *turn, ipcx_gate *gate, ipcx_deadline deadline,
                               ipcx_error *err)
{
    while (!ipcx__turn_take(turn)) {
        ipcx_status status = ipcx__turn_wait(turn, gate, ipcx__turn_look(turn), deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    return IPCX_OK;
}
