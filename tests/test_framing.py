"""ipcx.framing: the same messages whatever the pieces, over sockets, and all that can be broken."""

import doctest
import errno
import gc
import io
import itertools
import os
import select
import shutil
import signal
import socket as stdlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ipcx
from ipcx import framing
from ipcx import socket as ours
from ipcx.framing import (
    Decoder,
    Delimiter,
    Encoder,
    Fixed,
    Frame,
    Framed,
    FrameType,
    Ipcx,
    Lines,
    Netstring,
    Prefix,
    Varint,
    explain,
)

ROOT = Path(__file__).resolve().parent.parent
VECTORS = ROOT / "docs/vectors/frames.txt"

# ---- any split and merge of the stream gives the same messages

BYTES = st.binary(max_size=300)
TEXTS = st.text(max_size=100)


def without(delimiter):
    return lambda message: delimiter not in (message + delimiter)[:-1]


CASES = st.one_of(
    st.tuples(st.just(Ipcx()), st.lists(BYTES | TEXTS, max_size=12)),
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(st.just(Fixed(n)), st.lists(st.binary(min_size=n, max_size=n)))
    ),
    *(
        st.tuples(st.just(Prefix(size, order)), st.lists(st.binary(max_size=250), max_size=12))
        for size in (1, 2, 4, 8)
        for order in ("big", "little")
    ),
    st.tuples(st.just(Prefix(2, text=True)), st.lists(TEXTS, max_size=12)),
    st.tuples(st.just(Varint()), st.lists(BYTES, max_size=12)),
    st.tuples(st.just(Netstring()), st.lists(BYTES, max_size=12)),
    st.binary(min_size=1, max_size=4).flatmap(
        lambda end: st.tuples(
            st.just(Delimiter(end)), st.lists(BYTES.filter(without(end)), max_size=12)
        )
    ),
    st.tuples(st.just(Lines()), st.lists(TEXTS.filter(lambda t: "\n" not in t), max_size=12)),
)


