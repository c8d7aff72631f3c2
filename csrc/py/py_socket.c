/* SPDX-License-Identifier: Apache-2.0
 * ipcx.socket.socket: a subclass of the stdlib's socket.socket whose verbs are the core's.
 * Invariant: an instance is at all times a valid instance of the base class, whose methods may be
 * called on it. */
#include "py/py_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/gate.h"
#include "py/py_record.h"
#include "py/py_socket_doc.h"

static PyObject *socket_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *module = PyType_GetModuleByDef(type, &ipcx_py_module), *self;
    ipcx_py_state *state;
    if (module == NULL) {
        return NULL;
    }
    state = PyModule_GetState(module);
    self = ((PyTypeObject *)state->os_type)->tp_new(type, args, kwargs);
    if (self != NULL) {
        ipcx_py_own_of(self)->state = state;
    }
    return self;
}

/* What socket.socket.__init__ adds to the C class below it. */
static void init_slots(ipcx_py_state *state, PyObject *self)
{
    ipcx_gate *gate = &ipcx_py_own_of(self)->gate;
    if (gate->word != 0) {
        ipcx__gate_reopen(gate);
    }
    ipcx_py_slot_set(self, ipcx_py_layout.io_refs, state->zero);
    ipcx_py_slot_set(self, ipcx_py_layout.closed, Py_False);
}

