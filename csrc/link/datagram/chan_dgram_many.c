/* SPDX-License-Identifier: Apache-2.0
 * Sending many at once: sendmmsg(2), or, where messages in a row are of one size, one system call
 * and one way through the kernel for all of them: UDP_SEGMENT, udp(7). On the wire, and in the
 * receiver's queue and counters, each is a datagram by itself all the same.
 * Invariant: of such a row the kernel takes all or nothing, so numbers are used up as ever. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "link/datagram/chan_dgram_parts.h"
#include "os/gate.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h; Linux 4.18 */
#endif

#define MANY 64         /* also the most that UDP_SEGMENT takes: UDP_MAX_SEGMENTS */
#define ROW_MOST 65000  /* bytes of a row: what one datagram could have, with room */
#define ROW_LEAST 4     /* fewer are not worth the option */
#define FLAT_MOST 16384 /* bytes of a row that are cheaper copied together than gathered */

/* What is about to be sent. */
typedef struct run {
    unsigned count;
    struct mmsghdr headers[MANY];
    ipcx__dgram_composed made[MANY];
    size_t sizes[MANY];
} run;

static size_t size_of(const ipcx__dgram_composed *made)
{
    return made->pieces[0].iov_len + made->pieces[1].iov_len + made->pieces[2].iov_len;
}

/* How many from `at` on are as long as the first; one that is shorter may end the row. */
static unsigned row_at(const run *all, unsigned at)
{
    size_t size = all->sizes[at], total = size;
    unsigned n = at + 1;
    while (n < all->count && all->sizes[n] <= size && total + all->sizes[n] <= ROW_MOST) {
        total += all->sizes[n++];
        if (all->sizes[n - 1] < size) {
            break;
        }
    }
    return n - at;
}

static ssize_t send_row(ipcx__dgram *self, const run *all, unsigned at, unsigned count)
{
    struct iovec pieces[3 * MANY];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(uint16_t))];
    } option = {.header = {.cmsg_len = CMSG_LEN(sizeof(uint16_t)),
                           .cmsg_level = SOL_UDP,
                           .cmsg_type = UDP_SEGMENT}};
    struct msghdr header = {
        .msg_iov = pieces, .msg_control = &option, .msg_controllen = sizeof option.room};
    uint8_t flat[FLAT_MOST];
    uint16_t size = (uint16_t)all->sizes[at];
    size_t used = 0;
    bool is_flat = (size_t)size * count <= sizeof flat;
    memcpy(CMSG_DATA(&option.header), &size, sizeof size);
    for (unsigned i = at; i < at + count; i++) {
        for (int j = 0; j < 3; j++) {
            struct iovec piece = all->made[i].pieces[j];
            if (piece.iov_len == 0) {
                continue;
            }
            if (is_flat) {
                memcpy(flat + used, piece.iov_base, piece.iov_len);
                used += piece.iov_len;
            } else {
                pieces[header.msg_iovlen++] = piece;
            }
        }
    }
    if (is_flat) {
        pieces[0] = (struct iovec){flat, used};
        header.msg_iovlen = 1;
    }
    return sendmsg(self->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* An error that speaks of the row and not of its datagrams: a device that cannot do it, one whose
 * frames are shorter, a kernel that knows no such option. */
static bool is_rows_own(int error)
{
    return error == EINVAL || error == EIO || error == EMSGSIZE || error == EOPNOTSUPP ||
           error == ENOPROTOOPT;
}

/* From `at` on. How many were sent; -1: errno. */
static int send_some(ipcx__dgram *self, run *all, unsigned at)
{
    unsigned count = row_at(all, at), end = at + 1;
    if (count >= ROW_LEAST && all->sizes[at] <= self->row_most) {
        if (send_row(self, all, at, count) >= 0) {
            return (int)count;
        }
        if (!is_rows_own(errno)) {
            return -1;
        }
        self->row_most = all->sizes[at] - 1;
    }
    while (end < all->count && (row_at(all, end) < ROW_LEAST || all->sizes[end] > self->row_most)) {
        end++;
    }
    return sendmmsg(self->fd, all->headers + at, end - at, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Under the turn: as many as fit a run. -1: errno, or *status says why not. */
static int send_run(ipcx__dgram *self, const ipcx_message *messages, size_t count,
                    ipcx_status *status, ipcx_error *err)
{
    run all;
    unsigned n = 0, done = 0;
    int sent = 0;
    while (n < MANY && n < count) {
        ipcx__datagram frame = ipcx__dgram_describe(self, &messages[n], self->sequence + 1 + n);
        *status = ipcx__dgram_acceptable(self, &messages[n], err);
        if (*status != IPCX_OK) {
            break;
        }
        ipcx__dgram_compose(&frame, &all.made[n]);
        all.sizes[n] = size_of(&all.made[n]);
        all.headers[n] = (struct mmsghdr){
            .msg_hdr = {.msg_iov = all.made[n].pieces,
                        .msg_iovlen = all.made[n].pieces[2].iov_len > 0 ? 3u : 2u}};
        n++;
    }
    if (n > 0) {
        *status = IPCX_OK; /* the one that is refused comes again as the first */
    }
    all.count = n;
    while (done < n && (sent = send_some(self, &all, done)) > 0) {
        done += (unsigned)sent;
    }
    self->sequence += done;
    return done > 0 ? (int)done : sent;
}

ipcx_status ipcx__dgram_send_many(ipcx_chan *chan, const ipcx_message *messages, size_t count,
                                  ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    ipcx__dgram *self = (ipcx__dgram *)chan;
    ipcx_status status = ipcx__dgram_may_send(self, err);
    while (status == IPCX_OK && sending->taken < count) {
        int sent, error;
        status = ipcx__turn_take_by(&self->tx, &chan->gate, deadline, err);
        if (status != IPCX_OK) {
            break;
        }
        sent = send_run(self, messages + sending->taken, count - sending->taken, &status, err);
        error = errno;
        ipcx__turn_leave(&self->tx);
        if (sent > 0) {
            sending->taken += (unsigned)sent;
        } else if (sent < 0) {
            errno = error;
            status = ipcx__dgram_not_sent(self, deadline, err);
        }
    }
    return status;
}
