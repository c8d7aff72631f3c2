/* SPDX-License-Identifier: Apache-2.0
 * Claiming, binding and removing the path of a Unix listener.
 * Invariant: every file is looked at through the descriptor of its folder and never through a
 * symbolic link; a lock counts only while its file is still the one under that name. */
#include "link/address/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define OP "listen"
#define LOCK_SUFFIX ".lock"
#define LOCK_TRIES 100
#define NEW_TRIES 10

static const char *base_of(const ipcx__path *self)
{
    return strrchr(self->path, '/') + 1;
}

static void lock_name(const ipcx__path *self, char *name, size_t cap)
{
    (void)snprintf(name, cap, "%s" LOCK_SUFFIX, base_of(self));
}

static ipcx_status refused(const ipcx__path *self, const char *what, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_SYSTEM, EPERM, OP, "%s%s", self->path, what);
}

static ipcx_status failed(const ipcx__path *self, const char *what, ipcx_error *err)
{
    ipcx_status status = ipcx_status_from_errno(errno);
    return ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, OP, "%s%s", self->path,
                          what);
}

/* ---- the lock */

static ipcx_status open_folder(ipcx__path *self, ipcx_error *err)
{
    char folder[sizeof self->path];
    size_t len = (size_t)(base_of(self) - self->path);
    memcpy(folder, self->path, len);
    folder[len] = '\0';
    self->dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return self->dir >= 0 ? IPCX_OK : failed(self, ": its folder", err);
}

/* An empty file of this user's own, or the lock that an earlier listener left. Another user's, a
 * link, or a file with a second name elsewhere is not written to. */
static ipcx_status open_lock(ipcx__path *self, struct stat *found, ipcx_error *err)
{
    char name[sizeof self->path + sizeof LOCK_SUFFIX];
    lock_name(self, name, sizeof name);
    self->lock =
        openat(self->dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (self->lock < 0) {
        return errno == ELOOP || errno == ENXIO || errno == EISDIR
                   ? refused(self, ".lock is no plain file", err)
                   : failed(self, ".lock", err);
    }
    if (fstat(self->lock, found) < 0) {
        return failed(self, ".lock", err);
    }
    if (!S_ISREG(found->st_mode)) {
        return refused(self, ".lock is no plain file", err);
    }
    if (found->st_uid != geteuid() || found->st_nlink > 1) {
        return refused(self,
                       found->st_nlink > 1 ? ".lock has another name elsewhere"
                                           : ".lock belongs to another user",
                       err);
    }
    return IPCX_OK;
}

static ipcx_status in_use(const ipcx__path *self, ipcx_error *err)
{
    char text[16] = {0};
    long pid = pread(self->lock, text, sizeof text - 1, 0) > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0) {
        return ipcx_error_set(err, IPCX_ADDRESS_IN_USE, EADDRINUSE, OP,
                              "%.90s: process %ld listens", self->path, pid);
    }
    return ipcx_error_set(err, IPCX_ADDRESS_IN_USE, EADDRINUSE, OP, "%s", self->path);
}

static void write_pid(const ipcx__path *self)
{
    char text[16];
    int len = snprintf(text, sizeof text, "%d\n", (int)getpid());
    /* Only people read it: a full disk may have it empty. The mode, since the umask took part. */
    if (ftruncate(self->lock, 0) == 0 && pwrite(self->lock, text, (size_t)len, 0) == len) {
        (void)fchmod(self->lock, 0600);
    }
}

/* The lock, on a file that is still the one under its name: who removes one does it with the lock
 * held, so a lock that came a moment later is on a file that has gone. */
static ipcx_status take_lock(ipcx__path *self, ipcx_error *err)
{
    char name[sizeof self->path + sizeof LOCK_SUFFIX];
    struct stat opened, named;
    lock_name(self, name, sizeof name);
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        ipcx_status status = open_lock(self, &opened, err);
        if (status == IPCX_OK && flock(self->lock, LOCK_EX | LOCK_NB) < 0) {
            status = errno == EWOULDBLOCK ? in_use(self, err) : failed(self, ".lock", err);
        }
        if (status != IPCX_OK) {
            return status;
        }
        if (fstatat(self->dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
            named.st_dev == opened.st_dev && named.st_ino == opened.st_ino) {
            write_pid(self);
            return IPCX_OK;
        }
        (void)close(self->lock);
        self->lock = -1;
    }
    return ipcx_error_set(err, IPCX_ADDRESS_IN_USE, EADDRINUSE, OP, "%s", self->path);
}

/* ---- what is there already */

