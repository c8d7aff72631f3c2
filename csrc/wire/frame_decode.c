/* SPDX-License-Identifier: Apache-2.0
 * Messages out of a stream of bytes.
 * Invariant: a byte is looked at only when it is there, a length only after it was compared with
 * the limit, and what was found wrong once stays wrong. */
#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "ipcx/crc32c.h"
#include "ipcx/endian.h"
#include "wire/frame.h"

/* What a read asks for: little at first, for a process may hold ten thousand idle connections; more
 * while reads come back full, so that small messages come many at a time, and one of 64 KiB with
 * its header in one. */
#define AHEAD_LEAST ((size_t)4096)
#define AHEAD_MOST ((size_t)131072)

/* One look at the bytes held: what is there, and how much a whole message takes. */
typedef struct look {
    const uint8_t *data;
    size_t size;
    size_t whole; /* bytes of the message under way, its framing included; 0: not known yet */
} look;

ipcx_status ipcx_decoder_init(ipcx_decoder *decoder, const ipcx_framing *framing, ipcx_error *err)
{
    ipcx_status status = ipcx__framing_check(framing, err);
    if (status == IPCX_OK) {
        *decoder = (ipcx_decoder){.framing = *framing, .ahead = AHEAD_LEAST};
        /* The limit is on messages: what the caller feeds it has already. */
        ipcx_buf_init(&decoder->buf, SIZE_MAX);
    }
    return status;
}

void ipcx_decoder_fini(ipcx_decoder *decoder)
{
    ipcx_buf_fini(&decoder->buf);
    *decoder = (ipcx_decoder){0};
}

void ipcx_decoder_reset(ipcx_decoder *decoder)
{
    ipcx_buf_consume(&decoder->buf, ipcx_buf_len(&decoder->buf));
    decoder->offset = 0;
    decoder->lent = 0;
    decoder->searched = 0;
    decoder->missing = 0;
    decoder->ahead = AHEAD_LEAST;
    decoder->room = 0;
    decoder->error = (ipcx_error){0};
    decoder->error_offset = 0;
}

size_t ipcx_decoder_pending(const ipcx_decoder *decoder)
{
    return ipcx_buf_len(&decoder->buf) - decoder->lent;
}

uint64_t ipcx_decoder_error_offset(const ipcx_decoder *decoder)
{
    return decoder->error_offset;
}

/* The error that the decoder has, for the caller. */
static ipcx_status sticky(const ipcx_decoder *decoder, ipcx_error *err)
{
    if (decoder->error.status < 0 && err != NULL) {
        *err = decoder->error;
    }
    return decoder->error.status;
}

/* The stream is broken `at` bytes into the message under way. */
static ipcx_status IPCX_PRINTF(4, 5)
    broken(ipcx_decoder *decoder, ipcx_status status, size_t at, const char *format, ...)
{
    char what[80];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    decoder->error_offset = decoder->offset + at;
    return ipcx_error_set(&decoder->error, status, 0, "decode", "%s, at byte %llu", what,
                          (unsigned long long)decoder->error_offset);
}

/* Every call but commit begins so: what was lent, either way, is taken back. */
static void drop_lent(ipcx_decoder *decoder)
{
    decoder->room = 0;
    if (decoder->lent > 0) {
        ipcx_buf_consume(&decoder->buf, decoder->lent);
        decoder->offset += decoder->lent;
        decoder->lent = 0;
    }
}

