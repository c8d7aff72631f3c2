/* SPDX-License-Identifier: Apache-2.0
 * recv_exactly and recv_until: the same result wherever the bytes are split, and nothing too much.
 */
#include "check.h"

#include "ends.h"

TEST(exactly_goes_on_where_it_was)
{
    end a, b;
    ipcx__io io;
    char bytes[12] = {0};
    size_t got = 0, n;
    pair_make(&a, &b, SOCK_STREAM);
    CHECK_OK(send_bytes(&a, "abc", 3, IPCX_FOREVER, &n));
    io = io_of(&b, IPCX_NOW);
    CHECK_STATUS(ipcx__io_recv_exactly(&io, bytes, 6, &got, NULL), IPCX_AGAIN);
    CHECK_INT(got, 3);
    CHECK_OK(send_bytes(&a, "defgh", 5, IPCX_FOREVER, &n));
    CHECK_OK(ipcx__io_recv_exactly(&io, bytes, 6, &got, NULL));
    CHECK_STR(bytes, "abcdef");
    end_close(&a);
    CHECK_STATUS(ipcx__io_recv_exactly(&io, bytes, 9, &got, NULL), IPCX_EOF);
    CHECK_INT(got, 8);
    end_close(&b);
}

/* The line whole, then in two pieces cut anywhere, then byte by byte; nothing past it is taken. */
static void until_in_pieces(const char *text, size_t size, const char *delimiter, size_t line)
{
    size_t cut;
    for (cut = 0; cut <= size + 1; cut++) {
        end a, b;
        ipcx__io io;
        char bytes[64], rest[64];
        size_t got = 0, fed = 0, n;
        ipcx_status status = IPCX_AGAIN;
        pair_make(&a, &b, SOCK_STREAM);
        io = io_of(&b, IPCX_NOW);
        while (status == IPCX_AGAIN && fed < size) {
            size_t piece = cut > size ? 1 : fed == 0 && cut > 0 ? cut : size - fed;
            CHECK_OK(send_bytes(&a, text + fed, piece, IPCX_FOREVER, &n));
            fed += piece;
            status = ipcx__io_recv_until(&io, bytes, sizeof bytes, sizeof bytes, delimiter,
                                         strlen(delimiter), &got, NULL);
        }
        CHECK_OK(status);
        CHECK_INT(got, line);
        CHECK_MEM(bytes, text, line < got ? line : got);
        if (fed > line) {
            CHECK_OK(recv_bytes(&b, rest, sizeof rest, IPCX_NOW, &n));
            CHECK_INT(n, fed - line);
            CHECK_MEM(rest, text + line, n);
        }
        end_close(&a);
        end_close(&b);
    }
}

TEST(until_wherever_it_is_split)
{
    until_in_pieces("one\ntwo\n", 8, "\n", 4);
    until_in_pieces("one\r\ntwo", 8, "\r\n", 5);
    until_in_pieces("a\r\r\r\n\r\nrest", 11, "\r\n\r\n", 7);
    until_in_pieces("aaab", 4, "aab", 4);
    until_in_pieces("\n", 1, "\n", 1);
}

TEST(until_the_limit_the_room_and_the_end)
{
    end a, b;
    ipcx__io io;
    ipcx_error err;
    char bytes[8];
    size_t got = 0, n;
    pair_make(&a, &b, SOCK_STREAM);
    io = io_of(&b, IPCX_NOW);
    CHECK_OK(send_bytes(&a, "abcdefg\nh", 9, IPCX_FOREVER, &n));
    CHECK_STATUS(ipcx__io_recv_until(&io, bytes, 4, 8, "\n", 1, &got, NULL), IPCX_MORE);
    CHECK_INT(got, 4);
    CHECK_OK(ipcx__io_recv_until(&io, bytes, 8, 8, "\n", 1, &got, NULL)); /* exactly the limit */
    CHECK_INT(got, 8);
    got = 0;
    CHECK_OK(send_bytes(&a, "1234567\n", 8, IPCX_FOREVER, &n));
    CHECK_STATUS(ipcx__io_recv_until(&io, bytes, 8, 8, "\n", 1, &got, &err), IPCX_TOO_LARGE);
    CHECK_INT(got, 8);
    CHECK_STR(err.detail, "no delimiter in the first 8 bytes");
    got = 0;
    end_close(&a);
    CHECK_STATUS(ipcx__io_recv_until(&io, bytes, 8, 8, "x", 1, &got, NULL), IPCX_EOF);
    CHECK_INT(got, 1);
    end_close(&b);
}
