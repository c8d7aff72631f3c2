# SPDX-License-Identifier: Apache-2.0
"""Processes of a lab: a text runs in a new interpreter, under a name.

`run` waits for its end, `start` until it listens. Whoever starts a process under a name ends the
one before it of that name first; so the same cells can be run again and again.
"""

from __future__ import annotations

import atexit
import contextlib
import html
import itertools
import marshal
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ipcx import process
from ipcx._core import Channel, ForkedError, Timeout
from ipcx._pump import Source
from ipcx.lab import _board, _child, _home, _names, _ready, _starting, _warden
from ipcx.lab._pump import Kept, Line, Lines, pump
from ipcx.lab._sending import Parcel
from ipcx.process import Ending

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    _Show: TypeAlias = Callable[[list[Line], bool], None]  # lines, and whether they are the last

__all__: list[str] = []

SOON = 5.0  # seconds that a process in the background has to listen
GRACE = (
    1.0  # seconds between the request to end and the order; and for what a process leaves behind
)
AGAIN = 0.01  # seconds between two looks for these
LOOKS = 0.2  # seconds for a process whose time is up to say where it is
UNWANTED = ("MPLBACKEND", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PYTHONSTARTUP")
STREAMS = ("ipcx", "stdlib")


class Finished(NamedTuple):
    """How a process of the lab has ended, and what it has printed."""

    name: str
    output: str
    """Its standard output; of a very long one the beginning and the end."""
    errors: str
    """Its standard error output: tracebacks, too."""
    status: int | None
    """The exit status; None: a signal ended it."""
    signal: int | None
    """The signal that ended it."""
    seconds: float
    timed_out: bool
    """It was ended because its time was up."""
    left: int
    """How many processes it had left behind, which were ended then."""
    missing: int
    """Bytes of output that are not kept."""
    pid: int

    @property
    def ok(self) -> bool:
        """Exit status 0, and in time."""
        return self.status == 0 and not self.timed_out

    def __repr__(self) -> str:
        return f"<Finished {self}>"

    def __str__(self) -> str:
        how = str(Ending(self.status, self.signal, False))
        if self.timed_out:
            how = f"not finished after {self.seconds:.3g} s, and so it was ended"
        if self.left:
            many = "a process" if self.left == 1 else f"{self.left} processes"
            how += f"; {many} that it had started still ran, and was ended"
            how = how.replace("was ended", "were ended") if self.left > 1 else how
        if self.missing:
            how += f"; {self.missing} bytes of its output were not kept"
        return f"{self.name}: {how}"


class LabProcess:
    """A process of the lab. It runs on until it ends or is stopped; `wait` waits for that."""

    def __init__(
        self, name: str, made: process.Process, mark: str, fds: Sequence[int], shown: bool
    ) -> None:
        self.name = name
        self.pid = made.pid
        self.started = time.monotonic()
        self.ready = ""
        """What `start` has waited for, in words."""
        self._process = made
        self._mark = mark
        self._owner = os.getpid()
        self._kept = (Kept(), Kept())
        self._lines = Lines() if shown else None
        self._told = b""
        self._sources = [
            Source(fds[0], lambda piece: self._take(0, piece)),
            Source(fds[1], lambda piece: self._take(1, piece)),
            Source(fds[2], self._hear),
        ]
        self._plan: list[tuple[float, Callable[[], None]]] = []
        self._exited = False
        self._done = False  # reaped
        self._over = False  # and all was shown
        self._left = 0
        self._timed_out = False
        self._ended = 0.0
        self._show: _Show | None = None

    # -- for everybody

    @property
    def running(self) -> bool:
        return not self._over

    @property
    def ending(self) -> Ending | None:
        """How it ended; None: it runs."""
        return self._process.ending if self._over else None

    @property
    def output(self) -> str:
        """What it has printed so far."""
        with pump.changed:
            return self._kept[0].text()

    @property
    def errors(self) -> str:
        """What it has written to its standard error output so far."""
        with pump.changed:
            return self._kept[1].text()

    def wait(self, timeout: float | None = None) -> Finished:
        """Wait until it has ended. `Timeout` after so many seconds, it runs on then."""
        self._check_owner()
        with pump.changed:
            if not pump.changed.wait_for(lambda: self._over, timeout):
                raise Timeout(f"{self.name} still runs after {timeout} s")
        return self._finished()

    def result(self, timeout: float | None = None) -> Any:
        """What the function of `spawn` has returned, once it has ended; a text's is None.

        `ipcx.process.ProcessFailed` when it ended in another way; TypeError: what it returned
        cannot be sent. `Timeout` as in `wait`.
        """
        self.wait(timeout)
        return self._process.result(0)

    def stop(self) -> Finished:
        """End it, and whatever it has started: SIGTERM, and SIGKILL a second later."""
        self._check_owner()
        self._stop(signal.SIGTERM)
        return self.wait()

    def send_signal(self, number: int) -> None:
        """Send it a signal. ProcessLookupError: it has ended."""
        self._check_owner()
        self._process.send_signal(number)

    def __repr__(self) -> str:
        if self._owner != os.getpid():
            how = f"a child of process {self._owner}"
        else:
            how = str(self.ending or "runs")
        return f"<LabProcess {self.name}, pid {self.pid}: {how}>"

    def _check_owner(self) -> None:
        if self._owner != os.getpid():
            raise ForkedError(f"{self.name} is a process of process {self._owner}'s lab")

    def _finished(self) -> Finished:
        ending = self._process.ending
        assert ending is not None
        out, err = self._kept
        return Finished(
            self.name,
            out.text(),
            err.text(),
            ending.status,
            ending.signal,
            self._ended - self.started,
            self._timed_out,
            self._left,
            out.missing + err.missing,
            self.pid,
        )

    # -- orders to the pump

    def _stop(self, first: int) -> None:
        with pump.changed:
            now = time.monotonic()
            if self._exited:  # `_look` has the last word, and what is left behind hears it now
                self._plan.append((now, lambda: self._signal_all(first)))
                pump.ring()
                return
            self._plan = [(now, lambda: self._signal_all(first))]
            if first == signal.SIGINT:
                self._plan.append((now + GRACE, lambda: self._signal_all(signal.SIGTERM)))
                now += GRACE
            self._plan.append((now + GRACE, self._sweep))
            pump.ring()

    def _limit(self, seconds: float) -> None:
        """Its time is up after so many seconds."""
        with pump.changed:
            self._plan.append((self.started + seconds, self._expire))
            pump.ring()

    # -- the pump's own

    def _descriptors(self) -> list[int]:
        fds = [fd for source in self._sources if (fd := source.fd) >= 0]
        return fds if self._exited else [*fds, self._process.fileno()]

    def _next_due(self) -> float | None:
        return min((when for when, _ in self._plan), default=None)

    def _turn(self, ready: set[int]) -> None:
        with pump.changed:
            for source in self._sources:
                if source.fd in ready:
                    source.read()
            if not self._exited and self._process.fileno() in ready:
                self._exited = True
                self._ended = time.monotonic()
                self._plan = [(0.0, self._look)]
            now = time.monotonic()
            for step in [step for step in self._plan if step[0] <= now]:
                if step in self._plan:
                    self._plan.remove(step)
                    step[1]()
            pump.changed.notify_all()
            show, last = self._show, self._done
            lines = [] if show is None else self._new_lines()
        if show is not None and (lines or last):
            with contextlib.suppress(Exception):  # the reader has gone
                show(lines, last)
        if last:
            with pump.changed:
                self._over = self._show is show  # else there is somebody now who shows it
                pump.changed.notify_all()

    def _take(self, which: int, piece: bytes) -> None:
        self._kept[which].add(piece)
        if self._lines is not None:
            self._lines.add(("out", "err")[which], piece)

    def _new_lines(self) -> list[Line]:
        return [] if self._lines is None else self._lines.take()

    def _hear(self, piece: bytes) -> None:
        self._told = (self._told + piece)[-4096:]

    def _signal_all(self, number: int) -> None:
        _warden.end(_warden.members(self._mark, self.pid), number)

    def _sweep(self) -> None:
        _warden.sweep(self._mark, self.pid)

    def _expire(self) -> None:
        self._timed_out = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGXCPU)  # it says where it is: see _child
        later = time.monotonic() + LOOKS
        self._plan += [
            (later, lambda: self._signal_all(signal.SIGTERM)),
            (later + GRACE, self._sweep),
        ]

    def _look(self) -> None:
        """It has ended. What it has left behind has a second, and may print something still."""
        silent = all(source.fd < 0 for source in self._sources[:2])
        now = time.monotonic()
        if now >= self._ended + GRACE or (silent and not _warden.members(self._mark, self.pid)):
            self._bury()
        else:
            self._plan.append((now + AGAIN, self._look))

    def _bury(self) -> None:
        """What it has left behind ends, and it is reaped."""
        self._left = _warden.sweep(self._mark, self.pid)
        for source in self._sources:
            for _ in range(1000):  # what is in the pipe; not what somebody writes who escaped
                if source.fd < 0:
                    break
                before = source.fd
                source.read()
                if source.fd == before and not _readable(before):
                    break
            source.close()
        if self._lines is not None:
            self._lines.end()
        self._process.close()  # reaps it
        self._plan.clear()
        self._done = True

    def _forget(self) -> None:
        for source in self._sources:
            source.close()


