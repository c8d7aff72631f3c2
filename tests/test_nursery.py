"""Children of the demonstrations: killed one by one, and all at the end, however it comes."""

import os
import select
import signal
import threading

import pytest

from ipcx._nursery import Nursery


def sleeper(said: int) -> None:
    os.write(said, b"%d " % os.getpid())
    signal.pause()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_children_are_started_killed_and_ended():
    heard, said = os.pipe()
    with Nursery({"sleeper": sleeper}) as nursery:
        pids = [nursery.start("sleeper", said) for _ in range(3)]
        assert len(set(pids)) == 3
        nursery.kill(pids[0])
        assert [alive(pid) for pid in pids] == [False, True, True]
        nursery.close()
        nursery.close()  # once is enough
    assert not any(map(alive, pids))
    os.close(said)
    os.close(heard)


def test_children_can_be_started_beside_threads():
    heard, said = os.pipe()
    with Nursery({"sleeper": sleeper}) as nursery:
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        pid = nursery.start("sleeper", said)
        assert os.read(heard, 100) == b"%d " % pid
        stop.set()
        thread.join()
    os.close(said)
    os.close(heard)


def test_one_that_ends_by_itself_can_still_be_killed():
    with Nursery({"brief": lambda: None, "wrong": lambda: 1 / 0}) as nursery:
        nursery.kill(nursery.start("brief"))
        nursery.kill(nursery.start("wrong"))


MAKER = """
import os, signal, sys
from ipcx._nursery import Nursery
nursery = Nursery({"sleeper": signal.pause})
print(nursery._pid, *(nursery.start("sleeper") for _ in range(3)), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_they_end_with_their_maker(number, spawn):
    maker = spawn("-c", MAKER)
    pids = [int(pid) for pid in maker.stdout.readline().split()]
    handles = [os.pidfd_open(pid) for pid in pids]
    maker.send_signal(number)
    for handle in handles:  # readable when it has ended; the hang guard is the limit
        select.select([handle], [], [])
        os.close(handle)
