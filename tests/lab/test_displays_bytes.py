"""Frames in hex and streams as they were cut: the fields, the boxes and the cuts that are there."""

import doctest
import importlib
import xml.etree.ElementTree as ET

import pytest
from lab.records import exchange, many, record
from lab.svg import SVG, hint, parts, words

from ipcx import lab
from ipcx.framing import Encoder, Lines, Prefix
from ipcx.lab.display import MOST_BYTES
from ipcx.lab.frame_hex import FrameHex
from ipcx.lab.stream_view import StreamView


@pytest.mark.parametrize("name", ["frame_hex", "stream_view"])
def test_doctests(name):
    assert doctest.testmod(importlib.import_module(f"ipcx.lab.{name}")).failed == 0


# ---- frames


def test_a_frame_of_ours():
    shown = FrameHex(Encoder().encode("grüß dich", correlation=7, crc=True))
    fields = [hint(one).splitlines()[0] for one in parts(shown, "field")]
    assert fields == [
        "magic, 2 bytes from byte 0",
        "version, 1 byte from byte 2",
        "type, 1 byte from byte 3",
        "flags, 2 bytes from byte 4",
        "extension length, 2 bytes from byte 6",
        "payload length, 4 bytes from byte 8",
        "correlation, 8 bytes from byte 12",
        "payload, 11 bytes from byte 20",
        "CRC-32C, 4 bytes from byte 31",
    ]
    assert len(parts(shown, "row")) == 9
    lengths = words(parts(shown, "row")[5])
    assert lengths == ["f", "8-11", "payload length", "11", "11", "184549376"]
    dump = [words(one) for one in parts(shown, "bytes")]
    assert [line[0] for line in dump] == ["0000", "0010", "0020"]
    assert dump[0][1].startswith("49580101")
    assert dump[0][2].startswith("IX..")
    assert shown.verdict == ""


def test_a_letter_stands_at_the_first_byte_of_each_field():
    shown = FrameHex(b"abcdef", [("one", 0, 2), ("two", 2, 6)])
    assert [words(one) for one in parts(shown, "field")] == [["a"], ["b"]]
    assert [words(one)[0] for one in parts(shown, "row")] == ["a", "b"]


def test_the_same_field_of_two_frames_has_the_same_colour():
    shown = FrameHex(Encoder().encode("one") + Encoder().encode("two"))
    colours = {}
    for one in parts(shown, "field"):
        name = hint(one).partition(",")[0]
        colours.setdefault(name, set()).add(one.find(f"{SVG}rect").get("fill"))
    assert len(colours) == 7
    assert all(len(one) == 1 for one in colours.values())


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (Encoder().encode("cut")[:-1], "Cut off: the frame is not whole after 14 bytes."),
        (Encoder().encode("cut")[:9], "Cut off: the frame is not whole after 9 bytes."),
        (b"GET / HTTP/1.0", "ProtocolError: "),
        (Encoder().encode("two") + b"\xff", "ProtocolError: "),
    ],
)
def test_what_is_wrong_is_said(data, verdict):
    shown = FrameHex(data)
    assert shown.verdict.startswith(verdict)
    assert shown.verdict in shown.text()
    assert any(verdict in word for word in words(ET.fromstring(shown.svg())))


