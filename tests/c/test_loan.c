/* SPDX-License-Identifier: Apache-2.0
 * loan.h: messages written and read where they lie: over shared memory in place, elsewhere the same
 * by a copy; what overtakes a reservation, who holds a view, and what closing makes of them. */
#include "check.h"

#include <pthread.h>

#include "ipcx/alloc.h"
#include "ipcx/connect.h"
#include "ipcx/loan.h"
#include "rings.h"

#define LONG (IPCX_FOREVER - 1)

static void pair(const char *url, ipcx_chan **a, ipcx_chan **b)
{
    REQUIRE_OK(ipcx_pair(url, NULL, a, b, NULL));
}

static void send_number(ipcx_chan *chan, uint64_t number, size_t size)
{
    ipcx_loan loan = {0};
    REQUIRE_OK(ipcx_chan_reserve(chan, size, LONG, &loan, NULL));
    message_fill(loan.data, number, size);
    REQUIRE_OK(ipcx_chan_commit(&loan, size, 0, LONG, NULL, NULL));
    CHECK(loan.chan == NULL && loan.data == NULL);
}

static void plain(ipcx_chan *chan, uint64_t number, size_t size)
{
    uint8_t bytes[8192];
    ipcx_message message = {.data = bytes, .size = size};
    message_fill(bytes, number, size);
    REQUIRE_OK(ipcx_chan_send(chan, &message, LONG, NULL, NULL));
}

static void expect(ipcx_chan *chan, uint64_t number, size_t size)
{
    ipcx_loan view = {0};
    REQUIRE_OK(ipcx_chan_receive_view(chan, &view, LONG, NULL));
    CHECK_INT(view.size, size);
    CHECK(message_is(view.data, number, view.size));
    CHECK_INT(ipcx_chan_return_view(&view, LONG), IPCX_OK);
    CHECK(view.chan == NULL);
}

static const char *const urls[] = {"shm://", "unix://", "inproc://", "pipe://", "tcp://"};
#define URLS (sizeof urls / sizeof *urls)

TEST(a_loan_is_a_message_over_every_transport)
{
    static const size_t sizes[] = {0, 1, 7, 8, 4096, 60000, 300000};
    for (size_t i = 0; i < URLS; i++) {
        ipcx_chan *a, *b;
        pair(urls[i], &a, &b);
        for (size_t k = 0; k < 5; k++) {
            send_number(a, k, sizes[k]);
            plain(a, k + 100, 50);
            expect(b, k, sizes[k]);
            expect(b, k + 100, 50);
        }
        ipcx_chan_free(a);
        ipcx_chan_free(b);
    }
}

TEST(a_short_commit_and_what_is_refused)
{
    for (size_t i = 0; i < URLS; i++) {
        ipcx_chan *a, *b;
        ipcx_loan loan = {0};
        ipcx_message got;
        pair(urls[i], &a, &b);
        CHECK_INT(ipcx_chan_commit(&loan, 0, 0, LONG, NULL, NULL), IPCX_INVALID);
        ipcx_chan_cancel(&loan);
        CHECK_INT(ipcx_chan_return_view(&loan, LONG), IPCX_OK);
        CHECK_INT(ipcx_chan_reserve(a, SIZE_MAX, LONG, &loan, NULL), IPCX_TOO_LARGE);
        REQUIRE_OK(ipcx_chan_reserve(a, 100, LONG, &loan, NULL));
        CHECK_INT(loan.in_place, i == 0);
        CHECK_INT((uintptr_t)loan.data % 8, 0);
        message_fill(loan.data, 1, 100);
        CHECK_INT(ipcx_chan_commit(&loan, 101, 0, LONG, NULL, NULL), IPCX_INVALID);
        CHECK_INT(ipcx_chan_commit(&loan, 40, 0, LONG, NULL, NULL), IPCX_OK);
        CHECK_INT(ipcx_chan_commit(&loan, 40, 0, LONG, NULL, NULL), IPCX_INVALID);
        REQUIRE_OK(ipcx_chan_reserve(a, 100, LONG, &loan, NULL));
        ipcx_chan_cancel(&loan);
        expect(b, 1, 40);
        CHECK_INT(ipcx_chan_receive(b, &got, IPCX_NOW, NULL), IPCX_AGAIN);
        ipcx_chan_free(a);
        ipcx_chan_free(b);
    }
}

