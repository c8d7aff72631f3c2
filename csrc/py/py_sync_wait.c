/* SPDX-License-Identifier: Apache-2.0
 * The cores of `ipcx.sync`'s RWLock, Condition, Event and Barrier.
 * Invariant: as py_sync.h says; the classes of ipcx/sync.py derive from these types. */
#include "py/py_sync.h"

#include <limits.h>

#include "os/sync/parts.h"

static bool wait_for_it(PyObject *op, const char *method, ipcx_py_sync_call call,
                        PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    int64_t ns;
    ipcx_error err = {0};
    ipcx_status status;
    if (core == NULL || !ipcx_py_sync_patience(method, args, nargs, kwnames, &ns)) {
        return false;
    }
    status = call(core, IPCX_NOW, &err);
    if (status == IPCX_AGAIN && ns != IPCX_PY_NEVER) {
        status = ipcx_py_sync_wait(core, call, ns, &err);
    }
    if (status != IPCX_OK) {
        (void)ipcx_py_sync_raise(op, status, &err);
    }
    return status == IPCX_OK;
}

/* A call that wakes others but does not wait, but for the guard. */
static PyObject *tell(PyObject *op, ipcx_status (*call)(ipcx_sync *, ipcx_error *))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    ipcx_error err = {0};
    ipcx_status status;
    if (core == NULL) {
        return NULL;
    }
    IPCX_PY_WAITING(status, status = call(core, &err));
    return ipcx_py_sync_none(op, status, &err);
}

/* ---- the read-write lock */

