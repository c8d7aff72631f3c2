/* SPDX-License-Identifier: Apache-2.0
 * path: a Unix listener's file and its lock: whose they are, who may take them over, what is left
 * alone. */
#include "check.h"

#include <sched.h>
#include <sys/file.h>
#include <sys/un.h>

#include "dialing.h"

/* ---- modes */

TEST(nobody_else_may_connect_whatever_the_umask)
{
    static const mode_t masks[] = {0, 022, 077, 0277, 0777};
    for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        folder at = folder_make();
        mode_t old = umask(masks[i]);
        ipcx_listener *listener = listening(at.url, NULL);
        struct stat found;
        (void)umask(old);
        CHECK(stat(at.name, &found) == 0 && S_ISSOCK(found.st_mode));
        CHECK_INT(found.st_mode & 07777, 0600);
        CHECK(stat(at.lock, &found) == 0 && S_ISREG(found.st_mode));
        CHECK_INT(found.st_mode & 07777, 0600);
        ipcx_chan_free(connected(at.url));
        ipcx_listener_free(listener);
        folder_remove(&at);
    }
}

/* ---- live holders */

TEST(a_live_listener_is_named)
{
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    char holder[128];
    (void)snprintf(holder, sizeof holder, "%s: process %d listens", at.name, (int)getpid());
    listen_fails(at.url, IPCX_ADDRESS_IN_USE, EADDRINUSE, holder);
    ipcx_chan_free(connected(at.url)); /* and not disturbed */
    ipcx_listener_free(listener);
    folder_remove(&at);
}

TEST(a_live_listener_of_another_library_is_left_alone)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        folder at = folder_make();
        ipcx_addr addr;
        int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC, 0);
        REQUIRE_OK(ipcx_addr_unix(&addr, at.name, strlen(at.name), NULL));
        REQUIRE(fd >= 0 && bind(fd, &addr.u.sa, addr.len) == 0);
        REQUIRE(types[i] == SOCK_DGRAM || listen(fd, 1) == 0);
        listen_fails(at.url, IPCX_ADDRESS_IN_USE, EADDRINUSE, at.name);
        CHECK(exists(at.name) && !exists(at.lock));
        close(fd);
        /* Its end leaves a socket that nobody listens on: ours to replace. */
        ipcx_listener_free(listening(at.url, NULL));
        CHECK(!exists(at.name));
        folder_remove(&at);
    }
}

/* ---- dead ones */

/* A child that listens; killed at once, it leaves socket and lock. */
static void killed_listener(const folder *at)
{
    int ready[2];
    char byte;
    pid_t child;
    REQUIRE(pipe(ready) == 0);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        (void)listening(at->url, NULL);
        (void)!write(ready[1], "x", 1);
        for (;;) {
            (void)pause();
        }
    }
    REQUIRE(read(ready[0], &byte, 1) == 1);
    REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    close(ready[0]);
    close(ready[1]);
}

TEST(what_a_killed_one_left_is_replaced)
{
    folder at = folder_make();
    for (int i = 0; i < 20; i++) {
        ipcx_listener *listener;
        killed_listener(&at);
        CHECK(exists(at.name) && exists(at.lock));
        connect_fails(at.url, SOON, IPCX_REFUSED, "start the listener first");
        listener = listening(at.url, NULL);
        ipcx_chan_free(connected(at.url));
        ipcx_listener_free(listener);
        CHECK(!exists(at.name) && !exists(at.lock));
    }
    folder_remove(&at);
}

TEST(of_two_who_race_for_a_dead_ones_path_one_wins)
{
    enum { RACERS = 4, ROUNDS = 25 };
    folder at = folder_make();
    for (int round = 0; round < ROUNDS; round++) {
        int go[2], told[2], stop[2], won = 0;
        pid_t racers[RACERS];
        char byte, answers[RACERS];
        REQUIRE(pipe(go) == 0 && pipe(told) == 0 && pipe(stop) == 0);
        if (round % 2 == 0) {
            killed_listener(&at);
        }
        for (int i = 0; i < RACERS; i++) {
            racers[i] = fork();
            REQUIRE(racers[i] >= 0);
            if (racers[i] == 0) {
                ipcx_listener *listener = NULL;
                ipcx_status status;
                close(go[1]);
                close(stop[1]);
                (void)!read(go[0], &byte, 1);
                status = ipcx_listen(at.url, NULL, &listener, NULL);
                (void)!write(told[1],
                             status == IPCX_OK               ? "w"
                             : status == IPCX_ADDRESS_IN_USE ? "l"
                                                             : "?",
                             1);
                (void)!read(stop[0], &byte, 1);
                ipcx_listener_free(listener);
                _exit(0);
            }
        }
        close(go[1]);
        for (int i = 0; i < RACERS; i++) {
            REQUIRE(read(told[0], &answers[i], 1) == 1);
            CHECK(answers[i] != '?');
            won += answers[i] == 'w';
        }
        CHECK_INT(won, 1);
        ipcx_chan_free(connected(at.url));
        close(stop[1]);
        for (int i = 0; i < RACERS; i++) {
            CHECK(check_child(racers[i]));
        }
        close(go[0]);
        close(told[0]);
        close(told[1]);
        close(stop[0]);
        CHECK(!exists(at.name) && !exists(at.lock));
    }
    folder_remove(&at);
}

