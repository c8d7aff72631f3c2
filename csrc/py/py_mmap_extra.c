/* SPDX-License-Identifier: Apache-2.0
 * What ipcx.mmap has and the stdlib's mmap has not: a path in place of a descriptor, resident
 * pages, locked ranges, the guard's switch; and how the base class's fields are found. Invariant:
 * while a call has let the GIL go, a buffer of the map is out, so it cannot be closed. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "py/call.h"
#include "py/error.h"
#include "py/py_mmap.h"

/* ---- the base class's fields */

/* Whether `fd` is another descriptor of the same file. */
static bool is_copy(int fd, int original)
{
    struct stat one, other;
    return fd != original && fstat(fd, &one) == 0 && fstat(original, &other) == 0 &&
           one.st_ino == other.st_ino && one.st_dev == other.st_dev;
}

static bool front_holds(PyObject *map, int fd, size_t page)
{
    const ipcx_py_map_front *front = (ipcx_py_map_front *)map;
    Py_buffer view;
    bool same;
    PyObject *at = PyObject_CallMethod(map, "seek", "i", 77);
    Py_XDECREF(at);
    if (at == NULL || PyObject_GetBuffer(map, &view, PyBUF_SIMPLE) < 0) {
        return false;
    }
    same = front->data == view.buf && front->size == view.len && front->pos == 77 &&
           front->offset == (off_t)page && front->exports == 1 && is_copy(front->fd, fd);
    PyBuffer_Release(&view);
    return same;
}

int ipcx_py_map_learn(ipcx_py_state *state)
{
    PyTypeObject *base = (PyTypeObject *)state->map_base;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    PyObject *args, *kwargs, *map = NULL;
    int fd;
    ipcx_py_map_layout.own = (base->tp_basicsize + 15) & ~(Py_ssize_t)15;
    if (base->tp_basicsize < (Py_ssize_t)sizeof(ipcx_py_map_front)) {
        return 0;
    }
    fd = memfd_create("ipcx-learn", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)(2 * page)) != 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return 0; /* A sandbox: the fields stay unread. */
    }
    args = Py_BuildValue("(in)", fd, (Py_ssize_t)page);
    kwargs = Py_BuildValue("{s:n}", "offset", (Py_ssize_t)page);
    if (args != NULL && kwargs != NULL) {
        map = PyObject_Call(state->map_base, args, kwargs);
    }
    ipcx_py_map_layout.trusted = map != NULL && front_holds(map, fd, page);
    PyErr_Clear();
    Py_XDECREF(map);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    (void)close(fd);
    return 0;
}

/* ---- a path */

static PyObject *raise_file(ipcx_py_state *state, ipcx_status status, const ipcx_error *err,
                            PyObject *path)
{
    if (err->sys_errno != 0) {
        errno = err->sys_errno;
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
    }
    if (status == IPCX_INVALID) {
        PyErr_SetString(PyExc_ValueError, err->detail);
        return NULL;
    }
    return ipcx_py_raise(state, status, err);
}

/* type(fd, length, access=…, offset=…): the class's own constructor, so that subclasses see it. */
static PyObject *map_file(PyObject *type, int fd, size_t length, long long offset, unsigned flags)
{
    int access = flags & IPCX_MAPFILE_PRIVATE ? 3 : flags & IPCX_MAPFILE_WRITE ? 2 : 1;
    PyObject *args = Py_BuildValue("(in)", fd, (Py_ssize_t)length), *map = NULL;
    PyObject *kwargs = Py_BuildValue("{s:i,s:L}", "access", access, "offset", offset);
    if (args != NULL && kwargs != NULL) {
        map = PyObject_Call(type, args, kwargs);
    }
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    return map;
}

/* _from_path(path, size, offset, flags) */
PyObject *ipcx_py_map_from_path(PyObject *type, PyObject *args)
{
    PyObject *path, *bytes, *map,
        *module = PyType_GetModuleByDef((PyTypeObject *)type, &ipcx_py_module);
    long long size, offset;
    unsigned flags;
    size_t length = 0;
    int fd = -1;
    ipcx_error err = {0};
    ipcx_status status;
    if (module == NULL || !PyArg_ParseTuple(args, "OLLI", &path, &size, &offset, &flags)) {
        return NULL;
    }
    if (!PyUnicode_FSConverter(path, &bytes)) {
        return NULL;
    }
    do {
        IPCX_PY_WITHOUT_GIL(status = ipcx_mapfile_file(PyBytes_AS_STRING(bytes), offset,
                                                       (size_t)size, flags, &fd, &length, &err));
    } while (status == IPCX_INTR && PyErr_CheckSignals() == 0);
    Py_DECREF(bytes);
    if (status != IPCX_OK) {
        return status == IPCX_INTR ? NULL
                                   : raise_file(PyModule_GetState(module), status, &err, path);
    }
    map = map_file(type, fd, length, offset, flags); /* The base class keeps a copy of fd. */
    (void)close(fd);
    return map;
}

/* ---- resident pages */

static PyObject *page_list(const unsigned char *pages, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyList_SET_ITEM(list, i, PyBool_FromLong(pages[i]));
    }
    return list;
}

