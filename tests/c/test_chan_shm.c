/* SPDX-License-Identifier: Apache-2.0
 * chan_shm: what only shared memory has: memory that grows, whose end it is, a death, sleeping and
 * waking between threads and processes, and strangers at the door. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "link/shared/chan_shm.h"
#include "link/shared/chan_shm_wait.h"
#include "os/map.h"
#include "streams.h"

#define K ((size_t)1024)
#define LONG (IPCX_FOREVER - 1)

/* Everything here runs twice: see all_of_it_without_trust. */
#define TRUST "IPCX_TEST_TRUST"
static int trust(void)
{
    return getenv(TRUST) != NULL ? IPCX_TRUST_NONE : IPCX_TRUST_SAME_UID;
}

static void pair(ipcx_chan **a, ipcx_chan **b, const ipcx_chan_options *options)
{
    ipcx_chan_options filled = options != NULL ? *options : (ipcx_chan_options){0};
    ipcx_error err = {0};
    ipcx_status status;
    filled.trust = trust();
    status = ipcx__chan_shm_pair("shm://", &filled, a, b, &err);
    if (status != IPCX_OK) {
        printf("# %s: %s\n", err.op, err.detail);
    }
    REQUIRE(status == IPCX_OK);
}

static ipcx__shm *shm(ipcx_chan *chan)
{
    return (ipcx__shm *)chan;
}

static void fill_bytes(uint8_t *bytes, uint64_t number, size_t size)
{
    for (size_t k = 0; k < size; k++) {
        bytes[k] = (uint8_t)(number * 131 + k * 7 + (k >> 8));
    }
}

static ipcx_status send_bytes(ipcx_chan *chan, uint64_t number, size_t size, ipcx_deadline deadline)
{
    uint8_t *bytes = malloc(size + 1);
    ipcx_message message = {.data = bytes, .size = size};
    ipcx_status status;
    REQUIRE(bytes != NULL);
    fill_bytes(bytes, number, size);
    status = ipcx_chan_send(chan, &message, deadline, NULL, NULL);
    free(bytes);
    return status;
}

static int receive_bytes(ipcx_chan *chan, uint64_t number, size_t size)
{
    ipcx_message got;
    uint8_t *expected = malloc(size + 1);
    int same;
    REQUIRE(expected != NULL);
    fill_bytes(expected, number, size);
    if (!CHECK_OK(ipcx_chan_receive(chan, &got, IPCX_FOREVER, NULL))) {
        free(expected);
        return 0;
    }
    same = CHECK_INT(got.size, size) && CHECK(memcmp(got.data, expected, size) == 0);
    ipcx_chan_release(chan, &got);
    free(expected);
    return same;
}

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
    CHECK(send_bytes(a, 1, 100, IPCX_NOW) == IPCX_OK);
    CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
    CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
    CHECK(receive_bytes(b, 1, 100));
    CHECK_STATUS(ipcx_chan_poll(b, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STR(ipcx_chan_url(a), "shm://");
    stream_free(a, b);
}

TEST(the_end_is_clean_after_a_goodbye)
{
    ipcx_chan *a, *b;
    uint64_t number = 77;
    pair(&a, &b, NULL);
    stream_say(a, "last");
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK_HEARS(b, "last");
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_EOF);
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
    CHECK_STATUS(stream_say_by(b, "x", IPCX_FOREVER), IPCX_PEER_CLOSED);
    CHECK_STATUS(stream_say_by(a, "x", IPCX_FOREVER), IPCX_CLOSED);
    CHECK_OK(ipcx_chan_unreceived(a, &number, NULL));
    CHECK_INT(number, 0);
    stream_free(a, b);
}

static size_t held(ipcx_chan *chan)
{
    struct stat info;
    REQUIRE(fstat(shm(chan)->memory, &info) == 0);
    return (size_t)info.st_blocks * 512;
}

TEST(an_idle_channel_is_small_and_grows_for_large_messages_only)
{
    const size_t sizes[] = {0, 1, 7, 8, 64, 4096, 65536, 1 << 20};
    ipcx_chan *a, *b;
    pair(&a, &b, NULL);
    CHECK(held(a) <= 256 * K);
    for (uint64_t i = 0; i < 10000; i++) {
        REQUIRE_OK(send_bytes(a, i, 64, IPCX_NOW));
        REQUIRE(receive_bytes(b, i, 64));
    }
    CHECK(held(a) <= 256 * K);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK_OK(send_bytes(a, i, sizes[i], IPCX_NOW));
        CHECK(receive_bytes(b, i, sizes[i]));
    }
    CHECK(held(a) <= 5 * K * K);
    stream_free(a, b);
}

/* ---- between threads */

typedef struct job {
    ipcx_chan *chan;
    uint64_t count;
    size_t size;
    ipcx_status status;
    atomic_int step;
} job;

static void *send_job(void *arg)
{
    job *self = arg;
    for (uint64_t i = 0; i < self->count && self->status == IPCX_OK; i++) {
        self->status = send_bytes(self->chan, i, self->size, IPCX_FOREVER);
    }
    return NULL;
}

TEST(fragments_of_a_message_larger_than_the_ring)
{
    ipcx_chan *a, *b;
    pthread_t thread;
    job sender;
    pair(&a, &b, NULL);
    sender = (job){.chan = a, .count = 3, .size = 11 << 20};
    REQUIRE(pthread_create(&thread, NULL, send_job, &sender) == 0);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK(receive_bytes(b, i, 11 << 20));
    }
    pthread_join(thread, NULL);
    CHECK_OK(sender.status);
    stream_free(a, b);
}

