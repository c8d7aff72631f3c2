/* SPDX-License-Identifier: Apache-2.0
 * The state of one `_core` module object: one per interpreter, reached through the types it made.
 * Invariant: everything the binding keeps between calls is here or in an object; nothing is static. */
#ifndef IPCX_PY_STATE_H
#define IPCX_PY_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct ipcx_py_state {
    PyObject *stdlib_socket;     /* the stdlib's module `socket` */
    PyTypeObject *base_type;     /* socket.socket, the Python class we derive from */
    PyTypeObject *os_type;       /* _socket.socket, the C class below it */
    PyTypeObject *socket_type;   /* ipcx.socket.socket */
    PyObject *exceptions;        /* status (int) → exception class, from the status table */
} ipcx_py_state;

extern struct PyModuleDef ipcx_py_module;

/* Each file's share of the module's initialisation: 0, or -1 with an exception set. */
int ipcx_py_status_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_socket_init(PyObject *module, ipcx_py_state *state);

#endif
