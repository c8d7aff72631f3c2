/* SPDX-License-Identifier: Apache-2.0
 * The fronts of ring_front.h.
 * Invariant: each shared word is loaded once, checked, and only then used. */
#include "link/shared/ring_front.h"

#include <string.h>

#include "base/crash.h"
#include "link/shared/ring.h"

#define HEAD IPCX__RING_HEADER

/* ---- the producer */

static void write_pieces(ipcx__ring_tx *tx, uint8_t *room, const uint8_t *data, uint64_t size)
{
    uint64_t done = 0;
    while (size - done > IPCX__RING_PIECE) {
        memcpy(room + done, data + done, IPCX__RING_PIECE);
        done += IPCX__RING_PIECE;
        atomic_store_explicit(&tx->words->written, tx->tail + HEAD + done, memory_order_release);
        IPCX_CRASH_POINT("ring: piece written");
        if (done == IPCX__RING_PIECE) {
            tx->show(tx->context);
        }
    }
    memcpy(room + done, data + done, size - done);
}

void ipcx__ring_write(ipcx__ring_tx *tx, uint8_t *room, const uint8_t *data, uint64_t size,
                      unsigned flags)
{
    if (IPCX_UNLIKELY(size >= IPCX__RING_FRONT) && tx->show != NULL &&
        (flags & IPCX__RING_TEXT) == 0) {
        ipcx__ring_begin(tx, size);
        write_pieces(tx, room, data, size);
        ipcx__ring_end(tx, size); /* the header is being read: it is not written again */
        return;
    }
    if (size > 0) {
        memcpy(room, data, size);
    }
    ipcx__ring_commit(tx, size, flags);
}

/* ---- the consumer */

uint64_t ipcx__ring_front_bytes(const ipcx__ring_rx *rx, const ipcx__ring_front *front)
{
    uint64_t written = atomic_load_explicit(&rx->words->written, memory_order_acquire);
    uint64_t ahead = written - front->at;
    if (ahead <= HEAD || ahead > rx->size) {
        return 0;
    }
    return ahead - HEAD < front->size ? ahead - HEAD : front->size;
}

bool ipcx__ring_front_of(const ipcx__ring_rx *rx, ipcx__ring_front *front)
{
    const uint8_t *at = rx->data + (rx->head & (rx->size - 1));
    ipcx__ring_front found = {.data = at + HEAD, .size = rx->size, .at = rx->head};
    uint64_t header;
    if (rx->tail != rx->head || rx->failed != IPCX_OK || rx->due != 0 || rx->lent != 0 ||
        ipcx__ring_front_bytes(rx, &found) == 0) {
        return false;
    }
    header = __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
    found.size = header & UINT32_MAX;
    if (header >> 32 != IPCX__RING_WHOLE || found.size < IPCX__RING_FRONT ||
        found.size > rx->max_message || found.size > rx->size - HEAD) {
        return false; /* if that is wrong, it will be told when it is committed */
    }
    *front = found;
    return true;
}
