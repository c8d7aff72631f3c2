/* SPDX-License-Identifier: Apache-2.0
 * The files of a log, as its writers and its readers see them (ipcx/log.h).
 * A segment begins with a frame of type HELLO: extension "ipcxlog1", payload its base, which is the
 * position of its first byte, and an id. It holds DATA frames; one that is full ends with a BYE. */
#ifndef IPCX_LINK_LOG_H
#define IPCX_LINK_LOG_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/guard.h"
#include "ipcx/frame.h"
#include "ipcx/gate.h"
#include "ipcx/log.h"

#define IPCX__LOG_HEAD 48u /* bytes of the first frame */
#define IPCX__LOG_BYE 16u  /* and of the last, in a segment that is full */
#define IPCX__LOG_MAX ((size_t)64 * 1024 * 1024)

/* What stands at the beginning of a segment. */
typedef struct ipcx__segment {
    uint64_t base;
    uint8_t id[16];
} ipcx__segment;

/* ipcx__segment_begin: writes the head to `fd`, which is empty or becomes so. */
ipcx_status ipcx__segment_begin(int fd, const char *path, const ipcx__segment *segment,
                                ipcx_error *err);

/* ipcx__segment_read: reads it. MORE: empty, or a head cut short. PROTOCOL: no log; VERSION. */
ipcx_status ipcx__segment_read(int fd, const char *path, ipcx__segment *segment, ipcx_error *err);

/* ipcx__segment_scan: walks the frames from offset *at on, and leaves in *at the end of the last
 * whole one. OK: that is the file's end. MORE: what follows is none, or not whole. *ended: the last
 * one is a BYE. */
ipcx_status ipcx__segment_scan(int fd, const char *path, uint64_t *at, bool *ended,
                               ipcx_error *err);

/* ipcx__segment_goes_on: whether a whole frame lies anywhere behind offset `at`: then what is wrong
 * there is no torn end but damage. */
bool ipcx__segment_goes_on(int fd, uint64_t at);

/* ipcx__segment_name: the name of the older segment with that base. */
void ipcx__segment_name(char out[PATH_MAX], const char *path, uint64_t base);

/* ipcx__segment_list: the bases of the older segments, ascending, to be freed; none: *count 0. */
ipcx_status ipcx__segment_list(const char *path, uint64_t **bases, size_t *count, ipcx_error *err);

/* ipcx__segment_find: opens the segment in which `position` is, or the first one behind it. MORE:
 * there is none yet. The newest may be missing, if a writer was killed just when it began one. */
ipcx_status ipcx__segment_find(const char *path, uint64_t position, int *fd, uint64_t *base,
                               ipcx_error *err);

/* ipcx__frame_size: all of a frame, as it stands in the file. */
size_t ipcx__frame_size(const ipcx_frame *frame);

/* What the writers share: the file NAME.lock, mapped. Guarded by the mutex, which is robust; all of
 * it is made anew after a reboot. */
typedef struct ipcx__log_control {
    char magic[16]; /* the last thing written when it is made */
    char boot[40];  /* of this boot of the machine */
    pthread_mutex_t mutex;
    uint32_t unsettled; /* somebody died inside: look at the files before you write */
    uint32_t durable;   /* somebody's messages must be on the disk before a segment is left */
    uint32_t unsynced;  /* older segments may not be */
    uint64_t base;      /* of the newest segment */
    uint64_t last;      /* position of what was appended last: there a frame begins */
    uint64_t end;       /* position behind the newest message */
    uint64_t tail;      /* the last bytes before that, as the file has them */
} ipcx__log_control;
#define IPCX__LOG_MAGIC "ipcx log lock 2"
#define IPCX__LOG_CONTROL_SIZE 4096

/* ipcx__log_boot: the id of this boot. */
void ipcx__log_boot(char boot[40]);

struct ipcx_log {
    char path[PATH_MAX];
    char lock_path[PATH_MAX];
    ipcx_log_options options;
    ipcx_framing framing;
    ipcx_gate gate;
    int fd;        /* the newest segment as far as we know; stays the same number */
    uint64_t base; /* its base */
    ipcx__log_control *control;
    const uint8_t *window; /* log_tail.c: a part of the file, mapped, or NULL */
    uint64_t window_at;    /* … the offset that it begins at */
    uint64_t near;         /* … and where the end was when it was looked at last */
    ipcx__guard *guard;
    uint64_t cut;
    int broken; /* errno of a sync that failed: what it lost nobody knows */
    int closed;
};

/* Inside the mutex: ipcx__log_settle brings the files in order after a death, and tells the control
 * what is there. ipcx__log_rotate begins a new segment. ipcx__log_current: log->fd is the newest
 * one. */
ipcx_status ipcx__log_settle(ipcx_log *log, ipcx_error *err);
ipcx_status ipcx__log_rotate(ipcx_log *log, ipcx_error *err);
ipcx_status ipcx__log_current(ipcx_log *log, ipcx_error *err);

/* Inside the mutex: ipcx__log_is_whole: whether nobody has cut what was appended. ipcx__log_tail:
 * what the control is to keep of the bytes before offset `at`. ipcx__log_unmap: before log->fd
 * becomes another file. */
bool ipcx__log_is_whole(ipcx_log *log);
uint64_t ipcx__log_tail(const ipcx_log *log, uint64_t at);
void ipcx__log_unmap(ipcx_log *log);

/* ipcx__log_sync_older: the older segments are on the disk, too. */
ipcx_status ipcx__log_sync_older(ipcx_log *log, ipcx_error *err);

/* ipcx__log_lock: takes the mutex, with everything settled. CORRUPT: somebody has cut the file. */
ipcx_status ipcx__log_lock(ipcx_log *log, ipcx_deadline deadline, ipcx_error *err);

#endif
