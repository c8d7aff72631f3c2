/* SPDX-License-Identifier: Apache-2.0
 * Sending over a stream: one message at a time, whole, whoever else wants to.
 * The sender whose message is under way has send_turn; tx is held only for system calls that do not
 * wait. While the sender waits for room nobody else sends what is owed (`flushing`): the readiness
 * it waits for would be used up behind its back. When it leaves early, the rest becomes the
 * channel's own and every wait sends it on.
 * Invariant: the first byte of a message leaves only when nothing is owed; what was begun is in
 * exactly one place: its sender's unit (`midway`) or `owed`. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ipcx/alloc.h"
#include "link/stream/chan_stream_parts.h"
#include "link/stream/chan_stream_prove.h"
#include "os/gate.h"
#include "wire/frame.h"
#include "wire/hello.h"

/* A rest may be as long as a message: such memory is not kept. */
#define KEPT ((size_t)65536)

/* ---- under tx */

ipcx_status ipcx__stream_broken(ipcx__stream *self, int number)
{
    char why[80];
    bool gone = ipcx__stream_gone(self, &number, why, sizeof why);
    self->broken = gone ? IPCX_PEER_DIED : IPCX_SYSTEM;
    (void)ipcx_error_set(&self->broken_error, self->broken, number, "send", "%s",
                         gone ? why : self->chan.url);
    return self->broken;
}

/* What can neither be sent nor kept cuts the stream: the peer must not wait for it. */
static ipcx_status lost(ipcx__stream *self)
{
    self->broken = ipcx_error_set(&self->broken_error, IPCX_NOMEM, 0, "send",
                                  "no memory for what was begun: the stream is cut");
    if (self->write_way == IPCX__WAY_SOCKET) {
        (void)shutdown(self->write_fd, SHUT_RDWR);
    }
    return self->broken;
}

/* Sends of `unit` what goes at once. */
static ipcx_status write_unit(ipcx__stream *self, ipcx__unit *unit)
{
    if (IPCX_UNLIKELY(self->layer != NULL)) {
        return ipcx__layer_write(self, unit);
    }
    while (unit->left > 0) {
        ssize_t n = ipcx__stream_write(self, unit);
        if (n < 0) {
            return errno == EAGAIN ? IPCX_AGAIN : ipcx__stream_broken(self, errno);
        }
        self->out += (uint64_t)n;
        ipcx__unit_skip(unit, (size_t)n);
        if (unit->left > 0 && self->write_way != IPCX__WAY_SHARED) {
            return IPCX_AGAIN; /* the kernel took what it had room for */
        }
    }
    return IPCX_OK;
}

static ipcx_status push_owed(ipcx__stream *self)
{
    size_t size = ipcx_buf_len(&self->owed);
    ipcx__unit unit = {
        .piece = {{.iov_base = (void *)(uintptr_t)ipcx_buf_data(&self->owed), .iov_len = size}},
        .pieces = 1,
        .left = size};
    ipcx_status status = write_unit(self, &unit);
    ipcx_buf_consume(&self->owed, size - unit.left);
    return status;
}

/* Nothing is owed and nothing midway: what was put back is next. False: nothing was. */
static bool after_is_next(ipcx__stream *self)
{
    ipcx_buf sent = self->owed;
    self->control = ipcx_buf_len(&self->after);
    if (sent.cap > KEPT) {
        ipcx_buf_fini(&sent);
        ipcx_buf_init(&sent, SIZE_MAX);
    }
    self->owed = self->after;
    self->after = sent;
    return self->control > 0;
}

ipcx_status ipcx__stream_push(ipcx__stream *self)
{
    ipcx_status status = self->layer == NULL ? self->broken : ipcx__layer_first(self);
    while (status == IPCX_OK && !self->midway) {
        if (ipcx_buf_len(&self->owed) == 0 && !after_is_next(self)) {
            break;
        }
        status = push_owed(self);
    }
    return status;
}

bool ipcx__stream_push_on(ipcx__stream *self)
{
    bool more = false;
    if (IPCX_UNLIKELY(self->layer != NULL)) {
        return ipcx__layer_push_on(self);
    }
    (void)pthread_mutex_lock(&self->tx);
    if (!self->flushing && !self->midway && ipcx_buf_len(&self->owed) > 0) {
        more = ipcx__stream_push(self) == IPCX_AGAIN;
        ipcx__stream_owes(self);
    }
    (void)pthread_mutex_unlock(&self->tx);
    return more;
}

