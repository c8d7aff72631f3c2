"""Contestants: each runs in a child process of its own and answers one line with one line.

The parent writes ``ROW OPS SLICES``; the child builds what the row needs, warms it up, runs OPS
operations SLICES times, and answers the nanoseconds of each slice (or ``absent WHY``, or ``error
WHAT``). A C floor, a Python module and a foreign peer all speak this, so nothing they do (a thread,
a specialised call site, a default time-out) reaches another contestant's measurement.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter_ns

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"

# A row, run by a Python contestant: builds its fixture, yields `run(n)`, takes the fixture down.
Fixture = Callable[..., Iterator[Callable[[int], object]]]


class Absent(Exception):
    """This contestant cannot run this row; the text says why. Not a failure."""


class Failed(Exception):
    """A contestant broke down; the text is what it said."""


def compile_c(source: str, *libraries: str) -> list[str]:
    """The command that runs bench/SOURCE: compiled into build/bench unless that is newer."""
    path = HERE / source
    binary = BUILD / path.stem
    newest = max(file.stat().st_mtime for file in (path, HERE / "floor.h"))
    if not binary.exists() or binary.stat().st_mtime <= newest:
        compiler = os.environ.get("CC", "cc")
        BUILD.mkdir(parents=True, exist_ok=True)
        fresh = binary.with_suffix(f".{os.getpid()}")
        flags = [
            "-std=c11",
            "-D_GNU_SOURCE",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Wconversion",
            "-Wshadow",
            "-pthread",
        ]
        command = [compiler, *flags, "-o", str(fresh), str(path), *libraries]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            raise Absent(f"no C compiler: {compiler} is not installed") from None
        if done.returncode != 0:
            raise Failed(f"{source} does not compile:\n{done.stderr}")
        fresh.replace(binary)
    return [str(binary)]


class Child:
    """One living contestant: `ask` runs one row in it."""

    def __init__(self, command: list[str], cpus: list[int]) -> None:
        placed = [*command, "--cpus", ",".join(map(str, cpus)) or "-"]
        self._process = subprocess.Popen(
            placed,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            process_group=0,  # Ctrl-C is for the bench: it ends its children itself
        )
        assert self._process.stdin
        assert self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout

    def ask(self, row: str, ops: int, slices: int) -> list[int]:
        """The nanoseconds of each slice of `ops` operations."""
        try:
            self._to.write(f"{row} {ops} {slices}\n")
            answer = self._from.readline().strip()
        except BrokenPipeError:
            answer = ""
        verdict, _, why = answer.partition(" ")
        if verdict == "absent":
            raise Absent(why)
        if verdict == "error":
            raise Failed(why)
        if not answer:
            raise Failed(f"ended with status {self._process.wait()}")
        return [int(field) for field in answer.split()]

    def close(self) -> None:
        """Ends the child: it leaves at the end of its input."""
        with suppress(BrokenPipeError):
            self._to.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()


def parse_cpus(text: str) -> list[int]:
    return [] if text == "-" else [int(cpu) for cpu in text.split(",")]


def pin(cpus: list[int], which: int) -> None:
    """Puts the calling thread on the `which`-th CPU of the list; an empty list leaves it free."""
    if cpus:
        os.sched_setaffinity(0, {cpus[which % len(cpus)]})


@contextmanager
def counterpart(work: Callable[[], object], cpus: list[int]) -> Iterator[int]:
    """A forked child on the second CPU that runs `work` until that returns; then it is reaped."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            pin(cpus, 1)
            work()
            status = 0
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        os.waitpid(pid, 0)


def _measure(fixture: Fixture, subject: object, cpus: list[int], ops: int, slices: int) -> str:
    steps = fixture(subject, cpus)
    run = next(steps)
    run(ops)
    clock, times = perf_counter_ns, []
    gc.collect()
    gc.disable()
    try:
        for _ in range(slices):
            before = clock()
            run(ops)
            times.append(clock() - before)
    finally:
        gc.enable()
        for _ in steps:
            raise Failed("a row yields once")
    return " ".join(map(str, times))


def serve(fixtures: dict[str, Fixture], load: Callable[[], object], cpus: list[int]) -> None:
    """The child's side, for Python contestants: answers until its input ends."""
    pin(cpus, 0)
    for line in sys.stdin:
        row, ops, slices = line.split()
        try:
            answer = _measure(fixtures[row], load(), cpus, int(ops), int(slices))
        except Absent as why:
            answer = f"absent {why}"
        except Exception as error:
            answer = f"error {type(error).__name__}: {error}"
        print(answer.replace("\n", " "), flush=True)
