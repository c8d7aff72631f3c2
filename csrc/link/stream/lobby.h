/* SPDX-License-Identifier: Apache-2.0
 * Where peers wait until their handshake is done. Nobody waits for any of them: one round looks at
 * all who have done something, and hands out the first that is ready.
 *
 *     accept4(2) ──▶ HELLO there? ──yes──▶ handed out
 *                        │ not yet
 *                        ▼
 *     oldest ◀── [peer][peer][peer] ── newest      silent until its time is up: dropped
 *
 * Invariant: every peer here has a deadline, there are never more than `size`, and a child of
 * fork(2) keeps none of their descriptors. */
#ifndef IPCX_LINK_LOBBY_H
#define IPCX_LINK_LOBBY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "link/chan.h"
#include "link/stream/guest.h"

typedef struct ipcx__peer {
    _Atomic int fd;            /* -1: a free slot */
    _Atomic(ipcx_chan *) chan; /* owns the descriptor, once it is there */
    ipcx_deadline until;
    struct ipcx__peer *older, *newer; /* or, of a free slot, `newer` is the next free one */
} ipcx__peer;

/* Its fields are the lobby's own; `epoll` is what becomes readable when a round is worth it. */
typedef struct ipcx__lobby {
    ipcx_scheme scheme;
    const char *url;                  /* the listener's */
    const ipcx_chan_options *options; /* filled in */
    int listening, epoll, timer;      /* -1: none */
    bool armed;                       /* the timer runs */
    bool interrupted;     /* a signal came within a peer's TLS: its handlers are to run */
    bool muted;           /* no descriptor was free: the listening one is not looked at */
    bool torn;            /* in a child: another thread was at work during the fork */
    pthread_mutex_t lock; /* guards the rest; never held while sleeping */
    ipcx__peer *slots, *spare, *oldest, *newest;
    int size;
    _Atomic int used;  /* slots ever used */
    ipcx__house house; /* tls */
    _Atomic uint64_t waiting, dropped, strangers;
} ipcx__lobby;

/* ipcx__lobby_begin: an empty one without a descriptor. NOMEM. ipcx__lobby_end: frees it. */
ipcx_status ipcx__lobby_begin(ipcx__lobby *self, ipcx_scheme scheme,
                              const ipcx_chan_options *options, ipcx_error *err);
void ipcx__lobby_end(ipcx__lobby *self);

/* ipcx__lobby_open: looks after `self->listening`, which is bound and listens. Peers' channels get
 * `url`, over TCP their own address. */
ipcx_status ipcx__lobby_open(ipcx__lobby *self, const char *url, ipcx_error *err);

/* ipcx__lobby_round: never waits. OK: *chan is a peer whose handshake is done. AGAIN: nothing has
 * happened, wait for `epoll`. MORE: peers came or moved on or were dropped, but none is ready.
 * INTR: a signal's handlers are to run.
 * EXHAUSTED: no descriptor for a new peer, nor one that could be taken from a silent one; new ones
 * are not looked at for a moment. */
ipcx_status ipcx__lobby_round(ipcx__lobby *self, ipcx_chan **chan, ipcx_error *err);

/* ipcx__lobby_empty: drops everybody. */
void ipcx__lobby_empty(ipcx__lobby *self);

/* ipcx__lobby_shut: closes its descriptors, under ipcx__own_lock; no round may follow. */
void ipcx__lobby_shut(ipcx__lobby *self);

/* ipcx__lobby_forked: in a child's at-fork handler: lets go of all descriptors, the peers' too. */
void ipcx__lobby_forked(ipcx__lobby *self);

#endif
