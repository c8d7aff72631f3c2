/* SPDX-License-Identifier: Apache-2.0
 * A library to preload: the k-th system call of the armed thread fails with the errno asked for.
 * Invariant: a failed call has done nothing, but for close(2), which has closed, and an interrupted
 * connect(2), which goes on: that is what the kernel does. Never part of ipcx itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static __thread long armed_at;  /* 0: not armed */
static __thread long seen;
static __thread int armed_errno;
static __thread char failed_name[32];

void fault_arm(long k, int error)
{
    seen = 0;
    armed_errno = error;
    failed_name[0] = '\0';
    armed_at = k;
}

/* Disarms; how many calls there were. */
long fault_disarm(void)
{
    armed_at = 0;
    return seen;
}

const char *fault_name(void)
{
    return failed_name;
}

static int hit(const char *name)
{
    if (armed_at == 0 || ++seen != armed_at) {
        return 0;
    }
    strncpy(failed_name, name, sizeof failed_name - 1);
    errno = armed_errno;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(result, name, parameters, arguments)                                                  \
    result name parameters                                                                         \
    {                                                                                              \
        static __typeof__(&name) real;                                                             \
        if (real == NULL) {                                                                        \
            real = REAL(name);                                                                     \
        }                                                                                          \
        return hit(#name) ? (result)-1 : real arguments;                                           \
    }

int eventfd(unsigned int value, int flags);
ssize_t __recv_chk(int fd, void *buffer, size_t size, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *buffer, size_t size, size_t room, int flags,
                       struct sockaddr *from, socklen_t *len);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);

WRAP(int, socket, (int family, int type, int proto), (family, type, proto))
WRAP(int, socketpair, (int family, int type, int proto, int fds[2]), (family, type, proto, fds))
WRAP(int, bind, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP(int, listen, (int fd, int backlog), (fd, backlog))
WRAP(int, accept4, (int fd, struct sockaddr *sa, socklen_t *len, int flags), (fd, sa, len, flags))
WRAP(int, accept, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))
WRAP(int, shutdown, (int fd, int how), (fd, how))
WRAP(int, eventfd, (unsigned int value, int flags), (value, flags))
WRAP(int, getsockname, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))
WRAP(int, getpeername, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))
WRAP(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),
     (fd, level, name, value, len))
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len))
WRAP(ssize_t, recv, (int fd, void *buffer, size_t size, int flags), (fd, buffer, size, flags))
WRAP(ssize_t, __recv_chk, (int fd, void *buffer, size_t size, size_t room, int flags),
     (fd, buffer, size, room, flags))
WRAP(ssize_t, recvfrom,
     (int fd, void *buffer, size_t size, int flags, struct sockaddr *from, socklen_t *len),
     (fd, buffer, size, flags, from, len))
WRAP(ssize_t, __recvfrom_chk,
     (int fd, void *buffer, size_t size, size_t room, int flags, struct sockaddr *from,
      socklen_t *len),
     (fd, buffer, size, room, flags, from, len))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
WRAP(ssize_t, send, (int fd, const void *buffer, size_t size, int flags), (fd, buffer, size, flags))
WRAP(ssize_t, sendto,
     (int fd, const void *buffer, size_t size, int flags, const struct sockaddr *to, socklen_t len),
     (fd, buffer, size, flags, to, len))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))
WRAP(ssize_t, sendfile, (int out, int in, off_t *offset, size_t count), (out, in, offset, count))
WRAP(int, poll, (struct pollfd *fds, nfds_t count, int timeout), (fds, count, timeout))
WRAP(int, __poll_chk, (struct pollfd *fds, nfds_t count, int timeout, size_t room),
     (fds, count, timeout, room))
WRAP(int, ppoll,
     (struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask),
     (fds, count, timeout, mask))

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    if (hit("connect")) {
        if (armed_errno == EINTR) {
            (void)REAL(connect)(fd, sa, len);
            errno = EINTR;
        }
        return -1;
    }
    return REAL(connect)(fd, sa, len);
}

int close(int fd)
{
    if (hit("close")) {
        (void)REAL(close)(fd);
        errno = armed_errno;
        return -1;
    }
    return REAL(close)(fd);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list more;
    void *argument;
    va_start(more, request);
    argument = va_arg(more, void *);
    va_end(more);
    return hit("ioctl") ? -1
                        : ((int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl"))(
                              fd, request, argument);
}

int fcntl(int fd, int command, ...)
{
    va_list more;
    void *argument;
    va_start(more, command);
    argument = va_arg(more, void *);
    va_end(more);
    return hit("fcntl") ? -1
                        : ((int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl"))(fd, command,
                                                                              argument);
}

#ifdef FAULTS_LOCAL /* for pipes, files and children: their calls, which sockets share with nobody */

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t __read_chk(int fd, void *buffer, size_t size, size_t room);

WRAP(int, pipe2, (int ends[2], int flags), (ends, flags))
WRAP(ssize_t, read, (int fd, void *buffer, size_t size), (fd, buffer, size))
WRAP(ssize_t, __read_chk, (int fd, void *buffer, size_t size, size_t room),
     (fd, buffer, size, room))
WRAP(ssize_t, write, (int fd, const void *buffer, size_t size), (fd, buffer, size))
WRAP(ssize_t, writev, (int fd, const struct iovec *pieces, int count), (fd, pieces, count))
WRAP(ssize_t, pread, (int fd, void *buffer, size_t size, off_t at), (fd, buffer, size, at))
WRAP(ssize_t, pwrite, (int fd, const void *buffer, size_t size, off_t at), (fd, buffer, size, at))
WRAP(ssize_t, pwritev, (int fd, const struct iovec *pieces, int count, off_t at),
     (fd, pieces, count, at))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, fstat, (int fd, struct stat *found), (fd, found))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags),
     (a, from, b, to, flags))
WRAP(int, unlinkat, (int folder, const char *name, int flags), (folder, name, flags))
WRAP(int, mkfifo, (const char *path, mode_t mode), (path, mode))
WRAP(int, memfd_create, (const char *name, unsigned int flags), (name, flags))
WRAP(int, inotify_init1, (int flags), (flags))
WRAP(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), (fd, path, mask))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int fd, int op, int which, struct epoll_event *event), (fd, op, which, event))

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
    return hit("posix_spawn") ? armed_errno
                              : REAL(posix_spawn)(pid, path, actions, attributes, argv, env);
}

#define WRAP_OPEN(name)                                                                            \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list more;                                                                              \
        mode_t mode;                                                                               \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
        return hit(#name) ? -1 : REAL(name)(path, flags, mode);                                    \
    }
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_OPENAT(name)                                                                          \
    int name(int folder, const char *path, int flags, ...)                                         \
    {                                                                                              \
        va_list more;                                                                              \
        mode_t mode;                                                                               \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
        return hit(#name) ? -1 : REAL(name)(folder, path, flags, mode);                            \
    }
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

/* pidfd_open(2), which has no function of its own here. */
long syscall(long number, ...)
{
    va_list more;
    long a, b, c, d, e, f;
    va_start(more, number);
    a = va_arg(more, long);
    b = va_arg(more, long);
    c = va_arg(more, long);
    d = va_arg(more, long);
    e = va_arg(more, long);
    f = va_arg(more, long);
    va_end(more);
    return hit("syscall") ? -1
                          : ((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(number, a, b, c, d,
                                                                               e, f);
}

#endif
