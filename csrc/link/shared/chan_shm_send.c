/* SPDX-License-Identifier: Apache-2.0
 * Sending through the ring: copied in, published, the peer told. A message over half a ring goes in
 * fragments; one that is left in the middle has not begun, and its fragments are discarded.
 * Invariant: whoever has the tx turn writes to the ring, and keeps it while it waits for room, so
 * that no message comes between the fragments of another. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/crash.h"
#include "ipcx/alloc.h"
#include "link/shared/chan_shm_loan.h"
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
        if (ipcx__ring_kept_by(&self->tx, (uint64_t)pthread_self())) {
            return ipcx_error_set(err, IPCX_EXHAUSTED, ENOBUFS, "send",
                                  "%s: this thread has reserved the room and not committed it",
                                  self->head.url);
        }
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
    ipcx__shm_show_sent(self);
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
    ipcx__shm_show_sent(self);
    ipcx__shm_tell_data(self);
    ipcx__turn_leave(&self->tx_turn);
    return status;
}

/* ---- loans */

static ipcx_status lend(ipcx__shm *self, size_t size, ipcx_deadline deadline, ipcx_loan *loan,
                        ipcx_error *err)
{
    ipcx_status status = may_send(self, err);
    uint8_t *room;
    unsigned slot;
    if (self->careful) { /* what the peer could change is not lent */
        return status == IPCX_OK ? ipcx__loan_private(&self->head, size, loan, err) : status;
    }
    while (status == IPCX_OK) {
        status = ipcx__ring_lend(&self->tx, size, &slot, &room);
        if (IPCX_LIKELY(status == IPCX_OK)) {
            self->tx.slots.slot[slot - 1].owner = (uint64_t)pthread_self();
            *loan = (ipcx_loan){
                .data = room, .size = size, .in_place = 1, .chan = &self->head, .slot = slot};
            return status;
        }
        if (status == IPCX_TOO_LARGE) {
            return ipcx__loan_private(&self->head, size, loan, err);
        }
        if (status == IPCX_PROTOCOL) {
            return broken(self, err);
        }
        ipcx__ring_publish(&self->tx); /* padding, perhaps */
        ipcx__shm_tell_data(self);
        status = wait_for_room(self, size, deadline, err);
    }
    return status;
}

ipcx_status ipcx__shm_reserve(ipcx_chan *chan, size_t size, ipcx_deadline deadline, ipcx_loan *loan,
                              ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    const ipcx_message message = {.size = size};
    ipcx_status status = ipcx__shm_begin(self, err);
    if (status == IPCX_OK) {
        status = acceptable(self, &message, err);
    }
    if (status == IPCX_OK) {
        status = take_turn(self, deadline, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    self->parts_ticket = 0; /* a message that stands in between: what went in part begins anew */
    status = lend(self, size, deadline, loan, err);
    ipcx__turn_leave(&self->tx_turn);
    return status;
}

/* Its bytes leave the ring: another message has overtaken it, or whoever sends one just now may
 * wait for the very place. */
static ipcx_status take_out(ipcx__shm *self, ipcx_loan *loan, size_t size, ipcx_error *err)
{
    void *memory = ipcx_alloc(size);
    if (memory == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "commit", "no memory for %zu bytes", size);
    }
    memcpy(memory, loan->data, size);
    ipcx__shm_cancel(&self->head, loan);
    IPCX_CRASH_POINT("loan: taken out");
    loan->data = loan->memory = memory;
    loan->in_place = 0;
    loan->size = size;
    return IPCX_OK;
}

/* OK: it is sent; AGAIN: it was overtaken. With the turn. */
static ipcx_status commit(ipcx__shm *self, const ipcx_loan *loan, const ipcx_message *message,
                          ipcx_sending *sending, ipcx_error *err)
{
    unsigned flags = (message->flags & IPCX_MESSAGE_TEXT) != 0 ? IPCX__RING_TEXT : 0;
    ipcx_status status = may_send(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (!ipcx__ring_commit_lent(&self->tx, loan->slot, message->size, flags)) {
        return IPCX_AGAIN;
    }
    ipcx__shm_add(&self->sent, 1);
    ipcx__shm_add(&self->sent_bytes, message->size);
    ipcx__shm_say_cpu(self);
    ipcx__ring_publish(&self->tx);
    ipcx__shm_show_sent(self);
    if ((message->flags & IPCX_MESSAGE_SYNC) != 0) {
        sending->begun = 1;
        sending->ticket = self->tx.tail;
    }
    return IPCX_OK;
}

ipcx_status ipcx__shm_commit(ipcx_chan *chan, ipcx_loan *loan, const ipcx_message *message,
                             ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_message copy = *message;
    ipcx_status status = IPCX_AGAIN;
    if (sending->begun) {
        return wait_until_received(self, sending, deadline, err);
    }
    status = acceptable(self, message, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = IPCX_AGAIN;
    if (ipcx__turn_take(&self->tx_turn)) {
        status = commit(self, loan, message, sending, err);
        ipcx__turn_leave(&self->tx_turn);
    }
    if (IPCX_LIKELY(status == IPCX_OK)) {
        ipcx__shm_tell_data(self);
        return sending->begun ? wait_until_received(self, sending, deadline, err) : status;
    }
    if (status == IPCX_AGAIN) {
        status = take_out(self, loan, message->size, err);
    }
    if (status == IPCX_OK) {
        copy.data = loan->data;
        status = ipcx__shm_send(chan, &copy, deadline, sending, err);
    }
    return status;
}

void ipcx__shm_cancel(ipcx_chan *chan, ipcx_loan *loan)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx__ring_done(&self->tx, loan->slot);
    if (ipcx__chan_pass(chan)) { /* who waits for room looks again */
        ipcx__turn_tell(&self->space_turn);
        if ((atomic_load(&self->mine->waiting) & IPCX__RING_SPACE) != 0) {
            ipcx__shm_ring_self(self);
        }
        ipcx__chan_pass_out(chan);
    }
}
