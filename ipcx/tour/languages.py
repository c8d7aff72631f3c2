# SPDX-License-Identifier: Apache-2.0
"""What it takes to run a program that is not Python's: its compiler, its commands, its absence.

Compiled programs lie beside their sources, which are the tour's own copies. Invariant: `build`
leaves no process behind, and what it makes is inside the folders of those copies.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipcx.tour.model import JAVA, C

SLOWEST = 60.0  # seconds until a compiler that has not ended is killed

# A JVM writes a file of statistics to /tmp, and leaves it there when it is killed.
NO_STATISTICS = "-XX:-UsePerfData"
# Half the start of a program that runs for a moment. Without them it does the same.
QUICK_START = ("-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@dataclass(frozen=True)
class Language:
    """How programs of one language are compiled and run."""

    title: str
    tools: tuple[str, ...]
    package: str  # Debian's name of what brings the tools
    compilers: Callable[[Sequence[Path]], list[list[str]]]  # command lines, all at the same time
    command: Callable[[Path], list[str]]
    by_hand: Callable[[str, str], str]  # from the pasted path and the program's name

    def lacks(self) -> str | None:
        """A sentence that says what this machine has not got, or None."""
        missing = [tool for tool in self.tools if shutil.which(tool) is None]
        if not missing:
            return None
        return (
            f"there is no {' and no '.join(missing)} on this machine, so the programs in "
            f"{self.title} are left out (Debian: apt-get install {self.package})"
        )


def _javac(sources: Sequence[Path]) -> list[list[str]]:
    """One run for each folder: the JVM's start is most of the time it takes."""
    folders = dict.fromkeys(source.parent for source in sources)
    return [
        ["javac", f"-J{NO_STATISTICS}", *(f"-J{word}" for word in QUICK_START)]
        + ["-encoding", "UTF-8", "-d", str(folder)]
        + [str(source) for source in sources if source.parent == folder]
        for folder in folders
    ]


LANGUAGES: Mapping[str, Language] = {
    C: Language(
        title="C",
        tools=("cc",),
        package="gcc libc6-dev",
        compilers=lambda sources: [["cc", str(s), "-o", str(s.with_suffix(""))] for s in sources],
        command=lambda program: [str(program.with_suffix(""))],
        by_hand=lambda path, name: f"cc {path} -o {name} && ./{name}",
    ),
    JAVA: Language(
        title="Java",
        tools=("java", "javac"),
        package="default-jdk-headless",
        compilers=_javac,
        command=lambda program: (
            ["java", NO_STATISTICS, *QUICK_START, "-cp", str(program.parent), program.stem]
        ),
        by_hand=lambda path, name: f"java {path}",
    ),
}


def title(on: str) -> str:
    """What people call it."""
    return LANGUAGES[on].title if on in LANGUAGES else on


def lacks(on: str) -> str | None:
    """Why nothing can run on that here, or None."""
    return LANGUAGES[on].lacks() if on in LANGUAGES else None


def by_hand(program: str, path: str) -> str:
    """The line that compiles and runs an example. *path* is the program's, as a shell reads it."""
    language = next(x for on, x in LANGUAGES.items() if program.endswith(f".{on}"))
    folder, _, file = program.rpartition("/")
    return language.by_hand(path, shlex.quote(f"{folder}_{Path(file).stem}"))


def build(
    on: str,
    sources: Sequence[Path],
    env: Mapping[str, str],
    felt: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> str | None:
    """Compiles programs; returns why that failed, or None. It waits inside ``felt()``."""
    if on not in LANGUAGES or not sources:
        return None
    at_work: list[subprocess.Popen[str]] = []
    compiler = LANGUAGES[on].tools[-1]
    try:
        for command in LANGUAGES[on].compilers(sources):
            at_work.append(
                subprocess.Popen(
                    command,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="backslashreplace",
                    process_group=0,  # a compiler starts others: they end with it
                )
            )
        for process in at_work:
            with felt():
                said, _ = process.communicate(timeout=SLOWEST)
            if process.returncode != 0:
                lines = said.strip().splitlines() or [f"status {process.returncode}"]
                return f"{compiler} did not compile it: {lines[0]}"
    except subprocess.TimeoutExpired:
        return f"{compiler} still ran after {SLOWEST:g} s and was killed"
    finally:
        for process in at_work:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return None
