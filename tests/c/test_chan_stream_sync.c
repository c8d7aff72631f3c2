/* SPDX-License-Identifier: Apache-2.0
 * chan_stream: the rendezvous: a sender that waits until its message was received. */
#include "check.h"

#include <sched.h>

#include "streams.h"

static ipcx_status meet_by(ipcx_chan *to, const char *text, ipcx_deadline deadline,
                           ipcx_sending *sending, ipcx_error *err)
{
    ipcx_message message =
        stream_message(text, strlen(text), IPCX_MESSAGE_TEXT | IPCX_MESSAGE_SYNC);
    return ipcx_chan_send(to, &message, deadline, sending, err);
}

/* A thread that sends one message as a rendezvous. */
typedef struct meeting {
    ipcx_chan *chan;
    const char *text;
    pthread_t thread;
    atomic_int done;
    ipcx_status status;
} meeting;

static void *meet(void *arg)
{
    meeting *self = arg;
    self->status = meet_by(self->chan, self->text, IPCX_FOREVER, NULL, NULL);
    atomic_store(&self->done, 1);
    return NULL;
}

static void meeting_start(meeting *self, ipcx_chan *chan, const char *text)
{
    *self = (meeting){.chan = chan, .text = text};
    REQUIRE(pthread_create(&self->thread, NULL, meet, self) == 0);
}

static void meeting_end(meeting *self, ipcx_status expected)
{
    pthread_join(self->thread, NULL);
    CHECK_STATUS(self->status, expected);
}

TEST(the_release_lets_the_sender_go)
{
    ipcx_chan *a, *b;
    meeting one;
    ipcx_message got;
    stream_pair(&a, &b, NULL);
    meeting_start(&one, a, "now");
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_FOREVER, NULL));
    CHECK_INT(got.flags, IPCX_MESSAGE_TEXT);
    CHECK_INT(atomic_load(&one.done), 0);
    ipcx_chan_release(b, &got);
    meeting_end(&one, IPCX_OK);
    stream_free(a, b);
}

