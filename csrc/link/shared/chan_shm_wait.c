/* SPDX-License-Identifier: Apache-2.0
 * Waiting for the peer, awake or asleep.
 * Who sleeps announces itself in its end's wait word and looks once more; who publishes or frees
 * looks at the other's wait word and, if it is set, takes the bit away and rings: edges in an epoll
 * for data (which is fileno()) and in one for space.
 * tests/model/ring.pml is this file, chan_shm_bell.c and ring.h as a model.
 * Invariant: as in chan_shm_bell.c. */
#include "link/shared/chan_shm_wait.h"

#include <sched.h>

#include "ipcx/clock.h"
#include "os/gate.h"

#define SPIN_NS INT64_C(50000)       /* longer awake costs more than the sleep it saves */
#define LONG_NS INT64_C(100000)      /* a wait that was not worth it … */
#define LONGS 8                      /* … and after so many in a row only every … */
#define RARELY 32                    /* … so manieth is tried awake, until one is short */
#define MORE_NS_MAX INT64_C(1000000) /* awake for the largest messages, besides */
#define STREAM_PAUSES 64             /* between two looks of who only receives: under 1 µs */
#define VAIN 1024 /* wakes for nothing in a row, and signal handlers get their turn */

/* ---- awake */

static bool nothing_new(const ipcx__shm *self)
{
    return ipcx__ring_empty(&self->rx) && atomic_load(&self->theirs->bye) == 0 &&
           !atomic_load(&self->gone);
}

static bool granted(ipcx__shm *self, const ipcx__shm_wish *wish)
{
    if (wish->room) {
        return ipcx__ring_room(&self->tx, wish->size) || self->tx.broken;
    }
    return ipcx__ring_passed(&self->segment->words[self->role], wish->at);
}

static bool ended(const ipcx__shm *self)
{
    return atomic_load(&self->theirs->bye) != 0 || atomic_load(&self->gone) ||
           atomic_load(&self->closing);
}

/* Whether a message that we may take in parts has begun to come. */
static bool front_shows(const ipcx__shm *self)
{
    ipcx__ring_front front;
    return ipcx__ring_front_of(&self->rx, &front);
}

static bool fulfilled(ipcx__shm *self, const ipcx__shm_wish *wish)
{
    if (wish->data) {
        return !nothing_new(self) || (wish->front && front_shows(self));
    }
    return granted(self, wish) || ended(self);
}

/* What staying awake may cost: the peer needs as long as copying takes (4 GB/s) for the room of a
 * large message, or to answer one with another. With the turn of that side. */
static int64_t worth(const ipcx__shm *self, const ipcx__shm_wish *wish)
{
    uint64_t more = (wish->data ? self->held.size : wish->room ? wish->size : 0) / 4;
    return SPIN_NS + (more < (uint64_t)MORE_NS_MAX ? (int64_t)more : MORE_NS_MAX);
}

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void ipcx__shm_say_cpu(ipcx__shm *self)
{
    uint32_t cpu = (uint32_t)sched_getcpu() + 1;
    if (cpu != atomic_load_explicit(&self->mine->cpu, memory_order_relaxed)) {
        atomic_store_explicit(&self->mine->cpu, cpu, memory_order_relaxed);
    }
}

/* Whether the peer is at work, on another CPU than ours: then what we wait for may come soon. */
static bool peer_awake(const ipcx__shm *self)
{
    uint32_t theirs = atomic_load_explicit(&self->theirs->cpu, memory_order_relaxed);
    uint32_t waiting = atomic_load_explicit(&self->theirs->waiting, memory_order_relaxed);
    return theirs != 0 && theirs != (uint32_t)sched_getcpu() + 1 &&
           (waiting & (IPCX__RING_DATA | IPCX__RING_SPACE)) == 0;
}

/* Whoever only receives finds several messages at each look if it looks less often; a look at each
 * as it comes makes both CPUs wait for the cache line with the cursor. Who has sent since its last
 * wait waits for an answer, and looks all the time. The same holds for who waits for plenty. */
static int between_looks(ipcx__shm *self, const ipcx__shm_wish *wish)
{
    uint64_t sent =
        atomic_load_explicit(&self->segment->words[self->role].tail, memory_order_relaxed);
    bool stream = wish->plenty || (wish->data && sent == self->rx_spin.sent);
    if (wish->data) {
        self->rx_spin.sent = sent;
    }
    return stream ? STREAM_PAUSES : 1;
}

/* `most`: what it was worth. */
static void remember(ipcx__shm_spin *habit, int64_t most, int64_t start)
{
    bool was_long = start != 0 && ipcx_clock_now() - start > most + LONG_NS - SPIN_NS;
    unsigned longs = atomic_load_explicit(&habit->longs, memory_order_relaxed);
    atomic_store_explicit(&habit->longs,
                          !was_long       ? 0
                          : longs < LONGS ? longs + 1
                                          : LONGS,
                          memory_order_relaxed);
}

