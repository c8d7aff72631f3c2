/* SPDX-License-Identifier: Apache-2.0
 * How two ends come to one segment: made, passed over the socket, checked, mapped; and who says
 * whom to watch.
 * Invariant: what a stranger passed is checked before it is mapped, and costs us no memory that it
 * has not given itself. */
#include "link/shared/chan_shm_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/crash.h"
#include "os/map.h"

#define OP "connect"
#define VERSION IPCX__SHM_VERSION
#define ORDER IPCX__SHM_ORDER
#define FDS 3 /* the memory, the connector's bell, the acceptor's; or the memory alone */
/* Smaller rings are made without asking how much memory there is: the question costs 20 µs. */
#define ASKED_FIRST ((size_t)8 << 20)

/* How an end introduces itself: it rings the bell they share, or by bytes on the socket. */
#define SHARED 'P'
#define ALONE 'N'

static const char magic[8] = IPCX__SHM_MAGIC;

/* What the connector sends first; between processes of one machine, so in its own byte order. */
typedef struct hello {
    char magic[8];
    uint32_t version, order;
    uint64_t ring, max_message;
} hello;

typedef union control_space {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * 16)];
} control_space;

static ipcx_status failed(const ipcx__shm *self, const char *op, ipcx_error *err)
{
    ipcx_status status = errno == ENOMEM ? IPCX_EXHAUSTED : ipcx_status_from_errno(errno);
    return ipcx_error_set(err, status < 0 ? status : IPCX_SYSTEM, errno, op, "%s", self->head.url);
}

/* ---- the segment */

/* Ours and the peer's. Where the kernel refuses them, as where there is no trust, none are shared.
 */
static ipcx_status make_bells(ipcx__shm *self, ipcx_error *err)
{
    self->alone = self->careful;
    if (self->alone) {
        return IPCX_OK;
    }
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    self->their_bell = self->bell >= 0 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (self->their_bell >= 0) {
        return IPCX_OK;
    }
    self->alone = ipcx__shm_refused(errno);
    if (!self->alone) {
        return failed(self, "eventfd", err);
    }
    if (self->bell >= 0) {
        (void)close(self->bell);
        self->bell = -1;
    }
    return IPCX_OK;
}

/* All of it at once may never be wanted; but what the machine does not have is refused here, and
 * not when a large message comes. */
static ipcx_status check_memory(size_t size, ipcx_error *err)
{
    size_t left = size > ASKED_FIRST ? ipcx__memory_left() : SIZE_MAX;
    if (left < size) {
        return ipcx_error_set(err, IPCX_EXHAUSTED, ENOMEM, "shared memory",
                              "rings of %zu bytes in all, %zu left of machine or cgroup", size,
                              left);
    }
    return IPCX_OK;
}

