/* SPDX-License-Identifier: Apache-2.0
 * reserve and receive_view: the types ipcx.channel.Loan and View, which export lent memory.
 * Invariant: as long as a buffer is exported the loan is not over, and as long as it is not over it
 * keeps its channel; so no memoryview and no array ever points to memory that is gone. */
#include "py/py_loan.h"

#include <stddef.h>
#include <structmember.h>

#include "link/chan.h"

typedef ipcx_py_loan loan;

static loan *loan_of(PyObject *op)
{
    return (loan *)op;
}

/* ---- its end */

static void end(loan *self)
{
    self->state = IPCX_PY_OVER;
    PyBuffer_Release(&self->pinned);
    Py_CLEAR(self->object);
    if (self->readonly) {
        if (ipcx_chan_return_view(&self->core, IPCX_NOW) == IPCX_AGAIN) {
            IPCX_PY_WITHOUT_GIL((void)ipcx_chan_return_view(&self->core, IPCX_FOREVER));
        }
    } else {
        ipcx_chan_cancel(&self->core);
    }
}

static int loan_getbuffer(PyObject *op, Py_buffer *view, int flags)
{
    loan *self = loan_of(op);
    view->obj = NULL;
    if (self->state != IPCX_PY_LENT) {
        PyErr_SetString(PyExc_BufferError, "the loan is over");
        return -1;
    }
    if (PyBuffer_FillInfo(view, op, self->core.data, (Py_ssize_t)self->core.size, self->readonly,
                          flags) < 0) {
        return -1;
    }
    self->exports++;
    return 0;
}

static void loan_releasebuffer(PyObject *op, Py_buffer *Py_UNUSED(view))
{
    loan *self = loan_of(op);
    if (--self->exports == 0 && self->state == IPCX_PY_ENDING) {
        end(self);
    }
}

/* Takes the memoryview back. False: somebody holds a part of it still. */
static bool take_back(loan *self)
{
    PyObject *type, *error, *traceback, *result;
    if (self->view != NULL) {
        PyErr_Fetch(&type, &error, &traceback);
        result = PyObject_CallMethod(self->view, "release", NULL);
        if (result == NULL) {
            PyErr_Clear();
        } else {
            Py_CLEAR(self->view);
        }
        Py_XDECREF(result);
        PyErr_Restore(type, error, traceback);
    }
    return self->view == NULL && self->exports == 0;
}

static PyObject *still_held(const loan *self)
{
    PyErr_Format(PyExc_BufferError,
                 "part of the %s is still in use, by an array or a slice of it: del it before the "
                 "block ends%s",
                 self->readonly ? "message" : "buffer",
                 self->readonly ? ", or copy it" : "; the message was not sent");
    return NULL;
}

static PyObject *is_over(const loan *self)
{
    PyErr_SetString(PyExc_ValueError, self->readonly ? "the view is over"
                                                     : "the loan is over: committed or cancelled");
    return NULL;
}

static void loan_finalize(PyObject *op)
{
    loan *self = loan_of(op);
    if (self->state == IPCX_PY_LENT && !self->readonly && self->core.chan != NULL &&
        !atomic_load(&self->chan->core->closed)) {
        ipcx_py_warn_unclosed(op);
    }
}

static int loan_traverse(PyObject *op, visitproc visit, void *arg)
{
    loan *self = loan_of(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->chan);
    Py_VISIT(self->view);
    Py_VISIT(self->object);
    return 0;
}

static int loan_clear(PyObject *op)
{
    Py_CLEAR(loan_of(op)->view);
    return 0;
}

static void loan_dealloc(PyObject *op)
{
    loan *self = loan_of(op);
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyObject_GC_UnTrack(op);
    Py_CLEAR(self->view);
    if (self->state != IPCX_PY_OVER) {
        end(self);
    }
    Py_CLEAR(self->object);
    Py_CLEAR(self->chan);
    type->tp_free(op);
    Py_DECREF(type);
}

ipcx_py_loan *ipcx_py_loan_make(ipcx_py_chan *chan, bool readonly, int64_t ns)
{
    PyTypeObject *type =
        (PyTypeObject *)(readonly ? chan->state->view_type : chan->state->loan_type);
    loan *self = (loan *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->chan = (ipcx_py_chan *)Py_NewRef((PyObject *)chan);
        self->readonly = readonly;
        self->ns = ns;
        self->state = IPCX_PY_OVER;
    }
    return self;
}

PyObject *ipcx_py_loan_failed(ipcx_py_chan *chan, const char *op, ipcx_status status,
                              const ipcx_error *err, int64_t ns)
{
    (void)ipcx_py_chan_raise(chan->state, op, status, err, ns);
    if (chan->objects) {
        ipcx_py_drop_all();
    }
    if (ipcx_py_watched(chan->state)) {
        ipcx_py_show(chan->state, op, (PyObject *)chan, NULL, NULL);
    }
    return NULL;
}

