/* SPDX-License-Identifier: Apache-2.0
 * Shared files without their traps: replaced whole or not at all, locked for a time, watched.
 *
 *     a plain write                        a replacement
 *     open, truncate ── killed here: gone  write beside it ── killed here: the old one is there
 *     write ─────────── killed here: half  fsync, rename ──── from here on: the new one is
 *
 * Every path given here names a regular file, or a file that is not there yet. A symbolic link, a
 * FIFO, a device or a socket in its place is refused (SYSTEM, EPERM) and not touched: whoever can
 * put one there could otherwise choose what is written or read. A directory: SYSTEM, EISDIR. A full
 * disk or quota: EXHAUSTED.
 * Invariant: every descriptor is close-on-exec. */
#ifndef IPCX_FILE_H
#define IPCX_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipcx/api.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"
#include "ipcx/gate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- replaced */

/* A new content under way. {0} is none. Read `fd`, to write to; the rest is its own. */
typedef struct ipcx_replacement {
    int fd;
    int dir;
    int open;
    int named;      /* the new file has a name already: the file system knows no other way */
    char name[256]; /* in `dir` */
    char temporary[256];
} ipcx_replacement;

/* ipcx_file_replace_begin: `replacement->fd` is an empty file without a name, in the directory of
 * `path`, that has the mode and owner of the file there; `mode` (less the umask) if there is none.
 * SYSTEM: EPERM when that file's owner cannot be kept. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_file_replace_begin(ipcx_replacement *replacement,
                                                            const char *path, mode_t mode,
                                                            ipcx_error *err);

/* ipcx_file_replace_commit: what was written is the content of `path` from now on, for every
 * process, at once; who has the old file open keeps that. With `durable` it is on the disk when
 * this returns (fsync of file and directory). On failure the old file is there as before, and the
 * new content gone. INTR: nothing has happened yet: call again, or abort. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_file_replace_commit(ipcx_replacement *replacement,
                                                             int durable, ipcx_error *err);

/* ipcx_file_replace_abort: forgets it; harmless after commit. Keeps errno. */
IPCX_API void ipcx_file_replace_abort(ipcx_replacement *replacement);

/* ipcx_file_write: all `size` bytes to `fd`, where its offset is, whatever write(2) takes at a time
 * and whatever signals come. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_file_write(int fd, const void *data, size_t size,
                                                    ipcx_error *err);

/* ---- locked */

/* ipcx_file_lock: `*fd` is the file at `path`, made if there is none, locked for this holder alone
 * or, `shared`, for all who want it shared. The lock belongs to the descriptor (an OFD lock): it
 * holds between threads as between processes, and ends with ipcx_file_unlock, or when the
 * descriptor and its copies are closed, be it by the kernel after kill -9. A child of fork(2) has a
 * copy: close it there, so that it does not outlive its holder. If the file is
 * replaced or removed meanwhile, the one that is there now is locked. Waits inside `gate`, which
 * may be NULL. Answers: AGAIN, TIMEOUT, INTR (a signal came, or a tenth of a second has gone by:
 * look at signals, and call again). CLOSED: the gate was closed. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_file_lock(const char *path, int shared, ipcx_gate *gate,
                                                   ipcx_deadline deadline, int *fd,
                                                   ipcx_error *err);

/* ipcx_file_unlock: ends the lock, also for copies of the descriptor in children, and closes it. */
IPCX_API void ipcx_file_unlock(int fd);

#ifdef __cplusplus
}
#endif

#endif
