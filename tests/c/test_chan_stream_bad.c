/* SPDX-License-Identifier: Apache-2.0
 * chan_stream against peers that say what nobody should: each is refused at the right byte, nothing
 * of it is delivered, and what came before arrives. */
#include "check.h"

#include "streams.h"

/* A HELLO of 24 bytes, a message "first" of 17: what comes next begins at byte 41. */
enum { BEHIND = 41 };

static ipcx_chan *greeted(int *fd, raw *out)
{
    ipcx_chan *chan = stream_and_raw(fd, NULL);
    out->size = 0;
    raw_hello(out, 64 << 20);
    raw_text(out, "first");
    REQUIRE(out->size == BEHIND);
    return chan;
}

static void check_broken(ipcx_chan *chan, int fd, ipcx_status expected, uint64_t offset)
{
    ipcx_error err = {0}, again = {0}, sent = {0};
    ipcx_message message = stream_message("x", 1, 0);
    char byte;
    CHECK_HEARS(chan, "first");
    CHECK_STATUS(stream_receive_only(chan, IPCX_FOREVER, &err), expected);
    CHECK_INT(ipcx_chan_error_offset(chan), offset);
    CHECK_STATUS(stream_receive_only(chan, IPCX_FOREVER, &again), expected);
    CHECK_STR(again.detail, err.detail);
    CHECK_OK(ipcx_chan_poll(chan, IPCX_NOW, NULL));
    CHECK_STATUS(ipcx_chan_send(chan, &message, IPCX_FOREVER, NULL, &sent), expected);
    CHECK_STR(sent.detail, err.detail);
    /* The peer learns it by the end of the stream, behind our HELLO. */
    while (recv(fd, &byte, 1, 0) == 1) {
    }
    ipcx_chan_free(chan);
    close(fd);
}

typedef struct bad {
    const char *bytes;
    size_t size;
    ipcx_status status;
    size_t at;
} bad;
#define BAD(bytes, status, at) {bytes, sizeof(bytes) - 1, status, at}

TEST(bytes_that_are_no_frame)
{
    static const bad all[] = {
        BAD("GET / HTTP/1.1\r\n", IPCX_PROTOCOL, 0),
        BAD("IY", IPCX_PROTOCOL, 1),
        BAD("IX\2", IPCX_VERSION, 2),
        BAD("IX\1\17", IPCX_PROTOCOL, 3),
        BAD("IX\1\1\0\20", IPCX_PROTOCOL, 4),
        BAD("IX\1\1\0\0\0\0\xff\xff\xff\xff", IPCX_TOO_LARGE, 8),
        BAD("IX\1\1\0\0\0\0\4\0\0\1", IPCX_TOO_LARGE, 8),
        BAD("IX\1\1\0\1\0\0\0\0\0\3a\xff"
            "b",
            IPCX_PROTOCOL, 13),
        BAD("IX\1\1\200\4\0\0\0\0\0\1xabcd", IPCX_CORRUPT, 13),
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        int fd, failed = atomic_load(&check_failed);
        raw out;
        ipcx_chan *chan = greeted(&fd, &out);
        raw_send(fd, &out);
        REQUIRE(send(fd, all[i].bytes, all[i].size, 0) == (ssize_t)all[i].size);
        check_broken(chan, fd, all[i].status, BEHIND + all[i].at);
        if (atomic_load(&check_failed) != failed) {
            printf("# in all[%zu]\n", i);
        }
    }
}

typedef struct rule {
    int type;
    unsigned flags;
    uint64_t correlation;
    const char *payload;
    size_t size, at;
} rule;

TEST(frames_that_break_a_rule)
{
    static const rule all[] = {
        {IPCX_FRAME_HELLO, 0, 0, "\1\0\0\0\1\0\0\0\0\0\0\0", 12, 3}, /* a second one */
        {IPCX_FRAME_DATA, IPCX_FRAME_SYNC, 0, "x", 1, 4},            /* without correlation */
        {IPCX_FRAME_PING, IPCX_FRAME_SYNC | IPCX_FRAME_CORRELATION, 1, "x", 1, 4},
        {IPCX_FRAME_ACK, 0, 0, "", 0, 4},
        {IPCX_FRAME_ACK, IPCX_FRAME_CORRELATION, 1, "", 0, 12}, /* of nothing that was sent */
        {IPCX_FRAME_REQUEST, IPCX_FRAME_CORRELATION, 1, "x", 1, 3},
        {IPCX_FRAME_REPLY, IPCX_FRAME_CORRELATION, 1, "x", 1, 3},
        {IPCX_FRAME_ERROR, IPCX_FRAME_CORRELATION, 1, "x", 1, 3},
        {IPCX_FRAME_PUBLISH, 0, 0, "x", 1, 3},
        {IPCX_FRAME_SUBSCRIBE, 0, 0, "", 0, 3},
        {IPCX_FRAME_UNSUBSCRIBE, 0, 0, "", 0, 3},
        {IPCX_FRAME_HANDOVER, 0, 0, "note", 4, 3},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        int fd, failed = atomic_load(&check_failed);
        raw out;
        ipcx_chan *chan = greeted(&fd, &out);
        raw_frame(&out, all[i].type, all[i].flags, all[i].correlation, all[i].payload, all[i].size);
        raw_send(fd, &out);
        check_broken(chan, fd, IPCX_PROTOCOL, BEHIND + all[i].at);
        if (atomic_load(&check_failed) != failed) {
            printf("# in all[%zu]\n", i);
        }
    }
}

