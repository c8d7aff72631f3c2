/* SPDX-License-Identifier: Apache-2.0
 * The one place that lets the GIL go: exactly one call of the core without it.
 * Invariant: `expression` touches no Python object but pinned memory. */
#ifndef IPCX_PY_CALL_H
#define IPCX_PY_CALL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define IPCX_PY_WITHOUT_GIL(expression)                                                            \
    do {                                                                                           \
        PyThreadState *ipcx_py_saved = PyEval_SaveThread();                                        \
        expression;                                                                                \
        PyEval_RestoreThread(ipcx_py_saved);                                                       \
    } while (0)

/* ipcx_py_alone: whether this is the interpreter's only Python thread. The head of the list is the
 * youngest thread; our own state cannot go away under us. */
static inline int ipcx_py_alone(void)
{
    PyThreadState *me = PyThreadState_Get();
    return PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(me)) == me &&
           PyThreadState_Next(me) == NULL;
}

/* For a call that cannot wait but may wake a thread of this very process: with the GIL held, that
 * thread would wake up only to wait for the GIL (bench_socket.py, pingpong-threads). */
#define IPCX_PY_WAKING(expression)                                                                 \
    do {                                                                                           \
        if (ipcx_py_alone()) {                                                                     \
            expression;                                                                            \
        } else {                                                                                   \
            IPCX_PY_WITHOUT_GIL(expression);                                                       \
        }                                                                                          \
    } while (0)

/* Up to this many bytes are moved with the GIL held, by a call that cannot wait: letting it go and
 * taking it again costs more (bench/bench_socket.py). */
#define IPCX_PY_TRY_MAX 16384

#endif
