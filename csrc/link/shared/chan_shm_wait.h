/* SPDX-License-Identifier: Apache-2.0
 * Waiting for the peer and waking it: chan_shm_wait.c sleeps and spins, chan_shm_bell.c rings,
 * listens and knows whether the peer is there.
 * How an end is woken says its own wait word: by an eventfd that both ends share, by a byte on the
 * socket where they do not trust each other, or by futex(2) where the kernel gives no epoll.
 * Invariant: whoever takes a bit away from a wait word wakes its owner; whoever sleeps has
 * announced itself and then looked once more. */
#ifndef IPCX_LINK_CHAN_SHM_WAIT_H
#define IPCX_LINK_CHAN_SHM_WAIT_H

#include "link/shared/chan_shm_parts.h"

/* ---- chan_shm_wait.c */
/* What a thread may wait for: data, be it the front of a message only; room for a message; or that
 * the consumer is past `at`. */
typedef struct ipcx__shm_wish {
    bool data, front; /* in a thread that has the rx turn */
    bool room;        /* in a thread that has the tx turn */
    bool plenty;      /* with `room`: more than is needed, so not now or never */
    uint64_t size, at;
} ipcx__shm_wish;
ipcx_status ipcx__shm_wait_space(ipcx__shm *self, const ipcx__shm_wish *wish,
                                 ipcx_deadline deadline, ipcx_error *err);
/* With the rx turn: data or the peer's end may be there (OK: look again, turn kept), or it slept
 * and has left the turn (MORE: take it and look again); TIMEOUT, INTR, CLOSED: turn left. INTR also
 * after many wakes for nothing: a peer that rings without end must not keep Ctrl-C out. */
ipcx_status ipcx__shm_wait_data(ipcx__shm *self, bool front, ipcx_deadline deadline,
                                ipcx_error *err);
/* With the rx turn, which is kept: OK: look again; AGAIN: staying awake is not worth it any more.
 */
ipcx_status ipcx__shm_stay_awake(ipcx__shm *self);
/* One look at what does not come, awake: true after as long as staying awake is worth it. {0}. */
typedef struct ipcx__shm_stall {
    int64_t since;
    unsigned looks;
} ipcx__shm_stall;
bool ipcx__shm_stalled(ipcx__shm_stall *stall);
void ipcx__shm_settle(ipcx__shm *self);
void ipcx__shm_say_cpu(ipcx__shm *self);

/* ---- chan_shm_bell.c */
/* The peer may look: data were published; places were freed; `bye` was said. */
void ipcx__shm_tell_data(ipcx__shm *self);
void ipcx__shm_tell_space(ipcx__shm *self);
void ipcx__shm_tell_end(ipcx__shm *self);
/* Who sleeps at this end wakes up. */
void ipcx__shm_ring_self(ipcx__shm *self);
void ipcx__shm_fill(ipcx__shm *self);
/* The two epolls, made when they are first wanted: OK, and -1 where there is none to be had. */
ipcx_status ipcx__shm_data_epoll(ipcx__shm *self, ipcx_error *err);
ipcx_status ipcx__shm_space_epoll(ipcx__shm *self, ipcx_error *err);
/* One sleep there, at most to the deadline, after `bit` was announced. *rang: an edge was taken. */
ipcx_status ipcx__shm_sleep(ipcx__shm *self, int epoll, uint32_t bit, ipcx_deadline deadline,
                            bool *rang, ipcx_error *err);
/* Takes the edges that are there. */
void ipcx__shm_hear(ipcx__shm *self);
/* Whether the peer has gone (asks the kernel now and then, or `now`); whether it takes messages. */
bool ipcx__shm_peer_gone(ipcx__shm *self, bool now);
ipcx_status ipcx__shm_peer_takes(ipcx__shm *self, ipcx_error *err);

#endif
