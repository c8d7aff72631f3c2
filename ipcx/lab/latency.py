# SPDX-License-Identifier: Apache-2.0
"""How long messages took: the share of them that took no longer than so long.

An empirical distribution function hides nothing: no bins, no mean. The time axis is logarithmic,
for the slow ones are often a hundred times slower than the rest; the quantiles are marked on each
curve and stand in the list below it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ipcx.lab.display import Display, Drawing, duration, quantity, short, table, visible, width_of

if TYPE_CHECKING:
    from ipcx.lab.model import Record

__all__ = ["QUANTILES", "Ecdf", "ecdf"]

QUANTILES = (0.5, 0.9, 0.99)
MOST_SERIES = 6
LOOKS = (
    ("blue", ""), ("red", "9 4"), ("green", "3 3"), ("purple", "12 3 3 3"),
    ("orange", "6 2 2 2 2 2"), ("sky", "1 3"),
)  # fmt: skip
LEFT, TOP, WIDTH, HEIGHT = 62.0, 20.0, 560.0, 260.0


class Series(NamedTuple):
    """One curve."""

    name: str
    seconds: tuple[float, ...]  # in order

    def quantile(self, share: float) -> float:
        """The least time that this share of all does not exceed: one of those measured."""
        return self.seconds[max(math.ceil(share * len(self.seconds)) - 1, 0)]


def _series(given: Any, name: str) -> Series:
    taken = given.latencies() if hasattr(given, "latencies") else given
    seconds = tuple(sorted(float(one) for one in taken))
    if not seconds:
        raise ValueError(f"no times of {name!r}: there is nothing to draw")
    if not all(0 <= one < math.inf for one in seconds):
        raise ValueError(f"times are seconds, 0 or more; of {name!r} they are not")
    return Series(name, seconds)


class Ecdf(Display):
    """The times of one or more runs: a sequence of seconds, a record, or a dict of these by name.

    >>> shown = Ecdf({"fast": [1e-5] * 98 + [2e-3] * 2, "slow": [3e-3, 4e-3, 5e-3]})
    >>> print(shown.text())  # doctest: +ELLIPSIS
    Latencies: fast, slow
    <BLANKLINE>
          count  least  50 %   90 %   99 %  most
    fast  100    10 µs  10 µs  10 µs  2 ms  2 ms
    slow  3      3 ms   4 ms   5 ms   5 ms  5 ms
    ...
    """

    def __init__(
        self,
        times: Record | Iterable[float] | Mapping[str, Record | Iterable[float]],
        *,
        title: str = "",
    ) -> None:
        by_name = times if isinstance(times, Mapping) else {"messages": times}
        if not by_name:
            raise ValueError("no times are given: there is nothing to draw")
        self.series = [_series(given, str(name)) for name, given in by_name.items()]
        names = ", ".join(short(one.name, 24) for one in self.series[:MOST_SERIES])
        more = len(self.series) - MOST_SERIES
        self.title = title or f"Latencies: {names}" + (f" and {more} more" if more > 0 else "")
        told = [
            f"{short(one.name, 24)}: half of {quantity(len(one.seconds), 'message')} within "
            f"{duration(one.quantile(0.5))}, 99 % within {duration(one.quantile(0.99))}."
            for one in self.series[:MOST_SERIES]
        ]
        self.description = "Share of messages by how long they took. " + " ".join(told)
        positive = [t for one in self._drawn() for t in (one.seconds[0], one.seconds[-1]) if t > 0]
        positive += [next((t for t in one.seconds if t > 0), 1e-6) for one in self._drawn()]
        self._low = math.floor(math.log10(min(positive)) * 1.0000001 - 1e-9)
        self._high = max(math.ceil(math.log10(max(positive)) - 1e-9), self._low + 1)

    def _drawn(self) -> list[Series]:
        return self.series[:MOST_SERIES]

    def _share(self, seconds: float) -> float:
        """Where a time is on the axis, 0 to 1; what took no time is at its beginning."""
        if seconds <= 0:
            return 0.0
        return (math.log10(seconds) - self._low) / (self._high - self._low)

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [
            ("", "count", "least", *(f"{share * 100:g} %" for share in QUANTILES), "most")
        ]
        for one in self._drawn():
            times = [one.seconds[0], *(one.quantile(share) for share in QUANTILES), one.seconds[-1]]
            rows.append((short(one.name, 32), str(len(one.seconds)), *map(duration, times)))
        return rows

    def _notes(self) -> list[str]:
        notes = []
        none = sum(time <= 0 for one in self._drawn() for time in one.seconds)
        if none:
            notes.append(f"{none} took no time that could be measured: at the left edge.")
        if len(self.series) > MOST_SERIES:
            notes.append(f"{len(self.series) - MOST_SERIES} more not drawn.")
        return notes

    # ---- the picture

    def draw(self) -> Drawing:
        """The picture."""
        rows, notes = self._rows(), self._notes()
        below = TOP + HEIGHT + 66
        widths = [max(width_of(row[i], 12) for row in rows) + 20 for i in range(len(rows[0]))]
        width = max(LEFT + WIDTH + 40, 70 + sum(widths))
        drawing = Drawing(width, below + 22 * len(rows) + 16 * len(notes))
        self._axes(drawing)
        for at, one in enumerate(self._drawn()):
            self._curve(drawing, at, one)
        for number, row in enumerate(rows):
            y = below + 22 * number
            group = drawing.group("row" if number else "head")
            if number:
                colour, dashes = LOOKS[number - 1]
                drawing.line(16, y - 4, 56, y - 4, colour, 2.5, dashes, into=group)
                self._mark(drawing, number - 1, 36, y - 4, group)
            x = 70.0
            for cell, room in zip(row, widths, strict=True):
                drawing.text(
                    x, y, cell, 12 if number else 11, "ink" if number else "quiet", into=group
                )
                x += room
        y = below + 22 * len(rows) + 2
        for note in notes:
            y = drawing.note(16, y, note)
        return drawing

    def _axes(self, drawing: Drawing) -> None:
        group = drawing.group("axes")
        for share in (0, 0.25, 0.5, 0.75, 1):
            y = TOP + HEIGHT * (1 - share)
            drawing.line(LEFT, y, LEFT + WIDTH, y, "faint", 1, into=group)
            drawing.text(LEFT - 8, y + 4, f"{share * 100:g} %", 11, "quiet", "end", into=group)
        decades = self._high - self._low
        for power in range(self._low, self._high + 1):
            for times in (1, 2, 5) if decades <= 4 else (1,):
                seconds = times * 10.0**power
                share = self._share(seconds)
                if share > 1.0001:
                    continue
                x = LEFT + WIDTH * share
                drawing.line(x, TOP, x, TOP + HEIGHT, "faint", 1 if times == 1 else 0.5, into=group)
                words = duration(seconds)
                drawing.text(x, TOP + HEIGHT + 17, words, 11, "quiet", "middle", into=group)
        words = "took at most so long (logarithmic)"
        drawing.text(LEFT + WIDTH / 2, TOP + HEIGHT + 36, words, 11, "quiet", "middle", into=group)

    def _curve(self, drawing: Drawing, at: int, one: Series) -> None:
        colour, dashes = LOOKS[at]
        group = drawing.group("curve", f"{one.name}: {quantity(len(one.seconds), 'message')}")
        count = len(one.seconds)
        points, x, y = f"M{LEFT:.1f} {TOP + HEIGHT:.1f}", LEFT, TOP + HEIGHT
        for i, seconds in enumerate(one.seconds):
            # A step for each pixel at most.
            to, up = LEFT + WIDTH * self._share(seconds), TOP + HEIGHT * (1 - (i + 1) / count)
            if to - x >= 1 or y - up >= 2 or i == count - 1:
                points += f"H{to:.1f}V{up:.1f}"
                x, y = to, up
        points += f"H{LEFT + WIDTH:.1f}"
        drawing.path(points, stroke=colour, width=2.5, dashed=dashes, into=group)
        for share in QUANTILES:
            time = one.quantile(share)
            hint = f"{one.name}: {share * 100:g} % within {duration(time)}"
            mark = drawing.group("quantile", hint, into=group)
            x = LEFT + WIDTH * self._share(time)
            self._mark(drawing, at, x, TOP + HEIGHT * (1 - share), mark)

    def _mark(self, drawing: Drawing, at: int, x: float, y: float, into: Any) -> None:
        """Each curve has a shape of its own."""
        colour = LOOKS[at][0]
        if at == 0:
            drawing.circle(x, y, 4.5, "paper", colour, into=into)
            return
        corners = (0, 4, 3, 3, 5, 6)[at]
        turn = (0, 45, -90, 90, -90, 0)[at]
        points = [
            (x + 5.5 * math.cos(a), y + 5.5 * math.sin(a))
            for a in (math.radians(turn + 360 * i / corners) for i in range(corners))
        ]
        shape = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points) + "Z"
        drawing.path(shape, "paper", colour, 1.5, into=into)

    # ---- elsewhere

    def text(self) -> str:
        """The list, and each distribution as a line: ░ to 90 %, █ the half, ┤ 99 %."""
        room = 60
        lines = [visible(self.title), "", table(self._rows()), ""]
        wide = max(len(short(one.name, 16)) for one in self._drawn())
        low, high = duration(10.0**self._low), duration(10.0**self._high)
        lines.append(f"{'':{wide}}  {low}{high:>{room - len(low)}}")
        for one in self._drawn():
            cells = [" "] * room

            def at(share: float, one: Series = one) -> int:
                return min(int(self._share(one.quantile(share)) * room), room - 1)

            for i in range(at(0), at(0.99) + 1):
                cells[i] = "░" if at(0.5) <= i <= at(0.9) else "─"
            cells[at(0.99)] = "┤"
            cells[at(0.5)] = "█"
            lines.append(f"{short(one.name, 16):{wide}}  {''.join(cells).rstrip()}")
        lines += ["", "█ half of them, ░ to 90 %, ┤ 99 %", *self._notes()]
        return "\n".join(lines)

    def plot(self, axes: Any = None) -> Any:
        """The same on matplotlib's `axes`, new ones if None are given: to be changed and saved."""
        try:
            from matplotlib import pyplot
        except ImportError:
            raise ImportError(
                "plot() needs matplotlib: pip install matplotlib. The display itself needs nothing"
            ) from None
        if axes is None:
            axes = pyplot.subplots()[1]
        for one, (colour, dashes) in zip(self._drawn(), LOOKS, strict=False):
            count = len(one.seconds)
            axes.step(
                (one.seconds[0], *one.seconds),
                [i / count for i in range(count + 1)],
                where="post",
                label=one.name,
                color=_matplotlib(colour),
                linestyle=(0, tuple(map(float, dashes.split()))) if dashes else "-",
            )
        axes.set_xscale("log")
        axes.set_xlabel("seconds")
        axes.set_ylabel("share of messages")
        axes.legend()
        return axes


def _matplotlib(colour: str) -> str:
    from ipcx.lab.display import PALETTE

    return PALETTE[colour][0]


def ecdf(
    times: Record | Iterable[float] | Mapping[str, Record | Iterable[float]], *, title: str = ""
) -> Ecdf:
    """How long messages took: a curve for each run, its quantiles marked, on a logarithmic axis."""
    return Ecdf(times, title=title)
