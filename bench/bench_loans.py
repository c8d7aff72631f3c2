"""Messages that are not copied between processes: 1 MiB written and read in place, there and back.

Each side writes every byte of what it sends and reads every byte of what it gets (a copy from and
to memory of its own, which is what a program has or wants). Against iceoryx2's loans, MPI's
buffers, and multiprocessing.shared_memory with two semaphores, which is how it is done by hand.
"""

import contextlib
import os
import sys
from itertools import count, repeat
from pathlib import Path
from time import monotonic

from contestant import Absent, counterpart, parse_cpus, pin
from harness import Bench, Goal, python

SIZE = 1 << 20
SOURCE = bytes(range(256)) * (SIZE // 256)
END = b"\1" * SIZE


class Segments:
    """A segment each way, and a semaphore that says when it is full."""

    def __init__(self, out, filled, back, emptied):
        self.out, self.filled, self.back, self.came = out, filled, back, emptied

    @classmethod
    def pair(cls):
        import multiprocessing
        from multiprocessing.shared_memory import SharedMemory

        context = multiprocessing.get_context("fork")
        a, b = (SharedMemory(create=True, size=SIZE) for _ in range(2))
        for segment in (a, b):
            segment.unlink()
        to_b, to_a = context.Semaphore(0), context.Semaphore(0)
        return cls(a, to_b, b, to_a), cls(b, to_a, a, to_b)

    def send(self, source):
        self.out.buf[:SIZE] = source
        self.filled.release()

    def receive(self, sink):
        self.came.acquire()
        sink[:] = self.back.buf[:SIZE]

    def close(self):
        pass


def _iceoryx2():
    try:
        import ctypes

        import iceoryx2
    except ImportError as error:
        raise Absent(f"iceoryx2 is not installed ({error})") from None

    serial = count()

    class Iceoryx2:
        """Made where it is first used; it polls, as its own examples do."""

        def __init__(self, names):
            self.names, self.made = names, False

        @classmethod
        def pair(cls):
            # New ones each time: a subscriber of the last time may still be there.
            names = [f"ipcx-bench-{os.getpid()}-{next(serial)}-{way}" for way in "ab"]
            return cls(names), cls(names[::-1])

        def make(self):
            iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
            self.node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
            out, back = (
                self.node.service_builder(iceoryx2.ServiceName.new(name))
                .publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
                .open_or_create()
                for name in self.names
            )
            self.publisher = out.publisher_builder().initial_max_slice_len(SIZE).create()
            self.subscriber = back.subscriber_builder().create()
            while out.dynamic_config.number_of_subscribers == 0:
                pass  # what is published before somebody subscribes is lost
            self.made = True

        def send(self, source):
            if not self.made:
                self.make()
            sample = self.publisher.loan_slice_uninit(SIZE)
            self.place(sample)[:] = source
            sample.assume_init().send()

        def receive(self, sink):
            if not self.made:
                self.make()
            until = monotonic() + 10  # it cannot know that nobody is there any more
            while (sample := self.subscriber.receive()) is None:
                if monotonic() > until:
                    raise TimeoutError("nothing came")
            sink[:] = self.place(sample)
            sample.delete()

        @staticmethod
        def place(sample):
            return memoryview((ctypes.c_uint8 * SIZE).from_address(sample.payload_ptr)).cast("B")

        def close(self):
            pass

    return Iceoryx2


class Mpi:
    """Buffers of mpi4py: two ranks that mpiexec starts, of which the second only answers."""

    def __init__(self):
        from mpi4py import MPI

        self.world = MPI.COMM_WORLD
        self.other = 1 - self.world.rank

    def send(self, source):
        self.world.Send(source, self.other)

    def receive(self, sink):
        self.world.Recv(sink, self.other)

    def close(self):
        pass


def _mpi(bench, name):
    """The command of that contestant."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    if not mpiexec.exists():
        raise Absent(f"there is no {mpiexec} (mpich)")
    bench.loaders[name] = lambda: Mpi
    return [str(mpiexec), "-n", "2", sys.executable, bench.file, "--serve", name]


def _ipcx():
    try:
        import ipcx
    except ImportError as error:
        raise Absent(f"ipcx cannot be imported ({error}); `make bench` installs it") from None

    class Ours:
        def __init__(self, channel):
            self.channel = channel

        @classmethod
        def pair(cls):
            return map(cls, ipcx.pair("shm://"))

        def send(self, source):
            with self.channel.reserve(SIZE) as buffer:
                buffer[:] = source

        def receive(self, sink):
            with self.channel.receive_view() as view:
                sink[:] = view

        def close(self):
            with contextlib.suppress(ipcx.PeerClosed):
                self.channel.close()

    return Ours


def _copied():
    import ipcx

    class Copied(_ipcx()):
        """The same with send() and receive()."""

        def send(self, source):
            self.channel.send(source)

        def receive(self, sink):
            sink[:] = self.channel.receive()

    del ipcx
    return Copied


bench = Bench(
    "loans",
    __file__,
    {
        "stdlib": python(lambda: Segments),
        "iceoryx2": python(_iceoryx2),
        "mpi4py": _mpi,
        "copied": python(_copied),
        "ipcx": python(_ipcx),
    },
    ours="ipcx",
    floor="stdlib",
)


@bench.row(
    "lent-1m", "1 MiB there and back, every byte written and read", Goal(1.5, peer="iceoryx2"),
    cpus=2,
)  # fmt: skip
def _(kind, cpus):
    if kind is Mpi:
        yield _there_and_back(kind())
        return  # the other rank answers until the end of ours
    left, right = kind.pair()
    with counterpart(lambda: _answer(right), cpus):
        yield _there_and_back(left)
        left.send(END)
        left.close()


def _there_and_back(left):
    sink = memoryview(bytearray(SIZE))  # assigned to in place: a bytearray makes a copy first

    def run(n):
        for _ in repeat(None, n):
            left.send(SOURCE)
            left.receive(sink)

    return run


def _answer(right):
    sink = memoryview(bytearray(SIZE))  # assigned to in place: a bytearray makes a copy first
    right.receive(sink)
    while sink[0] == SOURCE[0]:
        right.send(sink)
        right.receive(sink)


def _second_rank():
    """Whether this is it; then it has answered to the end."""
    if sys.argv[1:3] != ["--serve", "mpi4py"]:
        return False
    end = Mpi()
    if end.world.rank != 1:
        import atexit

        atexit.register(end.send, END)
        return False
    pin(parse_cpus(sys.argv[4] if len(sys.argv) > 4 else "-"), 1)
    _answer(end)
    return True


if __name__ == "__main__" and not _second_rank():
    bench.main()
