# SPDX-License-Identifier: Apache-2.0
"""Notebook 08: UDP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, bad, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["Echo", "Pieces", "StopAndWait"]

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


class StopAndWait(Problem):
    """Each message once and in order, over a link that loses and doubles."""

    id = "udp-stop-and-wait"
    title = "Stop and wait: every message once, over a link that loses datagrams"
    topic = "08"
    roles = ("sender", "receiver")
    ports = ("port",)
    hints = (
        "the sender sends a message again until its acknowledgement has come: recv() with a "
        "time-out, in a loop.",
        "an acknowledgement may be lost, too: then the receiver gets the message a second time, "
        "must not print it again, and must acknowledge it again.",
        "so messages need a number, and an acknowledgement says which one it is for: one that "
        "comes late must not be taken for the next message's.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        def lost(first: int) -> list[int]:
            return sorted({first, *(n for n in range(first, 60) if draw.random() < 0.2)})

        return {
            "messages": [f"{word} {n}".encode() for n, word in enumerate(draw.sample(WORDS, 10))],
            "timeout": 0.05,
            "lost": lost(draw.randrange(1, 4)),
            "lost_back": lost(draw.randrange(4)),
        }

    def text(self) -> str:
        return """
            Write two programs. `receiver` finds the name `port`, binds a UDP socket to that port of
            `127.0.0.1`, prints each message on a line of its own as soon as it has it, and never
            ends by itself. `sender` finds the names `port`, `messages` (a list of bytes) and
            `timeout` (seconds to wait for an answer: some tens of milliseconds), sends the messages
            there, and ends when the last one has arrived.

            Between them is a link that loses a fifth of the datagrams, in both directions, and may
            deliver one twice. Nevertheless each message is printed exactly once, and in their
            order. What you put into your datagrams beside the messages is up to you.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        given = self.given
        runs: list[tuple[str, dict[str, Any]]] = [
            ("over a perfect link", {}),
            (
                "with a fifth of the datagrams lost",
                {"there": {"loss": given["lost"]}, "back": {"loss": given["lost_back"]}},
            ),
            # Whoever takes the second acknowledgement of 0 for that of 1 never sends 1 again. On a
            # slow machine what is lost may have been sent twice by the sender itself: so some are.
            (
                "with datagrams that come twice",
                {"there": {"duplicate": list(range(60)), "loss": [1, 4, 7]}},
            ),
        ]
        for words, trouble in runs:
            yield self.run(stage, words, trouble)
            stage.clear()

    def run(self, stage: Stage, words: str, trouble: dict[str, Any]) -> Finding:
        messages = self.given["messages"]
        port = stage.port()
        receiver = stage.start("receiver", port=port)
        stage.listens(receiver, port, "udp")
        link = stage.link("udp", port, **trouble)
        sender = stage.start(
            "sender", port=link.port, messages=messages, timeout=self.given["timeout"]
        )
        stage.finish(sender)
        stage.stop(receiver)
        wanted, got = [message.decode() for message in messages], receiver.lines
        if got == wanted:
            lost = link.counts["lost"]
            return good(f"{words} all {len(wanted)} messages arrived once ({lost} datagrams lost)")
        return bad(f"{words} {difference(wanted, got)}")

    solution = Sources(
        sender="""
            import socket

            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(timeout)
                for number, message in enumerate(messages):
                    datagram = number.to_bytes(4, "big") + message
                    acknowledged = False
                    while not acknowledged:
                        sock.sendto(datagram, ("127.0.0.1", port))
                        try:
                            answer = sock.recv(100)
                            while answer != datagram[:4]:  # of an earlier message: wait on
                                answer = sock.recv(100)
                            acknowledged = True
                        except TimeoutError:
                            pass  # lost, it or its acknowledgement: again
            """,
        receiver="""
            import socket

            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", port))
                expected = 0
                while True:
                    datagram, sender = sock.recvfrom(65535)
                    number = int.from_bytes(datagram[:4], "big")
                    if number == expected:
                        print(datagram[4:].decode())
                        expected += 1
                    sock.sendto(datagram[:4], sender)  # also what comes again
            """,
    )
    broken = (
        Wrong(
            "sends once",
            "did not arrive",
            sender="""
                import socket

                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.settimeout(timeout)
                    for number, message in enumerate(messages):
                        sock.sendto(number.to_bytes(4, "big") + message, ("127.0.0.1", port))
                        try:
                            sock.recv(100)
                        except TimeoutError:
                            pass
                """,
            receiver="""
                import socket

                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", port))
                    while True:
                        datagram, sender = sock.recvfrom(65535)
                        print(datagram[4:].decode())
                        sock.sendto(datagram[:4], sender)
                """,
        ),
        Wrong(
            "waits without a time-out",
            "nothing moves any more; receiver is at line 7: datagram, sender = sock.recvfrom",
            sender="""
                import socket

                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    for number, message in enumerate(messages):
                        sock.sendto(number.to_bytes(4, "big") + message, ("127.0.0.1", port))
                        sock.recv(100)
                """,
        ),
        Wrong(
            "prints what comes again",
            "arrived twice",
            receiver="""
                import socket

                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", port))
                    while True:
                        datagram, sender = sock.recvfrom(65535)
                        print(datagram[4:].decode())
                        sock.sendto(datagram[:4], sender)
                """,
        ),
        Wrong(
            "takes any answer for the right one",
            "did not arrive",
            sender="""
                import socket

                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.settimeout(timeout)
                    for number, message in enumerate(messages):
                        while True:
                            sock.sendto(number.to_bytes(4, "big") + message, ("127.0.0.1", port))
                            try:
                                sock.recv(100)
                                break
                            except TimeoutError:
                                pass
                """,
            receiver="""
                import socket

                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", port))
                    seen = set()
                    while True:
                        datagram, sender = sock.recvfrom(65535)
                        if datagram not in seen:
                            print(datagram[4:].decode())
                            seen.add(datagram)
                        sock.sendto(datagram[:4], sender)
                """,
        ),
        Wrong(
            "does not acknowledge what comes again",
            "sender did not end within",
            night=True,
            receiver="""
                import socket

                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", port))
                    expected = 0
                    while True:
                        datagram, sender = sock.recvfrom(65535)
                        if int.from_bytes(datagram[:4], "big") == expected:
                            print(datagram[4:].decode())
                            expected += 1
                            sock.sendto(datagram[:4], sender)
                """,
        ),
    )
    seconds = 15.0


