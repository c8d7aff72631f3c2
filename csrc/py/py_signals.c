/* SPDX-License-Identifier: Apache-2.0
 * `ipcx.signals`'s core: sending, holding, waiting, receiving.
 * Invariant: signal handlers of Python run between two calls of the core, never inside one. */
#include "py/py_chan.h"

#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "ipcx/sig.h"

typedef struct receiver {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_sig_receiver core;
} receiver;

typedef struct hold {
    PyObject_HEAD ipcx_sig_held core;
} hold;

/* Numbers of signals, as a set; INVALID numbers are left to the core. False with an exception. */
static bool to_set(PyObject *numbers, ipcx_signals *set)
{
    PyObject *list = PySequence_Fast(numbers, "signals: a sequence of numbers is needed");
    *set = 0;
    if (list == NULL) {
        return false;
    }
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); i++) {
        long number = PyLong_AsLong(PySequence_Fast_GET_ITEM(list, i));
        if (number == -1 && PyErr_Occurred()) {
            break;
        }
        if (number < 1 || number >= NSIG) {
            PyErr_Format(PyExc_ValueError, "no signal %ld can be received: they are 1 to %d",
                         number, NSIG - 1);
            break;
        }
        *set |= IPCX_SIGNAL((int)number);
    }
    Py_DECREF(list);
    return PyErr_Occurred() == NULL;
}

/* (number, code, value, pid, uid, status) */
static PyObject *as_tuple(const ipcx_signal *signal)
{
    return Py_BuildValue("(iiiiii)", signal->number, signal->code, signal->value, (int)signal->pid,
                         (int)signal->uid, signal->status);
}

/* ---- functions */

static PyObject *sent(PyObject *module, ipcx_status status, const ipcx_error *err)
{
    if (status != IPCX_OK) {
        return ipcx_py_raise(PyModule_GetState(module), status, err);
    }
    Py_RETURN_NONE;
}

/* An int, or None for no value. */
static bool to_value(PyObject *object, int *storage, const int **value)
{
    *value = NULL;
    if (object != Py_None) {
        long number = PyLong_AsLong(object);
        if (number == -1 && PyErr_Occurred()) {
            return false;
        }
        if (number < INT_MIN || number > INT_MAX) {
            PyErr_SetString(PyExc_OverflowError, "a signal's value is an int of 32 bits");
            return false;
        }
        *storage = (int)number;
        *value = storage;
    }
    return true;
}

static PyObject *signal_send(PyObject *module, PyObject *args)
{
    int pid, number, storage;
    const int *value;
    PyObject *object = Py_None;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "ii|O", &pid, &number, &object) ||
        !to_value(object, &storage, &value)) {
        return NULL;
    }
    return sent(module, ipcx_sig_send((pid_t)pid, number, value, &err), &err);
}

static PyObject *signal_send_to(PyObject *module, PyObject *args)
{
    int pidfd, number, storage;
    const int *value;
    PyObject *object = Py_None;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "ii|O", &pidfd, &number, &object) ||
        !to_value(object, &storage, &value)) {
        return NULL;
    }
    return sent(module, ipcx_sig_send_to(pidfd, number, value, &err), &err);
}

static PyObject *signal_process(PyObject *module, PyObject *args)
{
    int pid, fd;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "i", &pid)) {
        return NULL;
    }
    status = ipcx_sig_process((pid_t)pid, &fd, &err);
    return status == IPCX_OK ? PyLong_FromLong(fd)
                             : ipcx_py_raise(PyModule_GetState(module), status, &err);
}

static PyObject *signal_wait(PyObject *module, PyObject *args)
{
    PyObject *numbers, *timeout = Py_None;
    ipcx_signals set;
    ipcx_deadline deadline;
    ipcx_signal signal;
    ipcx_status status;
    ipcx_error err = {0};
    int64_t patience;
    if (!PyArg_ParseTuple(args, "O|O", &numbers, &timeout) || !to_set(numbers, &set) ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &patience)) {
        return NULL;
    }
    deadline = ipcx_py_deadline(patience);
    IPCX_PY_WAITING(status, status = ipcx_sig_wait(set, deadline, &signal, &err));
    if (status == IPCX_INTR) {
        return NULL;
    }
    return status == IPCX_OK ? as_tuple(&signal)
                             : ipcx_py_raise(PyModule_GetState(module), status, &err);
}

