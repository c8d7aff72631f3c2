/* SPDX-License-Identifier: Apache-2.0
 * recvmsg, recvmsg_into, sendmsg: several buffers, ancillary data, an address.
 * Invariant: descriptors that came with a message are in the result or are closed again. */
#include "py/py_socket.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* More buffers than this go to the base, whose error is EMSGSIZE: IOV_MAX of readv(2). */
#define PARTS_MAX IOV_MAX
/* So many without an allocation. */
#define PARTS_SMALL 16

typedef struct parts {
    struct iovec *iov;
    Py_buffer *views;
    Py_ssize_t count;
    size_t total;
    struct iovec small_iov[PARTS_SMALL];
    Py_buffer small_views[PARTS_SMALL];
} parts;

static void parts_release(parts *p)
{
    while (p->count > 0) {
        PyBuffer_Release(&p->views[--p->count]);
    }
    if (p->iov != p->small_iov) {
        PyMem_Free(p->iov);
        PyMem_Free(p->views);
    }
}

/* Pins each buffer of `list`. False: not well-formed, nothing pinned. */
static bool parts_pin(parts *p, PyObject *list, int flags)
{
    Py_ssize_t size = PySequence_Fast_GET_SIZE(list);
    p->iov = p->small_iov;
    p->views = p->small_views;
    p->count = 0;
    p->total = 0;
    if (size > PARTS_MAX) {
        return false;
    }
    if (size > PARTS_SMALL) {
        p->iov = PyMem_Calloc((size_t)size, sizeof *p->iov);
        p->views = PyMem_Calloc((size_t)size, sizeof *p->views);
        if (p->iov == NULL || p->views == NULL) {
            parts_release(p);
            return false;
        }
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        if (!ipcx_py_to_buffer(PySequence_Fast_GET_ITEM(list, i), &p->views[i], flags)) {
            parts_release(p);
            return false;
        }
        p->count = i + 1;
        p->iov[i].iov_base = p->views[i].buf;
        p->iov[i].iov_len = (size_t)p->views[i].len;
        p->total += p->iov[i].iov_len;
    }
    return true;
}

typedef struct msg_arg {
    struct msghdr msg;
    size_t total; /* of the buffers */
    int flags;
    size_t done;
} msg_arg;

/* One try that cannot wait, with the GIL held: 1 done, 0 to be waited for, -1 with an exception. */
static int tried(const ipcx_py_call *call, ssize_t n, msg_arg *arg)
{
    if (n >= 0) {
        arg->done = (size_t)n;
        return 1;
    }
    if (ipcx_py_may_wait(call, errno, arg->flags)) {
        return 0;
    }
    ipcx_py_errno(errno);
    return -1;
}

static ipcx_status recvmsg_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    msg_arg *arg = opaque;
    return ipcx__io_recvmsg(io, &arg->msg, arg->flags, &arg->done, err);
}

static ipcx_status sendmsg_step(const ipcx__io *io, void *opaque, ipcx_error *err)
{
    msg_arg *arg = opaque;
    return ipcx__io_sendmsg(io, &arg->msg, arg->flags, &arg->done, err);
}

/* Calls `visit` for each control message with the data that is really there; what the kernel cut
 * off has a cmsg_len that reaches past the end. -1 when visit failed. */
static int each_control(struct msghdr *msg, int (*visit)(struct cmsghdr *, size_t, void *),
                        void *arg)
{
    const char *end = (const char *)msg->msg_control + msg->msg_controllen;
    struct cmsghdr *control = msg->msg_controllen > 0 ? CMSG_FIRSTHDR(msg) : NULL;
    for (; control != NULL; control = CMSG_NXTHDR(msg, control)) {
        const char *data = (const char *)CMSG_DATA(control);
        size_t size = control->cmsg_len - CMSG_LEN(0);
        if (control->cmsg_len < CMSG_LEN(0) || data > end) {
            return 0;
        }
        if (size > (size_t)(end - data)) {
            size = (size_t)(end - data);
        }
        if (visit(control, size, arg) < 0) {
            return -1;
        }
    }
    return 0;
}

static int append_control(struct cmsghdr *control, size_t size, void *list)
{
    PyObject *item = Py_BuildValue("iiy#", control->cmsg_level, control->cmsg_type,
                                   CMSG_DATA(control), (Py_ssize_t)size);
    int appended = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return appended;
}

