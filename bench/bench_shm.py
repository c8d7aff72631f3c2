"""Channels over shared memory, against multiprocessing.Pipe, pyzmq over ipc:// and a ring in C.

The rows of what shm:// is for: a message there and back with both sides awake, the same on one
CPU, and floods of small and large messages. What is attainable from Python is the ring in C of the
same run (floor_shm.c) and two calls into C a message.
"""

from bench_channel import LARGE, SMALL, Multiprocessing, _ipcx, _pyzmq, flood, pingpong
from contestant import Absent
from harness import Bench, Goal, floor, python

BATCH = 256


def _family(kind):
    return "shm" if kind.__name__ == "Ours" else "unix"


bench = Bench(
    "shm",
    __file__,
    {
        "C": floor("floor_shm.c"),
        "stdlib": python(lambda: Multiprocessing),
        "pyzmq": python(_pyzmq),
        "ipcx": python(_ipcx),
    },
    ours="ipcx",
    floor="C",
)


@bench.row("pingpong", "64 B to another process and back", Goal(50), cpus=2)
def _(kind, cpus):
    yield from pingpong(kind, cpus, _family(kind))


@bench.row("pingpong-one-cpu", "the same, both processes on one CPU (with --pin)", Goal(2))
def _(kind, cpus):
    yield from pingpong(kind, cpus[:1], _family(kind))


@bench.row("pingpong-1m", "1 MiB to another process and back", cpus=2)
def _(kind, cpus):
    yield from pingpong(kind, cpus, _family(kind), LARGE)


@bench.row("flood", "64 B to another process, one call each", Goal(30), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, _family(kind), SMALL)


@bench.row("flood-batch", "256 of 64 B at once", Goal(8, peer="pyzmq"), cpus=2)
def _(kind, cpus):
    if kind is Multiprocessing:
        raise Absent("sends one at a time")
    yield from flood(kind, cpus, _family(kind), SMALL, BATCH)


@bench.row("flood-1m", "1 MiB to another process", Goal(3), unit="GB/s", size=len(LARGE), cpus=2)
def _(kind, cpus):
    yield from flood(kind, cpus, _family(kind), LARGE)


if __name__ == "__main__":
    bench.main()
