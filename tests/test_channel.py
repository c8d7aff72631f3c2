# SPDX-License-Identifier: Apache-2.0
"""ipcx.channel as Python sees it: arguments, exceptions, buffers, texts, objects, exit, pickling.

What each transport must do with messages is in the contract suite (tests/contract/).
"""

import array
import contextlib
import ctypes
import gc
import inspect
import io
import math
import os
import pickle
import select
import signal
import socket as stdlib
import struct
import subprocess
import sys
import threading
import warnings
import weakref
from pathlib import Path

import pytest

import ipcx
from ipcx import _core, channel
from ipcx.framing import Encoder, FrameType
from socket_help import Background, until

ROOT = Path(__file__).resolve().parent.parent
WIRE = ("unix://", "tcp://", "pipe://", "shm://")
ALL = ("inproc://", *WIRE)


@contextlib.contextmanager
def pair_of(url="unix://", **options):
    a, b = ipcx.pair(url, **options)
    try:
        yield a, b
    finally:
        a.close(0)
        b.close(0)


@pytest.fixture(params=ALL)
def ends(request):
    with pair_of(request.param) as made:
        yield made


@pytest.fixture
def unix():
    with pair_of() as made:
        yield made


@pytest.fixture
def objects():
    with pair_of("inproc://") as made:
        yield made


def fill(end) -> int:
    """Sends until there is no room; how many of 4 KiB went in."""
    sent = 0
    while True:
        try:
            end.send(bytes(4096), timeout=0)
        except ipcx.WouldBlock as exc:
            return sent + exc.begun
        sent += 1


# ---- messages


@pytest.mark.parametrize("url", [*WIRE, "inproc://"])
@pytest.mark.parametrize(
    ("message", "arrives"),
    [
        (b"", b""),
        (b"bytes", b"bytes"),
        ("", ""),
        ("a text, äöü, 漢字, 🙂", "a text, äöü, 漢字, 🙂"),
        ("a\0b", "a\0b"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"a view")[2:], b"view"),
        (array.array("i", [1, 2, 3]), array.array("i", [1, 2, 3]).tobytes()),
        ((ctypes.c_uint16 * 2)(1, 2), bytes((ctypes.c_uint16 * 2)(1, 2))),
        (bytes(40_000), bytes(40_000)),
    ],
    ids=str.split("empty bytes empty-text text nul bytearray view array ctypes large"),
)
def test_what_goes_in_comes_out(url, message, arrives):
    with pair_of(url, copy=True) as (a, b):
        a.send(message)
        got = b.receive()
        assert got == arrives
        assert type(got) is type(arrives)


def test_subclasses_are_what_they_are():
    class Text(str):
        pass

    class Bytes(bytes):
        pass

    with pair_of() as (a, b):
        a.send(Text("text"))
        a.send(Bytes(b"bytes"))
        assert [b.receive(), b.receive()] == ["text", b"bytes"]


@pytest.mark.leaves_behind("threads")  # those of NumPy, which it starts when it is imported
def test_numpy_arrays():
    import numpy

    with pair_of() as (a, b):
        a.send(numpy.arange(6, dtype="<u2").reshape(2, 3))
        assert b.receive() == bytes([0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0])
        with pytest.raises((BufferError, ValueError)):
            a.send(numpy.arange(6).reshape(2, 3).T)


def test_a_view_with_gaps_is_refused(unix):
    with pytest.raises(BufferError):
        unix[0].send(memoryview(b"abcdef")[::2])


def test_a_buffer_is_pinned_during_the_call_only(unix):
    buffer = bytearray(b"message")
    unix[0].send(buffer)
    buffer.clear()  # BufferError if it were pinned still
    assert unix[1].receive() == b"message"
    with contextlib.suppress(ipcx.WouldBlock):
        while True:
            unix[0].send(buffer, timeout=0)
    buffer.append(1)


@pytest.mark.parametrize("message", [None, {"a": 1}, [1], 3, 2.5, object()])
def test_what_is_no_message(unix, message):
    with pytest.raises(TypeError, match=r"str or bytes-like, not \w+.*codec="):
        unix[0].send(message)
    unix[0].send("fine")
    assert unix[1].receive() == "fine"


def test_a_lone_surrogate_is_no_text(unix):
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        unix[0].send("a\ud800b")
    assert not unix[1].poll()


def test_a_message_over_the_limit():
    with pair_of("unix://", max_message=4096) as (a, b):
        assert a.max_message == 4096
        a.send(bytes(4096))
        assert b.poll(None)  # and with it, the peer's limit is known
        with pytest.raises(ipcx.MessageTooLarge, match="4097"):
            b.send(bytes(4097))
        a.send("fine")
        assert b.receive() == bytes(4096)
        assert b.receive() == "fine"


# ---- objects


def test_objects_pass_by_reference(objects):
    a, b = objects
    things = [None, {"a": 1}, [1, 2], object(), b"bytes", "text", "\ud800", 10**100, a, int]
    for thing in things:
        a.send(thing)
        assert b.receive() is thing
    assert a.send_many(things) == len(things)
    got = b.receive_many(len(things))
    assert all(x is y for x, y in zip(got, things, strict=True))


class Thing:
    """Something with weak references."""


