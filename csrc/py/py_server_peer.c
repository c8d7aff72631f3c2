/* SPDX-License-Identifier: Apache-2.0
 * The type ipcx.server.Peer.
 * Invariant: `core` is there as long as the object, and the server as long as its peers. */
#include "py/py_server.h"

#include <stddef.h>
#include <structmember.h>

#include "link/mux/mux_layer.h"
#include "py/py_layer.h"
#include "py/py_server_doc.h"

static ipcx_py_peer *peer_of(PyObject *op)
{
    return (ipcx_py_peer *)op;
}

PyObject *ipcx_py_peer_make(ipcx_py_server *server, ipcx_mux_peer *core)
{
    PyTypeObject *type = (PyTypeObject *)server->state->peer_type;
    ipcx_py_peer *self = (ipcx_py_peer *)type->tp_alloc(type, 0);
    PyObject *key;
    if (self == NULL) {
        return NULL;
    }
    ipcx_mux_peer_keep(core);
    self->core = core;
    self->server = (ipcx_py_server *)Py_NewRef((PyObject *)server);
    self->data = Py_NewRef(Py_None);
    key = PyLong_FromUnsignedLongLong(ipcx_mux_peer_id(core));
    if (key == NULL || PyDict_SetItem(server->peers, key, (PyObject *)self) < 0) {
        Py_XDECREF(key);
        Py_DECREF(self);
        return NULL;
    }
    Py_DECREF(key);
    ipcx_mux_peer_set_user(core, self);
    return (PyObject *)self;
}

static int peer_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT((PyObject *)peer_of(op)->server);
    Py_VISIT(peer_of(op)->data);
    return 0;
}

/* The server stays: the core's peer needs its mux, and the server's own clear ends the cycle. */
static int peer_clear(PyObject *op)
{
    Py_CLEAR(peer_of(op)->data);
    return 0;
}

static void peer_dealloc(PyObject *op)
{
    ipcx_py_peer *self = peer_of(op);
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    if (self->core != NULL) {
        ipcx_mux_peer_set_user(self->core, NULL);
        ipcx_mux_peer_drop(self->core);
    }
    (void)peer_clear(op);
    Py_CLEAR(self->server);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- send */

bool ipcx_py_server_pin(PyObject *value, ipcx_message *message, Py_buffer *view)
{
    *message = (ipcx_message){0};
    if (PyBytes_CheckExact(value)) {
        message->data = PyBytes_AS_STRING(value);
        message->size = (size_t)PyBytes_GET_SIZE(value);
    } else if (PyUnicode_Check(value)) {
        Py_ssize_t size;
        message->data = PyUnicode_AsUTF8AndSize(value, &size);
        message->size = (size_t)size;
        message->flags = IPCX_MESSAGE_TEXT;
        return message->data != NULL;
    } else if (PyObject_CheckBuffer(value)) {
        if (PyObject_GetBuffer(value, view, PyBUF_SIMPLE) < 0) {
            return false;
        }
        message->data = view->buf;
        message->size = (size_t)view->len;
    } else {
        PyErr_Format(PyExc_TypeError,
                     "a message is str or bytes-like, not %.100s: json.dumps() makes a str of it",
                     Py_TYPE(value)->tp_name);
        return false;
    }
    return true;
}

static ipcx_status push(ipcx_py_peer *self, const ipcx_message *message, int64_t ns,
                        ipcx_error *err)
{
    bool blocks = self->server->on_full == IPCX_MUX_BLOCK && ns != IPCX_PY_NEVER;
    ipcx_status status;
    ipcx_deadline deadline;
    if (message->size <= IPCX_PY_TRY_MAX) {
        IPCX_PY_WAKING(status = ipcx_mux_send(self->core, message, IPCX_NOW, err));
    } else {
        IPCX_PY_WITHOUT_GIL(status = ipcx_mux_send(self->core, message, IPCX_NOW, err));
    }
    if (status != IPCX_AGAIN || !blocks) {
        return status;
    }
    deadline = ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_mux_send(self->core, message, deadline, err));
    return status;
}

static PyObject *answer(ipcx_py_peer *self, ipcx_status status, const ipcx_error *err, int64_t ns)
{
    switch (status) {
    case IPCX_OK:
        Py_RETURN_TRUE;
    case IPCX_PEER_CLOSED:
    case IPCX_PEER_DIED:
        Py_RETURN_FALSE; /* that a peer goes must not end the loop that serves the others */
    case IPCX_AGAIN:
        if (self->server->on_full == IPCX_MUX_DROP_NEWEST) {
            Py_RETURN_FALSE;
        }
        break;
    default:
        break;
    }
    return ipcx_py_chan_raise(self->server->state, "send", status, err, ns);
}

/* What the trace is told: the size; False when it was not sent, and nothing is wrong. */
static PyObject *told(ipcx_py_peer *self, PyObject *answered, size_t size, const ipcx_py_seen *seen)
{
    if (ipcx_py_watched(self->server->state)) {
        ipcx_py_show(self->server->state, "send", (PyObject *)self,
                     answered == NULL      ? NULL
                     : answered == Py_True ? PyLong_FromSize_t(size)
                                           : Py_NewRef(Py_False),
                     seen);
    }
    return answered;
}

