# SPDX-License-Identifier: Apache-2.0
"""Who received what was sent: the files of a record become a `Record`.

Nothing is added to what passes, so it is found out afterwards. Of byte streams the two ends are
found by their addresses or inodes, and the bytes by their place in the stream: one send may come
out of several receives and the other way round. Datagrams and channels' messages are found by
content and order: what is left over was lost, what comes twice was duplicated.
"""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipcx.lab import _tape
from ipcx.lab._channel_ends import messages as channel_messages
from ipcx.lab._parts import Call, End, Found, parts_of, plain, same_place, take, to
from ipcx.lab.clocks import stamped
from ipcx.lab.model import Event, Message, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["load", "read_file", "settled"]

_PROBE = 4096  # so many bytes of two streams are compared when nothing else tells whose they are


# --- reading --------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _File:
    name: str
    pid: int
    calls: list[Call] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    missed: int = 0


def read_file(path: str, most: int | None = None) -> _File | None:
    """What a process has written: up to the last whole record, whatever became of it.

    Or the first `most` of its calls.
    """
    try:
        with open(path, "rb") as opened:
            tape = opened.read()
    except OSError:
        return None
    rows = _tape.entries(tape) if _tape.is_tape(tape) else iter(())
    head = next(rows, None)
    if not isinstance(head, dict) or "process" not in head:
        return None
    kept = list(itertools.islice(rows, most))
    made = _File(head["process"], head["pid"], missed=_tape.missed(tape))
    if most is not None and len(kept) == most:
        made.missed += max(0, _tape.held(tape) - 1 - most)
    known: dict[int, End] = {}
    for row in kept:
        if isinstance(row, _tape.Plain):
            made.calls.append(_plain_call(made, row, known))
        elif "thing" in row:
            number = row.pop("thing")
            end = known.get(number)
            if end is None:
                end = known[number] = End(made.pid, number)
                made.ends.append(end)
            for key, value in row.items():
                setattr(end, key, value)
        elif "op" in row:
            made.calls.append(_call(made, row, known))
    return made


def _plain_call(file: _File, row: _tape.Plain, known: dict[int, End]) -> Call:
    end = known.get(row.number)
    if end is not None and not end.first:
        end.first = row.ended
    parts = [(row.moved, row.data)] if row.moved or (row.moved == 0 and _whole(end)) else []
    return Call(
        file.name, file.pid, row.ended, row.begun if row.begun > 0 else row.ended, row.op, end,
        row.moved, row.data, row.error, row.address, parts, row.begun < 0,
    )  # fmt: skip


def _call(file: _File, row: dict[str, Any], known: dict[int, End]) -> Call:
    end = known.get(row["s"])
    if end is not None and not end.first:
        end.first = row["t"]
    data = bytes.fromhex(row["d"])
    parts = [(row["m"], data)] if row["m"] or (row["m"] == 0 and _whole(end)) else []
    if "ms" in row:
        parts = [(size, bytes.fromhex(text)) for size, text in row["ms"]]
        data = parts[0][1] if parts else b""
        row["m"] = sum(size for size, _ in parts)
    return Call(
        file.name, file.pid, row["t"], row["b"] if row["b"] > 0 else row["t"], row["op"], end,
        row["m"], data, row.get("e", ""), row.get("a", ""), parts, row["b"] < 0,
    )  # fmt: skip


def _whole(end: End | None) -> bool:
    """Whether what it carries are messages: of these an empty one is one, too."""
    return end is not None and end.kind in ("datagram", "channel")


def _files(folder: str, most: int | None) -> list[_File]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names if name.endswith(_tape.SUFFIX)]
    return [made for path in paths if (made := read_file(path, most)) is not None]


# --- byte streams ---------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Stream:
    """One end of a byte stream, whoever in however many processes uses it."""

    ends: list[End]
    sends: list[Call] = field(default_factory=list)
    receives: list[Call] = field(default_factory=list)

    @property
    def end(self) -> End:
        return self.ends[0]

    @property
    def first(self) -> int:
        return min((end.first for end in self.ends if end.first), default=0)

    @property
    def late(self) -> bool:
        """Bytes may have passed before the record began."""
        return all(end.late for end in self.ends)

    def any(self, name: str) -> str:
        return next((getattr(end, name) for end in self.ends if getattr(end, name)), "")


