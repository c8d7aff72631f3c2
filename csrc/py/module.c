/* SPDX-License-Identifier: Apache-2.0
 * `ipcx._core`: the one extension module, multi-phase initialised.
 * Invariant: each py_<module>.c adds its own names; this file only calls them in order. */
#include "py/py_record.h"

PyObject *ipcx_py_make_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, base);
    if (type != NULL && PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

int ipcx_py_add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = ipcx_py_make_type(module, spec, NULL);
    Py_XDECREF(type);
    return type != NULL ? 0 : -1;
}

static int core_exec(PyObject *module)
{
    ipcx_py_state *state = PyModule_GetState(module);
    ipcx_py_look_again(state);
    if (ipcx_py_status_init(module, state) < 0 || ipcx_py_tape_init(module, state) < 0 ||
        ipcx_py_record_init(module, state) < 0 || ipcx_py_socket_init(module, state) < 0 ||
        ipcx_py_frame_init(module, state) < 0 || ipcx_py_signals_init(module, state) < 0 ||
        ipcx_py_files_init(module, state) < 0 || ipcx_py_chan_init(module, state) < 0 ||
        ipcx_py_spawn_init(module) < 0 || ipcx_py_pipe_init(module) < 0 ||
        ipcx_py_server_init(module, state) < 0 || ipcx_py_mmap_init(module, state) < 0 ||
        ipcx_py_sync_module_init(module, state) < 0) {
        if (!PyErr_Occurred()) {
            (void)PyErr_NoMemory(); /* PyImport_ImportModule of 3.11 may forget to say so. */
        }
        return -1;
    }
    return 0;
}

static int core_traverse(PyObject *module, visitproc visit, void *arg)
{
    ipcx_py_state *state = PyModule_GetState(module);
#define VISIT(name) Py_VISIT(state->name);
    IPCX_PY_STATE_OBJECTS(VISIT)
#undef VISIT
    for (int verb = 0; verb < IPCX_PY_VERB_COUNT; verb++) {
        Py_VISIT(state->base_verbs[verb]);
    }
    return 0;
}

static int core_clear(PyObject *module)
{
    ipcx_py_state *state = PyModule_GetState(module);
#define CLEAR(name) Py_CLEAR(state->name);
    IPCX_PY_STATE_OBJECTS(CLEAR)
#undef CLEAR
    for (int verb = 0; verb < IPCX_PY_VERB_COUNT; verb++) {
        Py_CLEAR(state->base_verbs[verb]);
    }
    return 0;
}

static void core_free(void *module)
{
    ipcx_py_state *state = PyModule_GetState(module);
    (void)core_clear((PyObject *)module);
    if (state != NULL) {
        ipcx_py_unfollow(state);
        ipcx_py_look_again(state);
        ipcx_py_record_forget(state);
    }
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef ipcx_py_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ipcx._core",
    .m_doc = "The C core of ipcx. Import ipcx and its modules instead of this one.",
    .m_size = sizeof(ipcx_py_state),
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&ipcx_py_module);
}
