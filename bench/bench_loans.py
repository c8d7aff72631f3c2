"""Messages that are not copied between processes: 1 MiB written and read in place, there and back.

Each side writes every byte of what it sends and reads every byte of what it gets (a copy from and
to memory of its own, which is what a program has or wants). Against iceoryx2's loans, MPI's
buffers, and multiprocessing.shared_memory with two semaphores, which is how it is done by hand.
"""

import contextlib
import os
from itertools import repeat

from contestant import Absent, counterpart
from harness import Bench, Goal, python

SIZE = 1 << 20
SOURCE = bytes(range(256)) * (SIZE // 256)


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

    class Iceoryx2:
        """Made where it is first used; it polls, as its own examples do."""

        def __init__(self, names):
            self.names, self.made = names, False

        @classmethod
        def pair(cls):
            names = [f"ipcx-bench-{os.getpid()}-{way}" for way in "ab"]
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
            ctypes.memmove(sample.payload_ptr, source, SIZE)
            sample.assume_init().send()

        def receive(self, sink):
            if not self.made:
                self.make()
            while (sample := self.subscriber.receive()) is None:
                pass
            place = (ctypes.c_uint8 * SIZE).from_address(sample.payload_ptr)
            sink[:] = memoryview(place).cast("B")
            sample.delete()

        def close(self):
            pass

    return Iceoryx2


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
    left, right = kind.pair()

    def answer():
        sink = bytearray(SIZE)
        while True:
            right.receive(sink)
            if sink[0] == 1:
                return
            right.send(sink)

    with counterpart(answer, cpus):
        sink = bytearray(SIZE)

        def run(n):
            for _ in repeat(None, n):
                left.send(SOURCE)
                left.receive(sink)

        yield run
        left.send(b"\1" * SIZE)
        left.close()


if __name__ == "__main__":
    bench.main()
