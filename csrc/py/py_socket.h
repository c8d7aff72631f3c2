/* SPDX-License-Identifier: Apache-2.0
 * One call of a verb on ipcx.socket.socket: what all verbs share.
 *
 * The way of a verb: parse what is well-formed → begin the call → try once with the GIL held →
 * otherwise ipcx_py_run, which lets the GIL go for one ipcx__io_* call at a time → make the result.
 * What is not well-formed, and what belongs to an address family that is not ours, goes to the base
 * class's method: so exceptions have the running stdlib's own type and text. */
#ifndef IPCX_PY_SOCKET_H
#define IPCX_PY_SOCKET_H

#include <errno.h>
#include <sys/socket.h>

#include "ipcx/addr.h"
#include "os/sock_io.h"
#include "py/call.h"
#include "py/error.h"
#include "py/py_trace.h"
#include "py/state.h"

#define IPCX_PY_ARGS PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames

typedef struct ipcx_py_call {
    PyObject *self;
    ipcx_py_state *state;
    ipcx_py_own *own;
    const char *op;
    int64_t timeout;        /* nanoseconds; < 0 blocking, 0 non-blocking */
    ipcx_deadline deadline; /* settled by the first wait */
    int fd;
    int family;
    int type;
    int proto;
    bool waited;
    ipcx_py_seen seen; /* its time of beginning; the rest before it is done or has failed */
} ipcx_py_call;

/* ipcx_py_begin: reads the object's descriptor, family and time-out. False with an exception. */
bool ipcx_py_begin_by_methods(ipcx_py_call *call);
static inline bool ipcx_py_begin(ipcx_py_call *call, PyObject *self, const char *op)
{
    call->self = self;
    call->own = ipcx_py_own_of(self);
    call->state = call->own->state;
    call->op = op;
    call->waited = false;
    ipcx_py_see(&call->seen, call->state);
    if (IPCX_UNLIKELY(!ipcx_py_layout.trusted)) {
        return ipcx_py_begin_by_methods(call);
    }
    call->fd = ipcx_py_prefix_of(self)->fd;
    call->family = ipcx_py_prefix_of(self)->family;
    call->type = ipcx_py_prefix_of(self)->type;
    call->proto = ipcx_py_prefix_of(self)->proto;
    call->timeout = ipcx_py_prefix_of(self)->timeout;
    return true;
}

/* Families whose addresses we know; the others' verbs are the base's. */
static inline bool ipcx_py_family_is_ours(int family)
{
    return family == AF_UNIX || family == AF_INET || family == AF_INET6;
}

/* ipcx_py_may_wait: whether a try that ended with `error` is to be followed by a wait. With a
 * time-out, the user's own MSG_DONTWAIT changes nothing: the stdlib polls first. */
static inline bool ipcx_py_may_wait(const ipcx_py_call *call, int error, int flags)
{
    return error == EINTR || (error == EAGAIN && call->timeout != 0 &&
                              (call->timeout > 0 || !(flags & MSG_DONTWAIT)));
}

/* ipcx_py_delegate: the base class's method, with the same arguments. */
PyObject *ipcx_py_delegate(PyObject *self, ipcx_py_verb verb, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames);

/* One ipcx__io_* call; it runs without the GIL. */
typedef ipcx_status (*ipcx_py_step)(const ipcx__io *io, void *arg, ipcx_error *err);

/* ipcx_py_run: runs `step` at the socket's gate until it has an answer, signal handlers in between.
 * True: *answer is OK, EOF, MORE or TOO_LARGE. False: an exception is set. */
bool ipcx_py_run(ipcx_py_call *call, ipcx_py_step step, void *arg, ipcx_status *answer);

/* ipcx_py_errno: sets the OSError of `error`. */
void ipcx_py_errno(int error);

/* ipcx_py_failed: ends a verb whose exception is set; returns NULL. */
PyObject *ipcx_py_failed(ipcx_py_call *call, PyObject *const *args, Py_ssize_t nargs);

/* ipcx_py_done: ends a verb that returns `result`; `detail` goes to the trace. Both are stolen;
 * either may be NULL with an exception set. */
PyObject *ipcx_py_done_traced(ipcx_py_call *call, PyObject *result, PyObject *detail);
static inline bool ipcx_py_traced(const ipcx_py_call *call)
{
    return ipcx_py_watched(call->state);
}

/* Conversions. False: not well-formed (no exception set), the base shall say so. */
bool ipcx_py_to_size(PyObject *value, Py_ssize_t *out);
bool ipcx_py_to_int(PyObject *value, int *out);
bool ipcx_py_to_buffer(PyObject *value, Py_buffer *out, int flags);

/* ipcx_py_named: puts the arguments of `method` into `values` by position and by name (`names` ends
 * with NULL); the first `required` must be there. False with the TypeError that Python's own
 * functions raise. */
bool ipcx_py_named(PyObject **values, const char *const *names, Py_ssize_t required,
                   const char *method, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* ipcx_py_to_addr: 1 made, 0 not ours to judge, -1 with an exception (a name did not resolve). */
int ipcx_py_to_addr(const ipcx_py_call *call, PyObject *value, ipcx_addr *out);

/* ipcx_py_from_addr: the address as Python has it. Writes a NUL behind a path. */
PyObject *ipcx_py_from_addr(ipcx_addr *addr);

/* ipcx_py_socket_around: a new ipcx.socket.socket that owns `fd`; closes it on failure. */
PyObject *ipcx_py_socket_around(ipcx_py_state *state, int fd, int family, int type, int proto);

/* What the other files give to the type. */
#define IPCX_PY_METHOD(name) PyObject *ipcx_py_socket_##name(IPCX_PY_ARGS)
IPCX_PY_METHOD(recv);
IPCX_PY_METHOD(recv_into);
IPCX_PY_METHOD(recvfrom);
IPCX_PY_METHOD(recvfrom_into);
IPCX_PY_METHOD(recvmsg);
IPCX_PY_METHOD(recvmsg_into);
IPCX_PY_METHOD(recv_exactly);
IPCX_PY_METHOD(recv_until);
IPCX_PY_METHOD(send);
IPCX_PY_METHOD(sendall);
IPCX_PY_METHOD(sendto);
IPCX_PY_METHOD(sendmsg);
IPCX_PY_METHOD(sendfile_step);
IPCX_PY_METHOD(accept);
IPCX_PY_METHOD(connect);
IPCX_PY_METHOD(connect_ex);
IPCX_PY_METHOD(bind);
IPCX_PY_METHOD(listen);
IPCX_PY_METHOD(shutdown);
IPCX_PY_METHOD(settimeout);
IPCX_PY_METHOD(setblocking);
IPCX_PY_METHOD(close);
IPCX_PY_METHOD(real_close);
IPCX_PY_METHOD(detach);

#endif
