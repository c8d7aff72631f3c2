/* SPDX-License-Identifier: Apache-2.0
 * A peer of a mux: its coming, its going, and what is known of it.
 * Invariant: `peers` changes under ipcx__own_lock too, so a child of fork(2) finds it whole. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/addr.h"
#include "ipcx/alloc.h"
#include "link/address/dial.h"
#include "link/mux/mux_parts.h"
#include "os/gate.h"

/* ---- coming */

static bool room_for_one(ipcx_mux *self)
{
    size_t room = self->peer_room != 0 ? self->peer_room * 2 : 64;
    ipcx_mux_peer **more;
    if (self->peer_count < self->peer_room) {
        return true;
    }
    ipcx__own_lock(); /* a child must not find the array on its way to another place */
    more = ipcx_realloc(self->peers, room * sizeof(ipcx_mux_peer *));
    if (more != NULL) {
        self->peers = more;
        self->peer_room = room;
    }
    ipcx__own_unlock();
    return more != NULL;
}

ipcx_mux_peer *ipcx__mux_come(ipcx_mux *self, uint32_t door)
{
    ipcx_mux_peer *peer = room_for_one(self) ? ipcx_alloc(sizeof *peer) : NULL;
    if (peer != NULL) {
        *peer = (ipcx_mux_peer){.mux = self,
                                .fd = -1,
                                .door = door,
                                .is_unix = self->doors[door].scheme == IPCX_SCHEME_UNIX,
                                .life = {.peer = peer},
                                .frame = {.peer = peer},
                                .host = {.peer = peer}};
        atomic_init(&peer->refs, 1);
    }
    return peer;
}

void ipcx__mux_enter(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    peer->id = ++self->ids;
    peer->index = self->peer_count;
    self->peers[self->peer_count++] = peer;
}

/* ---- going */

static void close_fd(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    ipcx_mux_peer *last;
    ipcx__own_lock();
    last = self->peers[--self->peer_count];
    last->index = peer->index;
    self->peers[peer->index] = last;
    (void)close(peer->fd);
    peer->fd = -1;
    ipcx__own_unlock();
}

static void count_out(ipcx_mux_peer *peer)
{
    ipcx_mux_stats *stats = &peer->mux->stats;
    if (peer->asks && peer->proof == NULL) {
        return;
    }
    if (!peer->joined) {
        stats->waiting--;
        stats->refused++;
        stats->strangers += peer->why == IPCX_AUTH;
        return;
    }
    stats->peers--;
    stats->left++;
    stats->late += peer->why == IPCX_TIMEOUT;
    stats->greedy += peer->greedy;
    stats->slow += peer->why == IPCX_EXHAUSTED && !peer->greedy;
    stats->wrong += peer->why < 0 && peer->why != IPCX_EXHAUSTED && peer->why != IPCX_PEER_DIED;
}

/* Who did not keep to the rules gets nothing more, and nothing of its stays in the kernel. Who
 * lacks the key shall read that it does, who was refused by TLS what TLS says of it, and who speaks
 * TLS where there is none our HELLO. */
