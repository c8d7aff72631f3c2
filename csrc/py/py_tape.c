/* SPDX-License-Identifier: Apache-2.0
 * The tape: a head that stays mapped, and the chunk that is written now.
 * Invariant: as py_tape.h says. No descriptor is kept: a program that closes all it does not know,
 * and opens others, cannot have us write into its files. */
#include "py/py_tape.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/layer.h"

#define CHUNK ((size_t)256 * 1024)
#define FIRST ((size_t)32 * 1024) /* a child that does little shall cost little */
#define PAGE ((size_t)4096)

typedef struct tape {
    PyObject_HEAD PyObject *path; /* bytes */
    ipcx_py_tape_head *head;      /* NULL: closed */
    unsigned char *chunk;         /* NULL: none yet, or there is no place for more */
    size_t size, at;              /* of the chunk */
    off_t end;                    /* of the file */
    uint32_t made_in;             /* fork generation: a child must not write on its parent's */
    bool full;
} tape;

/* ---- the file */

/* `size` more bytes at the end of the file, mapped; NULL with errno. */
static void *grow(tape *self, size_t size)
{
    const char *path = PyBytes_AS_STRING(self->path);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), error, saved;
    void *made = MAP_FAILED;
    struct stat seen;
    if (fd < 0) {
        return NULL;
    }
    error = fstat(fd, &seen) != 0 ? errno : seen.st_size != self->end ? ESTALE : 0;
    for (int tries = 0; error == 0 && tries < 100; tries++) {
        error = posix_fallocate(fd, self->end, (off_t)size);
        if (error != EINTR) {
            break;
        }
        error = 0;
    }
    if (error == 0) {
        made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, self->end);
        error = errno;
    }
    saved = error;
    (void)close(fd);
    if (made == MAP_FAILED) {
        errno = saved;
        return NULL;
    }
    self->end += (off_t)size;
    return made;
}

static void drop_chunk(tape *self)
{
    if (self->chunk != NULL) {
        (void)munmap(self->chunk, self->size);
        self->chunk = NULL;
    }
}

static bool next_chunk(tape *self, size_t need)
{
    size_t size = self->end == (off_t)IPCX_PY_TAPE_HEAD ? FIRST : CHUNK;
    uint64_t said;
    if (self->full) {
        return false;
    }
    if (size < need + sizeof said) {
        size = (need + sizeof said + PAGE - 1) & ~(PAGE - 1);
    }
    drop_chunk(self);
    self->chunk = grow(self, size);
    if (self->chunk == NULL) {
        self->full = true;
        return false;
    }
    self->size = size;
    said = size;
    memcpy(self->chunk, &said, sizeof said);
    self->at = sizeof said;
    return true;
}

/* Whether it may be written on: it is open, and this process's own. */
static inline bool usable(const tape *self)
{
    return self->head != NULL && self->made_in == ipcx__fork_generation();
}

/* Room for a record of `need` bytes (a multiple of 8) on a usable tape, or NULL. */
static inline unsigned char *room_for(tape *self, size_t need)
{
    unsigned char *place;
    if (IPCX_UNLIKELY(self->chunk == NULL || self->size - self->at < need) &&
        !next_chunk(self, need)) {
        return NULL;
    }
    place = self->chunk + self->at;
    self->at += need;
    return place;
}

/* The record but its size, which comes last: from then on it is there. */
static inline void publish(unsigned char *place, const ipcx_py_tape_record *record, size_t size)
{
    memcpy(place + sizeof record->size, (const char *)record + sizeof record->size,
           sizeof *record - sizeof record->size);
    atomic_store_explicit((_Atomic uint32_t *)(void *)place, (uint32_t)size, memory_order_release);
}

static inline bool counted(tape *self)
{
    if (!usable(self)) {
        return false;
    }
    if (IPCX_UNLIKELY(self->head->left <= 0)) {
        self->head->missed++;
        return false;
    }
    self->head->left--;
    return true;
}

bool ipcx_py_is_tape(const ipcx_py_state *state, PyObject *object)
{
    return Py_IS_TYPE(object, (PyTypeObject *)state->tape_type);
}