/* A default time-out makes the new socket non-blocking underneath. 0, or -1 with an exception. */
static int apply_default_timeout(ipcx_py_state *state, PyObject *self)
{
    PyObject *timeout = PyObject_CallNoArgs(state->getdefaulttimeout), *result;
    if (timeout == NULL || timeout == Py_None) {
        Py_XDECREF(timeout);
        return timeout == NULL ? -1 : 0;
    }
    result =
        PyObject_CallFunctionObjArgs(state->base_verbs[IPCX_PY_settimeout], self, timeout, NULL);
    Py_DECREF(timeout);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Makes `self` the owner of `fd`; closes it on failure. */
static int take_over(ipcx_py_state *state, PyObject *self, int fd, int family, int type, int proto)
{
    ipcx_py_prefix_fresh(state, self, fd, family, type, proto);
    init_slots(state, self);
    if (!(type & SOCK_NONBLOCK) && apply_default_timeout(state, self) < 0) {
        ipcx_py_prefix_of(self)->fd = -1;
        (void)close(fd);
        return -1;
    }
    return 0;
}

/* The same through the constructor; it is not the program that calls it, so it is not traced. */
static PyObject *around_by_base(ipcx_py_state *state, int fd, int family, int type, int proto)
{
    const _Atomic uint32_t *watched = state->watched;
    PyObject *self;
    state->watched = &state->words[0];
    self = PyObject_CallFunction(state->socket_type, "iiii", family, type, proto, fd);
    state->watched = watched;
    if (self == NULL) {
        (void)close(fd);
    }
    return self;
}

PyObject *ipcx_py_socket_around(ipcx_py_state *state, int fd, int family, int type, int proto)
{
    PyTypeObject *os_type = (PyTypeObject *)state->os_type;
    PyObject *self;
    if (!ipcx_py_layout.trusted) {
        return around_by_base(state, fd, family, type, proto);
    }
    self = os_type->tp_new((PyTypeObject *)state->socket_type, state->no_arguments, NULL);
    if (self == NULL) {
        (void)close(fd);
        return NULL;
    }
    ipcx_py_own_of(self)->state = state;
    if (PySys_Audit("socket.__new__", "Oiii", self, family, type, proto) < 0) {
        (void)close(fd);
        Py_DECREF(self);
        return NULL;
    }
    if (take_over(state, self, fd, family, type, proto) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

/* socket.socket.__init__ as it is. */
static int init_by_base(ipcx_py_state *state, PyObject *self, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    PyObject *all = PyTuple_New(count + 1), *result;
    if (all == NULL) {
        return -1;
    }
    PyTuple_SET_ITEM(all, 0, Py_NewRef(self));
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    }
    result = PyObject_Call(state->base_verbs[IPCX_PY___init__], all, kwargs);
    Py_DECREF(all);
    Py_XDECREF(result);
    if (result != NULL && ipcx_py_own_of(self)->gate.word != 0) {
        ipcx__gate_reopen(&ipcx_py_own_of(self)->gate);
    }
    return result == NULL ? -1 : 0;
}

/* One argument of (family, type, proto, fileno): an integer, or no fileno. */
static bool parse_plain_one(PyObject *value, int at, int values[3])
{
    return at < 3 ? ipcx_py_to_int(value, &values[at]) : value == Py_None;
}

/* (family, type, proto) as plain integers, by position or name: nothing to adopt, nothing odd. */
static bool parse_plain(PyObject *args, PyObject *kwargs, int values[3])
{
    static const char *const names[] = {"family", "type", "proto", "fileno"};
    Py_ssize_t count = PyTuple_GET_SIZE(args), position = 0;
    PyObject *name, *value;
    if (count > 4) {
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!parse_plain_one(PyTuple_GET_ITEM(args, i), (int)i, values)) {
            return false;
        }
    }
    while (kwargs != NULL && PyDict_Next(kwargs, &position, &name, &value)) {
        int at = 0;
        while (at < 4 && PyUnicode_CompareWithASCIIString(name, names[at]) != 0) {
            at++;
        }
        if (at == 4 || at < count || !parse_plain_one(value, at, values)) {
            return false;
        }
    }
    return true;
}

static int init_plain(ipcx_py_state *state, PyObject *self, const int values[3])
{
    int family = values[0] == -1 ? AF_INET : values[0];
    int type = values[1] == -1 ? SOCK_STREAM : values[1];
    int proto = values[2] == -1 ? 0 : values[2];
    int fd;
    if (PySys_Audit("socket.__new__", "Oiii", self, family, type, proto) < 0) {
        return -1;
    }
    fd = socket(family, type | SOCK_CLOEXEC, proto);
    if (fd < 0) {
        ipcx_py_errno(errno);
        return -1;
    }
    return take_over(state, self, fd, family, type, proto);
}

static int init_any(ipcx_py_state *state, PyObject *self, PyObject *args, PyObject *kwargs)
{
    int values[3] = {-1, -1, -1};
    if (!ipcx_py_layout.trusted) {
        return init_by_base(state, self, args, kwargs);
    }
    if (parse_plain(args, kwargs, values)) {
        return init_plain(state, self, values);
    }
    if (((PyTypeObject *)state->os_type)->tp_init(self, args, kwargs) == 0) {
        init_slots(state, self);
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) {
        return -1;
    }
    PyErr_Clear(); /* The class's words, not those of the C class below it. */
    return init_by_base(state, self, args, kwargs);
}

static void say_made(ipcx_py_state *state, PyObject *self)
{
    if (ipcx_py_watched(state)) {
        ipcx_py_show(state, "socket", self, Py_NewRef(Py_None), NULL);
    }
}

static int socket_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    ipcx_py_call call = {.self = self, .state = ipcx_py_own_of(self)->state, .op = "socket"};
    if (init_any(call.state, self, args, kwargs) < 0) {
        (void)ipcx_py_failed(&call, NULL, 0);
        return -1;
    }
    say_made(call.state, self);
    return 0;
}

#define METHOD(name, function, doc)                                                                \
    {name, (PyCFunction)(void (*)(void))ipcx_py_socket_##function, METH_FASTCALL | METH_KEYWORDS,  \
     PyDoc_STR(doc)}

