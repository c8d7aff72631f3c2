/* SPDX-License-Identifier: Apache-2.0
 * log: whoever dies at whatever byte, each message is there whole or not at all, and what was
 * promised is there. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ipcx/alloc.h"
#include "ipcx/log.h"

/* Each test works in an empty directory of its own: in memory, if it makes hundreds of files. */
static char home[64], back[256];

static void enter_in(const char *folder)
{
    REQUIRE(getcwd(back, sizeof back) != NULL);
    snprintf(home, sizeof home, "%s/ipcx-log-XXXXXX", folder);
    REQUIRE(mkdtemp(home) != NULL && chdir(home) == 0);
}

static void enter(void)
{
    enter_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

static void clear(void)
{
    DIR *dir = opendir(".");
    struct dirent *entry;
    REQUIRE(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        (void)unlink(entry->d_name);
    }
    closedir(dir);
}

static void leave(void)
{
    clear();
    REQUIRE(chdir(back) == 0 && rmdir(home) == 0);
}

static int is_there(const char *name)
{
    return access(name, F_OK) == 0;
}

static ipcx_log *open_log(const ipcx_log_options *options)
{
    ipcx_log *log = NULL;
    ipcx_error err = {0};
    ipcx_status status;
    do {
        status = ipcx_log_open("log", options, IPCX_FOREVER, &log, &err);
    } while (status == IPCX_INTR);
    if (!CHECK_OK(status)) {
        printf("# %s: %s\n", err.op, err.detail);
    }
    REQUIRE(log != NULL);
    return log;
}

static ipcx_status append(ipcx_log *log, const void *data, size_t size, uint64_t *position)
{
    ipcx_message message = {.data = data, .size = size};
    ipcx_status status;
    do {
        status = ipcx_log_append(log, &message, 1, IPCX_FOREVER, position, NULL);
    } while (status == IPCX_INTR);
    return status;
}

static ipcx_log_reader *follow(uint64_t position)
{
    ipcx_log_reader *reader = NULL;
    ipcx_error err = {0};
    if (!CHECK_OK(ipcx_log_follow("log", position, 0, &reader, &err))) {
        printf("# %s: %s\n", err.op, err.detail);
    }
    REQUIRE(reader != NULL);
    return reader;
}

/* How many messages there are; each is numbered in its first 4 bytes, and they come in order. */
static int count_numbered(void)
{
    ipcx_log_reader *reader = follow(IPCX_LOG_START);
    ipcx_message message;
    ipcx_error err;
    ipcx_status status;
    int count = 0;
    while ((status = ipcx_log_next(reader, IPCX_NOW, &message, NULL, &err)) == IPCX_OK) {
        int number;
        REQUIRE(message.size >= sizeof number);
        memcpy(&number, message.data, sizeof number);
        CHECK_INT(number, count);
        count++;
    }
    CHECK_STATUS(status, IPCX_AGAIN);
    ipcx_log_reader_free(reader);
    return count;
}

static char *slurp(const char *name, size_t *size)
{
    struct stat info;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    char *bytes;
    REQUIRE(fd >= 0 && fstat(fd, &info) == 0);
    *size = (size_t)info.st_size;
    bytes = malloc(*size + 1);
    REQUIRE(bytes != NULL && read(fd, bytes, *size) == (ssize_t)*size && close(fd) == 0);
    return bytes;
}

static void spill(const char *name, const char *bytes, size_t size)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
}

