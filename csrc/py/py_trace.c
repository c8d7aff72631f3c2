/* SPDX-License-Identifier: Apache-2.0
 * Telling those who watch, and how they come and go.
 * Invariant: as py_trace.h says. */
#include "py/py_trace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static PyObject *or_none(PyObject *value)
{
    return value != NULL ? value : Py_None;
}

static void tell(PyObject *hook, PyObject *const *args, size_t count)
{
    PyObject *result = PyObject_Vectorcall(hook, args, count, NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable(hook);
    }
    Py_XDECREF(result);
}

/* (op, object, detail, error, begun, what, flags) */
static void tell_record(PyObject *hook, PyObject *const *common, const ipcx_py_seen *seen)
{
    ipcx_py_seen none = {.begun = seen == NULL ? ipcx_clock_now() : 0};
    PyObject *args[7] = {common[0], common[1], common[2], common[3]};
    PyObject *moved = NULL;
    if (seen == NULL) {
        seen = &none;
    }
    if (common[3] != Py_None && seen->moved > 0) {
        args[2] = moved = PyLong_FromSize_t(seen->moved);
    }
    args[4] = PyLong_FromLongLong(seen->begun);
    args[5] = or_none(seen->what);
    args[6] = PyLong_FromLong(seen->flags);
    if (args[2] != NULL && args[4] != NULL && args[6] != NULL) {
        tell(hook, args, 7);
    } else {
        PyErr_WriteUnraisable(hook);
    }
    Py_XDECREF(moved);
    Py_XDECREF(args[4]);
    Py_XDECREF(args[6]);
}

/* `detail` is borrowed; `error` is NULL or the exception that was set. */
static void tell_all(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                     PyObject *error, const ipcx_py_seen *seen, bool trace)
{
    PyObject *common[4] = {PyUnicode_InternFromString(op), or_none(self), or_none(detail),
                           or_none(error)};
    PyObject *hook;
    if (common[0] == NULL) {
        PyErr_WriteUnraisable(NULL);
        return;
    }
    if (trace && (hook = Py_XNewRef(state->trace)) != NULL) {
        tell(hook, common, 4);
        Py_DECREF(hook);
    }
    if ((seen == NULL || seen->begun != 0) && (hook = Py_XNewRef(state->record)) != NULL) {
        tell_record(hook, common, seen);
        Py_DECREF(hook);
    }
    Py_DECREF(common[0]);
}

/* ---- the line of a plain call, without Python: most calls of most programs are such */

#define KEPT 256 /* ipcx.lab.model.DATA_KEPT */

