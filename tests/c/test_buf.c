/* SPDX-License-Identifier: Apache-2.0
 * buf: order, limit, reuse of space, and every allocation failing once. */
#include "check.h"

#include "ipcx/alloc.h"
#include "ipcx/buf.h"

TEST(zero_is_a_valid_buffer)
{
    ipcx_buf buf = {0};
    ipcx_error err;
    CHECK_INT(ipcx_buf_len(&buf), 0);
    CHECK(ipcx_buf_data(&buf) == NULL);
    CHECK_OK(ipcx_buf_append(&buf, NULL, 0, &err));
    CHECK_STATUS(ipcx_buf_append(&buf, "x", 1, &err), IPCX_TOO_LARGE);
    ipcx_buf_consume(&buf, 0);
    ipcx_buf_fini(&buf);
    ipcx_buf_fini(&buf);
}

TEST(bytes_come_out_in_order_whatever_the_sizes)
{
    ipcx_buf buf;
    uint8_t in = 0, out = 0;
    unsigned state = 1;
    int round;
    ipcx_buf_init(&buf, 5000);
    for (round = 0; round < 20000; round++) {
        size_t n, i;
        uint8_t *room;
        state = state * 1103515245u + 12345u;
        n = (state >> 16) % 700;
        if (ipcx_buf_reserve(&buf, n, &room, NULL) == IPCX_OK) {
            size_t written = n - n / 4; /* less than reserved may be committed */
            for (i = 0; i < written; i++) {
                room[i] = in++;
            }
            ipcx_buf_commit(&buf, written);
        } else {
            CHECK(ipcx_buf_len(&buf) + n > 5000);
        }
        state = state * 1103515245u + 12345u;
        n = (state >> 16) % (ipcx_buf_len(&buf) + 1);
        for (i = 0; i < n; i++) {
            if (!CHECK_INT(ipcx_buf_data(&buf)[i], out)) {
                ipcx_buf_fini(&buf);
                return;
            }
            out++;
        }
        ipcx_buf_consume(&buf, n);
        CHECK(buf.cap <= 5000);
    }
    ipcx_buf_fini(&buf);
}

TEST(the_limit_is_exact_and_a_refusal_changes_nothing)
{
    ipcx_buf buf;
    ipcx_error err;
    char bytes[1000];
    memset(bytes, 'a', sizeof bytes);
    ipcx_buf_init(&buf, 1000);
    CHECK_OK(ipcx_buf_append(&buf, bytes, 999, &err));
    CHECK_STATUS(ipcx_buf_append(&buf, bytes, 2, &err), IPCX_TOO_LARGE);
    CHECK_STATUS(err.status, IPCX_TOO_LARGE);
    CHECK_STR(err.op, "buf_reserve");
    CHECK_STR(err.detail, "999 bytes and 2 more, the limit is 1000");
    CHECK_INT(ipcx_buf_len(&buf), 999);
    CHECK_OK(ipcx_buf_append(&buf, "b", 1, &err));
    CHECK_STATUS(ipcx_buf_append(&buf, "c", 1, NULL), IPCX_TOO_LARGE);
    CHECK_STATUS(ipcx_buf_append(&buf, bytes, SIZE_MAX, NULL), IPCX_TOO_LARGE);
    CHECK_INT(ipcx_buf_data(&buf)[999], 'b');
    ipcx_buf_consume(&buf, 1);
    CHECK_OK(ipcx_buf_append(&buf, "c", 1, &err));
    CHECK_INT(ipcx_buf_data(&buf)[999], 'c');
    ipcx_buf_fini(&buf);
}

TEST(a_huge_limit_does_not_overflow)
{
    ipcx_buf buf;
    uint8_t *room = NULL;
    ipcx_buf_init(&buf, SIZE_MAX);
    CHECK_OK(ipcx_buf_append(&buf, "abc", 3, NULL));
    CHECK_STATUS(ipcx_buf_reserve(&buf, SIZE_MAX / 8, &room, NULL), IPCX_NOMEM);
    CHECK_STATUS(ipcx_buf_reserve(&buf, SIZE_MAX - 2, &room, NULL), IPCX_TOO_LARGE);
    CHECK(room == NULL);
    CHECK_MEM(ipcx_buf_data(&buf), "abc", 3);
    ipcx_buf_fini(&buf);
}

TEST(a_full_buffer_that_is_emptied_moves_nothing)
{
    ipcx_buf buf;
    const uint8_t *before;
    char bytes[256] = {0};
    ipcx_buf_init(&buf, 256);
    CHECK_OK(ipcx_buf_append(&buf, bytes, 256, NULL));
    before = ipcx_buf_data(&buf);
    ipcx_buf_consume(&buf, 256);
    CHECK_OK(ipcx_buf_append(&buf, bytes, 256, NULL));
    CHECK(ipcx_buf_data(&buf) == before);
    ipcx_buf_fini(&buf);
}

/* Grows three times; each failure leaves the content as it was. */
static ipcx_status scenario(ipcx_buf *buf, size_t *held)
{
    char bytes[300];
    int i;
    memset(bytes, 'x', sizeof bytes);
    for (i = 0; i < 8; i++) {
        ipcx_error err;
        ipcx_status status = ipcx_buf_append(buf, bytes, sizeof bytes, &err);
        if (status != IPCX_OK) {
            CHECK_STATUS(err.status, status);
            return status;
        }
        *held += sizeof bytes;
    }
    return IPCX_OK;
}

TEST(every_allocation_fails_once)
{
    uint64_t k;
    for (k = 1;; k++) {
        ipcx_buf buf;
        ipcx_status status;
        size_t held = 0;
        ipcx_buf_init(&buf, 1 << 20);
        ipcx_alloc_fail_at(k);
        status = scenario(&buf, &held);
        CHECK_INT(ipcx_buf_len(&buf), held);
        if (ipcx_alloc_count() < k) {
            CHECK_STATUS(status, IPCX_OK);
            ipcx_buf_fini(&buf);
            break;
        }
        CHECK_STATUS(status, IPCX_NOMEM);
        CHECK_OK(scenario(&buf, &held)); /* the next try has memory again */
        ipcx_buf_fini(&buf);
    }
    ipcx_alloc_fail_at(0);
    CHECK(k > 3);
}
