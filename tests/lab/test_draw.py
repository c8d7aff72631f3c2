"""``ipcx draw``: unmodified programs and the picture of what passed."""

import signal
import subprocess
import sys

import pytest

from ipcx.lab import Record
from ipcx.lab.draw import _write, main, run

SERVER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    while True:
        conn, _ = listener.accept()
        with conn:
            conn.sendall(conn.recv(100).upper())
"""
CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(sys.argv[2].encode())
    print(sock.recv(100).decode(), sys.argv[3:])
"""


@pytest.fixture
def programs(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "client.py").write_text(CLIENT)
    place = str(tmp_path / "place")
    return [str(tmp_path / "server.py"), place], [str(tmp_path / "client.py"), place]


def test_a_server_without_end_and_its_client(programs, capsys):
    server, client = programs
    assert main([*server, "--", *client, "hello"]) == 0
    said = capsys.readouterr()
    assert "client | HELLO []" in said.err
    assert "server still ran when all others had ended" in said.err
    assert "Traceback" not in said.err
    for word in ("server", "client", "accept", "connect", "sendall 5 B", "HELLO"):
        assert word in said.out


def test_the_picture_and_the_record(programs, tmp_path, capsys):
    server, client = programs
    picture = tmp_path / "x.svg"
    assert main([*server, "--", *client, "hello", "-o", str(picture), "--json"]) == 0
    said = capsys.readouterr()
    assert picture.read_text().startswith("<svg")
    record = Record.from_json(said.out)
    assert record.processes == ["server", "client"]
    assert [m.data for m in record.messages] == [b"hello", b"HELLO"]
    for kind in ("html", "txt", "json", "pcapng"):
        path = tmp_path / f"x.{kind}"
        _write(record, str(path))
        assert path.stat().st_size > 100


def test_more_clients_and_arguments_that_look_like_ours(programs, tmp_path):
    server, client = programs
    record, failed = run([server, [*client, "one"], [*client, "two"]])
    assert failed == []
    assert sorted(record.processes) == ["client", "client-2", "server"]
    assert sorted(m.data for m in record.messages) == [b"ONE", b"TWO", b"one", b"two"]


def test_a_last_separator_keeps_the_arguments_the_programs_own(programs, capsys):
    server, client = programs
    assert main([*server, "--", *client, "hello", "--json", "--"]) == 0
    assert "HELLO ['--json']" in capsys.readouterr().err


def test_datagrams_and_a_server_that_ends(tmp_path, capsys):
    (tmp_path / "from.py").write_text(
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.bind(sys.argv[1])\ns.recv(10)\n"
    )
    code = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.sendto(b'datagram', sys.argv[1])"
    )
    place = str(tmp_path / "place")
    assert main([str(tmp_path / "from.py"), place, "--", "-c", code, place]) == 0
    said = capsys.readouterr()
    assert "told to end" not in said.err
    assert "datagram" in said.out
    assert "python" in said.out


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit(3)", "python ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "python was killed by SIGKILL"),
    ],
)
def test_a_client_that_fails(programs, capsys, code, words):
    server, _ = programs
    assert main([*server, "--", "-c", code]) == 1
    assert words in capsys.readouterr().err


def test_two_who_wait_for_each_other(programs, capsys):
    server, _ = programs
    mute = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); s.recv(1)"
    assert main(["--timeout", "3", *server, "--", "-c", mute, server[1]]) == 1
    said = capsys.readouterr()
    assert "python was not done after 3 s: it was ended" in said.err
    assert "connect" in said.out


def test_programs_without_sockets(capsys):
    assert main(["-c", "pass", "--", "-c", "print('hi')"]) == 1
    said = capsys.readouterr()
    assert "nothing was recorded" in said.err
    assert "python-2 | hi" in said.err


def test_ctrl_c_ends_them_and_the_picture_is_drawn(programs, tmp_path):
    server, _ = programs
    mute = "import socket, sys; s = socket.socket(1); s.connect(sys.argv[1]); print(1); s.recv(1)"
    command = [sys.executable, "-m", "ipcx", "draw", *server, "--", "-c", mute, server[1]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as draw:
        while "1" not in draw.stderr.readline():
            pass
        draw.send_signal(signal.SIGINT)
        out, err = draw.communicate(timeout=60)
    assert draw.returncode == 130
    assert "connect" in out
    assert "python was interrupted" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-c", "pass"], "one program alone"),
        (["-c", "pass", "--", "--"], "a program is missing"),
        (["--", "-c", "pass"], "a program is missing"),
        (["none.py", "--", "-c", "pass"], "there is no program none.py"),
        (["--timeout", "soon", "-c", "pass", "--", "-c", "pass"], "a number of seconds"),
        (["--timeout", "0", "-c", "pass", "--", "-c", "pass"], "a number of seconds"),
        (["-o", "x.png", "-c", "pass", "--", "-c", "pass"], "it ends with one of .svg"),
        (["-o", "/no/such/x.svg", "-c", "pass", "--", "-c", "pass"], "nothing can be written into"),
        (["-o"], "-o needs an argument"),
        ([], "usage"),
    ],
)
def test_wrong_command_lines(capsys, arguments, words):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "usage: ipcx draw" in capsys.readouterr().out
