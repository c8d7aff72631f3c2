/* SPDX-License-Identifier: Apache-2.0
 * Into an ipcx_sock and out of it: what the files that give it verbs share.
 * Invariant: whoever entered leaves, and leaving reports to the trace. */
#ifndef IPCX_OS_SOCK_H
#define IPCX_OS_SOCK_H

#include "ipcx/sock.h"
#include "ipcx/trace.h"
#include "os/sock_io.h"

/* ipcx__sock_enter: into the socket's gate, for calls with `io`. CLOSED: there is none. */
ipcx_status ipcx__sock_enter(ipcx_sock *sock, ipcx_deadline deadline, const char *op, ipcx__io *io,
                             ipcx_error *err);

/* ipcx__sock_leave: out again; reports `event` when the trace was on at `begun`
 * (ipcx__trace_begin), and returns `status`. */
ipcx_status ipcx__sock_leave(ipcx_sock *sock, int64_t begun, ipcx_status status,
                             ipcx_trace_event *event);

#endif
