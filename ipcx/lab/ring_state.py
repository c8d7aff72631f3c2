# SPDX-License-Identifier: Apache-2.0
"""The ring of a shared-memory channel, step by step: what each send and each receive does to it.

The sender writes records behind one another and moves `tail`; the receiver reads them and moves
`head`; what is between is on its way. Both only count up: the place in the ring is the count
modulo its size, so a record may begin at the end of the ring and go on at its beginning. The steps
are done on a real channel, ``ipcx.pair("shm://")``, and the counts are read from its memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ipcx import _core, channel
from ipcx.lab.display import Display, Drawing, quantity, short, visible, width_of

__all__ = ["RingState", "RingStep", "ring"]

SMALLEST = 65536  # bytes of a ring
MOST_STEPS = 40
LEFT, WIDTH, TOP, ROW = 210.0, 512.0, 44.0, 56.0


class RingStep(NamedTuple):
    """The ring after a step."""

    action: str  # "send 100", "receive"
    outcome: str  # "" or why it could not be done
    size: int  # bytes of the ring
    head: int  # the receiver is here: all before it is free
    tail: int  # the sender is here
    records: tuple[tuple[int, int, int], ...]  # of each: from, to, bytes of its message

    @property
    def queued(self) -> int:
        """Bytes on their way."""
        return self.tail - self.head


def _memories() -> Iterator[tuple[int, int]]:
    """(inode, descriptor) of the shared memory of channels in this process."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("/memfd:ipcx-shm"):
                yield os.fstat(int(name)).st_ino, int(name)


def _queued(fd: int) -> int:
    """Bytes that the first end has sent and the second not freed, as the memory says."""
    seen = _core._peek_channel(fd)
    return 0 if seen is None else seen[2]["queued"]


def _done(actions: Iterable[int | str], size: int) -> Iterator[RingStep]:
    """Does the actions on a channel of its own."""
    before = {inode for inode, _ in _memories()}
    sender, receiver = channel.pair("shm://", ring=size)
    with sender, receiver:
        fd = next(fd for inode, fd in _memories() if inode not in before)
        head = tail = 0
        records: list[tuple[int, int, int]] = []
        yield RingStep("empty", "", size, 0, 0, ())
        for action in actions:
            outcome, words = "", "receive"
            try:
                if isinstance(action, int):
                    words = f"send {action}"
                    sender.send(bytes(action), timeout=0)
                else:
                    receiver.receive(timeout=0)
            except _core.WouldBlock:
                outcome = "would wait: " + ("no room" if isinstance(action, int) else "empty")
            queued = _queued(fd)
            if isinstance(action, int):
                if not outcome:
                    records.append((tail, head + queued, action))
                tail = head + queued
            else:
                head = tail - queued
                records = [one for one in records if one[1] > head]
            yield RingStep(words, outcome, size, head, tail, tuple(records))


