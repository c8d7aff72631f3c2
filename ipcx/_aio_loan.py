# SPDX-License-Identifier: Apache-2.0
"""Loans with ``await``: what `ipcx.aio.Channel.reserve` and ``receive_view`` make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipcx._core import Timeout, WouldBlock

if TYPE_CHECKING:
    from types import TracebackType

    from ipcx import channel as sync
    from ipcx._aio_descriptor import Descriptor

__all__ = ["Loan", "View"]


class Loan:
    """Memory for a message that is written in place; in ``async with`` a writable memoryview."""

    def __init__(
        self, core: sync.Loan, channel: sync.Channel, line: Descriptor, timeout: float | None
    ) -> None:
        self.core = core
        self._channel, self._line, self._timeout = channel, line, timeout
        self._over = False

    def __repr__(self) -> str:
        return f"<ipcx.aio.Loan of {self.core!r}>"

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self.core.size

    @property
    def in_place(self) -> bool:
        """Whether they lie where the peer reads them: nothing is copied."""
        return self.core.in_place

    async def commit(self, size: int | None = None) -> None:
        """Sends the first `size` bytes now, all of them by default; the memoryview is over."""
        begun: bool | None = False

        def attempt() -> object:
            nonlocal begun
            begun = self.core._commit_now(size)
            return True if begun is None else NotImplemented

        try:
            if attempt() is NotImplemented:
                if self._timeout == 0:
                    raise WouldBlock("commit: no room yet")
                await self._line.wait(
                    self._channel._send_fileno(), attempt, self._timeout, "commit"
                )
        except Timeout as error:
            error.begun = bool(begun)
            raise
        self._over = True
        self._line.serve()  # who waited for room that was reserved

    def cancel(self) -> None:
        """Sends nothing and gives the memory back."""
        self._over = True
        self.core.cancel()
        self._line.serve()

    async def __aenter__(self) -> memoryview:
        return self.core.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and not self._over:
                await self.commit()
        finally:
            self.cancel()


class View:
    """A message that is read in place; in ``with`` or ``async with`` a read-only memoryview."""

    def __init__(self, core: sync.View | bytes | str) -> None:
        # One that a cancelled receiver gave back is bytes or a text by now.
        self.core = core
        self._bytes = core.encode() if isinstance(core, str) else core

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._bytes) if isinstance(self._bytes, bytes) else self._bytes.size

    @property
    def in_place(self) -> bool:
        """Whether they lie where the peer wrote them: nothing was copied."""
        return not isinstance(self._bytes, bytes) and self._bytes.in_place

    @property
    def text(self) -> bool:
        """Whether it was sent as str; the bytes are its UTF-8."""
        return isinstance(self.core, str) or (not isinstance(self.core, bytes) and self.core.text)

    def release(self) -> None:
        """Gives the message back: it has been received."""
        if not isinstance(self._bytes, bytes):
            self._bytes.release()

    def __enter__(self) -> memoryview:
        if isinstance(self._bytes, bytes):
            return memoryview(self._bytes)
        return self._bytes.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(self._bytes, bytes):
            self._bytes.__exit__(kind, error, trace)

    async def __aenter__(self) -> memoryview:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)
