/* SPDX-License-Identifier: Apache-2.0
 * One frame a datagram: the frames of ipcx/frame.h, each with an extension of 24 bytes or more that
 * says whose it is: the sender's epoch, its receiver's (0: not known yet), a sequence number.
 * docs/protocol.md, "Datagrams", has the rules.
 * Invariant: what is parsed is a whole frame and nothing else; nothing is believed of it. */
#ifndef IPCX_WIRE_DATAGRAM_H
#define IPCX_WIRE_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipcx/frame.h"

#define IPCX__DATAGRAM_PAYLOAD ((size_t)60000) /* what fits into any UDP datagram, with room */
#define IPCX__DATAGRAM_HEAD (IPCX_FRAME_HEADER + 8 + 24)
#define IPCX__DATAGRAM_TAIL 4
#define IPCX__DATAGRAM_MAX (IPCX__DATAGRAM_PAYLOAD + IPCX__DATAGRAM_HEAD + IPCX__DATAGRAM_TAIL)

typedef struct ipcx__datagram {
    ipcx_frame_type type;
    unsigned flags;
    uint64_t from, to;    /* epochs */
    uint64_t sequence;    /* DATA and BYE: 1, 2, 3 …; of all others 0 */
    uint64_t correlation; /* a DATA with SYNC: its sequence number; ACK: that which it answers */
    const void *payload;
    size_t payload_size;
} ipcx__datagram;

/* ipcx__datagram_head: writes what stands before the payload; returns its size. */
size_t ipcx__datagram_head(const ipcx__datagram *datagram, uint8_t head[IPCX__DATAGRAM_HEAD]);

/* ipcx__datagram_tail: with IPCX_FRAME_CRC writes the checksum of head and payload; its size. */
size_t ipcx__datagram_tail(const ipcx__datagram *datagram, const uint8_t *head, size_t head_size,
                           uint8_t tail[IPCX__DATAGRAM_TAIL]);

/* ipcx__datagram_parse: false: no frame, or one that may not come in a datagram, or whose payload
 * is longer than `most`. The payload is lent from `bytes`. */
bool ipcx__datagram_parse(const void *bytes, size_t size, size_t most, ipcx__datagram *datagram);

#endif
