/* SPDX-License-Identifier: Apache-2.0
 * The state of one `_core` module object: one per interpreter, reached through the types it made.
 * Invariant: everything the binding keeps between calls is here or in an object; the statics are
 * ipcx_py_layout (prefix.h) and ipcx_py_map_layout (py_mmap.h), which are the same for all
 * interpreters of a process. What py_chan_call.c notes for a thread is empty between calls. */
#ifndef IPCX_PY_STATE_H
#define IPCX_PY_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>

#include "ipcx/layer.h"
#include "py/prefix.h"

/* The verbs of socket.socket that are the core's. The base class's method of the same name stands
 * behind each: it gets what is not ours to judge. */
#define IPCX_PY_VERBS(X)                                                                           \
    X(__init__)                                                                                    \
    X(accept)                                                                                      \
    X(bind)                                                                                        \
    X(close)                                                                                       \
    X(_real_close)                                                                                 \
    X(connect)                                                                                     \
    X(connect_ex)                                                                                  \
    X(detach)                                                                                      \
    X(listen)                                                                                      \
    X(recv)                                                                                        \
    X(recv_into)                                                                                   \
    X(recvfrom)                                                                                    \
    X(recvfrom_into)                                                                               \
    X(recvmsg)                                                                                     \
    X(recvmsg_into)                                                                                \
    X(send)                                                                                        \
    X(sendall)                                                                                     \
    X(sendmsg)                                                                                     \
    X(sendto)                                                                                      \
    X(setblocking)                                                                                 \
    X(settimeout)                                                                                  \
    X(shutdown)

typedef enum ipcx_py_verb {
#define IPCX_PY_VERB(name) IPCX_PY_##name,
    IPCX_PY_VERBS(IPCX_PY_VERB)
#undef IPCX_PY_VERB
        IPCX_PY_VERB_COUNT
} ipcx_py_verb;

/* Every object reference of the state, so that traverse and clear cannot forget one. */
#define IPCX_PY_STATE_OBJECTS(X)                                                                   \
    X(exceptions)        /* status (int) → exception class, from the status table */               \
    X(base_type)         /* socket.socket, the Python class we derive from */                      \
    X(os_type)           /* _socket.socket, the C class below it */                                \
    X(socket_type)       /* ipcx.socket.socket */                                                  \
    X(gaierror)          /* socket.gaierror */                                                     \
    X(getdefaulttimeout) /* socket.getdefaulttimeout */                                            \
    X(zero)              /* 0, what _io_refs starts with */                                        \
    X(spare)             /* bytes for what was received when there is no memory for it */          \
    X(no_arguments)      /* () */                                                                  \
    X(chan_type)         /* ipcx.Channel */                                                        \
    X(listener_type)     /* ipcx.Listener */                                                       \
    X(loan_type)         /* ipcx.channel.Loan */                                                   \
    X(view_type)         /* ipcx.channel.View */                                                   \
    X(sending_type)      /* what _send_now() returns of an unfinished send */                      \
    X(chan_stats)        /* ipcx.channel.ChannelStats, or NULL */                                  \
    X(listener_stats)    /* ipcx.channel.ListenerStats, or NULL */                                 \
    X(peer_type)         /* ipcx.server.Peer */                                                    \
    X(server_stats)      /* ipcx.server.ServerStats, or NULL */                                    \
    X(peer_stats)        /* ipcx.server.PeerStats, or NULL */                                      \
    X(tls_judge)         /* ipcx.tls: what an error of ssl means, or NULL */                       \
    X(tls_session)       /* ipcx.tls.Session, or NULL */                                           \
    X(ssl_error)         /* ssl.SSLError, or NULL */                                               \
    X(ssl_want_read)     /* ssl.SSLWantReadError, or NULL */                                       \
    X(later)             /* what signal handlers within a layer have left to be done, or NULL */   \
    X(trace)             /* what set_trace() was given, or NULL */                                 \
    X(record)            /* what set_record() was given, or NULL */                                \
    X(record_tapes)      /* record_into()'s: a tuple of tapes, or NULL */                          \
    X(tape_type)         /* _core.Tape */                                                          \
    X(follow)            /* what record_follow() calls, or NULL */                                 \
    X(error_hook)        /* what set_error_hook() was given, or NULL */                            \
    X(map_base)          /* mmap.mmap, the class that ipcx.mmap.mmap derives from */               \
    X(map_type)          /* ipcx.mmap.mmap */                                                      \
    X(map_verbs)         /* tuple of map_base's methods, by ipcx_py_map_verb */

typedef struct ipcx_py_state {
#define IPCX_PY_STATE_OBJECT(name) PyObject *name;
    IPCX_PY_STATE_OBJECTS(IPCX_PY_STATE_OBJECT)
#undef IPCX_PY_STATE_OBJECT
    PyObject *base_verbs[IPCX_PY_VERB_COUNT];
    ipcx_py_template template; /* what the base's own part of a fresh socket holds */
    struct ipcx_py_listed *channels, *listeners; /* all there are */
    ipcx_layer layer;                            /* of tls://, this interpreter's (py_layer.c) */
    int layers_at_work;                          /* calls of it under way */
    const _Atomic uint32_t *watched;             /* 0: nobody is told (py_trace.h); one of: */
    const _Atomic uint32_t *control;             /* what record_follow() has mapped, or NULL */
    _Atomic uint32_t words[2];                   /* 0 and 1 */
    uint32_t control_seen;                       /* the word that `follow` was called for */
    struct ipcx_py_known *known;                 /* whose calls the core records (py_record.c) */
    size_t known_room, known_count;              /* a power of 2, or 0 */
    int collects;          /* whether the garbage collector was on before the first of them */
    unsigned long exiting; /* the thread that closed them at the exit, or 0 */
} ipcx_py_state;

extern struct PyModuleDef ipcx_py_module;

/* ipcx_py_state_of: the state behind an object of one of the module's types. */
static inline ipcx_py_state *ipcx_py_state_of(PyObject *self)
{
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &ipcx_py_module);
    return module != NULL ? PyModule_GetState(module) : NULL;
}

/* ipcx_py_make_type: makes the type of `spec`, which derives from `base` (may be NULL), and adds it
 * to the module: a new reference. ipcx_py_add_type: the same for who needs none: 0, or -1. */
PyObject *ipcx_py_make_type(PyObject *module, PyType_Spec *spec, PyObject *base);
int ipcx_py_add_type(PyObject *module, PyType_Spec *spec);

/* Each file's share of the module's initialisation: 0, or -1 with an exception set. */
int ipcx_py_status_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_socket_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_frame_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_signals_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_spawn_init(PyObject *module);
int ipcx_py_record_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_tape_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_pipe_init(PyObject *module);
int ipcx_py_files_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_log_init(PyObject *module);
int ipcx_py_chan_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_loan_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_server_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_mmap_init(PyObject *module, ipcx_py_state *state);
int ipcx_py_sync_module_init(PyObject *module, ipcx_py_state *state);

#endif
