/* SPDX-License-Identifier: Apache-2.0
 * The test harness: TEST(name) { … } defines a test and enters it into the list, CHECK… compare and
 * print where and what on a difference, REQUIRE… end the program as well. Output is TAP; the last
 * line says how it went. Include it in one file of a program only: it brings main().
 * Invariant: a test that leaves a descriptor or a child behind has failed. */
#ifndef IPCX_TESTS_CHECK_H
#define IPCX_TESTS_CHECK_H

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipcx/status.h"

typedef struct check_test {
    const char *name;
    void (*run)(void);
    struct check_test *next;
} check_test;

static check_test *check_first;
static check_test **check_last = &check_first;
static atomic_int check_failed; /* in the running test; threads of a test may count too */

/* Constructors of one file run in the order they are written, so the tests do. */
#define TEST(name)                                                                                 \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void check_add_##name(void)                                \
    {                                                                                              \
        static check_test entry = {#name, name, NULL};                                             \
        *check_last = &entry;                                                                      \
        check_last = &entry.next;                                                                  \
    }                                                                                              \
    static void name(void)

__attribute__((format(printf, 3, 4))) static inline int check_fail(const char *file, int line,
                                                                   const char *format, ...)
{
    va_list args;
    flockfile(stdout);
    printf("# %s:%d: ", file, line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
    funlockfile(stdout);
    atomic_fetch_add(&check_failed, 1);
    return 0;
}

static inline int check_int(const char *file, int line, const char *what, intmax_t got,
                            intmax_t expected)
{
    return got == expected ||
           check_fail(file, line, "%s is %" PRIdMAX ", expected %" PRIdMAX, what, got, expected);
}

static inline int check_str(const char *file, int line, const char *what, const char *got,
                            const char *expected)
{
    return strcmp(got, expected) == 0 ||
           check_fail(file, line, "%s is \"%s\", expected \"%s\"", what, got, expected);
}

static inline int check_mem(const char *file, int line, const char *what, const void *got,
                            const void *expected, size_t n)
{
    const unsigned char *a = got, *b = expected;
    size_t i;
    for (i = 0; i < n; i++) {
        if (a[i] != b[i]) {
            return check_fail(file, line, "%s[%zu] is 0x%02x, expected 0x%02x", what, i, a[i],
                              b[i]);
        }
    }
    return 1;
}

static inline int check_status(const char *file, int line, const char *what, ipcx_status got,
                               ipcx_status expected)
{
    return got == expected || check_fail(file, line, "%s is %s, expected %s (errno %d)", what,
                                         ipcx_status_name(got), ipcx_status_name(expected), errno);
}

/* Each is an expression: 1 when it holds. */
#define CHECK(condition)                                                                           \
    ((condition) ? 1 : check_fail(__FILE__, __LINE__, "not so: %s", #condition))
#define CHECK_INT(got, expected)                                                                   \
    check_int(__FILE__, __LINE__, #got, (intmax_t)(got), (intmax_t)(expected))
#define CHECK_STR(got, expected) check_str(__FILE__, __LINE__, #got, (got), (expected))
#define CHECK_MEM(got, expected, n) check_mem(__FILE__, __LINE__, #got, (got), (expected), (n))
#define CHECK_STATUS(got, expected) check_status(__FILE__, __LINE__, #got, (got), (expected))
#define CHECK_OK(call) CHECK_STATUS(call, IPCX_OK)

/* For what the rest of the program cannot do without. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!CHECK(condition)) {                                                                   \
            printf("Bail out! errno %d, %s\n", errno, strerror(errno));                            \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define REQUIRE_OK(call) REQUIRE((call) == IPCX_OK)

/* Descriptors open now. */
static inline int check_fds(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    REQUIRE(dir != NULL);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n - 3; /* ".", ".." and the directory's own */
}

/* Under valgrind, which has limits on descriptors of its own making: what a test of the kernel's
 * limits sees there says nothing. */
static inline int check_valgrind(void)
{
    return getenv("IPCX_VALGRIND") != NULL;
}

/* Under qemu-user (make qemu), which knows less of pidfds and control messages than the kernel. */
static inline int check_qemu(void)
{
    return getenv("IPCX_QEMU") != NULL;
}

/* A copy of `n` bytes that ends where the address space does: one byte further faults. */
static inline char *check_guarded(const void *bytes, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (n + page - 1) / page + 1;
    char *map =
        mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(map != MAP_FAILED);
    REQUIRE(mprotect(map + (pages - 1) * page, page, PROT_NONE) == 0);
    if (n > 0) {
        memcpy(map + (pages - 1) * page - n, bytes, n);
    }
    return map + (pages - 1) * page - n;
}

static inline void check_unguard(char *copy, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (n + page - 1) / page + 1;
    REQUIRE(munmap(copy + n - (pages - 1) * page, pages * page) == 0);
}

/* Waits for a child made by the test; 1 when it exited with 0. */
static inline int check_child(pid_t pid)
{
    int state = -1;
    return pid > 0 && waitpid(pid, &state, 0) == pid && WIFEXITED(state) && WEXITSTATUS(state) == 0;
}

static int check_one(const check_test *test, int number)
{
    int fds = check_fds();
    atomic_store(&check_failed, 0);
    test->run();
    CHECK_INT(check_fds(), fds);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    printf("%s %d - %s\n", atomic_load(&check_failed) ? "not ok" : "ok", number, test->name);
    fflush(stdout);
    return atomic_load(&check_failed) != 0;
}

/* `program` runs all, `program name…` the tests named. */
int main(int argc, char **argv)
{
    int ran = 0, failed = 0;
    const check_test *test;
    for (test = check_first; test != NULL; test = test->next) {
        int wanted = argc == 1, i;
        for (i = 1; i < argc; i++) {
            wanted |= strcmp(argv[i], test->name) == 0;
        }
        if (wanted) {
            failed += check_one(test, ++ran);
        }
    }
    printf("1..%d\n# %d tests, %d failed\n", ran, ran, failed);
    return failed != 0 || ran == 0;
}

#endif
