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

/* ipcx__chan_stream_greet: sends our HELLO if that has not been done; never waits, does not make
 * this process the end's owner. The first send or receive would do it too. */
ipcx_status ipcx__chan_stream_greet(ipcx_chan *chan, ipcx_error *err);

/* ipcx__chan_stream_shake: greets and reads, without waiting, until the peer's HELLO is there. OK:
 * it is. AGAIN: not yet. EOF, < 0: it never will be. Does not make this process the owner. */
ipcx_status ipcx__chan_stream_shake(ipcx_chan *chan, ipcx_error *err);

/* ipcx__chan_stream_fd: the descriptor it reads from; -1 once it is closed. */
int ipcx__chan_stream_fd(const ipcx_chan *chan);

#endif
