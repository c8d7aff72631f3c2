/* SPDX-License-Identifier: Apache-2.0
 * chan_shm: a million messages (at night a hundred times as many) from one process to another while
 * both change all the time how they wait: asleep, with a deadline, polling, at a descriptor.
 * Nothing may be lost or doubled, and nobody may sleep while there is something to do: then it
 * stalls. */
#include "check.h"

#include <poll.h>

#include "link/chan_quick.h"
#include "link/shared/chan_shm.h"
#include "streams.h"

/* Small numbers that look random. */
static uint64_t chance(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void wait_at(ipcx_chan *chan, bool sends)
{
    struct pollfd polled = {.events = sends ? POLLOUT : POLLIN};
    REQUIRE_OK(sends ? ipcx_chan_send_fileno(chan, &polled.fd, NULL)
                     : ipcx_chan_fileno(chan, &polled.fd, NULL));
    REQUIRE(poll(&polled, 1, 60000) == 1); /* a stall */
}

/* One way of waiting for some hundred messages, then another. */
typedef struct mood {
    uint64_t state;
    uint64_t left;
    int way;
} mood;

static int way_of(mood *self)
{
    if (self->left-- == 0) {
        self->left = chance(&self->state) % 600;
        self->way = (int)(chance(&self->state) % 4);
    }
    return self->way;
}

static ipcx_deadline patience(int way)
{
    return way == 0   ? ipcx_deadline_after(60000 * MS)
           : way == 1 ? ipcx_deadline_after(MS)
                      : IPCX_NOW;
}

/* After AGAIN or TIMEOUT. */
static void go_on(ipcx_chan *chan, int way, bool sends)
{
    REQUIRE(way != 0); /* a stall */
    if (way == 3) {
        wait_at(chan, sends);
    }
}

static void send_all(ipcx_chan *chan, uint64_t count, uint64_t seed)
{
    static char room[4000];
    mood now = {.state = seed};
    for (uint64_t i = 0; i < count;) {
        ipcx_sending sending = {0};
        int way = way_of(&now);
        ipcx_message message = {.data = room, .size = i % 1000 == 0 ? sizeof room : 8};
        ipcx_status status;
        memcpy(room, &i, sizeof i);
        status = ipcx_chan_send(chan, &message, patience(way), &sending, NULL);
        if (status == IPCX_OK) {
            i++;
        } else {
            REQUIRE(status == IPCX_AGAIN || status == IPCX_TIMEOUT);
            go_on(chan, way, true);
        }
    }
}

static bool is_next(void *expected, const void *data, size_t size)
{
    REQUIRE(size >= sizeof(uint64_t) && memcmp(data, expected, sizeof(uint64_t)) == 0);
    return true;
}

static void receive_all(ipcx_chan *chan, uint64_t count, uint64_t seed)
{
    const ipcx__quick *quick = chan->transport->quick;
    mood now = {.state = seed};
    for (uint64_t i = 0; i < count;) {
        int way = way_of(&now);
        if (i % 8 < 4 && quick->pull(chan, is_next, &i) == IPCX_OK) {
            i++;
            continue;
        }
        ipcx_message got;
        uint64_t number;
        ipcx_status status = ipcx_chan_receive(chan, &got, patience(way), NULL);
        if (status != IPCX_OK) {
            REQUIRE(status == IPCX_AGAIN || status == IPCX_TIMEOUT);
            go_on(chan, way, false);
            continue;
        }
        REQUIRE(got.size >= sizeof number);
        memcpy(&number, got.data, sizeof number);
        ipcx_chan_release(chan, &got);
        REQUIRE(number == i);
        i++;
    }
}

static void one_way(uint64_t count, int trust)
{
    const ipcx_chan_options options = {.trust = trust, .ring = 65536};
    ipcx_chan *a, *b;
    pid_t child;
    REQUIRE_OK(ipcx__chan_shm_pair("shm://", &options, &a, &b, NULL));
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        send_all(b, count, 1);
        REQUIRE_OK(ipcx_chan_close(b, IPCX_FOREVER, NULL, NULL));
        _exit(0);
    }
    receive_all(a, count, 2);
    CHECK(check_child(child));
    stream_free(a, b);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOWER 10
#else
#define SLOWER 1
#endif

static uint64_t how_many(void)
{
    return check_valgrind()               ? 5000
           : getenv("IPCX_NIGHT") != NULL ? UINT64_C(100000000) / SLOWER / SLOWER
                                          : UINT64_C(1000000) / SLOWER;
}

TEST(every_way_of_waiting)
{
    one_way(how_many(), IPCX_TRUST_SAME_UID);
}

TEST(every_way_of_waiting_without_trust)
{
    one_way(how_many() / 10, IPCX_TRUST_NONE);
}
