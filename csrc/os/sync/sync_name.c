/* SPDX-License-Identifier: Apache-2.0
 * The names of synchronisation objects: files in a folder of /dev/shm that is this user's alone.
 * Invariant: each user of a name holds LOCK_SH of flock(2) on its file, and whoever unlinks one
 * holds LOCK_EX; a file gets its name when it is complete. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "os/sync/parts.h"

#define OP "sync"
#define ROOM 64
/* A sweep holds LOCK_EX for some microseconds. */
#define BRIEFLY 50

static void folders(char *user, char *syncs)
{
    (void)snprintf(user, ROOM, "/dev/shm/ipcx-%ju", (uintmax_t)geteuid());
    (void)snprintf(syncs, ROOM, "/dev/shm/ipcx-%ju/sync", (uintmax_t)geteuid());
}

/* A descriptor of `path`, a folder of this user's alone; -1 with errno. */
static int open_private(const char *path, bool make)
{
    struct stat found;
    int fd;
    if (make && mkdir(path, 0700) != 0 && errno != EEXIST) {
        return -1;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 &&
        (fstat(fd, &found) != 0 || found.st_uid != geteuid() || (found.st_mode & 077) != 0)) {
        (void)close(fd);
        errno = EPERM;
        return -1;
    }
    return fd;
}

static int open_folder(bool make)
{
    char user[ROOM], syncs[ROOM];
    int outer, inner = -1;
    folders(user, syncs);
    do { /* one that was empty may be removed under our feet */
        outer = open_private(user, make);
        if (outer >= 0) {
            inner = open_private(syncs, make);
            (void)close(outer);
        }
    } while (inner < 0 && make && errno == ENOENT);
    return inner;
}

/* Removes the folders if nothing is in them. */
static void tidy(void)
{
    char user[ROOM], syncs[ROOM];
    int saved = errno;
    folders(user, syncs);
    if (rmdir(syncs) == 0 || errno == ENOENT) {
        (void)rmdir(user);
    }
    errno = saved;
}

static ipcx_status check_name(const char *name, ipcx_error *err)
{
    size_t length = strlen(name);
    if (length == 0 || length > IPCX_SYNC_NAME_MAX || strchr(name, '/') != NULL ||
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return ipcx_error_set(err, IPCX_INVALID, EINVAL, OP,
                              "a name has 1 to %d bytes, no slash, and is not . or ..",
                              IPCX_SYNC_NAME_MAX);
    }
    return IPCX_OK;
}

static bool lock_soon(int fd, int how)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    for (int i = 0; i < BRIEFLY; i++) {
        if (flock(fd, how | LOCK_NB) == 0) {
            return true;
        }
        (void)nanosleep(&moment, NULL);
    }
    return false;
}

static bool is_linked(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && found.st_nlink > 0;
}

/* A new file without a name, whole; -1 with `status`. */
static int make_file(int folder, const ipcx_sync_options *options, ipcx_status *status,
                     ipcx_error *err)
{
    int failed, fd = openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        *status = ipcx_error_system(err, errno, "open", "a file in /dev/shm");
        return -1;
    }
    (void)fchmod(fd, 0600);
    failed = posix_fallocate(fd, 0, IPCX__SYNC_SIZE);
    *status = failed == 0 ? ipcx__sync_format(fd, options, err)
                          : ipcx_error_set(err, IPCX_EXHAUSTED, failed, "posix_fallocate",
                                           "no memory in /dev/shm");
    if (*status == IPCX_OK && flock(fd, LOCK_SH | LOCK_NB) == 0) {
        return fd;
    }
    (void)close(fd);
    return -1;
}

/* The file of that name, in use from here on; -1 with errno: ENOENT, ESTALE (look again). */
static int take_file(int folder, const char *name)
{
    struct stat found;
    int why, fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    if (fstat(fd, &found) != 0 || !S_ISREG(found.st_mode) || found.st_uid != geteuid()) {
        why = EPERM;
    } else if (found.st_size != IPCX__SYNC_SIZE) {
        why = EBADMSG;
    } else if (!lock_soon(fd, LOCK_SH) || is_linked(fd)) {
        return fd;
    } else {
        why = ESTALE;
    }
    (void)close(fd);
    errno = why;
    return -1;
}

static int give_name(int fd, int folder, const char *name)
{
    char path[40];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW);
}

static ipcx_status not_a_lock(const char *name, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_PROTOCOL, 0, OP, "%s has not the size of a lock", name);
}

