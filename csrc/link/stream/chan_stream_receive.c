/* SPDX-License-Identifier: Apache-2.0
 * Receiving over a stream. Who has rx_turn takes the next message: out of the inbox, or in front of
 * the decoder, or it reads and waits for it, as the one who has pump.
 * Invariant: a lent message keeps rx_turn, and the front one pump as well, until its release; so
 * ACKs leave in the order of the messages. */
#include "link/stream/chan_stream_parts.h"
#include "link/stream/chan_stream_prove.h"
#include "os/gate.h"
#include "wire/frame.h"

static ipcx_status throttle(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    bool too_much;
    if (IPCX_LIKELY(atomic_load_explicit(&self->chan.owed, memory_order_relaxed) == 0)) {
        return IPCX_OK;
    }
    (void)ipcx__stream_push_on(self);
    (void)pthread_mutex_lock(&self->tx);
    too_much = self->control > IPCX__CONTROL_MOST && self->broken == IPCX_OK;
    (void)pthread_mutex_unlock(&self->tx);
    if (too_much) {
        ipcx_status status = ipcx__stream_flush(&self->chan, deadline, err);
        return status < 0 ? IPCX_OK : status; /* a peer that has gone is found out by reading */
    }
    return IPCX_OK;
}

/* Nobody can close the channel meanwhile or look at its fileno(), nothing is to be sent, no
 * deadline: the wait is the kernel's own, without a poll(2) before it. */
static bool only_bytes_matter(ipcx__stream *self, ipcx_deadline deadline)
{
    return self->blocks && deadline == IPCX_FOREVER && ipcx__single_threaded() &&
           !atomic_load(&self->watched) && atomic_load(&self->chan.owed) == 0;
}

/* With pump: front would answer MORE. */
static inline bool is_dry(ipcx__stream *self)
{
    return !atomic_load_explicit(&self->has_front, memory_order_relaxed) &&
           atomic_load(&self->over) == 0 && self->fd_count == 0 &&
           ipcx__decoder_is_empty(&self->decoder);
}

