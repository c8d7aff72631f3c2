"""ipcx.trace(): what passes on sockets and channels, in order, and nothing else is changed."""

import json

import pytest

import ipcx
from ipcx import _core, socket
from ipcx.server import Server


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


def test_servers_are_in_it():
    with Server("unix://") as server, ipcx.connect(server.url) as client:
        client.send("one")
        client.send(b"second")
        with ipcx.trace() as seen:
            peer, _ = server.receive(timeout=10)
            assert peer.send("grüß dich") is True
            server.receive_many(timeout=10)
            server.broadcast(b"to all")
            with pytest.raises(ipcx.WouldBlock):
                server.receive(timeout=0)
            with pytest.raises(TypeError):
                peer.send(5)
            client.close()
            assert server._event(timeout=10)[0] == "leave"
            assert peer.send("too late") is False
            peer.close()
            server.close()
    assert ops(seen) == [
        ("receive", 3), ("send", 11), ("receive", 6), ("broadcast", 6), ("receive", None),
        ("close", None), ("leave", None), ("send", None), ("close", None), ("close", None),
    ]  # fmt: skip
    wheres = {event.where for event in seen}
    assert wheres == {server.url}
    assert [type(event.error) for event in seen if event.error] == [ipcx.WouldBlock]


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
