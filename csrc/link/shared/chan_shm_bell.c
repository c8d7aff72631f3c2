/* SPDX-License-Identifier: Apache-2.0
 * Bells and epolls: who is woken how, and whether the peer is still there.
 * An end is rung by an eventfd that both ends hold, never read, for a hostile peer can clear its
 * O_NONBLOCK; its own wait word says so where it wants a byte on the socket instead, or futex(2).
 * Bytes on the socket are read by whoever takes the edge; that makes the other epoll's edge, if it
 * had one, void (epoll looks again before it tells): so whoever reads rings for those who sleep
 * there.
 * Invariant: an edge that was taken from an epoll is followed by a look at what it stood for, and
 * by ipcx__shm_settle where others may sleep there. */
#include "link/shared/chan_shm_wait.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/crash.h"
#include "ipcx/clock.h"
#include "os/futex.h"
#include "os/gate.h"

#define SLICE_NS                                                                                   \
    INT64_C(10000000) /* without an epoll: so often it is seen whether the peer lives */

enum { BELL, SOCKET, EARS, PEER };

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
    if (atomic_load(&self->sleeps_in_slices)) {
        (void)atomic_fetch_and(&self->mine->waiting, ~(IPCX__RING_DATA | IPCX__RING_SPACE));
        (void)ipcx__futex_wake(&self->mine->waiting, INT_MAX, IPCX__SHARED);
    }
    if (atomic_load(&self->begun) == 2 && self->bell >= 0) { /* before, nobody sleeps here */
        ring(self->bell);
    }
}

/* The bit that stood for it is taken away. A socket that is full of bytes nobody has read has left
 * an edge in each of the peer's epolls; so it does not matter that no more goes in. */
