"""The example programs: the lecture's hosts and ports in their text, and `ipcx examples DIR`."""

import ast
import re
import sys
import time
from pathlib import Path

import pytest

from ipcx import _examples
from ipcx.tour import engine, ports
from ipcx.tour.stations import STATIONS
from meta.tree import ROOT

EXAMPLES = ROOT / "examples"
ELSEWHERE = {
    "signals/worker.py",  # signals/boss.py starts it
    "process/work.py",  # what the others of that folder import
    "server/workers.py",  # test_server_workers.py, with its workers killed
}
PROGRAMS = sorted(path for end in ("py", "c", "java") for path in EXAMPLES.rglob(f"*.{end}"))


def calls(program: Path) -> list[str]:
    """The names of the methods that a program calls on sockets, in the order of its text."""
    verbs = {"socket", "bind", "listen", "accept", "connect", "recv", "send", "sendall", "close"}
    nodes = [n for n in ast.walk(ast.parse(program.read_text())) if isinstance(n, ast.Call)]
    named = [n for n in nodes if isinstance(n.func, ast.Attribute) and n.func.attr in verbs]
    return [n.func.attr for n in sorted(named, key=lambda n: (n.lineno, n.col_offset))]


def test_hello_has_the_lectures_calls_and_address():
    server, client = (EXAMPLES / "hello_8080" / f"{name}.py" for name in ("server", "client"))
    assert '("localhost", 8080)' in server.read_text()
    assert '("localhost", 8080)' in client.read_text()
    lecture = ["socket", "bind", "listen", "accept", "recv", "send", "close"]
    assert calls(server) == [*lecture, "close"]  # and the listening socket's
    assert calls(client) == ["socket", "connect", "send", "recv", "close"]


def test_bond_has_the_lectures_calls_and_address():
    server, client = (EXAMPLES / "bond_65432" / f"{name}.py" for name in ("server", "client"))
    for program in (server, client):
        assert '\nHOST = "127.0.0.1"\nPORT = 65432\n' in program.read_text()
    assert "def prepareReply(inData):" in server.read_text()
    assert calls(server) == ["socket", "bind", "listen", "accept", "recv", "sendall"]
    assert calls(client) == ["socket", "connect", "sendall", "recv"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_each_program_is_on_the_tour_and_in_the_readme(program):
    name = str(program.relative_to(EXAMPLES))
    on_the_tour = any(name in station.sources() for station in STATIONS)
    assert on_the_tour or name in ELSEWHERE
    assert name in (EXAMPLES / "README.md").read_text()
    text = program.read_text()
    assert (
        ast.get_docstring(ast.parse(text)) if program.suffix == ".py" else text[:2] in ("/*", "//")
    )


@pytest.mark.parametrize("station", STATIONS, ids=lambda s: s.name)
def test_each_port_of_a_station_stands_in_its_programs(station):
    text = "".join((EXAMPLES / source).read_text() for source in station.sources())
    for port in station.ports:
        assert re.search(rf"\b{port}\b", text)


def test_renumbering_replaces_whole_numbers_only():
    source = 'PORT = 8080  # 18080, 8080.\nconnect(("localhost", 8080)); x8080 = 80801'
    assert ports.renumbered(source, {8080: 23417}) == (
        'PORT = 23417  # 18080, 23417.\nconnect(("localhost", 23417)); x8080 = 80801'
    )
    assert ports.renumbered("1 and 2", {1: 2, 2: 1}) == "2 and 1"
    assert ports.renumbered("unchanged", {}) == "unchanged"


def test_a_free_port_is_free_and_below_the_kernels_own():
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    port = ports.free_port(())
    assert 20_000 <= port < min(low, 32_000)
    assert not ports.listens(port)


@pytest.mark.parametrize("on", ["stdlib", "ipcx"])
@pytest.mark.parametrize("folder", ["hello_8080", "bond_65432"])
def test_the_programs_run_as_the_tour_says_by_hand(folder, on, tmp_path, spawn):
    """By hand, as a reader does it: copied out, and here only with another port."""
    copy = _examples.copy_out(tmp_path / "copy") / folder
    old = int(folder.rpartition("_")[2])
    port = ports.free_port(())
    for program in copy.glob("*.py"):
        program.write_text(ports.renumbered(program.read_text(), {old: port}))
    through = ["-m", "ipcx.run"] if on == "ipcx" else []
    server = spawn("-u", *through, "server.py", cwd=copy)
    while not ports.listens(port):
        assert server.poll() is None
        time.sleep(engine.LOOK_AGAIN)
    client = spawn(*through, "client.py", "James Bond", cwd=copy)
    said = client.communicate()[0], server.communicate()[0]
    assert client.returncode == server.returncode == 0
    if folder == "hello_8080":
        assert said == ("Received b'Hello from server!'\n", "Received b'Hello from client!'\n")
    else:
        assert said[0] == "Received 'The name is Bond. James Bond.'\n"
        assert re.fullmatch(r"Connected by \('127\.0\.0\.1', \d+\)\n", said[1])


# ---------------------------------------------------------------- ipcx examples DIR


def test_the_examples_are_copied_out(tmp_path, capsys):
    target = tmp_path / "my examples"
    assert _examples.main([str(target)]) == 0
    copied = {p.relative_to(target): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    tree = [p for p in EXAMPLES.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert copied == {p.relative_to(EXAMPLES): p.read_bytes() for p in tree}
    said = capsys.readouterr().out
    assert f"python '{target}/hello_8080/server.py'" in said
    assert f"{target}/README.md" in said


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    assert _examples.main([str(tmp_path)]) == 1
    assert _examples.main([str(tmp_path / "mine")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(FileExistsError):
        _examples.copy_out(tmp_path)


def test_an_empty_folder_will_do_and_a_missing_parent_is_made(tmp_path):
    (tmp_path / "empty").mkdir()
    assert (_examples.copy_out(tmp_path / "empty") / "README.md").is_file()
    assert (_examples.copy_out(tmp_path / "a" / "b") / "README.md").is_file()


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert _examples.main([str(tmp_path / "file" / "below")]) == 1
    assert capsys.readouterr().err.startswith("ipcx examples: ")


def test_the_command_line_is_checked(capsys):
    with pytest.raises(SystemExit) as raised:
        _examples.main([])
    assert raised.value.code == 2
    assert "DIR" in capsys.readouterr().err


def test_the_tour_and_the_command_use_the_same_folder():
    assert engine.find_examples() == _examples.folder() == EXAMPLES
    assert sys.executable in engine.command(STATIONS[0].actors[0], "x", "stdlib")