/* 16 looks: true: it has come. */
static bool look_often(ipcx__shm *self, const ipcx__shm_wish *wish, int pauses)
{
    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < pauses; k++) {
            pause_cpu();
        }
        if (fulfilled(self, wish)) {
            return true;
        }
    }
    return false;
}

/* True: it has come. *start: when it began to wait, about: most answers are there before a look at
 * the clock would be. */
static bool spin(ipcx__shm *self, const ipcx__shm_wish *wish, ipcx__shm_spin *habit, int64_t *start)
{
    unsigned longs = atomic_load_explicit(&habit->longs, memory_order_relaxed);
    bool came = false;
    *start = 0;
    if (longs < LONGS ||
        atomic_fetch_add_explicit(&habit->skipped, 1, memory_order_relaxed) % RARELY == 0) {
        int pauses;
        ipcx__shm_say_cpu(self);
        pauses = between_looks(self, wish);
        while (!came && peer_awake(self)) {
            int64_t now;
            came = look_often(self, wish, pauses);
            if (came) {
                break;
            }
            now = ipcx_clock_now();
            *start = *start == 0 ? now : *start;
            if (now - *start > worth(self, wish)) {
                break;
            }
        }
    }
    if (came) {
        remember(habit, worth(self, wish), *start);
    } else if (*start == 0) {
        *start = ipcx_clock_now();
    }
    return came;
}

bool ipcx__shm_stalled(ipcx__shm_stall *stall)
{
    int64_t now;
    pause_cpu();
    if (++stall->looks % 16 != 0) {
        return false;
    }
    now = ipcx_clock_now();
    stall->since = stall->since == 0 ? now : stall->since;
    return now - stall->since > SPIN_NS;
}

ipcx_status ipcx__shm_stay_awake(ipcx__shm *self)
{
    const ipcx__shm_wish wish = {.data = true, .front = true};
    int64_t start;
    if (spin(self, &wish, &self->rx_spin, &start)) {
        return IPCX_OK;
    }
    self->rx_spin.since = start;
    return IPCX_AGAIN;
}

/* ---- asleep, for data */

/* A bell that was heard may have been for somebody who polls a rendezvous: the next one is to ring
 * again, and if the peer has gone on meanwhile, we do. */
static void settle_polled(ipcx__shm *self)
{
    uint64_t head;
    ipcx__ring_announce(&self->mine->waiting, IPCX__RING_SPACE);
    head = atomic_load(&self->segment->words[self->role].head);
    if (head != self->seen_head) {
        self->seen_head = head;
        ipcx__shm_ring_self(self);
    }
}

void ipcx__shm_settle(ipcx__shm *self)
{
    bool asked = atomic_load_explicit(&self->asked, memory_order_relaxed);
    if (IPCX_LIKELY(!asked && atomic_load_explicit(&self->asleep, memory_order_relaxed) == 0)) {
        return; /* who sleeps from now on announces itself */
    }
    if (asked && nothing_new(self)) {
        /* fileno() is to be readable no more. */
        ipcx__shm_hear(self);
        atomic_store(&self->unsettled, true);
    }
    if (!atomic_exchange(&self->unsettled, false)) {
        return;
    }
    if (asked && atomic_load(&self->polled)) {
        settle_polled(self);
    }
    /* On one look: either the next commit rings, or we do for what is there. */
    if (nothing_new(self)) {
        ipcx__ring_announce(&self->mine->waiting, IPCX__RING_DATA);
        if (nothing_new(self)) {
            return;
        }
    }
    ipcx__shm_ring_self(self);
}

/* Woken again and again, and nothing was there: nobody may be kept longer than they wanted to wait,
 * nor from Ctrl-C. OK: sleep on. */
static ipcx_status patience(unsigned vain, ipcx_deadline deadline)
{
    if (vain == 0 || deadline == IPCX_FOREVER || ipcx_deadline_left(deadline) > 0) {
        return vain < VAIN ? IPCX_OK : IPCX_INTR;
    }
    return IPCX_TIMEOUT;
}

/* Announced; the turn is left. */
static ipcx_status sleep_for_data(ipcx__shm *self, ipcx_deadline deadline, ipcx_error *err)
{
    const ipcx__ring_words *words = &self->segment->words[1 - self->role];
    unsigned vain = atomic_load_explicit(&self->vain, memory_order_relaxed);
    bool rang = false;
    ipcx_status status = patience(vain, deadline);
    if (status != IPCX_OK) {
        atomic_store_explicit(&self->vain, 0, memory_order_relaxed);
        return status;
    }
    (void)atomic_fetch_add_explicit(&self->head.receive_waits, 1, memory_order_relaxed);
    status = ipcx__shm_sleep(self, self->data_epoll, IPCX__RING_DATA, deadline, &rang, err);
    if (rang) {
        atomic_store(&self->unsettled, true);
    }
    vain =
        status == IPCX_OK && atomic_load(&words->tail) == atomic_load(&words->head) ? vain + 1 : 0;
    atomic_store_explicit(&self->vain, vain, memory_order_relaxed);
    return status;
}