TEST(one_thread_against_bare_bytes)
{
    uint8_t payload[8192];
    raw out = {.size = 0};
    ipcx_sending sending = {0};
    ipcx_frame seen;
    ipcx_chan *chan;
    int fd;
    chan = stream_and_raw(&fd, NULL);
    CHECK_STATUS(meet_by(chan, "one", IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    CHECK_INT(sending.begun, 1);
    CHECK_STATUS(meet_by(chan, "one", ipcx_deadline_after(MS), &sending, NULL), IPCX_TIMEOUT);
    CHECK_INT(sending.begun, 1);
    CHECK_INT(raw_receive(fd, payload).type, IPCX_FRAME_HELLO);
    seen = raw_receive(fd, payload);
    CHECK_INT(seen.flags, IPCX_FRAME_SYNC | IPCX_FRAME_CORRELATION | IPCX_FRAME_TEXT);
    CHECK_INT(seen.correlation, 1);
    /* The ACK comes behind two messages, which are kept. */
    raw_hello(&out, 64 << 20);
    raw_text(&out, "before");
    raw_text(&out, "and before");
    raw_frame(&out, IPCX_FRAME_ACK, IPCX_FRAME_CORRELATION, 1, "", 0);
    raw_text(&out, "behind");
    raw_send(fd, &out);
    CHECK_OK(meet_by(chan, "one", IPCX_FOREVER, &sending, NULL)); /* the same: not sent again */
    CHECK_INT(sending.begun, 0);
    CHECK_HEARS_NOW(chan, "before");
    CHECK_HEARS_NOW(chan, "and before");
    CHECK_HEARS_NOW(chan, "behind");
    CHECK_RECEIVES(chan, IPCX_NOW, IPCX_AGAIN);
    /* One that is given up is acknowledged all the same, later. */
    CHECK_STATUS(meet_by(chan, "two", ipcx_deadline_after(MS), NULL, NULL), IPCX_TIMEOUT);
    CHECK_INT(raw_receive(fd, payload).correlation, 2);
    raw_frame(&out, IPCX_FRAME_ACK, IPCX_FRAME_CORRELATION, 2, "", 0);
    raw_frame(&out, IPCX_FRAME_ACK, IPCX_FRAME_CORRELATION, 3, "", 0);
    raw_send(fd, &out);
    CHECK_STATUS(meet_by(chan, "three", IPCX_FOREVER, NULL, NULL), IPCX_OK);
    CHECK_INT(raw_receive(fd, payload).correlation, 3);
    /* Nothing is outstanding now. */
    raw_frame(&out, IPCX_FRAME_ACK, IPCX_FRAME_CORRELATION, 4, "", 0);
    raw_send(fd, &out);
    CHECK_RECEIVES(chan, IPCX_FOREVER, IPCX_PROTOCOL);
    ipcx_chan_free(chan);
    close(fd);
}

TEST(one_that_is_gone_on_with_by_polling)
{
    static uint8_t bytes[300000];
    ipcx_message large = stream_message(bytes, sizeof bytes, IPCX_MESSAGE_SYNC);
    ipcx_sending sending = {0};
    ipcx_chan *a, *b;
    ipcx_status status;
    int rounds = 0;
    stream_pair(&a, &b, NULL);
    do {
        status = ipcx_chan_send(a, &large, IPCX_NOW, &sending, NULL);
        CHECK_INT(sending.begun, status == IPCX_AGAIN);
        if (stream_receive_only(b, IPCX_NOW, NULL) == IPCX_OK) {
            status = ipcx_chan_send(a, &large, IPCX_NOW, &sending, NULL);
        }
    } while (status == IPCX_AGAIN && rounds++ < 1000);
    CHECK_OK(status);
    stream_free(a, b);
}

TEST(no_more_than_the_backlog_is_kept)
{
    static char kilobyte[1000];
    raw out = {.size = 0};
    meeting one;
    ipcx_chan *chan;
    int fd;
    chan = stream_and_raw(&fd, &(ipcx_chan_options){.max_backlog = 3000});
    raw_hello(&out, 64 << 20);
    for (int i = 0; i < 6; i++) {
        raw_frame(&out, IPCX_FRAME_DATA, 0, 0, kilobyte, sizeof kilobyte);
    }
    raw_frame(&out, IPCX_FRAME_ACK, IPCX_FRAME_CORRELATION, 1, "", 0);
    raw_send(fd, &out);
    CHECK_STATUS(meet_by(chan, "x", ipcx_deadline_after(MS), NULL, NULL), IPCX_TIMEOUT);
    /* Who takes some out lets the sender read on. */
    (void)recv(fd, out.bytes, sizeof out.bytes, 0);
    meeting_start(&one, chan, "y");
    for (int i = 0; i < 6; i++) {
        CHECK_RECEIVES(chan, IPCX_FOREVER, IPCX_OK);
    }
    raw_frame(&out, IPCX_FRAME_ACK, IPCX_FRAME_CORRELATION, 2, "", 0);
    raw_send(fd, &out);
    meeting_end(&one, IPCX_OK);
    ipcx_chan_free(chan);
    close(fd);
}

TEST(a_sender_that_was_not_received)
{
    for (int bye = 0; bye < 2; bye++) {
        raw out = {.size = 0};
        meeting one;
        uint8_t payload[8192];
        int fd;
        ipcx_chan *chan = stream_and_raw(&fd, NULL);
        meeting_start(&one, chan, "anybody?");
        (void)raw_receive(fd, payload);
        (void)raw_receive(fd, payload);
        raw_hello(&out, 64 << 20);
        raw_text(&out, "no");
        if (bye) {
            raw_frame(&out, IPCX_FRAME_BYE, 0, 0, "", 0);
        }
        raw_send(fd, &out);
        close(fd);
        meeting_end(&one, bye ? IPCX_PEER_CLOSED : IPCX_PEER_DIED);
        CHECK_HEARS(chan, "no");
        CHECK_RECEIVES(chan, IPCX_FOREVER, bye ? IPCX_EOF : IPCX_PEER_DIED);
        ipcx_chan_free(chan);
    }
}

enum { EACH = 400, SENDERS = 4 };

static void *meet_many(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        CHECK_OK(meet_by(arg, "rendezvous", IPCX_FOREVER, NULL, NULL));
    }
    return NULL;
}

static void *hear_many(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        CHECK_HEARS(arg, "rendezvous");
    }
    return NULL;
}

