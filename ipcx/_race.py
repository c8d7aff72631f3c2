# SPDX-License-Identifier: Apache-2.0
"""``ipcx race``: 64-byte messages between two processes, over ipcx and over what else there is.

Each contestant is two processes that wait. A *heat* wakes one pair for some milliseconds: both run
the same loop in Python, over their own send and receive. All contestants take turns, in an order
that is drawn anew each round, so whatever else the machine does meets all of them. Nothing is
tuned, for us or for others: one call a message, no batches, defaults.
"""

import argparse
import json
import os
import platform
import random
import socket
import struct
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.util import find_spec
from itertools import repeat
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import ipcx
from ipcx._nursery import Nursery
from ipcx._terminal import Terminal, padded

MESSAGE = b"m" * 64
ROUNDS = 9  # wanted; at least LEAST of them are run, however short the time
LEAST = 3
HEAT = 0.002, 0.05  # seconds: between these
PATIENCE = 5.0  # seconds for the answer to a heat; who needs longer is out

Send = Callable[[bytes], object]
Receive = Callable[[], bytes]
Ways = tuple[Send, Receive]


# ---------------------------------------------------------------- the contestants


def _by_struct(sock: socket.socket) -> Ways:
    """Messages over a stream as a careful program has them: length in front, buffered reader."""
    length = struct.Struct(">I")
    pack, unpack, sendall, read = length.pack, length.unpack, sock.sendall, sock.makefile("rb").read

    def send(message: bytes) -> None:
        sendall(pack(len(message)) + message)

    def receive() -> bytes:
        (size,) = unpack(read(4))
        return read(size)

    return send, receive


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        two, _ = server.accept()
    for end in (one, two):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, two


def _by_connection(end: "Connection[bytes, bytes]") -> Ways:
    return end.send_bytes, end.recv_bytes


def _by_queues(end: tuple[Any, Any]) -> Ways:
    out, into = end
    return out.put, into.get


def _queues() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    context = get_context("fork")
    there, back = context.Queue(), context.Queue()
    return (there, back), (back, there)


def _by_zmq(end: tuple[str, bool]) -> Ways:
    # Made here: a context does not survive a fork.
    import zmq  # type: ignore[import-not-found, unused-ignore]

    url, binds = end
    made = zmq.Context().socket(zmq.PAIR)
    (made.bind if binds else made.connect)(url)
    return made.send, made.recv


def _zmq_ends() -> tuple[tuple[str, bool], tuple[str, bool]]:
    url = f"ipc://@ipcx-race-{os.getpid()}"  # an abstract name: no file to be left behind
    return (url, True), (url, False)


def _by_channel(end: ipcx.Channel) -> Ways:
    return end.send, end.receive


@dataclass
class Contestant:
    """A way to talk: `ends` makes its two ends before the fork, `ways` opens one after it."""

    name: str
    what: str
    ends: Callable[[], tuple[Any, Any]]
    ways: Callable[[Any], Ways]
    needs: str | None = None
    out: str | None = None  # why it does not take part, or no longer
    rates: list[float] = field(default_factory=list)  # messages a second, a heat each
    trips: list[float] = field(default_factory=list)  # seconds there and back

    @property
    def ours(self) -> bool:
        return self.name.startswith("ipcx ")


def _ours(scheme: str) -> Contestant:
    return Contestant(
        f"ipcx {scheme}://", f'ipcx.pair("{scheme}://")', lambda: ipcx.pair(f"{scheme}://"),
        _by_channel,
    )  # fmt: skip


def contestants() -> list[Contestant]:
    """All of them, absent ones with the reason."""
    every = [
        Contestant("tcp socket", "socket, struct in front, TCP_NODELAY", _tcp_pair, _by_struct),
        Contestant("unix socket", "socket, struct in front", socket.socketpair, _by_struct),
        Contestant("mp.Pipe", "multiprocessing.Pipe: send_bytes", Pipe, _by_connection),
        Contestant("mp.Queue", "multiprocessing.Queue, one each way", _queues, _by_queues),
        Contestant("pyzmq ipc", "pyzmq, PAIR over ipc://", _zmq_ends, _by_zmq, needs="zmq"),
        *map(_ours, ("tcp", "unix", "pipe", "shm")),
    ]
    for each in every:
        if each.needs is not None and find_spec(each.needs) is None:
            each.out = "pyzmq is not installed"
    return every