def test_of_other_protocols():
    shown = FrameHex(Encoder(Prefix(2)).encode(b"hello") * 2, form=Prefix(2))
    assert [field.name for field in shown.fields] == ["length", "message"] * 2
    shown = FrameHex(b"a\nb\n", form=Lines())
    assert [field[:3] for field in shown.fields][1] == ("delimiter", 1, 2)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ([("a", 0)], r"a field is \(name, start, end\)"),
        ([("a", 3, 3)], "goes from byte 3 to 3, and there are 4"),
        ([("a", 0, 9)], "goes from byte 0 to 9, and there are 4"),
        ([("a", 0, 3), ("b", 2, 4)], "the fields 'a' and 'b' overlap"),
    ],
)
def test_fields_that_cannot_be(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        FrameHex(b"abcd", fields)


def test_arguments_that_cannot_be():
    with pytest.raises(TypeError, match="begins and ends at a number of bytes"):
        FrameHex(b"abcd", [("a", "0", 2)])
    with pytest.raises(ValueError, match="either the fields are given, or the form"):
        FrameHex(b"abcd", [("a", 0, 2)], form=Lines())


def test_long_payloads_are_thinned_out():
    shown = FrameHex(Encoder().encode(bytes(5000)))
    dump = [words(one)[0] for one in parts(shown, "bytes")]
    assert dump == ["0000", "0010", "0020", "0030", "1380", "1390"]
    said = f"Thinned out: {5012 // 16 + 1 - 6} lines of the dump not drawn."
    assert said in words(ET.fromstring(shown.svg()))
    assert said in shown.text()


def test_a_thousand_frames():
    shown = FrameHex(b"".join(Encoder().encode(b"message %d" % i) for i in range(1000)))
    assert len(shown.svg().encode()) < MOST_BYTES * 0.75
    assert "fields more not listed" in shown.text()


def test_no_bytes_and_hostile_bytes():
    assert FrameHex(b"").text().startswith("A frame of 0 bytes")
    ET.fromstring(FrameHex(b"").svg())
    shown = FrameHex(bytes(range(256)), [("<evil>&\x1b", 0, 200, "\x00</svg>")])
    assert hint(parts(shown, "field")[0]) == "<evil>&\\x1b, 200 bytes from byte 0\n\\x00</svg>"
    assert "\x1b" not in shown.text() + shown.svg()


# ---- streams


def boxes(shown, kind):
    """Left and right of the boxes of a stream that fits a line."""
    found = []
    for one in parts(shown, kind):
        rect = one.find(f"{SVG}rect")
        x = float(rect.get("x"))
        found.append((x, x + float(rect.get("width"))))
    return found


def test_where_recv_cut():
    shown = StreamView([b"hello", b"world"], [b"hel", b"loworld"])
    sends, receives = boxes(shown, "send"), boxes(shown, "receive")
    assert len(sends) == len(receives) == 2
    assert sends[0][0] == receives[0][0]
    assert sends[-1][1] == receives[-1][1]
    assert receives[0][1] < sends[0][1] < receives[1][1]
    (cut,) = parts(shown, "cut")
    assert float(cut.find(f"{SVG}line").get("x1")) == receives[0][1]
    assert cut.find(f"{SVG}path").get("class").startswith("cross")
    assert hint(cut) == "a receive ends at byte 3, within a send"
    assert "1 receive ended in the middle of a send." in shown.description
    letters = [word for one in parts(shown, "send") for word in words(one)]
    assert letters == ["hello", "world"]


def test_merged_sends_are_no_cut():
    shown = StreamView([b"ab", b"cd"], [b"abcd"])
    assert parts(shown, "cut") == []
    assert "1 receive took bytes of more than one send." in shown.description


def test_what_fits_fits_by_chance():
    assert "by chance" in StreamView([b"ab", b"cd"], [2, 2]).description


def test_what_was_never_received():
    shown = StreamView([10, 10], [12])
    assert "8 bytes never received" in shown.description
    assert len(parts(shown, "receive")) == 1


def test_of_a_record():
    shown = StreamView(exchange())
    assert [words(one)[0] for one in parts(shown, "stream")] == [
        "client → server",
        "server → client",
    ]
    assert exchange().stream_view().svg() == shown.svg() == lab.stream(exchange()).svg()
    script = [
        ("s1", "a", 0.1, 0, "send", b"hello", ""), ("s2", "a", 0.2, 0, "send", b"world", ""),
        ("r1", "b", 0.3, 0, "recv", b"hellowo", ""), ("r2", "b", 0.4, 0, "recv", b"rld", ""),
    ]  # fmt: skip
    made = record(
        script,
        [("s1", "r1", b"hello"), ("s2", "r1", b"wo"), ("s2", "r2", b"rld")],
        offsets=(0, 5, 7),
    )
    shown = StreamView(made)
    assert [hint(one) for one in parts(shown, "receive")] == [
        "recv 1: 7 bytes, 0 to 7",
        "recv 2: 3 bytes, 7 to 10",
    ]
    assert len(parts(shown, "cut")) == 1
    assert "hello" in shown.text()


def test_of_a_record_without_streams():
    shown = StreamView(record([]))
    assert shown.text().endswith("No stream was recorded.")
    ET.fromstring(shown.svg())


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ([1000] * 1000, [65536] * 15 + [16960]),
        ([b"x" * 10] * 1000, [1] * 10_000),
        ([1] * 1000, [1000]),
        ([1 << 40], [1 << 20] * 1000),
    ],
)
def test_a_thousand_sends(sent, received):
    shown = StreamView(sent, received)
    assert len(shown.svg().encode()) < MOST_BYTES * 0.75
    assert len(shown.text()) < 20_000


def test_a_thousand_recorded():
    assert len(StreamView(many(1000)).svg().encode()) < MOST_BYTES * 0.75


def test_streams_that_cannot_be():
    with pytest.raises(ValueError, match="7 bytes cannot have been received: 5 were sent"):
        StreamView([5], [7])
    with pytest.raises(ValueError, match="0 bytes or more, not -1"):
        StreamView([-1], [])
    with pytest.raises(TypeError, match="what was received is missing"):
        StreamView([b"hello"])
    with pytest.raises(TypeError, match="give it alone"):
        StreamView(exchange(), [1])
