/* SPDX-License-Identifier: Apache-2.0
 * Mapped files: a file as memory, opened, made and grown in one call.
 * A page that the file no longer has (somebody truncated it) does not end the process: it reads as
 * zeros, and ipcx_mapfile_check says so. Invariant: a map's fields are its own to change; `data` to
 * `data + size` is mapped until ipcx_mapfile_close. */
#ifndef IPCX_MAPFILE_H
#define IPCX_MAPFILE_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ipcx__guard;

/* How a file is mapped; to be or-ed. None: read-only. */
typedef enum ipcx_mapfile_flags {
    IPCX_MAPFILE_READ = 0,
    IPCX_MAPFILE_WRITE = 1,     /* what is written reaches the file and whoever maps it */
    IPCX_MAPFILE_PRIVATE = 2,   /* what is written stays here: copy-on-write */
    IPCX_MAPFILE_CREATE = 4,    /* makes the file where there is none (0666 less the umask) */
    IPCX_MAPFILE_EXCLUSIVE = 8, /* with CREATE: it must not exist yet */
} ipcx_mapfile_flags;

/* How much of a file two processes may use at the same time. */
typedef enum ipcx_mapfile_lock_kind {
    IPCX_MAPFILE_UNLOCK = 0,
    IPCX_MAPFILE_SHARED = 1,      /* beside others that are shared */
    IPCX_MAPFILE_EXCLUSIVELY = 2, /* alone */
} ipcx_mapfile_lock_kind;

/* One mapped file. {0} is none. */
typedef struct ipcx_mapfile {
    unsigned char *data;
    size_t size;
    int fd; /* the map's own; -1: none, then lost pages cannot be brought back */
    unsigned flags;
    int64_t offset; /* of `data` in the file */
    struct ipcx__guard *guard;
} ipcx_mapfile;

/* ipcx_mapfile_file: opens the file at `path`, making and growing it as `flags` say, so that `size`
 * bytes from `offset` can be mapped; 0 is all there are. `*fd` is the caller's, `*length` what to
 * map. What it grows by has its place on the disk at once: a full one is an error here, not later.
 * A file that was made or grown in vain is as it was before. Statuses: OK; SYSTEM (ENOENT, EACCES,
 * EEXIST, EISDIR; ENODEV: a pipe or a socket, which has no bytes to map); EXHAUSTED (ENOSPC,
 * EMFILE); INVALID (an empty file, an offset or size beyond it, an offset that begins no page). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mapfile_file(const char *path, int64_t offset, size_t size,
                                                      unsigned flags, int *fd, size_t *length,
                                                      ipcx_error *err);

/* ipcx_mapfile_open: as ipcx_mapfile_file, and maps it: `*out` is an open map. Also NOMEM. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mapfile_open(const char *path, int64_t offset, size_t size,
                                                      unsigned flags, ipcx_mapfile *out,
                                                      ipcx_error *err);

/* ipcx_mapfile_close: unmaps it, closes its descriptor; back to {0}. Nobody may be using it. */
IPCX_API void ipcx_mapfile_close(ipcx_mapfile *map);

/* ipcx_mapfile_watch: guards a mapping that somebody else has made and unmaps: the caller has
 * filled in all fields but `guard`. ipcx_mapfile_unwatch ends that, before it is unmapped.
 * Statuses: OK, NOMEM. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mapfile_watch(ipcx_mapfile *map, ipcx_error *err);

/* ipcx_mapfile_unwatch: see ipcx_mapfile_watch. */
IPCX_API void ipcx_mapfile_unwatch(ipcx_mapfile *map);

/* ipcx_mapfile_check: whether a page was lost under the map's users since the last check: OK or
 * SYSTEM with EFAULT. Then what was read there were zeros, and what was written there is gone. A
 * shared map with a descriptor shows the file again afterwards, as far as it goes; another one
 * answers EFAULT from now on. Call it after each use of the memory that must not go wrong
 * unnoticed: it costs one load. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mapfile_check(ipcx_mapfile *map, ipcx_error *err);

/* ipcx_mapfile_flush: has the `n` bytes from `at` (a page's first byte) written to the disk;
 * returns when they are. Statuses: OK, INVALID (outside the map), SYSTEM. May block. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mapfile_flush(ipcx_mapfile *map, size_t at, size_t n,
                                                       ipcx_error *err);

/* ipcx_mapfile_resident: pages[i] is 1 where page i of the `size` bytes at `data` is in memory,
 * else 0, as mincore(2) tells. Statuses: OK, SYSTEM (ENOMEM: not mapped), INVALID (`data` begins no
 * page). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mapfile_resident(const void *data, size_t size,
                                                          unsigned char *pages, ipcx_error *err);

/* ipcx_mapfile_lock: locks, or unlocks, `n` bytes from `at` of the file (0: to its end, wherever
 * that will be). The lock is the open file's: it holds against every other open of that file, in
 * this process too, and goes with its last descriptor, so with a killed process. Advice among those
 * who ask: memory can be used without. Statuses: OK; AGAIN (IPCX_NOW) and TIMEOUT: somebody has it;
 * INTR (a signal came, or a tenth of a second has gone by: look at signals, and call again); SYSTEM
 * (EBADF: the descriptor is not open in that direction). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_mapfile_lock(int fd, int64_t at, int64_t n,
                                                      ipcx_mapfile_lock_kind kind,
                                                      ipcx_deadline deadline, ipcx_error *err);

/* ipcx_mapfile_guard: switches the guard against lost pages off (0) or on for the whole process;
 * returns what it was. Off, whoever touches a lost page dies by SIGBUS, as everywhere else. */
IPCX_API int ipcx_mapfile_guard(int on);

#ifdef __cplusplus
}
#endif

#endif
