# SPDX-License-Identifier: Apache-2.0
"""Asking a running server for its numbers, over its own URL (docs/protocol.md, Questions).

Invariant: who asks is no peer of the server's program: it neither joins nor gets its messages.
"""

import contextlib
import hashlib
import hmac
import json
import secrets
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ipcx import _core
from ipcx._top import Column, Reading
from ipcx.framing import Decoder, Encoder, Frame, FrameType

__all__ = ["Asker", "Servers", "Trust"]

ASKS, KEYED = 1, 2  # capabilities in HELLO
CHALLENGE = slice(12, 44)  # in HELLO's payload
PATIENCE = 5.0  # seconds for an answer
ANSWER_MAX = 65536


class Trust(NamedTuple):
    """What the command was given: files in PEM."""

    authkey: bytes | None = None
    authorities: str | None = None  # who signs servers' certificates; None: whom the system trusts
    certificate: str | None = None  # our own, with its key, for servers that require one


UNTOLD = Trust()


def _tcp(rest: str) -> tuple[str, socket.socket]:
    host, _, port = rest.partition("?")[0].rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ValueError("a host and a port are needed: tcp://127.0.0.1:5000")
    host = host.strip("[]")
    if host in ("", "*"):  # as the URL of a server with all addresses has it
        host = "localhost"
    return host, socket.create_connection((host, int(port)), PATIENCE)


def _secured(plain: socket.socket, host: str, trust: Trust) -> socket.socket:
    try:
        context = ssl.create_default_context(cafile=trust.authorities)
        if trust.certificate is not None:
            context.load_cert_chain(trust.certificate)
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _connected(url: str, trust: Trust) -> socket.socket:
    """Raises OSError, or ValueError for a URL that no server can have."""
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        where = rest.partition("?")[0]
        made = socket.socket(socket.AF_UNIX)
        try:
            made.settimeout(PATIENCE)
            made.connect("\0" + where[1:] if where.startswith("@") else where)
        except BaseException:
            made.close()
            raise
        return made
    if scheme == "tcp":
        return _tcp(rest)[1]
    if scheme == "tls":
        host, plain = _tcp(rest)
        return _secured(plain, host, trust)
    raise ValueError(f"{url}: a server is asked over tcp://, tls:// or unix://")


def _why(error: Exception) -> str:
    """One sentence; what it tells to do can be done on the command line."""
    if isinstance(error, ssl.SSLError):
        from ipcx.tls import _judge

        text = _judge(error, True)[1]
        for call, option in (
            ("context.load_verify_locations()", "--ca-file"),
            ("context.load_cert_chain()", "--cert-file"),
            ("; server_hostname= is the name it is to have", ""),
        ):
            text = text.replace(call, option)
        return text
    if isinstance(error, TimeoutError):
        return "no answer: is it a server (ipcx.server)?"
    return str(error) or type(error).__name__


def bytes_of(frame: Frame) -> bytes:
    return frame.payload.encode() if isinstance(frame.payload, str) else bytes(frame.payload)


def _is_keyed(frame: Frame) -> bool:
    return bool(int.from_bytes(bytes_of(frame)[8:12], "big") & KEYED)


def _refused(frame: Frame) -> None:
    """PROOF of one byte says why the other side hangs up."""
    if frame.type == FrameType.PROOF and len(bytes_of(frame)) == 1:
        other = "the key is another" if bytes_of(frame) == b"\1" else "it does not serve this user"
        raise PermissionError(other)