static PyMethodDef socket_methods[] = {
    METHOD("accept", accept, DOC_ACCEPT),
    METHOD("bind", bind, DOC_BIND),
    METHOD("close", close, DOC_CLOSE),
    METHOD("_real_close", real_close, "Close the descriptor itself; for close() and ssl."),
    METHOD("connect", connect, DOC_CONNECT),
    METHOD("connect_ex", connect_ex, DOC_CONNECT_EX),
    METHOD("detach", detach, DOC_DETACH),
    METHOD("listen", listen, DOC_LISTEN),
    METHOD("recv", recv, DOC_RECV),
    METHOD("recv_exactly", recv_exactly, DOC_RECV_EXACTLY),
    METHOD("recv_into", recv_into, DOC_RECV_INTO),
    METHOD("recv_until", recv_until, DOC_RECV_UNTIL),
    METHOD("recvfrom", recvfrom, DOC_RECVFROM),
    METHOD("recvfrom_into", recvfrom_into, DOC_RECVFROM_INTO),
    METHOD("recvmsg", recvmsg, DOC_RECVMSG),
    METHOD("recvmsg_into", recvmsg_into, DOC_RECVMSG_INTO),
    METHOD("send", send, DOC_SEND),
    METHOD("sendall", sendall, DOC_SENDALL),
    METHOD("_sendfile_step", sendfile_step, DOC_SENDFILE_STEP),
    METHOD("sendmsg", sendmsg, DOC_SENDMSG),
    METHOD("sendto", sendto, DOC_SENDTO),
    METHOD("setblocking", setblocking, DOC_SETBLOCKING),
    METHOD("settimeout", settimeout, DOC_SETTIMEOUT),
    METHOD("shutdown", shutdown, DOC_SHUTDOWN),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot socket_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t)DOC_SOCKET},
    {Py_tp_new, socket_new},
    {Py_tp_init, socket_init},
    {Py_tp_methods, socket_methods},
    {0, NULL},
};

/* Closes a socket that nobody has seen, so that it does not warn; the exception that is set stays.
 */
static void close_quietly(PyObject *socket)
{
    PyObject *type, *value, *traceback;
    if (socket == NULL) {
        return;
    }
    PyErr_Fetch(&type, &value, &traceback);
    Py_XDECREF(PyObject_CallMethod(socket, "close", NULL));
    PyErr_Clear();
    PyErr_Restore(type, value, traceback);
}

static PyObject *make_pair(PyObject *module, PyObject *args)
{
    ipcx_py_state *state = PyModule_GetState(module);
    int family, type, proto, fds[2];
    PyObject *one, *other, *pair = NULL;
    if (!PyArg_ParseTuple(args, "iii:socketpair", &family, &type, &proto)) {
        return NULL;
    }
    if (socketpair(family, type | SOCK_CLOEXEC, proto, fds) < 0) {
        ipcx_py_errno(errno);
        return NULL;
    }
    /* Each owns its descriptor or has closed it, so neither leaks when the other cannot be made. */
    one = ipcx_py_socket_around(state, fds[0], family, type, proto);
    if (one == NULL) {
        (void)close(fds[1]);
        return NULL;
    }
    other = ipcx_py_socket_around(state, fds[1], family, type, proto);
    pair = other == NULL ? NULL : PyTuple_Pack(2, one, other);
    if (pair == NULL) {
        close_quietly(one);
        close_quietly(other);
    } else {
        say_made(state, one);
        say_made(state, other);
    }
    Py_DECREF(one);
    Py_XDECREF(other);
    return pair;
}

static PyObject *prefix_trusted(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    (void)module;
    return PyBool_FromLong(ipcx_py_layout.trusted);
}

