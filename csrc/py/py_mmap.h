/* SPDX-License-Identifier: Apache-2.0
 * ipcx.mmap.mmap: a subclass of the stdlib's mmap whose memory is guarded against lost pages.
 *
 * The base class maps, reads and writes, in the words of the interpreter that is running; the guard
 * (ipcx/mapfile.h) is told where the memory is, and each method asks it afterwards whether a page
 * was lost. So a method never ends the process by SIGBUS; it raises. */
#ifndef IPCX_PY_MMAP_H
#define IPCX_PY_MMAP_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/guard.h"
#include "base/process.h"
#include "ipcx/mapfile.h"
#include "py/state.h"

/* The methods that go to the base class's and then to the guard. */
#define IPCX_PY_MAP_VERBS(X)                                                                       \
    X(read)                                                                                        \
    X(read_byte)                                                                                   \
    X(readline)                                                                                    \
    X(find)                                                                                        \
    X(rfind)                                                                                       \
    X(write)                                                                                       \
    X(write_byte)                                                                                  \
    X(move)                                                                                        \
    X(flush)                                                                                       \
    X(madvise)                                                                                     \
    X(seek)                                                                                        \
    X(tell)                                                                                        \
    X(resize)                                                                                      \
    X(close)

typedef enum ipcx_py_map_verb {
#define IPCX_PY_MAP_VERB(name) IPCX_PY_MAP_##name,
    IPCX_PY_MAP_VERBS(IPCX_PY_MAP_VERB)
#undef IPCX_PY_MAP_VERB
        IPCX_PY_MAP_VERB_COUNT
} ipcx_py_map_verb;

/* The front of the base class's C structure, of which offset and descriptor are read: the one is
 * where lost pages come back from, the other where to. Not part of Python's API, so it is tried out
 * on a live map at the first import; if it is not so, lost pages cannot be brought back and ranges
 * cannot be locked, and all else is as right. */
typedef struct ipcx_py_map_front {
    PyObject_HEAD char *data;
    Py_ssize_t size;
    Py_ssize_t pos;
    off_t offset;
    Py_ssize_t exports;
    int fd;
} ipcx_py_map_front;

/* Our own part, behind everything the base class has. */
typedef struct ipcx_py_map {
    ipcx_mapfile file;    /* what is guarded; guard NULL: nothing, as in an anonymous map */
    ipcx_py_state *state; /* borrowed; the type keeps the module alive */
    Py_ssize_t exports;   /* buffers given out: the memory must stay, and guarded */
    ipcx__own own;        /* in the list as long as lock_fd is open */
    int lock_fd;          /* plus one: the open file that ranges are locked on; 0: none yet */
} ipcx_py_map;

/* Written at the first import, the same for all interpreters of a process. */
typedef struct ipcx_py_map_layout_t {
    Py_ssize_t own; /* offset of ipcx_py_map */
    bool trusted;   /* the front is as we expect */
} ipcx_py_map_layout_t;
extern ipcx_py_map_layout_t ipcx_py_map_layout;

static inline ipcx_py_map *ipcx_py_map_of(PyObject *self)
{
    return (ipcx_py_map *)((char *)self + ipcx_py_map_layout.own);
}

/* ipcx_py_map_learn: looks the layout up on a live map of the base class. 0, or -1 with an
 * exception; an unexpected layout is none. */
int ipcx_py_map_learn(ipcx_py_state *state);

/* ipcx_py_map_lost: sets the OSError that says which pages were lost; false. */
bool ipcx_py_map_lost(PyObject *self);

/* ipcx_py_map_whole: true when no page was lost since the last call; else false with an OSError. */
static inline bool ipcx_py_map_whole(PyObject *self)
{
    return IPCX_LIKELY(!ipcx__guard_lost(ipcx_py_map_of(self)->file.guard)) ||
           ipcx_py_map_lost(self);
}

/* What the other files give to the type; py_mmap_extra.c has what the stdlib's mmap has not. */
#define IPCX_PY_MAP_ARGS PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames
PyObject *ipcx_py_map_resident(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *ipcx_py_map_lock(PyObject *self, PyObject *args);
void ipcx_py_map_unlock(PyObject *self); /* all of it: the map is closed */
PyObject *ipcx_py_map_from_path(PyObject *type, PyObject *args);
PyObject *ipcx_py_map_guard(PyObject *module, PyObject *args);

#endif
