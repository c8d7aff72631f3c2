# SPDX-License-Identifier: Apache-2.0
"""A server for many clients: one wait, one loop, messages with the peer they came from.

>>> import ipcx
>>> from ipcx.server import Server
>>> with Server("tcp://127.0.0.1:0") as server:
...     with ipcx.connect(server.url) as client:
...         client.send("hello")
...         peer, message = server.receive()
...         peer.send(message.upper())
...         client.receive()
True
'HELLO'

Clients are channels: `ipcx.connect`, or any language that speaks docs/protocol.md. The usual
program is a loop, ``for peer, message in server: ...``, which ends when somebody calls
``server.close()``. The work is done in C, many messages at a time, and without the GIL; there is no
thread behind it. A peer that is silent, slow, does not read or speaks something else is dropped,
alone: it raises nothing in the loop. `Server.events` shows who comes and who goes.

To use more than one processor, let several processes serve one port: each opens
``Server(url, reuse_port=True)``, and the system deals out the clients.
"""

from __future__ import annotations

import atexit
import time
import weakref
from collections import namedtuple
from contextlib import suppress
from typing import TYPE_CHECKING

from ipcx import _core, _keys
from ipcx._core import Closed, Peer
from ipcx._numbers import short
from ipcx._timeouts import Deadline
from ipcx.channel import MAX_MESSAGE, _tls, _tls_module

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ssl import SSLContext
    from typing import Literal, NamedTuple, Self

    from _typeshed import ReadableBuffer

__all__ = ["Event", "Peer", "PeerStats", "Server", "ServerStats"]

_ON_FULL = ("disconnect", "block", "error", "drop_newest", "drop_oldest")  # as ipcx/mux.h has them


def _needs_tls(urls: tuple[str, ...], tls: SSLContext | None) -> bool:
    return tls is not None or any(_tls(url) for url in urls)


def _max_memory(value: int | None) -> int:
    if value is not None and value < 1:
        raise ValueError(f"max_memory is at least 1, not {value}")
    return value or 0  # the core's own idea of a sane one


class Server(_core.Server):
    """Serve clients at one or more URLs: ``tcp://127.0.0.1:5000``, ``unix:///path``, ``tls://…``.

    Port 0 takes a free one, ``unix://`` alone makes a path of its own; `urls` has the real ones.
    `AddressInUse`, `InsecureAddress` and `insecure`, `max_message`, `checksum`, `backlog` and
    `handshake_timeout` are as in `ipcx.listen`.

    What a peer may cost is bounded: `max_peers` are served at most; beyond them the one that has
    been silent longest before its handshake makes room, else the newcomer is turned away. At most
    `max_backlog` bytes wait for a peer that does not read; then `on_full` decides: "disconnect" it,
    "block" until there is room, "error" (send() raises `WouldBlock`), "drop_newest" or
    "drop_oldest", both counted. Who sends nothing for `idle_timeout` seconds is dropped (None:
    nobody is), and so is who begins a message and does not get on with it: it must be whole within
    `progress_timeout` seconds, or at least 4 KiB more of it have come. None waits as long as it
    takes; `vanish_timeout` is as in `ipcx.connect`. With `reuse_port` several processes may serve
    one TCP port. With `authkey` and `allow_uids`, as in `ipcx.listen`, nobody joins who may not.
    A ``tls://`` address needs `tls`, an `ssl.SSLContext` with a certificate; the handshake is part
    of the time and the memory that a stranger gets, and ``peer.tls`` tells what was agreed on.

    All peers together hold at most `max_memory` bytes of messages that have half come and of what
    waits to be sent (None: 1 GiB, or a quarter of the machine's memory where that is less); beyond
    it the one that holds most is dropped. `ipcx top URL` shows a server's `stats` to its own user
    and host, unless it has `private_stats`.

    Any number of threads may send, and receive: each message goes to one of them. A server belongs
    to the process that made it; a child gets `ForkedError`.
    """

    _line: tuple[float, ServerStats]
    __slots__ = ("_line",)  # of stats_line: when it was written, with what numbers

    def __new__(
        cls,
        *urls: str,
        max_peers: int = 10_000,
        max_backlog: int = 8 * 1024 * 1024,
        on_full: Literal[
            "disconnect", "block", "error", "drop_newest", "drop_oldest"
        ] = "disconnect",
        idle_timeout: float | None = None,
        progress_timeout: float | None = 30,
        handshake_timeout: float | None = 5,
        max_message: int = MAX_MESSAGE,
        checksum: bool = False,
        insecure: bool = False,
        backlog: int = 512,
        reuse_port: bool = False,
        max_memory: int | None = None,
        private_stats: bool = False,
        authkey: str | ReadableBuffer | None = None,
        allow_uids: Iterable[int] | None = None,
        vanish_timeout: float | None = 15,
        tls: SSLContext | None = None,
    ) -> Self:
        if on_full not in _ON_FULL:
            raise ValueError(f"on_full is one of {', '.join(_ON_FULL)}, not {on_full!r}")
        self = super().__new__(
            cls, urls, max_message, checksum, insecure, reuse_port, max_peers, max_backlog,
            _ON_FULL.index(on_full), backlog, handshake_timeout, idle_timeout, progress_timeout,
            _max_memory(max_memory), private_stats,
            _keys.key_bytes(authkey), _keys.uid_bytes(allow_uids), vanish_timeout,
            (_needs_tls(urls, tls) and _tls_module()._to_serve(urls, tls)) or None,
        )  # fmt: skip
        self._line = (time.monotonic(), self.stats())
        _open.add(self)
        return self

    def stats_line(self) -> str:
        """One line for a log: how many peers, and how much a second since the line before.

        ``12 peers, in 1200/s 75.0KiB/s, out 1200/s 75.0KiB/s; dropped 0, slow 0, refused 0``
        """
        now = (time.monotonic(), self.stats())
        before, self._line = self._line, now
        seconds = max(now[0] - before[0], 1e-9)

        def rate(field: str, of_bytes: bool = False) -> str:
            more: int = getattr(now[1], field) - getattr(before[1], field)
            return short(more / seconds, of_bytes)

        return (
            f"{now[1].peers} peers, "
            f"in {rate('received')}/s {rate('received_bytes', True)}B/s, "
            f"out {rate('sent')}/s {rate('sent_bytes', True)}B/s; dropped {now[1].dropped}, "
            f"slow {now[1].slow}, refused {now[1].refused}"
        )

    def events(self) -> Iterator[Event]:
        """What happens, in order: peers that join, their messages, and that they leave.

        Ends when the server is closed. Use it instead of ``for peer, message in server``: what one
        of the two has shown, the other does not see.
        """
        while not self.closed:
            try:
                yield Event(*self._event())
            except Closed:
                return


