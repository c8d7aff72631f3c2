/* SPDX-License-Identifier: Apache-2.0
 * What is between a peer of a mux and its socket (ipcx/layer.h): TLS.
 *
 *     the peer's queue ──▶ seal ──▶ wire ──▶ socket
 *     scratch, held ◀── open ◀── socket
 *                         └──▶ wire (handshake, alerts)
 *
 * A frame waits for its peer unsealed, as on_full may drop it; sealed is what the kernel is about
 * to take. Before the handshake is done the peer is a stranger who has not said HELLO.
 *
 * A layer's functions run under the mux's lock, which is recursive where there is a layer: they may
 * run the program's signal handlers, and those may use the mux. What they send is queued while a
 * function of the same session runs, and goes out after it; next and close cannot be within.
 * Invariant: one function of a session runs at a time; none but `end` after `finish` or a failure;
 * what is in `wire` goes out before anything else is sealed. */
#ifndef IPCX_LINK_MUX_LAYER_H
#define IPCX_LINK_MUX_LAYER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "ipcx/layer.h"
#include "ipcx/mux.h"

/* A peer's. */
typedef struct ipcx__cover {
    const ipcx_layer *layer;
    void *session;    /* NULL: nothing has come yet */
    ipcx_buf wire;    /* sealed, on its way out */
    size_t inside;    /* bytes of a record that is not whole, which the session keeps */
    size_t counted;   /* of both, in the mux's memory */
    bool ready;       /* the handshake is done */
    bool holds;       /* there is more plain text that no descriptor shows */
    bool busy;        /* a function of it runs */
    bool ended;       /* it has finished, or failed */
    ipcx_error error; /* why, if it has failed */
} ipcx__cover;

/* A mux's. */
typedef struct ipcx__within {
    _Atomic int depth; /* functions of sessions that run, one within the other */
    pthread_t thread;  /* where */
    bool interrupted;  /* a signal wants its handlers run */
} ipcx__within;

/* With the mux's lock; but within. */

/* ipcx__cover_make: for a peer that was just accepted; its session begins with its first bytes.
 * False: no memory. ipcx__cover_end: for who has it last. */
bool ipcx__cover_make(ipcx_mux_peer *peer);
void ipcx__cover_end(ipcx_mux_peer *peer);

/* ipcx__cover_read: as recv(2), with the turn. EPROTO: it has failed, see `error`. */
ssize_t ipcx__cover_read(ipcx_mux_peer *peer, uint8_t *room, size_t size);

/* ipcx__cover_flush: sends and seals what goes at once. False: nobody is there to send to. */
bool ipcx__cover_flush(ipcx_mux_peer *peer);
void ipcx__cover_forget(ipcx_mux_peer *peer); /* what is sealed, and what it says of `midway` */

/* ipcx__mux_peer_session: a peer's, as long as the peer is there; NULL: there is none. Without the
 * lock. */
void *ipcx__mux_peer_session(const ipcx_mux_peer *peer);

/* ipcx__mux_step_in, out: with the lock, around what may run a layer of others than its peers. */
void ipcx__mux_step_in(ipcx_mux *self);
void ipcx__mux_step_out(ipcx_mux *self);

/* ipcx__mux_within: whether the caller is a signal handler that a layer of this mux has run. */
bool ipcx__mux_within(ipcx_mux *self);

#endif
