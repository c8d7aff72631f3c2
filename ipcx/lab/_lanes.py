# SPDX-License-Identifier: Apache-2.0
"""What a space-time diagram shows of a record, and in which order: its rows and its arrows."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipcx.lab.model import Event, Message, Record

__all__ = ["MOST_EVENTS", "MOST_LANES", "Arrow", "Plan", "Row", "moment"]

MOST_EVENTS = 100  # rows; of more, the beginning, the losses and the end are drawn
MOST_LANES = 16


@dataclass
class Row:
    """A line of the diagram: an event, or the gap that stands for `left_out` of them."""

    event: int | None
    left_out: int = 0
    y: float = 0.0


@dataclass
class Arrow:
    """A message that is drawn."""

    message: Message
    lane: int  # the sender's
    to: int | None  # the receiver's; None: where it would have gone is not known

    @property
    def lost(self) -> bool:
        """Nobody received it."""
        return self.message.receive is None

    def way(self, lanes: int) -> int:
        """1: to the right, -1: to the left, 0: back to its own lane."""
        if self.to is None or (self.lost and self.to == self.lane):
            return 1 if self.lane + 1 < lanes or not self.lane else -1
        return (self.to > self.lane) - (self.to < self.lane)


class Plan:
    """What is drawn of a record: at most `most` events, the lanes, the arrows between them."""

    def __init__(self, record: Record, most: int) -> None:
        self.record = record
        self.lanes = record.processes[:MOST_LANES]
        self.lane_of = {name: at for at, name in enumerate(self.lanes)}
        self.senders = {message.send for message in record.messages}
        order = [i for i in _in_order(record, self.senders) if self.drawn(i)]
        self.rows = _chosen(record, order, most)
        self.row_of = {row.event: row for row in self.rows if row.event is not None}
        self.arrows = list(self._arrows())

    def drawn(self, event: int) -> bool:
        """Whether an event is of a lane that is drawn."""
        return self.record.events[event].process in self.lane_of

    def lane(self, event: int) -> int:
        """The number of an event's lane."""
        return self.lane_of[self.record.events[event].process]

    def when(self, event: int) -> float:
        """Its moment, in seconds since the record began."""
        return max(moment(self.record.events[event], event in self.senders), 0.0)

    @property
    def left_out(self) -> int:
        """How many events are not drawn."""
        return sum(row.left_out for row in self.rows)

    def _arrows(self) -> Iterator[Arrow]:
        target = _where_to(self.record)
        for message in self.record.messages:
            if message.send not in self.row_of:
                continue
            if message.receive is None:
                event = self.record.events[message.send]
                to = self.lane_of.get(target.get((event.process, event.peer), ""))
                yield Arrow(message, self.lane(message.send), to)
            elif message.receive in self.row_of:
                yield Arrow(message, self.lane(message.send), self.lane(message.receive))


def moment(event: Event, sends: bool) -> float:
    """When an event counts: a send when it was called, whatever else when it ended."""
    return event.time - event.took if sends else event.time


def _in_order(record: Record, senders: set[int]) -> list[int]:
    """The events by time, none before what it follows: its lane's earlier ones, or its send."""
    when = [moment(event, i in senders) for i, event in enumerate(record.events)]
    before: list[int] = [0] * len(when)
    after: dict[int, list[int]] = defaultdict(list)

    def follows(first: int, second: int) -> None:
        after[first].append(second)
        before[second] += 1

    lanes: dict[str, list[int]] = defaultdict(list)
    for i, event in enumerate(record.events):
        lanes[event.process].append(i)
    for lane in lanes.values():
        # By number alone a thread that waits long would hold up the others of its process.
        lane.sort(key=lambda i: (when[i], record.events[i].number))
        for first, second in pairwise(lane):
            follows(first, second)
    for message in record.messages:
        if message.receive is not None and message.receive != message.send:
            follows(message.send, message.receive)
    ready = [(when[i], i) for i, count in enumerate(before) if count == 0]
    heapq.heapify(ready)
    found: list[int] = []
    done: set[int] = set()
    while len(found) < len(when):
        if not ready:  # it contradicts itself; the clock decides
            ready = [min((when[i], i) for i in range(len(when)) if i not in done)]
        _, i = heapq.heappop(ready)
        if i in done:
            continue
        done.add(i)
        found.append(i)
        for other in after[i]:
            before[other] -= 1
            if before[other] == 0:
                heapq.heappush(ready, (when[other], other))
    return found


def _wanted(record: Record, order: list[int], most: int) -> set[int]:
    """The events that are drawn: of too many, whole messages of the beginning and of the end."""
    if len(order) <= most:
        return set(order)
    place = {event: at for at, event in enumerate(order)}
    messages = sorted(
        (one for one in record.messages if one.send in place and (one.receive or 0) in place),
        key=lambda one: place[one.send],
    )
    wanted: set[int] = set()

    def take(some: Iterable[Message], limit: int) -> None:
        for one in some:
            ends = {one.send} if one.receive is None else {one.send, one.receive}
            if len(wanted | ends) > limit:
                break
            wanted.update(ends)

    take(messages, most // 2)
    take(reversed(messages), most * 3 // 4)
    take((one for one in messages if one.receive is None), most * 7 // 8)
    wrong = (event for event in order if record.events[event].error)
    for event in (*wrong, *order):
        if len(wanted) >= most:
            break
        wanted.add(event)
    return wanted


def _chosen(record: Record, order: list[int], most: int) -> list[Row]:
    """The rows: the events that are drawn, and the gaps between them."""
    wanted = _wanted(record, order, most)
    rows: list[Row] = []
    for drawn, run in groupby(order, wanted.__contains__):
        events = list(run)
        if drawn or len(events) <= 2:  # a band would take as much room
            rows += map(Row, events)
        else:
            rows.append(Row(None, len(events)))
    return rows


def _where_to(record: Record) -> dict[tuple[str, str], str]:
    """(sender, the peer's address) → the lane that has received from there, or is called so."""
    seen: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for message in record.messages:
        if message.receive is not None:
            event = record.events[message.send]
            seen[event.process, event.peer][record.events[message.receive].process] += 1
    local = {event.local: event.process for event in record.events if event.local}
    found: dict[tuple[str, str], str] = {}
    for event in record.events:
        key = (event.process, event.peer)
        others = [lane for lane in record.processes if lane != event.process]
        if seen[key]:
            found[key] = min(seen[key].items(), key=lambda item: (-item[1], item[0]))[0]
        elif local.get(event.peer, event.process) != event.process:
            found[key] = local[event.peer]
        elif len(others) == 1:
            found[key] = others[0]
    return found
