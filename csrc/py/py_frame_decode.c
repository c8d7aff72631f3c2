/* SPDX-License-Identifier: Apache-2.0
 * `_core.FrameDecoder`: bytes to messages, in through a socket's own recv_into method.
 * Invariant: the decoder's memory moves only when nobody has a view of it: each call first takes
 * back the view it lent, and refuses with BufferError when a slice or an array of that is still
 * alive. */
#include "py/py_frame.h"

typedef struct decoder {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_decoder core;
    PyObject *view;     /* the memoryview lent last, or NULL */
    Py_ssize_t exports; /* views and slices of our memory alive */
    void *lend;         /* what the next export shows; NULL: no export now */
    Py_ssize_t lend_size;
    bool lend_readonly;
} decoder;

/* Sets an exception with .offset, which counts from the start of the stream. */
static void raise_at(decoder *self, ipcx_status status, const ipcx_error *err, uint64_t at)
{
    PyObject *type, *value, *traceback, *offset;
    (void)ipcx_py_raise(self->state, status, err);
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    offset = PyLong_FromUnsignedLongLong(at);
    if (offset == NULL || PyObject_SetAttrString(value, "offset", offset) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF(offset);
    PyErr_Restore(type, value, traceback);
}

/* Sets the exception for what the core said. */
static PyObject *fail(decoder *self, ipcx_status status, const ipcx_error *err)
{
    if (self->core.error.status < 0) {
        raise_at(self, status, err, ipcx_decoder_error_offset(&self->core));
        return NULL;
    }
    return ipcx_py_raise(self->state, status, err);
}

static int decoder_getbuffer(PyObject *op, Py_buffer *view, int flags)
{
    decoder *self = (decoder *)op;
    if (self->lend == NULL) {
        PyErr_SetString(PyExc_BufferError, "use get_buffer()");
        view->obj = NULL;
        return -1;
    }
    if (PyBuffer_FillInfo(view, op, self->lend, self->lend_size, self->lend_readonly, flags) < 0) {
        return -1;
    }
    self->exports++;
    return 0;
}

static void decoder_releasebuffer(PyObject *op, Py_buffer *Py_UNUSED(view))
{
    ((decoder *)op)->exports--;
}

/* Takes back what was lent; false with BufferError while somebody holds on to it. */
static bool settle(decoder *self)
{
    if (self->view != NULL) {
        PyObject *view = self->view;
        PyObject *done = PyObject_CallMethod(view, "release", NULL);
        if (done == NULL) {
            return false;
        }
        Py_DECREF(done);
        if (self->view == view) {
            Py_CLEAR(self->view);
        }
    }
    if (self->exports > 0) {
        PyErr_SetString(PyExc_BufferError, "a view of this decoder's memory is still in use: "
                                           "release() it, or what was made of it");
        return false;
    }
    return true;
}

/* A memoryview of `size` bytes of ours, which settle() takes back; a new reference. */
static PyObject *lend(decoder *self, void *memory, size_t size, bool readonly)
{
    static char nothing;
    PyObject *view;
    self->lend = memory != NULL ? memory : &nothing;
    self->lend_size = (Py_ssize_t)size;
    self->lend_readonly = readonly;
    view = PyMemoryView_FromObject((PyObject *)self);
    self->lend = NULL;
    Py_XSETREF(self->view, Py_XNewRef(view));
    return view;
}

static PyObject *decoder_feed(PyObject *op, PyObject *data)
{
    decoder *self = (decoder *)op;
    Py_buffer bytes;
    ipcx_status status;
    ipcx_error err = {0};
    if (!settle(self) || PyObject_GetBuffer(data, &bytes, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    status = ipcx_decoder_feed(&self->core, bytes.buf, (size_t)bytes.len, &err);
    PyBuffer_Release(&bytes);
    if (status != IPCX_OK) {
        return fail(self, status, &err);
    }
    Py_RETURN_NONE;
}

static PyObject *decoder_get_buffer(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    decoder *self = (decoder *)op;
    uint8_t *room;
    size_t size;
    ipcx_error err = {0};
    ipcx_status status;
    if (!settle(self)) {
        return NULL;
    }
    status = ipcx_decoder_reserve(&self->core, &room, &size, &err);
    return status == IPCX_OK ? lend(self, room, size, false) : fail(self, status, &err);
}

static bool commit(decoder *self, Py_ssize_t n)
{
    if (n < 0 || (size_t)n > self->core.room) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "%zd bytes committed where there was room for %zu", n,
                         self->core.room);
        }
        return false;
    }
    ipcx_decoder_commit(&self->core, (size_t)n);
    return true;
}

