/* SPDX-License-Identifier: Apache-2.0
 * settimeout, setblocking, close, detach: what changes the object and not the conversation.
 * Invariant: the descriptor's number is given back only when no other thread is using it. */
#include "py/py_socket.h"

#include <errno.h>
#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "os/gate.h"

static PyObject *end(ipcx_py_call *call, PyObject *result, PyObject *detail)
{
    return ipcx_py_traced(call) ? ipcx_py_done_traced(call, result, Py_XNewRef(detail)) : result;
}

/* The trace of what closes tells the descriptor that was. */
static PyObject *ended_with_fd(ipcx_py_call *call, PyObject *result)
{
    return ipcx_py_traced(call) ? ipcx_py_done_traced(call, result, PyLong_FromLong(call->fd))
                                : result;
}

/* None or seconds, rounded up to nanoseconds as the stdlib does. False: not ours to judge. */
static bool to_timeout(PyObject *value, int64_t *out)
{
    double seconds;
    if (value == Py_None) {
        *out = -1000000000;
        return true;
    }
    if (PyFloat_CheckExact(value)) {
        seconds = PyFloat_AS_DOUBLE(value);
    } else if (PyLong_CheckExact(value)) {
        seconds = PyLong_AsDouble(value);
    } else {
        return false;
    }
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    /* Out of range, negative or not a number: the base says so. */
    if (!(seconds >= 0 && seconds < 9e9)) {
        return false;
    }
    *out = (int64_t)ceil(seconds * 1e9);
    return true;
}

static PyObject *set_timeout(ipcx_py_call *call, int64_t timeout, PyObject *const *args,
                             Py_ssize_t nargs, PyObject *detail)
{
    int nonblocking = timeout >= 0;
    ipcx_py_prefix_of(call->self)->timeout = timeout;
    /* Even when the mode stays: whoever else holds the descriptor may have changed it. */
    if (ioctl(call->fd, FIONBIO, &nonblocking) < 0) {
        ipcx_py_errno(errno);
        return ipcx_py_failed(call, args, nargs);
    }
    return end(call, Py_NewRef(Py_None), detail);
}

PyObject *ipcx_py_socket_settimeout(IPCX_PY_ARGS)
{
    ipcx_py_call call;
    int64_t timeout;
    if (!ipcx_py_layout.trusted || kwnames != NULL || nargs != 1 ||
        !to_timeout(args[0], &timeout)) {
        return ipcx_py_delegate(self, IPCX_PY_settimeout, args, nargs, kwnames);
    }
    if (!ipcx_py_begin(&call, self, "settimeout")) {
        return NULL;
    }
    return set_timeout(&call, timeout, args, nargs, args[0]);
}

PyObject *ipcx_py_socket_setblocking(IPCX_PY_ARGS)
{
    ipcx_py_call call;
    if (!ipcx_py_layout.trusted || kwnames != NULL || nargs != 1 || !PyBool_Check(args[0])) {
        return ipcx_py_delegate(self, IPCX_PY_setblocking, args, nargs, kwnames);
    }
    if (!ipcx_py_begin(&call, self, "setblocking")) {
        return NULL;
    }
    return set_timeout(&call, args[0] == Py_True ? -1000000000 : 0, args, nargs, args[0]);
}

/* Closes the gate, then the descriptor. 0, or errno. */
static int close_behind_gate(ipcx_gate *gate, int fd)
{
    ipcx__gate_close(gate);
    return close(fd) < 0 ? errno : 0;
}

static PyObject *close_by_base(ipcx_py_call *call, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames)
{
    PyObject *result;
    IPCX_PY_WITHOUT_GIL(ipcx__gate_close(&call->own->gate));
    result = ipcx_py_delegate(call->self, IPCX_PY__real_close, args, nargs, kwnames);
    return ended_with_fd(call, result);
}

PyObject *ipcx_py_socket_real_close(IPCX_PY_ARGS)
{
    ipcx_py_call call;
    int error;
    if (!ipcx_py_begin(&call, self, "close")) {
        return NULL;
    }
    if (call.fd < 0) {
        Py_RETURN_NONE;
    }
    if (!ipcx_py_layout.trusted) {
        return close_by_base(&call, args, nargs, kwnames);
    }
    ipcx_py_prefix_of(self)->fd = -1;
    IPCX_PY_WITHOUT_GIL(error = close_behind_gate(&call.own->gate, call.fd));
    /* bpo-30319: the peer may have reset the connection already. */
    if (error != 0 && error != ECONNRESET) {
        ipcx_py_errno(error);
        return ipcx_py_failed(&call, args, nargs);
    }
    return ended_with_fd(&call, Py_NewRef(Py_None));
}

/* Whether an open makefile() still needs the descriptor. */
static bool is_lent(PyObject *self)
{
    PyObject *count = *(PyObject **)((char *)self + ipcx_py_layout.io_refs);
    return count != NULL && PyLong_Check(count) && PyLong_AsLong(count) > 0;
}

PyObject *ipcx_py_socket_close(IPCX_PY_ARGS)
{
    if (!ipcx_py_layout.trusted || nargs != 0 || kwnames != NULL) {
        return ipcx_py_delegate(self, IPCX_PY_close, args, nargs, kwnames);
    }
    ipcx_py_slot_set(self, ipcx_py_layout.closed, Py_True);
    if (is_lent(self)) {
        Py_RETURN_NONE;
    }
    if (Py_IS_TYPE(self, (PyTypeObject *)ipcx_py_own_of(self)->state->socket_type)) {
        return ipcx_py_socket_real_close(self, NULL, 0, NULL);
    }
    return PyObject_CallMethod(self, "_real_close", NULL);
}

PyObject *ipcx_py_socket_detach(IPCX_PY_ARGS)
{
    ipcx_py_call call;
    PyObject *fd;
    if (!ipcx_py_layout.trusted || nargs != 0 || kwnames != NULL) {
        return ipcx_py_delegate(self, IPCX_PY_detach, args, nargs, kwnames);
    }
    if (!ipcx_py_begin(&call, self, "detach")) {
        return NULL;
    }
    fd = PyLong_FromLong(call.fd);
    if (fd == NULL) {
        return NULL;
    }
    ipcx_py_slot_set(self, ipcx_py_layout.closed, Py_True);
    ipcx_py_prefix_of(self)->fd = -1;
    return end(&call, fd, fd);
}