ipcx_status ipcx__shm_create(ipcx__shm *self, ipcx_error *err)
{
    uint64_t ring0 = IPCX__SHM_HEAD, ring1 = ring0 + self->ring;
    ipcx_status status = check_memory(2 * self->ring, err);
    if (status == IPCX_OK) {
        status = ipcx__memory_make("ipcx-shm", ring1 + self->ring, &self->memory, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__memory_reserve(self->memory, 0, sizeof(ipcx__shm_segment), err);
    }
    if (status == IPCX_OK) {
        status = ipcx__memory_reserve(self->memory, ring0, ring0 + IPCX__RING_LIMIT, err);
    }
    if (status == IPCX_OK) {
        status = ipcx__memory_reserve(self->memory, ring1, ring1 + IPCX__RING_LIMIT, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    IPCX_CRASH_POINT("connect: memory made");
    return make_bells(self, err);
}

/* The next piece of our ring, for records that want a larger one. */
static bool grow(void *context, uint64_t from, uint64_t to)
{
    ipcx__shm *self = context;
    uint64_t base = IPCX__SHM_HEAD + self->role * self->ring;
    return ipcx__memory_reserve(self->memory, base + from, base + to, NULL) == IPCX_OK;
}

static ipcx_status map(ipcx__shm *self, ipcx_error *err)
{
    void *at;
    ipcx_status status = ipcx__memory_map(self->memory, 0, IPCX__SHM_HEAD, false, &at, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->segment = at;
    for (unsigned i = 0; i < 2; i++) {
        status = ipcx__memory_map(self->memory, IPCX__SHM_HEAD + i * self->ring, self->ring, true,
                                  &self->rings[i], err);
        if (status != IPCX_OK) {
            return status;
        }
    }
    return status;
}

ipcx_status ipcx__shm_attach(ipcx__shm *self, ipcx_error *err)
{
    unsigned out = self->role, in = 1 - out;
    uint64_t base = IPCX__SHM_HEAD + out * self->ring;
    ipcx_status status = map(self, err);
    if (status == IPCX_OK) {
        /* What we write to is there, whatever its maker has left out. */
        status = ipcx__memory_reserve(self->memory, base, base + IPCX__RING_LIMIT, err);
    }
    if (status != IPCX_OK) {
        return status;
    }
    self->mine = &self->segment->sides[out];
    self->theirs = &self->segment->sides[in];
    ipcx__ring_tx_init(&self->tx, &self->segment->words[out], self->rings[out], self->ring,
                       IPCX__RING_LIMIT, 0);
    self->tx.grow = grow;
    self->tx.show = ipcx__shm_show_front;
    self->tx.context = self;
    ipcx__ring_rx_init(&self->rx, &self->segment->words[in], self->rings[in], self->ring,
                       self->head.options.max_message, 0);
    atomic_store(&self->mine->max_message, self->head.options.max_message);
    if (self->alone) {
        (void)atomic_fetch_or(&self->mine->waiting, IPCX__SHM_BY_SOCKET);
    }
    IPCX_CRASH_POINT("meet: mapped");
    if (out == 0) {
        memcpy(self->segment->magic, magic, sizeof magic);
        self->segment->version = VERSION;
        self->segment->order = ORDER;
        self->segment->ring = self->ring;
        (void)snprintf(self->segment->url, sizeof self->segment->url, "%s", self->head.url);
    }
    return IPCX_OK;
}

/* ---- passing it */

ipcx_status ipcx__shm_hello(ipcx__shm *self, ipcx_error *err)
{
    const int fds[FDS] = {self->memory, self->bell, self->their_bell};
    size_t size = (self->alone ? 1 : FDS) * sizeof *fds;
    hello text = {.version = VERSION,
                  .order = ORDER,
                  .ring = self->ring,
                  .max_message = self->head.options.max_message};
    struct iovec bytes = {.iov_base = &text, .iov_len = sizeof text};
    control_space space;
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = space.bytes,
                             .msg_controllen = CMSG_SPACE(size)};
    memcpy(text.magic, magic, sizeof magic);
    memset(&space, 0, sizeof space);
    IPCX_CRASH_POINT("connect: mapped");
    space.align = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(size)};
    memcpy(CMSG_DATA(&space.align), fds, size);
    if (sendmsg(self->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof text) {
        return failed(self, OP, err);
    }
    IPCX_CRASH_POINT("connect: said hello");
    return IPCX_OK;
}

/* The descriptors that came with a message; `most` at most, the rest is closed. How many came. */
static int take_fds(struct msghdr *message, int *fds, int most)
{
    int count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, (char *)c + at, sizeof fd);
            if (count < most) {
                fds[count] = fd;
            } else {
                (void)close(fd);
            }
            count++;
        }
    }
    return count;
}

static ssize_t receive(int socket, void *to, size_t size, int *fds, int most, int *count)
{
    struct iovec bytes = {.iov_base = to, .iov_len = size};
    control_space space;
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = space.bytes,
                             .msg_controllen = sizeof space.bytes};
    ssize_t n;
    do {
        n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    *count = n >= 0 ? take_fds(&message, fds, most) : 0;
    return n;
}

