# SPDX-License-Identifier: Apache-2.0
"""Channels: messages between threads, processes and hosts, by ``send()`` and ``receive()``.

A message goes in whole and comes out whole, in order, whatever carries it; the URL says what does:

>>> import ipcx
>>> with ipcx.listen("tcp://127.0.0.1:0") as listener:
...     with ipcx.connect(listener.url) as client, listener.accept() as server:
...         client.send("a text")
...         client.send(b"bytes")
...         server.receive(), server.receive()
('a text', b'bytes')

`connect` and `listen` are for two programs, `pair` for two threads, or a process and its children.
`TRANSPORTS` is the table of what each transport promises. With ``sync=True`` a send is a
rendezvous: it returns when the receiver has received. Every call takes a time-out in seconds: None
waits (blocking), 0 does not (polling). What goes wrong, and what it means for the message, is in
the exceptions: ``ipcx explain Timeout``.
"""

from __future__ import annotations

import atexit
from collections import namedtuple
from typing import TYPE_CHECKING

from ipcx import _core, _keys, _reduction
from ipcx._core import Channel, Listener, Loan, View

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Literal, NamedTuple

    from _typeshed import ReadableBuffer

__all__ = [
    "MAX_MESSAGE",
    "MAX_SEGMENT",
    "RING",
    "TRANSPORTS",
    "Channel",
    "ChannelStats",
    "Listener",
    "ListenerStats",
    "Loan",
    "Transport",
    "View",
    "connect",
    "listen",
    "pair",
]

MAX_MESSAGE = 64 * 1024 * 1024  # bytes, unless told otherwise
RING = 4 * 1024 * 1024  # bytes, of shm://, likewise
MAX_SEGMENT = 256 * 1024 * 1024  # bytes, of shm://, likewise


