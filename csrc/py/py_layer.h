/* SPDX-License-Identifier: Apache-2.0
 * The layer of tls:// (ipcx/layer.h) over Python's ssl: an SSLObject with its two MemoryBIOs.
 *
 * The core calls it from calls that have let the GIL go, with its short mutex held. It takes the
 * GIL back by the thread state that let it go (call.h notes it), and gives it up again. Invariant:
 * nobody waits for a channel's or a server's mutex with the GIL held, for every call of one that
 * has a layer is made without it (IPCX_PY_TRYING): so who holds the mutex gets the GIL in the end.
 *
 * _ssl runs signal handlers within its functions. What one of them raises is put off until the
 * evaluation loop runs again (Py_AddPendingCall), and the call is told INTR; no byte is lost. */
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

extern PyMethodDef ipcx_py_layer_functions[];

#endif
