/* SPDX-License-Identifier: Apache-2.0
 * Sending signals, holding them, waiting for them.
 * Invariant: a held signal has our handler for as long as anybody holds it, so that a thread that
 * does not block it loses none. */
#include "os/sig.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/process.h"

_Static_assert(_NSIG == 65, "a set of signals has 64 bits");

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424 /* the same number on every architecture */
#define SYS_pidfd_open 434
#endif

/* ---- sending */

static ipcx_status check_number(int number, const char *op, ipcx_error *err)
{
    if (number >= 1 && number < _NSIG) {
        return IPCX_OK;
    }
    return ipcx_error_set(err, IPCX_INVALID, EINVAL, op, "no signal %d: they are 1 to %d", number,
                          _NSIG - 1);
}

/* What a sent signal carries; false when the kernel shall fill it in as kill(2) does. */
static bool fill_in(siginfo_t *info, int number, const int *value)
{
    if (value == NULL && number < SIGRTMIN) {
        return false;
    }
    memset(info, 0, sizeof *info);
    info->si_signo = number;
    info->si_code = SI_QUEUE;
    info->si_pid = getpid();
    info->si_uid = getuid();
    info->si_value.sival_int = value != NULL ? *value : 0;
    return true;
}

static ipcx_status send_failed(ipcx_error *err, const char *what, int id)
{
    static const char *const why[] = {"", "it has ended, or never was",
                                      "it belongs to another user", "no such signal"};
    int at = errno == ESRCH ? 1 : errno == EPERM ? 2 : errno == EINVAL ? 3 : 0;
    return ipcx_error_system(err, errno, "send", "%s %d%s%s", what, id, at > 0 ? ": " : "",
                             why[at]);
}

ipcx_status ipcx_sig_send_to(int pidfd, int number, const int *value, ipcx_error *err)
{
    siginfo_t info;
    ipcx_status status = check_number(number, "send", err);
    if (status != IPCX_OK) {
        return status;
    }
    if (syscall(SYS_pidfd_send_signal, pidfd, number, fill_in(&info, number, value) ? &info : NULL,
                0) == 0) {
        return IPCX_OK;
    }
    return send_failed(err, "pidfd", pidfd);
}

ipcx_status ipcx_sig_send(pid_t pid, int number, const int *value, ipcx_error *err)
{
    siginfo_t info;
    long done;
    ipcx_status status = check_number(number, "send", err);
    if (status != IPCX_OK) {
        return status;
    }
    if (pid < 1) {
        return ipcx_error_set(err, IPCX_INVALID, EINVAL, "send",
                              "pid %d would mean many processes: kill(2)", (int)pid);
    }
    done = fill_in(&info, number, value) ? syscall(SYS_rt_sigqueueinfo, pid, number, &info)
                                         : kill(pid, number);
    return done == 0 ? IPCX_OK : send_failed(err, "process", (int)pid);
}

ipcx_status ipcx_sig_process(pid_t pid, int *pidfd, ipcx_error *err)
{
    long fd;
    if (pid < 1) {
        return ipcx_error_set(err, IPCX_INVALID, EINVAL, "process", "pid %d is none", (int)pid);
    }
    fd = syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */
    if (fd >= 0) {
        *pidfd = (int)fd;
        return IPCX_OK;
    }
    if (errno == ENOSYS) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, ENOSYS, "process",
                              "this kernel has no pidfd_open(2)");
    }
    if (errno == EINVAL || errno == ENOENT) { /* the id of a thread, before and since Linux 6.8 */
        return ipcx_error_set(err, IPCX_SYSTEM, ESRCH, "process", "%d is a thread", (int)pid);
    }
    return ipcx_error_system(err, errno, "process", "pid %d", (int)pid);
}

/* ---- holding */

#define HAND_BACK_TRIES 1000

/* A thread that has the signal unblocked got it: it blocks it, which lasts beyond this handler
 * because the mask it returns to is changed, and puts the signal back for whoever waits. */
static void hand_back(int number, siginfo_t *info, void *context)
{
    int saved = errno, tries = 0;
    (void)sigaddset(&((ucontext_t *)context)->uc_sigmask, number);
    ipcx__held_owe((int)syscall(SYS_gettid), IPCX_SIGNAL(number));
    /* EAGAIN: a sender has just taken the place in the full queue that was ours. */
    while (syscall(SYS_rt_sigqueueinfo, getpid(), number, info) != 0) {
        if (++tries == HAND_BACK_TRIES) {
            (void)kill(getpid(), number); /* needs no place, and has no value */
            break;
        }
        (void)sched_yield();
    }
    errno = saved;
}

/* Signals without a meaning of their own; what they do unless somebody says otherwise is to end the
 * process, which nobody means who sends one to a receiver. */
static bool is_custom(int number)
{
    return number == SIGUSR1 || number == SIGUSR2 || number >= SIGRTMIN;
}

static void put_back(int number, const struct sigaction *before)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (is_custom(number) && before->sa_handler == SIG_DFL) {
        (void)sigaction(number, &ignore, NULL); /* drops what is pending: sigaction(2), POSIX */
    }
    (void)sigaction(number, before, NULL);
}

