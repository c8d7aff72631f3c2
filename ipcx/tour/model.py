# SPDX-License-Identifier: Apache-2.0
"""What a station of the tour is, and what a run of it leaves to tell. Data and matching only.

Invariant: everything here is immutable, except `Run`, which the engine fills while it works.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from types import EllipsisType
from typing import Literal, Protocol

STDLIB = "stdlib"
IPCX = "ipcx"
C = "c"
JAVA = "java"

Pairing = Mapping[str, str]
"""Who runs on what: ``{"server": "stdlib", "client": "java"}``. STDLIB and IPCX are Python's."""


# ---------------------------------------------------------------- when something happens


class Stage(Protocol):
    """What a condition may ask about a run under way."""

    def listens(self, port: int) -> bool: ...
    def receives(self, port: int) -> bool: ...
    def said(self, line: "Line") -> bool: ...
    def ended(self, actor: str) -> bool: ...


class When(Protocol):
    """A condition of the script. Its text completes the sentence "waited until …"."""

    def holds(self, stage: Stage) -> bool: ...


@dataclass(frozen=True)
class Started:
    """At once."""

    def holds(self, stage: Stage) -> bool:
        return True

    def __str__(self) -> str:
        return "the tour starts"


@dataclass(frozen=True)
class Listening:
    """Somebody listens on the port (the program's number; the tour knows which one it became)."""

    port: int

    def holds(self, stage: Stage) -> bool:
        return stage.listens(self.port)

    def __str__(self) -> str:
        return f"somebody listens on port {self.port}"


@dataclass(frozen=True)
class Bound:
    """Somebody has bound a UDP socket to the port."""

    port: int

    def holds(self, stage: Stage) -> bool:
        return stage.receives(self.port)

    def __str__(self) -> str:
        return f"somebody receives datagrams on port {self.port}"


@dataclass(frozen=True)
class Said:
    """That line has been printed."""

    who: str
    text: str

    def holds(self, stage: Stage) -> bool:
        return stage.said(Line(self.who, self.text))

    def __str__(self) -> str:
        return f"{self.who} says {self.text!r}"


@dataclass(frozen=True)
class Ended:
    """That actor's process has ended."""

    who: str

    def holds(self, stage: Stage) -> bool:
        return stage.ended(self.who)

    def __str__(self) -> str:
        return f"{self.who} has ended"


@dataclass(frozen=True)
class All:
    """Each of several conditions holds."""

    parts: tuple[When, ...]

    def holds(self, stage: Stage) -> bool:
        return all(part.holds(stage) for part in self.parts)

    def __str__(self) -> str:
        return " and ".join(map(str, self.parts))


# ---------------------------------------------------------------- who takes part


@dataclass(frozen=True)
class Keys:
    """What is typed into an actor's standard input, and when."""

    text: str
    when: When


@dataclass(frozen=True)
class Actor:
    """One process: a program of examples/, on what it may run, and how it is started and ends."""

    name: str
    program: str
    args: tuple[str, ...] = ()
    on: tuple[str, ...] = (STDLIB, IPCX)
    when: When = Started()
    typed: tuple[Keys, ...] = ()
    exit: int = 0
    # The program says `from ipcx import socket` itself: plain python runs it, on ipcx.
    imports_ipcx: bool = False
    # The same program in another language, by what it then runs on: {C: "folder/server.c"}.
    also: Mapping[str, str] = field(default_factory=dict)
    # It serves for ever: all pairings in which it runs on the same thing share one process, which
    # gets SIGTERM when they are done.
    lasts: bool = False

    def source(self, on: str) -> str:
        """The program's file when it runs on that."""
        return self.also.get(on, self.program)


# ---------------------------------------------------------------- what they must say


@dataclass(frozen=True)
class Line:
    """A line that somebody prints: ``{any}`` is any text, ``{port}`` any port number, and
    ``{8080}`` the number that port 8080 of the program was given. With *only*, the line is expected
    only when its speaker runs on that."""

    who: str
    text: str
    only: str | None = None

    def matches(self, spoken: "Spoken", ports: Mapping[int, int]) -> bool:
        if spoken.who != self.who or spoken.typed:
            return False
        pattern = re.sub(r"\\\{(\w+)\\\}", lambda m: _hole(m[1], ports), re.escape(self.text))
        return re.fullmatch(pattern, spoken.text) is not None


def _hole(name: str, ports: Mapping[int, int]) -> str:
    fixed = {"any": ".*", "port": r"\d{1,5}"}
    return fixed[name] if name in fixed else str(ports[int(name)])