TEST(messages_keep_the_order_of_their_commits)
{
    for (size_t i = 0; i < URLS; i++) {
        ipcx_chan *a, *b;
        ipcx_loan first = {0}, second = {0}, third = {0};
        pair(urls[i], &a, &b);
        REQUIRE_OK(ipcx_chan_reserve(a, 1000, LONG, &first, NULL));
        plain(a, 1, 500);
        REQUIRE_OK(ipcx_chan_reserve(a, 2000, LONG, &second, NULL));
        REQUIRE_OK(ipcx_chan_reserve(a, 3000, LONG, &third, NULL));
        message_fill(third.data, 2, 3000);
        message_fill(first.data, 3, 1000);
        message_fill(second.data, 4, 2000);
        REQUIRE_OK(ipcx_chan_commit(&third, 3000, 0, LONG, NULL, NULL));
        REQUIRE_OK(ipcx_chan_commit(&first, 1000, 0, LONG, NULL, NULL));
        plain(a, 5, 1);
        REQUIRE_OK(ipcx_chan_commit(&second, 2000, 0, LONG, NULL, NULL));
        expect(b, 1, 500);
        expect(b, 2, 3000);
        expect(b, 3, 1000);
        expect(b, 5, 1);
        expect(b, 4, 2000);
        ipcx_chan_free(a);
        ipcx_chan_free(b);
    }
}

TEST(views_may_be_returned_in_any_order)
{
    enum { COUNT = 24 }; /* more than a ring has slots: the rest are copies */
    for (size_t i = 0; i < URLS; i++) {
        ipcx_chan *a, *b;
        ipcx_loan views[COUNT] = {{0}};
        pair(urls[i], &a, &b);
        for (uint64_t k = 0; k < COUNT; k++) {
            plain(a, k, 100 + k);
        }
        for (uint64_t k = 0; k < COUNT; k++) {
            REQUIRE_OK(ipcx_chan_receive_view(b, &views[k], LONG, NULL));
        }
        plain(a, 99, 10);
        expect(b, 99, 10);
        for (uint64_t k = 0; k < COUNT; k++) {
            uint64_t one = (k * 7) % COUNT;
            CHECK_INT(views[one].size, 100 + one);
            CHECK(message_is(views[one].data, one, views[one].size));
            CHECK_INT(ipcx_chan_return_view(&views[one], LONG), IPCX_OK);
        }
        plain(a, 98, 10);
        expect(b, 98, 10);
        ipcx_chan_free(a);
        ipcx_chan_free(b);
    }
}

TEST(a_ring_goes_round_under_a_reservation)
{
    ipcx_chan *a, *b;
    ipcx_loan kept = {0}, more = {0};
    ipcx_error err;
    ipcx_status status = IPCX_OK;
    int sent = 0;
    pair("shm://", &a, &b);
    REQUIRE_OK(ipcx_chan_reserve(a, 1000, LONG, &kept, NULL));
    message_fill(kept.data, 7, 1000);
    while (status == IPCX_OK && sent < 100000) {
        uint8_t bytes[4000] = {0};
        ipcx_message message = {.data = bytes, .size = sizeof bytes};
        status = ipcx_chan_send(a, &message, LONG, NULL, &err);
        if (status == IPCX_OK) {
            ipcx_loan view = {0};
            sent++;
            REQUIRE_OK(ipcx_chan_receive_view(b, &view, LONG, NULL));
            (void)ipcx_chan_return_view(&view, LONG);
        }
    }
    /* Its own reservation is what this thread would wait for. */
    CHECK_INT(status, IPCX_EXHAUSTED);
    CHECK(sent >= 10);
    CHECK(message_is(kept.data, 7, 1000));
    CHECK_INT(ipcx_chan_reserve(a, 4000, IPCX_NOW, &more, NULL), IPCX_AGAIN);
    REQUIRE_OK(ipcx_chan_commit(&kept, 1000, 0, LONG, NULL, NULL));
    expect(b, 7, 1000);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}