static PyMethodDef functions[] = {
    {"socketpair", make_pair, METH_VARARGS,
     PyDoc_STR("socketpair(family, type, proto) -> (socket, socket)\n\n"
               "Two connected sockets, by socketpair(2); ipcx.socket.socketpair() is its face.")},
    {"set_trace", ipcx_py_set_trace, METH_O,
     PyDoc_STR(
         "set_trace(callback or None) -> the one before, or None\n\n"
         "callback(op, object, detail, error) after each verb of an ipcx socket or channel\n"
         "in this interpreter: op is the method's name, detail what it moved or whom it met,\n"
         "error the exception or None. What the callback raises is reported and ignored.")},
    {"set_record", ipcx_py_set_record, METH_O,
     PyDoc_STR(
         "set_record(callback or None) -> the one before, or None\n\n"
         "callback(op, object, detail, error, begun, what, flags): as set_trace()'s; with when\n"
         "the call began (ns, CLOCK_MONOTONIC), the object that was sent, received, or received\n"
         "into, and the flags. Of a call that failed, detail is what it moved before.")},
    {"record_into", ipcx_py_record_into, METH_O,
     PyDoc_STR(
         "record_into(tapes)\n\n"
         "Plain calls of what record_known() is told of are appended to these Tapes, without\n"
         "set_record()'s callback. Nothing is known any more.")},
    {"record_known", ipcx_py_record_known, METH_VARARGS,
     PyDoc_STR("record_known(key, number)\n\n"
               "The object with id() key has this number in the tapes; 0: it is for the callback.\n"
               "A pipe's key is odd: (st_ino * 2 + 1) ^ (st_dev << 40).")},
    {"record_follow", ipcx_py_record_follow, METH_VARARGS,
     PyDoc_STR("record_follow(path, callback)\n\n"
               "Maps the file; when a call of this interpreter's finds its first 4 bytes changed,\n"
               "it calls callback().")},
    {"set_error_hook", ipcx_py_set_error_hook, METH_O,
     PyDoc_STR("set_error_hook(callback or None) -> the one before, or None\n\n"
               "callback(exception, op, socket, args) when a verb of an ipcx socket raises an\n"
               "OSError, before the program sees it: the place to add_note() to it.")},
    {"socket_prefix_trusted", prefix_trusted, METH_NOARGS,
     PyDoc_STR("socket_prefix_trusted() -> bool\n\n"
               "Whether descriptor and time-out are read in the base object itself (fast) or\n"
               "through its methods. IPCX_SOCKET_PREFIX=0 in the environment forces the latter.")},
    {NULL, NULL, 0, NULL},
};

static int look_up(ipcx_py_state *state)
{
    static const char *const names[] = {
#define VERB_NAME(name) #name,
        IPCX_PY_VERBS(VERB_NAME)
#undef VERB_NAME
    };
    PyObject *stdlib = PyImport_ImportModule("socket");
    if (stdlib == NULL) {
        return -1;
    }
    state->base_type = PyObject_GetAttrString(stdlib, "socket");
    state->gaierror = PyObject_GetAttrString(stdlib, "gaierror");
    state->getdefaulttimeout = PyObject_GetAttrString(stdlib, "getdefaulttimeout");
    Py_DECREF(stdlib);
    state->zero = PyLong_FromLong(0);
    state->no_arguments = PyTuple_New(0);
    if (state->base_type == NULL || state->gaierror == NULL || state->getdefaulttimeout == NULL ||
        state->zero == NULL || state->no_arguments == NULL) {
        return -1;
    }
    state->os_type = Py_NewRef((PyObject *)((PyTypeObject *)state->base_type)->tp_base);
    for (int verb = 0; verb < IPCX_PY_VERB_COUNT; verb++) {
        state->base_verbs[verb] = PyObject_GetAttrString(state->base_type, names[verb]);
        if (state->base_verbs[verb] == NULL) {
            return -1;
        }
    }
    return 0;
}

int ipcx_py_socket_init(PyObject *module, ipcx_py_state *state)
{
    PyType_Spec spec = {
        .name = "ipcx.socket.socket",
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = socket_slots,
    };
    if (look_up(state) < 0 || ipcx_py_prefix_learn(state) < 0) {
        return -1;
    }
    spec.basicsize = (int)(ipcx_py_layout.own + (Py_ssize_t)sizeof(ipcx_py_own));
    state->socket_type = PyType_FromModuleAndSpec(module, &spec, state->base_type);
    if (state->socket_type == NULL || PyModule_AddFunctions(module, functions) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "socket", state->socket_type);
}