ipcx_status ipcx__stream_frame(ipcx__stream *self, const ipcx_frame *given)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__MESSAGE_MAX};
    ipcx_buf *to = self->midway ? &self->after : &self->owed;
    ipcx_frame frame = *given;
    ipcx_envelope around;
    size_t before = ipcx_buf_len(to);
    if (self->write_way == IPCX__WAY_NONE || self->broken < 0) {
        return self->broken;
    }
    frame.flags |= self->chan.options.checksum ? IPCX_FRAME_CRC : 0;
    if (ipcx_frame_encode(&framing, &frame, &around, NULL) != IPCX_OK ||
        ipcx_buf_append(to, around.head, around.head_size, NULL) != IPCX_OK ||
        ipcx_buf_append(to, frame.payload, frame.payload_size, NULL) != IPCX_OK ||
        ipcx_buf_append(to, around.tail, around.tail_size, NULL) != IPCX_OK) {
        return lost(self);
    }
    self->control += ipcx_buf_len(to) - before;
    if (!self->midway && !self->flushing) {
        (void)ipcx__stream_push(self);
    }
    ipcx__stream_owes(self);
    ipcx__stream_nudge(self);
    return self->broken;
}

/* One try: what is owed, then the unit. */
static ipcx_status step(ipcx__stream *self, ipcx__unit *unit, ipcx_error *err)
{
    ipcx_status status;
    if (IPCX_UNLIKELY(self->layer != NULL) && !atomic_load(&self->ready)) {
        return ipcx__layer_keep(self, unit, err);
    }
    status = ipcx__stream_is_clear(self) ? IPCX_OK : ipcx__stream_push(self);
    if (status == IPCX_OK && unit->left > 0) {
        status = write_unit(self, unit);
        self->midway = unit->begun && unit->left > 0;
        if (unit->begun) {
            self->message_end = self->out + unit->left;
        }
        if (status == IPCX_OK && !ipcx__stream_is_clear(self)) {
            (void)ipcx__stream_push(self); /* frames of ours that came meanwhile */
        }
    }
    return status;
}

/* The sender goes and leaves to the channel what it began and has not finished: of a run of frames
 * the one that is cut. */
static void keep(ipcx__stream *self, const ipcx__unit *unit)
{
    size_t size = unit->run == NULL ? unit->left : ipcx__run_cut(unit, NULL);
    self->midway = false;
    self->message_end = self->out + size;
    for (int i = 0; i < unit->pieces && size > 0 && self->broken == IPCX_OK; i++) {
        size_t part = unit->piece[i].iov_len < size ? unit->piece[i].iov_len : size;
        if (ipcx_buf_append(&self->owed, unit->piece[i].iov_base, part, NULL) != IPCX_OK) {
            (void)lost(self);
        }
        size -= part;
    }
}

/* ---- with send_turn */

ipcx_status ipcx__stream_transmit(ipcx__stream *self, ipcx__unit *unit, ipcx_deadline deadline,
                                  ipcx_error *err)
{
    ipcx_status status;
    (void)pthread_mutex_lock(&self->tx);
    status = step(self, unit, err);
    if (status == IPCX_AGAIN) {
        ipcx__stream_glance(self);
    }
    while (status == IPCX_AGAIN && deadline != IPCX_NOW) {
        self->flushing = true;
        ipcx__stream_owes(self);
        (void)pthread_mutex_unlock(&self->tx);
        (void)atomic_fetch_add_explicit(&self->chan.send_waits, 1, memory_order_relaxed);
        status = ipcx__stream_await_room(self, deadline, err);
        (void)pthread_mutex_lock(&self->tx);
        self->flushing = false;
        if (status == IPCX_OK) {
            status = step(self, unit, err);
        }
    }
    if (status != IPCX_OK && unit->begun) {
        keep(self, unit);
    }
    ipcx__stream_owes(self);
    if (atomic_load(&self->chan.owed) > 0) {
        ipcx__stream_nudge(self); /* who sleeps for bytes to read sends it on from now on */
    }
    (void)pthread_mutex_unlock(&self->tx);
    return status;
}

