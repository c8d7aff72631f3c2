/* SPDX-License-Identifier: Apache-2.0
 * The handshake of a stream channel from within: HELLO, and the proof of a key where there is one.
 * Invariant: a comment says what the caller holds. */
#ifndef IPCX_LINK_CHAN_STREAM_PROVE_H
#define IPCX_LINK_CHAN_STREAM_PROVE_H

#include "link/stream/chan_stream_state.h"

/* ipcx__stream_greet: with nothing: sends our HELLO. NOMEM. */
ipcx_status ipcx__stream_greet(ipcx__stream *self, ipcx_error *err);

/* ipcx__stream_read_hello: with pump: no more than the frame that is due in a handshake: its header
 * first, which says how much that is. */
ipcx_status ipcx__stream_read_hello(ipcx__stream *self, ipcx_error *err);

/* ipcx__stream_stranger: with pump: judges the front frame of a peer that has not proven itself.
 * OK: go on. ipcx__stream_prove: waits until it has; with nothing. */
ipcx_status ipcx__stream_stranger(ipcx__stream *self);
ipcx_status ipcx__stream_prove(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err);

/* ipcx__stream_unguard: wipes the key; with pump, or alone. */
void ipcx__stream_unguard(ipcx__stream *self);

#endif
