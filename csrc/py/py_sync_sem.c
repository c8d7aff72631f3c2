/* SPDX-License-Identifier: Apache-2.0
 * `ipcx.sync.Semaphore`'s core.
 * Invariant: as py_sync.h says. */
#include "py/py_sync.h"

#include "os/sync/word.h"

/* Where nobody else wants it just then: true (py_sync.c: mutex_at_once). */
static inline bool at_once(PyObject *op, bool (*act)(ipcx_sync *))
{
    ipcx_sync *core = ((ipcx_py_sync *)op)->core;
    return IPCX_LIKELY(core != NULL) && act(core);
}

static Py_NO_INLINE PyObject *sem_acquire_slowly(IPCX_PY_FAST)
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    int64_t ns = IPCX_PY_EVER;
    ipcx_error err = {0};
    if (core == NULL || !ipcx_py_sync_patience("acquire", args, nargs, kwnames, &ns)) {
        return NULL;
    }
    if (ipcx__sem_try(core) || ipcx__sem_try_owned(core)) {
        Py_RETURN_TRUE;
    }
    return ipcx_py_sync_true(op, ipcx_py_sync_wait(core, ipcx_sem_wait, ns, &err), &err);
}

static PyObject *sem_acquire(IPCX_PY_FAST)
{
    if (IPCX_LIKELY(nargs == 0 && kwnames == NULL && at_once(op, ipcx__sem_try))) {
        Py_RETURN_TRUE;
    }
    return sem_acquire_slowly(op, args, nargs, kwnames);
}

static PyObject *sem_try(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    ipcx_error err = {0};
    if (core == NULL) {
        return NULL;
    }
    if (ipcx__sem_try(core) || ipcx__sem_try_owned(core)) {
        Py_RETURN_TRUE;
    }
    return ipcx_py_sync_tried(op, ipcx_py_sync_wait(core, ipcx_sem_wait, IPCX_PY_NEVER, &err),
                              &err);
}

static PyObject *sem_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (IPCX_UNLIKELY(!at_once(op, ipcx__sem_try))) {
        PyObject *done = sem_acquire_slowly(op, NULL, 0, NULL);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    return Py_NewRef(op);
}

static Py_NO_INLINE PyObject *give_slowly(PyObject *op, uint32_t n)
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    ipcx_error err = {0};
    ipcx_status status;
    if (core == NULL) {
        return NULL;
    }
    IPCX_PY_WAITING(status, status = ipcx_sem_post(core, n, &err));
    return ipcx_py_sync_none(op, status, &err);
}

static PyObject *give(PyObject *op, uint32_t n)
{
    if (IPCX_LIKELY(n == 1 && at_once(op, ipcx__sem_give))) {
        Py_RETURN_NONE;
    }
    return give_slowly(op, n);
}

static PyObject *sem_release(IPCX_PY_FAST)
{
    static const char *const names[] = {"n", NULL};
    PyObject *number;
    long n = 1;
    if (IPCX_UNLIKELY(nargs + (kwnames != NULL) != 0)) {
        if (!ipcx_py_named(&number, names, 0, "release", args, nargs, kwnames)) {
            return NULL;
        }
        n = number != NULL ? PyLong_AsLong(number) : 1;
        if (n == -1 && PyErr_Occurred()) {
            return NULL;
        }
        if (n < 1 || n > (long)IPCX__SYNC_MOST) {
            PyErr_Format(PyExc_ValueError, "n must be one or more, not %ld", n);
            return NULL;
        }
    }
    return give(op, (uint32_t)n);
}

static PyObject *sem_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
                          Py_ssize_t Py_UNUSED(nargs))
{
    return give(op, 1);
}

static PyObject *sem_value(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core != NULL ? PyLong_FromUnsignedLong(ipcx_sem_value(core)) : NULL;
}

static PyObject *sem_maximum(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core != NULL ? PyLong_FromUnsignedLong(core->limit) : NULL;
}

static PyObject *sem_owned(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core != NULL ? PyBool_FromLong(core->owned) : NULL;
}

static PyMethodDef sem_methods[] = {
    {"acquire", IPCX_PY_FAST_METHOD(sem_acquire), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("acquire($self, /, timeout=None)\n--\n\nTake a permit, waiting for one: None for\n"
               "ever, else `Timeout` after so many seconds; 0: `WouldBlock`. True.")},
    {"try_acquire", sem_try, METH_NOARGS,
     PyDoc_STR("try_acquire($self, /)\n--\n\nTake a permit if one is free, and tell whether it "
               "was.")},
    {"release", IPCX_PY_FAST_METHOD(sem_release), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("release($self, /, n=1)\n--\n\nGive `n` permits back and wake as many who wait.\n"
               "ValueError: more than the maximum. `NotOwner`: owned, and this process has not\n"
               "so many.")},
    {"__enter__", sem_enter, METH_NOARGS, NULL},
    {"__exit__", IPCX_PY_FAST_METHOD(sem_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef sem_getset[] = {
    {"value", sem_value, NULL, "Permits that are free now.", NULL},
    {"maximum", sem_maximum, NULL, "Permits there can be at most.", NULL},
    {"owned", sem_owned, NULL, "Whether a permit belongs to the process that took it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot sem_slots[] = {
    {Py_tp_doc, "The core of ipcx.sync.Semaphore."},
    {Py_tp_methods, sem_methods},
    {Py_tp_getset, sem_getset},
    {0, NULL},
};

int ipcx_py_sync_sem_init(PyObject *module, PyObject *base)
{
    PyObject *type = ipcx_py_sync_type(module, "ipcx._core.Semaphore", sem_slots, base);
    Py_XDECREF(type);
    return type != NULL ? 0 : -1;
}
