/* SPDX-License-Identifier: Apache-2.0
 * The clocks of a mux: who waits for what, and one timer that rings for the first of them.
 * Invariant: a queue is ordered by `until`; nobody is dropped from whom something has come that was
 * merely not read yet, for then it was us who were late. */
#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "link/address/vigil.h"
#include "link/mux/mux_parts.h"

/* So much more of a message must have come by the end of its time. */
#define PROGRESS_LEAST 4096

void ipcx__wait_out(ipcx__wait *wait)
{
    ipcx__waits *queue = wait->queue;
    if (queue == NULL) {
        return;
    }
    *(wait->older != NULL ? &wait->older->newer : &queue->oldest) = wait->newer;
    *(wait->newer != NULL ? &wait->newer->older : &queue->newest) = wait->older;
    wait->queue = NULL;
}

void ipcx__mux_arm(ipcx_mux *self, ipcx_deadline when)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(when / 1000000000), .tv_nsec = (long)(when % 1000000000)}};
    if (when < self->armed && timerfd_settime(self->timer, TFD_TIMER_ABSTIME, &at, NULL) == 0) {
        self->armed = when;
    }
}

void ipcx__wait_in(ipcx_mux *self, ipcx__waits *queue, ipcx__wait *wait)
{
    ipcx__wait_out(wait);
    if (queue->span == 0) {
        return;
    }
    wait->until = ipcx_deadline_after(queue->span);
    wait->queue = queue;
    wait->newer = NULL;
    wait->older = queue->newest;
    *(queue->newest != NULL ? &queue->newest->newer : &queue->oldest) = wait;
    queue->newest = wait;
    ipcx__mux_arm(self, wait->until);
}

bool ipcx__mux_has_sent(const ipcx_mux_peer *peer)
{
    struct pollfd polled = {.fd = peer->fd, .events = POLLIN};
    return (peer->interest & EPOLLIN) == 0 || poll(&polled, 1, 0) > 0;
}

/* ---- its host: while it has nothing of ours the kernel asks, by keepalive; so a peer is looked at
 * from a send on, until it has acknowledged all: rarely, and once it is silent often */

void ipcx__mux_attend(ipcx_mux_peer *peer)
{
    ipcx__wait_in(peer->mux, &peer->mux->rarely, &peer->host);
}

bool ipcx__mux_vanished(const ipcx_mux_peer *peer)
{
    int64_t timeout = peer->mux->options.channel.vanish_timeout;
    ipcx__vigil seen;
    return !peer->is_unix && timeout != IPCX_FOREVER && ipcx__vigil_owes(peer->fd) &&
           ipcx__vigil_look(peer->fd, timeout, &seen) && seen.vanished;
}

ipcx_deadline ipcx__mux_next_look(const ipcx_mux *self)
{
    return self->often.span != 0 ? ipcx_deadline_after(self->often.span) : IPCX_FOREVER;
}

static void look_at_host(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    int64_t timeout = self->options.channel.vanish_timeout;
    ipcx__vigil seen;
    if (!ipcx__vigil_owes(peer->fd) || !ipcx__vigil_look(peer->fd, timeout, &seen)) {
        ipcx__wait_out(&peer->host);
    } else if (seen.vanished) {
        ipcx__mux_leave(peer, IPCX_PEER_DIED, IPCX__MUX_VANISHED);
    } else {
        /* A look after the long span must not come after the end of vanish_timeout. */
        bool soon = seen.silent + self->rarely.span >= timeout - self->often.span;
        ipcx__wait_in(self, soon ? &self->often : &self->rarely, &peer->host);
    }
}

/* Who was refused need not stay once it has got that, to the end of our stream, and is silent: a
 * reset, which who speaks on would get, might overtake it. */
static void look_at_refused(ipcx_mux_peer *peer)
{
    if (!ipcx__mux_owes(peer) && ipcx__mux_confirmed(peer) && peer->progress == 0 &&
        !ipcx__mux_has_sent(peer)) {
        ipcx__mux_leave(peer, peer->why, peer->reason);
    } else {
        peer->progress = 0;
        ipcx__wait_in(peer->mux, &peer->mux->parting, &peer->frame);
    }
}

/* Its time is up. */
static void end_of(ipcx_mux *self, ipcx__wait *wait)
{
    ipcx_mux_peer *peer = wait->peer;
    ipcx__waits *queue = wait->queue;
    if (queue == &self->rarely || queue == &self->often) {
        look_at_host(peer);
    } else if (queue == &self->parting) {
        look_at_refused(peer);
    } else if (queue == &self->leaving) {
        ipcx__mux_leave(peer, peer->why, peer->reason);
    } else if (queue == &self->midway && peer->progress >= PROGRESS_LEAST) {
        peer->progress = 0;
        ipcx__wait_in(self, queue, wait);
    } else if (ipcx__mux_has_sent(peer)) {
        ipcx__wait_in(self, queue, wait);
    } else {
        ipcx__mux_leave(peer, IPCX_TIMEOUT,
                        queue == &self->greeting ? "no HELLO in time"
                        : queue == &self->midway ? "a message that comes too slowly"
                                                 : "silent for too long");
    }
}

void ipcx__mux_rang(ipcx_mux *self)
{
    enum { QUEUES = 7 };
    ipcx__waits *const queues[QUEUES] = {&self->greeting, &self->idle,    &self->midway,
                                         &self->leaving,  &self->parting, &self->rarely,
                                         &self->often};
    ipcx_deadline now = ipcx_clock_now(), next = self->muted_until;
    uint64_t times;
    (void)!read(self->timer, &times, sizeof times);
    self->armed = IPCX_FOREVER;
    if (self->muted_until <= now) {
        ipcx__mux_unmute(self);
        next = IPCX_FOREVER;
    }
    for (int i = 0; i < QUEUES; i++) {
        while (queues[i]->oldest != NULL && queues[i]->oldest->until <= now) {
            end_of(self, queues[i]->oldest);
        }
        if (queues[i]->oldest != NULL && queues[i]->oldest->until < next) {
            next = queues[i]->oldest->until;
        }
    }
    if (next != IPCX_FOREVER) {
        ipcx__mux_arm(self, next);
    }
}
