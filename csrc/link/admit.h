/* SPDX-License-Identifier: Apache-2.0
 * Who may be at the other side: what options say of keys and users, kept and asked.
 * Invariant: a key that is kept is wiped when it is let go of. */
#ifndef IPCX_LINK_ADMIT_H
#define IPCX_LINK_ADMIT_H

#include <stdbool.h>

#include "ipcx/connect.h"
#include "ipcx/url.h"

/* ipcx__admit_keep: what the options borrow, key and users, becomes their own. NOMEM: nothing is
 * kept, or borrowed any more. ipcx__admit_forget: gives that back. */
ipcx_status ipcx__admit_keep(ipcx_chan_options *options, ipcx_error *err);
void ipcx__admit_forget(ipcx_chan_options *options);

/* ipcx__admit_scheme: UNSUPPORTED: an authkey that this scheme has no use for. */
ipcx_status ipcx__admit_scheme(ipcx_scheme scheme, const ipcx_chan_options *options, const char *op,
                               const char *url, ipcx_error *err);

/* ipcx__admit_user: whether the other end of a connected Unix socket is this user's, or root's, or
 * one's in allow_uids. Without that list root talks to everybody. *uid is whose it is. */
bool ipcx__admit_user(int fd, const ipcx_chan_options *options, unsigned *uid);

/* ipcx__admit_refuse: tells a peer whose user is not admitted so, before its socket is closed. */
void ipcx__admit_refuse(int fd);

#endif
