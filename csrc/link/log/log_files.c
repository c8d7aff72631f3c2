/* SPDX-License-Identifier: Apache-2.0
 * What a writer does to the files of a log beside appending: making, settling, rotating.
 * Invariant: it runs inside the mutex, and can be killed after any system call: settling again
 * brings the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "ipcx/fd.h"
#include "link/log/log.h"
#include "os/file.h"

/* A byte that no file has. Who has a writer open shares a lock on it in the newest segment, so that
 * it shows whether anybody writes, whatever became of NAME.lock. */
#define PRESENCE ((off_t)1 << 62)

static int presence(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = PRESENCE, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock);
}

static ipcx_status sync_directory(ipcx_log *log, ipcx_error *err)
{
    int dir;
    const char *name;
    ipcx_status status = ipcx__file_directory(log->path, &dir, &name, err);
    if (status == IPCX_OK) {
        status = ipcx__file_sync_directory(dir, log->path, err);
        (void)ipcx_fd_close(dir, NULL);
    }
    return status;
}

/* The position at which the newest segment begins, when it does not say so itself: behind the last
 * of the older ones. */
static ipcx_status base_of_next(ipcx_log *log, uint64_t *base, ipcx_error *err)
{
    uint64_t *bases;
    size_t count;
    ipcx_status status = ipcx__segment_list(log->path, &bases, &count, err);
    *base = 0;
    if (status == IPCX_OK && count > 0) {
        char name[PATH_MAX];
        struct stat info;
        ipcx__segment_name(name, log->path, bases[count - 1]);
        if (stat(name, &info) != 0) {
            status = ipcx__file_failed("log", name, err);
        } else {
            *base = bases[count - 1] + (uint64_t)info.st_size;
        }
    }
    ipcx_free(bases);
    return status;
}

/* Makes `fd`, which is empty or has half a head, a segment. */
static ipcx_status begin_segment(ipcx_log *log, int fd, ipcx__segment *segment, ipcx_error *err)
{
    ipcx_status status = base_of_next(log, &segment->base, err);
    if (status == IPCX_OK && getrandom(segment->id, sizeof segment->id, GRND_NONBLOCK) < 0) {
        memset(segment->id, 0, sizeof segment->id); /* so early after boot; it is only a name */
    }
    if (status == IPCX_OK) {
        status = ipcx__segment_begin(fd, log->path, segment, err);
    }
    if (status == IPCX_OK && log->options.durable && fdatasync(fd) != 0) {
        status = ipcx__file_failed("fdatasync", log->path, err);
    }
    if (status == IPCX_OK && log->options.durable) {
        status = sync_directory(log, err);
    }
    return status;
}

ipcx_status ipcx__log_current(ipcx_log *log, ipcx_error *err)
{
    ipcx__segment segment;
    int fd;
    ipcx_status status =
        ipcx__file_open(log->path, O_RDWR | O_CREAT, log->options.mode, &fd, NULL, err);
    if (status != IPCX_OK) {
        return status;
    }
    ipcx__log_unmap(log);
    status = ipcx__segment_read(fd, log->path, &segment, err);
    if (status == IPCX_MORE) {
        status = begin_segment(log, fd, &segment, err);
    }
    if (status == IPCX_OK && log->fd >= 0) {
        /* The number stays, so that a thread which is in a sync meets no stranger's file. */
        if (dup3(fd, log->fd, O_CLOEXEC) < 0) {
            status = ipcx_error_system(err, errno, "log", "%s", log->path);
        }
        (void)ipcx_fd_close(fd, NULL);
    } else if (status == IPCX_OK) {
        log->fd = fd;
    } else {
        (void)ipcx_fd_close(fd, NULL);
    }
    if (status == IPCX_OK) {
        (void)presence(log->fd, F_RDLCK);
        log->base = segment.base;
    }
    return status;
}

/* Cuts off what is behind offset `at` and no whole message. */
static ipcx_status cut_off(ipcx_log *log, uint64_t at, ipcx_error *err)
{
    struct stat info;
    if (fstat(log->fd, &info) != 0) {
        return ipcx__file_failed("log", log->path, err);
    }
    if (!log->options.cut_damage && ipcx__segment_goes_on(log->fd, at)) {
        return ipcx_error_set(err, IPCX_CORRUPT, 0, "log",
                              "%.60s is damaged at byte %llu, with messages behind it", log->path,
                              (unsigned long long)at);
    }
    if (ftruncate(log->fd, (off_t)at) != 0) {
        return ipcx__file_failed("log", log->path, err);
    }
    log->cut += (uint64_t)info.st_size - at;
    return IPCX_OK;
}

