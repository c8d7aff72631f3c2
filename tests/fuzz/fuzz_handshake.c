/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: any bytes as the peer of a side that demands a key: nobody is believed, no more than
 * 4 KiB are kept, nothing but HELLO and PROOF is answered, and the same is said however the bytes
 * come. The first byte of an input is which side we are (bit 0), whether our frames have a checksum
 * (bit 1), and how it is read (bit 2: by receive); the rest is what the peer sends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/endian.h"
#include "link/stream/chan_stream_parts.h"
#include "wire/frame.h"

enum { LISTENS = 1, CHECKSUM = 2, RECEIVES = 4 };
enum { SENT_MOST = 100000 }; /* fits the kernel's buffer: the peer never waits */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

/* ---- the machine alone */

typedef struct answer {
    ipcx_status status;
    uint64_t offset;
    size_t frames;
} answer;

static answer alone(unsigned how, const uint8_t *bytes, size_t size, size_t piece)
{
    static const uint8_t nonce[IPCX__NONCE_SIZE] = "thirty-two bytes that are known";
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__BEFORE_PROOF};
    ipcx__hello hello = {.max_version = 1, .max_message = 5000};
    uint8_t own[IPCX__HELLO_FRAME];
    answer said = {.status = IPCX_MORE};
    ipcx_decoder decoder;
    ipcx__proof proof;
    size_t at = 0;
    ipcx__proof_begin(&proof, how & LISTENS ? IPCX__LISTENER : IPCX__CONNECTOR, "the key", 7,
                      nonce);
    must(ipcx__proof_greet(&proof, &hello, (how & CHECKSUM) != 0, own) <= sizeof own);
    must(ipcx_decoder_init(&decoder, &framing, NULL) == IPCX_OK);
    ipcx__decoder_bound(&decoder, IPCX__BEFORE_PROOF);
    while (at < size && said.status == IPCX_MORE) {
        ipcx_frame frame;
        uint8_t *room;
        size_t n;
        must(ipcx_decoder_reserve(&decoder, &room, &n, NULL) == IPCX_OK && n > 0);
        must(decoder.buf.cap <= IPCX__BEFORE_PROOF);
        n = n < piece ? n : piece;
        n = n < size - at ? n : size - at;
        memcpy(room, bytes + at, n);
        ipcx_decoder_commit(&decoder, n);
        at += n;
        while (said.status == IPCX_MORE &&
               (said.status = ipcx_decoder_next(&decoder, &frame, NULL)) == IPCX_OK) {
            ipcx__proof_answer reply;
            size_t wrong = 0;
            bool met = proof.met;
            said.status = ipcx__proof_take(&proof, &frame, ipcx_buf_data(&decoder.buf),
                                           decoder.lent, &hello, &reply, &wrong, NULL);
            must(wrong <= decoder.lent);
            must(reply.size == 0 || reply.size == 1 || reply.size == IPCX__SHA256_SIZE);
            /* A proof of ours only for the first HELLO, and only of who connects. */
            must(reply.size != IPCX__SHA256_SIZE || (!met && !(how & LISTENS)));
            said.offset = decoder.offset + wrong;
            said.frames++;
        }
    }
    if (said.status < 0 && decoder.error.status < 0) {
        said.offset = ipcx_decoder_error_offset(&decoder);
    }
    must(said.status == IPCX_MORE || said.status < 0); /* never OK: it has not the key */
    must(said.frames <= 2);
    must(said.offset <= size);
    ipcx_decoder_fini(&decoder);
    ipcx__proof_end(&proof);
    return said;
}

/* ---- the same in a channel */

/* What went out: one HELLO, then at most a proof of who connects, and why we hang up. */
static void check_sent(int fd, unsigned how)
{
    uint8_t bytes[512];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    size_t tail = how & CHECKSUM ? 4 : 0;
    size_t hello = IPCX_FRAME_HEADER + IPCX__HELLO_SIZE + IPCX__NONCE_SIZE + tail;
    must(n >= (ssize_t)hello && bytes[3] == IPCX_FRAME_HELLO);
    if (n > (ssize_t)hello) {
        uint32_t size = ipcx_endian_load32(bytes + hello + 8);
        must(bytes[hello + 3] == IPCX_FRAME_PROOF);
        must(size == 1 || (size == IPCX__SHA256_SIZE && !(how & LISTENS)));
        must(n <= (ssize_t)(hello + 2 * (IPCX_FRAME_HEADER + tail) + IPCX__SHA256_SIZE + 1));
    }
}

static void in_a_channel(unsigned how, const uint8_t *bytes, size_t size)
{
    ipcx_chan_options options = {.checksum = (how & CHECKSUM) != 0};
    ipcx_message message = {.data = "secret", .size = 6}, got;
    ipcx_status status;
    ipcx_chan *chan;
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    must(ipcx__chan_stream_make(IPCX_SCHEME_UNIX, fds[0], fds[0], "unix://", &options, &chan,
                                NULL) == IPCX_OK);
    must(ipcx__chan_stream_guard(chan, (how & LISTENS) != 0, "the key", 7, NULL) == IPCX_OK);
    must(ipcx__chan_stream_greet(chan, NULL) == IPCX_OK);
    must(size == 0 || send(fds[1], bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
    if (how & RECEIVES) {
        status = ipcx_chan_receive(chan, &got, IPCX_NOW, NULL);
    } else {
        status = ipcx__chan_stream_shake(chan, NULL);
    }
    must(status == IPCX_AGAIN || status < 0);
    must(ipcx__chan_stream_unproven(chan));
    must(ipcx__stream_of(chan)->decoder.buf.cap <= IPCX__BEFORE_PROOF);
    must(ipcx_chan_send(chan, &message, IPCX_NOW, NULL, NULL) != IPCX_OK);
    check_sent(fds[1], how);
    ipcx_chan_free(chan);
    must(close(fds[1]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && size <= SENT_MOST) {
        answer whole = alone(data[0], data + 1, size - 1, size);
        answer single = alone(data[0], data + 1, size - 1, 1);
        answer pieces = alone(data[0], data + 1, size - 1, 2 + size % 61);
        must(whole.status == single.status && whole.offset == single.offset);
        must(whole.status == pieces.status && whole.offset == pieces.offset);
        in_a_channel(data[0], data + 1, size - 1);
    }
    return 0;
}
