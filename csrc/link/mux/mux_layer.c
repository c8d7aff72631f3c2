/* SPDX-License-Identifier: Apache-2.0
 * Peers whose bytes are sealed: mux_layer.h says how.
 * Invariant: between two calls of a layer everything may have changed but the stage GONE: a signal
 * handler may have queued, dropped, closed. */
#include "link/mux/mux_layer.h"

#include <errno.h>
#include <sys/socket.h>

#include "ipcx/alloc.h"
#include "link/mux/mux_parts.h"

/* The most that one read takes from the kernel, so that nobody keeps the others waiting. */
#define SHARE ((size_t)16 * 1024)

void ipcx__mux_step_in(ipcx_mux *self)
{
    self->within.thread = pthread_self();
    (void)atomic_fetch_add(&self->within.depth, 1);
}

void ipcx__mux_step_out(ipcx_mux *self)
{
    (void)atomic_fetch_sub(&self->within.depth, 1);
}

static void enter(ipcx_mux_peer *peer)
{
    peer->cover->busy = true;
    ipcx__mux_step_in(peer->mux);
}

static void leave(ipcx_mux_peer *peer)
{
    peer->cover->busy = false;
    ipcx__mux_step_out(peer->mux);
}

bool ipcx__mux_within(ipcx_mux *self)
{
    /* Who is within sees its own writes; anybody else sees another thread, or a depth of 0. */
    return atomic_load(&self->within.depth) > 0 &&
           pthread_equal(self->within.thread, pthread_self());
}

/* After each change of what it keeps. */
static void count(ipcx_mux_peer *peer)
{
    ipcx__cover *cover = peer->cover;
    size_t now;
    if (ipcx_buf_len(&cover->wire) == 0 && cover->wire.cap > 0 && !cover->busy) {
        ipcx_buf_fini(&cover->wire);
        ipcx_buf_init(&cover->wire, SIZE_MAX);
    }
    now = cover->wire.cap + cover->inside;
    (void)atomic_fetch_add(&peer->mux->memory, now - cover->counted); /* modulo */
    cover->counted = now;
}

/* ---- coming and going */

bool ipcx__cover_make(ipcx_mux_peer *peer)
{
    ipcx__cover *cover = ipcx_alloc(sizeof *cover);
    if (cover != NULL) {
        *cover = (ipcx__cover){.layer = peer->mux->options.channel.layer};
        ipcx_buf_init(&cover->wire, SIZE_MAX);
    }
    peer->cover = cover;
    return cover != NULL;
}

/* As soon as the peer says something. INTR: not yet, it is tried again. */
static ipcx_status begin(ipcx_mux_peer *peer)
{
    ipcx__cover *cover = peer->cover;
    ipcx_status status;
    enter(peer);
    status = cover->layer->begin(peer->mux->options.channel.layer_context, 1, &cover->session,
                                 &cover->error);
    leave(peer);
    peer->mux->within.interrupted = peer->mux->within.interrupted || status == IPCX_INTR;
    cover->ended = status < 0;
    return status;
}

void ipcx__cover_end(ipcx_mux_peer *peer)
{
    ipcx__cover *cover = peer->cover;
    if (cover == NULL) {
        return;
    }
    if (cover->session != NULL) {
        cover->layer->end(cover->session);
    }
    ipcx_buf_fini(&cover->wire);
    ipcx_free(cover);
    peer->cover = NULL;
}

void ipcx__cover_forget(ipcx_mux_peer *peer)
{
    ipcx__cover *cover = peer->cover;
    cover->inside = 0;
    ipcx_buf_consume(&cover->wire, ipcx_buf_len(&cover->wire));
    count(peer);
}

void *ipcx__mux_peer_session(const ipcx_mux_peer *peer)
{
    return peer->cover != NULL ? peer->cover->session : NULL;
}

/* ---- sending */

/* OK: all that is sealed has gone. AGAIN. PEER_DIED. */
static ipcx_status send_wire(ipcx_mux_peer *peer)
{
    ipcx_buf *wire = &peer->cover->wire;
    while (ipcx_buf_len(wire) > 0) {
        ssize_t n =
            send(peer->fd, ipcx_buf_data(wire), ipcx_buf_len(wire), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            bool later = errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM;
            return later ? IPCX_AGAIN : IPCX_PEER_DIED;
        }
        ipcx_buf_consume(wire, (size_t)n);
    }
    return IPCX_OK;
}