static int close_control(struct cmsghdr *control, size_t size, void *arg)
{
    (void)arg;
    if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS) {
        for (size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(control) + at, sizeof fd);
            (void)close(fd);
        }
    }
    return 0;
}

static bool receive_now_or_wait(ipcx_py_call *call, msg_arg *arg)
{
    ipcx_status answer;
    if (arg->total <= IPCX_PY_TRY_MAX && !(arg->flags & MSG_WAITALL)) {
        socklen_t namelen = arg->msg.msg_namelen;
        size_t controllen = arg->msg.msg_controllen;
        int done = tried(call, recvmsg(call->fd, &arg->msg, arg->flags | MSG_DONTWAIT), arg);
        if (done != 0) {
            return done > 0;
        }
        arg->msg.msg_namelen = namelen;
        arg->msg.msg_controllen = controllen;
    }
    return ipcx_py_run(call, recvmsg_step, arg, &answer);
}

/* Receives into arg->msg, whose buffers are set. `first` makes the result's first item. */
static PyObject *receive(ipcx_py_call *call, msg_arg *arg, Py_ssize_t control_size,
                         PyObject *(*first)(msg_arg *, void *), void *opaque)
{
    ipcx_addr addr = {0};
    PyObject *controls = NULL, *items[2] = {NULL, NULL}, *result = NULL;
    void *control = NULL;

    if (control_size > 0 && (control = PyMem_Calloc(1, (size_t)control_size)) == NULL) {
        return PyErr_NoMemory();
    }
    arg->msg.msg_name = &addr.u;
    arg->msg.msg_namelen = sizeof addr.u;
    arg->msg.msg_control = control;
    arg->msg.msg_controllen = (size_t)control_size;
    if (!receive_now_or_wait(call, arg)) {
        PyMem_Free(control);
        return NULL;
    }
    addr.len = arg->msg.msg_namelen;
    controls = PyList_New(0);
    items[0] = first(arg, opaque);
    items[1] = ipcx_py_from_addr(&addr);
    if (controls != NULL && items[0] != NULL && items[1] != NULL &&
        each_control(&arg->msg, append_control, controls) == 0) {
        result = Py_BuildValue("OOiO", items[0], controls, arg->msg.msg_flags, items[1]);
    }
    if (result == NULL) {
        (void)each_control(&arg->msg, close_control, NULL);
    } else if (ipcx_py_traced(call)) {
        call->seen.what = PyBytes_Check(items[0]) ? items[0] : opaque;
        call->seen.flags = arg->flags;
        result =
            ipcx_py_done_traced(call, result, Py_BuildValue("nO", (Py_ssize_t)arg->done, items[1]));
    }
    Py_XDECREF(items[0]);
    Py_XDECREF(items[1]);
    Py_XDECREF(controls);
    PyMem_Free(control);
    return result;
}

static PyObject *first_bytes(msg_arg *arg, void *opaque)
{
    PyObject **bytes = opaque;
    if ((Py_ssize_t)arg->done < PyBytes_GET_SIZE(*bytes) &&
        _PyBytes_Resize(bytes, (Py_ssize_t)arg->done) < 0) {
        return NULL;
    }
    return Py_NewRef(*bytes);
}

static PyObject *first_count(msg_arg *arg, void *opaque)
{
    (void)opaque;
    return PyLong_FromSize_t(arg->done);
}

/* ([…,] ancbufsize, flags) from args[1] on. */
static bool parse_tail(msg_arg *arg, Py_ssize_t *control_size, PyObject *const *args,
                       Py_ssize_t nargs)
{
    return (nargs < 2 || ipcx_py_to_size(args[1], control_size)) && *control_size >= 0 &&
           *control_size <= INT_MAX && (nargs < 3 || ipcx_py_to_int(args[2], &arg->flags));
}