TEST(appended_and_read)
{
    ipcx_log *log;
    ipcx_log_reader *reader;
    ipcx_log_stats stats;
    ipcx_message got, two[2] = {{.data = "text", .size = 4, .flags = IPCX_MESSAGE_TEXT}, {0}};
    ipcx_message bad = {.data = "\xff", .size = 1, .flags = IPCX_MESSAGE_TEXT};
    uint64_t first, next, at;
    ipcx_error err;
    enter();
    log = open_log(NULL);
    CHECK_OK(append(log, "bytes", 5, &first));
    CHECK_OK(ipcx_log_append(log, two, 2, IPCX_FOREVER, &next, &err));
    CHECK_STATUS(ipcx_log_append(log, &bad, 1, IPCX_FOREVER, &at, &err), IPCX_INVALID);
    bad = (ipcx_message){.flags = IPCX_MESSAGE_OBJECT};
    CHECK_STATUS(ipcx_log_append(log, &bad, 1, IPCX_FOREVER, &at, &err), IPCX_UNSUPPORTED);
    CHECK_OK(ipcx_log_sync(log, &err));
    reader = follow(IPCX_LOG_START);
    REQUIRE_OK(ipcx_log_next(reader, IPCX_NOW, &got, &at, &err));
    CHECK(at == first && got.size == 5 && memcmp(got.data, "bytes", 5) == 0 && got.flags == 0);
    CHECK(ipcx_log_reader_position(reader) == next);
    REQUIRE_OK(ipcx_log_next(reader, IPCX_NOW, &got, &at, &err));
    CHECK(at == next && got.size == 4 && got.flags == IPCX_MESSAGE_TEXT);
    REQUIRE_OK(ipcx_log_next(reader, IPCX_NOW, &got, &at, &err));
    CHECK(got.size == 0);
    CHECK_STATUS(ipcx_log_next(reader, IPCX_NOW, &got, &at, &err), IPCX_AGAIN);
    CHECK_STATUS(ipcx_log_next(reader, ipcx_deadline_after(1000000), &got, &at, &err),
                 IPCX_TIMEOUT);
    REQUIRE_OK(ipcx_log_get_stats(log, &stats, &err));
    CHECK(stats.start == 0 && stats.end == ipcx_log_reader_position(reader) && stats.cut == 0);
    ipcx_log_reader_free(reader);
    reader = follow(next);
    REQUIRE_OK(ipcx_log_next(reader, IPCX_NOW, &got, NULL, &err));
    CHECK(got.size == 4);
    ipcx_log_reader_free(reader);
    reader = follow(IPCX_LOG_END);
    CHECK_STATUS(ipcx_log_next(reader, IPCX_NOW, &got, NULL, &err), IPCX_AGAIN);
    CHECK_OK(append(log, "new", 3, NULL));
    CHECK_OK(ipcx_log_next(reader, IPCX_FOREVER, &got, NULL, &err));
    CHECK(got.size == 3);
    ipcx_log_close(log);
    CHECK_STATUS(append(log, "x", 1, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_log_sync(log, &err), IPCX_CLOSED);
    ipcx_log_free(log);
    ipcx_log_reader_close(reader);
    CHECK_STATUS(ipcx_log_next(reader, IPCX_NOW, &got, NULL, &err), IPCX_CLOSED);
    ipcx_log_reader_free(reader);
    ipcx_log_free(NULL);
    ipcx_log_reader_free(NULL);
    leave();
}

/* Ten numbered messages; the offsets behind each go to `ends`. */
static void ten(size_t ends[10])
{
    ipcx_log *log = open_log(NULL);
    for (int i = 0; i < 10; i++) {
        char text[64] = {0};
        struct stat info;
        memcpy(text, &i, sizeof i);
        REQUIRE(append(log, text, 4 + (size_t)i * 3, NULL) == IPCX_OK);
        REQUIRE(stat("log", &info) == 0);
        ends[i] = (size_t)info.st_size;
    }
    ipcx_log_free(log);
}

/* What is left of the file opens, has what was whole, and can be gone on with. */
static void check_rest(const size_t ends[10], size_t cut, int is_whole)
{
    ipcx_log *log;
    ipcx_log_stats stats;
    int whole = 0;
    while (whole < 10 && ends[whole] <= cut) {
        whole++;
    }
    log = open_log(NULL);
    CHECK_INT(count_numbered(), whole);
    REQUIRE(ipcx_log_get_stats(log, &stats, NULL) == IPCX_OK);
    CHECK(is_whole ? stats.cut == 0 : stats.cut > 0 || cut < 48);
    CHECK_OK(append(log, &whole, sizeof whole, NULL));
    ipcx_log_free(log);
    CHECK_INT(count_numbered(), whole + 1);
}

static int is_end(const size_t ends[10], size_t cut)
{
    for (int i = 0; i < 10; i++) {
        if (ends[i] == cut) {
            return 1;
        }
    }
    return cut == 48;
}

TEST(cut_at_every_byte)
{
    size_t ends[10], size;
    char *bytes;
    enter();
    ten(ends);
    bytes = slurp("log", &size);
    CHECK_INT(size, ends[9]);
    for (size_t cut = 0; cut <= size; cut++) {
        if (cut % 2 == 0) {
            clear(); /* else with what the writers shared before */
        }
        spill("log", bytes, cut);
        check_rest(ends, cut, is_end(ends, cut));
    }
    free(bytes);
    leave();
}

/* The model of a power failure: what was synced is there, behind it anything. */
TEST(what_was_written_last_may_be_anything)
{
    static const unsigned char fill[] = {0, 0xff, 'I', 'X'};
    size_t ends[10], size;
    char *bytes, *damaged;
    enter();
    ten(ends);
    bytes = slurp("log", &size);
    damaged = malloc(size + 64);
    REQUIRE(damaged != NULL);
    for (int i = 0; i < 10; i++) {
        size_t from = i == 0 ? 48 : ends[i - 1];
        for (size_t cut = from; cut < ends[i]; cut++) {
            size_t rest = ends[i] + 7 - cut;
            clear();
            memcpy(damaged, bytes, cut);
            memset(damaged + cut, fill[cut % 4], rest);
            spill("log", damaged, cut + rest);
            check_rest(ends, cut, 0);
        }
    }
    free(damaged);
    free(bytes);
    leave();
}

TEST(damage_is_no_torn_end)
{
    size_t ends[10], size, after;
    char *bytes, *there;
    ipcx_log *log = NULL;
    ipcx_log_reader *reader;
    ipcx_message got;
    ipcx_error err;
    ipcx_log_options cut = {.cut_damage = 1};
    ipcx_status status = IPCX_OK;
    enter();
    ten(ends);
    bytes = slurp("log", &size);
    for (size_t at = 0; at < ends[8]; at++) {
        clear();
        bytes[at] ^= 0x10;
        spill("log", bytes, size);
        status = ipcx_log_open("log", NULL, IPCX_FOREVER, &log, &err);
        if (at < 20) { /* the fixed part of the head: not ours, or not our version */
            CHECK(status == IPCX_PROTOCOL || status == IPCX_VERSION);
            CHECK(!is_there("log.lock"));
        } else {
            CHECK_STATUS(status, IPCX_CORRUPT);
        }
        there = slurp("log", &after);
        CHECK(after == size && memcmp(there, bytes, size) == 0);
        free(there);
        bytes[at] ^= 0x10;
    }
    bytes[ends[3] + 14] ^= 1;
    spill("log", bytes, size);
    reader = follow(IPCX_LOG_START);
    for (int i = 0; i < 4; i++) {
        CHECK_OK(ipcx_log_next(reader, IPCX_NOW, &got, NULL, &err));
    }
    CHECK_STATUS(ipcx_log_next(reader, IPCX_NOW, &got, NULL, &err), IPCX_CORRUPT);
    CHECK_STATUS(ipcx_log_next(reader, IPCX_FOREVER, &got, NULL, &err), IPCX_CORRUPT);
    CHECK(ipcx_log_reader_position(reader) == ends[3]);
    ipcx_log_reader_free(reader);
    ipcx_log_free(open_log(&cut));
    CHECK_INT(count_numbered(), 4);
    free(bytes);
    leave();
}

TEST(cut_by_somebody_else_while_open)
{
    ipcx_log *log;
    ipcx_log_stats stats;
    ipcx_error err;
    uint64_t first, second, at = 7;
    enter();
    log = open_log(NULL);
    CHECK_OK(append(log, "first", 5, &first));
    CHECK_OK(append(log, "second", 6, &second));
    for (int round = 0; round < 3; round++) { /* between two messages, within one, in the head */
        ipcx_message third = {.data = "third", .size = 5};
        for (int i = 0; i < round * 10; i++) { /* who is busy looks in another way */
            CHECK_OK(append(log, "more", 4, NULL));
        }
        REQUIRE(truncate("log", (off_t[]){(off_t)second, (off_t)first + 3, 9}[round]) == 0);
        CHECK_STATUS(ipcx_log_append(log, &third, 1, IPCX_FOREVER, &at, &err), IPCX_CORRUPT);
        CHECK(strstr(err.detail, "are lost") != NULL);
        CHECK(at == 7); /* untouched */
        REQUIRE_OK(ipcx_log_get_stats(log, &stats, &err));
        CHECK(stats.end == (round == 0 ? second : first));
        CHECK_OK(ipcx_log_append(log, &third, 1, IPCX_FOREVER, &at, &err));
        CHECK(at == stats.end);
        at = 7;
    }
    REQUIRE_OK(ipcx_log_get_stats(log, &stats, &err));
    CHECK(stats.cut == 3);
    ipcx_log_free(log);
    leave();
}

TEST(a_file_of_somebody_else)
{
    static const char *const files[] = {"x", "IX", "IX\x01\x01", "{\"json\": true}\n",
                                        "a text that is longer than the head of any log is"};
    ipcx_log *log = NULL;
    ipcx_log_reader *reader = NULL;
    ipcx_error err;
    enter();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t size;
        char *bytes;
        ipcx_status status;
        spill("log", files[i], strlen(files[i]));
        status = ipcx_log_open("log", NULL, IPCX_FOREVER, &log, &err);
        if (strcmp(files[i], "IX") == 0) { /* so may one begin that was cut */
            CHECK_OK(status);
            ipcx_log_free(log);
            clear();
            continue;
        }
        CHECK_STATUS(status, IPCX_PROTOCOL);
        CHECK_STATUS(ipcx_log_follow("log", IPCX_LOG_START, 0, &reader, &err), IPCX_PROTOCOL);
        bytes = slurp("log", &size);
        CHECK(size == strlen(files[i]) && memcmp(bytes, files[i], size) == 0);
        free(bytes);
        CHECK(!is_there("log.lock"));
    }
    clear();
    CHECK_STATUS(ipcx_log_follow("log", IPCX_LOG_START, 0, &reader, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENOENT);
    REQUIRE(mkfifo("log", 0600) == 0);
    CHECK_STATUS(ipcx_log_open("log", NULL, IPCX_FOREVER, &log, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EPERM);
    CHECK_STATUS(ipcx_log_open("nowhere/log", NULL, IPCX_FOREVER, &log, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, ENOENT);
    leave();
}

TEST(positions_that_are_none)
{
    size_t ends[10];
    ipcx_log_reader *reader = NULL;
    ipcx_error err;
    enter();
    ten(ends);
    CHECK_STATUS(ipcx_log_follow("log", 1, 0, &reader, &err), IPCX_PROTOCOL);
    CHECK_STATUS(ipcx_log_follow("log", ends[3] + 1, 0, &reader, &err), IPCX_PROTOCOL);
    CHECK_STATUS(ipcx_log_follow("log", ends[9] + 1, 0, &reader, &err), IPCX_PROTOCOL);
    leave();
}

/* ---- segments */

TEST(segments_come_and_go)
{
    ipcx_log_options options = {.segment_size = 1000, .keep = 3};
    ipcx_log *log, *second;
    ipcx_log_reader *reader, *slow;
    ipcx_log_stats stats;
    ipcx_message got;
    ipcx_error err;
    uint64_t before = 0, at;
    int number;
    enter();
    log = open_log(&options);
    second = open_log(&options);
    reader = follow(IPCX_LOG_START);
    slow = follow(IPCX_LOG_START);
    for (int i = 0; i < 500; i++) {
        char text[100] = {0};
        memcpy(text, &i, sizeof i);
        REQUIRE(append(i % 3 == 0 ? second : log, text, sizeof text, &at) == IPCX_OK);
        CHECK(at > before);
        before = at;
        REQUIRE_OK(ipcx_log_next(reader, IPCX_NOW, &got, &at, &err));
        CHECK(at == before && got.size == 100 && memcmp(got.data, text, 100) == 0);
    }
    CHECK_INT(ipcx_log_reader_lost(reader), 0);
    REQUIRE_OK(ipcx_log_get_stats(log, &stats, &err));
    CHECK(stats.end - stats.start <= 4000 && stats.start > 40000);
    /* One who was slow gets what is left, and is told how much is not. */
    number = -1;
    while (ipcx_log_next(slow, IPCX_NOW, &got, NULL, &err) == IPCX_OK) {
        int next;
        memcpy(&next, got.data, sizeof next);
        CHECK(next > number);
        number = next;
    }
    CHECK_INT(number, 499);
    CHECK(ipcx_log_reader_lost(slow) > 40000);
    ipcx_log_reader_free(slow);
    slow = follow(before);
    REQUIRE_OK(ipcx_log_next(slow, IPCX_NOW, &got, NULL, &err));
    ipcx_log_reader_free(slow);
    ipcx_log_reader_free(reader);
    ipcx_log_free(log);
    ipcx_log_free(second);
    leave();
}

/* Cut at every byte around a rotation: BYE written or not, renamed or not, begun or not. */
TEST(killed_while_a_segment_ends)
{
    ipcx_log_options options = {.segment_size = 300};
    ipcx_log *log;
    char *old, *new, older[64];
    size_t old_size, new_size, messages = 0;
    enter();
    log = open_log(&options);
    while (!is_there("log.00000000000000000000")) {
        int number = (int)messages;
        REQUIRE(append(log, &number, sizeof number, NULL) == IPCX_OK);
        messages++;
    }
    ipcx_log_free(log);
    strcpy(older, "log.00000000000000000000");
    old = slurp(older, &old_size);
    new = slurp("log", &new_size);
    for (size_t cut = 0; cut <= 16 + 1 + new_size; cut++) {
        int expected = (int)messages - 1;
        clear();
        if (cut <= 16) { /* the BYE has 16 bytes */
            spill("log", old, old_size - 16 + cut);
        } else {
            spill(older, old, old_size);
            if (cut > 17) {
                spill("log", new, cut - 17);
            }
            expected += cut == 17 + new_size;
        }
        CHECK_INT(count_numbered(), expected);
        ipcx_log_reader_free(follow(IPCX_LOG_END));
        log = open_log(&options);
        CHECK_INT(count_numbered(), expected);
        CHECK_OK(append(log, &expected, sizeof expected, NULL));
        CHECK_INT(count_numbered(), expected + 1);
        ipcx_log_free(log);
    }
    free(old);
    free(new);
    leave();
}

/* ---- many processes */

typedef struct tally {
    atomic_int done[4];
} tally;

static void write_until_killed(int who, tally *shared, const ipcx_log_options *options)
{
    ipcx_log *log = NULL;
    char text[20000];
    while (ipcx_log_open("log", options, IPCX_FOREVER, &log, NULL) == IPCX_INTR) {
    }
    for (int i = atomic_load(&shared->done[who]); log != NULL; i++) {
        size_t size = i % 50 == 0 ? sizeof text : 8 + (size_t)i % 90;
        uint64_t position = 0;
        memset(text, 'a' + who, size);
        memcpy(text, &who, sizeof who);
        memcpy(text + 4, &i, sizeof i);
        if (append(log, text, size, &position) != IPCX_OK) {
            break;
        }
        if (position > 100u << 20) { /* enough for a disk */
            pause();
        }
        atomic_store(&shared->done[who], i + 1);
    }
    _exit(1);
}

/* Every message whole; of each writer all that it was told are there; it may have one more. */
static void check_tally(tally *shared, int seen[4])
{
    ipcx_log_reader *reader = follow(IPCX_LOG_START);
    ipcx_message got;
    ipcx_error err = {0};
    ipcx_status status;
    memset(seen, 0, 4 * sizeof *seen);
    while ((status = ipcx_log_next(reader, IPCX_NOW, &got, NULL, &err)) == IPCX_OK) {
        int who, number;
        const char *text = got.data;
        memcpy(&who, text, 4);
        memcpy(&number, text + 4, 4);
        REQUIRE(who >= 0 && who < 4);
        CHECK(number == seen[who] || number == seen[who] - 1);
        seen[who] = number + 1;
        for (size_t i = 8; i < got.size; i++) {
            if (!CHECK(text[i] == 'a' + who)) {
                break;
            }
        }
    }
    if (!CHECK_STATUS(status, IPCX_AGAIN)) {
        printf("# %s\n", err.detail);
    }
    for (int who = 0; who < 4; who++) {
        int done = atomic_load(&shared->done[who]);
        CHECK(seen[who] == done || seen[who] == done + 1);
    }
    ipcx_log_reader_free(reader);
}

static void kill_often(const ipcx_log_options *options)
{
    const char *night = getenv("IPCX_NIGHT");
    int rounds = night != NULL && strcmp(night, "1") == 0 ? 2000 : 50, seen[4];
    pid_t children[4];
    tally *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    if (check_qemu()) {
        return; /* qemu-user has no set_robust_list(2): a killed holder's lock stays locked */
    }
    enter_in("/tmp");
    ipcx_log_free(open_log(options));
    for (int who = 0; who < 4; who++) {
        children[who] = 0;
    }
    for (int i = 0; i < rounds; i++) {
        int victim = i % 4;
        for (int who = 0; who < 4; who++) {
            if (children[who] == 0) {
                children[who] = fork();
                if (children[who] == 0) {
                    write_until_killed(who, shared, options);
                }
            }
        }
        (void)usleep((useconds_t)(1000 + (i * 7919) % 3000));
        REQUIRE(kill(children[victim], SIGKILL) == 0);
        REQUIRE(waitpid(children[victim], NULL, 0) == children[victim]);
        children[victim] = 0;
    }
    for (int who = 0; who < 4; who++) {
        if (children[who] != 0) {
            REQUIRE(kill(children[who], SIGKILL) == 0);
            REQUIRE(waitpid(children[who], NULL, 0) == children[who]);
        }
    }
    check_tally(shared, seen);
    ipcx_log_free(open_log(options));
    check_tally(shared, seen);
    printf("# %d + %d + %d + %d messages\n", seen[0], seen[1], seen[2], seen[3]);
    REQUIRE(munmap(shared, sizeof *shared) == 0);
    leave();
}

TEST(killed_at_random)
{
    kill_often(NULL);
}

TEST(killed_at_random_with_segments)
{
    kill_often(&(ipcx_log_options){.segment_size = 200000});
}

TEST(one_lock_for_all_writers)
{
    ipcx_log *log, *second = NULL;
    ipcx_error err;
    enter();
    log = open_log(NULL);
    REQUIRE(unlink("log.lock") == 0);
    CHECK_STATUS(ipcx_log_open("log", NULL, IPCX_FOREVER, &second, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EBUSY);
    CHECK_OK(append(log, "\0\0\0\0", 4, NULL));
    ipcx_log_free(log);
    log = open_log(NULL);
    CHECK_INT(count_numbered(), 1);
    ipcx_log_free(log);
    leave();
}

TEST(a_full_disk_leaves_nothing_half)
{
    ipcx_log *log;
    struct rlimit old, small;
    char large[8000] = {0};
    ipcx_message messages[2] = {{.data = "\0\0\0\0", .size = 4}, {.data = large, .size = 8000}};
    ipcx_error err;
    enter();
    (void)signal(SIGXFSZ, SIG_IGN);
    log = open_log(NULL);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &old) == 0);
    small = old;
    small.rlim_cur = 4000;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK_STATUS(ipcx_log_append(log, messages, 2, IPCX_FOREVER, NULL, &err), IPCX_SYSTEM);
    CHECK_INT(err.sys_errno, EFBIG);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK_INT(count_numbered(), 0);
    CHECK_OK(ipcx_log_append(log, messages, 1, IPCX_FOREVER, NULL, &err));
    CHECK_INT(count_numbered(), 1);
    ipcx_log_free(log);
    (void)signal(SIGXFSZ, SIG_DFL);
    leave();
}

TEST(large_and_too_large)
{
    size_t size = 3u << 20;
    char *large = calloc(1, size);
    ipcx_log_options options = {.max_message = size};
    ipcx_log *log;
    ipcx_log_reader *reader;
    ipcx_message messages[2], got;
    ipcx_error err;
    REQUIRE(large != NULL);
    enter();
    log = open_log(&options);
    messages[0] = (ipcx_message){.data = large, .size = size};
    messages[1] = (ipcx_message){.data = "\1\0\0\0", .size = 4};
    CHECK_OK(ipcx_log_append(log, messages, 2, IPCX_FOREVER, NULL, &err));
    CHECK_INT(count_numbered(), 2);
    messages[0].size++;
    CHECK_STATUS(ipcx_log_append(log, messages, 1, IPCX_FOREVER, NULL, &err), IPCX_TOO_LARGE);
    REQUIRE_OK(ipcx_log_follow("log", IPCX_LOG_START, 1000, &reader, &err));
    CHECK_STATUS(ipcx_log_next(reader, IPCX_NOW, &got, NULL, &err), IPCX_TOO_LARGE);
    ipcx_log_reader_free(reader);
    ipcx_log_free(log);
    free(large);
    leave();
}

/* ---- waiting */

typedef struct waiter {
    pthread_t thread;
    ipcx_log_reader *reader;
    ipcx_status status;
} waiter;

static void *wait_for_it(void *arg)
{
    waiter *self = arg;
    do {
        self->status = ipcx_log_wait(self->reader, IPCX_FOREVER, NULL);
    } while (self->status == IPCX_INTR);
    return NULL;
}

TEST(who_waits_is_woken)
{
    ipcx_log *log;
    ipcx_message got;
    ipcx_error err;
    waiter one = {0};
    int fd;
    enter();
    log = open_log(NULL);
    one.reader = follow(IPCX_LOG_END);
    CHECK_OK(ipcx_log_wait(one.reader, IPCX_FOREVER, &err)); /* the first time at once */
    CHECK_OK(ipcx_log_reader_fileno(one.reader, &fd, &err));
    CHECK_STATUS(ipcx_log_next(one.reader, IPCX_NOW, &got, NULL, &err), IPCX_AGAIN);
    REQUIRE(pthread_create(&one.thread, NULL, wait_for_it, &one) == 0);
    CHECK_OK(append(log, "x", 1, NULL));
    REQUIRE(pthread_join(one.thread, NULL) == 0);
    CHECK_STATUS(one.status, IPCX_OK);
    CHECK_OK(ipcx_log_next(one.reader, IPCX_NOW, &got, NULL, &err));
    CHECK_STATUS(ipcx_log_next(one.reader, IPCX_NOW, &got, NULL, &err), IPCX_AGAIN);
    REQUIRE(pthread_create(&one.thread, NULL, wait_for_it, &one) == 0);
    ipcx_log_reader_close(one.reader);
    REQUIRE(pthread_join(one.thread, NULL) == 0);
    CHECK_STATUS(one.status, IPCX_CLOSED);
    ipcx_log_reader_free(one.reader);
    one.reader = follow(IPCX_LOG_END);
    REQUIRE(unlink("log") == 0);
    CHECK_STATUS(ipcx_log_next(one.reader, IPCX_FOREVER, &got, NULL, &err), IPCX_EOF);
    ipcx_log_reader_free(one.reader);
    ipcx_log_free(log);
    leave();
}

TEST(a_child_goes_on_by_itself)
{
    ipcx_log *log;
    ipcx_log_reader *reader;
    ipcx_message got;
    ipcx_error err;
    pid_t child;
    enter();
    log = open_log(NULL);
    reader = follow(IPCX_LOG_START);
    CHECK_STATUS(ipcx_log_next(reader, IPCX_NOW, &got, NULL, &err), IPCX_AGAIN);
    child = fork();
    if (child == 0) {
        int right = append(log, "child", 5, NULL) == IPCX_OK;
        right &= ipcx_log_next(reader, IPCX_FOREVER, &got, NULL, &err) == IPCX_OK;
        ipcx_log_reader_free(reader);
        ipcx_log_free(log);
        _exit(right ? 0 : 1);
    }
    CHECK(check_child(child));
    CHECK_OK(ipcx_log_next(reader, IPCX_FOREVER, &got, NULL, &err));
    CHECK_OK(append(log, "parent", 6, NULL));
    CHECK_OK(ipcx_log_next(reader, IPCX_FOREVER, &got, NULL, &err));
    CHECK_INT(got.size, 6);
    ipcx_log_reader_free(reader);
    ipcx_log_free(log);
    leave();
}

TEST(every_allocation_fails_once)
{
    enter();
    for (uint64_t k = 1; k == 1 || ipcx_alloc_count() >= k - 1; k++) {
        ipcx_log_options options = {.segment_size = 200, .keep = 1};
        ipcx_log *log = NULL;
        ipcx_log_reader *reader = NULL;
        ipcx_message got, many[100];
        for (int i = 0; i < 100; i++) {
            many[i] = (ipcx_message){.data = "0123456789", .size = 10};
        }
        ipcx_alloc_fail_at(k);
        if (ipcx_log_open("log", &options, IPCX_FOREVER, &log, NULL) == IPCX_OK) {
            (void)!ipcx_log_append(log, many, 100, IPCX_FOREVER, NULL, NULL);
        }
        if (ipcx_log_follow("log", IPCX_LOG_START, 0, &reader, NULL) == IPCX_OK) {
            while (ipcx_log_next(reader, IPCX_NOW, &got, NULL, NULL) == IPCX_OK) {
            }
        }
        ipcx_log_reader_free(reader);
        ipcx_log_free(log);
    }
    ipcx_alloc_fail_at(0);
    ipcx_log_free(open_log(NULL));
    leave();
}
