# SPDX-License-Identifier: Apache-2.0
"""Errors that say what to do: PEP 678 notes on what a socket's call raises.

Under ``ipcx.run`` and in the tour, a refused connection says which port does listen nearby, a taken
address says who holds it, and so on. Type, errno, text and ``args`` of the exception stay the
stdlib's; the explanation is a note, which tracebacks print below the text. Making one never raises
and is bounded in time. ``ipcx explain NAME`` has the longer story, from the same table.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["add_late_note", "add_note", "note"]

# What a program that does not wait, or is interrupted, meets all day: no mistake, so no note.
ORDINARY = frozenset({errno.EAGAIN, errno.EINPROGRESS, errno.EALREADY, errno.EINTR})

CONNECTS = ("connect", "connect_ex")
LARGEST = {"AF_INET": 65507, "AF_INET6": 65527}  # a UDP datagram: RFC 768 within RFC 791, RFC 8200


class _Call:
    """What is known about the call that failed."""

    def __init__(self, exc: BaseException, op: str, sock: Any, args: Sequence[Any]) -> None:
        self.exc, self.op, self.sock, self.args = exc, op, sock, tuple(args)
        self.family = getattr(getattr(sock, "family", None), "name", "")
        self.stream = getattr(getattr(sock, "type", None), "name", "") != "SOCK_DGRAM"

    @property
    def address(self) -> Any:
        """The address that was given to the call, else the peer's."""
        if self.op in ("bind", *CONNECTS) and self.args:
            return self.args[0]
        if self.op == "sendto" and len(self.args) > 1:
            return self.args[-1]
        if self.op == "sendmsg" and len(self.args) > 3:
            return self.args[3]
        return self._name("getpeername")

    @property
    def own(self) -> Any:
        return self._name("getsockname")

    def _name(self, method: str) -> Any:
        try:
            return getattr(self.sock, method)()
        except (OSError, AttributeError):
            return None

    @property
    def where(self) -> str:
        from ipcx._words import address_text

        return address_text(self.address)

    @property
    def size(self) -> int | None:
        """How many bytes a send was given."""
        try:
            parts = self.args[0] if self.op == "sendmsg" else self.args[:1]
            return sum(memoryview(part).nbytes for part in parts)
        except TypeError:
            return None


class _Budget:
    """How long looking into /proc may take in all: a program that fails in a loop stays fast.

    0.3 s to begin with, and 2 % of the time that has passed.
    """

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._spent = 0.0

    def left(self) -> bool:
        return self._spent < 0.3 + 0.02 * (time.monotonic() - self._start)

    def spend(self, look: Callable[[], str]) -> str:
        """What *look* finds, or nothing when there is no time left for it."""
        if not self.left():
            return ""
        began = time.monotonic()
        try:
            return look()
        finally:
            self._spent += time.monotonic() - began


_budget = _Budget()


def _port(address: Any) -> int | None:
    if isinstance(address, tuple) and len(address) > 1 and isinstance(address[1], int):
        return address[1]
    return None


def _path(address: Any) -> str:
    if isinstance(address, str | bytes | bytearray):
        text = os.fsdecode(bytes(address) if isinstance(address, bytearray) else address)
        return "@" + text[1:] if text.startswith("\0") else text
    return ""


def _is_here(host: Any) -> bool:
    return isinstance(host, str) and (
        host in ("", "localhost", "::1", "::", "0.0.0.0") or host.startswith("127.")
    )


# --- refused --------------------------------------------------------------------------------------


def _refused(call: _Call) -> str:
    if call.family == "AF_UNIX":
        path = _path(call.address)
        if path and not path.startswith("@") and os.path.exists(path):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                return f"{path} is a file, not a socket: give the path the server has bound."
            return (
                f"The path {path} exists, but nobody listens there: a server that has ended left "
                "it behind.\nStart the server; it removes the old path with os.unlink() first."
            )
        return f"Nobody listens at {call.where}. Start the server first."
    if not call.stream:
        return (
            f"An earlier datagram to {call.where} found nobody there, and the answer came back "
            "now.\nStart the receiver first."
        )
    address = call.address
    near = _budget.spend(lambda: _listening(address))
    return f"Nobody listens at {call.where}. Start the server first.{near}"


def _listening(address: Any) -> str:
    """What does listen on this machine: at this port under another address, or at ports near it."""
    from ipcx import _procnet

    port = _port(address)
    if port is None or not _is_here(address[0]):
        return ""
    there = [e for e in _procnet.entries("tcp") if e.state == _procnet.LISTEN]
    same = sorted({e.host for e in there if e.port == port})
    if same:
        return f"\nPort {port} is listened on at {', '.join(same)} only: connect to that address."
    by_port = {e.port: e for e in there if abs(e.port - port) <= 100}
    near = [by_port[other] for other in sorted(by_port, key=lambda other: abs(other - port))]
    if not near:
        return ""
    told = ", ".join(f"{e.port}{_held_by(e.inode)}" for e in near[:2])
    return f"\nWhat does listen nearby: port {told}."


