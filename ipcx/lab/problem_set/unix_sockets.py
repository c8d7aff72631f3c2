# SPDX-License-Identifier: Apache-2.0
"""Notebook 10: Unix-domain sockets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from ipcx.lab.check import Failed, Finding, Stage, good
from ipcx.lab.exercises import Problem, Sources, Wrong

__all__ = ["DatagramClient", "PassDescriptor", "WhoAreYou"]


class DatagramClient(Problem):
    """A client of a datagram server: answers come to who has a name."""

    id = "unix-datagram-client"
    title = "A client that can be answered"
    topic = "10"
    roles = ("client",)
    hints = (
        "the server answers to the address that recvfrom() gives it; what is yours?",
        "bind() the client's socket to a path of its own before it sends, and unlink it after.",
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"numbers": [draw.randrange(2, 100) for _ in range(5)]}

    def text(self) -> str:
        return """
            A server has bound a datagram socket of the family `AF_UNIX` to the path `server`. It
            sends each number that it gets, as decimal digits, back squared, to the address that the
            datagram came from. Write the program `client`: it finds the names `server`, `mine` (a
            path that nobody uses yet) and `numbers`, has each number squared, and prints the
            squares, each on a line. When it ends, nothing of it is left in the file system.
            """

    SERVER = """
import os, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.bind(server)
    for _ in range(count):
        data, address = sock.recvfrom(100)
        if not address:
            fail("the server got a datagram from nobody: a Unix socket that is not bound has no "
                 "address, and cannot be answered")
        sock.sendto(b"%d" % int(data) ** 2, address)
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        numbers = self.given["numbers"]
        where, mine = stage.folder / "server", stage.folder / "mine"
        server = stage.play("server", self.SERVER, server=str(where), count=len(numbers))
        stage.until(where.exists, "the server has made no socket", server)
        client = stage.start("client", server=str(where), mine=str(mine), numbers=numbers)
        stage.finish(client)
        stage.finish(server)
        yield good(f"the server has answered {len(numbers)} datagrams")
        wanted = [str(number**2) for number in numbers]
        yield Finding(
            client.lines == wanted,
            f"the client has printed {client.lines}; the squares are {wanted}",
        )
        left = mine.exists()
        yield Finding(
            not left,
            "the client has ended, and its path is still there: unlink it"
            if left
            else "nothing is left of the client in the file system",
        )

    solution = Sources(
        client="""
            import os, socket

            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.bind(mine)
                try:
                    for number in numbers:
                        sock.sendto(str(number).encode(), server)
                        print(int(sock.recv(100)))
                finally:
                    os.unlink(mine)
            """,
    )
    broken = (
        Wrong(
            "has no name",
            "a Unix socket that is not bound has no address",
            client="""
                import socket

                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                    for number in numbers:
                        sock.sendto(str(number).encode(), server)
                        print(int(sock.recv(100)))
                """,
        ),
        Wrong(
            "leaves its path behind",
            "its path is still there: unlink it",
            client="""
                import socket

                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                    sock.bind(mine)
                    for number in numbers:
                        sock.sendto(str(number).encode(), server)
                        print(int(sock.recv(100)))
                """,
        ),
        Wrong(
            "prints what it sent",
            "the client has printed",
            client="""
                import os, socket

                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                    sock.bind(mine)
                    for number in numbers:
                        sock.sendto(str(number).encode(), server)
                        sock.recv(100)
                        print(number)
                    os.unlink(mine)
                """,
        ),
    )


