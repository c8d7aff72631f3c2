/* SPDX-License-Identifier: Apache-2.0
 * Framing: messages into a stream of bytes and out of it again, in whatever pieces it comes.
 *
 *     stream   …00 05 'h' 'e' 'l' | 'l' 'o' 00 07 'g' …       what recv(2) happens to give
 *     feed     ───────────────────▶ decoder
 *     next     ◀── MORE … OK "hello" … MORE                   one message at a time, whole
 *
 * ipcx's own frame is a header of 12 bytes, its integers most significant byte first, then what the
 * flags announce (docs/protocol.md says what each means, with examples in hex):
 *
 *     0    2       3    4     6         8              12
 *     ┌────┬───────┬────┬─────┬─────────┬──────────────┬───────────────┬─────┬─────────┬───────┐
 *     │"IX"│version│type│flags│extension│payload length│ [correlation] │ext. │ payload │ [CRC] │
 *     │    │   1   │    │     │ length  │              │    8 bytes    │     │         │   4   │
 *     └────┴───────┴────┴─────┴─────────┴──────────────┴───────────────┴─────┴─────────┴───────┘
 * Invariant: no byte is allocated for a length over the limit; an error stays until a reset. */
#ifndef IPCX_FRAME_H
#define IPCX_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"
#include "ipcx/buf.h"
#include "ipcx/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ipcx_frame_type {
    IPCX_FRAME_DATA = 1,    /* a message */
    IPCX_FRAME_ACK,         /* the message with this correlation was received */
    IPCX_FRAME_REQUEST,     /* wants a REPLY or an ERROR with the same correlation */
    IPCX_FRAME_REPLY,       /* the answer */
    IPCX_FRAME_ERROR,       /* the answer: it failed */
    IPCX_FRAME_PUBLISH,     /* a message under a topic, which is the extension */
    IPCX_FRAME_SUBSCRIBE,   /* extension: a topic to be sent from now on */
    IPCX_FRAME_UNSUBSCRIBE, /* extension: one no longer wanted */
    IPCX_FRAME_PING,        /* wants a PONG with the same payload */
    IPCX_FRAME_PONG,        /* "I am here" */
    IPCX_FRAME_HELLO,       /* the first frame each way: versions, limits, capabilities */
    IPCX_FRAME_BYE,         /* the last: a clean end */
    IPCX_FRAME_HANDOVER,    /* an end of a channel, for the receiver to keep */
    IPCX_FRAME_PROOF        /* the sender has the key; or: it does not talk to you */
} ipcx_frame_type;

/* Flags; every other bit must be 0. */
#define IPCX_FRAME_TEXT 0x0001u        /* the payload is UTF-8; both sides check it */
#define IPCX_FRAME_CORRELATION 0x0002u /* 8 bytes of correlation follow the header */
#define IPCX_FRAME_CRC 0x8004u  /* a CRC-32C of all before it ends the frame; both bits or none */
#define IPCX_FRAME_SYNC 0x0008u /* the sender waits for the ACK (rendezvous) */
/* The version of these frames, and the bytes of a header. */
#define IPCX_FRAME_VERSION 1
#define IPCX_FRAME_HEADER 12

/* Our own, and those that foreign protocols use. */
typedef enum ipcx_framing_kind {
    IPCX_FRAMING_IPCX,      /* our own */
    IPCX_FRAMING_FIXED,     /* each message has `size` bytes */
    IPCX_FRAMING_PREFIX,    /* an unsigned length of `size` = 1, 2, 4 or 8 bytes in front */
    IPCX_FRAMING_VARINT,    /* a length as Protocol Buffers write it: 7 bits a byte, lowest first */
    IPCX_FRAMING_NETSTRING, /* "5:hello," */
    IPCX_FRAMING_DELIMITER  /* `delimiter` behind each message, which cannot hold it */
} ipcx_framing_kind;

