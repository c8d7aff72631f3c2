"""What `ipcx.lab.record` costs a message: on, off, and against a build that has no hook at all.

`there and back`: 64 bytes go to another process and come back over TCP, and both record.
The other rows are 64 bytes sent and received within one process, where nothing waits and so any
cost shows: through a socket pair, through shm:// and through inproc://. Contestants alternate, a
process for each trial, of which the fastest slice counts; a ratio is the median of those within
rounds, between brackets the middle half. "off" is within the spread when 1 lies between them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from ipcx.lab._folder import Folder

ROOT = Path(__file__).parent.parent
GOAL = 2.0

ROWS = {
    "there and back": "tcp",
    "send and recv": "pair",
    "shm://": "shm",
    "inproc://": "inproc",
}

TRIAL = """
import os, sys, time
import ipcx
from ipcx import socket
kind, rounds, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if folder:
    from ipcx.lab import recorder
    recorder.EVENTS_KEPT = 1 << 60
    recorder.begin(folder, "bench")
data = b"x" * 64
if kind == "tcp":
    listener = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        with socket.create_connection(listener.getsockname()) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while got := sock.recv(100):
                sock.send(got)
        os._exit(0)
    conn, _ = listener.accept()
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    send, recv = conn.send, lambda: conn.recv(100)
elif kind == "pair":
    a, b = socket.socketpair()
    send, recv = a.send, lambda: b.recv(100)
else:
    a, b = ipcx.pair(kind + "://")
    send, recv = a.send, b.receive
def work(n):
    for _ in range(n):
        send(data)
        recv()
slices = 50
size = rounds // slices + 1
work(size)
best = []
for _ in range(slices):
    begun = time.perf_counter()
    work(size)
    best.append((time.perf_counter() - begun) / size)
print(min(best))
if kind == "tcp":
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
    folder = Folder()  # where a record of the lab would be
    try:
        command = [sys.executable, "-c", TRIAL, kind, str(rounds)]
        command.append(folder.path if contestant == "on" else "")
        done = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, text=True, check=True
        )
    finally:
        folder.remove()
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
    parser.add_argument("--rounds", type=int, default=15_000)
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test")
    parser.add_argument("--no-build", action="store_true", help="leave out the build without hook")
    parser.add_argument("--json", metavar="FILE", help="- for standard output, instead of a table")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.rounds = 1, 200
    contestants = ["off", "on"] if options.no_build else ["without", "off", "on"]
    unwatched = "" if options.no_build else without_hook()
    found: dict[str, dict[str, float]] = {}
    for name, kind in ROWS.items():
        times: dict[str, list[float]] = {contestant: [] for contestant in contestants}
        for turn in range(options.pairs):
            first = turn % len(contestants)
            for contestant in contestants[first:] + contestants[:first]:
                times[contestant].append(trial(kind, options.rounds, contestant, unwatched))
        found[name] = ratios(times)
        if options.json != "-":
            print(line(name, found[name]), flush=True)
    if options.json == "-":
        json.dump(found, sys.stdout, indent=1)
    elif options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


def ratios(times: dict[str, list[float]]) -> dict[str, float]:
    """The medians in µs, and what is compared, with its spread."""
    found = {key: statistics.median(values) for key, values in times.items()}
    for one, other in (("on", "off"), ("off", "without")):
        if other in times:
            pairs = [a / b for a, b in zip(times[one], times[other], strict=True)]
            middle, low, high = spread(pairs)
            key = f"{one}/{other}"
            found |= {key: middle, f"{key} low": low, f"{key} high": high}
    return found


def line(name: str, row: dict[str, float]) -> str:
    text = f"{name:<15}"
    for key in ("without", "off", "on"):
        if key in row:
            text += f"  {key} {row[key]:6.2f} µs"
    for key in ("on/off", "off/without"):
        if key in row:
            text += f"  {key} {row[key]:.3f} [{row[f'{key} low']:.3f}–{row[f'{key} high']:.3f}]"
    return text + (f"  (goal: on/off at most {GOAL:g})" if name == "there and back" else "")


if __name__ == "__main__":
    main()
