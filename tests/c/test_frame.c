/* SPDX-License-Identifier: Apache-2.0
 * frame: every framing whole, in pieces and at a guard page; everything that can be wrong with a
 * stream; and every allocation failing once. */
#include "check.h"

#include "ipcx/alloc.h"
#include "ipcx/endian.h"
#include "ipcx/frame.h"
#include "wire/frame.h"

#define ROOM 4096

typedef struct bytes {
    uint8_t at[ROOM];
    size_t size;
} bytes;

static void put(bytes *to, const void *from, size_t size)
{
    REQUIRE(size <= ROOM - to->size);
    if (size > 0) {
        memcpy(to->at + to->size, from, size);
    }
    to->size += size;
}

static void put_number(bytes *to, uint64_t number)
{
    uint8_t eight[8];
    ipcx_endian_store64(eight, number);
    put(to, eight, sizeof eight);
}

/* What a decoder says, written down, so that two can be compared. */
static void put_frame(bytes *to, const ipcx_frame *frame)
{
    put_number(to, (uint64_t)frame->type);
    put_number(to, frame->flags);
    put_number(to, frame->correlation);
    put_number(to, frame->extension_size);
    put(to, frame->extension, frame->extension_size);
    put_number(to, frame->payload_size);
    put(to, frame->payload, frame->payload_size);
}

static ipcx_status encode(const ipcx_framing *framing, const ipcx_frame *frame, bytes *to)
{
    ipcx_envelope around;
    ipcx_status status = ipcx_frame_encode(framing, frame, &around, NULL);
    if (status == IPCX_OK) {
        put(to, around.head, around.head_size);
        put(to, frame->extension, frame->extension_size);
        put(to, frame->payload, frame->payload_size);
        put(to, around.tail, around.tail_size);
    }
    return status;
}

/* Everything that can be had now; the status that ends it. */
static ipcx_status drain(ipcx_decoder *decoder, bytes *to)
{
    ipcx_frame frame;
    ipcx_status status;
    while ((status = ipcx_decoder_next(decoder, &frame, NULL)) == IPCX_OK) {
        put_frame(to, &frame);
    }
    return status;
}

static void put_end(bytes *to, const ipcx_decoder *decoder, ipcx_status status)
{
    put_number(to, (uint64_t)(int64_t)status);
    put_number(to, status < 0 ? ipcx_decoder_error_offset(decoder) : ipcx_decoder_pending(decoder));
}

/* What is said about `in`, given in pieces of which the first has `first` bytes, the others `then`;
 * by feed or by reserve and commit. */
static void decode(const ipcx_framing *framing, const bytes *in, size_t first, size_t then,
                   int copying, bytes *out)
{
    ipcx_decoder decoder;
    ipcx_status status = IPCX_MORE;
    size_t at = 0, n = first;
    out->size = 0;
    REQUIRE_OK(ipcx_decoder_init(&decoder, framing, NULL));
    while (at < in->size && status == IPCX_MORE) {
        n = n < in->size - at ? n : in->size - at;
        if (copying) {
            REQUIRE_OK(ipcx_decoder_feed(&decoder, in->at + at, n, NULL));
        } else {
            uint8_t *room;
            size_t size;
            REQUIRE_OK(ipcx_decoder_reserve(&decoder, &room, &size, NULL));
            REQUIRE(size > 0);
            n = n < size ? n : size;
            memcpy(room, in->at + at, n);
            ipcx_decoder_commit(&decoder, n);
        }
        at += n;
        n = then;
        status = drain(&decoder, out);
    }
    put_end(out, &decoder, status);
    ipcx_decoder_fini(&decoder);
    ipcx_decoder_fini(&decoder);
}

static int same(const bytes *a, const bytes *b)
{
    return a->size == b->size && memcmp(a->at, b->at, a->size) == 0;
}

/* The same is said about `in` however it comes. */
static void check_pieces(const ipcx_framing *framing, const bytes *in, bytes *whole)
{
    bytes out;
    size_t split;
    decode(framing, in, in->size, 1, 1, whole);
    for (split = 1; split < in->size; split++) {
        decode(framing, in, split, in->size, 1, &out);
        CHECK(same(&out, whole));
        decode(framing, in, split, in->size, 0, &out);
        CHECK(same(&out, whole));
    }
    decode(framing, in, 1, 1, 1, &out);
    CHECK(same(&out, whole));
    decode(framing, in, 1, 1, 0, &out);
    CHECK(same(&out, whole));
    decode(framing, in, 3, 7, 0, &out);
    CHECK(same(&out, whole));
}

