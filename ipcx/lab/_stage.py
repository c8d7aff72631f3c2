# SPDX-License-Identifier: Apache-2.0
"""Where a check happens: programs in processes of their own, watched, and ended whatever they do.

A program that never ends is told from a slow one: when no thread of any process here has run for
`IDLE` seconds, nothing will ever move again, and each is asked in which line it waits. What moves
for ever is ended by the check's own deadline. Neither depends on how fast the machine is.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import marshal
import os
import re
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipcx import _procnet, process
from ipcx._pump import Source
from ipcx.lab import _home, _ready, _role, _starting, _warden
from ipcx.lab._link import Link, link
from ipcx.lab._pump import pump
from ipcx.lab.matching import settled
from ipcx.signals import name as signal_name

if TYPE_CHECKING:
    from typing import Self

    from ipcx.lab.model import Record
    from ipcx.lab.wait_graph import WaitGraph

__all__ = ["Actor", "Failed", "Role", "Stage"]

_serial = itertools.count(1)
IDLE = 2.0  # seconds in which nobody has run: nobody will
OUTPUT = 1 << 20  # bytes that a program may print to each of its outputs
TICK = 0.1
ERROR_LINES = 6  # of a traceback that are shown
CALLS = (
    5_000  # of each program that its picture is made from: a loop that never ends makes millions
)


class Failed(Exception):
    """What a check has to say against a solution: its argument is the sentence."""


@dataclass(frozen=True)
class Role:
    """What stands for a role: a source; of a function that was handed in, its name, too."""

    name: str
    source: str
    function: str = ""


class Actor:
    """A program of a check, in its process."""

    def __init__(self, stage: Stage, name: str, order: dict[str, Any], students: bool) -> None:
        self.name = name
        self.students = students  # or a program of the check's own
        self._stage = stage
        self._files = stage._files(name)
        order |= {"told": str(self._files / "told"), "where": str(self._files / "where")}
        self._texts = {file: source for file, source, _ in order["sources"]}
        self._out, self._err = bytearray(), bytearray()
        self.flooded = ""
        self._start(order)

    def _start(self, order: dict[str, Any]) -> None:
        stdin = self._files / "stdin"
        stdin.write_bytes(order.pop("stdin"))
        path = self._files / "order"
        path.write_bytes(marshal.dumps(order))
        words = [sys.executable, "-P", "-c", _role.BOOT, str(path)]
        with stdin.open("rb") as given:
            made, reads = _starting.child(
                words,
                [(0, given.fileno())],
                reads=(1, 2),
                env=self._stage._environment(),
                cwd=self._stage.folder,
            )
        self.pid = made.pid
        self._process = process.Process(made, self.name, None, -1, None, [])
        kept = zip(reads, (self._out, self._err), strict=True)
        self._sources = [Source(fd, functools.partial(self._take, held)) for fd, held in kept]
        pump.add(self)

    def _take(self, held: bytearray, piece: bytes) -> None:
        """What it prints; when that is too much, nobody listens any more."""
        held += piece
        if len(held) > OUTPUT and not self.flooded:
            self.flooded = f"has printed more than {OUTPUT >> 20} MB, and was stopped"
            self.kill()
            self._forget()

    # -- for the pump

    @property
    def _over(self) -> bool:
        return all(source.fd < 0 for source in self._sources)

    def _descriptors(self) -> list[int]:
        return [fd for source in self._sources if (fd := source.fd) >= 0]

    def _next_due(self) -> float | None:
        return None

    def _turn(self, ready: set[int]) -> None:
        with pump.changed:
            for source in self._sources:
                if source.fd in ready:
                    source.read()
            pump.changed.notify_all()

    def _forget(self) -> None:
        for source in self._sources:
            source.close()

    # -- what came of it; for after its end

    @property
    def output(self) -> str:
        """All it has printed."""
        return self._out.decode(errors="backslashreplace")

    @property
    def lines(self) -> list[str]:
        """The lines it has printed."""
        return self.output.splitlines()

    @property
    def errors(self) -> str:
        """What it has written to its stderr."""
        return self._err.decode(errors="backslashreplace")

    @property
    def told(self) -> list[Any]:
        """The arguments of its calls of `tell`."""
        return [value for kind, value in self._records() if kind == "value"]

    def _records(self) -> list[tuple[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            data = io.BytesIO((self._files / "told").read_bytes())
            found = []
            with contextlib.suppress(EOFError, ValueError, TypeError):  # cut by a kill
                while True:
                    found.append(marshal.load(data))
            return found
        return []

    @property
    def status(self) -> int | None:
        """Its exit status, minus a signal's number, or None while it runs."""
        ending = self._process.ending
        if ending is None:
            return None
        return -ending.signal if ending.signal is not None else ending.status or 0

    def complaint(self) -> str:
        """What is wrong with how it has ended; "" if nothing is."""
        if self.flooded:
            return f"{self.name} {self.flooded}"
        records = dict(self._records())
        if "fail" in records:
            return str(records["fail"])
        if "raised" in records:
            file, line, what = records["raised"]
            return f"{self.name} raised {what}{self._line(file, line)}"
        status = self.status
        if status is None:
            return ""
        if status < 0:
            return f"{self.name} was ended by {signal_name(-status)}"
        if "exit" in records and (status or ("end" not in records and not self._alone())):
            said = f"sys.exit({records['exit'] or ''})"
            return f"{self.name} called {said}: the check could not go on"
        if status:
            return f"{self.name} ended with exit status {status}"
        if "end" not in records and not self._alone():
            return f"{self.name} ended the process (os._exit?): the check could not go on"
        return ""

    def _alone(self) -> bool:
        """It is a program by itself, which may end when it wants to."""
        return len(self._texts) == 1

    def _line(self, file: str, line: int | None) -> str:
        """Such as ", in line 7: x = 1/0"; "" if it is no line of a student's source."""
        lines = self._texts.get(file, "").splitlines()
        if line is None or not 0 < line <= len(lines) or file.startswith("<check"):
            return ""
        role = file.strip("<>")
        of = "" if role == self.name else f" of {role}"
        return f", in line {line}{of}: {lines[line - 1].strip()}"

    # -- while it runs

    def places(self) -> list[str]:
        """Where it is, and then where its children are: the innermost line of a source, each."""
        found: list[str] = []
        for pid in sorted(_session(self.pid), key=lambda pid: (pid != self.pid, pid)):
            if _catches(pid, _role.ASK) and len(found) < 3:
                place = self._place(pid)
                if place and place not in found:
                    found.append(place)
        return found

    def _place(self, pid: int) -> str:
        path = self._files / "where"
        before = path.stat().st_size if path.exists() else 0
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, _role.ASK)
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            time.sleep(0.01)
            text = path.read_text()[before:] if path.exists() else ""
            for file, line in re.findall(r'File "(<[^"]+>)", line (\d+)', text):
                place = self._line(file, int(line))
                if place:
                    return place.removeprefix(", in ")
        return ""

    def kill(self) -> None:
        """SIGKILL, for it and for the processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM, for it and for the processes that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)

    def _settle(self) -> None:
        """All it has printed is here, if nobody else has its output open."""
        with pump.changed:
            pump.changed.wait_for(lambda: self._over, 0.5)

    def _close(self) -> None:
        self._process.wait()
        self._process.close()
        with pump.changed:
            self._forget()
            pump.ring()


class Stage:
    """A check's programs and links. At the end of the ``with`` nothing of them is left."""

    def __init__(self, roles: Mapping[str, Role], *, seed: int = 0, seconds: float = 20.0) -> None:
        self.roles = dict(roles)
        self.seed = seed
        self.folder = Path(tempfile.mkdtemp(prefix="check-", dir=_home.folder()))
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        self._actors: list[Actor] = []
        self._links: list[Link] = []
        self._count = 0
        self._began = 0
        self.waits: WaitGraph | None = None  # who waited for whom when nothing moved any more
        # By which whatever is started here is found: at the end, or by the lab's warden.
        self._mark = f"{_home.token()}check-{next(_serial)}"

    # -- programs

    def start(
        self,
        role: str,
        *,
        socket: str = "ipcx",
        args: tuple[str, ...] = (),
        stdin: bytes = b"",
        **given: Any,
    ) -> Actor:
        """The student's program of that role. It finds the names of `given`, and no others."""
        part = self.roles[role]
        sources = [(f"<{role}>", part.source, False)]
        if part.function:
            names = f"{part.function}.__code__"
            call = (
                f"{part.function}(**{{name: globals()[name] for name in "
                f"{names}.co_varnames[:{names}.co_argcount] if name in globals()}})"
            )
            sources.append((f"<check of {role}>", call, False))
        return self._enter(role, sources, True, socket, args, stdin, given)

    def play(
        self,
        name: str,
        source: str,
        *,
        socket: str = "ipcx",
        args: tuple[str, ...] = (),
        stdin: bytes = b"",
        **given: Any,
    ) -> Actor:
        """A program of the check's own. It has ``tell(value)`` and ``fail(sentence)``."""
        sources = [(f"<check {name}>", source, True)]
        return self._enter(name, sources, False, socket, args, stdin, given)

    def functions(self, driver: str, *, socket: str = "ipcx", **given: Any) -> Actor:
        """All roles' functions in one process, and then `driver`, which calls them.

        It has ``tell(value)`` and ``fail(sentence)``. Each function has its role's name there.
        """
        sources = []
        for part in self.roles.values():
            sources.append((f"<{part.name}>", part.source, False))
            if part.function and part.function != part.name:
                sources.append(("<check>", f"{part.name} = {part.function}", False))
            there = (
                f"if not callable(globals().get({part.name!r})): "
                f"fail('there is no function {part.name}() in what was handed in')"
            )
            sources.append((f"<check {part.name}>", there, True))
        sources.append(("<check>", driver, True))
        name = " and ".join(self.roles)
        return self._enter(name, sources, True, socket, (), b"", given)

    def _enter(
        self,
        name: str,
        sources: list[tuple[str, str, bool]],
        students: bool,
        socket: str,
        args: tuple[str, ...],
        stdin: bytes,
        given: dict[str, Any],
    ) -> Actor:
        order = {
            "name": name,
            "sources": sources,
            "socket": socket,
            "args": list(args),
            "stdin": stdin,
            "given": given,
            "path": [os.path.abspath(entry) for entry in sys.path],
            "record": str(self.recorded),
        }
        actor = Actor(self, name, order, students)
        self._actors.append(actor)
        return actor

    def _files(self, name: str) -> Path:
        self._count += 1
        path = self.folder / f".{self._count}"
        path.mkdir()
        return path

    def _environment(self) -> dict[str, str]:
        self._begin_record()
        return {**os.environ, _warden.MARK: self._mark, "IPCX_RECORD": str(self.recorded)}

    @property
    def recorded(self) -> Path:
        """The folder in which the programs of this run record what they send and receive."""
        return self.folder / ".record"

    def _begin_record(self) -> None:
        if not self.recorded.exists():
            self.recorded.mkdir()
            self._began = time.monotonic_ns()

    def record(self) -> Record | None:
        """What was sent and received in this run; None: nothing."""
        if not self.recorded.exists():
            return None
        made = settled(str(self.recorded), self._began, 0.0, CALLS)
        return made if made.messages else None

    # -- what is between them

    def port(self) -> int:
        """A port that is free for TCP and for UDP."""
        while True:
            with socket.create_server(("127.0.0.1", 0)) as stream:
                port = int(stream.getsockname()[1])
                with (
                    contextlib.suppress(OSError),
                    socket.socket(type=socket.SOCK_DGRAM) as datagrams,
                ):
                    datagrams.bind(("127.0.0.1", port))
                    return port

    def link(self, kind: str, port: int, **trouble: Any) -> Link:
        """`ipcx.lab.link` to that port of ours, closed at the end of the run."""
        trouble.setdefault("seed", self.seed)
        self._begin_record()
        trouble.setdefault("record", str(self.recorded))
        made = link(kind, ("127.0.0.1", port), **trouble)
        self._links.append(made)
        return made

    # -- waiting; what is wrong ends the check with `Failed`

    def listens(self, actor: Actor, port: int, kind: str = "tcp") -> None:
        """Until somebody listens at that port, or has bound it (kind "udp")."""
        wanted = _procnet.LISTEN if kind == "tcp" else _procnet.CLOSE

        def there() -> bool:
            return any(e.port == port and e.state == wanted for e in _procnet.entries(kind))

        verb = "listened at" if kind == "tcp" else "bound a socket to"
        self.until(there, f"{actor.name} has not {verb} port {port}", actor)

    def listens_at(self, actor: Actor, path: str) -> None:
        """Until it listens on the Unix-domain socket of that path."""
        self.until(
            lambda: _ready.listens(actor.pid) == f"listens on unix {path}",
            f"{actor.name} has not listened at {path}",
            actor,
        )

    def until(self, reached: Callable[[], bool], what: str, *needed: Actor) -> None:
        """Until that is so; `what` says that it never was. Those of `needed` must not end first."""
        last, since = self._life(), time.monotonic()
        pause = 0.002
        while not reached():
            self._judge()
            for actor in needed:
                if actor.status is not None and not reached():
                    raise Failed(f"{actor.name} has ended; {what}")
            now = time.monotonic()
            life = self._life() if now - since > 0.3 or pause >= TICK else last
            if life != last or not life[1]:
                last, since = life, now
            if now > self._deadline:
                raise Failed(f"{what} within {self._seconds:g} s: it was stopped{self._places()}")
            if now - since > IDLE:
                self.waits = self._graph()
                raise Failed(f"{what}: nothing moves any more{self._places()}")
            self._pause(pause)
            pause = min(pause * 2, TICK)
        self._judge()

    def finish(self, *actors: Actor) -> None:
        """Until these programs (without any: all) have ended, as they should."""
        waited = list(actors or self._actors)

        def ended() -> bool:
            return all(actor.status is not None for actor in waited)

        self.until(ended, " and ".join(a.name for a in waited) + " did not end")
        for actor in waited:
            actor._settle()
            complaint = actor.complaint()
            if complaint:
                raise Failed(complaint)

    def stop(self, actor: Actor) -> None:
        """The end of a program that runs for ever: SIGTERM, then SIGKILL. It has not failed yet."""
        self._judge()
        actor.terminate()
        poll = select.poll()
        poll.register(actor._process, select.POLLIN)
        if not poll.poll(1000):
            actor.kill()
            poll.poll()
        actor._settle()

    def settled(self, link: Link) -> None:
        """Until what its programs have sent has passed the link; for after their end."""
        seen = -1
        while seen != link.counts["datagrams"]:
            seen = link.counts["datagrams"]
            self._pause(0.05)

    def _judge(self) -> None:
        """The sentence of whoever has failed already: a student's program first."""
        said, until = self._complaints(), time.monotonic() + 1
        while said and all(map(_hung_up_on, said)) and time.monotonic() < until:
            self._pause(TICK)  # who hung up is about to end, too
            said = self._complaints()
        for complaint in sorted(said, key=_hung_up_on):
            raise Failed(complaint)

    def _complaints(self) -> list[str]:
        found = []
        for actor in sorted(self._actors, key=lambda actor: not actor.students):
            if actor.status is not None or actor.flooded:
                actor._settle()
                complaint = actor.complaint()
                if complaint and actor.status != -signal.SIGTERM:
                    found.append(complaint)
        return found

    def _pause(self, seconds: float) -> None:
        poll = select.poll()
        for actor in self._actors:
            if actor.status is None:
                poll.register(actor._process, select.POLLIN)
        poll.poll(seconds * 1000)

    def _places(self) -> str:
        """Such as "; sender is at line 7: …", for each program of the student's."""
        texts = []
        for actor in self._actors:
            if actor.students and actor.status is not None:
                texts.append(f"; {actor.name} has ended")
            elif actor.students:
                whose = actor.name
                for place in actor.places():
                    texts.append(f"; {whose} is at {place}")
                    whose = "a child of it"
        return "".join(texts)

    def _graph(self) -> WaitGraph | None:
        """Who of its programs, and of those they have started, waits for whom; None: nobody."""
        from ipcx.lab.wait_graph import seen

        there = []
        for actor in self._actors:
            for number, pid in enumerate(sorted(_session(actor.pid), key=actor.pid.__ne__)):
                there.append((pid, f"{actor.name}'s child {number}" if number else actor.name))
        made = seen(there)
        # A FIFO's reader that has it open for writing, too, does not wait for itself: for a writer.
        return made if any(edge.waiter != edge.holder for edge in made.edges) else None

    def _life(self) -> tuple[int, bool]:
        """A number that changes when anybody here has run, and whether all of them sleep."""
        switches, asleep = 0, True
        sessions = {actor.pid for actor in self._actors}
        for pid in _processes(sessions):
            for task, state in _tasks(pid):
                switches += task
                asleep = asleep and state in "SZTX"
        return switches, asleep

    # -- the end

    def clear(self) -> None:
        """The end of a run: its programs, links and records are gone, the next one can begin."""
        for actor in self._actors:
            actor.kill()
        for actor in self._actors:
            actor._close()
        _warden.sweep(self._mark)  # those that have fled to a session of their own
        for each in self._links:
            each.close()
        self._actors, self._links = [], []
        shutil.rmtree(self.recorded, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def _hung_up_on(complaint: str) -> bool:
    """It says that somebody else has gone, and he knows better why."""
    return " raised ConnectionResetError" in complaint or " raised BrokenPipeError" in complaint


# ---- /proc


def _processes(sessions: set[int]) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[3]) in sessions:
                    yield int(name)


def _session(leader: int) -> list[int]:
    return list(_processes({leader}))


def _tasks(pid: int) -> Iterator[tuple[int, str]]:
    """Of each thread: how often it was switched, and its state."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/task/{task}/status").read_text(errors="replace")
                numbers = re.findall(r"ctxt_switches:\s+(\d+)", text)
                state = re.search(r"State:\s+(\S)", text)
                yield sum(map(int, numbers)) + 1, state[1] if state else "Z"


def _catches(pid: int, number: int) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
        caught = re.search(r"SigCgt:\s+(\w+)", text)
        return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)
    return False
