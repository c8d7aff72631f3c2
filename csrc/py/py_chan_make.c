/* SPDX-License-Identifier: Apache-2.0
 * connect, listen, pair: ipcx/channel.py has their keywords and gives the arguments by position.
 * Invariant: an inproc:// name is seen by its own interpreter only, for objects must not leave it.
 */
#include "py/py_chan.h"

#include <string.h>
#include <unistd.h>

#include "ipcx/url.h"
#include "link/shared/chan_shm_counts.h"
#include "py/py_chan_doc.h"
#include "py/py_layer.h"
#include "py/py_loan.h"

typedef struct address {
    char text[IPCX_URL_MAX + 32];
} address;

#define INPROC "inproc://"

static bool address_parse(ipcx_py_state *state, PyObject *value, const char *op, address *out)
{
    Py_ssize_t size;
    const char *text;
    ipcx_error err;
    int64_t interpreter = PyInterpreterState_GetID(PyInterpreterState_Get());
    if (!PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "a URL is a str such as 'tcp://127.0.0.1:5000', not %.100s",
                     Py_TYPE(value)->tp_name);
        return false;
    }
    text = PyUnicode_AsUTF8AndSize(value, &size);
    if (text == NULL) {
        return false;
    }
    if (strlen(text) != (size_t)size || size >= IPCX_URL_MAX) {
        ipcx_status status =
            ipcx_error_set(&err, IPCX_INVALID_URL, 0, op,
                           size < IPCX_URL_MAX ? "there is a NUL in it" : "longer than %d bytes",
                           IPCX_URL_MAX - 1);
        (void)ipcx_py_raise(state, status, &err);
        return false;
    }
    memcpy(out->text, text, (size_t)size + 1);
    if (interpreter != 0 && strncmp(text, INPROC, strlen(INPROC)) == 0 &&
        text[strlen(INPROC)] != '\0') {
        (void)PyOS_snprintf(out->text + size, 32, "@interpreter-%lld", (long long)interpreter);
    }
    return true;
}

/* A number of at least `least`; what is given is never the core's default, which is 0. */
static bool number_parse(PyObject *value, const char *name, size_t least, size_t *out)
{
    Py_ssize_t number = PyNumber_AsSsize_t(value, NULL);
    if (number == -1 && PyErr_Occurred()) {
        return false;
    }
    if (number < 0 || (size_t)number < least) {
        PyErr_Format(PyExc_ValueError, "%s is at least %zu, not %R", name, least, value);
        return false;
    }
    *out = (size_t)number;
    return true;
}

static bool flag_parse(PyObject *value, int *out)
{
    *out = PyObject_IsTrue(value);
    return *out >= 0;
}

static bool capacity_parse(PyObject *capacity, PyObject *copy, ipcx_chan_options *options)
{
    options->drop = ipcx_py_drop;
    if (!number_parse(capacity, "capacity", 0, &options->capacity) ||
        !flag_parse(copy, &options->copy)) {
        return false;
    }
    options->rendezvous = options->capacity == 0;
    return true;
}

static bool limits_parse(PyObject *max_message, PyObject *checksum, ipcx_chan_options *options)
{
    return number_parse(max_message, "max_message", 1, &options->max_message) &&
           flag_parse(checksum, &options->checksum);
}

/* None, or bytes of which the options borrow: what ipcx/_keys.py made of what was given. */
bool ipcx_py_trust(PyObject *authkey, PyObject *allow_uids, ipcx_chan_options *options)
{
    if (authkey != Py_None) {
        options->authkey = PyBytes_AsString(authkey);
        options->authkey_size = options->authkey != NULL ? (size_t)PyBytes_GET_SIZE(authkey) : 0;
    }
    if (allow_uids != Py_None && !PyErr_Occurred()) {
        options->allow_uids = (const unsigned *)(const void *)PyBytes_AsString(allow_uids);
        options->allow_uids_count = options->allow_uids != NULL
                                        ? (size_t)PyBytes_GET_SIZE(allow_uids) / sizeof(unsigned)
                                        : 0;
    }
    return !PyErr_Occurred();
}

/* "same-uid" or "none", and what a ring or, for a listener, a segment may take. */
static bool shared_parse(PyObject *trust, PyObject *ring, PyObject *max_segment,
                         ipcx_chan_options *options)
{
    if (PyUnicode_Check(trust) && PyUnicode_CompareWithASCIIString(trust, "none") == 0) {
        options->trust = IPCX_TRUST_NONE;
    } else if (!PyUnicode_Check(trust) ||
               PyUnicode_CompareWithASCIIString(trust, "same-uid") != 0) {
        PyErr_Format(PyExc_ValueError, "trust is 'same-uid' or 'none', not %R", trust);
        return false;
    }
    return (ring == NULL || number_parse(ring, "ring", 1, &options->ring)) &&
           (max_segment == NULL ||
            number_parse(max_segment, "max_segment", 1, &options->max_segment));
}

