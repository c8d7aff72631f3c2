/* SPDX-License-Identifier: Apache-2.0
 * From a status of the core to the Python exception the table names for it.
 * Invariant: nothing outside py_status.c knows which class that is. */
#ifndef IPCX_PY_ERROR_H
#define IPCX_PY_ERROR_H

#include "state.h"

#include "ipcx/error.h"

/* ipcx_py_raise: sets the exception for `status` and returns NULL, so that a function may
 * `return ipcx_py_raise(state, status, &err);`. The message is "<op>: <text>: <detail>"; one
 * derived from OSError also gets the errno if there is one, and a bare OSError the system's own
 * words. `err` is read only when status < 0 (answers do not fill it in) and may be NULL. IPCX_INTR
 * is the caller's: it runs the signal handlers and calls again. */
PyObject *ipcx_py_raise(ipcx_py_state *state, ipcx_status status, const ipcx_error *err);

#endif
