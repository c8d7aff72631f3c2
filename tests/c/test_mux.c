/* SPDX-License-Identifier: Apache-2.0
 * mux: many peers, honest and not, served by one thread that asks. */
#include "check.h"

#include <pthread.h>
#include <sys/time.h>

#include "dialing.h"
#include "ipcx/mux_info.h"
#include "streams.h"

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static ipcx_mux *serving(const char *url, const ipcx_mux_options *options)
{
    ipcx_mux *mux = NULL;
    ipcx_error err = {0};
    if (ipcx_mux_open(&url, 1, options, &mux, &err) != IPCX_OK) {
        check_fail(__FILE__, __LINE__, "%s: %s: %s", url, ipcx_status_name(err.status), err.detail);
    }
    REQUIRE(mux != NULL);
    return mux;
}

static ipcx_mux_stats stats_of(ipcx_mux *mux)
{
    ipcx_mux_stats stats;
    ipcx_mux_get_stats(mux, &stats);
    return stats;
}

static ipcx_mux_peer_info info_of(ipcx_mux_peer *peer)
{
    ipcx_mux_peer_info info;
    ipcx_mux_peer_get(peer, &info);
    return info;
}

/* What came, in the order it came; messages longer than `text` are cut there. */
typedef struct seen {
    int joined, messages, left;
    ipcx_status why;
    ipcx_mux_peer *peer; /* the last one, kept until forget */
    char text[64];
    size_t size;
    unsigned flags;
    bool echo, keeps;
} seen;

static void see(seen *self, const ipcx_mux_event *event)
{
    const ipcx_message *message = &event->message;
    ipcx_message back = {
        .data = message->data, .size = message->size, .flags = message->flags & IPCX_MESSAGE_TEXT};
    switch (event->kind) {
    case IPCX_MUX_JOINED:
        self->joined++;
        break;
    case IPCX_MUX_MESSAGE:
        self->messages++;
        self->size = message->size;
        self->flags = message->flags;
        memset(self->text, 0, sizeof self->text);
        memcpy(self->text, message->data,
               message->size < sizeof self->text ? message->size : sizeof self->text - 1);
        if (!self->keeps) {
            ipcx_mux_taken(event->peer, message);
        }
        if (self->echo) {
            (void)!ipcx_mux_send(event->peer, &back, IPCX_NOW, NULL);
        }
        break;
    case IPCX_MUX_LEFT:
        self->left++;
        self->why = event->why;
        break;
    }
    if (self->peer != event->peer) {
        ipcx_mux_peer_keep(event->peer);
        if (self->peer != NULL) {
            ipcx_mux_peer_drop(self->peer);
        }
        self->peer = event->peer;
    }
}

static void forget(seen *self)
{
    if (self->peer != NULL) {
        ipcx_mux_peer_drop(self->peer);
    }
    *self = (seen){0};
}

/* One batch. */
static ipcx_status batch(ipcx_mux *mux, seen *self, ipcx_deadline deadline)
{
    const ipcx_mux_event *events;
    size_t count;
    ipcx_status status = ipcx_mux_next(mux, &events, &count, deadline, NULL);
    if (status == IPCX_OK) {
        CHECK(count > 0);
        for (size_t i = 0; i < count; i++) {
            see(self, &events[i]);
        }
        ipcx_mux_release(mux);
    }
    return status;
}

/* Serves until so many joined, spoke, left in all. */
static void serve(ipcx_mux *mux, seen *self, int joined, int messages, int left)
{
    ipcx_deadline deadline = SOON;
    while (self->joined < joined || self->messages < messages || self->left < left) {
        ipcx_status status = batch(mux, self, deadline);
        if (status != IPCX_OK && status != IPCX_INTR) {
            check_fail(__FILE__, __LINE__, "%s after %d joined, %d messages, %d left",
                       ipcx_status_name(status), self->joined, self->messages, self->left);
            return;
        }
    }
    CHECK_INT(self->joined, joined);
    CHECK_INT(self->messages, messages);
    CHECK_INT(self->left, left);
}

/* Serves strangers until so many of them were turned away. */
static void until_refused(ipcx_mux *mux, seen *self, uint64_t count)
{
    ipcx_deadline deadline = SOON;
    while (stats_of(mux).refused < count && ipcx_deadline_left(deadline) > 0) {
        (void)batch(mux, self, ipcx_deadline_after(MS));
    }
    CHECK_INT(stats_of(mux).refused, count);
}

/* A connection with its handshake done, as bytes. */
static int raw_peer(ipcx_mux *mux, seen *self, uint32_t max_message)
{
    int joined = self->joined, fd = stranger(ipcx_mux_url(mux, 0));
    uint8_t payload[8192];
    raw out = {.size = 0};
    raw_hello(&out, max_message);
    raw_send(fd, &out);
    serve(mux, self, joined + 1, self->messages, self->left);
    CHECK_INT(raw_receive(fd, payload).type, IPCX_FRAME_HELLO);
    return fd;
}

static void say(int fd, const char *text)
{
    raw out = {.size = 0};
    raw_text(&out, text);
    raw_send(fd, &out);
}

/* ---- one peer */

