/* SPDX-License-Identifier: Apache-2.0
 * What the files py_server_*.c share: a server and its peers as Python objects.
 *
 * The way of a batch: ipcx_mux_next without the GIL → with it, the whole batch becomes Python
 * objects and is given back → they are handed out one by one without the core. Who finds the list
 * empty asks for the next batch; who takes from a list that holds more, while others wait in the
 * core, nudges them. Invariant: the list and `peers` change with the GIL held only. */
#ifndef IPCX_PY_SERVER_H
#define IPCX_PY_SERVER_H

#include "py/py_chan.h"

#include "ipcx/mux_info.h"

/* What has happened and was not handed out yet. */
typedef struct ipcx_py_happened {
    ipcx_mux_kind kind;
    PyObject *peer;
    PyObject *message; /* MESSAGE; else NULL */
    uint64_t ticket;   /* of a rendezvous; 0: none */
} ipcx_py_happened;

typedef struct ipcx_py_server {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_mux *core; /* NULL: __new__ failed */
    PyObject *weakrefs;
    PyObject *peers; /* dict: id → peer, of those that are there */
    ipcx_mux_full on_full;
    ipcx_py_happened *happened;
    size_t at, count, room; /* of `happened`: the next to hand out, the end, the memory's end */
    size_t waiting;         /* threads in ipcx_mux_next */
    bool closed;
    bool layered;                 /* tls: every call that locks is made without the GIL */
    ipcx_py_layer_source *source; /* … and what makes sessions, or NULL */
} ipcx_py_server;

typedef struct ipcx_py_peer {
    PyObject_HEAD ipcx_mux_peer *core;
    ipcx_py_server *server; /* NULL after the collector was here */
    PyObject *data;         /* the program's */
    PyObject *weakrefs;
} ipcx_py_peer;

/* py_server_batch.c. ipcx_py_server_take: the next thing that has happened, waiting `ns` for it; it
 * is the caller's. Not OK: an exception is set. With `messages` nothing else is told. */
ipcx_status ipcx_py_server_take(ipcx_py_server *self, int64_t ns, bool messages,
                                ipcx_py_happened *out);
void ipcx_py_server_forget(ipcx_py_server *self);

/* py_server_receive.c, methods: */
PyObject *ipcx_py_server_receive(IPCX_PY_FAST);
PyObject *ipcx_py_server_receive_many(IPCX_PY_FAST);
PyObject *ipcx_py_server_receive_now(PyObject *op, PyObject *ignored);
PyObject *ipcx_py_server_event(IPCX_PY_FAST);
PyObject *ipcx_py_server_next(PyObject *op);

/* py_server_peer.c. ipcx_py_peer_make: a new one, in the server's dict. */
PyObject *ipcx_py_peer_make(ipcx_py_server *server, ipcx_mux_peer *core);
int ipcx_py_peer_init(PyObject *module, ipcx_py_state *state);

/* ipcx_py_server_pin: how `value` is held while it is sent. False: TypeError. */
bool ipcx_py_server_pin(PyObject *value, ipcx_message *message, Py_buffer *view);

#endif
