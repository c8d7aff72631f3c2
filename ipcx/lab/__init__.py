# SPDX-License-Identifier: Apache-2.0
"""For notebooks: processes in cells, and what they said to each other.

``%load_ext ipcx.lab`` brings the cell magic ``%%process NAME``, which runs its cell in a process of
its own; `run`, `start` and `spawn` are the same as calls, also without a notebook:

>>> from ipcx import lab
>>> done = lab.run("print('hello from', __name__)", name="greeter")
>>> done.output
'hello from __main__\\n'
>>> done.ok
True

Whatever is started here ends with the notebook's kernel, however that ends, and so do the processes
that it has started itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipcx.lab._link import Link, link
    from ipcx.lab._names import name, path, port
    from ipcx.lab._processes import (
        Finished,
        LabProcess,
        cells,
        processes,
        run,
        source,
        spawn,
        start,
        stop,
    )
    from ipcx.lab._progress import progress
    from ipcx.lab.exercises import problem, problems
    from ipcx.lab.frame_hex import FrameHex, frame
    from ipcx.lab.model import Event, Message, Record
    from ipcx.lab.recorder import record
    from ipcx.lab.spacetime import SpaceTime, space_time
    from ipcx.lab.stream_view import StreamView, stream

__all__ = [
    "Event",
    "Finished",
    "FrameHex",
    "LabProcess",
    "Link",
    "Message",
    "Record",
    "SpaceTime",
    "StreamView",
    "cells",
    "frame",
    "link",
    "name",
    "path",
    "port",
    "problem",
    "problems",
    "processes",
    "progress",
    "record",
    "run",
    "source",
    "space_time",
    "spawn",
    "start",
    "stop",
    "stream",
]

# Where each public name lives: one line a name.
_HOMES = {
    "Event": "model",
    "Finished": "_processes",
    "FrameHex": "frame_hex",
    "LabProcess": "_processes",
    "Link": "_link",
    "Message": "model",
    "Record": "model",
    "SpaceTime": "spacetime",
    "StreamView": "stream_view",
    "cells": "_processes",
    "frame": "frame_hex",
    "link": "_link",
    "name": "_names",
    "path": "_names",
    "port": "_names",
    "problem": "exercises",
    "problems": "exercises",
    "processes": "_processes",
    "progress": "_progress",
    "run": "_processes",
    "source": "_processes",
    "spawn": "_processes",
    "space_time": "spacetime",
    "start": "_processes",
    "stop": "_processes",
    "stream": "stream_view",
    "record": "recorder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found  # also where a module of the same name has just taken its place
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def load_ipython_extension(shell: Any) -> None:
    """What ``%load_ext ipcx.lab`` does: brings ``%%process``."""
    from ipcx.lab import _magic

    _magic.load(shell)
