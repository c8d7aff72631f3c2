# SPDX-License-Identifier: Apache-2.0
"""How ipcx.aio waits: in an event loop, for a descriptor, until an attempt succeeds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from ipcx._core import Timeout

__all__ = ["Descriptor"]

LOOK_AGAIN = 0.01  # seconds until the next look at a descriptor that shows what nobody asks for
_Attempt = Callable[[], Any]  # NotImplemented: nothing to do yet
_Entry = tuple["asyncio.Future[Any]", _Attempt]


class Descriptor:
    """Coroutines that wait until a descriptor is ready and an attempt succeeds.

    The attempt is made in the loop's own callback, so an event is used up before the loop looks
    again. The loop stays armed from one wait to the next, so that a dialogue costs no system calls
    but its own; an event that finds nobody waiting disarms it.
    """

    def __init__(
        self,
        add: str,
        remove: str,
        again: float | None = None,
        answers: Callable[[], int] = lambda: 0,
        beside: Descriptor | None = None,
    ) -> None:
        self._add, self._remove = add, remove
        self._answers = answers  # how many were taken in, of those that one waits for aside
        self._seen = 0  # how many of them when those aside tried the last time
        self._beside = beside  # of the same object: what is tried here may take in its answers
        self._again = again  # seconds after which those who wait try again, whatever it shows
        self._comes_again = False
        self.queue: deque[_Entry] = deque()  # in turn: who comes first is served first
        self.aside: list[_Entry] = []  # each waits for an answer of its own
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1

    def __bool__(self) -> bool:
        return bool(self.queue or self.aside)

    async def wait(
        self,
        fd: int,
        attempt: _Attempt,
        timeout: float | None,
        what: str,
        undo: Callable[[Any], None] | None = None,
        aside: bool = False,
    ) -> Any:
        """The answer of `attempt`. `undo` takes it back from a coroutine cancelled in between."""
        loop = asyncio.get_running_loop()
        self._arm(loop, fd)
        future: asyncio.Future[Any] = loop.create_future()
        entry = (future, attempt)
        line = self.aside if aside else self.queue
        line.append(entry)
        if self.aside:  # the descriptor was asked for just now, which reads
            self.look_aside()
        timer = None if timeout is None else loop.call_later(timeout, _expire, future, what)
        self._try_again_later(loop)
        try:
            return await future
        except asyncio.CancelledError:
            if undo is not None and _succeeded(future):
                undo(future.result())
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if entry in line:
                line.remove(entry)

    def serve(self) -> None:
        """Lets the waiting ones try, the first first, until one has to wait on."""
        if self.aside:
            self.look_aside()
        queue = self.queue
        while queue:
            future, attempt = queue[0]
            if not future.done() and not _try(future, attempt):
                break
            queue.popleft()
        if self.aside and self._answers() != self._seen:
            self.look_aside()
        beside = self._beside
        if beside is not None and beside.aside and beside._answers() != beside._seen:
            beside.look_aside()

    def look_aside(self) -> None:
        """For after a call that may read: what it took in, the descriptor does not show any more.

        An attempt reads, too, and may take in what another one waits for.
        """
        while self.aside:
            self._seen = self._answers()
            for entry in tuple(self.aside):
                if entry[0].done() or _try(*entry):
                    self.aside.remove(entry)
            if self._answers() == self._seen:
                break

    def end(self, error: BaseException) -> None:
        """Ends every wait with `error`; the descriptor is about to go."""
        self._disarm()
        for future, _ in (*self.queue, *self.aside):
            if not future.done():
                future.set_exception(error)

    def _ready(self) -> None:
        aside, in_vain = len(self.aside), not self.queue
        self.serve()
        if in_vain and len(self.aside) == aside:
            # Nobody waits, or what is there is for somebody who does not ask for it now.
            loop, fd = self._loop, self._fd
            self._disarm()
            if aside and loop is not None:
                loop.call_later(LOOK_AGAIN, self._look_again, loop, fd)

    def _try_again_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._again is not None and not self._comes_again:
            self._comes_again = True
            loop.call_later(self._again, self._try_again, loop)

    def _try_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._comes_again = False
        if self:
            self.serve()
            self._try_again_later(loop)

    def _look_again(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        if self.aside and self._loop is None:
            self.serve()
            if self.aside:
                self._arm(loop, fd)

    def _arm(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        if self._loop is loop and self._fd == fd:
            return
        if self and self._loop is not None and self._loop is not loop:
            raise RuntimeError("another event loop waits for this channel; use it in one loop")
        self._disarm()
        getattr(loop, self._add)(fd, self._ready)
        self._loop, self._fd = loop, fd

    def _disarm(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            getattr(self._loop, self._remove)(self._fd)
        self._loop, self._fd = None, -1


def _try(future: asyncio.Future[Any], attempt: _Attempt) -> bool:
    """Whether `future` has its answer now."""
    try:
        answer = attempt()
    except Exception as error:
        if isinstance(error, StopIteration):  # which a future refuses
            error = RuntimeError("the attempt raised StopIteration")
        future.set_exception(error)
        return True
    if answer is NotImplemented:
        return False
    future.set_result(answer)
    return True


def _succeeded(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _expire(future: asyncio.Future[Any], what: str) -> None:
    if not future.done():
        future.set_exception(Timeout(f"{what}: the deadline passed"))
