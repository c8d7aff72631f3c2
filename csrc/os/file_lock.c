/* SPDX-License-Identifier: Apache-2.0
 * Locks on files that end with their holder: F_OFD_SETLK of fcntl(2).
 * Invariant: what is returned as locked has the name it was asked for under. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "ipcx/fd.h"
#include "os/file.h"
#include "os/gate.h"
#include "os/lock_wait.h"

/* The first byte stands for the file: who locks all of it is met there, and what a log locks behind
 * the end of its files is not. */
static struct flock lock_of(int shared)
{
    return (struct flock){.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
}

static ipcx_status open_to_lock(const char *path, int shared, int *fd, ipcx_error *err)
{
    ipcx_error ignored;
    ipcx_status status = ipcx__file_open(path, O_RDWR | O_CREAT, 0666, fd, NULL, err);
    /* To share one, to read it is enough. */
    if (status != IPCX_OK && shared &&
        ipcx__file_open(path, O_RDONLY, 0, fd, NULL, &ignored) == IPCX_OK) {
        return IPCX_OK;
    }
    return status;
}

/* Whether `fd` still is the file of that name. */
static bool is_current(int fd, const char *path)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && lstat(path, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino;
}

static ipcx_status lock_inside(const char *path, int shared, ipcx_gate *gate,
                               ipcx_deadline deadline, int *out, ipcx_error *err)
{
    const struct flock lock = lock_of(shared);
    for (;;) {
        int fd;
        ipcx_status status = open_to_lock(path, shared, &fd, err);
        if (status != IPCX_OK) {
            return status;
        }
        status = ipcx__lock_try(fd, &lock);
        if (status == IPCX_AGAIN && deadline != IPCX_NOW) {
            status = ipcx__lock_wait(fd, &lock, gate, deadline, err);
        }
        if (status == IPCX_SYSTEM) {
            status = ipcx__file_failed("lock", path, err);
        }
        if (status == IPCX_OK && is_current(fd, path)) {
            *out = fd;
            return IPCX_OK;
        }
        (void)ipcx_fd_close(fd, NULL);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

ipcx_status ipcx_file_lock(const char *path, int shared, ipcx_gate *gate, ipcx_deadline deadline,
                           int *fd, ipcx_error *err)
{
    ipcx_gate own = {0};
    ipcx_status status;
    gate = gate != NULL ? gate : &own;
    if (!ipcx__gate_enter(gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, "lock", "%s", path);
    }
    status = lock_inside(path, shared, gate, deadline, fd, err);
    ipcx__gate_leave(gate);
    return status;
}

void ipcx_file_unlock(int fd)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_len = 1};
    (void)fcntl(fd, F_OFD_SETLK, &lock);
    (void)ipcx_fd_close(fd, NULL);
}