def pieces(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def receive(decoder, piece):
    """Gives a piece by get_buffer() and commit()."""
    while piece:
        with decoder.get_buffer() as room:
            n = min(len(room), len(piece))
            room[:n] = piece[:n]
        decoder.commit(n)
        piece = piece[n:]


@settings(deadline=None, database=None, max_examples=300)
@given(CASES, st.lists(st.integers(0, 10000), max_size=20), st.booleans())
def test_any_split_gives_the_same_messages(case, cuts, copied):
    kind, messages = case
    encoder, decoder = Encoder(kind, 1000), Decoder(kind, 1000)
    stream = b"".join(map(encoder.encode, messages))
    assert stream == b"".join(b"".join(encoder.encode_parts(message)) for message in messages)
    seen = []
    for piece in pieces(stream, cuts):
        decoder.feed(piece) if copied else receive(decoder, piece)
        seen += [frame.payload for frame in decoder]
    assert seen == messages
    assert decoder.pending == 0


@settings(deadline=None, database=None, max_examples=100)
@given(st.binary(max_size=400), st.lists(st.integers(0, 10000), max_size=10), st.integers(0, 5))
def test_any_split_of_anything_says_the_same(stream, cuts, which):
    kind = (Ipcx(), Fixed(3), Prefix(1), Varint(), Netstring(), Lines())[which]
    if which == 0:
        stream = b"IX\x01\x01" + stream

    def told(parts):
        decoder, seen = Decoder(kind, 100), []
        try:
            for part in parts:
                decoder.feed(part)
                for frame in decoder:
                    seen.append(frame)
        except ipcx.Error as exc:
            return seen, type(exc), exc.offset
        return seen, decoder.pending

    assert told(pieces(stream, cuts)) == told([stream])


@settings(deadline=None, database=None, max_examples=100)
@given(
    st.sampled_from(FrameType), BYTES | TEXTS, st.none() | st.integers(0, 2**64 - 1),
    st.booleans(), st.booleans(), st.binary(max_size=70),
)  # fmt: skip
def test_all_that_belongs_to_a_frame(kind, payload, correlation, crc, sync, extension):
    encoded = Encoder().encode(
        payload, type=kind, correlation=correlation, crc=crc, sync=sync, extension=extension
    )
    decoder = Decoder()
    decoder.feed(encoded)
    frame = decoder.next()
    assert frame == (kind, frame.flags, correlation, extension, payload)
    assert type(frame) is Frame
    assert type(frame.type) is FrameType
    assert (frame.text, frame.crc, frame.sync) == (isinstance(payload, str), crc, sync)
    assert explain(encoded).count("\n") >= 6


# ---- the document's vectors

STATUSES = {
    "PROTOCOL": ipcx.ProtocolError, "VERSION": ipcx.VersionMismatch,
    "CORRUPT": ipcx.CorruptData, "TOO_LARGE": ipcx.MessageTooLarge,
}  # fmt: skip


def framing_of(text):
    name, *rest = text.split(":")
    if name == "fixed":
        return Fixed(int(rest[0]))
    if name == "prefix":
        return Prefix(int(rest[0]), rest[1])
    if name == "delimiter":
        return Delimiter(bytes.fromhex(rest[0]))
    return {"ipcx": Ipcx, "varint": Varint, "netstring": Netstring}[name]()


def from_hex(column):
    return b"" if column == "-" else bytes.fromhex(column)


def vectors(kind):
    lines = [line.split() for line in VECTORS.read_text().splitlines() if not line.startswith("#")]
    return [pytest.param(*line[2:], id=line[1]) for line in lines if line[0] == kind]


@pytest.mark.parametrize(
    ("kind", "name", "flags", "correlation", "extension", "payload", "stream"), vectors("good")
)
def test_vector(kind, name, flags, correlation, extension, payload, stream):
    flags, payload, extension = int(flags, 16), from_hex(payload), from_hex(extension)
    number = None if correlation == "-" else int(correlation)
    encoded = Encoder(framing_of(kind), 1000).encode(
        payload, type=FrameType[name], text=bool(flags & 1), correlation=number,
        crc=flags & 0x8004 == 0x8004, sync=bool(flags & 8), extension=extension,
    )  # fmt: skip
    assert encoded.hex() == stream
    decoder = Decoder(framing_of(kind), 1000)
    decoder.feed(encoded)
    shown = payload.decode() if flags & 1 else payload
    assert decoder.next() == (FrameType[name], flags, number, extension, shown)
    assert (decoder.next(), decoder.pending) == (None, 0)
    assert "!" not in explain(encoded, framing_of(kind), 1000).splitlines()[-1][:5]


@pytest.mark.parametrize(("kind", "status", "offset", "stream"), vectors("bad"))
def test_bad_vector(kind, status, offset, stream):
    decoder = Decoder(framing_of(kind), 1000)
    decoder.feed(from_hex(stream))
    told = explain(from_hex(stream), framing_of(kind), 1000).splitlines()[-1]
    if status == "MORE":
        assert list(decoder) is not None
        assert decoder.pending > 0
        assert "!  cut off" in told
        return
    for _ in range(2):  # it stays so
        with pytest.raises(STATUSES[status], match=rf"at byte {offset}$") as caught:
            list(decoder)
        assert type(caught.value) is STATUSES[status]
        assert caught.value.offset == int(offset)
    with pytest.raises(STATUSES[status]):
        decoder.feed(b"x")
    with pytest.raises(STATUSES[status]):
        decoder.get_buffer()
    assert f"!  {STATUSES[status].__name__}" in told
    assert told.endswith(f"at byte {offset}")
    decoder.reset()
    assert decoder.next() is None


@pytest.mark.skipif(not shutil.which("javac"), reason="no javac")
@pytest.mark.hang_guard(60)
def test_a_program_in_java_written_from_the_document_agrees(tmp_path):
    source = ROOT / "tests/vectors/FrameVectors.java"
    subprocess.run(["javac", "-d", tmp_path, source], check=True)
    ran = subprocess.run(
        ["java", "-cp", tmp_path, "FrameVectors", VECTORS, VECTORS.with_name("proofs.txt")],
        capture_output=True,
        text=True,
    )
    count = len(vectors("good")) + len(vectors("bad"))
    assert (ran.stdout, ran.returncode) == (f"{count} vectors, 0 failed\n", 0)


def test_every_bit_of_a_frame_with_a_checksum():
    frame = Encoder().encode("a text", crc=True, correlation=5, extension=b"x")
    for bit in range(8 * len(frame)):
        broken = bytearray(frame)
        broken[bit // 8] ^= 1 << bit % 8
        decoder = Decoder(max_message=1000)
        decoder.feed(bytes(broken) + frame * 2000)
        with pytest.raises((ipcx.ProtocolError, ipcx.MessageTooLarge)):
            assert list(decoder) == []


# ---- the encoder


@pytest.mark.parametrize(
    "payload", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"xabc")[1:], b"abc"]
)
def test_anything_with_bytes_can_be_sent(payload):
    assert Encoder(Netstring()).encode(payload) == b"3:abc,"
    assert b"".join(Encoder(Netstring()).encode_parts(payload)) == b"3:abc,"


