/* SPDX-License-Identifier: Apache-2.0
 * ipcx.socket.socket: a subclass of the stdlib's socket.socket. (Skeleton: no verb is ours yet.) */
#include "state.h"

#include <stddef.h>

static PyType_Slot socket_slots[] = {
    {0, NULL},
};

int ipcx_py_socket_init(PyObject *module, ipcx_py_state *state)
{
    PyType_Spec spec = {
        .name = "ipcx.socket.socket",
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = socket_slots,
    };
    state->stdlib_socket = PyImport_ImportModule("socket");
    if (state->stdlib_socket == NULL) {
        return -1;
    }
    state->base_type =
        (PyTypeObject *)PyObject_GetAttrString(state->stdlib_socket, "socket");
    if (state->base_type == NULL) {
        return -1;
    }
    spec.basicsize = (int)state->base_type->tp_basicsize;
    state->socket_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec,
                                                                  (PyObject *)state->base_type);
    if (state->socket_type == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "socket", (PyObject *)state->socket_type);
}
