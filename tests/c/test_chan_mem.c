/* SPDX-License-Identifier: Apache-2.0
 * chan_mem: channels between threads of one process: order, room, rendezvous, the end, descriptors
 * that tell, and listeners by name. */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "ipcx/alloc.h"
#include "ipcx/chan.h"
#include "link/memory/chan_mem.h"

#define MS INT64_C(1000000)
#define URL "inproc://"

typedef struct both {
    ipcx_chan *a, *b;
} both;

static both make(size_t capacity)
{
    both ends;
    const ipcx_chan_options options = {.capacity = capacity, .rendezvous = capacity == 0};
    REQUIRE_OK(ipcx__chan_mem_pair(URL, &options, &ends.a, &ends.b, NULL));
    return ends;
}

static void unmake(both ends)
{
    ipcx_chan_free(ends.a);
    ipcx_chan_free(ends.b);
}

static ipcx_status send_text(ipcx_chan *chan, const char *text, ipcx_deadline deadline,
                             ipcx_sending *sending)
{
    const ipcx_message message = {.data = text, .size = strlen(text), .flags = IPCX_MESSAGE_TEXT};
    return ipcx_chan_send(chan, &message, deadline, sending, NULL);
}

static ipcx_status send_number(ipcx_chan *chan, uint64_t number, unsigned flags,
                               ipcx_deadline deadline, ipcx_sending *sending)
{
    const ipcx_message message = {.data = &number, .size = sizeof number, .flags = flags};
    return ipcx_chan_send(chan, &message, deadline, sending, NULL);
}

/* The number in the next message. */
static ipcx_status get_number(ipcx_chan *chan, uint64_t *number, ipcx_deadline deadline)
{
    ipcx_message got;
    ipcx_status status = ipcx_chan_receive(chan, &got, deadline, NULL);
    if (status == IPCX_OK) {
        CHECK_INT(got.size, sizeof *number);
        memcpy(number, got.data, sizeof *number);
        ipcx_chan_release(chan, &got);
    }
    return status;
}

static void expect_text(ipcx_chan *chan, const char *text)
{
    ipcx_message got;
    if (CHECK_OK(ipcx_chan_receive(chan, &got, IPCX_FOREVER, NULL))) {
        CHECK_INT(got.size, strlen(text));
        CHECK_MEM(got.data, text, got.size);
        CHECK_INT(got.flags & IPCX_MESSAGE_TEXT, IPCX_MESSAGE_TEXT);
        ipcx_chan_release(chan, &got);
    }
}

static int readable(int fd, short events)
{
    struct pollfd polled = {.fd = fd, .events = events};
    return poll(&polled, 1, 0) == 1;
}

/* Until the channel has slept so often: then the thread that does is on its way to its sleep. */
static void await_waits(ipcx_chan *chan, int sends, uint64_t waits)
{
    ipcx_chan_stats stats;
    do {
        sched_yield();
        ipcx_chan_get_stats(chan, &stats);
    } while ((sends ? stats.send_waits : stats.receive_waits) < waits);
}

/* ---- messages */

