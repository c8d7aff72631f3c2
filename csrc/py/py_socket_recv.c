/* SPDX-License-Identifier: Apache-2.0
 * recv, recv_into, recvfrom, recvfrom_into.
 * Invariant: the memory received into is pinned by a Py_buffer or is a bytes object nobody else
 * has. */
#include "py/py_socket.h"

#include <errno.h>
#include <string.h>

/* Flags under which a non-blocking try means the same; MSG_WAITALL has its own way (sock_recv.c).
 */
#define TRY_FLAGS (MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_NOSIGNAL)

typedef struct recv_arg {
    char *buffer;
    size_t size;
    int flags;
    ipcx_addr *addr; /* or NULL */
    size_t got;
    PyObject *into; /* what the buffer is of, or NULL */
} recv_arg;

static ipcx_status recv_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    recv_arg *arg = opaque;
    struct iovec iov = {.iov_base = arg->buffer, .iov_len = arg->size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ipcx_status status;
    if (arg->addr != NULL) {
        msg.msg_name = &arg->addr->u;
        msg.msg_namelen = sizeof arg->addr->u;
    }
    status = ipcx__io_recvmsg(io, &msg, arg->flags, &arg->got, err);
    if (arg->addr != NULL) {
        arg->addr->len = status == IPCX_OK ? msg.msg_namelen : 0;
    }
    return status;
}

/* One try that cannot wait, with the GIL held: 1 done, 0 to be waited for, -1 with an exception. */
static int recv_try(const ipcx_py_call *call, recv_arg *arg)
{
    ssize_t n;
    if (arg->size > IPCX_PY_TRY_MAX || (arg->flags & ~TRY_FLAGS)) {
        return 0;
    }
    if (arg->addr == NULL) {
        n = recv(call->fd, arg->buffer, arg->size, arg->flags | MSG_DONTWAIT);
    } else {
        arg->addr->len = sizeof arg->addr->u;
        n = recvfrom(call->fd, arg->buffer, arg->size, arg->flags | MSG_DONTWAIT, &arg->addr->u.sa,
                     &arg->addr->len);
    }
    if (n >= 0) {
        arg->got = (size_t)n;
        return 1;
    }
    if (ipcx_py_may_wait(call, errno, arg->flags)) {
        return 0;
    }
    ipcx_py_errno(errno);
    return -1;
}

/* A receiver that had to wait will have to wait again, as in every request and reply: then the try
 * is left out. A wait shorter than this was none. */
#define WAIT_NS 3000

static bool recv_now_or_wait(ipcx_py_call *call, recv_arg *arg)
{
    ipcx_status answer;
    bool learns = call->timeout < 0 && arg->size <= IPCX_PY_TRY_MAX, received;
    int64_t since;
    if (!learns || !call->own->expect_wait) {
        int tried = recv_try(call, arg);
        if (tried != 0) {
            return tried > 0;
        }
    }
    if (!learns) {
        return ipcx_py_run(call, recv_step, arg, &answer);
    }
    since = ipcx_clock_now();
    received = ipcx_py_run(call, recv_step, arg, &answer);
    call->own->expect_wait = ipcx_clock_now() - since >= WAIT_NS;
    return received;
}

/* MSG_TRUNC answers the size of what there was, which may be more than we had room for. */
static PyObject *bytes_of(const char *data, size_t size, size_t got)
{
    PyObject *bytes = PyBytes_FromStringAndSize(got <= size ? data : NULL, (Py_ssize_t)got);
    if (bytes != NULL && got > size) {
        memcpy(PyBytes_AS_STRING(bytes), data, size);
        memset(PyBytes_AS_STRING(bytes) + size, 0, got - size);
    }
    return bytes;
}

/* What came is the caller's even when there is no memory for it: then it gets the spare object, cut
 * to size without asking the allocator. */