static void *send_on(void *chan)
{
    plain(chan, 4, 4000);
    return NULL;
}

TEST(who_waits_for_a_reserved_place_goes_on_when_it_is_committed)
{
    for (int cancels = 0; cancels < 2; cancels++) {
        ipcx_chan *a, *b;
        ipcx_loan kept = {0}, view = {0};
        uint8_t bytes[4000] = {0};
        ipcx_message message = {.data = bytes, .size = sizeof bytes};
        ipcx_chan_stats stats = {0};
        pthread_t thread;
        pair("shm://", &a, &b);
        REQUIRE_OK(ipcx_chan_reserve(a, 1000, LONG, &kept, NULL));
        message_fill(kept.data, 3, 1000);
        while (ipcx_chan_send(a, &message, IPCX_NOW, NULL, NULL) == IPCX_OK) {
            REQUIRE_OK(ipcx_chan_receive_view(b, &view, LONG, NULL));
            (void)ipcx_chan_return_view(&view, LONG);
        }
        REQUIRE(pthread_create(&thread, NULL, send_on, a) == 0);
        while (stats.send_waits == 0) {
            ipcx_chan_get_stats(a, &stats);
        }
        if (cancels) {
            ipcx_chan_cancel(&kept);
        } else { /* behind the one that waits */
            REQUIRE_OK(ipcx_chan_commit(&kept, 1000, 0, LONG, NULL, NULL));
        }
        expect(b, 4, 4000);
        pthread_join(thread, NULL);
        if (!cancels) {
            expect(b, 3, 1000);
        }
        ipcx_chan_free(a);
        ipcx_chan_free(b);
    }
}

TEST(closing_leaves_what_is_lent)
{
    for (size_t i = 0; i < URLS; i++) {
        ipcx_chan *a, *b;
        ipcx_loan loan = {0}, view = {0};
        ipcx_message got;
        pair(urls[i], &a, &b);
        plain(a, 1, 3000);
        REQUIRE_OK(ipcx_chan_receive_view(b, &view, LONG, NULL));
        REQUIRE_OK(ipcx_chan_reserve(b, 3000, LONG, &loan, NULL));
        REQUIRE_OK(ipcx_chan_close(b, LONG, NULL, NULL));
        CHECK(message_is(view.data, 1, 3000));
        message_fill(loan.data, 2, 3000);
        CHECK_INT(ipcx_chan_commit(&loan, 3000, 0, LONG, NULL, NULL), IPCX_CLOSED);
        CHECK_INT(ipcx_chan_receive(a, &got, LONG, NULL), IPCX_EOF);
        ipcx_chan_free(a);
        CHECK(message_is(view.data, 1, 3000));
        ipcx_chan_cancel(&loan);
        CHECK_INT(ipcx_chan_return_view(&view, LONG), IPCX_OK);
        ipcx_chan_free(b);
    }
}

