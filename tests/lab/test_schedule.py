"""Interleavings: the same seed, the same one; races, deadlocks and deaths are found and told."""

from ipcx.lab._schedule import Cells, Channel, Memory, Mutex, Semaphore, World


def race(seed: int, lock: bool) -> tuple[int, list[str]]:
    world = World(seed)
    memory, mutex = Memory(world, n=0), Mutex(world, "mutex")

    def add() -> None:
        for _ in range(3):
            if lock:
                with mutex:
                    memory.n = memory.n + 1
            else:
                memory.n = memory.n + 1

    for name in "ab":
        world.start(name, add)
    assert world.run() == ""
    return memory.n, world.log


def test_the_same_seed_is_the_same_interleaving():
    assert race(3, lock=False) == race(3, lock=False)
    assert len({tuple(race(seed, lock=False)[1]) for seed in range(10)}) > 5


def test_a_race_is_found_and_a_lock_ends_it():
    assert min(race(seed, lock=False)[0] for seed in range(20)) < 6
    assert {race(seed, lock=True)[0] for seed in range(20)} == {6}


def test_a_deadlock_is_told_in_words_and_all_threads_end():
    def both(first: Mutex, second: Mutex) -> None:
        with first, second:
            pass

    found = set()
    for seed in range(20):
        world = World(seed)
        left, right = Mutex(world, "left"), Mutex(world, "right")
        world.start("a", both, left, right)
        world.start("b", both, right, left)
        found.add(world.run().partition(" (")[0])
        assert all(not task.thread.is_alive() for task in world.tasks)
    assert found == {
        "",
        "a deadlock: a waits for right, which b has; b waits for left, which a has",
    }


def test_whoever_is_killed_leaves_its_lock_and_does_nothing_more():
    world = World(1)
    mutex, memory = Mutex(world, "mutex"), Memory(world, n=0)
    seen = []

    def one() -> None:
        with mutex:
            memory.n = 1
            memory.n = 2

    def next_one() -> None:
        with mutex:
            seen.append((mutex.recovered, memory.n))
        with mutex:
            seen.append((mutex.recovered, memory.n))

    world.start("one", one, dies_at=2)
    assert world.run() == ""
    world.tasks.clear()
    world.start("next", next_one)
    assert world.run() == ""
    assert seen == [(True, 1), (False, 1)]


def test_semaphores_channels_and_arrays():
    world = World(5)
    room, cells = Semaphore(world, 1, "room"), Cells(world, [0, 0], "cells")
    left, right = Channel(world, 0, ("a", "b")).ends

    def a() -> None:
        with room:
            cells[0] = len(cells)
        left.send("first")
        assert left.receive() == "second"
        assert room.try_acquire()

    def b() -> None:
        assert right.receive() == "first"
        assert cells[0] == 2
        right.send("second")

    world.start("a", a)
    world.start("b", b)
    assert world.run() == ""
    assert world.messages == [("a", "b", "first"), ("b", "a", "second")]
    assert room.value == 0


def test_what_is_raised_and_what_never_ends():
    world = World(0)
    memory = Memory(world, n=0)
    world.start("a", lambda: memory.m)
    assert world.run() == "a raised AttributeError: there is no cell 'm'; there are n"
    world = World(0)
    memory = Memory(world, n=0)

    def spin() -> None:
        while memory.n == 0:
            pass

    world.start("a", spin)
    assert "somebody waits in a loop" in world.run()
    world = World(0)
    mutex = Mutex(world, "mutex")
    world.start("a", mutex.release)
    assert "released by somebody who does not have it" in world.run()
    world = World(0)
    mutex = Mutex(world, "mutex")
    world.start("a", lambda: mutex.acquire() and mutex.acquire())
    assert "a has mutex already" in world.run()
