"""bench/: a short run comes through and its JSON has the schema. No figure is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench" / "bench_socket.py"
CONTESTANTS = {"C", "stdlib", "ipcx"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True)


@pytest.mark.hang_guard(60)
def test_a_quick_run_writes_the_schema():
    rows = ("unix-timeout", "pingpong")
    only = [word for row in rows for word in ("--only", row)]
    done = bench("--quick", "--pairs", "1", *only, "--no-pin", "--seed", "7", "--json", "-")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "ipcx-bench-1"
    assert document["settings"] == {
        "pairs": 1,
        "slices": 6,
        "quick": True,
        "pin": False,
        "awake": True,
        "seed": 7,
    }
    assert {"kernel", "cpu", "cpus_allowed", "governor", "python"} <= document["machine"].keys()
    assert [row["name"] for row in document["rows"]] == list(rows)
    for row in document["rows"]:
        assert row["failed"] == row["absent"] == {}
        assert row["contestants"].keys() == CONTESTANTS
        for contestant in row["contestants"].values():
            assert contestant["p10"] <= contestant["median"] <= contestant["p90"]
            (trial,) = contestant["trials"]
            assert trial["ns"] > 0
            assert trial["ops"] > 0
        assert row["ratios"].keys() == {"C", "stdlib"}
        assert len(row["ratios"]["stdlib"]["pairs"]) == 1
        assert isinstance(row["over_floor_ns"], float)
        assert isinstance(row["goal"]["reached"], bool)


def test_every_row_is_listed_and_an_unknown_one_refused():
    names = [line.split()[0] for line in bench("--list").stdout.splitlines()]
    assert len(names) == len(set(names)) > 30
    done = bench("--only", "no-such-row")
    assert done.returncode == 2
    assert "no row is called no-such-row" in done.stderr


@pytest.mark.hang_guard(60)
def test_a_contestant_that_cannot_run_is_named_and_the_others_go_on():
    done = subprocess.run(
        [sys.executable, "-S", BENCH, "--quick", "--pairs", "1", "--only", "unix", "--json", "-"],
        capture_output=True,
        text=True,
        env={"PATH": "/nowhere", "CC": "no-such-compiler"},
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert "stdlib" in row["contestants"]
    assert set(row["absent"]) | set(row["contestants"]) == CONTESTANTS


@pytest.mark.hang_guard(60)
def test_every_row_of_framing_comes_through():
    file = BENCH.with_name("bench_framing.py")
    command = [sys.executable, file, "--quick", "--pairs", "1", "--no-pin", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["rows"]:
        assert row["failed"] == row["absent"] == {}


@pytest.mark.hang_guard(60)
def test_rows_of_one_hosts_own_means_come_through():
    file = BENCH.with_name("bench_local.py")
    rows = ("pipe", "pipe-batch", "log*", "follow", "pipeline", "spawn-program")
    only = [word for row in rows for word in ("--only", row)]
    command = [sys.executable, file, "--quick", "--pairs", "1", "--no-pin", *only, "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["rows"]:
        assert row["failed"] == {}
        assert "ipcx" in row["contestants"]


@pytest.mark.hang_guard(60)
def test_what_a_record_costs_comes_through():
    file = BENCH.with_name("bench_record.py")
    command = [sys.executable, file, "--quick", "--no-build", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows.keys() == {"there and back", "send and recv", "shm://", "inproc://"}
    for row in rows.values():
        assert row["off"] > 0
        assert row["on/off low"] <= row["on/off"] <= row["on/off high"]


@pytest.mark.hang_guard(60)
def test_what_is_attainable_stands_beside_a_goal_that_asks_for_more():
    file = BENCH.with_name("bench_sync.py")
    command = [sys.executable, file, "--quick", "--pairs", "1", "--only", "mutex", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    goal = row["goal"]
    most, part = goal["attainable_ratio"]["median"], goal["reached_of_attainable"]["median"]
    reached = row["ratios"]["multiprocessing"]["median"]
    assert most * part == pytest.approx(reached)
    assert f"attainable multiprocessing/empty {most:.3f}" in done.stderr
