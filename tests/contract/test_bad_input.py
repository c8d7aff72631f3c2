# SPDX-License-Identifier: Apache-2.0
"""Bytes that no peer of ours would send: a precise error, that connection's end, nobody else's.

Every row of docs/protocol.md's table of what is not allowed, over each transport that is a stream.
"""

import array
import contextlib
import os
import re
import socket

import pytest

import ipcx
from contract import wire
from contract.kit import NIGHT, Kit
from contract.wire import BYE, CRC, DATA, HANDOVER, SYNC, TEXT, frame, hello
from socket_help import GUARD

HEAD = len(hello())  # offsets count from the stream's first byte, the HELLO's included
GOOD = frame(b"good") + frame("gut")
AT = HEAD + len(GOOD)  # where the bad frame begins


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


# name → (the bad bytes, what receive() raises, the byte it names, counted from the bad frame)
BAD = {
    "garbage": (b"GET / HTTP/1.1\r\n\r\n", ipcx.ProtocolError, 0),
    "one byte of garbage": (b"\n" + GOOD, ipcx.ProtocolError, 0),
    "half the magic": (b"IY" + bytes(10), ipcx.ProtocolError, 1),
    "version 2": (frame(b"x", version=2), ipcx.VersionMismatch, 2),
    "version 0": (frame(b"x", version=0), ipcx.VersionMismatch, 2),
    "type 0": (frame(b"x", type=0), ipcx.ProtocolError, 3),
    "an unknown type": (frame(b"x", type=200), ipcx.ProtocolError, 3),
    "an unknown flag": (frame(b"x", flags=0x0010), ipcx.ProtocolError, 4),
    "half of CRC": (frame(b"x", flags=0x0004) + bytes(4), ipcx.ProtocolError, 4),
    "the other half": (frame(b"x", flags=0x8000) + bytes(4), ipcx.ProtocolError, 4),
    "a length over the limit": (
        frame(b"", length=(64 << 20) + 1),
        ipcx.MessageTooLarge,
        8,
    ),
    "a length bomb": (frame(b"", length=0xFFFFFFFF), ipcx.MessageTooLarge, 8),
    "a wrong checksum": (frame(b"data", flags=CRC)[:-1] + b"?", ipcx.CorruptData, 16),
    "changed data": (flipped(frame(b"data", flags=CRC), 12 * 8), ipcx.CorruptData, 16),
    "no UTF-8": (frame(b"gr\xfc\xdf", flags=TEXT), ipcx.ProtocolError, 14),
    "half a character": (frame(b"ab\xe2\x82", flags=TEXT), ipcx.ProtocolError, 14),
    "an overlong character": (frame(b"\xc0\x80", flags=TEXT), ipcx.ProtocolError, 12),
    "a surrogate": (frame(b"x\xed\xa0\x80", flags=TEXT), ipcx.ProtocolError, 13),
    "SYNC without a number": (frame(b"x", flags=SYNC), ipcx.ProtocolError, None),
    "a second hello": (hello(), ipcx.ProtocolError, None),
}


def place(error: BaseException) -> int:
    """The byte that the error names, to programs and to people."""
    assert re.search(rf"byte {error.offset}\b", str(error))
    return error.offset


@pytest.mark.needs("bytes")
@pytest.mark.parametrize("what", BAD)
def test_a_bad_frame(kit: Kit, what: str) -> None:
    """The good ones before it arrive; the error names the byte and stays; the connection ends."""
    data, wanted, offset = BAD[what]
    channel, raw = kit.raw()
    raw.send(GOOD + data)
    got, error = kit.receive_all(channel)
    assert got == [b"good", "gut"]
    assert type(error) is wanted, repr(error)
    if offset is not None:
        assert place(error) == AT + offset
    for call in (channel.receive, channel.receive_many, lambda: channel.send(b"x")):
        with pytest.raises(wanted) as again:
            call()
        assert place(again.value) == place(error)
    if not kit.transport.can("hangs up"):
        channel.close()
    raw.until_end()


@pytest.mark.needs("bytes")
@pytest.mark.parametrize("pieces", [1, 5])
def test_bad_frames_in_pieces(kit: Kit, pieces: int) -> None:
    """The same bytes, one or five at a time, and the same error."""
    for what in ("version 2", "a length bomb", "a wrong checksum", "no UTF-8"):
        data, wanted, offset = BAD[what]
        channel, raw = kit.raw()
        stream = GOOD + data
        for at in range(0, len(stream), pieces):
            with contextlib.suppress(BrokenPipeError):
                raw.send(stream[at : at + pieces])
            with contextlib.suppress(ipcx.Error):
                channel.poll()
        got, error = kit.receive_all(channel)
        assert (got, type(error), place(error)) == ([b"good", "gut"], wanted, AT + offset)


