/* SPDX-License-Identifier: Apache-2.0
 * The type ipcx.Channel: its life, its properties, and the list of its methods.
 * Invariant: `core` is there as long as the object; after close() it answers CLOSED. */
#include "py/py_chan.h"

#include <stddef.h>
#include <structmember.h>

#include "link/chan.h"
#include "link/memory/chan_mem.h"
#include "link/stream/chan_stream.h"
#include "py/py_chan_doc.h"
#include "py/py_layer.h"
#include "py/py_loan.h"

static ipcx_py_chan *chan_of(PyObject *op)
{
    return (ipcx_py_chan *)op;
}

PyObject *ipcx_py_chan_around(ipcx_py_state *state, ipcx_chan *core)
{
    PyTypeObject *type = (PyTypeObject *)state->chan_type;
    ipcx_py_chan *self = (ipcx_py_chan *)type->tp_alloc(type, 0);
    if (self == NULL) {
        ipcx_py_chan_free(core);
        return NULL;
    }
    self->state = state;
    self->core = core;
    self->objects = core->transport->scheme == IPCX_SCHEME_INPROC && !core->options.copy;
    self->layered = core->transport->scheme == IPCX_SCHEME_TLS;
    self->lingers = core->transport->fronts != NULL;
    self->rendezvous = core->options.rendezvous != 0;
    self->quick = self->rendezvous ? NULL : core->transport->quick;
    ipcx_py_enlist(&state->channels, &self->listed);
    return (PyObject *)self;
}

/* ---- the end of a channel */

/* As CPython's sockets: the object is whole, and may even be seen by the warning's filters. */
static void chan_finalize(PyObject *op)
{
    ipcx_py_chan *self = chan_of(op);
    if (self->core == NULL || atomic_load(&self->core->closed) || !ipcx_py_chan_ours(self)) {
        return;
    }
    ipcx_py_warn_unclosed(op);
}

typedef struct visitor {
    visitproc visit;
    void *arg;
} visitor;

static int visit_one(void *object, void *context)
{
    const visitor *by = context;
    return by->visit(object, by->arg);
}

/* Objects on their way to this end are reached from it. They come without the GIL, but leave with
 * it only (py_chan_receive.c), so the collector never takes one for garbage that somebody holds. */
static int chan_traverse(PyObject *op, visitproc visit, void *arg)
{
    ipcx_py_chan *self = chan_of(op);
    visitor by = {.visit = visit, .arg = arg};
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->kept);
    return self->objects && self->core != NULL ? ipcx__chan_mem_each(self->core, visit_one, &by)
                                               : 0;
}

/* A cycle ends where the end is closed, which gives back what was on its way to it. */
static int chan_clear(PyObject *op)
{
    ipcx_py_chan *self = chan_of(op);
    Py_CLEAR(self->kept);
    if (self->objects && self->core != NULL) {
        (void)ipcx_chan_close(self->core, IPCX_NOW, NULL, NULL);
        ipcx_py_drop_all();
    }
    return 0;
}

static void chan_dealloc(PyObject *op)
{
    ipcx_py_chan *self = chan_of(op);
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
    ipcx_py_chan_free(self->core);
    self->core = NULL;
    ipcx_py_drop_all();
    type->tp_free(op);
    Py_DECREF(type);
}

