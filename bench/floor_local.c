/* SPDX-License-Identifier: Apache-2.0
 * The floor of bench_local.py: pipes, files, inotify and posix_spawn from C.
 * Invariant: each row makes what it needs and takes it down again. */
#include "floor.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/inotify.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 64
#define HEAD 16
#define BATCH 100

static char message[SIZE], room[1 << 16];

/* ---- messages: a head with the size in front, as ipcx's frames have it */

static void send_one(int fd)
{
    uint32_t head[HEAD / 4] = {SIZE};
    const struct iovec pieces[] = {{head, HEAD}, {message, SIZE}};
    must(writev(fd, pieces, 2), "writev");
}

/* The messages that one read finds; each is looked at. */
static long take(int fd)
{
    long got = must(read(fd, room, sizeof room), "read"), count = 0;
    for (long at = 0; at < got; at += HEAD + SIZE) {
        uint32_t size;
        memcpy(&size, room + at, sizeof size);
        count += size == SIZE;
    }
    return count;
}

static void send_batch(int fd)
{
    static char all[BATCH][HEAD + SIZE];
    for (int i = 0; i < BATCH; i++) {
        uint32_t size = SIZE;
        memcpy(all[i], &size, sizeof size);
        memcpy(all[i] + HEAD, message, SIZE);
    }
    must(write(fd, all, sizeof all), "write");
}

/* ---- two processes that follow two files */

typedef struct {
    int writes, reads, watch;
} side;

static side side_of(const char *writes, const char *reads)
{
    side made = {.writes = (int)must(open(writes, O_WRONLY | O_APPEND | O_CREAT, 0600), "open"),
                 .reads = (int)must(open(reads, O_RDONLY | O_CREAT, 0600), "open"),
                 .watch = (int)must(inotify_init1(IN_NONBLOCK), "inotify_init1")};
    must(inotify_add_watch(made.watch, reads, IN_MODIFY), "inotify_add_watch");
    return made;
}

static void follow(const side *self, char *into)
{
    char events[4096];
    struct pollfd wait = {.fd = self->watch, .events = POLLIN};
    while (read(self->reads, into, SIZE) != SIZE) {
        must(poll(&wait, 1, -1), "poll");
        (void)!read(self->watch, events, sizeof events);
    }
}

static void answer_all(const char *there, const char *back)
{
    char got[SIZE];
    side mine = side_of(back, there);
    pin(1);
    for (;;) {
        follow(&mine, got);
        if (got[0] == '!') {
            _exit(0);
        }
        must(write(mine.writes, got, SIZE), "write");
    }
}

/* ---- cat | cat | cat */

#define STAGES 3
#define THREADS 8

extern char **environ;

static void pipe_to(int ends[2])
{
    must(pipe2(ends, O_CLOEXEC), "pipe2");
}

/* One stage, with its input and its output; both are closed here. */
static pid_t stage(int in, int out)
{
    char name[] = "cat", *argv[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    must(-posix_spawn_file_actions_init(&actions), "posix_spawn_file_actions_init");
    must(-posix_spawn_file_actions_adddup2(&actions, in, 0), "adddup2");
    must(-posix_spawn_file_actions_adddup2(&actions, out, 1), "adddup2");
    must(-posix_spawnp(&child, name, &actions, NULL, argv, environ), "posix_spawnp");
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(in);
    (void)close(out);
    return child;
}

static void pipeline(void)
{
    char got[SIZE];
    pid_t children[STAGES];
    int first[2], last[2], in;
    pipe_to(first);
    in = first[0];
    for (int i = 0; i < STAGES; i++) {
        pipe_to(last);
        children[i] = stage(in, last[1]);
        in = last[0];
    }
    must(write(first[1], message, SIZE), "write");
    (void)close(first[1]);
    while (must(read(in, got, SIZE), "read") > 0) {
    }
    (void)close(in);
    for (int i = 0; i < STAGES; i++) {
        must(waitpid(children[i], NULL, 0), "waitpid");
    }
}

static void *pipelines(void *ops)
{
    for (long i = 0; i < *(const long *)ops; i++) {
        pipeline();
    }
    return NULL;
}

static void pipelines_in_threads(long ops)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        must(-pthread_create(&threads[i], NULL, pipelines, &ops), "pthread_create");
    }
    for (int i = 0; i < THREADS; i++) {
        must(-pthread_join(threads[i], NULL), "pthread_join");
    }
}

