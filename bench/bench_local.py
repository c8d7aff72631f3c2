"""One host's own means: messages over pipes, logs, pipelines and processes, against what the stdlib
has for each, and against loops of the same system calls in C."""

import os
import subprocess
import tempfile
import threading
from itertools import repeat
from pathlib import Path

from contestant import Absent, counterpart
from harness import Bench, Goal, floor, python

SMALL = b"x" * 64
BATCH = [SMALL] * 100
LINE = b"x" * 63 + b"\n"
BULK = os.environ.get("IPCX_BENCH_BULK", "64M")  # 1G is what the goal speaks of, and takes minutes
STAGES = (["head", "-c", BULK, "/dev/zero"], ["cat"], ["wc", "-c"])
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk is not what is measured


def nothing():
    """What a child does."""


class Stdlib:
    """multiprocessing.Pipe, write() and flush(), subprocess, multiprocessing.Process."""

    def __init__(self):
        import multiprocessing

        self.spawned = multiprocessing.get_context("spawn")

    def pipe(self):
        import multiprocessing

        theirs, ours = multiprocessing.Pipe(duplex=False)
        return ours.send_bytes, theirs.recv_bytes, None, None

    def fifo(self, path):
        """os.mkfifo, and a length in front of each message."""
        import struct

        os.mkfifo(path, 0o600)
        head = struct.Struct(">I")
        reads = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        writes = os.open(path, os.O_WRONLY)
        os.set_blocking(reads, True)

        def send(message):
            os.write(writes, head.pack(len(message)) + message)

        def receive():
            return os.read(reads, *head.unpack(os.read(reads, head.size)))

        return send, receive, None, None

    def log(self, path):
        file = open(path, "ab")

        def append(line):
            file.write(line)
            file.flush()

        def append_many(lines):
            for line in lines:
                file.write(line)
                file.flush()

        return append, append_many, file.close

    def follow(self, path):
        raise Absent("the stdlib cannot wait for a file")

    def pipeline(self, data):
        """`cat | cat | cat` as the documentation of subprocess has it."""
        at = subprocess.PIPE
        with (
            subprocess.Popen(["cat"], stdin=at, stdout=at) as one,
            subprocess.Popen(["cat"], stdin=one.stdout, stdout=at) as two,
            subprocess.Popen(["cat"], stdin=two.stdout, stdout=at) as three,
        ):
            one.stdout.close()
            two.stdout.close()
            one.stdin.write(data)
            one.stdin.close()
            return three.communicate()[0]

    def bulk(self):
        line = " | ".join(map(" ".join, STAGES))
        subprocess.run(["sh", "-c", line], stdout=subprocess.DEVNULL, check=True)

    def spawn_program(self):
        subprocess.Popen(["true"]).wait()

    def spawn_function(self):
        child = self.spawned.Process(target=nothing)
        child.start()
        child.join()


class Ours:
    def __init__(self):
        try:
            import ipcx
            from ipcx import files, process
            from ipcx.pipes import Pipeline
        except ImportError as error:
            raise Absent(f"ipcx cannot be imported ({error}); `make bench` installs it") from None
        self.ipcx, self.files, self.process = ipcx, files, process
        self.row = Pipeline("cat") | "cat" | "cat"
        self.many = Pipeline(STAGES[0]) | STAGES[1] | STAGES[2]

    def pipe(self):
        one, two = self.ipcx.pair("pipe://")
        return one.send, two.receive, one.send_many, two.receive_many

    def fifo(self, path):
        with self.ipcx.listen(f"fifo://{path}") as listener:
            writes = self.ipcx.connect(listener.url)
            reads = listener.accept()
        return writes.send, reads.receive, writes.send_many, reads.receive_many

    def log(self, path):
        log = self.files.MessageLog(path)
        return log.append, log.append_many, log.close

    def follow(self, path):
        self.files.MessageLog(path).close()
        return self.files.Follower(path, "end")

    def pipeline(self, data):
        return self.row.run(data).output

    def bulk(self):
        self.many.run(output="/dev/null", check=True)

    def spawn_program(self):
        self.process.spawn("true", channel=None).wait()

    def spawn_function(self):
        self.process.spawn("bench_local:nothing", channel=None).wait()


bench = Bench(
    "local",
    __file__,
    {"C": floor("floor_local.c"), "stdlib": python(Stdlib), "ipcx": python(Ours)},
    ours="ipcx",
    floor="C",
)


# ---- pipes


@bench.row("pipe", "a message of 64 B, sent and received; multiprocessing.Pipe", Goal(2.0))
@bench.row("pipe-in-c", "the same; against the same loop in C", Goal(0.8, peer="C"))
def _(kind, cpus):
    send, receive, _, _ = kind.pipe()

    def run(n):
        for _ in repeat(None, n):
            send(SMALL)
            receive()

    yield run


