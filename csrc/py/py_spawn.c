/* SPDX-License-Identifier: Apache-2.0
 * `_core.Child`: a program started as a child, for `ipcx.pipes` and `ipcx.process`.
 * Invariant: a child is started by __new__, so there is none without a process. */
#include "py/py_chan.h"

#include "ipcx/alloc.h"
#include "ipcx/spawn.h"

typedef struct child {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_child *core;
} child;

/* A list of bytes as pointers into it, NULL behind the last; to be freed with ipcx_free. */
static const char **strings(PyObject *list, const char *what)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    const char **made = ipcx_alloc((size_t)(count + 1) * sizeof *made);
    if (made == NULL) {
        return (const char **)PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        char *text;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyList_GET_ITEM(list, i), &text, &size) < 0) {
            goto fail;
        }
        if (strlen(text) != (size_t)size) {
            PyErr_Format(PyExc_ValueError, "a NUL in %s, which ends a text in C", what);
            goto fail;
        }
        made[i] = text;
    }
    made[count] = NULL;
    return made;
fail:
    ipcx_free(made);
    return NULL;
}

static int ours(PyObject *value, void *fd)
{
    *(int *)fd = IPCX_SPAWN_NULL;
    return value == Py_None || PyArg_Parse(value, "i", fd);
}

/* [(child, ours), …], ours None for /dev/null; to be freed with ipcx_free. */
static ipcx_spawn_fd *pairs(PyObject *list)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    ipcx_spawn_fd *made = ipcx_alloc((size_t)(count + 1) * sizeof *made);
    if (made == NULL) {
        return (ipcx_spawn_fd *)PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyArg_ParseTuple(PyList_GET_ITEM(list, i), "iO&", &made[i].child, ours,
                              &made[i].ours)) {
            ipcx_free(made);
            return NULL;
        }
    }
    return made;
}

static PyObject *spawned(PyTypeObject *type, const char *const *argv,
                         const ipcx_spawn_options *options)
{
    child *self = (child *)type->tp_alloc(type, 0);
    ipcx_status status;
    ipcx_error err = {0};
    if (self == NULL) {
        return NULL;
    }
    self->state = ipcx_py_state_of((PyObject *)self);
    IPCX_PY_WITHOUT_GIL(status = ipcx_spawn(argv, options, &self->core, &err));
    if (status != IPCX_OK) {
        (void)ipcx_py_raise(self->state, status, &err);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *child_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *argv, *env, *cwd, *fds, *made = NULL;
    const char **words, **names = NULL;
    ipcx_spawn_fd *given = NULL;
    int group, session;
    if (!PyArg_ParseTuple(args, "O!OOO!ip", &PyList_Type, &argv, &env, &cwd, &PyList_Type, &fds,
                          &group, &session)) {
        return NULL;
    }
    words = strings(argv, "a word of the command");
    if (words != NULL && env != Py_None) {
        names = strings(env, "the environment");
    }
    if (words != NULL && (names != NULL || env == Py_None)) {
        given = pairs(fds);
    }
    if (given != NULL) {
        ipcx_spawn_options options = {.env = names,
                                      .cwd = cwd == Py_None ? NULL : PyBytes_AsString(cwd),
                                      .fds = given,
                                      .fd_count = (size_t)PyList_GET_SIZE(fds),
                                      .group = group,
                                      .session = session};
        made = PyErr_Occurred() == NULL ? spawned(type, words, &options) : NULL;
    }
    ipcx_free(words);
    ipcx_free(names);
    ipcx_free(given);
    return made;
}

static void child_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    ipcx_child_free(((child *)op)->core);
    type->tp_free(op);
    Py_DECREF(type);
}

/* (status, signal, dumped, lost) */
static PyObject *child_wait(PyObject *op, PyObject *timeout)
{
    child *self = (child *)op;
    int64_t ns;
    ipcx_deadline deadline;
    ipcx_ending ending;
    ipcx_status status;
    ipcx_error err = {0};
    if (!ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    status = ns != IPCX_PY_EVER ? ipcx_child_wait(self->core, IPCX_NOW, &ending, &err) : IPCX_AGAIN;
    if (status == IPCX_AGAIN && ns != 0) { /* who waits for ever expects to wait */
        deadline = ipcx_py_deadline(ns);
        IPCX_PY_WAITING(status, status = ipcx_child_wait(self->core, deadline, &ending, &err));
    }
    if (status != IPCX_OK) {
        return ipcx_py_chan_raise(self->state, "wait", status, &err, ns);
    }
    return Py_BuildValue("(iiNN)", ending.status, ending.signal, PyBool_FromLong(ending.dumped),
                         PyBool_FromLong(ending.lost));
}

typedef ipcx_status (*send_signal)(ipcx_child *child, int number, ipcx_error *err);

static PyObject *signalled(PyObject *op, PyObject *number, send_signal how)
{
    child *self = (child *)op;
    long value = PyLong_AsLong(number);
    ipcx_status status;
    ipcx_error err = {0};
    if (value == -1 && PyErr_Occurred()) {
        return NULL;
    }
    status = how(self->core, value < 0 || value > INT_MAX ? -1 : (int)value, &err);
    if (status != IPCX_OK) {
        return ipcx_py_raise(self->state, status, &err);
    }
    Py_RETURN_NONE;
}

static PyObject *child_signal(PyObject *op, PyObject *number)
{
    return signalled(op, number, ipcx_child_signal);
}

static PyObject *child_signal_group(PyObject *op, PyObject *number)
{
    return signalled(op, number, ipcx_child_signal_group);
}

static PyObject *child_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(ipcx_child_fileno(((child *)op)->core));
}

static PyObject *child_pid(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong((long)ipcx_child_pid(((child *)op)->core));
}

static PyMethodDef child_methods[] = {
    {"wait", child_wait, METH_O,
     PyDoc_STR("wait($self, timeout, /)\n--\n\n(status, signal, dumped, lost) once it has ended.")},
    {"signal", child_signal, METH_O,
     PyDoc_STR("signal($self, number, /)\n--\n\nSend it a signal.")},
    {"signal_group", child_signal_group, METH_O,
     PyDoc_STR("signal_group($self, number, /)\n--\n\nSend all of its group a signal.")},
    {"fileno", child_fileno, METH_NOARGS,
     PyDoc_STR("fileno($self, /)\n--\n\nA descriptor that is readable when it has ended.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef child_properties[] = {
    {"pid", child_pid, NULL, PyDoc_STR("Its number."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot child_slots[] = {
    {Py_tp_doc, "A program started as a child: the core of ipcx.pipes and ipcx.process."},
    {Py_tp_new, child_new},
    {Py_tp_dealloc, child_dealloc},
    {Py_tp_methods, child_methods},
    {Py_tp_getset, child_properties},
    {0, NULL},
};

static PyType_Spec child_spec = {
    .name = "ipcx._core.Child",
    .basicsize = sizeof(child),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = child_slots,
};

int ipcx_py_spawn_init(PyObject *module)
{
    return ipcx_py_add_type(module, &child_spec);
}
