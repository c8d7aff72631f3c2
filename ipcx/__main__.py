# SPDX-License-Identifier: Apache-2.0
"""``python -m ipcx``, which is also the console script ``ipcx``.

A command is one line in `COMMANDS`: the module and function that do it (``main(argv) -> int``) and
one line of help. Nothing is imported before a command is chosen.
"""

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple


class Command(NamedTuple):
    """Where a command lives (``module:function``) and what `ipcx --help` says about it."""

    target: str
    help: str

    def load(self) -> Callable[[Sequence[str]], int]:
        module, _, function = self.target.partition(":")
        found: Callable[[Sequence[str]], int] = getattr(import_module(module), function)
        return found


COMMANDS = {
    "tour": Command(
        "ipcx.tour:main", "run the lecture's programs, two processes each, and check them"
    ),
    "examples": Command("ipcx._examples:main", "copy the example programs to a directory"),
    "notebooks": Command(
        "ipcx._notebooks:main", "copy the notebooks with the exercises to a directory"
    ),
    "run": Command("ipcx.run:main", "run an unmodified program over ipcx's sockets"),
    "draw": Command(
        "ipcx.lab.draw:main", "two programs, and the picture of what they said to each other"
    ),
    "send": Command("ipcx._carry:main_send", "standard input over a channel: ipcx send URL"),
    "receive": Command("ipcx._carry:main_receive", "a channel to standard output"),
    "race": Command("ipcx._race:main", "ten seconds: ipcx beside sockets, multiprocessing, pyzmq"),
    "duel": Command("ipcx._duel:main", "two pools of workers under kill -9: one of them freezes"),
    "explain": Command("ipcx.explain:main", "what an error means, its usual causes, the cure"),
    "top": Command(
        "ipcx._top:main", "what passes at a server, or in shared memory, second by second"
    ),
    "ls": Command(
        "ipcx._segments:main_ls", "shared memory, locks, channels, named pipes: whose, since when"
    ),
    "gc": Command("ipcx._segments:main_gc", "remove what killed processes have left of these"),
    "rm": Command("ipcx._segments:main_rm", "remove by name what nobody uses of these"),
    "doctor": Command("ipcx.doctor:main", "what of this machine matters to ipcx"),
}


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ipcx COMMAND [arguments]     (the same as: python -m ipcx COMMAND …)",
            "",
            "commands:",
            *rows,
            "",
            "options:",
            "  --version  print the version",
            "  --help     print this; `ipcx COMMAND --help` says more about one command",
        ]
    )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    from ipcx._install import DISTRIBUTION

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown (running from a tree that is not installed)"


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    guess = f" Did you mean `{close[0]}`?" if close else ""
    print(f"ipcx: there is no command `{name}`.{guess}", file=sys.stderr)
    print(f"The commands are: {', '.join(COMMANDS)}.", file=sys.stderr)
    return 2


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments:
        print(_usage(), file=sys.stderr)
        return 2
    name, rest = arguments[0], list(arguments[1:])
    if name in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if name in ("-V", "--version"):
        print(f"ipcx {_version()}")
        return 0
    if name not in COMMANDS:
        return _unknown(name)
    return COMMANDS[name].load()(rest)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 1 a failure, 2 a wrong command line.

    Ctrl-C and a reader that goes away (``ipcx explain EPIPE | head -1``) end it without a
    traceback, with the statuses a shell reports for SIGINT and SIGPIPE.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] == "run":  # the program's own affair, from here on
        return COMMANDS["run"].load()(list(arguments[1:]))
    for stream in (sys.stdout, sys.stderr):  # a terminal without Unicode gets ? for ✓
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            return _dispatch(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit: give it somewhere to go.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1 if sys.stdout is None else sys.stdout.fileno())
        os.close(nowhere)
        return 141


if __name__ == "__main__":
    sys.exit(main())
