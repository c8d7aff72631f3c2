/* SPDX-License-Identifier: Apache-2.0
 * ring: exact order across every edge, growth and its refusal, fragments, loans, two threads, two
 * processes, a peer that writes what it likes. */
#include "rings.h"

#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>

#include "ipcx/alloc.h"
#include "os/futex.h"

#define K ((size_t)1024)

static ipcx_status send_one(ring_pair *ring, uint64_t number, size_t size)
{
    static uint8_t bytes[200 * K];
    uint64_t done = 0;
    ipcx_status status;
    message_fill(bytes, number, size);
    do {
        status = ipcx__ring_send(&ring->tx, bytes, size, 0, &done);
    } while (status == IPCX_MORE);
    ipcx__ring_publish(&ring->tx);
    return status;
}

static int receive_one(ring_pair *ring, uint64_t number, size_t size)
{
    ipcx__ring_message got;
    int right;
    if (!CHECK_OK(ipcx__ring_next(&ring->rx, &got))) {
        return 0;
    }
    right = CHECK_INT(got.size, size) && CHECK(message_is(got.data, number, size));
    ipcx__ring_release(&ring->rx);
    return right;
}

static void expect_empty(ring_pair *ring)
{
    ipcx__ring_message got;
    CHECK_STATUS(ipcx__ring_next(&ring->rx, &got), IPCX_AGAIN);
    CHECK(ipcx__ring_empty(&ring->rx));
    CHECK_INT(ipcx__ring_unreceived(&ring->tx), 0);
}

TEST(one_message)
{
    ring_pair ring;
    ipcx__ring_message got;
    uint64_t done = 0;
    ring_open(&ring, 64 * K, 64 * K, 64 * K, 0);
    expect_empty(&ring);
    REQUIRE_OK(ipcx__ring_send(&ring.tx, "hello", 5, IPCX__RING_TEXT, &done));
    expect_empty(&ring); /* committed, not published */
    ipcx__ring_publish(&ring.tx);
    CHECK(!ipcx__ring_empty(&ring.rx));
    CHECK_INT(ipcx__ring_unreceived(&ring.tx), 1);
    CHECK(!ipcx__ring_passed(ring.words, ring.tx.published));
    REQUIRE_OK(ipcx__ring_next(&ring.rx, &got));
    CHECK(got.size == 5 && got.text && got.shared);
    CHECK_MEM(got.data, "hello", 5);
    CHECK_INT((uintptr_t)got.data % 8, 0);
    CHECK_INT(ipcx__ring_unreceived(&ring.tx), 1); /* lent is not received */
    CHECK(!ipcx__ring_freed(&ring.rx));
    ipcx__ring_release(&ring.rx);
    CHECK(ipcx__ring_freed(&ring.rx));
    CHECK(!ipcx__ring_freed(&ring.rx));
    CHECK(ipcx__ring_passed(ring.words, ring.tx.published));
    expect_empty(&ring);
    done = 0;
    REQUIRE_OK(ipcx__ring_send(&ring.tx, NULL, 0, 0, &done));
    ipcx__ring_publish(&ring.tx);
    CHECK(receive_one(&ring, 0, 0));
    ring_close(&ring);
}

/* Through every offset of a small ring, whole or limited, and over the edges of the cursor. */
TEST(every_place_and_every_edge)
{
    const uint64_t edges[] = {0, UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(1) << 63};
    size_t edge, whole;
    for (edge = 0; edge < sizeof edges / sizeof *edges; edge++) {
        for (whole = 0; whole < 2; whole++) {
            size_t size = whole ? 4096 : 32 * K;
            uint64_t number = 0;
            ring_pair ring;
            ring_open(&ring, size, 4096, 64 * K, edges[edge] - size);
            ring.refuse = true;
            for (size_t step = 0; step < 2300; step++) {
                REQUIRE_OK(send_one(&ring, number, step % 1021));
                REQUIRE_OK(send_one(&ring, number + 1, 3));
                CHECK(receive_one(&ring, number, step % 1021));
                CHECK(receive_one(&ring, number + 1, 3));
                number += 2;
            }
            CHECK(ring.tx.tail - edges[edge] < 1000 * size); /* the edge lies behind us */
            expect_empty(&ring);
            ring_close(&ring);
        }
    }
}

