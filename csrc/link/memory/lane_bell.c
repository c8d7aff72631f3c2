/* SPDX-License-Identifier: Apache-2.0
 * A lane's two bells: eventfds for who waits with poll(2) rather than in the lane.
 * Invariant: a bell shows what the lane's state says whenever the latch is free; it is made when it
 * is first asked for. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "link/memory/lane.h"

ipcx_status ipcx__lane_closed(ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_CLOSED, EBADF, "channel", "closed by another thread");
}

#define BELL_FULL UINT64_C(0xfffffffffffffffe) /* eventfd(2): no more goes in: not writable */

/* Fills the counter or empties it. Neither can fail: nobody else reads or writes it. */
static void bell_move(ipcx__bell *bell, uint64_t count)
{
    int saved = errno;
    if (count > 0) {
        (void)!write(bell->fd, &count, sizeof count);
    } else {
        (void)!read(bell->fd, &count, sizeof count);
    }
    errno = saved;
}

void ipcx__lane_show(ipcx__lane *lane)
{
    if (IPCX_UNLIKELY(lane->readable.fd >= 0)) {
        bool up = lane->put != lane->taken || lane->writer_closed;
        if (up != lane->readable.up) {
            lane->readable.up = up;
            bell_move(&lane->readable, up ? 1 : 0);
        }
    }
    if (IPCX_UNLIKELY(lane->writable.fd >= 0)) {
        bool room = lane->put - lane->taken < lane->capacity && !lane->sync_armed;
        bool up = room || lane->reader_closed || lane->writer_closed;
        if (up != lane->writable.up) {
            lane->writable.up = up;
            bell_move(&lane->writable, up ? 0 : BELL_FULL);
        }
    }
}

static ipcx_status bell_fd(ipcx__lane *lane, ipcx__bell *bell, const bool *gone, int *fd,
                           ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    ipcx__latch_lock(&lane->latch);
    if (*gone) {
        status = ipcx__lane_closed(err);
    } else if (bell->fd < 0) {
        bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        bell->up = bell == &lane->writable; /* what a counter of 0 shows */
        if (bell->fd < 0) {
            status = ipcx_error_system(err, errno, "eventfd", "no descriptor to wait with");
        }
        ipcx__lane_show(lane);
    }
    if (status == IPCX_OK) {
        *fd = bell->fd;
    }
    ipcx__latch_unlock(&lane->latch);
    return status;
}

ipcx_status ipcx__lane_reader_fd(ipcx__lane *lane, int *fd, ipcx_error *err)
{
    return bell_fd(lane, &lane->readable, &lane->reader_closed, fd, err);
}

ipcx_status ipcx__lane_writer_fd(ipcx__lane *lane, int *fd, ipcx_error *err)
{
    return bell_fd(lane, &lane->writable, &lane->writer_closed, fd, err);
}

void ipcx__bell_close(ipcx__bell *bell)
{
    if (bell->fd >= 0) {
        (void)close(bell->fd);
        bell->fd = -1;
    }
}
