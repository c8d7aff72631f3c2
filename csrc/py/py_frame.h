/* SPDX-License-Identifier: Apache-2.0
 * What the two halves of ipcx.framing share.
 * Invariant: the classes of ipcx/framing.py derive from these types and call them with positional
 * arguments only; keywords and defaults are spelled there. */
#ifndef IPCX_PY_FRAME_H
#define IPCX_PY_FRAME_H

#include "py/error.h"
#include "py/state.h"

#include <stdbool.h>

#include "ipcx/frame.h"

/* ipcx_py_framing_parse: the arguments (kind, size, little_endian, text, delimiter, max_message)
 * that every framing of ipcx.framing gives. False with an exception. */
bool ipcx_py_framing_parse(PyObject *args, ipcx_framing *framing);

/* ipcx_py_heap_dealloc: frees an object of one of the two types, whose members are gone already. */
void ipcx_py_heap_dealloc(PyObject *self);

/* ipcx_py_count_check: whether the call `name` has between `least` and `most` arguments. */
bool ipcx_py_count_check(const char *name, Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most);

typedef struct ipcx_py_encoder {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_framing framing;
    PyObject *rest;    /* bytes, NULL for nothing */
    Py_ssize_t sent;   /* of rest */
    bool busy;         /* a thread is inside the socket's method */
    bool broken;       /* half a message is out, and there was no memory to keep the rest */
    PyObject *sendmsg; /* the socket's method, for large messages; NULL for none */
} ipcx_py_encoder;

/* A message as the caller gave it, pinned. */
typedef struct ipcx_py_message {
    ipcx_frame frame;
    ipcx_envelope around;
    Py_buffer payload, extension;
} ipcx_py_message;

/* ipcx_py_message_pin: pins payload and extension (which may be NULL) and encodes the envelope.
 * False with an exception and nothing pinned. ipcx_py_message_release unpins; ipcx_py_message_bytes
 * makes the frame and unpins. */
bool ipcx_py_message_pin(const ipcx_py_encoder *self, PyObject *payload, PyObject *extension,
                         ipcx_py_message *msg);
void ipcx_py_message_release(ipcx_py_message *msg);
size_t ipcx_py_message_size(const ipcx_py_message *msg);
void ipcx_py_message_write(const ipcx_py_message *msg, char *to);
PyObject *ipcx_py_message_bytes(ipcx_py_message *msg);

/* The encoder's methods that send: (send, message[, flags]), (send, messages[, flags]), (send[,
 * flags]). */
PyObject *ipcx_py_encoder_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs);
PyObject *ipcx_py_encoder_send_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs);
PyObject *ipcx_py_encoder_flush(PyObject *op, PyObject *const *args, Py_ssize_t nargs);

int ipcx_py_encoder_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_decoder_init(PyObject *module, ipcx_py_state *state);

#endif
