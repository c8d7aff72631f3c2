# SPDX-License-Identifier: Apache-2.0
"""Semaphores and locks between processes and their threads, which survive the death of a holder.

>>> from ipcx.sync import Mutex, Semaphore
>>> mutex = Mutex()  # for this process and its children; Mutex("name") for all of one user
>>> with mutex:  # the critical section: one at a time
...     print(mutex.locked())
True
>>> places = Semaphore(3)  # three at a time
>>> with places:
...     print(places.value)
2

A process that is killed, or a thread that ends, while it has a lock does not take the lock along:
the next one gets it, and `Mutex.recovered` is True until it releases, for what the lock protects
may be half done. A `Semaphore` that is ``owned`` gets the permits of the dead back.

========== =====================================================================================
Mutex      one at a time
Semaphore  so many at a time; one may take what another gives back
RWLock     many readers, or one writer
Condition  wait until something is so that others change under the lock
Event      wait until it is set
Barrier    wait for each other
========== =====================================================================================

Without a name, an object is inherited by ``os.fork()``, given to processes of ``multiprocessing``
as an argument (fork, spawn and forkserver), or sent by its descriptor: `Mutex.fileno` here,
`Mutex.from_fd` there. With a name, whoever of the same user opens that name meets the same object;
the name goes with its last user, unless it was made with ``persist=True``. ``ipcx ls`` shows what
there is, ``ipcx gc`` removes what was left.

Each wait takes a `timeout` in seconds: None for ever, else `ipcx.Timeout`; 0 does not wait
(`ipcx.WouldBlock`). Ctrl-C ends each wait, and so does `close()` from another thread. There is no
``await``: the kernel wakes who waits for a word of memory, not a descriptor, so each wait in
asyncio would need a thread: ``await asyncio.to_thread(event.wait)``.
"""

from __future__ import annotations

import atexit
import operator
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from ipcx import _core
from ipcx._core import Timeout, WouldBlock
from ipcx._hooks import when_imported
from ipcx._timeouts import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType, TracebackType
    from typing import Self

__all__ = ["Barrier", "Condition", "Event", "Mutex", "RWLock", "Semaphore", "Side"]

_CREATE, _EXCLUSIVE = 1, 2
_MOST = 1 << 30
_T = TypeVar("_T")


def _flags(name: str | None, create: bool | None, exclusive: bool, persist: bool) -> int:
    """What `create` and `exclusive` mean, after a look at what does not go together."""
    if name is None:
        if create is False or exclusive or persist:
            raise ValueError("create=False, exclusive and persist are about a name: give one")
        return 0
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    if "\0" in name:
        raise ValueError("embedded null character")
    if create is False:
        if exclusive:
            raise ValueError("exclusive means that it is created here: create=False cannot be")
        return 0
    return _CREATE | (_EXCLUSIVE if exclusive else 0)


def _number(what: str, value: int, least: int) -> int:
    if not least <= value <= _MOST:
        raise ValueError(f"{what} must be {least} to {_MOST}, not {value}")
    return value


class _Shared(_core.Sync):
    """What the six have in common beside the core: names, and their way to other processes."""

    _kind = 0  # ipcx_sync_kind of ipcx/sync.h

    @classmethod
    def from_fd(cls, fd: int) -> Self:
        """The object whose descriptor another process sent; *fd* stays the caller's.

        `ipcx.ProtocolError`: there is none; ValueError: it is of another kind.
        """
        self = cls.__new__(cls)
        self._start(operator.index(fd))
        return self

    def _start(
        self,
        source: int | str | None,
        flags: int = 0,
        value: int = 0,
        maximum: int = 0,
        owned: bool = False,
        persist: bool = False,
    ) -> None:
        self._begin(self._kind, source, flags, value, maximum, owned, persist)
        if self.name is not None or isinstance(self, Barrier):
            _to_be_closed.add(self)

    def __reduce__(self) -> Any:
        if self.name is None:
            raise TypeError(
                f"a {type(self).__name__} without a name is given to processes of multiprocessing "
                "as an argument, or sent by its descriptor; it cannot be pickled otherwise"
            )
        return _open_named, (type(self), self.name)

    def _text(self) -> str:
        return "" if self.name is None else f" {self.name!r}"


def _open_named(kind: type[_Shared], name: str) -> _Shared:
    self = kind.__new__(kind)
    self._start(name)
    return self


def _holder(pid: int | None, free: str = "free") -> str:
    if pid is None:
        return free
    return "held here" if pid == os.getpid() else f"held by process {pid}"


