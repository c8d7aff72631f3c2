/* SPDX-License-Identifier: Apache-2.0
 * The one place where the core takes memory from the heap, so that a test can make any single
 * allocation fail and see that everything is given back.
 * Invariant: in a build without IPCX_TEST_ALLOC these are malloc, realloc and free. */
#ifndef IPCX_ALLOC_H
#define IPCX_ALLOC_H

#include <stddef.h>
#include <stdint.h>

#include "ipcx/api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ipcx_alloc: `size` bytes, not cleared, aligned for anything; NULL when there is no memory, and
 * only then (size 0 gives a pointer too). The caller owns it and gives it back with ipcx_free. */
IPCX_API IPCX_NODISCARD void *ipcx_alloc(size_t size);

/* ipcx_realloc: as realloc(3): `memory` grown or shrunk to `size` bytes, perhaps elsewhere; NULL
 * when there is no memory: then the old block is untouched and still the caller's. */
IPCX_API IPCX_NODISCARD void *ipcx_realloc(void *memory, size_t size);

/* ipcx_free: gives `memory` back; NULL is allowed. Keeps errno. */
IPCX_API void ipcx_free(void *memory);

#ifdef IPCX_TEST_ALLOC
/* ipcx_alloc_fail_at: the k-th allocation (alloc or realloc) from now fails, once; 1 is the next,
 * 0 none. Starts ipcx_alloc_count again at 0. Test builds only; one thread at a time. */
IPCX_API void ipcx_alloc_fail_at(uint64_t k);

/* ipcx_alloc_count: allocations tried since the last ipcx_alloc_fail_at. A test runs its scenario
 * with k = 1, 2, 3 … until the count stays below k: then every allocation in it has failed once. */
IPCX_API uint64_t ipcx_alloc_count(void);
#endif

#ifdef __cplusplus
}
#endif

#endif
