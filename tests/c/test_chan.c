/* SPDX-License-Identifier: Apache-2.0
 * chan: whose an end is, what close and fork do to it, what is counted; over a transport that is a
 * pipe written to at hang-up and a table of answers. */
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "ipcx/alloc.h"
#include "ipcx/chan.h"
#include "link/chan.h"
#include "os/gate.h"

/* A channel that answers what the test put into it. */
typedef struct fake {
    ipcx_chan chan;
    int fd; /* closed by hang_up: its reader sees the end */
    ipcx_status answers[4];
    int next;
    int sends, releases, goodbyes, wakes, hang_ups, discards;
    atomic_int inside; /* somebody sleeps in receive */
    ipcx_deadline goodbye_deadline;
} fake;

static atomic_int destroyed;

static fake *of(ipcx_chan *chan)
{
    return (fake *)(void *)chan;
}

static ipcx_status fake_answer(fake *self)
{
    return self->answers[self->next] == IPCX_OK ? IPCX_OK : self->answers[self->next++];
}

static ipcx_status fake_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                             ipcx_sending *sending, ipcx_error *err)
{
    (void)message, (void)deadline, (void)err;
    of(chan)->sends++;
    sending->ticket++;
    return fake_answer(of(chan));
}

static ipcx_status fake_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                                  ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    (void)messages, (void)deadline, (void)err;
    sending->taken = count - 1;
    return fake_answer(of(chan));
}

static ipcx_status fake_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                                ipcx_error *err)
{
    if (deadline == IPCX_FOREVER) {
        atomic_store(&of(chan)->inside, 1);
        return ipcx__gate_poll(&chan->gate, -1, 0, deadline, err);
    }
    *message = (ipcx_message){.data = "seven b", .size = 7};
    return fake_answer(of(chan));
}

static void fake_release(ipcx_chan *chan, ipcx_message *message)
{
    (void)message;
    of(chan)->releases++;
}

static ipcx_status fake_wait(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err)
{
    (void)deadline, (void)err;
    return fake_answer(of(chan));
}

static ipcx_status fake_fileno(ipcx_chan *chan, int *fd, ipcx_error *err)
{
    (void)err;
    *fd = of(chan)->fd;
    return IPCX_OK;
}

static ipcx_status fake_goodbye(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent,
                                ipcx_error *err)
{
    (void)err;
    of(chan)->goodbyes++;
    of(chan)->goodbye_deadline = deadline;
    *unsent = 3;
    return fake_answer(of(chan));
}

static void fake_wake(ipcx_chan *chan)
{
    CHECK(ipcx__gate_is_closed(&chan->gate));
    of(chan)->wakes++;
}

static void fake_hang_up(ipcx_chan *chan)
{
    (void)close(of(chan)->fd);
    of(chan)->hang_ups++;
}

static void fake_discard(ipcx_chan *chan)
{
    CHECK_INT(of(chan)->hang_ups, 1);
    of(chan)->discards++;
}

static void fake_destroy(ipcx_chan *chan)
{
    atomic_fetch_add(&destroyed, 1);
    ipcx_free(chan);
}

static ipcx_status fake_export(ipcx_chan *chan, ipcx_chan_end *end, ipcx_error *err)
{
    (void)err;
    *end = (ipcx_chan_end){.fds = {of(chan)->fd}, .count = 1};
    return IPCX_OK;
}

static void fake_max_message(ipcx_chan *chan, size_t *receive, size_t *send)
{
    *receive = chan->options.max_message;
    *send = 1;
}

static const ipcx__transport FAKE = {
    .scheme = IPCX_SCHEME_PIPE,
    .send = fake_send,
    .send_many = fake_send_many,
    .receive = fake_receive,
    .release = fake_release,
    .poll = fake_wait,
    .flush = fake_wait,
    .fileno = fake_fileno,
    .send_fileno = fake_fileno,
    .goodbye = fake_goodbye,
    .wake = fake_wake,
    .hang_up = fake_hang_up,
    .discard = fake_discard,
    .destroy = fake_destroy,
    .export = fake_export,
    .max_message = fake_max_message,
};

