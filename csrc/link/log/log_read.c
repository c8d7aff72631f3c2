/* SPDX-License-Identifier: Apache-2.0
 * Readers of a log: each with a position of its own, from segment to segment, awake when something
 * is appended (inotify(7)).
 * Invariant: a message is handed out when all of it is there and its checksum is right; what is not
 * so at the end is not there yet. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process.h"
#include "ipcx/alloc.h"
#include "ipcx/fd.h"
#include "link/log/chan_log.h"
#include "link/log/log.h"
#include "os/file.h"
#include "os/gate.h"

/* Bytes may be of two times, from before and after a torn end was cut off: they are read anew
 * before they are judged. */
#define TRIES 3

struct ipcx_log_reader {
    char path[PATH_MAX];
    ipcx_gate gate;
    int fd;           /* the segment being read */
    int notify;       /* inotify; made when it is needed, for to close it takes milliseconds */
    int watch;        /* of the segment */
    int folder_watch; /* of the directory, while the next segment is not there yet; else -1 */
    uint32_t made_in; /* fork generation that `notify` belongs to */
    uint64_t base;    /* of the segment */
    uint64_t at;      /* offset of the next frame */
    uint64_t read_at; /* offset of what is read next */
    uint64_t lost;
    ipcx_decoder decoder;
    int closed;
};

/* ---- notification */

static ipcx_status notify_failed(const ipcx_log_reader *reader, ipcx_error *err)
{
    if (errno == EMFILE || errno == ENOSPC || errno == ENFILE) {
        return ipcx_error_set(err, IPCX_EXHAUSTED, errno, "follow",
                              "inotify: see sysctl fs.inotify.max_user_instances");
    }
    return ipcx_error_system(err, errno, "follow", "%s", reader->path);
}

/* A child of fork(2) would share its parent's queue, and take what is his. */
static bool is_notified(const ipcx_log_reader *reader)
{
    return reader->notify >= 0 && reader->made_in == ipcx__fork_generation();
}

/* Watches the file that is open, whatever its name is by now. */
static ipcx_status watch_segment(ipcx_log_reader *reader, ipcx_error *err)
{
    char self[40];
    int watch;
    if (!is_notified(reader)) {
        return IPCX_OK;
    }
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", reader->fd);
    watch = inotify_add_watch(reader->notify, self, IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF);
    if (watch < 0) {
        return notify_failed(reader, err);
    }
    if (reader->watch >= 0 && reader->watch != watch) {
        (void)inotify_rm_watch(reader->notify, reader->watch);
    }
    reader->watch = watch;
    if (reader->folder_watch >= 0) {
        (void)inotify_rm_watch(reader->notify, reader->folder_watch);
        reader->folder_watch = -1;
    }
    return IPCX_OK;
}

static ipcx_status watch_folder(ipcx_log_reader *reader, ipcx_error *err)
{
    char folder[PATH_MAX];
    size_t length;
    const char *name;
    ipcx_status status = ipcx__file_split(reader->path, &length, &name, err);
    if (status != IPCX_OK || reader->folder_watch >= 0 || !is_notified(reader)) {
        return status;
    }
    (void)snprintf(folder, sizeof folder, "%.*s", length == 0 ? 1 : (int)length,
                   length == 0 ? "." : reader->path);
    reader->folder_watch =
        inotify_add_watch(reader->notify, folder, IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_ONLYDIR);
    return reader->folder_watch >= 0 ? IPCX_OK : notify_failed(reader, err);
}

static ipcx_status notify(ipcx_log_reader *reader, ipcx_error *err)
{
    int fresh;
    if (is_notified(reader)) {
        return IPCX_OK;
    }
    fresh = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fresh < 0) {
        return notify_failed(reader, err);
    }
    if (reader->notify >= 0) {
        (void)ipcx_fd_close(reader->notify, NULL);
    }
    reader->notify = fresh;
    reader->watch = reader->folder_watch = -1;
    reader->made_in = ipcx__fork_generation();
    return watch_segment(reader, err);
}

static void drain(const ipcx_log_reader *reader)
{
    char events[4096];
    while (read(reader->notify, events, sizeof events) > 0) {
    }
}

/* ---- from segment to segment */

