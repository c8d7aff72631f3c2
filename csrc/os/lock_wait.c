/* SPDX-License-Identifier: Apache-2.0
 * Locks on parts of files, waited for: a timer of the thread's own ends the kernel's wait.
 * Invariant: the timer is gone, and the thread's signal mask as it was, when the wait is over. */
#include "os/lock_wait.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/process.h"
#include "os/gate.h"

#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#define F_OFD_SETLKW 38
#endif

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* The timer that ends a wait repeats this often: its first signal may come just before the sleep.
 */
#define AGAIN_NS 1000000L
/* How long a wait lasts until its caller is to look at signals. */
#define MOMENT_NS INT64_C(100000000)

static ipcx_status ask(int fd, int command, const struct flock *lock)
{
    struct flock asked = *lock;
    if (fcntl(fd, command, &asked) == 0) {
        return IPCX_OK;
    }
    return errno == EAGAIN || errno == EACCES ? IPCX_AGAIN
           : errno == EINTR                   ? IPCX_INTR
                                              : IPCX_SYSTEM;
}

ipcx_status ipcx__lock_try(int fd, const struct flock *lock)
{
    return ask(fd, F_OFD_SETLK, lock);
}

/* F_OFD_SETLKW has no time-out: the timer sends the thread the wake signal at `until`. False: there
 * is no timer to be had. */
static bool timer_start(ipcx_deadline until, timer_t *timer)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = ipcx__wake_signal()};
    struct itimerspec when = {.it_interval = {.tv_nsec = AGAIN_NS}};
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    when.it_value.tv_sec = (time_t)(until / 1000000000);
    when.it_value.tv_nsec = (long)(until % 1000000000);
    if (timer_create(CLOCK_MONOTONIC, &event, timer) != 0) {
        return false;
    }
    (void)timer_settime(*timer, TIMER_ABSTIME, &when, NULL);
    return true;
}

/* What an interrupted wait is, by the time. */
static ipcx_status interrupted(ipcx_deadline deadline)
{
    return ipcx_deadline_left(deadline) == 0 ? IPCX_TIMEOUT : IPCX_INTR;
}

/* Without a timer: looks again and again, at most each millisecond. */
static ipcx_status nap(ipcx_gate *gate, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_deadline until = ipcx_deadline_after(AGAIN_NS);
    ipcx_status status = ipcx__gate_poll(gate, -1, 0, until < deadline ? until : deadline, err);
    return status == IPCX_TIMEOUT ? interrupted(deadline) : status;
}

ipcx_status ipcx__lock_wait(int fd, const struct flock *lock, ipcx_gate *gate,
                            ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_deadline until = ipcx_deadline_after(MOMENT_NS);
    ipcx_status status = IPCX_INTR;
    ipcx__sleeper self;
    sigset_t wake, before;
    timer_t timer;
    int why = 0;
    if (ipcx_deadline_left(deadline) == 0) {
        return IPCX_TIMEOUT;
    }
    if (!timer_start(until < deadline ? until : deadline, &timer)) {
        return nap(gate, deadline, err);
    }
    (void)sigemptyset(&wake);
    (void)sigaddset(&wake, ipcx__wake_signal());
    (void)pthread_sigmask(SIG_UNBLOCK, &wake, &before);
    if (ipcx__gate_sleep(gate, &self)) {
        status = ask(fd, F_OFD_SETLKW, lock);
        why = errno;
    }
    ipcx__gate_wake_up(gate, &self);
    (void)timer_delete(timer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ipcx__gate_is_closed(gate)) {
        return ipcx__gate_closed("lock", err);
    }
    errno = why;
    return status == IPCX_INTR ? interrupted(deadline) : status;
}
