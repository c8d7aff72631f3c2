# SPDX-License-Identifier: Apache-2.0
"""The bytes of docs/protocol.md, put together by hand: a peer that may say anything."""

import struct
from collections.abc import Iterator

DATA, ACK, PING, PONG, HELLO, BYE, HANDOVER = 1, 2, 9, 10, 11, 12, 13
TEXT, CORRELATION, SYNC, CRC = 0x0001, 0x0002, 0x0008, 0x8004
HEADER = struct.Struct("!2sBBHHI")


def crc32c(data: bytes) -> int:
    """RFC 3720, appendix B.4, bit by bit: slow, and nobody else's code."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(
    payload: bytes | str = b"",
    type: int = DATA,
    flags: int = 0,
    correlation: int | None = None,
    *,
    magic: bytes = b"IX",
    version: int = 1,
    extension: bytes = b"",
    length: int | None = None,
) -> bytes:
    """One frame; `length` is what its header says instead of the truth."""
    if isinstance(payload, str):
        payload, flags = payload.encode(), flags | TEXT
    if correlation is not None:
        flags |= CORRELATION
    size = len(payload) if length is None else length
    made = HEADER.pack(magic, version, type, flags, len(extension), size)
    if correlation is not None:
        made += struct.pack("!Q", correlation)
    made += extension + payload
    return made + struct.pack("!I", crc32c(made)) if flags & CRC == CRC else made


def hello(max_message: int = 64 << 20, max_version: int = 1, more: bytes = b"") -> bytes:
    return frame(struct.pack("!B3xII", max_version, max_message, 0) + more, HELLO)


def frames(stream: bytes) -> Iterator[tuple[int, int, int | None, bytes]]:
    """(type, flags, correlation, payload) of each whole frame of a good stream."""
    at = 0
    while len(stream) - at >= HEADER.size:
        _, _, kind, flags, extension, length = HEADER.unpack_from(stream, at)
        at += HEADER.size
        correlation = None
        if flags & CORRELATION:
            (correlation,) = struct.unpack_from("!Q", stream, at)
            at += 8
        at += extension
        payload = stream[at : at + length]
        at += length + (4 if flags & CRC == CRC else 0)
        if at > len(stream):
            return
        yield kind, flags, correlation, payload
