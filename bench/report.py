"""What a bench says: machine facts, the progress line, the table, the JSON document, the plot."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any, TextIO

from model import Goal, Result, Row, Subject

SCHEMA = "ipcx-bench-1"
SETTINGS = ("pairs", "slices", "quick", "pin", "awake", "seed")


def median(values: list[float] | list[int]) -> float:
    return float(statistics.median(values))


def spread(values: list[float]) -> tuple[float, float]:
    """The 10th and the 90th percentile, between the values where they fall between two."""
    if len(values) == 1:
        return values[0], values[0]
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return deciles[0], deciles[8]


def machine() -> dict[str, Any]:
    """The facts of this machine that a figure depends on."""
    cpuinfo = _text("/proc/cpuinfo")
    model = next((line for line in cpuinfo.splitlines() if line.startswith("model name")), ": ?")
    return {
        "kernel": platform.release(),
        "cpu": model.split(":", 1)[1].strip(),
        "cpus": os.cpu_count(),
        "cpus_allowed": sorted(os.sched_getaffinity(0)),
        "virtual": " hypervisor " in cpuinfo,
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libc": " ".join(platform.libc_ver()),
        "load": round(os.getloadavg()[0], 2),
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def header(out: TextIO, name: str, facts: dict[str, Any], options: argparse.Namespace) -> None:
    kind = "virtual machine" if facts["virtual"] else "bare metal"
    placing = ("pinned" if options.pin else "not pinned") + (", awake" if options.awake else "")
    print(f"bench {name} · {facts['python']} · Linux {facts['kernel']} · {facts['libc']}", file=out)
    print(
        f"{facts['cpu']}, {len(facts['cpus_allowed'])} of {facts['cpus']} CPUs, {kind}, "
        f"governor {facts['governor'] or 'unknown'}, load {facts['load']}",
        file=out,
    )
    pairs = f"{options.pairs} pairs" if options.pairs else "9 pairs (21 with two sides)"
    print(f"{pairs} a row, random order, {placing}, seed {options.seed}\n", file=out)


class Progress:
    """One line on a terminal that says what runs; silent anywhere else."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._where = ""
        self.pairs = 0

    def at(self, where: str) -> None:
        self._where = where

    def show(self, pair: int, name: str) -> None:
        if self._on:
            text = f"\r\x1b[K{self._where} · pair {pair + 1}/{self.pairs} · {name}"
            print(text, end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._on:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def in_unit(row: Row, ns: float) -> float:
    """Nanoseconds an operation, in the row's unit."""
    if row.unit == "GB/s":
        return row.size / ns
    return {"ns": ns, "µs": ns / 1e3, "ms": ns / 1e6, "k/s": 1e6 / ns, "M/s": 1e3 / ns}[row.unit]


def ratios(result: Result, peer: str, ours: str) -> list[float]:
    """`peer`/`ours` of each pair that both took part in."""
    mine = {trial.pair: trial.ns for trial in result.trials.get(ours, [])}
    theirs = result.trials.get(peer, [])
    return [trial.ns / mine[trial.pair] for trial in theirs if trial.pair in mine]


def over_floor(result: Result, floor: str, ours: str) -> float | None:
    """Nanoseconds ours takes on top of the floor: the median of the pairs' differences."""
    low = {trial.pair: trial.ns for trial in result.trials.get(floor, [])}
    mine = result.trials.get(ours, [])
    differences = [trial.ns - low[trial.pair] for trial in mine if trial.pair in low]
    return median(differences) if differences else None


def interval(values: list[float]) -> tuple[float, float]:
    """Where the true median lies with 95 % confidence, by order statistics (no shape assumed)."""
    ordered, n = sorted(values), len(values)
    outside, tail = 0, 0.5**n
    while tail + math.comb(n, outside + 1) * 0.5**n <= 0.025 and 2 * outside + 3 < n:
        outside += 1
        tail += math.comb(n, outside) * 0.5**n
    return ordered[outside], ordered[-1 - outside]


def sure(result: Result, ours: str) -> bool:
    """Whether the verdict is more than noise: all of the median's interval is on one side."""
    goal = result.row.goal
    pairs = ratios(result, goal.peer, ours) if goal else []
    if not goal or not pairs:
        return False
    low, high = interval(pairs)
    needed = goal.ratio * (1 - goal.slack)
    return low >= needed or high < needed


def reached(result: Result, ours: str) -> bool | None:
    """Whether the median ratio holds the row's goal; None where there is none to hold."""
    goal = result.row.goal
    pairs = ratios(result, goal.peer, ours) if goal else []
    return median(pairs) >= goal.ratio * (1 - goal.slack) if goal and pairs else None


def attainable(result: Result) -> list[float]:
    """What nobody can exceed, of each pair: the goal's peer / what nobody can do without."""
    goal = result.row.goal
    return ratios(result, goal.peer, goal.attainable) if goal and goal.attainable else []


def beyond(result: Result) -> bool:
    """Whether the row's goal asks for more than anybody can reach."""
    goal, most = result.row.goal, attainable(result)
    return goal is not None and bool(most) and median(most) < goal.ratio * (1 - goal.slack)


def _of_attainable(result: Result, ours: str) -> list[float]:
    """What we reach of what is attainable, in each pair: they have the peer in common."""
    goal = result.row.goal
    return ratios(result, goal.attainable, ours) if goal and goal.attainable else []


def _attainable_text(result: Result, ours: str) -> str:
    goal, most, part = result.row.goal, attainable(result), _of_attainable(result, ours)
    if not (goal and most and part):
        return ""
    (low, high), (least, largest) = spread(most), spread(part)
    return (
        f"attainable {goal.peer}/{goal.attainable} {median(most):.3f} [{low:.2f}–{high:.2f}], "
        f"reached/attainable {median(part):.3f} [{least:.2f}–{largest:.2f}]"
    )


def _goal_text(goal: Goal | None) -> str:
    if goal is None:
        return "-"
    return f"{goal.ratio:.2f}" + (f"-{goal.slack:.0%}" if goal.slack else "")


class Lines:
    """The table, row by row as the results come in, and what it comes to."""

    def __init__(self, out: TextIO, contestants: list[str], ours: str, floor: str) -> None:
        self._out, self._contestants, self._ours, self._floor = out, contestants, ours, floor
        self._peers = [name for name in contestants if name not in (ours, floor)]
        cells = [f"{'row':<24}", f"{'unit':<5}", *(f"{name:>9}" for name in contestants)]
        cells += [f"{f'{peer}/{ours}':>12} {'[p10–p90]':<13}" for peer in self._peers]
        cells += [f"{f'over {floor}':>9}", f"{'goal':>8}", "verdict"]
        print(" ".join(cells), file=out)

    def row(self, result: Result) -> None:
        row = result.row
        cells = [f"{row.name:<24}", f"{row.unit:<5}"]
        for name in self._contestants:
            trials = result.trials.get(name)
            value = in_unit(row, median([trial.ns for trial in trials])) if trials else None
            cells.append(f"{value:9.3f}" if value is not None else f"{'–':>9}")
        for peer in self._peers:
            pairs = ratios(result, peer, self._ours)
            low, high = spread(pairs) if pairs else (0.0, 0.0)
            text = f"{median(pairs):12.3f} [{low:.2f}–{high:.2f}]" if pairs else f"{'–':>12}"
            cells.append(f"{text:<26}")
        over = over_floor(result, self._floor, self._ours)
        cells.append(f"{over:6.0f} ns" if over is not None else f"{'–':>9}")
        cells.append(f"{_goal_text(row.goal):>8}")
        verdict = reached(result, self._ours)
        noise = "" if verdict is None or sure(result, self._ours) else " (unsure)"
        failed = "NOT ATTAINABLE" if beyond(result) else "NOT REACHED"
        cells.append({True: "reached", False: failed, None: "–"}[verdict] + noise)
        print(" ".join(cells), file=self._out, flush=True)
        if most := _attainable_text(result, self._ours):
            print(f"{'':<24} {most}", file=self._out, flush=True)
        for name, why in result.absent.items():
            print(f"{'':<24} {name}: {why}", file=self._out)
        for name, why in result.failed.items():
            print(f"{'':<24} {name} FAILED: {why}", file=self._out)

    def summary(self, results: list[Result]) -> None:
        verdicts = [reached(result, self._ours) for result in results]
        too_far = sum(beyond(result) and not reached(result, self._ours) for result in results)
        print(
            f"\ngoals: {verdicts.count(True)} reached, {verdicts.count(False)} not"
            + (f" ({too_far} of them not attainable)" if too_far else "")
            + f", {verdicts.count(None)} without",
            file=self._out,
        )
        trials = [t for result in results for own in result.trials.values() for t in own]
        probes = [trial.probe_ns for trial in trials if trial.probe_ns is not None]
        if probes:
            near = sum(1 for trial in trials if trial.near)
            void = sum(result.void_pairs for result in results)
            print(
                f"cache line there and back: near before {near} trials, far before "
                f"{len(probes) - near} (median {median(probes) / 1e3:.2f} µs); "
                f"{void} mixed pairs run again",
                file=self._out,
            )


def _spread_of(values: list[float]) -> dict[str, Any]:
    low, high = spread(values)
    return {"median": median(values), "p10": low, "p90": high}


def _goal_document(result: Result, ours: str) -> dict[str, Any]:
    verdict = {"reached": reached(result, ours), "sure": sure(result, ours)}
    goal = {**vars(result.row.goal), **verdict}
    if most := attainable(result):
        goal["attainable_ratio"] = _spread_of(most)
        goal["reached_of_attainable"] = _spread_of(_of_attainable(result, ours))
    return goal


def _row_document(result: Result, bench: Subject) -> dict[str, Any]:
    row, goal = result.row, result.row.goal
    contestants = {}
    for name, trials in result.trials.items():
        contestants[name] = {
            **_spread_of([in_unit(row, trial.ns) for trial in trials]),
            "trials": [vars(trial) for trial in trials],
        }
    peers = {}
    for name in result.trials:
        pairs = ratios(result, name, bench.ours)
        if name != bench.ours and pairs:
            low, high = interval(pairs)
            peers[name] = {**_spread_of(pairs), "low": low, "high": high, "pairs": pairs}
    return {
        "name": row.name,
        "what": row.what,
        "unit": row.unit,
        "contestants": contestants,
        "ratios": peers,
        "over_floor_ns": over_floor(result, bench.floor, bench.ours),
        "goal": _goal_document(result, bench.ours) if goal else None,
        "absent": result.absent,
        "failed": result.failed,
        "void_pairs": result.void_pairs,
    }


def document(
    bench: Subject,
    facts: dict[str, Any],
    options: argparse.Namespace,
    started: str,
    results: list[Result],
) -> dict[str, Any]:
    """Everything that was measured, as plain data. Trials are in nanoseconds an operation."""
    settings = {key: getattr(options, key) for key in SETTINGS}
    return {
        "schema": SCHEMA,
        "bench": bench.name,
        "ours": bench.ours,
        "floor": bench.floor,
        "started": started,
        "machine": facts,
        "settings": settings,
        "rows": [_row_document(result, bench) for result in results],
    }


def write_json(where: str, data: dict[str, Any]) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    if where == "-":
        sys.stdout.write(text)
    else:
        Path(where).write_text(text)


def plot(where: str, data: dict[str, Any], out: TextIO) -> None:
    """Ratios by row with their spread: right of 1 ours is faster than that contestant."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("no plot: matplotlib is not installed here; `make bench` installs it", file=out)
        return
    rows = [row for row in data["rows"] if row["ratios"]][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.28 * len(rows)), layout="constrained")
    for name in dict.fromkeys(name for row in rows for name in row["ratios"]):
        places = [(y, row["ratios"][name]) for y, row in enumerate(rows) if name in row["ratios"]]
        middle = [entry["median"] for _, entry in places]
        below = [entry["median"] - entry["p10"] for _, entry in places]
        above = [entry["p90"] - entry["median"] for _, entry in places]
        axes.errorbar(
            middle, [y for y, _ in places], xerr=[below, above], fmt="o", capsize=3, label=name
        )
    goals = [(row["goal"]["ratio"], y) for y, row in enumerate(rows) if row["goal"]]
    if goals:
        axes.plot(*zip(*goals, strict=True), "|", color="black", markersize=12, label="goal")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_xlabel(f"time of the other / time of {data['ours']} (p10, median, p90 of the pairs)")
    facts = data["machine"]
    axes.set_title(f"{data['bench']} · {facts['python']} · Linux {facts['kernel']}", fontsize=10)
    axes.legend(loc="lower right")
    figure.savefig(where)
    pyplot.close(figure)
    print(f"plot: {where}", file=out)
