/* SPDX-License-Identifier: Apache-2.0
 * chan_stream among threads and processes: everybody is woken, nothing is lost or doubled. */
#include "check.h"

#include <sched.h>
#include <signal.h>

#include "streams.h"

enum { THREADS = 4, MANY = 2000, FEW = 500, SOME = 100 };

typedef struct crowd {
    ipcx_chan *chan;
    atomic_int received;
    atomic_ullong sum;
    int size, each;
} crowd;

static void *send_each(void *arg)
{
    crowd *self = arg;
    uint8_t *bytes = ipcx_alloc((size_t)self->size);
    REQUIRE(bytes != NULL);
    memset(bytes, 0, (size_t)self->size);
    for (uint32_t i = 1; i <= (uint32_t)self->each; i++) {
        ipcx_message message = stream_message(bytes, (size_t)self->size, 0);
        ipcx_sending sending = {0};
        ipcx_status status;
        memcpy(bytes, &i, sizeof i);
        do { /* patient, impatient, polling */
            status = ipcx_chan_send(self->chan, &message,
                                    i % 3 == 0   ? IPCX_FOREVER
                                    : i % 3 == 1 ? ipcx_deadline_after(20000)
                                                 : IPCX_NOW,
                                    &sending, NULL);
            if (status == IPCX_AGAIN) {
                (void)sched_yield();
            }
        } while (status == IPCX_TIMEOUT || status == IPCX_AGAIN);
        CHECK_OK(status);
    }
    ipcx_free(bytes);
    return NULL;
}

static void *receive_until_all(void *arg)
{
    crowd *self = arg;
    for (int i = 0; atomic_load(&self->received) < THREADS * self->each; i++) {
        ipcx_message got;
        ipcx_status status = ipcx_chan_receive(
            self->chan, &got,
            i % 3 == 0 ? IPCX_NOW : ipcx_deadline_after(i % 3 == 1 ? 20000 : 2000000), NULL);
        if (status == IPCX_OK) {
            uint32_t number;
            CHECK_INT(got.size, self->size);
            memcpy(&number, got.data, sizeof number);
            ipcx_chan_release(self->chan, &got);
            (void)atomic_fetch_add(&self->sum, number);
            (void)atomic_fetch_add(&self->received, 1);
        } else {
            CHECK(status == IPCX_TIMEOUT || status == IPCX_AGAIN);
        }
    }
    return NULL;
}

static void check_crowd(int size, int each)
{
    crowd left = {.size = size, .each = each}, right = left;
    crowd *both[] = {&left, &right};
    pthread_t threads[4 * THREADS];
    int n = 0;
    stream_pair_narrow(&left.chan, &right.chan, NULL);
    for (int i = 0; i < THREADS; i++) {
        for (int end = 0; end < 2; end++) {
            REQUIRE(pthread_create(&threads[n++], NULL, send_each, both[end]) == 0);
            REQUIRE(pthread_create(&threads[n++], NULL, receive_until_all, both[end]) == 0);
        }
    }
    while (n > 0) {
        pthread_join(threads[--n], NULL);
    }
    for (int end = 0; end < 2; end++) {
        CHECK_INT(atomic_load(&both[end]->received), THREADS * each);
        CHECK_INT(atomic_load(&both[end]->sum),
                  (uint64_t)THREADS * (uint64_t)each * (uint64_t)(each + 1) / 2);
        CHECK_RECEIVES(both[end]->chan, IPCX_NOW, IPCX_AGAIN);
    }
    stream_free(left.chan, right.chan);
}

TEST(small_messages_among_many_threads)
{
    check_crowd(16, MANY);
}

TEST(messages_larger_than_the_buffers_among_many_threads)
{
    check_crowd(7000, SOME);
}

/* All wait without a deadline: a lost wake would be for ever. */
static void *receive_patiently(void *arg)
{
    crowd *self = arg;
    for (;;) {
        ipcx_status status = stream_receive_only(self->chan, IPCX_FOREVER, NULL);
        if (status != IPCX_OK) {
            CHECK_STATUS(status, IPCX_EOF);
            return NULL;
        }
        (void)atomic_fetch_add(&self->received, 1);
    }
}

