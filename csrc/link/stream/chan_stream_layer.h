/* SPDX-License-Identifier: Apache-2.0
 * What is between a stream channel's frames and its socket (ipcx/layer.h), for those of its parts
 * that read and write.
 * Invariant: ipcx__layer_* only where `layer` is not NULL. */
#ifndef IPCX_LINK_CHAN_STREAM_LAYER_H
#define IPCX_LINK_CHAN_STREAM_LAYER_H

#include "link/stream/chan_stream_unit.h"

/* ipcx__layer_read: as ipcx__stream_read; with pump. */
ssize_t ipcx__layer_read(ipcx__stream *self, void *room, size_t size);

/* ---- under tx */

/* ipcx__layer_write: what can be sealed and sent of `unit` at once. OK: all of it is out. */
ipcx_status ipcx__layer_write(ipcx__stream *self, ipcx__unit *unit);
/* ipcx__layer_first: what is sealed, which goes before what is owed. AGAIN: no room, or the
 * handshake is not done and something is owed. */
ipcx_status ipcx__layer_first(ipcx__stream *self);
/* ipcx__layer_keep: before the handshake is done a short unit becomes owed. */
ipcx_status ipcx__layer_keep(ipcx__stream *self, ipcx__unit *unit, ipcx_error *err);
/* ipcx__layer_interrupted: whether this thread has a signal's handlers to run, and is told now. */
static inline bool ipcx__layer_interrupted(ipcx__stream *self)
{
    uintptr_t me = (uintptr_t)pthread_self();
    return atomic_load(&self->interrupted) == me &&
           atomic_compare_exchange_strong(&self->interrupted, &me, 0);
}
bool ipcx__layer_is_stuck(ipcx__stream *self); /* bytes are sealed and find no room */

/* ---- with send_turn, or nothing */

/* ipcx__layer_secure: waits until the handshake is done; `leaving`:
 * goodbye does. */
ipcx_status ipcx__layer_secure(ipcx__stream *self, bool leaving, ipcx_deadline deadline,
                               ipcx_error *err);
/* ipcx__stream_await_room: with send_turn, layer or not: until a send is worth another try. */
ipcx_status ipcx__stream_await_room(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err);
/* ipcx__stream_broken: under tx: nothing can be sent any more, of errno `number`. */
ipcx_status ipcx__stream_broken(ipcx__stream *self, int number);
/* ipcx__layer_push_on: as ipcx__stream_push_on. finish: after BYE. */
bool ipcx__layer_push_on(ipcx__stream *self);
void ipcx__layer_finish(ipcx__stream *self);

#endif
