"""Locks and semaphores that nobody else wants just then: ipcx.sync, threading's, multiprocessing's,
against a robust mutex and a semaphore of POSIX from C. The calls, and the with-statement.
"empty" calls two methods of C that do nothing: less than that no pair of calls can take, so more
than peer/empty is not attainable, and C + empty is what ipcx can come near to."""

import math
from itertools import repeat
from types import SimpleNamespace

from contestant import Absent
from harness import Bench, Goal, floor, python


def _threading():
    import threading

    return SimpleNamespace(mutex=threading.Lock(), semaphore=threading.Semaphore(1))


def _multiprocessing():
    import multiprocessing

    return SimpleNamespace(mutex=multiprocessing.Lock(), semaphore=multiprocessing.Semaphore(1))


def _empty():
    # METH_FASTCALL, without arguments: 0, a constant.
    pair = SimpleNamespace(acquire=math.gcd, release=math.gcd)
    return SimpleNamespace(mutex=pair, semaphore=pair)


def _ipcx():
    try:
        from ipcx.sync import Mutex, Semaphore
    except ImportError as error:
        raise Absent(f"ipcx cannot be imported ({error}); `make bench` installs it") from None
    return SimpleNamespace(mutex=Mutex(), semaphore=Semaphore(1))


bench = Bench(
    "sync",
    __file__,
    {
        "C": floor("floor_sync.c"),
        "empty": python(_empty),
        "threading": python(_threading),
        "multiprocessing": python(_multiprocessing),
        "ipcx": python(_ipcx),
    },
    ours="ipcx",
    floor="C",
)


def calls(lock):
    acquire, release = lock.acquire, lock.release

    def run(n):
        for _ in repeat(None, n):
            acquire()
            release()

    yield run


def statement(lock):
    if isinstance(lock, SimpleNamespace):
        raise Absent("there is no with-statement that does nothing")

    def run(n):
        for _ in repeat(None, n):
            with lock:
                pass

    yield run


# A goal that the calls alone rule out: a fifth of multiprocessing's, which are C as well, is less
# than two empty calls (docs/adr/0019). It stands here as it was set, beside what is attainable.
@bench.row("mutex", "acquire() and release()", Goal(5.0, 0.1, "multiprocessing", "empty"))
def _(kind, cpus):
    yield from calls(kind.mutex)


@bench.row("mutex-with", "with mutex: pass", Goal(5.0, 0.1, "multiprocessing"))
def _(kind, cpus):
    yield from statement(kind.mutex)


@bench.row(
    "semaphore", "acquire() and release() of one permit", Goal(1.0, 0.1, "multiprocessing", "empty")
)
def _(kind, cpus):
    yield from calls(kind.semaphore)


@bench.row("semaphore-with", "with semaphore: pass", Goal(2.0, 0.1, "multiprocessing"))
def _(kind, cpus):
    yield from statement(kind.semaphore)


if __name__ == "__main__":
    bench.main()
