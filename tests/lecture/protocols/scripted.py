"""A server for one client that knows its lines: what it expects, and what it answers."""

import socket
import sys
import threading
from collections.abc import Callable

Answer = bytes | Callable[[bytes], bytes]


class Scripted:
    """Says the greeting, then goes through the steps in a thread of its own.

    A step is (what the line must begin with, the answer); with b"." it reads up to a line that is
    a full stop, as mail protocols end a text.
    """

    def __init__(self, greeting: bytes, *steps: tuple[bytes, Answer]) -> None:
        self.heard: list[bytes] = []
        self._greeting = greeting
        self._steps = steps
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._talk)

    def __enter__(self) -> "Scripted":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _talk(self) -> None:
        with self._listener:
            conn, _ = self._listener.accept()
        with conn, conn.makefile("rb") as file:
            conn.sendall(self._greeting)
            for wanted, answer in self._steps:
                line = file.readline()
                while wanted == b"." and line not in (b".\r\n", b""):
                    self.heard.append(line)
                    line = file.readline()
                assert wanted.lower() in line[: len(wanted) + 10].lower(), (wanted, line)
                self.heard.append(line)
                conn.sendall(answer(line) if callable(answer) else answer)


def is_ours(*sockets: object) -> None:
    """Each of them is an ipcx socket, and says so by its class."""
    for sock in sockets:
        sys.stdout.write(f"socket of {type(sock).__module__}\n")  # one write: threads say it, too
