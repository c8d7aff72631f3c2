/* SPDX-License-Identifier: Apache-2.0
 * Who sleeps where on a stream channel, and who wakes whom.
 *
 *   where                              what ends it
 *   send_turn                          the sender before us leaves
 *   gate, room to send                 the kernel; only one thread is there: who has send_turn
 *   rx_turn                            the receiver before us leaves, or has released its message
 *   pump                               who reads leaves; or tells: an ACK came, the inbox got some
 *   room                               the inbox has got room, an ACK came
 *   gate, bytes to read (sleep)        the kernel; a nudge; only one thread is there: who has pump
 * Closing the gate ends all of them. Invariants:
 * - Who waits for a turn is woken when it is given back; the wake of one who no longer needs it is
 *   passed on (os/turn.h). So while anybody waits for pump, somebody reads or is about to.
 * - What a sleeper in `sleep` must know beside its descriptor (bytes have come to be owed, goodbye)
 *   is changed first, then `asleep` is looked at; the sleeper sets `asleep` first, then looks. One
 *   of the two sees the other.
 * - Nobody pushes what is owed while a sender waits for room: it would take the readiness away. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "link/stream/chan_stream_parts.h"
#include "link/stream/chan_stream_prove.h"
#include "os/gate.h"

/* Without a descriptor to be nudged by (EMFILE) a sleeper looks up this often. */
#define LOOK_UP_NS INT64_C(10000000)

/* ---- an eventfd is up or down */

