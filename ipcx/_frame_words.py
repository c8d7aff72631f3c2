"""A stream of frames in words: every field with its offset, its bytes and its meaning."""

from __future__ import annotations

from collections.abc import Iterator

from ipcx import framing as _framing
from ipcx._core import Error

SHOWN = 8  # bytes of a field in hex; of more than these, the rest is counted
TEXTS = 24  # characters of a payload

# (first byte, byte behind the last, name, meaning), counted from the frame's beginning
Field = tuple[int, int, str, str]


def words(data: bytes, framing: _framing.Framing, max_message: int) -> str:
    """What `ipcx.framing.explain` returns."""
    decoder = _framing.Decoder(framing, max_message)
    decoder.feed(data)
    lines = ["byte  hex                       field             meaning"]
    at, verdict = 0, ""
    while at < len(data) and not verdict:
        left = decoder.pending
        try:
            frame = decoder.next()
            size = left - decoder.pending if frame else left
            if frame is None:
                verdict = f"cut off: the message is not whole after {left} bytes"
        except Error as exc:
            size = left
            verdict = f"{type(exc).__name__}: {str(exc).removeprefix('decode: ')}"
        chunk = data[at : at + size]
        for first, behind, name, meaning in _fields(framing, chunk):
            part = chunk[first:behind]
            if part:
                whole = len(part) == behind - first
                meaning = meaning if whole else f"{behind - first - len(part)} bytes are missing"
                lines.append(f"{at + first:4}  {_hex(part):24}  {name:16}  {meaning}".rstrip())
        at += size
    return "\n".join([*lines, *([f"   !  {verdict}"] if verdict else [])])


def _hex(part: bytes) -> str:
    if len(part) <= SHOWN:
        return part.hex(" ")
    return f"{part[:4].hex(' ')} … {len(part)} bytes"


def _payload(part: bytes, text: bool = False) -> str:
    try:
        shown: str | bytes = part.decode() if text else part
    except UnicodeDecodeError:
        return "no UTF-8"
    return repr(shown[:TEXTS]) + (" …" if len(shown) > TEXTS else "")


def _fields(framing: _framing.Framing, chunk: bytes) -> Iterator[Field]:
    """The fields of the message at the beginning of `chunk`, as far as they can be known."""
    text = bool(getattr(framing, "text", False))
    if isinstance(framing, _framing.Ipcx):
        yield from _ours(chunk)
        return
    if isinstance(framing, _framing.Fixed):
        yield 0, framing.size, "message", _payload(chunk[: framing.size], text)
        return
    if isinstance(framing, _framing.Delimiter):
        end = chunk.find(framing.delimiter)
        size = len(chunk) if end < 0 else end
        yield 0, size, "message", _payload(chunk[:size], text)
        yield size, size + len(framing.delimiter), "delimiter", repr(framing.delimiter)
        return
    head, length = _length(framing, chunk)
    yield 0, head, "length", str(length)
    if isinstance(framing, _framing.Netstring):
        yield head, head + 1, "colon", "':'"
        head += 1
    yield head, head + length, "message", _payload(chunk[head : head + length], text)
    if isinstance(framing, _framing.Netstring):
        yield head + length, head + length + 1, "comma", repr(chunk[head + length :][:1])


def _length(framing: _framing.Framing, chunk: bytes) -> tuple[int, int]:
    """How many bytes the length takes, and what it says."""
    if isinstance(framing, _framing.Prefix):
        return framing.size, int.from_bytes(chunk[: framing.size], framing.byteorder)
    if isinstance(framing, _framing.Netstring):
        digits = chunk.partition(b":")[0]
        return len(digits), int(digits) if digits.isdigit() and len(digits) < 20 else 0
    size = next((i + 1 for i, byte in enumerate(chunk) if byte < 0x80), len(chunk))
    return size, sum((byte & 0x7F) << 7 * i for i, byte in enumerate(chunk[:size]))


MEANINGS = {
    "DATA": "a message",
    "ACK": "the message of this correlation was received",
    "REQUEST": "wants a REPLY or an ERROR",
    "REPLY": "the answer",
    "ERROR": "the answer: it failed",
    "PUBLISH": "a message under a topic",
    "SUBSCRIBE": "a topic wanted from now on",
    "UNSUBSCRIBE": "a topic no longer wanted",
    "PING": "wants a PONG",
    "PONG": "the answer to PING",
    "HELLO": "the first frame: versions, limits, capabilities",
    "BYE": "the last frame: a clean end",
    "HANDOVER": "an end of a channel, to keep",
    "PROOF": "the sender has the key; one byte: it does not talk to you",
}
FLAGS = {0x0001: "TEXT", 0x0002: "CORRELATION", 0x8004: "CRC", 0x0008: "SYNC"}


def _ours(chunk: bytes) -> Iterator[Field]:
    def number(first: int, behind: int) -> int:
        return int.from_bytes(chunk[first:behind], "big")

    yield 0, 2, "magic", '"IX": a frame of ipcx' if chunk[:2] == b"IX" else 'not "IX"'
    if not b"IX".startswith(chunk[:2]):
        return
    yield 2, 3, "version", str(number(2, 3))
    name = {kind.value: kind.name for kind in _framing.FrameType}.get(number(3, 4), "")
    yield 3, 4, "type", f"{name}: {MEANINGS[name]}" if name else f"{number(3, 4)}: no such type"
    flags = number(4, 6)
    names = [word for bits, word in FLAGS.items() if flags & bits == bits]
    if flags & ~sum(bits for bits, word in FLAGS.items() if word in names):
        names.append("and bits that mean nothing")
    yield 4, 6, "flags", " ".join(names) or "none"
    extension, payload, at = number(6, 8), number(8, 12), 12
    yield 6, 8, "extension length", str(extension)
    yield 8, 12, "payload length", str(payload)
    if flags & 0x0002:
        yield at, at + 8, "correlation", str(number(at, at + 8))
        at += 8
    yield at, at + extension, "extension", _payload(chunk[at : at + extension])
    at += extension
    yield at, at + payload, "payload", _payload(chunk[at : at + payload], bool(flags & 0x0001))
    at += payload
    if flags & 0x8004 == 0x8004:
        yield at, at + 4, "CRC-32C", f"0x{number(at, at + 4):08x}"
