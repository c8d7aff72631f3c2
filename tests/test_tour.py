"""The tour: every station holds; what breaks is said; nothing is left behind."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
from test_install import build_backend, copy_tree, run

from ipcx.tour import engine, languages, main, show
from ipcx.tour.model import (
    IPCX,
    STDLIB,
    Actor,
    All,
    AnyOrder,
    Ended,
    Keys,
    Line,
    Listening,
    Need,
    Result,
    Run,
    Said,
    Spoken,
    Station,
    mismatch,
)
from ipcx.tour.stations import STATIONS
from meta.tree import ROOT

TOUR = [sys.executable, "-m", "ipcx", "tour"]
HUNG = 180  # a hang guard for a whole tour on a busy machine, not a bound
# What this machine can run of each station: no IPv6, no javac …
RUNS = {
    station.name: [
        pairing
        for pairing in ([] if station.missing() else station.pairings())
        if not any(languages.lacks(on) for on in pairing.values())
    ]
    for station in STATIONS
}
LACKING = [name for name, runs in RUNS.items() if not runs]


def tour(*arguments: str, **options) -> subprocess.CompletedProcess:
    """The command, piped."""
    options = {"capture_output": True, "text": True, "timeout": HUNG, **options}
    return subprocess.run([*TOUR, *arguments], **options)


@pytest.fixture
def stage(tmp_path, capsys):
    """`stage(station_parts, program=source, …)` runs one injected station through the command."""

    def act(
        *actors: Actor, says=(), options=(), limit=10.0, ports=(), needs=(), **programs: str
    ) -> tuple[int, str]:
        folder = tmp_path / "examples" / "odd"
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in programs.items():
            (folder / f"{name}.py").write_text(source)
        station = Station("odd", "An odd one", "Something.", actors, says, ports, needs, limit)
        status = main(list(options), stations=[station], examples=folder.parent)
        return status, capsys.readouterr().out

    return act


def actor(name: str, **how) -> Actor:
    return Actor(name, f"odd/{name}.py", **({"on": (STDLIB,)} | how))


# ---------------------------------------------------------------- the tour as it is


@pytest.fixture(scope="module")
def report():
    done = tour("--json")
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


@pytest.mark.hang_guard(HUNG)
def test_all_stations_hold(report):
    status, told = report
    failed = [
        (station["name"], run["pairing"], run["why"], run["transcript"])
        for station in told["stations"]
        for run in station["runs"]
        if not run["held"]
    ]
    assert failed == []
    assert status == 0
    assert told["all_held"] is True
    assert told["held"] == len(STATIONS) - len(LACKING)
    assert told["failed"] == 0
    assert told["skipped"] == len(LACKING)


def test_the_json_says_all_there_is_to_know(report):
    _, told = report
    assert told.keys() == {
        *("all_held", "held", "failed", "skipped", "seconds", "python", "system", "stations")
    }
    assert [station["name"] for station in told["stations"]] == [s.name for s in STATIONS]
    for station in told["stations"]:
        assert station.keys() == {
            *("name", "title", "teaches", "source", "by_hand", "pairings"),
            *("status", "skipped", "left_out", "runs"),
        }
        assert [run["pairing"] for run in station["runs"]] == RUNS[station["name"]]
        assert (station["skipped"] is not None) == (station["name"] in LACKING)
        assert all(Path(folder).is_dir() for folder in station["source"])
        for ran in station["runs"]:
            assert ran.keys() == {
                *("pairing", "held", "why", "seconds", "ports", "exits", "transcript")
            }
            assert ran["exits"].keys() == ran["pairing"].keys()
            times = [line["at"] for line in ran["transcript"]]
            assert times == sorted(times)
            assert {line["who"] for line in ran["transcript"]} <= ran["pairing"].keys()


@pytest.mark.parametrize("name", ["hello_8080", "bond_65432"])
def test_the_lectures_programs_meet_in_all_four_pairings(report, name):
    station = next(s for s in report[1]["stations"] if s["name"] == name)
    pairings = {(run["pairing"]["server"], run["pairing"]["client"]) for run in station["runs"]}
    assert pairings == {(a, b) for a in (STDLIB, IPCX) for b in (STDLIB, IPCX)}


@pytest.mark.hang_guard(HUNG)
def test_two_runs_in_a_row(capsys):
    assert main(["--only", "hello_8080"]) == main(["--only", "hello_8080"]) == 0


@pytest.mark.hang_guard(HUNG)
def test_piped_there_is_no_colour_and_no_progress_line():
    done = tour("--only", "hello*", cwd=ROOT)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\033" not in done.stdout
    assert "\r" not in done.stdout
    assert done.stdout.count("✓ server on") == 4
    assert "client │ Received b'Hello from server!'" in done.stdout
    assert "examples/hello_8080/server.py\n" in done.stdout
    assert "examples/hello_8080/client.py\n" in done.stdout
    assert "✓ 1 of 1 station holds; 4 transcripts in" in done.stdout


@pytest.mark.hang_guard(HUNG)
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_that_cannot_say_everything_gets_ascii(encoding):
    done = tour("--only", "hello*", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert done.stdout.count("ok server on") == 4
    assert "client | Received b'Hello from server!'" in done.stdout


def test_the_list():
    done = tour("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [s.name for s in STATIONS]
    assert json.loads(tour("--list", "--json").stdout)[0]["name"] == STATIONS[0].name
    assert tour("--list", "--only", "*65432").stdout.startswith("bond_65432 ")


def test_only_takes_names_and_globs(capsys):
    assert main(["--only", "no_such", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "there is no station 'no_such'; there are: hello_8080, " in said.err


def test_step_and_json_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--step", "--json"])
    assert raised.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_every_station_is_complete():
    names = [station.name for station in STATIONS]
    assert len(names) == len(set(names))
    for station in STATIONS:
        assert station.says
        assert station.teaches.endswith((".", ")"))
        assert station.limit <= 10
        actors = [a.name for a in station.actors]
        assert len(actors) == len(set(actors))
        speakers = {x.who for item in station.says if item is not ... for x in _lines(item)}
        assert speakers <= set(actors)


def _lines(item):
    return item.lines if isinstance(item, AnyOrder) else (item,)


# ---------------------------------------------------------------- what breaks is said


def test_a_wrong_line_breaks_a_station(stage):
    status, said = stage(
        actor("server"), says=(Line("server", "Hello {any}"),), server="print('Good bye')"
    )
    assert status == 1
    assert "✗ server on stdlib" in said
    assert "server should say 'Hello {any}'; then server says 'Good bye'" in said
    assert "0 of 1 station holds" in said
    assert "tour --only odd --step" in said


def test_a_wrong_status_breaks_a_station(stage):
    status, said = stage(actor("server"), server="raise SystemExit(3)")
    assert status == 1
    assert "server ended with status 3, not 0" in said


def test_a_killed_program_is_told_by_its_signal(stage):
    status, said = stage(actor("server"), server="import os; os.kill(os.getpid(), 9)")
    assert status == 1
    assert "server ended with status -9, not 0" in said


def test_who_never_starts_is_told_and_the_others_are_not_waited_for(stage):
    status, said = stage(
        actor("server"),
        actor("client", when=Listening(1234)),
        ports=(1234,),
        server="PORT = 1234",
        client="",
    )
    assert status == 1
    assert "client was never started: the tour waited until somebody listens on port 1234" in said


def test_who_hangs_is_killed_with_what_it_started(stage, tmp_path):
    pid = tmp_path / "pid"
    status, said = stage(
        actor("server"),
        limit=0.5,
        server=f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
open({str(pid)!r}, "w").write(str(child.pid))
time.sleep(1000)
""",
    )
    assert status == 1
    assert "server still ran after 0.5 s and was killed" in said
    if pid.exists():  # a busy machine may not even have started it
        assert not Path(f"/proc/{pid.read_text()}/fd").exists() or _is_zombie(pid.read_text())


