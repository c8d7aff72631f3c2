/* SPDX-License-Identifier: Apache-2.0
 * Notes of named pipes. Invariant: as link/fifo/note.h says. */
#include "link/fifo/note.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link/address/path.h"

static bool name_of(char *name, size_t cap, dev_t device, ino_t inode)
{
    size_t len;
    if (ipcx__runtime_folder(name, cap, NULL) != IPCX_OK) {
        return false;
    }
    len = strlen(name);
    return (size_t)snprintf(name + len, cap - len, "/%jx-%jx.fifo", (uintmax_t)device,
                            (uintmax_t)inode) < cap - len;
}

void ipcx__fifo_note(const char *path, dev_t device, ino_t inode)
{
    char name[300];
    if (name_of(name, sizeof name, device, inode)) {
        (void)unlink(name); /* of one that was killed, perhaps under another path */
        (void)!symlink(path, name);
    }
}

void ipcx__fifo_unnote(dev_t device, ino_t inode)
{
    char name[300];
    if (name_of(name, sizeof name, device, inode)) {
        (void)unlink(name);
    }
}