TEST(in_order_each_way)
{
    both ends = make(0 + 1024);
    ipcx_message got;
    size_t takes, may_send;
    ipcx_chan_stats stats;
    CHECK_OK(send_text(ends.a, "one", IPCX_NOW, NULL));
    CHECK_OK(send_text(ends.a, "", IPCX_NOW, NULL));
    CHECK_OK(send_text(ends.a, "three", IPCX_NOW, NULL));
    CHECK_OK(send_text(ends.b, "back", IPCX_NOW, NULL));
    expect_text(ends.b, "one");
    expect_text(ends.b, "");
    expect_text(ends.b, "three");
    expect_text(ends.a, "back");
    CHECK_STATUS(ipcx_chan_receive(ends.b, &got, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_poll(ends.b, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_receive(ends.b, &got, ipcx_deadline_after(MS), NULL), IPCX_TIMEOUT);
    CHECK_STATUS(ipcx_chan_poll(ends.b, ipcx_deadline_after(MS), NULL), IPCX_TIMEOUT);
    CHECK_OK(ipcx_chan_flush(ends.a, IPCX_NOW, NULL));
    ipcx_chan_max_message(ends.a, &takes, &may_send);
    CHECK_INT(takes, 64 << 20);
    CHECK_INT(may_send, 64 << 20);
    CHECK_STR(ipcx_chan_url(ends.a), URL);
    ipcx_chan_get_stats(ends.a, &stats);
    CHECK_INT(stats.sent, 3);
    CHECK_INT(stats.sent_bytes, 8);
    CHECK_INT(stats.received, 1);
    CHECK_INT(stats.received_bytes, 4);
    ipcx_chan_get_stats(ends.b, &stats);
    CHECK_INT(stats.sent, 1);
    CHECK_INT(stats.received_bytes, 8);
    CHECK_INT(stats.receive_waits, 2);
    unmake(ends);
}

TEST(a_ring_that_grows_and_wraps)
{
    both ends = make(100);
    uint64_t sent = 0, received = 0, number;
    for (int round = 0; round < 50; round++) {
        while (send_number(ends.a, sent, 0, IPCX_NOW, NULL) == IPCX_OK) {
            sent++;
        }
        CHECK_INT(sent - received, 100);
        for (int i = 0; i < 7 + round; i++) {
            CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
            CHECK_INT(number, received);
            received++;
        }
    }
    unmake(ends);
}

static atomic_int dropped;

static void drop(void *object)
{
    CHECK_STR((const char *)object, "an object");
    atomic_fetch_add(&dropped, 1);
}

TEST(objects_go_by_reference_and_none_is_lost)
{
    const ipcx_chan_options options = {.drop = drop};
    char object[] = "an object";
    const ipcx_message message = {.data = object, .flags = IPCX_MESSAGE_OBJECT};
    ipcx_message got;
    uint64_t unreceived;
    both ends;
    REQUIRE_OK(ipcx__chan_mem_pair(URL, &options, &ends.a, &ends.b, NULL));
    atomic_store(&dropped, 0);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(ipcx_chan_send(ends.a, &message, IPCX_NOW, NULL, NULL));
    }
    CHECK_OK(ipcx_chan_receive(ends.b, &got, IPCX_NOW, NULL));
    CHECK(got.data == object && got.size == 0 && got.flags == IPCX_MESSAGE_OBJECT);
    ipcx_chan_release(ends.b, &got);
    CHECK_OK(ipcx_chan_close(ends.b, IPCX_FOREVER, NULL, NULL));
    CHECK_INT(atomic_load(&dropped), 2);
    CHECK_OK(ipcx_chan_unreceived(ends.a, &unreceived, NULL));
    CHECK_INT(unreceived, 2);
    CHECK_STATUS(ipcx_chan_send(ends.a, &message, IPCX_NOW, NULL, NULL), IPCX_PEER_CLOSED);
    CHECK_INT(atomic_load(&dropped), 2); /* that one was not taken */
    unmake(ends);
    CHECK_INT(atomic_load(&dropped), 2);
}

TEST(what_is_refused)
{
    const ipcx_chan_options options = {.max_message = 4096, .copy = 1};
    char bytes[4097] = "\xff";
    ipcx_message message = {.data = bytes, .size = sizeof bytes};
    ipcx_error err;
    ipcx_chan_end end;
    both ends;
    REQUIRE_OK(ipcx__chan_mem_pair(URL, &options, &ends.a, &ends.b, NULL));
    CHECK_STATUS(ipcx_chan_send(ends.a, &message, IPCX_NOW, NULL, &err), IPCX_TOO_LARGE);
    CHECK_STR(err.detail, "the message has 4097 bytes, the peer takes 4096");
    message = (ipcx_message){.data = bytes, .size = 4, .flags = IPCX_MESSAGE_TEXT};
    CHECK_STATUS(ipcx_chan_send(ends.a, &message, IPCX_NOW, NULL, &err), IPCX_INVALID);
    message = (ipcx_message){.data = ends.b, .flags = IPCX_MESSAGE_END};
    CHECK_STATUS(ipcx_chan_send(ends.a, &message, IPCX_NOW, NULL, &err), IPCX_UNSUPPORTED);
    message.flags = IPCX_MESSAGE_OBJECT;
    CHECK_STATUS(ipcx_chan_send(ends.a, &message, IPCX_NOW, NULL, &err), IPCX_UNSUPPORTED);
    CHECK_STATUS(ipcx_chan_export(ends.a, &end, &err), IPCX_UNSUPPORTED);
    CHECK_STATUS(ipcx_chan_poll(ends.b, IPCX_NOW, NULL), IPCX_AGAIN);
    unmake(ends);
    CHECK_STATUS(
        ipcx__chan_mem_pair(URL, &(ipcx_chan_options){.max_message = 1}, &ends.a, &ends.b, NULL),
        IPCX_INVALID);
}

TEST(no_room)
{
    both ends = make(2);
    ipcx_sending sending = {0};
    ipcx_chan_stats stats;
    char large[8192] = {0};
    const ipcx_message message = {.data = large, .size = sizeof large};
    uint64_t number = 0;
    CHECK_OK(send_number(ends.a, 1, 0, IPCX_NOW, NULL));
    CHECK_OK(send_number(ends.a, 2, 0, IPCX_NOW, NULL));
    CHECK_STATUS(send_number(ends.a, 3, 0, IPCX_NOW, &sending), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_send(ends.a, &message, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    CHECK_STATUS(send_number(ends.a, 3, 0, ipcx_deadline_after(MS), &sending), IPCX_TIMEOUT);
    CHECK_INT(sending.begun, 0);
    ipcx_chan_get_stats(ends.a, &stats);
    CHECK_INT(stats.sent, 2);
    CHECK_INT(stats.send_waits, 1);
    CHECK_INT(stats.timeouts, 1);
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK_OK(send_number(ends.a, 3, 0, IPCX_NOW, NULL));
    for (uint64_t expected = 2; expected <= 3; expected++) {
        CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
        CHECK_INT(number, expected);
    }
    unmake(ends);
}

TEST(many_at_once)
{
    enum { COUNT = 100 };
    both ends = make(70);
    uint64_t numbers[COUNT], number = 0;
    ipcx_message messages[COUNT];
    ipcx_sending sending = {0};
    for (uint64_t i = 0; i < COUNT; i++) {
        numbers[i] = i;
        messages[i] = (ipcx_message){.data = &numbers[i], .size = sizeof numbers[i]};
    }
    CHECK_STATUS(ipcx_chan_send_many(ends.a, messages, COUNT, IPCX_NOW, &sending, NULL),
                 IPCX_AGAIN);
    CHECK_INT(sending.taken, 70);
    for (uint64_t i = 0; i < 40; i++) {
        CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
        CHECK_INT(number, i);
    }
    messages[90].flags = IPCX_MESSAGE_END;
    CHECK_STATUS(ipcx_chan_send_many(ends.a, messages, COUNT, IPCX_NOW, &sending, NULL),
                 IPCX_UNSUPPORTED);
    CHECK_INT(sending.taken, 90);
    for (uint64_t i = 40; i < 90; i++) {
        CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
        CHECK_INT(number, i);
    }
    messages[90].flags = 0;
    CHECK_OK(ipcx_chan_send_many(ends.a, messages, COUNT, IPCX_NOW, &sending, NULL));
    CHECK_INT(sending.taken, COUNT);
    unmake(ends);
}

/* ---- rendezvous */

typedef struct sender {
    pthread_t thread;
    ipcx_chan *chan;
    unsigned flags;
    ipcx_status status;
    atomic_int returned;
} sender;

static void *send_once(void *arg)
{
    sender *self = arg;
    self->status = send_number(self->chan, 7, self->flags, IPCX_FOREVER, NULL);
    atomic_store(&self->returned, 1);
    return NULL;
}

static void sender_start(sender *self, ipcx_chan *chan, unsigned flags)
{
    *self = (sender){.chan = chan, .flags = flags};
    REQUIRE(pthread_create(&self->thread, NULL, send_once, self) == 0);
}

static void rendezvous_over(both ends, unsigned flags)
{
    sender waiting;
    ipcx_message got;
    sender_start(&waiting, ends.a, flags);
    CHECK_OK(ipcx_chan_receive(ends.b, &got, IPCX_FOREVER, NULL));
    await_waits(ends.a, 1, 1);
    CHECK_INT(atomic_load(&waiting.returned), 0); /* received is released */
    ipcx_chan_release(ends.b, &got);
    pthread_join(waiting.thread, NULL);
    CHECK_OK(waiting.status);
    unmake(ends);
}

TEST(a_rendezvous_ends_with_the_release)
{
    rendezvous_over(make(0), 0);
    rendezvous_over(make(10), IPCX_MESSAGE_SYNC);
}

TEST(a_rendezvous_that_times_out_stays_in_the_queue)
{
    both ends = make(0);
    ipcx_sending first = {0}, second = {0};
    ipcx_chan_stats stats;
    uint64_t number = 0;
    CHECK_STATUS(send_number(ends.a, 1, 0, ipcx_deadline_after(MS), &first), IPCX_TIMEOUT);
    CHECK_INT(first.begun, 1);
    CHECK_STATUS(send_number(ends.a, 2, 0, ipcx_deadline_after(MS), &second), IPCX_TIMEOUT);
    CHECK_INT(second.begun, 0); /* there is room for no second one */
    CHECK_STATUS(send_number(ends.a, 1, 0, IPCX_NOW, &first), IPCX_AGAIN);
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK_INT(number, 1);
    CHECK_OK(send_number(ends.a, 1, 0, IPCX_NOW, &first)); /* going on with it, not again */
    CHECK_STATUS(get_number(ends.b, &number, IPCX_NOW), IPCX_AGAIN);
    ipcx_chan_get_stats(ends.a, &stats);
    CHECK_INT(stats.sent, 1);
    unmake(ends);
}

TEST(released_in_another_order)
{
    both ends = make(10);
    ipcx_sending first = {0}, second = {0};
    ipcx_message one, two;
    CHECK_STATUS(send_number(ends.a, 1, IPCX_MESSAGE_SYNC, IPCX_NOW, &first), IPCX_AGAIN);
    CHECK_STATUS(send_number(ends.a, 2, IPCX_MESSAGE_SYNC, IPCX_NOW, &second), IPCX_AGAIN);
    CHECK_OK(ipcx_chan_receive(ends.b, &one, IPCX_NOW, NULL));
    CHECK_OK(ipcx_chan_receive(ends.b, &two, IPCX_NOW, NULL));
    ipcx_chan_release(ends.b, &two);
    CHECK_STATUS(send_number(ends.a, 1, IPCX_MESSAGE_SYNC, IPCX_NOW, &first), IPCX_AGAIN);
    CHECK_OK(send_number(ends.a, 2, IPCX_MESSAGE_SYNC, IPCX_NOW, &second));
    ipcx_chan_release(ends.b, &one);
    CHECK_OK(send_number(ends.a, 1, IPCX_MESSAGE_SYNC, IPCX_NOW, &first));
    unmake(ends);
}

TEST(many_rendezvous_one_after_the_other)
{
    both ends = make(0);
    uint64_t numbers[3] = {0, 1, 2}, number = 9;
    ipcx_message messages[3];
    ipcx_sending sending = {0};
    for (uint64_t i = 0; i < 3; i++) {
        messages[i] = (ipcx_message){.data = &numbers[i], .size = sizeof numbers[i]};
    }
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_STATUS(ipcx_chan_send_many(ends.a, messages, 3, IPCX_NOW, &sending, NULL),
                     IPCX_AGAIN);
        CHECK_INT(sending.taken, i + 1);
        CHECK_INT(sending.begun, 1);
        CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
        CHECK_INT(number, i);
    }
    CHECK_OK(ipcx_chan_send_many(ends.a, messages, 3, IPCX_NOW, &sending, NULL));
    CHECK_INT(sending.begun, 0);
    unmake(ends);
}

/* ---- threads */

enum { THREADS = 4, EACH = 5000 };

typedef struct crowd {
    ipcx_chan *chan;
    _Atomic uint64_t sum, count;
    atomic_int next;
    unsigned flags;
} crowd;

static void *send_each(void *arg)
{
    crowd *self = arg;
    uint64_t who = (uint64_t)atomic_fetch_add(&self->next, 1);
    for (uint64_t i = 0; i < EACH; i++) {
        CHECK_OK(send_number(self->chan, who << 32 | i, self->flags, IPCX_FOREVER, NULL));
    }
    return NULL;
}

static void *receive_each(void *arg)
{
    crowd *self = arg;
    uint64_t last[THREADS] = {0}, number;
    ipcx_status status;
    while ((status = get_number(self->chan, &number, IPCX_FOREVER)) == IPCX_OK) {
        uint64_t who = number >> 32, i = (number & UINT32_MAX) + 1;
        CHECK(who < THREADS && i > last[who]); /* of one sender in order */
        last[who] = i;
        atomic_fetch_add(&self->sum, i);
        atomic_fetch_add(&self->count, 1);
    }
    CHECK_STATUS(status, IPCX_EOF);
    return NULL;
}

static void crowds_over(both ends, unsigned flags)
{
    crowd senders = {.chan = ends.a, .flags = flags}, receivers = {.chan = ends.b};
    pthread_t threads[2 * THREADS];
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, send_each, &senders) == 0);
        REQUIRE(pthread_create(&threads[THREADS + i], NULL, receive_each, &receivers) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_OK(ipcx_chan_close(ends.a, IPCX_FOREVER, NULL, NULL));
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[THREADS + i], NULL);
    }
    CHECK_INT(atomic_load(&receivers.count), THREADS * EACH);
    CHECK_INT(atomic_load(&receivers.sum), (uint64_t)THREADS * EACH * (EACH + 1) / 2);
    unmake(ends);
}