static void joins_speaks_leaves(const char *url)
{
    ipcx_mux *mux = serving(url, NULL);
    seen got = {.echo = true};
    ipcx_chan *chan;
    ipcx_mux_peer_info info;
    int fd = -1;
    CHECK_OK(ipcx_mux_fileno(mux, &fd, NULL));
    CHECK(!is_readable(fd));
    CHECK_STATUS(batch(mux, &got, IPCX_NOW), IPCX_AGAIN);
    CHECK_STATUS(batch(mux, &got, ipcx_deadline_after(MS)), IPCX_TIMEOUT);
    chan = connected(ipcx_mux_url(mux, 0));
    CHECK(is_readable(fd));
    stream_say(chan, "hello");
    serve(mux, &got, 1, 1, 0);
    CHECK_STR(got.text, "hello");
    CHECK_INT(got.flags, IPCX_MESSAGE_TEXT);
    CHECK_HEARS(chan, "hello");
    info = info_of(got.peer);
    CHECK_INT(info.id, 1);
    CHECK(info.open);
    CHECK_INT(info.received, 1);
    CHECK_INT(info.received_bytes, 5);
    CHECK_INT(info.sent, 1);
    CHECK_INT(info.owed, 0);
    CHECK(strncmp(info.url, url, 4) == 0);
    CHECK_INT(info.pid, url[0] == 'u' ? getpid() : 0);
    CHECK_INT(stats_of(mux).peers, 1);
    CHECK_OK(ipcx_chan_close(chan, SOON, NULL, NULL));
    ipcx_chan_free(chan);
    serve(mux, &got, 1, 1, 1);
    CHECK_STATUS(got.why, IPCX_EOF);
    CHECK(!info_of(got.peer).open);
    CHECK_INT(stats_of(mux).peers, 0);
    CHECK_INT(stats_of(mux).joined, 1);
    CHECK_INT(stats_of(mux).left, 1);
    CHECK_STATUS(ipcx_mux_send(got.peer, &(ipcx_message){.data = "x", .size = 1}, IPCX_NOW, NULL),
                 IPCX_PEER_CLOSED);
    forget(&got);
    CHECK_OK(ipcx_mux_close(mux, SOON, NULL, NULL));
    CHECK_OK(ipcx_mux_close(mux, SOON, NULL, NULL));
    CHECK_STATUS(batch(mux, &got, IPCX_FOREVER), IPCX_CLOSED);
    CHECK_STATUS(ipcx_mux_fileno(mux, &fd, NULL), IPCX_CLOSED);
    ipcx_mux_free(mux);
}

TEST(a_peer_joins_speaks_and_leaves)
{
    folder at = folder_make();
    joins_speaks_leaves(at.url);
    CHECK(!exists(at.name) && !exists(at.lock));
    joins_speaks_leaves("tcp://127.0.0.1:0");
    joins_speaks_leaves("unix://");
    folder_remove(&at);
}