PyObject *ipcx_py_loan_copy(const ipcx_py_loan *self, size_t size)
{
    size_t kept = size < IPCX_PY_TRY_MAX ? size : IPCX_PY_TRY_MAX;
    PyObject *made = PyBytes_FromStringAndSize(self->core.data, (Py_ssize_t)kept);
    if (made == NULL) {
        PyErr_Clear();
    }
    return made;
}

/* ---- with-blocks of both */

static PyObject *loan_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    loan *self = loan_of(op);
    PyObject *view;
    if (self->state != IPCX_PY_LENT) {
        return is_over(self);
    }
    view = PyMemoryView_FromObject(op);
    if (view != NULL) {
        Py_XSETREF(self->view, Py_NewRef(view));
    }
    return view;
}

/* ---- Loan */

static ipcx_status push(loan *self, size_t size, int64_t ns, ipcx_error *err)
{
    ipcx_status status;
    ipcx_deadline deadline;
    if (IPCX_UNLIKELY(self->chan->layered) && ns == IPCX_PY_NEVER) {
        IPCX_PY_WAITING(
            status, status = ipcx_chan_commit(&self->core, size, 0, IPCX_NOW, &self->sending, err));
        return status;
    }
    if (!self->chan->layered &&
        (self->core.in_place || size <= IPCX_PY_TRY_MAX || ns == IPCX_PY_NEVER)) {
        IPCX_PY_WAKING(status =
                           ipcx_chan_commit(&self->core, size, 0, IPCX_NOW, &self->sending, err));
        if (status != IPCX_AGAIN || ns == IPCX_PY_NEVER) {
            return status;
        }
    }
    deadline = ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status,
                    status = ipcx_chan_commit(&self->core, size, 0, deadline, &self->sending, err));
    return status;
}

/* Over inproc:// the message is an object: bytes. */
static PyObject *push_object(loan *self, size_t size, int64_t ns)
{
    PyObject *args[3], *result = NULL;
    args[0] = PyBytes_FromStringAndSize(self->core.data, (Py_ssize_t)size);
    args[1] = Py_False;
    args[2] = ns == IPCX_PY_EVER ? Py_NewRef(Py_None) : PyFloat_FromDouble((double)ns / 1e9);
    if (args[0] != NULL && args[2] != NULL) {
        result = ipcx_py_chan_send((PyObject *)self->chan, args, 3, NULL);
    }
    Py_XDECREF(args[0]);
    Py_XDECREF(args[2]);
    if (result != NULL) {
        end(self);
    }
    return result;
}

static PyObject *commit(loan *self, size_t size, int64_t ns)
{
    ipcx_error err;
    ipcx_status status;
    ipcx_py_seen seen;
    if (self->chan->objects) {
        return push_object(self, size, ns);
    }
    ipcx_py_see(&seen, self->chan->state);
    if (seen.begun != 0) { /* afterwards the peer may have it, and the memory */
        seen.what = ipcx_py_loan_copy(self, size);
    }
    status = push(self, size, ns, &err);
    if (status != IPCX_OK) {
        (void)ipcx_py_loan_failed(self->chan, "commit", status, &err, ns);
        ipcx_py_attribute("begun", PyBool_FromLong(self->sending.begun));
    } else {
        self->state = IPCX_PY_OVER;
        if (ipcx_py_watched(self->chan->state)) {
            ipcx_py_show(self->chan->state, "commit", (PyObject *)self->chan,
                         PyLong_FromSize_t(size), &seen);
        }
    }
    if (seen.begun != 0) {
        Py_XDECREF(seen.what);
    }
    return status == IPCX_OK ? Py_NewRef(Py_None) : NULL;
}

/* How many bytes are to be sent; False: with an exception. */
static bool size_to_commit(const loan *self, PyObject *value, size_t *size)
{
    Py_ssize_t given;
    *size = self->core.size;
    if (value == NULL || value == Py_None) {
        return true;
    }
    given = PyNumber_AsSsize_t(value, PyExc_OverflowError);
    if (given == -1 && PyErr_Occurred()) {
        return false;
    }
    if (given < 0 || (size_t)given > self->core.size) {
        PyErr_Format(PyExc_ValueError, "commit(%zd) of %zu reserved bytes", given, self->core.size);
        return false;
    }
    *size = (size_t)given;
    return true;
}

static PyObject *loan_commit(IPCX_PY_FAST)
{
    static const char *const names[] = {"size", NULL};
    loan *self = loan_of(op);
    PyObject *value;
    size_t size;
    if (!ipcx_py_named(&value, names, 0, "commit", args, nargs, kwnames)) {
        return NULL;
    }
    if (self->state != IPCX_PY_LENT) {
        return is_over(self);
    }
    if (!size_to_commit(self, value, &size)) {
        return NULL;
    }
    return take_back(self) ? commit(self, size, self->ns) : still_held(self);
}

/* For ipcx.aio: None: sent. Else whether it has begun: once more when _send_fileno() is writable.
 */
