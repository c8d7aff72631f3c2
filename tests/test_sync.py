"""ipcx.sync: locks and semaphores across threads, forks and processes, some of which are killed."""

import contextlib
import fcntl
import gc
import inspect
import json
import multiprocessing
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import ipcx
from ipcx import _core, sync
from ipcx.sync import Barrier, Condition, Event, Mutex, RWLock, Semaphore

NIGHT = os.environ.get("IPCX_NIGHT") == "1"
SOON = 20  # seconds: a guard against hanging
ALL = [Mutex, Semaphore, RWLock, Condition, Event, lambda **names: Barrier(2, **names)]
LOCKS = [Mutex, Semaphore, Condition]


def forked(function) -> int:
    """A child that runs the function; it ends with 0 when that came to its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL


def then_sleep(*acts):
    """A function for `forked`: does this, says so by the event, and sleeps until it is killed."""

    def function():
        for act in acts:
            act()
        signal.pause()

    return function


# ---- what each has


@pytest.mark.parametrize("make", ALL)
def test_it_shows_itself_and_closes(make):
    each = make()
    assert repr(each).startswith(f"<{type(each).__name__} ")
    assert each.name is None
    assert os.fstat(each.fileno()).st_size == 8192
    each.close()
    each.close()
    assert each.closed
    assert "closed" in repr(each)
    with pytest.raises(ipcx.Closed):
        each.fileno()
    with pytest.raises(FileNotFoundError):
        make().unlink()


@pytest.mark.parametrize("kind", [Mutex, Semaphore, RWLock, Condition, Event, Barrier])
def test_help_teaches(kind):
    for name, value in inspect.getmembers(kind):
        if not name.startswith("_"):
            assert inspect.getdoc(value), name
    assert inspect.signature(kind.wait if hasattr(kind, "wait") else kind.close)


@pytest.mark.parametrize("make", LOCKS)
def test_a_lock_has_a_locks_verbs(make):
    lock = make()
    assert lock.acquire() is True
    assert lock.try_acquire() is False
    with pytest.raises(ipcx.WouldBlock):
        lock.acquire(timeout=0)
    if make is Semaphore:
        with pytest.raises(ipcx.Timeout) as caught:
            lock.acquire(0.01)
        assert not isinstance(caught.value, ipcx.WouldBlock)
    lock.release()
    assert lock.try_acquire() is True
    lock.release()
    with lock as got:
        assert got is lock


@pytest.mark.parametrize("make", [*LOCKS, Event, lambda: Barrier(2), lambda: RWLock().write])
@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
def test_a_timeout_is_seconds(make, timeout, error):
    each = make()
    wait = each.acquire if hasattr(each, "acquire") else each.wait
    with pytest.raises(error):
        wait(timeout)
    with pytest.raises(TypeError):
        wait(nothing=1)
    with pytest.raises(TypeError):
        wait(1, 2)


@pytest.mark.parametrize("kind", [Mutex, Semaphore, RWLock, Condition, Event, Barrier])
def test_one_that_was_not_made_is_refused(kind):
    each = kind.__new__(kind)
    with pytest.raises(ValueError, match="__init__"):
        each.fileno()
    for name in ("acquire", "release", "wait", "set", "clear", "is_set", "notify_all", "abort"):
        if hasattr(each, name):
            with pytest.raises(ValueError, match="__init__"):
                getattr(each, name)()


def test_nothing_is_left_in_memory():
    def use():
        for make in ALL:
            each = make()
            each.close() if isinstance(each, Event) else None
        lock = Mutex()
        lock.me = lock  # a circle
        with Condition(lock) as condition:
            condition.notify()

    use()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        use()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# ---- the mutex


def test_its_own_holder_would_wait_for_ever():
    mutex = Mutex()
    other = Mutex.from_fd(mutex.fileno())
    with mutex:
        assert mutex.owner == other.owner == os.getpid()
        for lock in (mutex, other):
            with pytest.raises(ipcx.Deadlock):
                lock.acquire()
            with pytest.raises(ipcx.Deadlock):
                lock.acquire(timeout=SOON)
            assert lock.try_acquire() is False
        with pytest.raises(ipcx.NotOwner):
            other.release()
    assert mutex.owner is None
    with pytest.raises(ipcx.NotOwner):
        mutex.release()
    with pytest.raises(RuntimeError):  # what threading's raise
        mutex.release()


def test_a_stranger_cannot_release_it():
    mutex = Mutex()
    caught = []

    def stranger():
        for act in (mutex.release, lambda: mutex.acquire(0)):
            try:
                act()
            except ipcx.Error as error:
                caught.append(type(error))

    with mutex:
        thread = threading.Thread(target=stranger)
        thread.start()
        thread.join()
        assert ended(forked(stranger)) == 0
    assert caught == [ipcx.NotOwner, ipcx.WouldBlock]


def test_a_killed_holder_leaves_it():
    mutex, held = Mutex(), Event()
    pid = forked(then_sleep(mutex.acquire, held.set))
    held.wait(SOON)
    assert mutex.owner == pid
    assert f"held by process {pid}" in repr(mutex)
    killed(pid)
    with mutex:
        assert mutex.recovered
        assert "recovered" in repr(mutex)
    with mutex:
        assert not mutex.recovered


def test_who_waits_as_the_holder_is_killed_gets_it():
    mutex, held, waits = Mutex(), Event(), Event()
    pid = forked(then_sleep(mutex.acquire, held.set))
    held.wait(SOON)

    def wait():
        waits.set()
        assert mutex.acquire(SOON)
        assert mutex.recovered

    second = forked(wait)
    waits.wait(SOON)
    killed(pid)
    assert ended(second) == 0


def test_a_thread_that_ends_leaves_it():
    mutex = Mutex()
    thread = threading.Thread(target=mutex.acquire)
    thread.start()
    thread.join()
    with mutex:
        assert mutex.recovered


def test_a_child_does_not_have_what_its_parent_has():
    mutex, tried = Mutex(), Event()

    def child():
        with pytest.raises(ipcx.NotOwner):
            mutex.release()
        assert mutex.try_acquire() is False
        tried.set()
        assert mutex.acquire(SOON)
        mutex.release()

    with mutex:
        pid = forked(child)
        tried.wait(SOON)
    assert ended(pid) == 0


def test_fork_in_the_middle_of_many_threads():
    mutex, lock, stop = Mutex(), RWLock(), threading.Event()

    def work():
        while not stop.is_set():
            with mutex, lock.read:
                pass

    def child():
        for _ in range(50):
            with mutex, lock.write:
                assert not mutex.recovered

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert [ended(forked(child)) for _ in range(10)] == [0] * 10
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def count(mutex, number, rounds):
    for _ in range(rounds):
        with mutex:
            number[0] += 1


def test_nothing_is_counted_twice():
    rounds = 200_000 if NIGHT else 5_000
    mutex = Mutex()
    number = memoryview(__import__("mmap").mmap(-1, 8)).cast("q")
    pids = [forked(lambda: count(mutex, number, rounds)) for _ in range(2)]
    threads = [threading.Thread(target=count, args=(mutex, number, rounds)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ended(pid) for pid in pids] == [0, 0]
    assert number[0] == 4 * rounds


def test_killed_at_any_moment():
    mutex = Mutex()
    two = memoryview(__import__("mmap").mmap(-1, 16)).cast("q")

    def work():
        while True:
            with mutex:
                if two[0] != two[1]:
                    assert mutex.recovered
                    two[1] = two[0]
                two[0] += 1
                two[1] += 1

    rng = random.Random(3)
    pids = [forked(work) for _ in range(2)]
    for _ in range(300 if NIGHT else 15):
        at = rng.randrange(2)
        seen = two[1]
        while two[1] < seen + rng.randrange(200):  # it gets on, whoever died
            pass
        killed(pids[at])
        pids[at] = forked(work)
    for pid in pids:
        killed(pid)
    assert mutex.acquire(SOON)
    mutex.release()


def test_an_exception_on_its_way_out_is_not_covered():
    mutex = Mutex()

    def leave(error):
        with mutex:
            mutex.release()
            if error is not None:
                raise error

    with pytest.raises(KeyError):
        leave(KeyError())
    with pytest.raises(ipcx.NotOwner):
        leave(None)


# ---- every wait


def waits():
    """What waits for ever, by name: a function, and an object whose close() ends it."""
    held = Mutex()
    taken, event, barrier, condition = Semaphore(0), Event(), Barrier(2), Condition()
    lock = RWLock()

    def notified():
        with condition:
            condition.wait(SOON)

    return {
        "semaphore": (lambda: taken.acquire(SOON), taken),
        "event": (lambda: event.wait(SOON), event),
        "barrier": (lambda: barrier.wait(SOON), barrier),
        "condition": (notified, condition),
        "mutex": (lambda: held.acquire(SOON), held),
        "read": (lambda: lock.read.acquire(SOON), lock),
        "write": (lambda: lock.write.acquire(SOON), lock),
    }


@contextlib.contextmanager
def busy(name, each):
    """While another process has it, where that is what is waited for."""
    if name not in ("mutex", "read", "write"):
        yield
        return
    ready = Event()
    take = each.acquire if name == "mutex" else each.write.acquire
    pid = forked(then_sleep(take, ready.set))
    ready.wait(SOON)
    try:
        yield
    finally:
        killed(pid)


WAITS = ["semaphore", "event", "barrier", "condition", "mutex", "read", "write"]


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_ends_it_and_it_is_usable(name):
    wait, each = waits()[name]
    with busy(name, each):
        main = threading.get_ident()
        timer = threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT))

        def begin():  # on a busy machine it may come before there is a wait
            timer.start()
            wait()

        with pytest.raises(KeyboardInterrupt):
            begin()
        timer.join()
    if name == "barrier":
        assert each.n_waiting == 0
        assert not each.broken
    elif name == "semaphore":
        each.release()
        assert each.acquire(SOON)
    elif name in ("mutex", "condition"):
        with each:
            pass
    elif name in ("read", "write"):
        with each.write:
            assert each.recovered


@pytest.mark.parametrize("name", WAITS)
def test_close_ends_it(name):
    wait, each = waits()[name]
    with busy(name, each):
        timer = threading.Timer(0.05, each.close)
        timer.start()
        with pytest.raises(ipcx.Closed):
            wait()
        timer.join()
        with pytest.raises(ipcx.Closed):
            wait()


@pytest.mark.parametrize("name", WAITS)
def test_a_handler_may_run_and_the_wait_goes_on(name):
    wait, each = waits()[name]
    ran = []
    before = signal.signal(signal.SIGUSR1, lambda *_: ran.append(1))
    try:
        with busy(name, each):
            main = threading.get_ident()
            timers = [
                threading.Timer(0.03, lambda: signal.pthread_kill(main, signal.SIGUSR1)),
                threading.Timer(0.1, each.close),
            ]
            for timer in timers:
                timer.start()
            with pytest.raises(ipcx.Closed):
                wait()
            for timer in timers:
                timer.join()
        assert ran == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_wall_clock_moves_no_timeout():
    begun = time.monotonic()
    with pytest.raises(ipcx.Timeout):
        Event().wait(0.05)
    assert time.monotonic() - begun >= 0.05


# ---- the semaphore


def test_permits():
    permits = Semaphore(2, maximum=3)
    assert (permits.value, permits.maximum, permits.owned) == (2, 3, False)
    permits.release()
    with pytest.raises(ValueError, match="3 free of at most 3"):
        permits.release()
    for n in (0, -1, 2**40):
        with pytest.raises((ValueError, OverflowError)):
            permits.release(n)
    with permits, permits, permits:
        assert permits.value == 0
        assert permits.try_acquire() is False
    assert permits.value == 3


@pytest.mark.parametrize(
    "options", [{"value": -1}, {"value": 2, "maximum": 1}, {"maximum": 0}, {"value": 2**31}]
)
def test_a_semaphore_that_cannot_be(options):
    with pytest.raises(ValueError, match=r"must be|at most"):
        Semaphore(**options)
    with pytest.raises(ValueError, match="from the start"):
        Semaphore(0, owned=True)


def test_one_releases_what_another_takes():
    semaphore = Semaphore(0)
    pid = forked(lambda: [semaphore.release() for _ in range(100)])
    for _ in range(100):
        assert semaphore.acquire(SOON)
    assert ended(pid) == 0


def test_owned_permits_of_the_dead_are_free():
    permits, ready = Semaphore(3, owned=True), Event()
    pid = forked(then_sleep(permits.acquire, permits.acquire, ready.set))
    ready.wait(SOON)
    with permits:
        with pytest.raises(ipcx.NotOwner):
            permits.release(2)
        assert permits.try_acquire() is False
        killed(pid)
        assert permits.acquire(SOON)
        assert permits.acquire(SOON)
        permits.release(2)
    assert permits.value == 3
    with pytest.raises(ipcx.NotOwner):
        permits.release()


# ---- the read-write lock


def test_sides():
    lock = RWLock()
    with lock.read:
        assert lock.readers == 1
        assert lock.read.held()
        assert not lock.write.held()
        with pytest.raises(ipcx.Deadlock):
            lock.read.acquire()
        with pytest.raises(ipcx.NotOwner):
            lock.write.release()
        assert ended(forked(lambda: lock.read.acquire(SOON) and lock.read.release())) == 0
        assert ended(forked(lambda: lock.write.try_acquire() and 1 / 0)) == 0
    with lock.write:
        assert lock.owner == os.getpid()
        assert ended(forked(lambda: lock.read.try_acquire() and 1 / 0)) == 0
        with pytest.raises(ipcx.NotOwner):
            lock.read.release()
    with pytest.raises(ipcx.NotOwner):
        lock.write.release()
    assert "write side of <RWLock free>" in repr(lock.write)


@pytest.mark.parametrize("side", ["read", "write"])
def test_closed_in_the_middle(side):
    lock = RWLock()
    with pytest.raises(ipcx.Closed), getattr(lock, side):
        lock.close()


def test_one_thread_by_two_names(unique_name):
    name = unique_name()
    one, other = RWLock(name), RWLock(name)
    with one.read, other.read, pytest.raises(ipcx.NotOwner):
        one.write.release()
    with one.read, pytest.raises(ipcx.Deadlock):
        other.write.acquire()
    with one.write, pytest.raises(ipcx.Deadlock):
        other.read.acquire()
    one.close()
    other.close()


def test_dead_readers_and_writers():
    lock, ready = RWLock(), Event()
    pid = forked(then_sleep(lock.read.acquire, ready.set))
    ready.wait(SOON)
    assert lock.write.try_acquire() is False
    killed(pid)
    with lock.write:
        assert not lock.recovered
    ready.clear()
    pid = forked(then_sleep(lock.write.acquire, ready.set))
    ready.wait(SOON)
    killed(pid)
    with lock.read:
        assert lock.recovered
    with lock.write:
        assert lock.recovered
    with lock.read:
        assert not lock.recovered


# ---- the condition


def test_a_bounded_buffer():
    rounds = 50_000 if NIGHT else 2_000
    lock = Mutex()
    full, empty = Condition(lock), Condition(lock)
    place = memoryview(__import__("mmap").mmap(-1, 8)).cast("q")

    def produce():
        for i in range(1, rounds + 1):
            with empty:
                empty.wait_for(lambda: place[0] == 0, SOON)
                place[0] = i
                full.notify()

    pid = forked(produce)
    got = []
    for _ in range(rounds):
        with full:
            got.append(full.wait_for(lambda: place[0], SOON))
            place[0] = 0
            empty.notify()
    assert ended(pid) == 0
    assert got == list(range(1, rounds + 1))
    assert full.lock is lock


def test_a_condition_without_its_lock():
    condition = Condition()
    for act in (condition.wait, condition.notify, condition.notify_all):
        with pytest.raises(ipcx.NotOwner):
            act()
    with condition:
        with pytest.raises(ipcx.Timeout):
            condition.wait(0.01)
        with pytest.raises(ipcx.Timeout):
            condition.wait_for(lambda: False, 0.01)
        assert condition.owner == os.getpid()
        assert condition.wait_for(lambda: 7) == 7
        with pytest.raises(ValueError, match="negative"):
            condition.notify(-1)
        condition.notify(0)
    with pytest.raises(TypeError, match="Mutex"):
        Condition(threading.Lock())
    with pytest.raises(TypeError, match="name="):
        Condition("name")


def test_a_notification_wakes_one():
    condition = Condition()
    inside, told = [], []

    def wait():
        with contextlib.suppress(ipcx.Closed), condition:
            inside.append(1)
            try:
                condition.wait()
            except ipcx.Closed:
                told.append("closed")
                raise
            told.append("woken")

    waiters = [threading.Thread(target=wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    while True:
        with condition:
            if len(inside) == 3:
                condition.notify()
                break
        time.sleep(0.001)
    while not told:
        time.sleep(0.001)
    time.sleep(0.15)  # longer than anybody sleeps before it looks around by itself
    condition.close()
    for waiter in waiters:
        waiter.join()
    assert sorted(told) == ["closed", "closed", "woken"]


def test_wait_for_at_once():
    condition = Condition()
    with condition, pytest.raises(ipcx.WouldBlock):
        condition.wait_for(lambda: False, timeout=0)
    with condition, pytest.raises(ipcx.Timeout) as caught:
        condition.wait_for(lambda: False, timeout=0.001)
    assert not isinstance(caught.value, ipcx.WouldBlock)


def test_who_waits_takes_over_from_a_dead_notifier():
    condition, ready = Condition(), Event()

    def die_with_it():
        condition.acquire()
        condition.notify()
        os.kill(os.getpid(), signal.SIGKILL)

    def wait():
        with condition:
            ready.set()
            condition.wait(SOON)
            assert condition.recovered

    second = forked(wait)
    ready.wait(SOON)
    assert ended(forked(die_with_it)) == -signal.SIGKILL
    assert ended(second) == 0


# ---- the barrier


def test_all_come():
    barrier = Barrier(3)
    places = []
    threads = [threading.Thread(target=lambda: places.append(barrier.wait())) for _ in range(2)]
    for thread in threads:
        thread.start()
    places.append(barrier.wait(SOON))
    for thread in threads:
        thread.join()
    assert sorted(places) == [0, 1, 2]
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)
    with pytest.raises(ipcx.Timeout):
        barrier.wait(0.01)
    with pytest.raises(ipcx.WouldBlock):
        barrier.wait(0)
    assert (barrier.n_waiting, barrier.broken) == (0, False)


def test_each_comes_to_a_place_of_its_own():
    barrier = Barrier(3)
    places = []

    def come():
        places.append(barrier.wait())

    threads = [threading.Thread(target=come) for _ in range(3)]
    for number, thread in enumerate(threads):
        thread.start()
        while number < 2 and barrier.n_waiting != number + 1:
            time.sleep(0.001)
        time.sleep(0.1)  # longer than anybody sleeps before it looks around by itself
    for thread in threads:
        thread.join()
    assert sorted(places) == [0, 1, 2]


def test_a_death_breaks_it():
    barrier, others = Barrier(3), []
    pid = forked(barrier.wait)

    def wait():
        try:
            barrier.wait(SOON)
        except ipcx.BrokenBarrier as error:
            others.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while barrier.n_waiting < 2:
        time.sleep(0)
    killed(pid)
    thread.join()
    assert isinstance(others[0], RuntimeError)
    with pytest.raises(ipcx.BrokenBarrier):
        barrier.wait()
    barrier.reset()
    assert not barrier.broken
    barrier.abort()
    assert barrier.broken
    assert "broken" in repr(barrier)
    for parties in (0, -1, 2**31):
        with pytest.raises(ValueError, match="parties"):
            Barrier(parties)


def meet(barrier):
    barrier.wait(SOON)


def test_who_ends_in_order_breaks_nothing():
    barrier = Barrier(2)
    process = multiprocessing.get_context("fork").Process(target=meet, args=(barrier,))
    process.start()
    barrier.wait(SOON)
    process.join()
    assert process.exitcode == 0
    with pytest.raises(ipcx.Timeout):
        barrier.wait(0.05)


# ---- names


def folder() -> Path:
    return Path(f"/dev/shm/ipcx-{os.geteuid()}/sync")


@pytest.mark.parametrize("make", ALL)
def test_a_name_is_one_object(make, unique_name):
    name = unique_name()
    with pytest.raises(FileNotFoundError):
        make(name=name, create=False)
    first, second = make(name=name), make(name=name, create=False)
    with pytest.raises(FileExistsError):
        make(name=name, exclusive=True)
    assert first.name == second.name == name
    assert os.fstat(first.fileno()).st_ino == os.fstat(second.fileno()).st_ino
    assert name in repr(first)
    third = pickle.loads(pickle.dumps(first))
    assert type(third) is type(first)
    for each in (first, second, third):
        assert (folder() / name).exists()
        each.close()
    assert not (folder() / name).exists()


def test_two_programs_meet_by_name(unique_name, spawn):
    name = unique_name()
    code = (
        "import sys; from ipcx.sync import *; m = Mutex(sys.argv[1]); m.acquire()\n"
        "print('has it', flush=True); input(); m.release()"
    )
    child = spawn("-c", code, name)
    assert child.stdout.readline() == "has it\n"
    mutex = Mutex(name)
    assert mutex.owner == child.pid
    assert mutex.try_acquire() is False
    child.kill()
    child.wait()
    with mutex:
        assert mutex.recovered
    mutex.close()


@pytest.mark.parametrize("how", ["pass", "import os, signal; os.kill(os.getpid(), 9)"])
def test_a_name_goes_with_its_process(unique_name, how):
    name = unique_name()
    code = f"import sys; from ipcx.sync import *; m = Mutex(sys.argv[1]); m.acquire()\n{how}"
    subprocess.run([sys.executable, "-c", code, name], check=False)
    _core.sync_sweep()
    assert not (folder() / name).exists()


def test_a_name_may_stay(unique_name):
    name = unique_name()
    Semaphore(3, name, persist=True).acquire()
    assert name not in _core.sync_sweep()
    again = Semaphore(9, name)
    assert again.value == 2
    again.unlink()
    with pytest.raises(FileNotFoundError):
        again.unlink()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "x" * 255, "a\0b"])
def test_a_name_that_is_none(name):
    with pytest.raises(ValueError, match=r"name|null"):
        Mutex(name)
    with pytest.raises(TypeError):
        Mutex(7)


@pytest.mark.parametrize("options", [{"create": False}, {"exclusive": True}, {"persist": True}])
def test_what_is_about_a_name_needs_one(options):
    with pytest.raises(ValueError, match="name"):
        Mutex(**options)
    with pytest.raises(ValueError, match="exclusive"):
        Mutex("name", create=False, exclusive=True)


def test_another_kind_of_that_name(unique_name):
    name = unique_name()
    event = Event(name)
    with pytest.raises(ValueError, match="this is an event, not a mutex"):
        Mutex(name)
    event.close()


def test_what_is_no_lock(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        file.truncate(8192)
        with pytest.raises(ipcx.ProtocolError):
            Mutex.from_fd(file.fileno())


WHOLE_HEADER = struct.Struct("=8I").pack(0x53637069, 1, 1, 0, 0, 0, 1 << 30, 0)


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b"", 0),
        (WHOLE_HEADER, 4096),
        (WHOLE_HEADER, 16384),
        (b"", 8192),
        (bytes(range(256)), 8192),
        (WHOLE_HEADER[3::-1] + WHOLE_HEADER[4:], 8192),  # another byte order
    ],
)
def test_a_file_of_that_name_that_is_no_lock(unique_name, content, size):
    name = unique_name()
    with Mutex(unique_name()):  # keeps the folder
        path = folder() / name
        with open(path, "wb", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # in use: what others sweep away it is not
            file.write(content)
            file.truncate(size)
            with pytest.raises(ipcx.ProtocolError):
                Mutex(name, create=False)
            assert path.exists()
            path.unlink()


def test_what_has_a_name_and_is_no_file(unique_name):
    name = unique_name()
    with Mutex(unique_name()):
        path = folder() / name
        for make, undo in (
            (path.mkdir, path.rmdir),
            (lambda: os.mkfifo(path), path.unlink),
            (lambda: path.symlink_to("/etc/passwd"), path.unlink),
            (lambda: path.symlink_to("nowhere"), path.unlink),
        ):
            make()
            with pytest.raises(OSError, match=name):
                Mutex(name)
            undo()


def test_a_lock_of_another_version_is_left_alone(unique_name):
    name = unique_name()
    with Mutex(unique_name()):
        path = folder() / name
        path.write_bytes(WHOLE_HEADER[:4] + b"\2\0\0\0" + WHOLE_HEADER[8:] + bytes(8160))
        with pytest.raises(ipcx.VersionMismatch):
            Mutex(name)
        assert name not in _core.sync_sweep()
        path.unlink()


def uses(kind):
    """Each call of an object of that kind that can end at once."""
    return {
        Mutex: ("acquire", "release", "try_acquire"),
        Semaphore: ("acquire", "release", "try_acquire"),
        Event: ("set", "clear", "wait"),
        Condition: ("acquire", "try_acquire"),
        Barrier: ("wait", "reset", "abort"),
        RWLock: ("_read", "_write"),
    }[kind]


@pytest.mark.parametrize("make", ALL)
def test_a_truncated_one_raises(make, unique_name):
    name = unique_name()
    for method in uses(type(make())):
        each = make(name=name)
        if method == "release" and isinstance(each, Mutex):
            each.acquire()
        os.truncate(folder() / name, 0)
        with pytest.raises(ipcx.CorruptData):
            getattr(each, method)()
        each.close()
        assert not (folder() / name).exists()


def test_written_over_it_is_an_error():
    import mmap

    semaphore = Semaphore(2)
    with mmap.mmap(semaphore.fileno(), 8192) as memory:
        memory[64:] = os.urandom(8192 - 64)
        memory[128:132] = b"\xff\xff\xff\xff"
    with pytest.raises(ipcx.CorruptData):
        semaphore.acquire(SOON)


# ---- to other processes


GIVEN = """
import multiprocessing, sys
from ipcx.sync import *

