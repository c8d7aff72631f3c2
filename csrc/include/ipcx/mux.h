/* SPDX-License-Identifier: Apache-2.0
 * Many peers, one wait: a server's side of channels. Whoever connects with ipcx_connect is served;
 * messages are pulled, a batch at a time, by whoever asks for them.
 *
 *     ipcx_mux_open(&url, 1, NULL, &mux, &err)
 *     while (ipcx_mux_next(mux, &events, &count, IPCX_FOREVER, &err) == IPCX_OK) {
 *         for (size_t i = 0; i < count; i++)
 *             if (events[i].kind == IPCX_MUX_MESSAGE)
 *                 ipcx_mux_send(events[i].peer, &events[i].message, IPCX_NOW, &err);
 *         ipcx_mux_release(mux);
 *     }
 *
 * No thread of its own: what is to be done for peers is done inside next. Any number of threads may
 * send; those that call next take turns, from its OK to release. Answers as in ipcx/chan.h.
 * Invariant: what a peer makes us keep is bounded: an idle one nothing, one midway in a message
 * what has come, one that does not read max_backlog. Who stalls or breaks the rules is dropped
 * alone. */
#ifndef IPCX_MUX_H
#define IPCX_MUX_H

#include "ipcx/chan.h"
#include "ipcx/connect.h"
#include "ipcx/url.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ipcx_mux ipcx_mux;           /* made by ipcx_mux_open */
typedef struct ipcx_mux_peer ipcx_mux_peer; /* who has connected to it */

/* What a send does when max_backlog bytes wait for that peer already. */
typedef enum ipcx_mux_full {
    IPCX_MUX_DISCONNECT = 0, /* drops the peer: PEER_CLOSED */
    IPCX_MUX_BLOCK,          /* waits for room until the deadline */
    IPCX_MUX_ERROR,          /* AGAIN: not sent */
    IPCX_MUX_DROP_NEWEST,    /* AGAIN: not sent, and counted as dropped */
    IPCX_MUX_DROP_OLDEST     /* OK: the oldest that have not begun are dropped, and counted */
} ipcx_mux_full;

/* NULL or a zero is the default. Times are nanoseconds. */
typedef struct ipcx_mux_options {
    ipcx_chan_options
        channel;      /* max_message, max_backlog (a peer), checksum, insecure, backlog … */
    size_t max_peers; /* handshakes count: 10 000 */
    ipcx_mux_full on_full;
    int64_t idle_timeout;     /* who sends nothing for so long is dropped: never */
    int64_t progress_timeout; /* a message that has begun is whole by then, or at least 4 KiB more
                                 of it have come: 30 s */
    int64_t close_timeout;    /* what ipcx_mux_peer_close leaves a peer to hear it: 5 s */
    size_t max_memory; /* of all peers together, for what has half come and what waits to be sent;
                          beyond it whoever takes most is dropped: 1 GiB, or a quarter of what the
                          machine has where that is less */
    int private_stats; /* `ipcx top` is told nothing (docs/protocol.md, Questions) */
} ipcx_mux_options;

/* ipcx_mux_open, ipcx_mux_url: listens at `count` URLs (tcp, unix; tls, with channel.layer) and
 * belongs to this process; answers as ipcx_listen. url: the real one at `index`, NULL behind the
 * last. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mux_open(const char *const *urls, size_t count,
                                                  const ipcx_mux_options *options, ipcx_mux **mux,
                                                  ipcx_error *err);
IPCX_API const char *ipcx_mux_url(const ipcx_mux *mux, size_t index);

/* What has happened. */
typedef enum ipcx_mux_kind {
    IPCX_MUX_JOINED = 1, /* the handshake is done: a peer's first event */
    IPCX_MUX_MESSAGE,
    IPCX_MUX_LEFT /* its last event; `why` */
} ipcx_mux_kind;
/* … and to whom. */
typedef struct ipcx_mux_event {
    ipcx_mux_kind kind;
    ipcx_status why; /* LEFT: OK closed here · EOF it said goodbye · PEER_DIED · TIMEOUT (silent, or
                        too slow in sending) · EXHAUSTED (it did not read) · PROTOCOL … */
    ipcx_mux_peer *peer;
    ipcx_message message; /* flags TEXT, SYNC: its sender waits for ipcx_mux_taken */
} ipcx_mux_event;

/* ipcx_mux_next, ipcx_mux_release: what has happened, in order for each peer; lent until release,
 * which must follow each OK, in the same thread; CLOSED after close. Where there is no descriptor
 * for a new peer, nor a silent one's to take, nobody is accepted for a tenth of a second. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mux_next(ipcx_mux *mux, const ipcx_mux_event **events,
                                                  size_t *count, ipcx_deadline deadline,
                                                  ipcx_error *err);
IPCX_API void ipcx_mux_release(ipcx_mux *mux);

/* ipcx_mux_nudge: who waits in next, or the next to do so, comes back with INTR. */
IPCX_API void ipcx_mux_nudge(ipcx_mux *mux);
/* ipcx_mux_taken: the program has a SYNC message: its sender is let go. In their order. */
IPCX_API void ipcx_mux_taken(ipcx_mux_peer *peer, const ipcx_message *message);

/* ipcx_mux_send: sends or queues a copy; waits only with IPCX_MUX_BLOCK. Flags: TEXT. PEER_CLOSED,
 * PEER_DIED: the peer has gone, or goes now: what it did not read was too much, or the message is
 * over the limit that it named, though not over ours. TOO_LARGE: over both. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mux_send(ipcx_mux_peer *peer, const ipcx_message *message,
                                                  ipcx_deadline deadline, ipcx_error *err);

/* ipcx_mux_broadcast: to all that have joined but `except` (may be NULL); never waits: with BLOCK,
 * too, who has no room is passed over, and it is counted as dropped. *sent: to how many. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mux_broadcast(ipcx_mux *mux, const ipcx_message *message,
                                                       const ipcx_mux_peer *except, size_t *sent,
                                                       ipcx_error *err);

/* ipcx_mux_peer_close: what is queued goes out, then goodbye; from now on no message of its comes
 * and none can be sent. Never waits: next sees to it. */
IPCX_API void ipcx_mux_peer_close(ipcx_mux_peer *peer);
/* ipcx_mux_peer_keep, ipcx_mux_peer_drop, ipcx_mux_peer_set_user, ipcx_mux_peer_user: a peer is
 * there until the batch with its LEFT is released, and as long as somebody keeps it (never longer
 * than the mux); `user` is the program's. */
IPCX_API void ipcx_mux_peer_keep(ipcx_mux_peer *peer);
IPCX_API void ipcx_mux_peer_drop(ipcx_mux_peer *peer);
IPCX_API void ipcx_mux_peer_set_user(ipcx_mux_peer *peer, void *user);
IPCX_API void *ipcx_mux_peer_user(const ipcx_mux_peer *peer);

/* ipcx_mux_fileno: readable when next is worth a try; the mux's own. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mux_fileno(ipcx_mux *mux, int *fd, ipcx_error *err);

/* ipcx_mux_close, ipcx_mux_free: stops listening, sends what is queued and a goodbye to each peer.
 * TIMEOUT: closed all the same, *unsent messages (may be NULL) were lost. INTR: call again. Threads
 * in other calls return CLOSED. free closes with IPCX_NOW if need be; NULL is allowed. */
IPCX_API ipcx_status ipcx_mux_close(ipcx_mux *mux, ipcx_deadline deadline, size_t *unsent,
                                    ipcx_error *err);
IPCX_API void ipcx_mux_free(ipcx_mux *mux);

#ifdef __cplusplus
}
#endif

#endif
