/* SPDX-License-Identifier: Apache-2.0
 * System call k of connecting, listening and accepting fails, for every k: a status that the
 * headers name, no descriptor left, and the next try works. A tracer (ptrace(2)) fails the call
 * before the kernel sees it, so every call is reached, whoever makes it. */
#include "check.h"

#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include "dialing.h"

/* ThreadSanitizer makes system calls of its own that it cannot do without. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)

/* The traced part begins and ends with a call that nothing else makes. */
#define MARK_BEGIN 0x1bc5
#define MARK_END 0x1bc6

static void mark(long which)
{
    (void)syscall(SYS_getpriority, which, 0L);
}

/* What the traced process tells by its exit status. */
enum { GOOD, GOOD_FAILED, GOOD_EXHAUSTED, BAD_STATUS, LEAK, BAD_RETRY };

typedef ipcx_status (*scenario)(const char *url);

/* How long what cannot happen any more is waited for. */
static int64_t patience = 50 * MS;

/* Everything once: a listener, a peer, a word each way, the end. */
static ipcx_status talk(const char *url)
{
    ipcx_message said = {.data = "hello", .size = 5}, heard;
    ipcx_listener *listener = NULL;
    ipcx_chan *there = NULL, *here = NULL;
    ipcx_deadline soon = ipcx_deadline_after(patience);
    ipcx_status status = ipcx_listen(url, NULL, &listener, NULL);
    if (status == IPCX_OK) {
        status = ipcx_connect(ipcx_listener_url(listener), NULL, soon, &there, NULL);
    }
    if (status == IPCX_OK) {
        do {
            status = ipcx_listener_accept(listener, &here, soon, NULL);
        } while (status == IPCX_INTR);
    }
    if (status == IPCX_OK) {
        status = ipcx_chan_send(there, &said, soon, NULL, NULL);
    }
    if (status == IPCX_OK) {
        do {
            status = ipcx_chan_receive(here, &heard, soon, NULL);
        } while (status == IPCX_INTR);
        if (status == IPCX_OK) {
            ipcx_chan_release(here, &heard);
        }
    }
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    return status;
}

static ipcx_status pair(const char *url)
{
    ipcx_chan *a = NULL, *b = NULL;
    ipcx_status status = ipcx_pair(url, NULL, &a, &b, NULL);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
    return status;
}

static ipcx_status one_way(ipcx_chan *from, ipcx_chan *to, size_t size)
{
    static char bytes[30000];
    ipcx_message said = {.data = bytes, .size = size}, heard;
    ipcx_status status = ipcx_chan_send(from, &said, IPCX_FOREVER, NULL, NULL);
    if (status == IPCX_OK) {
        status = ipcx_chan_receive(to, &heard, IPCX_FOREVER, NULL);
    }
    if (status == IPCX_OK) {
        status = heard.size == size ? IPCX_OK : IPCX_INVALID;
        ipcx_chan_release(to, &heard);
    }
    return status;
}

/* Memory that grows, a wait and a descriptor to wait at. */
static ipcx_status shared_memory(int trust, const char *url)
{
    const ipcx_chan_options options = {.trust = trust, .ring = (size_t)16 << 20};
    ipcx_chan *a = NULL, *b = NULL;
    ipcx_message heard;
    ipcx_status status = ipcx_pair(url, &options, &a, &b, NULL);
    if (status == IPCX_OK) {
        status = one_way(a, b, 5);
    }
    if (status == IPCX_OK) {
        status = one_way(b, a, 30000);
    }
    if (status == IPCX_OK) {
        status = ipcx_chan_receive(a, &heard, ipcx_deadline_after(MS), NULL);
        status = status == IPCX_TIMEOUT ? IPCX_OK : status;
    }
    ipcx_chan_free(a);
    ipcx_chan_free(b);
    return status;
}

static ipcx_status trusting(const char *url)
{
    return shared_memory(IPCX_TRUST_SAME_UID, url);
}

static ipcx_status wary(const char *url)
{
    return shared_memory(IPCX_TRUST_NONE, url);
}

