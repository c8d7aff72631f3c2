/* SPDX-License-Identifier: Apache-2.0
 * The one place that lets the GIL go: exactly one call of the core without it.
 * Invariant: `expression` touches no Python object but pinned memory. */
#ifndef IPCX_PY_CALL_H
#define IPCX_PY_CALL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The thread state of a thread that has let the GIL go: by it the layer of tls:// takes the GIL
 * back for a moment (py_layer.h). NULL: the thread has the GIL. */
extern _Thread_local PyThreadState *ipcx_py_released;

#define IPCX_PY_WITHOUT_GIL(expression)                                                            \
    do {                                                                                           \
        PyThreadState *ipcx_py_saved = PyEval_SaveThread();                                        \
        ipcx_py_released = ipcx_py_saved;                                                          \
        expression;                                                                                \
        ipcx_py_released = NULL;                                                                   \
        PyEval_RestoreThread(ipcx_py_saved);                                                       \
    } while (0)

/* ipcx_py_gil_back, ipcx_py_gil_away: within such an expression, for who must use Python there:
 * takes the GIL by the thread state that let it go, if it was let go, and lets it go again. */
static inline PyThreadState *ipcx_py_gil_back(void)
{
    PyThreadState *mine = ipcx_py_released;
    if (mine != NULL) {
        ipcx_py_released = NULL;
        PyEval_RestoreThread(mine);
    }
    return mine;
}
static inline void ipcx_py_gil_away(PyThreadState *mine)
{
    if (mine != NULL) {
        (void)PyEval_SaveThread();
        ipcx_py_released = mine;
    }
}

/* ipcx_py_alone: whether this is the interpreter's only Python thread. The head of the list is the
 * youngest thread; our own state cannot go away under us. */
static inline int ipcx_py_alone(void)
{
    PyThreadState *me = PyThreadState_Get();
    return PyThreadState_Next(me) == NULL &&
           PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(me)) == me;
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