static void read_from(ipcx_log_reader *reader, uint64_t at)
{
    ipcx_decoder_reset(&reader->decoder);
    reader->at = reader->read_at = at;
}

/* Goes on in the file `fd`, which becomes the reader's. */
static ipcx_status move_to(ipcx_log_reader *reader, int fd, uint64_t base, uint64_t at,
                           ipcx_error *err)
{
    int old = reader->fd;
    ipcx_status status;
    reader->fd = fd;
    reader->base = base;
    read_from(reader, at);
    status = watch_segment(reader, err);
    if (old >= 0) {
        (void)ipcx_fd_close(old, NULL);
    }
    return status;
}

/* The BYE of a segment was read: the next one. MORE: it is not there yet. */
static ipcx_status next_segment(ipcx_log_reader *reader, ipcx_error *err)
{
    uint64_t position = reader->base + reader->at, base;
    int fd;
    ipcx_status status = ipcx__segment_find(reader->path, position, &fd, &base, err);
    if (status == IPCX_OK && base < position) {
        (void)ipcx_fd_close(fd, NULL); /* still the old one, not renamed yet */
        status = IPCX_MORE;
    }
    if (status == IPCX_OK) {
        reader->lost += base - position;
        status = move_to(reader, fd, base, IPCX__LOG_HEAD, err);
    }
    return status;
}

/* ---- messages */

/* What stands at the next frame's place is none, or not whole. MORE: it may become one. */
static ipcx_status judge(ipcx_log_reader *reader, ipcx_status wrong, const ipcx_error *why,
                         ipcx_error *err)
{
    uint64_t at = reader->at;
    read_from(reader, at);
    if (wrong == IPCX_NOMEM || wrong == IPCX_SYSTEM || wrong == IPCX_TOO_LARGE) {
        if (err != NULL) {
            *err = *why;
        }
        return wrong;
    }
    if (!ipcx__segment_goes_on(reader->fd, at)) {
        return IPCX_MORE; /* torn: its writer was killed, or is at it just now */
    }
    return ipcx_error_set(err, IPCX_CORRUPT, 0, "follow",
                          "%.60s is damaged at position %llu, with messages behind it",
                          reader->path, (unsigned long long)(reader->base + at));
}

/* At the end of the file. */
static ipcx_status at_end(ipcx_log_reader *reader, ipcx_error *err)
{
    struct stat info;
    read_from(reader, reader->at); /* half a message may be cut off and written anew */
    if (fstat(reader->fd, &info) != 0) {
        return ipcx__file_failed("follow", reader->path, err);
    }
    if ((uint64_t)info.st_size < reader->at) {
        return ipcx_error_set(err, IPCX_CORRUPT, 0, "follow",
                              "%.60s was cut to %lld bytes by somebody else", reader->path,
                              (long long)info.st_size);
    }
    return info.st_nlink == 0 ? IPCX_EOF : IPCX_MORE;
}

static ipcx_status next_frame(ipcx_log_reader *reader, ipcx_frame *frame, ipcx_error *err)
{
    ipcx_error why = {0};
    int tries = 0;
    for (;;) {
        uint8_t *room;
        size_t size;
        ssize_t n;
        ipcx_status status = ipcx_decoder_next(&reader->decoder, frame, &why);
        if (status == IPCX_OK && (frame->flags & IPCX_FRAME_CRC) == 0) {
            status = ipcx_error_set(&why, IPCX_PROTOCOL, 0, "follow", "a frame without checksum");
        }
        if (status == IPCX_MORE) {
            status = ipcx_decoder_reserve(&reader->decoder, &room, &size, &why);
            n = status == IPCX_OK ? pread(reader->fd, room, size, (off_t)reader->read_at) : -1;
            if (status == IPCX_OK) {
                ipcx_decoder_commit(&reader->decoder, n > 0 ? (size_t)n : 0);
            }
            if (n > 0) {
                reader->read_at += (uint64_t)n;
                continue;
            }
            if (n == 0) {
                return at_end(reader, err);
            }
            status = status != IPCX_OK
                         ? status
                         : ipcx_error_system(&why, errno, "follow", "%s", reader->path);
        }
        if (status == IPCX_OK) {
            reader->at += ipcx__frame_size(frame);
            return IPCX_OK;
        }
        if (++tries == TRIES) {
            return judge(reader, status, &why, err);
        }
        read_from(reader, reader->at);
    }
}

