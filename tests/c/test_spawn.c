/* SPDX-License-Identifier: Apache-2.0
 * spawn: what is started, with what, and how it ends. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "ipcx/clock.h"
#include "ipcx/fd.h"
#include "ipcx/spawn.h"

static ipcx_ending end_of(ipcx_child *child)
{
    ipcx_ending ending = {0};
    CHECK_OK(ipcx_child_wait(child, ipcx_deadline_after(INT64_C(10000000000)), &ending, NULL));
    return ending;
}

static ipcx_child *run(const char *script, const ipcx_spawn_options *options)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    ipcx_child *child = NULL;
    ipcx_error err = {0};
    REQUIRE_OK(ipcx_spawn(argv, options, &child, &err));
    return child;
}

static int status_of(const char *script, const ipcx_spawn_options *options)
{
    ipcx_child *child = run(script, options);
    ipcx_ending ending = end_of(child);
    ipcx_child_free(child);
    return ending.status;
}

TEST(an_exit_status)
{
    ipcx_child *child = run("exit 7", NULL);
    ipcx_ending ending = end_of(child), again = end_of(child);
    CHECK_INT(ending.status, 7);
    CHECK_INT(ending.signal, 0);
    CHECK_INT(ending.lost, 0);
    CHECK_INT(again.status, 7);
    CHECK_STATUS(ipcx_child_signal(child, SIGTERM, NULL), IPCX_SYSTEM);
    ipcx_child_free(child);
    ipcx_child_free(NULL);
}

TEST(a_signal_ends_it)
{
    const ipcx_spawn_options leader = {.group = 0};
    ipcx_ending ending = {0};
    ipcx_child *child = run("sleep 100 & wait", &leader);
    CHECK(ipcx_child_pid(child) == getpgid(ipcx_child_pid(child)));
    CHECK_STATUS(ipcx_child_wait(child, IPCX_NOW, &ending, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_child_wait(child, ipcx_deadline_after(1000000), &ending, NULL), IPCX_TIMEOUT);
    CHECK_STATUS(ipcx_child_signal(child, 1000, NULL), IPCX_INVALID);
    CHECK_OK(ipcx_child_signal_group(child, SIGKILL, NULL));
    ending = end_of(child);
    CHECK_INT(ending.status, -1);
    CHECK_INT(ending.signal, SIGKILL);
    ipcx_child_free(child);
    child = run("kill -TERM $$", NULL);
    CHECK_STATUS(ipcx_child_signal_group(child, SIGKILL, NULL), IPCX_INVALID);
    CHECK_INT(end_of(child).signal, SIGTERM);
    ipcx_child_free(child);
}

TEST(who_waits_for_ever_learns_it_once)
{
    ipcx_ending ending = {0}, again = {0};
    ipcx_child *child = run("exit 3", NULL);
    CHECK_OK(ipcx_child_wait(child, IPCX_FOREVER, &ending, NULL));
    CHECK_OK(ipcx_child_wait(child, IPCX_FOREVER, &again, NULL));
    CHECK_INT(ending.status, 3);
    CHECK_INT(again.status, 3);
    ipcx_child_free(child);
    child = run("exit 4", NULL);
    CHECK(waitpid(ipcx_child_pid(child), NULL, 0) == ipcx_child_pid(child));
    CHECK_OK(ipcx_child_wait(child, IPCX_FOREVER, &ending, NULL));
    CHECK_INT(ending.lost, 1);
    ipcx_child_free(child);
}

TEST(dev_null_without_opening_it_here)
{
    const ipcx_spawn_fd fds[] = {{0, IPCX_SPAWN_NULL}, {7, IPCX_SPAWN_NULL}};
    const ipcx_spawn_options options = {.fds = fds, .fd_count = 2, .group = -1};
    const char *script = "test \"$(readlink /proc/$$/fd/0 /proc/$$/fd/7 | sort -u)\" = /dev/null"
                         " && ! read -r line && ! read -r line <&7";
    CHECK_INT(status_of(script, &options), 0);
}

TEST(the_descriptors_it_was_given_and_no_other)
{
    /* Crosswise: each stands where the other must go. */
    char text[8] = {0};
    int first[2], second[2], loose = open("/dev/null", O_RDONLY); /* not close-on-exec */
    REQUIRE(pipe2(first, O_CLOEXEC) == 0 && pipe2(second, O_CLOEXEC) == 0);
    ipcx_spawn_fd fds[] = {{first[1], second[1]}, {second[1], first[1]}, {9, first[1]}};
    ipcx_spawn_options options = {.fds = fds, .fd_count = 3, .group = -1};
    char script[200];
    (void)snprintf(script, sizeof script, "printf a >&%d; printf b >&%d; printf c >&9; exec true",
                   first[1], second[1]);
    /* dash knows descriptors up to 9 only by one digit; these are small in a fresh program */
    CHECK_INT(status_of(script, &options), 0);
    CHECK_INT(read(second[0], text, 4), 1);
    CHECK_STR(text, "a");
    CHECK_INT(read(first[0], text, 4), 2);
    CHECK_STR(text, "bc");
    /* exec: ls would see what the shell opens for itself */
    (void)snprintf(script, sizeof script, "test ! -e /proc/$$/fd/%d", loose);
    fds[0] = (ipcx_spawn_fd){30, first[1]};
    options.fd_count = 1;
    CHECK_INT(status_of(script, &options), 0);
    CHECK_INT(status_of("test -e /proc/$$/fd/30 && test ! -e /proc/$$/fd/29", &options), 0);
    for (int i = 0; i < 2; i++) {
        (void)close(first[i]);
        (void)close(second[i]);
    }
    (void)close(loose);
}

