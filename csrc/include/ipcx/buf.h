/* SPDX-License-Identifier: Apache-2.0
 * A growable queue of bytes with a limit: written at the end, read from the front. Bytes that come
 * from a socket are received straight into it (reserve, then commit) and taken off in place (data,
 * then consume).
 * Invariant: it never holds more than `limit` bytes, whatever a peer sends; {0} is a valid buffer
 * that holds nothing and may hold nothing. Not for two threads at once. */
#ifndef IPCX_BUF_H
#define IPCX_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Read the fields through the functions below; write them never. */
typedef struct ipcx_buf {
    uint8_t *memory; /* `cap` bytes, owned */
    size_t cap;
    size_t head;  /* bytes consumed at the front, not yet reused */
    size_t len;   /* bytes held, from memory + head */
    size_t limit; /* most bytes ever held */
} ipcx_buf;

/* ipcx_buf_init: an empty buffer that will hold at most `limit` bytes. Allocates nothing yet. The
 * limit has no default: say what you can bear. */
IPCX_API void ipcx_buf_init(ipcx_buf *buf, size_t limit);

/* ipcx_buf_fini: gives the memory back and leaves {0}; harmless on {0}. */
IPCX_API void ipcx_buf_fini(ipcx_buf *buf);

/* ipcx_buf_reserve: `*room` is space for `n` bytes behind those held, to be written and then
 * committed; it is borrowed until the next call on `buf`, and so is *every* earlier pointer into it
 * given up. Statuses: OK, TOO_LARGE (over the limit), NOMEM. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_buf_reserve(ipcx_buf *buf, size_t n, uint8_t **room,
                                                     ipcx_error *err);

/* ipcx_buf_commit: the first `n` bytes of the space just reserved now belong to the content; `n` is
 * at most what was reserved. */
IPCX_API void ipcx_buf_commit(ipcx_buf *buf, size_t n);

/* ipcx_buf_append: copies `n` bytes to the end; reserve and commit in one. `bytes` must not point
 * into `buf`; it may be NULL when n is 0. Statuses: OK, TOO_LARGE, NOMEM. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_buf_append(ipcx_buf *buf, const void *bytes, size_t n,
                                                    ipcx_error *err);

/* ipcx_buf_consume: takes `n` bytes off the front; `n` is at most the length. Keeps the memory for
 * what comes next. */
IPCX_API void ipcx_buf_consume(ipcx_buf *buf, size_t n);

/* ipcx_buf_data, ipcx_buf_len: the bytes held, in one piece; borrowed until the next call on `buf`.
 * With length 0 the pointer may be NULL. */
static inline const uint8_t *ipcx_buf_data(const ipcx_buf *buf)
{
    return buf->len > 0 ? buf->memory + buf->head : NULL;
}

static inline size_t ipcx_buf_len(const ipcx_buf *buf)
{
    return buf->len;
}

#ifdef __cplusplus
}
#endif

#endif
