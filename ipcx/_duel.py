# SPDX-License-Identifier: Apache-2.0
"""``ipcx duel``: two pools of workers, the same tasks, the same kill -9.

On the left the pool that everybody writes with multiprocessing: a `Queue` of tasks, a `Queue` of
results. On the right the same over ipcx: a channel for each worker. This process hands out the
tasks, counts the answers, strikes, and replaces whoever was struck; it does so for both in the same
way and never waits for anybody, so a column that freezes is seen to freeze and nothing else does.

*Who is struck* is decided by one rule for both: first, and at every second strike, the worker that
has waited longest for a task, which is the one whose turn is next; else any, whatever it is doing.
"""

import argparse
import contextlib
import json
import mmap
import random
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from queue import Empty
from typing import Any

import ipcx
from ipcx._nursery import Nursery
from ipcx._terminal import Terminal, padded, shown

WORKERS = 3
WORK = 0.004  # seconds that a task takes a worker
PACE = 0.004  # seconds between two tasks: with three workers, each waits most of the time
AHEAD = 50  # tasks given and not answered, at most
STRIKES = 0.3, 0.7  # seconds between two: drawn from this range
QUIET = 0.15  # seconds without an answer: whoever is struck is struck while the pool works
FROZEN = 1.0  # seconds without an answer, though there are tasks and living workers
SETTLE = 1.5  # seconds at the end for what is under way; no more tasks are given
TICK = 0.001


@dataclass
class Freeze:
    """A pool that stands still."""

    at_kill: int  # how many had been killed
    lock: str | None  # what everybody waits for
    seconds: float = 0.0
    went_on: bool | None = None  # when that lock was released by hand


