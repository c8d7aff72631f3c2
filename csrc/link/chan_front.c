/* SPDX-License-Identifier: Apache-2.0
 * The frame of chan_front.h's calls, as chan.c's.
 * Invariant: a thread that has been lent a front is inside the gate until it gives it back, or
 * until fill has. */
#include "link/chan_front.h"

#include "link/chan.h"

ipcx_status ipcx__chan_receive_front(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                                     ipcx_error *err)
{
    ipcx__call self = {.chan = chan, .op = "receive", .deadline = deadline, .err = err};
    ipcx_status status;
    if (chan->transport->fronts == NULL) {
        return ipcx_chan_receive(chan, message, deadline, err);
    }
    status = ipcx__call_enter(&self);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&self, status, 0);
    }
    status = chan->transport->fronts->receive(chan, message, deadline, err);
    return status == IPCX_OK ? ipcx__call_answer(&self, status, message->size)
                             : ipcx__call_leave(&self, status, 0);
}

ipcx_status ipcx__chan_receive_awake(ipcx_chan *chan, ipcx_message *message, ipcx_error *err)
{
    return ipcx__chan_receive_front(chan, message, IPCX__AWAKE, err);
}

ipcx_status ipcx__chan_fill(ipcx_chan *chan, ipcx_message *message, void *to)
{
    if (!ipcx__chan_is_mine(chan)) {
        return IPCX_AGAIN; /* lent before a fork: in the child, the next call says whose it is */
    }
    if (chan->transport->fronts->fill(chan, message, to)) {
        return IPCX_OK;
    }
    ipcx__chan_pass_out(chan);
    return IPCX_AGAIN;
}
