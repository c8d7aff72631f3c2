/* SPDX-License-Identifier: Apache-2.0
 * Receiving: a message is lent in place, in the ring; a text, which is checked, from a copy that
 * the peer cannot change afterwards.
 * Invariant: the rx turn is held from the look at the ring to the release of what was found; the
 * peer's end is looked at before the ring, so that what it had committed comes first. */
#include <string.h>

#include "base/crash.h"
#include "ipcx/alloc.h"
#include "link/chan_front.h"
#include "link/shared/chan_shm_loan.h"
#include "link/shared/chan_shm_wait.h"
#include "wire/frame.h"

static ipcx_status take_turn(ipcx__shm *self, ipcx_deadline deadline, ipcx_error *err)
{
    if (IPCX_LIKELY(ipcx__turn_take(&self->rx_turn))) {
        return IPCX_OK;
    }
    if (deadline <= IPCX__AWAKE) {
        return IPCX_AGAIN;
    }
    return ipcx__turn_take_by(&self->rx_turn, &self->head.gate, deadline, err);
}

static void leave(ipcx__shm *self)
{
    ipcx__shm_tell_space(self);
    ipcx__shm_settle(self);
    ipcx__turn_leave(&self->rx_turn);
}

static ipcx_status broken(ipcx__shm *self, ipcx_status status, const char *why, ipcx_error *err)
{
    self->failed = status;
    self->rx.failed = status;
    self->rx.why = why;
    return ipcx_error_set(err, status, 0, "receive", "%s: %s", self->head.url, why);
}

/* A copy that the peer cannot change any more. */
static ipcx_status take_copy(ipcx__shm *self, ipcx_error *err)
{
    ipcx__ring_message *held = &self->held;
    if (held->shared && held->size > 0) {
        ipcx_buf_consume(&self->text, ipcx_buf_len(&self->text));
        if (ipcx_buf_append(&self->text, held->data, held->size, NULL) != IPCX_OK) {
            return ipcx_error_set(err, IPCX_NOMEM, 0, "receive",
                                  "no memory for a message of %zu bytes", held->size);
        }
        held->data = ipcx_buf_data(&self->text);
    }
    held->shared = false;
    return IPCX_OK;
}

static ipcx_status check(ipcx__shm *self, ipcx_error *err)
{
    const ipcx__ring_message *held = &self->held;
    ipcx_status status = take_copy(self, err);
    if (status == IPCX_OK && held->text && ipcx__utf8_valid(held->data, held->size) != held->size) {
        return broken(self, IPCX_PROTOCOL, "a text that is not UTF-8", err);
    }
    return status;
}

/* With the turn: the next message into self->held. */
static ipcx_status look(ipcx__shm *self, bool now, ipcx_error *err)
{
    bool bye = atomic_load(&self->theirs->bye) != 0;
    bool gone = atomic_load_explicit(&self->gone, memory_order_acquire);
    ipcx_status status;
    if (self->holds) {
        return IPCX_OK;
    }
    status = self->failed != IPCX_OK ? self->failed : ipcx__ring_next(&self->rx, &self->held);
    if (status == IPCX_OK) {
        self->holds = true;
        if (IPCX_LIKELY(!self->held.text && !self->careful)) {
            return status;
        }
        status = check(self, err);
        if (status == IPCX_NOMEM) {
            self->rx.lent = 0; /* it stays, to be found again */
        }
        self->holds = status == IPCX_OK;
        return status;
    }
    if (status < 0) {
        return status == IPCX_NOMEM
                   ? ipcx_error_set(err, status, 0, "receive", "no memory for a message")
                   : broken(self, status, self->rx.why, err);
    }
    if (now && !bye && !gone) {
        /* Nobody else will tell whoever only polls. */
        gone = ipcx__shm_peer_gone(self, atomic_load_explicit(&self->asked, memory_order_relaxed));
        return gone ? IPCX_MORE : IPCX_AGAIN; /* MORE: look at the ring once more */
    }
    if ((bye || gone) && ipcx__ring_empty(&self->rx)) {
        return bye ? IPCX_EOF
                   : ipcx_error_set(err, IPCX_PEER_DIED, 0, "receive",
                                    "%s: the peer died; all it had sent was received",
                                    self->head.url);
    }
    return IPCX_AGAIN;
}

