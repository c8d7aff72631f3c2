# SPDX-License-Identifier: Apache-2.0
"""Free ports for programs that have theirs written in them, and who listens where.

The tour runs a copy of each program in which the port's number is another one, as `sed` would write
it; docs/adr/0002-tour-ports.md says why.
"""

import random
import re
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

from ipcx import _procnet


def free_port(taken: Collection[int]) -> int:
    """A port that nobody uses now, below the range the kernel gives to clients (from 32768 up)."""
    for port in random.sample(range(20_000, 32_000), 200):
        if port not in taken and _is_free(port):
            return port
    raise OSError("no free port between 20000 and 31999")


def _is_free(port: int) -> bool:
    # Without SO_REUSEADDR: a port in TIME_WAIT is of no use to the lecture's servers.
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True


def renumbered(source: str, ports: Mapping[int, int]) -> str:
    """The program with each port's number, where it stands alone, replaced."""
    if not ports:
        return source
    numbers = "|".join(map(str, ports))
    return re.sub(rf"\b(?:{numbers})\b", lambda m: str(ports[int(m[0])]), source)


def listens(port: int) -> bool:
    """Whether a TCP socket of this machine listens on the port. Asking costs no connection, which
    matters: the lecture's server accepts just one."""
    entries = _procnet.entries("tcp")
    return any(entry.port == port and entry.state == _procnet.LISTEN for entry in entries)


def receives(port: int) -> bool:
    """Whether a UDP socket of this machine is bound to the port."""
    return any(entry.port == port for entry in _procnet.entries("udp"))


def lacks_proc_net() -> str | None:
    """A need of every station that waits for a listener."""
    if Path("/proc/net/tcp").exists():
        return None
    return "/proc/net/tcp cannot be read here, so nobody can see when a server is ready"
