/* SPDX-License-Identifier: Apache-2.0
 * A channel over UDP: one frame a datagram. What is lost is lost, and counted; nothing comes twice.
 * Each end is a connected socket of its own, also those a listener hands out, so that the kernel
 * tells peers apart and each has its own buffer.
 * Invariant: nothing that comes in a datagram is an error for the program: what cannot be read, or
 * is from somebody else, is counted and dropped. */
#ifndef IPCX_LINK_CHAN_DGRAM_H
#define IPCX_LINK_CHAN_DGRAM_H

#include "ipcx/addr.h"
#include "link/chan.h"

/* How a socket and its peer belong together. */
typedef struct ipcx__dgram_role {
    uint64_t epoch, peer; /* ours, and the peer's; 0: learn it from what answers ours */
    bool accepted;        /* the peer may not know our epoch yet */
    bool group;           /* multicast: numbers begin anywhere */
    bool sends, receives;
} ipcx__dgram_role;

/* ipcx__dgram_epoch: a random number that is not 0. */
ipcx_status ipcx__dgram_epoch(uint64_t *epoch, ipcx_error *err);

/* ipcx__chan_dgram_make: an end over `fd`, a connected, non-blocking UDP socket, which it takes,
 * or leaves if it fails. */
ipcx_status ipcx__chan_dgram_make(int fd, const ipcx__dgram_role *role, const char *url,
                                  const ipcx_chan_options *options, ipcx_chan **chan,
                                  ipcx_error *err);

/* ipcx__chan_dgram_feed: a datagram that came in another way; copied. For an end that nobody has
 * yet. ipcx__chan_dgram_say: PING or PONG to the peer, if it can be sent now. */
void ipcx__chan_dgram_feed(ipcx_chan *chan, const void *bytes, size_t size);
void ipcx__chan_dgram_say(ipcx_chan *chan, int type);

/* ipcx__chan_dgram_refused: whether it is known by now that nobody is there. */
bool ipcx__chan_dgram_refused(ipcx_chan *chan);

/* ipcx__chan_dgram_connect, …_pair: as ipcx_connect and ipcx_pair. */
ipcx_status ipcx__chan_dgram_connect(const ipcx_url *url, const char *text,
                                     const ipcx_chan_options *options, ipcx_chan **chan,
                                     ipcx_error *err);
ipcx_status ipcx__chan_dgram_pair(const char *url, const ipcx_chan_options *options, ipcx_chan **a,
                                  ipcx_chan **b, ipcx_error *err);

/* ipcx__chan_dgram_is_note: whether the 32 bytes are a note of such an end; then the other two are
 * for it: as ipcx__end_check, and as ipcx_chan_import. */
bool ipcx__chan_dgram_is_note(const void *note);
ipcx_status ipcx__chan_dgram_check(const void *note, const int *fds, int count, ipcx_error *err);
ipcx_status ipcx__chan_dgram_import(const ipcx_chan_end *end, ipcx_chan **chan, ipcx_error *err);

#endif
