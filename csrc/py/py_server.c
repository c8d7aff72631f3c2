/* SPDX-License-Identifier: Apache-2.0
 * The type below ipcx.server.Server.
 * Invariant: `core` is there as long as the object; after close() it answers CLOSED. */
#include "py/py_server.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>

#include "ipcx/alloc.h"
#include "link/mux/mux_layer.h"
#include "py/py_layer.h"
#include "py/py_server_doc.h"

static ipcx_py_server *server_of(PyObject *op)
{
    return (ipcx_py_server *)op;
}

/* ---- its life */

/* The texts stay their objects'. NULL: an exception is set. */
static const char **urls_of(ipcx_py_state *state, PyObject *urls)
{
    Py_ssize_t count = PyTuple_GET_SIZE(urls);
    const char **texts = ipcx_alloc(((size_t)count + 1) * sizeof *texts);
    if (texts == NULL) {
        (void)PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *url = PyTuple_GET_ITEM(urls, i);
        Py_ssize_t size = 0;
        texts[i] = PyUnicode_Check(url) ? PyUnicode_AsUTF8AndSize(url, &size) : NULL;
        if (!PyUnicode_Check(url)) {
            PyErr_Format(PyExc_TypeError,
                         "a URL is a str such as 'tcp://127.0.0.1:5000', not %.100s",
                         Py_TYPE(url)->tp_name);
        } else if (texts[i] != NULL && strlen(texts[i]) != (size_t)size) {
            ipcx_error err;
            (void)ipcx_error_set(&err, IPCX_INVALID_URL, 0, "listen", "there is a NUL in it");
            (void)ipcx_py_raise(state, IPCX_INVALID_URL, &err);
        }
        if (PyErr_Occurred()) {
            ipcx_free(texts);
            return NULL;
        }
    }
    return texts;
}

static bool time_parse(PyObject *value, int64_t forever, int64_t *ns)
{
    if (!ipcx_py_patience(value, 0, ns)) {
        return false;
    }
    *ns = *ns == IPCX_PY_EVER ? forever : *ns + (*ns == 0); /* 0 would be the default */
    return true;
}

/* (urls, max_message, checksum, insecure, reuse_port, max_peers, max_backlog, on_full, backlog,
 * handshake_timeout, idle_timeout, progress_timeout, max_memory, private_stats,
 * authkey, allow_uids, vanish_timeout, tls) */
static bool options_parse(PyObject *args, PyObject **urls, PyObject **make, ipcx_mux_options *out)
{
    Py_ssize_t max_message, max_peers, max_backlog, max_memory;
    int full;
    PyObject *handshake, *idle, *progress, *authkey, *allow_uids, *vanish;
    if (!PyArg_ParseTuple(args, "O!npppnniiOOOnpOOOO", &PyTuple_Type, urls, &max_message,
                          &out->channel.checksum, &out->channel.insecure, &out->channel.reuse_port,
                          &max_peers, &max_backlog, &full, &out->channel.backlog, &handshake, &idle,
                          &progress, &max_memory, &out->private_stats, &authkey, &allow_uids,
                          &vanish, make)) {
        return false;
    }
    if (max_message < 1 || max_peers < 1 || max_backlog < 1 || max_memory < 0 ||
        out->channel.backlog < 1) {
        PyErr_SetString(PyExc_ValueError,
                        "max_message, max_peers, max_backlog and backlog are at least 1");
        return false;
    }
    out->channel.max_message = (size_t)max_message;
    out->channel.max_backlog = (size_t)max_backlog;
    out->max_peers = (size_t)max_peers;
    out->max_memory = (size_t)max_memory;
    out->on_full = (ipcx_mux_full)full;
    return ipcx_py_trust(authkey, allow_uids, &out->channel) &&
           ipcx_py_vanish(vanish, &out->channel) &&
           time_parse(handshake, INT64_MAX, &out->channel.handshake_timeout) &&
           time_parse(idle, 0, &out->idle_timeout) &&
           time_parse(progress, INT64_MAX, &out->progress_timeout);
}