class Column:
    """A pool: what both have in common. Times are of the monotonic clock."""

    name = title = ""

    def __init__(self, waits: "memoryview[float]") -> None:
        self.waits = waits  # for each worker: since when it waits for a task, 0.0 while it works
        self.pids = [0] * WORKERS
        self.given = self.answered = self.doubled = self.kills = self.again = 0
        self.open: dict[int, float] = {}  # tasks not answered, and when they were given
        self.moved = 0.0  # when it was last seen to move, or had nothing to do
        self.freeze: Freeze | None = None

    # What a worker does, in its own process.

    def work(self, number: int) -> None:
        raise NotImplementedError

    # What the pool does; none of it waits.

    def give(self, task: int) -> None:
        raise NotImplementedError

    def collect(self) -> list[int]:
        """The tasks whose answers have come."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def blamed(self) -> str | None:
        """The lock that everybody waits for, in a pool that stands still."""
        return None

    def release(self, lock: str) -> None:
        """Releases that lock by hand."""

    # What both do.

    def start(self, nursery: Nursery, number: int) -> None:
        self.waits[number] = 0.0
        self.pids[number] = nursery.start(self.name, number)

    def strike(self, nursery: Nursery, *, idle: bool) -> str:
        """Kills a worker and starts another in its place; says which, and what it was doing."""
        waiting = [number for number in range(WORKERS) if self.waits[number] > 0]
        number = random.randrange(WORKERS)
        if idle and waiting:
            number = min(waiting, key=lambda waits: self.waits[waits])
        doing = "waiting" if self.waits[number] > 0 else "at work"
        nursery.kill(self.pids[number])
        self.kills += 1
        self.start(nursery, number)
        return f"worker {number + 1}, {doing}"

    def offer(self, now: float) -> None:
        if len(self.open) < AHEAD:
            self.given += 1
            self.open[self.given] = now
            self.give(self.given)

    def count(self, now: float) -> None:
        """Counts what has come."""
        for task in self.collect():
            if self.open.pop(task, None) is None:
                self.doubled += 1
            else:
                self.answered += 1
            self.moved, self.freeze = now, None
        if not self.open:
            self.moved = now

    def judge(self, now: float, *, giving: bool) -> bool:
        """Whether the pool has just frozen. Until the next answer: it may only be slow.

        When no tasks are given any more, only a lock shows that it has: tasks that are lost are
        never answered, either.
        """
        if self.freeze is not None or self.quiet(now) < FROZEN:
            return False
        lock = self.blamed()
        if lock is None and not giving:
            return False
        self.freeze = Freeze(self.kills, lock)
        return True

    def quiet(self, now: float) -> float:
        return now - self.moved

    def overdue(self, now: float) -> int:
        """Tasks whose answer should have come long ago."""
        return sum(now - given >= FROZEN for given in self.open.values())


class Multiprocessing(Column):
    """As its documentation shows it: all workers get from one Queue and put into another."""

    name = "multiprocessing"
    title = "multiprocessing.Queue"

    def __init__(self, waits: "memoryview[float]") -> None:
        super().__init__(waits)
        context = get_context("fork")
        self.tasks: Any = context.Queue()
        self.results: Any = context.Queue()

    def work(self, number: int) -> None:
        while True:
            self.waits[number] = time.monotonic()
            task = self.tasks.get()
            self.waits[number] = 0.0
            time.sleep(WORK)
            self.results.put(task)

    def give(self, task: int) -> None:
        self.tasks.put(task)

    def collect(self) -> list[int]:
        found = []
        with contextlib.suppress(Empty):
            while True:
                found.append(self.results.get_nowait())
        return found

    # The locks have no public name: these are what get() and put() of a Queue take.

    def blamed(self) -> str | None:
        if self.tasks._reader.poll(0) and self.tasks._rlock._semlock._is_zero():
            return "tasks.get()"  # tasks are there, and nobody takes them
        return "results.put()" if self.results._wlock._semlock._is_zero() else None

    def release(self, lock: str) -> None:
        (self.tasks._rlock if lock == "tasks.get()" else self.results._wlock).release()

    def close(self) -> None:
        for queue in (self.tasks, self.results):
            queue.cancel_join_thread()  # its thread may wait for room that nobody will make
            queue.close()


class Ours(Column):
    """A channel for each worker. A dead worker's task is given to another one."""

    name = "ipcx"
    title = "ipcx, a shm:// channel a worker"

    def __init__(self, waits: "memoryview[float]") -> None:
        super().__init__(waits)
        self.listener = ipcx.listen("shm://")
        self.in_hand: dict[ipcx.Channel, int | None] = {}
        self.idle: deque[ipcx.Channel] = deque()
        self.tasks: deque[int] = deque()

    def work(self, number: int) -> None:
        with ipcx.connect(self.listener.url) as channel:
            while True:
                self.waits[number] = time.monotonic()
                task = channel.receive()
                self.waits[number] = 0.0
                time.sleep(WORK)
                channel.send(task)

    def give(self, task: int) -> None:
        self.tasks.append(task)

    def collect(self) -> list[int]:
        with contextlib.suppress(ipcx.WouldBlock):
            while True:
                self.joined(self.listener.accept(timeout=0))
        found = []
        for channel in list(self.in_hand):
            try:
                while True:
                    found.append(int(channel.receive(timeout=0)))
                    self.in_hand[channel] = None
                    self.idle.append(channel)
            except ipcx.WouldBlock:
                pass
            except ipcx.PeerClosed:  # after all that it had sent
                self.left(channel)
        while self.tasks and self.idle:
            self.hand_over(self.idle.popleft())
        return found

    def joined(self, channel: ipcx.Channel) -> None:
        self.in_hand[channel] = None
        self.idle.append(channel)

    def hand_over(self, channel: ipcx.Channel) -> None:
        if channel in self.in_hand:
            self.in_hand[channel] = self.tasks.popleft()
            with contextlib.suppress(ipcx.PeerClosed):  # receive() will say so once more
                channel.send(str(self.in_hand[channel]))

    def left(self, channel: ipcx.Channel) -> None:
        task = self.in_hand.pop(channel)
        if task is not None:
            self.tasks.appendleft(task)
            self.again += 1
        with contextlib.suppress(ValueError):
            self.idle.remove(channel)
        with contextlib.suppress(ipcx.PeerClosed):
            channel.close(timeout=0)

    def close(self) -> None:
        for channel in list(self.in_hand):
            with contextlib.suppress(ipcx.PeerClosed):
                channel.close(timeout=0)
        self.listener.close()


# ---------------------------------------------------------------- the fight


