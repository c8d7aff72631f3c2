/* SPDX-License-Identifier: Apache-2.0
 * A turn: one thread at a time has it, may sleep while it has it, and the others wait for theirs
 * with a deadline, at a gate, so that close() wakes them. Who has it can also tell the waiting ones
 * that something they wait for has happened, while it keeps the turn.
 *
 *     for (;;) {
 *         uint32_t seen = ipcx__turn_look(&turn);           first look, then see whether …
 *         if (it has happened) { … }                        … there is anything to wait for
 *         if (ipcx__turn_take(&turn)) { … ipcx__turn_leave(&turn); }
 *         status = ipcx__turn_wait(&turn, gate, seen, deadline, err);
 *     }
 * Invariant: while somebody waits and nobody has the turn, somebody is awake who will look: a wake
 * that meets a thread which goes away without taking its turn is passed on (ipcx__turn_pass). */
#ifndef IPCX_OS_TURN_H
#define IPCX_OS_TURN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"
#include "os/gate.h"

/* {0} is a turn that nobody has. */
typedef struct ipcx__turn {
    _Atomic uint32_t word; /* taken, waited for, and a count of what was told */
} ipcx__turn;

#define IPCX__TURN_TAKEN 1u
#define IPCX__TURN_WAITED 2u
#define IPCX__TURN_TOLD 4u

/* ipcx__turn_take: true: it is ours. Never waits. */
static inline bool ipcx__turn_take(ipcx__turn *turn)
{
    uint32_t word = atomic_load_explicit(&turn->word, memory_order_relaxed);
    while ((word & IPCX__TURN_TAKEN) == 0) {
        if (ipcx__single_threaded()) { /* nobody to race with */
            atomic_store_explicit(&turn->word, word | IPCX__TURN_TAKEN, memory_order_relaxed);
            return true;
        }
        if (atomic_compare_exchange_weak(&turn->word, &word, word | IPCX__TURN_TAKEN)) {
            return true;
        }
    }
    return false;
}

/* ipcx__turn_leave: gives the turn back and wakes one who waits. */
void ipcx__turn_leave_shared(ipcx__turn *turn);
static inline void ipcx__turn_leave(ipcx__turn *turn)
{
    if (ipcx__single_threaded()) {
        uint32_t word = atomic_load_explicit(&turn->word, memory_order_relaxed);
        atomic_store_explicit(&turn->word, word & ~(IPCX__TURN_TAKEN | IPCX__TURN_WAITED),
                              memory_order_relaxed);
    } else {
        ipcx__turn_leave_shared(turn);
    }
}

/* ipcx__turn_look: what was told so far, for ipcx__turn_wait. */
static inline uint32_t ipcx__turn_look(const ipcx__turn *turn)
{
    return atomic_load(&turn->word);
}

/* ipcx__turn_tell: wakes all who wait: look again. Anybody may tell. */
void ipcx__turn_tell(ipcx__turn *turn);

/* ipcx__turn_wait: sleeps, inside the gate, as long as the turn is taken and nothing was told since
 * `seen`. OK: look again. AGAIN (IPCX_NOW) · TIMEOUT · INTR · CLOSED. Who has got an OK and goes
 * away without having taken its turn calls ipcx__turn_pass. */
ipcx_status ipcx__turn_wait(ipcx__turn *turn, ipcx_gate *gate, uint32_t seen,
                            ipcx_deadline deadline, ipcx_error *err);
void ipcx__turn_pass(ipcx__turn *turn);

/* ipcx__turn_wait_told: the same for what is told alone, whoever has the turn. */
ipcx_status ipcx__turn_wait_told(ipcx__turn *turn, ipcx_gate *gate, uint32_t seen,
                                 ipcx_deadline deadline, ipcx_error *err);

/* ipcx__turn_take_by: takes it, or waits for it. */
ipcx_status ipcx__turn_take_by(ipcx__turn *turn, ipcx_gate *gate, ipcx_deadline deadline,
                               ipcx_error *err);

#endif
