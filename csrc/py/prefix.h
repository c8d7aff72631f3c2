/* SPDX-License-Identifier: Apache-2.0
 * The base object's own part of a socket: the fields of CPython's PySocketSockObject, which lie at
 * the front of every instance of a subclass. Reading the descriptor and the time-out there costs a
 * load; asking the base's methods costs a call. It is one copy of the truth: what `detach()`,
 * `_ssl` or a `settimeout()` of the base class changes is seen here at once, and the other way
 * round. Invariant: nothing is read there until ipcx_py_prefix_learn has found each field where it
 * is expected, on live sockets of the running interpreter; else the base's methods are used. */
#ifndef IPCX_PY_PREFIX_H
#define IPCX_PY_PREFIX_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipcx/gate.h"

struct ipcx_py_state;

typedef struct ipcx_py_prefix {
    PyObject_HEAD int fd; /* -1: closed or detached */
    int family;
    int type;
    int proto;
    void *errorhandler;
    int64_t timeout; /* nanoseconds; < 0 blocking, 0 non-blocking */
} ipcx_py_prefix;

/* The rest of the base's C structure: nothing in CPython 3.11, one borrowed pointer since 3.12. It
 * is copied from a socket that the base has made, so that we need not know what it is. */
#define IPCX_PY_TEMPLATE_MAX 64
typedef struct ipcx_py_template {
    unsigned char bytes[IPCX_PY_TEMPLATE_MAX];
    size_t size;
} ipcx_py_template;

/* Our own part, behind everything the base class has. */
typedef struct ipcx_py_own {
    ipcx_gate gate;
    struct ipcx_py_state *state; /* borrowed; the type keeps the module alive */
    bool expect_wait;            /* the last receive had to wait: a try would be in vain */
} ipcx_py_own;

/* Where things are in an instance. Written at the first import, before any socket exists, and the
 * same for all interpreters of a process. */
typedef struct ipcx_py_layout {
    Py_ssize_t own;     /* offset of ipcx_py_own */
    Py_ssize_t io_refs; /* offset of the slot _io_refs */
    Py_ssize_t closed;  /* offset of the slot _closed */
    bool trusted;       /* the prefix is as we expect */
} ipcx_py_layout_t;
extern ipcx_py_layout_t ipcx_py_layout;

static inline ipcx_py_prefix *ipcx_py_prefix_of(PyObject *self)
{
    return (ipcx_py_prefix *)self;
}

static inline ipcx_py_own *ipcx_py_own_of(PyObject *self)
{
    return (ipcx_py_own *)((char *)self + ipcx_py_layout.own);
}

/* ipcx_py_prefix_learn: looks the layout up on live sockets of the base class and fills in
 * state->template. An unexpected layout is not an error; `trusted` is false then. 0, or -1 with an
 * exception. */
int ipcx_py_prefix_learn(struct ipcx_py_state *state);

/* ipcx_py_prefix_fresh: makes `self` an open socket of the base class around `fd`. */
void ipcx_py_prefix_fresh(struct ipcx_py_state *state, PyObject *self, int fd, int family, int type,
                          int proto);

/* ipcx_py_slot_set: stores `value` (borrowed) in the slot at `offset`. */
static inline void ipcx_py_slot_set(PyObject *self, Py_ssize_t offset, PyObject *value)
{
    PyObject **slot = (PyObject **)((char *)self + offset);
    PyObject *old = *slot;
    *slot = Py_NewRef(value);
    Py_XDECREF(old);
}

#endif
