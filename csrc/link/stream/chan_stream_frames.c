/* SPDX-License-Identifier: Apache-2.0
 * From bytes to messages: what each frame means to a channel (docs/protocol.md, Rules).
 * Invariant: a frame is judged once, by whoever has pump; after the first that is not allowed, and
 * after BYE, none is. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "link/stream/chan_stream_parts.h"
#include "link/stream/chan_stream_prove.h"
#include "os/gate.h"
#include "wire/frame.h"
#include "wire/hello.h"

/* An idle channel keeps so much memory of a long message, for the next one. */
#define KEPT ((size_t)4 * 1024 * 1024)

/* Where in a frame its fields are. */
enum { AT_TYPE = 3, AT_FLAGS = 4, AT_CORRELATION = 12 };

ipcx_status ipcx__stream_over(ipcx__stream *self, ipcx_error *err)
{
    ipcx_status status = (ipcx_status)atomic_load(&self->over);
    if (status < 0 && err != NULL) {
        *err = self->over_error;
        atomic_store(&self->over_told, true);
    }
    return status;
}

ipcx_status ipcx__stream_end(ipcx__stream *self, ipcx_status status, uint64_t offset)
{
    bool wrong = status < 0 && status != IPCX_PEER_DIED;
    atomic_store(&self->chan.error_offset, offset);
    atomic_store(&self->over, (int)status);
    ipcx__fds_close(self->fds, &self->fd_count);
    if (wrong && self->read_way == IPCX__WAY_SOCKET) {
        /* Who broke the protocol learns it by this: there is no frame to complain with. */
        (void)shutdown(self->read_fd, SHUT_RDWR);
    }
    (void)pthread_mutex_lock(&self->guard);
    ipcx__stream_set_bell(self);
    (void)pthread_mutex_unlock(&self->guard);
    ipcx__stream_tell(self);
    return status;
}

/* The frame under way breaks a rule, `at` bytes into it. */
static ipcx_status IPCX_PRINTF(3, 4) wrong(ipcx__stream *self, size_t at, const char *format, ...)
{
    char what[80];
    va_list args;
    uint64_t offset = self->decoder.offset + at;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    (void)ipcx_error_set(&self->over_error, IPCX_PROTOCOL, 0, "receive", "%s, at byte %llu", what,
                         (unsigned long long)offset);
    return ipcx__stream_end(self, IPCX_PROTOCOL, offset);
}

static ipcx_status died(ipcx__stream *self, int number)
{
    bool cut = ipcx_decoder_pending(&self->decoder) > 0;
    char why[80];
    (void)ipcx__stream_gone(self, &number, why, sizeof why);
    (void)ipcx_error_set(&self->over_error, IPCX_PEER_DIED, number, "receive", "%s%s", why,
                         self->layer != NULL && !atomic_load(&self->ready) ? ", in the handshake"
                         : cut ? ", in the middle of a message"
                               : "");
    return ipcx__stream_end(self, IPCX_PEER_DIED,
                            self->decoder.offset + ipcx_buf_len(&self->decoder.buf));
}

/* ---- the frames that are no messages; OK: go on with the next */

static ipcx_status on_hello(ipcx__stream *self, const ipcx_frame *frame)
{
    ipcx__hello hello;
    size_t at, largest;
    ipcx_status status;
    if (atomic_load(&self->heard)) {
        return wrong(self, AT_TYPE, "a second HELLO");
    }
    status = ipcx__hello_decode(frame, &hello, &at, &self->over_error);
    if (status != IPCX_OK) {
        uint64_t payload = self->decoder.offset + (uint64_t)((const uint8_t *)frame->payload -
                                                             ipcx_buf_data(&self->decoder.buf));
        return ipcx__stream_end(self, status, payload + at);
    }
    status = ipcx__proof_unkeyed(&hello, &self->over_error);
    if (status != IPCX_OK) {
        return ipcx__stream_end(self, status, self->decoder.offset);
    }
    atomic_store(&self->peer_limit, hello.max_message);
    atomic_store(&self->heard, true);
    ipcx__decoder_limit(&self->decoder, self->chan.options.max_message);
    largest = atomic_load(&self->largest);
    if (largest > hello.max_message) {
        return wrong(self, AT_TYPE, "the peer takes %u bytes at most; a message of %zu was sent",
                     hello.max_message, largest);
    }
    return IPCX_OK;
}

