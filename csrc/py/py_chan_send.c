/* SPDX-License-Identifier: Apache-2.0
 * send, send_many, flush, and the token of a send that has begun.
 * Invariant: what a message is made of stays pinned until the core has let go of it. An object of
 * inproc:// has a reference for the core from before the call; it is taken back if the core did
 * not take it. */
#include "py/py_chan_next.h"

#include "link/chan.h"
#include "py/py_layer.h"

#define TEXTS "a message is str or bytes-like, not %.100s"

/* How a message is held while it is sent. */
static bool pin(ipcx_py_chan *self, PyObject *value, ipcx_message *message, Py_buffer *view)
{
    message->flags = 0;
    if (self->objects) {
        *message = (ipcx_message){.data = value, .flags = IPCX_MESSAGE_OBJECT};
    } else if (PyBytes_CheckExact(value)) {
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
    } else if (Py_IS_TYPE(value, (PyTypeObject *)self->state->chan_type)) {
        ipcx_chan *end = ((ipcx_py_chan *)value)->core;
        if (atomic_load(&end->owner) != 0 && !atomic_load(&end->closed)) {
            PyErr_Format(PyExc_TypeError,
                         "%R is in use: only an end that nobody has used can be sent", value);
            return false;
        }
        *message = (ipcx_message){.data = end, .flags = IPCX_MESSAGE_END};
    } else {
        PyErr_Format(PyExc_TypeError,
                     TEXTS ": a codec= will turn objects into bytes (until then json.dumps does), "
                           "and inproc:// passes them as they are",
                     Py_TYPE(value)->tp_name);
        return false;
    }
    return true;
}

/* An end that was handed over is let go of here: as long as it were open, the receiver's peer
 * would not see the receiver hang up. */
static void handed_over(const ipcx_message *message)
{
    (void)ipcx_chan_close((ipcx_chan *)message->data, IPCX_NOW, NULL, NULL);
}

/* Bytes, as they are: what comes most goes before anything else is asked. AGAIN: not without
 * waiting, or they do not go this way, which *tried tells. */
static inline ipcx_status push_bytes(ipcx_py_chan *self, PyObject *value, ipcx_sending *sending,
                                     ipcx_error *err, bool *tried)
{
    ipcx_status status = IPCX_AGAIN;
    *tried = PyBytes_CheckExact(value) && PyBytes_GET_SIZE(value) <= IPCX_PY_TRY_MAX &&
             !self->objects && !self->rendezvous && !self->layered;
    if (*tried) {
        ipcx_message bytes = {.data = PyBytes_AS_STRING(value),
                              .size = (size_t)PyBytes_GET_SIZE(value)};
        IPCX_PY_WAKING(status = ipcx_chan_send(self->core, &bytes, IPCX_NOW, sending, err));
    }
    return status;
}

/* One message through the core; `tried`: not without waiting. INTR: an exception is set. */
static ipcx_status push(ipcx_py_chan *self, const ipcx_message *message, int64_t ns, bool tried,
                        ipcx_sending *sending, ipcx_error *err)
{
    ipcx_status status = IPCX_AGAIN;
    bool sync = (message->flags & IPCX_MESSAGE_SYNC) || self->rendezvous;
    if (!tried && message->size <= IPCX_PY_TRY_MAX && (!sync || ns == IPCX_PY_NEVER)) {
        if (self->objects) {
            status = ipcx_chan_send(self->core, message, IPCX_NOW, sending, err);
        } else if (IPCX_UNLIKELY(self->layered)) {
            IPCX_PY_WAITING(status,
                            status = ipcx_chan_send(self->core, message, IPCX_NOW, sending, err));
        } else {
            IPCX_PY_WAKING(status = ipcx_chan_send(self->core, message, IPCX_NOW, sending, err));
        }
        if (IPCX_LIKELY(status != IPCX_AGAIN) || ns == IPCX_PY_NEVER) {
            return status;
        }
    }
    ipcx_deadline deadline = ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_chan_send(self->core, message, deadline, sending, err));
    return status;
}

