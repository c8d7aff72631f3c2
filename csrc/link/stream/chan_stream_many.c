/* SPDX-License-Identifier: Apache-2.0
 * Many messages at a time: small ones are put together and leave in one system call.
 * Invariant: `taken` counts the messages of which a byte has left; of what was put together, the
 * rest of the frame that was cut is kept, the frames behind it were never begun. */
#include "ipcx/alloc.h"
#include "ipcx/endian.h"
#include "link/stream/chan_stream_parts.h"
#include "link/stream/chan_stream_prove.h"
#include "wire/frame.h"

#define ROOM ((size_t)65536)

/* Longer ones go on their own, without being copied. */
#define SHORT ((size_t)16384)

/* All bytes of the frame of ours that begins at `at`. */
static size_t frame_size(const uint8_t *at)
{
    unsigned flags = ipcx_endian_load16(at + 4);
    return (size_t)IPCX_FRAME_HEADER + (flags & IPCX_FRAME_CORRELATION ? 8u : 0u) +
           ipcx_endian_load16(at + 6) + ipcx_endian_load32(at + 8) +
           (flags & IPCX_FRAME_CRC ? 4u : 0u);
}

size_t ipcx__run_cut(const ipcx__unit *unit, size_t *frames)
{
    const uint8_t *at = unit->run, *sent = unit->piece[0].iov_base;
    size_t begun = 0;
    if (unit->pieces == 0) { /* all of it: the caller knows how many there are */
        return 0;
    }
    while (at < sent) {
        at += frame_size(at);
        begun++;
    }
    if (frames != NULL) {
        *frames = begun;
    }
    return (size_t)(at - sent);
}

/* Puts messages together from `messages` on; *used of them. OK also when the next one failed, as
 * long as there is one before it. */
static ipcx_status put_together(ipcx__stream *self, const ipcx_message *messages, size_t count,
                                ipcx__unit *unit, size_t *used, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    size_t size = 0;
    for (*used = 0; *used < count && messages[*used].size <= SHORT; (*used)++) {
        ipcx__unit one;
        if (messages[*used].flags & (IPCX_MESSAGE_END | IPCX_MESSAGE_SYNC)) {
            break;
        }
        if (size + messages[*used].size + IPCX__AROUND_MOST > ROOM) {
            break;
        }
        status = ipcx__stream_may_send(self, &messages[*used], err);
        if (status == IPCX_OK) {
            status = ipcx__stream_compose_small(self, &messages[*used], 0, self->scratch + size,
                                                &one, err);
        }
        if (status != IPCX_OK) {
            break;
        }
        size += one.left;
    }
    *unit = (ipcx__unit){
        .piece = {{self->scratch, size}}, .pieces = 1, .left = size, .run = self->scratch};
    return *used > 0 ? IPCX_OK : status;
}

/* With send_turn: those at the beginning that are short enough. *used 0: the first is not. */
static ipcx_status send_run(ipcx__stream *self, const ipcx_message *messages, size_t count,
                            ipcx_deadline deadline, size_t *used, ipcx_error *err)
{
    ipcx__unit unit;
    ipcx_status status;
    if (self->scratch == NULL) {
        self->scratch = ipcx_alloc(ROOM);
        if (self->scratch == NULL) {
            *used = 0;
            return ipcx_error_set(err, IPCX_NOMEM, 0, "send_many", "%zu bytes", ROOM);
        }
    }
    status = put_together(self, messages, count, &unit, used, err);
    if (status == IPCX_OK && *used > 0) {
        status = ipcx__stream_transmit(self, &unit, deadline, err);
        if (status != IPCX_OK) {
            *used = 0;
            (void)ipcx__run_cut(&unit, used);
        }
    }
    return status;
}

/* One that is too long to be copied, or that is not as it should be. */
static ipcx_status send_alone(ipcx__stream *self, const ipcx_message *message,
                              ipcx_deadline deadline, size_t *used, ipcx_error *err)
{
    ipcx_sending alone = {0};
    ipcx_status status;
    if (message->flags & IPCX_MESSAGE_SYNC) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "send_many", "none of many can be SYNC");
    }
    status = ipcx__stream_send(&self->chan, message, deadline, &alone, err);
    *used = status == IPCX_OK || alone.begun;
    return status;
}

ipcx_status ipcx__stream_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                                   ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    ipcx__stream *self = ipcx__stream_of(chan);
    ipcx_status status = IPCX_OK;
    if (sending->taken == count) { /* called again: the last of them may not be out yet */
        return ipcx__stream_flush(chan, deadline, err);
    }
    status = ipcx__stream_prove(self, deadline, err);
    while (status == IPCX_OK && sending->taken < count) {
        const ipcx_message *next = messages + sending->taken;
        size_t used = 0;
        status = ipcx__stream_take_send_turn(self, deadline, err);
        if (status != IPCX_OK) {
            break;
        }
        status = send_run(self, next, count - sending->taken, deadline, &used, err);
        ipcx__turn_leave(&self->send_turn);
        if (status == IPCX_OK && used == 0) {
            status = send_alone(self, next, deadline, &used, err);
        }
        sending->taken += used;
    }
    return ipcx__stream_sent(self, status, deadline, err);
}