static void ring_peer(ipcx__shm *self)
{
    uint32_t how = atomic_load(&self->theirs->waiting);
    IPCX_CRASH_POINT("bell: claimed, not rung");
    (void)atomic_fetch_add_explicit(&self->segment->counts[self->role].wakes, 1,
                                    memory_order_relaxed);
    if ((how & IPCX__SHM_BY_FUTEX) != 0) {
        (void)ipcx__futex_wake(&self->theirs->waiting, INT_MAX, IPCX__SHARED);
    } else if (self->their_bell >= 0 && (how & IPCX__SHM_BY_SOCKET) == 0) {
        ring(self->their_bell);
    } else {
        int saved = errno;
        (void)send(self->socket, "B", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        errno = saved;
    }
}

void ipcx__shm_tell_data(ipcx__shm *self)
{
    if (ipcx__ring_claim(&self->theirs->waiting, IPCX__RING_DATA)) {
        ring_peer(self);
    }
}

/* A wake for who can use it, once for each time it announced that: for the others it is for
 * nothing.
 */
void ipcx__shm_show_front(void *end)
{
    ipcx__shm *self = end;
    if (ipcx__ring_claim(&self->theirs->waiting, IPCX__SHM_FRONT)) {
        ipcx__shm_tell_data(self);
    }
}

static void learn(ipcx__shm *self, int epoll);

void ipcx__shm_tell_space(ipcx__shm *self)
{
    _Atomic uint32_t *waiting = &self->theirs->waiting;
    if (!ipcx__ring_freed(&self->rx) || (atomic_load_explicit(waiting, memory_order_seq_cst) &
                                         (IPCX__RING_SPACE | IPCX__SHM_FILLED)) == 0) {
        return;
    }
    if (ipcx__ring_claim(waiting, IPCX__RING_SPACE)) {
        ring_peer(self);
    }
    if (ipcx__ring_claim(waiting, IPCX__SHM_FILLED)) {
        learn(self, -1);
    }
}

void ipcx__shm_tell_end(ipcx__shm *self)
{
    bool data = ipcx__ring_claim(&self->theirs->waiting, IPCX__RING_DATA);
    if (ipcx__ring_claim(&self->theirs->waiting, IPCX__RING_SPACE) || data) {
        ring_peer(self);
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

/* From now on, for good. Who sleeps already finds out by our own bell. */
static void sleep_in_slices(ipcx__shm *self)
{
    (void)atomic_fetch_or(&self->mine->waiting, IPCX__SHM_BY_FUTEX);
    atomic_store(&self->sleeps_in_slices, true);
}

/* With `control`: the socket's second descriptor, for edges; the first is level-triggered. */
static int make_ears(ipcx__shm *self)
{
    if (self->ears < 0) {
        self->ears = fcntl(self->socket, F_DUPFD_CLOEXEC, 3);
    }
    return self->ears < 0 ? -1 : 0;
}

/* With `control`: the peer has told who it is and how it rings. */
static void meet(ipcx__shm *self)
{
    const int epolls[2] = {self->data_epoll, self->space_epoll};
    int peer = atomic_load(&self->peer);
    bool deaf = self->alone && make_ears(self) < 0;
    for (int i = 0; i < 2; i++) {
        if (epolls[i] < 0) {
            continue;
        }
        (void)watch(epolls[i], EPOLL_CTL_MOD, self->socket, EPOLLRDHUP, SOCKET);
        if (peer >= 0 && watch(epolls[i], EPOLL_CTL_ADD, peer, EPOLLIN, PEER) < 0) {
            deaf = true; /* to its death */
        }
        if (self->alone && !deaf &&
            watch(epolls[i], EPOLL_CTL_ADD, self->ears, EPOLLIN | EPOLLET, EARS) < 0) {
            deaf = deaf || errno != EEXIST;
        }
    }
    if (deaf) {
        sleep_in_slices(self);
    }
}

/* Reads the socket, for a thread that was woken at `epoll`, or (-1) for one that came by. */
static void learn(ipcx__shm *self, int epoll)
{
    bool known, rang, at_data, at_space;
    lock(self);
    known = atomic_load(&self->peer_known);
    rang = ipcx__shm_read_socket(self);
    if (!known && atomic_load(&self->peer_known)) {
        meet(self);
    }
    at_data = epoll >= 0 && epoll == self->data_epoll;
    at_space = epoll >= 0 && epoll == self->space_epoll;
    unlock(self);
    if (rang && ((!at_data && (atomic_load(&self->asked) || atomic_load(&self->asleep) > 0)) ||
                 (!at_space && (ipcx__turn_look(&self->space_turn) & IPCX__TURN_TAKEN) != 0))) {
        ipcx__shm_ring_self(self);
    }
}

/* All that an end sleeps for into a new epoll. */
static int gather(ipcx__shm *self, int fd)
{
    int peer = atomic_load(&self->peer);
    uint32_t news = atomic_load(&self->peer_known) ? 0 : EPOLLIN;
    if (watch(fd, EPOLL_CTL_ADD, self->bell, EPOLLIN | EPOLLET, BELL) < 0 ||
        watch(fd, EPOLL_CTL_ADD, self->socket, EPOLLRDHUP | news, SOCKET) < 0 ||
        (peer >= 0 && watch(fd, EPOLL_CTL_ADD, peer, EPOLLIN, PEER) < 0)) {
        return -1;
    }
    if (!self->alone) {
        return 0;
    }
    return make_ears(self) < 0 ? -1 : watch(fd, EPOLL_CTL_ADD, self->ears, EPOLLIN | EPOLLET, EARS);
}

static ipcx_status make_epoll(ipcx__shm *self, int *epoll, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    lock(self);
    if (*epoll < 0 && !atomic_load(&self->sleeps_in_slices)) {
        int fd = epoll_create1(EPOLL_CLOEXEC);
        if (fd >= 0 && gather(self, fd) == 0) {
            *epoll = fd;
        } else if (ipcx__shm_refused(errno)) {
            sleep_in_slices(self);
        } else {
            status = errno == ENOMEM ? IPCX_EXHAUSTED : ipcx_status_from_errno(errno);
            status = ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, "epoll", "%s",
                                    self->head.url);
        }
        if (fd >= 0 && *epoll < 0) {
            (void)close(fd);
        }
    }
    unlock(self);
    return status;
}

ipcx_status ipcx__shm_data_epoll(ipcx__shm *self, ipcx_error *err)
{
    return self->data_epoll >= 0 ? IPCX_OK : make_epoll(self, &self->data_epoll, err);
}

ipcx_status ipcx__shm_space_epoll(ipcx__shm *self, ipcx_error *err)
{
    return self->space_epoll >= 0 ? IPCX_OK : make_epoll(self, &self->space_epoll, err);
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

/* What the events say; true: it rang, and that edge is gone. */
static bool heed(ipcx__shm *self, int epoll, const struct epoll_event *events, int count)
{
    bool rang = false;
    for (int i = 0; i < count; i++) {
        uint32_t what = events[i].data.u32;
        if (what == BELL || what == EARS) {
            rang = true;
        }
        if (what == PEER || (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
            atomic_store(&self->gone, true);
        } else if (what != BELL) {
            learn(self, epoll);
            rang = true; /* what it has read may have been a ring */
        }
    }
    return rang;
}

void ipcx__shm_hear(ipcx__shm *self)
{
    struct epoll_event events[4];
    int n = epoll_wait(self->data_epoll, events, 4, 0);
    (void)heed(self, self->data_epoll, events, n > 0 ? n : 0);
}

/* Until somebody takes `bit` away, the deadline, or the peer's end. */
static ipcx_status sleep_at_word(ipcx__shm *self, uint32_t bit, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    while (status == IPCX_OK) {
        ipcx_deadline slice = ipcx_deadline_after(SLICE_NS);
        uint32_t word = atomic_load(&self->mine->waiting);
        ipcx__sleeper sleeper;
        if ((word & bit) == 0) {
            break;
        }
        if (ipcx__gate_sleep(&self->head.gate, &sleeper)) {
            status = ipcx__futex_wait(&self->mine->waiting, word,
                                      slice < deadline ? slice : deadline, IPCX__SHARED, err);
        }
        ipcx__gate_wake_up(&self->head.gate, &sleeper);
        if (ipcx__gate_is_closed(&self->head.gate)) {
            return ipcx__gate_closed("wait", err);
        }
        if (status == IPCX_TIMEOUT && slice < deadline) {
            status = IPCX_OK;
        }
        if (ipcx__shm_peer_gone(self, true)) {
            break;
        }
    }
    return status;
}

ipcx_status ipcx__shm_sleep(ipcx__shm *self, int epoll, uint32_t bit, ipcx_deadline deadline,
                            bool *rang, ipcx_error *err)
{
    struct epoll_event events[4];
    ipcx__sleeper sleeper;
    int n = 0, why;
    if (IPCX_UNLIKELY(epoll < 0 || atomic_load(&self->sleeps_in_slices))) {
        *rang = true;
        return sleep_at_word(self, bit, deadline, err);
    }
    IPCX_CRASH_POINT("sleep: announced");
    if (ipcx__gate_sleep(&self->head.gate, &sleeper)) {
        n = wait_events(epoll, events, 4, deadline);
    }
    why = errno;
    IPCX_CRASH_POINT("sleep: woken");
    ipcx__gate_wake_up(&self->head.gate, &sleeper);
    *rang = n > 0 && heed(self, epoll, events, n);
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
        learn(self, -1);
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