TEST(where_and_with_which_environment)
{
    const char *env[] = {"PATH=/bin:/usr/bin", "COLOUR=blue", NULL};
    ipcx_spawn_options options = {.env = env, .cwd = "/usr", .group = -1};
    CHECK_INT(status_of("test \"$COLOUR\" = blue && test \"$(pwd)\" = /usr && test -z \"$HOME\"",
                        &options),
              0);
    options = (ipcx_spawn_options){.session = 1};
    CHECK_INT(status_of("test $(ps -o sid= -p $$) = $$ 2>/dev/null || ! command -v ps", &options),
              0);
}

TEST(signals_are_as_a_program_expects_them)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    CHECK_INT(status_of("kill -PIPE $$; exit 3", NULL), -1);
    CHECK_INT(status_of("kill -USR1 $$; exit 3", NULL), -1);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
}

static void refused(const char *const *argv, const ipcx_spawn_options *options, ipcx_status status,
                    int number, const char *says)
{
    ipcx_child *child;
    ipcx_error err = {0};
    CHECK_STATUS(ipcx_spawn(argv, options, &child, &err), status);
    CHECK_INT(err.sys_errno, number);
    CHECK(strstr(err.detail, says) != NULL);
}

TEST(what_cannot_be_started)
{
    const char *missing[] = {"no-such-command", NULL}, *folder[] = {"/tmp", NULL},
               *file[] = {"/etc/passwd", NULL}, *empty[] = {"", NULL}, *none[] = {NULL},
               *good[] = {"true", NULL}, *text[] = {"./text", NULL};
    const char *env[] = {"PATH=/nowhere:/usr/nowhere", NULL};
    const ipcx_spawn_fd twice[] = {{5, 0}, {5, 1}}, closed[] = {{5, 999}}, wrong[] = {{-1, 0}};
    ipcx_spawn_options options = {.group = -1, .env = env};
    refused(missing, NULL, IPCX_SYSTEM, ENOENT, "not found, PATH is");
    refused(good, &options, IPCX_SYSTEM, ENOENT, "/usr/nowhere");
    refused(folder, NULL, IPCX_SYSTEM, EACCES, "/tmp");
    refused(file, NULL, IPCX_SYSTEM, EACCES, "/etc/passwd");
    refused(empty, NULL, IPCX_SYSTEM, ENOENT, "empty");
    refused(none, NULL, IPCX_INVALID, 0, "argv");
    options = (ipcx_spawn_options){.group = -1, .cwd = "/nowhere"};
    refused(good, &options, IPCX_SYSTEM, ENOENT, "/nowhere");
    options.cwd = "/etc/passwd";
    refused(good, &options, IPCX_SYSTEM, ENOTDIR, "/etc/passwd");
    options = (ipcx_spawn_options){.group = -1, .fds = twice, .fd_count = 2};
    refused(good, &options, IPCX_INVALID, 0, "twice");
    options = (ipcx_spawn_options){.group = -1, .fds = closed, .fd_count = 1};
    refused(good, &options, IPCX_CLOSED, EBADF, "999");
    options = (ipcx_spawn_options){.group = -1, .fds = wrong, .fd_count = 1};
    refused(good, &options, IPCX_INVALID, 0, "-1");
    char home[] = "/tmp/ipcx-spawn-XXXXXX", path[64];
    REQUIRE(mkdtemp(home) != NULL);
    (void)snprintf(path, sizeof path, "%s/text", home);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
    REQUIRE(fd >= 0 && write(fd, "\x01\x02", 2) == 2 && close(fd) == 0);
    text[0] = path;
    refused(text, NULL, IPCX_SYSTEM, ENOEXEC, "#!");
    REQUIRE(unlink(path) == 0 && rmdir(home) == 0);
}

TEST(a_status_that_somebody_else_took)
{
    ipcx_child *child;
    ipcx_ending ending;
    (void)signal(SIGCHLD, SIG_IGN);
    child = run("exit 3", NULL);
    ending = end_of(child);
    CHECK_INT(ending.lost, 1);
    CHECK_INT(ending.status, -1);
    ipcx_child_free(child);
    (void)signal(SIGCHLD, SIG_DFL);
    child = run("exit 3", NULL);
    REQUIRE(waitpid(ipcx_child_pid(child), NULL, 0) == ipcx_child_pid(child));
    CHECK_INT(end_of(child).lost, 1);
    ipcx_child_free(child);
}

TEST(not_in_a_child_of_ours)
{
    ipcx_child *child = run("exec sleep 100", NULL);
    pid_t other = fork();
    int status = 0;
    if (other == 0) {
        ipcx_ending ending;
        bool forked = ipcx_child_wait(child, IPCX_NOW, &ending, NULL) == IPCX_FORKED;
        _exit(forked && ipcx_child_signal(child, SIGKILL, NULL) == IPCX_OK ? 0 : 1);
    }
    REQUIRE(waitpid(other, &status, 0) == other);
    CHECK_INT(status, 0);
    CHECK_INT(end_of(child).signal, SIGKILL);
    ipcx_child_free(child);
}

static void *many(void *unused)
{
    (void)unused;
    for (int i = 0; i < 25; i++) {
        CHECK_INT(status_of("exit 5", NULL), 5);
    }
    return NULL;
}

TEST(from_many_threads_at_once)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, many, NULL) == 0);
    }
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
}
