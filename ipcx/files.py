# SPDX-License-Identifier: Apache-2.0
"""Shared files without their traps: replaced whole, locked, followed, watched.

Two processes that share a plain file meet half-written contents, mixed lines, and locks that
outlive their holder. Here is what helps:

- `atomic_write` replaces a file whole or not at all: a reader sees the old content or the new one.
- `FileLock` is held by one process or thread at a time, and ends with its holder, even by kill -9.
- `MessageLog` is a file of messages: many append, many follow, each at its own pace, and none ever
  sees half a message.
- `watch` tells what happens to a file or in a directory.

>>> import tempfile, pathlib
>>> from ipcx import files
>>> folder = tempfile.TemporaryDirectory()
>>> path = pathlib.Path(folder.name, "events.log")
>>> with files.MessageLog(path) as log, files.Follower(path) as follower:
...     position = log.append("one")
...     log.append_many([b"two", "three"]) > position
...     follower.receive(), follower.receive()
True
('one', b'two')
>>> with files.FileLock(path.with_suffix(".lock")):
...     files.atomic_write(path.with_suffix(".json"), '{"seen": 2}')
>>> folder.cleanup()
"""

from __future__ import annotations

import contextlib
import enum
import operator
import os
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, overload

from ipcx import _core
from ipcx._awaiting import Source
from ipcx._closing import Closing
from ipcx._core import Closed, PeerClosed, WouldBlock

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "MAX_MESSAGE",
    "Change",
    "ChangeKind",
    "FileLock",
    "Follower",
    "LogStats",
    "MessageLog",
    "Watch",
    "atomic_write",
    "watch",
]

MAX_MESSAGE = 64 * 1024 * 1024  # bytes, unless told otherwise
_END = 2**64 - 1

StrPath: TypeAlias = str | os.PathLike[str]


# ---- replaced whole


@overload
def atomic_write(
    path: StrPath,
    data: str | ReadableBuffer,
    *,
    encoding: str = ...,
    durable: bool = ...,
    permissions: int = ...,
) -> None: ...
@overload
def atomic_write(
    path: StrPath,
    data: None = ...,
    *,
    encoding: str | None = ...,
    durable: bool = ...,
    permissions: int = ...,
) -> contextlib.AbstractContextManager[IO[Any]]: ...
def atomic_write(
    path: StrPath,
    data: str | ReadableBuffer | None = None,
    *,
    encoding: str | None = None,
    durable: bool = True,
    permissions: int = 0o666,
) -> contextlib.AbstractContextManager[IO[Any]] | None:
    """Replace the file at `path` by one with `data` in it: whole, or not at all.

    Every reader finds the old content or the new one, whenever this process is killed and, with
    `durable`, whenever the machine stops; then it is on the disk when the call returns. The mode
    and the owner of the file are kept; a new file gets `permissions` less the umask. Whoever has
    the old file open keeps reading that.

    Without `data` it is a context manager that gives a file to write to, binary or, with
    `encoding`, text; the file at `path` is replaced when the block ends without an exception:

    ``with atomic_write("table.csv", encoding="utf-8") as file: file.writelines(lines)``

    A symbolic link, a FIFO or a device at `path` is refused with PermissionError and not touched,
    a directory with IsADirectoryError.
    """
    if data is None:
        return _writing(path, encoding, durable, permissions)
    if isinstance(data, str):
        data = data.encode(encoding or "utf-8")
    new = _core.Replacement(path, permissions)
    try:
        new.write(data)
        new.commit(durable)
    finally:
        new.abort()
    return None


@contextlib.contextmanager
def _writing(
    path: StrPath, encoding: str | None, durable: bool, permissions: int
) -> Iterator[IO[Any]]:
    new = _core.Replacement(path, permissions)
    try:
        own = os.dup(new.fileno())
        with open(own, "wb" if encoding is None else "w", encoding=encoding) as file:
            yield file
        new.commit(durable)
    finally:
        new.abort()


# ---- locked


