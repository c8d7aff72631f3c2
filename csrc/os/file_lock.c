/* SPDX-License-Identifier: Apache-2.0
 * Locks on files that end with their holder: F_OFD_SETLK of fcntl(2).
 * Invariant: what is returned as locked has the name it was asked for under. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/fd.h"
#include "os/file.h"
#include "os/gate.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* The timer that ends a wait repeats this often: its first signal may come just before the sleep.
 */
#define AGAIN_NS 1000000L

/* The first byte stands for the file: who locks all of it is met there, and what a log locks behind
 * the end of its files is not. */
static ipcx_status try_lock(int fd, int command, int shared, const char *path, ipcx_error *err)
{
    struct flock lock = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    if (fcntl(fd, command, &lock) == 0) {
        return IPCX_OK;
    }
    if (errno == EAGAIN || errno == EACCES) {
        return IPCX_AGAIN;
    }
    return errno == EINTR ? IPCX_INTR : ipcx__file_failed("lock", path, err);
}

/* F_OFD_SETLKW has no time-out: a timer of the thread's own sends it the wake signal at the
 * deadline. False: there is no timer to be had. */
static bool timer_start(ipcx_deadline deadline, timer_t *timer)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = ipcx__wake_signal()};
    struct itimerspec when = {.it_interval = {.tv_nsec = AGAIN_NS}};
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    when.it_value.tv_sec = (time_t)(deadline / 1000000000);
    when.it_value.tv_nsec = (long)(deadline % 1000000000);
    if (timer_create(CLOCK_MONOTONIC, &event, timer) != 0) {
        return false;
    }
    (void)timer_settime(*timer, TIMER_ABSTIME, &when, NULL);
    return true;
}

/* Without a timer: looks again and again, at most each millisecond. */
static ipcx_status nap(ipcx_gate *gate, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_deadline until = ipcx_deadline_after(AGAIN_NS);
    ipcx_status status = ipcx__gate_poll(gate, -1, 0, until < deadline ? until : deadline, err);
    if (status == IPCX_TIMEOUT) {
        status = ipcx_deadline_left(deadline) > 0 ? IPCX_AGAIN : IPCX_TIMEOUT;
    }
    return status;
}

/* Waits inside the gate. AGAIN: look again. */
static ipcx_status wait_lock(int fd, int shared, const char *path, ipcx_gate *gate,
                             ipcx_deadline deadline, ipcx_error *err)
{
    bool timed = deadline != IPCX_FOREVER;
    ipcx_status status = IPCX_CLOSED;
    ipcx__sleeper self;
    sigset_t wake, before;
    timer_t timer;
    if (ipcx_deadline_left(deadline) == 0) {
        return IPCX_TIMEOUT;
    }
    if (timed && !timer_start(deadline, &timer)) {
        return nap(gate, deadline, err);
    }
    (void)sigemptyset(&wake);
    (void)sigaddset(&wake, ipcx__wake_signal());
    (void)pthread_sigmask(SIG_UNBLOCK, &wake, &before);
    if (ipcx__gate_sleep(gate, &self)) {
        status = try_lock(fd, F_OFD_SETLKW, shared, path, err);
    }
    ipcx__gate_wake_up(gate, &self);
    if (timed) {
        (void)timer_delete(timer);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ipcx__gate_is_closed(gate)) {
        return ipcx__gate_closed("lock", err);
    }
    if (status == IPCX_INTR && ipcx_deadline_left(deadline) == 0) {
        status = IPCX_TIMEOUT;
    }
    return status;
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
    int fd = -1;
    for (;;) {
        ipcx_status status = IPCX_OK;
        if (fd < 0) {
            status = open_to_lock(path, shared, &fd, err);
            if (status != IPCX_OK) {
                return status;
            }
        }
        status = try_lock(fd, F_OFD_SETLK, shared, path, err);
        if (status == IPCX_AGAIN && deadline != IPCX_NOW) {
            status = wait_lock(fd, shared, path, gate, deadline, err);
            if (status == IPCX_AGAIN) {
                continue;
            }
        }
        if (status == IPCX_OK && is_current(fd, path)) {
            *out = fd;
            return IPCX_OK;
        }
        (void)ipcx_fd_close(fd, NULL);
        fd = -1;
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
