# SPDX-License-Identifier: Apache-2.0
"""``ipcx ls``, ``ipcx gc`` and ``ipcx rm``: the shared memory and the named pipes on this machine.

Invariant: what is alive is never touched, and neither is what ipcx has not made.
"""

import argparse
import json
import os
import pwd
import stat
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ipcx import _channels, _fifos, _ledger, _syncs

ALIVE, LEFT, KEPT, FOREIGN = "alive", "left", "kept", "foreign"
MEANING = {
    ALIVE: "its maker runs",
    LEFT: "its maker is dead",
    KEPT: "made to stay",
    FOREIGN: "not made by ipcx",
}


@dataclass(frozen=True)
class Segment:
    """One name in /dev/shm."""

    name: str
    size: int
    memory: int  # bytes it takes now
    user: str
    since: float  # seconds since the epoch
    pid: int | None  # who made it, where that is known
    state: str
    in_use: bool  # somebody holds ipcx's lock on it

    def as_json(self) -> dict[str, object]:
        return {"kind": "segment", **asdict(self)}


def _locked() -> set[tuple[int, int, int]]:
    """Device (two numbers) and inode of every file that somebody has locked."""
    found = set()
    try:
        with open("/proc/locks") as lines:
            for line in lines:
                words = line.split()
                if "FLOCK" in words and "->" not in words:
                    major, minor, inode = words[-3].split(":")
                    found.add((int(major, 16), int(minor, 16), int(inode)))
    except (OSError, ValueError, IndexError):
        pass  # then nobody is known to use anything; what is removed is locked first all the same
    return found


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _known() -> dict[tuple[int, int], tuple[str, int | None, _ledger.Entry]]:
    """Device and inode → state, maker, entry, of all that stands in this user's ledgers."""
    known = {}
    for ledger in _ledger.ledgers():
        state = KEPT if ledger.pid is None else ALIVE if ledger.alive else LEFT
        for entry in ledger.entries:
            known[entry.device, entry.inode] = (state, ledger.pid, entry)
    return known


def segments() -> list[Segment]:
    """All there are, by name."""
    known, locked, found = _known(), _locked(), []
    try:
        names = sorted(os.listdir(_ledger.SHM))
    except FileNotFoundError:
        return []
    for name in names:
        try:
            seen = os.lstat(f"{_ledger.SHM}/{name}")
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(seen.st_mode):
            continue
        state, pid, entry = known.get((seen.st_dev, seen.st_ino), (FOREIGN, None, None))
        found.append(
            Segment(
                name=name,
                size=seen.st_size,
                memory=seen.st_blocks * 512,
                user=_user(seen.st_uid),
                since=seen.st_mtime if entry is None else entry.since,
                pid=pid,
                state=state,
                in_use=(os.major(seen.st_dev), os.minor(seen.st_dev), seen.st_ino) in locked,
            )
        )
    return found


def _aligned(lines: list[tuple[str, ...]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _when(since: float | None) -> str:
    return "-" if since is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))


def _channel_table(rows: list[_channels.Channel]) -> str:
    """The channels there are; who is at their ends says who uses them."""
    cells: list[tuple[str, ...]] = [("channel", "ring", "memory", "since", "ends", "messages")]
    for row in rows:
        ends = " - ".join("unused" if end.pid is None else f"pid {end.pid}" for end in row.ends)
        sent = " / ".join(str(end.sent) for end in row.ends)
        url = ascii(row.url)[1:-1]
        cells.append((url, str(row.ring), str(row.memory), _when(row.since), ends, sent))
    return _aligned(cells)


def _table(rows: list[Segment]) -> str:
    if not rows:
        return f"No segments in {_ledger.SHM}."
    head = ("name", "size", "memory", "user", "since", "made by", "state")
    cells: list[tuple[str, ...]] = [head]
    for row in rows:
        since = _when(row.since)
        maker = "-" if row.pid is None else f"pid {row.pid}"
        use = ", in use" if row.in_use else ""
        name = ascii(row.name)[1:-1]  # a name may hold anything, escapes for a terminal too
        state = f"{row.state}: {MEANING[row.state]}{use}"
        cells.append((name, str(row.size), str(row.memory), row.user, since, maker, state))
    return _aligned(cells)


def _sync_table(rows: list[_syncs.Named]) -> str:
    """The named locks and semaphores there are."""
    cells: list[tuple[str, ...]] = [
        ("sync", "type", "memory", "since", "held by", "value", "state")
    ]
    for row in rows:
        holder = "-" if row.pid is None else f"pid {row.pid}"
        value = "-" if row.value is None else str(row.value)
        name = ascii(row.name)[1:-1]
        cells.append((name, row.type, str(row.memory), _when(row.since), holder, value, row.state))
    return _aligned(cells)


