/* SPDX-License-Identifier: Apache-2.0
 * chan_stream: messages over a stream of bytes, one thread, a peer that behaves. */
#include "check.h"

#include "streams.h"

TEST(there_and_back)
{
    ipcx_chan *a, *b;
    ipcx_message got, binary = stream_message("\0\1\xff", 3, 0), empty = {0};
    stream_pair(&a, &b, NULL);
    stream_say(a, "hello");
    CHECK_HEARS(b, "hello");
    stream_say(b, "grüß dich");
    CHECK_HEARS(a, "grüß dich");
    CHECK_OK(ipcx_chan_send(a, &binary, IPCX_NOW, NULL, NULL));
    CHECK_OK(ipcx_chan_send(a, &empty, IPCX_NOW, NULL, NULL));
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_NOW, NULL));
    CHECK_INT(got.size, 3);
    CHECK_INT(got.flags, 0);
    CHECK_MEM(got.data, "\0\1\xff", 3);
    ipcx_chan_release(b, &got);
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_NOW, NULL));
    CHECK_INT(got.size, 0);
    ipcx_chan_release(b, &got);
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    CHECK_RECEIVES(b, ipcx_deadline_after(MS), IPCX_TIMEOUT);
    stream_free(a, b);
}

TEST(the_end_is_clean_after_a_goodbye)
{
    ipcx_chan *a, *b;
    stream_pair(&a, &b, NULL);
    stream_say(a, "first");
    stream_say(a, "last");
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK_HEARS(b, "first");
    CHECK_HEARS(b, "last");
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
    CHECK_STATUS(stream_say_by(b, "x", IPCX_FOREVER), IPCX_PEER_CLOSED);
    CHECK_STATUS(stream_say_by(a, "x", IPCX_FOREVER), IPCX_CLOSED);
    stream_free(a, b);
}

/* ---- long messages through narrow buffers */

typedef struct talker {
    ipcx_chan *chan;
    pthread_t thread;
    const size_t *sizes;
    size_t count;
    size_t burst; /* 0: one at a time */
} talker;

static uint8_t *pattern(size_t size, unsigned salt)
{
    uint8_t *bytes = ipcx_alloc(size + 1);
    REQUIRE(bytes != NULL);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 31 + (i >> 8) + salt);
    }
    return bytes;
}

static void *talk(void *arg)
{
    talker *self = arg;
    for (size_t i = 0; i < self->count; i++) {
        uint8_t *bytes = pattern(self->sizes[i], (unsigned)i);
        ipcx_message message = stream_message(bytes, self->sizes[i], 0);
        CHECK_OK(ipcx_chan_send(self->chan, &message, IPCX_FOREVER, NULL, NULL));
        ipcx_free(bytes);
    }
    return NULL;
}

static void check_pattern(ipcx_chan *chan, size_t size, unsigned salt)
{
    uint8_t *bytes = pattern(size, salt);
    ipcx_message got;
    REQUIRE_OK(ipcx_chan_receive(chan, &got, IPCX_FOREVER, NULL));
    CHECK_INT(got.size, size);
    CHECK(got.size == size && memcmp(got.data, bytes, size) == 0);
    ipcx_chan_release(chan, &got);
    ipcx_free(bytes);
}

static const size_t sizes[] = {0,
                               1,
                               2,
                               243,
                               244,
                               2047,
                               2048,
                               2049,
                               4095,
                               4096,
                               4097,
                               16384,
                               65523,
                               65535,
                               65536,
                               65537,
                               1,
                               0,
                               99999,
                               5,
                               1 << 20,
                               3,
                               5 * 1024 * 1024 + 1,
                               7};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void check_sizes(const ipcx_chan_options *options)
{
    ipcx_chan *a, *b;
    talker self = {.sizes = sizes, .count = SIZES};
    stream_pair_narrow(&a, &b, options);
    self.chan = a;
    REQUIRE(pthread_create(&self.thread, NULL, talk, &self) == 0);
    for (unsigned i = 0; i < SIZES; i++) {
        check_pattern(b, sizes[i], i);
    }
    pthread_join(self.thread, NULL);
    stream_free(a, b);
}

TEST(every_size_through_narrow_buffers)
{
    check_sizes(NULL);
}

TEST(the_same_with_checksums)
{
    check_sizes(&(ipcx_chan_options){.checksum = 1});
}