static PyObject *decoder_commit(PyObject *op, PyObject *count)
{
    decoder *self = (decoder *)op;
    Py_ssize_t n = PyNumber_AsSsize_t(count, PyExc_OverflowError);
    if (PyErr_Occurred() || !settle(self) || !commit(self, n)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *payload_object(const ipcx_frame *frame)
{
    Py_ssize_t size = (Py_ssize_t)frame->payload_size;
    return frame->flags & IPCX_FRAME_TEXT ? PyUnicode_DecodeUTF8(frame->payload, size, "strict")
                                          : PyBytes_FromStringAndSize(frame->payload, size);
}

/* The next message of the core; MORE is an answer, what is < 0 has set an exception. */
static ipcx_status next_frame(decoder *self, ipcx_frame *frame)
{
    ipcx_error err = {0};
    ipcx_status status = ipcx_decoder_next(&self->core, frame, &err);
    if (status < 0) {
        (void)fail(self, status, &err);
    }
    return status;
}

static PyObject *decoder_next(PyObject *op, PyObject *as_view)
{
    decoder *self = (decoder *)op;
    ipcx_frame frame;
    ipcx_status status;
    PyObject *payload, *correlation;
    int view = PyObject_IsTrue(as_view);
    if (view < 0 || !settle(self)) {
        return NULL;
    }
    status = next_frame(self, &frame);
    if (status != IPCX_OK) {
        return status < 0 ? NULL : Py_NewRef(Py_None);
    }
    payload = view ? lend(self, (void *)(uintptr_t)frame.payload, frame.payload_size, true)
                   : payload_object(&frame);
    correlation = frame.flags & IPCX_FRAME_CORRELATION
                      ? PyLong_FromUnsignedLongLong(frame.correlation)
                      : Py_NewRef(Py_None);
    if (payload == NULL || correlation == NULL) {
        Py_XDECREF(payload);
        Py_XDECREF(correlation);
        return NULL;
    }
    return Py_BuildValue("(iiNy#N)", (int)frame.type, (int)frame.flags, correlation,
                         frame.extension_size > 0 ? (const char *)frame.extension : "",
                         (Py_ssize_t)frame.extension_size, payload);
}

/* The call itself. A method in C (a socket's own) asks for the buffer and nothing else: it gets the
 * decoder, which spares the memoryview. */
static PyObject *call_recv_into(decoder *self, PyObject *recv_into, PyObject *flags, void *room,
                                size_t size)
{
    PyObject *args[] = {(PyObject *)self, self->state->zero, flags}, *result;
    bool direct = PyCFunction_Check(recv_into);
    if (!direct && (args[0] = lend(self, room, size, false)) == NULL) {
        return NULL;
    }
    if (direct) {
        self->lend = room;
        self->lend_size = (Py_ssize_t)size;
        self->lend_readonly = false;
    }
    result = PyObject_Vectorcall(recv_into, args, flags != NULL ? 3 : 1, NULL);
    self->lend = NULL;
    if (!direct) {
        Py_DECREF(args[0]);
    }
    return result;
}

/* One call of the socket's recv_into, straight into our memory: bytes that came, -1 an exception.
 */
static Py_ssize_t fill(decoder *self, PyObject *recv_into, PyObject *flags)
{
    uint8_t *room;
    size_t size;
    ipcx_error err = {0};
    Py_ssize_t n;
    PyObject *result;
    ipcx_status status = ipcx_decoder_reserve(&self->core, &room, &size, &err);
    if (status != IPCX_OK) {
        (void)fail(self, status, &err);
        return -1;
    }
    result = call_recv_into(self, recv_into, flags, room, size);
    if (result == NULL) {
        return -1;
    }
    n = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    return !PyErr_Occurred() && settle(self) && commit(self, n) ? n : -1;
}

static PyObject *decoder_fill(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    Py_ssize_t n;
    if (!ipcx_py_count_check("fill", nargs, 1, 2) || !settle((decoder *)op)) {
        return NULL;
    }
    n = fill((decoder *)op, args[0], nargs > 1 ? args[1] : NULL);
    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

/* The end of the stream, where messages were expected. */
static PyObject *ended(decoder *self)
{
    size_t pending = ipcx_decoder_pending(&self->core);
    ipcx_error err = {0};
    if (pending > 0) {
        (void)ipcx_error_set(&err, IPCX_PEER_CLOSED, 0, "receive",
                             "in the middle of a message, after %zu bytes of it", pending);
    } else {
        (void)ipcx_error_set(&err, IPCX_PEER_CLOSED, 0, "receive", "between two messages");
    }
    return ipcx_py_raise(self->state, IPCX_PEER_CLOSED, &err);
}

/* A frame that carries no message. */
static PyObject *no_message(decoder *self, const ipcx_frame *frame)
{
    ipcx_error err = {0};
    (void)ipcx_error_set(&err, IPCX_PROTOCOL, 0, "receive",
                         "a frame of type %d where messages are expected: a Channel speaks with "
                         "these, receive_frame() takes them",
                         (int)frame->type);
    raise_at(self, IPCX_PROTOCOL, &err, self->core.offset);
    return NULL;
}

/* The message of a frame just taken. Without memory for it, it is put back. */
static PyObject *message(decoder *self, const ipcx_frame *frame)
{
    PyObject *payload;
    if (frame->type != IPCX_FRAME_DATA) {
        return no_message(self, frame);
    }
    payload = payload_object(frame);
    if (payload == NULL) {
        self->core.lent = 0;
    }
    return payload;
}

/* The next message; waits in the socket's method. */
static PyObject *receive(decoder *self, PyObject *recv_into, PyObject *flags)
{
    ipcx_frame frame;
    ipcx_status status;
    if (!settle(self)) {
        return NULL;
    }
    while ((status = next_frame(self, &frame)) == IPCX_MORE) {
        Py_ssize_t n = fill(self, recv_into, flags);
        if (n <= 0) {
            return n < 0 ? NULL : ended(self);
        }
        if (PyErr_CheckSignals() < 0) {
            return NULL;
        }
    }
    return status < 0 ? NULL : message(self, &frame);
}

static PyObject *decoder_receive(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (!ipcx_py_count_check("receive", nargs, 1, 2)) {
        return NULL;
    }
    return receive((decoder *)op, args[0], nargs > 1 ? args[1] : NULL);
}

/* The messages that are here already, at most `most` with those in `list`. Whatever is wrong behind
 * them stays for the next call: those in the list are not lost. */
static void take_ready(decoder *self, PyObject *list, Py_ssize_t most)
{
    while (PyList_GET_SIZE(list) < most) {
        ipcx_frame frame;
        PyObject *payload;
        int appended;
        if (ipcx_decoder_next(&self->core, &frame, NULL) != IPCX_OK) {
            break;
        }
        payload = frame.type == IPCX_FRAME_DATA ? payload_object(&frame) : NULL;
        appended = payload != NULL ? PyList_Append(list, payload) : -1;
        Py_XDECREF(payload);
        if (appended < 0) {
            PyErr_Clear();
            self->core.lent = 0;
            break;
        }
    }
}

static PyObject *decoder_receive_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    decoder *self = (decoder *)op;
    PyObject *list, *first;
    Py_ssize_t most;
    int appended;
    if (!ipcx_py_count_check("receive_many", nargs, 2, 3)) {
        return NULL;
    }
    most = PyNumber_AsSsize_t(args[1], PyExc_OverflowError);
    if (most < 1) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "receive_many() of less than 1 message");
        }
        return NULL;
    }
    first = receive(self, args[0], nargs > 2 ? args[2] : NULL);
    list = first != NULL ? PyList_New(0) : NULL;
    appended = list != NULL ? PyList_Append(list, first) : -1;
    Py_XDECREF(first);
    if (appended < 0) {
        Py_CLEAR(list);
    } else {
        take_ready(self, list, most);
    }
    return list;
}

