/* SPDX-License-Identifier: Apache-2.0
 * The inbox: messages that came while somebody waited for something else, for an ACK above all.
 * Invariant: only who has pump puts in, only who has rx_turn takes out; what is in it came before
 * the front message. A SYNC sender puts in no more than max_backlog bytes, then it stops reading.
 */
#include <string.h>

#include "ipcx/alloc.h"
#include "link/stream/chan_stream_parts.h"
#include "os/gate.h"

void ipcx__parcel_free(ipcx__parcel *parcel)
{
    if (parcel != NULL) {
        ipcx__fds_close(parcel->fds, &parcel->fd_count);
        ipcx_free(parcel);
    }
}

ipcx_status ipcx__inbox_put(ipcx__stream *self, ipcx_error *err)
{
    size_t size = self->front.payload_size;
    ipcx__parcel *parcel = ipcx_alloc(sizeof *parcel + size);
    if (parcel == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "receive", "%zu bytes", size);
    }
    *parcel = (ipcx__parcel){.frame = self->front, .fd_count = self->front_fd_count};
    memcpy(parcel->fds, self->front_fds, sizeof parcel->fds);
    if (size > 0) {
        memcpy(parcel + 1, self->front.payload, size);
    }
    parcel->frame.payload = parcel + 1;
    self->front_fd_count = 0;
    (void)pthread_mutex_lock(&self->guard);
    *self->inbox_last = parcel;
    self->inbox_last = &parcel->next;
    (void)atomic_fetch_add(&self->inbox_count, 1);
    (void)atomic_fetch_add(&self->inbox_bytes, size);
    atomic_store(&self->has_front, false);
    ipcx__stream_set_bell(self);
    (void)pthread_mutex_unlock(&self->guard);
    ipcx__turn_tell(&self->pump);
    return IPCX_OK;
}

ipcx__parcel *ipcx__inbox_take(ipcx__stream *self)
{
    ipcx__parcel *parcel;
    if (IPCX_LIKELY(atomic_load(&self->inbox_count) == 0)) {
        return NULL;
    }
    (void)pthread_mutex_lock(&self->guard);
    parcel = self->inbox;
    if (parcel != NULL) {
        self->inbox = parcel->next;
        if (self->inbox == NULL) {
            self->inbox_last = &self->inbox;
        }
        (void)atomic_fetch_sub(&self->inbox_count, 1);
        (void)atomic_fetch_sub(&self->inbox_bytes, parcel->frame.payload_size);
        ipcx__stream_set_bell(self);
    }
    (void)pthread_mutex_unlock(&self->guard);
    ipcx__turn_tell(&self->room);
    return parcel;
}

void ipcx__inbox_put_back(ipcx__stream *self, ipcx__parcel *parcel)
{
    (void)pthread_mutex_lock(&self->guard);
    parcel->next = self->inbox;
    self->inbox = parcel;
    if (parcel->next == NULL) {
        self->inbox_last = &parcel->next;
    }
    (void)atomic_fetch_add(&self->inbox_count, 1);
    (void)atomic_fetch_add(&self->inbox_bytes, parcel->frame.payload_size);
    ipcx__stream_set_bell(self);
    (void)pthread_mutex_unlock(&self->guard);
}

static bool is_full(ipcx__stream *self)
{
    return atomic_load(&self->inbox_bytes) >= self->chan.options.max_backlog;
}

/* With pump: all messages that are whole into the inbox. MORE: done. OK: the inbox is full. */
static ipcx_status put_all(ipcx__stream *self, ipcx_error *err)
{
    for (;;) {
        ipcx_status status = ipcx__stream_front(self, err);
        if (status != IPCX_OK || is_full(self)) {
            return status;
        }
        status = ipcx__inbox_put(self, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

/* ---- waiting for an ACK, or for the peer's proof */

static bool is_there(ipcx__stream *self, uint64_t ticket)
{
    return ticket != 0 ? atomic_load(&self->acked) >= ticket : !atomic_load(&self->unproven);
}

/* With pump. OK: it is there. MORE: the inbox is full. */
static ipcx_status pump_for(ipcx__stream *self, uint64_t ticket, ipcx_deadline deadline,
                            ipcx_error *err)
{
    for (;;) {
        ipcx_status status = put_all(self, err);
        if (is_there(self, ticket)) {
            return IPCX_OK;
        }
        if (status != IPCX_MORE) {
            return status == IPCX_OK ? IPCX_MORE : status;
        }
        status = ipcx__stream_fill(self, SIZE_MAX, err);
        if (status == IPCX_AGAIN && deadline != IPCX_NOW) {
            (void)atomic_fetch_add_explicit(&self->chan.send_waits, 1, memory_order_relaxed);
            status = ipcx__stream_sleep(self, deadline, err);
        }
        if (status != IPCX_OK && !ipcx__stream_is_over(self)) {
            return status;
        }
    }
}

/* One step of await; OK: look again. */
static ipcx_status await_step(ipcx__stream *self, uint64_t ticket, uint32_t seen, uint32_t room,
                              bool *waited, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status;
    if (!ipcx__turn_take(&self->pump)) {
        (void)ipcx__stream_push_on(self);
        (void)atomic_fetch_add_explicit(&self->chan.send_waits, 1, memory_order_relaxed);
        status = ipcx__turn_wait(&self->pump, &self->chan.gate, seen, deadline, err);
        *waited = *waited || status == IPCX_OK;
        return status;
    }
    *waited = false;
    status = pump_for(self, ticket, deadline, err);
    ipcx__stream_leave_pump(self);
    if (status == IPCX_MORE) {
        status = ipcx__turn_wait_told(&self->room, &self->chan.gate, room, deadline, err);
    } else if (status == IPCX_EOF) {
        status = ipcx_error_set(err, IPCX_PEER_CLOSED, 0, "send",
                                "the peer has said goodbye and did not receive the message");
    }
    return status;
}

ipcx_status ipcx__stream_await(ipcx__stream *self, uint64_t ticket, ipcx_deadline deadline,
                               ipcx_error *err)
{
    bool waited = false;
    ipcx_status status = IPCX_OK;
    if (atomic_load(&self->chan.owed) > 0) {
        (void)ipcx__stream_push_on(self); /* the rest of this very message, perhaps */
    }
    while (status == IPCX_OK) {
        uint32_t seen = ipcx__turn_look(&self->pump), room = ipcx__turn_look(&self->room);
        if (is_there(self, ticket)) {
            break;
        }
        if (atomic_load(&self->closing)) {
            status = ipcx__gate_closed("send", err);
            break;
        }
        status = await_step(self, ticket, seen, room, &waited, deadline, err);
    }
    if (waited) {
        ipcx__turn_pass(&self->pump);
    }
    return status;
}

ipcx_status ipcx__stream_drain(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__turn_take_by(&self->pump, &self->chan.gate, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    do {
        status = put_all(self, err);
        if (status == IPCX_MORE) {
            status = ipcx__stream_fill(self, SIZE_MAX, err);
        } else if (status == IPCX_OK) {
            break;
        }
    } while (status == IPCX_OK);
    ipcx__stream_leave_pump(self);
    return status == IPCX_AGAIN ? IPCX_OK : status;
}