/* Seconds, or None for ever; what is given is never the core's default, which is 0. */
bool ipcx_py_vanish(PyObject *value, ipcx_chan_options *options)
{
    int64_t ns;
    if (!ipcx_py_patience(value, 0, &ns)) {
        return false;
    }
    options->vanish_timeout = ns == IPCX_PY_EVER ? IPCX_FOREVER : ns + (ns == 0);
    return true;
}

static bool count_check(const char *name, Py_ssize_t nargs, Py_ssize_t wanted)
{
    if (nargs != wanted) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", name, wanted, nargs);
    }
    return nargs == wanted;
}

/* Ends a function that made `made` of `url`, both borrowed, or failed. */
static PyObject *made_of(ipcx_py_state *state, const char *op, PyObject *made, PyObject *url,
                         ipcx_py_seen *seen)
{
    if (ipcx_py_watched(state)) {
        if (seen != NULL) {
            seen->what = url;
        }
        ipcx_py_show(state, op, made, made != NULL ? Py_NewRef(url) : NULL, seen);
    }
    return made;
}

/* (url, timeout, max_message, checksum, authkey, allow_uids, trust, ring, vanish_timeout, make) */
static PyObject *make_connection(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_state *state = PyModule_GetState(module);
    ipcx_chan_options options = {.drop = ipcx_py_drop};
    ipcx_py_layer_source source;
    address url;
    ipcx_deadline deadline;
    ipcx_chan *core = NULL;
    ipcx_error err;
    ipcx_status status;
    PyObject *made = NULL;
    ipcx_py_seen seen;
    int64_t ns;
    if (!count_check("connect", nargs, 10) || !address_parse(state, args[0], "connect", &url) ||
        !ipcx_py_patience(args[1], IPCX_PY_EVER, &ns) ||
        !limits_parse(args[2], args[3], &options) || !ipcx_py_trust(args[4], args[5], &options) ||
        !shared_parse(args[6], args[7], NULL, &options) || !ipcx_py_vanish(args[8], &options)) {
        return NULL;
    }
    ipcx_py_layer_use(state, args[9], &source, &options);
    ipcx_py_see(&seen, state);
    deadline = ipcx_py_deadline(ns);
    IPCX_PY_WAITING(status, status = ipcx_connect(url.text, &options, deadline, &core, &err));
    if (status == IPCX_OK) {
        made = ipcx_py_chan_around(state, core);
    } else {
        (void)ipcx_py_chan_raise(state, "connect", status, &err, ns);
        ipcx_py_layer_cause_of(args[9]);
    }
    return made_of(state, "connect", made, args[0], &seen);
}

/* (url, max_message, checksum, handshake_timeout, backlog, insecure, capacity, copy, authkey,
 * allow_uids, trust, max_segment, vanish_timeout, make) */
