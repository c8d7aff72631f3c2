/* SPDX-License-Identifier: Apache-2.0
 * layer: a channel with something between its frames and its socket. The layer here hides nothing;
 * it has what makes a real one hard: a handshake, records that must be whole, a refusal that the
 * peer is told, an end of its own. */
#include "check.h"

#include <pthread.h>

#include "dialing.h"
#include "ipcx/layer.h"
#include "ipcx/mux.h"
#include "ipcx/mux_info.h"

/*   A record: 2 bytes of length, then so many bytes, each xor MASK. Length 0 is the end, LET_IN the
 *   accepting side's answer to the connecting side's HELLO_THERE, REFUSED the other answer. */
enum {
    MASK = 0x5a,
    RECORD = 32768,
    END = 0,
    HELLO_THERE = 0xf001,
    LET_IN = 0xf002,
    REFUSED = 0xf003
};

typedef struct toy {
    int accepted, refuses, greeted, ready, ended, finished, failed;
    ipcx_buf wire, plain;
} toy;

static _Atomic int sessions;
static _Atomic int signals; /* that the next open is told of */

static ipcx_status toy_begin(void *context, int accepted, void **session, ipcx_error *err)
{
    toy *self = ipcx_alloc(sizeof *self);
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "toy", "no memory");
    }
    *self = (toy){.accepted = accepted, .refuses = context != NULL && accepted};
    ipcx_buf_init(&self->wire, SIZE_MAX);
    ipcx_buf_init(&self->plain, SIZE_MAX);
    atomic_fetch_add(&sessions, 1);
    *session = self;
    return IPCX_OK;
}

static void put_number(ipcx_buf *to, unsigned number)
{
    uint8_t bytes[2] = {(uint8_t)(number >> 8), (uint8_t)number};
    REQUIRE_OK(ipcx_buf_append(to, bytes, 2, NULL));
}

static ipcx_status toy_seal(void *session, const void *plain, size_t size, ipcx_buf *wire,
                            ipcx_error *err)
{
    const uint8_t *from = plain;
    (void)err;
    CHECK(((toy *)session)->ready && size > 0 && size <= IPCX_LAYER_PIECE);
    for (size_t done = 0, i = 0; done < size; done = i) {
        size_t some = size - done < RECORD ? size - done : RECORD;
        put_number(wire, (unsigned)some);
        for (i = done; i < done + some; i++) {
            uint8_t byte = from[i] ^ MASK;
            REQUIRE_OK(ipcx_buf_append(wire, &byte, 1, NULL));
        }
    }
    return IPCX_OK;
}

/* One step of a handshake; the record has been taken. */
static ipcx_status greeting(toy *self, unsigned number, ipcx_buf *reply, ipcx_error *err)
{
    if (self->accepted && number == HELLO_THERE && !self->refuses) {
        put_number(reply, LET_IN);
        self->ready = 1;
        return IPCX_OK;
    }
    if (self->accepted) {
        put_number(reply, REFUSED);
        return ipcx_error_set(err, IPCX_AUTH, 0, "toy", "you are not let in");
    }
    self->ready = number == LET_IN;
    return self->ready ? IPCX_OK
                       : ipcx_error_set(err, IPCX_AUTH, 0, "toy", "it does not let us in");
}

/* The next whole record of `wire` into `plain`. MORE: it is not whole. */
static ipcx_status next_record(toy *self, ipcx_buf *reply, ipcx_error *err)
{
    const uint8_t *at = ipcx_buf_data(&self->wire);
    size_t have = ipcx_buf_len(&self->wire);
    unsigned number = have >= 2 ? (unsigned)at[0] << 8 | at[1] : 0;
    if (have < 2 || (number <= RECORD && have < number + 2u)) {
        return IPCX_MORE;
    }
    if (number == END || number > RECORD || !self->ready) {
        ipcx_buf_consume(&self->wire, 2);
        self->ended = number == END;
        return self->ended ? IPCX_EOF : greeting(self, number, reply, err);
    }
    for (size_t i = 0; i < number; i++) {
        uint8_t byte = at[2 + i] ^ MASK;
        REQUIRE_OK(ipcx_buf_append(&self->plain, &byte, 1, NULL));
    }
    ipcx_buf_consume(&self->wire, number + 2u);
    return IPCX_OK;
}