def _is_zombie(pid: str) -> bool:
    """Killed, and waiting for whoever adopts orphans here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_what_the_machine_lacks_is_said_and_skipped(stage):
    lacks = Need("a thing", lambda: "there is no thing on this machine")
    status, said = stage(actor("server"), needs=(lacks,), server="")
    assert status == 0
    assert "– skipped: there is no thing on this machine" in said
    assert "0 of 1 station holds" in said
    status, said = stage(actor("server"), needs=(lacks,), options=["--json"], server="")
    assert status == 0
    assert json.loads(said)["stations"][0]["skipped"] == "there is no thing on this machine"
    _, said = stage(actor("server"), needs=(lacks,), options=["--list"], server="")
    assert "(skipped here: there is no thing on this machine)" in said


def test_a_machine_that_lets_nothing_run_is_told_in_a_sentence(stage, monkeypatch):
    def refuse(taken):
        raise OSError("no free port between 20000 and 31999")

    monkeypatch.setattr(engine.ports, "free_port", refuse)
    status, said = stage(actor("server"), ports=(1,), server="")
    assert status == 1
    assert "this machine did not let it run: no free port" in said


# ---------------------------------------------------------------- the engine


def test_who_said_what_keeps_its_true_order(stage):
    """Two programs hand a token back and forth and speak whenever they hold it."""
    source = """