def _streams(calls: list[Call], ends: list[End]) -> list[_Stream]:
    groups: dict[Any, _Stream] = {}
    of: dict[int, _Stream] = {}
    for end in ends:
        if end.kind == "stream":
            key = end.id or (end.pid, end.number)
            group = groups.setdefault(key, _Stream([]))
            group.ends.append(end)
            of[id(end)] = group
    for call in calls:
        if call.end is not None and (stream := of.get(id(call.end))) is not None:
            if call.sends:
                stream.sends.append(call)
            elif call.receives:
                stream.receives.append(call)
    return list(groups.values())


def _pairs(streams: list[_Stream]) -> Iterator[tuple[_Stream, _Stream]]:
    """Both directions of each connection of which both ends are known."""
    left = dict.fromkeys(map(id, streams))
    by_id = {stream.any("id"): stream for stream in streams if stream.any("id")}

    def both(a: _Stream, b: _Stream) -> Iterator[tuple[_Stream, _Stream]]:
        left.pop(id(a), None)
        left.pop(id(b), None)
        yield a, b
        if a is not b:
            yield b, a

    for stream in streams:
        if stream.any("id").startswith("pipe:"):
            yield from both(stream, stream)
        mate = by_id.get(stream.any("peer_id"))
        if mate is not None and id(stream) in left and id(mate) in left:
            yield from both(stream, mate)
    by_address: dict[tuple[str, str], list[_Stream]] = {}
    for stream in sorted(streams, key=lambda one: one.first):
        local, peer = plain(stream.any("local")), plain(stream.any("peer"))
        if id(stream) in left and ":" in local and ":" in peer:
            by_address.setdefault((local, peer), []).append(stream)
    for (local, peer), ours in by_address.items():
        # A port may have been used again: the first with the first, the second with the second.
        for a, b in zip(ours, by_address.get((peer, local), []), strict=False):
            if id(a) in left and id(b) in left:
                yield from both(a, b)
    rest = [one for one in streams if id(one) in left and (one.sends or one.receives)]
    for a, b in _by_content(rest):
        yield from both(a, b)


def _by_content(streams: list[_Stream]) -> Iterator[tuple[_Stream, _Stream]]:
    """Ends whose bytes agree: behind a relay, or where the kernel does not tell."""
    found: list[tuple[int, int, int]] = []
    sent = [(_known(one.sends), _moved(one.sends)) for one in streams]
    got = [(_known(one.receives), _moved(one.receives)) for one in streams]
    for i, a in enumerate(streams):
        for j in range(i + 1, len(streams)):
            there = _agree(*sent[i], *got[j])
            back = _agree(*sent[j], *got[i]) if there >= 0 else -1
            if back >= 0 and there + back > 0:
                found.append((-(there + back), abs(a.first - streams[j].first), i * 10**6 + j))
    used: set[int] = set()
    for _, _, both in sorted(found):
        i, j = divmod(both, 10**6)
        if not used & {i, j}:
            used |= {i, j}
            yield streams[i], streams[j]


def _agree(sent: dict[int, int], sent_all: int, got: dict[int, int], got_all: int) -> int:
    """How many bytes that were received are those that were sent; -1: one of them is not."""
    if got_all > sent_all:
        return -1
    found = 0
    for at, byte in got.items():
        there = sent.get(at, byte)
        if there != byte:
            return -1
        found += at in sent
    return found


def _moved(calls: list[Call]) -> int:
    return sum(call.size or 0 for call in calls)


def _known(calls: list[Call]) -> dict[int, int]:
    known: dict[int, int] = {}
    at = 0
    for call in calls:
        if at >= _PROBE:
            break
        known.update(enumerate(call.data, at))
        at += call.size or 0
    return known


def _before(a: _Stream, b: _Stream) -> int | None:
    """How many bytes b received that a sent before the record; negative: the other way round.

    None: their contents do not tell.
    """
    sent, got = _known(a.sends), _known(b.receives)
    if not sent or not got:
        return 0
    for most in range(_PROBE):
        for shift in (most, -most):
            common = [at for at in sent if at + shift in got]
            if common and all(sent[at] == got[at + shift] for at in common):
                return shift
    return None


def _join(sends: list[Call], receives: list[Call], before: int = 0) -> Iterator[Found]:
    """The bytes of a stream are where they are: what two calls have in common is a message."""
    taken = iter(receives)
    receive = next(taken, None)
    came, at = -before, 0  # where `receive` begins; where `send` does
    for send in sends:
        size = send.size or 0
        begin, last = max(at, -before), at + size
        while begin < last:
            while receive is not None and came + (receive.size or 0) <= begin:
                came += receive.size or 0
                receive = next(taken, None)
            until = last if receive is None else min(last, came + (receive.size or 0))
            data = send.data[begin - at : until - at]
            if not data and receive is not None:
                data = receive.data[begin - came : until - came]
            yield Found(send, receive, begin, until - begin, data)
            begin = until
        at = last


