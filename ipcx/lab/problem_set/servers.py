# SPDX-License-Identifier: Apache-2.0
"""Notebook 11: servers for many clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from ipcx.lab.check import Actor, Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["ForkingServer", "OneThread", "ThreadedServer"]

# One client says hello and no more; the others come, ask and go; then the first one asks.
PATIENT = """
import socket

def ask(sock, lines, word):
    try:
        sock.sendall(word.encode() + b"\\n")
        answer = lines.readline().rstrip("\\n")
    except ConnectionError:
        answer = ""
    if answer != word + suffix:
        fail(f"to {word!r} the server answered {answer!r}, not {word + suffix!r}")

with socket.create_connection(("127.0.0.1", port)) as first, first.makefile("r") as lines:
    for number in range(others):
        with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("r") as more:
            for turn in range(3):
                ask(sock, more, f"client {number} asks {turn}")
    tell("the others")
    ask(first, lines, "the first one")
    tell("the first")
"""


def _suffix(draw: Random) -> str:
    return draw.choice(["!", " it is", ", and you?", " (yes)"])


class ThreadedServer(Problem):
    """A silent client keeps nobody waiting."""

    id = "server-threads"
    title = "Nobody waits for a silent client"
    topic = "11"
    roles = ("server",)
    ports = ("port",)
    hints = (
        "accept() in a loop; what serves one client is a function.",
        "threading.Thread(target=serve, args=(client,), daemon=True).start() for each client.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"suffix": _suffix(draw)}

    def text(self) -> str:
        return f"""
            Write the program `server`. It finds the names `port` and `suffix`, listens on that TCP
            port of `127.0.0.1` for ever, and answers each line of each client with that line and
            `{self.given["suffix"]!r}` (the name `suffix`) behind it. One client connects first and
            says nothing for long; twenty others come, ask and go meanwhile.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        port = stage.port()
        server = stage.start("server", port=port, suffix=self.given["suffix"])
        stage.listens(server, port)
        yield good(f"the server listens at port {port}")
        clients = stage.play("clients", PATIENT, port=port, suffix=self.given["suffix"], others=20)
        stage.finish(clients)
        yield good("20 clients were served while another one was silent, and it was served, too")

    solution = Sources(
        server="""
            import socket, threading

            def serve(client):
                with client, client.makefile("r") as lines:
                    for line in lines:
                        client.sendall((line.rstrip("\\n") + suffix + "\\n").encode())

            with socket.create_server(("127.0.0.1", port)) as listener:
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()
            """,
    )
    broken = (
        Wrong(
            "is iterative",
            "clients did not end: nothing moves any more",
            server="""
                import socket

                def serve(client):
                    with client, client.makefile("r") as lines:
                        for line in lines:
                            client.sendall((line.rstrip("\\n") + suffix + "\\n").encode())

                with socket.create_server(("127.0.0.1", port)) as listener:
                    while True:
                        client, _ = listener.accept()
                        serve(client)
                """,
        ),
        Wrong(
            "serves no two at a time: it waits for its thread",
            "clients did not end: nothing moves any more",
            server="""
                import socket, threading

                def serve(client):
                    with client, client.makefile("r") as lines:
                        for line in lines:
                            client.sendall((line.rstrip("\\n") + suffix + "\\n").encode())

                with socket.create_server(("127.0.0.1", port)) as listener:
                    while True:
                        client, _ = listener.accept()
                        thread = threading.Thread(target=serve, args=(client,))
                        thread.start()
                        thread.join()
                """,
        ),
        Wrong(
            "answers one line of each",
            "the server answered ''",
            server="""
                import socket, threading

                def serve(client):
                    with client, client.makefile("r") as lines:
                        line = lines.readline()
                        client.sendall((line.rstrip("\\n") + suffix + "\\n").encode())

                with socket.create_server(("127.0.0.1", port)) as listener:
                    while True:
                        client, _ = listener.accept()
                        threading.Thread(target=serve, args=(client,), daemon=True).start()
                """,
        ),
    )