@pytest.mark.parametrize("how", ["close-receiver", "close-sender", "drop"])
def test_objects_nobody_receives_are_given_back(how):
    a, b = ipcx.pair("inproc://")
    things = [Thing() for _ in range(40)]
    seen = [weakref.ref(thing) for thing in things]
    for thing in things:
        a.send(thing)
    things.clear()
    del thing
    assert all(ref() is not None for ref in seen)
    if how == "close-receiver":
        b.close()
        a.close()
    elif how == "close-sender":
        a.close()
        assert b.receive() is seen[0]()
        b.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del a, b
    assert [ref for ref in seen if ref() is not None] == []


def test_an_object_that_could_not_be_sent_is_the_caller_s_still():
    with pair_of("inproc://", capacity=1) as (a, b):
        thing = Thing()
        a.send(1)
        count = sys.getrefcount(thing)
        for _ in range(3):
            with pytest.raises(ipcx.WouldBlock) as caught:
                a.send(thing, timeout=0)
            assert caught.value.begun is False
            with pytest.raises(ipcx.Timeout):
                a.send(thing, timeout=0.001)
            with pytest.raises(ipcx.WouldBlock) as caught:
                a.send_many([thing, thing], timeout=0)
            assert caught.value.sent == 0
        del caught
        assert sys.getrefcount(thing) == count
        b.close()
        with pytest.raises(ipcx.PeerClosed) as caught:
            a.send(thing)
        assert caught.value.unreceived == 1
        assert sys.getrefcount(thing) == count


def test_the_collector_finds_a_cycle_through_a_channel():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        collect_a_cycle()


def collect_a_cycle():
    a, b = ipcx.pair("inproc://")
    thing = Thing()
    seen = weakref.ref(thing)
    thing.end = b
    a.send(thing)
    del a  # and with it, its end is closed
    del b, thing
    gc.collect()
    assert seen() is None


def test_the_collector_lets_live_what_is_on_its_way(objects):
    a, b = objects
    thing = Thing()
    thing.itself = thing
    a.send([thing])
    seen = weakref.ref(thing)
    del thing
    gc.collect()
    assert any(seen() in each for each in gc.get_referents(b) if type(each) is list)
    assert b.receive()[0] is seen()
    gc.collect()
    assert seen() is None


def test_an_object_whose_end_uses_the_channel(objects):
    a, b = objects

    class Last:
        def __del__(self):
            with contextlib.suppress(ipcx.Error):
                a.send("from the grave")

    a.send(Last())
    b.close()
    a.close()


# ---- time-outs


@pytest.mark.parametrize("timeout", [-1, -0.5, math.nan, -math.inf, -(10**30)])
def test_a_timeout_that_is_none(ends, timeout):
    a, _ = ends
    calls = (
        lambda: a.send("x", timeout=timeout),
        lambda: a.send_many(["x"], timeout=timeout),
        lambda: a.receive(timeout),
        lambda: a.receive_many(timeout=timeout),
        lambda: a.receive_into(bytearray(1), timeout),
        lambda: a.poll(timeout),
        lambda: a.flush(timeout),
        lambda: a.close(timeout),
    )
    for call in calls:
        with pytest.raises(ValueError, match="timeout is seconds >= 0 or None"):
            call()
    with pytest.raises(ValueError, match="timeout is seconds"):
        ipcx.connect("tcp://127.0.0.1:9", timeout)


@pytest.mark.parametrize("timeout", ["1", b"1", [], 1j])
def test_a_timeout_of_another_type(ends, timeout):
    with pytest.raises(TypeError, match="seconds or None, not"):
        ends[0].receive(timeout)


@pytest.mark.parametrize("timeout", [None, 5, 5.0, True, math.inf, 1e300, 10**30])
def test_a_timeout_in_any_number(ends, timeout):
    a, b = ends
    a.send("x", timeout=timeout)
    assert b.poll(timeout)
    assert b.receive(timeout) == "x"
    a.flush(timeout)


def test_polling(ends):
    a, b = ends
    with pytest.raises(ipcx.WouldBlock, match="receive: not without waiting") as caught:
        b.receive(timeout=0)
    assert isinstance(caught.value, BlockingIOError)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.begun is False
    assert b.poll() is False
    a.send("x")
    assert b.poll(5) is True
    assert b.receive(timeout=5) == "x"


def test_the_deadline_passes(ends):
    a, b = ends
    with pytest.raises(ipcx.Timeout, match=r"receive: the deadline passed after 0\.01 s") as caught:
        b.receive(timeout=0.01)
    assert not isinstance(caught.value, ipcx.WouldBlock)
    with pytest.raises(ipcx.Timeout):
        b.receive_many(timeout=0.01)
    with pytest.raises(ipcx.Timeout):
        b.receive_into(bytearray(8), timeout=0.01)
    assert b.poll(0.01) is False
    a.send("x")
    assert b.receive() == "x"


@pytest.mark.parametrize("url", ALL)
def test_a_full_channel(url):
    with pair_of(url, capacity=16) as (a, b):
        sent = fill(a)
        with pytest.raises(ipcx.Timeout):
            a.send(bytes(4096), timeout=0.01)
        received = 0
        with contextlib.suppress(ipcx.WouldBlock):
            while True:
                assert len(b.receive(timeout=0)) == 4096
                received += 1
        a.flush()
        while received < sent:
            assert len(b.receive()) == 4096
            received += 1
        a.send("again")
        assert b.receive() == "again"


def test_send_says_whether_it_has_begun(unix):
    a, b = unix
    big = bytes(range(256)) * 40_000
    with pytest.raises(ipcx.Timeout) as caught:
        a.send(big, timeout=0.01)
    assert caught.value.begun is True
    assert a.stats().owed > 0
    with pytest.raises(ipcx.Timeout) as caught:
        a.send("another", timeout=0.01)
    assert caught.value.begun is False
    reader = Background(b.receive)
    a.flush()
    assert reader.finish() == big
    assert a.stats().owed == 0


