/* SPDX-License-Identifier: Apache-2.0
 * Starting programs with posix_spawn(3).
 * Invariant: whatever fails, no descriptor and no process of the attempt is left. */
#include "ipcx/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "ipcx/sig.h"
#include "os/child.h"

#define OP "spawn"
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define FDS_MAX 64

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 34)
#define HAS_CLOSEFROM 1
#endif
#endif

extern char **environ;

/* ---- which program */

static const char *variable(const char *const *env, const char *name)
{
    size_t len = strlen(name);
    for (; *env != NULL; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=') {
            return *env + len + 1;
        }
    }
    return NULL;
}

static bool is_program(const char *path, int *why)
{
    struct stat found;
    if (stat(path, &found) < 0) {
        *why = *why == EACCES ? EACCES : errno;
        return false;
    }
    if (S_ISDIR(found.st_mode) || access(path, X_OK) < 0) {
        *why = EACCES;
        return false;
    }
    return true;
}

/* `name` as execvp(3) would find it, into `found`. */
static ipcx_status find_program(const char *name, const char *const *env, char found[PATH_MAX],
                                ipcx_error *err)
{
    const char *path = variable(env, "PATH"), *at;
    int why = ENOENT;
    if (name[0] == '\0') {
        return ipcx_error_set(err, IPCX_SYSTEM, ENOENT, OP, "the command is empty");
    }
    if (strchr(name, '/') != NULL) {
        if (strlen(name) >= PATH_MAX) {
            return ipcx_error_set(err, IPCX_SYSTEM, ENAMETOOLONG, OP, "%.80s...", name);
        }
        (void)strcpy(found, name);
        return is_program(name, &why) ? IPCX_OK : ipcx_error_system(err, why, OP, "%s", name);
    }
    path = path != NULL ? path : DEFAULT_PATH;
    for (at = path;; at++) {
        int len = (int)strcspn(at, ":");
        int n = snprintf(found, PATH_MAX, "%.*s%s%s", len, at, len > 0 ? "/" : "./", name);
        if (n < PATH_MAX && is_program(found, &why)) {
            return IPCX_OK;
        }
        at += len;
        if (*at == '\0') {
            break;
        }
    }
    why = why == EACCES ? EACCES : ENOENT;
    return ipcx_error_set(err, IPCX_SYSTEM, why, OP, "%.40s: %s, PATH is %.60s", name,
                          why == EACCES ? "not executable" : "not found", path);
}

/* ---- with which descriptors */

typedef struct plan {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int copies[FDS_MAX]; /* of what goes to the child, above all its numbers */
    size_t count;
    bool begun;
} plan;

static void plan_end(plan *self)
{
    for (size_t i = 0; i < self->count; i++) {
        (void)close(self->copies[i]);
    }
    if (self->begun) {
        (void)posix_spawn_file_actions_destroy(&self->actions);
        (void)posix_spawnattr_destroy(&self->attributes);
    }
}

static bool is_given(const ipcx_spawn_options *options, int child)
{
    for (size_t i = 0; i < options->fd_count; i++) {
        if (options->fds[i].child == child) {
            return true;
        }
    }
    return false;
}

static ipcx_status check_fds(const ipcx_spawn_options *options, int *top, ipcx_error *err)
{
    *top = 2;
    if (options->fd_count > FDS_MAX) {
        return ipcx_error_set(err, IPCX_INVALID, 0, OP, "%zu descriptors; at most %d can be given",
                              options->fd_count, FDS_MAX);
    }
    for (size_t i = 0; i < options->fd_count; i++) {
        int child = options->fds[i].child;
        for (size_t j = 0; j < i; j++) {
            if (options->fds[j].child == child) {
                return ipcx_error_set(err, IPCX_INVALID, 0, OP, "descriptor %d is given twice",
                                      child);
            }
        }
        if (child < 0) {
            return ipcx_error_set(err, IPCX_INVALID, 0, OP, "no descriptor %d in a child", child);
        }
        *top = child > *top ? child : *top;
    }
    return IPCX_OK;
}

/* One may stand where another must go, so all are copied out of the way first. The copies close
 * themselves at exec(2). */
