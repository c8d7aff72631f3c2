/* SPDX-License-Identifier: Apache-2.0
 * `ipcx.pipes`'s core: named pipes opened with a deadline, reading and writing without SIGPIPE.
 * Invariant: a descriptor that is returned is the caller's own. */
#include "py/py_chan.h"

#include <errno.h>

#include "ipcx/pipe.h"
#include "os/holder.h"

static ipcx_py_state *state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

/* Tells who records of the descriptor and of `what`; without it, of the exception that is set. */
static void show(PyObject *module, const char *op, int fd, PyObject *what, size_t size,
                 ipcx_py_seen *seen)
{
    PyObject *number;
    if (!ipcx_py_watched(state_of(module))) {
        return;
    }
    number = PyLong_FromLong(fd);
    seen->what = what;
    ipcx_py_show_record(state_of(module), op, number, what != NULL ? PyLong_FromSize_t(size) : NULL,
                        seen);
    Py_XDECREF(number);
}

/* ---- the gate of an end, so that one thread may close what another one waits at */

#define GATE "ipcx.gate"

static void gate_free(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, GATE));
}

static PyObject *pipe_gate(PyObject *module, PyObject *Py_UNUSED(none))
{
    ipcx_gate *gate = PyMem_Calloc(1, sizeof *gate);
    PyObject *made;
    (void)module;
    if (gate == NULL) {
        return PyErr_NoMemory();
    }
    made = PyCapsule_New(gate, GATE, gate_free);
    if (made == NULL) {
        PyMem_Free(gate);
    }
    return made;
}

static PyObject *pipe_close(PyObject *module, PyObject *args)
{
    PyObject *capsule;
    ipcx_gate *gate;
    int fd;
    (void)module;
    if (!PyArg_ParseTuple(args, "iO", &fd, &capsule) ||
        (gate = PyCapsule_GetPointer(capsule, GATE)) == NULL) {
        return NULL;
    }
    IPCX_PY_WITHOUT_GIL(ipcx_pipe_close(fd, gate));
    Py_RETURN_NONE;
}

/* ---- bytes */

/* The bytes written; WouldBlock, PeerClosed. */
static PyObject *pipe_write(PyObject *module, PyObject *args)
{
    Py_buffer data;
    size_t written = 0;
    int fd;
    ipcx_status status;
    ipcx_error err = {0};
    ipcx_py_seen seen;
    if (!PyArg_ParseTuple(args, "iy*", &fd, &data)) {
        return NULL;
    }
    ipcx_py_see(&seen, state_of(module));
    IPCX_PY_WAITING(status,
                    status = ipcx_pipe_write(fd, data.buf, (size_t)data.len, &written, &err));
    if (status != IPCX_OK) {
        (void)ipcx_py_chan_raise(state_of(module), "write", status, &err, 0);
    }
    show(module, "write", fd, status == IPCX_OK ? data.obj : NULL, written, &seen);
    PyBuffer_Release(&data);
    return status == IPCX_OK ? PyLong_FromSize_t(written) : NULL;
}

static PyObject *pipe_read(PyObject *module, PyObject *args)
{
    PyObject *timeout, *made, *capsule;
    ipcx_gate *gate;
    Py_ssize_t size;
    size_t got = 0;
    int64_t ns;
    int fd;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    ipcx_py_seen seen;
    if (!PyArg_ParseTuple(args, "inOO", &fd, &size, &timeout, &capsule) ||
        (gate = PyCapsule_GetPointer(capsule, GATE)) == NULL ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    if (size < 1) {
        PyErr_Format(PyExc_ValueError, "%zd bytes cannot be read: at least 1", size);
        return NULL;
    }
    made = PyBytes_FromStringAndSize(NULL, size);
    if (made == NULL) {
        return NULL;
    }
    ipcx_py_see(&seen, state_of(module));
    deadline = ns == 0 ? IPCX_NOW : ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_pipe_read(fd, gate, PyBytes_AS_STRING(made), (size_t)size,
                                                    deadline, &got, &err));
    if (status != IPCX_OK && status != IPCX_EOF) {
        Py_DECREF(made);
        (void)ipcx_py_chan_raise(state_of(module), "read", status, &err, ns);
        made = NULL;
    } else {
        (void)_PyBytes_Resize(&made, (Py_ssize_t)got);
    }
    show(module, "read", fd, made, got, &seen);
    return made;
}

