/* SPDX-License-Identifier: Apache-2.0
 * `ipcx.sync`'s core: what all objects have, the mutex.
 * Invariant: uncontended, a call is one instruction on shared memory with the GIL held; else the
 * GIL goes for one call of the core. */
#include "py/py_sync.h"

#include <limits.h>

#include "os/sync/word.h"

ipcx_sync *ipcx_py_sync_core(PyObject *op)
{
    ipcx_sync *core = ((ipcx_py_sync *)op)->core;
    if (IPCX_UNLIKELY(core == NULL)) {
        PyErr_SetString(PyExc_ValueError, "__init__() of this object was not called");
    }
    return core;
}

PyObject *ipcx_py_sync_raise(PyObject *op, ipcx_status status, const ipcx_error *err)
{
    ipcx_py_state *state = ipcx_py_state_of(op);
    return state != NULL && status != IPCX_INTR ? ipcx_py_raise(state, status, err) : NULL;
}

PyObject *ipcx_py_sync_none(PyObject *op, ipcx_status status, const ipcx_error *err)
{
    if (status != IPCX_OK) {
        return ipcx_py_sync_raise(op, status, err);
    }
    Py_RETURN_NONE;
}

/* ---- making */

/* _begin(kind, source, flags, value, maximum, owned, persist): the source is a name (str), a
 * descriptor (int), or None for an anonymous one. */
static PyObject *sync_begin(PyObject *op, PyObject *args)
{
    ipcx_py_sync *self = (ipcx_py_sync *)op;
    ipcx_sync_options options = {0};
    int kind;
    PyObject *source, *name = NULL;
    unsigned flags;
    ipcx_sync *core = NULL;
    ipcx_status status;
    ipcx_error err = {0};
    if (!PyArg_ParseTuple(args, "iOIIIpp", &kind, &source, &flags, &options.value, &options.maximum,
                          &options.owned, &options.persist)) {
        return NULL;
    }
    options.kind = (ipcx_sync_kind)kind;
    if (self->core != NULL) {
        PyErr_SetString(PyExc_ValueError, "this object is made already");
        return NULL;
    }
    if (source == Py_None) {
        status = ipcx_sync_anonymous(&options, &core, &err);
    } else if (PyLong_Check(source)) {
        long fd = PyLong_AsLong(source);
        if (fd == -1 && PyErr_Occurred()) {
            return NULL;
        }
        status =
            ipcx_sync_from_fd(fd < 0 || fd > INT_MAX ? -1 : (int)fd, options.kind, &core, &err);
    } else if (PyUnicode_FSConverter(source, &name)) {
        const char *text = PyBytes_AS_STRING(name);
        IPCX_PY_WITHOUT_GIL(status = ipcx_sync_open(text, flags, &options, &core, &err));
        Py_DECREF(name);
    } else {
        return NULL;
    }
    if (status != IPCX_OK) {
        return ipcx_py_sync_raise(op, status, &err);
    }
    core->restless = true;
    self->core = core;
    Py_RETURN_NONE;
}

static int sync_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((ipcx_py_sync *)op)->lock);
    return 0;
}

static int sync_clear(PyObject *op)
{
    Py_CLEAR(((ipcx_py_sync *)op)->lock);
    return 0;
}

static void sync_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)sync_clear(op);
    ipcx_sync_free(((ipcx_py_sync *)op)->core);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *sync_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sync *core = ((ipcx_py_sync *)op)->core;
    if (core != NULL) {
        IPCX_PY_WITHOUT_GIL(ipcx_sync_close(core));
    }
    Py_RETURN_NONE;
}

static PyObject *sync_unlink(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    ipcx_error err = {0};
    return core == NULL ? NULL : ipcx_py_sync_none(op, ipcx_sync_unlink(core, &err), &err);
}

static PyObject *sync_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    ipcx_error err = {0};
    ipcx_status status = core != NULL ? ipcx__sync_is_open(core, &err) : IPCX_OK;
    if (core == NULL || status != IPCX_OK) {
        return core == NULL ? NULL : ipcx_py_sync_raise(op, status, &err);
    }
    return PyLong_FromLong(ipcx_sync_fd(core));
}