@pytest.mark.needs("bytes")
def test_others_live_on(kit: Kit) -> None:
    """An error is one connection's, not the listener's nor its neighbours'."""
    neighbours = kit.pair()
    for what in ("garbage", "a length bomb", "a wrong checksum"):
        channel, raw = kit.raw()
        raw.send(BAD[what][0])
        with pytest.raises(BAD[what][1]):
            channel.receive(timeout=GUARD)
        kit.still_works(*neighbours)


@pytest.mark.needs("bytes")
@pytest.mark.parametrize(
    "what", ["garbage", "a length bomb", "a wrong checksum", "no UTF-8", "version 2"]
)
def test_a_bad_frame_ends_every_wait(kit: Kit, what: str) -> None:
    channel, raw = kit.raw()
    receiving = kit.waiting(channel.receive)
    rendezvous = kit.waiting(channel.send, b"x", sync=True)
    raw.send(BAD[what][0])
    for thread in (receiving, rendezvous):
        with pytest.raises(BAD[what][1]):
            thread.finish()


@pytest.mark.needs("bytes")
def test_garbage_instead_of_hello(kit: Kit) -> None:
    """Where there is no listener that would drop it."""
    if kit.transport.can("listen"):
        return  # test_listeners.py
    for greeting, wanted in (
        (b"GET / HTTP/1.1\r\n\r\n", ipcx.ProtocolError),
        (frame(b"no hello"), ipcx.ProtocolError),
        (hello(max_version=0), ipcx.VersionMismatch),
        (frame(b"short", wire.HELLO), ipcx.ProtocolError),
        (frame(type=BYE), ipcx.ProtocolError),
    ):
        channel, _raw = kit.raw(greeting)
        with pytest.raises(wanted):
            channel.receive(timeout=GUARD)


@pytest.mark.needs("bytes")
def test_a_hello_with_more_in_it(kit: Kit) -> None:
    """A later version's: what is behind the bytes we know is ignored."""
    channel, raw = kit.raw(hello(max_version=9, more=b"later versions say more"))
    raw.send(frame(b"x"))
    assert channel.receive(timeout=GUARD) == b"x"


@pytest.mark.needs("bytes")
def test_a_length_bomb_allocates_nothing(kit: Kit) -> None:
    def peak() -> int:
        with open("/proc/self/status") as source:
            return int(re.search(r"VmPeak:\s+(\d+)", source.read())[1]) << 10

    channel, raw = kit.raw()
    raw.send(frame(b"x"))
    channel.receive(timeout=GUARD)
    before = peak()
    raw.send(frame(b"", length=3 << 30))
    with pytest.raises(ipcx.MessageTooLarge):
        channel.receive(timeout=GUARD)
    assert peak() - before < 16 << 20


@pytest.mark.needs("bytes")
@pytest.mark.parametrize("power", range(11, 33))
@pytest.mark.drivers("sync")
def test_lengths_around_each_power_of_two(kit: Kit, power: int) -> None:
    """Within the limit they are waited for, over it refused when the header is there."""
    for length in {(1 << power) - 1, 1 << power, (1 << power) + 1}:
        if length > 0xFFFFFFFF:
            continue
        channel, raw = kit.raw(max_message=1 << 16)
        raw.send(frame(b"", length=length))
        wanted = ipcx.MessageTooLarge if length > 1 << 16 else ipcx.Timeout
        with pytest.raises(wanted) as caught:
            channel.receive(timeout=GUARD if length > 1 << 16 else 0.001)
        if length > 1 << 16:
            assert place(caught.value) == HEAD + 8
        channel.close(timeout=0)
        raw.close()


@pytest.mark.needs("bytes")
@pytest.mark.drivers("sync")
@pytest.mark.hang_guard(60)
def test_every_single_bit(kit: Kit) -> None:
    """With a checksum a bit that is turned over is an error, or a frame that never ends."""
    good = frame("grün" if not NIGHT else "grün" * 20, flags=CRC)
    for bit in range(len(good) * 8):
        channel, raw = kit.raw()
        raw.send(flipped(good, bit) + frame(b"a frame behind it"))
        raw.close()
        got, error = kit.receive_all(channel)
        assert got == [], bit
        assert isinstance(error, ipcx.ProtocolError | ipcx.MessageTooLarge | ipcx.PeerDied), (
            bit,
            error,
        )
        channel.close(timeout=0)


