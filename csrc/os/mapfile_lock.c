/* SPDX-License-Identifier: Apache-2.0
 * Locked ranges of a file: open-file-description locks, with a deadline.
 * Invariant: the kernel releases them when the last descriptor of the open file goes, so a killed
 * process never leaves one behind. */
#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "ipcx/mapfile.h"

#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#define F_OFD_SETLKW 38
#endif

#define FIRST_NAP INT64_C(500000)
#define LONGEST_NAP INT64_C(10000000)

static short kind_of(ipcx_mapfile_lock_kind kind)
{
    return kind == IPCX_MAPFILE_UNLOCK ? F_UNLCK : kind == IPCX_MAPFILE_SHARED ? F_RDLCK : F_WRLCK;
}

/* The kernel's own waiting lock knows no deadline: between now and for ever it is asked again and
 * again, less often as time goes by. INTR when a signal came. */
static ipcx_status nap(int64_t *length, ipcx_deadline deadline)
{
    int64_t left = ipcx_deadline_left(deadline);
    int64_t now = *length < left ? *length : left;
    struct timespec time = {.tv_sec = 0, .tv_nsec = (long)now};
    if (left == 0) {
        return IPCX_TIMEOUT;
    }
    if (nanosleep(&time, NULL) != 0 && errno == EINTR) {
        return IPCX_INTR;
    }
    *length = *length * 2 < LONGEST_NAP ? *length * 2 : LONGEST_NAP;
    return IPCX_OK;
}

ipcx_status ipcx_mapfile_lock(int fd, int64_t at, int64_t n, ipcx_mapfile_lock_kind kind,
                              ipcx_deadline deadline, ipcx_error *err)
{
    struct flock lock = {.l_type = kind_of(kind), .l_whence = SEEK_SET, .l_start = at, .l_len = n};
    int64_t length = FIRST_NAP;
    for (;;) {
        ipcx_status status;
        if (fcntl(fd, deadline == IPCX_FOREVER ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0) {
            return IPCX_OK;
        }
        if (errno != EAGAIN && errno != EACCES) { /* EINTR becomes INTR. */
            return ipcx_error_system(err, errno, "lock", "%lld bytes from %lld", (long long)n,
                                     (long long)at);
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        status = nap(&length, deadline);
        if (status != IPCX_OK) {
            return status;
        }
    }
}
