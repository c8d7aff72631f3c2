"""What type checkers say about `ipcx.framing`, and that it is so."""

from typing import assert_type

import pytest

import ipcx
from ipcx import framing, socket


def test_messages_are_text_or_bytes() -> None:
    a, b = socket.socketpair()
    with framing.Framed(a) as left, framing.Framed(b, framing.Ipcx()) as right:
        left.send("one")
        left.send(memoryview(b"two"), timeout=1)
        left.send_many([b"three", "four"])
        assert_type(right.receive(), bytes | str)
        assert_type(right.receive_many(max=2, timeout=1), list[bytes | str])
        assert_type(right.receive_frame(), framing.Frame)
        left.close()
        for message in right:
            assert_type(message, bytes | str)


def test_a_decoder_gives_frames() -> None:
    decoder = framing.Decoder(framing.Prefix(2, "little"), max_message=100)
    decoder.feed(framing.Encoder(framing.Prefix(2, "little")).encode(b"x"))
    frame = decoder.next()
    assert_type(frame, framing.Frame | None)
    assert frame is not None
    assert_type(frame.type, framing.FrameType)
    assert_type(frame.payload, bytes | str | memoryview)
    assert_type(frame.correlation, int | None)
    assert_type(decoder.pending, int)
    assert_type(decoder.get_buffer(), memoryview)
    assert_type(framing.explain(b""), str)


def test_an_error_says_where() -> None:
    decoder = framing.Decoder()
    decoder.feed(b"?")
    with pytest.raises(ipcx.ProtocolError) as caught:
        decoder.next()
    assert_type(caught.value.offset, int)
    assert caught.value.offset == 0