def test_close_says_what_was_lost(unix):
    a, b = unix
    with pytest.raises(ipcx.Timeout):
        a.send(bytes(10_000_000), timeout=0.01)
    with pytest.raises(ipcx.Timeout, match="close") as caught:
        a.close(timeout=0.01)
    assert caught.value.unsent == 1
    assert a.closed
    with pytest.raises(ipcx.PeerDied):
        b.receive()


def test_close_with_zero_drops_silently(unix):
    a, _ = unix
    with pytest.raises(ipcx.Timeout):
        a.send(bytes(10_000_000), timeout=0.01)
    a.close(timeout=0)
    assert a.closed


# ---- the other arguments


@pytest.mark.parametrize(
    "call",
    [
        lambda ch: ch.send(),
        lambda ch: ch.send("x", False, None, 1),
        lambda ch: ch.send("x", blocking=True),
        lambda ch: ch.send("x", msg="y"),
        lambda ch: ch.receive(None, 1),
        lambda ch: ch.receive(time=1),
        lambda ch: ch.receive_into(),
        lambda ch: ch.receive_into(b"constant"),
        lambda ch: ch.receive_into("text"),
        lambda ch: ch.receive_many("x"),
        lambda ch: ch.send_many(3),
        lambda ch: ch.send_many("a text"),
        lambda ch: ch.send_many(b"bytes"),
        lambda ch: ch._send_now("x"),
        lambda ch: ch._send_now("x", False, 3),
    ],
)
def test_calls_that_are_none(ends, call):
    with pytest.raises((TypeError, BufferError)):
        call(ends[0])


def test_arguments_by_name(ends):
    a, b = ends
    a.send(msg="one", timeout=5, sync=False)
    assert b.receive(timeout=5) == "one"
    assert a.send_many(messages=["two", "three"], timeout=5) == 2
    assert b.poll(timeout=5)
    assert b.receive_many(max=1, timeout=5) == ["two"]


@pytest.mark.parametrize("most", [0, -1, -(10**30)])
def test_receive_many_of_less_than_one(ends, most):
    with pytest.raises(ValueError, match="less than 1"):
        ends[0].receive_many(most)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("tpc://127.0.0.1:5000", "tcp"),
        ("", "empty"),
        ("127.0.0.1:5000", "scheme"),
        ("tcp://127.0.0.1", "port"),
        ("tcp://127.0.0.1:99999", "port"),
        ("tcp://a\0b:1", "NUL"),
        ("unix://" + "x" * 600, "longer"),
    ],
)
def test_urls_that_are_none(url, says):
    for call in (ipcx.connect, ipcx.listen):
        with pytest.raises(ipcx.InvalidURL, match=says) as caught:
            call(url)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("url", [None, b"tcp://127.0.0.1:1", 5000, Path("/x")])
def test_a_url_is_a_str(url):
    for call in (ipcx.connect, ipcx.listen, ipcx.pair):
        with pytest.raises(TypeError, match="a URL is a str"):
            call(url)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_message": 0}, ValueError),
        ({"max_message": 4095}, ValueError),
        ({"max_message": -1}, ValueError),
        ({"max_message": 2**40}, ValueError),
        ({"max_message": 2**100}, ValueError),
        ({"max_message": "1"}, TypeError),
        ({"capacity": -1}, ValueError),
        ({"capacity": 1.5}, TypeError),
        ({"max_mesage": 4096}, TypeError),
    ],
)
def test_options_that_are_none(options, error):
    with pytest.raises(error):
        ipcx.pair("inproc://", **options)


@pytest.mark.parametrize(
    "options", [{"handshake_timeout": -1}, {"handshake_timeout": math.nan}, {"backlog": 0}]
)
def test_a_listener_s_options_that_are_none(options):
    with pytest.raises(ValueError, match=r"backlog|timeout"):
        ipcx.listen("tcp://127.0.0.1:0", **options)


def test_options_of_a_listener_go_with_the_keyword_only():
    with pytest.raises(TypeError):
        ipcx.listen("tcp://127.0.0.1:0", 4096)
    with pytest.raises(TypeError):
        ipcx.pair("unix://", 4096)
    with ipcx.listen("tcp://127.0.0.1:0", handshake_timeout=None, backlog=1, checksum=True) as one:
        assert one.url.startswith("tcp://127.0.0.1:")


# ---- many


def test_send_many_takes_any_iterable(ends):
    a, b = ends
    assert a.send_many(["a", b"b"]) == 2
    assert a.send_many(iter(("c",))) == 1
    assert a.send_many(str(n) for n in range(700)) == 700
    assert a.send_many([]) == 0
    assert a.send_many({"d": 1}) == 1
    want = ["a", b"b", "c", *map(str, range(700)), "d"]
    got = []
    while len(got) < len(want):
        got += b.receive_many()
    assert got == want


def test_what_is_wrong_in_a_batch_comes_after_what_precedes_it(unix):
    a, b = unix
    with pytest.raises(TypeError) as caught:
        a.send_many(["one", "two", {}, "four"])
    assert caught.value.sent == 2

    def broken():
        yield "three"
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more") as caught:
        a.send_many(broken())
    assert caught.value.sent == 1
    assert b.receive_many() == ["one", "two", "three"]


