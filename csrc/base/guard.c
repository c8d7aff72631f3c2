/* SPDX-License-Identifier: Apache-2.0
 * Watched ranges and the handler of SIGBUS.
 * Invariant: what the handler calls is a load, a store, or a bare system call (madvise, mmap,
 * sigaction, sigaltstack, raise); it takes no lock and no memory. */
#include "base/guard.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/alloc.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; older kernels answer EINVAL */
#endif

#define STATE (&ipcx__guards_all)

static uintptr_t page_size(void)
{
    return (uintptr_t)sysconf(_SC_PAGESIZE);
}

/* ---- the table */

static ipcx__guard *claim_in(ipcx__guard_block *block)
{
    for (size_t i = 0; i < IPCX__GUARDS_A_BLOCK; i++) {
        uint32_t free = 0;
        if (atomic_load_explicit(&block->guards[i].taken, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&block->guards[i].taken, &free, 1)) {
            return &block->guards[i];
        }
    }
    return NULL;
}

/* A block behind `last`, which is the caller's or another thread's. NULL: no memory. */
static ipcx__guard_block *block_behind(ipcx__guard_block *last)
{
    ipcx__guard_block *other = NULL, *fresh = ipcx_alloc(sizeof *fresh);
    if (fresh == NULL) {
        return NULL;
    }
    memset(fresh, 0, sizeof *fresh);
    if (atomic_compare_exchange_strong(&last->next, &other, fresh)) {
        return fresh;
    }
    ipcx_free(fresh);
    return other;
}

static ipcx__guard *claim(void)
{
    ipcx__guard_block *block = &STATE->first;
    for (;;) {
        ipcx__guard *guard = claim_in(block);
        ipcx__guard_block *next = atomic_load_explicit(&block->next, memory_order_acquire);
        if (guard != NULL) {
            return guard;
        }
        if (next == NULL && (next = block_behind(block)) == NULL) {
            return NULL;
        }
        block = next;
    }
}

static void write_range(ipcx__guard *guard, uintptr_t start, uintptr_t end, int prot)
{
    atomic_fetch_add_explicit(&guard->version, 1, memory_order_acq_rel);
    atomic_store_explicit(&guard->start, start, memory_order_release);
    atomic_store_explicit(&guard->end, end, memory_order_release);
    atomic_store_explicit(&guard->prot, prot, memory_order_release);
    atomic_store_explicit(&guard->lost_from, UINTPTR_MAX, memory_order_release);
    atomic_store_explicit(&guard->lost_to, 0, memory_order_release);
    atomic_fetch_add_explicit(&guard->version, 1, memory_order_release);
}

/* Whether `at` is in the range. A range that changes meanwhile is not the faulting one: its owner
 * may not give it up while somebody uses it. */
static bool holds(const ipcx__guard *guard, uintptr_t at, uintptr_t *end)
{
    uint32_t version = atomic_load_explicit(&guard->version, memory_order_acquire);
    uintptr_t start = atomic_load_explicit(&guard->start, memory_order_acquire);
    *end = atomic_load_explicit(&guard->end, memory_order_acquire);
    return version % 2 == 0 && at >= start && at < *end &&
           atomic_load_explicit(&guard->version, memory_order_acquire) == version;
}

static ipcx__guard *find(uintptr_t at, uintptr_t *end)
{
    for (ipcx__guard_block *block = &STATE->first; block != NULL;
         block = atomic_load_explicit(&block->next, memory_order_acquire)) {
        for (size_t i = 0; i < IPCX__GUARDS_A_BLOCK; i++) {
            if (holds(&block->guards[i], at, end)) {
                return &block->guards[i];
            }
        }
    }
    return NULL;
}

/* ---- what the handler does */

static void note_lost(ipcx__guard *guard, uintptr_t from, uintptr_t to)
{
    uintptr_t known = atomic_load(&guard->lost_from);
    while (from < known && !atomic_compare_exchange_weak(&guard->lost_from, &known, from)) {
    }
    known = atomic_load(&guard->lost_to);
    while (to > known && !atomic_compare_exchange_weak(&guard->lost_to, &known, to)) {
    }
}

/* Where the lost part that begins with `page` ends. A truncated file has lost everything up to the
 * end, which one page at a time would cost a fault and, scattered, a mapping each (there is a
 * limit, vm.max_map_count): if the last page cannot be read either, it is all gone. */
static uintptr_t lost_end(const ipcx__guard *guard, uintptr_t page, uintptr_t end, uintptr_t size)
{
    uintptr_t known = atomic_load(&guard->lost_from);
    uintptr_t last = (known > page && known < end ? known : end) - size;
    if (last > page && madvise((void *)last, size, MADV_POPULATE_READ) != 0 && errno == EFAULT) {
        return last + size;
    }
    return page + size;
}