static bool is_plain(const char *op)
{
    static const char *const plain[] = {"send",         "sendall",    "recv",
                                        "recv_exactly", "recv_until", "receive"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (strcmp(op, plain[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The bytes of a message and its size; NULL: not that simple. */
static const char *bytes_of(PyObject *what, PyObject *detail, size_t *kept, long long *moved)
{
    Py_ssize_t size;
    const char *data;
    if (PyBytes_CheckExact(what)) {
        data = PyBytes_AS_STRING(what);
        size = PyBytes_GET_SIZE(what);
    } else if (PyUnicode_CheckExact(what)) {
        data = PyUnicode_AsUTF8AndSize(what, &size);
    } else {
        return NULL;
    }
    *moved = PyLong_AsLongLong(detail);
    if (data == NULL || *moved < 0 || *moved > size || (*moved == 0 && size > 0)) {
        PyErr_Clear();
        return NULL;
    }
    *kept = *moved < KEPT ? (size_t)*moved : KEPT;
    return data;
}

static long long number_of(const ipcx_py_state *state, PyObject *self)
{
    PyObject *key = PyLong_FromVoidPtr(self), *number = NULL;
    if (key != NULL) {
        number = PyDict_GetItemWithError(state->record_numbers, key);
        Py_DECREF(key);
    }
    if (number == NULL || !PyLong_CheckExact(number)) {
        PyErr_Clear();
        return 0;
    }
    return PyLong_AsLongLong(number);
}

/* False: it is for the callback. */
static bool wrote_plain(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                        const ipcx_py_seen *seen)
{
    static const char digits[] = "0123456789abcdef";
    char line[192 + 2 * KEPT];
    size_t kept, at;
    long long moved, number;
    const char *data;
    int head;
    if (state->record_numbers == NULL || state->record_left <= 0 || state->trace != NULL ||
        seen->flags != 0 || seen->what == NULL || !PyLong_CheckExact(detail) || !is_plain(op) ||
        (number = number_of(state, self)) == 0 ||
        (data = bytes_of(seen->what, detail, &kept, &moved)) == NULL) {
        return false;
    }
    head =
        snprintf(line, 192, "{\"t\":%lld,\"b\":%lld,\"op\":\"%s\",\"s\":%lld,\"m\":%lld,\"d\":\"",
                 (long long)ipcx_clock_now(), (long long)seen->begun, op, number, moved);
    at = (size_t)head;
    for (size_t i = 0; i < kept; i++) {
        line[at++] = digits[(unsigned char)data[i] >> 4];
        line[at++] = digits[(unsigned char)data[i] & 15];
    }
    memcpy(line + at, "\"}\n", 3);
    at += 3;
    state->record_left--;
    return write(state->record_fd, line, at) == (ssize_t)at;
}

PyObject *ipcx_py_record_into(PyObject *module, PyObject *args)
{
    ipcx_py_state *state = PyModule_GetState(module);
    PyObject *numbers;
    long left;
    int fd;
    if (!PyArg_ParseTuple(args, "iOl", &fd, &numbers, &left)) {
        return NULL;
    }
    if (numbers != Py_None && !PyDict_Check(numbers)) {
        PyErr_Format(PyExc_TypeError, "a dict or None expected, not %.200s",
                     Py_TYPE(numbers)->tp_name);
        return NULL;
    }
    state->record_fd = fd;
    state->record_left = left;
    Py_XSETREF(state->record_numbers, numbers == Py_None ? NULL : Py_NewRef(numbers));
    Py_RETURN_NONE;
}

static void show(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                 const ipcx_py_seen *seen, bool trace)
{
    PyObject *type = NULL, *error = NULL, *traceback = NULL;
    int saved = errno;
    if (detail != NULL && seen != NULL && seen->begun != 0 &&
        wrote_plain(state, op, self, detail, seen)) {
        Py_DECREF(detail);
        errno = saved;
        return;
    }
    if (detail == NULL) {
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        if (traceback != NULL) {
            (void)PyException_SetTraceback(error, traceback);
        }
    }
    tell_all(state, op, self, detail, error, seen, trace);
    Py_XDECREF(detail);
    if (type != NULL) {
        PyErr_Restore(type, error, traceback);
    }
}

void ipcx_py_show(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                  const ipcx_py_seen *seen)
{
    show(state, op, self, detail, seen, true);
}

void ipcx_py_show_record(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                         const ipcx_py_seen *seen)
{
    show(state, op, self, detail, seen, false);
}

static PyObject *set_hook(ipcx_py_state *state, PyObject **hook, PyObject *value)
{
    PyObject *before;
    if (value != Py_None && !PyCallable_Check(value)) {
        PyErr_Format(PyExc_TypeError, "a callable or None expected, not %.200s",
                     Py_TYPE(value)->tp_name);
        return NULL;
    }
    before = *hook;
    *hook = value == Py_None ? NULL : Py_NewRef(value);
    state->watched = state->trace != NULL || state->record != NULL;
    return before != NULL ? before : Py_NewRef(Py_None);
}

PyObject *ipcx_py_set_trace(PyObject *module, PyObject *callback)
{
    ipcx_py_state *state = PyModule_GetState(module);
    return set_hook(state, &state->trace, callback);
}

PyObject *ipcx_py_set_record(PyObject *module, PyObject *callback)
{
    ipcx_py_state *state = PyModule_GetState(module);
    return set_hook(state, &state->record, callback);
}

PyObject *ipcx_py_set_error_hook(PyObject *module, PyObject *callback)
{
    ipcx_py_state *state = PyModule_GetState(module);
    return set_hook(state, &state->error_hook, callback);
}
