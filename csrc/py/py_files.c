/* SPDX-License-Identifier: Apache-2.0
 * `ipcx.files`'s core, but for the log: replacing, locking, watching.
 * Invariant: the classes of ipcx/files.py derive from these types and call them with positional
 * arguments only. */
#include "py/py_chan.h"

#include <errno.h>
#include <stddef.h>
#include <structmember.h>

#include "ipcx/fd.h"
#include "ipcx/file.h"
#include "ipcx/watch.h"
#include "os/file.h"
#include "os/gate.h"

static void free_object(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *none_or_raise(PyObject *op, ipcx_status status, const ipcx_error *err)
{
    if (status != IPCX_OK) {
        return ipcx_py_raise(ipcx_py_state_of(op), status, err);
    }
    Py_RETURN_NONE;
}

/* ---- replacing */

typedef struct replacement {
    PyObject_HEAD ipcx_replacement core;
} replacement;

static int replacement_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    replacement *self = (replacement *)op;
    PyObject *path;
    int mode;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "O&i", PyUnicode_FSConverter, &path, &mode)) {
        return -1;
    }
    ipcx_file_replace_abort(&self->core);
    IPCX_PY_WAITING(status, status = ipcx_file_replace_begin(&self->core, PyBytes_AS_STRING(path),
                                                             (mode_t)mode, &err));
    Py_DECREF(path);
    if (status != IPCX_OK) {
        (void)ipcx_py_raise(ipcx_py_state_of(op), status, &err);
        return -1;
    }
    return 0;
}

static PyObject *replacement_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    replacement *self = (replacement *)op;
    if (!self->core.open) {
        PyErr_SetString(PyExc_ValueError, "this replacement has ended");
        return NULL;
    }
    return PyLong_FromLong(self->core.fd);
}

static PyObject *replacement_write(PyObject *op, PyObject *data)
{
    replacement *self = (replacement *)op;
    Py_buffer bytes;
    ipcx_status status;
    ipcx_error err = {0};
    if (PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    IPCX_PY_WITHOUT_GIL(status = ipcx_file_write(self->core.open ? self->core.fd : -1, bytes.buf,
                                                 (size_t)bytes.len, &err));
    PyBuffer_Release(&bytes);
    if (status != IPCX_OK && self->core.open) { /* by its name, not by a number */
        errno = err.sys_errno;
        status = ipcx__file_failed("write", self->core.name, &err);
    }
    return none_or_raise(op, status, &err);
}

static PyObject *replacement_commit(PyObject *op, PyObject *durable)
{
    replacement *self = (replacement *)op;
    ipcx_status status;
    ipcx_error err = {0};
    int wanted = PyObject_IsTrue(durable);
    if (wanted < 0) {
        return NULL;
    }
    if (!self->core.open) {
        return replacement_fileno(op, NULL);
    }
    IPCX_PY_WAITING(status, status = ipcx_file_replace_commit(&self->core, wanted, &err));
    return none_or_raise(op, status, &err);
}

static PyObject *replacement_abort(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_file_replace_abort(&((replacement *)op)->core);
    Py_RETURN_NONE;
}

static void replacement_dealloc(PyObject *op)
{
    ipcx_file_replace_abort(&((replacement *)op)->core);
    free_object(op);
}

static PyMethodDef replacement_methods[] = {
    {"fileno", replacement_fileno, METH_NOARGS,
     PyDoc_STR("fileno($self, /)\n--\n\nThe descriptor of the new file.")},
    {"write", replacement_write, METH_O,
     PyDoc_STR("write($self, data, /)\n--\n\nWrite all of it to the new file.")},
    {"commit", replacement_commit, METH_O,
     PyDoc_STR("commit($self, durable, /)\n--\n\nThe new file takes the old one's place.")},
    {"abort", replacement_abort, METH_NOARGS,
     PyDoc_STR("abort($self, /)\n--\n\nForget the new file.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot replacement_slots[] = {
    {Py_tp_doc, "The core of ipcx.files.atomic_write."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, replacement_start},
    {Py_tp_dealloc, replacement_dealloc},
    {Py_tp_methods, replacement_methods},
    {0, NULL},
};

/* ---- locking
 * All of it is C, so that no handler of a signal can raise between a lock that was taken and the
 * note of it, nor between the end of a `with` block and the lock's release. */

typedef struct file_lock {
    PyObject_HEAD PyObject *path; /* bytes */
    PyObject *held;               /* the descriptors, a list */
    char shared;
    ipcx_gate gate;
} file_lock;

static int lock_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    file_lock *self = (file_lock *)op;
    PyObject *path;
    int shared;
    if (self->held == NULL && (self->held = PyList_New(0)) == NULL) {
        return -1;
    }
    if (!PyArg_ParseTuple(args, "O&p", PyUnicode_FSConverter, &path, &shared)) {
        return -1;
    }
    self->shared = (char)shared;
    Py_XSETREF(self->path, path);
    return 0;
}

static PyObject *note_held(file_lock *self, int fd)
{
    PyObject *number = PyLong_FromLong(fd);
    if (number == NULL || PyList_Append(self->held, number) < 0) {
        Py_XDECREF(number);
        ipcx_file_unlock(fd);
        return NULL;
    }
    Py_DECREF(number);
    Py_RETURN_NONE;
}

static PyObject *take(PyObject *op, int shared, PyObject *timeout)
{
    file_lock *self = (file_lock *)op;
    const char *path;
    int fd;
    PyObject *kept;
    int64_t patience;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    if (self->path == NULL) {
        PyErr_SetString(PyExc_ValueError, "FileLock.__init__() was not called");
        return NULL;
    }
    if (!ipcx_py_patience(timeout, IPCX_PY_EVER, &patience)) {
        return NULL;
    }
    kept = Py_NewRef(self->path);
    path = PyBytes_AS_STRING(kept);
    deadline = ipcx_py_deadline(patience);
    IPCX_PY_WAITING(status,
                    status = ipcx_file_lock(path, shared, &self->gate, deadline, &fd, &err));
    Py_DECREF(kept);
    if (status == IPCX_INTR) {
        return NULL;
    }
    return status == IPCX_OK ? note_held(self, fd)
                             : ipcx_py_raise(ipcx_py_state_of(op), status, &err);
}

static PyObject *lock_acquire(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"timeout", "shared", NULL};
    PyObject *timeout = Py_None, *wanted = Py_None;
    int shared = ((file_lock *)op)->shared;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O$O", names, &timeout, &wanted)) {
        return NULL;
    }
    if (wanted != Py_None && (shared = PyObject_IsTrue(wanted)) < 0) {
        return NULL;
    }
    return take(op, shared, timeout);
}