def test_parts_do_not_copy_the_payload():
    payload = bytearray(b"abc")
    parts = Encoder().encode_parts(payload, crc=True)
    assert [len(part) for part in parts] == [12, 3, 4]
    assert parts[1].obj is payload


@pytest.mark.parametrize(
    ("kind", "payload", "options", "error"),
    [
        (Ipcx(), {"a": 1}, {}, TypeError),
        (Ipcx(), None, {}, TypeError),
        (Ipcx(), 5, {}, TypeError),
        (Ipcx(), memoryview(b"abcdef")[::2], {}, BufferError),
        (Ipcx(), "\ud800", {}, UnicodeEncodeError),
        (Ipcx(), b"\xff", {"text": True}, ValueError),
        (Ipcx(), b"", {"type": 15}, ValueError),
        (Ipcx(), b"", {"type": -1}, OverflowError),
        (Ipcx(), b"", {"correlation": 2**64}, OverflowError),
        (Ipcx(), b"", {"correlation": -1}, OverflowError),
        (Ipcx(), b"", {"extension": bytes(65536)}, ValueError),
        (Ipcx(), b"", {"extension": "text"}, TypeError),
        (Ipcx(), bytes(1001), {}, ipcx.MessageTooLarge),
        (Prefix(4), "text", {}, TypeError),
        (Prefix(4, text=True), b"bytes", {}, TypeError),
        (Prefix(4), b"", {"crc": True}, ValueError),
        (Prefix(4), b"", {"type": FrameType.PING}, ValueError),
        (Prefix(1), bytes(256), {}, ipcx.MessageTooLarge),
        (Fixed(3), b"four", {}, ValueError),
        (Lines(), "two\nlines", {}, ValueError),
        (Delimiter(b"aa"), b"xa", {}, ValueError),
    ],
)
def test_what_cannot_be_sent(kind, payload, options, error):
    with pytest.raises(error):
        Encoder(kind, 1000).encode(payload, **options)
    with pytest.raises(error):
        Encoder(kind, 1000).encode_parts(payload, **options)


@pytest.mark.parametrize("of", [Encoder, Decoder])
@pytest.mark.parametrize(
    ("kind", "max_message"),
    [
        (Prefix(3), 1000), (Prefix(0), 1000), (Fixed(0), 1000), (Fixed(1001), 1000),
        (Delimiter(b""), 1000), (Delimiter(bytes(33)), 1000), (Ipcx(), 2**31 + 1), (Ipcx(), -1),
    ],
)  # fmt: skip
def test_framings_that_are_none(of, kind, max_message):
    with pytest.raises(ValueError, match="framing"):
        of(kind, max_message)


def test_framings_compare_and_show_themselves():
    assert Prefix(4) == Prefix() != Prefix(2)
    assert repr(Prefix(2, "little")) == "Prefix(size=2, byteorder='little', text=False)"
    assert Lines().delimiter == b"\n"
    with pytest.raises(ValueError, match="byteorder"):
        Prefix(2, "middle")


def test_without_init_nothing_crashes():
    decoder, encoder = Decoder.__new__(Decoder), Encoder.__new__(Encoder)
    with pytest.raises(ipcx.MessageTooLarge):
        decoder.feed(b"x")
    assert decoder.next() is None
    with pytest.raises(ipcx.MessageTooLarge):
        encoder.encode(b"x")


# ---- the decoder's memory, lent


def test_a_view_is_the_payload_without_a_copy_and_ends_with_the_next_call():
    decoder = Decoder(Netstring())
    decoder.feed(b"5:hello,5:world,")
    first = decoder.next(view=True).payload
    assert (bytes(first), first.readonly) == (b"hello", True)
    second = decoder.next(view=True).payload
    with pytest.raises(ValueError, match="released"):
        bytes(first)
    assert bytes(second) == b"world"
    assert Decoder(Ipcx()).next(view=True) is None