/* With pump: reads until there is a front message. */
static ipcx_status lead(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    bool waited = false;
    bool try_first = !self->waits_first || deadline == IPCX_NOW || atomic_load(&self->holds);
    for (;;) {
        ipcx_status status = is_dry(self) ? IPCX_MORE : ipcx__stream_front(self, err);
        if (status != IPCX_MORE) {
            self->waits_first = waited;
            return status;
        }
        status = throttle(self, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
        if (try_first) {
            status = ipcx__stream_fill(self, SIZE_MAX, err);
            if (status == IPCX_OK) {
                continue;
            }
            if (status != IPCX_AGAIN || deadline == IPCX_NOW) {
                return status;
            }
        }
        (void)atomic_fetch_add_explicit(&self->chan.receive_waits, 1, memory_order_relaxed);
        waited = true;
        try_first = !only_bytes_matter(self, deadline);
        status = try_first ? ipcx__stream_sleep(self, deadline, err)
                           : ipcx__stream_fill_asleep(self, err);
        if (status != IPCX_OK && status != IPCX_AGAIN) { /* AGAIN: somebody's SO_RCVTIMEO */
            return status;
        }
    }
}

/* With rx_turn. OK: there is a message, in the inbox or in front; then we have pump. */
static ipcx_status next(ipcx__stream *self, ipcx_deadline deadline, bool *has_pump, ipcx_error *err)
{
    bool waited = false;
    ipcx_status status = IPCX_OK;
    *has_pump = false;
    for (;;) {
        uint32_t seen = ipcx__turn_look(&self->pump);
        if (IPCX_UNLIKELY(atomic_load(&self->inbox_count) > 0)) {
            break;
        }
        if (ipcx__turn_take(&self->pump)) {
            waited = false;
            if (atomic_load(&self->inbox_count) == 0) {
                status = lead(self, deadline, err);
                *has_pump = status == IPCX_OK;
            }
            if (!*has_pump) {
                ipcx__stream_leave_pump(self);
            }
            break;
        }
        (void)ipcx__stream_push_on(self);
        status = ipcx__turn_wait(&self->pump, &self->chan.gate, seen, deadline, err);
        if (status != IPCX_OK) {
            break;
        }
        waited = true;
    }
    if (waited) {
        ipcx__turn_pass(&self->pump);
    }
    return status;
}

/* The turn to receive, our HELLO sent. */
static ipcx_status begin(ipcx__stream *self, const char *op, ipcx_deadline deadline,
                         ipcx_error *err)
{
    if (atomic_load(&self->closing)) {
        return ipcx__gate_closed(op, err);
    }
    if (self->read_way == IPCX__WAY_NONE) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, op, "this end of %s only sends",
                              self->chan.url);
    }
    if (IPCX_UNLIKELY(!atomic_load(&self->greeted))) {
        ipcx_status status = ipcx__stream_greet(self, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    if (ipcx__turn_take(&self->rx_turn)) {
        return IPCX_OK;
    }
    (void)ipcx__stream_push_on(self);
    (void)atomic_fetch_add_explicit(&self->chan.receive_waits, 1, memory_order_relaxed);
    return ipcx__turn_take_by(&self->rx_turn, &self->chan.gate, deadline, err);
}

static ipcx_status lend(const ipcx_frame *frame, int *fds, int *fd_count, ipcx_message *message,
                        ipcx_error *err)
{
    ipcx_chan *made;
    ipcx_status status;
    if (IPCX_LIKELY(frame->type == IPCX_FRAME_DATA)) {
        *message = (ipcx_message){.data = frame->payload,
                                  .size = frame->payload_size,
                                  .flags = frame->flags & IPCX_FRAME_TEXT ? IPCX_MESSAGE_TEXT : 0};
        return IPCX_OK;
    }
    status = ipcx__stream_unpack(frame, fds, fd_count, &made, err);
    if (status == IPCX_OK) {
        *message = (ipcx_message){.data = made, .flags = IPCX_MESSAGE_END};
    }
    return status;
}

/* With rx_turn and, if has_pump, with pump. What cannot be lent, for want of memory, stays. */
static ipcx_status lend_next(ipcx__stream *self, bool has_pump, ipcx_message *message,
                             ipcx_error *err)
{
    ipcx__parcel *parcel;
    ipcx_status status;
    if (has_pump) {
        status = lend(&self->front, self->front_fds, &self->front_fd_count, message, err);
        self->lends_front = status == IPCX_OK;
        if (status != IPCX_OK) {
            ipcx__stream_leave_pump(self);
        }
        return status;
    }
    parcel = ipcx__inbox_take(self);
    status = lend(&parcel->frame, parcel->fds, &parcel->fd_count, message, err);
    if (status == IPCX_OK) {
        self->out_of_inbox = parcel;
    } else {
        ipcx__inbox_put_back(self, parcel);
    }
    return status;
}

ipcx_status ipcx__stream_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    bool has_pump;
    ipcx_status status = begin(self, "receive", deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = next(self, deadline, &has_pump, err);
    if (status == IPCX_OK) {
        status = lend_next(self, has_pump, message, err);
    }
    if (status != IPCX_OK) {
        ipcx__turn_leave(&self->rx_turn);
    }
    return status;
}

static void acknowledge(ipcx__stream *self, const ipcx_frame *frame)
{
    ipcx_frame ack = {
        .type = IPCX_FRAME_ACK, .flags = IPCX_FRAME_CORRELATION, .correlation = frame->correlation};
    (void)pthread_mutex_lock(&self->tx);
    (void)ipcx__stream_frame(self, &ack);
    (void)pthread_mutex_unlock(&self->tx);
}

void ipcx__stream_release(ipcx_chan *chan, ipcx_message *message)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    const ipcx_frame *frame = self->lends_front ? &self->front : &self->out_of_inbox->frame;
    bool keep = (message->flags & IPCX__MESSAGE_KEEP) != 0;
    *message = (ipcx_message){0};
    if (IPCX_UNLIKELY(frame->flags & IPCX_FRAME_SYNC) && !keep) {
        acknowledge(self, frame);
    }
    if (self->lends_front) {
        self->lends_front = false;
        atomic_store_explicit(&self->has_front, keep, memory_order_release);
        ipcx__stream_leave_pump(self);
    } else {
        if (IPCX_UNLIKELY(keep)) {
            ipcx__inbox_put_back(self, self->out_of_inbox);
        } else {
            ipcx__parcel_free(self->out_of_inbox);
        }
        self->out_of_inbox = NULL;
    }
    ipcx__turn_leave(&self->rx_turn);
}

ipcx_status ipcx__stream_poll(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    bool has_pump;
    ipcx_status status;
    if (atomic_load(&self->inbox_count) > 0) {
        return IPCX_OK;
    }
    status = begin(self, "poll", deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = next(self, deadline, &has_pump, err);
    if (has_pump) {
        ipcx__stream_leave_pump(self);
    }
    ipcx__turn_leave(&self->rx_turn);
    return ipcx__stream_is_over(self) ? IPCX_OK : status;
}
