# SPDX-License-Identifier: Apache-2.0
"""Lines out of what comes in pieces."""

from __future__ import annotations

__all__ = ["Cutter"]


class Cutter:
    """Cuts what comes in pieces into lines, each piece looked at once however long a line is."""

    def __init__(self, longest: int | None = None) -> None:
        self.longest = longest  # bytes; more than these are given out before their line has ended
        self.begun: list[bytes] = []  # the pieces of a line whose end has not come
        self.size = 0  # bytes in these

    def cut(self, piece: bytes) -> list[bytes]:
        """The lines that end in this piece, without their ends."""
        first, *others = piece.split(b"\n")
        self.begun.append(first)
        self.size += len(first)
        lines = []
        if others:
            lines = [b"".join(self.begun), *others]
            self.begun = [lines.pop()]
            self.size = len(self.begun[0])
        if self.longest is not None and self.size > self.longest:
            lines += self.end()
        return lines

    def end(self) -> list[bytes]:
        """A last line without an end, if there is one."""
        rest, self.begun, self.size = b"".join(self.begun), [], 0
        return [rest] if rest else []