static bool repair(uintptr_t at)
{
    uintptr_t end, to, size = page_size(), page = at & ~(size - 1);
    ipcx__guard *guard = find(at, &end);
    if (guard == NULL) {
        return false;
    }
    to = lost_end(guard, page, end, size);
    if (mmap((void *)page, to - page, atomic_load(&guard->prot),
             MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED) {
        return false;
    }
    note_lost(guard, page, to);
    return true;
}

/* Whether the signal was raised by a handler that runs on the alternate stack. faulthandler, when
 * it sits above us, does so after its traceback, having put our handler back: we return, it
 * returns, and the access faults again, this time to us. */
static bool raised_by_handler(const siginfo_t *info, const void *context)
{
    stack_t stack;
    uintptr_t at;
    if (info->si_code != SI_TKILL || info->si_pid != getpid() || sigaltstack(NULL, &stack) != 0 ||
        (stack.ss_flags & SS_DISABLE)) {
        return false;
    }
#if defined(__x86_64__)
    at = (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    at = (uintptr_t)((const ucontext_t *)context)->uc_mcontext.sp;
#else
    (void)context;
    return false;
#endif
    return at - (uintptr_t)stack.ss_sp < stack.ss_size;
}

static void die(int number, bool fault)
{
    struct sigaction none = {.sa_handler = SIG_DFL};
    (void)sigaction(number, &none, NULL);
    if (!fault) {
        (void)raise(number);
    } /* Else the access is made again, and ends the process where it happened. */
}

/* The handler that was there before. One that returns from a fault without having mended it (a
 * faulthandler that was disabled since) is not asked twice for the same address: the next lower is,
 * and in the end the kernel. So is it when a chained handler raises the signal anew. */
static void chain(int number, siginfo_t *info, void *context)
{
    bool fault = info->si_code > 0;
    uintptr_t at = fault ? (uintptr_t)info->si_addr : 0;
    int level = atomic_load(&STATE->chained) - 1 - atomic_fetch_add(&STATE->depth, 1);
    const struct sigaction *old;
    if (at != 0 && atomic_exchange(&STATE->last_at, at) == at) {
        level -= atomic_fetch_add(&STATE->repeats, 1) + 1;
    } else {
        atomic_store(&STATE->repeats, 0);
    }
    while (level >= 0 && !atomic_load(&STATE->ready[level])) {
        level--;
    }
    old = level >= 0 ? &STATE->previous[level] : NULL;
    if (old == NULL || old->sa_handler == SIG_DFL || (fault && old->sa_handler == SIG_IGN)) {
        die(number, fault);
    } else if (old->sa_flags & SA_SIGINFO) {
        old->sa_sigaction(number, info, context);
    } else if (old->sa_handler != SIG_IGN) {
        old->sa_handler(number);
    }
    atomic_fetch_sub(&STATE->depth, 1);
}

static void on_bus(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    bool ours = info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR;
    if (!(ours && !atomic_load(&STATE->off) && repair((uintptr_t)info->si_addr)) &&
        !raised_by_handler(info, context)) {
        chain(number, info, context);
    }
    errno = saved;
}

/* ---- installing it */

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_bus;
}

static bool is_known(const struct sigaction *action)
{
    for (int i = 0; i < atomic_load(&STATE->chained); i++) {
        if (atomic_load(&STATE->ready[i]) && STATE->previous[i].sa_handler == action->sa_handler) {
            return true;
        }
    }
    return false;
}

static void remember(const struct sigaction *action)
{
    int at = atomic_load(&STATE->chained);
    while (at < IPCX__GUARD_CHAIN && !atomic_compare_exchange_weak(&STATE->chained, &at, at + 1)) {
    }
    if (at < IPCX__GUARD_CHAIN) {
        STATE->previous[at] = *action;
        atomic_store(&STATE->ready[at], 1);
    }
}

void ipcx__guard_on_top(void)
{
    struct sigaction old;
    /* SA_NODEFER: a chained handler may raise the signal anew, and expects it at once. */
    struct sigaction ours = {.sa_sigaction = on_bus,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (atomic_load(&STATE->off) || sigaction(SIGBUS, NULL, &old) != 0 || is_ours(&old)) {
        return;
    }
    (void)sigemptyset(&ours.sa_mask);
    /* Of two threads that come here at once, the second finds ours: the kernel swaps in one step.
     */
    if (sigaction(SIGBUS, &ours, &old) == 0 && !is_ours(&old) && !is_known(&old)) {
        remember(&old);
    }
}

int ipcx__guard_switch(int on)
{
    struct sigaction now;
    int was = !atomic_exchange(&STATE->off, !on), top = atomic_load(&STATE->chained) - 1;
    if (on) {
        ipcx__guard_on_top();
    } else if (top >= 0 && sigaction(SIGBUS, NULL, &now) == 0 && is_ours(&now)) {
        (void)sigaction(SIGBUS, &STATE->previous[top], NULL);
        atomic_store(&STATE->ready[top], 0);
        atomic_store(&STATE->chained, top);
    }
    return was;
}

/* ---- what owners of ranges call */

ipcx__guard *ipcx__guard_watch(const void *start, size_t size, int prot)
{
    uintptr_t page = page_size();
    ipcx__guard *guard = claim();
    if (guard != NULL) {
        uintptr_t from = (uintptr_t)start;
        write_range(guard, from, (from + size + page - 1) & ~(page - 1), prot);
        ipcx__guard_on_top();
    }
    return guard;
}

void ipcx__guard_release(ipcx__guard *guard)
{
    if (guard != NULL) {
        write_range(guard, 0, 0, 0);
        atomic_store_explicit(&guard->taken, 0, memory_order_release);
    }
}

bool ipcx__guard_take(ipcx__guard *guard, uintptr_t *from, uintptr_t *to)
{
    *to = atomic_exchange(&guard->lost_to, 0);
    *from = atomic_exchange(&guard->lost_from, UINTPTR_MAX);
    if (*to != 0 && *from >= *to) {
        /* The handler of another thread is between its two words: take everything. */
        *from = atomic_load(&guard->start);
    }
    return *to != 0;
}
