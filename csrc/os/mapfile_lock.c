/* SPDX-License-Identifier: Apache-2.0
 * Locked ranges of a file: open-file-description locks, with a deadline.
 * Invariant: the kernel releases them when the last descriptor of the open file goes, so a killed
 * process never leaves one behind. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "ipcx/mapfile.h"
#include "os/gate.h"
#include "os/lock_wait.h"

static short kind_of(ipcx_mapfile_lock_kind kind)
{
    return kind == IPCX_MAPFILE_UNLOCK ? F_UNLCK : kind == IPCX_MAPFILE_SHARED ? F_RDLCK : F_WRLCK;
}

/* At a gate of its own, which nobody closes. */
static ipcx_status wait_for(int fd, const struct flock *lock, ipcx_deadline deadline,
                            ipcx_error *err)
{
    ipcx_gate gate = {0};
    ipcx_status status = IPCX_CLOSED;
    if (ipcx__gate_enter(&gate)) {
        status = ipcx__lock_wait(fd, lock, &gate, deadline, err);
        ipcx__gate_leave(&gate);
    }
    return status;
}

ipcx_status ipcx_mapfile_lock(int fd, int64_t at, int64_t n, ipcx_mapfile_lock_kind kind,
                              ipcx_deadline deadline, ipcx_error *err)
{
    const struct flock lock = {
        .l_type = kind_of(kind), .l_whence = SEEK_SET, .l_start = at, .l_len = n};
    ipcx_status status = ipcx__lock_try(fd, &lock);
    if (status == IPCX_AGAIN && deadline != IPCX_NOW) {
        status = wait_for(fd, &lock, deadline, err);
    }
    if (status == IPCX_SYSTEM) {
        status = ipcx_error_system(err, errno, "lock", "%lld bytes from %lld", (long long)n,
                                   (long long)at);
    }
    return status;
}
