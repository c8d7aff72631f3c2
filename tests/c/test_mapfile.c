/* SPDX-License-Identifier: Apache-2.0
 * mapfile: what a file must be to be mapped, lost pages and who hears of them, locks, residency. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "ipcx/alloc.h"
#include "ipcx/mapfile.h"

#define PATH "mapped"
#define RW IPCX_MAPFILE_WRITE

static size_t page;

/* A file of `pages` pages, each byte 'x'. */
static void make_file(size_t pages)
{
    int fd = open(PATH, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    char *bytes;
    page = (size_t)sysconf(_SC_PAGESIZE);
    bytes = malloc(pages * page + 1);
    REQUIRE(fd >= 0 && bytes != NULL);
    memset(bytes, 'x', pages * page);
    REQUIRE(write(fd, bytes, pages * page) == (ssize_t)(pages * page));
    free(bytes);
    close(fd);
}

static off_t size_of(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 ? found.st_size : -1;
}

static ipcx_status try_open(const char *path, int64_t offset, size_t size, unsigned flags,
                            ipcx_error *err)
{
    ipcx_mapfile map = {0};
    ipcx_status status = ipcx_mapfile_open(path, offset, size, flags, &map, err);
    if (status == IPCX_OK) {
        ipcx_mapfile_close(&map);
    }
    CHECK(map.data == NULL && map.guard == NULL);
    return status;
}

TEST(a_file_is_made_grown_and_kept)
{
    ipcx_mapfile map = {0};
    unlink(PATH);
    page = (size_t)sysconf(_SC_PAGESIZE);
    REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 100, RW | IPCX_MAPFILE_CREATE, &map, NULL));
    CHECK_INT(map.size, 100);
    CHECK_INT(size_of(PATH), 100);
    memcpy(map.data, "hello", 5);
    CHECK_OK(ipcx_mapfile_flush(&map, 0, 100, NULL));
    CHECK_STATUS(ipcx_mapfile_flush(&map, 1, 100, NULL), IPCX_INVALID);
    ipcx_mapfile_close(&map);
    ipcx_mapfile_close(&map); /* {0} is closed already. */

    REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 3 * page, RW | IPCX_MAPFILE_CREATE, &map, NULL));
    CHECK_MEM(map.data, "hello", 5);
    CHECK_INT(size_of(PATH), (intmax_t)(3 * page));
    ipcx_mapfile_close(&map);

    REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 7, RW, &map, NULL)); /* Never shortened. */
    CHECK_INT(size_of(PATH), (intmax_t)(3 * page));
    ipcx_mapfile_close(&map);

    REQUIRE_OK(ipcx_mapfile_open(PATH, (int64_t)page, 0, IPCX_MAPFILE_READ, &map, NULL));
    CHECK_INT(map.size, 2 * page);
    ipcx_mapfile_close(&map);
    unlink(PATH);
}

TEST(copy_on_write_stays_here)
{
    ipcx_mapfile map = {0};
    char byte = 0;
    int fd;
    make_file(1);
    REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 0, IPCX_MAPFILE_PRIVATE, &map, NULL));
    map.data[0] = 'y';
    fd = open(PATH, O_RDONLY | O_CLOEXEC);
    CHECK(read(fd, &byte, 1) == 1 && byte == 'x');
    close(fd);
    ipcx_mapfile_close(&map);
    unlink(PATH);
}

