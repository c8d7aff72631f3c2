/* SPDX-License-Identifier: Apache-2.0
 * file: replaced whole or not at all; locked, waited for, let go by the kernel. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ipcx/file.h"
#include "os/gate.h"

/* Each test works in an empty directory of its own. */
static char home[64], back[256];

static void enter(void)
{
    REQUIRE(getcwd(back, sizeof back) != NULL);
    strcpy(home, "/tmp/ipcx-file-XXXXXX");
    REQUIRE(mkdtemp(home) != NULL && chdir(home) == 0);
}

static int names(void)
{
    int n = 0;
    DIR *dir = opendir(".");
    REQUIRE(dir != NULL);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n - 2;
}

static void leave(void)
{
    DIR *dir = opendir(".");
    struct dirent *entry;
    REQUIRE(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        if (unlink(entry->d_name) != 0) {
            (void)rmdir(entry->d_name);
        }
    }
    closedir(dir);
    REQUIRE(chdir(back) == 0 && rmdir(home) == 0);
}

static void put(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    REQUIRE(fchmod(fd, mode) == 0 && close(fd) == 0);
}

static const char *got(const char *path)
{
    static char text[100];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    text[n > 0 ? n : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
    return n < 0 ? "(none)" : text;
}

static ipcx_status replace(const char *path, const char *text, int durable, ipcx_error *err)
{
    ipcx_replacement new = {0};
    ipcx_status status = ipcx_file_replace_begin(&new, path, 0644, err);
    if (status == IPCX_OK) {
        status = ipcx_file_write(new.fd, text, strlen(text), err);
    }
    if (status == IPCX_OK) {
        status = ipcx_file_replace_commit(&new, durable, err);
    }
    ipcx_file_replace_abort(&new);
    return status;
}

TEST(replaced_whole)
{
    ipcx_error err;
    struct stat info;
    ipcx_replacement new = {0};
    mode_t mask = umask(022);
    enter();
    CHECK_OK(replace("made", "one", 1, &err));
    CHECK_STR(got("made"), "one");
    CHECK(stat("made", &info) == 0 && (info.st_mode & 07777) == 0644);
    REQUIRE(chmod("made", 0640) == 0);
    CHECK_OK(replace("made", "another", 0, &err));
    CHECK_STR(got("made"), "another");
    CHECK(stat("made", &info) == 0 && (info.st_mode & 07777) == 0640);
    CHECK_OK(ipcx_file_replace_begin(&new, "made", 0600, &err));
    CHECK_OK(ipcx_file_write(new.fd, "half", 4, &err));
    CHECK_STR(got("made"), "another");
    ipcx_file_replace_abort(&new);
    ipcx_file_replace_abort(&new);
    CHECK_STR(got("made"), "another");
    CHECK_INT(names(), 1);
    leave();
    (void)umask(mask);
}

TEST(what_is_no_file_is_refused_and_untouched)
{
    static const struct {
        const char *name;
        int sys_errno;
    } bad[] = {{"dir", EISDIR}, {"link", EPERM},    {"dangling", EPERM},
               {"fifo", EPERM}, {"none/x", ENOENT}, {"file/x", ENOTDIR}};
    ipcx_error err;
    int fd;
    enter();
    put("file", "target", 0600);
    REQUIRE(mkdir("dir", 0700) == 0 && symlink("file", "link") == 0 &&
            symlink("nowhere", "dangling") == 0 && mkfifo("fifo", 0600) == 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(replace(bad[i].name, "x", 0, &err), IPCX_SYSTEM);
        CHECK_INT(err.sys_errno, bad[i].sys_errno);
        CHECK_STATUS(ipcx_file_lock(bad[i].name, 0, NULL, IPCX_NOW, &fd, &err), IPCX_SYSTEM);
        CHECK_INT(err.sys_errno, bad[i].sys_errno);
        CHECK_STATUS(ipcx_file_lock(bad[i].name, 1, NULL, IPCX_NOW, &fd, &err), IPCX_SYSTEM);
    }
    CHECK_STATUS(replace("", "x", 0, &err), IPCX_INVALID);
    CHECK_STATUS(replace("dir/", "x", 0, &err), IPCX_INVALID);
    CHECK_STATUS(replace("..", "x", 0, &err), IPCX_INVALID);
    CHECK_STR(got("file"), "target");
    CHECK_INT(names(), 5);
    leave();
}

TEST(a_long_name)
{
    ipcx_error err;
    char name[260];
    enter();
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    CHECK_OK(replace(name, "x", 0, &err));
    CHECK_OK(replace(name, "y", 0, &err));
    CHECK_STR(got(name), "y");
    CHECK_INT(names(), 1);
    name[255] = 'n';
    name[256] = '\0';
    CHECK_STATUS(replace(name, "x", 0, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENAMETOOLONG);
    leave();
}

/* What a writer leaves that was killed between its last two system calls is finished by the next.
 */
TEST(who_was_killed_is_helped)
{
    ipcx_error err;
    enter();
    put("file", "old", 0600);
    put(".file.~new", "complete", 0600);
    CHECK_OK(replace("file", "mine", 0, &err));
    CHECK_STR(got("file"), "mine");
    CHECK_INT(names(), 1);
    REQUIRE(mkfifo(".file.~new", 0600) == 0);
    CHECK_STATUS(replace("file", "x", 0, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EPERM);
    CHECK_STR(got("file"), "mine");
    leave();
}

typedef struct writer {
    pthread_t thread;
    char letter;
    int failed;
} writer;

static void *replace_often(void *arg)
{
    writer *self = arg;
    char text[65];
    memset(text, self->letter, sizeof text - 1);
    text[64] = '\0';
    for (int i = 0; i < 300; i++) {
        self->failed += replace("file", text, 0, NULL) != IPCX_OK;
    }
    return NULL;
}

TEST(many_replace_at_once_and_one_reads)
{
    writer writers[4] = {{.letter = 'a'}, {.letter = 'b'}, {.letter = 'c'}, {.letter = 'd'}};
    enter();
    put("file", "", 0600);
    REQUIRE(replace("file", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0,
                    NULL) == IPCX_OK);
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&writers[i].thread, NULL, replace_often, &writers[i]) == 0);
    }
    for (int i = 0; i < 500; i++) {
        const char *text = got("file");
        CHECK(strlen(text) == 64 && strspn(text, (char[]){text[0], 0}) == 64);
    }
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_join(writers[i].thread, NULL) == 0);
        CHECK_INT(writers[i].failed, 0);
    }
    CHECK_INT(names(), 1);
    leave();
}