TEST(patient_receivers_get_all_and_the_end)
{
    crowd to = {.size = 8, .each = MANY}, from = to;
    pthread_t threads[THREADS];
    stream_pair(&from.chan, &to.chan, NULL);
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, receive_patiently, &to) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)send_each(&from);
    }
    CHECK_OK(ipcx_chan_close(from.chan, IPCX_FOREVER, NULL, NULL));
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_INT(atomic_load(&to.received), THREADS * MANY);
    stream_free(from.chan, to.chan);
}

/* ---- who waits with poll(2), beside rendezvous that read ahead */

enum { WAITERS = 2, LAST = 3001 }; /* the last message for each of them has a size of its own */

typedef struct mixed {
    ipcx_chan *chan;
    int each;
    atomic_int heard;
} mixed;

static void *wait_with_poll(void *arg)
{
    mixed *self = arg;
    int fd = -1;
    CHECK_OK(ipcx_chan_fileno(self->chan, &fd, NULL));
    for (bool last = false; !last;) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        ipcx_message got;
        ipcx_status status;
        (void)poll(&polled, 1, -1);
        status = ipcx_chan_receive(self->chan, &got, IPCX_NOW, NULL);
        if (status == IPCX_OK) {
            last = got.size == LAST;
            ipcx_chan_release(self->chan, &got);
            (void)atomic_fetch_add(&self->heard, !last);
        } else {
            REQUIRE(status == IPCX_AGAIN);
        }
    }
    return NULL;
}

static void *send_mixed(void *arg)
{
    static uint8_t bytes[3000];
    mixed *self = arg;
    for (int i = 0; i < self->each; i++) {
        ipcx_message message =
            stream_message(bytes, (size_t)(i % 3000), i % 3 ? 0 : IPCX_MESSAGE_SYNC);
        CHECK_OK(ipcx_chan_send(self->chan, &message, IPCX_FOREVER, NULL, NULL));
    }
    return NULL;
}

TEST(poll_and_rendezvous_at_both_ends)
{
    static uint8_t bytes[LAST];
    mixed both[2] = {{.each = FEW}, {.each = FEW}};
    ipcx_message last = stream_message(bytes, LAST, 0);
    pthread_t waiters[2 * WAITERS], senders[2 * THREADS];
    int n = 0, m = 0;
    stream_pair_narrow(&both[0].chan, &both[1].chan, NULL);
    for (int end = 0; end < 2; end++) {
        for (int i = 0; i < WAITERS; i++) {
            REQUIRE(pthread_create(&waiters[m++], NULL, wait_with_poll, &both[end]) == 0);
        }
        for (int i = 0; i < THREADS; i++) {
            REQUIRE(pthread_create(&senders[n++], NULL, send_mixed, &both[end]) == 0);
        }
    }
    while (n > 0) {
        pthread_join(senders[--n], NULL);
    }
    for (int i = 0; i < 2 * WAITERS; i++) {
        CHECK_OK(ipcx_chan_send(both[i % 2].chan, &last, IPCX_FOREVER, NULL, NULL));
    }
    while (m > 0) {
        pthread_join(waiters[--m], NULL);
    }
    CHECK_INT(atomic_load(&both[0].heard), THREADS * FEW);
    CHECK_INT(atomic_load(&both[1].heard), THREADS * FEW);
    stream_free(both[0].chan, both[1].chan);
}

/* ---- close */

typedef struct blocked {
    ipcx_chan *chan;
    int kind;
    pthread_t thread;
    ipcx_status status;
} blocked;

static atomic_int under_way;

