/* SPDX-License-Identifier: Apache-2.0
 * The gate of an object that several threads use and one of them may close.
 * Whoever works on the descriptor is inside the gate; closing it turns newcomers away, wakes who
 * sleeps inside, and returns when the last one has left, so that the descriptor's number is never
 * reused under somebody's feet.
 *
 * {0} is an open gate with nobody inside. A gate owns no descriptor and needs none to wake a
 * sleeper: it sends that one thread a signal of its own (base/process.h), which ends the system
 * call with EINTR, as the JDK does. So a sleeper sits in the kernel's own blocking call, at no
 * cost. After fork(2) the child finds the gate empty: the parent's threads are not in it. */
#ifndef IPCX_GATE_H
#define IPCX_GATE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ipcx__sleeper;

/* To be embedded; its fields are the gate's own. */
typedef struct ipcx_gate {
    uint64_t word; /* fork generation, closed bit, number of calls inside */
    uint32_t lock; /* guards `sleepers`: fork generation and lock bit */
    struct ipcx__sleeper *sleepers;
} ipcx_gate;

#ifdef __cplusplus
}
#endif

#endif