/* ---- what is not ours */

/* What may lie at a path or at its lock. */
typedef struct squatter {
    const char *what;
    void (*put)(const char *path, const char *target);
} squatter;

static void put_file(const char *path, const char *target)
{
    (void)target;
    file_make(path, "precious");
}

static void put_link(const char *path, const char *target)
{
    REQUIRE(symlink(target, path) == 0);
}

static void put_dangling(const char *path, const char *target)
{
    (void)target;
    REQUIRE(symlink("/nowhere/at/all", path) == 0);
}

static void put_folder(const char *path, const char *target)
{
    (void)target;
    REQUIRE(mkdir(path, 0700) == 0);
}

static void put_fifo(const char *path, const char *target)
{
    (void)target;
    REQUIRE(mkfifo(path, 0600) == 0);
}

static void put_second_name(const char *path, const char *target)
{
    REQUIRE(link(target, path) == 0);
}

static void put_foreign(const char *path, const char *target)
{
    (void)target;
    file_make(path, "precious");
    REQUIRE(chown(path, 65534, 65534) == 0);
}

static void put_foreign_socket(const char *path, const char *target)
{
    ipcx_addr addr;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)target;
    REQUIRE_OK(ipcx_addr_unix(&addr, path, strlen(path), NULL));
    REQUIRE(fd >= 0 && bind(fd, &addr.u.sa, addr.len) == 0 && close(fd) == 0);
    REQUIRE(chown(path, 65534, 65534) == 0);
}

static const squatter squatters[] = {
    {"file", put_file},
    {"link", put_link},
    {"dangling link", put_dangling},
    {"folder", put_folder},
    {"fifo", put_fifo},
    {"second name", put_second_name},
    {"foreign file", put_foreign},
    {"foreign socket", put_foreign_socket},
};
enum { SQUATTERS = sizeof squatters / sizeof squatters[0] };

/* listen refuses with PermissionError's errno and leaves everything as it was. */
static void squatted(const squatter *it, int at_lock)
{
    folder at = folder_make();
    const char *path = at_lock ? at.lock : at.name;
    char target[96];
    struct stat before, after;
    (void)snprintf(target, sizeof target, "%s/target", at.path);
    file_make(target, "precious");
    it->put(path, target);
    REQUIRE(lstat(path, &before) == 0);
    listen_fails(at.url, IPCX_SYSTEM, EPERM, at.name);
    CHECK(lstat(path, &after) == 0);
    CHECK(before.st_ino == after.st_ino && before.st_mode == after.st_mode &&
          before.st_uid == after.st_uid && before.st_size == after.st_size);
    file_is(target, "precious");
    CHECK(!exists(at_lock ? at.name : at.lock));
    CHECK(remove(path) == 0 && unlink(target) == 0);
    folder_remove(&at);
}

TEST(what_is_not_ours_is_refused_and_left_alone)
{
    for (int i = 0; i < SQUATTERS; i++) {
        int foreign = strstr(squatters[i].what, "foreign") != NULL;
        for (int at_lock = 0; at_lock < 2; at_lock++) {
            int ours = at_lock && (squatters[i].put == put_file); /* a lock left behind is one */
            if (!ours && (!foreign || geteuid() == 0)) {
                squatted(&squatters[i], at_lock);
            }
        }
    }
}

TEST(a_lock_is_refused_when_it_leads_to_a_socket)
{
    folder at = folder_make();
    ipcx_addr addr;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE_OK(ipcx_addr_unix(&addr, at.lock, strlen(at.lock), NULL));
    REQUIRE(fd >= 0 && bind(fd, &addr.u.sa, addr.len) == 0);
    listen_fails(at.url, IPCX_SYSTEM, EPERM, "no plain file");
    close(fd);
    CHECK(unlink(at.lock) == 0);
    folder_remove(&at);
}

TEST(a_lock_that_was_left_is_used_again)
{
    folder at = folder_make();
    char text[32];
    ipcx_listener *listener;
    file_make(at.lock, "4000000000 and more text than a pid has");
    listener = listening(at.url, NULL);
    (void)snprintf(text, sizeof text, "%d\n", (int)getpid());
    file_is(at.lock, text);
    ipcx_listener_free(listener);
    folder_remove(&at);
}

TEST(a_holder_that_did_not_say_who_it_is)
{
    folder at = folder_make();
    int fd;
    file_make(at.lock, "");
    fd = open(at.lock, O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0 && flock(fd, LOCK_EX) == 0);
    listen_fails(at.url, IPCX_ADDRESS_IN_USE, EADDRINUSE, at.name);
    close(fd);
    CHECK(unlink(at.lock) == 0);
    folder_remove(&at);
}

