/* SPDX-License-Identifier: Apache-2.0
 * Signals: sent to a process that cannot be mistaken for another, waited for, received like
 * messages.
 *
 *     sender                                   receiver
 *     ipcx_sig_send(pid, SIGUSR1, NULL) ─────▶ pending: once, however often it was sent
 *     ipcx_sig_send(pid, SIGRTMIN, &value) ──▶ queue:   each, with its value, in order
 *
 * Who waits for a signal *holds* it: it is blocked in the thread that called, so that it stays
 * pending until it is taken. Any other thread that has it unblocked, and so gets it from the
 * kernel, blocks it and hands it back (a handler of ours does that for as long as anybody holds
 * it, and such a thread is woken afterwards to unblock it): no thread of a program need be known.
 * Programs that a thread starts meanwhile inherit what it blocks (sigprocmask(2)).
 * Invariant: after release each signal does what it did before. What came and was not taken takes
 * that course then; but SIGUSR1, SIGUSR2 and real-time signals whose course would be to end the
 * process are dropped: only who held them knew what they mean. */
#ifndef IPCX_SIG_H
#define IPCX_SIG_H

#include <stdint.h>
#include <sys/types.h>

#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A set of signals: IPCX_SIGNAL(SIGUSR1) | IPCX_SIGNAL(SIGRTMIN). */
typedef uint64_t ipcx_signals;
#define IPCX_SIGNAL(number) ((ipcx_signals)1 << ((number) - 1)) /* the set of one: 1 to 64 */

/* A signal that came, and what came with it; codes are those of sigaction(2). */
typedef struct ipcx_signal {
    int number;
    int code;   /* SI_USER: kill(2) · SI_QUEUE: with a value · > 0: the kernel */
    int value;  /* SI_QUEUE: the sender's */
    pid_t pid;  /* the sender, or with SIGCHLD the child; 0 for the kernel */
    uid_t uid;  /* its user */
    int status; /* SIGCHLD: exit status or signal, as `code` says */
} ipcx_signal;

/* ipcx_sig_send: sends signal `number` to process `pid`, with *value if `value` is not NULL. A
 * real-time signal always carries a value, 0 if none is given, for without one the kernel may drop
 * it unsaid when the receiver's queue is full. Never blocks. AGAIN: that queue is full
 * (RLIMIT_SIGPENDING). INVALID: no such number; or a pid below 1, which would mean many processes.
 * SYSTEM: ESRCH, EPERM. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sig_send(pid_t pid, int number, const int *value,
                                                  ipcx_error *err);

/* ipcx_sig_process: `*pidfd` stands for the process that has `pid` now, and for no other even when
 * that number is used again; the caller owns it. It is readable when the process has ended. SYSTEM:
 * ESRCH. UNSUPPORTED: a kernel without pidfd_open(2), before Linux 5.3. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sig_process(pid_t pid, int *pidfd, ipcx_error *err);

/* ipcx_sig_send_to: as ipcx_sig_send, to the process of a pidfd. CLOSED: it is none. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sig_send_to(int pidfd, int number, const int *value,
                                                     ipcx_error *err);

/* Signals held by a thread. {0} holds none. Fields: its own. */
typedef struct ipcx_sig_held {
    ipcx_signals signals; /* handed back by whoever gets them */
    ipcx_signals blocked; /* those that this thread had not blocked before */
    pid_t thread;         /* gettid(2) */
    int active;           /* handlers are in place */
    int owing;            /* the mask of `thread` is still to be put right; 2: it was told */
    uint32_t made_in;     /* fork generation: a child has another thread id */
} ipcx_sig_held;

/* ipcx_sig_hold: from now on `signals` stay pending until they are taken. INVALID: none, SIGKILL or
 * SIGSTOP, or one that the C library or ipcx itself needs. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sig_hold(ipcx_sig_held *held, ipcx_signals signals,
                                                  ipcx_error *err);

/* ipcx_sig_release: ends that; idempotent. Called by another thread than the one that held them, it
 * wakes that one to put its mask right. */
IPCX_API void ipcx_sig_release(ipcx_sig_held *held);

/* ipcx_sig_all_held: the signals that anybody in this process holds. */
IPCX_API ipcx_signals ipcx_sig_all_held(void);

/* ipcx_sig_wait: takes the next one of `signals`, which it holds meanwhile: hold them yourself
 * before you cause what will send one. Answers: AGAIN (IPCX_NOW and none is pending) · TIMEOUT ·
 * INTR (another signal was handled). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sig_wait(ipcx_signals signals, ipcx_deadline deadline,
                                                  ipcx_signal *signal, ipcx_error *err);

/* Signals as a stream of messages, with a descriptor for select(2), poll(2), epoll(7). {0} is a
 * closed one; the fields are its own. */
typedef struct ipcx_sig_receiver {
    int fd;
    int open;
    uint32_t made_in; /* fork generation */
    pid_t owner;
    ipcx_gate gate;
    ipcx_sig_held held;
} ipcx_sig_receiver;

/* ipcx_sig_open: holds `signals` and receives them. INVALID: as ipcx_sig_hold, or another receiver
 * of this process has one of them. EXHAUSTED: descriptors. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sig_open(ipcx_sig_receiver *receiver, ipcx_signals signals,
                                                  ipcx_error *err);

/* ipcx_sig_receive: the next signal; any thread. Answers: AGAIN, TIMEOUT, INTR. CLOSED. FORKED: a
 * child of fork(2) does not receive what is sent to its parent; there, only close it. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_sig_receive(ipcx_sig_receiver *receiver,
                                                     ipcx_deadline deadline, ipcx_signal *signal,
                                                     ipcx_error *err);

/* ipcx_sig_close: closes it and releases the signals; idempotent. Threads that wait in it return
 * CLOSED. As with release, the thread that opened it is woken to put its mask right. */
IPCX_API void ipcx_sig_close(ipcx_sig_receiver *receiver);

#ifdef __cplusplus
}
#endif

#endif
