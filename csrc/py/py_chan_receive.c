/* SPDX-License-Identifier: Apache-2.0
 * receive, receive_many, receive_into, poll, iteration.
 * Invariant: a message is taken from the core and made a Python object without a Python
 * instruction in between, so that no signal handler can lose it. */
#include "py/py_chan.h"

#include <string.h>

#include "link/chan.h"
#include "py/py_chan_next.h"
#include "py/py_chan_quick.h"
#include "py/py_layer.h"

static const char *const timeout_only[] = {"timeout", NULL};

/* A large message is copied without the GIL, unless nobody else wants it. */
static PyObject *bytes_of(const ipcx_message *message)
{
    PyObject *made;
    if (message->size <= IPCX_PY_TRY_MAX) {
        return PyBytes_FromStringAndSize(message->data, (Py_ssize_t)message->size);
    }
    made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)message->size);
    if (made != NULL) {
        IPCX_PY_WAKING(memcpy(PyBytes_AS_STRING(made), message->data, message->size));
    }
    return made;
}

static void let_go(ipcx_py_chan *self, ipcx_message *message)
{
    if (IPCX_UNLIKELY(self->layered)) {
        IPCX_PY_WITHOUT_GIL(ipcx_chan_release(self->core, message)); /* it may seal an ACK */
    } else {
        ipcx_chan_release(self->core, message);
    }
}

/* The lent message as Python has it; gives it back. NULL: there is no memory for it; it stays. */
static PyObject *take(ipcx_py_chan *self, ipcx_message *message)
{
    PyObject *made;
    if (message->flags & IPCX_MESSAGE_OBJECT) {
        made = (PyObject *)message->data; /* the reference that the sender gave */
    } else if (message->flags & IPCX_MESSAGE_END) {
        made = ipcx_py_chan_around(self->state, (ipcx_chan *)message->data);
    } else if (message->flags & IPCX_MESSAGE_TEXT) {
        made = PyUnicode_DecodeUTF8(message->data, (Py_ssize_t)message->size, NULL);
    } else {
        made = bytes_of(message);
    }
    if (made == NULL) {
        message->flags |= IPCX__MESSAGE_KEEP;
    }
    let_go(self, message);
    return made;
}

/* ---- ends that receive_into could not hand out */

/* The first message kept, a new reference. */
static PyObject *kept_take(ipcx_py_chan *self)
{
    PyObject *first = Py_NewRef(PyList_GET_ITEM(self->kept, 0));
    if (PyList_GET_SIZE(self->kept) == 1) {
        Py_CLEAR(self->kept);
    } else if (PyList_SetSlice(self->kept, 0, 1, NULL) < 0) {
        Py_CLEAR(first);
    }
    return first;
}
/* ---- the end of a call */

static PyObject *size_of(PyObject *message)
{
    Py_ssize_t size = 0;
    if (PyUnicode_Check(message)) {
        if (PyUnicode_AsUTF8AndSize(message, &size) == NULL) {
            PyErr_Clear(); /* an object of inproc, which need not be sendable otherwise */
        }
    } else if (PyBytes_Check(message)) {
        size = PyBytes_GET_SIZE(message);
    }
    return PyLong_FromSsize_t(size);
}

static PyObject *failed(ipcx_py_chan *self, const char *op, ipcx_status status,
                        const ipcx_error *err, int64_t ns, const ipcx_py_seen *seen)
{
    (void)ipcx_py_chan_raise(self->state, op, status, err, ns);
    ipcx_py_chan_offset(self, status);
    if (self->objects) {
        ipcx_py_drop_all();
    }
    if (ipcx_py_watched(self->state)) {
        ipcx_py_show(self->state, op, (PyObject *)self, NULL, seen);
    }
    return NULL;
}

/* Ends a receive of one message. */
static inline PyObject *taken(ipcx_py_chan *self, PyObject *made, ipcx_py_seen *seen)
{
    if (ipcx_py_watched(self->state)) {
        seen->what = made;
        ipcx_py_show(self->state, "receive", (PyObject *)self, made != NULL ? size_of(made) : NULL,
                     seen);
    }
    return made;
}

/* The message of a front; NULL without an exception: its sender has stopped in the middle. */
static PyObject *take_front(ipcx_py_chan *self, ipcx_message *message, ipcx_py_patient *how)
{
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)message->size);
    if (made == NULL) {
        ipcx_chan_release(self->core, message);
    } else if (ipcx_py_chan_fill(self, message, PyBytes_AS_STRING(made), how) == IPCX_OK) {
        ipcx_chan_release(self->core, message);
    } else {
        Py_CLEAR(made);
    }
    return made;
}