TEST(many_threads_on_each_end)
{
    crowds_over(make(1), 0);
    crowds_over(make(64), 0);
    crowds_over(make(0), 0);
    crowds_over(make(3), IPCX_MESSAGE_SYNC);
}

/* ---- the end */

TEST(what_was_sent_arrives_then_the_end)
{
    both ends = make(10);
    uint64_t number = 0, unreceived;
    size_t unsent = 9;
    CHECK_OK(send_number(ends.a, 5, 0, IPCX_NOW, NULL));
    CHECK_OK(send_number(ends.a, 6, 0, IPCX_NOW, NULL));
    CHECK_OK(ipcx_chan_close(ends.a, IPCX_FOREVER, &unsent, NULL));
    CHECK_INT(unsent, 0);
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK_OK(ipcx_chan_unreceived(ends.a, &unreceived, NULL));
    CHECK_INT(unreceived, 1);
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK_INT(number, 6);
    CHECK_STATUS(get_number(ends.b, &number, IPCX_NOW), IPCX_EOF);
    CHECK_STATUS(get_number(ends.b, &number, IPCX_FOREVER), IPCX_EOF);
    CHECK_OK(ipcx_chan_poll(ends.b, IPCX_NOW, NULL));
    CHECK_STATUS(send_number(ends.b, 1, 0, IPCX_FOREVER, NULL), IPCX_PEER_CLOSED);
    CHECK_STATUS(send_number(ends.a, 1, 0, IPCX_FOREVER, NULL), IPCX_CLOSED);
    unmake(ends);
}

