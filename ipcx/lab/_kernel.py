# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of processes: their descriptors, what they are connected to, what they
wait for, and the memory that they share.

All of it is read from /proc and by sock_diag(7), as `ss` does, without a right that the owner of
the processes has not got. Each look is at one moment: a process that runs has done something else
by then, and what cannot be read is left out.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ipcx import _procnet, _syncs

__all__ = [
    "Descriptor", "Process", "Segment", "Wait", "holders", "look", "other_ends", "parent",
]  # fmt: skip

MOST_BYTES = 4 << 20  # of a table of the kernel
TCP = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
    "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
)  # fmt: skip
UNSEEN = "a call that this system does not show"
UNIX = {1: "STREAM", 2: "DGRAM", 5: "SEQPACKET"}

# Calls that wait, by their numbers: what they do, and whether their first argument is a descriptor.
_CALLS: dict[str, dict[int, tuple[str, bool]]] = {
    "x86_64": {
        0: ("read", True), 1: ("write", True), 7: ("poll", False), 19: ("read", True),
        20: ("write", True), 23: ("select", False), 42: ("connect", True), 43: ("accept", True),
        44: ("send", True), 45: ("recv", True), 46: ("send", True), 47: ("recv", True),
        61: ("wait", False), 72: ("lock", True), 73: ("lock", True), 128: ("signal", False),
        202: ("futex", False), 230: ("sleep", False), 232: ("epoll", True), 247: ("wait", False),
        270: ("select", False), 271: ("poll", False), 281: ("epoll", True), 288: ("accept", True),
        34: ("signal", False), 130: ("signal", False), 35: ("sleep", False),
    },
    "aarch64": {
        63: ("read", True), 64: ("write", True), 65: ("read", True), 66: ("write", True),
        73: ("poll", False), 72: ("select", False), 203: ("connect", True), 202: ("accept", True),
        206: ("send", True), 207: ("recv", True), 211: ("send", True), 212: ("recv", True),
        260: ("wait", False), 25: ("lock", True), 32: ("lock", True), 137: ("signal", False),
        98: ("futex", False), 115: ("sleep", False), 22: ("epoll", True), 95: ("wait", False),
        242: ("accept", True), 133: ("signal", False), 101: ("sleep", False),
    },
}  # fmt: skip
_WRITES = ("write", "send")


class Descriptor(NamedTuple):
    """A descriptor of a process."""

    fd: int
    kind: str  # tcp, tcp6, udp, udp6, unix, pipe, file, memory, eventfd, epoll …
    what: str  # addresses, or a path
    state: str  # LISTEN, ESTABLISHED …; r, w or rw of pipes
    queues: str  # bytes not received yet, and not acknowledged yet
    inode: int


class Segment(NamedTuple):
    """Memory that a process shares."""

    name: str
    size: int
    access: str  # rw or r
    inode: int


class Wait(NamedTuple):
    """What a thread is waiting for."""

    call: str  # read, recv, accept, futex, wait …
    fds: tuple[int, ...]  # which descriptors
    writes: bool  # for room rather than for bytes
    address: int = 0  # of a futex
    pid: int = 0  # of the child that is waited for


class Process(NamedTuple):
    """A process at one moment."""

    pid: int
    name: str
    state: str  # runs, sleeps, zombie …
    descriptors: tuple[Descriptor, ...]
    segments: tuple[Segment, ...]
    waits: tuple[Wait, ...]


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


# ---- sockets


def _address(text: str) -> str:
    """An address of /proc/net, with its port."""
    host, _, port = text.partition(":")
    shown = _procnet.host_text(host)
    return f"[{shown}]:{int(port, 16)}" if ":" in shown else f"{shown}:{int(port, 16)}"


