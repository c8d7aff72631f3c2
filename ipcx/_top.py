# SPDX-License-Identifier: Apache-2.0
"""``ipcx top``: what passes, second by second, as a table.

A *source* is where numbers come from: a server that is asked over its URL (`ipcx._ask`), or what
is on this machine. It names its columns and is read once an interval; rates are the difference of
two readings, taken here. `LOCAL` names the source of ``ipcx top`` without a URL.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import NamedTuple, Protocol

from ipcx._numbers import short
from ipcx._terminal import Terminal

__all__ = ["Column", "Reading", "Source", "main"]

LOCAL = "ipcx._channels:source"  # "module:function", which returns a Source; "": there is none


class Column(NamedTuple):
    """One number of each row."""

    title: str
    key: str  # in Reading.values
    rate: bool = False  # a counter, shown as so many a second; else as it is
    bytes: bool = False  # in KiB, MiB …


@dataclass(frozen=True)
class Reading:
    """What one thing has counted, at one moment."""

    name: str
    values: Mapping[str, int]
    trouble: str = ""  # why there are no values
    at: float = field(default_factory=time.monotonic)


class Source(Protocol):
    """Where readings come from."""

    @property
    def columns(self) -> Sequence[Column]:
        """What is shown of each."""
        raise NotImplementedError

    def read(self) -> list[Reading]:
        """One for each thing there is now; its name is the same each time."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is read any more."""


_Row = tuple[Reading, dict[str, float]]  # and what is shown of it, by column


# ---- numbers


def _rates(source: Source, old: Reading | None, new: Reading) -> dict[str, float]:
    """The columns' numbers: counters by the second, since `old`."""
    seconds = new.at - old.at if old is not None else 0.0
    found: dict[str, float] = {}
    for column in source.columns:
        value = new.values.get(column.key)
        if value is None:
            continue
        if not column.rate:
            found[column.key] = value
        elif old is not None and seconds > 0 and column.key in old.values:
            # Less than before: it is another one by the same name, and counts from 0.
            more = value - old.values[column.key]
            found[column.key] = (more if more >= 0 else value) / seconds
    return found


def _cell(column: Column, value: float | None) -> str:
    return "-" if value is None else short(value, column.bytes)


def _table(columns: Sequence[Column], rows: list[_Row], width: int) -> list[str]:
    """Lines of at most `width` characters; the name goes last, where it may be cut."""
    titles = [column.title + ("/s" if column.rate else "") for column in columns]
    lines = [(titles, "")]
    for reading, numbers in rows:
        cells = [_cell(column, numbers.get(column.key)) for column in columns]
        trouble = f"  ({reading.trouble})" if reading.trouble else ""
        lines.append((cells, ascii(reading.name)[1:-1] + trouble))
    widths = [max(len(cells[i]) for cells, _ in lines) for i in range(len(titles))]
    return [
        ("  ".join(cell.rjust(n) for cell, n in zip(cells, widths, strict=True)) + "  " + name)
        .rstrip()[:width]
        for cells, name in lines
    ]  # fmt: skip


def _as_json(source: Source, reading: Reading, numbers: dict[str, float]) -> str:
    told: dict[str, object] = {"name": reading.name}
    if reading.trouble:
        told["trouble"] = reading.trouble
    told |= reading.values
    for column in source.columns:
        if column.rate and column.key in numbers:
            told[f"{column.key}_per_second"] = round(numbers[column.key], 3)
    return json.dumps(told)


# ---- what is shown


