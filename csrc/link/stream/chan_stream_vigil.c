/* SPDX-License-Identifier: Apache-2.0
 * A stream channel over TCP looks, while a call waits, whether its peer's host is still there
 * (link/address/vigil.h). The first look comes after a third of vanish_timeout, the next ones when
 * the silence could become too long; who waits for less, or only polls, looks when it is due.
 * Who finds the host gone shuts the socket down: that wakes whoever sleeps anywhere, and each finds
 * out by its own read or write, after what had come before.
 * Invariant: look_at is IPCX_FOREVER where there is nothing to look at, and once it is over. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

#include "link/address/vigil.h"
#include "link/stream/chan_stream_parts.h"
#include "os/gate.h"

/* The clock of who polls ticks so coarsely: who is woken for a look must not come too early. */
#define TICK_NS INT64_C(10000000)
#define SECOND INT64_C(1000000000)

static void arm(ipcx__stream *self, ipcx_deadline when)
{
    int timer = atomic_load(&self->timer);
    struct itimerspec at = {0};
    if (IPCX_LIKELY(timer < 0)) {
        return;
    }
    if (when != IPCX_FOREVER) {
        at.it_value = (struct timespec){.tv_sec = (time_t)((when + TICK_NS) / SECOND),
                                        .tv_nsec = (long)((when + TICK_NS) % SECOND)};
    }
    (void)timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void look_again(ipcx__stream *self, ipcx_deadline when)
{
    atomic_store(&self->look_at, when);
    arm(self, when);
}

/* The socket's memory is not worth keeping for a host that will not answer. */
static void vanished(ipcx__stream *self, int64_t silent)
{
    const struct linger at_once = {.l_onoff = 1};
    atomic_store(&self->silent, silent);
    look_again(self, IPCX_FOREVER);
    (void)setsockopt(self->write_fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    (void)shutdown(self->write_fd, SHUT_RDWR);
}

/* It is `now`, and a look is due. */
static void look(ipcx__stream *self, ipcx_deadline due, ipcx_deadline now)
{
    int64_t timeout = self->chan.options.vanish_timeout;
    ipcx__vigil seen = {.next = timeout / 3};
    if (due != 0 && !ipcx__vigil_look(self->write_fd, timeout, &seen)) {
        look_again(self, IPCX_FOREVER);
    } else if (seen.vanished) {
        vanished(self, seen.silent);
    } else {
        look_again(self, now + seen.next);
    }
}

void ipcx__stream_glance(ipcx__stream *self)
{
    ipcx_deadline due = atomic_load_explicit(&self->look_at, memory_order_relaxed), now;
    struct timespec ticked;
    if (due == IPCX_FOREVER) {
        return;
    }
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &ticked);
    now = ticked.tv_sec * SECOND + ticked.tv_nsec;
    if (now >= due) {
        look(self, due, now);
    }
}

ipcx_deadline ipcx__stream_until(ipcx__stream *self, ipcx_deadline deadline)
{
    ipcx_deadline due = atomic_load_explicit(&self->look_at, memory_order_relaxed), now;
    if (IPCX_LIKELY(due == IPCX_FOREVER)) {
        return deadline;
    }
    now = ipcx_clock_now();
    if (now >= due) {
        look(self, due, now);
        due = atomic_load(&self->look_at);
    }
    return due < deadline ? due : deadline;
}

void ipcx__stream_keep_vigil(ipcx__stream *self)
{
    int64_t timeout = self->chan.options.vanish_timeout;
    if (timeout != IPCX__VANISH_NS) { /* else it came with the socket */
        (void)ipcx__vigil_begin(self->write_fd, timeout);
    }
    atomic_store(&self->look_at, timeout == IPCX_FOREVER ? IPCX_FOREVER : 0);
}

int ipcx__stream_vigil_timer(ipcx__stream *self)
{
    if (atomic_load(&self->look_at) != IPCX_FOREVER) {
        atomic_store(&self->timer, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
        arm(self, ipcx_clock_now() + self->chan.options.vanish_timeout / 3);
    }
    return atomic_load(&self->timer);
}

ipcx_status ipcx__stream_wait_for_room(ipcx__stream *self, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_deadline until = ipcx__stream_until(self, deadline);
    ipcx_status status = ipcx__gate_poll(&self->chan.gate, self->write_fd, POLLOUT, until, err);
    return status == IPCX_TIMEOUT && until != deadline ? IPCX_OK : status;
}

/* ---- in words */

static bool is_unreachable(int number)
{
    return number == ETIMEDOUT || number == EHOSTUNREACH || number == ENETUNREACH;
}

bool ipcx__stream_is_gone(int number)
{
    return number == EPIPE || number == ECONNRESET || is_unreachable(number);
}

bool ipcx__stream_gone(ipcx__stream *self, int *number, char *why, size_t size)
{
    int64_t silent = atomic_load(&self->silent);
    ipcx__vigil seen;
    if (*number != 0 && !ipcx__stream_is_gone(*number)) {
        return false;
    }
    if (silent == 0 && is_unreachable(*number) &&
        ipcx__vigil_look(self->write_fd, IPCX__VANISH_NS, &seen)) {
        silent = seen.silent; /* the kernel was first */
    }
    if (silent == 0) {
        (void)snprintf(why, size, "it hung up");
        return true;
    }
    *number = is_unreachable(*number) ? *number : ETIMEDOUT;
    (void)snprintf(why, size, "its host has vanished: nothing was heard from it for %lld s",
                   (long long)((silent + SECOND / 2) / SECOND));
    return true;
}
