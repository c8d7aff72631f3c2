/* SPDX-License-Identifier: Apache-2.0
 * Opening what must be a regular file, and naming what went wrong with one. */
#ifndef IPCX_OS_FILE_H
#define IPCX_OS_FILE_H

#include <sys/stat.h>

#include "ipcx/file.h"

/* ipcx__file_failed: the status of errno about `path`: EXHAUSTED for a full disk or quota too. */
ipcx_status ipcx__file_failed(const char *op, const char *path, ipcx_error *err);

/* ipcx__file_check: refuses what is no regular file: SYSTEM with EISDIR or EPERM. */
ipcx_status ipcx__file_check(const struct stat *info, const char *op, const char *path,
                             ipcx_error *err);

/* ipcx__file_open: open(2) of the regular file `path`, never through a symbolic link in its last
 * part, never waiting for a FIFO's other end. `info` may be NULL. */
ipcx_status ipcx__file_open(const char *path, int flags, mode_t mode, int *fd, struct stat *info,
                            ipcx_error *err);

/* ipcx__file_split: the directory's length in `path` (0: the current one) and where the last part
 * begins. INVALID: it has none, or a longer one than a file's name can be. */
ipcx_status ipcx__file_split(const char *path, size_t *dir, const char **name, ipcx_error *err);

/* ipcx__file_directory: an O_PATH descriptor of the directory that `path` is in. */
ipcx_status ipcx__file_directory(const char *path, int *fd, const char **name, ipcx_error *err);

/* ipcx__file_sync_directory: what was created, renamed or removed in it is on the disk. */
ipcx_status ipcx__file_sync_directory(int dir, const char *path, ipcx_error *err);

#endif