static void raise_event(int fd)
{
    uint64_t one = 1;
    while (fd >= 0 && write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void lower_event(int fd)
{
    uint64_t count;
    while (fd >= 0 && read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

void ipcx__stream_nudge(ipcx__stream *self)
{
    if (atomic_load(&self->asleep)) {
        raise_event(self->nudge);
    }
}

void ipcx__stream_tell(ipcx__stream *self)
{
    ipcx__turn_tell(&self->pump);
    ipcx__turn_tell(&self->room);
}

/* ---- sleeping */

typedef struct bed {
    struct pollfd fds[3];
    nfds_t count;
    ipcx_deadline until;
} bed;

static void make_bed(ipcx__stream *self, bool alone, bool owes, ipcx_deadline deadline, bed *to)
{
    ipcx_deadline look_up;
    *to = (bed){.fds = {{.fd = self->read_fd, .events = POLLIN}}, .count = 1, .until = deadline};
    if (owes && self->write_fd == self->read_fd) {
        to->fds[0].events |= POLLOUT;
    } else if (owes) {
        to->fds[to->count++] = (struct pollfd){.fd = self->write_fd, .events = POLLOUT};
    }
    if (alone) {
        return;
    }
    if (self->nudge >= 0) {
        to->fds[to->count++] = (struct pollfd){.fd = self->nudge, .events = POLLIN};
        return;
    }
    look_up = ipcx_deadline_after(LOOK_UP_NS);
    to->until = look_up < to->until ? look_up : to->until;
}

ipcx_status ipcx__stream_sleep(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    bool alone = ipcx__single_threaded();
    ipcx_status status;
    bed own;
    if (!alone) {
        if (self->nudge < 0) {
            self->nudge = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        }
        atomic_store(&self->asleep, true);
    }
    make_bed(self, alone, ipcx__stream_push_on(self), ipcx__stream_until(self, deadline), &own);
    if (atomic_load(&self->watched)) {
        (void)pthread_mutex_lock(&self->guard);
        ipcx__stream_set_bell(self);
        (void)pthread_mutex_unlock(&self->guard);
    }
    if (atomic_load(&self->closing)) {
        status = ipcx__gate_closed("receive", err);
    } else if (IPCX_UNLIKELY(self->layer != NULL) && ipcx__layer_interrupted(self)) {
        status = IPCX_INTR;
    } else {
        status = ipcx__gate_poll_set(&self->chan.gate, own.fds, own.count, own.until, err);
    }
    if (!alone) {
        atomic_store(&self->asleep, false);
        if (own.fds[own.count - 1].fd == self->nudge && (own.fds[own.count - 1].revents & POLLIN)) {
            lower_event(self->nudge);
        }
    }
    return status == IPCX_TIMEOUT && own.until != deadline ? IPCX_OK : status;
}

ipcx_status ipcx__stream_await_room(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    if (IPCX_UNLIKELY(self->layer != NULL)) {
        if (!atomic_load(&self->ready)) {
            return ipcx__layer_secure(self, false, deadline, err);
        }
        if (ipcx__layer_interrupted(self)) {
            return IPCX_INTR;
        }
    }
    return ipcx__stream_wait_for_room(self, deadline, err);
}

/* ---- fileno(): an epoll descriptor over the stream, the room to send while bytes are owed, and
 * the bell, which is up while a message, or the end, waits on this side of the kernel */

void ipcx__stream_set_bell(ipcx__stream *self)
{
    bool up;
    if (IPCX_LIKELY(!atomic_load(&self->watched))) {
        return;
    }
    up = atomic_load(&self->inbox_count) > 0 || atomic_load(&self->has_front) ||
         ipcx__stream_is_over(self) || self->always_readable || atomic_load(&self->holds);
    if (up != self->bell_is_up) {
        self->bell_is_up = up;
        if (up) {
            raise_event(self->bell);
        } else {
            lower_event(self->bell);
        }
    }
}

void ipcx__stream_raise_bell(ipcx__stream *self)
{
    (void)pthread_mutex_lock(&self->guard);
    if (atomic_load(&self->watched) && !self->bell_is_up) {
        self->bell_is_up = true;
        raise_event(self->bell);
    }
    (void)pthread_mutex_unlock(&self->guard);
}

void ipcx__stream_leave_pump(ipcx__stream *self)
{
    if (IPCX_UNLIKELY(atomic_load(&self->watched))) {
        /* The next message, if it is here, steps in front: only so is it known to be here. */
        (void)ipcx__stream_front(self, NULL);
        (void)pthread_mutex_lock(&self->guard);
        ipcx__stream_set_bell(self);
        (void)pthread_mutex_unlock(&self->guard);
    }
    ipcx__turn_leave(&self->pump);
}

/* Under tx: has epoll heed bytes to read and room to send, or not. */
static void heed(ipcx__stream *self, bool in, bool out)
{
    struct epoll_event read = {.events = in ? EPOLLIN : 0}, write = {.events = EPOLLOUT};
    if (self->read_fd == self->write_fd) {
        read.events |= out ? EPOLLOUT : 0;
    } else if (out != self->shows_out) {
        (void)epoll_ctl(self->epoll, out ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, self->write_fd, &write);
    }
    (void)epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->read_fd, &read);
    self->hides_in = !in;
    self->shows_out = out;
}

/* Under tx. */
void ipcx__stream_owes(ipcx__stream *self)
{
    size_t sealed = ipcx_buf_len(&self->sealed);
    size_t owed = ipcx_buf_len(&self->owed) + ipcx_buf_len(&self->after) + sealed;
    if (owed != atomic_load_explicit(&self->chan.owed, memory_order_relaxed)) { /* ours to change */
        atomic_store(&self->chan.owed, owed);
    }
    if (IPCX_UNLIKELY(self->epoll >= 0)) {
        bool out = (self->layer == NULL ? owed : sealed) > 0 && !self->flushing && !self->midway &&
                   self->broken == IPCX_OK;
        bool in = self->control <= IPCX__CONTROL_MOST || self->broken < 0;
        if (in == self->hides_in || out != self->shows_out) {
            heed(self, in, out);
        }
    }
}

/* Under tx and guard. */
static ipcx_status watch(ipcx__stream *self, ipcx_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC), bell = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    ipcx_status status;
    if (epoll >= 0 && bell >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, bell, &event) == 0) {
        int added = epoll_ctl(epoll, EPOLL_CTL_ADD, self->read_fd, &event);
        if (added == 0 || errno == EPERM) {
            int timer = ipcx__stream_vigil_timer(self);
            if (timer >= 0) {
                (void)epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
            }
            self->always_readable = added != 0; /* a file, which never has one wait */
            self->epoll = epoll;
            self->bell = bell;
            self->bell_is_up = true; /* until somebody has looked */
            atomic_store(&self->watched, true);
            return IPCX_OK;
        }
    }
    status = ipcx_error_system(err, errno, "fileno", "%s", self->chan.url);
    if (epoll >= 0) {
        (void)close(epoll);
    }
    if (bell >= 0) {
        (void)close(bell);
    }
    return status;
}

ipcx_status ipcx__stream_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    ipcx_status status = IPCX_OK;
    if (self->read_way == IPCX__WAY_NONE) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "fileno", "this end of %s only sends",
                              chan->url);
    }
    if (!atomic_load(&self->greeted)) {
        status = ipcx__stream_greet(self, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    (void)pthread_mutex_lock(&self->tx);
    (void)pthread_mutex_lock(&self->guard);
    if (self->epoll < 0) {
        status = watch(self, err);
    }
    if (status == IPCX_OK) {
        *fd = self->epoll;
    }
    (void)pthread_mutex_unlock(&self->guard);
    ipcx__stream_owes(self);
    (void)pthread_mutex_unlock(&self->tx);
    if (status == IPCX_OK) {
        if (ipcx__turn_take(&self->pump)) {
            ipcx__stream_leave_pump(self);
        } else {
            ipcx__stream_nudge(self); /* who reads sets the bell */
        }
    }
    return status;
}

ipcx_status ipcx__stream_send_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    if (self->write_way == IPCX__WAY_NONE) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "fileno", "this end of %s only receives",
                              chan->url);
    }
    *fd = self->write_fd;
    return IPCX_OK;
}
