"""What type checkers say about `ipcx.channel`, and that it is so."""

from typing import Any, assert_type

import pytest

import ipcx
from ipcx import channel


def test_the_ends_of_a_pair() -> None:
    a, b = ipcx.pair("inproc://", capacity=10)
    assert_type(a, ipcx.Channel)
    with a as left, b:
        assert_type(left, ipcx.Channel)
        left.send("text", sync=False, timeout=1)
        left.send(memoryview(b"bytes"))
        assert_type(left.send_many(["one", b"two"]), int)
        assert_type(b.receive(timeout=1), Any)
        assert_type(b.receive_many(max=2), list[Any])
        assert_type(b.receive_into(bytearray(10)), int)
        assert_type(b.poll(), bool)
        assert_type(b.fileno(), int)
        assert_type(b.stats(), channel.ChannelStats)
        assert_type(b.stats().received, int)
        assert_type(b.url, str)
        assert_type(b.max_message, int)
        assert_type(b.closed, bool)
        left.close(timeout=0)
        for message in b:
            assert_type(message, Any)


def test_a_listener_gives_channels() -> None:
    with ipcx.listen("tcp://127.0.0.1:0") as listener:
        assert_type(listener, ipcx.Listener)
        with ipcx.connect(listener.url, 5, checksum=True) as client:
            assert_type(client, ipcx.Channel)
            with listener.accept(timeout=5) as server:
                assert_type(server, ipcx.Channel)
        assert_type(listener.stats(), channel.ListenerStats)
        assert_type(listener.stats().accepted, int)
    for accepted in listener:
        assert_type(accepted, ipcx.Channel)


def test_what_exceptions_say() -> None:
    a, b = ipcx.pair("inproc://", capacity=1)
    with a, b:
        a.send("x")
        with pytest.raises(ipcx.Timeout) as late:
            a.send_many(["y"], timeout=0)
        assert_type(late.value.begun, bool)
        assert_type(late.value.sent, int)
        assert_type(late.value.unsent, int)
        b.close()
        with pytest.raises(ipcx.PeerClosed) as gone:
            a.send("z")
        assert_type(gone.value.unreceived, int | None)


def test_the_table() -> None:
    assert_type(channel.TRANSPORTS["unix"].duplex, bool)
    assert_type(channel.TRANSPORTS["inproc"].largest, int | None)
