/* SPDX-License-Identifier: Apache-2.0
 * Sending through the ring: copied in, published, the peer told. A message over half a ring goes in
 * fragments; one that is left in the middle has not begun, and its fragments are discarded.
 * Invariant: whoever has the tx turn writes to the ring, and keeps it while it waits for room, so
 * that no message comes between the fragments of another. */
#include "link/shared/chan_shm_wait.h"

#include "os/gate.h"
#include "wire/frame.h"

#define BATCH 64 /* messages of send_many that the peer gets to see at once */

void ipcx__shm_max_message(ipcx_chan *chan, size_t *receive, size_t *send)
{
    const ipcx__shm *self = (const ipcx__shm *)chan;
    uint64_t theirs = self->theirs != NULL ? atomic_load(&self->theirs->max_message) : 0;
    *receive = chan->options.max_message;
    *send = theirs == 0                  ? IPCX__SHM_MESSAGE
            : theirs < IPCX__MESSAGE_MAX ? (size_t)theirs
                                         : IPCX__MESSAGE_MAX;
}

/* Whether it may be sent at all; asks nobody. */
static ipcx_status acceptable(ipcx__shm *self, const ipcx_message *message, ipcx_error *err)
{
    size_t receive, most;
    ipcx__shm_max_message(&self->head, &receive, &most);
    if (message->size > most) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "send",
                              "%zu bytes; the peer of %s takes at most %zu", message->size,
                              self->head.url, most);
    }
    if ((message->flags & (IPCX_MESSAGE_OBJECT | IPCX_MESSAGE_END)) != 0) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "send", "%s carries bytes and text only",
                              self->head.url);
    }
    if ((message->flags & IPCX_MESSAGE_TEXT) != 0 &&
        ipcx__utf8_valid(message->data, message->size) != message->size) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "send", "the text is not UTF-8");
    }
    return IPCX_OK;
}

static ipcx_status take_turn(ipcx__shm *self, ipcx_deadline deadline, ipcx_error *err)
{
    if (IPCX_LIKELY(ipcx__turn_take(&self->tx_turn))) {
        return IPCX_OK;
    }
    if (deadline == IPCX_NOW) {
        return IPCX_AGAIN;
    }
    return ipcx__turn_take_by(&self->tx_turn, &self->head.gate, deadline, err);
}

/* With the turn: whether anything may be written. */
static ipcx_status may_send(ipcx__shm *self, ipcx_error *err)
{
    if (IPCX_UNLIKELY(atomic_load_explicit(&self->closing, memory_order_relaxed))) {
        return ipcx__gate_closed("send", err);
    }
    return ipcx__shm_peer_takes(self, err);
}

static ipcx_status broken(const ipcx__shm *self, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_PROTOCOL, 0, "send",
                          "%s: the peer's cursor is outside the ring", self->head.url);
}

/* No room now. OK: there is some, or the peer has gone: try again. */
static ipcx_status wait_for_room(ipcx__shm *self, uint64_t size, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    const ipcx__shm_wish wish = {.room = true, .size = size};
    ipcx_status status;
    if (deadline != IPCX_NOW) {
        status = ipcx__shm_wait_space(self, &wish, deadline, err);
        return status == IPCX_OK ? may_send(self, err) : status;
    }
    if (!atomic_load_explicit(&self->send_asked, memory_order_relaxed)) {
        return IPCX_AGAIN;
    }
    /* Somebody outside looks at send_fileno(). */
    ipcx__shm_fill(self);
    return ipcx__ring_room(&self->tx, size) ? IPCX_OK : IPCX_AGAIN;
}

