# SPDX-License-Identifier: Apache-2.0
"""The ends of pipes, and pipes that have a name.

Invariant: each end closes its descriptor once, and no call of one waits longer than it was told.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from typing import TYPE_CHECKING

from ipcx import _core
from ipcx._closing import Closing
from ipcx._core import Closed, MessageTooLarge, Timeout, WouldBlock
from ipcx._descriptors import new_pipe
from ipcx._timeouts import Deadline

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from _typeshed import ReadableBuffer, StrPath

__all__ = ["PIPE_BUF", "NamedPipe", "Pipe", "ReadEnd", "WriteEnd", "pipe"]

PIPE_BUF = select.PIPE_BUF
"""Bytes that one write() puts into a pipe whole, whoever else writes: pipe(7)."""


def _identity(fd: int) -> tuple[int, int]:
    """Which file it is; (0, 0): it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


class _End(Closing):
    """A descriptor that is closed once."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd, self.name = fd, name
        self._gate = _core.pipe_gate()
        self._file = _identity(fd)
        self._shown = False

    def fileno(self) -> int:
        """The descriptor, for `select`, for ``os.read`` and ``os.write``, for child processes.

        These calls wait as they do in C; those of this object keep to their time-outs, unless
        somebody else who uses the same end is faster just then.
        """
        fd = self._number()
        if not self._shown:  # whoever makes it non-blocking afterwards has it so
            os.set_blocking(fd, True)
            self._shown = True
        return fd

    def _number(self) -> int:
        if self._fd < 0:
            raise Closed(f"{self.name} is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._fd < 0

    def close(self) -> None:
        """Close this end; again is no error. A call of another thread that waits gets `Closed`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            # Who has closed it by its number may have another file there by now.
            _core.pipe_close(fd if _identity(fd) == self._file else -1, self._gate)

    def detach(self) -> int:
        """The descriptor, which is the caller's from now on; this end counts as closed."""
        fd = self.fileno()
        self._fd = -1
        return fd

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name}, {'closed' if self.closed else self._fd}>"


class ReadEnd(_End):
    """The end of a pipe that bytes come out of."""

    def read(self, size: int = 65536, timeout: float | None = None) -> bytes:
        """What is there, at most `size` bytes; waits for the first. b"" when whoever wrote has
        closed it; before anybody has opened it to write it waits.

        A pipe has no messages: what two writes put in may come out of one read, and the other way
        round. `Timeout` after `timeout` seconds, `WouldBlock` with 0.
        """
        return _core.pipe_read(self._number(), size, timeout, self._gate)

    def read_all(self, timeout: float | None = None) -> bytes:
        """Everything up to the end."""
        pieces, deadline = [], Deadline(timeout)
        while piece := self.read(timeout=deadline.left()):
            pieces.append(piece)
        return b"".join(pieces)


class WriteEnd(_End):
    """The end of a pipe that bytes go into."""

    def write(
        self, data: ReadableBuffer, timeout: float | None = None, *, atomic: bool = False
    ) -> int:
        """Write all of `data`; returns its size in bytes.

        Up to `PIPE_BUF` bytes go in whole, whoever else writes; what is longer may be mixed with
        others' bytes. `atomic` refuses that: `MessageTooLarge`. `PeerClosed` when nobody reads any
        more, never SIGPIPE. `Timeout` and `WouldBlock` have ``error.written``, the bytes that went.
        """
        view = memoryview(data).cast("B")
        if atomic and len(view) > PIPE_BUF:
            raise MessageTooLarge(
                f"{self.name}: {len(view)} bytes; at most {PIPE_BUF} (PIPE_BUF) are written whole"
            )
        written, deadline = 0, Deadline(timeout)
        blocks = os.get_blocking(self._number())
        most = PIPE_BUF if blocks else len(view)  # so much goes in at once if there is room at all
        try:
            while written < len(view):
                if blocks:
                    _core.pipe_wait_room(self._number(), deadline.left(), self._gate)
                try:
                    written += _core.pipe_write(self._number(), view[written : written + most])
                except WouldBlock:
                    _core.pipe_wait_room(self._number(), deadline.left(), self._gate)
        except Timeout as error:
            error.written = written  # type: ignore[attr-defined]
            raise
        return written


class Pipe(Closing):
    """Both ends of a pipe: ``fd[0]`` is read from, ``fd[1]`` is written to, as in C: `os.read` and
    `os.write` of them wait, and `os.close` may close them.

    A child that inherits an end must close the one it does not use, and so must the parent: as
    long as anybody has the writing end open, the reader waits for more. For messages instead of
    bytes there is ``ipcx.pair("pipe://")``.
    """

    def __init__(self) -> None:
        reads, writes = new_pipe(os.O_CLOEXEC | os.O_NONBLOCK)
        self.read_end = ReadEnd(reads, "a pipe")
        self.write_end = WriteEnd(writes, "a pipe")

    def __getitem__(self, index: int) -> int:
        """The descriptor: 0 of the reading end, 1 of the writing end."""
        return (self.read_end, self.write_end)[index].fileno()

    def __len__(self) -> int:
        return 2

    def close(self) -> None:
        """Close both ends."""
        self.read_end.close()
        self.write_end.close()

    def __repr__(self) -> str:
        return f"<Pipe {self.read_end!r} {self.write_end!r}>"


def pipe() -> Pipe:
    """A new pipe: pipe(2)."""
    return Pipe()


class NamedPipe:
    """A pipe that programs find by its path (a FIFO), and whose ends are opened with a deadline.

    ``NamedPipe(path)`` uses the one that is there; `create` makes it: then it is removed at the end
    of the with-block (or by `unlink`). open(2) would wait for the other side for ever; here nobody
    does: `reader` opens at once and its first read waits, `writer` waits as long as it is told.

    A name that stands for anything else, a symbolic link too, is refused: PermissionError.
    """

    def __init__(
        self, path: StrPath, *, create: bool = False, exist_ok: bool = False, mode: int = 0o600
    ) -> None:
        """`exist_ok`: `create` takes one that is there already, left behind perhaps."""
        self.path = os.fspath(path)
        self.created = False
        if create:
            try:
                _core.fifo_make(self.path, mode)
                self.created = True
            except OSError:
                if not (exist_ok and os.path.lexists(self.path) and self._is_there()):
                    raise
        elif not self._is_there():
            raise PermissionError(errno.EPERM, f"{self.path} is no named pipe")

    def _is_there(self) -> bool:
        return stat.S_ISFIFO(os.lstat(self.path).st_mode)

    def reader(self) -> ReadEnd:
        """The end to read from."""
        return ReadEnd(_core.fifo_open(self.path, False, 0), self.path)

    def writer(self, timeout: float | None = None) -> WriteEnd:
        """The end to write to, once somebody has the other one. `Timeout`, `WouldBlock`."""
        return WriteEnd(_core.fifo_open(self.path, True, timeout), self.path)

    def unlink(self) -> None:
        """Remove the name; who has an end keeps it. Again is no error."""
        try:
            if self._is_there():
                os.unlink(self.path)
        except FileNotFoundError:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.created:
            self.unlink()

    def __repr__(self) -> str:
        return f"<NamedPipe {self.path!r}>"
