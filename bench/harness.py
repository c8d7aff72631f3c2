"""The harness of every bench: rows, contestants that alternate, a near/far probe, honest ratios.

A bench is one file: it names its contestants (a floor in C, peers, ipcx) and its rows, and ends
with ``bench.main()``. A *trial* is one contestant doing one row for some 25 ms, in slices of 1 ms
of which a typical one counts: another process's turn on the CPU falls into few. A *pair* is one
trial of each contestant, in random order, one right after the other; what is reported is the
median of the ratios *within* pairs, because a machine's absolutes drift while neighbouring trials
drift together. The probe before each trial says whether the two CPUs are near or far just then.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import report
from contestant import Absent, Child, Failed, Fixture, compile_c, parse_cpus, serve
from model import Goal, Result, Row, Trial

SLICE_NS = 1_000_000
SLICES = 25
QUICK_SLICES = 6
PAIRS = 9
PAIRS_TWO_SIDED = 21  # how two sides wake each other scatters more
QUICK_PAIRS = 3
PAIRS_PER_LIFE = 3  # a contestant is started anew after so many: addresses and hashes vary


Contestant = Callable[["Bench", str], list[str]]  # the command that starts it


def floor(source: str, *libraries: str) -> Contestant:
    """A C program in bench/, compiled when the bench starts."""
    return lambda _bench, _name: compile_c(source, *libraries)


def python(load: Callable[[], object]) -> Contestant:
    """This bench's own fixtures in a Python process, run with what `load` returns there."""

    def command(bench: Bench, name: str) -> list[str]:
        bench.loaders[name] = load
        return [sys.executable, bench.file, "--serve", name]

    return command


class Bench:
    """Contestants and rows of one bench; `ours` is the contestant that goals are about."""

    def __init__(
        self, name: str, file: str, contestants: dict[str, Contestant], ours: str, floor: str
    ) -> None:
        self.name, self.file, self.ours, self.floor = name, file, ours, floor
        self.contestants = contestants
        self.loaders: dict[str, Callable[[], object]] = {}
        self.rows: list[Row] = []

    def row(
        self, name: str, what: str, goal: Goal | None = None, **more: Any
    ) -> Callable[[Fixture], Fixture]:
        """Registers the decorated fixture as a row."""

        def register(fixture: Fixture) -> Fixture:
            self.rows.append(Row(name, what, fixture, goal, **more))
            return fixture

        return register

    def main(self) -> None:
        """Runs the command line; as a child (`--serve NAME --cpus LIST`) serves one contestant."""
        if sys.argv[1:2] == ["--serve"]:
            _serve(self, sys.argv[2], sys.argv[4] if len(sys.argv) > 4 else "-")
        else:
            sys.exit(_run(self, _arguments(self)))


def _serve(bench: Bench, name: str, cpus: str) -> None:
    bench.contestants[name](bench, name)
    fixtures = {row.name: row.fixture for row in bench.rows}
    serve(fixtures, bench.loaders[name], parse_cpus(cpus))


def _arguments(bench: Bench) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"{bench.name}: {', '.join(bench.contestants)} alternate. bench/README.md"
    )
    add = parser.add_argument
    add("--only", metavar="ROW", action="append", help="this row (repeatable; a prefix ends in *)")
    add("--list", action="store_true", help="print the rows and what each does, and leave")
    add(
        "--pairs",
        type=int,
        help=f"pairs of trials a row ({PAIRS}, {PAIRS_TWO_SIDED} with two sides)",
    )
    add("--quick", action="store_true", help=f"short trials and {QUICK_PAIRS} pairs: a smoke test")
    add("--pin", action=argparse.BooleanOptionalAction, default=True, help="pin to two CPUs")
    add(
        "--awake",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the CPUs from halting in rows with two sides",
    )
    add("--seed", type=int, help="of the random order of trials (recorded in the JSON)")
    add("--json", metavar="FILE", help="write everything as JSON; - for standard output")
    add("--plot", metavar="FILE", help="draw the ratios into FILE.svg or FILE.png")
    options = parser.parse_args()
    if options.pairs is None and options.quick:
        options.pairs = QUICK_PAIRS
    if options.pairs is not None and options.pairs < 1:
        parser.error("--pairs must be at least 1")
    if options.seed is None:
        options.seed = random.randrange(1 << 32)
    options.slices = QUICK_SLICES if options.quick else SLICES
    options.rows = _chosen(bench.rows, options.only)
    if not options.rows:
        parser.error(f"no row is called {' or '.join(options.only)}; --list prints the names")
    return options


def _chosen(rows: list[Row], only: list[str] | None) -> list[Row]:
    def wanted(name: str) -> bool:
        return any(
            name == text or (text.endswith("*") and name.startswith(text[:-1]))
            for text in only or ()
        )

    return rows if only is None else [row for row in rows if wanted(row.name)]


