/* SPDX-License-Identifier: Apache-2.0
 * The end of a mux: what is queued goes out, each peer hears goodbye, and no reset of ours
 * overtakes either.
 * Invariant: by then nobody is in another call; whatever happens here, the mux is closed
 * afterwards; unless a signal came. */
#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/mux/mux_parts.h"
#include "os/gate.h"

/* A TCP socket that is closed too early answers what comes later with a reset, and that makes the
 * peer's kernel drop what it was sent: tcp(7). Nobody tells us that it has confirmed everything; so
 * we look again after so long. */
#define LOOK_MS 1
#define LOOK_LONGEST_MS 50

static void begin(ipcx_mux *self)
{
    (void)epoll_ctl(self->epoll, EPOLL_CTL_DEL, self->timer, NULL);
    (void)epoll_ctl(self->epoll, EPOLL_CTL_DEL, self->bell, NULL);
    for (size_t i = 0; i < self->door_count; i++) {
        (void)ipcx_listener_close(self->doors[i].listener, NULL);
    }
    self->leaving.span = 0; /* the deadline counts from here on */
    for (size_t i = self->peer_count;
         i-- > 0;) { /* backwards: who leaves is replaced by the last */
        ipcx_mux_peer *peer = self->peers[i];
        ipcx__wait_out(&peer->life);
        ipcx__wait_out(&peer->frame);
        if (peer->stage == IPCX__GREETING) {
            ipcx__mux_leave(peer, IPCX_OK, NULL);
        } else {
            ipcx__mux_bye(peer);
        }
    }
}

bool ipcx__mux_confirmed(const ipcx_mux_peer *peer)
{
    int left = 0;
    return peer->is_unix || ioctl(peer->fd, SIOCOUTQ, &left) != 0 || left == 0;
}

/* Lets go of who has got everything, and, if it `looks`, of whose host is gone; how many are left.
 */
static size_t part(ipcx_mux *self, bool looks)
{
    for (size_t i = self->peer_count; i-- > 0;) {
        ipcx_mux_peer *peer = self->peers[i];
        if (peer->stage != IPCX__LEAVING) {
            ipcx__mux_leave(peer, peer->why, peer->reason);
            continue;
        }
        ipcx__mux_flush(peer);
        if (peer->interest & EPOLLIN) {
            (void)ipcx__mux_receive(peer); /* in vain; finds out who has gone */
        }
        if (peer->stage == IPCX__LEAVING && !ipcx__mux_owes(peer) && ipcx__mux_confirmed(peer)) {
            ipcx__mux_leave(peer, IPCX_OK, NULL);
        } else if (looks && peer->stage == IPCX__LEAVING && ipcx__mux_vanished(peer)) {
            ipcx__mux_leave(peer, IPCX_PEER_DIED, IPCX__MUX_VANISHED);
        }
    }
    return self->peer_count;
}

static ipcx_status drain(ipcx_mux *self, ipcx_deadline deadline)
{
    int nap = LOOK_MS;
    ipcx_deadline look = ipcx__mux_next_look(self);
    bool looks = false;
    while (part(self, looks) > 0 && ipcx_deadline_left(deadline) > 0) {
        int64_t left = ipcx_deadline_left(deadline) / 1000000 + 1;
        int ms = left < nap ? (int)left : nap;
        bool interrupted;
        (void)pthread_mutex_unlock(&self->lock);
        interrupted = epoll_wait(self->epoll, self->ready, IPCX__MUX_READY, ms) < 0;
        (void)pthread_mutex_lock(&self->lock);
        if (interrupted && errno == EINTR) {
            return IPCX_INTR;
        }
        nap = nap * 2 < LOOK_LONGEST_MS ? nap * 2 : LOOK_LONGEST_MS;
        looks = ipcx_deadline_left(look) <= 0;
        look = looks ? ipcx__mux_next_look(self) : look;
    }
    return IPCX_OK;
}

static size_t cut(ipcx_mux *self)
{
    size_t lost = 0;
    while (self->peer_count > 0) {
        ipcx_mux_peer *peer = self->peers[self->peer_count - 1];
        lost += peer->cover != NULL && ipcx_buf_len(&peer->cover->wire) > 0;
        lost += ipcx__queue_forget(peer);
        ipcx__mux_leave(peer, IPCX_OK, NULL);
    }
    return lost;
}

static void shut(ipcx_mux *self)
{
    ipcx__own_lock();
    (void)close(self->epoll);
    (void)close(self->timer);
    (void)close(self->bell);
    self->epoll = self->timer = self->bell = -1;
    ipcx__own_remove(&self->own);
    ipcx__own_unlock();
}

ipcx_status ipcx_mux_close(ipcx_mux *mux, ipcx_deadline deadline, size_t *unsent, ipcx_error *err)
{
    size_t lost = 0;
    ipcx_status status = IPCX_OK;
    if (ipcx__mux_within(mux)) {
        return ipcx_error_set(err, IPCX_DEADLOCK, 0, "close",
                              "a signal handler that came while TLS was at work cannot close");
    }
    if (unsent != NULL) {
        *unsent = 0;
    }
    if (mux->made_in != ipcx__fork_generation() || !ipcx__turn_take(&mux->closing)) {
        return IPCX_OK; /* another process's; or another thread is at it */
    }
    if (!atomic_load(&mux->closed)) {
        ipcx__gate_close(&mux->gate);
        (void)pthread_mutex_lock(&mux->lock);
        if (!mux->begun) {
            mux->begun = true;
            begin(mux);
        }
        status = drain(mux, deadline);
        if (status == IPCX_OK) {
            lost = cut(mux);
            shut(mux);
            atomic_store(&mux->closed, true);
        }
        (void)pthread_mutex_unlock(&mux->lock);
    }
    ipcx__turn_leave(&mux->closing);
    if (unsent != NULL) {
        *unsent = lost;
    }
    return lost > 0 && deadline != IPCX_NOW ? IPCX_TIMEOUT : status;
}

/* What is left of the memory; in a child as far as it is whole. */
static void let_go(ipcx_mux *self)
{
    for (size_t i = 0; i < self->door_count; i++) {
        ipcx_listener_free(self->doors[i].listener);
    }
    while (self->spent != NULL) {
        ipcx__held *held = self->spent;
        self->spent = held->next;
        ipcx__held_free(self, held);
    }
    ipcx_free(self->doors);
    ipcx_free(self->ready);
    ipcx_free(self->scratch);
    ipcx_free(self->events);
    ipcx_free(self->peers);
    if (!self->torn) {
        ipcx__mux_bury(self, true);
        (void)pthread_mutex_destroy(&self->lock);
    }
    ipcx_free(self);
}

void ipcx_mux_free(ipcx_mux *mux)
{
    if (mux == NULL) {
        return;
    }
    while (ipcx_mux_close(mux, IPCX_NOW, NULL, NULL) == IPCX_INTR) {
    }
    let_go(mux);
}
