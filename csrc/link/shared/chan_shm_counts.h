/* SPDX-License-Identifier: Apache-2.0
 * What an end counts where others can see it: `ipcx ls` and `ipcx top` read the first page of each
 * channel's memory through /proc/PID/fd. Each end writes its own lines only; they are for show, and
 * nobody acts on them: stats() counts in private memory.
 * Invariant: the copy is made under the turn of its direction, so it is never behind for long and
 * has one writer. */
#ifndef IPCX_LINK_CHAN_SHM_COUNTS_H
#define IPCX_LINK_CHAN_SHM_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "ipcx/error.h"

#define IPCX__SHM_NAME 128 /* bytes of the URL, NUL included */

/* In the segment: who sends and who receives write to lines of their own. */
typedef struct ipcx__shm_counts {
    _Alignas(128) _Atomic uint64_t since; /* nanoseconds since the epoch: its first use */
    _Atomic uint64_t wakes;               /* how often it woke the other end */
    _Alignas(128) _Atomic uint64_t sent;
    _Atomic uint64_t sent_bytes, send_waits;
    _Alignas(128) _Atomic uint64_t received;
    _Atomic uint64_t received_bytes, receive_waits;
    _Atomic uint64_t most; /* bytes of the ring that were full when it looked, at most */
} ipcx__shm_counts;

struct ipcx__shm;

/* ipcx__shm_show_begin: the process uses the end from now on. …_sent, …_received: with the tx turn,
 * with the rx turn: what was counted so far. */
void ipcx__shm_show_begin(struct ipcx__shm *self);
void ipcx__shm_show_sent(struct ipcx__shm *self);
void ipcx__shm_show_received(struct ipcx__shm *self);

/* What a stranger gets to see. */
typedef struct ipcx__shm_seen {
    char url[IPCX__SHM_NAME];
    uint64_t ring; /* bytes of each */
    struct {
        uint64_t pid, bye, since, wakes, sent, sent_bytes, send_waits, received, received_bytes;
        uint64_t receive_waits, most;
        uint64_t queued; /* bytes that it has sent and the other has not freed */
    } ends[2];
} ipcx__shm_seen;

/* ipcx__shm_peek: reads, and no more, what `fd` is the memory of. UNSUPPORTED: not of a channel of
 * this version. SYSTEM. */
ipcx_status ipcx__shm_peek(int fd, ipcx__shm_seen *seen, ipcx_error *err);

#endif
