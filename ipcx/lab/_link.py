# SPDX-License-Identifier: Apache-2.0
"""Trouble on demand: a relay between two ends, which does to bytes and datagrams what networks do.

It is a thread of this process, over plain sockets of the loopback; nobody needs to be root. What
happens to the n-th datagram of a direction is drawn from the seed, the direction, the client and n
alone, so it does not depend on when it comes: the same seed loses the same datagrams.

On TCP a byte that is split off is sent on when the reader *has read* the one before, which the
kernel tells (inet_diag, see `_Unread`): each ``recv()`` gets one byte, however slow the reader is.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import os
import random
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ipcx._closing import Closing
from ipcx._core import Tape
from ipcx.lab import recorder

__all__ = ["Fate", "Link", "link"]

MOST = 65535  # bytes of a datagram
PIECE = 1 << 16  # bytes read from a stream at once
HELD = 1 << 20  # bytes of a stream that wait here; then its sender must wait
LATER = 0.05  # seconds that a datagram is held back at most, when no other one overtakes it
QUIET = 0.05  # seconds without a new byte after which what was merged is passed on
UNREAD = 1.0  # seconds a byte may stay unread (a peek leaves it there) before the next one follows
LOOK = 0.0002  # seconds between two looks whether it was read
UDP = ("loss", "delay", "reorder", "duplicate")
TCP = ("delay", "split", "merge", "cut", "half_open")
WHY_NOT = {
    "loss": "TCP repairs loss by itself: the receiver would only see that it takes longer; "
    "use delay=, cut= or half_open=, or lose datagrams with kind='udp'",
    "reorder": "TCP puts the segments in order again; reorder datagrams with kind='udp'",
    "duplicate": "TCP drops what comes twice; duplicate datagrams with kind='udp'",
    "split": "a datagram arrives whole or not at all; split a stream with kind='tcp'",
    "merge": "two datagrams are never received as one; merge a stream with kind='tcp'",
    "cut": "datagrams have no connection that could be cut; use loss=, or kind='tcp'",
    "half_open": "datagrams have no connection that could be half open; use loss=, or kind='tcp'",
}

_Chance = float | bool | Collection[int]
_Time = float | str | tuple[float | str, float | str]


class Fate(NamedTuple):
    """What became of one datagram."""

    direction: str
    """"there", from the client, or "back"."""
    number: int
    """Its place among those of its direction and client, from 0."""
    what: str
    """"passed", "lost", "duplicated" or "held back"."""


# ---- what is asked for


def seconds(what: str, value: float | str) -> float:
    """0.005, "5ms", "0.2s", "300us"."""
    number: float
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(us|µs|ms|s)\s*", value)
        if match is None:
            raise ValueError(f"{what} is seconds, or a text like '5ms' or '0.2s', not {value!r}")
        number = float(match[1]) * {"s": 1.0, "ms": 1e-3}.get(match[2], 1e-6)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is seconds, or a text like '5ms', not {value!r}")
    else:
        number = float(value)
    if not 0 <= number <= 60:
        raise ValueError(f"{what} is between 0 and 60 seconds, not {value!r}")
    return number


def _delay(value: _Time) -> tuple[float, float]:
    if isinstance(value, tuple):
        low, high = (seconds("delay", each) for each in value)
        if low > high:
            raise ValueError(f"delay=({value[0]!r}, {value[1]!r}): the first is the shorter one")
        return low, high
    always = seconds("delay", value)
    return always, always


def _chance(what: str, value: _Chance) -> Callable[[int, float], bool]:
    """Whether it happens to the datagram of that number, for which that was drawn."""
    if isinstance(value, bool | int | float):
        share = float(value)
        if not 0 <= share <= 1:
            raise ValueError(f"{what} is a share between 0 and 1, or the numbers of datagrams")
        return lambda number, drawn: drawn < share
    chosen = frozenset(value)
    if not all(isinstance(number, int) and number >= 0 for number in chosen):
        raise TypeError(f"{what} is a share between 0 and 1, or the numbers of datagrams, from 0")
    return lambda number, drawn: number in chosen


def _bytes(what: str, value: int | bool | None) -> int | None:
    """After how many bytes; None: never."""
    if value is True:
        return 0
    if value is False or value is None:
        return None
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{what} is True, or after how many bytes, not {value!r}")
    return value


@dataclass
class _Trouble:
    """Of one direction."""

    delay: tuple[float, float] = (0.0, 0.0)
    loss: Callable[[int, float], bool] = lambda number, drawn: False
    reorder: Callable[[int, float], bool] = lambda number, drawn: False
    duplicate: Callable[[int, float], bool] = lambda number, drawn: False
    split: int = 0  # bytes of a piece; 0: as they come
    merge: int | None = None  # bytes that are collected; None: as they come
    cut: int | None = None
    half_open: int | None = None

    @classmethod
    def of(cls, kind: str, given: Mapping[str, Any]) -> _Trouble:
        names = UDP if kind == "udp" else TCP
        made = cls()
        for name, value in given.items():
            if name not in UDP + TCP:
                raise TypeError(f"link knows {', '.join(dict.fromkeys(UDP + TCP))}, not {name!r}")
            if name not in names:
                if value is None or value is False or (name in UDP and value == 0):
                    continue
                raise ValueError(f"{name}= on a {kind} link: {WHY_NOT[name]}")
            if value is None:
                continue
            if name == "delay":
                made.delay = _delay(value)
            elif name in UDP:
                setattr(made, name, _chance(name, value))
            elif name == "split":
                made.split = _size(name, value, 1)
            elif name == "merge":
                made.merge = _size(name, value, HELD) or None
            else:
                setattr(made, name, _bytes(name, value))
        for one, other in (("split", "merge"), ("cut", "half_open")):
            if getattr(made, one) and getattr(made, other):
                raise ValueError(f"{one}= and {other}= in one direction: choose one of them")
        return made


def _size(what: str, value: int | bool, default: int) -> int:
    if isinstance(value, bool):
        return default if value else 0
    if not isinstance(value, int) or not 0 <= value <= HELD:
        raise ValueError(f"{what} is True, or a number of bytes up to {HELD}, not {value!r}")
    return value


# ---- what a record is told


class _Lane:
    """The link's own lane in a record, if one is open: the lines of `ipcx.lab.recorder`.

    The relay's sockets are plain ones in a process that may be a lane itself. A datagram that is
    lost is not told of: nobody has received it.
    """

    KEPT = 256  # bytes of each piece

    def __init__(self, folder: str, kind: str) -> None:
        self.tape: Tape | None = None
        self.known: dict[int, tuple[int, str]] = {}  # by descriptor: number, what was told
        self.numbers = itertools.count(1)
        if folder:
            pid = threading.get_native_id()  # of the relay's thread: no process has it
            self.tape = recorder.new_tape(folder, pid)
            self.write({"process": "link", "pid": pid, "argv": [f"{kind} link"]})

    def write(self, row: dict[str, Any]) -> None:
        if self.tape is not None:
            text = json.dumps(row).encode()
            _ = self.tape.add_call(text) if "op" in row else self.tape.add(text)

    def tell(
        self,
        op: str,
        sock: socket.socket,
        data: bytes | bytearray,
        peer: Any = None,
        begun: int = 0,
    ) -> None:
        """That so much was sent or received by the socket, just now."""
        if self.tape is None:
            return
        local, ends = _text(sock.getsockname()), ""
        kind = "stream" if sock.type == socket.SOCK_STREAM else "datagram"
        if kind == "stream":
            with contextlib.suppress(OSError):
                ends = _text(sock.getpeername())
        number, told = self.known.get(sock.fileno(), (0, ""))
        if told != local + ends:
            number = next(self.numbers)
            self.known[sock.fileno()] = (number, local + ends)
            inode = str(os.fstat(sock.fileno()).st_ino)
            self.write({"thing": number, "kind": kind, "local": local, "peer": ends, "id": inode})
        now = time.monotonic_ns()
        kept = bytes(data[: self.KEPT]).hex()
        row = {"t": now, "b": begun or now, "op": op, "s": number, "m": len(data), "d": kept}
        self.write(row if peer is None else row | {"a": _text(peer)})

    def close(self) -> None:
        if self.tape is not None:
            self.tape.close()
            self.tape = None


def _text(address: Any) -> str:
    return f"{address[0]}:{address[1]}"


# ---- the relay's clock: one thread, one heap of what is to be done later


class Link(Closing):
    """A relay. `port` is where the client connects, or sends to, instead; ``with`` closes it."""

    kind: str
    """"udp" or "tcp"."""
    to: tuple[str, int]
    """The server's address."""
    host: str
    """Where it listens: 127.0.0.1."""
    port: int
    """The port at which it listens."""

    def __init__(
        self, to: tuple[str, int], trouble: dict[str, _Trouble], seed: object, folder: str
    ) -> None:
        self.to = to
        self._folder = folder
        self._trouble, self._seed = trouble, seed
        self._counts: dict[str, int] = dict.fromkeys(self._counted, 0)
        self._fates: list[Fate] = []
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._tie = itertools.count()
        self._ready: dict[int, Callable[[], None]] = {}
        self._poll = select.epoll()
        self._stop_read, self._stop = socket.socketpair()
        self._watch(self._stop_read, self._stopped)
        self._ending = False
        self._lock = threading.Lock()
        try:
            self._front = self._listen()
        except BaseException:
            self._let_go()
            raise
        self.host, self.port = self._front.getsockname()[:2]
        self._thread = threading.Thread(target=self._run, name=f"ipcx-link-{self.port}")
        self._thread.daemon = True
        self._thread.start()

    _counted: tuple[str, ...] = ()

    def _listen(self) -> socket.socket:
        raise NotImplementedError

    @property
    def counts(self) -> dict[str, int]:
        """What has happened so far, both directions together."""
        with self._lock:
            return dict(self._counts)

    @property
    def fates(self) -> list[Fate]:
        """What became of each datagram, as they came."""
        with self._lock:
            return list(self._fates)

    def close(self) -> None:
        """No more relay: sockets and thread are gone. A second time does nothing."""
        if not self._ending:
            self._ending = True
            with contextlib.suppress(OSError):
                self._stop.send(b".")
            self._thread.join()

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {what}" for what, n in self.counts.items())
        return f"<{self.kind} link {self.host}:{self.port} to {self.to[0]}:{self.to[1]}: {counts}>"

    # -- in the thread

    def _count(self, what: str, by: int = 1) -> None:
        with self._lock:
            self._counts[what] += by

    def _later(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._tie), what))

    def _watch(self, sock: socket.socket, what: Callable[[], None]) -> None:
        self._ready[sock.fileno()] = what
        self._poll.register(sock, select.EPOLLIN)

    def _forget(self, sock: socket.socket) -> None:
        if self._ready.pop(sock.fileno(), None) is not None:
            self._poll.unregister(sock)

    def _stopped(self) -> None:
        self._ending = True

    def _run(self) -> None:
        self._lane = _Lane(self._folder, self.kind)
        try:
            while not self._ending:
                wait = -1.0
                if self._heap:
                    wait = max(0.0, self._heap[0][0] - time.monotonic())
                if 0 < wait < 0.002:  # epoll counts in milliseconds
                    time.sleep(wait)
                    wait = 0
                for fd, _ in self._poll.poll(wait):
                    act = self._ready.get(fd)
                    if act is not None:
                        act()
                now = time.monotonic()
                while self._heap and self._heap[0][0] <= now and not self._ending:
                    heapq.heappop(self._heap)[2]()
        finally:
            self._end()
            self._lane.close()
            self._let_go()

    def _end(self) -> None:
        raise NotImplementedError

    def _let_go(self) -> None:
        self._poll.close()
        self._stop_read.close()
        self._stop.close()
        if hasattr(self, "_front"):
            self._front.close()


