/* SPDX-License-Identifier: Apache-2.0
 * A listener at a UDP port: tells newcomers by their address and epoch, keeps what they sent until
 * they are accepted, and then gives each a socket of its own, bound to the same port and connected,
 * so that from then on the kernel tells them apart.
 * Invariant: strangers fill a bounded table; a descriptor is spent only on who is accepted. */
#ifndef IPCX_LINK_DGRAM_LISTEN_H
#define IPCX_LINK_DGRAM_LISTEN_H

#include "ipcx/connect.h"
#include "ipcx/gate.h"
#include "ipcx/url.h"
#include "link/address/dial.h"

typedef struct ipcx__dgram_listener ipcx__dgram_listener;

/* ipcx__dgram_resolve: as ipcx__tcp_resolve, for udp: `text` is the URL. */
ipcx_status ipcx__dgram_resolve(const ipcx_url *url, const char *text, bool listening,
                                ipcx__addresses *found, ipcx_error *err);

/* ipcx__dgram_listen_begin: one without a descriptor; `text` and `options` stay the caller's.
 * ipcx__dgram_listen: opens it; the real port is put into `text`, of IPCX_URL_MAX bytes. On failure
 * it is to be shut all the same. */
ipcx_status ipcx__dgram_listen_begin(const ipcx_url *url, const char *text,
                                     const ipcx_chan_options *options, ipcx__dgram_listener **made,
                                     ipcx_error *err);
ipcx_status ipcx__dgram_listen(ipcx__dgram_listener *self, char *text, ipcx_error *err);

/* ipcx__dgram_accept, ipcx__dgram_listener_fileno, …_count: as in ipcx/connect.h; inside `gate`. */
ipcx_status ipcx__dgram_accept(ipcx__dgram_listener *self, ipcx_gate *gate, ipcx_chan **chan,
                               ipcx_deadline deadline, ipcx_error *err);
int ipcx__dgram_listener_fileno(const ipcx__dgram_listener *self);
void ipcx__dgram_count(ipcx__dgram_listener *self, ipcx_listener_stats *stats);

/* ipcx__dgram_empty: says BYE to who waits. ipcx__dgram_shut: closes the descriptors; also what an
 * at-fork handler calls. ipcx__dgram_free: the memory. */
void ipcx__dgram_empty(ipcx__dgram_listener *self);
void ipcx__dgram_shut(ipcx__dgram_listener *self);
void ipcx__dgram_free(ipcx__dgram_listener *self);

#endif
