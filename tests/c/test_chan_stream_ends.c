/* SPDX-License-Identifier: Apache-2.0
 * chan_stream: descriptors to wait with, TCP, pipes, and ends that go to other processes. */
#include "check.h"

#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>

#include "ipcx/connect.h"
#include "ipcx/crc32c.h"
#include "streams.h"

/* ---- fileno() */

TEST(readable_as_long_as_a_message_is_there)
{
    ipcx_chan *a, *b;
    char name[12];
    int fd = -1, again = -1, epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN}, seen;
    stream_pair(&a, &b, NULL);
    REQUIRE_OK(ipcx_chan_fileno(b, &fd, NULL));
    REQUIRE_OK(ipcx_chan_fileno(b, &again, NULL));
    CHECK_INT(again, fd);
    REQUIRE(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(!stream_readable(fd));
    for (int i = 0; i < 50; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        stream_say(a, name);
    }
    for (int i = 0; i < 50; i++) { /* read ahead into the channel by the first of them */
        CHECK(stream_readable(fd));
        CHECK_INT(epoll_wait(epoll, &seen, 1, 0), 1);
        (void)snprintf(name, sizeof name, "%d", i);
        CHECK_HEARS_NOW(b, name);
    }
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    CHECK(!stream_readable(fd));
    CHECK_INT(epoll_wait(epoll, &seen, 1, 0), 0);
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK(stream_readable(fd));
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_EOF);
    CHECK(stream_readable(fd)); /* the end stays */
    close(epoll);
    stream_free(a, b);
}

TEST(asked_for_when_messages_wait_inside)
{
    ipcx_chan *a, *b;
    int fd = -1;
    stream_pair(&a, &b, NULL);
    stream_say(a, "one");
    stream_say(a, "two");
    CHECK_HEARS_NOW(b, "one"); /* and "two" is read ahead */
    REQUIRE_OK(ipcx_chan_fileno(b, &fd, NULL));
    CHECK(stream_readable(fd));
    CHECK_HEARS_NOW(b, "two");
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    CHECK(!stream_readable(fd));
    stream_free(a, b);
}