static PyObject *sync_name(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    if (core == NULL) {
        return NULL;
    }
    if (ipcx_sync_name(core)[0] == '\0') {
        Py_RETURN_NONE;
    }
    return PyUnicode_DecodeFSDefault(ipcx_sync_name(core));
}

static PyObject *sync_closed(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = ipcx_py_sync_core(op);
    return core == NULL ? NULL : PyBool_FromLong(ipcx__gate_is_closed(&core->gate));
}

static PyMethodDef sync_methods[] = {
    {"_begin", sync_begin, METH_VARARGS, NULL},
    {"close", sync_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nEnd the use of this object here: whoever waits by it gets\n"
               "`Closed`; what is held by it is given up as if its holder had died.")},
    {"unlink", sync_unlink, METH_NOARGS,
     PyDoc_STR("unlink($self, /)\n--\n\nTake the name away: nobody opens it any more; whoever has\n"
               "it goes on. FileNotFoundError: it has no name (any more).")},
    {"fileno", sync_fileno, METH_NOARGS,
     PyDoc_STR("fileno($self, /)\n--\n\nThe descriptor of its memory, to be sent to another\n"
               "process (`from_fd` there); it stays this object's.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef sync_getset[] = {
    {"name", sync_name, NULL, "The name, or None.", NULL},
    {"closed", sync_closed, NULL, "Whether close() was called.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot sync_slots[] = {
    {Py_tp_doc, "What every object of ipcx.sync is."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_traverse, sync_traverse},
    {Py_tp_clear, sync_clear},
    {Py_tp_dealloc, sync_dealloc},
    {Py_tp_methods, sync_methods},
    {Py_tp_getset, sync_getset},
    {0, NULL},
};

/* ---- waiting */

bool ipcx_py_sync_patience(const char *method, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames, int64_t *ns)
{
    static const char *const names[] = {"timeout", NULL};
    PyObject *timeout;
    if (!ipcx_py_named(&timeout, names, 0, method, args, nargs, kwnames)) {
        return false;
    }
    if (timeout != NULL && PyBool_Check(timeout)) {
        PyErr_Format(PyExc_TypeError,
                     "%s(timeout): seconds, or None for ever, not a bool; try_acquire() asks "
                     "without waiting",
                     method);
        return false;
    }
    return ipcx_py_patience(timeout, IPCX_PY_EVER, ns);
}

ipcx_status ipcx_py_sync_wait(ipcx_sync *core, ipcx_py_sync_call call, int64_t ns, ipcx_error *err)
{
    ipcx_deadline deadline = ipcx_py_deadline(ns);
    ipcx_status status;
    IPCX_PY_WAITING(status, status = call(core, deadline, err));
    return status;
}

PyObject *ipcx_py_sync_true(PyObject *op, ipcx_status status, const ipcx_error *err)
{
    if (status != IPCX_OK) {
        return ipcx_py_sync_raise(op, status, err);
    }
    Py_RETURN_TRUE;
}

PyObject *ipcx_py_sync_tried(PyObject *op, ipcx_status status, const ipcx_error *err)
{
    if (status == IPCX_AGAIN) {
        Py_RETURN_FALSE;
    }
    return ipcx_py_sync_true(op, status, err);
}

PyObject *ipcx_py_sync_no_arguments(const char *method, Py_ssize_t nargs)
{
    return PyErr_Format(PyExc_TypeError, "%s() takes no arguments (%zd given)", method, nargs);
}

/* ---- the mutex; of a condition, the one that goes with it */

static ipcx_sync *mutex_core(PyObject *op)
{
    PyObject *lock = ((ipcx_py_sync *)op)->lock;
    return ipcx_py_sync_core(lock != NULL ? lock : op);
}

/* Where nobody else wants it just then: true. The rest of a call is a function of its own, for its
 * ipcx_error alone costs more than this, to be made zero. */
static inline bool mutex_at_once(PyObject *op, bool (*act)(ipcx_sync *))
{
    const ipcx_py_sync *self = (ipcx_py_sync *)op;
    return IPCX_LIKELY(self->lock == NULL && self->core != NULL) && act(self->core);
}

static Py_NO_INLINE PyObject *mutex_acquire_slowly(IPCX_PY_FAST)
{
    ipcx_sync *core = mutex_core(op);
    int64_t ns = IPCX_PY_EVER;
    ipcx_error err = {0};
    if (core == NULL || !ipcx_py_sync_patience("acquire", args, nargs, kwnames, &ns)) {
        return NULL;
    }
    if (ipcx__mutex_try(core)) {
        Py_RETURN_TRUE;
    }
    return ipcx_py_sync_true(op, ipcx_py_sync_wait(core, ipcx_mutex_lock, ns, &err), &err);
}

static PyObject *mutex_acquire(IPCX_PY_FAST)
{
    if (IPCX_LIKELY(nargs == 0 && kwnames == NULL && mutex_at_once(op, ipcx__mutex_try))) {
        Py_RETURN_TRUE;
    }
    return mutex_acquire_slowly(op, args, nargs, kwnames);
}

static PyObject *mutex_try(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sync *core = mutex_core(op);
    ipcx_error err = {0};
    if (core == NULL) {
        return NULL;
    }
    if (ipcx__mutex_try(core)) {
        Py_RETURN_TRUE;
    }
    return ipcx_py_sync_tried(op, ipcx_py_sync_wait(core, ipcx_mutex_lock, IPCX_PY_NEVER, &err),
                              &err);
}

static PyObject *mutex_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (IPCX_UNLIKELY(!mutex_at_once(op, ipcx__mutex_try))) {
        PyObject *done = mutex_acquire_slowly(op, NULL, 0, NULL);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    return Py_NewRef(op);
}

static ipcx_status unlock(ipcx_sync *core, ipcx_error *err)
{
    ipcx_status status;
    if (IPCX_LIKELY(!ipcx__mutex_is_waited(core))) {
        return ipcx_mutex_unlock(core, err);
    }
    IPCX_PY_WAKING(status = ipcx_mutex_unlock(core, err));
    return status;
}

/* An exception on its way out (`leaving`) may have come from a wait that left without the lock. */
static Py_NO_INLINE PyObject *mutex_release_slowly(PyObject *op, bool leaving)
{
    ipcx_sync *core = mutex_core(op);
    ipcx_error err = {0};
    ipcx_status status;
    if (core == NULL) {
        return NULL;
    }
    status = unlock(core, &err);
    if ((status == IPCX_NOT_OWNER || status == IPCX_CLOSED) && leaving) {
        Py_RETURN_NONE;
    }
    return ipcx_py_sync_none(op, status, &err);
}

/* FASTCALL, though there are no arguments: CPython's specialised calls know no bound NOARGS. */
static PyObject *mutex_release(PyObject *op, PyObject *const *Py_UNUSED(args), Py_ssize_t nargs)
{
    if (IPCX_UNLIKELY(nargs != 0)) {
        return ipcx_py_sync_no_arguments("release", nargs);
    }
    if (IPCX_LIKELY(mutex_at_once(op, ipcx__mutex_give))) {
        Py_RETURN_NONE;
    }
    return mutex_release_slowly(op, false);
}

static PyObject *mutex_exit(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    if (IPCX_LIKELY(mutex_at_once(op, ipcx__mutex_give))) {
        Py_RETURN_NONE;
    }
    return mutex_release_slowly(op, nargs > 0 && args[0] != Py_None);
}

static PyObject *mutex_locked(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ipcx_sync *core = mutex_core(op);
    return core == NULL
               ? NULL
               : PyBool_FromLong((atomic_load(&core->memory->word) & IPCX__WORD_OWNER) != 0);
}

static PyObject *mutex_owner(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = mutex_core(op);
    int pid = core != NULL ? ipcx_sync_owner(core) : 0;
    if (core != NULL && pid == 0) {
        Py_RETURN_NONE;
    }
    return core != NULL ? PyLong_FromLong(pid) : NULL;
}

static PyObject *mutex_recovered(PyObject *op, void *Py_UNUSED(closure))
{
    ipcx_sync *core = mutex_core(op);
    return core != NULL ? PyBool_FromLong(ipcx_sync_recovered(core)) : NULL;
}

static PyMethodDef mutex_methods[] = {
    {"acquire", IPCX_PY_FAST_METHOD(mutex_acquire), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("acquire($self, /, timeout=None)\n--\n\nWait for the lock: None for ever, else\n"
               "`Timeout` after so many seconds; 0: `WouldBlock`. `Deadlock`: this thread has it\n"
               "already. True, so that it can be asked for as threading.Lock's.")},
    {"try_acquire", mutex_try, METH_NOARGS,
     PyDoc_STR("try_acquire($self, /)\n--\n\nTake the lock if it is free, and tell whether it "
               "was.")},
    {"release", IPCX_PY_FAST_METHOD(mutex_release), METH_FASTCALL,
     PyDoc_STR("release($self, /)\n--\n\nGive the lock back. `NotOwner`: this thread has not\n"
               "acquired it by this object.")},
    {"locked", mutex_locked, METH_NOARGS,
     PyDoc_STR("locked($self, /)\n--\n\nWhether somebody has it.")},
    {"__enter__", mutex_enter, METH_NOARGS, NULL},
    {"__exit__", IPCX_PY_FAST_METHOD(mutex_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef mutex_getset[] = {
    {"owner", mutex_owner, NULL, "The process id of who has it; None: nobody.", NULL},
    {"recovered", mutex_recovered, NULL,
     "Whether a holder died and nobody has released it properly since.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot mutex_slots[] = {
    {Py_tp_doc, "The core of ipcx.sync.Mutex."},
    {Py_tp_methods, mutex_methods},
    {Py_tp_getset, mutex_getset},
    {0, NULL},
};

/* ---- the module's share */

static void note_removed(void *list, const char *name)
{
    PyObject *text = PyUnicode_DecodeFSDefault(name);
    if (text == NULL || PyList_Append(list, text) < 0) {
        PyErr_Clear(); /* it is removed all the same */
    }
    Py_XDECREF(text);
}

static PyObject *sweep(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    if (list != NULL) {
        ipcx_sync_sweep(note_removed, list);
    }
    return list;
}

static PyMethodDef functions[] = {
    {"sync_sweep", sweep, METH_NOARGS,
     PyDoc_STR("sync_sweep() -> list\n\nRemoves the names that nobody uses; those removed.")},
    {NULL, NULL, 0, NULL},
};

PyObject *ipcx_py_sync_type(PyObject *module, const char *name, PyType_Slot *slots, PyObject *base)
{
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(ipcx_py_sync),
        /* Without functions of its own for it, a type gets its base's, and the flag. */
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | (base == NULL ? Py_TPFLAGS_HAVE_GC : 0),
        .slots = slots,
    };
    return ipcx_py_make_type(module, &spec, base);
}

int ipcx_py_sync_module_init(PyObject *module, ipcx_py_state *Py_UNUSED(state))
{
    PyObject *base = ipcx_py_sync_type(module, "ipcx._core.Sync", sync_slots, NULL);
    PyObject *mutex = NULL;
    int result = -1;
    if (base != NULL) {
        mutex = ipcx_py_sync_type(module, "ipcx._core.Mutex", mutex_slots, base);
    }
    if (mutex != NULL && ipcx_py_sync_sem_init(module, base) == 0 &&
        ipcx_py_sync_wait_init(module, base, mutex) == 0 &&
        PyModule_AddFunctions(module, functions) == 0) {
        result = 0;
    }
    Py_XDECREF(mutex);
    Py_XDECREF(base);
    return result;
}
