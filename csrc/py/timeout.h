/* SPDX-License-Identifier: Apache-2.0
 * The time-outs of ipcx's own verbs: None waits for ever, 0 polls, else seconds. */
#ifndef IPCX_PY_TIMEOUT_H
#define IPCX_PY_TIMEOUT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

#include "ipcx/clock.h"

/* ipcx_py_deadline: the deadline of a call that begins now. False with TypeError or ValueError. */
bool ipcx_py_deadline(PyObject *timeout, ipcx_deadline *deadline);

#endif
