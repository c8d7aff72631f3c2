/* SPDX-License-Identifier: Apache-2.0
 * sha256: the examples of FIPS 180-4, the cases of RFC 4231, and pieces against the whole.
 * tests/test_keys.py compares with hashlib and hmac on random keys and texts. */
#include "check.h"

#include "base/sha256.h"

static void hex(const uint8_t *bytes, char *text)
{
    for (int i = 0; i < IPCX__SHA256_SIZE; i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
}

static void check_digest(const void *bytes, size_t size, const char *expected)
{
    uint8_t digest[IPCX__SHA256_SIZE];
    char text[65];
    ipcx__sha256_of(bytes, size, digest);
    hex(digest, text);
    CHECK_STR(text, expected);
}

TEST(the_examples_of_fips_180_4)
{
    static char million[1000000];
    check_digest("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_digest("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    check_digest("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopq"
                 "klmnopqrlmnopqrsmnopqrstnopqrstu",
                 112, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    memset(million, 'a', sizeof million);
    check_digest(million, sizeof million,
                 "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void check_mac(const void *key, size_t key_size, const void *bytes, size_t size,
                      const char *expected)
{
    ipcx__hmac_key made;
    uint8_t mac[IPCX__SHA256_SIZE];
    char text[65];
    ipcx__hmac_begin(&made, key, key_size);
    ipcx__hmac_of(&made, bytes, size, mac);
    hex(mac, text);
    CHECK_STR(text, expected);
}

TEST(the_cases_of_rfc_4231)
{
    static const char longer[] = "This is a test using a larger than block-size key and a larger "
                                 "than block-size data. The key needs to be hashed before being "
                                 "used by the HMAC algorithm.";
    uint8_t key[131], data[50];
    memset(key, 0x0b, 20);
    check_mac(key, 20, "Hi There", 8,
              "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    check_mac("Jefe", 4, "what do ya want for nothing?", 28,
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    memset(data, 0xdd, sizeof data);
    check_mac(key, 20, data, 50,
              "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    for (int i = 0; i < 25; i++) {
        key[i] = (uint8_t)(i + 1);
    }
    memset(data, 0xcd, sizeof data);
    check_mac(key, 25, data, 50,
              "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
    memset(key, 0xaa, sizeof key);
    check_mac(key, 131, "Test Using Larger Than Block-Size Key - Hash Key First", 54,
              "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    check_mac(key, 131, longer, sizeof longer - 1,
              "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

TEST(pieces_and_the_whole)
{
    uint8_t bytes[200], whole[IPCX__SHA256_SIZE], pieces[IPCX__SHA256_SIZE];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    for (size_t size = 0; size <= sizeof bytes; size++) {
        for (size_t cut = 0; cut <= size; cut += 13) {
            ipcx__sha256 hash;
            ipcx__sha256_begin(&hash);
            ipcx__sha256_add(&hash, bytes, cut);
            ipcx__sha256_add(&hash, bytes + cut, size - cut);
            ipcx__sha256_end(&hash, pieces);
            ipcx__sha256_of(bytes, size, whole);
            CHECK(memcmp(pieces, whole, sizeof whole) == 0);
        }
    }
}

TEST(same_bytes_looks_at_every_byte)
{
    uint8_t a[32] = {0}, b[32] = {0};
    CHECK(ipcx__same_bytes(a, b, sizeof a));
    for (size_t i = 0; i < sizeof a; i++) {
        b[i] = 0x80;
        CHECK(!ipcx__same_bytes(a, b, sizeof a));
        b[i] = 0;
    }
    CHECK(ipcx__same_bytes(a, b, 0));
}