@bench.row("pipe-batch", "100 messages of 64 B, sent and received in one call each", Goal(8.0))
def _(kind, cpus):
    send, receive, send_many, receive_many = kind.pipe()

    def one_by_one(n):
        for _ in repeat(None, n):
            for message in BATCH:
                send(message)
            for _ in BATCH:
                receive()

    def run(n):
        for _ in repeat(None, n):
            send_many(BATCH)
            got = 0
            while got < len(BATCH):
                got += len(receive_many(len(BATCH)))

    yield one_by_one if send_many is None else run


@bench.row("pipe-flood", "messages of 64 B to another process", cpus=2)
def _(kind, cpus):
    send, receive, _, _ = kind.pipe()

    def take():
        while receive() != b"!":
            pass

    def run(n):
        for _ in repeat(None, n):
            send(SMALL)

    with counterpart(take, cpus):
        yield run
        send(b"!")


# ---- logs


def logs(kind, how):
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        path = Path(folder, "log")
        append, append_many, close = kind.log(path)
        yield how(append, append_many, lambda: os.truncate(path, 0))
        close()


@bench.row("log", "64 B appended to a log; write() and flush()", Goal(1.3))
def _(kind, cpus):
    def how(append, append_many, empty):
        def run(n):
            for _ in repeat(None, n):
                append(LINE)

        return run

    yield from logs(kind, how)


@bench.row("log-batch", "100 messages of 64 B appended in one call", Goal(5.0))
def _(kind, cpus):
    batch = [LINE] * 100

    def how(append, append_many, empty):
        def run(n):
            for _ in repeat(None, n):
                append_many(batch)

        return run

    yield from logs(kind, how)


@bench.row(
    "follow", "there and back over two logs that two processes follow", Goal(0.5, peer="C"), cpus=2
)
def _(kind, cpus):
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        there, back = Path(folder, "there"), Path(folder, "back")
        asked, answered = kind.follow(there), kind.follow(back)
        ask, _, _ = kind.log(there)
        answer, _, _ = kind.log(back)

        def serve():
            while (question := asked.receive()) != b"!":
                answer(question)

        def run(n):
            for _ in repeat(None, n):
                ask(SMALL)
                answered.receive()

        with counterpart(serve, cpus):
            yield run
            ask(b"!")


# ---- pipelines


@bench.row("pipeline", "cat | cat | cat; chained Popen", Goal(1.0, 0.05), unit="ms")
def _(kind, cpus):
    def run(n):
        for _ in repeat(None, n):
            kind.pipeline(LINE)

    yield run


@bench.row("pipeline-threads", "cat | cat | cat from 8 threads at once", Goal(1.3), unit="ms")
def _(kind, cpus):
    os.sched_setaffinity(0, range(os.cpu_count() or 1))

    def run(n):
        def work():
            for _ in repeat(None, n):
                kind.pipeline(LINE)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    yield run


@bench.row("bulk", f"{BULK} through head | cat | wc; a shell", Goal(0.9), unit="ms")
def _(kind, cpus):
    os.sched_setaffinity(0, range(os.cpu_count() or 1))

    def run(n):
        for _ in repeat(None, n):
            kind.bulk()

    yield run


# ---- processes


@bench.row("spawn-program", "true, started and waited for; Popen", Goal(1.0, 0.05), unit="ms")
def _(kind, cpus):
    def run(n):
        for _ in repeat(None, n):
            kind.spawn_program()

    yield run


@bench.row("spawn-function", "a function in a process; multiprocessing spawn", Goal(1.0), unit="ms")
def _(kind, cpus):
    def run(n):
        for _ in repeat(None, n):
            kind.spawn_function()

    yield run


# ---- named pipes: many may write, so a message is one write(2), and no two go into one


@bench.row("fifo", "a message of 64 B through a named pipe; os.mkfifo with struct")
def _(kind, cpus):
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        send, receive, _, _ = kind.fifo(f"{folder}/orders")

        def run(n):
            for _ in repeat(None, n):
                send(SMALL)
                receive()

        yield run


@bench.row("fifo-batch", "the same, 100 messages in one call each")
def _(kind, cpus):
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        send, receive, send_many, receive_many = kind.fifo(f"{folder}/orders")

        def one_by_one(n):
            for _ in repeat(None, n):
                for message in BATCH:
                    send(message)
                for _ in BATCH:
                    receive()

        def run(n):
            for _ in repeat(None, n):
                send_many(BATCH)
                got = 0
                while got < len(BATCH):
                    got += len(receive_many(len(BATCH)))

        yield one_by_one if send_many is None else run


if __name__ == "__main__":
    bench.main()
