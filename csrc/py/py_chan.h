/* SPDX-License-Identifier: Apache-2.0
 * What the binding of channels shares: the objects, and how a call waits, fails and is traced.
 *
 * The way of a call: parse → try once with the GIL held (IPCX_NOW) → otherwise let the GIL go for
 * one ipcx_* call with the deadline → what INTR brings back goes through the signal handlers and
 * calls again. Invariant: nothing sleeps with the GIL held. A message that was lent locks its
 * channel's receiving side until the GIL is there again, so with the GIL only IPCX_NOW is used. */
#ifndef IPCX_PY_CHAN_H
#define IPCX_PY_CHAN_H

#include "py/call.h"
#include "py/error.h"
#include "py/py_trace.h"
#include "py/py_wait.h"
#include "py/state.h"

#include <stdbool.h>

#include "ipcx/chan.h"
#include "ipcx/clock.h"
#include "ipcx/connect.h"

#define IPCX_PY_FAST PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames
#define IPCX_PY_FAST_METHOD(function) ((PyCFunction)(void (*)(void))(function))

/* A place in one of the state's lists: what the interpreter's exit looks after. */
typedef struct ipcx_py_listed {
    struct ipcx_py_listed *next, **link; /* link NULL: in no list */
} ipcx_py_listed;

typedef struct ipcx_py_chan {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_chan *core;
    PyObject *weakrefs;
    PyObject *kept; /* a list of ends that receive_into could not hand out, or NULL */
    const struct ipcx__quick *quick; /* the short way of a small message, or NULL (chan_quick.h) */
    bool layered;                    /* tls: every call is made without the GIL (py_layer.h) */
    bool objects;                    /* messages are Python objects, by reference */
    bool rendezvous;                 /* each send waits for its receiver */
    bool lingers;          /* a try may stay awake for a moment, where it keeps nobody (shm) */
    bool expect_wait;      /* the last receive had to wait: a try would be in vain */
    ipcx_py_listed listed; /* in state->channels */
} ipcx_py_chan;

/* What the layer of tls:// is made by: see py_layer.h. */
typedef struct ipcx_py_layer_source {
    ipcx_py_state *state;
    PyObject *make;
} ipcx_py_layer_source;

typedef struct ipcx_py_listener {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_listener *core;
    PyObject *weakrefs;
    bool closed;
    PyObject *kept;               /* a list of peers for the next accepts, or NULL */
    ipcx_py_layer_source *source; /* tls: what makes sessions, or NULL */
    ipcx_py_listed listed;        /* in state->listeners */
} ipcx_py_listener;

