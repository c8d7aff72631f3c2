/* SPDX-License-Identifier: Apache-2.0
 * HELLO, to bytes and back.
 * Invariant: what a later version adds behind the bytes known here is not looked at. */
#include "wire/hello.h"

#include <string.h>

#include "ipcx/endian.h"

void ipcx__hello_encode(const ipcx__hello *hello, uint8_t payload[IPCX__HELLO_SIZE])
{
    memset(payload, 0, IPCX__HELLO_SIZE);
    payload[0] = hello->max_version;
    ipcx_endian_store32(payload + 4, hello->max_message);
    ipcx_endian_store32(payload + 8, hello->capabilities);
}

size_t ipcx__hello_frame(const ipcx__hello *hello, int checksum, uint8_t frame[IPCX__HELLO_FRAME])
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__BEFORE_HELLO};
    uint8_t payload[IPCX__HELLO_SIZE + IPCX__NONCE_SIZE];
    ipcx_frame whole = {.type = IPCX_FRAME_HELLO,
                        .flags = checksum ? IPCX_FRAME_CRC : 0,
                        .payload = payload,
                        .payload_size = IPCX__HELLO_SIZE};
    ipcx_envelope around;
    ipcx__hello_encode(hello, payload);
    if (hello->capabilities & IPCX__HELLO_KEYED) {
        memcpy(payload + IPCX__HELLO_SIZE, hello->nonce, IPCX__NONCE_SIZE);
        whole.payload_size += IPCX__NONCE_SIZE;
    }
    if (ipcx_frame_encode(&framing, &whole, &around, NULL) != IPCX_OK) {
        return 0; /* cannot be: nothing in it is anybody else's choice */
    }
    memcpy(frame, around.head, around.head_size);
    memcpy(frame + around.head_size, payload, whole.payload_size);
    memcpy(frame + around.head_size + whole.payload_size, around.tail, around.tail_size);
    return around.head_size + whole.payload_size + around.tail_size;
}

ipcx_status ipcx__hello_decode(const ipcx_frame *frame, ipcx__hello *hello, size_t *wrong,
                               ipcx_error *err)
{
    const uint8_t *bytes = frame->payload;
    *wrong = 0;
    if (frame->payload_size < IPCX__HELLO_SIZE) {
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "hello", "a HELLO of %zu bytes; it has %d",
                              frame->payload_size, IPCX__HELLO_SIZE);
    }
    if (bytes[0] < IPCX_FRAME_VERSION) {
        return ipcx_error_set(err, IPCX_VERSION, 0, "hello", "the peer speaks version %d at most",
                              bytes[0]);
    }
    for (size_t at = 1; at < 4; at++) {
        if (bytes[at] != 0) {
            *wrong = at;
            return ipcx_error_set(err, IPCX_PROTOCOL, 0, "hello", "a HELLO of another form");
        }
    }
    if ((ipcx_endian_load32(bytes + 8) & IPCX__HELLO_KEYED) &&
        frame->payload_size < IPCX__HELLO_SIZE + IPCX__NONCE_SIZE) {
        *wrong = 8;
        return ipcx_error_set(err, IPCX_PROTOCOL, 0, "hello", "a HELLO that lacks its challenge");
    }
    *hello = (ipcx__hello){.max_version = bytes[0],
                           .max_message = ipcx_endian_load32(bytes + 4),
                           .capabilities = ipcx_endian_load32(bytes + 8)};
    if (hello->capabilities & IPCX__HELLO_KEYED) {
        hello->nonce = bytes + IPCX__HELLO_SIZE;
    }
    return IPCX_OK;
}
