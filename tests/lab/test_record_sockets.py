"""ipcx.lab.record: what sockets sent and received, in one process and in several."""

import array
import contextlib
import os
import signal
import socket as stdlib
import subprocess
import sys
import threading

import pytest
from lab.records import moved

from ipcx import _core, lab, socket
from ipcx.lab import _peers, recorder
from ipcx.lab.clocks import happened_before

SERVER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
conn, peer = listener.accept()
while data := conn.recv(4):
    conn.sendall(data.upper())
conn.close()
listener.close()
"""
CLIENT = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.sendall(b"hello world")
sock.shutdown(socket.SHUT_WR)
while sock.recv(100):
    pass
sock.close()
"""


def start(tmp_path, name, source, *args, **more):
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    command = [sys.executable, "-m", "ipcx.run", str(path), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)


def finish(*processes):
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_two_programs_over_tcp(tmp_path):
    with lab.record() as record:
        server = start(tmp_path, "server", SERVER)
        port = int(server.stdout.readline())
        client = start(tmp_path, "client", CLIENT, port)
        finish(client, server)
    assert record.processes == ["server", "client"]
    there = [m for m in record.messages if record.events[m.send].process == "client"]
    back = [m for m in record.messages if record.events[m.send].process == "server"]
    assert [(m.offset, m.bytes, m.data) for m in there] == [
        (0, 4, b"hell"), (4, 4, b"o wo"), (8, 3, b"rld"),
    ]  # fmt: skip
    assert len({m.send for m in there}) == 1
    assert len({m.receive for m in there}) == 3
    assert b"".join(m.data for m in back) == b"HELLO WORLD"
    assert back[0].offset == 0
    assert not record.lost
    assert not record.notes
    # Each message is an arrow from cause to effect; so are the clocks.
    for m in record.messages:
        send, got = record.events[m.send], record.events[m.receive]
        assert happened_before(send, got)
        assert send.lamport < got.lamport
        assert {send.kind, got.kind} == {"stream"}
        assert send.peer == got.local
        assert send.local == got.peer
    for lane, name in enumerate(record.processes):
        own = [event for event in record.events if event.process == name]
        assert [event.number for event in own] == list(range(len(own)))
        assert sorted(event.clock[lane] for event in own) == list(range(1, len(own) + 1))
    ops = [event.op for event in record.events if event.process == "server"]
    assert ops[:4] == ["socket", "bind", "listen", "accept"]
    assert ops[-2:] == ["close", "close"]
    assert record.from_json(record.json()).events == record.events


def test_every_way_to_send_and_to_receive(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"from the file")
    with lab.record() as record:
        a, b = socket.socketpair()
        assert a.send(b"one") == 3
        assert b.recv(10) == b"one"
        a.sendall(bytearray(b"two"))
        room = bytearray(10)
        assert b.recv_into(room) == 3
        a.sendmsg([b"th", array.array("B", b"ree")])
        assert b.recvmsg(10)[0] == b"three"
        a.sendmsg([b"four"])
        assert b.recvmsg_into([bytearray(2), bytearray(5)])[0] == 4
        a.send(memoryview(b"five"))
        assert b.recvfrom(10)[0] == b"five"
        a.send(b"six")
        assert b.recvfrom_into(room)[0] == 3
        a.sendall(b"seven\neight")
        assert b.recv_until(b"\n") == b"seven\n"
        assert b.recv(5, socket.MSG_PEEK) == b"eight"
        assert b.recv_exactly(5) == b"eight"
        with a.makefile("wb") as out, b.makefile("rb") as lines:
            out.write(b"nine\n")
            out.flush()
            assert lines.readline() == b"nine\n"
        with path.open("rb") as file:
            a.sendfile(file)
        assert b.recv(100) == b"from the file"
        a.close()
        b.close()
    assert moved(record) == [
        ("send", "recv", b"one"), ("sendall", "recv_into", b"two"),
        ("sendmsg", "recvmsg", b"three"), ("sendmsg", "recvmsg_into", b"four"),
        ("send", "recvfrom", b"five"), ("send", "recvfrom_into", b"six"),
        ("sendall", "recv_until", b"seven\n"), ("sendall", "recv_exactly", b"eight"),
        ("send", "recv_into", b"nine\n"), ("sendfile", "recv", b"from the file"),
    ]  # fmt: skip
    assert "recv(MSG_PEEK)" in [event.op for event in record.events]
    assert record.processes == ["notebook"]


def datagram_sockets(count):
    made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for one in made:
        one.bind(("127.0.0.1", 0))
        one.settimeout(30)
    return made