/* With the GIL let go: a message that was lent to another thread is waited for. */
static PyObject *chan_close(IPCX_PY_FAST)
{
    static const char *const names[] = {"timeout", NULL};
    ipcx_py_chan *self = chan_of(op);
    PyObject *timeout;
    ipcx_deadline deadline;
    ipcx_error err;
    ipcx_status status;
    size_t unsent = 0;
    int64_t ns;
    bool was_open = !atomic_load(&self->core->closed);
    if (!ipcx_py_named(&timeout, names, 0, "close", args, nargs, kwnames) ||
        !ipcx_py_patience(timeout, (int64_t)5000000000, &ns)) {
        return NULL;
    }
    if (IPCX_UNLIKELY(self->layered) && ipcx_py_layer_within(self)) {
        return ipcx_py_layer_call_later(
            self->state, op, "close", timeout != NULL ? PyTuple_Pack(1, timeout) : PyTuple_New(0));
    }
    if (IPCX_UNLIKELY(self->layered) && ipcx_py_layer_do_later() < 0) {
        return NULL;
    }
    deadline = ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_chan_close(self->core, deadline, &unsent, &err));
    ipcx_py_drop_all();
    if (status != IPCX_OK && ns != IPCX_PY_NEVER) {
        (void)ipcx_py_chan_raise(self->state, "close", status, &err, ns);
        ipcx_py_layer_cause(self);
        if (status != IPCX_INTR) {
            ipcx_py_attribute("unsent", PyLong_FromSize_t(unsent));
        }
    } else if (status == IPCX_INTR && !PyErr_Occurred()) {
        status = IPCX_OK;
    }
    if (was_open && ipcx_py_watched(self->state)) {
        ipcx_py_show(self->state, "close", op, PyErr_Occurred() ? NULL : Py_NewRef(Py_None), NULL);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *chan_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(op);
}

static PyObject *chan_leave(PyObject *op, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(n))
{
    return chan_close(op, NULL, 0, NULL);
}

/* ---- what it tells of itself */

static PyObject *chan_repr(PyObject *op)
{
    const ipcx_chan *core = chan_of(op)->core;
    return PyUnicode_FromFormat("<ipcx.Channel %s%s>", ipcx_chan_url(core),
                                atomic_load(&core->closed) ? " closed" : "");
}

static PyObject *a_descriptor(PyObject *op, bool to_send)
{
    ipcx_py_chan *self = chan_of(op);
    ipcx_error err;
    ipcx_status status;
    int fd = -1;
    if (IPCX_UNLIKELY(self->layered) && ipcx_py_layer_within(self)) {
        status = ipcx_py_layer_barred("fileno", IPCX_PY_EVER, &err);
        return ipcx_py_chan_raise(self->state, "fileno", status, &err, 0);
    }
    IPCX_PY_WITHOUT_GIL(status = to_send ? ipcx_chan_send_fileno(self->core, &fd, &err)
                                         : ipcx_chan_fileno(self->core, &fd, &err));
    return status == IPCX_OK ? PyLong_FromLong(fd)
                             : ipcx_py_chan_raise(self->state, "fileno", status, &err, 0);
}

static PyObject *chan_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return a_descriptor(op, false);
}

static PyObject *chan_send_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return a_descriptor(op, true);
}

/* What only datagrams know: attributes beside the tuple's fields, of the class, and there 0. */
static bool add_losses(PyObject *made, const ipcx_chan_stats *stats)
{
    const struct {
        const char *name;
        uint64_t count;
    } losses[] = {{"lost", stats->lost},
                  {"reordered", stats->reordered},
                  {"duplicates", stats->duplicates},
                  {"dropped", stats->dropped},
                  {"overflowed", stats->overflowed}};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) {
        PyObject *count;
        int failed;
        if (losses[i].count == 0) {
            continue;
        }
        count = PyLong_FromUnsignedLongLong(losses[i].count);
        failed = count == NULL || PyObject_SetAttrString(made, losses[i].name, count) < 0;
        Py_XDECREF(count);
        if (failed) {
            return false;
        }
    }
    return true;
}

static PyObject *chan_stats(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_chan *self = chan_of(op);
    ipcx_chan_stats stats;
    PyObject *made;
    if (self->state->chan_stats == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "import ipcx first");
        return NULL;
    }
    ipcx_chan_get_stats(self->core, &stats);
    made = PyObject_CallFunction(
        self->state->chan_stats, "KKKKKKKK", (unsigned long long)stats.sent,
        (unsigned long long)stats.sent_bytes, (unsigned long long)stats.received,
        (unsigned long long)stats.received_bytes, (unsigned long long)stats.send_waits,
        (unsigned long long)stats.receive_waits, (unsigned long long)stats.timeouts,
        (unsigned long long)stats.owed);
    if (made != NULL && !add_losses(made, &stats)) {
        Py_CLEAR(made);
    }
    return made;
}

