# SPDX-License-Identifier: Apache-2.0
"""Where people read: colour, signs and what is painted over itself, as far as the output takes it.

Invariant: whatever the encoding of the output, nothing here raises UnicodeEncodeError; and where
the output is no terminal, no escape sequence and no carriage return is written.
"""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
ASCII = {"…": "...", "–": "-", "·": "-", "×": "x", "µ": "u", "│": "|", "─": "-", "█": "#"}
EIGHTHS = " ▏▎▍▌▋▊▉█"
STYLED = re.compile(r"(\033\[[\d;]*m)")


class Terminal:
    """An output for people. `paint` shows lines that the next `paint` replaces."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.encoding = getattr(out, "encoding", None) or "ascii"
        self.terminal = out.isatty() and os.environ.get("TERM") != "dumb"
        self.colours = self.terminal and not os.environ.get("NO_COLOR")
        self.fancy = self.can("✓✗│◂─▸…█░")
        self._painted = 0  # lines that stand there and will be replaced

    @property
    def columns(self) -> int:
        """Of the window, as of now: people pull at them. A file has no end."""
        return shutil.get_terminal_size((80, 24)).columns if self.terminal else sys.maxsize

    @property
    def width(self) -> int:
        """Columns for a text: longer lines are hard to read."""
        return min(shutil.get_terminal_size((80, 24)).columns, 100)

    @property
    def height(self) -> int:
        return shutil.get_terminal_size((80, 24)).lines

    def can(self, text: str) -> bool:
        """Whether the output's encoding has all of these signs."""
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def style(self, text: str, *names: str) -> str:
        if not self.colours or not names:
            return text
        return f"\033[{';'.join(CODES.get(name, name) for name in names)}m{text}\033[0m"

    # Lines that stay.

    def line(self, text: str = "") -> None:
        self.clear()
        self.write(text + "\n")

    def write(self, text: str) -> None:
        if not self.fancy:
            for sign, plain in ASCII.items():
                text = text.replace(sign, plain)
        if not self.can(text):
            text = text.encode("ascii", "backslashreplace").decode()
        self.out.write(text)
        self.out.flush()

    # Lines that are painted over: on a terminal only, gone before anything else is written.

    def paint(self, lines: Sequence[str]) -> None:
        """Shows these lines in place of those painted before; where there is no terminal, nothing.

        What does not fit in the window is cut: a line that wraps could not be painted over.
        """
        if not self.terminal:
            return
        lines = [cut(line, self.columns - 1) for line in lines[: max(1, self.height - 1)]]
        up = f"\033[{self._painted - 1}A" if self._painted > 1 else ""
        start = f"{up}\r" if self._painted else ""
        rows = "\n".join(f"{line}\033[K" for line in lines)
        self._painted = len(lines)
        self.write(f"{start}{rows}\033[J")

    def settle(self) -> None:
        """What is painted stays; whatever comes next goes below it."""
        if self._painted:
            self._painted = 0
            self.write("\n")

    def clear(self) -> None:
        """Takes away what was painted."""
        if self._painted:
            up = f"\033[{self._painted - 1}A" if self._painted > 1 else ""
            self._painted = 0
            self.out.write(f"{up}\r\033[J")
            self.out.flush()

    def bar(self, share: float, width: int) -> str:
        """A bar of `share` (0 to 1) of the width, to an eighth of a column where that can be shown;
        never quite nothing for what is more than nothing."""
        eighths = max(round(min(share, 1.0) * width * 8), 1 if share > 0 else 0)
        full, rest = divmod(eighths, 8)
        if not self.can(EIGHTHS):
            return "#" * max(full + (rest >= 4), 1 if share > 0 else 0)
        return "█" * full + (EIGHTHS[rest] if rest else "")


def shown(text: str) -> int:
    """The columns that a text takes, styled or not."""
    return len(STYLED.sub("", text))


def cut(text: str, width: int) -> str:
    """The text's first `width` columns; what is styled stays styled, and is ended."""
    if shown(text) <= width:
        return text
    kept = []
    for part in STYLED.split(text):
        if STYLED.fullmatch(part):
            kept.append(part)
        else:
            kept.append(part[:width])
            width -= len(kept[-1])
    return "".join(kept)


def padded(text: str, width: int) -> str:
    """The text cut or filled to exactly that many columns."""
    text = cut(text, width)
    return text + " " * (width - shown(text))
