/* SPDX-License-Identifier: Apache-2.0
 * Waiting for the peer, awake or asleep, and telling it to look.
 * Who sleeps announces itself in its end's wait word and looks once more; who publishes or frees
 * looks at the other's wait word and, if it is set, takes the bit away and rings the bell: an
 * eventfd, edge-triggered in an epoll for data (which is fileno()) and one for space, never read.
 * tests/model/ring.pml is this file and ring.h as a model.
 * Invariant: an edge that was taken from an epoll is followed by a look at what it stood for, and
 * by ipcx__shm_settle where others may sleep there. */
#include "link/shared/chan_shm_parts.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ipcx/clock.h"
#include "os/gate.h"

#define SPIN_NS INT64_C(50000)  /* longer awake costs more than the sleep it saves */
#define LONG_NS INT64_C(100000) /* a wait that was not worth it … */
#define LONGS 8                 /* … and after so many in a row only every … */
#define RARELY 32               /* … so manieth is tried awake, until one is short */

enum { BELL, SOCKET, PEER };

static void lock(ipcx__shm *self)
{
    while (!ipcx__turn_take(&self->control)) {
        (void)sched_yield(); /* a few system calls */
    }
}

static void unlock(ipcx__shm *self)
{
    ipcx__turn_leave(&self->control);
}

/* ---- bells */

static void ring(int bell)
{
    const uint64_t one = 1;
    int saved = errno;
    (void)!write(bell, &one, sizeof one); /* EAGAIN: it has not been read for 2^64 rings */
    errno = saved;
}

void ipcx__shm_ring_self(ipcx__shm *self)
{
    ring(self->bell);
}

void ipcx__shm_tell_data(ipcx__shm *self)
{
    if (ipcx__ring_claim(&self->theirs->waiting, IPCX__RING_DATA)) {
        ring(self->their_bell);
    }
}

static void learn(ipcx__shm *self);

void ipcx__shm_tell_space(ipcx__shm *self)
{
    _Atomic uint32_t *waiting = &self->theirs->waiting;
    if (!ipcx__ring_freed(&self->rx) || (atomic_load_explicit(waiting, memory_order_seq_cst) &
                                         (IPCX__RING_SPACE | IPCX__SHM_FILLED)) == 0) {
        return;
    }
    if (ipcx__ring_claim(waiting, IPCX__RING_SPACE)) {
        ring(self->their_bell);
    }
    if (ipcx__ring_claim(waiting, IPCX__SHM_FILLED)) {
        learn(self);
    }
}

/* After `bye`: to all who sleep there, whatever for. */
void ipcx__shm_tell_end(ipcx__shm *self)
{
    bool data = ipcx__ring_claim(&self->theirs->waiting, IPCX__RING_DATA);
    if (ipcx__ring_claim(&self->theirs->waiting, IPCX__RING_SPACE) || data) {
        ring(self->their_bell);
    }
}

void ipcx__shm_fill(ipcx__shm *self)
{
    /* One skb of this size is over a quarter of the smallest send buffer: unix_writable(). */
    static const char nothing[2048];
    (void)!send(self->socket, nothing, sizeof nothing, MSG_DONTWAIT | MSG_NOSIGNAL);
    ipcx__ring_announce(&self->mine->waiting, IPCX__SHM_FILLED);
}

/* ---- epolls */

static int watch(int epoll, int operation, int fd, uint32_t events, uint32_t what)
{
    struct epoll_event event = {.events = events, .data = {.u32 = what}};
    return epoll_ctl(epoll, operation, fd, &event);
}

/* Reads the socket; the peer's pidfd, when it is there, joins what is watched. */
static void learn(ipcx__shm *self)
{
    int epolls[2], peer;
    bool known;
    lock(self);
    known = atomic_load(&self->peer_known);
    ipcx__shm_read_socket(self);
    if (!known && atomic_load(&self->peer_known)) {
        peer = atomic_load(&self->peer);
        epolls[0] = self->data_epoll;
        epolls[1] = self->space_epoll;
        for (int i = 0; i < 2; i++) {
            if (epolls[i] >= 0) {
                (void)watch(epolls[i], EPOLL_CTL_MOD, self->socket, EPOLLRDHUP, SOCKET);
                if (peer >= 0) {
                    (void)watch(epolls[i], EPOLL_CTL_ADD, peer, EPOLLIN, PEER);
                }
            }
        }
    }
    unlock(self);
}

