/* SPDX-License-Identifier: Apache-2.0
 * Integers of the wire: fixed width, most significant byte first, at any address.
 * Invariant: the bytes are the same on every machine, and no alignment is asked for. */
#ifndef IPCX_ENDIAN_H
#define IPCX_ENDIAN_H

#include <stdint.h>

/* Written as shifts so that no byte order of the host is ever asked for; gcc and clang make one
 * load and one byte swap of each. */

/* ipcx_endian_load16, 32, 64: the integer in the 2, 4 or 8 bytes at `at`. */
static inline uint16_t ipcx_endian_load16(const void *at)
{
    const uint8_t *b = (const uint8_t *)at;
    return (uint16_t)((uint16_t)(b[0] << 8) | b[1]);
}

static inline uint32_t ipcx_endian_load32(const void *at)
{
    const uint8_t *b = (const uint8_t *)at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | (uint32_t)b[3];
}

static inline uint64_t ipcx_endian_load64(const void *at)
{
    const uint8_t *b = (const uint8_t *)at;
    return (uint64_t)ipcx_endian_load32(b) << 32 | ipcx_endian_load32(b + 4);
}

/* ipcx_endian_store16, 32, 64: writes the integer to the 2, 4 or 8 bytes at `at`. */
static inline void ipcx_endian_store16(void *at, uint16_t value)
{
    uint8_t *b = (uint8_t *)at;
    b[0] = (uint8_t)(value >> 8);
    b[1] = (uint8_t)value;
}

static inline void ipcx_endian_store32(void *at, uint32_t value)
{
    uint8_t *b = (uint8_t *)at;
    b[0] = (uint8_t)(value >> 24);
    b[1] = (uint8_t)(value >> 16);
    b[2] = (uint8_t)(value >> 8);
    b[3] = (uint8_t)value;
}

static inline void ipcx_endian_store64(void *at, uint64_t value)
{
    uint8_t *b = (uint8_t *)at;
    ipcx_endian_store32(b, (uint32_t)(value >> 32));
    ipcx_endian_store32(b + 4, (uint32_t)value);
}

#endif