/* Pins, sends, unpins. False: ipcx_py_chan_raise has been or is to be called: *status tells. */
static bool send_value(ipcx_py_chan *self, PyObject *value, bool sync, int64_t ns, bool tried,
                       ipcx_sending *sending, ipcx_status *status, ipcx_error *err)
{
    ipcx_message message;
    Py_buffer view;
    int had_begun = sending->begun;
    view.obj = NULL;
    *status = IPCX_INTR;
    if (!pin(self, value, &message, &view)) {
        return false;
    }
    if (IPCX_UNLIKELY(self->layered) && ipcx_py_layer_within(self)) {
        PyBuffer_Release(&view);
        *status = ipcx_py_layer_barred("send", ns, err);
        return false;
    }
    if (sync) {
        message.flags |= IPCX_MESSAGE_SYNC;
    }
    if (self->objects && !had_begun) {
        Py_INCREF(value);
    }
    *status = push(self, &message, ns, tried, sending, err);
    if (self->objects) {
        if (*status != IPCX_OK && !sending->begun) {
            Py_DECREF(value);
        }
        ipcx_py_drop_all();
    } else if (*status == IPCX_OK && (message.flags & IPCX_MESSAGE_END)) {
        handed_over(&message);
    }
    if (view.obj != NULL) {
        PyBuffer_Release(&view);
    }
    return *status == IPCX_OK;
}

/* Sets the exception of a send, and in it what became of the message. */
static PyObject *failed(ipcx_py_chan *self, const char *op, ipcx_status status,
                        const ipcx_error *err, int64_t ns, const ipcx_sending *sending,
                        const ipcx_py_seen *seen)
{
    if (status == IPCX_INVALID) { /* an end in use: wrong is what it is */
        PyErr_Format(PyExc_TypeError, "%s: %s", op, err->detail);
    } else {
        (void)ipcx_py_chan_raise(self->state, op, status, err, ns);
    }
    ipcx_py_attribute("begun", PyBool_FromLong(sending->begun));
    /* TOO_LARGE is of what we send, unless what came was. */
    if (status != IPCX_TOO_LARGE || ipcx_chan_error_offset(self->core) != 0) {
        ipcx_py_chan_offset(self, status);
    }
    if (status == IPCX_PEER_CLOSED || status == IPCX_PEER_DIED) {
        uint64_t count;
        if (ipcx_chan_unreceived(self->core, &count, NULL) == IPCX_OK) {
            ipcx_py_attribute("unreceived", PyLong_FromUnsignedLongLong(count));
        }
    }
    if (seen != NULL && ipcx_py_watched(self->state)) {
        ipcx_py_show(self->state, op, (PyObject *)self, NULL, seen);
    }
    return NULL;
}

/* What the trace is told of a message that was sent: its size. */
static PyObject *size_of(ipcx_py_chan *self, PyObject *value)
{
    ipcx_message message = {0};
    Py_buffer view = {0};
    if (!self->objects && !pin(self, value, &message, &view)) {
        PyErr_Clear();
    }
    PyBuffer_Release(&view);
    return PyLong_FromSize_t(message.size);
}

/* `what` has been sent. */
static PyObject *sent_traced(ipcx_py_chan *self, PyObject *what, ipcx_py_seen *seen)
{
    if (ipcx_py_watched(self->state)) {
        seen->what = what;
        ipcx_py_show(self->state, "send", (PyObject *)self, size_of(self, what), seen);
    }
    Py_RETURN_NONE;
}