/* The decoder's own memory ends where the bytes do, for every number of bytes. */
static void check_at_a_guard_page(const ipcx_framing *framing, const bytes *in)
{
    size_t n;
    for (n = 1; n <= in->size; n++) {
        char *copy = check_guarded(in->at, n);
        bytes out = {.size = 0};
        ipcx_decoder decoder;
        REQUIRE_OK(ipcx_decoder_init(&decoder, framing, NULL));
        decoder.buf.memory = (uint8_t *)copy;
        decoder.buf.cap = decoder.buf.len = n;
        CHECK(drain(&decoder, &out) != IPCX_OK);
        decoder.buf.memory = NULL;
        ipcx_decoder_fini(&decoder);
        check_unguard(copy, n);
    }
}

static const char LONG[300] = "a message of three hundred bytes, most of them zero";

#define DATA(text) {.type = IPCX_FRAME_DATA, .payload = (text), .payload_size = sizeof(text) - 1}
#define WITH(kind_, ...) {.kind = IPCX_FRAMING_##kind_, .max_message = 300, __VA_ARGS__}

typedef struct story {
    ipcx_framing framing;
    ipcx_frame frames[6]; /* to the first without a type */
} story;

static const story stories[] = {
    {WITH(IPCX, 0),
     {DATA(""),
      DATA("hello"),
      {IPCX_FRAME_REQUEST, IPCX_FRAME_CORRELATION | IPCX_FRAME_CRC | IPCX_FRAME_SYNC,
       UINT64_C(0x0102030405060708), "topic", 5, LONG, sizeof LONG},
      {IPCX_FRAME_DATA, IPCX_FRAME_TEXT | IPCX_FRAME_CRC, 0, NULL, 0, "gr\xc3\xbc\xc3\x9f", 6},
      {IPCX_FRAME_BYE, 0, 0, NULL, 0, NULL, 0}}},
    {WITH(FIXED, .size = 3), {DATA("one"), DATA("two"), DATA("six")}},
    {WITH(PREFIX, .size = 1), {DATA(""), DATA("x"), DATA("hello")}},
    {WITH(PREFIX, .size = 2), {DATA("hello"), DATA(""), DATA(LONG)}},
    {WITH(PREFIX, .size = 2, .little_endian = 1), {DATA("hello"), DATA(""), DATA(LONG)}},
    {WITH(PREFIX, .size = 4), {DATA("hello"), DATA(""), DATA(LONG)}},
    {WITH(PREFIX, .size = 4, .little_endian = 1), {DATA("hello"), DATA(""), DATA(LONG)}},
    {WITH(PREFIX, .size = 8), {DATA("hello"), DATA(""), DATA(LONG)}},
    {WITH(PREFIX, .size = 8, .little_endian = 1, .text = 1), {DATA("hello"), DATA("\xe2\x82\xac")}},
    {WITH(VARINT, 0), {DATA("hello"), DATA(""), DATA(LONG)}},
    {WITH(NETSTRING, 0), {DATA("hello"), DATA(""), DATA("12:,"), DATA(LONG)}},
    {WITH(DELIMITER, .delimiter_size = 1, .delimiter = "\n"),
     {DATA("hello"), DATA(""), DATA("\r")}},
    {WITH(DELIMITER, .delimiter_size = 2, .delimiter = "\r\n", .text = 1),
     {DATA("hello"), DATA(""), DATA("a\rb\nc"), DATA("d\r")}},
    {WITH(DELIMITER, .delimiter_size = 3, .delimiter = "aab"), {DATA("aa"), DATA(""), DATA("ab")}},
};

#define EACH_STORY(it) for (const story *it = stories; it < stories + COUNT(stories); it++)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The stream of a story, and what a decoder of the frames should write down. */
static void tell(const story *it, bytes *in, bytes *expected)
{
    const ipcx_frame *frame;
    in->size = expected->size = 0;
    for (frame = it->frames; frame < it->frames + COUNT(it->frames) && frame->type; frame++) {
        ipcx_frame seen = *frame;
        CHECK_OK(encode(&it->framing, frame, in));
        seen.flags |= it->framing.text ? IPCX_FRAME_TEXT : 0;
        put_frame(expected, &seen);
    }
    put_number(expected, IPCX_MORE);
    put_number(expected, 0);
}

TEST(every_framing_gives_back_what_went_in_however_it_comes)
{
    EACH_STORY(it)
    {
        bytes in, expected, whole;
        tell(it, &in, &expected);
        check_pieces(&it->framing, &in, &whole);
        CHECK(same(&whole, &expected));
        check_at_a_guard_page(&it->framing, &in);
    }
}

