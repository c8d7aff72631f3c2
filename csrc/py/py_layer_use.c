/* SPDX-License-Identifier: Apache-2.0
 * What the rest of the binding needs of tls://: sources of sessions, causes of exceptions, signal
 * handlers that were put off.
 * Invariant: nothing here runs without the GIL, or within the layer. */
#include "link/chan.h"
#include "py/py_chan_doc.h"
#include "py/py_layer.h"

/* ---- for the rest of the binding */

ipcx_py_layer_source *ipcx_py_layer_source_new(PyObject *make)
{
    ipcx_py_layer_source *made = NULL;
    if (make != Py_None) {
        made = PyMem_Calloc(1, sizeof *made);
        if (made == NULL) {
            (void)PyErr_NoMemory();
        } else {
            made->make = Py_NewRef(make);
        }
    }
    return made;
}

void ipcx_py_layer_source_free(ipcx_py_layer_source *source)
{
    if (source != NULL) {
        Py_DECREF(source->make);
        PyMem_Free(source);
    }
}

/* `cause` is stolen; NULL and None are allowed. */
static void chain(PyObject *cause)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value != NULL && cause != NULL && cause != Py_None) {
        PyException_SetCause(value, Py_NewRef(cause));
    }
    Py_XDECREF(cause);
    PyErr_Restore(type, value, traceback);
}

void ipcx_py_layer_cause_of(PyObject *make)
{
    PyObject *type, *value, *traceback, *cause;
    if (make != Py_None) {
        PyErr_Fetch(&type, &value, &traceback);
        cause = PyObject_GetAttrString(make, "error");
        PyErr_Restore(type, value, traceback);
        chain(cause);
    }
}

void ipcx_py_layer_cause(const ipcx_py_chan *self)
{
    chain(ipcx_py_layer_error(self));
}

void ipcx_py_chan_free(ipcx_chan *core)
{
    PyObject *type, *value, *traceback;
    if (core == NULL || core->transport->scheme != IPCX_SCHEME_TLS) {
        ipcx_chan_free(core);
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    IPCX_PY_WITHOUT_GIL(ipcx_chan_free(core));
    PyErr_Restore(type, value, traceback);
}

int ipcx_py_signals(void)
{
    return Py_MakePendingCalls() < 0 || ipcx_py_layer_do_later() < 0 || PyErr_CheckSignals() < 0
               ? -1
               : 0;
}

/* (judge, SSLError, SSLWantReadError, Session) */
static PyObject *set_tls(PyObject *module, PyObject *args)
{
    ipcx_py_state *state = PyModule_GetState(module);
    PyObject *judge, *error, *want_read, *view;
    if (!PyArg_ParseTuple(args, "OOOO", &judge, &error, &want_read, &view)) {
        return NULL;
    }
    Py_XSETREF(state->tls_judge, Py_NewRef(judge));
    Py_XSETREF(state->tls_session, Py_NewRef(view));
    Py_XSETREF(state->ssl_error, Py_NewRef(error));
    Py_XSETREF(state->ssl_want_read, Py_NewRef(want_read));
    Py_RETURN_NONE;
}

PyMethodDef ipcx_py_layer_functions[] = {
    {"_set_tls", set_tls, METH_VARARGS, DOC_SET_TLS},
    {NULL, NULL, 0, NULL},
};