#define RESTORER 0x04000000 /* set by glibc whenever it sets an action */

/* What a signal does, byte by byte: Python's own record of it knows no handler written in C, and no
 * flags. */
static PyObject *signal_action(PyObject *Py_UNUSED(module), PyObject *args)
{
    int number;
    struct sigaction found, action;
    if (!PyArg_ParseTuple(args, "i", &number)) {
        return NULL;
    }
    if (sigaction(number, NULL, &found) != 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    /* Field by field: glibc leaves what is behind the kernel's 64 signals as it was. */
    memset(&action, 0, sizeof action);
    action.sa_flags = found.sa_flags & ~RESTORER;
    action.sa_handler = found.sa_handler; /* shares its place with sa_sigaction */
    for (int each = 1; each < NSIG; each++) {
        if (sigismember(&found.sa_mask, each) == 1) {
            (void)sigaddset(&action.sa_mask, each);
        }
    }
    return PyBytes_FromStringAndSize((const char *)&action, sizeof action);
}

static PyObject *signal_action_restore(PyObject *Py_UNUSED(module), PyObject *args)
{
    int number;
    Py_buffer saved;
    struct sigaction action;
    bool right;
    if (!PyArg_ParseTuple(args, "iy*", &number, &saved)) {
        return NULL;
    }
    right = saved.len == (Py_ssize_t)sizeof action;
    if (right) {
        memcpy(&action, saved.buf, sizeof action);
    }
    PyBuffer_Release(&saved);
    if (!right) {
        PyErr_SetString(PyExc_ValueError, "that is not what signal_action() returned");
        return NULL;
    }
    if (sigaction(number, &action, NULL) != 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

/* The signals that anybody of this process holds, as a tuple. */
static PyObject *signals_held(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    ipcx_signals set = ipcx_sig_all_held();
    PyObject *list = PyList_New(0), *tuple;
    for (int number = 1; list != NULL && number < NSIG; number++) {
        PyObject *value = set & IPCX_SIGNAL(number) ? PyLong_FromLong(number) : NULL;
        if (value != NULL && PyList_Append(list, value) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(value);
    }
    tuple = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return tuple;
}

static PyMethodDef functions[] = {
    {"signal_send", signal_send, METH_VARARGS,
     PyDoc_STR("signal_send(pid, number, value=None)\n\nSend a signal; see ipcx.signals.send.")},
    {"signal_send_to", signal_send_to, METH_VARARGS,
     PyDoc_STR("signal_send_to(pidfd, number, value=None)\n\nThe same to a pidfd's process.")},
    {"signal_process", signal_process, METH_VARARGS,
     PyDoc_STR("signal_process(pid) -> pidfd\n\nA descriptor for that very process.")},
    {"signal_wait", signal_wait, METH_VARARGS,
     PyDoc_STR("signal_wait(numbers, timeout=None) -> tuple\n\nSee ipcx.signals.wait.")},
    {"signals_held", signals_held, METH_NOARGS,
     PyDoc_STR("signals_held() -> tuple\n\nThe signals that receivers and waits keep pending.")},
    {"signal_action", signal_action, METH_VARARGS,
     PyDoc_STR("signal_action(number) -> bytes\n\nWhat the signal does, to be restored.")},
    {"signal_action_restore", signal_action_restore, METH_VARARGS,
     PyDoc_STR("signal_action_restore(number, saved)\n\nPut back what signal_action() gave.")},
    {NULL, NULL, 0, NULL},
};

/* ---- the receiver */

static PyObject *receiver_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                              PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &ipcx_py_module);
    receiver *self = module != NULL ? (receiver *)type->tp_alloc(type, 0) : NULL;
    if (self != NULL) {
        self->state = PyModule_GetState(module);
    }
    return (PyObject *)self;
}

static int receiver_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    receiver *self = (receiver *)op;
    PyObject *numbers;
    ipcx_signals set;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "O", &numbers) || !to_set(numbers, &set)) {
        return -1;
    }
    if (self->core.made_in != 0) {
        PyErr_SetString(PyExc_ValueError, "this receiver is open already");
        return -1;
    }
    status = ipcx_sig_open(&self->core, set, &err);
    if (status != IPCX_OK) {
        (void)ipcx_py_raise(self->state, status, &err);
        return -1;
    }
    return 0;
}

