/* SPDX-License-Identifier: Apache-2.0
 * Who has something already, as far as /proc tells us: proc(5). For the texts of errors.
 * Invariant: nothing is decided by what is found here. */
#ifndef IPCX_OS_HOLDER_H
#define IPCX_OS_HOLDER_H

#include <stdbool.h>
#include <sys/types.h>

/* ipcx__tcp_holder: the pid of a process that listens at `port`; 0: not known. */
int ipcx__tcp_holder(int port);

/* ipcx__udp_holder: the pid of a process that has a UDP socket at `port`; 0: not known. *listens:
 * whether it takes what comes from anybody, not from one peer alone. */
int ipcx__udp_holder(int port, bool *listens);

/* ipcx__fifo_reader: the pid of a process that has the named pipe `path` open for reading; 0: not
 * known. */
int ipcx__fifo_reader(const char *path);

#endif
