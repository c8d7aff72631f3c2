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
