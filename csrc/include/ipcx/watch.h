/* SPDX-License-Identifier: Apache-2.0
 * What happens to a file, or in a directory: a stream of changes (inotify(7)).
 * A file is watched by its name, so that one which is replaced by rename(2), as editors and
 * ipcx/file.h do, stays watched, and one which is not there yet may be.
 * Invariant: if changes were lost because nobody took them, that is the next change told. */
#ifndef IPCX_WATCH_H
#define IPCX_WATCH_H

#include <stdint.h>
#include <sys/types.h>

#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ipcx_change_kind {
    IPCX_CHANGE_CREATED = 1, /* a new name */
    IPCX_CHANGE_MODIFIED,    /* written to, or cut */
    IPCX_CHANGE_WRITTEN,     /* closed by somebody who could write to it */
    IPCX_CHANGE_ATTRIBUTES,  /* mode, owner, times, number of links */
    IPCX_CHANGE_DELETED,     /* its name is gone */
    IPCX_CHANGE_MOVED_FROM,  /* renamed: this was the old name … */
    IPCX_CHANGE_MOVED_TO,    /* … and this is the new one; same cookie. A replaced file: this */
    IPCX_CHANGE_GONE,        /* the watched directory itself: nothing follows */
    IPCX_CHANGE_LOST         /* the queue was full: look for yourself */
} ipcx_change_kind;

/* One change. */
typedef struct ipcx_change {
    ipcx_change_kind kind;
    uint32_t cookie;  /* MOVED_*: ties the two together */
    int is_directory; /* it is about a directory */
    const char *name; /* in the directory; "" with GONE and LOST. Lent until the next call. */
} ipcx_change;

/* A watch. {0} is a closed one; the fields are its own. For one reader at a time. */
typedef struct ipcx_watch {
    int fd;
    int open;
    int gone;
    uint32_t made_in; /* fork generation */
    pid_t owner;
    ipcx_gate gate;
    char name[256]; /* the one name wanted, "" for all */
    uint32_t next, end;
    char events[4096] __attribute__((aligned(8)));
} ipcx_watch;

/* ipcx_watch_open: watches the directory `path`, or the file of that name, there or not; its
 * directory must be there. EXHAUSTED: fs.inotify.max_user_instances or max_user_watches. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_watch_open(ipcx_watch *watch, const char *path,
                                                    ipcx_error *err);

/* ipcx_watch_next: the next change. Answers: AGAIN, TIMEOUT, INTR; EOF: after GONE. CLOSED, FORKED.
 */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_watch_next(ipcx_watch *watch, ipcx_deadline deadline,
                                                    ipcx_change *change, ipcx_error *err);

/* ipcx_watch_poll: waits until there may be a next change, and takes none: any number of threads.
 */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_watch_poll(ipcx_watch *watch, ipcx_deadline deadline,
                                                    ipcx_error *err);

/* ipcx_watch_close: idempotent; who waits returns CLOSED. */
IPCX_API void ipcx_watch_close(ipcx_watch *watch);

#ifdef __cplusplus
}
#endif

#endif
