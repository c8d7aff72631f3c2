# SPDX-License-Identifier: Apache-2.0
"""Notebook 09: TCP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Finding, Stage, bad, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["HalfClose", "LineServer", "ReceiveExactly"]

WORDS = (
    "alder",
    "birch",
    "cedar",
    "elm",
    "fir",
    "hazel",
    "ivy",
    "juniper",
    "larch",
    "maple",
    "oak",
)


class ReceiveExactly(Problem):
    """So many bytes from a stream, however it is cut."""

    id = "tcp-receive-exactly"
    title = "Exactly n bytes from a stream"
    topic = "09"
    roles = ("receive_exactly",)
    hints = (
        "recv(n) returns between 1 and n bytes, or b'' at the end; it is called until there are n.",
        "ask each time for what is still missing, n - len(data): what comes after belongs to the "
        "next call.",
    )
    seconds = 10.0

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"messages": [draw.randbytes(draw.randrange(2, 60)) for _ in range(5)]}

    def text(self) -> str:
        return """
            Write the function `receive_exactly(sock, n)`. It returns the next `n` bytes that come
            over the TCP socket `sock`, no more and no fewer, however the network cuts the stream
            into pieces. If the stream ends before, it raises `EOFError`. `n` may be 0.
            """

    PEER = """
import socket
with socket.create_server(("127.0.0.1", port)) as listener:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(data)
"""
    DRIVER = """
import socket
with socket.create_connection(("127.0.0.1", port)) as sock:
    for message in messages:
        size = len(message)
        got = receive_exactly(sock, size)
        if not isinstance(got, (bytes, bytearray)):
            fail(f"{words} it returned {got!r:.60}, not bytes")
        if len(got) != size:
            fail(f"{words} it returned {len(got)} bytes, not {size}")
        if got != message:
            fail(f"{words} it returned other bytes than were sent")
    try:
        got = receive_exactly(sock, rest + 1)
    except EOFError:
        pass
    except Exception as error:
        fail(f"when the stream ended too early it raised {type(error).__name__}, not EOFError")
    else:
        fail(f"when the stream ended too early it returned {len(got)} of {rest + 1} bytes")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        messages = [b"", *self.given["messages"]]
        rest = b"cut short"
        for words, trouble in (
            ("when each recv() gets one byte", {"split": True}),
            ("when all bytes come at once", {"merge": True}),
        ):
            port = stage.port()
            peer = stage.play("peer", self.PEER, port=port, data=b"".join(messages) + rest)
            stage.listens(peer, port)
            link = stage.link("tcp", port, **trouble)
            stage.finish(
                stage.functions(
                    self.DRIVER, port=link.port, messages=messages, rest=len(rest), words=words
                )
            )
            yield good(f"{words} it returns exactly what was asked for, and the end is an EOFError")
            stage.clear()

    solution = Sources(
        receive_exactly="""
            def receive_exactly(sock, n):
                data = b""
                while len(data) < n:
                    piece = sock.recv(n - len(data))
                    if not piece:
                        raise EOFError(f"the stream ended after {len(data)} of {n} bytes")
                    data += piece
                return data
            """
    )
    broken = (
        Wrong(
            "one recv",
            "when each recv() gets one byte it returned 1 bytes, not",
            receive_exactly="""
                def receive_exactly(sock, n):
                    data = sock.recv(n)
                    if n and not data:
                        raise EOFError
                    return data
                """,
        ),
        Wrong(
            "takes what is there",
            "when all bytes come at once it returned",
            receive_exactly="""
                def receive_exactly(sock, n):
                    data = b""
                    while len(data) < n:
                        piece = sock.recv(1024)
                        if not piece:
                            raise EOFError
                        data += piece
                    return data
                """,
        ),
        Wrong(
            "knows no end",
            "did not end within 10 s: it was stopped",
            night=True,
            receive_exactly="""
                def receive_exactly(sock, n):
                    data = b""
                    while len(data) < n:
                        data += sock.recv(n - len(data))
                    return data
                """,
        ),
        Wrong(
            "returns what it has",
            "when the stream ended too early it returned 9 of 10 bytes",
            receive_exactly="""
                def receive_exactly(sock, n):
                    data = b""
                    while len(data) < n:
                        piece = sock.recv(n - len(data))
                        if not piece:
                            break
                        data += piece
                    return data
                """,
        ),
    )


