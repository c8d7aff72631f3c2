# SPDX-License-Identifier: Apache-2.0
"""Time-outs: how they are checked, and what is left of one in a call that waits several times."""

from __future__ import annotations

import math
import time

__all__ = ["Deadline", "check_timeout"]


def check_timeout(timeout: float | None) -> None:
    """Seconds, or None; else ValueError."""
    if timeout is not None and not timeout >= 0:  # NaN too
        raise ValueError(f"timeout is seconds >= 0 or None, not {timeout!r}")


class Deadline:
    """`timeout` seconds from now; None, or infinitely many: never."""

    def __init__(self, timeout: float | None) -> None:
        check_timeout(timeout)
        self._end = None if timeout is None or timeout == math.inf else time.monotonic() + timeout

    def left(self) -> float | None:
        """Seconds, 0.0 when it has passed; None: for ever."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def left_ms(self) -> float | None:
        """The same in milliseconds, as ``poll`` wants it."""
        return None if self._end is None else max(0.0, self._end - time.monotonic()) * 1000

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self._end is not None and time.monotonic() >= self._end