class Duel:
    """Both columns, and the time."""

    def __init__(self, seconds: float, told: "Telling") -> None:
        self.seconds, self.told = seconds, told
        self.began = self.now = time.monotonic()
        self.columns: list[Column] = []

    def run(self) -> None:
        size = 8 * WORKERS
        with contextlib.ExitStack() as kept:
            for kind in (Multiprocessing, Ours):
                memory = kept.enter_context(contextlib.closing(mmap.mmap(-1, size)))  # with workers
                waits = kept.enter_context(memoryview(memory).cast("d"))
                self.columns.append(kind(waits))
                kept.callback(self.columns[-1].close)
            nursery = kept.enter_context(Nursery({c.name: c.work for c in self.columns}))
            for column in self.columns:
                for number in range(WORKERS):
                    column.start(nursery, number)
            self.began = self.now = time.monotonic()
            self.fight(nursery)
            self.settle(SETTLE, lambda: not any(c.open for c in self.columns if c.freeze is None))
            self.blame()

    @property
    def at(self) -> float:
        return self.now - self.began

    def turn(self, *, giving: bool) -> None:
        """A look at everything; nothing here waits for anybody."""
        self.now = time.monotonic()
        for column in self.columns:
            column.count(self.now)
            if column.judge(self.now, giving=giving):
                self.told.event(self, f"{column.name} gives no answer any more: frozen")
        self.told.state(self)
        time.sleep(TICK)

    def fight(self, nursery: Nursery) -> None:
        task, strike, strikes = self.now, self.now + 2 * STRIKES[1], 0
        while self.at < self.seconds:
            self.turn(giving=True)
            if self.now >= strike:
                strike = self.now + random.uniform(*STRIKES)
                strikes += 1
                self.strike(nursery, idle=strikes % 2 == 1)
            elif self.now >= task:
                task = max(task + PACE, self.now - 10 * PACE)  # after a delay: not all at once
                for column in self.columns:
                    column.offer(self.now)

    def strike(self, nursery: Nursery, *, idle: bool) -> None:
        """The same for both. From killing in a pool that stands still nothing is learnt."""
        struck = [
            f"{column.name}: {column.strike(nursery, idle=idle)}"
            for column in self.columns
            if column.quiet(self.now) < QUIET
        ]
        if struck:
            self.told.event(self, f"kill -9 of {'; of '.join(struck)}")

    def settle(self, seconds: float, enough: Callable[[], bool]) -> None:
        until = self.now + seconds
        while self.now < until and not enough():
            self.turn(giving=False)

    def blame(self) -> None:
        """Whether what stands still goes on when that one lock is released by hand."""
        for column in self.columns:
            freeze = column.freeze
            if freeze is None:
                continue
            freeze.seconds = column.quiet(self.now)
            if freeze.lock is not None:
                column.release(freeze.lock)
                until = time.monotonic() + SETTLE
                while not freeze.went_on and time.monotonic() < until:
                    time.sleep(TICK)
                    freeze.went_on = bool(column.collect())


# ---------------------------------------------------------------- how it is told


class Telling:
    """What is shown: two columns painted on a terminal, a line for each event elsewhere."""

    def __init__(self, screen: Terminal | None) -> None:
        self.screen = screen
        self.events: deque[str] = deque(maxlen=5)
        self.next = 0.0

    def event(self, duel: Duel, text: str) -> None:
        line = f"  {duel.at:5.1f} s  {text}"
        self.events.append(line)
        self.next = 0.0
        if self.screen is not None and not self.screen.terminal:
            self.screen.line(line)

    def state(self, duel: Duel) -> None:
        if self.screen is not None and duel.now >= self.next:
            self.next = duel.now + 0.1
            clock = f"  {min(duel.at, duel.seconds):.1f} of {duel.seconds:g} s"
            self.screen.paint([*table(self.screen, duel), "", *self.events, clock])


def table(screen: Terminal, duel: Duel) -> list[str]:
    """The columns beside each other, or below each other where there is no room."""
    blocks = [_block(screen, column, duel.now) for column in duel.columns]
    half = (screen.width - 5) // 2
    if half < 32:
        return [row for block in blocks for row in ["", *block]]
    return [f"  {padded(a, half)}│ {b}" for a, b in zip(*blocks, strict=True)]


def _block(screen: Terminal, column: Column, now: float) -> list[str]:
    freeze = column.freeze
    if freeze is None:
        state = screen.style("works", "green")
    else:
        seconds = freeze.seconds or column.quiet(now)
        text = f"FROZEN for {seconds:.1f} s, since kill {freeze.at_kill}"
        state = screen.style(text, "red", "bold")
    late = column.overdue(now)
    rows = {
        "workers killed": str(column.kills),
        "tasks answered": str(column.answered),
        "given again": str(column.again),
        "lost or stuck": screen.style(str(late), "red", "bold") if late else "0",
    }
    return [
        screen.style(column.title, "bold"),
        *(f"{name:<16}{' ' * (7 - shown(figure))}{figure}" for name, figure in rows.items()),
        state,
    ]


