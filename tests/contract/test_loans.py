# SPDX-License-Identifier: Apache-2.0
"""Loans: a program that writes and reads in place runs over every transport, with a copy or not."""

import array
import contextlib
import gc
import os

import numpy
import pytest

import ipcx
from contract.kit import LARGE, Kit
from socket_help import GUARD


def lent(channel, timeout: float = GUARD) -> bytes:
    with channel.receive_view(timeout=timeout) as view:
        assert view.readonly
        return bytes(view)


@pytest.mark.needs("long")
def test_written_and_read_in_place(kit: Kit) -> None:
    one, two = kit.pair()
    for sender, receiver in ((one, two), (two, one)):
        for size in (0, 1, 7, 8, 4096, 50_000):
            content = os.urandom(size)
            with sender.reserve(size) as buffer:
                assert len(buffer) == size
                assert not buffer.readonly
                buffer[:] = content
            sender.send(b"between")
            assert lent(receiver) == content
            assert receiver.receive(timeout=GUARD) == b"between"
            sender.send(content)
            assert lent(receiver) == content
            with sender.reserve(size) as buffer:
                buffer[:] = content
            assert receiver.receive(timeout=GUARD) == content


@pytest.mark.needs("large")
def test_large_ones(kit: Kit) -> None:
    one, two = kit.pair()
    for size in (1 << 20, 5_000_003):
        content = os.urandom(size)

        def write(content: bytes = content) -> None:
            with one.reserve(len(content)) as buffer:
                buffer[:] = content

        sending = kit.background(write)
        assert lent(two) == content
        sending.finish()


def test_what_the_table_says_of_lending(kit: Kit) -> None:
    one, two = kit.pair()
    lends = ipcx.channel.TRANSPORTS[kit.transport.url.removesuffix("://")].lends
    lends = lends and kit.transport.options.get("trust") != "none"
    loan = one.reserve(100)
    assert loan.in_place == lends
    assert loan.size == 100
    loan.cancel()
    one.send(b"x")
    view = two.receive_view(timeout=GUARD)
    assert view.in_place == (lends or kit.transport.can("objects"))
    assert (view.size, view.text) == (1, False)
    view.release()


def test_a_block_that_raises_sends_nothing(kit: Kit) -> None:
    one, two = kit.pair()
    seen = []

    def block() -> None:
        with one.reserve(10) as buffer:
            seen.append(buffer)
            buffer[:] = b"x" * 10
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    with pytest.raises(ValueError, match="released"):
        seen[0][0] = 0
    one.send(b"next")
    assert two.receive(timeout=GUARD) == b"next"


def test_fewer_bytes_than_were_reserved(kit: Kit) -> None:
    one, two = kit.pair()
    loan = one.reserve(100)
    with loan as buffer:
        buffer[:5] = b"short"
        loan.commit(5)
        with pytest.raises(ValueError, match="released"):
            buffer[0] = 0
    loan = one.reserve(8)
    loan.commit(0)
    assert two.receive(timeout=GUARD) == b"short"
    assert two.receive(timeout=GUARD) == b""
    with pytest.raises(ipcx.WouldBlock):
        two.receive(timeout=0)


def test_misuse_is_told(kit: Kit) -> None:
    one, two = kit.pair()
    loan = one.reserve(8)
    for beyond in (9, -1):
        with pytest.raises(ValueError, match=r"commit\(-?\d\) of 8 reserved bytes"):
            loan.commit(beyond)
    with pytest.raises(TypeError):
        loan.commit("8")
    with loan as buffer:
        buffer[:] = b"8 bytes."
    for again in (loan.commit, loan.__enter__):
        with pytest.raises(ValueError, match="over: committed or cancelled"):
            again()
    loan.cancel()
    for size, error in ((-1, ValueError), (1.5, TypeError), (1 << 70, OverflowError)):
        with pytest.raises(error):
            one.reserve(size)
    if kit.transport.can("copies"):
        with pytest.raises(ipcx.MessageTooLarge):
            one.reserve((64 << 20) + 1)
    view = two.receive_view(timeout=GUARD)
    view.release()
    view.release()
    with pytest.raises(ValueError, match="over"):
        view.__enter__()
    kit.still_works(one, two)


