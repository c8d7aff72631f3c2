/* SPDX-License-Identifier: Apache-2.0
 * Plain calls: of a socket, channel or pipe that has a number, and with what a record has room for.
 * Invariant: as py_record.h says. Everything is converted before the first byte is appended, so
 * that no Python code runs in between. */
#include "py/py_record.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "py/py_tape.h"

#define KEPT 256        /* ipcx.lab.model.DATA_KEPT */
#define ADDRESS_MAX 256 /* of a path, or of an address with a scope */
#define ERROR_MAX 1000

/* ---- the verbs; a record has the place of its own in this list */

static const char *const verbs[] = {"",
                                    "send",
                                    "recv",
                                    "receive",
                                    "sendall",
                                    "recv_into",
                                    "sendto",
                                    "recvfrom",
                                    "recv_exactly",
                                    "recv_until",
                                    "receive_into",
                                    "receive_view",
                                    "commit",
                                    "write",
                                    "read",
                                    "recvfrom_into",
                                    "sendmsg",
                                    "recvmsg",
                                    "recvmsg_into",
                                    "broadcast"};
#define VERBS (sizeof verbs / sizeof *verbs)
#define SEND 1
#define RECEIVE 3

static uint8_t code_of(const char *op)
{
    for (size_t i = 1; i < VERBS; i++) {
        if (verbs[i][0] == op[0] && strcmp(verbs[i], op) == 0) {
            return (uint8_t)i;
        }
    }
    return 0;
}

/* ---- whose calls: open addressing by the object's address; a pipe's key is odd */

typedef struct ipcx_py_known {
    uint64_t key; /* 0: free */
    int64_t number;
    const char *op; /* the last one's name, a constant of ours, and its code: most calls repeat */
    uint8_t code;
    uint8_t stuck; /* the verb that would have blocked last: a loop that asks again says it once */
} known;

static inline size_t slot_of(const ipcx_py_state *state, uint64_t key)
{
    size_t mask = state->known_room - 1;
    size_t at = (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & mask;
    while (state->known[at].key != 0 && state->known[at].key != key) {
        at = (at + 1) & mask;
    }
    return at;
}

static inline known *find(const ipcx_py_state *state, uint64_t key)
{
    known *found = state->known_room > 0 ? &state->known[slot_of(state, key)] : NULL;
    return found != NULL && found->key == key ? found : NULL;
}

static void forget(ipcx_py_state *state, uint64_t key)
{
    known *gone = find(state, key);
    size_t mask = state->known_room - 1, at;
    if (gone == NULL) {
        return;
    }
    gone->key = 0;
    state->known_count--;
    /* Those behind it may have stood there because its place was taken. */
    for (at = ((size_t)(gone - state->known) + 1) & mask; state->known[at].key != 0;
         at = (at + 1) & mask) {
        known moved = state->known[at];
        state->known[at].key = 0;
        state->known[slot_of(state, moved.key)] = moved;
    }
}

static bool widen(ipcx_py_state *state)
{
    size_t room = state->known_room, more = room > 0 ? room * 2 : 64;
    known *before = state->known, *made;
    if ((state->known_count + 1) * 2 <= room) {
        return true;
    }
    made = PyMem_Calloc(more, sizeof *made);
    if (made == NULL) {
        return false;
    }
    state->known = made;
    state->known_room = more;
    for (size_t i = 0; i < room; i++) {
        if (before[i].key != 0) {
            made[slot_of(state, before[i].key)] = before[i];
        }
    }
    PyMem_Free(before);
    return true;
}

static uint64_t key_of_pipe(PyObject *number)
{
    struct stat seen;
    long fd = PyLong_AsLong(number);
    if (fstat((int)fd, &seen) != 0) {
        return 0;
    }
    return ((uint64_t)seen.st_ino * 2 + 1) ^ ((uint64_t)seen.st_dev << 40);
}

static inline uint64_t key_of(PyObject *self)
{
    return IPCX_UNLIKELY(PyLong_CheckExact(self)) ? key_of_pipe(self) : (uint64_t)(uintptr_t)self;
}

void ipcx_py_record_forget(ipcx_py_state *state)
{
    PyMem_Free(state->known);
    state->known = NULL;
    state->known_room = state->known_count = 0;
}

PyObject *ipcx_py_record_known(PyObject *module, PyObject *args)
{
    ipcx_py_state *state = PyModule_GetState(module);
    unsigned long long key;
    long long number;
    if (!PyArg_ParseTuple(args, "KL", &key, &number)) {
        return NULL;
    }
    if (key == 0 || number == 0) {
        forget(state, key);
        Py_RETURN_NONE;
    }
    if (!widen(state)) {
        return PyErr_NoMemory();
    }
    known *place = &state->known[slot_of(state, key)];
    state->known_count += place->key == 0;
    *place = (known){.key = key, .number = number};
    Py_RETURN_NONE;
}

PyObject *ipcx_py_record_into(PyObject *module, PyObject *tapes)
{
    ipcx_py_state *state = PyModule_GetState(module);
    PyObject *all = PySequence_Tuple(tapes);
    if (all == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all); i++) {
        if (!ipcx_py_is_tape(state, PyTuple_GET_ITEM(all, i))) {
            PyErr_Format(PyExc_TypeError, "Tapes expected, not %.200s",
                         Py_TYPE(PyTuple_GET_ITEM(all, i))->tp_name);
            Py_DECREF(all);
            return NULL;
        }
    }
    ipcx_py_record_forget(state);
    Py_XSETREF(state->record_tapes, all);
    Py_RETURN_NONE;
}

