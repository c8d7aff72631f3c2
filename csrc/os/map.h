/* SPDX-License-Identifier: Apache-2.0
 * Shared memory without a name: a sealed memfd, its memory reserved piece by piece, mapped once or
 * twice back to back. And what a peer passed as such, checked before it is mapped.
 * Invariant: a file made or accepted here cannot shrink or grow, so an access inside the mapping
 * meets a page; bytes not reserved may still be refused by the kernel (SIGBUS): reserve, then
 * write.
 */
#ifndef IPCX_OS_MAP_H
#define IPCX_OS_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipcx/error.h"

/* ipcx__memory_make: `*fd`, a memfd of `size` bytes (rounded up to pages), close-on-exec, sealed:
 * SHRINK, GROW, SEAL. It holds no memory yet. `name` is for /proc/PID/fd only. EXHAUSTED, SYSTEM.
 */
ipcx_status ipcx__memory_make(const char *name, size_t size, int *fd, ipcx_error *err);

/* ipcx__memory_check: `fd`, which a stranger passed, is such a file: of memory, readable and
 * writable, with these seals, of min … max bytes (`*size`). PROTOCOL names what is missing. */
ipcx_status ipcx__memory_check(int fd, size_t min, size_t max, size_t *size, ipcx_error *err);

/* ipcx__memory_reserve: gives bytes from … to memory of their own, zeros where there was none.
 * EXHAUSTED: there is none, or so little that the OOM killer would have the last word: as far as
 * /proc/meminfo and the cgroup show it, it is asked for first. Nothing is changed then. */
ipcx_status ipcx__memory_reserve(int fd, uint64_t from, uint64_t to, ipcx_error *err);

/* ipcx__memory_release: gives the memory of bytes from … to back; they read as zeros. */
ipcx_status ipcx__memory_release(int fd, uint64_t from, uint64_t to, ipcx_error *err);

/* ipcx__memory_left: bytes that may still be taken before this process's cgroup or the machine is
 * at its end; SIZE_MAX where neither says. An estimate: others take some at the same time. */
size_t ipcx__memory_left(void);

/* ipcx__memory_map: `size` bytes of `fd` from `offset` (both multiples of the page) as shared
 * memory, and the same bytes once more right behind them if `twice`. ipcx__memory_unmap takes the
 * same `size` and `twice`; NULL is allowed. EXHAUSTED (address space, number of maps), SYSTEM. */
ipcx_status ipcx__memory_map(int fd, uint64_t offset, size_t size, bool twice, void **at,
                             ipcx_error *err);
void ipcx__memory_unmap(void *at, size_t size, bool twice);

#endif
