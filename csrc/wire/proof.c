/* SPDX-License-Identifier: Apache-2.0
 * The proof of a key.
 * Invariant: what is compared with a secret is compared in constant time. */
#include "wire/proof.h"

#include <string.h>

#define OP "handshake"

static const char label[2][16] = {"ipcx 1 connector", "ipcx 1 listener"};

void ipcx__proof_begin(ipcx__proof *self, ipcx__side side, const void *key, size_t size,
                       const uint8_t nonce[IPCX__NONCE_SIZE])
{
    *self = (ipcx__proof){.side = side};
    ipcx__hmac_begin(&self->key, key, size);
    memcpy(self->nonce, nonce, IPCX__NONCE_SIZE);
}

void ipcx__proof_end(ipcx__proof *self)
{
    explicit_bzero(self, sizeof *self);
}

size_t ipcx__proof_greet(ipcx__proof *self, ipcx__hello *hello, int checksum,
                         uint8_t frame[IPCX__HELLO_FRAME])
{
    size_t size;
    hello->capabilities |= IPCX__HELLO_KEYED;
    hello->nonce = self->nonce;
    size = ipcx__hello_frame(hello, checksum, frame);
    ipcx__sha256_of(frame, size, self->hello[self->side]);
    return size;
}

/* MAC(key, who · digest of the connector's HELLO · digest of the listener's). */
static void make(const ipcx__proof *self, ipcx__side whose, uint8_t mac[IPCX__SHA256_SIZE])
{
    uint8_t text[sizeof label[0] + sizeof self->hello];
    memcpy(text, label[whose], sizeof label[0]);
    memcpy(text + sizeof label[0], self->hello, sizeof self->hello);
    ipcx__hmac_of(&self->key, text, sizeof text, mac);
}

static void prove(const ipcx__proof *self, ipcx__proof_answer *answer)
{
    make(self, self->side, answer->payload);
    answer->size = IPCX__SHA256_SIZE;
}

static ipcx_status on_hello(ipcx__proof *self, const ipcx_frame *frame, const void *bytes,
                            size_t size, ipcx__hello *hello, ipcx__proof_answer *answer, size_t *at,
                            ipcx_error *err)
{
    ipcx_status status = ipcx__hello_decode(frame, hello, at, err);
    *at += (size_t)((const uint8_t *)frame->payload - (const uint8_t *)bytes);
    if (status != IPCX_OK) {
        return status;
    }
    *at = 0;
    if (!(hello->capabilities & IPCX__HELLO_KEYED)) {
        return ipcx_error_set(err, IPCX_AUTH, 0, OP,
                              "the peer has no authkey, and this side demands one");
    }
    if (ipcx__same_bytes(hello->nonce, self->nonce, IPCX__NONCE_SIZE)) {
        return ipcx_error_set(err, IPCX_AUTH, 0, OP,
                              "our own challenge came back: that is an echo, no peer");
    }
    self->met = true;
    ipcx__sha256_of(bytes, size, self->hello[1 - self->side]);
    if (self->side == IPCX__CONNECTOR) {
        prove(self, answer);
    }
    return IPCX_MORE;
}

static ipcx_status on_proof(const ipcx__proof *self, const ipcx_frame *frame,
                            ipcx__proof_answer *answer, ipcx_error *err)
{
    uint8_t right[IPCX__SHA256_SIZE];
    bool same;
    make(self, self->side == IPCX__CONNECTOR ? IPCX__LISTENER : IPCX__CONNECTOR, right);
    same = ipcx__same_bytes(frame->payload, right, sizeof right);
    explicit_bzero(right, sizeof right);
    if (!same) {
        *answer = (ipcx__proof_answer){.payload = {IPCX__NO_KEY}, .size = 1};
        return ipcx_error_set(err, IPCX_AUTH, 0, OP,
                              "the peer's authkey is another one than this side's");
    }
    if (self->side == IPCX__LISTENER) {
        prove(self, answer);
    }
    return IPCX_OK;
}

ipcx_status ipcx__proof_take(ipcx__proof *self, const ipcx_frame *frame, const void *bytes,
                             size_t size, ipcx__hello *hello, ipcx__proof_answer *answer,
                             size_t *at, ipcx_error *err)
{
    answer->size = 0;
    *at = 3; /* the type */
    if (frame->type == IPCX_FRAME_PROOF && frame->payload_size == 1) {
        return ipcx__proof_refused(frame, err);
    }
    if (frame->type != (self->met ? IPCX_FRAME_PROOF : IPCX_FRAME_HELLO)) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, OP,
                              self->met ? "a frame of type %d where PROOF is due"
                                        : "a frame of type %d where HELLO is due",
                              (int)frame->type);
    }
    if (frame->flags & ~IPCX_FRAME_CRC) {
        *at = 4;
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, OP, "flags that a handshake does not have");
    }
    if (!self->met) {
        return on_hello(self, frame, bytes, size, hello, answer, at, err);
    }
    if (frame->payload_size != IPCX__SHA256_SIZE || frame->extension_size != 0) {
        *at = 6;
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, OP, "a PROOF of %zu bytes; it has %d",
                              frame->payload_size, IPCX__SHA256_SIZE);
    }
    return on_proof(self, frame, answer, err);
}

/* ---- without a key */

ipcx_status ipcx__proof_unkeyed(const ipcx__hello *hello, ipcx_error *err)
{
    if (hello->capabilities & IPCX__HELLO_KEYED) {
        return ipcx_error_set(err, IPCX_AUTH, 0, OP,
                              "the peer demands an authkey, and this side has none");
    }
    return IPCX_OK;
}

ipcx_status ipcx__proof_refused(const ipcx_frame *frame, ipcx_error *err)
{
    uint8_t why = frame->payload_size == 1 ? *(const uint8_t *)frame->payload : 0;
    return ipcx_error_set(err, IPCX_AUTH, 0, OP, "%s",
                          why == IPCX__NO_KEY
                              ? "the peer says that this side's authkey is another one than its own"
                          : why == IPCX__NO_USER ? "the peer does not serve this user"
                                                 : "the peer does not talk to this side");
}

void ipcx__proof_refusal(uint8_t why, uint8_t frame[IPCX__REFUSAL_SIZE])
{
    const uint8_t whole[IPCX__REFUSAL_SIZE] = {
        'I', 'X', IPCX_FRAME_VERSION, IPCX_FRAME_PROOF, 0, 0, 0, 0, 0, 0, 0, 1, why};
    memcpy(frame, whole, sizeof whole);
}