TEST(pending_tells_a_clean_end_from_a_cut)
{
    EACH_STORY(it)
    {
        bytes in, expected;
        ipcx_decoder decoder;
        ipcx_frame frame;
        tell(it, &in, &expected);
        REQUIRE_OK(ipcx_decoder_init(&decoder, &it->framing, NULL));
        CHECK_INT(ipcx_decoder_pending(&decoder), 0);
        REQUIRE_OK(ipcx_decoder_feed(&decoder, in.at, in.size - 1, NULL));
        CHECK_INT(ipcx_decoder_pending(&decoder), in.size - 1);
        while (ipcx_decoder_next(&decoder, &frame, NULL) == IPCX_OK) {
        }
        CHECK(ipcx_decoder_pending(&decoder) > 0);
        REQUIRE_OK(ipcx_decoder_feed(&decoder, in.at + in.size - 1, 1, NULL));
        CHECK_OK(ipcx_decoder_next(&decoder, &frame, NULL));
        CHECK_INT(ipcx_decoder_pending(&decoder), 0); /* the last one is lent, not pending */
        CHECK_STATUS(ipcx_decoder_next(&decoder, &frame, NULL), IPCX_MORE);
        CHECK_INT(ipcx_decoder_pending(&decoder), 0);
        ipcx_decoder_fini(&decoder);
    }
}

/* Streams that break: what is wrong, and at which byte. */
static const struct {
    ipcx_framing framing;
    const char *in;
    size_t size;
    ipcx_status status;
    size_t offset;
} broken[] = {
#define BROKEN(framing, text, status, offset) {framing, text, sizeof(text) - 1, status, offset}
#define OURS WITH(IPCX, 0)
    BROKEN(OURS, "GET / HTTP/1.1\r\n", IPCX_PROTOCOL, 0),
    BROKEN(OURS, "IPCX", IPCX_PROTOCOL, 1),
    BROKEN(OURS, "IX\2", IPCX_VERSION, 2),
    BROKEN(OURS, "IX\0", IPCX_VERSION, 2),
    BROKEN(OURS, "IX\1\0", IPCX_PROTOCOL, 3),
    BROKEN(OURS, "IX\1\17", IPCX_PROTOCOL, 3),
    BROKEN(OURS, "IX\1\1\0\20", IPCX_PROTOCOL, 4),
    BROKEN(OURS, "IX\1\1\0\4", IPCX_PROTOCOL, 4),
    BROKEN(OURS, "IX\1\1\200\0", IPCX_PROTOCOL, 4),
    BROKEN(OURS, "IX\1\1\0\0\0\0\0\0\1\55", IPCX_TOO_LARGE, 8),
    BROKEN(OURS, "IX\1\1\0\1\0\1\0\0\0\3xa\xc3\xc3", IPCX_PROTOCOL, 14),
    BROKEN(OURS, "IX\1\1\200\4\0\0\0\0\0\0abcd", IPCX_CORRUPT, 12),
    BROKEN(OURS, "IX\1\1\0\0\0\0\0\0\0\1aXI", IPCX_PROTOCOL, 13),
    BROKEN(WITH(PREFIX, .size = 2), "\1\55", IPCX_TOO_LARGE, 0),
    BROKEN(WITH(PREFIX, .size = 2), "\0\1a\1\55", IPCX_TOO_LARGE, 3),
    BROKEN(WITH(PREFIX, .size = 8), "\377\377\377\377\377\377\377\377", IPCX_TOO_LARGE, 0),
    BROKEN(WITH(PREFIX, .size = 1, .text = 1), "\3ab\200", IPCX_PROTOCOL, 3),
    BROKEN(WITH(VARINT, 0), "\255\2", IPCX_TOO_LARGE, 0),
    BROKEN(WITH(VARINT, 0), "\200\200\200\200\200\200\200\200\200\2", IPCX_PROTOCOL, 9),
    BROKEN(WITH(VARINT, 0), "\200\200\200\200\200\200\200\200\200\200", IPCX_PROTOCOL, 9),
    BROKEN(WITH(VARINT, 0), "\200\200\200\200\200\200\200\200\200\1", IPCX_TOO_LARGE, 0),
    BROKEN(WITH(NETSTRING, 0), ":,", IPCX_PROTOCOL, 0),
    BROKEN(WITH(NETSTRING, 0), "05:hello,", IPCX_PROTOCOL, 1),
    BROKEN(WITH(NETSTRING, 0), "5hello", IPCX_PROTOCOL, 1),
    BROKEN(WITH(NETSTRING, 0), " 5:hello,", IPCX_PROTOCOL, 0),
    BROKEN(WITH(NETSTRING, 0), "5:hello;", IPCX_PROTOCOL, 7),
    BROKEN(WITH(NETSTRING, 0), "301", IPCX_TOO_LARGE, 0),
    BROKEN(WITH(NETSTRING, 0), "1:a,99999999999999999999999999", IPCX_TOO_LARGE, 4),
    BROKEN(WITH(DELIMITER, .delimiter_size = 1, .delimiter = "\n", .text = 1), "a\n\377\n",
           IPCX_PROTOCOL, 2),
};

