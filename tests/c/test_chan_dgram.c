/* SPDX-License-Identifier: Apache-2.0
 * chan_dgram: frames in datagrams at a guard page, numbers against a model, ends in pairs, threads
 * that share one, what memory and fork do to it. */
#include "check.h"

#include "link/datagram/chan_dgram.h"
#include "link/datagram/dgram_table.h"
#include "link/datagram/track.h"
#include "link/datagram/udp.h"
#include "streams.h"
#include "wire/datagram.h"

#define LONG (IPCX_FOREVER - 1)

static void pair(ipcx_chan **a, ipcx_chan **b, const ipcx_chan_options *options)
{
    REQUIRE_OK(ipcx_pair("udp://", options, a, b, NULL));
}

/* ---- the frame */

static size_t encode(const ipcx__datagram *frame, uint8_t *to)
{
    size_t size = ipcx__datagram_head(frame, to);
    size_t head = size;
    if (frame->payload_size > 0) {
        memcpy(to + size, frame->payload, frame->payload_size);
        size += frame->payload_size;
    }
    return size + ipcx__datagram_tail(frame, to, head, to + size);
}

TEST(a_frame_as_the_documentation_has_it)
{
    static const uint8_t expected[] = {'I', 'X', 1, 1, 0, 11, 0, 24, 0, 0, 0, 3, 0,   0,   0,  0,
                                       0,   0,   0, 5, 1, 2,  3, 4,  5, 6, 7, 8, 9,   9,   9,  9,
                                       9,   9,   9, 9, 0, 0,  0, 0,  0, 0, 0, 5, 'h', 'e', 'y'};
    const ipcx__datagram frame = {.type = IPCX_FRAME_DATA,
                                  .flags =
                                      IPCX_FRAME_TEXT | IPCX_FRAME_SYNC | IPCX_FRAME_CORRELATION,
                                  .from = 0x0102030405060708,
                                  .to = 0x0909090909090909,
                                  .sequence = 5,
                                  .correlation = 5,
                                  .payload = "hey",
                                  .payload_size = 3};
    uint8_t bytes[128];
    CHECK_INT(encode(&frame, bytes), sizeof expected);
    CHECK_MEM(bytes, expected, sizeof expected);
}