import socket
PORT = 1234
with socket.socket() as s:
    {connect}
    for turn in range(200):
        {first}
        {second}
"""
    server = source.format(
        connect='s.bind(("127.0.0.1", PORT)); s.listen(); s, _ = s.accept()',
        first='print("server", turn)',
        second='s.send(b"x"); s.recv(1)',
    )
    client = source.format(
        connect='s.connect(("127.0.0.1", PORT))',
        first='s.recv(1); print("client", turn)',
        second='s.send(b"x")',
    )
    says = [Line(who, f"{who} {turn}") for turn in range(200) for who in ("server", "client")]
    status, said = stage(
        actor("server"),
        actor("client", when=Listening(1234)),
        says=tuple(says),
        ports=(1234,),
        server=server.replace("with socket.socket() as s:", "s = socket.socket()\nif True:"),
        client=client,
    )
    assert status == 0, said[-600:]


def test_without_pidfds_the_tour_looks_often(stage, monkeypatch):
    def refuse(pid):
        raise OSError("not on this kernel")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    status, said = stage(actor("server"), says=(Line("server", "x"),), server="print('x')")
    assert status == 0, said


def test_a_program_can_be_typed_to(stage):
    status, said = stage(
        actor("server", typed=(Keys("Bond\n", Said("server", "Name?")),)),
        says=(Line("server", "Name?"), Line("server", "Hello Bond")),
        server="print('Name?'); print('Hello', input())",
    )
    assert status == 0, said


def test_actors_wait_for_each_other(stage):
    status, said = stage(
        actor("third", when=All((Ended("first"), Said("second", "2")))),
        actor("second", when=Ended("first")),
        actor("first", exit=7),
        says=(Line("first", "1"), Line("second", "2"), Line("third", "3")),
        first="print(1); raise SystemExit(7)",
        second="print(2)",
        third="print(3)",
    )
    assert status == 0, said


def test_the_last_line_may_lack_its_newline_and_bytes_may_be_no_text(stage):
    status, said = stage(
        actor("server"),
        says=(Line("server", r"caf\xe9 €"), Line("server", "end")),
        server="import os; os.write(1, b'caf\\xe9 \\xe2\\x82\\xac\\n'); os.write(2, b'end')",
    )
    assert status == 0, said


def test_a_program_sees_a_plain_environment(stage, monkeypatch):
    monkeypatch.setenv("PYTHONDEVMODE", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("FORCE_COLOR", "1")
    status, said = stage(
        actor("server"),
        says=(Line("server", "False []"),),
        server="import sys; print(sys.flags.dev_mode, sys.warnoptions); open(__file__)",
    )
    assert status == 0, said


def test_a_program_finds_ipcx_where_the_tour_has_it(tmp_path, monkeypatch):
    """Also where ipcx is not installed but lies in a folder on sys.path."""
    bare = tmp_path / "venv"
    venv.create(bare, with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    env = engine.environment()
    assert env["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    subprocess.run([sys.executable, "-c", "import ipcx"], env=env, check=True, cwd="/")


HANGING = """
import sys
from pathlib import Path
from ipcx.tour import main
from ipcx.tour.model import Actor, Station
actors = Actor("first", "odd/wait.py"), Actor("second", "odd/wait.py")
station = Station("odd", "Hangs", "Nothing.", actors, ())
sys.exit(main([], stations=[station], examples=Path(sys.argv[1])))
"""


def processes_in(folder: Path) -> list[int]:
    """The processes whose command line names something in that folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended meanwhile
    return found


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_a_tour_that_is_ended_leaves_no_process(number, status, tmp_path, spawn):
    folder = tmp_path / "examples" / "odd"
    folder.mkdir(parents=True)
    (folder / "wait.py").write_text("import signal; signal.pause()")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}
    child = spawn(
        "-c", HANGING, folder.parent, env=environment, stderr=subprocess.PIPE, cwd=tmp_path
    )
    while len(processes_in(scratch)) < 2:
        assert child.poll() is None
        time.sleep(engine.LOOK_AGAIN)
    child.send_signal(number)
    _, errors = child.communicate()
    assert child.returncode == status
    while processes_in(scratch) and number == signal.SIGKILL:  # the kernel is at it
        time.sleep(engine.LOOK_AGAIN)
    assert processes_in(scratch) == []
    if number != signal.SIGKILL:
        assert list(scratch.iterdir()) == []
    if number == signal.SIGINT:
        assert "ended by Ctrl-C; nothing was left running" in errors
        assert "Traceback" not in errors