/* ---- the rows */

typedef struct {
    int fd[2];
    int file;
    side mine;
    pid_t other;
    char there[64], back[64];
} world;

static void spawn_one(void)
{
    char name[] = "true", *argv[] = {name, NULL};
    pid_t child;
    must(-posix_spawnp(&child, name, NULL, NULL, argv, environ), "posix_spawnp");
    must(waitpid(child, NULL, 0), "waitpid");
}

static bool step(const char *row, world *w, long ops)
{
    char got[SIZE];
    for (long i = 0; i < ops; i++) {
        if (strcmp(row, "pipe") == 0 || strcmp(row, "pipe-in-c") == 0) {
            send_one(w->fd[1]);
            (void)take(w->fd[0]);
        } else if (strcmp(row, "pipe-batch") == 0) {
            send_batch(w->fd[1]);
            for (long count = 0; count < BATCH;) {
                count += take(w->fd[0]);
            }
        } else if (strcmp(row, "log") == 0) {
            must(write(w->file, message, SIZE), "write");
        } else if (strcmp(row, "log-batch") == 0) {
            static char all[BATCH * SIZE];
            must(write(w->file, all, sizeof all), "write");
        } else if (strcmp(row, "follow") == 0) {
            must(write(w->mine.writes, message, SIZE), "write");
            follow(&w->mine, got);
        } else if (strcmp(row, "spawn-program") == 0) {
            spawn_one();
        } else if (strcmp(row, "pipeline") == 0) {
            pipeline();
        } else if (strcmp(row, "pipeline-threads") == 0) {
            pipelines_in_threads(ops);
            break; /* that many in each thread */
        } else {
            return false;
        }
    }
    return true;
}

/* As the row's fixture in Python does: threads are to have every CPU. */
static void pin_nowhere(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (long cpu = sysconf(_SC_NPROCESSORS_ONLN); cpu-- > 0;) {
        CPU_SET((size_t)cpu, &set);
    }
    must(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
}

static int temporary(char *path)
{
    (void)snprintf(path, 64, "%s/ipcx-bench-XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    return (int)must(mkstemp(path), "mkstemp");
}

static void begin(const char *row, world *w)
{
    if (strcmp(row, "pipeline-threads") == 0) {
        pin_nowhere();
    }
    must(pipe(w->fd), "pipe");
    w->file = temporary(w->there);
    (void)close(temporary(w->back));
    must(fcntl(w->file, F_SETFL, O_APPEND), "fcntl");
    if (strcmp(row, "follow") == 0) {
        w->mine = side_of(w->there, w->back);
        w->other = (pid_t)must(fork(), "fork");
        if (w->other == 0) {
            answer_all(w->there, w->back);
        }
    }
}

static void end(world *w)
{
    const char last[SIZE] = "!";
    if (w->other > 0) {
        must(write(w->mine.writes, last, SIZE), "write");
        must(waitpid(w->other, NULL, 0), "waitpid");
        (void)close(w->mine.writes);
        (void)close(w->mine.reads);
        (void)close(w->mine.watch);
    }
    (void)unlink(w->there);
    (void)unlink(w->back);
    (void)close(w->file);
    (void)close(w->fd[0]);
    (void)close(w->fd[1]);
}

static bool measure(const char *row, long ops, long slices)
{
    world w = {0};
    begin(row, &w);
    if (!step(row, &w, ops)) {
        end(&w);
        return false;
    }
    for (long k = 0; k < slices; k++) {
        long long before = now();
        (void)step(row, &w, ops);
        printf("%lld ", now() - before);
    }
    end(&w);
    return true;
}

int main(int argc, char **argv)
{
    return answer(argc, argv, measure);
}
