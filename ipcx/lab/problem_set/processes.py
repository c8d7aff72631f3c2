# SPDX-License-Identifier: Apache-2.0
"""Notebook 01: processes and signals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from random import Random
from signal import SIGRTMIN
from typing import Any

from ipcx import signals
from ipcx.lab.check import Failed, Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["CountSignals", "Describe", "Reap"]


class Describe(Problem):
    """How a process has ended, in words."""

    id = "process-how-it-ended"
    title = "How did it end?"
    topic = "01"
    roles = ("describe",)
    hints = (
        "os.WIFSIGNALED(status) says whether a signal ended it, os.WTERMSIG(status) which one.",
        "os.waitstatus_to_exitcode(status) is the exit status, or minus the signal's number.",
        "signal.Signals(9).name is 'SIGKILL'.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"statuses": [0, *draw.sample(range(1, 120), 2)]}

    def text(self) -> str:
        return """
            `os.waitpid()` gives a number in which the kernel has packed how a child has ended.
            Write the function `describe(status)`, which says it in words: `"exit status 3"`, or
            `"ended by SIGKILL"` with the name of the signal.
            """

    DRIVER = """
import os, signal
def ended(how):
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, range(1, 65))
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        if how < 0:
            os.kill(os.getpid(), -how)
        os._exit(how)
    return os.waitpid(pid, 0)[1]

for how in hows:
    right = f"ended by {signal.Signals(-how).name}" if how < 0 else f"exit status {how}"
    status = ended(how)
    found = describe(status)
    if found != right:
        fail(f"describe({status}) returned {found!r}, and not {right!r}")
    tell(right)
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        found = stage.functions(self.DRIVER, hows=[*self.given["statuses"], -9, -15, -10])
        stage.finish(found)
        for text in found.told:
            yield good(text)

    solution = Sources(
        describe="""
            import os
            import signal


            def describe(status):
                if os.WIFSIGNALED(status):
                    return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
                return f"exit status {os.WEXITSTATUS(status)}"
            """,
    )
    broken = (
        Wrong(
            "takes the packed number for the exit status",
            "and not 'exit status",
            describe="""
                def describe(status):
                    return f"exit status {status}"
                """,
        ),
        Wrong(
            "knows no signals",
            "and not 'ended by SIGKILL'",
            describe="""
                import os


                def describe(status):
                    return f"exit status {os.WEXITSTATUS(status)}"
                """,
        ),
    )


class Reap(Problem):
    """Zombies: children that have ended, and for whom nobody has waited."""

    id = "process-zombies"
    title = "The zombie hunt"
    topic = "01"
    roles = ("reap",)
    hints = (
        "os.waitpid(pid, 0) waits for one child and takes its status.",
        "a loop over all of them; os.waitstatus_to_exitcode() unpacks the status.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"codes": [draw.randint(0, 50) for _ in range(draw.randint(4, 7))]}

    def text(self) -> str:
        return """
            A child that has ended stays in the kernel's table until its parent has asked how: it is
            a zombie. Write the function `reap(pids)`: it waits for each of these children, and
            returns a dict from the process id to the exit status. Afterwards no child is left, not
            even a zombie.
            """

    DRIVER = """
import os
right = {}
for code in codes:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    right[pid] = code
found = reap(list(right))
try:
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
except ChildProcessError:
    pass
else:
    fail("there are still children: reap() has not waited for each of them")
if found != right:
    wrong = next((p for p in right if (found or {}).get(p) != right[p]))
    fail(f"of the child that ended with {right[wrong]} it says {(found or {}).get(wrong)!r}")
tell(len(right))
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        found = stage.functions(self.DRIVER, codes=self.given["codes"])
        stage.finish(found)
        yield good("no child is left, and no zombie")
        yield good(f"the exit status of each of the {found.told[0]} children is right")

    solution = Sources(
        reap="""
            import os


            def reap(pids):
                return {pid: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids}
            """,
    )
    broken = (
        Wrong(
            "waits for the first one alone",
            "there are still children",
            reap="""
                import os


                def reap(pids):
                    status = os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1])
                    return {pid: status for pid in pids}
                """,
        ),
        Wrong(
            "does not unpack the status",
            "of the child that ended with",
            reap="""
                import os


                def reap(pids):
                    return {pid: os.waitpid(pid, 0)[1] + 1 for pid in pids}
                """,
        ),
    )


class CountSignals(Problem):
    """Ordinary signals coalesce; real-time signals queue and carry a number."""

    id = "signals-none-lost"
    title = "No signal is lost"
    topic = "01"
    roles = ("receiver",)
    hints = (
        "signals.SignalReceiver([SIGRTMIN]) first, print('ready') then, and not before.",
        "for info in receiver: info.value is the number that came with the signal.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"numbers": [draw.randint(2, 99) for _ in range(draw.randint(20, 30))]}

    def text(self) -> str:
        return """
            Write the program `receiver`. When it can receive signals it prints `ready`. Then
            real-time signals arrive (`signal.SIGRTMIN`), as fast as they can be sent, each with a
            number as its value. It adds the numbers up until a 0 comes, prints the sum, and ends.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        numbers = self.given["numbers"]
        receiver = stage.start("receiver")
        stage.until(lambda: "ready" in receiver.lines, "receiver has not printed ready", receiver)
        yield good("it says when it is ready")
        with contextlib.suppress(ProcessLookupError):  # what has ended it is told below
            for number in [*numbers, 0]:
                signals.send(receiver.pid, SIGRTMIN, number)
        stage.finish(receiver)
        if receiver.lines != ["ready", str(sum(numbers))]:
            said = receiver.lines[1:] or "nothing more"
            raise Failed(f"after {len(numbers)} signals it printed {said!r}, not {sum(numbers)}")
        yield good(f"the sum of {len(numbers)} numbers is right: none was lost")

    solution = Sources(
        receiver="""
            from signal import SIGRTMIN

            from ipcx import signals

            total = 0
            with signals.SignalReceiver([SIGRTMIN]) as incoming:
                print("ready", flush=True)
                for info in incoming:
                    if info.value == 0:
                        break
                    total += info.value
            print(total)
            """,
    )
    broken = (
        Wrong(
            "is ready before it can receive",
            "receiver was ended by SIGRTMIN",
            receiver="""
                import time

                print("ready", flush=True)
                time.sleep(60)
                """,
        ),
        Wrong(
            "counts them, and does not add them up",
            "signals it printed",
            receiver="""
                from signal import SIGRTMIN

                from ipcx import signals

                total = 0
                with signals.SignalReceiver([SIGRTMIN]) as incoming:
                    print("ready", flush=True)
                    for info in incoming:
                        if info.value == 0:
                            break
                        total += 1
                print(total)
                """,
        ),
    )
