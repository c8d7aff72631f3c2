/* SPDX-License-Identifier: Apache-2.0
 * TLS by Python's ssl module, for the core's stream channels.
 * Invariant: each call of the ssl module is one whose outcome is known even if a signal handler's
 * exception hides its result: a write puts bytes into the empty outgoing BIO or does not; a read is
 * of one byte, or of what pending() has promised. */
#include "py/py_layer.h"

#include <string.h>

#include "link/chan.h"
#include "link/stream/chan_stream.h"
#include "py/py_layer_record.h"

/* The thread state of a thread that is in the core without the GIL: see call.h. */
_Thread_local PyThreadState *ipcx_py_released;

/* ipcx.tls.make() gives an SSLObject and its BIOs; these are the methods of theirs. */
#define METHODS(X)                                                                                 \
    X(do_handshake)                                                                                \
    X(read)                                                                                        \
    X(write)                                                                                       \
    X(shutdown)                                                                                    \
    X(pending)

typedef struct session {
    ipcx_py_state *state;
    PyObject *object, *incoming, *outgoing; /* ssl.SSLObject, ssl.MemoryBIO twice */
#define METHOD(name) PyObject *name;
    METHODS(METHOD)
#undef METHOD
    PyObject *feed, *drain; /* incoming.write, outgoing.read */
    PyObject *make;         /* what made it; its attribute `error` is what ended one of its last */
    PyObject *error;        /* what ended it, or NULL */
    bool accepted, ready, ended;
    PyThreadState *worker; /* who is in a function of it, or NULL */
    ipcx_py_record record; /* of what comes */
    size_t before;         /* bytes that came for the handshake */
} session;

/* ---- the GIL */

/* For a function of a session. */
static ipcx_py_grip work(session *self)
{
    ipcx_py_grip made = ipcx_py_layer_take(self->state);
    self->worker = PyThreadState_Get();
    return made;
}

static void rest(session *self, const ipcx_py_grip *taken)
{
    self->worker = NULL;
    ipcx_py_layer_give(self->state, taken);
}

/* ---- exceptions */

/* The exception that is set, normalised, a new reference. */
static PyObject *caught(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        (void)PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* What a signal handler has raised is raised where the program goes on. */
static ipcx_status put_off(ipcx_py_state *state)
{
    PyObject *value = caught();
    if (value != NULL) {
        ipcx_py_layer_raise_later(state, value);
    }
    return IPCX_INTR;
}

static bool is_ssl_error(const ipcx_py_state *state)
{
    return PyErr_ExceptionMatches(state->ssl_error);
}

/* The error that is set ends the session; ipcx.tls says what it means. */
static ipcx_status ends(ipcx_py_state *state, PyObject *make, PyObject **keep, int shaking,
                        ipcx_error *err)
{
    ipcx_status status = IPCX_PROTOCOL;
    PyObject *error = caught();
    PyObject *judged =
        error != NULL ? PyObject_CallFunction(state->tls_judge, "Oi", error, shaking) : NULL;
    const char *text = NULL;
    int about_peer;
    if (judged != NULL && PyArg_ParseTuple(judged, "ps", &about_peer, &text) && about_peer) {
        status = IPCX_AUTH;
    }
    PyErr_Clear();
    status = ipcx_error_set(err, status, 0, "tls", "%s", text != NULL ? text : "OpenSSL failed");
    Py_XDECREF(judged);
    if (error != NULL && PyObject_SetAttrString(make, "error", error) < 0) {
        PyErr_Clear();
    }
    Py_XSETREF(*keep, error);
    return status;
}

/* ---- what goes out */

/* What OpenSSL has written goes to the end of `wire`. */
static ipcx_status drain(session *self, ipcx_buf *wire, ipcx_error *err)
{
    PyObject *bytes = PyObject_CallNoArgs(self->drain);
    ipcx_status status;
    if (bytes == NULL) {
        PyErr_Clear();
        return ipcx_error_set(err, IPCX_NOMEM, 0, "tls", "no memory for what is to be sent");
    }
    status = ipcx_buf_append(wire, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes), err);
    Py_DECREF(bytes);
    return status;
}

