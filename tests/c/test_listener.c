/* SPDX-License-Identifier: Apache-2.0
 * listener: who gets in, who is dropped and when, and whose path it is. */
#include "check.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/time.h>

#include "dialing.h"
#include "link/stream/chan_stream.h"

static ipcx_listener_stats stats_of(ipcx_listener *listener)
{
    ipcx_listener_stats stats;
    ipcx_listener_get_stats(listener, &stats);
    return stats;
}

/* Accepts nobody, and lets everybody who waits go on, until `so` many were dropped. */
static void until_dropped(ipcx_listener *listener, uint64_t so)
{
    ipcx_chan *chan = NULL;
    while (stats_of(listener).dropped < so) {
        ipcx_status status = ipcx_listener_accept(listener, &chan, ipcx_deadline_after(MS), NULL);
        if (status != IPCX_TIMEOUT && status != IPCX_INTR) {
            CHECK_STATUS(status, IPCX_TIMEOUT);
            return;
        }
    }
}

/* ---- one thread, one peer */

static void listen_connect_accept(const char *url)
{
    ipcx_listener *listener = listening(url, NULL);
    ipcx_chan *chan = NULL, *there, *here;
    int fd = -1;
    CHECK_OK(ipcx_listener_fileno(listener, &fd, NULL));
    CHECK(!is_readable(fd));
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, ipcx_deadline_after(MS), NULL),
                 IPCX_TIMEOUT);
    CHECK(chan == NULL);
    there = connected(ipcx_listener_url(listener));
    CHECK_STR(ipcx_chan_url(there), ipcx_listener_url(listener));
    CHECK(is_readable(fd));
    REQUIRE_OK(ipcx_listener_accept(listener, &here, IPCX_NOW, NULL));
    CHECK(strncmp(ipcx_chan_url(here), url, 4) == 0);
    CHECK(!is_readable(fd));
    hello(there, here);
    hello(here, there);
    CHECK_INT(stats_of(listener).accepted, 1);
    CHECK_INT(stats_of(listener).dropped, 0);
    CHECK_INT(stats_of(listener).waiting, 0);
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    CHECK_OK(ipcx_listener_close(listener, NULL));
    CHECK_OK(ipcx_listener_close(listener, NULL));
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_FOREVER, NULL), IPCX_CLOSED);
    CHECK_STATUS(ipcx_listener_fileno(listener, &fd, NULL), IPCX_CLOSED);
    CHECK_INT(stats_of(listener).accepted, 1);
    ipcx_listener_free(listener);
}

TEST(listen_connect_accept_in_one_thread)
{
    folder at = folder_make();
    listen_connect_accept(at.url);
    CHECK(!exists(at.name) && !exists(at.lock));
    listen_connect_accept(at.url);
    listen_connect_accept("unix://");
    listen_connect_accept("tcp://127.0.0.1:0");
    listen_connect_accept("tcp://localhost:0");
    listen_connect_accept("inproc://a-name");
    listen_connect_accept("inproc://");
    folder_remove(&at);
}

static int has_ipv6(void)
{
    ipcx_addr addr;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int has = fd >= 0 && ipcx_addr_ip(&addr, "::1", 0, NULL) == IPCX_OK &&
              bind(fd, &addr.u.sa, addr.len) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return has;
}

TEST(the_url_is_the_real_one)
{
    ipcx_chan_options open = {.insecure = 1};
    ipcx_listener *listener = listening("tcp://localhost:0", NULL);
    ipcx_chan *there, *here;
    ipcx_url url;
    REQUIRE_OK(ipcx_url_parse(&url, ipcx_listener_url(listener), NULL));
    CHECK_STR(url.name, "127.0.0.1");
    CHECK(url.port > 0);
    ipcx_listener_free(listener);

    listener = listening("tcp://*:0", &open);
    CHECK(strncmp(ipcx_listener_url(listener), "tcp://*:", 8) == 0);
    there = connected(ipcx_listener_url(listener)); /* this host, then */
    here = accepted(listener);
    CHECK(strncmp(ipcx_chan_url(here), "tcp://127.0.0.1:", 16) == 0);
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);

    if (has_ipv6()) {
        listen_connect_accept("tcp://[::1]:0");
    }
    listener = listening("unix://", NULL);
    CHECK(strncmp(ipcx_listener_url(listener), "unix:///", 8) == 0);
    ipcx_listener_free(listener);
}