static int is_named(ipcx_status status)
{
    switch (status) {
    case IPCX_OK:
    case IPCX_INTR:
    case IPCX_AGAIN:
    case IPCX_TIMEOUT:
    case IPCX_EOF:
    case IPCX_SYSTEM:
    case IPCX_NOMEM:
    case IPCX_EXHAUSTED:
    case IPCX_ADDRESS_IN_USE:
    case IPCX_REFUSED:
    case IPCX_AUTH:
    case IPCX_PEER_CLOSED:
    case IPCX_PEER_DIED:
    case IPCX_CLOSED: /* EBADF */
        return 1;
    default:
        return 0;
    }
}

static void traced(scenario run, const char *url)
{
    int fds = check_fds();
    ipcx_status status;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0 || raise(SIGSTOP) != 0) {
        _exit(99);
    }
    mark(MARK_BEGIN);
    status = run(url);
    mark(MARK_END);
    if (!is_named(status)) {
        printf("# %s: %s\n", url, ipcx_status_name(status));
        fflush(stdout);
        _exit(BAD_STATUS);
    }
    if (check_fds() != fds) {
        printf("# %s: %d descriptors, %d before\n", url, check_fds(), fds);
        fflush(stdout);
        _exit(LEAK);
    }
    patience = 60000 * MS; /* a loaded machine may be slow, too */
    if (run(url) != IPCX_OK) {
        _exit(BAD_RETRY);
    }
    _exit(status == IPCX_OK                                  ? GOOD
          : status == IPCX_EXHAUSTED || status == IPCX_NOMEM ? GOOD_EXHAUSTED
                                                             : GOOD_FAILED);
}

/* AddressSanitizer maps memory of its own, and what it cannot map it reports at length. */
#ifdef __SANITIZE_ADDRESS__
#define MAPS_FOR_ITSELF 1
#else
#define MAPS_FOR_ITSELF 0
#endif

/* Calls whose failure means nothing here: they cannot fail so, or only this process suffers. */
static int is_spared(long number)
{
    return (number == SYS_mmap && MAPS_FOR_ITSELF) || number == SYS_close || number == SYS_munmap ||
           number == SYS_futex || number == SYS_brk || number == SYS_rt_sigprocmask ||
           number == SYS_rt_sigaction || number == SYS_exit_group;
}

/* Steps `child` to its next stop at a system call; false when it has ended, with its state. */
static int next_stop(pid_t child, int *state)
{
    REQUIRE(ptrace(PTRACE_SYSCALL, child, NULL, NULL) == 0);
    REQUIRE(waitpid(child, state, 0) == child);
    return WIFSTOPPED(*state);
}

/* Runs it with call `k` failing with `error`. The exit status, or -1 when it has fewer calls;
 * *failed is the call. */
static int run_with(scenario run, const char *url, int k, int error, long *failed)
{
    struct user_regs_struct regs;
    int state, seen = 0, open = 0;
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        traced(run, url);
    }
    REQUIRE(waitpid(child, &state, 0) == child);
    if (WIFEXITED(state)) {
        return WEXITSTATUS(state);
    }
    *failed = -1;
    while (next_stop(child, &state)) { /* on the way in … */
        long number;
        REQUIRE(ptrace(PTRACE_GETREGS, child, NULL, &regs) == 0);
        number = (long)regs.orig_rax;
        if (number == SYS_getpriority && regs.rdi == MARK_BEGIN) {
            open = 1;
        } else if (number == SYS_getpriority && regs.rdi == MARK_END) {
            open = 0;
        } else if (open && !is_spared(number) && ++seen == k) {
            *failed = number;
            /* An interrupted connect(2) goes on. */
            if (number != SYS_connect || error != EINTR) {
                regs.orig_rax = (unsigned long long)-1;
                REQUIRE(ptrace(PTRACE_SETREGS, child, NULL, &regs) == 0);
            }
        }
        if (!next_stop(child, &state)) { /* … and out */
            break;
        }
        if (*failed == number && seen == k && open) {
            REQUIRE(ptrace(PTRACE_GETREGS, child, NULL, &regs) == 0);
            regs.rax = (unsigned long long)(long long)-error;
            REQUIRE(ptrace(PTRACE_SETREGS, child, NULL, &regs) == 0);
            open = 0;
        }
    }
    if (!WIFEXITED(state)) {
        return 100;
    }
    return *failed < 0 && WEXITSTATUS(state) == GOOD ? -1 : WEXITSTATUS(state);
}

