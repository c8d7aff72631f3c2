/* SPDX-License-Identifier: Apache-2.0
 * The two ways of computing CRC-32C, each by name, so that a test can compare them.
 * Invariant: both take and give the register itself, not its complement. */
#ifndef IPCX_BASE_CRC32C_H
#define IPCX_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* ipcx__crc32c_table: on any CPU, a byte a step. */
uint32_t ipcx__crc32c_table(uint32_t reg, const uint8_t *bytes, size_t n);

/* ipcx__crc32c_hardware: only where ipcx__cpu_has_crc32c(); elsewhere the table again. */
uint32_t ipcx__crc32c_hardware(uint32_t reg, const uint8_t *bytes, size_t n);

#endif