# ---- datagrams


@dataclass
class _Way:
    """One direction between one client and the server."""

    name: str
    trouble: _Trouble
    draw: random.Random
    sock: socket.socket
    address: tuple[str, int]
    number: int = 0
    held: list[bytes] = field(default_factory=list)  # to be overtaken


class _Flow:
    """A client, and the socket by which the server sees it."""

    def __init__(self, link: _Datagrams, client: tuple[str, int], number: int) -> None:
        # Not connected: it would be told that nobody is there, and pass one datagram less.
        self.back = socket.socket(type=socket.SOCK_DGRAM)
        self.back.setblocking(False)
        self.back.bind(("127.0.0.1" if link.to[0].startswith("127.") else "", 0))
        self.ways = {}
        for name, sock, address in (
            ("there", self.back, link.to),
            ("back", link._front, client),
        ):
            draw = random.Random(f"{link._seed}/{name}/{number}")
            self.ways[name] = _Way(name, link._trouble[name], draw, sock, address)


class _Datagrams(Link):
    kind = "udp"
    _counted = ("datagrams", "passed", "lost", "duplicated", "held back", "largest")

    def _listen(self) -> socket.socket:
        self._flows: dict[tuple[str, int], _Flow] = {}
        front = socket.socket(type=socket.SOCK_DGRAM)
        front.bind(("127.0.0.1", 0))
        front.setblocking(False)
        self._watch(front, lambda: self._from_client(front))
        return front

    def _from_client(self, front: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            data, client = front.recvfrom(MOST)
            if client not in self._flows:
                flow = _Flow(self, client, len(self._flows))
                self._flows[client] = flow
                self._watch(flow.back, lambda: self._from_server(flow))
            self._take(self._flows[client].ways["there"], data, front, client)

    def _from_server(self, flow: _Flow) -> None:
        with contextlib.suppress(BlockingIOError):
            data, server = flow.back.recvfrom(MOST)
            if server == self.to:
                self._take(flow.ways["back"], data, flow.back, server)

    def _take(self, way: _Way, data: bytes, sock: socket.socket, source: Any) -> None:
        trouble, number = way.trouble, way.number
        way.number += 1
        lost, twice, held, wait = (way.draw.random() for _ in range(4))  # always all four
        fate = "passed"
        if trouble.loss(number, lost):
            fate = "lost"
        elif trouble.reorder(number, held):
            fate = "held back"
        elif trouble.duplicate(number, twice):
            fate = "duplicated"
        with self._lock:
            self._counts["datagrams"] += 1
            self._counts["largest"] = max(self._counts["largest"], len(data))
            self._counts[fate] += 1
            self._fates.append(Fate(way.name, number, fate))
        if fate == "lost":
            return
        self._lane.tell("recvfrom", sock, data, source)
        if fate == "held back":
            way.held.append(data)
            self._later(time.monotonic() + LATER, lambda: self._release(way, data))
            return
        low, high = trouble.delay
        for copy in range(2 if fate == "duplicated" else 1):
            when = time.monotonic() + low + (high - low) * wait
            if copy or when > time.monotonic():
                self._later(when, lambda: self._pass(way, data))
            else:
                self._pass(way, data)
        for each in tuple(way.held):  # they have been overtaken
            self._later(time.monotonic() + high, lambda each=each: self._release(way, each))  # type: ignore[misc]

    def _release(self, way: _Way, data: bytes) -> None:
        for index, each in enumerate(way.held):
            if each is data:
                del way.held[index]
                self._pass(way, data)
                return

    def _pass(self, way: _Way, data: bytes) -> None:
        with contextlib.suppress(OSError):  # as on a network: nobody is told
            begun = time.monotonic_ns()
            way.sock.sendto(data, way.address)
            self._lane.tell("sendto", way.sock, data, way.address, begun)

    def _end(self) -> None:
        for flow in self._flows.values():
            flow.back.close()


# ---- streams


class _Unread:
    """Whether a socket on this host has got all that was sent to it, and its owner has read it.

    Asked of the kernel by NETLINK_SOCK_DIAG for exactly one socket (linux/inet_diag.h), which
    needs no privilege: ``idiag_rqueue`` is what was received and not read, and
    ``tcpi_bytes_received`` shows that nothing is still on its way to that queue.
    """

    FAMILY = 20  # SOCK_DIAG_BY_FAMILY
    QUEUE = 16 + 4 + 48 + 4  # netlink's head; then of struct inet_diag_msg: state, id, expires
    MESSAGE = 16 + 72
    INFO = 2  # INET_DIAG_INFO, a struct tcp_info
    RECEIVED = 128  # tcpi_bytes_received in it

    def __init__(self) -> None:
        self.netlink: socket.socket | None = None
        with contextlib.suppress(OSError):
            self.netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
            self.netlink.settimeout(1.0)

    def all_read(self, owner: tuple[str, int], peer: tuple[str, int], sent: int) -> bool | None:
        """Of the socket at `owner` whose peer is `peer`; None: it cannot be seen."""
        if self.netlink is None:
            return None
        ends = struct.pack("!HH", owner[1], peer[1]) + _packed(owner[0]) + _packed(peer[0])
        cookie = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
        body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 2, 0, 0xFFFFFFFF)
        body += ends + cookie
        head = struct.pack("=IHHII", 16 + len(body), self.FAMILY, 1, 0, 0)  # NLM_F_REQUEST
        try:
            self.netlink.send(head + body)
            answer = self.netlink.recv(8192)
        except OSError:
            return None
        if struct.unpack_from("=H", answer, 4)[0] != self.FAMILY:
            return None  # NLMSG_ERROR: there is no such socket (any more)
        queue = struct.unpack_from("=I", answer, self.QUEUE)[0]
        return queue == 0 and self._received(answer) >= sent

    def _received(self, answer: bytes) -> int:
        at = self.MESSAGE
        while at + 4 <= len(answer):
            length, kind = struct.unpack_from("=HH", answer, at)
            if kind == self.INFO and length >= 4 + self.RECEIVED + 8:
                return int(struct.unpack_from("=Q", answer, at + 4 + self.RECEIVED)[0])
            at += max(4, (length + 3) & ~3)
        return 1 << 62  # an old kernel: the queue alone must do

    def close(self) -> None:
        if self.netlink is not None:
            self.netlink.close()


