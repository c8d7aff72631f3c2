/* SPDX-License-Identifier: Apache-2.0
 * Whether the host at the other end of a TCP connection is still there (docs/adr/0016).
 * The proof of a living host is that its kernel acknowledges: the data we sent, a probe of an idle
 * connection, a probe of a window that is closed since its process does not read. So a process may
 * be slow for as long as it likes, and a host that is silent although it was asked has vanished.
 * Invariant: nobody is given up who was not asked three times since it was heard last. */
#ifndef IPCX_LINK_VIGIL_H
#define IPCX_LINK_VIGIL_H

#include <stdbool.h>
#include <stdint.h>

/* The default of ipcx_chan_options.vanish_timeout. IPCX_FOREVER: no vigil. */
#define IPCX__VANISH_NS INT64_C(15000000000)

/* ipcx__vigil_fill: puts in the default for a 0. False: it is under 3 s: so short, a lost packet or
 * two would look like a death. */
bool ipcx__vigil_fill(int64_t *timeout);

/* ipcx__vigil_begin: has the kernel ask: an idle peer often enough to notice within `timeout`
 * nanoseconds, a busy one at least every second where that can be chosen (Linux 6.15). Sockets
 * accepted from `fd` do so, too. False: errno. */
bool ipcx__vigil_begin(int fd, int64_t timeout);

/* What a look has shown. */
typedef struct ipcx__vigil {
    int64_t silent; /* nanoseconds since the peer's host was heard last */
    bool vanished;  /* for too long, although it was asked: it counts as gone */
    int64_t next;   /* nanoseconds until the next look at the latest, to notice in time */
} ipcx__vigil;

/* ipcx__vigil_look: at a connected TCP socket. False: it is none. */
bool ipcx__vigil_look(int fd, int64_t timeout, ipcx__vigil *seen);

/* ipcx__vigil_owes: whether the peer's host has something to acknowledge; while it has nothing, the
 * kernel asks by itself and no look is needed. */
bool ipcx__vigil_owes(int fd);

/* ipcx__vigil_judge: a look's judgement: milliseconds of silence, questions that were not answered
 * meanwhile. For tests. */
ipcx__vigil ipcx__vigil_judge(int64_t timeout, uint32_t silent_ms, unsigned asked);

#endif
