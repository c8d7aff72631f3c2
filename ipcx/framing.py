"""Messages over a stream of bytes.

TCP, Unix sockets and pipes carry bytes and forget where a message ended: two sends may arrive as
one piece, one send as many. A *framing* writes the ends into the stream. `Framed` puts one around
a connected socket, and what goes in by ``send()`` comes out whole by ``receive()``:

>>> from ipcx import socket
>>> from ipcx.framing import Framed
>>> a, b = socket.socketpair()
>>> with Framed(a) as left, Framed(b) as right:
...     left.send("a text")
...     left.send(b"two bytes more")
...     right.receive(), right.receive()
('a text', b'two bytes more')

The framings: `Ipcx`, whose frames carry type, text or binary, and a checksum when asked to; and
those that foreign protocols use: `Fixed`, `Prefix`, `Varint`, `Netstring`, `Delimiter`, `Lines`.
Without a socket, `Encoder` makes the bytes and `Decoder` takes them apart, in whatever pieces they
come. `explain` shows a frame field by field. The protocol is in ``docs/protocol.md``.
"""

from __future__ import annotations

import enum
import errno
import math
import select
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from socket import MSG_DONTWAIT
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeVar

from ipcx._closing import Closing
from ipcx._core import FrameDecoder, FrameEncoder, PeerClosed, Timeout, WouldBlock

if TYPE_CHECKING:
    import socket

    from _typeshed import ReadableBuffer

__all__ = [
    "MAX_MESSAGE",
    "Decoder",
    "Delimiter",
    "Encoder",
    "Fixed",
    "Frame",
    "FrameType",
    "Framed",
    "Framing",
    "Ipcx",
    "Lines",
    "Netstring",
    "Prefix",
    "Varint",
    "explain",
]

MAX_MESSAGE = 64 * 1024 * 1024  # bytes, unless told otherwise


class FrameType(enum.IntEnum):
    """What a frame of ipcx is for (docs/protocol.md, Vocabulary)."""

    DATA = 1
    ACK = 2
    REQUEST = 3
    REPLY = 4
    ERROR = 5
    PUBLISH = 6
    SUBSCRIBE = 7
    UNSUBSCRIBE = 8
    PING = 9
    PONG = 10
    HELLO = 11
    BYE = 12
    HANDOVER = 13
    PROOF = 14


_TYPES = (None, *FrameType)
_TEXT, _CORRELATION, _CRC, _SYNC = 0x0001, 0x0002, 0x8004, 0x0008


class Frame(NamedTuple):
    """One message with what belongs to it; foreign framings carry the payload alone."""

    type: FrameType
    flags: int
    correlation: int | None
    extension: bytes
    payload: bytes | str | memoryview

    @property
    def text(self) -> bool:
        """Whether the payload is a text, in UTF-8."""
        return bool(self.flags & _TEXT)

    @property
    def crc(self) -> bool:
        """Whether a checksum protected the frame."""
        return self.flags & _CRC == _CRC

    @property
    def sync(self) -> bool:
        """Whether the sender waits until this message is received."""
        return bool(self.flags & _SYNC)


# ---- framings: how messages are told apart


class Framing:
    """How messages are told apart; the classes below are the choices."""

    _kind: ClassVar[int]

    def _spec(self, max_message: int) -> tuple[int, int, bool, bool, bytes, int]:
        """What the core wants to know."""
        size = getattr(self, "size", 0)
        little = getattr(self, "byteorder", "big") == "little"
        text = getattr(self, "text", False)
        return self._kind, size, little, text, getattr(self, "delimiter", b""), max_message


@dataclass(frozen=True)
class Ipcx(Framing):
    """ipcx's own frames: bytes and texts, types, correlation, a checksum when asked for."""

    _kind = 0


@dataclass(frozen=True)
class Fixed(Framing):
    """Every message has `size` bytes; nothing else is in the stream."""

    size: int
    text: bool = False
    _kind = 1