static ipcx_status make_epoll(ipcx__shm *self, int *epoll, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    lock(self);
    if (*epoll < 0) {
        int peer = atomic_load(&self->peer), fd = epoll_create1(EPOLL_CLOEXEC);
        uint32_t news = atomic_load(&self->peer_known) ? 0 : EPOLLIN;
        if (fd < 0 || watch(fd, EPOLL_CTL_ADD, self->bell, EPOLLIN | EPOLLET, BELL) < 0 ||
            watch(fd, EPOLL_CTL_ADD, self->socket, EPOLLRDHUP | news, SOCKET) < 0 ||
            (peer >= 0 && watch(fd, EPOLL_CTL_ADD, peer, EPOLLIN, PEER) < 0)) {
            status = ipcx_status_from_errno(errno);
            status = ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, "epoll", "%s",
                                    self->head.url);
            if (fd >= 0) {
                (void)close(fd);
            }
        } else {
            *epoll = fd;
        }
    }
    unlock(self);
    return status;
}

ipcx_status ipcx__shm_data_epoll(ipcx__shm *self, ipcx_error *err)
{
    return make_epoll(self, &self->data_epoll, err);
}

static int wait_events(int epoll, struct epoll_event *events, int most, ipcx_deadline deadline)
{
    int64_t left = ipcx_deadline_left(deadline);
#ifdef SYS_epoll_pwait2
    struct timespec limit = {.tv_sec = (time_t)(left / 1000000000),
                             .tv_nsec = (long)(left % 1000000000)};
    int n = (int)syscall(SYS_epoll_pwait2, epoll, events, most,
                         deadline == IPCX_FOREVER ? NULL : &limit, NULL, 0);
    if (n >= 0 || errno != ENOSYS) {
        return n;
    }
#endif
    /* Linux before 5.11: in milliseconds, rounded up; after INT_MAX of them the caller looks. */
    return epoll_wait(epoll, events, most,
                      deadline == IPCX_FOREVER               ? -1
                      : left >= INT32_MAX * INT64_C(1000000) ? INT32_MAX
                                                             : (int)((left + 999999) / 1000000));
}

/* What the events say; true: the bell rang, and that edge is gone. */
static bool heed(ipcx__shm *self, const struct epoll_event *events, int count)
{
    bool rang = false;
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 == BELL) {
            rang = true;
        } else if (events[i].data.u32 == PEER ||
                   (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
            atomic_store(&self->gone, true);
        } else {
            learn(self);
        }
    }
    return rang;
}

static ipcx_status sleep_on(ipcx__shm *self, int epoll, ipcx_deadline deadline, bool *rang,
                            ipcx_error *err)
{
    struct epoll_event events[4];
    ipcx__sleeper sleeper;
    int n = 0, why;
    if (ipcx__gate_sleep(&self->head.gate, &sleeper)) {
        n = wait_events(epoll, events, 4, deadline);
    }
    why = errno;
    ipcx__gate_wake_up(&self->head.gate, &sleeper);
    *rang = n > 0 && heed(self, events, n);
    if (ipcx__gate_is_closed(&self->head.gate)) {
        return ipcx__gate_closed("wait", err);
    }
    if (n < 0 && why != EINTR) {
        return ipcx_error_set(err, IPCX_SYSTEM, why, "epoll_wait", "%s", self->head.url);
    }
    return n > 0 ? IPCX_OK : n == 0 ? IPCX_TIMEOUT : IPCX_INTR;
}

/* ---- is the peer there? */

bool ipcx__shm_peer_gone(ipcx__shm *self, bool now)
{
    struct pollfd fds[2] = {{.fd = self->socket, .events = POLLRDHUP}, {.events = POLLIN}};
    struct timespec coarse;
    int64_t tick;
    if (atomic_load_explicit(&self->gone, memory_order_acquire)) {
        return true;
    }
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &coarse);
    tick = coarse.tv_sec * INT64_C(1000000000) + coarse.tv_nsec;
    if (!now && tick == atomic_load_explicit(&self->looked, memory_order_relaxed)) {
        return false;
    }
    atomic_store_explicit(&self->looked, tick, memory_order_relaxed);
    if (!atomic_load(&self->peer_known)) {
        learn(self);
    }
    fds[1].fd = atomic_load(&self->peer); /* -1: poll(2) looks away */
    if (poll(fds, 2, 0) > 0) {
        atomic_store(&self->gone, true);
    }
    return atomic_load(&self->gone);
}

