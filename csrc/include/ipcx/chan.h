/* SPDX-License-Identifier: Apache-2.0
 * A channel: whole messages, in order, between two ends. The same verbs over every transport, so
 * that a pattern (request-reply, a queue, publish-subscribe) is written once.
 *
 *     ipcx_chan *a, *b;
 *     ipcx_message hello = {.data = "hello", .size = 5, .flags = IPCX_MESSAGE_TEXT}, got;
 *     if (ipcx_pair("unix://", NULL, &a, &b, &err) == IPCX_OK &&
 *         ipcx_chan_send(a, &hello, IPCX_FOREVER, NULL, &err) == IPCX_OK &&
 *         ipcx_chan_receive(b, &got, IPCX_FOREVER, &err) == IPCX_OK) {
 *         … got.data, got.size …                    lent: nobody else receives from b meanwhile
 *         ipcx_chan_release(b, &got);
 *     }
 *
 * One deadline a call: IPCX_NOW polls, IPCX_FOREVER waits. Any number of threads may use an end;
 * each direction is independent. Answers of every verb that may wait: AGAIN (IPCX_NOW, and it would
 * have had to wait) · TIMEOUT · INTR (run the signal handlers, call again with the same deadline) ·
 * EOF (the peer has said goodbye, and all it had sent was received). Failures of every verb: CLOSED
 * · FORKED (another process used this end first) · PEER_CLOSED (a send after the peer's goodbye) ·
 * PEER_DIED (it or its host has gone) · PROTOCOL … (what it sent: broken for good) · NOMEM, SYSTEM.
 * Invariant: a message arrives whole or not at all, and never twice. */
#ifndef IPCX_CHAN_H
#define IPCX_CHAN_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ipcx_chan ipcx_chan; /* one end; made by connect.h and listener.h */

/* Flags of a message. */
#define IPCX_MESSAGE_TEXT 0x1u   /* the data are UTF-8; checked at both ends */
#define IPCX_MESSAGE_SYNC 0x2u   /* send: return when the receiver has received (rendezvous) */
#define IPCX_MESSAGE_OBJECT 0x4u /* inproc://: `data` is the object itself, size 0 */
#define IPCX_MESSAGE_END 0x8u    /* unix://: an end to hand over; `data` is an ipcx_chan */

/* One message. */
typedef struct ipcx_message {
    const void *data;
    size_t size; /* bytes */
    unsigned flags;
    uint64_t ticket; /* the channel's own, from receive to release */
} ipcx_message;

/* How far a send has come; {0} at first. Give the same one again after INTR or TIMEOUT to go on
 * with that message: it is not sent twice. Without one (NULL) the wait goes on after a signal. */
typedef struct ipcx_sending {
    int begun;       /* the channel has it and will send it all: forget it or wait */
    uint64_t ticket; /* the channel's own: which ACK ends a SYNC send */
    size_t taken;    /* send_many: so many messages are done with, a begun one among them */
} ipcx_sending;