TEST(many_senders_and_receivers_at_both_ends)
{
    ipcx_chan *ends[2];
    pthread_t threads[4 * SENDERS];
    int n = 0;
    stream_pair_narrow(&ends[0], &ends[1], NULL);
    for (int i = 0; i < SENDERS; i++) {
        for (int end = 0; end < 2; end++) {
            REQUIRE(pthread_create(&threads[n++], NULL, meet_many, ends[end]) == 0);
            REQUIRE(pthread_create(&threads[n++], NULL, hear_many, ends[end]) == 0);
        }
    }
    while (n > 0) {
        pthread_join(threads[--n], NULL);
    }
    CHECK_RECEIVES(ends[0], IPCX_NOW, IPCX_AGAIN);
    CHECK_RECEIVES(ends[1], IPCX_NOW, IPCX_AGAIN);
    stream_free(ends[0], ends[1]);
}

/* Two that each send a rendezvous before they receive: by definition a deadlock, ended by the
 * deadline; the messages are there. */
TEST(two_that_send_first)
{
    ipcx_chan *a, *b;
    ipcx_sending left = {0}, right = {0};
    stream_pair(&a, &b, NULL);
    CHECK_STATUS(meet_by(a, "from a", ipcx_deadline_after(MS), &left, NULL), IPCX_TIMEOUT);
    CHECK_STATUS(meet_by(b, "from b", ipcx_deadline_after(MS), &right, NULL), IPCX_TIMEOUT);
    CHECK_HEARS_NOW(a, "from b");
    CHECK_HEARS_NOW(b, "from a");
    CHECK_OK(meet_by(a, "from a", IPCX_NOW, &left, NULL));
    CHECK_OK(meet_by(b, "from b", IPCX_NOW, &right, NULL));
    stream_free(a, b);
}

/* Sender and receiver take turns in waiting with deadlines that keep running out. */
static void *impatient_sender(void *arg)
{
    for (int i = 0; i < EACH; i++) {
        ipcx_sending sending = {0};
        ipcx_status status;
        do {
            status =
                meet_by(arg, "rendezvous", ipcx_deadline_after(20000 + i * 100), &sending, NULL);
        } while (status == IPCX_TIMEOUT);
        CHECK_OK(status);
    }
    return NULL;
}

static void *impatient_receiver(void *arg)
{
    for (int i = 0; i < EACH;) {
        ipcx_status status = stream_receive_only(arg, ipcx_deadline_after(30000 + i * 50), NULL);
        CHECK(status == IPCX_OK || status == IPCX_TIMEOUT);
        i += status == IPCX_OK;
    }
    return NULL;
}

TEST(impatience_loses_nothing)
{
    ipcx_chan *ends[2];
    pthread_t threads[8];
    int n = 0;
    stream_pair(&ends[0], &ends[1], NULL);
    for (int end = 0; end < 2; end++) {
        for (int twice = 0; twice < 2; twice++) {
            REQUIRE(pthread_create(&threads[n++], NULL, impatient_sender, ends[end]) == 0);
            REQUIRE(pthread_create(&threads[n++], NULL, impatient_receiver, ends[end]) == 0);
        }
    }
    while (n > 0) {
        pthread_join(threads[--n], NULL);
    }
    CHECK_RECEIVES(ends[0], IPCX_NOW, IPCX_AGAIN);
    CHECK_RECEIVES(ends[1], IPCX_NOW, IPCX_AGAIN);
    stream_free(ends[0], ends[1]);
}
