/* SPDX-License-Identifier: Apache-2.0
 * watch: what happens is told once, in order, by name. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>

#include "ipcx/watch.h"

static char home[64], path[128], other[128];

static void enter(void)
{
    strcpy(home, "/tmp/ipcx-watch-XXXXXX");
    REQUIRE(mkdtemp(home) != NULL);
    snprintf(path, sizeof path, "%s/file", home);
    snprintf(other, sizeof other, "%s/other", home);
}

static void leave(void)
{
    (void)unlink(path);
    (void)unlink(other);
    REQUIRE(rmdir(home) == 0);
}

static void put(const char *where)
{
    int fd = open(where, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
}

static void expect(ipcx_watch *watch, ipcx_change_kind kind, const char *name)
{
    ipcx_change change = {0};
    ipcx_error err;
    CHECK_OK(ipcx_watch_next(watch, ipcx_deadline_after(5000000000), &change, &err));
    CHECK_INT(change.kind, kind);
    CHECK_STR(change.name != NULL ? change.name : "(none)", name);
}

TEST(a_directory)
{
    ipcx_watch watch = {0};
    ipcx_change change;
    ipcx_error err;
    char inner[128];
    enter();
    REQUIRE_OK(ipcx_watch_open(&watch, home, &err));
    CHECK_STATUS(ipcx_watch_next(&watch, IPCX_NOW, &change, &err), IPCX_AGAIN);
    CHECK_STATUS(ipcx_watch_next(&watch, ipcx_deadline_after(1000000), &change, &err),
                 IPCX_TIMEOUT);
    put(path);
    expect(&watch, IPCX_CHANGE_CREATED, "file");
    expect(&watch, IPCX_CHANGE_MODIFIED, "file");
    expect(&watch, IPCX_CHANGE_WRITTEN, "file");
    REQUIRE(chmod(path, 0640) == 0);
    expect(&watch, IPCX_CHANGE_ATTRIBUTES, "file");
    REQUIRE(rename(path, other) == 0);
    REQUIRE_OK(ipcx_watch_next(&watch, IPCX_FOREVER, &change, &err));
    CHECK_INT(change.kind, IPCX_CHANGE_MOVED_FROM);
    uint32_t cookie = change.cookie;
    REQUIRE_OK(ipcx_watch_next(&watch, IPCX_FOREVER, &change, &err));
    CHECK_INT(change.kind, IPCX_CHANGE_MOVED_TO);
    CHECK(cookie != 0 && change.cookie == cookie);
    REQUIRE(unlink(other) == 0);
    expect(&watch, IPCX_CHANGE_DELETED, "other");
    snprintf(inner, sizeof inner, "%s/dir", home);
    REQUIRE(mkdir(inner, 0700) == 0);
    REQUIRE_OK(ipcx_watch_next(&watch, IPCX_FOREVER, &change, &err));
    CHECK_INT(change.is_directory, 1);
    REQUIRE(rmdir(inner) == 0);
    expect(&watch, IPCX_CHANGE_DELETED, "dir");
    REQUIRE(rmdir(home) == 0);
    expect(&watch, IPCX_CHANGE_GONE, "");
    CHECK_STATUS(ipcx_watch_next(&watch, IPCX_FOREVER, &change, &err), IPCX_EOF);
    CHECK_OK(ipcx_watch_poll(&watch, IPCX_FOREVER, &err));
    ipcx_watch_close(&watch);
}

TEST(a_file_by_its_name)
{
    ipcx_watch watch = {0};
    ipcx_change change;
    ipcx_error err;
    enter();
    REQUIRE_OK(ipcx_watch_open(&watch, path, &err)); /* not there yet */
    put(other);
    put(path);
    expect(&watch, IPCX_CHANGE_CREATED, "file");
    expect(&watch, IPCX_CHANGE_MODIFIED, "file");
    expect(&watch, IPCX_CHANGE_WRITTEN, "file");
    REQUIRE(rename(other, path) == 0); /* replaced */
    expect(&watch, IPCX_CHANGE_MOVED_TO, "file");
    put(path);
    expect(&watch, IPCX_CHANGE_MODIFIED, "file");
    expect(&watch, IPCX_CHANGE_WRITTEN, "file");
    CHECK_STATUS(ipcx_watch_next(&watch, IPCX_NOW, &change, &err), IPCX_AGAIN);
    ipcx_watch_close(&watch);
    leave();
}

TEST(what_cannot_be_watched)
{
    ipcx_watch watch = {0};
    ipcx_change change;
    ipcx_error err;
    CHECK_STATUS(ipcx_watch_open(&watch, "/nonexistent/file", &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENOENT);
    CHECK_STATUS(ipcx_watch_open(&watch, "", &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_watch_next(&watch, IPCX_NOW, &change, &err), IPCX_CLOSED);
    ipcx_watch_close(&watch);
}

TEST(a_child_has_none)
{
    ipcx_watch watch = {0};
    ipcx_change change;
    ipcx_error err;
    pid_t child;
    enter();
    REQUIRE_OK(ipcx_watch_open(&watch, home, &err));
    child = fork();
    if (child == 0) {
        int right = ipcx_watch_next(&watch, IPCX_NOW, &change, &err) == IPCX_FORKED;
        ipcx_watch_close(&watch);
        _exit(right ? 0 : 1);
    }
    CHECK(check_child(child));
    put(path);
    expect(&watch, IPCX_CHANGE_CREATED, "file");
    ipcx_watch_close(&watch);
    leave();
}

static void *wait_for_it(void *arg)
{
    ipcx_error err;
    return (void *)(intptr_t)ipcx_watch_poll(arg, IPCX_FOREVER, &err);
}

TEST(closed_by_another_thread)
{
    ipcx_watch watch = {0};
    ipcx_error err;
    pthread_t thread;
    void *status;
    enter();
    REQUIRE_OK(ipcx_watch_open(&watch, home, &err));
    REQUIRE(pthread_create(&thread, NULL, wait_for_it, &watch) == 0);
    ipcx_watch_close(&watch);
    REQUIRE(pthread_join(thread, &status) == 0);
    CHECK_INT((intptr_t)status, IPCX_CLOSED);
    ipcx_watch_close(&watch);
    leave();
}

/* The kernel's queue has a length; what no longer fits is told as lost. */
TEST(a_full_queue_is_told)
{
    ipcx_watch watch = {0};
    ipcx_change change;
    ipcx_error err;
    int limit = 16384, lost = 0, told = 0;
    FILE *sysctl = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    if (sysctl != NULL) {
        REQUIRE(fscanf(sysctl, "%d", &limit) == 1);
        fclose(sysctl);
    }
    if (limit > 100000 || check_valgrind()) {
        return;
    }
    enter();
    put(path);
    put(other);
    REQUIRE_OK(ipcx_watch_open(&watch, home, &err));
    for (int i = 0; i <= limit / 2; i++) { /* alternating: equal ones would become one */
        REQUIRE(chmod(path, 0600) == 0 && chmod(other, 0600) == 0);
    }
    while (ipcx_watch_next(&watch, IPCX_NOW, &change, &err) == IPCX_OK) {
        told++;
        lost += change.kind == IPCX_CHANGE_LOST;
    }
    CHECK_INT(lost, 1);
    CHECK_INT(told, limit + 1);
    ipcx_watch_close(&watch);
    leave();
}
