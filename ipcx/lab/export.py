# SPDX-License-Identifier: Apache-2.0
"""A record for other tools: a capture for Wireshark, a log for ShiViz.

The packets of a capture are made up: one for each send, with the addresses, ports, sequence numbers
and checksums that it might have had. The bytes in them are those that were recorded; where more
were sent than are kept, the packet says how long it was and is cut, as with ``tcpdump -s``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import os

    from ipcx.lab.model import Event, Record

__all__ = ["to_pcapng", "to_shiviz"]

ETHERNET, USER0 = 1, 147  # LINKTYPE_…
_SEGMENT = 65483  # what fits a packet of 65535 bytes with any of our headers
_FIN, _SYN, _PSH, _ACK = 1, 2, 8, 16


# --- the file: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html -------------------


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


_END = _option(0, b"")


def _interface(linktype: int, name: str) -> bytes:
    options = _option(2, name.encode()) + _option(9, b"\x09") + _END  # if_name; times in ns
    return _block(1, struct.pack("<HHI", linktype, 0, 0) + options)


class _Packet(NamedTuple):
    time: float
    interface: int
    data: bytes  # what is there of it
    size: int  # what it was
    comment: str

    def block(self) -> bytes:
        ns = max(0, round(self.time * 1e9))
        head = struct.pack(
            "<IIIII", self.interface, ns >> 32, ns & 0xFFFFFFFF, len(self.data), self.size
        )
        options = _option(1, self.comment.encode()[:60000]) + _END if self.comment else b""
        return _block(6, head + _padded(self.data) + options)


def to_pcapng(record: Record, path: str | os.PathLike[str]) -> Path:
    """Writes the capture; returns its path. Times count from the beginning of the record."""
    made = Path(path)
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(4, b"ipcx.lab") + _END
    with made.open("wb") as file:
        file.write(_block(0x0A0D0D0A, section))
        file.write(_interface(ETHERNET, "sockets"))
        file.write(_interface(USER0, "channels"))
        for packet in _packets(record):
            file.write(packet.block())
    return made


# --- addresses ------------------------------------------------------------------------------------


class _Place(NamedTuple):
    host: IPv4Address | IPv6Address
    port: int


def _place(text: str) -> _Place | None:
    """ "127.0.0.1:80" and "[::1]:80"; None: no address of the internet's."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        return None
    host = host.removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        found = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        found = IPv4Address(0)  # a name, and nobody has recorded what became of it
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return _Place(found, int(port))


def _near(place: _Place, other: _Place) -> _Place:
    """Of who is bound to all addresses the one that it has towards `other`."""
    if int(place.host) == 0 or place.host.version != other.host.version:
        return place._replace(host=other.host)
    return place


# --- headers --------------------------------------------------------------------------------------


