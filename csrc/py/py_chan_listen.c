/* SPDX-License-Identifier: Apache-2.0
 * The type ipcx.Listener.
 * Invariant: `core` is there as long as the object; after close() it answers CLOSED. */
#include "py/py_chan.h"

#include <stddef.h>
#include <structmember.h>

#include "py/py_chan_doc.h"
#include "py/py_layer.h"

static ipcx_py_listener *listener_of(PyObject *op)
{
    return (ipcx_py_listener *)op;
}

PyObject *ipcx_py_listener_around(ipcx_py_state *state, ipcx_listener *core,
                                  ipcx_py_layer_source *source)
{
    PyTypeObject *type = (PyTypeObject *)state->listener_type;
    ipcx_py_listener *self = (ipcx_py_listener *)type->tp_alloc(type, 0);
    if (self == NULL) {
        ipcx_listener_free(core);
        ipcx_py_layer_source_free(source);
        return NULL;
    }
    self->state = state;
    self->source = source;
    self->core = core;
    ipcx_py_enlist(&state->listeners, &self->listed);
    return (PyObject *)self;
}

static void listener_finalize(PyObject *op)
{
    if (listener_of(op)->core == NULL || listener_of(op)->closed) {
        return;
    }
    ipcx_py_warn_unclosed(op);
}

static int listener_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(listener_of(op)->kept);
    return 0;
}

static void listener_dealloc(PyObject *op)
{
    ipcx_py_listener *self = listener_of(op);
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyObject_GC_UnTrack(op);
    ipcx_py_delist(&self->listed);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    Py_CLEAR(self->kept);
    ipcx_listener_free(self->core);
    self->core = NULL;
    ipcx_py_layer_source_free(self->source);
    ipcx_py_drop_all();
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- accept. Signal handlers that come while TLS is at work within it cannot wait for it. */

/* The accepts that this thread is in, one within the other. */
typedef struct accepting {
    const ipcx_py_listener *listener;
    struct accepting *outer;
} accepting;
static _Thread_local accepting *inmost;

static bool is_within(const ipcx_py_listener *self)
{
    const accepting *each = inmost;
    while (each != NULL && each->listener != self) {
        each = each->outer;
    }
    return each != NULL;
}

/* Without the GIL. */
static ipcx_status accept_within(ipcx_py_listener *self, ipcx_chan **core, ipcx_deadline deadline,
                                 ipcx_error *err)
{
    accepting here = {.listener = self, .outer = inmost};
    ipcx_status status;
    inmost = &here;
    status = ipcx_listener_accept(self->core, core, deadline, err);
    inmost = here.outer;
    return status;
}

/* The peer that was accepted; what a handler has raised meanwhile comes first, and the peer stays
 * for the next accept. NULL with an exception. */
static PyObject *around(ipcx_py_listener *self, ipcx_chan *core)
{
    PyObject *made = ipcx_py_chan_around(self->state, core);
    if (made != NULL && IPCX_UNLIKELY(ipcx_py_layer_restless()) && ipcx_py_signals() < 0) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (self->kept == NULL && (self->kept = PyList_New(0)) == NULL) {
            PyErr_Clear();
        }
        if (self->kept != NULL && PyList_Append(self->kept, made) < 0) {
            PyErr_Clear();
        }
        PyErr_Restore(type, value, traceback);
        Py_CLEAR(made);
    }
    return made;
}

/* NULL: nobody was. */
static PyObject *kept_take(ipcx_py_listener *self)
{
    PyObject *first = NULL;
    if (IPCX_UNLIKELY(self->kept != NULL) && PyList_GET_SIZE(self->kept) > 0) {
        first = Py_NewRef(PyList_GET_ITEM(self->kept, 0));
        if (PyList_SetSlice(self->kept, 0, 1, NULL) < 0) {
            Py_CLEAR(first);
        }
    }
    return first;
}

/* NULL without an exception: it is closed, and `iterating`. */
static PyObject *accept_one(PyObject *op, int64_t ns, bool iterating)
{
    ipcx_py_listener *self = listener_of(op);
    ipcx_deadline deadline = ipcx_py_deadline(ns);
    ipcx_chan *core = NULL;
    ipcx_error err;
    ipcx_status status;
    PyObject *made = NULL;
    ipcx_py_seen seen;
    ipcx_py_see(&seen, self->state);
    made = kept_take(self);
    if (made != NULL) {
        status = IPCX_OK;
    } else if (self->source != NULL && is_within(self)) {
        status = ipcx_py_layer_barred("accept", ns, &err);
    } else {
        IPCX_PY_WAITING(status, status = accept_within(self, &core, deadline, &err));
    }
    if (made != NULL) {
        ;
    } else if (status == IPCX_OK) {
        made = around(self, core);
    } else if (status != IPCX_CLOSED || !iterating) {
        (void)ipcx_py_chan_raise(self->state, "accept", status, &err, ns);
    } else {
        ipcx_py_exit_check(self->state);
        return NULL;
    }
    if (ipcx_py_watched(self->state)) {
        ipcx_py_show(self->state, "accept", op, Py_XNewRef(made), &seen);
    }
    return made;
}