TEST(a_broken_stream_is_named_by_status_and_offset_however_it_comes)
{
    size_t i;
    for (i = 0; i < COUNT(broken); i++) {
        bytes in = {.size = 0}, whole, again = {.size = 0};
        uint64_t status, offset;
        ipcx_decoder decoder;
        ipcx_error err = {0};
        ipcx_frame frame;
        uint8_t *room;
        size_t size;
        put(&in, broken[i].in, broken[i].size);
        check_pieces(&broken[i].framing, &in, &whole);
        check_at_a_guard_page(&broken[i].framing, &in);
        status = ipcx_endian_load64(whole.at + whole.size - 16);
        offset = ipcx_endian_load64(whole.at + whole.size - 8);
        if (!CHECK_STATUS((ipcx_status)(int64_t)status, broken[i].status) ||
            !CHECK_INT(offset, broken[i].offset)) {
            printf("# in broken[%zu]\n", i);
        }
        /* For good, until it is reset. */
        REQUIRE_OK(ipcx_decoder_init(&decoder, &broken[i].framing, NULL));
        REQUIRE_OK(ipcx_decoder_feed(&decoder, in.at, in.size, NULL));
        CHECK_STATUS(drain(&decoder, &again), broken[i].status);
        CHECK_STATUS(ipcx_decoder_next(&decoder, &frame, &err), broken[i].status);
        CHECK_STATUS(err.status, broken[i].status);
        CHECK(strstr(err.detail, "at byte ") != NULL);
        CHECK_STATUS(ipcx_decoder_feed(&decoder, "x", 1, NULL), broken[i].status);
        CHECK_STATUS(ipcx_decoder_reserve(&decoder, &room, &size, NULL), broken[i].status);
        ipcx_decoder_reset(&decoder);
        CHECK_INT(ipcx_decoder_pending(&decoder), 0);
        CHECK_STATUS(ipcx_decoder_next(&decoder, &frame, NULL), IPCX_MORE);
        ipcx_decoder_fini(&decoder);
    }
}

TEST(no_bit_of_a_frame_with_a_checksum_can_be_turned_over)
{
    static const ipcx_frame frames[] = {
        {IPCX_FRAME_REPLY, IPCX_FRAME_CRC, 0, NULL, 0, "payload", 7},
        {IPCX_FRAME_DATA, IPCX_FRAME_CRC | IPCX_FRAME_TEXT, 0, "ext", 3, "payload", 7},
        {IPCX_FRAME_REQUEST, IPCX_FRAME_CRC | IPCX_FRAME_CORRELATION, 77, "e", 1, "text", 4},
        {IPCX_FRAME_PING, IPCX_FRAME_CRC, 0, NULL, 0, NULL, 0},
    };
    ipcx_framing ours = {.kind = IPCX_FRAMING_IPCX, .max_message = 1 << 26};
    size_t i, bit;
    for (i = 0; i < COUNT(frames); i++) {
        bytes in = {.size = 0};
        size_t first, j;
        REQUIRE_OK(encode(&ours, &frames[i], &in));
        first = in.size;
        for (j = 0; j < 20; j++) { /* more frames behind it, for a length that grew */
            REQUIRE_OK(encode(&ours, &frames[j % COUNT(frames)], &in));
        }
        for (bit = 0; bit < 8 * first; bit++) {
            bytes out;
            ipcx_status status;
            in.at[bit / 8] = (uint8_t)(in.at[bit / 8] ^ (1u << bit % 8));
            decode(&ours, &in, in.size, 1, 1, &out);
            in.at[bit / 8] = (uint8_t)(in.at[bit / 8] ^ (1u << bit % 8));
            /* Nothing came out: an error, or a length that waits for bytes that never come. */
            CHECK_INT(out.size, 16);
            status = (ipcx_status)(int64_t)ipcx_endian_load64(out.at);
            CHECK(status < 0 || (status == IPCX_MORE && bit / 8 >= 4 && bit / 8 < 12));
        }
    }
}

