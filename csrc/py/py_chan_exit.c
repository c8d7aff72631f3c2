/* SPDX-License-Identifier: Apache-2.0
 * What an interpreter owes when it exits: its listeners go, its channels say goodbye.
 * Invariant: a list is touched with the GIL held only; who leaves the GIL begins at its head
 * again. */
#include "py/py_chan.h"

#include <stddef.h>

#include "link/chan.h"

void ipcx_py_enlist(ipcx_py_listed **list, ipcx_py_listed *item)
{
    item->next = *list;
    item->link = list;
    if (item->next != NULL) {
        item->next->link = &item->next;
    }
    *list = item;
}

void ipcx_py_delist(ipcx_py_listed *item)
{
    if (item->link != NULL) {
        *item->link = item->next;
        if (item->next != NULL) {
            item->next->link = item->link;
        }
        item->link = NULL;
    }
}

bool ipcx_py_chan_ours(const ipcx_py_chan *self)
{
    uint32_t owner = atomic_load(&self->core->owner);
    return owner != 0 ? owner == ipcx__fork_generation() : ipcx__chan_never_shared(self->core);
}

#define OBJECT_OF(type, item) ((type *)(void *)((char *)(item) - offsetof(type, listed)))

/* The next one to close, a new reference. */
static ipcx_py_chan *open_channel(const ipcx_py_state *state)
{
    for (ipcx_py_listed *item = state->channels; item != NULL; item = item->next) {
        ipcx_py_chan *each = OBJECT_OF(ipcx_py_chan, item);
        if (!atomic_load(&each->core->closed) && ipcx_py_chan_ours(each)) {
            return (ipcx_py_chan *)Py_NewRef((PyObject *)each);
        }
    }
    return NULL;
}

static ipcx_py_listener *open_listener(const ipcx_py_state *state)
{
    for (ipcx_py_listed *item = state->listeners; item != NULL; item = item->next) {
        ipcx_py_listener *each = OBJECT_OF(ipcx_py_listener, item);
        if (!each->closed) {
            return (ipcx_py_listener *)Py_NewRef((PyObject *)each);
        }
    }
    return NULL;
}

static void close_listeners(const ipcx_py_state *state)
{
    ipcx_py_listener *each;
    while ((each = open_listener(state)) != NULL) {
        each->closed = true;
        IPCX_PY_WITHOUT_GIL((void)ipcx_listener_close(each->core, NULL));
        ipcx_py_drop_all();
        Py_DECREF(each);
    }
}

PyObject *ipcx_py_chan_exit(PyObject *module, PyObject *seconds)
{
    ipcx_py_state *state = PyModule_GetState(module);
    ipcx_deadline deadline;
    ipcx_py_chan *each;
    int64_t ns;
    if (!ipcx_py_patience(seconds, 0, &ns)) {
        return NULL;
    }
    deadline = ipcx_py_deadline(ns);
    state->exiting = PyThread_get_thread_ident();
    close_listeners(state);
    while ((each = open_channel(state)) != NULL) {
        ipcx_status status;
        IPCX_PY_WITHOUT_GIL(status = ipcx_chan_close(each->core, deadline, NULL, NULL));
        ipcx_py_drop_all();
        Py_DECREF(each);
        if (status == IPCX_INTR && ipcx_py_signals() < 0) {
            PyErr_WriteUnraisable(module); /* Ctrl-C: no more waiting, but all are closed */
            deadline = IPCX_NOW;
        }
    }
    Py_RETURN_NONE;
}
