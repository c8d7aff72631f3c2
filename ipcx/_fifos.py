# SPDX-License-Identifier: Apache-2.0
"""What ``ipcx ls``, ``ipcx gc`` and ``ipcx rm`` say and do about the named pipes of ``fifo://``.

A listener leaves a note of its pipe (csrc/link/fifo/note.h), and holds a lock on the pipe itself.
Invariant: a pipe is removed only while its lock is held here, nobody has it open or waits for it,
and it is the very pipe that the note is of.
"""

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from ipcx import _core, _ledger
from ipcx._channels import pids

ALIVE, USED, LEFT = "alive", "in use", "left"
_NOTE = re.compile(r"([0-9a-f]+)-([0-9a-f]+)\.fifo")
_WATCHES = re.compile(r"^inotify wd:\S+ ino:([0-9a-f]+) ", re.MULTILINE)


@dataclass(frozen=True)
class Fifo:
    """One named pipe that a listener has, or had when it was killed."""

    path: str
    pid: int | None  # who listens
    readers: tuple[int, ...]  # the pids of those that have it open
    writers: tuple[int, ...]
    waiting: tuple[int, ...]  # for a listener to come
    since: float  # seconds since the epoch
    state: str

    def as_json(self) -> dict[str, object]:
        return {"kind": "fifo", "url": f"fifo://{self.path}", **asdict(self)}


@dataclass(frozen=True)
class _Note:
    place: str
    path: str
    device: int
    inode: int
    since: float

    def is_of(self, found: os.stat_result) -> bool:
        """Whether that is the pipe."""
        return (
            stat.S_ISFIFO(found.st_mode)
            and (found.st_dev, found.st_ino) == (self.device, self.inode)
            and found.st_uid == os.geteuid()
        )

    def was_left(self) -> bool:
        """It is as a listener has left it, and not mkfifo(1)'s, whose inode may be the same."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return self.is_of(found) and stat.S_IMODE(found.st_mode) == 0o600


def _folders() -> Iterator[str]:
    """Where csrc/link/address/runtime.c may have put the notes of any process of ours."""
    uid = os.geteuid()
    for path in (f"{os.environ.get('XDG_RUNTIME_DIR', '')}/ipcx", f"/tmp/ipcx-{uid}"):
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077:
                yield path


def _notes() -> Iterator[_Note]:
    """Those whose pipe is there; one whose pipe has gone goes, too."""
    for folder in _folders():
        for name in os.listdir(folder):
            match = _NOTE.fullmatch(name)
            if match is None:
                continue
            with contextlib.suppress(OSError):
                place = f"{folder}/{name}"
                since = os.lstat(place).st_mtime
                path = os.readlink(place)
                note = _Note(place, path, int(match[1], 16), int(match[2], 16), since)
                try:
                    is_there = note.is_of(os.lstat(path))
                except FileNotFoundError:
                    is_there = False
                if is_there:
                    yield note
                else:
                    os.unlink(place)


@dataclass
class _Users:
    readers: list[int] = field(default_factory=list)
    writers: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def any(self) -> list[int]:
        return self.readers + self.writers + self.waiting


def _users(notes: list[_Note], own: int = -1) -> dict[tuple[int, int], _Users]:
    """Of each pipe, by whom it is open, how often; but for our own descriptor."""
    found = {(note.device, note.inode): _Users() for note in notes}
    watched = {note.inode: found[note.device, note.inode] for note in notes}
    for pid in pids():
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if pid == os.getpid() and int(fd) == own:
                    continue
                with contextlib.suppress(OSError):
                    path = f"/proc/{pid}/fd/{fd}"
                    if os.readlink(path) == "anon_inode:inotify":
                        with open(f"/proc/{pid}/fdinfo/{fd}") as info:
                            for inode in _WATCHES.findall(info.read()):
                                if int(inode, 16) in watched:
                                    watched[int(inode, 16)].waiting.append(pid)
                        continue
                    seen = os.stat(path)
                    users = found.get((seen.st_dev, seen.st_ino))
                    if users is not None:
                        mode = os.lstat(path).st_mode  # of the link: how it was opened
                        if mode & stat.S_IRUSR:
                            users.readers.append(pid)
                        if mode & stat.S_IWUSR:
                            users.writers.append(pid)
    return found


def _listeners() -> dict[tuple[int, int], int]:
    """Who holds a lock on which file, by device and inode."""
    found = {}
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/locks") as lines:
        for line in lines:
            words = line.split()
            if "FLOCK" in words and "->" not in words:
                major, minor, inode = words[-3].split(":")
                device = os.makedev(int(major, 16), int(minor, 16))
                found[device, int(inode)] = int(words[-4])
    return found


def fifos() -> list[Fifo]:
    """All of this user's, by path."""
    notes = sorted(_notes(), key=lambda note: note.path)
    users, listeners = _users(notes), _listeners()
    rows = []
    for note in notes:
        pipe = note.device, note.inode
        pid, by = listeners.get(pipe), users[pipe]
        if pid is None and not note.was_left():
            continue
        if pid is None and (opener := _core.fifo_opener(note.path)):
            by.waiting.append(opener)
        if pid in by.writers:
            by.writers.remove(pid)  # a listener keeps one so that the last writer is not the end
        rows.append(
            Fifo(
                path=note.path,
                pid=pid,
                readers=tuple(sorted(set(by.readers))),
                writers=tuple(sorted(set(by.writers))),
                waiting=tuple(sorted(set(by.waiting))),
                since=note.since,
                state=ALIVE if pid is not None else USED if by.any() else LEFT,
            )
        )
    return rows


def _remove(note: _Note) -> str:
    """Why it was not removed; "" when it was. Whoever waits in open(2) for the other side would
    take ours for that: such a pipe is not opened."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    if (
        note.was_left()
        and not _users([note])[note.device, note.inode].any()
        and not _core.fifo_opener(note.path)
    ):
        fd = os.open(note.path, flags)
        try:
            # Who listens from now on finds the lock taken; who has come meanwhile is seen.
            if (
                note.is_of(os.fstat(fd))
                and _ledger.lock(fd, fcntl.LOCK_EX)
                and not _users([note], fd)[note.device, note.inode].any()
                and note.was_left()
            ):
                os.unlink(note.path)
                os.unlink(note.place)
                return ""
        finally:
            os.close(fd)
    return "somebody uses it"


def sweep() -> list[str]:
    """Removes the pipes that killed listeners have left and nobody uses; the paths of those."""
    removed = []
    for note in list(_notes()):
        with contextlib.suppress(OSError):
            if not _remove(note):
                removed.append(note.path)
    return sorted(removed)


def remove(name: str) -> str | None:
    """Why it was not removed; "" when it was, None: no such pipe of a listener's is known."""
    path = name.removeprefix("fifo://")
    for row in fifos():
        if row.path == path and row.pid is not None:
            return f"process {row.pid} listens there"
        if row.path == path:
            try:
                return min(_remove(note) for note in _notes() if note.path == path)
            except (OSError, ValueError) as error:
                return f"it has changed meanwhile: {error}"
    return None