static void *block(void *arg)
{
    static uint8_t bytes[1 << 20];
    blocked *self = arg;
    ipcx_message large = stream_message(bytes, sizeof bytes, 0),
                 sync = stream_message("x", 1, IPCX_MESSAGE_SYNC);
    (void)atomic_fetch_add(&under_way, 1);
    switch (self->kind) {
    case 0:
    case 1:
        self->status = stream_receive_only(self->chan, IPCX_FOREVER, NULL);
        break;
    case 2:
    case 3:
        self->status = ipcx_chan_send(self->chan, &large, IPCX_FOREVER, NULL, NULL);
        break;
    case 4:
        self->status = ipcx_chan_send(self->chan, &sync, IPCX_FOREVER, NULL, NULL);
        break;
    case 5:
        self->status = ipcx_chan_poll(self->chan, IPCX_FOREVER, NULL);
        break;
    default:
        self->status = ipcx_chan_flush(self->chan, IPCX_FOREVER, NULL);
    }
    return NULL;
}

TEST(close_ends_every_wait)
{
    for (int round = 0; round < 20; round++) {
        enum { KINDS = 7 };
        blocked all[KINDS];
        ipcx_chan *a, *b;
        stream_pair_narrow(&a, &b, NULL);
        atomic_store(&under_way, 0);
        for (int i = 0; i < KINDS; i++) {
            all[i] = (blocked){.chan = a, .kind = i};
            REQUIRE(pthread_create(&all[i].thread, NULL, block, &all[i]) == 0);
        }
        while (atomic_load(&under_way) < KINDS) {
            (void)sched_yield();
        }
        (void)ipcx_chan_close(a, round % 2 ? IPCX_NOW : ipcx_deadline_after(MS), NULL, NULL);
        for (int i = 0; i < KINDS; i++) {
            pthread_join(all[i].thread, NULL);
            CHECK(all[i].status == IPCX_CLOSED || (i == 6 && all[i].status == IPCX_OK));
        }
        stream_free(a, b);
    }
}

TEST(a_message_that_is_lent_outlives_close)
{
    ipcx_chan *a, *b;
    ipcx_message got;
    blocked closer;
    stream_pair(&a, &b, NULL);
    stream_say(b, "lent");
    REQUIRE_OK(ipcx_chan_receive(a, &got, IPCX_FOREVER, NULL));
    closer = (blocked){.chan = a, .kind = 0};
    atomic_store(&under_way, 0);
    REQUIRE(pthread_create(&closer.thread, NULL, block, &closer) == 0);
    while (atomic_load(&under_way) < 1) {
        (void)sched_yield();
    }
    CHECK_MEM(got.data, "lent", 4);
    ipcx_chan_release(a, &got);
    CHECK_OK(ipcx_chan_close(a, IPCX_NOW, NULL, NULL));
    pthread_join(closer.thread, NULL);
    CHECK_STATUS(closer.status, IPCX_CLOSED);
    stream_free(a, b);
}

/* ---- signals */

static void nothing(int number)
{
    (void)number;
}

static atomic_int interrupted;

static void *be_interrupted(void *arg)
{
    static uint8_t bytes[1 << 20];
    ipcx_chan *chan = arg;
    ipcx_message large = stream_message(bytes, sizeof bytes, 0);
    ipcx_sending sending = {0};
    ipcx_status status;
    int receiving = 0;
    while (receiving < 2) {
        if (receiving == 0) {
            status = stream_receive_only(chan, IPCX_FOREVER, NULL);
        } else {
            status = ipcx_chan_send(chan, &large, IPCX_FOREVER, &sending, NULL);
        }
        receiving += status == IPCX_INTR;
    }
    CHECK_INT(sending.begun, 1);
    atomic_store(&interrupted, 1);
    while ((status = ipcx_chan_send(chan, &large, IPCX_FOREVER, &sending, NULL)) == IPCX_INTR) {
    }
    CHECK_OK(status);
    return NULL;
}

TEST(signals_come_back_to_the_caller)
{
    struct sigaction ours = {.sa_handler = nothing}, old;
    ipcx_chan *a, *b;
    ipcx_message got;
    pthread_t thread;
    REQUIRE(sigaction(SIGUSR1, &ours, &old) == 0);
    stream_pair_narrow(&a, &b, NULL);
    REQUIRE(pthread_create(&thread, NULL, be_interrupted, a) == 0);
    while (!atomic_load(&interrupted)) {
        (void)pthread_kill(thread, SIGUSR1);
        (void)sched_yield();
    }
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_FOREVER, NULL));
    CHECK_INT(got.size, 1 << 20);
    ipcx_chan_release(b, &got);
    pthread_join(thread, NULL);
    REQUIRE(sigaction(SIGUSR1, &old, NULL) == 0);
    stream_free(a, b);
}

