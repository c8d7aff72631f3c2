# SPDX-License-Identifier: Apache-2.0
"""A thread that reads what children print, and does what is due, while the program goes on.

Invariant: the thread is there from the first member of its pump to the end of the last one, and it
alone takes their turns, so that members need no locks among each other.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Protocol

from ipcx._descriptors import close_quietly

__all__ = ["Member", "Pump", "Source"]

PIECE = 1 << 16
TURNS = 16  # pieces taken from one before somebody else is looked at


class Source:
    """A descriptor that is read as it fills, and closed at its end."""

    def __init__(self, fd: int, take: Callable[[bytes], object]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd  # -1: it has ended
        self.take = take  # gets each piece, and at the end an empty one

    def read(self) -> None:
        """Some of what is there: not for ever, however fast somebody writes."""
        for _ in range(TURNS):
            if self.fd < 0:
                return
            try:
                piece = os.read(self.fd, PIECE)
            except BlockingIOError:
                return
            if not piece:
                self.close()
            self.take(piece)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            close_quietly(fd)


class Member(Protocol):
    """What a pump works for, as a rule a child.

    It has its turn when one of `_descriptors` is readable, or the time `_next_due` has come
    (monotonic). `_over`: the pump forgets it. `_forget`: in a child after a fork, in which its
    descriptors are copies, to be closed.
    """

    @property
    def _over(self) -> bool: ...
    def _descriptors(self) -> list[int]: ...
    def _next_due(self) -> float | None: ...
    def _turn(self, ready: set[int]) -> None: ...
    def _forget(self) -> None: ...


class Pump:
    """The thread `name`, and whom it works for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._begin()
        os.register_at_fork(
            before=lambda: self.changed.acquire() and None,
            after_in_parent=lambda: self.changed.release(),
            after_in_child=self._in_child,
        )

    def _begin(self) -> None:
        self.changed = threading.Condition()  # what a member tells of itself; our own state
        self.members: list[Member] = []
        self.thread: threading.Thread | None = None
        self.stopping = False
        self.bell = -1  # an eventfd: look again

    def add(self, *added: Member) -> None:
        with self.changed:
            before = self.members
            self.members = [*before, *added]
            try:
                if self.thread is None:
                    self._start()
                else:
                    self.ring()
            except BaseException:
                self.members = before
                raise

    def _start(self) -> None:
        bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.bell, self.thread = bell, threading.Thread(target=self._run, name=self.name)
        self.thread.daemon = True
        try:
            self.thread.start()
        except BaseException:  # there may be no more threads
            close_quietly(bell)
            self.thread = None
            raise

    def ring(self) -> None:
        """A member has changed what it waits for, or is over."""
        with self.changed:
            if self.thread is not None:
                os.eventfd_write(self.bell, 1)

    def _run(self) -> None:
        while True:
            with self.changed:
                self.members = [one for one in self.members if not one._over]
                if not self.members or self.stopping:
                    close_quietly(self.bell)
                    self.thread = None
                    self.changed.notify_all()
                    return
                members, bell = self.members, self.bell
            ready = _ready(members, bell)
            if bell in ready:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(bell)
            for one in members:
                one._turn(ready)

    def stop(self) -> None:
        """Ends the thread, whatever is left to do for its members."""
        with self.changed:
            thread, self.stopping = self.thread, True
            self.ring()
        if thread is not None:
            thread.join()

    def _in_child(self) -> None:
        """After a fork: the thread is the parent's."""
        for one in self.members:
            one._forget()
        if self.thread is not None:
            close_quietly(self.bell)
        self._begin()


def _ready(members: list[Member], bell: int) -> set[int]:
    """The descriptors that are readable, as soon as one is, or something is due."""
    poll = select.poll()
    poll.register(bell, select.POLLIN)
    for one in members:
        for fd in one._descriptors():
            poll.register(fd, select.POLLIN)
    due = min((when for one in members if (when := one._next_due()) is not None), default=None)
    wait = None if due is None else max(0.0, due - time.monotonic()) * 1000
    return {fd for fd, _ in poll.poll(wait)}
