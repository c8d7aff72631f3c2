/* SPDX-License-Identifier: Apache-2.0
 * From a peer's bytes to events (docs/protocol.md, Rules).
 * Short messages are received into memory that all peers share, and lent from there; what is left
 * of them, less than a message, is copied to the peer. A long one grows in memory of its own, as
 * its bytes come, and is lent from there.
 * Invariant: a peer between two messages has no memory but its struct. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ipcx/alloc.h"
#include "link/mux/mux_parts.h"
#include "wire/frame.h"
#include "wire/hello.h"

#define SCRATCH ((size_t)256 * 1024)
/* The most of one read, so that nobody keeps the others waiting. */
#define SHARE ((size_t)16 * 1024)
/* A message that lacks more than this gets memory of its own. */
#define LONG ((size_t)8 * 1024)
#define GROWTH ((size_t)64 * 1024)
#define LONG_SHARE ((size_t)1024 * 1024)

/* ---- the batch */

bool ipcx__mux_event_room(ipcx_mux *self, size_t more)
{
    size_t room = self->event_room;
    ipcx_mux_event *events;
    while (room - self->event_count < more) {
        room = room != 0 ? room * 2 : 256;
    }
    if (room == self->event_room) {
        return true;
    }
    events = ipcx_realloc(self->events, room * sizeof *events);
    if (events == NULL) {
        return false;
    }
    self->events = events;
    self->event_room = room;
    return true;
}

ipcx_mux_event *ipcx__mux_event_add(ipcx_mux *self)
{
    return ipcx__mux_event_room(self, 1) ? &self->events[self->event_count++] : NULL;
}

/* The room was made before the bytes were received. */
static void event(ipcx_mux_peer *peer, ipcx_mux_kind kind, const ipcx_message *message)
{
    ipcx_mux *self = peer->mux;
    self->events[self->event_count++] =
        (ipcx_mux_event){.kind = kind, .peer = peer, .message = *message};
}

/* ---- frames */

static bool in_talk(const ipcx_mux_peer *peer)
{
    return peer->stage == IPCX__JOINED || peer->stage == IPCX__ASKING;
}

static ipcx_status wrong(ipcx_mux_peer *peer, ipcx_status status, const char *reason)
{
    ipcx__mux_leave(peer, status, reason);
    return status;
}

/* The handshake is done. */
static ipcx_status join(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    ipcx__wait_out(&peer->life);
    ipcx__wait_in(self, &self->idle, &peer->life);
    self->stats.waiting--;
    peer->next_ungreeted = self->ungreeted;
    self->ungreeted = peer;
    if (peer->asks) {
        peer->stage = IPCX__ASKING;
        return IPCX_OK;
    }
    peer->stage = IPCX__JOINED;
    peer->joined = true;
    self->stats.peers++;
    self->stats.joined++;
    ipcx__decoder_limit(&self->decoder, self->options.channel.max_message);
    event(peer, IPCX_MUX_JOINED, &(ipcx_message){0});
    return IPCX_OK;
}

static void meet(ipcx_mux_peer *peer, const ipcx__hello *hello)
{
    peer->limit = hello->max_message;
    peer->asks = (hello->capabilities & IPCX__HELLO_ASKS) != 0;
}

static ipcx_status on_hello(ipcx_mux_peer *peer, const ipcx_frame *frame)
{
    ipcx__hello hello;
    size_t at;
    ipcx_status status = ipcx__hello_decode(frame, &hello, &at, NULL);
    if (status != IPCX_OK) {
        return wrong(peer, status, "a HELLO that is none");
    }
    if (ipcx__proof_unkeyed(&hello, NULL) != IPCX_OK) {
        ipcx__mux_greet(peer); /* our HELLO tells it why */
        return wrong(peer, IPCX_AUTH, "it demands a key, and there is none");
    }
    meet(peer, &hello);
    return join(peer);
}