static ipcx_status find_or_make(int folder, const char *name, unsigned flags,
                                const ipcx_sync_options *options, int *out, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    int fd;
    for (;;) {
        if ((flags & IPCX_SYNC_EXCLUSIVE) == 0) {
            fd = take_file(folder, name);
            if (fd >= 0) {
                *out = fd;
                return IPCX_OK;
            }
            if (errno == ESTALE) {
                continue;
            }
            if (errno != ENOENT || (flags & IPCX_SYNC_CREATE) == 0) {
                return errno == EBADMSG ? not_a_lock(name, err)
                                        : ipcx_error_system(err, errno, "open", "%s", name);
            }
        }
        fd = make_file(folder, options, &status, err);
        if (fd < 0) {
            return status != IPCX_OK ? status : ipcx_error_system(err, errno, OP, "%s", name);
        }
        IPCX_CRASH_POINT("sync-made");
        if (give_name(fd, folder, name) == 0) {
            *out = fd;
            return IPCX_OK;
        }
        status = errno == EEXIST && (flags & IPCX_SYNC_EXCLUSIVE) == 0
                     ? IPCX_OK
                     : ipcx_error_system(err, errno, "create", "%s", name);
        (void)close(fd);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

static ipcx_status find_once(const char *name, unsigned flags, const ipcx_sync_options *options,
                             int *fd, ipcx_error *err)
{
    bool make = (flags & (IPCX_SYNC_CREATE | IPCX_SYNC_EXCLUSIVE)) != 0;
    int folder = open_folder(make);
    ipcx_status status;
    if (folder < 0 && errno == EPERM) {
        return ipcx_error_set(err, IPCX_SYSTEM, EPERM, OP,
                              "/dev/shm/ipcx-%ju is not this user's alone", (uintmax_t)geteuid());
    }
    if (folder < 0) {
        return ipcx_error_system(err, errno, "open", "%s", name);
    }
    status = find_or_make(folder, name, flags, options, fd, err);
    (void)close(folder);
    if (status != IPCX_OK && make) {
        tidy();
    }
    return status;
}

ipcx_status ipcx__sync_file(const char *name, unsigned flags, const ipcx_sync_options *options,
                            int *fd, ipcx_error *err)
{
    bool make = (flags & (IPCX_SYNC_CREATE | IPCX_SYNC_EXCLUSIVE)) != 0;
    ipcx_error why = {0};
    ipcx_status status = check_name(name, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (make) {
        ipcx_sync_sweep(NULL, NULL);
    }
    do { /* the folder may be removed, as empty, before something is in it */
        status = find_once(name, flags, options, fd, &why);
    } while (status == IPCX_SYSTEM && why.sys_errno == ENOENT && make);
    if (status < 0 && err != NULL) {
        *err = why;
    }
    return status;
}

/* ---- taking names away */

/* Whether `name` still is the file behind `fd`. */
static bool is_current(int folder, const char *name, int fd)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           mine.st_dev == there.st_dev && mine.st_ino == there.st_ino;
}

bool ipcx__sync_unlink_unused(int fd, const char *name)
{
    bool gone = false;
    int folder;
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        return false;
    }
    folder = open_folder(false);
    if (folder >= 0) {
        gone = is_current(folder, name, fd) && unlinkat(folder, name, 0) == 0;
        (void)close(folder);
        tidy();
    }
    return gone;
}

ipcx_status ipcx_sync_unlink(ipcx_sync *self, ipcx_error *err)
{
    int folder = open_folder(false);
    bool gone = true;
    if (folder >= 0) {
        gone = !is_current(folder, self->name, self->fd) || unlinkat(folder, self->name, 0) != 0;
        (void)close(folder);
        tidy();
    }
    return gone ? ipcx_error_system(err, ENOENT, "unlink", "%s", self->name) : IPCX_OK;
}

static bool is_to_stay(int fd)
{
    uint32_t header[5];
    return pread(fd, header, sizeof header, 0) != (ssize_t)sizeof header ||
           header[0] != IPCX__SYNC_MAGIC || header[1] != IPCX__SYNC_VERSION || header[4] != 0;
}

void ipcx_sync_sweep(void (*removed)(void *context, const char *name), void *context)
{
    const struct dirent *entry;
    int folder = open_folder(false);
    DIR *dir = folder >= 0 ? fdopendir(folder) : NULL;
    if (dir == NULL && folder >= 0) {
        (void)close(folder);
    }
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        int fd = openat(folder, entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && !is_to_stay(fd) && ipcx__sync_unlink_unused(fd, entry->d_name) &&
            removed != NULL) {
            removed(context, entry->d_name);
        }
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}
