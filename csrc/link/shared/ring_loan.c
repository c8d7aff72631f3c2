/* SPDX-License-Identifier: Apache-2.0
 * The lent places of ring_loan.h.
 * Invariant: a slot is taken and freed under the turn; its owner alone says, by one atomic store,
 * that it has done with it. */
#include <assert.h>

#include "base/crash.h"
#include "link/shared/ring.h"

enum { FREE, OUT, DONE };

/* 1 + the number of a slot for that place; 0: all are in use. */
static unsigned take_slot(ipcx__ring_slots *slots, uint64_t at, uint64_t end)
{
    for (unsigned i = 0; i < IPCX__RING_SLOTS; i++) {
        if (atomic_load_explicit(&slots->slot[i].state, memory_order_acquire) == FREE) {
            slots->slot[i].at = at;
            slots->slot[i].end = end;
            atomic_store_explicit(&slots->slot[i].state, OUT, memory_order_relaxed);
            slots->used++;
            return i + 1;
        }
    }
    return 0;
}

static void free_slot(ipcx__ring_slots *slots, unsigned slot)
{
    atomic_store_explicit(&slots->slot[slot - 1].state, FREE, memory_order_relaxed);
    slots->used--;
    if (slots->open == slot) {
        slots->open = 0;
    }
}

/* The earlier of `cursor` and the lent places. */
static uint64_t oldest(const ipcx__ring_slots *slots, uint64_t cursor)
{
    for (unsigned i = 0; i < IPCX__RING_SLOTS; i++) {
        if (atomic_load_explicit(&slots->slot[i].state, memory_order_acquire) != FREE &&
            (int64_t)(slots->slot[i].at - cursor) < 0) {
            cursor = slots->slot[i].at;
        }
    }
    return cursor;
}

/* ---- the producer */

static void sweep(ipcx__ring_slots *slots)
{
    for (unsigned i = 0; i < IPCX__RING_SLOTS; i++) {
        if (atomic_load_explicit(&slots->slot[i].state, memory_order_acquire) == DONE) {
            free_slot(slots, i + 1);
        }
    }
}

uint64_t ipcx__ring_floor(ipcx__ring_tx *tx)
{
    uint64_t floor = tx->head;
    if (IPCX_UNLIKELY(tx->slots.used != 0)) {
        sweep(&tx->slots);
        floor = oldest(&tx->slots, tx->head);
    }
    return floor;
}

bool ipcx__ring_kept_by(ipcx__ring_tx *tx, uint64_t owner)
{
    uint64_t floor = ipcx__ring_floor(tx);
    for (unsigned i = 0; floor != tx->head && i < IPCX__RING_SLOTS; i++) {
        if (atomic_load_explicit(&tx->slots.slot[i].state, memory_order_acquire) == OUT &&
            tx->slots.slot[i].at == floor) {
            return tx->slots.slot[i].owner == owner;
        }
    }
    return false;
}

void ipcx__ring_overtake(ipcx__ring_tx *tx)
{
    ipcx__ring_slots *slots = &tx->slots;
    sweep(slots);
    if (slots->open != 0) {
        uint64_t at = slots->slot[slots->open - 1].at, end = slots->slot[slots->open - 1].end;
        slots->open = 0;
        tx->skip = at - tx->tail;
        tx->room = end - at;
        ipcx__ring_commit(tx, end - at - IPCX__RING_HEADER, IPCX__RING_PAD);
        IPCX_CRASH_POINT("loan: overtaken");
    }
}

ipcx_status ipcx__ring_lend(ipcx__ring_tx *tx, uint64_t size, unsigned *slot, uint8_t **room)
{
    ipcx_status status = ipcx__ring_reserve(tx, size, room);
    uint64_t at;
    if (status != IPCX_OK) {
        return status;
    }
    at = tx->tail + tx->skip;
    sweep(&tx->slots);
    *slot = take_slot(&tx->slots, at, at + IPCX__RING_HEADER + ((size + 7) & ~UINT64_C(7)));
    tx->slots.open = *slot;
    IPCX_CRASH_POINT("loan: lent");
    return *slot != 0 ? IPCX_OK : IPCX_TOO_LARGE;
}

bool ipcx__ring_commit_lent(ipcx__ring_tx *tx, unsigned slot, uint64_t size, unsigned flags)
{
    uint64_t at = tx->slots.slot[slot - 1].at, end = tx->slots.slot[slot - 1].end;
    if (tx->slots.open != slot) {
        return false;
    }
    tx->skip = at - tx->tail;
    tx->room = end - at - IPCX__RING_HEADER;
    ipcx__ring_commit(tx, size, flags);
    free_slot(&tx->slots, slot);
    return true;
}

void ipcx__ring_done(ipcx__ring_tx *tx, unsigned slot)
{
    atomic_store_explicit(&tx->slots.slot[slot - 1].state, DONE, memory_order_seq_cst);
}

bool ipcx__ring_shrink(ipcx__ring_tx *tx, uint64_t *at)
{
    sweep(&tx->slots);
    if (tx->slots.used != 0 || tx->limit <= IPCX__RING_LIMIT || tx->published != tx->tail ||
        atomic_load_explicit(&tx->words->head, memory_order_seq_cst) != tx->tail) {
        return false;
    }
    tx->limit = IPCX__RING_LIMIT;
    *at = tx->tail & (tx->size - 1);
    return true;
}

/* ---- the consumer */

uint64_t ipcx__ring_free_up_to(const ipcx__ring_rx *rx)
{
    return IPCX_LIKELY(rx->slots.used == 0) ? rx->head : oldest(&rx->slots, rx->head);
}

bool ipcx__ring_keep(ipcx__ring_rx *rx, unsigned *slot)
{
    assert(rx->lent != 0);
    *slot = take_slot(&rx->slots, rx->head, rx->head + rx->lent);
    if (*slot != 0) {
        IPCX_CRASH_POINT("view: kept");
        ipcx__ring_release(rx);
    }
    return *slot != 0;
}

void ipcx__ring_give_back(ipcx__ring_rx *rx, unsigned slot)
{
    free_slot(&rx->slots, slot);
    ipcx__ring_pass(rx, 0);
}