/* The pages of `length` bytes from `start` of the memory that `view` holds. */
static PyObject *resident_of(ipcx_py_state *state, const Py_buffer *view, Py_ssize_t start,
                             Py_ssize_t length)
{
    Py_ssize_t page = (Py_ssize_t)sysconf(_SC_PAGESIZE), first, count;
    unsigned char *pages;
    PyObject *list = NULL;
    ipcx_error err;
    ipcx_status status;
    if (start < 0 || start > view->len || length < -1) {
        PyErr_SetString(PyExc_ValueError, "resident range out of bounds");
        return NULL;
    }
    if (length < 0 || length > view->len - start) {
        length = view->len - start;
    }
    first = start / page;
    count = length == 0 ? 0 : (start + length - 1) / page - first + 1;
    pages = PyMem_Malloc((size_t)count + 1);
    if (pages == NULL) {
        return PyErr_NoMemory();
    }
    IPCX_PY_WITHOUT_GIL(status = ipcx_mapfile_resident((char *)view->buf + first * page,
                                                       (size_t)(count * page), pages, &err));
    if (status == IPCX_OK) {
        list = page_list(pages, count);
    } else {
        (void)ipcx_py_raise(state, status, &err);
    }
    PyMem_Free(pages);
    return list;
}

PyObject *ipcx_py_map_resident(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"start", "length", NULL};
    Py_ssize_t start = 0, length = -1;
    PyObject *wanted = Py_None, *list;
    Py_buffer view;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|nO:resident", names, &start, &wanted)) {
        return NULL;
    }
    if (wanted != Py_None) {
        length = PyNumber_AsSsize_t(wanted, PyExc_OverflowError);
        if (length < 0) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ValueError, "resident range out of bounds");
            }
            return NULL;
        }
    }
    if (PyObject_GetBuffer(self, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    list = resident_of(ipcx_py_map_of(self)->state, &view, start, length);
    PyBuffer_Release(&view);
    return list;
}

/* ---- locked ranges */

/* Locks are on an open file of their own: the base class's is the map's, too, so it would live on,
 * locks and all, in each child of fork(2) that has inherited the map. */
static void forked(ipcx__own *own)
{
    ipcx_py_map *map = (ipcx_py_map *)(void *)((char *)own - offsetof(ipcx_py_map, own));
    int saved = errno;
    (void)close(map->lock_fd - 1);
    map->lock_fd = 0;
    errno = saved;
}

/* The base class's, where it cannot be opened anew. */
static int lock_fd(PyObject *self)
{
    ipcx_py_map *map = ipcx_py_map_of(self);
    int fd = ((ipcx_py_map_front *)self)->fd, flags = fcntl(fd, F_GETFL);
    char path[40];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    (void)ipcx__fork_generation(); /* asked for once, forks are told of */
    ipcx__own_lock();              /* a fork finds it in the list, or not open yet */
    if (map->lock_fd == 0 && flags >= 0) {
        map->lock_fd = open(path, (flags & O_ACCMODE) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) + 1;
        if (map->lock_fd != 0) {
            map->own.forked = forked;
            ipcx__own_add(IPCX__OWN_RANGES, &map->own);
        }
    }
    fd = map->lock_fd != 0 ? map->lock_fd - 1 : fd;
    ipcx__own_unlock();
    return fd;
}

void ipcx_py_map_unlock(PyObject *self)
{
    ipcx_py_map *map = ipcx_py_map_of(self);
    int fd;
    ipcx__own_lock();
    ipcx__own_remove(&map->own);
    fd = map->lock_fd;
    map->lock_fd = 0;
    ipcx__own_unlock();
    if (fd != 0) {
        (void)close(fd - 1);
    }
}

/* Locks with the GIL let go; signal handlers run in between. */
static PyObject *lock_range(PyObject *self, int64_t at, int64_t n, int kind, int64_t timeout)
{
    ipcx_deadline deadline = timeout < 0 ? IPCX_FOREVER : ipcx_deadline_after(timeout);
    int fd = lock_fd(self);
    ipcx_error err = {0};
    ipcx_status status;
    do {
        IPCX_PY_WITHOUT_GIL(
            status = ipcx_mapfile_lock(fd, at, n, (ipcx_mapfile_lock_kind)kind, deadline, &err));
    } while (status == IPCX_INTR && PyErr_CheckSignals() == 0);
    if (status == IPCX_OK) {
        Py_RETURN_NONE;
    }
    if (status == IPCX_INTR) {
        return NULL;
    }
    if (status < 0) {
        errno = err.sys_errno;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return ipcx_py_raise(ipcx_py_map_of(self)->state, status, &err);
}

/* _lock(start, length, kind, timeout): nanoseconds, < 0 for ever. What is unlocked may lie
 * outside by now: the map may have been resized. */
PyObject *ipcx_py_map_lock(PyObject *self, PyObject *args)
{
    Py_ssize_t start, length;
    long long timeout;
    int kind;
    Py_buffer view;
    PyObject *result = NULL;
    const ipcx_py_map_front *front = (ipcx_py_map_front *)self;
    if (!PyArg_ParseTuple(args, "nniL", &start, &length, &kind, &timeout) ||
        PyObject_GetBuffer(self, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (kind != IPCX_MAPFILE_UNLOCK &&
        (start < 0 || start >= view.len || length <= 0 || length > view.len - start)) {
        PyErr_SetString(PyExc_ValueError, "locked range out of bounds");
    } else if (!ipcx_py_map_layout.trusted || front->fd < 0) {
        PyErr_SetString(PyExc_ValueError,
                        "this map keeps no file open whose range could be locked");
    } else {
        result = lock_range(self, front->offset + start, length, kind, timeout);
    }
    PyBuffer_Release(&view);
    return result;
}

/* mmap_guard(on) -> bool */
PyObject *ipcx_py_map_guard(PyObject *Py_UNUSED(module), PyObject *args)
{
    int on;
    if (!PyArg_ParseTuple(args, "p", &on)) {
        return NULL;
    }
    return PyBool_FromLong(ipcx_mapfile_guard(on));
}
