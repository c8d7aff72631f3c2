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

int ipcx_py_encoder_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_decoder_init(PyObject *module, ipcx_py_state *state);

#endif
