/* SPDX-License-Identifier: Apache-2.0
 * The channel's verbs around loans: reserve, receive_view, trim.
 * Invariant: a message that cannot be lent stays where it is, for receive(). */
#include "py/py_loan.h"

#include "link/chan.h"
#include "py/py_layer.h"

typedef ipcx_py_loan loan;

static PyObject *done(loan *self, const char *op, ipcx_py_seen *seen)
{
    self->state = IPCX_PY_LENT;
    self->size = self->core.size;
    self->in_place = self->core.in_place || self->object != NULL;
    self->text = self->text || (self->core.flags & IPCX_MESSAGE_TEXT) != 0;
    if (ipcx_py_watched(self->chan->state)) {
        PyObject *copy = self->readonly ? ipcx_py_loan_copy(self, self->size) : NULL;
        if (seen != NULL) {
            seen->what = copy;
        }
        ipcx_py_show(self->chan->state, op, (PyObject *)self->chan,
                     PyLong_FromSize_t(self->core.size), seen);
        Py_XDECREF(copy);
    }
    return (PyObject *)self;
}

static PyObject *given_up(loan *self)
{
    Py_DECREF((PyObject *)self);
    return NULL;
}

static PyObject *reserve(ipcx_py_chan *chan, PyObject *value, int64_t ns, bool polls)
{
    Py_ssize_t size = PyNumber_AsSsize_t(value, PyExc_OverflowError);
    ipcx_status status;
    ipcx_error err;
    loan *self;
    if (size < 0) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "reserve(%zd): a size is at least 0", size);
        }
        return NULL;
    }
    self = ipcx_py_loan_make(chan, false, ns);
    if (self == NULL) {
        return NULL;
    }
    status = ipcx_chan_reserve(chan->core, (size_t)size, IPCX_NOW, &self->core, &err);
    if (status == IPCX_AGAIN && ns != IPCX_PY_NEVER) {
        ipcx_deadline deadline = ipcx_py_deadline(ns);
        IPCX_PY_WAITING(status, status = ipcx_chan_reserve(chan->core, (size_t)size, deadline,
                                                           &self->core, &err));
    }
    if (status == IPCX_OK) {
        return done(self, "reserve", NULL);
    }
    (void)given_up(self);
    return status == IPCX_AGAIN && polls ? Py_NewRef(Py_NotImplemented)
                                         : ipcx_py_loan_failed(chan, "reserve", status, &err, ns);
}

PyObject *ipcx_py_chan_reserve(IPCX_PY_FAST)
{
    static const char *const names[] = {"size", "timeout", NULL};
    PyObject *values[2];
    int64_t ns;
    if (!ipcx_py_named(values, names, 1, "reserve", args, nargs, kwnames) ||
        !ipcx_py_patience(values[1], IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    return reserve((ipcx_py_chan *)op, values[0], ns, false);
}

PyObject *ipcx_py_chan_reserve_now(PyObject *op, PyObject *size)
{
    return reserve((ipcx_py_chan *)op, size, IPCX_PY_NEVER, true);
}

/* The bytes of what came over inproc://, where they are. False: it has none. */
static bool pin(loan *self, PyObject *object)
{
    if (PyUnicode_Check(object)) {
        Py_ssize_t size;
        self->core.data = (void *)(uintptr_t)PyUnicode_AsUTF8AndSize(object, &size);
        self->core.size = (size_t)size;
        self->text = true;
        return self->core.data != NULL;
    }
    if (!PyObject_CheckBuffer(object)) {
        PyErr_Format(PyExc_TypeError, "receive_view: the message is a %.100s: receive() gives it",
                     Py_TYPE(object)->tp_name);
        return false;
    }
    if (PyObject_GetBuffer(object, &self->pinned, PyBUF_SIMPLE) < 0) {
        return false;
    }
    self->core.data = self->pinned.buf;
    self->core.size = (size_t)self->pinned.len;
    return true;
}

static bool take_object(loan *self, ipcx_message *message)
{
    PyObject *object = (PyObject *)message->data;
    bool fine = pin(self, object);
    if (fine) {
        self->object = object; /* the reference that the sender gave */
    } else {
        self->core = (ipcx_loan){0};
        message->flags |= IPCX__MESSAGE_KEEP;
    }
    ipcx_chan_release(self->chan->core, message);
    return fine;
}

static ipcx_status wait_for_view(loan *self, int64_t ns, ipcx_error *err)
{
    ipcx_chan *core = self->chan->core;
    ipcx_deadline deadline;
    ipcx_status status;
    if (IPCX_UNLIKELY(self->chan->layered) && ipcx_py_layer_within(self->chan)) {
        return ipcx_py_layer_barred("receive_view", ns, err);
    }
    IPCX_PY_TRYING(self->chan, status,
                   status = ipcx_chan_receive_view(core, &self->core, IPCX_NOW, err));
    if (status != IPCX_AGAIN || ns == IPCX_PY_NEVER) {
        return status;
    }
    deadline = ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_chan_receive_view(core, &self->core, deadline, err));
    return status;
}

static PyObject *receive_view(ipcx_py_chan *chan, int64_t ns, bool polls)
{
    ipcx_message message;
    ipcx_error err;
    ipcx_status status;
    ipcx_py_seen seen;
    loan *self;
    if (chan->kept != NULL) {
        return ipcx_py_chan_no_bytes(chan, "receive_view");
    }
    ipcx_py_see(&seen, chan->state);
    self = ipcx_py_loan_make(chan, true, ns);
    if (self == NULL) {
        return NULL;
    }
    status =
        chan->objects ? ipcx_py_chan_lend(chan, &message, ns, &err) : wait_for_view(self, ns, &err);
    if (status != IPCX_OK) {
        (void)given_up(self);
        return status == IPCX_AGAIN && polls
                   ? Py_NewRef(Py_NotImplemented)
                   : ipcx_py_loan_failed(chan, "receive_view", status, &err, ns);
    }
    if (chan->objects) {
        return take_object(self, &message) ? done(self, "receive_view", &seen) : given_up(self);
    }
    if (self->core.flags & IPCX_MESSAGE_END) {
        ipcx_chan *end = self->core.data;
        self->core = (ipcx_loan){0};
        (void)ipcx_py_chan_keep(chan, end, "receive_view");
        return given_up(self);
    }
    return done(self, "receive_view", &seen);
}

PyObject *ipcx_py_chan_receive_view(IPCX_PY_FAST)
{
    static const char *const names[] = {"timeout", NULL};
    PyObject *timeout;
    int64_t ns;
    if (!ipcx_py_named(&timeout, names, 0, "receive_view", args, nargs, kwnames) ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    return receive_view((ipcx_py_chan *)op, ns, false);
}

PyObject *ipcx_py_chan_receive_view_now(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return receive_view((ipcx_py_chan *)op, IPCX_PY_NEVER, true);
}

PyObject *ipcx_py_chan_trim(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    ipcx_error err;
    ipcx_status status;
    size_t bytes = 0;
    IPCX_PY_WAITING(status, status = ipcx_chan_trim(self->core, &bytes, &err));
    return status == IPCX_OK ? PyLong_FromSize_t(bytes)
                             : ipcx_py_loan_failed(self, "trim", status, &err, IPCX_PY_EVER);
}
