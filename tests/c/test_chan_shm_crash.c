/* SPDX-License-Identifier: Apache-2.0
 * chan_shm: one side is killed at each marked place of rendezvous, send, receive and close. The
 * other gets every message that was committed, whole and in order, none twice; learns of the end;
 * knows what was not received; and nothing stays behind. */
#include "check.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/crash.h"
#include "ipcx/loan.h"
#include "link/chan_front.h"
#include "link/chan_quick.h"
#include "link/shared/chan_shm.h"
#include "streams.h"

#define K ((size_t)1024)
#define MESSAGES 160

static const char *const places[] = {
    "connect: memory made",  "connect: mapped",     "connect: said hello",
    "accept: heard hello",   "meet: mapped",        "meet: owned",
    "meet: introduced",      "ring: written",       "ring: piece written",
    "ring: to be published", "ring: published",     "ring: grown",
    "ring: to be freed",     "ring: freed",         "bell: claimed, not rung",
    "sleep: announced",      "sleep: woken",        "receive: lent",
    "close: no goodbye yet", "close: goodbye said", "loan: lent",
    "loan: overtaken",       "loan: taken out",     "view: kept",
};
#define PLACES ((int)(sizeof places / sizeof *places))

/* What both processes see. */
typedef struct account {
    atomic_int begun, done; /* by the one that is to be killed: calls, and calls that returned */
    atomic_int reached[PLACES];
} account;
static account *shared;

/* In the process that is to be killed. */
static const char *armed;
static int armed_at;

void ipcx__crash_point(const char *name)
{
    if (armed != NULL && strcmp(name, armed) == 0 && --armed_at == 0) {
        for (int i = 0; i < PLACES; i++) {
            if (strcmp(name, places[i]) == 0) {
                atomic_fetch_add(&shared->reached[i], 1);
            }
        }
        (void)raise(SIGKILL);
    }
}

static size_t size_of(int number)
{
    return number % 40 == 39   ? 600 * K /* in fragments */
           : number % 40 == 20 ? 200 * K /* in pieces */
                               : (size_t)(number * 37 % 3000);
}

static uint8_t byte_of(int number, size_t k)
{
    return (uint8_t)((size_t)number * 131 + k * 7 + (k >> 8));
}

static void fill(uint8_t *bytes, int number)
{
    for (size_t k = 0; k < size_of(number); k++) {
        bytes[k] = byte_of(number, k);
    }
}

/* In place; some are overtaken by a reservation that comes to nothing, and go as a copy. */
static ipcx_status lend_one(ipcx_chan *chan, int number, unsigned flags)
{
    ipcx_loan loan = {0}, other = {0};
    ipcx_status status = ipcx_chan_reserve(chan, size_of(number), IPCX_FOREVER, &loan, NULL);
    if (status == IPCX_OK && number % 9 == 4) {
        status = ipcx_chan_reserve(chan, 100, IPCX_FOREVER, &other, NULL);
        ipcx_chan_cancel(&other);
    }
    if (status == IPCX_OK) {
        fill(loan.data, number);
        status = ipcx_chan_commit(&loan, size_of(number), flags, IPCX_FOREVER, NULL, NULL);
    }
    ipcx_chan_cancel(&loan);
    return status;
}

static ipcx_status send_one(ipcx_chan *chan, int number)
{
    static uint8_t bytes[600 * K];
    ipcx_message message = {.data = bytes, .size = size_of(number)};
    message.flags = number % 16 == 7 ? IPCX_MESSAGE_SYNC : 0;
    if (number % 3 == 1) {
        return lend_one(chan, number, message.flags);
    }
    fill(bytes, number);
    return ipcx_chan_send(chan, &message, IPCX_FOREVER, NULL, NULL);
}

static void check_message(const uint8_t *data, size_t size, int number)
{
    REQUIRE(size == size_of(number));
    for (size_t k = 0; k < size; k++) {
        REQUIRE(data[k] == byte_of(number, k));
    }
}

static bool check_taken(void *number, const void *data, size_t size)
{
    check_message(data, size, *(const int *)number);
    return true;
}

static ipcx_status receive_one(ipcx_chan *chan, int number)
{
    static uint8_t bytes[600 * K];
    ipcx_message got;
    ipcx_loan view = {0};
    ipcx_status status;
    if (number % 4 == 1 && chan->transport->quick->stay(chan) == IPCX_OK &&
        chan->transport->quick->pull(chan, check_taken, &number) == IPCX_OK) {
        return IPCX_OK;
    }
    if (number % 4 == 2) {
        status = ipcx_chan_receive_view(chan, &view, IPCX_FOREVER, NULL);
        if (status == IPCX_OK) {
            check_message(view.data, view.size, number);
            (void)ipcx_chan_return_view(&view, IPCX_FOREVER);
        }
        return status;
    }
    status = ipcx__chan_receive_front(chan, &got, IPCX_FOREVER, NULL);
    if (status == IPCX_OK && (got.flags & IPCX__MESSAGE_FRONT) != 0) {
        status = ipcx__chan_fill(chan, &got, bytes);
        if (status == IPCX_OK) {
            check_message(bytes, got.size, number);
        } else {
            status = ipcx_chan_receive(chan, &got, IPCX_FOREVER, NULL);
        }
    }
    if (status == IPCX_OK) {
        check_message(got.data, got.size, number);
        ipcx_chan_release(chan, &got);
    }
    return status;
}

