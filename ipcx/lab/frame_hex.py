# SPDX-License-Identifier: Apache-2.0
"""A frame in hex, its fields told apart: where each begins, what it is called, what it means.

The dump has offset, bytes and letters, as every hex dump has; each field is a box with a letter at
its first byte and a colour, and the list below says what the letter stands for. A number is shown
in both byte orders, so that it can be seen what the wrong one would make of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ipcx import _frame_words, framing
from ipcx._core import Error
from ipcx.lab.display import Display, Drawing, hex_lines, printable, quantity, short, table, visible
from ipcx.lab.display import width_of as _width_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Field", "FrameHex", "frame"]

A_LINE = 16
MOST_LINES = 28  # of the dump
MOST_FIELDS = 40  # in the list
LEFT, CELL, LETTER, ROW = 64.0, 27.0, 9.5, 32.0
COLOURS = ("sky", "orange", "green", "purple", "yellow", "blue", "red")
NUMBERS = ("version", "flags", "extension length", "payload length", "correlation", "CRC-32C")


class Field(NamedTuple):
    """Some bytes that mean something together."""

    name: str
    start: int
    end: int  # behind its last byte
    meaning: str = ""

    def numbers(self, data: bytes) -> tuple[str, str]:
        """What it is as an unsigned number, most significant byte first and last."""
        part = data[self.start : self.end]
        if len(part) not in (2, 4, 8):
            return "", ""
        return str(int.from_bytes(part, "big")), str(int.from_bytes(part, "little"))


def _letter(at: int) -> str:
    """a, b … z, aa, ab …"""
    letters = ""
    while at >= 0:
        letters = chr(ord("a") + at % 26) + letters
        at = at // 26 - 1
    return letters


def _known(data: bytes, form: framing.Framing) -> tuple[list[Field], str]:
    """The fields of the frames in `data`, and what is wrong with them, if anything is."""
    decoder = framing.Decoder(form)
    decoder.feed(data)
    fields: list[Field] = []
    at, verdict = 0, ""
    while at < len(data) and not verdict:
        left = decoder.pending
        size = left
        try:
            if decoder.next() is None:
                verdict = f"Cut off: the frame is not whole after {quantity(left, 'byte')}."
            else:
                size = left - decoder.pending
        except Error as exc:
            verdict = f"{type(exc).__name__}: {str(exc).removeprefix('decode: ')}"
        for first, behind, name, meaning in _frame_words._fields(form, data[at : at + size]):
            end = min(at + behind, at + size)
            if at + first < end:
                missing = at + behind - end
                words = f"{quantity(missing, 'byte')} missing" if missing else meaning
                fields.append(Field(name, at + first, end, words))
        at += size
    return fields, verdict


def _given(data: bytes, fields: Iterable[Sequence[object]]) -> list[Field]:
    """Fields as the caller names them, looked at."""
    found = []
    for one in fields:
        if not 3 <= len(one) <= 4:
            raise ValueError(f"a field is (name, start, end) or with its meaning, not {one!r}")
        name, start, end, *meaning = one
        if not isinstance(start, int) or not isinstance(end, int):
            raise TypeError(f"a field begins and ends at a number of bytes: {one!r}")
        if not 0 <= start < end <= len(data):
            raise ValueError(
                f"the field {name!r} goes from byte {start} to {end}, and there are {len(data)}"
            )
        found.append(Field(str(name), start, end, str(meaning[0]) if meaning else ""))
    found.sort(key=lambda field: (field.start, field.end))
    for one, other in pairwise(found):
        if other.start < one.end:
            raise ValueError(f"the fields {one.name!r} and {other.name!r} overlap")
    return found


class FrameHex(Display):
    """Bytes in hex with their fields: those of `form`, ipcx's own frames, or those in `fields`.

    `fields` are (name, start, end) or (name, start, end, meaning), ends as in a slice. `form` is
    one of `ipcx.framing`.

    >>> from ipcx.framing import Encoder
    >>> print(FrameHex(Encoder().encode("hi")))
    A frame of 14 bytes
    <BLANKLINE>
    0000  49 58 01 01 00 01 00 00 00 00 00 02 68 69        IX..........hi
    <BLANKLINE>
       bytes  field             meaning                big-endian  little-endian
    a  0-1    magic             "IX": a frame of ipcx
    b  2      version           1
    c  3      type              DATA: a message
    d  4-5    flags             TEXT                   1           256
    e  6-7    extension length  0                      0           0
    f  8-11   payload length    2                      2           33554432
    g  12-13  payload           'hi'
    """

    def __init__(
        self,
        data: ReadableBuffer,
        fields: Iterable[Sequence[object]] | None = None,
        *,
        form: framing.Framing | None = None,
        title: str = "",
    ) -> None:
        self.data = bytes(data)
        self._own = fields is None
        if fields is not None and form is not None:
            raise ValueError("either the fields are given, or the form of the frame that has them")
        self.verdict = ""
        if fields is None:
            self.fields, self.verdict = _known(self.data, form or framing.Ipcx())
        else:
            self.fields = _given(self.data, fields)
        size = quantity(len(self.data), "byte")
        self.title = title or f"A frame of {size}"
        # One colour a name: in a second frame the same field looks the same.
        kinds = list(dict.fromkeys(field.name for field in self.fields))
        self._colour = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(kinds)}
        names = ", ".join(short(name, 30) for name in kinds[:12])
        self.description = (
            f"Hex dump of {size} with {quantity(len(self.fields), 'field')}"
            + (f": {names}" if names else "")
            + ("" if len(kinds) <= 12 else " …")
            + f". {self.verdict}"
        ).strip()
        if not self.description.endswith("."):
            self.description += "."

    # ---- which lines

    def _lines(self) -> list[int | None]:
        """The lines of the dump that are drawn; None: some are left out here."""
        count = (len(self.data) + A_LINE - 1) // A_LINE
        near: set[int] = set()
        for field in self.fields:
            first, last = field.start // A_LINE, (field.end - 1) // A_LINE
            near |= {
                *range(first, min(first + 4, last + 1)),
                *range(max(last - 1, first), last + 1),
            }
        if not self.fields:
            near = set(range(count))
        found: list[int | None] = []
        for line in range(count):
            # One line is not worth leaving out.
            if line in near or {line - 1, line + 1} <= near:
                found.append(line)
            elif not found or found[-1] is not None:
                found.append(None)
        if len(found) > MOST_LINES:
            found = [*found[:MOST_LINES], None]
        return found

    def _left_out(self, lines: list[int | None]) -> int:
        return (len(self.data) + A_LINE - 1) // A_LINE - sum(line is not None for line in lines)

    def _rows(self) -> list[tuple[str, ...]]:
        """The list of the fields, with its head."""
        rows: list[tuple[str, ...]] = [
            ("", "bytes", "field", "meaning", "big-endian", "little-endian")
        ]
        for at, field in enumerate(self.fields[:MOST_FIELDS]):
            last = field.end - 1
            where = f"{field.start}-{last}" if last > field.start else f"{last}"
            number = not self._own or field.name in NUMBERS
            numbers = field.numbers(self.data) if number else ("", "")
            rows.append((_letter(at), where, field.name, field.meaning, *numbers))
        for empty in (5, 4, 3):
            if not any(row[empty] for row in rows[1:]):
                rows = [row[:empty] + row[empty + 1 :] for row in rows]
        return rows

    def _notes(self, lines: list[int | None]) -> list[str]:
        notes = [f"! {self.verdict}"] if self.verdict else []
        left_out = self._left_out(lines)
        if left_out:
            notes.append(f"Thinned out: {quantity(left_out, 'line')} of the dump not drawn.")
        if len(self.fields) > MOST_FIELDS:
            more = len(self.fields) - MOST_FIELDS
            notes.append(f"{quantity(more, 'field')} more not listed.")
        return notes

    # ---- the picture

    def draw(self) -> Drawing:
        """The picture."""
        lines, rows = self._lines(), self._rows()
        rows = [tuple(short(cell, 60) for cell in row) for row in rows]
        notes = self._notes(lines)
        widths = [max(_width_of(row[i], 12) for row in rows) + 18 for i in range(len(rows[0]))]
        widths[0] = 30.0
        letters = LEFT + A_LINE * CELL + 20
        width = max(letters + A_LINE * LETTER + 20, 16 + sum(widths) + 16)
        top = 40.0
        below = top + len(lines) * ROW + 26
        height = below + len(rows) * 22 + 17 * len(notes) - (0 if notes else 8)
        drawing = Drawing(width, height)
        for column in range(A_LINE):
            x = LEFT + column * CELL + CELL / 2
            drawing.text(x, 24, f"{column:x}", 10, "quiet", "middle", mono=True)
        drawing.text(letters, 24, "letters", 10, "quiet")
        place = {line: top + at * ROW for at, line in enumerate(lines) if line is not None}
        for at, field in enumerate(self.fields):
            self._box(drawing, at, field, place, letters)
        self._dump(drawing, lines, place, letters)
        self._list(drawing, rows, widths, below)
        y = below + len(rows) * 22 + 6
        for note in notes:
            y = drawing.note(16, y, note, int((width - 32) / 6.8)) + 2
        return drawing

    def _box(
        self, drawing: Drawing, at: int, field: Field, place: dict[int, float], letters: float
    ) -> None:
        span = range(field.start // A_LINE, (field.end - 1) // A_LINE + 1)
        if place.keys().isdisjoint(span):
            return
        colour = self._colour[field.name]
        hint = f"{field.name}, {quantity(field.end - field.start, 'byte')} from byte {field.start}"
        group = drawing.group("field", hint + (f"\n{field.meaning}" if field.meaning else ""))
        for line in span:
            y = place.get(line)
            if y is None:
                continue
            first = max(field.start - line * A_LINE, 0)
            behind = min(field.end - line * A_LINE, A_LINE)
            for x, step, pad in ((LEFT, CELL, 1.0), (letters, LETTER, 0.0)):
                box = (x + first * step + pad, y, (behind - first) * step - 2 * pad, 21.0)
                drawing.rect(*box, colour, "", 3, 0.4, into=group)
                if pad:
                    drawing.rect(*box, "none", colour, 3, into=group)
        y = place.get(field.start // A_LINE)
        if y is not None and at < MOST_FIELDS:
            x = LEFT + field.start % A_LINE * CELL + 4
            drawing.text(x, y - 2, _letter(at), 9, bold=True, into=group)

    def _dump(
        self, drawing: Drawing, lines: list[int | None], place: dict[int, float], letters: float
    ) -> None:
        missing = drawing.group("gaps")
        for at, line in enumerate(lines):
            if line is None:
                y = 40 + at * ROW + 15
                drawing.text(LEFT + 4, y, "⋮   lines left out   ⋮", 11, "quiet", into=missing)
                continue
            y = place[line] + 15
            group = drawing.group("bytes")
            part = self.data[line * A_LINE : (line + 1) * A_LINE]
            drawing.text(16, y, f"{line * A_LINE:04x}", 12, "quiet", mono=True, into=group)
            digits = [(LEFT + (at + 0.5) * CELL, f"{byte:02x}") for at, byte in enumerate(part)]
            drawing.cells(y, digits, 12.5, into=group)
            marks = [(letters + (at + 0.5) * LETTER, one) for at, one in enumerate(printable(part))]
            drawing.cells(y, marks, 12.5, into=group)

    def _list(
        self, drawing: Drawing, rows: list[tuple[str, ...]], widths: list[float], top: float
    ) -> None:
        for number, row in enumerate(rows):
            y = top + number * 22
            group = drawing.group("row" if number else "head")
            if number:
                colour = self._colour[self.fields[number - 1].name]
                drawing.rect(16, y - 13, 22, 17, colour, "", 3, 0.4, into=group)
                drawing.rect(16, y - 13, 22, 17, "none", colour, 3, into=group)
                drawing.text(27, y, row[0], 10, anchor="middle", bold=True, into=group)
            x = 16 + widths[0]
            for cell, width in zip(row[1:], widths[1:], strict=True):
                colour = "ink" if number else "quiet"
                drawing.text(x, y, cell, 12 if number else 11, colour, into=group)
                x += width

    def text(self) -> str:
        """The dump, and the list of its fields."""
        lines = self._lines()
        dump = hex_lines(self.data)
        told = ["      ⋮" if line is None else dump[line] for line in lines]
        rows = [tuple(short(cell, 60) for cell in row) for row in self._rows()]
        listed = ["", table(rows)] if self.fields else []
        return "\n".join([visible(self.title), "", *told, *listed, *self._notes(lines)])


def frame(
    data: ReadableBuffer,
    fields: Iterable[Sequence[object]] | None = None,
    *,
    form: framing.Framing | None = None,
    title: str = "",
) -> FrameHex:
    """A frame in hex with its fields: ipcx's own, those of a `form`, or those that are given."""
    return FrameHex(data, fields, form=form, title=title)