static ipcx_status on_ack(ipcx__stream *self, const ipcx_frame *frame)
{
    uint64_t next = atomic_load(&self->acked) + 1;
    if (!(frame->flags & IPCX_FRAME_CORRELATION)) {
        return wrong(self, AT_FLAGS, "an ACK without correlation");
    }
    if (frame->correlation != next || next > atomic_load(&self->tickets)) {
        return wrong(self, AT_CORRELATION, "an ACK of %llu, which is not the next to be expected",
                     (unsigned long long)frame->correlation);
    }
    atomic_store(&self->acked, next);
    atomic_fetch_add(&self->chan.answers, 1);
    ipcx__stream_tell(self);
    return IPCX_OK;
}

static ipcx_status on_ping(ipcx__stream *self, const ipcx_frame *frame)
{
    ipcx_frame pong = {
        .type = IPCX_FRAME_PONG, .payload = frame->payload, .payload_size = frame->payload_size};
    (void)pthread_mutex_lock(&self->tx);
    (void)ipcx__stream_frame(self, &pong);
    (void)pthread_mutex_unlock(&self->tx);
    return IPCX_OK;
}

static ipcx_status on_handover(ipcx__stream *self, const ipcx_frame *frame)
{
    ipcx_error why;
    if (!self->is_unix) {
        return wrong(self, AT_TYPE, "HANDOVER over %s", self->chan.url);
    }
    if (ipcx__end_check(frame->payload, frame->payload_size, self->fds, self->fd_count, &why) !=
        IPCX_OK) {
        return wrong(self, AT_TYPE, "%s", why.detail);
    }
    self->front_fd_count = self->fd_count;
    memcpy(self->front_fds, self->fds, sizeof self->fds);
    self->fd_count = 0;
    return IPCX_OK;
}

/* OK with has_front: a message. OK without: it was one of ours, go on. */
static ipcx_status judge(ipcx__stream *self)
{
    const ipcx_frame *frame = &self->front;
    bool message;
    ipcx_status status = IPCX_OK;
    if (IPCX_LIKELY(self->proof == NULL && frame->type == IPCX_FRAME_DATA && frame->flags == 0 &&
                    atomic_load(&self->heard))) {
        atomic_store_explicit(&self->has_front, true, memory_order_release);
        return IPCX_OK;
    }
    message = frame->type == IPCX_FRAME_DATA || frame->type == IPCX_FRAME_HANDOVER;
    if (IPCX_UNLIKELY(self->proof != NULL)) {
        return ipcx__stream_stranger(self);
    }
    if (!atomic_load(&self->heard) && frame->type == IPCX_FRAME_PROOF) {
        return ipcx__stream_end(self, ipcx__proof_refused(frame, &self->over_error),
                                self->decoder.offset);
    }
    if (!atomic_load(&self->heard) && frame->type != IPCX_FRAME_HELLO) {
        return wrong(self, AT_TYPE, "a stream that does not begin with HELLO");
    }
    if ((frame->flags & IPCX_FRAME_SYNC) &&
        (!message || !(frame->flags & IPCX_FRAME_CORRELATION))) {
        return wrong(self, AT_FLAGS, "SYNC without a message, or without correlation");
    }
    switch (frame->type) {
    case IPCX_FRAME_DATA:
        break;
    case IPCX_FRAME_HANDOVER:
        status = on_handover(self, frame);
        break;
    case IPCX_FRAME_HELLO:
        return on_hello(self, frame);
    case IPCX_FRAME_ACK:
        return on_ack(self, frame);
    case IPCX_FRAME_PING:
        return on_ping(self, frame);
    case IPCX_FRAME_PONG:
        return IPCX_OK;
    case IPCX_FRAME_BYE:
        return ipcx__stream_end(self, IPCX_EOF, 0);
    default:
        return wrong(self, AT_TYPE, "a frame of type %d between two channels", (int)frame->type);
    }
    if (status == IPCX_OK) {
        atomic_store_explicit(&self->has_front, true, memory_order_release);
    }
    return status;
}

