/* SPDX-License-Identifier: Apache-2.0
 * Programs started as children of this process, and how they end.
 *
 *     const char *argv[] = {"sort", "-r", NULL};
 *     ipcx_spawn_fd fds[] = {{0, in}, {1, out}};            child's number, our descriptor
 *     ipcx_spawn_options options = {.fds = fds, .fd_count = 2, .group = -1};
 *     ipcx_spawn(argv, &options, &child, &err)
 *     ipcx_child_wait(child, IPCX_FOREVER, &ending, &err)
 *
 * posix_spawn(3): the parent's memory is not copied, no code of the parent's runs in the child, and
 * any thread may do it. A child is named by a pidfd (pidfd_open(2)), so that no signal can reach
 * another process that was given its number.
 * Invariant: a child has the descriptors it was given, 0, 1 and 2, and no other; no signal is
 * blocked in it, and those that Python ignores (SIGPIPE, SIGXFSZ) do what they do by default. Who
 * waits for it, it leaves no zombie. */
#ifndef IPCX_SPAWN_H
#define IPCX_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ipcx_child ipcx_child; /* made by ipcx_spawn; belongs to the process that made it */

/* Our descriptor `ours` is `child` in the child; IPCX_SPAWN_NULL: /dev/null is, to read from. */
typedef struct ipcx_spawn_fd {
    int child, ours;
} ipcx_spawn_fd;
#define IPCX_SPAWN_NULL (-2)

/* How a program is started; NULL is all defaults. */
typedef struct ipcx_spawn_options {
    const char *const *env; /* "NAME=value" …, NULL behind the last; NULL: as ours */
    const char *cwd;        /* its working directory; NULL: ours */
    const ipcx_spawn_fd *fds;
    size_t fd_count; /* in `fds`; of 0, 1 and 2 those that are not there are ours */
    pid_t group;     /* its process group: -1 ours · 0 a new one, called like it · > 0 that one */
    int session;     /* a session of its own, without a terminal: setsid(2) */
} ipcx_spawn_options;

/* ipcx_spawn: starts the program argv[0], looked for in the directories of PATH (of `env`, if that
 * is given) unless it has a slash. SYSTEM: ENOENT, with what was searched · EACCES: it is there,
 * but not executable · ENOEXEC: no program · ENOTDIR, ENOENT with the directory's name: no such
 * `cwd`. CLOSED: one of `fds` is not open. INVALID: an empty argv, the same `child` descriptor
 * twice. EXHAUSTED, NOMEM. Nothing is left behind then. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_spawn(const char *const *argv,
                                               const ipcx_spawn_options *options,
                                               ipcx_child **child, ipcx_error *err);

/* How a child ended. */
typedef struct ipcx_ending {
    int status; /* its exit status, 0 to 255; -1: it was killed, or nobody knows */
    int signal; /* the signal that killed it, or 0 */
    int dumped; /* it left a core dump */
    int lost;   /* somebody else took its status, or SIGCHLD is ignored: wait(2) */
} ipcx_ending;

/* ipcx_child_wait: waits until it has ended; any thread, any number of times. AGAIN (IPCX_NOW: it
 * runs) · TIMEOUT · INTR. FORKED: it is our parent's child. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_child_wait(ipcx_child *child, ipcx_deadline deadline,
                                                    ipcx_ending *ending, ipcx_error *err);

/* ipcx_child_signal: sends it a signal. SYSTEM: ESRCH: it has ended. INVALID: no such signal. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_child_signal(ipcx_child *child, int number,
                                                      ipcx_error *err);

/* ipcx_child_signal_group: to all of its process group, if it was started with group 0 or a
 * session (else INVALID): also when it has ended itself but was not waited for. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_child_signal_group(ipcx_child *child, int number,
                                                            ipcx_error *err);

/* ipcx_child_pid, ipcx_child_fileno: its number; a descriptor, the child's own, that is readable
 * when it has ended. */
IPCX_API pid_t ipcx_child_pid(const ipcx_child *child);
IPCX_API int ipcx_child_fileno(const ipcx_child *child);

/* ipcx_child_free: nobody may be in it. Does not end it: one that runs goes on, and is a zombie
 * from its end to ours. NULL is allowed. */
IPCX_API void ipcx_child_free(ipcx_child *child);

#ifdef __cplusplus
}
#endif

#endif
