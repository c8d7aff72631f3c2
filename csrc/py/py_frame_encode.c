/* SPDX-License-Identifier: Apache-2.0
 * `_core.FrameEncoder`: messages to bytes; py_frame_send.c sends them.
 * Invariant: what a message is made of stays pinned until its bytes are written or sent. */
#include "py/py_frame.h"

#include <stddef.h>
#include <string.h>
#include <structmember.h>

void ipcx_py_message_release(ipcx_py_message *msg)
{
    PyBuffer_Release(&msg->payload); /* harmless where nothing was pinned */
    PyBuffer_Release(&msg->extension);
}

/* Whether text may, or must, be sent. */
static bool pin_payload(const ipcx_py_encoder *self, PyObject *payload, ipcx_py_message *msg)
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
bool ipcx_py_message_pin(const ipcx_py_encoder *self, PyObject *payload, PyObject *extension,
                         ipcx_py_message *msg)
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
        ipcx_py_message_release(msg);
        return false;
    }
    status = ipcx_frame_encode(&self->framing, &msg->frame, &msg->around, &err);
    if (status != IPCX_OK) {
        ipcx_py_message_release(msg);
        (void)ipcx_py_raise(self->state, status, &err);
        return false;
    }
    return true;
}

size_t ipcx_py_message_size(const ipcx_py_message *msg)
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

void ipcx_py_message_write(const ipcx_py_message *msg, char *to)
{
    to = append(to, msg->around.head, msg->around.head_size);
    to = append(to, msg->frame.extension, msg->frame.extension_size);
    to = append(to, msg->frame.payload, msg->frame.payload_size);
    (void)append(to, msg->around.tail, msg->around.tail_size);
}

/* The frame of a pinned message as bytes; unpins it. */
PyObject *ipcx_py_message_bytes(ipcx_py_message *msg)
{
    PyObject *made = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)ipcx_py_message_size(msg));
    if (made != NULL) {
        ipcx_py_message_write(msg, PyBytes_AS_STRING(made));
    }
    ipcx_py_message_release(msg);
    return made;
}

/* (payload, type, flags, correlation, extension) */
static bool message_parse(const ipcx_py_encoder *self, PyObject *const *args, Py_ssize_t nargs,
                          ipcx_py_message *msg)
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
    return ipcx_py_message_pin(self, args[0], args[4], msg);
}

static PyObject *encoder_encode(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_message msg = {0};
    return message_parse((ipcx_py_encoder *)op, args, nargs, &msg) ? ipcx_py_message_bytes(&msg)
                                                                   : NULL;
}

static PyObject *encoder_envelope(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_message msg = {0};
    PyObject *made;
    if (!message_parse((ipcx_py_encoder *)op, args, nargs, &msg)) {
        return NULL;
    }
    made = Py_BuildValue("(y#y#)", (const char *)msg.around.head, (Py_ssize_t)msg.around.head_size,
                         (const char *)msg.around.tail, (Py_ssize_t)msg.around.tail_size);
    ipcx_py_message_release(&msg);
    return made;
}

static PyObject *encoder_unsent(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_py_encoder *self = (ipcx_py_encoder *)op;
    return PyLong_FromSsize_t(self->rest != NULL ? PyBytes_GET_SIZE(self->rest) - self->sent : 0);
}

static PyObject *encoder_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                             PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &ipcx_py_module);
    PyObject *self = module != NULL ? type->tp_alloc(type, 0) : NULL;
    if (self != NULL) {
        ((ipcx_py_encoder *)self)->state = PyModule_GetState(module);
    }
    return self;
}

static int encoder_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    ipcx_py_encoder *self = (ipcx_py_encoder *)op;
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

static int encoder_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((ipcx_py_encoder *)op)->sendmsg);
    return 0;
}

static int encoder_clear(PyObject *op)
{
    Py_CLEAR(((ipcx_py_encoder *)op)->sendmsg);
    return 0;
}

static void encoder_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)encoder_clear(op);
    Py_CLEAR(((ipcx_py_encoder *)op)->rest);
    ipcx_py_heap_dealloc(op);
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef encoder_methods[] = {
    {"_encode", FAST(encoder_encode), METH_FASTCALL, NULL},
    {"_envelope", FAST(encoder_envelope), METH_FASTCALL, NULL},
    {"_send", FAST(ipcx_py_encoder_send), METH_FASTCALL, NULL},
    {"_send_many", FAST(ipcx_py_encoder_send_many), METH_FASTCALL, NULL},
    {"_flush", FAST(ipcx_py_encoder_flush), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef encoder_members[] = {
    {"_sendmsg", T_OBJECT, offsetof(ipcx_py_encoder, sendmsg), 0, NULL},
    {NULL, 0, 0, 0, NULL},
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
    {Py_tp_traverse, encoder_traverse},
    {Py_tp_clear, encoder_clear},
    {Py_tp_methods, encoder_methods},
    {Py_tp_members, encoder_members},
    {Py_tp_getset, encoder_getset},
    {0, NULL},
};

int ipcx_py_encoder_init(PyObject *module, ipcx_py_state *Py_UNUSED(state))
{
    PyType_Spec spec = {
        .name = "ipcx._core.FrameEncoder",
        .basicsize = sizeof(ipcx_py_encoder),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = encoder_slots,
    };
    return ipcx_py_add_type(module, &spec);
}
