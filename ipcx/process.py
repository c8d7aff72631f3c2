# SPDX-License-Identifier: Apache-2.0
"""Processes: children with a channel that is open already.

A program is started by its words; `Process.channel` leads to it, and in it `parent()` leads back.
Its end is an event, to wait for with a time-out, with others, in ``select`` or with ``await``:

>>> from ipcx import process
>>> program = "from ipcx.process import parent; parent().send('hello from the child')"
>>> with process.spawn([sys.executable, "-c", program]) as child:
...     child.channel.receive()
...     child.wait(timeout=10).status
'hello from the child'
0

A Python function is sent by its import name, never its code: the child imports the module and calls
it with its channel to the parent and the arguments. What it returns comes back:

>>> child = process.spawn("math:hypot", 3, 4, channel=None)
>>> child.result(timeout=10)
5.0
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import json
import os
import re
import select
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, TypeAlias

from ipcx import _child, _core, _parcel, _relay
from ipcx._awaiting import Readable
from ipcx._child import parent
from ipcx._core import Channel, Closed, Error, ForkedError, Timeout, Unsupported, WouldBlock
from ipcx._descriptors import close_quietly, new_pipe
from ipcx._endings import described, status_and_signal
from ipcx._pipeline import words_of
from ipcx._programs import environment, searched, why_not
from ipcx._relay import Output
from ipcx._timeouts import Deadline
from ipcx.channel import pair

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Literal, Self

    from _typeshed import StrPath

    _Target: TypeAlias = str | Sequence[StrPath] | Callable[..., Any]

__all__ = [
    "Ending",
    "Output",
    "Process",
    "ProcessFailed",
    "parent",
    "spawn",
    "wait_any",
]

GRACE = 5.0  # seconds that a child has to end by itself, at the end of a `with`
FORCE = 1.0  # seconds between SIGTERM and SIGKILL
SHOWN = 0.5  # seconds to wait for the last of a streamed output, if somebody else has it open


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Ending(NamedTuple):
    """How a process ended."""

    status: int | None
    """Its exit status; None when a signal ended it, or nobody knows."""
    signal: int | None
    """The signal that ended it."""
    dumped: bool
    """It left a core dump."""

    @property
    def ok(self) -> bool:
        """Exit status 0."""
        return self.status == 0

    def __str__(self) -> str:
        return described(self.status, self.signal, self.dumped)


class ProcessFailed(Error):
    """A process ended with another exit status than 0, or its function raised an exception."""

    ending: Ending
    """How it ended."""
    remote_traceback: str | None
    """Of a function that raised: the traceback, as the child has printed it."""


# ---- starting

# Held while a child is started: a fork of another thread's would inherit what is only passing
# through, and the child's channel would stay open beyond its end.
_starting = threading.RLock()
os.register_at_fork(
    before=_starting.acquire,
    after_in_parent=_starting.release,
    after_in_child=_starting.release,
)
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def spawn(
    target: _Target,
    *args: Any,
    channel: str | None = "unix://",
    name: str | None = None,
    input: _HasFileno | None = None,
    output: Literal["stream", "capture"] | _HasFileno | None = None,
    env: Mapping[str, str] | None = None,
    cwd: StrPath | None = None,
    die_with_parent: bool = False,
) -> Process:
    """Start a child process: a program, or a Python function.

    A program is a list of words, or a string that is split into words as a shell would; no shell is
    run. It has its end of the channel by `parent`, in C by ``ipcx_connect(getenv("IPCX_PARENT"))``.

    A function is the function itself, which must be importable, or its name ``"module:function"``.
    It is called in a new interpreter with its end of the channel and `args`: None, bool, numbers,
    str, bytes, lists, tuples, sets and dicts of them, and unused ends of other channels, which are
    the child's from then on. ``__main__`` is not imported there, and no code is sent: a lambda, a
    function inside of another one or in ``__main__`` is a ValueError. What is larger than some MB
    is quicker sent over the channel; a program's words have at most 128 KiB each (OSError, E2BIG).

    `channel` is what `ipcx.pair` takes: ``unix://``, ``shm://``, ``pipe://``; None: no channel, and
    a function gets `args` alone. `input` is a file that the child reads as its stdin; None: it
    is empty. `output` "stream" prints what the child writes to stdout and stderr here, each line
    with `name` in front (one thread does so for all children); "capture" collects its stdout in
    `Process.output`; a file: stdout goes there. `env` replaces the environment, `cwd` is where it
    runs. With `die_with_parent` it gets SIGTERM, and a second later SIGKILL, when this process has
    ended, however that happened; it costs a process.

    FileNotFoundError, PermissionError: no such program, or it is not executable; the text says
    what was searched. Any thread may spawn.
    """
    if env is not None:
        environment(env)
    if not (output is None or output in ("stream", "capture") or hasattr(output, "fileno")):
        raise ValueError(f"output is 'stream', 'capture', a file or None, not {output!r}")
    if isinstance(target, str):
        is_function = _FUNCTION.fullmatch(target) is not None
    else:
        is_function = callable(target)
    with _starting, contextlib.ExitStack() as passing:
        start = _Start(passing, name, env, cwd)
        try:
            start.connect(channel)
            if is_function:
                start.function(target, args, channel is not None, die_with_parent)  # type: ignore[arg-type]
            else:
                start.program(target, args, die_with_parent)  # type: ignore[arg-type]
            return start.run(input, output)
        except (FileNotFoundError, PermissionError) as error:
            start.undo()
            raise _in_words(error, start, env) from None
        except BaseException:
            start.undo()
            raise


_INHERITED = frozenset((_child.URL.encode(), _child.END.encode()))  # said by our own parent


class _Start:
    """One child while it is made. What is `passing` is closed here as soon as the child has it."""

    def __init__(
        self,
        passing: contextlib.ExitStack,
        name: str | None,
        env: Mapping[str, str] | None,
        cwd: StrPath | None,
    ) -> None:
        self.passing = passing
        self.name = name
        self.base = ""
        self.given_env = env
        self.made_env: dict[bytes, bytes] | None = None  # None: ours as it is
        if env is not None or any(variable in os.environb for variable in _INHERITED):
            self.env()
        self.cwd = None if cwd is None else os.fsencode(cwd)
        self.argv: list[bytes] = []
        self.given: list[int] = []  # the descriptors that become 3, 4, … in the child
        self.channel: Channel | None = None
        self.far: Channel | None = None
        self.kept: list[int] = []  # ours, of a child that runs
        self.answer = -1
        self.told: BinaryIO | None = None

    def env(self) -> dict[bytes, bytes]:
        """The child's environment, to add to; a copy is made once it is asked for."""
        if self.made_env is None:
            given = self.given_env
            if given is None:
                self.made_env = os.environb.copy()
            else:
                self.made_env = {os.fsencode(name): os.fsencode(given[name]) for name in given}
            for variable in _INHERITED:
                self.made_env.pop(variable, None)
        return self.made_env

    def give(self, fd: int) -> int:
        """The number that it will have in the child."""
        self.given.append(fd)
        return 2 + len(self.given)

    def own(self, fd: int) -> int:
        """Closed here at the end."""
        self.passing.callback(close_quietly, fd)
        return fd

    def connect(self, url: str | None) -> None:
        if url is None:
            return
        if url.startswith("inproc:"):
            raise Unsupported(
                f"spawn: {url} is for the threads of one process; to a child: unix://, shm://, pipe://"
            )
        self.channel, self.far = pair(url)
        self.passing.callback(self.far.close)

    def hand_over(self, end: Channel) -> tuple[list[int], bytes]:
        fds, note = end._export()
        return [self.give(fd) for fd in fds], note

    def this_process(self) -> int:
        """A pidfd, for the guardian."""
        try:
            return self.own(os.pidfd_open(os.getpid()))
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
            raise Unsupported(
                f"spawn: die_with_parent needs pidfds (Linux 5.3), which are refused here: {error}"
            ) from None

    # -- a program

    def program(self, command: str | Sequence[StrPath], args: tuple[Any, ...], dies: bool) -> None:
        if not isinstance(command, str | Iterable):
            raise TypeError(f"spawn takes a command or a function, not {command!r}")
        words = words_of(
            command, "what is spawned", "a pipeline is ipcx.pipes.Pipeline, a file is output="
        )
        if args:
            raise TypeError(
                "a program's arguments are words of its command: spawn([program, argument]); "
                "what else it shall know is sent over the channel"
            )
        self.base = os.path.basename(words[0])
        self.argv = [os.fsencode(word) for word in words]
        if self.far is not None:
            fds, note = self.hand_over(self.far)
            self.env()[_child.END.encode()] = _child.described(tuple(fds), note).encode()
            if self.far.url.startswith(("unix:", "pipe:", "tcp:")):
                self.env()[_child.URL.encode()] = f"pipe://{fds[0]},{fds[-1]}".encode()
        if dies:
            self.guarded()

    def guarded(self) -> None:
        """The command, behind a guardian."""
        found = _found(os.fsdecode(self.argv[0]), self.env())
        import marshal

        from ipcx import _guardian

        order = self.own(_memory(marshal.dumps((os.fsencode(found), self.argv, self.env()))))
        told, tell = new_pipe()
        self.own(tell)
        self.told = open(told, "rb")
        numbers = (self.give(order), self.give(self.this_process()), self.give(tell))
        self.argv = [
            os.fsencode(word)
            for word in (_interpreter(), "-I", "-S", _guardian.__file__, *map(str, numbers))
        ]

    # -- a function

    def function(
        self, target: str | Callable[..., Any], args: tuple[Any, ...], talks: bool, dies: bool
    ) -> None:
        import_name = target if isinstance(target, str) else _import_name(target)
        self.base = import_name.partition(":")[2]
        ends: list[Channel] = [] if self.far is None else [self.far]

        def number(end: Channel) -> int:
            if end in ends:
                raise ValueError(f"{end!r} is among the arguments twice")
            ends.append(end)
            return len(ends) - 1

        arguments = _parcel.pack(list(args), f"spawn: an argument of {import_name}", number)
        interpreter = _interpreter()
        assert self.give(-1) == _child.ORDER
        order = {
            "channel": talks,
            "ends": [(fds, note.hex()) for fds, note in map(self.hand_over, ends)],
            "path": [os.path.abspath(entry) for entry in sys.path],
            "guard": self.give(self.this_process()) if dies else None,
            "name": self.name or self.base,
        }
        for end in ends[1:] if talks else ends:
            self.passing.callback(end.close)
        self.answer = _memory(f"{json.dumps(order)}\n{arguments}".encode())
        self.kept.append(self.answer)
        self.given[0] = self.answer
        self.argv = [
            os.fsencode(word)
            for word in (interpreter, *_flags(), "-P", "-c", _child.BOOT, import_name)
        ]

    # -- either

    def run(
        self, input: _HasFileno | None, output: Literal["stream", "capture"] | _HasFileno | None
    ) -> Process:
        fds: list[tuple[int, int | None]] = [(0, None if input is None else input.fileno())]
        fds += [(3 + index, ours) for index, ours in enumerate(self.given)]
        reads = []
        if output in ("stream", "capture"):
            for number in (1, 2) if output == "stream" else (1,):
                mine, theirs = new_pipe()
                self.kept.append(mine)
                reads.append(mine)
                fds.append((number, self.own(theirs)))
        elif output is not None:
            fds.append((1, output.fileno()))  # type: ignore[union-attr]
        _flush()
        captured = Output(reads[0]) if output == "capture" else None
        made = self.child(fds)
        try:
            self.hear_guardian(made)
            name = self.name or f"{self.base}-{made.pid}"
            streams = _relay.stream(reads[0], reads[1], name) if output == "stream" else []
            return Process(made, name, self.channel, self.answer, captured, streams)
        except BaseException:  # Ctrl-C, too
            with contextlib.suppress(ProcessLookupError):
                made.signal(signal.SIGKILL)
            made.wait(None)
            raise

    def undo(self) -> None:
        """There is no child."""
        for fd in self.kept:
            close_quietly(fd)
        if self.told is not None:
            self.told.close()
        if self.channel is not None:
            self.channel.close(0)

    def child(self, fds: list[tuple[int, int | None]]) -> _core.Child:
        _reap()
        env = None
        if self.made_env is not None:
            env = [name + b"=" + value for name, value in self.made_env.items()]
        return _core.Child(self.argv, env, self.cwd, fds, -1, False)

    def hear_guardian(self, made: _core.Child) -> None:
        """It says that its command runs, or an errno, and has ended then."""
        if self.told is not None:
            self.passing.close()  # so that the pipe ends when the command runs
            with self.told:
                failed = int(self.told.read() or b"0")
            if failed:
                raise OSError(failed, f"spawn: {os.strerror(failed)}: {self.base}")


