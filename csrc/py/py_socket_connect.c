/* SPDX-License-Identifier: Apache-2.0
 * accept, connect, connect_ex, bind, listen, shutdown.
 * Invariant: a descriptor that accept4(2) has given belongs to a socket object or is closed. */
#include "py/py_socket.h"

#include <errno.h>
#include <unistd.h>

typedef struct accept_arg {
    int fd;
    ipcx_addr addr;
} accept_arg;

static ipcx_status accept_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    accept_arg *arg = opaque;
    return ipcx__io_accept(io, &arg->fd, &arg->addr, err);
}

PyObject *ipcx_py_socket_accept(IPCX_PY_ARGS)
{
    accept_arg arg;
    ipcx_py_call call;
    ipcx_status answer;
    PyObject *socket, *from, *result = NULL;

    if (nargs != 0 || kwnames != NULL) {
        return ipcx_py_delegate(self, IPCX_PY_accept, args, nargs, kwnames);
    }
    if (!ipcx_py_begin(&call, self, "accept")) {
        return NULL;
    }
    if (!ipcx_py_run(&call, accept_step, &arg, &answer)) {
        return ipcx_py_failed(&call, args, nargs);
    }
    from = ipcx_py_from_addr(&arg.addr);
    if (from == NULL) {
        (void)close(arg.fd);
        return NULL;
    }
    socket = ipcx_py_socket_around(call.state, arg.fd, call.family, call.type, call.proto);
    if (socket != NULL) {
        result = PyTuple_Pack(2, socket, from);
        Py_DECREF(socket);
    }
    Py_DECREF(from);
    if (IPCX_UNLIKELY(result == NULL)) {
        return ipcx_py_failed(&call, args, nargs);
    }
    return ipcx_py_traced(&call) ? ipcx_py_done_traced(&call, result, Py_NewRef(result)) : result;
}

static ipcx_status connect_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    const ipcx_addr *addr = opaque;
    return ipcx__io_connect(io, &addr->u.sa, addr->len, err);
}

static ipcx_status connected_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    (void)opaque;
    return ipcx__io_connected(io, err);
}

/* Connects; false with an exception set. */
static bool connect_to(ipcx_py_call *call, ipcx_addr *addr)
{
    ipcx_status answer;
    if (!ipcx_py_run(call, connect_step, addr, &answer)) {
        return false;
    }
    if (answer != IPCX_MORE) {
        return true;
    }
    /* Perhaps a signal was what turned the call into one that goes on in the background. */
    return PyErr_CheckSignals() == 0 && ipcx_py_run(call, connected_step, NULL, &answer);
}

/* The destination of connect and connect_ex: 1 made and audited, 0 to be delegated, -1 failed. */
static int destination(const ipcx_py_call *call, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames, ipcx_addr *addr)
{
    int made;
    if (kwnames != NULL || nargs != 1) {
        return 0;
    }
    made = ipcx_py_to_addr(call, args[0], addr);
    if (made == 1 && PySys_Audit("socket.connect", "OO", call->self, args[0]) < 0) {
        return -1;
    }
    return made;
}

PyObject *ipcx_py_socket_connect(IPCX_PY_ARGS)
{
    ipcx_addr addr;
    ipcx_py_call call;
    int made;
    if (!ipcx_py_begin(&call, self, "connect")) {
        return NULL;
    }
    made = destination(&call, args, nargs, kwnames, &addr);
    if (made == 0) {
        return ipcx_py_delegate(self, IPCX_PY_connect, args, nargs, kwnames);
    }
    call.seen.what = args[0];
    if (made < 0 || !connect_to(&call, &addr)) {
        return ipcx_py_failed(&call, args, nargs);
    }
    return ipcx_py_traced(&call)
               ? ipcx_py_done_traced(&call, Py_NewRef(Py_None), Py_NewRef(args[0]))
               : Py_NewRef(Py_None);
}

/* The errno of the OSError that is set, which is cleared; EAGAIN for a time-out, as the stdlib has
 * it; -1 when another exception is set, which stays. */
static int taken_errno(void)
{
    PyObject *type, *value, *traceback, *number;
    int error = -1;
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return -1;
    }
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    number = PyObject_GetAttrString(value, "errno");
    if (number != NULL && PyLong_Check(number)) {
        error = (int)PyLong_AsLong(number);
    } else if (number == Py_None && PyErr_GivenExceptionMatches(value, PyExc_TimeoutError)) {
        error = EAGAIN;
    }
    Py_XDECREF(number);
    if (error < 0) {
        PyErr_Restore(type, value, traceback);
        return -1;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return error;
}

PyObject *ipcx_py_socket_connect_ex(IPCX_PY_ARGS)
{
    ipcx_addr addr;
    ipcx_py_call call;
    PyObject *result;
    int made, error = 0;
    if (!ipcx_py_begin(&call, self, "connect_ex")) {
        return NULL;
    }
    made = destination(&call, args, nargs, kwnames, &addr);
    if (made == 0) {
        return ipcx_py_delegate(self, IPCX_PY_connect_ex, args, nargs, kwnames);
    }
    if (made < 0) {
        return ipcx_py_failed(&call, args, nargs);
    }
    if (!connect_to(&call, &addr)) {
        error = taken_errno();
        if (error < 0) {
            return ipcx_py_failed(&call, args, nargs);
        }
    }
    result = PyLong_FromLong(error);
    call.seen.what = args[0];
    return ipcx_py_traced(&call) ? ipcx_py_done_traced(&call, result, Py_XNewRef(result)) : result;
}

/* The base's own method, and our trace of it. */
static PyObject *base_verb(PyObject *self, ipcx_py_verb verb, const char *op, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames)
{
    ipcx_py_call call;
    PyObject *result = ipcx_py_delegate(self, verb, args, nargs, kwnames);
    if (result == NULL || !ipcx_py_watched(ipcx_py_own_of(self)->state)) {
        return result;
    }
    if (!ipcx_py_begin(&call, self, op)) {
        Py_DECREF(result);
        return NULL;
    }
    return ipcx_py_done_traced(&call, result, Py_NewRef(nargs > 0 ? args[0] : Py_None));
}

PyObject *ipcx_py_socket_bind(IPCX_PY_ARGS)
{
    return base_verb(self, IPCX_PY_bind, "bind", args, nargs, kwnames);
}

PyObject *ipcx_py_socket_listen(IPCX_PY_ARGS)
{
    return base_verb(self, IPCX_PY_listen, "listen", args, nargs, kwnames);
}

PyObject *ipcx_py_socket_shutdown(IPCX_PY_ARGS)
{
    return base_verb(self, IPCX_PY_shutdown, "shutdown", args, nargs, kwnames);
}
