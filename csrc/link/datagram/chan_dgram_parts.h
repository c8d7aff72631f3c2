/* SPDX-License-Identifier: Apache-2.0
 * What the files of the datagram channel share.
 *
 *     chan_dgram.c          making, exporting, closing an end; the table
 *     chan_dgram_send.c     sending          chan_dgram_many.c      many at once
 *     chan_dgram_receive.c  receiving, polling, waiting
 *     chan_dgram_read.c     the socket's datagrams, judged          chan_dgram_sync.c   rendezvous
 *
 * Locks: tx is the turn to send, held for a system call; rx is the turn to read the socket and what
 * was read, held also while a message is lent; `lock` guards the messages whose ACK is awaited.
 * Order: rx, then `lock`; tx, then `lock`. Nobody sleeps with any of them.
 * Invariant: a number is used up only by a datagram that the kernel has taken. */
#ifndef IPCX_LINK_CHAN_DGRAM_PARTS_H
#define IPCX_LINK_CHAN_DGRAM_PARTS_H

#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "link/chan.h"
#include "link/datagram/chan_dgram.h"
#include "link/datagram/track.h"
#include "os/turn.h"
#include "wire/datagram.h"

#define IPCX__DGRAM_BATCH 32 /* datagrams of one system call */
#define IPCX__DGRAM_SYNCS 64 /* messages that may await their ACK */

/* A message that was copied aside. */
typedef struct ipcx__dgram_kept {
    struct ipcx__dgram_kept *next;
    ipcx__datagram frame; /* its payload is `bytes` */
    uint8_t bytes[];
} ipcx__dgram_kept;

/* What recvmmsg(2) filled in last; made when it is needed. */
typedef struct ipcx__dgram_batch {
    struct mmsghdr headers[IPCX__DGRAM_BATCH];
    struct iovec pieces[IPCX__DGRAM_BATCH];
    ipcx__datagram frames[IPCX__DGRAM_BATCH];
    uint8_t rooms[IPCX__DGRAM_BATCH][IPCX__DATAGRAM_MAX + 1]; /* a byte more: too long is seen */
} ipcx__dgram_batch;

/* A message that awaits its ACK, as it was sent. */
typedef struct ipcx__dgram_sync {
    uint64_t sequence; /* 0: free */
    bool received;
    uint8_t *datagram;
    size_t size;
    int64_t pause;
    ipcx_deadline again; /* when it is sent again */
} ipcx__dgram_sync;

typedef struct ipcx__dgram {
    ipcx_chan head;
    ipcx__dgram_role role;      /* `peer` by ipcx__dgram_peer alone */
    int fd, epoll, bell, timer; /* -1: not there (yet), or closed */
    _Atomic uint64_t peer;
    _Atomic bool heard;   /* the peer has sent something */
    _Atomic int over;     /* IPCX_OK, IPCX_EOF, IPCX_PEER_DIED */
    _Atomic bool nobody;  /* the kernel said so; what came before is still to be read */
    _Atomic bool refused; /* nobody was there yet; to be told once */
    _Atomic bool closing; /* goodbye was said */

    ipcx__turn tx;     /* guards: */
    uint64_t sequence; /* the last one used */
    size_t row_most;   /* longer datagrams are not sent in rows (chan_dgram_many.c) */

    ipcx__turn rx; /* guards the rest of this part, and lasts as long as a message is lent */
    ipcx__dgram_batch *batch;
    int at, count;                   /* what of the batch is left: frames[at … count - 1] */
    ipcx__dgram_kept *first, **last; /* before the batch */
    size_t kept;                     /* bytes of those */
    ipcx__track track;
    uint64_t lent;    /* the lent message's number; 0: none is */
    bool rung, armed; /* the bell, the timer */

    _Atomic bool asked;      /* somebody outside looks at fileno() */
    _Atomic uint32_t asleep; /* threads that sleep for a message, or are about to */

    pthread_mutex_t lock; /* guards: */
    ipcx__dgram_sync syncs[IPCX__DGRAM_SYNCS];
    _Atomic uint32_t awaited; /* how many of them are in use */

    /* For the statistics, as the track has them, and more. */
    _Atomic uint64_t lost, reordered, duplicates, dropped, overflowed;
} ipcx__dgram;

