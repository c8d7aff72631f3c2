# SPDX-License-Identifier: Apache-2.0
"""The output of children: printed here line by line with their names, or collected.

Printing needs somebody who reads while the program does something else: one thread,
``ipcx-output``, for all children together, so that no line is torn by another's. It is there from
the first child whose output is streamed to the end of the last one's output.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import select
import sys
import threading
from collections.abc import AsyncIterator, Iterator

from ipcx._awaiting import Readable
from ipcx._lines import Cutter
from ipcx._pump import Pump, Source
from ipcx._terminal import Terminal

__all__ = ["Output"]

LONGEST = 1 << 20  # bytes of a line that is shown in one piece
COLOURS = ("cyan", "yellow", "green", "red", "bold")


# ---- streamed


class Stream:
    """One child's output on its way to one of ours."""

    def __init__(self, fd: int, name: str, colour: str, errors: bool) -> None:
        self.source = Source(fd, self.pass_on)
        self.name, self.colour, self.errors = name, colour, errors
        self.lines = Cutter(LONGEST)
        self.done = threading.Event()  # all was printed

    def pass_on(self, piece: bytes) -> None:
        if piece:
            self.show(self.lines.cut(piece))
        else:
            self.show(self.lines.end())
            self.done.set()

    def show(self, lines: list[bytes]) -> None:
        out = sys.stderr if self.errors else sys.stdout
        if out is None or not lines:
            return
        with contextlib.suppress(OSError, ValueError):  # closed
            label = Terminal(out).style(f"{self.name} |", self.colour)
            texts = (line.decode(errors="backslashreplace").rstrip("\r") for line in lines)
            out.write("".join(f"{label} {text}\n" for text in texts))
            out.flush()

    # -- for the pump

    @property
    def _over(self) -> bool:
        return self.done.is_set()

    def _descriptors(self) -> list[int]:
        return [self.source.fd]

    def _next_due(self) -> float | None:
        return None

    def _turn(self, ready: set[int]) -> None:
        if self.source.fd in ready:
            self.source.read()

    def _forget(self) -> None:
        self.source.close()


_pump = Pump("ipcx-output")
_colours = itertools.cycle(COLOURS)


@atexit.register
def _at_exit() -> None:
    """What is there is shown, what comes later is not."""
    _pump.stop()
    for one in _pump.members:
        one._turn(set(one._descriptors()))


def stream(out: int, errors: int, name: str) -> list[Stream]:
    """Prints what comes out of both descriptors, which are the relay's from now on."""
    colour = next(_colours)
    made = [Stream(out, name, colour, False), Stream(errors, name, colour, True)]
    _pump.add(*made)
    return made


# ---- collected


class Output:
    """What a child writes to its stdout: ``for line in process.output``, or `read`.

    A line is a str, without its end; bytes that are no UTF-8 are shown as escapes. The end is where
    the child, and whoever has its stdout from it, have closed it. Whoever waits for the child takes
    in what it writes meanwhile, so a wait never hangs for an output that nobody reads.
    """

    def __init__(self, fd: int) -> None:
        self._held = bytearray()
        self._searched = 0  # bytes of it, in which there is no line's end
        self._lock = threading.Lock()
        self._awaiting = Readable()
        self._source = Source(fd, self._held.extend)  # no cycle: it ends with its last user

    @property
    def _fd(self) -> int:
        return self._source.fd

    def _take_in(self) -> None:
        """Some of what is there, into memory: not for ever, however fast the child writes."""
        with self._lock:
            self._source.read()

    def _close(self) -> None:
        with self._lock:
            self._source.close()
        self._awaiting.wake()

    def _line(self) -> bytes | None:
        """The next one; None: it is not there yet; b"": it was the last."""
        with self._lock:
            end = self._end_of_line()
            if end < 0:
                self._source.read()
                end = self._end_of_line()
            if end < 0:
                if self._fd >= 0:
                    return None
                end = len(self._held)
            line = bytes(self._held[: end + 1])
            del self._held[: end + 1]
            self._searched = 0
            return line

    def _end_of_line(self) -> int:
        """Where it is; -1: not there yet. Each byte is looked at once."""
        end = self._held.find(b"\n", self._searched)
        self._searched = len(self._held) if end < 0 else end
        return end

    def __del__(self) -> None:
        source = getattr(self, "_source", None)
        if source is not None:
            source.close()

    def __iter__(self) -> Iterator[str]:
        while True:
            line = self._line()
            if line is None:
                _until_readable(self._fd)
            elif not line:
                return
            else:
                yield _text(line)

    async def __aiter__(self) -> AsyncIterator[str]:
        while True:
            line = self._line()
            if line is None:
                await self._awaiting.wait(self._fd)
            elif not line:
                return
            else:
                yield _text(line)

    def read(self) -> bytes:
        """All that is left, once it has ended."""
        while True:
            self._take_in()
            with self._lock:
                if self._fd < 0:
                    rest, self._searched = bytes(self._held), 0
                    self._held.clear()
                    return rest
            _until_readable(self._fd)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\n").decode(errors="backslashreplace")


def _until_readable(fd: int) -> None:
    poll = select.poll()
    if fd >= 0:
        poll.register(fd, select.POLLIN)
        poll.poll()


async def settled(streams: list[Stream], seconds: float) -> None:
    """Until all of them were printed, or so many seconds have passed."""
    until = asyncio.get_running_loop().time() + seconds
    while not all(stream.done.is_set() for stream in streams):
        if asyncio.get_running_loop().time() > until:
            return
        await asyncio.sleep(0.005)