def _run(bench: Bench, options: argparse.Namespace) -> int:
    if options.list:
        for row in options.rows:
            print(f"{row.name:24} {row.what}")
        return 0
    out = sys.stderr if options.json == "-" else sys.stdout
    machine = report.machine()
    report.header(out, bench.name, machine, options)
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    results: list[Result] = []
    lines = report.Lines(out, list(bench.contestants), bench.ours, bench.floor)
    session = Session(bench, options)
    try:
        for number, row in enumerate(options.rows, 1):
            session.progress.at(f"{number}/{len(options.rows)} {row.name}")
            results.append(session.measure(row))
            session.progress.clear()
            lines.row(results[-1])
    except KeyboardInterrupt:
        session.progress.clear()
        print("interrupted: the rows so far", file=out)
    finally:
        session.close()
    lines.summary(results)
    document = report.document(bench, machine, options, started, results)
    if options.json:
        report.write_json(options.json, document)
    if options.plot:
        report.plot(options.plot, document, out)
    return 1 if any(result.failed for result in results) else 0


class Session:
    """The children of one run, and the trials they are asked for."""

    def __init__(self, bench: Bench, options: argparse.Namespace) -> None:
        allowed = sorted(os.sched_getaffinity(0))
        self._two = allowed[:: max(1, len(allowed) - 1)][:2]  # the first and the last
        self._cpus = self._two if options.pin else []
        self._options = options
        self._random = random.Random(options.seed)
        self._commands: dict[str, list[str]] = {}
        self._missing: dict[str, str] = {}
        self._children: dict[str, Child] = {}
        self._probe: Child | None = None
        self.progress = report.Progress()
        for name, make in bench.contestants.items():
            try:
                self._commands[name] = make(bench, name)
            except Absent as why:
                self._missing[name] = str(why)
        if len(self._two) == 2:
            with suppress(Absent):
                self._probe = Child(compile_c("probe.c"), self._two)

    def close(self) -> None:
        """Ends every child."""
        self._end_contestants()
        if self._probe is not None:
            self._probe.close()

    def measure(self, row: Row) -> Result:
        """All pairs of one row. A contestant that is absent or fails leaves; the others go on."""
        if not (row.cpus == 2 and self._options.awake and self._two):
            return self._measure(row)
        with suppress(Absent):
            awake = Child(compile_c("awake.c"), self._two)
            try:
                return self._measure(row)
            finally:
                awake.close()
        return self._measure(row)

    def _measure(self, row: Row) -> Result:
        result = Result(row, absent=dict(self._missing))
        running = {name: 0 for name in self._commands}
        pair = kept = 0
        pairs = self._options.pairs or (PAIRS_TWO_SIDED if row.cpus == 2 else PAIRS)
        self.progress.pairs = pairs
        while kept < pairs and running:
            if pair % PAIRS_PER_LIFE == 0:
                self._end_contestants()
            trials = self._pair(row, pair, running, result)
            pair += 1
            mixed = len({trial.near for trial in trials.values()}) > 1
            last_chance = pair - kept > pairs  # it never settles: then so be it
            if row.cpus == 2 and mixed and not last_chance:
                result.void_pairs += 1
                continue
            kept += 1
            for name, trial in trials.items():
                result.trials.setdefault(name, []).append(trial)
        self._end_contestants()
        for name in (*result.absent, *result.failed):
            result.trials.pop(name, None)
        return result

    def _pair(
        self, row: Row, pair: int, running: dict[str, int], result: Result
    ) -> dict[str, Trial]:
        order = list(running)
        self._random.shuffle(order)
        trials = {}
        for place, name in enumerate(order):
            self.progress.show(pair, name)
            try:
                child = self._child(name)
                if running[name] == 0:
                    running[name] = _calibrate(child, row.name)
                probe_ns = self._near_or_far()
                ops = running[name]
                times = child.ask(row.name, ops, self._options.slices)
            except Absent as why:
                result.absent[name] = str(why)
                del running[name]
                continue
            except Failed as error:
                result.failed[name] = str(error)
                del running[name]
                self._children.pop(name).close()
                continue
            mean = sum(times) / len(times) / ops
            ns = _typical(row, times) / ops
            trials[name] = Trial(pair, place, ops, ns, mean, probe_ns)
        return trials

    def _child(self, name: str) -> Child:
        if name not in self._children:
            self._children[name] = Child(self._commands[name], self._cpus)
        return self._children[name]

    def _end_contestants(self) -> None:
        for child in self._children.values():
            child.close()
        self._children.clear()

    def _near_or_far(self) -> float | None:
        if self._probe is None:
            return None
        trips = 250
        return min(self._probe.ask("probe", trips, 20)) / trips


def _typical(row: Row, times: list[int]) -> float:
    """The slice that stands for a trial.

    Work on one CPU takes what it takes and disturbances only add: the lower quartile is the work.
    Where two sides wake each other, the waking is part of what is measured: the median.
    """
    at_most = 0.5 if row.cpus == 2 else 0.25
    return float(sorted(times)[int((len(times) - 1) * at_most)])


def _calibrate(child: Child, row: str) -> int:
    """Operations that fill a slice, by the least of three slices: one may be interrupted."""
    ops = 1
    while True:
        took = min(child.ask(row, ops, 3))
        if took >= SLICE_NS / 4 or ops >= 1 << 24:
            return max(1, round(ops * SLICE_NS / max(took, 1)))
        ops *= 8
