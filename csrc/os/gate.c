/* SPDX-License-Identifier: Apache-2.0
 * The gate: fork generation, closed bit and count in one word, and a list of who sleeps.
 * Invariant: a thread is in the list exactly while it may be sent the wake signal, and whoever
 * sends it holds the list's lock; so the signal meets no system call but ours. */
#include "os/gate.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/process.h"

#define CLOSED_BIT IPCX__GATE_CLOSED
#define COUNT_MASK UINT64_C(0x7fffffff)

/* A signal that arrives between a sleeper's last look at the closed bit and its system call is
 * lost; so whoever closes repeats it this often. */
#define AGAIN_NS 1000000L
/* … and gives up after a second: a thread that has just blocked the signal, or hangs in a device,
 * stays in its call as it would over the stdlib. */
#define TRIES 1000

static uint64_t generation(void)
{
    return (uint64_t)ipcx__fork_generation() << 32;
}

/* The word as it is in this process: in a child of fork(2) the count speaks of threads that exist
 * only in the parent. */
static uint64_t current(uint64_t word, uint64_t now)
{
    return (word & ~(CLOSED_BIT | COUNT_MASK)) == now ? word : now | (word & CLOSED_BIT);
}

/* The half of the word that changes while somebody waits for it. */
static uint32_t *futex_half(ipcx_gate *gate)
{
    return (uint32_t *)(void *)&gate->word + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* The lock names its generation, so a child finds a lock that its parent held at fork(2) free and
 * its sleepers gone. */
static void lock(ipcx_gate *gate)
{
    uint32_t mine = (ipcx__fork_generation() << 1) | 1, old;
    for (;;) {
        old = __atomic_load_n(&gate->lock, __ATOMIC_RELAXED);
        if (old != mine && __atomic_compare_exchange_n(&gate->lock, &old, mine, false,
                                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            break;
        }
        (void)sched_yield();
    }
    if (old >> 1 != mine >> 1) {
        gate->sleepers = NULL;
    }
}

static void unlock(ipcx_gate *gate)
{
    __atomic_store_n(&gate->lock, ipcx__fork_generation() << 1, __ATOMIC_RELEASE);
}

bool ipcx__gate_enter_shared(ipcx_gate *gate)
{
    uint64_t now = generation(), word = __atomic_load_n(&gate->word, __ATOMIC_RELAXED), next;
    do {
        next = current(word, now);
        if (next & CLOSED_BIT) {
            return false;
        }
        next++;
    } while (!__atomic_compare_exchange_n(&gate->word, &word, next, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    return true;
}

void ipcx__gate_leave_shared(ipcx_gate *gate)
{
    uint64_t word = __atomic_sub_fetch(&gate->word, 1, __ATOMIC_SEQ_CST);
    if ((word & (CLOSED_BIT | COUNT_MASK)) == CLOSED_BIT) {
        int saved = errno;
        (void)syscall(SYS_futex, futex_half(gate), FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
        errno = saved;
    }
}

bool ipcx__gate_is_closed(const ipcx_gate *gate)
{
    return (__atomic_load_n(&gate->word, __ATOMIC_SEQ_CST) & CLOSED_BIT) != 0;
}

ipcx_status ipcx__gate_closed(const char *op, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_CLOSED, EBADF, op, "closed by another thread");
}

static void wake_all(ipcx_gate *gate)
{
    lock(gate);
    for (struct ipcx__sleeper *sleeper = gate->sleepers; sleeper != NULL; sleeper = sleeper->next) {
        (void)pthread_kill(sleeper->thread, ipcx__wake_signal());
    }
    unlock(gate);
}

/* Sets the closed bit; the word as it is then. */
static uint64_t shut(ipcx_gate *gate)
{
    uint64_t now = generation(), word = __atomic_load_n(&gate->word, __ATOMIC_RELAXED), next;
    do {
        next = current(word, now) | CLOSED_BIT;
    } while (!__atomic_compare_exchange_n(&gate->word, &word, next, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    return next;
}

void ipcx__gate_shut(ipcx_gate *gate)
{
    (void)shut(gate);
}

void ipcx__gate_close(ipcx_gate *gate)
{
    const struct timespec again = {.tv_nsec = AGAIN_NS};
    uint64_t next = shut(gate);
    for (int tries = 0; (next & COUNT_MASK) != 0 && tries < TRIES; tries++) {
        wake_all(gate);
        (void)syscall(SYS_futex, futex_half(gate), FUTEX_WAIT_PRIVATE, (uint32_t)next, &again, NULL,
                      0);
        next = __atomic_load_n(&gate->word, __ATOMIC_SEQ_CST);
    }
}

void ipcx__gate_reopen(ipcx_gate *gate)
{
    __atomic_store_n(&gate->word, generation(), __ATOMIC_SEQ_CST);
}

/* Looking at the thread's signal mask is a system call; so a thread that had the wake signal
 * unblocked is looked at again only after so many sleeps. */
#define LOOK_EACH 16
static _Thread_local unsigned sleeps_unlooked;

static void wake_signal_alone(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, ipcx__wake_signal());
}

/* Unblocks the wake signal; true when it was blocked and is to be blocked again. */
static bool let_wake_signal_in(void)
{
    sigset_t wake, old;
    if (sleeps_unlooked > 0) {
        sleeps_unlooked--;
        return false;
    }
    wake_signal_alone(&wake);
    if (pthread_sigmask(SIG_UNBLOCK, &wake, &old) == 0 &&
        sigismember(&old, ipcx__wake_signal()) == 1) {
        return true;
    }
    sleeps_unlooked = LOOK_EACH;
    return false;
}

bool ipcx__gate_sleep(ipcx_gate *gate, ipcx__sleeper *self)
{
    self->alone = ipcx__single_threaded();
    if (self->alone) {
        return true;
    }
    self->thread = pthread_self();
    self->blocked = let_wake_signal_in();
    lock(gate);
    self->next = gate->sleepers;
    gate->sleepers = self;
    unlock(gate);
    return !ipcx__gate_is_closed(gate);
}

void ipcx__gate_wake_up(ipcx_gate *gate, ipcx__sleeper *self)
{
    struct ipcx__sleeper **link;
    int saved = errno;
    if (self->alone) {
        return;
    }
    lock(gate);
    for (link = &gate->sleepers; *link != self; link = &(*link)->next) {
    }
    *link = self->next;
    unlock(gate);
    if (ipcx__gate_is_closed(gate)) {
        /* A signal sent before we left the list is delivered by now: at the end of this call. */
        (void)syscall(SYS_gettid);
    }
    if (self->blocked) {
        sigset_t wake;
        wake_signal_alone(&wake);
        (void)pthread_sigmask(SIG_BLOCK, &wake, NULL);
    }
    errno = saved;
}

/* One ppoll(2) up to the deadline: > 0 ready, 0 the deadline, -1 errno. */
static int poll_until(struct pollfd *fds, nfds_t count, ipcx_deadline deadline)
{
    struct timespec limit;
    int64_t left;
    if (deadline == IPCX_FOREVER) {
        return ppoll(fds, count, NULL, NULL);
    }
    left = ipcx_deadline_left(deadline);
    limit.tv_sec = (time_t)(left / 1000000000);
    limit.tv_nsec = (long)(left % 1000000000);
    return ppoll(fds, count, &limit, NULL);
}

ipcx_status ipcx__gate_poll_set(ipcx_gate *gate, struct pollfd *fds, nfds_t count,
                                ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__sleeper self;
    int ready = 0;
    if (ipcx__gate_sleep(gate, &self)) {
        ready = poll_until(fds, count, deadline);
    }
    ipcx__gate_wake_up(gate, &self);
    if (ipcx__gate_is_closed(gate)) {
        return ipcx__gate_closed("poll", err);
    }
    if (ready > 0) {
        return IPCX_OK;
    }
    if (ready == 0) {
        return IPCX_TIMEOUT;
    }
    if (errno == EINTR) {
        return IPCX_INTR;
    }
    return ipcx_error_set(err, IPCX_SYSTEM, errno, "poll", "cannot wait for the descriptor");
}

ipcx_status ipcx__gate_poll(ipcx_gate *gate, int fd, short events, ipcx_deadline deadline,
                            ipcx_error *err)
{
    struct pollfd polled = {.fd = fd, .events = events};
    return ipcx__gate_poll_set(gate, &polled, 1, deadline, err);
}