static ipcx_status toy_open(void *session, const void *wire, size_t size, void *plain, size_t room,
                            ipcx_layer_opened *opened, ipcx_buf *reply, ipcx_error *err)
{
    toy *self = session;
    ipcx_status status = IPCX_OK;
    CHECK(!self->finished && !self->failed);
    REQUIRE_OK(ipcx_buf_append(&self->wire, wire, size, NULL));
    if (!self->accepted && !self->greeted) {
        put_number(reply, HELLO_THERE);
        self->greeted = 1;
    }
    while (status == IPCX_OK && ipcx_buf_len(&self->plain) == 0) {
        status = next_record(self, reply, err);
    }
    opened->ready = self->ready;
    opened->interrupted = atomic_exchange(&signals, 0);
    if (ipcx_buf_len(&self->plain) > 0) {
        size_t some = ipcx_buf_len(&self->plain) < room ? ipcx_buf_len(&self->plain) : room;
        memcpy(plain, ipcx_buf_data(&self->plain), some);
        ipcx_buf_consume(&self->plain, some);
        opened->got = some;
        opened->more = 1;
        return IPCX_OK;
    }
    self->failed = status < 0;
    return status;
}

static void toy_finish(void *session, ipcx_buf *wire)
{
    toy *self = session;
    CHECK(!self->finished && !self->failed);
    self->finished = 1;
    put_number(wire, END);
}

static void toy_end(void *session)
{
    toy *self = session;
    ipcx_buf_fini(&self->wire);
    ipcx_buf_fini(&self->plain);
    ipcx_free(self);
    atomic_fetch_sub(&sessions, 1);
}

static const ipcx_layer toy_layer = {toy_begin, toy_seal, toy_open, toy_finish, toy_end};
static const ipcx_chan_options with_toy = {.layer = &toy_layer};

static ipcx_chan *toy_connected(const ipcx_listener *listener)
{
    ipcx_chan *chan = NULL;
    REQUIRE_OK(ipcx_connect(ipcx_listener_url(listener), &with_toy, SOON, &chan, NULL));
    return chan;
}

static void toy_pair(ipcx_chan **a, ipcx_chan **b)
{
    ipcx_listener *listener = listening("tls://127.0.0.1:0", &with_toy);
    CHECK(strncmp(ipcx_listener_url(listener), "tls://127.0.0.1:", 16) == 0);
    *a = toy_connected(listener);
    *b = accepted(listener);
    CHECK(strncmp(ipcx_chan_url(*b), "tls://127.0.0.1:", 16) == 0);
    ipcx_listener_free(listener);
}

TEST(there_and_back_in_one_thread)
{
    ipcx_chan *a, *b;
    toy_pair(&a, &b);
    hello(a, b);
    hello(b, a);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
    CHECK_INT(atomic_load(&sessions), 0);
}

TEST(what_is_sent_before_the_handshake_arrives)
{
    ipcx_listener *listener = listening("tls://127.0.0.1:0", &with_toy);
    ipcx_chan *a = toy_connected(listener), *b;
    ipcx_message early = {.data = "early", .size = 5, .flags = IPCX_MESSAGE_TEXT}, got;
    static uint8_t much[1 << 20];
    ipcx_message large = {.data = much, .size = sizeof much};
    CHECK_OK(ipcx_chan_send(a, &early, IPCX_FOREVER, NULL, NULL));
    CHECK_STATUS(ipcx_chan_send(a, &large, IPCX_NOW, NULL, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_chan_flush(a, ipcx_deadline_after(MS), NULL), IPCX_TIMEOUT);
    b = accepted(listener);
    CHECK_OK(ipcx_chan_flush(a, SOON, NULL));
    CHECK_OK(ipcx_chan_flush(b, SOON, NULL));
    REQUIRE_OK(ipcx_chan_receive(b, &got, SOON, NULL));
    CHECK_MEM(got.data, "early", 5);
    ipcx_chan_release(b, &got);
    CHECK_STATUS(ipcx_chan_receive(b, &got, IPCX_NOW, NULL), IPCX_AGAIN);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
    ipcx_listener_free(listener);
}

TEST(an_unaccepted_end_closes_at_once_and_tells_what_was_lost)
{
    ipcx_listener *listener = listening("tls://127.0.0.1:0", &with_toy);
    ipcx_chan *a = toy_connected(listener), *b = toy_connected(listener);
    ipcx_message early = {.data = "early", .size = 5};
    size_t unsent = 7;
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, &unsent, NULL));
    CHECK_INT(unsent, 0);
    CHECK_OK(ipcx_chan_send(b, &early, IPCX_FOREVER, NULL, NULL));
    CHECK_STATUS(ipcx_chan_close(b, ipcx_deadline_after(MS), &unsent, NULL), IPCX_TIMEOUT);
    CHECK_INT(unsent, 1);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
    ipcx_listener_free(listener);
    CHECK_INT(atomic_load(&sessions), 0);
}

