/* SPDX-License-Identifier: Apache-2.0
 * `_core.FrameEncoder`: messages to bytes, and out through a socket's own send method.
 * Invariant: `rest` is what the peer must still get of a message whose beginning it has; nothing
 * else is sent before that. The count of bytes sent is kept without a Python instruction in
 * between, so that no signal handler can lose it. */
#include "py/py_frame.h"

#include <string.h>

/* A batch is handed to the socket in pieces of about so many bytes. */
#define BATCH ((Py_ssize_t)1 << 18)

#define BUSY "another thread is sending on this object"

typedef struct encoder {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_framing framing;
    PyObject *rest;  /* bytes, NULL for nothing */
    Py_ssize_t sent; /* of rest */
    bool busy;       /* a thread is inside the socket's method */
} encoder;

/* A message as the caller gave it, pinned. */
typedef struct message {
    ipcx_frame frame;
    ipcx_envelope around;
    Py_buffer payload, extension;
} message;

static void message_release(message *msg)
{
    PyBuffer_Release(&msg->payload); /* harmless where nothing was pinned */
    PyBuffer_Release(&msg->extension);
}

/* Whether text may, or must, be sent. */
static bool pin_payload(const encoder *self, PyObject *payload, message *msg)
{
    bool ours = self->framing.kind == IPCX_FRAMING_IPCX;
    if (PyUnicode_Check(payload)) {
        Py_ssize_t size;
        if (!ours && !self->framing.text) {
            PyErr_SetString(PyExc_TypeError, "this framing carries bytes, not str: encode() the "
                                             "text, or make the framing with text=True");
            return false;
        }
        msg->frame.payload = PyUnicode_AsUTF8AndSize(payload, &size);
        msg->frame.payload_size = (size_t)size;
        msg->frame.flags |= IPCX_FRAME_TEXT;
        return msg->frame.payload != NULL;
    }
    if (!PyObject_CheckBuffer(payload)) {
        PyErr_Format(PyExc_TypeError, "a message is str or bytes-like, not %.100s: encode it first",
                     Py_TYPE(payload)->tp_name);
        return false;
    }
    if (self->framing.text && !ours) {
        PyErr_Format(PyExc_TypeError, "this framing carries str, not %.100s",
                     Py_TYPE(payload)->tp_name);
        return false;
    }
    if (PyObject_GetBuffer(payload, &msg->payload, PyBUF_SIMPLE) < 0) {
        return false;
    }
    msg->frame.payload = msg->payload.buf;
    msg->frame.payload_size = (size_t)msg->payload.len;
    return true;
}

/* Pins what the message is made of and encodes its envelope. False with an exception and nothing
 * pinned. `extension` may be NULL. */
static bool message_pin(const encoder *self, PyObject *payload, PyObject *extension, message *msg)
{
    ipcx_status status;
    ipcx_error err = {0};
    if (extension != NULL) {
        if (PyObject_GetBuffer(extension, &msg->extension, PyBUF_SIMPLE) < 0) {
            return false;
        }
        msg->frame.extension = msg->extension.buf;
        msg->frame.extension_size = (size_t)msg->extension.len;
    }
    if (!pin_payload(self, payload, msg)) {
        message_release(msg);
        return false;
    }
    status = ipcx_frame_encode(&self->framing, &msg->frame, &msg->around, &err);
    if (status != IPCX_OK) {
        message_release(msg);
        (void)ipcx_py_raise(self->state, status, &err);
        return false;
    }
    return true;
}

static size_t message_size(const message *msg)
{
    return msg->around.head_size + msg->frame.extension_size + msg->frame.payload_size +
           msg->around.tail_size;
}

static char *append(char *to, const void *from, size_t size)
{
    if (size > 0) {
        memcpy(to, from, size);
    }
    return to + size;
}

static void message_write(const message *msg, char *to)
{
    to = append(to, msg->around.head, msg->around.head_size);
    to = append(to, msg->frame.extension, msg->frame.extension_size);
    to = append(to, msg->frame.payload, msg->frame.payload_size);
    (void)append(to, msg->around.tail, msg->around.tail_size);
}

/* The frame of a pinned message as bytes; unpins it. */
static PyObject *message_bytes(message *msg)
{
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)message_size(msg));
    if (made != NULL) {
        message_write(msg, PyBytes_AS_STRING(made));
    }
    message_release(msg);
    return made;
}

/* (payload, type, flags, correlation, extension) */
static bool message_parse(const encoder *self, PyObject *const *args, Py_ssize_t nargs,
                          message *msg)
{
    unsigned long type, flags;
    if (!ipcx_py_count_check("encode", nargs, 5, 5)) {
        return false;
    }
    type = PyLong_AsUnsignedLong(args[1]);
    flags = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLong(args[2]);
    msg->frame.correlation = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLongLong(args[3]);
    if (PyErr_Occurred()) {
        return false;
    }
    msg->frame.type = (ipcx_frame_type)(type < 256 ? type : 0);
    msg->frame.flags = (uint16_t)flags;
    return message_pin(self, args[0], args[4], msg);
}

static PyObject *encoder_encode(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    message msg = {0};
    return message_parse((encoder *)op, args, nargs, &msg) ? message_bytes(&msg) : NULL;
}

static PyObject *encoder_envelope(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    message msg = {0};
    PyObject *made;
    if (!message_parse((encoder *)op, args, nargs, &msg)) {
        return NULL;
    }
    made = Py_BuildValue("(y#y#)", (const char *)msg.around.head, (Py_ssize_t)msg.around.head_size,
                         (const char *)msg.around.tail, (Py_ssize_t)msg.around.tail_size);
    message_release(&msg);
    return made;
}

