"""ipcx.lab.record: what channels, servers and pipes sent and received."""

import asyncio
import subprocess
import sys
import threading

import pytest
from lab.records import moved

import ipcx
from ipcx import aio, lab, pipes, socket
from ipcx.framing import Framed
from ipcx.server import Server


@pytest.mark.parametrize("scheme", ["inproc", "shm", "unix", "pipe", "tcp", "udp"])
def test_a_pair_of_each_transport(scheme):
    with lab.record() as record:
        a, b = ipcx.pair(f"{scheme}://")
        with a, b:
            a.send(b"ping")
            assert b.receive() == b"ping"
            b.send("püng")
            assert a.receive() == "püng"
            assert a.send_many([b"1", b"22"]) == 2
            assert b.receive_many(1) == [b"1"]
            assert b.receive() == b"22"
            a.send(b"into")
            room = bytearray(10)
            assert b.receive_into(room) == 4
            with b.reserve(4) as buffer:
                buffer[:] = b"loan"
            with a.receive_view() as view:
                assert bytes(view) == b"loan"
            with pytest.raises(ipcx.WouldBlock):
                b.receive(timeout=0)
    sender = "send" if scheme == "inproc" else "commit"
    assert moved(record) == [
        ("send", "receive", b"ping"), ("send", "receive", "püng".encode()),
        ("send_many", "receive_many", b"1"), ("send_many", "receive", b"22"),
        ("send", "receive_into", b"into"), (sender, "receive_view", b"loan"),
    ]  # fmt: skip
    event = record.events[record.messages[0].send]
    assert event.kind == "channel"
    assert event.url.startswith(scheme)
    assert [e.error.split(":")[0] for e in record.events if e.error] == ["WouldBlock"]
    assert not record.lost
    assert not record.notes


ECHO = """
import ipcx, sys
with ipcx.listen(sys.argv[1]) as listener:
    print(listener.url, flush=True)
    for _ in range(2):
        with listener.accept() as channel:
            for message in channel:
                channel.send(message.upper())
"""


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "shm://", "unix://", "udp://127.0.0.1:0"])
def test_two_clients_one_after_the_other(tmp_path, url):
    program = tmp_path / "echo.py"
    program.write_text(ECHO)
    with lab.record("client") as record:
        command = [sys.executable, "-m", "ipcx.run", str(program), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as echo:
            address = echo.stdout.readline().strip()
            for _ in range(2):
                with ipcx.connect(address) as channel:
                    channel.send(b"same")
                    assert channel.receive() == b"SAME"
            echo.communicate(timeout=60)
    assert record.processes == ["echo", "client"]
    # By when the send was over: the answer may be sent before the sender is told so.
    assert (
        sorted(moved(record))
        == [("send", "receive", b"SAME")] * 2 + [("send", "receive", b"same")] * 2
    )
    ways = [
        (m.data, record.events[m.send].process, record.events[m.receive].process)
        for m in record.messages
    ]
    assert sorted(ways) == [(b"SAME", "echo", "client")] * 2 + [(b"same", "client", "echo")] * 2
    assert len(record.latencies()) == 4


def test_a_server_its_peers_and_what_it_tells_all():
    with lab.record() as record, Server("unix://") as server:
        one, other = ipcx.connect(server.url), ipcx.connect(server.url)
        with one, other:
            one.send("one")
            peer, _ = server.receive(timeout=30)
            other.send("other")
            server.receive_many(timeout=30)
            peer.send("only you")
            server.broadcast(b"all")
            assert one.receive(timeout=30) == "only you"
            assert one.receive(timeout=30) == b"all"
            assert other.receive(timeout=30) == b"all"
    assert sorted(moved(record)) == [
        ("broadcast", "receive", b"all"), ("broadcast", "receive", b"all"),
        ("send", "receive", b"one"), ("send", "receive", b"only you"),
        ("send", "receive", b"other"),
    ]  # fmt: skip
    assert not record.lost


def test_a_log_and_who_follows_it(tmp_path):
    url = f"file://{tmp_path}/log"
    with lab.record() as record, ipcx.listen(url) as listener:
        one, other, writer = listener.accept(), listener.accept(), ipcx.connect(url)
        with one, other, writer:
            writer.send(b"first")
            writer.send(b"second")
            assert [one.receive(), other.receive()] == [b"first", b"first"]
            assert one.receive() == b"second"
    assert moved(record) == [("send", "receive", b"first")] * 2 + [("send", "receive", b"second")]


def test_objects_and_what_nobody_took():
    with lab.record() as record:
        a, b = ipcx.pair("inproc://")
        with a, b:
            a.send([1, 2])
            a.send({"three": 3})
            assert b.receive() == [1, 2]
    first, second = record.messages
    assert (first.bytes, first.data[:5]) == (0, b"list@")
    assert first.receive is not None
    assert record.lost == [second]


def test_asyncio_and_frames():
    async def session():
        async with aio.listen("unix://") as listener:
            client, server = await asyncio.gather(aio.connect(listener.url), listener.accept())
            await client.send(b"awaited")
            assert await server.receive() == b"awaited"
            await client.close()
            await server.close()

    with lab.record() as record:
        asyncio.run(session())
        left, right = socket.socketpair()
        with Framed(left) as one, Framed(right) as other:
            one.send(b"in a frame")
            assert other.receive() == b"in a frame"
    found = moved(record)
    assert found[0] == ("send", "receive", b"awaited")
    assert b"in a frame" in b"".join(data for *_, data in found[1:])


def test_pipes():
    with lab.record() as record, pipes.pipe() as pipe:
        pipe.write_end.write(b"hello")
        assert pipe.read_end.read(2) == b"he"
        pipe.write_end.write(b"!")
        assert pipe.read_end.read() == b"llo!"
    assert [(m.offset, m.data) for m in record.messages] == [(0, b"he"), (2, b"llo"), (5, b"!")]
    assert {record.events[m.send].op for m in record.messages} == {"write"}
    assert {record.events[m.receive].kind for m in record.messages} == {"stream"}


def test_threads_share_a_lane():
    with lab.record() as record:
        a, b = ipcx.pair("inproc://")

        def serve():
            for message in b:
                b.send(message * 2)

        thread = threading.Thread(target=serve)
        thread.start()
        for n in range(20):
            a.send(b"%d" % n)
            a.receive()
        a.close()
        thread.join()
        b.close()
    assert record.processes == ["notebook"]
    assert len(record.messages) == 40
    lamports = {m.send: record.events[m.send].lamport for m in record.messages}
    for m in record.messages:
        assert lamports[m.send] < record.events[m.receive].lamport


def test_what_did_not_wait_in_inproc_has_one_moment():
    with lab.record() as record:
        a, b = ipcx.pair("inproc://", capacity=1)
        with a, b:
            a.send(b"at once")
            b.receive()
            waits = threading.Thread(target=b.receive)
            waits.start()
            while not b.stats().receive_waits:
                pass
            a.send(b"woken")
            waits.join()
            a.send(b"fills it")
            waits = threading.Thread(target=a.send, args=[b"waits"])
            waits.start()
            while not a.stats().send_waits:
                pass
            b.receive()
            waits.join()
    took = {(e.op, e.data): e.took for e in record.events if e.op in ("send", "receive")}
    assert took["send", b"at once"] == took["receive", b"at once"] == took["send", b"woken"] == 0
    assert took["receive", b"woken"] > 0
    assert took["send", b"waits"] > 0
    assert [m.data for m in record.messages] == [b"at once", b"woken", b"fills it", b"waits"]