def _memory(data: bytes) -> int:
    fd = os.memfd_create("ipcx-order")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _found(program: str, env: Mapping[bytes, bytes]) -> str:
    """The program's path, found as the core finds it."""
    found = shutil.which(program, path=searched(env))
    if found is not None:
        return found
    there = shutil.which(program, os.F_OK, searched(env)) is not None
    raise _not_started(program, errno.EACCES if there else errno.ENOENT, env)


def _not_started(program: str, number: int, env: Mapping[bytes, bytes]) -> OSError:
    why = why_not(program, number, searched(env))
    return OSError(number, f"spawn: {os.strerror(number)}: {why}")


def _in_words(error: OSError, start: _Start, env: Mapping[str, str] | None) -> OSError:
    """The core's own error has room for a part of a long PATH, and not for why a file is none."""
    said = str(error).partition("] ")[2]
    if start.told is not None or not start.argv or not said.startswith("spawn: "):
        return error  # of a guardian, or of something else
    if "the working directory" in said:
        return error
    return _not_started(os.fsdecode(start.argv[0]), error.errno or 0, environment(env))


def _import_name(function: Callable[..., Any]) -> str:
    """``module:qualname``. ValueError: it has none that the child could use, and what to do."""
    module: str | None = getattr(function, "__module__", None)
    name: str | None = getattr(function, "__qualname__", None)
    cure = "put it into a module (a file of its own), import it from there, and spawn it"
    if module is None or name is None or not hasattr(function, "__name__"):
        raise ValueError(f"{function!r} has no name that the child could import: {cure}")
    if "<lambda>" in name:
        raise ValueError(
            f"a lambda has no name that the child could import: write a def, and {cure}"
        )
    if "<locals>" in name:
        raise ValueError(
            f"{name} is defined inside of a function, where the child cannot import it: {cure}"
        )
    if module == "__main__":
        raise ValueError(
            f"{name} is defined in __main__, which the child does not run again: {cure}"
            + (" (in a notebook: %%writefile work.py)" if "ipykernel" in sys.modules else "")
        )
    found: Any = sys.modules.get(module) or importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found != function:  # a class method is another object each time it is looked up
        raise ValueError(
            f"{module}:{name} is another object than {function!r}, which the child therefore "
            f"cannot import: {cure}"
        )
    return f"{module}:{name}"


