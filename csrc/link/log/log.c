/* SPDX-License-Identifier: Apache-2.0
 * Writers of a log: appending.
 * Invariant: bytes are written at the end that the control names, by who holds the mutex, and the
 * end is moved when they are all there. */
#include "link/log/log.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "ipcx/fd.h"
#include "os/file.h"
#include "os/gate.h"
#include "wire/frame.h"

/* Messages up to so many bytes together are gathered and written at once. */
#define GATHER ((size_t)1024 * 1024)
#define SMALL 4096

/* ---- appending */

/* One message on its way. */
typedef struct record {
    ipcx_envelope around;
    const ipcx_message *message;
} record;

static size_t record_size(const record *one)
{
    return one->around.head_size + one->message->size + one->around.tail_size;
}

static ipcx_frame frame_of(const ipcx_message *message)
{
    return (ipcx_frame){.type = IPCX_FRAME_DATA,
                        .flags = IPCX_FRAME_CRC |
                                 (message->flags & IPCX_MESSAGE_TEXT ? IPCX_FRAME_TEXT : 0),
                        .payload = message->data,
                        .payload_size = message->size};
}

static ipcx_status encode(const ipcx_log *log, const ipcx_message *message, record *one,
                          ipcx_error *err)
{
    ipcx_frame frame = frame_of(message);
    if (message->flags & ~IPCX_MESSAGE_TEXT) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "append", "a log keeps bytes and texts");
    }
    one->message = message;
    return ipcx_frame_encode(&log->framing, &frame, &one->around, err);
}

/* All of it in one piece, in one pass of the checksum; without room, how long it will be. */
static ipcx_status write_record(const ipcx_log *log, const ipcx_message *message, uint8_t *to,
                                size_t *size, ipcx_error *err)
{
    ipcx_frame frame = frame_of(message);
    record one;
    ipcx_status status;
    if (to != NULL && !(message->flags & ~IPCX_MESSAGE_TEXT) &&
        message->size <= log->framing.max_message) {
        return ipcx__frame_write(&frame, to, size, err);
    }
    status = encode(log, message, &one, err);
    *size = status == IPCX_OK ? record_size(&one) : 0;
    return status;
}

/* All of the pieces at offset `at`, which is advanced. */
static ipcx_status write_at(ipcx_log *log, struct iovec *iov, int count, uint64_t *at,
                            ipcx_error *err)
{
    while (count > 0) {
        ssize_t n = count == 1 ? pwrite(log->fd, iov->iov_base, iov->iov_len, (off_t)*at)
                               : pwritev(log->fd, iov, count, (off_t)*at);
        if (n < 0 && errno != EINTR) {
            return ipcx__file_failed("append", log->path, err);
        }
        *at += n > 0 ? (uint64_t)n : 0;
        while (n > 0) {
            size_t step = (size_t)n < iov->iov_len ? (size_t)n : iov->iov_len;
            iov->iov_base = (char *)iov->iov_base + step;
            iov->iov_len -= step;
            n -= (ssize_t)step;
            if (iov->iov_len == 0) {
                iov++;
                count--;
            }
        }
        while (count > 0 && iov->iov_len == 0) {
            iov++;
            count--;
        }
    }
    return IPCX_OK;
}

static ipcx_status write_apart(ipcx_log *log, const ipcx_message *messages, size_t count,
                               uint64_t *at, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    for (size_t i = 0; status == IPCX_OK && i < count; i++) {
        record one;
        status = encode(log, &messages[i], &one, err);
        if (status == IPCX_OK) {
            struct iovec iov[] = {
                {one.around.head, one.around.head_size},
                {(void *)(uintptr_t)messages[i].data, messages[i].size},
                {one.around.tail, one.around.tail_size},
            };
            status = write_at(log, iov, 3, at, err);
        }
    }
    return status;
}