def test_datagrams_through_a_relay_that_loses_doubles_and_reorders():
    left, right = datagram_sockets(2)
    relay = stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM)  # the stdlib's: it records nothing
    relay.bind(("127.0.0.1", 0))
    relay.settimeout(30)
    with lab.record() as record:
        for word in (b"1", b"2", b"3", b"4"):
            left.sendto(word, relay.getsockname())
        came = [relay.recv(10) for _ in range(4)]
        for word in (came[0], came[0], came[3], came[2]):
            relay.sendto(word, right.getsockname())
        got = [right.recvfrom(10)[0] for _ in range(4)]
    for one in (left, right, relay):
        one.close()
    assert got == [b"1", b"1", b"4", b"3"]
    receives = {m.data: [] for m in record.messages}
    for m in record.messages:
        receives[m.data].append(m.receive)
        assert m.offset is None
    assert len(receives[b"1"]) == 2  # doubled
    assert None not in receives[b"1"]
    assert receives[b"4"] < receives[b"3"]  # overtaken
    assert [m.data for m in record.lost] == [b"2"]


def test_a_datagram_that_is_sent_again_is_the_one_that_came():
    left, right = datagram_sockets(2)
    nobody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    nobody.bind(("127.0.0.1", 0))
    with lab.record() as record:
        left.sendto(b"again", right.getsockname())
        assert right.recv(10) == b"again"
        left.sendto(b"lost", nobody.getsockname())
        left.sendto(b"", right.getsockname())
        assert right.recvfrom(10)[0] == b""
        left.sendto(b"too long", right.getsockname())
        assert right.recv(3) == b"too"
        left.connect(right.getsockname())
        left.send(b"connected")
        assert right.recv(10) == b"connected"
    for one in (left, right, nobody):
        one.close()
    assert moved(record) == [
        ("sendto", "recv", b"again"), ("sendto", None, b"lost"), ("sendto", "recvfrom", b""),
        ("sendto", "recv", b"too long"), ("send", "recv", b"connected"),
    ]  # fmt: skip


def listener():
    made = socket.create_server(("127.0.0.1", 0))
    made.settimeout(30)
    return made


def test_a_port_that_is_used_again():
    with listener() as server, lab.record() as record:
        port = 0
        for word in (b"first", b"second"):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(("127.0.0.1", port))
            port = client.getsockname()[1]
            client.connect(server.getsockname())
            conn, _ = server.accept()
            client.sendall(word)
            assert conn.recv(10) == word
            conn.close()  # first: TIME_WAIT is the server's, and the client may have its port again
            assert client.recv(10) == b""
            client.close()
    assert moved(record) == [("sendall", "recv", b"first"), ("sendall", "recv", b"second")]
    assert [m.offset for m in record.messages] == [0, 0]


@pytest.mark.parametrize("told", [True, False], ids=["by inode", "by content"])
def test_unix_sockets_of_one_path(tmp_path, monkeypatch, told):
    if not told:
        monkeypatch.setattr(_peers, "unix_peer", lambda inode: "")
    with socket.socket(socket.AF_UNIX) as server, lab.record() as record:
        server.bind(str(tmp_path / "s"))
        server.listen()
        clients = []
        for word in (b"from one", b"from two"):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(tmp_path / "s"))
            clients.append((client, word, server.accept()[0]))
        for client, word, _ in clients:
            client.sendall(word)
        for client, word, conn in reversed(clients):
            assert conn.recv(20) == word
            conn.sendall(word.upper())
            assert client.recv(20) == word.upper()
            client.close()
            conn.close()
    assert sorted(moved(record)) == [
        ("sendall", "recv", b"FROM ONE"), ("sendall", "recv", b"FROM TWO"),
        ("sendall", "recv", b"from one"), ("sendall", "recv", b"from two"),
    ]  # fmt: skip


def test_the_kernel_tells_the_peer_of_a_unix_socket():
    a, b = stdlib.socketpair()
    with a, b:
        mine = os.fstat(a.fileno()).st_ino
        found = _peers.unix_peer(os.fstat(b.fileno()).st_ino)
        if not found:
            pytest.skip("no netlink here")
        assert found == str(mine)
    assert _peers.unix_peer(0) == _peers.unix_peer(mine) == ""
    assert _peers._peer_in(b"") == _peers._peer_in(bytes(40)) == ""


FORKS = """
import os, socket
a, b = socket.socketpair()
if os.fork() == 0:
    b.sendall(b"from the child")
    os._exit(0)
os.wait()
assert a.recv(100) == b"from the child"
"""


