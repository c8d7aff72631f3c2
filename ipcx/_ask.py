# SPDX-License-Identifier: Apache-2.0
"""Asking a running server for its numbers, over its own URL (docs/protocol.md, Questions).

Invariant: who asks is no peer of the server's program: it neither joins nor gets its messages.
"""

import contextlib
import json
import socket
from collections.abc import Mapping, Sequence

from ipcx import _core
from ipcx._top import Column, Reading
from ipcx.framing import Encoder, Framed, FrameType

__all__ = ["Asker", "Servers"]

ASKS = 1  # the capability in HELLO
PATIENCE = 5.0  # seconds for an answer
ANSWER_MAX = 65536


def _connected(url: str) -> socket.socket:
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
        host, _, port = rest.partition("?")[0].rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), PATIENCE)
    raise ValueError(f"{url}: a server is asked over tcp:// or unix://")


class Asker:
    """A connection that only asks.

    `ConnectionError` and other `OSError`: there is no answer. `PermissionError`: it will not tell.
    """

    def __init__(self, url: str) -> None:
        self.asked = 0
        self._socket = _connected(url)
        self._framed = Framed(self._socket, max_message=ANSWER_MAX)
        hello = b"\1\0\0\0" + ANSWER_MAX.to_bytes(4, "big") + ASKS.to_bytes(4, "big")
        self._socket.sendall(Encoder().encode(hello, type=FrameType.HELLO))

    def numbers(self) -> Mapping[str, int]:
        """What the server has counted so far."""
        self.asked += 1
        question = Encoder().encode(
            b"", type=FrameType.REQUEST, correlation=self.asked, extension=b"ipcx.stats"
        )
        self._socket.sendall(question)
        while True:
            frame = self._framed.receive_frame(timeout=PATIENCE)
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
        with contextlib.suppress(OSError):
            self._framed.close(0)
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

    def __init__(self, urls: Sequence[str]) -> None:
        self._askers: dict[str, Asker | None] = dict.fromkeys(urls)

    def read(self) -> list[Reading]:
        return [self._one(url) for url in self._askers]

    def _one(self, url: str) -> Reading:
        try:
            asker = self._askers[url]
            if asker is None:
                asker = self._askers[url] = Asker(url)
            return Reading(url, asker.numbers())
        except (OSError, ValueError, _core.Error) as error:
            asker, self._askers[url] = self._askers[url], None
            if asker is not None:
                asker.close()
            return Reading(url, {}, trouble=str(error) or type(error).__name__)

    def close(self) -> None:
        for asker in self._askers.values():
            if asker is not None:
                asker.close()
