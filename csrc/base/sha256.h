/* SPDX-License-Identifier: Apache-2.0
 * SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104), for the proof of a key (docs/adr/0012).
 * Internal. Invariant: no branch and no address depends on what is hashed, only on its length; what
 * held a key is wiped. */
#ifndef IPCX_BASE_SHA256_H
#define IPCX_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IPCX__SHA256_SIZE 32

typedef struct ipcx__sha256 {
    uint32_t state[8];
    uint64_t size; /* bytes so far */
    uint8_t block[64];
} ipcx__sha256;

/* ipcx__sha256_begin, ipcx__sha256_add, ipcx__sha256_end: the digest of all that was added. */
void ipcx__sha256_begin(ipcx__sha256 *self);
void ipcx__sha256_add(ipcx__sha256 *self, const void *bytes, size_t size);
void ipcx__sha256_end(ipcx__sha256 *self, uint8_t digest[IPCX__SHA256_SIZE]);

/* ipcx__sha256_of: the three in one. */
void ipcx__sha256_of(const void *bytes, size_t size, uint8_t digest[IPCX__SHA256_SIZE]);

/* A key as HMAC uses it: the two states after its first blocks. As secret as the key; to be wiped
 * with explicit_bzero(3). */
typedef struct ipcx__hmac_key {
    uint32_t inner[8], outer[8];
} ipcx__hmac_key;

/* ipcx__hmac_begin: of a key of any length. ipcx__hmac_of: the MAC of `size` bytes. */
void ipcx__hmac_begin(ipcx__hmac_key *key, const void *bytes, size_t size);
void ipcx__hmac_of(const ipcx__hmac_key *key, const void *bytes, size_t size,
                   uint8_t mac[IPCX__SHA256_SIZE]);

/* ipcx__same_bytes: whether they are, in a time that does not tell where they differ. */
bool ipcx__same_bytes(const void *a, const void *b, size_t size);

#endif
