/* SPDX-License-Identifier: Apache-2.0
 * A layer between a channel and its socket: what turns the channel's bytes into those on the wire,
 * and back. tls:// is a channel over TCP with one; the binding's is OpenSSL's, through Python's
 * ssl.
 *
 *     channel ── plain ──▶ seal ──▶ wire ──▶ socket
 *     channel ◀── plain ── open ◀── wire ◀── socket
 *                            └─ reply: a handshake's next step, an alert ──▶ socket
 *
 * A session is one channel's. Invariant: one function of a session runs at a time, in any thread;
 * none waits for the peer; none runs in a child's at-fork handler, nor while a descriptor is
 * closed.
 *
 * Locks: the channel holds its short mutex (`tx`) and a turn around seal, open and finish. So a
 * layer that needs a lock, the GIL, may take it in there only if nobody waits for a channel with
 * that lock held: the binding lets the GIL go around every call of a channel with a layer. */
#ifndef IPCX_LAYER_H
#define IPCX_LAYER_H

#include <stddef.h>

#include "ipcx/buf.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What came of one step of `open`. */
typedef struct ipcx_layer_opened {
    size_t got;      /* bytes of plain text */
    int ready;       /* the handshake is done: `seal` may be called from now on */
    int more;        /* there may be more plain text without anything new from the wire */
    int interrupted; /* a signal wants its handlers run: who would sleep answers INTR instead */
    size_t inside;   /* bytes that it keeps, of a record, or a handshake, that is not whole */
} ipcx_layer_opened;

/* What a layer does. */
typedef struct ipcx_layer {
    /* begin: a session for a new channel, which was accepted or has connected. INTR, or why not. */
    ipcx_status (*begin)(void *context, int accepted, void **session, ipcx_error *err);
    /* seal: all of `plain`, at most IPCX_LAYER_PIECE bytes, is put at the end of `wire`. OK. INTR:
     * it was, and a signal wants its handlers run. < 0: nothing can be sent any more. */
    ipcx_status (*seal)(void *session, const void *plain, size_t size, ipcx_buf *wire,
                        ipcx_error *err);
    /* open: takes all of `wire` (0 bytes: nothing new came; the connector's handshake begins so),
     * writes at most `room` bytes to `plain`, appends what must be sent to `reply`, whatever it
     * answers. OK: some plain text. MORE: there is none without more from the wire. EOF:
     * the peer has ended its side. INTR: the same again, with nothing new. < 0: over. */
    ipcx_status (*open)(void *session, const void *wire, size_t size, void *plain, size_t room,
                        ipcx_layer_opened *opened, ipcx_buf *reply, ipcx_error *err);
    /* finish: the end of our side, for the peer to know that nothing was cut off. */
    void (*finish)(void *session, ipcx_buf *wire);
    /* end: frees the session. */
    void (*end)(void *session);
} ipcx_layer;

/* The most bytes that are sealed, or handed to `open`, at a time. */
#define IPCX_LAYER_PIECE ((size_t)65536)

#ifdef __cplusplus
}
#endif

#endif