static PyObject *spare_of(ipcx_py_state *state, const char *data, size_t got)
{
    PyObject *bytes = state->spare;
    PyErr_Clear();
    state->spare = NULL;
    memcpy(PyBytes_AS_STRING(bytes), data, got);
    PyBytes_AS_STRING(bytes)[got] = 0;
    Py_SET_SIZE(bytes, (Py_ssize_t)got);
    return bytes;
}

/* Received through the stack, so that the object is as large as what came and no larger. */
static PyObject *recv_small(ipcx_py_call *call, recv_arg *arg)
{
    char small[IPCX_PY_TRY_MAX];
    ipcx_py_state *state = call->state;
    PyObject *bytes;
    if (IPCX_UNLIKELY(state->spare == NULL) &&
        (state->spare = PyBytes_FromStringAndSize(NULL, IPCX_PY_TRY_MAX)) == NULL) {
        return NULL;
    }
    arg->buffer = small;
    if (arg->flags & MSG_TRUNC) {
        memset(small, 0, arg->size);
    }
    if (!recv_now_or_wait(call, arg)) {
        return NULL;
    }
    bytes = bytes_of(small, arg->size, arg->got);
    if (IPCX_UNLIKELY(bytes == NULL) && arg->got <= arg->size && state->spare != NULL) {
        bytes = spare_of(state, small, arg->got);
    }
    return bytes;
}

/* Received into a new bytes object. */
static PyObject *recv_bytes(ipcx_py_call *call, recv_arg *arg)
{
    PyObject *bytes, *cut;
    if (arg->size <= IPCX_PY_TRY_MAX) {
        return recv_small(call, arg);
    }
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)arg->size);
    if (bytes == NULL) {
        return NULL;
    }
    arg->buffer = PyBytes_AS_STRING(bytes);
    if (!recv_now_or_wait(call, arg)) {
        Py_CLEAR(bytes);
    } else if (arg->got > arg->size) {
        cut = bytes_of(arg->buffer, arg->size, arg->got);
        Py_SETREF(bytes, cut);
    } else if (arg->got != arg->size) {
        (void)_PyBytes_Resize(&bytes, (Py_ssize_t)arg->got);
    }
    return bytes;
}

static PyObject *count_and_addr(PyObject *first, ipcx_addr *addr)
{
    PyObject *pair, *from;
    if (first == NULL) {
        return NULL;
    }
    from = ipcx_py_from_addr(addr);
    pair = from == NULL ? NULL : PyTuple_New(2);
    if (pair == NULL) {
        Py_DECREF(first);
        Py_XDECREF(from);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, first);
    PyTuple_SET_ITEM(pair, 1, from);
    return pair;
}

static PyObject *finish(ipcx_py_call *call, PyObject *result, const recv_arg *arg,
                        PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *detail;
    if (ipcx_py_traced(call)) {
        call->seen.what = arg->into != NULL || result == NULL ? arg->into
                          : arg->addr == NULL                 ? result
                                                              : PyTuple_GET_ITEM(result, 0);
        call->seen.flags = arg->flags;
    }
    if (IPCX_UNLIKELY(result == NULL)) {
        return ipcx_py_failed(call, args, nargs);
    }
    if (!ipcx_py_traced(call)) {
        return result;
    }
    detail = arg->addr == NULL
                 ? PyLong_FromSize_t(arg->got)
                 : Py_BuildValue("nO", (Py_ssize_t)arg->got, PyTuple_GET_ITEM(result, 1));
    return ipcx_py_done_traced(call, result, detail);
}

/* (bufsize[, flags]) */
static bool parse_size(recv_arg *arg, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t size;
    if (kwnames != NULL || nargs < 1 || nargs > 2 || !ipcx_py_to_size(args[0], &size) || size < 0 ||
        (nargs > 1 && !ipcx_py_to_int(args[1], &arg->flags))) {
        return false;
    }
    arg->size = (size_t)size;
    return true;
}

