/* SPDX-License-Identifier: Apache-2.0
 * A growable queue of bytes with a limit.
 * Invariant: head + len <= cap, len <= limit; a failed call changes neither content nor memory. */
#include "ipcx/buf.h"

#include <assert.h>
#include <string.h>

#include "ipcx/alloc.h"

#define SMALLEST 256

/* The capacity to grow to: doubled as long as that is within the limit, at least `need`. */
static size_t next_cap(const ipcx_buf *buf, size_t need)
{
    size_t cap = buf->cap < SMALLEST ? SMALLEST : buf->cap;
    while (cap < need) {
        cap = cap > buf->limit / 2 ? buf->limit : cap * 2;
    }
    return cap < buf->limit ? cap : buf->limit;
}

/* Moves the content to the front of a larger block. A fresh block instead of realloc: what was
 * consumed need not be copied. */
static ipcx_status grow(ipcx_buf *buf, size_t need, ipcx_error *err)
{
    size_t cap = next_cap(buf, need);
    uint8_t *memory = ipcx_alloc(cap);
    if (memory == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "buf_reserve", "%zu bytes", cap);
    }
    if (buf->len > 0) {
        memcpy(memory, buf->memory + buf->head, buf->len);
    }
    ipcx_free(buf->memory);
    buf->memory = memory;
    buf->cap = cap;
    buf->head = 0;
    return IPCX_OK;
}

void ipcx_buf_init(ipcx_buf *buf, size_t limit)
{
    *buf = (ipcx_buf){.limit = limit};
}

void ipcx_buf_fini(ipcx_buf *buf)
{
    ipcx_free(buf->memory);
    *buf = (ipcx_buf){0};
}

ipcx_status ipcx_buf_reserve(ipcx_buf *buf, size_t n, uint8_t **room, ipcx_error *err)
{
    if (n > buf->limit - buf->len) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "buf_reserve",
                              "%zu bytes and %zu more, the limit is %zu", buf->len, n, buf->limit);
    }
    if (n > buf->cap - buf->head - buf->len) {
        size_t need = buf->len + n;
        if (need > buf->cap || (buf->head < buf->len && buf->cap < buf->limit)) {
            /* No room even at the front, or so little was consumed that moving down would soon be
             * done again: so long as it may still grow, a byte is moved once a doubling. */
            ipcx_status status = grow(buf, need > buf->cap ? need : buf->cap + 1, err);
            if (status != IPCX_OK) {
                return status;
            }
        } else {
            memmove(buf->memory, buf->memory + buf->head, buf->len);
            buf->head = 0;
        }
    }
    *room = buf->memory != NULL ? buf->memory + buf->head + buf->len : NULL;
    return IPCX_OK;
}

void ipcx_buf_commit(ipcx_buf *buf, size_t n)
{
    assert(n <= buf->cap - buf->head - buf->len);
    buf->len += n;
}

ipcx_status ipcx_buf_append(ipcx_buf *buf, const void *bytes, size_t n, ipcx_error *err)
{
    uint8_t *room;
    ipcx_status status = ipcx_buf_reserve(buf, n, &room, err);
    if (status == IPCX_OK && n > 0) {
        memcpy(room, bytes, n);
        ipcx_buf_commit(buf, n);
    }
    return status;
}

void ipcx_buf_consume(ipcx_buf *buf, size_t n)
{
    assert(n <= buf->len);
    buf->len -= n;
    buf->head = buf->len > 0 ? buf->head + n : 0;
}
