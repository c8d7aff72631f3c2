"""The lab lives as long as its process, by design: its warden and its folder. Here, a test long."""

import contextlib
import sys

import pytest


@pytest.fixture(autouse=True)
def lab_ends(guard):
    yield
    if "ipcx.lab._home" in sys.modules:
        from ipcx.lab import _home, _processes, _pump

        _processes.stop()
        _processes._known.clear()
        _home.close()
        with contextlib.suppress(AttributeError):  # it has ended already
            _pump.pump.thread.join()
