/* SPDX-License-Identifier: Apache-2.0
 * How a call of the binding waits: its time-out, its signals, its one call of the core.
 * Invariant: what INTR brings back goes through the signal handlers, and calls again. */
#ifndef IPCX_PY_WAIT_H
#define IPCX_PY_WAIT_H

#include "py/call.h"

#include <stdbool.h>

#include "ipcx/clock.h"
#include "ipcx/error.h"

/* How long a call may wait, nanoseconds. */
#define IPCX_PY_NEVER ((int64_t)0)
#define IPCX_PY_EVER INT64_MAX

/* ipcx_py_patience: seconds, or None for ever; NULL (not given): `otherwise`. False: ValueError or
 * TypeError. ipcx_py_deadline: the deadline that far from now. */
bool ipcx_py_patience(PyObject *value, int64_t otherwise, int64_t *ns);
static inline ipcx_deadline ipcx_py_deadline(int64_t ns)
{
    return ns == IPCX_PY_EVER ? IPCX_FOREVER : ipcx_deadline_after(ns);
}

/* ipcx_py_waiting: evaluates `expression`, which sets `status`, without the GIL; as long as the
 * answer is INTR and the signal handlers raise nothing, again. INTR afterwards: an exception is
 * set. */
#define IPCX_PY_WAITING(status, expression)                                                        \
    do {                                                                                           \
        IPCX_PY_WITHOUT_GIL(expression);                                                           \
    } while ((status) == IPCX_INTR && ipcx_py_signals() == 0)

/* ipcx_py_signals: runs signal handlers, and what was put off (py_layer.h); -1 with an exception.
 */
int ipcx_py_signals(void);

/* IPCX_PY_TRYING: for a call with IPCX_NOW: with the GIL, but where there is a layer. ONCE: INTR
 * may come back, for what was put off to come later. */
#define IPCX_PY_TRYING_ONCE(self, expression)                                                      \
    do {                                                                                           \
        if (IPCX_UNLIKELY((self)->layered)) {                                                      \
            IPCX_PY_WITHOUT_GIL(expression);                                                       \
        } else {                                                                                   \
            expression;                                                                            \
        }                                                                                          \
    } while (0)
#define IPCX_PY_TRYING(self, status, expression)                                                   \
    do {                                                                                           \
        if (IPCX_UNLIKELY((self)->layered)) {                                                      \
            IPCX_PY_WAITING(status, expression);                                                   \
        } else {                                                                                   \
            expression;                                                                            \
        }                                                                                          \
    } while (0)

#endif
