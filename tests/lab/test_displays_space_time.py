"""The space-time diagram: its lanes, arrows and crosses are those of the record."""

import re

import pytest
from lab.records import exchange, lossy, many, record
from lab.svg import SVG, hint, parts, root

from ipcx import lab
from ipcx.lab.display import MOST_BYTES
from ipcx.lab.spacetime import SpaceTime


def words(element):
    return [one.text for one in element.iter(f"{SVG}text")]


def arrow_ends(group):
    """Where the line of an arrow begins, and where its point is."""
    line, point = group.find(f".//{SVG}line"), group.find(f".//{SVG}path")
    x, y = re.match(r"M(\S+) ([0-9.]+)L", point.get("d")).groups()
    return (float(line.get("x1")), float(line.get("y1"))), (float(x), float(y))


def lane_places(display):
    return [float(one.find(f"{SVG}line").get("x1")) for one in parts(display, "lane")]


def test_an_exchange():
    shown = SpaceTime(exchange())
    assert [words(lane)[0] for lane in parts(shown, "lane")] == ["client", "server"]
    assert len(parts(shown, "event")) == 8
    assert parts(shown, "lost") == []
    there, back = parts(shown, "message")
    client, server = lane_places(shown)
    (x1, y1), (x2, y2) = arrow_ends(there)
    assert client < x1 < client + 12
    assert server - 12 < x2 < server
    assert y1 < y2
    (x1, y1), (x2, y2) = arrow_ends(back)
    assert x1 > x2
    assert y1 < y2
    assert words(there) == ["12 B “hello server”"]
    assert "recv 0 B (end)" in " ".join(words(root(shown)))


def test_what_the_pointer_shows():
    there = hint(parts(SpaceTime(exchange()), "message")[0])
    assert "client send: 12 bytes, from byte 0 of the stream" in there
    assert "sent at 1.98 ms, received at 2.1 ms by server recv" in there
    assert "68 65 6c 6c 6f 20 73 65 72 76 65 72" in there
    first = hint(parts(SpaceTime(exchange()), "event")[0])
    assert first.splitlines()[0] == "client: connect"
    assert "Lamport" in first


def test_waiting_is_a_thick_piece_of_the_lane():
    waits = [hint(one) for one in parts(SpaceTime(exchange()), "wait")]
    assert "recv took 3.1 ms" in waits
    assert not any(one.startswith("close") for one in waits)


def test_losses_are_crosses_with_the_word():
    shown = SpaceTime(lossy())
    lost = parts(shown, "lost")
    assert len(lost) == 2
    assert len(parts(shown, "message")) == 3
    for one in lost:
        assert "lost" in words(one)
        assert [p.get("class").split()[0] for p in one.iter(f"{SVG}path")] == ["cross"]
        assert one.find(f"{SVG}line").get("stroke-dasharray")
    assert "2 not received" in shown.description
    assert shown.text().count("✗ 6 B lost") == 2
    assert "recvfrom ✗ TimeoutError" in shown.text()


def test_tcp_loses_nothing():
    script = [("s", "a", 0.1, 0, "send", b"x", ""), ("c", "b", 0.2, 0, "close", None, "")]
    shown = SpaceTime(record(script, [("s", None, b"x")]))
    assert "not received" in words(parts(shown, "lost")[0])


def test_no_arrow_points_upwards():
    """A receive that ends before its send does, or by a clock that is wrong."""
    script = [
        ("s", "a", 0.010, 0.0099, "send", b"x" * 300, ""),
        ("r", "b", 0.008, 0.0001, "recv", b"x" * 300, ""),
        ("s2", "b", 0.030, 0, "send", b"y", ""),
        ("r2", "a", 0.020, 0, "recv", b"y", ""),
    ]
    shown = SpaceTime(record(script, [("s", "r", b"x" * 300), ("s2", "r2", b"y")]))
    for arrow in parts(shown, "message"):
        (_, y1), (_, y2) = arrow_ends(arrow)
        assert y1 < y2
    assert [line.split()[-1] for line in shown.text().splitlines() if "●" in line]