static PyObject *lock_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    file_lock *self = (file_lock *)op;
    Py_ssize_t count = self->held == NULL ? 0 : PyList_GET_SIZE(self->held);
    long fd;
    if (count == 0) {
        PyErr_Format(PyExc_RuntimeError, "%R is not held", op);
        return NULL;
    }
    fd = PyLong_AsLong(PyList_GET_ITEM(self->held, count - 1));
    if (PyList_SetSlice(self->held, count - 1, count, NULL) < 0) {
        return NULL;
    }
    ipcx_file_unlock((int)fd);
    Py_RETURN_NONE;
}

static PyObject *lock_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *taken = take(op, ((file_lock *)op)->shared, Py_None);
    if (taken == NULL) {
        return NULL;
    }
    Py_DECREF(taken);
    return Py_NewRef(op);
}

static PyObject *lock_exit(PyObject *op, PyObject *Py_UNUSED(args))
{
    return lock_release(op, NULL);
}

static PyObject *lock_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    IPCX_PY_WITHOUT_GIL(ipcx__gate_close(&((file_lock *)op)->gate));
    Py_RETURN_NONE;
}

static void lock_dealloc(PyObject *op)
{
    Py_XDECREF(((file_lock *)op)->path);
    Py_XDECREF(((file_lock *)op)->held);
    free_object(op);
}

static PyMethodDef lock_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))lock_acquire, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("acquire($self, timeout=None, *, shared=None)\n--\n\n"
               "Wait for the lock: None for ever, else `Timeout` after so many seconds; 0: "
               "`WouldBlock`.\n"
               "\n"
               "IsADirectoryError, PermissionError: what is at the path cannot be locked.")},
    {"release", lock_release, METH_NOARGS,
     PyDoc_STR("release($self, /)\n--\n\n"
               "Give the lock back. RuntimeError: nobody holds it by this object.")},
    {"__enter__", lock_enter, METH_NOARGS, PyDoc_STR("__enter__($self, /)\n--\n\nAcquire it.")},
    {"__exit__", lock_exit, METH_VARARGS,
     PyDoc_STR("__exit__($self, /, *error)\n--\n\nRelease it.")},
    {"_close", lock_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef lock_members[] = {
    {"shared", T_BOOL, offsetof(file_lock, shared), READONLY, "Whether others may share it."},
    {"_held", T_OBJECT_EX, offsetof(file_lock, held), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, "The core of ipcx.files.FileLock."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, lock_start},
    {Py_tp_dealloc, lock_dealloc},
    {Py_tp_methods, lock_methods},
    {Py_tp_members, lock_members},
    {0, NULL},
};

/* ---- watching */

typedef struct watch {
    PyObject_HEAD ipcx_watch core;
} watch;

static int watch_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    watch *self = (watch *)op;
    PyObject *path;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "O&", PyUnicode_FSConverter, &path)) {
        return -1;
    }
    if (self->core.made_in != 0) {
        Py_DECREF(path);
        PyErr_SetString(PyExc_ValueError, "this watch is open already");
        return -1;
    }
    IPCX_PY_WAITING(status, status = ipcx_watch_open(&self->core, PyBytes_AS_STRING(path), &err));
    Py_DECREF(path);
    if (status != IPCX_OK) {
        (void)ipcx_py_raise(ipcx_py_state_of(op), status, &err);
        return -1;
    }
    return 0;
}

