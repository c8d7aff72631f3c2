/* SPDX-License-Identifier: Apache-2.0
 * Mapping files, flushing, asking what is resident, bringing lost pages back.
 * Invariant: a failed call has changed neither the file nor the map. */
#include "ipcx/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/guard.h"

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static int protection(unsigned flags)
{
    return flags & (IPCX_MAPFILE_WRITE | IPCX_MAPFILE_PRIVATE) ? PROT_READ | PROT_WRITE : PROT_READ;
}

static int sharing(unsigned flags)
{
    return flags & IPCX_MAPFILE_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
}

/* ---- the file */

/* O_NONBLOCK: a named pipe without a writer would let us wait for one before we could refuse it. */
static int open_flags(unsigned flags)
{
    return O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (flags & IPCX_MAPFILE_WRITE ? O_RDWR : O_RDONLY);
}

/* Opens it; `*made` tells whether it was not there before, so that it can be taken away again. */
static ipcx_status file_open(const char *path, unsigned flags, int *fd, int *made, ipcx_error *err)
{
    int attempt = open_flags(flags), found = -1;
    *made = 0;
    for (int tries = 0; tries < 100; tries++) {
        if (!(flags & IPCX_MAPFILE_EXCLUSIVE)) {
            found = open(path, attempt);
        }
        if (found < 0 && (flags & IPCX_MAPFILE_CREATE) &&
            (errno == ENOENT || (flags & IPCX_MAPFILE_EXCLUSIVE))) {
            found = open(path, attempt | O_CREAT | O_EXCL, 0666);
            *made = found >= 0;
            if (found < 0 && errno == EEXIST && !(flags & IPCX_MAPFILE_EXCLUSIVE)) {
                continue; /* Somebody made it between our two steps: open that one. */
            }
        }
        break;
    }
    if (found < 0) {
        /* A socket cannot be opened at all: the same answer as for a pipe, which can. */
        return ipcx_error_system(err, errno == ENXIO ? ENODEV : errno, "mapfile", "%s", path);
    }
    *fd = found;
    return IPCX_OK;
}

static ipcx_status file_grow(int fd, off_t from, off_t to, const char *path, ipcx_error *err)
{
    int error;
    do {
        error = posix_fallocate(fd, from, to - from);
    } while (error == EINTR);
    if (error != 0) {
        (void)!ftruncate(fd, from);
        return ipcx_error_system(err, error, "mapfile", "growing %s to %lld bytes", path,
                                 (long long)to);
    }
    return IPCX_OK;
}

/* How much to map, growing the file where that is asked for. */
static ipcx_status file_size(int fd, const char *path, int64_t offset, size_t size, unsigned flags,
                             size_t *length, ipcx_error *err)
{
    struct stat found;
    int64_t end;
    if (fstat(fd, &found) != 0) {
        return ipcx_error_system(err, errno, "mapfile", "%s", path);
    }
    if (S_ISDIR(found.st_mode)) {
        return ipcx_error_system(err, EISDIR, "mapfile", "%s", path);
    }
    if (S_ISFIFO(found.st_mode) || S_ISSOCK(found.st_mode)) {
        return ipcx_error_system(err, ENODEV, "mapfile", "%s", path);
    }
    if (__builtin_add_overflow(offset, size, &end)) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "mapfile", "the size is too large");
    }
    if (!S_ISREG(found.st_mode)) { /* A device: only itself knows what it can map. */
        *length = size;
        return size != 0 ? IPCX_OK
                         : ipcx_error_set(err, IPCX_INVALID, 0, "mapfile",
                                          "a device has no size of its own: say how much to map");
    }
    if (size == 0) {
        if (found.st_size <= offset) {
            return ipcx_error_set(err, IPCX_INVALID, 0, "mapfile",
                                  found.st_size == 0 ? "cannot map an empty file: give a size"
                                                     : "the offset is at or past the file's end");
        }
        *length = (size_t)(found.st_size - offset);
        return IPCX_OK;
    }
    *length = size;
    if (end <= found.st_size) {
        return IPCX_OK;
    }
    if (!(flags & IPCX_MAPFILE_WRITE)) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "mapfile",
                              "the file ends before the size asked for, and is read-only here");
    }
    return file_grow(fd, found.st_size, end, path, err);
}