TEST(what_cannot_be_mapped_says_so)
{
    ipcx_error err;
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(listener, (struct sockaddr *)&name, sizeof name) == 0);
    make_file(0);
    REQUIRE(mkfifo("pipe", 0600) == 0);

    CHECK_STATUS(try_open(PATH, 0, 0, IPCX_MAPFILE_READ, &err), IPCX_INVALID);
    CHECK(strstr(err.detail, "empty") != NULL);
    CHECK_STATUS(try_open(PATH, 0, 10, IPCX_MAPFILE_READ, NULL), IPCX_INVALID);
    CHECK_STATUS(try_open(PATH, 1, 10, RW, &err), IPCX_INVALID);
    CHECK(strstr(err.detail, "page") != NULL);
    CHECK_STATUS(try_open(PATH, -4096, 10, RW, NULL), IPCX_INVALID);
    CHECK_STATUS(try_open(PATH, (int64_t)page, SIZE_MAX, RW, NULL), IPCX_INVALID);
    CHECK_STATUS(try_open(PATH, 0, (size_t)INT64_MAX, RW, NULL), IPCX_SYSTEM); /* EFBIG */
    CHECK_INT(size_of(PATH), 0);
    CHECK_STATUS(try_open("missing", 0, 10, RW, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENOENT);
    CHECK_STATUS(try_open("missing", 0, 0, RW | IPCX_MAPFILE_CREATE, &err), IPCX_SYSTEM);
    CHECK(access("missing", F_OK) != 0); /* An empty file would have been made in vain. */
    CHECK_STATUS(try_open("missing", 0, (size_t)INT64_MAX, RW | IPCX_MAPFILE_CREATE, &err),
                 IPCX_SYSTEM);
    CHECK(access("missing", F_OK) != 0);
    CHECK_STATUS(try_open(PATH, 0, 10, RW | IPCX_MAPFILE_CREATE | IPCX_MAPFILE_EXCLUSIVE, &err),
                 IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EEXIST);
    CHECK_STATUS(try_open(".", 0, 10, IPCX_MAPFILE_READ, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EISDIR);
    CHECK_STATUS(try_open("pipe", 0, 10, RW, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENODEV);
    CHECK_STATUS(try_open("pipe", 0, 10, IPCX_MAPFILE_READ, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENODEV);
    CHECK_STATUS(try_open("socket", 0, 10, RW, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENODEV);
    CHECK_STATUS(try_open("/dev/zero", 0, 0, RW, &err), IPCX_INVALID);
    CHECK_OK(try_open("/dev/zero", 0, 10, RW, &err));
    close(listener);
    unlink("socket");
    unlink("pipe");
    unlink(PATH);
}

TEST(a_lost_page_is_zeros_and_is_told_once)
{
    ipcx_mapfile map = {0};
    ipcx_error err;
    if (check_valgrind()) {
        return; /* It does not restore all registers when a fault is mended. */
    }
    make_file(4);
    REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 0, RW, &map, NULL));
    CHECK_OK(ipcx_mapfile_check(&map, NULL));
    REQUIRE(truncate(PATH, (off_t)page) == 0);
    CHECK_INT(map.data[page], 0);
    CHECK_INT(map.data[4 * page - 1], 0);
    CHECK_INT(map.data[0], 'x');
    CHECK_STATUS(ipcx_mapfile_check(&map, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EFAULT);
    CHECK_OK(ipcx_mapfile_check(&map, NULL));

    map.data[2 * page] = 'y'; /* Written to nothing. */
    CHECK_INT(map.data[2 * page], 'y');
    CHECK_STATUS(ipcx_mapfile_check(&map, NULL), IPCX_SYSTEM);

    REQUIRE(truncate(PATH, (off_t)(4 * page)) == 0); /* The file is back, and so is the map. */
    map.data[3 * page] = 'z';
    CHECK_OK(ipcx_mapfile_check(&map, NULL));
    CHECK_INT(map.data[2 * page], 0);
    ipcx_mapfile_close(&map);

    REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 0, IPCX_MAPFILE_READ, &map, NULL));
    CHECK_INT(map.data[3 * page], 'z');
    REQUIRE(truncate(PATH, 0) == 0);
    CHECK_INT(map.data[page], 0);
    CHECK_INT(map.data[0], 0); /* Below the first loss. */
    CHECK_STATUS(ipcx_mapfile_check(&map, NULL), IPCX_SYSTEM);
    ipcx_mapfile_close(&map);
    unlink(PATH);
}

TEST(a_private_map_keeps_what_it_wrote_and_stays_lost)
{
    ipcx_mapfile map = {0};
    if (check_valgrind()) {
        return; /* It does not restore all registers when a fault is mended. */
    }
    make_file(3);
    REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 0, IPCX_MAPFILE_PRIVATE, &map, NULL));
    map.data[0] = 'y';
    REQUIRE(truncate(PATH, (off_t)page) == 0);
    CHECK_INT(map.data[2 * page], 0);
    CHECK_STATUS(ipcx_mapfile_check(&map, NULL), IPCX_SYSTEM);
    CHECK_STATUS(ipcx_mapfile_check(&map, NULL), IPCX_SYSTEM);
    CHECK_INT(map.data[0], 'y');
    ipcx_mapfile_close(&map);
    unlink(PATH);
}

