# SPDX-License-Identifier: Apache-2.0
"""The folder of a record: in memory if there is plenty, so that no disk is kept busy.

Whoever makes one holds a lock on the folder itself, flock(2), until it is removed. A kill -9 takes
the lock and leaves the folder: the next one that is made removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

from ipcx import _ledger

__all__: list[str] = []

_MEMORY, _PLENTY = "/dev/shm", 1 << 30  # a container's 64 MB are its programs' own
_PREFIX = "ipcx-record-"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A new folder at `path`, until `remove`."""

    def __init__(self) -> None:
        import tempfile

        place = _place()
        sweep(place)
        # Under a name that no sweep looks at as long as it has no lock.
        made = tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=place)
        self.path = os.path.join(place, os.path.basename(made)[1:])
        try:
            self._fd = _high(os.open(made, _OPEN))
        except OSError:  # no descriptor is left
            os.rmdir(made)
            raise
        _ledger.lock(self._fd, fcntl.LOCK_EX)
        os.rename(made, self.path)

    def remove(self) -> None:
        """With all that is in it."""
        import shutil

        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # closed by whoever closes all
            os.close(self._fd)


def sweep(place: str) -> list[str]:
    """Removes this user's folders that nobody holds any more; gives their names."""
    with contextlib.suppress(OSError):
        names = [name for name in os.listdir(place) if name.startswith(_PREFIX)]
        return [name for name in names if _swept(os.path.join(place, name))]
    return []


def _place() -> str:
    import tempfile

    with contextlib.suppress(OSError):
        seen = os.statvfs(_MEMORY)
        if seen.f_bavail * seen.f_frsize > _PLENTY and os.access(_MEMORY, os.W_OK):
            return _MEMORY
    return tempfile.gettempdir()


def _high(fd: int) -> int:
    """The same, out of the way: a program that is recorded gets the numbers it would get."""
    import resource

    with contextlib.suppress(OSError):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, min(limit, 1 << 16) // 2)
        os.close(fd)
        return high
    return fd


def _swept(path: str) -> bool:
    import shutil

    with contextlib.suppress(OSError):  # not a folder, somebody else's, gone meanwhile
        fd = os.open(path, _OPEN)
        try:
            if os.fstat(fd).st_uid == os.geteuid() and _ledger.lock(fd, fcntl.LOCK_EX):
                shutil.rmtree(path)
                return True
        finally:
            os.close(fd)
    return False