/* Whatever fits at all fits an empty ring, wherever its cursors stand: nobody has to receive
 * "nothing" first. */
TEST(an_empty_ring_has_room_for_half_a_ring)
{
    ring_pair ring;
    uint64_t number = 0;
    size_t step;
    ring_open(&ring, 64 * K, 4096, 64 * K, 0);
    ring.refuse = true;
    for (step = 0; step < 3000; step++) {
        REQUIRE_OK(send_one(&ring, number, step % 77));
        CHECK(receive_one(&ring, number++, step % 77));
        REQUIRE_OK(send_one(&ring, number, 2048 - 8));
        CHECK(receive_one(&ring, number++, 2048 - 8));
    }
    ring_close(&ring);
}

TEST(full_and_empty)
{
    ring_pair ring;
    uint64_t sent = 0, received = 0;
    int round;
    ring_open(&ring, 64 * K, 64 * K, 64 * K, 0 - (uint64_t)(64 * K));
    for (round = 0; round < 20; round++) {
        size_t size = (size_t)(round * 97 % 300);
        while (send_one(&ring, sent, size) == IPCX_OK) {
            sent++;
        }
        CHECK(!ipcx__ring_room(&ring.tx, size));
        CHECK_INT(ipcx__ring_unreceived(&ring.tx), sent - received);
        CHECK(receive_one(&ring, received++, size));
        CHECK(ipcx__ring_room(&ring.tx, size));
        while (received < sent) {
            REQUIRE(receive_one(&ring, received++, size));
        }
        expect_empty(&ring);
    }
    ring_close(&ring);
}

static long blocks(const ring_pair *ring)
{
    struct stat info;
    REQUIRE(fstat(ring->fd, &info) == 0);
    return (long)(info.st_blocks * 512);
}

TEST(small_messages_stay_in_a_small_ring_and_large_ones_make_it_grow)
{
    ring_pair ring;
    uint64_t number;
    ring_open(&ring, 4096 * K, IPCX__RING_LIMIT, 4096 * K, 0);
    for (number = 0; number < 5000; number++) {
        REQUIRE_OK(send_one(&ring, number, 64));
        REQUIRE(receive_one(&ring, number, 64));
    }
    CHECK_INT(ring.grown, 0);
    CHECK_INT(blocks(&ring), PAGE + IPCX__RING_LIMIT);
    REQUIRE_OK(send_one(&ring, number, 16 * K)); /* a header more than a quarter */
    CHECK(receive_one(&ring, number++, 16 * K));
    CHECK_INT(ring.grown, 1);
    CHECK_INT(ring.tx.limit, 2 * IPCX__RING_LIMIT);
    CHECK_INT(blocks(&ring), PAGE + 2 * IPCX__RING_LIMIT);
    REQUIRE_OK(send_one(&ring, number, 190 * K));
    CHECK(receive_one(&ring, number++, 190 * K));
    CHECK_INT(ring.tx.limit, 1024 * K);
    for (; number < 5100; number++) {
        REQUIRE_OK(send_one(&ring, number, 100 * K));
        REQUIRE(receive_one(&ring, number, 100 * K));
    }
    ring_close(&ring);
}

/* While records lie on both sides of the old limit. */
TEST(it_grows_in_the_middle_of_a_round)
{
    ring_pair ring;
    uint64_t sent = 0, received = 0;
    size_t size = 900;
    int round;
    ring_open(&ring, 1024 * K, 4096, 64 * K, 0 - (uint64_t)(1024 * K));
    for (round = 0; round < 400; round++) {
        size_t before = ring.tx.limit;
        while (sent - received < 3) {
            REQUIRE_OK(send_one(&ring, sent, size + sent % 5));
            sent++;
        }
        CHECK(ring.tx.limit >= before);
        REQUIRE(receive_one(&ring, received, size + received % 5));
        received++;
        if (round % 100 == 99) {
            while (received < sent) {
                REQUIRE(receive_one(&ring, received, size + received % 5));
                received++;
            }
            size *= 2;
        }
    }
    CHECK(ring.tx.limit >= 32 * K);
    ring_close(&ring);
}