/* ---- what a record says */

typedef struct entry {
    ipcx_py_tape_record record;
    char data[KEPT];
    char address[ADDRESS_MAX];
    char error[ERROR_MAX];
} entry;

static bool keep(entry *line, const void *data, Py_ssize_t size)
{
    int64_t moved = line->record.moved;
    size_t kept = moved < KEPT ? (size_t)moved : KEPT;
    if (moved > size) {
        return false;
    }
    memcpy(line->data, data, kept);
    line->record.data = (uint16_t)kept;
    return true;
}

/* The first bytes of `what`; false: it is not that simple. Messages of inproc:// are objects, which
 * move no bytes: what has some counts them, as it would elsewhere. */
static bool data_of(entry *line, PyObject *what, bool whole)
{
    Py_ssize_t size;
    const char *text;
    Py_buffer view;
    bool kept;
    if (PyBytes_CheckExact(what)) {
        text = PyBytes_AS_STRING(what);
        size = PyBytes_GET_SIZE(what);
    } else if (PyUnicode_CheckExact(what)) {
        text = PyUnicode_AsUTF8AndSize(what, &size);
    } else {
        whole = whole && line->record.moved == 0;
        if ((whole && !PyByteArray_CheckExact(what) && !PyMemoryView_Check(what)) ||
            !PyObject_CheckBuffer(what) || PyObject_GetBuffer(what, &view, PyBUF_SIMPLE) < 0) {
            return false;
        }
        line->record.moved = whole ? view.len : line->record.moved;
        kept = keep(line, view.buf, view.len);
        PyBuffer_Release(&view);
        return kept;
    }
    if (whole && line->record.moved == 0) {
        line->record.moved = size;
    }
    return text != NULL && keep(line, text, size);
}

/* Of a list of buffers. */
static bool data_of_parts(entry *line, PyObject *parts, int64_t moved)
{
    PyObject *const *items = PySequence_Fast_ITEMS(parts);
    size_t kept = moved < KEPT ? (size_t)moved : KEPT, at = 0;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(parts) && at < kept; i++) {
        Py_buffer view;
        if (!PyObject_CheckBuffer(items[i]) ||
            PyObject_GetBuffer(items[i], &view, PyBUF_SIMPLE) < 0) {
            PyErr_Clear();
            return false;
        }
        size_t here = (size_t)view.len < kept - at ? (size_t)view.len : kept - at;
        memcpy(line->data + at, view.buf, here);
        at += here;
        PyBuffer_Release(&view);
    }
    line->record.data = (uint16_t)at;
    return at == kept;
}

