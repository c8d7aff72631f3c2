/* SPDX-License-Identifier: Apache-2.0
 * What stands around a payload on the wire.
 * Invariant: whatever is encoded here, a decoder of the same framing takes apart again. */
#include <stdio.h>
#include <string.h>

#include "ipcx/crc32c.h"
#include "ipcx/endian.h"
#include "wire/frame.h"

ipcx_status ipcx__framing_check(const ipcx_framing *framing, ipcx_error *err)
{
    const char *wrong = NULL;
    size_t size = framing->size;
    if (framing->max_message > IPCX__MESSAGE_MAX) {
        wrong = "max_message is over 2^31 bytes";
    } else if ((unsigned)framing->kind > IPCX_FRAMING_DELIMITER) {
        wrong = "no such framing";
    } else if (framing->kind == IPCX_FRAMING_FIXED && (size == 0 || size > framing->max_message)) {
        wrong = "the fixed size is 0 or over max_message";
    } else if (framing->kind == IPCX_FRAMING_PREFIX && size != 1 && size != 2 && size != 4 &&
               size != 8) {
        wrong = "a length prefix has 1, 2, 4 or 8 bytes";
    } else if (framing->kind == IPCX_FRAMING_DELIMITER &&
               (framing->delimiter_size == 0 ||
                framing->delimiter_size > sizeof framing->delimiter)) {
        wrong = "a delimiter has 1 to 32 bytes";
    }
    return wrong == NULL ? IPCX_OK : ipcx_error_set(err, IPCX_INVALID, 0, "framing", "%s", wrong);
}

static ipcx_status check_text(const ipcx_frame *frame, ipcx_error *err)
{
    size_t valid = ipcx__utf8_valid(frame->payload, frame->payload_size);
    return valid == frame->payload_size
               ? IPCX_OK
               : ipcx_error_set(err, IPCX_INVALID, 0, "encode",
                                "the text is no UTF-8 from byte %zu on", valid);
}

/* What stands before the extension; `head` has room for the longest. */
static ipcx_status head_of(const ipcx_frame *frame, uint8_t *head, size_t *size, ipcx_error *err)
{
    head[0] = 'I';
    head[1] = 'X';
    head[2] = IPCX_FRAME_VERSION;
    head[3] = (uint8_t)frame->type;
    ipcx_endian_store16(head + 4, frame->flags);
    ipcx_endian_store16(head + 6, (uint16_t)frame->extension_size);
    ipcx_endian_store32(head + 8, (uint32_t)frame->payload_size);
    if (frame->type < IPCX_FRAME_DATA || frame->type > IPCX_FRAME_PROOF ||
        ipcx__flags_bad(frame->flags) || frame->extension_size > UINT16_MAX) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "encode",
                              "type %d, flags 0x%04x, extension of %zu bytes", (int)frame->type,
                              frame->flags, frame->extension_size);
    }
    *size = IPCX_FRAME_HEADER;
    if (frame->flags & IPCX_FRAME_CORRELATION) {
        ipcx_endian_store64(head + IPCX_FRAME_HEADER, frame->correlation);
        *size += 8;
    }
    return frame->flags & IPCX_FRAME_TEXT ? check_text(frame, err) : IPCX_OK;
}

