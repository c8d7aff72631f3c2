/* SPDX-License-Identifier: Apache-2.0
 * One hook that sees every operation of the core as it ends: what was called, on which descriptor,
 * how it came out, how long it took. Off, it costs one predictable branch a call.
 * Invariant: the hook observes; nothing it does changes the call's outcome, and errno is kept. */
#ifndef IPCX_TRACE_H
#define IPCX_TRACE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "ipcx/api.h"
#include "ipcx/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One operation that has ended. Every pointer is borrowed until the hook returns. */
typedef struct ipcx_trace_event {
    const char *op;              /* "connect", "send" …; static storage */
    const char *url;             /* a channel's call: the channel's; else NULL */
    int fd;                      /* the descriptor it was called on, -1 for none */
    ipcx_status status;          /* how it came out */
    int sys_errno;               /* errno of the system call behind a failure, else 0 */
    size_t bytes;                /* bytes moved, 0 where none are */
    const struct sockaddr *addr; /* the address it was about, or NULL */
    socklen_t addr_len;
    int64_t duration; /* nanoseconds from call to outcome, waiting included */
} ipcx_trace_event;

/* The function called for each event, and what it is given beside it. It runs in the thread that
 * made the call, possibly in many at once; it may call ipcx (such calls are traced too, so it must
 * guard against calling itself) and must not unwind (longjmp, C++ exception). */
typedef struct ipcx_trace_hook {
    void (*fn)(void *ctx, const ipcx_trace_event *event);
    void *ctx;
} ipcx_trace_hook;

/* ipcx_trace_set: installs `hook` for the whole process, NULL switches tracing off; returns the
 * hook that was installed before. The caller owns `hook` and keeps it and its ctx alive until a
 * later ipcx_trace_set replaced it *and* the calls under way then have returned: they may still
 * report to it. Any thread; never blocks. A child inherits the hook by fork(2). */
IPCX_API const ipcx_trace_hook *ipcx_trace_set(const ipcx_trace_hook *hook);

#ifdef __cplusplus
}
#endif

#endif
