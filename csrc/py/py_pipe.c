/* SPDX-License-Identifier: Apache-2.0
 * `ipcx.pipes`'s core: named pipes opened with a deadline, reading and writing without SIGPIPE.
 * Invariant: a descriptor that is returned is the caller's own. */
#include "py/py_chan.h"

#include "ipcx/pipe.h"

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
    PyObject *timeout, *made;
    Py_ssize_t size;
    size_t got = 0;
    int64_t ns;
    int fd;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    ipcx_py_seen seen;
    if (!PyArg_ParseTuple(args, "inO", &fd, &size, &timeout) ||
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
    IPCX_PY_WAITING(status, status = ipcx_pipe_read(fd, PyBytes_AS_STRING(made), (size_t)size,
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
    PyObject *timeout;
    int64_t ns;
    int fd;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "iO", &fd, &timeout) ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    deadline = ns == 0 ? IPCX_NOW : ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_pipe_wait_room(fd, deadline, &err));
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
    status = ipcx_fifo_make(PyBytes_AS_STRING(path), (mode_t)mode, &err);
    Py_DECREF(path);
    if (status != IPCX_OK) {
        return ipcx_py_raise(state_of(module), status, &err);
    }
    Py_RETURN_NONE;
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
    if (status != IPCX_OK) {
        return ipcx_py_chan_raise(state_of(module), "open", status, &err, ns);
    }
    return PyLong_FromLong(fd);
}

static PyMethodDef functions[] = {
    {"pipe_write", pipe_write, METH_VARARGS,
     PyDoc_STR("pipe_write(fd, data) -> int\n\nOne write(2), which never raises SIGPIPE.")},
    {"pipe_read", pipe_read, METH_VARARGS,
     PyDoc_STR("pipe_read(fd, size, timeout) -> bytes\n\nWhat is there; b'' at the end.")},
    {"pipe_wait_room", pipe_wait_room, METH_VARARGS,
     PyDoc_STR("pipe_wait_room(fd, timeout)\n\nUntil a write is worth a try.")},
    {"fifo_make", fifo_make, METH_VARARGS, PyDoc_STR("fifo_make(path, mode)\n\nA new named pipe.")},
    {"fifo_open", fifo_open, METH_VARARGS,
     PyDoc_STR("fifo_open(path, writes, timeout) -> int\n\nA descriptor of one end.")},
    {NULL, NULL, 0, NULL},
};

int ipcx_py_pipe_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
