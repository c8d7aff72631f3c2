# SPDX-License-Identifier: Apache-2.0
"""Coroutines that wait for a descriptor, any number of them at once, under asyncio's event loops.

Invariant: what is registered with a loop is a duplicate that belongs to the wait alone, so that an
object may be closed, and its descriptor's number be used again, while coroutines wait for it.
"""

from __future__ import annotations

import asyncio
import os

__all__: list[str] = []


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
