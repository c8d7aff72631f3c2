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
    from ipcx.lab.kernel_view import KernelView, kernel
    from ipcx.lab.latency import Ecdf, ecdf
    from ipcx.lab.model import Event, Message, Record
    from ipcx.lab.recorder import record
    from ipcx.lab.ring_state import RingState, ring
    from ipcx.lab.spacetime import SpaceTime, space_time
    from ipcx.lab.stream_view import StreamView, stream
    from ipcx.lab.wait_graph import WaitGraph, waits

__all__ = [
    "Ecdf",
    "Event",
    "Finished",
    "FrameHex",
    "KernelView",
    "LabProcess",
    "Link",
    "Message",
    "Record",
    "RingState",
    "SpaceTime",
    "StreamView",
    "WaitGraph",
    "cells",
    "ecdf",
    "frame",
    "kernel",
    "link",
    "name",
    "path",
    "port",
    "problem",
    "problems",
    "processes",
    "progress",
    "record",
    "ring",
    "run",
    "source",
    "space_time",
    "spawn",
    "start",
    "stop",
    "stream",
    "waits",
]

# Where each public name lives: one line a name.
_HOMES = {
    "Ecdf": "latency",
    "Event": "model",
    "Finished": "_processes",
    "FrameHex": "frame_hex",
    "KernelView": "kernel_view",
    "LabProcess": "_processes",
    "Link": "_link",
    "Message": "model",
    "Record": "model",
    "RingState": "ring_state",
    "SpaceTime": "spacetime",
    "StreamView": "stream_view",
    "WaitGraph": "wait_graph",
    "cells": "_processes",
    "ecdf": "latency",
    "frame": "frame_hex",
    "kernel": "kernel_view",
    "link": "_link",
    "name": "_names",
    "path": "_names",
    "port": "_names",
    "problem": "exercises",
    "problems": "exercises",
    "processes": "_processes",
    "progress": "_progress",
    "record": "recorder",
    "ring": "ring_state",
    "run": "_processes",
    "source": "_processes",
    "spawn": "_processes",
    "space_time": "spacetime",
    "start": "_processes",
    "stop": "_processes",
    "stream": "stream_view",
    "waits": "wait_graph",
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
