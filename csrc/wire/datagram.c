/* SPDX-License-Identifier: Apache-2.0
 * Frames into datagrams and out of them. */
#include "wire/datagram.h"

#include "ipcx/crc32c.h"
#include "ipcx/endian.h"
#include "wire/frame.h"

#define EXTENSION 24

size_t ipcx__datagram_head(const ipcx__datagram *datagram, uint8_t head[IPCX__DATAGRAM_HEAD])
{
    uint8_t *at = head + IPCX_FRAME_HEADER;
    head[0] = 'I';
    head[1] = 'X';
    head[2] = IPCX_FRAME_VERSION;
    head[3] = (uint8_t)datagram->type;
    ipcx_endian_store16(head + 4, (uint16_t)datagram->flags);
    ipcx_endian_store16(head + 6, EXTENSION);
    ipcx_endian_store32(head + 8, (uint32_t)datagram->payload_size);
    if (datagram->flags & IPCX_FRAME_CORRELATION) {
        ipcx_endian_store64(at, datagram->correlation);
        at += 8;
    }
    ipcx_endian_store64(at, datagram->from);
    ipcx_endian_store64(at + 8, datagram->to);
    ipcx_endian_store64(at + 16, datagram->sequence);
    return (size_t)(at + EXTENSION - head);
}

size_t ipcx__datagram_tail(const ipcx__datagram *datagram, const uint8_t *head, size_t head_size,
                           uint8_t tail[IPCX__DATAGRAM_TAIL])
{
    uint32_t crc;
    if (!(datagram->flags & IPCX_FRAME_CRC)) {
        return 0;
    }
    crc = ipcx_crc32c_update(0, head, head_size);
    crc = ipcx_crc32c_update(crc, datagram->payload, datagram->payload_size);
    ipcx_endian_store32(tail, crc);
    return IPCX__DATAGRAM_TAIL;
}

/* Whether type, flags and numbers go together. */
static bool makes_sense(const ipcx__datagram *got)
{
    bool sync = (got->flags & IPCX_FRAME_SYNC) != 0;
    bool correlated = (got->flags & IPCX_FRAME_CORRELATION) != 0;
    bool numbered = got->sequence != 0;
    if (got->from == 0 || (got->type != IPCX_FRAME_DATA && (sync || got->payload_size > 0))) {
        return false;
    }
    switch (got->type) {
    case IPCX_FRAME_DATA:
        return numbered && sync == correlated && (!sync || got->correlation == got->sequence);
    case IPCX_FRAME_BYE:
        return numbered && !correlated;
    case IPCX_FRAME_ACK:
        return !numbered && correlated;
    case IPCX_FRAME_PING:
    case IPCX_FRAME_PONG:
        return !numbered && !correlated;
    default:
        return false;
    }
}

bool ipcx__datagram_parse(const void *bytes, size_t size, size_t most, ipcx__datagram *datagram)
{
    const uint8_t *p = bytes, *at;
    size_t before, extension, tail;
    ipcx__datagram got;
    if (size < IPCX_FRAME_HEADER + EXTENSION || p[0] != 'I' || p[1] != 'X' ||
        p[2] != IPCX_FRAME_VERSION) {
        return false;
    }
    got = (ipcx__datagram){.type = (ipcx_frame_type)p[3], .flags = ipcx_endian_load16(p + 4)};
    extension = ipcx_endian_load16(p + 6);
    got.payload_size = ipcx_endian_load32(p + 8);
    before = IPCX_FRAME_HEADER + (got.flags & IPCX_FRAME_CORRELATION ? 8u : 0u);
    tail = got.flags & IPCX_FRAME_CRC ? IPCX__DATAGRAM_TAIL : 0;
    if (ipcx__flags_bad(got.flags) || extension < EXTENSION || got.payload_size > most ||
        size != before + extension + got.payload_size + tail) {
        return false;
    }
    at = p + before;
    got.correlation =
        got.flags & IPCX_FRAME_CORRELATION ? ipcx_endian_load64(p + IPCX_FRAME_HEADER) : 0;
    got.from = ipcx_endian_load64(at);
    got.to = ipcx_endian_load64(at + 8);
    got.sequence = ipcx_endian_load64(at + 16);
    got.payload = at + extension;
    if (!makes_sense(&got) ||
        (tail != 0 &&
         ipcx_endian_load32(p + size - tail) != ipcx_crc32c_update(0, p, size - tail)) ||
        ((got.flags & IPCX_FRAME_TEXT) != 0 &&
         ipcx__utf8_valid(got.payload, got.payload_size) != got.payload_size)) {
        return false;
    }
    *datagram = got;
    return true;
}
