/* SPDX-License-Identifier: Apache-2.0
 * `ipcx.framing`'s core: the module's share of the initialisation, and what both halves need.
 * Invariant: as py_frame.h says. */
#include "py/py_frame.h"

#include <string.h>

bool ipcx_py_framing_parse(PyObject *args, ipcx_framing *framing)
{
    int kind, little_endian, text;
    Py_ssize_t size, max_message;
    Py_buffer delimiter;
    if (!PyArg_ParseTuple(args, "inppy*n", &kind, &size, &little_endian, &text, &delimiter,
                          &max_message)) {
        return false;
    }
    *framing = (ipcx_framing){
        .kind = (ipcx_framing_kind)kind,
        .max_message = (size_t)max_message,
        .size = (size_t)size,
        .little_endian = little_endian,
        .text = text,
        .delimiter_size = (size_t)delimiter.len,
    };
    if (framing->delimiter_size <= sizeof framing->delimiter) {
        memcpy(framing->delimiter, delimiter.buf, framing->delimiter_size);
    }
    PyBuffer_Release(&delimiter);
    return true;
}

void ipcx_py_heap_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

bool ipcx_py_count_check(const char *name, Py_ssize_t nargs, Py_ssize_t least, Py_ssize_t most)
{
    if (nargs >= least && nargs <= most) {
        return true;
    }
    PyErr_Format(PyExc_TypeError,
                 "%s() takes from %zd to %zd positional arguments but %zd %s given", name, least,
                 most, nargs, nargs == 1 ? "was" : "were");
    return false;
}

int ipcx_py_frame_init(PyObject *module, ipcx_py_state *state)
{
    if (ipcx_py_encoder_init(module, state) < 0) {
        return -1;
    }
    return ipcx_py_decoder_init(module, state);
}
