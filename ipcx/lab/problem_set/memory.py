# SPDX-License-Identifier: Apache-2.0
"""Notebook 03: shared memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Failed, Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong
from ipcx.shared_memory import SharedMemory

__all__ = ["Counter", "Invert", "ReadText"]

TEXTS = ["good morning", "grüß dich", "ça va", "hello again", "よろしく"]


class ReadText(Problem):
    """Another process's memory, read by its name; whoever attaches owns nothing."""

    id = "shm-read-text"
    title = "A text in another process's memory"
    topic = "03"
    roles = ("reader",)
    hints = (
        "SharedMemory(name) attaches; its `buf` is a memoryview of all of the segment.",
        "int.from_bytes(buf[:4], 'little') is the length: the segment itself is larger.",
        "whoever attaches closes; whoever has made it unlinks.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"text": draw.choice(TEXTS)}

    def text(self) -> str:
        return """
            Another process has made a segment of shared memory. Its name is in the variable
            `segment`. In it are four bytes, the length of a text (the lowest byte first), and then
            the text in UTF-8. Write the program `reader`, which prints the text, and leaves the
            segment there for others.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        for text in (self.given["text"], ""):
            data = text.encode()
            with SharedMemory(create=True, size=4096) as memory:
                buf = memory.buf
                assert buf is not None
                try:
                    buf[: 4 + len(data)] = len(data).to_bytes(4, "little") + data
                    reader = stage.start("reader", segment=memory.name)
                    stage.finish(reader)
                    if reader.output.removesuffix("\n") != text:
                        raise Failed(f"reader printed {reader.output[:60]!r}, and not {text!r}")
                    yield good(f"it prints {text!r}")
                    try:
                        SharedMemory(memory.name).close()
                    except FileNotFoundError:
                        raise Failed(
                            "the segment is gone: who attaches does not unlink it"
                        ) from None
                    yield good("and the segment is still there")
                finally:
                    with contextlib.suppress(FileNotFoundError):
                        memory.unlink()
            stage.clear()

    solution = Sources(
        reader="""
            from ipcx.shared_memory import SharedMemory

            with SharedMemory(segment) as memory:
                length = int.from_bytes(memory.buf[:4], "little")
                print(bytes(memory.buf[4 : 4 + length]).decode())
            """,
    )
    broken = (
        Wrong(
            "prints all there is",
            r"\x00",
            reader="""
                from ipcx.shared_memory import SharedMemory

                with SharedMemory(segment) as memory:
                    print(bytes(memory.buf[4:]).decode())
                """,
        ),
        Wrong(
            "tidies up what is not its own",
            "who attaches does not unlink",
            reader="""
                from ipcx.shared_memory import SharedMemory

                with SharedMemory(segment) as memory:
                    length = int.from_bytes(memory.buf[:4], "little")
                    print(bytes(memory.buf[4 : 4 + length]).decode())
                    memory.unlink()
                """,
        ),
    )


class Counter(Problem):
    """Read, add, write: three steps, between which another process may come."""

    id = "shm-counter"
    title = "A counter for two"
    topic = "03"
    roles = ("add",)
    hints = (
        "what is read before the lock is held may be old when it is written.",
        "with lock: around the reading *and* the writing, once for each addition.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"times": draw.randint(20, 60)}

    def text(self) -> str:
        return """
            Several processes count in the first eight bytes of a piece of shared memory (the lowest
            byte first). Write the function `add(memory, lock, times)`: it adds 1 to the number,
            `times` times. `memory` is a memoryview, `lock` a mutex of all the processes, to be used
            by `with lock:`. Other processes want to count, too: hold it for one addition at a time.
            """

    DRIVER = """
class Lock:
    held, taken = False, 0

    def __enter__(self):
        if self.held:
            fail("the lock is taken twice: a process that waits for itself waits for ever")
        self.held, self.taken = True, self.taken + 1
        other()

    def __exit__(self, *_):
        self.held = False

    def acquire(self):
        self.__enter__()

    def release(self):
        self.__exit__()


class Memory(bytearray):
    def __getitem__(self, where):
        if not lock.held:
            fail("memory is read while the lock is not held: what is read may be old by then")
        return bytearray.__getitem__(self, where)

    def __setitem__(self, where, value):
        if not lock.held:
            fail("memory is written while the lock is not held: another process's 1 may get lost")
        bytearray.__setitem__(self, where, value)


def other():  # another process has counted, too
    now = int.from_bytes(bytes(memory), "little")
    bytearray.__setitem__(memory, slice(0, 8), (now + 1000).to_bytes(8, "little"))


memory, lock = Memory(8), Lock()
add(memory, lock, times)
if lock.held:
    fail("the lock is still held at the end")
found = int.from_bytes(bytes(memory), "little")
if lock.taken < times and found % 1000 == times:
    fail(f"the lock was taken {lock.taken} times for {times} additions: others wait too long")
if found != 1001 * times:
    fail(f"{times} additions here and one of 1000 before each of them make {found}, and not "
         f"{1001 * times}")
tell(found)
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        found = stage.functions(self.DRIVER, times=self.given["times"])
        stage.finish(found)
        yield good("it reads and writes the number while it holds the lock, and only then")
        yield good(f"no addition is lost: {found.told[0]}")

    solution = Sources(
        add="""
            def add(memory, lock, times):
                for _ in range(times):
                    with lock:
                        number = int.from_bytes(memory[:8], "little")
                        memory[:8] = (number + 1).to_bytes(8, "little")
            """,
    )
    broken = (
        Wrong(
            "takes no lock",
            "memory is read while the lock is not held",
            add="""
                def add(memory, lock, times):
                    for _ in range(times):
                        number = int.from_bytes(memory[:8], "little")
                        memory[:8] = (number + 1).to_bytes(8, "little")
                """,
        ),
        Wrong(
            "reads under the lock and writes without it",
            "memory is written while the lock is not held",
            add="""
                def add(memory, lock, times):
                    for _ in range(times):
                        with lock:
                            number = int.from_bytes(memory[:8], "little")
                        memory[:8] = (number + 1).to_bytes(8, "little")
                """,
        ),
        Wrong(
            "holds the lock the whole time",
            "others wait too long",
            add="""
                def add(memory, lock, times):
                    with lock:
                        for _ in range(times):
                            number = int.from_bytes(memory[:8], "little")
                            memory[:8] = (number + 1).to_bytes(8, "little")
                """,
        ),
    )


class Invert(Problem):
    """A picture worked on where it lies: no redundant copy."""

    id = "shm-invert-picture"
    title = "A picture without a copy"
    topic = "03"
    roles = ("worker",)
    hints = (
        "the segment may be larger than the picture: the kernel counts in pages.",
        "memory.buf[place] = 255 - memory.buf[place], for the places of the picture alone.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"width": draw.randint(30, 60), "height": draw.randint(20, 40)}

    def text(self) -> str:
        width, height = self.given["width"], self.given["height"]
        return f"""
            In the segment of shared memory whose name is in `segment` lies a picture of `width`
            times `height` grey dots, here {width} times {height}, a byte each: 0 is black, 255
            white. Behind it is something that belongs to others. Write the program `worker`, which
            turns the picture into its negative where it lies.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        width, height = self.given["width"], self.given["height"]
        picture = Random(self.seed).randbytes(width * height)
        with SharedMemory(create=True, size=len(picture) + 64) as memory:
            buf = memory.buf
            assert buf is not None
            try:
                buf[: len(picture)] = picture
                worker = stage.start("worker", segment=memory.name, width=width, height=height)
                stage.finish(worker)
                wrong = [place for place, dot in enumerate(picture) if buf[place] != 255 - dot]
                if wrong:
                    raise Failed(
                        f"{len(wrong)} of {len(picture)} dots are wrong, the first in line "
                        f"{wrong[0] // width}, column {wrong[0] % width}: "
                        f"{buf[wrong[0]]} instead of {255 - picture[wrong[0]]}"
                    )
                yield good(f"all {len(picture)} dots are inverted, where they lie")
                if any(buf[len(picture) :]):
                    raise Failed("the bytes behind the picture, which are others', were changed")
                yield good("and nothing behind them was touched")
            finally:
                memory.unlink()

    solution = Sources(
        worker="""
            from ipcx.shared_memory import SharedMemory

            with SharedMemory(segment) as memory:
                for place in range(width * height):
                    memory.buf[place] = 255 - memory.buf[place]
            """,
    )
    broken = (
        Wrong(
            "inverts the whole segment",
            "the bytes behind the picture",
            worker="""
                from ipcx.shared_memory import SharedMemory

                with SharedMemory(segment) as memory:
                    for place in range(len(memory.buf)):
                        memory.buf[place] = 255 - memory.buf[place]
                """,
        ),
        Wrong(
            "works on a copy",
            "dots are wrong",
            worker="""
                from ipcx.shared_memory import SharedMemory

                with SharedMemory(segment) as memory:
                    picture = bytearray(memory.buf[: width * height])
                    for place in range(width * height):
                        picture[place] = 255 - picture[place]
                """,
        ),
    )
