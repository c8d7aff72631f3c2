/* SPDX-License-Identifier: Apache-2.0
 * Segments of a log: their heads, their names, what in them is whole.
 * Invariant: nothing here changes a file but ipcx__segment_begin. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "ipcx/endian.h"
#include "ipcx/fd.h"
#include "link/log/log.h"
#include "os/file.h"

#define MARK "ipcxlog1"
#define MARK_SIZE 8
#define FIXED 20 /* bytes of a head that are the same in every log: header and mark */
#define CHUNK 65536
#define DIGITS 20 /* of a position in a name */

static const ipcx_framing any_size = {.kind = IPCX_FRAMING_IPCX, .max_message = (size_t)1 << 31};

size_t ipcx__frame_size(const ipcx_frame *frame)
{
    return IPCX_FRAME_HEADER + (frame->flags & IPCX_FRAME_CORRELATION ? 8u : 0u) +
           frame->extension_size + frame->payload_size + (frame->flags & IPCX_FRAME_CRC ? 4u : 0u);
}

/* ---- heads */

static ipcx_status make_head(uint8_t head[IPCX__LOG_HEAD], const ipcx__segment *segment,
                             ipcx_error *err)
{
    uint8_t payload[24];
    ipcx_envelope around;
    ipcx_frame frame = {.type = IPCX_FRAME_HELLO,
                        .flags = IPCX_FRAME_CRC,
                        .extension = MARK,
                        .extension_size = MARK_SIZE,
                        .payload = payload,
                        .payload_size = sizeof payload};
    ipcx_status status;
    ipcx_endian_store64(payload, segment->base);
    memcpy(payload + 8, segment->id, sizeof segment->id);
    status = ipcx_frame_encode(&any_size, &frame, &around, err);
    if (status == IPCX_OK) {
        memcpy(head, around.head, IPCX_FRAME_HEADER);
        memcpy(head + IPCX_FRAME_HEADER, MARK, MARK_SIZE);
        memcpy(head + FIXED, payload, sizeof payload);
        memcpy(head + FIXED + sizeof payload, around.tail, 4);
    }
    return status;
}