class RingState(Display):
    """What `actions` do to a ring of `size` bytes, one line each.

    A number sends a message of so many bytes, "receive" receives one; what would wait is said and
    not done. Or `actions` are such steps (`RingStep`) already.

    >>> print(RingState([30000, 30000, "receive", 20000]))
    A ring of 65536 bytes in 4 steps
    <BLANKLINE>
    empty       |................................................|      0 on their way
    send 30000  |######################..........................|  30008 on their way
    send 30000  |############################################....|  60016 on their way
    receive     |......................######################....|  30008 on their way
    send 20000  |###########...........##########################|  50016 on their way
    <BLANKLINE>
    # on its way   . free
    """

    def __init__(
        self,
        actions: Iterable[int | str] | Iterable[RingStep],
        *,
        size: int = SMALLEST,
        title: str = "",
    ) -> None:
        given = list(actions)
        steps = [one for one in given if isinstance(one, RingStep)]
        plain = [one for one in given if not isinstance(one, RingStep)]
        if steps and plain:
            raise TypeError("either actions or steps, not both")
        for one in plain:
            if not (one == "receive" or (isinstance(one, int) and 0 <= one <= size // 2 - 8)):
                raise ValueError(
                    f"an action is 'receive', or how many bytes to send, at most half the ring "
                    f"({size // 2 - 8}); not {one!r}"
                )
        self.steps = steps or list(_done(plain, size))
        last = self.steps[-1]
        count = len(self.steps) - (0 if steps else 1)
        self.title = title or f"A ring of {last.size} bytes in {quantity(count, 'step')}"
        waits = sum(bool(step.outcome) for step in self.steps)
        self.description = (
            "Each row is the ring after a step, from its first byte to its last; boxes are records "
            f"on their way. At the end head is {last.head}, tail {last.tail}, and {last.queued} of "
            f"{last.size} bytes are in use."
            + (f" {quantity(waits, 'step')} would have waited." if waits else "")
        )

    def _rows(self) -> list[RingStep | int]:
        """The steps that are drawn, and how many are left out between."""
        if len(self.steps) <= MOST_STEPS:
            return list(self.steps)
        head, tail = MOST_STEPS * 2 // 3, MOST_STEPS // 3
        out = len(self.steps) - head - tail
        return [*self.steps[:head], out, *self.steps[-tail:]]

    def draw(self) -> Drawing:
        """The picture."""
        rows = self._rows()
        drawing = Drawing(LEFT + WIDTH + 150, TOP + ROW * len(rows) + 28)
        size = self.steps[-1].size
        for share in (0, 0.25, 0.5, 0.75, 1):
            x = LEFT + WIDTH * share
            drawing.text(x, 18, f"{size * share:.0f}", 10, "quiet", "middle")
        drawing.text(LEFT - 12, 18, "byte", 10, "quiet", "end")
        before: RingStep | None = None
        for at, row in enumerate(rows):
            y = TOP + ROW * at
            if isinstance(row, int):
                words = f"⋮   {quantity(row, 'step')} not drawn   ⋮"
                drawing.text(LEFT + WIDTH / 2, y + 14, words, 11, "quiet", "middle", kind="gap")
            else:
                self._step(drawing, row, before, y)
                before = row
        y = TOP + ROW * len(rows) + 4
        drawing.text(
            16, y, "▲ head: the receiver reads here   ▼ tail: the sender writes here", 10, "quiet"
        )
        return drawing

    def _step(self, drawing: Drawing, step: RingStep, before: RingStep | None, y: float) -> None:
        hint = (
            f"{step.action}: head {step.head}, tail {step.tail}, {step.queued} bytes on their way"
        )
        group = drawing.group("step", hint)
        colour = "red" if step.outcome else "ink"
        drawing.text(16, y + 12, short(step.action, 24), 12, colour, bold=True, into=group)
        if step.outcome:
            drawing.text(16, y + 26, "✗ " + short(step.outcome, 26), 11, "red", into=group)
        drawing.rect(LEFT, y, WIDTH, 20, "none", "quiet", into=group)
        for number, (start, end, size) in enumerate(step.records):
            new = before is not None and start >= before.tail
            for first, behind in self._places(start, end, step.size):
                x, wide = LEFT + WIDTH * first, WIDTH * (behind - first)
                record = drawing.group("record", f"{size} bytes, in {end - start}", into=group)
                shade = 0.65 if new else 0.4 if number % 2 else 0.25
                drawing.rect(
                    x, y, max(wide, 1), 20, "green" if new else "blue", "", 0, shade, into=record
                )
                drawing.rect(x, y, max(wide, 1), 20, "none", "ink", into=record)
                words = f"{size}" + (" new" if new else "")
                if width_of(words, 10) < wide - 4:
                    drawing.text(x + wide / 2, y + 14, words, 10, anchor="middle", into=record)
        head = LEFT + WIDTH * (step.head % step.size) / step.size
        tail = LEFT + WIDTH * (step.tail % step.size) / step.size
        drawing.path(
            f"M{head:.1f} {y + 21:.1f}l-5 9h10Z", "orange", "ink", 1, kind="head", into=group
        )
        drawing.path(
            f"M{tail:.1f} {y - 1:.1f}l-5 -9h10Z", "purple", "ink", 1, kind="tail", into=group
        )
        drawing.text(head + 8, y + 31, f"head {step.head}", 9, "quiet", into=group)
        drawing.text(tail + 8, y - 3, f"tail {step.tail}", 9, "quiet", into=group)
        drawing.text(LEFT + WIDTH + 12, y + 14, f"{step.queued} on their way", 11, into=group)

    def _places(self, start: int, end: int, size: int) -> list[tuple[float, float]]:
        """Where bytes of the ring are, as shares of it; two pieces when they go round its end."""
        first, length = start % size, end - start
        if first + length <= size:
            return [(first / size, (first + length) / size)]
        return [(first / size, 1.0), (0.0, (first + length - size) / size)]

    def text(self) -> str:
        """The rings as lines of 48 signs."""
        lines = [visible(self.title), ""]
        rows = self._rows()
        steps = [row for row in rows if isinstance(row, RingStep)]
        wide = max(len(short(step.action, 24)) for step in steps)
        for row in rows:
            if isinstance(row, int):
                lines.append(f"⋮ {quantity(row, 'step')} not shown")
                continue
            cells = ["."] * 48
            for start, end, _ in row.records:
                for first, behind in self._places(start, end, row.size):
                    for at in range(
                        round(first * 48), max(round(behind * 48), round(first * 48) + 1)
                    ):
                        cells[min(at, 47)] = "#"
            why = f"  ✗ {short(row.outcome, 40)}" if row.outcome else ""
            action = short(row.action, 24).ljust(wide)
            lines.append(f"{action}  |{''.join(cells)}| {row.queued:>6} on their way{why}")
        return "\n".join([*lines, "", "# on its way   . free"])


def ring(
    actions: Iterable[int | str] | Iterable[RingStep], *, size: int = SMALLEST, title: str = ""
) -> RingState:
    """What sends (numbers of bytes) and "receive" do to the ring of a shared-memory channel."""
    return RingState(actions, size=size, title=title)
