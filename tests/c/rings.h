/* SPDX-License-Identifier: Apache-2.0
 * A ring in memory mapped twice, for the tests: both sides, and messages that check themselves.
 * Invariant: byte k of message n is a function of n and k only, so whoever receives it can tell. */
#ifndef IPCX_TESTS_RINGS_H
#define IPCX_TESTS_RINGS_H

#include "check.h"

#include "link/shared/ring.h"
#include "os/map.h"

#define PAGE ((size_t)4096)

typedef struct ring_pair {
    ipcx__ring_tx tx;
    ipcx__ring_rx rx;
    ipcx__ring_words *words;
    _Atomic uint32_t *waiting; /* of the two sides */
    uint8_t *data;
    size_t size;
    int fd;
    int grown; /* calls of grow */
    bool refuse;
} ring_pair;

static bool ring_grow(void *context, uint64_t from, uint64_t to)
{
    ring_pair *ring = context;
    ring->grown++;
    return !ring->refuse && ipcx__memory_reserve(ring->fd, PAGE + from, PAGE + to, NULL) == IPCX_OK;
}

/* A ring of `size` bytes that uses `limit` of them at first, both sides at cursor `start`. */
static inline void ring_open(ring_pair *ring, size_t size, size_t limit, size_t max_message,
                             uint64_t start)
{
    void *at;
    memset(ring, 0, sizeof *ring);
    ring->size = size;
    REQUIRE_OK(ipcx__memory_make("test", PAGE + size, &ring->fd, NULL));
    REQUIRE_OK(ipcx__memory_map(ring->fd, 0, PAGE, false, &at, NULL));
    ring->words = at;
    ring->waiting = (_Atomic uint32_t *)(void *)((char *)at + PAGE / 2);
    REQUIRE_OK(ipcx__memory_map(ring->fd, PAGE, size, true, &at, NULL));
    ring->data = at;
    REQUIRE_OK(ipcx__memory_reserve(ring->fd, 0, PAGE + limit, NULL));
    atomic_store(&ring->words->tail, start);
    atomic_store(&ring->words->head, start);
    ipcx__ring_tx_init(&ring->tx, ring->words, ring->data, size, limit, start);
    ring->tx.grow = ring_grow;
    ring->tx.context = ring;
    ipcx__ring_rx_init(&ring->rx, ring->words, ring->data, size, max_message, start);
}

static inline void ring_close(ring_pair *ring)
{
    ipcx__ring_rx_fini(&ring->rx);
    ipcx__memory_unmap(ring->words, PAGE, false);
    ipcx__memory_unmap(ring->data, ring->size, true);
    close(ring->fd);
}

static inline uint8_t message_byte(uint64_t number, size_t k)
{
    return (uint8_t)(number * 131 + k * 7 + (k >> 8));
}

static inline void message_fill(uint8_t *to, uint64_t number, size_t size)
{
    for (size_t k = 0; k < size; k++) {
        to[k] = message_byte(number, k);
    }
}

static inline int message_is(const uint8_t *data, uint64_t number, size_t size)
{
    for (size_t k = 0; k < size; k++) {
        if (data[k] != message_byte(number, k)) {
            return 0;
        }
    }
    return 1;
}

#endif