static PyObject *pipe_wait_room(PyObject *module, PyObject *args)
{
    PyObject *timeout, *capsule;
    ipcx_gate *gate;
    int64_t ns;
    int fd;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "iOO", &fd, &timeout, &capsule) ||
        (gate = PyCapsule_GetPointer(capsule, GATE)) == NULL ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    deadline = ns == 0 ? IPCX_NOW : ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_pipe_wait_room(fd, gate, deadline, &err));
    if (status != IPCX_OK) {
        return ipcx_py_chan_raise(state_of(module), "write", status, &err, ns);
    }
    Py_RETURN_NONE;
}

static PyObject *fifo_make(PyObject *module, PyObject *args)
{
    PyObject *path;
    int mode;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "O&i", PyUnicode_FSConverter, &path, &mode)) {
        return NULL;
    }
    IPCX_PY_WITHOUT_GIL(status = ipcx_fifo_make(PyBytes_AS_STRING(path), (mode_t)mode, &err));
    Py_DECREF(path);
    if (status != IPCX_OK) {
        return ipcx_py_raise(state_of(module), status, &err);
    }
    Py_RETURN_NONE;
}

static PyObject *fifo_opener(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *path;
    int pid;
    if (!PyArg_ParseTuple(args, "O&", PyUnicode_FSConverter, &path)) {
        return NULL;
    }
    IPCX_PY_WITHOUT_GIL(pid = ipcx__fifo_opener(PyBytes_AS_STRING(path)));
    Py_DECREF(path);
    return PyLong_FromLong(pid);
}

static PyObject *fifo_open(PyObject *module, PyObject *args)
{
    PyObject *path, *timeout;
    int64_t ns;
    int writes, fd = -1;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "O&pO", PyUnicode_FSConverter, &path, &writes, &timeout)) {
        return NULL;
    }
    if (!ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        Py_DECREF(path);
        return NULL;
    }
    deadline = ns == 0 ? IPCX_NOW : ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status,
                    status = ipcx_fifo_open(PyBytes_AS_STRING(path), writes, deadline, &fd, &err));
    Py_DECREF(path);
    if (status == IPCX_SYSTEM &&
        (err.sys_errno == ELOOP || err.sys_errno == EINVAL || err.sys_errno == ENXIO)) {
        err.sys_errno = EPERM; /* something else is in the pipe's place */
    }
    if (status != IPCX_OK) {
        return ipcx_py_chan_raise(state_of(module), "open", status, &err, ns);
    }
    return PyLong_FromLong(fd);
}

static PyMethodDef functions[] = {
    {"pipe_write", pipe_write, METH_VARARGS,
     PyDoc_STR("pipe_write(fd, data) -> int\n\nOne write(2), which never raises SIGPIPE.")},
    {"pipe_read", pipe_read, METH_VARARGS,
     PyDoc_STR("pipe_read(fd, size, timeout, gate) -> bytes\n\nWhat is there; b'' at the end.")},
    {"pipe_wait_room", pipe_wait_room, METH_VARARGS,
     PyDoc_STR("pipe_wait_room(fd, timeout, gate)\n\nUntil a write is worth a try.")},
    {"pipe_gate", pipe_gate, METH_NOARGS, PyDoc_STR("pipe_gate()\n\nThat of an end.")},
    {"pipe_close", pipe_close, METH_VARARGS,
     PyDoc_STR("pipe_close(fd, gate)\n\nEnds the calls of other threads; not twice.")},
    {"fifo_make", fifo_make, METH_VARARGS, PyDoc_STR("fifo_make(path, mode)\n\nA new named pipe.")},
    {"fifo_opener", fifo_opener, METH_VARARGS,
     PyDoc_STR("fifo_opener(path) -> int\n\nWho waits in open(2) for its other side; 0: nobody.")},
    {"fifo_open", fifo_open, METH_VARARGS,
     PyDoc_STR("fifo_open(path, writes, timeout) -> int\n\nA descriptor of one end.")},
    {NULL, NULL, 0, NULL},
};

int ipcx_py_pipe_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
