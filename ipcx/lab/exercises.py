# SPDX-License-Identifier: Apache-2.0
"""Exercises: a text with numbers drawn from a seed, hints, a solution, and a check that explains.

>>> p = problem("udp-echo", seed=7)
>>> p.hint()
Hint 1 of 2: a datagram's sender is what recvfrom() returns beside its bytes.
>>> bool(p.check(p.solution()))
✓ the server has bound a UDP socket to the port it was given
...
True

A problem is a subclass of `Problem` in a module of ``ipcx.lab.problem_set``; it is found by being
there. What it must have is written at the class.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import random
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

from ipcx import lab
from ipcx.lab import _progress
from ipcx.lab.check import Failed, Finding, Role, Stage, Verdict, bad, good

__all__ = [
    "Exercise",
    "Failed",
    "Finding",
    "Problem",
    "Sources",
    "Wrong",
    "bad",
    "good",
    "problem",
    "problems",
]


class Sources(dict[str, str]):
    """Sources by role, dedented; shown as they are."""

    def __init__(self, **roles: str) -> None:
        super().__init__({role: textwrap.dedent(s).strip() + "\n" for role, s in roles.items()})

    def __str__(self) -> str:
        return "\n".join(f"# ---- {role}\n{source}" for role, source in self.items())

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return "\n".join(f"**{role}**\n\n```python\n{self[role]}```\n" for role in self)


class Wrong:
    """A wrong solution by name: what the check must say to it, and the source of what is wrong.

    The roles that are not given are those of the solution.
    """

    def __init__(self, name: str, says: str, *, night: bool = False, **roles: str) -> None:
        self.name = name
        self.night = night  # its check lasts until the problem's `seconds` are over
        self.says = says  # stands in one of the sentences against it
        self.roles = Sources(**roles)


_Handed = str | os.PathLike[str] | Callable[..., Any] | Sources


class Problem:
    """What a problem consists of; see "Writing a problem" in the guide on notebooks.

    One object is made for each seed. Its `given` are the names that a student's program finds.
    """

    id: ClassVar[str]
    """As in ``lab.problem("udp-echo")``: words with hyphens."""
    title: ClassVar[str]
    topic: ClassVar[str]
    """The number of its notebook, "08"."""
    roles: ClassVar[tuple[str, ...]]
    """The programs or functions that the student writes, in the order of handing in."""
    ports: ClassVar[tuple[str, ...]] = ()
    """Names in the text that stand for a free port."""
    hints: ClassVar[tuple[str, ...]]
    """The first one says least."""
    solution: ClassVar[Sources]
    """The source of each role, whatever the seed."""
    broken: ClassVar[tuple[Wrong, ...]]
    """Wrong solutions: the tests hand in each of them."""
    seconds: ClassVar[float] = 20.0
    """After so many a check is ended. It is for what moves for ever; what hangs is seen earlier."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.given = dict(self.variants(random.Random(f"{self.id}/{seed}")))

    def variants(self, draw: random.Random) -> Mapping[str, Any]:
        """The values drawn from the seed, by name."""
        return {}

    def text(self) -> str:
        """The task, in Markdown. Dedented; it may use `given`."""
        raise NotImplementedError

    def check(self, stage: Stage) -> Iterator[Finding]:
        """Plays the solution on the stage, and yields what it finds. `Failed` ends it."""
        raise NotImplementedError


# ---- the problems there are


def every() -> list[type[Problem]]:
    """All problems, by notebook."""
    from ipcx.lab import problem_set

    found: dict[str, type[Problem]] = {}
    for info in pkgutil.iter_modules(problem_set.__path__):
        module = importlib.import_module(f"{problem_set.__name__}.{info.name}")
        for each in vars(module).values():
            if (
                not isinstance(each, type)
                or not issubclass(each, Problem)
                or "id" not in vars(each)
            ):
                continue
            if found.setdefault(each.id, each) is not each:
                raise ValueError(f"two problems have the id {each.id!r}")
    return sorted(found.values(), key=lambda each: each.topic)


class Problems(list[str]):
    """Ids, shown with their titles."""

    def __repr__(self) -> str:
        known = {each.id: each for each in every()}
        return "\n".join(f"{known[id].topic}  {id:32} {known[id].title}" for id in self)


def problems(topic: str | int | None = None) -> Problems:
    """The ids of all problems, or of those of one notebook: ``lab.problems("08")``."""
    wanted = None if topic is None else f"{int(topic):02}"
    return Problems(each.id for each in every() if wanted in (None, each.topic))


def problem(id: str, seed: int = 1) -> Exercise:
    """The problem of that id, with the numbers of that seed. LookupError: there is none."""
    known = {each.id: each for each in every()}
    if id not in known:
        import difflib

        close = difflib.get_close_matches(id, known, 1)
        also = f"did you mean {close[0]!r}? " if close else ""
        raise LookupError(f"there is no problem {id!r}: {also}lab.problems() lists them")
    return Exercise(known[id](seed))


# ---- what a student has in hands