TEST(a_timed_out_large_send_has_not_begun)
{
    static uint8_t bytes[9 << 20];
    ipcx_chan *a, *b;
    ipcx_message large = {.data = bytes, .size = sizeof bytes}, got;
    ipcx_sending sending = {0};
    int rounds = 0;
    pair(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_send(a, &large, ipcx_deadline_after(MS), &sending, NULL), IPCX_TIMEOUT);
    CHECK_INT(sending.begun, 0);
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN); /* takes the fragments that are there */
    stream_say(a, "after");
    CHECK_HEARS(b, "after");
    /* One that goes on where it was. */
    sending = (ipcx_sending){0};
    fill_bytes(bytes, 5, sizeof bytes);
    while (ipcx_chan_send(a, &large, IPCX_NOW, &sending, NULL) == IPCX_AGAIN) {
        REQUIRE(rounds++ < 1000);
        CHECK_STATUS(ipcx_chan_receive(b, &got, IPCX_NOW, NULL), IPCX_AGAIN);
    }
    CHECK(rounds >= 1 && rounds < 20);
    CHECK(receive_bytes(b, 5, sizeof bytes));
    stream_free(a, b);
}

/* Ping-pong: both sleep and are woken, again and again. */
static void *echo(void *arg)
{
    job *self = arg;
    for (uint64_t i = 0; i < self->count; i++) {
        if (!receive_bytes(self->chan, i, self->size) ||
            send_bytes(self->chan, i, self->size, LONG) != IPCX_OK) {
            self->status = IPCX_INVALID;
            break;
        }
    }
    return NULL;
}

TEST(many_round_trips)
{
    ipcx_chan *a, *b;
    pthread_t thread;
    job other;
    pair(&a, &b, NULL);
    other = (job){.chan = b, .count = check_valgrind() ? 200 : 20000, .size = 64};
    REQUIRE(pthread_create(&thread, NULL, echo, &other) == 0);
    for (uint64_t i = 0; i < other.count; i++) {
        REQUIRE_OK(send_bytes(a, i, 64, LONG));
        REQUIRE(receive_bytes(a, i, 64));
    }
    pthread_join(thread, NULL);
    CHECK_OK(other.status);
    stream_free(a, b);
}

/* Several senders, several receivers, both ways, through a full ring: nothing is lost, nobody
 * sleeps for ever. */
static atomic_ullong sum, received;

static void *receive_job(void *arg)
{
    job *self = arg;
    ipcx_message got;
    for (;;) {
        uint64_t number;
        self->status = ipcx_chan_receive(self->chan, &got, IPCX_FOREVER, NULL);
        if (self->status != IPCX_OK) {
            return NULL;
        }
        memcpy(&number, got.data, sizeof number);
        ipcx_chan_release(self->chan, &got);
        if (number == UINT64_MAX) {
            return NULL;
        }
        atomic_fetch_add(&sum, number);
        atomic_fetch_add(&received, 1);
    }
}

static void *send_numbers(void *arg)
{
    job *self = arg;
    static uint8_t room[4000];
    for (uint64_t i = 1; i <= self->count && self->status == IPCX_OK; i++) {
        uint8_t bytes[sizeof room] = {0};
        ipcx_message message = {
            .data = bytes, .size = self->size, .flags = i % 64 == 0 ? IPCX_MESSAGE_SYNC : 0};
        memcpy(bytes, &i, sizeof i);
        self->status = ipcx_chan_send(self->chan, &message, IPCX_FOREVER, NULL, NULL);
    }
    return NULL;
}

TEST(many_threads_on_both_ends)
{
    enum { N = 3 };
    ipcx_chan *ends[2];
    pthread_t senders[2 * N], receivers[2 * N];
    job send[2 * N], get[2 * N];
    uint64_t last = UINT64_MAX, count = check_valgrind() ? 100 : 3000;
    ipcx_message stop = {.data = &last, .size = sizeof last};
    atomic_store(&sum, 0);
    atomic_store(&received, 0);
    pair(&ends[0], &ends[1], NULL);
    for (int i = 0; i < 2 * N; i++) {
        get[i] = (job){.chan = ends[i % 2]};
        send[i] = (job){.chan = ends[i % 2], .count = count, .size = i % 3 == 0 ? 3999 : 300};
        REQUIRE(pthread_create(&receivers[i], NULL, receive_job, &get[i]) == 0);
        REQUIRE(pthread_create(&senders[i], NULL, send_numbers, &send[i]) == 0);
    }
    for (int i = 0; i < 2 * N; i++) {
        pthread_join(senders[i], NULL);
        CHECK_OK(send[i].status);
    }
    for (int i = 0; i < 2 * N; i++) {
        CHECK_OK(ipcx_chan_send(ends[i % 2], &stop, IPCX_FOREVER, NULL, NULL));
    }
    for (int i = 0; i < 2 * N; i++) {
        pthread_join(receivers[i], NULL);
        CHECK_OK(get[i].status);
    }
    CHECK_INT(received, 2 * N * count);
    CHECK_INT(sum, 2 * N * (count * (count + 1) / 2));
    stream_free(ends[0], ends[1]);
}

