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
    on the one before. Among those chosen the order is kept.
    """
    by_content: dict[tuple[int, bytes], list[Part]] = {}
    for part in sends:
        by_content.setdefault(part.content, []).append(part)
    matched: dict[int, Part] = {}
    used: set[tuple[int, int]] = set()
    chains: dict[tuple[Any, int], list[Part]] = {}
    for part in sorted(receives, key=lambda one: one.call.at):
        fitting = [
            one
            for one in by_content.get(part.content, ()) or _longer(sends, part)
            if one.call.begun <= part.call.at and fits(one.call, part.call)
        ]
        if not fitting:
            continue
        end = id(part.call.end)
        fresh = [
            one for one in fitting if (id(one), end if _for_many(to(one.call)) else 0) not in used
        ]
        chosen = max(fresh or fitting, key=lambda one: one.call.begun)
        matched[id(part)] = chosen
        if fresh:
            used.add((id(chosen), end if _for_many(to(chosen.call)) else 0))
            chains.setdefault((part.content, end), []).append(part)
    for chain in chains.values():
        in_order = sorted((matched[id(part)] for part in chain), key=lambda one: one.call.begun)
        for part, send in zip(chain, in_order, strict=True):
            matched[id(part)] = send
    return matched


def _longer(sends: list[Part], part: Part) -> list[Part]:
    """What was cut because the receiver's buffer was too small."""
    return [
        one for one in sends if one.size > part.size and one.data[: len(part.data)] == part.data
    ]