TEST(every_cut_and_every_flipped_bit)
{
    const ipcx__datagram frame = {.type = IPCX_FRAME_DATA,
                                  .flags = IPCX_FRAME_CRC | IPCX_FRAME_TEXT,
                                  .from = 1,
                                  .to = 2,
                                  .sequence = 3,
                                  .payload = "payload",
                                  .payload_size = 7};
    uint8_t bytes[128];
    ipcx__datagram got;
    size_t size = encode(&frame, bytes);
    for (size_t n = 0; n <= size; n++) {
        char *copy = check_guarded(bytes, n);
        CHECK(ipcx__datagram_parse(copy, n, 100, &got) == (n == size));
        check_unguard(copy, n);
    }
    CHECK(got.from == 1 && got.to == 2 && got.sequence == 3 && got.payload_size == 7);
    CHECK(!ipcx__datagram_parse(bytes, size, 6, &got));
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(!ipcx__datagram_parse(bytes, size, 100, &got));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* ---- numbers */

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

TEST(numbers_against_a_model)
{
    enum { MOST = 60000 };
    static ipcx__track track;
    static uint8_t came[MOST + 1];
    uint64_t highest = 0, seen = 0, late = 0, again = 0;
    for (int i = 0; i < 200000; i++) {
        uint64_t back = next_random() % (i % 1000 == 0 ? 20000 : 40);
        uint64_t number = highest + 8 > back ? highest + 8 - back : 1;
        ipcx__track_verdict verdict;
        if (number > MOST) {
            continue;
        }
        verdict = ipcx__track_look(&track, number);
        if (number + IPCX__TRACK_WINDOW <= highest) {
            CHECK_INT(verdict, IPCX__TRACK_OLD);
            continue;
        }
        CHECK_INT(verdict, came[number] ? IPCX__TRACK_DUPLICATE : IPCX__TRACK_NEW);
        again += came[number];
        if (verdict == IPCX__TRACK_NEW) {
            ipcx__track_take(&track, number);
            came[number] = 1;
            seen++;
            late += number < highest;
            highest = number > highest ? number : highest;
        }
        REQUIRE(ipcx__track_lost(&track) == highest - seen);
    }
    CHECK_INT(track.reordered, late);
    CHECK_INT(track.duplicates, again);
}

TEST(a_number_far_ahead_needs_another_that_says_so)
{
    static ipcx__track track;
    CHECK_INT(ipcx__track_look(&track, UINT64_MAX), IPCX__TRACK_ASTRAY);
    CHECK_INT(ipcx__track_look(&track, UINT64_MAX), IPCX__TRACK_ASTRAY);
    CHECK_INT(ipcx__track_look(&track, 1), IPCX__TRACK_NEW);
    ipcx__track_take(&track, 1);
    CHECK_INT(ipcx__track_look(&track, 1u << 30), IPCX__TRACK_ASTRAY);
    CHECK_INT(ipcx__track_look(&track, (1u << 30) + 1), IPCX__TRACK_NEW);
    ipcx__track_take(&track, (1u << 30) + 1);
    CHECK_INT(ipcx__track_lost(&track), (1u << 30) - 1);
    CHECK_INT(ipcx__track_look(&track, 2), IPCX__TRACK_OLD);
    CHECK_INT(ipcx__track_look(&track, 0), IPCX__TRACK_OLD);
}

/* ---- the listener's table */

TEST(a_table_of_strangers_is_bounded)
{
    static ipcx__dgram_table table;
    ipcx__dgram_caller *caller;
    ipcx_addr from;
    int dropped = 0;
    REQUIRE_OK(ipcx_addr_ip(&from, "192.0.2.1", 5000, NULL));
    ipcx__dgram_table_begin(&table, 3, 500);
    for (uint64_t epoch = 1; epoch <= 10; epoch++) {
        REQUIRE(ipcx__dgram_table_add(&table, &from, epoch, &dropped) != NULL);
    }
    CHECK_INT(table.count, 3);
    CHECK_INT(dropped, 7);
    CHECK(ipcx__dgram_table_find(&table, &from, 7) == NULL);
    caller = ipcx__dgram_table_find(&table, &from, 9);
    REQUIRE(caller != NULL);
    CHECK(ipcx__dgram_table_keep(&table, caller, &table, 400));
    CHECK(!ipcx__dgram_table_keep(&table, caller, &table, 400));
    caller->until = 1;
    CHECK_INT(ipcx__dgram_table_age(&table), 1);
    CHECK_INT(table.bytes, 0);
    CHECK(ipcx__dgram_table_find(&table, &from, 9) == NULL);
    CHECK(ipcx__dgram_table_find(&table, &from, 10) != NULL);
    while (table.oldest != NULL) {
        ipcx__dgram_table_remove(&table, table.oldest);
    }
    for (uint64_t epoch = 1; epoch <= 5000; epoch++) {
        ipcx__dgram_table_know(&table, &from, epoch);
        CHECK(ipcx__dgram_table_knows(&table, &from, epoch));
    }
    CHECK(!ipcx__dgram_table_knows(&table, &from, 5001));
}

/* ---- the channel */

TEST(there_and_back)
{
    ipcx_chan *a, *b;
    pair(&a, &b, NULL);
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    stream_say(a, "hello");
    stream_say(a, "");
    stream_say(b, "ḧä");
    CHECK_HEARS(b, "hello");
    CHECK_HEARS(b, "");
    CHECK_HEARS(a, "ḧä");
    CHECK_RECEIVES(a, ipcx_deadline_after(MS), IPCX_TIMEOUT);
    CHECK_OK(ipcx_chan_flush(a, IPCX_NOW, NULL));
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    CHECK_STATUS(stream_say_by(b, "x", IPCX_FOREVER), IPCX_PEER_CLOSED);
    stream_free(a, b);
}

typedef struct job {
    ipcx_chan *chan;
    int got;
} job;

static void *receive_all(void *given)
{
    job *self = given;
    ipcx_message message;
    while (ipcx_chan_receive(self->chan, &message, IPCX_FOREVER, NULL) == IPCX_OK) {
        ipcx_chan_release(self->chan, &message);
        self->got++;
    }
    return NULL;
}

TEST(several_threads_receive_and_send_in_step)
{
    job jobs[3] = {0};
    pthread_t threads[3];
    ipcx_chan *a, *b;
    pair(&a, &b, NULL);
    for (int i = 0; i < 3; i++) {
        jobs[i].chan = b;
        REQUIRE(pthread_create(&threads[i], NULL, receive_all, &jobs[i]) == 0);
    }
    for (int i = 0; i < 300; i++) {
        const ipcx_message message = {.data = "x", .size = 1, .flags = IPCX_MESSAGE_SYNC};
        REQUIRE_OK(ipcx_chan_send(a, &message, LONG, NULL, NULL));
    }
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    for (int i = 0; i < 3; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    CHECK_INT(jobs[0].got + jobs[1].got + jobs[2].got, 300);
    stream_free(a, b);
}

TEST(close_wakes_who_waits)
{
    job one = {0};
    pthread_t thread;
    ipcx_chan *a, *b;
    pair(&a, &b, NULL);
    one.chan = b;
    REQUIRE(pthread_create(&thread, NULL, receive_all, &one) == 0);
    CHECK_OK(ipcx_chan_close(b, IPCX_FOREVER, NULL, NULL));
    REQUIRE(pthread_join(thread, NULL) == 0);
    stream_free(a, b);
}

TEST(a_note_that_export_did_not_write)
{
    ipcx_chan *a, *b, *c = NULL;
    ipcx_chan_end end;
    pair(&a, &b, NULL);
    REQUIRE_OK(ipcx_chan_export(a, &end, NULL));
    for (int i = 0; i < 32; i++) {
        ipcx_chan_end other = end;
        other.note[i] ^= 1;
        CHECK_STATUS(ipcx_chan_import(&other, &c, NULL), IPCX_PROTOCOL);
    }
    end.count = 2;
    CHECK_STATUS(ipcx_chan_import(&end, &c, NULL), IPCX_PROTOCOL);
    CHECK(c == NULL);
    stream_free(a, b);
}

static void talk(void)
{
    ipcx_message got, sync = {.data = "sync", .size = 4, .flags = IPCX_MESSAGE_SYNC};
    ipcx_sending sending = {0};
    ipcx_listener *listener;
    ipcx_chan *a, *b;
    if (ipcx_pair("udp://", NULL, &a, &b, NULL) == IPCX_OK) {
        (void)!ipcx_chan_send(a, &sync, IPCX_NOW, &sending, NULL);
        if (ipcx_chan_receive(b, &got, IPCX_NOW, NULL) == IPCX_OK) {
            ipcx_chan_release(b, &got);
        }
        stream_free(a, b);
    }
    if (ipcx_listen("udp://127.0.0.1:0", NULL, &listener, NULL) == IPCX_OK) {
        if (ipcx_connect(ipcx_listener_url(listener), NULL, LONG, &a, NULL) == IPCX_OK) {
            (void)!stream_say_by(a, "hello", IPCX_NOW);
            if (ipcx_listener_accept(listener, &b, IPCX_NOW, NULL) == IPCX_OK) {
                ipcx_chan_free(b);
            }
            ipcx_chan_free(a);
        }
        ipcx_listener_free(listener);
    }
}

TEST(every_allocation_fails_once)
{
    for (uint64_t k = 1; k <= 40; k++) {
        ipcx_alloc_fail_at(k);
        talk();
    }
    ipcx_alloc_fail_at(0);
    talk();
}