static bool moved_of(entry *line, const ipcx_py_seen *seen, PyObject *size)
{
    PyObject *what = seen->what;
    bool kept;
    line->record.moved = PyLong_CheckExact(size) ? PyLong_AsLongLong(size) : -1;
    if (line->record.moved < 0 || what == NULL) {
        kept = false;
    } else if (PyList_CheckExact(what) || PyTuple_CheckExact(what)) {
        kept = line->record.moved > 0 && data_of_parts(line, what, line->record.moved);
    } else {
        kept = data_of(line, what, line->record.op == SEND || line->record.op == RECEIVE);
    }
    if (!kept) {
        PyErr_Clear();
    }
    return kept;
}

/* "127.0.0.1:80", "[::1]:80", "/path", "@abstract". */
static bool address_of(entry *line, PyObject *address)
{
    PyObject *host = address;
    Py_ssize_t size;
    const char *text;
    int length;
    if (address == Py_None) {
        return true;
    }
    if (PyTuple_CheckExact(address) && PyTuple_GET_SIZE(address) >= 2) {
        host = PyTuple_GET_ITEM(address, 0);
    }
    if (!PyUnicode_CheckExact(host) || (text = PyUnicode_AsUTF8AndSize(host, &size)) == NULL ||
        size > ADDRESS_MAX - 16) {
        PyErr_Clear();
        return false;
    }
    if (host != address) {
        const char *form = memchr(text, ':', (size_t)size) != NULL ? "[%s]:%ld" : "%s:%ld";
        long port = PyLong_AsLong(PyTuple_GET_ITEM(address, 1));
        length = PyOS_snprintf(line->address, ADDRESS_MAX, form, text, port);
        PyErr_Clear();
    } else {
        memcpy(line->address, text, (size_t)size);
        length = (int)size;
        if (size > 0 && text[0] == '\0') {
            line->address[0] = '@';
        }
    }
    line->record.address = (uint16_t)length;
    return true;
}

/* "BlockingIOError: [Errno 11] …", of the exception that is set and stays set. */
static bool error_of(entry *line, bool *blocked)
{
    PyObject *type, *error, *traceback, *text;
    const char *name, *words = NULL;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    *blocked = PyErr_GivenExceptionMatches(type, PyExc_BlockingIOError);
    name = strrchr(((PyTypeObject *)type)->tp_name, '.');
    name = name != NULL ? name + 1 : ((PyTypeObject *)type)->tp_name;
    text = PyObject_Str(error);
    words = text != NULL ? PyUnicode_AsUTF8(text) : NULL;
    if (words != NULL && strlen(words) + strlen(name) + 3 < ERROR_MAX) {
        int length = PyOS_snprintf(line->error, ERROR_MAX, "%s: %s", name, words);
        line->record.error = (uint16_t)length;
    } else {
        PyErr_Clear();
        words = NULL;
    }
    Py_XDECREF(text);
    PyErr_Restore(type, error, traceback);
    return words != NULL;
}

/* What failed; if something had moved before, it is for the callback. */
static bool failed(entry *line, const ipcx_py_seen *seen, bool *blocked)
{
    line->record.moved = -1;
    return seen->moved == 0 && error_of(line, blocked);
}

static bool succeeded(entry *line, const ipcx_py_seen *seen, PyObject *detail)
{
    if (PyTuple_CheckExact(detail) && PyTuple_GET_SIZE(detail) == 2) { /* and the address */
        return moved_of(line, seen, PyTuple_GET_ITEM(detail, 0)) &&
               address_of(line, PyTuple_GET_ITEM(detail, 1));
    }
    return moved_of(line, seen, detail);
}

static inline uint8_t code_for(known *of, const char *op)
{
    if (IPCX_UNLIKELY(of->op != op)) {
        of->code = code_of(op);
        of->op = op;
    }
    return of->code;
}

