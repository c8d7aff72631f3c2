# SPDX-License-Identifier: Apache-2.0
"""What is tested: every transport, and what each cannot promise.

A new transport joins by an entry here. Each topic is a sentence that test_table.py tries on every
entry: a transport whose `cannot` names the topic must really fail at it, every other must keep it.
Tests that need a topic say so (`@pytest.mark.needs`) and run on the entries that promise it; a test
without a need runs on all of them.
"""

import dataclasses

TOPICS = {
    "listen": "has an address to listen on",
    "process": "its other end may be in another process",
    "leaves": "an end that has said goodbye before it was accepted is accepted all the same",
    "copies": "what arrives is a copy: the sender may change its buffer once send() has returned",
    "objects": "carries any object, the object itself",
    "ends": "carries an end of a channel, which the receiver then uses",
    "rest": "a send that timed out may have begun; then the channel keeps the rest and sends it",
    "unreceived": "a send that finds the peer gone knows how many messages were not received",
    "bytes": "is a stream of bytes that anybody may write",
    "reliable": "what was sent arrives, all of it, for a sender waits while its receiver is behind",
    "long": "a message may be longer than what a pipe takes whole, 4 KiB",
    "large": "a message has as many bytes as the limit says, up to the default of 64 MiB",
    "limits": "a sender learns how much its peer takes, and is refused what is longer",
    "handed": "an unused end can be given to another process that is no child of this one",
    "death": "a peer that was killed is told from one that has closed, also by who only waits",
    "hangs up": "a peer that sends what is no message sees the end at once, not at our close()",
    "duplex": "both ends send and receive, so that each learns of the other's end",
    "sync": "send(sync=True) returns when the receiver has received",
    "peers": "a listener gives each peer a channel of its own",
}

ONE_PROCESS = "both ends are in one process"
NO_STREAM = "messages lie in a queue, nowhere as bytes"
WHOLE = "a message enters the queue whole or not at all"
COPIED = "only bytes and text are copied; everything else needs a codec"
NO_DESCRIPTOR = "an end is descriptors, and only Unix sockets carry those"
IN_THE_KERNEL = "what the kernel holds for the peer is not told apart from what was read"
NO_SHUTDOWN = "a pipe is closed by closing its descriptors, which other threads may be in"
BY_REFERENCE = "the object itself is passed, which is its point"
NO_PROMISE = "a datagram may be lost: nobody keeps it until there is room"
ONE_DATAGRAM = "a message is one datagram, of 60 000 bytes at most"
NO_CONNECTION = "there is no connection that could break; the goodbye may be lost, too"
ENCRYPTED = "what may be written is up to the layer that encrypts"
KEYS = "its keys are in the memory of one process"
KEYED = "nobody without the key may write"
ONE_WAY = "a named pipe goes one way: who listens reads, who connects writes"
WRITTEN_WHOLE = "a message and its header are one write of at most PIPE_BUF bytes"
ANONYMOUS = "a named pipe does not tell who writes: all do into one channel"
INHERITED = "its descriptors are inherited; there is no address"


@dataclasses.dataclass(frozen=True)
class Transport:
    """One way to get a connected pair; `narrow` are the options that make it full early."""

    name: str
    url: str
    cannot: dict[str, str]
    listens: bool = False  # the pair is made by listen, connect, accept
    options: dict = dataclasses.field(default_factory=dict)
    narrow: dict = dataclasses.field(default_factory=dict)
    only: tuple[str, ...] = ()  # modules of tests, where not all of them fit

    def __post_init__(self) -> None:
        assert self.cannot.keys() <= TOPICS.keys(), self.cannot

    def can(self, topic: str) -> bool:
        assert topic in TOPICS, topic
        return topic not in self.cannot


_INPROC = {
    "process": ONE_PROCESS,
    "handed": ONE_PROCESS,
    "death": ONE_PROCESS,
    "rest": WHOLE,
    "bytes": NO_STREAM,
    "hangs up": NO_STREAM,
}
_COPIED = {**_INPROC, "objects": COPIED, "ends": COPIED}
_UNIX = {"objects": COPIED, "unreceived": IN_THE_KERNEL}
_TCP = {**_UNIX, "ends": NO_DESCRIPTOR}
_TLS = {
    **_TCP,
    "handed": KEYS,
    "leaves": "its handshake needs both sides, and accept() sees to it",
    "bytes": ENCRYPTED,
    "hangs up": ENCRYPTED,
}

_SHM = {
    "objects": COPIED,
    "ends": NO_DESCRIPTOR,
    "rest": WHOLE,
    "bytes": NO_STREAM,
    "hangs up": NO_STREAM,
}

_UDP = {
    "objects": COPIED,
    "ends": NO_DESCRIPTOR,
    "rest": "a datagram is sent whole or not at all",
    "unreceived": IN_THE_KERNEL,
    "bytes": "there are no bytes but those of one datagram",
    "reliable": NO_PROMISE,
    "large": ONE_DATAGRAM,
    "limits": "there is no handshake; who takes less drops what is longer, and counts it",
    "death": NO_CONNECTION,
    "hangs up": NO_CONNECTION,
}

_FIFO = {
    "objects": COPIED,
    "ends": NO_DESCRIPTOR,
    "rest": "what is written whole is never begun",
    "unreceived": IN_THE_KERNEL,
    "bytes": "what anybody may write is everybody's",
    "long": WRITTEN_WHOLE,
    "large": WRITTEN_WHOLE,
    "limits": "there is no handshake, and one limit for all",
    "handed": "the path is there for whom it may concern",
    "death": ANONYMOUS,
    "hangs up": ANONYMOUS,
    "duplex": ONE_WAY,
    "sync": ONE_WAY,
    "peers": ANONYMOUS,
}

TRANSPORTS = [
    Transport(
        "inproc",
        "inproc://",
        {**_INPROC, "copies": BY_REFERENCE, "limits": BY_REFERENCE},
        narrow={"capacity": 4},
    ),
    Transport(
        "inproc-copied", "inproc://", _COPIED, options={"copy": True}, narrow={"capacity": 4}
    ),
    Transport(
        "inproc-listen",
        "inproc://",
        _COPIED,
        listens=True,
        options={"copy": True},
        narrow={"capacity": 4},
    ),
    Transport("unix", "unix://", _UNIX),
    Transport("unix-listen", "unix://", _UNIX, listens=True),
    Transport("shm", "shm://", _SHM),
    Transport("shm-listen", "shm://", _SHM, listens=True),
    Transport("shm-untrusted", "shm://", _SHM, listens=True, options={"trust": "none"}),
    Transport("tcp", "tcp://", _TCP, listens=True),
    Transport(
        "tcp-key",
        "tcp://",
        {
            **_TCP,
            "bytes": KEYED,
            "hangs up": KEYED,
            "handed": "a connector that has not finished its proof stays",
            "leaves": "nothing is sent before the listener has proven itself, in accept()",
        },
        listens=True,
        options={"authkey": "the contract's"},
        only=("test_messages", "test_table", "test_waiting", "test_threads"),
    ),
    Transport("tcp-checksum", "tcp://", _TCP, options={"checksum": True}),
    Transport("tls", "tls://", _TLS, listens=True),
    Transport("tls-pair", "tls://", _TLS, options={"checksum": True}),
    Transport("udp", "udp://", _UDP, listens=True),
    Transport("udp-pair", "udp://", _UDP, options={"checksum": True}),
    Transport("fifo", "fifo://", _FIFO, listens=True),
    Transport("pipe", "pipe://", {**_TCP, "listen": INHERITED, "hangs up": NO_SHUTDOWN}),
]