@pytest.mark.needs("bytes")
@pytest.mark.drivers("sync")
def test_every_single_bit_without_a_checksum(kit: Kit) -> None:
    """No crash, no hang; wrong data can only come from a bit of the payload."""
    good = frame(b"four")
    for bit in range(len(good) * 8):
        channel, raw = kit.raw()
        raw.send(flipped(good, bit))
        raw.close()
        got, error = kit.receive_all(channel)
        assert isinstance(error, ipcx.ProtocolError | ipcx.MessageTooLarge | ipcx.PeerClosed), (
            bit,
            error,
        )
        if bit // 8 < 12:
            assert got in ([], ["four"], [b"four"], [b"fou"], [b"fo"], [b"", b"four"], [b""]), bit
        channel.close(timeout=0)


@pytest.mark.needs("bytes")
def test_half_a_frame_then_silence(kit: Kit) -> None:
    """A time-out, not an error; and the rest may still come."""
    channel, raw = kit.raw()
    whole = frame(b"0123456789", flags=CRC)
    for at in (1, 7, 12, 15, len(whole) - 1):
        raw.send(whole[:at])
        with pytest.raises(ipcx.Timeout):
            channel.receive(timeout=0.002)
        with pytest.raises(ipcx.WouldBlock):
            channel.receive(timeout=0)
        raw.send(whole[at:])
        assert channel.receive(timeout=GUARD) == b"0123456789"


@pytest.mark.needs("bytes")
def test_data_behind_goodbye(kit: Kit) -> None:
    """A rule broken: whether it is told or not, the message is not delivered."""
    channel, raw = kit.raw()
    raw.send(frame(b"x") + frame(type=BYE) + frame(b"a ghost"))
    got, error = kit.receive_all(channel)
    assert got == [b"x"]
    assert isinstance(error, ipcx.PeerClosed | ipcx.ProtocolError)


@pytest.mark.needs("bytes")
def test_ping_is_answered(kit: Kit) -> None:
    channel, raw = kit.raw()
    raw.send(frame(b"are you there?", wire.PING) + frame(b"x"))
    assert channel.receive(timeout=GUARD) == b"x"
    with contextlib.suppress(ipcx.Timeout):
        channel.receive(timeout=0.001)  # a wait sends what is owed
    kind, _, _, payload = raw.frames_until(wire.PONG)[-1]
    assert (kind, payload) == (wire.PONG, b"are you there?")


@pytest.mark.needs("bytes")
def test_a_rendezvous_is_acknowledged_once_received(kit: Kit) -> None:
    channel, raw = kit.raw()
    raw.send(frame(b"x", flags=SYNC, correlation=0x0102030405060708))
    assert channel.poll(timeout=GUARD)
    assert channel.receive(timeout=GUARD) == b"x"
    with contextlib.suppress(ipcx.Timeout):
        channel.receive(timeout=0.001)
    told = raw.frames_until(wire.ACK)
    assert [one[2] for one in told if one[0] == wire.ACK] == [0x0102030405060708]


@pytest.mark.needs("bytes")
def test_an_ack_of_what_was_never_sent(kit: Kit) -> None:
    channel, raw = kit.raw()
    raw.send(frame(type=wire.ACK, correlation=77) + frame(b"x"))
    with pytest.raises(ipcx.ProtocolError):
        channel.receive(timeout=GUARD)


@pytest.mark.needs("bytes")
def test_a_flood_of_rendezvous_without_a_reader(kit: Kit) -> None:
    """The acknowledgements nobody reads are bounded: the receiver waits rather than grow."""
    channel, raw = kit.raw()
    flood = frame(b"", flags=SYNC, correlation=1) * 1000
    received = 0
    with contextlib.suppress(ipcx.Timeout):
        while received < 2000:
            if received % 1000 == 0:
                raw.send(flood)
            channel.receive(timeout=0.5)
            received += 1
    assert channel.stats().owed < 1 << 20
    assert received == 2000


