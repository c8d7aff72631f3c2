/* SPDX-License-Identifier: Apache-2.0
 * The doors of a mux: whoever comes is let in; nobody waits for anybody. Our HELLO
 * goes with the first that is said (mux_send.c).
 * Invariant: a descriptor is among `peers` from the instant accept4(2) gave it, as far as a child
 * of fork(2) can tell. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/admit.h"
#include "link/address/vigil.h"
#include "link/mux/mux_parts.h"

/* So many in a row before the others get their turn. */
#define BATCH 64
/* So many are asked whether they are silent. */
#define ONES 16
/* How long new peers are not looked at when there is no descriptor for them. */
#define MUTED_NS INT64_C(100000000)

static void look(ipcx_mux *self, ipcx__door *door, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.ptr = door}};
    door->muted = epoll_ctl(self->epoll, EPOLL_CTL_MOD, door->fd, &event) == 0 && events == 0;
}

void ipcx__mux_unmute(ipcx_mux *self)
{
    self->muted_until = IPCX_FOREVER;
    for (size_t i = 0; i < self->door_count; i++) {
        if (self->doors[i].muted) {
            look(self, &self->doors[i], EPOLLIN);
        }
    }
}

/* Whoever has waited longest without a word makes room; not who has said something that we have
 * not read yet. */
static bool one_less(ipcx_mux *self)
{
    ipcx__wait *wait = self->greeting.oldest;
    ipcx__wait *refused = self->leaving.oldest;
    if (refused != NULL && !refused->peer->joined) {
        ipcx__mux_leave(refused->peer, IPCX_OK, NULL);
        return true;
    }
    for (int looked = 0; wait != NULL && looked < ONES; looked++) {
        if (!ipcx__mux_has_sent(wait->peer)) {
            ipcx__mux_leave(wait->peer, IPCX_EXHAUSTED, "its place was needed");
            return true;
        }
        wait = wait->newer;
    }
    return false;
}

/* There is no descriptor, or no memory. Where no silent peer has any either, the program has them
 * all; so that nobody spins until it has less, we look away for a moment: who comes waits in the
 * kernel. OK: try again. */
static ipcx_status crowded(ipcx_mux *self, ipcx__door *door)
{
    if (one_less(self)) {
        return IPCX_OK;
    }
    self->stats.crowded++;
    look(self, door, 0);
    self->muted_until = ipcx_deadline_after(MUTED_NS);
    ipcx__mux_arm(self, self->muted_until);
    return IPCX_AGAIN;
}

/* Errors of the connection that was to be are its own affair: accept(2), "Error handling". OK: try
 * the next. */
static ipcx_status not_accepted(ipcx_mux *self, ipcx__door *door, ipcx_error *err)
{
    switch (errno) {
    case EAGAIN:
        return IPCX_AGAIN;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return crowded(self, door);
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
        return ipcx_error_set(err, IPCX_SYSTEM, errno, "accept", "%s",
                              ipcx_listener_url(door->listener));
    default:
        return IPCX_OK;
    }
}

/* accept4(2), and in with it, so that no child is forked in between. */
static bool accept_into(ipcx_mux_peer *peer, int fd)
{
    socklen_t size = sizeof peer->addr;
    struct sockaddr *addr = (struct sockaddr *)(void *)&peer->addr;
    bool come;
    ipcx__own_lock();
    peer->fd = accept4(fd, peer->is_unix ? NULL : addr, peer->is_unix ? NULL : &size,
                       SOCK_CLOEXEC | SOCK_NONBLOCK);
    come = peer->fd >= 0;
    if (come) {
        ipcx__mux_enter(peer);
    }
    ipcx__own_unlock();
    return come;
}

/* Unix: this user's, or root's; root itself serves everybody. */
static bool is_welcome(ipcx_mux_peer *peer)
{
    struct ucred who = {.uid = (uid_t)-1};
    socklen_t size = sizeof who;
    if (!peer->is_unix) {
        return true;
    }
    if (!ipcx__admit_user(peer->fd, &peer->mux->options.channel, &peer->uid)) {
        return false;
    }
    if (getsockopt(peer->fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0) {
        peer->pid = (int)who.pid;
    }
    return true;
}

/* At once, or as soon as it can be sealed. */
bool ipcx__mux_challenge(ipcx_mux_peer *peer)
{
    const ipcx_chan_options *options = &peer->mux->options.channel;
    ipcx__hello hello = {.max_version = IPCX_FRAME_VERSION,
                         .max_message = (uint32_t)options->max_message};
    uint8_t nonce[IPCX__NONCE_SIZE], bytes[IPCX__HELLO_FRAME];
    ssize_t size;
    if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce) {
        return false;
    }
    peer->proof = ipcx_alloc(sizeof *peer->proof);
    if (peer->proof == NULL) {
        return false;
    }
    ipcx__proof_begin(peer->proof, IPCX__LISTENER, options->authkey, options->authkey_size, nonce);
    size = (ssize_t)ipcx__proof_greet(peer->proof, &hello, options->checksum, bytes);
    peer->greeted = true;
    if (peer->cover != NULL) {
        return ipcx__queue_put_bytes(peer, bytes, (size_t)size);
    }
    /* It fits into what an empty socket takes. Who has hung up is found out by reading. */
    return send(peer->fd, bytes, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL) == size ||
           errno == EPIPE || errno == ECONNRESET;
}

void ipcx__mux_unguard(ipcx_mux_peer *peer)
{
    if (peer->proof != NULL) {
        ipcx__proof_end(peer->proof);
        ipcx_free(peer->proof);
        peer->proof = NULL;
    }
}

static void admit(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = peer}};
    self->stats.waiting++;
    if (!is_welcome(peer)) {
        ipcx__admit_refuse(peer->fd);
        ipcx__mux_leave(peer, IPCX_AUTH, "another user's process");
    } else if (self->doors[peer->door].scheme == IPCX_SCHEME_TLS && !ipcx__cover_make(peer)) {
        ipcx__mux_leave(peer, IPCX_NOMEM, "no memory for it");
    } else if (self->options.channel.authkey != NULL && peer->cover == NULL &&
               !ipcx__mux_challenge(peer)) {
        ipcx__mux_leave(peer, IPCX_NOMEM, "no memory for its challenge");
    } else if (epoll_ctl(self->epoll, EPOLL_CTL_ADD, peer->fd, &event) < 0) {
        ipcx__mux_leave(peer, IPCX_EXHAUSTED, "the system watches no more descriptors");
    } else {
        peer->interest = EPOLLIN;
        if (!peer->is_unix && self->options.channel.vanish_timeout != IPCX__VANISH_NS) {
            (void)ipcx__vigil_begin(peer->fd, self->options.channel.vanish_timeout);
        }
        ipcx__wait_in(self, &self->greeting, &peer->life);
        if (self->peer_count > self->options.max_peers && !one_less(self)) {
            ipcx__mux_leave(peer, IPCX_EXHAUSTED, "there are max_peers");
        }
    }
}

ipcx_status ipcx__mux_welcome(ipcx_mux *self, ipcx__door *door, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    for (int i = 0; i < BATCH && status == IPCX_OK; i++) {
        ipcx_mux_peer *peer = ipcx__mux_come(self, (uint32_t)(door - self->doors));
        if (peer == NULL) {
            status = crowded(self, door);
        } else if (accept_into(peer, door->fd)) {
            admit(peer);
        } else {
            status = not_accepted(self, door, err);
            ipcx_mux_peer_drop(peer);
        }
    }
    return status == IPCX_AGAIN ? IPCX_OK : status;
}
