/* SPDX-License-Identifier: Apache-2.0
 * chan_quick.h over a ring: what chan_shm_send.c and chan_shm_receive.c do for a small message of
 * bytes when nothing is in its way, in a tenth of the instructions; all else is theirs.
 * Invariant: as theirs: the turn of its direction while a side of the ring is touched, and what was
 * published or freed is told to who sleeps for it. */
#include "link/chan_quick.h"
#include "link/shared/chan_shm_wait.h"
#include "link/shared/ring_quick.h"

/* Under the turn: counted here, and where others can see it. */
static inline void count(_Atomic uint64_t *here, _Atomic uint64_t *there, uint64_t more)
{
    more += atomic_load_explicit(here, memory_order_relaxed);
    atomic_store_explicit(here, more, memory_order_relaxed);
    atomic_store_explicit(there, more, memory_order_relaxed);
}

/* ---- sending */

#define SAY_CPU 16 /* messages, so many, between two looks at where this thread runs */

/* With the turn: as acceptable() and may_send() of chan_shm_send.c. */
static inline bool may_push(ipcx__shm *self, size_t size)
{
    uint64_t most = atomic_load_explicit(&self->theirs->max_message, memory_order_relaxed);
    return (size <= most || most == 0) &&
           !atomic_load_explicit(&self->closing, memory_order_relaxed) &&
           atomic_load_explicit(&self->theirs->bye, memory_order_acquire) == 0 &&
           !ipcx__shm_peer_gone(self, false);
}

static inline ipcx_status push_in_turn(ipcx__shm *self, const void *data, size_t size)
{
    ipcx__shm_counts *shown = &self->segment->counts[self->role];
    if (!may_push(self, size) || !ipcx__ring_put(&self->tx, data, size)) {
        return IPCX_AGAIN;
    }
    self->parts_ticket = 0; /* a message that stands in between: what went in part begins anew */
    if (atomic_load_explicit(&self->sent, memory_order_relaxed) % SAY_CPU == 0) {
        ipcx__shm_say_cpu(self);
    }
    count(&self->sent, &shown->sent, 1);
    count(&self->sent_bytes, &shown->sent_bytes, size);
    return IPCX_OK;
}

static ipcx_status push(ipcx_chan *chan, const void *data, size_t size)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_status status = IPCX_AGAIN;
    if (size > IPCX__QUICK_MAX || !ipcx__quick_enter(chan)) {
        return status;
    }
    if (atomic_load_explicit(&self->begun, memory_order_acquire) == 2 &&
        ipcx__turn_take(&self->tx_turn)) {
        status = push_in_turn(self, data, size);
        ipcx__turn_leave(&self->tx_turn);
        if (status == IPCX_OK && (atomic_load(&self->theirs->waiting) & IPCX__RING_DATA) != 0) {
            status = IPCX_MORE;
        }
    }
    ipcx__quick_leave(chan);
    return status;
}

/* Where it cannot enter any more, close() has rung, or has yet to. */
static void wake(ipcx_chan *chan)
{
    if (ipcx__chan_is_mine(chan) && ipcx__chan_pass(chan)) {
        ipcx__shm_tell_data((ipcx__shm *)chan);
        ipcx__chan_pass_out(chan);
    }
}

/* ---- receiving */

/* Before the turn is left: as leave() of chan_shm_receive.c. */
static inline void tell(ipcx__shm *self)
{
    if ((atomic_load(&self->theirs->waiting) & (IPCX__RING_SPACE | IPCX__SHM_FILLED)) != 0) {
        ipcx__shm_tell_space(self);
    }
    if (atomic_load_explicit(&self->asked, memory_order_relaxed) ||
        atomic_load_explicit(&self->asleep, memory_order_relaxed) != 0) {
        ipcx__shm_settle(self);
    }
}

static inline ipcx_status pull_in_turn(ipcx__shm *self, ipcx__quick_take *take, void *context)
{
    ipcx__shm_counts *shown = &self->segment->counts[self->role];
    uint64_t size;
    const uint8_t *data;
    if (self->holds || self->careful || self->failed != IPCX_OK) {
        return IPCX_AGAIN;
    }
    data = ipcx__ring_peek(&self->rx, &size);
    if (data == NULL || size > IPCX__QUICK_MAX) {
        return IPCX_AGAIN;
    }
    ipcx__ring_fetch(&self->tx, 0); /* for the answer */
    IPCX_CRASH_POINT("receive: lent");
    if (!take(context, data, size)) {
        return IPCX_NOMEM;
    }
    count(&self->received, &shown->received, 1);
    count(&self->received_bytes, &shown->received_bytes, size);
    atomic_store_explicit(&shown->most, self->rx.most, memory_order_relaxed);
    ipcx__ring_step(&self->rx, size);
    tell(self);
    return IPCX_OK;
}

static ipcx_status pull(ipcx_chan *chan, ipcx__quick_take *take, void *context)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_status status = IPCX_AGAIN;
    if (!ipcx__quick_enter(chan)) {
        return status;
    }
    if (atomic_load_explicit(&self->begun, memory_order_acquire) == 2 &&
        ipcx__turn_take(&self->rx_turn)) {
        status = pull_in_turn(self, take, context);
        ipcx__turn_leave(&self->rx_turn);
    }
    ipcx__quick_leave(chan);
    return status;
}

static ipcx_status stay(ipcx_chan *chan)
{
    ipcx__shm *self = (ipcx__shm *)chan;
    ipcx_status status = IPCX_OK;
    if (!ipcx__quick_enter(chan)) {
        return status;
    }
    if (atomic_load_explicit(&self->begun, memory_order_acquire) == 2 &&
        ipcx__turn_take(&self->rx_turn)) {
        if (!self->holds && self->failed == IPCX_OK) {
            status = ipcx__shm_stay_awake(self);
        }
        ipcx__turn_leave(&self->rx_turn);
    }
    ipcx__quick_leave(chan);
    return status;
}

const ipcx__quick ipcx__shm_quick = {.push = push, .wake = wake, .pull = pull, .stay = stay};
