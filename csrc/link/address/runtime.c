/* SPDX-License-Identifier: Apache-2.0
 * The folder of this user's that listeners without a name of their own live in.
 * Invariant: the folder is this user's alone, so whatever is in it was put there by this user. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link/address/path.h"

#define OP "listen"
#define DIGITS 16 /* of the random number in a name, hexadecimal */
#define SOCKET ".sock"
#define LOCK SOCKET ".lock"
#define NAME_ROOM ((int)(DIGITS + sizeof "/" SOCKET))

/* True: `path` is a folder, and this user's alone. */
static bool is_private(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == geteuid() &&
           (found.st_mode & 077) == 0;
}

static bool make_private(const char *path)
{
    return (mkdir(path, 0700) == 0 || errno == EEXIST) && is_private(path);
}

/* sudo and su hand on the XDG_RUNTIME_DIR of their caller: then it is not ours. */
ipcx_status ipcx__runtime_folder(char *folder, size_t cap, ipcx_error *err)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int length = 0;
    if (runtime != NULL && runtime[0] == '/' && is_private(runtime)) {
        length = snprintf(folder, cap, "%s/ipcx", runtime);
    }
    if (length > 0 && length + NAME_ROOM <= (int)cap && make_private(folder)) {
        return IPCX_OK;
    }
    (void)snprintf(folder, cap, "/tmp/ipcx-%ju", (uintmax_t)geteuid());
    if (make_private(folder)) {
        return IPCX_OK;
    }
    return ipcx_error_set(err, IPCX_SYSTEM, EPERM, OP,
                          "%s is not a folder of this user's alone (mode 0700)", folder);
}

/* "0123456789abcdef.sock.lock" */
static bool is_lock_of_ours(const char *name)
{
    return strlen(name) == DIGITS + sizeof LOCK - 1 && strspn(name, "0123456789abcdef") == DIGITS &&
           strcmp(name + DIGITS, LOCK) == 0;
}

/* Removes a lock that nobody holds, and its socket first: while the lock is held here nobody takes
 * it, and who finds it gone makes another. */
static void sweep_one(int dir, const char *lock)
{
    char name[DIGITS + sizeof SOCKET];
    struct stat opened, named;
    int fd = openat(dir, lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &opened) == 0 &&
        fstatat(dir, lock, &named, AT_SYMLINK_NOFOLLOW) == 0 && opened.st_ino == named.st_ino &&
        S_ISREG(opened.st_mode)) {
        (void)snprintf(name, sizeof name, "%.*s" SOCKET, DIGITS, lock);
        (void)unlinkat(dir, name, 0);
        (void)unlinkat(dir, lock, 0);
    }
    (void)close(fd);
}

static void sweep(const char *folder)
{
    const struct dirent *entry;
    DIR *dir = opendir(folder);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (is_lock_of_ours(entry->d_name)) {
            sweep_one(dirfd(dir), entry->d_name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

ipcx_status ipcx__runtime_path(char *path, size_t cap, ipcx_error *err)
{
    uint64_t random = 0;
    ipcx_status status = ipcx__runtime_folder(path, cap, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (getrandom(&random, sizeof random, 0) < 0) {
        return ipcx_error_set(err, IPCX_SYSTEM, errno, OP, "no random name");
    }
    sweep(path);
    (void)snprintf(path + strlen(path), cap - strlen(path), "/%016" PRIx64 SOCKET, random);
    return IPCX_OK;
}

ipcx_status ipcx__runtime_named(const char *name, bool listens, char *path, size_t cap,
                                ipcx_error *err)
{
    size_t len;
    ipcx_status status = ipcx__runtime_folder(path, cap, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (listens) {
        sweep(path);
    }
    len = strlen(path);
    if ((size_t)snprintf(path + len, cap - len, "/%s" SOCKET, name) >= cap - len) {
        return ipcx_error_set(err, IPCX_INVALID_URL, 0, "url",
                              "the name is too long for a socket in %.60s", path);
    }
    return IPCX_OK;
}
