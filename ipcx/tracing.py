# SPDX-License-Identifier: Apache-2.0
"""Seeing what passes: `trace` collects every call on ipcx's sockets and channels.

>>> import ipcx
>>> a, b = ipcx.pair()
>>> with ipcx.trace() as seen:
...     a.send("hello")
...     b.receive()
'hello'
>>> [(event.op, event.bytes) for event in seen]
[('send', 5), ('receive', 5)]
"""

from __future__ import annotations

import time
from _thread import allocate_lock  # `import ipcx` leaves threading alone (ipcx.run)
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ipcx import _core

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Event", "Trace", "trace"]


class Event(NamedTuple):
    """One call that has ended."""

    time: float  # seconds since the trace began
    thread: str
    op: str  # the method: send, receive, connect …
    where: str  # the channel's URL, or the socket's addresses
    bytes: int | None  # how many it moved
    detail: Any  # what it moved or whom it met, as the method tells it
    error: BaseException | None

    def __str__(self) -> str:
        what = f"{self.bytes} bytes" if self.bytes is not None else ""
        if self.error is not None:
            what = f"{type(self.error).__name__}: {self.error}"
        return (
            f"{self.time * 1000:10.3f} ms  {self.thread}  {self.op} {self.where}  {what}".rstrip()
        )


_active: list[Trace] = []  # those that collect now; the hook in the core is one for all
_before: Callable[..., object] | None = None
_lock = allocate_lock()


def _collect(op: str, thing: Any, detail: Any, error: BaseException | None) -> None:
    if _before is not None:
        _before(op, thing, detail, error)
    for one in tuple(_active):
        one._add(op, thing, detail, error)


def _where(thing: Any) -> str:
    url = getattr(thing, "url", None)
    if url is not None:
        return str(url)
    ends = []
    for ask in ("getsockname", "getpeername"):
        try:
            ends.append(str(getattr(thing, ask)()))
        except (OSError, AttributeError):
            ends.append("-")
    return " > ".join(ends)


def _size(op: str, detail: Any) -> int | None:
    if op in ("settimeout", "listen", "shutdown", "close", "detach"):
        return None
    if isinstance(detail, tuple) and detail and isinstance(detail[0], int):
        detail = detail[0]
    return detail if isinstance(detail, int) and not isinstance(detail, bool) else None


class Trace:
    """What passed while it was open, in the order in which the calls ended; see `trace`."""

    def __init__(self, show: Callable[[Event], object] | None = None) -> None:
        self.events: list[Event] = []
        self._show = show
        self._begun = 0.0

    def __enter__(self) -> Trace:
        global _before
        with _lock:
            if self in _active:
                raise RuntimeError("this trace is collecting already; make another one")
            self._begun = time.perf_counter()
            if not _active:
                _before = _core.set_trace(_collect)
            _active.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _before
        with _lock:
            _active.remove(self)
            if not _active:
                _core.set_trace(_before)
                _before = None

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __str__(self) -> str:
        return "\n".join(map(str, self.events))

    def json(self) -> str:
        """The events for machines: one JSON object a line."""
        import json  # only when it is asked for

        return "\n".join(
            json.dumps(
                {
                    **event._asdict(),
                    "detail": repr(event.detail),
                    "error": None if event.error is None else repr(event.error),
                }
            )
            for event in self.events
        )

    def _add(self, op: str, thing: Any, detail: Any, error: BaseException | None) -> None:
        import threading

        event = Event(
            time.perf_counter() - self._begun,
            threading.current_thread().name,
            op,
            _where(thing),
            None if error is not None else _size(op, detail),
            detail,
            error,
        )
        self.events.append(event)
        if self._show is not None:
            self._show(event)


def trace(show: Callable[[Event], object] | None = None) -> Trace:
    """Collects every call on ipcx's sockets and channels of this interpreter, in ``with``.

    `show`, if given, is called with each `Event` as it happens, in the thread that made the call:
    ``ipcx.trace(print)``. Nothing that passes is changed. Traces may be nested; what is not traced
    costs one branch a call.
    """
    return Trace(show)