/* ipcx_chan_send: one message; returns when the transport has taken all of it (SYNC: when the
 * receiver has received it). The data are borrowed until it returns; what a timed-out call has
 * begun, the channel keeps a copy of and sends it before anything else. An OBJECT that was taken
 * belongs to the channel. TOO_LARGE: over the limit, nothing sent. UNSUPPORTED: a flag this
 * transport cannot do. INVALID: a text that is no UTF-8. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_send(ipcx_chan *chan, const ipcx_message *message,
                                                   ipcx_deadline deadline, ipcx_sending *sending,
                                                   ipcx_error *err);

/* ipcx_chan_send_many: `count` messages with as few system calls as possible, none of them SYNC.
 * sending->taken counts them on in every outcome; `sending` is required. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_send_many(ipcx_chan *chan,
                                                        const ipcx_message *messages, size_t count,
                                                        ipcx_deadline deadline,
                                                        ipcx_sending *sending, ipcx_error *err);

/* ipcx_chan_receive, ipcx_chan_release: the next message, lent until its release, which must follow
 * each OK, soon and in the same thread, and lets a SYNC sender go. An OBJECT or END in it is the
 * caller's to keep. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_receive(ipcx_chan *chan, ipcx_message *message,
                                                      ipcx_deadline deadline, ipcx_error *err);
IPCX_API void ipcx_chan_release(ipcx_chan *chan, ipcx_message *message);

/* ipcx_chan_poll: OK: receive would not wait (a message, the end, or an error is there). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_poll(ipcx_chan *chan, ipcx_deadline deadline,
                                                   ipcx_error *err);

/* ipcx_chan_flush: waits until all that was begun is sent, and the proof of a key is done. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_flush(ipcx_chan *chan, ipcx_deadline deadline,
                                                    ipcx_error *err);

/* ipcx_chan_fileno, ipcx_chan_send_fileno: a descriptor, the channel's own, that poll(2) shows as
 * readable whenever receive would not wait (now and then also when it would: try with IPCX_NOW);
 * one that is writable when a send is worth another try after AGAIN. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_fileno(ipcx_chan *chan, int *fd, ipcx_error *err);
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_send_fileno(ipcx_chan *chan, int *fd,
                                                          ipcx_error *err);

/* ipcx_chan_close: says goodbye and closes; idempotent. What was begun is sent first, as long as
 * the deadline allows (IPCX_NOW: what can be sent at once). TIMEOUT: closed all the same, *unsent
 * messages (may be NULL) were lost. Calls that wait in other threads return CLOSED. An end never
 * used here that another process may have is let go of without goodbye. INTR: not closed yet. */
IPCX_API ipcx_status ipcx_chan_close(ipcx_chan *chan, ipcx_deadline deadline, size_t *unsent,
                                     ipcx_error *err);
/* ipcx_chan_free: closes it with IPCX_NOW if need be; nobody may still use it. NULL is allowed. */
IPCX_API void ipcx_chan_free(ipcx_chan *chan);

/* What passed through this end, as it saw it. Of datagrams alone: messages that did not come, or
 * after a later one; datagrams that came again, were not this peer's, found no room in a buffer. */
typedef struct ipcx_chan_stats {
    uint64_t sent, sent_bytes, received, received_bytes; /* messages taken, handed out; payload */
    uint64_t send_waits, receive_waits;                  /* how often a call had to sleep */
    uint64_t timeouts, owed; /* calls that ended with TIMEOUT; bytes begun and not sent, now */
    uint64_t lost, reordered, duplicates, dropped, overflowed;
} ipcx_chan_stats;
/* ipcx_chan_get_stats: how it stands. Any time. */
IPCX_API void ipcx_chan_get_stats(ipcx_chan *chan, ipcx_chan_stats *stats);

/* ipcx_chan_unreceived: *count messages its peer did not receive yet. UNSUPPORTED: not inproc. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_unreceived(ipcx_chan *chan, uint64_t *count,
                                                         ipcx_error *err);

/* ipcx_chan_url, ipcx_chan_error_offset, ipcx_chan_max_message: what it was connected to or
 * accepted from, of a pair the scheme; after PROTOCOL and its like, which byte of what came is
 * wrong; the longest message this end takes, and may send as far as is known. Any time. */
IPCX_API const char *ipcx_chan_url(const ipcx_chan *chan);
IPCX_API uint64_t ipcx_chan_error_offset(const ipcx_chan *chan);
IPCX_API void ipcx_chan_max_message(ipcx_chan *chan, size_t *receive, size_t *send);

/* An end on its way to another process of this host, by fork, exec or SCM_RIGHTS. */
typedef struct ipcx_chan_end {
    int fds[4];
    int count;              /* descriptors in `fds`: 1 to 4 */
    unsigned char note[32]; /* kind, limits, how far the handshake is; the same on every machine */
} ipcx_chan_end;

/* ipcx_chan_export: describes an end that nobody has used yet. Its descriptors stay the channel's:
 * duplicate them before it is freed. From now on its use here answers FORKED. INVALID: it was used.
 * UNSUPPORTED: an end that cannot leave the process (inproc). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_export(ipcx_chan *chan, ipcx_chan_end *end,
                                                     ipcx_error *err);

/* ipcx_chan_import: makes the end anew and takes its descriptors; on failure they stay the
 * caller's. PROTOCOL: a note that export did not write, or descriptors of another kind. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_chan_import(const ipcx_chan_end *end, ipcx_chan **chan,
                                                     ipcx_error *err);

#ifdef __cplusplus
}
#endif

#endif