static PyObject *listener_accept(IPCX_PY_FAST)
{
    static const char *const names[] = {"timeout", NULL};
    PyObject *timeout;
    int64_t ns;
    if (!ipcx_py_named(&timeout, names, 0, "accept", args, nargs, kwnames) ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    return accept_one(op, ns, false);
}

static PyObject *listener_next(PyObject *op)
{
    return accept_one(op, IPCX_PY_EVER, true);
}

static PyObject *listener_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_listener *self = listener_of(op);
    bool was_open = !self->closed;
    PyObject *kept;
    ipcx_error err;
    ipcx_status status;
    if (self->source != NULL && is_within(self)) {
        return ipcx_py_layer_call_later(self->state, op, "close", PyTuple_New(0));
    }
    self->closed = true;
    while ((kept = kept_take(self)) != NULL) {
        Py_XDECREF(PyObject_CallMethod(kept, "close", "i", 0));
        Py_DECREF(kept);
        PyErr_Clear();
    }
    IPCX_PY_WAITING(status, status = ipcx_listener_close(self->core, &err));
    ipcx_py_drop_all();
    if (status != IPCX_OK) {
        (void)ipcx_py_chan_raise(self->state, "close", status, &err, 0);
    }
    if (was_open && ipcx_py_watched(self->state)) {
        ipcx_py_show(self->state, "close", op, status != IPCX_OK ? NULL : Py_NewRef(Py_None), NULL);
    }
    return status == IPCX_OK ? Py_NewRef(Py_None) : NULL;
}

static PyObject *listener_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(op);
}

static PyObject *listener_leave(PyObject *op, PyObject *const *Py_UNUSED(args),
                                Py_ssize_t Py_UNUSED(n))
{
    return listener_close(op, NULL);
}

static PyObject *listener_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_listener *self = listener_of(op);
    ipcx_error err;
    ipcx_status status;
    int fd = -1;
    IPCX_PY_WITHOUT_GIL(status = ipcx_listener_fileno(self->core, &fd, &err));
    return status == IPCX_OK ? PyLong_FromLong(fd)
                             : ipcx_py_chan_raise(self->state, "fileno", status, &err, 0);
}

static PyObject *listener_stats(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_listener *self = listener_of(op);
    ipcx_listener_stats stats;
    if (self->state->listener_stats == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "import ipcx first");
        return NULL;
    }
    ipcx_listener_get_stats(self->core, &stats);
    return PyObject_CallFunction(
        self->state->listener_stats, "KKKK", (unsigned long long)stats.accepted,
        (unsigned long long)stats.dropped, (unsigned long long)stats.waiting,
        (unsigned long long)stats.strangers);
}

static PyObject *listener_repr(PyObject *op)
{
    return PyUnicode_FromFormat("<ipcx.Listener %s%s>", ipcx_listener_url(listener_of(op)->core),
                                listener_of(op)->closed ? " closed" : "");
}

static PyObject *listener_reduce(PyObject *op, PyObject *Py_UNUSED(protocol))
{
    PyErr_Format(PyExc_TypeError, "%R cannot be pickled: a process listens for itself", op);
    return NULL;
}

static PyObject *listener_url(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_DecodeFSDefault(ipcx_listener_url(listener_of(op)->core));
}

static PyObject *listener_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(listener_of(op)->closed);
}

static PyMethodDef listener_methods[] = {
    {"accept", IPCX_PY_FAST_METHOD(listener_accept), METH_FASTCALL | METH_KEYWORDS, DOC_ACCEPT},
    {"close", listener_close, METH_NOARGS, DOC_LISTENER_CLOSE},
    {"fileno", listener_fileno, METH_NOARGS, DOC_LISTENER_FILENO},
    {"stats", listener_stats, METH_NOARGS, DOC_LISTENER_STATS},
    {"__enter__", listener_enter, METH_NOARGS, NULL},
    {"__exit__", IPCX_PY_FAST_METHOD(listener_leave), METH_FASTCALL, NULL},
    {"__reduce_ex__", listener_reduce, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef listener_getset[] = {
    {"url", listener_url, NULL, DOC_LISTENER_URL, NULL},
    {"closed", listener_closed, NULL, DOC_CLOSED, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef listener_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ipcx_py_listener, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot listener_slots[] = {
    {Py_tp_doc, DOC_LISTENER},
    {Py_tp_dealloc, listener_dealloc},
    {Py_tp_finalize, listener_finalize},
    {Py_tp_traverse, listener_traverse},
    {Py_tp_repr, listener_repr},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, listener_next},
    {Py_tp_methods, listener_methods},
    {Py_tp_getset, listener_getset},
    {Py_tp_members, listener_members},
    {0, NULL},
};

int ipcx_py_listener_init(PyObject *module, ipcx_py_state *state)
{
    PyType_Spec spec = {
        .name = "ipcx.channel.Listener",
        .basicsize = sizeof(ipcx_py_listener),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = listener_slots,
    };
    state->listener_type = ipcx_py_make_type(module, &spec, NULL);
    return state->listener_type != NULL ? 0 : -1;
}