def _sockets(pid: int) -> dict[int, tuple[str, str, str, str]]:
    """Inode → kind, addresses, state, queues: of the network namespace of a process."""
    found: dict[int, tuple[str, str, str, str]] = {}
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in _procnet.table(f"/proc/{pid}/net/{kind}", MOST_BYTES):
            with contextlib.suppress(ValueError, IndexError):
                words = line.split()
                local, peer = _address(words[1]), _address(words[2])
                number = int(words[3], 16)
                state = TCP[number] if kind.startswith("tcp") and number < len(TCP) else ""
                out, _, into = words[4].partition(":")
                queues = f"{int(into, 16)} / {int(out, 16)}"
                connected = int(peer.rpartition(":")[2]) != 0
                where = f"{local} → {peer}" if connected else local
                found[int(words[9])] = (kind, where, state, queues)
    for line in _procnet.table(f"/proc/{pid}/net/unix", MOST_BYTES):
        with contextlib.suppress(ValueError, IndexError):
            words = line.split(None, 7)
            flags, which, way = int(words[3], 16), int(words[4], 16), int(words[5], 16)
            listens = bool(flags & _procnet.ACCEPTS)
            how = "LISTEN" if listens else "CONNECTED" if way == 3 else "UNCONNECTED"
            path = words[7] if len(words) > 7 else ""
            found[int(words[6])] = ("unix", path, f"{UNIX.get(which, '?')} {how}", "")
    return found


def _peers_of_unix() -> dict[int, int]:
    """Inode → inode of the other end, of connected Unix sockets, as the kernel tells by netlink."""
    found: dict[int, int] = {}
    with contextlib.suppress(OSError, struct.error):
        asker = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4)
        with asker:
            asker.settimeout(1)
            # struct unix_diag_req: family, states, show the peers (unix_diag(7))
            ask = struct.pack("=BBHIIIQ", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, 4, 0)
            asker.sendto(struct.pack("=IHHII", 16 + len(ask), 20, 0x301, 1, 0) + ask, (0, 0))
            more = True
            while more:
                more = _take(asker.recv(1 << 16), found)
    return found


def _take(answer: bytes, found: dict[int, int]) -> bool:
    """Reads what netlink(7) has answered; False: that was the last of it."""
    at = 0
    while at + 16 <= len(answer):
        size, kind = struct.unpack_from("=IH", answer, at)
        if kind in (2, 3) or size < 16:  # an error, or the end
            return False
        inode = struct.unpack_from("=I", answer, at + 20)[0]
        extra = at + 32
        while extra + 4 <= at + size:
            length, which = struct.unpack_from("=HH", answer, extra)
            if length < 4:
                break
            if which == 2:  # UNIX_DIAG_PEER
                found[inode] = struct.unpack_from("=I", answer, extra + 4)[0]
            extra += (length + 3) & ~3
        at += (size + 3) & ~3
    return True


# ---- one process


def _known_name(path: str, inode: int) -> str:
    """The path; of an object of ipcx.sync by its name."""
    folder, _, name = path.rpartition("/")
    if folder.endswith("/sync") and name.startswith("#"):
        return f"{folder}/{_sync_name(inode) or name}"
    return path


def _descriptors(pid: int) -> Iterator[Descriptor]:
    sockets = _sockets(pid)
    try:
        names = sorted(os.listdir(f"/proc/{pid}/fd"), key=int)
    except OSError:
        return
    for name in names:
        path = f"/proc/{pid}/fd/{name}"
        try:
            link, mode = os.readlink(path), os.lstat(path).st_mode
        except OSError:
            continue
        way = ("r" if mode & 0o400 else "") + ("w" if mode & 0o200 else "")
        kind, _, rest = link.partition(":")
        inode = int(rest[1:-1]) if rest.startswith("[") and rest[1:-1].isdigit() else 0
        if kind == "socket":
            unknown = ("socket", "", "", "")
            found = sockets.get(inode, unknown)
            yield Descriptor(int(name), *found, inode)
        elif kind == "pipe":
            yield Descriptor(int(name), "pipe", f"pipe {inode}", way, "", inode)
        elif kind == "anon_inode":
            yield Descriptor(int(name), rest.strip("[]"), "", "", "", 0)
        else:
            memory = link.startswith(("/memfd:", "/dev/shm/"))
            with contextlib.suppress(OSError):
                inode = os.stat(path).st_ino
            # A FIFO of the file system is a pipe with a name.
            named = False
            with contextlib.suppress(OSError):
                named = os.stat(path).st_mode & 0o170000 == 0o010000
            kind = "pipe" if named else "memory" if memory else "file"
            what = _known_name(link.removesuffix(" (deleted)"), inode)
            yield Descriptor(int(name), kind, what, way, "", inode)