class ForkingServer(Problem):
    """A process for each client, and no zombies."""

    id = "server-fork"
    title = "A process for each client"
    topic = "11"
    roles = ("server",)
    ports = ("port",)
    hints = (
        "in the child: close the listener, serve, os._exit(0); in the parent: close the client.",
        "a child that has ended stays a zombie until its parent waits for it: "
        "os.waitpid(-1, os.WNOHANG) before each accept(), or signal(SIGCHLD, SIG_IGN).",
    )

    CLIENTS = 12

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"suffix": _suffix(draw)}

    def text(self) -> str:
        return f"""
            Write the program `server`. It finds the names `port` and `suffix`, listens on that TCP
            port of `127.0.0.1` for ever, and serves each client in a child process of its own
            (`os.fork`): each line is answered with the line and `suffix` behind it, and when the
            client has gone, its process ends. {self.CLIENTS} clients come one after the other; when
            the last but one has gone, no more than two zombies may be left.
            """

    def check(self, stage: Stage) -> Iterator[Finding]:
        port = stage.port()
        server = stage.start("server", port=port, suffix=self.given["suffix"])
        stage.listens(server, port)
        yield good(f"the server listens at port {port}")
        clients = stage.play(
            "clients", PATIENT, port=port, suffix=self.given["suffix"], others=self.CLIENTS - 1
        )
        stage.finish(clients)
        yield good(f"{self.CLIENTS} clients were served, one of them was silent for long")
        # Whoever comes makes the server look; what ends then is none of the first ones.
        last = stage.play("last", PATIENT, port=port, suffix=self.given["suffix"], others=0)
        stage.finish(last)
        states = _children(server)
        zombies = states.count("Z")
        yield Finding(
            zombies <= 2,
            f"{zombies} of its children are zombies: nobody has waited for them"
            if zombies > 2
            else "the children that have ended were waited for",
        )

    solution = Sources(
        server="""
            import os, signal, socket

            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end leave no zombie
            with socket.create_server(("127.0.0.1", port)) as listener:
                while True:
                    client, _ = listener.accept()
                    if os.fork() == 0:
                        listener.close()
                        with client, client.makefile("r") as lines:
                            for line in lines:
                                client.sendall((line.rstrip("\\n") + suffix + "\\n").encode())
                        os._exit(0)
                    client.close()
            """,
    )
    broken = (
        Wrong(
            "never waits",
            "are zombies: nobody has waited for them",
            server="""
                import os, socket

                with socket.create_server(("127.0.0.1", port)) as listener:
                    while True:
                        client, _ = listener.accept()
                        if os.fork() == 0:
                            listener.close()
                            with client, client.makefile("r") as lines:
                                for line in lines:
                                    client.sendall((line.rstrip("\\n") + suffix + "\\n").encode())
                            os._exit(0)
                        client.close()
                """,
        ),
        Wrong(
            "waits for each child at once",
            "clients did not end: nothing moves any more",
            server="""
                import os, socket

                with socket.create_server(("127.0.0.1", port)) as listener:
                    while True:
                        client, _ = listener.accept()
                        pid = os.fork()
                        if pid == 0:
                            with client, client.makefile("r") as lines:
                                for line in lines:
                                    client.sendall((line.rstrip("\\n") + suffix + "\\n").encode())
                            os._exit(0)
                        client.close()
                        os.waitpid(pid, 0)
                """,
        ),
    )