@dataclass(frozen=True)
class Prefix(Framing):
    """A length of `size` bytes (1, 2, 4 or 8) in front of each message."""

    size: int = 4
    byteorder: Literal["big", "little"] = "big"
    text: bool = False
    _kind = 2

    def __post_init__(self) -> None:
        if self.byteorder not in ("big", "little"):
            raise ValueError(f"byteorder is 'big' or 'little', not {self.byteorder!r}")


@dataclass(frozen=True)
class Varint(Framing):
    """A length in front as Protocol Buffers write it: 7 bits a byte, the lowest first."""

    text: bool = False
    _kind = 3


@dataclass(frozen=True)
class Netstring(Framing):
    """The length in decimal digits, a colon, the message, a comma: ``5:hello,``."""

    text: bool = False
    _kind = 4


@dataclass(frozen=True)
class Delimiter(Framing):
    """`delimiter` (1 to 32 bytes) behind each message, which cannot hold it."""

    delimiter: bytes
    text: bool = False
    _kind = 5


@dataclass(frozen=True)
class Lines(Delimiter):
    """Lines of text: str goes in and comes out, without the line's end."""

    delimiter: bytes = b"\n"
    text: bool = True


# ---- without a socket


class Encoder(FrameEncoder):
    """Messages to bytes.

    ``Encoder().encode("hello")`` is a frame of ipcx; ``Encoder(Prefix(2))`` speaks another framing.
    What a framing cannot carry is a `ValueError`, more than `max_message` bytes `MessageTooLarge`.
    """

    def __init__(self, framing: Framing | None = None, max_message: int = MAX_MESSAGE) -> None:
        self.framing = framing or Ipcx()
        self.max_message = max_message
        super().__init__(*self.framing._spec(max_message))

    def encode(
        self,
        payload: str | ReadableBuffer,
        *,
        type: FrameType | int = FrameType.DATA,
        text: bool | None = None,
        correlation: int | None = None,
        crc: bool = False,
        sync: bool = False,
        extension: ReadableBuffer = b"",
    ) -> bytes:
        """The frame of one message. A str is sent as text; `text=True` calls UTF-8 bytes a text."""
        payload, flags = self._parse(payload, text, correlation, crc, sync)
        return self._encode(payload, type, flags, correlation or 0, extension)

    def encode_parts(
        self,
        payload: str | ReadableBuffer,
        *,
        type: FrameType | int = FrameType.DATA,
        text: bool | None = None,
        correlation: int | None = None,
        crc: bool = False,
        sync: bool = False,
        extension: ReadableBuffer = b"",
    ) -> list[memoryview]:
        """The same as a list of buffers for ``sendmsg()``: the payload itself is not copied."""
        payload, flags = self._parse(payload, text, correlation, crc, sync)
        head, tail = self._envelope(payload, type, flags, correlation or 0, extension)
        whole = payload.encode() if isinstance(payload, str) else payload
        parts = (memoryview(part).cast("B") for part in (head, extension, whole, tail))
        return [part for part in parts if part.nbytes > 0]

    @staticmethod
    def _parse(
        payload: str | ReadableBuffer,
        text: bool | None,
        correlation: int | None,
        crc: bool,
        sync: bool,
    ) -> tuple[str | ReadableBuffer, int]:
        if text is False and isinstance(payload, str):
            payload = payload.encode()
        flags = _TEXT if text else 0
        if correlation is not None:
            flags |= _CORRELATION
        if crc:
            flags |= _CRC
        if sync:
            flags |= _SYNC
        return payload, flags