/* OK, or how the rendezvous failed. */
static ipcx_status meet(int fd, bool connects, int trust, ipcx_chan **chan)
{
    const ipcx_chan_options options = {.ring = 1024 * K, .trust = trust};
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    ipcx_status status;
    if (connects) {
        status = ipcx__chan_shm_connect(fd, "shm://test", &options, chan, NULL);
        if (status != IPCX_OK) {
            close(fd);
        }
        return status;
    }
    REQUIRE_OK(ipcx__chan_shm_accept(fd, "shm://test", &options, chan, NULL));
    while ((status = ipcx__chan_shm_shake(*chan, NULL)) == IPCX_AGAIN) {
        (void)poll(&polled, 1, -1);
    }
    if (status != IPCX_OK) {
        ipcx_chan_free(*chan);
    }
    return status;
}

static void doomed(int fd, bool connects, bool sends, int trust)
{
    ipcx_chan *chan;
    ipcx_status status = meet(fd, connects, trust, &chan);
    if (status != IPCX_OK) {
        _exit(0);
    }
    for (int i = 0; status == IPCX_OK && i < MESSAGES; i++) {
        atomic_fetch_add(&shared->begun, 1);
        status = sends ? send_one(chan, i) : receive_one(chan, i);
        atomic_fetch_add(&shared->done, 1);
    }
    (void)ipcx_chan_close(chan, IPCX_FOREVER, NULL, NULL);
    _exit(0);
}

/* The living side. */
static void survive(int fd, bool connects, bool sends, int trust)
{
    ipcx_chan *chan;
    uint64_t unreceived = 0;
    int number = 0, begun, done;
    ipcx_status status = meet(fd, connects, trust, &chan);
    if (status != IPCX_OK) { /* it was killed before it had said hello */
        CHECK(status == IPCX_EOF || status == IPCX_SYSTEM || status == IPCX_PEER_CLOSED);
        CHECK_INT(atomic_load(&shared->begun), 0);
        return;
    }
    while (status == IPCX_OK && number < 100 * MESSAGES) {
        status = sends ? send_one(chan, number) : receive_one(chan, number);
        number += status == IPCX_OK;
    }
    begun = atomic_load(&shared->begun);
    done = atomic_load(&shared->done);
    if (sends) {
        CHECK(status == IPCX_PEER_DIED || status == IPCX_PEER_CLOSED);
        CHECK_OK(ipcx_chan_unreceived(chan, &unreceived, NULL));
        /* A rendezvous that failed was in the ring all the same. */
        if (!CHECK(number + (number % 16 == 7) - (int)unreceived >= done &&
                   number - (int)unreceived <= begun)) {
            printf("# sent %d, unreceived %d, received %d to %d\n", number, (int)unreceived, done,
                   begun);
        }
    } else {
        CHECK(status == IPCX_PEER_DIED || status == IPCX_EOF);
        if (!CHECK(number >= done && number <= begun)) {
            printf("# received %d, sent %d to %d\n", number, done, begun);
        }
    }
    ipcx_chan_free(chan);
}

static void kill_at(const char *place, int hit, bool connects, bool sends, int trust)
{
    int fds[2];
    pid_t child;
    atomic_store(&shared->begun, 0);
    atomic_store(&shared->done, 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    child = fork();
    if (child == 0) {
        close(fds[0]);
        armed = place;
        armed_at = hit;
        doomed(fds[1], connects, sends, trust);
    }
    close(fds[1]);
    survive(fds[0], !connects, !sends, trust);
    CHECK(waitpid(child, NULL, 0) == child);
}

static int mapped(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    REQUIRE(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        count += strstr(line, "ipcx-shm") != NULL;
    }
    (void)fclose(maps);
    return count;
}

#ifdef __SANITIZE_THREAD__ /* it makes each process slow, and sees one at a time */
#define SANITIZED true
#else
#define SANITIZED false
#endif

TEST(killed_at_each_marked_place)
{
    const char *chaos = getenv("IPCX_CHAOS");
    int hits = check_valgrind() || SANITIZED ? 1 : chaos != NULL ? 60 : 6;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    for (int place = 0; place < PLACES; place++) {
        for (int kind = 0; kind < 8; kind++) {
            for (int hit = 1; hit <= hits; hit++) {
                kill_at(places[place], hit < 4 ? hit : hit * hit, kind & 1, kind & 2,
                        kind & 4 ? IPCX_TRUST_NONE : IPCX_TRUST_SAME_UID);
            }
        }
        if (!CHECK(atomic_load(&shared->reached[place]) > 0)) {
            printf("# nobody came to \"%s\"\n", places[place]);
        }
    }
    CHECK_INT(mapped(), 0);
    munmap(shared, sizeof *shared);
}
