/* SPDX-License-Identifier: Apache-2.0
 * The layer of tls:// (ipcx/layer.h) over Python's ssl: an SSLObject with its two MemoryBIOs.
 *
 * The core calls it from calls that have let the GIL go, with its short mutex held. It takes the
 * GIL back by the thread state that let it go (call.h notes it), and gives it up again. Invariant:
 * nobody waits for a channel's or a server's mutex with the GIL held, for every call of one that
 * has a layer is made without it (IPCX_PY_TRYING): so who holds the mutex gets the GIL in the end.
 *
 * _ssl runs signal handlers within its functions. What one of them raises, or sends and closes with
 * the very channel, waits until the interrupted call has let go (py_layer_later.c); that is told
 * INTR, so that it soon does, and no byte is lost. What would have to wait for it is refused. */
#ifndef IPCX_PY_LAYER_H
#define IPCX_PY_LAYER_H

#include "py/py_chan.h"

/* ipcx_py_layer_use: the options' layer: `make` (ipcx.tls) makes sessions; None: there is none.
 * `source` is used as long as the options are, and `make` borrowed. */
void ipcx_py_layer_use(ipcx_py_state *state, PyObject *make, ipcx_py_layer_source *source,
                       ipcx_chan_options *options);

/* ipcx_py_layer_source_new: for a listener: a source that keeps `make`; NULL of None, or with an
 * exception. ipcx_py_layer_source_free: NULL is allowed. */
ipcx_py_layer_source *ipcx_py_layer_source_new(PyObject *make);
void ipcx_py_layer_source_free(ipcx_py_layer_source *source);

/* ipcx_py_layer_cause: the ssl module's error that ended the channel becomes the __cause__ of the
 * exception that is set. */
void ipcx_py_layer_cause(const ipcx_py_chan *self);
void ipcx_py_layer_cause_of(PyObject *make); /* where there is no channel; None is allowed */

/* ipcx_py_layer_error: that error, a new reference, or NULL. */
PyObject *ipcx_py_layer_error(const ipcx_py_chan *self);

/* ipcx_py_layer_object: its ipcx.tls.Session, a new reference, or None. view: of a session. */
PyObject *ipcx_py_layer_object(const ipcx_py_chan *self);
PyObject *ipcx_py_layer_view(const void *session);

/* ---- py_layer_later.c; with the GIL */

/* ipcx_py_layer_within: whether the caller is a signal handler that came while this thread was in
 * the channel's layer. */
bool ipcx_py_layer_within(const ipcx_py_chan *self);
/* ipcx_py_layer_barred: DEADLOCK: what such a handler cannot do; AGAIN where `ns` says not to wait.
 */
ipcx_status ipcx_py_layer_barred(const char *op, int64_t ns, ipcx_error *err);
/* ipcx_py_layer_send_later: self.send(value, timeout=timeout) when the interrupted call has let go;
 * None, or NULL with an exception. call_later: object.method(*args); `args` is stolen, and may be
 * NULL with an exception. raise_later: `exception` is stolen. */
PyObject *ipcx_py_layer_send_later(ipcx_py_chan *self, PyObject *value, PyObject *timeout);
PyObject *ipcx_py_layer_call_later(ipcx_py_state *state, PyObject *object, const char *method,
                                   PyObject *args);
void ipcx_py_layer_raise_later(ipcx_py_state *state, PyObject *exception);
/* ipcx_py_layer_puts_back: the message that was received, if something waits that is to be done
 * before. */
bool ipcx_py_layer_puts_back(ipcx_py_chan *self, ipcx_status status, ipcx_message *message);
/* ipcx_py_layer_do_later: does what waits for this thread: 0, or -1 with an exception. restless:
 * whether there is anything. */
int ipcx_py_layer_do_later(void);
bool ipcx_py_layer_restless(void);

/* ipcx_py_layer_take, give: around each function of a layer: takes the GIL back; gives it up. */
typedef struct ipcx_py_grip {
    PyThreadState *released;
    PyObject *type, *value, *traceback; /* of the exception that was set before */
} ipcx_py_grip;
ipcx_py_grip ipcx_py_layer_take(ipcx_py_state *state);
void ipcx_py_layer_give(ipcx_py_state *state, const ipcx_py_grip *taken);

extern PyMethodDef ipcx_py_layer_functions[];

#endif
