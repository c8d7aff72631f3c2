/* SPDX-License-Identifier: Apache-2.0
 * From the core's batches to Python objects, and from there into somebody's hands.
 * Invariant: a peer's object is made by its first event and let go of by its last; a rendezvous is
 * over when its message is handed out. */
#include "py/py_server.h"

#include "ipcx/alloc.h"

static PyObject *object_of(const ipcx_message *message)
{
    return message->flags & IPCX_MESSAGE_TEXT
               ? PyUnicode_DecodeUTF8(message->data, (Py_ssize_t)message->size, NULL)
               : PyBytes_FromStringAndSize(message->data, (Py_ssize_t)message->size);
}

/* The peer's object, a new reference. */
static PyObject *peer_of(ipcx_py_server *self, ipcx_mux_peer *core)
{
    PyObject *known = ipcx_mux_peer_user(core);
    return known != NULL ? Py_NewRef(known) : ipcx_py_peer_make(self, core);
}

static void left(ipcx_py_server *self, ipcx_mux_peer *core)
{
    PyObject *key = PyLong_FromUnsignedLongLong(ipcx_mux_peer_id(core));
    if (key == NULL || PyDict_DelItem(self->peers, key) < 0) {
        PyErr_Clear(); /* no memory to look it up: it stays in the list of peers, closed */
    }
    Py_XDECREF(key);
}

static bool convert(ipcx_py_server *self, const ipcx_mux_event *event, ipcx_py_happened *out)
{
    *out = (ipcx_py_happened){.kind = event->kind, .peer = peer_of(self, event->peer)};
    if (out->peer == NULL) {
        return false;
    }
    if (event->kind == IPCX_MUX_LEFT) {
        left(self, event->peer);
    } else if (event->kind == IPCX_MUX_MESSAGE) {
        out->ticket = event->message.flags & IPCX_MESSAGE_SYNC ? event->message.ticket : 0;
        out->message = object_of(&event->message);
        if (out->message == NULL) {
            Py_CLEAR(out->peer);
            return false;
        }
    }
    return true;
}

static bool make_room(ipcx_py_server *self, size_t more)
{
    size_t room = self->room != 0 ? self->room : 64;
    ipcx_py_happened *grown;
    if (self->at == self->count) {
        self->at = self->count = 0;
    }
    while (room - self->count < more) {
        room *= 2;
    }
    if (room == self->room) {
        return true;
    }
    grown = ipcx_realloc(self->happened, room * sizeof *grown);
    if (grown == NULL) {
        (void)PyErr_NoMemory();
        return false;
    }
    self->happened = grown;
    self->room = room;
    return true;
}

/* What there is no memory for is lost, and the exception says so. */
static bool convert_all(ipcx_py_server *self, const ipcx_mux_event *events, size_t count)
{
    bool fine = make_room(self, count);
    for (size_t i = 0; i < count && fine; i++) {
        fine = convert(self, &events[i], &self->happened[self->count]);
        self->count += fine;
    }
    return fine;
}

/* OK: there is something, or was: look. Else an exception is set. */
static ipcx_status fetch(ipcx_py_server *self, int64_t ns, ipcx_deadline deadline)
{
    const ipcx_mux_event *events;
    size_t count;
    ipcx_error err;
    ipcx_status status;
    if (ns == IPCX_PY_NEVER) {
        IPCX_PY_TRYING_ONCE(self,
                            status = ipcx_mux_next(self->core, &events, &count, IPCX_NOW, &err));
    } else {
        self->waiting++;
        IPCX_PY_WITHOUT_GIL(status = ipcx_mux_next(self->core, &events, &count, deadline, &err));
        self->waiting--;
    }
    if (status == IPCX_OK) {
        bool fine = convert_all(self, events, count);
        ipcx_mux_release(self->core);
        return fine ? IPCX_OK : IPCX_NOMEM;
    }
    if (status == IPCX_INTR) {
        return IPCX_OK; /* the caller runs the handlers */
    }
    (void)ipcx_py_chan_raise(self->state, "receive", status, &err, ns);
    return status;
}

static void hand_out(ipcx_py_server *self, const ipcx_py_happened *what)
{
    if (what->ticket != 0) {
        const ipcx_message message = {.flags = IPCX_MESSAGE_SYNC, .ticket = what->ticket};
        IPCX_PY_WAKING(ipcx_mux_taken(((ipcx_py_peer *)what->peer)->core, &message));
    }
    if (self->waiting > 0 && self->at < self->count) {
        ipcx_mux_nudge(self->core);
    }
}

ipcx_status ipcx_py_server_take(ipcx_py_server *self, int64_t ns, bool messages,
                                ipcx_py_happened *out)
{
    ipcx_deadline deadline = 0;
    for (;;) {
        ipcx_status status;
        while (self->at < self->count) {
            *out = self->happened[self->at++];
            if (out->kind == IPCX_MUX_MESSAGE || !messages) {
                hand_out(self, out);
                return IPCX_OK;
            }
            Py_DECREF(out->peer);
        }
        if (deadline == 0 && ns != IPCX_PY_NEVER) {
            deadline = ipcx_py_deadline(ns);
        }
        status = fetch(self, ns, deadline);
        if (status != IPCX_OK) {
            return status;
        }
        if (ns != IPCX_PY_NEVER && ipcx_py_signals() < 0) { /* it came while they were read */
            return IPCX_INTR;
        }
    }
}

void ipcx_py_server_forget(ipcx_py_server *self)
{
    while (self->at < self->count) {
        ipcx_py_happened *next = &self->happened[self->at++];
        Py_CLEAR(next->message);
        Py_CLEAR(next->peer);
    }
}
