/* SPDX-License-Identifier: Apache-2.0
 * A note of each named pipe that a listener has, for `ipcx ls`, `gc` and `rm`: in the user's
 * runtime folder a symbolic link to its path, called "DEVICE-INODE.fifo", both hexadecimal.
 * Invariant: a help for people. Whoever cannot leave one listens all the same. */
#ifndef IPCX_LINK_NOTE_H
#define IPCX_LINK_NOTE_H

#include <sys/types.h>

/* ipcx__fifo_note: `path` is that pipe. ipcx__fifo_unnote: it has gone. */
void ipcx__fifo_note(const char *path, dev_t device, ino_t inode);
void ipcx__fifo_unnote(dev_t device, ino_t inode);

#endif
