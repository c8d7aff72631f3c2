/* SPDX-License-Identifier: Apache-2.0
 * The barrier. All changes happen under the guard; who waits sleeps on the number of the round.
 * Invariant (outside the guard): the count is the sum of the shares, each share the threads of that
 * process that wait in this round; a round that has ended left its outcome in a bit of `outcomes`.
 */
#include "ipcx/sync_wait.h"

#include <limits.h>

#include "os/sync/word.h"

#define OP "wait"
#define ROUNDS 32u /* that are remembered */

static uint32_t bit_of(uint32_t round)
{
    return 1u << (round % ROUNDS);
}

/* Ends the round, under the guard: nobody has come any more, the next one begins. */
static void end_round(ipcx_sync *self, bool all_came)
{
    ipcx__sync_memory *memory = self->memory;
    uint32_t round = atomic_load(&memory->value), used = atomic_load(&memory->used);
    if (all_came) {
        (void)atomic_fetch_or(&memory->outcomes, bit_of(round));
    } else {
        (void)atomic_fetch_and(&memory->outcomes, ~bit_of(round));
    }
    for (uint32_t i = 0; i < used && i < IPCX__SYNC_PLACES; i++) {
        atomic_store(&memory->places[i].share, 0);
    }
    atomic_store(&memory->count, 0);
    IPCX_CRASH_POINT("barrier-emptied");
    (void)atomic_fetch_add(&memory->value, 1);
    (void)ipcx__futex_wake(&memory->value, INT_MAX, IPCX__SHARED);
}

void ipcx__barrier_break(ipcx_sync *self)
{
    atomic_store(&self->memory->broken, 1);
    end_round(self, false);
}

static ipcx__place *my_place(const ipcx_sync *self)
{
    return &self->memory->places[atomic_load(&self->mine) - 1];
}

static ipcx_status broken(ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_BROKEN, 0, OP, "somebody died, or called abort() or reset()");
}

/* Under the guard. OK: *round is to be waited for, or *missing is 0 and it has ended. */
static ipcx_status come(ipcx_sync *self, uint32_t *round, uint32_t *missing, ipcx_error *err)
{
    ipcx__sync_memory *memory = self->memory;
    uint32_t count = atomic_load(&memory->count);
    if (atomic_load(&memory->broken) != 0) {
        return broken(err);
    }
    if (count >= self->total) {
        return ipcx__sync_scribbled(self, err);
    }
    *round = atomic_load(&memory->value);
    *missing = self->total - count - 1;
    atomic_store(&my_place(self)->party, 1);
    (void)atomic_fetch_add(&my_place(self)->share, 1);
    IPCX_CRASH_POINT("barrier-came");
    atomic_store(&memory->count, count + 1);
    if (*missing == 0) {
        end_round(self, true);
    }
    return IPCX_OK;
}

/* How the round has ended; `status` if it has not: then this one has not come. */
static ipcx_status go(ipcx_sync *self, uint32_t round, ipcx_status status, ipcx_error *err)
{
    ipcx__sync_memory *memory = self->memory;
    if (atomic_load(&memory->value) == round) {
        ipcx_status guarded = ipcx__sync_guard_soon(self, err);
        if (guarded == IPCX_CLOSED) {
            return status; /* the place goes too */
        }
        if (guarded != IPCX_OK) { /* it cannot be uncounted, so nobody shall count on it */
            atomic_store(&memory->broken, 1);
            return guarded == IPCX_CORRUPT ? guarded : broken(err);
        }
        if (atomic_load(&memory->value) == round) {
            (void)atomic_fetch_sub(&my_place(self)->share, 1);
            (void)atomic_fetch_sub(&memory->count, 1);
            ipcx__sync_unguard(self, atomic_load(&self->mine));
            return status;
        }
        ipcx__sync_unguard(self, atomic_load(&self->mine));
    }
    return (atomic_load(&memory->outcomes) & bit_of(round)) != 0 ? IPCX_OK : broken(err);
}

