# SPDX-License-Identifier: Apache-2.0
"""Signals: sent to the right process, and received like messages.

A signal interrupts a process wherever it is just then. That is good for "stop", and hard to use for
anything else: a handler may do little, two signals of a kind may arrive as one. So receive them
instead, in a loop of your own:

>>> import os, signal
>>> from ipcx import signals
>>> with signals.SignalReceiver([signal.SIGUSR1, signal.SIGRTMIN]) as receiver:
...     for value in (7, 8, 9):
...         signals.send(os.getpid(), signal.SIGRTMIN, value)  # each of them is kept
...         signals.send(os.getpid(), signal.SIGUSR1)  # three of a kind become one
...     for _ in range(4):
...         info = receiver.receive(timeout=5)
...         print(info.name, info.value)
SIGUSR1 None
SIGRTMIN 7
SIGRTMIN 8
SIGRTMIN 9

`send` reaches the process that you mean even where process ids are used again; `wait` waits for one
signal; `on` puts a handler in place and puts back what was there. All of it works beside handlers
of the stdlib's ``signal`` and of asyncio, whose signals are left to them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal as _stdlib
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from ipcx import _core
from ipcx._awaiting import Source
from ipcx._core import Unsupported, WouldBlock

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Self

__all__ = [
    "HasPid",
    "SignalInfo",
    "SignalReceiver",
    "block",
    "name",
    "on",
    "send",
    "unblocked",
    "wait",
]

Signals: TypeAlias = int | Iterable[int]
if TYPE_CHECKING:
    _Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | _stdlib.Handlers | None


class HasPid(Protocol):
    """What a signal can be sent to: Popen objects, multiprocessing's processes, asyncio's."""

    @property
    def pid(self) -> int | None:
        """The process id; None while there is no process."""


def name(sig: int) -> str:
    """The signal's name: ``name(15)`` is 'SIGTERM', real-time signals are 'SIGRTMIN+2'."""
    lowest = int(_stdlib.SIGRTMIN)
    if lowest < sig < int(_stdlib.SIGRTMAX):
        return f"SIGRTMIN+{sig - lowest}"
    try:
        return _stdlib.Signals(sig).name
    except ValueError:
        return f"signal {sig}"


class SignalInfo(NamedTuple):
    """A signal that came, and what came with it."""

    signal: int
    """Its number: a member of ``signal.Signals`` where that has it."""
    value: int | None
    """What the sender gave with it; None where it gave nothing."""
    pid: int | None
    """Who sent it, or with SIGCHLD which child; None: the kernel."""
    uid: int | None
    """The sender's user."""
    code: int
    """How it was sent: ``si_code`` of sigaction(2)."""
    status: int | None
    """With SIGCHLD: the child's exit status, or the signal that stopped it."""

    @property
    def name(self) -> str:
        """The signal's name."""
        return name(self.signal)


_SI_QUEUE = -1


def _info(found: tuple[int, int, int, int, int, int]) -> SignalInfo:
    number, code, value, pid, uid, status = found
    told = pid != 0 or code <= 0
    with contextlib.suppress(ValueError):  # a real-time signal between the first and the last
        number = _stdlib.Signals(number)
    return SignalInfo(
        number,
        value if code == _SI_QUEUE else None,
        pid if told else None,
        uid if told else None,
        code,
        status if number == _stdlib.SIGCHLD else None,
    )


def _numbers(signals: Signals) -> tuple[int, ...]:
    """The numbers, each once, whether one or many were given."""
    if isinstance(signals, str):
        raise TypeError(f"signals are given by number: signal.{signals} of the stdlib")
    given = (signals,) if isinstance(signals, int) else signals
    return tuple(dict.fromkeys(int(number) for number in given))


# ---- sending


