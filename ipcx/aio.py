"""Channels with ``await``: the names of `ipcx.channel`, for asyncio (and uvloop).

A call is tried at once; only when there is nothing to do yet does the coroutine wait, and the loop
is told about the channel's descriptor. A cancelled call loses no message.

>>> import asyncio
>>> from ipcx import aio
>>> async def echo(listener):
...     async with await listener.accept() as channel:
...         async for message in channel:
...             await channel.send(message.upper())
>>> async def main():
...     async with aio.listen("tcp://127.0.0.1:0") as listener:
...         server = asyncio.create_task(echo(listener))
...         async with aio.connect(listener.url) as channel:
...             await channel.send("hello")
...             print(await channel.receive())
...         await server
>>> asyncio.run(main())
HELLO

A channel belongs to the loop in which it first waits. In a notebook, where a loop runs already,
``await`` works at top level. With trio, wait for ``fileno()`` and use the synchronous channel with
``timeout=0``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ipcx import channel as sync
from ipcx._aio_descriptor import Descriptor
from ipcx._aio_loan import Loan, View
from ipcx._aio_server import Server
from ipcx._core import Closed, PeerClosed, PeerDied, Timeout, WouldBlock
from ipcx._timeouts import Deadline, check_timeout

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import WriteableBuffer

    from ipcx.channel import ChannelStats, ListenerStats
    from ipcx.tls import Session

__all__ = [
    "Channel",
    "Listener",
    "Loan",
    "Opening",
    "Server",
    "View",
    "connect",
    "listen",
    "pair",
]

_T = TypeVar("_T")


class Opening(Generic[_T]):
    """What ``await`` makes an open object, and ``async with`` one that is closed again."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> None:
        self._make = make
        self._made: Any = None

    def __await__(self) -> Generator[Any, None, _T]:
        return self._make().__await__()

    async def __aenter__(self) -> _T:
        self._made = await self._make()
        entered: _T = await self._made.__aenter__()
        return entered

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._made.__aexit__(kind, error, trace)


async def _in_thread(call: Callable[[], _T], close: Callable[[_T], object]) -> _T:
    """The answer of a call that blocks; what it makes after a cancellation is closed."""
    future = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(
            lambda done: None if done.cancelled() or done.exception() else close(done.result())
        )
        raise


def connect(url: str, timeout: float | None = 5, **options: Any) -> Opening[Channel]:
    """Connects to the listener at `url`: ``await`` it, or use it in ``async with``.

    `timeout` is in seconds; options and exceptions are those of `ipcx.connect`.
    """

    async def make() -> Channel:
        def call() -> sync.Channel:
            return sync.connect(url, timeout, **options)

        return Channel(await _in_thread(call, lambda made: made.close(0)))

    return Opening(make)


def listen(url: str, **options: Any) -> Opening[Listener]:
    """Listens at `url`: ``await`` it, or use it in ``async with``; as `ipcx.listen`."""

    async def make() -> Listener:
        return Listener(await _in_thread(lambda: sync.listen(url, **options), sync.Listener.close))

    return Opening(make)


async def pair(url: str = "unix://", **options: Any) -> tuple[Channel, Channel]:
    """Two connected ends, as `ipcx.pair`."""
    a, b = sync.pair(url, **options)
    return Channel(a), Channel(b)


