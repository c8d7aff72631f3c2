/* SPDX-License-Identifier: Apache-2.0
 * A message on its way out: as a frame, in pieces or in one, and the system calls it leaves by.
 * Invariant: a unit borrows its bytes from its sender, who has send_turn for as long. */
#ifndef IPCX_LINK_CHAN_STREAM_UNIT_H
#define IPCX_LINK_CHAN_STREAM_UNIT_H

#include "link/stream/chan_stream_state.h"

/* So much is copied to stand in one piece: cheaper than a list of pieces for the kernel. */
#define IPCX__SMALL 2048

/* Bytes on their way out, borrowed from their sender. */
typedef struct ipcx__unit {
    struct iovec piece[3]; /* what is left of it */
    int pieces;
    size_t left;
    int fds[IPCX__END_FDS], fd_count; /* go with the first byte */
    bool begun;                       /* a byte has left */
    const uint8_t *run; /* where it is many frames in one piece: the first byte of all */
} ipcx__unit;

/* A message as it goes out. Its pieces point into it. */
typedef struct ipcx__composed {
    ipcx_envelope around;
    uint8_t note[32]; /* HANDOVER's payload */
    ipcx__unit unit;
} ipcx__composed;

/* ---- chan_stream_io.c; system calls that never wait */

/* ipcx__stream_write: the beginning of `unit`; ipcx__unit_skip takes off what was written. */
ssize_t ipcx__stream_write(ipcx__stream *self, const ipcx__unit *unit);
/* ipcx__stream_put: a little, where `puts`. */
ssize_t ipcx__stream_put(ipcx__stream *self, const void *bytes, size_t size);
void ipcx__unit_skip(ipcx__unit *unit, size_t sent);

/* ---- chan_stream_quick.c; with nothing */

/* ipcx__stream_send_quick: a small message that nothing stands in the way of, in one system call.
 * OK. AGAIN (IPCX_NOW). MORE: it is to go the long way; nothing has happened. */
ipcx_status ipcx__stream_send_quick(ipcx__stream *self, const ipcx_message *message,
                                    ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err);

/* ---- chan_stream_compose.c; with send_turn */

/* ipcx__stream_compose: `message` as a frame; with a `ticket` a SYNC one. small: copied in one
 * piece into `to`, with room for IPCX__AROUND_MOST bytes more than the message; not for an END. */
ipcx_status ipcx__stream_compose(ipcx__stream *self, const ipcx_message *message, uint64_t ticket,
                                 ipcx__composed *to, ipcx_error *err);
ipcx_status ipcx__stream_compose_small(ipcx__stream *self, const ipcx_message *message,
                                       uint64_t ticket, uint8_t *to, ipcx__unit *unit,
                                       ipcx_error *err);
void ipcx__stream_compose_bye(ipcx__stream *self, ipcx__composed *to);

#endif