/* The head of a message of `length` bytes in each framing that says its length. */
static void put_head(bytes *to, const ipcx_framing *framing, uint64_t length)
{
    uint8_t eight[8];
    char digits[32];
    size_t i;
    ipcx_endian_store64(eight, length);
    switch (framing->kind) {
    case IPCX_FRAMING_IPCX:
        put(to, "IX\1\1\0\0\0\0", 8);
        put(to, eight + 4, 4);
        break;
    case IPCX_FRAMING_PREFIX:
        for (i = 0; i < framing->size; i++) {
            put(to, eight + (framing->little_endian ? 7 - i : 8 - framing->size + i), 1);
        }
        break;
    case IPCX_FRAMING_VARINT:
        for (; length >= 0x80; length >>= 7) {
            put(to, &(uint8_t){(uint8_t)(length | 0x80)}, 1);
        }
        put(to, &(uint8_t){(uint8_t)length}, 1);
        break;
    default:
        put(to, digits, (size_t)snprintf(digits, sizeof digits, "%" PRIu64 ":", length));
    }
}

/* A header that promises `length` bytes costs no more memory than any other. */
static void promise(const ipcx_framing *framing, uint64_t length)
{
    bytes in = {.size = 0};
    ipcx_decoder decoder;
    ipcx_frame frame;
    ipcx_status status, expected = length > framing->max_message ? IPCX_TOO_LARGE : IPCX_MORE;
    uint8_t *room;
    size_t size = 0;
    put_head(&in, framing, length);
    REQUIRE_OK(ipcx_decoder_init(&decoder, framing, NULL));
    REQUIRE_OK(ipcx_decoder_feed(&decoder, in.at, in.size, NULL));
    status = ipcx_decoder_next(&decoder, &frame, NULL);
    CHECK_STATUS(status,
                 length == 0 && framing->kind != IPCX_FRAMING_NETSTRING ? IPCX_OK : expected);
    CHECK(decoder.buf.cap <= 256);
    if (status == IPCX_MORE) {
        CHECK_OK(ipcx_decoder_reserve(&decoder, &room, &size, NULL));
        CHECK(size > 0 && decoder.buf.cap < 65536);
    }
    ipcx_decoder_fini(&decoder);
}

TEST(a_length_is_only_a_promise)
{
    static const ipcx_framing framings[] = {
        {.kind = IPCX_FRAMING_IPCX},
        {.kind = IPCX_FRAMING_PREFIX, .size = 1},
        {.kind = IPCX_FRAMING_PREFIX, .size = 2, .little_endian = 1},
        {.kind = IPCX_FRAMING_PREFIX, .size = 4},
        {.kind = IPCX_FRAMING_PREFIX, .size = 4, .little_endian = 1},
        {.kind = IPCX_FRAMING_PREFIX, .size = 8},
        {.kind = IPCX_FRAMING_PREFIX, .size = 8, .little_endian = 1},
        {.kind = IPCX_FRAMING_VARINT},
        {.kind = IPCX_FRAMING_NETSTRING},
    };
    static const size_t limits[] = {0, 1000, (size_t)1 << 26, (size_t)1 << 31};
    size_t i, j;
    unsigned k;
    for (i = 0; i < COUNT(framings); i++) {
        size_t width = framings[i].kind == IPCX_FRAMING_IPCX     ? 4
                       : framings[i].kind == IPCX_FRAMING_PREFIX ? framings[i].size
                                                                 : 8;
        for (j = 0; j < COUNT(limits); j++) {
            ipcx_framing framing = framings[i];
            framing.max_message = limits[j];
            for (k = 0; k < 8 * width; k++) {
                promise(&framing, (UINT64_C(1) << k) - 1);
                promise(&framing, UINT64_C(1) << k);
                promise(&framing, (UINT64_C(1) << k) + (k > 0));
            }
            promise(&framing, width == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * width) - 1);
        }
    }
}

TEST(an_extension_is_bounded_by_its_field)
{
    ipcx_framing ours = {.kind = IPCX_FRAMING_IPCX, .max_message = 0};
    ipcx_decoder decoder;
    ipcx_frame frame;
    unsigned k, below;
    for (k = 0; k < 16; k++) {
        for (below = 0; below < 3; below++) {
            unsigned length = (1u << k) - 1 + below;
            uint8_t head[] = {'I', 'X', 1, 1, 0, 0, 0, 0, 0, 0, 0, 0};
            ipcx_endian_store16(head + 6, (uint16_t)length);
            REQUIRE_OK(ipcx_decoder_init(&decoder, &ours, NULL));
            REQUIRE_OK(ipcx_decoder_feed(&decoder, head, sizeof head, NULL));
            CHECK_STATUS(ipcx_decoder_next(&decoder, &frame, NULL),
                         length == 0 ? IPCX_OK : IPCX_MORE);
            CHECK_INT(decoder.missing, length);
            ipcx_decoder_fini(&decoder);
        }
    }
}

