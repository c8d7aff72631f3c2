"""The tour's other languages and its lasting servers: what they share, lack, and how they end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ipcx.tour import engine, languages, main, ports, show
from ipcx.tour.model import (
    IPCX,
    JAVA,
    STDLIB,
    Actor,
    Bound,
    C,
    Ended,
    Line,
    Spoken,
    Station,
)
from ipcx.tour.stations import STATIONS
from ipcx.tour.stations_languages import LANGUAGES
from meta.tree import ROOT

HUNG = 120  # a hang guard for some stations on a busy machine, not a bound
FOUR = (STDLIB, IPCX, C, JAVA)

pytestmark = pytest.mark.hang_guard(HUNG)


def tour(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ipcx", "tour", *arguments],
        capture_output=True,
        text=True,
        timeout=HUNG,
        env={**os.environ, **variables},
    )


@pytest.fixture
def stage(tmp_path, capsys):
    """`stage(*actors, file=source, …)` runs one injected station and gives its report."""

    def station(
        *actors: Actor, says=(), known=(), limit=10.0, **programs: str
    ) -> tuple[Station, Path]:
        folder = tmp_path / "examples" / "odd"
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in programs.items():
            (folder / name.replace("_", ".")).write_text(source)
        made = Station("odd", "An odd one", "Something.", actors, says, known, limit=limit)
        return made, folder.parent

    def act(*actors: Actor, **rest: Any) -> dict:
        one, examples = station(*actors, **rest)
        main(["--json"], stations=[one], examples=examples)
        return json.loads(capsys.readouterr().out)["stations"][0]

    act.station = station
    return act


def server(**how) -> Actor:
    return Actor("server", "odd/server.py", lasts=True, **({"on": (STDLIB,)} | how))


def client(**how) -> Actor:
    return Actor("client", "odd/client.py", **({"on": (STDLIB, IPCX)} | how))


# ---------------------------------------------------------------- the stations

needs_java = pytest.mark.skipif(
    languages.lacks(JAVA) is not None,
    reason="no Java (Debian: default-jdk-headless)",
)


@needs_java
def test_all_pairings_of_both_protocols_are_in_the_json():
    told = json.loads(tour("--only", "upper_*", "--json").stdout)
    assert told["all_held"]
    for station in told["stations"]:
        pairings = [(run["pairing"]["server"], run["pairing"]["client"]) for run in station["runs"]]
        assert pairings == [(a, b) for a in FOUR for b in FOUR]
        for run in station["runs"]:
            assert run["exits"] == {"server": None, "client": 0}
            assert [line["typed"] for line in run["transcript"]] == [True, False]
        assert len({json.dumps(run["ports"]) for run in station["runs"]}) == 1
        assert len(station["by_hand"]) == 6


@needs_java
def test_the_table_and_one_transcript():
    said = tour("--only", "upper_udp").stdout
    rows = [line.split() for line in said.splitlines() if line.count("✓") == 4]
    assert rows == [[name, *"✓✓✓✓"] for name in ("stdlib", "ipcx", "C", "Java")]
    assert said.count("FROM SERVER:HELLO FROM THE KEYBOARD!") == 1
    assert "client ◂ Hello from the keyboard!" in said
    plain = tour("--only", "upper_udp", PYTHONIOENCODING="ascii").stdout
    assert plain.isascii()
    assert "client < Hello from the keyboard!" in plain


def test_the_table_shows_what_failed(stage, capsys):
    station, examples = stage.station(
        server(on=(STDLIB, IPCX)),
        client(on=(STDLIB, IPCX, C), also={C: "odd/client.c"}, when=Bound(1234)),
        says=(Line("client", "{any}"),),
        known=(1234,),
        server_py=SERVES,
        client_py=ASKS,
        client_c="int main(void) { return 3; }",
    )
    assert main([], stations=[station], examples=examples) == 1
    said = capsys.readouterr().out
    assert [line.split()[1:] for line in said.splitlines() if "✓        ✓" in line] == [
        ["✓", "✓", "✗"],
        ["✓", "✓", "✗"],
    ]
    assert "6 pairings in" in said
    assert said.count("client ended with status 3, not 0") == 2 + 1  # and in the summary
    assert said.count("✗ server on") == 2


@needs_java
def test_nul_is_made_visible():
    assert show.visible("HELLO\0\0\0!\0") == "HELLO[3 × NUL]![1 × NUL]"
    assert "SERVER:MY SECRET PASSWORD[1006 × NUL]" in tour("--only", "java_padding").stdout


def test_step_takes_the_pairing_on_ipcx():
    said = tour("--only", "upper_tcp", "--step").stdout
    assert "server on ipcx     client on ipcx" in said
    assert "accept" in said


# ---------------------------------------------------------------- what a machine lacks


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """`bare("cc")`: a PATH with nothing else than these tools."""

    def only(*tools: str) -> None:
        for tool in tools:
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    return only


@needs_java
def test_without_javac_the_rest_runs(bare, capsys):
    bare("cc", "as", "ld", "java")
    assert main(["--only", "upper_udp", "java_padding"]) == 0
    said = capsys.readouterr().out
    sentence = "there is no javac on this machine, so the programs in Java are left out"
    assert f"– {sentence}" in said
    assert f"– skipped: {sentence}" in said
    assert said.count("✓", 0, said.index("java_padding")) == 9 + 1  # the table, and a transcript
    assert "9 pairings" in said
    assert "1 of 2 stations hold; 9 transcripts" in said
    assert main(["--list", "--only", "upper_udp"]) == 0
    assert sentence in capsys.readouterr().out


def test_with_python_alone_the_rest_runs(bare, capsys):
    bare()
    assert main(["--only", "upper_udp", "c_*", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [station["status"] for station in told["stations"]] == ["held", "skipped", "skipped"]
    assert len(told["stations"][0]["runs"]) == 4
    first, second = told["stations"][0]["left_out"]
    assert first.startswith("there is no cc on this machine")
    assert second.startswith("there is no java and no javac on this machine")
    assert told["stations"][1]["skipped"] == first


def test_what_does_not_compile_fails_alone(stage):
    told = stage(
        Actor("client", "odd/client.py", on=(STDLIB, C), also={C: "odd/client.c"}),
        says=(Line("client", "here"),),
        client_py="print('here')",
        client_c="int main(void) { return missing; }\n",
    )
    assert [run["held"] for run in told["runs"]] == [True, False]
    why = told["runs"][1]["why"]
    assert why.startswith("cc did not compile it: odd/client.c")


def test_a_compiler_that_hangs_is_killed(tmp_path, monkeypatch):
    hanging = tmp_path / "bin" / "cc"
    hanging.parent.mkdir()
    hanging.write_text("#!/bin/sh\nsleep 1000\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", f"{hanging.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(languages, "SLOWEST", 0.2)
    why = languages.build(C, [tmp_path / "a.c", tmp_path / "b.c"], os.environ)
    assert why == "cc still ran after 0.2 s and was killed"


def test_ctrl_c_ends_a_compiler_too(tmp_path, spawn):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    compiler = tmp_path / "bin" / "cc"
    compiler.parent.mkdir()
    compiler.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/half\nmv {tmp_path}/half {tmp_path}/pid\nsleep 1000\n"
    )
    compiler.chmod(0o755)
    path = f"{compiler.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "TMPDIR": str(scratch), "PATH": path}
    child = spawn(
        *("-m", "ipcx", "tour", "--only", "c_stream"), env=environment, stderr=subprocess.PIPE
    )
    while not (tmp_path / "pid").exists():
        assert child.poll() is None
        time.sleep(engine.LOOK_AGAIN)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130
    assert "nothing was left running" in errors
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")
    assert list(scratch.iterdir()) == []


def test_python_needs_no_compiler(tmp_path):
    assert languages.build(STDLIB, [tmp_path / "a.py"], {}) is None
    assert languages.lacks(STDLIB) is languages.lacks(IPCX) is None


# ---------------------------------------------------------------- lasting servers

SERVES = """
import os, socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("127.0.0.1", 1234))
    while True:
        data, address = s.recvfrom(100)
        s.sendto(str(os.getpid()).encode(), address)
