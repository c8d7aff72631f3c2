# SPDX-License-Identifier: Apache-2.0
"""What the kernel knows of the lab's processes: descriptors, states of sockets, shared memory.

It is `ls /proc/PID/fd`, `ss` and `cat /proc/PID/maps` in one table: who listens, what is connected
to what, how many bytes wait in it, which memory two processes both have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ipcx.lab._kernel import Process, look, other_ends
from ipcx.lab.display import Display, Drawing, quantity, short, table, visible, width_of

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

__all__ = ["KernelView", "kernel"]

MOST_ROWS = 120
PLAIN = ("file", "eventfd", "eventpoll", "timerfd", "signalfd", "pidfd", "inotify")
MARKS = {
    "LISTEN": ("◌", "orange"), "ESTABLISHED": ("●", "green"), "CONNECTED": ("●", "green"),
    "TIME_WAIT": ("◔", "quiet"), "CLOSE_WAIT": ("◐", "red"), "FIN_WAIT2": ("◐", "red"),
    "FIN_WAIT1": ("◐", "red"), "SYN_SENT": ("◔", "orange"),
}  # fmt: skip


def named(pids: Iterable[int | object]) -> list[tuple[int, str]]:
    """(pid, name) of what is asked for; of this process and the lab's that run, if nothing is."""
    from ipcx.lab import _processes

    known = {name: one.pid for name, one in _processes.processes().items()}
    names = {pid: name for name, pid in known.items()}
    names.setdefault(os.getpid(), "notebook")
    wanted = list(pids)
    if not wanted:
        running = [one.pid for one in _processes.processes().values() if one.running]
        return [(pid, names[pid]) for pid in [os.getpid(), *running]]
    found = []
    for one in wanted:
        pid = known.get(one) if isinstance(one, str) else getattr(one, "pid", one)
        if not isinstance(pid, int):
            raise TypeError(f"a pid, a process or the name of one of the lab's, not {one!r}")
        found.append((pid, names.get(pid, f"process {pid}")))
    return found


class KernelView(Display):
    """The processes `pids`, pids or names of the lab's; without any, this one and all of the lab.

    `everything` shows plain files and the like as well. It is taken when it is made; another one
    later shows what has changed.
    """

    def __init__(
        self, *pids: int | str | Process, everything: bool = False, title: str = ""
    ) -> None:
        given = [one for one in pids if isinstance(one, Process)]
        asked = [one for one in pids if not isinstance(one, Process)]
        self.processes = given + (look(named(asked)) if asked or not given else [])
        self._everything = everything
        self._ends = other_ends(self.processes)
        who = ", ".join(short(one.name, 24) for one in self.processes[:6])
        self.title = title or f"What the kernel knows of {who}"
        counts = []
        for one in self.processes[:6]:
            sockets = sum(fd.kind.startswith(("tcp", "udp", "unix")) for fd in one.descriptors)
            counts.append(
                f"{short(one.name, 24)} {one.state}, has "
                f"{quantity(len(one.descriptors), 'descriptor')}, {quantity(sockets, 'socket')}, "
                f"{quantity(len(one.segments), 'shared segment')}."
            )
        self.description = " ".join(counts)

    def rows(self) -> list[tuple[str, ...]]:
        """The table: process, descriptor, kind, what, state, bytes in and out; without its head."""
        found: list[tuple[str, ...]] = []
        names = {one.pid: one.name for one in self.processes}
        for one in self.processes:
            who = f"{one.name} ({one.pid}) {one.state}"
            found.append((who, "", "", "", "", ""))
            for fd in one.descriptors:
                if self._everything or fd.kind not in PLAIN:
                    ends = self._ends.get((one.pid, fd.fd), [])[:2]
                    to = ", ".join(f"{names[pid]} fd {number}" for pid, number in ends)
                    what = f"{fd.what}  ⇄ {to}".strip() if to else fd.what
                    found.append(("", str(fd.fd), fd.kind, what, fd.state, fd.queues))
            for segment in one.segments:
                if "w" not in segment.access and not self._everything:
                    continue  # a file that is only read, such as the C library's
                size = f"{segment.size // 1024} KiB"
                found.append(("", "", "shared memory", segment.name, segment.access, size))
        return found

    def _hidden(self) -> int:
        if self._everything:
            return 0
        return sum(fd.kind in PLAIN for one in self.processes for fd in one.descriptors)

    def _notes(self) -> list[str]:
        notes = []
        if len(self.rows()) > MOST_ROWS:
            notes.append(f"Thinned out: {len(self.rows()) - MOST_ROWS} rows more are not shown.")
        if self._hidden():
            hidden = quantity(self._hidden(), "descriptor")
            notes.append(f"{hidden} of plain files and the like: with everything=True.")
        return notes

    HEAD = ("process", "fd", "kind", "addresses or name", "state", "to receive / unsent")

    def draw(self) -> Drawing:
        """The picture."""
        rows = [tuple(short(cell, 58) for cell in row) for row in self.rows()[:MOST_ROWS]]
        plain = [self.HEAD, *(row for row in rows if not row[0])]
        widths = [24.0] + [
            max((width_of(row[i], 12) for row in plain), default=0) + 22 for i in range(1, 6)
        ]
        widths[4] += 14
        owners = max((width_of(row[0], 13) for row in rows), default=0) + 40
        notes = self._notes()
        width = max(sum(widths) + 32, owners, 420)
        drawing = Drawing(width, 40 + 22 * len(rows) + 16 * len(notes) + 8)
        x = 16.0
        for cell, room in zip(self.HEAD, widths, strict=True):
            if cell != "process":
                drawing.text(x, 24, cell, 11, "quiet")
            x += room
        y = 34.0
        group = drawing.group("process")
        for row in rows:
            if row[0]:
                group = drawing.group("process", row[0])
                drawing.rect(8, y + 1, width - 16, 21, "faint", "", 4, 0.5, into=group)
                drawing.text(16, y + 16, row[0], 13, bold=True, into=group)
            else:
                self._row(drawing, row, widths, y + 16, group)
            y += 22
        for note in notes:
            y = drawing.note(16, y + 16, note) - 16
        return drawing

    def _row(
        self,
        drawing: Drawing,
        row: tuple[str, ...],
        widths: list[float],
        y: float,
        owner: ET.Element,
    ) -> None:
        group = drawing.group("row", into=owner)
        x = 16.0
        for number, (cell, room) in enumerate(zip(row, widths, strict=True)):
            mark, colour = MARKS.get((cell.split() or [""])[-1], ("", "ink"))
            if number == 4 and mark:
                drawing.text(x, y, mark, 12, colour, into=group)
                drawing.text(x + 16, y, cell, 12, into=group)
            elif cell:
                drawing.text(x, y, cell, 12, into=group)
            x += room

    def text(self) -> str:
        """The table."""
        rows = [tuple(short(cell, 58) for cell in row) for row in self.rows()[:MOST_ROWS]]
        plain = table([self.HEAD[1:], *(row[1:] for row in rows)]).split("\n")
        lines = [visible(self.title), "", "  " + plain[0]]
        for row, line in zip(rows, plain[1:], strict=True):
            lines.append(row[0] if row[0] else "  " + line)
        return "\n".join([*lines, *(["", *self._notes()] if self._notes() else [])])


def kernel(*pids: int | str, everything: bool = False) -> KernelView:
    """What the kernel knows of these processes, or of this one and all of the lab."""
    return KernelView(*pids, everything=everything)