static ipcx_status broken(const char *what, ipcx_error *err)
{
    return ipcx_error_set(err, IPCX_PROTOCOL, 0, "accept", "shm://: the peer %s", what);
}

/* Where /proc can be asked: that it is such a descriptor. Asks no file system: one of a stranger's
 * own (fuse) could let us wait for ever. */
static bool is_anonymous(int fd, const char *kind)
{
    char path[64], what[64];
    ssize_t n;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    n = readlink(path, what, sizeof what - 1);
    what[n > 0 ? n : 0] = '\0';
    return n < 0 || strcmp(what, kind) == 0;
}

static bool is_bell(int fd)
{
    return is_anonymous(fd, "anon_inode:[eventfd]");
}

static bool is_process(int fd)
{
    return fd >= 0 && is_anonymous(fd, "anon_inode:[pidfd]");
}

ipcx_status ipcx__shm_check(const int *fds, int count, uint64_t size, size_t most, ipcx_error *err)
{
    size_t whole, found;
    ipcx_status status;
    if (size < IPCX__RING_LIMIT || size > IPCX__SHM_RING_MAX || (size & (size - 1)) != 0) {
        return broken("wants rings of an impossible size", err);
    }
    whole = IPCX__SHM_HEAD + 2 * (size_t)size;
    if (whole > most) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "accept",
                              "shm://: the peer came with %zu bytes; max_segment is %zu", whole,
                              most);
    }
    status = ipcx__memory_check(fds[0], whole, whole, &found, err);
    if (status == IPCX_OK && count == FDS && (!is_bell(fds[1]) || !is_bell(fds[2]))) {
        status = broken("passed no eventfd", err);
    }
    return status;
}

static ipcx_status check_hello(const ipcx__shm *self, const hello *text, const int *fds, int count,
                               ipcx_error *err)
{
    if (memcmp(text->magic, magic, sizeof magic) != 0) {
        return broken("speaks no shm://", err);
    }
    if (text->version != VERSION || text->order != ORDER) {
        return ipcx_error_set(err, IPCX_VERSION, 0, "accept",
                              "shm://: version %u, byte order %08x; ours: %u, %08x", text->version,
                              text->order, VERSION, ORDER);
    }
    if (count != FDS && count != 1) {
        return broken("passed other descriptors than memory, or memory and two bells", err);
    }
    return ipcx__shm_check(fds, count, text->ring, self->head.options.max_segment, err);
}

