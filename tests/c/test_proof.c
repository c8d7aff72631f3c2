/* SPDX-License-Identifier: Apache-2.0
 * proof: the vectors of docs/vectors/proofs.txt; two sides with each other; and everything that is
 * not the proof of the key. */
#include "check.h"

#include <limits.h>
#include <unistd.h>

#include "ipcx/endian.h"
#include "wire/frame.h"
#include "wire/proof.h"

enum { ROOM = 8192 };

typedef struct bytes {
    uint8_t at[ROOM];
    size_t size;
} bytes;

/* One side, and what it says. */
typedef struct side {
    ipcx__proof proof;
    bytes hello;
    ipcx__hello heard;
    ipcx__proof_answer answer;
    ipcx_status status;
    ipcx_error err;
    size_t at;
} side;

static void begin(side *self, ipcx__side which, const void *key, size_t size, uint8_t nonce)
{
    uint8_t random[IPCX__NONCE_SIZE];
    ipcx__hello hello = {.max_version = 1, .max_message = 5000};
    memset(self, 0, sizeof *self);
    memset(random, nonce, sizeof random);
    ipcx__proof_begin(&self->proof, which, key, size, random);
    self->hello.size = ipcx__proof_greet(&self->proof, &hello, 0, self->hello.at);
}

static bytes frame_of(int type, const void *payload, size_t size)
{
    bytes made = {.at = {'I', 'X', 1, (uint8_t)type}, .size = IPCX_FRAME_HEADER + size};
    ipcx_endian_store32(made.at + 8, (uint32_t)size);
    memcpy(made.at + IPCX_FRAME_HEADER, payload, size);
    return made;
}

/* What a side makes of bytes that are one frame. */
static ipcx_status take(side *self, const bytes *from)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__BEFORE_PROOF};
    ipcx_decoder decoder;
    ipcx_frame frame;
    REQUIRE_OK(ipcx_decoder_init(&decoder, &framing, NULL));
    REQUIRE_OK(ipcx_decoder_feed(&decoder, from->at, from->size, NULL));
    REQUIRE_OK(ipcx_decoder_next(&decoder, &frame, NULL));
    self->status = ipcx__proof_take(&self->proof, &frame, ipcx_buf_data(&decoder.buf), decoder.lent,
                                    &self->heard, &self->answer, &self->at, &self->err);
    ipcx_decoder_fini(&decoder);
    return self->status;
}

static bytes answer_of(const side *self)
{
    return frame_of(IPCX_FRAME_PROOF, self->answer.payload, self->answer.size);
}

/* Both HELLOs have passed; the connector's PROOF is its answer. */
static void meet(side *connector, const char *one, side *listener, const char *other)
{
    begin(connector, IPCX__CONNECTOR, one, strlen(one), 1);
    begin(listener, IPCX__LISTENER, other, strlen(other), 2);
    CHECK_STATUS(take(connector, &listener->hello), IPCX_MORE);
    CHECK_STATUS(take(listener, &connector->hello), IPCX_MORE);
    CHECK_INT(connector->answer.size, 32);
    CHECK_INT(listener->answer.size, 0); /* a stranger gets nothing to try keys on */
    CHECK_INT(listener->heard.max_message, 5000);
}

TEST(both_prove_the_connector_first)
{
    side connector, listener;
    bytes proof;
    meet(&connector, "mountain", &listener, "mountain");
    proof = answer_of(&connector);
    CHECK_STATUS(take(&listener, &proof), IPCX_OK);
    CHECK_INT(listener.answer.size, 32);
    proof = answer_of(&listener);
    CHECK_STATUS(take(&connector, &proof), IPCX_OK);
    CHECK_INT(connector.answer.size, 0);
    ipcx__proof_end(&connector.proof);
    ipcx__proof_end(&listener.proof);
    for (size_t i = 0; i < sizeof connector.proof; i++) {
        CHECK_INT(((const uint8_t *)&connector.proof)[i], 0); /* wiped */
    }
}

TEST(another_key_is_told_so_and_tells_nothing)
{
    side connector, listener;
    bytes proof;
    meet(&connector, "mountain", &listener, "valley");
    proof = answer_of(&connector);
    CHECK_STATUS(take(&listener, &proof), IPCX_AUTH);
    CHECK_INT(listener.answer.size, 1);
    CHECK(strstr(listener.err.detail, "another one than this side's") != NULL);
    proof = answer_of(&listener);
    CHECK_STATUS(take(&connector, &proof), IPCX_AUTH);
    CHECK(strstr(connector.err.detail, "another one than its own") != NULL);
    CHECK(strstr(listener.err.detail, "valley") == NULL);
    CHECK(strstr(connector.err.detail, "mountain") == NULL);
}