static PyObject *rwlock_read(IPCX_PY_FAST)
{
    if (!wait_for_it(op, "acquire", ipcx_rwlock_read, args, nargs, kwnames)) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *rwlock_write(IPCX_PY_FAST)
{
    if (!wait_for_it(op, "acquire", ipcx_rwlock_write, args, nargs, kwnames)) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

/* "r" or "w": what is to be released. */
static PyObject *rwlock_release(PyObject *op, PyObject *what)
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    ipcx_error err = {0};
    Py_UCS4 side =
        PyUnicode_Check(what) && PyUnicode_GET_LENGTH(what) == 1 ? PyUnicode_READ_CHAR(what, 0) : 0;
    if (core == NULL) {
        return NULL;
    }
    if ((Py_UCS4)ipcx_rwlock_has(core) != side && !ipcx__gate_is_closed(&core->gate)) {
        (void)ipcx_error_set(&err, IPCX_NOT_OWNER, 0, "release", "this thread does not %s",
                             side == 'w' ? "write" : "read");
        return ipcx_py_sync_raise(op, IPCX_NOT_OWNER, &err);
    }
    return tell(op, ipcx_rwlock_unlock);
}

static PyObject *rwlock_has(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    int side = core != NULL ? ipcx_rwlock_has(core) : 0;
    return core == NULL ? NULL : PyUnicode_FromStringAndSize((char[]){(char)side}, side != 0);
}

static PyObject *rwlock_readers(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core == NULL ? NULL : PyLong_FromUnsignedLong(ipcx_rwlock_readers(core));
}

static PyObject *rwlock_writer(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    int pid = core != NULL ? ipcx_sync_owner(core) : 0;
    if (core != NULL && pid == 0) {
        Py_RETURN_NONE;
    }
    return core == NULL ? NULL : PyLong_FromLong(pid);
}

static PyObject *rwlock_recovered(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core == NULL ? NULL : PyBool_FromLong(ipcx_sync_recovered(core));
}

static PyMethodDef rwlock_methods[] = {
    {"_read", IPCX_PY_FAST_METHOD(rwlock_read), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_write", IPCX_PY_FAST_METHOD(rwlock_write), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_release", rwlock_release, METH_O, NULL},
    {"_has", rwlock_has, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef rwlock_getset[] = {
    {"readers", rwlock_readers, NULL, "How many threads read, in all processes.", NULL},
    {"owner", rwlock_writer, NULL,
     "The process id of who writes, or waits for the last reader to go; None: nobody.", NULL},
    {"recovered", rwlock_recovered, NULL,
     "Whether a writer died and none has released it properly since.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot rwlock_slots[] = {
    {Py_tp_doc, "The core of ipcx.sync.RWLock."},
    {Py_tp_methods, rwlock_methods},
    {Py_tp_getset, rwlock_getset},
    {0, NULL},
};

/* ---- the condition */

static PyObject *cond_set_lock(PyObject *op, PyObject *lock)
{
    Py_XSETREF(((ipcx_py_sync *)op)->lock, Py_NewRef(lock));
    Py_RETURN_NONE;
}

/* Takes the mutex again; an exception that is set already stays. */
static bool take_again(PyObject *op, ipcx_sync *mutex)
{
    PyObject *type, *value, *traceback;
    ipcx_error err = {0};
    ipcx_status status;
    PyErr_Fetch(&type, &value, &traceback);
    status = ipcx_py_sync_wait(mutex, ipcx_mutex_lock, IPCX_PY_EVER, &err);
    if (status == IPCX_OK) {
        PyErr_Restore(type, value, traceback);
        return true;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    (void)ipcx_py_sync_raise(op, status, &err);
    return false;
}

static PyObject *cond_wait(IPCX_PY_FAST)
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    PyObject *lock = ((ipcx_py_sync *)op)->lock;
    ipcx_sync *mutex = lock != NULL ? ipcx_py_sync_core(lock) : core;
    uint32_t sequence;
    int64_t ns;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    if (core == NULL || mutex == NULL ||
        !ipcx_py_sync_patience("wait", args, nargs, kwnames, &ns)) {
        return NULL;
    }
    sequence = ipcx_cond_begin(core);
    status = ipcx_mutex_unlock(mutex, &err);
    if (status != IPCX_OK) {
        ipcx_cond_leave(core);
        return ipcx_py_sync_raise(op, status, &err);
    }
    deadline = ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_cond_wait_from(core, sequence, deadline, &err));
    if (status != IPCX_OK) {
        ipcx_cond_leave(core);
        (void)ipcx_py_sync_raise(op, status, &err);
    }
    if (!take_again(op, mutex) || status != IPCX_OK) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *notify(PyObject *op, uint32_t n)
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    PyObject *lock = ((ipcx_py_sync *)op)->lock;
    ipcx_sync *mutex = lock != NULL ? ipcx_py_sync_core(lock) : core;
    ipcx_error err = {0};
    if (core == NULL || mutex == NULL) {
        return NULL;
    }
    if (!ipcx_mutex_is_mine(mutex)) {
        ipcx_status status = ipcx__sync_is_open(mutex, &err);
        if (status == IPCX_OK) {
            status = ipcx_error_set(&err, IPCX_NOT_OWNER, 0, "notify", "acquire the lock first");
        }
        return ipcx_py_sync_raise(op, status, &err);
    }
    return ipcx_py_sync_none(op, ipcx_cond_notify(core, n, &err), &err);
}

static PyObject *cond_notify(IPCX_PY_FAST)
{
    static const char *const names[] = {"n", NULL};
    PyObject *number;
    long n;
    if (!ipcx_py_named(&number, names, 0, "notify", args, nargs, kwnames)) {
        return NULL;
    }
    n = number != NULL ? PyLong_AsLong(number) : 1;
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (n < 0) {
        PyErr_Format(PyExc_ValueError, "n must not be negative: %ld", n);
        return NULL;
    }
    return notify(op, n < INT_MAX ? (uint32_t)n : UINT32_MAX);
}

static PyObject *cond_notify_all(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return notify(op, UINT32_MAX);
}

static PyMethodDef cond_methods[] = {
    {"_set_lock", cond_set_lock, METH_O, NULL},
    {"wait", IPCX_PY_FAST_METHOD(cond_wait), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("wait($self, /, timeout=None)\n--\n\nRelease the lock, wait to be notified, take "
               "the lock again.\n\nMay return without a notification, so look at what you wait for "
               "in a loop, or use\n`wait_for`. `Timeout` after so many seconds, with the lock. "
               "`NotOwner`: acquire it first.\nCtrl-C while it takes the lock again leaves without "
               "it.")},
    {"notify", IPCX_PY_FAST_METHOD(cond_notify), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("notify($self, /, n=1)\n--\n\nWake at most `n` of those who wait. `NotOwner`: "
               "acquire the lock first.")},
    {"notify_all", cond_notify_all, METH_NOARGS,
     PyDoc_STR("notify_all($self, /)\n--\n\nWake all who wait.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cond_slots[] = {
    {Py_tp_doc, "The core of ipcx.sync.Condition."},
    {Py_tp_methods, cond_methods},
    {0, NULL},
};

/* ---- the event */

static PyObject *event_set(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return tell(op, ipcx_event_set);
}

static PyObject *event_clear(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return tell(op, ipcx_event_clear);
}

static PyObject *event_is_set(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core == NULL ? NULL : PyBool_FromLong(ipcx_event_is_set(core));
}

static PyObject *event_wait(IPCX_PY_FAST)
{
    if (!wait_for_it(op, "wait", ipcx_event_wait, args, nargs, kwnames)) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyMethodDef event_methods[] = {
    {"set", event_set, METH_NOARGS,
     PyDoc_STR("set($self, /)\n--\n\nSet it: all who wait go on, and nobody waits from now on.")},
    {"clear", event_clear, METH_NOARGS,
     PyDoc_STR("clear($self, /)\n--\n\nClear it: who comes now waits.")},
    {"is_set", event_is_set, METH_NOARGS, PyDoc_STR("is_set($self, /)\n--\n\nWhether it is set.")},
    {"wait", IPCX_PY_FAST_METHOD(event_wait), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("wait($self, /, timeout=None)\n--\n\nWait until it is set: None for ever, else\n"
               "`Timeout` after so many seconds; 0: `WouldBlock`. True.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, "The core of ipcx.sync.Event."},
    {Py_tp_methods, event_methods},
    {0, NULL},
};

/* ---- the barrier */

static PyObject *barrier_wait(IPCX_PY_FAST)
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    uint32_t round = 0, place = 0;
    int64_t ns;
    ipcx_deadline deadline;
    ipcx_status status;
    ipcx_error err = {0};
    if (core == NULL || !ipcx_py_sync_patience("wait", args, nargs, kwnames, &ns)) {
        return NULL;
    }
    deadline = ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx__barrier_come(core, deadline, &round, &place, &err));
    if (status == IPCX_OK && place > 0) {
        IPCX_PY_WAITING(status, status = ipcx__barrier_stay(core, round, deadline, &err));
        if (status == IPCX_INTR) {
            (void)ipcx__barrier_leave(core, round, NULL);
        }
    }
    return status == IPCX_OK ? PyLong_FromUnsignedLong(place)
                             : ipcx_py_sync_raise(op, status, &err);
}

static PyObject *barrier_abort(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return tell(op, ipcx_barrier_abort);
}

static PyObject *barrier_reset(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return tell(op, ipcx_barrier_reset);
}

static PyObject *barrier_parties(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core == NULL ? NULL : PyLong_FromUnsignedLong(ipcx_barrier_parties(core));
}

static PyObject *barrier_n_waiting(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core == NULL ? NULL : PyLong_FromUnsignedLong(ipcx_barrier_waiting(core));
}

static PyObject *barrier_broken(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core == NULL ? NULL : PyBool_FromLong(ipcx_barrier_is_broken(core));
}

static PyMethodDef barrier_methods[] = {
    {"wait", IPCX_PY_FAST_METHOD(barrier_wait), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("wait($self, /, timeout=None)\n--\n\nWait until all parties have come; how many "
               "were missing then: 0 for the last.\n\n`Timeout` after so many seconds: this one "
               "has not come, the others wait on.\n`BrokenBarrier`: somebody will not come.")},
    {"abort", barrier_abort, METH_NOARGS,
     PyDoc_STR("abort($self, /)\n--\n\nBreak it: who waits, and who comes, gets "
               "`BrokenBarrier`.")},
    {"reset", barrier_reset, METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\nMake it as new; who waits just now gets "
               "`BrokenBarrier`.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef barrier_getset[] = {
    {"parties", barrier_parties, NULL, "How many go on together.", NULL},
    {"n_waiting", barrier_n_waiting, NULL, "How many wait now.", NULL},
    {"broken", barrier_broken, NULL, "Whether it is broken.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot barrier_slots[] = {
    {Py_tp_doc, "The core of ipcx.sync.Barrier."},
    {Py_tp_methods, barrier_methods},
    {Py_tp_getset, barrier_getset},
    {0, NULL},
};

int ipcx_py_sync_wait_init(PyObject *module, PyObject *base, PyObject *mutex)
{
    PyObject *types[] = {
        ipcx_py_sync_type(module, "ipcx._core.RWLock", rwlock_slots, base),
        ipcx_py_sync_type(module, "ipcx._core.Condition", cond_slots, mutex),
        ipcx_py_sync_type(module, "ipcx._core.Event", event_slots, base),
        ipcx_py_sync_type(module, "ipcx._core.Barrier", barrier_slots, base),
    };
    int result = 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        result = types[i] != NULL ? result : -1;
        Py_XDECREF(types[i]);
    }
    return result;
}
