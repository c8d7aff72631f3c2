/* SPDX-License-Identifier: Apache-2.0
 * Opening regular files, and replacing them whole.
 * Invariant: whatever stands under the temporary name is complete: whoever meets it there may give
 * it its name. */
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipcx/fd.h"

/* ---- opening */

ipcx_status ipcx__file_failed(const char *op, const char *path, ipcx_error *err)
{
    if (errno == ENOSPC || errno == EDQUOT) {
        return ipcx_error_set(err, IPCX_EXHAUSTED, errno, op, "%s: %s",
                              errno == ENOSPC ? "no space left" : "over the quota", path);
    }
    return ipcx_error_system(err, errno, op, "%s", path);
}

ipcx_status ipcx__file_check(const struct stat *info, const char *op, const char *path,
                             ipcx_error *err)
{
    const char *what = "something that is no file";
    if (S_ISREG(info->st_mode)) {
        return IPCX_OK;
    }
    if (S_ISDIR(info->st_mode)) {
        return ipcx_error_set(err, IPCX_SYSTEM, EISDIR, op, "%s", path);
    }
    if (S_ISLNK(info->st_mode)) {
        what = "a symbolic link: name the file it leads to";
    } else if (S_ISFIFO(info->st_mode)) {
        what = "a FIFO and no file";
    } else if (S_ISSOCK(info->st_mode)) {
        what = "a socket and no file";
    }
    return ipcx_error_set(err, IPCX_SYSTEM, EPERM, op, "%s is %s", path, what);
}

ipcx_status ipcx__file_open(const char *path, int flags, mode_t mode, int *fd, struct stat *info,
                            ipcx_error *err)
{
    struct stat found;
    ipcx_status status;
    int opened = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode);
    if (opened < 0 && (errno == ELOOP || errno == ENXIO) && lstat(path, &found) == 0) {
        return ipcx__file_check(&found, "open", path, err);
    }
    if (opened < 0) {
        return ipcx__file_failed("open", path, err);
    }
    if (fstat(opened, &found) != 0) {
        status = ipcx__file_failed("open", path, err);
    } else {
        status = ipcx__file_check(&found, "open", path, err);
    }
    if (status != IPCX_OK) {
        (void)ipcx_fd_close(opened, NULL);
        return status;
    }
    if (info != NULL) {
        *info = found;
    }
    *fd = opened;
    return IPCX_OK;
}

ipcx_status ipcx__file_split(const char *path, size_t *dir, const char **name, ipcx_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *last = slash == NULL ? path : slash + 1;
    if (last[0] == '\0' || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
        return ipcx_error_set(err, IPCX_INVALID, EINVAL, "open", "%s: no file's name", path);
    }
    if (strlen(last) > NAME_MAX) {
        return ipcx_error_set(err, IPCX_SYSTEM, ENAMETOOLONG, "open", "%.60s…", last);
    }
    *dir = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    *name = last;
    return IPCX_OK;
}

ipcx_status ipcx__file_directory(const char *path, int *fd, const char **name, ipcx_error *err)
{
    char folder[PATH_MAX];
    size_t length;
    int opened;
    ipcx_status status = ipcx__file_split(path, &length, name, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (length >= sizeof folder) {
        return ipcx_error_set(err, IPCX_SYSTEM, ENAMETOOLONG, "open", "%.60s…", path);
    }
    memcpy(folder, length == 0 ? "." : path, length == 0 ? 1 : length);
    folder[length == 0 ? 1 : length] = '\0';
    opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) {
        return ipcx__file_failed("open", folder, err);
    }
    *fd = opened;
    return IPCX_OK;
}

ipcx_status ipcx__file_sync_directory(int dir, const char *path, ipcx_error *err)
{
    /* Some file systems have nothing to synchronise in a directory, and say so. */
    int done;
    do {
        done = fsync(dir);
    } while (done != 0 && errno == EINTR);
    return done == 0 || errno == EINVAL || errno == ENOTSUP ? IPCX_OK
                                                            : ipcx__file_failed("fsync", path, err);
}

ipcx_status ipcx_file_write(int fd, const void *data, size_t size, ipcx_error *err)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno != EINTR) {
            char which[32];
            (void)snprintf(which, sizeof which, "descriptor %d", fd);
            return ipcx__file_failed("write", which, err);
        }
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
    return IPCX_OK;
}

/* ---- replacing */

/* The one temporary name of a file. Longer names have none; then it is a random one. */
#define SUFFIX ".~new"

static void name_temporary(ipcx_replacement *replacement, int random)
{
    char *to = replacement->temporary;
    size_t size = sizeof replacement->temporary;
    if (!random && strlen(replacement->name) + sizeof SUFFIX < size - 1) {
        (void)snprintf(to, size, ".%.240s" SUFFIX, replacement->name);
    } else {
        (void)snprintf(to, size, ".%.180s.%d.%llx" SUFFIX, replacement->name, (int)getpid(),
                       (unsigned long long)ipcx_clock_now());
    }
}

/* A file without a name where the file system can, else one with a random name: that would stay
 * behind if we were killed. */
static int make_file(ipcx_replacement *replacement, mode_t mode)
{
    int fd = openat(replacement->dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
    replacement->named = 0;
    if (fd >= 0) {
        name_temporary(replacement, 0);
        return fd;
    }
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT) {
        return -1;
    }
    name_temporary(replacement, 1);
    replacement->named = 1;
    return openat(replacement->dir, replacement->temporary,
                  O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, mode);
}