PyObject *ipcx_py_chan_send_slowly(IPCX_PY_FAST)
{
    static const char *const names[] = {"msg", "sync", "timeout", NULL};
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    PyObject *values[3] = {NULL};
    ipcx_sending sending = {0};
    ipcx_error err;
    uint64_t slept;
    ipcx_status status;
    ipcx_py_seen seen;
    int64_t ns = IPCX_PY_EVER;
    bool plain = nargs == 1 && kwnames == NULL, sync = false, tried = false;
    if (plain) {
        values[0] = args[0];
    } else if (!ipcx_py_named(values, names, 1, "send", args, nargs, kwnames) ||
               !ipcx_py_truth(values[1], &sync) ||
               !ipcx_py_patience(values[2], IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    if (IPCX_UNLIKELY(self->layered) && !sync && !self->rendezvous && ipcx_py_layer_within(self) &&
        (PyUnicode_Check(values[0]) || PyObject_CheckBuffer(values[0]))) {
        return ipcx_py_layer_send_later(self, values[0], values[2]);
    }
    if (IPCX_UNLIKELY(self->layered) && ipcx_py_layer_do_later() < 0) {
        return NULL;
    }
    ipcx_py_see(&seen, self->state);
    slept = ipcx_py_chan_slept(self, &seen);
    status = plain ? push_bytes(self, values[0], &sending, &err, &tried) : IPCX_AGAIN;
    if (status == IPCX_AGAIN) {
        (void)send_value(self, values[0], sync, ns, tried, &sending, &status, &err);
    }
    if (IPCX_UNLIKELY(status != IPCX_OK)) {
        return failed(self, "send", status, &err, ns, &sending, &seen);
    }
    seen.at_once = self->objects && slept == ipcx_py_chan_slept(self, &seen);
    return sent_traced(self, values[0], &seen);
}

/* ---- the token of a send that goes on later */

typedef struct token {
    PyObject_HEAD ipcx_sending sending;
} token;

static PyObject *token_begun(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((token *)op)->sending.begun);
}

static PyGetSetDef token_getset[] = {
    {"begun", token_begun, NULL, "Whether the channel has the message, or the rest of it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static void token_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot token_slots[] = {
    {Py_tp_doc, "How far a send has come that could not be finished without waiting."},
    {Py_tp_dealloc, token_dealloc},
    {Py_tp_getset, token_getset},
    {0, NULL},
};

int ipcx_py_sending_init(PyObject *module, ipcx_py_state *state)
{
    PyType_Spec spec = {
        .name = "ipcx._core.Sending",
        .basicsize = sizeof(token),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = token_slots,
    };
    state->sending_type = ipcx_py_make_type(module, &spec, NULL);
    return state->sending_type != NULL ? 0 : -1;
}

/* A token that says so, or the one that was given. */
static PyObject *go_on_later(ipcx_py_chan *self, PyObject *given, const ipcx_sending *sending)
{
    PyTypeObject *type = (PyTypeObject *)self->state->sending_type;
    PyObject *made = given != NULL ? Py_NewRef(given) : type->tp_alloc(type, 0);
    if (made != NULL) {
        ((token *)made)->sending = *sending;
    }
    return made;
}

PyObject *ipcx_py_chan_send_now(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    PyObject *given;
    ipcx_sending sending = {0};
    ipcx_error err;
    ipcx_status status;
    ipcx_py_seen seen;
    bool sync;
    if (nargs != 3) {
        PyErr_Format(PyExc_TypeError, "_send_now() takes 3 arguments (%zd given)", nargs);
        return NULL;
    }
    given = Py_IS_TYPE(args[2], (PyTypeObject *)self->state->sending_type) ? args[2] : NULL;
    if (given == NULL && args[2] != Py_None) {
        PyErr_SetString(PyExc_TypeError, "the third argument is None or what this returned");
        return NULL;
    }
    if (!ipcx_py_truth(args[1], &sync)) {
        return NULL;
    }
    if (given != NULL) {
        sending = ((token *)given)->sending;
    }
    ipcx_py_see(&seen, self->state);
    if (send_value(self, args[0], sync, IPCX_PY_NEVER, false, &sending, &status, &err)) {
        return sent_traced(self, args[0], &seen);
    }
    if (status == IPCX_AGAIN) {
        return go_on_later(self, given, &sending);
    }
    return failed(self, "send", status, &err, IPCX_PY_NEVER, &sending, &seen);
}

/* ---- many */

#define BATCH 256
#define BATCH_BYTES ((size_t)1 << 20)

typedef struct batch {
    ipcx_py_chan *self;
    PyObject *values[BATCH]; /* our references; the core's own are counted in `lent` */
    ipcx_message messages[BATCH];
    Py_buffer views[BATCH];
    size_t count, bytes;
    Py_ssize_t sent; /* of all batches */
    PyObject *shown; /* a list of those that were sent, for who records, or NULL */
} batch;

/* Fills the batch from the iterator. False: no more: at the end, or with an exception set. */
static bool gather(batch *all, PyObject *iterator)
{
    all->count = all->bytes = 0;
    while (all->count < BATCH && all->bytes < BATCH_BYTES) {
        PyObject *value = PyIter_Next(iterator);
        Py_buffer *view = &all->views[all->count];
        ipcx_message *message = &all->messages[all->count];
        if (value == NULL) {
            return false;
        }
        view->obj = NULL;
        if (!pin(all->self, value, message, view)) {
            Py_DECREF(value);
            return false;
        }
        all->bytes += message->size;
        all->values[all->count++] = value;
    }
    return true;
}

/* Unpins. Of the objects the core took those before `taken`. */
static void forget(batch *all, size_t taken)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->views[i].obj != NULL) {
            PyBuffer_Release(&all->views[i]);
        }
        if (i < taken && (all->messages[i].flags & IPCX_MESSAGE_END)) {
            handed_over(&all->messages[i]);
        }
        if (i < taken && all->shown != NULL && PyList_Append(all->shown, all->values[i]) < 0) {
            PyErr_Clear();
        }
        if (!all->self->objects || i >= taken) {
            Py_DECREF(all->values[i]);
        }
    }
    all->count = 0;
    ipcx_py_drop_all();
}

