# SPDX-License-Identifier: Apache-2.0
"""What a call did, in the lecture's words: for ``ipcx.run --trace`` and the tour.

`sentence` is a pure function of what was called and what came of it; `Teller` asks the socket for
the rest (its kind, its two addresses) and writes one line a call.
"""

import errno
import os
from socket import socket
from typing import Any, TextIO

SHUTDOWNS = (
    "reads no more",
    "sends no more: the peer will read to the end",
    "neither reads nor sends any more",
)


def address_text(address: Any) -> str:
    """An address as people write it: host:port, [host]:port, a path, @name for an abstract one."""
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host or '*'}:{port}"
    if isinstance(address, bytes | bytearray | memoryview):
        address = os.fsdecode(bytes(address))
    if isinstance(address, str):
        if address == "":
            return "a socket without a name"
        return "@" + address[1:] if address[0] == "\0" else address
    return "nobody in particular" if address is None else repr(address)


def error_text(error: BaseException) -> str:
    """An error with its errno's name: ``ECONNREFUSED: Connection refused``."""
    number = getattr(error, "errno", None)
    if number is None:
        name = "" if isinstance(error, TimeoutError) else type(error).__name__
        return ": ".join(part for part in (name, str(error)) if part)
    if number == errno.EAGAIN:
        return "EAGAIN: not now, and this socket does not wait"
    if number == errno.EINPROGRESS:
        return "EINPROGRESS: the connection is being made"
    name = errno.errorcode.get(number, str(number)) if number > 0 else type(error).__name__
    return f"{name}: {getattr(error, 'strerror', None) or error}"


def kind_text(kind: str, family: str) -> str:
    """What was made: ``TCP socket (a stream, IPv4)``."""
    if family in ("IPv4", "IPv6"):
        protocol = {"stream": "TCP", "datagram": "UDP"}.get(kind, kind)
        shape = {"stream": "a stream", "datagram": "datagrams"}.get(kind, kind)
        return f"{protocol} socket ({shape}, {family})"
    return f"{family} socket ({'datagrams' if kind == 'datagram' else f'a {kind}'})"


def _count(n: int) -> str:
    return "1 byte" if n == 1 else f"{n} bytes"


def _received(kind: str, n: int, source: Any = None) -> str:
    origin = f" from {address_text(source)}" if source else ""
    if n == 0 and kind == "datagram":
        return f"an empty datagram{origin}"
    if n == 0:
        return "0 bytes: the peer has closed its end"
    return f"{_count(n)}{origin}"


def sentence(
    op: str,
    detail: Any = None,
    *,
    kind: str = "stream",
    family: str = "IPv4",
    local: Any = None,
    peer: Any = None,
    error: BaseException | None = None,
) -> str:
    """One call in the lecture's words.

    *op* and *detail* are what the core's trace hook gives; *kind* is "stream", "datagram" or
    "seqpacket"; *local* and *peer* are the socket's two addresses where it has them.

    >>> sentence("listen", 5, local=("127.0.0.1", 65432))
    'listen → passive socket, port 65432'
    >>> sentence("recv", 0)
    'recv → 0 bytes: the peer has closed its end'
    """
    if error is not None:
        return f"{op} → {error_text(error)}"
    return f"{op} → {_outcome(op, detail, kind, family, local, peer)}"


def _outcome(op: str, detail: Any, kind: str, family: str, local: Any, peer: Any) -> str:
    if op == "socket":
        return kind_text(kind, family)
    if op == "bind":
        return f"the address {address_text(local or detail)}"
    if op == "listen":
        port = f"port {local[1]}" if isinstance(local, tuple) else f"at {address_text(local)}"
        return f"passive socket, {port}"
    if op == "accept":
        return f"new socket for {address_text(peer)}"
    if op in ("connect", "connect_ex"):
        if isinstance(detail, int) and detail != 0:
            return error_text(OSError(detail, os.strerror(detail)))
        if kind == "datagram":
            return f"datagrams go to {address_text(peer or detail)} and come from there only"
        start = f"{address_text(local)} to " if local else "to "
        return f"active socket, {start}{address_text(peer or detail)}"
    if op == "shutdown":
        return SHUTDOWNS[detail] if detail in (0, 1, 2) else f"{detail}"
    if op == "close":
        return f"descriptor {detail} given back"
    if op == "detach":
        return f"descriptor {detail} is the program's own now"
    if op in ("settimeout", "setblocking"):
        if detail is None or detail is True:
            return "calls wait as long as it takes"
        return f"calls wait at most {detail:g} s" if detail else "calls never wait"
    if op.startswith("recv"):
        n, source = detail if isinstance(detail, tuple) else (detail, None)
        return _received(kind, n, source)
    if op.startswith("send"):
        n, target = detail if isinstance(detail, tuple) else (detail, None)
        return f"{_count(n)} to {address_text(target)}" if target else _count(n)
    return "done" if detail is None else f"{detail!r}"