def _packed(host: str) -> bytes:
    return socket.inet_aton(host) + bytes(12)


class _Half:
    """One direction of a connection: what is read at one end is written at the other, later."""

    def __init__(
        self, link: _Streams, trouble: _Trouble, source: socket.socket, sink: socket.socket
    ) -> None:
        self.link, self.trouble = link, trouble
        self.source, self.sink = source, sink
        self.limit = trouble.cut if trouble.cut is not None else trouble.half_open
        self.waiting = bytearray()  # bytes whose time has come
        self.taken = 0  # bytes read from the source
        self.sent = 0  # bytes written to the sink
        self.came = self.went = 0.0  # when the last byte did
        self.due = 0.0  # when the last byte that is under way arrives
        self.under_way = 0  # bytes that are
        self.reading = self.full = self.ended = self.closed = self.again = False

    def begin(self) -> None:
        self.reading = True
        self.link._watch(self.source, self.read)

    def stop(self) -> None:
        if self.reading:
            self.reading = False
            self.link._forget(self.source)

    def read(self) -> None:
        try:
            data = self.source.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:  # reset: for the other side, the stream ends
            data = b""
        end = not data
        at_limit = self.limit is not None and self.taken + len(data) >= self.limit
        if at_limit and self.limit is not None:
            data = data[: self.limit - self.taken]
        if data:
            self.link._lane.tell("recv", self.source, data)
            self.taken += len(data)
            self.came = time.monotonic()
            self.under_way += len(data)
            self.later(lambda: self.arrive(data))
        if at_limit and self.trouble.half_open is not None:
            self.link._silence(self)
        elif at_limit and not end:
            self.link._cut(self)
        elif end:
            self.stop()
            self.later(self.end)
        elif self.under_way + len(self.waiting) > HELD:
            self.full = True
            self.stop()

    def later(self, what: Callable[[], None]) -> None:
        low, high = self.trouble.delay
        wait = low + (high - low) * self.link._draw.random()
        self.due = max(self.due, time.monotonic() + wait)  # in their order
        self.link._later(self.due, what)

    def arrive(self, data: bytes) -> None:
        self.under_way -= len(data)
        self.waiting += data
        self.push()

    def end(self) -> None:
        self.ended = True
        self.push()

    def push(self) -> None:
        """Writes what may be written now, and comes back by itself for the rest."""
        while not self.closed and not self.again:
            if not self.waiting:
                if self.ended:
                    self.closed = True
                    with contextlib.suppress(OSError):
                        self.sink.shutdown(socket.SHUT_WR)
                    self.link._over(self)
                return
            wait = self.must_wait()
            if wait > 0:
                return self.come_back(wait)
            piece = self.waiting[: self.trouble.split] if self.trouble.split else self.waiting
            try:
                count = self.link._send(self.sink, piece)
            except BlockingIOError:
                return self.come_back(LOOK * 4)
            except OSError:  # the reader is gone
                self.closed = True
                self.stop()
                self.link._reset(self.source)
                self.link._over(self)
                return
            del self.waiting[:count]
            self.sent += count
            self.went = time.monotonic()
            if self.full and self.under_way + len(self.waiting) < HELD // 2:
                self.full = False
                self.begin()

    def must_wait(self) -> float:
        now = time.monotonic()
        if self.trouble.merge is not None and not self.ended:
            quiet = self.came + QUIET - now
            return quiet if len(self.waiting) < self.trouble.merge else 0.0
        if self.trouble.split and self.sent:
            ends = self.link._ends(self.sink)
            read = ends and self.link._unread.all_read(ends[0], ends[1], self.sent)
            if read is None:
                return self.went + LOOK * 10 - now  # not seen: a pause must do
            if not read and now < self.went + UNREAD:
                return LOOK
        return 0.0

    def come_back(self, seconds: float) -> None:
        def now() -> None:
            self.again = False
            self.push()

        self.again = True
        self.link._later(time.monotonic() + seconds, now)