TEST(a_rendezvous_waits_for_the_release)
{
    ipcx_chan *a, *b;
    ipcx_message text = {.data = "now", .size = 3, .flags = IPCX_MESSAGE_SYNC}, got;
    ipcx_sending sending = {0};
    pair(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_send(a, &text, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    CHECK_INT(sending.begun, 1);
    CHECK_STATUS(ipcx_chan_send(a, &text, ipcx_deadline_after(MS), &sending, NULL), IPCX_TIMEOUT);
    CHECK_OK(ipcx_chan_receive(b, &got, IPCX_NOW, NULL));
    CHECK_STATUS(ipcx_chan_send(a, &text, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    ipcx_chan_release(b, &got);
    CHECK_OK(ipcx_chan_send(a, &text, IPCX_NOW, &sending, NULL));
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN); /* sent once */
    stream_free(a, b);
}

/* ---- close wakes */

static void *receive_until(void *arg)
{
    job *self = arg;
    atomic_store(&self->step, 1);
    self->status = stream_receive_only(self->chan, IPCX_FOREVER, NULL);
    return NULL;
}

static void *send_until(void *arg)
{
    job *self = arg;
    self->size = 60000;
    while (self->status == IPCX_OK) {
        self->status = send_bytes(self->chan, 1, self->size, IPCX_FOREVER);
        atomic_fetch_add(&self->step, 1);
    }
    return NULL;
}

static void until_waits(ipcx_chan *chan, bool sends)
{
    ipcx_chan_stats stats;
    do {
        (void)sched_yield();
        ipcx_chan_get_stats(chan, &stats);
    } while ((sends ? stats.send_waits : stats.receive_waits) == 0);
}

TEST(close_wakes_those_who_sleep_here_and_there)
{
    ipcx_chan *a, *b;
    pthread_t threads[4];
    job jobs[4];
    pair(&a, &b, NULL);
    jobs[0] = (job){.chan = a};
    jobs[1] = (job){.chan = b};
    jobs[2] = (job){.chan = a};
    REQUIRE(pthread_create(&threads[1], NULL, receive_until, &jobs[1]) == 0);
    until_waits(b, false);
    REQUIRE(pthread_create(&threads[0], NULL, receive_until, &jobs[0]) == 0);
    until_waits(a, false);
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    CHECK_STATUS(jobs[0].status, IPCX_CLOSED);
    CHECK_STATUS(jobs[1].status, IPCX_EOF);
    stream_free(a, b);
    pair(&a, &b, NULL);
    jobs[2] = (job){.chan = a};
    jobs[3] = (job){.chan = b};
    REQUIRE(pthread_create(&threads[2], NULL, send_until, &jobs[2]) == 0);
    REQUIRE(pthread_create(&threads[3], NULL, send_until, &jobs[3]) == 0);
    until_waits(a, true);
    until_waits(b, true);
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    pthread_join(threads[2], NULL);
    pthread_join(threads[3], NULL);
    CHECK_STATUS(jobs[2].status, IPCX_CLOSED);
    CHECK_STATUS(jobs[3].status, IPCX_PEER_CLOSED);
    stream_free(a, b);
}

/* ---- descriptors to wait at */

TEST(fileno_is_readable_when_receive_would_not_wait)
{
    ipcx_chan *a, *b;
    int fd;
    pair(&a, &b, NULL);
    REQUIRE_OK(ipcx_chan_fileno(b, &fd, NULL));
    CHECK(!stream_readable(fd));
    for (int round = 0; round < 50; round++) {
        stream_say(a, "one");
        stream_say(a, "two");
        CHECK(stream_readable(fd));
        CHECK_HEARS_NOW(b, "one");
        CHECK(stream_readable(fd));
        CHECK_HEARS_NOW(b, "two");
        CHECK(!stream_readable(fd));
        CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
        CHECK(!stream_readable(fd));
        stream_say(a, "three");
        CHECK_HEARS(b, "three"); /* without a look at it */
        CHECK(!stream_readable(fd));
    }
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK(stream_readable(fd));
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_EOF);
    CHECK(stream_readable(fd));
    stream_free(a, b);
}

static int writable(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLOUT};
    return poll(&polled, 1, 0) == 1;
}

TEST(send_fileno_is_writable_when_a_send_is_worth_a_try)
{
    ipcx_chan *a, *b;
    int fd;
    pair(&a, &b, NULL);
    REQUIRE_OK(ipcx_chan_send_fileno(a, &fd, NULL));
    for (int round = 0; round < 5; round++) {
        CHECK(writable(fd));
        while (send_bytes(a, 1, 1000, IPCX_NOW) == IPCX_OK) {
        }
        CHECK(!writable(fd));
        CHECK(receive_bytes(b, 1, 1000));
        CHECK(writable(fd));
        CHECK_OK(send_bytes(a, 1, 1000, IPCX_NOW));
        CHECK_STATUS(send_bytes(a, 1, 1000, IPCX_NOW), IPCX_AGAIN);
        CHECK(!writable(fd));
        while (stream_receive_only(b, IPCX_NOW, NULL) == IPCX_OK) {
        }
    }
    while (send_bytes(a, 1, 1000, IPCX_NOW) == IPCX_OK) {
    }
    CHECK(!writable(fd));
    CHECK_OK(ipcx_chan_close(b, IPCX_FOREVER, NULL, NULL));
    CHECK(writable(fd));
    CHECK_STATUS(send_bytes(a, 1, 1000, IPCX_NOW), IPCX_PEER_CLOSED);
    stream_free(a, b);
}

/* ---- processes */

TEST(an_end_belongs_to_the_process_that_uses_it_first)
{
    ipcx_chan *a, *b;
    ipcx_error err;
    pid_t child;
    pair(&a, &b, NULL);
    child = fork();
    if (child == 0) {
        int good = stream_say_by(b, "from the child", LONG) == IPCX_OK;
        good &= stream_receive_only(b, LONG, NULL) == IPCX_OK;
        good &= ipcx_chan_close(b, IPCX_FOREVER, NULL, NULL) == IPCX_OK;
        _exit(!good);
    }
    CHECK_HEARS(a, "from the child");
    CHECK_STATUS(stream_say_by(b, "x", IPCX_NOW), IPCX_FORKED); /* the child has it */
    CHECK_STATUS(stream_receive_only(b, IPCX_NOW, &err), IPCX_FORKED);
    CHECK(strstr(err.detail, "process") != NULL);
    stream_say(a, "to the child");
    CHECK_RECEIVES(a, IPCX_FOREVER, IPCX_EOF);
    CHECK(check_child(child));
    stream_free(a, b);
    /* Used here: the child has nothing of it. */
    pair(&a, &b, NULL);
    stream_say(a, "x");
    child = fork();
    if (child == 0) {
        int good = stream_say_by(a, "y", IPCX_NOW) == IPCX_FORKED;
        ipcx_chan_free(a);
        _exit(!good);
    }
    CHECK(check_child(child));
    CHECK_HEARS(b, "x");
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    stream_free(a, b);
}

/* Killed with the parent's copy of its end still open: only the pidfd tells. */
TEST(a_killed_peer_is_noticed_and_what_it_had_sent_arrives)
{
    ipcx_chan *a, *b;
    pid_t child;
    int fd;
    pair(&a, &b, NULL);
    REQUIRE_OK(ipcx_chan_fileno(a, &fd, NULL));
    child = fork();
    if (child == 0) {
        for (uint64_t i = 0; i < 10; i++) {
            (void)send_bytes(b, i, 100, IPCX_FOREVER);
        }
        (void)raise(SIGKILL);
    }
    for (uint64_t i = 0; i < 10; i++) {
        CHECK(receive_bytes(a, i, 100));
    }
    CHECK_RECEIVES(a, IPCX_FOREVER, IPCX_PEER_DIED);
    CHECK_RECEIVES(a, IPCX_NOW, IPCX_PEER_DIED);
    CHECK(stream_readable(fd));
    CHECK_STATUS(send_bytes(a, 1, 1, IPCX_FOREVER), IPCX_PEER_DIED);
    CHECK(waitpid(child, NULL, 0) == child);
    stream_free(a, b);
}

TEST(a_sender_learns_how_many_its_dead_peer_did_not_take)
{
    ipcx_chan *a, *b;
    uint64_t number = 0;
    job sender;
    pid_t child;
    pair(&a, &b, NULL);
    child = fork();
    if (child == 0) {
        for (uint64_t i = 0; i < 7; i++) {
            if (!receive_bytes(b, 1, 60000)) {
                _exit(1);
            }
        }
        {
            ipcx_message lent;
            (void)!ipcx_chan_receive(b, &lent, IPCX_FOREVER, NULL); /* not received yet */
        }
        (void)raise(SIGKILL);
    }
    sender = (job){.chan = a};
    (void)send_until(&sender);
    CHECK_STATUS(sender.status, IPCX_PEER_DIED);
    CHECK_OK(ipcx_chan_unreceived(a, &number, NULL));
    CHECK_INT(number, atomic_load(&sender.step) - 1 - 7);
    CHECK(waitpid(child, NULL, 0) == child);
    stream_free(a, b);
}

/* Either side, at any moment. What was committed arrives in order, and whoever lives knows. */
TEST(killed_at_any_moment)
{
    const char *chaos = getenv("IPCX_CHAOS");
    int rounds = check_valgrind() ? 3 : chaos != NULL ? atoi(chaos) : 1000, whole = 0;
    for (int round = 0; round < rounds; round++) {
        ipcx_chan *a, *b;
        uint64_t number = 0;
        ipcx_status status = IPCX_OK;
        bool sends = round % 2;
        pid_t child;
        pair(&a, &b, NULL);
        child = fork();
        if (child == 0) {
            for (uint64_t i = 0;; i++) {
                if (sends ? send_bytes(b, i, i % 3000, IPCX_FOREVER) != IPCX_OK
                          : !receive_bytes(b, i, i % 3000)) {
                    _exit(1);
                }
            }
        }
        ipcx_chan_free(b); /* lets go of it: the child may be killed before its first use */
        while (status == IPCX_OK) {
            ipcx_message got;
            if (number == (uint64_t)(round * 7 % 401)) {
                REQUIRE(kill(child, SIGKILL) == 0);
            }
            if (!sends) {
                status = send_bytes(a, number, number % 3000, IPCX_FOREVER);
                number++;
                continue;
            }
            status = ipcx_chan_receive(a, &got, IPCX_FOREVER, NULL);
            if (status == IPCX_OK) {
                uint8_t expected[3000];
                fill_bytes(expected, number, number % 3000);
                REQUIRE(got.size == number % 3000 && memcmp(got.data, expected, got.size) == 0);
                ipcx_chan_release(a, &got);
                number++;
            }
        }
        CHECK_STATUS(status, IPCX_PEER_DIED);
        CHECK(waitpid(child, NULL, 0) == child);
        whole += number > 0;
        ipcx_chan_free(a);
    }
    CHECK(whole >= rounds - rounds / 100 - 1); /* some are killed before their first message */
}

TEST(an_end_goes_to_another_process_as_descriptors)
{
    ipcx_chan *a, *b, *there;
    ipcx_chan_end end, wrong;
    pair(&a, &b, NULL);
    stream_say(a, "early");
    REQUIRE_OK(ipcx_chan_export(b, &end, NULL));
    CHECK_INT(end.count, trust() == IPCX_TRUST_NONE ? 2 : 4);
    for (int i = 0; i < end.count; i++) {
        end.fds[i] = dup(end.fds[i]);
    }
    CHECK_STATUS(stream_say_by(b, "x", IPCX_NOW), IPCX_FORKED);
    ipcx_chan_free(b);
    wrong = end;
    wrong.count = 3;
    CHECK_STATUS(ipcx_chan_import(&wrong, &there, NULL), IPCX_PROTOCOL);
    wrong = end;
    wrong.fds[0] = end.fds[1];
    CHECK_STATUS(ipcx_chan_import(&wrong, &there, NULL), IPCX_PROTOCOL);
    wrong = end;
    wrong.fds[1] = end.fds[0];
    CHECK_STATUS(ipcx_chan_import(&wrong, &there, NULL), IPCX_PROTOCOL);
    wrong = end;
    wrong.fds[2] = end.fds[0];
    if (end.count > 2) {
        CHECK_STATUS(ipcx_chan_import(&wrong, &there, NULL), IPCX_PROTOCOL);
    }
    for (int i = 3; i <= 7; i++) {
        wrong = end;
        wrong.note[i] ^= 2;
        CHECK_STATUS(ipcx_chan_import(&wrong, &there, NULL), IPCX_PROTOCOL);
    }
    wrong = end;
    wrong.note[9]++;
    CHECK_STATUS(ipcx_chan_import(&wrong, &there, NULL), IPCX_PROTOCOL);
    REQUIRE_OK(ipcx_chan_import(&end, &there, NULL));
    CHECK_HEARS(there, "early");
    stream_say(there, "late");
    CHECK_HEARS(a, "late");
    stream_free(a, there);
}

/* ---- connecting */

static ipcx_chan *accepting(int *fd)
{
    int fds[2];
    ipcx_chan *chan;
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    REQUIRE_OK(ipcx__chan_shm_accept(fds[0], "shm://test", &(ipcx_chan_options){.trust = trust()},
                                     &chan, NULL));
    *fd = fds[1];
    return chan;
}

TEST(the_connector_may_send_at_once)
{
    ipcx_chan_options small = {.max_message = 5000};
    ipcx_chan *server, *client;
    size_t receive, send;
    int fd;
    server = accepting(&fd);
    CHECK_STATUS(ipcx__chan_shm_shake(server, NULL), IPCX_AGAIN);
    REQUIRE_OK(ipcx__chan_shm_connect(fd, "shm://test", &small, &client, NULL));
    stream_say(client, "first");
    ipcx_chan_max_message(client, &receive, &send);
    CHECK(receive == 5000 && send == 64 * K * K);
    REQUIRE_OK(ipcx__chan_shm_shake(server, NULL));
    CHECK_HEARS(server, "first");
    CHECK_STATUS(send_bytes(server, 1, 5001, IPCX_NOW), IPCX_TOO_LARGE);
    CHECK_OK(send_bytes(server, 1, 5000, IPCX_NOW));
    CHECK(receive_bytes(client, 1, 5000));
    stream_free(server, client);
    /* Gone again before anybody looked. */
    server = accepting(&fd);
    REQUIRE_OK(ipcx__chan_shm_connect(fd, "shm://test", NULL, &client, NULL));
    stream_say(client, "and gone");
    ipcx_chan_free(client);
    REQUIRE_OK(ipcx__chan_shm_shake(server, NULL));
    CHECK_HEARS(server, "and gone");
    CHECK_RECEIVES(server, IPCX_FOREVER, IPCX_EOF);
    ipcx_chan_free(server);
}

/* A runtime directory of the test's own, and the listener's files in it. */
static void count_files(const char *folder, int expected)
{
    char path[300];
    DIR *dir;
    int files = 0;
    (void)snprintf(path, sizeof path, "%s/ipcx", folder);
    dir = opendir(path);
    REQUIRE(dir != NULL);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        files += entry->d_name[0] != '.';
    }
    closedir(dir);
    CHECK_INT(files, expected);
}

