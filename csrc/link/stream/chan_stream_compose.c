/* SPDX-License-Identifier: Apache-2.0
 * Messages as frames: in pieces around the sender's own memory, or copied into one.
 * Invariant: what is composed points into its message, which outlives it. */
#include "link/stream/chan_stream_parts.h"
#include "wire/frame.h"

static ipcx_status compose(ipcx__stream *self, ipcx_frame *frame, ipcx__composed *to,
                           ipcx_error *err)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__MESSAGE_MAX};
    ipcx__unit *unit = &to->unit;
    ipcx_status status;
    if (self->chan.options.checksum) {
        frame->flags |= IPCX_FRAME_CRC;
    }
    status = ipcx_frame_encode(&framing, frame, &to->around, err);
    if (status == IPCX_OK) {
        unit->piece[0] = (struct iovec){to->around.head, to->around.head_size};
        unit->piece[1] = (struct iovec){(void *)(uintptr_t)frame->payload, frame->payload_size};
        unit->piece[2] = (struct iovec){to->around.tail, to->around.tail_size};
        unit->pieces = 3;
        unit->left = to->around.head_size + frame->payload_size + to->around.tail_size;
        unit->begun = false;
        unit->run = NULL;
    }
    return status;
}

static ipcx_frame frame_of(const ipcx_message *message, uint64_t ticket)
{
    unsigned flags = (message->flags & IPCX_MESSAGE_TEXT ? IPCX_FRAME_TEXT : 0) |
                     (ticket != 0 ? IPCX_FRAME_SYNC | IPCX_FRAME_CORRELATION : 0);
    return (ipcx_frame){.type = IPCX_FRAME_DATA,
                        .flags = (uint16_t)flags,
                        .correlation = ticket,
                        .payload = message->data,
                        .payload_size = message->size};
}

ipcx_status ipcx__stream_compose(ipcx__stream *self, const ipcx_message *message, uint64_t ticket,
                                 ipcx__composed *to, ipcx_error *err)
{
    ipcx_frame frame = frame_of(message, ticket);
    if (message->flags & IPCX_MESSAGE_END) {
        frame.type = IPCX_FRAME_HANDOVER;
        frame.payload = to->note;
        frame.payload_size = sizeof to->note;
    }
    return compose(self, &frame, to, err);
}

ipcx_status ipcx__stream_compose_small(ipcx__stream *self, const ipcx_message *message,
                                       uint64_t ticket, uint8_t *to, ipcx__unit *unit,
                                       ipcx_error *err)
{
    ipcx_frame frame = frame_of(message, ticket);
    ipcx_status status;
    if (self->chan.options.checksum) {
        frame.flags |= IPCX_FRAME_CRC;
    }
    status = ipcx__frame_write(&frame, to, &unit->left, err);
    unit->piece[0] = (struct iovec){to, unit->left};
    unit->pieces = 1;
    return status;
}

void ipcx__stream_compose_bye(ipcx__stream *self, ipcx__composed *to)
{
    ipcx_frame bye = {.type = IPCX_FRAME_BYE};
    to->unit = (ipcx__unit){0};
    (void)compose(self, &bye, to, NULL);
}