static PyObject *server_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &ipcx_py_module), *urls, *make;
    ipcx_py_state *state = module != NULL ? PyModule_GetState(module) : NULL;
    ipcx_mux_options options = {0};
    ipcx_py_server *self;
    const char **texts;
    ipcx_error err;
    ipcx_status status;
    if (state == NULL || !options_parse(args, &urls, &make, &options)) {
        return NULL;
    }
    self = (ipcx_py_server *)type->tp_alloc(type, 0);
    texts = self != NULL ? urls_of(state, urls) : NULL;
    if (texts == NULL) {
        Py_XDECREF(self);
        return NULL;
    }
    self->state = state;
    self->on_full = options.on_full;
    self->peers = PyDict_New();
    self->layered = make != Py_None;
    self->source = ipcx_py_layer_source_new(make);
    if (self->peers == NULL || PyErr_Occurred()) {
        ipcx_free(texts);
        Py_DECREF(self);
        return NULL;
    }
    ipcx_py_layer_use(state, make, self->source, &options.channel);
    IPCX_PY_WITHOUT_GIL(
        status = ipcx_mux_open(texts, (size_t)PyTuple_GET_SIZE(urls), &options, &self->core, &err));
    ipcx_free(texts);
    if (status != IPCX_OK) {
        (void)ipcx_py_chan_raise(state, "listen", status, &err, 0);
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void server_finalize(PyObject *op)
{
    if (server_of(op)->core == NULL || server_of(op)->closed) {
        return;
    }
    ipcx_py_warn_unclosed(op);
}

static int server_traverse(PyObject *op, visitproc visit, void *arg)
{
    ipcx_py_server *self = server_of(op);
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->peers);
    for (size_t i = self->at; i < self->count; i++) {
        Py_VISIT(self->happened[i].peer);
        Py_VISIT(self->happened[i].message);
    }
    return 0;
}

static int server_clear(PyObject *op)
{
    ipcx_py_server_forget(server_of(op));
    Py_CLEAR(server_of(op)->peers);
    return 0;
}

static void free_core(ipcx_py_server *self)
{
    PyObject *raised, *value, *traceback;
    if (self->core == NULL || !self->layered) {
        ipcx_mux_free(self->core);
        return;
    }
    PyErr_Fetch(&raised, &value, &traceback);
    IPCX_PY_WITHOUT_GIL(ipcx_mux_free(self->core));
    PyErr_Restore(raised, value, traceback);
}