TEST(a_stream_that_does_not_begin_with_hello)
{
    static const bad all[] = {
        BAD("GET / HTTP/1.1\r\n", IPCX_PROTOCOL, 0),
        BAD("IX\1\1\0\0\0\0\0\0\0\1x", IPCX_PROTOCOL, 3),   /* DATA */
        BAD("IX\1\14\0\0\0\0\0\0\0\0", IPCX_PROTOCOL, 3),   /* BYE */
        BAD("IX\1\13\0\0\0\0\0\0\20\1", IPCX_TOO_LARGE, 8), /* HELLO of 4097 bytes */
        BAD("IX\1\13\0\0\0\0\0\0\0\13\1\0\0\0\1\0\0\0\0\0\0", IPCX_PROTOCOL, 12),
        BAD("IX\1\13\0\0\0\0\0\0\0\14\0\0\0\0\1\0\0\0\0\0\0\0", IPCX_VERSION, 12),
        BAD("IX\1\13\0\0\0\0\0\0\0\14\1\0\1\0\1\0\0\0\0\0\0\0", IPCX_PROTOCOL, 14),
        BAD("IX\1\13\0\0\0\0\0\0\0\14\1\0\0\0\1", IPCX_PEER_DIED, 17),
        BAD("", IPCX_PEER_DIED, 0),
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        for (int shaken = 0; shaken < 2; shaken++) {
            int fd, failed = atomic_load(&check_failed);
            ipcx_chan *chan = stream_and_raw(&fd, NULL);
            ipcx_status status;
            REQUIRE(send(fd, all[i].bytes, all[i].size, 0) == (ssize_t)all[i].size);
            REQUIRE(shutdown(fd, SHUT_WR) == 0);
            if (shaken) {
                status = ipcx__chan_stream_shake(chan, NULL);
            } else {
                status = stream_receive_only(chan, IPCX_FOREVER, NULL);
            }
            CHECK_STATUS(status, all[i].status);
            CHECK_INT(ipcx_chan_error_offset(chan), all[i].at);
            ipcx_chan_free(chan);
            close(fd);
            if (atomic_load(&check_failed) != failed) {
                printf("# in all[%zu], shaken %d\n", i, shaken);
            }
        }
    }
}

TEST(a_hello_from_the_future)
{
    static const char hello[] = "IX\1\13\200\4\0\0\0\0\0\24\7\0\0\0\4\0\0\0\0\0\0\374later....";
    uint8_t bytes[64];
    ipcx_chan *chan;
    ipcx_envelope around;
    ipcx_frame frame = {.type = IPCX_FRAME_HELLO,
                        .flags = IPCX_FRAME_CRC,
                        .payload = hello + 12,
                        .payload_size = 20};
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = 4096};
    raw out = {.size = 0};
    int fd;
    chan = stream_and_raw(&fd, NULL);
    REQUIRE_OK(ipcx_frame_encode(&framing, &frame, &around, NULL));
    memcpy(bytes, hello, 32);
    memcpy(bytes + 32, around.tail, 4);
    for (size_t i = 0; i < 36; i++) {
        CHECK_STATUS(ipcx__chan_stream_shake(chan, NULL), IPCX_AGAIN);
        REQUIRE(send(fd, bytes + i, 1, 0) == 1);
    }
    raw_text(&out, "not read by shaking hands");
    raw_send(fd, &out);
    CHECK_OK(ipcx__chan_stream_shake(chan, NULL));
    CHECK_OK(ipcx__chan_stream_shake(chan, NULL));
    CHECK_HEARS(chan, "not read by shaking hands");
    ipcx_chan_free(chan);
    close(fd);
}

