/* SPDX-License-Identifier: Apache-2.0
 * One direction of a shared-memory channel: records from one producer to one consumer, who may be
 * two processes that do not trust each other. Memory only (chan_shm.c sleeps, wakes and maps), to
 * be fuzzed, run as two threads and drawn as a model (tests/model/).
 *
 * A cursor counts bytes, for ever, modulo 2^64; its low bits are the place in the ring, which is
 * mapped twice back to back, so that no record is cut in two. A record is a header of 8 bytes
 * (length, kind) and the payload, rounded up to 8, at most half the ring: an empty ring has room
 * for any. Only `limit` bytes at the front are in use (a small ring stays in the cache): where the
 * next record does not fit below it, a SKIP sends both sides to the next round; one over a quarter
 * of the limit doubles it. A message over half the ring goes in fragments.
 *
 * Memory order. The producer writes records, then stores `tail`; the consumer loads `tail`, then
 * reads them. The consumer reads, then stores `head`; the producer loads `head`, then overwrites.
 * Release and acquire are enough for that. To sleep without losing a wake-up, a side sets a bit in
 * its wait word and looks at the other's cursor once more, while the other stores its cursor and
 * looks at the wait word: two stores, each followed by a load of the other's. If both loads could
 * miss both stores, one side sleeps over a full ring. So all four are sequentially consistent
 * (C11 7.17.3: in their single order one of the stores comes first, and the load behind the other
 * store sees it): on x86 a store is an xchg, on ARMv8 they are stlr and ldar.
 *
 * Invariant: a shared word is loaded once, checked, and only then used; whatever the other side
 * writes there or in the data, this side stays within the mapping and comes back. */
#ifndef IPCX_LINK_RING_H
#define IPCX_LINK_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipcx/buf.h"
#include "ipcx/error.h"
#include "link/shared/ring_front.h"
#include "link/shared/ring_loan.h"

/* The shared words of a direction: one writer and two lines each (the CPU fetches pairs). */
typedef struct ipcx__ring_words {
    _Alignas(128) _Atomic uint64_t tail, written; /* committed up to here; see ring_front.h */
    _Alignas(128) _Atomic uint64_t head;          /* the consumer's: free up to here */
} ipcx__ring_words;

#define IPCX__RING_TEXT 0x100u            /* flag of a message: its bytes are UTF-8 */
#define IPCX__RING_LIMIT ((size_t)65536u) /* what a new ring uses, where it has as much */

/* The producer's side; private memory. */
typedef struct ipcx__ring_tx {
    ipcx__ring_words *words;
    uint8_t *data;
    uint64_t size;      /* of the ring: a power of two, at least 4096 */
    uint64_t limit;     /* bytes of it in use: size / 2^n */
    uint64_t tail;      /* the next record's place */
    uint64_t published; /* what the consumer may see: <= tail */
    uint64_t head;      /* the consumer's, as last seen */
    uint64_t skip;      /* bytes a SKIP takes before the record that is being written */
    uint64_t room;      /* payload bytes reserved, and no more may be committed */
    unsigned refused;   /* large records until growing is tried again */
    bool broken;        /* the other side's cursor made no sense */
    ipcx__ring_slots slots;
    /* grow: makes bytes from … to usable; false: there is no memory for them. NULL: never. */
    bool (*grow)(void *context, uint64_t from, uint64_t to);
    void (*show)(void *context); /* the front of a message can be seen; NULL: none ever is */
    void *context;
} ipcx__ring_tx;

/* The consumer's side; private memory. */
typedef struct ipcx__ring_rx {
    ipcx__ring_words *words;
    const uint8_t *data;
    uint64_t size;
    uint64_t head, tail;  /* the next record's place; the producer's, as last seen */
    uint64_t lent;        /* bytes of the record that is lent out; 0: none */
    uint64_t told, freed; /* ipcx__ring_freed has reported up to here; what `head` says */
    uint64_t most;        /* bytes that were there when it looked, at most */
    ipcx__ring_slots slots;
    size_t max_message;
    ipcx_buf whole;     /* a fragmented message as far as it has come */
    uint64_t due;       /* bytes it will have; 0: no first fragment was seen */
    ipcx_status failed; /* PROTOCOL, TOO_LARGE: for good */
    const char *why;
} ipcx__ring_rx;

