/* SPDX-License-Identifier: Apache-2.0
 * The counters of chan_shm_counts.h, written and read.
 * Invariant: a reader maps nothing and writes nothing, and believes nothing but what it can bound.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "link/shared/chan_shm_parts.h"

static void put(_Atomic uint64_t *to, uint64_t value)
{
    atomic_store_explicit(to, value, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

void ipcx__shm_show_begin(ipcx__shm *self)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    put(&self->segment->counts[self->role].since,
        (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec);
}

void ipcx__shm_show_sent(ipcx__shm *self)
{
    ipcx__shm_counts *counts = &self->segment->counts[self->role];
    put(&counts->sent, get(&self->sent));
    put(&counts->sent_bytes, get(&self->sent_bytes));
    put(&counts->send_waits, get(&self->head.send_waits));
}

void ipcx__shm_show_received(ipcx__shm *self)
{
    ipcx__shm_counts *counts = &self->segment->counts[self->role];
    put(&counts->received, get(&self->received));
    put(&counts->received_bytes, get(&self->received_bytes));
    put(&counts->receive_waits, get(&self->head.receive_waits));
    put(&counts->most, self->rx.most);
}

/* ---- from outside */

static void see_end(const ipcx__shm_segment *segment, unsigned role, ipcx__shm_seen *seen)
{
    const ipcx__shm_side *side = &segment->sides[role];
    const ipcx__shm_counts *counts = &segment->counts[role];
    uint64_t queued = get(&segment->words[role].tail) - get(&segment->words[role].head);
    seen->ends[role].pid = atomic_load(&side->user);
    seen->ends[role].bye = atomic_load(&side->bye);
    seen->ends[role].since = get(&counts->since);
    seen->ends[role].wakes = get(&counts->wakes);
    seen->ends[role].sent = get(&counts->sent);
    seen->ends[role].sent_bytes = get(&counts->sent_bytes);
    seen->ends[role].send_waits = get(&counts->send_waits);
    seen->ends[role].received = get(&counts->received);
    seen->ends[role].received_bytes = get(&counts->received_bytes);
    seen->ends[role].receive_waits = get(&counts->receive_waits);
    seen->ends[role].most = get(&counts->most);
    seen->ends[role].queued = queued <= seen->ring ? queued : 0; /* read at two moments */
}

ipcx_status ipcx__shm_peek(int fd, ipcx__shm_seen *seen, ipcx_error *err)
{
    ipcx__shm_segment segment;
    struct stat info;
    ssize_t n = pread(fd, &segment, sizeof segment, 0);
    if (n < 0 || fstat(fd, &info) < 0) {
        return ipcx_error_set(err, IPCX_SYSTEM, errno, "peek", "cannot be read");
    }
    if (n != (ssize_t)sizeof segment ||
        memcmp(segment.magic, IPCX__SHM_MAGIC, sizeof segment.magic) != 0 ||
        segment.version != IPCX__SHM_VERSION || segment.order != IPCX__SHM_ORDER ||
        segment.ring > IPCX__SHM_RING_MAX ||
        (uint64_t)info.st_size != IPCX__SHM_HEAD + 2 * segment.ring) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "peek", "no channel of this version");
    }
    seen->ring = segment.ring;
    memcpy(seen->url, segment.url, sizeof seen->url);
    seen->url[sizeof seen->url - 1] = '\0';
    see_end(&segment, 0, seen);
    see_end(&segment, 1, seen);
    return IPCX_OK;
}
