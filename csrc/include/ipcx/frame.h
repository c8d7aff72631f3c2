/* SPDX-License-Identifier: Apache-2.0
 * Framing: messages in a stream of bytes, and the messages out of it again. No socket is needed: the
 * codec is fed with bytes from wherever they come, in pieces of whatever size.
 *
 *     stream   …c 05 'h' 'e' 'l' | 'l' 'o' 07 'g' …        what recv(2) happens to give
 *     feed     ─────────────────────▶ decoder
 *     next     ◀── MORE ··· OK "hello" ··· MORE            one message at a time, whole
 *
 * ipcx's own frame is a header of 12 bytes, all integers most significant byte first, then what its
 * flags announce (docs/protocol.md has examples in hex):
 *
 *     0      2         3      4       6           8               12
 *     ┌──────┬─────────┬──────┬───────┬───────────┬────────────────┬───────────────┬─────┬─────┐
 *     │ "IX" │ version │ type │ flags │ extension │ payload length │ [correlation] │ ext │ ... │
 *     │      │    1    │      │       │  length   │                │    8 bytes    │     │ [4] │
 *     └──────┴─────────┴──────┴───────┴───────────┴────────────────┴───────────────┴─────┴─────┘
 *                                                                   then payload, then [CRC-32C]
 * Foreign protocols are spoken by the other framings: fixed length, a length in front, a delimiter
 * behind.
 * Invariant: a length is checked against the limit before a byte is allocated for it, and a decoder
 * that has seen an error answers with that error until it is reset. */
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
    IPCX_FRAME_REQUEST,     /* wants a REPLY or ERROR of the same correlation */
    IPCX_FRAME_REPLY,
    IPCX_FRAME_ERROR,
    IPCX_FRAME_PUBLISH,     /* extension: the topic */
    IPCX_FRAME_SUBSCRIBE,
    IPCX_FRAME_UNSUBSCRIBE,
    IPCX_FRAME_PING,        /* wants a PONG */
    IPCX_FRAME_PONG,
    IPCX_FRAME_HELLO,       /* the first frame each way: limits and capabilities */
    IPCX_FRAME_BYE          /* the last: a clean end */
} ipcx_frame_type;

/* Flags; the others must be 0. */
#define IPCX_FRAME_TEXT 0x0001u        /* the payload is UTF-8, and checked */
#define IPCX_FRAME_CORRELATION 0x0002u /* 8 bytes of correlation follow the header */
#define IPCX_FRAME_CRC 0x0004u         /* CRC-32C of all that precedes it ends the frame */
#define IPCX_FRAME_SYNC 0x0008u        /* the sender waits for the ACK (rendezvous) */

#define IPCX_FRAME_VERSION 1
#define IPCX_FRAME_HEADER 12

/* The longest bytes any framing puts before a payload, beside the extension; and after it. */
#define IPCX_FRAMING_HEAD_MAX 32
#define IPCX_FRAMING_TAIL_MAX 32

typedef enum ipcx_framing_kind {
    IPCX_FRAMING_IPCX,      /* our own */
    IPCX_FRAMING_FIXED,     /* each message has `size` bytes */
    IPCX_FRAMING_PREFIX,    /* an unsigned length of `size` = 1, 2, 4 or 8 bytes in front */
    IPCX_FRAMING_VARINT,    /* a length as Protocol Buffers write it: 7 bits a byte, lowest first */
    IPCX_FRAMING_NETSTRING, /* "5:hello," */
    IPCX_FRAMING_DELIMITER  /* `delimiter` behind each message, which may not hold it */
} ipcx_framing_kind;

/* How messages are told apart. `max_message` is the largest payload either way and has no default. */
typedef struct ipcx_framing {
    ipcx_framing_kind kind;
    size_t max_message;
    size_t size;       /* FIXED, PREFIX */
    int little_endian; /* PREFIX */
    size_t delimiter_size;
    char delimiter[IPCX_FRAMING_TAIL_MAX];
} ipcx_framing;