void ipcx_py_tape_call(PyObject *op, const ipcx_py_tape_record *record, ipcx_py_tape_parts parts)
{
    tape *self = (tape *)op;
    size_t need = sizeof *record + record->data + record->address + record->error;
    unsigned char *place;
    if (!counted(self)) {
        return;
    }
    need = (need + 7) & ~(size_t)7;
    place = room_for(self, need);
    if (place == NULL) {
        self->head->missed++;
        return;
    }
    memcpy(place + sizeof *record, parts.data, record->data);
    if (IPCX_UNLIKELY(record->address + record->error > 0)) {
        unsigned char *at = place + sizeof *record + record->data;
        memcpy(at, parts.address, record->address);
        memcpy(at + record->address, parts.error, record->error);
    }
    publish(place, record, need);
}

/* ---- the object */

static bool add_row(tape *self, const Py_buffer *row)
{
    ipcx_py_tape_record record = {.moved = row->len};
    size_t need = (sizeof record + (size_t)row->len + 7) & ~(size_t)7;
    unsigned char *place = NULL;
    if (usable(self) && need <= UINT32_MAX) {
        place = room_for(self, need);
    }
    if (place == NULL) {
        return false;
    }
    memcpy(place + sizeof record, row->buf, (size_t)row->len);
    publish(place, &record, need);
    return true;
}

/* (row): what is no call, and always kept. */
static PyObject *tape_add(PyObject *op, PyObject *arg)
{
    Py_buffer row;
    bool done;
    if (PyObject_GetBuffer(arg, &row, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    done = add_row((tape *)op, &row);
    PyBuffer_Release(&row);
    return PyBool_FromLong(done);
}

/* (row): a call that needs more words than a record has. */
static PyObject *tape_add_call(PyObject *op, PyObject *arg)
{
    tape *self = (tape *)op;
    Py_buffer row;
    bool done;
    if (PyObject_GetBuffer(arg, &row, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    done = counted(self);
    if (done && !add_row(self, &row)) {
        self->head->missed++;
        done = false;
    }
    PyBuffer_Release(&row);
    return PyBool_FromLong(done);
}

static void shut(tape *self)
{
    drop_chunk(self);
    self->full = true;
    if (self->head != NULL) {
        (void)munmap(self->head, IPCX_PY_TAPE_HEAD);
        self->head = NULL;
    }
}

static PyObject *tape_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    shut((tape *)op);
    Py_RETURN_NONE;
}

static void tape_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    shut((tape *)op);
    Py_XDECREF(((tape *)op)->path);
    type->tp_free(op);
    Py_DECREF(type);
}

/* (path, kept): the empty file `path` becomes a tape for `kept` calls. */
static PyObject *tape_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *path;
    long long kept;
    tape *self;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError, "Tape() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O&L", PyUnicode_FSConverter, &path, &kept)) {
        return NULL;
    }
    self = (tape *)type->tp_alloc(type, 0);
    if (self == NULL) {
        Py_DECREF(path);
        return NULL;
    }
    self->path = path;
    self->made_in = ipcx__fork_generation();
    self->head = grow(self, IPCX_PY_TAPE_HEAD);
    if (self->head == NULL) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, PyTuple_GET_ITEM(args, 0));
        Py_DECREF(self);
        return NULL;
    }
    self->head->left = kept;
    memcpy(self->head->magic, IPCX_PY_TAPE_MAGIC, sizeof self->head->magic);
    return (PyObject *)self;
}

static PyMethodDef tape_methods[] = {
    {"add", tape_add, METH_O, PyDoc_STR("add(row) -> bool\n\nAppend what is no call.")},
    {"add_call", tape_add_call, METH_O,
     PyDoc_STR("add_call(row) -> bool\n\nAppend what a call did, if it is one of those kept.")},
    {"close", tape_close, METH_NOARGS, PyDoc_STR("close() -> None\n\nThe file stays.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot tape_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Tape(path, kept)\n\nAn empty file that is appended to through "
                                  "memory; what is kept of `kept` calls outlives a kill -9.")},
    {Py_tp_new, tape_new},
    {Py_tp_dealloc, tape_dealloc},
    {Py_tp_methods, tape_methods},
    {0, NULL},
};

static PyType_Spec tape_spec = {
    .name = "ipcx._core.Tape",
    .basicsize = sizeof(tape),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = tape_slots,
};

int ipcx_py_tape_init(PyObject *module, ipcx_py_state *state)
{
    state->tape_type = ipcx_py_make_type(module, &tape_spec, NULL);
    return state->tape_type != NULL ? 0 : -1;
}
