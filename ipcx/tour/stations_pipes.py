# SPDX-License-Identifier: Apache-2.0
"""The stations of pipes: the lecture's `who | sort` in C with its two classic bugs, `pipe()`, named
pipes, pipelines.
"""

import shutil

from ipcx.tour.model import IPCX, Actor, AnyOrder, C, Ended, Line, Need, Said, Script, Station


def _lacks_ps() -> str | None:
    if shutil.which("ps") is not None:
        return None
    return "there is no ps on this machine (Debian: apt-get install procps)"


def _c(name: str, title: str, teaches: str, says: Script) -> Station:
    """A station of one program in C, which starts others."""
    return Station(name, title, teaches, (Actor(name, f"pipes/{name}.c", on=(C,)),), says)


def _python(name: str, program: str, *args: str, **how: object) -> Actor:
    return Actor(name, f"pipes/{program}.py", args, on=(IPCX,), imports_ipcx=True, **how)  # type: ignore[arg-type]


PIPES = (
    Station(
        "ends",
        "Two ends: fd[0] and fd[1]",
        "What is written to fd[1] is read from fd[0], first in, first out, by the calls for files. "
        "It has no messages, and room for some bytes only: then a writer waits.",
        (_python("ends", "ends"),),
        (
            Line("ends", "two descriptors, like those of files: True"),
            Line("ends", "a stream, first in, first out: b'first second'"),
            Line("ends", "nothing there: a reader would wait, since somebody may still write"),
            Line("ends", "full after {any} bytes: a writer would wait until somebody reads"),
            Line("ends", "closed, so what is there is all: True"),
            Line("ends", "and then comes the end: b''"),
        ),
    ),
    _c(
        "who_sort",
        "The lecture's who | sort in C",
        "pipe, two times fork, dup2 and execlp: each child has the pipe for one of its standard "
        "streams. The parent closes its ends and waits for both, which the slide leaves out.",
        (..., Line("who_sort", "who: exit status 0"), Line("who_sort", "sort: exit status 0")),
    ),
    _c(
        "unclosed_ends",
        "Its first bug: ends that are not closed",
        "The parent has the writing end, too, and as long as anybody has it, sort waits for more. "
        "A parent that waits for sort then waits for ever.",
        (
            Line("unclosed_ends", "who has ended, so all is written"),
            Line("unclosed_ends", "sort waits for more: I have a writing end open"),
            ...,
            Line("unclosed_ends", "closed it: sort has ended"),
        ),
    ),
    _c(
        "zombie",
        "Its second bug: nobody waits",
        "A child that has ended stays in the table of processes, with its number, until its parent "
        "asks how it ended.",
        (
            Line("zombie", "who has ended, its state is Z: a zombie"),
            Line("zombie", "its number is taken: yes"),
            Line("zombie", "waited for it: exit status 0"),
            Line("zombie", "its number is taken: no"),
        ),
    ),
    Station(
        "pipeline",
        "Pipelines: who | sort and ps | grep",
        "One | for all of it: every end is closed, every stage waited for, and each says how it "
        "ended. No shell takes part.",
        (
            _python("who", "who_sort"),
            _python("ps", "ps_grep", "python", when=Ended("who")),
        ),
        (
            ...,
            Line("who", "who: exit status 0"),
            Line("who", "sort: exit status 0"),
            ...,
            Line("ps", "ps -e | grep python: found"),
        ),
        needs=(Need("ps", _lacks_ps),),
    ),
    Station(
        "named_pipe",
        "A named pipe: found by its path",
        "Programs that nobody has started together meet in a pipe that has a name, and open it as "
        "a file. Up to PIPE_BUF bytes of a write are whole, whoever else writes.",
        (
            _python("reader", "named_reader"),
            _python("writer", "named_writer", when=Said("reader", "waiting for orders")),
        ),
        (
            Line("reader", "waiting for orders"),
            AnyOrder(
                (
                    Line("writer", "sent; up to {any} bytes go in whole"),
                    Line("reader", "two teas"),
                    Line("reader", "one coffee"),
                    Line("reader", "all who wrote have closed it"),
                )
            ),
        ),
    ),
)