static void each_call_fails(scenario run, const char *url)
{
    static const int errors[] = {EMFILE, EINTR, EIO, EAGAIN, ENOMEM, EACCES, ECONNRESET};
    size_t count = check_valgrind()               ? 0 /* which makes calls of its own too */
                   : getenv("IPCX_NIGHT") != NULL ? sizeof errors / sizeof errors[0]
                                                  : 3;
    for (size_t e = 0; e < count; e++) {
        int failures = 0;
        for (int k = 1;; k++) {
            long failed = -1;
            int result = run_with(run, url, k, errors[e], &failed);
            if (result == 99) {
                printf("# no ptrace(2) here\n");
                return;
            }
            if (result < 0) {
                CHECK(failures > 0 || k == 1);
                break;
            }
            failures += result != GOOD;
            if (result > GOOD_EXHAUSTED) {
                check_fail(__FILE__, __LINE__, "%s: call %d (number %ld) fails with %s: %d", url, k,
                           failed, strerrorname_np(errors[e]), result);
            }
        }
    }
}

TEST(every_call_of_a_conversation_fails)
{
    folder at = folder_make();
    each_call_fails(talk, at.url);
    (void)unlink(at.name); /* of a run whose unlink failed */
    (void)unlink(at.lock);
    folder_remove(&at);
    each_call_fails(talk, "tcp://127.0.0.1:0");
}

TEST(every_call_of_a_pair_fails)
{
    each_call_fails(pair, "unix://");
    each_call_fails(pair, "pipe://");
    each_call_fails(pair, "tcp://");
}

TEST(every_call_of_shared_memory_fails)
{
    each_call_fails(trusting, "shm://");
    each_call_fails(wary, "shm://");
}

/* What is used up for the moment is said so; what the kernel refuses for good is done without. */
static void one_resource_fails(scenario run, long number, int error)
{
    int met = 0;
    for (int k = 1;; k++) {
        long failed = -1;
        int result = run_with(run, "shm://", k, error, &failed), good;
        if (result < 0 || result == 99) {
            break;
        }
        if (failed != number) {
            continue;
        }
        met++;
        /* A ring that cannot grow stays small; malloc has other ways; without a pidfd to watch, the
         * peer is looked at now and then. */
        good = result == GOOD ? error == EPERM || number == SYS_fallocate || number == SYS_mmap ||
                                    number == SYS_epoll_ctl
                              : result == GOOD_EXHAUSTED && error != EPERM;
        if (!good) {
            check_fail(__FILE__, __LINE__, "call %d (number %ld) fails with %s: %d", k, failed,
                       strerrorname_np(error), result);
        }
    }
    CHECK(met > 0 || check_valgrind());
}

TEST(what_shared_memory_needs)
{
    const long numbers[] = {SYS_memfd_create, SYS_fallocate,     SYS_mmap,
                            SYS_eventfd2,     SYS_epoll_create1, SYS_epoll_ctl};
    if (check_valgrind()) {
        return;
    }
    for (int i = 0; i < 6; i++) {
        if (!is_spared(numbers[i])) {
            one_resource_fails(trusting, numbers[i], i < 3 ? ENOMEM : EMFILE);
            one_resource_fails(wary, numbers[i], i < 3 ? ENOMEM : EMFILE);
        }
    }
    for (int i = 3; i < 6; i++) {
        one_resource_fails(trusting, numbers[i], EPERM);
        one_resource_fails(wary, numbers[i], EPERM);
    }
}

#else

TEST(not_on_this_machine)
{
    printf("# not in this build, or on this machine\n");
}

#endif