static void meet(const char *url)
{
    ipcx_listener *listener;
    ipcx_chan *client, *server;
    ipcx_error err = {0};
    REQUIRE_OK(ipcx_listen(url, NULL, &listener, NULL));
    CHECK_STATUS(ipcx_listener_accept(listener, &server, IPCX_NOW, NULL), IPCX_AGAIN);
    REQUIRE_OK(ipcx_connect(ipcx_listener_url(listener), NULL, IPCX_NOW, &client, NULL));
    stream_say(client, "hello");
    REQUIRE_OK(ipcx_listener_accept(listener, &server, IPCX_FOREVER, NULL));
    CHECK_STR(ipcx_chan_url(server), ipcx_listener_url(listener));
    CHECK_HEARS(server, "hello");
    stream_say(server, "you too");
    CHECK_HEARS(client, "you too");
    CHECK_STATUS(ipcx_listen(ipcx_listener_url(listener), NULL, &listener, &err),
                 IPCX_ADDRESS_IN_USE);
    stream_free(server, client);
    ipcx_listener_free(listener);
}

TEST(listen_connect_accept)
{
    char folder[] = "/tmp/ipcx-t-XXXXXX", path[64];
    const char *given = getenv("XDG_RUNTIME_DIR");
    ipcx_chan *client;
    pid_t child;
    int state;
    REQUIRE(mkdtemp(folder) != NULL && setenv("XDG_RUNTIME_DIR", folder, 1) == 0);
    CHECK_STATUS(ipcx_connect("shm://nobody", NULL, IPCX_NOW, &client, NULL), IPCX_REFUSED);
    CHECK_STATUS(ipcx_connect("shm://", NULL, IPCX_NOW, &client, NULL), IPCX_INVALID_URL);
    meet("shm://camera");
    meet("shm://");
    count_files(folder, 0);
    child = fork();
    if (child == 0) {
        ipcx_listener *listener;
        REQUIRE_OK(ipcx_listen("shm://camera", NULL, &listener, NULL));
        REQUIRE_OK(ipcx_listen("shm://", NULL, &listener, NULL));
        (void)raise(SIGKILL);
    }
    CHECK(waitpid(child, &state, 0) == child);
    count_files(folder, 4); /* two sockets and their locks */
    CHECK_STATUS(ipcx_connect("shm://camera", NULL, IPCX_NOW, &client, NULL), IPCX_REFUSED);
    meet("shm://camera");
    count_files(folder, 0);
    (void)snprintf(path, sizeof path, "%s/ipcx", folder);
    CHECK(rmdir(path) == 0 && rmdir(folder) == 0);
    REQUIRE(given != NULL ? setenv("XDG_RUNTIME_DIR", given, 1) == 0
                          : unsetenv("XDG_RUNTIME_DIR") == 0);
}

