/* SPDX-License-Identifier: Apache-2.0
 * futex(2): wait with an absolute deadline, wake, and a lock that spins a little before it sleeps.
 * Invariant: a lost wake-up is impossible: the kernel compares the word before it puts to sleep. */
#include "os/futex.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long futex(const _Atomic uint32_t *word, int op, ipcx__scope scope, uint32_t value,
                  const struct timespec *limit)
{
    return syscall(SYS_futex, word, scope == IPCX__PRIVATE ? op | FUTEX_PRIVATE_FLAG : op, value,
                   limit, NULL, FUTEX_BITSET_MATCH_ANY);
}

ipcx_status ipcx__futex_wait(const _Atomic uint32_t *word, uint32_t expected,
                             ipcx_deadline deadline, ipcx__scope scope, ipcx_error *err)
{
    /* FOREVER has a time too (292 years): the kernel ends a wait with a time-out by EINTR after any
     * handler, one without goes on after a handler with SA_RESTART. */
    const struct timespec limit = {.tv_sec = (time_t)(deadline / 1000000000),
                                   .tv_nsec = (long)(deadline % 1000000000)};
    if (deadline <= IPCX_NOW) {
        return IPCX_TIMEOUT;
    }
    /* FUTEX_WAIT_BITSET is the variant whose time is absolute; on CLOCK_MONOTONIC unless told. */
    if (futex(word, FUTEX_WAIT_BITSET, scope, expected, &limit) == 0 || errno == EAGAIN) {
        return IPCX_OK;
    }
    if (errno == ETIMEDOUT) {
        return IPCX_TIMEOUT;
    }
    if (errno == EINTR) {
        return IPCX_INTR;
    }
    return ipcx_error_set(err, IPCX_SYSTEM, errno, "futex", "cannot wait for a word of memory");
}

int ipcx__futex_wake(const _Atomic uint32_t *word, int count, ipcx__scope scope)
{
    int saved = errno;
    long woken = futex(word, FUTEX_WAKE, scope, (uint32_t)count, NULL);
    errno = saved;
    return woken > 0 ? (int)woken : 0;
}

/* The holder is a few instructions from the end, unless it lost its CPU: then waiting awake is in
 * vain. */
#define SPINS 100

void ipcx__latch_wait(ipcx__latch *latch)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t free = 0;
        if (atomic_load_explicit(&latch->word, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_weak_explicit(&latch->word, &free, 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return;
        }
        ipcx__pause_cpu();
    }
    /* Taken as 2: whoever unlocks cannot know whether others sleep besides us. */
    while (atomic_exchange_explicit(&latch->word, 2, memory_order_acquire) != 0) {
        (void)ipcx__futex_wait(&latch->word, 2, IPCX_FOREVER, IPCX__PRIVATE, NULL);
    }
}
