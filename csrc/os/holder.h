/* SPDX-License-Identifier: Apache-2.0
 * Who has something already, as far as /proc tells us: proc(5). For the texts of errors, and so as
 * not to disturb him.
 * Invariant: that nobody is found here decides nothing. */
#ifndef IPCX_OS_HOLDER_H
#define IPCX_OS_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

/* ipcx__tcp_holder: the pid of a process that listens at `port`; 0: not known. */
int ipcx__tcp_holder(int port);

/* ipcx__udp_holder: the pid of a process that has a UDP socket at `port`; 0: not known. *listens:
 * whether it takes what comes from anybody, not from one peer alone. */
int ipcx__udp_holder(int port, bool *listens);

/* ipcx__fifo_reader: the pid of a process that has the named pipe `path` open for reading, or waits
 * in open(2) to; 0: not known. ipcx__fifo_opener: of one that waits in open(2) for its other side.
 * Neither opens it: that would look to the other like a partner who comes and goes. */
int ipcx__fifo_reader(const char *path);
int ipcx__fifo_opener(const char *path);

#endif