TEST(refused_growth_means_a_smaller_ring)
{
    ring_pair ring;
    uint64_t number;
    ring_open(&ring, 1024 * K, 8192, 1024 * K, 0);
    ring.refuse = true;
    for (number = 0; number < 200; number++) {
        REQUIRE_OK(send_one(&ring, number, 4000));
        REQUIRE(receive_one(&ring, number, 4000));
    }
    CHECK_INT(ring.tx.limit, 8192);
    CHECK(ring.grown >= 2 && ring.grown < 10); /* asked again now and then, not each time */
    ring.refuse = false;
    for (number = 0; number < 200; number++) {
        REQUIRE_OK(send_one(&ring, number, 4000));
        REQUIRE(receive_one(&ring, number, 4000));
    }
    CHECK_INT(ring.tx.limit, 16 * K);
    ring_close(&ring);
}

/* ---- fragments */

TEST(a_message_over_half_the_ring_goes_in_fragments)
{
    enum { SIZE = 150000 };
    static uint8_t bytes[SIZE];
    ring_pair ring;
    ipcx__ring_message got;
    uint64_t done = 0;
    int rounds = 0;
    ipcx_status status, had = IPCX_AGAIN;
    ring_open(&ring, 16 * K, 16 * K, SIZE, 0 - (uint64_t)(16 * K));
    message_fill(bytes, 7, SIZE);
    do {
        status = ipcx__ring_send(&ring.tx, bytes, SIZE, IPCX__RING_TEXT, &done);
        ipcx__ring_publish(&ring.tx);
        if (status != IPCX_MORE) {
            CHECK_INT(ipcx__ring_unreceived(&ring.tx), status == IPCX_OK);
            had = ipcx__ring_next(&ring.rx, &got);
            rounds++;
        }
        REQUIRE(status == IPCX_OK || had == IPCX_AGAIN);
    } while (status != IPCX_OK);
    CHECK(rounds > 8);
    REQUIRE_OK(had);
    CHECK(got.size == SIZE && got.text && !got.shared && message_is(got.data, 7, SIZE));
    CHECK_INT(ipcx__ring_unreceived(&ring.tx), 1);
    ipcx__ring_release(&ring.rx);
    expect_empty(&ring);
    ring_close(&ring);
}

TEST(an_abandoned_message_is_discarded)
{
    static uint8_t bytes[100000];
    ring_pair ring;
    uint64_t done = 0;
    ring_open(&ring, 16 * K, 16 * K, 128 * K, 0);
    while (ipcx__ring_send(&ring.tx, bytes, sizeof bytes, 0, &done) == IPCX_MORE) {
    }
    CHECK(done > 0 && done < sizeof bytes);
    expect_empty(&ring);
    REQUIRE_OK(send_one(&ring, 1, 10));
    CHECK(receive_one(&ring, 1, 10));
    done = 0;
    CHECK_STATUS(ipcx__ring_send(&ring.tx, bytes, sizeof bytes, 0, &done), IPCX_MORE);
    /* Another fragmented one in its place. */
    done = 0;
    message_fill(bytes, 2, 20000);
    CHECK_STATUS(ipcx__ring_send(&ring.tx, bytes, 20000, 0, &done), IPCX_MORE);
    for (;;) {
        ipcx__ring_message got;
        ipcx_status status = ipcx__ring_next(&ring.rx, &got);
        if (status == IPCX_OK) {
            CHECK(got.size == 20000 && message_is(got.data, 2, 20000));
            ipcx__ring_release(&ring.rx);
            break;
        }
        REQUIRE(ipcx__ring_send(&ring.tx, bytes, 20000, 0, &done) >= 0);
        ipcx__ring_publish(&ring.tx);
    }
    expect_empty(&ring);
    ring_close(&ring);
}

TEST(no_memory_for_a_fragment_loses_nothing)
{
    static uint8_t bytes[20000];
    ring_pair ring;
    ipcx__ring_message got;
    uint64_t done = 0;
    ring_open(&ring, 64 * K, 32 * K, 128 * K, 0);
    ring.refuse = true;
    message_fill(bytes, 3, sizeof bytes);
    while (ipcx__ring_send(&ring.tx, bytes, sizeof bytes, 0, &done) == IPCX_MORE) {
    }
    ipcx__ring_publish(&ring.tx);
    ipcx_alloc_fail_at(1);
    CHECK_STATUS(ipcx__ring_next(&ring.rx, &got), IPCX_NOMEM);
    REQUIRE_OK(ipcx__ring_next(&ring.rx, &got));
    CHECK(message_is(got.data, 3, sizeof bytes));
    ipcx__ring_release(&ring.rx);
    ring_close(&ring);
}