/* OK: a message is in self->held, and the turn is ours; or its front in *front, where that is
 * wanted. All else: we have left it. */
static ipcx_status find(ipcx__shm *self, ipcx_deadline deadline, ipcx__ring_front *front,
                        ipcx_error *err)
{
    bool fronts = front != NULL && !self->careful;
    ipcx_status status = ipcx__shm_begin(self, err);
    if (status == IPCX_OK) {
        status = take_turn(self, deadline, err);
    }
    while (status == IPCX_OK) {
        status = look(self, deadline == IPCX_NOW, err);
        if (status == IPCX_OK) {
            return status;
        }
        if (status == IPCX_MORE) {
            status = IPCX_OK;
            continue;
        }
        if (status != IPCX_AGAIN || deadline == IPCX_NOW) {
            leave(self);
            return status;
        }
        if (fronts && ipcx__ring_front_of(&self->rx, front)) {
            return IPCX_OK;
        }
        ipcx__shm_tell_space(self);
        if (deadline == IPCX__AWAKE) {
            status = ipcx__shm_stay_awake(self);
            if (status == IPCX_OK) {
                continue;
            }
            leave(self);
            return status;
        }
        status = ipcx__shm_wait_data(self, fronts, deadline, err);
        if (status == IPCX_MORE) {
            status = take_turn(self, deadline, err);
        }
    }
    return status;
}

/* What was found, as the caller gets it. */
static void lend_held(const ipcx__shm *self, ipcx_message *message)
{
    IPCX_CRASH_POINT("receive: lent");
    *message = (ipcx_message){.data = self->held.data,
                              .size = self->held.size,
                              .flags = self->held.text ? IPCX_MESSAGE_TEXT : 0};
}

ipcx_status ipcx__shm_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                              ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_status status = find(self, deadline, NULL, err);
    if (status == IPCX_OK) {
        lend_held(self, message);
    }
    return status;
}

void ipcx__shm_release(ipcx_chan *chan, ipcx_message *message)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    if (IPCX_UNLIKELY(message->flags & IPCX__MESSAGE_FRONT)) {
        leave(self); /* it stays where it is, and becomes whole */
        return;
    }
    self->holds = (message->flags & IPCX__MESSAGE_KEEP) != 0;
    if (IPCX_LIKELY(!self->holds)) {
        ipcx__shm_add(&self->received, 1);
        ipcx__shm_add(&self->received_bytes, self->held.size);
        ipcx__shm_show_received(self);
        ipcx__ring_release(&self->rx);
    }
    leave(self);
}

/* ---- fronts */

static ipcx_status receive_front(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx__ring_front front = {0};
    ipcx_status status = find(self, deadline, &front, err);
    if (status == IPCX_OK && front.data != NULL) {
        *message =
            (ipcx_message){.data = front.data, .size = front.size, .flags = IPCX__MESSAGE_FRONT};
    } else if (status == IPCX_OK) {
        lend_held(self, message);
    }
    return status;
}

/* Whether the message that was to become whole is what is found in its place. */
static bool is_whole(ipcx__shm *self, const ipcx_message *front)
{
    if (look(self, true, NULL) != IPCX_OK) {
        return false; /* the next call says what is wrong */
    }
    return self->held.data == front->data && self->held.size == front->size && !self->held.text;
}

/* Copies as fast as it comes; who has stopped for so long is not waited for here. */
static bool fill(ipcx_chan *chan, ipcx_message *message, void *to)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx__ring_front front = {.data = message->data, .size = message->size, .at = self->rx.head};
    ipcx__shm_stall stall = {0};
    uint64_t have = 0;
    bool whole = false;
    while (!whole) {
        uint64_t there;
        whole = !ipcx__ring_empty(&self->rx);
        there = whole ? front.size : ipcx__ring_front_bytes(&self->rx, &front);
        if (there > have) {
            memcpy((uint8_t *)to + have, front.data + have, there - have);
            have = there;
            stall = (ipcx__shm_stall){0};
        } else if (!whole && ipcx__shm_stalled(&stall)) {
            leave(self);
            return false;
        }
    }
    if (!is_whole(self, message)) {
        leave(self);
        return false;
    }
    lend_held(self, message);
    return true;
}

