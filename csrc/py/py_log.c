/* SPDX-License-Identifier: Apache-2.0
 * `ipcx.files`'s logs: `_core.LogWriter` and `_core.LogReader`.
 * Invariant: a message is taken off a reader with the GIL held, so that one thread at a time does;
 * to wait, the GIL is let go. */
#include "py/py_chan.h"

#include "ipcx/alloc.h"
#include "ipcx/log.h"

/* ---- writing */

typedef struct writer {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_log *core;
    bool durable;
    bool closed;
} writer;

static int writer_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    writer *self = (writer *)op;
    PyObject *path, *timeout;
    ipcx_log_options options = {0};
    unsigned long long segment_size;
    Py_ssize_t max_message;
    int durable, cut_damage, mode;
    int64_t patience;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    if (self->core != NULL) {
        PyErr_SetString(PyExc_ValueError, "this log is open already");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "O&ppnKIiO", PyUnicode_FSConverter, &path, &durable, &cut_damage,
                          &max_message, &segment_size, &options.keep, &mode, &timeout)) {
        return -1;
    }
    if (!ipcx_py_patience(timeout, IPCX_PY_EVER, &patience)) {
        Py_DECREF(path);
        return -1;
    }
    self->state = ipcx_py_state_of(op);
    options.durable = self->durable = durable;
    options.cut_damage = cut_damage;
    options.max_message = (size_t)max_message;
    options.segment_size = segment_size;
    options.mode = (mode_t)mode;
    deadline = ipcx_py_deadline(patience);
    IPCX_PY_WAITING(status, status = ipcx_log_open(PyBytes_AS_STRING(path), &options, deadline,
                                                   &self->core, &err));
    Py_DECREF(path);
    if (status != IPCX_OK && status != IPCX_INTR) {
        (void)ipcx_py_raise(self->state, status, &err);
    }
    return status == IPCX_OK ? 0 : -1;
}

/* A message as the caller gave it, pinned. */
static bool pin(PyObject *object, Py_buffer *buffer, ipcx_message *message)
{
    *message = (ipcx_message){0};
    buffer->obj = NULL;
    if (PyUnicode_Check(object)) {
        Py_ssize_t size;
        const char *text = PyUnicode_AsUTF8AndSize(object, &size);
        *message = (ipcx_message){.data = text, .size = (size_t)size, .flags = IPCX_MESSAGE_TEXT};
        return text != NULL;
    }
    if (PyBytes_CheckExact(object)) { /* it cannot change, and the caller holds it */
        *message = (ipcx_message){.data = PyBytes_AS_STRING(object),
                                  .size = (size_t)PyBytes_GET_SIZE(object)};
        return true;
    }
    if (PyObject_GetBuffer(object, buffer, PyBUF_SIMPLE) < 0) {
        return false;
    }
    *message = (ipcx_message){.data = buffer->buf, .size = (size_t)buffer->len};
    return true;
}

/* A small one, with no other thread that could want the GIL meanwhile: with it. AGAIN: somebody
 * writes, or that is not so. */
static ipcx_status append_at_once(writer *self, const ipcx_message *messages, size_t count,
                                  uint64_t *position, ipcx_error *err)
{
    return count == 1 && messages->size <= IPCX_PY_TRY_MAX && !self->durable && ipcx_py_alone()
               ? ipcx_log_append(self->core, messages, count, IPCX_NOW, position, err)
               : IPCX_AGAIN;
}

static PyObject *appended(writer *self, const ipcx_message *messages, size_t count,
                          PyObject *timeout)
{
    int64_t patience;
    uint64_t position;
    ipcx_deadline deadline;
    ipcx_status status = IPCX_CLOSED;
    ipcx_error err = {.op = "append", .detail = "the log"};
    if (!ipcx_py_patience(timeout, IPCX_PY_EVER, &patience)) {
        return NULL;
    }
    if (self->core != NULL) {
        status = append_at_once(self, messages, count, &position, &err);
    }
    if (status == IPCX_AGAIN) {
        deadline = ipcx_py_deadline(patience);
        IPCX_PY_WAITING(status, status = ipcx_log_append(self->core, messages, count, deadline,
                                                         &position, &err));
        if (status == IPCX_INTR) {
            return NULL;
        }
    }
    return status == IPCX_OK ? PyLong_FromUnsignedLongLong(position)
                             : ipcx_py_raise(self->state, status, &err);
}