ipcx_status ipcx__shm_peer_takes(ipcx__shm *self, ipcx_error *err)
{
    bool gone = ipcx__shm_peer_gone(self, false);
    if (IPCX_UNLIKELY(atomic_load(&self->theirs->bye) != 0)) {
        return ipcx_error_set(err, IPCX_PEER_CLOSED, 0, "send", "%s: the peer has closed its end",
                              self->head.url);
    }
    if (IPCX_UNLIKELY(gone)) {
        return ipcx_error_set(err, IPCX_PEER_DIED, 0, "send", "%s: the peer's process has gone",
                              self->head.url);
    }
    return IPCX_OK;
}

/* ---- awake */

static bool nothing_new(const ipcx__shm *self)
{
    return ipcx__ring_empty(&self->rx) && atomic_load(&self->theirs->bye) == 0 &&
           !atomic_load(&self->gone);
}

static bool granted(ipcx__shm *self, const ipcx__shm_wish *wish)
{
    if (wish->room) {
        return ipcx__ring_room(&self->tx, wish->size) || self->tx.broken;
    }
    return ipcx__ring_passed(&self->segment->words[self->role], wish->at);
}

static bool ended(const ipcx__shm *self)
{
    return atomic_load(&self->theirs->bye) != 0 || atomic_load(&self->gone) ||
           atomic_load(&self->closing);
}

static bool fulfilled(ipcx__shm *self, const ipcx__shm_wish *wish)
{
    return wish == NULL ? !nothing_new(self) : granted(self, wish) || ended(self);
}

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void ipcx__shm_say_cpu(ipcx__shm *self)
{
    uint32_t cpu = (uint32_t)sched_getcpu() + 1;
    if (cpu != atomic_load_explicit(&self->mine->cpu, memory_order_relaxed)) {
        atomic_store_explicit(&self->mine->cpu, cpu, memory_order_relaxed);
    }
}

/* Whether the peer is at work, on another CPU than ours: then what we wait for may come soon. */
static bool peer_awake(const ipcx__shm *self)
{
    uint32_t theirs = atomic_load_explicit(&self->theirs->cpu, memory_order_relaxed);
    uint32_t waiting = atomic_load_explicit(&self->theirs->waiting, memory_order_relaxed);
    return theirs != 0 && theirs != (uint32_t)sched_getcpu() + 1 &&
           (waiting & (IPCX__RING_DATA | IPCX__RING_SPACE)) == 0;
}

/* True: it has come. `wish` NULL: data. */
static bool spin(ipcx__shm *self, const ipcx__shm_wish *wish, ipcx__shm_spin *habit, int64_t start)
{
    unsigned longs = atomic_load_explicit(&habit->longs, memory_order_relaxed);
    if (longs >= LONGS &&
        atomic_fetch_add_explicit(&habit->skipped, 1, memory_order_relaxed) % RARELY != 0) {
        return false;
    }
    ipcx__shm_say_cpu(self);
    while (peer_awake(self)) {
        for (int i = 0; i < 16; i++) {
            if (fulfilled(self, wish)) {
                return true;
            }
            pause_cpu();
        }
        if (ipcx_clock_now() - start > SPIN_NS) {
            break;
        }
    }
    return false;
}

static void remember(ipcx__shm_spin *habit, int64_t start)
{
    bool was_long = ipcx_clock_now() - start > LONG_NS;
    unsigned longs = atomic_load_explicit(&habit->longs, memory_order_relaxed);
    atomic_store_explicit(&habit->longs,
                          !was_long       ? 0
                          : longs < LONGS ? longs + 1
                                          : LONGS,
                          memory_order_relaxed);
}

/* ---- asleep, for data */

/* A bell that was heard may have been for somebody who polls a rendezvous: the next one is to ring
 * again, and if the peer has gone on meanwhile, we do. */
static void settle_polled(ipcx__shm *self)
{
    uint64_t head;
    ipcx__ring_announce(&self->mine->waiting, IPCX__RING_SPACE);
    head = atomic_load(&self->segment->words[self->role].head);
    if (head != self->seen_head) {
        self->seen_head = head;
        ipcx__shm_ring_self(self);
    }
}