static void *interrupted_close(void *arg)
{
    static uint8_t bytes[1 << 20];
    ipcx_message large = stream_message(bytes, sizeof bytes, 0);
    CHECK_STATUS(ipcx_chan_send(arg, &large, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_close(arg, IPCX_FOREVER, NULL, NULL), IPCX_INTR);
    atomic_store(&interrupted, 1);
    return NULL;
}

TEST(a_close_that_was_interrupted_has_not_happened)
{
    struct sigaction ours = {.sa_handler = nothing}, old;
    ipcx_chan *a, *b;
    pthread_t thread;
    REQUIRE(sigaction(SIGUSR1, &ours, &old) == 0);
    stream_pair_narrow(&a, &b, NULL);
    atomic_store(&interrupted, 0);
    REQUIRE(pthread_create(&thread, NULL, interrupted_close, a) == 0);
    while (!atomic_load(&interrupted)) {
        (void)pthread_kill(thread, SIGUSR1);
        (void)sched_yield();
    }
    pthread_join(thread, NULL);
    while (ipcx_chan_flush(a, IPCX_NOW, NULL) == IPCX_AGAIN) {
        CHECK(ipcx_chan_poll(b, IPCX_NOW, NULL) >= 0);
    }
    stream_say(a, "open still");
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_OK);
    CHECK_HEARS(b, "open still");
    stream_say(b, "and here");
    CHECK_HEARS(a, "and here");
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    REQUIRE(sigaction(SIGUSR1, &old, NULL) == 0);
    stream_free(a, b);
}

/* ---- fork */

TEST(each_end_to_another_process)
{
    ipcx_chan *a, *b;
    pid_t child;
    stream_pair(&a, &b, NULL);
    child = fork();
    if (child == 0) {
        atomic_store(&check_failed, 0);
        ipcx_chan_free(a);
        CHECK_HEARS(b, "to the child");
        stream_say(b, "to the parent");
        CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
        ipcx_chan_free(b);
        _exit(atomic_load(&check_failed));
    }
    ipcx_chan_free(b);
    stream_say(a, "to the child");
    CHECK_HEARS(a, "to the parent");
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK(check_child(child));
    ipcx_chan_free(a);
}

TEST(a_used_end_is_not_the_childs_and_dies_with_its_owner)
{
    ipcx_chan *a, *b;
    pid_t owner;
    int steps[2], up[2];
    char byte;
    REQUIRE(pipe(steps) == 0 && pipe(up) == 0);
    stream_pair(&a, &b, NULL);
    owner = fork();
    if (owner == 0) { /* uses its end, then forks a child that lives on, then is killed */
        close(steps[1]);
        close(up[0]);
        ipcx_chan_free(a);
        stream_say(b, "mine");
        if (fork() == 0) {
            ipcx_status status = stream_receive_only(b, IPCX_NOW, NULL);
            byte = status == IPCX_FORKED ? 'f' : '?';
            (void)!write(up[1], &byte, 1);
            (void)!read(steps[0], &byte, 1); /* until the test is over */
            _exit(0);
        }
        for (;;) {
            (void)pause();
        }
    }
    close(steps[0]);
    close(up[1]);
    ipcx_chan_free(b);
    CHECK_HEARS(a, "mine");
    CHECK_INT(read(up[0], &byte, 1), 1);
    CHECK_INT(byte, 'f');
    REQUIRE(kill(owner, SIGKILL) == 0 && waitpid(owner, NULL, 0) == owner);
    CHECK_RECEIVES(a, IPCX_FOREVER, IPCX_PEER_DIED);
    close(steps[1]);
    CHECK_INT(read(up[0], &byte, 1), 0); /* the grandchild has gone */
    close(up[0]);
    ipcx_chan_free(a);
}