static PyObject *writer_append(IPCX_PY_FAST)
{
    static const char *const names[] = {"message", "timeout", NULL};
    PyObject *values[2] = {NULL, NULL}, *result;
    Py_buffer buffer;
    ipcx_message message;
    if (nargs == 1 && kwnames == NULL) {
        values[0] = args[0];
    } else if (!ipcx_py_named(values, names, 1, "append", args, nargs, kwnames)) {
        return NULL;
    }
    if (!pin(values[0], &buffer, &message)) {
        return NULL;
    }
    result = appended((writer *)op, &message, 1, values[1]);
    if (buffer.obj != NULL) {
        PyBuffer_Release(&buffer);
    }
    return result;
}

static PyObject *append_list(writer *self, PyObject *list, PyObject *timeout)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(list), pinned = 0;
    size_t room = (size_t)count + 1;
    Py_buffer *buffers = PyMem_Calloc(room, sizeof *buffers);
    ipcx_message *messages = PyMem_Calloc(room, sizeof *messages);
    PyObject *result = NULL;
    if (buffers == NULL || messages == NULL) {
        (void)PyErr_NoMemory();
    } else {
        while (pinned < count &&
               pin(PySequence_Fast_GET_ITEM(list, pinned), &buffers[pinned], &messages[pinned])) {
            pinned++;
        }
        if (pinned == count) {
            result = appended(self, messages, (size_t)count, timeout);
        }
        for (Py_ssize_t i = 0; i < pinned; i++) {
            if (buffers[i].obj != NULL) {
                PyBuffer_Release(&buffers[i]);
            }
        }
    }
    PyMem_Free(messages);
    PyMem_Free(buffers);
    return result;
}

static PyObject *writer_append_many(IPCX_PY_FAST)
{
    static const char *const names[] = {"messages", "timeout", NULL};
    PyObject *values[2], *list, *result;
    if (!ipcx_py_named(values, names, 1, "append_many", args, nargs, kwnames)) {
        return NULL;
    }
    if (PyUnicode_Check(values[0]) || PyObject_CheckBuffer(values[0])) {
        PyErr_SetString(PyExc_TypeError,
                        "append_many() takes many messages: for one there is append()");
        return NULL;
    }
    /* A tuple of our own: the caller's list may change while the GIL is away. */
    list = PySequence_Tuple(values[0]);
    if (list == NULL) {
        return NULL;
    }
    result = append_list((writer *)op, list, values[1]);
    Py_DECREF(list);
    return result;
}

static PyObject *writer_sync(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    writer *self = (writer *)op;
    ipcx_status status = IPCX_CLOSED;
    ipcx_error err = {.op = "sync", .detail = "the log"};
    if (self->core != NULL) {
        IPCX_PY_WAITING(status, status = ipcx_log_sync(self->core, &err));
    }
    if (status != IPCX_OK) {
        return ipcx_py_raise(self->state, status, &err);
    }
    Py_RETURN_NONE;
}

/* (start, end, cut) */
static PyObject *writer_stats(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    writer *self = (writer *)op;
    ipcx_log_stats stats;
    ipcx_status status = IPCX_CLOSED;
    ipcx_error err = {.op = "stats", .detail = "the log"};
    if (self->core != NULL) {
        status = ipcx_log_get_stats(self->core, &stats, &err);
    }
    if (status != IPCX_OK) {
        return ipcx_py_raise(self->state, status, &err);
    }
    return Py_BuildValue("(KKK)", (unsigned long long)stats.start, (unsigned long long)stats.end,
                         (unsigned long long)stats.cut);
}

