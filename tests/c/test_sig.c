/* SPDX-License-Identifier: Apache-2.0
 * sig: sent, queued, held, handed back, received; and afterwards everything is as it was. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/process.h"
#include "ipcx/fd.h"
#include "ipcx/sig.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN                                                                                 \
    1 /* it runs handlers later, on a copy of the context: no mask can be changed                  \
       */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

static ipcx_signals set_of(int one, int other)
{
    return IPCX_SIGNAL(one) | IPCX_SIGNAL(other);
}

static int is_blocked(int number)
{
    sigset_t now;
    REQUIRE(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
    return sigismember(&now, number);
}

static int is_default(int number)
{
    struct sigaction now;
    REQUIRE(sigaction(number, NULL, &now) == 0);
    return now.sa_handler == SIG_DFL;
}

TEST(real_time_signals_queue_and_others_do_not)
{
    ipcx_signals set = set_of(SIGRTMIN, SIGUSR1);
    ipcx_sig_held held;
    ipcx_signal got;
    ipcx_error err;
    REQUIRE_OK(ipcx_sig_hold(&held, set, &err));
    for (int i = -2; i < 1000; i++) {
        REQUIRE_OK(ipcx_sig_send(getpid(), SIGRTMIN, &i, &err));
        REQUIRE_OK(ipcx_sig_send(getpid(), SIGUSR1, NULL, &err));
    }
    REQUIRE_OK(ipcx_sig_send(getpid(), SIGRTMIN, NULL, &err));
    REQUIRE_OK(ipcx_sig_wait(set, IPCX_NOW, &got, &err));
    CHECK_INT(got.number, SIGUSR1);
    CHECK_INT(got.code, SI_USER);
    for (int i = -2; i < 1000; i++) {
        REQUIRE_OK(ipcx_sig_wait(set, IPCX_FOREVER, &got, &err));
        CHECK_INT(got.number, SIGRTMIN);
        CHECK_INT(got.code, SI_QUEUE);
        CHECK_INT(got.value, i);
        CHECK_INT(got.pid, getpid());
        CHECK_INT(got.uid, getuid());
    }
    REQUIRE_OK(ipcx_sig_wait(set, IPCX_NOW, &got, &err));
    CHECK_INT(got.code, SI_QUEUE);
    CHECK_INT(got.value, 0);
    CHECK_STATUS(ipcx_sig_wait(set, IPCX_NOW, &got, &err), IPCX_AGAIN);
    CHECK_STATUS(ipcx_sig_wait(set, ipcx_deadline_after(1000000), &got, &err), IPCX_TIMEOUT);
    ipcx_sig_release(&held);
    ipcx_sig_release(&held);
    CHECK_INT(is_blocked(SIGUSR1), 0);
    CHECK(is_default(SIGUSR1));
}

TEST(a_signal_of_another_process)
{
    ipcx_signals set = set_of(SIGRTMIN + 3, SIGCHLD);
    ipcx_sig_held held;
    ipcx_signal got;
    ipcx_error err;
    pid_t child, parent = getpid();
    REQUIRE_OK(ipcx_sig_hold(&held, set, &err));
    child = fork();
    if (child == 0) {
        int value = 77, pidfd;
        ipcx_status status = ipcx_sig_process(parent, &pidfd, NULL);
        status = status == IPCX_UNSUPPORTED || check_qemu() /* valgrind of 2022; qemu 7.2 */
                     ? ipcx_sig_send(parent, SIGRTMIN + 3, &value, NULL)
                     : ipcx_sig_send_to(pidfd, SIGRTMIN + 3, &value, NULL);
        _exit(status == IPCX_OK ? 42 : 2);
    }
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(ipcx_sig_wait(set, IPCX_FOREVER, &got, &err));
        CHECK_INT(got.pid, child);
        if (got.number == SIGCHLD) {
            CHECK_INT(got.code, CLD_EXITED);
            CHECK_INT(got.status, 42);
        } else {
            CHECK_INT(got.value, 77);
        }
    }
    REQUIRE(waitpid(child, NULL, 0) == child);
    ipcx_sig_release(&held);
}

