# SPDX-License-Identifier: Apache-2.0
"""The one thread that reads what the lab's processes print, and what is kept and shown of that.

It also sees processes end, and ends them: it alone acts on a process after its start. Who wants one
ended writes down what shall be done when, and rings.

Invariant: a process is waited for (reaped) only after whatever it has left behind was ended, so
that the number of its session means nobody else until then.
"""

from __future__ import annotations

import collections
from typing import NamedTuple

from ipcx._lines import Cutter
from ipcx._pump import Pump

__all__: list[str] = []

HEAD, TAIL = 1 << 20, 1 << 16  # bytes kept of an output: its beginning and its end
LONGEST = 1 << 13  # bytes of a line that is shown in one piece
SHOWN = 1 << 17  # bytes that are shown as they come; of what comes after these …
LAST = 20  # … so many lines, at the end


class Kept:
    """An output, as much of it as is kept."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.tail = bytearray()
        self.size = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        room = HEAD - len(self.head)
        self.head += piece[:room]
        if len(piece) > room:
            self.tail += piece[room:]
            del self.tail[:-TAIL]

    @property
    def missing(self) -> int:
        """Bytes that are not kept."""
        return self.size - len(self.head) - len(self.tail)

    def text(self) -> str:
        head = self.head.decode(errors="backslashreplace")
        tail = self.tail.decode(errors="backslashreplace")
        if not self.missing:
            return head + tail
        return f"{head}\n… {self.missing} bytes are not kept …\n{tail}"


class Line(NamedTuple):
    """A line to be shown."""

    kind: str  # "out", "err"; "note": it is ours
    text: str


class Lines:
    """What a process prints, line by line, for whoever shows it: not more than a page can hold."""

    def __init__(self) -> None:
        self.waiting: list[Line] = []
        self.begun = {"out": Cutter(LONGEST), "err": Cutter(LONGEST)}
        self.room = SHOWN
        self.held_back = 0
        self.last: collections.deque[Line] = collections.deque(maxlen=LAST)

    def add(self, kind: str, piece: bytes) -> None:
        """An empty piece is the end."""
        begun = self.begun[kind]
        for line in begun.cut(piece) if piece else begun.end():
            self._line(kind, line)

    def _line(self, kind: str, line: bytes) -> None:
        if self.room > 0:
            self.waiting.append(Line(kind, _text(line)))
            self.room -= len(line) + 1
            if self.room <= 0:
                note = f"… it prints more; of that, the last {LAST} lines are shown at its end …"
                self.waiting.append(Line("note", note))
        else:
            self.held_back += len(line) + 1
            self.last.append(Line(kind, _text(line[-LONGEST:])))

    def end(self) -> None:
        for kind in self.begun:
            self.add(kind, b"")
        if self.held_back:
            note = f"… {self.held_back} bytes more were printed; the last lines of them: …"
            self.waiting += [Line("note", note), *self.last]
            self.last.clear()

    def take(self) -> list[Line]:
        taken, self.waiting = self.waiting, []
        return taken


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="backslashreplace")


pump = Pump("ipcx-lab")