TEST(close_leaves_what_came_in_its_place)
{
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    REQUIRE(unlink(at.name) == 0);
    file_make(at.name, "precious");
    ipcx_listener_free(listener);
    file_is(at.name, "precious");
    CHECK(!exists(at.lock));
    CHECK(unlink(at.name) == 0);
    folder_remove(&at);
}

TEST(folders_that_are_not_there_or_not_ours)
{
    folder at = folder_make();
    char url[160];
    (void)snprintf(url, sizeof url, "unix://%s/no/app.sock", at.path);
    listen_fails(url, IPCX_SYSTEM, ENOENT, "/no/app.sock");
    file_make(at.name, "x");
    (void)snprintf(url, sizeof url, "unix://%s/app.sock", at.name);
    listen_fails(url, IPCX_SYSTEM, ENOTDIR, "app.sock");
    CHECK(unlink(at.name) == 0);
    folder_remove(&at);
}

/* ---- "unix://" alone */

static void runtime_directory(const char *path)
{
    REQUIRE(path != NULL ? setenv("XDG_RUNTIME_DIR", path, 1) == 0
                         : unsetenv("XDG_RUNTIME_DIR") == 0);
}

/* Where unix:// alone listens; "" when it does not. */
static void chosen(const char *runtime, char *url, size_t cap)
{
    ipcx_listener *listener;
    ipcx_chan *there, *here;
    runtime_directory(runtime);
    listener = listening("unix://", NULL);
    (void)snprintf(url, cap, "%s", ipcx_listener_url(listener));
    there = connected(url);
    here = accepted(listener);
    hello(there, here);
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    CHECK(!exists(url + 7));
}

static int entries(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    REQUIRE(dir != NULL);
    while (readdir(dir) != NULL) {
        n++;
    }
    closedir(dir);
    return n - 2;
}

TEST(the_runtime_directory_is_the_users_alone)
{
    folder at = folder_make();
    const char *given = getenv("XDG_RUNTIME_DIR");
    char *old = given != NULL ? strdup(given) : NULL;
    char url[160], own[96], mine[64], more[160], again[160];
    struct stat found;
    (void)snprintf(own, sizeof own, "%s/ipcx", at.path);
    (void)snprintf(mine, sizeof mine, "unix:///tmp/ipcx-%u/", (unsigned)geteuid());

    chosen(at.path, url, sizeof url);
    CHECK(strncmp(url + 7, own, strlen(own)) == 0);
    CHECK(stat(own, &found) == 0 && (found.st_mode & 07777) == 0700);
    chosen(at.path, again, sizeof again);
    CHECK(strcmp(url, again) != 0); /* a name of its own each time */

    /* Not a folder of ours alone: the one in /tmp. */
    REQUIRE(chmod(own, 0755) == 0);
    chosen(at.path, url, sizeof url);
    CHECK(strncmp(url, mine, strlen(mine)) == 0);
    REQUIRE(chmod(own, 0700) == 0 && chmod(at.path, 0777) == 0);
    chosen(at.path, url, sizeof url);
    CHECK(strncmp(url, mine, strlen(mine)) == 0);
    REQUIRE(chmod(at.path, 0700) == 0);
    chosen(NULL, url, sizeof url);
    CHECK(strncmp(url, mine, strlen(mine)) == 0);
    chosen("relative", url, sizeof url);
    CHECK(strncmp(url, mine, strlen(mine)) == 0);
    chosen("/nowhere/at/all", url, sizeof url);
    CHECK(strncmp(url, mine, strlen(mine)) == 0);

    /* One whose name leaves no room for a socket's. */
    (void)snprintf(more, sizeof more, "%s/%080d", at.path, 0);
    REQUIRE(mkdir(more, 0700) == 0);
    chosen(more, url, sizeof url);
    CHECK(strncmp(url, mine, strlen(mine)) == 0);

    runtime_directory(old);
    free(old);
    CHECK(rmdir(more) == 0 && rmdir(own) == 0);
    folder_remove(&at);
}

TEST(what_killed_ones_left_in_the_runtime_directory_is_swept)
{
    folder at = folder_make();
    const char *given = getenv("XDG_RUNTIME_DIR");
    char *old = given != NULL ? strdup(given) : NULL;
    ipcx_listener *live;
    char own[96], other[160], url[160];
    runtime_directory(at.path);
    live = listening("unix://", NULL);
    (void)snprintf(own, sizeof own, "%s/ipcx", at.path);
    (void)snprintf(other, sizeof other, "%s/a-name-of-the-users-own.sock.lock", own);
    file_make(other, "");
    for (int i = 0; i < 3; i++) {
        folder anonymous = {.url = "unix://"};
        killed_listener(&anonymous);
    }
    CHECK_INT(entries(own), 2 + 1 + 2 * 1); /* each swept what the one before had left */
    chosen(at.path, url, sizeof url);
    CHECK_INT(entries(own), 2 + 1);
    ipcx_chan_free(connected(ipcx_listener_url(live)));
    ipcx_listener_free(live);
    CHECK(exists(other));
    CHECK(unlink(other) == 0 && rmdir(own) == 0);
    runtime_directory(old);
    free(old);
    folder_remove(&at);
}
