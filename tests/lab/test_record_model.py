"""ipcx.lab.model: what a record is made of, and what it tells."""

import subprocess
import sys

import pytest

from ipcx import lab
from ipcx.lab import _parts
from ipcx.lab.model import Event, Message, Record


def event(process, number, time, op, **more):
    given = {
        "pid": 1, "took": 0.001, "kind": "stream", "local": "127.0.0.1:1", "peer": "127.0.0.1:2",
        "url": "", "bytes": 5, "data": b"hello", "error": "",
    }  # fmt: skip
    return Event(process=process, number=number, time=time, op=op, **{**given, **more})


def three_lanes():
    events = [
        event("a", 0, 0.1, "sendall", clock=(1, 0, 0), lamport=1),
        event("b", 0, 0.2, "recv", clock=(1, 1, 0), lamport=2),
        event("c", 0, 0.3, "connect", error="ConnectionRefusedError: no", bytes=None, data=b""),
        event("b", 1, 0.4, "sendall", clock=(1, 2, 0), lamport=3),
        event("a", 1, 0.5, "recv", clock=(2, 2, 0), lamport=4),
        event("a", 2, 0.6, "send", clock=(3, 2, 0), lamport=5),
    ]
    messages = [
        Message(0, 1, 0, 5, b"hello"),
        Message(3, 4, 0, 5, b"hello"),
        Message(5, None, 5, 5, b"hello"),
    ]
    return Record(["a", "b", "c"], events, messages)


def test_json_and_back():
    record = three_lanes()
    again = Record.from_json(record.json())
    assert (again.processes, again.events, again.messages) == (
        record.processes, record.events, record.messages
    )  # fmt: skip
    assert isinstance(again.events[0].clock, tuple)
    assert Record.from_json(Record([], [], []).json()).events == []


def test_lost_and_latencies():
    record = three_lanes()
    assert record.lost == [record.messages[2]]
    assert record.latencies() == pytest.approx([0.1, 0.1])


def test_between_keeps_two_lanes_and_their_messages():
    pair = three_lanes().between("b", "a")
    assert pair.processes == ["a", "b"]
    assert [e.process for e in pair.events] == ["a", "b", "b", "a", "a"]
    assert [(m.send, m.receive) for m in pair.messages] == [(0, 1), (2, 3), (4, None)]
    assert pair.events[3].clock == (2, 2)
    alone = three_lanes().between("c", "b")
    assert alone.messages == []
    with pytest.raises(ValueError, match=r"'d'.*a, b, c"):
        three_lanes().between("a", "d")


def test_an_event_in_a_line():
    lines = [str(one) for one in three_lanes().events]
    assert "a  sendall 127.0.0.1:1 > 127.0.0.1:2  5 bytes" in lines[0]
    assert "ConnectionRefusedError" in lines[2]


def test_the_package_is_lazy_and_has_its_names():
    assert lab.Record is Record
    assert set(lab.__all__) <= set(dir(lab))
    for name in lab.__all__:
        assert getattr(lab, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        lab.nonsense  # noqa: B018
    code = "import sys, ipcx.lab; print('IPython' in sys.modules, 'json' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# ---- many of the same content


def parts(count, size=4, op="sendto", kept=4, at=0, where="127.0.0.1:9", end=None):
    end = end or _parts.End(1, 1, "datagram")
    calls = [
        _parts.Call("a", 1, at + i, at + i, op, end, size, b"ping"[:kept], "", where, [], False, i)
        for i in range(count)
    ]
    return [_parts.Part(call, size, call.data) for call in calls]


@pytest.mark.parametrize(("size", "kept"), [(4, 4), (2, 2)])
def test_a_flood_of_one_content_is_matched_without_trying_each_with_each(size, kept):
    asked = []

    def fits(send, receive):
        asked.append(1)
        return True

    sends = parts(3000)
    receives = parts(2000, size, "recvfrom", kept, at=500)
    found = _parts.take(sends, receives, fits)
    assert len(asked) == 1
    # Each the latest that was sent by then, while there is one; and in their order.
    taken = [found[id(part)].call.index for part in receives]
    assert len(set(taken)) == 2000
    assert taken == sorted(taken)
    assert all(send <= 500 + i for i, send in enumerate(taken))


def test_a_group_s_receivers_each_take_the_same_send():
    sends = parts(3, where="224.1.1.1:9")
    one, other = (parts(4, op="recvfrom", at=10, end=_parts.End(2, n, "datagram")) for n in (1, 2))
    found = _parts.take(sends, one + other, lambda send, receive: True)
    for receives in (one, other):
        assert [found[id(part)].call.index for part in receives] == [0, 1, 2, 2]