/* A page that is put in the place of another while it is read is no race that TSan could judge. */
__attribute__((no_sanitize("thread"))) static void *touch_all(void *arg)
{
    const volatile ipcx_mapfile *map = arg;
    uintptr_t sum = 0;
    for (size_t at = 0; at < map->size; at += page) {
        sum += map->data[at];
    }
    return (void *)sum;
}

TEST(threads_lose_the_same_pages_at_once)
{
    ipcx_mapfile map = {0};
    pthread_t threads[4];
    void *sum;
    if (check_valgrind()) {
        return; /* It does not restore all registers when a fault is mended. */
    }
    make_file(64);
    REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 0, IPCX_MAPFILE_READ, &map, NULL));
    REQUIRE(truncate(PATH, (off_t)page) == 0);
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, touch_all, &map) == 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &sum);
        CHECK_INT((uintptr_t)sum, 'x');
    }
    CHECK_STATUS(ipcx_mapfile_check(&map, NULL), IPCX_SYSTEM);
    ipcx_mapfile_close(&map);
    unlink(PATH);
}

/* More than one block of the table; memory for the second fails once. */
TEST(many_maps_are_watched)
{
    static ipcx_mapfile maps[200];
    int i;
    if (check_valgrind()) {
        return; /* It does not restore all registers when a fault is mended. */
    }
    make_file(2);
    for (i = 0; i < 64; i++) {
        REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 0, IPCX_MAPFILE_READ, &maps[i], NULL));
    }
    ipcx_alloc_fail_at(1);
    CHECK_STATUS(try_open(PATH, 0, 0, IPCX_MAPFILE_READ, NULL), IPCX_NOMEM);
    ipcx_alloc_fail_at(0);
    for (; i < 200; i++) {
        REQUIRE_OK(ipcx_mapfile_open(PATH, 0, 0, IPCX_MAPFILE_READ, &maps[i], NULL));
    }
    REQUIRE(truncate(PATH, 0) == 0);
    for (i = 0; i < 200; i++) {
        CHECK_INT(maps[i].data[page], 0);
        CHECK_STATUS(ipcx_mapfile_check(&maps[i], NULL), IPCX_SYSTEM);
        ipcx_mapfile_close(&maps[i]);
    }
    unlink(PATH);
}

/* ---- who else gets the signal: each in a child, which may end by it */

/* Sanitizers have handlers of their own, which are the ones "before". */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_HANDLERS 1
#else
#define OWN_HANDLERS check_valgrind()
#endif

