/* SPDX-License-Identifier: Apache-2.0
 * A lane: messages on their way between threads of one process, in one direction, in order, a
 * bounded number. Who finds it full or empty sleeps on a futex, or has a descriptor that tells.
 * Invariant: an item is in exactly one place: the writer's hands, the lane, or the reader's; and
 * no system call is made where nobody sleeps and nobody asked for a descriptor. */
#ifndef IPCX_LINK_LANE_H
#define IPCX_LINK_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipcx/chan.h"
#include "os/futex.h"

/* What threads wait for. `sleepers` counts, or overcounts, who sleeps and was not woken yet. */
typedef struct ipcx__event {
    _Atomic uint32_t turn; /* the futex: changes with each wake */
    uint32_t sleepers;
} ipcx__event;

/* An eventfd made when it is asked for, and what it shows now. */
typedef struct ipcx__bell {
    int fd; /* -1: nobody has asked */
    bool up;
} ipcx__bell;

typedef struct ipcx__lane {
    ipcx__latch latch; /* guards all that follows */
    size_t capacity, limit;
    ipcx_message *ring;  /* item n is ring[n & (slots - 1)] */
    size_t slots;        /* a power of 2, or 0 */
    uint64_t put, taken; /* items so far; the number of an item, from 1, is its ticket */
    uint64_t put_bytes, taken_bytes;
    uint64_t *unacked; /* tickets of SYNC items that were not released yet */
    size_t unacked_count, unacked_room;
    bool writer_closed, reader_closed;
    bool sync_armed; /* a SYNC send answered AGAIN, and nothing has been taken or released since */
    ipcx__event filled, emptied, acked;
    ipcx__bell readable, writable;
} ipcx__lane;

/* One call of an end on a lane. */
typedef struct ipcx__lane_call {
    ipcx_deadline deadline;
    _Atomic uint64_t *waits; /* counts the calls that slept; NULL: nobody does */
    bool waited;
    ipcx_error *err;
} ipcx__lane_call;

/* ipcx__lane_init: an empty lane of `capacity` items; a message has at most `limit` bytes. */
void ipcx__lane_init(ipcx__lane *lane, size_t capacity, size_t limit);

/* ipcx__lane_fini: gives the memory back; both sides are closed and the items discarded. */
void ipcx__lane_fini(ipcx__lane *lane);

/* ipcx__lane_put: waits for room, then takes as many of the `count` items as there is room for;
 * *put of them now belong to the lane, *ticket is the last one's. CLOSED: the writer has closed.
 * PEER_CLOSED: the reader has. NOMEM. */
ipcx_status ipcx__lane_put(ipcx__lane *lane, ipcx__lane_call *call, const ipcx_message *items,
                           size_t count, size_t *put, uint64_t *ticket);

/* ipcx__lane_has_room: whether a put would not wait, just now. */
bool ipcx__lane_has_room(ipcx__lane *lane);

/* ipcx__lane_take: waits for an item and takes it out. EOF: none, and the writer has closed.
 * CLOSED: the reader has. */
ipcx_status ipcx__lane_take(ipcx__lane *lane, ipcx__lane_call *call, ipcx_message *item);

/* ipcx__lane_put_back: what was taken comes first again. False: there is no memory for it. */
bool ipcx__lane_put_back(ipcx__lane *lane, const ipcx_message *item);

/* ipcx__lane_peek: OK: a take would not wait. */
ipcx_status ipcx__lane_peek(ipcx__lane *lane, ipcx__lane_call *call);

/* ipcx__lane_ack: a SYNC item was released. ipcx__lane_await_ack: waits until that of `ticket` was.
 * PEER_CLOSED: it never will be. CLOSED: the writer has closed; the item is on its way still. */
void ipcx__lane_ack(ipcx__lane *lane, uint64_t ticket);
ipcx_status ipcx__lane_await_ack(ipcx__lane *lane, ipcx__lane_call *call, uint64_t ticket);

/* ipcx__lane_reader_fd: readable whenever a take would not wait. ipcx__lane_writer_fd: writable
 * when what answered AGAIN is worth another try. The lane's own; CLOSED: that side has closed. */
ipcx_status ipcx__lane_reader_fd(ipcx__lane *lane, int *fd, ipcx_error *err);
ipcx_status ipcx__lane_writer_fd(ipcx__lane *lane, int *fd, ipcx_error *err);

/* For lane*.c, under the latch. ipcx__lane_show: sets the bells to the lane's state.
 * ipcx__lane_closed: CLOSED, with its text. */
void ipcx__lane_show(ipcx__lane *lane);
void ipcx__bell_close(ipcx__bell *bell);
ipcx_status ipcx__lane_closed(ipcx_error *err);

/* Each wakes who sleeps in the lane.
 * ipcx__lane_stop: no further put; what is in the lane can still be taken.
 * ipcx__lane_close_writer: the same, and closes the writer's descriptor.
 * ipcx__lane_close_reader: no further take; writers get PEER_CLOSED; closes the descriptor. */
void ipcx__lane_stop(ipcx__lane *lane);
void ipcx__lane_close_writer(ipcx__lane *lane);
void ipcx__lane_close_reader(ipcx__lane *lane);

/* ipcx__lane_discard: after close_reader: gives back what nobody will take, an OBJECT by `drop`
 * (may be NULL). Returns how many items that were; they still count as not taken. */
size_t ipcx__lane_discard(ipcx__lane *lane, void (*drop)(void *object));

/* ipcx__lane_count: the items and bytes put so far, or those taken. */
void ipcx__lane_count_put(ipcx__lane *lane, uint64_t *items, uint64_t *bytes);
void ipcx__lane_count_taken(ipcx__lane *lane, uint64_t *items, uint64_t *bytes);

/* ipcx__lane_each: shows `visit` each OBJECT in the lane, under the latch, until it answers other
 * than 0; that is the answer. */
int ipcx__lane_each(ipcx__lane *lane, int (*visit)(void *object, void *context), void *context);

/* ipcx__lane_untaken: items put and not taken. */
uint64_t ipcx__lane_untaken(ipcx__lane *lane);

/* ipcx__lane_is_busy: somebody has the latch. In a child: had it at the fork, so the lane is half
 * done and stays so. */
bool ipcx__lane_is_busy(const ipcx__lane *lane);

/* ipcx__lane_forked_writer, _reader: in a child: closes that side's descriptor, touches no latch.
 */
void ipcx__lane_forked_writer(ipcx__lane *lane);
void ipcx__lane_forked_reader(ipcx__lane *lane);

#endif
