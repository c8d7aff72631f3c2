/* SPDX-License-Identifier: Apache-2.0
 * The gate of an object that several threads use and one of them may close.
 * Whoever works on the descriptor is inside the gate; whoever waits for it waits at the gate; closing
 * the gate wakes the waiters, turns newcomers away and returns when the last one has left, so that
 * the descriptor's number is never reused under somebody's feet.
 *
 * {0} is an open gate with nobody inside. A gate owns no descriptor; a waiter owns one eventfd(2)
 * for as long as it waits, and none at all in a process that has a single thread.
 * After fork(2) the child finds the gate empty: the parent's threads are not in it. */
#ifndef IPCX_GATE_H
#define IPCX_GATE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ipcx__waiter;

/* To be embedded; its fields are the gate's own. */
typedef struct ipcx_gate {
    uint32_t word;       /* IPCX__GATE_CLOSED, and the number of calls inside */
    uint32_t generation; /* the fork generation that `word` and `waiters` belong to */
    uint32_t lock;       /* guards `waiters`; held for a few instructions */
    struct ipcx__waiter *waiters;
} ipcx_gate;

#ifdef __cplusplus
}
#endif

#endif