const ipcx__fronts ipcx__shm_fronts = {.receive = receive_front, .fill = fill};

/* What lies in private memory (a text, the whole of fragments, all of a stranger's) goes with it to
 * the reader; what lies in the ring stays there if there is a slot, else a copy of it goes. */
static ipcx_status hand_out(ipcx__shm *self, ipcx_loan *view, ipcx_error *err)
{
    ipcx__ring_message *held = &self->held;
    ipcx_buf *from = ipcx_buf_data(&self->text) == held->data ? &self->text : &self->rx.whole;
    void *memory = NULL;
    unsigned slot = 0;
    if (!held->shared && held->size > 0) {
        size_t limit = from->limit;
        memory = from->memory;
        *from = (ipcx_buf){.limit = limit};
    } else if (!ipcx__ring_keep(&self->rx, &slot)) {
        memory = ipcx_alloc(held->size);
        if (memory == NULL) {
            return ipcx_error_set(err, IPCX_NOMEM, 0, "receive", "no memory for %zu bytes",
                                  held->size);
        }
        memcpy(memory, held->data, held->size);
        held->data = memory;
    }
    *view = (ipcx_loan){.data = (void *)(uintptr_t)held->data,
                        .size = held->size,
                        .flags = held->text ? IPCX_MESSAGE_TEXT : 0,
                        .in_place = memory == NULL && !self->careful,
                        .chan = &self->head,
                        .memory = memory,
                        .slot = slot};
    if (slot == 0 && !ipcx__ring_keep(&self->rx, &view->slot)) {
        ipcx__ring_release(&self->rx); /* received with that */
    }
    return IPCX_OK;
}

ipcx_status ipcx__shm_receive_view(ipcx_chan *chan, ipcx_loan *view, ipcx_deadline deadline,
                                   ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_status status = find(self, deadline, NULL, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = hand_out(self, view, err);
    if (status == IPCX_OK) {
        self->holds = false;
        ipcx__shm_add(&self->received, 1);
        ipcx__shm_add(&self->received_bytes, view->size);
        ipcx__shm_show_received(self);
    }
    leave(self);
    return status;
}

ipcx_status ipcx__shm_return_view(ipcx_chan *chan, ipcx_loan *view, ipcx_deadline deadline)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_status status = take_turn(self, deadline, NULL);
    if (status == IPCX_OK) {
        ipcx__ring_give_back(&self->rx, view->slot);
        view->slot = 0;
        leave(self);
    }
    return status == IPCX_CLOSED ? IPCX_OK : status;
}

ipcx_status ipcx__shm_poll(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_error ignored;
    ipcx_status status = find(self, deadline, NULL, &ignored);
    if (status == IPCX_OK) {
        leave(self); /* it stays in the ring, and in `held` */
        return status;
    }
    if (status == IPCX_EOF || status == IPCX_PEER_DIED || self->failed == status) {
        return IPCX_OK; /* receive would say so at once */
    }
    if (status < 0 && err != NULL) {
        *err = ignored;
    }
    return status;
}

ipcx_status ipcx__shm_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_status status = ipcx__shm_begin(self, err);
    if (status == IPCX_OK) {
        status = ipcx__shm_data_epoll(self, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (!atomic_exchange(&self->asked, true)) {
        if (ipcx__turn_take(&self->rx_turn)) {
            atomic_store(&self->unsettled, true);
            leave(self);
        } else {
            ipcx__shm_ring_self(self); /* whoever has the turn settles it */
            atomic_store(&self->unsettled, true);
        }
    }
    *fd = self->data_epoll;
    return IPCX_OK;
}
