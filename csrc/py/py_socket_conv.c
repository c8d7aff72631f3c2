/* SPDX-License-Identifier: Apache-2.0
 * Between Python's values and the kernel's: sizes, flags, buffers, addresses.
 * Invariant: what is refused here leaves no exception behind; the base class says what is wrong. */
#include "py/py_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

bool ipcx_py_to_size(PyObject *value, Py_ssize_t *out)
{
    Py_ssize_t size;
    if (!PyIndex_Check(value)) {
        return false;
    }
    size = PyNumber_AsSsize_t(value, PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    *out = size;
    return true;
}

bool ipcx_py_to_int(PyObject *value, int *out)
{
    Py_ssize_t size;
    if (!ipcx_py_to_size(value, &size) || size < INT_MIN || size > INT_MAX) {
        return false;
    }
    *out = (int)size;
    return true;
}

bool ipcx_py_to_buffer(PyObject *value, Py_buffer *out, int flags)
{
    if (PyUnicode_Check(value) || PyObject_GetBuffer(value, out, flags) < 0) {
        PyErr_Clear();
        return false;
    }
    if (!PyBuffer_IsContiguous(out, 'C')) {
        PyBuffer_Release(out);
        return false;
    }
    return true;
}

bool ipcx_py_named(PyObject **values, const char *const *names, Py_ssize_t required,
                   const char *method, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames), most = 0;
    while (names[most] != NULL) {
        values[most++] = NULL;
    }
    if (nargs > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)", method, most,
                     nargs + named);
        return false;
    }
    for (Py_ssize_t i = 0; i < nargs; i++) {
        values[i] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        Py_ssize_t at = 0;
        while (at < most && PyUnicode_CompareWithASCIIString(name, names[at]) != 0) {
            at++;
        }
        if (at == most || values[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", method,
                         at == most ? "an unexpected keyword" : "multiple values for", name);
            return false;
        }
        values[at] = args[nargs + i];
    }
    for (Py_ssize_t i = 0; i < required; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s' (pos %zd)", method,
                         names[i], i + 1);
            return false;
        }
    }
    return true;
}

/* The host as the resolver takes it; `owner` is to be released. NULL: not ours to judge. */
static const char *host_text(PyObject *host, PyObject **owner)
{
    const char *text;
    Py_ssize_t size;
    if (PyUnicode_Check(host)) {
        if (PyUnicode_IS_COMPACT_ASCII(host)) {
            *owner = Py_NewRef(host);
            text = PyUnicode_AsUTF8AndSize(host, &size);
        } else {
            *owner = PyUnicode_AsEncodedString(host, "idna", NULL);
            if (*owner == NULL) {
                PyErr_Clear();
                return NULL;
            }
            text = PyBytes_AS_STRING(*owner);
            size = PyBytes_GET_SIZE(*owner);
        }
    } else if (PyBytes_Check(host)) {
        *owner = Py_NewRef(host);
        text = PyBytes_AS_STRING(host);
        size = PyBytes_GET_SIZE(host);
    } else if (PyByteArray_Check(host)) {
        *owner = PyBytes_FromObject(host);
        if (*owner == NULL) {
            PyErr_Clear();
            return NULL;
        }
        text = PyBytes_AS_STRING(*owner);
        size = PyBytes_GET_SIZE(*owner);
    } else {
        return NULL;
    }
    return text != NULL && strlen(text) == (size_t)size ? text : NULL;
}

static int raise_gaierror(const ipcx_py_call *call, int code, int sys_errno)
{
    PyObject *args;
    if (code == EAI_SYSTEM || code == 0) {
        ipcx_py_errno(sys_errno);
        return -1;
    }
    args = Py_BuildValue("(is)", code, gai_strerror(code));
    if (args != NULL) {
        PyErr_SetObject(call->state->gaierror, args);
        Py_DECREF(args);
    }
    return -1;
}

/* The order and the special words are those of the stdlib's resolver: "" is every address of this
 * machine, "<broadcast>" the broadcast address, numbers are never looked up. */
static int resolve(const ipcx_py_call *call, const char *host, int port, ipcx_addr *out)
{
    ipcx_error error = {0};
    ipcx_status status;
    int code = 0;
    if (call->family == AF_INET) {
        struct sockaddr_in *in = &out->u.in;
        memset(in, 0, sizeof *in);
        if (inet_pton(AF_INET, host, &in->sin_addr) > 0) {
            in->sin_family = AF_INET;
            in->sin_port = htons((uint16_t)port);
            out->len = sizeof *in;
            return 1;
        }
    }
    if (strcmp(host, "<broadcast>") == 0 || strcmp(host, "255.255.255.255") == 0) {
        if (call->family != AF_INET) {
            return 0;
        }
        host = "255.255.255.255";
    }
    IPCX_PY_WITHOUT_GIL(status = ipcx_addr_resolve(out, call->family, host, port, &code, &error));
    if (status == IPCX_OK) {
        return 1;
    }
    if (status == IPCX_INVALID) {
        return 0;
    }
    if (status == IPCX_NOMEM) {
        code = EAI_MEMORY;
    }
    return raise_gaierror(call, code, error.sys_errno);
}