def test_a_forked_child_is_a_lane_of_its_own(tmp_path):
    with lab.record() as record:
        finish(start(tmp_path, "forks", FORKS))
    assert record.processes == ["forks", "forks-2"]
    (message,) = record.messages
    assert record.events[message.send].process == "forks-2"
    assert record.events[message.receive].process == "forks"
    assert record.events[message.send].pid != record.events[message.receive].pid


ENDLESS = """
import socket
a, b = socket.socketpair()
n = 0
while True:
    a.sendall(b"%d" % n)
    b.recv(100)
    n += 1
    if n == 100:
        print("going", flush=True)
"""


def test_a_process_that_is_killed_has_told_all_but_the_last(tmp_path):
    with lab.record() as record:
        process = start(tmp_path, "endless", ENDLESS)
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert len(record.messages) >= 100
    assert [m.data for m in record.messages[:3]] == [b"0", b"1", b"2"]
    assert len(record.lost) <= 1


def test_a_line_cut_short_and_other_rubbish(tmp_path):
    from ipcx.lab.matching import load

    folder = str(tmp_path)
    assert recorder.begin(folder, "me")
    a, b = socket.socketpair()
    with a, b:
        a.send(b"whole")
        b.recv(10)
    recorder.end(folder)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    (tmp_path / "1.tape").write_bytes(b"nothing\n")
    (tmp_path / "2.tape").write_bytes(b"")
    (tmp_path / "3.tape").write_bytes(whole[:4096] + bytes(4096))
    for size in (len(whole), whole.rindex(b'"op":"recv"'), len(whole) + 100):
        path.write_bytes(whole[:size].ljust(size, b"\xff"))
        made, _ = load(folder, 0)
        assert [m.data for m in made.messages] == [b"whole"]
    rubbish = whole.replace(b'{"thing"', b'["thing",')
    path.write_bytes(rubbish)
    assert load(folder, 0)[0].messages == []


def test_who_does_not_record_is_named():
    with listener() as server:
        with lab.record() as record:
            client = stdlib.socket()
            client.connect(server.getsockname())
            conn, _ = server.accept()
            conn.sendall(b"to the stdlib")
            assert client.recv(20) == b"to the stdlib"
        client.close()
        conn.close()
    assert record.messages == []
    (note,) = record.notes
    assert "notebook sent to 127.0.0.1:" in note
    assert "nobody recorded" in note


def test_nobody_takes_what_was_sent_to_a_backlog():
    with listener() as server, lab.record() as record:
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(b"hello?")
        server.settimeout(0.01)  # a look at the listener, so that the record knows it
        server.accept()[0].close()
    assert [m.data for m in record.lost] == [b"hello?"]


def test_errors_are_events():
    with listener() as server, lab.record() as record:
        gone = server.getsockname()
        server.close()
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(gone)
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            for _ in range(5):
                with pytest.raises(BlockingIOError):
                    a.recv(10)
            b.sendall(b"x")
            a.recv(10)
            with pytest.raises(BlockingIOError):
                a.recv(10)
            b.settimeout(0.01)
            with pytest.raises(TimeoutError):
                b.sendall(bytes(10_000_000))
    failed = [event for event in record.events if event.error]
    assert [(event.op, event.error.split(":")[0]) for event in failed] == [
        ("connect", "ConnectionRefusedError"), ("recv", "BlockingIOError"),
        ("recv", "BlockingIOError"), ("sendall", "TimeoutError"),
    ]  # fmt: skip
    assert failed[0].peer == f"127.0.0.1:{gone[1]}"
    assert failed[-1].bytes > 0  # what went before
    assert failed[-1].took >= 0.01
    (lost,) = record.lost
    assert lost.bytes == failed[-1].bytes


