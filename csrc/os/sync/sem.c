/* SPDX-License-Identifier: Apache-2.0
 * The semaphore. A plain one is a counter: one instruction to take, one to give. An owned one keeps
 * each process's share in its place, so that a dead one's can be given back.
 * Invariant (owned, outside the guard): free permits and all shares together are what there was at
 * the start; the shares are the truth, so who dies in between leaves a count that can be made anew.
 */
#include "os/sync/word.h"

#define OP "acquire"

/* Takes a free permit. CORRUPT: more than there can be. */
static ipcx_status take(ipcx_sync *self, ipcx_error *err)
{
    _Atomic uint32_t *value = &self->memory->value;
    uint32_t seen = atomic_load_explicit(value, memory_order_relaxed);
    do {
        if (seen == 0) {
            return IPCX_AGAIN;
        }
        if (seen > self->limit) {
            return ipcx__sync_scribbled(self, err);
        }
    } while (!atomic_compare_exchange_weak(value, &seen, seen - 1));
    return IPCX_OK;
}

static ipcx__place *my_place(const ipcx_sync *self)
{
    return &self->memory->places[atomic_load(&self->mine) - 1];
}

void ipcx__sem_repair(ipcx_sync *self)
{
    uint32_t sum = 0, free_now;
    (void)ipcx__sync_sum(self, &sum);
    free_now = sum < self->total ? self->total - sum : 0;
    atomic_store(&self->memory->value, free_now);
    if (free_now > 0 && atomic_load(&self->memory->waiters) != 0) {
        (void)ipcx__futex_wake(&self->memory->value, (int)free_now, IPCX__SHARED);
    }
}

static ipcx_status take_owned(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_guard(self, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = take(self, err);
    IPCX_CRASH_POINT("sem-taken");
    if (status == IPCX_OK) {
        (void)atomic_fetch_add(&my_place(self)->share, 1);
    }
    IPCX_CRASH_POINT("sem-shared");
    ipcx__sync_unguard(self, atomic_load(&self->mine));
    return status;
}

bool ipcx__sem_try_owned(ipcx_sync *self)
{
    uint32_t mine = atomic_load(&self->mine);
    bool taken = false;
    if (!self->owned || mine == 0 || !ipcx__gate_enter(&self->gate)) {
        return false;
    }
    if (ipcx__sync_guard_spin(self, mine)) {
        taken = take(self, NULL) == IPCX_OK;
        if (taken) {
            (void)atomic_fetch_add(&my_place(self)->share, 1);
        }
        ipcx__sync_unguard(self, mine);
    }
    ipcx__gate_leave(&self->gate);
    return taken;
}

static ipcx_status try_take(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    return self->owned ? take_owned(self, deadline, err) : take(self, err);
}

static ipcx_status wait_slowly(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    int64_t begun = ipcx_clock_now();
    bool look = deadline == IPCX_NOW;
    ipcx_status status = self->owned ? ipcx__sync_join(self, err) : IPCX_OK;
    if (status != IPCX_OK || (status = try_take(self, deadline, err)) != IPCX_AGAIN) {
        return status;
    }
    (void)atomic_fetch_add(&self->memory->waiters, 1);
    for (;;) {
        if (look && self->owned) {
            ipcx__sync_sweep_all(self);
        }
        status = try_take(self, deadline, err);
        if (status != IPCX_AGAIN || deadline == IPCX_NOW) {
            break;
        }
        status = ipcx__sync_sleep(self, &self->memory->value, 0, begun, deadline, &look, err);
        if (status != IPCX_OK) {
            break;
        }
    }
    (void)atomic_fetch_sub(&self->memory->waiters, 1);
    return status;
}

ipcx_status ipcx_sem_wait(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status;
    if (IPCX_LIKELY(ipcx__sem_try(self))) {
        return IPCX_OK;
    }
    if ((status = ipcx__sync_enter(self, err)) != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_SEMAPHORE, err);
    if (status == IPCX_OK) {
        status = wait_slowly(self, deadline, err);
    }
    return ipcx__sync_leave(self, status, err);
}

static ipcx_status give(ipcx_sync *self, uint32_t n, ipcx_error *err)
{
    _Atomic uint32_t *value = &self->memory->value;
    uint32_t seen = atomic_load_explicit(value, memory_order_relaxed);
    do {
        if (seen > self->limit) {
            return ipcx__sync_scribbled(self, err);
        }
        if (n > self->limit - seen) {
            return ipcx_error_set(err, IPCX_INVALID, 0, "release",
                                  "%u free of at most %u: it was released more often than acquired",
                                  seen, self->limit);
        }
    } while (!atomic_compare_exchange_weak(value, &seen, seen + n));
    return IPCX_OK;
}

static ipcx_status give_owned(ipcx_sync *self, uint32_t n, ipcx_error *err)
{
    ipcx__place *place;
    ipcx_status status = ipcx__sync_join(self, err);
    if (status != IPCX_OK || (status = ipcx__sync_guard_soon(self, err)) != IPCX_OK) {
        return status;
    }
    place = my_place(self);
    if (atomic_load(&place->share) < n) {
        status = ipcx_error_set(err, IPCX_NOT_OWNER, 0, "release", "this process has %u of them",
                                atomic_load(&place->share));
    } else {
        (void)atomic_fetch_sub(&place->share, n);
        IPCX_CRASH_POINT("sem-unshared");
        if (give(self, n, NULL) != IPCX_OK) {
            ipcx__sem_repair(self); /* somebody wrote over the count; the shares are the truth */
        }
    }
    ipcx__sync_unguard(self, atomic_load(&self->mine));
    return status;
}

ipcx_status ipcx_sem_post(ipcx_sync *self, uint32_t n, ipcx_error *err)
{
    ipcx_status status;
    if (IPCX_LIKELY(n == 1 && ipcx__sem_give(self))) {
        return IPCX_OK;
    }
    status = self->owned ? ipcx__sync_enter(self, err) : ipcx__sync_is_open(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_SEMAPHORE, err);
    if (status == IPCX_OK) {
        status = self->owned ? give_owned(self, n, err) : give(self, n, err);
    }
    if (status == IPCX_OK && atomic_load(&self->memory->waiters) != 0) {
        (void)ipcx__futex_wake(&self->memory->value, n < INT32_MAX ? (int)n : INT32_MAX,
                               IPCX__SHARED);
    }
    return self->owned ? ipcx__sync_leave(self, status, err) : ipcx__sync_whole(self, status, err);
}

uint32_t ipcx_sem_value(const ipcx_sync *self)
{
    return atomic_load(&self->memory->value);
}