/* ---- loans */

TEST(a_loan_is_written_in_place_shortened_or_given_up)
{
    ring_pair ring;
    uint8_t *room, *again;
    ring_open(&ring, 64 * K, 4096, 64 * K, 0);
    ring.refuse = true;
    for (uint64_t number = 0; number < 500; number++) {
        REQUIRE_OK(ipcx__ring_reserve(&ring.tx, 1500, &room));
        CHECK_INT((uintptr_t)room % 8, 0);
        memset(room, 0xee, 1500); /* given up */
        REQUIRE_OK(ipcx__ring_reserve(&ring.tx, 1000, &again));
        message_fill(again, number, 700);
        ipcx__ring_commit(&ring.tx, 700, 0);
        ipcx__ring_publish(&ring.tx);
        REQUIRE(receive_one(&ring, number, 700));
    }
    CHECK_STATUS(ipcx__ring_reserve(&ring.tx, 2041, &room), IPCX_TOO_LARGE);
    CHECK_STATUS(ipcx__ring_reserve(&ring.tx, UINT64_MAX, &room), IPCX_TOO_LARGE);
    expect_empty(&ring);
    ring_close(&ring);
}

/* ---- two at once */

static uint64_t many(void)
{
    return check_valgrind() ? 20000 : 1000000;
}

/* Mostly small ones, some at every edge, a few in fragments. */
static size_t size_of(uint64_t number)
{
    return number % 1009 == 0 ? 9000 : number % 101 == 0 ? 1300 : (size_t)(number * 7 % 90);
}

static void wait_for(_Atomic uint32_t *word, uint32_t bit)
{
    uint32_t now;
    while (((now = atomic_load(word)) & bit) != 0) {
        (void)ipcx__futex_wait(word, now, IPCX_FOREVER, IPCX__SHARED, NULL);
    }
}

static void claim(_Atomic uint32_t *word, uint32_t bit)
{
    if (ipcx__ring_claim(word, bit)) {
        (void)ipcx__futex_wake(word, INT_MAX, IPCX__SHARED);
    }
}

static int produce(ring_pair *ring, uint64_t count)
{
    static _Thread_local uint8_t bytes[9000];
    uint64_t number, done;
    for (number = 0; number < count; number++) {
        size_t size = size_of(number);
        ipcx_status status;
        message_fill(bytes, number, size);
        for (done = 0;;) {
            status = ipcx__ring_send(&ring->tx, bytes, size, 0, &done);
            if (status == IPCX_OK && number % 3 == 0) {
                break; /* a batch: published with the next */
            }
            ipcx__ring_publish(&ring->tx);
            claim(&ring->waiting[0], IPCX__RING_DATA);
            if (status == IPCX_OK) {
                break;
            }
            if (status == IPCX_AGAIN) {
                ipcx__ring_announce(&ring->waiting[1], IPCX__RING_SPACE);
                if (!ipcx__ring_room(&ring->tx, size - done)) {
                    wait_for(&ring->waiting[1], IPCX__RING_SPACE);
                }
            } else if (status != IPCX_MORE) {
                return 1;
            }
        }
    }
    ipcx__ring_publish(&ring->tx);
    claim(&ring->waiting[0], IPCX__RING_DATA);
    return 0;
}

static int consume(ring_pair *ring, uint64_t count)
{
    uint64_t number = 0;
    while (number < count) {
        ipcx__ring_message got;
        ipcx_status status = ipcx__ring_next(&ring->rx, &got);
        if (status == IPCX_OK) {
            if (got.size != size_of(number) || !message_is(got.data, number, got.size)) {
                return 1;
            }
            ipcx__ring_release(&ring->rx);
            number++;
        }
        if (ipcx__ring_freed(&ring->rx)) {
            claim(&ring->waiting[1], IPCX__RING_SPACE);
        }
        if (status == IPCX_AGAIN) {
            ipcx__ring_announce(&ring->waiting[0], IPCX__RING_DATA);
            if (ipcx__ring_empty(&ring->rx)) {
                wait_for(&ring->waiting[0], IPCX__RING_DATA);
            }
        } else if (status != IPCX_OK) {
            return 1;
        }
    }
    return 0;
}