class _Display:
    """Prints a round of readings, and knows the round before."""

    def __init__(self, sources: Sequence[Source], as_json: bool, once: bool) -> None:
        self.sources, self.as_json, self.once = sources, as_json, once
        self.before: dict[tuple[int, str], Reading] = {}
        self.rounds = 0
        self.screen = Terminal(sys.stdout)
        self.live = self.screen.terminal and not as_json and not once

    def round(self) -> bool:
        """False: there was nothing but trouble."""
        fine = False
        screen: list[str] = []
        seen: dict[tuple[int, str], Reading] = {}
        for number, source in enumerate(self.sources):
            rows = []
            for reading in source.read():
                key = (number, reading.name)
                rows.append((reading, _rates(source, self.before.get(key), reading)))
                seen[key] = reading
                fine = fine or not reading.trouble
            screen += self._lines(source, rows)
        self.before = seen
        self.rounds += 1
        self._show(screen)
        return fine

    def _lines(self, source: Source, rows: list[_Row]) -> list[str]:
        if self.as_json:
            return [_as_json(source, reading, numbers) for reading, numbers in rows]
        columns = source.columns
        if self.once:  # one reading has no rates: what was counted so far
            columns = [column._replace(rate=False) for column in columns]
            rows = [(reading, dict(reading.values)) for reading, _ in rows]
        lines = _table(columns, rows, self.screen.columns)
        return lines if self.live or self.rounds == 0 else lines[1:]

    def _show(self, lines: list[str]) -> None:
        if self.live:
            self.screen.paint([*lines, "", time.strftime("%H:%M:%S") + "   Ctrl-C ends"])
        else:
            self.screen.write("".join(line + "\n" for line in lines))


# ---- the command


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError("an interval is 0.01 to 3600 seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    where = "" if not LOCAL else " Without a URL: what processes of this machine share."
    parser = argparse.ArgumentParser(
        prog="ipcx top",
        description="What passes at a running server (ipcx.server), second by second: the server "
        f"answers over its own URL.{where}",
        epilog="On a terminal the table stays where it is; elsewhere a line a second is written. "
        "A server answers its own user over unix://, and programs of the same host over tcp:// and "
        'tls://. For tls:// its certificate must be trusted: `python -c "import ssl; '
        "print(ssl.get_server_certificate(('127.0.0.1', 5000)))\" > lab.pem` fetches one that is "
        "self-signed.",
    )
    parser.add_argument(
        "url", metavar="URL", nargs="*" if LOCAL else "+", help="such as tcp://127.0.0.1:5000"
    )
    parser.add_argument("--once", action="store_true", help="what was counted so far, and end")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for programs")
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two readings"
    )
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help="the server's authkey; a newline at its end does not count",
    )
    parser.add_argument(
        "--ca-file", metavar="FILE", help="tls://: who signs the server's certificate (PEM)"
    )
    parser.add_argument(
        "--cert-file",
        metavar="FILE",
        help="tls://: a certificate and its key (PEM), for a server that requires one",
    )
    parser.add_argument("--count", type=int, metavar="N", help="end after so many readings")
    return parser


def _key(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read().removesuffix(b"\n")


def _sources(given: argparse.Namespace) -> list[Source]:
    if given.url:
        from ipcx._ask import Servers, Trust

        for path in filter(None, (given.ca_file, given.cert_file)):
            open(path, "rb").close()  # that it is not there is said once, and at once
        return [Servers(given.url, Trust(_key(given.key_file), given.ca_file, given.cert_file))]
    module, _, function = LOCAL.partition(":")
    return [getattr(import_module(module), function)()]


def _run(display: _Display, interval: float, count: int | None) -> int:
    if not display.round():
        return 1
    while count is None or display.rounds < count:
        time.sleep(interval)
        display.round()  # who is away may come back
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``ipcx top``; Ctrl-C is its end. 1: nothing could be read at the beginning."""
    arguments = _parser().parse_args(argv)
    count = 1 if arguments.once else arguments.count
    try:
        sources = _sources(arguments)
    except OSError as error:
        print(f"ipcx top: {error}", file=sys.stderr)
        return 1
    display = _Display(sources, arguments.json, arguments.once)
    try:
        return _run(display, arguments.interval, count)
    except KeyboardInterrupt:
        return 0
    finally:
        display.screen.settle()
        for source in sources:
            source.close()
