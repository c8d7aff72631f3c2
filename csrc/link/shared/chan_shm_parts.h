/* SPDX-License-Identifier: Apache-2.0
 * What the files of the shared-memory channel share: the segment, an end, and who does what.
 *
 *     chan_shm.c          making, exporting, closing an end; the table
 *     chan_shm_meet.c     the segment: made, passed, checked, mapped
 *     chan_shm_send.c, chan_shm_receive.c     what they say; most of it: chan_shm_quick.c
 *     chan_shm_wait.c, chan_shm_bell.c     sleeping and spinning; waking, and who is there
 * Locks: tx and rx are turns (os/turn.h), one a direction, which last as long as a sleep (tx) or a
 * loan (rx); `control`, for a moment, guards late descriptors and the socket's bytes. It comes
 * last. Invariant: nothing in the segment is believed: see ring.h, and `side` below. */
#ifndef IPCX_LINK_CHAN_SHM_PARTS_H
#define IPCX_LINK_CHAN_SHM_PARTS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "link/chan.h"
#include "link/shared/chan_shm_counts.h"
#include "link/shared/ring.h"
#include "os/turn.h"

#define IPCX__SHM_RING_MAX ((size_t)1 << 30)
#define IPCX__SHM_HEAD ((size_t)64 << 10)    /* before the first: a multiple of any page */
#define IPCX__SHM_MESSAGE ((size_t)64 << 20) /* a peer's limit until it says another */

/* Bits of a wait word beside IPCX__RING_DATA and …_SPACE: the socket was filled up, so that
 * send_fileno is not writable; whoever makes room empties it. */
#define IPCX__SHM_FILLED 4u
/* … and how its owner wants to be woken, if not by the bell it shares; they stay. */
#define IPCX__SHM_BY_FUTEX 8u   /* no epoll or eventfd is to be had: futex(2) on the word itself */
#define IPCX__SHM_BY_SOCKET 16u /* it does not trust the peer, or has no bell to share: a byte */
#define IPCX__SHM_FRONT 32u /* with …_DATA: who sleeps wants to see the front of a message, too */

/* What an end says of itself. Both sides write to `waiting`. */
typedef struct ipcx__shm_side {
    _Alignas(128) _Atomic uint32_t waiting;
    _Alignas(128) _Atomic uint32_t user; /* pid of the process that used it first; 0: nobody yet */
    _Atomic uint32_t bye;                /* 1: nothing more will come, and nothing is taken */
    _Atomic uint32_t cpu;                /* where it ran last, plus 1; a hint */
    _Atomic uint64_t max_message;        /* what it takes; 0: not known yet */
} ipcx__shm_side;

/* The first page of the memory; the rings follow at IPCX__SHM_HEAD: ring i is written by end i. */
typedef struct ipcx__shm_segment {
    char magic[8];
    uint32_t version, order; /* byte order: 0x01020304 as its maker writes it */
    uint64_t ring;           /* bytes of each */
    ipcx__shm_side sides[2];
    ipcx__ring_words words[2];
    ipcx__shm_counts counts[2];
    char url[IPCX__SHM_NAME]; /* what its maker connected to */
} ipcx__shm_segment;
#define IPCX__SHM_MAGIC "ipcxshm"
#define IPCX__SHM_VERSION 1u
#define IPCX__SHM_ORDER 0x01020304u

typedef struct ipcx__shm_spin {
    _Atomic unsigned longs;   /* waits in a row that took long */
    _Atomic unsigned skipped; /* waits that were not tried awake */
    uint64_t sent; /* our own cursor at the last wait for data; under the rx turn, as … */
    int64_t since; /* … when it began to stay awake in vain, for a wait that follows; 0 */
} ipcx__shm_spin;

