/* SPDX-License-Identifier: Apache-2.0
 * alloc: it allocates, and the k-th allocation fails, that one only. */
#include "check.h"

#include "ipcx/alloc.h"

TEST(size_zero_is_a_block_too)
{
    void *memory = ipcx_alloc(0);
    CHECK(memory != NULL);
    memory = ipcx_realloc(memory, 0);
    CHECK(memory != NULL);
    ipcx_free(memory);
    ipcx_free(NULL);
}

TEST(too_much_is_null)
{
    volatile size_t huge = SIZE_MAX / 2;
    char *memory = ipcx_alloc(4);
    REQUIRE(memory != NULL);
    memcpy(memory, "abc", 4);
    CHECK(ipcx_alloc(huge) == NULL);
    CHECK(ipcx_realloc(memory, huge) == NULL);
    CHECK_STR(memory, "abc");
    ipcx_free(memory);
}

TEST(free_keeps_errno)
{
    errno = EBADF;
    ipcx_free(ipcx_alloc(1 << 24));
    CHECK_INT(errno, EBADF);
}

TEST(exactly_the_kth_fails)
{
    uint64_t k, i;
    for (k = 0; k <= 6; k++) {
        ipcx_alloc_fail_at(k);
        for (i = 1; i <= 6; i++) {
            void *memory = i % 2 ? ipcx_alloc(8) : ipcx_realloc(NULL, 8);
            CHECK_INT(memory == NULL, i == k);
            CHECK_INT(ipcx_alloc_count(), i);
            ipcx_free(memory);
        }
    }
    ipcx_alloc_fail_at(0);
}

TEST(a_failed_realloc_keeps_the_block)
{
    char *memory = ipcx_alloc(4);
    REQUIRE(memory != NULL);
    memcpy(memory, "abc", 4);
    ipcx_alloc_fail_at(1);
    CHECK(ipcx_realloc(memory, 8) == NULL);
    CHECK_STR(memory, "abc");
    ipcx_alloc_fail_at(0);
    ipcx_free(memory);
}
