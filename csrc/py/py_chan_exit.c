/* SPDX-License-Identifier: Apache-2.0
 * What an interpreter owes when it exits: its channels say goodbye.
 * Invariant: the list is touched with the GIL held only; who leaves the GIL begins at its head
 * again. */
#include "py/py_chan.h"

#include "link/chan.h"

void ipcx_py_chan_enlist(ipcx_py_chan *self)
{
    ipcx_py_chan **head = &self->state->channels;
    self->next = *head;
    self->link = head;
    if (self->next != NULL) {
        self->next->link = &self->next;
    }
    *head = self;
}

void ipcx_py_chan_delist(ipcx_py_chan *self)
{
    if (self->link != NULL) {
        *self->link = self->next;
        if (self->next != NULL) {
            self->next->link = self->link;
        }
        self->link = NULL;
    }
}

bool ipcx_py_chan_ours(const ipcx_py_chan *self)
{
    uint32_t owner = atomic_load(&self->core->owner);
    return owner != 0 ? owner == ipcx__fork_generation() : ipcx__chan_never_shared(self->core);
}

/* The next one to close, a new reference. */
static ipcx_py_chan *open_one(const ipcx_py_state *state)
{
    ipcx_py_chan *each = state->channels;
    while (each != NULL && (atomic_load(&each->core->closed) || !ipcx_py_chan_ours(each))) {
        each = each->next;
    }
    return (ipcx_py_chan *)Py_XNewRef((PyObject *)each);
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
    while ((each = open_one(state)) != NULL) {
        ipcx_status status;
        IPCX_PY_WITHOUT_GIL(status = ipcx_chan_close(each->core, deadline, NULL, NULL));
        ipcx_py_drop_all();
        Py_DECREF(each);
        if (status == IPCX_INTR && PyErr_CheckSignals() < 0) {
            PyErr_WriteUnraisable(module); /* Ctrl-C: no more waiting, but all are closed */
            deadline = IPCX_NOW;
        }
    }
    Py_RETURN_NONE;
}
