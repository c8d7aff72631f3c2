# SPDX-License-Identifier: Apache-2.0
"""Notebook 14: synchronous and asynchronous messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["Barrier", "Exchange", "Rendezvous", "Ring"]

SCHEDULES = 100


class Exchange(Problem):
    """Two synchronous sends that wait for each other."""

    id = "messages-exchange"
    title = "Two processes exchange a value, synchronously"
    topic = "14"
    roles = ("exchange",)
    hints = (
        "a synchronous send returns when the other one has received: what if both send first?",
        "both do not know each other's value, but each knows its number: let 0 send first.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"values": draw.sample(range(100, 1000), 2)}

    def text(self) -> str:
        return f"""
            Between two processes there is a channel on which every `send()` is synchronous, as
            `send(message, sync=True)` is in ipcx: it returns when the other one has received. Write
            `exchange(channel, me, value)`, which both call, one with `me` 0 and one with `me` 1: it
            returns the *other* one's value. `channel` has `send(message)` and `receive()`. Here the
            values are {self.given["values"][0]} and {self.given["values"][1]}; they are sent, each
            in one message.
            """

    DRIVER = """
from ipcx.lab._schedule import Channel, World

for number in range(schedules):
    world = World(f"{seed}/{number}")
    ends = Channel(world, 0, ("process 0", "process 1")).ends
    tasks = [world.start(f"process {me}", exchange, ends[me], me, values[me]) for me in (0, 1)]
    wrong = world.run()
    if wrong:
        fail(f"interleaving {number}: {wrong}")
    for me in (0, 1):
        if tasks[me].result != values[1 - me]:
            fail(f"process {me} returned {tasks[me].result!r}, not {values[1 - me]!r}")
    if len(world.messages) != 2:
        fail(f"{len(world.messages)} messages were sent; two are enough")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        stage.finish(
            stage.functions(self.DRIVER, seed=self.seed, schedules=SCHEDULES, **self.given)
        )
        yield good(f"under {SCHEDULES} interleavings each returned the other one's value")

    solution = Sources(
        exchange="""
            def exchange(channel, me, value):
                if me == 0:
                    channel.send(value)
                    return channel.receive()
                other = channel.receive()
                channel.send(value)
                return other
            """
    )
    broken = (
        Wrong(
            "both send first",
            "a deadlock: process 0 waits until process 1 receives; "
            "process 1 waits until process 0 receives",
            exchange="""
                def exchange(channel, me, value):
                    channel.send(value)
                    return channel.receive()
                """,
        ),
        Wrong(
            "both receive first",
            "a deadlock: process 0 waits for a message of process 1",
            exchange="""
                def exchange(channel, me, value):
                    other = channel.receive()
                    channel.send(value)
                    return other
                """,
        ),
        Wrong(
            "only one sends",
            "process 0 returned None",
            exchange="""
                def exchange(channel, me, value):
                    if me == 0:
                        return channel.send(value)
                    return channel.receive()
                """,
        ),
    )


