"""Producer and consumers with a bounded buffer: four places, three semaphores.

``free`` counts the places nobody has filled: the producer waits when there is none. ``filled``
counts those with something in them: a consumer waits when there is none. ``one`` lets one process
at a time change the buffer. Nobody asks again and again; who must wait sleeps.
"""

from multiprocessing import Process

import ipcx
from ipcx.shared_memory import Segment
from ipcx.sync import Semaphore

PLACES, ITEMS, STOP = 4, 1000, -1
PUT, TAKEN, MOST = PLACES, PLACES + 1, PLACES + 2  # behind the places: three counts


def put(buffer, free, filled, one, item):
    free.acquire()
    with one:
        buffer[buffer[PUT] % PLACES] = item
        buffer[PUT] += 1
        buffer[MOST] = max(buffer[MOST], buffer[PUT] - buffer[TAKEN])
    filled.release()


def take(buffer, free, filled, one):
    filled.acquire()
    with one:
        item = buffer[buffer[TAKEN] % PLACES]
        buffer[TAKEN] += 1
    free.release()
    return item


def consumer(segment, free, filled, one, told):
    buffer = segment.buf.cast("q")
    got = []
    while (item := take(buffer, free, filled, one)) != STOP:
        got.append(item)
    with told:
        told.send(" ".join(map(str, got)))


if __name__ == "__main__":
    free, filled, one = Semaphore(PLACES), Semaphore(0), Semaphore(1)
    with Segment.anonymous(8 * (PLACES + 3)) as segment:
        buffer = segment.buf.cast("q")
        ends, consumers = [], []
        for _ in range(2):
            here, there = ipcx.pair("unix://")
            ends.append(here)
            consumers.append(Process(target=consumer, args=(segment, free, filled, one, there)))
            consumers[-1].start()
            there.close()
        for item in range(ITEMS):
            put(buffer, free, filled, one, item)
        for _ in consumers:
            put(buffer, free, filled, one, STOP)
        got = [int(item) for end in ends for item in end.receive(timeout=30).split()]
        for each in (*consumers, *ends):
            each.join() if isinstance(each, Process) else each.close()
        print(f"{ITEMS} produced, {len(got)} consumed, each once:", sorted(got) == [*range(ITEMS)])
        print(f"Never more than {PLACES} in the buffer:", buffer[MOST] <= PLACES)
        print("Free and filled places now:", free.value, filled.value)
        buffer.release()