ipcx_status ipcx_mapfile_file(const char *path, int64_t offset, size_t size, unsigned flags,
                              int *fd, size_t *length, ipcx_error *err)
{
    int found = -1, made = 0;
    ipcx_status status;
    if (offset < 0 || offset % (int64_t)page_size() != 0) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "mapfile",
                              "the offset must be a multiple of the page size, %zu", page_size());
    }
    if (size == 0) {
        flags &= ~(unsigned)(IPCX_MAPFILE_CREATE | IPCX_MAPFILE_EXCLUSIVE); /* It would be empty. */
    }
    status = file_open(path, flags, &found, &made, err);
    if (status != IPCX_OK) {
        return status;
    }
    status = file_size(found, path, offset, size, flags, length, err);
    if (status == IPCX_OK) {
        *fd = found;
        return IPCX_OK;
    }
    if (made) {
        (void)unlink(path);
    }
    (void)close(found);
    return status;
}

/* ---- the map */

ipcx_status ipcx_mapfile_watch(ipcx_mapfile *map, ipcx_error *err)
{
    map->guard = ipcx__guard_watch(map->data, map->size, protection(map->flags));
    if (map->guard == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "mapfile", "the guard");
    }
    return IPCX_OK;
}

void ipcx_mapfile_unwatch(ipcx_mapfile *map)
{
    ipcx__guard_release(map->guard);
    map->guard = NULL;
}

ipcx_status ipcx_mapfile_open(const char *path, int64_t offset, size_t size, unsigned flags,
                              ipcx_mapfile *out, ipcx_error *err)
{
    ipcx_mapfile map = {.flags = flags, .offset = offset};
    void *data;
    ipcx_status status = ipcx_mapfile_file(path, offset, size, flags, &map.fd, &map.size, err);
    if (status != IPCX_OK) {
        return status;
    }
    data = mmap(NULL, map.size, protection(flags), sharing(flags), map.fd, offset);
    if (data == MAP_FAILED) {
        status = ipcx_error_system(err, errno, "mapfile", "%s", path);
        (void)close(map.fd);
        return status;
    }
    map.data = data;
    status = ipcx_mapfile_watch(&map, err);
    if (status != IPCX_OK) {
        ipcx_mapfile_close(&map);
        return status;
    }
    *out = map;
    return IPCX_OK;
}

void ipcx_mapfile_close(ipcx_mapfile *map)
{
    if (map->data != NULL) {
        ipcx_mapfile_unwatch(map);
        (void)munmap(map->data, map->size);
        (void)close(map->fd);
    }
    *map = (ipcx_mapfile){0};
}

/* The file in its place again. In a private map that would undo what was written to pages beside
 * the lost ones. */
static int bring_back(const ipcx_mapfile *map, uintptr_t from, uintptr_t to)
{
    if (map->fd < 0 || (map->flags & IPCX_MAPFILE_PRIVATE)) {
        return 0;
    }
    return mmap((void *)from, to - from, protection(map->flags), MAP_SHARED | MAP_FIXED, map->fd,
                map->offset + (int64_t)(from - (uintptr_t)map->data)) != MAP_FAILED;
}

ipcx_status ipcx_mapfile_check(ipcx_mapfile *map, ipcx_error *err)
{
    uintptr_t from, to;
    if (!ipcx__guard_lost(map->guard) || !ipcx__guard_take(map->guard, &from, &to)) {
        return IPCX_OK;
    }
    if (!bring_back(map, from, to)) {
        atomic_store(&map->guard->lost_from, from);
        atomic_store(&map->guard->lost_to, to);
    }
    return ipcx_error_set(err, IPCX_SYSTEM, EFAULT, "mapfile",
                          "bytes %zu to %zu of the map are no longer in the file",
                          (size_t)(from - (uintptr_t)map->data),
                          (size_t)(to - (uintptr_t)map->data));
}

ipcx_status ipcx_mapfile_flush(ipcx_mapfile *map, size_t at, size_t n, ipcx_error *err)
{
    if (at > map->size || n > map->size - at) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "flush", "outside the map");
    }
    if (msync(map->data + at, n, MS_SYNC) != 0) {
        return ipcx_error_system(err, errno, "flush", "%zu bytes from %zu", n, at);
    }
    return IPCX_OK;
}

ipcx_status ipcx_mapfile_resident(const void *data, size_t size, unsigned char *pages,
                                  ipcx_error *err)
{
    size_t i, page = page_size(), count = size / page + (size % page != 0);
    if ((uintptr_t)data % page != 0) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "resident", "the range begins no page");
    }
    if (mincore((void *)(uintptr_t)data, size, pages) != 0) {
        return ipcx_error_system(err, errno, "resident", "%zu bytes", size);
    }
    for (i = 0; i < count; i++) {
        pages[i] &= 1; /* The other bits are the kernel's to use some day. */
    }
    return IPCX_OK;
}

int ipcx_mapfile_guard(int on)
{
    return ipcx__guard_switch(on);
}