/* NULL without an exception: the end, and `iterating`. */
static PyObject *receive(ipcx_py_chan *self, const char *op, ipcx_py_patient how, bool iterating,
                         ipcx_py_seen *seen)
{
    ipcx_message message;
    ipcx_error err;
    ipcx_status status;
    if (IPCX_UNLIKELY(self->kept != NULL)) {
        return kept_take(self);
    }
    status = ipcx_py_chan_next_one(self, &message, &how, &err);
    if (IPCX_UNLIKELY(status == IPCX_OK && (message.flags & IPCX__MESSAGE_FRONT))) {
        PyObject *made = take_front(self, &message, &how);
        if (made != NULL || PyErr_Occurred()) {
            return made;
        }
        status = ipcx_py_chan_wait_for(self, &message, &how, &err);
    }
    if (IPCX_LIKELY(status == IPCX_OK)) {
        seen->at_once = self->objects && how.until == IPCX_NOW; /* tried with the GIL, no more */
        return take(self, &message);
    }
    if (status == IPCX_EOF && iterating) {
        ipcx_py_exit_check(self->state);
        return NULL;
    }
    return failed(self, op, status, &err, how.ns, seen);
}

static PyObject *receive_slowly(ipcx_py_chan *self, ipcx_py_patient how, bool iterating)
{
    ipcx_py_seen seen;
    PyObject *made;
    ipcx_py_see(&seen, self->state);
    made = receive(self, "receive", how, iterating, &seen);
    return made != NULL ? taken(self, made, &seen) : NULL;
}

static inline PyObject *receive_one(ipcx_py_chan *self, int64_t ns, bool iterating)
{
    ipcx_py_patient how = {.ns = ns, .front = true};
    PyObject *made = NULL;
    if (IPCX_LIKELY(ns != IPCX_PY_NEVER) &&
        IPCX_LIKELY(ipcx_py_chan_pull_awake(self, &made, &how.tried) != IPCX_AGAIN)) {
        return made;
    }
    return receive_slowly(self, how, iterating);
}

PyObject *ipcx_py_chan_receive(IPCX_PY_FAST)
{
    PyObject *timeout = NULL;
    int64_t ns = IPCX_PY_EVER;
    if (nargs != 0 || kwnames != NULL) {
        if (!ipcx_py_named(&timeout, timeout_only, 0, "receive", args, nargs, kwnames) ||
            !ipcx_py_patience(timeout, IPCX_PY_EVER, &ns)) {
            return NULL;
        }
    }
    return receive_one((ipcx_py_chan *)op, ns, false);
}

PyObject *ipcx_py_chan_next(PyObject *op)
{
    return receive_one((ipcx_py_chan *)op, IPCX_PY_EVER, true);
}

PyObject *ipcx_py_chan_receive_now(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    PyObject *made = NULL;
    ipcx_message message;
    ipcx_error err;
    ipcx_status status;
    ipcx_py_seen seen;
    if (IPCX_UNLIKELY(self->kept != NULL)) {
        return kept_take(self);
    }
    if (ipcx_py_chan_pull(self, &made) != IPCX_AGAIN) {
        return made;
    }
    ipcx_py_see(&seen, self->state);
    status = ipcx_py_chan_lend(self, &message, IPCX_PY_NEVER, &err);
    if (status == IPCX_OK) {
        return taken(self, take(self, &message), &seen);
    }
    if ((status == IPCX_AGAIN || status == IPCX_INTR) && !PyErr_Occurred()) {
        return Py_NewRef(Py_NotImplemented);
    }
    return failed(self, "receive", status, &err, IPCX_PY_NEVER, &seen);
}

/* Takes one more message into a place of the list that is there before it: so none is lost for want
 * of memory for the list. False: there is none, or no memory. */
static bool take_into(ipcx_py_chan *self, PyObject *list)
{
    Py_ssize_t last = PyList_GET_SIZE(list);
    PyObject *made = NULL;
    ipcx_message message;
    ipcx_status status;
    if (PyList_Append(list, Py_None) < 0) {
        return false;
    }
    if (self->kept != NULL) {
        made = kept_take(self);
    } else if (ipcx_py_chan_pull(self, &made) == IPCX_AGAIN) {
        IPCX_PY_TRYING_ONCE(self, status = ipcx_chan_receive(self->core, &message, IPCX_NOW, NULL));
        made = status == IPCX_OK ? take(self, &message) : NULL; /* INTR: later */
    }
    if (made == NULL) {
        PyErr_Clear(); /* the next call says what is wrong; to shorten a list takes no memory */
        (void)PyList_SetSlice(list, last, last + 1, NULL);
        return false;
    }
    return PyList_SetItem(list, last, made) == 0;
}

