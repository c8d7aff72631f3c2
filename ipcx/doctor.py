# SPDX-License-Identifier: Apache-2.0
"""``ipcx doctor``: what of this machine matters to ipcx, each point found out by trying it.

`report` returns the findings by name; the names are stable, for ``--json`` and for exercises:
python, headers, compiler, core, fast_prefix, kernel, ipv4, ipv6, unix, abstract, seqpacket,
peercred, pass_fds, accept4, eventfd, memfd, pidfd, membarrier, rseq, cpus, nofile, processes,
signals, pipes, inotify, shm, memory, memlock, maps, backlog, tcp_buffers, socket_buffers, ports,
container, round_trip.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ipcx import _core, socket
from ipcx._install import install_hint

__all__ = ["CHECKS", "Check", "Finding", "main", "report", "to_do"]


class Finding(NamedTuple):
    """One point: whether it is as it should be (None: only told), what was found, what it means."""

    ok: bool | None
    value: Any
    text: str
    act: str = ""  # what to do, for a point that is needed and missing


class Check(NamedTuple):
    group: str
    needed: bool
    find: Callable[[], Finding]


CHECKS: dict[str, Check] = {}


def check(group: str, needed: bool = False) -> Callable[[Callable[[], Finding]], Any]:
    """Registers a function under its own name; the first line of output says what it found."""

    def register(find: Callable[[], Finding]) -> Callable[[], Finding]:
        CHECKS[find.__name__.strip("_")] = Check(group, needed, find)
        return find

    return register


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB" if size < 10 * 2**30 else f"{size / 2**30:.0f} GiB"


# --- Python and the build -------------------------------------------------------------------------


@check("Python", needed=True)
def python() -> Finding:
    import platform

    version, kind = platform.python_version(), platform.python_implementation()
    good = kind == "CPython" and sys.version_info >= (3, 11)
    act = "" if good else f"ipcx needs CPython 3.11 or newer; this is {kind} {version}."
    return Finding(good, {"implementation": kind, "version": version}, f"{kind} {version}", act)


@check("Python")
def headers() -> Finding:
    import sysconfig

    path = os.path.join(sysconfig.get_path("include"), "Python.h")
    if os.path.exists(path):
        return Finding(True, path, f"{path}: ipcx can be built here")
    return Finding(False, None, f"no {path}: needed only to build ipcx (Debian: python3-dev)")


@check("Python")
def compiler() -> Finding:
    import shlex
    import shutil
    import sysconfig

    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    name = next((word for word in shlex.split(command) if "=" not in word), "cc")
    path = shutil.which(name) or shutil.which("cc")
    if path:
        return Finding(True, path, f"{path}: ipcx can be built here")
    return Finding(False, None, f"no {name}: needed only to build ipcx (Debian: gcc)")


@check("Python", needed=True)
def core() -> Finding:
    path = _core.__file__
    return Finding(True, path, f"{path}: the C core (`{install_hint()}` installs ipcx elsewhere)")


@check("Python")
def fast_prefix() -> Finding:
    if _core.socket_prefix_trusted():
        return Finding(True, True, "descriptor and time-out are read in the socket object itself")
    return Finding(False, False, "they are read through methods: correct, but slower")


# --- the kernel -----------------------------------------------------------------------------------


@check("Kernel")
def kernel() -> Finding:
    system = os.uname()
    return Finding(None, system.release, f"{system.sysname} {system.release} on {system.machine}")


def _tried(attempt: Callable[[], Any], yes: str, no: str, act: str = "") -> Finding:
    """Tries *attempt*; what it raises is part of the answer, never of the outcome."""
    try:
        attempt()
    except (OSError, AttributeError, ValueError, ImportError) as error:
        return Finding(False, False, f"{no} ({error})", act)
    return Finding(True, True, yes)


def _bind(family: int, address: Any) -> None:
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind(address)
        server.listen()
        client.connect(server.getsockname())
        server.accept()[0].close()


def _pair(kind: int = socket.SOCK_STREAM) -> None:
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    with a, b:
        a.send(b"x")
        if b.recv(2) != b"x":
            raise OSError("the byte did not arrive")


@check("Kernel", needed=True)
def ipv4() -> Finding:
    return _tried(
        lambda: _bind(socket.AF_INET, ("127.0.0.1", 0)),
        "TCP over 127.0.0.1 works",
        "no TCP over 127.0.0.1",
        "Bring the loopback interface up: `ip link set lo up`.",
    )


@check("Kernel")
def ipv6() -> Finding:
    return _tried(
        lambda: _bind(socket.AF_INET6, ("::1", 0)),
        "TCP over ::1 works",
        "no IPv6 on the loopback: use 127.0.0.1",
    )


@check("Kernel", needed=True)
def unix() -> Finding:
    return _tried(
        _pair,
        "Unix sockets work: the fastest stream between two processes of one machine",
        "no Unix sockets",
        "Allow AF_UNIX sockets in this sandbox: ipcx cannot do without them.",
    )


@check("Kernel")
def abstract() -> Finding:
    name = f"\0ipcx-doctor-{os.getpid()}-{os.urandom(4).hex()}"
    return _tried(
        lambda: _bind(socket.AF_UNIX, name),
        "abstract names work: addresses that leave no file behind",
        "no abstract names: give Unix sockets a path",
    )


@check("Kernel")
def seqpacket() -> Finding:
    return _tried(
        lambda: _pair(socket.SOCK_SEQPACKET),
        "SOCK_SEQPACKET works: connections that keep message boundaries",
        "no SOCK_SEQPACKET: use a stream and mark where messages end",
    )


@check("Kernel")
def peercred() -> Finding:
    def attempt() -> None:
        import struct

        a, b = socket.socketpair(socket.AF_UNIX)
        with a, b:
            pid, _, _ = struct.unpack("3i", a.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if pid != os.getpid():
            raise OSError(f"it names process {pid}")

    return _tried(
        attempt,
        "SO_PEERCRED tells which process and user is at the other end",
        "SO_PEERCRED does not work: the peer's user is not known",
    )


@check("Kernel")
def pass_fds() -> Finding:
    def attempt() -> None:
        a, b = socket.socketpair(socket.AF_UNIX)
        with a, b:
            socket.send_fds(a, [b"x"], [a.fileno()])
            for fd in socket.recv_fds(b, 1, 1)[1]:
                os.close(fd)

    return _tried(
        attempt,
        "descriptors can be passed between processes",
        "descriptors cannot be passed",
    )


def _call(name: str, *arguments: Any) -> int:
    """Calls a function of the C library; its errno as OSError."""
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    result = int(function(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@check("Kernel", needed=True)
def accept4() -> Finding:
    def attempt() -> None:
        import errno

        try:
            _call("accept4", -1, None, None, 0)
        except OSError as error:
            if error.errno != errno.EBADF:  # it looked at the descriptor: so it is there
                raise

    return _tried(
        attempt,
        "accept4: new sockets are never inherited by accident",
        "no accept4",
        "Allow the system call accept4 in this sandbox.",
    )


@check("Kernel", needed=True)
def eventfd() -> Finding:
    return _tried(
        lambda: os.close(os.eventfd(0, os.EFD_CLOEXEC)),
        "eventfd: one process can wake another through a descriptor",
        "no eventfd",
        "Allow the system call eventfd2 in this sandbox.",
    )


def _sealed() -> None:
    import fcntl

    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    fd = os.memfd_create("ipcx-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    finally:
        os.close(fd)


@check("Kernel")
def memfd() -> Finding:
    return _tried(
        _sealed,
        "memfd: shared memory without a name, gone with its last user",
        "no memfd: shared memory needs names in /dev/shm",
    )


@check("Kernel")
def pidfd() -> Finding:
    return _tried(
        lambda: os.close(os.pidfd_open(os.getpid())),
        "pidfd: the end of a process is seen at once, and never of the wrong one",
        "no pidfd: the end of a peer is seen by its sockets only",
    )


@check("Kernel")
def membarrier() -> Finding:
    import platform

    numbers = {"x86_64": 324, "aarch64": 283, "riscv64": 283}

    def attempt() -> None:
        number = numbers.get(platform.machine())
        if number is None:
            raise OSError(f"its number on {platform.machine()} is not known here")
        if not _call("syscall", number, 0, 0, 0) & 4:  # MEMBARRIER_CMD_GLOBAL_EXPEDITED, 1 << 2
            raise OSError("it has no expedited command")

    return _tried(
        attempt,
        "membarrier: the sender's fence can be left to the receiver",
        "no membarrier: each message costs a fence",
    )


@check("Kernel")
def rseq() -> Finding:
    def attempt() -> None:
        import ctypes

        if not ctypes.c_uint.in_dll(ctypes.CDLL(None), "__rseq_size").value:
            raise OSError("not registered by the C library")

    return _tried(
        attempt,
        "rseq: a thread reads in 1 ns on which CPU it runs",
        "no rseq: the CPU number costs a system call",
    )


# --- limits ---------------------------------------------------------------------------------------


def _quota() -> float | None:
    """CPUs' worth of time the cgroup grants; None for no limit, or none that can be seen."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        here = "/sys/fs/cgroup" + next(
            line[3:] for line in _read("/proc/self/cgroup").splitlines() if line[:3] == "0::"
        )
        while here.startswith("/sys/fs/cgroup"):
            if os.path.exists(f"{here}/cpu.max"):
                most, period = _read(f"{here}/cpu.max").split()
                if most != "max":
                    return int(most) / int(period)
            here = os.path.dirname(here.rstrip("/"))
    with contextlib.suppress(OSError, ValueError):
        most_us = int(_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
        if most_us > 0:
            return most_us / int(_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
    return None


@check("Limits")
def cpus() -> Finding:
    allowed, there, quota = len(os.sched_getaffinity(0)), os.cpu_count() or 1, _quota()
    value = {"there": there, "allowed": allowed, "quota": quota}
    text = f"{allowed} of {there} may be used"
    if quota is not None:
        text += f", with a quota of {quota:g} (cgroup)"
    if allowed == 1 or (quota is not None and quota < 2):
        return Finding(False, value, f"{text}: two processes take turns, spinning is of no use")
    return Finding(True, value, f"{text}: two processes can talk without a switch")


@check("Limits")
def nofile() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    value = {"soft": soft, "hard": hard}
    text = f"{soft} descriptors a process, to be raised up to {hard}"
    if 0 <= soft < 256:
        return Finding(False, value, f"{text}: few for a server; `ulimit -n {hard}` raises it")
    return Finding(True, value, text)


@check("Limits")
def processes() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    value = {"soft": soft, "hard": hard, "machine": None}
    with contextlib.suppress(OSError, ValueError):
        value["machine"] = int(_read("/proc/sys/kernel/pid_max"))
    machine = value["machine"]
    text = "as many processes and threads as the machine has numbers for"
    text += "" if machine is None else f": {machine}"
    if soft < 0:
        return Finding(True, value, text)
    text = f"{soft} processes and threads for this user, to be raised up to {hard}"
    if soft < 256:
        return Finding(False, value, f"{text}: few for ipcx.process; `ulimit -u {hard}` raises it")
    return Finding(True, value, text)


@check("Limits")
def signals() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_SIGPENDING)
    value = {"soft": soft, "hard": hard}
    if soft < 0:
        return Finding(True, value, "as many signals may queue as there is memory for")
    text = f"{soft} signals may queue for this user, to be raised up to {hard}"
    if soft < 1024:
        return Finding(False, value, f"{text}: few for ipcx.signals; `ulimit -i {hard}` raises it")
    return Finding(True, value, text)


@check("Limits")
def pipes() -> Finding:
    import fcntl

    reads, writes = os.pipe()
    try:
        value = {"holds": fcntl.fcntl(writes, fcntl.F_GETPIPE_SZ)}
    finally:
        os.close(reads)
        os.close(writes)
    for name in ("pipe-max-size", "pipe-user-pages-soft"):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/sys/fs/{name}") as file:
            value[name] = int(file.read())
    text = f"a new pipe holds {value['holds']} bytes"
    if "pipe-max-size" in value:
        text += f", to be raised up to {value['pipe-max-size']}"
    if value["holds"] < 65536:  # pipe(7): as much as is left when a user has very many
        return Finding(False, value, f"{text}: this user has too many pipes open")
    return Finding(True, value, text)


@check("Limits")
def inotify() -> Finding:
    value = {}
    for name in ("max_user_instances", "max_user_watches", "max_queued_events"):
        with (
            contextlib.suppress(OSError, ValueError),
            open(f"/proc/sys/fs/inotify/{name}") as file,
        ):
            value[name] = int(file.read())
    if len(value) < 3:
        return Finding(None, value, "inotify's limits cannot be read here")
    instances, watches, queued = value.values()
    text = (
        f"{instances} may watch or follow at a time for this user, {watches} folders in all; "
        f"{queued} changes queue"
    )
    return Finding(instances >= 16, value, text)


@check("Limits")
def shm() -> Finding:
    try:
        space = os.statvfs("/dev/shm")
    except OSError as error:
        return Finding(False, None, f"no /dev/shm ({error}): no named shared memory")
    size, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    text = f"/dev/shm has {_mib(size)}, {_mib(free)} free"
    if size <= 64 * 2**20:
        text += ": a container's default; start it with --shm-size=1g for more"
    return Finding(size > 64 * 2**20, {"size": size, "free": free}, text)


@check("Limits")
def memory() -> Finding:
    """A channel's memory is in no /dev/shm: the machine and the cgroup are its limits."""
    from ipcx.shared_memory import _available, _cgroup_left

    known = [left for left in (_available(), _cgroup_left()) if left is not None]
    left = min(known, default=None)
    if left is None:
        return Finding(None, None, "how much memory is left cannot be read here")
    text = f"{_mib(left)} left for shared memory, of this machine or its cgroup"
    if left < 64 * 2**20:
        text += ": little; what is asked for beyond it is refused (ResourceExhausted)"
    return Finding(left >= 64 * 2**20, {"left": left}, text)


@check("Limits")
def memlock() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    value = {"soft": soft, "hard": hard}
    told = "any amount of memory" if soft < 0 else f"{soft // 1024} KiB"
    return Finding(None, value, f"{told} may be locked (mlock); ipcx locks none of its own")


@check("Limits")
def maps() -> Finding:
    try:
        most = int(_read("/proc/sys/vm/max_map_count"))
        with open("/proc/self/maps") as lines:
            used = sum(1 for _ in lines)
    except (OSError, ValueError):
        return Finding(None, None, "the number of maps a process may have cannot be read here")
    channels = max(0, most - used) // 5  # the head, and each ring twice
    text = f"{most} maps a process: room for {channels} ends of shm:// channels"
    return Finding(channels >= 1000, {"most": most, "used": used}, text)


@check("Limits")
def backlog() -> Finding:
    most = int(_read("/proc/sys/net/core/somaxconn"))
    return Finding(most >= 128, most, f"listen() keeps up to {most} connections waiting")


@check("Limits")
def tcp_buffers() -> Finding:
    value = {}
    for name in ("tcp_rmem", "tcp_wmem"):
        least, default, most = map(int, _read(f"/proc/sys/net/ipv4/{name}").split())
        value[name] = {"least": least, "default": default, "most": most}
    sizes = ", ".join(
        f"{name} {row['default'] // 1024} KiB (up to {_mib(row['most'])})"
        for name, row in value.items()
    )
    return Finding(None, value, f"TCP's buffers: {sizes}")


@check("Limits")
def socket_buffers() -> Finding:
    names = ("rmem_default", "rmem_max", "wmem_default", "wmem_max")
    value = {name: int(_read(f"/proc/sys/net/core/{name}")) for name in names}
    sizes = ", ".join(f"{name} {size // 1024} KiB" for name, size in value.items())
    return Finding(None, value, f"the others' (UDP, Unix): {sizes}")


@check("Limits")
def ports() -> Finding:
    low, high = map(int, _read("/proc/sys/net/ipv4/ip_local_port_range").split())
    first = int(_read("/proc/sys/net/ipv4/ip_unprivileged_port_start"))
    value = {"first_free": first, "chosen": [low, high]}
    text = f"you may bind from {first} up; the system chooses from {low} to {high}"
    return Finding(None, value, text)


@check("Limits")
def container() -> Finding:
    signs = []
    for path, sign in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if os.path.exists(path):
            signs.append(sign)
    with contextlib.suppress(OSError):
        groups = _read("/proc/self/cgroup")
        signs += [s for s in ("docker", "kubepods", "libpod", "lxc") if s in groups]
    if os.environ.get("container"):  # noqa: SIM112 - systemd's name for it is in lower case
        signs.append(os.environ["container"])  # noqa: SIM112
    namespaces = {}
    for name in ("pid", "net", "ipc", "user"):
        with contextlib.suppress(OSError):
            namespaces[name] = os.readlink(f"/proc/self/ns/{name}")
    # proc_ns.h: the first pid namespace of a machine has this inode.
    own_pids = namespaces.get("pid", "") not in ("", "pid:[4026531836]")
    signs += ["its own process numbers"] if own_pids else []
    seccomp = False
    with contextlib.suppress(OSError):
        seccomp = "\nSeccomp:\t2" in _read("/proc/self/status")
    signs = sorted(set(signs))
    value = {"signs": signs, "namespaces": namespaces, "seccomp": seccomp}
    filtered = "; system calls are filtered (seccomp)" if seccomp else ""
    if not signs:
        return Finding(None, value, f"none to be seen{filtered}")
    return Finding(
        None, value, f"yes ({', '.join(signs)}){filtered}: peers must share what they talk through"
    )


@check("Speed")
def round_trip() -> Finding:
    from time import perf_counter_ns

    a, b = socket.socketpair()
    message, times = bytes(64), []
    with a, b:
        for _ in range(500):
            began = perf_counter_ns()
            a.send(message)
            b.recv(64)
            b.send(message)
            a.recv(64)
            times.append(perf_counter_ns() - began)
    median = sorted(times)[len(times) // 2] / 1000
    text = f"{median:.1f} µs: 64 bytes there and back over a socketpair, within one thread"
    return Finding(None, {"microseconds": median}, text)


# --- the report -----------------------------------------------------------------------------------


def _found(find: Callable[[], Finding]) -> Finding:
    try:
        return find()
    except Exception as error:  # a machine odder than this file expects: said, not raised
        return Finding(None, None, f"cannot be found out ({type(error).__name__}: {error})")


def report() -> dict[str, Finding]:
    """Runs every check and returns what was found, by name."""
    return {name: _found(entry.find) for name, entry in CHECKS.items()}


def to_do(findings: dict[str, Finding]) -> list[str]:
    """A sentence for each point that ipcx needs and that is missing."""
    return [
        found.act or f"{name}: {found.text}"
        for name, found in findings.items()
        if CHECKS[name].needed and found.ok is False
    ]


def _as_json(findings: dict[str, Finding], missing: list[str]) -> str:
    points = {
        name: {
            "ok": found.ok,
            "needed": CHECKS[name].needed,
            "value": found.value,
            "text": found.text,
        }
        for name, found in findings.items()
    }
    return json.dumps({"ok": not missing, "to_do": missing, "findings": points}, indent=2)


def _as_text(findings: dict[str, Finding], missing: list[str]) -> str:
    lines, group = [], ""
    for name, found in findings.items():
        if CHECKS[name].group != group:
            group = CHECKS[name].group
            lines += ["", group]
        sign = {True: "✓", False: "✗", None: "·"}[found.ok]
        lines.append(f"  {sign} {name:<14} {found.text}")
    lines += ["", *(missing or ["Everything ipcx needs is here."])]
    return "\n".join(lines).lstrip("\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command: 0 when everything needed is there, else 1 and a sentence to act on."""
    parser = argparse.ArgumentParser(
        prog="ipcx doctor",
        description="What of this machine matters to ipcx: ✓ as it should be, ✗ not, · told only.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    options = parser.parse_args(argv)
    findings = report()
    missing = to_do(findings)
    print(_as_json(findings, missing) if options.json else _as_text(findings, missing))
    return 1 if missing else 0
