"""Processes that ran before a record began are in it, from then on."""

import os
import time

import pytest

import ipcx
from ipcx import lab, socket
from ipcx.lab import _board, recorder

ECHO = """
import socket, threading
def serve(conn):
    while data := conn.recv(100):
        conn.sendall(data.upper())
    conn.close()
listener = socket.create_server(("127.0.0.1", PORT))
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"""
CHANNELS = """
import ipcx, threading
def serve(channel):
    with channel:
        for message in channel:
            channel.send(message.upper())
with ipcx.listen(URL) as listener:
    for channel in listener:
        threading.Thread(target=serve, args=[channel], daemon=True).start()
"""


def exchange(sock, word):
    sock.sendall(word)
    assert sock.recv(100) == word.upper()


def ways(record):
    return [
        (m.data, record.events[m.send].process, record.events[m.receive].process)
        for m in record.messages
    ]


def test_a_server_from_before_and_its_clients():
    port = lab.port("server")
    server = lab.start(ECHO.replace("PORT", str(port)), name="server")
    try:
        old = socket.create_connection(("127.0.0.1", port))
        exchange(old, b"before")
        with lab.record("client") as record:
            exchange(old, b"on the old one")
            with socket.create_connection(("127.0.0.1", port)) as new:
                exchange(new, b"on a new one")
        exchange(old, b"after")
        with lab.record("client") as again:
            exchange(old, b"once more")
        old.close()
    finally:
        server.stop()
    assert sorted(ways(record)) == [
        (b"ON A NEW ONE", "server", "client"), (b"ON THE OLD ONE", "server", "client"),
        (b"on a new one", "client", "server"), (b"on the old one", "client", "server"),
    ]  # fmt: skip
    assert sorted(ways(again)) == [
        (b"ONCE MORE", "server", "client"), (b"once more", "client", "server"),
    ]  # fmt: skip
    assert {m.offset for m in record.messages if b"NEW" in m.data.upper()} == {0}
    assert not record.lost
    assert not record.notes
    for m in record.messages:
        assert record.events[m.send].lamport < record.events[m.receive].lamport


@pytest.mark.parametrize("scheme", ["tcp", "unix", "shm"])
def test_channels_from_before(scheme):
    url = f"tcp://127.0.0.1:{lab.port('server')}" if scheme == "tcp" else None
    url = url or f"{scheme}://{lab.name('echo') if scheme == 'shm' else lab.path('echo')}"
    server = lab.start(CHANNELS.replace("URL", repr(url)), name="server")
    try:
        with ipcx.connect(url, timeout=30) as old:
            old.send(b"before")
            assert old.receive() == b"BEFORE"
            with lab.record("client") as record, ipcx.connect(url, timeout=30) as new:
                for channel, word in ((old, b"old"), (new, b"new"), (old, b"once more")):
                    channel.send(word)
                    assert channel.receive() == word.upper()
    finally:
        server.stop()
    assert sorted(ways(record)) == sorted(
        row
        for word in (b"old", b"new", b"once more")
        for row in ((word, "client", "server"), (word.upper(), "server", "client"))
    )
    assert not record.lost


def test_what_was_on_its_way_when_the_record_began():
    a, b = socket.socketpair()
    with a, b:
        a.send(b"before ")
        with lab.record() as record:
            a.send(b"the record")
            b.settimeout(30)
            assert b.recv_exactly(10) == b"before the"
            assert b.recv(100) == b" record"
            b.send(b"answer")
            assert a.recv(3) == b"ans"
        with lab.record() as again:
            b.send(b"!")
            assert a.recv(10) == b"wer!"
    found = [(m.offset, m.data) for m in record.messages]
    assert found == [(0, b"the"), (3, b" record"), (0, b"ans"), (3, b"wer")]
    assert record.messages[-1].receive is None
    assert [(m.offset, m.data) for m in again.messages] == [(0, b"!")]


def test_contents_that_do_not_tell():
    a, b = socket.socketpair()
    with a, b:
        a.send(b"x" * 300)
        with lab.record() as record:
            b.recv(1)
            a.send(b"other")
            b.recv(1)
    assert [m for m in record.messages if m.receive is not None] == []
    (note,) = record.notes
    assert "before the record began" in note


def test_two_records_at_once_and_a_process_from_before():
    port = lab.port("server")
    server = lab.start(ECHO.replace("PORT", str(port)), name="server")
    try:
        with socket.create_connection(("127.0.0.1", port)) as sock, lab.record() as outer:
            exchange(sock, b"1")
            with lab.record() as inner:
                exchange(sock, b"2")
            exchange(sock, b"3")
    finally:
        server.stop()
    assert sorted(m.data for m in inner.messages) == [b"2", b"2"]
    assert sorted(m.data for m in outer.messages) == [b"1", b"1", b"2", b"2", b"3", b"3"]


def test_a_board_that_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "begin", lambda *args: pytest.fail("begun"))
    _board.follow(str(tmp_path / "none"))
    board = tmp_path / "board"
    for text in (b"", b"\1\0\0\0", b"\1\0\0\0\5\0\0\0[1, 2", bytes(8192)):
        board.write_bytes(text)
        assert _board.read(str(board)) is None


def test_a_fork_has_no_records_of_its_parents():
    with lab.record():
        pid = os.fork()
        if pid == 0:
            os._exit(len(_board._open))
        assert os.waitpid(pid, 0)[1] == 0
        assert len(_board._open) == 1
    assert time.monotonic() > 0
