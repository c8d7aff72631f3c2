/* SPDX-License-Identifier: Apache-2.0
 * The exceptions of `ipcx`, made from the status table, and that table as Python data.
 * Invariant: no name, text or base class of an exception is spelled here; the one exception that is
 * not in the table is Error, from which all of them derive. */
#include "error.h"

#include <errno.h>
#include <string.h>

#include "ipcx/explain_table.h"

typedef struct status_row {
    int value;
    const char *name;
    const char *exception; /* "" for none */
    const char *bases;     /* "" where `exception` is one of Python's own */
    const char *text;
} status_row;

typedef struct explain_row {
    int value;
    const char *sys_errno; /* "ECONNREFUSED", or "" */
    const char *what;
    const char *causes;
    const char *cure;
    const char *program;
} explain_row;

static const status_row status_rows[] = {
#define ROW(name, value, exception, bases, text) {value, #name, exception, bases, text},
    IPCX_STATUS_TABLE(ROW)
#undef ROW
};

static const explain_row explain_rows[] = {
#define STATUS_ROW(name, what, causes, cure, program)                                              \
    {IPCX_##name, "", what, causes, cure, program},
#define ERRNO_ROW(name, sys_errno, what, causes, cure, program)                                    \
    {IPCX_##name, #sys_errno, what, causes, cure, program},
    IPCX_EXPLAIN_TABLE(STATUS_ROW, ERRNO_ROW)
#undef STATUS_ROW
#undef ERRNO_ROW
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const status_row *status_find(int value)
{
    size_t i;
    for (i = 0; i < COUNT(status_rows); i++) {
        if (status_rows[i].value == value) {
            return &status_rows[i];
        }
    }
    return NULL;
}

/* A new reference to the class called `name`: "io.UnsupportedOperation", an exception of ours that
 * `module` already has, or a built-in. */
static PyObject *class_find(PyObject *module, PyObject *name)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(name);
    Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, n, 1);
    PyObject *owner_name, *owner, *attribute, *found;

    found = PyDict_GetItemWithError(PyModule_GetDict(module), name);
    if (found != NULL || PyErr_Occurred()) {
        return Py_XNewRef(found);
    }
    owner_name = dot < 0 ? PyUnicode_FromString("builtins") : PyUnicode_Substring(name, 0, dot);
    if (owner_name == NULL) {
        return NULL;
    }
    owner = PyImport_Import(owner_name);
    attribute = PyUnicode_Substring(name, dot < 0 ? 0 : dot + 1, n);
    if (owner != NULL && attribute != NULL) {
        found = PyObject_GetAttr(owner, attribute);
    }
    Py_XDECREF(attribute);
    Py_XDECREF(owner);
    Py_DECREF(owner_name);
    return found;
}

/* The parts of `text` between the separators, as a tuple of str; the empty text has none. */
static PyObject *parts(const char *text, const char *separator)
{
    PyObject *all, *by, *list = NULL, *tuple = NULL;
    if (text[0] == '\0') {
        return PyTuple_New(0);
    }
    all = PyUnicode_FromString(text);
    by = PyUnicode_FromString(separator);
    if (all != NULL && by != NULL) {
        list = PyUnicode_Split(all, by, -1);
    }
    if (list != NULL) {
        tuple = PyList_AsTuple(list);
    }
    Py_XDECREF(list);
    Py_XDECREF(by);
    Py_XDECREF(all);
    return tuple;
}

/* The tuple of classes that `names` lists. */
static PyObject *bases_find(PyObject *module, const char *names)
{
    Py_ssize_t i;
    PyObject *bases;
    PyObject *split = parts(names, " ");
    if (split == NULL) {
        return NULL;
    }
    bases = PyTuple_New(PyTuple_GET_SIZE(split));
    for (i = 0; bases != NULL && i < PyTuple_GET_SIZE(split); i++) {
        PyObject *base = class_find(module, PyTuple_GET_ITEM(split, i));
        if (base == NULL) {
            Py_CLEAR(bases);
            break;
        }
        PyTuple_SET_ITEM(bases, i, base);
    }
    Py_DECREF(split);
    return bases;
}

/* Makes `ipcx.<name>` with the bases listed and adds it to the module; a new reference. */
static PyObject *class_make(PyObject *module, const char *name, const char *bases_listed,
                            const char *doc)
{
    char full[64];
    PyObject *made;
    PyObject *bases = bases_find(module, bases_listed);
    if (bases == NULL) {
        return NULL;
    }
    (void)PyOS_snprintf(full, sizeof full, "ipcx.%s", name);
    made = PyErr_NewExceptionWithDoc(full, doc, bases, NULL);
    Py_DECREF(bases);
    if (made != NULL && PyModule_AddObjectRef(module, name, made) < 0) {
        Py_CLEAR(made);
    }
    return made;
}

/* Enters the class of one row into state->exceptions (status → class). */
static int exception_add(PyObject *module, ipcx_py_state *state, const status_row *row)
{
    int result = -1;
    PyObject *type = NULL;
    PyObject *value = PyLong_FromLong(row->value);
    PyObject *name = PyUnicode_FromString(row->exception);
    if (value == NULL || name == NULL) {
        goto done;
    }
    if (row->bases[0] == '\0') {
        type = class_find(module, name);
    } else {
        type = class_make(module, row->exception, row->bases, row->text);
    }
    if (type != NULL) {
        result = PyDict_SetItem(state->exceptions, value, type);
    }
done:
    Py_XDECREF(type);
    Py_XDECREF(name);
    Py_XDECREF(value);
    return result;
}

static PyObject *row_dict(const status_row *status, const explain_row *row)
{
    PyObject *causes = parts(row->causes, "\n");
    PyObject *bases = parts(status->bases, " ");
    PyObject *dict = NULL;
    if (causes != NULL && bases != NULL) {
        dict =
            Py_BuildValue("{s:s,s:i,s:s,s:s,s:O,s:s,s:s,s:O,s:s,s:s}", "name", status->name,
                          "value", status->value, "errno", row->sys_errno, "exception",
                          status->exception, "bases", bases, "text", status->text, "what",
                          row->what, "causes", causes, "cure", row->cure, "program", row->program);
    }
    Py_XDECREF(bases);
    Py_XDECREF(causes);
    return dict;
}

PyDoc_STRVAR(
    status_table_doc,
    "status_table()\n--\n\n"
    "The one table of outcomes, as a new list of dicts, one for each outcome and errno.\n\n"
    "Keys, all str unless said otherwise:\n"
    "  name       the status: 'REFUSED'\n"
    "  value      int: 0 done, > 0 an ordinary answer, < 0 a failure\n"
    "  errno      'ECONNREFUSED', or '' for the outcome as such\n"
    "  exception  'ConnectRefused' (of ipcx), or a built-in one where bases is (), or ''\n"
    "  bases      tuple of str: ('Error', 'ConnectionRefusedError')\n"
    "  text       what happened, in a few words, the same in each row of the status\n"
    "  what       what happened, a sentence\n"
    "  causes     tuple of str: the usual causes, most common first\n"
    "  cure       what to do\n"
    "  program    the smallest program in which it happens, or ''");

static PyObject *status_table(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    size_t i;
    PyObject *list = PyList_New(0);
    for (i = 0; list != NULL && i < COUNT(explain_rows); i++) {
        PyObject *dict = row_dict(status_find(explain_rows[i].value), &explain_rows[i]);
        if (dict == NULL || PyList_Append(list, dict) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(dict);
    }
    return list;
}

static PyMethodDef status_methods[] = {
    {"status_table", status_table, METH_NOARGS, status_table_doc},
    {NULL, NULL, 0, NULL},
};

int ipcx_py_status_init(PyObject *module, ipcx_py_state *state)
{
    size_t i;
    PyObject *error = class_make(module, "Error", "Exception", "What every exception of ipcx is.");
    if (error == NULL) {
        return -1;
    }
    Py_DECREF(error);
    state->exceptions = PyDict_New();
    if (state->exceptions == NULL) {
        return -1;
    }
    for (i = 0; i < COUNT(status_rows); i++) {
        if (status_rows[i].exception[0] != '\0' &&
            exception_add(module, state, &status_rows[i]) < 0) {
            return -1;
        }
    }
    return PyModule_AddFunctions(module, status_methods);
}

/* "<op>: <text>: <detail>", without the parts there are none of. */
static PyObject *message_make(ipcx_status status, const ipcx_error *err)
{
    const char *text = ipcx_status_text(status);
    char buffer[512];
    if (err == NULL || err->op == NULL) {
        return PyUnicode_FromString(text);
    }
    if (status == IPCX_SYSTEM && err->sys_errno != 0) {
        text = strerror(err->sys_errno);
    }
    (void)PyOS_snprintf(buffer, sizeof buffer, "%.60s: %.200s%s%s", err->op, text,
                        err->detail[0] != '\0' ? ": " : "", err->detail);
    /* The detail may quote a path in any bytes, or have been cut in the middle of a character. */
    return PyUnicode_DecodeUTF8(buffer, (Py_ssize_t)strlen(buffer), "backslashreplace");
}

PyObject *ipcx_py_raise(ipcx_py_state *state, ipcx_status status, const ipcx_error *err)
{
    PyObject *type, *message, *args;
    PyObject *key = PyLong_FromLong(status);
    int sys_errno = status == IPCX_AGAIN ? EAGAIN : 0;
    if (key == NULL || (status == IPCX_INTR && PyErr_Occurred())) { /* a signal handler's */
        Py_XDECREF(key);
        return NULL;
    }
    /* Borrowed: the state holds it for as long as the module lives. */
    type = PyDict_GetItemWithError(state->exceptions, key);
    Py_DECREF(key);
    if (type == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_SystemError, "ipcx: status %s is no exception",
                         ipcx_status_name(status));
        }
        return NULL;
    }
    err = status < 0 ? err : NULL;
    if (err != NULL) {
        sys_errno = err->sys_errno;
    }
    message = message_make(status, err);
    if (message == NULL) {
        return NULL;
    }
    if (sys_errno != 0 && PyType_IsSubtype((PyTypeObject *)type, (PyTypeObject *)PyExc_OSError)) {
        args = Py_BuildValue("(iO)", sys_errno, message);
    } else {
        args = PyTuple_Pack(1, message);
    }
    Py_DECREF(message);
    if (args != NULL) {
        PyErr_SetObject(type, args);
        Py_DECREF(args);
    }
    return NULL;
}