static ipcx_status wait_round(ipcx_sync *self, uint32_t round, ipcx_deadline deadline,
                              ipcx_error *err)
{
    int64_t begun = ipcx_clock_now();
    bool look = true;
    ipcx_status status = IPCX_OK;
    while (atomic_load(&self->memory->value) == round && status == IPCX_OK) {
        if (look) {
            ipcx__sync_sweep_all(self);
        }
        status = deadline == IPCX_NOW ? IPCX_AGAIN
                                      : ipcx__sync_sleep(self, &self->memory->value, round, begun,
                                                         deadline, &look, err);
    }
    return status == IPCX_INTR ? status : go(self, round, status, err);
}

static ipcx_status come_inside(ipcx_sync *self, ipcx_deadline deadline, uint32_t *round,
                               uint32_t *missing, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_expect(self, IPCX_BARRIER, err);
    if (status != IPCX_OK || (status = ipcx__sync_join(self, err)) != IPCX_OK ||
        (status = ipcx__sync_guard(self, deadline, err)) != IPCX_OK) {
        return status;
    }
    status = come(self, round, missing, err);
    ipcx__sync_unguard(self, atomic_load(&self->mine));
    return status;
}

ipcx_status ipcx__barrier_come(ipcx_sync *self, ipcx_deadline deadline, uint32_t *round,
                               uint32_t *missing, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = come_inside(self, deadline, round, missing, err);
    return ipcx__sync_leave(self, status, err);
}

ipcx_status ipcx__barrier_stay(ipcx_sync *self, uint32_t round, ipcx_deadline deadline,
                               ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = wait_round(self, round, deadline, err);
    return ipcx__sync_leave(self, status, err);
}

ipcx_status ipcx__barrier_leave(ipcx_sync *self, uint32_t round, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = go(self, round, IPCX_INTR, err);
    return ipcx__sync_leave(self, status, err);
}

void ipcx__barrier_quit(ipcx_sync *self, uint32_t as)
{
    ipcx__sync_memory *memory = self->memory;
    if (ipcx__sync_guard_spin(self, as)) {
        uint32_t share = atomic_exchange(&memory->places[as - 1].share, 0);
        uint32_t count = atomic_load(&memory->count);
        atomic_store(&memory->count, count > share ? count - share : 0);
        ipcx__sync_unguard(self, as);
    }
}

ipcx_status ipcx_barrier_wait(ipcx_sync *self, ipcx_deadline deadline, uint32_t *place,
                              ipcx_error *err)
{
    uint32_t round = 0, missing = 0;
    ipcx_status status = ipcx__barrier_come(self, deadline, &round, &missing, err);
    if (status == IPCX_OK && missing > 0) {
        status = ipcx__barrier_stay(self, round, deadline, err);
        if (status == IPCX_INTR) {
            status = ipcx__barrier_leave(self, round, err);
        }
    }
    if (status == IPCX_OK) {
        *place = missing;
    }
    return status;
}

static ipcx_status end_by_hand(ipcx_sync *self, uint32_t is_broken, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_BARRIER, err);
    if (status == IPCX_OK && (status = ipcx__sync_join(self, err)) == IPCX_OK &&
        (status = ipcx__sync_guard_soon(self, err)) == IPCX_OK) {
        if (is_broken == 0) {
            /* The dead are no parties of what begins now. */
            for (uint32_t i = 0; i < IPCX__SYNC_PLACES; i++) {
                atomic_store(&self->memory->places[i].party, 0);
            }
        }
        atomic_store(&self->memory->broken, is_broken);
        end_round(self, false);
        ipcx__sync_unguard(self, atomic_load(&self->mine));
    }
    return ipcx__sync_leave(self, status, err);
}

ipcx_status ipcx_barrier_abort(ipcx_sync *self, ipcx_error *err)
{
    return end_by_hand(self, 1, err);
}

ipcx_status ipcx_barrier_reset(ipcx_sync *self, ipcx_error *err)
{
    return end_by_hand(self, 0, err);
}

uint32_t ipcx_barrier_waiting(const ipcx_sync *self)
{
    return atomic_load(&self->memory->count);
}

uint32_t ipcx_barrier_parties(const ipcx_sync *self)
{
    return self->total;
}

int ipcx_barrier_is_broken(const ipcx_sync *self)
{
    return atomic_load(&self->memory->broken) != 0;
}
