# SPDX-License-Identifier: Apache-2.0
"""Runs pairings of one station: real processes, started, heard, and ended.

Invariant: when `perform` returns or raises, every process it started, and what those started, has
been killed and reaped, and its scratch folder is gone.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from ipcx.tour import languages, ports
from ipcx.tour.model import IPCX, Actor, Keys, Line, Pairing, Run, Spoken, Station, mismatch

LOOK_AGAIN = 0.005  # seconds between two looks at /proc/net, while somebody waits for it
PATIENCE = 2.0  # seconds for a server that has got SIGTERM; then it is killed

Pause = Callable[[Run, str, str], None]
"""Called with the run, an actor and the call it has made; the actor goes on when it returns."""


class Signals:
    """SIGINT, SIGTERM and SIGHUP, felt only where nothing can be lost: inside `felt`.

    An exception out of a signal handler in the middle of starting or ending a process would leave
    that process behind. Elsewhere than in the main thread this does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, object] = {}
        self._open = False
        self._pending: int | None = None

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _arrived(self, number: int, _: FrameType | None) -> None:
        self._pending = number
        if self._open:
            self.check()

    def check(self) -> None:
        """Raises what has arrived: KeyboardInterrupt, or SystemExit for the others."""
        number, self._pending = self._pending, None
        if number is not None:
            self._open = False
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    @contextlib.contextmanager
    def felt(self) -> Iterator[None]:
        try:
            self._open = True
            self.check()
            yield
        finally:
            self._open = False


# ---------------------------------------------------------------- what surrounds a program


def find_examples() -> Path:
    """The folder of the example programs: in the installed package, else in the source tree."""
    from ipcx._examples import folder

    return folder()


def environment() -> dict[str, str]:
    """The environment of the programs: ours, less what would change what they print."""
    unwanted = {"PYTHONDEVMODE", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONVERBOSE", "FORCE_COLOR"}
    unwanted |= {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"}
    env = {name: value for name, value in os.environ.items() if name not in unwanted}
    env |= {
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "PYTHONNODEBUGRANGES": "1",  # tracebacks without ^^^^
        "NO_COLOR": "1",
    }
    home = str(Path(__file__).resolve().parents[2])
    probe = [sys.executable, "-c", "import ipcx"]
    if subprocess.run(probe, env=env, cwd="/", stderr=subprocess.DEVNULL).returncode != 0:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [home, env.get("PYTHONPATH")]))
    return env


def command(actor: Actor, program: Path | str, on: str, *, stepping: bool = False) -> list[str]:
    """The command line that runs an actor's program on the stdlib's sockets, on ipcx's, or as what
    has been compiled from it."""
    if on in languages.LANGUAGES:
        return [*languages.LANGUAGES[on].command(Path(program)), *actor.args]
    through: list[str] = []
    if on == IPCX and stepping:
        through = ["-m", "ipcx.tour.step"]
    elif on == IPCX and not actor.imports_ipcx:
        through = ["-m", "ipcx.run"]
    return [sys.executable, *through, str(program), *actor.args]


def _die_with_the_tour() -> Callable[[], None] | None:
    """Has the kernel kill a program whose tour is killed. Without it (a Python without ctypes, a
    tour beside other threads) a `kill -9` of the tour would leave a server waiting for ever."""
    if threading.active_count() > 1:
        return None
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    pr_set_pdeathsig = 1
    return lambda: prctl(pr_set_pdeathsig, signal.SIGKILL)