static void shut(int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

ipcx_status ipcx__shm_shake(ipcx__shm *self, ipcx_error *err)
{
    hello text;
    int fds[FDS] = {-1, -1, -1}, count;
    ssize_t n = receive(self->socket, &text, sizeof text, fds, FDS, &count);
    ipcx_status status;
    /* Ours now, to be closed with the end. */
    self->memory = fds[0];
    self->their_bell = fds[1];
    self->bell = fds[2];
    IPCX_CRASH_POINT("accept: heard hello");
    if (n < 0) {
        return errno == EAGAIN ? IPCX_AGAIN : failed(self, "accept", err);
    }
    if (n == 0) {
        return IPCX_EOF;
    }
    if (n != (ssize_t)sizeof text) {
        return broken("speaks no shm://", err);
    }
    status = check_hello(self, &text, fds, count, err);
    if (status != IPCX_OK) {
        return status;
    }
    self->ring = (size_t)text.ring;
    self->alone = self->careful || count == 1;
    if (self->alone) {
        shut(&self->bell);
        shut(&self->their_bell);
    } else {
        (void)fcntl(self->bell, F_SETFL, O_RDWR | O_NONBLOCK);
        (void)fcntl(self->their_bell, F_SETFL, O_RDWR | O_NONBLOCK);
    }
    return ipcx__shm_attach(self, err);
}

/* ---- whose end it is, and whom the peer is to watch */

/* SO_PEERCRED names who made a socket, and a hang-up is not seen as long as some child holds a copy
 * of it: so whoever uses an end passes a pidfd of itself (pidfd_open(2)). Where there is none, a
 * bare byte says so. */
static void introduce(const ipcx__shm *self)
{
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    char byte = self->alone ? ALONE : SHARED;
    struct iovec bytes = {.iov_base = &byte, .iov_len = 1};
    control_space space;
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    memset(&space, 0, sizeof space);
    if (pidfd >= 0) {
        message.msg_control = space.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof pidfd);
        space.align = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof pidfd)};
        memcpy(CMSG_DATA(&space.align), &pidfd, sizeof pidfd);
    }
    if (sendmsg(self->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && pidfd >= 0) {
        /* Too many descriptors on their way (unix(7), ETOOMANYREFS): the hang-up must do. */
        message.msg_control = NULL;
        message.msg_controllen = 0;
        (void)!sendmsg(self->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (pidfd >= 0) {
        (void)close(pidfd);
    }
}

/* The bell that nobody else holds, for threads of this process to wake each other. */
static ipcx_status own_bell(ipcx__shm *self, ipcx_error *err)
{
    self->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->bell < 0 && ipcx__shm_refused(errno)) {
        (void)atomic_fetch_or(&self->mine->waiting, IPCX__SHM_BY_FUTEX);
        atomic_store(&self->sleeps_in_slices, true);
        return IPCX_OK;
    }
    return self->bell >= 0 ? IPCX_OK : failed(self, "eventfd", err);
}

static ipcx_status first_use(ipcx__shm *self, ipcx_error *err)
{
    uint32_t nobody = 0, me = (uint32_t)getpid();
    ipcx_status status = self->alone && self->bell < 0 ? own_bell(self, err) : IPCX_OK;
    if (status != IPCX_OK) {
        return status;
    }
    if (!atomic_compare_exchange_strong(&self->mine->user, &nobody, me)) {
        return ipcx_error_set(err, IPCX_FORKED, 0, OP,
                              "process %u uses this end of %s; each process uses an end of its own",
                              nobody, self->head.url);
    }
    IPCX_CRASH_POINT("meet: owned");
    ipcx__shm_show_begin(self);
    introduce(self);
    IPCX_CRASH_POINT("meet: introduced");
    return IPCX_OK;
}

ipcx_status ipcx__shm_begin(ipcx__shm *self, ipcx_error *err)
{
    ipcx_status status = IPCX_OK;
    uint32_t state;
    while ((state = atomic_load(&self->begun)) != 2) {
        uint32_t unused = 0;
        if (state == 0 && atomic_compare_exchange_strong(&self->begun, &unused, 1)) {
            status = first_use(self, err);
            atomic_store(&self->begun, status == IPCX_OK ? 2 : 0);
            if (status != IPCX_OK) {
                return status;
            }
        } else {
            (void)sched_yield(); /* another thread is at it: a few system calls */
        }
    }
    return status;
}

static void meet_peer(ipcx__shm *self, char how, int fd)
{
    bool watched = is_process(fd);
    if (fd >= 0 && !watched) {
        (void)close(fd);
    }
    if (how == ALONE) {
        self->alone = true;
    }
    atomic_store(&self->peer, watched ? fd : -1);
    atomic_store(&self->peer_known, true);
}

/* The peer's pidfd, what filled it up, and rings. With `control`. */
bool ipcx__shm_read_socket(ipcx__shm *self)
{
    char bytes[4096];
    bool rang = false;
    for (int i = 0; i < 64; i++) { /* bounded, whatever somebody sends meanwhile */
        int fd = -1, count;
        ssize_t n = receive(self->socket, bytes, sizeof bytes, &fd, 1, &count);
        if (n <= 0) {
            break;
        }
        rang = true;
        if (!atomic_load(&self->peer_known) && (bytes[0] == SHARED || bytes[0] == ALONE)) {
            meet_peer(self, bytes[0], fd);
        } else if (fd >= 0) {
            (void)close(fd);
        }
    }
    return rang;
}