TEST(the_limit_is_exact_both_ways)
{
    static const uint8_t payload[301] = {0};
    EACH_STORY(it)
    {
        bytes in = {.size = 0}, out;
        ipcx_frame frame = {.type = IPCX_FRAME_DATA, .payload = payload, .payload_size = 300};
        ipcx_framing wider = it->framing;
        ipcx_error err = {0};
        ipcx_envelope around;
        int fits = it->framing.kind != IPCX_FRAMING_PREFIX || it->framing.size > 1;
        wider.max_message = 301;
        if (it->framing.kind == IPCX_FRAMING_FIXED) {
            CHECK_STATUS(encode(&it->framing, &frame, &in), IPCX_INVALID);
            continue;
        }
        CHECK_STATUS(encode(&it->framing, &frame, &in), fits ? IPCX_OK : IPCX_TOO_LARGE);
        frame.payload_size = 301;
        CHECK_STATUS(ipcx_frame_encode(&it->framing, &frame, &around, &err), IPCX_TOO_LARGE);
        CHECK_STR(err.detail, "301 bytes; the limit is 300");
        if (fits) {
            CHECK_OK(encode(&wider, &frame, &in));
            decode(&it->framing, &in, 1, 1, 1, &out);
            CHECK_INT(out.size, 5 * 8 + 300 + 16); /* the first comes, the second breaks it */
            CHECK_STATUS((ipcx_status)(int64_t)ipcx_endian_load64(out.at + out.size - 16),
                         IPCX_TOO_LARGE);
        }
    }
}

TEST(what_cannot_be_carried_is_refused_before_it_is_sent)
{
    static const struct {
        ipcx_framing framing;
        ipcx_frame frame;
    } refused[] = {
        {OURS, {.type = (ipcx_frame_type)0}},
        {OURS, {.type = IPCX_FRAME_PROOF + 1}},
        {OURS, {.type = IPCX_FRAME_DATA, .flags = 0x10}},
        {OURS, {.type = IPCX_FRAME_DATA, .flags = 0x8000}},
        {OURS, {.type = IPCX_FRAME_DATA, .flags = 0x0004}},
        {OURS, {.type = IPCX_FRAME_DATA, .extension = LONG, .extension_size = 65536}},
        {OURS, {IPCX_FRAME_DATA, IPCX_FRAME_TEXT, 0, NULL, 0, "\xff", 1}},
        {WITH(FIXED, .size = 3), DATA("four")},
        {WITH(FIXED, .size = 3), DATA("")},
        {WITH(PREFIX, .size = 4), {.type = IPCX_FRAME_PING}},
        {WITH(PREFIX, .size = 4), {.type = IPCX_FRAME_DATA, .flags = IPCX_FRAME_TEXT}},
        {WITH(PREFIX, .size = 4), {IPCX_FRAME_DATA, 0, 0, "e", 1, NULL, 0}},
        {WITH(PREFIX, .size = 4, .text = 1), DATA("\xc3")},
        {WITH(DELIMITER, .delimiter_size = 1, .delimiter = "\n"), DATA("two\nlines")},
        {WITH(DELIMITER, .delimiter_size = 2, .delimiter = "aa"), DATA("xa")},
        {WITH(DELIMITER, .delimiter_size = 3, .delimiter = "aba"), DATA("ab")},
        {WITH(FIXED, .size = 0), DATA("")},
        {WITH(FIXED, .size = 301), DATA("")},
        {WITH(PREFIX, .size = 3), DATA("")},
        {WITH(DELIMITER, .delimiter_size = 0), DATA("")},
        {WITH(DELIMITER, .delimiter_size = 33), DATA("")},
        {{.kind = (ipcx_framing_kind)6}, DATA("")},
        {{.kind = IPCX_FRAMING_VARINT, .max_message = ((size_t)1 << 31) + 1}, DATA("")},
    };
    size_t i;
    for (i = 0; i < COUNT(refused); i++) {
        ipcx_envelope around = {.head_size = 99};
        ipcx_error err = {0};
        if (!CHECK_STATUS(ipcx_frame_encode(&refused[i].framing, &refused[i].frame, &around, &err),
                          IPCX_INVALID)) {
            printf("# in refused[%zu]\n", i);
        }
        CHECK(err.status == IPCX_INVALID && err.detail[0] != '\0' && around.head_size == 99);
    }
    for (i = COUNT(refused) - 7; i < COUNT(refused); i++) {
        ipcx_decoder decoder;
        CHECK_STATUS(ipcx_decoder_init(&decoder, &refused[i].framing, NULL), IPCX_INVALID);
    }
}

