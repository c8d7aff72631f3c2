/* SPDX-License-Identifier: Apache-2.0
 * Loans in Python: the objects, shared by py_loan.c (their life and their blocks) and
 * py_loan_make.c (the channel's verbs that make them).
 * Invariant: as py_loan.c says. */
#ifndef IPCX_PY_LOAN_H
#define IPCX_PY_LOAN_H

#include "py/py_chan.h"

#include "ipcx/loan.h"

typedef enum ipcx_py_loan_state {
    IPCX_PY_LENT,
    IPCX_PY_ENDING, /* over as soon as the last export goes */
    IPCX_PY_OVER
} ipcx_py_loan_state;

typedef struct ipcx_py_loan {
    PyObject_HEAD ipcx_py_chan *chan;
    ipcx_loan core;
    ipcx_sending sending;
    PyObject *view;     /* the memoryview that was given out last */
    PyObject *object;   /* a View's, of inproc://: what was received … */
    Py_buffer pinned;   /* … and its bytes, if it is no str */
    Py_ssize_t exports; /* buffers that somebody has */
    int64_t ns;         /* how long commit may wait */
    ipcx_py_loan_state state;
    bool readonly; /* a View */
    /* What is remembered beyond its end: */
    size_t size;
    bool in_place, text;
} ipcx_py_loan;

/* ipcx_py_loan_make: a new one, around nothing yet, which is over. */
ipcx_py_loan *ipcx_py_loan_make(ipcx_py_chan *chan, bool readonly, int64_t ns);

/* ipcx_py_loan_copy: the first bytes of it, for who records; NULL without an exception. */
PyObject *ipcx_py_loan_copy(const ipcx_py_loan *self, size_t size);

/* ipcx_py_loan_failed: sets the exception of `op`, traced. NULL. */
PyObject *ipcx_py_loan_failed(ipcx_py_chan *chan, const char *op, ipcx_status status,
                              const ipcx_error *err, int64_t ns);

#define DOC_RESERVE                                                                                \
    "reserve($self, size, timeout=None)\n--\n\n"                                                   \
    "Memory for a message of `size` bytes, to be written in place: a Loan.\n\n"                    \
    "`with channel.reserve(n) as buf:` gives a writable memoryview; the message is\n"              \
    "sent when the block ends, and not if it raises. Over shm:// nothing is copied;\n"             \
    "elsewhere the same works with one copy. `timeout` is how long to wait for room,\n"            \
    "here or at the end of the block. Other messages may be sent meanwhile."

#define DOC_RECEIVE_VIEW                                                                           \
    "receive_view($self, timeout=None)\n--\n\n"                                                    \
    "The next message, to be read in place: a View.\n\n"                                           \
    "`with channel.receive_view() as view:` gives a read-only memoryview of its\n"                 \
    "bytes (a text's UTF-8), which ends with the block. Over shm:// nothing is\n"                  \
    "copied, and a sender with sync=True goes on when the block ends. The peer needs\n"            \
    "the room: keep a view for as long as you read, no longer."

#define DOC_RESERVE_NOW                                                                            \
    "_reserve_now($self, size, /)\n--\n\n"                                                         \
    "A Loan, or NotImplemented if there is no room without waiting."
#define DOC_RECEIVE_VIEW_NOW                                                                       \
    "_receive_view_now($self, /)\n--\n\n"                                                          \
    "A View of the next message, or NotImplemented if there is none without waiting."

#define DOC_TRIM                                                                                   \
    "trim($self)\n--\n\n"                                                                          \
    "Give memory back that large messages of this end have needed; returns how many\n"             \
    "bytes. Nothing is lost: what is under way stays. Over shm:// each end has a ring\n"           \
    "of its own to give back; elsewhere there is nothing."

#define DOC_PEEK                                                                                   \
    "_peek_channel($module, fd, /)\n--\n\n"                                                        \
    "(url, ring, end, end) of the shm:// channel whose memory `fd` is; None: of none."

#define DOC_LOAN                                                                                   \
    "Memory for a message that is written in place; Channel.reserve() makes it.\n\n"               \
    "In a `with` block it is a writable memoryview."
#define DOC_LOAN_COMMIT                                                                            \
    "commit($self, size=None)\n--\n\n"                                                             \
    "Send the first `size` bytes now, all of them by default; the memoryview is over."
#define DOC_LOAN_CANCEL                                                                            \
    "cancel($self)\n--\n\n"                                                                        \
    "Send nothing and give the memory back."
#define DOC_LOAN_COMMIT_NOW                                                                        \
    "_commit_now($self, size, /)\n--\n\n"                                                          \
    "None: sent. Else whether it has begun: again when _send_fileno() is writable."
#define DOC_LOAN_SIZE "How many bytes there are."
#define DOC_LOAN_IN_PLACE "Whether they lie where the peer reads or wrote them: nothing is copied."
#define DOC_VIEW                                                                                   \
    "A message that is read in place; Channel.receive_view() makes it.\n\n"                        \
    "In a `with` block it is a read-only memoryview."
#define DOC_VIEW_TEXT "Whether it was sent as str; the bytes are its UTF-8."
#define DOC_VIEW_RELEASE                                                                           \
    "release($self)\n--\n\n"                                                                       \
    "Give the message back: it has been received."

#endif
