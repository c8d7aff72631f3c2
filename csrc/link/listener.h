/* SPDX-License-Identifier: Apache-2.0
 * A listener whose peers somebody else accepts.
 * Invariant: the descriptor stays the listener's, and so do the path and the port. */
#ifndef IPCX_LINK_LISTENER_H
#define IPCX_LINK_LISTENER_H

#include "ipcx/connect.h"
#include "ipcx/url.h"

/* ipcx__listener_lend: the descriptor to accept from, as long as the listener is open; its own
 * accept hears of nobody from then on. UNSUPPORTED: inproc has none. ipcx__listener_options: filled
 * in; as long as the listener is there. */
ipcx_status ipcx__listener_lend(ipcx_listener *listener, ipcx_scheme *scheme, int *fd,
                                ipcx_error *err);
const ipcx_chan_options *ipcx__listener_options(const ipcx_listener *listener);

#endif
