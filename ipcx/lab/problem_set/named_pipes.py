# SPDX-License-Identifier: Apache-2.0
"""Notebook 07: named pipes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["Chat", "Collector", "OpenWriter"]


class Chat(Problem):
    """Two pipes make a conversation, if both ends are opened in a matching order."""

    id = "fifo-chat"
    title = "A conversation through two named pipes"
    topic = "07"
    roles = ("bob",)
    hints = (
        "open() of a FIFO for reading waits until somebody opens it for writing, and the other way "
        "round: what does alice open first?",
        "what you write may lie in a buffer of your own: flush, or open unbuffered.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        words = ["tea", "rain", "music", "Leipzig", "pipes", "lunch"]
        return {"topics": draw.sample(words, 4)}

    def text(self) -> str:
        return """
            The FIFOs `to_bob` and `to_alice` exist (both names are paths). The program `alice`
            opens `to_bob` for writing, then `to_alice` for reading, writes a line into the first
            one and reads a line from the other, and so on; at the end she closes `to_bob`. Write
            the program `bob`: he answers each line, such as `tea`, with `tea? yes`, and ends when
            alice has closed.
            """

    ALICE = """
with open(to_bob, "w") as out, open(to_alice) as into:
    for topic in topics:
        try:
            print(topic, file=out, flush=True)
            answer = into.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            fail(f"bob has gone, and alice has asked about {topic!r}")
        tell(answer)
        if answer != f"{topic}? yes\\n":
            fail(f"to {topic!r} bob said {answer!r}")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        to_bob, to_alice = str(stage.folder / "to_bob"), str(stage.folder / "to_alice")
        os.mkfifo(to_bob)
        os.mkfifo(to_alice)
        bob = stage.start("bob", to_bob=to_bob, to_alice=to_alice)
        topics = self.given["topics"]
        alice = stage.play("alice", self.ALICE, topics=topics, to_bob=to_bob, to_alice=to_alice)
        stage.finish(alice)
        yield good(f"{len(topics)} lines there and {len(alice.told)} back")
        stage.finish(bob)
        yield good("bob has ended with the conversation")

    solution = Sources(
        bob="""
            with open(to_bob) as into, open(to_alice, "w") as out:
                for line in into:
                    print(f"{line.rstrip()}? yes", file=out, flush=True)
            """,
    )
    broken = (
        Wrong(
            "opens them the other way round",
            "bob is at line 1: with open(to_alice",
            bob="""
                with open(to_alice, "w") as out, open(to_bob) as into:
                    for line in into:
                        print(f"{line.rstrip()}? yes", file=out, flush=True)
                """,
        ),
        Wrong(
            "does not flush",
            "alice did not end: nothing moves any more",
            bob="""
                with open(to_bob) as into, open(to_alice, "w") as out:
                    for line in into:
                        print(f"{line.rstrip()}? yes", file=out)
                """,
        ),
        Wrong(
            "answers once",
            "bob has gone",
            bob="""
                with open(to_bob) as into, open(to_alice, "w") as out:
                    print(f"{into.readline().rstrip()}? yes", file=out, flush=True)
                """,
        ),
    )