static PyObject *decoder_reset(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    decoder *self = (decoder *)op;
    if (!settle(self)) {
        return NULL;
    }
    ipcx_decoder_reset(&self->core);
    Py_RETURN_NONE;
}

static PyObject *decoder_pending(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(ipcx_decoder_pending(&((decoder *)op)->core));
}

static PyObject *decoder_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                             PyObject *Py_UNUSED(kwargs))
{
    PyObject *module = PyType_GetModuleByDef(type, &ipcx_py_module);
    PyObject *self = module != NULL ? type->tp_alloc(type, 0) : NULL;
    if (self != NULL) {
        ((decoder *)self)->state = PyModule_GetState(module);
    }
    return self;
}

static int decoder_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    decoder *self = (decoder *)op;
    ipcx_framing framing;
    ipcx_decoder core;
    ipcx_error err = {0};
    ipcx_status status;
    if (!ipcx_py_framing_parse(args, &framing) || !settle(self)) {
        return -1;
    }
    status = ipcx_decoder_init(&core, &framing, &err);
    if (status != IPCX_OK) {
        (void)ipcx_py_raise(self->state, status, &err);
        return -1;
    }
    ipcx_decoder_fini(&self->core);
    self->core = core;
    return 0;
}

static int decoder_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((decoder *)op)->view);
    return 0;
}