# ---------------------------------------------------------------- a side, in its own process


def _side(ways: Callable[[Any], Ways], end: Any, orders: "Connection[Any, Any]") -> None:
    """Waits for heats. The one that leads measures; the other receives and answers."""
    try:
        send, receive = ways(end)
        while True:
            heat, count, leads = orders.recv()
            orders.send((_lead if leads else _follow)(heat, count, send, receive))
    except EOFError:
        pass
    except Exception as error:
        orders.send(f"{type(error).__name__}: {error}")


def _lead(heat: str, count: int, send: Send, receive: Receive) -> int:
    receive()  # the other side is awake
    began = time.perf_counter_ns()
    if heat == "flood":
        for _ in repeat(None, count):
            send(MESSAGE)
        receive()  # it has them all
    else:
        for _ in repeat(None, count):
            send(MESSAGE)
            receive()
    return time.perf_counter_ns() - began


def _follow(heat: str, count: int, send: Send, receive: Receive) -> int:
    send(MESSAGE)
    message = MESSAGE
    if heat == "flood":
        for _ in repeat(None, count):
            message = receive()
        send(MESSAGE)
    else:
        for _ in repeat(None, count):
            message = receive()
            send(MESSAGE)
    if message != MESSAGE:
        raise ValueError("what arrived is not what was sent")
    return 0


# ---------------------------------------------------------------- the race


