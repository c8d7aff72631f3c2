/* SPDX-License-Identifier: Apache-2.0
 * Messages out through a socket's own methods.
 * Invariant: `rest` is what the peer must still get of a message whose beginning it has; nothing
 * else is sent before that. The count of bytes sent is kept without a Python instruction in
 * between, so that no signal handler can lose it. */
#include "py/py_frame.h"

/* A batch is handed to the socket in pieces of about so many bytes. */
#define BATCH ((Py_ssize_t)1 << 18)

/* From so many bytes on, a list of buffers costs less than a copy (bench/bench_framing.py). */
#define LARGE 16384

#define BUSY "another thread is sending on this object"

/* A method of the socket's that is to take `size` bytes; how many it took, -1 with an exception. */
static Py_ssize_t call_socket(ipcx_py_encoder *self, PyObject *method, PyObject *const *args,
                              size_t nargs, Py_ssize_t size)
{
    PyObject *result;
    Py_ssize_t n;
    self->busy = true;
    result = PyObject_Vectorcall(method, args, nargs, NULL);
    self->busy = false;
    if (result == NULL) {
        return -1;
    }
    n = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (n > 0 && n <= size) {
        return n;
    }
    if (!PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError, "the socket took %zd of %zd bytes", n, size);
    }
    return -1;
}

/* One call of the socket's method with what is left; false with an exception. */
static bool send_once(ipcx_py_encoder *self, PyObject *send, PyObject *flags)
{
    PyObject *what = NULL, *args[] = {NULL, flags};
    Py_ssize_t size = PyBytes_GET_SIZE(self->rest), n;
    if (self->sent == 0) {
        what = Py_NewRef(self->rest);
    } else {
        PyObject *all = PyMemoryView_FromObject(self->rest);
        what = all != NULL ? PySequence_GetSlice(all, self->sent, size) : NULL;
        Py_XDECREF(all);
    }
    if (what == NULL) {
        return false;
    }
    args[0] = what;
    n = call_socket(self, send, args, flags != NULL ? 2 : 1, size - self->sent);
    Py_DECREF(what);
    if (n < 0) {
        return false;
    }
    self->sent += n;
    return true;
}

/* Tells in the exception that is set whether the peer has the beginning of the message. */
static PyObject *failed(bool begun)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (PyObject_SetAttrString(value, "begun", begun ? Py_True : Py_False) < 0) {
        PyErr_Clear();
    }
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static bool flush(ipcx_py_encoder *self, PyObject *send, PyObject *flags)
{
    if (self->busy || self->broken) {
        PyErr_SetString(PyExc_RuntimeError, self->busy ? BUSY : "half a message was sent");
        return false;
    }
    while (self->rest != NULL) {
        if (!send_once(self, send, flags)) {
            return false;
        }
        if (self->sent == PyBytes_GET_SIZE(self->rest)) {
            Py_CLEAR(self->rest);
            self->sent = 0;
        } else if (PyErr_CheckSignals() < 0) {
            /* A signal makes the kernel return early with what it has taken; the next call would
             * sleep again with the handler still to be run. */
            return false;
        }
    }
    return true;
}

/* Sends `bytes`, which it steals. When it fails before the first byte, they are forgotten. */
static bool send_bytes(ipcx_py_encoder *self, PyObject *bytes, PyObject *send, PyObject *flags)
{
    if (PyBytes_GET_SIZE(bytes) == 0) { /* an empty batch */
        Py_DECREF(bytes);
        return true;
    }
    if (self->busy ||
        self->rest != NULL) { /* since the flush that precedes every ipcx_py_message */
        Py_DECREF(bytes);
        PyErr_SetString(PyExc_RuntimeError, BUSY);
        return false;
    }
    self->rest = bytes;
    self->sent = 0;
    if (flush(self, send, flags)) {
        return true;
    }
    if (self->sent == 0) {
        Py_CLEAR(self->rest);
    }
    return false;
}

/* A large message, without a copy: one call of sendmsg. What that leaves is copied and goes the
 * usual way. Unpins the message. */
