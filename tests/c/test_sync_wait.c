/* SPDX-License-Identifier: Apache-2.0
 * sync_wait: read-write lock, condition, event, barrier, whose users die in them. */
#include "syncs.h"

#include "os/sync/word.h"

/* ---- read-write locks */

TEST(many_read_one_writes)
{
    ipcx_sync *lock = make(IPCX_RWLOCK, 0, 0);
    pid_t pid;
    CHECK_OK(ipcx_rwlock_read(lock, SOON, NULL));
    CHECK_INT(ipcx_rwlock_has(lock), 'r');
    CHECK_STATUS(ipcx_rwlock_read(lock, SOON, NULL), IPCX_DEADLOCK);
    CHECK_STATUS(ipcx_rwlock_write(lock, SOON, NULL), IPCX_DEADLOCK);
    if (in_child(&pid)) {
        REQUIRE(ipcx_rwlock_unlock(lock, NULL) == IPCX_NOT_OWNER);
        REQUIRE_OK(ipcx_rwlock_read(lock, IPCX_NOW, NULL));
        REQUIRE(ipcx_rwlock_readers(lock) == 2);
        REQUIRE_OK(ipcx_rwlock_unlock(lock, NULL));
        REQUIRE(ipcx_rwlock_write(lock, IPCX_NOW, NULL) == IPCX_AGAIN);
        REQUIRE(ipcx_rwlock_write(lock, A_MOMENT, NULL) == IPCX_TIMEOUT);
        REQUIRE_OK(ipcx_rwlock_read(lock, IPCX_NOW, NULL)); /* the writer has given up */
        _exit(0);                                           /* without giving it back */
    }
    CHECK(check_child(pid));
    CHECK_OK(ipcx_rwlock_unlock(lock, NULL));
    CHECK_OK(ipcx_rwlock_write(lock, IPCX_NOW, NULL));
    CHECK_INT(ipcx_rwlock_has(lock), 'w');
    CHECK_INT(ipcx_sync_recovered(lock), 0);
    CHECK_STATUS(ipcx_rwlock_write(lock, SOON, NULL), IPCX_DEADLOCK);
    CHECK_STATUS(ipcx_rwlock_read(lock, SOON, NULL), IPCX_DEADLOCK);
    CHECK_OK(ipcx_rwlock_unlock(lock, NULL));
    CHECK_STATUS(ipcx_rwlock_unlock(lock, NULL), IPCX_NOT_OWNER);
    CHECK_INT(ipcx_rwlock_has(lock), 0);
    ipcx_sync_free(lock);
}

TEST(a_dead_writer_is_told_of_until_one_has_written)
{
    ipcx_sync *lock = make(IPCX_RWLOCK, 0, 0);
    atomic_int *told = shared(sizeof *told);
    pid_t pid, reader;
    if (in_child(&pid)) {
        REQUIRE_OK(ipcx_rwlock_write(lock, SOON, NULL));
        tell_and_wait(told);
    }
    wait_until(told, 1);
    CHECK_STATUS(ipcx_rwlock_read(lock, IPCX_NOW, NULL), IPCX_AGAIN);
    if (in_child(&reader)) {
        _exit(ipcx_rwlock_read(lock, SOON, NULL) != IPCX_OK || !ipcx_sync_recovered(lock));
    }
    CHECK(killed(pid));
    CHECK(check_child(reader));
    CHECK_OK(ipcx_rwlock_read(lock, SOON, NULL));
    CHECK_INT(ipcx_sync_recovered(lock), 1);
    CHECK_OK(ipcx_rwlock_unlock(lock, NULL));
    CHECK_OK(ipcx_rwlock_write(lock, SOON, NULL));
    CHECK_INT(ipcx_sync_recovered(lock), 1);
    CHECK_OK(ipcx_rwlock_unlock(lock, NULL));
    CHECK_INT(ipcx_sync_recovered(lock), 0);
    ipcx_sync_free(lock);
    REQUIRE(munmap(told, sizeof *told) == 0);
}

static void *read_and_end(void *lock)
{
    CHECK_OK(ipcx_rwlock_read(lock, SOON, NULL));
    return NULL;
}

TEST(a_reader_that_ends_gives_back)
{
    ipcx_sync *lock = make(IPCX_RWLOCK, 0, 0);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, read_and_end, lock) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_INT(ipcx_rwlock_readers(lock), 0);
    CHECK_OK(ipcx_rwlock_write(lock, IPCX_NOW, NULL));
    ipcx_sync_free(lock);
}

