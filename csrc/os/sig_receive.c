/* SPDX-License-Identifier: Apache-2.0
 * Signals as a stream of messages: signalfd(2) behind a gate.
 * Invariant: a signal that was read is handed out; nothing is read that nobody asked for. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/fd.h"
#include "os/gate.h"
#include "os/sig.h"

/* Marks `signals` as received, or no longer so. False, and nothing marked: one is already; its
 * number is in *taken. */
static bool mark(ipcx_signals signals, bool received, int *taken)
{
    ipcx__held_signal *held = ipcx__held_lock();
    bool free = true;
    for (int number = 1; received && free && number < _NSIG; number++) {
        if ((signals & IPCX_SIGNAL(number)) != 0 && held[number].received) {
            free = false;
            *taken = number;
        }
    }
    for (int number = 1; free && number < _NSIG; number++) {
        if (signals & IPCX_SIGNAL(number)) {
            held[number].received = received;
        }
    }
    ipcx__held_unlock();
    return free;
}

ipcx_status ipcx_sig_open(ipcx_sig_receiver *receiver, ipcx_signals signals, ipcx_error *err)
{
    ipcx_sig_held held;
    sigset_t set = ipcx__sigset(signals);
    int taken = 0, fd;
    ipcx_status status = ipcx_sig_hold(&held, signals, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (!mark(signals, true, &taken)) {
        ipcx_sig_release(&held);
        return ipcx_error_set(err, IPCX_INVALID, EBUSY, "open",
                              "another receiver of this process has signal %d", taken);
    }
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        status = ipcx_error_system(err, errno, "open", "signalfd(2)");
        (void)mark(signals, false, &taken);
        ipcx_sig_release(&held);
        return status;
    }
    *receiver = (ipcx_sig_receiver){
        .fd = fd, .open = 1, .made_in = ipcx__fork_generation(), .owner = getpid(), .held = held};
    return IPCX_OK;
}

static void found(const struct signalfd_siginfo *info, ipcx_signal *signal)
{
    bool sent = info->ssi_code <= 0 || info->ssi_signo == SIGCHLD;
    *signal = (ipcx_signal){
        .number = (int)info->ssi_signo,
        .code = info->ssi_code,
        .value = info->ssi_code == SI_QUEUE ? info->ssi_int : 0,
        .pid = sent ? (pid_t)info->ssi_pid : 0,
        .uid = sent ? info->ssi_uid : 0,
        .status = info->ssi_signo == SIGCHLD ? info->ssi_status : 0,
    };
}

/* Inside the gate. */
static ipcx_status receive(ipcx_sig_receiver *receiver, ipcx_deadline deadline, ipcx_signal *signal,
                           ipcx_error *err)
{
    struct signalfd_siginfo info;
    for (;;) {
        ipcx_status status;
        if (read(receiver->fd, &info, sizeof info) == (ssize_t)sizeof info) {
            found(&info, signal);
            return IPCX_OK;
        }
        if (errno != EAGAIN) {
            return ipcx_error_system(err, errno, "receive", "signalfd(2)");
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        status = ipcx__gate_poll(&receiver->gate, receiver->fd, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

ipcx_status ipcx_sig_receive(ipcx_sig_receiver *receiver, ipcx_deadline deadline,
                             ipcx_signal *signal, ipcx_error *err)
{
    ipcx_status status;
    if (receiver->made_in != 0 && receiver->made_in != ipcx__fork_generation()) {
        return ipcx_error_set(err, IPCX_FORKED, 0, "receive",
                              "process %d opened it; open one here for what is sent to process %d",
                              (int)receiver->owner, (int)getpid());
    }
    if (receiver->made_in == 0 || !ipcx__gate_enter(&receiver->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, "receive", "the receiver of signals");
    }
    status = receive(receiver, deadline, signal, err);
    ipcx__gate_leave(&receiver->gate);
    if (ipcx__gate_is_closed(&receiver->gate)) {
        ipcx_sig_release(&receiver->held);
    }
    return status;
}

void ipcx_sig_close(ipcx_sig_receiver *receiver)
{
    int none;
    if (__atomic_exchange_n(&receiver->open, 0, __ATOMIC_SEQ_CST)) {
        ipcx__gate_close(&receiver->gate);
        (void)ipcx_fd_close(receiver->fd, NULL);
        (void)mark(receiver->held.signals, false, &none);
    }
    ipcx_sig_release(&receiver->held);
}