static PyObject *make_listener(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_state *state = PyModule_GetState(module);
    ipcx_chan_options options = {0};
    address url;
    ipcx_listener *core = NULL;
    ipcx_error err;
    ipcx_status status;
    PyObject *made = NULL;
    ipcx_py_layer_source *source;
    size_t backlog;
    if (!count_check("listen", nargs, 14) || !address_parse(state, args[0], "listen", &url) ||
        !limits_parse(args[1], args[2], &options) ||
        !ipcx_py_patience(args[3], 0, &options.handshake_timeout) ||
        !number_parse(args[4], "backlog", 1, &backlog) || !flag_parse(args[5], &options.insecure) ||
        !capacity_parse(args[6], args[7], &options) || !ipcx_py_trust(args[8], args[9], &options) ||
        !shared_parse(args[10], NULL, args[11], &options) || !ipcx_py_vanish(args[12], &options)) {
        return NULL;
    }
    options.backlog = backlog < INT_MAX ? (int)backlog : INT_MAX;
    options.handshake_timeout += options.handshake_timeout == 0; /* 0 would be the default */
    source = ipcx_py_layer_source_new(args[13]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    ipcx_py_layer_use(state, args[13], source, &options);
    IPCX_PY_WAITING(status, status = ipcx_listen(url.text, &options, &core, &err));
    if (status == IPCX_OK) {
        made = ipcx_py_listener_around(state, core, source);
    } else {
        ipcx_py_layer_source_free(source);
        (void)ipcx_py_chan_raise(state, "listen", status, &err, 0);
    }
    return made_of(state, "listen", made, args[0], NULL);
}

/* (url, max_message, checksum, capacity, copy, trust, ring, make) */
static PyObject *make_pair(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    ipcx_py_state *state = PyModule_GetState(module);
    ipcx_chan_options options = {0};
    ipcx_py_layer_source source;
    address url;
    ipcx_chan *one = NULL, *other = NULL;
    ipcx_error err;
    ipcx_status status;
    PyObject *pair = NULL, *first, *second;
    if (!count_check("pair", nargs, 8) || !address_parse(state, args[0], "pair", &url) ||
        !limits_parse(args[1], args[2], &options) || !capacity_parse(args[3], args[4], &options) ||
        !shared_parse(args[5], args[6], NULL, &options)) {
        return NULL;
    }
    ipcx_py_layer_use(state, args[7], &source, &options);
    IPCX_PY_WAITING(status, status = ipcx_pair(url.text, &options, &one, &other, &err));
    if (status != IPCX_OK) {
        (void)ipcx_py_chan_raise(state, "pair", status, &err, 0);
        ipcx_py_layer_cause_of(args[7]);
        return made_of(state, "pair", NULL, args[0], NULL);
    }
    first = ipcx_py_chan_around(state, one);
    second = ipcx_py_chan_around(state, other);
    if (first != NULL && second != NULL) {
        pair = PyTuple_Pack(2, first, second);
    }
    if (pair != NULL) {
        (void)made_of(state, "pair", first, args[0], NULL);
        (void)made_of(state, "pair", second, args[0], NULL);
    }
    Py_XDECREF(first);
    Py_XDECREF(second);
    return pair;
}

/* (descriptors, note): an end that _export() described, in the process it has come to. The
 * descriptors are taken in every case. */
static PyObject *make_imported(PyObject *module, PyObject *args)
{
    ipcx_py_state *state = PyModule_GetState(module);
    ipcx_chan_end end = {0};
    const char *note;
    Py_ssize_t size;
    PyObject *fds;
    ipcx_chan *core = NULL;
    ipcx_error err;
    ipcx_status status;
    if (!PyArg_ParseTuple(args, "O!y#", &PyTuple_Type, &fds, &note, &size)) {
        return NULL;
    }
    while (end.count < (int)(sizeof end.fds / sizeof *end.fds) &&
           end.count < PyTuple_GET_SIZE(fds) && !PyErr_Occurred()) {
        end.fds[end.count] = (int)PyLong_AsLong(PyTuple_GET_ITEM(fds, end.count));
        end.count++;
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (size == (Py_ssize_t)sizeof end.note) {
        memcpy(end.note, note, sizeof end.note);
    }
    status = ipcx_chan_import(&end, &core, &err);
    if (status == IPCX_OK) {
        return ipcx_py_chan_around(state, core);
    }
    for (int i = 0; i < end.count; i++) {
        (void)close(end.fds[i]);
    }
    return ipcx_py_chan_raise(state, "import", status, &err, 0);
}

static PyObject *set_stats_types(PyObject *module, PyObject *args)
{
    ipcx_py_state *state = PyModule_GetState(module);
    PyObject *of_channel, *of_listener;
    if (!PyArg_ParseTuple(args, "OO", &of_channel, &of_listener)) {
        return NULL;
    }
    Py_XSETREF(state->chan_stats, Py_NewRef(of_channel));
    Py_XSETREF(state->listener_stats, Py_NewRef(of_listener));
    Py_RETURN_NONE;
}

/* One end of what was seen: a dict. */
static PyObject *end_seen(const ipcx__shm_seen *seen, int role)
{
    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsKsKsKsKsK}", "pid", seen->ends[role].pid, "bye", seen->ends[role].bye,
        "since", seen->ends[role].since, "wakes", seen->ends[role].wakes, "sent",
        seen->ends[role].sent, "sent_bytes", seen->ends[role].sent_bytes, "send_waits",
        seen->ends[role].send_waits, "received", seen->ends[role].received, "received_bytes",
        seen->ends[role].received_bytes, "receive_waits", seen->ends[role].receive_waits, "most",
        seen->ends[role].most, "queued", seen->ends[role].queued);
}

static PyObject *peek_channel(PyObject *module, PyObject *value)
{
    ipcx_py_state *state = PyModule_GetState(module);
    ipcx__shm_seen seen;
    ipcx_error err;
    ipcx_status status;
    int fd = PyObject_AsFileDescriptor(value);
    PyObject *url;
    if (fd < 0) {
        return NULL;
    }
    status = ipcx__shm_peek(fd, &seen, &err);
    if (status == IPCX_UNSUPPORTED) {
        Py_RETURN_NONE;
    }
    if (status != IPCX_OK) {
        return ipcx_py_raise(state, status, &err);
    }
    url = PyUnicode_DecodeFSDefault(seen.url);
    return url != NULL ? Py_BuildValue("(NKNN)", url, (unsigned long long)seen.ring,
                                       end_seen(&seen, 0), end_seen(&seen, 1))
                       : NULL;
}

PyMethodDef ipcx_py_chan_functions[] = {
    {"_peek_channel", peek_channel, METH_O, DOC_PEEK},
    {"_connect", IPCX_PY_FAST_METHOD(make_connection), METH_FASTCALL, DOC_CONNECT},
    {"_listen", IPCX_PY_FAST_METHOD(make_listener), METH_FASTCALL, DOC_LISTEN},
    {"_pair", IPCX_PY_FAST_METHOD(make_pair), METH_FASTCALL, DOC_PAIR},
    {"_import_channel", make_imported, METH_VARARGS, DOC_IMPORT},
    {"_set_stats_types", set_stats_types, METH_VARARGS, DOC_SET_STATS},
    {"_close_channels", ipcx_py_chan_exit, METH_O, DOC_EXIT},
    {NULL, NULL, 0, NULL},
};
