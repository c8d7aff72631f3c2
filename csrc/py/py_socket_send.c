/* SPDX-License-Identifier: Apache-2.0
 * send, sendall, sendto.
 * Invariant: the buffer is pinned until the last byte of it has been handed to the kernel. */
#include "py/py_socket.h"

#include <errno.h>

typedef struct send_arg {
    const char *data;
    size_t size;
    int flags;
    const ipcx_addr *addr; /* or NULL */
    size_t sent;
    Py_buffer view; /* pinned while view.obj is not NULL */
} send_arg;

/* bytes need no buffer: the caller's reference keeps them and they never change. */
static bool pin(send_arg *arg, PyObject *data)
{
    arg->view.obj = NULL;
    if (PyBytes_CheckExact(data)) {
        arg->data = PyBytes_AS_STRING(data);
        arg->size = (size_t)PyBytes_GET_SIZE(data);
        return true;
    }
    if (!ipcx_py_to_buffer(data, &arg->view, PyBUF_SIMPLE)) {
        return false;
    }
    arg->data = arg->view.buf;
    arg->size = (size_t)arg->view.len;
    return true;
}

static void unpin(send_arg *arg)
{
    if (arg->view.obj != NULL) {
        PyBuffer_Release(&arg->view);
    }
}

static ipcx_status send_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    send_arg *arg = opaque;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)arg->data, .iov_len = arg->size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (arg->addr != NULL) {
        msg.msg_name = (void *)(uintptr_t)&arg->addr->u;
        msg.msg_namelen = arg->addr->len;
    }
    return ipcx__io_sendmsg(io, &msg, arg->flags, &arg->sent, err);
}

static ssize_t send_without_waiting(int fd, const send_arg *arg)
{
    int flags = arg->flags | MSG_DONTWAIT;
    return arg->addr == NULL
               ? send(fd, arg->data, arg->size, flags)
               : sendto(fd, arg->data, arg->size, flags, &arg->addr->u.sa, arg->addr->len);
}

/* One try that cannot wait: 1 done, 0 to be waited for, -1 with an exception.
 * A part of a stream's bytes is not "done" for a blocking socket, which takes all of them. */
static int send_try(const ipcx_py_call *call, send_arg *arg)
{
    ssize_t n;
    if (arg->size > IPCX_PY_TRY_MAX) {
        return 0;
    }
    IPCX_PY_WAKING(n = send_without_waiting(call->fd, arg));
    if (n >= 0) {
        arg->sent = (size_t)n;
        return (size_t)n == arg->size || call->timeout >= 0 || (arg->flags & MSG_DONTWAIT) ? 1 : 0;
    }
    if (ipcx_py_may_wait(call, errno, arg->flags)) {
        return 0;
    }
    ipcx_py_errno(errno);
    return -1;
}

static bool send_now_or_wait(ipcx_py_call *call, send_arg *arg)
{
    ipcx_status answer;
    size_t before;
    int tried = send_try(call, arg);
    if (tried != 0) {
        return tried > 0;
    }
    before = arg->sent;
    arg->data += before;
    arg->size -= before;
    arg->sent = 0;
    if (ipcx_py_run(call, send_step, arg, &answer)) {
        arg->sent += before;
        return true;
    }
    if (before > 0 && PyErr_ExceptionMatches(PyExc_OSError)) {
        /* What the kernel took before counts; the error comes with the next call: send(2). */
        PyErr_Clear();
        arg->sent = before;
        return true;
    }
    return false;
}

static PyObject *finish(ipcx_py_call *call, PyObject *result, PyObject *detail, const send_arg *arg,
                        PyObject *const *args, Py_ssize_t nargs)
{
    if (ipcx_py_traced(call) && arg != NULL) {
        call->seen.what = args[0];
        call->seen.moved = arg->sent;
        call->seen.flags = arg->flags;
    }
    if (IPCX_UNLIKELY(result == NULL)) {
        Py_XDECREF(detail);
        return ipcx_py_failed(call, args, nargs);
    }
    return detail == NULL ? result : ipcx_py_done_traced(call, result, detail);
}

PyObject *ipcx_py_socket_send(IPCX_PY_ARGS)
{
    send_arg arg = {0};
    ipcx_py_call call;
    PyObject *result;
    if (kwnames != NULL || nargs < 1 || nargs > 2 ||
        (nargs > 1 && !ipcx_py_to_int(args[1], &arg.flags)) || !pin(&arg, args[0])) {
        return ipcx_py_delegate(self, IPCX_PY_send, args, nargs, kwnames);
    }
    result = ipcx_py_begin(&call, self, "send") && send_now_or_wait(&call, &arg)
                 ? PyLong_FromSize_t(arg.sent)
                 : NULL;
    unpin(&arg);
    return finish(&call, result, ipcx_py_traced(&call) ? Py_XNewRef(result) : NULL, &arg, args,
                  nargs);
}

