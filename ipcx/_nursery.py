# SPDX-License-Identifier: Apache-2.0
"""Children for the demonstrations, which may be killed at any time and leave nobody behind.

A *nursery* is a process that does nothing but fork: it is made while its maker has one thread, so
its forks are clean whatever threads the maker starts later, and it is the parent of all children,
so it kills the one that is meant and never a stranger with the same pid. It ends them all when its
maker ends, however that happens: it waits for orders, and the end of the orders is the order to go.
"""

import contextlib
import gc
import os
import signal
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, Pipe
from typing import Any

from ipcx._closing import Closing

PATIENCE = 10.0  # seconds for an answer; forking takes milliseconds


class Nursery(Closing):
    """Starts the functions of a table, each call in a child of its own.

    What the functions use must be there when the nursery is made: it is inherited.
    """

    def __init__(self, functions: Mapping[str, Callable[..., None]]) -> None:
        self._orders, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                self._orders.close()
                _tend(theirs, functions)
                status = 0
            finally:
                os._exit(status)
        theirs.close()

    def start(self, function: str, *arguments: object) -> int:
        """Starts a child; returns its pid."""
        return int(self._order("start", function, arguments))

    def kill(self, pid: int) -> None:
        """kill -9; returns when the child has ended."""
        self._order("kill", pid)

    def _order(self, *order: object) -> Any:
        self._orders.send(order)
        if not self._orders.poll(PATIENCE):
            raise TimeoutError("the process that starts the others does not answer")
        return self._orders.recv()

    def close(self) -> None:
        """Ends all children, and the nursery."""
        if self._pid:
            pid, self._pid = self._pid, 0
            self._orders.close()
            os.waitpid(pid, 0)


def _tend(orders: Connection, functions: Mapping[str, Callable[..., None]]) -> None:
    """The nursery's life: one order after the other."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # for its maker, who then ends the orders
    gc.freeze()  # what is inherited is not touched again, and stays shared
    children: set[int] = set()
    try:
        while True:
            match orders.recv():
                case ("start", str(name), arguments):
                    pid = os.fork()
                    if pid == 0:
                        _live(orders, functions[name], arguments)
                    children.add(pid)
                    orders.send(pid)
                case ("kill", pid):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    children.discard(pid)
                    orders.send(pid)
    except EOFError:
        pass
    finally:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


def _live(orders: Connection, function: Callable[..., None], arguments: tuple[object, ...]) -> None:
    """A child's life. Ctrl-C is for the maker; SIGTERM ends it as it ends any program."""
    status = 1
    try:
        orders.close()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        function(*arguments)
        status = 0
    finally:
        os._exit(status)
