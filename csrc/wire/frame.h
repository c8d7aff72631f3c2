/* SPDX-License-Identifier: Apache-2.0
 * What the encoder and the decoder of frames share. */
#ifndef IPCX_WIRE_FRAME_H
#define IPCX_WIRE_FRAME_H

#include <stdbool.h>

#include "ipcx/frame.h"

/* All flags there are in version 1. */
#define IPCX__FLAGS (IPCX_FRAME_TEXT | IPCX_FRAME_CORRELATION | IPCX_FRAME_CRC | IPCX_FRAME_SYNC)

/* Flags that version 1 does not have, or half of CRC: with two bits, no single bit that is turned
 * over on the way makes a frame look as if it had no checksum. */
static inline int ipcx__flags_bad(unsigned flags)
{
    unsigned crc = flags & IPCX_FRAME_CRC;
    return (flags & ~IPCX__FLAGS) != 0 || (crc != 0 && crc != IPCX_FRAME_CRC);
}

/* No payload is larger, so that sums of sizes stay far from the end of the scale. */
#define IPCX__MESSAGE_MAX ((size_t)1 << 31)

/* ipcx__plain: how the frame begins that comes most, a message without flags and extension: before
 * its length, which is the last of the header. */
#define IPCX__PLAIN ((const uint8_t[8]){'I', 'X', IPCX_FRAME_VERSION, IPCX_FRAME_DATA})

/* ipcx__frame_write: a frame of ours in one piece: into `to`, which has room for its extension, its
 * payload and IPCX__AROUND_MOST bytes more. INVALID, as ipcx_frame_encode. */
#define IPCX__AROUND_MOST (IPCX_FRAME_HEADER + 8 + 4)
ipcx_status ipcx__frame_write(const ipcx_frame *frame, uint8_t *to, size_t *size, ipcx_error *err);

/* ipcx__framing_check: INVALID when the description contradicts itself. */
ipcx_status ipcx__framing_check(const ipcx_framing *framing, ipcx_error *err);

/* ipcx__decoder_limit: another limit, for the messages that are not whole yet. */
static inline void ipcx__decoder_limit(ipcx_decoder *decoder, size_t max_message)
{
    decoder->framing.max_message = max_message;
}

/* ipcx__decoder_bound: no frame has more than `most` bytes in all, and no more are held or asked
 * for; 0: as many as the limit allows. */
static inline void ipcx__decoder_bound(ipcx_decoder *decoder, size_t most)
{
    decoder->most = most;
    decoder->buf.limit = most != 0 ? most : SIZE_MAX; /* nor is memory for more made */
}

/* ipcx__decoder_is_empty: no byte is held that next has not given out, and nothing is wrong: next
 * would answer MORE. */
static inline bool ipcx__decoder_is_empty(const ipcx_decoder *decoder)
{
    return ipcx_buf_len(&decoder->buf) == decoder->lent && decoder->error.status == IPCX_OK;
}

/* ipcx__decoder_trim: with nothing held, and nothing lent that is still needed: more memory than
 * `most` is given back. */
static inline void ipcx__decoder_trim(ipcx_decoder *decoder, size_t most)
{
    if (decoder->buf.cap > most && ipcx_buf_len(&decoder->buf) == decoder->lent) {
        size_t limit = decoder->buf.limit;
        decoder->offset += decoder->lent;
        decoder->lent = 0;
        ipcx_buf_fini(&decoder->buf);
        ipcx_buf_init(&decoder->buf, limit);
    }
}

/* ipcx__decoder_room: as ipcx_decoder_reserve, of `size` bytes, whatever came before; commit is the
 * next call. ipcx__decoder_resume: forgets the error and `skip` bytes, from the wrong message's
 * first on; what is behind them is looked at next. */
static inline ipcx_status ipcx__decoder_room(ipcx_decoder *decoder, size_t size, uint8_t **room,
                                             ipcx_error *err)
{
    size_t usual;
    ipcx_status status = ipcx_decoder_reserve(decoder, room, &usual, err);
    if (status == IPCX_OK) {
        status = ipcx_buf_reserve(&decoder->buf, size, room, err);
        decoder->room = status == IPCX_OK ? size : 0;
    }
    return status;
}

static inline void ipcx__decoder_resume(ipcx_decoder *decoder, size_t skip)
{
    ipcx_buf_consume(&decoder->buf, skip);
    decoder->offset += skip;
    decoder->lent = decoder->searched = decoder->missing = 0;
    decoder->error = (ipcx_error){0};
}

/* ipcx__utf8_valid: how many of the `size` bytes are well-formed UTF-8 (RFC 3629: no surrogates,
 * nothing over U+10FFFF, no overlong forms); `size` when all are. */
size_t ipcx__utf8_valid(const void *text, size_t size);

#endif
