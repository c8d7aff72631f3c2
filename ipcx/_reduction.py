# SPDX-License-Identifier: Apache-2.0
"""Sending our sockets to other processes through ``multiprocessing``, as the stdlib's are sent.

``multiprocessing`` can pass an open socket: as an argument of a ``Process`` under spawn and
forkserver, or by ``Connection.send``. It looks the way up by exact class, and knows only the class
it found in the stdlib's ``socket``. `arm` teaches it ours as soon as it is imported; it is never
imported for it. Plain pickling is refused as before, since a descriptor means nothing elsewhere.
"""

from types import ModuleType
from typing import Any

from ipcx import _core
from ipcx._hooks import when_imported


def rebuild(handle: Any, family: int, type: int, proto: int) -> Any:
    """The receiver's half: a socket of ours over the descriptor that was passed."""
    return _core.socket(family, type, proto, fileno=handle.detach())


def reduce(sock: Any) -> tuple[Any, ...]:
    """The sender's half: the descriptor, which multiprocessing duplicates, and its kind."""
    from multiprocessing.reduction import DupFd

    return rebuild, (DupFd(sock.fileno()), int(sock.family), int(sock.type), sock.proto)


def _teach(module: ModuleType) -> None:
    module.register(_core.socket, reduce)


def arm() -> None:
    """Called once by ipcx.socket."""
    when_imported("multiprocessing.reduction", _teach)