def _readable(fd: int) -> bool:
    import select

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


# ---- starting

_lock = threading.RLock()
_serial = itertools.count(1)
_known: dict[str, LabProcess] = {}  # the newest of each name, in the order of their starts
cells: dict[str, str] = {}
"""The text of each ``%%process`` cell that was run, by its name."""


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    _known.clear()


os.register_at_fork(after_in_child=_after_fork)


def source(name: str) -> str:
    """The text of the ``%%process`` cell `name`, as it was run last. LookupError: there is none."""
    try:
        return cells[name]
    except KeyError:
        known = ", ".join(cells) or "none yet"
        raise LookupError(f"no cell %%process {name} was run; those that were: {known}") from None


def run(
    source: str,
    *,
    name: str = "process",
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    socket: Literal["ipcx", "stdlib"] = "ipcx",
    send: Mapping[str, Any] | None = None,
) -> Finished:
    """Run a Python text in a process of its own, and wait for its end.

    `args` are its ``sys.argv[1:]``, `env` is added to its environment. After `timeout` seconds it
    is ended, and so `Finished.timed_out`. `socket`: what ``import socket`` is there. `send`: copies
    of these are there, under these names; ValueError says what cannot be sent.

    Its standard input is empty. What it has started itself and left running is ended, a second
    after its own end. Ctrl-C, or the notebook's "interrupt", ends all processes of the lab.
    """
    parcel = _packed(send)
    one = launch(
        source, name=name, args=args, env=env, timeout=timeout, socket=socket, parcel=parcel
    )
    return follow(one)


