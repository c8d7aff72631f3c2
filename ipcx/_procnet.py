# SPDX-License-Identifier: Apache-2.0
"""Who holds an address: what the kernel lists in /proc/net, and the processes behind it.

Every look is bounded in bytes and in time, and answers with what it has: a note on an error is
worth a few milliseconds, never more. Sockets of other network namespaces are not listed.
"""

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from ipcx import socket

LISTEN, TIME_WAIT, CLOSE = 0x0A, 0x06, 0x07
ACCEPTS = 0x10000  # a flag of /proc/net/unix: listen() was called
MOST_BYTES = 2 << 20  # of a table: some 14 000 sockets
MOST_SECONDS = 0.1  # to look through /proc for a holder


class Entry(NamedTuple):
    """One socket of the kernel's tables."""

    protocol: str  # tcp, tcp6, udp, udp6
    host: str
    port: int
    state: int
    seconds: float  # until the timer ends: for TIME_WAIT, until the port is free
    uid: int
    inode: int


class Holder(NamedTuple):
    """A process that has a socket open, and its descriptor there."""

    pid: int
    command: str
    fd: int


def table(path: str, most_bytes: int = MOST_BYTES) -> list[str]:
    """The lines of a table of the kernel, without its head; none if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(most_bytes).decode("utf-8", "surrogateescape").splitlines()[1:]
    except OSError:
        return []


def host_text(text: str) -> str:
    """An address as /proc/net writes it: words of 32 bits, each in the machine's byte order."""
    words = bytes.fromhex(text)
    if len(words) == 4:
        return socket.inet_ntop(socket.AF_INET, words[::-1])
    swapped = b"".join(words[i : i + 4][::-1] for i in range(0, 16, 4))
    return socket.inet_ntop(socket.AF_INET6, swapped)


def _parse(protocol: str, line: str) -> Entry | None:
    try:
        fields = line.split()
        host, _, port = fields[1].partition(":")
        timer = int(fields[5].partition(":")[2], 16) / os.sysconf("SC_CLK_TCK")
        state, uid, inode = int(fields[3], 16), int(fields[7]), int(fields[9])
        return Entry(protocol, host_text(host), int(port, 16), state, timer, uid, inode)
    except (ValueError, IndexError):
        return None


def entries(protocol: str) -> list[Entry]:
    """The sockets of "tcp" or "udp", IPv4 and IPv6."""
    found = (
        _parse(name, line)
        for name in (protocol, protocol + "6")
        for line in table(f"/proc/net/{name}")
    )
    return [entry for entry in found if entry is not None]


def unix_inodes(path: str) -> list[int]:
    """The Unix sockets bound to *path* ("@name" for an abstract one)."""
    rows = (line.split(None, 7) for line in table("/proc/net/unix"))
    return [int(row[6]) for row in rows if len(row) == 8 and row[7] == path]


def _pids() -> Iterator[int]:
    me = os.getpid()
    yield me
    # The youngest first: what a person has just started is found before the system's own.
    yield from sorted(int(n) for n in os.listdir("/proc") if n.isdigit() and int(n) != me)[::-1]


def command_of(pid: int) -> str:
    """The command line of a process, cut to a readable length."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).rstrip(b"\0").split(b"\0")
    except OSError:
        return "?"
    text = " ".join(os.fsdecode(word) for word in words).replace("\n", " ")
    return text if len(text) <= 60 else text[:59] + "…"


def holder_of(inode: int) -> Holder | None:
    """The process that has the socket *inode* open; None if it cannot be seen (another user's)."""
    wanted = f"socket:[{inode}]"
    until = time.monotonic() + MOST_SECONDS
    for pid in _pids() if inode else ():
        if time.monotonic() > until:
            return None
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == wanted:
                    return Holder(pid, command_of(pid), int(fd))
        except OSError:  # ended meanwhile, or not ours to look into
            continue
    return None