static void *produce_many(void *ring)
{
    CHECK_INT(produce(ring, many()), 0);
    return NULL;
}

TEST(a_million_messages_between_two_threads)
{
    static ring_pair ring;
    pthread_t thread;
    ring_open(&ring, 16 * K, 4096, 64 * K, (UINT64_C(1) << 32) - 16 * K);
    REQUIRE(pthread_create(&thread, NULL, produce_many, &ring) == 0);
    CHECK_INT(consume(&ring, many()), 0);
    pthread_join(thread, NULL);
    expect_empty(&ring);
    ring_close(&ring);
}

TEST(a_million_messages_between_two_processes)
{
    ring_pair ring;
    pid_t child;
    ring_open(&ring, 64 * K, 8192, 64 * K, 0 - (uint64_t)(64 * K));
    child = fork();
    if (child == 0) {
        _exit(produce(&ring, many()));
    }
    CHECK_INT(consume(&ring, many()), 0);
    CHECK(check_child(child));
    ring_close(&ring);
}

/* ---- a peer that is none */

static void scribble(ring_pair *ring, uint64_t at, uint64_t header, uint64_t tail)
{
    memcpy(ring->data + at, &header, 8);
    atomic_store(&ring->words->tail, tail);
}

TEST(what_a_producer_can_write_wrong)
{
    const struct {
        uint64_t header, tail;
        ipcx_status status;
    } wrong[] = {
        {0, 8, IPCX_PROTOCOL},                                  /* a hole */
        {UINT64_C(9) << 32, 8, IPCX_PROTOCOL},                  /* no such kind */
        {UINT64_C(0x8001) << 32, 8, IPCX_PROTOCOL},             /* no such flag */
        {UINT64_C(1) << 32 | 1, 8, IPCX_PROTOCOL},              /* longer than committed */
        {UINT64_C(1) << 32 | UINT32_MAX, 4096, IPCX_PROTOCOL},  /* longer than the ring */
        {UINT64_C(1) << 32 | 8, 13, IPCX_PROTOCOL},             /* a cursor out of step */
        {UINT64_C(1) << 32 | 8, 4096 + 8, IPCX_PROTOCOL},       /* … ahead of the ring */
        {UINT64_C(1) << 32 | 8, UINT64_MAX - 7, IPCX_PROTOCOL}, /* … behind us */
        {UINT64_C(1) << 32 | 1000, 2048, IPCX_TOO_LARGE},       /* over the limit */
        {UINT64_C(2) << 32, 4096, IPCX_PROTOCOL},               /* a skip at a start */
        {UINT64_C(3) << 32 | 7, 16, IPCX_PROTOCOL},             /* a first fragment too short */
        {UINT64_C(3) << 32 | 8, 16, IPCX_PROTOCOL},             /* … with nothing in it */
        {UINT64_C(4) << 32 | 8, 16, IPCX_PROTOCOL},             /* … a second without a first */
        {UINT64_C(5) << 32, 8, IPCX_PROTOCOL},                  /* … a last without a first */
    };
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ring_pair ring;
        ipcx__ring_message got;
        ring_open(&ring, 4096, 4096, 500, 0);
        scribble(&ring, 0, wrong[i].header, wrong[i].tail);
        if (!CHECK_STATUS(ipcx__ring_next(&ring.rx, &got), wrong[i].status)) {
            printf("# row %zu\n", i);
        }
        CHECK(ring.rx.why != NULL);
        atomic_store(&ring.words->tail, 0);
        CHECK_STATUS(ipcx__ring_next(&ring.rx, &got), wrong[i].status); /* for good */
        ring_close(&ring);
    }
}

