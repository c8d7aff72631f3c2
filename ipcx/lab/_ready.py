# SPDX-License-Identifier: Apache-2.0
"""Whether a process listens: seen in the kernel's tables, so any program of any language does."""

from __future__ import annotations

import os
import stat

from ipcx import _procnet

__all__: list[str] = []


def listens(pid: int) -> str:
    """In words what it, or a process it has started, listens on; "" while it does not."""
    for one in (pid, *_children(pid)):
        sockets, fifo = _open(one)
        if sockets:
            found = _tcp_or_udp(sockets) or _unix(sockets)
            if found:
                return found
        if fifo:
            return f"has the FIFO {fifo} open"
    return ""


def _children(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < 100:
        one = waiting.pop()
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as file:
                    waiting += (more := [int(word) for word in file.read().split()])
                    found += more
        except OSError:
            continue
    return found


def _open(pid: int) -> tuple[set[int], str]:
    """The inodes of its sockets, and the path of a FIFO."""
    sockets: set[int] = set()
    fifo = ""
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            link = f"/proc/{pid}/fd/{fd}"
            where = os.readlink(link)
            if where.startswith("socket:["):
                sockets.add(int(where[8:-1]))
            elif where.startswith("/") and stat.S_ISFIFO(os.stat(link).st_mode):
                fifo = where
    except OSError:  # it has ended, or has closed it meanwhile
        pass
    return sockets, fifo


def _tcp_or_udp(sockets: set[int]) -> str:
    for protocol, state in (("tcp", _procnet.LISTEN), ("udp", _procnet.CLOSE)):
        for entry in _procnet.entries(protocol):
            if entry.inode in sockets and entry.state == state and entry.port:
                host = f"[{entry.host}]" if ":" in entry.host else entry.host
                verb = "listens on" if protocol == "tcp" else "receives on"
                return f"{verb} {protocol} {host}:{entry.port}"
    return ""


def _unix(sockets: set[int]) -> str:
    for line in _procnet.table("/proc/net/unix"):
        row = line.split(None, 7)
        if len(row) < 7 or int(row[6]) not in sockets:
            continue
        where = row[7] if len(row) == 8 else ""
        if int(row[3], 16) & _procnet.ACCEPTS:
            return f"listens on unix {where}".rstrip()
        if int(row[4], 16) == 2 and where:  # SOCK_DGRAM, bound
            return f"receives on unix {where}"
    return ""
