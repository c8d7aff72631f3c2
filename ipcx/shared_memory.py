# SPDX-License-Identifier: Apache-2.0
"""A drop-in for ``multiprocessing.shared_memory`` in which attaching never destroys.

``from ipcx import shared_memory`` in place of ``from multiprocessing import shared_memory`` is
the only change a program needs: `SharedMemory` and `ShareableList` are subclasses of the stdlib's,
and a segment has the same name for both. What differs is who owns it: whoever made it. It goes when
its maker unlinks it, at the latest when that process ends; after ``kill -9`` with the next segment
that anybody of the same user makes, or with ``ipcx gc``. Whoever attaches owns nothing. There is no
tracker process, and there are no warnings.

Its memory is reserved when a segment is made, so a full ``/dev/shm`` is an ``OSError`` (ENOSPC)
there, and never a SIGBUS later. Beyond the stdlib: `SharedMemory.as_array`, segments to read only,
segments that outlive their maker (``persist=True``), and `Segment`, memory without a name.
"""

import _posixshmem
import contextlib as _contextlib
import errno as _errno
import fcntl as _fcntl
import multiprocessing.shared_memory as _stdlib
import os as _os
import stat as _stat
import struct as _struct
import types as _types
from collections.abc import Sequence as _Sequence
from typing import Any as _Any

from ipcx import _ledger
from ipcx import mmap as _mmap

__all__ = ["Segment", "ShareableList", "SharedMemory"]

# The stdlib's own, under the stdlib's own names: what replaces them there, replaces them here.
_make_filename = _stdlib._make_filename
_SHM_NAME_PREFIX = _stdlib._SHM_NAME_PREFIX
_USE_POSIX = _stdlib._USE_POSIX

_SEALS = _fcntl.F_SEAL_SHRINK | _fcntl.F_SEAL_GROW | _fcntl.F_SEAL_SEAL


