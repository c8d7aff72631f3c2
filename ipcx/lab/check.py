# SPDX-License-Identifier: Apache-2.0
"""What a check finds: findings, each a sentence that is true of a solution or not, and the verdict.

>>> verdict = Verdict([good("all 10 messages have arrived"), bad("message 3 arrived twice")])
>>> print(verdict)
✓ all 10 messages have arrived
✗ message 3 arrived twice
>>> bool(verdict)
False
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ipcx.lab._stage import Actor, Failed, Role, Stage

if TYPE_CHECKING:
    from ipcx.lab.model import Record
    from ipcx.lab.wait_graph import WaitGraph

__all__ = ["Actor", "Failed", "Finding", "Role", "Stage", "Verdict", "bad", "good"]


class Finding(NamedTuple):
    """A sentence about a solution."""

    ok: bool
    """Whether it speaks for the solution."""
    text: str
    """The sentence, without a full stop."""

    def __str__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.text}"


def good(text: str) -> Finding:
    """A finding that speaks for the solution."""
    return Finding(True, text)


def bad(text: str) -> Finding:
    """A finding that speaks against it."""
    return Finding(False, text)


class Verdict:
    """What came of a check: true if everything speaks for the solution.

    In a notebook it shows pictures of the run that failed: who waited for whom if nobody went on,
    and what was sent.
    """

    findings: list[Finding]
    """In the order in which they were made."""
    record: Record | None
    """What the programs of the failing run sent and received; None: nothing, or nothing failed."""
    waits: WaitGraph | None
    """Who waited for whom when nothing moved any more; None: that was not what failed."""

    def __init__(
        self,
        findings: Iterable[Finding],
        record: Record | None = None,
        waits: WaitGraph | None = None,
    ) -> None:
        self.findings = list(findings)
        self.record = record
        self.waits = waits

    def __bool__(self) -> bool:
        return bool(self.findings) and all(finding.ok for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))

    def __repr__(self) -> str:
        right = sum(finding.ok for finding in self.findings)
        state = "solved" if self else "not solved yet"
        return f"<Verdict: {state}, {right} of {len(self.findings)} findings are good>"

    def show(self) -> str:
        """Shows what a notebook would show of it, and gives the sentences: for an ``assert``.

        >>> assert Verdict([good("it listens")]), "not evaluated: verdict.show()"
        """
        if sys.modules.get("IPython") is not None and sys.modules["IPython"].get_ipython():
            self._ipython_display_()
        return str(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if self or (self.waits is None and self.record is None):
            return {"text/plain": repr(self)}
        made: dict[str, Any] = {}
        for picture in (self.waits, self.record):
            if picture is not None:
                for kind, shown in picture._repr_mimebundle_(include, exclude).items():
                    # Two pictures are two in a page and in a terminal; an image is one of them.
                    both = kind in made and kind != "image/svg+xml"
                    made[kind] = f"{made[kind]}\n\n{shown}" if both else made.get(kind, shown)
        return made

    def _ipython_display_(self) -> None:
        # Shown, and not a cell's result: that graders want to be a number of points.
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)  # type: ignore[no-untyped-call]