def test_a_slice_of_a_view_holds_the_decoder_until_it_is_released():
    decoder = Decoder(Netstring())
    decoder.feed(b"5:hello,0:,")
    view = decoder.next(view=True).payload
    part = view[1:3]
    for call in (
        decoder.next, decoder.reset, decoder.get_buffer, lambda: decoder.feed(b"x"),
        lambda: decoder.commit(0), lambda: decoder.__init__(Lines()),
    ):  # fmt: skip
        with pytest.raises(BufferError):
            call()
    assert bytes(part) == b"el"
    assert decoder.pending == 3
    part.release()
    assert decoder.next().payload == b""


def test_what_was_made_of_a_view_holds_the_decoder():
    decoder = Decoder(Netstring())
    decoder.feed(b"5:hello,")
    reader = io.BytesIO()
    view = decoder.next(view=True).payload
    exported = memoryview(view)
    with pytest.raises(BufferError):
        decoder.next()
    reader.write(exported)
    del exported, view
    gc.collect()
    assert decoder.next() is None
    assert reader.getvalue() == b"hello"


def test_a_view_keeps_the_decoder_alive():
    decoder = Decoder(Netstring())
    decoder.feed(b"5:hello,")
    view = decoder.next(view=True).payload
    del decoder
    gc.collect()
    assert bytes(view) == b"hello"
    del view
    gc.collect()


def test_get_buffer_and_commit():
    decoder = Decoder(Lines())
    room = decoder.get_buffer()
    room[:4] = b"one\n"
    decoder.commit(4)
    assert decoder.next().payload == "one"
    with pytest.raises(ValueError, match="released"):
        room[0] = 1
    with pytest.raises(ValueError, match="room for 0"):
        decoder.commit(1)
    assert len(decoder.get_buffer()) >= 4096
    for wrong in (-1, 1 << 20):
        with pytest.raises(ValueError, match="room"):
            decoder.commit(wrong)
    decoder.get_buffer()
    decoder.feed(bytes(4000))  # takes the room back
    with pytest.raises(ValueError, match="room for 0"):
        decoder.commit(4096)
    with pytest.raises(BufferError):
        memoryview(decoder)


def test_a_promise_takes_no_memory():
    import tracemalloc

    frame = b"IX\x01\x01\0\0\0\0" + (64 << 20).to_bytes(4, "big")
    decoder = Decoder()
    decoder.feed(frame)
    assert decoder.next() is None
    tracemalloc.start()
    with decoder.get_buffer() as room:
        assert len(room) < 65536
    tracemalloc.stop()
    over = Decoder(max_message=1000)
    over.feed(frame)
    with pytest.raises(ipcx.MessageTooLarge) as caught:
        over.next()
    assert caught.value.offset == 8


# ---- over sockets


@pytest.fixture(params=["ipcx", "stdlib"])
def pair(request):
    a, b = (ours if request.param == "ipcx" else stdlib).socketpair()
    with a, b:
        yield a, b


def test_text_and_bytes_arrive_as_what_they_are(pair):
    left, right = map(Framed, pair)
    for message in ("", b"", "text", b"bytes", "grüß", bytes(100000)):
        left.send(message)
        assert right.receive() == message
    left.send_many(["a", b"b", bytearray(b"c")])
    assert right.receive_many() == ["a", b"b", b"c"]
    left.send_many([])
    left.send_many(str(n) for n in range(1000))
    seen = []
    while len(seen) < 1000:
        some = right.receive_many(max=300)
        assert 1 <= len(some) <= 300
        seen += some
    assert seen == [str(n) for n in range(1000)]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Fixed(5), b"hello"), (Prefix(2, "little"), b"hello"), (Varint(), b"hello"),
        (Netstring(), b"hello"), (Delimiter(b"\r\n"), b"hello"), (Lines(), "hello"),
    ],
)  # fmt: skip
def test_foreign_framings(pair, kind, message):
    left, right = (Framed(sock, kind) for sock in pair)
    left.send_many([message] * 3)
    assert [right.receive() for _ in range(3)] == [message] * 3
    assert left.framing == kind
    assert repr(kind) in repr(left)


def test_nothing_but_the_frames_is_sent(pair):
    Framed(pair[0], Lines()).send("hello")
    assert pair[1].recv(100) == b"hello\n"