class Channel:
    """One end of a channel, for coroutines; `Channel(end)` makes one of a synchronous end.

    Any number of tasks of one loop may use it. While it is in use here, leave the synchronous end
    (`core`) to it.
    """

    def __init__(self, core: sync.Channel) -> None:
        self.core = core
        self._read = Descriptor("add_reader", "remove_reader", None, lambda: core._answers)
        # What receives is woken for a look at the peer's host by its descriptor, who sends is not.
        watched = core.url.startswith(("tcp:", "tls:"))
        again = 1.0 if watched else None
        self._write = Descriptor("add_writer", "remove_writer", again, beside=self._read)
        self._returned: deque[Any] = deque()  # received, and then the receiver was cancelled
        # What a call that need not wait looks at.
        self._senders, self._receivers = self._write.queue, self._read.queue
        self._send_now, self._receive_now = core._send_now, core._receive_now

    def __repr__(self) -> str:
        return f"<ipcx.aio.Channel of {self.core!r}>"

    async def send(self, message: Any, sync: bool = False, timeout: float | None = None) -> None:
        """Sends one message; with `sync`, returns when the receiver has received it.

        `Timeout` (`WouldBlock` with timeout 0): ``exc.begun`` tells whether the message is on its
        way nevertheless. A cancelled send is whole or not at all at the receiver.
        """
        if timeout is not None:
            check_timeout(timeout)
        sending = None
        if not self._senders:
            sending = self._send_now(message, sync, None)
            if sync and self._read.aside:
                self._read.look_aside()
            if sending is None:
                return
        await self._send_on(message, sync, timeout, sending)

    async def _send_on(self, message: Any, sync: bool, timeout: float | None, sending: Any) -> None:
        """The rest of a send that has to wait: for its turn, for room, for the receiver."""
        deadline, core = Deadline(timeout), self.core
        done = False

        def step() -> bool:
            nonlocal sending, done
            sending = core._send_now(message, sync, sending)
            done = sending is None
            return done

        def hand_over() -> object:
            # With `sync`, what is left once nothing is owed is the receiver's answer.
            return True if step() or (sending.begun and not core.stats().owed) else NotImplemented

        try:
            if core._unproven:
                await self._prove(timeout, deadline, "send")
            if sending is None or not (sync and sending.begun and not core.stats().owed):
                self._not_now(timeout, "send: no room yet")
                await self._write.wait(core._send_fileno(), hand_over, deadline.left(), "send")
            if not done:
                self._not_now(timeout, "send: not received yet")
                # Where nothing comes back, room in the queue means that it was received.
                by_room = core.url.startswith(("inproc:", "shm:"))
                await (self._write if by_room else self._read).wait(
                    core._send_fileno() if by_room else core.fileno(),
                    lambda: True if step() else NotImplemented,
                    deadline.left(),
                    "send",
                    aside=True,
                )
        except Timeout as error:
            error.begun = sending is not None and sending.begun
            raise

    async def _prove(self, timeout: float | None, deadline: Deadline, what: str) -> None:
        """Waits until the peer has proven its key, or never will."""
        core = self.core

        def proven() -> object:
            return True if core.poll(0) or not core._unproven else NotImplemented

        if proven() is NotImplemented:
            self._not_now(timeout, f"{what}: the peer has not proven its key yet")
            await self._read.wait(core.fileno(), proven, deadline.left(), what, aside=True)

    async def receive(self, timeout: float | None = None) -> Any:
        """The next message: bytes, a text, or what else the transport carries.

        A call that times out or is cancelled loses none.
        """
        if timeout is not None:
            check_timeout(timeout)
        if self._returned:
            return self._returned.popleft()
        if not self._receivers:
            message = self._receive_now()
            if self._read.aside:  # the answer that a sender waits for may have been behind it
                self._read.look_aside()
            if message is not NotImplemented:
                return message
        self._not_now(timeout, "receive: nothing there yet")
        return await self._read.wait(
            self.core.fileno(), self._receive_now, timeout, "receive", self._take_back
        )

    def _take_back(self, message: Any) -> None:
        self._returned.appendleft(message)
        asyncio.get_running_loop().call_soon(self._hand_on)

    def _hand_on(self) -> None:
        """Somebody else may be waiting for what was given back."""
        queue = self._read.queue
        while self._returned and queue:
            future, _ = queue.popleft()
            if not future.done():
                future.set_result(self._returned.popleft())

    async def poll(self, timeout: float | None = 0) -> bool:
        """Whether `receive` would not wait, at the latest after `timeout` seconds."""
        check_timeout(timeout)
        there = bool(self._returned) or self.core.poll(0)
        self._read.look_aside()
        if there or timeout == 0:
            return there
        try:
            await self._read.wait(
                self.core.fileno(),
                lambda: True if self.core.poll(0) else NotImplemented,
                timeout,
                "poll",
                aside=True,
            )
        except Timeout:
            return False
        return True

    async def send_many(self, messages: Iterable[Any], timeout: float | None = None) -> int:
        """Sends all of `messages` in their order; returns how many. ``exc.sent`` if it cannot."""
        deadline, pending, sent = Deadline(timeout), list(messages), 0
        try:
            while pending:
                if not self._senders:
                    try:
                        return sent + self.core.send_many(pending, timeout=0)
                    except WouldBlock as error:
                        done = error.sent  # one that has begun among them
                        sent, pending = sent + done, pending[done:]
                        if not pending:  # the last one has begun, and nobody else sees to it
                            await self.flush(deadline.left())
                if pending:
                    self._not_now(timeout, "send_many: no room yet")
                    await self.send(pending[0], timeout=deadline.left())
                    sent, pending = sent + 1, pending[1:]
        except (Timeout, PeerClosed) as error:
            error.sent = sent
            raise
        return sent

    async def receive_many(self, max: int = 256, timeout: float | None = None) -> list[Any]:
        """Waits for the first message and takes what else is there, at most `max`; of long ones
        fewer: about 256 KiB are taken at a time."""
        if max < 1:
            raise ValueError(f"max is at least 1, not {max}")
        messages = [await self.receive(timeout)]
        while len(messages) < max:
            if self._returned:
                messages.append(self._returned.popleft())
                continue
            with contextlib.suppress(WouldBlock, PeerClosed):
                messages += self.core.receive_many(max - len(messages), timeout=0)
            self._read.look_aside()  # an answer may have come, and no message
            break
        return messages

    async def receive_into(self, buffer: WriteableBuffer, timeout: float | None = None) -> int:
        """The next message into `buffer`; returns its bytes. `MessageTooLarge`: it stays."""
        check_timeout(timeout)

        def attempt() -> Any:
            try:
                return self.core.receive_into(buffer, timeout=0)
            except WouldBlock:
                return NotImplemented

        if not self._read:
            size = attempt()
            self._read.look_aside()
            if size is not NotImplemented:
                return int(size)
        self._not_now(timeout, "receive_into: nothing there yet")
        return int(await self._read.wait(self.core.fileno(), attempt, timeout, "receive_into"))

    def reserve(self, size: int, timeout: float | None = None) -> Opening[Loan]:
        """Memory for a message: ``async with channel.reserve(n) as buf`` writes in place.

        The message is sent when the block ends, and not if it raises; as `ipcx.Channel.reserve`.
        """

        async def make() -> Loan:
            check_timeout(timeout)
            loan = self.core._reserve_now(size) if not self._senders else NotImplemented
            if loan is NotImplemented:
                self._not_now(timeout, "reserve: no room yet")
                loan = await self._write.wait(
                    self.core._send_fileno(),
                    lambda: self.core._reserve_now(size),
                    timeout,
                    "reserve",
                    lambda made: made.cancel(),
                )
            return Loan(loan, self.core, self._write, timeout)

        return Opening(make)

    def receive_view(self, timeout: float | None = None) -> Opening[View]:
        """The next message: ``async with channel.receive_view() as view`` reads it in place.

        As `ipcx.Channel.receive_view`; a call that times out or is cancelled loses no message.
        """

        async def make() -> View:
            check_timeout(timeout)
            if self._returned:
                return View(self._returned.popleft())
            view = self.core._receive_view_now() if not self._receivers else NotImplemented
            if self._read.aside:
                self._read.look_aside()
            if view is NotImplemented:
                self._not_now(timeout, "receive_view: nothing there yet")
                view = await self._read.wait(
                    self.core.fileno(),
                    self.core._receive_view_now,
                    timeout,
                    "receive_view",
                    self._take_view_back,
                )
            return View(view)

        return Opening(make)

    def _take_view_back(self, view: sync.View) -> None:
        with view as data:
            message = str(data, "utf-8") if view.text else bytes(data)
        self._take_back(message)

    def trim(self) -> int:
        """Gives memory back that large messages have needed; as `ipcx.Channel.trim`."""
        return self.core.trim()

    async def flush(self, timeout: float | None = None) -> None:
        """Waits until nothing is owed of a message that was begun, and a key is proven."""

        def attempt() -> object:
            try:
                self.core.flush(timeout=0)
            except WouldBlock:
                return NotImplemented
            return True

        deadline = Deadline(timeout)
        if self.core._unproven:
            await self._prove(timeout, deadline, "flush")
        if attempt() is NotImplemented:
            self._not_now(timeout, "flush: no room yet")
            await self._write.wait(self.core._send_fileno(), attempt, deadline.left(), "flush")

    async def close(self, timeout: float | None = 5) -> None:
        """Says goodbye and closes; coroutines that wait end with `Closed`.

        As `ipcx.Channel.close`: `Timeout` with ``exc.unsent`` if something could not be sent.
        """
        check_timeout(timeout)
        gone = Closed("the channel was closed meanwhile")
        self._read.end(gone)
        self._write.end(gone)
        if not self.core.closed:
            await _in_thread(lambda: self.core.close(timeout), lambda _: None)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except PeerDied:
            raise
        except PeerClosed:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def fileno(self) -> int:
        """The descriptor that shows when `receive` would not wait."""
        fd = self.core.fileno()
        self._read.look_aside()
        return fd

    def stats(self) -> ChannelStats:
        """What passed through this end."""
        return self.core.stats()

    @property
    def url(self) -> str:
        """What it was connected to or accepted from."""
        return self.core.url

    @property
    def max_message(self) -> int:
        """The longest message this end takes, in bytes."""
        return self.core.max_message

    @property
    def tls(self) -> Session | None:
        """What TLS has agreed on; None where it does not encrypt."""
        return self.core.tls

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.core.closed

    @staticmethod
    def _not_now(timeout: float | None, why: str) -> None:
        if timeout == 0:
            raise WouldBlock(why)