TEST(a_bomb_allocates_nothing)
{
    int fd;
    raw out;
    ipcx_chan *chan = greeted(&fd, &out);
    uint64_t before;
    raw_send(fd, &out);
    CHECK_HEARS(chan, "first");
    ipcx_alloc_fail_at(0);
    REQUIRE(send(fd, "IX\1\1\0\0\0\0\3\xff\xff\xff", 12, 0) == 12); /* allowed, but where is it? */
    before = ipcx_alloc_count();
    CHECK_RECEIVES(chan, ipcx_deadline_after(MS), IPCX_TIMEOUT);
    CHECK(ipcx_alloc_count() - before <= 1);
    ipcx_chan_free(chan);
    close(fd);
}

TEST(every_split_of_a_stream)
{
    raw out = {.size = 0};
    uint8_t frame[8192];
    raw_hello(&out, 64 << 20);
    raw_text(&out, "one");
    raw_frame(&out, IPCX_FRAME_PING, 0, 0, "42", 2);
    raw_frame(&out, IPCX_FRAME_DATA, IPCX_FRAME_CRC | IPCX_FRAME_TEXT, 0, "two", 3);
    raw_frame(&out, IPCX_FRAME_DATA, IPCX_FRAME_SYNC | IPCX_FRAME_CORRELATION, 1, "three", 5);
    raw_frame(&out, IPCX_FRAME_PONG, 0, 0, "?", 1);
    raw_frame(&out, IPCX_FRAME_BYE, 0, 0, "", 0);
    memcpy(frame, out.bytes, out.size);
    for (size_t cut = 0; cut <= out.size; cut++) {
        uint8_t payload[8192];
        int fd;
        ipcx_chan *chan = stream_and_raw(&fd, NULL);
        ipcx_frame seen;
        if (cut > 0) {
            REQUIRE(send(fd, frame, cut, 0) == (ssize_t)cut);
        }
        while (ipcx_chan_poll(chan, IPCX_NOW, NULL) == IPCX_AGAIN && cut < out.size) {
            /* One by one from there. */
            REQUIRE(send(fd, frame + cut, 1, 0) == 1);
            cut++;
        }
        if (cut < out.size) {
            REQUIRE(send(fd, frame + cut, out.size - cut, 0) == (ssize_t)(out.size - cut));
        }
        CHECK_HEARS(chan, "one");
        CHECK_HEARS(chan, "two");
        CHECK_HEARS(chan, "three");
        CHECK_RECEIVES(chan, IPCX_FOREVER, IPCX_EOF);
        CHECK_INT(raw_receive(fd, payload).type, IPCX_FRAME_HELLO);
        seen = raw_receive(fd, payload);
        CHECK(seen.type == IPCX_FRAME_PONG && seen.payload_size == 2 && payload[0] == '4');
        seen = raw_receive(fd, payload);
        CHECK(seen.type == IPCX_FRAME_ACK && seen.correlation == 1);
        CHECK_OK(ipcx_chan_close(chan, IPCX_FOREVER, NULL, NULL));
        CHECK_INT(raw_receive(fd, payload).type, IPCX_FRAME_BYE);
        CHECK_INT(recv(fd, payload, 1, 0), 0);
        ipcx_chan_free(chan);
        close(fd);
    }
}

TEST(every_cut_of_a_stream)
{
    raw out;
    int fd;
    ipcx_chan_free(greeted(&fd, &out));
    close(fd);
    raw_text(&out, "second");
    for (size_t cut = 0; cut <= out.size; cut++) {
        ipcx_chan *chan = stream_and_raw(&fd, NULL);
        ipcx_error err = {0};
        bool between = cut == 0 || cut == 24 || cut == BEHIND || cut == out.size;
        REQUIRE(send(fd, out.bytes, cut, 0) == (ssize_t)cut);
        REQUIRE(shutdown(fd, SHUT_WR) == 0);
        if (cut >= BEHIND) {
            CHECK_HEARS(chan, "first");
        }
        if (cut == out.size) {
            CHECK_HEARS(chan, "second");
        }
        CHECK_STATUS(stream_receive_only(chan, IPCX_FOREVER, &err), IPCX_PEER_DIED);
        CHECK((strstr(err.detail, "middle") == NULL) == between);
        CHECK_INT(ipcx_chan_error_offset(chan), cut);
        CHECK_STATUS(stream_say_by(chan, "x", IPCX_FOREVER), IPCX_PEER_DIED);
        ipcx_chan_free(chan);
        close(fd);
    }
}