@pytest.mark.needs("bytes")
def test_a_flood_while_a_rendezvous_waits(kit: Kit) -> None:
    """At most max_backlog is taken in for it; the peer is made to wait, not the memory to grow."""
    channel, raw = kit.raw()
    sending = kit.waiting(channel.send, b"x", sync=True)
    piece = frame(bytes(1 << 16))
    rest, sent, full = piece, 0, False
    os.set_blocking(raw.writing, False)
    while sent < 64 << 20:
        try:
            written = os.write(raw.writing, rest)
        except BlockingIOError:
            if full:
                break  # still, after it has gone to sleep
            full = kit.driver.waits(sending.native_id)
        else:
            sent, rest, full = sent + written, rest[written:] or piece, False
    os.set_blocking(raw.writing, True)
    assert sent < 64 << 20
    number = raw.frames_until(DATA)[-1][2]
    going_on = kit.background(raw.send, rest + frame(type=wire.ACK, correlation=number))
    for _ in range((sent + len(rest)) // len(piece)):
        assert len(channel.receive(timeout=GUARD)) == 1 << 16
    going_on.finish()
    sending.finish()


@pytest.mark.needs("bytes")
@pytest.mark.parametrize("checksum", [True, False])
def test_a_checksum_on_demand(kit: Kit, checksum: bool) -> None:
    """In every message that is sent; what comes without one is taken all the same."""
    channel, raw = kit.raw(checksum=checksum)
    channel.send(b"with")
    channel.send("and text")
    channel.send_many([b"1", "2"])
    channel.close()
    sent = [one for one in wire.frames(raw.until_end()) if one[0] == DATA]
    assert [one[3] for one in sent] == [b"with", b"and text", b"1", b"2"]
    assert all((one[1] & CRC == CRC) is checksum for one in sent)


# ---- limits that are learned late


@pytest.mark.needs("bytes")
def test_a_limit_that_a_message_already_sent_breaks(kit: Kit) -> None:
    """The peer's HELLO comes late and names less than was sent: the error names the limit."""
    if kit.transport.can("listen"):
        return  # there accept() has waited for it
    channel, raw = kit.raw(b"")
    channel.send(bytes(9000))
    raw.send(hello(max_message=5000))
    with pytest.raises(ipcx.ProtocolError, match="5000"):
        channel.receive(timeout=GUARD)


@pytest.mark.needs("bytes")
def test_the_peers_limit(kit: Kit) -> None:
    channel, raw = kit.raw(hello(max_message=5000))
    raw.send(frame(b"x"))
    assert channel.receive(timeout=GUARD) == b"x"
    with pytest.raises(ipcx.MessageTooLarge):
        channel.send(bytes(5001))
    channel.send(bytes(5000))
    assert raw.frames_until(DATA)[-1][3] == bytes(5000)


# ---- descriptors that nobody asked for


def send_fds(raw, data: bytes, fds: list[int]) -> None:
    with raw.socket() as sock:
        ancillary = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sock.sendmsg([data], [ancillary])


SURPLUS = {
    "with a message": frame(b"x"),
    "with half a header": frame(b"x")[:5],
    "with a handover that is none": frame(b"?" * 32, HANDOVER),
    "with an empty handover": frame(b"", HANDOVER),
    "with goodbye": frame(type=BYE),
}


@pytest.mark.schemes("unix://")
@pytest.mark.needs("bytes")
@pytest.mark.parametrize("count", [1, 2, 3, 200])
@pytest.mark.parametrize("what", SURPLUS)
def test_descriptors_that_do_not_belong(kit: Kit, what: str, count: int) -> None:
    """All are closed (the guard looks), and the connection with them unless it has ended well."""
    channel, raw = kit.raw()
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        send_fds(raw, SURPLUS[what], [null] * count)
    finally:
        os.close(null)
    raw.send(frame(b"y") * 9)
    got, error = kit.receive_all(channel)
    assert got in ([], [b"x"])
    if "goodbye" in what:
        assert isinstance(error, ipcx.ProtocolError | ipcx.PeerClosed), repr(error)
    else:
        assert isinstance(error, ipcx.ProtocolError)
        raw.until_end()


@pytest.mark.schemes("unix://")
@pytest.mark.needs("bytes")
def test_a_handover_without_descriptors(kit: Kit) -> None:
    channel, raw = kit.raw()
    raw.send(frame(bytes(32), HANDOVER))
    with pytest.raises(ipcx.ProtocolError):
        channel.receive(timeout=GUARD)


@pytest.mark.needs("bytes")
def test_a_handover_where_none_can_be(kit: Kit) -> None:
    if kit.transport.url == "unix://":
        return
    channel, raw = kit.raw()
    raw.send(frame(bytes(32), HANDOVER))
    with pytest.raises(ipcx.ProtocolError):
        channel.receive(timeout=GUARD)


@pytest.mark.schemes("unix://")
@pytest.mark.needs("bytes")
@pytest.mark.drivers("sync")
def test_a_flood_of_descriptors(kit: Kit) -> None:
    for _ in range(100 if NIGHT else 5):
        channel, raw = kit.raw()
        with contextlib.suppress(OSError):
            for _ in range(20):
                send_fds(raw, frame(b"x"), [raw.reading] * 250)
        with pytest.raises(ipcx.ProtocolError):
            channel.receive(timeout=GUARD)
        channel.close(timeout=0)
        raw.close()
