"""A race, made visible, and cured by a semaphore.

Two windows sell tickets and count them in one shared number. Each reads it, adds one, and writes it
back. If the other one has written in between, its ticket is lost: who is faster decides, and that
is a race. A semaphore with one permit lets one of them in at a time: the critical section.
"""

import time
from contextlib import nullcontext
from multiprocessing import Process

from ipcx.shared_memory import Segment
from ipcx.sync import Barrier, Semaphore

TICKETS = 2000


def window(segment, start, section):
    sold = segment.buf.cast("q")
    start.wait()  # both windows open at the same time
    for _ in range(TICKETS):
        with section:
            before = sold[0]
            time.sleep(0.00005)  # a moment in which the other one may come between
            sold[0] = before + 1


def sell(section):
    start = Barrier(2)
    with Segment.anonymous(8) as segment:
        windows = [Process(target=window, args=(segment, start, section)) for _ in range(2)]
        for each in windows:
            each.start()
        for each in windows:
            each.join()
        return int.from_bytes(segment.buf[:8], "little")


if __name__ == "__main__":
    counted = sell(nullcontext())
    print("Without a semaphore some tickets are not counted:", counted < 2 * TICKETS)
    print("With a semaphore:", sell(Semaphore(1)), "of", 2 * TICKETS)
