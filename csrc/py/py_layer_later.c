/* SPDX-License-Identifier: Apache-2.0
 * Signal handlers that the ssl module runs in the middle of a call of ours: what they raise, send
 * and close waits until that call has let go of everything.
 * Invariant: what waits is done in the order in which it came, outside of every layer, by the
 * thread that runs signal handlers. */
#include "link/chan.h"
#include "py/py_layer.h"

/* How deep this thread is in layers; whether a handler has left something to be done meanwhile. */
static _Thread_local struct {
    int depth;
    PyObject *list; /* of what, or NULL */
    bool at_it;     /* something of it is being done */
} here;

/* ---- what waits: a list of exceptions to raise, and of (callable, arguments) */

static int one_of(PyObject *list)
{
    PyObject *item = Py_NewRef(PyList_GET_ITEM(list, 0)), *done = NULL;
    if (PyList_SetSlice(list, 0, 1, NULL) == 0 && PyTuple_Check(item)) {
        done = PyObject_Call(PyTuple_GET_ITEM(item, 0), PyTuple_GET_ITEM(item, 1), NULL);
    } else if (!PyErr_Occurred()) {
        PyErr_SetObject((PyObject *)Py_TYPE(item), item);
    }
    Py_DECREF(item);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

static int run_later(void *Py_UNUSED(ignored))
{
    return ipcx_py_layer_do_later();
}

/* So that it is done even if no call of ours asks for it. */
static void schedule(void)
{
    (void)Py_AddPendingCall(run_later, NULL); /* its queue is full: something else is on its way */
}

int ipcx_py_layer_do_later(void)
{
    PyObject *list = here.list;
    int status = 0;
    /* Within one that waits no other may overtake it; but an exception ends its wait. */
    if (list == NULL || here.depth > 0 ||
        (here.at_it && PyList_GET_SIZE(list) > 0 && PyTuple_Check(PyList_GET_ITEM(list, 0)))) {
        return 0;
    }
    here.list = NULL;
    while (status == 0 && PyList_GET_SIZE(list) > 0) {
        here.at_it = true;
        status = one_of(list);
    }
    here.at_it = false;
    if (PyList_GET_SIZE(list) > 0 && here.list == NULL) {
        here.list = Py_NewRef(list);
        schedule();
    }
    Py_DECREF(list);
    return status;
}

static bool leave_for_later(ipcx_py_state *state, PyObject *item)
{
    if (state->later == NULL) {
        state->later = PyList_New(0);
    }
    if (state->later == NULL || PyList_Append(state->later, item) < 0) {
        return false;
    }
    if (here.list == NULL) {
        here.list = Py_NewRef(state->later);
    }
    return true;
}

void ipcx_py_layer_raise_later(ipcx_py_state *state, PyObject *exception)
{
    if (!leave_for_later(state, exception)) {
        PyErr_Clear();
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        PyErr_WriteUnraisable(NULL);
    }
    Py_DECREF(exception);
}

PyObject *ipcx_py_layer_call_later(ipcx_py_state *state, PyObject *object, const char *method,
                                   PyObject *args)
{
    PyObject *bound = args != NULL ? PyObject_GetAttrString(object, method) : NULL;
    PyObject *item = bound != NULL ? PyTuple_Pack(2, bound, args) : NULL;
    bool fine = item != NULL && leave_for_later(state, item);
    Py_XDECREF(args);
    Py_XDECREF(bound);
    Py_XDECREF(item);
    return fine ? Py_NewRef(Py_None) : NULL;
}

PyObject *ipcx_py_layer_send_later(ipcx_py_chan *self, PyObject *value, PyObject *timeout)
{
    PyObject *copy = PyUnicode_Check(value) ? Py_NewRef(value) : PyBytes_FromObject(value);
    PyObject *args = NULL;
    if (copy != NULL) {
        args = PyTuple_Pack(3, copy, Py_False, timeout != NULL ? timeout : Py_None);
        Py_DECREF(copy);
    }
    return ipcx_py_layer_call_later(self->state, (PyObject *)self, "send", args);
}

bool ipcx_py_layer_puts_back(ipcx_py_chan *self, ipcx_status status, ipcx_message *message)
{
    bool waits = here.list != NULL && here.depth == 0 && status == IPCX_OK;
    if (waits) {
        message->flags |= IPCX__MESSAGE_KEEP;
        IPCX_PY_WITHOUT_GIL(ipcx_chan_release(self->core, message));
    }
    return waits;
}

/* ---- around the layer's functions */

/* Python before 3.12 may collect garbage at any allocation, and a finalizer may use the channel
 * whose mutex is held. Counted, for _ssl lets other threads run, with the GIL held. */
ipcx_py_grip ipcx_py_layer_take(ipcx_py_state *state)
{
    ipcx_py_grip made = {.released = ipcx_py_gil_back()};
    PyErr_Fetch(&made.type, &made.value, &made.traceback);
    here.depth++;
    if (PY_VERSION_HEX < 0x030C0000 && state->layers_at_work++ == 0) {
        state->collects = PyGC_Disable();
    }
    return made;
}

void ipcx_py_layer_give(ipcx_py_state *state, const ipcx_py_grip *taken)
{
    if (PY_VERSION_HEX < 0x030C0000 && --state->layers_at_work == 0 && state->collects) {
        (void)PyGC_Enable();
    }
    here.depth--;
    if (IPCX_UNLIKELY(here.list != NULL) && here.depth == 0) {
        schedule();
    }
    PyErr_Restore(taken->type, taken->value, taken->traceback);
    ipcx_py_gil_away(taken->released);
}

bool ipcx_py_layer_restless(void)
{
    return here.list != NULL;
}

ipcx_status ipcx_py_layer_barred(const char *op, int64_t ns, ipcx_error *err)
{
    if (ns == IPCX_PY_NEVER) {
        return IPCX_AGAIN;
    }
    return ipcx_error_set(err, IPCX_DEADLOCK, 0, op,
                          "a signal came while TLS was at work here: its handler may send() and "
                          "close(), which is done next");
}