static ipcx_status layer_seal(void *context, const void *plain, size_t size, ipcx_buf *wire,
                              ipcx_error *err)
{
    session *self = context;
    size_t before = ipcx_buf_len(wire);
    ipcx_py_grip held = work(self);
    ipcx_status status = IPCX_NOMEM, out;
    PyObject *done = NULL, *bytes = PyBytes_FromStringAndSize(plain, (Py_ssize_t)size);
    if (bytes != NULL) {
        done = PyObject_CallOneArg(self->write, bytes);
        Py_DECREF(bytes);
    }
    if (done != NULL) {
        status = IPCX_OK;
        Py_DECREF(done);
    } else if (bytes != NULL && !is_ssl_error(self->state)) {
        status = put_off(self->state); /* it was written if there is anything to send */
    } else {
        status = ends(self->state, self->make, &self->error, 0, err);
    }
    out = drain(self, wire, err);
    if (status == IPCX_INTR && ipcx_buf_len(wire) == before) {
        status = ipcx_error_set(err, IPCX_NOMEM, 0, "tls", "no memory to encrypt");
    }
    status = status == IPCX_OK && ipcx_py_layer_restless() ? IPCX_INTR : status;
    rest(self, &held);
    return out < 0 ? out : status;
}

static void layer_finish(void *context, ipcx_buf *wire)
{
    session *self = context;
    ipcx_py_grip held = work(self);
    PyObject *done = PyObject_CallNoArgs(self->shutdown);
    if (done != NULL) {
        Py_DECREF(done);
    } else if (!is_ssl_error(self->state)) {
        (void)put_off(self->state);
    }
    PyErr_Clear(); /* SSLWantReadError: the peer's end is not awaited */
    (void)drain(self, wire, NULL);
    rest(self, &held);
}

/* ---- what comes */

static ipcx_status feed(session *self, const void *wire, size_t size, ipcx_error *err)
{
    PyObject *bytes = PyBytes_FromStringAndSize(wire, (Py_ssize_t)size);
    PyObject *done = bytes != NULL ? PyObject_CallOneArg(self->feed, bytes) : NULL;
    Py_XDECREF(bytes);
    if (done == NULL) {
        PyErr_Clear();
        return ipcx_error_set(err, IPCX_NOMEM, 0, "tls", "no memory for what came");
    }
    Py_DECREF(done);
    ipcx_py_record_pass(&self->record, wire, size);
    self->before += self->ready ? 0 : size;
    return IPCX_OK;
}

/* After a call that has failed. MORE: it wants more from the wire. */
static ipcx_status why(session *self, int shaking, ipcx_error *err)
{
    if (PyErr_ExceptionMatches(self->state->ssl_want_read)) {
        PyErr_Clear();
        return IPCX_MORE;
    }
    if (!is_ssl_error(self->state) && !PyErr_ExceptionMatches(PyExc_MemoryError)) {
        return put_off(self->state);
    }
    return ends(self->state, self->make, &self->error, shaking, err);
}

static ipcx_status shake(session *self, ipcx_error *err)
{
    PyObject *done = PyObject_CallNoArgs(self->do_handshake);
    if (done == NULL) {
        return why(self, 1, err);
    }
    Py_DECREF(done);
    self->ready = true;
    return IPCX_OK;
}

/* A number that a method or attribute of no arguments gives; -1: no memory for it. */
static Py_ssize_t count(PyObject *number)
{
    Py_ssize_t found = number != NULL ? PyLong_AsSsize_t(number) : -1;
    Py_XDECREF(number);
    PyErr_Clear();
    return found;
}

static Py_ssize_t decrypted(const session *self)
{
    return count(PyObject_CallNoArgs(self->pending));
}

/* Reads `size` bytes into `into`, a bytearray. */
static ipcx_status read_into(session *self, PyObject *into, Py_ssize_t size, Py_ssize_t *got,
                             ipcx_error *err)
{
    PyObject *number = PyLong_FromSsize_t(size);
    PyObject *done =
        number != NULL ? PyObject_CallFunctionObjArgs(self->read, number, into, NULL) : NULL;
    Py_XDECREF(number);
    if (done == NULL) {
        *got = 0;
        return why(self, 0, err);
    }
    *got = count(done);
    return IPCX_OK;
}

/* The first byte of a record. Whether it was read, an interrupted call tells by what it changed:
 * the bytes that are left of the record, or the byte itself. */