/* The next message, without waiting. MORE: there is none. */
static ipcx_status take(ipcx_log_reader *reader, ipcx_message *message, uint64_t *position,
                        ipcx_error *err)
{
    ipcx_frame frame;
    for (;;) {
        uint64_t at = reader->at;
        ipcx_status status = next_frame(reader, &frame, err);
        if (status == IPCX_OK && frame.type == IPCX_FRAME_DATA) {
            *message =
                (ipcx_message){.data = frame.payload,
                               .size = frame.payload_size,
                               .flags = frame.flags & IPCX_FRAME_TEXT ? IPCX_MESSAGE_TEXT : 0};
            if (position != NULL) {
                *position = reader->base + at;
            }
            return IPCX_OK;
        }
        if (status == IPCX_OK && frame.type == IPCX_FRAME_BYE) {
            status = next_segment(reader, err);
            if (status == IPCX_MORE) {
                read_from(reader, at); /* the BYE is read again then */
                status = watch_folder(reader, err);
                status = status == IPCX_OK ? IPCX_MORE : status;
            }
        }
        if (status != IPCX_OK) {
            return status;
        }
    }
}

/* ---- opening */

/* The position behind the last whole message of the newest segment, in `fd`. */
static ipcx_status find_end(const char *path, int fd, uint64_t *at, ipcx_error *err)
{
    bool ended;
    ipcx_status status;
    *at = IPCX__LOG_HEAD;
    status = ipcx__segment_scan(fd, path, at, &ended, err);
    *at -= ended ? IPCX__LOG_BYE : 0; /* to be read: it leads to the next segment */
    return status == IPCX_MORE ? IPCX_OK : status;
}

/* Whether a message may begin at offset `at`, which the caller gave. */
static ipcx_status check_start(const ipcx_log_reader *reader, int fd, uint64_t at, ipcx_error *err)
{
    struct stat info;
    char first[2];
    ssize_t n = pread(fd, first, sizeof first, (off_t)at);
    if (fstat(fd, &info) != 0 || n < 0) {
        return ipcx__file_failed("follow", reader->path, err);
    }
    if (at < IPCX__LOG_HEAD || at > (uint64_t)info.st_size || memcmp(first, "IX", (size_t)n) != 0) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "follow",
                              "%.60s: no message begins at this position", reader->path);
    }
    return IPCX_OK;
}

static ipcx_status open_at(ipcx_log_reader *reader, uint64_t position, ipcx_error *err)
{
    uint64_t base, at = IPCX__LOG_HEAD;
    int fd;
    ipcx_status status = ipcx__segment_find(reader->path, position, &fd, &base, err);
    if (status == IPCX_MORE) {
        struct stat info;
        return stat(reader->path, &info) == 0
                   ? ipcx_error_set(err, IPCX_PROTOCOL, 0, "follow",
                                    "%s is empty: nobody has begun a log there", reader->path)
                   : ipcx__file_failed("follow", reader->path, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (position == IPCX_LOG_END) {
        status = find_end(reader->path, fd, &at, err);
    } else if (base <= position && position != base) {
        at = position - base;
        status = check_start(reader, fd, at, err);
    } else if (position != IPCX_LOG_START) {
        reader->lost = base - position;
    }
    if (status != IPCX_OK) {
        (void)ipcx_fd_close(fd, NULL);
        return status;
    }
    return move_to(reader, fd, base, at, err);
}

ipcx_status ipcx_log_follow(const char *path, uint64_t position, size_t max_message,
                            ipcx_log_reader **out, ipcx_error *err)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX,
                            .max_message = max_message != 0 ? max_message : IPCX__LOG_MAX};
    ipcx_log_reader *reader;
    ipcx_status status;
    if (strlen(path) + 32 > sizeof reader->path) {
        return ipcx_error_set(err, IPCX_SYSTEM, ENAMETOOLONG, "follow", "%.60s…", path);
    }
    reader = ipcx_alloc(sizeof *reader);
    if (reader == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "follow", "%s", path);
    }
    memset(reader, 0, sizeof *reader);
    (void)snprintf(reader->path, sizeof reader->path, "%s", path);
    reader->fd = reader->notify = reader->watch = reader->folder_watch = -1;
    status = ipcx_decoder_init(&reader->decoder, &framing, err);
    if (status == IPCX_OK) {
        status = open_at(reader, position, err);
    }
    if (status != IPCX_OK) {
        ipcx_log_reader_free(reader);
        return status;
    }
    *out = reader;
    return IPCX_OK;
}

