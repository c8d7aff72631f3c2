/* SPDX-License-Identifier: Apache-2.0
 * What the two halves of ipcx.files share.
 * Invariant: the classes of ipcx/files.py derive from these types and call them with positional
 * arguments only. */
#ifndef IPCX_PY_FILES_H
#define IPCX_PY_FILES_H

#include "py/py_chan.h"

/* ipcx_py_path: the path as bytes that end with a NUL; a new reference, NULL with an exception. */
PyObject *ipcx_py_path(PyObject *path);

/* ipcx_py_add_type: makes the type of `spec` and adds it to the module. 0, or -1. */
int ipcx_py_add_type(PyObject *module, PyType_Spec *spec);

/* ipcx_py_state_of: the state behind a type of this module. */
static inline ipcx_py_state *ipcx_py_state_of(PyObject *self)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &ipcx_py_module);
    return module != NULL ? PyModule_GetState(module) : NULL;
}

int ipcx_py_log_init(PyObject *module);

#endif
