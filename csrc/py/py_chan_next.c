/* SPDX-License-Identifier: Apache-2.0
 * Waiting for the next message of a channel.
 * Invariant: an object leaves the core's queue with the GIL held only: so the garbage collector,
 * which holds it, sees each object either in the queue or in somebody's hands. */
#include "py/py_chan_next.h"

#include "link/chan.h"

static ipcx_status wait_for_object(ipcx_chan *core, ipcx_message *message, ipcx_deadline deadline,
                                   ipcx_error *err)
{
    ipcx_status status;
    IPCX_PY_WITHOUT_GIL(status = ipcx_chan_poll(core, deadline, err));
    if (status == IPCX_OK) {
        status = ipcx_chan_receive(core, message, IPCX_NOW, err);
        if (status == IPCX_AGAIN) {
            status = IPCX_INTR; /* another thread was faster */
        }
    }
    return status;
}

ipcx_status ipcx_py_chan_wait_for(ipcx_py_chan *self, ipcx_message *message, ipcx_py_patient *how,
                                  ipcx_error *err)
{
    ipcx_chan *core = self->core;
    uint64_t waits = atomic_load_explicit(&core->receive_waits, memory_order_relaxed);
    ipcx_deadline deadline = how->until != IPCX_NOW ? how->until : ipcx_py_deadline(how->ns);
    ipcx_status status;
    how->until = deadline;
    if (self->objects) {
        do {
            status = wait_for_object(core, message, deadline, err);
        } while (status == IPCX_INTR && PyErr_CheckSignals() == 0);
    } else if (how->front) {
        IPCX_PY_WAITING(status, status = ipcx__chan_receive_front(core, message, deadline, err));
    } else {
        IPCX_PY_WAITING(status, status = ipcx_chan_receive(core, message, deadline, err));
    }
    self->expect_wait = atomic_load_explicit(&core->receive_waits, memory_order_relaxed) != waits;
    return status;
}

ipcx_status ipcx_py_chan_fill(ipcx_py_chan *self, ipcx_message *message, void *to,
                              ipcx_py_patient *how)
{
    ipcx_status status;
    IPCX_PY_WITHOUT_GIL(status = ipcx__chan_fill(self->core, message, to));
    how->front = false;
    return status;
}

ipcx_status ipcx_py_chan_lend(ipcx_py_chan *self, ipcx_message *message, int64_t ns,
                              ipcx_error *err)
{
    ipcx_py_patient how = {.ns = ns};
    return ipcx_py_chan_next_one(self, message, &how, err);
}
