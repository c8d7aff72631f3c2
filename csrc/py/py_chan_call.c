/* SPDX-License-Identifier: Apache-2.0
 * One call on a channel or a listener: its time-out, its exception, its trace.
 * Invariant: as py_chan.h says. */
#include "py/py_chan.h"
#include "py/py_layer.h"

#include <errno.h>
#include <math.h>
#include <unistd.h>

#include "ipcx/alloc.h"

bool ipcx_py_patience(PyObject *value, int64_t otherwise, int64_t *ns)
{
    double seconds;
    if (value == NULL || value == Py_None) {
        *ns = value == NULL ? otherwise : IPCX_PY_EVER;
        return true;
    }
    seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "timeout is a number of seconds or None, not %.100s",
                         Py_TYPE(value)->tp_name);
        }
        return false;
    }
    if (!(seconds >= 0)) {
        PyErr_Format(PyExc_ValueError, "timeout is seconds >= 0 or None, not %R", value);
        return false;
    }
    /* Rounded up: what is shorter than a nanosecond is no poll. */
    *ns = seconds >= 9e9 ? IPCX_PY_EVER : (int64_t)ceil(seconds * 1e9);
    return true;
}

void ipcx_py_warn_unclosed(PyObject *op)
{
    PyObject *type, *raised, *traceback;
    PyErr_Fetch(&type, &raised, &traceback);
    if (PyErr_ResourceWarning(op, 1, "unclosed %R", op) < 0 &&
        PyErr_ExceptionMatches(PyExc_Warning)) {
        PyErr_WriteUnraisable(op);
    }
    PyErr_Restore(type, raised, traceback);
}

void ipcx_py_attribute(const char *name, PyObject *value)
{
    PyObject *type, *raised, *traceback;
    if (value == NULL) {
        PyErr_Clear(); /* no memory: the exception it was for goes with it */
        (void)PyErr_NoMemory();
        return;
    }
    PyErr_Fetch(&type, &raised, &traceback);
    PyErr_NormalizeException(&type, &raised, &traceback);
    if (PyObject_SetAttrString(raised, name, value) < 0) {
        PyErr_Clear();
    }
    Py_DECREF(value);
    PyErr_Restore(type, raised, traceback);
}

void ipcx_py_chan_offset(const ipcx_py_chan *self, ipcx_status status)
{
    if (IPCX_UNLIKELY(self->layered) && (status == IPCX_AUTH || status == IPCX_PROTOCOL)) {
        ipcx_py_layer_cause(self);
    }
    if (status == IPCX_PROTOCOL || status == IPCX_VERSION || status == IPCX_CORRUPT ||
        status == IPCX_TOO_LARGE) {
        ipcx_py_attribute("offset",
                          PyLong_FromUnsignedLongLong(ipcx_chan_error_offset(self->core)));
    }
}

/* Timeout or WouldBlock, saying which call and how long. */
static void raise_late(ipcx_py_state *state, const char *op, ipcx_status status, int64_t ns)
{
    PyObject *key = PyLong_FromLong(status);
    PyObject *type = key != NULL ? PyDict_GetItemWithError(state->exceptions, key) : NULL;
    PyObject *text, *args = NULL;
    char seconds[32];
    Py_XDECREF(key);
    if (type == NULL) {
        return;
    }
    (void)PyOS_snprintf(seconds, sizeof seconds, "%g", (double)ns / 1e9);
    text = status == IPCX_AGAIN
               ? PyUnicode_FromFormat("%s: not without waiting", op)
               : PyUnicode_FromFormat("%s: the deadline passed after %s s", op, seconds);
    if (text != NULL) {
        args = status == IPCX_AGAIN ? Py_BuildValue("(iO)", EAGAIN, text) : PyTuple_Pack(1, text);
        Py_DECREF(text);
    }
    if (args != NULL) {
        PyErr_SetObject(type, args);
        Py_DECREF(args);
    }
}

void ipcx_py_exit_check(const ipcx_py_state *state)
{
    if (IPCX_UNLIKELY(state->exiting != 0) && PyThread_get_thread_ident() != state->exiting) {
        for (;;) { /* CPython ends the thread when it wants the GIL a moment later */
            IPCX_PY_WITHOUT_GIL((void)sleep(1));
        }
    }
}

PyObject *ipcx_py_chan_raise(ipcx_py_state *state, const char *op, ipcx_status status,
                             const ipcx_error *err, int64_t ns)
{
    ipcx_error gone = {.status = IPCX_PEER_CLOSED, .op = op};
    ipcx_py_exit_check(state);
    switch (status) {
    case IPCX_INTR:
        return NULL;
    case IPCX_AGAIN:
    case IPCX_TIMEOUT:
        raise_late(state, op, status, ns);
        return NULL;
    case IPCX_EOF:
        return ipcx_py_raise(state, IPCX_PEER_CLOSED, &gone);
    default:
        return ipcx_py_raise(state, status, err);
    }
}

/* ---- objects that nobody will receive */

static _Thread_local struct {
    PyObject **objects;
    size_t count, room;
} dropped;

void ipcx_py_drop(void *object)
{
    if (dropped.count == dropped.room) {
        size_t room = dropped.room != 0 ? dropped.room * 2 : 16;
        PyObject **more = ipcx_realloc(dropped.objects, room * sizeof *more);
        if (more == NULL) {
            return; /* it lives on: no memory even to note it */
        }
        dropped.objects = more;
        dropped.room = room;
    }
    dropped.objects[dropped.count++] = object;
}

void ipcx_py_drop_all(void)
{
    while (dropped.count > 0) { /* what goes may be a channel, and drop others */
        PyObject *last = dropped.objects[--dropped.count];
        if (dropped.count == 0) {
            ipcx_free(dropped.objects);
            dropped.objects = NULL;
            dropped.room = 0;
        }
        Py_DECREF(last);
    }
}
