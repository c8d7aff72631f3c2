# SPDX-License-Identifier: Apache-2.0
"""The board: how processes that run already learn of a record that begins or ends.

A file in memory, mapped by each of the lab's processes: a word that changes with every record
(0: none is open), and behind it the folders of those that are. The core looks at the word in each
call, which costs it a load; when it has changed, `changed` reads the rest.
"""

from __future__ import annotations

import _thread
import contextlib
import json
import os
import struct

from ipcx import _core

__all__: list[str] = []

FOLLOW = "IPCX_RECORD_FOLLOW"  # the environment's variable: the path
_SIZE = 8192
_HEAD = struct.Struct("=II")  # the word; the bytes of JSON behind it

_open: list[str] = []  # the folders of this process's own records
_fd = -1  # nobody needs it yet
_word = 0
_followed = ""


def path() -> str:
    """The lab's board, for a process that is about to start."""
    global _fd
    if _fd < 0:
        _fd = os.memfd_create("ipcx-records", os.MFD_CLOEXEC)
        os.ftruncate(_fd, _SIZE)
        _post()
    return f"/proc/{os.getpid()}/fd/{_fd}"


def close() -> None:
    """Nobody reads it any more."""
    global _fd
    fd, _fd = _fd, -1
    if fd >= 0:
        with contextlib.suppress(OSError):  # closed by whoever closes all
            os.close(fd)


def opened(folder: str) -> None:
    """From now on all processes of the lab record into this folder, too."""
    _open.append(folder)
    _post()


def closed(folder: str) -> None:
    """And no longer."""
    with contextlib.suppress(ValueError):
        _open.remove(folder)
    _post()


def _post() -> None:
    global _word
    text = json.dumps(_open).encode()
    if _fd < 0 or len(text) > _SIZE - _HEAD.size:
        return
    _word = _word % 0xFFFF_FFFE + 1
    with contextlib.suppress(OSError):
        os.pwrite(_fd, struct.pack("=I", len(text)) + text, 4)
        os.pwrite(_fd, struct.pack("=I", _word if _open else 0), 0)  # last: now look


def _after_fork() -> None:
    _open.clear()
    close()


os.register_at_fork(after_in_child=_after_fork)


def read(where: str) -> list[str] | None:
    """What stands on it; None: it is being written, or has gone."""
    try:
        with open(where, "rb") as file:
            board = file.read()
        size = _HEAD.unpack_from(board)[1]
        found = json.loads(board[_HEAD.size : _HEAD.size + size])
    except (OSError, ValueError, struct.error):
        return None
    return [str(folder) for folder in found]


def follow(where: str, name: str | None = None) -> None:
    """Has this process, as `name`, record whenever the board says so."""
    global _followed
    if where == _followed:
        return
    known: set[str] = set()
    lock = _thread.RLock()
    busy = False

    def changed() -> None:
        nonlocal busy
        with lock:  # the others' calls wait here until this process records
            if busy:  # a signal handler's call, in the middle of this
                return
            busy = True
            try:
                look()
            finally:
                busy = False

    def after_fork() -> None:
        nonlocal lock, busy
        lock, busy = _thread.RLock(), False

    def look() -> None:
        folders = read(where)
        if folders is None:  # the next change of the word comes
            return
        if known.symmetric_difference(folders):
            from ipcx.lab import recorder

            for gone in known.difference(folders):
                recorder.end(gone)
            for folder in folders:
                recorder.begin(folder, name)
        known.clear()
        known.update(folders)

    with contextlib.suppress(OSError):
        _core.record_follow(where, changed)
        _followed = where
        os.register_at_fork(after_in_child=after_fork)