def test_iteration_ends_where_the_peer_closes_between_messages(pair):
    with Framed(pair[0]) as left, Framed(pair[1]) as right:
        left.send("one")
        left.send("two")
        left.close()
        assert list(right) == ["one", "two"]
        with pytest.raises(ipcx.PeerClosed, match="between two messages"):
            right.receive()
        with pytest.raises(ipcx.PeerClosed):
            right.receive(timeout=5)
        with pytest.raises(ipcx.PeerClosed):
            right.receive_many(timeout=5)
        with pytest.raises(ipcx.PeerClosed):
            right.receive_frame()


def test_a_cut_message_is_no_clean_end(pair):
    right = Framed(pair[1])
    pair[0].sendall(Encoder().encode("cut off")[:-3])
    pair[0].close()
    with pytest.raises(ipcx.PeerClosed, match="after 16 bytes of it"):
        list(right)


def test_frames_of_other_types(pair):
    right = Framed(pair[1])
    encoder = Encoder()
    hello = encoder.encode(b"", type=FrameType.HELLO)
    pair[0].sendall(encoder.encode("a") + hello + encoder.encode("b", correlation=9))
    assert right.receive_many() == ["a"]
    with pytest.raises(ipcx.ProtocolError, match="of type 11") as caught:
        right.receive()
    assert caught.value.offset == 13
    assert right.receive_frame().correlation == 9
    pair[0].sendall(hello)
    assert right.receive_frame(timeout=5).type is FrameType.HELLO


def test_what_is_wrong_behind_messages_comes_after_them(pair):
    right = Framed(pair[1])
    pair[0].sendall(Encoder().encode("good") + b"garbage")
    assert right.receive_many() == ["good"]
    for _ in range(2):
        with pytest.raises(ipcx.ProtocolError) as caught:
            right.receive_many()
        assert caught.value.offset == 16


def test_polling_and_time_outs(pair):
    left, right = map(Framed, pair)
    for call in (right.receive, right.receive_many, right.receive_frame):
        with pytest.raises(ipcx.WouldBlock) as caught:
            call(timeout=0)
        assert caught.value.errno == errno.EAGAIN
        with pytest.raises(ipcx.Timeout) as timed_out:
            call(timeout=0.01)
        assert not isinstance(timed_out.value, ipcx.WouldBlock)
    left.send("one")
    left.send("two")
    assert right.receive(timeout=0) == "one"
    assert right.receive_many(timeout=0) == ["two"]
    left.send("three", timeout=0)
    left.send_many(["four", "five"], timeout=1)
    assert [right.receive(timeout=1) for _ in range(3)] == ["three", "four", "five"]


def test_a_timed_out_receive_loses_nothing(pair):
    right = Framed(pair[1])
    frame = Encoder().encode("in three pieces")
    for piece in (frame[:5], frame[5:20]):
        pair[0].sendall(piece)
        with pytest.raises(ipcx.Timeout):
            right.receive(timeout=0.01)
    pair[0].sendall(frame[20:])
    assert right.receive(timeout=5) == "in three pieces"


def test_the_sockets_own_time_out(pair):
    right = Framed(pair[1])
    pair[1].settimeout(0.01)
    with pytest.raises(TimeoutError):
        right.receive()
    with pytest.raises(ipcx.WouldBlock):
        right.receive(timeout=0)
    pair[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        right.receive()
    Framed(pair[0]).send("hello")
    assert right.receive() == "hello"
    pair[0].settimeout(5)
    Framed(pair[0]).send("again", timeout=1)
    assert right.receive(timeout=1) == "again"


def fill_up(sender):
    """Sends until there is no room, by polling."""
    for count in itertools.count():
        try:
            sender.send(bytes(10000), timeout=0)
        except ipcx.WouldBlock as exc:
            return count, exc.begun


def test_a_timed_out_send_is_never_half_a_message(pair):
    left, right = map(Framed, pair)
    count, begun = fill_up(left)
    with pytest.raises(ipcx.Timeout) as caught:
        left.send("later", timeout=0.01)
    assert caught.value.begun is False or begun
    received = [right.receive() for _ in range(count)]
    left.send("after it")
    if begun:
        received.append(right.receive())
    assert received == [bytes(10000)] * (count + begun)
    assert right.receive() == "after it"


def test_the_rest_of_a_large_message_goes_first(pair):
    left, right = map(Framed, pair)
    large = os.urandom(3_000_000)
    with pytest.raises(ipcx.Timeout) as caught:
        left.send(large, timeout=0.01)
    assert caught.value.begun is True
    with pytest.raises(ipcx.Timeout) as caught:
        left.send("second", timeout=0.01)
    assert caught.value.begun is False
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(right))
    reader.start()
    left.send("third")
    left.close()
    reader.join()
    assert seen == [large, "third"]