@pytest.mark.drivers("sync")
def test_one_that_is_forgotten_is_told_of(kit: Kit) -> None:
    one, two = kit.pair()

    def forgets() -> None:
        one.reserve(8)
        gc.collect()

    with pytest.warns(ResourceWarning, match="8 bytes, not committed"):
        forgets()
    kit.still_works(one, two)


@pytest.mark.needs("long")
def test_parts_that_are_held_beyond_the_block(kit: Kit) -> None:
    """Loud, and the memory stays until the last part is let go of."""
    one, two = kit.pair()
    kept = []

    def writes() -> None:
        with one.reserve(80) as buffer:
            kept.append(numpy.frombuffer(buffer, "f8"))

    with pytest.raises(BufferError, match="still in use"):
        writes()
    kept[0][:] = 3.5
    assert kept[0].sum() == 35
    kit.still_works(one, two)
    kept.clear()
    one.send(b"abcdefgh" * 1000)

    def reads() -> None:
        with two.receive_view(GUARD) as view:
            kept.append(view[8:16])

    with pytest.raises(BufferError, match="still in use"):
        reads()
    assert kept[0] == b"abcdefgh"
    kit.still_works(one, two)
    assert kept[0] == b"abcdefgh"
    kept.pop().release()
    kit.still_works(one, two)


def test_a_commit_that_had_to_be_refused_can_be_made_again(kit: Kit) -> None:
    one, two = kit.pair()
    loan = one.reserve(8)
    with loan as buffer:
        part = buffer[2:4]
        buffer[:] = b"8 bytes."
        with pytest.raises(BufferError):
            loan.commit()
        part.release()
        loan.commit()
    assert two.receive(timeout=GUARD) == b"8 bytes."


def test_order_is_that_of_the_commits(kit: Kit) -> None:
    one, two = kit.pair()
    with one.reserve(5) as outer:
        outer[:] = b"outer"
        one.send(b"inside")
        with one.reserve(5) as inner:
            inner[:] = b"inner"
        one.send_many([b"more"] * 2)
        outer[:] = b"OUTER"
    got = [two.receive(timeout=GUARD) for _ in range(5)]
    assert got == [b"inside", b"inner", b"more", b"more", b"OUTER"]


@pytest.mark.needs("duplex")
def test_receiving_while_something_is_viewed(kit: Kit) -> None:
    one, two = kit.pair()
    one.send_many([b"first", b"second", b"third", b"fourth"])
    with two.receive_view(GUARD) as first:
        with two.receive_view(GUARD) as second:
            assert two.receive(timeout=GUARD) == b"third"
            two.send(b"answer")
            assert one.receive(timeout=GUARD) == b"answer"
            assert (bytes(first), bytes(second)) == (b"first", b"second")
        assert two.receive_many(timeout=GUARD) == [b"fourth"]
        assert bytes(first) == b"first"
    kit.still_works(one, two)


@pytest.mark.needs("long")
def test_closing_is_deferred(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"x" * 5000)
    with two.receive_view(GUARD) as view:
        loan = two.reserve(5000)
        with contextlib.suppress(ipcx.Closed), loan as buffer:
            two.close()
            buffer[:] = b"y" * 5000
            assert view == b"x" * 5000
        with pytest.raises(ipcx.PeerClosed):
            one.receive(timeout=GUARD)
        assert view == b"x" * 5000
    with pytest.raises(ipcx.Closed):
        two.reserve(1)
    with pytest.raises(ipcx.Closed):
        two.receive_view()


@pytest.mark.needs("duplex")
@pytest.mark.drivers("sync")
def test_a_view_outlives_the_channel(kit: Kit) -> None:
    one, two = ipcx.pair(kit.transport.url, **kit.transport.options)
    one.send(b"x" * 5000)
    view = two.receive_view(GUARD)
    data = view.__enter__()
    del view
    two.close()
    one.close()
    del two, one
    gc.collect()
    assert data == b"x" * 5000