PyObject *ipcx_py_socket_recvmsg(IPCX_PY_ARGS)
{
    msg_arg arg = {0};
    ipcx_py_call call;
    Py_ssize_t size, control_size = 0;
    struct iovec iov;
    PyObject *bytes, *result;

    if (!ipcx_py_begin(&call, self, "recvmsg")) {
        return NULL;
    }
    if (kwnames != NULL || nargs < 1 || nargs > 3 || !ipcx_py_family_is_ours(call.family) ||
        !ipcx_py_to_size(args[0], &size) || size < 0 ||
        !parse_tail(&arg, &control_size, args, nargs) || (arg.flags & MSG_TRUNC)) {
        return ipcx_py_delegate(self, IPCX_PY_recvmsg, args, nargs, kwnames);
    }
    bytes = PyBytes_FromStringAndSize(NULL, size);
    if (bytes == NULL) {
        return ipcx_py_failed(&call, args, nargs);
    }
    iov = (struct iovec){.iov_base = PyBytes_AS_STRING(bytes), .iov_len = (size_t)size};
    arg.msg.msg_iov = &iov;
    arg.msg.msg_iovlen = 1;
    arg.total = iov.iov_len;
    result = receive(&call, &arg, control_size, first_bytes, &bytes);
    Py_XDECREF(bytes);
    return result == NULL ? ipcx_py_failed(&call, args, nargs) : result;
}

PyObject *ipcx_py_socket_recvmsg_into(IPCX_PY_ARGS)
{
    msg_arg arg = {0};
    ipcx_py_call call;
    parts into;
    Py_ssize_t control_size = 0;
    PyObject *list, *result;

    if (!ipcx_py_begin(&call, self, "recvmsg_into")) {
        return NULL;
    }
    if (kwnames != NULL || nargs < 1 || nargs > 3 || !ipcx_py_family_is_ours(call.family) ||
        !parse_tail(&arg, &control_size, args, nargs) ||
        !(PyList_Check(args[0]) || PyTuple_Check(args[0]))) {
        return ipcx_py_delegate(self, IPCX_PY_recvmsg_into, args, nargs, kwnames);
    }
    list = Py_NewRef(args[0]);
    if (!parts_pin(&into, list, PyBUF_WRITABLE)) {
        Py_DECREF(list);
        return ipcx_py_delegate(self, IPCX_PY_recvmsg_into, args, nargs, kwnames);
    }
    arg.msg.msg_iov = into.iov;
    arg.msg.msg_iovlen = (size_t)into.count;
    arg.total = into.total;
    result = receive(&call, &arg, control_size, first_count, list);
    parts_release(&into);
    Py_DECREF(list);
    return result == NULL ? ipcx_py_failed(&call, args, nargs) : result;
}

/* The control block of (level, type, data) items, to be freed with PyMem_Free. False: not
 * well-formed. */
static bool pack_controls(PyObject *list, struct msghdr *msg)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(list);
    size_t room = 0, at = 0;
    char *block = NULL;
    for (int writing = 0; writing <= 1; writing++) {
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *item = PySequence_Fast_GET_ITEM(list, i);
            Py_buffer data;
            int level, type;
            if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 3 ||
                !ipcx_py_to_int(PyTuple_GET_ITEM(item, 0), &level) ||
                !ipcx_py_to_int(PyTuple_GET_ITEM(item, 1), &type) ||
                !ipcx_py_to_buffer(PyTuple_GET_ITEM(item, 2), &data, PyBUF_SIMPLE)) {
                goto malformed;
            }
            if (data.len > INT_MAX / 2 || (!writing && room > INT_MAX / 2) ||
                (writing && at + CMSG_SPACE((size_t)data.len) > room)) {
                PyBuffer_Release(&data);
                goto malformed;
            }
            if (writing) {
                struct cmsghdr *control = (struct cmsghdr *)(void *)(block + at);
                control->cmsg_len = CMSG_LEN((size_t)data.len);
                control->cmsg_level = level;
                control->cmsg_type = type;
                memcpy(CMSG_DATA(control), data.buf, (size_t)data.len);
                at += CMSG_SPACE((size_t)data.len);
            } else {
                room += CMSG_SPACE((size_t)data.len);
            }
            PyBuffer_Release(&data);
        }
        if (!writing && room > 0 && (block = PyMem_Calloc(1, room)) == NULL) {
            goto malformed;
        }
    }
    msg->msg_control = block;
    msg->msg_controllen = at;
    return true;

malformed:
    PyMem_Free(block);
    return false;
}