class _Pair:
    """A contestant's two processes."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.ends = contestant.ends()
        self.pipes = [Pipe(), Pipe()]
        self.counts = {"flood": 100, "trip": 20}
        self.pids: list[int] = []

    def start(self, nursery: Nursery) -> None:
        self.pids = [nursery.start(self.contestant.name, side) for side in (0, 1)]

    def live(self, side: int) -> None:
        _side(self.contestant.ways, self.ends[side], self.pipes[side][1])

    def heat(self, heat: str, seconds: float) -> float:
        """One heat; returns the seconds that a message, or a way there and back, took."""
        count = self.counts[heat]
        for side in (1, 0):
            self.pipes[side][0].send((heat, count, side == 0))
        until = time.monotonic() + PATIENCE
        waited_for = [mine for mine, _ in self.pipes]
        nanoseconds = 1
        while waited_for:
            ready = wait(waited_for, max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no answer within {PATIENCE:g} s")
            for mine in waited_for:
                if mine in ready:
                    answer = mine.recv()
                    if isinstance(answer, str):  # the other one may wait for it for ever
                        raise RuntimeError(answer)
                    nanoseconds = max(nanoseconds, answer)  # it is 0 from who follows
            waited_for = [mine for mine in waited_for if mine not in ready]
        took = nanoseconds / 1e9 / count
        self.counts[heat] = max(10, min(round(seconds / took), 10 * count))
        return took

    def close(self) -> None:
        for one, two in self.pipes:
            one.close()
            two.close()
        for end in self.ends:
            for part in end if isinstance(end, tuple) else (end,):
                if hasattr(part, "close"):
                    part.close()


def run(
    entered: Sequence[Contestant], seconds: float, told: Callable[[float, int], None]
) -> tuple[int, float]:
    """Races those that are not out; `told` hears of each heat. Returns rounds and seconds."""
    began = time.monotonic()
    pairs: list[_Pair] = []
    try:
        for contestant in entered:
            try:
                if contestant.out is None:
                    pairs.append(_Pair(contestant))
            except (OSError, ImportError) as error:  # no /dev/shm, no descriptors left …
                contestant.out = str(error)
        with Nursery({pair.contestant.name: pair.live for pair in pairs}) as nursery:
            for pair in pairs:
                pair.start(nursery)
            rounds = _rounds(nursery, pairs, began, seconds, told)
    finally:
        for pair in pairs:
            pair.close()
    return rounds, time.monotonic() - began


def _rounds(
    nursery: Nursery,
    pairs: list[_Pair],
    began: float,
    seconds: float,
    told: Callable[[float, int], None],
) -> int:
    """Rounds of heats until the time is over; the first two only find out how many fill a heat."""
    length = min(max(seconds / (2 * max(1, len(pairs)) * ROUNDS), HEAT[0]), HEAT[1])
    rounds = -2
    while pairs and (rounds < LEAST or time.monotonic() < began + seconds):
        for pair, heat in _drawn(pairs):
            if pair.contestant.out is not None:
                continue
            if rounds >= LEAST and time.monotonic() >= began + seconds:
                return rounds
            try:
                took = pair.heat(heat, length)
            except (RuntimeError, TimeoutError, OSError, EOFError) as error:
                pair.contestant.out = str(error) or type(error).__name__
                for pid in pair.pids:
                    nursery.kill(pid)
                continue
            if rounds >= 0:
                if heat == "flood":
                    pair.contestant.rates.append(1 / took)
                else:
                    pair.contestant.trips.append(took)
            told(time.monotonic() - began, max(rounds, 0))
        pairs = [pair for pair in pairs if pair.contestant.out is None]
        rounds += 1
    return rounds


def _drawn(pairs: list[_Pair]) -> Iterator[tuple[_Pair, str]]:
    heats = [(pair, heat) for pair in pairs for heat in ("flood", "trip")]
    random.shuffle(heats)
    return iter(heats)


# ---------------------------------------------------------------- how it is told


def middle(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and between which two the middle half of the values lies."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[last // 2], ordered[last // 4], ordered[-1 - last // 4]


def _rate(value: float) -> str:
    """Messages a second, three digits: 9.81 M, 318 k."""
    unit, sign = (1e6, "M") if value >= 999_500 else (1e3, "k")
    return f"{value / unit:#.3g}".rstrip(".") + f" {sign}"


def _micro(value: float) -> str:
    value *= 1e6
    return f"{value:.0f} µs" if value >= 99.5 else f"{value:#.3g} µs"


def _block(
    screen: Terminal,
    title: str,
    entered: Sequence[Contestant],
    values: Callable[[Contestant], list[float]],
    said: Callable[[float], str],
    *,
    most_first: bool,
) -> Iterator[str]:
    """One of the two tables: names, bars in proportion, medians, the middle half."""
    yield screen.style(title, "bold")
    rows = [(middle(values(each)), each) for each in entered if values(each)]
    rows.sort(key=lambda row: row[0][0], reverse=most_first)
    most = max((median for (median, _, _), _ in rows), default=1.0)
    width = max(8, screen.width - 48)
    for (median, low, high), each in rows:
        bar = screen.style(screen.bar(median / most, width), "green" if each.ours else "cyan")
        figures = f"{said(median):>8}  {f'{said(low)} – {said(high)}':>19}"
        yield f"  {each.name:<12}  {padded(bar, width)} {figures}"


def _tables(screen: Terminal, entered: Sequence[Contestant]) -> list[str]:
    return [
        *_block(screen, "messages a second (more is better)", entered, lambda c: c.rates, _rate,
                most_first=True),
        *_block(screen, "there and back (less is better)", entered, lambda c: c.trips, _micro,
                most_first=False),
    ]  # fmt: skip


MEASURED = f"""\
Measured: {len(MESSAGE)} bytes from one process to another, the same loop in Python for all, one \
call a message, no batches; the clock stops when the receiver has said that it has the last one. \
There and back: a message, and its answer, one after the other. Bars are medians; beside them, \
between which values the middle half of the heats lies. Nobody is pinned to a CPU or tuned; before \
it sleeps, shm:// looks for up to 50 µs whether something comes, which costs CPU. mp is \
multiprocessing. For other sizes, batches and a floor in C, see bench/ in the source."""


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
    }


def _of_machine(machine: dict[str, Any]) -> str:
    text = "CPython {python}, {system}, CPUs: {cpus}, load before: {load}".format(**machine)
    if machine["load"] > machine["cpus"] / 2:
        text += " (others are at work: compare the bars, not the figures)"
    return text


def _reported(
    entered: Sequence[Contestant], machine: dict[str, Any], rounds: int, seconds: float
) -> dict[str, Any]:
    def figures(values: list[float], digits: int) -> dict[str, float] | None:
        if not values:
            return None
        median, low, high = (round(value, digits) for value in middle(values))
        return {"median": median, "low": low, "high": high, "heats": len(values)}

    return {
        "message_bytes": len(MESSAGE),
        "rounds": rounds,
        "seconds": round(seconds, 3),
        **machine,
        "contestants": [
            {
                "name": each.name,
                "what": each.what,
                "absent": each.out,
                "messages_per_second": figures(each.rates, 0),
                "there_and_back_us": figures([trip * 1e6 for trip in each.trips], 3),
            }
            for each in entered
        ],
    }


class _Telling:
    """Progress: painted on a terminal, a line now and then elsewhere."""

    def __init__(self, screen: Terminal, entered: Sequence[Contestant], seconds: float) -> None:
        self.screen, self.entered, self.seconds = screen, entered, seconds
        self.next = 0.0

    def __call__(self, at: float, rounds: int) -> None:
        if at < self.next:
            return
        done = f"{min(at, self.seconds):.1f} of {self.seconds:g} s, rounds: {rounds}"
        if self.screen.terminal:
            self.next = at + 0.1
            bar = padded(self.screen.bar(at / self.seconds, 20), 20)
            self.screen.paint([*_tables(self.screen, self.entered), f"  {bar} {done}"])
        else:
            self.next = at + max(1.0, self.seconds / 5)
            self.screen.line(f"  {done}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ipcx race",
        description="Races ipcx's channels against sockets, multiprocessing and pyzmq, on this "
        "machine: small messages between two processes.",
    )
    add = parser.add_argument
    add("--seconds", type=float, default=10.0, help="how long, about (10)")
    add("--only", nargs="+", metavar="NAME", help='these; NAME may have * and ? in it: "ipcx*"')
    add("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def _chosen(names: Sequence[str] | None) -> list[Contestant]:
    every = contestants()
    for glob in names or ():
        if not any(fnmatchcase(each.name, glob) for each in every):
            known = ", ".join(each.name for each in every)
            raise LookupError(f"there is no contestant {glob!r}; there are: {known}")
    return [e for e in every if names is None or any(fnmatchcase(e.name, g) for g in names)]


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``ipcx race``: 0, or 1 when a contestant failed, 130 at Ctrl-C."""
    parser = _arguments()
    options = parser.parse_args(argv)
    if not 0 < options.seconds <= 3600:
        parser.error("--seconds takes a number above 0 and up to 3600")
    try:
        entered = _chosen(options.only)
    except LookupError as error:
        print(f"ipcx race: {error.args[0]}", file=sys.stderr)
        return 2
    absent = [each for each in entered if each.out is not None]
    machine = _machine()
    screen = Terminal(sys.stdout)
    telling: Callable[[float, int], None] = lambda at, rounds: None  # noqa: E731
    if not options.json:
        screen.line(screen.style("ipcx race: who is fastest on this machine?", "bold"))
        screen.line(screen.style(_of_machine(machine), "dim"))
        telling = _Telling(screen, entered, options.seconds)
    try:
        rounds, seconds = run(entered, options.seconds, telling)
    except KeyboardInterrupt:
        screen.clear()
        after = "\n" if screen.terminal else ""  # what the terminal shows as ^C
        print(f"{after}ipcx race: ended by Ctrl-C; nothing was left running", file=sys.stderr)
        return 130
    failed = [each for each in entered if each.out is not None and each not in absent]
    if options.json:
        print(json.dumps(_reported(entered, machine, rounds, seconds), indent=2))
        return 1 if failed else 0
    for row in ["", *_tables(screen, entered), ""]:
        screen.line(row)
    for each in absent:
        screen.line(f"  not here: {each.name} ({each.out})")
    for each in failed:
        screen.line(f"  {screen.style('out', 'red')}: {each.name}: {each.out}")
    for row in textwrap.wrap(f"{MEASURED} Rounds: {rounds}, in {seconds:.1f} s.", screen.width):
        screen.line(screen.style(row, "dim"))
    return 1 if failed else 0
