# SPDX-License-Identifier: Apache-2.0
"""Which message of a channel came out where: by the ends' names, the contents and the order.

Most channels have no address that both ends know (a segment, a pipe, a pair handed over), so two
ends belong together when their URLs allow it and what one received is, in this order, what the
other sent. What is left over after that (an end that went on in another process, a broadcast) is
matched message by message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from urllib.parse import urlsplit

from ipcx.lab._parts import Call, End, Found, Part, parts_of, same_place, take

__all__ = ["messages"]


@dataclass(eq=False, slots=True)
class _Side:
    """One end and what passed there."""

    end: End
    sends: list[Part] = field(default_factory=list)
    receives: list[Part] = field(default_factory=list)
    mate: _Side | None = None

    @property
    def scheme(self) -> str:
        return self.end.url.partition("://")[0]

    @property
    def server(self) -> str:
        """The URL that was listened at."""
        return self.end.listener or self.end.url


def messages(calls: list[Call], ends: list[End], notes: list[str]) -> Iterator[Found]:
    """What came out of each channel, and what did not."""
    sides = _sides(calls, ends)
    logs = [side for side in sides if side.scheme == "file"]
    yield from _logs(logs)
    sides = [side for side in sides if side.scheme != "file"]
    came: set[int] = set()  # parts that were received, or sent and received
    paired: set[int] = set()
    for a, b in _couples(sides):
        paired |= {id(a), id(b)}
        for one, other in ((a, b), (b, a)):
            for send, receive in _in_order(one.sends, other.receives):
                came |= {id(send), id(receive)}
                yield _found(send, receive)
    broadcasts = parts_of(c for c in calls if c.op == "broadcast" and c.sends)
    for send, receive in _everywhere(broadcasts, sides, came):
        came |= {id(send), id(receive)}
        yield _found(send, receive)
    sends = [p for side in sides for p in side.sends if id(p) not in came]
    receives = [p for side in sides for p in side.receives if id(p) not in came]
    left = take(sends, receives, _may_be)
    for part in receives:
        if (taken := left.get(id(part))) is not None:
            came.add(id(taken))
            yield _found(taken, part)
    yield from _not_received(sides, paired, came, notes)


def _found(send: Part, receive: Part | None) -> Found:
    return Found(send.call, None if receive is None else receive.call, None, send.size, send.data)


def _sides(calls: list[Call], ends: list[End]) -> list[_Side]:
    sides = {id(end): _Side(end) for end in ends if end.kind == "channel"}
    pairs: dict[int, _Side] = {}  # of each process, the first end of a pair
    for call in calls:
        side = sides.get(id(call.end)) if call.end is not None else None
        if side is None:
            continue
        if call.op == "pair":
            first = pairs.pop(call.pid, None)
            if first is None:
                pairs[call.pid] = side
            else:
                first.mate, side.mate = side, first
        elif call.sends and call.op != "broadcast":
            side.sends += parts_of([call])
        elif call.receives:
            side.receives += parts_of([call])
    return [side for side in sides.values() if side.sends or side.receives]


def _couples(sides: list[_Side]) -> Iterator[tuple[_Side, _Side]]:
    """Ends that belong together, the surest first."""
    found = []
    for i, (a, b) in enumerate(combinations(sides, 2)):
        if not _belong(a.end, b.end) and a.mate is not b:
            continue
        there, back = _agreeing(a, b), _agreeing(b, a)
        if there is None or back is None or not (there[0] + back[0] or a.mate is b):
            continue
        known = a.end.peer_pid == b.end.pid or b.end.peer_pid == a.end.pid
        apart = abs(a.end.first - b.end.first)
        order = (a.mate is not b, not known, there[1] + back[1], -there[0] - back[0], apart, i)
        found.append((order, a, b))
    used: set[int] = set()
    for _, a, b in sorted(found, key=lambda row: row[0]):
        if id(a) not in used and id(b) not in used:
            used |= {id(a), id(b)}
            yield a, b


def _belong(a: End, b: End) -> bool:
    """Whether two ends may be those of one channel."""
    if a is b or (a.role and a.role == b.role and a.role != "pair"):
        return False
    if a.peer_pid and a.peer_pid == b.pid:
        return a.url.partition("://")[0] == b.url.partition("://")[0]
    one, other = urlsplit(a.listener or a.url), urlsplit(b.listener or b.url)
    if one.scheme != other.scheme:
        return False
    if one.scheme in ("tcp", "tls", "udp"):
        if (a.late and not a.role) or (b.late and not b.role):
            return True  # whose listener nobody knows any more: their messages tell
        return same_place(one.netloc, other.netloc)
    return (one.netloc, one.path) == (other.netloc, other.path)


def _in_order(sends: list[Part], receives: list[Part]) -> Iterator[tuple[Part, Part]]:
    """Each receive with the next send of the same content."""
    at = 0
    for receive in receives:
        ahead = at
        while ahead < len(sends) and not _same(sends[ahead], receive):
            ahead += 1
        if ahead < len(sends):
            yield sends[ahead], receive
            at = ahead + 1


def _same(send: Part, receive: Part) -> bool:
    return send.content == receive.content and send.call.begun <= receive.call.at


def _agreeing(a: _Side, b: _Side) -> tuple[int, int] | None:
    """How many messages a sent and b received, and how many between b did not; None: it cannot be.

    What a server's peer received may be what was told to all, which its own end does not know.
    """
    pairs = list(_in_order(a.sends, b.receives))
    found = [send for send, _ in pairs]
    rest = b.receives
    if (a.end.late or b.end.late) and pairs:  # what was sent before the record comes first
        rest = b.receives[b.receives.index(pairs[0][1]) :]
    if len(found) < len(rest) and not a.end.peer_pid:
        return None
    last = a.sends.index(found[-1]) + 1 if found else 0
    return len(found), last - len(found)


def _everywhere(
    broadcasts: list[Part], sides: list[_Side], came: set[int]
) -> Iterator[tuple[Part, Part]]:
    """What a server told all its peers."""
    for side in sides:
        waiting = [part for part in side.receives if id(part) not in came]
        mine = [b for b in broadcasts if b.call.end is not None and _belong(b.call.end, side.end)]
        yield from _in_order(mine, waiting)


def _may_be(send: Call, receive: Call) -> bool:
    a, b = send.end, receive.end
    return a is not None and b is not None and _belong(a, b)


def _logs(sides: list[_Side]) -> Iterator[Found]:
    """A log: each that follows gets what anybody appends."""
    came: set[int] = set()
    sends = sorted((p for side in sides for p in side.sends), key=lambda part: part.call.at)
    for side in sides:
        own = [part for part in sends if part.call.end and part.call.end.url == side.end.url]
        for send, receive in _in_order(own, side.receives):
            came.add(id(send))
            yield _found(send, receive)
    followed = {side.end.url for side in sides if side.receives}
    for send in sends:
        if id(send) not in came and send.call.end and send.call.end.url in followed:
            yield _found(send, None)


def _not_received(
    sides: list[_Side], paired: set[int], came: set[int], notes: list[str]
) -> Iterator[Found]:
    for side in sides:
        waiting = [part for part in side.sends if id(part) not in came]
        answered = id(side) in paired or side.mate is not None or len(waiting) < len(side.sends)
        others = any(_belong(side.end, other.end) for other in sides if other is not side)
        if answered or others:
            yield from (_found(part, None) for part in waiting)
        elif waiting:
            lane = waiting[0].call.lane
            notes.append(f"{lane} sent to {side.server}, where nobody recorded what came")