def channel_sentence(op: str, detail: Any = None, error: BaseException | None = None) -> str:
    """One call on a channel or a listener in the lecture's words.

    >>> channel_sentence("send", 5)
    'send → a message of 5 bytes'
    """
    if isinstance(error, BlockingIOError):
        return f"{op} → not now, and this call does not wait"
    if error is not None:
        return f"{op} → {error_text(error)}"
    if op in ("send", "receive", "receive_into"):
        return f"{op} → a message of {_count(detail)}" if detail else f"{op} → an empty message"
    if op in ("send_many", "receive_many"):
        return f"{op} → {detail} messages"
    outcomes = {
        "pair": "one end of two",
        "connect": "a channel; the listener may accept it when it likes",
        "listen": "waits passively for peers",
        "accept": "a channel to one peer",
        "close": "goodbye said, end closed",
    }
    return f"{op} → {outcomes.get(op, 'done')}"


def _kind_of(sock: Any) -> tuple[str, str]:
    from ipcx import socket

    kinds = {
        socket.SOCK_STREAM: "stream",
        socket.SOCK_DGRAM: "datagram",
        socket.SOCK_SEQPACKET: "seqpacket",
    }
    families = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6", socket.AF_UNIX: "Unix"}
    kind, family = sock.type, sock.family
    return kinds.get(kind, str(kind)), families.get(family, str(family))


def _ask(question: Any) -> Any:
    try:
        return question()
    except OSError:
        return None


class Teller:
    """Writes a line for each call to *stream*: what `_core.set_trace` is given, `tell`, does it."""

    def __init__(self, stream: TextIO | None, colour: bool | None = None) -> None:
        self._stream = stream
        self._pid = os.getpid()
        if colour is None:
            colour = stream is not None and stream.isatty() and "NO_COLOR" not in os.environ
        self._colour = colour

    def tell(self, op: str, sock: Any, detail: Any, error: BaseException | None) -> None:
        """The trace callback. It never raises: a program is not disturbed by being watched."""
        if self._stream is None:
            return
        try:
            self._stream.write(self._line(op, sock, detail, error))
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None  # closed: nobody listens any more

    def _line(self, op: str, sock: Any, detail: Any, error: BaseException | None) -> str:
        if not isinstance(sock, socket):
            where = "no channel" if sock is None else sock.url
            where += "" if os.getpid() == self._pid else f", process {os.getpid()}"
            return self._paint(channel_sentence(op, detail, error), where, error is not None)
        kind, family = _kind_of(sock)
        local = peer = None
        if error is None and op in ("bind", "listen", "connect", "connect_ex"):
            local = _ask(sock.getsockname)
            peer = _ask(sock.getpeername) if op.startswith("connect") else None
        if error is None and op == "accept":
            connection, peer = detail
            detail, peer = connection, peer or _ask(connection.getpeername)
        text = sentence(op, detail, kind=kind, family=family, local=local, peer=peer, error=error)
        fd = detail if op in ("close", "detach") and error is None else sock.fileno()
        where = f"fd {fd}" if os.getpid() == self._pid else f"fd {fd}, process {os.getpid()}"
        if op == "accept" and error is None:
            where += f" gives fd {detail.fileno()}"
        return self._paint(text, where, error is not None)

    def _paint(self, text: str, where: str, failed: bool) -> str:
        if not self._colour:
            return f"{text}   ({where})\n"
        op, _, rest = text.partition(" → ")
        red = "\033[31m" if failed else ""
        return f"\033[1m{op}\033[0m → {red}{rest}\033[0m   \033[2m({where})\033[0m\n"