/* A message, as the consumer sees it. */
typedef struct ipcx__ring_message {
    const uint8_t *data; /* in the ring, 8-byte aligned; or in private memory */
    size_t size;
    bool text;
    bool shared; /* it lies in the ring: the producer can change it */
} ipcx__ring_message;

/* ipcx__ring_tx_init, ipcx__ring_rx_init: a side at cursor `start` (0 in a new ring), the producer
 * with `limit` bytes usable. The consumer takes messages of at most `max_message` bytes. */
void ipcx__ring_tx_init(ipcx__ring_tx *tx, ipcx__ring_words *words, void *data, uint64_t size,
                        uint64_t limit, uint64_t start);
void ipcx__ring_rx_init(ipcx__ring_rx *rx, ipcx__ring_words *words, const void *data, uint64_t size,
                        size_t max_message, uint64_t start);
void ipcx__ring_rx_fini(ipcx__ring_rx *rx);

/* ipcx__ring_reserve: room for `size` payload bytes, 8-byte aligned, to be written in place. A
 * reservation is forgotten by the next one. AGAIN: no room. TOO_LARGE: in fragments. PROTOCOL.
 * ipcx__ring_commit: the first `size` bytes of it are a message; nobody sees it yet.
 * ipcx__ring_publish: the consumer may see all that was committed. */
ipcx_status ipcx__ring_reserve(ipcx__ring_tx *tx, uint64_t size, uint8_t **room);
void ipcx__ring_commit(ipcx__ring_tx *tx, uint64_t size, unsigned flags);
void ipcx__ring_publish(ipcx__ring_tx *tx);

/* ipcx__ring_send: commits a message of any size. `*done`, 0 at first, counts the bytes that have
 * gone in fragments. MORE: a fragment is published, go on. AGAIN: no room (all that was committed
 * is published). Call again with the same *done; starting another message instead abandons this
 * one: the consumer discards its fragments. */
ipcx_status ipcx__ring_send(ipcx__ring_tx *tx, const void *data, uint64_t size, unsigned flags,
                            uint64_t *done);

/* ipcx__ring_room: whether a message of `size` bytes (or its next fragment) would find room; sets
 * tx->broken if need be. Any thread that keeps the other producers out. */
bool ipcx__ring_room(ipcx__ring_tx *tx, uint64_t size);

/* ipcx__ring_passed: whether the consumer is past cursor `at`, where a message of ours ended, and
 * so has received it. Any thread. ipcx__ring_unreceived: messages that were published and that the
 * consumer is not past. Exact when the consumer is no more. */
bool ipcx__ring_passed(const ipcx__ring_words *words, uint64_t at);
uint64_t ipcx__ring_unreceived(const ipcx__ring_tx *tx);

/* ipcx__ring_next: the next whole message, lent until ipcx__ring_release. AGAIN: none yet.
 * PROTOCOL, TOO_LARGE: for good, and rx->why says what. NOMEM: try again later. Bounded work,
 * whatever is in the ring: at most one round of it (AGAIN then, and it is not empty).
 * ipcx__ring_release: the message has been received: its place is the producer's again.
 * Both may move `head`; ipcx__ring_freed says once whether that has happened since the last time:
 * then a producer may wait for it. */
ipcx_status ipcx__ring_next(ipcx__ring_rx *rx, ipcx__ring_message *message);
void ipcx__ring_release(ipcx__ring_rx *rx);
bool ipcx__ring_freed(ipcx__ring_rx *rx);

bool ipcx__ring_empty(const ipcx__ring_rx *rx); /* what a sleeper looks at, once announced */

/* The wait word of a side: what it sleeps for. It sets a bit and looks again; whoever makes that
 * true takes the bit away and wakes it. */
#define IPCX__RING_DATA 1u
#define IPCX__RING_SPACE 2u
static inline void ipcx__ring_announce(_Atomic uint32_t *waiting, uint32_t bit)
{
    (void)atomic_fetch_or_explicit(waiting, bit, memory_order_seq_cst);
}
/* True: the caller, and nobody else, is to wake it. */
static inline bool ipcx__ring_claim(_Atomic uint32_t *waiting, uint32_t bit)
{
    return (atomic_load_explicit(waiting, memory_order_seq_cst) & bit) != 0 &&
           (atomic_fetch_and_explicit(waiting, ~bit, memory_order_seq_cst) & bit) != 0;
}

#endif