def test_send_many_says_how_many_are_done_with(unix):
    a, b = unix
    messages = [f"{n:04096}" for n in range(2000)]
    with pytest.raises(ipcx.Timeout) as caught:
        a.send_many(messages, timeout=0.02)
    done = caught.value.sent
    assert 0 < done < 2000
    rest = Background(lambda: a.send_many(messages[done:]))
    got = []
    while len(got) < 2000:
        got += b.receive_many()
    assert got == messages
    assert rest.finish() == 2000 - done


def test_receive_many_takes_no_more_than_asked(ends):
    a, b = ends
    a.send_many("abcdef"[i] for i in range(6))
    assert b.poll(None)
    got = [b.receive_many(2)]
    assert len(got[0]) <= 2
    while sum(map(len, got)) < 6:
        got.append(b.receive_many(max=100))
    assert [m for part in got for m in part] == list("abcdef")


def test_an_end_behind_messages_comes_after_them(ends):
    a, b = ends
    a.send_many(["one", "two"])
    a.close()
    got = []
    while len(got) < 2:
        got += b.receive_many()
    assert got == ["one", "two"]
    with pytest.raises(ipcx.PeerClosed):
        b.receive_many()


# ---- into a buffer


def test_receive_into(ends):
    a, b = ends
    room = bytearray(b"-" * 8)
    a.send(b"bytes")
    assert b.receive_into(room) == 5
    assert room == b"bytes---"
    a.send("äö")
    assert b.receive_into(memoryview(room)[2:6]) == 4
    assert room == b"by" + "äö".encode() + b"--"
    a.send(b"")
    assert b.receive_into(room, timeout=5) == 0
    a.send(b"")
    assert b.receive_into(bytearray()) == 0


def test_a_rendezvous_that_does_not_fit_goes_on():
    for url in ("unix://", "inproc://"):
        with pair_of(url, copy=True) as (a, b):
            token = a._send_now("met", True, None)
            with pytest.raises(ipcx.MessageTooLarge):
                b.receive_into(bytearray(1))
            assert a._send_now("met", True, token) is token
            assert b.stats().received == 0
            assert b.receive() == "met"
            assert b.stats().received == 1
            a.poll(1)
            assert a._send_now("met", True, token) is None


def test_what_does_not_fit_stays(ends):
    a, b = ends
    a.send("too long")
    a.send("next")
    for _ in range(2):
        with pytest.raises(ipcx.MessageTooLarge, match="8 bytes and the buffer 4"):
            b.receive_into(bytearray(4))
    assert b.poll()
    assert b.receive() == "too long"
    with pytest.raises(ipcx.MessageTooLarge):
        b.receive_into(bytearray(1))
    room = bytearray(4)
    assert b.receive_into(room) == 4
    assert room == b"next"
    a.send_many(["one", "two"])
    with pytest.raises(ipcx.MessageTooLarge):
        b.receive_into(bytearray(1))
    got = b.receive_many()
    got += [] if len(got) == 2 else b.receive_many()
    assert got == ["one", "two"]
    a.send("last")
    with pytest.raises(ipcx.MessageTooLarge):
        b.receive_into(bytearray(1))
    assert b._receive_now() == "last"


def test_an_object_does_not_go_into_a_buffer(objects):
    a, b = objects
    a.send({})
    with pytest.raises(TypeError, match="the message is a dict"):
        b.receive_into(bytearray(10))
    assert b.receive() == {}


def test_an_end_does_not_go_into_a_buffer(unix):
    a, b = unix
    with pair_of() as (one, other):
        a.send(other)
        a.send("behind")
        for _ in range(2):
            with pytest.raises(TypeError, match="the message is a ipcx"):
                b.receive_into(bytearray(10))
        assert b.poll()
        with b.receive() as arrived:
            one.send("x")
            assert arrived.receive() == "x"
        assert b.receive() == "behind"


def test_large_messages_into_a_buffer(unix):
    a, b = unix
    big = os.urandom(1 << 20)
    sender = Background(a.send, big)
    room = bytearray(len(big))
    assert b.receive_into(room) == len(big)
    assert room == big
    sender.finish()


# ---- the end


def test_a_clean_end(ends):
    a, b = ends
    a.send("last")
    a.close()
    assert b.poll()
    assert b.receive() == "last"
    for _ in range(2):
        with pytest.raises(ipcx.PeerClosed, match="closed its end") as caught:
            b.receive()
        assert not isinstance(caught.value, ipcx.PeerDied)
        assert isinstance(caught.value, EOFError)
    assert b.poll()
    with pytest.raises(ipcx.PeerClosed) as caught:
        b.send("nobody")
    assert caught.value.begun is False
    assert caught.value.unreceived is None or caught.value.unreceived == 0


HELLO = Encoder().encode(struct.pack("!B3xII", 1, 64 << 20, 0), type=FrameType.HELLO)
BEFORE = Encoder().encode("before")


@pytest.mark.parametrize(
    ("stream", "error", "offset"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", ipcx.ProtocolError, 0),
        (HELLO + b"IX\x02\x01" + bytes(8), ipcx.VersionMismatch, len(HELLO) + 2),
        (HELLO + BEFORE + b"?", ipcx.ProtocolError, len(HELLO + BEFORE)),
        (HELLO + b"IX\x01\x01\0\0\0\0\xff\xff\xff\xff", ipcx.MessageTooLarge, None),
        (HELLO + Encoder().encode("x" * 9, crc=True)[:-1] + b"?", ipcx.CorruptData, None),
    ],
)
def test_a_broken_stream_says_where(stream, error, offset):
    with stdlib.create_server(("127.0.0.1", 0)) as server:
        ch = ipcx.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        with ch, server.accept()[0] as peer:
            peer.sendall(stream)
            for call in (list, ipcx.Channel.receive, ipcx.Channel.receive_many):
                with pytest.raises(error) as caught:
                    call(ch)
                if offset is None:
                    assert len(HELLO) <= caught.value.offset < len(stream)
                else:
                    assert caught.value.offset == offset


