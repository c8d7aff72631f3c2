# SPDX-License-Identifier: Apache-2.0
"""This process's lab: its mark, its private folder, and the warden that cleans up after a kill -9.

A process that was forked from this one (``os.fork()`` in a notebook) has a lab of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading

from ipcx._core import Unsupported
from ipcx.lab import _board, _starting, _warden

__all__: list[str] = []


class _Home:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.token = secrets.token_hex(6)
        self.folder = f"{tempfile.gettempdir()}/ipcx-lab-{self.token}"
        self.made = False
        self.bell = -1  # a word into it, and the warden goes


_home = _Home()


def _in_child() -> None:
    if _home.bell >= 0:
        with contextlib.suppress(OSError):
            os.close(_home.bell)
    _home.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_in_child)


def token() -> str:
    """The mark of all processes of this lab: TOKEN followed by a point."""
    return f"{_home.token}."


def folder() -> str:
    """The lab's own, private folder, made when it is first asked for."""
    with _home.lock:
        if not _home.made:
            warden()
            with contextlib.suppress(FileExistsError):  # a process of ours was first
                os.mkdir(_home.folder, 0o700)
            _home.made = True
        return _home.folder


def place() -> str:
    """Where the folder is or will be, for a process of the lab that may have to make it."""
    return _home.folder


def warden() -> None:
    """Has the warden there, from now on."""
    with _home.lock:
        if _home.bell >= 0:
            return
        if not sys.executable:
            raise RuntimeError("ipcx.lab: sys.executable is empty, so no process can be started")
        try:
            kernel = os.pidfd_open(os.getpid())
        except OSError as error:
            raise Unsupported(
                f"ipcx.lab needs pidfds (Linux 5.3), which are refused here: {error}"
            ) from None
        listens, bell = os.pipe()
        nothing = os.open(os.devnull, os.O_RDWR)
        words = [sys.executable, "-I", "-S", _warden.__file__, "3", "4", token(), _home.folder]
        fds = [(3, kernel), (4, listens), (0, nothing), (1, nothing), (2, nothing)]
        try:
            first, _ = _starting.child(words, fds)
            first.wait(None)  # the warden itself is its child
        except BaseException:
            os.close(bell)
            raise
        finally:
            for fd in (kernel, listens, nothing):
                os.close(fd)
        _home.bell = bell


def close() -> None:
    """Sends the warden home and removes the folder: nothing runs any more."""
    with _home.lock:
        bell, _home.bell = _home.bell, -1
        if bell >= 0:
            with contextlib.suppress(BrokenPipeError):  # somebody has killed it
                os.write(bell, b".")
            os.close(bell)
        _board.close()
        _home.made = False
        shutil.rmtree(_home.folder, ignore_errors=True)


@atexit.register
def _at_exit() -> None:
    _warden.end(_warden.members(token()), signal.SIGTERM) if _home.bell >= 0 else None
    close()