static int ip_addr(const ipcx_py_call *call, PyObject *value, ipcx_addr *out)
{
    PyObject *owner = NULL;
    Py_ssize_t size = PyTuple_Check(value) ? PyTuple_GET_SIZE(value) : 0;
    bool six = call->family == AF_INET6;
    int port, flow = 0, scope = 0, made = 0;
    const char *host;

    if (size < 2 || size > (six ? 4 : 2) || !ipcx_py_to_int(PyTuple_GET_ITEM(value, 1), &port) ||
        port < 0 || port > 0xffff ||
        (size > 2 &&
         (!ipcx_py_to_int(PyTuple_GET_ITEM(value, 2), &flow) || flow < 0 || flow > 0xfffff)) ||
        (size > 3 && (!ipcx_py_to_int(PyTuple_GET_ITEM(value, 3), &scope) || scope < 0))) {
        return 0;
    }
    host = host_text(PyTuple_GET_ITEM(value, 0), &owner);
    if (host != NULL) {
        made = resolve(call, host, port, out);
    }
    Py_XDECREF(owner);
    if (made == 1 && six) {
        out->u.in6.sin6_flowinfo = htonl((uint32_t)flow);
        out->u.in6.sin6_scope_id = (uint32_t)scope;
    }
    return made;
}

static int unix_addr(PyObject *value, ipcx_addr *out)
{
    PyObject *owner = NULL;
    Py_buffer path;
    size_t size, room = sizeof out->u.un.sun_path;
    bool fits, abstract;
    if (PyUnicode_Check(value)) {
        value = owner = PyUnicode_EncodeFSDefault(value);
        if (owner == NULL) {
            PyErr_Clear();
            return 0;
        }
    }
    if (!ipcx_py_to_buffer(value, &path, PyBUF_SIMPLE)) {
        Py_XDECREF(owner);
        return 0;
    }
    size = (size_t)path.len;
    abstract = size == 0 || *(const char *)path.buf == 0;
    fits = abstract ? size <= room : size < room;
    if (fits) {
        out->u.un.sun_family = AF_UNIX;
        memcpy(out->u.un.sun_path, path.buf, size);
        if (!abstract) {
            out->u.un.sun_path[size++] = 0;
        }
        out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    }
    PyBuffer_Release(&path);
    Py_XDECREF(owner);
    return fits;
}

int ipcx_py_to_addr(const ipcx_py_call *call, PyObject *value, ipcx_addr *out)
{
    switch (call->family) {
    case AF_INET:
    case AF_INET6:
        return ip_addr(call, value, out);
    case AF_UNIX:
        return unix_addr(value, out);
    default:
        return 0;
    }
}

PyObject *ipcx_py_from_addr(ipcx_addr *addr)
{
    char text[INET6_ADDRSTRLEN];
    if (addr->len == 0) {
        Py_RETURN_NONE;
    }
    switch (addr->u.sa.sa_family) {
    case AF_INET:
        if (inet_ntop(AF_INET, &addr->u.in.sin_addr, text, sizeof text) == NULL) {
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        return Py_BuildValue("si", text, ntohs(addr->u.in.sin_port));
    case AF_INET6:
        if (inet_ntop(AF_INET6, &addr->u.in6.sin6_addr, text, sizeof text) == NULL) {
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        return Py_BuildValue("siII", text, ntohs(addr->u.in6.sin6_port),
                             ntohl(addr->u.in6.sin6_flowinfo), addr->u.in6.sin6_scope_id);
    case AF_UNIX: {
        const char *path = addr->u.un.sun_path;
        size_t size = addr->len - offsetof(struct sockaddr_un, sun_path);
        if (size > 0 && addr->len <= sizeof addr->u && path[0] == 0) {
            return PyBytes_FromStringAndSize(path, (Py_ssize_t)size);
        }
        if (addr->len < sizeof addr->u) {
            ((char *)&addr->u)[addr->len] = 0;
        }
        return PyUnicode_DecodeFSDefault(path);
    }
    default:
        return Py_BuildValue("iy#", addr->u.sa.sa_family, addr->u.sa.sa_data,
                             (Py_ssize_t)sizeof addr->u.sa.sa_data);
    }
}