typedef struct job {
    ipcx_sync *sync, *other;
    _Atomic int *words; /* readers inside, writers inside */
    int rounds;
} job;

static void *read_and_write(void *arg)
{
    job *mine = arg;
    for (int i = 0; i < mine->rounds; i++) {
        ipcx_deadline by = i % 7 == 0 ? ipcx_deadline_after(30000) : SOON;
        int write = i % 3 == 0;
        ipcx_status status = write ? ipcx_rwlock_write(mine->sync, by, NULL)
                                   : ipcx_rwlock_read(mine->sync, by, NULL);
        if (status == IPCX_TIMEOUT) {
            continue;
        }
        if (!CHECK_OK(status)) {
            break;
        }
        (void)atomic_fetch_add(&mine->words[write], 1);
        CHECK(atomic_load(&mine->words[1]) == write);
        CHECK(!write || atomic_load(&mine->words[0]) == 0);
        (void)atomic_fetch_sub(&mine->words[write], 1);
        CHECK_OK(ipcx_rwlock_unlock(mine->sync, NULL));
    }
    return NULL;
}

TEST(readers_and_writers)
{
    ipcx_sync *lock = make(IPCX_RWLOCK, 0, 0);
    _Atomic int *words = shared(2 * sizeof *words);
    job mine = {lock, NULL, words, getenv("IPCX_NIGHT") != NULL ? 200000 : 6000};
    pthread_t threads[3];
    pid_t pid;
    if (in_child(&pid)) {
        read_and_write(&mine);
        _exit(0);
    }
    for (int i = 0; i < 3; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, read_and_write, &mine) == 0);
    }
    for (int i = 0; i < 3; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(check_child(pid));
    CHECK_INT(ipcx_rwlock_readers(lock), 0);
    ipcx_sync_free(lock);
    REQUIRE(munmap(words, 2 * sizeof *words) == 0);
}

TEST(readers_and_writers_killed_at_any_moment)
{
    int kills = getenv("IPCX_NIGHT") != NULL ? 1000 : 40;
    ipcx_sync *lock = make(IPCX_RWLOCK, 0, 0);
    _Atomic int *words = shared(2 * sizeof *words);
    job mine = {lock, NULL, words, 1000000000};
    pid_t pid;
    srand(5);
    for (int i = 0; i < kills; i++) {
        if (in_child(&pid)) {
            for (;;) { /* without the counters, which a death would leave wrong */
                int write = rand() % 2;
                (void)!(write ? ipcx_rwlock_write(lock, SOON, NULL)
                              : ipcx_rwlock_read(lock, SOON, NULL));
                (void)ipcx_rwlock_unlock(lock, NULL);
            }
        }
        for (int turns = rand() % 200; turns > 0; turns--) {
            (void)!ipcx_rwlock_read(lock, SOON, NULL);
            (void)ipcx_rwlock_unlock(lock, NULL);
        }
        CHECK(killed(pid));
        CHECK_OK(ipcx_rwlock_write(lock, SOON, NULL));
        CHECK_OK(ipcx_rwlock_unlock(lock, NULL));
    }
    mine.rounds = 100;
    read_and_write(&mine);
    ipcx_sync_free(lock);
    REQUIRE(munmap(words, 2 * sizeof *words) == 0);
}

TEST(a_reader_killed_at_each_crash_point)
{
    static const char *const points[] = {"rwlock-counted", "rwlock-word"};
    for (size_t i = 0; i < 2; i++) {
        ipcx_sync *lock = make(IPCX_RWLOCK, 0, 0);
        pid_t pid;
        if (in_child(&pid)) {
            crash_at = points[i];
            (void)!ipcx_rwlock_read(lock, SOON, NULL);
            (void)ipcx_rwlock_unlock(lock, NULL);
            (void)!ipcx_rwlock_write(lock, SOON, NULL);
            _exit(0);
        }
        CHECK(died(pid));
        CHECK_OK(ipcx_rwlock_write(lock, SOON, NULL));
        CHECK_OK(ipcx_rwlock_unlock(lock, NULL));
        CHECK_INT(ipcx_rwlock_readers(lock), 0);
        ipcx_sync_free(lock);
    }
}

