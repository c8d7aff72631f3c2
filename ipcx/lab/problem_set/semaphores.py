# SPDX-License-Identifier: Apache-2.0
"""Notebook 04: semaphores. A solution is tried under hundreds of interleavings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["BoundedBuffer", "KilledHolder", "Philosophers", "ReadersWriters"]

SCHEDULES = 200
ABOUT = """
            The check tries it under 200 interleavings, in which anything may happen between two
            operations on what is shared. `acquire()` and `release()` are those of `ipcx.sync`, and
            so is `with`; there are no time-outs.
            """


class BoundedBuffer(Problem):
    """Producers and consumers."""

    id = "sem-bounded-buffer"
    title = "Producers, consumers, and a buffer with room for a few"
    topic = "04"
    roles = ("put", "take")
    hints = (
        "three things: a producer waits for a free place, a consumer for a filled one, and only "
        "one at a time moves the positions.",
        "`free` counts the places without an item, `filled` those with one: each is acquired at "
        "one end and released at the other.",
        "whoever waits for a place while having the mutex keeps out those who could make one.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"size": draw.randrange(2, 4)}

    def text(self) -> str:
        return f"""
            Items pass through a buffer with {self.given["size"]} places. Write `put(b, item)` and
            `take(b)`, which returns an item; producers call the one and consumers the other, all at
            the same time. In shared memory there are `b.places` (a list of `b.size` places),
            `b.first` and `b.last` (two numbers, both 0), and the semaphores `b.free` (with the
            value `b.size`), `b.filled` (0) and `b.mutex` (a `Mutex`). No item may be lost, come
            twice, or overtake one that was put in before it.
            {ABOUT}"""

    DRIVER = """
from ipcx.lab._schedule import Cells, Memory, Mutex, Semaphore, World

def once(number):
    world = World(f"{seed}/{number}")
    b = Memory(world, size=size, places=Cells(world, [None] * size, "places"), first=0, last=0,
               free=Semaphore(world, size, "free"), filled=Semaphore(world, 0, "filled"),
               mutex=Mutex(world, "mutex"))
    got, out = [], []
    def producer(name):
        for n in range(3):
            put(b, f"{name}{n}")
    def consumer():
        for _ in range(3):
            out.append(take(b))
    for name in "ab":
        world.start(f"producer {name}", producer, name)
    for number in range(2):
        world.start(f"consumer {number}", consumer)
    wrong = world.run()
    if wrong:
        return wrong
    for item in (f"{name}{n}" for name in "ab" for n in range(3)):
        if out.count(item) != 1:
            return f"{item!r} came {out.count(item)} times: {out}{world.report()}"
    return ""

for number in range(schedules):
    wrong = once(number)
    if wrong:
        fail(f"interleaving {number}: {wrong}")

# One producer and one consumer: nothing overtakes.
for number in range(20):
    world = World(f"{seed}/order/{number}")
    b = Memory(world, size=size, places=Cells(world, [None] * size, "places"), first=0, last=0,
               free=Semaphore(world, size, "free"), filled=Semaphore(world, 0, "filled"),
               mutex=Mutex(world, "mutex"))
    out = []
    world.start("producer", lambda: [put(b, n) for n in range(6)])
    world.start("consumer", lambda: [out.append(take(b)) for n in range(6)])
    wrong = world.run() or (f"the items came as {out}" if out != list(range(6)) else "")
    if wrong:
        fail(f"with one producer and one consumer: {wrong}")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        stage.finish(
            stage.functions(self.DRIVER, seed=self.seed, schedules=SCHEDULES, **self.given)
        )
        yield good(f"under {SCHEDULES} interleavings each item came once, and nobody was stuck")
        yield good("items come in the order in which they were put in")

    solution = Sources(
        put="""
            def put(b, item):
                b.free.acquire()
                with b.mutex:
                    b.places[b.last] = item
                    b.last = (b.last + 1) % b.size
                b.filled.release()
            """,
        take="""
            def take(b):
                b.filled.acquire()
                with b.mutex:
                    item = b.places[b.first]
                    b.first = (b.first + 1) % b.size
                b.free.release()
                return item
            """,
    )
    broken = (
        Wrong(
            "without the mutex",
            "times: [",
            put="""
                def put(b, item):
                    b.free.acquire()
                    b.places[b.last] = item
                    b.last = (b.last + 1) % b.size
                    b.filled.release()
                """,
        ),
        Wrong(
            "waits while it has the mutex",
            "a deadlock: ",
            take="""
                def take(b):
                    with b.mutex:
                        b.filled.acquire()
                        item = b.places[b.first]
                        b.first = (b.first + 1) % b.size
                    b.free.release()
                    return item
                """,
        ),
        Wrong(
            "forgets to say that a place is free",
            "to acquire free, of which none is free",
            take="""
                def take(b):
                    b.filled.acquire()
                    with b.mutex:
                        item = b.places[b.first]
                        b.first = (b.first + 1) % b.size
                    return item
                """,
        ),
        Wrong(
            "says that it is filled too early",
            "times: [",
            put="""
                def put(b, item):
                    b.free.acquire()
                    b.filled.release()
                    with b.mutex:
                        b.places[b.last] = item
                        b.last = (b.last + 1) % b.size
                """,
        ),
    )


