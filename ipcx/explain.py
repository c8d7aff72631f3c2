# SPDX-License-Identifier: Apache-2.0
"""``ipcx explain NAME``: what happened, the usual causes, the cure and a smallest program.

NAME is an outcome of the core (``PEER_CLOSED``), an exception (``ipcx.PeerClosed``,
``ConnectionRefusedError``) or an errno, as a name or a number (``EPIPE``, ``32``). All comes from
the one table the core, its exceptions and the documentation are made of.
"""

import argparse
import builtins
import errno
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from ipcx import _core

__all__ = ["Row", "find", "main", "names", "rows", "text_of"]

Row = dict[str, Any]

MANY = 4  # rows told in full; above, only their names


def _title(row: Row) -> str:
    """The most telling name of a row: its errno if it has one, else its exception or status."""
    return str(row["errno"] or row["exception"] or row["name"])


def _exception_of(row: Row) -> type[BaseException] | None:
    """The class that a row stands for where the stdlib's own are raised."""
    if row["errno"]:
        return type(OSError(getattr(errno, row["errno"]), ""))
    name = row["exception"]
    if name.startswith("socket."):
        from ipcx import socket

        name = name.partition(".")[2]
        return getattr(socket, name, None)
    return getattr(_core, name, None) or getattr(builtins, name, None) if name else None


def rows() -> list[Row]:
    """The table, as dictionaries with the causes as lists."""
    return [{**row, "causes": list(row["causes"])} for row in _core.status_table()]


def names() -> list[str]:
    """Every name that `find` knows, in the table's order."""
    found: dict[str, None] = {}
    for row in rows():
        cls = _exception_of(row)
        of_stdlib = cls.__name__ if cls is not None else ""
        for name in (row["name"], row["errno"], row["exception"], of_stdlib):
            if name:
                found.setdefault(name)
    return list(found)


def _number(name: str) -> str:
    try:
        return errno.errorcode.get(int(name), "")
    except ValueError:
        return ""


def _simple(name: str) -> str:
    """Without the module: ipcx.PeerClosed, socket.gaierror, builtins.OSError; IPCX_EOF from C."""
    return name.rpartition(".")[2].removeprefix("IPCX_")


def find(name: str) -> list[Row]:
    """The rows that *name* means: by errno, by status, by exception, then by base class."""
    name = _number(name) or _simple(name)
    table = rows()
    for matches in (
        [row for row in table if row["errno"] == name.upper()],
        [row for row in table if row["name"] == name],
        [row for row in table if row["exception"] == name and row["bases"]],
        [row for row in table if _is_class(row, name)],
        [row for row in table if row["name"] == name.upper()],
    ):
        if matches:
            return matches
    return []


def _is_class(row: Row, name: str) -> bool:
    """Whether the row is about the class *name* or, OSError aside, one derived from it."""
    if name in row["bases"] or _simple(row["exception"]) == name:
        return True
    cls = _exception_of(row) if row["errno"] else None
    if name in ("OSError", "IOError", "EnvironmentError", "error"):
        return cls is OSError
    return cls is not None and any(base.__name__ == name for base in cls.__mro__[:-3])


def _wrap(text: str, indent: str, first: str | None = None) -> str:
    return textwrap.fill(
        text,
        width=92,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _heading(row: Row) -> str:
    """The name, and in a second line how C, the stdlib and ipcx call it."""
    title, called = _title(row), [f"IPCX_{row['name']} = {row['value']} in C"]
    cls = _exception_of(row)
    if row["errno"] and cls is not None:
        title += f" (errno {getattr(errno, row['errno'])})"
        called.append(f"raised as {cls.__name__}")
    if row["exception"] and row["bases"]:
        called.append(f"ipcx.{row['exception']}({', '.join(row['bases'])})")
    return f"{title}\n{_wrap(', '.join(called), '  ')}"


def text_of(row: Row) -> str:
    """One row, for people."""
    lines = [_heading(row), "", _wrap(row["what"] or row["text"], "  ")]
    if row["causes"]:
        lines += ["", "  Usual causes:"]
        lines += [_wrap(cause, "    ", "  - ") for cause in row["causes"]]
    if row["cure"]:
        lines += ["", "  What to do:", _wrap(row["cure"], "    ")]
    if row["program"]:
        lines += ["", "  The smallest program that shows it:", ""]
        lines += [textwrap.indent(row["program"].rstrip("\n"), "    ")]
    return "\n".join(lines)


def _list() -> str:
    lines = [
        "ipcx explain NAME, where NAME is one of these, or an errno's number:",
        "",
    ]
    width = max(len(_title(row)) for row in rows())
    for row in rows():
        lines.append(f"  {_title(row):<{width}}  {row['what'] or row['text']}")
    titles = {_title(row) for row in rows()}
    others = [name for name in names() if name not in titles]
    lines += ["", _wrap("Also: " + ", ".join(others), "  ")]
    return "\n".join(lines)


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    number = _number(name) or (name.upper() if hasattr(errno, name.upper()) else "")
    if number:
        text = os.strerror(getattr(errno, number))
        print(f"ipcx: {number} is the system's “{text}”; the table says no more.", file=sys.stderr)
        return 2
    by_lower = {known.lower(): known for known in names()}
    close = get_close_matches(_simple(name).lower(), by_lower, n=3)
    guess = f" Did you mean {' or '.join(by_lower[c] for c in close)}?" if close else ""
    print(f"ipcx: nothing is known about `{name}`.{guess}", file=sys.stderr)
    print("`ipcx explain` alone lists every name.", file=sys.stderr)
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    """The command: 0 when the name is known, 2 when it is not."""
    parser = argparse.ArgumentParser(
        prog="ipcx explain",
        description="What an error means, its usual causes, the cure, and a smallest program.",
        epilog="NAME: an exception (ipcx.PeerClosed, ConnectionRefusedError), an errno (EPIPE, 32) "
        "or an outcome of the C core (PEER_CLOSED). Without NAME: the list.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    options = parser.parse_args(argv)
    name: str | None = options.name
    found = rows() if name is None else find(name)
    if name is not None and not found:
        return _unknown(name)
    if options.json:
        print(json.dumps(found, indent=2))
    elif name is None:
        print(_list())
    elif len(found) > MANY:
        print(f"{name} may mean any of these; `ipcx explain` one of them:\n")
        width = max(len(_title(row)) for row in found)
        for row in found:
            print(f"  {_title(row):<{width}}  {row['what'] or row['text']}")
    else:
        print("\n\n".join(text_of(row) for row in found))
    return 0
