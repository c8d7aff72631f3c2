# SPDX-License-Identifier: Apache-2.0
"""Messages arrive whole, in order, once, whatever they are made of."""

import array
import contextlib
import ctypes
import mmap
import os
import select
import weakref

import numpy
import pytest

import ipcx
from contract.kit import LARGE, NIGHT, Kit
from socket_help import GUARD

pytestmark = pytest.mark.variants
LARGEST = 64 << 20


@pytest.mark.needs("long")
def test_order_and_boundaries(kit: Kit) -> None:
    one, two = kit.pair()
    messages = [b"", b"a", b"", b"", "", "a", b"bc", "ß" * 9, b"x" * 5000, "", b"\0", "\0", b"end"]
    for message in messages:
        one.send(message)
    assert [two.receive(timeout=GUARD) for _ in messages] == messages
    with pytest.raises(ipcx.WouldBlock):
        two.receive(timeout=0)


@pytest.mark.needs("duplex")
def test_both_directions(kit: Kit) -> None:
    one, two = kit.pair()
    for number in range(50):
        one.send(f"to {number}")
        two.send(f"fro {number}")
    assert [one.receive(timeout=GUARD) for _ in range(50)] == [f"fro {n}" for n in range(50)]
    assert [two.receive(timeout=GUARD) for _ in range(50)] == [f"to {n}" for n in range(50)]


SIZES = [0, 1, 2, 11, 12, 13, 127, 128, 255, 256, 4083, 4084, 4095, 4096, 4097, 16384, 16385]
SIZES += [65524, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 5_000_003]


@pytest.mark.needs("large")
def test_sizes(kit: Kit) -> None:
    one, two = kit.pair()
    source = os.urandom(max(SIZES))
    for sender, receiver in ((one, two), (two, one)):
        sending = kit.background(lambda s=sender: [s.send(source[:size]) for size in SIZES])
        for size in SIZES:
            got = receiver.receive(timeout=GUARD)
            assert len(got) == size
            assert got == source[:size]
        sending.finish()


@pytest.mark.needs("copies")
def test_over_the_limit(kit: Kit) -> None:
    """Refused before a byte is sent; the channel goes on."""
    one, two = kit.pair()
    too_long = mmap.mmap(-1, LARGEST + 1)
    with pytest.raises(ipcx.MessageTooLarge):
        one.send(too_long)
    too_long.close()
    one.send(b"fits")
    assert two.receive(timeout=GUARD) == b"fits"


@pytest.mark.needs("copies", "limits")
def test_a_limit_of_ones_own(kit: Kit) -> None:
    one, two = kit.pair(max_message=5000)
    one.send(bytes(5000))
    assert len(two.receive(timeout=GUARD)) == 5000
    two.send("known by now")
    assert one.receive(timeout=GUARD) == "known by now"
    with pytest.raises(ipcx.MessageTooLarge):
        one.send(bytes(5001))
    with pytest.raises(ipcx.MessageTooLarge):
        one.send("ß" * 2501)
    assert one.max_message == 5000
    kit.still_works(one, two)


@pytest.mark.needs("reliable")
@pytest.mark.drivers("sync")
@pytest.mark.hang_guard(60)
def test_a_hundred_thousand(kit: Kit) -> None:
    """Polling in one thread: as many as fit, then all that are there."""
    one, two = kit.pair()
    count, sent, received = (2_000_000 if NIGHT else 100_000), 0, 0
    while received < count:
        try:
            while sent < count:
                one.send(b"%d" % sent, timeout=0)
                sent += 1
        except ipcx.WouldBlock as error:
            sent += error.begun
        try:
            while received < sent:
                assert two.receive(timeout=0) == b"%d" % received
                received += 1
        except ipcx.WouldBlock:
            with contextlib.suppress(ipcx.WouldBlock):
                one.flush(timeout=0)
    assert (sent, received) == (count, count)


@pytest.mark.needs("reliable", "duplex")
def test_full_duplex_of_large_messages(kit: Kit) -> None:
    """Each end sends more than the transport holds, while it receives as much."""
    one, two = kit.narrow()
    count = 20
    messages = [bytes([n]) * (1 << 18) for n in range(count)]

    def send_all(end) -> None:
        for message in messages:
            end.send(message)

    sending = [kit.background(send_all, end) for end in (one, two)]
    receiving = kit.background(lambda: [one.receive() for _ in range(count)])
    assert [two.receive(timeout=GUARD) for _ in range(count)] == messages
    assert receiving.finish() == messages
    for thread in sending:
        thread.finish()


# ---- what messages are made of


