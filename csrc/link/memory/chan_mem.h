/* SPDX-License-Identifier: Apache-2.0
 * A channel between threads of one process: objects by reference, or copied messages.
 * Invariant: a message is in exactly one place: the sender's hands, the queue, or the receiver's.
 */
#ifndef IPCX_LINK_CHAN_MEM_H
#define IPCX_LINK_CHAN_MEM_H

#include "link/chan.h"

/* ipcx__chan_mem_pair: two connected ends; the queues live until both are freed. */
ipcx_status ipcx__chan_mem_pair(const char *url, const ipcx_chan_options *options, ipcx_chan **a,
                                ipcx_chan **b, ipcx_error *err);

/* ipcx__chan_mem_ends: the same, where the two ends have options of their own. */
ipcx_status ipcx__chan_mem_ends(const char *url, const ipcx_chan_options *options_a,
                                const ipcx_chan_options *options_b, ipcx_chan **a, ipcx_chan **b,
                                ipcx_error *err);

/* ipcx__chan_mem_each: shows `visit` each OBJECT that is on its way to this end, until it answers
 * other than 0; that is the answer. It must not call ipcx. */
int ipcx__chan_mem_each(ipcx_chan *chan, int (*visit)(void *object, void *context), void *context);

/* The meeting place of inproc://name: listeners by name, in one process. */
typedef struct ipcx__mem_listener ipcx__mem_listener;
ipcx_status ipcx__mem_listen(const char *name, const ipcx_chan_options *options,
                             ipcx__mem_listener **listener, ipcx_error *err);
ipcx_status ipcx__mem_accept(ipcx__mem_listener *listener, ipcx_chan **chan, ipcx_deadline deadline,
                             ipcx_error *err);
ipcx_status ipcx__mem_fileno(ipcx__mem_listener *listener, int *fd, ipcx_error *err);
void ipcx__mem_waiting(ipcx__mem_listener *listener, ipcx_listener_stats *stats);
void ipcx__mem_close(ipcx__mem_listener *listener); /* idempotent; accept returns CLOSED */
void ipcx__mem_free(ipcx__mem_listener *listener);

/* ipcx__mem_connect: REFUSED: no listener of that name. AGAIN, TIMEOUT: its backlog is full. */
ipcx_status ipcx__mem_connect(const char *name, const ipcx_chan_options *options,
                              ipcx_deadline deadline, ipcx_chan **chan, ipcx_error *err);

#endif