class HalfClose(Problem):
    """A client that says: this is all, now you."""

    id = "tcp-half-close"
    title = "Half a goodbye: I have sent all, now you"
    topic = "09"
    roles = ("client",)
    ports = ("port",)
    hints = (
        "the server answers when its recv() has returned b'': when has it got all?",
        "close() ends both directions; shutdown(socket.SHUT_WR) only the one to the server.",
        "the answer may come in pieces, too: it is complete when recv() returns b''.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"words": draw.sample(WORDS, 8)}

    def text(self) -> str:
        return """
            A server sorts: it reads lines until the stream of its client *ends*, sends the sorted
            lines back, and closes. Write its `client`. It finds the names `port` and `words` (a
            list of str), connects to that port of `127.0.0.1`, sends each word as a line (with
            `\\n`), and prints what the server answers, all of it.
            """

    SERVER = """
import socket
with socket.create_server(("127.0.0.1", port)) as listener:
    connection, _ = listener.accept()
    with connection:
        data = b""
        while piece := connection.recv(1024):
            data += piece
        try:
            connection.sendall(b"".join(sorted(data.splitlines(keepends=True))))
        except OSError:
            fail("when the server answered, the client had closed the connection already")
        tell(data)
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        words = self.given["words"]
        for how, trouble in (("", {}), (" in pieces of 3 bytes", {"split": 3})):
            port = stage.port()
            server = stage.play("server", self.SERVER, port=port)
            stage.listens(server, port)
            link = stage.link("tcp", port, **trouble)
            client = stage.start("client", port=link.port, words=words)
            stage.finish(client)
            stage.finish(server)
            if server.told != ["".join(word + "\n" for word in words).encode()]:
                yield bad(f"the server received {server.told[0][:60]!r}, not each word as a line")
            yield good(f"the server got all lines{how}, and saw their end")
            if client.lines != sorted(words):
                yield bad(f"of an answer of {len(words)} lines{how} it printed {client.lines}")
            yield good(f"the client printed the whole answer{how}")
            stage.clear()

    solution = Sources(
        client="""
            import socket

            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall("".join(word + "\\n" for word in words).encode())
                sock.shutdown(socket.SHUT_WR)
                answer = b""
                while piece := sock.recv(1024):
                    answer += piece
            print(answer.decode(), end="")
            """
    )
    broken = (
        Wrong(
            "never says that this is all",
            "nothing moves any more; client is at line 6: while piece := sock.recv(1024):",
            client="""
                import socket

                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.sendall("".join(word + "\\n" for word in words).encode())
                    answer = b""
                    while piece := sock.recv(1024):
                        answer += piece
                print(answer.decode(), end="")
                """,
        ),
        Wrong(
            "closes and wants to read",
            "client raised OSError: [Errno 9] Bad file descriptor",
            client="""
                import socket

                sock = socket.create_connection(("127.0.0.1", port))
                sock.sendall("".join(word + "\\n" for word in words).encode())
                sock.close()
                print(sock.recv(1024).decode(), end="")
                """,
        ),
        Wrong(
            "takes one recv for the answer",
            "lines in pieces of 3 bytes it printed",
            client="""
                import socket

                with socket.create_connection(("127.0.0.1", port)) as sock:
                    sock.sendall("".join(word + "\\n" for word in words).encode())
                    sock.shutdown(socket.SHUT_WR)
                    print(sock.recv(65536).decode(), end="")
                """,
        ),
    )


class LineServer(Problem):
    """Lines are what the program says they are, not what recv returns."""

    id = "tcp-line-server"
    title = "A server that answers lines"
    topic = "09"
    roles = ("server",)
    ports = ("port",)
    hints = (
        "keep what has come of a line until the rest is there: a buffer for each connection.",
        "one recv() may bring three lines and the beginning of a fourth: answer all that are "
        "complete, keep the rest.",
        "a client that leaves in the middle of a line has said nothing more: close, and accept the "
        "next one.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"lines": [" ".join(draw.sample(WORDS, 3)) for _ in range(6)], "clients": 4}

    def text(self) -> str:
        return """
            Write the program `server`. It finds the names `port` and `clients`, listens at that TCP
            port of `127.0.0.1`, and serves one client after the other. To each line (it ends with
            `\\n`) it answers the same line in upper case, also with `\\n`, and at once: the client
            may wait for it before it sends the next one. When a client has left, the next one is
            served; after so many `clients` the server ends. What a client has sent of a line when
            it leaves is not answered.
            """

    ONE_BY_ONE = """
import socket
with socket.create_connection(("127.0.0.1", port)) as sock:
    file = sock.makefile("rw", newline="\\n")
    for line in lines:
        file.write(line + "\\n")
        file.flush()
        answer = file.readline()
        if answer != line.upper() + "\\n":
            fail(f"{who}: to the line {line!r} it answered {answer!r}")
"""
    AT_ONCE = """
import socket
with socket.create_connection(("127.0.0.1", port)) as sock:
    sock.sendall("".join(line + "\\n" for line in lines).encode() + b"half a li")
    sock.shutdown(socket.SHUT_WR)
    answer = b""
    while piece := sock.recv(1024):
        answer += piece
    wanted = "".join(line.upper() + "\\n" for line in lines).encode()
    if answer == wanted + b"HALF A LI":
        fail(f"{who}: the last line never ended, and was answered nevertheless")
    if answer != wanted:
        fail(f"{who}: it answered {answer.count(10)} of {len(lines)} lines: {answer!r}")
"""
    LEAVES = """
import socket
with socket.create_connection(("127.0.0.1", port)) as sock:
    sock.sendall(b"I have to")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        lines, port = self.given["lines"], stage.port()
        server = stage.start("server", port=port, clients=self.given["clients"])
        stage.listens(server, port)
        yield good("the server listens at the port it was given")
        split = stage.link("tcp", port, split=True)
        for name, source, at, words in (
            ("one-by-one", self.ONE_BY_ONE, port, "a client that waits for each answer"),
            ("leaver", self.LEAVES, port, "a client that leaves in the middle of a line"),
            ("in-bytes", self.ONE_BY_ONE, split.port, "a client whose bytes come one by one"),
            ("at-once", self.AT_ONCE, port, "a client that sends all lines at once"),
        ):
            stage.finish(stage.play(name, source, port=at, lines=lines, who=words))
            yield good(f"{words} is served")
        stage.finish(server)
        yield good("after the last client the server has ended")

    solution = Sources(
        server="""
            import socket

            with socket.create_server(("127.0.0.1", port)) as listener:
                for _ in range(clients):
                    connection, _ = listener.accept()
                    with connection:
                        rest = b""
                        while piece := connection.recv(1024):
                            *lines, rest = (rest + piece).split(b"\\n")
                            for line in lines:
                                connection.sendall(line.upper() + b"\\n")
            """
    )
    broken = (
        Wrong(
            "takes a recv for a line",
            "a client whose bytes come one by one: to the line",
            server="""
                import contextlib, socket

                with socket.create_server(("127.0.0.1", port)) as listener:
                    for _ in range(clients):
                        connection, _ = listener.accept()
                        with connection, contextlib.suppress(ConnectionError):
                            while piece := connection.recv(1024):
                                connection.sendall(piece.strip().upper() + b"\\n")
                """,
        ),
        Wrong(
            "forgets what came after the line",
            "a client that sends all lines at once: it answered",
            server="""
                import socket

                with socket.create_server(("127.0.0.1", port)) as listener:
                    for _ in range(clients):
                        connection, _ = listener.accept()
                        with connection:
                            line = b""
                            while piece := connection.recv(1024):
                                line += piece
                                if b"\\n" in line:
                                    connection.sendall(line.partition(b"\\n")[0].upper() + b"\\n")
                                    line = b""
                """,
        ),
        Wrong(
            "answers when all has come",
            "nothing moves any more; server is at line",
            server="""
                import socket

                with socket.create_server(("127.0.0.1", port)) as listener:
                    for _ in range(clients):
                        connection, _ = listener.accept()
                        with connection, connection.makefile("rb") as file:
                            connection.sendall(file.read().upper())
                """,
        ),
        Wrong(
            "answers half a line",
            "the last line never ended, and was answered nevertheless",
            server="""
                import socket

                with socket.create_server(("127.0.0.1", port)) as listener:
                    for _ in range(clients):
                        connection, _ = listener.accept()
                        with connection, connection.makefile("rb") as file:
                            for line in file:
                                try:
                                    connection.sendall(line.upper())
                                except OSError:
                                    pass
                """,
        ),
    )
