"""The holder of a lock is killed in the critical section. What do those get who wait for it?

A clerk moves money from one account to another under a lock, and is killed when it has left the one
and not reached the other. The lock of multiprocessing stays locked for ever. ipcx's goes to the
next one, who is told (``recovered``) that what it protects may be half done, and puts it right.
"""

import multiprocessing
import os
import signal
from multiprocessing import Process

from ipcx.shared_memory import Segment
from ipcx.sync import Event, Mutex

TOTAL = 100


def clerk(segment, lock, ready):
    accounts = segment.buf.cast("q")
    lock.acquire()
    accounts[0] -= 30
    ready.set()
    signal.pause()  # … and is killed before the other account gets it
    accounts[1] += 30
    lock.release()


def kill_a_clerk(segment, lock):
    ready = Event()
    process = Process(target=clerk, args=(segment, lock, ready))
    process.start()
    ready.wait()
    os.kill(process.pid, signal.SIGKILL)
    process.join()


if __name__ == "__main__":
    with Segment.anonymous(16) as segment:
        accounts = segment.buf.cast("q")
        accounts[0] = TOTAL
        lock = multiprocessing.Lock()
        kill_a_clerk(segment, lock)
        print("multiprocessing.Lock, after half a second:", lock.acquire(timeout=0.5))

        accounts[0] = TOTAL
        mutex = Mutex()
        kill_a_clerk(segment, mutex)
        with mutex:
            print("ipcx.sync.Mutex: recovered:", mutex.recovered)
            print("There are", accounts[0] + accounts[1], "of", TOTAL)
            if mutex.recovered:
                accounts[1] += TOTAL - accounts[0] - accounts[1]
            print("Put right:", accounts[0], "+", accounts[1], "=", accounts[0] + accounts[1])
        with mutex:
            print("The next one: recovered:", mutex.recovered)
        accounts.release()
