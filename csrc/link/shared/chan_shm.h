/* SPDX-License-Identifier: Apache-2.0
 * A channel over shared memory: two rings in a sealed memfd, an eventfd for each end to be woken
 * by, and a Unix socket that says when the peer has gone.
 * Invariant: a message is in the ring from the instant it is sent; what an end had committed is
 * received, whatever becomes of it. */
#ifndef IPCX_LINK_CHAN_SHM_H
#define IPCX_LINK_CHAN_SHM_H

#include "link/chan.h"

/* ipcx__chan_shm_pair: two connected ends. EXHAUSTED, NOMEM, SYSTEM. */
ipcx_status ipcx__chan_shm_pair(const char *url, const ipcx_chan_options *options, ipcx_chan **a,
                                ipcx_chan **b, ipcx_error *err);

/* ipcx__chan_shm_connect: the connector's end over a connected, non-blocking Unix socket: makes the
 * memory and sends it; never waits for the acceptor. Takes `fd`, or leaves it if it fails. */
ipcx_status ipcx__chan_shm_connect(int fd, const char *url, const ipcx_chan_options *options,
                                   ipcx_chan **chan, ipcx_error *err);

/* ipcx__chan_shm_accept: the acceptor's end, as ipcx__chan_stream_make: takes `fd`, sends and reads
 * nothing yet. ipcx__chan_shm_shake: reads what the connector has sent, checks and maps it. OK: the
 * channel is ready. AGAIN: nothing came yet. EOF, < 0: nothing that could be used ever will. */
ipcx_status ipcx__chan_shm_accept(int fd, const char *url, const ipcx_chan_options *options,
                                  ipcx_chan **chan, ipcx_error *err);
ipcx_status ipcx__chan_shm_shake(ipcx_chan *chan, ipcx_error *err);

/* ipcx__chan_shm_is_note: whether the 32 bytes are a note of such an end; then the other two are
 * for it: as ipcx__end_check, and as ipcx_chan_import. */
bool ipcx__chan_shm_is_note(const void *note);
ipcx_status ipcx__chan_shm_check(const void *note, const int *fds, int count, ipcx_error *err);
ipcx_status ipcx__chan_shm_import(const ipcx_chan_end *end, ipcx_chan **chan, ipcx_error *err);

#endif
