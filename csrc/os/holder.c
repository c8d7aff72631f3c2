/* SPDX-License-Identifier: Apache-2.0
 * Who has something already. Invariant: as os/holder.h says. */
#include "os/holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As the tables have it. A UDP socket that has no peer is in TCP_CLOSE. */
#define CONNECTED 0x01
#define NO_PEER 0x07
#define LISTENS 0x0a

/* The inode of a socket in `table` that is at `port` in this state; 0: none. */
static uint64_t inode_in(const char *table, int port, unsigned wanted)
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
            local == (unsigned)port && state == wanted) {
            inode = found;
        }
    }
    (void)fclose(file);
    return inode;
}

/* Whether the link of that name in /proc/PID/fd leads to what is wanted. */
typedef bool leads_to(int folder, const char *name, const void *wanted);

static bool has_open(const char *pid, leads_to *leads, const void *wanted)
{
    char folder[300];
    const struct dirent *entry;
    bool found = false;
    DIR *dir;
    (void)snprintf(folder, sizeof folder, "/proc/%s/fd", pid);
    dir = opendir(folder);
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
        found = leads(dirfd(dir), entry->d_name, wanted);
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return found;
}

static int find(leads_to *leads, const void *wanted)
{
    const struct dirent *entry;
    int pid = 0;
    DIR *dir = opendir("/proc");
    while (dir != NULL && pid == 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            has_open(entry->d_name, leads, wanted)) {
            pid = (int)strtol(entry->d_name, NULL, 10);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return pid;
}

static bool is_socket(int folder, const char *name, const void *wanted)
{
    char target[64];
    ssize_t n = readlinkat(folder, name, target, sizeof target - 1);
    if (n <= 0) {
        return false;
    }
    target[n] = '\0';
    return strcmp(target, wanted) == 0;
}

static int socket_holder(const char *table, const char *table6, int port, unsigned state)
{
    char wanted[64];
    uint64_t inode = inode_in(table, port, state);
    if (inode == 0) {
        inode = inode_in(table6, port, state);
    }
    (void)snprintf(wanted, sizeof wanted, "socket:[%" PRIu64 "]", inode);
    return inode != 0 ? find(is_socket, wanted) : 0;
}

int ipcx__tcp_holder(int port)
{
    return socket_holder("/proc/self/net/tcp", "/proc/self/net/tcp6", port, LISTENS);
}

int ipcx__udp_holder(int port, bool *listens)
{
    int pid = socket_holder("/proc/self/net/udp", "/proc/self/net/udp6", port, NO_PEER);
    *listens = pid > 0;
    return pid > 0 ? pid
                   : socket_holder("/proc/self/net/udp", "/proc/self/net/udp6", port, CONNECTED);
}

/* The link's own mode says how the descriptor was opened. */
static bool is_read_end(int folder, const char *name, const void *wanted)
{
    const struct stat *pipe = wanted;
    struct stat link, found;
    return fstatat(folder, name, &link, AT_SYMLINK_NOFOLLOW) == 0 && (link.st_mode & S_IRUSR) &&
           fstatat(folder, name, &found, 0) == 0 && found.st_ino == pipe->st_ino &&
           found.st_dev == pipe->st_dev;
}

int ipcx__fifo_reader(const char *path)
{
    struct stat pipe;
    return lstat(path, &pipe) == 0 && S_ISFIFO(pipe.st_mode) ? find(is_read_end, &pipe) : 0;
}