/* The frame of who has not proven itself. */
static ipcx_status on_stranger(ipcx_mux_peer *peer, const ipcx_frame *frame)
{
    ipcx_decoder *decoder = &peer->mux->decoder;
    ipcx__hello hello = {0};
    ipcx__proof_answer answer;
    size_t at;
    ipcx_status status = ipcx__proof_take(peer->proof, frame, ipcx_buf_data(&decoder->buf),
                                          decoder->lent, &hello, &answer, &at, NULL);
    if (answer.size > 0) {
        ipcx__mux_control(peer, &(ipcx_frame){.type = IPCX_FRAME_PROOF,
                                              .payload = answer.payload,
                                              .payload_size = answer.size});
    }
    if (status < 0) {
        return wrong(peer, status,
                     status == IPCX_AUTH ? "it has another key, or none"
                                         : "a handshake that is none");
    }
    if (peer->stage != IPCX__GREETING) {
        return IPCX_EOF;
    }
    if (status == IPCX_MORE) {
        meet(peer, &hello);
        return IPCX_OK;
    }
    ipcx__mux_unguard(peer);
    ipcx__decoder_bound(decoder, 0);
    return join(peer);
}

static ipcx_status on_data(ipcx_mux_peer *peer, const ipcx_frame *frame)
{
    ipcx_mux *self = peer->mux;
    ipcx_message message = {.data = frame->payload,
                            .size = frame->payload_size,
                            .flags = frame->flags & IPCX_FRAME_TEXT ? IPCX_MESSAGE_TEXT : 0};
    if (frame->flags & IPCX_FRAME_SYNC) {
        message.flags |= IPCX_MESSAGE_SYNC;
        message.ticket = frame->correlation;
    }
    peer->received++;
    peer->received_bytes += message.size;
    self->stats.received++;
    self->stats.received_bytes += message.size;
    event(peer, IPCX_MUX_MESSAGE, &message);
    return IPCX_OK;
}

static ipcx_status on_ping(ipcx_mux_peer *peer, const ipcx_frame *frame)
{
    ipcx_frame pong = {
        .type = IPCX_FRAME_PONG, .payload = frame->payload, .payload_size = frame->payload_size};
    ipcx__mux_control(peer, &pong);
    return in_talk(peer) ? IPCX_OK : IPCX_EOF;
}

static ipcx_status on_request(ipcx_mux_peer *peer, const ipcx_frame *frame)
{
    ipcx_status status = ipcx__mux_answer(peer, frame);
    return status == IPCX_PROTOCOL ? wrong(peer, status, "a request without correlation") : status;
}

/* OK: go on with the next. Else the peer has gone. */
static ipcx_status judge(ipcx_mux_peer *peer, const ipcx_frame *frame)
{
    if (peer->proof != NULL) {
        return on_stranger(peer, frame);
    }
    if (peer->stage == IPCX__GREETING) {
        return frame->type == IPCX_FRAME_HELLO && !(frame->flags & IPCX_FRAME_SYNC)
                   ? on_hello(peer, frame)
                   : wrong(peer, IPCX_PROTOCOL, "a stream that does not begin with HELLO");
    }
    if ((frame->flags & IPCX_FRAME_SYNC) &&
        (frame->type != IPCX_FRAME_DATA || !(frame->flags & IPCX_FRAME_CORRELATION))) {
        return wrong(peer, IPCX_PROTOCOL, "SYNC without a message, or without correlation");
    }
    switch (frame->type) {
    case IPCX_FRAME_DATA:
        return peer->asks ? wrong(peer, IPCX_PROTOCOL, "a message of who only asks")
                          : on_data(peer, frame);
    case IPCX_FRAME_REQUEST:
        return on_request(peer, frame);
    case IPCX_FRAME_PING:
        return on_ping(peer, frame);
    case IPCX_FRAME_PONG:
        return IPCX_OK;
    case IPCX_FRAME_BYE:
        return wrong(peer, IPCX_EOF, NULL);
    case IPCX_FRAME_HELLO:
        return wrong(peer, IPCX_PROTOCOL, "a second HELLO");
    default:
        return wrong(peer, IPCX_PROTOCOL, "a frame that a server does not take");
    }
}