/* OK: nobody listens on the socket. Listeners of other libraries hold no lock: ask it. */
static ipcx_status is_dead(const ipcx__path *self, ipcx_error *err)
{
    ipcx_addr addr;
    int error, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ipcx_status status = fd >= 0 ? ipcx_addr_unix(&addr, self->path, strlen(self->path), err)
                                 : failed(self, "", err);
    if (status == IPCX_OK) {
        error = connect(fd, &addr.u.sa, addr.len) < 0 ? errno : 0;
        if (error != ECONNREFUSED) {
            status = ipcx_error_set(err, IPCX_ADDRESS_IN_USE, EADDRINUSE, OP, "%s", self->path);
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return status;
}

static ipcx_status clear(ipcx__path *self, ipcx_error *err)
{
    struct stat found;
    ipcx_status status;
    if (fstatat(self->dir, base_of(self), &found, AT_SYMLINK_NOFOLLOW) < 0) {
        return errno == ENOENT ? IPCX_OK : failed(self, "", err);
    }
    if (!S_ISSOCK(found.st_mode)) {
        return refused(self,
                       S_ISLNK(found.st_mode) ? " is a symbolic link: left alone"
                                              : " is no socket: left alone",
                       err);
    }
    if (found.st_uid != geteuid()) {
        return refused(self, " belongs to another user", err);
    }
    status = is_dead(self, err);
    if (status == IPCX_OK && unlinkat(self->dir, base_of(self), 0) < 0 && errno != ENOENT) {
        status = failed(self, "", err);
    }
    return status;
}

static ipcx_status claim(ipcx__path *self, const char *path, ipcx_error *err)
{
    ipcx_status status;
    *self = (ipcx__path){.dir = -1, .lock = -1};
    (void)snprintf(self->path, sizeof self->path, "%s", path);
    status = open_folder(self, err);
    if (status == IPCX_OK) {
        status = take_lock(self, err);
    }
    if (status == IPCX_OK) {
        status = clear(self, err);
        if (status == IPCX_OK) {
            return IPCX_OK;
        }
        ipcx__path_release(self);
    }
    ipcx__path_forget(self);
    return status;
}

ipcx_status ipcx__path_claim(ipcx__path *self, const char *path, ipcx_error *err)
{
    char chosen[sizeof self->path];
    ipcx_status status = IPCX_ADDRESS_IN_USE;
    if (path[0] != '\0') {
        return claim(self, path, err);
    }
    *self = (ipcx__path){.dir = -1, .lock = -1};
    /* Somebody who sweeps may hold a new lock for an instant. */
    for (int tries = 0; tries < NEW_TRIES && status == IPCX_ADDRESS_IN_USE; tries++) {
        status = ipcx__runtime_path(chosen, sizeof chosen, err);
        if (status == IPCX_OK) {
            status = claim(self, chosen, err);
        }
    }
    return status;
}

ipcx_status ipcx__path_bind(ipcx__path *self, int fd, mode_t mode, ipcx_error *err)
{
    ipcx_addr addr;
    struct stat made;
    ipcx_status status = ipcx_addr_unix(&addr, self->path, strlen(self->path), err);
    if (status != IPCX_OK) {
        return status;
    }
    /* The file takes the socket's own mode, less the umask: it is never open wider. */
    if (fchmod(fd, mode) < 0 || bind(fd, &addr.u.sa, addr.len) < 0) {
        return errno == EADDRINUSE
                   ? ipcx_error_set(err, IPCX_ADDRESS_IN_USE, errno, OP, "%s", self->path)
                   : failed(self, "", err);
    }
    if (fstatat(self->dir, base_of(self), &made, AT_SYMLINK_NOFOLLOW) < 0) {
        return failed(self, "", err);
    }
    if (!S_ISSOCK(made.st_mode) || made.st_uid != geteuid()) {
        return refused(self, " was replaced meanwhile", err);
    }
    self->device = made.st_dev;
    self->inode = made.st_ino;
    self->bound = true;
    if ((made.st_mode & 0777) != mode && fchmodat(self->dir, base_of(self), mode, 0) < 0) {
        return failed(self, "", err);
    }
    return IPCX_OK;
}

void ipcx__path_release(ipcx__path *self)
{
    char name[sizeof self->path + sizeof LOCK_SUFFIX];
    struct stat found;
    if (self->bound && fstatat(self->dir, base_of(self), &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        found.st_dev == self->device && found.st_ino == self->inode) {
        (void)unlinkat(self->dir, base_of(self), 0);
    }
    self->bound = false;
    if (self->lock >= 0) {
        lock_name(self, name, sizeof name);
        (void)unlinkat(self->dir, name, 0);
    }
    ipcx__path_forget(self);
}

void ipcx__path_forget(ipcx__path *self)
{
    if (self->lock >= 0) {
        (void)close(self->lock);
    }
    if (self->dir >= 0) {
        (void)close(self->dir);
    }
    self->dir = self->lock = -1;
    self->bound = false;
}