"""
ASKS = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.sendto(b"?", ("127.0.0.1", 1234))
    print(s.recv(100).decode())
"""


def pids(told: dict) -> list[str]:
    return [run["transcript"][0]["text"] for run in told["runs"]]


def test_clients_share_a_server_that_lasts(stage):
    told = stage(
        server(on=(STDLIB, IPCX)),
        client(when=Bound(1234)),
        says=(Line("client", "{any}"),),
        known=(1234,),
        server_py=SERVES,
        client_py=ASKS,
    )
    assert [run["why"] for run in told["runs"]] == [None] * 4
    first, again, second, once_more = pids(told)
    assert first == again != second == once_more
    assert not any(os.path.exists(f"/proc/{pid}") for pid in (first, second))


def test_a_server_that_ends_breaks_its_run_and_is_started_again(stage):
    told = stage(
        server(),
        client(when=Bound(1234)),
        says=(Line("client", "{any}"),),
        known=(1234,),
        server_py=SERVES.replace("s.sendto", "raise SystemExit(3) or s.sendto"),
        client_py=ASKS,
    )
    expected = "server ended with status 3; it should serve on"
    assert [run["why"] for run in told["runs"]] == [expected] * 2
    assert [run["exits"]["server"] for run in told["runs"]] == [3, 3]


