/* SPDX-License-Identifier: Apache-2.0
 * mux_info: numbers of a server and its peers; most of them are looked at in test_mux.c. */
#include "check.h"

#include "ipcx/mux_info.h"

static ipcx_mux_peer *next_joined(ipcx_mux *mux)
{
    const ipcx_mux_event *events;
    ipcx_mux_peer *peer;
    size_t count;
    REQUIRE_OK(
        ipcx_mux_next(mux, &events, &count, ipcx_deadline_after(INT64_C(10000000000)), NULL));
    REQUIRE(count == 1 && events[0].kind == IPCX_MUX_JOINED);
    peer = events[0].peer;
    ipcx_mux_peer_keep(peer);
    ipcx_mux_release(mux);
    return peer;
}

TEST(who_is_there_and_what_has_passed)
{
    const char *url = "unix://";
    const ipcx_message message = {.data = "four", .size = 4};
    ipcx_mux_peer_info info;
    ipcx_mux_stats stats;
    ipcx_mux_peer *peer;
    ipcx_mux *mux;
    ipcx_chan *chan;
    REQUIRE_OK(ipcx_mux_open(&url, 1, NULL, &mux, NULL));
    ipcx_mux_get_stats(mux, &stats);
    CHECK_INT(stats.peers + stats.joined + stats.sent, 0);
    REQUIRE_OK(ipcx_connect(ipcx_mux_url(mux, 0), NULL, IPCX_FOREVER, &chan, NULL));
    peer = next_joined(mux);
    CHECK_OK(ipcx_mux_send(peer, &message, IPCX_NOW, NULL));
    ipcx_mux_peer_get(peer, &info);
    CHECK_INT(info.id, 1);
    CHECK_INT(info.id, ipcx_mux_peer_id(peer));
    CHECK_INT(info.open, 1);
    CHECK_INT(info.sent, 1);
    CHECK_INT(info.sent_bytes, 4);
    CHECK_INT(info.received, 0);
    CHECK_INT(info.pid, getpid());
    CHECK_STR(info.url, ipcx_mux_url(mux, 0));
    ipcx_mux_get_stats(mux, &stats);
    CHECK_INT(stats.peers, 1);
    CHECK_INT(stats.joined, 1);
    CHECK_INT(stats.sent, 1);
    ipcx_mux_peer_drop(peer);
    ipcx_chan_free(chan);
    ipcx_mux_free(mux);
}
