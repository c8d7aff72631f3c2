/* SPDX-License-Identifier: Apache-2.0
 * A mux from within: what the files mux_*.c share.
 *
 *     epoll ──▶ doors: accept4 ──▶ a peer, greeting
 *           ──▶ peers: recv into the scratch ──▶ decoder ──▶ events, which point into it
 *                                                   └─ half a message: copied, the peer keeps it
 *     send ──▶ the descriptor; what it does not take ──▶ the peer's queue ──▶ when there is room
 *
 * Locks: `turn` (who is inside next, up to release) before `lock` before ipcx__own_lock. `lock`
 * guards peers and lists and is never held while sleeping; events, scratch and decoder are the
 * turn's. Only who has the turn closes a peer's descriptor or takes it out of the lists; others
 * shut it down, and epoll tells.
 * Invariant: a peer is in `peers` exactly as long as its descriptor is open. */
#ifndef IPCX_LINK_MUX_STATE_H
#define IPCX_LINK_MUX_STATE_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "base/process.h"
#include "ipcx/frame.h"
#include "ipcx/mux_info.h"
#include "ipcx/url.h"
#include "link/mux/mux_clock.h"
#include "link/mux/mux_layer.h"
#include "link/mux/mux_queue.h"
#include "os/turn.h"
#include "wire/proof.h"

/* Half a message. */
typedef struct ipcx__held {
    struct ipcx__held *next; /* of those whose message is in the batch */
    size_t size, cap;
    uint8_t bytes[];
} ipcx__held;

typedef enum ipcx__stage {
    IPCX__GREETING, /* its HELLO has not come */
    IPCX__JOINED,
    IPCX__ASKING,  /* it only asks (mux_ask.c): no peer of the program's */
    IPCX__LEAVING, /* closed here: the queue, BYE, its end, then ours */
    IPCX__DOOMED,  /* shut down; to be closed by who has the turn */
    IPCX__GONE     /* its descriptor is closed */
} ipcx__stage;

struct ipcx_mux_peer {
    ipcx_mux *mux;
    int fd;
    uint8_t stage; /* ipcx__stage */
    bool is_unix, joined, asks;
    bool greeted;      /* our HELLO is out, or queued; until then it is in `ungreeted` */
    bool answered;     /* what it has done wrong it shall read: no reset */
    bool greedy;       /* dropped by ipcx__mux_spare */
    bool announced;    /* of a gone one: its LEFT is out, or nobody knew it */
    uint32_t interest; /* what epoll looks for */
    uint32_t pins;     /* sends that wait for room: the descriptor must stay */
    size_t index;      /* in mux->peers */
    _Atomic uint32_t refs;
    _Atomic(void *) user;
    ipcx_mux_peer *next_gone, *next_ungreeted;
    ipcx__wait life;  /* until its HELLO, its next message, or the end of leaving */
    ipcx__wait frame; /* midway in a message; or refused */
    ipcx__wait host;  /* tcp: it has something of ours: until the next look at its host */
    size_t progress;  /* bytes since `frame` began */
    ipcx__held *held;
    size_t missing;  /* bytes its message still lacks, as far as is known */
    uint64_t offset; /* in the stream, of the first byte held */
    ipcx__owed *first, *last;
    size_t owed, control; /* bytes in the queue with their cost; of them frames of our own */
    size_t limit;         /* what the peer takes */
    ipcx__cover *cover;   /* tls; NULL: its bytes are what they are */
    ipcx__proof *proof;   /* as long as it has not proven that it has the key */
    ipcx_status why;
    const char *reason;
    uint64_t id, received, received_bytes, sent, sent_bytes, dropped;
    struct sockaddr_in6 addr; /* tcp: either family */
    int pid;
    unsigned uid;
    uint32_t door;
};

/* One URL. */
typedef struct ipcx__door {
    ipcx_listener *listener;
    ipcx_scheme scheme;
    int fd;
    int guests; /* tls: shows connecting ends of this very process; else -1 */
    bool muted; /* no descriptor was free: not looked at for a moment */
} ipcx__door;

#define IPCX__MUX_READY 256

struct ipcx_mux {
    ipcx__own own; /* first: see mux.c, forked() */
    ipcx_gate gate;
    ipcx__turn turn, closing;
    ipcx_mux_options options; /* filled in */
    uint32_t made_in;
    int owner_pid;
    _Atomic bool closed;
    bool torn;              /* in a child: a thread held `lock` during the fork */
    bool begun;             /* close has begun */
    int epoll, timer, bell; /* bell: eventfd, rung by ipcx_mux_nudge */
    pthread_mutex_t lock;
    ipcx__within within;
    ipcx__door *doors;
    size_t door_count;
    ipcx_mux_peer **peers; /* those with a descriptor */
    size_t peer_count, peer_room;
    ipcx_mux_peer *gone;
    ipcx_mux_peer *ungreeted; /* who joined in this batch; some of them are greeted by now */
    ipcx__waits greeting, idle, midway, leaving;
    ipcx__waits parting;       /* who was refused, beside `leaving`: until the next look at it */
    ipcx__waits rarely, often; /* looks at the hosts of peers */
    ipcx_deadline armed;       /* when the timer rings; IPCX_FOREVER: not at all */
    ipcx_deadline muted_until;
    uint64_t ids;
    _Atomic size_t memory; /* of held and owed, all peers' together, and of `spent` */
    ipcx_mux_stats stats;
    uint8_t hello[IPCX__HELLO_FRAME]; /* without a key the same for everybody */
    size_t hello_size;
    /* The turn's: */
    struct epoll_event *ready;
    int ready_count, ready_at;
    ipcx_decoder decoder;
    uint8_t *scratch;
    size_t scratch_used;
    ipcx__held *spent; /* whose messages are in the batch */
    ipcx_mux_event *events;
    size_t event_count, event_room;
};

#endif