static PyObject *loan_commit_now(PyObject *op, PyObject *value)
{
    loan *self = loan_of(op);
    PyObject *result;
    size_t size;
    if (self->state != IPCX_PY_LENT) {
        return is_over(self);
    }
    if (!size_to_commit(self, value, &size)) {
        return NULL;
    }
    if (!take_back(self)) {
        return still_held(self);
    }
    result = commit(self, size, IPCX_PY_NEVER);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_BlockingIOError)) {
        PyErr_Clear();
        return PyBool_FromLong(self->sending.begun);
    }
    return result;
}

/* Nothing is sent, or the view is given back; at once, or when the last who holds a part lets go.
 */
static bool let_go(loan *self)
{
    bool free = take_back(self);
    Py_CLEAR(self->view);
    if (self->state == IPCX_PY_LENT) {
        self->state = IPCX_PY_ENDING;
    }
    if (self->state == IPCX_PY_ENDING && self->exports == 0) {
        end(self);
    }
    return free;
}

static PyObject *loan_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    (void)let_go(loan_of(op));
    Py_RETURN_NONE;
}

static PyObject *loan_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    loan *self = loan_of(op);
    bool raised = nargs > 0 && args[0] != Py_None;
    PyObject *result = Py_None;
    if (self->state != IPCX_PY_LENT) {
        Py_RETURN_NONE; /* committed, or cancelled */
    }
    if (!raised) {
        result = take_back(self) ? commit(self, self->core.size, self->ns) : still_held(self);
    }
    (void)let_go(self);
    return Py_XNewRef(result);
}

/* ---- View */

static PyObject *view_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    loan *self = loan_of(op);
    return let_go(self) ? Py_NewRef(Py_None) : still_held(self);
}

static PyObject *view_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    bool free = let_go(loan_of(op));
    if (free || (nargs > 0 && args[0] != Py_None)) {
        Py_RETURN_NONE;
    }
    return still_held(loan_of(op));
}

/* ---- the types */

static PyObject *loan_repr(PyObject *op)
{
    const loan *self = loan_of(op);
    return PyUnicode_FromFormat("<ipcx.%s of %zu bytes%s>", self->readonly ? "View" : "Loan",
                                self->core.size,
                                self->state != IPCX_PY_LENT ? ", over"
                                : self->readonly            ? ""
                                                            : ", not committed");
}

static PyObject *loan_in_place(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(loan_of(op)->in_place);
}

static PyObject *loan_size(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(loan_of(op)->size);
}

static PyObject *view_text(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(loan_of(op)->text);
}

static PyGetSetDef loan_getset[] = {
    {"size", loan_size, NULL, DOC_LOAN_SIZE, NULL},
    {"in_place", loan_in_place, NULL, DOC_LOAN_IN_PLACE, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef view_getset[] = {
    {"size", loan_size, NULL, DOC_LOAN_SIZE, NULL},
    {"in_place", loan_in_place, NULL, DOC_LOAN_IN_PLACE, NULL},
    {"text", view_text, NULL, DOC_VIEW_TEXT, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef loan_methods[] = {
    {"commit", IPCX_PY_FAST_METHOD(loan_commit), METH_FASTCALL | METH_KEYWORDS, DOC_LOAN_COMMIT},
    {"cancel", loan_cancel, METH_NOARGS, DOC_LOAN_CANCEL},
    {"__enter__", loan_enter, METH_NOARGS, NULL},
    {"__exit__", IPCX_PY_FAST_METHOD(loan_exit), METH_FASTCALL, NULL},
    {"_commit_now", loan_commit_now, METH_O, DOC_LOAN_COMMIT_NOW},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef view_methods[] = {
    {"release", view_release, METH_NOARGS, DOC_VIEW_RELEASE},
    {"__enter__", loan_enter, METH_NOARGS, NULL},
    {"__exit__", IPCX_PY_FAST_METHOD(view_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

#define COMMON_SLOTS                                                                               \
    {Py_tp_dealloc, loan_dealloc}, {Py_tp_traverse, loan_traverse}, {Py_tp_clear, loan_clear},     \
        {Py_tp_repr, loan_repr}, {Py_bf_getbuffer, loan_getbuffer},                                \
    {                                                                                              \
        Py_bf_releasebuffer, loan_releasebuffer                                                    \
    }

static PyType_Slot loan_slots[] = {
    COMMON_SLOTS,
    {Py_tp_doc, DOC_LOAN},
    {Py_tp_finalize, loan_finalize},
    {Py_tp_methods, loan_methods},
    {Py_tp_getset, loan_getset},
    {0, NULL},
};

static PyType_Slot view_slots[] = {
    COMMON_SLOTS, {Py_tp_doc, DOC_VIEW}, {Py_tp_methods, view_methods}, {Py_tp_getset, view_getset},
    {0, NULL},
};

static PyObject *add_type(PyObject *module, const char *name, PyType_Slot *slots)
{
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(loan),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    return ipcx_py_make_type(module, &spec, NULL);
}

int ipcx_py_loan_init(PyObject *module, ipcx_py_state *state)
{
    state->loan_type = add_type(module, "ipcx.channel.Loan", loan_slots);
    state->view_type =
        state->loan_type != NULL ? add_type(module, "ipcx.channel.View", view_slots) : NULL;
    return state->view_type != NULL ? 0 : -1;
}