TEST(refused_before_anything_is_opened)
{
    ipcx_chan_options bad = {.max_message = 1};
    ipcx_listener *listener = NULL;
    listen_fails("tcp://*:0", IPCX_INSECURE, EACCES, "127.0.0.1, give an authkey, or say insecure");
    listen_fails("tcp://0.0.0.0:0", IPCX_INSECURE, EACCES, "tcp://0.0.0.0:0: others can reach it");
    listen_fails("tcp://[::]:0", IPCX_INSECURE, EACCES, "insecure=True");
    listen_fails("tcp://192.0.2.1:0", IPCX_INSECURE, EACCES, "insecure=True");
    listen_fails("tcp://[::ffff:192.0.2.1]:0", IPCX_INSECURE, EACCES, "insecure=True");
    listen_fails("tcp://", IPCX_INVALID_URL, 0, "host and port are missing");
    listen_fails("tpc://localhost:0", IPCX_INVALID_URL, 0, "did you mean tcp://");
    listen_fails("pipe://3,4", IPCX_UNSUPPORTED, EOPNOTSUPP, "use connect or pair");
    listen_fails("tcp://no-such-host.invalid:1", IPCX_RESOLVE, 0, "no-such-host.invalid");
    CHECK_STATUS(ipcx_listen("tcp://127.0.0.1:0", &bad, &listener, NULL), IPCX_INVALID);
    CHECK(listener == NULL);
    ipcx_listener_free(NULL);
}

TEST(a_taken_port_names_who_has_it)
{
    ipcx_listener *listener = listening("tcp://127.0.0.1:0", NULL);
    char url[64], holder[128];
    (void)snprintf(url, sizeof url, "%s", ipcx_listener_url(listener));
    (void)snprintf(holder, sizeof holder, "%s: process %d listens", url, (int)getpid());
    listen_fails(url, IPCX_ADDRESS_IN_USE, EADDRINUSE, holder);
    ipcx_chan_free(connected(url));
    ipcx_listener_free(listener);
    /* Nothing keeps a port that a listener has left: not even connections of its own. */
    listener = listening(url, NULL);
    CHECK_STR(ipcx_listener_url(listener), url);
    ipcx_listener_free(listener);
    listener = listening("udp://127.0.0.1:0", NULL);
    (void)snprintf(url, sizeof url, "%s", ipcx_listener_url(listener));
    (void)snprintf(holder, sizeof holder, "%s: process %d listens", url, (int)getpid());
    listen_fails(url, IPCX_ADDRESS_IN_USE, EADDRINUSE, holder);
    ipcx_listener_free(listener);
}

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    REQUIRE(getsockopt(fd, level, name, &value, &size) == 0);
    return value;
}

TEST(tcp_is_without_delay_and_notices_a_vanished_host)
{
    ipcx_listener *listener = listening("tcp://127.0.0.1:0", NULL);
    ipcx_chan *there = connected(ipcx_listener_url(listener)), *here = accepted(listener);
    int fds[2];
    fds[0] = ipcx__chan_stream_fd(there);
    fds[1] = ipcx__chan_stream_fd(here);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(option(fds[i], IPPROTO_TCP, TCP_NODELAY), 1);
        CHECK_INT(option(fds[i], SOL_SOCKET, SO_KEEPALIVE), 1);
        CHECK(option(fds[i], IPPROTO_TCP, TCP_KEEPIDLE) +
                  option(fds[i], IPPROTO_TCP, TCP_KEEPINTVL) *
                      option(fds[i], IPPROTO_TCP, TCP_KEEPCNT) <
              15);
        /* A slow reader must not be taken for a dead one. */
        CHECK_INT(option(fds[i], IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    }
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
}

/* ---- strangers */

TEST(who_is_silent_is_dropped_and_keeps_nobody_waiting)
{
    enum { SILENT = 20 };
    folder at = folder_make();
    ipcx_chan_options options = {.handshake_timeout = 20 * MS};
    ipcx_listener *listener = listening(at.url, &options);
    ipcx_chan *there, *here;
    int silent[SILENT];
    for (int i = 0; i < SILENT; i++) {
        silent[i] = stranger(at.url);
    }
    there = connected(at.url);
    here = accepted(listener);
    hello(there, here);
    until_dropped(listener, SILENT);
    for (int i = 0; i < SILENT; i++) {
        CHECK(hung_up(silent[i]));
        close(silent[i]);
    }
    hello(there, here);
    CHECK_INT(stats_of(listener).waiting, 0);
    CHECK_INT(stats_of(listener).dropped, SILENT);
    CHECK_INT(stats_of(listener).accepted, 1);
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    folder_remove(&at);
}

TEST(who_is_silent_is_dropped_though_nobody_else_comes)
{
    ipcx_chan_options options = {.handshake_timeout = 5 * MS};
    ipcx_listener *listener = listening("tcp://127.0.0.1:0", &options);
    ipcx_chan *chan = NULL;
    int fd, silent = stranger(ipcx_listener_url(listener));
    struct pollfd polled = {.events = POLLIN};
    REQUIRE_OK(ipcx_listener_fileno(listener, &fd, NULL));
    polled.fd = fd;
    /* As an event loop does it: readable, so try. */
    while (stats_of(listener).dropped == 0) {
        REQUIRE(poll(&polled, 1, 10000) == 1);
        CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_NOW, NULL), IPCX_AGAIN);
    }
    CHECK(hung_up(silent));
    close(silent);
    CHECK(!is_readable(fd));
    ipcx_listener_free(listener);
}