class OneThread(Problem):
    """Many clients, one thread, and no call that waits for one of them alone."""

    id = "server-one-thread"
    title = "Many clients in one thread"
    topic = "11"
    roles = ("server",)
    ports = ("port",)
    hints = (
        "selectors.DefaultSelector tells which sockets have something: register the listener, too.",
        "what recv() returns may end in the middle of a line: keep what has no newline yet, for "
        "each client its own.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"suffix": _suffix(draw)}

    def text(self) -> str:
        return """
            Write the program `server`. It finds the names `port` and `suffix`, listens on that TCP
            port of `127.0.0.1` for ever, and answers each line of each client with the line and
            `suffix` behind it, all in one thread of one process (`selectors`, `select` or
            `asyncio`). Ten clients are there at once, and all of them send their lines in pieces:
            first a half of the line, each of them, and only then the rest.
            """

    CLIENTS = """
import contextlib, socket
with contextlib.ExitStack() as stack:
    socks = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(10)]
    files = [stack.enter_context(sock.makefile("r")) for sock in socks]
    for turn in range(3):
        words = [f"client {number} says {turn}" for number in range(len(socks))]
        for sock, word in zip(socks, words):
            sock.sendall(word[:7].encode())
        for sock, word in zip(socks, words):
            sock.sendall(word[7:].encode() + b"\\n")
        for lines, word in zip(files, words):
            answer = lines.readline().rstrip("\\n")
            if answer != word + suffix:
                fail(f"to {word!r}, in two pieces, the server answered {answer!r}, not "
                     f"{word + suffix!r}")
    import os
    threads = len(os.listdir(f"/proc/{server}/task"))
    children = open(f"/proc/{server}/task/{server}/children").read().split()
    if threads + len(children) > 1:
        fail(f"the server has {threads} threads and {len(children)} children: one thread was asked")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        port = stage.port()
        server = stage.start("server", port=port, suffix=self.given["suffix"])
        stage.listens(server, port)
        yield good(f"the server listens at port {port}")
        clients = stage.play(
            "clients", self.CLIENTS, port=port, suffix=self.given["suffix"], server=server.pid
        )
        stage.finish(clients)
        yield good("10 clients were served at once, by one thread, whatever the pieces")

    solution = Sources(
        server="""
            import selectors, socket

            ready = selectors.DefaultSelector()
            rest = {}  # of each client: what has come of its next line
            with socket.create_server(("127.0.0.1", port)) as listener:
                ready.register(listener, selectors.EVENT_READ)
                while True:
                    for key, _ in ready.select():
                        sock = key.fileobj
                        if sock is listener:
                            client, _ = listener.accept()
                            rest[client] = b""
                            ready.register(client, selectors.EVENT_READ)
                            continue
                        data = sock.recv(4096)
                        if not data:
                            ready.unregister(sock)
                            del rest[sock]
                            sock.close()
                            continue
                        *lines, rest[sock] = (rest[sock] + data).split(b"\\n")
                        for line in lines:
                            sock.sendall(line + suffix.encode() + b"\\n")
            """,
    )
    broken = (
        Wrong(
            "takes a piece for a line",
            "in two pieces, the server answered",
            server="""
                import selectors, socket

                ready = selectors.DefaultSelector()
                with socket.create_server(("127.0.0.1", port)) as listener:
                    ready.register(listener, selectors.EVENT_READ)
                    while True:
                        for key, _ in ready.select():
                            sock = key.fileobj
                            if sock is listener:
                                client, _ = listener.accept()
                                ready.register(client, selectors.EVENT_READ)
                                continue
                            data = sock.recv(4096)
                            if not data:
                                ready.unregister(sock)
                                sock.close()
                                continue
                            sock.sendall(data.rstrip(b"\\n") + suffix.encode() + b"\\n")
                """,
        ),
        Wrong(
            "waits for the rest of the line",
            "clients did not end: nothing moves any more",
            server="""
                import selectors, socket

                ready = selectors.DefaultSelector()
                with socket.create_server(("127.0.0.1", port)) as listener:
                    ready.register(listener, selectors.EVENT_READ)
                    while True:
                        for key, _ in ready.select():
                            sock = key.fileobj
                            if sock is listener:
                                client, _ = listener.accept()
                                ready.register(client, selectors.EVENT_READ)
                                continue
                            line = b""
                            while not line.endswith(b"\\n"):
                                line += sock.recv(1)
                            sock.recv(1)
                            sock.sendall(line[:-1] + suffix.encode() + b"\\n")
                """,
        ),
        Wrong(
            "has a thread for each",
            "one thread was asked",
            server="""
                import socket, threading

                def serve(client):
                    with client, client.makefile("r") as lines:
                        for line in lines:
                            client.sendall((line.rstrip("\\n") + suffix + "\\n").encode())

                with socket.create_server(("127.0.0.1", port)) as listener:
                    while True:
                        client, _ = listener.accept()
                        threading.Thread(target=serve, args=(client,), daemon=True).start()
                """,
        ),
    )


def _children(server: Actor) -> list[str]:
    """The states of its children: "S", "Z" …"""
    listed = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    states = []
    for pid in listed:
        try:
            states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
        except OSError:  # it has just gone
            continue
    return states