class PassDescriptor(Problem):
    """Open files travel over a Unix socket, not their numbers."""

    id = "unix-pass-descriptor"
    title = "Pass an open file"
    topic = "10"
    roles = ("opener",)
    hints = (
        "the number of a descriptor means something in one process only; socket.send_fds() sends "
        "the open file behind it.",
        "sending makes a copy for the receiver: your own descriptor is still open, and still yours "
        "to close.",
    )

    FILES = 600  # more than a program of a check may have open

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"secret": f"secret number {draw.randrange(10**6)}"}

    def text(self) -> str:
        return f"""
            The program `opener` may open files that its client may not. It finds the name `path`,
            listens there on a Unix-domain stream socket, accepts one client, and for each line that
            the client sends, the name of a file, opens that file for reading and sends the
            descriptor back with the one byte `b"."`. When the client is gone, it ends. The client
            asks for {self.FILES} files, one after the other, and waits for each answer.
            """

    CLIENT = """
import os, socket
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(path)
    for number in range(count):
        sock.sendall(file.encode() + b"\\n")
        data, fds, _, _ = socket.recv_fds(sock, 100, 4)
        if not data:
            tell(number)
            break
        if len(fds) != 1:
            fail(f"an answer brought {data!r} and {len(fds)} descriptors: the number of a "
                 "descriptor means nothing in another process")
        if os.fstat(fds[0]).st_ino != os.stat(file).st_ino:
            fail("the descriptor that came is not that file's")
        if number == 0:
            tell(os.read(fds[0], 100).decode())
        os.close(fds[0])
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        path, file = stage.folder / "opener", stage.folder / "file"
        file.write_text(self.given["secret"])
        opener = stage.start("opener", path=str(path))
        stage.listens_at(opener, str(path))
        yield good("the opener listens")
        client = stage.play("client", self.CLIENT, path=str(path), file=str(file), count=self.FILES)
        stage.finish(client)
        secret, *served = client.told or [""]
        if served or secret != self.given["secret"]:
            stage.finish(opener)  # it may say more
            raise Failed(f"opener hung up after {client.told[-1]} of {self.FILES} files")
        yield good(f"the client has read {secret!r} from a file that it never opened")
        stage.finish(opener)
        yield good(f"{self.FILES} descriptors were passed, and the opener has none of them left")

    solution = Sources(
        opener="""
            import os, socket

            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen()
                client, _ = listener.accept()
            with client, client.makefile("r") as lines:
                for line in lines:
                    fd = os.open(line.rstrip("\\n"), os.O_RDONLY)
                    socket.send_fds(client, [b"."], [fd])
                    os.close(fd)
            """,
    )
    broken = (
        Wrong(
            "sends the number",
            "the number of a descriptor means nothing in another process",
            opener="""
                import os, socket

                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(path)
                    listener.listen()
                    client, _ = listener.accept()
                with client, client.makefile("r") as lines:
                    for line in lines:
                        fd = os.open(line.rstrip("\\n"), os.O_RDONLY)
                        client.sendall(str(fd).encode())
                """,
        ),
        Wrong(
            "keeps its own copies",
            "Too many open files",
            opener="""
                import os, socket

                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(path)
                    listener.listen()
                    client, _ = listener.accept()
                with client, client.makefile("r") as lines:
                    for line in lines:
                        fd = os.open(line.rstrip("\\n"), os.O_RDONLY)
                        socket.send_fds(client, [b"."], [fd])
                """,
        ),
    )


class WhoAreYou(Problem):
    """The kernel knows who is at the other end."""

    id = "unix-who-are-you"
    title = "Who is at the other end?"
    topic = "10"
    roles = ("server",)
    hints = (
        "what a client says of itself it may have made up: ask the kernel, getsockopt(SOL_SOCKET, "
        "SO_PEERCRED, 12).",
        'struct.unpack("iII", …) makes pid, uid and gid of the 12 bytes.',
    )

    def variants(self, draw: Random) -> Mapping[str, Any]:
        return {"lies": [draw.randrange(2, 1000) for _ in range(3)]}

    def text(self) -> str:
        return """
            Write the program `server`. It finds the name `path`, listens there on a Unix-domain
            stream socket, and serves three clients, one after the other: each says on a line which
            process it claims to be, and gets a line back: the pid that the kernel knows it by, and
            `true` or `lie`, such as `4711 lie`.
            """

    CLIENT = """
import os, socket
claim = lie or os.getpid()
with socket.socket(socket.AF_UNIX) as sock, sock.makefile("r") as lines:
    sock.connect(path)
    sock.sendall(b"%d\\n" % claim)
    answer = lines.readline().split()
wanted = [str(os.getpid()), "lie" if lie else "true"]
if answer != wanted:
    fail(f"process {os.getpid()} said it is {claim} and was answered {' '.join(answer)!r}, not "
         f"{' '.join(wanted)!r}")
"""

    def check(self, stage: Stage) -> Iterator[Finding]:
        path = stage.folder / "server"
        server = stage.start("server", path=str(path))
        stage.listens_at(server, str(path))
        yield good("the server listens")
        for lie in (0, self.given["lies"][0], 0):
            client = stage.play("client", self.CLIENT, path=str(path), lie=lie)
            stage.finish(client)
            yield good(f"who {'lies is found out' if lie else 'says the truth is believed'}")
        stage.finish(server)

    solution = Sources(
        server="""
            import socket, struct

            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen()
                for _ in range(3):
                    client, _ = listener.accept()
                    with client, client.makefile("r") as lines:
                        claimed = int(lines.readline())
                        known = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                        pid, uid, gid = struct.unpack("iII", known)
                        verdict = "true" if claimed == pid else "lie"
                        client.sendall(f"{pid} {verdict}\\n".encode())
            """,
    )
    broken = (
        Wrong(
            "believes everybody",
            "said it is",
            server="""
                import socket

                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(path)
                    listener.listen()
                    for _ in range(3):
                        client, _ = listener.accept()
                        with client, client.makefile("r") as lines:
                            client.sendall(f"{int(lines.readline())} true\\n".encode())
                """,
        ),
        Wrong(
            "asks for its own pid",
            "and was answered",
            server="""
                import os, socket

                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(path)
                    listener.listen()
                    for _ in range(3):
                        client, _ = listener.accept()
                        with client, client.makefile("r") as lines:
                            claimed = int(lines.readline())
                            verdict = "true" if claimed == os.getpid() else "lie"
                            client.sendall(f"{os.getpid()} {verdict}\\n".encode())
                """,
        ),
        Wrong(
            "serves one",
            "Connection refused",
            server="""
                import socket, struct

                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(path)
                    listener.listen()
                    client, _ = listener.accept()
                with client, client.makefile("r") as lines:
                    claimed = int(lines.readline())
                    known = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                    pid, uid, gid = struct.unpack("iII", known)
                    verdict = "true" if claimed == pid else "lie"
                    client.sendall(f"{pid} {verdict}\\n".encode())
                """,
        ),
    )