@pytest.mark.needs("copies")
def test_texts(kit: Kit) -> None:
    one, two = kit.pair()
    one.send("Ärger")
    one.send("")
    view = two.receive_view(GUARD)
    assert view.text
    with view as data:
        assert str(data, "utf-8") == "Ärger"
    view = two.receive_view(GUARD)
    assert view.text
    with view as data:
        assert data == b""


def test_what_comes_from_anything_with_bytes(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(array.array("d", [1.5, 2.5]))
    one.send(numpy.arange(6).reshape(2, 3))
    with two.receive_view(GUARD) as view:
        numbers = numpy.frombuffer(view, "f8").tolist()
    assert numbers == [1.5, 2.5]
    with two.receive_view(GUARD) as view:
        assert view.format == "B"
        assert numpy.frombuffer(view, int).reshape(2, 3).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.needs("objects")
def test_an_object_without_bytes_stays(kit: Kit) -> None:
    one, two = kit.pair()
    thing = object()
    one.send(thing)
    with pytest.raises(TypeError, match=r"receive\(\) gives it"):
        two.receive_view(GUARD)
    assert two.receive(timeout=GUARD) is thing


@pytest.mark.needs("ends")
def test_an_end_stays(kit: Kit) -> None:
    one, two = kit.pair()
    three, four = map(kit.keep, ipcx.pair("unix://"))
    one.send(four)
    one.send(b"behind")
    for _ in range(2):
        with pytest.raises(TypeError, match=r"receive\(\) gives it"):
            two.receive_view(GUARD)
    got = kit.keep(two.receive(timeout=GUARD))
    if not kit.transport.can("objects"):
        got.send("used")
        assert three.receive(timeout=GUARD) == "used"
    assert lent(two) == b"behind"


def test_polling_and_time_outs(kit: Kit) -> None:
    one, two = kit.pair()
    with pytest.raises(ipcx.WouldBlock):
        two.receive_view(timeout=0)
    with pytest.raises(ipcx.Timeout):
        two.receive_view(timeout=0.01)
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            two.receive_view(timeout=bad)
        with pytest.raises(ValueError, match="timeout"):
            one.reserve(1, timeout=bad)
    one.send(b"there")
    assert lent(two) == b"there"


@pytest.mark.needs("reliable", "long")
def test_no_room(kit: Kit) -> None:
    """Told by reserve() where the room is the peer's memory, by the end of the block elsewhere."""
    one, two = kit.narrow()
    sent = 0
    while True:
        try:
            with one.reserve(50_000, timeout=0) as buffer:
                buffer[:8] = sent.to_bytes(8, "little")
            sent += 1
        except ipcx.WouldBlock as error:
            sent += error.begun
            break
    with pytest.raises(ipcx.Timeout), one.reserve(50_000, timeout=0.01) as buffer:
        buffer[:8] = bytes(8)
    assert sent > 0
    flushing = kit.background(one.flush)  # what has begun
    for number in range(sent):
        assert lent(two)[:8] == number.to_bytes(8, "little")
    flushing.finish()


@pytest.mark.needs("reliable", "long")
def test_a_blocked_one_goes_on(kit: Kit) -> None:
    one, two = kit.narrow()
    count = 60

    def write() -> None:
        for number in range(count):
            with one.reserve(len(LARGE)) as buffer:
                buffer[:] = LARGE
                buffer[:8] = number.to_bytes(8, "little")

    sending = kit.background(write)
    for number in range(count):
        with two.receive_view(GUARD) as view:
            assert view[:8] == number.to_bytes(8, "little")
            assert view[8:] == LARGE[8:]
    sending.finish()


@pytest.mark.needs("process")
def test_trim_loses_nothing(kit: Kit) -> None:
    one, two = kit.pair()
    one.send(b"under way")
    assert one.trim() >= 0
    assert two.trim() >= 0
    assert two.receive(timeout=GUARD) == b"under way"
    kit.still_works(one, two)


@pytest.mark.needs("duplex")
def test_a_peer_that_has_gone(kit: Kit) -> None:
    one, two = kit.pair()
    loan = one.reserve(5)
    two.close()
    with contextlib.suppress(ipcx.PeerClosed):
        while True:
            loan.commit()
            loan = one.reserve(5)
    loan.cancel()
    with pytest.raises(ipcx.PeerClosed):
        one.receive_view(GUARD)
