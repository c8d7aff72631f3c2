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
import os
import select
import sys
import threading
from collections.abc import AsyncIterator, Iterator

from ipcx._awaiting import Readable
from ipcx._descriptors import close_quietly
from ipcx._terminal import Terminal

__all__ = ["Output"]

PIECE = 1 << 16
TURNS = 16  # pieces taken in before somebody else is looked at
LONGEST = 1 << 20  # bytes of a line that is shown in one piece
COLOURS = ("cyan", "yellow", "green", "red", "bold")


# ---- streamed


class Stream:
    """One child's output on its way to one of ours."""

    def __init__(self, fd: int, name: str, colour: str, errors: bool) -> None:
        self.fd = fd
        self.name, self.colour, self.errors = name, colour, errors
        self.rest = b""
        self.done = threading.Event()  # all was printed
        os.set_blocking(fd, False)

    def pass_on(self) -> None:
        """What is there; at its end closes the descriptor."""
        while not self.done.is_set():
            try:
                piece = os.read(self.fd, PIECE)
            except BlockingIOError:
                return
            *lines, self.rest = (self.rest + piece).split(b"\n")
            if self.rest and (not piece or len(self.rest) > LONGEST):
                lines.append(self.rest)
                self.rest = b""
            self.show(lines)
            if not piece:
                close_quietly(self.fd)
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


class _Relay:
    """The thread, and what it reads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.streams: dict[int, Stream] = {}
        self.thread: threading.Thread | None = None
        self.bell = -1  # an eventfd: look again
        self.stopping = False

    def add(self, streams: list[Stream]) -> None:
        with self.lock:
            before = self.streams
            self.streams = before | {stream.fd: stream for stream in streams}
            try:
                if self.thread is None:
                    self.start()
                else:
                    os.eventfd_write(self.bell, 1)
            except BaseException:
                self.streams = before
                raise

    def start(self) -> None:
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        thread = threading.Thread(target=self.run, name="ipcx-output", daemon=True)
        self.bell, self.thread = bell, thread
        try:
            thread.start()
        except BaseException:  # there may be no more threads
            close_quietly(bell)
            self.thread = None
            raise

    def run(self) -> None:
        while True:
            with self.lock:
                self.streams = {
                    fd: stream for fd, stream in self.streams.items() if not stream.done.is_set()
                }
                if not self.streams or self.stopping:
                    close_quietly(self.bell)
                    self.thread = None
                    return
                streams, bell = dict(self.streams), self.bell
            poll = select.poll()
            for fd in (*streams, bell):
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll():
                if fd == bell:
                    os.eventfd_read(bell)
                else:
                    streams[fd].pass_on()

    def stop(self) -> None:
        """At the end of the program: what is there is shown, what comes later is not."""
        with self.lock:
            thread, self.stopping = self.thread, True
            if thread is not None:
                os.eventfd_write(self.bell, 1)
        if thread is not None:
            thread.join()
        for stream in self.streams.values():
            stream.pass_on()

    def in_child(self) -> None:
        """After a fork: the thread is the parent's, and the descriptors are copies."""
        for fd in (*self.streams, *([self.bell] if self.thread is not None else [])):
            with contextlib.suppress(OSError):
                os.close(fd)
        self.__init__()  # type: ignore[misc]


_relay = _Relay()
_colours = itertools.cycle(COLOURS)
atexit.register(_relay.stop)
os.register_at_fork(
    before=lambda: _relay.lock.acquire() and None,
    after_in_parent=lambda: _relay.lock.release(),
    after_in_child=_relay.in_child,
)


def stream(out: int, errors: int, name: str) -> list[Stream]:
    """Prints what comes out of both descriptors, which are the relay's from now on."""
    colour = next(_colours)
    made = [Stream(out, name, colour, False), Stream(errors, name, colour, True)]
    _relay.add(made)
    return made


# ---- collected


class Output:
    """What a child writes to its stdout: ``for line in process.output``, or `read`.

    A line is a str, without its end; bytes that are no UTF-8 are shown as escapes. The end is where
    the child, and whoever has its stdout from it, have closed it. Whoever waits for the child takes
    in what it writes meanwhile, so a wait never hangs for an output that nobody reads.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held = bytearray()
        self._lock = threading.Lock()
        self._awaiting = Readable()
        os.set_blocking(fd, False)

    def _take_in(self) -> None:
        """Some of what is there, into memory: not for ever, however fast the child writes."""
        with self._lock:
            for _ in range(TURNS):
                if self._fd < 0:
                    return
                try:
                    piece = os.read(self._fd, PIECE)
                except BlockingIOError:
                    return
                self._held += piece
                if not piece:
                    close_quietly(self._fd)
                    self._fd = -1

    def _close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                close_quietly(self._fd)
                self._fd = -1
        self._awaiting.wake()

    def _line(self) -> bytes | None:
        """The next one; None: it is not there yet; b"": it was the last."""
        with self._lock:
            end = self._held.find(b"\n")
        if end < 0:
            self._take_in()
        with self._lock:
            end = self._held.find(b"\n")
            if end < 0:
                if self._fd >= 0:
                    return None
                end = len(self._held)
            line = bytes(self._held[: end + 1])
            del self._held[: end + 1]
            return line

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
                    rest, self._held = bytes(self._held), bytearray()
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
