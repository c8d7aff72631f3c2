/* SPDX-License-Identifier: Apache-2.0
 * A mux from within: what its files do for each other.
 * Invariant: every function is called with the mux's lock, unless it says otherwise. */
#ifndef IPCX_LINK_MUX_PARTS_H
#define IPCX_LINK_MUX_PARTS_H

#include "link/mux/mux_state.h"

/* mux_peer.c: a peer's coming and going. ipcx__mux_come: a new one without descriptor, or NULL;
 * ipcx__mux_enter: with one it is among `peers`, under ipcx__own_lock. */
ipcx_mux_peer *ipcx__mux_come(ipcx_mux *self, uint32_t door);
void ipcx__mux_enter(ipcx_mux_peer *peer);
/* ipcx__mux_doom: ends it from any thread. ipcx__mux_leave: with the turn: closes it. */
void ipcx__mux_doom(ipcx_mux_peer *peer, ipcx_status why, const char *reason);
void ipcx__mux_leave(ipcx_mux_peer *peer, ipcx_status why, const char *reason);
void ipcx__mux_unpin(ipcx_mux_peer *peer);
/* ipcx__mux_bury: with the turn: forgets who has gone and was announced; `all`: whoever has. */
void ipcx__mux_bury(ipcx_mux *self, bool all);
/* ipcx__mux_watch: tells epoll what is wanted of the peer now. */
void ipcx__mux_watch(ipcx_mux_peer *peer);

/* mux_accept.c: with the turn. SYSTEM, else OK. */
ipcx_status ipcx__mux_welcome(ipcx_mux *self, ipcx__door *door, ipcx_error *err);
void ipcx__mux_unmute(ipcx_mux *self);
/* ipcx__mux_challenge: where there is a key: greets the peer with a challenge of its own. */
bool ipcx__mux_challenge(ipcx_mux_peer *peer);
/* ipcx__mux_unguard: wipes its proof; with nothing, for who has it last. */
void ipcx__mux_unguard(ipcx_mux_peer *peer);

/* mux_receive.c: with the turn: reads what has come. MORE: the batch is full. NOMEM. */
ipcx_status ipcx__mux_receive(ipcx_mux_peer *peer);
/* ipcx__mux_event: a place for one more, or NULL. Without `lock` too. */
ipcx_mux_event *ipcx__mux_event_add(ipcx_mux *self);
bool ipcx__mux_event_room(ipcx_mux *self, size_t more);

/* mux_send.c: our HELLO, to who was sent nothing yet; to all those who have joined. */
void ipcx__mux_greet(ipcx_mux_peer *peer);
void ipcx__mux_greet_all(ipcx_mux *self);
/* A frame of our own; sends what is queued. */
void ipcx__mux_control(ipcx_mux_peer *peer, const ipcx_frame *frame);
void ipcx__mux_flush(ipcx_mux_peer *peer);
/* ipcx__mux_owes: whether anything waits to be sent. */
bool ipcx__mux_owes(const ipcx_mux_peer *peer);
/* ipcx__mux_bye: joined, and no longer: what is queued, then goodbye. */
void ipcx__mux_bye(ipcx_mux_peer *peer);

/* mux_memory.c: a held one with room for `cap` bytes, or NULL and nothing has changed; without
 * `lock`, too. ipcx__mux_spare: drops whoever has most, while there is too much. */
size_t ipcx__mux_memory_sane(void);
ipcx__held *ipcx__held_grow(ipcx_mux *self, ipcx__held *held, size_t cap);
void ipcx__held_free(ipcx_mux *self, ipcx__held *held);
void ipcx__mux_spare(ipcx_mux *self);

/* mux_ask.c: answers a REQUEST. PROTOCOL: it is none. EOF: the peer goes. */
ipcx_status ipcx__mux_answer(ipcx_mux_peer *peer, const ipcx_frame *request);

/* mux_close.c: whether its kernel has confirmed all that has gone to it. */
bool ipcx__mux_confirmed(const ipcx_mux_peer *peer);

/* mux.c: CLOSED, FORKED, or OK inside the gate. Without `lock`. */
ipcx_status ipcx__mux_enter_gate(ipcx_mux *self, const char *op, ipcx_error *err);

#endif
