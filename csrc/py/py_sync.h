/* SPDX-License-Identifier: Apache-2.0
 * What the types of ipcx.sync share: the object, making it, waiting.
 * Invariant: `core` is NULL before __init__, and freed with the object alone: so a method that runs
 * without the GIL never loses it, close() or not. */
#ifndef IPCX_PY_SYNC_H
#define IPCX_PY_SYNC_H

#include "py/py_chan.h"

#include "ipcx/sync.h"
#include "ipcx/sync_wait.h"

typedef struct ipcx_py_sync {
    PyObject_HEAD ipcx_sync *core;
    PyObject *lock; /* of a condition: the Mutex that goes with it, NULL: it is its own */
} ipcx_py_sync;

typedef ipcx_status (*ipcx_py_sync_call)(ipcx_sync *core, ipcx_deadline deadline, ipcx_error *err);

/* ipcx_py_sync_core: NULL with an exception: __init__ was not called. */
ipcx_sync *ipcx_py_sync_core(PyObject *op);

/* ipcx_py_sync_patience: the timeout of a call, 0 to `nargs` arguments; a bool is a TypeError. */
bool ipcx_py_sync_patience(const char *method, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames, int64_t *ns);

/* ipcx_py_sync_no_arguments: the TypeError of a METH_FASTCALL without arguments that got some. */
PyObject *ipcx_py_sync_no_arguments(const char *method, Py_ssize_t nargs);

/* ipcx_py_sync_wait: one call that may wait `ns`, as its status; INTR: an exception is set.
 * ipcx_py_sync_raise: the exception for it, NULL. ipcx_py_sync_none: None, or that. */
ipcx_status ipcx_py_sync_wait(ipcx_sync *core, ipcx_py_sync_call call, int64_t ns, ipcx_error *err);
PyObject *ipcx_py_sync_raise(PyObject *op, ipcx_status status, const ipcx_error *err);
PyObject *ipcx_py_sync_none(PyObject *op, ipcx_status status, const ipcx_error *err);

/* ipcx_py_sync_true: True, or that. ipcx_py_sync_tried: False for AGAIN, or that. */
PyObject *ipcx_py_sync_true(PyObject *op, ipcx_status status, const ipcx_error *err);
PyObject *ipcx_py_sync_tried(PyObject *op, ipcx_status status, const ipcx_error *err);

/* ipcx_py_sync_type: a type that derives from `base`, added to the module; a new reference. */
PyObject *ipcx_py_sync_type(PyObject *module, const char *name, PyType_Slot *slots, PyObject *base);
int ipcx_py_sync_sem_init(PyObject *module, PyObject *base);
int ipcx_py_sync_wait_init(PyObject *module, PyObject *base, PyObject *mutex);

#endif