/* ipcx_py_named: in py_socket_conv.c: arguments by position and by name. */
bool ipcx_py_named(PyObject **values, const char *const *names, Py_ssize_t required,
                   const char *method, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* ipcx_py_truth: a flag that may be missing; false: an exception is set. */
static inline bool ipcx_py_truth(PyObject *value, bool *out)
{
    int yes = value == NULL || value == Py_False ? 0 : PyObject_IsTrue(value);
    *out = yes > 0;
    return yes >= 0;
}

/* ipcx_py_chan_raise: sets the exception for what the core answered to `op` of a call that might
 * wait `ns` (INTR: there is one already). Returns NULL. */
PyObject *ipcx_py_chan_raise(ipcx_py_state *state, const char *op, ipcx_status status,
                             const ipcx_error *err, int64_t ns);

/* ipcx_py_chan_offset: after a failure of the protocol: where in what came, as .offset. */
void ipcx_py_chan_offset(const ipcx_py_chan *self, ipcx_status status);

/* ipcx_py_exit_check: once the exit has closed what there was, only daemon threads are left, and
 * what they would say of it is of no use: one that comes here sleeps until the process has ended.
 */
void ipcx_py_exit_check(const ipcx_py_state *state);

/* ipcx_py_warn_unclosed: the ResourceWarning of a finalizer: "unclosed <…>". Keeps the exception
 * that is set. */
void ipcx_py_warn_unclosed(PyObject *op);

/* ipcx_py_attribute: sets an attribute of the exception that is set; `value` is stolen. */
void ipcx_py_attribute(const char *name, PyObject *value);

/* ipcx_py_drop: what the core calls for an object nobody will receive, with or without the GIL. It
 * notes the object; ipcx_py_drop_all, with the GIL, after each call that may have dropped, lets go
 * of what this thread has noted. */
void ipcx_py_drop(void *object);
void ipcx_py_drop_all(void);

/* ipcx_py_trust, ipcx_py_vanish: put in bytes or None, borrowed; seconds or None. False: raised. */
bool ipcx_py_trust(PyObject *authkey, PyObject *allow_uids, ipcx_chan_options *options);
bool ipcx_py_vanish(PyObject *value, ipcx_chan_options *options);

/* ipcx_py_chan_around: a new Channel that owns `core`; frees it on failure. */
PyObject *ipcx_py_chan_around(ipcx_py_state *state, ipcx_chan *core);
PyObject *ipcx_py_listener_around(ipcx_py_state *state, ipcx_listener *core,
                                  ipcx_py_layer_source *source);

/* ipcx_py_chan_free: frees a core; one with a layer without the GIL. */
void ipcx_py_chan_free(ipcx_chan *core);

/* The methods, by file. py_chan_quick.c; py_chan_send.c: */
PyObject *ipcx_py_chan_send(IPCX_PY_FAST);
PyObject *ipcx_py_chan_send_slowly(IPCX_PY_FAST);
PyObject *ipcx_py_chan_send_now(PyObject *op, PyObject *const *args, Py_ssize_t nargs);
PyObject *ipcx_py_chan_send_many(IPCX_PY_FAST);
PyObject *ipcx_py_chan_flush(IPCX_PY_FAST);
int ipcx_py_sending_init(PyObject *module, ipcx_py_state *state);
/* py_chan_receive.c: */
PyObject *ipcx_py_chan_receive(IPCX_PY_FAST);
PyObject *ipcx_py_chan_receive_now(PyObject *op, PyObject *ignored);
PyObject *ipcx_py_chan_receive_many(IPCX_PY_FAST);
PyObject *ipcx_py_chan_receive_into(IPCX_PY_FAST);
PyObject *ipcx_py_chan_poll(IPCX_PY_FAST);
PyObject *ipcx_py_chan_next(PyObject *op);
/* The next message, lent by ipcx_chan_receive; INTR: an exception is set. TypeError, -1 or NULL:
 * the message has no bytes, but receive() gives it; keep: an end, which cannot be put back. */
ipcx_status ipcx_py_chan_lend(ipcx_py_chan *self, ipcx_message *message, int64_t ns,
                              ipcx_error *err);
PyObject *ipcx_py_chan_no_bytes(const ipcx_py_chan *self, const char *op);
PyObject *ipcx_py_chan_keep(ipcx_py_chan *self, ipcx_chan *end, const char *op);
/* py_loan_make.c: */
PyObject *ipcx_py_chan_reserve(IPCX_PY_FAST);
PyObject *ipcx_py_chan_reserve_now(PyObject *op, PyObject *size);
PyObject *ipcx_py_chan_receive_view(IPCX_PY_FAST);
PyObject *ipcx_py_chan_receive_view_now(PyObject *op, PyObject *ignored);
PyObject *ipcx_py_chan_trim(PyObject *op, PyObject *ignored);
/* py_chan_make.c, functions of the module: */
extern PyMethodDef ipcx_py_chan_functions[];
/* py_chan_exit.c: the lists of all channels and listeners, and what they owe at the exit. */
PyObject *ipcx_py_chan_exit(PyObject *module, PyObject *seconds);
void ipcx_py_enlist(ipcx_py_listed **list, ipcx_py_listed *item);
void ipcx_py_delist(ipcx_py_listed *item); /* if it is in one */
/* ipcx_py_chan_ours: whether this process uses the end, or nobody else can. */
bool ipcx_py_chan_ours(const ipcx_py_chan *self);

int ipcx_py_listener_init(PyObject *module, ipcx_py_state *state);

#endif
