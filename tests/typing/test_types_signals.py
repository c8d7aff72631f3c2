"""What type checkers say about `ipcx.signals`, and that it is so."""

import os
import signal
import subprocess
import sys
from typing import assert_type

from ipcx import signals


def test_a_signal_and_what_came_with_it() -> None:
    with signals.SignalReceiver([signal.SIGUSR1, signal.SIGRTMIN]) as receiver:
        assert_type(receiver, signals.SignalReceiver)
        signals.send(os.getpid(), signal.SIGRTMIN, 5)
        info = receiver.receive(timeout=5)
        assert_type(info, signals.SignalInfo)
        assert_type(info.value, int | None)
        assert_type(info.pid, int | None)
        assert_type(info.name, str)
        assert_type(receiver.fileno(), int)
        assert_type(receiver.closed, bool)
        assert_type(receiver.signals, frozenset[int])
        assert (info.value, info.pid) == (5, os.getpid())


def test_processes() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        signals.send(child, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL


def test_waiting_and_handlers() -> None:
    with signals.block(signal.SIGUSR1):
        signals.send(os.getpid(), signal.SIGUSR1)
        assert_type(signals.wait(signal.SIGUSR1, 5), signals.SignalInfo)
    with signals.on([signal.SIGUSR1, signal.SIGUSR2], lambda number, frame: None):
        pass
    with signals.on(signal.SIGUSR1, signal.SIG_IGN), signals.unblocked():
        pass


async def awaited(receiver: signals.SignalReceiver) -> None:
    assert_type(await receiver, signals.SignalInfo)
    async for info in receiver:
        assert_type(info, signals.SignalInfo)
