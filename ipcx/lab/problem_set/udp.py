# SPDX-License-Identifier: Apache-2.0
"""Notebook 08: UDP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["Echo"]

WORDS = [
    "anchor",
    "beacon",
    "cable",
    "delta",
    "ember",
    "fjord",
    "gravel",
    "harbour",
    "island",
    "jetty",
    "kelp",
    "lantern",
]


class Echo(Problem):
    """A UDP server answers each client, and lives on after odd datagrams."""

    id = "udp-echo"
    title = "A UDP echo server"
    topic = "08"
    roles = ("server",)
    ports = ("port",)
    hints = (
        "a datagram's sender is what recvfrom() returns beside its bytes.",
        "an empty datagram is a datagram, not the end: only b'stop' ends the server.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"suffix": draw.choice(WORDS).encode(), "words": draw.sample(WORDS, 6)}

    def text(self) -> str:
        return f"""
            Write the program `server`. It finds the name `port`, binds a UDP socket to that port of
            `127.0.0.1`, and sends each datagram back to whoever sent it, with
            `{self.given["suffix"]!r}` (the name `suffix`) after it: several clients send in turn,
            and some datagrams are empty. When `b"stop"` comes, it ends without an answer.
            """

    CLIENT = """
import socket
clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
sent = []
for number, word in enumerate(words):
    client = clients[number % 3]
    client.sendto(word, ("127.0.0.1", port))
    answer, where = client.recvfrom(70000)
    if where[1] != port:
        fail(f"the answer to {word!r} came from port {where[1]}: use the server's own socket")
    if answer != word + suffix:
        fail(f"to {word!r} the server answered {answer!r}, not {word + suffix!r}")
clients[0].sendto(b"stop", ("127.0.0.1", port))
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        port = stage.port()
        server = stage.start("server", port=port, suffix=self.given["suffix"])
        stage.listens(server, port, "udp")
        yield good("the server has bound a UDP socket to the port it was given")
        words = [word.encode() for word in self.given["words"]]
        words.insert(3, b"")
        client = stage.play(
            "clients", self.CLIENT, port=port, words=words, suffix=self.given["suffix"]
        )
        stage.finish(client)
        yield good(f"3 clients got {len(words)} answers, one of them to an empty datagram")
        stage.finish(server)
        yield good("b'stop' has ended it")

    solution = Sources(
        server="""
            import socket

            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", port))
                while True:
                    data, client = sock.recvfrom(65535)
                    if data == b"stop":
                        break
                    sock.sendto(data + suffix, client)
            """,
    )
    broken = (
        Wrong(
            "answers the first client alone",
            "nothing moves any more; server is at line 11: data = sock.recv(65535)",
            server="""
import socket

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", port))
    data, client = sock.recvfrom(65535)
    sock.connect(client)
    while True:
        if data == b"stop":
            break
        sock.send(data + suffix)
        data = sock.recv(65535)
""",
        ),
        Wrong(
            "takes an empty datagram for the end",
            "clients did not end: nothing moves any more",
            server="""
import socket

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", port))
    while True:
        data, client = sock.recvfrom(65535)
        if data in (b"", b"stop"):
            break
        sock.sendto(data + suffix, client)
""",
        ),
        Wrong(
            "forgets the suffix",
            "the server answered",
            server="""
import socket

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", port))
    while True:
        data, client = sock.recvfrom(65535)
        if data == b"stop":
            break
        sock.sendto(data, client)
""",
        ),
    )