/* Begins a new segment if `size` bytes more would be too many for this one. */
static ipcx_status make_room(ipcx_log *log, uint64_t size, ipcx_error *err)
{
    uint64_t limit = log->options.segment_size, at = log->control->end - log->base;
    const ipcx_frame bye = {.type = IPCX_FRAME_BYE, .flags = IPCX_FRAME_CRC};
    uint8_t bytes[IPCX__LOG_BYE];
    struct iovec iov = {.iov_base = bytes};
    ipcx_status status;
    if (limit == 0 || at <= IPCX__LOG_HEAD || (at + size <= limit && size <= limit)) {
        return IPCX_OK;
    }
    status = ipcx__frame_write(&bye, bytes, &iov.iov_len, err);
    if (status != IPCX_OK) {
        return status;
    }
    log->control->unsettled = 1; /* until it is done: who comes after a failure goes on with it */
    status = write_at(log, &iov, 1, &at, err);
    if (status == IPCX_OK) {
        status = ipcx__log_rotate(log, err);
    }
    log->control->unsettled = status != IPCX_OK;
    return status;
}

/* Writes them, gathered in `bytes` if that is not NULL, and moves the end. */
static ipcx_status append_locked(ipcx_log *log, const ipcx_message *messages, size_t count,
                                 uint8_t *bytes, size_t size, uint64_t *position, ipcx_error *err)
{
    uint64_t at;
    ipcx_status status = make_room(log, size, err);
    if (status != IPCX_OK) {
        return status;
    }
    at = log->control->end - log->base;
    if (bytes != NULL) {
        struct iovec iov = {bytes, size};
        status = write_at(log, &iov, 1, &at, err);
    } else {
        status = write_apart(log, messages, count, &at, err);
    }
    if (status == IPCX_OK) {
        if (position != NULL) {
            *position = log->control->end;
        }
        log->control->last = log->control->end;
        if (bytes == NULL) {
            log->control->tail = ipcx__log_tail(log, at);
        } else if (size > 0) { /* a message has more bytes than that */
            memcpy(&log->control->tail, bytes + size - sizeof log->control->tail,
                   sizeof log->control->tail);
        }
        __atomic_store_n(&log->control->end, log->base + at, __ATOMIC_RELEASE);
    } else if (ftruncate(log->fd, (off_t)(log->control->end - log->base)) != 0) {
        log->control->unsettled = 1;
    }
    return status;
}

/* Checks all and adds up what they take; gathers them if that is little. *bytes is `small`, or
 * memory to be freed, or NULL for much. */
static ipcx_status gather(const ipcx_log *log, const ipcx_message *messages, size_t count,
                          uint8_t small[SMALL], uint8_t **bytes, size_t *size, ipcx_error *err)
{
    uint8_t *to;
    size_t sum = 0;
    *bytes = small;
    if (count == 1 && messages->size <= SMALL - sizeof(ipcx_envelope)) {
        return write_record(log, messages, small, size, err);
    }
    for (size_t i = 0; i < count; i++) {
        size_t most = messages[i].size + sizeof(ipcx_envelope);
        sum = messages[i].size > SIZE_MAX - sizeof(ipcx_envelope) || most > SIZE_MAX - sum
                  ? SIZE_MAX
                  : sum + most;
    }
    if (sum > SMALL) {
        *bytes = sum <= GATHER ? ipcx_alloc(sum) : NULL;
        if (*bytes == NULL && sum <= GATHER) {
            return ipcx_error_set(err, IPCX_NOMEM, 0, "append", "%zu bytes", sum);
        }
    }
    to = *bytes;
    *size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t one;
        ipcx_status status = write_record(log, &messages[i], to, &one, err);
        if (status != IPCX_OK) {
            return status;
        }
        *size += one;
        to = to != NULL ? to + one : NULL;
    }
    return IPCX_OK;
}

static ipcx_status sync_inside(ipcx_log *log, ipcx_error *err)
{
    int error = __atomic_load_n(&log->broken, __ATOMIC_SEQ_CST);
    if (error == 0 && fdatasync(log->fd) != 0) {
        /* The kernel forgets what it could not write; a second sync would say that all is well. */
        error = errno;
        __atomic_store_n(&log->broken, error, __ATOMIC_SEQ_CST);
    }
    return error == 0 ? IPCX_OK
                      : ipcx_error_set(err, IPCX_SYSTEM, error, "fdatasync",
                                       "%s: what was not on the disk may be lost; open it again",
                                       log->path);
}