class Collector(Problem):
    """A FIFO's reader outlives its writers."""

    id = "fifo-collector"
    title = "A reader that outlives its writers"
    topic = "07"
    roles = ("collector",)
    hints = (
        "read() returns the end of the file when no writer is left, and the next one may come any "
        "time.",
        "a reader that holds a writing end of its own never sees that end: os.O_RDWR, or a second "
        "open().",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"words": [f"{draw.choice('abcdef')}{n}" for n in range(6)]}

    def text(self) -> str:
        return """
            Write the program `collector`. It finds the name `path`, makes a FIFO there, and prints
            each line that comes through it at once (`flush=True`). Writers open the FIFO, write a
            line and close it, one after the other: between two of them there is none. At the line
            `stop` it removes the FIFO and ends.
            """

    WRITER = """
with open(path, "w") as out:
    print(word, file=out)
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        path = stage.folder / "fifo"
        collector = stage.start("collector", path=str(path))
        stage.until(path.is_fifo, f"collector has made no FIFO at {path.name}", collector)
        yield good("there is a FIFO")
        said = [*self.given["words"], "stop"]
        for number, word in enumerate(said):
            writer = stage.play(f"writer {number}", self.WRITER, path=str(path), word=word)
            stage.finish(writer)
            if word != "stop":
                stage.until(
                    lambda taken=said[: number + 1]: collector.lines == taken,  # type: ignore[misc]
                    f"the line {word!r} has not come out",
                    collector,
                )
        yield good(f"{len(said) - 1} writers came and went, and each line came out")
        stage.finish(collector)
        gone = not path.exists()
        yield Finding(gone, "the FIFO is gone" if gone else "the FIFO is still there: unlink it")

    solution = Sources(
        collector="""
            import os

            os.mkfifo(path)
            fd = os.open(path, os.O_RDWR)  # a writer is always there: never the end of the file
            with os.fdopen(fd, "r", closefd=True) as lines:
                for line in lines:
                    if line == "stop\\n":
                        break
                    print(line, end="", flush=True)
            os.unlink(path)
            """,
    )
    broken = (
        Wrong(
            "ends with the first writer",
            "collector has ended",
            collector="""
                import os

                os.mkfifo(path)
                with open(path) as lines:
                    for line in lines:
                        print(line, end="", flush=True)
                """,
        ),
        Wrong(
            "prints when its buffer is full",
            "has not come out: nothing moves any more",
            collector="""
                import os, sys

                sys.stdout.reconfigure(line_buffering=False, write_through=False)
                os.mkfifo(path)
                fd = os.open(path, os.O_RDWR)
                with os.fdopen(fd, "r") as lines:
                    kept = []
                    for line in lines:
                        kept.append(line)
                        if line == "stop\\n":
                            break
                print(*kept, sep="")
                os.unlink(path)
                """,
        ),
        Wrong(
            "leaves the FIFO behind",
            "the FIFO is still there: unlink it",
            collector="""
                import os

                os.mkfifo(path)
                with os.fdopen(os.open(path, os.O_RDWR), "r") as lines:
                    for line in lines:
                        if line == "stop\\n":
                            break
                        print(line, end="", flush=True)
                """,
        ),
    )


class OpenWriter(Problem):
    """Opening a FIFO that nobody reads."""

    id = "fifo-open-writer"
    title = "Open without hanging"
    topic = "07"
    roles = ("open_writer",)
    hints = (
        "with os.O_NONBLOCK, open() for writing fails with ENXIO while nobody reads.",
        "stat.S_ISFIFO(os.fstat(fd).st_mode) tells a FIFO from a file. Afterwards os.set_blocking("
        "fd, True): writing shall wait as usual.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"tries": draw.randrange(2, 6)}

    def text(self) -> str:
        return """
            Write a function `open_writer(path)`. It opens the FIFO `path` for writing and returns
            the descriptor, in blocking mode. When nobody has it open for reading, it returns `None`
            at once. What is no FIFO is not opened: `ValueError`, and nothing is written to it.
            """

    DRIVER = """
import os
for _ in range(tries):
    if open_writer(fifo) is not None:
        fail("open_writer() returned something, and nobody reads")
tell("nobody")
before = sorted(os.listdir("/proc/self/fd"))
try:
    open_writer(file)
except ValueError:
    pass
except BaseException as error:
    fail(f"for a regular file open_writer() raised {type(error).__name__}, not ValueError")
else:
    fail("open_writer() has opened a regular file")
if sorted(os.listdir("/proc/self/fd")) != before:
    fail("open_writer() has refused the file, and left it open: close what you do not return")
tell("file")
reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
fd = open_writer(fifo)
if not isinstance(fd, int):
    fail(f"open_writer() returned {fd!r}, and somebody reads")
if not os.get_blocking(fd):
    fail("the descriptor is in non-blocking mode: whoever writes much gets BlockingIOError")
os.write(fd, b"here")
if os.read(reader, 100) != b"here":
    fail("what was written did not arrive")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        fifo, file = stage.folder / "fifo", stage.folder / "file"
        os.mkfifo(fifo)
        file.write_text("a file")
        run = stage.functions(
            self.DRIVER, fifo=str(fifo), file=str(file), tries=self.given["tries"]
        )
        stage.finish(run)
        yield good("None while nobody reads, a descriptor that works when somebody does")
        same = file.read_text() == "a file"
        yield Finding(same, "a file is refused" if same else "the file was changed")

    solution = Sources(
        open_writer="""
            import errno, os, stat

            def open_writer(path):
                try:
                    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                except OSError as error:
                    if error.errno == errno.ENXIO:
                        return None
                    raise
                if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                    os.close(fd)
                    raise ValueError(f"{path} is no FIFO")
                os.set_blocking(fd, True)
                return fd
            """,
    )
    broken = (
        Wrong(
            "waits for a reader",
            "nothing moves any more",
            open_writer="""
                import os

                def open_writer(path):
                    return os.open(path, os.O_WRONLY)
                """,
        ),
        Wrong(
            "opens anything",
            "open_writer() has opened a regular file",
            open_writer="""
                import os

                def open_writer(path):
                    try:
                        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                    except OSError:
                        return None
                """,
        ),
        Wrong(
            "leaves it non-blocking",
            "is in non-blocking mode",
            open_writer="""
                import os, stat

                def open_writer(path):
                    if not stat.S_ISFIFO(os.stat(path).st_mode):
                        raise ValueError("no FIFO")
                    try:
                        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                    except OSError:
                        return None
                """,
        ),
        Wrong(
            "leaves the file open",
            "left it open",
            open_writer="""
                import errno, os, stat

                def open_writer(path):
                    try:
                        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                    except OSError as error:
                        if error.errno == errno.ENXIO:
                            return None
                        raise
                    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                        raise ValueError("no FIFO")
                    os.set_blocking(fd, True)
                    return fd
                """,
        ),
    )
