/* SPDX-License-Identifier: Apache-2.0
 * A server's receive, receive_many, events and iteration.
 * Invariant: what was taken from the list is returned, or an exception is. */
#include "py/py_server.h"

static ipcx_py_server *server_of(PyObject *op)
{
    return (ipcx_py_server *)op;
}

static bool traced(PyObject *op)
{
    return ipcx_py_watched(server_of(op)->state);
}

/* An exception is set. */
static PyObject *failed(PyObject *op, const char *verb, const ipcx_py_seen *seen)
{
    if (traced(op)) {
        ipcx_py_show(server_of(op)->state, verb, op, NULL, seen);
    }
    return NULL;
}

static void show(PyObject *op, const char *verb, const ipcx_py_happened *what, ipcx_py_seen *seen)
{
    Py_ssize_t size = 0;
    if (!traced(op)) {
        return;
    }
    if (what->message == NULL) {
        ipcx_py_show(server_of(op)->state, verb, what->peer, Py_NewRef(Py_None), NULL);
        return;
    }
    if (PyBytes_Check(what->message)) {
        size = PyBytes_GET_SIZE(what->message);
    } else if (PyUnicode_AsUTF8AndSize(what->message, &size) == NULL) {
        PyErr_Clear();
    }
    seen->what = what->message;
    ipcx_py_show(server_of(op)->state, verb, what->peer, PyLong_FromSsize_t(size), seen);
}

/* What was received, for the program. */
static PyObject *pair_of(PyObject *op, ipcx_py_happened *what, ipcx_py_seen *seen)
{
    PyObject *pair;
    show(op, "receive", what, seen);
    pair = PyTuple_New(2);
    if (pair == NULL) {
        Py_DECREF(what->peer);
        Py_DECREF(what->message);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, what->peer);
    PyTuple_SET_ITEM(pair, 1, what->message);
    return pair;
}

static PyObject *receive(PyObject *op, int64_t ns)
{
    ipcx_py_happened what;
    ipcx_py_seen seen;
    ipcx_py_see(&seen, server_of(op)->state);
    return ipcx_py_server_take(server_of(op), ns, true, &what) == IPCX_OK
               ? pair_of(op, &what, &seen)
               : failed(op, "receive", &seen);
}

PyObject *ipcx_py_server_receive(IPCX_PY_FAST)
{
    static const char *const names[] = {"timeout", NULL};
    PyObject *timeout;
    int64_t ns;
    if (!ipcx_py_named(&timeout, names, 0, "receive", args, nargs, kwnames) ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    return receive(op, ns);
}

/* The loop of who serves ends when somebody closes. */
PyObject *ipcx_py_server_next(PyObject *op)
{
    ipcx_py_happened what;
    ipcx_py_seen seen;
    ipcx_status status;
    if (server_of(op)->closed) {
        return NULL;
    }
    ipcx_py_see(&seen, server_of(op)->state);
    status = ipcx_py_server_take(server_of(op), IPCX_PY_EVER, true, &what);
    if (status == IPCX_CLOSED) {
        PyErr_Clear();
        return NULL;
    }
    return status == IPCX_OK ? pair_of(op, &what, &seen) : failed(op, "receive", &seen);
}

PyObject *ipcx_py_server_receive_now(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_happened what;
    ipcx_py_seen seen;
    ipcx_status status;
    ipcx_py_see(&seen, server_of(op)->state);
    status = ipcx_py_server_take(server_of(op), IPCX_PY_NEVER, true, &what);
    if (status == IPCX_AGAIN) {
        PyErr_Clear();
        return Py_NewRef(Py_NotImplemented);
    }
    return status == IPCX_OK ? pair_of(op, &what, &seen) : failed(op, "receive", &seen);
}

PyObject *ipcx_py_server_receive_many(IPCX_PY_FAST)
{
    static const char *const names[] = {"max", "timeout", NULL};
    PyObject *values[2], *list, *each;
    Py_ssize_t most = 256;
    int64_t ns;
    if (!ipcx_py_named(values, names, 0, "receive_many", args, nargs, kwnames) ||
        !ipcx_py_patience(values[1], IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    if (values[0] != NULL) {
        most = PyNumber_AsSsize_t(values[0], NULL);
        if (most < 1) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "receive_many() of less than 1 message");
            }
            return NULL;
        }
    }
    list = PyList_New(0);
    each = list != NULL ? receive(op, ns) : NULL;
    while (each != NULL) {
        int failed = PyList_Append(list, each);
        Py_DECREF(each);
        if (failed < 0) {
            Py_DECREF(list);
            return NULL;
        }
        each = PyList_GET_SIZE(list) < most && server_of(op)->at < server_of(op)->count
                   ? receive(op, IPCX_PY_NEVER)
                   : NULL;
    }
    if (list != NULL && PyList_GET_SIZE(list) == 0) {
        Py_CLEAR(list);
    }
    if (list != NULL) {
        PyErr_Clear(); /* what is wrong with the next one, the next call says */
    }
    return list;
}

PyObject *ipcx_py_server_event(IPCX_PY_FAST)
{
    static const char *const names[] = {"timeout", NULL};
    static const char *const kinds[] = {"", "join", "message", "leave"};
    ipcx_py_happened what;
    ipcx_py_seen seen;
    PyObject *timeout;
    int64_t ns;
    if (!ipcx_py_named(&timeout, names, 0, "events", args, nargs, kwnames) ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    ipcx_py_see(&seen, server_of(op)->state);
    if (ipcx_py_server_take(server_of(op), ns, false, &what) != IPCX_OK) {
        return failed(op, "receive", &seen);
    }
    show(op, what.kind == IPCX_MUX_MESSAGE ? "receive" : kinds[what.kind], &what, &seen);
    return Py_BuildValue("(sNN)", kinds[what.kind], what.peer,
                         what.message != NULL ? what.message : Py_NewRef(Py_None));
}