def start(
    source: str,
    *,
    name: str = "process",
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    socket: Literal["ipcx", "stdlib"] = "ipcx",
    send: Mapping[str, Any] | None = None,
    until: str | None = None,
    wait: float = SOON,
) -> LabProcess:
    """Start a Python text in a process of its own, and come back when it listens.

    That is: it has a socket that listens or is bound, or a FIFO; or, with `until`, it has printed
    that text; or `wait` seconds have passed, or it has ended. `LabProcess.ready` says which.
    """
    parcel = _packed(send)
    one = launch(
        source, name=name, args=args, env=env, timeout=timeout, socket=socket, parcel=parcel
    )
    await_ready(one, until, wait)
    return one


def spawn(
    function: Callable[..., Any],
    *args: Any,
    name: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    socket: Literal["ipcx", "stdlib"] = "ipcx",
) -> LabProcess:
    """Call a function in a process of its own, also one that is defined in the notebook.

    Its source is sent, and copies of what it takes from outside of it: values, functions, classes,
    modules; and of `args`, among which may be unused ends of channels. ValueError says what cannot
    be sent, and why. What the function returns is `LabProcess.result`; in a notebook, what it
    prints stands under the cell.
    """
    if not callable(function):
        raise TypeError(f"spawn takes a function, not {function!r}; a text is for run and start")
    called = getattr(function, "__name__", type(function).__name__)
    if iscoroutinefunction(function) or isgeneratorfunction(function):
        how = "asyncio.run()" if iscoroutinefunction(function) else "a loop"
        raise TypeError(f"{called} does nothing when it is called: spawn a function that has {how}")
    parcel = _packed({})
    assert parcel is not None
    call = parcel.pickled((function, args), f"{called} with its arguments")
    from ipcx.lab import _show

    show = _show.shell() is not None
    one = launch(
        "",
        name=called if name is None else name,
        env=env,
        timeout=timeout,
        socket=socket,
        shown=show,
        parcel=parcel,
        call=call,
    )
    if show:
        _show.attach(one)
    return one


