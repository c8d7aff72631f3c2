/* SPDX-License-Identifier: Apache-2.0
 * The next message of a channel, for the calls that receive one: tried, then waited for; and what
 * those that send share with them.
 * Invariant: as py_chan.h says. */
#ifndef IPCX_PY_CHAN_NEXT_H
#define IPCX_PY_CHAN_NEXT_H

#include "link/chan.h"
#include "link/chan_front.h"
#include "py/py_chan.h"
#include "py/py_layer.h"

/* How a call waits: until a deadline that is set when it first has to. */
typedef struct ipcx_py_patient {
    int64_t ns;
    ipcx_deadline until; /* IPCX_NOW: not set yet */
    bool front;          /* it copies: the front of a message will do (chan_front.h) */
    bool tried;          /* it has stayed awake already */
} ipcx_py_patient;

/* ipcx_py_chan_wait_for: the next message, lent, or its front. INTR: an exception is set. */
ipcx_status ipcx_py_chan_wait_for(ipcx_py_chan *self, ipcx_message *message, ipcx_py_patient *how,
                                  ipcx_error *err);

/* With the GIL held. If there is no other thread to want it, that may last some 50 µs while the
 * sender is at work: to let it go and take it again for that would be a good part of the wait. */
static inline ipcx_status ipcx_py_chan_try(ipcx_py_chan *self, ipcx_message *message,
                                           const ipcx_py_patient *how, ipcx_error *err)
{
    ipcx_status status;
    if (self->lingers && how->front && how->ns != IPCX_PY_NEVER && ipcx_py_alone()) {
        return ipcx__chan_receive_awake(self->core, message, err);
    }
    IPCX_PY_TRYING(self, status, status = ipcx_chan_receive(self->core, message, IPCX_NOW, err));
    return status;
}

static inline ipcx_status ipcx_py_chan_next_once(ipcx_py_chan *self, ipcx_message *message,
                                                 ipcx_py_patient *how, ipcx_error *err)
{
    if (IPCX_UNLIKELY(self->layered) && ipcx_py_layer_within(self)) {
        return ipcx_py_layer_barred("receive", how->ns, err);
    }
    if ((!self->expect_wait && !how->tried) || how->ns == IPCX_PY_NEVER) {
        ipcx_status status = ipcx_py_chan_try(self, message, how, err);
        if (IPCX_LIKELY(status != IPCX_AGAIN) || how->ns == IPCX_PY_NEVER) {
            return status;
        }
    }
    return ipcx_py_chan_wait_for(self, message, how, err);
}

/* ipcx_py_chan_next_one: the same, after a try with the GIL held. INTR: an exception is set; it
 * would take the message with it. */
static inline ipcx_status ipcx_py_chan_next_one(ipcx_py_chan *self, ipcx_message *message,
                                                ipcx_py_patient *how, ipcx_error *err)
{
    do {
        ipcx_status status = ipcx_py_chan_next_once(self, message, how, err);
        if (IPCX_LIKELY(!self->layered) || !ipcx_py_layer_puts_back(self, status, message)) {
            return status;
        }
    } while (ipcx_py_signals() == 0);
    return IPCX_INTR;
}

/* ipcx_py_chan_slept: how often sends of this end had to wait, if somebody records. */
static inline uint64_t ipcx_py_chan_slept(const ipcx_py_chan *self, const ipcx_py_seen *seen)
{
    return IPCX_LIKELY(seen->begun == 0)
               ? 0
               : atomic_load_explicit(&self->core->send_waits, memory_order_relaxed);
}

/* ipcx_py_chan_fill: a front was lent, and `to` is where it goes. OK: it is whole now, and lent as
 * any other. AGAIN: its sender has stopped in the middle: from now on `how` waits for the whole. */
ipcx_status ipcx_py_chan_fill(ipcx_py_chan *self, ipcx_message *message, void *to,
                              ipcx_py_patient *how);

#endif
