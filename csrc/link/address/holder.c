/* SPDX-License-Identifier: Apache-2.0
 * Who listens at a TCP port of this host already, as far as /proc tells us: proc(5).
 * Invariant: only words for people come of it; nothing is decided by what it finds. */
#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "link/address/dial.h"

#define LISTENS 0x0a /* TCP_LISTEN, as the table has it */

/* The inode of a socket in `table` that listens at `port`; 0: none. */
static uint64_t listening_inode(const char *table, int port)
{
    char line[256];
    uint64_t inode = 0;
    FILE *file = fopen(table, "re");
    if (file == NULL) {
        return 0;
    }
    while (inode == 0 && fgets(line, sizeof line, file) != NULL) {
        unsigned local, state;
        uint64_t found;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %" SCNu64,
                   &local, &state, &found) == 3 &&
            local == (unsigned)port && state == LISTENS) {
            inode = found;
        }
    }
    (void)fclose(file);
    return inode;
}

static bool has_open(const char *pid, const char *wanted)
{
    char folder[300], name[600], target[64];
    const struct dirent *entry;
    bool found = false;
    DIR *dir;
    (void)snprintf(folder, sizeof folder, "/proc/%s/fd", pid);
    dir = opendir(folder);
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
        ssize_t n;
        (void)snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        n = readlink(name, target, sizeof target - 1);
        if (n > 0) {
            target[n] = '\0';
            found = strcmp(target, wanted) == 0;
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return found;
}

int ipcx__tcp_holder(int port)
{
    char wanted[64];
    const struct dirent *entry;
    int pid = 0;
    uint64_t inode = listening_inode("/proc/self/net/tcp", port);
    DIR *dir;
    if (inode == 0) {
        inode = listening_inode("/proc/self/net/tcp6", port);
    }
    dir = inode != 0 ? opendir("/proc") : NULL;
    (void)snprintf(wanted, sizeof wanted, "socket:[%" PRIu64 "]", inode);
    while (dir != NULL && pid == 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && has_open(entry->d_name, wanted)) {
            pid = (int)strtol(entry->d_name, NULL, 10);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return pid;
}