/* A page of a file that has none, mapped past ipcx. */
static volatile char *foreign(void)
{
    int fd = open("foreign", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    void *map = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    unlink("foreign");
    return map == MAP_FAILED ? NULL : map;
}

static void install(void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(SIGBUS, &action, NULL);
}

static void exit_7(int number)
{
    (void)number;
    _exit(7);
}

/* As faulthandler does: put back what was there, say something, raise it anew. */
static struct sigaction below;
static void raise_anew(int number)
{
    sigaction(number, &below, NULL);
    raise(number);
}

static void do_nothing(int number)
{
    (void)number;
}

static void is_default(void)
{
}
static void is_caught(void)
{
    install(exit_7, 0);
}
static void is_ignored(void)
{
    install(SIG_IGN, 0);
}
static void is_not_mended(void)
{
    install(do_nothing, 0);
}
static void is_raised_anew(void)
{
    struct sigaction action = {.sa_handler = raise_anew, .sa_flags = SA_NODEFER};
    sigaction(SIGBUS, &action, &below);
}

/* How a child ends that sets itself up, maps a file, sets itself up again, and faults elsewhere. */
static int ending(void (*before)(void), void (*after)(void), int by_signal)
{
    int state = 0;
    pid_t child = fork();
    if (child == 0) {
        ipcx_mapfile map = {0};
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        install(SIG_DFL, 0);
        before();
        if (ipcx_mapfile_open(PATH, 0, 0, IPCX_MAPFILE_READ, &map, NULL) != IPCX_OK) {
            _exit(1);
        }
        after();
        if (truncate(PATH, 0) != 0 ||
            ipcx_mapfile_open("other", 0, 10, RW | IPCX_MAPFILE_CREATE, &map, NULL) != IPCX_OK) {
            _exit(1);
        }
        if (by_signal) {
            raise(SIGBUS);
        } else {
            (void)*foreign();
        }
        _exit(0);
    }
    REQUIRE(waitpid(child, &state, 0) == child);
    return WIFSIGNALED(state) ? -WTERMSIG(state) : WEXITSTATUS(state);
}

TEST(what_is_not_ours_goes_to_the_handler_before)
{
    static void (*const deadly[])(void) = {is_default, is_not_mended, is_raised_anew};
    if (OWN_HANDLERS) {
        return;
    }
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++) {
        make_file(1);
        CHECK_INT(ending(deadly[i], is_default, 0), -SIGBUS);
        make_file(1);
        CHECK_INT(ending(is_default, deadly[i], 0), -SIGBUS);
        make_file(1);
        CHECK_INT(ending(deadly[i], is_raised_anew, 0), -SIGBUS);
    }
    make_file(1);
    CHECK_INT(ending(is_ignored, is_default, 0), -SIGBUS);
    make_file(1);
    CHECK_INT(ending(is_caught, is_default, 0), 7);
    make_file(1);
    CHECK_INT(ending(is_default, is_caught, 0), 7);
    unlink(PATH);
    unlink("other");
}

TEST(a_signal_that_was_sent_is_not_ours_either)
{
    if (OWN_HANDLERS) {
        return;
    }
    make_file(1);
    CHECK_INT(ending(is_default, is_default, 1), -SIGBUS);
    make_file(1);
    CHECK_INT(ending(is_caught, is_default, 1), 7);
    make_file(1);
    CHECK_INT(ending(is_ignored, is_default, 1), 0);
    unlink(PATH);
    unlink("other");
}

TEST(switched_off_a_lost_page_ends_the_process)
{
    int state = 0;
    pid_t child;
    if (OWN_HANDLERS) {
        return;
    }
    make_file(2);
    child = fork();
    if (child == 0) {
        ipcx_mapfile map = {0};
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        install(SIG_DFL, 0);
        if (ipcx_mapfile_open(PATH, 0, 0, IPCX_MAPFILE_READ, &map, NULL) != IPCX_OK ||
            truncate(PATH, 0) != 0 || !ipcx_mapfile_guard(0) || ipcx_mapfile_guard(1)) {
            _exit(1);
        }
        (void)*(volatile unsigned char *)map.data;
        if (ipcx_mapfile_check(&map, NULL) != IPCX_SYSTEM || !ipcx_mapfile_guard(0)) {
            _exit(2);
        }
        (void)*(volatile unsigned char *)map.data;
        _exit(3);
    }
    REQUIRE(waitpid(child, &state, 0) == child);
    CHECK(WIFSIGNALED(state) && WTERMSIG(state) == SIGBUS);
    unlink(PATH);
}

/* ---- what is resident, what is locked */