def _packed(values: Mapping[str, Any] | None) -> Parcel | None:
    if values is None:
        return None
    main = vars(sys.modules["__main__"])
    parcel = Parcel(main)
    for name, value in values.items():
        parcel.add(name, value)
    return parcel


def launch(
    source: str,
    *,
    name: str,
    args: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    socket: str = "ipcx",
    names: Sequence[str] = (),
    shown: bool = False,
    parcel: Parcel | None = None,
    call: bytes | None = None,
) -> LabProcess:
    """Starts it and does not wait. `names`: what the notebook has, for a better NameError."""
    _check(name, timeout, socket)
    file = re.sub(r"[^\w.-]", "_", name)
    order: dict[str, object] = {
        "name": name,
        "source": source,
        "args": [str(word) for word in args],
        "path": [os.path.abspath(entry) for entry in sys.path],
        "ports": _names.known_ports(),
        "names": list(names),
        "socket": socket,
        "file": f"{_home.place()}/cells/{next(_serial)}/{file}.py",
        "items": [] if parcel is None else parcel.items,
        "call": call,
    }
    ends = [] if parcel is None else parcel.ends
    with _lock:
        before = _known.pop(name, None)
        if before is not None and before.running:
            before.stop()
        _home.warden()
        mark = f"{_home.token()}{next(_serial)}"
        try:
            one = _started(name, order, mark, env, shown, ends)
            _known[name] = one
            pump.add(one)
        except BaseException as error:
            _warden.sweep(mark)  # it may run already
            _known.pop(name, None)
            if isinstance(error, KeyboardInterrupt):
                stop()
            raise
    if timeout is not None:
        one._limit(timeout)
    return one


def _check(name: str, timeout: float | None, socket: str) -> None:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ValueError(f"the name of a process is a word, not {name!r}")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is seconds > 0 or None, not {timeout!r}")
    if socket not in STREAMS:
        raise ValueError(f"socket is 'ipcx' or 'stdlib', not {socket!r}")


def _started(
    name: str,
    order: dict[str, object],
    mark: str,
    env: Mapping[str, str] | None,
    shown: bool,
    ends: Sequence[Channel],
) -> LabProcess:
    environment = {k: v for k, v in os.environ.items() if k not in UNWANTED}
    environment |= {str(k): str(v) for k, v in (env or {}).items()}
    environment[_warden.MARK] = mark
    environment[_board.FOLLOW] = _board.path()
    words = [sys.executable, *process._flags(), "-P", _child.__file__, name]
    with process._starting, contextlib.ExitStack() as passing, contextlib.ExitStack() as ours:
        given: list[int] = []
        order["ends"] = numbered = []
        for end in ends:
            exported, note = end._export()
            passing.callback(end.close)
            first = _child.FIRST + len(given)
            numbered.append((list(range(first, first + len(exported))), note))
            given += exported
        answer = process._memory(marshal.dumps(order))
        ours.callback(os.close, answer)
        nothing = os.open(os.devnull, os.O_RDONLY)
        passing.callback(os.close, nothing)
        fds = [(0, nothing), (_child.ORDER, answer)]
        fds += [(_child.FIRST + index, fd) for index, fd in enumerate(given)]
        made, mine = _starting.child(words, fds, reads=(1, 2, _child.TOLD), env=environment)
        ours.pop_all()
    # The process leaves its function's result where the order was.
    return LabProcess(name, process.Process(made, name, None, answer, None, []), mark, mine, shown)