TEST(a_listener_without_the_key_is_no_listener)
{
    side connector, listener;
    bytes proof;
    meet(&connector, "mountain", &listener, "mountain");
    for (int bit = 0; bit < 256; bit++) { /* each one counts */
        side fresh = connector;
        side right = listener;
        bytes changed;
        proof = answer_of(&connector);
        CHECK_STATUS(take(&right, &proof), IPCX_OK);
        changed = answer_of(&right);
        changed.at[IPCX_FRAME_HEADER + bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK_STATUS(take(&fresh, &changed), IPCX_AUTH);
    }
}

TEST(what_was_said_before_proves_nothing)
{
    side connector, listener, again;
    bytes proof;
    meet(&connector, "mountain", &listener, "mountain");
    proof = answer_of(&connector);

    begin(&again, IPCX__LISTENER, "mountain", 8, 3); /* the same HELLO and PROOF to another */
    CHECK_STATUS(take(&again, &connector.hello), IPCX_MORE);
    CHECK_STATUS(take(&again, &proof), IPCX_AUTH);

    CHECK_STATUS(take(&connector, &proof), IPCX_AUTH); /* its own proof comes back */

    begin(&again, IPCX__CONNECTOR, "mountain", 8, 1); /* its own challenge does */
    CHECK_STATUS(take(&again, &again.hello), IPCX_AUTH);
    CHECK(strstr(again.err.detail, "echo") != NULL);
    CHECK_INT(again.answer.size, 0);
}

/* Two conversations with the one who is to prove, each challenge put to it in the other. */
TEST(two_reflected_conversations)
{
    side one, other;
    bytes proof;
    begin(&one, IPCX__LISTENER, "mountain", 8, 1);
    begin(&other, IPCX__LISTENER, "mountain", 8, 2);
    CHECK_STATUS(take(&one, &other.hello), IPCX_MORE);
    CHECK_STATUS(take(&other, &one.hello), IPCX_MORE);
    CHECK_INT(one.answer.size, 0);
    CHECK_INT(other.answer.size, 0);
    begin(&one, IPCX__CONNECTOR, "mountain", 8, 1);
    begin(&other, IPCX__CONNECTOR, "mountain", 8, 2);
    CHECK_STATUS(take(&one, &other.hello), IPCX_MORE);
    CHECK_STATUS(take(&other, &one.hello), IPCX_MORE);
    proof = answer_of(&one);
    CHECK_STATUS(take(&other, &proof), IPCX_AUTH);
}

TEST(no_downgrade)
{
    side connector, listener;
    bytes proof, changed;
    begin(&connector, IPCX__CONNECTOR, "mountain", 8, 1);
    begin(&listener, IPCX__LISTENER, "mountain", 8, 2);
    changed = connector.hello;
    changed.at[IPCX_FRAME_HEADER + 11] = 0; /* the capability is cut off on the way */
    CHECK_STATUS(take(&listener, &changed), IPCX_AUTH);
    CHECK(strstr(listener.err.detail, "has no authkey") != NULL);

    for (size_t at = 4; at < 12; at++) { /* limit or capabilities are changed on the way */
        begin(&listener, IPCX__LISTENER, "mountain", 8, 2);
        begin(&connector, IPCX__CONNECTOR, "mountain", 8, 1);
        changed = connector.hello;
        changed.at[IPCX_FRAME_HEADER + at] ^= 4;
        CHECK_STATUS(take(&listener, &changed), IPCX_MORE);
        CHECK_STATUS(take(&connector, &listener.hello), IPCX_MORE);
        proof = answer_of(&connector);
        CHECK_STATUS(take(&listener, &proof), IPCX_AUTH);
    }
}

TEST(what_is_no_handshake)
{
    static const uint8_t text[33] = {0};
    side listener;
    bytes bad;
    for (int type = IPCX_FRAME_DATA; type <= IPCX_FRAME_PROOF; type++) {
        if (type != IPCX_FRAME_HELLO) {
            begin(&listener, IPCX__LISTENER, "k", 1, 2);
            bad = frame_of(type, text, 32);
            CHECK_STATUS(take(&listener, &bad), IPCX_PROTOCOL);
            CHECK_INT(listener.at, 3);
        }
    }
    for (size_t size = 0; size <= 33; size++) {
        side connector;
        if (size == 32 || size == 1) {
            continue;
        }
        meet(&connector, "k", &listener, "k");
        bad = frame_of(IPCX_FRAME_PROOF, text, size);
        CHECK_STATUS(take(&listener, &bad), IPCX_PROTOCOL);
        CHECK_INT(listener.answer.size, 0);
    }
    begin(&listener, IPCX__LISTENER, "k", 1, 2);
    bad = listener.hello; /* with a flag */
    bad.at[5] = IPCX_FRAME_SYNC;
    CHECK_STATUS(take(&listener, &bad), IPCX_PROTOCOL);
    CHECK_INT(listener.at, 4);
    bad = frame_of(IPCX_FRAME_HELLO, "\1\0\0\0\0\0\x10\0\0\0\0\2", 12); /* no challenge in it */
    CHECK_STATUS(take(&listener, &bad), IPCX_PROTOCOL);
    CHECK_INT(listener.at, IPCX_FRAME_HEADER + 8);
    CHECK(!listener.proof.met);
}

TEST(without_a_key)
{
    ipcx__hello hello = {.capabilities = IPCX__HELLO_KEYED}, plain = {0};
    uint8_t text[IPCX__REFUSAL_SIZE], why = 77;
    ipcx_frame frame = {.type = IPCX_FRAME_PROOF, .payload = &why, .payload_size = 1};
    ipcx_error err;
    CHECK_STATUS(ipcx__proof_unkeyed(&hello, &err), IPCX_AUTH);
    CHECK(strstr(err.detail, "this side has none") != NULL);
    CHECK_STATUS(ipcx__proof_unkeyed(&plain, &err), IPCX_OK);
    CHECK_STATUS(ipcx__proof_refused(&frame, &err), IPCX_AUTH);
    why = IPCX__NO_USER;
    CHECK_STATUS(ipcx__proof_refused(&frame, &err), IPCX_AUTH);
    CHECK(strstr(err.detail, "does not serve this user") != NULL);
    ipcx__proof_refusal(IPCX__NO_USER, text);
    CHECK(memcmp(text, "IX\1\16\0\0\0\0\0\0\0\1\2", sizeof text) == 0);
}

/* No byte over the bound is held, and what would need more is refused by its header. */
TEST(four_kib_and_no_more)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = IPCX__BEFORE_PROOF};
    for (size_t extension = 0; extension < 65536; extension += 1021) {
        for (size_t payload = 0; payload <= 4200; payload += 350) {
            uint8_t head[IPCX_FRAME_HEADER] = {'I', 'X', 1, IPCX_FRAME_HELLO};
            size_t whole = sizeof head + extension + payload, fed = 0;
            ipcx_decoder decoder;
            ipcx_frame frame;
            ipcx_status status = IPCX_MORE;
            ipcx_endian_store16(head + 6, (uint16_t)extension);
            ipcx_endian_store32(head + 8, (uint32_t)payload);
            REQUIRE_OK(ipcx_decoder_init(&decoder, &framing, NULL));
            ipcx__decoder_bound(&decoder, IPCX__BEFORE_PROOF);
            while (status == IPCX_MORE) {
                uint8_t *room;
                size_t size, n;
                REQUIRE_OK(ipcx_decoder_reserve(&decoder, &room, &size, NULL));
                n = fed == 0 ? sizeof head : size < 100 ? size : 100;
                memset(room, 0, n);
                if (fed == 0) {
                    memcpy(room, head, sizeof head);
                }
                ipcx_decoder_commit(&decoder, n);
                fed += n;
                CHECK(decoder.buf.cap <= IPCX__BEFORE_PROOF);
                status = ipcx_decoder_next(&decoder, &frame, NULL);
            }
            CHECK_STATUS(status, whole <= IPCX__BEFORE_PROOF ? IPCX_OK : IPCX_TOO_LARGE);
            CHECK(status == IPCX_OK || fed == sizeof head);
            ipcx_decoder_fini(&decoder);
        }
    }
}