class Mutex(_Shared, _core.Mutex):
    """A lock: one thread of one process at a time. ``with mutex: ...``

    Without a *name* it is new, for this process and those it is given to. With a name, the one of
    that name is opened, or made: *create* False: it must be there (FileNotFoundError); *exclusive*:
    it must not (FileExistsError). The name goes with its last user unless *persist*.

    Whoever has it and dies, or ends as a thread, leaves it to the next one, who sees `recovered`.
    The same thread that acquires it again gets `ipcx.Deadlock`; who releases what it does not have,
    `ipcx.NotOwner`. A child of ``os.fork()`` does not have what its parent has.

    >>> mutex = Mutex()
    >>> mutex.acquire(timeout=1)
    True
    >>> mutex.owner == os.getpid()
    True
    >>> mutex.release()
    >>> mutex
    <Mutex free>
    """

    _kind = 1

    def __init__(
        self,
        name: str | None = None,
        *,
        create: bool | None = None,
        exclusive: bool = False,
        persist: bool = False,
    ) -> None:
        self._start(name, _flags(name, create, exclusive, persist), persist=persist)

    def __repr__(self) -> str:
        state = "closed" if self.closed else _holder(self.owner)
        return f"<Mutex{self._text()} {state}{', recovered' if self.recovered else ''}>"


class Semaphore(_Shared, _core.Semaphore):
    """A number of permits: `acquire` takes one and waits while there is none, `release` gives back.

    *value* permits are there at the start; more than *maximum* there cannot be (ValueError).
    Anybody may release, so one process can count what another takes. With *owned*, a permit belongs
    to the process that acquired it: only that one can release it (`ipcx.NotOwner`), and those of a
    process that dies are free again. *name* and the rest are those of `Mutex`; a semaphore that is
    there keeps its value, maximum and kind.

    >>> rooms = Semaphore(2, maximum=2)
    >>> rooms.acquire(), rooms.try_acquire(), rooms.try_acquire()
    (True, True, False)
    >>> rooms.release(2)
    >>> rooms.value
    2
    """

    _kind = 2

    def __init__(
        self,
        value: int = 1,
        name: str | None = None,
        *,
        maximum: int | None = None,
        owned: bool = False,
        create: bool | None = None,
        exclusive: bool = False,
        persist: bool = False,
    ) -> None:
        most = _MOST if maximum is None else _number("maximum", maximum, 1)
        if _number("value", value, 0) > most:
            raise ValueError(f"{value} permits, but at most {most}")
        if owned and value == 0:
            raise ValueError("owned permits are there from the start: value must be 1 or more")
        flags = _flags(name, create, exclusive, persist)
        self._start(name, flags, value, most, owned, persist)

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"value={self.value}"
        most = "" if self.maximum == _MOST else f", maximum={self.maximum}"
        return f"<Semaphore{self._text()} {state}{most}{', owned' if self.owned else ''}>"