PyObject *ipcx_py_socket_recv(IPCX_PY_ARGS)
{
    recv_arg arg = {0};
    ipcx_py_call call;
    PyObject *result;
    if (!parse_size(&arg, args, nargs, kwnames)) {
        return ipcx_py_delegate(self, IPCX_PY_recv, args, nargs, kwnames);
    }
    if (!ipcx_py_begin(&call, self, "recv")) {
        return NULL;
    }
    /* The stdlib asks the kernel nothing when nothing is wanted. */
    result = arg.size == 0 ? PyBytes_FromStringAndSize(NULL, 0) : recv_bytes(&call, &arg);
    return finish(&call, result, &arg, args, nargs);
}

PyObject *ipcx_py_socket_recvfrom(IPCX_PY_ARGS)
{
    ipcx_addr addr;
    recv_arg arg = {.addr = &addr};
    ipcx_py_call call;
    if (!ipcx_py_begin(&call, self, "recvfrom")) {
        return NULL;
    }
    if (!ipcx_py_family_is_ours(call.family) || !parse_size(&arg, args, nargs, kwnames)) {
        return ipcx_py_delegate(self, IPCX_PY_recvfrom, args, nargs, kwnames);
    }
    return finish(&call, count_and_addr(recv_bytes(&call, &arg), &addr), &arg, args, nargs);
}

/* (buffer[, nbytes[, flags]]), by position or by name. On success `view` is to be released. */
static bool parse_into(recv_arg *arg, Py_buffer *view, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    static const char *const names[] = {"buffer", "nbytes", "flags"};
    PyObject *values[3] = {NULL, NULL, NULL};
    Py_ssize_t size = 0, named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (nargs + named > 3) {
        return false;
    }
    for (Py_ssize_t i = 0; i < nargs; i++) {
        values[i] = args[i];
    }
    for (Py_ssize_t i = 0; i < named; i++) {
        int at = 0;
        while (at < 3 &&
               PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, i), names[at]) != 0) {
            at++;
        }
        if (at == 3 || values[at] != NULL) {
            return false;
        }
        values[at] = args[nargs + i];
    }
    if (values[0] == NULL || (values[1] != NULL && !ipcx_py_to_size(values[1], &size)) ||
        (values[2] != NULL && !ipcx_py_to_int(values[2], &arg->flags)) || size < 0 ||
        !ipcx_py_to_buffer(values[0], view, PyBUF_WRITABLE)) {
        return false;
    }
    if (size > view->len) {
        PyBuffer_Release(view);
        return false;
    }
    arg->into = values[0];
    arg->buffer = view->buf;
    arg->size = size == 0 ? (size_t)view->len : (size_t)size;
    return true;
}

PyObject *ipcx_py_socket_recv_into(IPCX_PY_ARGS)
{
    recv_arg arg = {0};
    ipcx_py_call call;
    Py_buffer view;
    bool received;
    if (!parse_into(&arg, &view, args, nargs, kwnames)) {
        return ipcx_py_delegate(self, IPCX_PY_recv_into, args, nargs, kwnames);
    }
    received =
        ipcx_py_begin(&call, self, "recv_into") && (arg.size == 0 || recv_now_or_wait(&call, &arg));
    PyBuffer_Release(&view);
    return finish(&call, received ? PyLong_FromSize_t(arg.got) : NULL, &arg, args, nargs);
}

PyObject *ipcx_py_socket_recvfrom_into(IPCX_PY_ARGS)
{
    ipcx_addr addr;
    recv_arg arg = {.addr = &addr};
    ipcx_py_call call;
    Py_buffer view;
    PyObject *count;
    if (!ipcx_py_begin(&call, self, "recvfrom_into")) {
        return NULL;
    }
    if (!ipcx_py_family_is_ours(call.family) || !parse_into(&arg, &view, args, nargs, kwnames)) {
        return ipcx_py_delegate(self, IPCX_PY_recvfrom_into, args, nargs, kwnames);
    }
    count = recv_now_or_wait(&call, &arg) ? PyLong_FromSize_t(arg.got) : NULL;
    PyBuffer_Release(&view);
    return finish(&call, count_and_addr(count, &addr), &arg, args, nargs);
}
