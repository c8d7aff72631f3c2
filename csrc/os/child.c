/* SPDX-License-Identifier: Apache-2.0
 * Children: waited for, signalled.
 * Invariant: as os/child.h says. */
#include "os/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/alloc.h"
#include "ipcx/sig.h"
#include "os/gate.h"

#define WAIT_PIDFD ((idtype_t)3) /* P_PIDFD, which older headers lack */

ipcx_status ipcx__child_make(bool leads, ipcx_child **child, ipcx_error *err)
{
    ipcx_child *made = ipcx_alloc(sizeof *made);
    if (made == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "spawn", "no memory for a child");
    }
    *made =
        (ipcx_child){.pid = -1, .pidfd = -1, .leads = leads, .made_in = ipcx__fork_generation()};
    (void)pthread_mutex_init(&made->lock, NULL);
    *child = made;
    return IPCX_OK;
}

ipcx_status ipcx__child_begun(ipcx_child *child, ipcx_error *err)
{
    ipcx_error why = {0};
    ipcx_status status = ipcx_sig_process(child->pid, &child->pidfd, &why);
    if (status == IPCX_OK) {
        return status;
    }
    if (why.sys_errno == ESRCH) { /* SIGCHLD is ignored, and it has ended */
        child->ended = true;
        child->ending = (ipcx_ending){.status = -1, .lost = 1};
        return IPCX_OK;
    }
    (void)kill(child->pid, SIGKILL);
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (err != NULL) {
        *err = why;
    }
    return status;
}

/* ---- waiting */

static int wait_for(const ipcx_child *child, siginfo_t *info, int options)
{
    int done = waitid(WAIT_PIDFD, (id_t)child->pidfd, info, options);
    if (done < 0 && errno == EINVAL) { /* before Linux 5.4 */
        done = waitid(P_PID, (id_t)child->pid, info, options);
    }
    return done;
}

/* Under the lock: what waitid(2) said. */
static void note(ipcx_child *child, int done, const siginfo_t *found)
{
    siginfo_t info = *found;
    if (done < 0) {
        child->ended = true;
        child->ending = (ipcx_ending){.status = -1, .lost = 1};
    } else if (info.si_pid != 0) {
        bool exited = info.si_code == CLD_EXITED;
        child->ended = true;
        child->ending = (ipcx_ending){.status = exited ? info.si_status : -1,
                                      .signal = exited ? 0 : info.si_status,
                                      .dumped = info.si_code == CLD_DUMPED};
    }
}

/* Under the lock: takes its status if it has ended. */
static void reap(ipcx_child *child)
{
    siginfo_t info = {0};
    int done;
    do {
        done = wait_for(child, &info, WEXITED | WNOHANG);
    } while (done < 0 && errno == EINTR);
    note(child, done, &info);
}

static ipcx_status look(ipcx_child *child, ipcx_ending *ending)
{
    bool ended;
    (void)pthread_mutex_lock(&child->lock);
    if (!child->ended) {
        reap(child);
    }
    ended = child->ended;
    if (ended) {
        *ending = child->ending;
    }
    (void)pthread_mutex_unlock(&child->lock);
    return ended ? IPCX_OK : IPCX_AGAIN;
}

static ipcx_status not_ours(const ipcx_child *child, const char *op, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_FORKED, 0, op, "process %d is a child of our parent's",
                          (int)child->pid);
}

/* With no other thread that could reap it meanwhile: one system call, which waits and reaps. */
static ipcx_status wait_alone(ipcx_child *child)
{
    siginfo_t info = {0};
    int done = wait_for(child, &info, WEXITED);
    if (done < 0 && errno == EINTR) {
        return IPCX_INTR;
    }
    (void)pthread_mutex_lock(&child->lock);
    note(child, done, &info);
    (void)pthread_mutex_unlock(&child->lock);
    return IPCX_OK;
}

ipcx_status ipcx_child_wait(ipcx_child *child, ipcx_deadline deadline, ipcx_ending *ending,
                            ipcx_error *err)
{
    ipcx_status status;
    if (child->made_in != ipcx__fork_generation()) {
        return not_ours(child, "wait", err);
    }
    if (deadline == IPCX_FOREVER && ipcx__single_threaded() && !child->ended) {
        status = wait_alone(child);
        if (status != IPCX_OK) {
            return status;
        }
    }
    for (;;) {
        status = look(child, ending);
        if (status == IPCX_OK || deadline == IPCX_NOW) {
            return status;
        }
        status = ipcx__gate_poll(&child->gate, child->pidfd, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

/* ---- signals */

static ipcx_status has_ended(const ipcx_child *child, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_SYSTEM, ESRCH, "signal", "process %d has ended",
                          (int)child->pid);
}

ipcx_status ipcx_child_signal(ipcx_child *child, int number, ipcx_error *err)
{
    ipcx_ending ending;
    if (child->made_in == ipcx__fork_generation() && look(child, &ending) == IPCX_OK) {
        return has_ended(child, err);
    }
    return ipcx_sig_send_to(child->pidfd, number, NULL, err);
}

ipcx_status ipcx_child_signal_group(ipcx_child *child, int number, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    if (child->made_in != ipcx__fork_generation()) {
        return not_ours(child, "signal", err);
    }
    if (!child->leads) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "signal",
                              "process %d was not started with a group of its own",
                              (int)child->pid);
    }
    (void)pthread_mutex_lock(&child->lock); /* the number is its own until it was waited for */
    if (child->ended) {
        status = has_ended(child, err);
    } else if (kill(-child->pid, number) < 0) {
        status = errno == EINVAL
                     ? ipcx_error_set(err, IPCX_INVALID, EINVAL, "signal", "no signal %d", number)
                     : ipcx_error_system(err, errno, "signal", "process group %d", (int)child->pid);
    }
    (void)pthread_mutex_unlock(&child->lock);
    return status;
}

/* ---- what it is */

pid_t ipcx_child_pid(const ipcx_child *child)
{
    return child->pid;
}

int ipcx_child_fileno(const ipcx_child *child)
{
    return child->pidfd;
}

void ipcx_child_free(ipcx_child *child)
{
    if (child == NULL) {
        return;
    }
    if (child->pidfd >= 0) {
        (void)close(child->pidfd);
    }
    (void)pthread_mutex_destroy(&child->lock);
    ipcx_free(child);
}