TEST(readable_for_what_a_rendezvous_has_read)
{
    raw out = {.size = 0};
    ipcx_message sync = stream_message("x", 1, IPCX_MESSAGE_SYNC);
    ipcx_sending sending = {0};
    ipcx_chan *chan;
    int fd, own = -1;
    chan = stream_and_raw(&own, NULL);
    REQUIRE_OK(ipcx_chan_fileno(chan, &fd, NULL));
    raw_hello(&out, 1 << 20);
    raw_text(&out, "one");
    raw_text(&out, "two");
    raw_send(own, &out);
    CHECK_STATUS(ipcx_chan_send(chan, &sync, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    CHECK(stream_readable(fd));
    CHECK_HEARS_NOW(chan, "one");
    CHECK(stream_readable(fd));
    CHECK_HEARS_NOW(chan, "two");
    CHECK_RECEIVES(chan, IPCX_NOW, IPCX_AGAIN);
    CHECK(!stream_readable(fd));
    REQUIRE(send(own, "garbage", 7, 0) == 7);
    CHECK(stream_readable(fd));
    CHECK_RECEIVES(chan, IPCX_NOW, IPCX_PROTOCOL);
    CHECK(stream_readable(fd));
    ipcx_chan_free(chan);
    close(own);
}

TEST(readable_also_when_a_rest_can_be_sent)
{
    static uint8_t bytes[300000];
    ipcx_message large = stream_message(bytes, sizeof bytes, 0), got;
    ipcx_chan *a, *b;
    int fd = -1, out = -1, rounds = 0;
    struct pollfd room;
    stream_pair_narrow(&a, &b, NULL);
    REQUIRE_OK(ipcx_chan_fileno(a, &fd, NULL));
    REQUIRE_OK(ipcx_chan_send_fileno(a, &out, NULL));
    room = (struct pollfd){.fd = out, .events = POLLOUT};
    CHECK(poll(&room, 1, 0) == 1);
    CHECK_STATUS(ipcx_chan_send(a, &large, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
    CHECK_INT(poll(&room, 1, 0), 0);
    CHECK_RECEIVES(a, IPCX_NOW, IPCX_AGAIN);
    CHECK(!stream_readable(fd));
    while (ipcx_chan_receive(b, &got, IPCX_NOW, NULL) != IPCX_OK && rounds++ < 10000) {
        if (CHECK(stream_readable(fd))) {
            CHECK_RECEIVES(a, IPCX_NOW, IPCX_AGAIN);
        }
    }
    CHECK_INT(got.size, sizeof bytes);
    ipcx_chan_release(b, &got);
    CHECK_RECEIVES(a, IPCX_NOW, IPCX_AGAIN);
    CHECK(!stream_readable(fd));
    stream_free(a, b);
}

/* A thread that sleeps in receive, and who asks for the descriptor meanwhile. */
static void *hear_one(void *arg)
{
    CHECK_HEARS(arg, "for the thread");
    return NULL;
}

TEST(readable_beside_a_thread_that_waits)
{
    ipcx_chan *a, *b;
    pthread_t thread;
    int fd = -1;
    stream_pair(&a, &b, NULL);
    REQUIRE(pthread_create(&thread, NULL, hear_one, b) == 0);
    REQUIRE_OK(ipcx_chan_fileno(b, &fd, NULL));
    stream_say(a, "for the thread");
    stream_say(a, "for us");
    pthread_join(thread, NULL);
    CHECK(stream_readable(fd));
    CHECK_HEARS_NOW(b, "for us");
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    CHECK(!stream_readable(fd));
    stream_free(a, b);
}

/* ---- TCP */

static void tcp_pair(int *fds)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1) == 0);
    REQUIRE(getsockname(listener, (struct sockaddr *)&at, &size) == 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(connect(fds[0], (struct sockaddr *)&at, sizeof at) == 0);
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    REQUIRE(fds[1] >= 0);
    close(listener);
}

TEST(over_tcp_nothing_is_lost_by_unread_bytes)
{
    static uint8_t bytes[200000];
    ipcx_message large = stream_message(bytes, sizeof bytes, 0), got;
    int fds[2];
    ipcx_chan *a, *b;
    ipcx_status sent;
    tcp_pair(fds);
    a = stream_on(IPCX_SCHEME_TCP, fds[0], fds[0], NULL);
    b = stream_on(IPCX_SCHEME_TCP, fds[1], fds[1], NULL);
    stream_say(b, "never read by a");
    stream_say(a, "hello");
    CHECK_OK(ipcx_chan_send(a, &large, IPCX_FOREVER, NULL, NULL));
    CHECK_OK(ipcx_chan_close(a, ipcx_deadline_after(200 * MS), NULL, NULL));
    /* What answers now may be a reset. */
    sent = ipcx_chan_send(b, &large, ipcx_deadline_after(100 * MS), NULL, NULL);
    CHECK(sent == IPCX_OK || sent == IPCX_PEER_CLOSED || sent == IPCX_TIMEOUT);
    CHECK_HEARS(b, "hello");
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_FOREVER, NULL));
    CHECK_INT(got.size, sizeof bytes);
    ipcx_chan_release(b, &got);
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    CHECK_STATUS(stream_say_by(b, "x", IPCX_FOREVER), IPCX_PEER_CLOSED);
    stream_free(a, b);
}