def test_begin_and_end_may_be_called_again(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    before = set(os.listdir("/proc/self/fd"))
    assert recorder.begin(one, "me")
    assert recorder.begin(one, "me")
    assert recorder.begin(other, "me")
    assert not recorder.begin(tmp_path / "none", "me")
    a, b = socket.socketpair()
    recorder.end(one)
    recorder.end(one)
    a.close()
    recorder.end()
    b.close()
    assert set(os.listdir("/proc/self/fd")) == before
    tapes = [(folder / f"{os.getpid()}.tape").read_bytes() for folder in (one, other)]
    assert [tape.count(b'"op":"close"') for tape in tapes] == [0, 1]
    assert recorder.begin(one, "me")  # once more: a tape of its own
    recorder.end()
    assert len(list(one.iterdir())) == 2
    assert not recorder.begin()  # nobody asked


def test_a_record_is_bounded(tmp_path, monkeypatch):
    from ipcx.lab.matching import load

    monkeypatch.setattr(recorder, "EVENTS_KEPT", 10)
    assert recorder.begin(tmp_path, "me")
    a, b = socket.socketpair()
    with a, b:
        for _ in range(50):
            a.send(b"x")
    recorder.end(tmp_path)
    made, _ = load(str(tmp_path), 0)
    assert len(made.events) == 10
    assert "me did more than is kept: 44 calls are missing" in made.notes


def test_a_picture_is_made_of_the_first_calls_and_nothing_on_its_way_is_lost():
    with lab.record(most=20) as record:
        a, b = socket.socketpair()
        c, d = socket.socketpair(type=socket.SOCK_DGRAM)
        with a, b, c, d:
            for _ in range(50):
                a.send(b"x")
                c.send(b"y")
                d.recv(10)
                b.recv(10)
    assert 0 < len(record.events) <= 20
    assert record.messages
    assert not record.lost
    assert max(m.receive for m in record.messages) < len(record.events)
    (note,) = record.notes
    assert note.startswith("notebook did more than is kept: ")
    assert int(note.split()[-4]) > 150
    with pytest.raises(ValueError, match="most is a number of calls above 0"):
        lab.record(most=0)


def test_where_a_lane_is_cut_the_others_are_cut_too():
    with lab.record(most=30) as record:
        a, b = socket.socketpair()
        with a, b:
            for _ in range(100):
                a.send(b"x")
            pid = os.fork()
            if pid == 0:
                b.recv(100)
                os._exit(0)
            os.waitpid(pid, 0)
    # The sender's lane ends long before anything was received.
    assert record.processes == ["notebook"]
    assert 0 < len(record.events) <= 30
    assert record.messages == []


def test_its_folder_may_go_and_the_program_goes_on(tmp_path):
    record = lab.record()
    with record:
        folder = record.folder
        assert os.environ["IPCX_RECORD"] == folder
        with pytest.raises(RuntimeError, match="open already"):
            record.__enter__()
        program = FORKS.replace("os.fork()", "(os.rename(os.environ['IPCX_RECORD'], "
                                "os.environ['IPCX_RECORD'] + 'x'), os.fork())[1]")  # fmt: skip
        finish(start(tmp_path, "forks", program))
        os.rename(folder + "x", folder)
    assert "IPCX_RECORD" not in os.environ
    assert not os.path.exists(folder)
    assert [event.op for event in record.events][:2] == ["socket", "socket"]


def test_descriptors_have_the_numbers_they_had():
    def numbers():
        a, b = socket.socketpair()
        with a, b:
            return a.fileno(), b.fileno()

    before = numbers()
    with lab.record():
        assert numbers() == before


def test_what_a_recording_hook_raises_is_reported_and_ignored(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: told.append(info.exc_type))
    a, b = socket.socketpair()
    assert _core.set_record(lambda *event: 1 / 0) is None
    try:
        with a, b:
            a.send(b"x")
            assert b.recv(10) == b"x"
    finally:
        _core.set_record(None)
    assert set(told) == {ZeroDivisionError}
    with pytest.raises(TypeError, match="callable"):
        _core.set_record(5)


def test_a_trace_and_a_record_do_not_disturb_each_other():
    import ipcx

    a, b = socket.socketpair()
    with a, b, contextlib.ExitStack() as stack:
        record = stack.enter_context(lab.record())
        with ipcx.trace() as seen:
            a.send(b"x")
        b.recv(10)
    assert [event.op for event in seen] == ["send"]
    assert [event.op for event in record.events] == ["send", "recv"]
    assert moved(record) == [("send", "recv", b"x")]


def test_what_is_kept_of_long_messages():
    import ipcx

    text = "ü" * 500
    with lab.record() as record:
        a, b = socket.socketpair()
        with a, b:
            for _ in range(4):  # the first by the callback, the others by the core
                a.sendall(b"0123456789" * 100)
                b.recv_exactly(1000)
        one, other = ipcx.pair("unix://")
        with one, other:
            for _ in range(4):
                one.send(text)
                other.receive()
    moved = [(e.bytes, e.data) for e in record.events if e.op in ("sendall", "recv_exactly")]
    assert moved == [(1000, (b"0123456789" * 26)[:256])] * 8
    texts = [(e.bytes, e.data) for e in record.events if e.op in ("send", "receive")]
    assert texts == [(1000, text.encode()[:256])] * 8
    assert len(record.messages) == 8
    with pytest.raises(TypeError, match="Tapes expected"):
        _core.record_into([5])


def test_calls_of_several_threads_are_whole_lines():
    with lab.record() as record:

        def talk():
            a, b = socket.socketpair()
            with a, b:
                for n in range(200):
                    a.send(b"%d" % n)
                    b.recv(10)

        threads = [threading.Thread(target=talk) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(record.messages) == 800
    assert not record.lost
