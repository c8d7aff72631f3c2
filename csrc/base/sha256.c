/* SPDX-License-Identifier: Apache-2.0
 * SHA-256 and HMAC, straight from FIPS 180-4, section 6.2, and RFC 2104.
 * Invariant: as in the header; a handshake hashes a few hundred bytes, so plain C is fast enough.
 */
#include "base/sha256.h"

#include <string.h>

#include "ipcx/endian.h"

#define BLOCK 64

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turned(uint32_t x, int by)
{
    return x >> by | x << (32 - by);
}

static void spread(uint32_t w[64], const uint8_t *block)
{
    for (int i = 0; i < 16; i++) {
        w[i] = ipcx_endian_load32(block + 4 * i);
    }
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] +
               (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
}

static void compress(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64], s[8];
    spread(w, block);
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t one = s[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                       ((e & s[5]) ^ (~e & s[6])) + K[i] + w[i];
        uint32_t two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) +
                       ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) {
        state[i] += s[i];
    }
    explicit_bzero(w, sizeof w);
    explicit_bzero(s, sizeof s);
}

void ipcx__sha256_begin(ipcx__sha256 *self)
{
    *self = (ipcx__sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                     0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void ipcx__sha256_add(ipcx__sha256 *self, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    size_t held = (size_t)(self->size % BLOCK);
    self->size += size;
    while (size > 0) {
        size_t n = size < BLOCK - held ? size : BLOCK - held;
        memcpy(self->block + held, from, n);
        held += n;
        from += n;
        size -= n;
        if (held == BLOCK) {
            compress(self->state, self->block);
            held = 0;
        }
    }
}

void ipcx__sha256_end(ipcx__sha256 *self, uint8_t digest[IPCX__SHA256_SIZE])
{
    static const uint8_t padding[BLOCK] = {0x80};
    uint8_t length[8];
    size_t held = (size_t)(self->size % BLOCK);
    ipcx_endian_store64(length, self->size * 8);
    ipcx__sha256_add(self, padding, held < BLOCK - 8 ? BLOCK - 8 - held : 2 * BLOCK - 8 - held);
    ipcx__sha256_add(self, length, sizeof length);
    for (int i = 0; i < 8; i++) {
        ipcx_endian_store32(digest + 4 * i, self->state[i]);
    }
    explicit_bzero(self, sizeof *self);
}

void ipcx__sha256_of(const void *bytes, size_t size, uint8_t digest[IPCX__SHA256_SIZE])
{
    ipcx__sha256 hash;
    ipcx__sha256_begin(&hash);
    ipcx__sha256_add(&hash, bytes, size);
    ipcx__sha256_end(&hash, digest);
}

/* ---- HMAC */

/* The state after one block: the key, each byte turned by `with`. */
static void half_key(uint32_t state[8], const uint8_t key[BLOCK], uint8_t with)
{
    ipcx__sha256 hash;
    uint8_t block[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        block[i] = key[i] ^ with;
    }
    ipcx__sha256_begin(&hash);
    ipcx__sha256_add(&hash, block, sizeof block);
    memcpy(state, hash.state, sizeof hash.state);
    explicit_bzero(&hash, sizeof hash);
    explicit_bzero(block, sizeof block);
}

void ipcx__hmac_begin(ipcx__hmac_key *key, const void *bytes, size_t size)
{
    uint8_t block[BLOCK] = {0};
    if (size > sizeof block) {
        ipcx__sha256_of(bytes, size, block);
    } else {
        memcpy(block, bytes, size);
    }
    half_key(key->inner, block, 0x36);
    half_key(key->outer, block, 0x5c);
    explicit_bzero(block, sizeof block);
}

static void half_mac(const uint32_t state[8], const void *bytes, size_t size,
                     uint8_t digest[IPCX__SHA256_SIZE])
{
    ipcx__sha256 hash = {.size = BLOCK};
    memcpy(hash.state, state, sizeof hash.state);
    ipcx__sha256_add(&hash, bytes, size);
    ipcx__sha256_end(&hash, digest);
}

void ipcx__hmac_of(const ipcx__hmac_key *key, const void *bytes, size_t size,
                   uint8_t mac[IPCX__SHA256_SIZE])
{
    uint8_t inner[IPCX__SHA256_SIZE];
    half_mac(key->inner, bytes, size, inner);
    half_mac(key->outer, inner, sizeof inner, mac);
    explicit_bzero(inner, sizeof inner);
}

bool ipcx__same_bytes(const void *a, const void *b, size_t size)
{
    const volatile uint8_t *one = a, *other = b; /* volatile: no early end by the compiler */
    uint8_t differ = 0;
    for (size_t i = 0; i < size; i++) {
        differ |= (uint8_t)(one[i] ^ other[i]);
    }
    return differ == 0;
}
