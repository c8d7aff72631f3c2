/* SPDX-License-Identifier: Apache-2.0
 * Receiving: messages are lent where recvmmsg(2) has put them.
 * Who sleeps, sleeps at the socket and at a bell: an eventfd that is up while messages were read
 * that others may want, so that a batch which one thread has read wakes the others too, and
 * fileno() tells the truth.
 * Invariant: the rx turn is given back by ipcx__dgram_leave, which sets the bell right. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "link/datagram/chan_dgram_parts.h"
#include "os/gate.h"

/* With the turn. */
static void set_bell(ipcx__dgram *self)
{
    bool wanted =
        ipcx__dgram_has(self) || atomic_load(&self->over) != IPCX_OK || atomic_load(&self->refused);
    uint64_t count = 1;
    if (self->bell < 0 || wanted == self->rung ||
        (wanted && !atomic_load(&self->asked) && atomic_load(&self->asleep) == 0)) {
        return;
    }
    if (wanted ? write(self->bell, &count, sizeof count) > 0
               : read(self->bell, &count, sizeof count) > 0) {
        self->rung = wanted;
    }
}

/* fileno() is readable when something is to be sent again, too. */
static void set_timer(ipcx__dgram *self)
{
    ipcx_deadline when = IPCX_FOREVER;
    struct itimerspec at = {0};
    if (self->timer < 0 || (!self->armed && atomic_load(&self->awaited) == 0)) {
        return;
    }
    when = ipcx__dgram_again(self);
    self->armed = when != IPCX_FOREVER;
    if (self->armed) {
        at.it_value = (struct timespec){(time_t)(when / 1000000000), (long)(when % 1000000000)};
    }
    (void)timerfd_settime(self->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

void ipcx__dgram_leave(ipcx__dgram *self)
{
    set_bell(self);
    set_timer(self);
    ipcx__turn_leave(&self->rx);
}

ipcx_status ipcx__dgram_over(ipcx__dgram *self, const char *op, ipcx_error *err)
{
    int over = atomic_load(&self->over);
    bool sends = op[0] == 's';
    if (over == IPCX_EOF) {
        return sends ? ipcx_error_set(err, IPCX_PEER_CLOSED, 0, op, "the peer has said goodbye")
                     : IPCX_EOF;
    }
    if (over == IPCX_PEER_DIED) {
        return ipcx_error_set(err, IPCX_PEER_DIED, ECONNREFUSED, op, "%s: nobody is there any more",
                              self->head.url);
    }
    if (atomic_exchange(&self->refused, false)) {
        return ipcx_error_set(err, IPCX_REFUSED, ECONNREFUSED, op, "%s: start the listener first",
                              self->head.url);
    }
    return IPCX_OK;
}

static ipcx_status make_bell(ipcx__dgram *self, ipcx_error *err)
{
    if (self->bell < 0) {
        self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (self->bell < 0) {
            return ipcx_error_system(err, errno, "eventfd", "%s", self->head.url);
        }
    }
    return IPCX_OK;
}

ipcx_status ipcx__dgram_sleep(ipcx__dgram *self, ipcx_deadline deadline, ipcx_error *err)
{
    struct pollfd fds[2] = {{.fd = self->fd, .events = POLLIN},
                            {.fd = self->bell, .events = POLLIN}};
    return ipcx__gate_poll_set(&self->head.gate, fds, 2, deadline, err);
}

/* The earlier of the two. */
static ipcx_deadline until(ipcx__dgram *self, ipcx_deadline deadline)
{
    ipcx_deadline again = ipcx__dgram_again(self);
    return again < deadline ? again : deadline;
}

/* With the turn, which it leaves: sleeps until something may have come. */
static ipcx_status sleep_turnless(ipcx__dgram *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__single_threaded() ? IPCX_OK : make_bell(self, err);
    ipcx_deadline wake = until(self, deadline);
    (void)atomic_fetch_add(&self->asleep, 1);
    ipcx__dgram_leave(self);
    if (status == IPCX_OK) {
        (void)atomic_fetch_add_explicit(&self->head.receive_waits, 1, memory_order_relaxed);
        status = ipcx__dgram_sleep(self, wake, err);
        if (status == IPCX_TIMEOUT && wake != deadline) {
            status = IPCX_OK;
        }
    }
    (void)atomic_fetch_sub(&self->asleep, 1);
    return status;
}

/* OK: a message is there, and the turn is ours. All else: we do not have it. */
static ipcx_status find(ipcx__dgram *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status;
    if (!self->role.receives) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "receive",
                              "%s: who sends to a group receives nothing", self->head.url);
    }
    for (;;) {
        status = ipcx__turn_take_by(&self->rx, &self->head.gate, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
        while (status == IPCX_OK) {
            if (ipcx__dgram_has(self)) {
                return IPCX_OK;
            }
            status = ipcx__dgram_read(self, false, err);
        }
        if (status == IPCX_AGAIN) {
            status = ipcx__dgram_over(self, "receive", err);
            status = status == IPCX_OK ? IPCX_AGAIN : status;
        }
        if (status != IPCX_AGAIN || deadline == IPCX_NOW) {
            ipcx__dgram_leave(self);
            return status;
        }
        status = sleep_turnless(self, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

ipcx_status ipcx__dgram_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                                ipcx_error *err)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    const ipcx__datagram *frame;
    ipcx_status status = find(self, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    frame = ipcx__dgram_first(self);
    self->lent = frame->sequence;
    *message = (ipcx_message){.data = frame->payload,
                              .size = frame->payload_size,
                              .flags = frame->flags & IPCX_FRAME_TEXT ? IPCX_MESSAGE_TEXT : 0};
    return IPCX_OK;
}

void ipcx__dgram_release(ipcx_chan *chan, ipcx_message *message)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    self->lent = 0;
    if (!(message->flags & IPCX__MESSAGE_KEEP)) {
        const ipcx__datagram *frame = ipcx__dgram_first(self);
        if (frame->flags & IPCX_FRAME_SYNC) {
            ipcx__dgram_control(self, IPCX_FRAME_ACK, frame->sequence);
        }
        ipcx__dgram_drop_first(self);
    }
    ipcx__dgram_leave(self);
}

ipcx_status ipcx__dgram_poll(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    ipcx_status status = find(self, deadline, err);
    if (status == IPCX_OK) {
        ipcx__dgram_leave(self);
    } else if (status == IPCX_REFUSED) {
        atomic_store(&self->refused, true); /* for the next call to tell */
    }
    /* receive would say these at once */
    return status == IPCX_EOF || status == IPCX_PEER_DIED || status == IPCX_REFUSED ? IPCX_OK
                                                                                    : status;
}

/* ---- fileno() */

static bool watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static ipcx_status make_epoll(ipcx__dgram *self, ipcx_error *err)
{
    int epoll;
    ipcx_status status = make_bell(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (self->timer < 0) {
        self->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    }
    if (epoll < 0 || self->timer < 0 || !watch(epoll, self->fd) || !watch(epoll, self->bell) ||
        !watch(epoll, self->timer)) {
        status = ipcx_error_system(err, errno, "epoll", "%s", self->head.url);
        if (epoll >= 0) {
            (void)close(epoll);
        }
        return status;
    }
    self->epoll = epoll;
    return IPCX_OK;
}

ipcx_status ipcx__dgram_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    ipcx_status status = ipcx__turn_take_by(&self->rx, &chan->gate, IPCX_FOREVER, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (self->epoll < 0) {
        status = make_epoll(self, err);
    }
    if (status == IPCX_OK) {
        atomic_store(&self->asked, true);
        *fd = self->epoll;
    }
    ipcx__dgram_leave(self);
    return status;
}