def send(process: int | HasPid, sig: int, value: int | None = None) -> None:
    """Send a signal to a process, with an int of 32 bits beside it if `value` is given.

    `process` is a process id, or better the object that stands for a child (of ``subprocess``,
    ``multiprocessing``, ``asyncio``): then the signal reaches that child or nobody. An id alone
    may meanwhile be another process's.

    Real-time signals (from ``signal.SIGRTMIN`` on) queue, each with its value, 0 if none is given;
    of the others one is kept while one is pending. Never waits: `WouldBlock` when the
    receiver's queue is full (``ulimit -i``). ProcessLookupError: it has ended; PermissionError: it
    is another user's; ValueError: no such signal, or an id that means many processes.
    """
    try:
        if isinstance(process, int):
            _core.signal_send(process, sig, value)
        else:
            _send_to(process, sig, value)
    except WouldBlock:
        raise WouldBlock(
            errno.EAGAIN,
            f"send: the queue of signals is full, {name(sig)} was not sent: let the receiver "
            "take some, or raise its limit (ulimit -i, RLIMIT_SIGPENDING)",
        ) from None


def _send_to(process: HasPid, sig: int, value: int | None) -> None:
    pid = process.pid
    if not isinstance(pid, int):
        raise ValueError(f"{process!r} has no process id: start it first")
    try:
        pidfd = _core.signal_process(pid)
    except Unsupported:  # Linux before 5.3
        _check_alive(process)
        _core.signal_send(pid, sig, value)
        return
    except ProcessLookupError:
        _check_alive(process)  # tells more
        raise
    try:
        # Asked after the pidfd was opened: so long as nobody has waited for a child, its id is its
        # own. If it is alive now, it was when we opened that.
        _check_alive(process)
        _core.signal_send_to(pidfd, sig, value)
    finally:
        os.close(pidfd)


def _check_alive(process: HasPid) -> None:
    poll = getattr(process, "poll", None)
    if callable(poll):
        status = poll()
    else:
        status = getattr(process, "exitcode", getattr(process, "returncode", None))
    if status is not None:
        raise ProcessLookupError(
            errno.ESRCH, f"send: process {process.pid} has ended, with status {status}"
        )


# ---- waiting


def wait(signals: Signals, timeout: float | None = None) -> SignalInfo:
    """Wait for the next one of `signals`, in any thread.

    None waits for ever; after `timeout` seconds it is `Timeout`; with 0, `WouldBlock` if none is
    there. While it waits, these signals do nothing but end the wait. Before and after, they do what
    they always do (often: end the process); so where something you are about to do causes the
    signal, do it inside of `block`:

    >>> import os, signal
    >>> with block(signal.SIGUSR1):
    ...     send(os.getpid(), signal.SIGUSR1)  # would be too early for the wait without block()
    ...     wait(signal.SIGUSR1, timeout=5).name
    'SIGUSR1'
    """
    return _info(_core.signal_wait(_numbers(signals), timeout))