/* ---- the verbs */

static ipcx_status enter(ipcx_log_reader *reader, ipcx_error *err)
{
    return ipcx__gate_enter(&reader->gate)
               ? IPCX_OK
               : ipcx_error_set(err, IPCX_CLOSED, EBADF, "follow", "%s", reader->path);
}

static ipcx_status next_inside(ipcx_log_reader *reader, ipcx_deadline deadline,
                               ipcx_message *message, uint64_t *position, ipcx_error *err)
{
    for (;;) {
        ipcx_status status = take(reader, message, position, err);
        if (status == IPCX_MORE && deadline != IPCX_NOW) {
            status = notify(reader, err);
            /* This one may want the directory watched, too. */
            status = status == IPCX_OK ? take(reader, message, position, err) : status;
        }
        if (status == IPCX_MORE && is_notified(reader)) {
            /* What was told until now is looked for once more; what is told later wakes us. */
            drain(reader);
            status = take(reader, message, position, err);
        }
        if (status == IPCX_MORE) {
            status = deadline == IPCX_NOW
                         ? IPCX_AGAIN
                         : ipcx__gate_poll(&reader->gate, reader->notify, POLLIN, deadline, err);
        } else {
            return status;
        }
        if (status != IPCX_OK) {
            return status;
        }
    }
}

ipcx_status ipcx_log_next(ipcx_log_reader *reader, ipcx_deadline deadline, ipcx_message *message,
                          uint64_t *position, ipcx_error *err)
{
    ipcx_status status = enter(reader, err);
    if (status == IPCX_OK) {
        status = next_inside(reader, deadline, message, position, err);
        ipcx__gate_leave(&reader->gate);
    }
    return status;
}

ipcx_status ipcx_log_wait(ipcx_log_reader *reader, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_status status = enter(reader, err);
    if (status == IPCX_OK) {
        if (is_notified(reader)) { /* else the next look is worth while */
            status = ipcx__gate_poll(&reader->gate, reader->notify, POLLIN, deadline, err);
        }
        ipcx__gate_leave(&reader->gate);
    }
    return status;
}

uint64_t ipcx_log_reader_position(const ipcx_log_reader *reader)
{
    return reader->base + reader->at;
}

uint64_t ipcx_log_reader_lost(const ipcx_log_reader *reader)
{
    return reader->lost;
}

ipcx_status ipcx_log_reader_fileno(ipcx_log_reader *reader, int *fd, ipcx_error *err)
{
    ipcx_status status = enter(reader, err);
    if (status == IPCX_OK) {
        status = notify(reader, err);
        if (status == IPCX_OK) {
            *fd = reader->notify;
        }
        ipcx__gate_leave(&reader->gate);
    }
    return status;
}

void ipcx__log_reader_stop(ipcx_log_reader *reader)
{
    ipcx__gate_close(&reader->gate);
}

void ipcx__log_reader_forked(ipcx_log_reader *reader)
{
    int *const fds[] = {&reader->fd, &reader->notify};
    for (int i = 0; i < 2; i++) {
        if (*fds[i] >= 0) {
            (void)close(*fds[i]);
            *fds[i] = -1;
        }
    }
}

void ipcx_log_reader_close(ipcx_log_reader *reader)
{
    if (__atomic_exchange_n(&reader->closed, 1, __ATOMIC_SEQ_CST)) {
        return;
    }
    ipcx__gate_close(&reader->gate);
    if (reader->fd >= 0) {
        (void)ipcx_fd_close(reader->fd, NULL);
    }
    if (reader->notify >= 0) {
        (void)ipcx_fd_close(reader->notify, NULL);
    }
    ipcx_decoder_fini(&reader->decoder);
}

void ipcx_log_reader_free(ipcx_log_reader *reader)
{
    if (reader != NULL) {
        ipcx_log_reader_close(reader);
        ipcx_free(reader);
    }
}