@dataclass(frozen=True)
class AnyOrder:
    """Lines whose order nothing decides."""

    lines: tuple[Line, ...]


Script = tuple[Line | AnyOrder | EllipsisType, ...]
"""The expected transcript, in order; ``...`` stands for any lines, or none."""


@dataclass(frozen=True)
class Spoken:
    """A line as it was printed, or typed, with the seconds since the run began."""

    who: str
    text: str
    at: float
    typed: bool = False


def mismatch(
    script: Script, spoken: Sequence[Spoken], pairing: Pairing, ports: Mapping[int, int]
) -> str | None:
    """The first thing that differs between what should be said and what was, in a sentence."""
    spoken = [line for line in spoken if not line.typed]
    at, gap = 0, False

    def wanted(line: Line) -> bool:
        return line.only is None or pairing[line.who] == line.only

    for item in script:
        if item is ...:
            gap = True
            continue
        group = [x for x in (item.lines if isinstance(item, AnyOrder) else (item,)) if wanted(x)]
        while group:
            hit = (
                next((x for x in group if x.matches(spoken[at], ports)), None)
                if (at < len(spoken))
                else None
            )
            if hit is not None:
                group.remove(hit)
            elif not gap or at >= len(spoken):
                return _expected(group[0], spoken[at] if at < len(spoken) and not gap else None)
            at += 1
            gap = gap and hit is None
    if at < len(spoken) and not gap:
        return f"{spoken[at].who} says {spoken[at].text!r}, which was not expected"
    return None


def _expected(line: Line, got: Spoken | None) -> str:
    but = f"then {got.who} says {got.text!r}" if got else "it never does"
    return f"{line.who} should say {line.text!r}; {but}"


# ---------------------------------------------------------------- the station


@dataclass(frozen=True)
class Need:
    """Something the machine may lack. *lacks* gives a sentence saying what is missing, or None."""

    name: str
    lacks: Callable[[], str | None]


@dataclass(frozen=True)
class Station:
    """One stop of the tour: programs of one folder of examples/ and what running them teaches."""

    name: str
    title: str
    teaches: str
    actors: tuple[Actor, ...]
    says: Script
    ports: tuple[int, ...] = ()
    needs: tuple[Need, ...] = ()
    limit: float = 10.0  # seconds until whoever still runs is killed

    def pairings(self) -> list[Pairing]:
        """Every combination of what each actor may run on. The last actor's changes fastest."""
        names = [actor.name for actor in self.actors]
        return [dict(zip(names, on, strict=True)) for on in product(*(a.on for a in self.actors))]

    def acts(self) -> list[list[Pairing]]:
        """The pairings, those together that share ports, compiled programs and lasting actors."""
        every = self.pairings()
        return [every] if any(a.lasts for a in self.actors) else [[one] for one in every]

    def is_grid(self) -> bool:
        """Whether its pairings are many, and best seen as a table: a lasting server's choices down,
        a client's across."""
        return any(a.lasts for a in self.actors) and len(self.pairings()) > 4

    def sources(self, on: str | None = None) -> list[str]:
        """The programs' files: all, or those that run on that."""
        every = (a.source(x) for a in self.actors for x in a.on if on in (x, None))
        return list(dict.fromkeys(every))

    def folders(self) -> list[str]:
        """The folders of examples/ that hold its programs."""
        return list(dict.fromkeys(source.rpartition("/")[0] for source in self.sources()))

    def runs_on(self) -> list[str]:
        """Whatever some actor of it may run on."""
        return list(dict.fromkeys(on for actor in self.actors for on in actor.on))

    def missing(self) -> str | None:
        """Why this machine cannot run it, or None."""
        return next((text for need in self.needs if (text := need.lacks())), None)


@dataclass
class Run:
    """What became of one pairing of a station."""

    pairing: Pairing
    ports: dict[int, int] = field(default_factory=dict)
    spoken: list[Spoken] = field(default_factory=list)
    exits: dict[str, int | None] = field(default_factory=dict)
    seconds: float = 0.0
    why: str | None = None  # None: it held

    @property
    def held(self) -> bool:
        return self.why is None


@dataclass
class Result:
    """What became of a station."""

    station: Station
    runs: list[Run] = field(default_factory=list)
    skipped: str | None = None
    # What this machine lacks for some of the pairings, a sentence each; the others were run.
    left_out: list[str] = field(default_factory=list)

    @property
    def status(self) -> Literal["held", "failed", "skipped"]:
        if self.skipped is not None:
            return "skipped"
        return "held" if all(run.held for run in self.runs) else "failed"