/* A signal within the layer: who would sleep answers INTR, once, and nothing is lost. */
TEST(a_signal_within_it)
{
    ipcx_chan *a, *b;
    ipcx_listener *listener = listening("tls://127.0.0.1:0", &with_toy);
    ipcx_message got;
    a = toy_connected(listener);
    atomic_store(&signals, 1);
    CHECK_STATUS(ipcx_listener_accept(listener, &b, SOON, NULL), IPCX_INTR);
    b = accepted(listener);
    atomic_store(&signals, 1);
    CHECK_STATUS(ipcx_chan_receive(b, &got, SOON, NULL), IPCX_INTR);
    CHECK_STATUS(ipcx_chan_receive(b, &got, ipcx_deadline_after(MS), NULL), IPCX_TIMEOUT);
    hello(a, b);
    hello(b, a);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
    ipcx_listener_free(listener);
    CHECK_INT(atomic_load(&sessions), 0);
}

TEST(who_is_refused_learns_it)
{
    ipcx_chan_options refusing = {.layer = &toy_layer, .layer_context = &refusing};
    ipcx_listener *listener = listening("tls://127.0.0.1:0", &refusing);
    ipcx_listener_stats stats;
    ipcx_chan *a = toy_connected(listener), *none;
    ipcx_message early = {.data = "early", .size = 5}, got;
    ipcx_error err = {0};
    size_t unsent;
    CHECK_OK(ipcx_chan_send(a, &early, IPCX_FOREVER, NULL, NULL));
    CHECK_STATUS(ipcx_listener_accept(listener, &none, ipcx_deadline_after(MS), NULL),
                 IPCX_TIMEOUT);
    CHECK_STATUS(ipcx_chan_receive(a, &got, SOON, &err), IPCX_AUTH);
    CHECK_STR(err.detail, "it does not let us in");
    CHECK_STATUS(ipcx_chan_send(a, &early, SOON, NULL, NULL), IPCX_AUTH);
    CHECK_OK(ipcx_chan_close(a, SOON, &unsent, NULL));
    ipcx_chan_free(a);
    a = toy_connected(listener); /* one that never looks, but closes */
    CHECK_OK(ipcx_chan_send(a, &early, IPCX_FOREVER, NULL, NULL));
    CHECK_STATUS(ipcx_listener_accept(listener, &none, ipcx_deadline_after(MS), NULL),
                 IPCX_TIMEOUT);
    CHECK_STATUS(ipcx_chan_close(a, SOON, &unsent, NULL), IPCX_AUTH);
    CHECK_INT(unsent, 1);
    ipcx_chan_free(a);
    ipcx_listener_get_stats(listener, &stats);
    CHECK_INT(stats.dropped, 2);
    ipcx_listener_free(listener);
    CHECK_INT(atomic_load(&sessions), 0);
}

TEST(goodbye_arrives_though_much_was_unread)
{
    ipcx_chan *a, *b;
    static uint8_t much[20000];
    ipcx_message large = {.data = much, .size = sizeof much}, last = {.data = "last", .size = 4};
    ipcx_message got;
    toy_pair(&a, &b);
    for (int i = 0; i < 9; i++) {
        CHECK_OK(ipcx_chan_send(b, &large, SOON, NULL, NULL));
    }
    REQUIRE_OK(ipcx_chan_receive(a, &got, SOON, NULL)); /* and others came with it */
    ipcx_chan_release(a, &got);
    CHECK_OK(ipcx_chan_send(a, &last, SOON, NULL, NULL));
    CHECK_OK(ipcx_chan_close(a, SOON, NULL, NULL));
    CHECK_STATUS(ipcx_chan_receive(a, &got, SOON, NULL), IPCX_CLOSED);
    ipcx_chan_free(a);
    REQUIRE_OK(ipcx_chan_receive(b, &got, SOON, NULL));
    CHECK_MEM(got.data, "last", 4);
    ipcx_chan_release(b, &got);
    CHECK_STATUS(ipcx_chan_receive(b, &got, SOON, NULL), IPCX_EOF);
    ipcx_chan_free(b);
}