TEST(the_detail_says_how_many_were_lost)
{
    both ends = make(10);
    const ipcx_message message = {.data = "x", .size = 1};
    ipcx_error err;
    CHECK_OK(ipcx_chan_send(ends.a, &message, IPCX_NOW, NULL, NULL));
    CHECK_OK(ipcx_chan_close(ends.b, IPCX_FOREVER, NULL, NULL));
    CHECK_STATUS(ipcx_chan_send(ends.a, &message, IPCX_NOW, NULL, &err), IPCX_PEER_CLOSED);
    CHECK_STR(err.detail, "the peer has closed; 1 of the messages sent were not received");
    unmake(ends);
}

/* A thread in one verb, and how it came out. */
typedef struct blocked {
    pthread_t thread;
    ipcx_chan *chan;
    char verb;
    ipcx_status status;
} blocked;

static void *block_in(void *arg)
{
    blocked *self = arg;
    uint64_t number;
    switch (self->verb) {
    case 's':
        self->status = send_number(self->chan, 1, 0, IPCX_FOREVER, NULL);
        break;
    case 'y':
        self->status = send_number(self->chan, 1, IPCX_MESSAGE_SYNC, IPCX_FOREVER, NULL);
        break;
    case 'r':
        self->status = get_number(self->chan, &number, IPCX_FOREVER);
        break;
    default:
        self->status = ipcx_chan_poll(self->chan, IPCX_FOREVER, NULL);
    }
    return NULL;
}

