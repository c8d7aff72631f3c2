/* SPDX-License-Identifier: Apache-2.0
 * What stands around a payload on the wire.
 * Invariant: whatever is encoded here, a decoder of the same framing takes apart again. */
#include <stdio.h>
#include <string.h>

#include "ipcx/crc32c.h"
#include "ipcx/endian.h"
#include "wire/frame.h"

ipcx_status ipcx_framing_check(const ipcx_framing *framing, ipcx_error *err)
{
    const char *wrong = NULL;
    size_t size = framing->size;
    if (framing->max_message > IPCX__MESSAGE_MAX) {
        wrong = "max_message is over 2^31 bytes";
    } else if (framing->kind > IPCX_FRAMING_DELIMITER) {
        wrong = "no such framing";
    } else if (framing->kind == IPCX_FRAMING_FIXED && (size == 0 || size > framing->max_message)) {
        wrong = "the fixed size is 0 or over max_message";
    } else if (framing->kind == IPCX_FRAMING_PREFIX && size != 1 && size != 2 && size != 4 &&
               size != 8) {
        wrong = "a length prefix has 1, 2, 4 or 8 bytes";
    } else if (framing->kind == IPCX_FRAMING_DELIMITER &&
               (framing->delimiter_size == 0 || framing->delimiter_size > IPCX_FRAMING_TAIL_MAX)) {
        wrong = "a delimiter has 1 to 32 bytes";
    }
    return wrong == NULL ? IPCX_OK : ipcx_error_set(err, IPCX_INVALID, 0, "framing", "%s", wrong);
}

static ipcx_status encode_ipcx(const ipcx_frame *frame, uint8_t *head, size_t *head_size,
                               uint8_t *tail, size_t *tail_size, ipcx_error *err)
{
    size_t size = IPCX_FRAME_HEADER;
    if (frame->type < IPCX_FRAME_DATA || frame->type > IPCX_FRAME_BYE ||
        (frame->flags & ~IPCX__FLAGS) || frame->extension_size > UINT16_MAX) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "encode",
                              "type %d, flags 0x%04x, extension of %zu bytes", (int)frame->type,
                              frame->flags, frame->extension_size);
    }
    if ((frame->flags & IPCX_FRAME_TEXT) &&
        ipcx__utf8_valid(frame->payload, frame->payload_size) < frame->payload_size) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "encode", "the text is no UTF-8");
    }
    head[0] = 'I';
    head[1] = 'X';
    head[2] = IPCX_FRAME_VERSION;
    head[3] = (uint8_t)frame->type;
    ipcx_endian_store16(head + 4, frame->flags);
    ipcx_endian_store16(head + 6, (uint16_t)frame->extension_size);
    ipcx_endian_store32(head + 8, (uint32_t)frame->payload_size);
    if (frame->flags & IPCX_FRAME_CORRELATION) {
        ipcx_endian_store64(head + size, frame->correlation);
        size += 8;
    }
    *head_size = size;
    *tail_size = 0;
    if (frame->flags & IPCX_FRAME_CRC) {
        uint32_t crc = ipcx_crc32c_update(0, head, size);
        crc = ipcx_crc32c_update(crc, frame->extension, frame->extension_size);
        crc = ipcx_crc32c_update(crc, frame->payload, frame->payload_size);
        ipcx_endian_store32(tail, crc);
        *tail_size = 4;
    }
    return IPCX_OK;
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

/* INVALID where a foreign framing cannot carry the payload. */
static ipcx_status check_payload(const ipcx_framing *framing, const ipcx_frame *frame,
                                 ipcx_error *err)
{
    size_t size = frame->payload_size;
    if (framing->kind == IPCX_FRAMING_FIXED && size != framing->size) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "encode", "%zu bytes where each message has %zu",
                              size, framing->size);
    }
    if (framing->kind == IPCX_FRAMING_PREFIX && framing->size < 4 &&
        size >> (8 * framing->size) != 0) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "encode",
                              "%zu bytes do not fit a length of %zu bytes", size, framing->size);
    }
    if (framing->kind == IPCX_FRAMING_DELIMITER &&
        memmem(frame->payload, size, framing->delimiter, framing->delimiter_size) != NULL) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "encode",
                              "the message holds the delimiter that ends it");
    }
    return IPCX_OK;
}

ipcx_status ipcx_frame_encode(const ipcx_framing *framing, const ipcx_frame *frame, uint8_t *head,
                              size_t *head_size, uint8_t *tail, size_t *tail_size, ipcx_error *err)
{
    size_t size = frame->payload_size;
    ipcx_status status;
    if (size > framing->max_message) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "encode", "%zu bytes; the limit is %zu", size,
                              framing->max_message);
    }
    if (framing->kind == IPCX_FRAMING_IPCX) {
        return encode_ipcx(frame, head, head_size, tail, tail_size, err);
    }
    status = check_payload(framing, frame, err);
    if (status != IPCX_OK) {
        return status;
    }
    *head_size = 0;
    *tail_size = 0;
    switch (framing->kind) {
    case IPCX_FRAMING_PREFIX:
        *head_size = encode_prefix(framing, size, head);
        break;
    case IPCX_FRAMING_VARINT:
        *head_size = encode_varint(size, head);
        break;
    case IPCX_FRAMING_NETSTRING:
        *head_size = (size_t)snprintf((char *)head, IPCX_FRAMING_HEAD_MAX, "%zu:", size);
        tail[0] = ',';
        *tail_size = 1;
        break;
    case IPCX_FRAMING_DELIMITER:
        memcpy(tail, framing->delimiter, framing->delimiter_size);
        *tail_size = framing->delimiter_size;
        break;
    default: /* FIXED: nothing but the payload */
        break;
    }
    return IPCX_OK;
}