ipcx_status ipcx__segment_begin(int fd, const char *path, const ipcx__segment *segment,
                                ipcx_error *err)
{
    uint8_t head[IPCX__LOG_HEAD];
    ipcx_status status = make_head(head, segment, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (ftruncate(fd, 0) != 0) {
        return ipcx__file_failed("log", path, err);
    }
    for (size_t done = 0; done < sizeof head;) {
        ssize_t n = pwrite(fd, head + done, sizeof head - done, (off_t)done);
        if (n < 0 && errno != EINTR) {
            return ipcx__file_failed("log", path, err);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return IPCX_OK;
}

ipcx_status ipcx__segment_read(int fd, const char *path, ipcx__segment *segment, ipcx_error *err)
{
    uint8_t head[IPCX__LOG_HEAD], expected[IPCX__LOG_HEAD];
    ipcx__segment found = {0};
    ipcx_status status = make_head(expected, &found, err);
    ssize_t n = pread(fd, head, sizeof head, 0);
    size_t have = n > 0 ? (size_t)n : 0;
    if (n < 0) {
        return ipcx__file_failed("log", path, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    if (have > 2 && memcmp(head, expected, 2) == 0 && head[2] != expected[2]) {
        return ipcx_error_set(err, IPCX_VERSION, 0, "log", "%s: version %d", path, head[2]);
    }
    if (memcmp(head, expected, have < FIXED ? have : FIXED) != 0) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "log",
                              "%s is no log of ipcx; it stays as it is", path);
    }
    if (have < sizeof head) {
        return IPCX_MORE;
    }
    found.base = ipcx_endian_load64(head + FIXED);
    memcpy(found.id, head + FIXED + 8, sizeof found.id);
    status = make_head(expected, &found, err);
    if (status == IPCX_OK && memcmp(head, expected, sizeof head) != 0) {
        return ipcx_error_set(err, IPCX_CORRUPT, 0, "log", "%s: its head is damaged", path);
    }
    *segment = found;
    return status;
}

/* ---- names */

void ipcx__segment_name(char out[PATH_MAX], const char *path, uint64_t base)
{
    (void)snprintf(out, PATH_MAX, "%s.%0*llu", path, DIGITS, (unsigned long long)base);
}

/* Whether a directory's entry is an older segment of the log with that name. */
static bool is_segment(const char *entry, const char *name, uint64_t *base)
{
    size_t length = strlen(name);
    const char *digits = entry + length + 1;
    if (strncmp(entry, name, length) != 0 || entry[length] != '.' || strlen(digits) != DIGITS ||
        strspn(digits, "0123456789") != DIGITS) {
        return false;
    }
    *base = strtoull(digits, NULL, 10);
    return true;
}

static int ascending(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

static ipcx_status collect(DIR *dir, const char *name, uint64_t **bases, size_t *count,
                           ipcx_error *err)
{
    const struct dirent *entry;
    size_t room = 0;
    while ((entry = readdir(dir)) != NULL) {
        uint64_t base;
        if (!is_segment(entry->d_name, name, &base)) {
            continue;
        }
        if (*count == room) {
            uint64_t *grown = ipcx_realloc(*bases, (room + 16) * 2 * sizeof **bases);
            if (grown == NULL) {
                return ipcx_error_set(err, IPCX_NOMEM, 0, "log", "%zu segments", room);
            }
            *bases = grown;
            room = (room + 16) * 2;
        }
        (*bases)[(*count)++] = base;
    }
    return IPCX_OK;
}

ipcx_status ipcx__segment_list(const char *path, uint64_t **bases, size_t *count, ipcx_error *err)
{
    int fd;
    const char *name;
    DIR *dir;
    ipcx_status status = ipcx__file_directory(path, &fd, &name, err);
    *bases = NULL;
    *count = 0;
    if (status != IPCX_OK) {
        return status;
    }
    dir = fdopendir(fd);
    if (dir == NULL) {
        status = ipcx__file_failed("log", path, err);
        (void)close(fd);
        return status;
    }
    status = collect(dir, name, bases, count, err);
    (void)closedir(dir);
    if (status != IPCX_OK) {
        ipcx_free(*bases);
        *bases = NULL;
        *count = 0;
    } else if (*count > 1) {
        qsort(*bases, *count, sizeof **bases, ascending);
    }
    return status;
}

/* ---- finding */

/* Opens the segment that `name` is. MORE: it is not there, or not yet begun. */
static ipcx_status open_segment(const char *name, int *fd, uint64_t *base, ipcx_error *err)
{
    ipcx__segment segment;
    ipcx_error why = {0};
    ipcx_status status = ipcx__file_open(name, O_RDONLY, 0, fd, NULL, &why);
    if (status != IPCX_OK) {
        if (why.sys_errno == ENOENT) {
            return IPCX_MORE;
        }
        if (err != NULL) {
            *err = why;
        }
        return status;
    }
    status = ipcx__segment_read(*fd, name, &segment, err);
    if (status != IPCX_OK) {
        (void)ipcx_fd_close(*fd, NULL);
        return status;
    }
    *base = segment.base;
    return IPCX_OK;
}

ipcx_status ipcx__segment_find(const char *path, uint64_t position, int *fd, uint64_t *base,
                               ipcx_error *err)
{
    uint64_t *bases;
    size_t count, best = 0;
    char name[PATH_MAX];
    ipcx_status listed, status = open_segment(path, fd, base, err);
    if (status < 0 || (status == IPCX_OK && *base <= position)) {
        return status;
    }
    listed = ipcx__segment_list(path, &bases, &count, err);
    if (listed == IPCX_OK && count == 0) {
        return status; /* the newest is all there is */
    }
    if (status == IPCX_OK) {
        (void)ipcx_fd_close(*fd, NULL);
    }
    if (listed != IPCX_OK) {
        return listed;
    }
    while (best + 1 < count && bases[best + 1] <= position) {
        best++;
    }
    ipcx__segment_name(name, path, bases[best]);
    ipcx_free(bases);
    return open_segment(name, fd, base, err);
}

/* ---- contents */

/* The frame that the decoder has next, read from the file as needed. MORE: the file ends. */
static ipcx_status next_frame(int fd, ipcx_decoder *decoder, uint64_t *read_at, ipcx_frame *frame,
                              ipcx_error *err)
{
    for (;;) {
        uint8_t *room;
        size_t size;
        ssize_t n;
        ipcx_status status = ipcx_decoder_next(decoder, frame, err);
        if (status != IPCX_MORE) {
            return status == IPCX_OK && (frame->flags & IPCX_FRAME_CRC) == 0 ? IPCX_PROTOCOL
                                                                             : status;
        }
        status = ipcx_decoder_reserve(decoder, &room, &size, err);
        if (status != IPCX_OK) {
            return status;
        }
        n = pread(fd, room, size, (off_t)*read_at);
        ipcx_decoder_commit(decoder, n > 0 ? (size_t)n : 0);
        if (n <= 0) {
            return n == 0 ? IPCX_MORE : ipcx_error_system(err, errno, "log", "reading it");
        }
        *read_at += (uint64_t)n;
    }
}

ipcx_status ipcx__segment_scan(int fd, const char *path, uint64_t *at, bool *ended, ipcx_error *err)
{
    ipcx_decoder decoder;
    ipcx_frame frame;
    uint64_t read_at = *at;
    ipcx_error ignored;
    ipcx_status status = ipcx_decoder_init(&decoder, &any_size, err);
    if (status != IPCX_OK) {
        return status;
    }
    *ended = false;
    while ((status = next_frame(fd, &decoder, &read_at, &frame, &ignored)) == IPCX_OK && !*ended) {
        *at += ipcx__frame_size(&frame);
        *ended = frame.type == IPCX_FRAME_BYE;
    }
    if (status == IPCX_NOMEM || status == IPCX_SYSTEM) {
        status = ipcx_error_set(err, status, ignored.sys_errno, "log", "%s", path);
    } else {
        struct stat info;
        status = fstat(fd, &info) == 0 && (uint64_t)info.st_size == *at ? IPCX_OK : IPCX_MORE;
    }
    ipcx_decoder_fini(&decoder);
    return status;
}

/* Whether a whole frame begins at offset `at`. */
static bool frame_at(int fd, uint64_t at)
{
    ipcx_decoder decoder;
    ipcx_frame frame;
    bool found = false;
    if (ipcx_decoder_init(&decoder, &any_size, NULL) == IPCX_OK) {
        found = next_frame(fd, &decoder, &at, &frame, NULL) == IPCX_OK;
        ipcx_decoder_fini(&decoder);
    }
    return found;
}

bool ipcx__segment_goes_on(int fd, uint64_t at)
{
    uint8_t *chunk = ipcx_alloc(CHUNK);
    bool found = chunk == NULL; /* without memory to look, nothing is cut off */
    ssize_t n;
    at++;
    while (!found && (n = pread(fd, chunk, CHUNK, (off_t)at)) > 3) {
        for (size_t i = 0; !found && i + 3 < (size_t)n; i++) {
            found = chunk[i] == 'I' && chunk[i + 1] == 'X' && chunk[i + 2] == IPCX_FRAME_VERSION &&
                    chunk[i + 3] <= IPCX_FRAME_BYE && frame_at(fd, at + i);
        }
        at += (uint64_t)n - 3;
    }
    ipcx_free(chunk);
    return found;
}
