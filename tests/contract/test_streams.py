# SPDX-License-Identifier: Apache-2.0
"""Any split and merge of the byte stream yields the same messages."""

import contextlib
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ipcx
from contract import wire
from contract.kit import NIGHT, Kit
from meta.tree import ROOT
from socket_help import GUARD

pytestmark = [pytest.mark.needs("bytes"), pytest.mark.drivers("sync")]

MESSAGES = st.lists(st.binary(max_size=300) | st.text(max_size=100), max_size=12)
DECORATIONS = st.lists(st.sampled_from([0, wire.CRC]), min_size=12, max_size=12)
CUTS = st.lists(st.integers(0, 4000), max_size=30)
LOOKS = st.lists(st.sampled_from(["nothing", "poll", "receive", "receive_many"]), max_size=30)


@given(MESSAGES, DECORATIONS, CUTS, LOOKS)
@settings(
    max_examples=2000 if NIGHT else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.hang_guard(120)
def test_any_split_and_merge(kit: Kit, messages, decorations, cuts, looks) -> None:
    """Cut anywhere, and looked at in between in any way."""
    stream = b"".join(
        wire.frame(message, flags=flags)
        for message, flags in zip(messages, decorations, strict=False)
    )
    stream = wire.hello() + stream + wire.frame(type=wire.BYE)
    points = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    if kit.transport.can("listen"):  # accept() waits for the greeting
        points = [0, *(point for point in points if point >= len(wire.hello()))]
    first, *others = [stream[a:b] for a, b in itertools.pairwise(points)]
    channel, raw = kit.raw(first)
    got: list = []
    for number, piece in enumerate(others):
        raw.send(piece)
        with contextlib.suppress(ipcx.WouldBlock, ipcx.PeerClosed):
            match looks[number] if number < len(looks) else "nothing":
                case "poll":
                    channel.poll()
                case "receive":
                    got.append(channel.receive(timeout=0))
                case "receive_many":
                    got += channel.receive_many(3, timeout=0)
    raw.close()
    with contextlib.suppress(ipcx.PeerClosed):
        while True:
            got.append(channel.receive(timeout=GUARD))
    assert got == messages
    assert [type(one) for one in got] == [type(one) for one in messages]
    channel.close(timeout=0)


@pytest.mark.hang_guard(60)
def test_a_cut_at_every_byte(kit: Kit) -> None:
    """And every frame byte by byte."""
    frames = [
        wire.frame(b""),
        wire.frame("zwölf", flags=wire.CRC),
        wire.frame(b"x" * 40, correlation=9, flags=wire.SYNC),
    ]
    stream, messages = b"".join(frames), [b"", "zwölf", b"x" * 40]
    channel, raw = kit.raw()
    for at in range(len(stream) + 1):
        raw.send(stream[:at])
        got: list = []
        with contextlib.suppress(ipcx.WouldBlock):
            while True:
                got.append(channel.receive(timeout=0))
        raw.send(stream[at:])
        got += [channel.receive(timeout=GUARD) for _ in messages[len(got) :]]
        assert got == messages, at
    for at in range(len(stream)):
        raw.send(stream[at : at + 1])
        channel.poll()
    assert [channel.receive(timeout=GUARD) for _ in messages] == messages


# ---- anything at all

FRAMES = [
    wire.frame(b"data", flags=wire.CRC),
    wire.frame("text"),
    wire.frame(type=wire.BYE),
    wire.frame(b"?", wire.PING),
    wire.frame(type=wire.ACK, correlation=1),
    wire.frame(b"!", flags=wire.SYNC, correlation=2),
    wire.frame(b"", type=200),
    wire.hello(),
]


def mutated(frames: list[bytes], at: int, put: bytes, cut: int) -> bytes:
    stream = b"".join(frames)
    return stream[:at] + put + stream[at + cut :]


MUTATED = st.builds(
    mutated,
    st.lists(st.sampled_from(FRAMES), min_size=1, max_size=4),
    st.integers(0, 80),
    st.binary(max_size=4),
    st.integers(0, 4),
)


@given(st.binary(max_size=200) | MUTATED)
@settings(
    max_examples=5000 if NIGHT else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.hang_guard(120)
def test_anything_at_all(kit: Kit, stream: bytes) -> None:
    """Whatever comes: an end of the documented kind, and not one byte that was not a message."""
    channel, raw = kit.raw()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        raw.send(stream)
    raw.close()
    got, error = kit.receive_all(channel)
    assert isinstance(error, ipcx.ProtocolError | ipcx.MessageTooLarge | ipcx.PeerClosed), error
    assert all(isinstance(one, bytes | str) for one in got)
    channel.close(timeout=0)


def vectors() -> list[list[str]]:
    lines = (ROOT / "docs/vectors/frames.txt").read_text().splitlines()
    words = [line.split() for line in lines if line.startswith("good ")]
    return [one[3:] for one in words if one[2] == "ipcx" and one[3] in ("DATA", "HELLO", "BYE")]


@pytest.mark.schemes("unix://")
def test_the_frames_made_by_hand_are_right(kit: Kit) -> None:
    """contract.wire says what the protocol's own test vectors say."""
    types = {"DATA": wire.DATA, "HELLO": wire.HELLO, "BYE": wire.BYE}
    for kind, flags, correlation, extension, payload, stream in vectors():
        made = wire.frame(
            bytes.fromhex(payload.strip("-")),
            types[kind],
            int(flags, 16),
            None if correlation == "-" else int(correlation),
            extension=bytes.fromhex(extension.strip("-")),
        )
        assert made.hex() == stream
