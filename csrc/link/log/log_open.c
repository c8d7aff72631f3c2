/* SPDX-License-Identifier: Apache-2.0
 * Writers of a log: what they share, and how they come to it.
 * Invariant: NAME.lock is made anew only by who holds its lock, and while nobody writes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "ipcx/fd.h"
#include "link/log/log.h"
#include "os/file.h"
#include "os/gate.h"

/* Whoever waits for the mutex, which no signal interrupts, comes back so often. */
#define SLICE_NS INT64_C(20000000)

/* ---- the mutex */

static ipcx_status wait_mutex(ipcx_log *log, ipcx_deadline deadline, int *answer)
{
    ipcx_deadline slice = ipcx_deadline_after(SLICE_NS);
    struct timespec until;
    slice = slice < deadline ? slice : deadline;
    until.tv_sec = (time_t)(slice / 1000000000);
    until.tv_nsec = (long)(slice % 1000000000);
    *answer = pthread_mutex_clocklock(&log->control->mutex, CLOCK_MONOTONIC, &until);
    if (*answer != ETIMEDOUT) {
        return IPCX_OK;
    }
    return ipcx_deadline_left(deadline) == 0 ? IPCX_TIMEOUT : IPCX_INTR;
}

/* Inside the mutex: settles it. */
static ipcx_status settle(ipcx_log *log, ipcx_error *err)
{
    ipcx_status status = ipcx__log_settle(log, err);
    log->control->unsettled = status != IPCX_OK;
    return status;
}

/* What some other program has cut off is lost, and who comes next is told, once, with the log in
 * order again. It may still come between this and the write: then readers meet a hole. */
static ipcx_status check_end(ipcx_log *log, ipcx_error *err)
{
    uint64_t end = log->control->end;
    ipcx_status status;
    if (ipcx__log_is_whole(log)) {
        return IPCX_OK;
    }
    status = settle(log, err);
    if (status == IPCX_OK && log->control->end < end) {
        status = ipcx_error_set(err, IPCX_CORRUPT, 0, "log",
                                "somebody else cut it: positions %llu to %llu are lost, the next "
                                "message goes there: %s",
                                (unsigned long long)log->control->end, (unsigned long long)end,
                                log->path);
    }
    return status;
}

ipcx_status ipcx__log_lock(ipcx_log *log, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx__log_control *control = log->control;
    ipcx_status status = IPCX_OK;
    int answer = pthread_mutex_trylock(&control->mutex);
    if (answer == EBUSY) {
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        status = wait_mutex(log, deadline, &answer);
        if (status != IPCX_OK) {
            return ipcx__gate_is_closed(&log->gate) ? ipcx__gate_closed("append", err) : status;
        }
    }
    if (answer == EOWNERDEAD) {
        control->unsettled = 1;
        (void)pthread_mutex_consistent(&control->mutex);
    } else if (answer != 0) {
        return ipcx_error_set(err, IPCX_SYSTEM, answer, "lock", "%s", log->lock_path);
    }
    if (control->unsettled) {
        status = settle(log, err);
    } else {
        if (log->fd < 0 || control->base != log->base) {
            status = ipcx__log_current(log, err);
        }
        if (status == IPCX_OK) {
            status = check_end(log, err);
        }
    }
    if (status != IPCX_OK) {
        (void)pthread_mutex_unlock(&control->mutex);
    }
    return status;
}

static ipcx_status make_control(ipcx_log *log, const char boot[40], ipcx_error *err)
{
    ipcx__log_control *control = log->control;
    pthread_mutexattr_t shared;
    int answer;
    memset(control, 0, sizeof *control);
    (void)pthread_mutexattr_init(&shared);
    (void)pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&shared, PTHREAD_MUTEX_ROBUST);
    answer = pthread_mutex_init(&control->mutex, &shared);
    (void)pthread_mutexattr_destroy(&shared);
    if (answer != 0) {
        return ipcx_error_set(err, IPCX_SYSTEM, answer, "log", "no robust mutex can be made");
    }
    memcpy(control->boot, boot, sizeof control->boot);
    control->unsettled = 1;
    return IPCX_OK;
}

/* ---- opening */

/* Nobody else may be writing when the control is made anew. */
static ipcx_status check_alone(ipcx_log *log, ipcx_error *err)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)1 << 62, .l_len = 1};
    int fd;
    ipcx_status status = IPCX_OK;
    if (ipcx__file_open(log->path, O_RDWR, 0, &fd, NULL, NULL) != IPCX_OK) {
        return IPCX_OK;
    }
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0 && (errno == EAGAIN || errno == EACCES)) {
        status = ipcx_error_set(err, IPCX_SYSTEM, EBUSY, "log",
                                "%.60s.lock was removed or replaced while others write: let them "
                                "close the log first",
                                log->path);
    }
    (void)ipcx_fd_close(fd, NULL);
    return status;
}

