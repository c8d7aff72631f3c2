/* SPDX-License-Identifier: Apache-2.0
 * trace: off by default, one event an operation when on, errno kept, and replaced while in use. */
#include "check.h"

#include <pthread.h>

#include "base/process.h"
#include "ipcx/trace.h"

typedef struct seen {
    atomic_int count;
    ipcx_trace_event last;
} seen;

static void on_event(void *ctx, const ipcx_trace_event *event)
{
    seen *all = ctx;
    atomic_fetch_add(&all->count, 1);
    all->last = *event;
    errno = ENOSYS; /* a hook may do that */
}

static void on_event_count(void *ctx, const ipcx_trace_event *event)
{
    CHECK(event->duration >= 0);
    atomic_fetch_add(&((seen *)ctx)->count, 1);
}

static void operation(void)
{
    int64_t begun = ipcx__trace_begin();
    ipcx__trace_end(begun, &(ipcx_trace_event){.op = "send", .fd = 7, .bytes = 42});
}

TEST(off_by_default)
{
    CHECK_INT(ipcx__trace_begin(), 0);
    operation();
}

TEST(on_and_off)
{
    seen all = {0};
    ipcx_trace_hook hook = {on_event, &all};
    CHECK(ipcx_trace_set(&hook) == NULL);
    errno = EPIPE;
    operation();
    CHECK_INT(errno, EPIPE);
    CHECK_INT(all.count, 1);
    CHECK_STR(all.last.op, "send");
    CHECK_INT(all.last.fd, 7);
    CHECK_INT(all.last.bytes, 42);
    CHECK_STATUS(all.last.status, IPCX_OK);
    CHECK(all.last.duration >= 0);
    CHECK(all.last.addr == NULL);
    CHECK(ipcx_trace_set(NULL) == &hook);
    operation();
    CHECK_INT(all.count, 1);
}

TEST(switched_off_in_the_middle_of_a_call)
{
    seen all = {0};
    ipcx_trace_hook hook = {on_event, &all};
    int64_t begun;
    ipcx_trace_set(&hook);
    begun = ipcx__trace_begin();
    CHECK(begun != 0);
    ipcx_trace_set(NULL);
    ipcx__trace_end(begun, &(ipcx_trace_event){.op = "recv"});
    CHECK_INT(all.count, 0);
}

static void *many_operations(void *arg)
{
    int i;
    for (i = 0; i < 5000; i++) {
        operation();
    }
    return arg;
}

TEST(replaced_while_other_threads_use_it)
{
    seen a = {0}, b = {0};
    ipcx_trace_hook hook_a = {on_event_count, &a}, hook_b = {on_event_count, &b};
    pthread_t threads[3];
    size_t i;
    ipcx_trace_set(&hook_a);
    for (i = 0; i < 3; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, many_operations, NULL) == 0);
    }
    for (i = 0; i < 2000; i++) {
        ipcx_trace_set(i % 2 ? &hook_a : &hook_b);
    }
    for (i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    ipcx_trace_set(NULL);
    CHECK_INT(a.count + b.count, 15000);
}
