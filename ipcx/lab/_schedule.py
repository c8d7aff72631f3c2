# SPDX-License-Identifier: Apache-2.0
"""Small concurrent programs, one interleaving after another: the same seed, the same one.

Each task is a thread, and only one of them runs at a time. At each operation on something shared,
be it a lock, a channel or a cell of memory, a number from the seed says who goes on. So a race or a
deadlock that needs one unlucky moment in a thousand is found in moments, and found again; and who
waits for whom is known, not guessed by a time-out.

The objects have the verbs of `ipcx.sync` and of channels. Time-outs there are none.
"""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["Channel", "Memory", "Mutex", "Semaphore", "World"]

MOST = 3000  # operations of an interleaving; who needs more waits in a loop
SHOWN = 6  # operations that a report ends with


class Killed(BaseException):
    """Ends a task wherever it is."""


class Task:
    """A thread that runs when it is its turn."""

    def __init__(self, world: World, name: str, function: Callable[..., Any], args: Any) -> None:
        self.world, self.name = world, name
        self.function, self.args = function, args
        self.baton = threading.Semaphore(0)
        self.waits_for: Any = None  # an object with `free()` and `why()`
        self.ended = self.dead = False
        self.operations = 0
        self.dies_at: int | None = None
        self.result: Any = None
        self.thread = threading.Thread(target=self.live, name=name, daemon=True)

    def live(self) -> None:
        self.baton.acquire()
        try:
            if not self.dead:
                self.result = self.function(*self.args)
        except Killed:
            pass
        except BaseException as error:
            if not self.dead:
                self.world.failed(self, error)
        self.ended = True
        self.world.hand_on(self)


class World:
    """Tasks, what they share, and one interleaving of them."""

    def __init__(self, seed: object) -> None:
        self.draw = random.Random(str(seed))
        self.tasks: list[Task] = []
        self.now: Task | None = None
        self.over = threading.Semaphore(0)
        self.wrong = ""
        self.log: list[str] = []
        self.messages: list[tuple[str, str, Any]] = []  # from, to, what: as they were received
        self.count = 0

    def start(
        self, name: str, function: Callable[..., Any], *args: Any, dies_at: int | None = None
    ) -> Task:
        """A task, which runs in `run`. It is killed before its operation of that number, from 0."""
        task = Task(self, name, function, args)
        task.dies_at = dies_at
        self.tasks.append(task)
        return task

    def run(self) -> str:
        """Until all have ended; or what is wrong, in a sentence."""
        for task in self.tasks:
            task.thread.start()
        self.hand_on(None)
        self.over.acquire()
        for task in self.tasks:
            task.thread.join()
        return self.wrong

    # -- what the tasks call

    def turn(self, what: str) -> bool:
        """Before an operation: perhaps others go on first. False: the task is dead, do nothing."""
        task = self.now
        if task is None or threading.current_thread() is not task.thread:
            return True  # before the run, or after it
        if task.dead:
            return False
        if task.dies_at is not None and task.operations >= task.dies_at:
            self.log.append(f"{task.name} is killed")
            self.die(task)
        task.operations += 1
        self.count += 1
        if self.count > MOST:
            self.fail(f"after {MOST} operations they have not ended: somebody waits in a loop")
        self.log.append(f"{task.name} {what}")
        if len(self.log) > 200:
            del self.log[:100]
        self.pass_on(task)
        return True

    def until(self, what: Any) -> None:
        """The task waits until ``what.free()``."""
        task = self.now
        if task is None or task.dead:
            return
        while not what.free():
            task.waits_for = what
            self.pass_on(task)
        task.waits_for = None

    def die(self, task: Task) -> None:
        task.dead = True
        raise Killed

    def fail(self, sentence: str) -> None:
        """That is wrong: the interleaving ends here."""
        if not self.wrong:
            self.wrong = sentence + self.report()
        task = self.now
        if task is not None and threading.current_thread() is task.thread:
            self.die(task)

    def failed(self, task: Task, error: BaseException) -> None:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename[:1] == "<"]
        where = f", in line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
        if not self.wrong:
            self.wrong = f"{task.name} raised {type(error).__name__}: {error}{where}"

    def report(self) -> str:
        return f" (the last operations: {'; '.join(self.log[-SHOWN:])})" if self.log else ""

    # -- who goes on

    def ready(self) -> list[Task]:
        return [
            task
            for task in self.tasks
            if not task.ended and (task.waits_for is None or task.waits_for.free())
        ]

    def pass_on(self, task: Task) -> None:
        """Somebody goes on: perhaps this one."""
        ready = self.ready()
        if self.wrong:
            self.die(task)
        if not ready:
            self.wrong = self.deadlock()
            self.die(task)
        chosen = self.draw.choice(ready)
        if chosen is task:
            return
        self.now = chosen
        chosen.baton.release()
        task.baton.acquire()
        if task.dead or self.wrong:
            self.die(task)

    def hand_on(self, ended: Task | None) -> None:
        """A task has ended: somebody else goes on, or nobody is left."""
        ready = [] if self.wrong else self.ready()
        if ready:
            self.now = self.draw.choice(ready)
            self.now.baton.release()
            return
        if not self.wrong and any(not task.ended for task in self.tasks):
            self.wrong = self.deadlock()
        waiting = next((task for task in self.tasks if not task.ended), None)
        if waiting is not None and ended is not None:
            waiting.dead = True  # one after the other, so that still only one runs
            self.now = waiting
            waiting.baton.release()
        else:
            self.over.release()

    def deadlock(self) -> str:
        texts = [
            f"{task.name} waits {task.waits_for.why()}" for task in self.tasks if not task.ended
        ]
        return f"a deadlock: {'; '.join(texts)}{self.report()}"


