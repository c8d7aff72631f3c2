"""Time-outs: what is one, and what is left of it."""

import math

import pytest

from ipcx import _timeouts
from ipcx._timeouts import Deadline, check_timeout


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


def test_what_is_left(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_timeouts, "time", clock)
    deadline = Deadline(2)
    assert (deadline.left(), deadline.left_ms(), deadline.passed) == (2.0, 2000.0, False)
    clock.now += 1.5
    assert (deadline.left(), deadline.left_ms(), deadline.passed) == (0.5, 500.0, False)
    clock.now += 0.5
    assert (deadline.left(), deadline.left_ms(), deadline.passed) == (0.0, 0.0, True)
    clock.now += 1000
    assert (deadline.left(), deadline.left_ms(), deadline.passed) == (0.0, 0.0, True)
    assert Deadline(0).passed
    for never in (Deadline(None), Deadline(math.inf)):
        assert (never.left(), never.left_ms(), never.passed) == (None, None, False)


@pytest.mark.parametrize("wrong", [-1, -1e-9, math.nan])
def test_what_is_none(wrong):
    for check in (check_timeout, Deadline):
        with pytest.raises(ValueError, match="seconds >= 0 or None"):
            check(wrong)


@pytest.mark.parametrize("right", [None, 0, 1.5, math.inf])
def test_what_is_one(right):
    check_timeout(right)
    Deadline(right)
