/* SPDX-License-Identifier: Apache-2.0
 * A log of messages in a file: appended by many processes, followed by many, each at its own pace.
 *
 *     events.log      [head][message][message][message]…      the newest segment
 *     events.log.0…0  [head][message]…[message][end]          older ones, named by their position
 *     events.log.lock                                         what the writers share
 *
 * Each message is a frame of ipcx/frame.h with a checksum. A position counts bytes from the
 * log's beginning, over all segments, for ever: it can be kept and gone on with later.
 *
 * A writer that is killed leaves at most the beginning of one message behind. The next one finds
 * that the lock's owner died, keeps what is whole and cuts the rest off; no reader sees any of it.
 * What append returned for is there whoever dies then; `durable`: whatever the machine does.
 * Invariant: bytes that are no torn end are never cut: a file that is no log, or one damaged in its
 * middle, is refused and untouched. */
#ifndef IPCX_LOG_H
#define IPCX_LOG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipcx/api.h"
#include "ipcx/chan.h"
#include "ipcx/clock.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- writing */

/* A writer; any number of threads may use it. */
typedef struct ipcx_log ipcx_log;

/* How a log is written; {0} is all defaults. */
typedef struct ipcx_log_options {
    int durable;           /* append returns when the disk has it (fdatasync) */
    int cut_damage;        /* damage is cut off with all behind it, instead of refused */
    size_t max_message;    /* bytes; 0: 64 MiB */
    uint64_t segment_size; /* a new segment is begun rather than exceed so many bytes; 0: never */
    unsigned keep;         /* so many older segments; 0: all */
    mode_t mode;           /* of new files, less the umask; 0: 0666 */
} ipcx_log_options;

/* ipcx_log_open: opens the log at `path`, made if there is nothing or an empty file. PROTOCOL: a
 * file that is no log. VERSION: a later version's. CORRUPT: damaged; the text says at which
 * position. Waits for the lock: AGAIN, TIMEOUT, INTR. `options` may be NULL. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_log_open(const char *path, const ipcx_log_options *options,
                                                  ipcx_deadline deadline, ipcx_log **log,
                                                  ipcx_error *err);

/* ipcx_log_append: appends `count` messages, next to each other, with one write(2) where they are
 * small; *position, which may be NULL, is where they begin. On failure none is there (after a
 * failed sync: perhaps). Waits for other writers only: AGAIN, TIMEOUT, INTR (nothing was written).
 * TOO_LARGE, EXHAUSTED (disk full), INVALID (a text that is no UTF-8). CORRUPT: some other program
 * has cut the open file (the text says which positions are lost); the next call goes on at its new
 * end. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_log_append(ipcx_log *log, const ipcx_message *messages,
                                                    size_t count, ipcx_deadline deadline,
                                                    uint64_t *position, ipcx_error *err);

/* ipcx_log_sync: all that was appended by now, by whomever, is on the disk. CORRUPT: as append. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_log_sync(ipcx_log *log, ipcx_error *err);

/* Where a log stands. */
typedef struct ipcx_log_stats {
    uint64_t start; /* position of the oldest byte that is still there */
    uint64_t end;   /* … and behind the newest */
    uint64_t cut;   /* bytes of torn messages that this writer has cut off */
} ipcx_log_stats;

/* ipcx_log_get_stats: where it stands now. Reads the directory. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_log_get_stats(ipcx_log *log, ipcx_log_stats *stats,
                                                       ipcx_error *err);

/* ipcx_log_close: waits until no thread is in it and closes it; idempotent. */
IPCX_API void ipcx_log_close(ipcx_log *log);

/* ipcx_log_free: the same, and gives the memory back; NULL is allowed. */
IPCX_API void ipcx_log_free(ipcx_log *log);

/* ---- reading */

/* A reader; for one thread at a time. */
typedef struct ipcx_log_reader ipcx_log_reader;

/* The position of the oldest message that is still there, whatever it is. */
#define IPCX_LOG_START ((uint64_t)0)
/* The position behind the newest message: what is appended from now on. */
#define IPCX_LOG_END ((uint64_t)UINT64_MAX)

/* ipcx_log_follow: reads the log at `path` from `position` on, which is one of these two or one
 * that append or next gave. Needs to read the files, no more. SYSTEM: ENOENT. PROTOCOL, VERSION: as
 * open. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_log_follow(const char *path, uint64_t position,
                                                    size_t max_message, ipcx_log_reader **reader,
                                                    ipcx_error *err);

/* ipcx_log_next: the next message, lent until the next call, and in *position (may be NULL) where
 * it begins. Answers: AGAIN (it would have to wait for one) · TIMEOUT · INTR · EOF (the log was
 * removed). Failures: CLOSED, CORRUPT, PROTOCOL (at this position no message begins). Segments that
 * were removed before they were read are skipped, and counted by ipcx_log_reader_lost. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_log_next(ipcx_log_reader *reader, ipcx_deadline deadline,
                                                  ipcx_message *message, uint64_t *position,
                                                  ipcx_error *err);

/* ipcx_log_wait: waits until it is worth while to call next with IPCX_NOW; any thread. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_log_wait(ipcx_log_reader *reader, ipcx_deadline deadline,
                                                  ipcx_error *err);

/* ipcx_log_reader_position: where the next message begins, or will; keep it to go on from here.
 */
IPCX_API uint64_t ipcx_log_reader_position(const ipcx_log_reader *reader);

/* ipcx_log_reader_lost: bytes skipped because their segments were removed. */
IPCX_API uint64_t ipcx_log_reader_lost(const ipcx_log_reader *reader);

/* ipcx_log_reader_fileno: a descriptor, readable when it is worth while to call next. Ask for it
 * first; then call next with IPCX_NOW until it says AGAIN; then poll. It stays the reader's. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_log_reader_fileno(ipcx_log_reader *reader, int *fd,
                                                           ipcx_error *err);

/* ipcx_log_reader_close: idempotent; who waits returns CLOSED. */
IPCX_API void ipcx_log_reader_close(ipcx_log_reader *reader);

/* ipcx_log_reader_free: the same, and gives the memory back; NULL is allowed. */
IPCX_API void ipcx_log_reader_free(ipcx_log_reader *reader);

#ifdef __cplusplus
}
#endif

#endif