def _held_by(inode: int) -> str:
    from ipcx import _procnet

    holder = _procnet.holder_of(inode)
    if holder is None:
        return ""
    mine = holder.pid == os.getpid()
    return " (this program itself)" if mine else f" (`{holder.command}`, pid {holder.pid})"


# --- the address is in use ------------------------------------------------------------------------


def _in_use(call: _Call) -> str | None:
    if call.op not in ("bind", "listen"):
        return None
    if call.family == "AF_UNIX":
        path = _path(call.address)
        return _budget.spend(lambda: _path_in_use(path)) or None
    port = _port(call.address if call.op == "bind" else call.own)
    if port is None:
        return None
    protocol = "tcp" if call.stream else "udp"
    return _budget.spend(lambda: _port_in_use(port, protocol)) or None


def _path_in_use(path: str) -> str:
    from ipcx import _procnet

    for inode in _procnet.unix_inodes(path):
        return f"{path} is held by {_who(inode, None)}.\nEnd it, or choose another path."
    return (
        f"{path} was left behind by a program that has ended: nobody holds it now.\n"
        "Remove it with os.unlink() before bind()."
    )


def _port_in_use(port: int, protocol: str) -> str:
    from ipcx import _procnet

    there = [e for e in _procnet.entries(protocol) if e.port == port]
    waiting = [e.seconds for e in there if e.state == _procnet.TIME_WAIT]
    holding = [e for e in there if e.state != _procnet.TIME_WAIT and e.inode]
    holding.sort(key=lambda e: e.state != _procnet.LISTEN)
    if holding:
        first = holding[0]
        listens = ", which listens there" if first.state == _procnet.LISTEN else ""
        return (
            f"Port {port} is held by {_who(first.inode, first.uid)}{listens}.\n"
            "End it, or choose another port: 0 lets the system choose."
        )
    if waiting:
        return (
            f"Port {port} belongs to a connection that has just ended: TIME_WAIT keeps it for "
            f"another {max(waiting):.0f} s.\nSet SO_REUSEADDR before bind(), as "
            "socket.create_server() does."
        )
    return f"Port {port} is held by a program that cannot be seen from here. Choose another port."


def _who(inode: int, uid: int | None) -> str:
    from ipcx import _procnet

    holder = _procnet.holder_of(inode)
    if holder is None:
        user = "" if uid is None else f" of user {_user(uid)}"
        return f"a program{user} that cannot be seen from here"
    if holder.pid == os.getpid():
        return f"this program itself, descriptor {holder.fd}"
    return f"`{holder.command}`, pid {holder.pid}"


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


# --- the others -----------------------------------------------------------------------------------


def _not_permitted(call: _Call) -> str | None:
    port = _port(call.address)
    if call.op == "bind" and port:
        first = 1024
        try:
            with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
                first = int(file.read())
        except (OSError, ValueError):
            pass
        return (
            f"Ports below {first} are for privileged programs, and {port} is one of them.\n"
            f"Choose a port from {first} to 65535, or 0 and let the system choose."
        )
    path = _path(call.address)
    if path:
        need = "write to the directory of" if call.op == "bind" else "write to"
        return f"You may not {need} {path}: look at `ls -ld` of it and of its directories."
    if call.op in ("sendto", "sendmsg", "send", *CONNECTS):
        return (
            f"{call.where} is a broadcast address: allow it first with "
            "setsockopt(SOL_SOCKET, SO_BROADCAST, 1)."
        )
    return None


def _no_path(call: _Call) -> str | None:
    path = _path(call.address)
    if call.op != "bind" or not path:
        return None
    return f"The directory {os.path.dirname(path) or '.'} does not exist: make it first."


def _path_too_long(call: _Call) -> str | None:
    size = len(os.fsencode(_path(call.address)))
    if call.family != "AF_UNIX" or size <= 107:
        return None
    return (
        f"The path has {size} bytes; the kernel takes 107 (sun_path).\nChoose a shorter directory, "
        "such as $XDG_RUNTIME_DIR, or go there with os.chdir() and use a relative path."
    )


def _too_large(call: _Call) -> str:
    sent = "The datagram" if call.size is None else f"The datagram of {call.size} bytes"
    limit = LARGEST.get(call.family)
    if limit is not None and (call.size is None or call.size > limit):
        return (
            f"{sent} is larger than UDP carries: {limit} bytes. Over a network stay below 1400.\n"
            "Send several, or use a stream (SOCK_STREAM)."
        )
    if call.family == "AF_UNIX":
        from ipcx import socket

        buffer = call.sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return (
            f"{sent} does not fit the send buffer: SO_SNDBUF is {buffer}, of which some is the "
            "kernel's own.\nSend several, enlarge SO_SNDBUF, or use a stream (SOCK_STREAM)."
        )
    return f"{sent} does not fit this socket. Send several, or use a stream (SOCK_STREAM)."


