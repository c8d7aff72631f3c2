# SPDX-License-Identifier: Apache-2.0
"""``ipcx send URL`` and ``ipcx receive URL``: standard input and output over any channel.

    who | ipcx send tcp://elsewhere:5000          on one host
    ipcx receive tcp://0.0.0.0:5000 --insecure | sort        on the other

What `receive` writes is, byte for byte, what `send` read: bytes are written as they come, a text
(``send --lines``) as a line.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

import ipcx
from ipcx.channel import TRANSPORTS

__all__ = ["main_receive", "main_send"]

PIECE = 65536  # bytes of standard input in one message


def _parser(verb: str, what: str, other: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"ipcx {verb}",
        description=what,
        epilog=f"The other end: ipcx {other} URL. Schemes: {', '.join(TRANSPORTS)}.",
    )
    parser.add_argument("url", metavar="URL", help="such as tcp://127.0.0.1:5000, unix:///tmp/s")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="how long to wait for the other end"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="listen although the network can connect"
    )
    parser.add_argument("--stats", action="store_true", help="at the end, say how much passed")
    return parser


def _open(arguments: argparse.Namespace, listening: bool) -> ipcx.Channel:
    url, timeout = arguments.url, arguments.timeout
    if not listening or url.startswith("pipe:"):
        return ipcx.connect(url, 5 if timeout is None else timeout)
    if url.lower().startswith("tls:"):
        raise ipcx.Unsupported(
            "a tls:// listener needs a certificate: ipcx.listen(url, tls=context) in a program"
        )
    with ipcx.listen(url, insecure=arguments.insecure) as listener:
        if listener.url != url:
            print(f"listening on {listener.url}", file=sys.stderr, flush=True)
        return listener.accept(timeout)


def _pieces(url: str) -> Iterator[bytes]:
    """Standard input as it comes: what is there is sent at once."""
    largest = TRANSPORTS[url.partition("://")[0].lower()].largest or PIECE
    while piece := os.read(0, min(PIECE, largest)):
        yield piece


def _told(channel: ipcx.Channel, arguments: argparse.Namespace) -> None:
    if arguments.stats:
        seen = channel.stats()
        print(
            f"sent {seen.sent} messages, {seen.sent_bytes} bytes; "
            f"received {seen.received} messages, {seen.received_bytes} bytes",
            file=sys.stderr,
        )


def main_send(argv: Sequence[str]) -> int:
    """Standard input to a channel. 0: all was sent; 1: it could not be."""
    parser = _parser("send", "Sends standard input over a channel.", "receive")
    parser.add_argument("--lines", action="store_true", help="each line is a message, a text")
    parser.add_argument("--listen", action="store_true", help="wait for the receiver to connect")
    arguments = parser.parse_args(argv)
    try:
        with _open(arguments, arguments.listen) as channel:
            if arguments.lines:
                for line in sys.stdin:
                    channel.send(line.removesuffix("\n"))
            else:
                for piece in _pieces(channel.url):
                    channel.send(piece)
            _told(channel, arguments)
    except (ipcx.Error, OSError, UnicodeDecodeError) as error:
        print(f"ipcx send: {error}", file=sys.stderr)
        return 1
    return 0


def main_receive(argv: Sequence[str]) -> int:
    """A channel to standard output. 0: the sender has ended; 1: it died, or nobody came."""
    parser = _parser("receive", "Writes what comes over a channel to standard output.", "send")
    parser.add_argument("--connect", action="store_true", help="connect to a sender that listens")
    arguments = parser.parse_args(argv)
    out = sys.stdout.buffer
    try:
        with _open(arguments, not arguments.connect) as channel:
            for message in channel:
                out.write(message.encode() + b"\n" if isinstance(message, str) else message)
                if not channel.poll():
                    out.flush()
            out.flush()
            _told(channel, arguments)
    except BrokenPipeError:
        raise  # the reader of our output has gone
    except (ipcx.Error, OSError) as error:
        out.flush()
        print(f"ipcx receive: {error}", file=sys.stderr)
        return 1
    return 0
