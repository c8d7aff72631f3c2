/* SPDX-License-Identifier: Apache-2.0
 * Who has something already. Invariant: as os/holder.h says. */
#include "os/holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
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

/* ---- who waits in open(2), and has no descriptor yet */

/* The text at `at` in another process; false: it cannot be read. */
static bool read_text(pid_t pid, unsigned long at, char *text, size_t size)
{
    unsigned long page = 4096, first = page - at % page; /* what lies behind may not be there */
    struct iovec ours = {text, size};
    struct iovec theirs[2] = {{(void *)(uintptr_t)at, first < size ? first : size},
                              {(void *)(uintptr_t)(at + first), first < size ? size - first : 0}};
    ssize_t n = process_vm_readv(pid, &ours, 1, theirs, 2, 0);
    return n > 0 && memchr(text, '\0', (size_t)n) != NULL;
}

typedef struct opening {
    int folder;         /* the path begins there: openat(2) */
    unsigned long path; /* in the other process */
    int flags;
} opening;

/* Whether that thread is in a call that opens something: "257 0xffffff9c 0x7ffe… 0x0 …". */
static bool is_opening(const char *pid, const char *thread, opening *found)
{
    char name[300], line[256];
    unsigned long args[3];
    long number;
    size_t n;
    FILE *file;
    (void)snprintf(name, sizeof name, "/proc/%.20s/task/%.20s/syscall", pid, thread);
    file = fopen(name, "re");
    n = file != NULL ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file != NULL) {
        (void)fclose(file);
    }
    line[n] = '\0';
    if (sscanf(line, "%ld %lx %lx %lx", &number, &args[0], &args[1], &args[2]) != 4) {
        return false;
    }
    *found = (opening){.folder = (int)args[0], .path = args[1], .flags = (int)args[2]};
#ifdef SYS_open
    if (number == SYS_open) {
        *found = (opening){.folder = AT_FDCWD, .path = args[0], .flags = (int)args[1]};
        return true;
    }
#endif
    return number == SYS_openat;
}

static bool opens(const char *pid, const char *thread, const struct stat *pipe, bool reads)
{
    char path[PATH_MAX], whole[PATH_MAX + 64];
    struct stat found;
    opening call;
    if (!is_opening(pid, thread, &call) || (reads && (call.flags & O_ACCMODE) != O_RDONLY) ||
        !read_text((pid_t)strtol(pid, NULL, 10), call.path, path, sizeof path)) {
        return false;
    }
    if (path[0] == '/') {
        (void)snprintf(whole, sizeof whole, "/proc/%.20s/root%s", pid, path);
    } else if (call.folder == AT_FDCWD) {
        (void)snprintf(whole, sizeof whole, "/proc/%.20s/cwd/%s", pid, path);
    } else {
        (void)snprintf(whole, sizeof whole, "/proc/%.20s/fd/%d/%s", pid, call.folder, path);
    }
    return stat(whole, &found) == 0 && found.st_ino == pipe->st_ino && found.st_dev == pipe->st_dev;
}

static int find_opener(const struct stat *pipe, bool reads)
{
    const struct dirent *entry;
    int pid = 0;
    DIR *dir = opendir("/proc");
    while (dir != NULL && pid == 0 && (entry = readdir(dir)) != NULL) {
        char folder[300];
        const struct dirent *thread;
        DIR *threads;
        (void)snprintf(folder, sizeof folder, "/proc/%.20s/task", entry->d_name);
        threads = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? opendir(folder) : NULL;
        while (threads != NULL && pid == 0 && (thread = readdir(threads)) != NULL) {
            if (opens(entry->d_name, thread->d_name, pipe, reads)) {
                pid = (int)strtol(entry->d_name, NULL, 10);
            }
        }
        if (threads != NULL) {
            (void)closedir(threads);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return pid;
}

int ipcx__fifo_reader(const char *path)
{
    struct stat pipe;
    int pid;
    if (lstat(path, &pipe) != 0 || !S_ISFIFO(pipe.st_mode)) {
        return 0;
    }
    pid = find(is_read_end, &pipe);
    return pid != 0 ? pid : find_opener(&pipe, true);
}

int ipcx__fifo_opener(const char *path)
{
    struct stat pipe;
    return lstat(path, &pipe) == 0 && S_ISFIFO(pipe.st_mode) ? find_opener(&pipe, false) : 0;
}