/* ---- the verbs */

/* Whether there is somebody to send to. */
static ipcx_status may_send(ipcx__stream *self, const char *op, ipcx_error *err)
{
    int over = atomic_load(&self->over);
    if (atomic_load(&self->closing) || atomic_load(&self->said_bye)) {
        return ipcx__gate_closed(op, err);
    }
    if (self->write_way == IPCX__WAY_NONE) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, op, "this end of %s only receives",
                              self->chan.url);
    }
    if (over == IPCX_EOF) {
        return ipcx_error_set(err, IPCX_PEER_CLOSED, 0, op, "the peer has said goodbye");
    }
    if (over < 0) {
        return ipcx__stream_over(self, err);
    }
    return atomic_load(&self->greeted) ? IPCX_OK : ipcx__stream_greet(self, err);
}

/* Before the peer went it may have sent something, a goodbye perhaps. */
static ipcx_status peer_went(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__stream_drain(self, deadline, err);
    if (status > 0 && status != IPCX_EOF) {
        return status;
    }
    if (atomic_load(&self->over) < 0 && atomic_load(&self->over) != IPCX_PEER_DIED) {
        return ipcx__stream_over(self, err); /* it says more than that nobody is there */
    }
    if (atomic_load(&self->over) == IPCX_EOF) {
        return ipcx_error_set(err, IPCX_PEER_CLOSED, self->broken_error.sys_errno, "send",
                              "the peer has said goodbye");
    }
    return IPCX_PEER_DIED;
}

ipcx_status ipcx__stream_sent(ipcx__stream *self, ipcx_status status, ipcx_deadline deadline,
                              ipcx_error *err)
{
    ipcx_status why;
    if (status >= 0) {
        return status;
    }
    (void)pthread_mutex_lock(&self->tx);
    why = self->broken;
    (void)pthread_mutex_unlock(&self->tx);
    if (why == IPCX_OK) {
        return status;
    }
    if (why == IPCX_PEER_DIED && self->read_way != IPCX__WAY_NONE) {
        status = peer_went(self, deadline, err);
        if (status != IPCX_PEER_DIED) {
            return status;
        }
    }
    if (err != NULL) {
        *err = self->broken_error;
    }
    return why;
}

/* OK: a message of `size` bytes is not longer than the peer takes, as far as is known. */
static ipcx_status fits(ipcx__stream *self, size_t size, ipcx_error *err)
{
    if (!atomic_load(&self->heard) && (size > IPCX__BEFORE_HELLO || self->layer != NULL) &&
        self->read_way != IPCX__WAY_NONE) {
        (void)ipcx__stream_drain(self, IPCX_NOW, NULL); /* its HELLO may be there */
    }
    if (!atomic_load(&self->heard)) {
        size_t largest = atomic_load(&self->largest);
        while (size > largest && !atomic_compare_exchange_weak(&self->largest, &largest, size)) {
        }
    }
    /* Looked at after `largest` was set: whoever hears HELLO now sees either that or this. */
    if (size > atomic_load(&self->peer_limit)) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "send", "%zu bytes; the peer takes %zu", size,
                              atomic_load(&self->peer_limit));
    }
    return IPCX_OK;
}

/* With send_turn. */
static ipcx_status send_one(ipcx__stream *self, const ipcx_message *message, ipcx_deadline deadline,
                            ipcx_sending *sending, ipcx_error *err)
{
    ipcx__composed made;
    uint8_t small[IPCX__SMALL + IPCX__AROUND_MOST];
    uint64_t ticket = message->flags & IPCX_MESSAGE_SYNC ? atomic_load(&self->tickets) + 1 : 0;
    bool is_small = message->size <= IPCX__SMALL && !(message->flags & IPCX_MESSAGE_END);
    ipcx_status status = IPCX_OK;
    made.unit = (ipcx__unit){0};
    if (message->flags & IPCX_MESSAGE_END) {
        status = ipcx__stream_pack(message, &made, err);
    }
    if (status == IPCX_OK) {
        status = is_small
                     ? ipcx__stream_compose_small(self, message, ticket, small, &made.unit, err)
                     : ipcx__stream_compose(self, message, ticket, &made, err);
        if (status == IPCX_OK) {
            if (ticket != 0) {
                atomic_store(&self->tickets, ticket); /* the ACK may come before we look again */
            }
            status = ipcx__stream_transmit(self, &made.unit, deadline, err);
            if (ticket != 0 && !made.unit.begun) {
                atomic_store(&self->tickets, ticket - 1);
            }
        }
        if (message->flags & IPCX_MESSAGE_END) {
            ipcx__stream_packed(message, &made);
        }
    }
    if (made.unit.begun && status >= 0) {
        sending->begun = status != IPCX_OK || ticket != 0;
        sending->ticket = ticket != 0 ? ticket : self->message_end;
    }
    return status;
}