def test_close_sends_the_rest(pair):
    left, right = map(Framed, pair)
    large = bytes(3_000_000)
    with pytest.raises(ipcx.Timeout):
        left.send(large, timeout=0)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(right))
    reader.start()
    left.close()
    reader.join()
    assert seen == [large]
    left.close()


def test_close_gives_up_at_its_deadline(pair):
    left, right = map(Framed, pair)
    with pytest.raises(ipcx.Timeout):
        left.send(bytes(3_000_000), timeout=0)
    left.close(timeout=0)
    with pytest.raises(ipcx.PeerClosed, match="in the middle"):
        right.receive()


class Rang(Exception):
    pass


def test_a_signal_in_the_middle_of_a_send_loses_no_byte(pair):
    left, right = map(Framed, pair)

    def ring(*_):
        raise Rang

    before = signal.signal(signal.SIGALRM, ring)
    large = os.urandom(2_000_000)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Rang) as caught:
            left.send(large)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught.value.begun is True
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(right))
    reader.start()
    left.send("next")
    left.close()
    reader.join()
    assert seen == [large, "next"]


def test_full_duplex_of_large_messages(pair):
    left, right = map(Framed, pair)
    large = os.urandom(1_000_000)

    def echo():
        for message in right:
            right.send(message)

    thread = threading.Thread(target=echo)
    thread.start()
    for _ in range(3):
        left.send(large)
        assert left.receive() == large
    left.close()
    thread.join()


class Slow:
    """A socket whose methods are the test's."""

    def __init__(self, send=None, recv_into=None):
        self.send, self.recv_into = send, recv_into


def test_two_threads_in_one_direction_are_told():
    def send(data):
        with pytest.raises(RuntimeError, match="another thread"):
            framed.send("from inside")
        with pytest.raises(RuntimeError, match="another thread"):
            framed.send_many(["from inside"])
        return len(data)

    framed = Framed(Slow(send=send))
    framed.send("outside")

    def recv_into(room):
        with pytest.raises(BufferError):
            framed.receive()
        return 0

    framed = Framed(Slow(recv_into=lambda room: recv_into(memoryview(room)[1:])))
    with pytest.raises((ipcx.PeerClosed, BufferError)):
        framed.receive()


@pytest.mark.parametrize("answer", [0, -1, 1000, None, "x"])
def test_a_send_that_lies(answer):
    with pytest.raises((ValueError, TypeError)):
        Framed(Slow(send=lambda data: answer)).send("x")


@pytest.mark.parametrize("answer", [-1, 1 << 20, None])
def test_a_recv_into_that_lies(answer):
    with pytest.raises((ValueError, TypeError)):
        Framed(Slow(recv_into=lambda room: answer)).receive()


def test_a_recv_into_that_keeps_the_room():
    kept = []

    def recv_into(room):
        kept.append(room[:1])
        return 1

    framed = Framed(Slow(recv_into=recv_into))
    with pytest.raises(BufferError):
        framed.receive()
    kept.clear()


def test_one_byte_at_a_time():
    stream = b"".join(Encoder().encode(str(n)) for n in range(20))
    source = iter(stream)

    def recv_into(room):
        for byte in source:
            room[0] = byte
            return 1
        return 0

    assert list(Framed(Slow(recv_into=recv_into))) == [str(n) for n in range(20)]


def test_one_byte_at_a_time_out():
    seen = bytearray()

    def send(data):
        seen.extend(data[:1])
        return 1

    Framed(Slow(send=send), Netstring()).send_many([b"hello", b"", b"world"])
    assert seen == b"5:hello,0:,5:world,"


def test_a_batch_with_something_wrong_in_it(pair):
    left = Framed(pair[0])
    with pytest.raises(TypeError) as caught:
        left.send_many(["good", 5])
    assert caught.value.begun is False
    with pytest.raises(TypeError):
        left.send_many(5)
    left.send("x")
    assert Framed(pair[1]).receive() == "x"


def test_receive_many_wants_a_number(pair):
    for wrong, error in ((0, ValueError), (-1, ValueError), ("x", TypeError)):
        with pytest.raises(error):
            Framed(pair[1]).receive_many(wrong)