TEST(garbage_is_dropped_at_once)
{
    static const char *const said[] = {"GET / HTTP/1.1\r\n\r\n", "IY", "\0\0\0\0\0\0\0\0\0\0\0\0"};
    enum { SAID = sizeof said / sizeof said[0] };
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    ipcx_chan *there, *here;
    int fds[SAID];
    for (int i = 0; i < SAID; i++) {
        fds[i] = stranger(at.url);
        REQUIRE(write(fds[i], said[i], i == 2 ? 12 : strlen(said[i])) > 0);
    }
    there = connected(at.url);
    here = accepted(listener);
    hello(there, here);
    until_dropped(listener, SAID);
    for (int i = 0; i < SAID; i++) {
        CHECK(hung_up(fds[i]));
        close(fds[i]);
    }
    /* Who hangs up before a word, and in the middle of one. */
    close(stranger(at.url));
    fds[0] = stranger(at.url);
    REQUIRE(write(fds[0], "I", 1) == 1);
    close(fds[0]);
    until_dropped(listener, SAID + 2);
    CHECK_INT(stats_of(listener).dropped, SAID + 2);
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    folder_remove(&at);
}

TEST(a_thousand_silent_peers)
{
    enum { SILENT = 1000 };
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    ipcx_chan *there, *here, *chan = NULL;
    struct rlimit old, low;
    int stop[2];
    pid_t crowd;
    char byte;
    REQUIRE(pipe(stop) == 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
    crowd = fork(); /* their descriptors are not ours */
    REQUIRE(crowd >= 0);
    if (crowd == 0) {
        close(stop[1]);
        low = old;
        low.rlim_cur = old.rlim_max < 4096 ? old.rlim_max : 4096;
        (void)setrlimit(RLIMIT_NOFILE, &low);
        for (int i = 0; i < SILENT; i++) {
            (void)stranger(at.url);
        }
        (void)!read(stop[0], &byte, 1);
        _exit(0);
    }
    close(stop[0]);
    /* The crowd comes in; then one who means it. */
    while (stats_of(listener).waiting + stats_of(listener).dropped < SILENT) {
        ipcx_status status = ipcx_listener_accept(listener, &chan, ipcx_deadline_after(MS), NULL);
        REQUIRE(status == IPCX_TIMEOUT || status == IPCX_INTR);
    }
    there = connected(at.url);
    here = accepted(listener);
    hello(there, here);
    CHECK(stats_of(listener).waiting <= 1024);
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    close(stop[1]);
    CHECK(check_child(crowd));
    folder_remove(&at);
}

TEST(the_oldest_goes_when_there_are_too_many)
{
    struct rlimit old, low;
    folder at = folder_make();
    ipcx_listener *listener;
    ipcx_chan *chan = NULL;
    int first, more[16];
    if (check_valgrind()) {
        folder_remove(&at);
        return;
    }
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    low = old;
    low.rlim_cur = 40; /* a quarter is for strangers: 10 */
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    listener = listening(at.url, NULL);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
    first = stranger(at.url);
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_NOW, NULL), IPCX_AGAIN);
    for (int i = 0; i < 10; i++) {
        more[i] = stranger(at.url);
    }
    until_dropped(listener, 1);
    CHECK_INT(stats_of(listener).waiting, 10);
    CHECK_INT(stats_of(listener).dropped, 1);
    CHECK(hung_up(first));
    close(first);
    for (int i = 0; i < 10; i++) {
        close(more[i]);
    }
    ipcx_listener_free(listener);
    folder_remove(&at);
}

/* ---- no descriptor left */