static void cut_off(ipcx_mux_peer *peer)
{
    const struct linger at_once = {.l_onoff = 1};
    if (peer->why != IPCX_OK && peer->why != IPCX_EOF && peer->why != IPCX_PEER_DIED &&
        peer->why != IPCX_AUTH && !peer->answered) {
        (void)setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
}

void ipcx__mux_leave(ipcx_mux_peer *peer, ipcx_status why, const char *reason)
{
    ipcx_mux *self = peer->mux;
    if (peer->stage == IPCX__GONE) {
        return;
    }
    if (peer->stage != IPCX__DOOMED && !(peer->stage == IPCX__LEAVING && peer->why != IPCX_OK)) {
        peer->why = why;
        peer->reason = reason;
    }
    peer->stage = IPCX__GONE;
    peer->announced = !peer->joined;
    ipcx__wait_out(&peer->life);
    ipcx__wait_out(&peer->frame);
    ipcx__wait_out(&peer->host);
    (void)ipcx__queue_forget(peer);
    if (peer->cover != NULL) {
        ipcx__cover_forget(peer);
    }
    ipcx__held_free(self, peer->held);
    peer->held = NULL;
    count_out(peer);
    ipcx__mux_unguard(peer);
    cut_off(peer);
    /* By hand: a copy of the descriptor in a child would keep it in the set. */
    (void)epoll_ctl(self->epoll, EPOLL_CTL_DEL, peer->fd, NULL);
    if (peer->pins > 0) {
        (void)shutdown(peer->fd, SHUT_RDWR); /* wakes who waits for room; the last one closes */
    } else {
        close_fd(peer);
    }
    peer->next_gone = self->gone;
    self->gone = peer;
}

void ipcx__mux_unpin(ipcx_mux_peer *peer)
{
    peer->pins--;
    if (peer->pins == 0 && peer->stage == IPCX__GONE) {
        close_fd(peer);
    }
}

void ipcx__mux_doom(ipcx_mux_peer *peer, ipcx_status why, const char *reason)
{
    if (peer->stage == IPCX__GONE || peer->stage == IPCX__DOOMED) {
        return;
    }
    peer->stage = IPCX__DOOMED;
    peer->why = why;
    peer->reason = reason;
    (void)ipcx__queue_forget(peer);
    (void)shutdown(peer->fd, SHUT_RDWR); /* epoll shows it as hung up, whatever is looked for */
}

void ipcx__mux_bury(ipcx_mux *self, bool all)
{
    ipcx_mux_peer **link = &self->gone;
    while (*link != NULL) {
        ipcx_mux_peer *peer = *link;
        if (peer->announced || all) {
            *link = peer->next_gone;
            ipcx_mux_peer_drop(peer);
        } else {
            link = &peer->next_gone;
        }
    }
}

void ipcx__mux_watch(ipcx_mux_peer *peer)
{
    enum { CONTROL_MOST = 65536 };
    bool reads = peer->control <= CONTROL_MOST;
    uint32_t wanted =
        (reads ? (uint32_t)EPOLLIN : 0u) | (ipcx__mux_owes(peer) ? (uint32_t)EPOLLOUT : 0u);
    struct epoll_event event = {.events = wanted, .data = {.ptr = peer}};
    if (wanted != peer->interest && peer->stage != IPCX__GONE &&
        epoll_ctl(peer->mux->epoll, EPOLL_CTL_MOD, peer->fd, &event) == 0) {
        peer->interest = wanted;
    }
}

/* ---- for who holds one; without the lock */

void ipcx_mux_peer_keep(ipcx_mux_peer *peer)
{
    (void)atomic_fetch_add(&peer->refs, 1);
}

void ipcx_mux_peer_drop(ipcx_mux_peer *peer)
{
    if (atomic_fetch_sub(&peer->refs, 1) == 1) {
        ipcx_free(peer->held);
        ipcx__mux_unguard(peer);
        ipcx__cover_end(peer);
        ipcx_free(peer);
    }
}

void ipcx_mux_peer_set_user(ipcx_mux_peer *peer, void *user)
{
    atomic_store(&peer->user, user);
}

void *ipcx_mux_peer_user(const ipcx_mux_peer *peer)
{
    return atomic_load(&peer->user);
}

void ipcx_mux_peer_close(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    if (ipcx__mux_enter_gate(self, "close", NULL) != IPCX_OK) {
        return;
    }
    (void)pthread_mutex_lock(&self->lock);
    ipcx__mux_bye(peer);
    (void)pthread_mutex_unlock(&self->lock);
    ipcx__gate_leave(&self->gate);
}

uint64_t ipcx_mux_peer_id(const ipcx_mux_peer *peer)
{
    return peer->id;
}

void ipcx_mux_peer_get(ipcx_mux_peer *peer, ipcx_mux_peer_info *info)
{
    ipcx_mux *self = peer->mux;
    bool ours = self->made_in == ipcx__fork_generation();
    if (ours) {
        (void)pthread_mutex_lock(&self->lock);
    }
    *info = (ipcx_mux_peer_info){.id = peer->id,
                                 .open = peer->stage == IPCX__JOINED,
                                 .why = peer->why,
                                 .reason = peer->reason,
                                 .received = peer->received,
                                 .received_bytes = peer->received_bytes,
                                 .sent = peer->sent,
                                 .sent_bytes = peer->sent_bytes,
                                 .dropped = peer->dropped,
                                 .owed = peer->owed,
                                 .pid = peer->pid,
                                 .uid = peer->uid};
    if (ours) {
        (void)pthread_mutex_unlock(&self->lock);
    }
    if (peer->is_unix) {
        (void)snprintf(info->url, sizeof info->url, "%s",
                       ipcx_listener_url(self->doors[peer->door].listener));
    } else {
        ipcx_addr addr = {.len = sizeof peer->addr};
        memcpy(&addr.u, &peer->addr, sizeof peer->addr);
        ipcx__stream_url(self->doors[peer->door].scheme, false, &addr, info->url);
    }
}
