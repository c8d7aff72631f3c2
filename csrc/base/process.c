/* SPDX-License-Identifier: Apache-2.0
 * The one file with process-wide state. See process.h for what each word means.
 * Invariant: no allocation of ours; of the two locks the one is held by the forking thread itself
 * during a fork, the other names the fork generation: so fork and signals find nothing half done.
 */
#include "base/process.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1UL << 7) /* asm/hwcap.h of the kernel */
#endif
#endif

_Atomic uint32_t ipcx__fork_mark;
_Atomic(const ipcx_trace_hook *) ipcx__trace_hook;
ipcx__guards ipcx__guards_all;
#ifdef IPCX_TEST_ALLOC
_Atomic uint64_t ipcx__alloc_count;
_Atomic uint64_t ipcx__alloc_fail_at;
#endif

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static _Atomic uint32_t fork_count;
static pthread_mutex_t own_mutex = PTHREAD_MUTEX_INITIALIZER;
static ipcx__own *own_lists[IPCX__OWN_LISTS];
static _Atomic uint64_t *claim_words; /* CLAIMS of them, shared with our children to be */
static uint32_t claim_used;           /* so many of them have ever been used */
static uint32_t claim_free;           /* the first of those free again, counted from 1; 0: none */
static _Atomic int fork_by_pid;       /* 1 where no handler could be registered */
static _Atomic int wake_signal;       /* 0 not chosen yet */
static _Atomic int cpu_crc32c;        /* 0 not asked yet, 1 no, 2 yes */

void ipcx__own_lock(void)
{
    (void)ipcx__fork_generation(); /* the handlers below are there from the first use on */
    (void)pthread_mutex_lock(&own_mutex);
}

void ipcx__own_unlock(void)
{
    (void)pthread_mutex_unlock(&own_mutex);
}

void ipcx__own_add(ipcx__own_list list, ipcx__own *own)
{
    own->next = own_lists[list];
    own->link = &own_lists[list];
    if (own->next != NULL) {
        own->next->link = &own->next;
    }
    own_lists[list] = own;
}

void ipcx__own_remove(ipcx__own *own)
{
    if (own->link != NULL) {
        *own->link = own->next;
        if (own->next != NULL) {
            own->next->link = own->link;
        }
        own->next = NULL;
        own->link = NULL;
    }
}

ipcx__own *ipcx__own_first(ipcx__own_list list)
{
    return own_lists[list];
}

/* ---- threads that end */

_Thread_local char ipcx__thread_mark;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;
static bool thread_key_made;

static void thread_end(void *mark)
{
    ipcx__own_lock();
    for (ipcx__own *own = own_lists[IPCX__OWN_SYNCS]; own != NULL; own = own->next) {
        own->thread_ended(own, (uintptr_t)mark);
    }
    ipcx__own_unlock();
}

static void thread_key_make(void)
{
    thread_key_made = pthread_key_create(&thread_key, thread_end) == 0;
}

uintptr_t ipcx__thread_begin(void)
{
    (void)pthread_once(&thread_once, thread_key_make);
    if (thread_key_made) { /* else all keys are taken: what it holds at its end goes with us */
        (void)pthread_setspecific(thread_key, &ipcx__thread_mark);
    }
    ipcx__thread_mark = 1;
    return (uintptr_t)&ipcx__thread_mark;
}

/* Half a megabyte of addresses, of which pages come into being as they are used. More ends than
 * this at a time have no claim. */
#define CLAIMS 65536u

void ipcx__claim_make(ipcx__claim *claim)
{
    uint32_t index = claim_free;
    uint64_t word;
    *claim = (ipcx__claim){0};
    if (claim_words == NULL) {
        void *memory = mmap(NULL, CLAIMS * sizeof *claim_words, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            return;
        }
        claim_words = memory;
    }
    if (index == 0) {
        if (claim_used == CLAIMS) {
            return;
        }
        index = ++claim_used;
    }
    claim->word = &claim_words[index - 1];
    word = atomic_load(claim->word);
    if (index == claim_free) {
        claim_free = (uint32_t)word;
    }
    claim->serial = (uint32_t)(word >> 32);
    atomic_store(claim->word, (uint64_t)claim->serial << 32);
}

void ipcx__claim_free(ipcx__claim *claim)
{
    if (claim->word != NULL) {
        /* With another serial number, who inherited the old claim does not take this for a pid. */
        atomic_store(claim->word, (uint64_t)(claim->serial + 1) << 32 | claim_free);
        claim_free = (uint32_t)(claim->word - claim_words) + 1;
        *claim = (ipcx__claim){0};
    }
}