static void server_dealloc(PyObject *op)
{
    ipcx_py_server *self = server_of(op);
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    (void)server_clear(op);
    ipcx_free(self->happened);
    free_core(self);
    ipcx_py_layer_source_free(self->source);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- the rest */

static PyObject *server_broadcast(IPCX_PY_FAST)
{
    static const char *const names[] = {"message", "except_", NULL};
    ipcx_py_server *self = server_of(op);
    PyObject *values[2];
    const ipcx_mux_peer *except = NULL;
    ipcx_message message;
    Py_buffer view;
    ipcx_error err;
    ipcx_status status;
    size_t sent = 0;
    ipcx_py_seen seen;
    view.obj = NULL;
    if (!ipcx_py_named(values, names, 1, "broadcast", args, nargs, kwnames)) {
        return NULL;
    }
    if (values[1] != NULL && values[1] != Py_None) {
        if (!Py_IS_TYPE(values[1], (PyTypeObject *)self->state->peer_type)) {
            PyErr_Format(PyExc_TypeError, "except_ is a peer or None, not %.100s",
                         Py_TYPE(values[1])->tp_name);
            return NULL;
        }
        except = ((ipcx_py_peer *)values[1])->core;
    }
    if (!ipcx_py_server_pin(values[0], &message, &view)) {
        return NULL;
    }
    ipcx_py_see(&seen, self->state);
    IPCX_PY_WITHOUT_GIL(status = ipcx_mux_broadcast(self->core, &message, except, &sent, &err));
    if (view.obj != NULL) {
        PyBuffer_Release(&view);
    }
    if (status != IPCX_OK) {
        (void)ipcx_py_chan_raise(self->state, "broadcast", status, &err, 0);
    }
    if (ipcx_py_watched(self->state)) {
        seen.what = values[0];
        ipcx_py_show(self->state, "broadcast", op,
                     status == IPCX_OK ? PyLong_FromSize_t(message.size) : NULL, &seen);
    }
    return status == IPCX_OK ? PyLong_FromSize_t(sent) : NULL;
}

/* ---- close */

/* (server, timeout): both are there until it has run. */
static int close_now(void *given)
{
    PyObject *what = given;
    PyObject *done =
        PyObject_CallMethod(PyTuple_GET_ITEM(what, 0), "close", "O", PyTuple_GET_ITEM(what, 1));
    Py_DECREF(what);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

/* A signal handler closes, which came while TLS was at work, so within another call of this server:
 * that one must end first. */
static PyObject *close_after(ipcx_py_server *self, PyObject *timeout)
{
    PyObject *what =
        timeout != NULL ? Py_BuildValue("(OO)", self, timeout) : Py_BuildValue("(Oi)", self, 5);
    if (what == NULL) {
        return NULL;
    }
    if (Py_AddPendingCall(close_now, what) < 0) {
        Py_DECREF(what);
        PyErr_SetString(PyExc_RuntimeError, "too much is to be done after this call");
        return NULL;
    }
    ipcx_mux_nudge(self->core);
    Py_RETURN_NONE;
}

static PyObject *server_close(IPCX_PY_FAST)
{
    static const char *const names[] = {"timeout", NULL};
    ipcx_py_server *self = server_of(op);
    PyObject *timeout;
    ipcx_deadline deadline;
    ipcx_error err;
    ipcx_status status;
    size_t unsent = 0;
    int64_t ns;
    bool was_open = !self->closed;
    if (!ipcx_py_named(&timeout, names, 0, "close", args, nargs, kwnames) ||
        !ipcx_py_patience(timeout, (int64_t)5000000000, &ns)) {
        return NULL;
    }
    if (self->layered && ipcx__mux_within(self->core)) {
        return close_after(self, timeout);
    }
    deadline = ipcx_py_deadline(ns);
    self->closed = true;
    IPCX_PY_WAITING(status, status = ipcx_mux_close(self->core, deadline, &unsent, &err));
    if (status == IPCX_INTR) {
        return NULL;
    }
    ipcx_py_server_forget(self);
    PyDict_Clear(self->peers);
    if (status != IPCX_OK) {
        (void)ipcx_py_chan_raise(self->state, "close", status, &err, ns);
        ipcx_py_attribute("unsent", PyLong_FromSize_t(unsent));
    }
    if (was_open && ipcx_py_watched(self->state)) {
        ipcx_py_show(self->state, "close", op, status == IPCX_OK ? Py_NewRef(Py_None) : NULL, NULL);
    }
    return status == IPCX_OK ? Py_NewRef(Py_None) : NULL;
}

static PyObject *server_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(op);
}

static PyObject *server_leave(PyObject *op, PyObject *const *Py_UNUSED(args),
                              Py_ssize_t Py_UNUSED(n))
{
    return server_close(op, NULL, 0, NULL);
}

static PyObject *server_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_server *self = server_of(op);
    ipcx_error err;
    int fd = -1;
    ipcx_status status = ipcx_mux_fileno(self->core, &fd, &err);
    return status == IPCX_OK ? PyLong_FromLong(fd)
                             : ipcx_py_chan_raise(self->state, "fileno", status, &err, 0);
}

static PyObject *server_stats(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_server *self = server_of(op);
    ipcx_mux_stats all;
    if (self->state->server_stats == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "import ipcx.server first");
        return NULL;
    }
    IPCX_PY_TRYING_ONCE(self, ipcx_mux_get_stats(self->core, &all));
    return PyObject_CallFunction(
        self->state->server_stats, "KKKKKKKKKKKKKKKKK", (unsigned long long)all.peers,
        (unsigned long long)all.waiting, (unsigned long long)all.joined,
        (unsigned long long)all.left, (unsigned long long)all.refused,
        (unsigned long long)all.crowded, (unsigned long long)all.late, (unsigned long long)all.slow,
        (unsigned long long)all.wrong, (unsigned long long)all.greedy,
        (unsigned long long)all.received, (unsigned long long)all.received_bytes,
        (unsigned long long)all.sent, (unsigned long long)all.sent_bytes,
        (unsigned long long)all.dropped, (unsigned long long)all.memory,
        (unsigned long long)all.strangers);
}

static PyObject *server_repr(PyObject *op)
{
    ipcx_py_server *self = server_of(op);
    return PyUnicode_FromFormat("<ipcx.server.Server %s%s>", ipcx_mux_url(self->core, 0),
                                self->closed ? " closed" : "");
}

