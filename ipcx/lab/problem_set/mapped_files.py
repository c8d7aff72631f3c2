# SPDX-License-Identifier: Apache-2.0
"""Notebook 05: memory-mapped files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["Pages", "Patch", "Put"]


class Pages(Problem):
    """Demand paging comes in whole pages."""

    id = "mmap-which-pages"
    title = "Which pages come into memory?"
    topic = "05"
    roles = ("pages",)
    hints = (
        "byte 0 to byte 4095 are page 0, when a page has 4096 bytes.",
        "sorted({offset // size for offset in offsets}) counts each page once.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"offsets": [draw.randrange(100_000) for _ in range(8)]}

    def text(self) -> str:
        offsets = ", ".join(map(str, self.given["offsets"][:3]))
        return f"""
            A file is mapped, and a program touches the bytes at some offsets, such as {offsets}.
            Each touch brings the whole page into memory in which the byte lies. Write the function
            `pages(offsets, size)`: the numbers of the pages, each once, in ascending order; `size`
            is the size of a page in bytes.
            """

    DRIVER = """
for touched, size in cases:
    right, found = sorted({n // size for n in touched}), pages(list(touched), size)
    if found != right:
        fail(f"pages({touched!r}, {size}) returned {found!r}, and not {right!r}")
    tell((len(touched), len(right)))
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        offsets = self.given["offsets"]
        cases = [(offsets, 4096), ([0, 4095, 4096], 4096), ([], 4096), (offsets, 65536)]
        found = stage.functions(self.DRIVER, cases=cases)
        stage.finish(found)
        for touched, came in found.told:
            yield good(f"{touched} bytes touched, {came} pages came")

    solution = Sources(
        pages="""
            def pages(offsets, size):
                return sorted({offset // size for offset in offsets})
            """,
    )
    broken = (
        Wrong(
            "counts a page twice",
            "and not [",
            pages="""
                def pages(offsets, size):
                    return sorted(offset // size for offset in offsets)
                """,
        ),
        Wrong(
            "believes that every page has 4096 bytes",
            ", 65536) returned",
            pages="""
                def pages(offsets, size):
                    return sorted({offset // 4096 for offset in offsets})
                """,
        ),
    )


class Patch(Problem):
    """A few bytes of a large file, changed where they lie."""

    id = "mmap-patch"
    title = "Changed in its place"
    topic = "05"
    roles = ("patch",)
    hints = (
        "mmap.map_file(path, mode='r+') of ipcx maps a file to read and write.",
        "with …map_file(path, mode='r+') as m: m[offset : offset + len(data)] = data",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"offset": draw.randrange(100, 9000), "data": draw.randbytes(12)}

    def text(self) -> str:
        return """
            Write the function `patch(path, offset, data)`. It maps the file `path`, and puts the
            bytes `data` at `offset` into it. The rest of the file, and its length, stay as they
            are, and who has mapped the same file sees the new bytes at once.
            """

    DRIVER = """
import os
from ipcx import mmap
path = os.path.abspath("large")
for where in (offset, 0, 10000 - len(data)):
    before = bytes(range(250)) * 40
    with open(path, "wb") as file:
        file.write(before)
    with mmap.map_file(path) as other:
        patch(path, where, data)
        seen = bytes(other[:])
    with open(path, "rb") as file:
        after = file.read()
    right = before[:where] + data + before[where + len(data):]
    if len(after) != len(before):
        fail(f"the file had {len(before)} bytes, and has {len(after)} now")
    if after != right:
        place = next(i for i in range(len(after)) if after[i] != right[i])
        fail(f"byte {place} is {after[place]}, and not {right[place]}")
    if seen != right:
        fail("who had mapped the file does not see the new bytes: they are in another file")
    tell(where)
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        found = stage.functions(self.DRIVER, **self.given)
        stage.finish(found)
        for where in found.told:
            yield good(f"the bytes are at {where}, and who had mapped the file sees them")

    solution = Sources(
        patch="""
            from ipcx import mmap


            def patch(path, offset, data):
                with mmap.map_file(path, mode="r+") as m:
                    m[offset : offset + len(data)] = data
            """,
    )
    broken = (
        Wrong(
            "pushes the rest back",
            "bytes, and has",
            patch="""
                def patch(path, offset, data):
                    with open(path, "r+b") as file:
                        file.seek(offset)
                        rest = file.read()
                        file.seek(offset)
                        file.write(data + rest)
                """,
        ),
        Wrong(
            "makes another file",
            "they are in another file",
            patch="""
                import os


                def patch(path, offset, data):
                    with open(path, "rb") as file:
                        old = file.read()
                    with open(path + ".new", "wb") as file:
                        file.write(old[:offset] + data + old[offset + len(data) :])
                    os.replace(path + ".new", path)
                """,
        ),
        Wrong(
            "begins a byte too late",
            "and not",
            patch="""
                from ipcx import mmap


                def patch(path, offset, data):
                    with mmap.map_file(path, mode="r+") as m:
                        end = min(offset + 1 + len(data), len(m))
                        m[offset + 1 : end] = data[: end - offset - 1]
                """,
        ),
    )


class Put(Problem):
    """A log ring that survives kill -9: what is valid is said last."""

    id = "mmap-log-ring"
    title = "A ring that survives kill -9"
    topic = "05"
    roles = ("put",)
    hints = (
        "a process may be killed between any two statements.",
        "the slot is invalid first (length 0), then come the bytes, and its length comes last.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"slots": draw.randint(3, 6)}

    def text(self) -> str:
        return """
            A mapped file is a ring of slots of 64 bytes each. The first byte of a slot is the
            length of its record, 0 for none; the record follows. Write the function
            `put(m, number, record)`: it puts the record with that number (from 0) into the mapping
            `m`, over the oldest one when all slots are taken. Whenever the process is killed, each
            slot holds a whole record, the old one or the new one, or says that it holds none: never
            a mixture.
            """

    DRIVER = """
class Killed(BaseException):
    pass

class Mapping(bytearray):
    left = None

    def __setitem__(self, where, value):
        if self.left == 0:
            raise Killed
        if self.left is not None:
            self.left -= 1
        before = len(self)
        bytearray.__setitem__(self, where, value)
        if len(self) != before:
            fail(f"a mapping cannot grow: {where} was given {len(value)} bytes")

def read(m, slot):
    length = m[slot * 64]
    return bytes(bytearray(m)[slot * 64 + 1 : slot * 64 + 1 + length])

records = [bytes([65 + n]) * (5 + 7 * n % 50) for n in range(slots + 2)]
m = Mapping(64 * slots)
for number, record in enumerate(records):
    put(m, number, record)
    if read(m, number % slots) != record:
        fail(f"record {number} is not in slot {number % slots}: {read(m, number % slots)!r}")
tell("all records are in their slots, the newest over the oldest")

old, new = b"old" * 5, b"NEW!" * 6
for steps in range(20):
    m = Mapping(64 * slots)
    put(m, 0, old)
    m.left = steps
    try:
        put(m, slots, new)
        killed = False
    except Killed:
        killed = True
    found = read(m, 0)
    if found not in (b"", old, new):
        fail(f"killed after {steps} writes, slot 0 holds {found!r}: a mixture")
    if not killed:
        break
tell(f"killed before each of its {steps} writes, no slot holds a mixture")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        found = stage.functions(self.DRIVER, **self.given)
        stage.finish(found)
        for text in found.told:
            yield good(text)

    solution = Sources(
        put="""
            def put(m, number, record):
                start = number * 64 % len(m)
                m[start] = 0
                m[start + 1 : start + 1 + len(record)] = record
                m[start] = len(record)
            """,
    )
    broken = (
        Wrong(
            "says the length first",
            ": a mixture",
            put="""
                def put(m, number, record):
                    start = number * 64 % len(m)
                    m[start] = len(record)
                    m[start + 1 : start + 1 + len(record)] = record
                """,
        ),
        Wrong(
            "leaves the old length there while it writes",
            ": a mixture",
            put="""
                def put(m, number, record):
                    start = number * 64 % len(m)
                    m[start + 1 : start + 1 + len(record)] = record
                    m[start] = len(record)
                """,
        ),
        Wrong(
            "never begins anew",
            "a mapping cannot grow",
            put="""
                def put(m, number, record):
                    start = number * 64
                    m[start : start + 1] = b"\\0"
                    m[start + 1 : start + 1 + len(record)] = record
                    m[start : start + 1] = bytes([len(record)])
                """,
        ),
    )
