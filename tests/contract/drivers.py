# SPDX-License-Identifier: Apache-2.0
"""The two halves of the contract, sync and async, behind one face: a test body is written once.

`Sync` is `ipcx` itself. `Async` runs `ipcx.aio` on an event loop in a thread of its own and waits
there for each call: what a test does in several threads are several tasks of that loop.
"""

import asyncio
import functools
import inspect
import os
import threading

import uvloop

import ipcx
from contract.peers import asleep
from ipcx import aio

NIGHT = os.environ.get("IPCX_NIGHT") == "1"


class Sync:
    name = "sync"
    thread = None
    connect = staticmethod(ipcx.connect)
    listen = staticmethod(ipcx.listen)
    pair = staticmethod(ipcx.pair)

    def close(self) -> None:
        pass

    def waits(self, tid: int) -> bool:
        """Whether a call that thread `tid` has made waits."""
        return asleep(os.getpid(), tid)


class Async:
    """`ipcx.aio` on the loop that `new_loop()` makes."""

    def __init__(self, name: str, new_loop) -> None:
        self.name, self.aio = name, aio
        self.loop = new_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        async def rest() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self.loop.shutdown_asyncgens()
            await self.loop.shutdown_default_executor()

        asyncio.run_coroutine_threadsafe(rest(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def waits(self, tid: int) -> bool:
        return asleep(os.getpid(), tid, self.thread.native_id)

    def call(self, function, *args, **kwargs):
        async def run():
            given = [one._thing if isinstance(one, Proxy) else one for one in args]
            result = function(*given, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return self.wrap(asyncio.run_coroutine_threadsafe(run(), self.loop).result())

    def wrap(self, result):
        if isinstance(result, self.aio.Channel | self.aio.Listener):
            return Proxy(self, result)
        if isinstance(result, self.aio.Loan | self.aio.View):
            return Lent(self, result)
        if type(result) is tuple:
            return tuple(map(self.wrap, result))
        return result

    def connect(self, *args, **kwargs):
        return self.call(self.aio.connect, *args, **kwargs)

    def listen(self, *args, **kwargs):
        return self.call(self.aio.listen, *args, **kwargs)

    def pair(self, *args, **kwargs):
        return self.call(self.aio.pair, *args, **kwargs)


class Proxy:
    """A channel or listener of `ipcx.aio`, its coroutines as plain calls."""

    def __init__(self, driver: Async, thing) -> None:
        self._driver, self._thing = driver, thing

    def __getattr__(self, name: str):
        found = getattr(self._thing, name)
        return functools.partial(self._driver.call, found) if callable(found) else found

    def __iter__(self):
        iterator = aiter(self._thing)
        while True:
            try:
                message = self._driver.call(iterator.__anext__)
            except StopAsyncIteration:
                return
            yield message

    def __enter__(self):
        self._driver.call(self._thing.__aenter__)
        return self

    def __exit__(self, *what) -> None:
        self._driver.call(self._thing.__aexit__, *what)


class Lent(Proxy):
    """A loan or a view of `ipcx.aio`: its block gives the memoryview."""

    def __enter__(self):
        return self._driver.call(self._thing.__aenter__)


DRIVERS = {
    "sync": Sync,
    "asyncio": lambda: Async("asyncio", asyncio.new_event_loop),
    "uvloop": lambda: Async("uvloop", uvloop.new_event_loop),
}
# What each is tried on by day; at night each on all of them. A module marked `variants` has all
# entries of a transport by day, too.
USUAL = {
    "sync": {"inproc", "inproc-copied", "unix", "shm", "tcp", "tls", "udp", "fifo", "pipe"},
    "asyncio": {"unix", "shm", "tls", "fifo"},
    "uvloop": {"inproc", "tcp", "pipe"},
}


def tried(driver: str, transport: str, variants: bool) -> bool:
    return NIGHT or transport in USUAL[driver] or (variants and driver == "sync")