static PyObject *writer_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    writer *self = (writer *)op;
    self->closed = true;
    if (self->core != NULL) {
        IPCX_PY_WITHOUT_GIL(ipcx_log_close(self->core));
    }
    Py_RETURN_NONE;
}

static PyObject *writer_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((writer *)op)->closed || ((writer *)op)->core == NULL);
}

static void writer_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    ipcx_log_free(((writer *)op)->core);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef writer_methods[] = {
    {"append", IPCX_PY_FAST_METHOD(writer_append), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "append($self, message, timeout=None)\n--\n\n"
         "Append a message, bytes-like or str; returns its position.\n\n"
         "It waits for other writers only: Timeout after so many seconds, WouldBlock for 0.\n"
         "Then, or when the disk is full, nothing was appended. CorruptData, once, if some other\n"
         "program has cut the open file: it says which positions are lost; nothing was appended,\n"
         "and the next call goes on at the new end.")},
    {"append_many", IPCX_PY_FAST_METHOD(writer_append_many), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("append_many($self, messages, timeout=None)\n--\n\n"
               "Append all of them, next to each other; returns the position of the first.\n\n"
               "Many go with one system call, and with one fsync if the log is durable.")},
    {"sync", writer_sync, METH_NOARGS,
     PyDoc_STR("sync($self, /)\n--\n\nReturn when all that was appended is on the disk.")},
    {"_stats", writer_stats, METH_NOARGS, NULL},
    {"close", writer_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nClose the log for this writer.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef writer_getset[] = {
    {"closed", writer_closed, NULL, "Whether close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, "The core of ipcx.files.MessageLog."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, writer_start},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_methods, writer_methods},
    {Py_tp_getset, writer_getset},
    {0, NULL},
};

/* ---- reading */

typedef struct reader {
    PyObject_HEAD ipcx_py_state *state;
    ipcx_log_reader *core;
    bool closed;
} reader;

static int reader_start(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    reader *self = (reader *)op;
    PyObject *path;
    unsigned long long position;
    Py_ssize_t max_message;
    ipcx_status status;
    ipcx_error err = {0};
    if (self->core != NULL) {
        PyErr_SetString(PyExc_ValueError, "this follower is open already");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "O&Kn", PyUnicode_FSConverter, &path, &position, &max_message)) {
        return -1;
    }
    self->state = ipcx_py_state_of(op);
    IPCX_PY_WAITING(status, status = ipcx_log_follow(PyBytes_AS_STRING(path), position,
                                                     (size_t)max_message, &self->core, &err));
    Py_DECREF(path);
    if (status != IPCX_OK) {
        (void)ipcx_py_raise(self->state, status, &err);
        return -1;
    }
    return 0;
}

static PyObject *reader_failed(reader *self, ipcx_status status, ipcx_error *err)
{
    if (status == IPCX_EOF) {
        (void)ipcx_error_set(err, IPCX_PEER_CLOSED, 0, "receive", "the log was removed");
        status = IPCX_PEER_CLOSED;
    }
    (void)ipcx_py_raise(self->state, status, err);
    if (status == IPCX_CORRUPT || status == IPCX_PROTOCOL || status == IPCX_TOO_LARGE) {
        ipcx_py_attribute("offset",
                          PyLong_FromUnsignedLongLong(ipcx_log_reader_position(self->core)));
    }
    return NULL;
}

static PyObject *reader_receive(IPCX_PY_FAST)
{
    static const char *const names[] = {"timeout", NULL};
    reader *self = (reader *)op;
    PyObject *timeout = NULL;
    int64_t patience;
    ipcx_deadline deadline;
    ipcx_message message;
    ipcx_status status = IPCX_CLOSED;
    ipcx_error err = {.op = "receive", .detail = "the follower"};
    if ((nargs > 0 || kwnames != NULL) &&
        !ipcx_py_named(&timeout, names, 0, "receive", args, nargs, kwnames)) {
        return NULL;
    }
    if (!ipcx_py_patience(timeout, IPCX_PY_EVER, &patience)) {
        return NULL;
    }
    if (self->core == NULL) {
        return ipcx_py_raise(self->state, status, &err);
    }
    deadline = ipcx_py_deadline(patience);
    for (;;) {
        int fd;
        status = ipcx_log_next(self->core, IPCX_NOW, &message, NULL, &err);
        if (status == IPCX_INTR && ipcx_py_signals() == 0) {
            continue;
        }
        if (status != IPCX_AGAIN || patience == IPCX_PY_NEVER) {
            break;
        }
        IPCX_PY_WAITING(status, status = ipcx_log_wait(self->core, deadline, &err));
        if (status == IPCX_OK) { /* the first time it only asks for a descriptor to wait at */
            IPCX_PY_WAITING(status, status = ipcx_log_reader_fileno(self->core, &fd, &err));
        }
        if (status != IPCX_OK) {
            break;
        }
    }
    if (status != IPCX_OK) {
        return reader_failed(self, status, &err);
    }
    return message.flags & IPCX_MESSAGE_TEXT
               ? PyUnicode_DecodeUTF8(message.data, (Py_ssize_t)message.size, "strict")
               : PyBytes_FromStringAndSize(message.data, (Py_ssize_t)message.size);
}

static PyObject *reader_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    reader *self = (reader *)op;
    int fd;
    ipcx_error err = {.op = "fileno", .detail = "the follower"};
    ipcx_status status =
        self->core == NULL ? IPCX_CLOSED : ipcx_log_reader_fileno(self->core, &fd, &err);
    return status == IPCX_OK ? PyLong_FromLong(fd) : ipcx_py_raise(self->state, status, &err);
}