static int decoder_clear(PyObject *op)
{
    Py_CLEAR(((decoder *)op)->view);
    return 0;
}

static void decoder_dealloc(PyObject *op)
{
    PyObject_GC_UnTrack(op);
    (void)decoder_clear(op);
    ipcx_decoder_fini(&((decoder *)op)->core);
    ipcx_py_heap_dealloc(op);
}

PyDoc_STRVAR(feed_doc, "feed($self, data, /)\n--\n\n"
                       "Give it bytes of the stream: as many as there are, cut anywhere.");
PyDoc_STRVAR(
    get_buffer_doc,
    "get_buffer($self, /)\n--\n\n"
    "A writable memoryview to receive into; commit() says how many bytes came.\n\n"
    "Saves the copy that feed() makes: ``decoder.commit(sock.recv_into(decoder.get_buffer()))``.\n"
    "It ends with the next call; while a slice of it lives, that call raises BufferError.");
PyDoc_STRVAR(commit_doc, "commit($self, n, /)\n--\n\n"
                         "The first n bytes of what get_buffer() lent are there.");
PyDoc_STRVAR(reset_doc, "reset($self, /)\n--\n\n"
                        "Forget bytes and error, and begin a new stream.");

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef decoder_methods[] = {
    {"feed", decoder_feed, METH_O, feed_doc},
    {"get_buffer", decoder_get_buffer, METH_NOARGS, get_buffer_doc},
    {"commit", decoder_commit, METH_O, commit_doc},
    {"reset", decoder_reset, METH_NOARGS, reset_doc},
    {"_next", decoder_next, METH_O, NULL},
    {"_fill", FAST(decoder_fill), METH_FASTCALL, NULL},
    {"_receive", FAST(decoder_receive), METH_FASTCALL, NULL},
    {"_receive_many", FAST(decoder_receive_many), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef decoder_getset[] = {
    {"pending", decoder_pending, NULL,
     "Bytes held that are no message yet: at the end of a stream, that it was cut off.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot decoder_slots[] = {
    {Py_tp_doc, "The core of ipcx.framing.Decoder."},
    {Py_tp_new, decoder_new},
    {Py_tp_init, decoder_start},
    {Py_tp_dealloc, decoder_dealloc},
    {Py_tp_traverse, decoder_traverse},
    {Py_tp_clear, decoder_clear},
    {Py_tp_methods, decoder_methods},
    {Py_tp_getset, decoder_getset},
    {Py_bf_getbuffer, decoder_getbuffer},
    {Py_bf_releasebuffer, decoder_releasebuffer},
    {0, NULL},
};

int ipcx_py_decoder_init(PyObject *module, ipcx_py_state *Py_UNUSED(state))
{
    PyType_Spec spec = {
        .name = "ipcx._core.FrameDecoder",
        .basicsize = sizeof(decoder),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        .slots = decoder_slots,
    };
    return ipcx_py_add_type(module, &spec);
}