TEST(a_tcp_peer_that_resets)
{
    struct linger at_once = {.l_onoff = 1};
    int fds[2];
    ipcx_chan *chan;
    raw out = {.size = 0};
    tcp_pair(fds);
    chan = stream_on(IPCX_SCHEME_TCP, fds[0], fds[0], NULL);
    raw_hello(&out, 1 << 20);
    raw_send(fds[1], &out);
    CHECK_RECEIVES(chan, ipcx_deadline_after(MS), IPCX_TIMEOUT);
    REQUIRE(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(fds[1]);
    CHECK_RECEIVES(chan, IPCX_FOREVER, IPCX_PEER_DIED);
    CHECK_STATUS(stream_say_by(chan, "x", IPCX_FOREVER), IPCX_PEER_DIED);
    CHECK_OK(ipcx_chan_close(chan, IPCX_FOREVER, NULL, NULL));
    ipcx_chan_free(chan);
}

/* ---- pipes */

static void pipe_pair(ipcx_chan **a, ipcx_chan **b, int flags)
{
    int there[2], back[2];
    REQUIRE(pipe2(there, O_CLOEXEC | flags) == 0 && pipe2(back, O_CLOEXEC | flags) == 0);
    *a = stream_on(IPCX_SCHEME_PIPE, back[0], there[1], NULL);
    *b = stream_on(IPCX_SCHEME_PIPE, there[0], back[1], NULL);
}

static void *send_large(void *arg)
{
    static uint8_t bytes[3000000];
    ipcx_message large = stream_message(bytes, sizeof bytes, 0);
    CHECK_OK(ipcx_chan_send(arg, &large, IPCX_FOREVER, NULL, NULL));
    return NULL;
}

TEST(over_pipes)
{
    for (int flags = 0; flags < 2; flags++) {
        ipcx_chan *a, *b;
        ipcx_message got, sync = stream_message("met", 3, IPCX_MESSAGE_SYNC);
        ipcx_sending sending = {0};
        pthread_t thread;
        int fd = -1;
        pipe_pair(&a, &b, flags ? O_NONBLOCK : 0);
        stream_say(a, "hello");
        CHECK_HEARS(b, "hello");
        CHECK_RECEIVES(b, ipcx_deadline_after(MS), IPCX_TIMEOUT);
        REQUIRE(pthread_create(&thread, NULL, send_large, a) == 0);
        REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_FOREVER, NULL));
        CHECK_INT(got.size, 3000000);
        ipcx_chan_release(b, &got);
        pthread_join(thread, NULL);
        CHECK_STATUS(ipcx_chan_send(b, &sync, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
        REQUIRE_OK(ipcx_chan_fileno(a, &fd, NULL));
        CHECK(stream_readable(fd));
        CHECK_HEARS(a, "met");
        CHECK_OK(ipcx_chan_send(b, &sync, IPCX_FOREVER, &sending, NULL));
        CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
        CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
        stream_free(a, b);
    }
}

TEST(a_pipe_without_reader_raises_no_signal)
{
    int there[2];
    ipcx_chan *chan;
    REQUIRE(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    REQUIRE(pipe2(there, O_CLOEXEC) == 0);
    chan = stream_on(IPCX_SCHEME_PIPE, -1, there[1], NULL);
    stream_say(chan, "read by nobody");
    close(there[0]);
    CHECK_STATUS(stream_say_by(chan, "x", IPCX_FOREVER), IPCX_PEER_DIED);
    ipcx_chan_free(chan);
}

TEST(in_one_direction_only)
{
    int there[2], fd;
    ipcx_chan *a, *b;
    ipcx_message sync = stream_message("met", 3, IPCX_MESSAGE_SYNC);
    REQUIRE(pipe2(there, O_CLOEXEC) == 0);
    a = stream_on(IPCX_SCHEME_PIPE, -1, there[1], NULL);
    b = stream_on(IPCX_SCHEME_PIPE, there[0], -1, NULL);
    stream_say(a, "one way");
    CHECK_HEARS(b, "one way");
    CHECK_STATUS(ipcx_chan_send(a, &sync, IPCX_NOW, NULL, NULL), IPCX_UNSUPPORTED);
    CHECK_RECEIVES(a, IPCX_NOW, IPCX_UNSUPPORTED);
    CHECK_STATUS(ipcx_chan_fileno(a, &fd, NULL), IPCX_UNSUPPORTED);
    CHECK_STATUS(stream_say_by(b, "back", IPCX_NOW), IPCX_UNSUPPORTED);
    CHECK_STATUS(ipcx_chan_send_fileno(b, &fd, NULL), IPCX_UNSUPPORTED);
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    stream_free(a, b);
}

TEST(a_shared_pipe_keeps_its_mode)
{
    int there[2], copy;
    ipcx_chan *a, *b;
    REQUIRE(pipe2(there, O_CLOEXEC) == 0);
    copy = dup(there[0]);
    a = stream_on(IPCX_SCHEME_PIPE, -1, there[1], NULL);
    b = stream_on(IPCX_SCHEME_PIPE, there[0], -1, NULL);
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    CHECK_INT(fcntl(copy, F_GETFL) & O_NONBLOCK, 0);
    close(copy);
    stream_free(a, b);
}

TEST(from_a_file)
{
    char path[] = "stream-XXXXXX";
    int file = mkstemp(path), fd = -1;
    ipcx_chan *a, *b;
    REQUIRE(file >= 0);
    a = stream_on(IPCX_SCHEME_PIPE, -1, file, NULL);
    stream_say(a, "written down");
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    file = open(path, O_RDONLY | O_CLOEXEC);
    b = stream_on(IPCX_SCHEME_PIPE, file, -1, NULL);
    REQUIRE_OK(ipcx_chan_fileno(b, &fd, NULL));
    CHECK(stream_readable(fd));
    CHECK_HEARS(b, "written down");
    CHECK(stream_readable(fd));
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    CHECK(unlink(path) == 0);
    stream_free(a, b);
}

TEST(descriptors_that_will_not_do)
{
    int there[2];
    ipcx_chan *chan;
    ipcx_error err = {0};
    REQUIRE(pipe2(there, O_CLOEXEC) == 0);
    CHECK_STATUS(
        ipcx__chan_stream_make(IPCX_SCHEME_PIPE, there[1], -1, "pipe://", NULL, &chan, &err),
        IPCX_SYSTEM);
    CHECK_STATUS(
        ipcx__chan_stream_make(IPCX_SCHEME_PIPE, there[0], there[0], "pipe://", NULL, &chan, &err),
        IPCX_SYSTEM);
    close(there[0]);
    close(there[1]);
    CHECK_STATUS(
        ipcx__chan_stream_make(IPCX_SCHEME_PIPE, there[0], there[1], "pipe://", NULL, &chan, &err),
        IPCX_CLOSED);
}

/* ---- ends that go elsewhere */

TEST(out_and_in_again)
{
    ipcx_chan *a, *b, *c;
    ipcx_chan_end end, broken;
    ipcx_error err = {0};
    size_t receive, send;
    stream_pair(&a, &b, &(ipcx_chan_options){.max_message = 5000, .checksum = 1});
    stream_say(a, "sent before");
    CHECK_OK(ipcx__chan_stream_shake(b, NULL)); /* as a listener would */
    CHECK_OK(ipcx_chan_export(b, &end, NULL));
    CHECK_INT(end.count, 1);
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_FORKED);
    CHECK_STATUS(ipcx_chan_export(a, &end, NULL), IPCX_INVALID);
    end.fds[0] = dup(end.fds[0]);
    ipcx_chan_free(b);
    for (size_t i = 0; i < sizeof end.note; i++) {
        broken = end;
        broken.note[i] ^= 1;
        CHECK_STATUS(ipcx_chan_import(&broken, &c, &err), IPCX_PROTOCOL);
    }
    REQUIRE_OK(ipcx_chan_import(&end, &c, NULL));
    ipcx_chan_max_message(c, &receive, &send);
    CHECK_INT(receive, 5000);
    CHECK_INT(send, 5000);
    CHECK_HEARS(c, "sent before");
    stream_say(c, "hello again");
    CHECK_HEARS(a, "hello again");
    stream_free(a, c);
}

TEST(the_time_a_host_may_be_silent_goes_with_the_end)
{
    static const int64_t times[] = {0, 3000 * MS, 7000 * MS, 1000000000 * MS, IPCX_FOREVER};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        ipcx_chan *a, *b, *c = NULL;
        ipcx_chan_end end;
        REQUIRE_OK(
            ipcx_pair("tcp://", &(ipcx_chan_options){.vanish_timeout = times[i]}, &a, &b, NULL));
        REQUIRE_OK(ipcx_chan_export(b, &end, NULL));
        end.fds[0] = dup(end.fds[0]);
        REQUIRE_OK(ipcx_chan_import(&end, &c, NULL));
        CHECK(c->options.vanish_timeout == (times[i] != 0 ? times[i] : 15000 * MS));
        ipcx_chan_free(b);
        ipcx_endian_store32(end.note + 24, 2999); /* less than there is */
        ipcx_endian_store32(end.note + 28, ipcx_crc32c_update(0, end.note, 28));
        CHECK_STATUS(ipcx_chan_import(&end, &b, NULL), IPCX_PROTOCOL);
        ipcx_chan_free(a);
        ipcx_chan_free(c);
    }
}

