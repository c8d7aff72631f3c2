/* SPDX-License-Identifier: Apache-2.0
 * A small message of bytes by the short way of chan_quick.h, where the channel has one and nobody
 * watches. AGAIN: it did not go that way, and nothing has happened.
 * Invariant: as py_chan.h says; the GIL is held, so nothing here waits but awake. */
#ifndef IPCX_PY_CHAN_QUICK_H
#define IPCX_PY_CHAN_QUICK_H

#include "link/chan_quick.h"
#include "py/py_chan.h"

/* ipcx_py_chan_push: OK: it is sent. */
static inline ipcx_status ipcx_py_chan_push(ipcx_py_chan *self, PyObject *value)
{
    ipcx_status status = IPCX_AGAIN;
    if (self->quick != NULL && PyBytes_CheckExact(value) && !ipcx_py_watched(self->state)) {
        status = self->quick->push(self->core, PyBytes_AS_STRING(value),
                                   (size_t)PyBytes_GET_SIZE(value));
    }
    if (IPCX_UNLIKELY(status == IPCX_MORE)) {
        IPCX_PY_WAKING(self->quick->wake(self->core));
        status = IPCX_OK;
    }
    return status;
}

static inline bool ipcx_py_take_bytes(void *context, const void *data, size_t size)
{
    PyObject **made = context;
    *made = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    return *made != NULL;
}

/* ipcx_py_chan_pull: OK: the next message is *made. NOMEM: an exception is set. */
static inline ipcx_status ipcx_py_chan_pull(ipcx_py_chan *self, PyObject **made)
{
    return self->quick != NULL && !ipcx_py_watched(self->state)
               ? self->quick->pull(self->core, ipcx_py_take_bytes, made)
               : IPCX_AGAIN;
}

/* ipcx_py_chan_pull_awake: the same, after staying awake for it as in ipcx_py_chan_try. *tried:
 * that was done, and is not to be done again. */
static inline ipcx_status ipcx_py_chan_pull_awake(ipcx_py_chan *self, PyObject **made, bool *tried)
{
    ipcx_status status = ipcx_py_chan_pull(self, made);
    if (status != IPCX_AGAIN) {
        self->expect_wait = false;
    } else if (self->quick != NULL && !self->expect_wait && !ipcx_py_watched(self->state) &&
               ipcx_py_alone()) {
        *tried = self->quick->stay(self->core) != IPCX_OK;
        status = *tried ? status : ipcx_py_chan_pull(self, made);
    }
    return status;
}

#endif
