# SPDX-License-Identifier: Apache-2.0
"""How a process ended, in numbers and in words: for processes and for stages of pipelines."""

from __future__ import annotations

from ipcx.signals import name as signal_name

__all__ = ["described", "status_and_signal"]


def status_and_signal(found: tuple[int, int, bool, bool]) -> tuple[int | None, int | None]:
    """What the core's child has found: an exit status, or a signal; neither where both are lost."""
    status, killer, _, lost = found
    return None if lost or killer else status, killer or None


def described(status: int | None, killer: int | None, dumped: bool = False) -> str:
    """In words."""
    if status is not None:
        return f"exit status {status}"
    if killer is None:
        return "ended, how is not known"
    return f"ended by {signal_name(killer)}{' (core dumped)' if dumped else ''}"
