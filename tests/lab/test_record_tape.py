"""The tape of a record: what the core writes itself is what the callback would have written."""

import array
import contextlib
import json
import os
import socket as stdlib
import tempfile

import pytest

import ipcx
from ipcx import _core, lab, pipes, socket
from ipcx.lab import _folder, _tape, recorder
from ipcx.lab.matching import load


def new(tmp_path, kept=100):
    path = tmp_path / "a.tape"
    path.touch()
    return path, _core.Tape(str(path), kept)


def test_rows_of_any_size(tmp_path):
    path, tape = new(tmp_path)
    rows = [{"n": n, "text": "x" * size} for n, size in enumerate((0, 1, 5, 40_000, 300_000, 3))]
    for row in rows:
        assert tape.add(json.dumps(row).encode())
    assert list(_tape.entries(path.read_bytes())) == rows
    tape.close()
    assert not tape.add(b"{}")
    assert not tape.add_call(b"{}")
    assert list(_tape.entries(path.read_bytes())) == rows


def test_what_is_beyond_its_bound_is_counted(tmp_path):
    path, tape = new(tmp_path, kept=3)
    assert [tape.add_call(b'{"op":"x"}') for _ in range(5)] == [True] * 3 + [False] * 2
    found = path.read_bytes()
    assert _tape.missed(found) == 2
    assert len(list(_tape.entries(found))) == 3


def test_no_room_on_the_disk_is_counted(tmp_path):
    path, tape = new(tmp_path, kept=1000)
    path.unlink()  # where it was, nothing can be appended to
    path.write_bytes(bytes(100))
    assert not tape.add(b"[]")
    assert not tape.add_call(b"[]")
    assert path.read_bytes() == bytes(100)  # another's


def test_a_tape_is_an_empty_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        _core.Tape(str(tmp_path / "none"), 1)
    path = tmp_path / "full"
    path.write_bytes(b"somebody's")
    with pytest.raises(OSError, match="full"):
        _core.Tape(str(path), 1)
    assert path.read_bytes() == b"somebody's"
    with pytest.raises(TypeError):
        _core.Tape(5, 1)
    with pytest.raises(TypeError, match="keyword"):
        _core.Tape(path=str(path), kept=1)
    with pytest.raises(TypeError):
        new(tmp_path)[1].add("text")


def test_a_forked_child_leaves_its_parents_tape_alone(tmp_path):
    path, tape = new(tmp_path)
    assert tape.add(b"1")
    pid = os.fork()
    if pid == 0:
        os._exit(int(tape.add(b"2") or tape.add_call(b"3")))
    assert os.waitpid(pid, 0)[1] == 0
    assert tape.add(b'{"n":4}')
    assert list(_tape.entries(path.read_bytes())) == [{"n": 4}]  # 1 is no object


def test_what_is_known_may_come_and_go(tmp_path):
    _, tape = new(tmp_path)
    _core.record_into([tape])
    keys = [n * 64 for n in range(1, 500)]
    for key in keys:
        _core.record_known(key, key + 1)
    for key in keys[::2] + keys:
        _core.record_known(key, 0)
    _core.record_known(0, 5)
    _core.record_into(())
    with pytest.raises(TypeError):
        _core.record_known("key", 1)