/* It begins as TLS does: our HELLO, which is none, tells it so. */
static void meet_tls(ipcx_mux_peer *peer, uint8_t first)
{
    enum { HANDSHAKE = 22 };
    if (peer->stage == IPCX__GREETING && !peer->greeted && first == HANDSHAKE) {
        ipcx__mux_greet(peer);
        peer->answered = true;
    }
}

/* Takes apart `size` bytes that lie at `bytes`, without a copy. MORE: *left of them, at the end,
 * are no message yet. Else the peer has gone. */
static ipcx_status take_apart(ipcx_mux_peer *peer, uint8_t *bytes, size_t size, size_t *left)
{
    ipcx_mux *self = peer->mux;
    ipcx_decoder *decoder = &self->decoder;
    ipcx_frame frame;
    ipcx_status status;
    decoder->buf = (ipcx_buf){.memory = bytes, .cap = size, .len = size, .limit = size};
    decoder->lent = decoder->missing = 0;
    decoder->offset = peer->offset;
    decoder->error.status = IPCX_OK;
    ipcx__decoder_bound(decoder, peer->proof != NULL ? IPCX__BEFORE_PROOF : 0);
    ipcx__decoder_limit(decoder, peer->stage == IPCX__JOINED ? self->options.channel.max_message
                                                             : IPCX__BEFORE_HELLO);
    do {
        status = ipcx_decoder_next(decoder, &frame, NULL);
        if (status < 0) {
            meet_tls(peer, bytes[0]);
            ipcx__mux_leave(peer, status, "bytes that are no frame");
        } else if (status == IPCX_OK) {
            status = judge(peer, &frame);
        }
    } while (status == IPCX_OK);
    if (status == IPCX_MORE && in_talk(peer) && peer->received == 0) {
        ipcx__mux_greet(peer); /* no message that will be answered: nothing to go with */
    }
    *left = ipcx_buf_len(&decoder->buf);
    peer->offset = decoder->offset;
    peer->missing = decoder->missing;
    return status;
}

/* ---- what is left */

/* The peer keeps the last `size` bytes; none: it keeps nothing. */
static void keep(ipcx_mux_peer *peer, const uint8_t *bytes, size_t size)
{
    ipcx_mux *self = peer->mux;
    size_t cap = peer->missing > LONG && size < GROWTH ? GROWTH : size;
    ipcx__held *held = peer->held;
    if (size == 0) {
        ipcx__held_free(self, held);
        peer->held = NULL;
        ipcx__wait_out(&peer->frame);
        return;
    }
    if (held == NULL || held->cap < cap) {
        held = ipcx__held_grow(self, held, cap);
        if (held == NULL) {
            ipcx__mux_leave(peer, IPCX_NOMEM, "no memory for its message");
            return;
        }
        peer->held = held;
    }
    memcpy(held->bytes, bytes, size);
    held->size = size;
    if (peer->frame.queue == NULL && in_talk(peer)) {
        peer->progress = 0;
        ipcx__wait_in(self, &self->midway, &peer->frame);
    }
}

/* ---- bytes */

/* Its layer has failed. What that has to say of it goes out, and is not overtaken by a reset of
 * ours: what comes is read in vain until the peer has hung up, has got it all and says nothing
 * more, or was told long enough. */
static void refuse(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    (void)ipcx__queue_forget(peer);
    peer->why = peer->cover->error.status;
    peer->reason = peer->cover->error.detail;
    peer->stage = IPCX__LEAVING;
    peer->answered = true;
    peer->progress = 0;
    ipcx__wait_in(self, &self->parting, &peer->frame);
    ipcx__wait_in(self, &self->leaving, &peer->life);
    ipcx__mux_flush(peer);
}