/* How messages are told apart. */
typedef struct ipcx_framing {
    ipcx_framing_kind kind;
    size_t max_message; /* the largest payload, either way, at most 2^31; there is no default */
    size_t size;        /* FIXED, PREFIX */
    int little_endian;  /* PREFIX: the length's least significant byte comes first */
    int text;           /* all but IPCX, whose frames say it themselves: every message is UTF-8 */
    size_t delimiter_size; /* DELIMITER */
    char delimiter[32];
} ipcx_framing;

/* One message with what belongs to it. Foreign framings carry the payload alone; their messages
 * come out as DATA, with the flag TEXT if the framing says so. */
typedef struct ipcx_frame {
    ipcx_frame_type type;
    uint16_t flags;
    uint64_t correlation; /* with IPCX_FRAME_CORRELATION */
    const void *extension;
    size_t extension_size; /* at most 65535 */
    const void *payload;
    size_t payload_size;
} ipcx_frame;

/* What stands around a message: head, extension, payload and tail, in this order, are the frame. */
typedef struct ipcx_envelope {
    size_t head_size, tail_size;
    uint8_t head[32], tail[32];
} ipcx_envelope;

/* ipcx_frame_encode: the envelope of `frame`; the payload itself is copied nowhere. TOO_LARGE: over
 * max_message, or over what a length of this width can say. INVALID: what the framing cannot carry:
 * another size than FIXED's, the delimiter inside, a text that is no UTF-8 … */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_frame_encode(const ipcx_framing *framing,
                                                      const ipcx_frame *frame,
                                                      ipcx_envelope *envelope, ipcx_error *err);

/* A decoder, for one thread at a time. {0} is one that is not initialised. Fields: its own. */
typedef struct ipcx_decoder {
    ipcx_framing framing;
    ipcx_buf buf;
    uint64_t offset;    /* of the first byte in `buf`, counted from the start of the stream */
    size_t lent;        /* bytes of the message that next lent; the next call drops them */
    size_t searched;    /* DELIMITER: it does not begin within so many bytes */
    size_t missing;     /* bytes that the message under way still lacks; 0: not known */
    size_t ahead, room; /* a read asks for: doubled while it comes back full; reserve lent */
    size_t most;        /* bytes of a whole frame, and held at all; 0: no such bound */
    ipcx_error error;   /* status < 0: what is wrong, for good */
    uint64_t error_offset;
} ipcx_decoder;

/* ipcx_decoder_init, ipcx_decoder_fini: init allocates nothing. INVALID: no such framing. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_decoder_init(ipcx_decoder *decoder,
                                                      const ipcx_framing *framing, ipcx_error *err);
IPCX_API void ipcx_decoder_fini(ipcx_decoder *decoder);

/* ipcx_decoder_reset: forgets bytes and error, keeps framing and memory; offsets count anew. */
IPCX_API void ipcx_decoder_reset(ipcx_decoder *decoder);

/* ipcx_decoder_feed: copies all `size` bytes in. NOMEM, or the sticky error. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_decoder_feed(ipcx_decoder *decoder, const void *bytes,
                                                      size_t size, ipcx_error *err);

/* ipcx_decoder_reserve, ipcx_decoder_commit: feed without the copy. `*room` is space to receive at
 * most `*size` bytes into; commit, the next call, says how many came. The size follows what came
 * before, never what a header promised. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_decoder_reserve(ipcx_decoder *decoder, uint8_t **room,
                                                         size_t *size, ipcx_error *err);
IPCX_API void ipcx_decoder_commit(ipcx_decoder *decoder, size_t size);

/* ipcx_decoder_next: the next whole message. OK: *frame, its slices lent until the next call. MORE:
 * feed it. PROTOCOL, VERSION, CORRUPT, TOO_LARGE: the stream is broken at byte error_offset. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_decoder_next(ipcx_decoder *decoder, ipcx_frame *frame,
                                                      ipcx_error *err);

/* ipcx_decoder_pending, ipcx_decoder_error_offset: the bytes held that are no message yet (at the
 * end of a stream: it was cut off in the middle of one); where in the stream the error is. */
IPCX_API size_t ipcx_decoder_pending(const ipcx_decoder *decoder);
IPCX_API uint64_t ipcx_decoder_error_offset(const ipcx_decoder *decoder);

#ifdef __cplusplus
}
#endif

#endif