TEST(without_a_layer_there_is_no_tls)
{
    ipcx_listener *listener = listening("tls://127.0.0.1:0", NULL);
    ipcx_chan *a = NULL, *b = NULL;
    ipcx_error err = {0};
    CHECK_STATUS(ipcx_connect(ipcx_listener_url(listener), NULL, SOON, &a, &err), IPCX_UNSUPPORTED);
    CHECK(strstr(err.detail, "options.layer") != NULL);
    CHECK_STATUS(ipcx_pair("tls://", NULL, &a, &b, &err), IPCX_UNSUPPORTED);
    CHECK(a == NULL && b == NULL);
    ipcx_listener_free(listener);
}

TEST(a_pair_is_agreed_and_stays_here)
{
    ipcx_chan *a, *b;
    ipcx_chan_end end;
    ipcx_error err = {0};
    REQUIRE_OK(ipcx_pair("tls://", &with_toy, &a, &b, NULL));
    CHECK_STATUS(ipcx_chan_export(a, &end, &err), IPCX_UNSUPPORTED);
    CHECK(strstr(err.detail, "tls://") != NULL);
    hello(a, b);
    CHECK_OK(ipcx_chan_close(a, SOON, NULL, NULL));
    CHECK_STATUS(ipcx_chan_poll(b, IPCX_NOW, NULL), IPCX_OK);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}

TEST(a_pair_whose_ends_do_not_agree_is_none)
{
    ipcx_chan_options refusing = {.layer = &toy_layer, .layer_context = &refusing};
    ipcx_chan *a = NULL, *b = NULL;
    CHECK_STATUS(ipcx_pair("tls://", &refusing, &a, &b, NULL), IPCX_AUTH);
    CHECK(a == NULL && b == NULL);
    CHECK_INT(atomic_load(&sessions), 0);
}

/* ---- threads, both ways, more than fits */

typedef struct work {
    ipcx_chan *chan;
    size_t count, size, sync_each;
} work;

static void *sends(void *arg)
{
    work *self = arg;
    uint8_t *bytes = ipcx_alloc(self->size);
    REQUIRE(bytes != NULL);
    for (size_t i = 0; i < self->count; i++) {
        ipcx_message message = {.data = bytes, .size = self->size};
        message.flags = self->sync_each != 0 && i % self->sync_each == 0 ? IPCX_MESSAGE_SYNC : 0;
        memset(bytes, (int)i, self->size);
        CHECK_OK(ipcx_chan_send(self->chan, &message, IPCX_FOREVER, NULL, NULL));
    }
    ipcx_free(bytes);
    return NULL;
}

static void *receives(void *arg)
{
    work *self = arg;
    for (size_t i = 0; i < self->count; i++) {
        ipcx_message got;
        REQUIRE_OK(ipcx_chan_receive(self->chan, &got, IPCX_FOREVER, NULL));
        CHECK_INT(got.size, self->size);
        CHECK_INT(((const uint8_t *)got.data)[0], (uint8_t)i);
        CHECK_INT(((const uint8_t *)got.data)[self->size - 1], (uint8_t)i);
        ipcx_chan_release(self->chan, &got);
    }
    return NULL;
}

static void both_ways(ipcx_chan *a, ipcx_chan *b, size_t count, size_t size, size_t sync_each)
{
    work at_a = {a, count, size, sync_each}, at_b = {b, count, size, sync_each};
    pthread_t threads[4];
    REQUIRE(pthread_create(&threads[0], NULL, sends, &at_a) == 0);
    REQUIRE(pthread_create(&threads[1], NULL, receives, &at_a) == 0);
    REQUIRE(pthread_create(&threads[2], NULL, sends, &at_b) == 0);
    REQUIRE(pthread_create(&threads[3], NULL, receives, &at_b) == 0);
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
}

TEST(threads_send_and_receive_both_ways)
{
    ipcx_chan *a, *b;
    toy_pair(&a, &b);
    both_ways(a, b, 2000, 64, 0);
    both_ways(a, b, 300, 50, 3);
    both_ways(a, b, 4, 3 << 20, 2);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}