/* OK: this end can send such a message. */
ipcx_status ipcx__stream_may_send(ipcx__stream *self, const ipcx_message *message, ipcx_error *err)
{
    unsigned can = IPCX_MESSAGE_TEXT | IPCX_MESSAGE_SYNC | (self->is_unix ? IPCX_MESSAGE_END : 0);
    ipcx_status status = may_send(self, "send", err);
    if (status != IPCX_OK) {
        return status;
    }
    if (message->flags & ~can) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send", "%s carries no %s", self->chan.url,
                              message->flags & IPCX_MESSAGE_OBJECT ? "objects" : "such messages");
    }
    if ((message->flags & IPCX_MESSAGE_SYNC) && self->read_way == IPCX__WAY_NONE) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send",
                              "this end of %s only sends: nobody can tell it of a rendezvous",
                              self->chan.url);
    }
    return message->flags & IPCX_MESSAGE_END ? IPCX_OK : fits(self, message->size, err);
}

ipcx_status ipcx__stream_take_send_turn(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    if (ipcx__turn_take(&self->send_turn)) {
        return IPCX_OK;
    }
    (void)atomic_fetch_add_explicit(&self->chan.send_waits, 1, memory_order_relaxed);
    return ipcx__turn_take_by(&self->send_turn, &self->chan.gate, deadline, err);
}

/* Waits until nothing is owed, or nothing before the byte `up_to`. */
static ipcx_status flush_to(ipcx__stream *self, uint64_t up_to, ipcx_deadline deadline,
                            ipcx_error *err)
{
    ipcx__unit nothing = {0};
    bool is_out;
    ipcx_status status = ipcx__stream_take_send_turn(self, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&self->tx);
    is_out = self->out >= up_to && ipcx_buf_len(&self->sealed) == 0;
    (void)pthread_mutex_unlock(&self->tx);
    if (!is_out) {
        status = ipcx__stream_transmit(self, &nothing, deadline, err);
    }
    ipcx__turn_leave(&self->send_turn);
    return ipcx__stream_sent(self, status, deadline, err);
}

ipcx_status ipcx__stream_flush(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    return flush_to(ipcx__stream_of(chan), UINT64_MAX, deadline, err);
}

ipcx_status ipcx__stream_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                              ipcx_sending *sending, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    bool sync = (message->flags & IPCX_MESSAGE_SYNC) != 0;
    ipcx_status status;
    if (!sending->begun) {
        status = ipcx__stream_send_quick(self, message, deadline, sending, err);
        if (IPCX_LIKELY(status != IPCX_MORE)) {
            return status;
        }
        status = ipcx__stream_prove(self, deadline, err);
        if (status == IPCX_OK) {
            status = ipcx__stream_may_send(self, message, err);
        }
        if (status == IPCX_OK) {
            status = ipcx__stream_take_send_turn(self, deadline, err);
        }
        if (status != IPCX_OK) {
            return status;
        }
        status = send_one(self, message, deadline, sending, err);
        ipcx__turn_leave(&self->send_turn);
        status = ipcx__stream_sent(self, status, deadline, err);
    } else if (!sync) {
        status = flush_to(self, sending->ticket, deadline, err);
        sending->begun = status != IPCX_OK;
        return status;
    } else {
        status = IPCX_OK;
    }
    if (status == IPCX_OK && sync) {
        status = ipcx__stream_await(self, sending->ticket, deadline, err);
        sending->begun = status != IPCX_OK;
    }
    return status;
}
