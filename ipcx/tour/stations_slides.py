# SPDX-License-Identifier: Apache-2.0
"""The stations for what the slides state or ask of TCP: a small program, or a few, for each.

Most have one pairing, a mixed one; programs that are alone run on both. UDP: `stations_datagrams`.
"""

import socket
from typing import Any

from ipcx.tour import ports
from ipcx.tour.model import (
    IPCX,
    STDLIB,
    Actor,
    AnyOrder,
    Line,
    Listening,
    Need,
    Said,
    Script,
    Station,
)

CLIENTS = "50 of 50"  # how a program of fifty clients, and its server, say that all were served


def lacks_ipv6() -> str | None:
    """Whether a server can be at ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        return f"this machine has no IPv6 ({error.strerror})"
    return None


SEES_LISTENERS = Need("/proc/net/tcp", ports.lacks_proc_net)
IPV6 = Need("IPv6", lacks_ipv6)


def alone(folder: str, program: str, title: str, teaches: str, *says: str) -> Station:
    """A station of one program that holds both ends itself, on the stdlib and on ipcx."""
    lines = tuple(Line(program, text) for text in says)
    actor = Actor(program, f"{folder}/{program}.py")
    return Station(program, title, teaches, (actor,), lines)


def _tcp(folder: str, port: int, title: str, teaches: str, says: Script, **rest: Any) -> Station:
    """A server on ipcx and a client on the stdlib, in one folder, at one TCP port."""
    actors = (
        Actor("server", f"{folder}/server.py", on=(IPCX,)),
        Actor("client", f"{folder}/client.py", on=(STDLIB,), when=Listening(port)),
    )
    needs = (SEES_LISTENERS, *rest.pop("needs", ()))
    return Station(folder, title, teaches, actors, says, (port,), needs, **rest)


def _many(program: str, title: str, teaches: str, how: str, **rest: Any) -> Station:
    """One of the servers of many_clients, and the program that is fifty clients."""
    actors = (
        Actor("server", f"many_clients/{program}.py", on=(IPCX,)),
        Actor("clients", "many_clients/clients.py", on=(STDLIB,), when=Listening(8083)),
    )
    says = (
        Line("server", "Listening"),
        Line("clients", "50 clients are connected at the same time"),
        AnyOrder(
            (
                Line("clients", f"{CLIENTS} were answered"),
                Line("server", f"Served {CLIENTS} clients{how}"),
            )
        ),
    )
    needs = (SEES_LISTENERS, *rest.pop("needs", ()))
    return Station(f"many_{program}", title, teaches, actors, says, (8083,), needs, **rest)


MANY_CLIENTS = (
    _many(
        "iterative",
        "Can multiple clients use the server? One after the other",
        "While one client is answered the others wait in the kernel's queue. Whoever says nothing "
        "holds them all up, so each has a time limit.",
        ", one after the other",
    ),
    _many(
        "threaded",
        "Can multiple clients use the server? A thread for each",
        "accept() gives a new socket for each client, and a thread of its own talks to it.",
        ", each by a thread",
    ),
    _many(
        "forking",
        "Can multiple clients use the server? A process for each",
        "fork() copies the process with its sockets: the child talks, the parent accepts.",
        ", each by a process",
    ),
    _many(
        "selector",
        "Can multiple clients use the server? One thread that waits for all",
        "select() says which sockets have something to read, so no recv() has to wait.",
        " by one thread that waits for all",
    ),
    _many(
        "async_io",
        "Can multiple clients use the server? Coroutines",
        "asyncio waits for all sockets in one thread, and goes on with whoever can go on.",
        ", each by a coroutine",
    ),
)

ADDRESSES = (
    Station(
        "socket_pair",
        "A socket pair identifies a session",
        "Two clients at once: the accepted sockets are new, their port is the listener's. Only the "
        "clients' halves of the pairs differ.",
        (
            Actor("server", "socket_pair/server.py", on=(IPCX,)),
            Actor("one", "socket_pair/client.py", on=(STDLIB,), when=Listening(8084)),
            Actor(
                "two",
                "socket_pair/client.py",
                on=(IPCX,),
                when=Said("server", "Session 1: {any}"),
            ),
        ),
        (
            Line("server", "Listening at ('127.0.0.1', {8084})"),
            AnyOrder(
                (
                    Line("one", "I am ('127.0.0.1', {port}) and talk to ('127.0.0.1', {8084})"),
                    Line("server", "Session 1: ('127.0.0.1', {8084}) + ('127.0.0.1', {port})"),
                    Line("two", "I am ('127.0.0.1', {port}) and talk to ('127.0.0.1', {8084})"),
                    Line("server", "Session 2: ('127.0.0.1', {8084}) + ('127.0.0.1', {port})"),
                    Line("server", "Three different sockets: True"),
                    Line("server", "All three have port {8084}"),
                    Line("one", "Received 'You are session 1'"),
                    Line("two", "Received 'You are session 2'"),
                )
            ),
        ),
        (8084,),
        (SEES_LISTENERS,),
    ),
    _tcp(
        "any_host",
        8085,
        'HOST = "": all addresses of this machine',
        "An empty host is all IPv4 interfaces; a client may come by any address, or by a name, "
        "which is looked up first.",
        (
            Line("server", "Listening at ('0.0.0.0', {8085})"),
            AnyOrder(
                (
                    Line("server", "Somebody came to ('127.0.0.1', {8085})"),
                    Line("server", "Somebody came to ('127.0.0.2', {8085})"),
                    Line("server", "Somebody came to ('127.0.0.1', {8085})"),
                    Line("client", "127.0.0.1 is 127.0.0.1 and says 'Welcome!'"),
                    Line("client", "127.0.0.2 is 127.0.0.2 and says 'Welcome!'"),
                    Line("client", "localhost is 127.0.0.1 and says 'Welcome!'"),
                )
            ),
        ),
    ),
    Station(
        "ipv6",
        "The same over IPv6",
        "Another address family, and addresses of four parts; all else stays.",
        (
            Actor("server", "ipv6/server.py", on=(IPCX,)),
            Actor(
                "client",
                "ipv6/client.py",
                on=(STDLIB,),
                when=Said("server", "Listening at ('::1', {8086}, 0, 0)"),
            ),
        ),
        (
            Line("server", "Listening at ('::1', {8086}, 0, 0)"),
            AnyOrder(
                (
                    Line("server", "Connected by ('::1', {port}, 0, 0)"),
                    Line("client", "Connected to ('::1', {8086}, 0, 0)"),
                    Line("client", "Received 'Hello over IPv6!'"),
                )
            ),
        ),
        (8086,),
        (IPV6,),
    ),
    alone(
        "port_ranges",
        "ports",
        "Well-known, registered and dynamic ports",
        "A service has a port by agreement; port 0 asks the kernel for a free one. Below 1024 not "
        "everybody may bind.",
        "getservbyname: http{any}",
        "getservbyname: https{any}",
        "bind to port 80: {any}",
        "bind to port 0: got {port}, {any}",
        "bind to port -1: a port is a number of 16 bits",
        "bind to port 65536: a port is a number of 16 bits",
    ),
)

STREAMS = (
    alone(
        "buffers",
        "how_much_fits",
        "Sending and receiving buffers",
        "send() copies into the kernel's buffers and waits only when both sides' are full; what "
        "was sent before can still be read.",
        "{any} bytes fitted before send() had to wait; {any} were read afterwards",
        "{any} bytes fitted before send() had to wait; {any} were read afterwards",
        "Smaller buffers hold less: True",
    ),
    alone(
        "backlog",
        "backlog",
        "backlog: who waits for accept()",
        "The kernel connects clients before anybody calls accept(), as many as the backlog allows; "
        "Linux takes one more, and does not refuse the next but leaves it without an answer.",
        "listen(2): 3 are connected, and nobody has called accept()",
        "The next one gets no answer",
        "After one accept() another one is connected: True",
    ),
    alone(
        "flags",
        "flags",
        "Flags: look, wait for all, urgent",
        "recv() and send() take flags that read() and write() have not.",
        "MSG_PEEK     b'hello'",
        "once more    b'hello'",
        "MSG_PEEK     b'one half,'",
        "MSG_WAITALL  b'one half, the other'",
        "MSG_OOB      b'!'",
        "after it     b'in order'",
    ),
    alone(
        "like_files",
        "as_a_file",
        "Sockets mimic file operations",
        "makefile() gives a file object, os.read() and os.write() take the descriptor; only a "
        "position there is not.",
        r"A line of the file: 'first line\n'",
        r"A line of the file: 'second line\n'",
        "os.write() wrote 26 bytes",
        "os.read() read b'straight to the descriptor'",
        "os.lseek(): Illegal seek",
    ),
    alone(
        "like_files",
        "in_parts",
        "sendmsg() and recvmsg()",
        "One datagram out of several parts and into several buffers; flags say what was cut off.",
        "sendmsg() sent 13 bytes of three parts; received b'head|and body'",
        "From the client: True",
        "recvmsg_into() filled two buffers: b'head' b'and body'",
        "Only 4 bytes were asked for: b'too ' - cut off: True",
    ),
    _tcp(
        "full_duplex",
        8087,
        "Full duplex: both ways at the same time",
        "Both sides send more than the buffers hold before either would read: a second thread "
        "receives meanwhile, on the same socket.",
        (
            AnyOrder(
                (
                    Line("server", "The server has received 8388608 bytes meanwhile"),
                    Line("client", "The client has received 8388608 bytes meanwhile"),
                )
            ),
        ),
    ),
    _tcp(
        "shared_socket",
        8088,
        "One socket shared by threads",
        "Threads may use the same socket; a lock makes one line one turn.",
        (
            AnyOrder(
                (
                    Line("client", "4 threads have shared one socket"),
                    *(
                        Line("server", f"Thread {name} sent 100 lines, in order: True")
                        for name in "ABCD"
                    ),
                )
            ),
        ),
    ),
)

SLIDES = MANY_CLIENTS + ADDRESSES + STREAMS