static PyObject *receiver_receive(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    receiver *self = (receiver *)op;
    ipcx_deadline deadline;
    ipcx_signal signal;
    ipcx_error err = {0};
    ipcx_status status;
    int64_t patience;
    if (!ipcx_py_patience(nargs > 0 ? args[0] : NULL, IPCX_PY_EVER, &patience)) {
        return NULL;
    }
    status = ipcx_sig_receive(&self->core, IPCX_NOW, &signal, &err);
    if (status == IPCX_AGAIN && patience != IPCX_PY_NEVER) {
        deadline = ipcx_py_deadline(patience);
        IPCX_PY_WAITING(status, status = ipcx_sig_receive(&self->core, deadline, &signal, &err));
        if (status == IPCX_INTR) {
            return NULL;
        }
    }
    return status == IPCX_OK ? as_tuple(&signal) : ipcx_py_raise(self->state, status, &err);
}

static PyObject *receiver_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    receiver *self = (receiver *)op;
    IPCX_PY_WITHOUT_GIL(ipcx_sig_close(&self->core));
    Py_RETURN_NONE;
}

static PyObject *receiver_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    receiver *self = (receiver *)op;
    ipcx_error err = {0};
    if (!self->core.open) {
        (void)ipcx_error_set(&err, IPCX_CLOSED, 0, "fileno", "the receiver of signals");
        return ipcx_py_raise(self->state, IPCX_CLOSED, &err);
    }
    return PyLong_FromLong(self->core.fd);
}

static PyObject *receiver_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(!((receiver *)op)->core.open);
}

static void receiver_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    ipcx_sig_close(&((receiver *)op)->core);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef receiver_methods[] = {
    {"_receive", (PyCFunction)(void (*)(void))receiver_receive, METH_FASTCALL, NULL},
    {"close", receiver_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nLet the signals do again what they did; wake who waits.")},
    {"fileno", receiver_fileno, METH_NOARGS,
     PyDoc_STR("fileno($self, /)\n--\n\nThe descriptor, readable when a signal is there.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef receiver_getset[] = {
    {"closed", receiver_closed, NULL, "Whether close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot receiver_slots[] = {
    {Py_tp_doc, "The core of ipcx.signals.SignalReceiver."},
    {Py_tp_new, receiver_new},
    {Py_tp_init, receiver_start},
    {Py_tp_dealloc, receiver_dealloc},
    {Py_tp_methods, receiver_methods},
    {Py_tp_getset, receiver_getset},
    {0, NULL},
};

/* ---- holding alone */

static int hold_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *numbers, *module = PyType_GetModuleByDef(Py_TYPE(op), &ipcx_py_module);
    ipcx_signals set;
    ipcx_status status;
    ipcx_error err = {0};
    if (module == NULL || !PyArg_ParseTuple(args, "O", &numbers) || !to_set(numbers, &set)) {
        return -1;
    }
    ipcx_sig_release(&((hold *)op)->core);
    status = ipcx_sig_hold(&((hold *)op)->core, set, &err);
    if (status != IPCX_OK) {
        (void)ipcx_py_raise(PyModule_GetState(module), status, &err);
        return -1;
    }
    return 0;
}

static PyObject *hold_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sig_release(&((hold *)op)->core);
    /* What came meanwhile takes its course now. */
    if (PyErr_CheckSignals() < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static void hold_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    ipcx_sig_release(&((hold *)op)->core);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef hold_methods[] = {
    {"release", hold_release, METH_NOARGS,
     PyDoc_STR("release($self, /)\n--\n\nLet the signals do again what they did.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot hold_slots[] = {
    {Py_tp_doc, "The core of ipcx.signals.block."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, hold_start},
    {Py_tp_dealloc, hold_dealloc},
    {Py_tp_methods, hold_methods},
    {0, NULL},
};

int ipcx_py_signals_init(PyObject *module, ipcx_py_state *Py_UNUSED(state))
{
    PyType_Spec receiver_spec = {
        .name = "ipcx._core.SignalReceiver",
        .basicsize = sizeof(receiver),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = receiver_slots,
    };
    PyType_Spec hold_spec = {
        .name = "ipcx._core.SignalHold",
        .basicsize = sizeof(hold),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = hold_slots,
    };
    if (ipcx_py_add_type(module, &receiver_spec) < 0 || ipcx_py_add_type(module, &hold_spec) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, functions);
}