class Decoder(FrameDecoder):
    """Bytes to messages, whatever pieces they come in.

    >>> decoder = Decoder(Lines())
    >>> decoder.feed(b"one\\ntw")
    >>> [frame.payload for frame in decoder]
    ['one']
    >>> decoder.feed(b"o\\n")
    >>> decoder.next().payload
    'two'

    A broken stream raises `ProtocolError`, `VersionMismatch`, `CorruptData` or `MessageTooLarge`
    with ``.offset``, the byte of the stream where it broke; every later call raises it again,
    until `reset()`. A length over `max_message` is refused before any memory is taken for it.
    """

    def __init__(self, framing: Framing | None = None, max_message: int = MAX_MESSAGE) -> None:
        self.framing = framing or Ipcx()
        self.max_message = max_message
        super().__init__(*self.framing._spec(max_message))

    def next(self, *, view: bool = False) -> Frame | None:
        """The next whole message; None when more bytes are needed.

        With `view` the payload is a read-only memoryview of the decoder's own memory: no copy. It
        ends with the next call; while a slice of it lives, that call raises BufferError.
        """
        found = self._next(view)
        if found is None:
            return None
        kind, *others = found
        return Frame(_TYPES[kind], *others)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Frame]:
        """The messages that are whole by now."""
        while (frame := self.next()) is not None:
            yield frame


# ---- over a socket

_Taken = TypeVar("_Taken")


def _nothing(*_: object) -> int:
    """A recv_into that never has anything."""
    raise BlockingIOError(errno.EAGAIN, "nothing there yet")


def _end(*_: object) -> int:
    """A recv_into at the end of the stream."""
    return 0