static bool send_parts(ipcx_py_encoder *self, PyObject *payload, ipcx_py_message *msg,
                       PyObject *send, PyObject *flags)
{
    Py_ssize_t size = (Py_ssize_t)ipcx_py_message_size(msg), n = -1;
    PyObject *args[] = {NULL, self->state->no_arguments, flags};
    args[0] =
        Py_BuildValue("[y#Oy#]", (const char *)msg->around.head, (Py_ssize_t)msg->around.head_size,
                      payload, (const char *)msg->around.tail, (Py_ssize_t)msg->around.tail_size);
    if (args[0] != NULL) {
        n = call_socket(self, self->sendmsg, args, flags != NULL ? 3 : 1, size);
        Py_DECREF(args[0]);
    }
    if (n < 0 || n == size) {
        ipcx_py_message_release(msg);
        return n == size;
    }
    self->rest = ipcx_py_message_bytes(msg);
    self->sent = n;
    self->broken = self->rest == NULL;
    return !self->broken && PyErr_CheckSignals() == 0 && flush(self, send, flags);
}

PyObject *ipcx_py_encoder_flush(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (!ipcx_py_count_check("flush", nargs, 1, 2) ||
        !flush((ipcx_py_encoder *)op, args[0], nargs > 1 ? args[1] : NULL)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *ipcx_py_encoder_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_encoder *self = (ipcx_py_encoder *)op;
    ipcx_py_message msg = {.frame = {.type = IPCX_FRAME_DATA}};
    PyObject *flags = nargs > 2 ? args[2] : NULL, *bytes;
    if (!ipcx_py_count_check("send", nargs, 2, 3) || !flush(self, args[0], flags) ||
        !ipcx_py_message_pin(self, args[1], NULL, &msg)) {
        return failed(false);
    }
    if (self->sendmsg != NULL && msg.frame.payload_size >= LARGE && !PyUnicode_Check(args[1]) &&
        !self->busy && self->rest == NULL) {
        if (!send_parts(self, args[1], &msg, args[0], flags)) {
            return failed(self->rest != NULL || self->broken);
        }
        Py_RETURN_NONE;
    }
    bytes = ipcx_py_message_bytes(&msg);
    if (bytes == NULL || !send_bytes(self, bytes, args[0], flags)) {
        return failed(self->rest != NULL);
    }
    Py_RETURN_NONE;
}

/* Appends the frame of `payload` to *batch, of which *used bytes are in use. */
static bool batch_add(const ipcx_py_encoder *self, PyObject *payload, PyObject **batch,
                      Py_ssize_t *used)
{
    ipcx_py_message msg = {.frame = {.type = IPCX_FRAME_DATA}};
    Py_ssize_t size, room = PyBytes_GET_SIZE(*batch);
    if (!ipcx_py_message_pin(self, payload, NULL, &msg)) {
        return false;
    }
    size = (Py_ssize_t)ipcx_py_message_size(&msg);
    if (size > room - *used) {
        room = 2 * room > *used + size ? 2 * room : *used + size;
        if (_PyBytes_Resize(batch, room) < 0) {
            ipcx_py_message_release(&msg);
            return false;
        }
    }
    ipcx_py_message_write(&msg, PyBytes_AS_STRING(*batch) + *used);
    *used += size;
    ipcx_py_message_release(&msg);
    return true;
}

/* A batch of about BATCH bytes from the iterator, NULL with an exception. *more: there may be. */
static PyObject *batch_make(const ipcx_py_encoder *self, PyObject *iterator, bool *more)
{
    PyObject *batch = PyBytes_FromStringAndSize(NULL, 4096), *payload;
    Py_ssize_t used = 0;
    *more = true;
    while (batch != NULL && used < BATCH) {
        bool added;
        payload = PyIter_Next(iterator);
        if (payload == NULL) {
            *more = false;
            break;
        }
        added = batch_add(self, payload, &batch, &used);
        Py_DECREF(payload);
        if (!added) {
            break;
        }
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(batch);
    } else {
        (void)_PyBytes_Resize(&batch, used);
    }
    return batch;
}

PyObject *ipcx_py_encoder_send_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_encoder *self = (ipcx_py_encoder *)op;
    PyObject *flags = nargs > 2 ? args[2] : NULL, *iterator;
    bool more = true, begun = false;
    if (!ipcx_py_count_check("send_many", nargs, 2, 3) || !flush(self, args[0], flags)) {
        return failed(false);
    }
    iterator = PyObject_GetIter(args[1]);
    while (iterator != NULL && more) {
        PyObject *batch = batch_make(self, iterator, &more);
        if (batch == NULL || !send_bytes(self, batch, args[0], flags)) {
            Py_CLEAR(iterator);
        } else {
            begun = true;
        }
    }
    if (iterator == NULL) {
        return failed(begun || self->rest != NULL);
    }
    Py_DECREF(iterator);
    Py_RETURN_NONE;
}
