/* SPDX-License-Identifier: Apache-2.0
 * One call of a socket's verb: beginning, waiting, failing, and handing over to the base class.
 * Invariant: whoever waits is inside the socket's gate; signal handlers run outside of it, for they
 * may close the socket. */
#include "py/py_socket.h"

#include <errno.h>
#include <string.h>

#include "os/gate.h"

static bool int_of(PyObject *self, const char *name, bool call, int *out)
{
    PyObject *value =
        call ? PyObject_CallMethod(self, name, NULL) : PyObject_GetAttrString(self, name);
    long number = value == NULL ? -1 : PyLong_AsLong(value);
    Py_XDECREF(value);
    if (number == -1 && PyErr_Occurred()) {
        return false;
    }
    *out = (int)number;
    return true;
}

bool ipcx_py_begin_by_methods(ipcx_py_call *call)
{
    PyObject *timeout;
    if (!int_of(call->self, "fileno", true, &call->fd) ||
        !int_of(call->self, "family", false, &call->family) ||
        !int_of(call->self, "type", false, &call->type) ||
        !int_of(call->self, "proto", false, &call->proto)) {
        return false;
    }
    timeout = PyObject_CallMethod(call->self, "gettimeout", NULL);
    if (timeout == NULL) {
        return false;
    }
    call->timeout = -1;
    if (timeout != Py_None) {
        double seconds = PyFloat_AsDouble(timeout);
        call->timeout = seconds >= 9e9 ? INT64_MAX : (int64_t)(seconds * 1e9);
    }
    Py_DECREF(timeout);
    return true;
}

PyObject *ipcx_py_delegate(PyObject *self, ipcx_py_verb verb, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames)
{
    ipcx_py_state *state = ipcx_py_own_of(self)->state;
    Py_ssize_t count = nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject **all = PyMem_Calloc((size_t)count + 1, sizeof *all);
    ipcx_py_call call = {.self = self, .state = state, .op = ""};
    PyObject *result;
    if (all == NULL) {
        return PyErr_NoMemory();
    }
    all[0] = self;
    if (count > 0) {
        memcpy(all + 1, args, (size_t)count * sizeof *all);
    }
    ipcx_py_see(&call.seen, state);
    result = PyObject_Vectorcall(state->base_verbs[verb], all, (size_t)nargs + 1, kwnames);
    PyMem_Free(all);
    if (result == NULL && (state->error_hook != NULL || ipcx_py_watched(state))) {
        PyObject *name = PyObject_GetAttrString(state->base_verbs[verb], "__name__");
        if (name != NULL) {
            call.op = PyUnicode_AsUTF8(name);
        }
        (void)ipcx_py_failed(&call, args, nargs);
        Py_XDECREF(name);
    }
    return result;
}

void ipcx_py_errno(int error)
{
    errno = error;
    (void)PyErr_SetFromErrno(PyExc_OSError);
}

/* The gate of a socket that was closed and then initialised anew is open again. */
static bool enter(ipcx_py_call *call)
{
    ipcx_gate *gate = &call->own->gate;
    if (ipcx__gate_enter(gate)) {
        return true;
    }
    if (ipcx_py_layout.trusted && ipcx_py_prefix_of(call->self)->fd == call->fd && call->fd >= 0) {
        ipcx__gate_reopen(gate);
        return ipcx__gate_enter(gate);
    }
    return false;
}

/* Whether the object still has the descriptor that the call began with. */
static bool still_open(const ipcx_py_call *call)
{
    int fd = -1;
    if (ipcx_py_layout.trusted) {
        fd = ipcx_py_prefix_of(call->self)->fd;
    } else if (!int_of(call->self, "fileno", true, &fd)) {
        PyErr_Clear();
    }
    return fd == call->fd && fd >= 0;
}

static ipcx_deadline deadline_of(ipcx_py_call *call)
{
    if (!call->waited) {
        call->waited = true;
        call->deadline = call->timeout < 0 ? IPCX_FOREVER : ipcx_deadline_after(call->timeout);
    }
    return call->deadline;
}

bool ipcx_py_run(ipcx_py_call *call, ipcx_py_step step, void *arg, ipcx_status *answer)
{
    ipcx_error error = {0};
    ipcx__io io = {
        .fd = call->fd,
        .gate = &call->own->gate,
        .deadline = deadline_of(call),
        .stream = call->type == SOCK_STREAM,
        .as_kernel = true,
    };
    ipcx_status status = IPCX_CLOSED;

    if (call->fd < 0) {
        ipcx_py_errno(EBADF);
        return false;
    }
    do {
        if (!enter(call)) {
            status = IPCX_CLOSED;
            break;
        }
        IPCX_PY_WITHOUT_GIL(status = step(&io, arg, &error); ipcx__gate_leave(io.gate));
        if (status == IPCX_INTR) {
            if (PyErr_CheckSignals() < 0) {
                return false;
            }
            if (!still_open(call)) {
                status = IPCX_CLOSED;
            }
        }
    } while (status == IPCX_INTR);

    if (status == IPCX_OK || status == IPCX_EOF || status == IPCX_MORE ||
        (status == IPCX_TOO_LARGE && error.sys_errno == 0)) {
        *answer = status;
        return true;
    }
    if (status == IPCX_TIMEOUT) {
        PyErr_SetString(PyExc_TimeoutError, "timed out");
    } else {
        ipcx_py_errno(status == IPCX_AGAIN    ? EAGAIN
                      : status == IPCX_CLOSED ? EBADF
                                              : error.sys_errno);
    }
    return false;
}

/* The hook sees the exception that is set and may change nothing but its notes. */
static void show_error(PyObject *hook, const ipcx_py_call *call, PyObject *const *args,
                       Py_ssize_t nargs)
{
    PyObject *type, *value, *traceback, *given, *result;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        (void)PyException_SetTraceback(value, traceback);
    }
    given = PyTuple_New(nargs);
    for (Py_ssize_t i = 0; given != NULL && i < nargs; i++) {
        PyTuple_SET_ITEM(given, i, Py_NewRef(args[i]));
    }
    result = given == NULL
                 ? NULL
                 : PyObject_CallFunction(hook, "OsOO", value, call->op, call->self, given);
    Py_XDECREF(given);
    if (result == NULL) {
        PyErr_WriteUnraisable(hook);
    }
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

PyObject *ipcx_py_failed(ipcx_py_call *call, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_state *state = call->state;
    if (IPCX_UNLIKELY(state->error_hook != NULL) && PyErr_ExceptionMatches(PyExc_OSError)) {
        show_error(state->error_hook, call, args, nargs);
    }
    if (ipcx_py_watched(state)) {
        ipcx_py_show(state, call->op, call->self, NULL, &call->seen);
    }
    return NULL;
}

PyObject *ipcx_py_done_traced(ipcx_py_call *call, PyObject *result, PyObject *detail)
{
    if (result != NULL && detail != NULL) {
        ipcx_py_show(call->state, call->op, call->self, detail, &call->seen);
    } else {
        Py_XDECREF(detail);
    }
    return result;
}
