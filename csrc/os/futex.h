/* SPDX-License-Identifier: Apache-2.0
 * Sleeping until a 32-bit word changes, and the short lock made of one: futex(2), nothing else.
 * Private to csrc/. Invariant: no system call where nobody sleeps; a deadline is one of
 * CLOCK_MONOTONIC, absolute, so it holds however often a wait begins anew. */
#ifndef IPCX_OS_FUTEX_H
#define IPCX_OS_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

#include "ipcx/clock.h"
#include "ipcx/error.h"

/* Who may sleep on the word: threads of this process, or whoever maps the memory it lies in. */
typedef enum ipcx__scope { IPCX__PRIVATE, IPCX__SHARED } ipcx__scope;

/* ipcx__futex_wait: sleeps while *word is `expected`. OK: it was woken, or *word is different by
 * now, or neither (rarely): look again. TIMEOUT; IPCX_NOW at once, without looking. INTR: a signal
 * handler ran, one installed with SA_RESTART too. Keeps no lock and enters no gate. */
ipcx_status ipcx__futex_wait(const _Atomic uint32_t *word, uint32_t expected,
                             ipcx_deadline deadline, ipcx__scope scope, ipcx_error *err);

/* ipcx__futex_wake: wakes at most `count` of those who sleep on the word (INT_MAX: all); returns
 * how many. Change the word first. Keeps errno. */
int ipcx__futex_wake(const _Atomic uint32_t *word, int count, ipcx__scope scope);

/* ipcx__pause_cpu: between two looks at a word, without sleeping. */
static inline void ipcx__pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A lock for a few instructions, between threads of one process; {0} is free. Whoever holds it does
 * not sleep and calls nobody's code. Not for use after fork(2): its holder may be gone. */
typedef struct ipcx__latch {
    _Atomic uint32_t word; /* 0 free, 1 taken, 2 taken and somebody sleeps */
} ipcx__latch;

void ipcx__latch_wait(ipcx__latch *latch);

static inline void ipcx__latch_lock(ipcx__latch *latch)
{
    uint32_t free = 0;
    if (IPCX_UNLIKELY(!atomic_compare_exchange_strong_explicit(
            &latch->word, &free, 1, memory_order_acquire, memory_order_relaxed))) {
        ipcx__latch_wait(latch);
    }
}

static inline void ipcx__latch_unlock(ipcx__latch *latch)
{
    if (IPCX_UNLIKELY(atomic_exchange_explicit(&latch->word, 0, memory_order_release) == 2)) {
        (void)ipcx__futex_wake(&latch->word, 1, IPCX__PRIVATE);
    }
}

#endif
