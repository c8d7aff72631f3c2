/* SPDX-License-Identifier: Apache-2.0
 * crc32c: the vectors of RFC 3720, the instruction against the table, and pieces against the whole.
 */
#include "check.h"

#include "base/crc32c.h"
#include "base/process.h"
#include "ipcx/crc32c.h"

TEST(rfc_3720_appendix_b_4)
{
    /* An iSCSI read command, the appendix's last example. */
    static const uint8_t command[48] = {0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00,
                                        0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00,
                                        0x00, 0x18, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                        0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    uint8_t bytes[32];
    int i;
    memset(bytes, 0, 32);
    CHECK_INT(ipcx_crc32c_update(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    CHECK_INT(ipcx_crc32c_update(0, bytes, 32), 0x62a8ab43);
    for (i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)i;
    }
    CHECK_INT(ipcx_crc32c_update(0, bytes, 32), 0x46dd794e);
    for (i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    CHECK_INT(ipcx_crc32c_update(0, bytes, 32), 0x113fdb5c);
    CHECK_INT(ipcx_crc32c_update(0, command, 48), 0xd9963a56);
    CHECK_INT(ipcx_crc32c_update(0, "123456789", 9), 0xe3069283);
    CHECK_INT(ipcx_crc32c_update(0, NULL, 0), 0);
}

TEST(instruction_and_table_agree_at_every_alignment)
{
    uint8_t bytes[96];
    size_t at, n;
    for (n = 0; n < sizeof bytes; n++) {
        bytes[n] = (uint8_t)(n * 167 + 13);
    }
    if (!ipcx__cpu_has_crc32c()) {
        printf("# no CRC-32C instruction on this CPU: the table alone\n");
        return;
    }
    for (at = 0; at < 16; at++) {
        for (n = 0; at + n <= sizeof bytes; n++) {
            uint32_t reg = (uint32_t)(n * 0x9e3779b9u);
            CHECK_INT(ipcx__crc32c_hardware(reg, bytes + at, n),
                      ipcx__crc32c_table(reg, bytes + at, n));
        }
    }
}

TEST(pieces_make_the_whole)
{
    static const char text[] = "the quick brown fox jumps over the lazy dog";
    uint32_t whole = ipcx_crc32c_update(0, text, sizeof text);
    size_t cut;
    for (cut = 0; cut <= sizeof text; cut++) {
        uint32_t crc = ipcx_crc32c_update(0, text, cut);
        CHECK_INT(ipcx_crc32c_update(crc, text + cut, sizeof text - cut), whole);
    }
}

TEST(not_a_byte_further)
{
    uint8_t bytes[64] = {1, 2, 3};
    size_t n;
    for (n = 0; n <= sizeof bytes; n++) {
        char *guarded = check_guarded(bytes, n);
        CHECK_INT(ipcx_crc32c_update(0, guarded, n), ipcx_crc32c_update(0, bytes, n));
        CHECK_INT((uint32_t)~ipcx__crc32c_table(~0u, (uint8_t *)guarded, n),
                  ipcx_crc32c_update(0, bytes, n));
        check_unguard(guarded, n);
    }
}