class FileLock(_core.FileLock):
    """One at a time, between processes and between threads: ``with FileLock(path): ...``.

    The lock belongs to the open file (an OFD lock of fcntl(2)): the kernel ends it when its holder
    ends, however that happens, and who waits sleeps until then. It is advisory: it keeps out those
    who ask for it. The file is made if it is not there, and stays. `shared` lets all those in who
    want it shared, and keeps out those who want it for themselves.

    A thread that holds it for itself and acquires it again waits for ever, as with
    ``threading.Lock``. A child made by ``os.fork()`` does not hold it.
    """

    def __init__(self, path: StrPath, *, shared: bool = False) -> None:
        super().__init__(path, shared)
        self.path = path
        self.closed = False
        _locks.add(self)

    def try_acquire(self, *, shared: bool | None = None) -> bool:
        """Take the lock if it is free, and tell whether it was."""
        try:
            self.acquire(0, shared=shared)
        except WouldBlock:
            return False
        return True

    @property
    def locked(self) -> bool:
        """Whether it is held by means of this object."""
        return bool(self._held)

    def close(self) -> None:
        """Give back what is held; whoever waits by means of this object gets `Closed`."""
        self.closed = True
        self._close()
        while self._held:
            self.release()

    def __repr__(self) -> str:
        state = "held" if self._held else "closed" if self.closed else "free"
        return f"<FileLock {os.fspath(self.path)!r}{', shared' if self.shared else ''}, {state}>"

    def __del__(self) -> None:
        if getattr(self, "_held", None):
            warnings.warn(f"{self!r} is forgotten", ResourceWarning, stacklevel=2, source=self)
            self.close()


_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _in_child() -> None:
    """A forked child holds no lock of its parent's: else that would outlive the parent."""
    for lock in list(_locks):
        while lock._held:
            os.close(lock._held.pop())


os.register_at_fork(after_in_child=_in_child)


# ---- a log of messages


class LogStats(NamedTuple):
    """Where a log stands."""

    start: int
    """Position of the oldest byte that is still there."""
    end: int
    """Position behind the newest message."""
    cut: int
    """Bytes of torn messages, left by writers that died, which this writer has cut off."""


class MessageLog(Closing, _core.LogWriter):
    """A file of messages: appended by many processes and threads, followed by many.

    A message is bytes-like or str and arrives as bytes or str, whole or not at all: each has a
    checksum, and what a writer leaves that is killed in the middle of one is cut off by the next
    writer and counted (`LogStats.cut`). What `append` returned for survives the death of any
    process (COMMITTED); with `durable` it is on the disk by then and survives the machine's (fsync
    before it returns: DURABLE).

    With `segment_size` the log is continued in a new file rather than exceed so many bytes; the
    older files are called like it with a number behind, and `keep` of them are kept. Beside it lies
    ``path.lock``, which the writers share; it may be removed when no writer is open.

    A file that is no log is refused with `ProtocolError` and not touched. A log that is damaged in
    its middle is refused with `CorruptData`; ``damaged="cut"`` cuts it off there, with all that is
    behind. `append` and `sync` raise it once where another program has cut the open file.
    `timeout` is for the opening alone. In a child of ``os.fork()`` it goes on working.
    """

    def __init__(
        self,
        path: StrPath,
        *,
        durable: bool = False,
        segment_size: int | None = None,
        keep: int | None = None,
        max_message: int = MAX_MESSAGE,
        damaged: Literal["refuse", "cut"] = "refuse",
        permissions: int = 0o666,
        timeout: float | None = 5,
    ) -> None:
        if damaged not in ("refuse", "cut"):
            raise ValueError(f'damaged is "refuse" or "cut", not {damaged!r}')
        if segment_size is not None and segment_size < 1:
            raise ValueError(f"segment_size is {segment_size} bytes: it is at least 1, or None")
        if keep is not None and keep < 1:
            raise ValueError(f"keep is {keep} older segments: it is at least 1, or None for all")
        if max_message < 1:
            raise ValueError(f"max_message is {max_message} bytes: it is at least 1")
        self.path = path
        self.durable = durable
        self.max_message = max_message
        super().__init__(
            path, durable, damaged == "cut", max_message, segment_size or 0,
            min(keep or 0, 2**31),
            permissions, timeout,
        )  # fmt: skip

    def stats(self) -> LogStats:
        """Where the log begins and ends, and what this writer had to cut off."""
        return LogStats(*self._stats())

    def follow(self, position: int | Literal["start", "end"] = "start") -> Follower:
        """A follower from `position` on: see `Follower`."""
        return Follower(self.path, position, max_message=self.max_message)

    def __iter__(self) -> Iterator[bytes | str]:
        """The messages that are there now, from the oldest on."""
        with self.follow() as follower, contextlib.suppress(WouldBlock):
            while True:
                yield follower.receive(0)

    def __repr__(self) -> str:
        promise = "DURABLE" if self.durable else "COMMITTED"
        state = ", closed" if self.closed else ""
        return f"<MessageLog {os.fspath(self.path)!r}, {promise}{state}>"


