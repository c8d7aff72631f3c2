# SPDX-License-Identifier: Apache-2.0
"""The laboratory: processes in a notebook, records of what passed between them, and pictures.

Everything here is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipcx.lab._link import Link, link
    from ipcx.lab._progress import progress
    from ipcx.lab.exercises import problem, problems
    from ipcx.lab.model import Event, Message, Record
    from ipcx.lab.spacetime import SpaceTime, space_time

__all__ = [
    "Event",
    "Link",
    "Message",
    "Record",
    "SpaceTime",
    "link",
    "problem",
    "problems",
    "progress",
    "space_time",
]

# Where each public name lives: one line a name.
_HOMES = {
    "Event": "model",
    "Link": "_link",
    "Message": "model",
    "Record": "model",
    "link": "_link",
    "problem": "exercises",
    "problems": "exercises",
    "progress": "_progress",
    "SpaceTime": "spacetime",
    "space_time": "spacetime",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found  # also where a module of the same name has just taken its place
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
