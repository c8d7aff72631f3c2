# SPDX-License-Identifier: Apache-2.0
"""What processes print, shown to people: each line with its process's name, and in its colour.

In a terminal, and for the cell that runs, lines are printed. What a process in the background
prints later goes under the cell that started it, whichever cell runs by then: into a display that
is updated in place.

Colour is never alone: the name says whose line it is, the sign after it which output: ``|`` what
was printed, ``!`` what went to the standard error output, ``·`` what the lab says.
"""

from __future__ import annotations

import html
import os
import sys
import threading
import time
from importlib import import_module
from typing import Any

from ipcx._terminal import Terminal
from ipcx.lab._processes import LabProcess
from ipcx.lab._pump import Line, pump

__all__: list[str] = []

# Okabe and Ito's, which eyes of every kind tell apart; middling bright, so for dark pages too.
COLOURS = {
    "blue": (0, 114, 178),
    "vermilion": (213, 94, 0),
    "green": (0, 158, 115),
    "purple": (204, 121, 167),
    "orange": (230, 159, 0),
    "sky": (86, 180, 233),
}
TERMINAL = ("cyan", "red", "green", "yellow", "bold", "dim")
SIGNS = {"out": "|", "err": "!", "note": "·"}
PAUSE = 0.1  # seconds between two updates of a display

_order: list[str] = []  # names, in the order of their first appearance: the colour of each


def _place(name: str) -> int:
    if name not in _order:
        _order.append(name)
    return _order.index(name) % len(COLOURS)


def rgb(name: str) -> tuple[int, int, int]:
    return list(COLOURS.values())[_place(name)]


def shell() -> Any:
    """IPython's, if this is one."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def in_notebook() -> bool:
    return getattr(shell(), "kernel", None) is not None


def _label(name: str, sign: str) -> str:
    text = f"{name} {sign}"
    if in_notebook() and not os.environ.get("NO_COLOR"):
        red, green, blue = rgb(name)
        return f"\033[1;38;2;{red};{green};{blue}m{text}\033[0m"
    return Terminal(sys.stdout).style(text, TERMINAL[_place(name)])


class Printed:
    """Lines printed as they come."""

    def __init__(self, name: str) -> None:
        self.name = name

    def show(self, lines: list[Line], last: bool) -> None:
        text = "".join(f"{_label(self.name, SIGNS[line.kind])} {line.text}\n" for line in lines)
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()

    def note(self, text: str) -> None:
        self.show([Line("note", text)], False)


class Display:
    """Lines of a process in the background, under the cell that has started it."""

    def __init__(self, one: LabProcess) -> None:
        display = import_module("IPython.display").display
        self.one = one
        self.lines: list[Line] = []
        self.updated = time.monotonic()
        self.planned = False
        self.lock = threading.Lock()  # taken after the pump's, if both
        self.handle = display(self._bundle(), raw=True, display_id=True)

    def show(self, lines: list[Line], last: bool) -> None:
        """Called by the pump's thread."""
        self.lines += lines
        if last:
            self.lines.append(Line("note", str(self.one._finished()).partition(": ")[2]))
        if last or time.monotonic() >= self.updated + PAUSE:
            self.update()
        elif not self.planned:
            self.planned = True
            with pump.changed:
                self.one._plan.append((self.updated + PAUSE, self.update))

    def note(self, text: str) -> None:
        self.lines.append(Line("note", text))
        self.update()

    def update(self) -> None:
        with self.lock:  # so that no older state comes after a newer one
            self.planned = False
            self.updated = time.monotonic()
            self.handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        name = self.one.name
        lines = list(self.lines)
        plain = "\n".join(f"{name} {SIGNS[line.kind]} {line.text}" for line in lines)
        rows = []
        for line in lines:
            shown = html.escape(line.text)
            if line.kind != "out":
                shown = f"<i>{shown}</i>"
            label = f"{html.escape(name)} {SIGNS[line.kind]}"
            rows.append(f'<b style="color:rgb{rgb(name)}">{label}</b> {shown}')
        body = "\n".join(rows)
        return {
            "text/plain": plain,
            "text/html": (
                f'<pre style="border-left:4px solid rgb{rgb(name)};padding-left:.5em;'
                f'white-space:pre-wrap">{body}</pre>'
            ),
        }


def attach(one: LabProcess) -> Printed | Display:
    """From now on the pump shows what it prints: under this cell, or in the terminal."""
    shown = Display(one) if in_notebook() else Printed(one.name)
    with pump.changed:
        one._show = shown.show
        pump.ring()
        over = one._over
    if over:
        shown.show(one._new_lines(), True)
    return shown