TEST(killed_at_any_time_nothing_is_left)
{
    enter();
    put("file", "0", 0600);
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) {
            for (;;) {
                (void)!replace("file", "0123456789", 0, NULL);
            }
        }
        (void)usleep((useconds_t)(1000 + i * 37));
        REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        CHECK(strcmp(got("file"), "0123456789") == 0 || strcmp(got("file"), "0") == 0);
        CHECK(names() <= 2);
    }
    CHECK_OK(replace("file", "end", 0, NULL));
    CHECK_INT(names(), 1);
    leave();
}

TEST(a_full_disk)
{
    ipcx_error err;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    REQUIRE(full >= 0);
    CHECK_STATUS(ipcx_file_write(full, "x", 1, &err), IPCX_EXHAUSTED);
    CHECK_INT(err.sys_errno, ENOSPC);
    CHECK_OK(ipcx_file_write(full, "", 0, &err));
    close(full);
    CHECK_STATUS(ipcx_file_write(full, "x", 1, &err), IPCX_CLOSED);
}

/* ---- locks */

/* valgrind (3.19) does not know that F_OFD_SETLKW may block, and lets no other thread and no signal
 * in meanwhile: it is not waited there. */

TEST(exclusive_and_shared)
{
    ipcx_error err;
    int one, two, three;
    enter();
    REQUIRE_OK(ipcx_file_lock("lock", 0, NULL, IPCX_FOREVER, &one, &err));
    CHECK_STATUS(ipcx_file_lock("lock", 0, NULL, IPCX_NOW, &two, &err), IPCX_AGAIN);
    CHECK_STATUS(ipcx_file_lock("lock", 1, NULL, IPCX_NOW, &two, &err), IPCX_AGAIN);
    if (!check_valgrind()) {
        CHECK_STATUS(ipcx_file_lock("lock", 0, NULL, ipcx_deadline_after(2000000), &two, &err),
                     IPCX_TIMEOUT);
    }
    close(one);
    REQUIRE_OK(ipcx_file_lock("lock", 1, NULL, IPCX_NOW, &one, &err));
    REQUIRE_OK(ipcx_file_lock("lock", 1, NULL, IPCX_NOW, &two, &err));
    CHECK_STATUS(ipcx_file_lock("lock", 0, NULL, IPCX_NOW, &three, &err), IPCX_AGAIN);
    close(one);
    close(two);
    REQUIRE(chmod("lock", 0400) == 0);
    REQUIRE_OK(ipcx_file_lock("lock", 1, NULL, IPCX_NOW, &one, &err));
    close(one);
    leave();
}