void ipcx__shm_settle(ipcx__shm *self)
{
    bool asked = atomic_load_explicit(&self->asked, memory_order_relaxed);
    struct epoll_event events[4];
    int n;
    if (IPCX_LIKELY(!asked && atomic_load_explicit(&self->asleep, memory_order_relaxed) == 0)) {
        return; /* who sleeps from now on announces itself */
    }
    if (asked && nothing_new(self)) {
        /* fileno() is to be readable no more. */
        n = epoll_wait(self->data_epoll, events, 4, 0);
        (void)heed(self, events, n > 0 ? n : 0);
        atomic_store(&self->unsettled, true);
    }
    if (!atomic_exchange(&self->unsettled, false)) {
        return;
    }
    if (asked && atomic_load(&self->polled)) {
        settle_polled(self);
    }
    /* On one look: either the next commit rings, or we do for what is there. */
    if (nothing_new(self)) {
        ipcx__ring_announce(&self->mine->waiting, IPCX__RING_DATA);
        if (nothing_new(self)) {
            return;
        }
    }
    ipcx__shm_ring_self(self);
}

ipcx_status ipcx__shm_wait_data(ipcx__shm *self, ipcx_deadline deadline, ipcx_error *err)
{
    int64_t start = ipcx_clock_now();
    ipcx_status status = IPCX_OK;
    bool rang = false;
    if (spin(self, NULL, &self->rx_spin, start)) {
        remember(&self->rx_spin, start);
        return IPCX_OK;
    }
    if (self->data_epoll < 0) {
        status = make_epoll(self, &self->data_epoll, err);
    }
    if (status != IPCX_OK) {
        ipcx__turn_leave(&self->rx_turn);
        return status;
    }
    (void)atomic_fetch_add(&self->asleep, 1);
    atomic_store(&self->unsettled, false);
    ipcx__ring_announce(&self->mine->waiting, IPCX__RING_DATA);
    if (!nothing_new(self)) {
        atomic_store(&self->unsettled, true); /* nobody rings for what is there already */
        (void)atomic_fetch_sub(&self->asleep, 1);
        return IPCX_OK;
    }
    ipcx__turn_leave(&self->rx_turn);
    (void)atomic_fetch_add_explicit(&self->head.receive_waits, 1, memory_order_relaxed);
    status = sleep_on(self, self->data_epoll, deadline, &rang, err);
    if (rang) {
        atomic_store(&self->unsettled, true);
    }
    (void)atomic_fetch_sub(&self->asleep, 1);
    remember(&self->rx_spin, start);
    return status == IPCX_OK ? IPCX_MORE : status;
}

/* ---- asleep, for space: one thread sleeps, and tells the others whenever it was woken */

static ipcx_status sleep_for_all(ipcx__shm *self, const ipcx__shm_wish *wish,
                                 ipcx_deadline deadline, ipcx_error *err)
{
    bool rang;
    ipcx_status status =
        self->space_epoll >= 0 ? IPCX_OK : make_epoll(self, &self->space_epoll, err);
    if (status != IPCX_OK) {
        return status;
    }
    ipcx__ring_announce(&self->mine->waiting, IPCX__RING_SPACE);
    ipcx__turn_tell(&self->space_turn); /* the others look once more, behind the announcement */
    if (fulfilled(self, wish)) {
        return IPCX_OK;
    }
    (void)atomic_fetch_add_explicit(&self->head.send_waits, 1, memory_order_relaxed);
    status = sleep_on(self, self->space_epoll, deadline, &rang, err);
    ipcx__turn_tell(&self->space_turn);
    return status;
}

ipcx_status ipcx__shm_wait_space(ipcx__shm *self, const ipcx__shm_wish *wish,
                                 ipcx_deadline deadline, ipcx_error *err)
{
    int64_t start = ipcx_clock_now();
    ipcx_status status = IPCX_OK;
    bool woken = false;
    if (spin(self, wish, &self->tx_spin, start)) {
        remember(&self->tx_spin, start);
        return IPCX_OK;
    }
    while (status == IPCX_OK) {
        uint32_t seen = ipcx__turn_look(&self->space_turn);
        if (fulfilled(self, wish)) {
            if (woken) {
                ipcx__turn_pass(&self->space_turn);
            }
            break;
        }
        woken = false;
        if (ipcx__turn_take(&self->space_turn)) {
            status = sleep_for_all(self, wish, deadline, err);
            ipcx__turn_leave(&self->space_turn);
        } else {
            status = ipcx__turn_wait(&self->space_turn, &self->head.gate, seen, deadline, err);
            woken = status == IPCX_OK;
        }
    }
    remember(&self->tx_spin, start);
    return status;
}
