# SPDX-License-Identifier: Apache-2.0
"""Pipelines: programs whose output is the next one's input, as in a shell, without one.

Invariant: whatever ends a run, an exception or an abandoned loop, every stage has been waited for
and every descriptor is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import io
import os
import re
import select
import shlex
import signal
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ipcx import _core
from ipcx._core import Error, PeerClosed, Timeout, WouldBlock
from ipcx._descriptors import close_quietly, new_pipe
from ipcx._endings import described, status_and_signal
from ipcx._lines import Cutter
from ipcx._programs import environment, searched, why_not
from ipcx._timeouts import Deadline

if TYPE_CHECKING:
    from _typeshed import HasFileno, ReadableBuffer, StrPath

    _Command: TypeAlias = str | Sequence[StrPath]
    _Input: TypeAlias = ReadableBuffer | str | HasFileno | Iterable[ReadableBuffer | str] | None
    _Output: TypeAlias = HasFileno | StrPath | None

__all__ = ["Completed", "Pipeline", "StageEnding", "StageFailed"]

PIECE = 1 << 18  # bytes read or written at a time
ROOM = 1 << 20  # what our own ends of pipes may hold, where the system lets them
BETWEEN = 1 << 18  # and those between stages: four times what a shell gives them for a turn
GRACE = 0.5  # seconds that a stage has to end by itself when nobody wants it any more
BRIEF = 0.05  # … when somebody waits for us to end, with Ctrl-C or in an event loop
TURN = 0.01  # seconds until the event loop's other tasks have theirs
LINES = 64  # lines between two looks at that


class StageEnding(NamedTuple):
    """How one program of a pipeline ended."""

    command: tuple[str, ...]
    status: int | None
    """Its exit status; None when a signal ended it, or nobody knows."""
    signal: int | None
    """The signal that ended it. SIGPIPE: the next stage wanted no more."""

    @property
    def ok(self) -> bool:
        """Exit status 0, or ended by SIGPIPE because enough was read."""
        return self.status == 0 or self.signal == signal.SIGPIPE

    def __str__(self) -> str:
        return f"{shlex.join(self.command)}: {described(self.status, self.signal)}"


class StageFailed(Error):
    """A stage of a pipeline ended with another exit status than 0; `completed` has all of them."""

    completed: Completed


class Completed(NamedTuple):
    """What a pipeline has left: its output, and how each stage ended."""

    output: bytes
    endings: tuple[StageEnding, ...]

    @property
    def text(self) -> str:
        """The output as text (UTF-8; what is none is shown as escapes)."""
        return self.output.decode(errors="backslashreplace")

    @property
    def lines(self) -> list[str]:
        """The output's lines."""
        return self.text.splitlines()

    @property
    def ok(self) -> bool:
        """No stage failed (a shell's ``pipefail``)."""
        return all(ending.ok for ending in self.endings)

    def check(self) -> Completed:
        """Itself; `StageFailed` when a stage has failed, naming it."""
        for number, ending in enumerate(self.endings, 1):
            if not ending.ok:
                error = StageFailed(f"stage {number} of {len(self.endings)}, {ending}")
                error.completed = self
                raise error
        return self


