/* SPDX-License-Identifier: Apache-2.0
 * Receiving a large message while its sender still writes it, where a transport can (shm://): for
 * who copies it anyway.
 * Invariant: what was copied is a message only after ipcx__chan_fill has said so. */
#ifndef IPCX_LINK_CHAN_FRONT_H
#define IPCX_LINK_CHAN_FRONT_H

#include <stdbool.h>

#include "ipcx/chan.h"

/* A flag of a message that is lent before the whole of it is there. */
#define IPCX__MESSAGE_FRONT 0x200u

/* A deadline that is no deadline: AGAIN, but only after staying awake for as long as that is worth
 * it, some 50 µs. For `receive` below. */
#define IPCX__AWAKE ((ipcx_deadline)1)

/* Of a transport; called inside the gate. As ipcx__chan_receive_front and …_fill; fill: false: the
 * message is lent no more. */
typedef struct ipcx__fronts {
    ipcx_status (*receive)(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                           ipcx_error *err);
    bool (*fill)(ipcx_chan *chan, ipcx_message *message, void *to);
} ipcx__fronts;

/* ipcx__chan_receive_front: as ipcx_chan_receive, but what is lent may be a front: its flag is set,
 * the size is the message's, and `data` is nothing to look at. It goes back by ipcx_chan_release,
 * untaken, or to ipcx__chan_fill. */
ipcx_status ipcx__chan_receive_front(ipcx_chan *chan, ipcx_message *message, ipcx_deadline deadline,
                                     ipcx_error *err);

/* ipcx__chan_receive_awake: the same with IPCX__AWAKE; of a transport with fronts. AGAIN. */
ipcx_status ipcx__chan_receive_awake(ipcx_chan *chan, ipcx_message *message, ipcx_error *err);

/* ipcx__chan_fill: copies a front's message to `to` as it comes. OK: it is whole, and lent as any
 * other. AGAIN: its sender has stopped in the middle, and nothing is lent any more: receive again.
 * Waits no longer than the sender keeps writing. */
ipcx_status ipcx__chan_fill(ipcx_chan *chan, ipcx_message *message, void *to);

#endif