static PyObject *chan_url(PyObject *op, void *Py_UNUSED(closure))
{
    const char *url = ipcx_chan_url(chan_of(op)->core);
    return PyUnicode_DecodeFSDefault(url);
}

static PyObject *chan_max_message(PyObject *op, void *Py_UNUSED(closure))
{
    size_t receive, send;
    ipcx_chan_max_message(chan_of(op)->core, &receive, &send);
    return PyLong_FromSize_t(receive);
}

static PyObject *chan_unproven(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(ipcx__chan_stream_unproven(chan_of(op)->core));
}

static PyObject *chan_answers(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(atomic_load(&chan_of(op)->core->answers));
}

static PyObject *chan_tls(PyObject *op, void *Py_UNUSED(closure))
{
    return ipcx_py_layer_object((ipcx_py_chan *)op);
}

static PyObject *chan_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(atomic_load(&chan_of(op)->core->closed));
}

/* ---- to another process */

static PyObject *chan_export(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_chan *self = chan_of(op);
    ipcx_chan_end end;
    ipcx_error err;
    ipcx_status status = ipcx_chan_export(self->core, &end, &err);
    PyObject *fds, *result;
    if (status == IPCX_INVALID || status == IPCX_UNSUPPORTED || status == IPCX_FORKED) {
        PyErr_Format(PyExc_TypeError, "%R cannot be handed to another process: %s", op, err.detail);
        return NULL;
    }
    if (status != IPCX_OK) {
        return ipcx_py_chan_raise(self->state, "export", status, &err, 0);
    }
    fds = PyTuple_New(end.count);
    for (int i = 0; fds != NULL && i < end.count; i++) {
        PyObject *fd = PyLong_FromLong(end.fds[i]);
        if (fd == NULL) {
            Py_CLEAR(fds);
        } else {
            PyTuple_SET_ITEM(fds, i, fd);
        }
    }
    result = fds != NULL
                 ? Py_BuildValue("(Oy#)", fds, (const char *)end.note, (Py_ssize_t)sizeof end.note)
                 : NULL;
    Py_XDECREF(fds);
    return result;
}

static PyObject *chan_reduce(PyObject *op, PyObject *Py_UNUSED(protocol))
{
    PyErr_Format(PyExc_TypeError,
                 "%R cannot be pickled: give it to a multiprocessing.Process as an argument, or "
                 "send() it over a unix:// channel",
                 op);
    return NULL;
}

/* ---- the type */