def difference(wanted: list[str], got: list[str]) -> str:
    """In words: what is missing, comes twice, was never sent, or is out of order."""
    for line in got:
        if line not in wanted:
            return f"the receiver printed {line[:60]!r}, which nobody had sent"
    for line in wanted:
        if line not in got:
            return f"{line!r} did not arrive: there are {len(set(got))} of {len(wanted)} messages"
    for line in wanted:
        if got.count(line) > 1:
            return f"{line!r} arrived twice: the receiver must know it again"
    return "the messages arrived in another order than they were sent in"


class Pieces(Problem):
    """A text that is longer than a datagram."""

    id = "udp-pieces"
    title = "A text that is longer than a datagram"
    topic = "08"
    roles = ("sender", "receiver")
    ports = ("port",)
    hints = (
        "what stands beside the text in a datagram counts, too: with a header of 4 bytes there is "
        "room for limit - 4 bytes of text.",
        "recv(n) throws away what of a datagram is longer than n, without a word: ask for 65535.",
        "datagrams overtake each other: number them, say how many there are, and put them together "
        "by their numbers.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        limit = draw.randrange(600, 1400)
        words = [draw.choice(WORDS) for _ in range(10 * limit // 7)]
        swapped = sorted(draw.sample(range(1, 8), 3))
        return {"limit": limit, "data": " ".join(words).encode(), "swapped": swapped}

    def text(self) -> str:
        return f"""
            Write two programs. `sender` finds the names `port`, `data` (a text of
            {len(self.given["data"])} bytes) and `limit`: no datagram may be longer than that,
            here {self.given["limit"]} bytes. It sends the text to that port of `127.0.0.1` in as
            many datagrams as it needs, without waiting for answers, and ends. `receiver` finds the
            name `port`, prints the text when it has all of it (`print(text.decode())`), and ends.
            No datagram is lost; but some overtake others.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        port, data, limit = stage.port(), self.given["data"], self.given["limit"]
        receiver = stage.start("receiver", port=port)
        stage.listens(receiver, port, "udp")
        link = stage.link("udp", port, there={"reorder": self.given["swapped"]})
        stage.finish(stage.start("sender", port=link.port, data=data, limit=limit))
        stage.settled(link)
        counts = link.counts
        if counts["largest"] > limit:
            yield bad(f"a datagram had {counts['largest']} bytes; {limit} are allowed")
        yield good(f"{counts['datagrams']} datagrams, none longer than {limit} bytes")
        stage.finish(receiver)
        got, wanted = receiver.output.removesuffix("\n"), data.decode()
        if got == wanted:
            yield good(f"the receiver has put {len(wanted)} bytes together")
        elif len(got) != len(wanted):
            yield bad(f"the receiver printed {len(got)} bytes of a text of {len(wanted)}")
        elif sorted(got) == sorted(wanted):
            yield bad("the receiver has all pieces, but not in the order of the text")
        else:
            yield bad("the receiver printed another text of that length")

    solution = Sources(
        sender="""
            import socket

            room = limit - 4
            pieces = [data[at : at + room] for at in range(0, len(data), room)]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for number, piece in enumerate(pieces):
                    header = number.to_bytes(2, "big") + len(pieces).to_bytes(2, "big")
                    sock.sendto(header + piece, ("127.0.0.1", port))
            """,
        receiver="""
            import socket

            pieces = {}
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", port))
                while True:
                    datagram = sock.recv(65535)
                    pieces[int.from_bytes(datagram[:2], "big")] = datagram[4:]
                    if len(pieces) == int.from_bytes(datagram[2:4], "big"):
                        break
            print(b"".join(pieces[number] for number in sorted(pieces)).decode())
            """,
    )
    broken = (
        Wrong(
            "forgets that the header counts",
            "are allowed",
            sender="""
                import socket

                pieces = [data[at : at + limit] for at in range(0, len(data), limit)]
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    for number, piece in enumerate(pieces):
                        header = number.to_bytes(2, "big") + len(pieces).to_bytes(2, "big")
                        sock.sendto(header + piece, ("127.0.0.1", port))
                """,
        ),
        Wrong(
            "takes them as they come",
            "not in the order of the text",
            receiver="""
                import socket

                pieces = []
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", port))
                    while True:
                        datagram = sock.recv(65535)
                        pieces.append(datagram[4:])
                        if len(pieces) == int.from_bytes(datagram[2:4], "big"):
                            break
                print(b"".join(pieces).decode())
                """,
        ),
        Wrong(
            "asks for less than was sent",
            "the receiver printed",
            receiver="""
                import socket

                pieces = {}
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", port))
                    while True:
                        datagram = sock.recv(512)
                        pieces[int.from_bytes(datagram[:2], "big")] = datagram[4:]
                        if len(pieces) == int.from_bytes(datagram[2:4], "big"):
                            break
                print(b"".join(pieces[number] for number in sorted(pieces)).decode())
                """,
        ),
    )