def _sum(data: bytes) -> int:
    """The Internet checksum: RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _frame(
    source: _Place, to: _Place, protocol: int, header: bytes, at: int, data: bytes, size: int
) -> tuple[bytes, int]:
    """Ethernet and IP around a header, whose checksum is at `at`, and `data`, `size` bytes long."""
    whole = len(header) + size
    four = source.host.version == 4
    pseudo = source.host.packed + to.host.packed
    pseudo += (
        struct.pack("!BBH", 0, protocol, whole) if four else struct.pack("!II", whole, protocol)
    )
    if len(data) == size:  # else what would be summed is not known
        header = (
            header[:at]
            + struct.pack("!H", _sum(pseudo + header + data) or 0xFFFF * (protocol == 17))
            + header[at + 2 :]
        )
    if four:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + whole, 0, 0x4000, 64, protocol, 0)
        ip += source.host.packed + to.host.packed
        ip = ip[:10] + struct.pack("!H", _sum(ip)) + ip[12:]
    else:
        ip = (
            struct.pack("!IHBB", 0x60000000, whole, protocol, 64)
            + source.host.packed
            + to.host.packed
        )
    macs = bytes.fromhex("020000000002020000000001")
    head = macs + struct.pack("!H", 0x0800 if four else 0x86DD) + ip + header
    return head + data, len(head) + size


# --- packets --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Way:
    """One direction of a connection: how far it is."""

    next: int = 0  # the sequence number of its next byte
    told: bool = False  # its SYN has been sent
    ended: bool = False


@dataclass(slots=True)
class _Capture:
    record: Record
    ways: dict[tuple[_Place, _Place], _Way] = field(default_factory=dict)

    def segment(
        self,
        event: Event,
        time: float,
        source: _Place,
        to: _Place,
        flags: int,
        data: bytes,
        size: int,
    ) -> _Packet:
        there = self.ways.setdefault((source, to), _Way())
        back = self.ways.setdefault((to, source), _Way())
        ack = back.next if flags & _ACK else 0
        header = struct.pack(
            "!HHIIBBHHH", source.port, to.port, there.next & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50,
            flags, 65535, 0, 0,
        )  # fmt: skip
        there.next += size + bool(flags & _SYN) + bool(flags & _FIN)
        raw, whole = _frame(source, to, 6, header, 16, data, size)
        return _Packet(time, 0, raw, whole, f"{event.process}: {event.op}")

    def greet(self, event: Event, time: float, client: _Place, server: _Place) -> Iterator[_Packet]:
        """SYN, SYN ACK, ACK; a port that is used again begins anew."""
        self.ways[client, server] = _Way(told=True)
        self.ways[server, client] = _Way(told=True)
        yield self.segment(event, time, client, server, _SYN, b"", 0)
        yield self.segment(event, time, server, client, _SYN | _ACK, b"", 0)
        yield self.segment(event, time, client, server, _ACK, b"", 0)

    def stream(
        self, event: Event, time: float, source: _Place, to: _Place, recorded: bool
    ) -> Iterator[_Packet]:
        """What a send sent; what a receive got is its ACK, or came from who did not record."""
        if not self.ways.setdefault((source, to), _Way()).told:
            yield from self.greet(event, time, source, to)
        if recorded:
            size, at = event.bytes or 0, 0
            while at < size:
                part = min(size - at, _SEGMENT)
                data = event.data[at : at + part]
                yield self.segment(event, time, source, to, _PSH | _ACK, data, part)
                at += part

    def close(self, event: Event, source: _Place, to: _Place) -> Iterator[_Packet]:
        way = self.ways.get((source, to))
        if way is not None and not way.ended:
            way.ended = True
            yield self.segment(event, event.time, source, to, _FIN | _ACK, b"", 0)


def _packets(record: Record) -> list[_Packet]:
    """By time; each with what was sent and acknowledged up to then."""
    capture = _Capture(record)
    sent = {(e.local, e.peer) for e in record.events if e.kind == "stream" and _is_send(e)}
    went = {m.send for m in record.messages}
    came = {m.receive: m.send for m in record.messages if m.receive is not None}
    takers = {m.send: m.receive for m in record.messages if m.receive is not None}

    def moment(i: int) -> float:
        event = record.events[i]
        return event.time - event.took if _is_send(event) or event.op == "connect" else event.time

    packets: list[_Packet] = []
    for i in sorted(range(len(record.events)), key=lambda i: (moment(i), i)):
        event = record.events[i]
        local, peer = _place(event.local), _place(event.peer)
        if event.kind == "stream" and local and peer:
            packets += _of_stream(capture, event, moment(i), local, peer, sent)
        elif event.kind == "datagram" and local and peer and (event.bytes is not None):
            other = record.events[takers[i]] if i in takers else None
            if _is_send(event):
                packets += _datagram(event, moment(i), local, peer, other)
            elif i not in came:
                packets += _datagram(event, moment(i), peer, local, None)
        elif event.bytes is not None and (_is_send(event) or i in went) and not (local and peer):
            packets += _of_channel(event, moment(i))
    return packets


def _is_send(event: Event) -> bool:
    return event.op.startswith(("send", "write", "commit", "broadcast"))


def _of_stream(
    capture: _Capture,
    event: Event,
    time: float,
    local: _Place,
    peer: _Place,
    sent: set[tuple[str, str]],
) -> Iterator[_Packet]:
    peer, local = _near(peer, local), _near(local, peer)
    if event.op in ("connect", "connect_ex") and not event.error:
        yield from capture.greet(event, time, local, peer)
    elif event.op in ("close", "shutdown"):
        yield from capture.close(event, local, peer)
    elif event.bytes and _is_send(event):
        yield from capture.stream(event, time, local, peer, True)
    elif event.bytes and event.op.startswith(("recv", "read")) and "(" not in event.op:
        alone = (event.peer, event.local) not in sent
        yield from capture.stream(event, time, peer, local, alone)
        yield capture.segment(event, event.time, local, peer, _ACK, b"", 0)


def _datagram(
    event: Event, time: float, source: _Place, to: _Place, other: Event | None
) -> Iterator[_Packet]:
    if other is not None:  # who received it knows both addresses
        source = _place(other.peer) or source
        to = _near(to, _place(other.local) or to)
    to, source = _near(to, source), _near(source, to)
    size = event.bytes or 0
    header = struct.pack("!HHHH", source.port, to.port, (8 + size) & 0xFFFF, 0)
    raw, whole = _frame(source, to, 17, header, 6, event.data[:size], size)
    yield _Packet(time, 0, raw, whole, f"{event.process}: {event.op}")


def _of_channel(event: Event, time: float) -> Iterator[_Packet]:
    where = event.url or event.peer or event.local or "unnamed"
    size = event.bytes or 0
    data = event.data[:size]
    yield _Packet(time, 1, data, size, f"{event.process}: {event.op} {where}")


# --- ShiViz ---------------------------------------------------------------------------------------

SHIVIZ = r"(?<host>\S*) (?<clock>{.*})\n(?<event>.*)"


def to_shiviz(record: Record) -> str:
    """The log: the regular expression, an empty line (one execution), then two lines an event."""
    names = [name.replace(" ", "_") for name in record.processes]
    place = {name: i for i, name in enumerate(record.processes)}
    lines = [SHIVIZ, ""]
    for event in sorted(record.events, key=lambda e: (e.lamport, place[e.process], e.number)):
        clock = {name: n for name, n in zip(names, event.clock, strict=True) if n}
        lines.append(f"{names[place[event.process]]} {json.dumps(clock)}")
        words = [event.op, event.url or event.peer or event.local]
        words.append(event.error or ("" if event.bytes is None else f"{event.bytes} bytes"))
        lines.append(" ".join(" ".join(words).split()))
    return "\n".join(lines) + "\n"