typedef struct hello {
    char magic[8];
    uint32_t version, order;
    uint64_t ring, max_message;
} hello;

static void send_hello(int socket, const void *text, size_t size, int *fds, size_t count)
{
    char space[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec bytes = {.iov_base = (void *)(uintptr_t)text, .iov_len = size};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (count > 0) {
        struct cmsghdr *head = (struct cmsghdr *)(void *)space;
        message.msg_control = space;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    REQUIRE(sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)size);
}

TEST(strangers_at_the_door)
{
    const hello right = {"ipcxshm", 1, 0x01020304, 65536, 4096};
    int good[5], other[2], at;
    REQUIRE_OK(ipcx__memory_make("test", 65536 * 3, &good[0], NULL));
    good[1] = eventfd(0, EFD_CLOEXEC);
    good[2] = eventfd(0, EFD_CLOEXEC);
    good[3] = eventfd(0, EFD_CLOEXEC);
    REQUIRE_OK(ipcx__memory_make("test", 65536 * 4, &other[0], NULL));
    other[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (at = 0; at < 14; at++) {
        hello text = right;
        int fds[5] = {good[0], good[1], good[2], good[3], good[3]}, socket;
        size_t size = sizeof text, count = 3;
        ipcx_status expected = IPCX_PROTOCOL, status;
        ipcx_chan *server = accepting(&socket);
        ipcx_error err = {0};
        switch (at) {
        case 0:
            expected = IPCX_OK;
            break;
        case 1:
            text.magic[0] = 'I';
            break;
        case 2:
            text.version = 2;
            expected = IPCX_VERSION;
            break;
        case 3:
            text.order = 0x04030201;
            expected = IPCX_VERSION;
            break;
        case 4:
            text.ring = 65537;
            break;
        case 5:
            text.ring = UINT64_C(1) << 63;
            break;
        case 6:
            text.ring = 4096;
            break;
        case 7:
            text.ring = 131072;
            break;
        case 8:
            size = 31;
            break;
        case 9:
            count = 2;
            break;
        case 10:
            count = 5;
            break;
        case 11:
            fds[0] = other[0];
            break;
        case 12:
            fds[1] = other[1];
            break;
        default:
            fds[0] = good[1];
            break;
        }
        send_hello(socket, &text, size, fds, count);
        status = ipcx__chan_shm_shake(server, &err);
        if (!CHECK_STATUS(status, expected)) {
            printf("# row %d: %s\n", at, err.detail);
        }
        ipcx_chan_free(server);
        close(socket);
    }
    {
        int socket;
        ipcx_chan *server = accepting(&socket);
        close(socket);
        CHECK_STATUS(ipcx__chan_shm_shake(server, NULL), IPCX_EOF);
        ipcx_chan_free(server);
    }
    for (at = 0; at < 4; at++) {
        close(good[at]);
    }
    close(other[0]);
    close(other[1]);
}

/* ---- a peer that is none */

TEST(a_peer_that_scribbles)
{
    ipcx_chan *a, *b;
    ipcx_error err;
    pair(&a, &b, NULL);
    stream_say(a, "good");
    memset(shm(a)->rings[0], 0xff, 64);
    CHECK_STATUS(stream_receive_only(b, IPCX_NOW, &err), IPCX_PROTOCOL);
    CHECK_STATUS(stream_receive_only(b, IPCX_FOREVER, &err), IPCX_PROTOCOL);
    CHECK(strstr(err.detail, "kind") != NULL);
    CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
    stream_free(a, b);
    pair(&a, &b, NULL);
    atomic_store(&shm(b)->segment->words[0].head, 12345);
    while (send_bytes(a, 1, 30000, IPCX_FOREVER) == IPCX_OK) {
    }
    CHECK_STATUS(send_bytes(a, 1, 30000, IPCX_FOREVER), IPCX_PROTOCOL);
    stream_free(a, b);
    pair(&a, &b, NULL);
    memset(shm(b)->segment, 0xff, sizeof *shm(b)->segment);
    CHECK(stream_receive_only(a, IPCX_NOW, &err) < 0);
    (void)send_bytes(a, 1, 30000, IPCX_NOW);
    stream_free(a, b);
}

TEST(a_text_that_is_none)
{
    ipcx_chan *a, *b;
    ipcx_message text = {.data = "\xff\xfe", .size = 2, .flags = IPCX_MESSAGE_TEXT};
    pair(&a, &b, NULL);
    CHECK_STATUS(ipcx_chan_send(a, &text, IPCX_NOW, NULL, NULL), IPCX_INVALID);
    stream_say(a, "fine");
    memset((char *)shm(a)->rings[0] + 8, 0xff, 2); /* after it was checked by the sender */
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_PROTOCOL);
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_PROTOCOL);
    stream_free(a, b);
}

