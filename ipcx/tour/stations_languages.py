# SPDX-License-Identifier: Apache-2.0
"""The stations in which programs in Python, C and Java meet, and the lecture's fragments in C."""

from typing import Any

from ipcx.tour import ports
from ipcx.tour.model import (
    IPCX,
    JAVA,
    STDLIB,
    Actor,
    All,
    AnyOrder,
    Bound,
    C,
    Ended,
    Keys,
    Line,
    Listening,
    Need,
    Started,
    Station,
    When,
)

SEES_PORTS = Need("/proc/net/tcp", ports.lacks_proc_net)
EVERYTHING = (STDLIB, IPCX, C, JAVA)
SENTENCE = "Hello from the keyboard!"


def _upper(folder: str, protocol: str, ready: When) -> tuple[Actor, Actor]:
    """A server that serves for ever, and a client to which a line is typed, in each language."""

    def actor(role: str, **how: Any) -> Actor:
        also = {C: f"{folder}/{role}.c", JAVA: f"{folder}/{protocol}{role.title()}.java"}
        return Actor(role, f"{folder}/{role}.py", on=EVERYTHING, also=also, **how)

    typed = (Keys(SENTENCE + "\n", Started()),)
    return actor("server", lasts=True), actor("client", when=ready, typed=typed)


def _c(name: str, program: str, **how: Any) -> Actor:
    return Actor(name, program, on=(C,), **how)


def _java(name: str, program: str, **how: Any) -> Actor:
    return Actor(name, program, on=(JAVA,), **how)


LANGUAGES = (
    Station(
        name="upper_tcp",
        title="One protocol, three languages: TCP",
        teaches="A line goes to the server and comes back in upper case. Every client "
        "understands every server, since all keep to one rule: a line ends with a newline. In "
        "which pieces it arrives does not matter; Java's writeBytes() sends byte by byte.",
        actors=_upper("upper_tcp", "TCP", Listening(6789)),
        says=(Line("client", f"FROM SERVER: {SENTENCE.upper()}"),),
        ports=(6789,),
        needs=(SEES_PORTS,),
    ),
    Station(
        name="upper_udp",
        title="One protocol, three languages: UDP",
        teaches="The same by datagrams: no connection, no newline. A datagram is one message, "
        "and brings its sender's address along, to which the server answers.",
        actors=_upper("upper_udp", "UDP", Bound(9876)),
        says=(Line("client", f"FROM SERVER:{SENTENCE.upper()}"),),
        ports=(9876,),
        needs=(SEES_PORTS,),
    ),
    Station(
        name="java_padding",
        title="Java's getData() is the whole array",
        teaches="The slides make a string of all 1024 bytes: a line, then what an earlier, "
        "longer one has left there, then NUL. The cure is getLength(), and both sides need it: "
        "the third client has it, but the slide's server sends 1024 bytes all the same.",
        actors=(
            _java("server", "upper_udp/UDPServerPadded.java", lasts=True),
            _java(
                "first",
                "upper_udp/UDPClientPadded.java",
                when=Bound(9876),
                typed=(Keys("my secret password\n", Started()),),
            ),
            _java(
                "second",
                "upper_udp/UDPClientPadded.java",
                when=All((Bound(9876), Ended("first"))),
                typed=(Keys("hello\n", Started()),),
            ),
            _java(
                "third",
                "upper_udp/UDPClient.java",
                when=All((Bound(9876), Ended("second"))),
                typed=(Keys("hi\n", Started()),),
            ),
        ),
        says=(
            Line("first", "FROM SERVER:MY SECRET PASSWORD" + "\0" * 1006),
            Line("first", "These are 1024 characters."),
            Line("second", "FROM SERVER:HELLOCRET PASSWORD" + "\0" * 1006),
            Line("second", "These are 1024 characters."),
            Line("third", "FROM SERVER:HILLOCRET PASSWORD" + "\0" * 1006),
        ),
        ports=(9876,),
        needs=(SEES_PORTS,),
    ),
    Station(
        name="c_stream",
        title="The lecture's TCP in C",
        teaches="The slide's calls with all that they need around them: socket, connect and "
        "write; socket, bind, listen, accept and read.",
        actors=(
            _c("server", "c_fragments/stream_server.c"),
            _c("client", "c_fragments/stream_client.c", when=Listening(6790)),
        ),
        says=(
            AnyOrder(
                (
                    Line("client", "Sent 7 bytes"),
                    Line("server", "Received 7 bytes: message"),
                )
            ),
        ),
        ports=(6790,),
        needs=(SEES_PORTS,),
    ),
    Station(
        name="c_datagram",
        title="The lecture's UDP in C",
        teaches="Both sides bind: the receiver to a port that is known, the sender to any that "
        "is free. recvfrom() says from which the datagram came.",
        actors=(
            _c("receiver", "c_fragments/datagram_receiver.c"),
            _c("sender", "c_fragments/datagram_sender.c", when=Bound(9877)),
        ),
        says=(
            AnyOrder(
                (
                    Line("sender", "Sent 7 bytes"),
                    Line("receiver", "Received 7 bytes: message"),
                    Line("receiver", "Sent by 127.0.0.1, port {port}"),
                )
            ),
        ),
        ports=(9877,),
        needs=(SEES_PORTS,),
    ),
)
