/* SPDX-License-Identifier: Apache-2.0
 * chan_quick: the short way of small messages: whole, in order with all that goes the other way,
 * counted as any other; and nothing has happened where it does not go. */
#include "rings.h"

#include <pthread.h>

#include "ipcx/loan.h"
#include "link/chan_quick.h"
#include "link/shared/chan_shm.h"
#include "link/shared/ring_quick.h"
#include "streams.h"

#define K ((size_t)1024)

static uint8_t bytes[600 * K];

typedef struct taken {
    uint8_t data[IPCX__QUICK_MAX];
    size_t size;
    int calls;
    bool refuse;
} taken;

static bool take(void *context, const void *data, size_t size)
{
    taken *self = context;
    self->calls++;
    if (self->refuse) {
        return false;
    }
    REQUIRE(size <= sizeof self->data);
    if (size > 0) {
        memcpy(self->data, data, size);
    }
    self->size = size;
    return true;
}

static void pair_of(ipcx_chan **a, ipcx_chan **b, int trust)
{
    const ipcx_chan_options options = {.trust = trust, .ring = 64 * K, .max_message = 1024 * K};
    REQUIRE_OK(ipcx__chan_shm_pair("shm://", &options, a, b, NULL));
}

static ipcx_status push(ipcx_chan *chan, uint64_t number, size_t size)
{
    ipcx_status status;
    message_fill(bytes, number, size);
    status = chan->transport->quick->push(chan, bytes, size);
    if (status == IPCX_MORE) {
        chan->transport->quick->wake(chan);
        status = IPCX_OK;
    }
    return status;
}

static ipcx_status pull(ipcx_chan *chan, taken *into)
{
    return chan->transport->quick->pull(chan, take, into);
}

/* The message by whatever way it comes. */
static void receive(ipcx_chan *chan, uint64_t number, size_t size)
{
    static _Thread_local taken into;
    ipcx_message got;
    ipcx_status status = number % 3 != 0 ? pull(chan, &into) : IPCX_AGAIN;
    if (status == IPCX_AGAIN && number % 4 != 0 && chan->transport->quick->stay(chan) == IPCX_OK) {
        status = pull(chan, &into);
    }
    if (status == IPCX_OK) {
        CHECK_INT(into.size, size);
        CHECK(message_is(into.data, number, size));
        return;
    }
    REQUIRE(status == IPCX_AGAIN);
    REQUIRE_OK(ipcx_chan_receive(chan, &got, IPCX_FOREVER, NULL));
    CHECK_INT(got.size, size);
    CHECK(message_is(got.data, number, size));
    ipcx_chan_release(chan, &got);
}

/* An end is taken into use by the other way. */
static void begin(ipcx_chan *a, ipcx_chan *b)
{
    message_fill(bytes, 0, 8);
    CHECK_STATUS(a->transport->quick->push(a, bytes, 8), IPCX_AGAIN);
    REQUIRE_OK(ipcx_chan_send(a, &(ipcx_message){.data = bytes, .size = 8}, IPCX_NOW, NULL, NULL));
    receive(b, 0, 8);
}

TEST(sizes_and_counts)
{
    const size_t sizes[] = {0, 1, 7, 8, 9, 64, 4000};
    ipcx_chan *a, *b;
    ipcx_chan_stats sent, received;
    uint64_t number = 1, total = 8;
    pair_of(&a, &b, IPCX_TRUST_SAME_UID);
    begin(a, b);
    for (int round = 0; round < 40; round++) { /* several times around */
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++, number++) {
            if (push(a, number, sizes[i]) != IPCX_OK) { /* behind it the next round begins */
                const ipcx_message message = {.data = bytes, .size = sizes[i]};
                REQUIRE_OK(ipcx_chan_send(a, &message, IPCX_NOW, NULL, NULL));
            }
            receive(b, number, sizes[i]);
            total += sizes[i];
        }
    }
    ipcx_chan_get_stats(a, &sent);
    ipcx_chan_get_stats(b, &received);
    CHECK_INT(sent.sent, number);
    CHECK_INT(sent.sent_bytes, total);
    CHECK_INT(received.received, number);
    CHECK_INT(received.received_bytes, total);
    stream_free(a, b);
}

TEST(where_it_does_not_go_nothing_happens)
{
    static taken into;
    ipcx_chan *a, *b;
    ipcx_loan view = {0};
    uint64_t sent = 0;
    pair_of(&a, &b, IPCX_TRUST_SAME_UID);
    begin(a, b);
    CHECK_STATUS(pull(b, &into), IPCX_AGAIN); /* nothing there */
    CHECK_STATUS(a->transport->quick->push(a, bytes, IPCX__QUICK_MAX + 1), IPCX_AGAIN);
    REQUIRE_OK(
        ipcx_chan_send(a, &(ipcx_message){.data = "text", .size = 4, .flags = IPCX_MESSAGE_TEXT},
                       IPCX_NOW, NULL, NULL));
    CHECK_STATUS(pull(b, &into), IPCX_AGAIN);
    CHECK_INT(into.calls, 0);
    REQUIRE_OK(ipcx_chan_receive_view(b, &view, IPCX_NOW, NULL));
    CHECK(view.size == 4 && memcmp(view.data, "text", 4) == 0);
    REQUIRE_OK(ipcx_chan_return_view(&view, IPCX_NOW));
    while (push(a, sent + 1, 1000) == IPCX_OK) { /* until there is no room */
        sent++;
    }
    CHECK(sent > 50);
    into.refuse = true; /* what cannot be taken stays */
    CHECK_STATUS(pull(b, &into), IPCX_NOMEM);
    CHECK_INT(into.calls, 1);
    REQUIRE_OK(ipcx_chan_poll(b, IPCX_NOW, NULL)); /* it is held for the next receive */
    CHECK_STATUS(pull(b, &into), IPCX_AGAIN);
    for (uint64_t i = 1; i <= sent; i++) {
        receive(b, i, 1000);
    }
    REQUIRE_OK(ipcx_chan_close(b, IPCX_NOW, NULL, NULL));
    CHECK_STATUS(pull(b, &into), IPCX_AGAIN);
    CHECK_STATUS(push(a, 1, 8), IPCX_AGAIN);
    CHECK_INT(into.calls, 1);
    stream_free(a, b);
}