class Listener:
    """Waits for peers; ``async for channel in listener`` until it is closed."""

    def __init__(self, core: sync.Listener) -> None:
        self.core = core
        self._read = Descriptor("add_reader", "remove_reader")

    def __repr__(self) -> str:
        return f"<ipcx.aio.Listener of {self.core!r}>"

    async def accept(self, timeout: float | None = None) -> Channel:
        """The next peer whose handshake is done."""

        def attempt() -> Any:
            try:
                return Channel(self.core.accept(timeout=0))
            except WouldBlock:
                return NotImplemented

        check_timeout(timeout)
        if not self._read:
            at_once = attempt()
            if isinstance(at_once, Channel):
                return at_once
        Channel._not_now(timeout, "accept: nobody there yet")
        channel: Channel = await self._read.wait(
            self.core.fileno(), attempt, timeout, "accept", lambda made: made.core.close(0)
        )
        return channel

    async def close(self) -> None:
        """Stops listening; coroutines in `accept` end with `Closed`."""
        self._read.end(Closed("the listener was closed meanwhile"))
        self.core.close()

    def __aiter__(self) -> AsyncIterator[Channel]:
        return self

    async def __anext__(self) -> Channel:
        try:
            return await self.accept()
        except Closed:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Listener:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def fileno(self) -> int:
        """The descriptor that shows when `accept` is worth a try."""
        return self.core.fileno()

    def stats(self) -> ListenerStats:
        """How many were accepted, dropped, and are in their handshake."""
        return self.core.stats()

    @property
    def url(self) -> str:
        """Where it listens, port or path filled in."""
        return self.core.url

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.core.closed
