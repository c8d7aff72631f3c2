/* SPDX-License-Identifier: Apache-2.0
 * What a socket's verb does after EAGAIN: look once at what the descriptor's owner has set, then wait
 * at the gate.
 * Invariant: a wait ends by readiness, deadline, signal or close, and never spins. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/time.h>

#include "os/gate.h"
#include "os/sock_io.h"

/* poll(2) may promise what the call does not find: an error queue that nobody reads, a full
 * receiver behind an unconnected datagram socket. Then we look again after a nap, longer each time. */
#define AT_ONCE_NS INT64_C(20000)
#define IN_VAIN_MAX 4
#define NAP_FIRST_NS INT64_C(100000)
#define NAP_LONGEST_NS INT64_C(10000000)

ipcx_status ipcx__io_failed(const char *op, ipcx_error *err)
{
    if (errno == EINTR) {
        return IPCX_INTR;
    }
    return ipcx_error_set(err, IPCX_SYSTEM, errno, op, "the socket");
}

ipcx_status ipcx__wait_ask(const ipcx__io *io, ipcx__wait *wait, short events)
{
    struct timeval limit = {0};
    socklen_t size = sizeof limit;
    int option = (events & POLLIN) ? SO_RCVTIMEO : SO_SNDTIMEO;
    int flags;

    if (io->deadline == IPCX_NOW) {
        return IPCX_AGAIN;
    }
    if (wait->asked) {
        return IPCX_OK;
    }
    wait->asked = true;
    wait->deadline = io->deadline;
    if (!io->as_kernel || io->deadline != IPCX_FOREVER) {
        return IPCX_OK;
    }
    flags = fcntl(io->fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK)) {
        return IPCX_AGAIN;
    }
    if (getsockopt(io->fd, SOL_SOCKET, option, &limit, &size) == 0 &&
        (limit.tv_sec != 0 || limit.tv_usec != 0)) {
        wait->deadline =
            ipcx_deadline_after((int64_t)limit.tv_sec * 1000000000 + limit.tv_usec * 1000);
    }
    return IPCX_OK;
}

static ipcx_status nap(const ipcx__io *io, ipcx__wait *wait, ipcx_error *err)
{
    ipcx_deadline until;
    ipcx_status status;
    wait->nap = wait->nap == 0 ? NAP_FIRST_NS : wait->nap * 2;
    if (wait->nap > NAP_LONGEST_NS) {
        wait->nap = NAP_LONGEST_NS;
    }
    until = ipcx_deadline_after(wait->nap);
    status = ipcx__gate_poll(io->gate, -1, 0, until < wait->deadline ? until : wait->deadline, err);
    if (status == IPCX_TIMEOUT && ipcx_deadline_left(wait->deadline) > 0) {
        return IPCX_OK;
    }
    return status;
}

ipcx_status ipcx__wait_ready(const ipcx__io *io, ipcx__wait *wait, short events, ipcx_error *err)
{
    ipcx_status status = ipcx__wait_ask(io, wait, events);
    if (status != IPCX_OK) {
        return status;
    }
    if (wait->in_vain >= IN_VAIN_MAX) {
        status = nap(io, wait, err);
    } else {
        int64_t since = ipcx_clock_now();
        status = ipcx__gate_poll(io->gate, io->fd, events, wait->deadline, err);
        wait->in_vain = ipcx_clock_now() - since < AT_ONCE_NS ? wait->in_vain + 1 : 0;
    }
    if (status == IPCX_TIMEOUT && io->deadline == IPCX_FOREVER) {
        return IPCX_AGAIN; /* SO_RCVTIMEO, SO_SNDTIMEO: socket(7) has it end with EAGAIN. */
    }
    return status;
}