TEST(a_rendezvous_ends_when_the_view_is_returned)
{
    ipcx_chan *a, *b;
    ipcx_loan view = {0};
    ipcx_message message = {.data = "x", .size = 1, .flags = IPCX_MESSAGE_SYNC};
    ipcx_sending sending = {0};
    pair("shm://", &a, &b);
    CHECK_INT(ipcx_chan_send(a, &message, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    REQUIRE_OK(ipcx_chan_receive_view(b, &view, LONG, NULL));
    CHECK_INT(ipcx_chan_send(a, &message, IPCX_NOW, &sending, NULL), IPCX_AGAIN);
    CHECK_INT(ipcx_chan_return_view(&view, LONG), IPCX_OK);
    CHECK_INT(ipcx_chan_send(a, &message, IPCX_NOW, &sending, NULL), IPCX_OK);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}

TEST(texts_and_large_ones_are_views_too)
{
    const size_t large = 5 << 20;
    ipcx_chan *a, *b;
    ipcx_loan view = {0}, other = {0};
    ipcx_message text = {.data = "\xc3\xa4rger", .size = 6, .flags = IPCX_MESSAGE_TEXT};
    uint8_t *bytes = malloc(large);
    ipcx_message whole = {.data = bytes, .size = large};
    ipcx_sending sending = {0};
    REQUIRE(bytes != NULL);
    message_fill(bytes, 5, large);
    pair("shm://", &a, &b);
    REQUIRE_OK(ipcx_chan_send(a, &text, LONG, NULL, NULL));
    REQUIRE_OK(ipcx_chan_send(a, &text, LONG, NULL, NULL));
    REQUIRE_OK(ipcx_chan_receive_view(b, &view, LONG, NULL));
    REQUIRE_OK(ipcx_chan_receive_view(b, &other, LONG, NULL));
    CHECK(view.flags == IPCX_MESSAGE_TEXT && view.size == 6 && view.data != other.data);
    CHECK(memcmp(view.data, text.data, 6) == 0 && memcmp(other.data, text.data, 6) == 0);
    (void)ipcx_chan_return_view(&view, LONG);
    (void)ipcx_chan_return_view(&other, LONG);
    while (ipcx_chan_send(a, &whole, IPCX_NOW, &sending, NULL) == IPCX_AGAIN) {
        CHECK_INT(ipcx_chan_receive_view(b, &view, IPCX_NOW, NULL), IPCX_AGAIN);
    }
    REQUIRE_OK(ipcx_chan_receive_view(b, &view, LONG, NULL));
    plain(a, 6, 60);
    expect(b, 6, 60);
    CHECK(view.size == large && message_is(view.data, 5, large));
    (void)ipcx_chan_return_view(&view, LONG);
    free(bytes);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}

TEST(memory_that_fails_leaves_the_message)
{
    for (size_t i = 0; i < URLS; i++) {
        ipcx_chan *a, *b;
        ipcx_loan view = {0};
        ipcx_status status;
        pair(urls[i], &a, &b);
        for (uint64_t k = 1;; k++) {
            ipcx_loan loan = {0};
            plain(a, k, 500);
            ipcx_alloc_fail_at(k);
            while ((status = ipcx_chan_receive_view(b, &view, LONG, NULL)) == IPCX_NOMEM) {
            }
            REQUIRE(status == IPCX_OK);
            CHECK(message_is(view.data, k, view.size));
            (void)ipcx_chan_return_view(&view, LONG);
            while ((status = ipcx_chan_reserve(a, 500, LONG, &loan, NULL)) == IPCX_NOMEM) {
            }
            REQUIRE(status == IPCX_OK);
            ipcx_chan_cancel(&loan);
            if (ipcx_alloc_count() < k) {
                break;
            }
        }
        ipcx_alloc_fail_at(0);
        ipcx_chan_free(a);
        ipcx_chan_free(b);
    }
}

/* ---- nothing is allocated while messages go to and fro */

static void round_trip(ipcx_chan *a, ipcx_chan *b, uint64_t number, size_t size)
{
    ipcx_message got;
    send_number(a, number, size);
    expect(b, number, size);
    plain(b, number, size);
    REQUIRE_OK(ipcx_chan_receive(a, &got, LONG, NULL));
    CHECK(message_is(got.data, number, got.size));
    ipcx_chan_release(a, &got);
}

TEST(the_steady_state_allocates_nothing)
{
    static const size_t sizes[] = {0, 64, 4096};
    ipcx_chan *a, *b;
    pair("shm://", &a, &b);
    for (size_t k = 0; k < 3; k++) {
        round_trip(a, b, k, sizes[k]);
    }
    ipcx_alloc_fail_at(0);
    for (uint64_t number = 0; number < 3000; number++) {
        round_trip(a, b, number, sizes[number % 3]);
    }
    CHECK_INT(ipcx_alloc_count(), 0);
    ipcx_chan_free(a);
    ipcx_chan_free(b);
}
