/* SPDX-License-Identifier: Apache-2.0
 * endian: known bytes, every alignment, and there and back. */
#include "check.h"

#include "ipcx/endian.h"

static const uint8_t BYTES[8] = {0x81, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0xf8};

TEST(load_is_most_significant_first)
{
    CHECK(ipcx_endian_load16(BYTES) == 0x8102);
    CHECK(ipcx_endian_load32(BYTES) == 0x81020304);
    CHECK(ipcx_endian_load64(BYTES) == 0x81020304050607f8);
}

TEST(store_is_most_significant_first)
{
    uint8_t out[8];
    ipcx_endian_store16(out, 0x8102);
    CHECK_MEM(out, BYTES, 2);
    ipcx_endian_store32(out, 0x81020304);
    CHECK_MEM(out, BYTES, 4);
    ipcx_endian_store64(out, 0x81020304050607f8);
    CHECK_MEM(out, BYTES, 8);
}

TEST(any_address_and_not_a_byte_further)
{
    size_t n;
    for (n = 2; n <= 24; n++) {
        char zeros[24] = {0};
        char *end = check_guarded(zeros, n) + n;
        ipcx_endian_store16(end - 2, UINT16_MAX);
        CHECK(ipcx_endian_load16(end - 2) == UINT16_MAX);
        if (n >= 4) {
            ipcx_endian_store32(end - n, 0x12345678);
            CHECK(ipcx_endian_load32(end - n) == 0x12345678);
            ipcx_endian_store32(end - 4, UINT32_MAX);
            CHECK(ipcx_endian_load32(end - 4) == UINT32_MAX);
        }
        if (n >= 8) {
            ipcx_endian_store64(end - n, 0x0123456789abcdef);
            CHECK(ipcx_endian_load64(end - n) == 0x0123456789abcdef);
            ipcx_endian_store64(end - 8, UINT64_MAX);
            CHECK(ipcx_endian_load64(end - 8) == UINT64_MAX);
        }
        check_unguard(end - n, n);
    }
}