typedef struct locker {
    pthread_t thread;
    ipcx_gate *gate;
    ipcx_deadline deadline;
    atomic_int begun;
    ipcx_status status;
    int fd;
} locker;

static void *lock_it(void *arg)
{
    locker *self = arg;
    atomic_store(&self->begun, 1);
    do {
        self->status = ipcx_file_lock("lock", 0, self->gate, self->deadline, &self->fd, NULL);
    } while (self->status == IPCX_INTR);
    return NULL;
}

static void start(locker *self)
{
    REQUIRE(pthread_create(&self->thread, NULL, lock_it, self) == 0);
    while (atomic_load(&self->begun) == 0) {
        sched_yield();
    }
}

TEST(between_threads)
{
    ipcx_error err;
    ipcx_gate gate = {0};
    int held;
    locker waits = {.gate = &gate, .deadline = IPCX_FOREVER};
    locker short_of_time = {.gate = &gate, .deadline = ipcx_deadline_after(20000000)};
    if (check_valgrind()) {
        return;
    }
    enter();
    REQUIRE_OK(ipcx_file_lock("lock", 0, NULL, IPCX_NOW, &held, &err));
    start(&short_of_time);
    REQUIRE(pthread_join(short_of_time.thread, NULL) == 0);
    CHECK_STATUS(short_of_time.status, IPCX_TIMEOUT);
    start(&waits);
    close(held);
    REQUIRE(pthread_join(waits.thread, NULL) == 0);
    CHECK_STATUS(waits.status, IPCX_OK);
    locker closed = {.gate = &gate, .deadline = IPCX_FOREVER};
    start(&closed);
    ipcx__gate_close(&gate);
    REQUIRE(pthread_join(closed.thread, NULL) == 0);
    CHECK_STATUS(closed.status, IPCX_CLOSED);
    CHECK_STATUS(ipcx_file_lock("lock", 0, &gate, IPCX_NOW, &held, &err), IPCX_CLOSED);
    close(waits.fd);
    leave();
}

TEST(who_waits_looks_at_signals)
{
    ipcx_error err;
    int held, fd;
    if (check_valgrind()) {
        return;
    }
    enter();
    REQUIRE_OK(ipcx_file_lock("lock", 0, NULL, IPCX_FOREVER, &held, &err));
    CHECK_STATUS(ipcx_file_lock("lock", 0, NULL, IPCX_FOREVER, &fd, &err), IPCX_INTR);
    close(held);
    leave();
}

TEST(it_dies_with_its_holder)
{
    ipcx_error err;
    ipcx_status status;
    int ends[2], fd;
    char byte;
    pid_t child;
    if (check_valgrind()) {
        return;
    }
    enter();
    REQUIRE(pipe(ends) == 0);
    child = fork();
    if (child == 0) {
        (void)!ipcx_file_lock("lock", 0, NULL, IPCX_FOREVER, &fd, NULL);
        (void)!write(ends[1], "x", 1);
        pause();
    }
    REQUIRE(read(ends[0], &byte, 1) == 1);
    CHECK_STATUS(ipcx_file_lock("lock", 0, NULL, IPCX_NOW, &fd, &err), IPCX_AGAIN);
    REQUIRE(kill(child, SIGKILL) == 0);
    while ((status = ipcx_file_lock("lock", 0, NULL, IPCX_FOREVER, &fd, &err)) == IPCX_INTR) {
    }
    CHECK_OK(status);
    REQUIRE(waitpid(child, NULL, 0) == child);
    close(fd);
    close(ends[0]);
    close(ends[1]);
    leave();
}

TEST(a_file_that_is_replaced_meanwhile)
{
    ipcx_error err;
    int held;
    struct stat mine, there;
    locker waits = {.deadline = IPCX_FOREVER};
    if (check_valgrind()) {
        return;
    }
    enter();
    REQUIRE_OK(ipcx_file_lock("lock", 0, NULL, IPCX_NOW, &held, &err));
    start(&waits);
    put("other", "new", 0600);
    REQUIRE(rename("other", "lock") == 0);
    close(held);
    REQUIRE(pthread_join(waits.thread, NULL) == 0);
    CHECK_STATUS(waits.status, IPCX_OK);
    CHECK(fstat(waits.fd, &mine) == 0 && stat("lock", &there) == 0);
    CHECK_INT(mine.st_ino, there.st_ino);
    close(waits.fd);
    leave();
}