def test_signals_are_felt_only_where_nothing_can_be_lost():
    before = signal.getsignal(signal.SIGINT)
    with engine.Signals() as signals:
        signal.raise_signal(signal.SIGINT)  # not felt: perhaps a process is being started
        with pytest.raises(KeyboardInterrupt), signals.felt():
            pytest.fail("what has arrived is raised at the door")
        with pytest.raises(KeyboardInterrupt), signals.felt():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit):
            signals.check()
        signals.check()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with engine.Signals():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# ---------------------------------------------------------------- matching


def spoken(*lines: tuple[str, str]) -> list[Spoken]:
    return [Spoken(who, text, 0.0) for who, text in lines]


@pytest.mark.parametrize(
    ("script", "lines", "wrong"),
    [
        ((), [], None),
        ((Line("a", "x"),), ["x"], None),
        ((Line("a", "x"),), ["y"], "a should say 'x'; then a says 'y'"),
        ((Line("a", "x"),), [], "a should say 'x'; it never does"),
        ((Line("a", "x"),), ["x", "y"], "a says 'y', which was not expected"),
        ((..., Line("a", "x")), ["1", "2", "x"], None),
        ((..., Line("a", "x")), ["1", "2"], "a should say 'x'; it never does"),
        ((Line("a", "x"), ...), ["x", "1", "2"], None),
        ((..., Line("a", "x")), ["x", "y"], "a says 'y', which was not expected"),
        ((AnyOrder((Line("a", "x"), Line("a", "y"))), Line("a", "z")), ["y", "x", "z"], None),
        ((AnyOrder((Line("a", "x"), Line("a", "y"))),), ["y"], "a should say 'x'; it never does"),
        ((Line("a", "{port} {any}{80}"),), ["65535 of 12345"], None),
        ((Line("a", "{80}"),), ["80"], "a should say '{80}'; then a says '80'"),
        ((Line("a", "(x) [y] .*"),), ["(x) [y] .*"], None),
        ((Line("a", "x", only=IPCX), Line("a", "y")), ["y"], None),
        ((..., Line("a", "x", only=IPCX)), ["1", "2"], None),
    ],
)
def test_matching(script, lines, wrong):
    said = spoken(*(("a", text) for text in lines))
    assert mismatch(script, said, {"a": STDLIB}, {80: 12345}) == wrong


def test_matching_looks_at_who_speaks():
    script = (Line("a", "x"), Line("b", "x"))
    assert mismatch(script, spoken(("a", "x"), ("b", "x")), {"a": IPCX, "b": IPCX}, {}) is None
    assert mismatch(script, spoken(("b", "x"), ("a", "x")), {"a": IPCX, "b": IPCX}, {})


def test_the_state_of_a_result():
    station = STATIONS[0]
    assert Result(station, [Run({})]).status == "held"
    assert Result(station, [Run({}), Run({}, why="x")]).status == "failed"
    assert Result(station, skipped="x").status == "skipped"


