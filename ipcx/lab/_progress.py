# SPDX-License-Identifier: Apache-2.0
"""What has been solved: a small file in the user's state folder, one entry a problem."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipcx.files import FileLock, atomic_write

__all__ = ["Progress", "note", "progress"]


def _path() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "ipcx" / "lab-progress.json"


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {id: entry for id, entry in known.items() if isinstance(entry, dict)}


def note(problem: str, seed: int, solved: bool) -> None:
    """Notes a check. Where nothing can be written, nothing is noted."""
    path = _path()
    with contextlib.suppress(OSError, RuntimeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            known = _read(path)
            entry = known.setdefault(problem, {})
            entry["checks"] = int(entry.get("checks", 0)) + 1
            if solved:
                entry.setdefault("solved", time.strftime("%Y-%m-%d %H:%M"))
                entry["seeds"] = sorted({*entry.get("seeds", []), seed})
            atomic_write(path, json.dumps(known, indent=1, sort_keys=True), durable=False)


class Progress:
    """A row for each problem: its notebook, its id, whether it is solved, and how many checks."""

    def __init__(self, rows: list[tuple[str, str, str, int]]) -> None:
        self.rows = rows

    @property
    def solved(self) -> list[str]:
        """The ids of the problems that are solved."""
        return [id for _, id, when, _ in self.rows if when]

    def __iter__(self) -> Iterator[tuple[str, str, str, int]]:
        return iter(self.rows)

    def __str__(self) -> str:
        lines = [f"{len(self.solved)} of {len(self.rows)} problems are solved"]
        for topic, id, when, checks in self.rows:
            state = f"solved {when}" if when else "not yet" if checks else ""
            lines.append(f"{'✓' if when else '·'} {topic}  {id:32} {state}".rstrip())
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        lines = [
            f"**{len(self.solved)} of {len(self.rows)}** problems are solved",
            "",
            "| | notebook | problem | checks | solved |",
            "|---|---|---|---|---|",
        ]
        for topic, id, when, checks in self.rows:
            lines.append(f"| {'✓' if when else ''} | {topic} | {id} | {checks or ''} | {when} |")
        return "\n".join(lines)


def progress() -> Progress:
    """What is solved, of all problems there are."""
    from ipcx.lab.exercises import every

    known = _read(_path())
    rows = []
    for each in every():
        entry = known.get(each.id, {})
        rows.append(
            (each.topic, each.id, str(entry.get("solved", "")), int(entry.get("checks", 0)))
        )
    return Progress(rows)