class Side:
    """One side of an RWLock, with the verbs of a lock; made by it."""

    def __init__(self, lock: RWLock, letter: str) -> None:
        self._lock = lock
        self._letter = letter

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait for it: None for ever, else `Timeout`; 0: `WouldBlock`. True."""
        take = self._lock._write if self._letter == "w" else self._lock._read
        return take(timeout)

    def try_acquire(self) -> bool:
        """Take it if that can be done without waiting, and tell whether it could."""
        try:
            return self.acquire(0)
        except WouldBlock:
            return False

    def release(self) -> None:
        """Give it back. `NotOwner`: this thread has not this side of the lock."""
        self._lock._release(self._letter)

    def held(self) -> bool:
        """Whether this thread has it."""
        return self._lock._has() == self._letter

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{'write' if self._letter == 'w' else 'read'} side of {self._lock!r}>"


class RWLock(_Shared, _core.RWLock):
    """Many readers or one writer: ``with lock.read: ...``, ``with lock.write: ...``.

    A writer that waits keeps new readers out. A reader that dies is counted no more; when a writer
    died, `recovered` is True for all who come, until a writer has released. One thread has one side
    once: `ipcx.Deadlock` else. *name* and the rest are those of `Mutex`.

    >>> lock = RWLock()
    >>> with lock.read:
    ...     print(lock.readers, lock.write.try_acquire())
    Traceback (most recent call last):
    ...
    ipcx.Deadlock: lock: it would wait for ever: this thread reads: release that first
    """

    _kind = 3

    def __init__(
        self,
        name: str | None = None,
        *,
        create: bool | None = None,
        exclusive: bool = False,
        persist: bool = False,
    ) -> None:
        self._start(name, _flags(name, create, exclusive, persist), persist=persist)

    @property
    def read(self) -> Side:
        """The side of the readers: acquire, try_acquire, release, ``with``."""
        return Side(self, "r")

    @property
    def write(self) -> Side:
        """The side of the writer."""
        return Side(self, "w")

    def __repr__(self) -> str:
        if self.closed:
            state = "closed"
        else:
            readers = self.readers
            state = _holder(self.owner, f"{readers} readers" if readers else "free")
        return f"<RWLock{self._text()} {state}{', recovered' if self.recovered else ''}>"


class Condition(_Shared, _core.Condition):
    """Wait, under a lock, until something is so that others change under the same lock.

    It has a lock of its own, or takes a *lock* that is a Mutex, so that several conditions may
    share one; with, acquire, release, owner and recovered are the lock's. `wait` releases it,
    sleeps until somebody calls `notify`, and takes it again. Only a look tells whether what was
    waited for is so: `wait_for` does both. *name* and the rest are those of `Mutex`.

    >>> condition, messages = Condition(), ["hello"]
    >>> with condition:
    ...     condition.wait_for(lambda: messages, timeout=1)
    ['hello']
    """

    _kind = 4

    def __init__(
        self,
        lock: Mutex | None = None,
        name: str | None = None,
        *,
        create: bool | None = None,
        exclusive: bool = False,
        persist: bool = False,
    ) -> None:
        if isinstance(lock, str):
            raise TypeError("Condition(lock, name): did you mean name=?")
        if lock is not None and not isinstance(lock, Mutex):
            raise TypeError(f"a Condition needs a Mutex, not {type(lock).__name__}")
        self._start(name, _flags(name, create, exclusive, persist), persist=persist)
        self._use(lock)

    _lock: Mutex | None = None

    @property
    def lock(self) -> Mutex | None:
        """The Mutex that was given; None: it has its own."""
        return self._lock

    def _use(self, lock: Mutex | None) -> None:
        self._lock = lock
        if lock is not None:
            self._set_lock(lock)

    def wait_for(self, predicate: Callable[[], _T], timeout: float | None = None) -> _T:
        """Wait until `predicate()`, called with the lock held, is true, and return what it said.

        `Timeout` after so many seconds; 0: `WouldBlock`. Looks by itself once a second: whoever was
        notified may have been killed before it could do what it was woken for.
        """
        deadline = Deadline(timeout)
        while not (answer := predicate()):
            left = deadline.left()
            if left == 0:
                raise (WouldBlock if timeout == 0 else Timeout)("wait_for: the deadline passed")
            try:
                self.wait(1.0 if left is None else min(left, 1.0))
            except Timeout:
                continue
        return answer

    def __reduce__(self) -> Any:
        found = super().__reduce__()
        return found if self.lock is None else (_with_lock, (*found, self.lock))

    def __repr__(self) -> str:
        state = "closed" if self.closed else _holder(self.owner)
        return f"<Condition{self._text()} {state}{', recovered' if self.recovered else ''}>"


def _with_lock(rebuild: Callable[..., Condition], args: tuple[Any, ...], lock: Mutex) -> Condition:
    self = rebuild(*args)
    self._use(lock)
    return self


class Event(_Shared, _core.Event):
    """Something that has happened, or not yet: `wait` until somebody calls `set`.

    It stays set until `clear`, though whoever set it may be gone. *name* and the rest are those of
    `Mutex`.

    >>> ready = Event()
    >>> ready.set()
    >>> ready.wait(timeout=1)
    True
    """

    _kind = 5

    def __init__(
        self,
        name: str | None = None,
        *,
        create: bool | None = None,
        exclusive: bool = False,
        persist: bool = False,
    ) -> None:
        self._start(name, _flags(name, create, exclusive, persist), persist=persist)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "set" if self.is_set() else "not set"
        return f"<Event{self._text()} {state}>"


class Barrier(_Shared, _core.Barrier):
    """Threads of any processes that wait for each other: *parties* of them go on together.

    When a process that has ever waited here dies, it breaks: all get `ipcx.BrokenBarrier`, instead
    of waiting for it, until `reset`. A process that ends in order has left, and breaks nothing.
    Unlike ``threading.Barrier``, a time-out breaks nothing either: who gives up has not come.
    *name* and the rest are those of `Mutex`; one that is there keeps its number of parties.

    >>> Barrier(1).wait()
    0
    """

    _kind = 6

    def __init__(
        self,
        parties: int,
        name: str | None = None,
        *,
        create: bool | None = None,
        exclusive: bool = False,
        persist: bool = False,
    ) -> None:
        flags = _flags(name, create, exclusive, persist)
        self._start(name, flags, _number("parties", parties, 1), persist=persist)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "broken" if self.broken else f"{self.n_waiting} wait"
        return f"<Barrier{self._text()} {state}, parties={self.parties}>"


# ---- the end of the process: names that nobody uses go, and barriers are left in order

_to_be_closed: weakref.WeakSet[_Shared] = weakref.WeakSet()


def _finish() -> None:
    for each in list(_to_be_closed):
        each.close()


def _at_the_end_of_children(util: ModuleType) -> None:
    util.Finalize(None, _finish, exitpriority=-100)


def _in_child() -> None:
    util = sys.modules.get("multiprocessing.util")
    if util is not None:  # a child of multiprocessing ends without atexit's functions
        util.register_after_fork(_at_the_end_of_children, lambda act: act(util))


# ---- to processes of multiprocessing


def _rebuild(kind: type[_Shared], sent: Any) -> _Shared:
    fd = sent.detach()
    try:
        return kind.from_fd(fd)
    finally:
        os.close(fd)


def _reduce(each: _Shared) -> Any:
    from multiprocessing import reduction

    if each.name is not None:
        return each.__reduce__()
    made = _rebuild, (type(each), reduction.DupFd(each.fileno()))
    if isinstance(each, Condition) and each.lock is not None:
        return _with_lock, (*made, each.lock)
    return made


def _teach(module: ModuleType) -> None:
    for kind in (Mutex, Semaphore, RWLock, Condition, Event, Barrier):
        module.register(kind, _reduce)


atexit.register(_finish)
os.register_at_fork(after_in_child=_in_child)
when_imported("multiprocessing.reduction", _teach)