# ---------------------------------------------------------------- for people


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.hang_guard(HUNG)
def test_on_a_terminal_there_is_colour_and_a_progress_line_that_goes_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["--only", "hello_8080"]) == 0
    said = sys.stdout.getvalue()
    assert "\033[32;1m✓\033[0m" in said
    progress = re.findall(r"  [█░]{20} hello_8080: [^\r\n]*", said)
    assert len(progress) == said.count("\r\033[J") == 4
    assert "█" not in re.sub(r"  [█░]{20} [^\r]*\r\033\[J", "", said)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_refused(name, value, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    screen = show.Screen(Terminal(), ROOT / "examples")
    assert not screen.colours
    screen.heading(STATIONS[0])
    assert "\033" not in screen.out.getvalue()


def test_the_lines_can_be_pasted_in_any_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = show.by_hand(STATIONS[1], tmp_path / "my examples")
    assert lines[1].endswith(f"'{tmp_path}/my examples/bond_65432/client.py' 'James Bond'")
    lines = show.by_hand(STATIONS[1], tmp_path / "examples")
    assert lines[1].endswith(" ~/examples/bond_65432/client.py 'James Bond'")
    monkeypatch.delenv("HOME")
    assert show.by_hand(STATIONS[1], tmp_path)[0].endswith(f" {tmp_path}/bond_65432/server.py")


def test_the_python_of_a_virtual_environment_is_named_by_its_path(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/elsewhere")
    assert show.python_name() == show.pasted(sys.executable)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert show.python_name() == "python"


@pytest.mark.parametrize("station", STATIONS, ids=lambda station: station.name)
def test_the_lines_name_files_that_are_there(station):
    named = []
    for line in show.by_hand(station, ROOT / "examples"):
        words = [os.path.expanduser(word) for word in shlex.split(line)]
        assert shutil.which(words[0]) or any(map(languages.lacks, station.runs_on()))
        named += [word for word in words if word.startswith(str(ROOT / "examples"))]
    assert all(Path(name).is_file() for name in named)
    assert {str(ROOT / "examples" / source) for source in station.sources()} == set(named)


def test_a_reader_that_goes_away_gets_no_traceback():
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -1', "-", *TOUR, "--only", "hello*"],
        capture_output=True,
        text=True,
        timeout=HUNG,
    )
    assert done.stdout.startswith("The tour of ipcx")
    assert done.stderr == ""


# ---------------------------------------------------------------- installed


@pytest.fixture(scope="module")
def bin_of_wheel(tmp_path_factory):
    """The bin/ of a fresh environment that holds the wheel and nothing else."""
    wheel = build_backend(copy_tree(tmp_path_factory.mktemp("tree")), "build_wheel")
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder, "install", "-q", "--no-index"]
    run(*pip, wheel, cwd=folder)
    return folder / "bin"


@pytest.mark.hang_guard(240)
def test_it_runs_from_the_installed_wheel_in_an_empty_directory(bin_of_wheel, tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    said = run(bin_of_wheel / "ipcx", "tour", "--json", cwd=tmp_path)
    told = json.loads(said)
    assert told["all_held"]
    # Nothing but ipcx is installed there.
    packages = {"trio", "cryptography"}
    absent = {s.name for s in STATIONS if any(n.name in packages for n in s.needs)}
    assert told["held"] == len(STATIONS) - len({*LACKING, *absent})
    why = {s["name"]: s["skipped"] for s in told["stations"]}
    assert why["with_trio"] == "trio is not installed"
    assert why["mutual_tls"] == "cryptography is not installed (the extra tls)"
    site = bin_of_wheel.parent / "lib"
    assert all(Path(f).is_relative_to(site) for s in told["stations"] for f in s["source"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.hang_guard(240)
def test_the_examples_are_copied_out_of_the_installed_wheel(bin_of_wheel, tmp_path):
    run(bin_of_wheel / "ipcx", "examples", tmp_path / "mine", cwd=tmp_path)
    names = {p.relative_to(tmp_path / "mine") for p in (tmp_path / "mine").rglob("*")}
    tree = {p.relative_to(ROOT / "examples") for p in (ROOT / "examples").rglob("*")}
    assert names == {name for name in tree if "__pycache__" not in name.parts}
