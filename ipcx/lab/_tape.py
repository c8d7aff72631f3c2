# SPDX-License-Identifier: Apache-2.0
"""Reads a tape: what `_core.Tape` has appended (csrc/py/py_tape.h says how), by its own process.

A tape may grow while it is read, and may end wherever its process was killed: a record is there
once it has its size.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from ipcx._core import RECORD_VERBS

__all__: list[str] = []

SUFFIX = ".tape"
_MAGIC = b"ipcxtap1"
_HEAD = struct.Struct("=8sqq")
_HEAD_SIZE = 4096
_CHUNK = struct.Struct("=Q")
_SIZE = struct.Struct("=I")
_RECORD = struct.Struct("=IBBHqqqqHHI")
_TEXT = ("utf-8", "surrogatepass")  # a str may hold what UTF-8 has no place for


class Plain(NamedTuple):
    """A call that the core has written."""

    begun: int
    ended: int
    op: str
    number: int
    moved: int | None
    data: bytes
    address: str
    error: str


def missed(tape: bytes) -> int:
    """How many calls there was no room for."""
    return int(_HEAD.unpack_from(tape)[2]) if is_tape(tape) else 0


def held(tape: bytes) -> int:
    """How many records it has: by their sizes alone, so of a long one soon."""
    count, at = 0, _HEAD_SIZE
    while at + _CHUNK.size <= len(tape):
        (size,) = _CHUNK.unpack_from(tape, at)
        if size < _CHUNK.size:
            break
        end, place = min(at + size, len(tape)), at + _CHUNK.size
        at += size
        while place + _RECORD.size <= end:
            (size,) = _SIZE.unpack_from(tape, place)
            if size < _RECORD.size or place + size > end:
                break
            place += size
            count += 1
    return count


def is_tape(tape: bytes) -> bool:
    return len(tape) >= _HEAD_SIZE and tape.startswith(_MAGIC)


def entries(tape: bytes) -> Iterator[dict[str, Any] | Plain]:
    """Rows, which the recorder has written, and plain calls, in their order."""
    at = _HEAD_SIZE
    while at + _CHUNK.size <= len(tape):
        (size,) = _CHUNK.unpack_from(tape, at)
        if size < _CHUNK.size:
            return
        yield from _chunk(tape, at + _CHUNK.size, min(at + size, len(tape)))
        at += size


def _chunk(tape: bytes, at: int, end: int) -> Iterator[dict[str, Any] | Plain]:
    while at + _RECORD.size <= end:
        size, op, _, data, begun, ended, number, moved, address, error, _ = _RECORD.unpack_from(
            tape, at
        )
        if size < _RECORD.size or at + size > end:
            return
        first = at + _RECORD.size
        at += size
        if op == 0:
            try:
                row = json.loads(tape[first : first + moved])
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row
        elif op < len(RECORD_VERBS):
            second = first + data
            third = second + address
            yield Plain(
                begun,
                ended,
                RECORD_VERBS[op],
                number,
                None if moved < 0 else moved,
                tape[first:second],
                str(tape[second:third], *_TEXT),
                str(tape[third : third + error], *_TEXT),
            )
