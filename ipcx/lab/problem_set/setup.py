# SPDX-License-Identifier: Apache-2.0
"""Notebook 00: the first program in a cell, this machine, the table of transports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Failed, Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["Choose", "FirstProgram", "ShmSize"]

WORDS = ["anchor", "beacon", "delta", "ember", "harbour", "island", "kelp", "lantern"]
PROMISES = ("reliable", "ordered", "duplex", "boundaries", "sync", "hand_over", "death", "lends")


class FirstProgram(Problem):
    """A program in a cell: what it finds, and what it prints."""

    id = "setup-first-program"
    title = "A program in a cell"
    topic = "00"
    roles = ("program",)
    hints = (
        "each line is what one print() prints.",
        "for number in range(1, times + 1): the first one is 1, and the last one is `times`.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"word": draw.choice(WORDS), "times": draw.randint(3, 6)}

    def text(self) -> str:
        word, times = self.given["word"].upper(), self.given["times"]
        return f"""
            Write the program `program`. It finds the names `word` and `times`, and prints `times`
            lines: the line's number from 1, a space, and the word in capitals. With the numbers of
            your seed the first line is `1 {word}` and the last one `{times} {word}`.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        for word, times in ((self.given["word"], self.given["times"]), ("other", 2)):
            program = stage.start("program", word=word, times=times)
            stage.finish(program)
            expected = [f"{number} {word.upper()}" for number in range(1, times + 1)]
            for number, line in enumerate(expected):
                got = program.lines[number] if number < len(program.lines) else "nothing more"
                if got != line:
                    raise Failed(f"line {number + 1} is {got!r}, and not {line!r}")
            if len(program.lines) > times:
                raise Failed(f"it prints {len(program.lines)} lines, and not {times}")
            yield good(f"with word={word!r} and times={times} it prints the {times} lines")
            stage.clear()

    solution = Sources(
        program="""
            for number in range(1, times + 1):
                print(number, word.upper())
            """,
    )
    broken = (
        Wrong(
            "counts from 0",
            "line 1 is '0 ",
            program="""
                for number in range(times):
                    print(number, word.upper())
                """,
        ),
        Wrong(
            "has the numbers of one seed written into it",
            "line 1 is '1 LANTERN', and not",
            program="""
                for number in range(1, times + 1):
                    print(number, "LANTERN")
                """,
        ),
        Wrong(
            "prints too much",
            "lines, and not",
            program="""
                for number in range(1, times + 1):
                    print(number, word.upper())
                print("done")
                """,
        ),
    )


class ShmSize(Problem):
    """Where shared memory with a name lies, and how much of it there is."""

    id = "setup-shm-size"
    title = "How much shared memory?"
    topic = "00"
    roles = ("size",)
    hints = (
        "shutil.disk_usage() and os.statvfs() look at the file system in which a path lies.",
        "os.statvfs() counts in blocks: f_blocks of them, each of f_frsize bytes.",
    )

    def text(self) -> str:
        return """
            Shared memory that has a name lies in a file system of its own, mounted at `/dev/shm`.
            In a container it often has 64 MiB and no more, and whoever does not know that learns it
            from a crash. Write the function `size(folder)`: how many bytes the file system in which
            `folder` lies has in all, used or not.
            """

    DRIVER = """
import os, tempfile
for folder in ("/dev/shm", "/", tempfile.gettempdir()):
    kernel = os.statvfs(folder)
    right, found = kernel.f_blocks * kernel.f_frsize, size(folder)
    if found != right:
        fail(f"size({folder!r}) returned {found!r}; the kernel says {right}")
    tell((folder, right))
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        found = stage.functions(self.DRIVER)
        stage.finish(found)
        for folder, size in found.told:
            yield good(f"{folder} is in a file system of {size >> 20} MiB")

    solution = Sources(
        size="""
            import shutil


            def size(folder):
                return shutil.disk_usage(folder).total
            """,
    )
    broken = (
        Wrong(
            "takes every block for one of 512 bytes",
            "; the kernel says ",
            size="""
                import os


                def size(folder):
                    return os.statvfs(folder).f_blocks * 512
                """,
        ),
        Wrong(
            "counts in KiB",
            "size('/dev/shm') returned ",
            size="""
                import shutil


                def size(folder):
                    return shutil.disk_usage(folder).total // 1024
                """,
        ),
        Wrong(
            "looks at /dev/shm whatever it is asked for",
            "size('/') returned ",
            size="""
                import shutil


                def size(folder):
                    return shutil.disk_usage("/dev/shm").total
                """,
        ),
    )


class Choose(Problem):
    """The table of transports, read by a program."""

    id = "setup-choose-transport"
    title = "Which transport promises that?"
    topic = "00"
    roles = ("choose",)
    hints = (
        "getattr(transport, 'ordered') is transport.ordered, with the name in a variable.",
        "sorted(scheme for scheme in table if all(… for name in wanted)).",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"wanted": draw.sample(PROMISES, 2)}

    def text(self) -> str:
        one, two = self.given["wanted"]
        return f"""
            `ipcx.channel.TRANSPORTS` says for each scheme what it promises:
            `TRANSPORTS["udp"].ordered` is `False`. Write the function `choose(table, wanted)`. It
            returns the list, in alphabetical order, of the schemes in `table` that promise each of
            the names in `wanted`, such as `["{one}", "{two}"]`. Who wants nothing gets all of them.
            """

    DRIVER = """
from ipcx.channel import TRANSPORTS
for want in wanted:
    right = sorted(s for s, t in TRANSPORTS.items() if not [n for n in want if not getattr(t, n)])
    found = choose(dict(reversed(TRANSPORTS.items())), want)
    if found != right:
        fail(f"choose(TRANSPORTS, {want!r}) returned {found!r}, and not {right!r}")
    tell((want, right))
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        wanted: list[list[str]] = [self.given["wanted"], [], ["reliable"], list(PROMISES[:4])]
        found = stage.functions(self.DRIVER, wanted=wanted)
        stage.finish(found)
        for names, schemes in found.told:
            yield good(f"{' and '.join(names) or 'nothing'} is promised by {', '.join(schemes)}")

    solution = Sources(
        choose="""
            def choose(table, wanted):
                def keeps(transport):
                    return all(getattr(transport, name) for name in wanted)

                return sorted(scheme for scheme in table if keeps(table[scheme]))
            """,
    )
    broken = (
        Wrong(
            "is content with one of the promises",
            ", and not [",
            choose="""
                def choose(table, wanted):
                    def keeps(transport):
                        return any(getattr(transport, name) for name in wanted)

                    return sorted(scheme for scheme in table if keeps(table[scheme]))
                """,
        ),
        Wrong(
            "keeps the order of the table",
            " returned [",
            choose="""
                def choose(table, wanted):
                    def keeps(transport):
                        return all(getattr(transport, name) for name in wanted)

                    return [scheme for scheme in table if keeps(table[scheme])]
                """,
        ),
    )