/* More is sealed. AGAIN: there is no more. < 0: nothing can be. */
static ipcx_status seal_more(ipcx_mux_peer *peer)
{
    uint8_t plain[SHARE];
    ipcx__cover *cover = peer->cover;
    size_t size = ipcx__queue_take(peer, plain, sizeof plain);
    ipcx_status status;
    if (size > 0) {
        enter(peer);
        status = cover->layer->seal(cover->session, plain, size, &cover->wire, &cover->error);
        leave(peer);
    } else if (peer->stage == IPCX__LEAVING) {
        cover->ended = true;
        enter(peer);
        cover->layer->finish(cover->session, &cover->wire);
        leave(peer);
        return IPCX_OK;
    } else {
        return IPCX_AGAIN;
    }
    peer->mux->within.interrupted = peer->mux->within.interrupted || status == IPCX_INTR;
    if (status < 0) {
        cover->ended = true;
        ipcx__mux_doom(peer, status, cover->error.detail);
    }
    return status;
}

bool ipcx__cover_flush(ipcx_mux_peer *peer)
{
    ipcx__cover *cover = peer->cover;
    ipcx_status status = IPCX_OK;
    if (cover->busy) {
        return true; /* we are within; who called it goes on */
    }
    while (status == IPCX_OK || status == IPCX_INTR) {
        status = send_wire(peer);
        if (status == IPCX_OK) {
            status = cover->ready && !cover->ended ? seal_more(peer) : IPCX_AGAIN;
        }
    }
    count(peer);
    return status != IPCX_PEER_DIED;
}

/* ---- receiving; with the turn */

/* One step of the layer, and its answer to the peer. */
static ipcx_status open_some(ipcx_mux_peer *peer, const uint8_t *wire, size_t size, uint8_t *room,
                             size_t room_size, ipcx_layer_opened *opened)
{
    ipcx__cover *cover = peer->cover;
    ipcx_status status;
    enter(peer);
    status = cover->layer->open(cover->session, wire, size, room, room_size, opened, &cover->wire,
                                &cover->error);
    leave(peer);
    peer->mux->within.interrupted = peer->mux->within.interrupted || opened->interrupted;
    cover->inside = opened->inside;
    cover->holds = status == IPCX_INTR || (status == IPCX_OK && opened->more);
    if (status < 0) {
        cover->ended = true;
    } else if (opened->ready && !cover->ready) {
        cover->ready = true;
        if (peer->mux->options.channel.authkey != NULL && !ipcx__mux_challenge(peer)) {
            status = ipcx_error_set(&cover->error, IPCX_NOMEM, 0, "tls", "no memory to challenge");
        }
    }
    (void)ipcx__cover_flush(peer);
    ipcx__mux_watch(peer);
    return status;
}

/* A record that has begun comes on, or is too slow. */
static void heed(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    if (peer->held != NULL || peer->stage == IPCX__GREETING) {
        return;
    }
    if (peer->cover->inside == 0) {
        ipcx__wait_out(&peer->frame);
    } else if (peer->frame.queue == NULL) {
        peer->progress = 0;
        ipcx__wait_in(self, &self->midway, &peer->frame);
    }
}

ssize_t ipcx__cover_read(ipcx_mux_peer *peer, uint8_t *room, size_t size)
{
    ipcx__cover *cover = peer->cover;
    uint8_t wire[SHARE];
    ssize_t n = 0;
    bool has_read = false;
    if (cover->session == NULL) {
        ipcx_status status = begin(peer);
        if (status != IPCX_OK) {
            errno = status < 0 ? EPROTO : EAGAIN;
            return -1;
        }
    }
    for (;;) {
        ipcx_layer_opened opened = {0};
        ipcx_status status = IPCX_MORE;
        if (cover->holds || n > 0) {
            status = open_some(peer, wire, (size_t)n, room, size, &opened);
            n = 0;
        }
        if (status < 0 || peer->stage == IPCX__DOOMED || peer->stage == IPCX__LEAVING) {
            errno = status < 0 ? EPROTO : EAGAIN; /* what was to be read nobody wants any more */
            return -1;
        }
        if (status == IPCX_OK || status == IPCX_EOF) {
            return status == IPCX_OK ? (ssize_t)opened.got : 0;
        }
        if (status == IPCX_INTR) {
            peer->mux->within.interrupted = true;
            continue;
        }
        if (has_read) {
            heed(peer);
            errno = EAGAIN;
            return -1;
        }
        has_read = true;
        n = recv(peer->fd, wire, sizeof wire, MSG_DONTWAIT);
        if (n <= 0) {
            return n;
        }
        peer->progress += (size_t)n;
    }
}
