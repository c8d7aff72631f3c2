/* SPDX-License-Identifier: Apache-2.0
 * The process-wide state of the core, all of it: the fork mark, what is this process's own, the
 * key that tells of threads' ends, what the CPU can do, the trace hook, the signals held, the
 * guard of mapped files with its handler of SIGBUS. All else lives in objects or is the caller's.
 * Invariant: each word here is one atomic that is right to read at any time from any thread, before
 * and after fork; no lock is held across a fork in a way that the child could notice. */
#ifndef IPCX_BASE_PROCESS_H
#define IPCX_BASE_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/guard.h"
#include "base/held.h"
#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/trace.h"

/* The fork mark. An object remembers the mark under which it was made; a different one now means
 * that this process is a child forked since. 0 until the first reader asks. */
extern _Atomic uint32_t ipcx__fork_mark;
uint32_t ipcx__fork_mark_begin(void);

/* ipcx__fork_generation: the mark of this process: never 0, the same for all its threads and its
 * whole life, another one in every fork(2)ed child. The first call registers the at-fork handler;
 * later ones are one load and one branch. A child made by a raw clone(2) is not seen. */
static inline uint32_t ipcx__fork_generation(void)
{
    uint32_t mark = atomic_load_explicit(&ipcx__fork_mark, memory_order_acquire);
    return IPCX_LIKELY(mark != 0) ? mark : ipcx__fork_mark_begin();
}

/* ipcx__fork_count: how many children this process has made by fork(2) since the first reader of
 * the mark: as long as it stays the same, nobody has inherited anything. */
uint32_t ipcx__fork_count(void);

/* A thing that is this process's alone, embedded in it: a child of fork(2) has to let go. */
typedef struct ipcx__own {
    struct ipcx__own *next, **link; /* link NULL: in no list */
    /* Called in a child, which has one thread and holds the lock: nothing but what is
     * async-signal-safe, and no lock of anybody's. The lists are emptied by then. */
    void (*forked)(struct ipcx__own *own);
    /* Of IPCX__OWN_SYNCS: called in a thread that ends, under the lock. */
    void (*thread_ended)(struct ipcx__own *own, uintptr_t thread);
} ipcx__own;
typedef enum ipcx__own_list {
    IPCX__OWN_HOUSES,    /* listeners with guests (link/stream/guest.h); before the ends in use */
    IPCX__OWN_ENDS,      /* ends of channels in use */
    IPCX__OWN_NAMES,     /* listeners at inproc://name */
    IPCX__OWN_LISTENERS, /* the others, with the peers that wait in them */
    IPCX__OWN_UNPROVEN,  /* connected ends whose proof of a key is under way */
    IPCX__OWN_SYNCS,     /* semaphores and locks that this process has a place in */
    IPCX__OWN_RANGES,    /* maps of which a range was locked */
    IPCX__OWN_LISTS
} ipcx__own_list;

/* ipcx__own_lock, ipcx__own_unlock: the lock of all these lists; fork(2) waits for it, so hold it
 * shortly and call nobody's code. The other three are for who holds it. add needs no memory. */
void ipcx__own_lock(void);
void ipcx__own_unlock(void);
void ipcx__own_add(ipcx__own_list list, ipcx__own *own);
void ipcx__own_remove(ipcx__own *own); /* out of its list, if it is in one */
ipcx__own *ipcx__own_first(ipcx__own_list list);

/* ipcx__thread: this thread: never 0, its own until it has ended and thread_ended was called. */
extern _Thread_local char ipcx__thread_mark;
uintptr_t ipcx__thread_begin(void);
static inline uintptr_t ipcx__thread(void)
{
    return ipcx__thread_mark != 0 ? (uintptr_t)&ipcx__thread_mark : ipcx__thread_begin();
}

/* A word in memory that stays common to this process and whoever inherits the thing by fork(2): it
 * says which of them used the thing first. {0}: there was no memory; then each process knows of
 * itself only. */
typedef struct ipcx__claim {
    _Atomic uint64_t *word; /* serial number and pid */
    uint32_t serial; /* another one in the word: the maker is done with it and uses it anew */
} ipcx__claim;

/* ipcx__claim_make, ipcx__claim_free: in the process that makes the thing, under ipcx__own_lock. A
 * child does not free what it inherited. */
void ipcx__claim_make(ipcx__claim *claim);
void ipcx__claim_free(ipcx__claim *claim);

/* ipcx__claim_take: true: it is ours from now on; false: *holder was faster. Once in a process. */
bool ipcx__claim_take(const ipcx__claim *claim, int pid, int *holder);

/* ipcx__claim_give: it is nobody's again, if it was taken by `pid`. */
void ipcx__claim_give(const ipcx__claim *claim, int pid);

/* ipcx__wake_signal: the signal that ends a system call of one thread of ours (os/gate.h): a
 * real-time signal, the highest below SIGRTMAX - 2 that nobody handles when it is first asked for.
 * Its handler only pays what the thread is owed (base/held.h); it has one so that the call ends
 * with EINTR (signal(7)). The first call installs it for the life of the process. */
int ipcx__wake_signal(void);

/* ipcx__cpu_has_crc32c: 1 where the CPU has instructions for CRC-32C (SSE4.2, ARMv8 CRC). Asks the
 * CPU or the kernel once. */
int ipcx__cpu_has_crc32c(void);

/* The ranges whose lost pages are noted, and the handlers of SIGBUS below ours (base/guard.h). The
 * handler is installed when the first file is mapped, for the life of the process. */
extern ipcx__guards ipcx__guards_all;

/* The hook that ipcx_trace_set installed, NULL when tracing is off. */
extern _Atomic(const ipcx_trace_hook *) ipcx__trace_hook;
void ipcx__trace_emit(ipcx_trace_event *event, int64_t begun);

/* ipcx__trace_begin: the time when tracing is on, 0 when it is off: one predictable branch. */
static inline int64_t ipcx__trace_begin(void)
{
    return IPCX_LIKELY(atomic_load_explicit(&ipcx__trace_hook, memory_order_relaxed) == NULL)
               ? 0
               : ipcx_clock_now();
}

/* ipcx__trace_end: reports `event` (all but its duration filled in) when `begun` is not 0. Keeps
 * errno. Written so that a call site is
 *     int64_t begun = ipcx__trace_begin();
 *     ...
 *     if (IPCX_UNLIKELY(begun != 0)) {
 *         ipcx__trace_end(begun, &(ipcx_trace_event){.op = "send", .fd = fd, .bytes = n});
 *     } */
static inline void ipcx__trace_end(int64_t begun, ipcx_trace_event *event)
{
    if (IPCX_UNLIKELY(begun != 0)) {
        ipcx__trace_emit(event, begun);
    }
}

#ifdef IPCX_TEST_ALLOC
/* Test builds only: allocations tried, and which of them fails; see ipcx/alloc.h. */
extern _Atomic uint64_t ipcx__alloc_count;
extern _Atomic uint64_t ipcx__alloc_fail_at;
#endif

#endif