/* Sends the batch. False: *status tells why. */
static bool send_batch(batch *all, int64_t ns, ipcx_deadline deadline, ipcx_sending *sending,
                       ipcx_status *status, ipcx_error *err)
{
    ipcx_chan *core = all->self->core;
    *status = IPCX_AGAIN;
    *sending = (ipcx_sending){0};
    if (IPCX_UNLIKELY(all->self->layered) && ipcx_py_layer_within(all->self)) {
        *status = ipcx_py_layer_barred("send_many", ns, err);
    } else if (IPCX_UNLIKELY(all->self->layered)) {
        deadline = ns == IPCX_PY_NEVER ? IPCX_NOW : deadline;
        IPCX_PY_WAITING(*status, *status = ipcx_chan_send_many(core, all->messages, all->count,
                                                               deadline, sending, err));
    } else if (all->bytes <= IPCX_PY_TRY_MAX || ns == IPCX_PY_NEVER) {
        IPCX_PY_WAKING(*status = ipcx_chan_send_many(core, all->messages, all->count, IPCX_NOW,
                                                     sending, err));
    }
    if (*status == IPCX_AGAIN && ns != IPCX_PY_NEVER && !all->self->layered) {
        IPCX_PY_WAITING(*status, *status = ipcx_chan_send_many(core, all->messages, all->count,
                                                               deadline, sending, err));
    }
    all->sent += (Py_ssize_t)sending->taken;
    forget(all, *status == IPCX_OK ? all->count : sending->taken);
    return *status == IPCX_OK;
}

/* All of them. What is wrong with one is told after those before it were sent. False with an
 * exception. */
static bool send_all(batch *all, PyObject *iterator, int64_t ns)
{
    ipcx_deadline deadline = ipcx_py_deadline(ns);
    ipcx_sending sending = {0};
    ipcx_status status = IPCX_OK;
    ipcx_error err;
    bool more = true, fine = true;
    while (more && fine) {
        PyObject *type, *value, *traceback;
        more = gather(all, iterator);
        if (all->count == 0) {
            break;
        }
        PyErr_Fetch(&type, &value, &traceback);
        fine = send_batch(all, ns, deadline, &sending, &status, &err);
        if (fine) {
            PyErr_Restore(type, value, traceback);
            continue;
        }
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        (void)failed(all->self, "send_many", status, &err, ns, &sending, NULL);
    }
    if (PyErr_Occurred()) {
        ipcx_py_attribute("sent", PyLong_FromSsize_t(all->sent));
        return false;
    }
    return true;
}

PyObject *ipcx_py_chan_send_many(IPCX_PY_FAST)
{
    static const char *const names[] = {"messages", "timeout", NULL};
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    PyObject *values[2], *iterator, *count = NULL;
    batch *all;
    ipcx_py_seen seen;
    int64_t ns;
    if (!ipcx_py_named(values, names, 1, "send_many", args, nargs, kwnames) ||
        !ipcx_py_patience(values[1], IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    if (PyUnicode_Check(values[0]) || PyBytes_Check(values[0])) {
        PyErr_SetString(PyExc_TypeError, "send_many() takes messages; send() takes one");
        return NULL;
    }
    iterator = PyObject_GetIter(values[0]);
    if (iterator == NULL) {
        return NULL;
    }
    ipcx_py_see(&seen, self->state);
    all = PyMem_Malloc(sizeof *all);
    if (all == NULL) {
        (void)PyErr_NoMemory();
    } else {
        all->self = self;
        all->sent = 0;
        all->shown = seen.begun != 0 ? PyList_New(0) : NULL;
        if (send_all(all, iterator, ns)) {
            count = PyLong_FromSsize_t(all->sent);
        }
        if (ipcx_py_watched(self->state)) {
            seen.what = all->shown;
            seen.moved = (size_t)all->sent;
            ipcx_py_show(self->state, "send_many", op, Py_XNewRef(count), &seen);
        }
        Py_XDECREF(all->shown);
        PyMem_Free(all);
    }
    Py_DECREF(iterator);
    return count;
}

PyObject *ipcx_py_chan_flush(IPCX_PY_FAST)
{
    static const char *const names[] = {"timeout", NULL};
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    PyObject *timeout;
    ipcx_deadline deadline;
    ipcx_error err;
    ipcx_status status;
    int64_t ns;
    if (!ipcx_py_named(&timeout, names, 0, "flush", args, nargs, kwnames) ||
        !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    deadline = ipcx_py_deadline(ns);
    if (IPCX_UNLIKELY(self->layered) && ipcx_py_layer_within(self)) {
        status = ipcx_py_layer_barred("flush", ns, &err);
    } else {
        IPCX_PY_WAITING(status, status = ipcx_chan_flush(self->core, deadline, &err));
    }
    if (status != IPCX_OK) {
        (void)ipcx_py_chan_raise(self->state, "flush", status, &err, ns);
        ipcx_py_chan_offset(self, status);
        return NULL;
    }
    Py_RETURN_NONE;
}
