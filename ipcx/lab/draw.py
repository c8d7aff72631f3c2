# SPDX-License-Identifier: Apache-2.0
"""``ipcx draw server.py -- client.py``: unmodified programs, and the picture of what passed.

Each program runs under `ipcx.run` with the recorder on (`ipcx.lab.record`). The first is started
first; each further one when the one before listens, talks or has ended. When all but the first have
ended, the first is told to end, too, if it goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from ipcx.lab._folder import Folder
from ipcx.lab.recorder import EVENTS_READ

if TYPE_CHECKING:
    from ipcx.lab.model import Record

__all__ = ["main", "run"]

USAGE = """\
usage: ipcx draw [-o FILE] [--json] [--timeout SECONDS] SERVER [arguments] -- CLIENT [arguments] …

Runs two Python programs, or more, as they are, and draws who sent what to whom. A program is what
`ipcx run` takes: a file, -m MODULE or -c CODE. The last one has the keyboard. Options may also
stand behind the last program's arguments; a last -- keeps them the program's own.

  -o FILE            the picture: .svg, .html or .txt; or the record: .json, .pcapng (Wireshark)
  --json             the record on standard output, for programs
  --timeout SECONDS  what still runs then is ended (default: 30)
  --help             print this
"""

READY = 10.0  # a program that neither listens nor talks is not waited for any longer
GRACE = 2.0  # so long who was told to end has to do so
ALONE = 0.3  # so long the first has to end by itself when the others have
_READY_OPS = ("listen", "connect", "connect_ex", "sendto", "send", "sendall", "accept", "pair")


class _Options(NamedTuple):
    out: str | None
    json: bool
    timeout: float
    programs: list[list[str]]


class _WrongError(Exception):
    """A command line that says nothing sensible."""


def _parse(argv: Sequence[str]) -> _Options:
    words, given = list(argv), {"out": "", "json": "", "timeout": "30"}
    while words and words[0] in ("-o", "--json", "--timeout"):
        del words[: _option(words, 0, given)]
    groups: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            groups.append([])
        else:
            groups[-1].append(word)
    if len(groups) > 1 and not groups[-1]:
        groups.pop()
    else:
        _take_tail(groups[-1], given)
    if any(not group for group in groups):
        raise _WrongError("no program given" if len(groups) == 1 else "a program is missing at --")
    if len(groups) < 2:
        raise _WrongError("one program alone has nobody to talk to: SERVER -- CLIENT")
    try:
        timeout = float(given["timeout"])
    except ValueError:
        timeout = -1.0
    if not 0 < timeout < 1e6:
        raise _WrongError(f"--timeout {given['timeout']}: a number of seconds")
    for group in groups:
        if not group[0].startswith("-") and not os.path.exists(group[0]):
            raise _WrongError(f"there is no program {group[0]}")
    return _Options(given["out"] or None, bool(given["json"]), timeout, groups)


def _option(words: list[str], at: int, given: dict[str, str]) -> int:
    """Notes the option there; how many words it has."""
    if words[at] == "--json":
        given["json"] = "yes"
        return 1
    if at + 1 >= len(words):
        raise _WrongError(f"{words[at]} needs an argument")
    given["out" if words[at] == "-o" else "timeout"] = words[at + 1]
    return 2


def _take_tail(group: list[str], given: dict[str, str]) -> None:
    """Takes our options from behind the last program's arguments."""
    while len(group) > 1:
        if group[-1] == "--json":
            given["json"] = "yes"
            group.pop()
        elif len(group) > 2 and group[-2] in ("-o", "--timeout"):
            _option(group, len(group) - 2, given)
            del group[-2:]
        else:
            return


# --- the programs ---------------------------------------------------------------------------------


def _names(programs: list[list[str]]) -> list[str]:
    names: list[str] = []
    for words in programs:
        stem = words[1] if words[0] == "-m" and len(words) > 1 else Path(words[0]).stem
        stem = "python" if words[0] == "-c" else stem
        name, n = stem, 1
        while name in names:
            n += 1
            name = f"{stem}-{n}"
        names.append(name)
    return names


class _Program:
    """One of them, running."""

    def __init__(self, name: str, words: list[str], folder: str, keyboard: bool) -> None:
        self.name = name
        self.folder = folder
        self.ended_by_us = ""
        path = os.environ.get("PYTHONPATH", "")
        home = str(Path(__file__).parents[2])  # a child in another place finds the same ipcx
        environment = {
            **os.environ,
            "IPCX_RECORD": folder,
            "IPCX_RECORD_NAME": name,
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": f"{path}{os.pathsep if path else ''}{home}",
        }
        # Who has the terminal must stay in its foreground, or reading stops it.
        self.group = not (keyboard and sys.stdin is not None and sys.stdin.isatty())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipcx.run", *words],
            stdin=None if keyboard else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            process_group=0 if self.group else None,
        )
        assert self.process.stdout is not None
        self.pump = threading.Thread(target=_say, args=(name, self.process.stdout), daemon=True)
        self.pump.start()

    def running(self) -> bool:
        return self.process.poll() is None

    def need_not_be_waited_for(self) -> bool:
        return not self.running() or _is_ready(self.folder, self.process.pid)

    def signal(self, number: int) -> None:
        with contextlib.suppress(OSError):
            if self.group:
                os.killpg(self.process.pid, number)
            elif self.running():
                self.process.send_signal(number)

    def end(self, why: str) -> None:
        """Ends it and what it started: SIGTERM, then SIGKILL."""
        if self.running():
            self.ended_by_us = why
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
        if self.group or self.running():
            self.signal(signal.SIGKILL)  # of the group there may be more than the first
        self.process.wait()
        self.pump.join(GRACE)
        if not self.pump.is_alive() and self.process.stdout is not None:
            self.process.stdout.close()

    def told(self) -> str:
        """What is to be said of its end; "" when there is nothing."""
        status = self.process.returncode
        if self.ended_by_us:
            return f"{self.name} {self.ended_by_us}"
        if status < 0:
            return f"{self.name} was killed by {signal.Signals(-status).name}"
        return f"{self.name} ended with status {status}" if status else ""


