/* SPDX-License-Identifier: Apache-2.0
 * CRC-32C (Castagnoli), the checksum of iSCSI (RFC 3720, appendix B.4) and of our frames. It finds
 * every error of up to 32 bits in a row; it is no defence against somebody who means it.
 * Invariant: the result is the same with the CPU's instruction and without. */
#ifndef IPCX_CRC32C_H
#define IPCX_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ipcx_crc32c_update: the checksum of everything so far and `n` bytes more. Begin with crc 0; what
 * comes back is both the checksum of the bytes until now and the `crc` of the next call. Uses
 * SSE4.2 or the ARMv8 CRC extension where the CPU has it, a table where not. */
IPCX_API IPCX_NODISCARD uint32_t ipcx_crc32c_update(uint32_t crc, const void *bytes, size_t n);

#ifdef __cplusplus
}
#endif

#endif