class ReadersWriters(Problem):
    """Many readers or one writer."""

    id = "sem-readers-writers"
    title = "Readers and writers"
    topic = "04"
    roles = ("begin_read", "end_read", "begin_write", "end_write")
    hints = (
        "the first reader acquires the room for all readers, the last one releases it.",
        "who is first and who is last is only known if the count is changed under a mutex.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"readers": draw.randrange(2, 4)}

    def text(self) -> str:
        return f"""
            {self.given["readers"]} readers and two writers use the same data: any number of readers
            at a time, or one writer. Write `begin_read(s)`, `end_read(s)`, `begin_write(s)` and
            `end_write(s)`, which each of them calls before and after. In shared memory there are
            `s.count` (a number, 0), `s.mutex` and `s.room`, a semaphore with the value 1. Readers
            may keep a writer waiting; but they must not keep each other waiting.
            {ABOUT}"""

    DRIVER = """
from ipcx.lab._schedule import Memory, Mutex, Semaphore, World
together = False

def once(number):
    world = World(f"{seed}/{number}")
    s = Memory(world, count=0, mutex=Mutex(world, "mutex"), room=Semaphore(world, 1, "room"),
               data=0)
    inside = []
    def look():
        global together
        readers = [who for who in inside if who.startswith("reader")]
        if len(readers) > 1:
            together = True
        if len(inside) > 1 and len(readers) < len(inside):
            world.fail(f"{' and '.join(sorted(inside))} are in at the same time")
    def reader(name):
        for _ in range(2):
            begin_read(s)
            inside.append(name)
            look()
            s.data
            s.data
            inside.remove(name)
            end_read(s)
    def writer(name):
        for _ in range(2):
            begin_write(s)
            inside.append(name)
            look()
            s.data = s.data + 1
            inside.remove(name)
            end_write(s)
    for n in range(readers):
        world.start(f"reader {n}", reader, f"reader {n}")
    for n in range(2):
        world.start(f"writer {n}", writer, f"writer {n}")
    return world.run()

for number in range(schedules):
    wrong = once(number)
    if wrong:
        fail(f"interleaving {number}: {wrong}")
if not together:
    fail(f"in {schedules} interleavings there were never two readers in at the same time")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        stage.finish(
            stage.functions(self.DRIVER, seed=self.seed, schedules=SCHEDULES, **self.given)
        )
        yield good(f"under {SCHEDULES} interleavings no writer met anybody, and all came to an end")
        yield good("readers were in at the same time")

    solution = Sources(
        begin_read="""
            def begin_read(s):
                with s.mutex:
                    s.count = s.count + 1
                    if s.count == 1:
                        s.room.acquire()
            """,
        end_read="""
            def end_read(s):
                with s.mutex:
                    s.count = s.count - 1
                    if s.count == 0:
                        s.room.release()
            """,
        begin_write="""
            def begin_write(s):
                s.room.acquire()
            """,
        end_write="""
            def end_write(s):
                s.room.release()
            """,
    )
    broken = (
        Wrong(
            "counts without the mutex",
            "interleaving ",
            begin_read="""
                def begin_read(s):
                    s.count = s.count + 1
                    if s.count == 1:
                        s.room.acquire()
                """,
            end_read="""
                def end_read(s):
                    s.count = s.count - 1
                    if s.count == 0:
                        s.room.release()
                """,
        ),
        Wrong(
            "one at a time",
            "there were never two readers in at the same time",
            begin_read="def begin_read(s):\n    s.room.acquire()",
            end_read="def end_read(s):\n    s.room.release()",
        ),
        Wrong(
            "the last reader leaves the light on",
            "to acquire room, of which none is free",
            end_read="""
                def end_read(s):
                    with s.mutex:
                        s.count = s.count - 1
                """,
        ),
        Wrong(
            "writers ask nobody",
            "are in at the same time",
            begin_write="def begin_write(s):\n    s.mutex.acquire()",
            end_write="def end_write(s):\n    s.mutex.release()",
        ),
    )


class Philosophers(Problem):
    """The dining philosophers."""

    id = "sem-philosophers"
    title = "The dining philosophers"
    topic = "04"
    roles = ("dine",)
    hints = (
        "if each takes the left fork first, all can have that one and wait for the other.",
        "a circle needs everybody to wait in the same direction: let one of them begin with the "
        "other fork, or take the fork with the smaller number first.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"seats": draw.randrange(3, 6)}

    def text(self) -> str:
        return f"""
            {self.given["seats"]} philosophers sit at a round table, with a fork between each two.
            Write `dine(me, forks, eat)`: philosopher `me` (0, 1, …) takes the forks `forks[me]` and
            `forks[(me + 1) % len(forks)]`, each a `Mutex`, calls `eat()`, which needs both, and
            puts them back. All do so at the same time, again and again. Nobody may wait for ever;
            and those who do not sit next to each other must be able to eat at the same time.
            {ABOUT}"""

    DRIVER = """
from ipcx.lab._schedule import Memory, Mutex, World
together = False

def once(number):
    world = World(f"{seed}/{number}")
    forks = [Mutex(world, f"fork {n}") for n in range(seats)]
    table = Memory(world, meals=0)
    eating = []
    def philosopher(me):
        name = f"philosopher {me}"
        def eat():
            global together
            for fork in (forks[me], forks[(me + 1) % seats]):
                if fork.owner != name:
                    world.fail(f"{name} eats without {fork.name}")
            eating.append(me)
            together = together or len(eating) > 1
            table.meals
            table.meals
            eating.remove(me)
            meals.append(me)
        for _ in range(2):
            dine(me, forks, eat)
    meals = []
    for me in range(seats):
        world.start(f"philosopher {me}", philosopher, me)
    wrong = world.run()
    for me in range(seats):
        if not wrong and meals.count(me) != 2:
            wrong = f"philosopher {me} has eaten {meals.count(me)} times in 2 calls"
        if not wrong and forks[me].owner is not None:
            wrong = f"at the end {forks[me].owner} still has {forks[me].name}"
    return wrong

for number in range(schedules):
    wrong = once(number)
    if wrong:
        fail(f"interleaving {number}: {wrong}")
if seats > 3 and not together:
    fail(f"in {schedules} interleavings never did two of them eat at the same time")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        stage.finish(
            stage.functions(self.DRIVER, seed=self.seed, schedules=SCHEDULES, **self.given)
        )
        yield good(f"under {SCHEDULES} interleavings all have eaten, with both forks")

    solution = Sources(
        dine="""
            def dine(me, forks, eat):
                one, other = sorted((me, (me + 1) % len(forks)))
                with forks[one], forks[other]:
                    eat()
            """
    )
    broken = (
        Wrong(
            "all begin on the left",
            "a deadlock: philosopher 0 waits for fork 1, which philosopher 1 has",
            dine="""
                def dine(me, forks, eat):
                    with forks[me], forks[(me + 1) % len(forks)]:
                        eat()
                """,
        ),
        Wrong(
            "one fork will do",
            "eats without fork",
            dine="""
                def dine(me, forks, eat):
                    with forks[me]:
                        eat()
                """,
        ),
        Wrong(
            "keeps a fork",
            "interleaving 0: ",
            dine="""
                def dine(me, forks, eat):
                    one, other = sorted((me, (me + 1) % len(forks)))
                    forks[one].acquire()
                    forks[other].acquire()
                    eat()
                    forks[one].release()
                """,
        ),
        Wrong(
            "asks again and again",
            "somebody waits in a loop",
            dine="""
                def dine(me, forks, eat):
                    forks[me].acquire()
                    while not forks[(me + 1) % len(forks)].try_acquire():
                        pass
                    eat()
                    forks[(me + 1) % len(forks)].release()
                    forks[me].release()
                """,
        ),
    )


class KilledHolder(Problem):
    """What a lock protects is half done when its holder was killed."""

    id = "sem-killed-holder"
    title = "The holder was killed: what now?"
    topic = "04"
    roles = ("transfer",)
    hints = (
        "`mutex.recovered` is True for whoever gets the lock of a killed process, until it is "
        "released: then the two accounts may not fit together.",
        "write down what was before you change anything: `bank.note = (bank.a, bank.b)`; writing "
        "one cell is done or not done, never half. Afterwards `bank.note = None`.",
        "who finds the lock recovered and a note puts back what the note says, and then deletes "
        "the note; if it is killed meanwhile, the next one does the same again.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        a, b, amount = draw.randrange(100, 900), draw.randrange(100), draw.randrange(1, 50)
        return {"a": a, "b": b, "amount": amount}

    def text(self) -> str:
        return """
            In shared memory there are two accounts, `bank.a` and `bank.b`, a cell `bank.note` (at
            first `None`, it may hold a tuple), and `bank.mutex`. Write `transfer(bank, amount)`: it
            moves the amount from `a` to `b`. A process may be killed at *any* moment; the lock then
            goes to the next one, who sees `bank.mutex.recovered`. Whatever happens: when a
            `transfer` has returned, the sum of both accounts is what it was at the beginning, that
            transfer has been made, and one that was killed has been made or has not.

            The check kills a process before its first operation, before its second one, and so on;
            and it kills the one that repairs, too.
            """

    DRIVER = """
from ipcx.lab._schedule import Memory, Mutex, World

def once(deaths):
    world = World(seed)
    mutex = Mutex(world, "mutex")
    bank = Memory(world, a=a, b=b, note=None, mutex=mutex)
    tasks = []
    for number, dies_at in enumerate(deaths):  # one after the other: each finds what was left
        world = World(seed)
        mutex._world = world
        object.__setattr__(bank, "_world", world)
        task = world.start(f"process {number}", transfer, bank, amount, dies_at=dies_at)
        wrong = world.run()
        if wrong:
            return wrong
        tasks.append(task)
    have = object.__getattribute__(bank, "_cells")
    if have["a"] + have["b"] != a + b:
        return (f"there are {have['a']} and {have['b']}, in all {have['a'] + have['b']}, "
                f"and at the beginning there were {a + b}")
    sure = sum(not task.dead for task in tasks)
    made = (a - have["a"]) // amount
    if not sure <= made <= len(tasks):
        return f"{sure} transfers have returned, and {made} were made"
    return ""

wrong = once([None]) or once([None, None])
if wrong:
    fail(f"without any kill: {wrong}")
world = World(seed)
bank = Memory(world, a=a, b=b, note=None, mutex=Mutex(world, "mutex"))
operations = world.start("process", transfer, bank, amount)
world.run()
for at in range(operations.operations + 1):
    wrong = once([at, None])
    if wrong:
        fail(f"when a process is killed before its operation {at}: {wrong}")
tell("one")
for at in range(operations.operations + 1):
    for then in range(3 * operations.operations):
        wrong = once([at, then, None, None])
        if wrong:
            fail(f"when one is killed before its operation {at}, and the next one before its "
                 f"operation {then}: {wrong}")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        stage.finish(stage.functions(self.DRIVER, seed=self.seed, **self.given))
        yield good("a process may be killed at any moment: the sum is right afterwards")
        yield good("so may the one that repairs")

    solution = Sources(
        transfer="""
            def transfer(bank, amount):
                with bank.mutex:
                    if bank.mutex.recovered and bank.note is not None:
                        before = bank.note
                        bank.a = before[0]
                        bank.b = before[1]
                    bank.note = (bank.a, bank.b)
                    bank.a = bank.a - amount
                    bank.b = bank.b + amount
                    bank.note = None
            """
    )
    broken = (
        Wrong(
            "does not look",
            "in all ",
            transfer="""
                def transfer(bank, amount):
                    with bank.mutex:
                        bank.a = bank.a - amount
                        bank.b = bank.b + amount
                """,
        ),
        Wrong(
            "notes too late",
            "when a process is killed before its operation",
            transfer="""
                def transfer(bank, amount):
                    with bank.mutex:
                        if bank.mutex.recovered and bank.note is not None:
                            bank.a, bank.b = bank.note
                        bank.a = bank.a - amount
                        bank.note = (bank.a + amount, bank.b)
                        bank.b = bank.b + amount
                        bank.note = None
                """,
        ),
        Wrong(
            "deletes the note before it has repaired",
            "and the next one before its operation",
            transfer="""
                def transfer(bank, amount):
                    with bank.mutex:
                        if bank.mutex.recovered and bank.note is not None:
                            before = bank.note
                            bank.note = None
                            bank.a, bank.b = before
                        bank.note = (bank.a, bank.b)
                        bank.a = bank.a - amount
                        bank.b = bank.b + amount
                        bank.note = None
                """,
        ),
        Wrong(
            "repairs and goes home",
            "transfers have returned",
            transfer="""
                def transfer(bank, amount):
                    with bank.mutex:
                        if bank.mutex.recovered and bank.note is not None:
                            bank.a, bank.b = bank.note
                            bank.note = None
                            return
                        bank.note = (bank.a, bank.b)
                        bank.a = bank.a - amount
                        bank.b = bank.b + amount
                        bank.note = None
                """,
        ),
    )
