"""`ipcx top`: a running server's numbers, asked for over its own URL."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading

import pytest
from authority import Authority
from cryptography.hazmat.primitives import serialization
from echo_server import echoing

import ipcx
from ipcx import _ask, _numbers, _top
from ipcx.framing import Encoder, Framed, FrameType
from ipcx.server import Server

URLS = ["tcp://127.0.0.1:0", "unix://"]
SOON = 10


@contextlib.contextmanager
def asking(url):
    asker = _ask.Asker(url)
    try:
        yield asker
    finally:
        asker.close()


@pytest.mark.parametrize("url", URLS)
def test_a_server_tells_what_it_has_counted(url):
    with echoing(url) as server, ipcx.connect(server.url) as client:
        for _ in range(3):
            client.send(b"x" * 100)
            client.receive(timeout=SOON)
        with asking(server.url) as asker:
            told = asker.numbers()
            assert told["received"] == told["sent"] == 3
            assert told["received_bytes"] == 300
            assert told["pid"] == os.getpid()
            client.send(b"y")
            client.receive(timeout=SOON)
            again = asker.numbers()
            assert again["received"] == 4
            stats = server.stats()._asdict()
            assert {name: again[name] for name in stats} == stats


def test_who_asks_is_no_peer():
    with Server("unix://") as server, asking(server.url) as asker:
        answer = []
        thread = threading.Thread(target=lambda: answer.append(asker.numbers()))
        thread.start()
        while thread.is_alive():
            with pytest.raises(ipcx.Timeout):
                server._event(timeout=0.01)
        thread.join()
        assert server.peers == []
        assert server.broadcast("news") == 0
        assert [answer[0][name] for name in ("peers", "joined", "waiting", "refused")] == [0] * 4
        asker.close()
        with pytest.raises(ipcx.Timeout):
            server._event(timeout=0.01)
        assert server.stats().refused == server.stats().left == 0


def test_a_peer_may_ask_too():
    with echoing("unix://") as server, socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(SOON)
        peer.connect(server.url.removeprefix("unix://"))
        encode = Encoder().encode
        peer.sendall(
            encode(b"\1\0\0\0\0\1\0\0\0\0\0\0", type=FrameType.HELLO)
            + encode(b"", type=FrameType.REQUEST, correlation=7, extension=b"ipcx.stats")
            + encode(b"", type=FrameType.REQUEST, correlation=8, extension=b"ipcx.secrets")
            + encode(b"echo")
        )
        framed = Framed(peer)
        frames = [framed.receive_frame(timeout=SOON) for _ in range(4)]
        by_type = {frame.type: frame for frame in frames}
        assert by_type[FrameType.REPLY].correlation == 7
        assert json.loads(by_type[FrameType.REPLY].payload)["peers"] == 1
        assert by_type[FrameType.ERROR].correlation == 8
        assert by_type[FrameType.DATA].payload == b"echo"


@pytest.mark.parametrize("url", URLS)
def test_a_private_server_tells_nobody(url):
    with (
        echoing(url, private_stats=True) as server,
        asking(server.url) as asker,
        pytest.raises(PermissionError, match="tells"),
    ):
        asker.numbers()


@pytest.mark.parametrize("url", URLS)
def test_who_has_the_key_may_ask(url):
    with echoing(url, authkey="a secret") as server:
        asker = _ask.Asker(server.url, _ask.Trust(b"a secret"))
        assert asker.numbers()["peers"] == asker.numbers()["strangers"] == 0
        asker.close()
        for wrong in (b"another", b"a secre"):
            with pytest.raises(PermissionError, match="key"):
                _ask.Asker(server.url, _ask.Trust(wrong))
        with asking(server.url) as asker, pytest.raises(PermissionError, match="key"):
            asker.numbers()
        with ipcx.connect(server.url, authkey=b"a secret") as client:  # nobody was disturbed
            client.send("x")
            assert client.receive(timeout=SOON) == "x"
        stats = server.stats()
        assert (stats.waiting, stats.refused, stats.strangers) == (0, 3, 3)
    with echoing(url) as server, pytest.raises(PermissionError, match="key"):
        _ask.Asker(server.url, _ask.Trust(b"a secret"))


def test_a_key_from_a_file(tmp_path):
    (tmp_path / "key").write_bytes(b"a secret\n")
    with echoing("tcp://127.0.0.1:0", authkey="a secret") as server:
        status, out, _ = command("--once", "--json", server.url)
        assert status == 1
        assert "key" in json.loads(out)["trouble"]
        status, out, _ = command("--once", "--json", "--key-file", tmp_path / "key", server.url)
        assert (status, json.loads(out)["peers"]) == (0, 0)
    status, _, err = command("--key-file", tmp_path / "none", "tcp://127.0.0.1:1")
    assert status == 1
    assert "No such file" in err


def test_over_tls(tmp_path):
    lab = Authority()
    trusted, mine = tmp_path / "authority.pem", tmp_path / "mine.pem"
    trusted.write_bytes(lab.own.public_bytes(serialization.Encoding.PEM))
    mine.write_bytes(b"".join(lab.identity()))
    arguments = ("--once", "--json")
    with echoing("tls://127.0.0.1:0", tls=lab.server()) as server:
        with ipcx.connect(server.url, tls=lab.client()) as client:
            client.send("x")
            client.receive(timeout=SOON)
            status, out, _ = command(*arguments, "--ca-file", trusted, server.url)
            told = json.loads(out)
            assert (status, told["peers"], told["received"]) == (0, 1, 1)
        status, out, _ = command(*arguments, server.url)
        assert status == 1
        assert json.loads(out)["trouble"].endswith("--ca-file")
        status, out, _ = command(*arguments, server.url.replace("tls:", "tcp:"))
        assert status == 1
        plain = echoing("tcp://127.0.0.1:0")
        with plain as other:
            url = other.url.replace("tcp:", "tls:")
            status, out, _ = command(*arguments, "--ca-file", trusted, url)
            assert status == 1
            assert "does not speak TLS" in json.loads(out)["trouble"]
    with echoing("tls://127.0.0.1:0", tls=lab.strict(), authkey="a secret") as server:
        (tmp_path / "key").write_bytes(b"a secret\n")
        key = ("--key-file", tmp_path / "key")
        status, out, _ = command(*arguments, "--ca-file", trusted, *key, server.url)
        assert status == 1
        assert json.loads(out)["trouble"].endswith("--cert-file")
        status, out, _ = command(
            *arguments, "--ca-file", trusted, "--cert-file", mine, *key, server.url
        )
        assert (status, json.loads(out)["peers"]) == (0, 0)
    status, _, err = command("--once", "--ca-file", tmp_path / "none", "tls://127.0.0.1:1")
    assert status == 1
    assert "No such file" in err


BROKEN = {
    "a message": Encoder().encode(b"message"),
    "no correlation": Encoder().encode(b"", type=FrameType.REQUEST, extension=b"ipcx.stats"),
    "a long question": Encoder().encode(b"x" * 5000, type=FrameType.REQUEST, correlation=1),
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
def test_who_asks_and_breaks_the_rules_is_cut_off(sent):
    with echoing("unix://") as server, asking(server.url) as asker, asking(server.url) as other:
        asker.numbers()
        asker._socket.sendall(sent)
        with pytest.raises((OSError, ipcx.Error)):
            asker.numbers()
        assert other.numbers()["peers"] == 0


def test_questions_without_end_are_no_memory():
    """Who does not read its answers is not listened to any more."""
    with echoing("unix://") as server, socket.socket(socket.AF_UNIX) as asker:
        asker.connect(server.url.removeprefix("unix://"))
        hello = b"\1\0\0\0\0\1\0\0\0\0\0\1"
        question = Encoder().encode(
            b"", type=FrameType.REQUEST, correlation=1, extension=b"ipcx.stats"
        )
        asker.sendall(Encoder().encode(hello, type=FrameType.HELLO))
        asker.settimeout(0.05)
        full = False
        while not full:
            try:
                asker.sendall(question * 100)
            except TimeoutError:
                full = True
        assert server.stats().memory < 1 << 20


# ---- the line


def test_a_stats_line():
    with echoing("unix://") as server, ipcx.connect(server.url) as client:
        client.send(b"x" * 5000)
        client.receive(timeout=SOON)
        line = server.stats_line()
        assert line.startswith("1 peers, in ")
        assert line.endswith("; dropped 0, slow 0, refused 0")
        assert "in 0/s 0B/s" not in line
        assert "in 0/s 0B/s, out 0/s 0B/s" in server.stats_line()


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (99_999, "99999"), (123_456, "123k"), (12_345_678, "12346k"), (3e9, "3000M")],
)
def test_short_numbers(value, said):
    assert _numbers.short(value) == said


def test_short_bytes():
    assert [_numbers.short(n, of_bytes=True) for n in (1000, 1 << 20, 1 << 30, 1 << 60)] == [
        "1000", "1024Ki", "1024Mi", "1048576Ti",
    ]  # fmt: skip


# ---- the command


def command(*words, **options):
    done = subprocess.run(
        [sys.executable, "-m", "ipcx", "top", *words],
        capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_once():
    with echoing(*URLS) as server, ipcx.connect(server.url) as client:
        client.send(b"x")
        client.receive(timeout=SOON)
        status, out, err = command("--once", *server.urls)
        assert (status, err) == (0, "")
        head, *rows = out.splitlines()
        assert head.split()[:2] == ["peers", "in"]
        assert [row.split()[:2] for row in rows] == [["1", "1"]] * 2
        assert [row.split()[-1] for row in rows] == list(server.urls)


def test_json_a_line():
    with echoing("unix://") as server:
        _, out, _ = command("--json", "--count", "2", "--interval", "0.02", server.url)
        first, second = map(json.loads, out.splitlines())
        assert first["name"] == second["name"] == server.url
        assert "received_per_second" not in first
        assert second["received_per_second"] == 0


def test_a_server_with_all_addresses():
    with echoing("tcp://*:0", insecure=True) as server:
        status, out, _ = command("--once", "--json", server.url)
        assert (status, json.loads(out)["peers"]) == (0, 0)


@pytest.mark.parametrize("url", ["tcp://x", "tcp://127.0.0.1:99999", "tls://:", "tcp://1:-1"])
def test_no_address(url):
    status, out, err = command("--once", "--json", url)
    assert (status, err) == (1, "")
    assert "a host and a port are needed" in json.loads(out)["trouble"]


def test_nobody_there():
    status, out, _ = command("--once", "unix:///nowhere/at/all")
    assert status == 1
    assert "No such file" in out
    status, out, _ = command("--once", "--json", "shm://that")
    assert status == 1
    assert "over tcp://, tls:// or unix://" in json.loads(out)["trouble"]


def test_who_comes_back_is_shown_again(tmp_path, monkeypatch, capsys):
    """A server that is restarted under the same URL."""
    url = f"unix://{tmp_path}/s"
    steps = iter(["stop", "start", "end"])
    servers = contextlib.ExitStack()
    servers.enter_context(echoing(url))

    def pause(_):
        step = next(steps)
        if step == "stop":
            servers.close()
        elif step == "start":
            servers.enter_context(echoing(url))
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(_top.time, "sleep", pause)
    with servers:
        assert _top.main([url, "--json"]) == 0
    rounds = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["trouble" in row for row in rounds] == [False, True, False]
    assert "received_per_second" not in rounds[2]


def test_a_terminal_and_ctrl_c():
    with echoing("unix://") as server:
        ours, its = pty.openpty()
        top = subprocess.Popen(
            [sys.executable, "-m", "ipcx", "top", "--interval", "0.02", server.url],
            stdin=its, stdout=its, stderr=its, start_new_session=True,
        )  # fmt: skip
        os.close(its)
        seen = b""
        while seen.count(b"\033[J") < 3:
            seen += os.read(ours, 4096)
        top.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # EIO: nobody has the other side
            while more := os.read(ours, 4096):
                seen += more
        assert top.wait(SOON) == 0
        os.close(ours)
        assert b"Traceback" not in seen
        assert b"peers" in seen


@pytest.mark.parametrize("words", [("--interval", "0", "unix:///x"), ("--bad",)])
def test_misuse(words):
    with pytest.raises(SystemExit) as caught:
        _top.main(words)
    assert caught.value.code == 2


class Counted:
    """A source of one's own."""

    columns = (_top.Column("calls", "calls", rate=True), _top.Column("size", "size", bytes=True))

    def __init__(self):
        self.at = iter([(0.0, 100), (2.0, 500), (4.0, 40)])

    def read(self):
        at, calls = next(self.at)
        return [_top.Reading("one\x1b", {"calls": calls, "size": 1 << 30}, at=at)]

    def close(self):
        pass


def test_rates_of_any_source(capsys):
    display = _top._Display([Counted()], as_json=False, once=False)
    for _ in range(3):
        assert display.round()
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert head == ["calls/s", "size"]
    assert rows == [
        ["-", "1024Mi", "one\\x1b"], ["200", "1024Mi", "one\\x1b"], ["20", "1024Mi", "one\\x1b"]
    ]  # fmt: skip  # fewer than before: it was started again, and counts from 0