def test_iteration_ends_at_a_clean_close(ends):
    a, b = ends
    a.send_many(["one", "two"])
    a.close()
    assert list(b) == ["one", "two"]
    assert list(b) == []


def test_after_close(ends):
    a, b = ends
    a.close()
    a.close()
    assert a.closed
    assert not b.closed
    for call in (
        lambda: a.send("x"),
        lambda: a.send("x", timeout=0),
        lambda: a.receive(),
        lambda: a.receive(timeout=0),
        lambda: a.poll(),
        lambda: a.poll(1),
        lambda: a.send_many(["x"]),
        lambda: a.receive_many(),
        lambda: a.receive_into(bytearray(1)),
        lambda: a.flush(),
        lambda: a.fileno(),
        lambda: a._send_fileno(),
        lambda: a._receive_now(),
        lambda: a._send_now("x", False, None),
        lambda: next(a),
    ):
        with pytest.raises(ipcx.Closed) as caught:
            call()
        assert isinstance(caught.value, ValueError)
    assert a.stats().sent == 0
    assert a.url == b.url
    assert "closed" in repr(a)
    assert "closed" not in repr(b)


def test_with_closes():
    a, b = ipcx.pair()
    with a, b:
        a.send("x")
    assert a.closed
    assert b.closed


@pytest.mark.parametrize(
    "wait",
    [
        lambda ch: ch.receive(),
        lambda ch: ch.receive(timeout=60),
        lambda ch: ch.receive_many(),
        lambda ch: ch.receive_into(bytearray(1)),
        lambda ch: ch.poll(None),
        lambda ch: next(ch),
    ],
    ids=["receive", "timed", "many", "into", "poll", "next"],
)
def test_close_ends_the_calls_of_other_threads(ends, wait):
    a, _ = ends
    waiter = Background(wait, a)
    until(lambda: a.stats().receive_waits > 0 or not waiter.is_alive() or sleeping(waiter))
    a.close()
    with pytest.raises(ipcx.Closed):
        waiter.finish()


def sleeping(thread) -> bool:
    with open(f"/proc/self/task/{thread.native_id}/stat") as source:
        return source.read().rpartition(")")[2].split()[0] == "S"


def test_an_unclosed_end_warns_and_says_goodbye(ends):
    a, b = ipcx.pair()
    a.send("x")
    with pytest.warns(ResourceWarning, match="unclosed <ipcx.Channel unix://>"):
        del a
    assert list(b) == ["x"]
    b.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del b