/* (kind, name, cookie, is_directory), or None after the end. What is taken is taken with the GIL
 * held, one thread at a time. */
static PyObject *watch_next(PyObject *op, PyObject *timeout)
{
    watch *self = (watch *)op;
    int64_t patience;
    ipcx_deadline deadline;
    ipcx_change change;
    ipcx_status status;
    ipcx_error err = {0};
    if (!ipcx_py_patience(timeout, IPCX_PY_EVER, &patience)) {
        return NULL;
    }
    deadline = ipcx_py_deadline(patience);
    for (;;) {
        status = ipcx_watch_next(&self->core, IPCX_NOW, &change, &err);
        if (status == IPCX_AGAIN && patience != IPCX_PY_NEVER) {
            IPCX_PY_WAITING(status, status = ipcx_watch_poll(&self->core, deadline, &err));
        } else if (status == IPCX_INTR && ipcx_py_signals() == 0) {
            continue;
        } else {
            break;
        }
        if (status != IPCX_OK) {
            break;
        }
    }
    if (status == IPCX_EOF) {
        Py_RETURN_NONE;
    }
    if (status != IPCX_OK) {
        return ipcx_py_raise(ipcx_py_state_of(op), status, &err);
    }
    return Py_BuildValue("(iNIN)", (int)change.kind, PyUnicode_DecodeFSDefault(change.name),
                         (unsigned)change.cookie, PyBool_FromLong(change.is_directory));
}

static PyObject *watch_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    IPCX_PY_WITHOUT_GIL(ipcx_watch_close(&((watch *)op)->core));
    Py_RETURN_NONE;
}

static PyObject *watch_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    watch *self = (watch *)op;
    ipcx_error err = {0};
    if (!self->core.open) {
        (void)ipcx_error_set(&err, IPCX_CLOSED, 0, "fileno", "the watch");
        return ipcx_py_raise(ipcx_py_state_of(op), IPCX_CLOSED, &err);
    }
    return PyLong_FromLong(self->core.fd);
}

static PyObject *watch_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(!((watch *)op)->core.open);
}

static void watch_dealloc(PyObject *op)
{
    ipcx_watch_close(&((watch *)op)->core);
    free_object(op);
}

static PyMethodDef watch_methods[] = {
    {"_next", watch_next, METH_O, NULL},
    {"close", watch_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nStop watching; wake who waits.")},
    {"fileno", watch_fileno, METH_NOARGS,
     PyDoc_STR("fileno($self, /)\n--\n\nThe descriptor, readable when something has changed.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef watch_getset[] = {
    {"closed", watch_closed, NULL, "Whether close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot watch_slots[] = {
    {Py_tp_doc, "The core of ipcx.files.watch."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, watch_start},
    {Py_tp_dealloc, watch_dealloc},
    {Py_tp_methods, watch_methods},
    {Py_tp_getset, watch_getset},
    {0, NULL},
};

int ipcx_py_files_init(PyObject *module, ipcx_py_state *Py_UNUSED(state))
{
#define SPEC(type, kind)                                                                           \
    {                                                                                              \
        .name = "ipcx._core." #type,                                                               \
        .basicsize = sizeof(kind),                                                                 \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,                                         \
        .slots = kind##_slots,                                                                     \
    }
    PyType_Spec specs[] = {SPEC(Replacement, replacement), SPEC(Watch, watch)};
    PyType_Spec lock_spec = {.name = "ipcx._core.FileLock",
                             .basicsize = sizeof(file_lock),
                             .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                             .slots = lock_slots};
    if (ipcx_py_add_type(module, &specs[0]) < 0 || ipcx_py_add_type(module, &specs[1]) < 0 ||
        ipcx_py_add_type(module, &lock_spec) < 0) {
        return -1;
    }
    return ipcx_py_log_init(module);
}