ipcx_status ipcx_decoder_reserve(ipcx_decoder *decoder, uint8_t **room, size_t *size,
                                 ipcx_error *err)
{
    size_t held, wanted = decoder->ahead;
    ipcx_status status = sticky(decoder, err);
    if (status != IPCX_OK) {
        return status;
    }
    drop_lent(decoder);
    held = ipcx_buf_len(&decoder->buf);
    if (decoder->missing > wanted) {
        /* A long message: memory follows the bytes that have come, not those that were promised. */
        wanted = held > wanted / 4 ? held * 4 : wanted;
        wanted = wanted < decoder->missing ? wanted : decoder->missing;
    }
    if (decoder->most != 0 && wanted > decoder->most - held) {
        wanted = decoder->most > held ? decoder->most - held : 1;
    }
    if (IPCX_UNLIKELY(wanted > decoder->buf.cap - decoder->buf.head - held)) {
        status = ipcx_buf_reserve(&decoder->buf, wanted, room, err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    *room = decoder->buf.memory + decoder->buf.head + held;
    *size = decoder->room = wanted;
    return IPCX_OK;
}

void ipcx_decoder_commit(ipcx_decoder *decoder, size_t size)
{
    assert(size <= decoder->room);
    ipcx_buf_commit(&decoder->buf, size);
    if (size == decoder->room && decoder->ahead < AHEAD_MOST) {
        decoder->ahead *= 2;
    }
    decoder->room = 0;
}

ipcx_status ipcx_decoder_feed(ipcx_decoder *decoder, const void *bytes, size_t size,
                              ipcx_error *err)
{
    ipcx_status status = sticky(decoder, err);
    if (status != IPCX_OK) {
        return status;
    }
    drop_lent(decoder);
    return ipcx_buf_append(&decoder->buf, bytes, size, err);
}

static ipcx_status too_large(ipcx_decoder *decoder, uint64_t size, size_t at)
{
    return broken(decoder, IPCX_TOO_LARGE, at, "a message of at least %llu bytes; the limit is %zu",
                  (unsigned long long)size, decoder->framing.max_message);
}

/* The payload's size is known: OK when all `whole` bytes of the message are there. */
static ipcx_status all_there(ipcx_decoder *decoder, look *at, size_t before, uint64_t payload,
                             size_t behind, size_t where)
{
    if (payload > decoder->framing.max_message) {
        return too_large(decoder, payload, where);
    }
    at->whole = before + (size_t)payload + behind;
    return at->size >= at->whole ? IPCX_OK : IPCX_MORE;
}

/* What of a header of ours can be judged, as soon as it is there. */
static ipcx_status check_header(ipcx_decoder *decoder, const look *at)
{
    const uint8_t *p = at->data;
    if (p[0] != 'I' || (at->size > 1 && p[1] != 'X')) {
        return broken(decoder, IPCX_PROTOCOL, p[0] == 'I', "no frame of ipcx begins so%s",
                      p[0] == 21 || p[0] == 22 ? "; TLS does: is it tls:// on both sides?" : "");
    }
    if (at->size > 2 && p[2] != IPCX_FRAME_VERSION) {
        return broken(decoder, IPCX_VERSION, 2, "version %d; this side speaks version %d", p[2],
                      IPCX_FRAME_VERSION);
    }
    if (at->size > 3 && (p[3] < IPCX_FRAME_DATA || p[3] > IPCX_FRAME_PROOF)) {
        return broken(decoder, IPCX_PROTOCOL, 3, "no such type: %d", p[3]);
    }
    if (at->size > 5 && ipcx__flags_bad(ipcx_endian_load16(p + 4))) {
        return broken(decoder, IPCX_PROTOCOL, 4, "no such flags: 0x%04x",
                      ipcx_endian_load16(p + 4));
    }
    return at->size < IPCX_FRAME_HEADER ? IPCX_MORE : IPCX_OK;
}

static ipcx_status next_ipcx(ipcx_decoder *decoder, look *at, ipcx_frame *frame)
{
    const uint8_t *p = at->data;
    size_t before, tail;
    ipcx_status status = check_header(decoder, at);
    if (status != IPCX_OK) {
        return status;
    }
    frame->type = (ipcx_frame_type)p[3];
    frame->flags = ipcx_endian_load16(p + 4);
    frame->extension_size = ipcx_endian_load16(p + 6);
    frame->payload_size = ipcx_endian_load32(p + 8);
    before = IPCX_FRAME_HEADER + (frame->flags & IPCX_FRAME_CORRELATION ? 8u : 0u);
    tail = frame->flags & IPCX_FRAME_CRC ? 4 : 0;
    if (decoder->most != 0 && before + frame->extension_size + tail > decoder->most) {
        return too_large(decoder, before + frame->extension_size + tail, 6);
    }
    if (decoder->most != 0 &&
        frame->payload_size > decoder->most - before - frame->extension_size - tail) {
        return too_large(decoder, frame->payload_size, 8);
    }
    status = all_there(decoder, at, before + frame->extension_size, frame->payload_size, tail, 8);
    if (status != IPCX_OK) {
        return status;
    }
    if (tail != 0) {
        size_t covered = at->whole - tail;
        uint32_t crc = ipcx_crc32c_update(0, p, covered);
        if (crc != ipcx_endian_load32(p + covered)) {
            return broken(decoder, IPCX_CORRUPT, covered, "the checksum is 0x%08x and not 0x%08x",
                          ipcx_endian_load32(p + covered), crc);
        }
    }
    frame->correlation =
        frame->flags & IPCX_FRAME_CORRELATION ? ipcx_endian_load64(p + IPCX_FRAME_HEADER) : 0;
    frame->extension = p + before;
    frame->payload = p + before + frame->extension_size;
    return IPCX_OK;
}

/* The frame that comes most, looked at as a whole: a message without flags, extension and bound,
 * all of it there. False: it is another, or none. */
static bool next_plain(const ipcx_decoder *decoder, look *at, ipcx_frame *frame)
{
    size_t size;
    if (at->size < IPCX_FRAME_HEADER || memcmp(at->data, IPCX__PLAIN, 8) != 0 ||
        decoder->framing.kind != IPCX_FRAMING_IPCX || decoder->most != 0) {
        return false;
    }
    size = ipcx_endian_load32(at->data + 8);
    if (size > decoder->framing.max_message || size > at->size - IPCX_FRAME_HEADER) {
        return false;
    }
    frame->type = IPCX_FRAME_DATA;
    frame->flags = 0;
    frame->correlation = 0;
    frame->extension = frame->payload = at->data + IPCX_FRAME_HEADER;
    frame->extension_size = 0;
    frame->payload_size = size;
    at->whole = IPCX_FRAME_HEADER + size;
    return true;
}

static ipcx_status next_prefix(ipcx_decoder *decoder, look *at, ipcx_frame *frame)
{
    size_t width = decoder->framing.size;
    uint64_t length = 0;
    if (at->size < width) {
        return IPCX_MORE;
    }
    for (size_t i = 0; i < width; i++) {
        length = length << 8 | at->data[decoder->framing.little_endian ? width - 1 - i : i];
    }
    frame->payload = at->data + width;
    frame->payload_size = (size_t)length;
    return all_there(decoder, at, width, length, 0, 0);
}

static ipcx_status next_varint(ipcx_decoder *decoder, look *at, ipcx_frame *frame)
{
    uint64_t length = 0;
    size_t i = 0;
    for (;;) {
        uint8_t byte;
        if (i == at->size) {
            return IPCX_MORE;
        }
        byte = at->data[i];
        if (i == 9 && byte > 1) {
            return broken(decoder, IPCX_PROTOCOL, i, "a varint over 64 bits");
        }
        length |= (uint64_t)(byte & 0x7f) << (7 * i);
        i++;
        if (byte < 0x80) {
            break;
        }
    }
    frame->payload = at->data + i;
    frame->payload_size = (size_t)length;
    return all_there(decoder, at, i, length, 0, 0);
}

static ipcx_status next_netstring(ipcx_decoder *decoder, look *at, ipcx_frame *frame)
{
    size_t length = 0, i = 0;
    ipcx_status status;
    for (; i < at->size && at->data[i] != ':'; i++) {
        uint8_t byte = at->data[i];
        if (byte < '0' || byte > '9' || (i == 1 && at->data[0] == '0')) {
            return broken(decoder, IPCX_PROTOCOL, i, "no netstring has such a length");
        }
        length = length * 10 + (size_t)(byte - '0');
        if (length > decoder->framing.max_message) {
            return too_large(decoder, length, 0);
        }
    }
    if (i == at->size) {
        return IPCX_MORE;
    }
    if (i == 0) {
        return broken(decoder, IPCX_PROTOCOL, 0, "a netstring without a length");
    }
    frame->payload = at->data + i + 1;
    frame->payload_size = length;
    status = all_there(decoder, at, i + 1, length, 1, 0);
    if (status == IPCX_OK && at->data[at->whole - 1] != ',') {
        return broken(decoder, IPCX_PROTOCOL, at->whole - 1, "a netstring that ends without ','");
    }
    return status;
}

static ipcx_status next_delimited(ipcx_decoder *decoder, look *at, ipcx_frame *frame)
{
    size_t width = decoder->framing.delimiter_size, limit = decoder->framing.max_message;
    size_t from = decoder->searched;
    const uint8_t *found =
        memmem(at->data + from, at->size - from, decoder->framing.delimiter, width);
    size_t length = found == NULL ? at->size : (size_t)(found - at->data);
    if (found == NULL) {
        /* The last bytes may be the beginning of the delimiter. */
        decoder->searched = at->size < width ? 0 : at->size - width + 1;
        length = decoder->searched;
    }
    if (length > limit) {
        return too_large(decoder, (uint64_t)limit + 1, limit);
    }
    if (found == NULL) {
        return IPCX_MORE;
    }
    decoder->searched = 0;
    frame->payload = at->data;
    frame->payload_size = length;
    at->whole = length + width;
    return IPCX_OK;
}

static ipcx_status next_message(ipcx_decoder *decoder, look *at, ipcx_frame *frame)
{
    switch (decoder->framing.kind) {
    case IPCX_FRAMING_IPCX:
        return next_ipcx(decoder, at, frame);
    case IPCX_FRAMING_PREFIX:
        return next_prefix(decoder, at, frame);
    case IPCX_FRAMING_VARINT:
        return next_varint(decoder, at, frame);
    case IPCX_FRAMING_NETSTRING:
        return next_netstring(decoder, at, frame);
    case IPCX_FRAMING_DELIMITER:
        return next_delimited(decoder, at, frame);
    case IPCX_FRAMING_FIXED:
        break;
    }
    frame->payload = at->data;
    frame->payload_size = decoder->framing.size;
    return all_there(decoder, at, 0, decoder->framing.size, 0, 0);
}

/* A text must be one. */
static ipcx_status check_text(ipcx_decoder *decoder, const look *at, const ipcx_frame *frame)
{
    size_t valid = ipcx__utf8_valid(frame->payload, frame->payload_size);
    if (valid == frame->payload_size) {
        return IPCX_OK;
    }
    return broken(decoder, IPCX_PROTOCOL,
                  (size_t)((const uint8_t *)frame->payload - at->data) + valid,
                  "a text that is no UTF-8");
}

/* Any other frame, of any framing. */
static ipcx_status next_other(ipcx_decoder *decoder, look at, ipcx_frame *frame, ipcx_error *err)
{
    ipcx_frame found = {.type = IPCX_FRAME_DATA,
                        .flags = decoder->framing.text ? IPCX_FRAME_TEXT : 0};
    ipcx_status status = next_message(decoder, &at, &found);
    if (status == IPCX_OK && (found.flags & IPCX_FRAME_TEXT)) {
        status = check_text(decoder, &at, &found);
    }
    if (status == IPCX_OK) {
        decoder->lent = at.whole;
        *frame = found;
    } else if (status == IPCX_MORE) {
        decoder->missing = at.whole > at.size ? at.whole - at.size : 0;
    } else {
        status = sticky(decoder, err);
    }
    return status;
}

ipcx_status ipcx_decoder_next(ipcx_decoder *decoder, ipcx_frame *frame, ipcx_error *err)
{
    look at = {0};
    ipcx_status status = sticky(decoder, err);
    if (status != IPCX_OK) {
        return status;
    }
    drop_lent(decoder);
    at.data = ipcx_buf_data(&decoder->buf);
    at.size = ipcx_buf_len(&decoder->buf);
    decoder->missing = 0;
    if (at.size == 0) {
        return IPCX_MORE;
    }
    if (IPCX_LIKELY(next_plain(decoder, &at, frame))) {
        decoder->lent = at.whole;
        return IPCX_OK;
    }
    return next_other(decoder, at, frame, err);
}