TEST(no_descriptor_is_left_for_a_peer)
{
    struct rlimit old, low;
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    ipcx_chan *chan = NULL, *there, *here;
    ipcx_error err;
    int fd, highest;
    if (check_valgrind()) {
        ipcx_listener_free(listener);
        folder_remove(&at);
        return;
    }
    REQUIRE_OK(ipcx_listener_fileno(listener, &fd, NULL));
    there = connected(at.url);
    highest = dup(0);
    REQUIRE(highest >= 0 && close(highest) == 0);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    low = old;
    low.rlim_cur = (rlim_t)highest;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_NOW, &err), IPCX_EXHAUSTED);
    CHECK_INT(err.sys_errno, EMFILE);
    /* No busy loop: for a moment nothing calls for another try. */
    CHECK(!is_readable(fd));
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_NOW, &err), IPCX_AGAIN);
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, SOON, &err), IPCX_EXHAUSTED);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
    here = accepted(listener);
    hello(there, here);
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    folder_remove(&at);
}

TEST(a_silent_peer_makes_room)
{
    struct rlimit old, low;
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    ipcx_chan *chan = NULL, *there, *here = NULL;
    int highest, silent = stranger(at.url);
    if (check_valgrind()) {
        ipcx_listener_free(listener);
        close(silent);
        folder_remove(&at);
        return;
    }
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_NOW, NULL), IPCX_AGAIN);
    there = connected(at.url);
    highest = dup(0);
    REQUIRE(highest >= 0 && close(highest) == 0);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    low = old;
    low.rlim_cur = (rlim_t)highest;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
    CHECK_OK(ipcx_listener_accept(listener, &here, SOON, NULL));
    REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
    REQUIRE(here != NULL);
    hello(there, here);
    CHECK(hung_up(silent));
    CHECK_INT(stats_of(listener).dropped, 1);
    close(silent);
    ipcx_chan_free(there);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    folder_remove(&at);
}

/* ---- signals and threads */

static void nothing(int number)
{
    (void)number;
}

TEST(a_signal_interrupts_accept)
{
    ipcx_listener *listener = listening("tcp://127.0.0.1:0", NULL);
    ipcx_chan *chan = NULL;
    struct sigaction act = {.sa_handler = nothing}, old;
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    REQUIRE(sigaction(SIGALRM, &act, &old) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_FOREVER, NULL), IPCX_INTR);
    REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0 && sigaction(SIGALRM, &old, NULL) == 0);
    ipcx_listener_free(listener);
}

typedef struct acceptor {
    pthread_t thread;
    ipcx_listener *listener;
    ipcx_status status;
    int got;
} acceptor;

static void *accept_until_closed(void *arg)
{
    acceptor *self = arg;
    ipcx_chan *chan;
    for (;;) {
        self->status = ipcx_listener_accept(self->listener, &chan, IPCX_FOREVER, NULL);
        if (self->status != IPCX_OK) {
            return NULL;
        }
        self->got++;
        ipcx_chan_free(chan);
    }
}

TEST(many_threads_accept_and_one_closes)
{
    enum { THREADS = 4, PEERS = 100 };
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    acceptor threads[THREADS];
    int got = 0;
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (acceptor){.listener = listener};
        REQUIRE(pthread_create(&threads[i].thread, NULL, accept_until_closed, &threads[i]) == 0);
    }
    for (int i = 0; i < PEERS; i++) {
        ipcx_chan *chan = connected(at.url);
        if (i % 3 == 0) {
            close(stranger(at.url));
        }
        ipcx_chan_free(chan);
    }
    while (stats_of(listener).accepted + stats_of(listener).dropped < PEERS + (PEERS + 2) / 3) {
        sched_yield();
    }
    CHECK_OK(ipcx_listener_close(listener, NULL));
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        CHECK_STATUS(threads[i].status, IPCX_CLOSED);
        got += threads[i].got;
    }
    CHECK_INT(got, stats_of(listener).accepted);
    CHECK_INT(stats_of(listener).dropped, (PEERS + 2) / 3);
    ipcx_listener_free(listener);
    folder_remove(&at);
}

TEST(close_drops_who_waits)
{
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    ipcx_chan *chan = NULL;
    int waiting = stranger(at.url), unseen;
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_NOW, NULL), IPCX_AGAIN);
    CHECK_INT(stats_of(listener).waiting, 1);
    unseen = stranger(at.url);
    ipcx_listener_free(listener);
    CHECK(hung_up(waiting));
    CHECK(hung_up(unseen));
    close(waiting);
    close(unseen);
    folder_remove(&at);
}

/* ---- fork */

