/* SPDX-License-Identifier: Apache-2.0
 * recv_exactly and recv_until: what a byte stream makes every program write itself.
 * Invariant: bytes taken from the kernel are in the result or in the exception's `partial`. */
#include "py/py_socket.h"

#include <string.h>

/* recv_until starts with this much room and doubles it. */
#define FIRST_ROOM 4096

typedef struct whole_arg {
    char *buffer;
    size_t room;
    size_t limit;
    size_t got;
    const char *delimiter;
    size_t delimiter_size;
} whole_arg;

static ipcx_status exactly_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    whole_arg *arg = opaque;
    return ipcx__io_recv_exactly(io, arg->buffer, arg->limit, &arg->got, err);
}

static ipcx_status until_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    whole_arg *arg = opaque;
    return ipcx__io_recv_until(io, arg->buffer, arg->room, arg->limit, arg->delimiter,
                               arg->delimiter_size, &arg->got, err);
}

/* Puts what was taken into the exception that is set, whichever it is. */
static void add_partial(const char *data, size_t size)
{
    PyObject *type, *value, *traceback, *partial;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    partial = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    if (partial == NULL || PyObject_SetAttrString(value, "partial", partial) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(partial);
    PyErr_Restore(type, value, traceback);
}

static bool is_stream(const ipcx_py_call *call)
{
    if (call->type == SOCK_STREAM) {
        return true;
    }
    PyErr_Format(PyExc_ValueError,
                 "%s() reads a byte stream; a socket of another type keeps messages apart: "
                 "use recv()",
                 call->op);
    return false;
}

/* Ends a call that took arg->got bytes; `bytes` is stolen. */
static PyObject *finish(ipcx_py_call *call, bool ran, ipcx_status answer, const whole_arg *arg,
                        PyObject *bytes, PyObject *const *args, Py_ssize_t nargs)
{
    call->seen.moved = arg->got;
    call->seen.what = bytes;
    call->seen.flags = 0;
    if (ran && answer == IPCX_OK) {
        if ((Py_ssize_t)arg->got != PyBytes_GET_SIZE(bytes)) {
            (void)_PyBytes_Resize(&bytes, (Py_ssize_t)arg->got);
            call->seen.what = bytes;
        }
        return bytes != NULL && ipcx_py_traced(call)
                   ? ipcx_py_done_traced(call, bytes, PyLong_FromSize_t(arg->got))
                   : bytes;
    }
    if (ran) {
        ipcx_error error = {0};
        (void)ipcx_error_set(&error, answer == IPCX_EOF ? IPCX_PEER_CLOSED : IPCX_TOO_LARGE, 0,
                             call->op, "after %zu bytes, which are in .partial", arg->got);
        (void)ipcx_py_raise(call->state, error.status, &error);
    }
    add_partial(PyBytes_AS_STRING(bytes), arg->got);
    (void)ipcx_py_failed(call, args, nargs);
    Py_DECREF(bytes);
    return NULL;
}

PyObject *ipcx_py_socket_recv_exactly(IPCX_PY_ARGS)
{
    static const char *const names[] = {"n", NULL};
    PyObject *values[1] = {NULL};
    ipcx_py_call call;
    whole_arg arg = {0};
    ipcx_status answer = IPCX_OK;
    Py_ssize_t size;
    PyObject *bytes;
    bool ran;

    if (!ipcx_py_named(values, names, 1, "recv_exactly", args, nargs, kwnames)) {
        return NULL;
    }
    size = PyNumber_AsSsize_t(values[0], PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (size < 0) {
        PyErr_SetString(PyExc_ValueError, "negative size in recv_exactly");
        return NULL;
    }
    if (!ipcx_py_begin(&call, self, "recv_exactly") || !is_stream(&call)) {
        return NULL;
    }
    bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL) {
        return NULL;
    }
    arg.buffer = PyBytes_AS_STRING(bytes);
    arg.limit = (size_t)size;
    if (size > 0 && size <= IPCX_PY_TRY_MAX) {
        ssize_t n = recv(call.fd, arg.buffer, arg.limit, MSG_DONTWAIT);
        arg.got = n > 0 ? (size_t)n : 0;
        if (n < 0 && !ipcx_py_may_wait(&call, errno, 0)) {
            ipcx_py_errno(errno); /* Told once: the kernel forgets it. */
            return finish(&call, false, answer, &arg, bytes, args, nargs);
        }
    }
    ran = arg.got == arg.limit || ipcx_py_run(&call, exactly_step, &arg, &answer);
    return finish(&call, ran, answer, &arg, bytes, args, nargs);
}

/* Room for more of what recv_until looks through: the limit, or twice as much as before. On failure
 * what there is stays. */
static bool enlarge(PyObject **bytes, whole_arg *arg)
{
    size_t room = arg->room * 2 < arg->limit ? arg->room * 2 : arg->limit;
    PyObject *larger = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
    if (larger == NULL) {
        return false;
    }
    arg->room = room;
    arg->buffer = PyBytes_AS_STRING(larger);
    memcpy(arg->buffer, PyBytes_AS_STRING(*bytes), arg->got);
    Py_SETREF(*bytes, larger);
    return true;
}

PyObject *ipcx_py_socket_recv_until(IPCX_PY_ARGS)
{
    static const char *const names[] = {"delimiter", "limit", NULL};
    PyObject *values[2] = {NULL, NULL}, *bytes;
    ipcx_py_call call;
    whole_arg arg = {0};
    ipcx_status answer = IPCX_MORE;
    Py_ssize_t limit = 65536;
    Py_buffer delimiter;
    bool ran = true;

    if (!ipcx_py_named(values, names, 1, "recv_until", args, nargs, kwnames)) {
        return NULL;
    }
    if (values[1] != NULL) {
        limit = PyNumber_AsSsize_t(values[1], PyExc_OverflowError);
        if (limit == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    if (PyObject_GetBuffer(values[0], &delimiter, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (delimiter.len == 0 || limit < delimiter.len) {
        PyErr_SetString(PyExc_ValueError, delimiter.len == 0
                                              ? "empty delimiter in recv_until"
                                              : "limit of recv_until is below the delimiter");
        PyBuffer_Release(&delimiter);
        return NULL;
    }
    bytes = ipcx_py_begin(&call, self, "recv_until") && is_stream(&call)
                ? PyBytes_FromStringAndSize(NULL, limit < FIRST_ROOM ? limit : FIRST_ROOM)
                : NULL;
    if (bytes == NULL) {
        PyBuffer_Release(&delimiter);
        return NULL;
    }
    arg.limit = (size_t)limit;
    arg.room = (size_t)PyBytes_GET_SIZE(bytes);
    arg.buffer = PyBytes_AS_STRING(bytes);
    arg.delimiter = delimiter.buf;
    arg.delimiter_size = (size_t)delimiter.len;
    while (ran && answer == IPCX_MORE) {
        ran = ipcx_py_run(&call, until_step, &arg, &answer);
        if (ran && answer == IPCX_MORE) {
            ran = enlarge(&bytes, &arg);
        }
    }
    PyBuffer_Release(&delimiter);
    return finish(&call, ran, answer, &arg, bytes, args, nargs);
}
