# SPDX-License-Identifier: Apache-2.0
"""The space-time diagram: who sent what to whom, and when it was received.

Each process is a lane, and time runs downwards. A call is a circle on its lane with its Lamport
number in it, and what it was stands beside it. A message is an arrow from its send to its receive;
one that was lost ends in a cross. Where a lane is thick, its process waited in a call.

The rows are the events in their order, not to scale: two calls a microsecond apart are still two
rows. A send counts from when it was called, whatever else from when it ended; and no receive stands
above its send, whatever the clock said.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from ipcx.lab._lanes import MOST_EVENTS, Arrow, Plan, Row
from ipcx.lab._places import Places, Spot
from ipcx.lab.display import (
    Display,
    Drawing,
    duration,
    hex_lines,
    printable,
    quantity,
    short,
    visible,
    width_of,
)

if TYPE_CHECKING:
    import xml.etree.ElementTree as ET

    from ipcx.lab.model import Event, Record

__all__ = ["SpaceTime", "space_time"]

HINTED = 48  # bytes of a message that are shown under the pointer
TOP, ROW, FOOT = 64.0, 30.0, 34.0
CLOCK = 70.0  # the column of times
CIRCLE = 9.0
SIZE = 11.0  # of the words


def _bytes(count: int) -> str:
    return f"{count} B" if count < 100_000 else f"{count / 1024:.0f} KiB"


def _letters(data: bytes, total: int, most: int = 12) -> str:
    """The beginning of a message between quotes, or in hex where it is no text."""
    if not data:
        return ""
    start = data[:most]
    if sum(0x20 <= byte < 0x7F for byte in start) * 4 >= len(start) * 3:
        return f"“{printable(start)}{'…' if total > most else ''}”"
    return data[:4].hex(" ") + (" …" if total > 4 else "")


def _words(event: Event) -> str:
    """What a call was, beside its circle."""
    words = short(event.op, 24)
    if event.bytes is not None and not (event.error and not event.bytes):
        words += f" {_bytes(event.bytes)}"
    if event.error:
        words += " ✗ " + short(event.error.partition(":")[0], 24)
    elif event.bytes == 0 and event.op.startswith("recv") and event.kind == "stream":
        words += " (end)"
    return words


def _missed(event: Event) -> str:
    """The word for a message that nobody received: TCP does not lose."""
    return "lost" if event.kind == "datagram" else "not received"


class SpaceTime(Display):
    """The messages of a record (`ipcx.lab.record`) as arrows between its processes.

    `most` events are drawn; of more, the beginning, the end, and what was lost between, with a
    band for each gap that says how many it leaves out.
    """

    def __init__(self, record: Record, *, title: str = "", most: int = MOST_EVENTS) -> None:
        if most < 8:
            raise ValueError(f"a diagram has at least 8 rows, not {most}")
        self._record = record
        self._most = most
        lanes = record.processes
        arrived = sum(message.receive is not None for message in record.messages)
        lost = len(record.messages) - arrived
        who = ", ".join(short(lane, 24) for lane in lanes[:4])
        more = f" and {len(lanes) - 4} more" if len(lanes) > 4 else ""
        self.title = title or (
            f"Space-time diagram of {who}{more}"
            if lanes
            else "Space-time diagram: nothing happened"
        )
        told = [f"{quantity(len(lanes), 'process', 'processes')}{': ' if who else ''}{who}{more}."]
        told.append(f"{quantity(len(record.events), 'call')}.")
        told.append(f"{quantity(arrived, 'message')} received.")
        if lost:
            told.append(f"{lost} not received, each an arrow that ends in a cross.")
        told.append("Time runs downwards; the numbers at the calls are Lamport's.")
        self.description = " ".join(told)

    def draw(self) -> Drawing:
        """The picture."""
        return _Picture(Plan(self._record, self._most), self._notes).drawing

    def _notes(self, plan: Plan) -> list[str]:
        record, notes = self._record, []
        if plan.left_out:
            notes.append(
                f"Thinned out: of {quantity(len(record.events), 'call')} the first, the last and "
                f"what went wrong between are drawn; {plan.left_out} are not."
            )
        if len(record.processes) > len(plan.lanes):
            more = len(record.processes) - len(plan.lanes)
            notes.append(f"{quantity(more, 'process', 'processes')} more took part: not drawn.")
        if not record.events:
            notes.append("Nothing was recorded.")
        return notes

    def text(self) -> str:
        """A line an event: when, the lanes and the arrow that ends there, Lamport's number."""
        plan, events = Plan(self._record, self._most), self._record.events
        names = [short(name, 16) for name in plan.lanes]
        step = max([12, *(len(name) + 2 for name in names)])
        pad = " " * 11
        head = f"{'ms':>9}  " + "".join(name.ljust(step) for name in names)
        lines = [self.title, "", head.rstrip()]
        ending: dict[int, list[Arrow]] = defaultdict(list)
        for arrow in plan.arrows:
            at = arrow.message.send if arrow.message.receive is None else arrow.message.receive
            ending[at].append(arrow)
        for row in plan.rows:
            if row.event is None:
                lines.append(f"{pad}⋮  {quantity(row.left_out, 'call')} not shown")
                continue
            event, here = events[row.event], plan.lane(row.event) * step
            cells = list("│".ljust(step) * len(plan.lanes))
            said = f"{short(event.process, 24)}: {_words(event)}"
            if row.event in plan.senders or ending[row.event]:
                said += "  " + _letters(event.data, event.bytes or len(event.data), 24)
            for arrow in ending[row.event]:
                if arrow.lost:
                    _stub(cells, here, arrow.way(len(plan.lanes)))
                    said += f"  ✗ {_bytes(arrow.message.bytes)} {_missed(event)}"
                else:
                    _across(cells, arrow.lane * step, here)
            cells[here] = "●"
            when = f"{plan.when(row.event) * 1000:.3f}"
            lines.append(f"{when:>9}  {''.join(cells)}{event.lamport:>3}  {said}".rstrip())
        return "\n".join([*map(visible, lines), "", *self._notes(plan), self.description])


