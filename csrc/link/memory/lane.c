/* SPDX-License-Identifier: Apache-2.0
 * The lane: a ring under a latch, three things to wait for, two bells.
 * Invariant: an event's `sleepers` is never less than the threads that sleep on it unwoken; a
 * bell shows what the lane's state says whenever the latch is free. */
#include "link/memory/lane.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "ipcx/alloc.h"

#define FIRST_SLOTS 16

void ipcx__lane_init(ipcx__lane *lane, size_t capacity, size_t limit)
{
    *lane = (ipcx__lane){.capacity = capacity > 0 ? capacity : 1,
                         .limit = limit,
                         .readable.fd = -1,
                         .writable.fd = -1};
}

void ipcx__lane_fini(ipcx__lane *lane)
{
    (void)ipcx__lane_discard(lane, NULL);
    ipcx_free(lane->unacked);
    lane->unacked = NULL;
}

/* ---- events: everything under the latch, but for the wake itself */

/* How many to wake with ipcx__futex_wake once the latch is free. Who is to be woken is no sleeper
 * any more, so that a flood wakes a slow reader once and not with each message. */
static int ring(ipcx__event *event, size_t most)
{
    uint32_t woken = event->sleepers < most ? event->sleepers : (uint32_t)most;
    if (woken > 0) {
        event->sleepers -= woken;
        (void)atomic_fetch_add_explicit(&event->turn, 1, memory_order_relaxed);
    }
    return (int)woken;
}

static void wake(const ipcx__event *event, int count)
{
    if (IPCX_UNLIKELY(count > 0)) {
        (void)ipcx__futex_wake(&event->turn, count, IPCX__PRIVATE);
    }
}

static int ring_all(ipcx__event *event)
{
    return ring(event, UINT32_MAX) > 0 ? INT_MAX : 0;
}

/* Sleeps until the event, with the latch free meanwhile. */
static ipcx_status doze(ipcx__lane *lane, ipcx__event *event, ipcx__lane_call *call)
{
    uint32_t turn = atomic_load_explicit(&event->turn, memory_order_relaxed);
    ipcx_status status;
    if (call->deadline == IPCX_NOW) {
        return IPCX_TIMEOUT;
    }
    if (!call->waited && call->waits != NULL) {
        (void)atomic_fetch_add_explicit(call->waits, 1, memory_order_relaxed);
    }
    call->waited = true;
    event->sleepers++;
    ipcx__latch_unlock(&lane->latch);
    status = ipcx__futex_wait(&event->turn, turn, call->deadline, IPCX__PRIVATE, call->err);
    ipcx__latch_lock(&lane->latch);
    if (status != IPCX_OK && event->sleepers > 0 &&
        atomic_load_explicit(&event->turn, memory_order_relaxed) == turn) {
        /* Nobody has been woken since we began, so we are still counted. In every other case the
         * waker has counted one off, or has woken us in another's place: then that one sleeps on
         * and has to stay counted. */
        event->sleepers--;
    }
    return status;
}

/* ---- in */

static ipcx_status no_memory(ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_NOMEM, 0, "send", "no memory for another message");
}

/* One more slot in the ring, doubled up to what the capacity needs. */
static ipcx_status grow_ring(ipcx__lane *lane, ipcx_error *err)
{
    size_t slots = lane->slots > 0 ? 2 * lane->slots : FIRST_SLOTS, size;
    ipcx_message *ring;
    if (__builtin_mul_overflow(slots, sizeof *ring, &size)) {
        return no_memory(err);
    }
    ring = ipcx_alloc(size);
    if (ring == NULL) {
        return no_memory(err);
    }
    for (uint64_t n = lane->taken; n != lane->put; n++) {
        ring[n & (slots - 1)] = lane->ring[n & (lane->slots - 1)];
    }
    ipcx_free(lane->ring);
    lane->ring = ring;
    lane->slots = slots;
    return IPCX_OK;
}

static ipcx_status grow_unacked(ipcx__lane *lane, ipcx_error *err)
{
    size_t room = lane->unacked_room > 0 ? 2 * lane->unacked_room : FIRST_SLOTS;
    uint64_t *more = ipcx_realloc(lane->unacked, room * sizeof *more);
    if (more == NULL) {
        return no_memory(err);
    }
    lane->unacked = more;
    lane->unacked_room = room;
    return IPCX_OK;
}