bool ipcx__claim_take(const ipcx__claim *claim, int pid, int *holder)
{
    uint64_t none = (uint64_t)claim->serial << 32, word = none;
    if (claim->word == NULL ||
        atomic_compare_exchange_strong(claim->word, &word, none | (uint32_t)pid) ||
        word >> 32 != claim->serial) {
        return true;
    }
    *holder = (int)(uint32_t)word;
    return false;
}

void ipcx__claim_give(const ipcx__claim *claim, int pid)
{
    uint64_t none = (uint64_t)claim->serial << 32, word = none | (uint32_t)pid;
    if (claim->word != NULL) {
        (void)atomic_compare_exchange_strong(claim->word, &word, none);
    }
}

static int forking; /* the thread that holds the mutex to fork */
static void owed_by_fork(void);

static void fork_prepare(void)
{
    (void)pthread_mutex_lock(&own_mutex);
    forking = (int)syscall(SYS_gettid);
}

static void fork_in_parent(void)
{
    (void)atomic_fetch_add(&fork_count, 1);
    (void)pthread_mutex_unlock(&own_mutex);
}

/* What was the parent's own is not ours. */
static void own_let_go(void)
{
    for (int list = 0; list < IPCX__OWN_LISTS; list++) {
        while (own_lists[list] != NULL) {
            ipcx__own *own = own_lists[list];
            ipcx__own_remove(own);
            own->forked(own);
        }
    }
}

static void fork_in_child(void)
{
    uint32_t mark = atomic_load_explicit(&ipcx__fork_mark, memory_order_relaxed) + 1;
    /* Runs in the child's only thread: no other writer exists. 0 means "never asked": skip it. */
    atomic_store_explicit(&ipcx__fork_mark, mark != 0 ? mark : 1, memory_order_release);
    own_let_go();
    owed_by_fork();
    claim_words = NULL; /* what we make ourselves is not our parent's to give out */
    claim_used = claim_free = 0;
    (void)pthread_mutex_unlock(&own_mutex);
}

uint32_t ipcx__fork_count(void)
{
    return atomic_load(&fork_count);
}

static void fork_register(void)
{
    if (pthread_atfork(fork_prepare, fork_in_parent, fork_in_child) != 0) {
        atomic_store(&fork_by_pid, 1);
        return;
    }
    atomic_store_explicit(&ipcx__fork_mark, 1, memory_order_release);
}

uint32_t ipcx__fork_mark_begin(void)
{
    /* pthread_once survives a fork in the middle of it: the child simply runs it again. */
    (void)pthread_once(&fork_once, fork_register);
    if (IPCX_UNLIKELY(atomic_load(&fork_by_pid))) {
        /* pthread_atfork had no memory. The pid tells parent from child as well, at the price of
         * a system call a time. */
        return (uint32_t)getpid();
    }
    return atomic_load_explicit(&ipcx__fork_mark, memory_order_acquire);
}

/* ---- signals that are held */

static ipcx__held_signal held[_NSIG]; /* by number */
static _Atomic uint64_t held_by;      /* fork generation and lock bit */
_Atomic uint64_t ipcx__held_set;

/* What a thread is owed; nothing: anybody's entry. */
#define DEBTS 256
static struct {
    _Atomic int thread;
    _Atomic uint64_t signals;
} debts[DEBTS];
static _Atomic int debts_used; /* so many were ever somebody's */

void ipcx__held_owe(int thread, uint64_t signals)
{
    for (int pass = 0; pass < 2; pass++) { /* first its own entry, then a free one */
        for (int i = 0; i < DEBTS; i++) {
            int whose = atomic_load(&debts[i].thread);
            if (pass == 0 ? whose != thread
                          : atomic_load(&debts[i].signals) != 0 ||
                                !atomic_compare_exchange_strong(&debts[i].thread, &whose, thread)) {
                continue;
            }
            (void)atomic_fetch_or(&debts[i].signals, signals);
            if (atomic_load(&debts[i].thread) == thread) { /* else it was taken as free just then */
                int used = atomic_load(&debts_used);
                while (used <= i && !atomic_compare_exchange_weak(&debts_used, &used, i + 1)) {
                }
                return;
            }
        }
    }
}

/* What can be paid of an entry, which then owes it no more. */
static uint64_t pay(int entry)
{
    uint64_t kept = atomic_load(&ipcx__held_set);
    return atomic_fetch_and(&debts[entry].signals, kept) & ~kept;
}