class Asker:
    """A connection that only asks.

    `ConnectionError` and other `OSError`: there is no answer. `PermissionError`: it will not tell.
    """

    def __init__(self, url: str, trust: Trust = UNTOLD) -> None:
        self.asked = 0
        self._keyed = trust.authkey is not None
        self._socket = _connected(url, trust)
        self._decoder = Decoder(max_message=ANSWER_MAX)
        try:
            self._greet(trust.authkey)
        except BaseException:
            self.close()
            raise

    def _greet(self, authkey: bytes | None) -> None:
        capabilities = ASKS if authkey is None else ASKS | KEYED
        hello = b"\1\0\0\0" + ANSWER_MAX.to_bytes(4, "big") + capabilities.to_bytes(4, "big")
        if authkey is not None:
            hello += secrets.token_bytes(32)
        ours = Encoder().encode(hello, type=FrameType.HELLO)
        self._socket.sendall(ours)
        if authkey is None:
            return
        theirs, frame = self._raw_frame()
        _refused(frame)
        if frame.type != FrameType.HELLO or not _is_keyed(frame):
            raise PermissionError("the server has no key")
        if bytes_of(frame)[CHALLENGE] == hello[CHALLENGE]:
            raise PermissionError("it sends our own challenge back")
        said = hashlib.sha256(ours).digest() + hashlib.sha256(theirs).digest()
        proof = hmac.digest(authkey, b"ipcx 1 connector" + said, "sha256")
        self._socket.sendall(Encoder().encode(proof, type=FrameType.PROOF))
        frame = self._frame(time.monotonic() + PATIENCE)
        _refused(frame)
        due = hmac.digest(authkey, b"ipcx 1 listener\0" + said, "sha256")
        if frame.type != FrameType.PROOF or not hmac.compare_digest(bytes_of(frame), due):
            raise PermissionError("the server has another key")

    def _raw_frame(self) -> tuple[bytes, Frame]:
        """The first frame, and its bytes as they travelled."""
        raw, decoder = b"", Decoder(max_message=4096)
        while True:
            decoder.feed(more := self._socket.recv(1))  # once, and short
            raw += more
            if not more:
                raise ConnectionError("the server has hung up")
            if (frame := decoder.next()) is not None:
                return raw, frame

    def _frame(self, deadline: float) -> Frame:
        while (frame := self._decoder.next()) is None:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            more = self._socket.recv(ANSWER_MAX)
            if not more:
                raise ConnectionError("the server has hung up")
            self._decoder.feed(more)
        return frame

    def numbers(self) -> Mapping[str, int]:
        """What the server has counted so far."""
        self.asked += 1
        question = Encoder().encode(
            b"", type=FrameType.REQUEST, correlation=self.asked, extension=b"ipcx.stats"
        )
        deadline = time.monotonic() + PATIENCE
        self._socket.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):  # why it has hung up is still to be read
            self._socket.sendall(question)
        while True:
            frame = self._frame(deadline)
            _refused(frame)
            if frame.type == FrameType.HELLO and _is_keyed(frame) and not self._keyed:
                raise PermissionError("the server demands a key: give --key-file")
            if frame.type == FrameType.BYE:
                raise ConnectionError("the server has said goodbye")
            if frame.correlation != self.asked:
                continue  # its HELLO; what it sends to all, where it takes us for a peer
            if frame.type == FrameType.ERROR:
                raise PermissionError(str(frame.payload))
            if frame.type == FrameType.REPLY:
                found = json.loads(str(frame.payload))
                if isinstance(found, dict):
                    return {str(key): int(value) for key, value in found.items()}
                raise ConnectionError("its answer is no object")

    def close(self) -> None:
        self._socket.close()


class Servers:
    """The source of ``ipcx top URL …``; who is away is tried again at each reading."""

    columns = (
        Column("peers", "peers"),
        Column("in", "received", rate=True),
        Column("bytes in", "received_bytes", rate=True, bytes=True),
        Column("out", "sent", rate=True),
        Column("bytes out", "sent_bytes", rate=True, bytes=True),
        Column("memory", "memory", bytes=True),
        Column("joined", "joined"),
        Column("refused", "refused"),
        Column("late", "late"),
        Column("slow", "slow"),
        Column("wrong", "wrong"),
        Column("dropped", "dropped"),
    )

    def __init__(self, urls: Sequence[str], trust: Trust = UNTOLD) -> None:
        self._trust = trust
        self._askers: dict[str, Asker | None] = dict.fromkeys(urls)

    def read(self) -> list[Reading]:
        return [self._one(url) for url in self._askers]

    def _one(self, url: str) -> Reading:
        try:
            asker = self._askers[url]
            if asker is None:
                asker = self._askers[url] = Asker(url, self._trust)
            return Reading(url, asker.numbers())
        except (OSError, ValueError, _core.Error) as error:
            asker, self._askers[url] = self._askers[url], None
            if asker is not None:
                asker.close()
            return Reading(url, {}, trouble=_why(error))

    def close(self) -> None:
        for asker in self._askers.values():
            if asker is not None:
                asker.close()
