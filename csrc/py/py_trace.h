/* SPDX-License-Identifier: Apache-2.0
 * Who watches: set_trace()'s callback is told of each call that has ended, set_record()'s what it
 * moved and when it began, too.
 * Invariant: nobody watching costs a call a branch at its beginning and one at its end; what is
 * told is borrowed, and nothing a callback does changes the call's outcome. */
#ifndef IPCX_PY_TRACE_H
#define IPCX_PY_TRACE_H

#include "py/call.h"
#include "py/state.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "ipcx/clock.h"

/* What only who records is told of a call. */
typedef struct ipcx_py_seen {
    int64_t begun;  /* 0: nobody recorded when it began; -1: but who does came meanwhile */
    PyObject *what; /* what was sent or received, or a buffer with it in front; or NULL */
    size_t moved;   /* of a call that failed: the bytes that went before */
    int flags;      /* MSG_PEEK … */
    bool at_once;   /* nothing else of this interpreter ran meanwhile: it has one moment */
} ipcx_py_seen;

/* IPCX_PY_UNWATCHED: a build without all this, for bench/bench_record.py to compare with. */
static inline bool ipcx_py_watched(const ipcx_py_state *state)
{
#ifdef IPCX_PY_UNWATCHED
    (void)state;
    return false;
#else
    return IPCX_UNLIKELY(atomic_load_explicit(state->watched, memory_order_relaxed) != 0);
#endif
}

int64_t ipcx_py_see_slowly(ipcx_py_state *state);
static inline void ipcx_py_see(ipcx_py_seen *seen, ipcx_py_state *state)
{
    *seen = (ipcx_py_seen){.begun = 0};
    if (ipcx_py_watched(state)) {
        seen->begun = ipcx_py_see_slowly(state);
    }
}

/* ipcx_py_show: tells the callbacks of an operation that has ended: with `detail`, which is stolen,
 * or with the exception that is set (detail NULL), which stays. `seen` NULL: it moved nothing and
 * took no time. */
void ipcx_py_show(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                  const ipcx_py_seen *seen);

/* ipcx_py_show_record: tells set_record()'s alone. */
void ipcx_py_show_record(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                         const ipcx_py_seen *seen);

/* ipcx_py_look_again: `watched` after a hook or the control word has come or gone.
 * ipcx_py_unfollow: nothing tells from outside any more. */
void ipcx_py_look_again(ipcx_py_state *state);
void ipcx_py_unfollow(ipcx_py_state *state);

/* ipcx_py_set_trace, _record, _error_hook, record_follow: the module's functions. */
PyObject *ipcx_py_set_trace(PyObject *module, PyObject *callback);
PyObject *ipcx_py_set_record(PyObject *module, PyObject *callback);
PyObject *ipcx_py_record_follow(PyObject *module, PyObject *args);
PyObject *ipcx_py_set_error_hook(PyObject *module, PyObject *callback);

#endif
