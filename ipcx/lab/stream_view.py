# SPDX-License-Identifier: Apache-2.0
"""A stream as it was sent beside the same stream as it was received: where each recv() cut it.

TCP keeps the bytes and their order, and nothing else: where one send ended is not told. The upper
row has a box for each send, the lower one for each receive; where a receive ends in the middle of
what one send sent, a dashed line with a cross says so, and so do the words below.
"""

from __future__ import annotations

import bisect
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ipcx.lab.display import Display, Drawing, printable, quantity, short, table, visible, width_of

if TYPE_CHECKING:
    from ipcx.lab.model import Message, Record

__all__ = ["StreamView", "stream"]

A_LINE = 64  # cells
CELL = 12.0
MOST_LINES = 8  # of all streams together
MOST_STREAMS = 6
MOST_BOXES = 90  # in each row, of all streams together
LEFT, TOP, LINE = 84.0, 34.0, 92.0
SENT, RECEIVED = 10.0, 44.0  # where the rows are in a line
BOX = 24.0


class _Piece(NamedTuple):
    """What one call moved: bytes `start` to `end` of the stream."""

    start: int
    end: int
    op: str


@dataclass
class _Stream:
    """One direction of one connection."""

    name: str
    sent: list[_Piece]
    received: list[_Piece]
    data: dict[int, bytes] = field(default_factory=dict)  # what is known, by offset
    _starts: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes, from the first to the last that is known of."""
        return max((piece.end for piece in (*self.sent, *self.received)), default=0)

    def cut(self) -> list[int]:
        """Where a receive ended within a send, in bytes from the beginning."""
        ends = {piece.end for piece in self.sent} | {0}
        return [piece.end for piece in self.received if piece.end not in ends]

    def merged(self) -> int:
        """How many receives took bytes of more than one send."""
        starts = [piece.start for piece in self.sent]
        return sum(
            bisect.bisect_left(starts, piece.end) - bisect.bisect_right(starts, piece.start) >= 1
            for piece in self.received
        )

    def letter(self, at: int) -> str:
        """The byte at an offset as a letter, "" if it is not known."""
        if len(self._starts) != len(self.data):
            self._starts = sorted(self.data)
        place = bisect.bisect_right(self._starts, at) - 1
        if place < 0:
            return ""
        start = self._starts[place]
        return printable(self.data[start][at - start : at - start + 1])


def _as_record(thing: Any) -> Record | None:
    """The thing if it is a record, or was made by one who recorded."""
    return thing if hasattr(thing, "messages") else None


def _cut(parts: Iterable[bytes | int], op: str) -> list[_Piece]:
    pieces, at = [], 0
    for part in parts:
        size = part if isinstance(part, int) else len(part)
        if size < 0:
            raise ValueError(f"a {op} moves 0 bytes or more, not {size}")
        if size:  # a receive of nothing is the end
            pieces.append(_Piece(at, at + size, op))
        at += size
    return pieces


def _of_record(record: Record) -> list[_Stream]:
    """The streams of a record, in the order of their first send."""
    groups: dict[tuple[str, str, str], list[Message]] = defaultdict(list)
    for message in record.messages:
        event = record.events[message.send]
        if message.offset is not None and event.kind == "stream":
            groups[event.process, event.local, event.peer].append(message)
    found = []
    for (process, _, peer), messages in groups.items():
        sides: tuple[dict[int, list[Message]], ...] = ({}, {})
        for message in messages:
            sides[0].setdefault(message.send, []).append(message)
            if message.receive is not None:
                sides[1].setdefault(message.receive, []).append(message)
        sent, received = (
            sorted(
                _Piece(
                    min(one.offset or 0 for one in some),
                    max((one.offset or 0) + one.bytes for one in some),
                    record.events[call].op,
                )
                for call, some in side.items()
            )
            for side in sides
        )
        taker = next((one.receive for one in messages if one.receive is not None), None)
        other = peer if taker is None else record.events[taker].process
        data = {one.offset or 0: one.data for one in messages}
        found.append(_Stream(f"{process} → {other or 'nobody'}", sent, received, data))
    return found


class _Share(NamedTuple):
    """How much of a stream is drawn, and how large."""

    stream: _Stream
    drawn: int  # bytes
    scale: int  # bytes a cell

    @classmethod
    def of(cls, stream: _Stream, lines: int, boxes: int) -> _Share:
        """In so many lines, with so many boxes in a row."""
        ends = [side[boxes - 1].end for side in (stream.sent, stream.received) if len(side) > boxes]
        drawn = min([stream.size, *ends])
        return cls(stream, drawn, max(1, -(-drawn // (lines * A_LINE))))

    @property
    def a_line(self) -> int:
        """Bytes."""
        return A_LINE * self.scale

    @property
    def rows(self) -> int:
        """Lines."""
        return max(1, -(-self.drawn // self.a_line))


class StreamView(Display):
    """The bytes of a stream as they were sent, against how each receive cut them.

    Of a record: each direction of each connection. Or of two lists, what was sent and what was
    received: the bytes, or only how many.

    >>> print(StreamView([b"hello", b"world"], [b"hel", b"loworld"]))
    What was sent, and how it was received
    <BLANKLINE>
    sent       |hel lo|world|
    received   |hel|lo world|
                   x
    <BLANKLINE>
    2 sends, 2 receives, 10 bytes. 1 receive ended in the middle of a send. 1 receive took bytes of
    more than one send.
    """

    def __init__(
        self,
        sent: Record | Sequence[bytes | int],
        received: Sequence[bytes | int] | None = None,
        *,
        title: str = "",
    ) -> None:
        whole = _as_record(sent)
        if whole is None and received is None:
            raise TypeError("what was received is missing: give two lists, or a record")
        if whole is not None and received is not None:
            raise TypeError("a record knows what was received: give it alone")
        self._streams = (
            [_given(cast("Sequence[bytes | int]", sent), received or ())]
            if whole is None
            else _of_record(whole)
        )
        self.title = title or (
            "What was sent, and how it was received"
            + (f": {self._streams[0].name}" if received is None and len(self._streams) == 1 else "")
        )
        self.description = (
            " ".join(_told(one) for one in self._streams) or "No stream was recorded."
        )

    def _shares(self) -> list[_Share]:
        """The streams that are drawn, and how much of each."""
        shown = self._streams[:MOST_STREAMS]
        lines = max(MOST_LINES // max(len(shown), 1), 1)
        return [_Share.of(one, lines, MOST_BOXES // len(shown)) for one in shown]

    def _notes(self) -> list[str]:
        notes = []
        for one in self._shares():
            name = one.stream.name
            if one.stream.size > one.drawn:
                notes.append(
                    f"Thinned out: the first {one.drawn} of {one.stream.size} bytes of {name}."
                )
            if one.scale > 1:
                notes.append(f"The boxes are to scale: a line is {one.a_line} bytes of {name}.")
        if len(self._streams) > MOST_STREAMS:
            notes.append(f"{quantity(len(self._streams) - MOST_STREAMS, 'stream')} more not drawn.")
        return notes

    # ---- the picture

    def draw(self) -> Drawing:
        """The picture."""
        shares = self._shares()
        told = [*([] if shares else [self.description]), *self._notes()]
        height, places = 8.0, []
        for one in shares:
            places.append(height)
            height += TOP + one.rows * LINE + 22
        drawing = Drawing(LEFT + A_LINE * CELL + 24, height + 20 * len(told) + 4)
        for one, y in zip(shares, places, strict=True):
            self._one(drawing, one, y)
        y = height + 12
        for note in told:
            y = drawing.note(16, y, note)
        return drawing

    def _one(self, drawing: Drawing, share: _Share, top: float) -> None:
        one = share.stream
        group = drawing.group("stream", one.name)
        drawing.text(16, top + 18, short(one.name, 80), 13, bold=True, into=group)
        for row in range(share.rows):
            y = top + TOP + row * LINE
            first = row * share.a_line
            behind = min(first + share.a_line, share.drawn)
            for at, words, pieces in (
                (SENT, "sent", one.sent),
                (RECEIVED, "received", one.received),
            ):
                drawing.text(LEFT - 10, y + at + 16, words, 11, "quiet", "end", into=group)
                for number, piece in enumerate(pieces, 1):
                    if piece.start < behind and piece.end > first:
                        self._box(drawing, share, number, piece, (first, behind), y + at, words)
            drawing.text(LEFT, y + 4, f"byte {first}", 9, "quiet", into=group)
            for cut in one.cut():
                if first < cut <= behind:
                    self._cross(drawing, cut, LEFT + (cut - first) / share.scale * CELL, y)
        drawing.note(LEFT, top + TOP + share.rows * LINE + 2, _told(one), 112)

    def _box(
        self,
        drawing: Drawing,
        share: _Share,
        number: int,
        piece: _Piece,
        line: tuple[int, int],
        y: float,
        words: str,
    ) -> None:
        first, behind = line
        start, end = max(piece.start, first), min(piece.end, behind)
        x, width = LEFT + (start - first) / share.scale * CELL, (end - start) / share.scale * CELL
        size = quantity(piece.end - piece.start, "byte")
        hint = f"{piece.op} {number}: {size}, {piece.start} to {piece.end}"
        group = drawing.group("send" if words == "sent" else "receive", hint)
        colour, shade = "blue" if words == "sent" else "orange", 0.18 if number % 2 else 0.42
        drawing.rect(x, y, width, BOX, colour, "", 4, shade, into=group)
        inner = (x + 0.75, y + 0.75, max(width - 1.5, 0.5), BOX - 1.5)
        drawing.rect(*inner, "none", colour, 4, into=group)
        if share.scale == 1:
            letters = [share.stream.letter(at) for at in range(start, end)]
            cells = [(x + (at + 0.5) * CELL, one) for at, one in enumerate(letters) if one]
            drawing.cells(y + 16, cells, 12, into=group)
        elif width_of(str(number), 10) + 6 < width:
            drawing.text(x + width / 2, y + 16, str(number), 10, anchor="middle", into=group)

    def _cross(self, drawing: Drawing, cut: int, x: float, y: float) -> None:
        group = drawing.group("cut", f"a receive ends at byte {cut}, within a send")
        drawing.line(x, y + SENT - 3, x, y + RECEIVED + BOX + 3, "red", 2, dashed=True, into=group)
        middle = y + (SENT + BOX + RECEIVED) / 2
        cross = f"M{x - 4:.1f} {middle - 4:.1f}l8 8m0 -8l-8 8"
        drawing.path(cross, stroke="red", width=2.5, kind="cross", into=group)

    # ---- in words

    def text(self) -> str:
        """The same with letters, and in words."""
        lines = [visible(self.title), ""]
        for share in self._shares():
            one = share.stream
            if len(self._streams) > 1:
                lines += [visible(one.name), ""]
            lines += _rulers(share) if share.scale == 1 else _listing(one)
            lines += ["", *textwrap.wrap(_told(one), 96), ""]
        if not self._streams:
            lines += [self.description, ""]
        return "\n".join([*lines, *self._notes()]).rstrip()


def _given(sent: Sequence[bytes | int], received: Sequence[bytes | int]) -> _Stream:
    """The stream of two lists, one of which may count only."""
    one = _Stream("the stream", _cut(sent, "send"), _cut(received, "receive"))
    there, taken = (sum(p.end - p.start for p in side) for side in (one.sent, one.received))
    if taken > there:
        raise ValueError(f"{taken} bytes cannot have been received: {there} were sent")
    for parts in (received, sent):
        at = 0
        for part in parts:
            if not isinstance(part, int):
                one.data[at] = bytes(part)
            at += part if isinstance(part, int) else len(part)
    return one


def _told(one: _Stream) -> str:
    """What there is to be seen."""
    cuts, merged = len(one.cut()), one.merged()
    words = [
        f"{quantity(len(one.sent), 'send')}, {quantity(len(one.received), 'receive')}, "
        f"{quantity(one.size, 'byte')}."
    ]
    if cuts:
        words.append(f"{quantity(cuts, 'receive')} ended in the middle of a send.")
    if merged:
        words.append(f"{quantity(merged, 'receive')} took bytes of more than one send.")
    missing = one.size - sum(piece.end - piece.start for piece in one.received)
    if missing > 0:
        words.append(f"{quantity(missing, 'byte')} never received.")
    if not cuts and not merged and not missing and one.sent:
        words.append("Each receive took what one send sent: by chance.")
    return " ".join(words)


def _rulers(share: _Share) -> list[str]:
    """Both rows with bars at the ends, the cuts marked below."""
    one, shown = share.stream, share.drawn
    lines: list[str] = []
    ends = [{0, *(piece.end for piece in side)} for side in (one.sent, one.received)]
    cuts, bars = set(one.cut()), ends[0] | ends[1]
    at = 0
    while at <= shown:
        rows = ["sent       ", "received   ", "           "]
        while at <= shown and len(rows[0]) < 88:
            if at in bars:
                for row, side in enumerate(ends):
                    rows[row] += "|" if at in side else " "
                rows[2] += "x" if at in cuts else " "
            if at < shown:
                letter = one.letter(at) or "·"
                for row, side in enumerate(ends):
                    rows[row] += letter if at < max(side) else " "
                rows[2] += " "
            at += 1
        lines += [*([""] if lines else []), *(row.rstrip() for row in rows if row.strip())]
    return lines


def _listing(one: _Stream) -> list[str]:
    """A line a receive: which sends it took."""
    most, ends = 24, [piece.end for piece in one.sent]
    cuts = set(one.cut())
    rows = [("receive", "bytes", "of sends")]
    for number, piece in enumerate(one.received[:most], 1):
        first = bisect.bisect_right(ends, piece.start) + 1
        last = min(bisect.bisect_left(ends, piece.end), len(ends) - 1) + 1
        sends = f"{first} to {last}" if last > first else f"{first}"
        sends += f", ends in the middle of {last}" if piece.end in cuts else ""
        rows.append((str(number), f"{piece.start}-{piece.end - 1}", sends))
    lines = table(rows).splitlines()
    if len(one.received) > most:
        lines.append(f"… {quantity(len(one.received) - most, 'receive')} more")
    return lines


def stream(
    sent: Record | Sequence[bytes | int],
    received: Sequence[bytes | int] | None = None,
    *,
    title: str = "",
) -> StreamView:
    """The bytes as they were sent against the bytes as each receive cut them."""
    return StreamView(sent, received, title=title)
