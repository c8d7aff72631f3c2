# SPDX-License-Identifier: Apache-2.0
"""Who waits for whom. Where the arrows go round in a circle, nobody goes on: a deadlock.

The edges are given, or found: what the lab's processes wait for just now, in which call, and who
has the other end of that pipe or socket, or that lock. A cycle is red, dashed, and said in words.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from ipcx.lab._kernel import Process, holders, look, other_ends, parent
from ipcx.lab._places import Places, Spot
from ipcx.lab.display import Display, Drawing, quantity, short, visible, width_of
from ipcx.lab.kernel_view import named

__all__ = ["Edge", "WaitGraph", "waits"]

_Points: TypeAlias = tuple[float, float, float, float]  # of an arrow

MOST_NODES = 20
MOST_EDGES = 60
MOST_CYCLES = 4
BOX = 34.0


class Edge(NamedTuple):
    """One waits for another."""

    waiter: str
    holder: str
    what: str = ""  # in which call, for which lock


def _edges(given: Iterable[Sequence[str]]) -> list[Edge]:
    found = []
    for one in given:
        if isinstance(one, str) or not 2 <= len(one) <= 3:
            raise ValueError(f"an edge is (who waits, for whom) or with why, not {one!r}")
        found.append(Edge(*map(str, one)))
    return list(dict.fromkeys(found))


def _cycles(edges: list[Edge]) -> list[list[str]]:
    """One shortest cycle through each node that is on one, each cycle once."""
    after: dict[str, list[str]] = {}
    for edge in edges:
        after.setdefault(edge.waiter, []).append(edge.holder)
    found: dict[frozenset[str], list[str]] = {}
    for start in after:
        came: dict[str, str] = {}
        turn = [start]
        while turn and start not in came:
            following = []
            for node in turn:
                for other in after.get(node, ()):
                    if other not in came:
                        came[other] = node
                        following.append(other)
            turn = following
        if start in came:
            way, node = [start], came[start]
            while node != start:
                way.append(node)
                node = came[node]
            way = [way[0], *way[:0:-1]]
            found.setdefault(frozenset(way), way)
    return list(found.values())


def _live(processes: list[Process]) -> tuple[list[Edge], dict[str, str]]:
    """Who waits for whom among the processes, and in what those wait that wait for nobody known."""
    names = {one.pid: one.name for one in processes}
    ends, edges = other_ends(processes), []
    alone: dict[str, str] = {}
    for one in processes:
        for wait in one.waits:
            words = wait.call
            pids: list[int] = []
            if wait.call in ("futex", "lock"):
                what, pids = holders(one, wait)
                if not what:
                    continue  # a thread waits for another of its process
                words = f"acquire {what}"
            elif wait.call == "wait":
                pids = [wait.pid] if wait.pid else _stuck_children(one, processes)
            kinds = {fd.fd: fd for fd in one.descriptors}
            for number in wait.fds:
                fd = kinds.get(number)
                if fd is None or wait.call == "lock":
                    continue
                others = [pid for pid, _ in ends.get((one.pid, number), ())]
                # Of a pipe whose other end it holds itself, too, it may wait for others all the
                # same; alone, it waits for itself.
                pids += [pid for pid in others if pid != one.pid] or others
                if others or len(wait.fds) == 1:
                    words = f"{wait.call} on {fd.kind}, fd {number}"
            held = [pid for pid in dict.fromkeys(pids) if pid in names]
            edges += [Edge(one.name, names[pid], words) for pid in held]
            if not held:
                alone.setdefault(one.name, words)
    waiting = {edge.waiter for edge in edges}
    return list(dict.fromkeys(edges)), {
        name: words for name, words in alone.items() if name not in waiting
    }


def _stuck_children(one: Process, processes: list[Process]) -> list[int]:
    """Whom a wait for any child waits for: all of them, if none of them goes on by itself."""
    children = [other for other in processes if parent(other.pid) == one.pid]
    asleep = all(child.waits and child.waits[0].call != "sleep" for child in children)
    return [child.pid for child in children] if asleep else []


class WaitGraph(Display):
    """Who waits for whom: `edges` of (who, for whom) or (who, for whom, why).

    >>> print(WaitGraph([("a", "b", "recv"), ("b", "c", "fork 2"), ("c", "a", "send")]))
    Who waits for whom: a deadlock of 3
    <BLANKLINE>
    a ══▶ b   recv
    b ══▶ c   fork 2
    c ══▶ a   send
    <BLANKLINE>
    ✗ Deadlock: a waits for b, b waits for c, c waits for a. None of them can go on.
    """

    def __init__(
        self,
        edges: Iterable[Sequence[str]],
        *,
        nodes: Iterable[str] = (),
        alone: dict[str, str] | None = None,
        title: str = "",
    ) -> None:
        self.edges = _edges(edges)
        self.alone = alone or {}
        everyone = [*nodes, *(name for edge in self.edges for name in edge[:2])]
        self.nodes = list(dict.fromkeys(everyone))
        self.cycles = _cycles(self.edges)
        longest = max(map(len, self.cycles), default=0)
        self.title = title or (
            "Who waits for whom" + (f": a deadlock of {longest}" if self.cycles else "")
        )
        self.description = " ".join([*self.words(), *self._notes()])

    def words(self) -> list[str]:
        """What it means."""
        if not self.edges:
            return ["Nobody waits for anybody."]
        if not self.cycles:
            return ["No cycle: whoever waits, waits for somebody who can go on."]
        found = []
        for cycle in self.cycles[:MOST_CYCLES]:
            names = [short(name, 30) for name in cycle]
            if len(names) == 1:
                found.append(f"Deadlock: {names[0]} waits for itself.")
                continue
            steps = zip(names, [*names[1:], names[0]], strict=True)
            told = ", ".join(f"{one} waits for {other}" for one, other in steps)
            both = "Neither" if len(names) == 2 else "None"
            found.append(f"Deadlock: {told}. {both} of them can go on.")
        if len(self.cycles) > MOST_CYCLES:
            found.append(f"{len(self.cycles) - MOST_CYCLES} more cycles.")
        return found

    def _in_cycle(self) -> set[tuple[str, str]]:
        return {
            pair
            for cycle in self.cycles
            for pair in zip(cycle, [*cycle[1:], cycle[0]], strict=True)
        }

    def _drawn(self) -> tuple[list[str], list[Edge]]:
        """The nodes and edges that are drawn: those of cycles first."""
        caught = self._in_cycle()
        important = [name for cycle in self.cycles for name in cycle]
        nodes = list(dict.fromkeys([*important, *self.nodes]))[:MOST_NODES]
        nodes = [name for name in self.nodes if name in nodes]
        edges = [edge for edge in self.edges if edge.waiter in nodes and edge.holder in nodes]
        edges.sort(key=lambda edge: edge[:2] not in caught)
        return nodes, edges[:MOST_EDGES]

    def _notes(self) -> list[str]:
        nodes, edges = self._drawn()
        if len(nodes) == len(self.nodes) and len(edges) == len(self.edges):
            return []
        return [
            f"Thinned out: {len(nodes)} of {len(self.nodes)} processes and {len(edges)} of "
            f"{quantity(len(self.edges), 'edge')} are drawn."
        ]

    # ---- the picture

    def draw(self) -> Drawing:
        """The picture."""
        nodes, edges = self._drawn()
        sizes = {name: max(width_of(short(name, 20), 13) + 26, 64.0) for name in nodes}
        wide = max(sizes.values(), default=100.0)
        radius = 0.0 if len(nodes) < 2 else max(len(nodes) * 30.0, 105.0)
        across = radius + max(wide * 0.35, 50) if len(nodes) > 1 else 0.0
        told = self.words()
        width = max(2 * across + wide + 200, 480.0)
        middle = (width / 2, radius + 62.0 if len(nodes) != 2 else 84.0)
        places = {}
        for at, name in enumerate(nodes):
            # Two stand side by side, more in a circle from the top.
            angle = 2 * math.pi * at / len(nodes) - (math.pi if len(nodes) == 2 else math.pi / 2)
            places[name] = (
                middle[0] + across * math.cos(angle), middle[1] + radius * math.sin(angle)
            )  # fmt: skip
        ends, labels, legend = self._labels(edges, places, sizes)
        notes = self._notes() + legend
        bottom = max((y for _, y in places.values()), default=30.0) + 64
        lines = sum(1 + len(one) // int((width - 32) / 7.6) for one in told)
        drawing = Drawing(width, bottom + 17 * lines + 17 * len(notes) + 4)
        self._arrows(drawing, edges, places, ends, labels)
        self._nodes(drawing, places, sizes)
        y = bottom
        for one in told:
            y = self._sentence(drawing, y, one, int((width - 32) / 7.6))
        for note in notes:
            y = drawing.note(16, y, note, int((width - 32) / 6.8))
        return drawing

    def _sentence(self, drawing: Drawing, y: float, words: str, most: int) -> float:
        bad = words.startswith("Deadlock")
        for at, line in enumerate(textwrap.wrap(words, most)):
            mark = "✗ " if bad and at == 0 else ""
            colour = "red" if bad else "ink"
            drawing.text(16, y, mark + line, 12, colour, bold=bad, kind="verdict")
            y += 17
        return y

    def _nodes(
        self,
        drawing: Drawing,
        places: dict[str, tuple[float, float]],
        sizes: dict[str, float],
    ) -> None:
        caught = {name for cycle in self.cycles for name in cycle}
        for name, (x, y) in places.items():
            group = drawing.group("node", name)
            box = drawing.rect(
                x - sizes[name] / 2, y - BOX / 2, sizes[name], BOX, "paper",
                "red" if name in caught else "ink", 8, into=group,
            )  # fmt: skip
            if name in caught:
                box.set("stroke-dasharray", "6 3")
                box.set("stroke-width", "2.5")
            drawing.text(x, y + 4.5, short(name, 20), 13, anchor="middle", bold=True, into=group)
            if name in self.alone:
                words = f"in {short(self.alone[name], 34)}"
                drawing.text(x, y + BOX / 2 + 14, words, 10, "quiet", "middle", into=group)

    def _arrows(
        self,
        drawing: Drawing,
        edges: list[Edge],
        places: dict[str, tuple[float, float]],
        ends: list[_Points],
        labels: list[tuple[str, Spot] | None],
    ) -> None:
        caught = self._in_cycle()
        groups = []
        for edge, points in zip(edges, ends, strict=True):
            bad = edge[:2] in caught
            hint = f"{edge.waiter} waits for {edge.holder}" + (
                f": {edge.what}" if edge.what else ""
            )
            group = drawing.group("cycle" if bad else "waits", hint)
            colour, width = ("red", 2.5) if bad else ("blue", 1.5)
            if edge.waiter == edge.holder:
                x, y = places[edge.waiter]
                bow = f"M{x - 16:.1f} {y - BOX / 2:.1f}C{x - 34:.1f} {y - 62:.1f} {x + 34:.1f} "
                bow += f"{y - 62:.1f} {x + 19:.1f} {y - BOX / 2 - 10:.1f}"
                drawing.path(bow, stroke=colour, width=width, dashed=bad, into=group)
                drawing.arrow(x + 19, y - BOX / 2 - 9, x + 16, y - BOX / 2 - 1, colour, into=group)
            else:
                drawing.arrow(*points, colour, width, bad, 11 if bad else 9, into=group)
            groups.append(group)
        for label, group in zip(labels, groups, strict=True):
            if label is not None:
                words, spot = label
                drawing.text(spot.x, spot.y, words, 11, anchor=spot.anchor, halo=True, into=group)

    def _labels(
        self,
        edges: list[Edge],
        places: dict[str, tuple[float, float]],
        sizes: dict[str, float],
    ) -> tuple[list[_Points], list[tuple[str, Spot] | None], list[str]]:
        """Where the arrows are, what stands at each, and what stands below the picture instead.

        Words that would cross a line, or others, give way to a number.
        """
        pairs = {edge[:2] for edge in edges}
        ends = [self._ends(edge, pairs, places, sizes) for edge in edges]
        room = Places()
        for name, (x, y) in places.items():
            room.text(Spot(x, y + 4.5, sizes[name], "middle", 0, BOX * 0.9))
            if name in self.alone:
                words = f"in {short(self.alone[name], 34)}"
                room.text(Spot(x, y + BOX / 2 + 14, width_of(words, 10), "middle", 0, 10))
        for at, points in enumerate(ends):
            room.line(at, *points)
        labels: list[tuple[str, Spot] | None] = []
        legend: list[str] = []
        for at, (edge, points) in enumerate(zip(edges, ends, strict=True)):
            label = None
            if edge.what:
                words = short(edge.what, 34)
                spot = room.best(_spots(edge, points, width_of(words, 11)), at, limit=1e9)
                if spot is None or room.cost(spot, at) > 0:
                    words = str(len(legend) + 1)
                    who = f"{short(edge.waiter, 20)} → {short(edge.holder, 20)}"
                    legend.append(f"{words}  {who}: {short(edge.what, 60)}")
                    spot = room.best(_spots(edge, points, width_of(words, 11)), at, limit=1e9)
                if spot is not None:
                    room.text(spot)
                    label = words, spot
            labels.append(label)
        return ends, labels, legend

    def _ends(
        self,
        edge: Edge,
        pairs: set[tuple[str, str]],
        places: dict[str, tuple[float, float]],
        sizes: dict[str, float],
    ) -> _Points:
        """From the border of one box to that of the other; beside the one that comes back."""
        (x1, y1), (x2, y2) = places[edge.waiter], places[edge.holder]
        length = math.hypot(x2 - x1, y2 - y1)
        if length == 0:
            return x1 - 16, y1 - BOX, x1 + 16, y1 - BOX
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        side = 8.0 if (edge.holder, edge.waiter) in pairs else 0.0

        def border(name: str) -> float:
            half = sizes[name] / 2
            return min(half / abs(ux) if ux else 1e9, BOX / 2 / abs(uy) if uy else 1e9) + 3

        first, last = border(edge.waiter), border(edge.holder)
        return (
            x1 + ux * first - uy * side, y1 + uy * first + ux * side,
            x2 - ux * last - uy * side, y2 - uy * last + ux * side,
        )  # fmt: skip

    def text(self) -> str:
        """A line an edge, and what it means."""
        edges = self._drawn()[1]
        caught = self._in_cycle()
        wide = max((len(short(edge.waiter, 30)) for edge in edges), default=0)
        lines = [visible(self.title), ""]
        for edge in edges:
            arrow = "══▶" if edge[:2] in caught else "──▶"
            who, whom = short(edge.waiter, 30).ljust(wide), short(edge.holder, 30)
            lines.append(f"{who} {arrow} {whom}   {short(edge.what, 60)}".rstrip())
        lines += [f"{short(one, 30)} is in {short(why, 60)}" for one, why in self.alone.items()]
        told = [("✗ " if one.startswith("Deadlock") else "") + one for one in self.words()]
        return "\n".join([*lines, *([""] if edges or self.alone else []), *told, *self._notes()])


def _spots(edge: Edge, points: _Points, width: float) -> list[Spot]:
    """Where words at an arrow can stand, the best first."""
    x1, y1, x2, y2 = points
    if edge.waiter == edge.holder:
        return [Spot(x1 + 52, y1 - 6, width), Spot(x1 - 20, y1 - 6, width, "end")]
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    # To the right of the way that the arrow goes: away from one that comes back.
    nx, ny = -(y2 - y1) / length, (x2 - x1) / length
    spots = []
    for off in (11, 18, 26):
        for part in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8):
            x, y = x1 + (x2 - x1) * part, y1 + (y2 - y1) * part
            for side in (1, -1):
                px, py = x + nx * side * off, y + ny * side * off
                anchor = "middle" if abs(nx) < 0.35 else "start" if nx * side > 0 else "end"
                spots.append(Spot(px, py + 4, width, anchor))
    return spots


def waits(*what: int | str | Iterable[Sequence[str]], title: str = "") -> WaitGraph:
    """Who waits for whom: of edges (who, for whom, why), or found out.

    Without edges, of the processes of these pids or names, or all of the lab, as they are now. The
    notebook's own process takes part only if it is asked for.
    """
    if len(what) == 1 and not isinstance(what[0], int | str):
        return WaitGraph(what[0], title=title)
    asked = [one for one in what if isinstance(one, int | str)]
    if len(asked) != len(what):
        raise TypeError("either edges, or pids and names of the lab's processes")
    return seen(named(asked) if asked else named(())[1:], title)


def seen(processes: Iterable[tuple[int, str]], title: str = "") -> WaitGraph:
    """Who of these processes (pid, name) waits for whom, at this moment."""
    there = look(processes)
    edges, alone = _live(there)
    return WaitGraph(edges, nodes=[one.name for one in there], alone=alone, title=title)
