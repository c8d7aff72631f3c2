# SPDX-License-Identifier: Apache-2.0
"""The stations of the tour, in the order in which they teach.

A new station: its programs in a folder of examples/ (with their two lines in examples/README.md)
and a record here. The engine picks free ports for `ports` and checks `says` and each `exit`.
"""

from typing import Any

from ipcx.tour import ports
from ipcx.tour.model import IPCX, STDLIB, Actor, Ended, Keys, Line, Listening, Need, Said, Station
from ipcx.tour.stations_datagrams import DATAGRAMS
from ipcx.tour.stations_host import HOST
from ipcx.tour.stations_languages import LANGUAGES
from ipcx.tour.stations_messages import MESSAGES
from ipcx.tour.stations_slides import SLIDES

SEES_LISTENERS = Need("/proc/net/tcp", ports.lacks_proc_net)

BOND = "The name is Bond. James Bond."


def pair(folder: str, port: int, *arguments: str, **both: Any) -> tuple[Actor, Actor]:
    """The usual two: a folder's server, and its client once the server listens on the port."""
    return (
        Actor("server", f"{folder}/server.py", **both),
        Actor("client", f"{folder}/client.py", arguments, when=Listening(port), **both),
    )


STATIONS: tuple[Station, ...] = (
    Station(
        name="hello_8080",
        title="The first server and the first client",
        teaches="A server binds, listens and accepts; a client connects. Then both can send "
        "and receive, whatever each is written with.",
        actors=pair("hello_8080", 8080),
        says=(
            Line("server", "Received b'Hello from client!'"),
            Line("client", "Received b'Hello from server!'"),
        ),
        ports=(8080,),
        needs=(SEES_LISTENERS,),
    ),
    Station(
        name="bond_65432",
        title="A server with a secret function",
        teaches="accept() returns a second socket for this one client; the server answers on "
        "it until recv() gives b'', which says that the client has closed.",
        actors=pair("bond_65432", 65432, "James Bond"),
        says=(
            Line("server", "Connected by ('127.0.0.1', {port})"),
            Line("client", f"Received '{BOND}'"),
        ),
        ports=(65432,),
        needs=(SEES_LISTENERS,),
    ),
    Station(
        name="refused",
        title="A client without a server",
        teaches="Nobody listens, so the kernel itself refuses: at once, with an error. Start "
        "the server first. (Run on ipcx, the error says so.)",
        actors=(Actor("client", "bond_65432/client.py", ("Is anybody there?",), exit=1),),
        says=(
            ...,
            Line("client", "ConnectionRefusedError: [Errno 111] Connection refused"),
            Line(
                "client",
                "Nobody listens at 127.0.0.1:{65432}. Start the server first.",
                only=IPCX,
            ),
            ...,
        ),
        ports=(65432,),
    ),
    Station(
        name="address_in_use",
        title="Two servers, one port",
        teaches="A port belongs to one listener at a time: the second bind() fails, and the "
        "first server does not notice. (Run on ipcx, the error says who holds the port.)",
        actors=(
            Actor("server", "hello_8080/server.py", on=(STDLIB,)),
            Actor("second", "hello_8080/server.py", when=Listening(8080), exit=1),
            Actor("client", "hello_8080/client.py", on=(STDLIB,), when=Ended("second")),
        ),
        says=(
            ...,
            Line("second", "OSError: [Errno 98] Address already in use"),
            Line("second", "Port {8080} is held by {any}", only=IPCX),
            ...,
            Line("server", "Received b'Hello from client!'"),
            Line("client", "Received b'Hello from server!'"),
        ),
        ports=(8080,),
        needs=(SEES_LISTENERS,),
    ),
    Station(
        name="stoppable_server",
        title="Stopping a server from another thread",
        teaches="On ipcx, close() ends an accept() that another thread waits in. On the "
        "stdlib's sockets that thread would wait for ever.",
        actors=(
            Actor(
                "server",
                "stoppable_server/server.py",
                on=(IPCX,),
                typed=(Keys("\n", Ended("client")),),
            ),
            Actor(
                "client",
                "stoppable_server/client.py",
                on=(IPCX,),
                when=Said("server", "Press Enter to stop the server"),
            ),
        ),
        says=(
            Line("server", "Press Enter to stop the server"),
            Line("client", "Received b'Hello from the thread!'"),
            Line("server", "accept ended: [Errno 9] Bad file descriptor"),
            Line("server", "The thread has ended"),
        ),
        ports=(8081,),
    ),
    Station(
        name="byte_stream",
        title="TCP is a stream of bytes",
        teaches="What one send() wrote may arrive in pieces, or glued to the next: a protocol "
        "marks its messages by a delimiter or by a size.",
        actors=pair("byte_stream", 8082, on=(IPCX,), imports_ipcx=True),
        says=(
            Line("client", "Sending 3 lines at once, 8 bytes in two pieces, half a message"),
            Line("server", r"recv(7)            b'one\ntwo'"),
            Line("server", r"recv_until(b'\n')  b'one\n'"),
            Line("server", r"recv_until(b'\n')  b'two\n'"),
            Line("server", r"recv_until(b'\n')  b'three\n'"),
            Line("server", "recv_exactly(8)    b'12345678'"),
            Line("server", "recv_exactly(8)    PeerClosed; until then: b'half'"),
        ),
        ports=(8082,),
        needs=(SEES_LISTENERS,),
    ),
    *LANGUAGES,
    *SLIDES,
    *DATAGRAMS,
    *MESSAGES,
    *HOST,
)
