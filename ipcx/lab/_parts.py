# SPDX-License-Identifier: Apache-2.0
"""What the matching of streams, datagrams and channels shares: ends, calls, and whose is whose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Call", "End", "Found", "Part", "parts_of", "plain", "same_place", "take", "to"]

_SENDS = frozenset(
    ("send", "sendall", "sendto", "sendmsg", "sendfile", "write", "send_many", "commit",
     "broadcast")
)  # fmt: skip
_RECEIVES = frozenset(
    ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "recv_exactly",
     "recv_until", "read", "receive", "receive_many", "receive_into", "receive_view")
)  # fmt: skip


@dataclass(eq=False, slots=True)
class End:
    """A socket or channel in one process."""

    pid: int
    number: int
    kind: str = "other"
    local: str = ""
    peer: str = ""
    url: str = ""
    listener: str = ""
    role: str = ""
    id: str = ""
    peer_id: str = ""
    peer_pid: int = 0
    late: bool = False  # it was there before the record
    first: int = 0


@dataclass(eq=False, slots=True)
class Call:
    """One line of a file."""

    lane: str
    pid: int
    at: int
    begun: int
    op: str
    end: End | None
    size: int | None
    data: bytes
    error: str
    address: str
    parts: list[tuple[int, bytes]]
    late: bool = False  # it began before the record did
    index: int = -1

    @property
    def sends(self) -> bool:
        return self.op in _SENDS and bool(self.parts)

    @property
    def receives(self) -> bool:
        return self.op in _RECEIVES and bool(self.parts)


class Found(NamedTuple):
    """A message: the calls, its place in the stream, its bytes."""

    send: Call
    receive: Call | None
    offset: int | None
    size: int
    data: bytes


class Part(NamedTuple):
    """One message of a call that may have moved many."""

    call: Call
    size: int
    data: bytes

    @property
    def content(self) -> tuple[int, bytes]:
        return self.size, self.data


def parts_of(calls: Iterable[Call]) -> list[Part]:
    return [Part(call, *part) for call in calls for part in call.parts]


def plain(address: str) -> str:
    """An IPv4 address in IPv6's clothes without them."""
    if address.startswith("[::ffff:"):
        host, _, port = address[8:].rpartition("]:")
        return f"{host}:{port}"
    return address


def same_place(a: str, b: str) -> bool:
    """Whether a packet to `a` comes to who is bound to `b`."""
    if a == b:
        return True
    host_a, _, port_a = a.rpartition(":")
    host_b, _, port_b = b.rpartition(":")
    if not port_a.isdigit() or port_a != port_b or not host_a or not host_b:
        return False
    return _anywhere(host_a) or _anywhere(host_b)


def _anywhere(host: str) -> bool:
    """A wildcard, a name, or an address for many."""
    if host in ("0.0.0.0", "[::]", "") or host.endswith(".255"):
        return True
    if host.startswith("["):
        return host.startswith("[ff")
    first = host.split(".")[0]
    return not first.isdigit() or 224 <= int(first) < 240


def _for_many(address: str) -> bool:
    host = address.rpartition(":")[0]
    return (
        host.endswith(".255")
        or host.startswith("[ff")
        or (host.split(".")[0].isdigit() and 224 <= int(host.split(".")[0]) < 240)
    )


def to(call: Call) -> str:
    return plain(call.address or (call.end.peer if call.end is not None else ""))


def take(sends: list[Part], receives: list[Part], fits: Any) -> dict[int, Part]:
    """For each receive (by id) the send it took.

    Of the same content the latest that was sent before: a sender that repeats itself has given up
    on the one before. Among those chosen the order is kept. `fits(send, receive)` may depend on the
    calls' ends and addresses alone: it is asked once for all that share them.
    """
    exact: dict[tuple[int, bytes], list[Part]] = {}
    for part in sends:
        exact.setdefault(part.content, []).append(part)
    longer = _Longer(sends)
    rows: dict[tuple[int, bytes], list[_Row]] = {}
    fitting: dict[tuple[int, tuple[int, str]], bool] = {}
    matched: dict[int, Part] = {}
    used: set[tuple[int, int]] = set()
    chains: dict[tuple[Any, int], list[Part]] = {}
    for part in sorted(receives, key=lambda one: one.call.at):
        content = part.content
        if content not in rows:
            rows[content] = _rows(exact.get(content) or longer.than(part))
        chosen: tuple[int, Part] | None = None
        latest: Part | None = None  # though another receive has taken it
        end, who = id(part.call.end), _who(part.call)
        for row in rows[content]:
            key = (id(row), who)
            if key not in fitting:
                fitting[key] = bool(fits(row.sends[0].call, part.call))
            if not fitting[key]:
                continue
            free = row.free(end, part.call.at, used)
            if free is not None and (chosen is None or free.call.begun > chosen[1].call.begun):
                chosen = row.taker(end), free
            last = row.last(end)
            if last is not None and (latest is None or last.call.begun > latest.call.begun):
                latest = last
        if chosen is not None:
            matched[id(part)] = chosen[1]
            used.add((id(chosen[1]), chosen[0]))
            chains.setdefault((content, end), []).append(part)
        elif latest is not None:
            matched[id(part)] = latest
    for chain in chains.values():
        in_order = sorted((matched[id(part)] for part in chain), key=lambda one: one.call.begun)
        for part, send in zip(chain, in_order, strict=True):
            matched[id(part)] = send
    return matched


def _who(call: Call) -> tuple[int, str]:
    return id(call.end), to(call)


class _Row:
    """Sends of the same content, by the same end to the same address, as they began.

    Receivers ask in the order of time: what had begun by then is a stack, the latest on top.
    """

    def __init__(self, sends: list[Part]) -> None:
        self.sends = sorted(sends, key=lambda one: one.call.begun)
        self.for_many = _for_many(to(sends[0].call))
        self.begun: dict[int, tuple[list[Part], int]] = {}

    def taker(self, end: int) -> int:
        """Whose it is once it was taken: each receiver of a group has one of his own."""
        return end if self.for_many else 0

    def free(self, end: int, at: int, used: set[tuple[int, int]]) -> Part | None:
        """The latest that had begun at that time, and that nobody has taken."""
        taker = self.taker(end)
        stack, count = self.begun.get(taker, ([], 0))
        while count < len(self.sends) and self.sends[count].call.begun <= at:
            stack.append(self.sends[count])
            count += 1
        while stack and (id(stack[-1]), taker) in used:
            stack.pop()
        self.begun[taker] = stack, count
        return stack[-1] if stack else None

    def last(self, end: int) -> Part | None:
        """The latest that had begun when `free` was asked."""
        count = self.begun[self.taker(end)][1]
        return self.sends[count - 1] if count else None


def _rows(sends: list[Part]) -> list[_Row]:
    found: dict[tuple[int, str], list[Part]] = {}
    for part in sends:
        found.setdefault(_who(part.call), []).append(part)
    return list(map(_Row, found.values()))


class _Longer:
    """What may have been cut because the receiver's buffer was too small."""

    def __init__(self, sends: list[Part]) -> None:
        self.sends = sends
        self.beginnings: dict[int, dict[bytes, list[Part]]] = {}  # of so many bytes

    def than(self, part: Part) -> list[Part]:
        size = len(part.data)
        if size not in self.beginnings:
            found = self.beginnings[size] = {}
            for one in self.sends:
                found.setdefault(one.data[:size], []).append(one)
        return [one for one in self.beginnings[size].get(part.data, ()) if one.size > part.size]
