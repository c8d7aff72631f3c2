/* SPDX-License-Identifier: Apache-2.0
 * A channel over a stream of bytes: frames (ipcx/frame.h) over a connected socket, or over the two
 * descriptors of a pipe.
 * Invariant: what was begun is sent to its last byte before anything else; bytes are read ahead,
 * messages are handed out in order. */
#ifndef IPCX_LINK_CHAN_STREAM_H
#define IPCX_LINK_CHAN_STREAM_H

#include "link/chan.h"

/* ipcx__chan_stream_make: a channel that owns `read_fd` and `write_fd` (the same number for a
 * socket); they are the caller's still if it fails. Sends nothing yet. */
ipcx_status ipcx__chan_stream_make(ipcx_scheme scheme, int read_fd, int write_fd, const char *url,
                                   const ipcx_chan_options *options, ipcx_chan **chan,
                                   ipcx_error *err);

/* ipcx__chan_stream_attach: puts the options' layer between the channel and its socket, which has
 * `accepted` it or connected, before anything was sent. UNSUPPORTED: there is none in the options.
 */
ipcx_status ipcx__chan_stream_attach(ipcx_chan *chan, bool accepted, ipcx_error *err);

/* ipcx__chan_stream_session: the layer's; NULL: there is no layer. */
void *ipcx__chan_stream_session(const ipcx_chan *chan);

/* ipcx__chan_stream_secure: waits for the handshake of the layer of an end that has connected to
 * `port`; not where the listener is of this very process, and its accept sees to both sides. */
ipcx_status ipcx__chan_stream_secure(ipcx_chan *chan, int port, ipcx_deadline deadline,
                                     ipcx_error *err);

/* ipcx__chan_stream_interrupted: whether a signal that came within the layer wants its handlers run
 * by this thread; it is told once. */
bool ipcx__chan_stream_interrupted(ipcx_chan *chan);

/* ipcx__chan_stream_is_stuck: its handshake waits for room to send. */
bool ipcx__chan_stream_is_stuck(ipcx_chan *chan);

/* ipcx__chan_stream_greet: sends our HELLO if that has not been done; never waits, does not make
 * this process the end's owner. The first send or receive would do it too. */
ipcx_status ipcx__chan_stream_greet(ipcx_chan *chan, ipcx_error *err);

/* ipcx__chan_stream_shake: greets and reads, without waiting, until the peer's HELLO is there. OK:
 * it is. AGAIN: not yet. EOF, < 0: it never will be. Does not make this process the owner. */
ipcx_status ipcx__chan_stream_shake(ipcx_chan *chan, ipcx_error *err);

/* ipcx__chan_stream_guard: from now on, and before it greets: its peer must prove that it has
 * `key`, and so does it. NOMEM, SYSTEM. */
ipcx_status ipcx__chan_stream_guard(ipcx_chan *chan, bool listens, const void *key, size_t size,
                                    ipcx_error *err);

/* ipcx__chan_stream_unproven: of any channel: a send would wait for its peer's proof. */
bool ipcx__chan_stream_unproven(const ipcx_chan *chan);

/* ipcx__chan_stream_offer: a connector's end, before it greets: a listener of this very process may
 * help its proof on, so that connect and accept may follow each other in one thread.
 * ipcx__chan_stream_help: does so, for all of them; never waits. True: one has moved on. */
void ipcx__chan_stream_offer(ipcx_chan *chan);
bool ipcx__chan_stream_help(void);

/* ipcx__chan_stream_fd: the descriptor it reads from; -1 once it is closed. */
int ipcx__chan_stream_fd(const ipcx_chan *chan);

#endif
