/* SPDX-License-Identifier: Apache-2.0
 * The short way of a small message: chan_stream_send.c for the case that nothing stands in its way.
 * It is what bench_local.py's row pipe-in-c measures, beside the kernel.
 * Invariant: whatever is not as usual is left to the long way, which finds everything as it was. */
#include <errno.h>
#include <string.h>

#include "ipcx/endian.h"
#include "link/stream/chan_stream_parts.h"
#include "os/gate.h"
#include "wire/frame.h"

/* As ipcx__stream_may_send finds out, and says what is wrong. */
static inline bool may_go(ipcx__stream *self, const ipcx_message *message)
{
    size_t size = message->size;
    return message->flags == 0 && size <= IPCX__SMALL && !self->chan.options.checksum &&
           self->layer == NULL && atomic_load(&self->greeted) && !atomic_load(&self->unproven) &&
           atomic_load(&self->over) == 0 && !atomic_load(&self->closing) &&
           !atomic_load(&self->said_bye) &&
           (atomic_load(&self->heard) || size <= atomic_load(&self->largest)) &&
           size <= atomic_load(&self->peer_limit) && self->puts;
}

/* With send_turn, of a message cut by the kernel: the rest goes the long way. */
static ipcx_status send_rest(ipcx__stream *self, uint8_t *rest, size_t size, ipcx_deadline deadline,
                             ipcx_sending *sending, ipcx_error *err)
{
    ipcx__unit unit = {.piece = {{rest, size}}, .pieces = 1, .left = size, .begun = true};
    ipcx_status status = ipcx__stream_transmit(self, &unit, deadline, err);
    if (status >= 0) {
        sending->begun = status != IPCX_OK;
        sending->ticket = self->message_end;
    }
    return status;
}

ipcx_status ipcx__stream_send_quick(ipcx__stream *self, const ipcx_message *message,
                                    ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    uint8_t frame[IPCX_FRAME_HEADER + IPCX__SMALL];
    size_t size = IPCX_FRAME_HEADER + message->size, sent = 0;
    bool alone = ipcx__single_threaded(); /* nobody to race with for tx, nor before we are out */
    ipcx_status status = IPCX_MORE;
    if (!may_go(self, message) || !ipcx__turn_take(&self->send_turn)) {
        return IPCX_MORE;
    }
    memcpy(frame, IPCX__PLAIN, 8);
    ipcx_endian_store32(frame + 8, (uint32_t)message->size);
    if (message->size > 0) {
        memcpy(frame + IPCX_FRAME_HEADER, message->data, message->size);
    }
    if (!alone) {
        (void)pthread_mutex_lock(&self->tx);
    }
    if (IPCX_LIKELY(ipcx__stream_is_clear(self))) {
        ssize_t n = ipcx__stream_put(self, frame, size);
        if (IPCX_LIKELY(n > 0)) {
            sent = (size_t)n;
            self->out += sent;
            self->message_end = self->out + size - sent;
            self->midway = sent < size;
            status = IPCX_OK;
        } else if (n < 0 && errno != EAGAIN) {
            status = ipcx__stream_broken(self, errno);
        } else if (n < 0 && deadline == IPCX_NOW) {
            ipcx__stream_glance(self);
            status = IPCX_AGAIN;
        }
    }
    if (!alone) {
        (void)pthread_mutex_unlock(&self->tx);
    }
    if (IPCX_UNLIKELY(status == IPCX_OK && sent < size)) {
        status = send_rest(self, frame + sent, size - sent, deadline, sending, err);
    }
    ipcx__turn_leave(&self->send_turn);
    return IPCX_LIKELY(status >= 0) ? status : ipcx__stream_sent(self, status, deadline, err);
}
