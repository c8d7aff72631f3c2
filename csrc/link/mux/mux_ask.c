/* SPDX-License-Identifier: Apache-2.0
 * Questions to the server itself, as `ipcx top` asks them (docs/protocol.md, Questions).
 * Invariant: the program hears nothing of them; who may not know is told only that. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "link/mux/mux_parts.h"

#define STATS "ipcx.stats"

static bool is_loopback(const struct sockaddr_in6 *addr)
{
    struct sockaddr_in four;
    if (addr->sin6_family == AF_INET6) {
        return IN6_IS_ADDR_LOOPBACK(&addr->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&addr->sin6_addr) && addr->sin6_addr.s6_addr[12] == 127);
    }
    memcpy(&four, addr, sizeof four);
    return four.sin_family == AF_INET && ntohl(four.sin_addr.s_addr) >> 24 == 127;
}

/* This user, root, whoever is on this host; and who has the key: where there is one, nobody without
 * it gets as far as to ask. */
static bool may_know(const ipcx_mux_peer *peer)
{
    if (peer->mux->options.private_stats) {
        return false;
    }
    if (peer->mux->options.channel.authkey != NULL) {
        return true;
    }
    return peer->is_unix ? peer->uid == 0 || peer->uid == geteuid() : is_loopback(&peer->addr);
}

static int print(ipcx_mux *self, char *text, size_t room)
{
    const ipcx_mux_stats *all = &self->stats;
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"peers", all->peers},
                   {"waiting", all->waiting},
                   {"joined", all->joined},
                   {"left", all->left},
                   {"refused", all->refused},
                   {"crowded", all->crowded},
                   {"late", all->late},
                   {"slow", all->slow},
                   {"wrong", all->wrong},
                   {"greedy", all->greedy},
                   {"strangers", all->strangers},
                   {"received", all->received},
                   {"received_bytes", all->received_bytes},
                   {"sent", all->sent},
                   {"sent_bytes", all->sent_bytes},
                   {"dropped", all->dropped},
                   {"memory", atomic_load(&self->memory)},
                   {"pid", (uint64_t)self->owner_pid}};
    int at = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        at += snprintf(text + at, room - (size_t)at, "%s\"%s\": %llu", i == 0 ? "{" : ", ",
                       numbers[i].name, (unsigned long long)numbers[i].value);
    }
    return at + snprintf(text + at, room - (size_t)at, "}");
}

ipcx_status ipcx__mux_answer(ipcx_mux_peer *peer, const ipcx_frame *request)
{
    ipcx_frame answer = {.type = IPCX_FRAME_ERROR,
                         .flags = IPCX_FRAME_CORRELATION | IPCX_FRAME_TEXT,
                         .correlation = request->correlation};
    char text[1024]; /* 18 numbers of 20 digits, and their names */
    if (!(request->flags & IPCX_FRAME_CORRELATION)) {
        return IPCX_PROTOCOL;
    }
    if (request->extension_size != strlen(STATS) ||
        memcmp(request->extension, STATS, strlen(STATS)) != 0) {
        answer.payload = "this server knows no such question";
        answer.payload_size = strlen(answer.payload);
    } else if (!may_know(peer)) {
        answer.payload =
            "this server tells its numbers to its own user and host only, or to nobody";
        answer.payload_size = strlen(answer.payload);
    } else {
        answer.type = IPCX_FRAME_REPLY;
        answer.payload_size = (size_t)print(peer->mux, text, sizeof text);
        answer.payload = text;
    }
    ipcx__mux_control(peer, &answer);
    return peer->stage == IPCX__DOOMED ? IPCX_EOF : IPCX_OK;
}