def _interpreter() -> str:
    if getattr(sys, "frozen", False):
        raise RuntimeError(
            f"spawn: {sys.executable} is a program with Python inside, and would be started again; "
            "it can spawn programs, not functions"
        )
    if not sys.executable:
        raise RuntimeError(
            "spawn: sys.executable is empty, so the interpreter for the child is not known: set "
            "it, or spawn a program"
        )
    return sys.executable


def _flags() -> list[str]:
    import subprocess

    return subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined,no-any-return]


def _flush() -> None:
    """What we have printed comes before what the child prints."""
    for out in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            out.flush()


# Children that nobody holds any more, and that ran then: waited for when the next one is started.
_left: list[_core.Child] = []


def _reap() -> None:
    for child in tuple(_left):
        with contextlib.suppress(WouldBlock, ForkedError):
            child.wait(0)
            _left.remove(child)


# ---- the process


class Process:
    """A child process, made by `spawn`."""

    def __init__(
        self,
        child: _core.Child,
        name: str,
        channel: Channel | None,
        answer: int,
        output: Output | None,
        streams: list[_relay.Stream],
    ) -> None:
        self._child: _core.Child | None = child
        self._pid = child.pid
        self._name = name
        self._channel = channel
        self._answer = answer
        self._output = output
        self._streams = streams
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._ending: Ending | None = None
        self._text = ""  # of the answer
        self._awaiting = Readable()

    # -- what it is

    @property
    def pid(self) -> int:
        """Its process id. `ipcx.signals.send` takes the Process itself, which is safer."""
        return self._pid

    @property
    def name(self) -> str:
        """What it was called, or the function's or program's name with the process id."""
        return self._name

    @property
    def channel(self) -> Channel:
        """The channel to the child. `Closed` if it was spawned without one."""
        if self._channel is None:
            raise Closed(f"{self._name} was spawned with channel=None")
        return self._channel

    @property
    def output(self) -> Output:
        """Its stdout, if that is captured."""
        if self._output is None:
            raise ValueError(f"the output of {self._name} is not captured: output='capture'")
        return self._output

    @property
    def ending(self) -> Ending | None:
        """How it ended; None: it runs."""
        if self._ending is None:
            with contextlib.suppress(WouldBlock):
                self._note(self._core_child().wait(0))
        return self._ending

    def poll(self) -> Ending | None:
        """The same as a call, as other process objects have it."""
        return self.ending

    def fileno(self) -> int:
        """A descriptor that is readable when it has ended, for ``select``."""
        return self._core_child().fileno()

    def __repr__(self) -> str:
        try:
            how = str(self.ending or "runs")
        except ForkedError:
            how = f"a child of process {self._owner}"
        except Closed:
            how = "closed"
        return f"<Process {self._name}, pid {self._pid}: {how}>"

    # -- waiting

    def wait(self, timeout: float | None = None, *, check: bool = False) -> Ending:
        """Wait until it has ended. `Timeout` after so many seconds, it runs on then; 0 polls.

        `check` raises `ProcessFailed` unless its exit status is 0.
        """
        if self._ending is None:
            self._wait(timeout)
        if self._streams:
            until = Deadline(SHOWN)
            for stream in self._streams:
                stream.done.wait(until.left())
        return self._checked() if check else self._known()

    def _wait(self, timeout: float | None) -> None:
        child = self._core_child()
        if self._output is None or timeout == 0:
            self._note(child.wait(timeout))
            return
        _until_any([self], timeout, f"wait: process {self._pid} still runs")
        self._note(child.wait(None))

    def result(self, timeout: float | None = None) -> Any:
        """What the function has returned, once the process has ended; a program's is None.

        `ProcessFailed` when the function has raised an exception, with the child's traceback as a
        note, or when the process ended in another way. TypeError: what the function returned cannot
        be sent.
        """
        self.wait(timeout)
        self._checked()
        answer = self._answered()
        if "unsendable" in answer:
            raise TypeError(f"{self._name}: {answer['unsendable']}")
        return _parcel.unpack(answer["value"]) if "value" in answer else None

    def __await__(self) -> Generator[Any, None, Ending]:
        """``await process``: as `wait`, in asyncio. To cancel it leaves the process alone."""
        return self._ended().__await__()

    async def _ended(self) -> Ending:
        while self.ending is None:
            if self._output is None:
                await self._awaiting.wait(self.fileno())
                continue
            self._output._take_in()
            fds = [fd for fd in (self.fileno(), self._output._fd) if fd >= 0]
            waits = [asyncio.ensure_future(self._awaiting.wait(fd)) for fd in fds]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
        await _relay.settled(self._streams, SHOWN)
        return self._known()

    def _known(self) -> Ending:
        assert self._ending is not None
        return self._ending

    def _core_child(self) -> _core.Child:
        child = self._child
        if self._owner != os.getpid():
            raise ForkedError(f"process {self._pid} is a child of process {self._owner}, not of us")
        if child is None:
            raise Closed(f"{self._name} was closed")
        return child

    def _note(self, found: tuple[int, int, bool, bool]) -> None:
        with self._lock:
            if self._ending is not None:
                return
            if self._answer >= 0:
                with open(self._answer, "rb") as file:
                    file.seek(0)
                    self._text = file.read().decode(errors="replace")
                self._answer = -1
            self._ending = Ending(*status_and_signal(found), found[2])

    def _answered(self) -> dict[str, str]:
        try:
            found = json.loads(self._text)
        except ValueError:
            return {}  # it was killed before (what is there is the order), or while it wrote it
        return found if isinstance(found, dict) else {}

    def _checked(self) -> Ending:
        ending = self._known()
        answer = self._answered()
        if ending.ok:
            return ending
        what = f"{answer['error']} ({ending})" if "error" in answer else str(ending)
        failed = ProcessFailed(f"{self._name}, pid {self._pid}: {what}")
        failed.ending = ending
        failed.remote_traceback = answer.get("traceback")
        if failed.remote_traceback is not None:
            failed.add_note(f"In the child:\n{failed.remote_traceback}".rstrip())
        raise failed

    # -- signals

    def send_signal(self, number: int) -> None:
        """Send it a signal. ProcessLookupError: it has ended; nobody else can be hit.

        ``ipcx.signals.send(process, number, value)`` sends a value with it.
        """
        if self._ending is not None:
            raise ProcessLookupError(errno.ESRCH, f"process {self._pid} has ended: {self._ending}")
        self._core_child().signal(number)

    def terminate(self) -> None:
        """SIGTERM: asks it to end. Nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: ends it. Nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL)

    # -- the end

    def close(self, grace: float = GRACE) -> None:
        """Close the channel, wait `grace` seconds, then end the process: SIGTERM, and SIGKILL.

        What the channel still owes is sent before, if the child takes it in time. How it ended is
        known afterwards; nothing else can be done with it. A ``with`` block ends like this.
        """
        if self._owner != os.getpid():
            self._let_go()
            return
        if self._child is None:
            return
        try:
            if self._channel is not None:
                self._channel.close(grace)
        finally:
            for seconds, then in ((grace, self.terminate), (FORCE, self.kill)):
                try:
                    self.wait(seconds)
                    break
                except Timeout:
                    then()
            self.wait(None)
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            self._child = None
            answer, self._answer = self._answer, -1
        if answer >= 0:
            close_quietly(answer)
        if self._output is not None:
            self._output._close()
        self._awaiting.wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """With an exception on its way, the child is asked to end at once."""
        if error is None:
            self.close()
            return
        with contextlib.suppress(Error):  # the exception tells more
            if self._owner == os.getpid() and self._child is not None:
                self.terminate()
            self.close(FORCE)

    def __del__(self) -> None:
        child = getattr(self, "_child", None)
        if child is None:
            return
        if self._owner == os.getpid() and self._ending is None:
            try:
                self._note(child.wait(0))
            except WouldBlock:
                warnings.warn(f"{self!r} still runs", ResourceWarning, stacklevel=2, source=self)
                _left.append(child)
        if self._ending is not None and self._channel is not None:
            with contextlib.suppress(Error):
                self._channel.close(0)
        self._output = None  # it may have another user, and ends with the last one
        self._let_go()


# ---- several


def wait_any(processes: Iterable[Process], timeout: float | None = None) -> Process:
    """Wait until one of them has ended, and return it; the first of them if several have.

    `Timeout` after so many seconds; with 0, `WouldBlock` if all run. ValueError: none was given.
    """
    among = list(processes)
    if not among:
        raise ValueError("wait_any: no process to wait for")
    return _until_any(among, timeout, f"wait_any: all {len(among)} still run")


def _until_any(among: Sequence[Process], timeout: float | None, what: str) -> Process:
    deadline = Deadline(timeout)
    while True:
        for process in among:
            if process.ending is not None:
                return process
        poll = select.poll()
        held = [process._core_child() for process in among]  # so that no descriptor is closed
        for child in held:
            poll.register(child.fileno(), select.POLLIN)
        for output in filter(None, (process._output for process in among)):
            output._take_in()
            if output._fd >= 0:
                poll.register(output._fd, select.POLLIN)
        if not poll.poll(deadline.left_ms()) and deadline.passed:
            if timeout == 0:
                raise WouldBlock(errno.EAGAIN, what)
            raise Timeout(f"{what} after {timeout} s")
