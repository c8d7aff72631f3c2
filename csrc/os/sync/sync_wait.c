/* SPDX-License-Identifier: Apache-2.0
 * Conditions and events: words that change, and who sleeps until they do. Nobody holds anything in
 * them, so nobody's death matters; a condition's mutex is a mutex.
 * Invariant: a condition's sequence number is read while its mutex is held, so a notification that
 * comes after that changes it. */
#include "ipcx/sync_wait.h"

#include <limits.h>

#include "os/sync/word.h"

/* ---- conditions */

uint32_t ipcx_cond_sequence(const ipcx_sync *self)
{
    return atomic_load(&self->memory->sequence);
}

static ipcx_status wait_from(ipcx_sync *self, uint32_t sequence, ipcx_deadline deadline,
                             ipcx_error *err)
{
    int64_t begun = ipcx_clock_now();
    bool look;
    while (atomic_load(&self->memory->sequence) == sequence) {
        ipcx_status status = deadline == IPCX_NOW
                                 ? IPCX_AGAIN
                                 : ipcx__sync_sleep(self, &self->memory->sequence, sequence, begun,
                                                    deadline, &look, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    return IPCX_OK;
}

ipcx_status ipcx_cond_wait_from(ipcx_sync *self, uint32_t sequence, ipcx_deadline deadline,
                                ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_CONDITION, err);
    if (status == IPCX_OK) {
        status = wait_from(self, sequence, deadline, err);
    }
    return ipcx__sync_leave(self, status, err);
}

ipcx_status ipcx_cond_wait(ipcx_sync *self, ipcx_sync *mutex, ipcx_deadline deadline,
                           ipcx_error *err)
{
    uint32_t sequence = ipcx_cond_sequence(self);
    ipcx_status status = ipcx_mutex_unlock(mutex, err), again;
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx_cond_wait_from(self, sequence, deadline, err);
    do {
        again = ipcx_mutex_lock(mutex, IPCX_FOREVER, err);
    } while (again == IPCX_INTR);
    return again != IPCX_OK ? again : status;
}

ipcx_status ipcx_cond_notify(ipcx_sync *self, uint32_t n, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_is_open(self, err);
    if (status == IPCX_OK && (status = ipcx__sync_expect(self, IPCX_CONDITION, err)) == IPCX_OK &&
        n > 0) {
        (void)atomic_fetch_add(&self->memory->sequence, 1);
        (void)ipcx__futex_wake(&self->memory->sequence, n < INT_MAX ? (int)n : INT_MAX,
                               IPCX__SHARED);
    }
    return ipcx__sync_whole(self, status, err);
}

/* ---- events */

#define SET 1u
#define WAITED 2u /* somebody sleeps, or did */

static ipcx_status to_event(const ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_is_open(self, err);
    return status == IPCX_OK ? ipcx__sync_expect(self, IPCX_EVENT, err) : status;
}

ipcx_status ipcx_event_set(ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = to_event(self, err);
    if (status == IPCX_OK && (atomic_exchange(&self->memory->value, SET) & WAITED) != 0) {
        (void)ipcx__futex_wake(&self->memory->value, INT_MAX, IPCX__SHARED);
    }
    return ipcx__sync_whole(self, status, err);
}

ipcx_status ipcx_event_clear(ipcx_sync *self, ipcx_error *err)
{
    ipcx_status status = to_event(self, err);
    if (status == IPCX_OK) {
        (void)atomic_fetch_and(&self->memory->value, ~SET);
    }
    return ipcx__sync_whole(self, status, err);
}

int ipcx_event_is_set(const ipcx_sync *self)
{
    return (atomic_load(&self->memory->value) & SET) != 0;
}

static ipcx_status wait_event(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    _Atomic uint32_t *value = &self->memory->value;
    int64_t begun = ipcx_clock_now();
    ipcx_status status = IPCX_OK;
    bool look;
    while (status == IPCX_OK) {
        uint32_t seen = atomic_load(value);
        if ((seen & SET) != 0) {
            return IPCX_OK;
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        if ((seen & WAITED) != 0 || atomic_compare_exchange_strong(value, &seen, seen | WAITED)) {
            status = ipcx__sync_sleep(self, value, seen | WAITED, begun, deadline, &look, err);
        }
    }
    return status;
}

ipcx_status ipcx_event_wait(ipcx_sync *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = ipcx__sync_enter(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__sync_expect(self, IPCX_EVENT, err);
    if (status == IPCX_OK) {
        status = wait_event(self, deadline, err);
    }
    return ipcx__sync_leave(self, status, err);
}