static void close_under(char verb, int ours, ipcx_status expected)
{
    enum { COUNT = 3 };
    both ends = make(verb == 'y' ? 10 : 1);
    blocked them[COUNT];
    if (verb == 's') {
        CHECK_OK(send_number(ends.a, 1, 0, IPCX_NOW, NULL)); /* full */
    }
    for (int i = 0; i < COUNT; i++) {
        them[i] = (blocked){.chan = ends.a, .verb = verb};
        REQUIRE(pthread_create(&them[i].thread, NULL, block_in, &them[i]) == 0);
    }
    await_waits(ends.a, verb == 's' || verb == 'y', COUNT);
    CHECK_OK(ipcx_chan_close(ours ? ends.a : ends.b, IPCX_FOREVER, NULL, NULL));
    for (int i = 0; i < COUNT; i++) {
        pthread_join(them[i].thread, NULL);
        CHECK_STATUS(them[i].status, expected);
    }
    unmake(ends);
}

TEST(close_wakes_who_waits_at_either_end)
{
    for (const char *verb = "syrp"; *verb != '\0'; verb++) {
        close_under(*verb, 1, IPCX_CLOSED);
    }
    close_under('s', 0, IPCX_PEER_CLOSED);
    close_under('y', 0, IPCX_PEER_CLOSED);
    close_under('r', 0, IPCX_EOF);
    close_under('p', 0, IPCX_OK);
}

TEST(one_message_is_enough_for_a_poller_and_a_receiver)
{
    both ends = make(10);
    blocked poller = {.chan = ends.a, .verb = 'p'}, receiver = {.chan = ends.a, .verb = 'r'};
    REQUIRE(pthread_create(&poller.thread, NULL, block_in, &poller) == 0);
    await_waits(ends.a, 0, 1);
    REQUIRE(pthread_create(&receiver.thread, NULL, block_in, &receiver) == 0);
    await_waits(ends.a, 0, 2);
    CHECK_OK(send_number(ends.b, 1, 0, IPCX_NOW, NULL)); /* wakes the poller: it hands on */
    pthread_join(receiver.thread, NULL);
    CHECK_OK(receiver.status);
    CHECK_OK(send_number(ends.b, 1, 0, IPCX_NOW, NULL)); /* had the receiver been the first */
    pthread_join(poller.thread, NULL);
    CHECK_OK(poller.status);
    unmake(ends);
}

static void nothing(int number)
{
    (void)number;
}

typedef struct interrupted {
    ipcx_chan *chan;
    ipcx_sending *sending;
    ipcx_status status;
    atomic_int done;
} interrupted;

static void *send_interrupted(void *arg)
{
    interrupted *self = arg;
    self->status = send_number(self->chan, 1, 0, IPCX_FOREVER, self->sending);
    atomic_store(&self->done, 1);
    return NULL;
}

TEST(a_signal)
{
    struct sigaction ours = {.sa_handler = nothing}, before;
    both ends = make(1);
    ipcx_sending sending = {0};
    interrupted told = {.chan = ends.a, .sending = &sending}, untold = {.chan = ends.a};
    pthread_t thread;
    uint64_t number;
    REQUIRE(sigaction(SIGUSR1, &ours, &before) == 0);
    CHECK_OK(send_number(ends.a, 1, 0, IPCX_NOW, NULL)); /* full */
    REQUIRE(pthread_create(&thread, NULL, send_interrupted, &told) == 0);
    while (!atomic_load(&told.done)) {
        REQUIRE(pthread_kill(thread, SIGUSR1) == 0);
        sched_yield();
    }
    pthread_join(thread, NULL);
    CHECK_STATUS(told.status, IPCX_INTR);
    CHECK_INT(sending.begun, 0);
    REQUIRE(pthread_create(&thread, NULL, send_interrupted, &untold) == 0);
    await_waits(ends.a, 1, 2);
    for (int i = 0; i < 100; i++) {
        REQUIRE(pthread_kill(thread, SIGUSR1) == 0);
        sched_yield();
    }
    CHECK_INT(atomic_load(&untold.done), 0);
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    pthread_join(thread, NULL);
    CHECK_OK(untold.status);
    REQUIRE(sigaction(SIGUSR1, &before, NULL) == 0);
    unmake(ends);
}

/* ---- descriptors */