/* Puts the handler of one signal in place, or takes it away with its last holder. */
static void holders_change(int number, int by)
{
    struct sigaction ours = {.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    ipcx__held_signal *held = ipcx__held_lock() + number;
    if (by > 0 && held->holders++ == 0) {
        ours.sa_sigaction = hand_back;
        (void)sigfillset(&ours.sa_mask);
        (void)sigaction(number, &ours, &held->before);
        (void)atomic_fetch_or(&ipcx__held_set, IPCX_SIGNAL(number));
    } else if (by < 0 && --held->holders == 0) {
        struct sigaction now;
        /* Who has put a handler of his own there meanwhile keeps it. */
        if (sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 &&
            now.sa_sigaction == hand_back) {
            put_back(number, &held->before);
        }
        (void)atomic_fetch_and(&ipcx__held_set, ~IPCX_SIGNAL(number));
    }
    ipcx__held_unlock();
}

static ipcx_status check_set(ipcx_signals signals, const char *op, ipcx_error *err)
{
    int number;
    for (number = 1; number < _NSIG; number++) {
        const char *why = NULL;
        if ((signals & IPCX_SIGNAL(number)) == 0) {
            continue;
        }
        if (number == SIGKILL || number == SIGSTOP) {
            why = "the kernel lets nobody hold it";
        } else if (number > 31 && number < SIGRTMIN) {
            why = "the C library needs it";
        } else if (number == ipcx__wake_signal()) {
            why = "ipcx itself wakes threads with it";
        }
        if (why != NULL) {
            return ipcx_error_set(err, IPCX_INVALID, EINVAL, op, "signal %d: %s", number, why);
        }
    }
    return signals != 0 ? IPCX_OK
                        : ipcx_error_set(err, IPCX_INVALID, EINVAL, op, "no signal is named");
}

ipcx_status ipcx_sig_hold(ipcx_sig_held *held, ipcx_signals signals, ipcx_error *err)
{
    sigset_t set = ipcx__sigset(signals), before;
    ipcx_status status = check_set(signals, "hold", err);
    if (status != IPCX_OK) {
        return status;
    }
    /* Blocked first: once our handler is there, it would block them as if that had been so. */
    (void)pthread_sigmask(SIG_BLOCK, &set, &before);
    *held = (ipcx_sig_held){.signals = signals,
                            .thread = (pid_t)syscall(SYS_gettid),
                            .active = 1,
                            .owing = 1,
                            .made_in = ipcx__fork_generation()};
    for (int number = 1; number < _NSIG; number++) {
        if (signals & IPCX_SIGNAL(number)) {
            holders_change(number, 1);
            if (sigismember(&before, number) == 0) {
                held->blocked |= IPCX_SIGNAL(number);
            }
        }
    }
    return IPCX_OK;
}

void ipcx_sig_release(ipcx_sig_held *held)
{
    int unsaid = 1;
    if (__atomic_exchange_n(&held->active, 0, __ATOMIC_SEQ_CST)) {
        for (int number = 1; number < _NSIG; number++) {
            if (held->signals & IPCX_SIGNAL(number)) {
                holders_change(number, -1);
            }
        }
    }
    if (held->thread == (pid_t)syscall(SYS_gettid) || held->made_in != ipcx__fork_generation()) {
        if (__atomic_exchange_n(&held->owing, 0, __ATOMIC_SEQ_CST) != 0) {
            sigset_t set = ipcx__sigset(held->blocked);
            (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        }
    } else if (__atomic_compare_exchange_n(&held->owing, &unsaid, 2, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST)) {
        ipcx__held_owe(held->thread, held->blocked);
    }
    ipcx__held_settle();
}

ipcx_signals ipcx_sig_all_held(void)
{
    const ipcx__held_signal *held = ipcx__held_lock();
    ipcx_signals signals = 0;
    for (int number = 1; number < _NSIG; number++) {
        signals |= held[number].holders > 0 ? IPCX_SIGNAL(number) : 0;
    }
    ipcx__held_unlock();
    return signals;
}

/* ---- waiting */

static void found(const siginfo_t *info, ipcx_signal *signal)
{
    *signal = (ipcx_signal){
        .number = info->si_signo,
        .code = info->si_code,
        .value = info->si_code == SI_QUEUE ? info->si_value.sival_int : 0,
        .pid = info->si_code <= 0 || info->si_signo == SIGCHLD ? info->si_pid : 0,
        .uid = info->si_code <= 0 || info->si_signo == SIGCHLD ? info->si_uid : 0,
        .status = info->si_signo == SIGCHLD ? info->si_status : 0,
    };
}

static ipcx_status wait_held(ipcx_signals signals, ipcx_deadline deadline, ipcx_signal *signal,
                             ipcx_error *err)
{
    sigset_t set = ipcx__sigset(signals);
    struct timespec limit;
    siginfo_t info;
    int64_t left = ipcx_deadline_left(deadline);
    limit.tv_sec = (time_t)(left / 1000000000);
    limit.tv_nsec = (long)(left % 1000000000);
    memset(&info, 0, sizeof info);
    if (sigtimedwait(&set, &info, deadline == IPCX_FOREVER ? NULL : &limit) > 0) {
        found(&info, signal);
        return IPCX_OK;
    }
    if (errno == EAGAIN) {
        return deadline == IPCX_NOW ? IPCX_AGAIN : IPCX_TIMEOUT;
    }
    return ipcx_error_system(err, errno, "wait", "sigtimedwait(2)");
}

ipcx_status ipcx_sig_wait(ipcx_signals signals, ipcx_deadline deadline, ipcx_signal *signal,
                          ipcx_error *err)
{
    ipcx_sig_held held;
    ipcx_status status = ipcx_sig_hold(&held, signals, err);
    if (status == IPCX_OK) {
        status = wait_held(signals, deadline, signal, err);
        ipcx_sig_release(&held);
    }
    return status;
}