def _peer_gone(call: _Call) -> str | None:
    row = _row(call.exc)
    peer = call.where if call.address else "the peer"
    if call.op.startswith("send"):
        lost = "what you sent" if call.size is None else f"the {call.size} bytes you sent"
        return (
            f"Nobody will read {lost}: {peer} has closed its end.\n"
            "Stop sending, close this end, connect again."
        )
    return f"{row['what']}\n{row['cure']}"


TIMED_OUT = {
    "accept": "nobody connected",
    "connect": "the other side did not answer: it is down, or a firewall drops the packets",
    "send": "the peer did not take what was sent: its buffer and ours are full",
    "recv": "the peer sent nothing",
}


def _timed_out(call: _Call) -> str | None:
    seconds = call.sock.gettimeout()
    verb = next((verb for verb in TIMED_OUT if call.op.startswith(verb)), "")
    if seconds is None or not verb:
        return None
    cure = (
        "Close the socket and connect a new one."
        if verb == "connect"
        else "The socket is still usable: call again, or give it more time."
    )
    return f"The call waited {seconds:g} s, as settimeout() told it, and {TIMED_OUT[verb]}.\n{cure}"


def _unresolved(call: _Call) -> str:
    row = _row(call.exc, "RESOLVE")
    host = call.address[0] if isinstance(call.address, tuple) else None
    named = f" {host!r}" if host else ""
    return f"No address could be found for this host name{named}.\n{row['cure']}"


def _row(exc: BaseException, name: str = "") -> Any:
    """The row of the status table for this errno, or of this name."""
    from ipcx import _core

    number = errno.errorcode.get(getattr(exc, "errno", None) or 0, "")
    for row in _core.status_table():
        if row["name"] == name or (number and not name and row["errno"] == number):
            return row
    return None


def _from_table(call: _Call) -> str | None:
    row = _row(call.exc)
    return None if row is None else f"{row['what']}\n{row['cure']}"


MAKERS: dict[int, Callable[[_Call], str | None]] = {
    errno.ECONNREFUSED: _refused,
    errno.EADDRINUSE: _in_use,
    errno.EACCES: _not_permitted,
    errno.EMSGSIZE: _too_large,
    errno.ENOENT: _no_path,
    errno.EPIPE: _peer_gone,
    errno.ECONNRESET: _peer_gone,
}


def note(exc: BaseException, op: str, sock: Any, args: Sequence[Any] = ()) -> str | None:
    """The text for the error that *op* of *sock*, called with *args*, raised; None for no note."""
    from ipcx import socket

    call = _Call(exc, op, sock, args)
    if isinstance(exc, socket.gaierror):
        return _unresolved(call)
    if sock is None:
        return _from_table(call)
    number = getattr(exc, "errno", None)
    if number is None:
        return _timed_out(call) if isinstance(exc, TimeoutError) else _path_too_long(call)
    if number in ORDINARY:
        return None
    make = MAKERS.get(number)
    text = make(call) if make else None
    return text or _from_table(call)


def add_note(exc: BaseException, op: str, sock: Any, args: Sequence[Any] = ()) -> None:
    """Adds the note to *exc*: what `_core.set_error_hook` is given. It never raises."""
    if getattr(exc, "errno", None) in ORDINARY:
        return
    try:
        text = note(exc, op, sock, args)
        name = errno.errorcode.get(getattr(exc, "errno", None) or 0, "")
        if text and not getattr(exc, "__notes__", None):
            exc.add_note(f"{text}\n(More: ipcx explain {name})" if name else text)
    except Exception:  # a poorer message is all that may come of it
        pass


# Errors that only sockets have: asyncio raises these itself, after a call that did not wait.
OF_SOCKETS = frozenset(
    {errno.ECONNREFUSED, errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EMSGSIZE, errno.ENOTCONN}
)


def _take_over(exc: OSError) -> None:
    """What is raised anew `from None`, as create_server() does after bind(), keeps the notes."""
    first = exc.__context__
    anew = exc.__suppress_context__ and isinstance(first, OSError) and first.errno == exc.errno
    if anew and not getattr(exc, "__notes__", None):
        exc.__notes__ = list(getattr(first, "__notes__", ()))


def add_late_note(exc: BaseException | None, depth: int = 20) -> None:
    """For an error that nobody caught and that no socket's call raised: the table's words.

    Called where an uncaught exception is reported; looks at what *exc* came from, too. A name that
    was not resolved and what asyncio raises on its own account get their note here.
    """
    from ipcx import socket

    while exc is not None and depth > 0:
        depth -= 1
        number = getattr(exc, "errno", None)
        if isinstance(exc, OSError):
            _take_over(exc)
        if isinstance(exc, socket.gaierror):
            add_note(exc, "getaddrinfo", None)
        elif isinstance(exc, OSError) and number in OF_SOCKETS:
            add_note(exc, "", None)
        if isinstance(exc, BaseExceptionGroup):
            for each in exc.exceptions[:depth]:
                add_late_note(each, depth)
        exc = exc.__cause__ or exc.__context__