/* When a call has ended. The clock is a fifth of what a call of inproc:// costs: one that did not
 * wait is spared its second look. */
static inline int64_t end_of(const ipcx_py_seen *seen)
{
    return seen->at_once && seen->begun > 0 ? seen->begun : ipcx_clock_now();
}

/* Bytes that moved, on one tape: nothing is converted, and nothing copied twice. */
static inline bool bytes_moved(ipcx_py_state *state, known *of, uint8_t code, PyObject *detail,
                               const ipcx_py_seen *seen)
{
    ipcx_py_tape_record record = {.op = code, .begun = seen->begun, .number = of->number};
    Py_ssize_t size;
    if (detail == NULL || seen->what == NULL || !PyBytes_CheckExact(seen->what) ||
        !PyLong_CheckExact(detail) || PyTuple_GET_SIZE(state->record_tapes) != 1) {
        return false;
    }
    size = PyBytes_GET_SIZE(seen->what);
    record.moved = PyLong_AsLongLong(detail);
    if (record.moved == 0 && (code == SEND || code == RECEIVE)) {
        record.moved = size;
    }
    if (record.moved < 0 || record.moved > size) {
        PyErr_Clear();
        return false;
    }
    record.data = (uint16_t)(record.moved < KEPT ? record.moved : KEPT);
    of->stuck = 0;
    record.ended = end_of(seen);
    ipcx_py_tape_call(PyTuple_GET_ITEM(state->record_tapes, 0), &record,
                      (ipcx_py_tape_parts){.data = PyBytes_AS_STRING(seen->what)});
    return true;
}

/* Whatever else a record has room for; its parts are put together here first. Apart, because it
 * needs much room on the stack. */
__attribute__((noinline)) static bool converted(ipcx_py_state *state, uint64_t key, uint8_t code,
                                                PyObject *detail, const ipcx_py_seen *seen)
{
    entry line;
    bool blocked = false;
    known *of;
    line.record = (ipcx_py_tape_record){.op = code, .begun = seen->begun};
    if (!(detail != NULL ? succeeded(&line, seen, detail) : failed(&line, seen, &blocked))) {
        return false;
    }
    of = find(state, key); /* a conversion may have run who knows what */
    if (of == NULL) {
        return false;
    }
    if (blocked && of->stuck == code) {
        return true;
    }
    of->stuck = blocked ? code : 0;
    line.record.number = of->number;
    line.record.ended = end_of(seen);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(state->record_tapes); i++) {
        ipcx_py_tape_call(PyTuple_GET_ITEM(state->record_tapes, i), &line.record,
                          (ipcx_py_tape_parts){line.data, line.address, line.error});
    }
    return true;
}

bool ipcx_py_record_plain(ipcx_py_state *state, const char *op, PyObject *self, PyObject *detail,
                          const ipcx_py_seen *seen)
{
    uint8_t code;
    uint64_t key;
    known *of;
    if (state->known_count == 0 || self == NULL || (seen->flags & (MSG_PEEK | MSG_OOB)) ||
        (key = key_of(self)) == 0 || (of = find(state, key)) == NULL ||
        (code = code_for(of, op)) == 0) {
        return false;
    }
    return bytes_moved(state, of, code, detail, seen) || converted(state, key, code, detail, seen);
}

int ipcx_py_record_init(PyObject *module, ipcx_py_state *state)
{
    PyObject *names = PyTuple_New((Py_ssize_t)VERBS);
    int added;
    (void)state;
    for (size_t i = 0; names != NULL && i < VERBS; i++) {
        PyObject *name = PyUnicode_InternFromString(verbs[i]);
        if (name == NULL) {
            Py_CLEAR(names);
            break;
        }
        PyTuple_SET_ITEM(names, (Py_ssize_t)i, name);
    }
    added = names != NULL ? PyModule_AddObjectRef(module, "RECORD_VERBS", names) : -1;
    Py_XDECREF(names);
    return added;
}
