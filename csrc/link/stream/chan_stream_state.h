/* SPDX-License-Identifier: Apache-2.0
 * A stream channel from within: what the files chan_stream_*.c share.
 *
 *     sender ──▶ send_turn ──▶ tx: [owed bytes][the message that is midway][frames after it] ──▶ fd
 *     fd ──▶ pump: decoder ──▶ front message │ inbox (copies, while a SYNC sender waits) ──▶
 * rx_turn
 *
 * Order of locks: send_turn · rx_turn · pump · tx · guard. The two mutexes are never held while
 * sleeping, and no turn is waited for with the deadline IPCX_NOW.
 * Invariant: the bytes of a frame follow each other on the wire; messages leave in the order in
 * which they came, those of the inbox before the front one, that before what is in the decoder. */
#ifndef IPCX_LINK_CHAN_STREAM_STATE_H
#define IPCX_LINK_CHAN_STREAM_STATE_H

#include <pthread.h>
#include <sys/uio.h>

#include "ipcx/buf.h"
#include "ipcx/frame.h"
#include "ipcx/layer.h"
#include "link/stream/chan_stream.h"
#include "link/stream/guest.h"
#include "os/turn.h"
#include "wire/proof.h"

/* As long as so many bytes of our own frames are owed nothing more is read: a peer that asks for
 * answers and does not take them gets no more of our memory. */
#define IPCX__CONTROL_MOST ((size_t)65536)

/* How a descriptor is kept from blocking us. */
typedef enum ipcx__way {
    IPCX__WAY_NONE,   /* there is no descriptor: a pipe in one direction */
    IPCX__WAY_SOCKET, /* MSG_DONTWAIT in each call */
    IPCX__WAY_OWN,    /* O_NONBLOCK in an open file of our own */
    IPCX__WAY_SHARED  /* others have the open file too: poll(2) first, then a little */
} ipcx__way;

/* A message that was received before anybody asked for it. */
typedef struct ipcx__parcel {
    struct ipcx__parcel *next;
    ipcx_frame frame; /* its payload behind this struct */
    int fds[IPCX__END_FDS], fd_count;
} ipcx__parcel;

typedef struct ipcx__stream {
    ipcx_chan chan; /* first */
    int read_fd, write_fd;
    ipcx__way read_way, write_way;
    bool is_unix;
    bool blocks;           /* a socket of our own without O_NONBLOCK: reading may sleep there */
    bool puts;             /* sending a little is one system call, which cannot block */
    bool raises_sigpipe;   /* a pipe, in a process that does not ignore SIGPIPE */
    _Atomic bool closing;  /* goodbye is being said */
    _Atomic bool said_bye; /* … and its frame has begun to leave */
    _Atomic bool greeted;  /* our HELLO is on its way */

    /* What is between the frames and the socket: chan_stream_layer.c. */
    const ipcx_layer *layer; /* NULL: nothing */
    void *session;
    ipcx_buf sealed;    /* tx's: on its way out, goes before anything else */
    ipcx__guest guest;  /* of a listener in this process, until then */
    _Atomic bool ready; /* its handshake is done: what is owed can be sealed */
    _Atomic bool holds; /* it has bytes for pump that no descriptor shows */
    bool finished;      /* tx's: our end was sealed: nothing is opened any more */
    /* A signal came within it, in this thread (0: none): where that would sleep it returns INTR. */
    _Atomic uintptr_t interrupted;
    ipcx_status refused; /* pump's: < 0: what it said of what came */

    /* Sending. */
    ipcx__turn send_turn;
    pthread_mutex_t tx;       /* guards what follows */
    ipcx_buf owed;            /* goes out before anything else */
    ipcx_buf after;           /* frames of ours for when the message that is midway is out */
    bool midway;              /* a sender's message is out in part, the sender sees to the rest */
    bool flushing;            /* who has send_turn waits for room and sends what is owed */
    bool hides_in, shows_out; /* what the epoll descriptor heeds */
    size_t control;           /* bytes of our own frames among those owed */
    uint64_t out;             /* bytes sent so far */
    uint64_t message_end;     /* where in that count the last message begun ends */
    ipcx_status broken;       /* < 0: nothing can be sent any more */
    ipcx_error broken_error;  /* why */
    uint8_t *scratch;         /* of who has send_turn */
    _Atomic uint64_t tickets, acked; /* SYNC messages sent, and how many of them were received */
    _Atomic size_t largest;          /* the longest message sent before the peer's HELLO */

    /* Receiving. */
    ipcx__turn rx_turn;   /* who takes out messages; kept while one is lent */
    ipcx__turn pump;      /* who reads; kept while the front message is lent */
    ipcx_decoder decoder; /* pump's, and all down to `inbox` */
    ipcx_frame front;     /* the message to come, if has_front */
    _Atomic bool has_front;
    int front_fds[IPCX__END_FDS], front_fd_count;
    int fds[IPCX__END_FDS], fd_count; /* came, and no frame has claimed them yet */
    bool waits_first;      /* the last receive had to wait: no vain try before the next */
    _Atomic bool heard;    /* the peer's HELLO is there, and its proof where there is a key */
    ipcx__proof *proof;    /* as long as the peer has not proven that it has the key */
    _Atomic bool unproven; /* the same, for who has not pump */
    ipcx__own offered;     /* in the list of those that a listener in this process helps on */
    _Atomic size_t peer_limit;
    _Atomic int over; /* EOF or < 0: what comes after the last message, for good */
    ipcx_error over_error;
    _Atomic bool over_told; /* a caller has heard of it */

    pthread_mutex_t guard; /* of the inbox and of the bell */
    ipcx__parcel *inbox, **inbox_last;
    _Atomic size_t inbox_count, inbox_bytes;
    ipcx__turn room;            /* told when the inbox has room again */
    ipcx__parcel *out_of_inbox; /* rx_turn's: lent */
    bool lends_front;           /* the same, of the front message */

    /* Being woken: chan_stream_wait.c. */
    int nudge;           /* eventfd: wakes who sleeps in `pump`; -1 until needed */
    _Atomic bool asleep; /* somebody does */
    int epoll, bell;     /* fileno(); -1 until asked for */
    _Atomic bool watched;
    bool bell_is_up, always_readable;

    /* Over TCP, the peer's host: chan_stream_vigil.c. */
    _Atomic ipcx_deadline look_at; /* 0: not yet set */
    _Atomic int64_t silent;        /* not 0: it has vanished, after so many nanoseconds */
    _Atomic int timer;             /* in `epoll`: rings when a look is due; -1: none */
} ipcx__stream;

static inline ipcx__stream *ipcx__stream_of(ipcx_chan *chan)
{
    return (ipcx__stream *)(void *)chan;
}

/* Under tx: whether a message may be the next to leave. */
static inline bool ipcx__stream_is_clear(const ipcx__stream *self)
{
    return self->layer == NULL && ipcx_buf_len(&self->owed) == 0 &&
           ipcx_buf_len(&self->after) == 0 && !self->midway && self->broken == IPCX_OK;
}

static inline bool ipcx__stream_is_over(ipcx__stream *self)
{
    return atomic_load(&self->over) != 0;
}

#endif
