/* SPDX-License-Identifier: Apache-2.0
 * The proof of a key, from one side's view (docs/protocol.md, Keys): frames in, answers out.
 *
 *     connector                                          listener
 *     HELLO, its challenge          ──▶    ◀──           HELLO, its challenge
 *     PROOF = MAC(key, "connector", both HELLOs)  ──▶    right? else it says so, and hangs up
 *     right? else it hangs up                     ◀──    PROOF = MAC(key, "listener", both HELLOs)
 *
 * The connector proves itself first: a stranger who connects learns nothing to try keys on.
 * Invariant: nothing of a peer's is believed before OK, and no key leaves this struct. */
#ifndef IPCX_WIRE_PROOF_H
#define IPCX_WIRE_PROOF_H

#include "base/sha256.h"
#include "wire/hello.h"

/* Of a peer that has not proven itself no frame has more bytes, and no more are kept. */
#define IPCX__BEFORE_PROOF 4096

/* What a PROOF of one byte says: the sender hangs up. */
enum { IPCX__NO_KEY = 1, IPCX__NO_USER = 2 };

typedef enum ipcx__side { IPCX__CONNECTOR, IPCX__LISTENER } ipcx__side;

typedef struct ipcx__proof {
    ipcx__hmac_key key;
    ipcx__side side; /* ours */
    bool met;        /* the peer's HELLO has come */
    uint8_t nonce[IPCX__NONCE_SIZE];
    uint8_t hello[2][IPCX__SHA256_SIZE]; /* the digest of each side's */
} ipcx__proof;

/* The payload of a PROOF to be sent, whatever the status; size 0: none. */
typedef struct ipcx__proof_answer {
    uint8_t payload[IPCX__SHA256_SIZE];
    size_t size;
} ipcx__proof_answer;

/* ipcx__proof_begin: `nonce`: fresh random bytes. ipcx__proof_end: wipes it. */
void ipcx__proof_begin(ipcx__proof *self, ipcx__side side, const void *key, size_t size,
                       const uint8_t nonce[IPCX__NONCE_SIZE]);
void ipcx__proof_end(ipcx__proof *self);

/* ipcx__proof_greet: our HELLO as it goes out, its challenge put in; before any take. */
size_t ipcx__proof_greet(ipcx__proof *self, ipcx__hello *hello, int checksum,
                         uint8_t frame[IPCX__HELLO_FRAME]);

/* ipcx__proof_take: a frame of the peer's, and its bytes as they came. MORE: so far, so good;
 * *hello is filled in when it was that. OK: the peer has the key. AUTH · PROTOCOL · VERSION: hang
 * up; *at is where in the bytes it is wrong. */
ipcx_status ipcx__proof_take(ipcx__proof *self, const ipcx_frame *frame, const void *bytes,
                             size_t size, ipcx__hello *hello, ipcx__proof_answer *answer,
                             size_t *at, ipcx_error *err);

/* For a side without a key. ipcx__proof_unkeyed: AUTH: who said this HELLO demands one.
 * ipcx__proof_refused: AUTH: why the peer hangs up, as its PROOF says. */
ipcx_status ipcx__proof_unkeyed(const ipcx__hello *hello, ipcx_error *err);
ipcx_status ipcx__proof_refused(const ipcx_frame *frame, ipcx_error *err);

/* ipcx__proof_refusal: the whole frame that says `why`. */
#define IPCX__REFUSAL_SIZE (IPCX_FRAME_HEADER + 1)
void ipcx__proof_refusal(uint8_t why, uint8_t frame[IPCX__REFUSAL_SIZE]);

#endif