/* A new one; `*peer` sees the end of the stream when it is hung up everywhere. */
static fake *fake_new(const ipcx__transport *transport, int *peer)
{
    int ends[2];
    fake *self = ipcx_alloc(sizeof *self);
    REQUIRE(self != NULL && pipe(ends) == 0);
    *self = (fake){.fd = ends[1]};
    *peer = ends[0];
    REQUIRE_OK(ipcx__chan_begin(&self->chan, transport, "fake://", NULL, NULL));
    return self;
}

/* Whether the pipe has no writer any more. */
static int hung_up(int peer)
{
    struct pollfd polled = {.fd = peer, .events = POLLIN};
    return poll(&polled, 1, 0) == 1 && (polled.revents & POLLHUP) != 0;
}

static void wait_hung_up(int peer)
{
    struct pollfd polled = {.fd = peer};
    CHECK_INT(poll(&polled, 1, -1), 1);
    CHECK(polled.revents & POLLHUP);
}

static ipcx_status send_seven(fake *self, ipcx_sending *sending, ipcx_error *err)
{
    const ipcx_message message = {.data = "seven b", .size = 7};
    return ipcx_chan_send(&self->chan, &message, IPCX_FOREVER, sending, err);
}

static void done(fake *self, int peer)
{
    int before = atomic_load(&destroyed);
    ipcx_chan_free(&self->chan);
    CHECK_INT(atomic_load(&destroyed), before + 1);
    CHECK(hung_up(peer));
    close(peer);
}

TEST(options)
{
    ipcx_chan_options filled, given = {.max_message = 4095};
    ipcx_error err;
    CHECK_OK(ipcx__chan_options_fill(NULL, &filled, NULL));
    CHECK_INT(filled.max_message, 64 << 20);
    CHECK_INT(filled.max_backlog, 8 << 20);
    CHECK_INT(filled.capacity, 1024);
    CHECK_INT(filled.handshake_timeout, INT64_C(5000000000));
    CHECK_INT(filled.backlog, 512);
    filled.rendezvous = 1;
    CHECK_OK(ipcx__chan_options_fill(&filled, &filled, NULL));
    CHECK_INT(filled.capacity, 0);
    CHECK_STATUS(ipcx__chan_options_fill(&given, &filled, &err), IPCX_INVALID);
    given.max_message = ((size_t)1 << 31) + 1;
    CHECK_STATUS(ipcx__chan_options_fill(&given, &filled, &err), IPCX_INVALID);
    given = (ipcx_chan_options){.handshake_timeout = -1};
    CHECK_STATUS(ipcx__chan_options_fill(&given, &filled, &err), IPCX_INVALID);
    given = (ipcx_chan_options){.backlog = -1};
    CHECK_STATUS(ipcx__chan_options_fill(&given, &filled, &err), IPCX_INVALID);
}

TEST(no_memory)
{
    ipcx_chan chan = {0};
    ipcx_alloc_fail_at(1);
    CHECK_STATUS(ipcx__chan_begin(&chan, &FAKE, "fake://", NULL, NULL), IPCX_NOMEM);
    ipcx_alloc_fail_at(0);
}

