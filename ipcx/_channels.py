# SPDX-License-Identifier: Apache-2.0
"""The ``shm://`` channels of this machine's processes, as others see them: for ``ls`` and ``top``.

A channel's memory has no name; it is found among the open descriptors of processes of the same
user and pid namespace. Invariant: it is read, and nothing else: what is alive is never touched.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ipcx import _core
from ipcx._top import Column, Reading

__all__ = ["Channel", "channels", "pids", "source"]

_COUNTS = (
    "sent", "sent_bytes", "send_waits", "received", "received_bytes", "receive_waits", "wakes",
    "most", "queued",
)  # fmt: skip


@dataclass(frozen=True)
class End:
    """What one end says of itself: nobody vouches for it."""

    pid: int | None  # who uses it; None: nobody yet
    since: float | None  # seconds since the epoch
    closed: bool
    sent: int
    sent_bytes: int
    send_waits: int
    received: int
    received_bytes: int
    receive_waits: int
    wakes: int  # how often it woke the other
    most: int  # bytes that waited for it at once
    queued: int  # bytes it has sent that still lie in the ring


@dataclass(frozen=True)
class Channel:
    """One channel and its two ends."""

    inode: int
    url: str
    ring: int  # bytes of address space, each way
    memory: int  # bytes it takes now
    holders: tuple[int, ...]  # pids of the processes that have it open
    ends: tuple[End, End]

    @property
    def since(self) -> float | None:
        """When it was first used."""
        return min((end.since for end in self.ends if end.since is not None), default=None)

    @property
    def name(self) -> str:
        """The URL and the processes at its ends; the same as long as it lives."""
        pids = " - ".join(str(end.pid) if end.pid is not None else "?" for end in self.ends)
        return f"{self.url}  {pids}  #{self.inode}"

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {"kind": "channel", **asdict(self), "since": self.since}


def pids() -> Iterator[int]:
    """Processes of our user and our pid namespace: a pid of another one would mean another."""
    own = os.readlink("/proc/self/ns/pid")
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):
                if (
                    os.stat(f"/proc/{name}").st_uid == os.geteuid()
                    and os.readlink(f"/proc/{name}/ns/pid") == own
                ):
                    yield int(name)


def _descriptors(pid: int) -> Iterator[str]:
    """The paths of those that a channel's memory may be behind."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{fd}"
            with contextlib.suppress(OSError):
                if os.readlink(path).startswith("/memfd:ipcx-shm"):
                    yield path


def _end(seen: dict[str, int]) -> End:
    counts = {name: seen[name] for name in _COUNTS}
    since = seen["since"] / 1e9 if seen["since"] else None
    return End(pid=seen["pid"] or None, since=since, closed=seen["bye"] != 0, **counts)


def _look(path: str) -> tuple[int, Channel] | None:
    """Device and inode in one number, and what is there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None  # closed meanwhile
    try:
        seen = _core._peek_channel(fd)
        info = os.fstat(fd)
    finally:
        os.close(fd)
    if seen is None:
        return None
    url, ring, one, two = seen
    memory = info.st_blocks * 512
    return info.st_ino, Channel(info.st_ino, url, ring, memory, (), (_end(one), _end(two)))


def channels() -> list[Channel]:
    """All that can be seen, the oldest first."""
    found: dict[int, Channel] = {}
    holders: dict[int, list[int]] = {}
    for pid in pids():
        for path in _descriptors(pid):
            seen = _look(path)
            if seen is not None:
                inode, channel = seen
                found[inode] = channel
                if pid not in holders.setdefault(inode, []):
                    holders[inode].append(pid)
    made = [
        Channel(one.inode, one.url, one.ring, one.memory, tuple(holders[inode]), one.ends)
        for inode, one in found.items()
    ]
    return sorted(made, key=lambda one: (one.since or 0.0, one.inode))


# ---- for `ipcx top`


class _Source:
    columns = (
        Column("messages", "messages", rate=True),
        Column("bytes", "bytes", rate=True, bytes=True),
        Column("waits", "waits", rate=True),
        Column("wakes", "wakes", rate=True),
        Column("queued", "queued", bytes=True),
        Column("most", "most", bytes=True),
        Column("memory", "memory", bytes=True),
    )

    def read(self) -> list[Reading]:
        """One for each channel."""
        return [
            Reading(
                one.name,
                {
                    "messages": sum(end.sent for end in one.ends),
                    "bytes": sum(end.sent_bytes for end in one.ends),
                    "waits": sum(end.send_waits + end.receive_waits for end in one.ends),
                    "wakes": sum(end.wakes for end in one.ends),
                    "queued": sum(end.queued for end in one.ends),
                    "most": max(end.most for end in one.ends),
                    "memory": one.memory,
                    "inode": one.inode,
                },
            )
            for one in channels()
        ]

    def close(self) -> None:
        """Nothing is kept open."""


def source() -> _Source:
    """What ``ipcx top`` shows without a URL."""
    return _Source()