typedef struct ipcx__shm {
    ipcx_chan head;
    unsigned role; /* which end it is: 0 made the segment, or is the pair's first */
    ipcx__shm_segment *segment;
    void *rings[2];
    size_t ring;
    ipcx__shm_side *mine, *theirs;
    int memory, socket, bell, their_bell; /* descriptors; -1: not there yet, or closed */
    bool careful; /* the peer is not trusted: what it wrote is copied first; see connect.h */
    bool alone; /* no bells are shared: ours is made at the first use, and we wake by the socket */
    _Atomic uint32_t begun; /* 0 unused, 1 somebody is at it, 2 this process uses it */
    _Atomic bool gone;      /* the peer's process or socket is no more */
    _Atomic bool closing;   /* goodbye was said */
    _Atomic int64_t looked; /* the coarse time when it was last seen whether the peer is there */

    ipcx__turn tx_turn; /* guards the next six */
    ipcx__ring_tx tx;
    ipcx__shm_spin tx_spin;
    uint64_t tickets, parts_ticket, parts_done; /* of a message that went in part */
    _Atomic uint64_t sent, sent_bytes;
    ipcx__turn space_turn;           /* who sleeps for space, for all who want it */
    _Atomic bool send_asked, polled; /* send_fileno() was; a rendezvous was, with IPCX_NOW */

    ipcx__turn rx_turn; /* guards the rest of this part, and lasts as long as a message is lent */
    ipcx__ring_rx rx;
    ipcx__shm_spin rx_spin;
    ipcx__ring_message held; /* found by poll */
    bool holds;
    _Atomic uint64_t received, received_bytes;
    ipcx_buf text;           /* the copy of a text that was checked */
    ipcx_status failed;      /* what the peer sent was wrong; for good */
    _Atomic bool asked;      /* somebody outside looks at fileno() */
    _Atomic bool unsettled;  /* see ipcx__shm_settle */
    uint64_t seen_head;      /* of the other ring, at the last settling */
    _Atomic uint32_t asleep; /* threads that sleep for data, or are about to */
    _Atomic unsigned vain;   /* wakes for data in a row that were for nothing */

    ipcx__turn control;                /* guards: */
    int data_epoll, space_epoll, ears; /* ears: the socket once more, for what rings there */
    _Atomic bool sleeps_in_slices;     /* there is no epoll: see IPCX__SHM_BY_FUTEX */
    _Atomic int peer;                  /* pidfd of the peer's process */
    _Atomic bool peer_known;           /* it has told, be it that there is none */
} ipcx__shm;

/* Whether an eventfd or epoll is not to be had here at all, rather than just now. */
static inline bool ipcx__shm_refused(int error)
{
    return error == ENOSYS || error == EPERM || error == EACCES;
}

/* Adds under a turn: one writer at a time. */
static inline void ipcx__shm_add(_Atomic uint64_t *to, uint64_t n)
{
    n += atomic_load_explicit(to, memory_order_relaxed);
    atomic_store_explicit(to, n, memory_order_relaxed);
}

/* ---- chan_shm_meet.c */
ipcx_status ipcx__shm_create(ipcx__shm *self, ipcx_error *err); /* memory and both bells */
ipcx_status ipcx__shm_attach(ipcx__shm *self, ipcx_error *err); /* check, map, rings at 0 */
ipcx_status ipcx__shm_hello(ipcx__shm *self, ipcx_error *err);
ipcx_status ipcx__shm_shake(ipcx__shm *self, ipcx_error *err);
/* What a peer or an exporter passed is such memory with rings of `ring` bytes, and two bells. */
ipcx_status ipcx__shm_check(const int *fds, int count, uint64_t ring, size_t most, ipcx_error *err);
/* The end is ours from now on; tells the peer whom to watch. FORKED: another process has it. */
ipcx_status ipcx__shm_begin(ipcx__shm *self, ipcx_error *err);
/* What lies in the socket, with `control`. True: somebody may have rung there. */
bool ipcx__shm_read_socket(ipcx__shm *self);

/* ---- chan_shm_send.c, chan_shm_receive.c: as in ipcx__transport */
extern const struct ipcx__fronts ipcx__shm_fronts;
extern const struct ipcx__quick ipcx__shm_quick; /* chan_shm_quick.c */
void ipcx__shm_show_front(void *end);            /* chan_shm_bell.c: for ipcx__ring_tx */
ipcx_status ipcx__shm_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                           ipcx_sending *sending, ipcx_error *err);
ipcx_status ipcx__shm_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                                ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err);
void ipcx__shm_max_message(ipcx_chan *chan, size_t *receive, size_t *send);
ipcx_status ipcx__shm_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                              ipcx_error *err);
void ipcx__shm_release(ipcx_chan *chan, ipcx_message *message);
ipcx_status ipcx__shm_poll(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err);
ipcx_status ipcx__shm_fileno(ipcx_chan *chan, int *fd, ipcx_error *err);

#endif