class Semaphore:
    """As `ipcx.sync.Semaphore`."""

    def __init__(self, world: World, value: int, name: str) -> None:
        self._world, self.value, self.name = world, value, name
        self._takers: list[str] = []

    def free(self) -> bool:
        return self.value > 0

    def why(self) -> str:
        return f"to acquire {self.name}, of which none is free"

    def acquire(self) -> bool:
        if self._world.turn(f"acquires {self.name}"):
            self._world.until(self)
            self.value -= 1
        return True

    def try_acquire(self) -> bool:
        if self._world.turn(f"tries {self.name}") and self.value > 0:
            self.value -= 1
            return True
        return False

    def release(self, count: int = 1) -> None:
        if self._world.turn(f"releases {self.name}"):
            self.value += count

    def __enter__(self) -> Semaphore:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Mutex:
    """As `ipcx.sync.Mutex`: the lock of a dead one goes to the next, who sees `recovered`."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self.name = world, name
        self._owner: Task | None = None
        self.recovered = False

    def free(self) -> bool:
        return self._owner is None or self._owner.dead

    def why(self) -> str:
        owner = self._owner.name if self._owner is not None else "nobody"
        return f"for {self.name}, which {owner} has"

    @property
    def owner(self) -> str | None:
        """The name of who has it."""
        return None if self._owner is None else self._owner.name

    def acquire(self) -> bool:
        if self._world.turn(f"acquires {self.name}"):
            if self._owner is not None and self._owner is self._world.now:
                raise RuntimeError(f"{self._owner.name} has {self.name} already: a deadlock")
            self._world.until(self)
            self._take()
        return True

    def try_acquire(self) -> bool:
        if self._world.turn(f"tries {self.name}") and self.free():
            self._take()
            return True
        return False

    def _take(self) -> None:
        if self._owner is not None:
            self.recovered = True
        self._owner = self._world.now

    def release(self) -> None:
        if self._world.turn(f"releases {self.name}"):
            if self._owner is not self._world.now:
                raise PermissionError(f"{self.name} is released by somebody who does not have it")
            self._owner = None
            self.recovered = False

    def __enter__(self) -> Mutex:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Memory:
    """Shared memory: each attribute is a cell; reading and writing one are two operations."""

    def __init__(self, world: World, **cells: Any) -> None:
        object.__setattr__(self, "_world", world)
        object.__setattr__(self, "_cells", cells)

    def __getattr__(self, name: str) -> Any:
        cells = object.__getattribute__(self, "_cells")
        if name not in cells:
            raise AttributeError(f"there is no cell {name!r}; there are {', '.join(cells)}")
        value = cells[name]
        if isinstance(value, int | tuple | str | bytes | type(None)):
            self._world.turn(f"reads {name}")
            value = cells[name]
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        cells = object.__getattribute__(self, "_cells")
        if name not in cells:
            raise AttributeError(f"there is no cell {name!r}; there are {', '.join(cells)}")
        if self._world.turn(f"writes {name} = {value!r:.30}"):
            cells[name] = value


class Cells:
    """An array in shared memory."""

    def __init__(self, world: World, values: list[Any], name: str) -> None:
        self._world, self._values, self._name = world, values, name

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int) -> Any:
        self._world.turn(f"reads {self._name}[{index}]")
        return self._values[index]

    def __setitem__(self, index: int, value: Any) -> None:
        if self._world.turn(f"writes {self._name}[{index}] = {value!r:.30}"):
            self._values[index] = value


class Channel:
    """One end for each of two tasks: ``send`` and ``receive``.

    With `room` 0 it is synchronous: a send returns when its message has been received.
    """

    def __init__(self, world: World, room: int, names: tuple[str, str]) -> None:
        there: list[Any] = []
        back: list[Any] = []
        one, other = names
        self.ends = (
            End(world, room, there, back, (one, other)),
            End(world, room, back, there, (other, one)),
        )


class End:
    """One end of a `Channel`."""

    def __init__(
        self, world: World, room: int, out: list[Any], into: list[Any], names: tuple[str, str]
    ) -> None:
        self._world, self._room = world, room
        self._out, self._into = out, into
        self._me, self._peer = names
        self._want: Callable[[], bool] = lambda: True
        self._why = ""

    def free(self) -> bool:
        return self._want()

    def why(self) -> str:
        return self._why

    def send(self, message: Any) -> None:
        if not self._world.turn(f"sends {message!r:.30} to {self._peer}"):
            return
        entry = [message]
        self._out.append(entry)
        out, room = self._out, self._room
        self._why = f"until {self._peer} receives"
        self._want = lambda: all(each is not entry for each in out[room:])
        self._world.until(self)

    def receive(self) -> Any:
        if not self._world.turn(f"receives from {self._peer}"):
            return None
        self._why = f"for a message of {self._peer}"
        self._want = lambda: bool(self._into)
        self._world.until(self)
        message = self._into.pop(0)[0]
        self._world.messages.append((self._peer, self._me, message))
        return message