# ---- waiting


def follow(one: LabProcess, show: _Show | None = None) -> Finished:
    """Waits for its end, and shows what it prints, in this thread."""
    try:
        while True:
            with pump.changed:
                pump.changed.wait_for(
                    lambda: one._over or bool(one._lines is not None and one._lines.waiting)
                )
                lines, done = one._new_lines(), one._over
            if show is not None:
                show(lines, done)
            if done:
                return one._finished()
    except KeyboardInterrupt:
        interrupted(one, show)


def await_ready(one: LabProcess, until: str | None, seconds: float) -> None:
    """Waits until it listens (or has printed `until`), and writes down in words what has come."""
    deadline = time.monotonic() + seconds
    wanted = None if until is None else until.encode()
    try:
        while not one.ready:
            with pump.changed:
                if wanted is not None and any(wanted in kept.head for kept in one._kept):
                    one.ready = f"has printed {until!r}"
                elif one._over:
                    one.ready = f"has ended: {one.ending}"
                elif time.monotonic() >= deadline:
                    what = "begun to listen" if until is None else f"printed {until!r}"
                    one.ready = f"runs; it has not {what} within {seconds:g} s"
                elif wanted is not None:
                    pump.changed.wait(max(0.0, deadline - time.monotonic()))
                else:
                    told = one._told.decode(errors="replace").splitlines()
                    one.ready = told[-1] if told else ""
            if wanted is None and not one.ready:
                one.ready = _ready.listens(one.pid)
                if not one.ready:
                    with pump.changed:
                        pump.changed.wait_for(lambda: one._over, 0.01)
    except KeyboardInterrupt:
        interrupted(one)


def interrupted(one: LabProcess, show: _Show | None = None) -> NoReturn:
    """Ends all processes: this one by Ctrl-C's own signal, so that it shows where it is."""
    others = [other for other in _known.values() if other is not one and other.running]
    one._stop(signal.SIGINT)
    for other in others:
        other._stop(signal.SIGTERM)
    for each in (one, *others):
        each.wait()
    if show is not None:
        with pump.changed:
            lines = one._new_lines()
        show(lines, True)
    raise


# ---- all of them


class Processes(dict[str, LabProcess]):
    """The lab's processes by their names; to be read as a table."""

    def rows(self) -> list[tuple[str, ...]]:
        """Of each process: name, number, how it is, for how many seconds, what it listens on."""
        found: list[tuple[str, ...]] = []
        now = time.monotonic()
        for one in self.values():
            runs = one.running
            seconds = (now if runs else one._ended) - one.started
            listens = _ready.listens(one.pid) if runs else ""
            state = "runs" if runs else str(one.ending or "ended")
            found.append((one.name, str(one.pid), state, f"{seconds:.1f}", listens))
        return found

    def __str__(self) -> str:
        rows = [_HEAD, *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(cells: tuple[str, ...], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        body = "".join(row(cells, "td") for cells in self.rows())
        return f"<table><thead>{row(_HEAD, 'th')}</thead><tbody>{body}</tbody></table>"


_HEAD = ("process", "pid", "state", "seconds", "")


def processes() -> dict[str, LabProcess]:
    """The lab's processes by their names, which a notebook shows as a table.

    It is the newest of each name, whether it runs or has ended.
    """
    return Processes(_known)


def stop(name: str | None = None) -> list[Finished]:
    """End the process `name`, or all that run. LookupError: there was none of that name."""
    if name is not None and name not in _known:
        known = ", ".join(_known) or "none yet"
        raise LookupError(f"no process is called {name}; those that were started: {known}")
    chosen = [one for one in _known.values() if one.running and name in (None, one.name)]
    for one in chosen:
        one._stop(signal.SIGTERM)
    return [one.wait() for one in chosen]


def end() -> list[str]:
    """Tell all that run to end, without waiting for it; their names."""
    running = [one for one in _known.values() if one.running]
    for one in running:
        one._stop(signal.SIGTERM)
    return [one.name for one in running]


def lab_pids() -> set[int]:
    return set(_warden.members(_home.token())) if _known else set()


@atexit.register
def _at_exit() -> None:
    stop()