class Follower(Source[bytes | str], _core.LogReader):
    """Reads a log of messages from a position on, and waits for what is appended.

    `position` is "start" (the oldest message there is), "end" (what is appended from now on), or
    one that `MessageLog.append` returned or a follower's `position` was: keep that, and go on from
    there after a restart. ``receive()``, ``for message in follower``, ``await follower`` and
    ``async for`` wait; the loops end when the follower is closed or the log is removed. It needs
    nothing but to read the files, and no writer knows of it. For one thread at a time.

    Where old segments were removed before it came to them it goes on with the oldest there is;
    `lost` counts the bytes.
    """

    _ends = (Closed, PeerClosed)

    def __init__(
        self,
        path: StrPath,
        position: int | Literal["start", "end"] = "start",
        *,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        if isinstance(position, str) and position not in ("start", "end"):
            raise ValueError(f'position is "start", "end" or a number, not {position!r}')
        if max_message < 1:
            raise ValueError(f"max_message is {max_message} bytes: it is at least 1")
        self.path = path
        if isinstance(position, str):
            position = 0 if position == "start" else _END
        number = operator.index(position)
        if not 0 <= number <= _END:
            raise ValueError(f"no position of a log: {number}")
        super().__init__(path, number, max_message)

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Follower of {os.fspath(self.path)!r} at {self.position}{state}>"


# ---- watched


class ChangeKind(enum.StrEnum):
    """What happened."""

    CREATED = "created"
    """A new name."""
    MODIFIED = "modified"
    """It was written to, or cut."""
    WRITTEN = "written"
    """Somebody who could write to it has closed it."""
    ATTRIBUTES = "attributes"
    """Mode, owner, times, number of links."""
    DELETED = "deleted"
    """Its name is gone."""
    MOVED_FROM = "moved_from"
    """It was renamed: this was the old name."""
    MOVED_TO = "moved_to"
    """It was renamed, and this is the new name; what had it before was replaced."""
    GONE = "gone"
    """The watched directory itself; nothing follows."""
    LOST = "lost"
    """The kernel's queue was full and changes were lost: look for yourself."""


_KINDS = tuple(ChangeKind)


class Change(NamedTuple):
    """One change of a file."""

    kind: ChangeKind
    path: Path
    """The file; with GONE and LOST what is watched."""
    directory: bool
    """Whether it is about a directory."""
    cookie: int
    """Ties MOVED_FROM and MOVED_TO of one renaming together; else 0."""


class Watch(Source[Change], _core.Watch):
    """Tells what happens to a file, or in a directory: ``for change in watch(path): ...``.

    A file is watched by its name: also one that is not there yet, and one that editors and
    `atomic_write` replace. ``receive()``, ``for``, ``await`` and ``async for`` wait for the next
    `Change`; the loops end when the watch is closed or the directory is gone. `ResourceExhausted`:
    the system's limit of watches (``sysctl fs.inotify``). In a child of ``os.fork()`` it says
    `ForkedError`.
    """

    _ends = (Closed, PeerClosed)

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)
        self._folder = self.path if self.path.is_dir() else self.path.parent
        super().__init__(path)

    def receive(self, timeout: float | None = None) -> Change:
        """The next change. None waits for ever; `Timeout` after so many seconds; 0 polls.

        PeerClosed: the directory is gone.
        """
        found = self._next(timeout)
        if found is None:
            raise PeerClosed(f"watch: {self._folder} is gone")
        kind, name, cookie, directory = found
        path = self._folder / name if name else self.path
        return Change(_KINDS[kind - 1], path, directory, cookie)

    def __repr__(self) -> str:
        return f"<Watch of {os.fspath(self.path)!r}{', closed' if self.closed else ''}>"


def watch(path: StrPath) -> Watch:
    """Watch a file by its name, or a directory: see `Watch`."""
    return Watch(path)