class Exercise:
    """A problem with its numbers, as `problem` gives it; in a notebook it shows its text."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._hints = 0
        self._given: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """The problem's id."""
        return self._problem.id

    @property
    def seed(self) -> int:
        """Where its numbers come from."""
        return self._problem.seed

    @property
    def given(self) -> dict[str, Any]:
        """Values for the names in the text, to try a solution with; the check has its own ports."""
        if self._given is None:
            self._given = dict(self._problem.given)
            for name in self._problem.ports:
                self._given[name] = _port(f"{self.id}.{name}")
        return self._given

    @property
    def text(self) -> str:
        """The task, in Markdown."""
        return textwrap.dedent(self._problem.text()).strip()

    def _repr_markdown_(self) -> str:
        return f"### {self._problem.title}\n\n{self.text}"

    def __str__(self) -> str:
        return f"{self._problem.title}\n\n{self.text}"

    def __repr__(self) -> str:
        return f"<problem {self.id}, seed {self.seed}>"

    def hint(self) -> None:
        """Prints the next hint; each call one more."""
        hints = self._problem.hints
        self._hints = min(self._hints + 1, len(hints))
        for number in range(self._hints - 1, self._hints):
            print(f"Hint {number + 1} of {len(hints)}: {hints[number]}")
        if self._hints == len(hints):
            print("That was the last one; solution() shows a way.")

    def solution(self) -> Sources:
        """A solution: the source of each role."""
        return self._problem.solution

    def check(self, *handed: _Handed, **by_role: _Handed) -> Verdict:
        """Runs what is handed in, and prints what it finds: on stderr if something is wrong.

        Each is the name of a cell, a function, a path, or a source, in the order of the roles or by
        role; or all of them are what `solution` gives. Without any the cells are meant that have
        the roles' names. What runs does so in
        processes of its own, and is gone when this returns, which it always does.
        """
        verdict = self._verdict(self._roles(handed, by_role))
        # nbgrader's button "Validate" takes what stands on stderr for failed, and nothing else
        # that is no exception.
        print(verdict, file=sys.stdout if verdict else sys.stderr)
        _progress.note(self.id, self.seed, bool(verdict))
        return verdict

    def _verdict(self, roles: dict[str, Role]) -> Verdict:
        findings: list[Finding] = []
        record = waits = None
        with Stage(roles, seed=self.seed, seconds=self._problem.seconds) as stage:
            try:
                for finding in self._problem.check(stage):
                    findings.append(finding)
                    if not finding.ok:
                        break
            except Failed as failed:
                waits = stage.waits
                if waits is not None and waits.cycles:
                    findings.append(bad(waits.words()[0].rstrip(".")))
                findings.append(bad(str(failed)))
            if not all(finding.ok for finding in findings):
                record = stage.record()
        return Verdict(findings, record, waits)

    def _roles(self, handed: tuple[_Handed, ...], by_role: dict[str, _Handed]) -> dict[str, Role]:
        names = self._problem.roles
        if not handed and not by_role:
            handed = tuple(names)
        for whole in handed:
            if isinstance(whole, Sources):
                handed, by_role = (), {**whole, **by_role}
        if len(handed) > len(names):
            raise TypeError(f"{self.id} takes {', '.join(names)}: {len(handed)} are too many")
        parts: dict[str, _Handed] = dict(zip(names, handed, strict=False))
        for role, part in by_role.items():
            if role not in names:
                raise TypeError(f"{self.id} has the roles {', '.join(names)}, not {role!r}")
            if role in parts:
                raise TypeError(f"{role} is handed in twice")
            parts[role] = part
        missing = [role for role in names if role not in parts]
        if missing:
            raise TypeError(f"{self.id}: nothing is handed in for {' and '.join(missing)}")
        return {role: _role(role, parts[role]) for role in names}


# ---- what is handed in


def _role(role: str, part: _Handed) -> Role:
    if isinstance(part, FunctionType):
        try:
            source = textwrap.dedent(inspect.getsource(part))
        except (OSError, TypeError):
            source = ""
        if not source.lstrip().startswith(("def ", "@")):
            raise TypeError(f"{role}: a function is handed in by its source, and {part!r} has none")
        return Role(role, source, part.__name__)
    if isinstance(part, os.PathLike):
        return Role(role, Path(part).read_text(encoding="utf-8"))
    if not isinstance(part, str):
        raise TypeError(f"{role} is a cell's name, a function, a path or a source, not {part!r}")
    cell = _cell(part)
    if cell is not None:
        return Role(role, cell)
    if "\n" in part:
        return Role(role, part)
    if part.endswith(".py") or os.path.isfile(part):
        return Role(role, Path(part).read_text(encoding="utf-8"))
    raise LookupError(
        f"{role}: there is no cell {part!r} (%%process {part} makes one, once it has run), and no "
        "file of that name"
        + ("; a source ends with a newline" if any(sign in part for sign in " ();=") else "")
    )


def _cell(name: str) -> str | None:
    source = getattr(lab, "source", None)
    try:
        return None if source is None else str(source(name))
    except LookupError:
        return None


def _port(name: str) -> int:
    port = getattr(lab, "port", None)
    if port is not None:
        return int(port(name))
    with Stage({}) as stage:
        return stage.port()