/* What stands in NAME.lock before we write there is a log's, of any version, or nothing yet. */
static ipcx_status check_lock_file(const ipcx_log *log, int lock_fd, ipcx_error *err)
{
    static const char ours[] = "ipcx log lock", nothing[sizeof ours] = {0};
    char first[sizeof ours];
    ssize_t n = pread(lock_fd, first, sizeof first - 1, 0);
    if (n < 0) {
        return ipcx__file_failed("log", log->lock_path, err);
    }
    return memcmp(first, ours, (size_t)n) == 0 || memcmp(first, nothing, (size_t)n) == 0
               ? IPCX_OK
               : ipcx_error_set(err, IPCX_PROTOCOL, 0, "log",
                                "another program's file is in the place of the log's lock; it "
                                "stays as it is: %s",
                                log->lock_path);
}

/* Its memory is reserved: a full disk is told here and not by SIGBUS later. */
static ipcx_status reserve_control(const ipcx_log *log, int lock_fd, ipcx_error *err)
{
    struct stat info;
    int failed = fstat(lock_fd, &info) != 0;
    if (!failed && info.st_size < IPCX__LOG_CONTROL_SIZE) {
        errno = posix_fallocate(lock_fd, 0, IPCX__LOG_CONTROL_SIZE);
        failed = errno != 0;
        if (failed && info.st_size == 0) { /* nobody else has it locked: see ipcx_file_lock */
            int saved = errno;
            (void)unlink(log->lock_path);
            errno = saved;
        }
    }
    return failed ? ipcx__file_failed("log", log->lock_path, err) : IPCX_OK;
}

/* NAME.lock is locked, by an OFD lock, while it is looked at and made. */
static ipcx_status map_control(ipcx_log *log, int lock_fd, ipcx_error *err)
{
    char boot[40] = {0};
    void *map;
    ipcx_status status = check_lock_file(log, lock_fd, err);
    if (status == IPCX_OK) {
        status = reserve_control(log, lock_fd, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    map = mmap(NULL, IPCX__LOG_CONTROL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, lock_fd, 0);
    if (map == MAP_FAILED) {
        return ipcx__file_failed("log", log->lock_path, err);
    }
    log->control = map;
    ipcx__log_boot(boot);
    if (memcmp(log->control->magic, IPCX__LOG_MAGIC, sizeof IPCX__LOG_MAGIC) != 0 ||
        memcmp(log->control->boot, boot, sizeof boot) != 0) {
        status = check_alone(log, err);
        if (status == IPCX_OK) {
            status = make_control(log, boot, err);
        }
        if (status == IPCX_OK) {
            memcpy(log->control->magic, IPCX__LOG_MAGIC, sizeof IPCX__LOG_MAGIC);
        }
    }
    return status;
}

/* A file that is no log is refused before anything is made beside it. */
static ipcx_status look_first(ipcx_log *log, ipcx_error *err)
{
    ipcx__segment segment;
    ipcx_error missing = {0};
    int fd;
    ipcx_status status = ipcx__file_open(log->path, O_RDONLY, 0, &fd, NULL, &missing);
    if (status != IPCX_OK) {
        if (missing.sys_errno == ENOENT) {
            return IPCX_OK;
        }
        if (err != NULL) {
            *err = missing;
        }
        return status;
    }
    status = ipcx__segment_read(fd, log->path, &segment, err);
    (void)ipcx_fd_close(fd, NULL);
    return status == IPCX_MORE ? IPCX_OK : status;
}

static ipcx_status open_inside(ipcx_log *log, ipcx_deadline deadline, ipcx_error *err)
{
    int lock_fd;
    ipcx_status status = look_first(log, err);
    if (status == IPCX_OK) {
        status = ipcx_file_lock(log->lock_path, 0, &log->gate, deadline, &lock_fd, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    status = map_control(log, lock_fd, err);
    if (status == IPCX_OK) {
        log->control->unsettled = 1; /* so that the files are looked at: they may have been cut */
        status = ipcx__log_lock(log, deadline, err);
    }
    if (status == IPCX_OK) {
        log->control->durable |= log->options.durable != 0;
        (void)pthread_mutex_unlock(&log->control->mutex);
    }
    ipcx_file_unlock(lock_fd); /* to close it were not enough: the mapping has the file, too */
    return status;
}

ipcx_status ipcx_log_open(const char *path, const ipcx_log_options *options, ipcx_deadline deadline,
                          ipcx_log **out, ipcx_error *err)
{
    ipcx_log *log;
    ipcx_status status;
    if (strlen(path) + 32 > sizeof log->path) {
        return ipcx_error_set(err, IPCX_SYSTEM, ENAMETOOLONG, "log", "%.60s…", path);
    }
    log = ipcx_alloc(sizeof *log);
    if (log == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "log", "%s", path);
    }
    memset(log, 0, sizeof *log);
    (void)snprintf(log->path, sizeof log->path, "%s", path);
    (void)snprintf(log->lock_path, sizeof log->lock_path, "%s.lock", path);
    log->options = options != NULL ? *options : (ipcx_log_options){0};
    log->options.mode = log->options.mode != 0 ? log->options.mode : 0666;
    log->framing.kind = IPCX_FRAMING_IPCX;
    log->framing.max_message =
        log->options.max_message != 0 ? log->options.max_message : IPCX__LOG_MAX;
    log->fd = -1;
    status = open_inside(log, deadline, err);
    if (status != IPCX_OK) {
        ipcx_log_free(log);
        return status;
    }
    *out = log;
    return IPCX_OK;
}