def test_a_client_that_hangs_is_killed_and_the_next_one_is_served(stage):
    told = stage(
        server(),
        client(when=Bound(1234)),
        says=(Line("client", "{any}"),),
        known=(1234,),
        limit=2.0,
        server_py=SERVES,
        client_py="import sys, time\nif 'ipcx' not in sys.modules: time.sleep(1000)\n" + ASKS,
    )
    assert [run["why"] for run in told["runs"]] == [
        "client still ran after 2 s and was killed",
        None,
    ]


def test_a_server_that_will_not_go_is_killed(stage, monkeypatch):
    monkeypatch.setattr("ipcx.tour.engine.PATIENCE", 0.1)
    told = stage(
        server(),
        client(when=Bound(1234)),
        says=(Line("client", "{any}"),),
        known=(1234,),
        server_py="import signal; signal.signal(15, signal.SIG_IGN)\n" + SERVES,
        client_py=ASKS,
    )
    assert [run["held"] for run in told["runs"]] == [True, True]
    assert not os.path.exists(f"/proc/{pids(told)[0]}")


def test_who_waits_in_vain_beside_a_server_is_told(stage):
    told = stage(
        server(),
        client(on=(STDLIB,), when=Ended("server")),
        limit=0.5,
        server_py="import signal; signal.pause()",
        client_py="",
    )
    why = "client was never started: the tour waited until server has ended"
    assert told["runs"][0]["why"] == why


# ---------------------------------------------------------------- small parts


def test_a_typed_line_is_not_a_said_one():
    typed = Spoken("client", "hello", 0.0, typed=True)
    assert not Line("client", "hello").matches(typed, {})
    assert Line("client", "hello").matches(Spoken("client", "hello", 0.0), {})


def test_a_port_that_receives():
    from ipcx import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        assert ports.receives(port)
        assert not ports.listens(port)
    assert str(Bound(1234)) == "somebody receives datagrams on port 1234"


def test_the_lines_by_hand_compile_and_run_anywhere(tmp_path):
    station = next(station for station in LANGUAGES if station.name == "c_datagram")
    line = show.by_hand(station, ROOT / "examples")[1]
    assert line.endswith("-o c_fragments_datagram_sender && ./c_fragments_datagram_sender")
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "Sent 7 bytes\n"  # and nobody there to read them
    assert [path.name for path in tmp_path.iterdir()] == ["c_fragments_datagram_sender"]


def test_which_stations_are_tables():
    assert [s.name for s in STATIONS if s.is_grid()] == ["upper_tcp", "upper_udp"]
    for station in STATIONS:
        pairings = [pairing for act in station.acts() for pairing in act]
        assert pairings == station.pairings()
