/* SPDX-License-Identifier: Apache-2.0
 * The short way of a small message of bytes, where a transport has one (shm://): one call each, no
 * wait, and nothing looked at but what may keep it from going that way. AGAIN: it does not (no
 * room, nothing there, a trace, an end that is not in use yet or is not ours, …); then nothing has
 * happened, and the calls of ipcx/chan.h do it, and know what is wrong.
 * Invariant: a message takes either way, and nobody can tell which. */
#ifndef IPCX_LINK_CHAN_QUICK_H
#define IPCX_LINK_CHAN_QUICK_H

#include <stdbool.h>
#include <stddef.h>

#include "link/chan.h"
#include "os/gate.h"

#define IPCX__QUICK_MAX 16384u /* bytes of the largest message that goes this way */

/* Makes of the bytes what the caller wants of them; false: it cannot, and they stay. Calls nothing
 * of the channel's. */
typedef bool ipcx__quick_take(void *context, const void *data, size_t size);

/* Of a transport. Any thread, at any time up to its `destroy`.
 * push: OK: sent; MORE: sent, and `wake` is due, which takes a system call; AGAIN.
 * pull: OK: the next message was taken; NOMEM: `take` could not; AGAIN.
 * stay: stays awake for the next message as long as that is worth it. OK: something may be there;
 * AGAIN: it is not worth it any more, which the next receive that waits knows. */
typedef struct ipcx__quick {
    ipcx_status (*push)(ipcx_chan *chan, const void *data, size_t size);
    void (*wake)(ipcx_chan *chan);
    ipcx_status (*pull)(ipcx_chan *chan, ipcx__quick_take *take, void *context);
    ipcx_status (*stay)(ipcx_chan *chan);
} ipcx__quick;

/* ipcx__quick_enter, _leave: into the gate, of an end that is ours, where nobody looks on. */
static inline bool ipcx__quick_enter(ipcx_chan *chan)
{
    return IPCX_LIKELY(atomic_load_explicit(&ipcx__trace_hook, memory_order_relaxed) == NULL) &&
           ipcx__chan_is_mine(chan) && ipcx__gate_enter(&chan->gate);
}
static inline void ipcx__quick_leave(ipcx_chan *chan)
{
    ipcx__gate_leave(&chan->gate);
}

/* ipcx__quick_send: for ipcx_chan_send: whether it went that way. */
static inline bool ipcx__quick_send(ipcx_chan *chan, const ipcx_message *message,
                                    const ipcx_sending *sending)
{
    const ipcx__quick *quick = chan->transport->quick;
    ipcx_status status = IPCX_AGAIN;
    if (quick != NULL && message->flags == 0 &&
        (sending == NULL || (sending->begun == 0 && sending->ticket == 0))) {
        status = quick->push(chan, message->data, message->size);
    }
    if (status == IPCX_MORE) {
        quick->wake(chan);
    }
    return status != IPCX_AGAIN;
}

#endif