TEST(readable_exactly_while_receive_would_not_wait)
{
    both ends = make(10);
    uint64_t number;
    int fd = -1, same = -2;
    CHECK_OK(send_number(ends.a, 1, 0, IPCX_NOW, NULL));
    CHECK_OK(ipcx_chan_fileno(ends.b, &fd, NULL));
    CHECK_OK(ipcx_chan_fileno(ends.b, &same, NULL));
    CHECK_INT(same, fd);
    CHECK(readable(fd, POLLIN));
    CHECK_OK(send_number(ends.a, 2, 0, IPCX_NOW, NULL));
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK(readable(fd, POLLIN));
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK(!readable(fd, POLLIN));
    CHECK_OK(send_number(ends.a, 3, 0, IPCX_NOW, NULL));
    CHECK(readable(fd, POLLIN));
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK(!readable(fd, POLLIN));
    CHECK_OK(ipcx_chan_close(ends.a, IPCX_FOREVER, NULL, NULL));
    CHECK(readable(fd, POLLIN));
    CHECK_STATUS(get_number(ends.b, &number, IPCX_NOW), IPCX_EOF);
    CHECK(readable(fd, POLLIN));
    unmake(ends);
}

TEST(writable_while_a_send_is_worth_a_try)
{
    both ends = make(1);
    ipcx_sending sending = {0};
    uint64_t number;
    int fd = -1;
    CHECK_OK(ipcx_chan_send_fileno(ends.a, &fd, NULL));
    CHECK(readable(fd, POLLOUT));
    CHECK_OK(send_number(ends.a, 1, 0, IPCX_NOW, NULL));
    CHECK(!readable(fd, POLLOUT));
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK(readable(fd, POLLOUT));
    CHECK_STATUS(send_number(ends.a, 1, IPCX_MESSAGE_SYNC, IPCX_NOW, &sending), IPCX_AGAIN);
    CHECK(!readable(fd, POLLOUT)); /* it waits for its release */
    CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
    CHECK(readable(fd, POLLOUT));
    CHECK_OK(send_number(ends.a, 1, IPCX_MESSAGE_SYNC, IPCX_NOW, &sending));
    CHECK_OK(send_number(ends.a, 1, 0, IPCX_NOW, NULL));
    CHECK(!readable(fd, POLLOUT));
    CHECK_OK(ipcx_chan_close(ends.b, IPCX_FOREVER, NULL, NULL));
    CHECK(readable(fd, POLLOUT));
    unmake(ends);
}

/* Sends with IPCX_NOW and poll(2) only. */
static void *send_by_descriptor(void *arg)
{
    ipcx_chan *chan = arg;
    struct pollfd polled = {.events = POLLOUT};
    CHECK_OK(ipcx_chan_send_fileno(chan, &polled.fd, NULL));
    for (uint64_t i = 0; i < EACH;) {
        ipcx_status status = send_number(chan, i, 0, IPCX_NOW, NULL);
        if (status == IPCX_OK) {
            i++;
        } else {
            CHECK_STATUS(status, IPCX_AGAIN);
            CHECK_INT(poll(&polled, 1, -1), 1);
        }
    }
    CHECK_OK(ipcx_chan_close(chan, IPCX_FOREVER, NULL, NULL));
    return NULL;
}

TEST(descriptors_under_load)
{
    both ends = make(5);
    pthread_t thread;
    struct pollfd polled = {.events = POLLIN};
    uint64_t number, expected = 0;
    ipcx_status status;
    CHECK_OK(ipcx_chan_fileno(ends.b, &polled.fd, NULL));
    REQUIRE(pthread_create(&thread, NULL, send_by_descriptor, ends.a) == 0);
    do {
        CHECK_INT(poll(&polled, 1, -1), 1);
        status = get_number(ends.b, &number, IPCX_NOW); /* one a wake: readable must stay true */
        if (status == IPCX_OK) {
            CHECK_INT(number, expected);
            expected++;
        }
    } while (status == IPCX_OK);
    CHECK_STATUS(status, IPCX_EOF);
    CHECK_INT(expected, EACH);
    pthread_join(thread, NULL);
    unmake(ends);
}

/* ---- fork */

TEST(a_child_has_neither_end)
{
    both ends = make(10);
    int used = -1;
    pid_t child;
    CHECK_OK(ipcx_chan_fileno(ends.a, &used, NULL));
    CHECK_OK(send_number(ends.a, 1, 0, IPCX_NOW, NULL));
    child = fork();
    if (child == 0) {
        uint64_t number;
        int wrong = fcntl(used, F_GETFD) != -1;
        wrong |= send_number(ends.a, 1, 0, IPCX_FOREVER, NULL) != IPCX_FORKED;
        wrong |= get_number(ends.b, &number, IPCX_FOREVER) != IPCX_FORKED;
        wrong |= ipcx_chan_close(ends.a, IPCX_FOREVER, NULL, NULL) != IPCX_OK;
        ipcx_chan_free(ends.a);
        ipcx_chan_free(ends.b);
        _exit(wrong);
    }
    CHECK(check_child(child));
    CHECK_OK(send_number(ends.a, 2, 0, IPCX_NOW, NULL));
    unmake(ends);
}