def _across(cells: list[str], start: int, end: int) -> None:
    """An arrow from column to column, over the lanes between them."""
    if start == end:
        cells[start + 1 : start + 4] = "◀─┘"
        return
    way = 1 if end > start else -1
    cells[start] = "├" if way > 0 else "┤"
    for at in range(start + way, end, way):
        cells[at] = "┼" if cells[at] == "│" else "─"
    cells[end - way] = "▶" if way > 0 else "◀"


def _stub(cells: list[str], start: int, way: int) -> None:
    """The beginning of an arrow that arrives nowhere."""
    for at in range(1, 7):
        if 0 <= start + way * at < len(cells):
            cells[start + way * at] = "╌" if at < 6 else "✗"


def space_time(record: Record, *, title: str = "", most: int = MOST_EVENTS) -> SpaceTime:
    """The space-time diagram of a record: a lane for each process, an arrow for each message."""
    return SpaceTime(record, title=title, most=most)


class _Picture:
    """The drawing of a plan."""

    def __init__(self, plan: Plan, notes: Callable[[Plan], list[str]]) -> None:
        self.plan, self.events = plan, plan.record.events
        for at, row in enumerate(plan.rows):
            row.y = TOP + ROW * (at + 0.7)
        self.bottom = plan.rows[-1].y + ROW if plan.rows else TOP + ROW
        self.places = Places()
        self._lay_out()
        self.width = max(self.x(max(len(plan.lanes) - 1, 0)) + self.right, 420.0)
        a_line = max(40, int((self.width - 32) / 6.8))
        told = notes(plan)
        lines = sum(1 + len(note) // (a_line - 12) for note in told)
        self.drawing = Drawing(self.width, self.bottom + FOOT + 30 + 15 * lines)
        self._lanes()
        self._waits()
        self._arrows()
        self._calls()
        self._legend(self.bottom + FOOT + 6)
        y = self.bottom + FOOT + 32
        for note in told:
            y = self.drawing.note(16, y, note, a_line)

    def x(self, lane: int) -> float:
        """The lane's place."""
        return self.left + lane * self.gap

    def y(self, event: int) -> float:
        """The row's place."""
        return self.plan.row_of[event].y

    def _lay_out(self) -> None:
        """How much room words and arrows need."""
        lanes = self.plan.lanes
        last = len(lanes) - 1
        widths = [0.0, 0.0, 0.0]  # of words left of all lanes, between lanes, right of all
        for i in self.plan.row_of:
            lane = self.plan.lane(i)
            where = 2 if lane == last else 0 if lane == 0 else 1
            widths[where] = max(widths[where], width_of(_words(self.events[i]), SIZE))
        header = max((width_of(short(name, 22), 13) for name in lanes), default=0) + 24
        least = 250 if last < 3 else 200 if last < 6 else 150
        self.gap = max(header + 16, least, widths[1] + 40)
        self.left = CLOCK + max(widths[0] + 26, header / 2, 60)
        self.right = max(widths[2] + 34, header / 2 + 16)

    # ---- lanes

    def _lanes(self) -> None:
        drawing = self.drawing
        drawing.text(CLOCK - 10, TOP - 34, "time in ms", 10, "quiet", "end")
        pids = {event.process: event.pid for event in self.events}
        for at, name in enumerate(self.plan.lanes):
            x = self.x(at)
            lane = drawing.group("lane", name if len(name) > 22 else "")
            drawing.line(x, TOP - 14, x, self.bottom, "quiet", 1.5, into=lane)
            text = short(name, 22)
            width = width_of(text, 13) + 20
            for y in [TOP - 52, *([self.bottom] if self.bottom > 900 else [])]:
                drawing.rect(x - width / 2, y, width, 24, "paper", "ink", round=5, into=lane)
                drawing.text(x, y + 17, text, 13, anchor="middle", bold=True, into=lane)
            if pids.get(name):
                drawing.text(x + 6, TOP - 16, f"pid {pids[name]}", 10, "quiet", into=lane)

    def _waits(self) -> None:
        """A thick piece of the lane where a call took long enough to be seen."""
        plan = self.plan
        scale: list[tuple[float, float]] = []  # (time, y), neither ever going back
        for row in plan.rows:
            if row.event is not None:
                time = plan.when(row.event)
                scale.append((max(time, scale[-1][0] if scale else time), row.y))
        group = self.drawing.group()
        for i, row in plan.row_of.items():
            event = self.events[i]
            if i in plan.senders:
                first, last = row.y, self._at(scale, event.time)
            else:
                first, last = self._at(scale, event.time - event.took), row.y
            if event.took > 0 and last - first >= ROW * 0.45:
                hint = f"{event.op} took {duration(event.took)}"
                thick = self.drawing.group("wait", hint, into=group)
                x = self.x(plan.lane(i))
                self.drawing.rect(x - 4, first, 8, last - first, "orange", "", 3, into=thick)

    def _at(self, scale: list[tuple[float, float]], time: float) -> float:
        """Where a moment is between the rows."""
        at = bisect.bisect_left(scale, (time, 0.0))
        if at == 0:
            return TOP - 6
        if at == len(scale):
            return scale[-1][1] + ROW * 0.6
        (t0, y0), (t1, y1) = scale[at - 1], scale[at]
        return y1 if t1 <= t0 else y0 + (y1 - y0) * (time - t0) / (t1 - t0)

    # ---- calls

    def _calls(self) -> None:
        drawing = self.drawing
        times = drawing.group("times")
        calls = drawing.group("calls", halo=True)
        for row in self.plan.rows:
            if row.event is None:
                self._gap(row)
                continue
            event = self.events[row.event]
            x, y = self.x(self.plan.lane(row.event)), row.y
            when = f"{self.plan.when(row.event) * 1000:.3f}"
            drawing.text(CLOCK - 10, y + 4, when, 10, "quiet", "end", into=times)
            group = drawing.group("event", self._hint(event), into=calls)
            colour = "red" if event.error else "ink"
            drawing.circle(x, y, CIRCLE, "paper", colour, into=group)
            number = str(event.lamport)
            size = 9 if len(number) < 4 else 7
            drawing.text(x, y + 3.5, number, size, anchor="middle", into=group)
            spot = self.spots[row.event]
            drawing.text(spot.x, spot.y, _words(event), SIZE, colour, spot.anchor, into=group)

    def _place_calls(self) -> None:
        """The words of the calls, each on the side and the height where no arrow passes."""
        self.spots: dict[int, Spot] = {}
        last = len(self.plan.lanes) - 1
        for i, row in self.plan.row_of.items():
            lane = self.plan.lane(i)
            x, width = self.x(lane), width_of(_words(self.events[i]), SIZE)
            right = Spot(x + 15, row.y + 4, width)
            left = Spot(x - 15, row.y + 4, width, "end")
            if lane in (0, last):
                spot = left if lane == 0 and last > 0 else right
            else:
                sides = [left, right]
                spots = [one._replace(y=one.y + dy) for dy in (0, 11, -11) for one in sides]
                spot = self.places.best(spots, limit=1e9) or left
            self.spots[i] = spot
            self.places.text(spot)

    def _gap(self, row: Row) -> None:
        group = self.drawing.group("gap")
        self.drawing.rect(8, row.y - 11, self.width - 16, 22, "faint", "", 4, 0.5, into=group)
        words = f"⋮   {quantity(row.left_out, 'call')} not drawn   ⋮"
        self.drawing.text(self.width / 2, row.y + 4, words, 11, "ink", "middle", into=group)

    # ---- messages

    def _ends(self, arrow: Arrow) -> tuple[float, float, float, float]:
        """Where it begins and where it ends, both outside the circles."""
        x1, y1 = self.x(arrow.lane), self.y(arrow.message.send)
        if arrow.message.receive is None or arrow.to is None:
            way = arrow.way(len(self.plan.lanes))
            x2, y2 = x1 + way * min(self.gap * 0.5, 130), y1 + ROW * 0.42
        else:
            x2, y2 = self.x(arrow.to), self.y(arrow.message.receive)
        length = math.hypot(x2 - x1, y2 - y1) or 1.0
        ux, uy = (x2 - x1) / length * (CIRCLE + 1), (y2 - y1) / length * (CIRCLE + 1)
        back = 0 if arrow.lost else 1
        return x1 + ux, y1 + uy, x2 - ux * back, y2 - uy * back

    def _arrows(self) -> None:
        for row in self.plan.rows:
            if row.event is not None:
                self.places.disc(self.x(self.plan.lane(row.event)), row.y, CIRCLE)
        ends = [self._ends(arrow) for arrow in self.plan.arrows]
        for at, (x1, y1, x2, y2) in enumerate(ends):
            self.places.line(at, x1, y1, x2, y2)
        self._place_calls()
        self.messages = self.drawing.group("messages", halo=True)
        groups = [self._arrow(arrow, *ends[at]) for at, arrow in enumerate(self.plan.arrows)]
        for at, arrow in enumerate(self.plan.arrows):
            self._label(at, arrow, ends[at], groups[at])

    def _arrow(self, arrow: Arrow, x1: float, y1: float, x2: float, y2: float) -> ET.Element:
        drawing = self.drawing
        group = drawing.group(
            "lost" if arrow.lost else "message", self._story(arrow), self.messages
        )
        if arrow.lost:
            drawing.line(x1, y1, x2, y2, "red", 1.5, dashed=True, into=group)
            cross = f"M{x2 - 6:.1f} {y2 - 6:.1f}l12 12m-12 0l12 -12"
            drawing.path(cross, stroke="red", width=3, kind="cross", into=group)
            word = _missed(self.events[arrow.message.send])
            way = arrow.way(len(self.plan.lanes))
            spot = Spot(x2 + way * 11, y2 + 4, width_of(word, 11), "start" if way > 0 else "end")
            self.places.text(spot)
            drawing.text(spot.x, spot.y, word, 11, "red", spot.anchor, bold=True, into=group)
        elif arrow.to == arrow.lane:  # to itself: a bow
            x, end = self.x(arrow.lane), self.y(arrow.message.receive or 0)
            start = self.y(arrow.message.send)
            bow = f"M{x + 9:.1f} {start:.1f}C{x + 48:.1f} {start:.1f} {x + 48:.1f} {end:.1f} "
            drawing.path(bow + f"{x + 20:.1f} {end:.1f}", stroke="blue", into=group)
            drawing.arrow(x + 22, end, x + 10, end, into=group)
        else:
            drawing.arrow(x1, y1, x2, y2, into=group)
        return group

    def _label(
        self, owner: int, arrow: Arrow, ends: tuple[float, float, float, float], into: ET.Element
    ) -> None:
        """Size and first letters along the line, where there is room; else its size; else nothing.

        Best near its beginning: there arrows of the other direction are far away.
        """
        x1, y1, x2, y2 = ends
        way = 1 if x2 > x1 else -1
        length = math.hypot(x2 - x1, y2 - y1)
        turn = math.degrees(math.atan2((y2 - y1) * way, abs(x2 - x1)))
        if arrow.to == arrow.lane or abs(turn) > 62:
            return
        angle = math.radians(turn)
        message = arrow.message
        size = _bytes(message.bytes)
        for words in (f"{size} {_letters(message.data, message.bytes)}".strip(), size):
            width = width_of(words, SIZE)
            free = length - width - (10 if arrow.lost else 16)
            spots = [
                Spot(
                    x1 + way * math.cos(angle) * (8 + free * part) + up * math.sin(angle),
                    y1 + way * math.sin(angle) * (8 + free * part) - up * math.cos(angle),
                    width,
                    "start" if way > 0 else "end",
                    turn,
                )
                for part in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
                for up in (4.0, -11.5)
                if free >= 0
            ]
            # No line goes through the whole words, three at most through the short ones.
            spot = self.places.best(spots, owner, limit=12 if words == size else 3)
            if spot is not None:
                self.places.text(spot)
                colour = "red" if arrow.lost else "ink"
                self.drawing.text(
                    spot.x, spot.y, words, SIZE, colour, spot.anchor, turn=turn, into=into,
                )  # fmt: skip
                return

    def _legend(self, y: float) -> None:
        drawing, x = self.drawing, 16.0
        group = drawing.group("legend")
        drawing.circle(x + 7, y, 7, into=group)
        drawing.text(x + 7, y + 3, "n", 8, anchor="middle", into=group)
        drawing.text(x + 20, y + 4, "call, with Lamport’s number", 10, "quiet", into=group)
        x += 186
        drawing.rect(x, y - 4, 18, 8, "orange", "", 3, into=group)
        drawing.text(x + 24, y + 4, "waits in it", 10, "quiet", into=group)
        if any(arrow.lost for arrow in self.plan.arrows):
            x += 100
            cross = f"M{x:.0f} {y - 5:.0f}l10 10m0 -10l-10 10"
            drawing.path(cross, stroke="red", width=3, into=group)
            drawing.text(x + 17, y + 4, "never received", 10, "quiet", into=group)

    # ---- what the pointer shows

    def _hint(self, event: Event) -> str:
        lines = [f"{event.process}: {event.op}" + (f" at {event.url}" if event.url else "")]
        if event.local or event.peer:
            lines.append(f"{event.local or '?'} – {event.peer or '?'}")
        took = f", took {duration(event.took)}" if event.took > 0 else ""
        lines.append(f"ended at {duration(max(event.time, 0.0))}{took}")
        if event.error:
            lines.append(short(event.error, 160))
        clock = f", vector {event.clock}" if event.clock else ""
        lines.append(f"Lamport {event.lamport}{clock}")
        return "\n".join(lines)

    def _story(self, arrow: Arrow) -> str:
        """A message: its calls, its times, its bytes."""
        message = arrow.message
        send = self.events[message.send]
        at = "" if message.offset is None else f", from byte {message.offset} of the stream"
        lines = [f"{send.process} {send.op}: {quantity(message.bytes, 'byte')}{at}"]
        lines.append(f"sent at {duration(self.plan.when(message.send))}")
        if message.receive is None:
            lines[-1] += "; never received"
        else:
            receive = self.events[message.receive]
            received = duration(max(receive.time, 0.0))
            lines[-1] += f", received at {received} by {receive.process} {receive.op}"
        shown = message.data[:HINTED]
        lines += hex_lines(shown)
        if message.bytes > len(shown):
            lines.append(f"… {quantity(message.bytes - len(shown), 'byte')} more")
        return "\n".join(lines)
