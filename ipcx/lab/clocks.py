# SPDX-License-Identifier: Apache-2.0
"""Lamport's clock and the vector clock of each event of a record.

Both follow from two things: the order within a lane, and that a message is sent before it is
received. The threads of a process share its lane. A send counts from when it *began*: its receiver
may be done before the sender is told so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipcx.lab.model import Event, Message

__all__ = ["happened_before", "stamped"]


def stamped(
    processes: Sequence[str], events: Sequence[Event], messages: Sequence[Message]
) -> list[Event]:
    """The events with `lamport` and `clock` filled in."""
    lane = {name: i for i, name in enumerate(processes)}
    sent: set[int] = {message.send for message in messages}
    came: dict[int, list[int]] = {}
    for message in messages:
        if message.receive is not None:
            came.setdefault(message.receive, []).append(message.send)

    def moment(i: int) -> tuple[float, int, int]:
        event = events[i]
        # What was received at the same tick comes after what was sent.
        return (event.time - event.took if i in sent else event.time, i in came, i)

    lamport = [0] * len(processes)
    vector = [[0] * len(processes) for _ in processes]
    out = list(events)
    for i in sorted(range(len(events)), key=moment):
        own = lane[events[i].process]
        for source in came.get(i, ()):
            if out[source].clock:
                lamport[own] = max(lamport[own], out[source].lamport)
                vector[own] = list(map(max, vector[own], out[source].clock))
        lamport[own] += 1
        vector[own][own] += 1
        out[i] = events[i]._replace(lamport=lamport[own], clock=tuple(vector[own]))
    return out


def happened_before(a: Event, b: Event) -> bool:
    """Whether `a` can have been a cause of `b`: by their vector clocks, not by the time of day."""
    return a.clock != b.clock and all(x <= y for x, y in zip(a.clock, b.clock, strict=True))