/* ---- no memory */

static void nothing_is_lost_without_memory(uint64_t *k)
{
    both ends;
    ipcx_status status;
    uint64_t number = 0, sent = 0;
    const ipcx_chan_options options = {.capacity = 40};
    ipcx_alloc_fail_at(*k);
    status = ipcx__chan_mem_pair(URL, &options, &ends.a, &ends.b, NULL);
    if (status != IPCX_OK) {
        CHECK_STATUS(status, IPCX_NOMEM);
        return;
    }
    while (sent < 40) {
        ipcx_sending sending = {0};
        unsigned sync = sent == 30 ? IPCX_MESSAGE_SYNC : 0;
        status = send_number(ends.a, sent, sync, IPCX_NOW, &sending);
        CHECK(status == IPCX_OK || status == IPCX_NOMEM || (sync && status == IPCX_AGAIN));
        sent += status != IPCX_NOMEM;
    }
    for (uint64_t i = 0; i < 40; i++) {
        CHECK_OK(get_number(ends.b, &number, IPCX_NOW));
        CHECK_INT(number, i);
    }
    if (ipcx_alloc_count() < *k) {
        *k = 0;
    }
    ipcx_alloc_fail_at(0);
    unmake(ends);
}

TEST(each_allocation_fails_once)
{
    uint64_t k = 0, tried = 0;
    do {
        k = ++tried;
        nothing_is_lost_without_memory(&k);
        ipcx_alloc_fail_at(0);
    } while (k != 0);
    CHECK(tried > 40);
}

/* ---- listeners */

static ipcx__mem_listener *listen_at(const char *name, int backlog)
{
    ipcx__mem_listener *listener = NULL;
    REQUIRE_OK(ipcx__mem_listen(name, &(ipcx_chan_options){.backlog = backlog, .capacity = 2},
                                &listener, NULL));
    return listener;
}

