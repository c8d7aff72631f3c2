/* SPDX-License-Identifier: Apache-2.0
 * Entering, leaving, waiting at and closing a gate (ipcx/gate.h says what it is for).
 * Invariant: between enter and leave the descriptor behind the gate is not closed. */
#ifndef IPCX_OS_GATE_H
#define IPCX_OS_GATE_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/process.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"

#if defined(__has_include)
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#define IPCX__SINGLE_THREADED __libc_single_threaded
#endif
#endif
#ifndef IPCX__SINGLE_THREADED
#define IPCX__SINGLE_THREADED 0
#endif

/* ipcx__single_threaded: true only if no other thread exists that could close what we wait for.
 * glibc clears the flag before the first pthread_create(3) returns; where there is no such flag the
 * answer is always false, which is slower and as right. */
static inline bool ipcx__single_threaded(void)
{
    return IPCX__SINGLE_THREADED != 0;
}

/* ipcx__tally: adds to a count that nobody orders anything by. */
static inline void ipcx__tally(_Atomic uint64_t *count, uint64_t more)
{
    if (ipcx__single_threaded()) { /* nobody to race with: a plain store */
        uint64_t now = atomic_load_explicit(count, memory_order_relaxed);
        atomic_store_explicit(count, now + more, memory_order_relaxed);
    } else {
        (void)atomic_fetch_add_explicit(count, more, memory_order_relaxed);
    }
}

/* ipcx__gate_enter: false when the gate is closed. Never blocks. ipcx__gate_leave: undoes one
 * successful enter. Keeps errno. With nobody to race with each is a plain store, a third of the
 * time; _shared: what they do otherwise. */
#define IPCX__GATE_CLOSED UINT64_C(0x80000000) /* in the word: generation, this bit, count */
bool ipcx__gate_enter_shared(ipcx_gate *gate);
void ipcx__gate_leave_shared(ipcx_gate *gate);

static inline bool ipcx__gate_enter(ipcx_gate *gate)
{
    uint64_t word = __atomic_load_n(&gate->word, __ATOMIC_RELAXED);
    if (ipcx__single_threaded() && word >> 32 == ipcx__fork_generation() &&
        !(word & IPCX__GATE_CLOSED)) {
        __atomic_store_n(&gate->word, word + 1, __ATOMIC_RELAXED);
        return true;
    }
    return ipcx__gate_enter_shared(gate);
}

static inline void ipcx__gate_leave(ipcx_gate *gate)
{
    if (ipcx__single_threaded()) {
        uint64_t word = __atomic_load_n(&gate->word, __ATOMIC_RELAXED);
        __atomic_store_n(&gate->word, word - 1, __ATOMIC_RELAXED);
    } else {
        ipcx__gate_leave_shared(gate);
    }
}

/* One thread in a system call that may sleep; on its stack. */
typedef struct ipcx__sleeper {
    struct ipcx__sleeper *next;
    pthread_t thread;
    bool alone;   /* nobody exists who could close the gate: nothing was entered anywhere */
    bool blocked; /* the thread had the wake signal blocked and wants it so again */
} ipcx__sleeper;

/* ipcx__gate_sleep, ipcx__gate_wake_up: around one system call that may sleep, inside the gate.
 * False: the gate is closed, do not make the call (wake_up is due all the same). A call that was
 * ended by close() fails with EINTR, and ipcx__gate_is_closed tells. wake_up keeps errno. */
bool ipcx__gate_sleep(ipcx_gate *gate, ipcx__sleeper *self);
void ipcx__gate_wake_up(ipcx_gate *gate, ipcx__sleeper *self);

/* ipcx__gate_poll: waits, inside the gate, until `fd` shows one of `events` (poll(2)), with fd -1
 * for the deadline alone. OK: it does, or shows an error. TIMEOUT, INTR: as they say.
 * CLOSED: the gate was closed meanwhile (sys_errno EBADF). SYSTEM: poll itself failed. */
ipcx_status ipcx__gate_poll(ipcx_gate *gate, int fd, short events, ipcx_deadline deadline,
                            ipcx_error *err);

/* ipcx__gate_poll_set: the same for several descriptors; `revents` as poll(2) fills them in. */
ipcx_status ipcx__gate_poll_set(ipcx_gate *gate, struct pollfd *fds, nfds_t count,
                                ipcx_deadline deadline, ipcx_error *err);

/* ipcx__gate_is_closed: whether close has begun. */
bool ipcx__gate_is_closed(const ipcx_gate *gate);

/* ipcx__gate_closed: the answer of a call that close() has ended. */
ipcx_status ipcx__gate_closed(const char *op, ipcx_error *err);

/* ipcx__gate_shut: turns newcomers away, wakes nobody and waits for nobody: for who has sleepers
 * elsewhere (a futex) to wake before ipcx__gate_close. */
void ipcx__gate_shut(ipcx_gate *gate);

/* ipcx__gate_close: closes it, wakes who sleeps, returns when all have left. Blocks for as long as
 * they need to get out, at most about a second. Must not be called from inside. */
void ipcx__gate_close(ipcx_gate *gate);

/* ipcx__gate_reopen: an open, empty gate again; nobody may be inside. */
void ipcx__gate_reopen(ipcx_gate *gate);

#endif
