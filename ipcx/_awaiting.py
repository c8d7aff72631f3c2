# SPDX-License-Identifier: Apache-2.0
"""Coroutines that wait for a descriptor, any number of them at once, under asyncio's event loops.

Invariant: what is registered with a loop is a duplicate that belongs to the wait alone, so that an
object may be closed, and its descriptor's number be used again, while coroutines wait for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ipcx._closing import Closing
from ipcx._core import Closed, WouldBlock

if TYPE_CHECKING:
    from typing import Self

__all__: list[str] = []

T = TypeVar("T")


class Readable:
    """The coroutines that wait for one object."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    async def wait(self, fd: int) -> None:
        """Until `fd` is readable, or wake() is called: then look whether there is something."""
        loop = asyncio.get_running_loop()
        own = os.dup(fd)
        future = loop.create_future()
        try:
            loop.add_reader(own, _done, future)
            self._waiters.add(future)
            await future
        finally:
            self._waiters.discard(future)
            try:
                loop.remove_reader(own)
            finally:
                os.close(own)

    def wake(self) -> None:
        """Ends every wait; from any thread."""
        for future in list(self._waiters):
            future.get_loop().call_soon_threadsafe(_done, future)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Source(Closing, Generic[T]):
    """What gives one thing after the other: ``for``, ``await``, ``async for`` and ``with``.

    In front of a class of the core, which has ``receive``, ``fileno`` and ``close``.
    """

    _ends: ClassVar[tuple[type[Exception], ...]] = (Closed,)  # what ends a loop over it

    def __init__(self, *arguments: Any) -> None:
        self._awaiting = Readable()
        super().__init__(*arguments)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """The next one; the loop ends when another thread closes it."""
        this: Any = self
        try:
            return this.receive()  # type: ignore[no-any-return]
        except self._ends:
            raise StopIteration from None

    def __await__(self) -> Generator[Any, None, T]:
        """``await`` it: the next one. A wait that is cancelled loses none."""
        return self._take().__await__()

    async def _take(self) -> T:
        this: Any = self
        fd = this.fileno()
        while True:
            try:
                return this.receive(0)  # type: ignore[no-any-return]
            except WouldBlock:
                await self._awaiting.wait(fd)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self._take()
        except self._ends:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Stop. Who waits, in another thread or coroutine, gets `Closed`."""
        super().close()  # type: ignore[misc]  # the core's
        self._awaiting.wake()
