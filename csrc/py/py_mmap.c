/* SPDX-License-Identifier: Apache-2.0
 * The type ipcx.mmap.mmap: making, closing, indexing, and the base class's methods under guard.
 * Invariant: the guard watches exactly while the memory is mapped, so a fault in it is ours. */
#include "py/py_mmap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "py/error.h"

ipcx_py_map_layout_t ipcx_py_map_layout;

static PyTypeObject *base_of(PyObject *self)
{
    return (PyTypeObject *)ipcx_py_map_of(self)->state->map_base;
}

static ipcx_py_map_front *front_of(PyObject *self)
{
    return (ipcx_py_map_front *)self;
}

/* ---- the guard */

bool ipcx_py_map_lost(PyObject *self)
{
    ipcx_mapfile *file = &ipcx_py_map_of(self)->file;
    struct stat now;
    ipcx_error err;
    PyObject *type, *error, *traceback, *done;
    if (ipcx_mapfile_check(file, &err) == IPCX_OK) {
        return true; /* Another thread has heard it. */
    }
    PyErr_Clear();
    errno = err.sys_errno;
    (void)PyErr_SetFromErrno(PyExc_OSError);
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (file->fd >= 0 && fstat(file->fd, &now) == 0) {
        done = PyObject_CallMethod(
            error, "add_note", "N",
            PyUnicode_FromFormat("%s: it has %lld bytes now. Somebody truncated it while it "
                                 "was mapped; zeros stand where it ends. Map it again, or "
                                 "resize() this map.",
                                 err.detail, (long long)now.st_size));
    } else {
        done = PyObject_CallMethod(error, "add_note", "s", err.detail);
    }
    if (done == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(done);
    PyErr_Restore(type, error, traceback);
    return false;
}

static int watch(PyObject *self)
{
    ipcx_py_map *own = ipcx_py_map_of(self);
    ipcx_error err;
    Py_buffer view;
    if (base_of(self)->tp_as_buffer->bf_getbuffer(self, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    own->file.data = view.buf;
    own->file.size = (size_t)view.len;
    own->file.fd = ipcx_py_map_layout.trusted ? front_of(self)->fd : -1;
    own->file.offset = ipcx_py_map_layout.trusted ? front_of(self)->offset : 0;
    PyBuffer_Release(&view);
    own->exports++; /* Our own getbuffer was passed over: our releasebuffer has just counted. */
    if (ipcx_mapfile_watch(&own->file, &err) != IPCX_OK) {
        (void)PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* The argument of mmap.mmap() by its place or name, which the base class has accepted. */
static long argument(PyObject *args, PyObject *kwargs, Py_ssize_t place, const char *name,
                     long otherwise)
{
    PyObject *value = NULL;
    long number;
    if (place < PyTuple_GET_SIZE(args)) {
        value = PyTuple_GET_ITEM(args, place);
    } else if (kwargs != NULL) {
        value = PyDict_GetItemString(kwargs, name);
    }
    if (value == NULL) {
        return otherwise;
    }
    number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return otherwise;
    }
    return number;
}

static PyObject *map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    ipcx_py_state *state;
    ipcx_py_map *own;
    long flags, prot, access;
    PyObject *self, *module = PyType_GetModuleByDef(type, &ipcx_py_module);
    if (module == NULL) {
        return NULL;
    }
    state = PyModule_GetState(module);
    self = ((PyTypeObject *)state->map_base)->tp_new(type, args, kwargs);
    if (self == NULL) {
        return NULL;
    }
    own = ipcx_py_map_of(self);
    own->state = state;
    flags = argument(args, kwargs, 2, "flags", MAP_SHARED);
    prot = argument(args, kwargs, 3, "prot", PROT_READ | PROT_WRITE);
    access = argument(args, kwargs, 4, "access", 0); /* 1 read, 2 write, 3 copy */
    own->file.flags = access == 1 || (access == 0 && !(prot & PROT_WRITE)) ? IPCX_MAPFILE_READ
                                                                           : IPCX_MAPFILE_WRITE;
    if (access == 3 || (access == 0 && (flags & MAP_PRIVATE))) {
        own->file.flags |= IPCX_MAPFILE_PRIVATE;
    }
    /* Memory that belongs to no file cannot be taken away by anybody. */
    if (argument(args, kwargs, 0, "fileno", -1) != -1 && !(flags & MAP_ANONYMOUS) &&
        watch(self) < 0) {
        Py_CLEAR(self);
    }
    return self;
}

/* Also of an object that the base class has given up half made, which has no state yet. */
static void map_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    while (type->tp_dealloc != map_dealloc) {
        type = type->tp_base;
    }
    ipcx_mapfile_unwatch(&ipcx_py_map_of(self)->file);
    ipcx_py_map_unlock(self);
    type->tp_base->tp_dealloc(self); /* Unmaps, frees the object and lets its type go. */
}

/* ---- the buffer */

static int map_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    int result;
    if (!ipcx_py_map_whole(self)) {
        return -1;
    }
    result = base_of(self)->tp_as_buffer->bf_getbuffer(self, view, flags);
    if (result == 0) {
        ipcx_py_map_of(self)->exports++;
        if (ipcx_py_map_of(self)->file.guard != NULL) {
            ipcx__guard_on_top(); /* From here on nobody asks us before the memory is touched. */
        }
    }
    return result;
}

static void map_releasebuffer(PyObject *self, Py_buffer *view)
{
    ipcx_py_map_of(self)->exports--;
    base_of(self)->tp_as_buffer->bf_releasebuffer(self, view);
}

/* ---- indexing */

/* What the base class has answered, unless a page was lost meanwhile. */
static PyObject *passed(PyObject *self, PyObject *result)
{
    if (!ipcx_py_map_whole(self)) {
        Py_CLEAR(result);
    }
    return result;
}

static int passed_int(PyObject *self, int result)
{
    return ipcx_py_map_whole(self) ? result : -1;
}

static PyObject *map_subscript(PyObject *self, PyObject *key)
{
    if (!ipcx_py_map_whole(self)) {
        return NULL;
    }
    return passed(self, base_of(self)->tp_as_mapping->mp_subscript(self, key));
}

static int map_ass_subscript(PyObject *self, PyObject *key, PyObject *value)
{
    if (!ipcx_py_map_whole(self)) {
        return -1;
    }
    return passed_int(self, base_of(self)->tp_as_mapping->mp_ass_subscript(self, key, value));
}

static PyObject *map_item(PyObject *self, Py_ssize_t index)
{
    if (!ipcx_py_map_whole(self)) {
        return NULL;
    }
    return passed(self, base_of(self)->tp_as_sequence->sq_item(self, index));
}

static int map_ass_item(PyObject *self, Py_ssize_t index, PyObject *value)
{
    if (!ipcx_py_map_whole(self)) {
        return -1;
    }
    return passed_int(self, base_of(self)->tp_as_sequence->sq_ass_item(self, index, value));
}

/* ---- the methods */

static PyObject *by_base(PyObject *self, ipcx_py_map_verb verb, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *method = PyTuple_GET_ITEM(ipcx_py_map_of(self)->state->map_verbs, verb);
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *few[8], **all = few, *result;
    if (nargs + named >= (Py_ssize_t)(sizeof few / sizeof few[0])) {
        all = PyMem_Malloc((size_t)(nargs + named + 1) * sizeof all[0]);
        if (all == NULL) {
            return PyErr_NoMemory();
        }
    }
    all[0] = self;
    if (nargs + named > 0) {
        memcpy(all + 1, args, (size_t)(nargs + named) * sizeof args[0]);
    }
    result = PyObject_Vectorcall(method, all, (size_t)nargs + 1, kwnames);
    if (all != few) {
        PyMem_Free(all);
    }
    return result;
}

static PyObject *guarded(PyObject *self, ipcx_py_map_verb verb, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *result;
    Py_ssize_t pos;
    if (!ipcx_py_map_whole(self)) {
        return NULL;
    }
    pos = ipcx_py_map_layout.trusted ? front_of(self)->pos : 0;
    result = by_base(self, verb, args, nargs, kwnames);
    if (!ipcx_py_map_whole(self)) {
        Py_CLEAR(result);
        if (ipcx_py_map_layout.trusted) {
            front_of(self)->pos = pos; /* Nothing was read or written that counts. */
        }
    }
    return result;
}

#define GUARDED(name)                                                                              \
    static PyObject *map_##name(IPCX_PY_MAP_ARGS)                                                  \
    {                                                                                              \
        return guarded(self, IPCX_PY_MAP_##name, args, nargs, kwnames);                            \
    }
GUARDED(read)
GUARDED(read_byte)
GUARDED(readline)
GUARDED(find)
GUARDED(rfind)
GUARDED(write)
GUARDED(write_byte)
GUARDED(move)
GUARDED(flush)
GUARDED(madvise)
GUARDED(seek)
GUARDED(tell)

/* The memory may go elsewhere, or away: nobody watches it meanwhile, and nobody uses it, for the
 * base class refuses while a buffer is out, which we know before it. */
static PyObject *moving(PyObject *self, ipcx_py_map_verb verb, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames)
{
    ipcx_py_map *own = ipcx_py_map_of(self);
    bool watched = own->file.guard != NULL && own->exports == 0;
    PyObject *result, *type, *value, *traceback;
    if (watched) {
        /* Whoever resizes or closes need not hear of a loss; but only a map that is in one piece,
         * as it is after a check, can be resized. */
        ipcx_status ignored = ipcx_mapfile_check(&own->file, NULL);
        (void)ignored;
        ipcx_mapfile_unwatch(&own->file);
    }
    result = by_base(self, verb, args, nargs, kwnames);
    if (result != NULL && verb == IPCX_PY_MAP_close) {
        ipcx_py_map_unlock(self);
    }
    if (!watched) {
        return result;
    }
    PyErr_Fetch(&type, &value, &traceback);
    if (watch(self) < 0 && !PyErr_ExceptionMatches(PyExc_ValueError)) {
        Py_CLEAR(result); /* No memory for the guard. */
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return NULL;
    }
    PyErr_Clear(); /* ValueError: it is closed, so there is nothing to watch. */
    PyErr_Restore(type, value, traceback);
    return result;
}

static PyObject *map_resize(IPCX_PY_MAP_ARGS)
{
    return moving(self, IPCX_PY_MAP_resize, args, nargs, kwnames);
}

static PyObject *map_close(IPCX_PY_MAP_ARGS)
{
    return moving(self, IPCX_PY_MAP_close, args, nargs, kwnames);
}

/* The base class's __exit__ closes past our close(). */
static PyObject *map_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    (void)args;
    (void)nargs;
    return moving(self, IPCX_PY_MAP_close, NULL, 0, NULL);
}

/* "<mmap.mmap closed=…>" as the base class has it, whose text begins with the type's name. */
static PyObject *map_repr(PyObject *self)
{
    PyObject *text = base_of(self)->tp_repr(self), *result;
    PyObject *name = PyUnicode_FromString("<ipcx.mmap.mmap "), *plain;
    plain = PyUnicode_FromString("<mmap.mmap ");
    if (text == NULL || name == NULL || plain == NULL) {
        result = NULL;
    } else {
        result = PyUnicode_Replace(text, name, plain, 1);
    }
    Py_XDECREF(plain);
    Py_XDECREF(name);
    Py_XDECREF(text);
    return result;
}

/* ---- the type */

/* clang-format off */
static PyMethodDef map_methods[] = {
#define VERB(name)                                                                                 \
    {#name, (PyCFunction)(void (*)(void))map_##name, METH_FASTCALL | METH_KEYWORDS, NULL},
    IPCX_PY_MAP_VERBS(VERB)
#undef VERB
    {"__exit__", (PyCFunction)(void (*)(void))map_exit, METH_FASTCALL, NULL},
    {"resident", (PyCFunction)(void (*)(void))ipcx_py_map_resident, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("resident($self, start=0, length=None)\n--\n\n"
               "Which pages are in memory: a list of bool, one for each page of the `length` bytes\n"
               "from `start` (all that follow). A page that was never touched is not there yet:\n"
               "the kernel brings it when it is needed, which is demand paging. For a file it tells\n"
               "whether the page is in the kernel's cache, whoever brought it there.")},
    {"_lock", ipcx_py_map_lock, METH_VARARGS, NULL},
    {"_from_path", ipcx_py_map_from_path, METH_VARARGS | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};
/* clang-format on */

PyDoc_STRVAR(
    map_doc,
    "The stdlib's mmap.mmap, guarded: memory that a file no longer has raises OSError\n"
    "(EFAULT) where it would end the process by SIGBUS.\n\n"
    "Arguments, methods and exceptions are the stdlib's. Beyond it: resident() and locked().\n"
    "Through an exported buffer (a memoryview, a NumPy array) a lost page reads as zeros,\n"
    "and the next method called on the map raises.");

static PyType_Slot map_slots[] = {
    {Py_tp_doc, (void *)map_doc},
    {Py_tp_new, map_new},
    {Py_tp_dealloc, map_dealloc},
    {Py_tp_repr, map_repr},
    {Py_tp_methods, map_methods},
    {Py_mp_subscript, map_subscript},
    {Py_mp_ass_subscript, map_ass_subscript},
    {Py_sq_item, map_item},
    {Py_sq_ass_item, map_ass_item},
    {Py_bf_getbuffer, map_getbuffer},
    {Py_bf_releasebuffer, map_releasebuffer},
    {0, NULL},
};

static PyMethodDef functions[] = {
    {"mmap_guard", ipcx_py_map_guard, METH_VARARGS,
     PyDoc_STR("mmap_guard(on) -> bool\n\n"
               "Switches the guard of mapped files, ipcx.mmap.guard(), and says what it was.")},
    {NULL, NULL, 0, NULL},
};

static int look_up(ipcx_py_state *state)
{
    static const char *const names[] = {
#define VERB_NAME(name) #name,
        IPCX_PY_MAP_VERBS(VERB_NAME)
#undef VERB_NAME
    };
    PyObject *stdlib = PyImport_ImportModule("mmap");
    if (stdlib == NULL) {
        return -1;
    }
    state->map_base = PyObject_GetAttrString(stdlib, "mmap");
    Py_DECREF(stdlib);
    state->map_verbs = PyTuple_New(IPCX_PY_MAP_VERB_COUNT);
    if (state->map_base == NULL || state->map_verbs == NULL) {
        return -1;
    }
    for (int verb = 0; verb < IPCX_PY_MAP_VERB_COUNT; verb++) {
        PyObject *method = PyObject_GetAttrString(state->map_base, names[verb]);
        if (method == NULL) {
            return -1;
        }
        PyTuple_SET_ITEM(state->map_verbs, verb, method);
    }
    return 0;
}

int ipcx_py_mmap_init(PyObject *module, ipcx_py_state *state)
{
    PyType_Spec spec = {
        .name = "ipcx.mmap.mmap",
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
        .slots = map_slots,
    };
    if (look_up(state) < 0 || ipcx_py_map_learn(state) < 0) {
        return -1;
    }
    spec.basicsize = (int)(ipcx_py_map_layout.own + (Py_ssize_t)sizeof(ipcx_py_map));
    state->map_type = PyType_FromModuleAndSpec(module, &spec, state->map_base);
    if (state->map_type == NULL || PyModule_AddFunctions(module, functions) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "mmap", state->map_type);
}