static ipcx_status send_all_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    send_arg *arg = opaque;
    return ipcx__io_send_all(io, arg->data, arg->size, arg->flags, &arg->sent, err);
}

static bool send_all(ipcx_py_call *call, send_arg *arg)
{
    ipcx_status answer;
    if ((arg->flags & MSG_DONTWAIT) && call->timeout < 0) {
        call->timeout = 0; /* It shall not wait; the error is EAGAIN. */
    }
    if (arg->size <= IPCX_PY_TRY_MAX) {
        ssize_t n;
        IPCX_PY_WAKING(n = send_without_waiting(call->fd, arg));
        if (n >= 0 && (size_t)n == arg->size) {
            arg->sent = arg->size;
            return PyErr_CheckSignals() == 0;
        }
        if (n >= 0) {
            arg->sent = (size_t)n;
        } else if (!ipcx_py_may_wait(call, errno, 0)) {
            ipcx_py_errno(errno);
            return false;
        }
    }
    return ipcx_py_run(call, send_all_step, arg, &answer);
}

PyObject *ipcx_py_socket_sendall(IPCX_PY_ARGS)
{
    send_arg arg = {0};
    ipcx_py_call call;
    PyObject *result;
    if (kwnames != NULL || nargs < 1 || nargs > 2 ||
        (nargs > 1 && !ipcx_py_to_int(args[1], &arg.flags)) || !pin(&arg, args[0])) {
        return ipcx_py_delegate(self, IPCX_PY_sendall, args, nargs, kwnames);
    }
    result =
        ipcx_py_begin(&call, self, "sendall") && send_all(&call, &arg) ? Py_NewRef(Py_None) : NULL;
    unpin(&arg);
    return finish(&call, result, ipcx_py_traced(&call) ? PyLong_FromSize_t(arg.sent) : NULL, &arg,
                  args, nargs);
}

/* (data[, flags], address) */
PyObject *ipcx_py_socket_sendto(IPCX_PY_ARGS)
{
    send_arg arg = {0};
    ipcx_addr addr;
    ipcx_py_call call;
    PyObject *result = NULL, *detail = NULL;
    int made;

    if (!ipcx_py_begin(&call, self, "sendto")) {
        return NULL;
    }
    if (kwnames != NULL || nargs < 2 || nargs > 3 || !ipcx_py_family_is_ours(call.family) ||
        (nargs > 2 && !ipcx_py_to_int(args[1], &arg.flags)) || !pin(&arg, args[0])) {
        return ipcx_py_delegate(self, IPCX_PY_sendto, args, nargs, kwnames);
    }
    made = ipcx_py_to_addr(&call, args[nargs - 1], &addr);
    if (made == 0) {
        unpin(&arg);
        return ipcx_py_delegate(self, IPCX_PY_sendto, args, nargs, kwnames);
    }
    arg.addr = &addr;
    if (made > 0 && PySys_Audit("socket.sendto", "OO", self, args[nargs - 1]) == 0 &&
        send_now_or_wait(&call, &arg)) {
        result = PyLong_FromSize_t(arg.sent);
    }
    unpin(&arg);
    if (result != NULL && ipcx_py_traced(&call)) {
        detail = PyTuple_Pack(2, result, args[nargs - 1]);
    }
    return finish(&call, result, detail, &arg, args, nargs);
}

typedef struct file_arg {
    int from;
    off_t offset;
    size_t count;
    size_t sent;
} file_arg;

static ipcx_status sendfile_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    file_arg *arg = opaque;
    return ipcx__io_sendfile(io, arg->from, &arg->offset, arg->count, &arg->sent, err);
}

PyObject *ipcx_py_socket_sendfile_step(IPCX_PY_ARGS)
{
    static const char *const names[] = {"fd", "offset", "count", NULL};
    PyObject *values[3];
    file_arg arg = {0};
    ipcx_py_call call;
    ipcx_status answer;
    Py_ssize_t offset, count;
    if (!ipcx_py_named(values, names, 3, "_sendfile_step", args, nargs, kwnames) ||
        !ipcx_py_begin(&call, self, "sendfile")) {
        return NULL;
    }
    if (!ipcx_py_to_int(values[0], &arg.from) || !ipcx_py_to_size(values[1], &offset) ||
        !ipcx_py_to_size(values[2], &count) || count < 0) {
        PyErr_SetString(PyExc_TypeError, "_sendfile_step() takes three integers");
        return NULL;
    }
    arg.offset = offset;
    arg.count = (size_t)count;
    if (!ipcx_py_run(&call, sendfile_step, &arg, &answer)) {
        return ipcx_py_failed(&call, args, nargs);
    }
    return finish(&call, PyLong_FromSize_t(arg.sent),
                  ipcx_py_traced(&call) ? PyLong_FromSize_t(arg.sent) : NULL, NULL, args, nargs);
}