static void *accepts(void *arg)
{
    return accepted(arg);
}

TEST(a_sender_waits_for_the_handshake_beside_a_receiver)
{
    ipcx_listener *listener = listening("tls://127.0.0.1:0", &with_toy);
    ipcx_chan *a = toy_connected(listener), *b;
    work large = {a, 2, 1 << 20, 0}, back = {a, 1, 9, 0}, at_b;
    pthread_t threads[3];
    void *got;
    REQUIRE(pthread_create(&threads[0], NULL, receives, &back) == 0);
    REQUIRE(pthread_create(&threads[1], NULL, sends, &large) == 0);
    REQUIRE(pthread_create(&threads[2], NULL, accepts, listener) == 0);
    REQUIRE(pthread_join(threads[2], &got) == 0);
    b = got;
    at_b = (work){b, 2, 1 << 20, 0};
    receives(&at_b);
    at_b = (work){b, 1, 9, 0};
    sends(&at_b);
    REQUIRE(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
    ipcx_listener_free(listener);
}

TEST(fileno_shows_what_the_layer_holds)
{
    ipcx_chan *a, *b;
    ipcx_message two[] = {{.data = "1", .size = 1}, {.data = "2", .size = 1}}, got;
    ipcx_sending sending = {0};
    int fd;
    toy_pair(&a, &b);
    REQUIRE_OK(ipcx_chan_fileno(b, &fd, NULL));
    CHECK_OK(ipcx_chan_send_many(a, two, 2, SOON, &sending, NULL));
    for (int i = 0; i < 2; i++) {
        while (ipcx_chan_receive(b, &got, IPCX_NOW, NULL) != IPCX_OK) {
            struct pollfd polled = {.fd = fd, .events = POLLIN};
            REQUIRE(poll(&polled, 1, 10000) == 1);
        }
        CHECK_MEM(got.data, two[i].data, 1);
        ipcx_chan_release(b, &got);
    }
    CHECK_STATUS(ipcx_chan_receive(b, &got, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK(!is_readable(fd));
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}

/* ---- a server */

static void *echoes(void *arg)
{
    ipcx_mux *mux = arg;
    const ipcx_mux_event *events;
    size_t count;
    ipcx_status status;
    while ((status = ipcx_mux_next(mux, &events, &count, IPCX_FOREVER, NULL)) != IPCX_CLOSED) {
        for (size_t i = 0; status == IPCX_OK && i < count; i++) {
            ipcx_mux_peer_info info;
            ipcx_mux_peer_get(events[i].peer, &info);
            CHECK(strncmp(info.url, "tls://", 6) == 0);
            if (events[i].kind == IPCX_MUX_MESSAGE) {
                (void)!ipcx_mux_send(events[i].peer, &events[i].message, IPCX_FOREVER, NULL);
            }
        }
        if (status == IPCX_OK) {
            ipcx_mux_release(mux);
        }
    }
    return NULL;
}

static void *talks(void *arg)
{
    work *self = arg;
    pthread_t sender;
    REQUIRE(pthread_create(&sender, NULL, sends, self) == 0);
    (void)receives(self);
    REQUIRE(pthread_join(sender, NULL) == 0);
    return NULL;
}

TEST(a_server_of_many_with_threads)
{
    enum { CLIENTS = 4, SERVERS = 1 }; /* one, for the order of the answers */
    /* Nobody is late here, however slow the machine: the others keep a client from its handshake.
     */
    const ipcx_chan_options patient = {.layer = &toy_layer, .handshake_timeout = 60000 * MS};
    ipcx_mux_options options = {.channel = patient, .on_full = IPCX_MUX_BLOCK};
    const char *url = "tls://127.0.0.1:0";
    const ipcx_message news = {.data = "", .size = 0};
    ipcx_mux *mux = NULL;
    ipcx_mux_stats stats;
    pthread_t servers[SERVERS], clients[CLIENTS];
    ipcx_chan *ends[CLIENTS];
    work works[CLIENTS];
    size_t sent;
    REQUIRE_OK(ipcx_mux_open(&url, 1, &options, &mux, NULL));
    for (int i = 0; i < SERVERS; i++) {
        REQUIRE(pthread_create(&servers[i], NULL, echoes, mux) == 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        REQUIRE_OK(ipcx_connect(ipcx_mux_url(mux, 0), &with_toy, SOON, &ends[i], NULL));
        works[i] = (work){ends[i], 200, 1 + (size_t)i * 9000, 0};
        REQUIRE(pthread_create(&clients[i], NULL, talks, &works[i]) == 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        REQUIRE(pthread_join(clients[i], NULL) == 0);
    }
    CHECK_OK(ipcx_mux_broadcast(mux, &news, NULL, &sent, NULL));
    CHECK_INT(sent, CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        ipcx_message got;
        REQUIRE_OK(ipcx_chan_receive(ends[i], &got, SOON, NULL));
        CHECK_INT(got.size, 0);
        ipcx_chan_release(ends[i], &got);
        CHECK_OK(ipcx_chan_close(ends[i], SOON, NULL, NULL));
        ipcx_chan_free(ends[i]);
    }
    CHECK_OK(ipcx_mux_close(mux, SOON, NULL, NULL));
    for (int i = 0; i < SERVERS; i++) {
        REQUIRE(pthread_join(servers[i], NULL) == 0);
    }
    ipcx_mux_get_stats(mux, &stats);
    CHECK_INT(stats.received, 200 * CLIENTS);
    CHECK_INT(stats.memory, 0);
    ipcx_mux_free(mux);
    CHECK_INT(atomic_load(&sessions), 0);
}

/* A server with these options, and who has connected to it. */
static ipcx_mux *open_and_connect(const ipcx_mux_options *options, ipcx_chan **peer)
{
    const char *url = "tls://127.0.0.1:0";
    ipcx_mux *mux = NULL;
    REQUIRE_OK(ipcx_mux_open(&url, 1, options, &mux, NULL));
    REQUIRE_OK(ipcx_connect(ipcx_mux_url(mux, 0), &with_toy, SOON, peer, NULL));
    return mux;
}

TEST(a_server_refuses_and_tells)
{
    ipcx_chan_options refusing = {.layer = &toy_layer, .layer_context = &refusing};
    ipcx_mux_options options = {.channel = refusing};
    const ipcx_mux_event *events;
    ipcx_mux_stats stats;
    ipcx_message got;
    ipcx_chan *a = NULL;
    ipcx_mux *mux = open_and_connect(&options, &a);
    size_t count;
    do {
        CHECK_STATUS(ipcx_mux_next(mux, &events, &count, ipcx_deadline_after(MS), NULL),
                     IPCX_TIMEOUT);
    } while (ipcx_chan_poll(a, IPCX_NOW, NULL) != IPCX_OK);
    CHECK_STATUS(ipcx_chan_receive(a, &got, IPCX_NOW, NULL), IPCX_AUTH);
    ipcx_chan_free(a);
    do {
        CHECK_STATUS(ipcx_mux_next(mux, &events, &count, ipcx_deadline_after(MS), NULL),
                     IPCX_TIMEOUT);
        ipcx_mux_get_stats(mux, &stats);
    } while (stats.refused == 0);
    CHECK_INT(stats.strangers, 1);
    ipcx_mux_free(mux);
    CHECK_INT(atomic_load(&sessions), 0);
}

/* It neither reads nor hangs up: its place is free all the same, and what it was told is there. */
TEST(who_is_refused_does_not_stay)
{
    ipcx_chan_options refusing = {.layer = &toy_layer, .layer_context = &refusing};
    ipcx_mux_options options = {.channel = refusing, .close_timeout = INT64_C(1000) * 1000 * MS};
    const ipcx_mux_event *events;
    ipcx_deadline deadline = SOON;
    ipcx_mux_stats stats = {0};
    ipcx_message got;
    ipcx_chan *a = NULL;
    ipcx_mux *mux = open_and_connect(&options, &a);
    size_t count;
    while (stats.refused == 0 && ipcx_deadline_left(deadline) > 0) {
        CHECK_STATUS(ipcx_mux_next(mux, &events, &count, ipcx_deadline_after(MS), NULL),
                     IPCX_TIMEOUT);
        ipcx_mux_get_stats(mux, &stats);
    }
    CHECK_INT(stats.refused, 1);
    CHECK_INT(stats.strangers, 1);
    CHECK_STATUS(ipcx_chan_receive(a, &got, SOON, NULL), IPCX_AUTH);
    ipcx_chan_free(a);
    ipcx_mux_free(mux);
    CHECK_INT(atomic_load(&sessions), 0);
}