ipcx_status ipcx__stream_front(ipcx__stream *self, ipcx_error *err)
{
    while (!atomic_load_explicit(&self->has_front, memory_order_relaxed)) {
        ipcx_status status = ipcx__stream_over(self, err);
        if (status != IPCX_OK) {
            return status;
        }
        status = ipcx_decoder_next(&self->decoder, &self->front, &self->over_error);
        if (status == IPCX_MORE && self->fd_count > 0 &&
            ipcx_decoder_pending(&self->decoder) == 0) {
            status = wrong(self, 0, "descriptors without a HANDOVER");
        } else if (status == IPCX_MORE) {
            return status;
        } else if (status == IPCX_OK) {
            status = judge(self);
        } else {
            status = ipcx__stream_end(self, status, ipcx_decoder_error_offset(&self->decoder));
        }
        if (status != IPCX_OK) {
            return ipcx__stream_over(self, err);
        }
    }
    return IPCX_OK;
}

uint64_t ipcx_chan_error_offset(const ipcx_chan *chan)
{
    return atomic_load(&chan->error_offset); /* 0 where messages do not travel as bytes */
}

/* ---- bytes */

static ipcx_status read_failed(ipcx__stream *self, int number, ipcx_error *err)
{
    if (number == EAGAIN) {
        ipcx__stream_glance(self);
        ipcx__decoder_trim(&self->decoder, KEPT);
        return IPCX_AGAIN;
    }
    if (number == EINTR) {
        return IPCX_INTR;
    }
    if (self->refused == IPCX_CLOSED) {
        return ipcx__gate_closed("receive", err); /* we have gone, not the peer */
    }
    if (self->refused < 0) {
        (void)ipcx__stream_end(self, self->refused, 0);
        return ipcx__stream_over(self, err);
    }
    if (number == EBADMSG) {
        (void)wrong(self, ipcx_decoder_pending(&self->decoder),
                    "more descriptors than an end of a channel has");
    } else if (ipcx__stream_is_gone(number)) {
        (void)died(self, number);
    } else {
        (void)ipcx_error_set(&self->over_error, IPCX_SYSTEM, number, "receive", "%s",
                             self->chan.url);
        (void)ipcx__stream_end(self, IPCX_SYSTEM, 0);
    }
    return ipcx__stream_over(self, err);
}

static ipcx_status was_read(ipcx__stream *self, ssize_t n, ipcx_error *err)
{
    if (n > 0) {
        ipcx_decoder_commit(&self->decoder, (size_t)n);
        return IPCX_OK;
    }
    if (n == 0) {
        (void)died(self, 0);
        return ipcx__stream_over(self, err);
    }
    return read_failed(self, errno, err);
}

ipcx_status ipcx__stream_fill(ipcx__stream *self, size_t most, ipcx_error *err)
{
    uint8_t *room;
    size_t size;
    ipcx_status status = ipcx_decoder_reserve(&self->decoder, &room, &size, err);
    if (status != IPCX_OK) {
        return status;
    }
    size = most < size ? most : size;
    return was_read(self,
                    IPCX_LIKELY(self->layer == NULL) ? ipcx__stream_read(self, room, size)
                                                     : ipcx__layer_read(self, room, size),
                    err);
}

ipcx_status ipcx__stream_fill_asleep(ipcx__stream *self, ipcx_error *err)
{
    uint8_t *room;
    size_t size;
    ipcx_status status;
    ipcx__decoder_trim(&self->decoder, KEPT);
    status = ipcx_decoder_reserve(&self->decoder, &room, &size, err);
    if (status != IPCX_OK) {
        return status;
    }
    return was_read(self, ipcx__stream_read_asleep(self, room, size), err);
}