def connect(
    url: str,
    timeout: float | None = 5,
    *,
    max_message: int = MAX_MESSAGE,
    checksum: bool = False,
    authkey: str | ReadableBuffer | None = None,
    allow_uids: Iterable[int] | None = None,
    trust: Literal["same-uid", "none"] = "same-uid",
    ring: int = RING,
    vanish_timeout: float | None = 15,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> Channel:
    """Connect to the listener at `url`: an end of a new channel.

    ``tcp://host:port``, ``udp://host:port``, ``unix:///path``, ``shm://name`` or
    ``inproc://name``; ``fifo:///path`` to write into the named pipe that a listener reads, one of
    many; or, without a listener, ``file:///path`` to append to the log of messages there, and
    ``pipe://R,W`` for two descriptors of this process (``pipe://-``: stdin and stdout).
    `ConnectRefused` when nobody listens there, `Timeout` after `timeout` seconds. Returns when the
    listener's system has the connection: accept() may come later, in the same thread even.

    `max_message` is the longest message this end receives, in bytes; the peer is told, and its
    send() of a longer one raises `MessageTooLarge`. With `checksum` every frame carries a CRC-32C.

    With `authkey`, bytes or a text, both sides prove to each other that they have it before a
    message passes (``tcp://``, ``tls://``, ``unix://``): `AuthError` if the other's is another or
    none. It does not encrypt. The proof is finished by the first call that needs it, the first send
    for example, or a flush(); the listener waits `handshake_timeout` for it. `allow_uids` are
    users, beside this one and root, that may listen there (``unix://``).

    ``tls://host:port`` encrypts. `tls` says whom to trust, and by which certificate to be known;
    without it, whom this system trusts. The certificate must be for the host in `url`, or for
    `server_hostname`; else it is `AuthError` (`ipcx.tls`).

    tcp:// and tls:// alone: a call that waits raises `PeerDied` when the peer's host has been
    silent for `vanish_timeout` seconds (at least 3; None: nobody looks) although it was asked. A
    living host whose program does not read for hours answers, and is not taken for gone.

    shm:// alone: whoever connects makes the memory, with two rings of at most `ring` bytes, which
    hold little of it until large messages come; `ResourceExhausted` when the machine has not got
    so much. `trust` as in `listen`.
    """
    make = _tls(url, tls, server_hostname) and _tls_module()._to_connect(url, tls, server_hostname)
    return _core._connect(
        url, timeout, max_message, checksum, _keys.key_bytes(authkey), _keys.uid_bytes(allow_uids),
        trust, ring, vanish_timeout, make or None,
    )  # fmt: skip


def listen(
    url: str,
    *,
    max_message: int = MAX_MESSAGE,
    checksum: bool = False,
    handshake_timeout: float | None = 5,
    backlog: int = 512,
    insecure: bool = False,
    capacity: int = 1024,
    copy: bool = False,
    authkey: str | ReadableBuffer | None = None,
    allow_uids: Iterable[int] | None = None,
    trust: Literal["same-uid", "none"] = "same-uid",
    max_segment: int = MAX_SEGMENT,
    vanish_timeout: float | None = 15,
    tls: ssl.SSLContext | None = None,
) -> Listener:
    """Wait for peers at `url`: ``tcp://127.0.0.1:5000``, ``unix:///path``, ``shm://name``, …

    Port 0 takes a free one, ``unix://`` and ``shm://`` alone make a place of their own:
    `Listener.url` is the real address. `AddressInUse` when a live listener has it; what a killed
    one left is replaced.
    At ``file:///path`` nobody is waited for: each accept() is another reader of the log there. At
    ``fifo:///path``, a named pipe made here, accept() waits for the first writer and gives the one
    channel that receives from all of them; when the last has gone it ends, but not as long as the
    listener is open, and others may come.
    `InsecureAddress` when others than this host could connect, unless `insecure` says that this is
    meant. A peer that is silent for `handshake_timeout` seconds, or speaks something else, is
    dropped. `backlog` is how many may wait for accept().

    With `authkey` peers must prove that they have the same one, and so does this side; who cannot
    is dropped and counted (``stats().strangers``). That allows an address open to the network, but
    encrypts nothing. `allow_uids` are the users that may connect to ``unix://`` beside this one and
    root; the socket's file is open to all then, and the system says who they are.

    ``tls://host:port`` needs `tls`, a context with a certificate. Who does not finish TLS's
    handshake with it in time is dropped (`ipcx.tls`).

    `max_message`, `checksum` and `vanish_timeout` are as in `connect`, `capacity` and `copy` as in
    `pair`.

    shm:// alone: a peer that comes with more than `max_segment` bytes of shared memory is dropped.
    No peer can make this end crash, hang or read too far, but one with ``trust="same-uid"`` may
    change a message while it is looked at, or keep a thread that wakes it waiting. With "none", and
    always for a process of another user, messages are copied before they are looked at, nothing
    is lent, and waking goes through the socket.
    """
    make = _tls(url, tls) and _tls_module()._to_listen(url, tls)
    return _core._listen(
        url, max_message, checksum, handshake_timeout, backlog, insecure, capacity, copy,
        _keys.key_bytes(authkey), _keys.uid_bytes(allow_uids), trust, max_segment,
        vanish_timeout, make or None,
    )  # fmt: skip


def pair(
    url: str = "unix://",
    *,
    max_message: int = MAX_MESSAGE,
    checksum: bool = False,
    capacity: int = 1024,
    copy: bool = False,
    trust: Literal["same-uid", "none"] = "same-uid",
    ring: int = RING,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> tuple[Channel, Channel]:
    """Two connected ends: ``unix://``, ``shm://``, ``pipe://``, ``tcp://``, ``udp://``; ``inproc://``.

    Also ``tls://``, whose `tls` are what `ipcx.tls.self_signed` makes, and would make without it.

    An end belongs to the process that uses it first, so either may go to a child: by fork, or as
    an argument of ``multiprocessing.Process``.

    inproc:// passes the objects themselves, `copy` makes it pass copies of bytes and str as the
    others do. `capacity` is how many messages wait there in a direction; with 0 every send waits
    for its receiver. `max_message`, `checksum` and `ring` are as in `connect`, `trust` is as in
    `listen`, and holds for both ends.
    """
    make = _tls(url, tls) and _tls_module()._to_pair(url, tls)
    return _core._pair(url, max_message, checksum, capacity, copy, trust, ring, make or None)


def _tls(url: object, *given: object) -> bool:
    """Whether it is about TLS; `ssl` is imported only then."""
    tls = isinstance(url, str) and url[:6].lower() == "tls://"
    return tls or any(one is not None for one in given)


def _tls_module() -> ModuleType:
    import ipcx.tls

    return ipcx.tls


# ---- what stats() tells

if TYPE_CHECKING:

    class ChannelStats(NamedTuple):
        """What has passed through an end, as this end saw it."""

        sent: int
        sent_bytes: int
        received: int
        received_bytes: int
        send_waits: int
        receive_waits: int
        timeouts: int
        owed: int

        @property
        def lost(self) -> int: ...
        @property
        def reordered(self) -> int: ...
        @property
        def duplicates(self) -> int: ...
        @property
        def dropped(self) -> int: ...
        @property
        def overflowed(self) -> int: ...

    class ListenerStats(NamedTuple):
        """What became of the peers of a listener."""

        accepted: int
        dropped: int
        waiting: int
        strangers: int

    class Transport(NamedTuple):
        """What a transport promises."""

        reliable: bool
        ordered: bool
        duplex: bool
        boundaries: bool
        largest: int | None
        sync: bool
        objects: bool
        hand_over: bool
        death: bool
        lends: bool
        note: str

else:
    # collections' way: `typing` would make importing ipcx.socket twice as slow.

    def _named(name, doc, **fields):
        made = namedtuple(name, fields, module=__name__)
        made.__doc__ = doc
        for field, text in fields.items():
            getattr(made, field).__doc__ = text
        return made

    _ChannelStats = _named(
        "ChannelStats",
        "What has passed through an end, as this end saw it.",
        sent="messages that the transport has taken",
        sent_bytes="their bytes, without what frames add",
        received="messages handed to the program",
        received_bytes="their bytes",
        send_waits="how often a send had to sleep",
        receive_waits="how often a receive had to sleep",
        timeouts="calls that ended with Timeout",
        owed="bytes of a begun message that are still to be sent",
    )

    class ChannelStats(_ChannelStats):
        """What has passed through an end, as this end saw it.

        Beside the tuple's fields, of datagrams: `lost` messages did not come, as the numbers of
        those that did tell; `reordered` ones came after a later one; `duplicates` came again, and
        the program got one; `dropped` datagrams were no frame, or not of this peer; `overflowed`
        ones found no room in the socket's buffer. They are 0 where nothing can be lost.
        """

        lost = reordered = duplicates = dropped = overflowed = 0

    ListenerStats = _named(
        "ListenerStats",
        "What became of the peers of a listener.",
        accepted="channels handed out",
        dropped="peers that broke the protocol, hung up or were silent for too long",
        waiting="peers in their handshake, now",
        strangers="of the dropped, those without the key, or of another user",
    )
    Transport = _named(
        "Transport",
        "What a transport promises.",
        reliable="nothing is lost as long as both ends live",
        ordered="messages arrive in the order they were sent in",
        duplex="both ends send and receive",
        boundaries="a message arrives whole",
        largest="bytes of the largest message that can be agreed upon; None: no limit",
        sync="send(sync=True), the rendezvous",
        objects="Python objects are passed by reference",
        hand_over="an unused end can be given to another process",
        death="a peer that is killed is told from one that has closed",
        lends="reserve() and receive_view() are of the peer's own memory; else they copy once",
        note="what else there is to know",
    )

_core._set_stats_types(ChannelStats, ListenerStats)

TRANSPORTS: dict[str, Transport] = {
    "inproc": Transport(
        reliable=True, ordered=True, duplex=True, boundaries=True, largest=None, sync=True,
        objects=True, hand_over=False, death=False, lends=False,
        note="threads of one process; with copy=True bytes and str are copied, no objects pass",
    ),
    "unix": Transport(
        reliable=True, ordered=True, duplex=True, boundaries=True, largest=2 << 30, sync=True,
        objects=False, hand_over=True, death=True, lends=False,
        note="processes of one host; ends of other channels can be sent over it",
    ),
    "shm": Transport(
        reliable=True, ordered=True, duplex=True, boundaries=True, largest=2 << 30, sync=True,
        objects=False, hand_over=True, death=True, lends=True,
        note="processes of one user on one host, through shared memory: the fastest",
    ),
    "tcp": Transport(
        reliable=True, ordered=True, duplex=True, boundaries=True, largest=2 << 30, sync=True,
        objects=False, hand_over=True, death=True, lends=False,
        note="any host; when the network is cut, only a time-out tells",
    ),
    "tls": Transport(
        reliable=True, ordered=True, duplex=True, boundaries=True, largest=2 << 30, sync=True,
        objects=False, hand_over=False, death=True, lends=False,
        note="any host, encrypted; a certificate says who listens, and another who connects",
    ),
    "udp": Transport(
        reliable=False, ordered=False, duplex=True, boundaries=True, largest=60_000, sync=True,
        objects=False, hand_over=True, death=False, lends=False,
        note="any host, a datagram a message; losses are counted; groups: udp://239.1.2.3:5000",
    ),
    "file": Transport(
        reliable=True, ordered=True, duplex=False, boundaries=True, largest=2 << 30, sync=False,
        objects=False, hand_over=False, death=False, lends=False,
        note="a log in a file: who connects appends, each who accepts reads all of it (?from=end: "
        "what comes from now on; ?durable=1: on the disk before send() returns)",
    ),
    "fifo": Transport(
        reliable=True, ordered=True, duplex=False, boundaries=True, largest=4084, sync=False,
        objects=False, hand_over=False, death=False, lends=False,
        note="a named pipe: who connects writes, one of many, who listens reads; nobody says who "
        "it is (?wait=1: connect waits for a reader)",
    ),
    "pipe": Transport(
        reliable=True, ordered=True, duplex=True, boundaries=True, largest=2 << 30, sync=True,
        objects=False, hand_over=True, death=True, lends=False,
        note="two pipes, one each way; pipe://R,W and pipe://- speak over descriptors there are",
    ),
}  # fmt: skip
"""What each scheme of a URL promises."""


# ---- at the end of the process

EXIT_SECONDS = 1.0


def _at_exit() -> None:
    """Whatever is open says goodbye, and sends what it owes if it can soon."""
    _core._close_channels(EXIT_SECONDS)


atexit.register(_at_exit)
_reduction.arm_channels(_at_exit)