static PyObject *server_reduce(PyObject *op, PyObject *Py_UNUSED(protocol))
{
    PyErr_Format(PyExc_TypeError, "%R cannot be pickled: a process serves for itself", op);
    return NULL;
}

static PyObject *server_url(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_DecodeFSDefault(ipcx_mux_url(server_of(op)->core, 0));
}

static PyObject *server_urls(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *list = PyList_New(0), *urls;
    const char *text;
    for (size_t i = 0; list != NULL && (text = ipcx_mux_url(server_of(op)->core, i)) != NULL; i++) {
        PyObject *url = PyUnicode_DecodeFSDefault(text);
        if (url == NULL || PyList_Append(list, url) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(url);
    }
    urls = list != NULL ? PyList_AsTuple(list) : NULL;
    Py_XDECREF(list);
    return urls;
}

static PyObject *server_peers(PyObject *op, void *Py_UNUSED(closure))
{
    return PyDict_Values(server_of(op)->peers);
}

static PyObject *server_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(server_of(op)->closed);
}

static PyObject *set_types(PyObject *module, PyObject *args)
{
    ipcx_py_state *state = PyModule_GetState(module);
    PyObject *of_server, *of_peer;
    if (!PyArg_ParseTuple(args, "OO", &of_server, &of_peer)) {
        return NULL;
    }
    Py_XSETREF(state->server_stats, Py_NewRef(of_server));
    Py_XSETREF(state->peer_stats, Py_NewRef(of_peer));
    Py_RETURN_NONE;
}

static PyMethodDef server_functions[] = {
    {"_set_server_types", set_types, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef server_methods[] = {
    {"receive", IPCX_PY_FAST_METHOD(ipcx_py_server_receive), METH_FASTCALL | METH_KEYWORDS,
     DOC_SERVER_RECEIVE},
    {"receive_many", IPCX_PY_FAST_METHOD(ipcx_py_server_receive_many),
     METH_FASTCALL | METH_KEYWORDS, DOC_SERVER_RECEIVE_MANY},
    {"broadcast", IPCX_PY_FAST_METHOD(server_broadcast), METH_FASTCALL | METH_KEYWORDS,
     DOC_SERVER_BROADCAST},
    {"close", IPCX_PY_FAST_METHOD(server_close), METH_FASTCALL | METH_KEYWORDS, DOC_SERVER_CLOSE},
    {"fileno", server_fileno, METH_NOARGS, DOC_SERVER_FILENO},
    {"stats", server_stats, METH_NOARGS, DOC_SERVER_STATS},
    {"_event", IPCX_PY_FAST_METHOD(ipcx_py_server_event), METH_FASTCALL | METH_KEYWORDS,
     DOC_SERVER_EVENT},
    {"_receive_now", ipcx_py_server_receive_now, METH_NOARGS, DOC_SERVER_RECEIVE_NOW},
    {"__enter__", server_enter, METH_NOARGS, NULL},
    {"__exit__", IPCX_PY_FAST_METHOD(server_leave), METH_FASTCALL, NULL},
    {"__reduce_ex__", server_reduce, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"url", server_url, NULL, DOC_SERVER_URL, NULL},
    {"urls", server_urls, NULL, DOC_SERVER_URLS, NULL},
    {"peers", server_peers, NULL, DOC_SERVER_PEERS, NULL},
    {"closed", server_closed, NULL, DOC_SERVER_CLOSED, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef server_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ipcx_py_server, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_doc, DOC_SERVER},
    {Py_tp_new, server_new},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_finalize, server_finalize},
    {Py_tp_traverse, server_traverse},
    {Py_tp_clear, server_clear},
    {Py_tp_repr, server_repr},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, ipcx_py_server_next},
    {Py_tp_methods, server_methods},
    {Py_tp_getset, server_getset},
    {Py_tp_members, server_members},
    {0, NULL},
};

int ipcx_py_server_init(PyObject *module, ipcx_py_state *state)
{
    PyType_Spec spec = {
        .name = "ipcx._core.Server",
        .basicsize = sizeof(ipcx_py_server),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = server_slots,
    };
    if (ipcx_py_add_type(module, &spec) < 0 || ipcx_py_peer_init(module, state) < 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, server_functions);
}