static bool first_into(ipcx_py_chan *self, PyObject *list, int64_t ns, ipcx_py_seen *seen)
{
    const ipcx_py_patient how = {.ns = ns, .front = true};
    PyObject *made = NULL;
    if (PyList_Append(list, Py_None) < 0) {
        return false;
    }
    if (ipcx_py_chan_pull(self, &made) == IPCX_AGAIN) {
        made = receive(self, "receive_many", how, false, seen);
    }
    return made != NULL && PyList_SetItem(list, 0, made) == 0;
}

/* Beyond so much a longer list saves nothing: its first messages leave the processor's cache before
 * anybody looks at them, and a fast sender of long ones would fill our memory. */
#define MANY_BYTES ((Py_ssize_t)256 * 1024)

static Py_ssize_t size_of_last(PyObject *list)
{
    PyObject *last = PyList_GET_ITEM(list, PyList_GET_SIZE(list) - 1);
    return PyBytes_Check(last) ? PyBytes_GET_SIZE(last) : 0;
}

PyObject *ipcx_py_chan_receive_many(IPCX_PY_FAST)
{
    static const char *const names[] = {"max", "timeout", NULL};
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    PyObject *values[2], *list;
    Py_ssize_t most = 256, bytes = 0;
    ipcx_py_seen seen;
    int64_t ns;
    if (!ipcx_py_named(values, names, 0, "receive_many", args, nargs, kwnames) ||
        !ipcx_py_patience(values[1], IPCX_PY_EVER, &ns)) {
        return NULL;
    }
    if (values[0] != NULL) {
        most = PyNumber_AsSsize_t(values[0], NULL);
        if (most == -1 && PyErr_Occurred()) {
            return NULL;
        }
        if (most < 1) {
            PyErr_SetString(PyExc_ValueError, "receive_many() of less than 1 message");
            return NULL;
        }
    }
    ipcx_py_see(&seen, self->state);
    list = PyList_New(0);
    if (list == NULL || !first_into(self, list, ns, &seen)) {
        Py_XDECREF(list);
        return NULL;
    }
    bytes = size_of_last(list);
    while (PyList_GET_SIZE(list) < most && bytes < MANY_BYTES && take_into(self, list)) {
        bytes += size_of_last(list);
    }
    PyErr_Clear(); /* what is wrong with the next one, the next call says */
    if (ipcx_py_watched(self->state)) {
        seen.what = list;
        ipcx_py_show(self->state, "receive_many", op, PyLong_FromSsize_t(PyList_GET_SIZE(list)),
                     &seen);
    }
    return list;
}

/* ---- into the caller's memory */

static Py_ssize_t no_bytes(PyObject *message, const char *op)
{
    PyErr_Format(PyExc_TypeError, "%s: the message is a %.100s: receive() gives it", op,
                 Py_TYPE(message)->tp_name);
    return -1;
}

PyObject *ipcx_py_chan_no_bytes(const ipcx_py_chan *self, const char *op)
{
    (void)no_bytes(PyList_GET_ITEM(self->kept, 0), op);
    return NULL;
}

/* The size of the message, copied if it fits; -1 with an exception. */
static Py_ssize_t copy_into(ipcx_py_chan *self, const Py_buffer *room, const void *data,
                            size_t size)
{
    if (size > (size_t)room->len) {
        ipcx_error err;
        ipcx_status status = ipcx_error_set(&err, IPCX_TOO_LARGE, 0, "receive_into",
                                            "the message has %zu bytes and the buffer %zd; it is "
                                            "still there: receive() gives it",
                                            size, room->len);
        (void)ipcx_py_raise(self->state, status, &err);
        return -1;
    }
    if (size > 0) {
        memcpy(room->buf, data, size);
    }
    return (Py_ssize_t)size;
}

