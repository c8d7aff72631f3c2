/* SPDX-License-Identifier: Apache-2.0
 * Whether a log still ends as its writers left it, for some other program may have cut it.
 * The last bytes of the newest message are kept in the control, and compared with those in the
 * file, which is mapped: no system call, which would cost as much as a third of the write. A page
 * that was cut off is the guard's to deal with (base/guard.h).
 * Invariant: it runs inside the mutex; the window is of the file in log->fd. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/process.h"
#include "link/log/log.h"

#define WINDOW ((size_t)1 << 20)
#define ALIGNED ((uint64_t)65535) /* to the largest page there is */
#define NEAR 12                   /* messages within 2^12 bytes: on one page, as a rule */

uint64_t ipcx__log_tail(const ipcx_log *log, uint64_t at)
{
    uint64_t tail = 0;
    return pread(log->fd, &tail, sizeof tail, (off_t)(at - sizeof tail)) == sizeof tail ? tail : 0;
}

void ipcx__log_unmap(ipcx_log *log)
{
    ipcx__guard_release(log->guard);
    log->guard = NULL;
    if (log->window != NULL) {
        (void)munmap((void *)(uintptr_t)log->window, WINDOW);
        log->window = NULL;
    }
    log->near = 0;
}

static bool map_window(ipcx_log *log, uint64_t at)
{
    void *map;
    ipcx__log_unmap(log);
    at &= ~ALIGNED;
    map = mmap(NULL, WINDOW, PROT_READ, MAP_SHARED, log->fd, (off_t)at);
    if (map == MAP_FAILED) {
        return false;
    }
    log->window = map;
    log->window_at = at;
    log->guard = ipcx__guard_watch(map, WINDOW, PROT_READ);
    if (log->guard == NULL) {
        ipcx__log_unmap(log);
    }
    return log->window != NULL;
}

/* The last bytes, at offset `at`, in memory. False: they cannot be had there. */
static bool look(ipcx_log *log, uint64_t at, uint64_t *tail)
{
    if (atomic_load_explicit(&ipcx__guards_all.off, memory_order_relaxed)) {
        return false; /* a page that is gone would end the process */
    }
    if ((log->window == NULL || at < log->window_at ||
         at + sizeof *tail > log->window_at + WINDOW) &&
        !map_window(log, at)) {
        return false;
    }
    memcpy(tail, log->window + (at - log->window_at), sizeof *tail);
    atomic_signal_fence(memory_order_seq_cst); /* first the bytes, then whether they were there */
    if (ipcx__guard_lost(log->guard)) {
        *tail = ~log->control->tail;
    }
    return true;
}

bool ipcx__log_is_whole(ipcx_log *log)
{
    uint64_t end = log->control->end - log->base, at = end - sizeof(uint64_t), tail, near;
    near = (at >> NEAR) + 1;
    if (near == log->near && look(log, at, &tail)) {
        return tail == log->control->tail;
    }
    /* A page that was never looked at has to be mapped first, which is worth while from the second
     * time on: batches never come there twice. */
    log->near = near;
    return lseek(log->fd, 0, SEEK_END) >= (off_t)end;
}