static ipcx_status read_first(session *self, uint8_t *to, Py_ssize_t *got, ipcx_error *err)
{
    static const char mark = (char)0xa5;
    PyObject *one = PyByteArray_FromStringAndSize(&mark, 1);
    ipcx_status status;
    if (one == NULL) {
        PyErr_Clear();
        return ipcx_error_set(err, IPCX_NOMEM, 0, "tls", "no memory for what came");
    }
    status = read_into(self, one, 1, got, err);
    if (status == IPCX_INTR && (decrypted(self) > 0 || PyByteArray_AS_STRING(one)[0] != mark)) {
        *got = 1;
        status = IPCX_OK;
    }
    if (status == IPCX_OK && *got == 0) {
        self->ended = true;
        status = IPCX_EOF;
    }
    *to = (uint8_t)PyByteArray_AS_STRING(one)[0];
    Py_DECREF(one);
    return status;
}

/* The rest of a record, or what there is room for. */
static ipcx_status read_rest(session *self, uint8_t *to, size_t room, Py_ssize_t *got,
                             ipcx_error *err)
{
    Py_ssize_t have = decrypted(self), size = have < (Py_ssize_t)room ? have : (Py_ssize_t)room;
    PyObject *into;
    ipcx_status status = IPCX_OK;
    *got = 0;
    if (size <= 0) {
        return IPCX_OK;
    }
    into = PyByteArray_FromStringAndSize(NULL, size);
    if (into == NULL) {
        PyErr_Clear();
        return ipcx_error_set(err, IPCX_NOMEM, 0, "tls", "no memory for what came");
    }
    status = read_into(self, into, size, got, err);
    if (status == IPCX_INTR && decrypted(self) == have - size) {
        *got = size;
        status = IPCX_OK;
    }
    if (status == IPCX_OK) {
        memcpy(to, PyByteArray_AS_STRING(into), (size_t)*got);
    }
    Py_DECREF(into);
    return status;
}

static bool has_more(const session *self)
{
    return decrypted(self) > 0 || count(PyObject_GetAttrString(self->incoming, "pending")) > 0;
}

/* As much as there is and fits. */
static ipcx_status read_all(session *self, uint8_t *to, size_t room, size_t *total, ipcx_error *err)
{
    ipcx_status status = self->ended ? IPCX_EOF : IPCX_OK;
    while (status == IPCX_OK && *total < room) {
        Py_ssize_t got = 0;
        if (decrypted(self) > 0) {
            status = read_rest(self, to + *total, room - *total, &got, err);
        } else {
            status = has_more(self) ? read_first(self, to + *total, &got, err) : IPCX_MORE;
        }
        *total += (size_t)got;
    }
    return status;
}

static ipcx_status layer_open(void *context, const void *wire, size_t size, void *plain,
                              size_t room, ipcx_layer_opened *opened, ipcx_buf *reply,
                              ipcx_error *err)
{
    session *self = context;
    size_t owed = ipcx_buf_len(reply);
    ipcx_py_grip held = work(self);
    ipcx_status status = size > 0 ? feed(self, wire, size, err) : IPCX_OK, out;
    if (status == IPCX_OK && !self->ready) {
        status = shake(self, err);
    }
    if (status == IPCX_OK) {
        status = read_all(self, plain, room, &opened->got, err);
    }
    out = drain(self, reply, err);
    if (status < 0 && self->accepted && !self->ready && ipcx_buf_len(reply) == owed) {
        (void)!ipcx_buf_append(reply, ipcx_py_record_alert, sizeof ipcx_py_record_alert, NULL);
    }
    opened->ready = self->ready;
    opened->interrupted = ipcx_py_layer_restless();
    opened->inside = self->ready ? self->record.have : self->before;
    if (opened->got > 0 && status >= 0) {
        opened->more = status != IPCX_MORE && (status != IPCX_OK || has_more(self));
        status = IPCX_OK;
    }
    rest(self, &held);
    return out < 0 ? out : status;
}

/* ---- sessions */

static void session_free(session *self)
{
#define CLEAR(name) Py_CLEAR(self->name);
    METHODS(CLEAR)
#undef CLEAR
    Py_CLEAR(self->feed);
    Py_CLEAR(self->drain);
    Py_CLEAR(self->object);
    Py_CLEAR(self->incoming);
    Py_CLEAR(self->outgoing);
    Py_CLEAR(self->make);
    Py_CLEAR(self->error);
    PyMem_Free(self);
}

