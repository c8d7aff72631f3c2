# SPDX-License-Identifier: Apache-2.0
"""What a record is made of: events, the messages between them, and the whole.

An `Event` is one call of one process after it ended; a `Message` is what one send sent and the
receive that took it. A `Record` holds both and tells what they mean.
"""

from __future__ import annotations

import builtins
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["DATA_KEPT", "Event", "Message", "Record"]

DATA_KEPT = 256  # of what a call moved, so many bytes are kept


class Event(NamedTuple):
    """One call of one process, after it ended."""

    process: str  # its lane: the name the lab or `ipcx draw` gave it
    pid: int
    number: int  # its place in its process, from 0
    time: float  # seconds since the record began, when the call ended; one clock for the host
    took: float  # seconds from call to outcome
    op: str  # the method: "send", "recv", "accept", "receive" …
    kind: str  # "stream", "datagram", "channel", "other"
    local: str  # "127.0.0.1:4711", "/path", "@abstract"; "" unknown
    peer: str
    url: str  # a channel's; else ""
    bytes: int | None  # moved
    data: builtins.bytes  # the first DATA_KEPT of them
    error: str  # "" or "ConnectionResetError: …"
    lamport: int = 0  # filled in by the matching
    clock: tuple[int, ...] = ()  # vector clock, one entry a lane of Record.processes

    def __str__(self) -> str:
        where = self.url or " > ".join(filter(None, (self.local, self.peer)))
        what = self.error or ("" if self.bytes is None else f"{self.bytes} bytes")
        return f"{self.time * 1000:10.3f} ms  {self.process}  {self.op} {where}  {what}".rstrip()


class Message(NamedTuple):
    """What one send sent.

    One stream send may be read by several receives and the other way round: then there is one
    message for each pair of them.
    """

    send: int  # index into Record.events
    receive: int | None  # index; None: lost, or nobody took it
    offset: int | None  # where it begins in its stream; None: datagrams and channels' messages
    bytes: int
    data: builtins.bytes


class Record:
    """What the processes of the lab did, by time, and which message went from whom to whom."""

    def __init__(self, processes: list[str], events: list[Event], messages: list[Message]) -> None:
        self.processes = processes  # the lanes, in order of appearance
        self.events = events  # by time
        self.messages = messages
        self.notes: list[str] = []  # what a reader should know: who did not record, what is cut

    @property
    def lost(self) -> list[Message]:
        """What was sent and never received."""
        return [message for message in self.messages if message.receive is None]

    def between(self, a: str, b: str) -> Record:
        """What two of the processes had to do with each other: their own lanes alone."""
        for name in (a, b):
            if name not in self.processes:
                raise ValueError(
                    f"no process {name!r} is in this record; there are: {', '.join(self.processes)}"
                )
        lanes = [name for name in self.processes if name in (a, b)]
        kept = [i for i, event in enumerate(self.events) if event.process in lanes]
        place = {old: new for new, old in enumerate(kept)}
        clocks = [self.processes.index(name) for name in lanes]
        events = [self.events[i] for i in kept]
        return Record(
            lanes,
            [
                e._replace(clock=tuple(e.clock[i] for i in clocks) if e.clock else ())
                for e in events
            ],
            [
                m._replace(
                    send=place[m.send], receive=None if m.receive is None else place[m.receive]
                )
                for m in self.messages
                if m.send in place and (m.receive is None or m.receive in place)
            ],
        )

    def latencies(self) -> list[float]:
        """Seconds from each send's outcome to the receive's that took the last of it.

        A receive can end before the send that it took from does: the latency is 0 then.
        """
        last: dict[int, float] = {}
        for message in self.messages:
            if message.receive is not None:
                taken = self.events[message.receive].time - self.events[message.send].time
                last[message.send] = max(last.get(message.send, 0.0), taken)
        return list(last.values())

    def space_time(self) -> Any:
        """The space–time diagram: a lane for each process, an arrow for each message."""
        return import_module("ipcx.lab.spacetime").SpaceTime(self)

    def stream_view(self) -> Any:
        """The bytes as they were sent beside the bytes as each receive cut them."""
        return import_module("ipcx.lab.stream_view").StreamView(self)

    def to_pcapng(self, path: str | os.PathLike[str]) -> Path:
        """Writes a capture that Wireshark opens; the headers are made up, the bytes are not."""
        made: Path = import_module("ipcx.lab.export").to_pcapng(self, path)
        return made

    def to_shiviz(self, path: str | os.PathLike[str] | None = None) -> str:
        """The log that ShiViz draws, its regular expression in the first line."""
        text: str = import_module("ipcx.lab.export").to_shiviz(self)
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return text

    def json(self) -> str:
        """The whole record for machines; `from_json` reads it."""

        def plain(row: Event | Message) -> dict[str, Any]:
            return {**row._asdict(), "data": row.data.hex()}

        return json.dumps(
            {
                "processes": self.processes,
                "events": [plain(event) for event in self.events],
                "messages": [plain(message) for message in self.messages],
                "notes": self.notes,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record that `json` wrote."""
        found = json.loads(text)

        def whole(row: dict[str, Any]) -> dict[str, Any]:
            return {**row, "data": bytes.fromhex(row["data"])}

        made = Record(
            found["processes"],
            [Event(**{**whole(row), "clock": tuple(row["clock"])}) for row in found["events"]],
            [Message(**whole(row)) for row in found["messages"]],
        )
        made.notes = list(found.get("notes", ()))
        return made

    def __str__(self) -> str:
        try:
            return str(self.space_time())
        except ModuleNotFoundError:
            return "\n".join(map(str, self.events))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        try:
            return self.space_time()._repr_mimebundle_(include, exclude)
        except ModuleNotFoundError:
            return {"text/plain": str(self)}