/* ---- chan_dgram_read.c, with the rx turn */
/* Reads what the socket has, once. OK: something; AGAIN; SYSTEM, NOMEM. Where `aside`, messages
 * are copied to the others that wait. */
ipcx_status ipcx__dgram_read(ipcx__dgram *self, bool aside, ipcx_error *err);
bool ipcx__dgram_has(const ipcx__dgram *self); /* a message is there */
/* The next message, and done with it. */
const ipcx__datagram *ipcx__dgram_first(const ipcx__dgram *self);
void ipcx__dgram_drop_first(ipcx__dgram *self);
void ipcx__dgram_drop_all(ipcx__dgram *self);
/* What is done with a datagram. */
void ipcx__dgram_judge(ipcx__dgram *self, const void *bytes, size_t size, bool aside);

/* ---- chan_dgram_receive.c */
ipcx_status ipcx__dgram_receive(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                                ipcx_error *err);
void ipcx__dgram_release(ipcx_chan *chan, ipcx_message *message);
ipcx_status ipcx__dgram_poll(ipcx_chan *chan, ipcx_deadline deadline, ipcx_error *err);
ipcx_status ipcx__dgram_fileno(ipcx_chan *chan, int *fd, ipcx_error *err);
void ipcx__dgram_leave(ipcx__dgram *self); /* gives the rx turn back */
/* Sleeps until something may have come. */
ipcx_status ipcx__dgram_sleep(ipcx__dgram *self, ipcx_deadline deadline, ipcx_error *err);
/* EOF, PEER_DIED or REFUSED, if that is how it stands, with its text. */
ipcx_status ipcx__dgram_over(ipcx__dgram *self, const char *op, ipcx_error *err);

/* ---- chan_dgram_send.c */
/* A datagram as the kernel takes it. */
typedef struct ipcx__dgram_composed {
    uint8_t head[IPCX__DATAGRAM_HEAD], tail[IPCX__DATAGRAM_TAIL];
    struct iovec pieces[3];
} ipcx__dgram_composed;
void ipcx__dgram_compose(const ipcx__datagram *frame, ipcx__dgram_composed *to);
ipcx__datagram ipcx__dgram_describe(const ipcx__dgram *self, const ipcx_message *message,
                                    uint64_t sequence);
/* Whether it may be sent at all; whether there is somebody to send to, as far as is known. */
ipcx_status ipcx__dgram_acceptable(const ipcx__dgram *self, const ipcx_message *message,
                                   ipcx_error *err);
ipcx_status ipcx__dgram_may_send(ipcx__dgram *self, ipcx_error *err);
/* After a send has failed with errno. OK: try again. */
ipcx_status ipcx__dgram_not_sent(ipcx__dgram *self, ipcx_deadline deadline, ipcx_error *err);
ipcx_status ipcx__dgram_send(ipcx_chan *chan, const ipcx_message *message, ipcx_deadline deadline,
                             ipcx_sending *sending, ipcx_error *err);
/* chan_dgram_many.c */
ipcx_status ipcx__dgram_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                                  ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err);
/* A frame of our own without a number, or BYE, if it can be sent now. */
void ipcx__dgram_control(ipcx__dgram *self, ipcx_frame_type type, uint64_t correlation);

/* ---- chan_dgram_sync.c */
ipcx_status ipcx__dgram_begin_sync(ipcx__dgram *self, const ipcx__datagram *frame, ipcx_error *err);
void ipcx__dgram_forget_sync(ipcx__dgram *self, uint64_t sequence);
void ipcx__dgram_acked(ipcx__dgram *self, uint64_t sequence);
/* Sends again what is due; when the next is. */
ipcx_deadline ipcx__dgram_again(ipcx__dgram *self);
ipcx_status ipcx__dgram_await(ipcx__dgram *self, uint64_t sequence, ipcx_deadline deadline,
                              ipcx_error *err);
void ipcx__dgram_end_syncs(ipcx__dgram *self);

#endif