static PyObject *peer_send(IPCX_PY_FAST)
{
    static const char *const names[] = {"message", "timeout", NULL};
    ipcx_py_peer *self = peer_of(op);
    PyObject *values[2] = {NULL, NULL};
    ipcx_message message;
    Py_buffer view;
    ipcx_error err;
    ipcx_status status;
    int64_t ns = IPCX_PY_EVER;
    ipcx_py_seen seen;
    view.obj = NULL;
    if (nargs == 1 && kwnames == NULL) {
        values[0] = args[0];
    } else if (!ipcx_py_named(values, names, 1, "send", args, nargs, kwnames) ||
               !ipcx_py_patience(values[1], IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    if (!ipcx_py_server_pin(values[0], &message, &view)) {
        return NULL;
    }
    ipcx_py_see(&seen, self->server->state);
    status = push(self, &message, ns, &err);
    if (view.obj != NULL) {
        PyBuffer_Release(&view);
    }
    if (ipcx_py_watched(self->server->state)) {
        seen.what = values[0];
    }
    return told(self, answer(self, status, &err, ns), message.size, &seen);
}

static PyObject *peer_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    IPCX_PY_WAKING(ipcx_mux_peer_close(peer_of(op)->core));
    if (ipcx_py_watched(peer_of(op)->server->state)) {
        ipcx_py_show(peer_of(op)->server->state, "close", op, Py_NewRef(Py_None), NULL);
    }
    Py_RETURN_NONE;
}

/* ---- what it tells of itself */

static ipcx_mux_peer_info info_of(PyObject *op)
{
    ipcx_mux_peer_info info;
    IPCX_PY_TRYING_ONCE(peer_of(op)->server, ipcx_mux_peer_get(peer_of(op)->core, &info));
    return info;
}

static PyObject *peer_stats(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *type = peer_of(op)->server->state->peer_stats;
    ipcx_mux_peer_info info = info_of(op);
    if (type == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "import ipcx.server first");
        return NULL;
    }
    return PyObject_CallFunction(
        type, "KKKKKK", (unsigned long long)info.sent, (unsigned long long)info.sent_bytes,
        (unsigned long long)info.received, (unsigned long long)info.received_bytes,
        (unsigned long long)info.dropped, (unsigned long long)info.owed);
}

static PyObject *peer_repr(PyObject *op)
{
    ipcx_mux_peer_info info = info_of(op);
    return PyUnicode_FromFormat("<ipcx.server.Peer %llu %s%s>", (unsigned long long)info.id,
                                info.url, info.open ? "" : " closed");
}

static PyObject *peer_id(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(ipcx_mux_peer_id(peer_of(op)->core));
}

static PyObject *peer_url(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_DecodeFSDefault(info_of(op).url);
}

static PyObject *peer_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(!info_of(op).open);
}

/* Of a Unix peer, else None. */
static PyObject *peer_pid(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_mux_peer_info info = info_of(op);
    return info.pid != 0 ? PyLong_FromLong(info.pid) : Py_NewRef(Py_None);
}

static PyObject *peer_uid(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_mux_peer_info info = info_of(op);
    return info.pid != 0 ? PyLong_FromUnsignedLong(info.uid) : Py_NewRef(Py_None);
}

static PyObject *peer_reason(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_mux_peer_info info = info_of(op);
    if (info.open || info.why == IPCX_OK || info.why == IPCX_EOF) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(info.reason != NULL ? info.reason : ipcx_status_text(info.why));
}

/* tls; else None. */
static PyObject *peer_tls(PyObject *op, void *Py_UNUSED(closure))
{
    return ipcx_py_layer_view(ipcx__mux_peer_session(peer_of(op)->core));
}

static PyMethodDef peer_methods[] = {
    {"send", IPCX_PY_FAST_METHOD(peer_send), METH_FASTCALL | METH_KEYWORDS, DOC_PEER_SEND},
    {"close", peer_close, METH_NOARGS, DOC_PEER_CLOSE},
    {"stats", peer_stats, METH_NOARGS, DOC_PEER_STATS},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef peer_getset[] = {
    {"id", peer_id, NULL, DOC_PEER_ID, NULL},
    {"url", peer_url, NULL, DOC_PEER_URL, NULL},
    {"closed", peer_closed, NULL, DOC_PEER_CLOSED, NULL},
    {"reason", peer_reason, NULL, DOC_PEER_REASON, NULL},
    {"tls", peer_tls, NULL, DOC_PEER_TLS, NULL},
    {"pid", peer_pid, NULL, DOC_PEER_PID, NULL},
    {"uid", peer_uid, NULL, DOC_PEER_UID, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef peer_members[] = {
    {"data", T_OBJECT, offsetof(ipcx_py_peer, data), 0, DOC_PEER_DATA},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ipcx_py_peer, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot peer_slots[] = {
    {Py_tp_doc, DOC_PEER},       {Py_tp_dealloc, peer_dealloc}, {Py_tp_traverse, peer_traverse},
    {Py_tp_clear, peer_clear},   {Py_tp_repr, peer_repr},       {Py_tp_methods, peer_methods},
    {Py_tp_getset, peer_getset}, {Py_tp_members, peer_members}, {0, NULL},
};

int ipcx_py_peer_init(PyObject *module, ipcx_py_state *state)
{
    PyType_Spec spec = {
        .name = "ipcx.server.Peer",
        .basicsize = sizeof(ipcx_py_peer),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
                 Py_TPFLAGS_IMMUTABLETYPE,
        .slots = peer_slots,
    };
    state->peer_type = ipcx_py_make_type(module, &spec, NULL);
    return state->peer_type != NULL ? 0 : -1;
}
