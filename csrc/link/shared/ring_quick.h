/* SPDX-License-Identifier: Apache-2.0
 * What most messages need of the ring of ring.h, and no more: one small record written and
 * published, the next whole one looked at and passed. In a header, for the caller's compiler.
 * Whatever else there may be (no room as far as is known, another round, growth, loans, fragments,
 * texts, what is wrong) they leave as it is and say so: ring.c does it.
 * Memory order and invariant: those of ring.h. */
#ifndef IPCX_LINK_RING_QUICK_H
#define IPCX_LINK_RING_QUICK_H

#include <string.h>

#include "base/crash.h"
#include "link/shared/ring.h"

static inline uint64_t ipcx__ring_bytes(uint64_t size)
{
    return IPCX__RING_HEADER + ((size + 7) & ~UINT64_C(7));
}

/* ---- the producer */

/* Lines that the next records will be written to are still the consumer's, from the last round, or
 * went to it once more, for its CPU reads ahead. Asked for now, they come while the producer does
 * something else; its next store of `tail`, a fence, would wait for them. `ahead`: bytes. */
static inline void ipcx__ring_fetch(const ipcx__ring_tx *tx, unsigned ahead)
{
#if defined(__x86_64__)
    const uint8_t *at = tx->data + (tx->tail & (tx->size - 1)) + ahead;
    __asm__ volatile("prefetchw %0" : : "m"(at[0])); /* within the mapping, or nothing happens */
    __asm__ volatile("prefetchw %0" : : "m"(at[64]));
#else
    (void)tx;
    (void)ahead;
#endif
}

static inline void ipcx__ring_show_tail(ipcx__ring_tx *tx)
{
    IPCX_CRASH_POINT("ring: to be published");
    atomic_store_explicit(&tx->words->tail, tx->tail, memory_order_seq_cst);
    IPCX_CRASH_POINT("ring: published");
    tx->published = tx->tail;
    ipcx__ring_fetch(tx, 128);
}

/* A message of `size` bytes (less than a ring) is committed and published; false: nothing is. */
static inline bool ipcx__ring_put(ipcx__ring_tx *tx, const void *data, size_t size)
{
    uint64_t need = ipcx__ring_bytes(size), at = tx->tail & (tx->size - 1);
    uint64_t header = (uint64_t)IPCX__RING_WHOLE << 32 | size;
    if (IPCX_UNLIKELY(tx->tail + need - tx->head > tx->size) || need > tx->limit / 4 ||
        at + need + IPCX__RING_HEADER > tx->limit || tx->slots.used != 0 || tx->broken) {
        return false;
    }
    memcpy(tx->data + at, &header, sizeof header);
    if (size > 0) {
        memcpy(tx->data + at + IPCX__RING_HEADER, data, size);
    }
    tx->tail += need;
    IPCX_CRASH_POINT("ring: written");
    ipcx__ring_show_tail(tx);
    return true;
}

/* ---- the consumer */

/* The next message, of bytes and whole, in place; NULL: ring.c knows. ipcx__ring_step: it has been
 * received: its place is the producer's again. */
static inline const uint8_t *ipcx__ring_peek(ipcx__ring_rx *rx, uint64_t *size)
{
    const uint8_t *record = rx->data + (rx->head & (rx->size - 1));
    uint64_t left = rx->tail - rx->head, header;
    if (rx->slots.used != 0 || rx->lent != 0 || rx->due != 0 || rx->failed != IPCX_OK) {
        return NULL;
    }
    if (left == 0) {
        uint64_t tail = atomic_load_explicit(&rx->words->tail, memory_order_seq_cst);
        left = tail - rx->head;
        if (left == 0 || left > rx->size || tail % 8 != 0) {
            return NULL;
        }
        __builtin_prefetch(record + 64); /* two lines at once */
        rx->tail = tail;
        rx->most = left > rx->most ? left : rx->most;
    }
    header = __atomic_load_n((const uint64_t *)(const void *)record, __ATOMIC_RELAXED);
    *size = header & UINT32_MAX;
    return header >> 32 == IPCX__RING_WHOLE && ipcx__ring_bytes(*size) <= left &&
                   *size <= rx->max_message
               ? record + IPCX__RING_HEADER
               : NULL;
}

static inline void ipcx__ring_step(ipcx__ring_rx *rx, uint64_t size)
{
    rx->head += ipcx__ring_bytes(size);
    rx->freed = rx->head; /* nothing is lent */
    IPCX_CRASH_POINT("ring: to be freed");
    atomic_store_explicit(&rx->words->head, rx->head, memory_order_seq_cst);
    IPCX_CRASH_POINT("ring: freed");
}

#endif