@pytest.mark.parametrize(
    "text", ["", "plain", "grüß dich", "\0", "€" * 999, "\U0001f600", "a\r\nb"]
)
def test_text_arrives_as_text(kit: Kit, text: str) -> None:
    one, two = kit.pair()
    one.send(text)
    got = two.receive(timeout=GUARD)
    assert (type(got), got) == (str, text)


@pytest.mark.needs("copies")
def test_a_text_that_has_no_utf8(kit: Kit) -> None:
    one, two = kit.pair()
    with pytest.raises(UnicodeEncodeError):
        one.send("half a \ud83d")
    kit.still_works(one, two)


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int32), ("y", ctypes.c_int32)]


BUFFERS = {
    "bytes": b"12345678",
    "bytearray": bytearray(b"12345678"),
    "memoryview": memoryview(b"x12345678x")[1:9],
    "array": array.array("H", [1, 2, 3, 4]),
    "ctypes": Point(7, -7),
    "numpy": numpy.arange(12, dtype=">i2").reshape(3, 4),
    "numpy, read only": numpy.frombuffer(b"12345678", dtype="u1"),
    "memoryview of doubles": memoryview(array.array("d", [1.5, -1.5])),
    "empty": bytearray(),
    "numpy, empty": numpy.empty((0, 3)),
}


@pytest.mark.needs("copies")
@pytest.mark.parametrize("name", BUFFERS)
def test_any_buffer_arrives_as_bytes(kit: Kit, name: str) -> None:
    one, two = kit.pair()
    wanted = memoryview(BUFFERS[name]).tobytes()
    one.send(BUFFERS[name])
    got = two.receive(timeout=GUARD)
    assert (type(got), got) == (bytes, wanted)


@pytest.mark.needs("copies")
def test_a_buffer_is_the_senders_again(kit: Kit) -> None:
    """Nothing is pinned once send() has returned, and changing it changes nothing."""
    one, two = kit.pair()
    buffer = bytearray(b"before")
    one.send(buffer)
    buffer[:] = b"now something longer"
    assert two.receive(timeout=GUARD) == b"before"


@pytest.mark.needs("rest")
def test_a_buffer_is_the_senders_again_after_a_timeout(kit: Kit) -> None:
    """Whether the message had begun, and the channel keeps a copy of its rest, or not."""
    one, two = kit.narrow()
    begun, refused = bytearray(LARGE), bytearray(LARGE)
    count = kit.owe(one, two, begun)
    with pytest.raises(ipcx.Timeout) as caught:
        one.send(refused, timeout=0.001)
    assert caught.value.begun is False
    begun[:] = refused[:] = b""  # a BufferError, were one of them still in use
    assert all(got == LARGE for got in kit.drain(one, two, count))
    kit.still_works(one, two)


GAPS = {
    "steps": memoryview(b"123456")[::2],
    "a part": numpy.arange(12).reshape(3, 4)[:, 1:3],
    "Fortran's order": numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
}


@pytest.mark.needs("copies")
@pytest.mark.parametrize("name", GAPS)
def test_a_buffer_that_is_not_one_piece_in_order_is_refused(kit: Kit, name: str) -> None:
    one, two = kit.pair()
    with pytest.raises((BufferError, ValueError, TypeError)):
        one.send(GAPS[name])
    kit.still_works(one, two)


@pytest.mark.needs("copies")
@pytest.mark.parametrize("thing", [{"a": 1}, [1], 7, None, 1.5, object(), ("a", "b")], ids=type)
def test_what_needs_a_codec_says_so(kit: Kit, thing) -> None:
    one, two = kit.pair()
    with pytest.raises(TypeError, match="codec="):
        one.send(thing)
    with pytest.raises(TypeError, match="codec="):
        one.send(thing, sync=True, timeout=GUARD)
    kit.still_works(one, two)


@pytest.mark.needs("objects")
@pytest.mark.parametrize("thing", [{"a": 1}, [1], None, object(), lambda: 7, b"", "text"], ids=type)
def test_objects_pass_by_reference(kit: Kit, thing) -> None:
    one, two = kit.pair()
    one.send(thing)
    assert two.receive(timeout=GUARD) is thing


class KeptAlive:
    pass


@pytest.mark.needs("objects")
def test_an_object_that_nobody_receives_is_let_go(kit: Kit) -> None:
    one, two = kit.pair()
    things = [KeptAlive() for _ in range(3)]
    gone = [weakref.ref(thing) for thing in things]
    for thing in things:
        one.send(thing)
    del thing
    things.clear()
    assert all(one() is not None for one in gone)
    one.close(timeout=0)
    two.close(timeout=0)
    del one, two
    assert [ref() for ref in gone] == [None] * 3


# ---- many at once


