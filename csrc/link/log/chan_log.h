/* SPDX-License-Identifier: Apache-2.0
 * A channel that is a file: who connects appends to a log of messages (ipcx/log.h), who accepts
 * follows it. Each end goes one way; any number of either may be there, or none.
 * Invariant: nobody waits for anybody at the other end: what was sent is in the file. */
#ifndef IPCX_LINK_CHAN_LOG_H
#define IPCX_LINK_CHAN_LOG_H

#include "ipcx/log.h"
#include "link/chan.h"

/* ipcx__chan_log_append: the end that sends: opens the log at the URL's path, or begins one. As
 * ipcx_log_open. */
ipcx_status ipcx__chan_log_append(const ipcx_url *url, const char *text,
                                  const ipcx_chan_options *options, ipcx_deadline deadline,
                                  ipcx_chan **chan, ipcx_error *err);

/* ipcx__chan_log_follow: an end that receives, from the URL's `from` on. As ipcx_log_follow. */
ipcx_status ipcx__chan_log_follow(const ipcx_url *url, const char *text,
                                  const ipcx_chan_options *options, ipcx_chan **chan,
                                  ipcx_error *err);

/* ipcx__chan_log_begin: there is a log at the URL's path that can be followed: made if need be. */
ipcx_status ipcx__chan_log_begin(const ipcx_url *url, const char *text, ipcx_error *err);

/* ---- log.c, log_read.c */

/* ipcx__log_stop, ipcx__log_reader_stop: turns newcomers away and wakes who waits; what was lent
 * stays valid up to close. */
void ipcx__log_stop(ipcx_log *log);
void ipcx__log_reader_stop(ipcx_log_reader *reader);

/* ipcx__log_forked, ipcx__log_reader_forked: in a child's at-fork handler: closes the descriptors.
 */
void ipcx__log_forked(ipcx_log *log);
void ipcx__log_reader_forked(ipcx_log_reader *reader);

#endif