def _say(name: str, stream: IO[bytes]) -> None:
    """What a program prints, under its name, on standard error: the picture has the other."""
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            sys.stderr.write(f"{name} | {line.decode(errors='replace').rstrip()}\n")
            sys.stderr.flush()


def _is_ready(folder: str, pid: int) -> bool:
    """Whether by its own file it listens or talks."""
    from ipcx.lab.matching import read_file

    found = read_file(os.path.join(folder, f"{pid}.tape"))
    if found is None:
        return False
    return any(
        call.op in _READY_OPS
        or (call.op == "bind" and call.end is not None and call.end.kind == "datagram")
        for call in found.calls
    )


def _until(ready: threading.Event, deadline: float, condition: Callable[..., bool]) -> bool:
    """Asks until it is so; False at the deadline."""
    while not condition():
        if time.monotonic() >= deadline:
            return False
        ready.wait(0.005)
    return True


def run(
    programs: list[list[str]],
    timeout: float = 30.0,
    out: IO[str] | None = None,
    most: int | None = None,
) -> tuple[Record, list[str]]:
    """Runs the programs; the record, and what there is to say about their ends.

    A sentence is there for each that failed or had to be ended, but for the first, which is ended
    when the others are done. Of each the first `most` calls are read; None: all that were kept.
    """
    from ipcx.lab.matching import settled

    if out is None:
        out = sys.stderr
    assert out is not None
    folder = Folder()
    began, deadline = time.monotonic_ns(), time.monotonic() + timeout
    running: list[_Program] = []
    failed: list[str] = []
    try:
        try:
            _start(programs, folder.path, running, deadline, out)
            _finish(running, deadline, timeout, out)
        except KeyboardInterrupt:
            failed.append("interrupted")
        finally:
            for one in running:
                one.end("was interrupted")
        failed += [one.told() for one in running if one.told() and one.ended_by_us != _DONE]
        record = settled(folder.path, began, 0, most)
    finally:
        folder.remove()
    return record, failed


_DONE = "still ran when all others had ended: it was told to end"


def _start(
    programs: list[list[str]],
    folder: str,
    running: list[_Program],
    deadline: float,
    out: IO[str],
) -> None:
    waiting = threading.Event()
    names = _names(programs)
    for i, (name, words) in enumerate(zip(names, programs, strict=True)):
        one = _Program(name, words, folder, i == len(programs) - 1)
        running.append(one)
        until = min(deadline, time.monotonic() + READY)
        if i < len(programs) - 1 and not _until(waiting, until, one.need_not_be_waited_for):
            out.write(f"ipcx draw: {name} does not listen yet; {names[i + 1]} is started\n")


def _finish(running: list[_Program], deadline: float, timeout: float, out: IO[str]) -> None:
    waiting = threading.Event()
    first, others = running[0], running[1:]
    if not _until(waiting, deadline, lambda: not any(one.running() for one in others)):
        why = f"was not done after {timeout:g} s: it was ended"
        for one in running:  # now: the end of one may be what another has waited for
            one.ended_by_us = why if one.running() else ""
        for one in running:
            one.end(why)
        return
    grace = min(deadline, time.monotonic() + ALONE)
    if not _until(waiting, grace, lambda: not first.running()):
        first.end(_DONE)
        out.write(f"ipcx draw: {first.told()}\n")


# --- the command ----------------------------------------------------------------------------------


def _write(record: Record, path: str) -> None:
    kind = Path(path).suffix
    if kind == ".pcapng":
        record.to_pcapng(path)
    elif kind == ".json":
        Path(path).write_text(record.json(), encoding="utf-8")
    else:
        record.space_time().save(path)


def main(argv: Sequence[str]) -> int:
    """The command; 0: all programs did well, 1: one did not, 2: a wrong command line."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    try:
        options = _parse(argv)
        if options.out and Path(options.out).suffix not in _KINDS:
            raise _WrongError(f"-o {options.out}: it ends with one of {' '.join(_KINDS)}")
        if options.out and not os.access(Path(options.out).parent, os.W_OK):  # before they run
            raise _WrongError(f"-o {options.out}: nothing can be written into that folder")
    except _WrongError as wrong:
        print(f"ipcx draw: {wrong}\n{USAGE}", end="", file=sys.stderr)
        return 2
    whole = options.json or (options.out or "").endswith((".json", ".pcapng"))
    most = None if whole else EVENTS_READ
    record, failed = run(options.programs, options.timeout, most=most)
    for sentence in (*failed, *record.notes):
        print(f"ipcx draw: {sentence}", file=sys.stderr)
    if not record.events:
        print("ipcx draw: nothing was recorded: they used no sockets of Python's", file=sys.stderr)
        return 1
    if options.out:
        try:
            _write(record, options.out)
        except OSError as error:
            print(f"ipcx draw: -o {options.out}: {error.strerror}", file=sys.stderr)
            return 1
        print(f"ipcx draw: {options.out}", file=sys.stderr)
    if options.json:
        print(record.json())
    elif not options.out:
        print(record)
    if failed[:1] == ["interrupted"]:
        return 130
    return 1 if failed else 0


_KINDS = (".svg", ".html", ".txt", ".json", ".pcapng")