TEST(both_directions_at_once)
{
    ipcx_chan *a, *b;
    talker left = {.sizes = sizes, .count = SIZES}, right = left;
    stream_pair_narrow(&a, &b, NULL);
    left.chan = a;
    right.chan = b;
    REQUIRE(pthread_create(&left.thread, NULL, talk, &left) == 0);
    REQUIRE(pthread_create(&right.thread, NULL, talk, &right) == 0);
    for (unsigned i = 0; i < SIZES; i++) {
        check_pattern(b, sizes[i], i);
        check_pattern(a, sizes[i], i);
    }
    pthread_join(left.thread, NULL);
    pthread_join(right.thread, NULL);
    stream_free(a, b);
}

TEST(many_small_messages_keep_their_order)
{
    enum { COUNT = 20000 };
    static size_t small[COUNT];
    ipcx_chan *a, *b;
    talker self = {.sizes = small, .count = COUNT};
    for (size_t i = 0; i < COUNT; i++) {
        small[i] = i % 90;
    }
    stream_pair(&a, &b, NULL);
    self.chan = a;
    REQUIRE(pthread_create(&self.thread, NULL, talk, &self) == 0);
    for (unsigned i = 0; i < COUNT; i++) {
        check_pattern(b, small[i], i);
    }
    pthread_join(self.thread, NULL);
    stream_free(a, b);
}

/* ---- what a call that ends early leaves behind */

TEST(a_send_that_times_out_has_begun_and_the_rest_goes_first)
{
    enum { SIZE = 300000 };
    ipcx_chan *a, *b;
    ipcx_chan_stats stats;
    ipcx_sending sending = {0}, none = {0};
    uint8_t *bytes = pattern(SIZE, 7);
    ipcx_message large = stream_message(bytes, SIZE, 0), small = stream_message("x", 1, 0);
    stream_pair_narrow(&a, &b, NULL);
    stream_say(a, "before");
    CHECK_STATUS(ipcx_chan_send(a, &large, ipcx_deadline_after(MS), &sending, NULL), IPCX_TIMEOUT);
    CHECK_INT(sending.begun, 1);
    ipcx_chan_get_stats(a, &stats);
    CHECK(stats.owed > 0 && stats.owed < SIZE);
    CHECK_INT(stats.timeouts, 1);
    memset(bytes, 0, SIZE); /* it is a copy that is kept */
    ipcx_free(bytes);
    /* There is no room for the next one, of which nothing leaves. */
    CHECK_STATUS(ipcx_chan_send(a, &small, IPCX_NOW, &none, NULL), IPCX_AGAIN);
    CHECK_INT(none.begun, 0);
    CHECK_STATUS(ipcx_chan_send(a, &small, ipcx_deadline_after(MS), &none, NULL), IPCX_TIMEOUT);
    CHECK_INT(none.begun, 0);
    CHECK_STATUS(ipcx_chan_flush(a, ipcx_deadline_after(MS), NULL), IPCX_TIMEOUT);
    CHECK_HEARS(b, "before");
    while (ipcx_chan_poll(b, IPCX_NOW, NULL) != IPCX_OK) {
        /* A wait of any kind sends the rest on. */
        CHECK_RECEIVES(a, ipcx_deadline_after(10000), IPCX_TIMEOUT);
    }
    check_pattern(b, SIZE, 7);
    CHECK_OK(ipcx_chan_send(a, &large, IPCX_NOW, &sending, NULL)); /* the same one: it is out */
    CHECK_INT(sending.begun, 0);
    CHECK_OK(ipcx_chan_flush(a, IPCX_NOW, NULL));
    ipcx_chan_get_stats(a, &stats);
    CHECK_INT(stats.owed, 0);
    CHECK_INT(stats.sent, 2);
    CHECK_OK(ipcx_chan_send(a, &small, IPCX_NOW, &none, NULL));
    CHECK_HEARS(b, "x");
    stream_free(a, b);
}

