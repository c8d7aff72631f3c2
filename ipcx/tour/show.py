# SPDX-License-Identifier: Apache-2.0
"""Tells the tour: for people, in colour where there is a terminal for it, and as JSON for programs.

Invariant: whatever the encoding of the output, nothing here raises UnicodeEncodeError.
"""

import os
import platform
import re
import shlex
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any, TextIO

from ipcx._terminal import Terminal
from ipcx.tour import languages
from ipcx.tour.model import IPCX, STDLIB, Actor, Pairing, Result, Run, Spoken, Station

PYTHON = "Python"

FANCY = {
    "ok": "✓",
    "bad": "✗",
    "skip": "–",
    "bar": "│",
    "typed": "◂",
    "rule": "─",
    "next": "▸",
    "dots": "…",
}
PLAIN = {
    "ok": "ok",
    "bad": "FAILED",
    "skip": "-",
    "bar": "|",
    "typed": "<",
    "rule": "-",
    "next": ">",
    "dots": "...",
}

VOICES = ("36", "35", "34", "33")  # a colour for each actor, in their order


def pasted(path: Path | str) -> str:
    """A path as any terminal understands it, whatever folder and virtual environment it is in."""
    text = shlex.quote(str(path))
    home = os.environ.get("HOME", "").rstrip("/")
    return f"~{text.removeprefix(home)}" if home and text.startswith(f"{home}/") else text


def python_name() -> str:
    """The shortest name by which every terminal of the reader's starts this very interpreter."""
    for name in ("python", "python3"):
        found = shutil.which(name)
        # A virtual environment may be the active one in this terminal only.
        outside = sys.prefix == sys.base_prefix
        if found and outside and Path(found).parent == Path(sys.executable).parent:
            return name
    return pasted(sys.executable)


def own_command() -> str:
    """How the reader has called us, for the next call from the same terminal."""
    if Path(sys.argv[0]).name == "ipcx":
        return shlex.quote(sys.argv[0]) if shutil.which("ipcx") != sys.argv[0] else "ipcx"
    return f"{shlex.quote(sys.orig_argv[0])} -m ipcx"


def by_hand(station: Station, examples: Path) -> list[str]:
    """A command line for each process, one terminal each, in the order to start them; one language
    after the other."""
    return [line for _, lines in ways(station, examples) for line in lines]


def ways(station: Station, examples: Path) -> list[tuple[str, list[str]]]:
    """For each language that all its actors know: its name, and a command line for each process,
    one terminal each, in the order to start them."""
    known = [{PYTHON if on in (STDLIB, IPCX) else on for on in a.on} for a in station.actors]
    every = dict.fromkeys(PYTHON if on in (STDLIB, IPCX) else on for on in station.runs_on())
    common = [language for language in every if all(language in names for names in known)]
    if not common:  # each its own
        return [("", [_line(a, a.on[0], examples) for a in station.actors])]
    return [(languages.title(x), [_line(a, x, examples) for a in station.actors]) for x in common]


def _line(actor: Actor, on: str, examples: Path) -> str:
    path = pasted(examples / actor.source(on))
    arguments = map(shlex.quote, actor.args)
    if on in languages.LANGUAGES:
        return " ".join([languages.by_hand(actor.source(on), path), *arguments])
    needs_ipcx = STDLIB not in actor.on and not actor.imports_ipcx
    return " ".join([python_name(), *(("-m", "ipcx.run") if needs_ipcx else ()), path, *arguments])


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