TEST(closed_while_it_reads)
{
    ipcx_sync *lock = make(IPCX_RWLOCK, 0, 0);
    CHECK_OK(ipcx_rwlock_read(lock, SOON, NULL));
    ipcx_sync_close(lock);
    CHECK_INT(ipcx_rwlock_has(lock), 0);
    CHECK_STATUS(ipcx_rwlock_unlock(lock, NULL), IPCX_CLOSED);
    ipcx_sync_free(lock);
}

TEST(a_thread_has_it_by_another_handle)
{
    ipcx_sync *lock = make(IPCX_RWLOCK, 0, 0), *same = NULL;
    REQUIRE_OK(ipcx_sync_from_fd(ipcx_sync_fd(lock), IPCX_RWLOCK, &same, NULL));
    CHECK_OK(ipcx_rwlock_read(lock, SOON, NULL));
    CHECK_OK(ipcx_rwlock_read(same, SOON, NULL));
    CHECK_OK(ipcx_rwlock_unlock(same, NULL));
    CHECK_STATUS(ipcx_rwlock_write(same, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_rwlock_write(same, SOON, NULL), IPCX_DEADLOCK);
    CHECK_OK(ipcx_rwlock_unlock(lock, NULL));
    CHECK_OK(ipcx_rwlock_write(same, SOON, NULL));
    CHECK_STATUS(ipcx_rwlock_read(lock, SOON, NULL), IPCX_DEADLOCK);
    CHECK_STATUS(ipcx_rwlock_write(lock, SOON, NULL), IPCX_DEADLOCK);
    CHECK_OK(ipcx_rwlock_unlock(same, NULL));
    ipcx_sync_free(lock);
    ipcx_sync_free(same);
}

/* ---- conditions: a queue of one place, whose users wait for each other */

static void *fill(void *arg)
{
    job *mine = arg;
    for (int i = 0; i < mine->rounds; i++) {
        CHECK_OK(ipcx_mutex_lock(mine->sync, SOON, NULL));
        while (atomic_load(mine->words) != 0) {
            CHECK_OK(ipcx_cond_wait(mine->other, mine->sync, SOON, NULL));
        }
        atomic_store(mine->words, 1);
        CHECK_OK(ipcx_cond_notify(mine->sync, 1, NULL));
        CHECK_OK(ipcx_mutex_unlock(mine->sync, NULL));
    }
    return NULL;
}

TEST(nobody_is_forgotten)
{
    ipcx_sync *full = make(IPCX_CONDITION, 0, 0), *empty = make(IPCX_CONDITION, 0, 0);
    _Atomic int *words = shared(sizeof *words);
    job mine = {full, empty, words, getenv("IPCX_NIGHT") != NULL ? 100000 : 3000};
    pthread_t thread;
    pid_t pid;
    if (in_child(&pid)) {
        fill(&mine);
        _exit(0);
    }
    REQUIRE(pthread_create(&thread, NULL, fill, &mine) == 0);
    for (int i = 0; i < 2 * mine.rounds; i++) {
        CHECK_OK(ipcx_mutex_lock(full, SOON, NULL));
        while (atomic_load(words) == 0) {
            CHECK_OK(ipcx_cond_wait(full, full, SOON, NULL));
        }
        atomic_store(words, 0);
        CHECK_OK(ipcx_cond_notify(empty, 1, NULL));
        CHECK_OK(ipcx_mutex_unlock(full, NULL));
    }
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK(check_child(pid));
    CHECK_STATUS(ipcx_cond_wait(full, full, SOON, NULL), IPCX_NOT_OWNER);
    CHECK_OK(ipcx_mutex_lock(full, SOON, NULL));
    CHECK_STATUS(ipcx_cond_wait(full, full, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_cond_wait(full, full, A_MOMENT, NULL), IPCX_TIMEOUT);
    CHECK(ipcx_mutex_is_mine(full));
    ipcx_sync_free(full);
    ipcx_sync_free(empty);
    REQUIRE(munmap(words, sizeof *words) == 0);
}

TEST(a_notification_is_for_one_of_those_who_wait)
{
    ipcx_sync *condition = make(IPCX_CONDITION, 0, 0);
    uint32_t first = ipcx_cond_begin(condition), second = ipcx_cond_begin(condition), late;
    CHECK_OK(ipcx_cond_notify(condition, 1, NULL));
    late = ipcx_cond_begin(condition);
    CHECK_STATUS(ipcx_cond_wait_from(condition, late, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_OK(ipcx_cond_wait_from(condition, second, IPCX_NOW, NULL));
    CHECK_STATUS(ipcx_cond_wait_from(condition, first, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_OK(ipcx_cond_notify(condition, UINT32_MAX, NULL));
    CHECK_OK(ipcx_cond_notify(condition, UINT32_MAX, NULL)); /* they know it already */
    CHECK_OK(ipcx_cond_wait_from(condition, first, IPCX_NOW, NULL));
    ipcx_cond_leave(condition); /* the late one gives up: nothing is left for who comes */
    first = ipcx_cond_begin(condition);
    CHECK_STATUS(ipcx_cond_wait_from(condition, first, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_OK(ipcx_cond_notify(condition, 1, NULL));
    CHECK_OK(ipcx_cond_wait_from(condition, first, IPCX_NOW, NULL));
    CHECK_OK(ipcx_cond_notify(condition, 3, NULL)); /* nobody waits */
    first = ipcx_cond_begin(condition);
    CHECK_STATUS(ipcx_cond_wait_from(condition, first, IPCX_NOW, NULL), IPCX_AGAIN);
    ipcx_sync_free(condition);
}

/* ---- events */

TEST(all_wait_until_it_is_set)
{
    ipcx_sync *event = make(IPCX_EVENT, 0, 0);
    pid_t pids[3];
    CHECK_STATUS(ipcx_event_wait(event, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_event_wait(event, A_MOMENT, NULL), IPCX_TIMEOUT);
    for (int i = 0; i < 3; i++) {
        if (in_child(&pids[i])) {
            _exit(ipcx_event_wait(event, SOON, NULL) != IPCX_OK);
        }
    }
    CHECK_OK(ipcx_event_set(event, NULL));
    for (int i = 0; i < 3; i++) {
        CHECK(check_child(pids[i]));
    }
    CHECK_INT(ipcx_event_is_set(event), 1);
    CHECK_OK(ipcx_event_wait(event, IPCX_NOW, NULL));
    CHECK_OK(ipcx_event_clear(event, NULL));
    CHECK_STATUS(ipcx_event_wait(event, IPCX_NOW, NULL), IPCX_AGAIN);
    ipcx_sync_free(event);
}

/* ---- barriers */

static void *meet(void *arg)
{
    job *mine = arg;
    uint32_t place;
    for (int i = 0; i < mine->rounds; i++) {
        if (!CHECK_OK(ipcx_barrier_wait(mine->sync, SOON, &place, NULL))) {
            break;
        }
        (void)atomic_fetch_add(&mine->words[0], place == 0);
        CHECK(place < 4);
    }
    return NULL;
}

TEST(all_go_on_together)
{
    ipcx_sync *barrier = make(IPCX_BARRIER, 4, 0);
    _Atomic int *words = shared(sizeof *words);
    job mine = {barrier, NULL, words, getenv("IPCX_NIGHT") != NULL ? 20000 : 300};
    pthread_t threads[2];
    pid_t pids[2];
    for (int i = 0; i < 2; i++) {
        if (in_child(&pids[i])) {
            meet(&mine);
            ipcx_sync_close(barrier);
            _exit(0);
        }
    }
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, meet, &mine) == 0);
    }
    for (int i = 0; i < 2; i++) {
        REQUIRE(pthread_join(threads[i], NULL) == 0);
        CHECK(check_child(pids[i]));
    }
    CHECK_INT(atomic_load(words), mine.rounds);
    CHECK_INT(ipcx_barrier_waiting(barrier), 0);
    CHECK_INT(ipcx_barrier_is_broken(barrier), 0);
    CHECK_INT(ipcx_barrier_parties(barrier), 4);
    ipcx_sync_free(barrier);
    REQUIRE(munmap(words, sizeof *words) == 0);
}

static void *come_and_be_closed(void *barrier)
{
    uint32_t place;
    CHECK_STATUS(ipcx_barrier_wait(barrier, SOON, &place, NULL), IPCX_CLOSED);
    return NULL;
}

TEST(who_closes_has_not_come)
{
    ipcx_sync *barrier = make(IPCX_BARRIER, 2, 0), *same = NULL;
    uint32_t place = 0, round = 0;
    pthread_t thread;
    REQUIRE_OK(ipcx_sync_from_fd(ipcx_sync_fd(barrier), IPCX_BARRIER, &same, NULL));
    REQUIRE(pthread_create(&thread, NULL, come_and_be_closed, same) == 0);
    while (ipcx_barrier_waiting(barrier) == 0) {
        (void)sched_yield();
    }
    ipcx_sync_close(same);
    REQUIRE(pthread_join(thread, NULL) == 0);
    ipcx_sync_free(same);
    CHECK_INT(ipcx_barrier_waiting(barrier), 0);
    REQUIRE_OK(ipcx_sync_from_fd(ipcx_sync_fd(barrier), IPCX_BARRIER, &same, NULL));
    CHECK_OK(ipcx__barrier_come(same, SOON, &round, &place, NULL)); /* and looks at its signals */
    CHECK_INT(place, 1);
    ipcx_sync_close(same);
    CHECK_STATUS(ipcx__barrier_leave(same, round, NULL), IPCX_CLOSED);
    CHECK_INT(ipcx_barrier_waiting(barrier), 0);
    CHECK_INT(ipcx_barrier_is_broken(barrier), 0);
    ipcx_sync_free(same);
    ipcx_sync_free(barrier);
}

TEST(who_gives_up_has_not_come)
{
    ipcx_sync *barrier = make(IPCX_BARRIER, 2, 0);
    uint32_t place;
    pid_t pid;
    CHECK_STATUS(ipcx_barrier_wait(barrier, IPCX_NOW, &place, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_barrier_wait(barrier, A_MOMENT, &place, NULL), IPCX_TIMEOUT);
    CHECK_INT(ipcx_barrier_waiting(barrier), 0);
    if (in_child(&pid)) {
        _exit(ipcx_barrier_wait(barrier, SOON, &place, NULL) != IPCX_OK);
    }
    CHECK_OK(ipcx_barrier_wait(barrier, SOON, &place, NULL));
    CHECK(check_child(pid)); /* without close: it is dead, as far as one can see */
    CHECK_STATUS(ipcx_barrier_wait(barrier, SOON, &place, NULL), IPCX_BROKEN);
    ipcx_sync_free(barrier);
}

TEST(a_death_breaks_it)
{
    static const char *const points[] = {"", "barrier-came", "barrier-emptied"};
    for (size_t i = 0; i < 3; i++) {
        ipcx_sync *barrier = make(IPCX_BARRIER, i == 2 ? 1 : 2, 0);
        uint32_t place;
        pid_t pid;
        if (in_child(&pid)) {
            crash_at = points[i];
            (void)!ipcx_barrier_wait(barrier, SOON, &place, NULL);
            _exit(0);
        }
        if (i == 0) {
            while (ipcx_barrier_waiting(barrier) == 0) {
                (void)sched_yield();
            }
        }
        CHECK(i == 0 ? killed(pid) : died(pid));
        CHECK_STATUS(ipcx_barrier_wait(barrier, SOON, &place, NULL),
                     i == 0 ? IPCX_OK : IPCX_BROKEN);
        CHECK_STATUS(ipcx_barrier_wait(barrier, SOON, &place, NULL), IPCX_BROKEN);
        CHECK_INT(ipcx_barrier_is_broken(barrier), 1);
        CHECK_OK(ipcx_barrier_reset(barrier, NULL));
        if (i == 2) {
            CHECK_OK(ipcx_barrier_wait(barrier, SOON, &place, NULL));
        } else {
            CHECK_STATUS(ipcx_barrier_wait(barrier, A_MOMENT, &place, NULL), IPCX_TIMEOUT);
        }
        CHECK_OK(ipcx_barrier_abort(barrier, NULL));
        CHECK_STATUS(ipcx_barrier_wait(barrier, SOON, &place, NULL), IPCX_BROKEN);
        ipcx_sync_free(barrier);
    }
}

TEST(a_death_is_seen_by_who_waits)
{
    ipcx_sync *barrier = make(IPCX_BARRIER, 3, 0);
    uint32_t place;
    pid_t first, second;
    if (in_child(&first)) {
        (void)!ipcx_barrier_wait(barrier, SOON, &place, NULL);
        _exit(0);
    }
    if (in_child(&second)) {
        _exit(ipcx_barrier_wait(barrier, SOON, &place, NULL) != IPCX_BROKEN);
    }
    while (ipcx_barrier_waiting(barrier) < 2) {
        (void)sched_yield();
    }
    CHECK(killed(first));
    CHECK(check_child(second));
    ipcx_sync_free(barrier);
}
