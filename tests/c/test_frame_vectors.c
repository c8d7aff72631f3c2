/* SPDX-License-Identifier: Apache-2.0
 * The test vectors of docs/protocol.md, docs/vectors/frames.txt: each both ways. */
#include "check.h"

#include <limits.h>

#include "ipcx/frame.h"

#define COLUMNS 10
#define ROOM 4096

typedef struct bytes {
    uint8_t at[ROOM];
    size_t size;
} bytes;

static void from_hex(bytes *to, const char *hex)
{
    unsigned byte;
    to->size = 0;
    for (; hex[0] != '\0' && hex[0] != '-' && sscanf(hex, "%2x", &byte) == 1; hex += 2) {
        to->at[to->size++] = (uint8_t)byte;
    }
}

/* "prefix:2:little" … */
static ipcx_framing framing_of(char *text)
{
    static const char *const names[] = {"ipcx",   "fixed",     "prefix",
                                        "varint", "netstring", "delimiter"};
    ipcx_framing framing = {.max_message = 1000};
    char *name = strtok(text, ":"), *first = strtok(NULL, ":"), *second = strtok(NULL, ":");
    while (strcmp(names[framing.kind], name) != 0) {
        framing.kind++;
    }
    if (framing.kind == IPCX_FRAMING_DELIMITER) {
        bytes delimiter;
        from_hex(&delimiter, first);
        memcpy(framing.delimiter, delimiter.at, delimiter.size);
        framing.delimiter_size = delimiter.size;
    } else if (first != NULL) {
        framing.size = (size_t)atoi(first);
        framing.little_endian = second != NULL && strcmp(second, "little") == 0;
    }
    return framing;
}

static ipcx_frame_type type_of(const char *name)
{
    static const char *const names[] = {"",      "DATA",    "ACK",       "REQUEST",     "REPLY",
                                        "ERROR", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE", "PING",
                                        "PONG",  "HELLO",   "BYE",       "HANDOVER",    "PROOF"};
    int type = 1;
    while (strcmp(names[type], name) != 0) {
        type++;
    }
    return (ipcx_frame_type)type;
}

/* good NAME FRAMING TYPE FLAGS CORRELATION EXTENSION PAYLOAD STREAM */
static void check_good(char **column)
{
    ipcx_framing framing = framing_of(column[2]);
    bytes extension, payload, stream;
    ipcx_envelope around;
    ipcx_decoder decoder;
    ipcx_frame frame = {0}, seen = {0};
    size_t at;
    from_hex(&extension, column[6]);
    from_hex(&payload, column[7]);
    from_hex(&stream, column[8]);
    frame.type = type_of(column[3]);
    frame.flags = (uint16_t)strtoul(column[4], NULL, 16);
    frame.correlation = column[5][0] == '-' ? 0 : strtoull(column[5], NULL, 10);
    frame.extension = extension.at;
    frame.extension_size = extension.size;
    frame.payload = payload.at;
    frame.payload_size = payload.size;

    CHECK_OK(ipcx_frame_encode(&framing, &frame, &around, NULL));
    at = around.head_size;
    CHECK_INT(at + extension.size + payload.size + around.tail_size, stream.size);
    CHECK_MEM(stream.at, around.head, at);
    CHECK_MEM(stream.at + at, extension.at, extension.size);
    CHECK_MEM(stream.at + at + extension.size, payload.at, payload.size);
    CHECK_MEM(stream.at + stream.size - around.tail_size, around.tail, around.tail_size);

    REQUIRE_OK(ipcx_decoder_init(&decoder, &framing, NULL));
    REQUIRE_OK(ipcx_decoder_feed(&decoder, stream.at, stream.size, NULL));
    CHECK_OK(ipcx_decoder_next(&decoder, &seen, NULL));
    CHECK(seen.type == frame.type && seen.flags == frame.flags &&
          seen.correlation == frame.correlation);
    CHECK_INT(seen.extension_size, extension.size);
    CHECK_MEM(seen.extension, extension.at, seen.extension_size);
    CHECK_INT(seen.payload_size, payload.size);
    CHECK_MEM(seen.payload, payload.at, seen.payload_size);
    CHECK_INT(ipcx_decoder_pending(&decoder), 0);
    ipcx_decoder_fini(&decoder);
}

/* bad NAME FRAMING STATUS OFFSET STREAM */
static void check_bad(char **column)
{
    ipcx_framing framing = framing_of(column[2]);
    bytes stream;
    ipcx_decoder decoder;
    ipcx_frame frame;
    ipcx_status status;
    from_hex(&stream, column[5]);
    REQUIRE_OK(ipcx_decoder_init(&decoder, &framing, NULL));
    REQUIRE_OK(ipcx_decoder_feed(&decoder, stream.at, stream.size, NULL));
    while ((status = ipcx_decoder_next(&decoder, &frame, NULL)) == IPCX_OK) {
    }
    CHECK_STR(ipcx_status_name(status), column[3]);
    CHECK_INT(ipcx_decoder_error_offset(&decoder), atoi(column[4]));
    CHECK(status < 0 || ipcx_decoder_pending(&decoder) > 0);
    ipcx_decoder_fini(&decoder);
}

/* build/c/VARIANT/test_frame_vectors is three folders below the project's. */
static FILE *vectors_open(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    int up;
    REQUIRE(n > 0);
    path[n] = '\0';
    for (up = 0; up < 4; up++) {
        *strrchr(path, '/') = '\0';
    }
    REQUIRE(strlen(path) + 32 < sizeof path);
    strcat(path, "/docs/vectors/frames.txt");
    return fopen(path, "r");
}

TEST(every_vector_both_ways)
{
    static char line[4 * ROOM];
    FILE *file = vectors_open();
    int good = 0, bad = 0;
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        char *column[COLUMNS] = {NULL}, *rest = line;
        int failed = atomic_load(&check_failed), i;
        if (line[0] == '#') {
            continue;
        }
        for (i = 0; i < COLUMNS && (column[i] = strtok_r(rest, " \n", &rest)) != NULL; i++) {
        }
        if (strcmp(column[0], "good") == 0) {
            good++;
            check_good(column);
        } else {
            bad++;
            check_bad(column);
        }
        if (atomic_load(&check_failed) != failed) {
            printf("# in the vector %s\n", column[1]);
        }
    }
    (void)fclose(file);
    CHECK(good > 20 && bad > 20);
}
