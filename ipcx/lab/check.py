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

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ipcx.lab._stage import Actor, Failed, Role, Stage

if TYPE_CHECKING:
    from ipcx.lab.model import Record

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

    In a notebook it shows the picture of the run that failed, if something was sent in it.
    """

    findings: list[Finding]
    """In the order in which they were made."""
    record: Record | None
    """What the programs of the failing run sent and received; None: nothing, or nothing failed."""

    def __init__(self, findings: Iterable[Finding], record: Record | None = None) -> None:
        self.findings = list(findings)
        self.record = record

    def __bool__(self) -> bool:
        return bool(self.findings) and all(finding.ok for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))

    def __repr__(self) -> str:
        right = sum(finding.ok for finding in self.findings)
        state = "solved" if self else "not solved yet"
        return f"<Verdict: {state}, {right} of {len(self.findings)} findings are good>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if not self and self.record is not None:
            shown = self.record._repr_mimebundle_(include, exclude)
            return dict(shown)
        return {"text/plain": repr(self)}