def sockets():
    """Calls of every kind, of objects that the record knows already the second time."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        a, b = map(enter, socket.socketpair())
        server = enter(socket.create_server(("::1", 0), family=socket.AF_INET6))
        client = enter(socket.create_connection(server.getsockname()[:2]))
        conn = enter(server.accept()[0])
        one = enter(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        two = enter(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        named = enter(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        named.bind(f"\0ipcx-{os.getpid()}")
        other = enter(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        room = bytearray(20)
        while True:
            for left, right in ((a, b), (client, conn)):
                left.send(b"one")
                right.recv(9)
                left.sendall(memoryview(b"two" * 200))
                right.recv_exactly(600)
                left.sendmsg([b"thr", bytearray(b"ee")])
                right.recv_into(room)
                left.send(array.array("H", [1, 2]))
                right.recvmsg(9)
                left.send(b"line\n")
                right.recv_until(b"\n")
                left.send(b"x")
                right.recvmsg_into([bytearray(1)])
                left.setblocking(False)
                for _ in range(3):
                    with contextlib.suppress(BlockingIOError):
                        left.recv(1)
                left.settimeout(0.001)
                with contextlib.suppress(TimeoutError):
                    left.recv(1)
                left.settimeout(30)
            one.sendto(b"datagram", two.getsockname())
            two.recvfrom(20)
            one.sendto(b"", two.getsockname())
            two.recvfrom_into(room)
            other.sendto(b"abstract", named.getsockname())
            named.recvfrom(20)
            yield


def channels(scheme):
    a, b = ipcx.pair(f"{scheme}://")
    with a, b:
        while True:
            for message in (b"bytes", "téxt", bytearray(b"array"), b"", b"long" * 100):
                a.send(message)
                b.receive()
            if scheme != "inproc":
                a.send(b"into")
                b.receive_into(bytearray(9))
            with pytest.raises(ipcx.WouldBlock):
                b.receive(timeout=0)
            yield


def the_os_pipe():
    with pipes.pipe() as pipe:
        while True:
            pipe.write_end.write(b"hello")
            pipe.read_end.read(5)
            yield


@pytest.mark.parametrize("what", ["sockets", "inproc", "shm", "unix", "the_os_pipe"])
def test_the_core_writes_what_the_callback_would(tmp_path, monkeypatch, what):
    made = {"sockets": sockets, "the_os_pipe": the_os_pipe}.get(what, lambda: channels(what))()
    rounds, plain = [], []
    for known in (False, True):
        folder = tmp_path / str(known)
        folder.mkdir()
        assert recorder.begin(folder, "me")
        try:
            if not known:
                monkeypatch.setattr(_core, "record_known", lambda key, number: None)
            next(made)
            if known:  # the first round was the callback's, or some of it
                next(made)
        finally:
            monkeypatch.undo()
            recorder.end()
        record, _ = load(str(folder), 0)
        ops = ("socket", "pair", "bind", "listen", "accept", "connect", "setblocking", "settimeout")
        events = [e for e in record.events if e.op not in ops]
        if known:
            assert events[: len(events) // 2] == [
                e._replace(
                    time=f.time, took=f.took, number=f.number, lamport=f.lamport, clock=f.clock
                )
                for e, f in zip(events[len(events) // 2 :], events, strict=False)
            ]
            events = events[len(events) // 2 :]
        rounds.append([(e.op, e.kind, e.local, e.peer, e.bytes, e.data, e.error) for e in events])
        (path,) = folder.iterdir()
        entries = list(_tape.entries(path.read_bytes()))
        plain.append(sum(isinstance(row, _tape.Plain) for row in entries))
    made.close()
    assert rounds[0] == rounds[1]
    assert plain[0] == 0
    assert plain[1] >= len(rounds[1])  # of two rounds, one was the core's throughout


def test_a_program_that_closes_all_descriptors_goes_on_recording(tmp_path):
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            recorder.begin(tmp_path, "daemon")
            os.closerange(3, 1000)
            mine = os.open(tmp_path / "mine", os.O_RDWR | os.O_CREAT)
            a, b = socket.socketpair()
            for n in range(20_000):
                a.send(b"%d" % n)
                b.recv(10)
            os._exit(os.fstat(mine).st_size)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    record, _ = load(str(tmp_path), 0)
    assert len(record.messages) == 20_000
    assert not record.lost


def test_two_records_at_once_each_have_all():
    with lab.record() as outer:
        a, b = socket.socketpair()
        a.send(b"before")
        b.recv(10)
        with lab.record() as inner:
            for _ in range(3):
                a.send(b"within")
                b.recv(10)
        a.send(b"after")
        b.recv(10)
        a.close()
        b.close()
    assert [m.data for m in inner.messages] == [b"within"] * 3
    assert [m.data for m in outer.messages] == [b"before"] + [b"within"] * 3 + [b"after"]


def test_who_waits_when_a_record_begins_is_in_it():
    import threading

    a, b = socket.socketpair()
    with a, b:
        got = []
        waits = threading.Thread(target=lambda: got.append(b.recv(10)))
        waits.start()
        while _state(waits.native_id) != "S":
            pass
        with lab.record() as record:
            a.send(b"hello")
            waits.join()
    assert got == [b"hello"]
    (message,) = record.messages
    assert record.events[message.receive].op == "recv"


def _state(tid):
    with open(f"/proc/self/task/{tid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_where_memory_is_short_a_record_is_on_the_disk(monkeypatch, tmp_path):
    for what, value in (("_PLENTY", 1 << 60), ("_MEMORY", str(tmp_path / "none"))):
        monkeypatch.setattr(_folder, what, value)
        folder = _folder.Folder()
        assert os.path.dirname(folder.path) == tempfile.gettempdir()
        folder.remove()
        assert not os.path.exists(folder.path)
    assert stdlib.socket is not socket.socket


def test_the_folder_of_who_was_killed_goes_with_the_next_record(spawn):
    """And that of a record that is open stays, as does what looks like one and is somebody's."""
    told = "with record() as r: print(r.folder, flush=True); input()"
    program = f"from ipcx.lab.recorder import record\n{told}"
    killed, other = spawn("-c", program), spawn("-c", program)
    left, held = killed.stdout.readline().strip(), other.stdout.readline().strip()
    killed.kill()
    killed.wait()
    assert os.listdir(left)
    assert os.listdir(held)
    stranger = os.path.join(os.path.dirname(left), f"ipcx-record-{os.getpid()}")
    with open(stranger, "w"):
        pass
    try:
        with recorder.record() as record:
            assert not os.path.exists(left)
            assert os.listdir(held)
            assert os.path.exists(stranger)
        assert not os.path.exists(record.folder or left)
    finally:
        os.unlink(stranger)
    other.communicate("done\n")
    assert not os.path.exists(held)
