# SPDX-License-Identifier: Apache-2.0
"""Sending our sockets and channels to other processes through ``multiprocessing``.

``multiprocessing`` can pass an open socket: as an argument of a ``Process`` under spawn and
forkserver, or by ``Connection.send``. It looks the way up by exact class, and knows only the class
it found in the stdlib's ``socket``. `arm` teaches it ours as soon as it is imported; it is never
imported for it. Plain pickling is refused as before, since a descriptor means nothing elsewhere.
An end of a channel travels the same way as long as nobody has used it.
"""

import os
import sys
from collections.abc import Callable
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


# ---- channels


def rebuild_channel(handles: tuple[Any, ...], note: bytes) -> Any:
    """The receiver's half: an end of ours over the descriptors that were passed."""
    import ipcx  # noqa: F401 - a new process may not have it yet

    return _core._import_channel(tuple(handle.detach() for handle in handles), note)


def reduce_channel(channel: Any) -> tuple[Any, ...]:
    """The sender's half. From here on this process cannot use the end any more."""
    from multiprocessing.reduction import DupFd

    fds, note = channel._export()
    return rebuild_channel, (tuple(map(DupFd, fds)), note)


def _teach_channels(module: ModuleType) -> None:
    module.register(_core.Channel, reduce_channel)


def arm_channels(at_exit: Callable[[], None]) -> None:
    """Called once by ipcx.channel. A child of multiprocessing ends by os._exit(), without atexit's
    functions: there `at_exit` is one of multiprocessing's own finalizers. Those of the parent are
    forgotten in a child, which registers its own in the functions it calls after the fork.
    """

    def wait_and_close() -> None:
        import threading

        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.current_thread():
                thread.join()
        at_exit()

    def finalize(util: ModuleType) -> None:
        util.Finalize(None, wait_and_close, exitpriority=-1000)

    def in_child() -> None:
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(util, finalize)

    in_child()
    os.register_at_fork(after_in_child=in_child)
    when_imported("multiprocessing.reduction", _teach_channels)
