/* SPDX-License-Identifier: Apache-2.0
 * process: the fork mark is one for all threads, and another in each child. */
#include "check.h"

#include <pthread.h>

#include "base/process.h"

static void *read_mark(void *arg)
{
    *(uint32_t *)arg = ipcx__fork_generation();
    return NULL;
}

/* First: several threads race to be the first reader. */
TEST(one_mark_for_all_threads)
{
    pthread_t threads[4];
    uint32_t marks[4] = {0};
    int i;
    for (i = 0; i < 4; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, read_mark, &marks[i]) == 0);
    }
    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK(marks[i] != 0);
        CHECK_INT(marks[i], ipcx__fork_generation());
    }
}

TEST(another_in_each_child_and_grandchild)
{
    uint32_t mark = ipcx__fork_generation();
    pid_t child = fork();
    if (child == 0) {
        uint32_t mine = ipcx__fork_generation();
        pid_t grandchild;
        if (mine == mark || mine == 0) {
            _exit(1);
        }
        grandchild = fork();
        if (grandchild == 0) {
            uint32_t its = ipcx__fork_generation();
            _exit(its == mine || its == mark || its == 0);
        }
        _exit(!check_child(grandchild));
    }
    CHECK(check_child(child));
    CHECK_INT(ipcx__fork_generation(), mark);
}

TEST(the_mark_is_never_zero)
{
    uint32_t before = ipcx__fork_generation();
    pid_t child;
    atomic_store(&ipcx__fork_mark, UINT32_MAX);
    child = fork();
    if (child == 0) {
        _exit(ipcx__fork_generation() != 1);
    }
    CHECK(check_child(child));
    atomic_store(&ipcx__fork_mark, before);
}

TEST(the_cpu_is_asked_once)
{
    int has = ipcx__cpu_has_crc32c();
    CHECK(has == 0 || has == 1);
    CHECK_INT(ipcx__cpu_has_crc32c(), has);
}

/* ---- what is this process's own */

typedef struct thing {
    ipcx__own own;
    int let_go;
} thing;

static void let_go(ipcx__own *own)
{
    ((thing *)(void *)own)->let_go++;
}

static int listed(ipcx__own_list list)
{
    int n = 0;
    ipcx__own_lock();
    for (ipcx__own *own = ipcx__own_first(list); own != NULL; own = own->next) {
        n++;
    }
    ipcx__own_unlock();
    return n;
}

TEST(a_child_lets_go_of_what_is_its_parents_own)
{
    thing things[3] = {{.own.forked = let_go}, {.own.forked = let_go}, {.own.forked = let_go}};
    uint32_t forks = ipcx__fork_count();
    pid_t child;
    ipcx__own_lock();
    ipcx__own_add(IPCX__OWN_ENDS, &things[0].own);
    ipcx__own_add(IPCX__OWN_ENDS, &things[1].own);
    ipcx__own_add(IPCX__OWN_NAMES, &things[2].own);
    ipcx__own_unlock();
    child = fork();
    if (child == 0) {
        int held = listed(IPCX__OWN_ENDS) + listed(IPCX__OWN_NAMES);
        _exit(held != 0 || things[0].let_go + things[1].let_go + things[2].let_go != 3);
    }
    CHECK(check_child(child));
    CHECK_INT(ipcx__fork_count(), forks + 1);
    CHECK_INT(listed(IPCX__OWN_ENDS), 2);
    CHECK_INT(things[0].let_go, 0);
    ipcx__own_lock();
    ipcx__own_remove(&things[0].own); /* the last of its list */
    ipcx__own_remove(&things[0].own); /* in none */
    ipcx__own_remove(&things[1].own);
    ipcx__own_remove(&things[2].own);
    ipcx__own_unlock();
    CHECK_INT(listed(IPCX__OWN_ENDS) + listed(IPCX__OWN_NAMES), 0);
}

static void *list_and_unlist(void *arg)
{
    thing own = {.own.forked = let_go};
    while (!atomic_load((atomic_int *)arg)) {
        ipcx__own_lock();
        ipcx__own_add(IPCX__OWN_ENDS, &own.own);
        ipcx__own_unlock();
        ipcx__own_lock();
        ipcx__own_remove(&own.own);
        ipcx__own_unlock();
    }
    return NULL;
}

TEST(a_child_finds_the_lock_free)
{
    atomic_int stop = 0;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, list_and_unlist, &stop) == 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            _exit(listed(IPCX__OWN_ENDS) != 0);
        }
        CHECK(check_child(child));
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
}

/* ---- claims */

static void make_claim(ipcx__claim *claim)
{
    ipcx__own_lock();
    ipcx__claim_make(claim);
    ipcx__own_unlock();
}

static void free_claim(ipcx__claim *claim)
{
    ipcx__own_lock();
    ipcx__claim_free(claim);
    ipcx__own_unlock();
}

TEST(the_first_of_all_processes_has_the_claim)
{
    ipcx__claim claims[3];
    pid_t child;
    int holder = 0;
    for (int i = 0; i < 3; i++) {
        make_claim(&claims[i]);
        REQUIRE(claims[i].word != NULL);
    }
    CHECK(claims[0].word != claims[1].word);
    CHECK(ipcx__claim_take(&claims[0], (int)getpid(), &holder));
    child = fork();
    if (child == 0) {
        ipcx__claim own;
        int wrong = ipcx__claim_take(&claims[0], (int)getpid(), &holder) || holder != getppid();
        wrong |= !ipcx__claim_take(&claims[1], (int)getpid(), &holder);
        make_claim(&own); /* not among those of the parent, who may give out the same word */
        wrong |= own.word == NULL || own.word == claims[2].word + 1;
        _exit(wrong);
    }
    CHECK(check_child(child));
    CHECK(!ipcx__claim_take(&claims[1], (int)getpid(), &holder));
    CHECK_INT(holder, child);
    CHECK(ipcx__claim_take(&claims[2], (int)getpid(), &holder));
    for (int i = 0; i < 3; i++) {
        free_claim(&claims[i]);
        free_claim(&claims[i]);
    }
}

TEST(a_claim_used_anew_is_another)
{
    ipcx__claim old, inherited, again;
    int holder;
    make_claim(&old);
    inherited = old; /* as a child would have it */
    free_claim(&old);
    make_claim(&again);
    CHECK(again.word == inherited.word);
    CHECK(ipcx__claim_take(&inherited, 77, &holder)); /* nobody to ask any more */
    CHECK(ipcx__claim_take(&again, 78, &holder));
    CHECK(!ipcx__claim_take(&again, 79, &holder));
    CHECK_INT(holder, 78);
    free_claim(&again);
}

TEST(claims_without_number)
{
    enum { MANY = 70000 };
    ipcx__claim *claims = calloc(MANY, sizeof *claims);
    int none = 0, holder;
    REQUIRE(claims != NULL);
    for (int i = 0; i < MANY; i++) {
        make_claim(&claims[i]);
        none += claims[i].word == NULL;
    }
    CHECK(none > 0 && none < MANY / 2);
    CHECK(claims[MANY - 1].word == NULL);
    CHECK(ipcx__claim_take(&claims[MANY - 1], 1, &holder)); /* each knows of itself only */
    for (int i = 0; i < MANY; i++) {
        free_claim(&claims[i]);
    }
    make_claim(&claims[0]);
    CHECK(claims[0].word != NULL);
    free_claim(&claims[0]);
    free(claims);
}