TEST(a_bomb_is_refused_before_anything_is_allocated)
{
    ring_pair ring;
    ipcx__ring_message got;
    uint64_t whole = UINT64_C(1) << 60;
    ring_open(&ring, 4096, 4096, 500, 0);
    memcpy(ring.data + 8, &whole, 8);
    scribble(&ring, 0, UINT64_C(3) << 32 | 16, 24);
    (void)ipcx_alloc_fail_at(0);
    CHECK_STATUS(ipcx__ring_next(&ring.rx, &got), IPCX_TOO_LARGE);
    CHECK_INT(ipcx_alloc_count(), 0);
    ring_close(&ring);
}

TEST(what_a_consumer_can_write_wrong)
{
    const uint64_t wrong[] = {12, 4096, UINT64_MAX - 7, UINT64_C(1) << 32};
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ring_pair ring;
        uint64_t number = 0;
        ring_open(&ring, 4096, 4096, 500, 0);
        atomic_store(&ring.words->head, wrong[i]);
        while (send_one(&ring, number, 100) == IPCX_OK) {
            number++;
        }
        CHECK_INT(number, 4096 / 112);
        CHECK_STATUS(send_one(&ring, number, 100), IPCX_PROTOCOL);
        CHECK(!ipcx__ring_room(&ring.tx, 1));
        CHECK(ipcx__ring_unreceived(&ring.tx) <= number);
        ring_close(&ring);
    }
}

TEST(records_scribbled_over_by_the_consumer)
{
    ring_pair ring;
    ring_open(&ring, 4096, 4096, 500, 0);
    REQUIRE_OK(send_one(&ring, 0, 100));
    REQUIRE_OK(send_one(&ring, 1, 100));
    memset(ring.data, 0xff, 4096);
    CHECK_INT(ipcx__ring_unreceived(&ring.tx), 0);
    ring_close(&ring);
}

/* Somebody who writes while we look: what was checked is what is used. TSan would see the races
 * that are the point here. */
#ifndef __SANITIZE_THREAD__
typedef struct scribbler {
    ring_pair *ring;
    uint64_t seed;
    atomic_bool stop;
} scribbler;

static void scribble_once(scribbler *self)
{
    uint64_t *data = (uint64_t *)(void *)self->ring->data, seed = self->seed;
    uint64_t tail = atomic_load(&self->ring->words->tail), at;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    at = (atomic_load(&self->ring->words->head) + seed % 64) % 4096 / 8;
    __atomic_store_n(&data[at], (seed >> 20) % 7 << 32 | (seed >> 40) % 600, __ATOMIC_RELAXED);
    atomic_store(&self->ring->words->tail, tail + (seed >> 8) % 65 * 8);
    if (seed % 50 == 0) {
        atomic_store(&self->ring->words->tail, seed);
    }
    self->seed = seed;
}

static void *scribble_on(void *arg)
{
    scribbler *self = arg;
    while (!atomic_load(&self->stop)) {
        scribble_once(self);
    }
    return NULL;
}

TEST(a_producer_that_writes_while_we_read)
{
    ring_pair ring;
    scribbler other = {.ring = &ring, .seed = 88172645463325252u};
    scribbler here = {.ring = &ring, .seed = 362436069362436069u}; /* where it has no processor */
    pthread_t thread;
    int round, whole = 0;
    ring_open(&ring, 4096, 4096, 5000, 0);
    REQUIRE(pthread_create(&thread, NULL, scribble_on, &other) == 0);
    for (round = 0; whole < 100 || round < 20000; round++) {
        ipcx__ring_message got;
        ipcx_status status = ipcx__ring_next(&ring.rx, &got);
        if (status == IPCX_OK) {
            const uint8_t *end = got.data + got.size;
            REQUIRE(got.size <= 5000);
            REQUIRE(!got.shared || (got.data >= ring.data && end <= ring.data + 2 * 4096));
            ipcx__ring_release(&ring.rx);
            whole += got.size > 0;
        } else if (status < 0) { /* it would be closed; look again from where the words say */
            uint64_t at = atomic_load(&ring.words->tail) & ~UINT64_C(7);
            ipcx__ring_rx_fini(&ring.rx);
            atomic_store(&ring.words->tail, at);
            ipcx__ring_rx_init(&ring.rx, ring.words, ring.data, 4096, 5000, at);
        } else {
            scribble_once(&here);
        }
    }
    atomic_store(&other.stop, true);
    pthread_join(thread, NULL);
    ring_close(&ring);
}
#endif
