# SPDX-License-Identifier: Apache-2.0
"""Notebook 02: files that one process writes and another reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.files import MessageLog
from ipcx.lab.check import Failed, Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["Follow", "Replace", "WholeRecords"]

WORDS = ["amber", "birch", "cedar", "dune", "elm", "fern", "grove", "hazel", "iris", "juniper"]


class Replace(Problem):
    """The old text or the new one, and never half of either."""

    id = "files-replace"
    title = "Replaced as a whole"
    topic = "02"
    roles = ("save",)
    hints = (
        "open(path, 'w') empties the file at once: whoever reads now finds nothing.",
        "write to another file of the same folder, and os.replace() it over the old one.",
    )

    def text(self) -> str:
        return """
            Somebody reads the file `path` again and again. Write the function `save(path, text)`,
            which puts a new text into it so that each reader finds either the old text or the new
            one, whole, at whatever moment it looks, and so that no other file is left.
            """

    DRIVER = """
import os
os.mkdir("shared")
path = os.path.abspath("shared/settings")
for old, new in (("old text " * 1000, "new"), ("short", "a longer text " * 1000)):
    with open(path, "w") as file:
        file.write(old)
    with open(path) as reader:  # who has it open keeps what was there
        save(path, new)
        found = reader.read()
    if found != old:
        fail(f"a reader that had opened the file before found {found[:20]!r}…: "
             "the old text was overwritten in its place")
    with open(path) as reader:
        found = reader.read()
    if found != new:
        fail(f"afterwards the file holds {found[:20]!r}…, and not the new text")
    left = sorted(set(os.listdir("shared")) - {"settings"})
    if left:
        fail(f"{left[0]!r} is left in the folder")
    tell(len(new))
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        found = stage.functions(self.DRIVER)
        stage.finish(found)
        yield good("who had the file open reads the old text to its end")
        yield good("who opens it afterwards reads the new one, and nothing else is left")

    solution = Sources(
        save="""
            import os


            def save(path, text):
                with open(f"{path}.new", "w") as file:
                    file.write(text)
                os.replace(f"{path}.new", path)
            """,
    )
    broken = (
        Wrong(
            "writes over the old text",
            "overwritten in its place",
            save="""
                def save(path, text):
                    with open(path, "w") as file:
                        file.write(text)
                """,
        ),
        Wrong(
            "copies the new file over the old one",
            "overwritten in its place",
            save="""
                import os, shutil


                def save(path, text):
                    with open(f"{path}.new", "w") as file:
                        file.write(text)
                    shutil.copyfile(f"{path}.new", path)
                    os.unlink(f"{path}.new")
                """,
        ),
        Wrong(
            "leaves a file behind",
            "is left in the folder",
            save="""
                import os


                def save(path, text):
                    os.rename(path, f"{path}.old")
                    with open(path, "w") as file:
                        file.write(text)
                """,
        ),
    )


class WholeRecords(Problem):
    """A line whose end is not written yet is no line yet."""

    id = "files-whole-records"
    title = "Only what is whole"
    topic = "02"
    roles = ("records",)
    hints = (
        "a file that is written just now may end in the middle of a line.",
        "'ab\\ncd'.split('\\n') is ['ab', 'cd']: the last part has no end of line behind it.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"words": draw.sample(WORDS, 4)}

    def text(self) -> str:
        return """
            Another process writes lines into the file `path`, and may be in the middle of one.
            Write the function `records(path)`. It returns the list of the lines that are there
            whole, without their ends of line. Empty lines are lines; a line without its end is none
            yet.
            """

    DRIVER = """
import os
path = os.path.abspath("lines")
for text in texts:
    with open(path, "w") as file:
        file.write(text)
    right, found = text.split("\\n")[:-1], records(path)
    if found != right:
        fail(f"the file holds {text!r}: records() returned {found!r}, and not {right!r}")
    tell(text)
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        one, two, three, four = self.given["words"]
        texts = [f"{one}\n{two}\n", f"{one}\n{two}\n{three[:-1]}", "", four, f"\n\n{one}\n \n"]
        found = stage.functions(self.DRIVER, texts=texts)
        stage.finish(found)
        for text in found.told:
            yield good(f"{text!r}: {text.count(chr(10))} whole lines")

    solution = Sources(
        records="""
            def records(path):
                with open(path) as file:
                    return file.read().split("\\n")[:-1]
            """,
    )
    broken = (
        Wrong(
            "takes half a line for a line",
            "and not ['",
            records="""
                def records(path):
                    with open(path) as file:
                        return file.read().splitlines()
                """,
        ),
        Wrong(
            "loses empty lines",
            r"the file holds '\n\n",
            records="""
                def records(path):
                    with open(path) as file:
                        return [line for line in file.read().split("\\n")[:-1] if line]
                """,
        ),
    )


class Follow(Problem):
    """A reader that goes on waiting for what others append."""

    id = "files-follow"
    title = "A log that is followed"
    topic = "02"
    roles = ("follower",)
    hints = (
        "files.Follower(path) gives each message, and waits for the next one.",
        "leave the loop when the message is 'end', after it was printed.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"words": draw.sample(WORDS, 5)}

    def text(self) -> str:
        return """
            Processes append messages to the log `path`, a `files.MessageLog`. Write the program
            `follower`: it prints each message of the log from its beginning on, also those that are
            appended while it runs, and ends after the message `end`.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        words = self.given["words"]
        path = stage.folder / "events.log"
        with MessageLog(path) as log:
            log.append(words[0])
            follower = stage.start("follower", path=str(path))
            stage.until(
                lambda: words[0] in follower.lines,
                "follower has not printed the message that was there before it",
                follower,
            )
            yield good("it prints what was there before it")
            for word in (*words[1:], "end"):
                log.append(word)
        stage.finish(follower)
        if follower.lines != [*words, "end"]:
            raise Failed(f"it printed {follower.lines!r}, and not {[*words, 'end']!r}")
        yield good("and each message that came later, up to the end")

    solution = Sources(
        follower="""
            from ipcx import files

            with files.Follower(path) as log:
                for message in log:
                    print(message)
                    if message == "end":
                        break
            """,
    )
    broken = (
        Wrong(
            "reads what is there, and goes",
            "it printed [",
            follower="""
                from ipcx import files

                with files.MessageLog(path) as log:
                    for message in log:
                        print(message)
                """,
        ),
        Wrong(
            "never ends",
            "follower did not end",
            follower="""
                from ipcx import files

                with files.Follower(path) as log:
                    for message in log:
                        print(message)
                """,
        ),
        Wrong(
            "begins with what comes now",
            "has not printed the message that was there before it",
            follower="""
                from ipcx import files

                with files.Follower(path, "end") as log:
                    for message in log:
                        print(message)
                        if message == "end":
                            break
                """,
        ),
    )
