/* SPDX-License-Identifier: Apache-2.0
 * A plain call as a record of fixed form, without Python: most calls of most programs are such.
 * Invariant: what is written here is what ipcx.lab.recorder's callback would have written. */
#ifndef IPCX_PY_RECORD_H
#define IPCX_PY_RECORD_H

#include "py/py_trace.h"

/* ipcx_py_record_plain: appends the call to the tapes. `detail` as in ipcx_py_show, borrowed; NULL:
 * the exception that is set. False: it is for the callback. */
bool ipcx_py_record_plain(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                          const ipcx_py_seen *seen);

/* ipcx_py_record_forget: the core records nobody's calls any more. */
void ipcx_py_record_forget(ipcx_py_state *state);

/* ipcx_py_record_into, _known: the module's functions. */
PyObject *ipcx_py_record_into(PyObject *module, PyObject *tapes);
PyObject *ipcx_py_record_known(PyObject *module, PyObject *args);

#endif