class Screen(Terminal):
    """Where people read the tour."""

    def __init__(self, out: TextIO, examples: Path) -> None:
        super().__init__(out)
        self.examples = examples
        self.signs = FANCY if self.fancy else PLAIN

    def wrapped(self, text: str, *styles: str, indent: str = "  ") -> None:
        for row in textwrap.wrap(text, self.width - len(indent)):
            self.line(indent + self.style(row, *styles))

    def labelled(self, label: str, text: str) -> None:
        self.line(f"  {self.style(f'{label:<8}', 'dim')} {text}")

    def progress(self, done: int, total: int, text: str) -> None:
        filled = 20 * done // max(total, 1)
        full, empty = "█░" if self.can("█░") else "#."
        self.paint([f"  {full * filled}{empty * (20 - filled)} {text}"])

    # The parts of the tour, in the order in which they appear.

    def opening(self, *, stepping: bool) -> None:
        title = self.style("The tour of ipcx", "bold")
        system = f"CPython {platform.python_version()}, {platform.system()} {platform.release()}"
        self.line(f"{title}: real processes, on free ports")
        self.line(self.style(system, "dim"))
        if stepping:
            self.line(
                f"At each {self.signs['next']}: Enter goes on, q goes on without more waiting."
            )

    def heading(self, station: Station) -> None:
        name = f" {station.name} "
        rule = self.signs["rule"]
        tail = rule * max(2, self.width - len(name) - 2)
        self.line()
        self.line(self.style(rule * 2, "dim") + self.style(name, "bold") + self.style(tail, "dim"))
        self.line("  " + self.style(station.title, "bold"))
        self.wrapped(station.teaches)
        self.line()

    def run(self, station: Station, run: Run) -> None:
        self.verdict(station, run)
        for spoken in run.spoken:
            self.spoken(station, spoken)
        self.why(run)

    def verdict(self, station: Station, run: Run) -> None:
        sign = self.mark("ok" if run.held else "bad")
        became = "".join(f", port {old} as {new}" for old, new in run.ports.items())
        took = self.style(f"{run.seconds:.2f} s{became}", "dim")
        self.line(f"  {sign} {self.pairing(station, run.pairing)}  {took}")

    def why(self, run: Run) -> None:
        if run.why is not None:
            self.wrapped(run.why, "red", indent="      ")

    def pairing(self, station: Station, pairing: Pairing) -> str:
        known = {actor.name: languages.title(pairing[actor.name]) for actor in station.actors}
        words = (
            f"{name} {'on' if pairing[name] in (STDLIB, IPCX) else 'in'} {title:<6}"
            for name, title in known.items()
        )
        return "   ".join(words).rstrip()

    def spoken(self, station: Station, spoken: Spoken) -> None:
        sign = self.signs["typed" if spoken.typed else "bar"]
        text = visible(spoken.text) if spoken.text or not spoken.typed else "(Enter)"
        self.line(f"      {self.voice(station, spoken.who)} {sign} {text}")

    def voice(self, station: Station, who: str) -> str:
        names = [actor.name for actor in station.actors]
        return self.style(f"{who:>{max(map(len, names))}}", VOICES[names.index(who) % len(VOICES)])

    def mark(self, what: str) -> str:
        colour = {"ok": "green", "bad": "red", "skip": "yellow"}[what]
        return self.style(self.signs[what], colour, "bold")

    def skipped(self, why: str) -> None:
        self.line(f"  {self.mark('skip')} skipped: {why}")

    def outcome(self, result: Result) -> None:
        """After its runs: the table if there is one, what was left out, how to run it by hand."""
        if result.skipped is not None:
            self.skipped(result.skipped)
        elif result.station.is_grid() and len(result.runs) > 1:
            self.grid(result)
        for why in result.left_out if result.skipped is None else ():
            self.line(f"  {self.mark('skip')} {why}")
        self.closing(result.station)

    def grid(self, result: Result) -> None:
        """A sign for each pairing, then those that failed, or else one transcript."""
        station = result.station
        down = next(actor for actor in station.actors if actor.lasts)
        across = next(a for a in station.actors if a is not down and len(a.on) > 1)
        signs = {
            (run.pairing[down.name], run.pairing[across.name]): "ok" if run.held else "bad"
            for run in result.runs
        }
        self.line("  " + " " * 17 + self.style(f"{across.name}", "dim"))
        titles = "".join(f"{languages.title(on):^9}" for on in across.on)
        self.line(f"  {self.style(f'{down.name:<14}', 'dim')}{titles}".rstrip())
        for on in down.on:
            row = "".join(self.cell(signs.get((on, other), "skip")) for other in across.on)
            self.line(f"  {languages.title(on):<14}{row}".rstrip())
        seconds = sum(run.seconds for run in result.runs)
        count = _plural(len(result.runs), "pairing")
        failed = [run for run in result.runs if not run.held]
        what = "what failed" if failed else "one of them"
        self.line(self.style(f"  {count} in {seconds:.1f} s; {what}:", "dim"))
        self.line()
        mixed = [run for run in result.runs if len(set(run.pairing.values())) > 1]
        for run in failed or mixed[-1:]:
            self.run(station, run)

    def cell(self, what: str) -> str:
        left = (9 - len(self.signs[what])) // 2
        return " " * left + self.mark(what) + " " * (9 - left - len(self.signs[what]))

    def closing(self, station: Station) -> None:
        """Where the source lies, and how to run it by hand."""
        places = [pasted(self.examples / folder) for folder in station.folders()]
        self.line()
        self.labelled("source", "  ".join(places))
        label = "by hand"
        known = ways(station, self.examples)
        for language, lines in known:
            for number, text in enumerate(lines, 1):
                which = f"{language:<6} " if len(known) > 1 else ""
                self.labelled(label, f"{self.style(f'{which}terminal {number}', 'dim')}  {text}")
                label = ""
        if any(IPCX in actor.on and STDLIB in actor.on for actor in station.actors):
            self.labelled("", self.style("on ipcx     put -m ipcx.run before the program", "dim"))

    def summary(self, results: list[Result], seconds: float) -> None:
        held, failed, skipped = (
            [r for r in results if r.status == status] for status in ("held", "failed", "skipped")
        )
        runs = sum(len(r.runs) for r in results)
        self.line()
        self.line(self.style(self.signs["rule"] * self.width, "dim"))
        for result in failed:
            self.line(f"  {self.mark('bad')} {result.station.name}: {_first_reason(result)}")
        for result in skipped:
            self.line(f"  {self.mark('skip')} {result.station.name}: skipped, {result.skipped}")
        count = f"{len(held)} of {_plural(len(results), 'station')}"
        verb = "holds" if len(results) == 1 else "hold"
        sign = self.mark("bad" if failed else "ok" if held else "skip")
        self.line(f"  {sign} {count} {verb}; {_plural(runs, 'transcript')} in {seconds:.1f} s")
        again = own_command()
        if failed:
            self.line(f"  Look closer:  {again} tour --only {failed[0].station.name} --step")
        else:
            self.line(f"  Call by call:        {again} tour --step")
            self.line(f"  A copy to change:    {again} examples my_examples")

    # --step.

    def call(self, station: Station, who: str, call: str) -> None:
        arrow = self.style(self.signs["next"], "dim")
        self.write(f"      {self.voice(station, who)} {arrow} {self.style(call, 'bold')} ")