def _fifo_table(rows: list[_fifos.Fifo]) -> str:
    """The named pipes that somebody listens at, or has listened at when he was killed."""

    def pids(given: tuple[int, ...]) -> str:
        return ", ".join(f"pid {pid}" for pid in given) or "-"

    cells: list[tuple[str, ...]] = [
        ("named pipe", "since", "listens", "writes", "waits for a listener", "state")
    ]
    for row in rows:
        url = ascii(f"fifo://{row.path}")[1:-1]
        listener = "-" if row.pid is None else f"pid {row.pid}"
        cells.append(
            (url, _when(row.since), listener, pids(row.writers), pids(row.waiting), row.state)
        )
    return _aligned(cells)


def _parser(name: str, text: str, epilog: str = "") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"ipcx {name}", description=text, epilog=epilog)
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    return parser


def main_ls(argv: Sequence[str] | None = None) -> int:
    """The command ``ipcx ls``."""
    options = _parser(
        "ls",
        "The segments of shared memory on this machine: whose they are, since when, and who "
        "still uses them; your named locks and semaphores, with who has them; the shm:// "
        "channels of your processes, with who is at their ends; and the named pipes of fifo://, "
        "with who listens and who writes.",
        "A segment that is left goes with the next one that is made, or with `ipcx gc`; one that "
        "was kept, with `ipcx rm`. What ipcx has not made is listed and never removed.",
    ).parse_args(argv)
    rows, syncs = segments(), _syncs.named()
    channels, fifos = _channels.channels(), _fifos.fifos()
    if options.json:
        told = [row.as_json() for row in rows]
        told += [row.as_json() for row in syncs]
        told += [channel.as_json() for channel in channels]
        told += [fifo.as_json() for fifo in fifos]
        print(json.dumps(told, indent=2))
        return 0
    print(_table(rows))
    if syncs:
        print()
        print(_sync_table(syncs))
    if channels:
        print()
        print(_channel_table(channels))
    if fifos:
        print()
        print(_fifo_table(fifos))
    return 0


def main_gc(argv: Sequence[str] | None = None) -> int:
    """The command ``ipcx gc``."""
    options = _parser(
        "gc",
        "Removes the segments, locks, semaphores and fifo:// pipes that dead processes of yours "
        "have left and nobody uses. What is alive, kept, or not made by ipcx stays.",
    ).parse_args(argv)
    removed = sorted(entry.name for entry in _ledger.sweep()) + _syncs.sweep() + _fifos.sweep()
    stayed = [row for row in segments() if row.state == LEFT]
    if options.json:
        told = [{"name": row.name, "why": "in use"} for row in stayed]
        print(json.dumps({"removed": removed, "stayed": told}, indent=2))
        return 0
    for name in removed:
        print(f"removed {ascii(name)[1:-1]}")
    for row in stayed:
        print(f"{ascii(row.name)[1:-1]} stays: its maker is dead, but somebody uses it")
    if not removed and not stayed:
        print("Nothing was left behind.")
    return 0


def _why_not(name: str, rows: dict[str, Segment]) -> str:
    """Why it is not removed; "" when it has been."""
    row = rows.get(name)
    if row is None:
        why = _fifos.remove(name) if "/" in name else _syncs.remove(name)
        return "there is no such segment, lock, semaphore or fifo:// pipe" if why is None else why
    if row.state == FOREIGN:
        return "it was not made by ipcx"
    if row.state == ALIVE:
        return f"process {row.pid}, which made it, is alive"
    for state, _, entry in _known().values():
        if entry.name == name and state == row.state:
            if _ledger.remove(entry, only_unused=True) == _ledger.USED:
                return "somebody uses it"
            _ledger.forget(entry)
    return ""


def main_rm(argv: Sequence[str] | None = None) -> int:
    """The command ``ipcx rm``: 0 when all of them are gone, else 1."""
    parser = _parser(
        "rm",
        "Removes segments, locks, semaphores and pipes (/PATH or fifo:///PATH) that ipcx has made "
        "and nobody uses: such as were made to stay (persist=True), or were left behind.",
    )
    parser.add_argument("name", nargs="+", metavar="NAME")
    options = parser.parse_args(argv)
    rows = {row.name: row for row in segments()}
    told = {name: _why_not(name, rows) for name in dict.fromkeys(options.name)}
    stayed = {name: why for name, why in told.items() if why}
    if options.json:
        removed = [name for name, why in told.items() if not why]
        whys = [{"name": name, "why": why} for name, why in stayed.items()]
        print(json.dumps({"removed": removed, "stayed": whys}, indent=2))
        return 1 if stayed else 0
    for name, why in told.items():
        if why:
            print(f"ipcx rm: {ascii(name)[1:-1]}: {why}", file=sys.stderr)
        else:
            print(f"removed {ascii(name)[1:-1]}")
    return 1 if stayed else 0