def _copy_renumbered(folders: list[str], source: Path, target: Path, new: dict[int, int]) -> None:
    for folder in folders:
        for path in sorted((source / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    copy.write_text(ports.renumbered(path.read_text("utf-8"), new), "utf-8")
                except UnicodeDecodeError:  # not a program's text
                    copy.write_bytes(path.read_bytes())


# ---------------------------------------------------------------- the stage


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or a container that forbids it
        return None


class _Process:
    """An actor at work."""

    def __init__(
        self, actor: Actor, on: str, popen: subprocess.Popen[bytes], pauses: socket.socket | None
    ) -> None:
        self.actor = actor
        self.on = on
        self.popen = popen
        self.typed = list(actor.typed)
        self.half = b""  # a line that has not ended yet
        self.status: int | None = None
        self.pidfd = _pidfd(popen.pid)
        self.pauses = pauses

    def has_ended(self) -> bool:
        """Whether it has ended. It is not reaped yet: its pid and its group stay its own."""
        if self.status is None:
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            seen = os.waitid(os.P_PID, self.popen.pid, flags)
            if seen is not None:
                exited = seen.si_code == os.CLD_EXITED
                self.status = seen.si_status if exited else -seen.si_status
        return self.status is not None

    def finish(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        if self.pidfd is not None:
            os.close(self.pidfd)
        for stream in (self.popen.stdin, self.pauses):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class _Stage:
    """Runs under way: one after the other, with lasting actors in common.

    All actors write to one datagram socket, each from an address of its own: the kernel's queue
    keeps the one true order of who said what, which a pipe for each could not tell.
    """

    def __init__(self, station: Station, scratch: Path, env: dict[str, str]) -> None:
        self.station = station
        self.scratch = scratch
        self.env = env
        self.processes: dict[str, _Process] = {}
        self.by_address: dict[bytes, str] = {}
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ear.bind("")  # the kernel chooses an abstract name
        self.ear.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.ear, selectors.EVENT_READ)

    def begin(self, run: Run) -> None:
        """The next run: whoever lasts and runs on the same again is there already."""
        stays = {
            name
            for name, process in self.processes.items()
            if process.actor.lasts and process.on == run.pairing[name] and not process.has_ended()
        }
        self.end(self.processes.keys() - stays)
        self.run = run
        self.waiting = [actor for actor in self.station.actors if actor.name not in stays]
        self.began = time.monotonic()
        self.ends = self.began + self.station.limit

    # What conditions ask (see model.Stage).

    def listens(self, port: int) -> bool:
        return ports.listens(self.run.ports[port])

    def receives(self, port: int) -> bool:
        return ports.receives(self.run.ports[port])

    def said(self, line: Line) -> bool:
        return any(line.matches(spoken, self.run.ports) for spoken in self.run.spoken)

    def ended(self, actor: str) -> bool:
        process = self.processes.get(actor)
        return process is not None and process.status is not None

    # Starting.

    def start(self, actor: Actor, *, stepping: bool) -> None:
        on = self.run.pairing[actor.name]
        steps = stepping and on == IPCX
        with contextlib.ExitStack() as both, contextlib.ExitStack() as on_failure:
            mouth = both.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            mouth.bind("")
            mouth.connect(self.ear.getsockname())
            env, passed, pauses = self.env, [], None
            if steps:
                pauses, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                on_failure.enter_context(pauses)
                both.enter_context(theirs)
                env, passed = env | {"IPCX_TOUR_STEP": str(theirs.fileno())}, [theirs.fileno()]
            self.by_address[mouth.getsockname()] = actor.name
            renumbered = tuple(ports.renumbered(text, self.run.ports) for text in actor.args)
            popen = subprocess.Popen(
                command(
                    replace(actor, args=renumbered),
                    self.scratch / actor.source(on),
                    on,
                    stepping=steps,
                ),
                stdin=subprocess.PIPE if actor.typed else subprocess.DEVNULL,
                stdout=mouth.fileno(),
                stderr=mouth.fileno(),
                cwd=self.scratch,
                env=env,
                pass_fds=passed,
                process_group=0,  # a group of its own: what it starts can be ended with it
                preexec_fn=_die_with_the_tour(),
            )
            on_failure.pop_all()
        process = self.processes[actor.name] = _Process(actor, on, popen, pauses)
        if process.pidfd is not None:
            self.selector.register(process.pidfd, selectors.EVENT_READ)
        if pauses is not None:
            self.selector.register(pauses, selectors.EVENT_READ, actor.name)

    # Going on.

    def act(self, *, stepping: bool) -> None:
        """Starts and types what is due."""
        for actor in [actor for actor in self.waiting if actor.when.holds(self)]:
            self.waiting.remove(actor)
            self.start(actor, stepping=stepping)
        for process in self.processes.values():
            while process.typed and process.typed[0].when.holds(self):
                self._type(process, process.typed.pop(0))

    def _type(self, process: _Process, keys: Keys) -> None:
        stdin = process.popen.stdin
        assert stdin is not None
        for line in keys.text.splitlines():
            self.run.spoken.append(Spoken(process.actor.name, line, self.now(), typed=True))
        with contextlib.suppress(BrokenPipeError):
            stdin.write(keys.text.encode())
            stdin.flush()

    def hear(self) -> None:
        """Takes what has been said, as whole lines."""
        while True:
            try:
                text, address = self.ear.recvfrom(1 << 18)
            except BlockingIOError:
                return
            who = self.by_address.get(address, "")
            process = self.processes.get(who)
            if process is None:  # a stranger's datagram
                continue
            *lines, process.half = (process.half + text).split(b"\n")
            for line in lines:
                self._note(who, line)

    def _note(self, who: str, line: bytes) -> None:
        text = line.decode(errors="backslashreplace").replace(f"{self.scratch}/", "").rstrip()
        self.run.spoken.append(Spoken(who, text, self.now()))

    def now(self) -> float:
        return time.monotonic() - self.began

    def is_over(self) -> bool:
        """Whether nothing can happen any more: all have ended that were started, or serve on."""
        ended = {name: process.has_ended() for name, process in self.processes.items()}
        serving = {name for name, process in self.processes.items() if process.actor.lasts}
        if any(ended[name] for name in serving):
            return True
        if not all(ended[name] for name in ended.keys() - serving):
            return False
        if serving and self.waiting:
            return False  # for what a server does
        return not any(actor.when.holds(self) for actor in self.waiting)

    def wait(self) -> list[str]:
        """Sleeps until something may have changed; gives the actors that pause."""
        left = self.ends - time.monotonic()
        looking = self.waiting or any(p.typed or not p.pidfd for p in self.processes.values())
        pausing = []
        for key, _ in self.selector.select(max(0.0, min(left, LOOK_AGAIN) if looking else left)):
            if isinstance(key.data, str):
                pausing.append(key.data)
            elif key.fileobj is not self.ear:  # a pidfd: readable for ever, once is enough
                self.selector.unregister(key.fileobj)
        return pausing

    def pause(self, who: str, ask: Pause) -> None:
        """Lets an actor that stands still after a call go on, once the reader says so."""
        pauses = self.processes[who].pauses
        assert pauses is not None
        call = pauses.recv(4096)
        if not call:
            self.selector.unregister(pauses)
            return
        self.hear()
        before = time.monotonic()
        ask(self.run, who, call.decode(errors="backslashreplace"))
        self.ends += time.monotonic() - before  # a reader may take any time
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            pauses.send(b"\n")

    # Ending.

    def settle(self) -> None:
        """The run is over: ends whoever does not last, hears the last words, gives the verdict."""
        self.run.seconds = self.now()
        for process in self.processes.values():
            process.has_ended()
        passing = {name for name, process in self.processes.items() if not process.actor.lasts}
        statuses = {name: process.status for name, process in self.processes.items()}
        lasting = {name for name in statuses.keys() - passing if statuses[name] is None}
        self.end(passing)
        self.run.exits |= statuses
        self.run.why = self.verdict({n: s for n, s in statuses.items() if n not in lasting})

    def end(self, names: Collection[str]) -> None:
        """Ends these actors' processes: a lasting one is asked to, any other is killed."""
        processes = [self.processes[name] for name in names]
        for process in processes:
            if process.actor.lasts and not process.has_ended():
                process.popen.terminate()
        until = time.monotonic() + PATIENCE
        while not all([p.has_ended() for p in processes if p.actor.lasts]):
            if time.monotonic() > until:
                break
            time.sleep(LOOK_AGAIN)
        for process in processes:
            for watched in (process.pidfd, process.pauses):
                if watched is not None and watched in self.selector.get_map():
                    self.selector.unregister(watched)
            process.finish()
        self.hear()
        for process in processes:
            if process.half:
                self._note(process.actor.name, process.half)
            del self.processes[process.actor.name]

    def close(self) -> None:
        self.end(list(self.processes))
        self.selector.close()
        self.ear.close()

    def verdict(self, statuses: dict[str, int | None]) -> str | None:
        """Why the run did not hold, or None: the likeliest cause of the others comes first."""
        run = self.run
        exits = {actor.name: actor.exit for actor in self.station.actors}
        for actor in self.station.actors:
            if actor.lasts and actor.name in statuses:
                return f"{actor.name} ended with status {statuses[actor.name]}; it should serve on"
        for name, status in statuses.items():
            if status is None:
                return f"{name} still ran after {self.station.limit:g} s and was killed"
        for name, status in statuses.items():
            if status != exits[name]:
                return f"{name} ended with status {status}, not {exits[name]}"
        for actor in self.waiting:
            return f"{actor.name} was never started: the tour waited until {actor.when}"
        return mismatch(self.station.says, run.spoken, run.pairing, run.ports)


# ---------------------------------------------------------------- the run


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ipcx-tour-") as folder:
        yield Path(folder).resolve()


def perform(
    station: Station,
    pairings: Sequence[Pairing],
    *,
    env: dict[str, str],
    examples: Path | None = None,
    pause: Pause | None = None,
    signals: Signals | None = None,
    ended: Callable[[Run], None] = lambda run: None,
) -> list[Run]:
    """Runs the station's programs as those pairings say, which are one of its acts; calls *ended*
    after each run. With *pause*, those on ipcx stand still after each socket call until it returns.
    """
    signals = signals or Signals()
    runs: list[Run] = []
    try:
        new: dict[int, int] = {}
        for port in station.ports:
            new[port] = ports.free_port(new.values())
        with _scratch() as scratch, contextlib.ExitStack() as at_the_end:
            _copy_renumbered(station.folders(), examples or find_examples(), scratch, new)
            broken = _build(station, pairings, scratch, env, signals)
            stage = _Stage(station, scratch, env)
            at_the_end.callback(stage.close)
            for pairing in pairings:
                run = Run(pairing, dict(new), exits={actor.name: None for actor in station.actors})
                run.why = next((broken[on] for on in pairing.values() if on in broken), None)
                if run.why is None:
                    stage.begin(run)
                    _play(stage, pause, signals)
                    stage.settle()
                runs.append(run)
                ended(run)
    except OSError as error:
        why = f"this machine did not let it run: {error}"
        for pairing in pairings[len(runs) :]:
            runs.append(Run(pairing, why=why, exits={actor.name: None for actor in station.actors}))
            ended(runs[-1])
    return runs


def _build(
    station: Station,
    pairings: Sequence[Pairing],
    scratch: Path,
    env: dict[str, str],
    signals: Signals,
) -> dict[str, str]:
    """Compiles what the pairings need; gives the reason for each language in which that failed."""
    broken = {}
    for on in dict.fromkeys(on for pairing in pairings for on in pairing.values()):
        sources = [scratch / source for source in station.sources(on)]
        why = languages.build(on, sources, env, signals.felt)
        if why is not None:
            broken[on] = why.replace(f"{scratch}/", "")
    return broken


def _play(stage: _Stage, pause: Pause | None, signals: Signals) -> None:
    while time.monotonic() < stage.ends:
        stage.act(stepping=pause is not None)
        if stage.is_over():
            break
        with signals.felt():
            pausing = stage.wait()
        for who in pausing:
            assert pause is not None
            with signals.felt():
                stage.pause(who, pause)
        stage.hear()
