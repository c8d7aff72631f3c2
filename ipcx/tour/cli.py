# SPDX-License-Identifier: Apache-2.0
"""The command: which stations, how they are told, and the exit status."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TextIO

from ipcx.tour import engine, languages
from ipcx.tour.model import IPCX, Pairing, Result, Run, Station
from ipcx.tour.show import Screen, described, reported
from ipcx.tour.stations import STATIONS

EPILOG = """\
exit status: 0 every station holds (or was skipped, and why is said) · 1 one does not
             2 a wrong command line · 130 ended by Ctrl-C
"""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ipcx tour",
        description="Runs the example programs as real processes on free ports, shows who said "
        "what, and checks it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these stations; NAME may have * and ? in it"
    )
    parser.add_argument("--list", action="store_true", help="say which stations there are, and end")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--step",
        action="store_true",
        help="wait for Enter after each socket call (q: no more), every process on ipcx",
    )
    how.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def _chosen(stations: Sequence[Station], globs: Sequence[str] | None) -> list[Station]:
    if globs is None:
        return list(stations)
    for glob in globs:
        if not any(fnmatchcase(station.name, glob) for station in stations):
            names = ", ".join(station.name for station in stations)
            raise LookupError(f"there is no station {glob!r}; there are: {names}")
    return [s for s in stations if any(fnmatchcase(s.name, glob) for glob in globs)]


def _list(stations: Sequence[Station], screen: Screen) -> None:
    width = max((len(station.name) for station in stations), default=0)
    for station in stations:
        lacks = station.missing() or "; ".join(
            filter(None, map(languages.lacks, station.runs_on()))
        )
        whole = station.missing() is not None
        note = f"  ({'skipped here: ' if whole else ''}{lacks})" if lacks else ""
        screen.line(f"{screen.style(f'{station.name:<{width}}', 'bold')}  {station.title}{note}")


def _lacking(station: Station) -> list[str]:
    """For each language of the station's that this machine has not got, the sentence."""
    return [why for on in station.runs_on() if (why := languages.lacks(on)) is not None]


class _Stepper:
    """--step: shows what happened until a call, shows the call, waits for Enter."""

    def __init__(self, screen: Screen, keyboard: TextIO) -> None:
        self.screen = screen
        self.keyboard = keyboard
        self.goes_on = True
        self.told = 0

    def begin(self) -> None:
        self.told = 0

    def tell(self, station: Station, run: Run) -> None:
        for spoken in run.spoken[self.told :]:
            self.screen.spoken(station, spoken)
        self.told = len(run.spoken)

    def pause(self, station: Station, run: Run, who: str, call: str) -> None:
        self.tell(station, run)
        self.screen.call(station, who, call)
        if not self.goes_on:
            self.screen.line()
            return
        answer = self.keyboard.readline()
        if not (answer and self.screen.terminal and self.keyboard.isatty()):
            self.screen.line()  # nobody's Enter has ended the line
        self.goes_on = bool(answer) and answer.strip().lower() != "q"


class _Tour:
    """The stations, one after the other."""

    def __init__(
        self,
        examples: Path,
        signals: engine.Signals,
        screen: Screen | None,
        stepper: _Stepper | None,
    ) -> None:
        self.examples = examples
        self.signals = signals
        self.screen = screen
        self.stepper = stepper
        self.done = 0

    def visit(self, stations: Sequence[Station]) -> list[Result]:
        env = engine.environment()
        total = sum(len(act) for station in stations for act in self.acts(station))
        return [self._station(station, env, total) for station in stations]

    def acts(self, station: Station) -> list[list[Pairing]]:
        """All of them; call by call, the one pairing in which most processes can be watched."""
        if self.stepper is None:
            return station.acts()
        every = station.pairings()
        return [[max(every, key=lambda pairing: list(pairing.values()).count(IPCX))]]

    def _station(self, station: Station, env: dict[str, str], total: int) -> Result:
        result = Result(station, skipped=station.missing())
        lacking = {on: why for on in station.runs_on() if (why := languages.lacks(on))}
        screen = self.screen
        if screen is not None:
            screen.heading(station)
        for act in self.acts(station):
            pairings = [p for p in act if lacking.keys().isdisjoint(p.values())]
            if result.skipped is None and pairings:
                self._progress(station, pairings[0], total)
                result.runs += self._act(station, pairings, env, total)
            self.done += len(act) - len(pairings) if result.skipped is None else len(act)
        if result.skipped is None:
            result.left_out = list(lacking.values())
            if not result.runs:
                result.skipped = "; ".join(result.left_out)
        if screen is not None:
            screen.outcome(result)
        return result

    def _progress(self, station: Station, pairing: Pairing, total: int) -> None:
        if self.screen is not None and self.stepper is None:
            sides = self.screen.pairing(station, pairing)
            self.screen.progress(self.done, total, f"{station.name}: {sides}")

    def _act(
        self, station: Station, pairings: list[Pairing], env: dict[str, str], total: int
    ) -> list[Run]:
        screen, stepper = self.screen, self.stepper
        following = iter(pairings[1:])

        def pause(run: Run, who: str, call: str) -> None:
            assert stepper is not None
            stepper.pause(station, run, who, call)

        def ended(run: Run) -> None:
            self.done += 1
            if screen is None:
                return
            if stepper is not None:
                stepper.tell(station, run)
                screen.verdict(station, run)
                screen.why(run)
            elif not station.is_grid():
                screen.run(station, run)
            if (next_one := next(following, None)) is not None:
                self._progress(station, next_one, total)

        if stepper is not None:
            stepper.begin()
        return engine.perform(
            station,
            pairings,
            env=env,
            examples=self.examples,
            signals=self.signals,
            pause=pause if stepper is not None else None,
            ended=ended,
        )


def main(
    argv: Sequence[str] | None = None,
    stations: Sequence[Station] | None = None,
    examples: Path | None = None,
) -> int:
    """The command ``ipcx tour``. Returns its exit status; never leaves a process behind."""
    if stations is None:
        stations = STATIONS
    options = _arguments().parse_args(argv)
    examples = examples or engine.find_examples()
    screen = Screen(sys.stdout, examples)
    try:
        chosen = _chosen(stations, options.only)
    except LookupError as error:
        print(f"ipcx tour: {error.args[0]}", file=sys.stderr)
        return 2
    if options.list:
        if options.json:
            print(json.dumps([described(station, examples) for station in chosen], indent=2))
        else:
            _list(chosen, screen)
        return 0
    began = time.monotonic()
    stepper = _Stepper(screen, sys.stdin) if options.step else None
    if not options.json:
        screen.opening(stepping=options.step)
    try:
        with engine.Signals() as signals:
            told = None if options.json else screen
            results = _Tour(examples, signals, told, stepper).visit(chosen)
            signals.check()
    except KeyboardInterrupt:
        screen.clear()
        after = "\n" if screen.terminal else ""  # what the terminal shows as ^C
        print(f"{after}ipcx tour: ended by Ctrl-C; nothing was left running", file=sys.stderr)
        return 130
    seconds = time.monotonic() - began
    if options.json:
        print(json.dumps(reported(results, seconds, examples), indent=2))
    else:
        screen.summary(results, seconds)
    return 1 if any(result.status == "failed" for result in results) else 0