class _Connection:
    """Two sockets, and the two directions between them."""

    def __init__(self, link: _Streams, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        for each in (near, far):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.there = _Half(link, link._trouble["there"], near, far)
        self.back = _Half(link, link._trouble["back"], far, near)
        self.silent = False

    @property
    def halves(self) -> tuple[_Half, _Half]:
        return self.there, self.back

    def close(self) -> None:
        self.near.close()
        self.far.close()


class _Streams(Link):
    kind = "tcp"
    _counted = ("connections", "bytes", "pieces", "cut", "silent")

    def _listen(self) -> socket.socket:
        self._connections: list[_Connection] = []
        self._draw = random.Random(f"{self._seed}/delay")
        self._unread = _Unread()
        front = socket.create_server(("127.0.0.1", 0), backlog=100)
        front.setblocking(False)
        self._watch(front, lambda: self._accept(front))
        return front

    def _accept(self, front: socket.socket) -> None:
        try:
            near, _ = front.accept()
        except OSError:  # the client has given up, or there is no descriptor left
            return
        try:
            far = socket.create_connection(self.to, timeout=5)
        except OSError:
            _break(near)
            return
        made = _Connection(self, near, far)
        self._connections.append(made)
        self._count("connections")
        for half in made.halves:
            half.begin()
        for half in made.halves:
            if half.limit == 0 and half.trouble.half_open is not None:
                self._silence(half)
                return
            if half.limit == 0:
                self._cut(half)
                return

    def _send(self, sink: socket.socket, piece: bytes | bytearray) -> int:
        begun = time.monotonic_ns()
        with self._lock:  # whoever has received it finds it counted
            count = sink.send(piece)
            self._counts["pieces"] += 1
            self._counts["bytes"] += count
        self._lane.tell("send", sink, piece[:count], begun=begun)
        return count

    def _of(self, half: _Half) -> _Connection | None:
        return next((each for each in self._connections if half in each.halves), None)

    def _silence(self, half: _Half) -> None:
        """From now on nothing passes, in neither direction, and nothing is closed."""
        connection = self._of(half)
        if connection is not None and not connection.silent:
            connection.silent = True
            self._count("silent")
            for each in connection.halves:
                each.stop()

    def _cut(self, half: _Half) -> None:
        """Whoever sends learns it at once, by a reset; whoever receives after what has passed."""
        connection = self._of(half)
        if connection is None:
            return
        self._count("cut")
        for each in connection.halves:
            each.stop()
            each.closed = each is not half
        half.later(half.end)
        _break(half.source)

    def _reset(self, source: socket.socket) -> None:
        """The reader is gone: whoever writes to it learns that."""
        for connection in self._connections:
            if source in (connection.near, connection.far):
                for half in connection.halves:
                    half.stop()
                    half.closed = True
                _break(source)

    def _over(self, half: _Half) -> None:
        connection = self._of(half)
        if connection is None or not all(each.closed for each in connection.halves):
            return
        if half.source.fileno() >= 0:  # else it was cut: the receiver may still be reading
            self._connections.remove(connection)
            connection.close()

    def _ends(self, sink: socket.socket) -> tuple[tuple[str, int], tuple[str, int]] | None:
        """The address of the socket that reads from `sink`, and of its peer, which is `sink`."""
        with contextlib.suppress(OSError):
            return sink.getpeername()[:2], sink.getsockname()[:2]
        return None

    def _end(self) -> None:
        for connection in self._connections:
            connection.close()
        self._unread.close()


def _break(sock: socket.socket) -> None:
    """Closes it by a reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def link(
    kind: str,
    to: tuple[str, int],
    *,
    loss: _Chance | None = None,
    delay: _Time | None = None,
    reorder: _Chance | None = None,
    duplicate: _Chance | None = None,
    split: int | bool | None = None,
    merge: int | bool | None = None,
    cut: int | bool | None = None,
    half_open: int | bool | None = None,
    there: Mapping[str, Any] | None = None,
    back: Mapping[str, Any] | None = None,
    seed: object = 0,
    record: str | None = None,
) -> Link:
    """A link with trouble on it: the client uses its `Link.port` instead of the server's.

    On *kind* "udp": *loss*, *reorder* and *duplicate* are each a share of the datagrams (0.2), or
    the numbers of those it happens to, from 0 (``loss=[0, 3]``); a datagram that is reordered is
    held back until the next one has overtaken it. On "tcp": *split* passes on so many bytes at a
    time (True: 1), each when the one before has been read; *merge* collects until there are so many
    (True: all), the sender pauses, or it has ended; *cut* ends the connection after so many bytes;
    *half_open* falls silent after so many, and closes nothing. *delay*, on both, is seconds, a text
    like "5ms", or a pair between which it is drawn.

    All of that is for both directions; *there* and *back* are dicts of the same names for what goes
    from the client to the server, and for what comes back, and win. The same *seed* draws the same.
    ValueError for what a kind of link cannot do: TCP repairs loss.

    In a record that is open the link is a lane of its own; *record* is another record's folder, or
    "" for none.

    >>> with link("udp", ("127.0.0.1", 9), loss=1) as lossy:
    ...     lossy.counts["lost"]
    0
    """
    if kind not in ("udp", "tcp"):
        raise ValueError(f"kind is 'udp' or 'tcp', not {kind!r}")
    given = {
        "loss": loss,
        "delay": delay,
        "reorder": reorder,
        "duplicate": duplicate,
        "split": split,
        "merge": merge,
        "cut": cut,
        "half_open": half_open,
    }
    given = {name: value for name, value in given.items() if value is not None}
    trouble = {
        "there": _Trouble.of(kind, {**given, **(there or {})}),
        "back": _Trouble.of(kind, {**given, **(back or {})}),
    }
    made = _Datagrams if kind == "udp" else _Streams
    folder = os.environ.get("IPCX_RECORD", "") if record is None else record
    return made(_place(kind, to), trouble, seed, folder)


def _place(kind: str, to: Any) -> tuple[str, int]:
    """The server's address. Over UDP as answers have it: only what comes from there is passed."""
    try:
        host, port = str(to[0]), int(to[1])
    except (TypeError, ValueError, IndexError, KeyError):
        raise TypeError(f"to is the server's (host, port), not {to!r}") from None
    if kind == "tcp":
        return host, port
    try:
        if host in ("", "0.0.0.0"):  # a server that is bound so is here
            host = "127.0.0.1"
        return socket.gethostbyname(host), port
    except OSError:
        raise ValueError(f"a udp link goes to an IPv4 address or its name, not {host!r}") from None
