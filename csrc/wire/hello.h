/* SPDX-License-Identifier: Apache-2.0
 * The payload of HELLO: what each side can bear (docs/protocol.md, Vocabulary). */
#ifndef IPCX_WIRE_HELLO_H
#define IPCX_WIRE_HELLO_H

#include "ipcx/frame.h"

/* Bytes that every HELLO has; a later version may put more behind them. */
#define IPCX__HELLO_SIZE 12

/* No payload may be longer until the peer's HELLO has come. */
#define IPCX__BEFORE_HELLO 4096

/* A capability: this side asks questions (REQUEST) and takes no messages: it is nobody's peer. */
#define IPCX__HELLO_ASKS 1u
/* Another: this side has a key, proves it and demands the same; its challenge is behind the bytes
 * that every HELLO has. */
#define IPCX__HELLO_KEYED 2u

#define IPCX__NONCE_SIZE 32
/* The longest HELLO of ours, as a frame. */
#define IPCX__HELLO_FRAME (IPCX_FRAME_HEADER + IPCX__HELLO_SIZE + IPCX__NONCE_SIZE + 4)

typedef struct ipcx__hello {
    uint8_t max_version;
    uint32_t max_message;
    uint32_t capabilities; /* IPCX__HELLO_…; those not known are ignored */
    const uint8_t *nonce;  /* with KEYED; of a decoded one in the frame's payload */
} ipcx__hello;

/* ipcx__hello_encode: the payload. */
void ipcx__hello_encode(const ipcx__hello *hello, uint8_t payload[IPCX__HELLO_SIZE]);

/* ipcx__hello_frame: all of it as it travels; how many bytes. */
size_t ipcx__hello_frame(const ipcx__hello *hello, int checksum, uint8_t frame[IPCX__HELLO_FRAME]);

/* ipcx__hello_decode: what `frame`, a HELLO, says. PROTOCOL, VERSION: *wrong is the byte of the
 * payload that is not as it must be. */
ipcx_status ipcx__hello_decode(const ipcx_frame *frame, ipcx__hello *hello, size_t *wrong,
                               ipcx_error *err);

#endif
