# SPDX-License-Identifier: Apache-2.0
"""Which process made which segment of ``/dev/shm``, and sweeping after those that were killed.

A process that makes named segments keeps one *ledger*, a file in a folder of its user that only
this user can enter, and holds a lock on it (flock). The kernel lets the lock go with the process,
however that ended; so a ledger that can be locked is a dead one's, whatever its pid is by now. Each
user of a segment holds a shared lock on the segment itself. A sweep removes what stands in a dead
ledger, is still the same file, and is used by nobody.

Invariant: a name is linked only after it stands in the ledger, and names a file that is complete;
so there is no instant at which a kill leaves something that no sweep finds.
"""

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

SHM = "/dev/shm"
KEPT = "kept"  # the ledger of what shall outlive its maker; nobody holds it
RECORD = 1024  # bytes; several a page, none across two: a write is whole or not there
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_SOON = 60.0  # seconds in which a name may still be to come that stands in a ledger already
_BRIEFLY = 50  # times a millisecond: how long a lock that a sweep holds can be waited for


class Entry(NamedTuple):
    """A segment as a ledger has it."""

    name: str
    device: int
    inode: int
    since: float  # seconds since the epoch

    def pack(self) -> bytes:
        text = f"{self.device} {self.inode} {self.since!r} {os.fsencode(self.name).hex()}"
        return text.encode().ljust(RECORD - 1) + b"\n"

    @classmethod
    def unpack(cls, record: bytes) -> "Entry | None":
        """None: an empty record, or none of ours."""
        try:
            device, inode, since, name = record.split()
            return cls(
                os.fsdecode(bytes.fromhex(name.decode())), int(device), int(inode), float(since)
            )
        except ValueError:
            return None


def folder() -> str:
    return f"{SHM}/ipcx-{os.geteuid()}"


def _open_folder(make: bool) -> int:
    """A descriptor of the folder, which is the user's own and nobody else's."""
    path = folder()
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)  # whatever the umask
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(
                errno.EPERM, "somebody else made this folder, or others may enter it", path
            )
    except BaseException:
        os.close(fd)
        raise
    return fd


def lock(fd: int, kind: int) -> bool:
    """Whether flock(2) granted it at once."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_soon(fd: int, kind: int) -> bool:
    """As `lock`, but waits for a sweep that is looking at it right now."""
    for _ in range(_BRIEFLY):
        if lock(fd, kind):
            return True
        time.sleep(0.001)
    return False


def is_linked(fd: int) -> bool:
    return os.fstat(fd).st_nlink > 0


# ---- this process's own


class _Own:
    """The ledger of this process, which is there as long as anything stands in it."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.fd = -1
        self.name = ""
        self.places: dict[tuple[int, int], int] = {}  # (device, inode) → record
        self.free: list[int] = []
        self.end = 0

    def _begin(self) -> None:
        while self.fd < 0:
            name = f"{os.getpid()}-{os.urandom(4).hex()}"
            try:
                parent = _open_folder(make=True)
            except FileNotFoundError:  # removed as empty just now
                continue
            try:
                fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent)
            except FileNotFoundError:
                continue
            finally:
                os.close(parent)
            try:
                os.fchmod(fd, 0o600)  # whatever the umask
                # A sweep may have found it before it was locked, and taken it for a dead one's.
                if lock(fd, fcntl.LOCK_EX) and is_linked(fd):
                    self.fd, self.name, fd = fd, name, -1
            finally:
                if fd >= 0:
                    os.close(fd)

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(f"{folder()}/{self.name}")
        os.close(self.fd)
        self.fd, self.name, self.end = -1, "", 0
        self.places.clear()
        self.free.clear()
        tidy()

    def write(self, entry: Entry) -> None:
        with self.mutex:
            self._begin()
            try:
                place = self.free[-1] if self.free else self.end
                os.pwrite(self.fd, entry.pack(), place * RECORD)
                self.places[entry.device, entry.inode] = place
                if self.free:
                    self.free.pop()
                else:
                    self.end += 1
            except BaseException:
                if not self.places:
                    self._end()
                raise

    def erase(self, device: int, inode: int) -> None:
        with self.mutex:
            place = self.places.pop((device, inode), None)
            if place is None:
                return
            if not self.places:
                self._end()
                return
            os.pwrite(self.fd, b" " * (RECORD - 1) + b"\n", place * RECORD)
            self.free.append(place)

    def forget(self) -> None:
        """In a child: the ledger and its lock are the parent's."""
        if self.fd >= 0:
            os.close(self.fd)
        self.__init__()  # type: ignore[misc]

    def finish(self) -> None:
        """At the end of the process: removes what it made and did not unlink."""
        with self.mutex:
            if self.fd >= 0:
                for entry in _entries(self.fd):
                    with contextlib.suppress(OSError):
                        remove(entry)
                self._end()


own = _Own()


def _in_child() -> None:
    global _ends
    own.forget()
    _ends = False


_ends = False


def _end_with_process() -> None:
    """Has `own.finish` called at the end, in children of multiprocessing too, which skip atexit."""
    global _ends
    if not _ends:
        from multiprocessing.util import Finalize

        Finalize(None, own.finish, exitpriority=-100)
        _ends = True


os.register_at_fork(after_in_child=_in_child)


def tidy() -> None:
    """Removes the folder when nothing is in it."""
    with contextlib.suppress(OSError):
        os.rmdir(folder())


def _entries(fd: int) -> Iterator[Entry]:
    at = 0
    while record := os.pread(fd, RECORD, at):
        entry = Entry.unpack(record)
        if entry is not None:
            yield entry
        at += RECORD