class Framed(Closing):
    """Messages over a connected stream socket, of ipcx or of the stdlib.

    ``send()`` takes bytes-like objects and str; ``receive()`` returns bytes and str; ``for message
    in framed`` goes on until the peer closes. Nothing else is sent: no handshake, so that any
    program that knows the framing can be the peer. The socket is `sock`, and closed by `close()`.

    `timeout` is in seconds: None is the socket's own time-out (none, as it is made), 0 is a poll.
    A time-out raises `Timeout` (`WouldBlock` for 0). A receive that timed out has lost nothing. A
    send says in ``exc.begun`` whether the peer has the beginning: then the rest is kept and goes
    out first, in the next send or in `close()`. One thread may send while another receives.
    """

    def __init__(
        self,
        sock: socket.socket,
        framing: Framing | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.sock = sock
        self._encoder = Encoder(framing, max_message)
        self._decoder = Decoder(framing, max_message)
        self._put, self._take = self._encoder._send, self._decoder._receive
        self._send = sock.send
        self._recv_into = sock.recv_into
        # An SSLSocket has a sendmsg that does nothing but refuse.
        self._encoder._sendmsg = (
            None if hasattr(sock, "pending") else getattr(sock, "sendmsg", None)
        )

    @property
    def framing(self) -> Framing:
        """How messages are told apart."""
        return self._encoder.framing

    @property
    def max_message(self) -> int:
        """The largest message, either way, in bytes."""
        return self._encoder.max_message

    def __repr__(self) -> str:
        return f"Framed({self.sock!r}, framing={self.framing!r})"

    # -- send

    def send(self, message: str | ReadableBuffer, timeout: float | None = None) -> None:
        """Send one message, whole."""
        if timeout is None:
            self._put(self._send, message)
            return
        deadline = time.monotonic() + timeout
        while True:
            self._wait_first(select.POLLOUT, deadline, timeout)
            try:
                self._encoder._send(self._send, message, MSG_DONTWAIT)
                return
            except BlockingIOError as exc:
                if exc.begun:  # type: ignore[attr-defined]
                    break
            self._wait(select.POLLOUT, deadline, timeout)
        self._flush(deadline, timeout)

    def send_many(
        self, messages: Iterable[str | ReadableBuffer], timeout: float | None = None
    ) -> None:
        """Send all of them, many with one system call."""
        if timeout is None:
            self._encoder._send_many(self._send, messages)
            return
        deadline = time.monotonic() + timeout
        for message in messages:
            self.send(message, max(deadline - time.monotonic(), 0))

    def _flush(self, deadline: float, timeout: float) -> None:
        """Sends the rest of a message that has begun."""
        while True:
            try:
                self._wait(select.POLLOUT, deadline, timeout)
            except TimeoutError as exc:
                exc.begun = True  # type: ignore[attr-defined]
                raise
            try:
                self._encoder._flush(self._send, MSG_DONTWAIT)
                return
            except BlockingIOError:
                continue

    # -- receive

    def receive(self, timeout: float | None = None) -> bytes | str:
        """The next message. `PeerClosed` when the peer has closed its end."""
        if timeout is None:
            return self._take(self._recv_into)
        return self._until(timeout, self._take)

    def receive_many(self, max: int = 1000, timeout: float | None = None) -> list[bytes | str]:
        """At least one message, and up to `max` of those that are there already."""
        if timeout is None:
            return self._decoder._receive_many(self._recv_into, max)
        take = self._decoder._receive_many
        return self._until(timeout, lambda recv_into, *flags: take(recv_into, max, *flags))

    def receive_frame(self, timeout: float | None = None) -> Frame:
        """The next frame with all that belongs to it, of whatever type."""

        def take(recv_into: Callable[..., int], *flags: int) -> Frame:
            while (frame := self._decoder.next()) is None:
                if self._decoder._fill(recv_into, *flags) == 0:
                    self._decoder._receive(_end)  # raises PeerClosed
            return frame

        return take(self._recv_into) if timeout is None else self._until(timeout, take)

    def _until(self, timeout: float, take: Callable[..., _Taken]) -> _Taken:
        """What `take` gives by the deadline."""
        deadline = time.monotonic() + timeout
        try:
            # A socket with a time-out of its own would wait for that, whatever the flags say.
            return take(_nothing if self.sock.gettimeout() else self._recv_into, MSG_DONTWAIT)
        except BlockingIOError:
            pass
        while True:
            self._wait(select.POLLIN, deadline, timeout)
            try:
                if self._decoder._fill(self._recv_into, MSG_DONTWAIT) == 0:
                    return take(_end)
                return take(_nothing)
            except BlockingIOError:
                continue

    def __iter__(self) -> Iterator[bytes | str]:
        return self

    def __next__(self) -> bytes | str:
        try:
            return self.receive()
        except PeerClosed:
            if self._decoder.pending:
                raise
            raise StopIteration from None

    # -- waiting, the end

    def _wait(self, event: int, deadline: float, timeout: float) -> None:
        """Until the socket is ready; Timeout at the deadline."""
        poll = select.poll()
        poll.register(self.sock, event)
        left = deadline - time.monotonic()
        if not poll.poll(max(math.ceil(left * 1000), 0)):
            verb = "send" if event == select.POLLOUT else "receive"
            exc: Timeout
            if timeout == 0:
                exc = WouldBlock(errno.EAGAIN, f"{verb}: not without waiting")
            else:
                exc = Timeout(f"{verb}: the deadline passed after {timeout:g} s")
            if event == select.POLLOUT:
                exc.begun = False
            raise exc

    def _wait_first(self, event: int, deadline: float, timeout: float) -> None:
        """A socket with a time-out of its own would sit that out, whatever the flags say."""
        if self.sock.gettimeout():
            self._wait(event, deadline, timeout)

    def fileno(self) -> int:
        """The socket's descriptor. A message may be in memory already: receive(timeout=0) tells."""
        return self.sock.fileno()

    def close(self, timeout: float = 5) -> None:
        """Close the socket; what a timed-out send has left is sent first, for so many seconds."""
        try:
            if self._encoder._unsent:
                self._flush(time.monotonic() + timeout, timeout)
        except OSError:
            pass  # the peer never gets it: it sees a cut message
        finally:
            self.sock.close()


def explain(
    data: ReadableBuffer, framing: Framing | None = None, max_message: int = MAX_MESSAGE
) -> str:
    """Every field of the frames in `data`: offset, bytes in hex, name, meaning.

    The last line says what is wrong with a stream that is broken or cut off.

    >>> print(explain(Encoder().encode("hi")))
    byte  hex                       field             meaning
       0  49 58                     magic             "IX": a frame of ipcx
       2  01                        version           1
       3  01                        type              DATA: a message
       4  00 01                     flags             TEXT
       6  00 00                     extension length  0
       8  00 00 00 02               payload length    2
      12  68 69                     payload           'hi'
    """
    from ipcx._frame_words import words

    return words(bytes(data), framing or Ipcx(), max_message)