TEST(pipes_out_and_in_again)
{
    ipcx_chan *a, *b, *c;
    ipcx_chan_end end;
    pipe_pair(&a, &b, 0);
    CHECK_OK(ipcx_chan_export(b, &end, NULL));
    CHECK_INT(end.count, 2);
    end.fds[0] = dup(end.fds[0]);
    end.fds[1] = dup(end.fds[1]);
    ipcx_chan_free(b);
    { /* the two exchanged are not what the note says */
        ipcx_chan_end exchanged = end;
        exchanged.fds[0] = end.fds[1];
        exchanged.fds[1] = end.fds[0];
        CHECK_STATUS(ipcx_chan_import(&exchanged, &c, NULL), IPCX_PROTOCOL);
    }
    REQUIRE_OK(ipcx_chan_import(&end, &c, NULL));
    stream_say(a, "hello");
    CHECK_HEARS(c, "hello");
    stream_free(a, c);
}

static ipcx_chan *receive_end(ipcx_chan *from, ipcx_deadline deadline)
{
    ipcx_message got;
    ipcx_chan *end;
    REQUIRE_OK(ipcx_chan_receive(from, &got, deadline, NULL));
    CHECK_INT(got.flags, IPCX_MESSAGE_END);
    end = (ipcx_chan *)(uintptr_t)got.data;
    ipcx_chan_release(from, &got);
    return end;
}

