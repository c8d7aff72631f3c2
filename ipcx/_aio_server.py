# SPDX-License-Identifier: Apache-2.0
"""``ipcx.aio.Server``: `ipcx.server.Server` with ``await`` and ``async for``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ipcx import server as sync
from ipcx._aio_descriptor import Descriptor
from ipcx._core import Closed
from ipcx._timeouts import check_timeout

if TYPE_CHECKING:
    from types import TracebackType

    from ipcx.server import Peer, ServerStats

__all__ = ["Server"]


class Server:
    """Serve many clients in an event loop; the arguments are those of `ipcx.server.Server`.

    ``async for peer, message in server`` ends when the server is closed. ``peer.send`` is the same
    as there, no coroutine: it queues what the peer does not take at once, so with
    ``on_full="block"`` give it ``timeout=0``, or the loop would stand still.
    """

    def __init__(self, *urls: str, **options: Any) -> None:
        self._sync = sync.Server(*urls, **options)
        self._line = Descriptor("add_reader", "remove_reader")

    async def receive(self, timeout: float | None = None) -> tuple[Peer, str | bytes]:
        """The next message and its peer; `Timeout` after `timeout` seconds."""
        check_timeout(timeout)
        if not self._line.queue:
            got = self._sync._receive_now()
            if got is not NotImplemented:
                return got  # type: ignore[no-any-return]
        if timeout == 0:
            return self._sync.receive(timeout=0)
        return await self._line.wait(  # type: ignore[no-any-return]
            self._sync.fileno(), self._sync._receive_now, timeout, "receive"
        )

    def __aiter__(self) -> Server:
        return self

    async def __anext__(self) -> tuple[Peer, str | bytes]:
        try:
            return await self.receive()
        except Closed:
            raise StopAsyncIteration from None

    def broadcast(self, message: Any, except_: Peer | None = None) -> int:
        """Send to every peer but `except_`; returns to how many."""
        return self._sync.broadcast(message, except_)

    async def close(self, timeout: float | None = 5) -> None:
        """As `ipcx.server.Server.close`; the loop goes on meanwhile."""
        self._line.end(Closed("receive: the server is closed"))
        try:
            if timeout == 0:
                self._sync.close(0)
            else:
                await asyncio.to_thread(self._sync.close, timeout)
        finally:
            self._line.end(Closed("receive: the server is closed"))

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """The first of its real addresses."""
        return self._sync.url

    @property
    def urls(self) -> tuple[str, ...]:
        """The real addresses, ports and paths filled in."""
        return self._sync.urls

    @property
    def peers(self) -> list[Peer]:
        """Who is connected now."""
        return self._sync.peers

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._sync.closed

    def stats(self) -> ServerStats:
        """What has come to it so far."""
        return self._sync.stats()

    def stats_line(self) -> str:
        """As `ipcx.server.Server.stats_line`."""
        return self._sync.stats_line()

    def fileno(self) -> int:
        """The descriptor that shows when `receive` is worth a try."""
        return self._sync.fileno()