def visible(text: str) -> str:
    """A line with its NUL characters, which terminals swallow, as a reader can see them."""
    return re.sub("\0+", lambda nul: f"[{len(nul[0])} × NUL]", text)


def _first_reason(result: Result) -> str:
    return next((run.why for run in result.runs if run.why is not None), "")


# ---------------------------------------------------------------- for programs


def described(station: Station, examples: Path) -> dict[str, Any]:
    """What there is to know of a station before it runs, as JSON can say it."""
    return {
        "name": station.name,
        "title": station.title,
        "teaches": station.teaches,
        "source": [str(examples / folder) for folder in station.folders()],
        "by_hand": by_hand(station, examples),
        "pairings": [dict(pairing) for pairing in station.pairings()],
    }


def reported(results: list[Result], seconds: float, examples: Path) -> dict[str, Any]:
    """What --json prints: counts, then each station as `described`, with its state and its runs.

    A run has the pairing, whether it held and else why, seconds, the free port that each number of
    the programs became, exit statuses (negative: a signal; null: never started, or serving on), and
    the transcript in the order in which it was said or typed.
    """
    counts = {
        status: sum(result.status == status for result in results)
        for status in ("held", "failed", "skipped")
    }
    return {
        "all_held": counts["failed"] == 0,
        **counts,
        "seconds": round(seconds, 3),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "stations": [
            described(result.station, examples)
            | {"status": result.status, "skipped": result.skipped, "left_out": result.left_out}
            | {"runs": [_reported_run(run) for run in result.runs]}
            for result in results
        ],
    }


def _reported_run(run: Run) -> dict[str, Any]:
    return {
        "pairing": dict(run.pairing),
        "held": run.held,
        "why": run.why,
        "seconds": round(run.seconds, 3),
        "ports": {str(port): new for port, new in run.ports.items()},
        "exits": run.exits,
        "transcript": [
            {
                "who": spoken.who,
                "text": spoken.text,
                "at": round(spoken.at, 4),
                "typed": spoken.typed,
            }
            for spoken in run.spoken
        ],
    }
