/* SPDX-License-Identifier: Apache-2.0
 * The heap, behind one door.
 * Invariant: no other file of csrc/ (py/ apart) calls malloc, calloc, realloc or free. */
#include "ipcx/alloc.h"

#include <stdlib.h>

#ifdef IPCX_TEST_ALLOC
#include "base/process.h"

static int refused(void)
{
    return atomic_fetch_add(&ipcx__alloc_count, 1) + 1 == atomic_load(&ipcx__alloc_fail_at);
}

void ipcx_alloc_fail_at(uint64_t k)
{
    atomic_store(&ipcx__alloc_count, 0);
    atomic_store(&ipcx__alloc_fail_at, k);
}

uint64_t ipcx_alloc_count(void)
{
    return atomic_load(&ipcx__alloc_count);
}
#else
#define refused() 0
#endif

void *ipcx_alloc(size_t size)
{
    return refused() ? NULL : malloc(size > 0 ? size : 1);
}

void *ipcx_realloc(void *memory, size_t size)
{
    return refused() ? NULL : realloc(memory, size > 0 ? size : 1);
}

void ipcx_free(void *memory)
{
    /* free(3) of glibc keeps errno since 2.33; no older one is supported (Debian 12 has 2.36). */
    free(memory);
}