class Ring(Problem):
    """A sum around a ring."""

    id = "messages-ring"
    title = "Once around the ring"
    topic = "14"
    roles = ("member",)
    hints = (
        "one of them begins: 0 sends its value, each other one waits, adds its own, and sends on.",
        "when 0 receives, that is the sum; nobody else knows it yet: once more around.",
        "the last one before 0 must not send on in the second round: 0 knows it already.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"values": [draw.randrange(1, 100) for _ in range(draw.randrange(3, 7))]}

    def text(self) -> str:
        count = len(self.given["values"])
        return f"""
            {count} processes stand in a ring; each one can only receive from its left neighbour and
            send to its right one, and every send is synchronous. Write
            `member(me, count, left, right, value)`, which all of them call, with `me` 0, 1 … It
            returns the sum of all values, everywhere. `left.receive()` and `right.send(message)`;
            a message is a number. There shall be {2 * count - 1} messages in all.
            """

    DRIVER = """
from ipcx.lab._schedule import Channel, World

count = len(values)
for number in range(schedules):
    world = World(f"{seed}/{number}")
    names = [f"process {me}" for me in range(count)]
    # rights[me] sends to the next one, lefts[next] receives it.
    rights, lefts = [None] * count, [None] * count
    for me in range(count):
        after = (me + 1) % count
        rights[me], lefts[after] = Channel(world, 0, (names[me], names[after])).ends
    tasks = [
        world.start(names[me], member, me, count, lefts[me], rights[me], values[me])
        for me in range(count)
    ]
    wrong = world.run()
    if wrong:
        fail(f"interleaving {number}: {wrong}")
    for me in range(count):
        if tasks[me].result != sum(values):
            fail(f"process {me} returned {tasks[me].result!r}; the sum is {sum(values)}")
    if len(world.messages) != 2 * count - 1:
        fail(f"{len(world.messages)} messages were sent, not {2 * count - 1}")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        stage.finish(
            stage.functions(self.DRIVER, seed=self.seed, schedules=SCHEDULES, **self.given)
        )
        count = len(self.given["values"])
        yield good(f"under {SCHEDULES} interleavings all {count} processes returned the sum")
        yield good(f"with {2 * count - 1} messages")

    solution = Sources(
        member="""
            def member(me, count, left, right, value):
                if me == 0:
                    right.send(value)
                    total = left.receive()
                    right.send(total)
                    return total
                right.send(left.receive() + value)
                total = left.receive()
                if me < count - 1:
                    right.send(total)
                return total
            """
    )
    broken = (
        Wrong(
            "all send first",
            "a deadlock: process 0 waits until process 1 receives; process 1 waits until",
            member="""
                def member(me, count, left, right, value):
                    total = value
                    for _ in range(count - 1):
                        right.send(value)
                        value = left.receive()
                        total += value
                    return total
                """,
        ),
        Wrong(
            "one round only",
            "; the sum is",
            member="""
                def member(me, count, left, right, value):
                    if me == 0:
                        right.send(value)
                        return left.receive()
                    total = left.receive() + value
                    right.send(total)
                    return total
                """,
        ),
        Wrong(
            "sends on for ever",
            "waits until process 0 receives",
            member="""
                def member(me, count, left, right, value):
                    if me == 0:
                        right.send(value)
                        total = left.receive()
                        right.send(total)
                        return total
                    right.send(left.receive() + value)
                    total = left.receive()
                    right.send(total)
                    return total
                """,
        ),
    )


class Rendezvous(Problem):
    """Nobody goes on before the other one has come."""

    id = "messages-rendezvous"
    title = "A meeting: nobody goes on alone"
    topic = "14"
    roles = ("meet",)
    hints = (
        "a synchronous send is a meeting by itself; what must an asynchronous one do in addition?",
        "a send says: I have come. A receive waits for the other one's. Both need both.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"meetings": draw.randrange(2, 5)}

    def text(self) -> str:
        return f"""
            Two processes meet {self.given["meetings"]} times. Write `meet(channel, me)`, which both
            call each time (`me` is 0 or 1): it returns when the other one has called it as often,
            and not before. `channel` has `send(message)` and `receive()`; here every send is
            *asynchronous*: it returns at once.
            """

    DRIVER = """
from ipcx.lab._schedule import Channel, Memory, World

for number in range(schedules):
    world = World(f"{seed}/{number}")
    ends = Channel(world, 1000, ("process 0", "process 1")).ends
    come, gone = [0, 0], [0, 0]
    memory = Memory(world, work=0)
    def process(me):
        for _ in range(meetings):
            memory.work
            come[me] += 1
            meet(ends[me], me)
            gone[me] += 1
            if come[1 - me] < gone[me]:
                world.fail(f"process {me} left meeting {gone[me]}, process {1 - me} has not come")
            memory.work
    for me in (0, 1):
        world.start(f"process {me}", process, me)
    wrong = world.run()
    if wrong:
        fail(f"interleaving {number}: {wrong}")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        stage.finish(
            stage.functions(self.DRIVER, seed=self.seed, schedules=SCHEDULES, **self.given)
        )
        yield good(f"under {SCHEDULES} interleavings nobody went on alone, and nobody was left")

    solution = Sources(
        meet="""
            def meet(channel, me):
                channel.send("I have come")
                channel.receive()
            """
    )
    broken = (
        Wrong(
            "only says so",
            "has not come",
            meet="""
                def meet(channel, me):
                    channel.send("I have come")
                """,
        ),
        Wrong(
            "one waits, one does not",
            "process 0 left meeting",
            meet="""
                def meet(channel, me):
                    if me == 0:
                        channel.send("I have come")
                    else:
                        channel.receive()
                """,
        ),
        Wrong(
            "both wait first",
            "a deadlock: process 0 waits for a message of process 1",
            meet="""
                def meet(channel, me):
                    channel.receive()
                    channel.send("I have come")
                """,
        ),
    )


class Barrier(Problem):
    """A space-time diagram of a given shape."""

    id = "messages-barrier"
    title = "A barrier: all in, then all out"
    topic = "14"
    roles = ("pass_barrier",)
    hints = (
        "0 receives from each of the others before it sends to the first of them.",
        "the others send one message to 0 and receive one: that is all.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"count": draw.randrange(3, 7)}

    def text(self) -> str:
        count = self.given["count"]
        return f"""
            {count} processes meet at a barrier: nobody passes before all have come. Process 0 has a
            channel to each other one; the others have only that one. Write
            `pass_barrier(me, ends)`, which all of them call: `ends` is a dict from the number of a
            process to the channel that leads to it (`ends[0]`, for process 0 `ends[1]`,
            `ends[2]` …), with `send(message)` and `receive()`. Sends are asynchronous.

            Their space-time diagram shall have this shape: {count - 1} arrows to process 0, then
            {count - 1} arrows from it, and no others.
            """

    DRIVER = """
from ipcx.lab._schedule import Channel, Memory, World

for number in range(schedules):
    world = World(f"{seed}/{number}")
    names = [f"process {me}" for me in range(count)]
    ends = [{} for _ in names]
    for me in range(1, count):
        ends[0][me], ends[me][0] = Channel(world, 1000, (names[0], names[me])).ends
    memory, come = Memory(world, work=0), []
    def process(me):
        memory.work
        come.append(me)
        pass_barrier(me, ends[me])
        for other in range(count):
            if other not in come:
                world.fail(f"process {me} has passed, and process {other} has not come yet")
    for me in range(count):
        world.start(names[me], process, me)
    wrong = world.run()
    if wrong:
        fail(f"interleaving {number}: {wrong}")
    to_0 = sum(to == names[0] for _, to, _ in world.messages)
    from_0 = sum(of == names[0] for of, _, _ in world.messages)
    if (to_0, from_0) != (count - 1, count - 1):
        fail(f"there are {to_0} arrows to process 0 and {from_0} from it, not {count - 1} each")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        stage.finish(
            stage.functions(self.DRIVER, seed=self.seed, schedules=SCHEDULES, **self.given)
        )
        arrows = self.given["count"] - 1
        yield good(f"under {SCHEDULES} interleavings nobody passed before all had come")
        yield good(f"the diagram has {arrows} arrows to process 0, and {arrows} from it")

    solution = Sources(
        pass_barrier="""
            def pass_barrier(me, ends):
                for end in ends.values():
                    if me:
                        end.send("here")
                    end.receive()
                if me == 0:
                    for end in ends.values():
                        end.send("go")
            """
    )
    broken = (
        Wrong(
            "answers each at once",
            "has not come yet",
            pass_barrier="""
                def pass_barrier(me, ends):
                    for end in ends.values():
                        if me:
                            end.send("here")
                        end.receive()
                        if me == 0:
                            end.send("go")
                """,
        ),
        Wrong(
            "asks first",
            "arrows to process 0 and",
            pass_barrier="""
                def pass_barrier(me, ends):
                    if me == 0:
                        for end in ends.values():
                            end.send("are you there?")
                    else:
                        ends[0].receive()
                        ends[0].send("here")
                        ends[0].receive()
                        return
                    for end in ends.values():
                        end.receive()
                    for end in ends.values():
                        end.send("go")
                """,
        ),
        Wrong(
            "waits for orders that nobody gives",
            "waits for a message of process 0",
            pass_barrier="""
                def pass_barrier(me, ends):
                    if me:
                        ends[0].send("here")
                        ends[0].receive()
                    else:
                        for end in ends.values():
                            end.receive()
                """,
        ),
    )
