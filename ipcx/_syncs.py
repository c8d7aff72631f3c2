# SPDX-License-Identifier: Apache-2.0
"""What ``ipcx ls``, ``ipcx gc`` and ``ipcx rm`` say and do about ipcx.sync's names.

Invariant: what somebody uses is never touched: each user of a name holds LOCK_SH on its file, and
whoever unlinks one holds LOCK_EX.
"""

import contextlib
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ipcx import _core, _ledger

USED, LEFT, KEPT = "in use", "left", "kept"
_KINDS = ("", "Mutex", "Semaphore", "RWLock", "Condition", "Event", "Barrier")
_MAGIC = 0x53637069
# csrc/os/sync/parts.h: the first line, the word, the value, the places.
_HEADER, _WORD, _VALUE, _PLACES, _PLACE = struct.Struct("=8I"), 64, 128, 512, 16


@dataclass(frozen=True)
class Named:
    """One name of a lock or semaphore."""

    name: str
    type: str
    memory: int
    since: float  # seconds since the epoch
    value: int | None  # free permits of a semaphore
    pid: int | None  # who has it, for a lock
    state: str

    def as_json(self) -> dict[str, object]:
        return {"kind": "sync", **asdict(self)}


def folder() -> str:
    return f"{_ledger.folder()}/sync"


@contextlib.contextmanager
def _opened(name: str) -> Iterator[int]:
    """A descriptor of the file, -1 where there is none of ours."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(f"{folder()}/{name}", flags)
    except (OSError, ValueError):
        yield -1
        return
    try:
        seen = os.fstat(fd)
        yield fd if stat.S_ISREG(seen.st_mode) and seen.st_uid == os.geteuid() else -1
    finally:
        os.close(fd)


def _word(fd: int, at: int) -> int:
    return int(struct.unpack("=I", os.pread(fd, 4, at).ljust(4, b"\0"))[0])


def _describe(name: str, fd: int) -> Named | None:
    header = _HEADER.unpack(os.pread(fd, _HEADER.size, 0).ljust(_HEADER.size, b"\0"))
    if header[0] != _MAGIC or not 0 < header[2] < len(_KINDS):
        return None
    kind = _KINDS[header[2]]
    used = not _ledger.lock(fd, fcntl.LOCK_EX)
    place = _word(fd, _WORD) & 0xFFFF
    pid = _word(fd, _PLACES + (place - 1) * _PLACE) if 0 < place <= 480 and used else 0
    seen = os.fstat(fd)
    return Named(
        name=name,
        type=kind,
        memory=seen.st_blocks * 512,
        since=seen.st_ctime if seen.st_mtime == 0 else seen.st_mtime,
        value=_word(fd, _VALUE) if kind == "Semaphore" else None,
        pid=pid or None,
        state=USED if used else KEPT if header[4] else LEFT,
    )


def named() -> list[Named]:
    """All of this user's, by name."""
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder())):
            with _opened(name) as fd:
                row = _describe(name, fd) if fd >= 0 else None
            if row is not None:
                found.append(row)
    return found


def sweep() -> list[str]:
    """Removes the names that nobody uses and that were not made to stay; those removed."""
    return sorted(_core.sync_sweep())


def remove(name: str) -> str | None:
    """Why it was not removed; "" when it was, None: there is none of that name."""
    with _opened(name) as fd:
        if fd < 0:
            return None
        if not _ledger.lock(fd, fcntl.LOCK_EX):
            return "somebody uses it"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder()}/{name}")
    for empty in (folder(), _ledger.folder()):
        with contextlib.suppress(OSError):
            os.rmdir(empty)
    return ""