TEST(listen_connect_accept_in_one_thread)
{
    ipcx__mem_listener *listener = listen_at("here", 0);
    ipcx_listener_stats stats;
    both ends;
    int fd = -1;
    CHECK_OK(ipcx__mem_fileno(listener, &fd, NULL));
    CHECK(!readable(fd, POLLIN));
    CHECK_STATUS(ipcx__mem_accept(listener, &ends.b, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx__mem_accept(listener, &ends.b, ipcx_deadline_after(MS), NULL), IPCX_TIMEOUT);
    CHECK_OK(ipcx__mem_connect("here", NULL, IPCX_FOREVER, &ends.a, NULL));
    CHECK(readable(fd, POLLIN));
    CHECK_OK(send_text(ends.a, "before", IPCX_NOW, NULL));
    ipcx__mem_waiting(listener, &stats);
    CHECK_INT(stats.waiting, 1);
    CHECK_OK(ipcx__mem_accept(listener, &ends.b, IPCX_FOREVER, NULL));
    CHECK(!readable(fd, POLLIN));
    CHECK_STR(ipcx_chan_url(ends.a), "inproc://here");
    CHECK_STR(ipcx_chan_url(ends.b), "inproc://here");
    expect_text(ends.b, "before");
    CHECK_OK(send_text(ends.a, "1", IPCX_NOW, NULL));
    CHECK_OK(send_text(ends.a, "2", IPCX_NOW, NULL));
    CHECK_STATUS(send_text(ends.a, "3", IPCX_NOW, NULL), IPCX_AGAIN); /* the listener's capacity */
    ipcx__mem_free(listener);
    CHECK_OK(send_text(ends.b, "still there", IPCX_NOW, NULL));
    expect_text(ends.a, "still there");
    unmake(ends);
}

TEST(names)
{
    ipcx__mem_listener *first = listen_at("one", 0), *second = listen_at("two", 0), *third;
    ipcx_chan *chan;
    ipcx_error err;
    CHECK_STATUS(ipcx__mem_listen("one", NULL, &third, &err), IPCX_ADDRESS_IN_USE);
    CHECK_STR(err.detail, "a thread of this process listens at inproc://one already");
    CHECK_STATUS(ipcx__mem_connect("three", NULL, IPCX_FOREVER, &chan, &err), IPCX_REFUSED);
    CHECK_STR(err.detail, "nobody in this process listens at inproc://three: first listen there");
    CHECK_STATUS(ipcx__mem_listen("", NULL, &third, &err), IPCX_INVALID_URL);
    CHECK_STATUS(ipcx__mem_listen("x", &(ipcx_chan_options){.backlog = -1}, &third, NULL),
                 IPCX_INVALID);
    ipcx__mem_free(first);
    CHECK_STATUS(ipcx__mem_connect("one", NULL, IPCX_FOREVER, &chan, NULL), IPCX_REFUSED);
    first = listen_at("one", 0);
    ipcx__mem_free(first);
    ipcx__mem_free(second);
    ipcx__mem_free(NULL);
}

TEST(a_full_backlog_and_a_close_before_accept)
{
    ipcx__mem_listener *listener = listen_at("busy", 1);
    ipcx_chan *waiting, *chan;
    ipcx_listener_stats stats;
    uint64_t number;
    CHECK_OK(ipcx__mem_connect("busy", NULL, IPCX_NOW, &waiting, NULL));
    CHECK_STATUS(ipcx__mem_connect("busy", NULL, IPCX_NOW, &chan, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx__mem_connect("busy", NULL, ipcx_deadline_after(MS), &chan, NULL),
                 IPCX_TIMEOUT);
    CHECK_OK(send_number(waiting, 1, 0, IPCX_NOW, NULL));
    ipcx__mem_close(listener);
    ipcx__mem_close(listener);
    CHECK_STATUS(get_number(waiting, &number, IPCX_FOREVER), IPCX_EOF);
    CHECK_STATUS(send_number(waiting, 1, 0, IPCX_FOREVER, NULL), IPCX_PEER_CLOSED);
    CHECK_STATUS(ipcx__mem_accept(listener, &chan, IPCX_FOREVER, NULL), IPCX_CLOSED);
    ipcx__mem_waiting(listener, &stats);
    CHECK_INT(stats.dropped, 1);
    CHECK_INT(stats.waiting, 0);
    ipcx_chan_free(waiting);
    ipcx__mem_free(listener);
}

typedef struct acceptor {
    pthread_t thread;
    ipcx__mem_listener *listener;
    atomic_int begun;
    ipcx_status status;
} acceptor;

static void *accept_for_ever(void *arg)
{
    acceptor *self = arg;
    ipcx_chan *chan;
    atomic_store(&self->begun, 1);
    while ((self->status = ipcx__mem_accept(self->listener, &chan, IPCX_FOREVER, NULL)) ==
           IPCX_OK) {
        ipcx_chan_free(chan);
    }
    return NULL;
}

static void *connect_often(void *arg)
{
    ipcx_status status;
    ipcx_chan *chan;
    (void)arg;
    while ((status = ipcx__mem_connect("crowd", NULL, IPCX_FOREVER, &chan, NULL)) == IPCX_OK) {
        ipcx_chan_free(chan);
    }
    CHECK_STATUS(status, IPCX_REFUSED);
    return NULL;
}

TEST(close_while_threads_accept_and_connect)
{
    acceptor them[2];
    pthread_t connectors[3];
    ipcx_listener_stats stats = {0};
    ipcx__mem_listener *listener = listen_at("crowd", 2);
    for (int i = 0; i < 2; i++) {
        them[i] = (acceptor){.listener = listener};
        REQUIRE(pthread_create(&them[i].thread, NULL, accept_for_ever, &them[i]) == 0);
    }
    for (int i = 0; i < 3; i++) {
        REQUIRE(pthread_create(&connectors[i], NULL, connect_often, NULL) == 0);
    }
    while (stats.accepted < 200) {
        ipcx__mem_waiting(listener, &stats);
        sched_yield();
    }
    ipcx__mem_close(listener);
    for (int i = 0; i < 2; i++) {
        pthread_join(them[i].thread, NULL);
        CHECK_STATUS(them[i].status, IPCX_CLOSED);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(connectors[i], NULL);
    }
    ipcx__mem_free(listener);
}

TEST(a_child_finds_no_listener)
{
    ipcx__mem_listener *listener = listen_at("parents", 0);
    ipcx_chan *chan;
    int fd = -1;
    pid_t child;
    CHECK_OK(ipcx__mem_fileno(listener, &fd, NULL));
    child = fork();
    if (child == 0) {
        ipcx__mem_listener *own = NULL;
        int wrong = ipcx__mem_connect("parents", NULL, IPCX_NOW, &chan, NULL) != IPCX_REFUSED;
        wrong |= ipcx__mem_accept(listener, &chan, IPCX_NOW, NULL) != IPCX_FORKED;
        wrong |= ipcx__mem_listen("parents", NULL, &own, NULL) != IPCX_OK;
        ipcx__mem_free(listener);
        ipcx__mem_free(own);
        _exit(wrong);
    }
    CHECK(check_child(child));
    CHECK_OK(ipcx__mem_connect("parents", NULL, IPCX_NOW, &chan, NULL));
    ipcx_chan_free(chan);
    ipcx__mem_free(listener);
}

TEST(listeners_without_memory)
{
    uint64_t k = 0;
    int done = 0;
    while (!done) {
        ipcx__mem_listener *listener = NULL;
        ipcx_chan *chan = NULL, *accepted = NULL;
        ipcx_alloc_fail_at(++k);
        if (ipcx__mem_listen("poor", NULL, &listener, NULL) == IPCX_OK &&
            ipcx__mem_connect("poor", NULL, IPCX_NOW, &chan, NULL) == IPCX_OK) {
            CHECK_OK(ipcx__mem_accept(listener, &accepted, IPCX_NOW, NULL));
            done = ipcx_alloc_count() < k;
        }
        ipcx_alloc_fail_at(0);
        ipcx_chan_free(chan);
        ipcx_chan_free(accepted);
        ipcx__mem_free(listener);
    }
    CHECK(k > 5);
}