/* One message into the ring, with the turn; *done counts the bytes that went in fragments. */
static ipcx_status write_message(ipcx__shm *self, const ipcx_message *message,
                                 ipcx_deadline deadline, uint64_t *done, ipcx_error *err)
{
    unsigned flags = (message->flags & IPCX_MESSAGE_TEXT) != 0 ? IPCX__RING_TEXT : 0;
    ipcx_status status;
    for (;;) {
        status = ipcx__ring_send(&self->tx, message->data, message->size, flags, done);
        if (IPCX_LIKELY(status == IPCX_OK)) {
            ipcx__shm_add(&self->sent, 1);
            ipcx__shm_add(&self->sent_bytes, message->size);
            return status;
        }
        if (status == IPCX_PROTOCOL) {
            return broken(self, err);
        }
        ipcx__shm_tell_data(self);
        status = status == IPCX_MORE ? may_send(self, err)
                                     : wait_for_room(self, message->size - *done, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

/* A message of which a part went before, by the same call begun anew (INTR, AGAIN), goes on where
 * it was, unless another came in between. */
static uint64_t resume(ipcx__shm *self, const ipcx_sending *sending)
{
    bool same = sending->ticket != 0 && sending->ticket == self->parts_ticket;
    self->parts_ticket = 0;
    return same ? self->parts_done : 0;
}

static void leave_part(ipcx__shm *self, uint64_t done, ipcx_sending *sending)
{
    if (done > 0) {
        self->parts_done = done;
        sending->ticket = self->parts_ticket = ++self->tickets;
    }
}

/* The rendezvous: until the consumer is past it. */
static ipcx_status wait_until_received(ipcx__shm *self, const ipcx_sending *sending,
                                       ipcx_deadline deadline, ipcx_error *err)
{
    const ipcx__shm_wish wish = {.at = sending->ticket};
    const ipcx__ring_words *words = &self->segment->words[self->role];
    while (!ipcx__ring_passed(words, wish.at)) {
        ipcx_status status = may_send(self, err);
        if (status != IPCX_OK) {
            /* It may have taken the message just before it went. */
            return ipcx__ring_passed(words, wish.at) ? IPCX_OK : status;
        }
        if (deadline == IPCX_NOW) {
            /* Whoever polls looks at fileno(), as over a stream: our bell shows there. */
            atomic_store(&self->polled, true);
            ipcx__ring_announce(&self->mine->waiting, IPCX__RING_SPACE);
            if (atomic_load(&self->send_asked)) {
                ipcx__shm_fill(self);
            }
            return ipcx__ring_passed(words, wish.at) ? IPCX_OK : IPCX_AGAIN;
        }
        status = ipcx__shm_wait_space(self, &wish, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    return IPCX_OK;
}

ipcx_status ipcx__shm_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                           ipcx_sending *sending, ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    uint64_t done;
    ipcx_status status = ipcx__shm_begin(self, err);
    if (status != IPCX_OK || sending->begun) {
        return status != IPCX_OK ? status : wait_until_received(self, sending, deadline, err);
    }
    status = acceptable(self, message, err);
    if (status == IPCX_OK) {
        status = take_turn(self, deadline, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    done = resume(self, sending);
    status = may_send(self, err);
    if (status == IPCX_OK) {
        status = write_message(self, message, deadline, &done, err);
    }
    if (status != IPCX_OK) {
        leave_part(self, done, sending);
        ipcx__turn_leave(&self->tx_turn);
        return status;
    }
    ipcx__shm_say_cpu(self);
    ipcx__ring_publish(&self->tx);
    if ((message->flags & IPCX_MESSAGE_SYNC) != 0) {
        sending->begun = 1;
        sending->ticket = self->tx.tail;
    }
    ipcx__turn_leave(&self->tx_turn);
    ipcx__shm_tell_data(self);
    return sending->begun ? wait_until_received(self, sending, deadline, err) : IPCX_OK;
}

ipcx_status ipcx__shm_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                                ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    uint64_t done;
    ipcx_status status = ipcx__shm_begin(self, err);
    if (status == IPCX_OK) {
        status = take_turn(self, deadline, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    done = resume(self, sending);
    status = may_send(self, err);
    while (status == IPCX_OK && sending->taken < count) {
        const ipcx_message *message = &messages[sending->taken];
        status = acceptable(self, message, err);
        if (status == IPCX_OK) {
            status = write_message(self, message, deadline, &done, err);
        }
        if (status != IPCX_OK) {
            break;
        }
        done = 0;
        if (++sending->taken % BATCH == 0) {
            ipcx__ring_publish(&self->tx);
            ipcx__shm_tell_data(self);
        }
    }
    leave_part(self, done, sending);
    ipcx__shm_say_cpu(self);
    ipcx__ring_publish(&self->tx);
    ipcx__shm_tell_data(self);
    ipcx__turn_leave(&self->tx_turn);
    return status;
}
