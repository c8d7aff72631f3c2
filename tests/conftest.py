"""What every test gets: guards against anything left behind or hung, helpers, and the skip list.

Invariant: a test that passes leaves no descriptor, thread, child process, shared-memory name or
temporary file behind; whoever does is named with what it left.
"""

import contextlib
import dataclasses
import gc
import itertools
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NIGHT = os.environ.get("IPCX_NIGHT") == "1"
HANG_GUARD = float(os.environ.get("IPCX_HANG_GUARD", "10"))
HUNG = os.environ.get("IPCX_HUNG")  # a file for the name of the test that hung, see the Makefile
RUN_TAG = f"ipcx-t{os.getpid()}-"
SETTLE = 1.0  # seconds granted to the kernel to take away a thread or a child that has ended

_watchdog = pytest.StashKey["Watchdog"]()
_temporary = pytest.StashKey[Path]()
_runtime = pytest.StashKey[str | None]()


# ---------------------------------------------------------------- the session


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_watchdog] = Watchdog()
    # In the background of a shell, or under nohup, these are ignored, here and in every child.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # ours goes on; a child has the default
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="ipcx-", dir=os.environ["PYTEST_DEBUG_TEMPROOT"])
    config.stash[_temporary] = Path(folder)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    config.stash[_runtime] = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = os.path.join(folder, "run")  # of listeners without a path
    os.mkdir(os.environ["XDG_RUNTIME_DIR"], 0o700)


def pytest_unconfigure(config: pytest.Config) -> None:
    tempfile.tempdir = None
    os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"]
    del os.environ["XDG_RUNTIME_DIR"]
    if config.stash[_runtime] is not None:
        os.environ["XDG_RUNTIME_DIR"] = config.stash[_runtime]
    shutil.rmtree(config.stash[_temporary], ignore_errors=True)
    config.stash[_watchdog].close()


def pytest_collection_finish() -> None:
    # What was imported and collected stays: without it a full collection takes milliseconds
    # instead of a fifth of a second, and every test that leaves a cycle costs one.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # hypothesis, when it is loaded after that, looks for whom an object belongs to


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if NIGHT:
        return
    skip = pytest.mark.skip(reason="night load: `make night` runs it")
    for item in items:
        if item.get_closest_marker("night"):
            item.add_marker(skip)


# ---------------------------------------------------------------- hangs


class Watchdog:
    """Ends the run when one test takes too long: its name, the traceback of each thread, SIGABRT.

    A process of its own, and no child of ours: a thread would make every test multi-threaded, which
    changes how sockets wait and how fork warns, and waitpid(-1) would see a child.
    """

    def __init__(self) -> None:
        pid = os.getpid()
        victim = os.pidfd_open(pid)
        orders, self.pipe = os.pipe()
        child = os.fork()  # nothing is captured yet: what it writes to stderr is seen
        if child == 0:
            try:
                if os.fork() == 0:
                    os.setsid()  # Ctrl-C is for the tests
                    os.close(self.pipe)
                    self.watch(pid, victim, orders)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(victim)
        os.close(orders)

    @staticmethod
    def watch(pid: int, victim: int, orders: int) -> None:
        poll = select.poll()
        poll.register(victim, select.POLLIN)
        poll.register(orders, select.POLLIN)
        limit, test = 0.0, ""
        while True:
            ready = dict(poll.poll(limit * 1000 or None))
            if not ready:
                hung = f"{test}: still running after {limit:g} s\n"
                os.write(2, f"\n{hung}".encode())
                if HUNG:
                    Path(HUNG).write_text(hung)
                resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
                signal.pidfd_send_signal(victim, signal.SIGABRT)
                if not poll.poll(5000):
                    signal.pidfd_send_signal(victim, signal.SIGKILL)
                return
            order = os.read(orders, 4096).decode() if orders in ready else ""
            if not order:
                return
            seconds, _, test = order.splitlines()[-1].partition(" ")
            limit = float(seconds)

    def tell(self, seconds: float, test: str = "") -> None:
        os.write(self.pipe, f"{seconds} {test}\n".encode())

    def close(self) -> None:
        os.close(self.pipe)


# ---------------------------------------------------------------- skips


