/* SPDX-License-Identifier: Apache-2.0
 * Named pipes: a path that leads to a pipe.
 * Invariant: what is opened is a named pipe, whatever the name stands for by then; no open(2)
 * here waits for the other side. */
#include "ipcx/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/gate.h"
#include "os/holder.h"

static ipcx_status in_use(const char *path, int pid, int error, ipcx_error *err)
{
    return pid > 0 ? ipcx_error_set(err, IPCX_ADDRESS_IN_USE, error, "mkfifo",
                                    "%.90s: process %d reads from it", path, pid)
                   : ipcx_error_set(err, IPCX_ADDRESS_IN_USE, error, "mkfifo",
                                    "%s: somebody reads from it", path);
}

ipcx_status ipcx_fifo_make(const char *path, mode_t mode, ipcx_error *err)
{
    struct stat found;
    int error;
    if (mkfifo(path, mode) == 0) {
        return IPCX_OK;
    }
    error = errno;
    if (error == EEXIST && lstat(path, &found) == 0 && S_ISFIFO(found.st_mode)) {
        /* Opened to write it tells for sure whether somebody reads; but he, a `cat` say, would meet
         * the end of the file when it is closed again: so that is for those whom /proc hides. */
        int pid = ipcx__fifo_reader(path);
        int fd = pid > 0 ? -1 : open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0) {
            (void)close(fd);
        }
        if (pid > 0 || fd >= 0) {
            return in_use(path, pid, error, err);
        }
        return ipcx_error_set(err, IPCX_SYSTEM, error, "mkfifo",
                              "left behind perhaps: a named pipe that nobody reads, %s", path);
    }
    if (error == EEXIST) {
        return ipcx_error_set(err, IPCX_SYSTEM, error, "mkfifo", "%s: that is no named pipe", path);
    }
    return ipcx_error_system(err, error, "mkfifo", "%s", path);
}

/* OK · AGAIN: nobody reads it yet · failures. */
static ipcx_status try_open(const char *path, bool writes, int *fd, ipcx_error *err)
{
    struct stat found;
    int opened =
        open(path, (writes ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (opened < 0 && errno == ENXIO && lstat(path, &found) == 0 && S_ISFIFO(found.st_mode)) {
        return IPCX_AGAIN;
    }
    if (opened < 0 && errno == ELOOP) {
        return ipcx_error_set(err, IPCX_SYSTEM, ELOOP, "open",
                              "%s is a symbolic link, which is not followed", path);
    }
    if (opened < 0) {
        return ipcx_error_system(err, errno, "open", "%s", path);
    }
    if (fstat(opened, &found) < 0) {
        int error = errno;
        (void)close(opened);
        return ipcx_error_system(err, error, "open", "%s", path);
    }
    if (!S_ISFIFO(found.st_mode)) {
        (void)close(opened);
        return ipcx_error_set(err, IPCX_SYSTEM, EINVAL, "open", "%s is no named pipe", path);
    }
    *fd = opened;
    return IPCX_OK;
}

static ipcx_status wait_for_reader(const char *path, int notify, ipcx_deadline deadline, int *fd,
                                   ipcx_error *err)
{
    ipcx_gate gate = {0};
    char events[1024];
    ipcx_status status;
    for (;;) {
        /* Each time: it may have been removed and made anew. */
        if (inotify_add_watch(notify, path, IN_OPEN | IN_DELETE_SELF | IN_MOVE_SELF) < 0) {
            return ipcx_error_system(err, errno, "open", "%s", path);
        }
        status = try_open(path, true, fd, err); /* after the watch: one who has come meanwhile */
        if (status != IPCX_AGAIN) {
            return status;
        }
        status = ipcx__gate_poll(&gate, notify, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
        while (read(notify, events, sizeof events) > 0) {
        }
    }
}

ipcx_status ipcx_fifo_open(const char *path, int writes, ipcx_deadline deadline, int *fd,
                           ipcx_error *err)
{
    int notify;
    ipcx_status status = try_open(path, writes != 0, fd, err);
    if (status != IPCX_AGAIN || deadline == IPCX_NOW) {
        return status;
    }
    notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (notify < 0) {
        return ipcx_error_system(err, errno, "open", "inotify");
    }
    status = wait_for_reader(path, notify, deadline, fd, err);
    (void)close(notify);
    return status;
}

/* ---- reading, and waiting for room */

/* Inside the gate. */
static ipcx_status read_some(int fd, ipcx_gate *gate, void *room, size_t size,
                             ipcx_deadline deadline, size_t *got, ipcx_error *err)
{
    for (;;) {
        /* Before the first writer has come read(2) would say "the end". */
        ipcx_status status = ipcx__gate_poll(gate, fd, POLLIN, deadline, err);
        ssize_t n;
        if (status != IPCX_OK) {
            return status == IPCX_TIMEOUT && deadline == IPCX_NOW ? IPCX_AGAIN : status;
        }
        n = read(fd, room, size);
        if (n >= 0) {
            *got = (size_t)n;
            return n > 0 || size == 0 ? IPCX_OK : IPCX_EOF;
        }
        if (errno != EAGAIN) {
            return errno == EINTR ? IPCX_INTR
                                  : ipcx_error_system(err, errno, "read", "descriptor %d", fd);
        }
    }
}

ipcx_status ipcx_pipe_read(int fd, ipcx_gate *gate, void *room, size_t size, ipcx_deadline deadline,
                           size_t *got, ipcx_error *err)
{
    ipcx_gate own = {0};
    ipcx_status status;
    gate = gate != NULL ? gate : &own;
    if (!ipcx__gate_enter(gate)) {
        return ipcx__gate_closed("read", err);
    }
    status = read_some(fd, gate, room, size, deadline, got, err);
    ipcx__gate_leave(gate);
    return status;
}

ipcx_status ipcx_pipe_wait_room(int fd, ipcx_gate *gate, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_gate own = {0};
    ipcx_status status;
    gate = gate != NULL ? gate : &own;
    if (!ipcx__gate_enter(gate)) {
        return ipcx__gate_closed("write", err);
    }
    status = ipcx__gate_poll(gate, fd, POLLOUT, deadline, err);
    ipcx__gate_leave(gate);
    return status == IPCX_TIMEOUT && deadline == IPCX_NOW ? IPCX_AGAIN : status;
}

void ipcx_pipe_close(int fd, ipcx_gate *gate)
{
    ipcx__gate_close(gate);
    (void)close(fd);
}