/* The same of an object of inproc. */
static Py_ssize_t object_into(ipcx_py_chan *self, const Py_buffer *room, PyObject *object)
{
    Py_buffer view;
    Py_ssize_t size;
    if (PyUnicode_Check(object)) {
        const char *text = PyUnicode_AsUTF8AndSize(object, &size);
        return text != NULL ? copy_into(self, room, text, (size_t)size) : -1;
    }
    if (!PyObject_CheckBuffer(object)) {
        return no_bytes(object, "receive_into");
    }
    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    size = copy_into(self, room, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return size;
}

PyObject *ipcx_py_chan_keep(ipcx_py_chan *self, ipcx_chan *end, const char *op)
{
    PyObject *made = ipcx_py_chan_around(self->state, end);
    if (made == NULL) {
        return NULL;
    }
    if (self->kept == NULL) {
        self->kept = PyList_New(0);
    }
    if (self->kept != NULL && PyList_Append(self->kept, made) == 0) {
        (void)no_bytes(made, op);
    }
    Py_DECREF(made);
    return NULL;
}

static Py_ssize_t receive_into(ipcx_py_chan *self, const Py_buffer *room, int64_t ns,
                               const ipcx_py_seen *seen)
{
    ipcx_py_patient how = {.ns = ns, .front = true};
    ipcx_message message;
    ipcx_error err;
    ipcx_status status;
    Py_ssize_t size;
    if (self->kept != NULL) {
        return no_bytes(PyList_GET_ITEM(self->kept, 0), "receive_into");
    }
    status = ipcx_py_chan_next_one(self, &message, &how, &err);
    if (IPCX_UNLIKELY(status == IPCX_OK && (message.flags & IPCX__MESSAGE_FRONT))) {
        size = (Py_ssize_t)message.size;
        if (size <= room->len && ipcx_py_chan_fill(self, &message, room->buf, &how) == IPCX_OK) {
            ipcx_chan_release(self->core, &message);
            return size;
        }
        if (size > room->len) {
            ipcx_chan_release(self->core, &message); /* it is refused as a whole */
            how.front = false;
        }
        status = ipcx_py_chan_wait_for(self, &message, &how, &err);
    }
    if (status != IPCX_OK) {
        (void)failed(self, "receive_into", status, &err, ns, seen);
        return -1;
    }
    if (message.flags & IPCX_MESSAGE_END) {
        ipcx_chan *end = (ipcx_chan *)message.data;
        ipcx_chan_release(self->core, &message);
        (void)ipcx_py_chan_keep(self, end, "receive_into");
        return -1;
    }
    if (message.flags & IPCX_MESSAGE_OBJECT) {
        PyObject *object = (PyObject *)message.data;
        size = object_into(self, room, object);
        message.flags |= size < 0 ? IPCX__MESSAGE_KEEP : 0;
        ipcx_chan_release(self->core, &message);
        if (size >= 0) {
            Py_DECREF(object);
        }
        return size;
    }
    size = copy_into(self, room, message.data, message.size);
    message.flags |= size < 0 ? IPCX__MESSAGE_KEEP : 0;
    let_go(self, &message);
    return size;
}

PyObject *ipcx_py_chan_receive_into(IPCX_PY_FAST)
{
    static const char *const names[] = {"buffer", "timeout", NULL};
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    PyObject *values[2], *size = NULL;
    Py_buffer room;
    Py_ssize_t n;
    ipcx_py_seen seen;
    int64_t ns;
    if (!ipcx_py_named(values, names, 1, "receive_into", args, nargs, kwnames) ||
        !ipcx_py_patience(values[1], IPCX_PY_EVER, &ns) ||
        PyObject_GetBuffer(values[0], &room, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    ipcx_py_see(&seen, self->state);
    n = receive_into(self, &room, ns, &seen);
    PyBuffer_Release(&room);
    if (n >= 0) {
        size = PyLong_FromSsize_t(n);
        if (ipcx_py_watched(self->state)) {
            seen.what = values[0];
            ipcx_py_show(self->state, "receive_into", op, Py_XNewRef(size), &seen);
        }
    }
    return size;
}

PyObject *ipcx_py_chan_poll(IPCX_PY_FAST)
{
    ipcx_py_chan *self = (ipcx_py_chan *)op;
    PyObject *timeout = NULL;
    ipcx_error err;
    ipcx_status status;
    int64_t ns;
    if (!ipcx_py_named(&timeout, timeout_only, 0, "poll", args, nargs, kwnames) ||
        !ipcx_py_patience(timeout, IPCX_PY_NEVER, &ns)) {
        return NULL;
    }
    if (self->kept != NULL) {
        Py_RETURN_TRUE;
    }
    if (IPCX_UNLIKELY(self->layered) && ipcx_py_layer_within(self)) {
        status = ipcx_py_layer_barred("poll", ns, &err);
    } else {
        IPCX_PY_TRYING(self, status, status = ipcx_chan_poll(self->core, IPCX_NOW, &err));
    }
    if (status == IPCX_AGAIN && ns != IPCX_PY_NEVER) {
        ipcx_deadline deadline = ipcx_py_deadline(ns);
        IPCX_PY_WAITING(status, status = ipcx_chan_poll(self->core, deadline, &err));
    }
    if (status == IPCX_OK || status == IPCX_EOF) {
        Py_RETURN_TRUE;
    }
    if (status == IPCX_AGAIN || status == IPCX_TIMEOUT) {
        Py_RETURN_FALSE;
    }
    return failed(self, "poll", status, &err, ns, NULL);
}