TEST(reset_begins_a_new_stream)
{
    EACH_STORY(it)
    {
        bytes in, expected, out = {.size = 0};
        ipcx_decoder decoder;
        ipcx_frame frame;
        ipcx_status status;
        tell(it, &in, &expected);
        REQUIRE_OK(ipcx_decoder_init(&decoder, &it->framing, NULL));
        REQUIRE_OK(ipcx_decoder_feed(&decoder, in.at, in.size - 1, NULL));
        CHECK_OK(ipcx_decoder_next(&decoder, &frame, NULL));
        ipcx_decoder_reset(&decoder); /* with a message lent and one begun */
        REQUIRE_OK(ipcx_decoder_feed(&decoder, in.at, in.size, NULL));
        status = drain(&decoder, &out);
        put_end(&out, &decoder, status);
        CHECK(same(&out, &expected));
        CHECK_INT(decoder.offset, in.size);
        ipcx_decoder_fini(&decoder);
    }
}

TEST(a_read_asks_for_more_while_reads_come_back_full)
{
    ipcx_framing lines = WITH(DELIMITER, .delimiter_size = 1, .delimiter = "\n");
    ipcx_decoder decoder;
    ipcx_frame frame;
    uint8_t *room;
    size_t size, i, before = 0;
    REQUIRE_OK(ipcx_decoder_init(&decoder, &lines, NULL));
    for (i = 0; i < 8; i++) {
        REQUIRE_OK(ipcx_decoder_reserve(&decoder, &room, &size, NULL));
        CHECK(size == (i == 0 ? 4096 : i < 6 ? 2 * before : 131072));
        memset(room, '\n', size);
        ipcx_decoder_commit(&decoder, size);
        while (ipcx_decoder_next(&decoder, &frame, NULL) == IPCX_OK) {
        }
        before = size;
    }
    CHECK(decoder.buf.cap <= 131072);
    ipcx_decoder_fini(&decoder);
}

TEST(a_long_message_grows_with_what_has_come)
{
    ipcx_framing ours = {.kind = IPCX_FRAMING_IPCX, .max_message = 1 << 22};
    ipcx_decoder decoder;
    ipcx_frame frame = {0};
    ipcx_status status;
    uint8_t *room;
    size_t size, got = 12, reads = 0;
    REQUIRE_OK(ipcx_decoder_init(&decoder, &ours, NULL));
    REQUIRE_OK(ipcx_decoder_feed(&decoder, "IX\1\1\0\0\0\0\0\100\0\0", 12, NULL));
    while ((status = ipcx_decoder_next(&decoder, &frame, NULL)) == IPCX_MORE) {
        REQUIRE_OK(ipcx_decoder_reserve(&decoder, &room, &size, NULL));
        CHECK(size <= 65536 || size <= 4 * got);
        CHECK(size >= 4096 || size == decoder.missing);
        memset(room, 'm', size);
        ipcx_decoder_commit(&decoder, size);
        got += size;
        reads++;
    }
    CHECK_STATUS(status, IPCX_OK);
    CHECK_INT(frame.payload_size, 1 << 22);
    CHECK(reads < 16);
    ipcx_decoder_fini(&decoder);
}

/* Feeds a story in three pieces, the last by reserve and commit; NOMEM is tried again by the
 * caller, who knows from *at how far it came. */
static ipcx_status scenario(ipcx_decoder *decoder, const bytes *in, size_t *at, bytes *out)
{
    ipcx_status status = IPCX_MORE;
    while (*at < in->size && status == IPCX_MORE) {
        size_t n = in->size - *at < 200 ? in->size - *at : 200, size;
        uint8_t *room;
        status = *at < 400 ? ipcx_decoder_feed(decoder, in->at + *at, n, NULL)
                           : ipcx_decoder_reserve(decoder, &room, &size, NULL);
        if (status != IPCX_OK) {
            return status;
        }
        if (*at >= 400) {
            memcpy(room, in->at + *at, n);
            ipcx_decoder_commit(decoder, n);
        }
        *at += n;
        status = drain(decoder, out);
    }
    return status;
}