/* One call of the socket's method with what is left; false with an exception. */
static bool send_once(encoder *self, PyObject *send, PyObject *flags)
{
    PyObject *what = NULL, *result;
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
    self->busy = true;
    result = PyObject_CallFunctionObjArgs(send, what, flags, NULL);
    self->busy = false;
    Py_DECREF(what);
    if (result == NULL) {
        return false;
    }
    n = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (n <= 0 || n > size - self->sent) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "send() of %zd bytes returned %zd", size - self->sent,
                         n);
        }
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

static bool flush(encoder *self, PyObject *send, PyObject *flags)
{
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, BUSY);
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
static bool send_bytes(encoder *self, PyObject *bytes, PyObject *send, PyObject *flags)
{
    if (PyBytes_GET_SIZE(bytes) == 0) { /* an empty batch */
        Py_DECREF(bytes);
        return true;
    }
    if (self->busy || self->rest != NULL) { /* since the flush that precedes every message */
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

static PyObject *encoder_flush(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (!ipcx_py_count_check("flush", nargs, 1, 2) ||
        !flush((encoder *)op, args[0], nargs > 1 ? args[1] : NULL)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *encoder_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    encoder *self = (encoder *)op;
    message msg = {.frame = {.type = IPCX_FRAME_DATA}};
    PyObject *flags = nargs > 2 ? args[2] : NULL, *bytes;
    if (!ipcx_py_count_check("send", nargs, 2, 3) || !flush(self, args[0], flags) ||
        !message_pin(self, args[1], NULL, &msg)) {
        return failed(false);
    }
    bytes = message_bytes(&msg);
    if (bytes == NULL || !send_bytes(self, bytes, args[0], flags)) {
        return failed(self->rest != NULL);
    }
    Py_RETURN_NONE;
}

/* Appends the frame of `payload` to *batch, of which *used bytes are in use. */
static bool batch_add(const encoder *self, PyObject *payload, PyObject **batch, Py_ssize_t *used)
{
    message msg = {.frame = {.type = IPCX_FRAME_DATA}};
    Py_ssize_t size, room = PyBytes_GET_SIZE(*batch);
    if (!message_pin(self, payload, NULL, &msg)) {
        return false;
    }
    size = (Py_ssize_t)message_size(&msg);
    if (size > room - *used) {
        room = 2 * room > *used + size ? 2 * room : *used + size;
        if (_PyBytes_Resize(batch, room) < 0) {
            message_release(&msg);
            return false;
        }
    }
    message_write(&msg, PyBytes_AS_STRING(*batch) + *used);
    *used += size;
    message_release(&msg);
    return true;
}

/* A batch of about BATCH bytes from the iterator, NULL with an exception. *more: there may be. */
static PyObject *batch_make(const encoder *self, PyObject *iterator, bool *more)
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

static PyObject *encoder_send_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    encoder *self = (encoder *)op;
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

static PyObject *encoder_unsent(PyObject *op, void *Py_UNUSED(closure))
{
    encoder *self = (encoder *)op;
    return PyLong_FromSsize_t(self->rest != NULL ? PyBytes_GET_SIZE(self->rest) - self->sent : 0);
}

static PyObject *encoder_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                             PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &ipcx_py_module);
    PyObject *self = module != NULL ? type->tp_alloc(type, 0) : NULL;
    if (self != NULL) {
        ((encoder *)self)->state = PyModule_GetState(module);
    }
    return self;
}

static int encoder_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    encoder *self = (encoder *)op;
    ipcx_framing framing;
    ipcx_decoder probe;
    ipcx_error err = {0};
    ipcx_status status;
    if (!ipcx_py_framing_parse(args, &framing)) {
        return -1;
    }
    status = ipcx_decoder_init(&probe, &framing, &err); /* whether there is such a framing */
    if (status != IPCX_OK) {
        (void)ipcx_py_raise(self->state, status, &err);
        return -1;
    }
    self->framing = framing;
    return 0;
}

static void encoder_dealloc(PyObject *op)
{
    Py_CLEAR(((encoder *)op)->rest);
    ipcx_py_heap_dealloc(op);
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef encoder_methods[] = {
    {"_encode", FAST(encoder_encode), METH_FASTCALL, NULL},
    {"_envelope", FAST(encoder_envelope), METH_FASTCALL, NULL},
    {"_send", FAST(encoder_send), METH_FASTCALL, NULL},
    {"_send_many", FAST(encoder_send_many), METH_FASTCALL, NULL},
    {"_flush", FAST(encoder_flush), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef encoder_getset[] = {
    {"_unsent", encoder_unsent, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot encoder_slots[] = {
    {Py_tp_doc, "The core of ipcx.framing.Encoder."},
    {Py_tp_new, encoder_new},
    {Py_tp_init, encoder_start},
    {Py_tp_dealloc, encoder_dealloc},
    {Py_tp_methods, encoder_methods},
    {Py_tp_getset, encoder_getset},
    {0, NULL},
};

int ipcx_py_encoder_init(PyObject *module, ipcx_py_state *Py_UNUSED(state))
{
    PyType_Spec spec = {
        .name = "ipcx._core.FrameEncoder",
        .basicsize = sizeof(encoder),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = encoder_slots,
    };
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int result = type != NULL ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return result;
}