/* recv(2); 0: nothing this time. -1: the peer has gone. */
static ssize_t read_some(ipcx_mux_peer *peer, uint8_t *room, size_t size)
{
    bool sealed = peer->cover != NULL && peer->stage != IPCX__LEAVING;
    ssize_t n =
        sealed ? ipcx__cover_read(peer, room, size) : recv(peer->fd, room, size, MSG_DONTWAIT);
    if (n > 0) {
        peer->progress += sealed ? 0 : (size_t)n;
        if (peer->mux->idle.span != 0 && in_talk(peer)) {
            ipcx__wait_in(peer->mux, &peer->mux->idle, &peer->life);
        }
        return n;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    if (n < 0 && errno == EPROTO && sealed) {
        refuse(peer);
    } else if (peer->stage == IPCX__LEAVING) {
        ipcx__mux_leave(peer, IPCX_OK, NULL);
    } else {
        ipcx__mux_leave(peer, IPCX_PEER_DIED,
                        n < 0 && errno != ECONNRESET ? IPCX__MUX_VANISHED
                        : peer->held != NULL         ? "it hung up in the middle of a message"
                                                     : NULL);
    }
    return -1;
}

/* A long message is under way, and nothing but its bytes is read. */
static void read_long(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    ipcx__held *held = peer->held;
    size_t room = held->cap - held->size, left;
    ssize_t n;
    if (room == 0) {
        size_t more = held->size < peer->missing ? held->size : peer->missing;
        held = ipcx__held_grow(self, held, held->cap + (more > GROWTH ? more : GROWTH));
        if (held == NULL) {
            ipcx__mux_leave(peer, IPCX_NOMEM, "no memory for its message");
            return;
        }
        peer->held = held;
        room = held->cap - held->size;
    }
    room = room < peer->missing ? room : peer->missing;
    n = read_some(peer, held->bytes + held->size, room < LONG_SHARE ? room : LONG_SHARE);
    if (n <= 0) {
        return;
    }
    held->size += (size_t)n;
    peer->missing -= (size_t)n;
    if (peer->missing > 0) {
        return;
    }
    peer->held = NULL; /* the batch's */
    held->next = self->spent;
    self->spent = held;
    ipcx__wait_out(&peer->frame);
    if (take_apart(peer, held->bytes, held->size, &left) == IPCX_MORE && left > 0) {
        keep(peer, held->bytes + held->size - left, left);
    }
}

/* Short messages, behind what is held of the first. */
static ipcx_status read_short(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    uint8_t *bytes = self->scratch + self->scratch_used;
    size_t held = peer->held != NULL ? peer->held->size : 0, size, left;
    ssize_t n;
    if (SCRATCH - self->scratch_used < held + SHARE) {
        return IPCX_MORE;
    }
    n = read_some(peer, bytes + held, SHARE);
    if (n <= 0) {
        return IPCX_OK;
    }
    if (held > 0) {
        memcpy(bytes, peer->held->bytes, held);
    }
    size = held + (size_t)n;
    self->scratch_used += size;
    if (take_apart(peer, bytes, size, &left) == IPCX_MORE) {
        keep(peer, bytes + size - left, left);
    }
    return IPCX_OK;
}

/* Nobody wants its messages any more. */
static void read_in_vain(ipcx_mux_peer *peer)
{
    uint8_t bytes[4096];
    ssize_t n;
    int times = 0;
    do {
        n = read_some(peer, bytes, sizeof bytes);
    } while (n > 0 && ++times < 16);
}

/* MORE: there is no room for it in this batch. NOMEM. */
static ipcx_status read_more(ipcx_mux_peer *peer)
{
    /* A frame has 12 bytes at least: room for as many as may come. */
    if (!ipcx__mux_event_room(peer->mux, (LONG + 2 * SHARE) / IPCX_FRAME_HEADER + 2)) {
        return IPCX_NOMEM;
    }
    if (peer->held != NULL && peer->missing > 0 &&
        (peer->missing > LONG || peer->held->size > LONG)) {
        read_long(peer);
        return IPCX_OK;
    }
    return read_short(peer);
}

ipcx_status ipcx__mux_receive(ipcx_mux_peer *peer)
{
    ipcx_mux *self = peer->mux;
    ipcx_status status;
    if (peer->stage == IPCX__LEAVING) {
        read_in_vain(peer);
        return IPCX_OK;
    }
    if (self->scratch == NULL && (self->scratch = ipcx_alloc(SCRATCH)) == NULL) {
        return IPCX_NOMEM;
    }
    do {
        status = read_more(peer);
    } while (status == IPCX_OK && peer->cover != NULL && peer->cover->holds && in_talk(peer));
    return status;
}
