# SPDX-License-Identifier: Apache-2.0
"""Ports, names and paths that are free, so that running all cells twice in a row works."""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import threading

from ipcx import _procnet, socket
from ipcx.lab import _home

__all__: list[str] = []

_LOWEST, _HIGHEST = 10_000, 32_000  # below those that the kernel gives to clients by itself
_lock = threading.Lock()
_ports: dict[str, int] = {}
_serial = itertools.count(1)


def port(name: str = "server") -> int:
    """A port that is free for TCP and UDP, and the same each time for the same `name`.

    It stays the same for as long as it can be used; when a stranger has taken it meanwhile, there
    is a new one. The cells' processes may bind it again at once after its last user has ended:
    SO_REUSEADDR is set for these ports (see the guide on notebooks).
    """
    with _lock:
        number = _ports.get(name)
        if number is None or not (_free(number) or _ours(number)):
            others = set(_ports.values())
            number = next(n for n in _candidates() if n not in others and _free(n))
            _ports[name] = number
        return number


def known_ports() -> list[int]:
    with _lock:
        return list(_ports.values())


def _candidates() -> list[int]:
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            lowest = int(file.read().split()[0])
    except (OSError, ValueError):
        lowest = 32768
    highest = min(_HIGHEST, lowest) if lowest > _LOWEST + 1000 else _HIGHEST
    return random.sample(range(_LOWEST, highest), min(1000, highest - _LOWEST))


def _free(number: int) -> bool:
    for family, host in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                with socket.socket(family, kind) as probe:
                    if kind == socket.SOCK_STREAM:  # connections that have ended do not matter
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind((host, number))
                    if kind == socket.SOCK_STREAM:
                        probe.listen(1)
            except OSError as error:
                absent = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
                if family == socket.AF_INET6 and error.errno in absent:
                    continue  # no IPv6 here
                return False
    return True


def _ours(number: int) -> bool:
    """Whether a process of this lab, or this process, holds it."""
    from ipcx.lab import _processes

    pids = {os.getpid(), *_processes.lab_pids()}
    for protocol in ("tcp", "udp"):
        for entry in _procnet.entries(protocol):
            if entry.port == number and entry.inode:
                holder = _procnet.holder_of(entry.inode)
                if holder is not None and holder.pid in pids:
                    return True
    return False


def name(word: str = "name") -> str:
    """A fresh name without a slash, another one each time: for semaphores, segments, queues."""
    return f"ipcx-lab-{os.getpid()}-{next(_serial)}-{_clean(word)}"


def path(word: str = "file") -> str:
    """A fresh path, another one each time, in a folder that goes with this process: for FIFOs,
    Unix-domain sockets, files. Nothing is there yet."""
    return f"{_home.folder()}/{next(_serial)}-{_clean(word)}"


def _clean(word: str) -> str:
    cleaned = re.sub(r"[^\w.-]", "-", word)[:40].lstrip("-.")
    if not cleaned:
        raise ValueError(f"a name needs a letter or a digit: {word!r}")
    return cleaned