TEST(every_allocation_fails_once)
{
    ipcx_framing ours = {.kind = IPCX_FRAMING_IPCX, .max_message = ROOM};
    static const uint8_t payload[800] = {0};
    ipcx_frame frame = {.type = IPCX_FRAME_DATA, .payload = payload, .payload_size = 800};
    bytes in = {.size = 0}, expected = {.size = 0};
    uint64_t k;
    REQUIRE_OK(encode(&ours, &frame, &in));
    put_frame(&expected, &frame);
    for (k = 1;; k++) {
        bytes out = {.size = 0};
        ipcx_decoder decoder;
        ipcx_status status;
        size_t at = 0;
        uint64_t tried;
        REQUIRE_OK(ipcx_decoder_init(&decoder, &ours, NULL));
        ipcx_alloc_fail_at(k);
        status = scenario(&decoder, &in, &at, &out);
        tried = ipcx_alloc_count();
        if (status == IPCX_NOMEM) {
            status = scenario(&decoder, &in, &at, &out); /* nothing was lost: go on */
        } else {
            CHECK(tried < k);
        }
        CHECK_STATUS(status, IPCX_MORE);
        CHECK(same(&out, &expected));
        ipcx_decoder_fini(&decoder);
        if (tried < k) {
            break;
        }
    }
    ipcx_alloc_fail_at(0);
    CHECK(k > 2);
}

TEST(utf8_is_what_rfc_3629_says)
{
    static const struct {
        const char *text;
        size_t size, valid;
    } table[] = {
#define TEXT(text, valid) {text, sizeof(text) - 1, valid}
        TEXT("", 0),
        TEXT("plain", 5),
        TEXT("\0", 1),
        TEXT("\x7f", 1),
        TEXT("\x80", 0),
        TEXT("\xbf", 0),
        TEXT("\xc0\x80", 0), /* overlong */
        TEXT("\xc1\xbf", 0),
        TEXT("\xc2\x80", 2),
        TEXT("\xdf\xbf", 2),
        TEXT("\xc2", 0), /* cut off */
        TEXT("\xc2 ", 0),
        TEXT("\xe0\x9f\xbf", 0), /* overlong */
        TEXT("\xe0\xa0\x80", 3),
        TEXT("\xe2\x82\xac", 3),
        TEXT("\xe2\x82", 0),
        TEXT("\xe2\x82 ", 0),
        TEXT("\xed\x9f\xbf", 3),
        TEXT("\xed\xa0\x80", 0), /* surrogates */
        TEXT("\xed\xbf\xbf", 0),
        TEXT("\xee\x80\x80", 3),
        TEXT("\xef\xbf\xbf", 3),
        TEXT("\xf0\x8f\xbf\xbf", 0), /* overlong */
        TEXT("\xf0\x90\x80\x80", 4),
        TEXT("\xf4\x8f\xbf\xbf", 4),
        TEXT("\xf4\x90\x80\x80", 0), /* over U+10FFFF */
        TEXT("\xf5\x80\x80\x80", 0),
        TEXT("\xf8\x88\x80\x80\x80", 0),
        TEXT("\xff", 0),
        TEXT("\xf0\x90\x80", 0),
        TEXT("\xf0\x90\x80 ", 0),
        TEXT("a\xe2\x82\xac\xc3\xbc z", 8),
        TEXT("sixteen letters!\xff", 16),
        TEXT("seven l\xe2\x82\xac", 10),
        TEXT("1234567\xed\xa0\x80", 7),
    };
    size_t i;
    for (i = 0; i < COUNT(table); i++) {
        char *copy = check_guarded(table[i].text, table[i].size);
        if (!CHECK_INT(ipcx__utf8_valid(copy, table[i].size), table[i].valid)) {
            printf("# in table[%zu]\n", i);
        }
        check_unguard(copy, table[i].size);
    }
    CHECK_INT(ipcx__utf8_valid(NULL, 0), 0);
}

TEST(every_character_is_judged_as_its_code_point)
{
    /* All of two and three bytes, against the definition. */
    unsigned a, b, c;
    for (a = 0x80; a < 0x100; a++) {
        for (b = 0; b < 0x100; b += 1) {
            uint8_t s[3] = {(uint8_t)a, (uint8_t)b, 0x80};
            unsigned tail = (b & 0xc0) == 0x80;
            unsigned point = (a & 0x0f) << 12 | (b & 0x3f) << 6;
            int two = a >= 0xc2 && a < 0xe0 && tail;
            int three = (a & 0xf0) == 0xe0 && tail && point + 0x3f >= 0x800 &&
                        (point < 0xd800 || point > 0xdfff);
            for (c = 0; c < 2; c++) {
                size_t valid = ipcx__utf8_valid(s, two ? 2 : 3);
                CHECK_INT(valid, two ? 2 : three && c == 0 ? 3 : 0);
                s[2] = 0xc0;
            }
        }
    }
}