def _segments(pid: int) -> Iterator[Segment]:
    sizes: dict[tuple[str, int], tuple[int, str]] = {}
    for line in _read(f"/proc/{pid}/maps").splitlines():
        words = line.split(None, 5)
        if len(words) < 6 or words[1][3:4] != "s":
            continue
        start, _, end = words[0].partition("-")
        key = (words[5].removesuffix(" (deleted)"), int(words[4]))
        size = sizes.get(key, (0, ""))[0] + int(end, 16) - int(start, 16)
        sizes[key] = (size, words[1][:2].replace("-", ""))
    for (name, inode), (size, access) in sizes.items():
        yield Segment(_known_name(name, inode), size, access, inode)


def _memory(pid: int, address: int, size: int) -> bytes:
    """Bytes of another process's memory; b"" where this is not allowed."""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            file.seek(address)
            return file.read(size)
    except (OSError, ValueError, OverflowError):
        return b""


def _wait(pid: int, task: str) -> Wait | None:
    words = _read(f"/proc/{pid}/task/{task}/syscall").split()
    if not words and os.path.exists(f"/proc/{pid}/task/{task}"):
        return Wait(UNSEEN, (), False)  # kernel.yama.ptrace_scope, for one
    if len(words) < 7 or not words[0].isdigit():
        return None  # it runs
    known = _CALLS.get(platform.machine(), {}).get(int(words[0]))
    if known is None:
        return None
    call, takes_fd = known
    one, two = (int(word, 16) for word in words[1:3])
    if call == "lock" and int(words[0]) in (72, 25) and two not in (7, 38):
        return None  # a fcntl(2) that is no F_SETLKW, F_OFD_SETLKW
    if call == "epoll":
        lines = _read(f"/proc/{pid}/fdinfo/{one}").splitlines()
        watched = [line.split() for line in lines if line.startswith("tfd:")]
        return Wait("poll", tuple(int(line[1]) for line in watched), False)
    if call == "poll":
        raw = _memory(pid, one, 8 * min(two, 64))
        polled = list(struct.iter_unpack("=ihh", raw[: len(raw) // 8 * 8]))
        writes = bool(polled) and all(events & 5 == 4 for _, events, _ in polled)
        return Wait("poll", tuple(fd for fd, _, _ in polled if fd >= 0), writes)
    if call == "select":
        raw = _memory(pid, two, (min(one, 1024) + 7) // 8) if two else b""
        bits = int.from_bytes(raw, "little")
        return Wait("poll", tuple(fd for fd in range(min(one, 1024)) if bits >> fd & 1), False)
    if call == "futex":
        return Wait("futex", (), False, address=one)
    if call == "wait":
        child = one if int(words[0]) in (61, 260) else two
        return Wait("wait", (), False, pid=child if child < 1 << 31 else 0)
    return Wait(call, (one,) if takes_fd else (), call in _WRITES)


def _waits(pid: int) -> Iterator[Wait]:
    try:
        tasks = sorted(os.listdir(f"/proc/{pid}/task"), key=int)
    except OSError:
        return
    for task in tasks:
        wait = _wait(pid, task)
        if wait is not None:
            yield wait


_STATES = {"R": "runs", "S": "sleeps", "D": "waits for a disk", "Z": "zombie", "T": "stopped"}


def _state(pid: int) -> str:
    text = _read(f"/proc/{pid}/stat")
    letter = text[text.rfind(")") + 2 :][:1]
    return _STATES.get(letter, letter) or "ended"


def parent(pid: int) -> int:
    """Who has started it; 0: it has ended."""
    text = _read(f"/proc/{pid}/stat")
    return int(text[text.rfind(")") + 2 :].split()[1]) if text else 0


def look(processes: Iterable[tuple[int, str]]) -> list[Process]:
    """The processes (pid, name) as they are now."""
    return [
        Process(
            pid,
            name,
            _state(pid),
            tuple(_descriptors(pid)),
            tuple(_segments(pid)),
            tuple(_waits(pid)),
        )
        for pid, name in processes
    ]


# ---- who is at the other end

Place = tuple[int, int]  # pid and descriptor


def other_ends(processes: Iterable[Process]) -> dict[Place, list[Place]]:
    """Of each descriptor those of the same processes that are at the other end of it."""
    unix = _peers_of_unix()
    all_of_them = [(one.pid, fd) for one in processes for fd in one.descriptors]
    by_inode: dict[int, list[tuple[int, Descriptor]]] = {}
    by_name: dict[tuple[str, str], list[Place]] = {}
    for pid, fd in all_of_them:
        if fd.inode:
            by_inode.setdefault(fd.inode, []).append((pid, fd))
        if fd.kind[:3] in ("tcp", "udp"):
            by_name.setdefault((fd.kind, fd.what), []).append((pid, fd.fd))
    found: dict[Place, list[Place]] = {}
    for pid, fd in all_of_them:
        ends: list[Place] = []
        if fd.kind == "unix" and unix.get(fd.inode):
            ends = [(owner, one.fd) for owner, one in by_inode.get(unix[fd.inode], ())]
        elif fd.kind == "pipe":
            ends = [
                (owner, one.fd)
                for owner, one in by_inode.get(fd.inode, ())
                if one.state != fd.state or "rw" in (one.state, fd.state)
            ]
        elif fd.kind[:3] in ("tcp", "udp") and " → " in fd.what:
            local, _, peer = fd.what.partition(" → ")
            ends = list(by_name.get((fd.kind, f"{peer} → {local}"), ()))
            if not ends and fd.kind.startswith("udp"):
                ends = list(by_name.get((fd.kind, peer), ()))
        if ends:
            found[pid, fd.fd] = ends
    return found


def holders(process: Process, wait: Wait) -> tuple[str, list[int]]:
    """What a lock that is waited for is called, and the pids that have it."""
    if wait.call == "lock":
        fd = next((one for one in process.descriptors if one.fd in wait.fds), None)
        if fd is None:
            return "a file's lock", []
        rows = [line.split() for line in _read("/proc/locks").splitlines() if "->" not in line]
        pids = [int(row[4]) for row in rows if row[-3].endswith(f":{fd.inode}")]
        return f"the lock of {fd.what}", [pid for pid in pids if pid > 0]
    for line in _read(f"/proc/{process.pid}/maps").splitlines():
        words = line.split(None, 5)
        start, _, end = words[0].partition("-")
        if int(start, 16) <= wait.address < int(end, 16):
            return _sync_holders(process.pid, int(start, 16), words)
    return "", []


def _sync_name(inode: int) -> str:
    """A name of ipcx.sync: the file was made without one, so the kernel knows another."""
    with contextlib.suppress(OSError), os.scandir(_syncs.folder()) as entries:
        return next((entry.name for entry in entries if entry.inode() == inode), "")
    return ""


_KINDS = ("", "Mutex", "Semaphore", "RWLock", "Condition", "Event", "Barrier")


def _sync_holders(pid: int, start: int, words: list[str]) -> tuple[str, list[int]]:
    """Of an object of ipcx.sync (csrc/os/sync/parts.h): the holder of its word, and the shares."""
    memory = _memory(pid, start, 8192)
    if len(memory) < 8192 or struct.unpack_from("=I", memory)[0] != 0x53637069:
        return "", []
    kind = struct.unpack_from("=I", memory, 8)[0]
    word = struct.unpack_from("=I", memory, 64)[0] & 0xFFFF
    name = _sync_name(int(words[4])) if len(words) > 5 and "/sync/" in words[5] else ""
    title = (_KINDS[kind] if kind < len(_KINDS) else "lock") + (f" {name!r}" if name else "")
    places = [struct.unpack_from("=II", memory, 512 + 16 * i) for i in range(480)]
    if 0 < word <= len(places) and kind in (1, 3):
        return title, [places[word - 1][0]]
    if kind in (2, 3):
        return title, [owner for owner, share in places if owner and share]
    return title, []