TEST(what_it_cannot_carry)
{
    ipcx_chan *a, *b;
    ipcx_chan_options options = {.max_message = 4096};
    ipcx_message object = {.data = &options, .flags = IPCX_MESSAGE_OBJECT};
    pair(&a, &b, &options);
    CHECK_STATUS(ipcx_chan_send(a, &object, IPCX_NOW, NULL, NULL), IPCX_UNSUPPORTED);
    CHECK_STATUS(send_bytes(a, 1, 4097, IPCX_NOW), IPCX_TOO_LARGE);
    CHECK_OK(send_bytes(a, 1, 4096, IPCX_NOW));
    CHECK(receive_bytes(b, 1, 4096));
    CHECK_OK(ipcx_chan_flush(a, IPCX_FOREVER, NULL));
    stream_free(a, b);
}

TEST(every_allocation_fails_once)
{
    for (uint64_t k = 1;; k++) {
        ipcx_chan *a, *b;
        ipcx_status status;
        ipcx_alloc_fail_at(k);
        status = ipcx__chan_shm_pair("shm://", NULL, &a, &b, NULL);
        if (status == IPCX_OK) {
            stream_free(a, b);
            CHECK(k > ipcx_alloc_count());
            break;
        }
        CHECK_STATUS(status, IPCX_NOMEM);
    }
    ipcx_alloc_fail_at(0);
}