/* Mode and owner of the file that is there. */
static ipcx_status keep_identity(ipcx_replacement *replacement, const struct stat *old,
                                 const char *path, ipcx_error *err)
{
    if (old->st_uid != geteuid() && fchown(replacement->fd, old->st_uid, (gid_t)-1) != 0) {
        return ipcx_error_set(err, IPCX_SYSTEM, EPERM, "replace",
                              "%s belongs to user %u, and would be yours", path,
                              (unsigned)old->st_uid);
    }
    if (old->st_gid != getegid() && fchown(replacement->fd, (uid_t)-1, old->st_gid) != 0) {
        errno = 0; /* A group that we are not in is not ours to give: the file has our own then. */
    }
    while (fchmod(replacement->fd, old->st_mode & 07777) != 0) {
        if (errno != EINTR) {
            return ipcx__file_failed("replace", path, err);
        }
    }
    return IPCX_OK;
}

ipcx_status ipcx_file_replace_begin(ipcx_replacement *replacement, const char *path, mode_t mode,
                                    ipcx_error *err)
{
    ipcx_replacement made = {.fd = -1, .dir = -1, .open = 1};
    const char *name;
    struct stat old;
    ipcx_status status = ipcx__file_directory(path, &made.dir, &name, err);
    int there;
    if (status != IPCX_OK) {
        return status;
    }
    (void)snprintf(made.name, sizeof made.name, "%s", name);
    there = fstatat(made.dir, name, &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (there) {
        status = ipcx__file_check(&old, "replace", path, err);
    } else if (errno != ENOENT) {
        status = ipcx__file_failed("replace", path, err);
    }
    if (status == IPCX_OK && (made.fd = make_file(&made, there ? 0600 : mode)) < 0) {
        made.named = 0;
        status = ipcx__file_failed("replace", path, err);
    }
    if (status == IPCX_OK && there) {
        status = keep_identity(&made, &old, path, err);
    }
    if (status != IPCX_OK) {
        ipcx_file_replace_abort(&made);
        return status;
    }
    *replacement = made;
    return IPCX_OK;
}

static int rename_temporary(const ipcx_replacement *replacement)
{
    int done;
    do {
        done =
            renameat(replacement->dir, replacement->temporary, replacement->dir, replacement->name);
    } while (done != 0 && errno == EINTR);
    return done;
}

/* Somebody's complete file stands under the temporary name: he was killed, or is about to rename
 * it. To do it for him commits it a moment early. */
static ipcx_status help(ipcx_replacement *replacement, ipcx_error *err)
{
    struct stat found;
    if (fstatat(replacement->dir, replacement->temporary, &found, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? IPCX_OK
                               : ipcx__file_failed("replace", replacement->temporary, err);
    }
    if (!S_ISREG(found.st_mode) || (found.st_uid != geteuid() && geteuid() != 0)) {
        return ipcx_error_set(err, IPCX_SYSTEM, EPERM, "replace",
                              "%.60s is in the way, and not ours", replacement->temporary);
    }
    if (rename_temporary(replacement) != 0 && errno != ENOENT) {
        return ipcx__file_failed("replace", replacement->name, err);
    }
    return IPCX_OK;
}

/* Gives the nameless file its temporary name. */
static ipcx_status link_temporary(ipcx_replacement *replacement, ipcx_error *err)
{
    char self[40];
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", replacement->fd);
    while (linkat(AT_FDCWD, self, replacement->dir, replacement->temporary, AT_SYMLINK_FOLLOW) !=
           0) {
        ipcx_status status = errno == EEXIST ? help(replacement, err)
                             : errno == EINTR
                                 ? IPCX_OK
                                 : ipcx__file_failed("replace", replacement->name, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    replacement->named = 1;
    return IPCX_OK;
}

ipcx_status ipcx_file_replace_commit(ipcx_replacement *replacement, int durable, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    struct stat there;
    int helped = !replacement->named;
    if (durable && fsync(replacement->fd) != 0) {
        status = ipcx__file_failed("fsync", replacement->name, err);
    }
    if (status == IPCX_INTR) {
        return status; /* nothing has happened yet */
    }
    /* What came there since we began is looked at once more: rename(2) would replace a link. */
    if (status == IPCX_OK &&
        fstatat(replacement->dir, replacement->name, &there, AT_SYMLINK_NOFOLLOW) == 0) {
        status = ipcx__file_check(&there, "replace", replacement->name, err);
    }
    if (status == IPCX_OK && !replacement->named) {
        status = link_temporary(replacement, err);
    }
    if (status == IPCX_OK) {
        if (rename_temporary(replacement) == 0 ||
            (helped && errno == ENOENT)) { /* somebody did it for us */
            replacement->named = 0;
        } else {
            status = ipcx__file_failed("replace", replacement->name, err);
        }
    }
    if (status == IPCX_OK && durable) {
        status = ipcx__file_sync_directory(replacement->dir, replacement->name, err);
    }
    ipcx_file_replace_abort(replacement);
    return status;
}

void ipcx_file_replace_abort(ipcx_replacement *replacement)
{
    int saved = errno;
    if (replacement->open) {
        if (replacement->named) {
            (void)unlinkat(replacement->dir, replacement->temporary, 0);
        }
        if (replacement->fd >= 0) {
            (void)ipcx_fd_close(replacement->fd, NULL);
        }
        (void)ipcx_fd_close(replacement->dir, NULL);
        *replacement = (ipcx_replacement){0};
    }
    errno = saved;
}