ipcx_status ipcx__shm_wait_data(ipcx__shm *self, bool front, ipcx_deadline deadline,
                                ipcx_error *err)
{
    const ipcx__shm_wish wish = {.data = true, .front = front};
    int64_t start = self->rx_spin.since; /* it has stayed awake already */
    int64_t most = worth(self, &wish);
    ipcx_status status;
    self->rx_spin.since = 0;
    if (start == 0 && spin(self, &wish, &self->rx_spin, &start)) {
        return IPCX_OK;
    }
    status = ipcx__shm_data_epoll(self, err);
    if (status != IPCX_OK) {
        ipcx__turn_leave(&self->rx_turn);
        return status;
    }
    (void)atomic_fetch_add(&self->asleep, 1);
    atomic_store(&self->unsettled, false);
    ipcx__ring_announce(&self->mine->waiting, IPCX__RING_DATA | (front ? IPCX__SHM_FRONT : 0));
    if (fulfilled(self, &wish)) {
        atomic_store(&self->unsettled, true); /* nobody rings for what is there already */
        (void)atomic_fetch_sub(&self->asleep, 1);
        return IPCX_OK;
    }
    ipcx__turn_leave(&self->rx_turn);
    status = sleep_for_data(self, deadline, err);
    (void)atomic_fetch_sub(&self->asleep, 1);
    remember(&self->rx_spin, most, start);
    return status == IPCX_OK ? IPCX_MORE : status;
}

/* ---- asleep, for space: one thread sleeps, and tells the others whenever it was woken */

static ipcx_status sleep_for_all(ipcx__shm *self, const ipcx__shm_wish *wish,
                                 ipcx_deadline deadline, ipcx_error *err)
{
    bool rang;
    ipcx_status status = ipcx__shm_space_epoll(self, err);
    if (status != IPCX_OK) {
        return status;
    }
    ipcx__ring_announce(&self->mine->waiting, IPCX__RING_SPACE);
    ipcx__turn_tell(&self->space_turn); /* the others look once more, behind the announcement */
    if (fulfilled(self, wish)) {
        return IPCX_OK;
    }
    (void)atomic_fetch_add_explicit(&self->head.send_waits, 1, memory_order_relaxed);
    status = ipcx__shm_sleep(self, self->space_epoll, IPCX__RING_SPACE, deadline, &rang, err);
    ipcx__turn_tell(&self->space_turn);
    return status;
}

/* What to stay awake for. Who finds a ring full sends small messages faster than they are taken:
 * room for one at a time would be one look at the peer's cursor for each, and the peer would wait
 * for that line as often. So it waits for a quarter; who sleeps, for as much as it needs. */
static ipcx__shm_wish awake_for(const ipcx__shm *self, const ipcx__shm_wish *wish)
{
    ipcx__shm_wish most = *wish;
    if (wish->room) {
        uint64_t quarter = self->tx.limit / 4 - IPCX__RING_HEADER;
        most.plenty = wish->size < quarter;
        most.size = most.plenty ? quarter : wish->size;
    }
    return most;
}

ipcx_status ipcx__shm_wait_space(ipcx__shm *self, const ipcx__shm_wish *wish,
                                 ipcx_deadline deadline, ipcx_error *err)
{
    const ipcx__shm_wish most = awake_for(self, wish);
    int64_t start;
    ipcx_status status = IPCX_OK;
    unsigned vain = 0;
    bool woken = false;
    if (spin(self, &most, &self->tx_spin, &start)) {
        return IPCX_OK;
    }
    while (status == IPCX_OK) {
        uint32_t seen = ipcx__turn_look(&self->space_turn);
        bool granted_now = fulfilled(self, wish);
        status = granted_now ? IPCX_OK : patience(vain++, deadline);
        if (granted_now || status != IPCX_OK) {
            if (woken) {
                ipcx__turn_pass(&self->space_turn);
            }
            break;
        }
        woken = false;
        if (ipcx__turn_take(&self->space_turn)) {
            status = sleep_for_all(self, wish, deadline, err);
            ipcx__turn_leave(&self->space_turn);
        } else {
            status = ipcx__turn_wait(&self->space_turn, &self->head.gate, seen, deadline, err);
            woken = status == IPCX_OK;
        }
    }
    remember(&self->tx_spin, worth(self, wish), start);
    return status;
}