/* ---- without trust */

TEST(all_of_it_without_trust)
{
    pid_t child;
    if (trust() == IPCX_TRUST_NONE) {
        return;
    }
    child = fork();
    if (child == 0) {
        REQUIRE(setenv(TRUST, "none", 1) == 0);
        for (const check_test *test = check_first; test != NULL; test = test->next) {
            test->run();
        }
        _exit(check_failed != 0);
    }
    CHECK(check_child(child));
}

/* One end trusts, the other does not: each is woken as it wants to be. */
TEST(one_sided_trust)
{
    for (int side = 0; side < 2; side++) {
        const ipcx_chan_options wary = {.trust = IPCX_TRUST_NONE};
        int fds[2], at;
        ipcx_chan *ends[2];
        pthread_t thread;
        job other;
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
        REQUIRE_OK(
            ipcx__chan_shm_accept(fds[0], "shm://test", side ? &wary : NULL, &ends[0], NULL));
        REQUIRE_OK(
            ipcx__chan_shm_connect(fds[1], "shm://test", side ? NULL : &wary, &ends[1], NULL));
        REQUIRE_OK(ipcx__chan_shm_shake(ends[0], NULL));
        CHECK(shm(ends[side ? 0 : 1])->careful && !shm(ends[side ? 1 : 0])->careful);
        for (at = 0; at < 2; at++) {
            other = (job){.chan = ends[at], .count = check_valgrind() ? 50 : 2000, .size = 64};
            REQUIRE(pthread_create(&thread, NULL, echo, &other) == 0);
            for (uint64_t i = 0; i < other.count; i++) {
                REQUIRE_OK(send_bytes(ends[1 - at], i, 64, LONG));
                REQUIRE(receive_bytes(ends[1 - at], i, 64));
            }
            pthread_join(thread, NULL);
            CHECK_OK(other.status);
        }
        stream_free(ends[0], ends[1]);
    }
}

TEST(without_trust_a_message_is_copied_first)
{
    ipcx_chan *a, *b;
    ipcx_message got;
    const char *ring;
    pair(&a, &b, NULL);
    stream_say(a, "as it was sent");
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_NOW, NULL));
    ring = shm(b)->rings[0];
    CHECK((const char *)got.data < ring || (const char *)got.data >= ring + 2 * shm(b)->ring);
    ipcx_chan_release(b, &got);
    CHECK_OK(send_bytes(a, 3, 5000, IPCX_NOW));
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_NOW, NULL));
    CHECK((trust() == IPCX_TRUST_SAME_UID) ==
          ((const char *)got.data >= ring && (const char *)got.data < ring + 2 * shm(b)->ring));
    ipcx_chan_release(b, &got);
    stream_free(a, b);
}

