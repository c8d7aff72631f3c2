/* SPDX-License-Identifier: Apache-2.0
 * A channel that is a named pipe: who connects writes, each message one frame of at most PIPE_BUF
 * bytes, which the system writes whole whoever else writes; who listens reads what all of them
 * send. A writer is not told from another, answered, nor missed: there is no goodbye, and of the
 * greeting (a PING) no more is known than that somebody has come.
 * Invariant: a message is in the pipe whole or not at all, and no call waits longer than it was
 * told. */
#ifndef IPCX_LINK_CHAN_FIFO_H
#define IPCX_LINK_CHAN_FIFO_H

#include "link/chan.h"
#include "link/fifo/well.h"

/* ipcx__chan_fifo_connect: the end that sends. REFUSED: nobody reads there; with the URL's `wait`
 * and a pipe that is there: AGAIN · TIMEOUT · INTR. AUTH: another user's. SYSTEM: no named pipe. */
ipcx_status ipcx__chan_fifo_connect(const ipcx_url *url, const char *text,
                                    const ipcx_chan_options *options, ipcx_deadline deadline,
                                    ipcx_chan **chan, ipcx_error *err);

/* ipcx__chan_fifo_read: the end that receives, over `well`, which it becomes a holder and user of.
 */
ipcx_status ipcx__chan_fifo_read(ipcx__well *well, const char *text,
                                 const ipcx_chan_options *options, ipcx_chan **chan,
                                 ipcx_error *err);

#endif