TEST(what_is_sent_behind_bye_is_not_looked_at)
{
    int fd;
    raw out;
    ipcx_chan *chan = greeted(&fd, &out);
    raw_frame(&out, IPCX_FRAME_BYE, 0, 0, "", 0);
    raw_text(&out, "more");
    raw_send(fd, &out);
    CHECK_HEARS(chan, "first");
    CHECK_RECEIVES(chan, IPCX_FOREVER, IPCX_EOF);
    ipcx_chan_free(chan);
    close(fd);
}

TEST(a_sender_hears_what_the_peer_said_before_it_went)
{
    for (int bye = 0; bye < 2; bye++) {
        int fd;
        raw out;
        ipcx_chan *chan = greeted(&fd, &out);
        ipcx_error err = {0};
        ipcx_message message = stream_message("x", 1, 0);
        if (bye) {
            raw_frame(&out, IPCX_FRAME_BYE, 0, 0, "", 0);
        }
        raw_send(fd, &out);
        close(fd);
        CHECK_STATUS(ipcx_chan_send(chan, &message, IPCX_FOREVER, NULL, &err),
                     bye ? IPCX_PEER_CLOSED : IPCX_PEER_DIED);
        CHECK_STATUS(ipcx_chan_flush(chan, IPCX_FOREVER, &err),
                     bye ? IPCX_PEER_CLOSED : IPCX_PEER_DIED);
        CHECK_HEARS(chan, "first");
        CHECK_RECEIVES(chan, IPCX_FOREVER, bye ? IPCX_EOF : IPCX_PEER_DIED);
        CHECK_OK(ipcx_chan_close(chan, IPCX_FOREVER, NULL, NULL));
        ipcx_chan_free(chan);
    }
}

TEST(a_peer_whose_bytes_were_left_unread_resets)
{
    int fd;
    raw out;
    uint8_t bytes[24];
    ipcx_chan *chan = greeted(&fd, &out);
    raw_send(fd, &out);
    stream_say(chan, "never read");
    REQUIRE(recv(fd, bytes, sizeof bytes, MSG_WAITALL) == sizeof bytes);
    close(fd); /* with bytes unread: ECONNRESET, unix(7) */
    CHECK_HEARS(chan, "first");
    CHECK_RECEIVES(chan, IPCX_FOREVER, IPCX_PEER_DIED);
    ipcx_chan_free(chan);
}

TEST(a_lower_limit_than_what_was_sent)
{
    static uint8_t bytes[100000];
    ipcx_message large = stream_message(bytes, sizeof bytes, 0);
    ipcx_error err = {0};
    raw out = {.size = 0};
    int fd;
    ipcx_chan *chan = stream_and_raw(&fd, NULL);
    CHECK_OK(ipcx_chan_send(chan, &large, IPCX_FOREVER, NULL, NULL));
    raw_hello(&out, 99999);
    raw_send(fd, &out);
    CHECK_STATUS(stream_receive_only(chan, IPCX_FOREVER, &err), IPCX_PROTOCOL);
    CHECK(strstr(err.detail, "99999") != NULL && strstr(err.detail, "100000") != NULL);
    ipcx_chan_free(chan);
    close(fd);
}

TEST(who_asks_and_does_not_listen_is_not_read_for_ever)
{
    static char ping[2000];
    ipcx_chan *chan;
    raw out = {.size = 0};
    ipcx_chan_stats stats;
    size_t sent = 0;
    int fd, watch = -1, rounds = 0;
    chan = stream_and_raw(&fd, NULL);
    REQUIRE_OK(ipcx_chan_fileno(chan, &watch, NULL));
    raw_hello(&out, 64 << 20);
    raw_send(fd, &out);
    do { /* until neither takes any more */
        raw_frame(&out, IPCX_FRAME_PING, 0, 0, ping, sizeof ping);
        sent = send(fd, out.bytes, out.size, MSG_DONTWAIT) == (ssize_t)out.size ? sent + 1 : 0;
        out.size = 0;
        CHECK_RECEIVES(chan, IPCX_NOW, IPCX_AGAIN);
    } while (sent > 0 && ++rounds < 100000);
    CHECK(rounds < 100000);
    ipcx_chan_get_stats(chan, &stats);
    CHECK(stats.owed < 65536 + 70000);
    CHECK(!stream_readable(watch)); /* nor does who waits with poll(2) turn in circles */
    while (recv(fd, out.bytes, sizeof out.bytes, MSG_DONTWAIT) > 0) {
    }
    CHECK(stream_readable(watch));
    ipcx_chan_free(chan);
    close(fd);
}
