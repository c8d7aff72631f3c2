"""What `ipcx.lab.record` costs a message: on, off, and against a build that has no hook at all.

`there and back`: 64 bytes go to another process and come back over TCP, and both record.
`send and recv`: the same bytes through a socket pair in one process, where nothing waits: the row
that would show the branches of a hook that is off. Contestants alternate, a process for each trial;
a ratio is the median of those within rounds, between brackets the middle half.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
GOAL = 2.0

TRIAL = """
import os, sys, time
from ipcx import socket
kind, rounds, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if folder:
    from ipcx.lab import recorder
    recorder.EVENTS_KEPT = 1 << 60
    recorder.begin(folder, "bench")
data = b"x" * 64
if kind == "pair":
    a, b = socket.socketpair()
    def work(n):
        for _ in range(n):
            a.send(data)
            b.recv(100)
else:
    listener = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        with socket.create_connection(listener.getsockname()) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while got := sock.recv(100):
                sock.send(got)
        os._exit(0)
    conn, _ = listener.accept()
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    def work(n):
        for _ in range(n):
            conn.send(data)
            conn.recv(100)
work(rounds // 5 + 1)
best = []
for _ in range(5):
    begun = time.perf_counter()
    work(rounds)
    best.append((time.perf_counter() - begun) / rounds)
print(min(best))
if kind != "pair":
    conn.close()
    os.wait()
"""


def without_hook() -> str:
    """A copy of the package whose core was built without the hook; its folder."""
    home = ROOT / "build" / "bench" / "unwatched"
    environment = {**os.environ, "CFLAGS": "-DIPCX_PY_UNWATCHED"}
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(home)]
    command += ["--build-lib", str(home / "lib"), "--build-temp", str(home / "temp")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return str(home / "lib")


def trial(kind: str, rounds: int, contestant: str, unwatched: str) -> float:
    environment = dict(os.environ)
    environment["PYTHONPATH"] = unwatched if contestant == "without" else str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", TRIAL, kind, str(rounds)]
        command.append(folder if contestant == "on" else "")
        done = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, check=True
        )
    return float(done.stdout) * 1e6


def spread(values: list[float]) -> tuple[float, float, float]:
    """The median, and the middle half."""
    if len(values) < 4:
        return statistics.median(values), min(values), max(values)
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def main() -> None:
    parser = argparse.ArgumentParser(description="what recording costs a message")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--quick", action="store_true", help="two short rounds: a smoke test")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.rounds = 2, 200
    unwatched = without_hook()
    found: dict[str, dict[str, float]] = {}
    for kind, name in (("tcp", "there and back"), ("pair", "send and recv")):
        times: dict[str, list[float]] = {"without": [], "off": [], "on": []}
        for turn in range(options.pairs):
            order = list(times)[turn % 3 :] + list(times)[: turn % 3]
            for contestant in order:
                times[contestant].append(trial(kind, options.rounds, contestant, unwatched))
        on = spread([a / b for a, b in zip(times["on"], times["off"], strict=True)])
        off = spread([a / b for a, b in zip(times["off"], times["without"], strict=True)])
        print(
            f"{name:<15}  without {statistics.median(times['without']):6.2f} µs"
            f"  off {statistics.median(times['off']):6.2f} µs"
            f"  on {statistics.median(times['on']):6.2f} µs"
        )
        print(f"{'':<15}  on/off {on[0]:.2f} [{on[1]:.2f}–{on[2]:.2f}]", end="")
        print(f" (goal: at most {GOAL:g})" if kind == "tcp" else "", end="")
        print(f"  off/without {off[0]:.3f} [{off[1]:.3f}–{off[2]:.3f}] (goal: 1 within)")
        found[name] = {
            **{key: statistics.median(values) for key, values in times.items()},
            "on/off": on[0],
            "off/without": off[0],
            "off/without low": off[1],
            "off/without high": off[2],
        }
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