static ipcx_status plan_fds(plan *self, const ipcx_spawn_options *options, ipcx_error *err)
{
    int top, failed = 0;
    ipcx_status status = check_fds(options, &top, err);
    for (size_t i = 0; i < options->fd_count && status == IPCX_OK; i++) {
        int copy;
        if (options->fds[i].ours == IPCX_SPAWN_NULL) {
            failed = posix_spawn_file_actions_addopen(&self->actions, options->fds[i].child,
                                                      "/dev/null", O_RDONLY, 0);
            status = failed != 0 ? ipcx_error_system(err, failed, OP, "/dev/null") : IPCX_OK;
            continue;
        }
        copy = fcntl(options->fds[i].ours, F_DUPFD_CLOEXEC, top + 1);
        if (copy < 0) {
            return ipcx_error_system(err, errno, OP, "descriptor %d", options->fds[i].ours);
        }
        self->copies[self->count++] = copy;
        failed = posix_spawn_file_actions_adddup2(&self->actions, copy, options->fds[i].child);
        status = failed != 0 ? ipcx_error_system(err, failed, OP, "dup2") : IPCX_OK;
    }
    for (int fd = 3; fd <= top && status == IPCX_OK; fd++) {
        failed = is_given(options, fd) ? 0 : posix_spawn_file_actions_addclose(&self->actions, fd);
        status = failed != 0 ? ipcx_error_system(err, failed, OP, "close") : IPCX_OK;
    }
#ifdef HAS_CLOSEFROM
    if (status == IPCX_OK) {
        failed = posix_spawn_file_actions_addclosefrom_np(&self->actions, top + 1);
        status = failed != 0 ? ipcx_error_system(err, failed, OP, "closefrom") : IPCX_OK;
    }
#endif
    return status;
}

static ipcx_status plan_rest(plan *self, const ipcx_spawn_options *options, ipcx_error *err)
{
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    sigset_t none, defaults;
    struct stat found;
    (void)sigemptyset(&none);
    (void)sigemptyset(&defaults);
    (void)sigaddset(&defaults, SIGPIPE);
    (void)sigaddset(&defaults, SIGXFSZ);
    (void)posix_spawnattr_setsigmask(&self->attributes, &none);
    (void)posix_spawnattr_setsigdefault(&self->attributes, &defaults);
    if (options->group >= 0 && !options->session) {
        flags |= POSIX_SPAWN_SETPGROUP;
        (void)posix_spawnattr_setpgroup(&self->attributes, options->group);
    }
    flags = (short)(flags | (options->session ? POSIX_SPAWN_SETSID : 0));
    (void)posix_spawnattr_setflags(&self->attributes, flags);
    if (options->cwd == NULL) {
        return IPCX_OK;
    }
    if (stat(options->cwd, &found) < 0) {
        return ipcx_error_system(err, errno, OP, "the working directory %s", options->cwd);
    }
    if (!S_ISDIR(found.st_mode)) {
        return ipcx_error_set(err, IPCX_SYSTEM, ENOTDIR, OP, "the working directory %s",
                              options->cwd);
    }
    (void)posix_spawn_file_actions_addchdir_np(&self->actions, options->cwd);
    return IPCX_OK;
}

/* ---- starting it */

static ipcx_status start(const char *program, const char *const *argv,
                         const ipcx_spawn_options *options, const char *const *env, pid_t *pid,
                         ipcx_error *err)
{
    plan made = {.begun = true};
    int failed;
    ipcx_status status;
    (void)posix_spawn_file_actions_init(&made.actions);
    (void)posix_spawnattr_init(&made.attributes);
    status = plan_fds(&made, options, err);
    if (status == IPCX_OK) {
        status = plan_rest(&made, options, err);
    }
    if (status == IPCX_OK) {
        failed = posix_spawn(pid, program, &made.actions, &made.attributes,
                             (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env);
        if (failed == ENOEXEC) {
            status = ipcx_error_set(err, IPCX_SYSTEM, ENOEXEC, OP,
                                    "%s: no program (a script begins with #!)", program);
        } else if (failed == E2BIG) {
            status = ipcx_error_set(err, IPCX_SYSTEM, E2BIG, OP,
                                    "a word is over 128 KiB, or all of them and the environment "
                                    "are over what the stack may hold: %s",
                                    program);
        } else if (failed != 0) {
            status = ipcx_status_from_errno(failed);
            status = ipcx_error_set(err, status < 0 ? status : IPCX_EXHAUSTED, failed, OP, "%s",
                                    program);
        }
    }
    plan_end(&made);
    return status;
}

ipcx_status ipcx_spawn(const char *const *argv, const ipcx_spawn_options *options,
                       ipcx_child **child, ipcx_error *err)
{
    const ipcx_spawn_options defaults = {.group = -1};
    const char *const *env;
    char program[PATH_MAX];
    ipcx_child *made;
    ipcx_status status;
    options = options != NULL ? options : &defaults;
    env = options->env != NULL ? options->env : (const char *const *)environ;
    if (argv == NULL || argv[0] == NULL) {
        return ipcx_error_set(err, IPCX_INVALID, 0, OP, "no command: argv is empty");
    }
    status = find_program(argv[0], env, program, err);
    if (status == IPCX_OK) {
        status = ipcx__child_make(options->group == 0 || options->session, &made, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    status = start(program, argv, options, env, &made->pid, err);
    if (status == IPCX_OK) {
        status = ipcx__child_begun(made, err);
    }
    if (status != IPCX_OK) {
        ipcx_child_free(made);
        return status;
    }
    *child = made;
    return IPCX_OK;
}
