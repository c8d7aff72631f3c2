/* SPDX-License-Identifier: Apache-2.0
 * What the kernel knows of a TCP peer's host, and what follows from it.
 * Idle, the kernel ends the connection itself, by its keepalive probes. Busy, it would, too, after
 * 15 retransmissions, or probes of a closed window: 15 to 16 s when none waits for more than a
 * second (TCP_RTO_MAX_MS, Linux 6.15), a quarter of an hour before that; so then we look.
 * TCP_USER_TIMEOUT would do it, too, but also ends a connection whose peer is alive, answers every
 * probe and has merely not read for so long: tcp_probe_timer() of Linux counts from the first one.
 * Invariant: a reader that is merely slow is never taken for dead. */
#include "link/address/vigil.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ipcx/clock.h"

#define RTO_MAX_MS 1000
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 /* linux/tcp.h */
#endif
#define SECOND INT64_C(1000000000)
#define MS INT64_C(1000000)
/* Any packet may be lost, and the answer to the last one may be on its way. */
#define ASKED_LEAST 3

bool ipcx__vigil_fill(int64_t *timeout)
{
    if (*timeout == 0) {
        *timeout = IPCX__VANISH_NS;
    }
    return *timeout >= 3 * SECOND;
}

static bool set(int fd, int level, int option, int64_t value)
{
    int number = (int)value;
    return setsockopt(fd, level, option, &number, sizeof number) == 0;
}

bool ipcx__vigil_begin(int fd, int64_t timeout)
{
    int64_t all, idle, interval;
    if (timeout == IPCX_FOREVER) {
        return set(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
    }
    /* 15 s: a probe after 5 s of silence and every 3 s, and given up after the third: 14 s. */
    all = timeout / SECOND < 32767 ? timeout / SECOND : 32767; /* the kernel's most */
    idle = all / 3;
    interval = all / 5 > 1 ? all / 5 : 1;
    (void)set(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX_MS);
    return set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) && set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle) &&
           set(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval) &&
           set(fd, IPPROTO_TCP, TCP_KEEPCNT, (all - idle) / interval);
}

ipcx__vigil ipcx__vigil_judge(int64_t timeout, uint32_t silent_ms, unsigned asked)
{
    int64_t often = timeout / 15, rarely = timeout / 3, limit = timeout - often;
    ipcx__vigil seen = {.silent = silent_ms * MS};
    int64_t left = limit - seen.silent;
    seen.vanished = left <= 0 && asked >= ASKED_LEAST;
    seen.next = left < often ? often : left > rarely ? rarely : left;
    return seen;
}

/* tcpi_last_ack_recv is the last acknowledgement that was not old, an answer to a probe among
 * them; a peer that only sends is heard by its data. */
bool ipcx__vigil_look(int fd, int64_t timeout, ipcx__vigil *seen)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    uint32_t silent;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < offsetof(struct tcp_info, tcpi_pmtu)) {
        return false;
    }
    silent = info.tcpi_last_ack_recv < info.tcpi_last_data_recv ? info.tcpi_last_ack_recv
                                                                : info.tcpi_last_data_recv;
    *seen = ipcx__vigil_judge(timeout, silent,
                              (unsigned)info.tcpi_retransmits + (unsigned)info.tcpi_probes);
    return true;
}

bool ipcx__vigil_owes(int fd)
{
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}