static bool send_parts(ipcx_py_call *call, msg_arg *arg)
{
    ipcx_status answer;
    size_t before = 0;
    if (arg->total <= IPCX_PY_TRY_MAX) {
        ssize_t n;
        int done;
        IPCX_PY_WAKING(n = sendmsg(call->fd, &arg->msg, arg->flags | MSG_DONTWAIT));
        done = tried(call, n, arg);
        if (done < 0 || (done > 0 && (arg->done == arg->total || call->timeout >= 0 ||
                                      (arg->flags & MSG_DONTWAIT)))) {
            return done > 0;
        }
        if (done > 0) {
            /* A blocking socket takes all of it. */
            before = arg->done;
            (void)ipcx__io_skip_sent(&arg->msg, before);
        }
    }
    if (ipcx_py_run(call, sendmsg_step, arg, &answer)) {
        arg->done += before;
        return true;
    }
    if (before == 0 || !PyErr_ExceptionMatches(PyExc_OSError)) {
        return false;
    }
    PyErr_Clear(); /* What was taken counts; the error comes with the next call: send(2). */
    arg->done = before;
    return true;
}

/* sendmsg with all arguments parsed but the parts of the message. */
static PyObject *send_message(ipcx_py_call *call, msg_arg *arg, const parts *from,
                              PyObject *address)
{
    arg->msg.msg_iov = from->iov;
    arg->msg.msg_iovlen = (size_t)from->count;
    arg->total = from->total;
    if (PySys_Audit("socket.sendmsg", "OO", call->self, address) < 0 || !send_parts(call, arg)) {
        return NULL;
    }
    return PyLong_FromSize_t(arg->done);
}

/* Who watches is told the address, if one was given, as sendto() tells it. */
static PyObject *end_of_send(ipcx_py_call *call, const msg_arg *arg, PyObject *result,
                             PyObject *const *args, Py_ssize_t nargs)
{
    if (ipcx_py_traced(call)) {
        call->seen.what = args[0];
        call->seen.flags = arg->flags;
    }
    if (result == NULL) {
        return ipcx_py_failed(call, args, nargs);
    }
    if (!ipcx_py_traced(call)) {
        return result;
    }
    return ipcx_py_done_traced(call, result,
                               nargs > 3 && args[3] != Py_None ? PyTuple_Pack(2, result, args[3])
                                                               : Py_NewRef(result));
}

PyObject *ipcx_py_socket_sendmsg(IPCX_PY_ARGS)
{
    msg_arg arg = {0};
    ipcx_addr addr;
    ipcx_py_call call;
    parts from;
    PyObject *address = nargs > 3 ? args[3] : Py_None, *result;
    int made = 1;

    if (!ipcx_py_begin(&call, self, "sendmsg")) {
        return NULL;
    }
    /* Only lists and tuples: what can be read once only must not be read here *and* by the base. */
    if (kwnames != NULL || nargs < 1 || nargs > 4 || !ipcx_py_family_is_ours(call.family) ||
        !(PyList_Check(args[0]) || PyTuple_Check(args[0])) ||
        (nargs > 1 && !(PyList_Check(args[1]) || PyTuple_Check(args[1]))) ||
        (nargs > 2 && !ipcx_py_to_int(args[2], &arg.flags))) {
        return ipcx_py_delegate(self, IPCX_PY_sendmsg, args, nargs, kwnames);
    }
    if (address != Py_None) {
        made = ipcx_py_to_addr(&call, address, &addr);
        if (made < 0) {
            return ipcx_py_failed(&call, args, nargs);
        }
        arg.msg.msg_name = &addr.u;
        arg.msg.msg_namelen = addr.len;
    }
    if (made == 0 || !parts_pin(&from, args[0], PyBUF_SIMPLE)) {
        return ipcx_py_delegate(self, IPCX_PY_sendmsg, args, nargs, kwnames);
    }
    if (nargs > 1 && !pack_controls(args[1], &arg.msg)) {
        parts_release(&from);
        return ipcx_py_delegate(self, IPCX_PY_sendmsg, args, nargs, kwnames);
    }
    {
        void *control = arg.msg.msg_control;
        result = send_message(&call, &arg, &from, address);
        PyMem_Free(control);
    }
    parts_release(&from);
    return end_of_send(&call, &arg, result, args, nargs);
}