class block:
    """Inside of it `signals` wait until they are taken: ``with block(signal.SIGUSR1): ...``.

    This holds for the whole process: a thread that does not know of it hands on what it gets. What
    was not taken by `wait` takes its usual course at the end, or is dropped, as `SignalReceiver`
    says. A program started inside inherits the thread's blocked signals; see `unblocked`.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = _numbers(signals)
        self._holds: list[_core.SignalHold] = []

    def __enter__(self) -> Self:
        self._holds.append(_core.SignalHold(self._signals))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._holds.pop().release()


class unblocked:
    """Starts programs without the signals blocked here: ``with unblocked(): subprocess.run(...)``.

    What a thread blocks, the programs it starts inherit (sigprocmask(2)), even by exec: under a
    `SignalReceiver` for SIGTERM, a child would not be ended by SIGTERM. Inside of this the thread
    blocks none of the signals that it holds; those that come are kept nevertheless.
    """

    def __enter__(self) -> Self:
        blocked = _stdlib.pthread_sigmask(_stdlib.SIG_BLOCK, ())
        self._blocked = _held_here() & blocked
        _stdlib.pthread_sigmask(_stdlib.SIG_UNBLOCK, self._blocked)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _stdlib.pthread_sigmask(_stdlib.SIG_BLOCK, self._blocked)


# ---- receiving


class SignalReceiver(Source[SignalInfo], _core.SignalReceiver):
    """Signals as messages: ``receive()``, ``for info in receiver``, ``await``, ``async for``.

    From the moment it is made until `close`, `signals` end nothing and call no handler;
    they wait here. Real-time signals queue, in order and each with its value; of the others one is
    kept while one is pending. What was not taken by `close` takes its usual course
    then: SIGTERM ends the process. But SIGUSR1, SIGUSR2 and real-time signals without a handler are
    dropped: only this receiver knew what they mean. Every other signal is as before: Ctrl-C
    interrupts a wait unless SIGINT is one of these.

    Works in any thread, whatever other threads there are. One receiver of a process may have a
    signal; a second one is a ValueError. In a child made by ``os.fork()`` it is closed, and says
    `ForkedError`: the child's signals are its own. Programs started by ``subprocess`` inherit that
    these signals are blocked: start them inside of `unblocked`.
    """

    def __init__(self, signals: Signals) -> None:
        self.signals = frozenset(_numbers(signals))
        super().__init__(tuple(self.signals))
        _receivers.add(self)

    def receive(self, timeout: float | None = None) -> SignalInfo:
        """The next signal. None waits for ever; `Timeout` after so many seconds; 0 polls."""
        return _info(self._receive(timeout))

    def close(self) -> None:
        """Let the signals do again what they did. Who waits in another thread gets `Closed`."""
        _receivers.discard(self)
        super().close()

    def __repr__(self) -> str:
        names = ", ".join(map(name, sorted(self.signals)))
        return f"<SignalReceiver of {names}{', closed' if self.closed else ''}>"

    def __del__(self) -> None:
        if not self.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()


_receivers: weakref.WeakSet[SignalReceiver] = weakref.WeakSet()


def _held_here() -> set[int]:
    """The signals that receivers and holds of this process have."""
    return set(_core.signals_held())


def _in_child() -> None:
    """A forked child has the signals of its own, and so what its parent's receivers blocked."""
    for receiver in list(_receivers):
        _core.SignalReceiver.close(receiver)
    _receivers.clear()


os.register_at_fork(after_in_child=_in_child)


# ---- handlers


class on:
    """Handle signals while a ``with`` block runs, and put back what was there before.

    ``with on(signal.SIGTERM, stop): ...`` calls ``stop(number, frame)`` in the main thread, as
    ``signal.signal`` of the stdlib does. ``signal.SIG_IGN`` and ``signal.SIG_DFL`` are handlers,
    too. What was there is put back exactly, also a handler written in C, unless somebody has set
    another one meanwhile. Python runs handlers in the main thread only, so elsewhere this is
    `Unsupported`: use a `SignalReceiver` there.
    """

    def __init__(self, signals: Signals, handler: _Handler) -> None:
        if not (callable(handler) or handler in (_stdlib.SIG_IGN, _stdlib.SIG_DFL)):
            raise TypeError(f"a handler is a function of (number, frame), not {handler!r}")
        self.signals = _numbers(signals)
        self.handler = handler
        self._before: list[tuple[int, Any, bytes]] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            raise Unsupported(
                "on: Python calls handlers of signals in the main thread only, and lets only that "
                "one set them; in this thread receive them: SignalReceiver(...)"
            )
        depth = len(self._before)
        try:
            for number in self.signals:
                saved = number, _stdlib.getsignal(number), _core.signal_action(number)
                _stdlib.signal(number, self.handler)
                self._before.append(saved)
        except BaseException:
            self._restore(depth)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore(len(self._before) - len(self.signals))

    def _restore(self, depth: int) -> None:
        while len(self._before) > depth:
            number, handler, action = self._before.pop()
            if _stdlib.getsignal(number) != self.handler:
                continue  # somebody else's by now
            # None: it was written in C, and is in `action` alone.
            _stdlib.signal(number, _stdlib.SIG_DFL if handler is None else handler)
            _core.signal_action_restore(number, action)
