# SPDX-License-Identifier: Apache-2.0
"""The stations for what the slides state or ask of UDP.

A UDP server cannot be seen to listen as TCP's can, so each says that it waits; clients start then.
"""

import socket
from typing import Any

from ipcx.tour.model import IPCX, STDLIB, Actor, All, AnyOrder, Line, Need, Said, Station
from ipcx.tour.stations_slides import CLIENTS, alone

GROUP = "239.1.2.3"
LOOPBACK = "127.0.0.1"


def lacks_multicast() -> str | None:
    """Whether a datagram can be sent to a group over the loopback interface."""
    interface = socket.inet_aton(LOOPBACK)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface
            )
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            probe.bind(("", 0))
            probe.sendto(b"", (GROUP, probe.getsockname()[1]))
    except OSError as error:
        return f"this machine has no route for multicast ({error.strerror})"
    return None


MULTICAST = Need("multicast", lacks_multicast)

FEW = (
    alone(
        "udp_loss",
        "overflow",
        "UDP: what finds no room is lost",
        "The receiver's buffer is full, the kernel drops what comes, and sendto() says nothing.",
        "Sent 200 datagrams of 1000 bytes; sendto() has not complained",
        "{any} arrived, {any} are lost",
        "It is the last ones that found no room: True",
        "Read one by one: 200 of 200 arrived",
    ),
    Station(
        "udp_two_servers",
        "Two servers, told apart by their ports",
        "The packet reaches the machine by its IP address; the port says for which socket it is.",
        (
            Actor("red", "udp_two_servers/server.py", ("red",), on=(IPCX,)),
            Actor("blue", "udp_two_servers/server.py", ("blue",), on=(STDLIB,)),
            Actor(
                "client",
                "udp_two_servers/client.py",
                on=(IPCX,),
                when=All(
                    (
                        Said("red", "Waiting at port {9001}"),
                        Said("blue", "Waiting at port {9002}"),
                    )
                ),
            ),
        ),
        (
            AnyOrder(
                (Line("red", "Waiting at port {9001}"), Line("blue", "Waiting at port {9002}"))
            ),
            AnyOrder(
                (
                    Line("red", "Received b'Who are you?' from ('127.0.0.1', {port})"),
                    Line("client", "Port {9001} says 'I am the red server'"),
                    Line("blue", "Received b'Who are you?' from ('127.0.0.1', {port})"),
                    Line("client", "Port {9002} says 'I am the blue server'"),
                )
            ),
        ),
        (9001, 9002),
    ),
    Station(
        "udp_silent",
        "A server that never answers",
        "UDP does not say whether the question or the answer was lost: the client sets a time "
        "limit, tries again, and gives up.",
        (
            Actor("server", "udp_silent/server.py", on=(STDLIB,)),
            Actor(
                "client",
                "udp_silent/client.py",
                on=(IPCX,),
                when=Said("server", "Waiting at port {9003}"),
            ),
        ),
        (
            Line("server", "Waiting at port {9003}"),
            AnyOrder(
                (
                    *(
                        Line("server", f"Received b'Question, try {n}' and say nothing")
                        for n in (1, 2, 3)
                    ),
                    *(Line("client", f"Try {n}: no answer within 0.3 seconds") for n in (1, 2, 3)),
                    Line("client", "Given up"),
                )
            ),
        ),
        (9003,),
    ),
    Station(
        "udp_nobody",
        "No server at all",
        "A UDP socket that connect() has tied to one address is told that nobody is there; one "
        "that uses sendto() is not.",
        (Actor("client", "udp_silent/nobody.py"),),
        (
            Line("client", "connect() went well"),
            Line("client", "send() went well, too: 17 bytes"),
            Line("client", "recv(): Connection refused"),
        ),
        (9003,),
    ),
    Station(
        "udp_many_clients",
        "One socket for many clients",
        "Without connections there is no second socket: each datagram brings its sender's address, "
        "and the answer goes there.",
        (
            Actor("server", "udp_many_clients/server.py", on=(IPCX,)),
            Actor(
                "clients",
                "udp_many_clients/clients.py",
                on=(STDLIB,),
                when=Said("server", "Waiting at port {9004}"),
            ),
        ),
        (
            Line("server", "Waiting at port {9004}"),
            AnyOrder(
                (
                    Line("server", "Answered 50 different clients with one socket"),
                    Line("clients", f"{CLIENTS} were answered"),
                )
            ),
        ),
        (9004,),
    ),
    Station(
        "udp_discovery",
        "Sending without knowing IP address or port",
        "The client asks everybody, by broadcast; the server's answer brings its address and the "
        "port of its service. Only the port where one asks must be agreed on.",
        (
            Actor("server", "udp_discovery/server.py", on=(IPCX,)),
            Actor(
                "client",
                "udp_discovery/client.py",
                on=(STDLIB,),
                when=Said("server", "Waiting for questions at port {9005}"),
            ),
        ),
        (
            Line("server", "Waiting for questions at port {9005}"),
            AnyOrder(
                (
                    Line("server", "Asked b'Where is the service?'"),
                    Line("client", "It is at ('127.0.0.1', {port})"),
                    Line("client", "Received 'You have found me'"),
                )
            ),
        ),
        (9005,),
    ),
)


def _to_many(how: str, title: str, teaches: str, text: str, *first: str, **rest: Any) -> Station:
    """Two receivers and one sender, which sends once."""
    waits = [Said(name, f"{name} waits") for name in ("A", "B")]
    return Station(
        f"udp_{how}",
        title,
        teaches,
        (
            Actor("A", "udp_to_many/receiver.py", ("A",), on=(IPCX,)),
            Actor("B", "udp_to_many/receiver.py", ("B",), on=(STDLIB,)),
            Actor("sender", f"udp_to_many/{how}.py", on=(IPCX,), when=All(tuple(waits))),
        ),
        (
            ...,
            AnyOrder(
                (
                    *(Line("sender", line) for line in first),
                    Line("sender", "Sent once"),
                    Line("A", f"A received {text}"),
                    Line("B", f"B received {text}"),
                )
            ),
        ),
        (9007,),
        **rest,
    )


TO_MANY = (
    _to_many(
        "broadcast",
        "Point-to-multipoint: to everybody",
        "One datagram reaches every socket at that port; the sender must say that it means it.",
        "b'Hello, everybody!'",
        "Broadcast must be allowed first",
    ),
    _to_many(
        "multicast",
        "Point-to-multipoint: to the members of a group",
        "One datagram reaches all who have joined the group.",
        "b'Hello, members!'",
        needs=(MULTICAST,),
    ),
)

DATAGRAMS = FEW + TO_MANY
