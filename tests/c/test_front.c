/* SPDX-License-Identifier: Apache-2.0
 * ring_front, chan_front: a large message is copied while it is written: whole and right in the
 * end, never too much, and forgotten where its sender stops in the middle. */
#include "rings.h"

#include <pthread.h>

#include "link/chan_front.h"
#include "link/shared/chan_shm.h"
#include "link/shared/chan_shm_parts.h"
#include "streams.h"

#define K ((size_t)1024)
#define LARGE (600 * K)

static uint8_t bytes[LARGE], copy[LARGE];

/* ---- the ring's part */

static ipcx_status put(ring_pair *ring, uint64_t number, size_t size, unsigned flags)
{
    uint64_t done = 0;
    ipcx_status status;
    message_fill(bytes, number, size);
    status = ipcx__ring_send(&ring->tx, bytes, size, flags, &done);
    ipcx__ring_publish(&ring->tx);
    return status;
}

static int take(ring_pair *ring, uint64_t number, size_t size)
{
    ipcx__ring_message got;
    int right;
    REQUIRE_OK(ipcx__ring_next(&ring->rx, &got));
    right = CHECK_INT(got.size, size) && CHECK(message_is(got.data, number, size));
    ipcx__ring_release(&ring->rx);
    return right;
}

/* What the consumer sees as the first piece is there; ring_pair is the tx's context. */
static int shown;
static void look_at_front(void *context)
{
    ring_pair *ring = context;
    ipcx__ring_message got;
    ipcx__ring_front front;
    CHECK_STATUS(ipcx__ring_next(&ring->rx, &got), IPCX_AGAIN); /* nothing is committed */
    CHECK(ipcx__ring_empty(&ring->rx));
    if (CHECK(ipcx__ring_front_of(&ring->rx, &front))) {
        CHECK_INT(ipcx__ring_front_bytes(&ring->rx, &front), IPCX__RING_PIECE);
        CHECK(memcmp(front.data, bytes, IPCX__RING_PIECE) == 0);
    }
    shown++;
}

static bool none(const ring_pair *ring)
{
    ipcx__ring_front front;
    return !ipcx__ring_front_of(&ring->rx, &front);
}

TEST(a_large_message_shows_its_front)
{
    ring_pair ring;
    ring_open(&ring, 2048 * K, 2048 * K, 1024 * K, 0);
    ring.tx.show = look_at_front;
    shown = 0;
    CHECK(none(&ring));
    for (uint64_t i = 0; i < 40; i++) { /* several rounds, at places of all kinds */
        size_t size = IPCX__RING_FRONT + (size_t)i * 7919;
        REQUIRE_OK(put(&ring, i, size, 0));
        take(&ring, i, size);
        CHECK(none(&ring));
    }
    CHECK_INT(shown, 40);
    ring_close(&ring);
}

TEST(small_ones_texts_and_what_nobody_asks_for_show_none)
{
    ring_pair ring;
    ring_open(&ring, 2048 * K, 2048 * K, 1024 * K, 0);
    shown = 0;
    REQUIRE_OK(put(&ring, 1, LARGE, 0));
    take(&ring, 1, LARGE);
    ring.tx.show = look_at_front;
    REQUIRE_OK(put(&ring, 2, IPCX__RING_FRONT - 1, 0));
    take(&ring, 2, IPCX__RING_FRONT - 1);
    REQUIRE_OK(put(&ring, 3, LARGE, IPCX__RING_TEXT));
    take(&ring, 3, LARGE);
    CHECK_INT(shown, 0);
    ring_close(&ring);
}

TEST(behind_a_skip_and_what_was_committed)
{
    ring_pair ring;
    ring_open(&ring, 2048 * K, 1024 * K, 1024 * K, 0);
    REQUIRE_OK(put(&ring, 1, LARGE / 2, 0));
    REQUIRE_OK(put(&ring, 2, LARGE / 2, 0));
    take(&ring, 1, LARGE / 2);
    take(&ring, 2, LARGE / 2);
    ring.tx.show = look_at_front;
    ring.tx.grow = NULL;
    shown = 0;
    REQUIRE_OK(put(&ring, 3, LARGE / 3 * 2, 0)); /* it begins the next round */
    CHECK_INT(shown, 1);
    take(&ring, 3, LARGE / 3 * 2);
    ring_close(&ring);
}

