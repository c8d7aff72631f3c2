"""Peers of bench_shm.py that two processes of one host can use instead: MPI's buffers through
mpi4py, iceoryx2, and a shared_memory segment with two semaphores.

An MPI program is started by its launcher and cannot be forked: mpiexec runs two ranks, the first is
the contestant, the second the process at the other end.
"""

import atexit
import ctypes
import itertools
import multiprocessing
import os
import shutil
import sys
from itertools import repeat
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from contestant import Absent, pin

ASK, END = b"?", b"!!"
POLLS = "it polls: on one CPU every turn takes the other's whole time slice"
ROOM = 1 << 20
_count = itertools.count()


class Segments:
    """A segment each way that holds one message, and a semaphore that says when it is full."""

    polls = False

    def __init__(self, out, free, filled, back, emptied, came):
        self.out, self.free, self.filled = out, free, filled
        self.back, self.emptied, self.came = back, emptied, came

    @classmethod
    def pair(cls, _family):
        context = multiprocessing.get_context("fork")
        a, b = (SharedMemory(create=True, size=8 + ROOM) for _ in range(2))
        for segment in (a, b):
            segment.unlink()
        to_b, to_a = context.Semaphore(0), context.Semaphore(0)
        a_free, b_free = context.Semaphore(1), context.Semaphore(1)
        return cls(a, a_free, to_b, b, b_free, to_a), cls(b, b_free, to_a, a, a_free, to_b)

    def send(self, message):
        self.free.acquire()
        size = len(message)
        self.out.buf[:8] = size.to_bytes(8, "little")
        self.out.buf[8 : 8 + size] = message
        self.filled.release()

    def receive(self):
        self.came.acquire()
        size = int.from_bytes(self.back.buf[:8], "little")
        message = bytes(self.back.buf[8 : 8 + size])
        self.emptied.release()
        return message

    def receive_into(self, room):
        self.came.acquire()
        size = int.from_bytes(self.back.buf[:8], "little")
        room[:size] = self.back.buf[8 : 8 + size]
        self.emptied.release()
        return size

    def close(self):
        """The names are gone already; the memory goes with the processes."""


def iceoryx2():
    try:
        import iceoryx2
    except ImportError as error:
        raise Absent(f"iceoryx2 is not installed ({error})") from None

    class Iceoryx2:
        """Made where it is first used: it does not survive fork. It polls, as its examples do."""

        polls = True

        def __init__(self, names):
            self.names, self.made = names, False

        @classmethod
        def pair(cls, _family):
            number = next(_count)
            names = [f"ipcx-bench-{os.getpid()}-{number}-{way}" for way in "ab"]
            return cls(names), cls(names[::-1])

        def make(self):
            iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
            self.node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
            out, back = (
                self.node.service_builder(iceoryx2.ServiceName.new(name))
                .publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
                .enable_safe_overflow(False)
                .subscriber_max_buffer_size(64)
                .open_or_create()
                for name in self.names
            )
            self.publisher = out.publisher_builder().initial_max_slice_len(ROOM).create()
            self.subscriber = back.subscriber_builder().create()
            while out.dynamic_config.number_of_subscribers == 0:
                pass  # what is published before somebody subscribes is lost
            self.made = True

        def send(self, message):
            if not self.made:
                self.make()
            size = len(message)
            sample = self.publisher.loan_slice_uninit(size)
            ctypes.memmove(sample.payload_ptr, message, size)
            sample.assume_init().send()

        def receive(self):
            if not self.made:
                self.make()
            while (sample := self.subscriber.receive()) is None:
                pass
            payload = sample.payload()
            message = ctypes.string_at(sample.payload_ptr, payload.number_of_elements)
            sample.delete()
            return message

        def close(self):
            """Goes with its process."""

    return Iceoryx2


# ---- MPI


def mpiexec(bench, name):
    """The command that starts the two ranks, each of which is this bench serving `name`."""
    bench.loaders[name] = mpi4py
    if os.environ.get("PMI_RANK") == "1":  # of the two, it has no input to wait for
        mpi4py()
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        raise Absent("there is no mpiexec")
    return [launcher, "-n", "2", sys.executable, bench.file, "--serve", name]


def _answer(comm, mpi):
    """The second rank: what the first asks for, until it has gone."""
    room, status = bytearray(ROOM), mpi.Status()
    while (asked := comm.recv(source=0)) is not None:
        echo, cpus = asked
        pin(cpus, 1)
        while True:
            comm.Recv([room, mpi.BYTE], 0, status=status)
            size = status.Get_count(mpi.BYTE)
            if size == len(END):
                break
            if echo or size == len(ASK):
                comm.Send([room, size, mpi.BYTE], 0)


def mpi4py():
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise Absent(f"mpi4py cannot be imported ({error})") from None
    comm = MPI.COMM_WORLD
    if comm.Get_size() != 2:
        raise Absent("mpiexec has not started two ranks")
    if comm.Get_rank() == 1:
        _answer(comm, MPI)
        sys.exit()
    atexit.register(comm.send, None, 1)

    class Mpi4py:
        polls = True

        @staticmethod
        def pingpong(cpus, message):
            room = bytearray(len(message))
            comm.send((True, cpus), 1)

            def run(n):
                send, receive = comm.Send, comm.Recv
                out, back = [message, MPI.BYTE], [room, MPI.BYTE]
                for _ in repeat(None, n):
                    send(out, 1)
                    receive(back, 1)

            yield run
            comm.Send([END, MPI.BYTE], 1)

        @staticmethod
        def flood(cpus, message):
            back = bytearray(1)
            comm.send((False, cpus), 1)

            def run(n):
                send, out = comm.Send, [message, MPI.BYTE]
                for _ in repeat(None, n):
                    send(out, 1)
                send([ASK, MPI.BYTE], 1)
                comm.Recv([back, MPI.BYTE], 1)

            yield run
            comm.Send([END, MPI.BYTE], 1)

    return Mpi4py