TEST(who_has_gone_before_it_was_let_in_is_heard)
{
    ipcx_mux *mux = serving("unix://", NULL);
    ipcx_chan *chan = connected(ipcx_mux_url(mux, 0));
    seen got = {.echo = true};
    stream_say(chan, "in passing");
    ipcx_chan_free(chan);
    serve(mux, &got, 1, 1, 1);
    CHECK_STR(got.text, "in passing");
    CHECK_STATUS(got.why, IPCX_EOF);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(what_cannot_be_opened_says_so)
{
    const char *const none = "inproc://name", *const bad[] = {"tcp://127.0.0.1:0", "nonsense"};
    const char *const open = "tcp://0.0.0.0:0", *const good = "tcp://127.0.0.1:0";
    ipcx_mux_options wrong = {.on_full = (ipcx_mux_full)9};
    ipcx_mux *mux = NULL;
    CHECK_STATUS(ipcx_mux_open(NULL, 0, NULL, &mux, NULL), IPCX_INVALID);
    CHECK_STATUS(ipcx_mux_open(&none, 1, NULL, &mux, NULL), IPCX_UNSUPPORTED);
    CHECK_STATUS(ipcx_mux_open(bad, 2, NULL, &mux, NULL), IPCX_INVALID_URL);
    CHECK_STATUS(ipcx_mux_open(&open, 1, NULL, &mux, NULL), IPCX_INSECURE);
    CHECK_STATUS(ipcx_mux_open(&good, 1, &wrong, &mux, NULL), IPCX_INVALID);
    CHECK(mux == NULL);
    ipcx_mux_free(NULL);
}

TEST(several_urls_are_one_server)
{
    const char *const urls[] = {"tcp://127.0.0.1:0", "unix://"};
    ipcx_mux *mux = NULL;
    seen got = {.echo = true};
    ipcx_chan *a, *b;
    REQUIRE_OK(ipcx_mux_open(urls, 2, NULL, &mux, NULL));
    CHECK(ipcx_mux_url(mux, 2) == NULL);
    a = connected(ipcx_mux_url(mux, 0));
    b = connected(ipcx_mux_url(mux, 1));
    stream_say(a, "over TCP");
    stream_say(b, "over a path");
    serve(mux, &got, 2, 2, 0);
    CHECK_HEARS(a, "over TCP");
    CHECK_HEARS(b, "over a path");
    stream_free(a, b);
    serve(mux, &got, 2, 2, 2);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(a_rendezvous_ends_when_the_message_is_taken)
{
    ipcx_mux *mux = serving("unix://", NULL);
    ipcx_chan *chan = connected(ipcx_mux_url(mux, 0));
    ipcx_message message = stream_message("now", 3, IPCX_MESSAGE_SYNC);
    ipcx_sending sending = {0};
    seen got = {.keeps = true};
    CHECK_STATUS(ipcx_chan_send(chan, &message, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    CHECK(sending.begun);
    serve(mux, &got, 1, 1, 0);
    CHECK_INT(got.flags, IPCX_MESSAGE_SYNC);
    CHECK_STATUS(ipcx_chan_send(chan, &message, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    ipcx_mux_taken(got.peer, &(ipcx_message){.flags = IPCX_MESSAGE_SYNC, .ticket = 1});
    CHECK_OK(ipcx_chan_send(chan, &message, SOON, &sending, NULL));
    forget(&got);
    ipcx_chan_free(chan);
    ipcx_mux_free(mux);
}

/* ---- bytes in any pieces */

TEST(frames_in_pieces_and_together)
{
    ipcx_mux *mux = serving("unix://", NULL);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20);
    raw out = {.size = 0};
    raw_text(&out, "first");
    raw_text(&out, "second");
    for (size_t i = 0; i < out.size; i++) {
        REQUIRE(send(fd, out.bytes + i, 1, MSG_NOSIGNAL) == 1);
        (void)batch(mux, &got, IPCX_NOW);
    }
    serve(mux, &got, 1, 2, 0);
    CHECK_STR(got.text, "second");
    out.size = 0;
    for (int i = 0; i < 300; i++) {
        raw_text(&out, "x");
    }
    raw_frame(&out, IPCX_FRAME_PING, 0, 0, "ping", 4);
    raw_frame(&out, IPCX_FRAME_PONG, 0, 0, "pong", 4);
    raw_send(fd, &out);
    serve(mux, &got, 1, 302, 0);
    {
        uint8_t payload[8192];
        ipcx_frame frame = raw_receive(fd, payload);
        CHECK_INT(frame.type, IPCX_FRAME_PONG);
        CHECK_MEM(payload, "ping", 4);
    }
    CHECK_INT(close(fd), 0);
    serve(mux, &got, 1, 302, 1);
    CHECK_STATUS(got.why, IPCX_PEER_DIED);
    forget(&got);
    ipcx_mux_free(mux);
}

/* Each cut of three frames, the last of them of a length that has memory of its own. */
TEST(cut_anywhere_the_messages_are_the_same)
{
    static const size_t sizes[] = {0, 100, 9000, 70000, 300000};
    ipcx_mux *mux = serving("unix://", NULL);
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = MIB};
    uint8_t *bytes = ipcx_alloc(MIB);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20), messages = 0;
    REQUIRE(bytes != NULL);
    memset(bytes, 'y', MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        ipcx_frame frame = {.type = IPCX_FRAME_DATA, .payload = bytes, .payload_size = sizes[i]};
        ipcx_envelope around;
        raw next = {.size = 0};
        size_t steps[] = {1, 11, 12, 13, 4000, 8192, 20000, 66000};
        REQUIRE_OK(ipcx_frame_encode(&framing, &frame, &around, NULL));
        raw_text(&next, "next");
        for (size_t j = 0; j < sizeof steps / sizeof steps[0]; j++) {
            uint8_t *stream = ipcx_alloc(sizes[i] + 64);
            size_t at = 0, size = around.head_size + sizes[i] + next.size;
            REQUIRE(stream != NULL);
            memcpy(stream, around.head, around.head_size);
            memcpy(stream + around.head_size, bytes, sizes[i]);
            memcpy(stream + around.head_size + sizes[i], next.bytes, next.size);
            while (at < size) {
                size_t most = j == 0 && at > 40 ? size : steps[j];
                size_t part = size - at < most ? size - at : most;
                ssize_t n = send(fd, stream + at, part, MSG_NOSIGNAL | MSG_DONTWAIT);
                at += n > 0 ? (size_t)n : 0;
                (void)batch(mux, &got, IPCX_NOW);
            }
            ipcx_free(stream);
            messages += 2;
            serve(mux, &got, 1, messages, 0);
            CHECK_STR(got.text, "next");
        }
    }
    CHECK_INT(stats_of(mux).received_bytes, 8 * (9000 + 70000 + 300000 + 100 + 5 * 4));
    ipcx_free(bytes);
    CHECK_INT(close(fd), 0);
    serve(mux, &got, 1, messages, 1);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(large_messages_there_and_back)
{
    ipcx_mux_options options = {.channel = {.checksum = 1}};
    ipcx_mux *mux = serving("tcp://127.0.0.1:0", &options);
    ipcx_chan *chan = connected(ipcx_mux_url(mux, 0));
    size_t size = 3 * MIB + 5;
    char *bytes = ipcx_alloc(size);
    seen got = {.echo = true};
    ipcx_sending sending = {0};
    ipcx_message message = stream_message(bytes, size, 0), back;
    ipcx_status status;
    REQUIRE(bytes != NULL);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)(i * 31);
    }
    do {
        status = ipcx_chan_send(chan, &message, IPCX_NOW, &sending, NULL);
        (void)batch(mux, &got, IPCX_NOW);
    } while (status == IPCX_AGAIN);
    CHECK_OK(status);
    do {
        (void)batch(mux, &got, IPCX_NOW);
        status = ipcx_chan_receive(chan, &back, IPCX_NOW, NULL);
    } while (status == IPCX_AGAIN);
    REQUIRE_OK(status);
    CHECK_INT(got.messages, 1);
    CHECK_INT(got.size, size);
    CHECK_INT(back.size, size);
    CHECK_MEM((const char *)back.data, bytes, size);
    ipcx_chan_release(chan, &back);
    ipcx_free(bytes);
    ipcx_chan_free(chan);
    serve(mux, &got, 1, 1, 1);
    forget(&got);
    ipcx_mux_free(mux);
}

/* ---- strangers */

static void is_refused(ipcx_mux *mux, const void *bytes, size_t size)
{
    uint64_t before = stats_of(mux).refused;
    seen got = {0};
    int fd = stranger(ipcx_mux_url(mux, 0));
    REQUIRE(send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
    until_refused(mux, &got, before + 1);
    CHECK(hung_up(fd));
    CHECK_INT(close(fd), 0);
    CHECK_INT(got.joined, 0);
    forget(&got);
}

TEST(who_speaks_something_else_is_dropped_and_the_others_are_served)
{
    ipcx_mux *mux = serving("tcp://127.0.0.1:0", NULL);
    ipcx_chan *chan = connected(ipcx_mux_url(mux, 0));
    seen got = {.echo = true};
    raw out = {.size = 0};
    stream_say(chan, "one");
    serve(mux, &got, 1, 1, 0);
    is_refused(mux, "GET / HTTP/1.1\r\n\r\n", 18);
    raw_text(&out, "no HELLO");
    is_refused(mux, out.bytes, out.size);
    out.size = 0;
    raw_frame(&out, IPCX_FRAME_HELLO, 0, 0, "short", 5);
    is_refused(mux, out.bytes, out.size);
    is_refused(mux, "IX\x01\x0b\0\0\0\0\x7f\xff\xff\xff", 12); /* a HELLO of 2 GiB */
    stream_say(chan, "two");
    serve(mux, &got, 1, 2, 0);
    CHECK_HEARS(chan, "one");
    CHECK_HEARS(chan, "two");
    ipcx_chan_free(chan);
    serve(mux, &got, 1, 2, 1);
    forget(&got);
    ipcx_mux_free(mux);
}

static void breaks(const void *bytes, size_t size, ipcx_status why)
{
    ipcx_mux_options options = {.channel = {.max_message = 100000}};
    ipcx_mux *mux = serving("unix://", &options);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20);
    say(fd, "good");
    REQUIRE(send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
    serve(mux, &got, 1, 1, 1);
    CHECK_STR(got.text, "good");
    CHECK_STATUS(got.why, why);
    CHECK_INT(stats_of(mux).wrong, why != IPCX_EOF);
    CHECK(hung_up(fd));
    CHECK_INT(close(fd), 0);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(a_peer_that_breaks_the_protocol_goes_with_a_reason)
{
    raw out = {.size = 0};
    breaks("XX", 2, IPCX_PROTOCOL);
    breaks("IX\x02", 3, IPCX_VERSION);
    breaks("IX\x01\x01\0\0\0\0\0\x01\x86\xa1", 12, IPCX_TOO_LARGE); /* 100001 bytes */
    raw_hello(&out, 4096);
    breaks(out.bytes, out.size, IPCX_PROTOCOL);
    out.size = 0;
    raw_frame(&out, IPCX_FRAME_SUBSCRIBE, 0, 0, NULL, 0);
    breaks(out.bytes, out.size, IPCX_PROTOCOL);
    out.size = 0;
    raw_frame(&out, IPCX_FRAME_DATA, IPCX_FRAME_SYNC, 0, NULL, 0);
    breaks(out.bytes, out.size, IPCX_PROTOCOL);
    out.size = 0;
    raw_frame(&out, IPCX_FRAME_DATA, IPCX_FRAME_CRC, 0, "x", 1);
    out.bytes[12] ^= 1;
    breaks(out.bytes, out.size, IPCX_CORRUPT);
    out.size = 0;
    raw_frame(&out, IPCX_FRAME_BYE, 0, 0, NULL, 0);
    raw_text(&out, "after BYE");
    breaks(out.bytes, out.size, IPCX_EOF);
}

/* A header that promises 64 MiB costs what has come, not what was promised. */
TEST(a_length_bomb_is_given_no_memory)
{
    ipcx_mux *mux = serving("unix://", NULL);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20);
    REQUIRE(send(fd, "IX\x01\x01\0\0\0\0\x04\0\0\0", 12, MSG_NOSIGNAL) == 12);
    (void)batch(mux, &got, ipcx_deadline_after(MS));
    REQUIRE(send(fd, "IX\x01\x01\0\0\0\0\x04\0\0\0", 12, MSG_NOSIGNAL) == 12);
    (void)batch(mux, &got, ipcx_deadline_after(MS));
    CHECK_INT(got.left, 0);
    CHECK_INT(close(fd), 0);
    serve(mux, &got, 1, 0, 1);
    CHECK_STATUS(got.why, IPCX_PEER_DIED);
    CHECK(strstr(info_of(got.peer).reason, "middle") != NULL);
    forget(&got);
    ipcx_mux_free(mux);
}

/* ---- time */

TEST(who_is_silent_before_its_hello_is_dropped)
{
    ipcx_mux_options options = {.channel = {.handshake_timeout = 30 * MS}};
    ipcx_mux *mux = serving("tcp://127.0.0.1:0", &options);
    ipcx_chan *chan = connected(ipcx_mux_url(mux, 0));
    int silent = stranger(ipcx_mux_url(mux, 0)), slow = stranger(ipcx_mux_url(mux, 0));
    seen got = {.echo = true};
    REQUIRE(send(slow, "IX", 2, MSG_NOSIGNAL) == 2);
    stream_say(chan, "served");
    serve(mux, &got, 1, 1, 0);
    until_refused(mux, &got, 2);
    CHECK(hung_up(silent) && hung_up(slow));
    CHECK_INT(close(silent) + close(slow), 0);
    CHECK_INT(stats_of(mux).waiting, 0);
    CHECK_INT(stats_of(mux).peers, 1);
    CHECK_HEARS(chan, "served");
    ipcx_chan_free(chan);
    serve(mux, &got, 1, 1, 1);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(a_byte_now_and_then_is_no_message)
{
    ipcx_mux_options options = {.progress_timeout = 40 * MS};
    ipcx_mux *mux = serving("unix://", &options);
    seen got = {.echo = true};
    int fd = raw_peer(mux, &got, 1 << 20);
    ipcx_deadline deadline = SOON;
    say(fd, "a whole one");
    serve(mux, &got, 1, 1, 0);
    REQUIRE(send(fd, "IX\x01\x01\0\0\0\0\x01\0\0\0", 12, MSG_NOSIGNAL) == 12);
    while (got.left == 0 && ipcx_deadline_left(deadline) > 0) {
        (void)send(fd, "a", 1, MSG_NOSIGNAL);
        (void)batch(mux, &got, ipcx_deadline_after(MS));
    }
    CHECK_INT(got.left, 1);
    CHECK_STATUS(got.why, IPCX_TIMEOUT);
    CHECK_INT(stats_of(mux).late, 1);
    CHECK_INT(close(fd), 0);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(who_is_silent_for_too_long_is_dropped_and_who_speaks_is_not)
{
    ipcx_mux_options options = {.idle_timeout = 50 * MS};
    ipcx_mux *mux = serving("unix://", &options);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20), other = raw_peer(mux, &got, 1 << 20);
    ipcx_deadline deadline = SOON;
    while (got.left == 0 && ipcx_deadline_left(deadline) > 0) {
        say(other, "here");
        (void)batch(mux, &got, ipcx_deadline_after(MS));
    }
    CHECK_INT(got.left, 1);
    CHECK_STATUS(got.why, IPCX_TIMEOUT);
    CHECK(hung_up(fd));
    CHECK_INT(stats_of(mux).peers, 1);
    CHECK_INT(close(fd) + close(other), 0);
    forget(&got);
    ipcx_mux_free(mux);
}

/* Half a message in time, the rest while the program does not ask. False: on a busy machine the
 * rest was late itself, and says nothing. */
static bool late_program(void)
{
    ipcx_mux_options options = {.idle_timeout = 20 * MS, .progress_timeout = 20 * MS};
    ipcx_mux *mux = serving("unix://", &options);
    ipcx_deadline in_time = ipcx_deadline_after(20 * MS);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20);
    bool tells;
    REQUIRE(send(fd, "IX\x01\x01\0\0", 6, MSG_NOSIGNAL) == 6);
    (void)batch(mux, &got, ipcx_deadline_after(MS));
    tells = send(fd, "\0\0\0\0\0\1x", 7, MSG_NOSIGNAL) == 7;
    tells = tells && ipcx_deadline_left(in_time) > 0;
    if (tells) {
        (void)usleep(50000); /* the program's own delay, past the time-outs: nothing waits for it */
        serve(mux, &got, 1, 1, 0);
        CHECK_STR(got.text, "x");
    }
    CHECK_INT(close(fd), 0);
    forget(&got);
    ipcx_mux_free(mux);
    return tells;
}

/* What has come while the program did not ask is no silence. */
TEST(a_late_program_drops_nobody)
{
    ipcx_deadline deadline = SOON;
    bool told = false;
    while (!told && ipcx_deadline_left(deadline) > 0) {
        told = late_program();
    }
    CHECK(told);
}

/* ---- who does not read */

static char filler[8 * 1024];

static ipcx_status fill(ipcx_mux_peer *peer, int *sent)
{
    ipcx_message message = {.data = filler, .size = sizeof filler};
    ipcx_status status = IPCX_OK;
    for (*sent = 0; *sent < 10000 && status == IPCX_OK; *sent += status == IPCX_OK) {
        status = ipcx_mux_send(peer, &message, IPCX_NOW, NULL);
    }
    return status;
}

#define FILLED (sizeof filler + IPCX_FRAME_HEADER)

/* The bytes that have come by now. */
static size_t read_all(int fd)
{
    static uint8_t bytes[65536];
    size_t all = 0;
    ssize_t n;
    do {
        n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        all += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    return all;
}

static void on_full(ipcx_mux_full rule, ipcx_status status)
{
    ipcx_mux_options options = {.channel = {.max_backlog = 256 * KIB}, .on_full = rule};
    ipcx_mux *mux = serving("unix://", &options);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20), sent = 0;
    size_t bytes = 0;
    ipcx_mux_peer *peer = got.peer;
    ipcx_message more = {.data = filler, .size = sizeof filler};
    ipcx_mux_peer_keep(peer);
    CHECK_STATUS(fill(peer, &sent), status);
    CHECK(info_of(peer).owed <= 256 * KIB);
    if (rule == IPCX_MUX_DISCONNECT) {
        serve(mux, &got, 1, 0, 1);
        CHECK_STATUS(got.why, IPCX_EXHAUSTED);
        CHECK_INT(stats_of(mux).slow, 1);
        CHECK_STATUS(ipcx_mux_send(peer, &more, IPCX_NOW, NULL), IPCX_PEER_CLOSED);
    } else {
        CHECK_INT(got.left, 0);
        CHECK(rule != IPCX_MUX_BLOCK ||
              ipcx_mux_send(peer, &more, ipcx_deadline_after(MS), NULL) == IPCX_TIMEOUT);
        while (info_of(peer).owed > 0) {
            bytes += read_all(fd);
            (void)batch(mux, &got, IPCX_NOW);
        }
        bytes += read_all(fd);
        if (rule == IPCX_MUX_DROP_OLDEST) {
            bytes += info_of(peer).dropped * FILLED;
        }
        CHECK_INT(bytes, (size_t)sent * FILLED);
        CHECK_INT(info_of(peer).dropped > 0,
                  rule == IPCX_MUX_DROP_OLDEST || rule == IPCX_MUX_DROP_NEWEST);
        CHECK_OK(ipcx_mux_send(peer, &more, IPCX_NOW, NULL));
    }
    ipcx_mux_peer_drop(peer);
    CHECK_INT(close(fd), 0);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(each_rule_for_a_peer_that_does_not_read)
{
    on_full(IPCX_MUX_DISCONNECT, IPCX_PEER_CLOSED);
    on_full(IPCX_MUX_BLOCK, IPCX_AGAIN);
    on_full(IPCX_MUX_ERROR, IPCX_AGAIN);
    on_full(IPCX_MUX_DROP_NEWEST, IPCX_AGAIN);
    on_full(IPCX_MUX_DROP_OLDEST, IPCX_OK);
}

/* Asks and never reads the answers: it is not listened to until it does. */
TEST(who_asks_without_reading_is_not_listened_to)
{
    ipcx_mux *mux = serving("unix://", NULL);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20);
    raw out = {.size = 0};
    ssize_t n = 1;
    int quiet = 0;
    for (int i = 0; i < 100; i++) {
        raw_frame(&out, IPCX_FRAME_PING, 0, 0, filler, 60);
    }
    CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < 100000 && quiet < 3; i++) {
        n = write(fd, out.bytes, out.size);
        (void)batch(mux, &got, IPCX_NOW);
        quiet = n < 0 ? quiet + 1 : 0;
    }
    CHECK_INT(quiet, 3);
    CHECK(info_of(got.peer).owed < 256 * KIB);
    CHECK_INT(got.left, 0);
    CHECK_INT(close(fd), 0);
    serve(mux, &got, 1, 0, 1);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(a_message_over_the_peers_limit)
{
    ipcx_mux_options options = {.channel = {.max_message = 8 * KIB}};
    ipcx_mux *mux = serving("unix://", &options);
    seen got = {0};
    int fd = raw_peer(mux, &got, 4096);
    ipcx_message message = {.data = filler, .size = 4096};
    ipcx_message huge = {.data = filler, .size = 8 * KIB + 1};
    uint8_t payload[8192];
    CHECK_OK(ipcx_mux_send(got.peer, &message, IPCX_NOW, NULL));
    CHECK_INT(raw_receive(fd, payload).payload_size, 4096);
    huge.data = "";
    huge.size = 8 * KIB + 1;
    huge.data = payload; /* not looked at */
    CHECK_STATUS(ipcx_mux_send(got.peer, &huge, IPCX_NOW, NULL), IPCX_TOO_LARGE);
    CHECK(info_of(got.peer).open);
    message.size = 4097;
    CHECK_STATUS(ipcx_mux_send(got.peer, &message, IPCX_NOW, NULL), IPCX_PEER_CLOSED);
    serve(mux, &got, 1, 0, 1);
    CHECK_STATUS(got.why, IPCX_TOO_LARGE);
    CHECK_STATUS(ipcx_mux_send(got.peer, &(ipcx_message){.data = "\xff", .size = 1, .flags = 1},
                               IPCX_NOW, NULL),
                 IPCX_INVALID);
    message.flags = IPCX_MESSAGE_SYNC;
    CHECK_STATUS(ipcx_mux_send(got.peer, &message, IPCX_NOW, NULL), IPCX_UNSUPPORTED);
    CHECK_INT(close(fd), 0);
    forget(&got);
    ipcx_mux_free(mux);
}

/* ---- many */

TEST(a_broadcast_reaches_all_but_one)
{
    enum { PEERS = 20 };
    ipcx_mux *mux = serving("unix://", NULL);
    ipcx_chan *peers[PEERS];
    ipcx_message message = {.data = "news", .size = 4};
    seen got = {0};
    size_t sent = 0;
    for (int i = 0; i < PEERS; i++) {
        peers[i] = connected(ipcx_mux_url(mux, 0));
        serve(mux, &got, i + 1, 0, 0);
    }
    CHECK_OK(ipcx_mux_broadcast(mux, &message, NULL, &sent, NULL));
    CHECK_INT(sent, PEERS);
    CHECK_OK(ipcx_mux_broadcast(mux, &message, got.peer, &sent, NULL)); /* the last */
    CHECK_INT(sent, PEERS - 1);
    for (int i = 0; i < PEERS; i++) {
        CHECK_HEARS(peers[i], "news");
        CHECK_RECEIVES(peers[i], IPCX_NOW, i < PEERS - 1 ? IPCX_OK : IPCX_AGAIN);
        ipcx_chan_free(peers[i]);
    }
    serve(mux, &got, PEERS, 0, PEERS);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(no_more_than_max_peers)
{
    ipcx_mux_options options = {.max_peers = 2};
    ipcx_mux *mux = serving("tcp://127.0.0.1:0", &options);
    const char *url = ipcx_mux_url(mux, 0);
    ipcx_chan *a = connected(url), *b, *c;
    int silent = stranger(url);
    seen got = {0};
    serve(mux, &got, 1, 0, 0);
    b = connected(url); /* the silent one makes room */
    until_refused(mux, &got, 1);
    serve(mux, &got, 2, 0, 0);
    CHECK(hung_up(silent));
    CHECK_INT(close(silent), 0);
    c = connected(url);
    until_refused(mux, &got, 2);
    CHECK_RECEIVES(c, SOON, IPCX_PEER_DIED);
    CHECK_INT(stats_of(mux).peers, 2);
    ipcx_chan_free(c);
    stream_free(a, b);
    serve(mux, &got, 2, 0, 2);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(without_a_descriptor_peers_wait)
{
    struct rlimit old, low;
    ipcx_mux *mux;
    ipcx_chan *a, *b;
    seen got = {.echo = true};
    int highest;
    if (check_valgrind()) { /* which has a limit of its own */
        return;
    }
    mux = serving("unix://", NULL);
    a = connected(ipcx_mux_url(mux, 0));
    serve(mux, &got, 1, 0, 0);
    b = connected(ipcx_mux_url(mux, 0));
    highest = dup(0);
    REQUIRE(highest >= 0 && close(highest) == 0);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    low = old;
    low.rlim_cur = (rlim_t)highest;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    CHECK_STATUS(batch(mux, &got, IPCX_NOW), IPCX_AGAIN);
    CHECK_INT(stats_of(mux).crowded, 1);
    stream_say(a, "served");
    serve(mux, &got, 1, 1, 0);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
    serve(mux, &got, 2, 1, 0);
    stream_free(a, b);
    serve(mux, &got, 2, 1, 2);
    forget(&got);
    ipcx_mux_free(mux);
}

/* ---- the end */

TEST(a_peer_that_is_closed_gets_what_was_queued_and_a_goodbye)
{
    ipcx_mux *mux = serving("unix://", NULL);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20), sent = 0;
    ipcx_message message = {.data = filler, .size = sizeof filler};
    size_t bytes = 0;
    for (; sent < 100; sent++) {
        CHECK_OK(ipcx_mux_send(got.peer, &message, IPCX_NOW, NULL));
    }
    CHECK(info_of(got.peer).owed > 0);
    ipcx_mux_peer_close(got.peer);
    ipcx_mux_peer_close(got.peer);
    CHECK(!info_of(got.peer).open);
    CHECK_STATUS(ipcx_mux_send(got.peer, &message, IPCX_NOW, NULL), IPCX_PEER_CLOSED);
    say(fd, "for nobody");
    while (bytes < 100 * FILLED + IPCX_FRAME_HEADER) { /* BYE is the last */
        bytes += read_all(fd);
        CHECK_STATUS(batch(mux, &got, IPCX_NOW), IPCX_AGAIN);
    }
    CHECK_INT(bytes, 100 * FILLED + IPCX_FRAME_HEADER);
    CHECK_INT(close(fd), 0);
    serve(mux, &got, 1, 0, 1);
    CHECK_OK(got.why);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(who_does_not_leave_is_left)
{
    ipcx_mux_options options = {.close_timeout = 20 * MS};
    ipcx_mux *mux = serving("unix://", &options);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20);
    ipcx_mux_peer_close(got.peer);
    serve(mux, &got, 1, 0, 1);
    CHECK_OK(got.why);
    CHECK_INT(close(fd), 0);
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(close_drains)
{
    ipcx_mux *mux = serving("tcp://127.0.0.1:0", NULL);
    ipcx_chan *chan = connected(ipcx_mux_url(mux, 0));
    int silent = stranger(ipcx_mux_url(mux, 0));
    seen got = {.echo = true};
    size_t unsent = 9;
    stream_say(chan, "last words");
    serve(mux, &got, 1, 1, 0);
    stream_say(chan, "unread, and no reason for a reset");
    forget(&got);
    CHECK_OK(ipcx_mux_close(mux, SOON, &unsent, NULL));
    CHECK_INT(unsent, 0);
    CHECK_HEARS(chan, "last words");
    CHECK_RECEIVES(chan, SOON, IPCX_EOF);
    CHECK(hung_up(silent));
    CHECK_INT(close(silent), 0);
    ipcx_chan_free(chan);
    ipcx_mux_free(mux);
}

TEST(close_tells_what_was_lost)
{
    ipcx_mux *mux = serving("unix://", NULL);
    seen got = {0};
    int fd = raw_peer(mux, &got, 1 << 20);
    ipcx_message message = {.data = filler, .size = sizeof filler};
    size_t unsent = 0;
    for (int i = 0; i < 100; i++) {
        CHECK_OK(ipcx_mux_send(got.peer, &message, IPCX_NOW, NULL));
    }
    forget(&got);
    CHECK_STATUS(ipcx_mux_close(mux, ipcx_deadline_after(5 * MS), &unsent, NULL), IPCX_TIMEOUT);
    CHECK(unsent > 0 && unsent < 100);
    CHECK_INT(close(fd), 0);
    ipcx_mux_free(mux);
}

static void *asks_forever(void *arg)
{
    seen got = {0};
    ipcx_status status;
    do {
        status = batch(arg, &got, IPCX_FOREVER);
    } while (status == IPCX_OK || status == IPCX_INTR);
    CHECK_STATUS(status, IPCX_CLOSED);
    forget(&got);
    return NULL;
}

TEST(close_wakes_who_waits)
{
    ipcx_mux *mux = serving("unix://", NULL);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, asks_forever, mux) == 0);
    }
    (void)usleep(2000); /* so that they mostly sleep by then; right either way */
    CHECK_OK(ipcx_mux_close(mux, SOON, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    ipcx_mux_free(mux);
}

typedef struct blocked {
    ipcx_mux_peer *peer;
    ipcx_status status;
    int sent;
} blocked;

static void *sends_until_it_fails(void *arg)
{
    blocked *self = arg;
    ipcx_message message = {.data = filler, .size = sizeof filler};
    do {
        self->status = ipcx_mux_send(self->peer, &message, IPCX_FOREVER, NULL);
        self->sent += self->status == IPCX_OK;
    } while ((self->status == IPCX_OK && self->sent < 2000) || self->status == IPCX_INTR);
    return NULL;
}

/* A sender that waits for room while the peer reads, hangs up, or the mux is closed. */
static void blocks_and(int what)
{
    ipcx_mux_options options = {.channel = {.max_backlog = 64 * KIB}, .on_full = IPCX_MUX_BLOCK};
    ipcx_mux *mux = serving("unix://", &options);
    seen got = {0};
    blocked sender = {0};
    pthread_t thread;
    int fd = raw_peer(mux, &got, 1 << 20);
    size_t bytes = 0;
    sender.peer = got.peer;
    REQUIRE(pthread_create(&thread, NULL, sends_until_it_fails, &sender) == 0);
    while (info_of(got.peer).owed < 48 * KIB) {
        (void)sched_yield();
    }
    if (what == 0) {
        while (bytes < 2000 * FILLED) {
            bytes += read_all(fd);
            (void)batch(mux, &got, IPCX_NOW); /* sends what is still queued at the end */
        }
    } else if (what == 1) {
        CHECK_INT(close(fd), 0);
        serve(mux, &got, 1, 0, 1);
    } else {
        (void)ipcx_mux_close(mux, IPCX_NOW, NULL, NULL);
    }
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK(what != 0 || sender.sent == 2000);
    CHECK(what != 1 || sender.status == IPCX_PEER_CLOSED || sender.status == IPCX_PEER_DIED);
    CHECK(what != 2 || sender.status == IPCX_CLOSED);
    if (what != 1) {
        CHECK_INT(close(fd), 0);
    }
    forget(&got);
    ipcx_mux_free(mux);
}

TEST(a_sender_waits_for_room)
{
    blocks_and(0);
    blocks_and(1);
    blocks_and(2);
}

static void on_alarm(int number)
{
    (void)number;
}

TEST(a_signal_comes_back_as_intr)
{
    struct sigaction now = {.sa_handler = on_alarm}, old;
    struct itimerval soon = {.it_value = {.tv_usec = 5000}, .it_interval = {.tv_usec = 5000}};
    const struct itimerval off = {0};
    ipcx_mux *mux = serving("unix://", NULL);
    seen got = {0};
    REQUIRE(sigaction(SIGALRM, &now, &old) == 0 && setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK_STATUS(batch(mux, &got, IPCX_FOREVER), IPCX_INTR);
    REQUIRE(setitimer(ITIMER_REAL, &off, NULL) == 0 && sigaction(SIGALRM, &old, NULL) == 0);
    ipcx_mux_free(mux);
}

TEST(a_nudge_comes_back_as_intr)
{
    ipcx_mux *mux = serving("unix://", NULL);
    seen got = {0};
    ipcx_mux_nudge(mux);
    CHECK_STATUS(batch(mux, &got, IPCX_FOREVER), IPCX_INTR);
    CHECK_STATUS(batch(mux, &got, IPCX_NOW), IPCX_AGAIN);
    ipcx_mux_free(mux);
}

TEST(a_child_has_nothing_of_it)
{
    ipcx_mux *mux = serving("unix://", NULL);
    ipcx_chan *chan = connected(ipcx_mux_url(mux, 0));
    seen got = {.echo = true};
    int status = -1, before = check_fds(), now;
    pid_t child;
    serve(mux, &got, 1, 0, 0);
    now = check_fds();
    CHECK(now > before);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ipcx_message message = {.data = "x", .size = 1};
        int wrong = batch(mux, &got, IPCX_NOW) != IPCX_FORKED;
        wrong += ipcx_mux_send(got.peer, &message, IPCX_NOW, NULL) != IPCX_FORKED;
        wrong += ipcx_mux_close(mux, IPCX_FOREVER, NULL, NULL) != IPCX_OK;
        /* The path's three, epoll, timer, the lobby's two, the peer and the channel in use. */
        wrong += check_fds() >= now - 4;
        _exit(wrong);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
    stream_say(chan, "still here");
    serve(mux, &got, 1, 1, 0);
    CHECK_HEARS(chan, "still here");
    ipcx_chan_free(chan);
    serve(mux, &got, 1, 1, 1);
    forget(&got);
    ipcx_mux_free(mux);
}

static ipcx_status serve_one(const char *url)
{
    ipcx_mux *mux = NULL;
    seen got = {.echo = true};
    raw out = {.size = 0};
    uint8_t payload[8192];
    int fd;
    ipcx_status status = ipcx_mux_open(&url, 1, NULL, &mux, NULL);
    if (status != IPCX_OK) {
        return status;
    }
    fd = stranger(ipcx_mux_url(mux, 0));
    raw_hello(&out, 1 << 20);
    raw_text(&out, "hello");
    REQUIRE(send(fd, out.bytes, out.size - 2, MSG_NOSIGNAL) == (ssize_t)out.size - 2);
    do {
        status = batch(mux, &got, ipcx_deadline_after(MS));
    } while (status == IPCX_OK);
    (void)send(fd, out.bytes + out.size - 2, 2, MSG_NOSIGNAL);
    for (int i = 0; i < 200 && got.messages == 0 && stats_of(mux).refused == 0 && got.left == 0;
         i++) {
        (void)batch(mux, &got, ipcx_deadline_after(MS));
    }
    status = got.messages > 0 ? IPCX_OK : IPCX_NOMEM;
    if (status == IPCX_OK) {
        CHECK_INT(raw_receive(fd, payload).type, IPCX_FRAME_HELLO);
        CHECK_INT(raw_receive(fd, payload).type, IPCX_FRAME_DATA);
    }
    CHECK_INT(close(fd), 0);
    forget(&got);
    ipcx_mux_free(mux);
    return status;
}

TEST(each_allocation_fails_once)
{
    int fds = check_fds();
    for (uint64_t k = 1;; k++) {
        ipcx_status status;
        ipcx_alloc_fail_at(k);
        status = serve_one("unix://");
        CHECK_INT(check_fds(), fds);
        if (ipcx_alloc_count() < k) {
            CHECK_OK(status);
            break;
        }
        CHECK(status == IPCX_NOMEM || status == IPCX_OK);
    }
    ipcx_alloc_fail_at(0);
}