TEST(handed_over)
{
    ipcx_chan *a, *b, *near, *far, *pipe_near, *pipe_far, *there;
    ipcx_message first, second;
    stream_pair(&a, &b, NULL);
    stream_pair(&near, &far, NULL);
    pipe_pair(&pipe_near, &pipe_far, 0);
    first = stream_message(far, 0, IPCX_MESSAGE_END);
    second = stream_message(pipe_far, 0, IPCX_MESSAGE_END);
    stream_say(a, "before");
    CHECK_OK(ipcx_chan_send(a, &first, IPCX_FOREVER, NULL, NULL));
    CHECK_OK(ipcx_chan_send(a, &second, IPCX_FOREVER, NULL, NULL));
    stream_say(a, "behind");
    CHECK_RECEIVES(far, IPCX_NOW, IPCX_CLOSED);
    CHECK_HEARS(b, "before");
    there = receive_end(b, IPCX_NOW);
    stream_say(near, "over the handed end");
    CHECK_HEARS(there, "over the handed end");
    CHECK_OK(ipcx_chan_close(there, IPCX_FOREVER, NULL, NULL));
    CHECK_RECEIVES(near, IPCX_FOREVER, IPCX_EOF);
    ipcx_chan_free(there);
    there = receive_end(b, IPCX_NOW);
    stream_say(there, "from the pipe");
    CHECK_HEARS(pipe_near, "from the pipe");
    ipcx_chan_free(there);
    CHECK_HEARS(b, "behind");
    stream_free(near, far);
    stream_free(pipe_near, pipe_far);
    stream_free(a, b);
}