def test_select_sees_it(pair):
    left, right = map(Framed, pair)
    left.send("x")
    assert select.select([right], [], [], 5)[0] == [right]
    assert right.max_message == framing.MAX_MESSAGE


# ---- the rest


def test_explain_shows_what_is_missing():
    told = explain(Encoder().encode("hello", crc=True)[:-6]).splitlines()
    assert told[-2].split()[-4:] == ["2", "bytes", "are", "missing"]
    assert told[-1] == "   !  cut off: the message is not whole after 15 bytes"
    assert explain(b"").count("\n") == 0
    assert "no UTF-8" in explain(b"\xff\n", Lines())


def test_the_doctests():
    assert doctest.testmod(framing).failed == 0
    assert doctest.testmod(framing).attempted > 5


NO_MEMORY = """
import socket
import _testcapi
from ipcx.framing import Decoder, Encoder, Framed, Netstring

def codec():
    encoder, decoder = Encoder(), Decoder()
    decoder.feed(encoder.encode("text", crc=True, correlation=3, extension=b"e"))
    decoder.feed(b"".join(encoder.encode_parts(b"x" * 5000)))
    frame = decoder.next()
    view = decoder.next(view=True)
    decoder.get_buffer()
    decoder.commit(0)

def framed():
    a, b = socket.socketpair()
    with a, b:
        left, right = Framed(a), Framed(b)
        left.send("one")
        left.send_many([b"two"] * 9)
        right.receive()
        right.receive_many()

def walk(function):
    function()
    failed = fine = 0
    for k in range(1, 5000):
        try:
            _testcapi.set_nomemory(k, k + 1)
            try:
                function()
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError:
            failed, fine = failed + 1, 0
        else:
            fine += 1
        if fine == 50:
            break
    return failed

print(walk(codec) > 5, walk(framed) > 5)
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="CPython 3.13 crashes without memory")
@pytest.mark.hang_guard(60)
def test_every_allocation_fails_once():
    pytest.importorskip("_testcapi", reason="no _testcapi in this Python")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", NO_MEMORY],
        capture_output=True,
        text=True,
    )
    assert (ran.stdout, ran.stderr) == ("True True\n", "")


def test_reference_counts_are_flat():
    def use():
        encoder, decoder = Encoder(), Decoder()
        decoder.feed(encoder.encode("x", correlation=1, extension=b"y"))
        decoder.next()
        decoder.feed(encoder.encode(b"x"))
        decoder.next(view=True)
        with pytest.raises(ValueError, match="framing"):
            Encoder(Prefix(5))
        decoder.feed(b"?")
        with pytest.raises(ipcx.ProtocolError):
            decoder.next()

    use()
    gc.collect()
    before = sys.getrefcount(None), len(gc.get_objects())
    for _ in range(200):
        use()
    gc.collect()
    after = sys.getrefcount(None), len(gc.get_objects())
    assert abs(after[0] - before[0]) < 50
    assert abs(after[1] - before[1]) < 50


def test_large_messages_go_without_a_copy(pair):
    left, right = map(Framed, pair)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(right))
    reader.start()
    large = os.urandom(500_000)
    left.send(bytearray(large))
    left.send(memoryview(large).cast("I"))
    left.send(large, timeout=5)
    left.send(large.hex())
    left.close()
    reader.join()
    assert seen == [large, large, large, large.hex()]


@pytest.mark.parametrize("took", [1, 11, 12, 13, 20_000, 40_011])
def test_what_sendmsg_leaves_goes_on_by_send(took):
    out = bytearray()

    class Both(Slow):
        def sendmsg(self, parts, *_):
            out.extend(b"".join(parts)[:took])
            return took

    def send(data):
        out.extend(data)
        return len(data)

    Framed(Both(send=send)).send(b"m" * 40_000)
    assert out == Encoder().encode(b"m" * 40_000)


@pytest.mark.parametrize("answer", [0, -1, 1 << 20, None])
def test_a_sendmsg_that_lies(answer):
    class Both(Slow):
        def sendmsg(self, parts, *_):
            return answer

    framed = Framed(Both(send=len))
    with pytest.raises((ValueError, TypeError)) as caught:
        framed.send(bytes(40_000))
    assert caught.value.begun is False
    framed.send(b"small")
