/* SPDX-License-Identifier: Apache-2.0
 * map: sealed memory, mapped twice; what a stranger may not pass as such. */
#include "check.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "os/map.h"

#define PAGE ((size_t)4096)

static int memory(size_t size)
{
    int fd = -1;
    REQUIRE_OK(ipcx__memory_make("test", size, &fd, NULL));
    return fd;
}

static size_t held(int fd)
{
    struct stat info;
    REQUIRE(fstat(fd, &info) == 0);
    return (size_t)info.st_blocks * 512;
}

TEST(nobody_can_shrink_grow_or_unseal_it)
{
    int fd = memory(PAGE + 1);
    size_t size = 0;
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_OK(ipcx__memory_check(fd, PAGE, 2 * PAGE, &size, NULL));
    CHECK_INT(size, 2 * PAGE);
    CHECK(ftruncate(fd, 0) == -1 && errno == EPERM);
    CHECK(ftruncate(fd, (off_t)(3 * PAGE)) == -1 && errno == EPERM);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == -1 && errno == EPERM);
    close(fd);
}

TEST(one_page_is_seen_at_two_places)
{
    int fd = memory(3 * PAGE);
    void *at;
    char *bytes;
    REQUIRE_OK(ipcx__memory_map(fd, PAGE, 2 * PAGE, true, &at, NULL));
    bytes = at;
    memcpy(bytes + 2 * PAGE - 3, "abcdef", 6);
    CHECK_MEM(bytes, "def", 3);
    CHECK_MEM(bytes + 4 * PAGE - 3, "abc", 3);
    ipcx__memory_unmap(at, 2 * PAGE, true);
    REQUIRE_OK(ipcx__memory_map(fd, 0, 3 * PAGE, false, &at, NULL));
    CHECK_MEM((char *)at + 3 * PAGE - 3, "abc", 3);
    ipcx__memory_unmap(at, 3 * PAGE, false);
    ipcx__memory_unmap(NULL, PAGE, true);
    close(fd);
}

TEST(memory_is_held_from_reserve_to_release)
{
    int fd = memory(64 * PAGE);
    CHECK_INT(held(fd), 0);
    CHECK_OK(ipcx__memory_reserve(fd, 0, 16 * PAGE, NULL));
    CHECK_OK(ipcx__memory_reserve(fd, 8 * PAGE, 32 * PAGE, NULL));
    CHECK_INT(held(fd), 32 * PAGE);
    CHECK_OK(ipcx__memory_release(fd, 8 * PAGE, 32 * PAGE, NULL));
    CHECK_INT(held(fd), 8 * PAGE);
    close(fd);
}

TEST(more_than_there_is_is_refused_before_it_is_taken)
{
    size_t left = ipcx__memory_left();
    ipcx_error err;
    int fd = memory((size_t)1 << 50);
    CHECK(left > PAGE && left < (size_t)1 << 50);
    CHECK_STATUS(ipcx__memory_reserve(fd, 0, (uint64_t)1 << 50, &err), IPCX_EXHAUSTED);
    CHECK_INT(err.sys_errno, ENOMEM);
    CHECK_INT(held(fd), 0);
    CHECK(ipcx__memory_reserve(-1, 0, PAGE, &err) < 0);
    CHECK(ipcx__memory_release(-1, 0, PAGE, &err) < 0);
    close(fd);
}

TEST(no_descriptors_no_address_space)
{
    struct rlimit old, none;
    ipcx_error err;
    void *at;
    int fd = memory(PAGE), other = -1;
    if (!check_valgrind()) { /* which answers EINVAL */
        CHECK_STATUS(ipcx__memory_map(fd, 0, (size_t)1 << 62, true, &at, &err), IPCX_EXHAUSTED);
    }
    CHECK(ipcx__memory_map(fd, 1, PAGE, true, &at, &err) < 0); /* not at a page */
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    none = old;
    none.rlim_cur = 0;
    if (!check_valgrind()) {
        REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
        CHECK_STATUS(ipcx__memory_make("test", PAGE, &other, &err), IPCX_EXHAUSTED);
        CHECK_STR(err.op, "memfd_create");
        REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
    }
    CHECK_INT(other, -1);
    CHECK(ipcx__memory_make("test", SIZE_MAX / 2, &other, &err) < 0);
    close(fd);
}

static void refused(int fd, const char *why)
{
    ipcx_error err = {0};
    size_t size = 77;
    CHECK_STATUS(ipcx__memory_check(fd, PAGE, 16 * PAGE, &size, &err), IPCX_PROTOCOL);
    if (strstr(err.detail, why) == NULL) {
        CHECK_STR(err.detail, why);
    }
    CHECK_INT(size, 77);
    if (fd >= 0) {
        close(fd);
    }
}

static int plain(unsigned flags, size_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC | flags);
    REQUIRE(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    return fd;
}

TEST(what_a_stranger_may_not_pass)
{
    int sealed = plain(MFD_ALLOW_SEALING, PAGE), ends[2];
    char path[64];
    refused(-1, "no descriptor");
    refused(open("/dev/zero", O_RDWR | O_CLOEXEC), "no memory");
    refused(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "no memory");
    refused(open("/", O_RDONLY | O_CLOEXEC), "no memory");
    REQUIRE(pipe(ends) == 0);
    refused(ends[0], "no memory");
    refused(ends[1], "no memory");
    refused(plain(0, PAGE), "not sealed"); /* F_SEAL_SEAL alone */
    refused(plain(MFD_ALLOW_SEALING, PAGE), "not sealed");
    refused(memory(17 * PAGE), "are allowed");
    REQUIRE(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", sealed);
    refused(open(path, O_RDONLY | O_CLOEXEC), "written to");
    close(sealed);
    sealed = plain(MFD_ALLOW_SEALING, PAGE);
    REQUIRE(fcntl(sealed, F_ADD_SEALS,
                  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0);
    refused(sealed, "written to");
}
