"""What a bench is about: rows with goals, trials, results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from contestant import Fixture

NEAR_BELOW_NS = 220  # between 0.10 µs (near) and 0.47 µs (far), in the middle of the log scale


class Subject(Protocol):
    """What a report says of the bench itself."""

    name: str
    ours: str
    floor: str

    @property
    def contestants(self) -> Mapping[str, object]: ...


@dataclass(frozen=True)
class Goal:
    """The least median of `peer`/ours that the row is to reach; `slack` is the noise granted.

    `attainable`: the contestant that does only what nobody can do without, such as calls that do
    nothing. What it reaches is the most that anybody can.
    """

    ratio: float
    slack: float = 0.0
    peer: str = "stdlib"
    attainable: str = ""


@dataclass(frozen=True)
class Row:
    """One kind of work, the same for every contestant."""

    name: str
    what: str
    fixture: Fixture
    goal: Goal | None
    unit: str = "µs"
    size: int = 0  # bytes an operation moves, for the unit GB/s
    cpus: int = 1  # 2: two processes or threads take part, so pairs that mix near and far are void


@dataclass
class Trial:
    """What one contestant measured in one pair: nanoseconds an operation."""

    pair: int
    place: int
    ops: int
    ns: float
    mean_ns: float
    probe_ns: float | None

    @property
    def near(self) -> bool | None:
        return None if self.probe_ns is None else self.probe_ns < NEAR_BELOW_NS


@dataclass
class Result:
    """A row's trials by contestant; `absent` and `failed` say why a contestant has none."""

    row: Row
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    void_pairs: int = 0
