/* SPDX-License-Identifier: Apache-2.0
 * The queues of those who wait in a mux, and its one timer (mux_clock.c).
 * Invariant: every function is called with the mux's lock. */
#ifndef IPCX_LINK_MUX_CLOCK_H
#define IPCX_LINK_MUX_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "ipcx/mux.h"

/* Who waits for how long; all in one queue wait equally long, so the oldest is the first to go. */
typedef struct ipcx__wait {
    struct ipcx__wait *older, *newer;
    struct ipcx__waits *queue; /* NULL: in none */
    ipcx_mux_peer *peer;
    ipcx_deadline until;
} ipcx__wait;

typedef struct ipcx__waits {
    ipcx__wait *oldest, *newest;
    int64_t span; /* 0: nobody waits here */
} ipcx__waits;

/* Into a queue, with its whole time again, if it has one; out of it. */
void ipcx__wait_in(ipcx_mux *self, ipcx__waits *queue, ipcx__wait *wait);
void ipcx__wait_out(ipcx__wait *wait);
void ipcx__mux_arm(ipcx_mux *self, ipcx_deadline when);
/* ipcx__mux_rang: the timer did: with the turn. */
void ipcx__mux_rang(ipcx_mux *self);

/* ipcx__mux_has_sent: whether there is something of it to be read. */
bool ipcx__mux_has_sent(const ipcx_mux_peer *peer);
/* ipcx__mux_attend: something goes to a tcp peer that is in no queue of its host's. */
void ipcx__mux_attend(ipcx_mux_peer *peer);
/* For who waits for peers outside next. ipcx__mux_vanished: whether a peer's host has;
 * ipcx__mux_next_look: when to look again, IPCX_FOREVER where nobody does. */
bool ipcx__mux_vanished(const ipcx_mux_peer *peer);
ipcx_deadline ipcx__mux_next_look(const ipcx_mux *self);
#define IPCX__MUX_VANISHED "its host has vanished: nothing was heard from it for too long"

#endif
