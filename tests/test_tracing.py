"""ipcx.trace(): what passes on sockets and channels, in order, and nothing else is changed."""

import json

import pytest

import ipcx
from ipcx import _core, socket


def ops(seen):
    return [(event.op, event.bytes) for event in seen]


def test_channels_and_sockets_are_in_one_trace():
    with ipcx.trace() as seen:
        a, b = ipcx.pair("unix://")
        a.send("grüß dich")
        assert b.receive() == "grüß dich"
        left, right = socket.socketpair()
        left.send(b"abc")
        right.recv(10)
        for end in (a, b, left, right):
            end.close()
    found = ops(seen)
    assert [one for one in found if one[1] is not None] == [
        ("send", 11),
        ("receive", 11),
        ("send", 3),
        ("recv", 3),
    ]
    assert [op for op, _ in found].count("close") == 4
    assert any(event.where.startswith("unix:") for event in seen)
    times = [event.time for event in seen]
    assert times == sorted(times)
    assert len(str(seen).splitlines()) == len(seen) == len(seen.json().splitlines())
    assert {"op", "bytes", "where"} <= json.loads(seen.json().splitlines()[0]).keys()


def test_an_error_is_in_it_and_reaches_the_program():
    a, b = ipcx.pair("unix://")
    with a, b, ipcx.trace() as seen, pytest.raises(ipcx.WouldBlock):
        b.receive(timeout=0)
    failed = [event for event in seen if event.error is not None]
    assert [(event.op, type(event.error)) for event in failed] == [("receive", ipcx.WouldBlock)]
    assert "WouldBlock" in str(failed[0])


def test_traces_nest_and_leave_nothing_behind():
    told = []
    mine = lambda *what: told.append(what[0])  # noqa: E731
    a, b = ipcx.pair("unix://")
    with a, b:
        _core.set_trace(mine)
        try:
            with ipcx.trace() as outer:
                a.send("1")
                with ipcx.trace(lambda event: told.append(event)) as inner:
                    a.send("2")
                a.send("3")
            assert (len(outer), len(inner)) == (3, 1)
            assert told[:3] == ["send", "send", inner.events[0]]
            with outer, pytest.raises(RuntimeError, match="already"), outer:
                pass
        finally:
            assert _core.set_trace(None) is mine