def _stream_messages(calls: list[Call], ends: list[End], notes: list[str]) -> Iterator[Found]:
    streams = _streams(calls, ends)
    paired: set[int] = set()
    for a, b in _pairs(streams):
        paired.add(id(a))
        before = _before(a, b) if a.late or b.late else 0
        if before is not None:
            yield from _join(a.sends, b.receives, before)
        else:
            notes.append(
                f"{b.receives[0].lane} received from {a.sends[0].lane} what was sent before the "
                "record began: what came of which send is not known"
            )
    listening = {plain(end.local) for end in ends if end.kind == "stream" and not end.peer}
    for stream in streams:
        if id(stream) in paired or not stream.sends:
            continue
        peer = plain(stream.any("peer"))
        if peer and any(same_place(peer, place) for place in listening):
            yield from _join(stream.sends, [])  # connected, and nobody has accepted
        elif stream.sends:
            lane, where = stream.sends[0].lane, peer or "an unnamed peer"
            notes.append(f"{lane} sent to {where}, where nobody recorded what came")


# --- datagrams ------------------------------------------------------------------------------------


def _local(call: Call) -> str:
    return plain(call.end.local if call.end is not None else "")


def _fits(send: Call, receive: Call) -> bool:
    """Whether by their addresses this was sent to who received it."""
    a, b = send.end, receive.end
    if a is None or b is None:
        return False
    if (a.peer_id and a.peer_id == b.id) or (b.peer_id and b.peer_id == a.id):
        return True
    if not to(send) or not same_place(to(send), _local(receive)):
        return False
    source, own = to(receive), _local(send)
    return not source or not own or same_place(source, own) or own.endswith(":0")


def _datagram_messages(calls: list[Call], notes: list[str]) -> Iterator[Found]:
    ours = [call for call in calls if call.end is not None and call.end.kind == "datagram"]
    sends = parts_of(call for call in ours if call.sends)
    receives = parts_of(call for call in ours if call.receives)
    matched = take(sends, receives, _fits)
    taken_from = {id(matched[id(part)].call) for part in receives if id(part) in matched}
    left = [part for part in receives if id(part) not in matched]
    bound = {_local(call) for call in ours}
    seen: dict[str, bool] = {}
    # Behind a relay the addresses do not meet; the contents do.
    away = [
        p for p in sends if id(p.call) not in taken_from and not _known_place(p.call, seen, bound)
    ]
    strangers = [p for p in left if not _known_place(p.call, seen, bound)]
    relayed = take(away, strangers, lambda send, receive: send.end is not receive.end)
    matched.update(relayed)
    relays = {to(part.call) for part in relayed.values()}
    answering = {to(p.call) for p in strangers if id(p) not in relayed} - relays
    received = {id(send) for send in matched.values()}
    for part in receives:
        if (send := matched.get(id(part))) is not None:
            yield Found(send.call, part.call, None, part.size, send.data)
    silent: set[str] = set()
    for part in sends:
        if id(part) not in received and to(part.call) not in answering:
            yield Found(part.call, None, None, part.size, part.data)
        elif id(part) not in received and to(part.call) not in silent:
            silent.add(to(part.call))
            notes.append(f"{part.call.lane} sent to {to(part.call)}, which did not record")


def _known_place(call: Call, seen: dict[str, bool], bound: set[str]) -> bool:
    where = to(call)
    if where not in seen:
        seen[where] = any(same_place(where, place) for place in bound if place)
    return seen[where]


# --- the record -----------------------------------------------------------------------------------