TEST(a_peer_that_is_not_trusted_is_read_the_other_way)
{
    static taken into;
    ipcx_chan *a, *b;
    pair_of(&a, &b, IPCX_TRUST_NONE);
    begin(a, b);
    REQUIRE_OK(push(a, 1, 64));
    CHECK_STATUS(pull(b, &into), IPCX_AGAIN);
    receive(b, 1, 64);
    stream_free(a, b);
}

/* Whatever the other side has written: an error for ring.c to tell, and no byte of it taken. */
TEST(a_wrong_record_is_left_alone)
{
    const uint64_t wrong[] = {0,
                              64,
                              UINT64_C(2) << 32,
                              UINT64_C(1) << 32 | 65,
                              UINT64_C(1) << 32 | UINT32_MAX,
                              UINT64_C(0x101) << 32 | 8,
                              UINT64_MAX};
    ring_pair ring;
    uint64_t size;
    ring_open(&ring, 64 * K, 64 * K, 4 * K, 0);
    atomic_store(&ring.words->tail, 72);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(ring.data, &wrong[i], sizeof *wrong);
        CHECK(ipcx__ring_peek(&ring.rx, &size) == NULL);
        ring.rx.tail = 0;
    }
    size = UINT64_C(1) << 32 | 64;
    memcpy(ring.data, &size, sizeof size);
    CHECK(ipcx__ring_peek(&ring.rx, &size) == ring.data + 8 && size == 64);
    ring.rx.tail = 0;
    for (int i = 0; i < 3; i++) {
        atomic_store(&ring.words->tail, i == 0 ? 73 : i == 1 ? 64 * K + 8 : UINT64_MAX - 7);
        CHECK(ipcx__ring_peek(&ring.rx, &size) == NULL);
    }
    CHECK_INT(ring.rx.head, 0);
    ring_close(&ring);
}

/* ---- all ways at once, two threads, which sleep and wake each other */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define MANY 20000
#else
#define MANY 200000
#endif

static uint64_t many(void)
{
    return check_valgrind() ? 2000 : MANY;
}

static size_t size_of(uint64_t number)
{
    return number % 1999 == 7 ? 100 * K : number % 1024;
}

static void *send_them(void *chan)
{
    static uint8_t data[100 * K];
    for (uint64_t i = 1; i <= many(); i++) {
        const ipcx_message message = {.data = data, .size = size_of(i)};
        const ipcx__quick *quick = ((ipcx_chan *)chan)->transport->quick;
        ipcx_status status;
        message_fill(data, i, message.size);
        status = i % 5 != 0 ? quick->push(chan, data, message.size) : IPCX_AGAIN;
        if (status == IPCX_MORE) {
            quick->wake(chan);
        } else if (status == IPCX_AGAIN) {
            REQUIRE_OK(ipcx_chan_send(chan, &message, IPCX_FOREVER, NULL, NULL));
        }
    }
    return NULL;
}

TEST(both_ways_mixed_between_threads)
{
    ipcx_chan *a, *b;
    pthread_t sender;
    pair_of(&a, &b, IPCX_TRUST_SAME_UID);
    begin(a, b);
    REQUIRE(pthread_create(&sender, NULL, send_them, a) == 0);
    for (uint64_t i = 1; i <= many(); i++) {
        receive(b, i, size_of(i));
    }
    REQUIRE(pthread_join(sender, NULL) == 0);
    stream_free(a, b);
}

static void *send_one(void *chan)
{
    const ipcx_message message = {.data = bytes, .size = 1000};
    REQUIRE_OK(ipcx_chan_send(chan, &message, IPCX_FOREVER, NULL, NULL));
    return NULL;
}

/* Who finds the ring full stays awake for more room than it needs, and goes with what it needs. */
TEST(room_for_one_is_enough)
{
    static taken into;
    ipcx_chan *a, *b;
    pthread_t sender;
    pair_of(&a, &b, IPCX_TRUST_SAME_UID);
    begin(a, b);
    while (push(a, 1, 1000) == IPCX_OK) { /* until there is no room */
    }
    REQUIRE(pthread_create(&sender, NULL, send_one, a) == 0);
    CHECK_OK(pull(b, &into));
    REQUIRE(pthread_join(sender, NULL) == 0);
    stream_free(a, b);
}
