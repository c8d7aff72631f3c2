/* SPDX-License-Identifier: Apache-2.0
 * Telling those who watch, and how they come and go.
 * Invariant: as py_trace.h says. */
#include "py/py_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "py/py_record.h"

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

/* Somebody else has begun or ended a record, and the callback shall see to it. */
static void follow(ipcx_py_state *state)
{
    uint32_t word = atomic_load_explicit(state->control, memory_order_acquire);
    PyObject *type, *error, *traceback, *result;
    if (word == state->control_seen || state->follow == NULL) {
        return;
    }
    PyErr_Fetch(&type, &error, &traceback);
    result = PyObject_CallNoArgs(state->follow);
    state->control_seen = word; /* now: until then other threads shall wait in there, too */
    if (result == NULL) {
        PyErr_WriteUnraisable(state->follow);
    }
    Py_XDECREF(result);
    PyErr_Restore(type, error, traceback);
}

int64_t ipcx_py_see_slowly(ipcx_py_state *state)
{
    if (state->control != NULL) {
        follow(state);
    }
    return state->record != NULL ? ipcx_clock_now() : 0;
}

/* The callbacks are told. */
static void show_slowly(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                        const ipcx_py_seen *seen, bool trace)
{
    PyObject *type = NULL, *error = NULL, *traceback = NULL;
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

static inline void show(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                        const ipcx_py_seen *seen, bool trace)
{
    ipcx_py_seen late;
    int saved = errno;
    if (state->control != NULL) {
        follow(state);
    }
    if (IPCX_UNLIKELY(seen != NULL && seen->begun == 0 && state->record != NULL)) {
        late = *seen; /* who records came while it waited */
        late.begun = -1;
        seen = &late;
    }
    if (IPCX_LIKELY(seen != NULL && seen->begun != 0 && (!trace || state->trace == NULL))) {
        bool kept = ipcx_py_record_plain(state, op, self, detail, seen);
        errno = saved;
        if (IPCX_LIKELY(kept)) {
            Py_XDECREF(detail);
            return;
        }
    }
    show_slowly(state, op, self, detail, seen, trace);
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

void ipcx_py_look_again(ipcx_py_state *state)
{
    bool hooks = state->trace != NULL || state->record != NULL;
    state->words[1] = 1;
    state->watched = hooks                    ? &state->words[1]
                     : state->control != NULL ? state->control
                                              : &state->words[0];
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
    ipcx_py_look_again(state);
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

/* ---- who is told from outside when to record */

#define WORD_SIZE 4096

void ipcx_py_unfollow(ipcx_py_state *state)
{
    if (state->control != NULL) {
        (void)munmap((void *)(uintptr_t)state->control, WORD_SIZE);
        state->control = NULL;
    }
}

PyObject *ipcx_py_record_follow(PyObject *module, PyObject *args)
{
    ipcx_py_state *state = PyModule_GetState(module);
    PyObject *path, *callback;
    void *made = MAP_FAILED;
    int fd;
    if (!PyArg_ParseTuple(args, "O&O", PyUnicode_FSConverter, &path, &callback)) {
        return NULL;
    }
    fd = open(PyBytes_AS_STRING(path), O_RDONLY | O_CLOEXEC);
    Py_DECREF(path);
    if (fd >= 0) {
        made = mmap(NULL, WORD_SIZE, PROT_READ, MAP_SHARED, fd, 0);
        (void)close(fd);
    }
    if (made == MAP_FAILED) {
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, PyTuple_GET_ITEM(args, 0));
    }
    ipcx_py_unfollow(state);
    state->control = made;
    state->control_seen = 0;
    Py_XSETREF(state->follow, Py_NewRef(callback));
    ipcx_py_look_again(state);
    Py_RETURN_NONE;
}