static void tell(ipcx_log *log, uint64_t at)
{
    log->control->base = log->base;
    log->control->last = log->base + at;
    log->control->tail = ipcx__log_tail(log, at);
    __atomic_store_n(&log->control->end, log->base + at, __ATOMIC_RELEASE);
}

/* Finds the end of what is whole, in *at. What was appended before the last time need not be looked
 * at, if the last is where the control says. */
static ipcx_status find_end(ipcx_log *log, uint64_t *at, bool *ended, ipcx_error *err)
{
    uint64_t last = log->control->last - log->base;
    ipcx_status status = IPCX_MORE;
    if (log->control->base == log->base && last >= IPCX__LOG_HEAD) {
        *at = last;
        status = ipcx__segment_scan(log->fd, log->path, at, ended, err);
        if (status < 0 || *at > last) {
            return status;
        }
    }
    *at = IPCX__LOG_HEAD;
    return ipcx__segment_scan(log->fd, log->path, at, ended, err);
}

ipcx_status ipcx__log_settle(ipcx_log *log, ipcx_error *err)
{
    for (;;) {
        uint64_t at;
        bool ended;
        ipcx_status status = ipcx__log_current(log, err);
        if (status == IPCX_OK) {
            status = find_end(log, &at, &ended, err);
        }
        if (status == IPCX_MORE) {
            status = cut_off(log, at, err);
        }
        if (status != IPCX_OK) {
            return status;
        }
        tell(log, at);
        if (!ended) {
            return IPCX_OK;
        }
        status = ipcx__log_rotate(log, err); /* he died between the BYE and the new segment */
        if (status != IPCX_OK) {
            return status;
        }
    }
}

/* Removes older segments that are more than are to be kept. */
static void forget_oldest(ipcx_log *log)
{
    uint64_t *bases;
    size_t count;
    if (log->options.keep == 0 || ipcx__segment_list(log->path, &bases, &count, NULL) != IPCX_OK) {
        return;
    }
    for (size_t i = 0; i + log->options.keep < count; i++) {
        char name[PATH_MAX];
        ipcx__segment_name(name, log->path, bases[i]);
        (void)unlink(name);
    }
    ipcx_free(bases);
}

/* The segment in log->fd has its BYE: gives it its old name, and begins the next one. */
ipcx_status ipcx__log_rotate(ipcx_log *log, ipcx_error *err)
{
    char name[PATH_MAX];
    ipcx_status status;
    ipcx__segment_name(name, log->path, log->base);
    /* Who has appended to it durably syncs what is the newest then: this one has to be on the disk.
     */
    log->control->unsynced |= !log->control->durable;
    if ((log->control->durable && fdatasync(log->fd) != 0) || rename(log->path, name) != 0) {
        return ipcx__file_failed("log", name, err);
    }
    status = ipcx__log_current(log, err);
    if (status == IPCX_OK) {
        tell(log, IPCX__LOG_HEAD);
        forget_oldest(log);
    }
    return status;
}

static ipcx_status sync_file(const char *name, ipcx_error *err)
{
    int fd;
    ipcx_error missing = {0};
    ipcx_status status = ipcx__file_open(name, O_RDONLY, 0, &fd, NULL, &missing);
    if (status != IPCX_OK) {
        return missing.sys_errno == ENOENT ? IPCX_OK : ipcx__file_failed("log", name, err);
    }
    if (fdatasync(fd) != 0) {
        status = ipcx__file_failed("fdatasync", name, err);
    }
    (void)ipcx_fd_close(fd, NULL);
    return status;
}

ipcx_status ipcx__log_sync_older(ipcx_log *log, ipcx_error *err)
{
    uint64_t *bases;
    size_t count;
    ipcx_status status;
    log->control->durable = 1; /* from now on each rotation does it */
    if (!log->control->unsynced) {
        return IPCX_OK;
    }
    status = ipcx__segment_list(log->path, &bases, &count, err);
    for (size_t i = 0; status == IPCX_OK && i < count; i++) {
        char name[PATH_MAX];
        ipcx__segment_name(name, log->path, bases[i]);
        status = sync_file(name, err);
    }
    ipcx_free(bases);
    log->control->unsynced = status != IPCX_OK;
    return status;
}

/* ---- NAME.lock */

void ipcx__log_boot(char boot[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, boot, 39) : 0;
    boot[n > 0 ? n : 0] = '\0';
    if (fd >= 0) {
        (void)ipcx_fd_close(fd, NULL);
    }
}