/* One message with what belongs to it. With foreign framings only the payload counts. */
typedef struct ipcx_frame {
    ipcx_frame_type type;
    uint16_t flags;
    uint64_t correlation; /* with IPCX_FRAME_CORRELATION */
    const void *extension;
    size_t extension_size; /* at most 65535 */
    const void *payload;
    size_t payload_size;
} ipcx_frame;

/* ipcx_framing_check: INVALID when the description contradicts itself. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_framing_check(const ipcx_framing *framing,
                                                       ipcx_error *err);

/* ipcx_frame_encode: the bytes before and behind the payload; head, extension, payload, tail in this
 * order are the frame, so that nothing is copied (sendv). `head` and `tail` have the room above.
 * TOO_LARGE: over max_message. INVALID: what this framing cannot carry (another size than FIXED's,
 * the delimiter inside, a text that is no UTF-8, unknown flags). */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_frame_encode(const ipcx_framing *framing,
                                                      const ipcx_frame *frame, uint8_t *head,
                                                      size_t *head_size, uint8_t *tail,
                                                      size_t *tail_size, ipcx_error *err);

/* A decoder; {0} is one that was never initialised. Its fields are its own. One thread at a time. */
typedef struct ipcx_decoder {
    ipcx_framing framing;
    ipcx_buf buf;
    uint64_t offset;      /* of the first byte in `buf`, counted from the start of the stream */
    size_t lent;          /* bytes of the message that `next` lent, to be dropped by the next call */
    size_t searched;      /* DELIMITER: so many bytes hold none */
    size_t missing;       /* bytes of the message under way that are not there yet; 0: unknown */
    ipcx_error error;     /* status < 0: what went wrong, for good */
    uint64_t error_offset;
} ipcx_decoder;

/* ipcx_decoder_init: allocates nothing yet. INVALID as ipcx_framing_check. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_decoder_init(ipcx_decoder *decoder,
                                                      const ipcx_framing *framing,
                                                      ipcx_error *err);
IPCX_API void ipcx_decoder_fini(ipcx_decoder *decoder);

/* ipcx_decoder_reset: forgets bytes and error, keeps framing and memory; the offset starts anew. */
IPCX_API void ipcx_decoder_reset(ipcx_decoder *decoder);

/* ipcx_decoder_feed: copies `size` bytes in. Statuses: OK, NOMEM, TOO_LARGE (more bytes than one
 * message of the limit and its framing: call next in between), or the sticky error. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_decoder_feed(ipcx_decoder *decoder, const void *bytes,
                                                      size_t size, ipcx_error *err);

/* ipcx_decoder_reserve, ipcx_decoder_commit: the same without the copy: `*room` is space for
 * `*size` bytes to receive into (at least 1; as much as the message under way still lacks when that
 * is known), of which commit says how many came. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_decoder_reserve(ipcx_decoder *decoder, uint8_t **room,
                                                         size_t *size, ipcx_error *err);
IPCX_API void ipcx_decoder_commit(ipcx_decoder *decoder, size_t size);

/* ipcx_decoder_next: the next whole message. OK: *frame, whose slices are lent until the next call on
 * the decoder. MORE: feed it. PROTOCOL, TOO_LARGE, VERSION, CORRUPT: the stream is broken at
 * ipcx_decoder_error_offset; every later call says the same. */
IPCX_API IPCX_NODISCARD ipcx_status ipcx_decoder_next(ipcx_decoder *decoder, ipcx_frame *frame,
                                                      ipcx_error *err);

/* ipcx_decoder_pending: bytes held that no message has been made of. > 0 at the end of a stream: it
 * was cut off in the middle of a message. */
IPCX_API size_t ipcx_decoder_pending(const ipcx_decoder *decoder);

/* ipcx_decoder_error_offset: where in the stream the error is, counted from 0. */
IPCX_API uint64_t ipcx_decoder_error_offset(const ipcx_decoder *decoder);

#ifdef __cplusplus
}
#endif

#endif