TEST(what_is_counted)
{
    int peer;
    size_t receive, send;
    uint64_t unreceived;
    fake *self = fake_new(&FAKE, &peer);
    ipcx_message got, many[3] = {{.size = 1}, {.size = 10}, {.size = 100}};
    ipcx_sending sending = {0};
    ipcx_chan_stats stats;
    self->answers[0] = IPCX_TIMEOUT;
    self->answers[1] = IPCX_TIMEOUT;
    CHECK_STATUS(ipcx_chan_poll(&self->chan, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_flush(&self->chan, IPCX_FOREVER, NULL), IPCX_TIMEOUT);
    CHECK_OK(send_seven(self, NULL, NULL));
    CHECK_OK(ipcx_chan_send_many(&self->chan, many, 3, IPCX_NOW, &sending, NULL));
    CHECK_OK(ipcx_chan_receive(&self->chan, &got, IPCX_NOW, NULL));
    ipcx_chan_release(&self->chan, &got);
    CHECK_INT(self->releases, 1);
    ipcx_chan_get_stats(&self->chan, &stats);
    CHECK_INT(stats.sent, 3);
    CHECK_INT(stats.sent_bytes, 18);
    CHECK_INT(stats.received, 1);
    CHECK_INT(stats.received_bytes, 7);
    CHECK_INT(stats.timeouts, 1);
    CHECK_INT(stats.send_waits + stats.receive_waits + stats.owed, 0);
    CHECK_STR(ipcx_chan_url(&self->chan), "fake://");
    ipcx_chan_max_message(&self->chan, &receive, &send);
    CHECK_INT(receive + send, (64 << 20) + 1);
    CHECK_STATUS(ipcx_chan_unreceived(&self->chan, &unreceived, NULL), IPCX_UNSUPPORTED);
    done(self, peer);
}

TEST(a_begun_message_counts_once)
{
    int peer;
    fake *self = fake_new(&FAKE, &peer);
    ipcx_sending sending = {0};
    ipcx_chan_stats stats;
    self->answers[0] = IPCX_TIMEOUT;
    CHECK_STATUS(send_seven(self, &sending, NULL), IPCX_TIMEOUT);
    ipcx_chan_get_stats(&self->chan, &stats);
    CHECK_INT(stats.sent, 0);
    CHECK_OK(send_seven(self, &sending, NULL));
    sending = (ipcx_sending){.begun = 1};
    CHECK_OK(send_seven(self, &sending, NULL));
    ipcx_chan_get_stats(&self->chan, &stats);
    CHECK_INT(stats.sent, 1);
    done(self, peer);
}

TEST(without_sending_a_signal_does_not_end_the_send)
{
    int peer;
    fake *self = fake_new(&FAKE, &peer);
    ipcx_sending sending = {0};
    self->answers[0] = self->answers[1] = self->answers[2] = IPCX_INTR;
    CHECK_STATUS(send_seven(self, &sending, NULL), IPCX_INTR);
    CHECK_INT(self->sends, 1);
    CHECK_OK(send_seven(self, NULL, NULL));
    CHECK_INT(self->sends, 4);
    done(self, peer);
}

TEST(close_is_idempotent_and_final)
{
    int peer, fd;
    fake *self = fake_new(&FAKE, &peer);
    ipcx_message got;
    ipcx_sending sending = {0};
    ipcx_chan_end end;
    ipcx_error err;
    size_t unsent = 9;
    CHECK_OK(send_seven(self, NULL, NULL));
    self->answers[0] = IPCX_INTR;
    CHECK_STATUS(ipcx_chan_close(&self->chan, IPCX_FOREVER, &unsent, NULL), IPCX_INTR);
    CHECK_INT(unsent, 0);
    CHECK_OK(send_seven(self, NULL, NULL)); /* not closed yet */
    self->answers[1] = IPCX_TIMEOUT;
    CHECK_STATUS(ipcx_chan_close(&self->chan, 5, &unsent, NULL), IPCX_TIMEOUT);
    CHECK_INT(unsent, 3);
    CHECK_INT(self->goodbye_deadline, 5);
    CHECK(hung_up(peer));
    CHECK_OK(ipcx_chan_close(&self->chan, IPCX_FOREVER, &unsent, NULL));
    CHECK_INT(unsent, 0);
    CHECK_INT(self->goodbyes, 2);
    CHECK_INT(self->hang_ups, 1);
    CHECK_INT(self->discards, 1);
    CHECK_INT(self->wakes, 1);
    CHECK_STATUS(send_seven(self, NULL, &err), IPCX_CLOSED);
    CHECK_STR(err.detail, "fake:// is closed");
    CHECK_STATUS(ipcx_chan_send_many(&self->chan, NULL, 0, IPCX_NOW, &sending, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_chan_receive(&self->chan, &got, IPCX_NOW, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_chan_poll(&self->chan, IPCX_NOW, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_chan_flush(&self->chan, IPCX_NOW, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_chan_fileno(&self->chan, &fd, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_chan_send_fileno(&self->chan, &fd, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_chan_export(&self->chan, &end, NULL), IPCX_CLOSED);
    done(self, peer);
}

TEST(close_now_drops_silently)
{
    int peer;
    size_t unsent;
    fake *self = fake_new(&FAKE, &peer);
    self->answers[0] = IPCX_TIMEOUT;
    CHECK_OK(ipcx_chan_close(&self->chan, IPCX_NOW, &unsent, NULL));
    CHECK_INT(unsent, 3);
    done(self, peer);
}

static void *wait_for_ever(void *arg)
{
    ipcx_message got;
    CHECK_STATUS(ipcx_chan_receive(arg, &got, IPCX_FOREVER, NULL), IPCX_CLOSED);
    return NULL;
}

TEST(close_while_another_thread_is_inside)
{
    int peer;
    pthread_t thread;
    fake *self = fake_new(&FAKE, &peer);
    REQUIRE(pthread_create(&thread, NULL, wait_for_ever, &self->chan) == 0);
    while (!atomic_load(&self->inside)) {
        sched_yield();
    }
    CHECK_OK(ipcx_chan_close(&self->chan, IPCX_FOREVER, NULL, NULL));
    pthread_join(thread, NULL);
    done(self, peer);
}

/* In a child: what the parent uses answers FORKED and is closed here; 0 when all is right. */
static int child_of_user(fake *self)
{
    char expected[128];
    ipcx_error err;
    ipcx_chan_end end;
    int wrong;
    (void)snprintf(expected, sizeof expected,
                   "process %d owns this end of fake://; each process uses an end of its own",
                   (int)getppid());
    wrong = self->hang_ups != 1 || send_seven(self, NULL, &err) != IPCX_FORKED ||
            strcmp(err.detail, expected) != 0 ||
            ipcx_chan_export(&self->chan, &end, NULL) != IPCX_FORKED;
    wrong |= ipcx_chan_close(&self->chan, IPCX_FOREVER, NULL, NULL) != IPCX_OK;
    wrong |= self->goodbyes != 0 || self->hang_ups != 1 || self->discards != 0;
    ipcx_chan_free(&self->chan);
    return wrong;
}

TEST(a_child_has_no_end_that_was_in_use)
{
    int peer;
    pid_t child;
    ipcx_message got;
    fake *self = fake_new(&FAKE, &peer);
    CHECK_OK(ipcx_chan_receive(&self->chan, &got, IPCX_NOW, NULL));
    child = fork();
    if (child == 0) {
        ipcx_chan_release(&self->chan, &got);
        _exit(child_of_user(self));
    }
    CHECK(check_child(child));
    ipcx_chan_release(&self->chan, &got);
    CHECK_INT(self->releases, 1);
    CHECK_OK(send_seven(self, NULL, NULL));
    done(self, peer);
}

TEST(the_peer_of_a_killed_user_sees_the_end)
{
    int peer, ends[2];
    pid_t user;
    char byte;
    fake *self = fake_new(&FAKE, &peer);
    REQUIRE(pipe(ends) == 0);
    user = fork();
    if (user == 0) {
        /* The grandchild lives on; it must not keep the end open. */
        int used = send_seven(self, NULL, NULL) == IPCX_OK;
        if (fork() == 0) {
            (void)close(ends[1]);
            (void)read(ends[0], &byte, 1);
            _exit(0);
        }
        _exit(!used);
    }
    CHECK(check_child(user));
    CHECK(!hung_up(peer)); /* ours, unused, is still there */
    CHECK_OK(ipcx_chan_close(&self->chan, IPCX_FOREVER, NULL, NULL));
    CHECK_INT(self->goodbyes, 0); /* it is only let go of: the child may have had it */
    wait_hung_up(peer);           /* the grandchild may just be getting there */
    close(ends[0]);
    close(ends[1]);
    done(self, peer);
}

TEST(an_unused_end_is_kept_in_the_child)
{
    int peer;
    pid_t child;
    fake *self = fake_new(&FAKE, &peer);
    CHECK(ipcx__chan_never_shared(&self->chan));
    child = fork();
    if (child == 0) {
        int wrong = self->hang_ups != 0 || ipcx__chan_never_shared(&self->chan) ||
                    send_seven(self, NULL, NULL) != IPCX_OK;
        wrong |= ipcx_chan_close(&self->chan, IPCX_NOW, NULL, NULL) != IPCX_OK;
        _exit(wrong || self->goodbyes != 1);
    }
    CHECK(check_child(child));
    CHECK(!ipcx__chan_never_shared(&self->chan));
    done(self, peer);
}

TEST(of_all_who_inherited_an_end_the_first_user_owns_it)
{
    int peer, ends[2];
    pid_t children[2];
    char byte, expected[128];
    ipcx_chan_end end;
    ipcx_error err;
    fake *self = fake_new(&FAKE, &peer);
    REQUIRE(pipe(ends) == 0);
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            ipcx_status status;
            /* The second waits until the first has used it. */
            int heard = i == 0 || read(ends[0], &byte, 1) == 1;
            status = send_seven(self, NULL, &err);
            (void)!write(ends[1], "xx", i == 0 ? 2 : 0);
            ipcx_chan_free(&self->chan);
            _exit(!heard || status != (i == 0 ? IPCX_OK : IPCX_FORKED));
        }
    }
    CHECK(read(ends[0], &byte, 1) == 1);
    CHECK(check_child(children[1]));
    (void)snprintf(expected, sizeof expected,
                   "process %d owns this end of fake://; each process uses an end of its own",
                   (int)children[0]);
    for (int again = 0; again < 2; again++) {
        CHECK_STATUS(send_seven(self, NULL, &err), IPCX_FORKED);
        CHECK_STR(err.detail, expected);
    }
    CHECK_STATUS(ipcx_chan_export(&self->chan, &end, &err), IPCX_FORKED);
    CHECK(check_child(children[0]));
    CHECK_OK(ipcx_chan_close(&self->chan, IPCX_FOREVER, NULL, NULL));
    CHECK_INT(self->goodbyes, 0);
    close(ends[0]);
    close(ends[1]);
    done(self, peer);
}

TEST(one_that_cannot_leave_is_not_the_childs)
{
    int peer;
    pid_t child;
    ipcx_chan_end end;
    ipcx_error err;
    ipcx__transport staying = FAKE;
    staying.export = NULL;
    fake *self = fake_new(&staying, &peer);
    CHECK_STATUS(ipcx_chan_export(&self->chan, &end, &err), IPCX_UNSUPPORTED);
    child = fork();
    if (child == 0) {
        _exit(send_seven(self, NULL, NULL) != IPCX_FORKED);
    }
    CHECK(check_child(child));
    CHECK_OK(send_seven(self, NULL, NULL));
    done(self, peer);
}

TEST(what_was_handed_over_is_not_used_here)
{
    int peer;
    ipcx_chan_end end;
    ipcx_error err;
    fake *self = fake_new(&FAKE, &peer);
    CHECK_OK(ipcx_chan_export(&self->chan, &end, NULL));
    CHECK_INT(end.fds[0], self->fd);
    CHECK_STATUS(send_seven(self, NULL, &err), IPCX_FORKED);
    CHECK_STR(err.detail, "this end of fake:// was handed over: another process owns it");
    CHECK_OK(ipcx_chan_close(&self->chan, IPCX_FOREVER, NULL, NULL));
    CHECK_INT(self->goodbyes, 0);
    done(self, peer);

    self = fake_new(&FAKE, &peer);
    CHECK_OK(send_seven(self, NULL, NULL));
    CHECK_STATUS(ipcx_chan_export(&self->chan, &end, NULL), IPCX_INVALID);
    done(self, peer);
}

/* Threads that are the first to use one end at once. */
static void *use_first(void *arg)
{
    int fd = -1;
    CHECK_OK(ipcx_chan_fileno(arg, &fd, NULL));
    CHECK_OK(ipcx_chan_send_fileno(arg, &fd, NULL));
    return NULL;
}

TEST(many_first_users_in_one_process)
{
    int peer, i;
    pthread_t threads[4];
    fake *self = fake_new(&FAKE, &peer);
    for (i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, use_first, &self->chan) == 0);
    }
    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    done(self, peer);
    CHECK(ipcx__own_first(IPCX__OWN_ENDS) == NULL);
}