def work(mutex, permits, ready, lock, condition, barrier, named):
    assert mutex.try_acquire() is False and mutex.owner is not None
    assert permits.acquire(20)
    with lock.read, condition:
        condition.notify_all()
    with named:
        ready.set()
    barrier.wait(20)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    mutex, permits, ready, lock = Mutex(), Semaphore(0), Event(), RWLock()
    condition, barrier, named = Condition(Mutex()), Barrier(2), Mutex(sys.argv[2])
    given = (mutex, permits, ready, lock, condition, barrier, named)
    with mutex:
        child = context.Process(target=work, args=given)
        child.start()
        permits.release()
        ready.wait(20)
        barrier.wait(20)
        child.join()
    print(child.exitcode, lock.readers, barrier.broken, condition.lock.owner)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.hang_guard(60)
def test_it_is_given_to_processes_of_multiprocessing(method, tmp_path, unique_name):
    program, name = tmp_path / "given.py", unique_name()
    program.write_text(GIVEN)
    ran = subprocess.run([sys.executable, program, method, name], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("0 0 False None\n", "")
    assert not (folder() / name).exists()


@pytest.mark.parametrize("make", ALL)
def test_it_is_not_pickled_otherwise(make):
    with pytest.raises(TypeError, match="without a name"):
        pickle.dumps(make())


def test_by_its_descriptor(tmp_path):
    from ipcx import socket

    a, b = socket.socketpair()
    mutex = Mutex()

    def child():
        _, (fd,), _, _ = socket.recv_fds(b, 1, 1)
        got = Mutex.from_fd(fd)
        os.close(fd)
        assert got.acquire(SOON)
        os.kill(os.getpid(), signal.SIGKILL)

    with a, b:
        pid = forked(child)
        socket.send_fds(a, [b"x"], [mutex.fileno()])
        assert ended(pid) == -signal.SIGKILL
    assert mutex.acquire(SOON)
    assert mutex.recovered


def test_a_kind_of_ones_own():
    class Mine(Mutex):
        def __init__(self, colour):
            super().__init__()
            self.colour = colour

    mine = Mine("red")
    with mine as got:
        assert got.colour == "red"


def test_in_a_sub_interpreter():
    interpreters = pytest.importorskip("_xxsubinterpreters")
    if sys.version_info < (3, 12):
        code = "from ipcx._core import Mutex\nm = Mutex()\n"
        code += "m._begin(1, None, 0, 0, 0, 0, 0)\nwith m: pass"
    else:
        code = "from ipcx.sync import Mutex\nwith Mutex() as m: assert m.locked()"
    made = interpreters.create()
    try:
        interpreters.run_string(made, code)
    finally:
        interpreters.destroy(made)


def test_all_is_what_it_says():
    names = ["Barrier", "Condition", "Event", "Mutex", "RWLock", "Semaphore", "Side"]
    assert sorted(sync.__all__) == names


# ---- the commands


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "ipcx", *arguments], capture_output=True, text=True, check=False
    )


