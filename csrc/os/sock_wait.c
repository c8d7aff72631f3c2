/* SPDX-License-Identifier: Apache-2.0
 * What a socket's verb does after EAGAIN: wait at the gate for readiness.
 * Invariant: a wait ends by readiness, deadline, signal or close, and never spins. */
#include <errno.h>

#include "os/gate.h"
#include "os/sock_io.h"

/* poll(2) may promise what the call does not find: an error queue that nobody reads, a full
 * receiver behind an unconnected datagram socket. Then we look again after a nap, longer each time.
 */
#define AT_ONCE_NS INT64_C(20000)
#define IN_VAIN_MAX 4
#define NAP_FIRST_NS INT64_C(100000)
#define NAP_LONGEST_NS INT64_C(10000000)

ipcx_status ipcx__io_failed(const char *op, ipcx_error *err)
{
    ipcx_status status = ipcx_error_system(err, errno, op, "the socket");
    if (status > 0 && status != IPCX_AGAIN && status != IPCX_INTR) {
        /* ETIMEDOUT is the connection's end here and not our deadline: tcp(7). */
        return ipcx_error_set(err, IPCX_SYSTEM, errno, op, "the socket");
    }
    return status;
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
    status = ipcx__gate_poll(io->gate, -1, 0, until < io->deadline ? until : io->deadline, err);
    if (status == IPCX_TIMEOUT && ipcx_deadline_left(io->deadline) > 0) {
        return IPCX_OK;
    }
    return status;
}

ipcx_status ipcx__wait_ready(const ipcx__io *io, ipcx__wait *wait, short events, ipcx_error *err)
{
    ipcx_status status;
    int64_t since;
    if (io->deadline == IPCX_NOW) {
        return IPCX_AGAIN;
    }
    if (wait->in_vain >= IN_VAIN_MAX) {
        return nap(io, wait, err);
    }
    since = ipcx_clock_now();
    status = ipcx__gate_poll(io->gate, io->fd, events, io->deadline, err);
    wait->in_vain = ipcx_clock_now() - since < AT_ONCE_NS ? wait->in_vain + 1 : 0;
    return status;
}
