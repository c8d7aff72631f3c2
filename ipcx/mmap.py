# SPDX-License-Identifier: Apache-2.0
"""A drop-in for the stdlib's ``mmap`` that survives a file truncated under it.

``from ipcx import mmap`` in place of ``import mmap`` is the only change a program needs: names,
arguments, results and exceptions are the stdlib's, and `mmap.mmap` is a subclass of its class.

Elsewhere, touching memory that the file no longer has ends the process by SIGBUS. Here a method
raises ``OSError`` (EFAULT), and through an exported buffer (a memoryview, a NumPy array) a lost
page reads as zeros, and the next method called on the map raises. Beyond the stdlib: `map_file`,
which opens, makes and grows the file in the same call; `mmap.resident`, which shows the pages that
are in memory; `mmap.locked`, which keeps a range for one process at a time.
"""

import contextlib as _contextlib
import mmap as _stdlib
import os as _os
from collections.abc import Iterator as _Iterator
from mmap import *  # noqa: F403

from ipcx import _core

mmap = _core.mmap
__all__ = sorted({n for n in vars(_stdlib) if not n.startswith("_")} | {"guard", "map_file"})

_READ, _WRITE, _PRIVATE, _CREATE, _EXCLUSIVE = 0, 1, 2, 4, 8  # ipcx/mapfile.h
_MODES = {
    "r": _READ,
    "c": _PRIVATE,
    "r+": _WRITE,
    "a+": _WRITE | _CREATE,
    "x+": _WRITE | _CREATE | _EXCLUSIVE,
}
_SHARED, _EXCLUSIVELY = 1, 2


def map_file(
    path: "str | bytes | _os.PathLike[str] | _os.PathLike[bytes]",
    size: int | None = None,
    *,
    mode: str = "r",
    offset: int = 0,
) -> _core.mmap:
    """Maps the file at *path*: *size* bytes from *offset*, or all that there are.

    ``mode`` says what for, in `open`'s letters:

    - ``"r"`` to read
    - ``"r+"`` to read and write
    - ``"a+"`` to read and write, and the file is made if there is none
    - ``"x+"`` to read and write a file that is made now and must not exist yet
    - ``"c"`` copy-on-write: what is written stays in this process

    A file that is to be written grows to *size*; it is never shortened. What it grows by has its
    place on the disk at once, so a full one is an ``OSError`` (ENOSPC) here and not a dead process
    later. A device (``/dev/zero``) can be mapped if it is told how much.
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}")
    if size is not None and size <= 0:
        raise ValueError(f"size must be positive, not {size}")
    return mmap._from_path(path, size or 0, offset, _MODES[mode])


@_contextlib.contextmanager
def _locked(
    self: _core.mmap,
    start: int = 0,
    length: int | None = None,
    *,
    shared: bool = False,
    timeout: float | None = None,
) -> _Iterator[None]:
    """Keeps *length* bytes from *start* (all that follow) to oneself while the block runs.

    With *shared*, others may hold it *shared*, too. Whoever comes later waits, at most *timeout*
    seconds, then `ipcx.Timeout`; 0 asks once, then `ipcx.WouldBlock`. The lock belongs to this map
    and goes with it, so with a killed process; all threads that use the same map share it, and a
    child of ``os.fork()`` does not. It is advice among those who ask for it: it hinders nobody
    else.
    """
    nanoseconds = -1
    if timeout is not None:
        if not timeout >= 0:
            raise ValueError(f"timeout must be None or at least 0, not {timeout}")
        nanoseconds = int(min(timeout, 1e9) * 1e9)
    if length is None:
        length = len(self) - start
    self._lock(start, length, _SHARED if shared else _EXCLUSIVELY, nanoseconds)
    try:
        yield
    finally:
        if not self.closed:
            self._lock(start, length, 0, 0)


_locked.__name__, _locked.__qualname__ = "locked", "mmap.locked"
_core.mmap.locked = _locked  # type: ignore[method-assign]


def guard(on: bool) -> bool:
    """Switches the guard against lost pages on or off for the whole process; returns what it was.

    Off, the handler of SIGBUS that was there before is there again, and touching a lost page ends
    the process, as with the stdlib's ``mmap``.
    """
    return _core.mmap_guard(on)