static PyObject *reader_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    reader *self = (reader *)op;
    self->closed = true;
    if (self->core != NULL) {
        IPCX_PY_WITHOUT_GIL(ipcx_log_reader_close(self->core));
    }
    Py_RETURN_NONE;
}

static PyObject *reader_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((reader *)op)->closed || ((reader *)op)->core == NULL);
}

static PyObject *reader_position(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_log_reader *core = ((reader *)op)->core;
    return PyLong_FromUnsignedLongLong(core != NULL ? ipcx_log_reader_position(core) : 0);
}

static PyObject *reader_lost(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_log_reader *core = ((reader *)op)->core;
    return PyLong_FromUnsignedLongLong(core != NULL ? ipcx_log_reader_lost(core) : 0);
}

static void reader_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    ipcx_log_reader_free(((reader *)op)->core);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef reader_methods[] = {
    {"receive", IPCX_PY_FAST_METHOD(reader_receive), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("receive($self, timeout=None)\n--\n\n"
               "The next message, bytes or str. None waits for ever, 0 polls.\n\n"
               "Timeout after so many seconds, WouldBlock for 0, CorruptData with .offset where\n"
               "the log is damaged, PeerClosed when it was removed.")},
    {"fileno", reader_fileno, METH_NOARGS,
     PyDoc_STR("fileno($self, /)\n--\n\n"
               "A descriptor that is readable when there may be a message. Ask for it first, then\n"
               "receive(0) until WouldBlock, then wait for it.")},
    {"close", reader_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nStop following; wake who waits.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef reader_getset[] = {
    {"closed", reader_closed, NULL, "Whether close() was called.", NULL},
    {"position", reader_position, NULL,
     "Where the next message begins: keep it to go on from there another time.", NULL},
    {"lost", reader_lost, NULL,
     "Bytes that were removed (retention) before this follower came to them.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "The core of ipcx.files.Follower."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, reader_start},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {Py_tp_getset, reader_getset},
    {0, NULL},
};

int ipcx_py_log_init(PyObject *module)
{
    PyType_Spec writer_spec = {.name = "ipcx._core.LogWriter",
                               .basicsize = sizeof(writer),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                               .slots = writer_slots};
    PyType_Spec reader_spec = {.name = "ipcx._core.LogReader",
                               .basicsize = sizeof(reader),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                               .slots = reader_slots};
    if (ipcx_py_add_type(module, &writer_spec) < 0) {
        return -1;
    }
    return ipcx_py_add_type(module, &reader_spec);
}
