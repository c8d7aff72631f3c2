/* SPDX-License-Identifier: Apache-2.0
 * The gate: a closed bit and a count in one word, and a list of who waits.
 * Invariant: a waiter is in the list exactly while its eventfd is open, and whoever rings it holds
 * the list's lock; so no ring goes to a descriptor that has become somebody else's. */
#include "os/gate.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/process.h"

#define CLOSED_BIT UINT32_C(0x80000000)

/* With no descriptor left for an eventfd, the closed bit is looked at this often. */
#define SLICE_NS INT64_C(20000000)

struct ipcx__waiter {
    struct ipcx__waiter *next;
    int bell; /* eventfd(2), or -1 */
};

static void lock(ipcx_gate *gate)
{
    while (__atomic_exchange_n(&gate->lock, 1, __ATOMIC_ACQUIRE) != 0) {
        (void)sched_yield();
    }
}

static void unlock(ipcx_gate *gate)
{
    __atomic_store_n(&gate->lock, 0, __ATOMIC_RELEASE);
}

/* In a child of fork(2) the count and the list speak of threads that exist only in the parent. */
static void forget_parent(ipcx_gate *gate)
{
    uint32_t now = ipcx__fork_generation();
    if (IPCX_UNLIKELY(__atomic_load_n(&gate->generation, __ATOMIC_RELAXED) != now)) {
        uint32_t closed = __atomic_load_n(&gate->word, __ATOMIC_RELAXED) & CLOSED_BIT;
        __atomic_store_n(&gate->word, closed, __ATOMIC_RELAXED);
        gate->lock = 0;
        gate->waiters = NULL;
        __atomic_store_n(&gate->generation, now, __ATOMIC_RELEASE);
    }
}

bool ipcx__gate_enter(ipcx_gate *gate)
{
    forget_parent(gate);
    if (__atomic_add_fetch(&gate->word, 1, __ATOMIC_SEQ_CST) & CLOSED_BIT) {
        ipcx__gate_leave(gate);
        return false;
    }
    return true;
}

void ipcx__gate_leave(ipcx_gate *gate)
{
    if (__atomic_sub_fetch(&gate->word, 1, __ATOMIC_SEQ_CST) == CLOSED_BIT) {
        int saved = errno;
        (void)syscall(SYS_futex, &gate->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
        errno = saved;
    }
}

void ipcx__gate_step_out(ipcx_gate *gate)
{
    ipcx__gate_leave(gate);
}

void ipcx__gate_step_in(ipcx_gate *gate)
{
    (void)__atomic_add_fetch(&gate->word, 1, __ATOMIC_SEQ_CST);
}

bool ipcx__gate_is_closed(const ipcx_gate *gate)
{
    return (__atomic_load_n(&gate->word, __ATOMIC_SEQ_CST) & CLOSED_BIT) != 0;
}

static void ring_all(ipcx_gate *gate)
{
    const uint64_t one = 1;
    lock(gate);
    for (struct ipcx__waiter *waiter = gate->waiters; waiter != NULL; waiter = waiter->next) {
        if (waiter->bell >= 0) {
            /* A counter that is full is readable all the same. */
            ssize_t ignored = write(waiter->bell, &one, sizeof one);
            (void)ignored;
        }
    }
    unlock(gate);
}

void ipcx__gate_close(ipcx_gate *gate)
{
    uint32_t word;
    forget_parent(gate);
    word = __atomic_or_fetch(&gate->word, CLOSED_BIT, __ATOMIC_SEQ_CST);
    if (word == CLOSED_BIT) {
        return;
    }
    ring_all(gate);
    while ((word = __atomic_load_n(&gate->word, __ATOMIC_SEQ_CST)) != CLOSED_BIT) {
        /* EINTR and EAGAIN both mean: look again. */
        (void)syscall(SYS_futex, &gate->word, FUTEX_WAIT_PRIVATE, word, NULL, NULL, 0);
    }
}

void ipcx__gate_reopen(ipcx_gate *gate)
{
    *gate = (ipcx_gate){.generation = ipcx__fork_generation()};
}

static void arrive(ipcx_gate *gate, struct ipcx__waiter *self)
{
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    lock(gate);
    self->next = gate->waiters;
    gate->waiters = self;
    unlock(gate);
}

static void depart(ipcx_gate *gate, struct ipcx__waiter *self)
{
    struct ipcx__waiter **link = &gate->waiters;
    lock(gate);
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    unlock(gate);
    if (self->bell >= 0) {
        (void)close(self->bell);
    }
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

/* poll_until in slices, for a waiter that has no bell. */
static int poll_sliced(const ipcx_gate *gate, struct pollfd *fds, ipcx_deadline deadline)
{
    for (;;) {
        ipcx_deadline slice = ipcx_deadline_after(SLICE_NS);
        int ready = poll_until(fds, 1, slice < deadline ? slice : deadline);
        if (ready != 0 || ipcx__gate_is_closed(gate) || ipcx_deadline_left(deadline) == 0) {
            return ready;
        }
    }
}

static ipcx_status poll_status(const ipcx_gate *gate, int ready, int error, ipcx_error *err)
{
    if (ipcx__gate_is_closed(gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, "poll", "closed by another thread");
    }
    if (ready > 0) {
        return IPCX_OK;
    }
    if (ready == 0) {
        return IPCX_TIMEOUT;
    }
    if (error == EINTR) {
        return IPCX_INTR;
    }
    return ipcx_error_set(err, IPCX_SYSTEM, error, "poll", "cannot wait for the descriptor");
}

ipcx_status ipcx__gate_poll(ipcx_gate *gate, int fd, short events, ipcx_deadline deadline,
                            ipcx_error *err)
{
    struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = -1, .events = POLLIN}};
    struct ipcx__waiter self;
    int ready, error;

    if (ipcx__single_threaded()) {
        ready = poll_until(fds, 1, deadline);
        return poll_status(gate, ready, errno, err);
    }
    arrive(gate, &self);
    if (ipcx__gate_is_closed(gate)) {
        ready = 0;
    } else if (self.bell < 0) {
        ready = poll_sliced(gate, fds, deadline);
    } else {
        fds[1].fd = self.bell;
        ready = poll_until(fds, 2, deadline);
    }
    error = errno;
    depart(gate, &self);
    return poll_status(gate, ready, error, err);
}

ipcx_status ipcx__gate_poll_edge(ipcx_gate *gate, int *epoll_fd, int fd, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
    ipcx_status status;
    if (*epoll_fd < 0) {
        *epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (*epoll_fd < 0 || epoll_ctl(*epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
            return ipcx_error_set(err, IPCX_SYSTEM, errno, "epoll", "cannot wait for new input");
        }
    }
    status = ipcx__gate_poll(gate, *epoll_fd, POLLIN, deadline, err);
    if (status == IPCX_OK) {
        /* Takes the edge, so that the next wait is for the next one. */
        (void)epoll_wait(*epoll_fd, &event, 1, 0);
    }
    return status;
}