TEST(close_sends_the_rest_or_says_what_was_lost)
{
    enum { SIZE = 300000 };
    ipcx_chan *a, *b;
    uint8_t *bytes = pattern(SIZE, 7);
    ipcx_message large = stream_message(bytes, SIZE, 0);
    size_t unsent = 9;
    talker self = {.sizes = sizes};
    stream_pair_narrow(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_send(a, &large, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_close(a, ipcx_deadline_after(MS), &unsent, NULL), IPCX_TIMEOUT);
    CHECK_INT(unsent, 1);
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_PEER_DIED);
    stream_free(a, b);

    stream_pair_narrow(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_send(a, &large, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
    self.chan = b;
    REQUIRE(pthread_create(&self.thread, NULL, talk, &self) == 0); /* sends nothing: a thread */
    pthread_join(self.thread, NULL);
    CHECK_OK(ipcx_chan_close(a, IPCX_NOW, &unsent, NULL));
    CHECK_INT(unsent, 1);
    stream_free(a, b);
    ipcx_free(bytes);
}

static void *close_it(void *arg)
{
    size_t unsent = 9;
    CHECK_OK(ipcx_chan_close(arg, IPCX_FOREVER, &unsent, NULL));
    CHECK_INT(unsent, 0);
    return NULL;
}

TEST(close_waits_until_the_rest_is_out)
{
    enum { SIZE = 300000 };
    ipcx_chan *a, *b;
    pthread_t closer;
    uint8_t *bytes = pattern(SIZE, 3);
    ipcx_message large = stream_message(bytes, SIZE, 0);
    stream_pair_narrow(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_send(a, &large, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
    ipcx_free(bytes);
    REQUIRE(pthread_create(&closer, NULL, close_it, a) == 0);
    check_pattern(b, SIZE, 3);
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    pthread_join(closer, NULL);
    stream_free(a, b);
}

/* ---- many at a time */

TEST(send_many_is_as_many_sends)
{
    enum { COUNT = 3000 };
    static ipcx_message messages[COUNT];
    ipcx_chan *a, *b;
    ipcx_sending sending = {0};
    ipcx_chan_stats stats;
    uint8_t *bytes = pattern(200000, 0);
    ipcx_status status;
    size_t received = 0;
    for (size_t i = 0; i < COUNT; i++) {
        messages[i] = stream_message(bytes, i % 500 == 499 ? 200000 - i : i % 300, 0);
    }
    stream_pair_narrow(&a, &b, NULL);
    do {
        size_t before = sending.taken;
        ipcx_message got;
        status = ipcx_chan_send_many(a, messages, COUNT, IPCX_NOW, &sending, NULL);
        CHECK(sending.taken >= before && sending.taken <= COUNT);
        while (ipcx_chan_receive(b, &got, IPCX_NOW, NULL) == IPCX_OK) {
            CHECK_INT(got.size, messages[received].size);
            CHECK(memcmp(got.data, bytes, got.size) == 0);
            received++;
            ipcx_chan_release(b, &got);
        }
    } while (status == IPCX_AGAIN);
    CHECK_OK(status);
    while (received < COUNT) {
        CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_OK);
        received++;
    }
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    ipcx_chan_get_stats(a, &stats);
    CHECK_INT(stats.sent, COUNT);
    ipcx_free(bytes);
    stream_free(a, b);
}

TEST(send_many_stops_at_what_cannot_be_sent)
{
    ipcx_chan *a, *b;
    ipcx_sending sending = {0};
    ipcx_error err = {0};
    ipcx_message bad[] = {stream_message("one", 3, 0), stream_message("two", 3, 0),
                          stream_message("\xff", 1, IPCX_MESSAGE_TEXT)};
    ipcx_message sync[] = {stream_message("one", 3, 0),
                           stream_message("two", 3, IPCX_MESSAGE_SYNC)};
    stream_pair(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_send_many(a, bad, 3, IPCX_FOREVER, &sending, &err), IPCX_INVALID);
    CHECK_INT(sending.taken, 2);
    CHECK_HEARS_NOW(b, "one");
    CHECK_HEARS_NOW(b, "two");
    sending = (ipcx_sending){0};
    CHECK_STATUS(ipcx_chan_send_many(a, sync, 2, IPCX_FOREVER, &sending, &err), IPCX_INVALID);
    CHECK_INT(sending.taken, 1);
    CHECK_HEARS_NOW(b, "one");
    CHECK_OK(ipcx_chan_send_many(a, NULL, 0, IPCX_FOREVER, &(ipcx_sending){0}, NULL));
    stream_free(a, b);
}

/* ---- limits and what cannot be done */

TEST(too_large_is_told_to_the_sender)
{
    ipcx_chan *a, *b;
    size_t receive, send;
    uint8_t *bytes = pattern(5001, 0);
    ipcx_message large = stream_message(bytes, 5001, 0), fits = stream_message(bytes, 5000, 0);
    ipcx_error err = {0};
    stream_pair(&a, &b, &(ipcx_chan_options){.max_message = 5000});
    ipcx_chan_max_message(a, &receive, &send);
    CHECK_INT(receive, 5000);
    CHECK_INT(send, 64 * 1024 * 1024);
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN); /* its HELLO is on its way */
    CHECK_STATUS(ipcx_chan_send(a, &large, IPCX_FOREVER, NULL, &err), IPCX_TOO_LARGE);
    CHECK_STR(err.detail, "5001 bytes; the peer takes 5000");
    ipcx_chan_max_message(a, &receive, &send);
    CHECK_INT(send, 5000);
    CHECK_OK(ipcx_chan_send(a, &fits, IPCX_FOREVER, NULL, NULL));
    check_pattern(b, 5000, 0);
    ipcx_free(bytes);
    stream_free(a, b);
}

TEST(what_it_cannot_do_it_says)
{
    ipcx_chan *a, *b;
    ipcx_message object = stream_message(&object, 0, IPCX_MESSAGE_OBJECT),
                 text = stream_message("\xc3", 1, IPCX_MESSAGE_TEXT);
    ipcx_error err = {0};
    uint64_t count;
    stream_pair(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_send(a, &object, IPCX_FOREVER, NULL, &err), IPCX_UNSUPPORTED);
    CHECK_STATUS(ipcx_chan_send(a, &text, IPCX_FOREVER, NULL, &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_chan_unreceived(a, &count, &err), IPCX_UNSUPPORTED);
    CHECK_STR(ipcx_chan_url(a), "unix://");
    stream_say(a, "still there");
    CHECK_HEARS(b, "still there");
    stream_free(a, b);
}

TEST(poll_takes_nothing)
{
    ipcx_chan *a, *b;
    stream_pair(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_poll(b, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_poll(b, ipcx_deadline_after(MS), NULL), IPCX_TIMEOUT);
    stream_say(a, "one");
    CHECK_OK(ipcx_chan_poll(b, IPCX_FOREVER, NULL));
    CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
    CHECK_HEARS_NOW(b, "one");
    CHECK_STATUS(ipcx_chan_poll(b, IPCX_NOW, NULL), IPCX_AGAIN);
    stream_free(a, b);
}

/* ---- without memory */

/* *allocations are those before the goodbyes, whose failure only costs the peer a goodbye. */
static ipcx_status scenario(uint64_t *allocations)
{
    static uint8_t bytes[100000];
    ipcx_message large = stream_message(bytes, sizeof bytes, 0);
    ipcx_message many[] = {stream_message("a", 1, 0), stream_message("b", 1, 0)}, got;
    ipcx_sending sending = {0};
    ipcx_chan *a = NULL, *b = NULL;
    ipcx_status status;
    int fds[2];
    stream_sockets(fds);
    status = ipcx__chan_stream_make(IPCX_SCHEME_UNIX, fds[0], fds[0], "unix://", NULL, &a, NULL);
    if (status == IPCX_OK) {
        status =
            ipcx__chan_stream_make(IPCX_SCHEME_UNIX, fds[1], fds[1], "unix://", NULL, &b, NULL);
    }
    if (status == IPCX_OK) {
        status = ipcx_chan_send(a, &large, IPCX_FOREVER, NULL, NULL);
    }
    if (status == IPCX_OK) {
        status = ipcx_chan_send_many(a, many, 2, IPCX_FOREVER, &sending, NULL);
    }
    for (int i = 0; i < 3 && status == IPCX_OK; i++) {
        status = ipcx_chan_receive(b, &got, IPCX_NOW, NULL);
        if (status == IPCX_NOMEM) { /* nothing is lost by it */
            status = ipcx_chan_receive(b, &got, IPCX_NOW, NULL) == IPCX_OK ? IPCX_NOMEM : IPCX_EOF;
            ipcx_chan_release(b, &got);
        } else if (status == IPCX_OK) {
            ipcx_chan_release(b, &got);
        }
    }
    *allocations = ipcx_alloc_count();
    if (a == NULL) {
        close(fds[0]);
    }
    if (b == NULL) {
        close(fds[1]);
    }
    stream_free(a, b);
    return status;
}

TEST(every_allocation_may_fail)
{
    uint64_t k = 1, before;
    int got_by = 0; /* a look for the peer's HELLO before a long message may fail, it is a look */
    for (;; k++) {
        ipcx_status status;
        ipcx_alloc_fail_at(k);
        status = scenario(&before);
        got_by += status == IPCX_OK && before >= k;
        CHECK(status == IPCX_OK || status == IPCX_NOMEM);
        if (ipcx_alloc_count() < k) {
            break;
        }
    }
    ipcx_alloc_fail_at(0);
    CHECK(k > 6 && got_by <= 1);
}