def test_send_many_and_receive_many(kit: Kit) -> None:
    one, two = kit.pair()
    messages = [b"%d" % n for n in range(500)]
    assert one.send_many(messages) == 500
    got: list = []
    while len(got) < 500:
        batch = two.receive_many(100, timeout=GUARD)
        assert 1 <= len(batch) <= 100
        got += batch
    assert got == messages


def test_send_many_takes_any_iterable(kit: Kit) -> None:
    one, two = kit.pair()
    assert one.send_many(str(n) for n in range(5)) == 5
    assert one.send_many([]) == 0
    assert one.send_many(iter([b"last"])) == 1
    got = [two.receive(timeout=GUARD) for _ in range(6)]
    assert got == ["0", "1", "2", "3", "4", b"last"]


@pytest.mark.needs("reliable", "long")
def test_send_many_of_many_sizes(kit: Kit) -> None:
    one, two = kit.pair()
    messages = [bytes([n % 256]) * size for n, size in enumerate(SIZES[:-3] * 3)]
    sending = kit.background(one.send_many, messages)
    assert [two.receive(timeout=GUARD) for _ in messages] == messages
    assert sending.finish() == len(messages)


def test_send_many_from_an_iterable_that_fails(kit: Kit) -> None:
    """Its exception comes out, and the channel goes on."""
    one, two = kit.pair()

    def fails():
        yield b"good"
        raise LookupError("the iterable's own")

    with pytest.raises(LookupError, match="own"):
        one.send_many(fails())
    one.send(b"after")
    got = two.receive(timeout=GUARD)
    while got == b"good":
        got = two.receive(timeout=GUARD)
    assert got == b"after"


@pytest.mark.parametrize("most", [0, -1])
def test_receive_many_of_none(kit: Kit, most: int) -> None:
    one, two = kit.pair()
    one.send(b"x")
    with pytest.raises(ValueError, match="1"):
        two.receive_many(most, timeout=0)
    assert two.receive(timeout=GUARD) == b"x"


def test_receive_many_waits_for_the_first_only(kit: Kit) -> None:
    one, two = kit.pair()
    with pytest.raises(ipcx.WouldBlock):
        two.receive_many(timeout=0)
    waiting = kit.waiting(two.receive_many)
    one.send(b"first")
    assert waiting.finish() == [b"first"]


@pytest.mark.needs("copies")
def test_receive_into(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"12345")
    one.send("67")
    one.send(b"")
    buffer = bytearray(b"." * 8)
    assert two.receive_into(buffer, timeout=GUARD) == 5
    assert buffer == b"12345..."
    assert two.receive_into(memoryview(buffer)[5:], timeout=GUARD) == 2
    assert buffer == b"1234567."
    assert two.receive_into(buffer, timeout=GUARD) == 0
    with pytest.raises(ipcx.WouldBlock):
        two.receive_into(buffer, timeout=0)


@pytest.mark.needs("copies")
def test_receive_into_what_is_too_small_loses_nothing(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"12345")
    one.send(b"6")
    with pytest.raises(ipcx.MessageTooLarge):
        two.receive_into(bytearray(4), timeout=GUARD)
    with pytest.raises(ipcx.MessageTooLarge):
        two.receive_into(bytearray(0), timeout=GUARD)
    assert two.poll() is True
    if kit.driver.name == "sync":
        assert select.select([two], [], [], GUARD)[0]
    array_ = numpy.zeros(5, dtype="u1")
    assert two.receive_into(array_, timeout=GUARD) == 5
    assert array_.tobytes() == b"12345"
    assert two.receive(timeout=GUARD) == b"6"


@pytest.mark.needs("copies")
@pytest.mark.parametrize("target", [b"read only", "text", None])
def test_receive_into_what_cannot_be_written(kit: Kit, target) -> None:
    one, two = kit.pair()
    one.send(b"x")
    with pytest.raises((TypeError, BufferError)):
        two.receive_into(target, timeout=GUARD)
    assert two.receive(timeout=GUARD) == b"x"


@pytest.mark.needs("duplex")
def test_counters(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"12345")
    one.send(b"")
    two.receive(timeout=GUARD)
    with pytest.raises(ipcx.Timeout):
        one.receive(timeout=0.001)
    sent, received = one.stats(), two.stats()
    assert (sent.sent, sent.received, sent.owed) == (2, 0, 0)
    assert (received.sent, received.received) == (0, 1)
    if kit.driver.name == "sync":  # what a loop waits for, the channel does not see
        assert sent.timeouts == 1
        assert sent.receive_waits >= 1
    if kit.transport.can("copies"):
        assert (sent.sent_bytes, received.received_bytes) == (5, 5)