class Skips:
    """Collects the skips of a run; with IPCX_STRICT_SKIPS=1 one not allowed fails the run."""

    def __init__(self, allowed: Path) -> None:
        self.allowed = [self.rule(line) for line in self.lines(allowed)]
        self.refused: list[str] = []

    @staticmethod
    def lines(path: Path) -> list[str]:
        lines = (line.strip() for line in path.read_text().splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    @staticmethod
    def rule(line: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
        node, bar, reason = line.partition(" | ")
        if not bar:
            raise pytest.UsageError(f"tests/allowed_skips.txt: not `node | reason`: {line}")
        node, reason = (
            re.compile(re.escape(part.strip()).replace(r"\*", ".*")) for part in (node, reason)
        )
        return node, reason

    def see(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = text.removeprefix("Skipped: ")
        if not any(n.fullmatch(report.nodeid) and r.fullmatch(reason) for n, r in self.allowed):
            self.refused.append(f"{report.nodeid} | {reason}")

    pytest_runtest_logreport = see
    pytest_collectreport = see

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.refused and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.refused:
            terminalreporter.section("skips that tests/allowed_skips.txt does not name", red=True)
            for line in self.refused:
                terminalreporter.line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if os.environ.get("IPCX_STRICT_SKIPS") == "1":
        session.config.pluginmanager.register(Skips(ROOT / "tests" / "allowed_skips.txt"))


# ---------------------------------------------------------------- what is left behind


def _read(path: str) -> str:
    try:
        return Path(path).read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _threads() -> dict[int, str]:
    tasks = os.listdir("/proc/self/task")
    return {int(task): _read(f"/proc/self/task/{task}/comm") for task in tasks}


def _children() -> dict[int, str]:
    tasks = os.listdir("/proc/self/task")
    pids = " ".join(_read(f"/proc/self/task/{task}/children") for task in tasks).split()
    return {int(pid): _describe_process(pid) for pid in pids}


def _describe_process(pid: str) -> str:
    state = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()[:1]
    zombie = " (ended, never waited for)" if state == ["Z"] else ""
    return (_read(f"/proc/{pid}/cmdline") or _read(f"/proc/{pid}/comm")) + zombie


def _names() -> dict[str, str]:
    """Names in /dev/shm: all on a machine of our own, else those that carry this run's tag."""
    alone = os.environ.get("IPCX_TESTS_ALONE") == "1"
    with contextlib.suppress(FileNotFoundError):
        return {f"/dev/shm/{n}": "" for n in os.listdir("/dev/shm") if alone or RUN_TAG in n}
    return {}


def _temporary_files() -> dict[str, str]:
    folder = tempfile.gettempdir()
    return {f"{folder}/{name}": "" for name in os.listdir(folder)}


LOOKS: dict[str, Callable[[], dict]] = {
    "fds": _descriptors,
    "threads": _threads,
    "children": _children,
    "names": lambda: {**_names(), **_temporary_files()},
}


@dataclasses.dataclass
class Snapshot:
    """What the process holds at one moment."""

    held: dict[str, dict]

    @classmethod
    def take(cls, looks: dict[str, Callable[[], dict]]) -> "Snapshot":
        return cls({kind: look() for kind, look in looks.items()})

    def complaints(self, later: "Snapshot") -> list[str]:
        """What `later` holds that this one did not, and descriptors of others it closed."""
        lines: list[str] = []
        for kind, before in self.held.items():
            for key, text in later.held[kind].items():
                if key not in before or (kind == "fds" and before[key] != text):
                    lines.append(f"left behind in {kind}: {key} {text}".rstrip())
        gone = self.held.get("fds", {}).keys() - later.held.get("fds", {}).keys()
        lines += [f"closed descriptor {fd}, which was not its own" for fd in sorted(gone)]
        return lines


def _stop_multiprocessing_helpers() -> None:
    """The stdlib's resource tracker and fork server live as long as the process, by design."""
    for module, attribute in (
        ("multiprocessing.forkserver", "_forkserver"),
        ("multiprocessing.resource_tracker", "_resource_tracker"),
    ):
        if module in sys.modules:
            getattr(sys.modules[module], attribute)._stop()


def _settled(before: Snapshot, looks: dict[str, Callable[[], dict]]) -> list[str]:
    """The complaints that remain once the kernel had time to finish what has ended."""
    complaints = before.complaints(Snapshot.take(looks))
    if complaints:
        gc.collect()
        _stop_multiprocessing_helpers()
        complaints = before.complaints(Snapshot.take(looks))
    deadline = time.monotonic() + SETTLE
    while any("in threads" in c or "in children" in c for c in complaints):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
        complaints = before.complaints(Snapshot.take(looks))
    return complaints


def _clear_away(before: Snapshot) -> None:
    """So that the next test is not blamed for children and files of this one."""
    for pid in _children().keys() - before.held.get("children", {}).keys():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    for path in LOOKS["names"]().keys() - before.held.get("names", {}).keys():
        if Path(path).is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up before and taken down after everything else the test uses."""
    marker = request.node.get_closest_marker("hang_guard")
    limit = HANG_GUARD * (marker.args[0] / 10 if marker else 1)
    # hypothesis leaves one there; what a signal handler raises in the middle of it is lost.
    gc.callbacks.clear()
    watchdog = request.config.stash[_watchdog]
    watchdog.tell(limit, request.node.nodeid)
    excused = {what for m in request.node.iter_markers("leaves_behind") for what in m.args}
    looks = {kind: look for kind, look in LOOKS.items() if kind not in excused}
    before = Snapshot.take(looks)
    yield
    complaints = _settled(before, looks)
    watchdog.tell(0)
    if complaints:
        _clear_away(before)
        pytest.fail(f"{request.node.nodeid}\n  " + "\n  ".join(complaints), pytrace=False)


# ---------------------------------------------------------------- helpers


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen]]:
    """`spawn("-c", code)` or `spawn(path, *arguments)`: this Python again, piped and in text.

    Keywords go to Popen; `program=` runs something else than Python. Whoever still runs at the end
    of the test is killed, and each one is waited for.
    """
    children: list[subprocess.Popen] = []

    def start(*arguments: str | os.PathLike, program: str = sys.executable, **options):
        options = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
            "cwd": ROOT,
            **options,
        }
        child = subprocess.Popen([program, *map(os.fspath, arguments)], **options)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        with contextlib.suppress(BrokenPipeError):
            child.__exit__(None, None, None)


_serial = itertools.count()


@pytest.fixture
def unique_name() -> Callable[[], str]:
    """Makes names for shared objects that no other test and no other run has."""
    return lambda: f"{RUN_TAG}{next(_serial)}-{os.urandom(3).hex()}"


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """A folder whose path is short enough for sun_path, removed with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="s") as folder:
        yield Path(folder)
