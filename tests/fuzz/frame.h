/* SPDX-License-Identifier: Apache-2.0
 * What the targets fuzz_frame_*.c do with a stream: it says the same whole, byte by byte and in
 * pieces, by feed and by reserve; and each message that comes out is encoded and decoded again.
 * Invariant: included in one file of a program. */
#ifndef IPCX_TESTS_FUZZ_FRAME_H
#define IPCX_TESTS_FUZZ_FRAME_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipcx/crc32c.h"
#include "ipcx/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a decoder said: how much, a checksum of it all, how it ended. */
typedef struct answer {
    uint64_t frames;
    uint32_t sum;
    ipcx_status status;
    uint64_t offset;
    size_t pending;
} answer;

static inline void must(int condition)
{
    if (!condition) {
        abort();
    }
}

static inline uint32_t frame_sum(uint32_t sum, const ipcx_frame *frame)
{
    uint64_t head[] = {(uint64_t)frame->type, frame->flags, frame->correlation,
                       frame->extension_size, frame->payload_size};
    sum = ipcx_crc32c_update(sum, head, sizeof head);
    if (frame->extension_size > 0) {
        sum = ipcx_crc32c_update(sum, frame->extension, frame->extension_size);
    }
    return ipcx_crc32c_update(sum, frame->payload, frame->payload_size);
}

/* The frame encoded and decoded is the frame; where only one encoding exists it is `seen`. */
static inline void check_round_trip(const ipcx_framing *framing, const ipcx_frame *frame,
                                    const uint8_t *seen)
{
    ipcx_envelope around;
    ipcx_decoder decoder;
    ipcx_frame again = {0};
    const uint8_t *made;
    size_t size;
    must(ipcx_frame_encode(framing, frame, &around, NULL) == IPCX_OK);
    must(ipcx_decoder_init(&decoder, framing, NULL) == IPCX_OK);
    must(ipcx_decoder_feed(&decoder, around.head, around.head_size, NULL) == IPCX_OK);
    must(ipcx_decoder_feed(&decoder, frame->extension, frame->extension_size, NULL) == IPCX_OK);
    must(ipcx_decoder_feed(&decoder, frame->payload, frame->payload_size, NULL) == IPCX_OK);
    must(ipcx_decoder_feed(&decoder, around.tail, around.tail_size, NULL) == IPCX_OK);
    size = ipcx_decoder_pending(&decoder);
    made = ipcx_buf_data(&decoder.buf);
    must(framing->kind == IPCX_FRAMING_VARINT || memcmp(made, seen, size) == 0);
    must(ipcx_decoder_next(&decoder, &again, NULL) == IPCX_OK);
    must(ipcx_decoder_pending(&decoder) == 0);
    must(frame_sum(0, frame) == frame_sum(0, &again));
    ipcx_decoder_fini(&decoder);
}

/* `bytes` in pieces of `piece`; round trips only when they come whole. */
static inline answer decode(const ipcx_framing *framing, const uint8_t *bytes, size_t size,
                            size_t piece, int reserve)
{
    answer said = {.status = IPCX_MORE};
    ipcx_decoder decoder;
    ipcx_frame frame;
    size_t at = 0;
    must(ipcx_decoder_init(&decoder, framing, NULL) == IPCX_OK);
    while (at < size && said.status == IPCX_MORE) {
        size_t n = piece < size - at ? piece : size - at;
        if (reserve) {
            uint8_t *room;
            size_t space;
            must(ipcx_decoder_reserve(&decoder, &room, &space, NULL) == IPCX_OK && space > 0);
            n = n < space ? n : space;
            memcpy(room, bytes + at, n);
            ipcx_decoder_commit(&decoder, n);
        } else {
            must(ipcx_decoder_feed(&decoder, bytes + at, n, NULL) == IPCX_OK);
        }
        at += n;
        while ((said.status = ipcx_decoder_next(&decoder, &frame, NULL)) == IPCX_OK) {
            must(frame.payload_size <= framing->max_message);
            said.sum = frame_sum(said.sum, &frame);
            said.frames++;
            if (piece == size) {
                check_round_trip(framing, &frame, bytes + decoder.offset);
            }
        }
    }
    must(said.status == IPCX_MORE || said.status < 0);
    must(ipcx_decoder_next(&decoder, &frame, NULL) == said.status);
    said.offset = said.status < 0 ? ipcx_decoder_error_offset(&decoder) : 0;
    said.pending = said.status < 0 ? 0 : ipcx_decoder_pending(&decoder);
    must(said.offset <= size);
    ipcx_decoder_fini(&decoder);
    return said;
}

static inline void must_agree(const answer *a, const answer *b)
{
    must(a->frames == b->frames && a->sum == b->sum && a->status == b->status &&
         a->offset == b->offset && a->pending == b->pending);
}

static inline void fuzz_stream(const ipcx_framing *framing, const uint8_t *bytes, size_t size)
{
    answer whole = decode(framing, bytes, size, size, 0);
    answer single = decode(framing, bytes, size, 1, 0);
    answer pieces = decode(framing, bytes, size, 2 + size % 61, 1);
    must_agree(&whole, &single);
    must_agree(&whole, &pieces);
}

#endif