TEST(what_cannot_be_sent)
{
    ipcx_error err;
    int pidfd = -1, value = 1, ends[2];
    struct rlimit old, none;
    ipcx_signals set = set_of(SIGRTMIN, SIGUSR1);
    ipcx_sig_held held;
    pid_t child = fork();
    if (child == 0) {
        pause();
    }
    CHECK_STATUS(ipcx_sig_send(getpid(), 0, NULL, &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_sig_send(getpid(), 65, NULL, &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_sig_send(getpid(), -1, NULL, &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_sig_send(0, SIGTERM, NULL, &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_sig_send(-1, SIGTERM, NULL, &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_sig_process(-5, &pidfd, &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_sig_send_to(-1, 99, NULL, &err), IPCX_INVALID);
    if (ipcx_sig_process(child, &pidfd, &err) == IPCX_OK) {
        REQUIRE_OK(ipcx_sig_send_to(pidfd, SIGKILL, NULL, &err));
        REQUIRE(waitpid(child, NULL, 0) == child);
        CHECK_STATUS(ipcx_sig_send_to(pidfd, SIGTERM, NULL, &err), IPCX_SYSTEM);
        CHECK_INT(err.sys_errno, ESRCH);
    } else {
        CHECK(check_valgrind() && err.status == IPCX_UNSUPPORTED);
        REQUIRE_OK(ipcx_sig_send(child, SIGKILL, NULL, &err));
        REQUIRE(waitpid(child, NULL, 0) == child);
    }
    CHECK_STATUS(ipcx_sig_send(child, SIGTERM, NULL, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ESRCH);
    CHECK_STATUS(ipcx_sig_send(child, SIGTERM, &value, &err), IPCX_SYSTEM);
    if (pidfd >= 0) {
        CHECK_STATUS(ipcx_sig_process(child, &ends[0], &err), IPCX_SYSTEM);
        CHECK_INT(err.sys_errno, ESRCH);
        close(pidfd);
        REQUIRE(pipe(ends) == 0);
        CHECK_STATUS(ipcx_sig_send_to(ends[0], SIGTERM, NULL, &err), IPCX_CLOSED);
        close(ends[0]);
        close(ends[1]);
    }

    REQUIRE_OK(ipcx_sig_hold(&held, set, &err));
    REQUIRE(getrlimit(RLIMIT_SIGPENDING, &old) == 0);
    none = old;
    none.rlim_cur = 0;
    REQUIRE(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
    CHECK_STATUS(ipcx_sig_send(getpid(), SIGRTMIN, &value, &err), IPCX_AGAIN);
    CHECK_STATUS(ipcx_sig_send(getpid(), SIGRTMIN, NULL, &err), IPCX_AGAIN);
    REQUIRE(setrlimit(RLIMIT_SIGPENDING, &old) == 0);
    ipcx_sig_release(&held);
}

TEST(what_cannot_be_held)
{
    ipcx_signals set = 0;
    ipcx_sig_held held = {0};
    ipcx_sig_receiver receiver = {0};
    ipcx_signal got;
    ipcx_error err;
    int bad[] = {SIGKILL, SIGSTOP, ipcx__wake_signal()};
    CHECK_STATUS(ipcx_sig_hold(&held, set, &err), IPCX_INVALID);
    CHECK_STATUS(ipcx_sig_wait(set, IPCX_NOW, &got, &err), IPCX_INVALID);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set = set_of(SIGUSR1, bad[i]);
        CHECK_STATUS(ipcx_sig_hold(&held, set, &err), IPCX_INVALID);
        CHECK_STATUS(ipcx_sig_open(&receiver, set, &err), IPCX_INVALID);
    }
    CHECK_INT(is_blocked(SIGUSR1), 0);
    ipcx_sig_release(&held);
    ipcx_sig_close(&receiver);
    CHECK_STATUS(ipcx_sig_receive(&receiver, IPCX_FOREVER, &got, &err), IPCX_CLOSED);
}

static void mine(int number)
{
    (void)number;
}

TEST(afterwards_all_is_as_it_was)
{
    ipcx_signals set = set_of(SIGUSR1, SIGUSR2);
    sigset_t blocked;
    struct sigaction action = {.sa_handler = mine}, now;
    ipcx_sig_held held, inner;
    ipcx_error err;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &blocked, NULL) == 0);
    REQUIRE_OK(ipcx_sig_hold(&held, set, &err));
    REQUIRE_OK(ipcx_sig_hold(&inner, set, &err));
    CHECK((ipcx_sig_all_held() & IPCX_SIGNAL(SIGUSR1)) != 0);
    CHECK_INT(is_blocked(SIGUSR1), 1);
    ipcx_sig_release(&inner);
    CHECK_INT(is_blocked(SIGUSR1), 1);
    ipcx_sig_release(&held);
    CHECK_INT(is_blocked(SIGUSR1), 0);
    CHECK_INT(is_blocked(SIGUSR2), 1);
    CHECK((ipcx_sig_all_held() & IPCX_SIGNAL(SIGUSR1)) == 0);
    REQUIRE(sigaction(SIGUSR1, NULL, &now) == 0);
    CHECK(now.sa_handler == mine);
    /* Who sets a handler meanwhile keeps it. */
    action.sa_handler = SIG_IGN;
    REQUIRE_OK(ipcx_sig_hold(&held, set, &err));
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    ipcx_sig_release(&held);
    REQUIRE(sigaction(SIGUSR1, NULL, &now) == 0);
    CHECK(now.sa_handler == SIG_IGN);
    action.sa_handler = SIG_DFL;
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    REQUIRE(pthread_sigmask(SIG_UNBLOCK, &blocked, NULL) == 0);
}

/* ---- the receiver */

TEST(received_like_messages)
{
    ipcx_signals set = set_of(SIGRTMIN, SIGUSR1);
    ipcx_sig_receiver receiver = {0}, second = {0};
    ipcx_signal got;
    ipcx_error err;
    REQUIRE_OK(ipcx_sig_open(&receiver, set, &err));
    CHECK_STATUS(ipcx_sig_receive(&receiver, IPCX_NOW, &got, &err), IPCX_AGAIN);
    CHECK_STATUS(ipcx_sig_receive(&receiver, ipcx_deadline_after(1000000), &got, &err),
                 IPCX_TIMEOUT);
    for (int i = 0; i < 100; i++) {
        REQUIRE_OK(ipcx_sig_send(getpid(), SIGRTMIN, &i, &err));
    }
    for (int i = 0; i < 100; i++) {
        REQUIRE_OK(ipcx_sig_receive(&receiver, IPCX_FOREVER, &got, &err));
        CHECK_INT(got.number, SIGRTMIN);
        CHECK_INT(got.value, i);
        CHECK_INT(got.pid, getpid());
    }
    set = set_of(SIGRTMIN + 1, SIGUSR1);
    CHECK_STATUS(ipcx_sig_open(&second, set, &err), IPCX_INVALID);
    CHECK_INT(err.sys_errno, EBUSY);
    CHECK_INT(is_blocked(SIGRTMIN + 1), 0);
    ipcx_sig_close(&receiver);
    ipcx_sig_close(&receiver);
    CHECK_STATUS(ipcx_sig_receive(&receiver, IPCX_NOW, &got, &err), IPCX_CLOSED);
    CHECK_INT(is_blocked(SIGUSR1), 0);
    REQUIRE_OK(ipcx_sig_open(&second, set, &err));
    ipcx_sig_close(&second);
}

TEST(no_descriptor_is_left)
{
    struct rlimit old, few;
    ipcx_signals set = set_of(SIGUSR1, SIGUSR2);
    ipcx_sig_receiver receiver = {0};
    ipcx_error err;
    if (check_valgrind()) {
        return;
    }
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    few = old;
    few.rlim_cur = 0;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_STATUS(ipcx_sig_open(&receiver, set, &err), IPCX_EXHAUSTED);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK_INT(is_blocked(SIGUSR1), 0);
    REQUIRE_OK(ipcx_sig_open(&receiver, set, &err));
    ipcx_sig_close(&receiver);
}

typedef struct other {
    pthread_t thread;
    ipcx_sig_receiver *receiver;
    atomic_int ready, stop;
    ipcx_status status;
} other;

static void *close_it(void *arg)
{
    other *self = arg;
    while (atomic_load(&self->ready) == 0) {
        sched_yield();
    }
    ipcx_sig_close(self->receiver);
    return NULL;
}

TEST(closed_by_another_thread)
{
    ipcx_signals set = set_of(SIGUSR1, SIGUSR2);
    ipcx_sig_receiver receiver = {0};
    ipcx_signal got;
    ipcx_error err;
    other closer = {.receiver = &receiver};
    REQUIRE_OK(ipcx_sig_open(&receiver, set, &err));
    REQUIRE(pthread_create(&closer.thread, NULL, close_it, &closer) == 0);
    atomic_store(&closer.ready, 1);
    CHECK_STATUS(ipcx_sig_receive(&receiver, IPCX_FOREVER, &got, &err), IPCX_CLOSED);
    REQUIRE(pthread_join(closer.thread, NULL) == 0);
    ipcx_sig_close(&receiver);
    CHECK_INT(is_blocked(SIGUSR1), 0);
}

TEST(who_is_told_puts_its_mask_right)
{
    ipcx_sig_receiver receiver = {0};
    ipcx_error err;
    other closer = {.receiver = &receiver, .ready = 1};
    REQUIRE_OK(ipcx_sig_open(&receiver, set_of(SIGUSR1, SIGUSR2), &err));
    CHECK_INT(is_blocked(SIGUSR1), 1);
    REQUIRE(pthread_create(&closer.thread, NULL, close_it, &closer) == 0);
    REQUIRE(pthread_join(closer.thread, NULL) == 0);
    if (!UNDER_TSAN) {
        CHECK_INT(is_blocked(SIGUSR1), 0);
    }
    ipcx_sig_close(&receiver);
    CHECK_INT(is_blocked(SIGUSR1), 0);
}

static void *receive_some(void *arg)
{
    ipcx_sig_receiver receiver = {0};
    ipcx_signal got;
    ipcx_error err;
    other *self = arg;
    ipcx_status status = ipcx_sig_open(&receiver, set_of(SIGUSR1, SIGRTMIN), &err);
    for (int i = 0; i < 100 && status == IPCX_OK; i++) {
        status = ipcx_sig_send(getpid(), i % 2 ? SIGUSR1 : SIGRTMIN, NULL, &err);
        if (status == IPCX_OK) {
            status = ipcx_sig_receive(&receiver, IPCX_FOREVER, &got, &err);
        }
    }
    if (atomic_load(&self->stop)) { /* it stays open beyond a fork of the thread that handed back */
        pid_t child = fork();
        if (child == 0) {
            ipcx_sig_close(&receiver);
            _exit(is_blocked(SIGUSR1) || is_blocked(SIGRTMIN) || !is_default(SIGUSR1));
        }
        CHECK(check_child(child));
    }
    ipcx_sig_close(&receiver);
    self->status = status;
    return NULL;
}

TEST(who_handed_signals_back_blocks_them_no_longer)
{
    for (int forks = 0; forks < 2; forks++) {
        other receives = {.stop = forks};
        REQUIRE(pthread_create(&receives.thread, NULL, receive_some, &receives) == 0);
        REQUIRE(pthread_join(receives.thread, NULL) == 0);
        CHECK_STATUS(receives.status, IPCX_OK);
        CHECK_INT(is_blocked(SIGUSR1), 0);
        CHECK_INT(is_blocked(SIGRTMIN), 0);
        CHECK(is_default(SIGUSR1));
    }
}

static void *hold_it(void *arg)
{
    other *self = arg;
    ipcx_sig_receiver receiver = {0};
    ipcx_signal got;
    ipcx_error err;
    self->status = ipcx_sig_open(&receiver, IPCX_SIGNAL(SIGUSR1), &err);
    self->receiver = &receiver;
    atomic_store(&self->ready, 1);
    while (atomic_load(&self->stop) == 0) {
        if (ipcx_sig_receive(&receiver, ipcx_deadline_after(1000000), &got, &err) == IPCX_OK) {
            atomic_store(&self->ready, 2);
        }
    }
    ipcx_sig_close(&receiver);
    return NULL;
}

TEST(nor_does_its_child)
{
    other holder = {0};
    ipcx_error err;
    pid_t child;
    REQUIRE(pthread_create(&holder.thread, NULL, hold_it, &holder) == 0);
    while (atomic_load(&holder.ready) == 0) {
        sched_yield();
    }
    REQUIRE_OK(ipcx_sig_send(getpid(), SIGUSR1, NULL, &err));
    while (atomic_load(&holder.ready) == 1) {
        sched_yield();
    }
    child = fork();
    if (child == 0) {
        ipcx_sig_close(holder.receiver);
        _exit(is_blocked(SIGUSR1) || !is_default(SIGUSR1));
    }
    CHECK(check_child(child));
    atomic_store(&holder.stop, 1);
    REQUIRE(pthread_join(holder.thread, NULL) == 0);
    CHECK_INT(is_blocked(SIGUSR1), 0);
}

static void *spin(void *arg)
{
    other *self = arg;
    atomic_store(&self->ready, 1);
    while (atomic_load(&self->stop) == 0) {
        sched_yield();
    }
    return NULL;
}

TEST(a_thread_that_knows_nothing_hands_back)
{
    enum { THREADS = 3, SIGNALS = 500 };
    ipcx_signals set = set_of(SIGRTMIN, SIGUSR1);
    ipcx_sig_receiver receiver = {0};
    ipcx_signal got;
    ipcx_error err;
    other others[THREADS] = {0};
    char seen[SIGNALS] = {0};
    if (UNDER_TSAN) {
        return;
    }
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&others[i].thread, NULL, spin, &others[i]) == 0);
        while (atomic_load(&others[i].ready) == 0) {
            sched_yield();
        }
    }
    REQUIRE_OK(ipcx_sig_open(&receiver, set, &err));
    for (int i = 0; i < SIGNALS; i++) {
        REQUIRE_OK(ipcx_sig_send(getpid(), SIGRTMIN, &i, &err));
    }
    for (int i = 0; i < SIGNALS; i++) {
        REQUIRE_OK(ipcx_sig_receive(&receiver, IPCX_FOREVER, &got, &err));
        CHECK(got.number == SIGRTMIN && got.value >= 0 && got.value < SIGNALS);
        CHECK(seen[got.value]++ == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        atomic_store(&others[i].stop, 1);
        REQUIRE(pthread_join(others[i].thread, NULL) == 0);
    }
    ipcx_sig_close(&receiver);
}

TEST(a_child_has_signals_of_its_own)
{
    ipcx_signals set = set_of(SIGUSR1, SIGRTMIN);
    ipcx_sig_receiver receiver = {0};
    ipcx_signal got;
    ipcx_error err;
    pid_t child;
    REQUIRE_OK(ipcx_sig_open(&receiver, set, &err));
    REQUIRE_OK(ipcx_sig_send(getpid(), SIGRTMIN, NULL, &err));
    child = fork();
    if (child == 0) {
        int right = ipcx_sig_receive(&receiver, IPCX_NOW, &got, &err) == IPCX_FORKED;
        ipcx_sig_close(&receiver);
        right &= ipcx_sig_receive(&receiver, IPCX_NOW, &got, &err) == IPCX_FORKED;
        right &= !is_blocked(SIGUSR1) && is_default(SIGUSR1);
        _exit(right ? 0 : 1);
    }
    CHECK(check_child(child));
    CHECK_OK(ipcx_sig_receive(&receiver, IPCX_NOW, &got, &err));
    ipcx_sig_close(&receiver);
}

static void *take_the_lock(void *arg)
{
    other *self = arg;
    (void)ipcx__held_lock();
    atomic_store(&self->ready, 1);
    while (atomic_load(&self->stop) == 0) {
        sched_yield();
    }
    ipcx__held_unlock();
    return NULL;
}

TEST(a_child_finds_the_lock_free)
{
    other holder = {0};
    pid_t child;
    REQUIRE(pthread_create(&holder.thread, NULL, take_the_lock, &holder) == 0);
    while (atomic_load(&holder.ready) == 0) {
        sched_yield();
    }
    child = fork();
    if (child == 0) {
        _exit(ipcx_sig_all_held() == 0 ? 0 : 1);
    }
    CHECK(check_child(child));
    atomic_store(&holder.stop, 1);
    REQUIRE(pthread_join(holder.thread, NULL) == 0);
}
