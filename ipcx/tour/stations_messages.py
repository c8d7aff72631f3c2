# SPDX-License-Identifier: Apache-2.0
"""The stations of messages and channels: same address space, send() and receive(), protocols, TLS.

Their programs hold both ends themselves and import ipcx; one runs on the standard library as well.
"""

from importlib.util import find_spec

from ipcx.tour.model import IPCX, Actor, Line, Need, Station


def lacks_trio() -> str | None:
    """Whether trio can be imported."""
    return None if find_spec("trio") else "trio is not installed"


def lacks_cryptography() -> str | None:
    """Whether `ipcx.tls.self_signed` can make certificates: the extra ``tls``."""
    return None if find_spec("cryptography") else "cryptography is not installed (the extra tls)"


def _alone(
    folder: str,
    program: str,
    title: str,
    teaches: str,
    *says: str,
    name: str = "",
    needs: tuple[Need, ...] = (),
) -> Station:
    actor = Actor(program, f"{folder}/{program}.py", on=(IPCX,), imports_ipcx=True)
    lines = tuple(Line(program, text) for text in says)
    return Station(name or program, title, teaches, (actor,), lines, needs=needs)


MESSAGES = (
    _alone(
        "same_address_space",
        "global_variable",
        "Same address space: a global variable",
        "Threads share their variables, and lose updates unless they take turns (a lock). A "
        "process has variables of its own.",
        "Without a lock steps are lost: True",
        "With a lock: 2000 of 2000",
        "A child process added 1 as well, and here it is still 2000",
    ),
    _alone(
        "same_address_space",
        "direct_call",
        "Same address space: a direct call, a channel, a copy",
        "A direct procedure call waits for its answer; over inproc:// the object itself changes "
        "hands and nobody waits; a copy is a message as between processes.",
        "Direct call: the same object: True",
        "Over inproc:// the object itself: ['called', 'received']",
        "With copy=True the receiver's own: b'a message'",
        "An object is no message: TypeError",
    ),
    _alone(
        "send_receive",
        "drawn",
        "Who sent what to whom: ipcx draw",
        "Programs run as they are, and afterwards it is known which bytes of a send came out of "
        "which receive. `ipcx draw server.py -- client.py` makes a picture of it.",
        "client's sendall → server's recv: b'who i'",
        "client's sendall → server's recv: b's the'",
        "client's sendall → server's recv: b're?'",
        "Each is sent before it is received: True",
    ),
    _alone(
        "send_receive",
        "messages",
        "Messages: text or binary, fixed or variable length",
        "What one send() sends, one receive() receives, over TCP as well: a text as a text, bytes "
        "as bytes, an empty one too.",
        "text, 31 long: 'a text of any length: grüß dich'",
        "binary, 22 long: b'\\x00\\x01 bytes of any length'",
        "binary, 14 long: b'\\x00\\x00\\x00\\x07\\xff\\xff?\\xe0\\x00\\x00\\x00\\x00\\x00\\x00'",
        "text, 0 long: ''",
    ),
    _alone(
        "send_receive",
        "synchronous",
        "Synchronous: the rendezvous",
        "With sync=True, send() returns when the receiver has received. A time-out ends the "
        "waiting, not the message, which is on its way.",
        "asynchronous: does not wait, sent receiving",
        "synchronous:  waits, receiving sent",
        "Nobody came within 0.1 s; is the message on its way all the same? True",
    ),
    _alone(
        "send_receive",
        "asynchronous",
        "Asynchronous: send() almost never blocks, receive() waits or polls",
        "Messages are buffered; only a full buffer makes the sender wait. A receiver waits, or "
        "polls and goes on with something else.",
        "Without a receiver, 3 messages fit; then send would block",
        "Polling: True and the message is message 1",
        "Polling: nothing there, go on with something else",
        "Waiting: the awaited one",
    ),
    _alone(
        "send_receive",
        "who_waits",
        "Synchronous or asynchronous? The table, measured",
        "A rendezvous costs a way there and back for each message; buffered messages flow.",
        "transport {any} waited",
        *["{any}//{any}synchronous{any}"] * 6,
        "The synchronous sender had to wait more often, everywhere: True",
    ),
    _alone(
        "send_receive",
        "with_trio",
        "Channels in an event loop of another library",
        "fileno() is readable whenever receive() would not wait, so whatever can wait for a "
        "descriptor can wait for a channel. (asyncio and uvloop have ipcx.aio.)",
        "one -> ONE",
        "two -> TWO",
        "three -> THREE",
        "The client has closed",
        needs=(Need("trio", lacks_trio),),
    ),
    _alone(
        "send_receive",
        "two_hosts",
        "A pipeline over two hosts",
        "ipcx send and ipcx receive connect standard input and output to any channel: who | ipcx "
        "send URL on one host, ipcx receive URL | sort on the other.",
        "There:  ipcx receive tcp://127.0.0.1:0 | sort",
        "Here:   printf 'pear\\nfig\\nplum\\n' | ipcx send URL",
        "There, sorted: fig pear plum",
    ),
    _alone(
        "send_receive",
        "traced",
        "Seeing what passes",
        "ipcx.trace() collects every call on channels and sockets, what it moved and how it ended; "
        "nothing on the way is changed.",
        "send 11 bytes",
        "receive 11 bytes",
        "receive raised WouldBlock",
        "sendall 5 bytes",
        "recv 5 bytes",
    ),
    _alone(
        "own_protocol",
        "protocol",
        "A protocol of one's own, and clients that break it",
        "Syntax, rules and vocabulary: whoever breaks one gets an answer that says which, loses "
        "only its own connection, and changes nothing.",
        "'HELLO'        -> OK 10",
        "'TAKE 3'       -> OK 7",
        "'BYE'          -> OK 7",
        "'HELLO'        -> OK 7",
        "'take 3'       -> NO syntax: WORD or WORD NUMBER",
        "'HELLO'        -> OK 7",
        "'STEAL 3'      -> NO vocabulary: no such word as STEAL",
        "'TAKE 3'       -> NO rules: HELLO first, and once",
        "'HELLO'        -> OK 7",
        "'TAKE 99'      -> NO meaning: there are only 7",
        "'HELLO'        -> OK 7",
        "'ADD 1'        -> OK 8",
        "'BYE'          -> OK 8",
    ),
    _alone(
        "mutual_tls",
        "lab",
        "Encrypted, and both sides prove who they are: TLS",
        "Nobody between the two can read or change what passes, and a certificate says who is "
        "there. Who has none of this lab's is not let in, and the server goes on.",
        "hello, client; this is TLSv1.3",
        "another one: {any}the peer's certificate: self-signed certificate; trust it: {any}",
        name="mutual_tls",
        needs=(Need("cryptography", lacks_cryptography),),
    ),
)