/* The other side writes what it likes. */
TEST(a_wrong_front_is_none)
{
    ring_pair ring;
    ipcx__ring_front front;
    uint64_t *header;
    ring_open(&ring, 2048 * K, 2048 * K, 1024 * K, 0);
    header = (uint64_t *)(void *)ring.data;
    *header = UINT64_C(1) << 32 | LARGE;
    for (uint64_t written = 0; written < 64; written++) {
        uint64_t at = written < 8    ? written
                      : written < 32 ? UINT64_MAX - written
                                     : 3 * written * 2048 * K;
        atomic_store(&ring.words->written, at);
        CHECK(none(&ring));
    }
    atomic_store(&ring.words->written, LARGE * 2); /* beyond its end, within the ring */
    REQUIRE(ipcx__ring_front_of(&ring.rx, &front));
    CHECK_INT(ipcx__ring_front_bytes(&ring.rx, &front), LARGE);
    atomic_store(&ring.words->written, 0);
    CHECK_INT(ipcx__ring_front_bytes(&ring.rx, &front), 0);
    atomic_store(&ring.words->written, 9);
    const uint64_t wrong[] = {0,
                              LARGE,
                              UINT64_C(2) << 32 | LARGE,
                              UINT64_C(0x101) << 32 | LARGE,
                              UINT64_C(0x201) << 32 | LARGE,
                              UINT64_C(1) << 32 | 100,
                              UINT64_C(1) << 32 | (1024 * K + 1),
                              UINT64_C(1) << 32 | UINT32_MAX,
                              UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        *header = wrong[i];
        CHECK(none(&ring));
    }
    ring_close(&ring);
}

/* ---- the channel's */

static void pair_of(ipcx_chan **a, ipcx_chan **b, int trust)
{
    const ipcx_chan_options options = {.trust = trust};
    REQUIRE_OK(ipcx__chan_shm_pair("shm://", &options, a, b, NULL));
}

/* One message by whatever way it comes; how many came as a front. */
static int receive(ipcx_chan *chan, uint64_t number, size_t size)
{
    ipcx_message got;
    int fronts = 0;
    ipcx_status status = ipcx__chan_receive_front(chan, &got, IPCX_FOREVER, NULL);
    REQUIRE(status == IPCX_OK && got.size == size);
    if (got.flags & IPCX__MESSAGE_FRONT) {
        fronts = 1;
        if (number % 5 == 4) { /* not wanted after all */
            ipcx_chan_release(chan, &got);
            status = IPCX_AGAIN;
        } else {
            status = ipcx__chan_fill(chan, &got, copy);
            CHECK(status != IPCX_OK || message_is(copy, number, size));
        }
        if (status == IPCX_AGAIN) {
            REQUIRE_OK(ipcx_chan_receive(chan, &got, IPCX_FOREVER, NULL));
        }
    }
    CHECK_INT(got.size, size);
    CHECK(message_is(got.data, number, size));
    ipcx_chan_release(chan, &got);
    return fronts;
}

static size_t size_of(uint64_t number)
{
    return number % 7 == 3 ? 100
                           : IPCX__RING_FRONT + (size_t)number * 997 % (LARGE - IPCX__RING_FRONT);
}

#define MANY 300

static void *send_them(void *chan)
{
    static uint8_t data[LARGE];
    for (uint64_t i = 0; i < MANY; i++) {
        const ipcx_message message = {.data = data, .size = size_of(i)};
        message_fill(data, i, message.size);
        REQUIRE_OK(ipcx_chan_send(chan, &message, IPCX_FOREVER, NULL, NULL));
    }
    return NULL;
}

static int stream(int trust)
{
    ipcx_chan *a, *b;
    pthread_t thread;
    int fronts = 0;
    pair_of(&a, &b, trust);
    REQUIRE(pthread_create(&thread, NULL, send_them, a) == 0);
    for (uint64_t i = 0; i < MANY; i++) {
        fronts += receive(b, i, size_of(i));
    }
    REQUIRE(pthread_join(thread, NULL) == 0);
    stream_free(a, b);
    return fronts;
}

TEST(messages_that_come_while_they_are_written)
{
    printf("# %d of %d as fronts\n", stream(IPCX_TRUST_SAME_UID), MANY);
}

TEST(who_does_not_trust_sees_no_front)
{
    CHECK_INT(stream(IPCX_TRUST_NONE), 0);
}