TEST(a_child_has_nothing_of_it)
{
    folder at = folder_make();
    ipcx_listener *listener = listening(at.url, NULL);
    ipcx_chan *chan = NULL, *there, *here;
    int ready[2], done[2], silent = stranger(at.url);
    pid_t child;
    char byte;
    REQUIRE(pipe(ready) == 0 && pipe(done) == 0);
    CHECK_STATUS(ipcx_listener_accept(listener, &chan, IPCX_NOW, NULL), IPCX_AGAIN);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ipcx_error err = {0};
        char pid[16];
        int bad = ipcx_listener_accept(listener, &chan, IPCX_FOREVER, &err) != IPCX_FORKED;
        (void)snprintf(pid, sizeof pid, "process %d", (int)getppid());
        bad |= strstr(err.detail, pid) == NULL;
        bad |= ipcx_listener_fileno(listener, &ready[0], NULL) != IPCX_FORKED;
        ipcx_listener_free(listener);
        bad |= !exists(at.name) || !exists(at.lock);
        (void)!write(ready[1], bad ? "n" : "y", 1);
        close(ready[1]);
        close(done[1]);
        close(silent);
        (void)!read(done[0], &byte, 1);
        _exit(bad);
    }
    REQUIRE(read(ready[0], &byte, 1) == 1);
    CHECK_INT(byte, 'y');
    /* The child lives; all the same the end of the listener is the end. */
    there = connected(at.url);
    here = accepted(listener);
    hello(there, here);
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    CHECK(hung_up(silent));
    listener = listening(at.url, NULL);
    ipcx_listener_free(listener);
    close(done[1]);
    CHECK(check_child(child));
    ipcx_chan_free(there);
    close(done[0]);
    close(ready[0]);
    close(ready[1]);
    close(silent);
    folder_remove(&at);
}

TEST(a_name_within_the_process_is_not_for_a_child)
{
    ipcx_listener *listener = listening("inproc://a-name", NULL);
    ipcx_chan *chan = NULL;
    pid_t child;
    listen_fails("inproc://a-name", IPCX_ADDRESS_IN_USE, EADDRINUSE, "a-name");
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ipcx_listener_stats stats;
        int bad = ipcx_listener_accept(listener, &chan, IPCX_FOREVER, NULL) != IPCX_FORKED;
        ipcx_listener_get_stats(listener, &stats);
        ipcx_listener_free(listener);
        _exit(bad);
    }
    CHECK(check_child(child));
    ipcx_listener_free(listener);
}

/* ---- what runs out */

static ipcx_status listen_and_accept(const char *url)
{
    ipcx_listener *listener = NULL;
    ipcx_chan *here = NULL;
    ipcx_status status = ipcx_listen(url, NULL, &listener, NULL);
    if (status == IPCX_OK) {
        int fd = url[0] == 'i' ? -1 : stranger(ipcx_listener_url(listener));
        status = ipcx_listener_accept(listener, &here, IPCX_NOW, NULL);
        status = status == IPCX_AGAIN ? IPCX_OK : status;
        if (fd >= 0) {
            close(fd);
        }
    }
    ipcx_chan_free(here);
    ipcx_listener_free(listener);
    return status;
}

TEST(each_allocation_fails_once)
{
    folder at = folder_make();
    const char *urls[] = {at.url, "tcp://127.0.0.1:0", "inproc://a-name"};
    int fds = check_fds();
    for (int i = 0; i < 3; i++) {
        for (uint64_t k = 1;; k++) {
            ipcx_status status;
            ipcx_alloc_fail_at(k);
            status = listen_and_accept(urls[i]);
            CHECK_INT(check_fds(), fds);
            if (ipcx_alloc_count() < k) {
                CHECK_OK(status);
                break;
            }
            /* A peer whose hello finds no memory is dropped; the listener lives. */
            CHECK(status == IPCX_NOMEM || status == IPCX_OK);
        }
    }
    ipcx_alloc_fail_at(0);
    folder_remove(&at);
}

TEST(each_descriptor_is_missing_once)
{
    static const char *const urls[] = {"unix://", "tcp://127.0.0.1:0"};
    struct rlimit old, low;
    int highest = dup(0);
    REQUIRE(highest >= 0 && close(highest) == 0);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    low = old;
    for (int i = 0; i < 2 && !check_valgrind(); i++) {
        ipcx_status status = IPCX_EXHAUSTED;
        for (int k = 0; k < 16 && status != IPCX_OK; k++) {
            ipcx_listener *listener = NULL;
            low.rlim_cur = (rlim_t)(highest + k);
            REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
            status = ipcx_listen(urls[i], NULL, &listener, NULL);
            REQUIRE(setrlimit(RLIMIT_NOFILE, &old) == 0);
            CHECK(status == IPCX_OK || status == IPCX_EXHAUSTED);
            ipcx_listener_free(listener);
        }
        CHECK_OK(status);
    }
}
