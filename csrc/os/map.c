/* SPDX-License-Identifier: Apache-2.0
 * Nameless shared memory: memfd_create(2), fcntl(2)'s seals, fallocate(2), mmap(2).
 * Invariant: a mapping of both halves or of none; a descriptor made here is sealed before anybody
 * else sees it. */
#include "os/map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
/* Left to others when memory is reserved: below it the machine is about to swap or kill. */
#define SPARE ((size_t)16 << 20)
/* What is reserved without asking how much there is: the question costs 20 µs. */
#define SMALL ((uint64_t)256 << 10)

static int make(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) { /* a kernel before 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    return fd;
}

ipcx_status ipcx__memory_make(const char *name, size_t size, int *fd, ipcx_error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (size + page - 1) / page * page;
    const char *op = "memfd_create";
    int made = make(name), saved;
    if (made >= 0) {
        op = "ftruncate";
        if (ftruncate(made, (off_t)whole) == 0) {
            op = "seal";
            if (fcntl(made, F_ADD_SEALS, SEALS) == 0) {
                *fd = made;
                return IPCX_OK;
            }
        }
    }
    saved = errno;
    if (made >= 0) {
        (void)close(made);
    }
    return saved == ENOMEM
               ? ipcx_error_set(err, IPCX_EXHAUSTED, saved, op, "%zu bytes of shared memory", whole)
               : ipcx_error_system(err, saved, op, "%zu bytes of shared memory", whole);
}

static ipcx_status unfit(ipcx_error *err, int sys_errno, const char *what)
{
    return ipcx_error_set(err, IPCX_PROTOCOL, sys_errno, "shared memory", "what the peer passed %s",
                          what);
}

ipcx_status ipcx__memory_check(int fd, size_t min, size_t max, size_t *size, ipcx_error *err)
{
    struct stat info;
    struct statfs where;
    int mode = fcntl(fd, F_GETFL), seals = mode >= 0 ? fcntl(fd, F_GET_SEALS) : -1;
    if (mode < 0) {
        return unfit(err, errno, "is no descriptor");
    }
    /* Seals first: a file system of a stranger's own (fuse) is not asked anything. No huge pages:
     * there may be none left when one is touched. */
    if (seals < 0 || fstat(fd, &info) != 0 || fstatfs(fd, &where) != 0 ||
        where.f_type != TMPFS_MAGIC) {
        return unfit(err, 0, "is no memory (memfd_create)");
    }
    if ((mode & O_ACCMODE) != O_RDWR || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
        return unfit(err, 0, "cannot be written to");
    }
    if ((seals & SEALS) != SEALS) {
        return unfit(err, 0, "is not sealed: it could shrink under our feet");
    }
    if ((uintmax_t)info.st_size < min || (uintmax_t)info.st_size > max) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "shared memory",
                              "the peer passed %jd bytes; %zu to %zu are allowed",
                              (intmax_t)info.st_size, min, max);
    }
    *size = (size_t)info.st_size;
    return IPCX_OK;
}

/* ---- how much there is */

/* The number behind `key` in a file of the kernel's; SIZE_MAX where there is none ("max"). */
static size_t number_in(const char *path, const char *key)
{
    char line[160];
    size_t number = SIZE_MAX, n = strlen(key);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return SIZE_MAX;
    }
    while (number == SIZE_MAX && fgets(line, sizeof line, file) != NULL) {
        char *end, *from = line + n;
        if (strncmp(line, key, n) == 0) {
            unsigned long long value = strtoull(from, &end, 10);
            number = end != from && value < SIZE_MAX ? (size_t)value : SIZE_MAX;
        }
    }
    (void)fclose(file);
    return number;
}

/* What the memory.max of our cgroup (v2) and of those above it leave. */
static size_t cgroup_left(void)
{
    char name[512], path[600], *line, *end;
    size_t left = SIZE_MAX;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) {
        return SIZE_MAX;
    }
    do {
        line = fgets(name, sizeof name, file);
    } while (line != NULL && strncmp(line, "0::/", 4) != 0);
    (void)fclose(file);
    if (line == NULL) {
        return SIZE_MAX; /* version 1, or none */
    }
    name[strcspn(name, "\n")] = '\0';
    while ((end = strrchr(name + 3, '/')) != NULL) {
        size_t most, used;
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", name + 3);
        most = number_in(path, "");
        (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", name + 3);
        used = most != SIZE_MAX ? number_in(path, "") : 0;
        if (most != SIZE_MAX && used != SIZE_MAX) {
            size_t here = most > used ? most - used : 0;
            left = here < left ? here : left;
        }
        *end = '\0';
    }
    return left;
}

size_t ipcx__memory_left(void)
{
    size_t available = number_in("/proc/meminfo", "MemAvailable:"), cgroup = cgroup_left();
    available = available < SIZE_MAX / 1024 ? available * 1024 : SIZE_MAX;
    return available < cgroup ? available : cgroup;
}

ipcx_status ipcx__memory_reserve(int fd, uint64_t from, uint64_t to, ipcx_error *err)
{
    uint64_t bytes = to - from;
    int failed;
    if (bytes > SMALL) {
        size_t left = ipcx__memory_left();
        if (left < SPARE || left - SPARE < bytes) {
            return ipcx_error_set(err, IPCX_EXHAUSTED, ENOMEM, "shared memory",
                                  "%llu bytes asked for, %zu left of machine or cgroup",
                                  (unsigned long long)bytes, left);
        }
    }
    do {
        failed = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes) != 0 ? errno : 0;
    } while (failed == EINTR);
    if (failed == ENOSPC || failed == ENOMEM) {
        return ipcx_error_set(err, IPCX_EXHAUSTED, failed, "fallocate",
                              "no memory for %llu shared bytes", (unsigned long long)bytes);
    }
    return failed == 0 ? IPCX_OK : ipcx_error_system(err, failed, "fallocate", "shared memory");
}

ipcx_status ipcx__memory_release(int fd, uint64_t from, uint64_t to, ipcx_error *err)
{
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                  (off_t)(to - from)) != 0) {
        return ipcx_error_system(err, errno, "fallocate", "giving shared memory back");
    }
    return IPCX_OK;
}

/* ---- mapping */

static ipcx_status no_map(ipcx_error *err, int sys_errno, size_t size)
{
    ipcx_status status = sys_errno == ENOMEM ? IPCX_EXHAUSTED : IPCX_SYSTEM;
    return ipcx_error_set(err, status, sys_errno, "mmap", "no place for %zu shared bytes", size);
}

ipcx_status ipcx__memory_map(int fd, uint64_t offset, size_t size, bool twice, void **at,
                             ipcx_error *err)
{
    size_t copies = twice ? 2 : 1, i;
    int saved;
    /* The place for both first: then each half replaces what is ours already. */
    char *base =
        mmap(NULL, copies * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return no_map(err, errno, copies * size);
    }
    for (i = 0; i < copies; i++) {
        if (mmap(base + i * size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                 (off_t)offset) == MAP_FAILED) {
            saved = errno;
            (void)munmap(base, copies * size);
            return no_map(err, saved, size);
        }
    }
    *at = base;
    return IPCX_OK;
}

void ipcx__memory_unmap(void *at, size_t size, bool twice)
{
    if (at != NULL) {
        (void)munmap(at, twice ? 2 * size : size);
    }
}
