/* SPDX-License-Identifier: Apache-2.0
 * Into an ipcx_sock and out of it: what the files that give it verbs share.
 * Invariant: whoever entered leaves, and leaving reports to the trace. */
#ifndef IPCX_OS_SOCK_H
#define IPCX_OS_SOCK_H

#include "ipcx/sock.h"
#include "ipcx/trace.h"
#include "os/sock_io.h"

/* One call of a verb. */
typedef struct ipcx__visit {
    ipcx__io io;
    ipcx_error *err; /* the caller's, or `spare`: the trace wants the errno anyway */
    ipcx_error spare;
    ipcx_trace_event event; /* bytes and addr are the verb's to fill in */
    int64_t begun;          /* 0: the trace is off */
} ipcx__visit;

/* ipcx__sock_begin: makes `sock` the owner of `fd`, a socket of `type`. */
void ipcx__sock_begin(ipcx_sock *sock, int fd, int type);

/* ipcx__sock_enter: into the socket's gate. CLOSED: there is none; then there is nothing to leave.
 */
ipcx_status ipcx__sock_enter(ipcx_sock *sock, ipcx_deadline deadline, const char *op,
                             ipcx__visit *visit, ipcx_error *err);

/* ipcx__sock_leave: out again; reports how it came out and returns `status`. */
ipcx_status ipcx__sock_leave(ipcx_sock *sock, ipcx__visit *visit, ipcx_status status);

/* ipcx__sock_made: reports a call that is about no socket yet, or no longer. */
ipcx_status ipcx__sock_made(const char *op, int fd, int64_t begun, ipcx_status status,
                            const ipcx_error *err);

#endif