def test_a_record_that_contradicts_itself_is_drawn():
    script = [
        ("s1", "a", 0.1, 0, "send", b"x", ""), ("r1", "a", 0.05, 0, "recv", b"y", ""),
        ("s2", "b", 0.1, 0, "send", b"y", ""), ("r2", "b", 0.05, 0, "recv", b"x", ""),
    ]  # fmt: skip
    shown = SpaceTime(record(script, [("s1", "r2", b"x"), ("s2", "r1", b"y")]))
    assert len(parts(shown, "event")) == 4


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_a_message_is_an_arrow(count):
    shown = SpaceTime(many(count))
    assert len(parts(shown, "message")) == count
    assert len(parts(shown, "gap")) == 0
    assert shown.text().count("▶") + shown.text().count("◀") == count


@pytest.mark.parametrize("lanes", [("a", "b"), ("a", "b", "c", "d", "e")])
def test_a_thousand_messages_are_thinned_out(lanes):
    shown = SpaceTime(many(1000, lanes))
    svg = shown.svg()
    assert len(svg.encode()) < MOST_BYTES
    assert sum(len(one.encode()) for one in shown._repr_mimebundle_().values()) < 1.2 * MOST_BYTES
    gaps = parts(shown, "gap")
    assert gaps
    drawn = len(parts(shown, "event"))
    left_out = sum(int(re.search(r"\d+", words(gap)[0])[0]) for gap in gaps)
    assert drawn + left_out == 2000
    assert any("Thinned out: of 2000 calls" in word for word in words(root(shown)))
    assert "Thinned out" in shown.text()
    assert len(parts(shown, "message")) > 30


def test_losses_are_drawn_when_much_is_left_out():
    shown = SpaceTime(lossy(600, lost=(300, 301)))
    assert len(parts(shown, "lost")) == 2


def box(text):
    """Left, right and height of a text that is not turned, by the display's own measure."""
    from ipcx.lab.display import width_of

    x, width = float(text.get("x")), width_of(text.text, float(text.get("font-size", 12)))
    left = {"start": x, "middle": x - width / 2, "end": x - width}[text.get("text-anchor", "start")]
    return left, left + width, float(text.get("y"))


@pytest.mark.parametrize("shown", [exchange(), lossy(), many(40), many(60, ("a", "b", "c", "d"))])
def test_the_words_of_calls_do_not_overlap(shown):
    boxes = [box(one.findall(f"{SVG}text")[1]) for one in parts(SpaceTime(shown), "event")]
    for i, (left, right, y) in enumerate(boxes):
        for other_left, other_right, other_y in boxes[i + 1 :]:
            assert abs(y - other_y) > 9 or right <= other_left or other_right <= left


def test_names_and_bytes_are_hostile():
    evil = "</title><script>alert(1)</script>\x1b[31m\x00"
    data = b"]]></svg><script>\x00\xff"
    script = [("s", evil, 0.1, 0, evil, data, ""), ("r", "b\n", 0.2, 0.1, "recv", data, evil)]
    shown = SpaceTime(record(script, [("s", "r", data)]))
    assert "<script" not in shown.svg()
    assert "\x1b" not in shown.text() + shown.svg()
    assert "\x00" not in shown.text() + shown.svg()
    assert len(parts(shown, "message")) == 1
    assert words(parts(shown, "lane")[1])[0] == r"b\n"


def test_many_lanes():
    lanes = tuple(f"worker {i}" for i in range(20))
    shown = SpaceTime(many(40, lanes))
    assert len(parts(shown, "lane")) == 16
    assert any("4 processes more took part" in word for word in words(root(shown)))


def test_nothing_happened():
    shown = SpaceTime(record([]))
    assert "nothing happened" in shown.title
    assert "Nothing was recorded." in shown.text()
    assert len(parts(shown, "lane")) == 0


def test_a_process_alone_sends_to_itself():
    script = [("s", "a", 0.1, 0, "send", b"x", ""), ("r", "a", 0.2, 0, "recv", b"x", "")]
    shown = SpaceTime(record(script, [("s", "r", b"x")]))
    assert len(parts(shown, "message")) == 1
    assert "◀─┘" in shown.text()


def test_the_same_record_makes_the_same_bytes():
    assert SpaceTime(many(50)).svg() == SpaceTime(many(50)).svg()
    assert SpaceTime(many(50)).text() == SpaceTime(many(50)).text()


def test_by_its_short_name():
    r = exchange()
    assert r.space_time().svg() == lab.space_time(r).svg()
    assert lab.space_time(r, title="mine").title == "mine"
    assert r._repr_mimebundle_()["text/plain"] == str(r)
    with pytest.raises(ValueError, match="at least 8 rows"):
        SpaceTime(r, most=3)