static void layer_end(void *context)
{
    session *self = context;
    ipcx_py_state *state = self->state;
    ipcx_py_grip held = ipcx_py_layer_take(state);
    session_free(self);
    ipcx_py_layer_give(state, &held);
}

/* The C object in an SSLObject: its own methods are Python, in which a signal handler's exception
 * could hide what was done. */
static PyObject *inner(PyObject *object)
{
    PyObject *found = PyObject_GetAttrString(object, "_sslobj");
    if (found == NULL) {
        PyErr_Clear();
        return Py_NewRef(object);
    }
    return found;
}

/* Of (SSLObject, incoming, outgoing). False: an exception is set. */
static bool session_fill(session *self, PyObject *made)
{
    PyObject *raw;
    if (!PyArg_ParseTuple(made, "OOO", &self->object, &self->incoming, &self->outgoing)) {
        self->object = self->incoming = self->outgoing = NULL;
        return false;
    }
    Py_INCREF(self->object);
    Py_INCREF(self->incoming);
    Py_INCREF(self->outgoing);
    raw = inner(self->object);
#define LOOK_UP(name) self->name = PyObject_GetAttrString(raw, #name);
    METHODS(LOOK_UP)
#undef LOOK_UP
    Py_DECREF(raw);
    self->feed = PyObject_GetAttrString(self->incoming, "write");
    self->drain = PyObject_GetAttrString(self->outgoing, "read");
    return !PyErr_Occurred();
}

/* In the caller's Python. */
static ipcx_status session_make(ipcx_py_state *state, PyObject *make, int accepted, void **made,
                                ipcx_error *err)
{
    session *self = PyMem_Calloc(1, sizeof *self);
    PyObject *parts = NULL;
    ipcx_status status;
    if (self == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "tls", "no memory for a session");
    }
    self->state = state;
    self->accepted = accepted;
    self->make = Py_NewRef(make);
    parts = PyObject_CallOneArg(make, accepted ? Py_True : Py_False);
    if (parts != NULL && session_fill(self, parts)) {
        Py_DECREF(parts);
        *made = self;
        return IPCX_OK;
    }
    Py_XDECREF(parts);
    status = is_ssl_error(state) || PyErr_ExceptionMatches(PyExc_ValueError) ||
                     PyErr_ExceptionMatches(PyExc_MemoryError)
                 ? ends(state, make, &self->error, 1, err)
                 : put_off(state);
    session_free(self);
    return status;
}

static ipcx_status layer_begin(void *context, int accepted, void **made, ipcx_error *err)
{
    const ipcx_py_layer_source *source = context;
    ipcx_py_grip held = ipcx_py_layer_take(source->state);
    ipcx_status status = session_make(source->state, source->make, accepted, made, err);
    ipcx_py_layer_give(source->state, &held);
    return status;
}

void ipcx_py_layer_use(ipcx_py_state *state, PyObject *make, ipcx_py_layer_source *source,
                       ipcx_chan_options *options)
{
    if (make == Py_None) {
        return;
    }
    source->state = state;
    source->make = make;
    state->layer = (ipcx_layer){.begin = layer_begin,
                                .seal = layer_seal,
                                .open = layer_open,
                                .finish = layer_finish,
                                .end = layer_end};
    options->layer = &state->layer;
    options->layer_context = source;
}

/* ---- what is told of a session */

static session *session_of(const ipcx_py_chan *self)
{
    return self->layered ? ipcx__chan_stream_session(self->core) : NULL;
}

bool ipcx_py_layer_within(const ipcx_py_chan *self)
{
    const session *its = session_of(self);
    return its != NULL && its->worker == PyThreadState_Get();
}

PyObject *ipcx_py_layer_error(const ipcx_py_chan *self)
{
    const session *its = session_of(self);
    return its != NULL ? Py_XNewRef(its->error) : NULL;
}

PyObject *ipcx_py_layer_view(const void *of)
{
    const session *its = of;
    return its ? PyObject_CallOneArg(its->state->tls_session, its->object) : Py_NewRef(Py_None);
}

PyObject *ipcx_py_layer_object(const ipcx_py_chan *self)
{
    return ipcx_py_layer_view(session_of(self));
}