TEST(what_is_not_handed_over_stays)
{
    static uint8_t bytes[100000];
    ipcx_message large = stream_message(bytes, sizeof bytes, 0), end;
    ipcx_chan *a, *b, *near, *far, *pipe_a, *pipe_b;
    ipcx_sending sending = {0};
    stream_pair_narrow(&a, &b, NULL);
    stream_pair(&near, &far, NULL);
    end = stream_message(far, 0, IPCX_MESSAGE_END);
    CHECK_STATUS(ipcx_chan_send(a, &large, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_send(a, &end, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    CHECK_INT(sending.begun, 0);
    stream_say(far, "mine still");
    CHECK_HEARS(near, "mine still");
    CHECK_STATUS(ipcx_chan_send(a, &end, IPCX_NOW, &sending, NULL), IPCX_INVALID); /* used */
    pipe_pair(&pipe_a, &pipe_b, 0);
    CHECK_STATUS(ipcx_chan_send(pipe_a, &end, IPCX_NOW, NULL, NULL), IPCX_UNSUPPORTED);
    stream_free(pipe_a, pipe_b);
    stream_free(near, far);
    stream_free(a, b);
}

TEST(handed_over_and_never_received)
{
    for (int how = 0; how < 3; how++) {
        ipcx_chan *a, *b, *near, *far;
        ipcx_message end, sync = stream_message("x", 1, IPCX_MESSAGE_SYNC);
        stream_pair(&a, &b, NULL);
        stream_pair(&near, &far, NULL);
        end = stream_message(far, 0, IPCX_MESSAGE_END);
        CHECK_OK(ipcx_chan_send(a, &end, IPCX_FOREVER, NULL, NULL));
        ipcx_chan_free(far);
        if (how == 1) { /* in front */
            CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
        } else if (how == 2) { /* in the inbox */
            CHECK_STATUS(ipcx_chan_send(b, &sync, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
        }
        ipcx_chan_free(b);
        CHECK_RECEIVES(near, IPCX_FOREVER, IPCX_PEER_DIED);
        stream_free(a, near);
    }
}

TEST(a_child_keeps_nothing_of_what_its_parent_was_handed)
{
    for (int inbox = 0; inbox < 2; inbox++) {
        ipcx_chan *a, *b, *near, *far;
        ipcx_message end, sync = stream_message("x", 1, IPCX_MESSAGE_SYNC);
        int until[2];
        pid_t child;
        REQUIRE(pipe2(until, O_CLOEXEC) == 0);
        stream_pair(&a, &b, NULL);
        stream_pair(&near, &far, NULL);
        end = stream_message(far, 0, IPCX_MESSAGE_END);
        CHECK_OK(ipcx_chan_send(a, &end, IPCX_FOREVER, NULL, NULL));
        CHECK_STATUS(ipcx_chan_poll(near, IPCX_NOW, NULL), IPCX_AGAIN); /* in use here */
        if (inbox) {
            CHECK_STATUS(ipcx_chan_send(b, &sync, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
        } else {
            CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
        }
        child = fork();
        if (child == 0) {
            char byte;
            close(until[1]);
            _exit(read(until[0], &byte, 1) != 0);
        }
        stream_free(a, b);
        CHECK_RECEIVES(near, IPCX_FOREVER, IPCX_PEER_DIED);
        close(until[0]);
        close(until[1]);
        CHECK(check_child(child));
        stream_free(near, far);
    }
}

TEST(handed_over_through_the_inbox)
{
    ipcx_chan *a, *b, *near, *far, *there;
    ipcx_message end, sync = stream_message("x", 1, IPCX_MESSAGE_SYNC);
    stream_pair(&a, &b, NULL);
    stream_pair(&near, &far, NULL);
    end = stream_message(far, 0, IPCX_MESSAGE_END);
    CHECK_OK(ipcx_chan_send(a, &end, IPCX_FOREVER, NULL, NULL));
    CHECK_STATUS(ipcx_chan_send(b, &sync, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
    there = receive_end(b, IPCX_NOW);
    stream_say(there, "arrived");
    CHECK_HEARS(near, "arrived");
    stream_free(near, far);
    ipcx_chan_free(there);
    stream_free(a, b);
}

/* ---- hostile descriptors */

static void send_fds(int to, const void *bytes, size_t size, const int *fds, size_t count)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(20 * sizeof(int))];
    } with = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &with,
                         .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    with.header.cmsg_level = SOL_SOCKET;
    with.header.cmsg_type = SCM_RIGHTS;
    with.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&with.header), fds, count * sizeof(int));
    REQUIRE(sendmsg(to, &msg, 0) == (ssize_t)size);
}

/* `bytes` behind a HELLO and a message, with descriptors: refused, and none of them is left. */
static void check_hostile(const raw *bytes, const int *fds, size_t count, const char *why)
{
    raw out = {.size = 0};
    ipcx_error err = {0};
    ipcx_chan *chan;
    int own, before;
    chan = stream_and_raw(&own, NULL);
    raw_hello(&out, 1 << 20);
    raw_text(&out, "first");
    raw_send(own, &out);
    CHECK_HEARS(chan, "first");
    before = check_fds();
    send_fds(own, bytes->bytes, bytes->size, fds, count);
    CHECK_STATUS(stream_receive_only(chan, IPCX_FOREVER, &err), IPCX_PROTOCOL);
    if (!CHECK(strstr(err.detail, why) != NULL)) {
        printf("# %s\n", err.detail);
    }
    CHECK_INT(check_fds(), before);
    ipcx_chan_free(chan);
    close(own);
}

TEST(descriptors_that_nobody_asked_for)
{
    int fds[20], files[2], sockets[2];
    ipcx_chan *a, *b;
    ipcx_chan_end end;
    raw data = {.size = 0}, cut = {.size = 0}, handover = {.size = 0}, bad = {.size = 0};
    if (check_qemu()) {
        return; /* qemu-user 7.2 loses the descriptors of a control message that is cut */
    }
    REQUIRE(pipe2(files, O_CLOEXEC) == 0);
    stream_sockets(sockets);
    for (int i = 0; i < 20; i++) {
        fds[i] = files[0];
    }
    stream_pair(&a, &b, NULL);
    REQUIRE_OK(ipcx_chan_export(a, &end, NULL));
    raw_text(&data, "innocent");
    raw_frame(&handover, IPCX_FRAME_HANDOVER, 0, 0, end.note, sizeof end.note);
    raw_frame(&bad, IPCX_FRAME_HANDOVER, 0, 0, "01234567890123456789012345678901", 32);
    cut = data;
    cut.size = 5;
    {
        ipcx_chan *chan;
        int own;
        raw out = {.size = 0};
        ipcx_error err = {0};
        chan = stream_and_raw(&own, NULL); /* it delivers the message, then refuses */
        raw_hello(&out, 1 << 20);
        raw_send(own, &out);
        send_fds(own, data.bytes, data.size, fds, 1);
        CHECK_HEARS(chan, "innocent");
        CHECK_STATUS(stream_receive_only(chan, IPCX_NOW, &err), IPCX_PROTOCOL);
        ipcx_chan_free(chan);
        close(own);
    }
    check_hostile(&data, fds, 20, "more descriptors");
    check_hostile(&handover, fds, IPCX__END_FDS + 1, "more descriptors");
    check_hostile(&handover, fds, 2, "2 descriptors");
    check_hostile(&handover, fds, 1, "another kind");
    check_hostile(&bad, sockets, 1, "no note");
    { /* a second batch while the first is not claimed */
        ipcx_chan *chan;
        int own, before;
        raw out = {.size = 0};
        chan = stream_and_raw(&own, NULL);
        raw_hello(&out, 1 << 20);
        raw_send(own, &out);
        CHECK_RECEIVES(chan, IPCX_NOW, IPCX_AGAIN);
        before = check_fds();
        send_fds(own, cut.bytes, cut.size, fds, 1);
        send_fds(own, data.bytes + 5, 3, fds, 1);
        CHECK_RECEIVES(chan, IPCX_NOW, IPCX_PROTOCOL);
        CHECK_INT(check_fds(), before);
        ipcx_chan_free(chan);
        close(own);
    }
    { /* a HANDOVER without any */
        ipcx_chan *chan;
        int own;
        raw out = {.size = 0};
        chan = stream_and_raw(&own, NULL);
        raw_hello(&out, 1 << 20);
        raw_frame(&out, IPCX_FRAME_HANDOVER, 0, 0, end.note, sizeof end.note);
        raw_send(own, &out);
        CHECK_RECEIVES(chan, IPCX_NOW, IPCX_PROTOCOL);
        ipcx_chan_free(chan);
        close(own);
    }
    close(files[0]);
    close(files[1]);
    close(sockets[0]);
    close(sockets[1]);
    stream_free(a, b);
}