SAME = (
    f"Both pools have {WORKERS} workers and get the same tasks. Struck is, by turns, the worker "
    "that has waited longest for a task, and any; at once another one takes its place."
)
LEFT = {
    "tasks.get()": "multiprocessing: a worker that waits in get() of a Queue holds the lock of "
    "its reading end while it waits; killed there, it never gives that lock back, and all other "
    "workers wait for it for ever.",
    "results.put()": "multiprocessing: a worker that was killed while it wrote to the Queue of "
    "results held the lock of its writing end; it never gives that lock back, and all other "
    "workers wait for it for ever.",
}
LUCK = "multiprocessing: this time nobody was killed who held a lock of a Queue; next time perhaps."
RIGHT = (
    "ipcx: every worker has a channel of its own, so a dead one holds nothing that the others "
    "need; receive() raises PeerDied after all that it had sent, and the task it had in hand is "
    "given to another one."
)
FAIR = (
    "(A Pipe for each worker would not freeze either: it is the lock in common that does it, and "
    "Queue, SimpleQueue and Pool of multiprocessing have one.)"
)


def explained(duel: Duel) -> list[str]:
    """What one has seen: a sentence for each column, and what was left out."""
    left, right = duel.columns
    texts = []
    if left.freeze is None:
        lost = f" Tasks lost with their workers: {len(left.open)}." if left.open else ""
        texts.append(LUCK + lost)
    elif left.freeze.lock is None:
        texts.append("multiprocessing: it stands still, and which lock it is could not be seen.")
    else:
        # Killed between the two halves of a message, it has taken one of them along.
        went_on = left.freeze.went_on
        proof = "went on at once: that was it" if went_on else "stood still all the same"
        texts.append(f"{LEFT[left.freeze.lock]} (Released by hand at the end, it {proof}.)")
    texts.append(
        f"{RIGHT} Killed: {right.kills}, given again: {right.again}, lost: {len(right.open)}."
    )
    return [*texts, FAIR]


def reported(duel: Duel) -> dict[str, Any]:
    """What --json prints."""
    return {
        "seconds": round(duel.at, 3),
        "workers": WORKERS,
        "columns": {
            column.name: {
                "what": column.title,
                "given": column.given,
                "answered": column.answered,
                "unanswered": len(column.open),
                "answered_twice": column.doubled,
                "given_again": column.again,
                "kills": column.kills,
                "frozen": None if column.freeze is None else asdict(column.freeze),
            }
            for column in duel.columns
        },
        "seen": explained(duel),
    }


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ipcx duel",
        description="Two pools of workers, one on multiprocessing and one on ipcx, whose workers "
        "are killed with kill -9 while they work.",
    )
    add = parser.add_argument
    add("--seconds", type=float, default=15.0, help="how long tasks are given (15)")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``ipcx duel``: 0, or 1 when ipcx has frozen or lost a task, 130 at Ctrl-C."""
    parser = _arguments()
    options = parser.parse_args(argv)
    if not 1 <= options.seconds <= 3600:
        parser.error("--seconds takes a number from 1 to 3600")
    screen = Terminal(sys.stdout)
    if not options.json:
        screen.line(screen.style("ipcx duel: multiprocessing and ipcx under kill -9", "bold"))
        _tell(screen, SAME)
    duel = Duel(options.seconds, Telling(None if options.json else screen))
    try:
        duel.run()
    except KeyboardInterrupt:
        screen.clear()
        after = "\n" if screen.terminal else ""  # what the terminal shows as ^C
        print(f"{after}ipcx duel: ended by Ctrl-C; nothing was left running", file=sys.stderr)
        return 130
    except (OSError, ImportError) as error:  # no /dev/shm: multiprocessing has no locks then
        screen.clear()
        print(f"ipcx duel: this machine does not let it run: {error}", file=sys.stderr)
        return 1
    ours = duel.columns[-1]
    if options.json:
        print(json.dumps(reported(duel), indent=2))
    else:
        for row in ["", *table(screen, duel), ""]:
            screen.line(row)
        for text in explained(duel):
            _tell(screen, text)
    return 1 if ours.freeze or ours.open or ours.doubled else 0


def _tell(screen: Terminal, text: str) -> None:
    for row in textwrap.wrap(text, screen.width):
        screen.line(row)