def test_an_end_that_was_given_away_does_not_warn():
    a, b = ipcx.pair()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            b.send("from the child")
        os._exit(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del b
    assert a.receive() == "from the child"
    os.waitpid(pid, 0)
    a.close()


# ---- Ctrl-C


class Rang(Exception):
    pass


@contextlib.contextmanager
def ringing_when(ready):
    """Raises Rang in the main thread as soon as `ready()`."""

    def ring(*_):
        raise Rang

    main = threading.main_thread().ident
    before = signal.signal(signal.SIGUSR1, ring)
    thread = Background(lambda: (until(ready), signal.pthread_kill(main, signal.SIGUSR1)))
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def main_sleeps() -> bool:
    with open(f"/proc/self/task/{os.getpid()}/stat") as source:
        return source.read().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_signal_in_a_receive_loses_nothing(ends, timeout):
    a, b = ends
    for n in range(5):
        with pytest.raises(Rang), ringing_when(main_sleeps):
            b.receive(timeout)
        a.send(n := str(n))
        assert b.receive(5) == n


def test_a_signal_in_a_send_says_whether_it_has_begun(unix):
    a, b = unix
    big = os.urandom(5_000_000)
    with pytest.raises(Rang) as caught, ringing_when(main_sleeps):
        a.send(big)
    assert caught.value.begun is True
    with pytest.raises(Rang) as caught, ringing_when(main_sleeps):
        a.send("another")
    assert caught.value.begun is False
    reader = Background(b.receive)
    a.flush()
    assert reader.finish() == big


def test_a_handler_that_raises_nothing_does_not_end_the_call(unix):
    a, b = unix
    before = signal.signal(signal.SIGUSR1, lambda *_: a.send("from the handler"))
    main = threading.main_thread().ident
    try:
        thread = Background(lambda: (until(main_sleeps), signal.pthread_kill(main, signal.SIGUSR1)))
        assert b.receive() == "from the handler"
        thread.finish()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_handler_that_closes_the_channel_ends_the_call(unix):
    _, b = unix
    before = signal.signal(signal.SIGUSR1, lambda *_: b.close())
    main = threading.main_thread().ident
    try:
        thread = Background(lambda: (until(main_sleeps), signal.pthread_kill(main, signal.SIGUSR1)))
        with pytest.raises(ipcx.Closed):
            b.receive()
        thread.finish()
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---- descriptors, and the calls of ipcx.aio


def test_select_sees_a_message(ends):
    a, b = ends
    ready = select.poll()
    ready.register(b.fileno(), select.POLLIN)
    with contextlib.suppress(ipcx.WouldBlock):  # what has to be said before is read
        b.receive(timeout=0)
    a.send("x")
    assert ready.poll(5000)
    assert b.receive(5) == "x"
    a.close()
    assert ready.poll(5000)


def test_receive_now(ends):
    a, b = ends
    assert b._receive_now() is NotImplemented
    a.send("x")
    assert b.poll(5)
    assert b._receive_now() == "x"
    a.close()
    assert b.poll(5)
    with pytest.raises(ipcx.PeerClosed):
        b._receive_now()


def test_send_now(unix):
    a, b = unix
    assert a._send_now("small", False, None) is None
    big = os.urandom(5_000_000)
    token = a._send_now(big, False, None)
    assert token.begun is True
    reader = Background(lambda: [b.receive(), b.receive()])
    ready = select.poll()
    ready.register(a._send_fileno(), select.POLLOUT)
    while token is not None:
        assert ready.poll(5000)
        last, token = token, a._send_now(big, False, token)
        assert token in (None, last)
    assert reader.finish() == ["small", big]


def test_send_now_is_a_rendezvous_too(ends):
    a, b = ends
    token = a._send_now("met", True, None)
    assert token is not None
    assert a._send_now("met", True, token) is token
    assert b.receive() == "met"
    with contextlib.suppress(ipcx.WouldBlock):
        b.receive(timeout=0)
    a.poll(1)
    assert a._send_now("met", True, token) is None
    assert not b.poll()


# ---- what it tells of itself


def test_stats(ends):
    a, b = ends
    before = a.stats()
    assert isinstance(before, channel.ChannelStats)
    assert before == (0,) * 8
    a.send("x")
    b.receive()
    assert a.stats().sent == 1
    assert b.stats().received == 1
    assert b.stats()._asdict()["received"] == 1
    with pytest.raises(ipcx.Timeout):
        b.receive(timeout=0.01)
    assert b.stats().timeouts == 1
    assert b.stats().receive_waits >= 1


def test_url_and_repr():
    with ipcx.listen("tcp://127.0.0.1:0") as listener:
        assert listener.url.startswith("tcp://127.0.0.1:")
        assert not listener.url.endswith(":0")
        assert repr(listener) == f"<ipcx.Listener {listener.url}>"
        with ipcx.connect(listener.url) as ch:
            assert ch.url == listener.url
            assert repr(ch) == f"<ipcx.Channel {ch.url}>"
            with listener.accept() as server:
                assert server.url.startswith("tcp://")
                assert listener.stats() == (1, 0, 0, 0)
                assert isinstance(listener.stats(), channel.ListenerStats)
    assert repr(listener).endswith(" closed>")


def test_types_are_closed():
    for kind in (ipcx.Channel, ipcx.Listener, _core.Sending):
        with pytest.raises(TypeError, match="cannot create"):
            kind()
        with pytest.raises(TypeError):
            type("Mine", (kind,), {})
        with pytest.raises(TypeError):
            kind.new = 1
    with pair_of() as (a, _):
        with pytest.raises(AttributeError):
            a.new = 1
        with pytest.raises(AttributeError):
            a.url = "x"
        assert weakref.ref(a)() is a


def documented(kind):
    return [name for name in vars(kind) if not name.startswith("__")]


@pytest.mark.parametrize("kind", [ipcx.Channel, ipcx.Listener], ids=lambda kind: kind.__name__)
def test_help_teaches(kind):
    assert kind.__module__ == "ipcx.channel"
    for name in documented(kind):
        member = vars(kind)[name]
        assert len((inspect.getdoc(member) or "").split()) > 2, name
        if inspect.isroutine(member):
            assert "self" in inspect.signature(member).parameters, name
            assert max(map(len, member.__doc__.splitlines())) <= 84, name
    assert str(inspect.signature(ipcx.Channel.send)) == "(self, /, msg, sync=False, timeout=None)"
    assert str(inspect.signature(ipcx.Channel.close)) == "(self, /, timeout=5)"


def test_the_table_of_transports():
    assert set(channel.TRANSPORTS) == {
        "inproc", "unix", "shm", "tcp", "tls", "udp", "file", "fifo", "pipe",
    }  # fmt: skip
    for scheme, row in channel.TRANSPORTS.items():
        assert all(type(value) is bool for value in row[:4])
        assert row.note
        if scheme in ("file", "fifo", "tls"):
            continue  # tests/test_channel_file.py, tests/test_channel_fifo.py, tests/test_tls.py
        with pair_of(f"{scheme}://") as (a, b):
            if row.objects:
                a.send({})
                assert b.receive() == {}
            else:
                with pytest.raises(TypeError):
                    a.send({})
        one, other = ipcx.pair(f"{scheme}://")
        if row.hand_over:
            assert len(one._export()) == 2
        else:
            with pytest.raises(TypeError, match="cannot be handed"):
                one._export()
        one.close()
        other.close()


def test_the_doctests():
    import doctest

    assert doctest.testmod(channel).failed == 0


# ---- listeners


def test_one_thread_listens_connects_accepts():
    for url in ("tcp://127.0.0.1:0", "unix://", "inproc://api-one-thread"):
        with ipcx.listen(url) as listener, ipcx.connect(listener.url) as client:
            assert select.select([listener], [], [], 5)[0]
            with listener.accept(timeout=5) as server:
                client.send("hello")
                assert server.receive(5) == "hello"
                server.send("back")
                assert client.receive(5) == "back"


def test_a_listener_s_time_outs_and_end():
    with ipcx.listen("tcp://127.0.0.1:0") as listener:
        with pytest.raises(ipcx.WouldBlock, match="accept"):
            listener.accept(timeout=0)
        with pytest.raises(ipcx.Timeout, match="accept: the deadline"):
            listener.accept(timeout=0.01)
        with pytest.raises(ValueError, match="timeout"):
            listener.accept(-1)
        with pytest.raises(Rang), ringing_when(main_sleeps):
            listener.accept()
        waiter = Background(listener.accept)
        until(lambda: sleeping(waiter))
        listener.close()
        with pytest.raises(ipcx.Closed):
            waiter.finish()
        with pytest.raises(ipcx.Closed):
            listener.accept(timeout=0)
        assert list(listener) == []
        with pytest.raises(ipcx.Closed):
            listener.fileno()
        listener.close()
    assert listener.closed


def test_iterating_over_a_listener():
    listener = ipcx.listen("unix://")
    clients = [ipcx.connect(listener.url) for _ in range(3)]
    served = []
    for server in listener:
        served.append(server)
        if len(served) == 3:
            listener.close()
    for end in clients + served:
        end.close()
    assert len(served) == 3


def test_nobody_listens():
    with ipcx.listen("tcp://127.0.0.1:0") as listener:
        url = listener.url
    with pytest.raises(ipcx.ConnectRefused, match=url.replace(".", r"\.")) as caught:
        ipcx.connect(url)
    assert isinstance(caught.value, ConnectionRefusedError)
    with pytest.raises(ipcx.ConnectRefused):
        ipcx.connect("inproc://nobody-here")
    with pytest.raises(ipcx.ConnectRefused):
        ipcx.connect("unix:///nonexistent/name.sock")


def test_an_address_that_is_taken():
    with ipcx.listen("tcp://127.0.0.1:0") as listener, pytest.raises(ipcx.AddressInUse):
        ipcx.listen(listener.url)
    with ipcx.listen("inproc://taken"), pytest.raises(ipcx.AddressInUse):
        ipcx.listen("inproc://taken")


def test_an_address_open_to_the_network():
    with pytest.raises(ipcx.InsecureAddress, match="insecure=True") as caught:
        ipcx.listen("tcp://0.0.0.0:0")
    assert isinstance(caught.value, PermissionError)
    ipcx.listen("tcp://0.0.0.0:0", insecure=True).close()


def test_an_unclosed_listener_warns():
    listener = ipcx.listen("tcp://127.0.0.1:0")
    with pytest.warns(ResourceWarning, match="unclosed <ipcx.Listener tcp"):
        del listener


# ---- other processes


def test_a_used_end_belongs_to_its_process(unix):
    a, b = unix
    a.send("mine")
    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            try:
                a.send("not mine")
            except ipcx.ForkedError as exc:
                status = 0 if str(os.getppid()) in str(exc) else 2
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b.receive() == "mine"
    assert not b.poll()


def test_pickling_is_for_multiprocessing(ends):
    a, _ = ends
    for copy in (pickle.dumps, lambda ch: __import__("copy").copy(ch)):
        with pytest.raises(TypeError, match=r"multiprocessing\.Process"):
            copy(a)
    with (
        ipcx.listen("tcp://127.0.0.1:0") as listener,
        pytest.raises(TypeError, match="listens for itself"),
    ):
        pickle.dumps(listener)


def test_an_end_in_use_is_not_given_away(unix):
    from multiprocessing.reduction import ForkingPickler

    unix[0].send("x")
    with pytest.raises(TypeError, match="in use"):
        ForkingPickler.dumps(unix[0])
    with pair_of("inproc://") as (a, _), pytest.raises(TypeError, match="stays in the process"):
        ForkingPickler.dumps(a)


CHILDREN = """
import multiprocessing
import sys
import ipcx

def answer(end):
    with end:
        for message in end:
            end.send(message.upper())

def leave_unclosed(end):
    end.send(bytes(1000))
    end.send("last")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    for url in ("unix://", "tcp://", "pipe://"):
        mine, theirs = ipcx.pair(url)
        child = context.Process(target=answer, args=(theirs,))
        child.start()
        theirs.close()
        with mine:
            for n in range(3):
                mine.send(f"message {n}")
                assert mine.receive(20) == f"MESSAGE {n}"
        child.join()
        print(url, child.exitcode)
    mine, theirs = ipcx.pair()
    child = context.Process(target=leave_unclosed, args=(theirs,))
    child.start()
    theirs.close()
    with mine:
        print([len(m) for m in mine])
    child.join()
    print(child.exitcode)
"""


@pytest.mark.hang_guard(60)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_an_end_as_an_argument_of_a_process(method, tmp_path):
    """The child answers; the last one ends without close(), and says goodbye all the same."""
    program = tmp_path / "program.py"
    program.write_text(CHILDREN)
    done = subprocess.run(
        [sys.executable, "-W", "error", program, method], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout == "unix:// 0\ntcp:// 0\npipe:// 0\n[1000, 4]\n0\n"


def test_an_end_goes_over_a_unix_channel(unix):
    a, b = unix
    one, other = ipcx.pair("tcp://")
    a.send("before")
    a.send(other)
    a.send("behind")
    assert other.closed
    assert b.receive() == "before"
    arrived = b.receive()
    assert isinstance(arrived, ipcx.Channel)
    assert b.receive() == "behind"
    with one, arrived:
        arrived.send("hello")
        assert one.receive() == "hello"
        one.send("back")
        assert arrived.receive() == "back"


def test_an_end_that_cannot_be_sent(unix):
    a, b = unix
    one, other = ipcx.pair()
    with one, other:
        one.send("used")
        with pytest.raises(TypeError, match="in use"):
            a.send(one)
        with pair_of("tcp://") as (c, _), pytest.raises(ipcx.Unsupported):
            c.send(other)
        assert other.receive() == "used"
    with pytest.raises(ipcx.Closed):
        a.send(other)
    assert not b.poll()


# ---- the end of the interpreter


def run(program, **options):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, **options
    )


def test_what_is_owed_is_sent_at_exit():
    program = """
import os, ipcx
a, b = ipcx.pair()
begun, told = os.pipe()
pid = os.fork()
if pid == 0:
    try:
        a.send(bytes(3_000_000), timeout=0.01)
    except ipcx.Timeout as exc:
        print("begun", exc.begun, flush=True)
    os.write(told, b"x")
    raise SystemExit
a.close()
os.read(begun, 1)
print(len(b.receive()), list(b))
os.waitpid(pid, 0)
"""
    done = run(program)
    assert (done.stderr, done.stdout) == ("", "begun True\n3000000 []\n")


def test_a_peer_that_never_reads_does_not_hold_the_exit():
    program = """
import time, atexit, ipcx
begin = time.monotonic()
a, b = ipcx.pair()
try:
    a.send(bytes(3_000_000), timeout=0.01)
except ipcx.Timeout as exc:
    pass
"""
    done = run(program)
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("url", ALL)
def test_daemon_threads_that_wait_do_not_hold_the_exit(url):
    """Nor do they say anything; and a listener's path is gone."""
    program = f"""
import threading, ipcx
a, b = ipcx.pair("{url}")
listener = ipcx.listen("unix://")
def for_each(iterable):
    for each in iterable:
        pass
    print("the end")
def forever(call):
    while True:
        call()
waits = [(for_each, b), (for_each, b), (for_each, listener), (forever, b.receive)]
waits += [(forever, listener.accept), (forever, a.receive)]
for wait in waits:
    threading.Thread(target=wait[0], args=wait[1:], daemon=True).start()
for n in range(100):
    a.send("x")
print(listener.url)
"""
    done = run(program)
    assert (done.stderr, done.returncode) == ("", 0)
    assert not Path(done.stdout.strip().removeprefix("unix://")).exists()


def test_two_interpreters_do_not_see_each_other_s_names():
    interpreters = pytest.importorskip(
        "_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters",
        reason="no sub-interpreters here",
    )
    program = """
import ipcx
with ipcx.listen("inproc://two") as listener:
    with ipcx.connect("inproc://two") as a, listener.accept() as b:
        a.send(object)
        assert b.receive() is object
"""
    with ipcx.listen("inproc://two") as listener:
        other = interpreters.create()
        try:
            failed = interpreters.run_string(other, program)
        finally:
            interpreters.destroy(other)
        assert not failed
        with pytest.raises(ipcx.WouldBlock):
            listener.accept(timeout=0)


# ---- the trace


def test_the_trace_sees_each_call(ends):
    a, b = ends
    seen = []
    _core.set_trace(lambda *event: seen.append(event))
    try:
        a.send("text")
        b.receive()
        a.send_many(["one", "two"])
        got = b.receive_many(1)
        got += b.receive_many(1)
        with pytest.raises(ipcx.WouldBlock):
            a.receive(timeout=0)
        b.close()
        c, d = ipcx.pair(a.url.partition(":")[0] + "://")
    finally:
        _core.set_trace(None)
    c.close()
    d.close()
    assert got == ["one", "two"]
    told = [(op, who, detail) for op, who, detail, error in seen if error is None]
    size = 0 if a.url.startswith("inproc") else 4
    assert told == [
        ("send", a, size),
        ("receive", b, 4),
        ("send_many", a, 2),
        ("receive_many", b, 1),
        ("receive_many", b, 1),
        ("close", b, None),
        ("pair", c, a.url.partition(":")[0] + "://"),
        ("pair", d, a.url.partition(":")[0] + "://"),
    ]
    errors = [(op, who, type(error)) for op, who, _, error in seen if error is not None]
    assert errors == [("receive", a, ipcx.WouldBlock)]


def test_the_trace_sees_what_could_not_be_made():
    seen = []
    _core.set_trace(lambda *event: seen.append(event))
    try:
        with pytest.raises(ipcx.ConnectRefused):
            ipcx.connect("inproc://nobody")
        with ipcx.listen("inproc://somebody") as listener, ipcx.connect(listener.url) as a:
            b = listener.accept()
    finally:
        _core.set_trace(None)
    b.close()
    assert [(op, who) for op, who, *_ in seen] == [
        ("connect", None),
        ("listen", listener),
        ("connect", a),
        ("accept", listener),
        ("close", a),
        ("close", listener),
    ]
    assert isinstance(seen[0][3], ipcx.ConnectRefused)


def test_a_trace_that_raises_disturbs_nobody(unix, capsys):
    def broken(*_):
        raise KeyError("the trace's own")

    with contextlib.redirect_stderr(io.StringIO()):
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        _core.set_trace(broken)
        try:
            unix[0].send("x")
            assert unix[1].receive() == "x"
        finally:
            _core.set_trace(None)
            sys.unraisablehook = hook