static ipcx_status store(ipcx__lane *lane, const ipcx_message *item, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    bool sync = (item->flags & IPCX_MESSAGE_SYNC) != 0;
    if (lane->put - lane->taken == lane->slots) {
        status = grow_ring(lane, err);
    }
    if (status == IPCX_OK && sync && lane->unacked_count == lane->unacked_room) {
        status = grow_unacked(lane, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    ipcx_message *slot = &lane->ring[lane->put & (lane->slots - 1)];
    *slot = *item;
    slot->ticket = ++lane->put;
    lane->put_bytes += item->size;
    if (sync) {
        lane->unacked[lane->unacked_count++] = lane->put;
    }
    return IPCX_OK;
}

static ipcx_status peer_closed(const ipcx__lane *lane, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_PEER_CLOSED, 0, "send",
                          "the peer has closed; %llu of the messages sent were not received",
                          (unsigned long long)(lane->put - lane->taken));
}

static ipcx_status await_room(ipcx__lane *lane, ipcx__lane_call *call)
{
    ipcx_status status = IPCX_OK;
    while (status == IPCX_OK) {
        if (lane->reader_closed) {
            return peer_closed(lane, call->err);
        }
        if (lane->writer_closed) {
            return ipcx__lane_closed(call->err);
        }
        if (lane->put - lane->taken < lane->capacity) {
            return IPCX_OK;
        }
        status = doze(lane, &lane->emptied, call);
    }
    return status;
}

ipcx_status ipcx__lane_put(ipcx__lane *lane, ipcx__lane_call *call, const ipcx_message *items,
                           size_t count, size_t *put, uint64_t *ticket)
{
    ipcx_status status;
    size_t n = 0;
    int woken = 0;
    ipcx__latch_lock(&lane->latch);
    status = await_room(lane, call);
    while (status == IPCX_OK && n < count && lane->put - lane->taken < lane->capacity) {
        status = store(lane, &items[n], call->err);
        n += status == IPCX_OK;
    }
    if (n > 0) {
        *ticket = lane->put;
        woken = ring(&lane->filled, n);
        ipcx__lane_show(lane);
    }
    ipcx__latch_unlock(&lane->latch);
    wake(&lane->filled, woken);
    *put = n;
    return n > 0 ? IPCX_OK : status; /* what failed after the first fails again as the first */
}

bool ipcx__lane_has_room(ipcx__lane *lane)
{
    bool room;
    ipcx__latch_lock(&lane->latch);
    room = lane->put - lane->taken < lane->capacity || lane->reader_closed;
    ipcx__latch_unlock(&lane->latch);
    return room;
}

/* ---- out */

static ipcx_status await_item(ipcx__lane *lane, ipcx__lane_call *call)
{
    ipcx_status status = IPCX_OK;
    while (status == IPCX_OK) {
        if (lane->reader_closed) {
            return ipcx__lane_closed(call->err);
        }
        if (lane->put != lane->taken) {
            return IPCX_OK;
        }
        if (lane->writer_closed) {
            return IPCX_EOF;
        }
        status = doze(lane, &lane->filled, call);
    }
    return status;
}

ipcx_status ipcx__lane_take(ipcx__lane *lane, ipcx__lane_call *call, ipcx_message *item)
{
    int woken = 0;
    ipcx_status status;
    ipcx__latch_lock(&lane->latch);
    status = await_item(lane, call);
    if (status == IPCX_OK) {
        *item = lane->ring[lane->taken & (lane->slots - 1)];
        lane->taken++;
        lane->taken_bytes += item->size;
        lane->sync_armed = false;
        woken = ring(&lane->emptied, 1);
        ipcx__lane_show(lane);
    }
    ipcx__latch_unlock(&lane->latch);
    wake(&lane->emptied, woken);
    return status;
}

bool ipcx__lane_put_back(ipcx__lane *lane, const ipcx_message *item)
{
    int woken = 0;
    bool room;
    ipcx__latch_lock(&lane->latch);
    room = !lane->reader_closed &&
           (lane->put - lane->taken < lane->slots || grow_ring(lane, NULL) == IPCX_OK);
    if (room) {
        lane->taken--;
        lane->taken_bytes -= item->size;
        lane->ring[lane->taken & (lane->slots - 1)] = *item;
        woken = ring(&lane->filled, 1);
        ipcx__lane_show(lane);
    }
    ipcx__latch_unlock(&lane->latch);
    wake(&lane->filled, woken);
    return room;
}

ipcx_status ipcx__lane_peek(ipcx__lane *lane, ipcx__lane_call *call)
{
    int woken = 0;
    ipcx_status status;
    ipcx__latch_lock(&lane->latch);
    status = await_item(lane, call);
    if (status == IPCX_OK && call->waited) {
        woken = ring(&lane->filled, 1); /* the wake was for one who takes: hand it on */
    }
    ipcx__latch_unlock(&lane->latch);
    wake(&lane->filled, woken);
    return status;
}

/* ---- rendezvous */

/* Where `ticket` stands among the unacked; their count when it does not. */
static size_t find_unacked(const ipcx__lane *lane, uint64_t ticket)
{
    size_t i = 0;
    while (i < lane->unacked_count && lane->unacked[i] != ticket) {
        i++;
    }
    return i;
}

void ipcx__lane_ack(ipcx__lane *lane, uint64_t ticket)
{
    size_t i;
    int woken;
    ipcx__latch_lock(&lane->latch);
    i = find_unacked(lane, ticket);
    if (i < lane->unacked_count) {
        lane->unacked[i] = lane->unacked[--lane->unacked_count];
    }
    lane->sync_armed = false;
    woken = ring_all(&lane->acked); /* each waits for a ticket of its own */
    ipcx__lane_show(lane);
    ipcx__latch_unlock(&lane->latch);
    wake(&lane->acked, woken);
}

ipcx_status ipcx__lane_await_ack(ipcx__lane *lane, ipcx__lane_call *call, uint64_t ticket)
{
    ipcx_status status = IPCX_OK;
    ipcx__latch_lock(&lane->latch);
    while (status == IPCX_OK && find_unacked(lane, ticket) < lane->unacked_count) {
        if (lane->reader_closed) {
            status = peer_closed(lane, call->err);
        } else if (lane->writer_closed) {
            status = ipcx__lane_closed(call->err);
        } else {
            status = doze(lane, &lane->acked, call);
        }
    }
    if (status == IPCX_TIMEOUT && call->deadline == IPCX_NOW) {
        lane->sync_armed = true;
        ipcx__lane_show(lane);
    }
    ipcx__latch_unlock(&lane->latch);
    return status;
}

/* ---- the end */

/* The latch is held: everybody who sleeps here looks again, and it is free. */
static void unlock_and_wake_all(ipcx__lane *lane)
{
    int filled = ring_all(&lane->filled);
    int emptied = ring_all(&lane->emptied);
    int acked = ring_all(&lane->acked);
    ipcx__lane_show(lane);
    ipcx__latch_unlock(&lane->latch);
    wake(&lane->filled, filled);
    wake(&lane->emptied, emptied);
    wake(&lane->acked, acked);
}

void ipcx__lane_stop(ipcx__lane *lane)
{
    ipcx__latch_lock(&lane->latch);
    lane->writer_closed = true;
    unlock_and_wake_all(lane);
}

void ipcx__lane_close_writer(ipcx__lane *lane)
{
    ipcx__latch_lock(&lane->latch);
    lane->writer_closed = true;
    ipcx__bell_close(&lane->writable);
    unlock_and_wake_all(lane);
}

void ipcx__lane_close_reader(ipcx__lane *lane)
{
    ipcx__latch_lock(&lane->latch);
    lane->reader_closed = true;
    ipcx__bell_close(&lane->readable);
    unlock_and_wake_all(lane);
}

int ipcx__lane_each(ipcx__lane *lane, int (*visit)(void *object, void *context), void *context)
{
    int answer = 0;
    ipcx__latch_lock(&lane->latch);
    for (uint64_t n = lane->taken; lane->ring != NULL && n != lane->put && answer == 0; n++) {
        const ipcx_message *item = &lane->ring[n & (lane->slots - 1)];
        if (item->flags & IPCX_MESSAGE_OBJECT) {
            answer = visit((void *)(uintptr_t)item->data, context);
        }
    }
    ipcx__latch_unlock(&lane->latch);
    return answer;
}

size_t ipcx__lane_discard(ipcx__lane *lane, void (*drop)(void *object))
{
    ipcx_message *ring;
    size_t slots, count = 0;
    uint64_t n, end;
    ipcx__latch_lock(&lane->latch);
    ring = lane->ring;
    slots = lane->slots;
    n = lane->taken;
    end = lane->put;
    lane->ring = NULL; /* nobody puts and nobody takes any more */
    lane->slots = 0;
    ipcx__latch_unlock(&lane->latch);
    for (; ring != NULL && n != end; n++, count++) {
        const ipcx_message *item = &ring[n & (slots - 1)];
        void *data = (void *)(uintptr_t)item->data;
        if ((item->flags & IPCX_MESSAGE_OBJECT) == 0) {
            ipcx_free(data);
        } else if (drop != NULL) {
            drop(data);
        }
    }
    ipcx_free(ring);
    return count;
}

void ipcx__lane_count_put(ipcx__lane *lane, uint64_t *items, uint64_t *bytes)
{
    ipcx__latch_lock(&lane->latch);
    *items = lane->put;
    *bytes = lane->put_bytes;
    ipcx__latch_unlock(&lane->latch);
}

void ipcx__lane_count_taken(ipcx__lane *lane, uint64_t *items, uint64_t *bytes)
{
    ipcx__latch_lock(&lane->latch);
    *items = lane->taken;
    *bytes = lane->taken_bytes;
    ipcx__latch_unlock(&lane->latch);
}

uint64_t ipcx__lane_untaken(ipcx__lane *lane)
{
    uint64_t untaken;
    ipcx__latch_lock(&lane->latch);
    untaken = lane->put - lane->taken;
    ipcx__latch_unlock(&lane->latch);
    return untaken;
}

bool ipcx__lane_is_busy(const ipcx__lane *lane)
{
    return atomic_load(&lane->latch.word) != 0;
}

void ipcx__lane_forked_writer(ipcx__lane *lane)
{
    ipcx__bell_close(&lane->writable);
}

void ipcx__lane_forked_reader(ipcx__lane *lane)
{
    ipcx__bell_close(&lane->readable);
}