static PyMethodDef chan_methods[] = {
    {"send", IPCX_PY_FAST_METHOD(ipcx_py_chan_send), METH_FASTCALL | METH_KEYWORDS, DOC_SEND},
    {"receive", IPCX_PY_FAST_METHOD(ipcx_py_chan_receive), METH_FASTCALL | METH_KEYWORDS,
     DOC_RECEIVE},
    {"poll", IPCX_PY_FAST_METHOD(ipcx_py_chan_poll), METH_FASTCALL | METH_KEYWORDS, DOC_POLL},
    {"send_many", IPCX_PY_FAST_METHOD(ipcx_py_chan_send_many), METH_FASTCALL | METH_KEYWORDS,
     DOC_SEND_MANY},
    {"receive_many", IPCX_PY_FAST_METHOD(ipcx_py_chan_receive_many), METH_FASTCALL | METH_KEYWORDS,
     DOC_RECEIVE_MANY},
    {"receive_into", IPCX_PY_FAST_METHOD(ipcx_py_chan_receive_into), METH_FASTCALL | METH_KEYWORDS,
     DOC_RECEIVE_INTO},
    {"reserve", IPCX_PY_FAST_METHOD(ipcx_py_chan_reserve), METH_FASTCALL | METH_KEYWORDS,
     DOC_RESERVE},
    {"receive_view", IPCX_PY_FAST_METHOD(ipcx_py_chan_receive_view), METH_FASTCALL | METH_KEYWORDS,
     DOC_RECEIVE_VIEW},
    {"trim", ipcx_py_chan_trim, METH_NOARGS, DOC_TRIM},
    {"flush", IPCX_PY_FAST_METHOD(ipcx_py_chan_flush), METH_FASTCALL | METH_KEYWORDS, DOC_FLUSH},
    {"close", IPCX_PY_FAST_METHOD(chan_close), METH_FASTCALL | METH_KEYWORDS, DOC_CLOSE},
    {"fileno", chan_fileno, METH_NOARGS, DOC_FILENO},
    {"stats", chan_stats, METH_NOARGS, DOC_STATS},
    {"__enter__", chan_enter, METH_NOARGS, NULL},
    {"__exit__", IPCX_PY_FAST_METHOD(chan_leave), METH_FASTCALL, NULL},
    {"__reduce_ex__", chan_reduce, METH_O, NULL},
    {"_send_now", IPCX_PY_FAST_METHOD(ipcx_py_chan_send_now), METH_FASTCALL, DOC_SEND_NOW},
    {"_receive_now", ipcx_py_chan_receive_now, METH_NOARGS, DOC_RECEIVE_NOW},
    {"_reserve_now", ipcx_py_chan_reserve_now, METH_O, DOC_RESERVE_NOW},
    {"_receive_view_now", ipcx_py_chan_receive_view_now, METH_NOARGS, DOC_RECEIVE_VIEW_NOW},
    {"_send_fileno", chan_send_fileno, METH_NOARGS, DOC_SEND_FILENO},
    {"_export", chan_export, METH_NOARGS, DOC_EXPORT},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef chan_getset[] = {
    {"url", chan_url, NULL, DOC_URL, NULL},
    {"max_message", chan_max_message, NULL, DOC_MAX_MESSAGE, NULL},
    {"closed", chan_closed, NULL, DOC_CLOSED, NULL},
    {"_unproven", chan_unproven, NULL, DOC_UNPROVEN, NULL},
    {"_answers", chan_answers, NULL, DOC_ANSWERS, NULL},
    {"tls", chan_tls, NULL, DOC_TLS, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef chan_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ipcx_py_chan, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot chan_slots[] = {
    {Py_tp_doc, DOC_CHANNEL},        {Py_tp_dealloc, chan_dealloc},
    {Py_tp_finalize, chan_finalize}, {Py_tp_traverse, chan_traverse},
    {Py_tp_clear, chan_clear},       {Py_tp_repr, chan_repr},
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, ipcx_py_chan_next},
    {Py_tp_methods, chan_methods},   {Py_tp_getset, chan_getset},
    {Py_tp_members, chan_members},   {0, NULL},
};

/* What an exception may always be asked for: where a channel has nothing to say, it is this. */
static int default_of(ipcx_py_state *state, ipcx_status status, const char *name, PyObject *value)
{
    PyObject *key = PyLong_FromLong(status);
    PyObject *type = key != NULL ? PyDict_GetItemWithError(state->exceptions, key) : NULL;
    Py_XDECREF(key);
    return type != NULL ? PyObject_SetAttrString(type, name, value) : -1;
}

static int defaults(ipcx_py_state *state)
{
    if (default_of(state, IPCX_TIMEOUT, "begun", Py_False) < 0 ||
        default_of(state, IPCX_TIMEOUT, "sent", state->zero) < 0 ||
        default_of(state, IPCX_TIMEOUT, "unsent", state->zero) < 0 ||
        default_of(state, IPCX_PEER_CLOSED, "begun", Py_False) < 0 ||
        default_of(state, IPCX_PEER_CLOSED, "sent", state->zero) < 0) {
        return -1;
    }
    return default_of(state, IPCX_PEER_CLOSED, "unreceived", Py_None);
}

int ipcx_py_chan_init(PyObject *module, ipcx_py_state *state)
{
    PyType_Spec spec = {
        .name = "ipcx.channel.Channel",
        .basicsize = sizeof(ipcx_py_chan),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = chan_slots,
    };
    state->chan_type = ipcx_py_make_type(module, &spec, NULL);
    if (state->chan_type == NULL || defaults(state) < 0 ||
        ipcx_py_sending_init(module, state) < 0 || ipcx_py_loan_init(module, state) < 0 ||
        ipcx_py_listener_init(module, state) < 0) {
        return -1;
    }
    if (PyModule_AddFunctions(module, ipcx_py_layer_functions) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, ipcx_py_chan_functions);
}