def _as_array(memory: _Any, dtype: _Any, shape: _Any) -> _Any:
    try:
        import numpy
    except ImportError:
        raise ModuleNotFoundError(
            "as_array() needs NumPy, which is not installed here: `python -m pip install numpy`",
            name="numpy",
        ) from None
    kind = numpy.dtype(dtype)
    if kind.hasobject:
        raise ValueError(f"dtype {kind} holds Python objects, which mean nothing elsewhere")
    if kind.itemsize == 0:
        raise ValueError(f"dtype {kind} has no bytes")
    if memory.buf is None:
        raise ValueError("the shared memory is closed")
    if shape is None:
        shape = (memory.size // kind.itemsize,)
    if not _fits(shape, kind, memory):
        raise ValueError(f"{shape} of {kind} does not fit into {memory.size} bytes")
    # A view of its own, which nobody else can release.
    return numpy.ndarray(shape, kind, buffer=memoryview(memory._mmap))


def _fits(shape: _Any, kind: _Any, memory: _Any) -> bool:
    count = 1
    for length in shape if isinstance(shape, _Sequence) else (shape,):
        if length < 0:
            return False
        count *= int(length)
    return count * kind.itemsize <= memory.size


class _Memory:
    """What memory with a name and without have in common: `_mmap`, `_buf`, `_fd`, `_size`."""

    _fd = -1
    _mmap: _Any = None
    _buf: _Any = None
    _size = 0
    readonly = False

    def _map(self, fd: int) -> None:
        """Maps all of it; `fd` stays the caller's until this has worked."""
        size = _os.fstat(fd).st_size
        access = _mmap.ACCESS_READ if self.readonly else _mmap.ACCESS_WRITE
        self._mmap = _mmap.mmap(fd, size, access=access)
        self._size = size
        self._buf = memoryview(self._mmap)
        self._fd = fd

    @property
    def buf(self) -> _Any:
        """A memoryview of the memory; None after `close`.

        Raises OSError (EFAULT) if somebody truncated the segment and pages were lost since the last
        time it was asked for.
        """
        if self._mmap is not None:
            self._mmap.tell()  # says so
        return self._buf

    @property
    def size(self) -> int:
        """Bytes there are."""
        return self._size

    def fileno(self) -> int:
        """The descriptor of the memory, which stays this object's; -1 after `close`."""
        return self._fd

    def as_array(self, dtype: _Any = "u1", shape: _Any = None) -> _Any:
        """The memory as a NumPy array of *shape* (one row of all that fit), without a copy.

        The array keeps the memory mapped for as long as it lives, also after `close`.
        """
        return _as_array(self, dtype, shape)

    def close(self) -> None:
        """Gives up the memory. While a view of it lives (a slice of `buf`, a NumPy array), it stays
        mapped for that view, and goes with it.
        """
        # Nothing is released by force: NumPy keeps a reference to `buf` and counts no export, so
        # whoever still has one may be an array that would be left without memory.
        self._buf = self._mmap = None
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            _os.close(fd)

    def __del__(self) -> None:
        # Without help from contextlib, which needs memory, and there may be none.
        try:  # noqa: SIM105
            self.close()
        except OSError:
            pass


class SharedMemory(_Memory, _stdlib.SharedMemory):
    """A segment of shared memory with a name: made with ``create=True``, else attached to.

    Arguments and attributes are the stdlib's. With *readonly*, nothing can be written through this
    object. With *persist*, a segment that is made here stays until somebody unlinks it, or until
    ``ipcx rm``. *track* is the stdlib's since 3.13: there is no tracker here, so it changes nothing
    for who attaches; ``create=True, track=False`` means, as there, that nobody takes it away, which
    is *persist*.
    """

    _entry: _ledger.Entry | None = None

    def __init__(
        self,
        name: str | None = None,
        create: bool = False,
        size: int = 0,
        *,
        track: bool = True,
        persist: bool = False,
        readonly: bool = False,
    ) -> None:
        if not size >= 0:
            raise ValueError("'size' must be a positive integer")
        if create:
            if size == 0:
                raise ValueError("'size' must be a positive number different from zero")
            if readonly:
                raise ValueError(
                    "a segment that is made here must be written by somebody: attach to it readonly"
                )
            self._flags = _os.O_CREAT | _os.O_EXCL | _os.O_RDWR
        if name is None and not self._flags & _os.O_EXCL:
            raise ValueError("'name' can only be None if create=True")
        self.readonly = readonly
        self._track = track
        fd = self._make(name, size, persist or not track) if create else self._attach(name)
        try:
            self._map(fd)
        except BaseException:
            _os.close(fd)
            if create:
                self.unlink()
            raise

    def _make(self, name: str | None, size: int, keep: bool) -> int:
        while True:
            path = _make_filename() if name is None else "/" + name
            try:
                fd, self._entry = _ledger.create(_checked(path), size, self._mode, keep=keep)
            except FileExistsError:
                if name is None:
                    continue
                raise FileExistsError(_errno.EEXIST, _os.strerror(_errno.EEXIST), path) from None
            except OSError as error:
                raise type(error)(error.errno, error.strerror, path) from None
            self._name = path
            return fd

    def _attach(self, name: str) -> int:
        self._name = path = "/" + name
        _checked(path)
        flags = self._flags
        if self.readonly:
            flags = flags & ~_os.O_ACCMODE | _os.O_RDONLY
        while True:
            fd = _posixshmem.shm_open(path, flags, mode=self._mode)
            try:
                found = _os.fstat(fd)
                if found.st_uid not in (_os.geteuid(), 0):
                    error = PermissionError(_errno.EACCES, _os.strerror(_errno.EACCES), path)
                    error.add_note(
                        f"It belongs to another user, {found.st_uid}, who may have put it "
                        "there for you to find."
                    )
                    raise error
                if not _stat.S_ISREG(found.st_mode):
                    raise OSError(_errno.ENODEV, _os.strerror(_errno.ENODEV), path)
                _ledger.lock_soon(fd, _fcntl.LOCK_SH)
                if _ledger.is_linked(fd):
                    self._entry = _ledger.entry_of(fd, path.lstrip("/"))
                    return fd
            except BaseException:
                _os.close(fd)
                raise
            _os.close(fd)  # A sweep was faster: is there another of that name?

    def unlink(self) -> None:
        """Takes the name away: nobody can attach any more; the memory goes with its last user.

        Anybody may, and once: FileNotFoundError where it is gone already, also if another segment
        has that name now.
        """
        if self._name is None:
            return
        entry = self._entry
        try:
            if entry is not None:
                now = _os.lstat(f"{_ledger.SHM}/{entry.name}")
                if (now.st_dev, now.st_ino) != entry[1:3]:
                    raise FileNotFoundError
            _posixshmem.shm_unlink(self._name)
        except FileNotFoundError:
            self._forget()
            message = _os.strerror(_errno.ENOENT)
            raise FileNotFoundError(_errno.ENOENT, message, self._name) from None
        # Not before: who is killed in between would leave what nobody knows of.
        self._forget()

    def _forget(self) -> None:
        if self._entry is not None:
            _ledger.forget(self._entry)

    def __reduce__(self) -> _Any:
        kind = self.__class__
        if not self.readonly:
            return kind, (self.name, False, self.size)
        return _attach_readonly, (kind, self.name)

    def __enter__(self) -> "SharedMemory":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _attach_readonly(kind: type[SharedMemory], name: str) -> SharedMemory:
    return kind(name, readonly=True)


def _checked(path: str) -> str:
    """The name below /dev/shm, or the OSError that shm_open(3) has for a bad one."""
    name = path.lstrip("/")
    if "\0" in name:  # where the stdlib's would end it, and meet another's segment
        raise ValueError("embedded null character")
    if not name or "/" in name or name in (".", "..") or len(_os.fsencode(name)) > 254:
        raise OSError(_errno.EINVAL, _os.strerror(_errno.EINVAL), path)
    return name


class Segment(_Memory):
    """Shared memory without a name: `Segment.anonymous` makes it, `Segment.from_fd` takes one over.

    Nobody finds it who was not given it, and the kernel takes it away with its last user, however
    that one ended. It goes to a child of ``multiprocessing`` as an argument, and to anybody by its
    descriptor over a Unix socket (`socket.send_fds`). Its size is sealed: nobody can truncate it.
    """

    name = None

    def __init__(self) -> None:
        raise TypeError("Segment.anonymous(size) or Segment.from_fd(fd) makes one")

    @classmethod
    def _around(cls, fd: int, readonly: bool) -> "Segment":
        """Owns `fd` from here on."""
        self = cls.__new__(cls)
        self.readonly = readonly
        try:
            self._map(fd)
        except BaseException:
            _os.close(fd)
            raise
        return self

    @classmethod
    def anonymous(cls, size: int) -> "Segment":
        """New memory of *size* bytes, all zeros, reserved at once.

        OSError (ENOMEM) where the machine, or this process's share of it, has not that much left.
        """
        if size <= 0:
            raise ValueError(f"size must be positive, not {size}")
        _require_memory(size)
        fd = _os.memfd_create("ipcx-segment", _os.MFD_CLOEXEC | _os.MFD_ALLOW_SEALING)
        try:
            _os.posix_fallocate(fd, 0, size)
            _fcntl.fcntl(fd, _fcntl.F_ADD_SEALS, _SEALS)
        except BaseException:
            _os.close(fd)
            raise
        return cls._around(fd, False)

    @classmethod
    def from_fd(cls, fd: int, *, readonly: bool = False) -> "Segment":
        """The segment behind *fd*, which stays the caller's: this object keeps a copy.

        ValueError for what is no memory with a sealed size: whoever sent it could truncate it.
        """
        copy = _fcntl.fcntl(fd, _fcntl.F_DUPFD_CLOEXEC, 0)
        try:
            try:
                seals = _fcntl.fcntl(copy, _fcntl.F_GET_SEALS)
            except OSError:
                raise ValueError(f"descriptor {fd} is no memory that could be sealed") from None
            if seals & _SEALS != _SEALS:
                raise ValueError(f"the memory behind descriptor {fd} has no sealed size")
            if _os.fstat(copy).st_size == 0:
                raise ValueError(f"the memory behind descriptor {fd} is empty")
        except BaseException:
            _os.close(copy)
            raise
        return cls._around(copy, readonly)

    def __reduce__(self) -> _Any:
        raise TypeError(
            "a Segment is sent to a child of multiprocessing as an argument, or by its "
            "descriptor; it cannot be pickled otherwise"
        )

    def __enter__(self) -> "Segment":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else f"size={self.size}"
        return f"Segment({state}{', readonly' if self.readonly else ''})"


def _require_memory(size: int) -> None:
    """Memory without a name counts against no file system's limit, only with the OOM killer."""
    left = [_available(), _cgroup_left()]
    if any(known is not None and size > known for known in left):
        error = OSError(_errno.ENOMEM, _os.strerror(_errno.ENOMEM))
        least = min(known for known in left if known is not None)
        error.add_note(f"{size} bytes were asked for; about {least} are left.")
        raise error


def _available() -> int | None:
    with _contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _cgroup_left() -> int | None:
    with _contextlib.suppress(OSError, ValueError):
        with open("/proc/self/cgroup") as lines:
            path = next((line[3:].strip() for line in lines if line.startswith("0::")), None)
        if path is not None:
            base = f"/sys/fs/cgroup{path}"
            with open(f"{base}/memory.max") as most, open(f"{base}/memory.current") as now:
                return int(most.read()) - int(now.read())  # "max" is no number: no limit
    return None


def _reduce_segment(segment: Segment) -> _Any:
    from multiprocessing import reduction

    if segment._fd < 0:
        raise ValueError("the segment is closed")
    return _rebuild_segment, (type(segment), reduction.DupFd(segment._fd), segment.readonly)


def _rebuild_segment(kind: type[Segment], sent: _Any, readonly: bool) -> Segment:
    return kind._around(sent.detach(), readonly)


def _arm_pickling() -> None:
    from ipcx._hooks import when_imported

    when_imported(
        "multiprocessing.reduction", lambda module: module.register(Segment, _reduce_segment)
    )


def _rebound(function: _types.FunctionType) -> _types.FunctionType:
    """The stdlib's own code, in which SharedMemory is ours."""
    names = {**vars(_stdlib), "SharedMemory": SharedMemory}
    copy = _types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_list_init = _rebound(_stdlib.ShareableList.__init__)


class ShareableList(_stdlib.ShareableList):
    """The stdlib's ShareableList over our SharedMemory: a list of fixed length in a segment.

    A segment that holds none is refused with a ValueError when one attaches to it.
    """

    def __init__(self, sequence: _Any = None, *, name: str | None = None) -> None:
        if sequence is None and name is not None:
            with SharedMemory(name) as memory:
                _require_list(memory)
        _list_init(self, sequence, name=name)


def _require_list(memory: SharedMemory) -> None:
    """The length is what the stdlib's code believes: too large a one would take all memory."""
    size = memory.size
    length = _struct.unpack_from("q", memory.buf)[0] if size >= 16 else -1
    # The length, an offset for each item and one more, a format and a code for each.
    if not 0 <= length <= size or 16 + length * 17 > size:
        raise ValueError(f"segment {memory.name!r} holds no ShareableList")


_arm_pickling()
