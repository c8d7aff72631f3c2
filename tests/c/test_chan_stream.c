/* SPDX-License-Identifier: Apache-2.0
 * chan_stream: messages over a stream of bytes, one thread, a peer that behaves. */
#include "check.h"

#include "streams.h"

TEST(there_and_back)
{
    ipcx_chan *a, *b;
    ipcx_message got, binary = stream_message("\0\1\xff", 3, 0), empty = {0};
    stream_pair(&a, &b, NULL);
    stream_say(a, "hello");
    CHECK_HEARS(b, "hello");
    stream_say(b, "grüß dich");
    CHECK_HEARS(a, "grüß dich");
    CHECK_OK(ipcx_chan_send(a, &binary, IPCX_NOW, NULL, NULL));
    CHECK_OK(ipcx_chan_send(a, &empty, IPCX_NOW, NULL, NULL));
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_NOW, NULL));
    CHECK_INT(got.size, 3);
    CHECK_INT(got.flags, 0);
    CHECK_MEM(got.data, "\0\1\xff", 3);
    ipcx_chan_release(b, &got);
    REQUIRE_OK(ipcx_chan_receive(b, &got, IPCX_NOW, NULL));
    CHECK_INT(got.size, 0);
    ipcx_chan_release(b, &got);
    CHECK_RECEIVES(b, IPCX_NOW, IPCX_AGAIN);
    CHECK_RECEIVES(b, ipcx_deadline_after(MS), IPCX_TIMEOUT);
    stream_free(a, b);
}

TEST(the_end_is_clean_after_a_goodbye)
{
    ipcx_chan *a, *b;
    stream_pair(&a, &b, NULL);
    stream_say(a, "first");
    stream_say(a, "last");
    CHECK_OK(ipcx_chan_close(a, IPCX_FOREVER, NULL, NULL));
    CHECK_HEARS(b, "first");
    CHECK_HEARS(b, "last");
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    CHECK_RECEIVES(b, IPCX_FOREVER, IPCX_EOF);
    CHECK_OK(ipcx_chan_poll(b, IPCX_NOW, NULL));
    CHECK_STATUS(stream_say_by(b, "x", IPCX_FOREVER), IPCX_PEER_CLOSED);
    CHECK_STATUS(stream_say_by(a, "x", IPCX_FOREVER), IPCX_CLOSED);
    stream_free(a, b);
}