TEST(touched_pages_are_resident)
{
    unsigned char pages[4] = {0};
    unsigned char *memory;
    page = (size_t)sysconf(_SC_PAGESIZE);
    memory = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    REQUIRE(madvise(memory, 4 * page, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
    memory[2 * page] = 1;
    CHECK_OK(ipcx_mapfile_resident(memory, 4 * page, pages, NULL));
    CHECK_MEM(pages, "\0\0\1\0", 4);
    CHECK_STATUS(ipcx_mapfile_resident(memory + 1, page, pages, NULL), IPCX_INVALID);
    munmap(memory, 4 * page);
}

static void on_alarm(int number)
{
    (void)number;
}

TEST(locks_hold_against_every_other_open)
{
    struct sigaction alarmed = {.sa_handler = on_alarm};
    int one, other;
    make_file(1);
    one = open(PATH, O_RDWR | O_CLOEXEC);
    other = open(PATH, O_RDWR | O_CLOEXEC);
    REQUIRE(one >= 0 && other >= 0);
    CHECK_OK(ipcx_mapfile_lock(one, 0, 10, IPCX_MAPFILE_EXCLUSIVELY, IPCX_NOW, NULL));
    CHECK_OK(ipcx_mapfile_lock(other, 10, 10, IPCX_MAPFILE_EXCLUSIVELY, IPCX_NOW, NULL));
    CHECK_STATUS(ipcx_mapfile_lock(other, 5, 1, IPCX_MAPFILE_SHARED, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(
        ipcx_mapfile_lock(other, 5, 1, IPCX_MAPFILE_SHARED, ipcx_deadline_after(20000000), NULL),
        IPCX_TIMEOUT);
    if (check_valgrind()) {
        close(one);
        close(other);
        unlink(PATH);
        return; /* It lets no signal through to a lock that waits. */
    }
    sigaction(SIGALRM, &alarmed, NULL);
    ualarm(20000, 20000);
    CHECK_STATUS(ipcx_mapfile_lock(other, 5, 1, IPCX_MAPFILE_SHARED, IPCX_FOREVER, NULL),
                 IPCX_INTR);
    CHECK_STATUS(ipcx_mapfile_lock(other, 5, 1, IPCX_MAPFILE_SHARED,
                                   ipcx_deadline_after(INT64_C(5000000000)), NULL),
                 IPCX_INTR);
    ualarm(0, 0);
    CHECK_OK(ipcx_mapfile_lock(one, 0, 10, IPCX_MAPFILE_UNLOCK, IPCX_NOW, NULL));
    CHECK_OK(ipcx_mapfile_lock(other, 5, 1, IPCX_MAPFILE_SHARED, IPCX_NOW, NULL));
    CHECK_OK(ipcx_mapfile_lock(one, 5, 1, IPCX_MAPFILE_SHARED, IPCX_FOREVER, NULL));
    close(one);
    close(other);
    CHECK_STATUS(ipcx_mapfile_lock(-1, 0, 1, IPCX_MAPFILE_SHARED, IPCX_NOW, NULL), IPCX_CLOSED);
    unlink(PATH);
}

TEST(a_killed_holder_leaves_no_lock)
{
    int one, fds[2], state;
    char byte;
    pid_t child;
    make_file(1);
    REQUIRE(pipe(fds) == 0);
    child = fork();
    if (child == 0) {
        int mine = open(PATH, O_RDWR);
        byte = ipcx_mapfile_lock(mine, 0, 0, IPCX_MAPFILE_EXCLUSIVELY, IPCX_NOW, NULL) == IPCX_OK;
        (void)!write(fds[1], &byte, 1);
        pause();
    }
    REQUIRE(read(fds[0], &byte, 1) == 1 && byte == 1);
    one = open(PATH, O_RDWR | O_CLOEXEC);
    CHECK_STATUS(ipcx_mapfile_lock(one, 0, 1, IPCX_MAPFILE_EXCLUSIVELY, IPCX_NOW, NULL),
                 IPCX_AGAIN);
    kill(child, SIGKILL);
    REQUIRE(waitpid(child, &state, 0) == child);
    CHECK_OK(ipcx_mapfile_lock(one, 0, 1, IPCX_MAPFILE_EXCLUSIVELY, IPCX_NOW, NULL));
    close(one);
    close(fds[0]);
    close(fds[1]);
    unlink(PATH);
}
