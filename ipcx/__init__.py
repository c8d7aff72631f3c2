"""ipcx: every way two processes can talk.

`connect`, `listen` and `pair` make channels, which carry messages by ``send()`` and ``receive()``;
the URL says over what (`ipcx.channel`). The modules carry the lecture's names: `ipcx.socket` is a
drop-in for the stdlib's ``socket``.

Here are also the exceptions they share, made from the core's one table of outcomes; each derives
from `Error` *and* from the built-in exception that a reader would expect. ``ipcx explain NAME``
tells what each means and what to do.
"""

from ipcx._core import (
    AddressInUse,
    AuthError,
    BrokenBarrier,
    Closed,
    ConnectRefused,
    CorruptData,
    Deadlock,
    Error,
    ForkedError,
    InsecureAddress,
    InvalidURL,
    MessageTooLarge,
    NotOwner,
    PeerClosed,
    PeerDied,
    ProtocolError,
    ResourceExhausted,
    Timeout,
    Unsupported,
    VersionMismatch,
    WouldBlock,
)
from ipcx.channel import Channel, Listener, connect, listen, pair
from ipcx.tracing import trace

__version__ = "0.1.0"

__all__ = [
    "AddressInUse",
    "AuthError",
    "BrokenBarrier",
    "Channel",
    "Closed",
    "ConnectRefused",
    "CorruptData",
    "Deadlock",
    "Error",
    "ForkedError",
    "InsecureAddress",
    "InvalidURL",
    "Listener",
    "MessageTooLarge",
    "NotOwner",
    "PeerClosed",
    "PeerDied",
    "ProtocolError",
    "ResourceExhausted",
    "Timeout",
    "Unsupported",
    "VersionMismatch",
    "WouldBlock",
    "__version__",
    "connect",
    "listen",
    "pair",
    "trace",
]