if TYPE_CHECKING:

    class Event(NamedTuple):
        """Something that happened at a server."""

        kind: Literal["join", "message", "leave"]
        peer: Peer
        message: str | bytes | None

    class ServerStats(NamedTuple):
        """What has come to a server so far."""

        peers: int
        waiting: int
        joined: int
        left: int
        refused: int
        crowded: int
        late: int
        slow: int
        wrong: int
        greedy: int
        received: int
        received_bytes: int
        sent: int
        sent_bytes: int
        dropped: int
        memory: int
        strangers: int

    class PeerStats(NamedTuple):
        """What has passed between a server and a peer."""

        sent: int
        sent_bytes: int
        received: int
        received_bytes: int
        dropped: int
        owed: int

else:

    def _named(name, doc, **fields):
        made = namedtuple(name, fields, module=__name__)
        made.__doc__ = doc
        for field, text in fields.items():
            getattr(made, field).__doc__ = text
        return made

    Event = _named(
        "Event",
        "Something that happened at a server.",
        kind='"join", "message" or "leave"; the last says why in peer.reason',
        peer="whom it is about",
        message="str or bytes; None of the other two",
    )
    ServerStats = _named(
        "ServerStats",
        "What has come to a server so far.",
        peers="connected now",
        waiting="in their handshake, now",
        joined="all that were ever connected",
        left="of them, those that are no more",
        refused="turned away before they had joined: silent, too many, not speaking the protocol",
        crowded="times that nobody could be accepted, for want of a descriptor or memory",
        late="peers dropped because they were silent, or too slow in sending",
        slow="peers dropped because they did not read",
        wrong="peers dropped because they broke the protocol",
        greedy="peers dropped because max_memory was used up, and they had most of it",
        received="messages",
        received_bytes="their bytes",
        sent="messages sent or queued",
        sent_bytes="their bytes",
        dropped="messages dropped, as on_full says",
        memory="bytes, now: of messages that have half come, and of what waits to be sent",
        strangers="of the refused, those without the key, or of another user",
    )
    PeerStats = _named(
        "PeerStats",
        "What has passed between a server and a peer.",
        sent="messages sent or queued",
        sent_bytes="their bytes",
        received="messages",
        received_bytes="their bytes",
        dropped="messages dropped, as on_full says",
        owed="bytes that wait to be sent, with what keeping them costs",
    )

_core._set_server_types(ServerStats, PeerStats)


# ---- at the end of the process

EXIT_SECONDS = 1.0
_open: weakref.WeakSet[Server] = weakref.WeakSet()


def _at_exit() -> None:
    deadline = Deadline(EXIT_SECONDS)
    for server in list(_open):
        with suppress(TimeoutError):  # a second is what the exit may take
            server.close(deadline.left())


atexit.register(_at_exit)