def entry_of(fd: int, name: str) -> Entry:
    found = os.fstat(fd)
    return Entry(name, found.st_dev, found.st_ino, time.time())


# ---- making and removing


def create(name: str, size: int, mode: int, *, keep: bool) -> tuple[int, Entry]:
    """A new segment of that name, whole, its memory reserved: a descriptor, locked shared, and
    what the ledger says.

    FileExistsError where the name is taken, OSError (ENOSPC) where the memory is.
    """
    sweep()
    if os.path.lexists(f"{SHM}/{name}"):  # before memory is reserved for nothing
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    fd = os.open(SHM, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, mode)
        os.posix_fallocate(fd, 0, size)
        fcntl.flock(fd, fcntl.LOCK_SH)
        entry = entry_of(fd, name)
        if keep:
            _keep(entry)
        else:
            _end_with_process()
            own.write(entry)
        try:
            # The name as it was given: `link` needs a descriptor to follow the link to ours.
            where = os.open(SHM, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=where, dst_dir_fd=where)
            finally:
                os.close(where)
        except BaseException:
            if not _is_there(entry):
                forget(entry)
            raise
    except BaseException:
        os.close(fd)
        raise
    return fd, entry


def forget(entry: Entry) -> None:
    """Takes the segment out of the ledgers, this process's own and that of the kept: it is gone."""
    own.erase(entry.device, entry.inode)
    with _kept(make=False) as fd:
        if fd >= 0:
            before = list(_entries(fd))
            after = [e for e in before if e[1:3] != entry[1:3]]
            if not after:
                os.unlink(f"{folder()}/{KEPT}")
            elif len(after) < len(before):
                _rewrite(fd, after)


GONE, REMOVED, USED = "gone", "removed", "used"


def remove(entry: Entry, *, only_unused: bool = False) -> str:
    """Unlinks what the entry names if it is the same file still: REMOVED, or GONE, or USED."""
    path = f"{SHM}/{entry.name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        # A link, a socket, something of another user's: then that name is another's now.
        return (
            GONE if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES) else USED
        )
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != entry[1:3]:
            return GONE
        # Whoever opens it after this locks it, and sees that it has no name any more.
        if only_unused and not lock(fd, fcntl.LOCK_EX):
            return USED
        os.unlink(path)
        return REMOVED
    except FileNotFoundError:
        return GONE
    finally:
        os.close(fd)


@contextlib.contextmanager
def _kept(make: bool) -> Iterator[int]:
    """The ledger of kept segments, locked; -1 where there is none and none shall be made."""
    fd = -1
    while True:
        try:
            parent = _open_folder(make)
        except FileNotFoundError:
            if make:
                continue
            break
        try:
            fd = os.open(KEPT, _FLAGS | (os.O_CREAT if make else 0), 0o600, dir_fd=parent)
        except FileNotFoundError:
            if make:
                continue
            break
        finally:
            os.close(parent)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if is_linked(fd):
                break
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        fd = -1
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)
            tidy()


def _keep(entry: Entry) -> None:
    with _kept(make=True) as fd:
        before = list(_entries(fd))
        after = [e for e in before if entry.since - e.since < _SOON or _is_there(e)]
        if len(after) < len(before):
            _rewrite(fd, [*after, entry])
        else:
            os.pwrite(fd, entry.pack(), len(after) * RECORD)


def _is_there(entry: Entry) -> bool:
    try:
        found = os.lstat(f"{SHM}/{entry.name}")
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == entry[1:3]


def _rewrite(fd: int, entries: list[Entry]) -> None:
    """Puts these in the place of all that stood there; at no instant is less there."""
    data = b"".join(entry.pack() for entry in entries)
    os.pwrite(fd, data, 0)
    os.ftruncate(fd, len(data))


# ---- others'


class Ledger(NamedTuple):
    """What a ledger says, and whether the process that keeps it lives."""

    pid: int | None  # None: of what is kept
    alive: bool
    entries: list[Entry]


def _names() -> list[str]:
    try:
        parent = _open_folder(make=False)
    except FileNotFoundError:
        return []
    try:
        return [name for name in os.listdir(parent) if name != own.name]
    finally:
        os.close(parent)


def _open(name: str) -> int:
    try:
        return os.open(f"{folder()}/{name}", _FLAGS)
    except OSError:
        return -1


def sweep() -> list[Entry]:
    """Removes what dead processes of this user have left and nobody uses; returns what went."""
    gone: list[Entry] = []
    for name in _names():
        fd = -1 if name == KEPT else _open(name)
        if fd < 0:
            continue
        try:
            if lock(fd, fcntl.LOCK_EX) and is_linked(fd):
                gone += _sweep_one(fd, name)
        finally:
            os.close(fd)
    tidy()
    return gone


def _sweep_one(fd: int, name: str) -> list[Entry]:
    gone, left = [], False
    for entry in list(_entries(fd)):
        outcome = remove(entry, only_unused=True)
        left |= outcome == USED
        if outcome == REMOVED:
            gone.append(entry)
    if not left:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder()}/{name}")
    return gone


def ledgers() -> list[Ledger]:
    """Every ledger of this user, this process's own among them."""
    found = []
    for name in [*_names(), *([own.name] if own.name else [])]:
        fd = _open(name)
        if fd < 0:
            continue
        try:
            # Its keeper holds it alone, so one shared lock more tells whether he lives.
            mine = name == own.name
            alive = mine or not lock(fd, fcntl.LOCK_SH)
            pid = None if name == KEPT else int(name.partition("-")[0])
            found.append(Ledger(pid, alive, list(_entries(fd))))
        except ValueError:
            continue  # a file that is none of ours
        finally:
            os.close(fd)
    return found
