"""Channels over shared memory, against what two processes of one host use else, and a ring in C.

The rows of what shm:// is for: a message there and back with both sides awake, the same on one
CPU, on 8 and 64 channels at once, and floods of small and large messages. What is attainable from
Python is the ring in C of the same run (floor_shm.c) and two calls into C a message. Messages that
are lent: bench_loans.py.
"""

from itertools import repeat

import bench_channel
import shm_peers
from bench_channel import END, LARGE, SMALL, Multiprocessing, _ipcx, _pyzmq
from contestant import Absent, counterpart
from harness import Bench, Goal, floor, python

BATCH = 256


def _family(kind):
    return "shm" if kind.__name__ == "Ours" else "unix"


def _not_on_one_cpu(kind):
    if getattr(kind, "polls", False):
        raise Absent(shm_peers.POLLS)


def pingpong(kind, cpus, message=SMALL):
    if hasattr(kind, "pingpong"):
        return kind.pingpong(cpus, message)
    return bench_channel.pingpong(kind, cpus, _family(kind), message)


def pingpong_into(kind, cpus, message=LARGE):
    """Into memory that is there already, as MPI does it."""
    if hasattr(kind, "pingpong"):
        yield from kind.pingpong(cpus, message)
        return
    if not hasattr(kind, "receive_into"):
        raise Absent("makes each message anew")
    left, right = kind.pair(_family(kind))

    def answer():
        left.close()
        room = bytearray(len(message))
        while right.receive_into(room) == len(message):
            right.send(room)
        right.close()

    with counterpart(answer, cpus):
        right.close()
        room = bytearray(len(message))

        def run(n):
            for _ in repeat(None, n):
                left.send(message)
                left.receive_into(room)

        yield run
        left.send(END)
        left.close()


def flood(kind, cpus, message=SMALL, batch=0):
    if batch and not hasattr(kind, "send_many") and kind.__name__ not in ("Ours", "Pyzmq"):
        raise Absent("sends one at a time")
    if kind.__name__ == "Iceoryx2":
        raise Absent("a flood to a full subscriber did not end")
    if hasattr(kind, "flood"):
        return kind.flood(cpus, message)
    return bench_channel.flood(kind, cpus, _family(kind), message, batch)


def round_of(kind, cpus, count):
    """A message on each of `count` channels, then the answer on each: one process at either end."""
    if not hasattr(kind, "pair"):
        raise Absent("there is one connection between two ranks")
    pairs = [tuple(kind.pair(_family(kind))) for _ in repeat(None, count)]

    def answer():
        for left, _ in pairs:
            left.close()
        while True:
            for _, right in pairs:
                message = right.receive()
                if message == END:
                    return
                right.send(message)

    with counterpart(answer, cpus):
        for _, right in pairs:
            right.close()
        ends = [left for left, _ in pairs]

        def run(n):
            for _ in repeat(None, n):
                for end in ends:
                    end.send(SMALL)
                for end in ends:
                    end.receive()

        yield run
        ends[0].send(END)
        for end in ends:
            end.close()


bench = Bench(
    "shm",
    __file__,
    {
        "C": floor("floor_shm.c"),
        "stdlib": python(lambda: Multiprocessing),
        "semaphores": python(lambda: shm_peers.Segments),
        "pyzmq": python(_pyzmq),
        "iceoryx2": python(shm_peers.iceoryx2),
        "mpi4py": shm_peers.mpiexec,
        "ipcx": python(_ipcx),
    },
    ours="ipcx",
    floor="C",
)


@bench.row("pingpong", "64 B to another process and back", Goal(50), cpus=2)
def _(kind, cpus):
    yield from pingpong(kind, cpus)


@bench.row("pingpong-one-cpu", "the same, both processes on one CPU (with --pin)", Goal(2))
def _(kind, cpus):
    _not_on_one_cpu(kind)
    yield from pingpong(kind, cpus[:1])


@bench.row("round-8", "64 B on each of 8 channels, and the answers", Goal(15), cpus=2)
def _(kind, cpus):
    yield from round_of(kind, cpus, 8)


@bench.row("round-64", "64 B on each of 64 channels, and the answers", Goal(15), cpus=2)
def _(kind, cpus):
    yield from round_of(kind, cpus, 64)


@bench.row("round-8-one-cpu", "8 channels, both processes on one CPU (with --pin)", Goal(2))
def _(kind, cpus):
    _not_on_one_cpu(kind)
    yield from round_of(kind, cpus[:1], 8)


@bench.row("pingpong-1m", "1 MiB to another process and back", cpus=2)
def _(kind, cpus):
    yield from pingpong(kind, cpus, LARGE)


@bench.row("pingpong-1m-into", "the same into a buffer that is there", cpus=2)
def _(kind, cpus):
    yield from pingpong_into(kind, cpus)


@bench.row("flood", "64 B to another process, one call each", Goal(30), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus)


@bench.row("flood-batch", "256 of 64 B at once", Goal(8, peer="pyzmq"), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, SMALL, BATCH)


@bench.row("flood-one-cpu", "64 B, one call each, on one CPU (with --pin)", Goal(8))
def _(kind, cpus):
    _not_on_one_cpu(kind)
    yield from flood(kind, cpus[:1])


@bench.row("flood-1m", "1 MiB to another process", Goal(3), unit="GB/s", size=len(LARGE), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, LARGE)


if __name__ == "__main__":
    bench.main()
