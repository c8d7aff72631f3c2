/* SPDX-License-Identifier: Apache-2.0
 * Learning where the base class keeps what we read.
 * Invariant: every doubt leaves `trusted` false, which is slower and as right. */
#include "py/prefix.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "py/state.h"

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h> /* PyMemberDef */
#endif

ipcx_py_layout_t ipcx_py_layout;

/* A time-out that no other field could hold by chance: 1234.5 s. */
#define PROBE_TIMEOUT 1234.5
#define PROBE_TIMEOUT_NS INT64_C(1234500000000)

static Py_ssize_t slot_offset(PyObject *type, const char *name)
{
    Py_ssize_t offset = -1;
    PyObject *member = PyObject_GetAttrString(type, name);
    if (member == NULL) {
        PyErr_Clear();
        return -1;
    }
    if (Py_IS_TYPE(member, &PyMemberDescr_Type)) {
        offset = ((PyMemberDescrObject *)member)->d_member->offset;
    }
    Py_DECREF(member);
    return offset;
}

static bool holds_int(PyObject *socket, const char *method, long expected)
{
    PyObject *value = PyObject_CallMethod(socket, method, NULL);
    bool same = value != NULL && PyLong_Check(value) && PyLong_AsLong(value) == expected;
    PyErr_Clear();
    Py_XDECREF(value);
    return same;
}

static bool holds_slot(PyObject *socket, const char *name, Py_ssize_t offset)
{
    PyObject *value = offset < 0 ? NULL : PyObject_GetAttrString(socket, name);
    bool same = value != NULL && *(PyObject **)((char *)socket + offset) == value;
    PyErr_Clear();
    Py_XDECREF(value);
    return same;
}

/* Whether a live socket shows in its prefix what its methods say. */
static bool prefix_holds(PyObject *socket)
{
    const ipcx_py_prefix *prefix = ipcx_py_prefix_of(socket);
    PyObject *result;
    if (!holds_int(socket, "fileno", prefix->fd) || prefix->family != AF_UNIX ||
        prefix->type != SOCK_DGRAM || prefix->proto != 0 || prefix->errorhandler == NULL ||
        prefix->timeout >= 0) {
        return false;
    }
    result = PyObject_CallMethod(socket, "settimeout", "d", PROBE_TIMEOUT);
    Py_XDECREF(result);
    if (result == NULL || prefix->timeout != PROBE_TIMEOUT_NS) {
        PyErr_Clear();
        return false;
    }
    return holds_slot(socket, "_io_refs", ipcx_py_layout.io_refs) &&
           holds_slot(socket, "_closed", ipcx_py_layout.closed);
}

static bool closed_shows(PyObject *socket)
{
    PyObject *result = PyObject_CallMethod(socket, "close", NULL);
    bool shown = result != NULL && ipcx_py_prefix_of(socket)->fd == -1;
    PyErr_Clear();
    Py_XDECREF(result);
    return shown;
}

static bool size_is_known(PyTypeObject *os_type)
{
    Py_ssize_t rest = os_type->tp_basicsize - (Py_ssize_t)sizeof(ipcx_py_prefix);
    return rest == 0 || rest == (Py_ssize_t)sizeof(void *);
}

int ipcx_py_prefix_learn(ipcx_py_state *state)
{
    PyTypeObject *os_type = (PyTypeObject *)state->os_type;
    const char *wish = getenv("IPCX_SOCKET_PREFIX");
    PyObject *socket;
    bool trusted;

    ipcx_py_layout.own = ((PyTypeObject *)state->base_type)->tp_basicsize;
    ipcx_py_layout.io_refs = slot_offset(state->base_type, "_io_refs");
    ipcx_py_layout.closed = slot_offset(state->base_type, "_closed");
    if ((wish != NULL && strcmp(wish, "0") == 0) || !size_is_known(os_type)) {
        return 0;
    }
    socket = PyObject_CallFunction(state->base_type, "ii", AF_UNIX, SOCK_DGRAM);
    if (socket == NULL) {
        PyErr_Clear(); /* A sandbox without sockets: whatever is asked later says so. */
        return 0;
    }
    trusted = prefix_holds(socket);
    if (trusted) {
        state->template.size = (size_t)os_type->tp_basicsize - offsetof(ipcx_py_prefix, fd);
        memcpy(state->template.bytes, (char *)socket + offsetof(ipcx_py_prefix, fd),
               state->template.size);
    }
    trusted = closed_shows(socket) && trusted;
    Py_DECREF(socket);
    ipcx_py_layout.trusted = trusted;
    return 0;
}

void ipcx_py_prefix_fresh(ipcx_py_state *state, PyObject *self, int fd, int family, int type,
                          int proto)
{
    ipcx_py_prefix *prefix = ipcx_py_prefix_of(self);
    memcpy((char *)self + offsetof(ipcx_py_prefix, fd), state->template.bytes,
           state->template.size);
    prefix->fd = fd;
    prefix->family = family;
    prefix->type = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
    prefix->proto = proto;
    prefix->timeout = (type & SOCK_NONBLOCK) ? 0 : -1000000000; /* As the base has it: -1 s. */
}