class Pipeline:
    """Programs in a row, each reading what the one before it writes; nothing runs yet.

    ``Pipeline("who") | "sort" | ["head", "-3"]``. A stage is a list of words, or a string that is
    split into words as a shell would, quotes included; no shell is run: ``*`` and ``$HOME`` are
    what they look like. `env` replaces the environment, `cwd` is where the programs run.

    `run` waits for the end; ``for line in pipeline`` takes lines as they come, `chunks` bytes;
    ``await pipeline`` and ``async for`` do the same in asyncio. All stages run at once, each a
    process, together in a process group of their own.
    """

    def __init__(
        self,
        command: _Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: StrPath | None = None,
    ) -> None:
        self.commands: tuple[tuple[str, ...], ...] = (_words(command),)
        self.env = env
        self.cwd = cwd

    def __or__(self, command: _Command | Pipeline) -> Pipeline:
        """A longer one."""
        added = command.commands if isinstance(command, Pipeline) else (_words(command),)
        longer = Pipeline.__new__(Pipeline)
        longer.commands = self.commands + added
        longer.env, longer.cwd = self.env, self.cwd
        return longer

    def __str__(self) -> str:
        return " | ".join(map(shlex.join, self.commands))

    def __repr__(self) -> str:
        return f"<Pipeline {self}>"

    def run(
        self,
        input: _Input = None,
        *,
        output: _Output = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> Completed:
        """Run it to its end.

        `input` is what the first stage reads: bytes, text, a file, or an iterable of bytes or
        texts, which is asked for the next one when there is room for it; None is nothing. `output`
        is a file, or the path of one, that the last stage writes to; None collects it.
        `Timeout` after `timeout` seconds: all stages are ended then, and ``error.completed`` has
        what they had written. `check` raises `StageFailed` when a stage fails.
        """
        with _Run(self, input, output, timeout) as run:
            pieces = list(run.pieces())
            completed = Completed(b"".join(pieces), run.endings())
        return completed.check() if check else completed

    def chunks(self, input: _Input = None, *, timeout: float | None = None) -> Iterator[bytes]:
        """The output's bytes, as they come. To leave the loop ends all stages."""
        with _Run(self, input, None, timeout) as run:
            yield from run.pieces()
            run.endings()

    def lines(self, input: _Input = None, *, timeout: float | None = None) -> Iterator[str]:
        """The output's lines, as they come, without their ends. To leave the loop ends all
        stages."""
        lines = Cutter()
        with contextlib.closing(self.chunks(input, timeout=timeout)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                yield from map(_text, lines.cut(piece))
        yield from map(_text, lines.end())

    def __iter__(self) -> Iterator[str]:
        return self.lines()

    def __await__(self) -> Generator[Any, None, Completed]:
        """``await pipeline``: as `run`, without an input."""
        return self.complete().__await__()

    async def complete(
        self,
        input: _Input = None,
        *,
        output: _Output = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> Completed:
        """`run`, for asyncio. Cancelled, it ends all stages."""
        with _Run(self, input, output, timeout) as run:
            pieces = [piece async for piece in run.pieces_async()]
            completed = Completed(b"".join(pieces), await run.endings_async())
        return completed.check() if check else completed

    async def __aiter__(self) -> AsyncIterator[str]:
        with _Run(self, None, None, None) as run:
            lines = Cutter()
            async for piece in run.pieces_async():
                for number, line in enumerate(lines.cut(piece), 1):
                    yield _text(line)
                    if number % LINES == 0:
                        await run.give_turn()
            for line in lines.end():
                yield _text(line)
            await run.endings_async()


# ---- what the words are


# Quoted and plain pieces, then what only a shell understands.
_SHELL = re.compile(r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^'"\\|&;<>()])*([|&;<>()]+)""", re.DOTALL)


# What means nothing to a shell: so it is split at its spaces, at a tenth of shlex's price.
_PLAIN = re.compile(r"[\w./:=,+@% -]*", re.ASCII)


# A piece of a word: plain, in one of the quotes, or behind a backslash.
_PIECE = re.compile(
    r"""([^ \t\r\n'"\\]+)|'([^']*)'|"([^"\\]*(?:\\.[^"\\]*)*)"|\\(.)|([ \t\r\n]+)""", re.DOTALL
)
_ESCAPED = re.compile(r'\\(["\\])')


def split(command: str) -> list[str]:
    """What ``shlex.split`` makes of it, whose time grows with the square of a word's length."""
    words: list[list[str]] = []
    at, inside = 0, False
    while at < len(command):
        piece = _PIECE.match(command, at)
        if piece is None:
            dangling = (len(command) - len(command.rstrip("\\"))) % 2 and command[at] != "'"
            missing = "escaped character" if dangling else "closing quotation"
            raise ValueError(f"No {missing}: {command:.60}")
        at = piece.end()
        plain, single, double, escaped, space = piece.groups()
        if space is not None:
            inside = False
            continue
        if not inside:
            words.append([])
            inside = True
        if double is not None:
            words[-1].append(_ESCAPED.sub(r"\1", double))
        else:
            words[-1].append(plain or single or escaped or "")
    return ["".join(pieces) for pieces in words]


def words_of(command: _Command, what: str, cure: str) -> tuple[str, ...]:
    """A command's words; ValueError if there is none, or one for a shell."""
    if isinstance(command, str) and _PLAIN.fullmatch(command):
        words = tuple(command.split())
    elif isinstance(command, str):
        words = tuple(split(command))
        if meant := _SHELL.match(command):
            raise ValueError(
                f"{meant[1]!r} in {command!r} is for a shell, and there is none: {cure}"
            )
    elif isinstance(command, Sequence) and not isinstance(command, bytes | bytearray | memoryview):
        words = tuple(os.fspath(word) for word in command)
    else:
        raise TypeError(f"{what} is a text or a list of words, not {command!r}")
    if not words:
        raise ValueError(f"{what} is a command, not nothing")
    return words


def _words(command: _Command) -> tuple[str, ...]:
    cure = "join stages with `|` outside of the quotes, give files as input= and output="
    return words_of(command, "a stage of a pipeline", cure)


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace")


def _as_bytes(data: ReadableBuffer | str) -> memoryview:
    if isinstance(data, str):
        data = data.encode()
    try:
        return memoryview(data).cast("B")
    except TypeError:
        raise TypeError(f"a pipeline's input is bytes or text, not {type(data).__name__}") from None


# ---- one run


class _Run:
    """The processes of one run, and our ends of the pipes at its beginning and its end."""

    def __init__(
        self, pipeline: Pipeline, input: _Input, output: _Output, timeout: float | None
    ) -> None:
        self.deadline = Deadline(timeout)
        self.pipeline = pipeline
        self.timeout = timeout
        self.children: list[_core.Child] = []
        self.leaders: list[int] = []  # of a group; as a rule the first stage alone
        self.ended: list[StageEnding | None] = [None] * len(pipeline.commands)
        self.source: Iterator[ReadableBuffer | str] | None = None
        self.pending = memoryview(b"")  # of the source, not written yet
        self.writes = self.reads = -1  # our ends: of the first stage's input, of the last's output
        self.taken: list[bytes] = []  # for who asks after a time-out
        self.opened: list[int] = []  # closed when all stages have theirs
        self.in_loop = False  # asyncio's, which must not stand still
        self.next_turn = 0.0
        try:
            self.start(*self.ends(input, output))
        except BaseException:
            self.end_all(0)
            raise
        finally:
            for fd in self.opened:
                close_quietly(fd)
            self.opened.clear()

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        left = kind is None or kind is GeneratorExit
        self.end_all(GRACE if left and not self.in_loop else BRIEF)

    # -- beginning

    def pipe(self) -> tuple[int, int]:
        """Both ends; closed by us once the stages have them."""
        ends = new_pipe()
        self.opened += ends
        return ends

    def ours(self, fd: int) -> int:
        """That end stays ours."""
        os.set_blocking(fd, False)
        self.opened.remove(fd)
        _enlarge(fd, ROOM)
        return fd

    def ends(self, input: _Input, output: _Output) -> tuple[int | None, int]:
        """What the first stage reads from, None: nothing, and the last one writes to."""
        first, last = _fileno(input), _fileno(output)
        if input is not None and first is None:
            whole: Any = (input,) if isinstance(input, str) or _is_buffer(input) else input
            self.source = iter(whole)
            first, writes = self.pipe()
            self.writes = self.ours(writes)
        if output is None:
            reads, last = self.pipe()
            self.reads = self.ours(reads)
        elif last is None:
            path: Any = output
            last = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            self.opened.append(last)
        return first, last

    def start(self, first: int | None, last: int) -> None:
        pipeline = self.pipeline
        env = None
        if pipeline.env is not None:
            env = [name + b"=" + value for name, value in environment(pipeline.env).items()]
        cwd = None if pipeline.cwd is None else os.fsencode(pipeline.cwd)
        group = 0
        if first is not None and os.isatty(first):
            group = -1  # only the terminal's own group may read from it
        for number, words in enumerate(pipeline.commands, 1):
            out, following = last, -1
            if number < len(pipeline.commands):
                following, out = self.pipe()
                _enlarge(out, BETWEEN)
            argv = [os.fsencode(word) for word in words]
            fds = [(0, first), (1, out)]
            try:
                try:
                    child = _core.Child(argv, env, cwd, fds, group, False)
                except PermissionError as error:
                    if error.errno != errno.EPERM or group <= 0:
                        raise
                    # Where SIGCHLD is ignored a leader that ends takes its group with it.
                    group = 0
                    child = _core.Child(argv, env, cwd, fds, group, False)
            except OSError as error:
                raise self.cannot_start(number, error) from None
            if group == 0:
                group = child.pid
                self.leaders.append(len(self.children))
            self.children.append(child)
            first = following

    def cannot_start(self, number: int, error: OSError) -> OSError:
        commands = self.pipeline.commands
        program, code = commands[number - 1][0], error.errno or 0
        # "[Errno 2] spawn: No such file or directory: no-such-command: …"
        said = str(error).partition("] ")[2].removeprefix(f"spawn: {os.strerror(code)}: ")
        if code in (errno.ENOENT, errno.EACCES) and not said.startswith("the working directory"):
            env = None if self.pipeline.env is None else environment(self.pipeline.env)
            said = why_not(program, code, searched(env))
        where = f"stage {number} of {len(commands)}, " if len(commands) > 1 else ""
        return type(error)(error.errno, f"{where}{said}", program)

    # -- going on

    def pieces(self) -> Iterator[bytes]:
        """The output, while the input is fed."""
        while self.reads >= 0 or self.writes >= 0:
            piece = self.step()
            if piece:
                yield piece
            elif piece is None and (self.reads >= 0 or self.writes >= 0):
                self.wait_for(self.wanted())
            if self.deadline.passed:  # there may always be something to do
                raise self.timed_out()

    def endings(self) -> tuple[StageEnding, ...]:
        """When all stages have ended."""
        for number, child in enumerate(self.children):
            try:
                self.note(number, child.wait(self.deadline.left()))
            except (Timeout, WouldBlock):
                raise self.timed_out() from None
        return tuple(filter(None, self.ended))

    async def pieces_async(self) -> AsyncIterator[bytes]:
        """As `pieces`, in the running loop."""
        self.in_loop = True
        while self.reads >= 0 or self.writes >= 0:
            piece = self.step()
            if piece:
                yield piece
            elif piece is None and (self.reads >= 0 or self.writes >= 0):
                await self.wait_async(self.wanted())
            if self.deadline.passed:
                raise self.timed_out()
            await self.give_turn()

    async def endings_async(self) -> tuple[StageEnding, ...]:
        """As `endings`, in the running loop."""
        for number, child in enumerate(self.children):
            while self.ended[number] is None:
                try:
                    self.note(number, child.wait(0))
                except WouldBlock:
                    await self.wait_async([(child.fileno(), select.POLLIN)])
        return tuple(filter(None, self.ended))

    def step(self) -> bytes | None:
        """What can be done without waiting: output, b"" for something else, None for nothing."""
        done: bytes | None = b"" if self.writes >= 0 and self.feed() else None
        if self.reads < 0:
            return done
        try:
            piece = os.read(self.reads, PIECE)
        except BlockingIOError:
            return done
        if not piece:
            self.end_output()
            return b""
        if self.timeout is not None:
            self.taken.append(piece)
        return piece

    def feed(self) -> bool:
        """Whether something was written, or the input ended."""
        if not self.pending:
            assert self.source is not None
            item = next(self.source, None)
            if item is None:
                self.end_input()
                return True
            self.pending = _as_bytes(item)
        try:
            written = _core.pipe_write(self.writes, self.pending[:PIECE])
        except WouldBlock:
            return False
        except PeerClosed:  # the first stage wants no more
            self.end_input()
            return True
        self.pending = self.pending[written:]
        return True

    def end_input(self) -> None:
        self.pending = memoryview(b"")
        if self.writes >= 0:
            close_quietly(self.writes)
            self.writes = -1
        source, self.source = self.source, None
        close = getattr(source, "close", None)
        if close is not None:  # a generator's `finally` runs now
            close()

    def end_output(self) -> None:
        if self.reads >= 0:
            close_quietly(self.reads)
            self.reads = -1

    def wanted(self) -> list[tuple[int, int]]:
        fds = [(self.reads, select.POLLIN), (self.writes, select.POLLOUT)]
        return [entry for entry in fds if entry[0] >= 0]

    def wait_for(self, fds: list[tuple[int, int]]) -> None:
        poll = select.poll()
        for fd, events in fds:
            poll.register(fd, events)
        if not poll.poll(self.deadline.left_ms()) and self.deadline.passed:
            raise self.timed_out()

    async def give_turn(self) -> None:
        """To the other tasks of the loop, which stands still while there is always more to do."""
        now = time.monotonic()
        if now >= self.next_turn:
            await asyncio.sleep(0)
            self.next_turn = time.monotonic() + TURN

    async def wait_async(self, fds: list[tuple[int, int]]) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def ready() -> None:
            if not future.done():
                future.set_result(None)

        for fd, events in fds:
            (loop.add_reader if events == select.POLLIN else loop.add_writer)(fd, ready)
        try:
            await asyncio.wait_for(future, self.deadline.left())
        except TimeoutError:
            raise self.timed_out() from None
        finally:
            for fd, events in fds:
                (loop.remove_reader if events == select.POLLIN else loop.remove_writer)(fd)

    # -- ending

    def note(self, number: int, ending: tuple[int, int, bool, bool]) -> None:
        command = self.pipeline.commands[number]
        self.ended[number] = StageEnding(command, *status_and_signal(ending))

    def timed_out(self) -> Timeout:
        for number in self.unknown():
            with contextlib.suppress(WouldBlock):
                self.note(number, self.children[number].wait(0))
        running = [shlex.join(self.pipeline.commands[number]) for number in self.unknown()]
        self.end_all(0)
        ended = (
            f"ended by us: {', '.join(running)}" if running
            else "all stages have ended, and something that they started has the output open"
        )  # fmt: skip
        error = Timeout(f"{self.pipeline}: not done after {self.timeout} s; {ended}")
        error.completed = Completed(  # type: ignore[attr-defined]
            b"".join(self.taken), tuple(filter(None, self.ended))
        )
        return error

    def end_all(self, seconds: float) -> None:
        """Closes our ends, which tells the stages to end, and ends those that do not in so many
        seconds. Whatever goes wrong, or is raised by the input's own end, all of it is done."""
        with contextlib.ExitStack() as then:
            then.callback(self.kill)
            if seconds > 0:
                then.callback(self.give_time, seconds)
            then.callback(self.end_output)
            self.end_input()

    def give_time(self, seconds: float) -> None:
        """To end by themselves; asked to, if it is little."""
        if seconds < GRACE:
            self.signal_groups(signal.SIGTERM)
        until = Deadline(seconds)
        for number in self.unknown():
            poll = select.poll()
            with contextlib.suppress(ValueError):  # no descriptor: it has ended, unseen
                poll.register(self.children[number], select.POLLIN)
                poll.poll(until.left_ms())

    def kill(self) -> None:
        """Those that run, and waits for all that nobody has waited for."""
        left = self.unknown()
        if left:
            self.signal_groups(signal.SIGKILL)
        for number in left:
            with contextlib.suppress(ProcessLookupError):
                self.children[number].signal(signal.SIGKILL)
            self.note(number, self.children[number].wait(None))
        self.children.clear()  # and with them their descriptors

    def unknown(self) -> list[int]:
        """The stages that were not waited for."""
        return [n for n in range(len(self.children)) if self.ended[n] is None]

    def signal_groups(self, sig: int) -> None:
        """Also what the stages have started; before the group's leader was waited for: so long
        the group's number is theirs."""
        for number in set(self.leaders).intersection(self.unknown()):
            with contextlib.suppress(OSError):
                self.children[number].signal_group(sig)


def _enlarge(fd: int, size: int) -> None:
    with contextlib.suppress(OSError):  # a limit for this user: pipe(7)
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)


def _fileno(file: object) -> int | None:
    """The descriptor of a file, of a socket …; None: it has none."""
    fileno = getattr(file, "fileno", None)
    try:
        return None if fileno is None else int(fileno())
    except io.UnsupportedOperation:  # a StringIO, a BytesIO: it gives its lines
        return None


def _is_buffer(data: object) -> bool:
    try:
        memoryview(data).release()  # type: ignore[arg-type]
    except TypeError:
        return False
    return True
