# SPDX-License-Identifier: Apache-2.0
"""Where words of a picture can stand: what is taken by others, and which lines pass there.

Texts may be turned, so each is a row of discs; what is near is found by strips of the picture.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Places", "Spot"]

_STRIP = 40.0
_LINE = 3.0  # how near a line may come to a disc


class Spot(NamedTuple):
    """A place for a text: where it begins or ends, as SVG says it."""

    x: float
    y: float
    width: float
    anchor: str = "start"  # start, middle or end
    turn: float = 0.0  # degrees
    size: float = 11.0


class _Line(NamedTuple):
    owner: int
    x1: float
    y1: float
    x2: float
    y2: float

    def distance(self, x: float, y: float) -> float:
        dx, dy = self.x2 - self.x1, self.y2 - self.y1
        square = dx * dx + dy * dy
        at = ((x - self.x1) * dx + (y - self.y1) * dy) / square if square else 0.0
        at = min(max(at, 0.0), 1.0)
        return math.hypot(x - self.x1 - at * dx, y - self.y1 - at * dy)


class Places:
    """What has been put into the picture so far."""

    def __init__(self) -> None:
        self._discs: dict[int, list[tuple[float, float, float]]] = defaultdict(list)
        self._lines: dict[int, list[_Line]] = defaultdict(list)

    def line(self, owner: int, x1: float, y1: float, x2: float, y2: float) -> None:
        """A line passes here; texts of its `owner` may touch it."""
        first, last = sorted((y1, y2))
        for strip in range(int(first // _STRIP), int(last // _STRIP) + 1):
            self._lines[strip].append(_Line(owner, x1, y1, x2, y2))

    def disc(self, x: float, y: float, radius: float) -> None:
        """Something round stands here."""
        for strip in range(int((y - 24) // _STRIP), int((y + 24) // _STRIP) + 1):
            self._discs[strip].append((x, y, radius))

    def text(self, spot: Spot) -> None:
        """A text stands here from now on."""
        for x, y in self._centres(spot):
            self.disc(x, y, spot.size * 0.5)

    def cost(self, spot: Spot, owner: int = -1) -> float:
        """How bad a place is: 0 free, below 100 only lines pass, else other words stand there."""
        found: set[_Line] = set()
        hits = 0
        radius = spot.size * 0.5
        for x, y in self._centres(spot):
            strip = int(y // _STRIP)
            for cx, cy, other in self._discs.get(strip, ()):
                if (x - cx) ** 2 + (y - cy) ** 2 < (radius + other) ** 2:
                    hits += 1
            for line in self._lines.get(strip, ()):
                known = line.owner == owner or line in found
                if not known and line.distance(x, y) < radius + _LINE - 1:
                    found.add(line)
        return 100.0 * hits + 3.0 * len(found)

    def best(self, spots: Iterable[Spot], owner: int = -1, limit: float = 100) -> Spot | None:
        """The first of the least cost, each later one being a little worse; None: none below it."""
        chosen, least = None, limit
        for at, spot in enumerate(spots):
            cost = self.cost(spot, owner) + 0.4 * at
            if cost < least:
                chosen, least = spot, cost
        return chosen

    def _centres(self, spot: Spot) -> list[tuple[float, float]]:
        angle = math.radians(spot.turn)
        ux, uy = math.cos(angle), math.sin(angle)
        radius = spot.size * 0.5
        begin = {"start": 0.0, "middle": -spot.width / 2, "end": -spot.width}[spot.anchor]
        count = max(1, math.ceil((spot.width - 2 * radius) / radius) + 1)
        step = max(spot.width - 2 * radius, 0.0) / max(count - 1, 1)
        up = spot.size * 0.36  # from the line the letters stand on to their middle
        return [
            (
                spot.x + ux * (begin + radius + i * step) + uy * up,
                spot.y + uy * (begin + radius + i * step) - ux * up,
            )
            for i in range(count)
        ]