/* ---- the document's vectors */

static void from_hex(bytes *to, const char *text)
{
    to->size = strlen(text) / 2;
    REQUIRE(to->size <= sizeof to->at);
    for (size_t i = 0; i < to->size; i++) {
        unsigned byte;
        REQUIRE(sscanf(text + 2 * i, "%2x", &byte) == 1);
        to->at[i] = (uint8_t)byte;
    }
}

/* The proof that `which` makes of these two HELLOs: what the other side must accept. */
static void check_proof(ipcx__side which, const bytes *key, const bytes *hellos,
                        const bytes *expected)
{
    side other;
    bytes proof = frame_of(IPCX_FRAME_PROOF, expected->at, expected->size);
    begin(&other, which == IPCX__CONNECTOR ? IPCX__LISTENER : IPCX__CONNECTOR, key->at, key->size,
          9);
    ipcx__sha256_of(hellos[0].at, hellos[0].size, other.proof.hello[IPCX__CONNECTOR]);
    ipcx__sha256_of(hellos[1].at, hellos[1].size, other.proof.hello[IPCX__LISTENER]);
    other.proof.met = true;
    CHECK_STATUS(take(&other, &proof), IPCX_OK);
}

/* build/c/VARIANT/test_proof is three folders below the project's. */
static FILE *vectors_open(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    REQUIRE(n > 0);
    path[n] = '\0';
    for (int up = 0; up < 4; up++) {
        *strrchr(path, '/') = '\0';
    }
    REQUIRE(strlen(path) + 32 < sizeof path);
    strcat(path, "/docs/vectors/proofs.txt");
    return fopen(path, "r");
}

TEST(every_vector)
{
    static char line[4 * ROOM];
    static bytes column[5];
    FILE *file = vectors_open();
    int count = 0;
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        char *rest = line;
        if (line[0] == '#') {
            continue;
        }
        (void)strtok_r(rest, " \n", &rest);
        for (int i = 0; i < 5; i++) {
            from_hex(&column[i], strtok_r(rest, " \n", &rest));
        }
        check_proof(IPCX__CONNECTOR, &column[0], &column[1], &column[3]);
        check_proof(IPCX__LISTENER, &column[0], &column[1], &column[4]);
        count++;
    }
    (void)fclose(file);
    CHECK(count >= 7);
}