def syncs_listed() -> dict[str, dict]:
    rows = json.loads(command("ls", "--json").stdout)
    return {row["name"]: row for row in rows if row["kind"] == "sync"}


def test_ls_gc_and_rm(unique_name):
    name, kept, left = unique_name(), unique_name(), unique_name()
    permits = Semaphore(3, kept, persist=True)
    with Mutex(name) as mutex, permits:
        rows = syncs_listed()
        assert (rows[name]["type"], rows[name]["pid"]) == ("Mutex", os.getpid())
        assert (rows[kept]["type"], rows[kept]["value"]) == ("Semaphore", 2)
        assert rows[name]["state"] == rows[kept]["state"] == "in use"
        assert f"pid {os.getpid()}" in command("ls").stdout
        assert (code := command("rm", name)).returncode == 1
        assert "somebody uses it" in code.stderr
    mutex.close()
    permits.close()
    assert ended(forked(lambda: (Event(left), os.kill(os.getpid(), 9)))) == -9
    rows = syncs_listed()
    assert name not in rows
    assert (rows[kept]["state"], rows[left]["state"]) == ("kept", "left")
    gone = json.loads(command("gc", "--json").stdout)["removed"]
    assert left in gone
    assert kept not in gone
    assert command("rm", kept).stdout == f"removed {kept}\n"
    assert command("rm", kept).returncode == 1