def load(
    folder: str, began: int, until: int | None = None, most: int | None = None
) -> tuple[Record, bool]:
    """The record in `folder`, and whether something was received that nobody has sent yet."""
    files = _files(folder, most)
    named = _lanes(files)
    calls = sorted(
        (
            call
            for file in files
            for call in file.calls
            if call.at >= began and (until is None or call.at <= until)
        ),
        key=lambda call: call.at,
    )
    # Beyond the first that is cut short nobody can tell what became of a message.
    end = min((file.calls[-1].at for file in files if file.missed and file.calls), default=None)
    ends = [end for file in files for end in file.ends]
    notes = [
        f"{file.name} did more than is kept: {file.missed} calls are missing"
        for file in files
        if file.missed
    ]
    for index, call in enumerate(calls):
        call.index = index
    found = [
        *_stream_messages(calls, ends, notes),
        *_datagram_messages(calls, notes),
        *channel_messages(calls, ends, notes),
    ]
    # What was sent before the record began may have been received before, too.
    found = [one for one in found if one.receive is not None or not one.send.late]
    waits = end is None and _waits(calls, found, files)
    if end is not None:
        calls = [call for call in calls if call.at <= end]  # those in front: their places stay
        found = list(_until(found, end))
        left = {call.lane for call in calls}
        named = [name for name in named if name in left]
    events = _events(calls, began)
    # A send may end, for us, after its answer was sent: what was sent first began first.
    found.sort(key=lambda one: (one.send.begun, one.send.index, one.offset or 0))
    messages = [
        Message(
            one.send.index, None if one.receive is None else one.receive.index, one.offset,
            one.size, one.data,
        )
        for one in found
    ]  # fmt: skip
    made = Record(named, stamped(named, events, messages), messages)
    made.notes = notes
    return made, waits


def _until(found: list[Found], end: int) -> Iterator[Found]:
    """What was received by then, and what was lost: not what was still on its way."""
    latest = max((one.send.begun for one in found if one.receive is not None), default=1 << 63)
    for one in found:
        if one.send.at <= end and (
            one.send.begun < latest if one.receive is None else one.receive.at <= end
        ):
            yield one


def _lanes(files: list[_File]) -> list[str]:
    """Gives each process a name of its own; in order of appearance."""
    files.sort(key=lambda file: file.calls[0].at if file.calls else 1 << 63)
    names: list[str] = []
    for file in files:
        if not file.calls:  # it did nothing
            continue
        name, n = file.name, 1
        while name in names:
            n += 1
            name = f"{file.name}-{n}"
        names.append(name)
        file.name = name
        for call in file.calls:
            call.lane = name
    return names


def _events(calls: list[Call], began: int) -> list[Event]:
    made = []
    numbers: dict[str, int] = {}
    for call in calls:
        end = call.end
        number = numbers.get(call.lane, 0)
        numbers[call.lane] = number + 1
        channel = "://" in call.address
        made.append(
            Event(
                call.lane,
                call.pid,
                number,
                (call.at - began) / 1e9,
                max(0, call.at - call.begun) / 1e9,
                call.op,
                "channel" if channel else end.kind if end is not None else "other",
                end.local if end is not None else "",
                "" if channel or call.op == "bind" else call.address or (end.peer if end else ""),
                call.address if channel else end.url if end is not None else "",
                call.size,
                call.data,
                call.error,
            )
        )
    return made


def _waits(calls: list[Call], found: list[Found], files: list[_File]) -> bool:
    """Whether a receive has more than was sent, and who may have sent it lives."""
    taken: dict[int, int] = {}
    for one in found:
        if one.receive is not None:
            taken[one.receive.index] = taken.get(one.receive.index, 0) + one.size
    if all(taken.get(c.index, 0) >= (c.size or 0) for c in calls if c.receives):
        return False
    return any(os.path.exists(f"/proc/{file.pid}") for file in files if file.pid != os.getpid())


def settled(folder: str, began: int, wait: float, most: int | None = None) -> Record:
    """The record of what had ended by now.

    A send is told of when it has ended; its receiver may be faster. So what was received and not
    sent yet is looked for again, for at most `wait` seconds. Of a file only the first `most` lines
    are read.
    """
    until = time.monotonic_ns()
    deadline = time.monotonic() + wait
    while True:
        made, waits = load(folder, began, most=most)
        if not waits or time.monotonic() >= deadline:
            return _cut(made, (until - began) / 1e9)
        time.sleep(0.002)


def _cut(made: Record, until: float) -> Record:
    """Without what began after the end."""
    kept = [i for i, e in enumerate(made.events) if e.time - e.took <= until]
    if len(kept) == len(made.events):
        return made
    place = {old: new for new, old in enumerate(kept)}
    cut = Record(
        made.processes,
        [made.events[i] for i in kept],
        [
            m._replace(
                send=place[m.send], receive=place.get(m.receive) if m.receive is not None else None
            )
            for m in made.messages
            if m.send in place
        ],
    )
    cut.notes = made.notes
    return cut
