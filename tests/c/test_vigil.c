/* SPDX-License-Identifier: Apache-2.0
 * Is a TCP peer's host still there: what is asked of the kernel, and how a look is judged. Hosts
 * that really vanish are in tests/network. */
#include "link/address/vigil.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "ipcx/clock.h"

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(getsockopt(fd, level, name, &value, &size) == 0);
    return value;
}

TEST(the_kernel_notices_an_idle_host_in_time)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    for (int64_t seconds = 3; seconds <= 3600; seconds++) {
        int idle, interval, count;
        REQUIRE(ipcx__vigil_begin(fd, seconds * SECOND));
        idle = option(fd, IPPROTO_TCP, TCP_KEEPIDLE);
        interval = option(fd, IPPROTO_TCP, TCP_KEEPINTVL);
        count = option(fd, IPPROTO_TCP, TCP_KEEPCNT);
        CHECK_INT(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
        CHECK(idle + interval * count <= seconds);
        CHECK(idle + interval * count > seconds * 4 / 5 - 1);
        CHECK(count >= 2);
        /* A slow reader must not be taken for a dead one. */
        CHECK_INT(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    }
    REQUIRE(ipcx__vigil_begin(fd, IPCX_FOREVER));
    CHECK_INT(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    REQUIRE(ipcx__vigil_begin(fd, INT64_MAX - 1)); /* more than the kernel takes */
    (void)close(fd);
    CHECK(!ipcx__vigil_begin(fd, 15 * SECOND));
}

TEST(who_was_asked_and_is_silent_has_vanished)
{
    static const struct {
        uint32_t silent_ms;
        unsigned asked;
        bool vanished;
        int64_t next_ms;
    } cases[] = {
        {0, 0, false, 5000},
        {4000, 0, false, 5000},
        {9000, 9, false, 5000},
        {9001, 9, false, 4999},
        {12999, 9, false, 1001},
        {13500, 9, false, 1000},
        {13999, 9, false, 1000},
        {14000, 3, true, 1000},
        {14000, 2, false, 1000},
        {3600000, 0, false, 1000} /* the kernel has not asked it: what could it say? */,
        {3600000, 2, false, 1000},
        {UINT32_MAX, 255 + 255, true, 1000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ipcx__vigil seen = ipcx__vigil_judge(IPCX__VANISH_NS, cases[i].silent_ms, cases[i].asked);
        CHECK_INT(seen.vanished, cases[i].vanished);
        CHECK(seen.silent == cases[i].silent_ms * MS);
        CHECK(seen.next == cases[i].next_ms * MS);
    }
}

/* Whenever it is looked at again as told, a silence is found before it is vanish_timeout long. */
TEST(the_next_look_comes_in_time)
{
    for (uint32_t first = 0; first < 20000; first += 7) {
        uint32_t silent = first;
        ipcx__vigil seen = ipcx__vigil_judge(IPCX__VANISH_NS, silent, 9);
        while (!seen.vanished) {
            silent += (uint32_t)(seen.next / MS);
            seen = ipcx__vigil_judge(IPCX__VANISH_NS, silent, 9);
        }
        CHECK(silent <= 15000 || silent == first);
    }
}

TEST(a_look_at_a_connection)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof addr;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ends[2], other[2];
    ipcx__vigil seen;
    REQUIRE(bind(listening, (struct sockaddr *)(void *)&addr, sizeof addr) == 0 &&
            listen(listening, 1) == 0);
    REQUIRE(getsockname(listening, (struct sockaddr *)(void *)&addr, &size) == 0);
    ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(connect(ends[0], (struct sockaddr *)(void *)&addr, sizeof addr) == 0);
    ends[1] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        if (!check_qemu()) { /* which does not know TCP_INFO */
            REQUIRE(ipcx__vigil_look(ends[i], IPCX__VANISH_NS, &seen));
            CHECK(!seen.vanished);
        }
        CHECK(!ipcx__vigil_owes(ends[i]));
    }
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, other) == 0);
    CHECK(!ipcx__vigil_look(other[0], IPCX__VANISH_NS, &seen));
    for (int i = 0; i < 2; i++) {
        (void)close(ends[i]);
        (void)close(other[i]);
    }
    (void)close(listening);
    CHECK(!ipcx__vigil_owes(listening));
}