/* ---- how large */

TEST(a_ring_as_large_as_wanted)
{
    const size_t sizes[][2] = {{1, 0},          {65535, 0},         {65536, 65536},
                               {65537, 131072}, {1 << 24, 1 << 24}, {(1 << 30) + 1, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const ipcx_chan_options options = {.ring = sizes[i][0]};
        ipcx_chan *a, *b;
        if (sizes[i][1] == 0) {
            CHECK_STATUS(ipcx_pair("shm://", &options, &a, &b, NULL), IPCX_INVALID);
            continue;
        }
        pair(&a, &b, &options);
        CHECK_INT(shm(a)->ring, sizes[i][1]);
        CHECK_INT(shm(b)->ring, sizes[i][1]);
        CHECK(held(a) <= 256 * K);
        CHECK_OK(send_bytes(a, 1, 30000, IPCX_NOW));
        CHECK(receive_bytes(b, 1, 30000));
        stream_free(a, b);
    }
}

TEST(a_segment_that_is_too_large)
{
    const ipcx_chan_options most = {.max_segment = 64 * K + 2 * 64 * K}, large = {.ring = 128 * K},
                            fits = {.ring = 64 * K};
    for (int round = 0; round < 2; round++) {
        ipcx_chan *server, *client;
        ipcx_error err;
        int fds[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
        REQUIRE_OK(ipcx__chan_shm_accept(fds[0], "shm://test", &most, &server, NULL));
        REQUIRE_OK(
            ipcx__chan_shm_connect(fds[1], "shm://test", round ? &fits : &large, &client, NULL));
        CHECK_STATUS(ipcx__chan_shm_shake(server, &err), round ? IPCX_OK : IPCX_TOO_LARGE);
        CHECK(round || strstr(err.detail, "max_segment") != NULL);
        stream_free(server, client);
    }
}

/* A machine with so little memory, as far as /proc says; false where nobody may pretend that. */
static bool pretend(const char *meminfo)
{
    char name[] = "/tmp/ipcx-t-XXXXXX";
    int fd = mkstemp(name);
    bool good = fd >= 0 && write(fd, meminfo, strlen(meminfo)) == (ssize_t)strlen(meminfo) &&
                unshare(CLONE_NEWNS) == 0 &&
                mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                mount(name, "/proc/meminfo", NULL, MS_BIND, NULL) == 0;
    if (fd >= 0) {
        close(fd);
        unlink(name);
    }
    return good;
}

/* Asked for before it is made; and who grows is refused before the OOM killer comes. */
TEST(more_than_the_machine_has)
{
    pid_t child = fork();
    if (child == 0) {
        const ipcx_chan_options much = {.ring = (size_t)64 << 20}, some = {.ring = 1 << 20};
        ipcx_chan *a, *b;
        ipcx_error err;
        if (!pretend("MemTotal: 200000 kB\nMemAvailable: 16500 kB\n")) {
            _exit(0);
        }
        CHECK_STATUS(ipcx_pair("shm://", &much, &a, &b, &err), IPCX_EXHAUSTED);
        CHECK_INT(err.sys_errno, ENOMEM);
        CHECK(strstr(err.detail, "left") != NULL);
        pair(&a, &b, &some);
        /* 64 KiB, then 128, 256: so far nobody asks; then there is not enough. */
        for (uint64_t i = 0; i < 20; i++) {
            CHECK_OK(send_bytes(a, i, 200000, IPCX_NOW));
            CHECK(receive_bytes(b, i, 200000));
        }
        CHECK(held(a) < 1024 * K);
        stream_free(a, b);
        _exit(check_failed != 0);
    }
    CHECK(check_child(child));
}

/* Whoever connects as another user is not trusted, whatever was said. */
TEST(another_user_is_a_stranger)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t size = sizeof at;
    int listening, fd, pipes[2];
    ipcx_chan *server;
    pid_t child;
    char byte;
    if (geteuid() != 0) {
        return;
    }
    listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* at a name the kernel chooses */
    REQUIRE(bind(listening, (struct sockaddr *)&at, sizeof at.sun_family) == 0);
    REQUIRE(getsockname(listening, (struct sockaddr *)&at, &size) == 0);
    REQUIRE(listen(listening, 1) == 0);
    REQUIRE(pipe2(pipes, O_CLOEXEC) == 0);
    child = fork();
    if (child == 0) {
        ipcx_chan *client;
        REQUIRE(setuid(65534) == 0);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        REQUIRE(connect(fd, (struct sockaddr *)&at, size) == 0);
        REQUIRE_OK(ipcx__chan_shm_connect(fd, "shm://test", NULL, &client, NULL));
        CHECK(shm(client)->careful);
        stream_say(client, "from nobody");
        CHECK_HEARS(client, "to nobody");
        close(pipes[1]);
        _exit(check_failed != 0);
    }
    close(pipes[1]);
    fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    REQUIRE_OK(ipcx__chan_shm_accept(fd, "shm://test", NULL, &server, NULL));
    CHECK(shm(server)->careful);
    while (ipcx__chan_shm_shake(server, NULL) == IPCX_AGAIN) {
        (void)sched_yield();
    }
    CHECK_HEARS(server, "from nobody");
    stream_say(server, "to nobody");
    CHECK(read(pipes[0], &byte, 1) == 0);
    CHECK(check_child(child));
    ipcx_chan_free(server);
    close(pipes[0]);
    close(listening);
}