ipcx_status ipcx__frame_write(const ipcx_frame *frame, uint8_t *to, size_t *size, ipcx_error *err)
{
    size_t at;
    ipcx_status status = head_of(frame, to, &at, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (frame->extension_size > 0) {
        memcpy(to + at, frame->extension, frame->extension_size);
        at += frame->extension_size;
    }
    if (frame->payload_size > 0) {
        memcpy(to + at, frame->payload, frame->payload_size);
        at += frame->payload_size;
    }
    if (frame->flags & IPCX_FRAME_CRC) {
        ipcx_endian_store32(to + at, ipcx_crc32c_update(0, to, at));
        at += 4;
    }
    *size = at;
    return IPCX_OK;
}

static ipcx_status encode_ipcx(const ipcx_frame *frame, ipcx_envelope *envelope, ipcx_error *err)
{
    ipcx_status status = head_of(frame, envelope->head, &envelope->head_size, err);
    if (status == IPCX_OK && (frame->flags & IPCX_FRAME_CRC)) {
        uint32_t crc = ipcx_crc32c_update(0, envelope->head, envelope->head_size);
        crc = ipcx_crc32c_update(crc, frame->extension, frame->extension_size);
        crc = ipcx_crc32c_update(crc, frame->payload, frame->payload_size);
        ipcx_endian_store32(envelope->tail, crc);
        envelope->tail_size = 4;
    }
    return status;
}

static size_t encode_prefix(const ipcx_framing *framing, uint64_t length, uint8_t *head)
{
    for (size_t i = 0; i < framing->size; i++) {
        size_t shift = 8 * (framing->little_endian ? i : framing->size - 1 - i);
        head[i] = (uint8_t)(length >> shift);
    }
    return framing->size;
}

static size_t encode_varint(uint64_t length, uint8_t *head)
{
    size_t size = 0;
    while (length >= 0x80) {
        head[size++] = (uint8_t)(length | 0x80);
        length >>= 7;
    }
    head[size++] = (uint8_t)length;
    return size;
}

/* Whether the delimiter would be found before the payload's end: within it, or begun by its last
 * bytes and completed by the delimiter itself ("xa" and the delimiter "aa"). */
static int holds_delimiter(const ipcx_framing *framing, const ipcx_frame *frame)
{
    uint8_t seam[2 * sizeof framing->delimiter];
    size_t width = framing->delimiter_size, size = frame->payload_size;
    size_t last = size < width - 1 ? size : width - 1;
    if (size == 0) {
        return 0;
    }
    memcpy(seam, (const uint8_t *)frame->payload + size - last, last);
    memcpy(seam + last, framing->delimiter, width);
    return memmem(frame->payload, size, framing->delimiter, width) != NULL ||
           memmem(seam, last + width, framing->delimiter, width) != seam + last;
}

/* What a foreign framing cannot carry. */
static ipcx_status check_foreign(const ipcx_framing *framing, const ipcx_frame *frame,
                                 ipcx_error *err)
{
    size_t size = frame->payload_size;
    unsigned flags = framing->text ? IPCX_FRAME_TEXT : 0;
    if (frame->type != IPCX_FRAME_DATA || (frame->flags & ~flags) || frame->extension_size > 0) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "encode",
                              "this framing carries payloads alone: no types, flags, extension");
    }
    if (framing->kind == IPCX_FRAMING_FIXED && size != framing->size) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "encode",
                              "%zu bytes where each message has %zu", size, framing->size);
    }
    if (framing->kind == IPCX_FRAMING_PREFIX && framing->size < 4 &&
        size >> (8 * framing->size) != 0) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "encode",
                              "%zu bytes do not fit a length of %zu bytes", size, framing->size);
    }
    if (framing->kind == IPCX_FRAMING_DELIMITER && holds_delimiter(framing, frame)) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "encode",
                              "the message holds the delimiter that ends it");
    }
    return framing->text ? check_text(frame, err) : IPCX_OK;
}

static void encode_foreign(const ipcx_framing *framing, size_t size, ipcx_envelope *envelope)
{
    uint8_t *head = envelope->head;
    switch (framing->kind) {
    case IPCX_FRAMING_PREFIX:
        envelope->head_size = encode_prefix(framing, size, head);
        break;
    case IPCX_FRAMING_VARINT:
        envelope->head_size = encode_varint(size, head);
        break;
    case IPCX_FRAMING_NETSTRING:
        envelope->head_size = (size_t)snprintf((char *)head, sizeof envelope->head, "%zu:", size);
        envelope->tail[0] = ',';
        envelope->tail_size = 1;
        break;
    case IPCX_FRAMING_DELIMITER:
        memcpy(envelope->tail, framing->delimiter, framing->delimiter_size);
        envelope->tail_size = framing->delimiter_size;
        break;
    default: /* FIXED: nothing but the payload */
        break;
    }
}

ipcx_status ipcx_frame_encode(const ipcx_framing *framing, const ipcx_frame *frame,
                              ipcx_envelope *envelope, ipcx_error *err)
{
    ipcx_envelope made = {0};
    ipcx_status status = ipcx__framing_check(framing, err);
    if (status != IPCX_OK) {
        return status;
    }
    if (frame->payload_size > framing->max_message) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "encode", "%zu bytes; the limit is %zu",
                              frame->payload_size, framing->max_message);
    }
    if (framing->kind == IPCX_FRAMING_IPCX) {
        status = encode_ipcx(frame, &made, err);
    } else {
        status = check_foreign(framing, frame, err);
        encode_foreign(framing, frame->payload_size, &made);
    }
    if (status == IPCX_OK) {
        *envelope = made;
    }
    return status;
}
