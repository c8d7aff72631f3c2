# SPDX-License-Identifier: Apache-2.0
"""The one thread that reads what the lab's processes print, sees them end, and ends them.

``ipcx-lab`` is there from the first process to the end of the last one. It alone acts on a process
after its start: who wants it ended writes down what shall be done when, and rings.

Invariant: a process is waited for (reaped) only after whatever it has left behind was ended, so
that the number of its session means nobody else until then.
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ipcx.lab._processes import LabProcess

__all__: list[str] = []

PIECE = 1 << 16
TURNS = 16  # pieces taken from one before somebody else is looked at
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
        self.rests = {"out": b"", "err": b""}
        self.room = SHOWN
        self.held_back = 0
        self.last: collections.deque[Line] = collections.deque(maxlen=LAST)

    def add(self, kind: str, piece: bytes) -> None:
        """An empty piece is the end."""
        *lines, rest = (self.rests[kind] + piece).split(b"\n")
        if rest and (not piece or len(rest) > LONGEST):
            lines.append(rest)
            rest = b""
        self.rests[kind] = rest
        for line in lines:
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
        for kind in self.rests:
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


class Source:
    """One of a process's descriptors that are read here."""

    def __init__(self, fd: int, take: Callable[[bytes], None]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.take = take

    def read(self) -> None:
        for _ in range(TURNS):
            if self.fd < 0:
                return
            try:
                piece = os.read(self.fd, PIECE)
            except BlockingIOError:
                return
            self.take(piece)
            if not piece:
                self.close()

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class Pump:
    def __init__(self) -> None:
        self.changed = threading.Condition()  # of any process: output, its end
        self.processes: list[LabProcess] = []
        self.thread: threading.Thread | None = None
        self.bell = -1

    def add(self, process: LabProcess) -> None:
        with self.changed:
            self.processes.append(process)
            if self.thread is None:
                self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                self.thread = threading.Thread(target=self.run, name="ipcx-lab", daemon=True)
                self.thread.start()
            else:
                self.ring()

    def ring(self) -> None:
        with self.changed:
            if self.thread is not None:
                os.eventfd_write(self.bell, 1)

    def run(self) -> None:
        while True:
            with self.changed:
                self.processes = [one for one in self.processes if not one._over]
                if not self.processes:
                    os.close(self.bell)
                    self.thread = None
                    self.changed.notify_all()
                    return
                processes, bell = list(self.processes), self.bell
            poll = select.poll()
            poll.register(bell, select.POLLIN)
            owners: dict[int, LabProcess] = {}
            due = None
            for one in processes:
                for fd in one._descriptors():
                    owners[fd] = one
                    poll.register(fd, select.POLLIN)
                when = one._next_due()
                due = when if due is None or (when is not None and when < due) else due
            wait = None if due is None else max(0.0, due - time.monotonic()) * 1000
            ready = {fd for fd, _ in poll.poll(wait)}
            if bell in ready:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(bell)
            for one in processes:
                one._turn(ready)

    def in_child(self) -> None:
        """After a fork: the thread is the parent's, and the descriptors are copies."""
        for one in self.processes:
            one._forget()
        if self.thread is not None:
            with contextlib.suppress(OSError):
                os.close(self.bell)
        self.__init__()  # type: ignore[misc]


pump = Pump()
os.register_at_fork(
    before=lambda: pump.changed.acquire() and None,
    after_in_parent=lambda: pump.changed.release(),
    after_in_child=pump.in_child,
)