static ipcx_status append_inside(ipcx_log *log, const ipcx_message *messages, size_t count,
                                 ipcx_deadline deadline, uint64_t *position, ipcx_error *err)
{
    uint8_t small[SMALL], *bytes;
    size_t size = 0;
    ipcx_status status = gather(log, messages, count, small, &bytes, &size, err);
    if (status == IPCX_OK) {
        status = ipcx__log_lock(log, deadline, err);
    }
    if (status == IPCX_OK) {
        status = append_locked(log, messages, count, bytes, size, position, err);
        (void)pthread_mutex_unlock(&log->control->mutex);
    }
    if (bytes != small) {
        ipcx_free(bytes);
    }
    if (status == IPCX_OK && log->options.durable) {
        status = sync_inside(log, err);
    }
    return status;
}

/* ---- the verbs */

static ipcx_status enter(ipcx_log *log, const char *op, ipcx_error *err)
{
    return ipcx__gate_enter(&log->gate)
               ? IPCX_OK
               : ipcx_error_set(err, IPCX_CLOSED, EBADF, op, "%s", log->path);
}

ipcx_status ipcx_log_append(ipcx_log *log, const ipcx_message *messages, size_t count,
                            ipcx_deadline deadline, uint64_t *position, ipcx_error *err)
{
    ipcx_status status = enter(log, "append", err);
    if (status == IPCX_OK) {
        status = append_inside(log, messages, count, deadline, position, err);
        ipcx__gate_leave(&log->gate);
    }
    return status;
}

ipcx_status ipcx_log_sync(ipcx_log *log, ipcx_error *err)
{
    ipcx_status status = enter(log, "sync", err);
    if (status != IPCX_OK) {
        return status;
    }
    do {
        status = ipcx__log_lock(log, IPCX_FOREVER, err); /* so that log->fd is the newest */
    } while (status == IPCX_INTR);
    if (status == IPCX_OK) {
        status = ipcx__log_sync_older(log, err);
        (void)pthread_mutex_unlock(&log->control->mutex);
    }
    if (status == IPCX_OK) {
        status = sync_inside(log, err);
    }
    ipcx__gate_leave(&log->gate);
    return status;
}

ipcx_status ipcx_log_get_stats(ipcx_log *log, ipcx_log_stats *stats, ipcx_error *err)
{
    uint64_t *bases;
    size_t count;
    ipcx_status status = enter(log, "stats", err);
    if (status != IPCX_OK) {
        return status;
    }
    status = ipcx__segment_list(log->path, &bases, &count, err);
    if (status == IPCX_OK) {
        *stats = (ipcx_log_stats){
            .start = count > 0 ? bases[0] : log->control->base,
            .end = __atomic_load_n(&log->control->end, __ATOMIC_ACQUIRE),
            .cut = log->cut,
        };
        ipcx_free(bases);
    }
    ipcx__gate_leave(&log->gate);
    return status;
}

void ipcx__log_stop(ipcx_log *log)
{
    ipcx__gate_close(&log->gate);
}

void ipcx__log_forked(ipcx_log *log)
{
    (void)close(log->fd);
    log->fd = -1;
}

void ipcx_log_close(ipcx_log *log)
{
    if (__atomic_exchange_n(&log->closed, 1, __ATOMIC_SEQ_CST)) {
        return;
    }
    ipcx__gate_close(&log->gate);
    ipcx__log_unmap(log);
    if (log->control != NULL) {
        (void)munmap(log->control, IPCX__LOG_CONTROL_SIZE);
    }
    if (log->fd >= 0) {
        (void)ipcx_fd_close(log->fd, NULL);
    }
}

void ipcx_log_free(ipcx_log *log)
{
    if (log != NULL) {
        ipcx_log_close(log);
        ipcx_free(log);
    }
}