/* A sender that stands still in the middle of a message. */
static uint8_t *half_sent(ipcx_chan *chan, uint64_t number)
{
    ipcx__ring_tx *tx = &((ipcx__shm *)chan)->tx;
    uint8_t *room;
    message_fill(bytes, number, LARGE);
    REQUIRE_OK(ipcx__ring_reserve(tx, LARGE, &room));
    ipcx__ring_begin(tx, LARGE);
    memcpy(room, bytes, LARGE / 2);
    atomic_store(&tx->words->written, tx->tail + IPCX__RING_HEADER + LARGE / 2);
    return room;
}

static void the_other_half(ipcx_chan *chan, uint8_t *room)
{
    ipcx__ring_tx *tx = &((ipcx__shm *)chan)->tx;
    memcpy(room + LARGE / 2, bytes + LARGE / 2, LARGE - LARGE / 2);
    ipcx__ring_end(tx, LARGE);
    ipcx__ring_publish(tx);
}

static void begin_to_use(ipcx_chan *a, ipcx_chan *b)
{
    const ipcx_message message = {.data = "", .size = 0};
    ipcx_message got;
    REQUIRE_OK(ipcx_chan_send(a, &message, IPCX_FOREVER, NULL, NULL));
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_FOREVER, NULL));
    ipcx_chan_release(b, &got);
}

TEST(a_sender_that_stops_in_the_middle)
{
    ipcx_chan *a, *b;
    ipcx_message got;
    uint8_t *room;
    pair_of(&a, &b, IPCX_TRUST_SAME_UID);
    begin_to_use(a, b);
    room = half_sent(a, 1);
    CHECK_STATUS(ipcx_chan_receive(b, &got, IPCX_NOW, NULL), IPCX_AGAIN);
    REQUIRE_OK(ipcx__chan_receive_front(b, &got, IPCX_FOREVER, NULL));
    CHECK_INT(got.flags, IPCX__MESSAGE_FRONT);
    CHECK_INT(got.size, LARGE);
    CHECK_STATUS(ipcx__chan_fill(b, &got, copy), IPCX_AGAIN);
    CHECK(memcmp(copy, bytes, LARGE / 2) == 0);
    CHECK_STATUS(ipcx_chan_receive(b, &got, ipcx_deadline_after(1000000), NULL), IPCX_TIMEOUT);
    the_other_half(a, room);
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_FOREVER, NULL));
    CHECK(got.size == LARGE && message_is(got.data, 1, LARGE));
    ipcx_chan_release(b, &got);
    stream_free(a, b);
}

TEST(what_turns_out_to_be_something_else_is_not_taken_for_it)
{
    ipcx_chan *a, *b;
    ipcx_message got;
    uint8_t *room;
    pair_of(&a, &b, IPCX_TRUST_SAME_UID);
    begin_to_use(a, b);
    room = half_sent(a, 2);
    REQUIRE_OK(ipcx__chan_receive_front(b, &got, IPCX_FOREVER, NULL));
    *(uint64_t *)(void *)(room - IPCX__RING_HEADER) = UINT64_C(1) << 32 | (LARGE - 8);
    the_other_half(a, room);
    CHECK_STATUS(ipcx__chan_fill(b, &got, copy), IPCX_AGAIN);
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_FOREVER, NULL));
    CHECK_INT(got.size, LARGE - 8);
    ipcx_chan_release(b, &got);
    stream_free(a, b);
}

/* Closed, with the front of a message there: as if it were not. */
TEST(a_sender_that_goes_in_the_middle)
{
    ipcx_chan *a, *b;
    ipcx_message got;
    pair_of(&a, &b, IPCX_TRUST_SAME_UID);
    begin_to_use(a, b);
    (void)half_sent(a, 3);
    REQUIRE_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK_STATUS(ipcx__chan_receive_front(b, &got, IPCX_FOREVER, NULL), IPCX_EOF);
    stream_free(a, b);
}

/* Over a transport without fronts it is a receive. */
TEST(elsewhere_there_are_none)
{
    ipcx_chan *a, *b;
    const ipcx_message message = {.data = "hello", .size = 5};
    ipcx_message got;
    REQUIRE_OK(ipcx_pair("unix://", NULL, &a, &b, NULL));
    REQUIRE_OK(ipcx_chan_send(a, &message, IPCX_FOREVER, NULL, NULL));
    REQUIRE_OK(ipcx__chan_receive_front(b, &got, IPCX_FOREVER, NULL));
    CHECK_INT(got.flags, 0);
    ipcx_chan_release(b, &got);
    stream_free(a, b);
}