void ipcx__held_settle(void)
{
    int me = (int)syscall(SYS_gettid), used = atomic_load(&debts_used);
    for (int i = 0; i < used; i++) {
        int thread = atomic_load(&debts[i].thread);
        if ((atomic_load(&debts[i].signals) & ~atomic_load(&ipcx__held_set)) == 0) {
            continue;
        }
        if (thread == me) {
            uint64_t due = pay(i);
            sigset_t set;
            (void)sigemptyset(&set);
            for (int number = 1; number < _NSIG; number++) {
                if (due >> (number - 1) & 1) {
                    (void)sigaddset(&set, number);
                }
            }
            (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        } else if (syscall(SYS_tgkill, getpid(), thread, ipcx__wake_signal()) != 0) {
            atomic_store(&debts[i].signals, 0); /* it has ended */
        }
    }
}

/* In a child, whose thread was another one's copy, with its mask. */
static void owed_by_fork(void)
{
    for (int i = 0; i < atomic_load(&debts_used); i++) {
        if (atomic_load(&debts[i].thread) == forking) {
            atomic_store(&debts[i].thread, (int)syscall(SYS_gettid));
        } else {
            atomic_store(&debts[i].signals, 0);
        }
    }
}

static void wake_handler(int number, siginfo_t *info, void *context)
{
    int saved = errno, used = atomic_load(&debts_used);
    int me = used > 0 ? (int)syscall(SYS_gettid) : 0;
    (void)number;
    (void)info;
    for (int i = 0; i < used; i++) {
        uint64_t due = atomic_load(&debts[i].thread) == me ? pay(i) : 0;
        for (int one = 1; due != 0 && one < _NSIG; one++) {
            if (due >> (one - 1) & 1) {
                (void)sigdelset(&((ucontext_t *)context)->uc_sigmask, one);
            }
        }
    }
    errno = saved;
}

static int wake_signal_choose(void)
{
    struct sigaction old, ours = {.sa_flags = SA_ONSTACK | SA_SIGINFO};
    int number;
    ours.sa_sigaction = wake_handler;
    (void)sigfillset(&ours.sa_mask);
    /* SIGRTMAX - 2 is the JDK's for the same purpose, and the two above it are often taken. */
    for (number = SIGRTMAX - 3; number > SIGRTMIN; number--) {
        if (sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            break;
        }
    }
    (void)sigaction(number, &ours, NULL);
    return number;
}

static pthread_once_t wake_once = PTHREAD_ONCE_INIT;

static void wake_begin(void)
{
    atomic_store_explicit(&wake_signal, wake_signal_choose(), memory_order_release);
}

int ipcx__wake_signal(void)
{
    int known = atomic_load_explicit(&wake_signal, memory_order_acquire);
    if (IPCX_UNLIKELY(known == 0)) {
        (void)pthread_once(&wake_once, wake_begin);
        known = atomic_load_explicit(&wake_signal, memory_order_acquire);
    }
    return known;
}

/* The lock names its generation, so that a child finds one that another thread of its parent held
 * at fork(2) free. What such a thread had half done are two words of one signal. */
ipcx__held_signal *ipcx__held_lock(void)
{
    uint64_t mine = ((uint64_t)ipcx__fork_generation() << 1) | 1;
    for (;;) {
        uint64_t old = atomic_load_explicit(&held_by, memory_order_relaxed);
        if (old != mine && atomic_compare_exchange_weak_explicit(
                               &held_by, &old, mine, memory_order_acquire, memory_order_relaxed)) {
            return held;
        }
        (void)sched_yield();
    }
}

void ipcx__held_unlock(void)
{
    atomic_store_explicit(&held_by, (uint64_t)ipcx__fork_generation() << 1, memory_order_release);
}

static int crc32c_ask(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") ? 1 : 0;
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
    return 0;
#endif
}

int ipcx__cpu_has_crc32c(void)
{
    int known = atomic_load_explicit(&cpu_crc32c, memory_order_relaxed);
    if (IPCX_UNLIKELY(known == 0)) {
        /* Two threads may both ask; they get the same answer. */
        known = crc32c_ask() + 1;
        atomic_store_explicit(&cpu_crc32c, known, memory_order_relaxed);
    }
    return known - 1;
}

void ipcx__trace_emit(ipcx_trace_event *event, int64_t begun)
{
    const ipcx_trace_hook *hook = atomic_load_explicit(&ipcx__trace_hook, memory_order_acquire);
    int saved = errno;
    if (hook != NULL) {
        event->duration = ipcx_clock_now() - begun;
        hook->fn(hook->ctx, event);
        errno = saved;
    }
}

const ipcx_trace_hook *ipcx_trace_set(const ipcx_trace_hook *hook)
{
    return atomic_exchange_explicit(&ipcx__trace_hook, hook, memory_order_acq_rel);
}
