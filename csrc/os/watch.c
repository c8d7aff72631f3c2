/* SPDX-License-Identifier: Apache-2.0
 * Changes of files: inotify(7) behind a gate.
 * Invariant: each event that was read is told, or was not asked for. */
#include "ipcx/watch.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/fd.h"
#include "os/file.h"
#include "os/gate.h"

#define WANTED                                                                                     \
    (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM |              \
     IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

static ipcx_status failed(const char *path, ipcx_error *err)
{
    if (errno == EMFILE || errno == ENOSPC || errno == ENFILE) {
        return ipcx_error_set(err, IPCX_EXHAUSTED, errno, "watch",
                              "%.60s: see sysctl fs.inotify.max_user_%s", path,
                              errno == ENOSPC ? "watches" : "instances, ulimit -n");
    }
    return ipcx_error_system(err, errno, "watch", "%s", path);
}

ipcx_status ipcx_watch_open(ipcx_watch *watch, const char *path, ipcx_error *err)
{
    char folder[PATH_MAX];
    const char *name = "";
    size_t length = strlen(path);
    struct stat info;
    int fd, added;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        ipcx_status status = ipcx__file_split(path, &length, &name, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    if (length >= sizeof folder - 1) {
        errno = ENAMETOOLONG;
        return failed(path, err);
    }
    (void)snprintf(folder, sizeof folder, "%.*s", length == 0 ? 1 : (int)length,
                   length == 0 ? "." : path);
    fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0) {
        return failed(path, err);
    }
    added = inotify_add_watch(fd, folder, WANTED);
    if (added < 0) {
        int saved = errno;
        (void)ipcx_fd_close(fd, NULL);
        errno = saved;
        return failed(folder, err);
    }
    *watch =
        (ipcx_watch){.fd = fd, .open = 1, .made_in = ipcx__fork_generation(), .owner = getpid()};
    (void)snprintf(watch->name, sizeof watch->name, "%s", name);
    return IPCX_OK;
}

static ipcx_change_kind kind_of(uint32_t mask)
{
    static const struct {
        uint32_t bit;
        ipcx_change_kind kind;
    } kinds[] = {
        {IN_Q_OVERFLOW, IPCX_CHANGE_LOST},       {IN_CREATE, IPCX_CHANGE_CREATED},
        {IN_MODIFY, IPCX_CHANGE_MODIFIED},       {IN_CLOSE_WRITE, IPCX_CHANGE_WRITTEN},
        {IN_ATTRIB, IPCX_CHANGE_ATTRIBUTES},     {IN_DELETE, IPCX_CHANGE_DELETED},
        {IN_MOVED_FROM, IPCX_CHANGE_MOVED_FROM}, {IN_MOVED_TO, IPCX_CHANGE_MOVED_TO},
        {IN_DELETE_SELF, IPCX_CHANGE_GONE},      {IN_MOVE_SELF, IPCX_CHANGE_GONE},
        {IN_UNMOUNT, IPCX_CHANGE_GONE},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (mask & kinds[i].bit) {
            return kinds[i].kind;
        }
    }
    return 0; /* IN_IGNORED: the end of a watch, which was told before */
}

/* The next event among those read already. */
static bool take(ipcx_watch *watch, ipcx_change *change)
{
    while (watch->next < watch->end) {
        const struct inotify_event *event = (const void *)(watch->events + watch->next);
        ipcx_change_kind kind = kind_of(event->mask);
        const char *name = event->len > 0 ? event->name : "";
        watch->next += (uint32_t)sizeof *event + event->len;
        /* Of the directory itself, what is not its end does not matter. */
        if (kind == 0 || (name[0] == '\0' && kind < IPCX_CHANGE_GONE) ||
            (watch->name[0] != '\0' && name[0] != '\0' && strcmp(name, watch->name) != 0)) {
            continue;
        }
        watch->gone = watch->gone || kind == IPCX_CHANGE_GONE;
        *change = (ipcx_change){.kind = kind,
                                .cookie = event->cookie,
                                .is_directory = (event->mask & IN_ISDIR) != 0,
                                .name = name};
        return true;
    }
    return false;
}

/* One event, so that the descriptor stays readable while there are more. The kernel refuses room
 * that is too small for it with EINVAL; names are padded to multiples of the event's own size. */
static ssize_t read_one(ipcx_watch *watch)
{
    ssize_t n;
    size_t size = 0;
    do {
        size += sizeof(struct inotify_event);
        n = read(watch->fd, watch->events, size);
    } while (n < 0 && errno == EINVAL &&
             size + sizeof(struct inotify_event) <= sizeof watch->events);
    return n;
}

static ipcx_status next_inside(ipcx_watch *watch, ipcx_deadline deadline, ipcx_change *change,
                               ipcx_error *err)
{
    for (;;) {
        ipcx_status status;
        ssize_t n;
        if (watch->gone) {
            return IPCX_EOF;
        }
        if (take(watch, change)) {
            return IPCX_OK;
        }
        n = read_one(watch);
        if (n > 0) {
            watch->next = 0;
            watch->end = (uint32_t)n;
            continue;
        }
        if (errno != EAGAIN) {
            return failed(watch->name, err);
        }
        if (deadline == IPCX_NOW) {
            return IPCX_AGAIN;
        }
        status = ipcx__gate_poll(&watch->gate, watch->fd, POLLIN, deadline, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
}

static ipcx_status enter(ipcx_watch *watch, ipcx_error *err)
{
    if (watch->made_in != 0 && watch->made_in != ipcx__fork_generation()) {
        return ipcx_error_set(err, IPCX_FORKED, 0, "watch",
                              "process %d watches: what this one took would be missing there",
                              (int)watch->owner);
    }
    if (watch->made_in == 0 || !ipcx__gate_enter(&watch->gate)) {
        return ipcx_error_set(err, IPCX_CLOSED, EBADF, "watch", "the watch");
    }
    return IPCX_OK;
}

ipcx_status ipcx_watch_next(ipcx_watch *watch, ipcx_deadline deadline, ipcx_change *change,
                            ipcx_error *err)
{
    ipcx_status status = enter(watch, err);
    if (status == IPCX_OK) {
        status = next_inside(watch, deadline, change, err);
        ipcx__gate_leave(&watch->gate);
    }
    return status;
}

ipcx_status ipcx_watch_poll(ipcx_watch *watch, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = enter(watch, err);
    if (status == IPCX_OK) {
        if (!watch->gone && watch->next == watch->end) {
            status = ipcx__gate_poll(&watch->gate, watch->fd, POLLIN, deadline, err);
        }
        ipcx__gate_leave(&watch->gate);
    }
    return status;
}

void ipcx_watch_close(ipcx_watch *watch)
{
    if (__atomic_exchange_n(&watch->open, 0, __ATOMIC_SEQ_CST)) {
        ipcx__gate_close(&watch->gate);
        (void)ipcx_fd_close(watch->fd, NULL);
    }
}
