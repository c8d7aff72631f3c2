"""Latencies, rings, the kernel's view and who waits for whom: what is drawn is what there is."""

import doctest
import importlib
import os
import re
import struct
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from lab.records import many
from lab.svg import SVG, hint, parts, root, words

import ipcx
from ipcx import lab, socket
from ipcx.lab import _kernel
from ipcx.lab.display import MOST_BYTES, width_of
from ipcx.lab.kernel_view import KernelView
from ipcx.lab.latency import Ecdf
from ipcx.lab.ring_state import RingState, RingStep
from ipcx.lab.wait_graph import WaitGraph
from ipcx.sync import Event

ROOT = Path(__file__).parents[2]
EVIL = "</svg><script>\x1b[31m\x00"


@pytest.mark.parametrize("name", ["latency", "ring_state", "kernel_view", "wait_graph"])
def test_doctests(name):
    assert doctest.testmod(importlib.import_module(f"ipcx.lab.{name}")).failed == 0


# ---- latencies


def test_quantiles_are_times_that_were_measured():
    one = Ecdf([0.001 * n for n in range(1, 101)]).series[0]
    assert [one.quantile(share) for share in (0, 0.5, 0.9, 0.99, 1)] == [
        0.001, 0.05, 0.09, 0.099, 0.1,
    ]  # fmt: skip
    assert Ecdf([3.0]).series[0].quantile(0.99) == 3.0


def test_a_curve_for_each_run():
    shown = Ecdf({"fast": [1e-6] * 99 + [1e-3], "slow": [2e-3, 4e-3]})
    assert [hint(one) for one in parts(shown, "curve")] == [
        "fast: 100 messages",
        "slow: 2 messages",
    ]
    assert [hint(one) for one in parts(shown, "quantile")] == [
        "fast: 50 % within 1 µs", "fast: 90 % within 1 µs", "fast: 99 % within 1 µs",
        "slow: 50 % within 2 ms", "slow: 90 % within 4 ms", "slow: 99 % within 4 ms",
    ]  # fmt: skip
    dashes = [one.find(f"{SVG}path").get("stroke-dasharray") for one in parts(shown, "curve")]
    assert len(set(dashes)) == 2  # never the colour alone
    assert [words(row)[:2] for row in parts(shown, "row")] == [["fast", "100"], ["slow", "2"]]
    # It rises from nothing to all.
    ups = [float(y) for y in re.findall(r"V([0-9.]+)", root(shown).find(
        f".//{SVG}g[@class='curve']/{SVG}path").get("d"))]  # fmt: skip
    assert ups == sorted(ups, reverse=True)
    assert ups[-1] == 20


def test_of_a_record():
    r = many(30)
    assert len(Ecdf(r).series[0].seconds) == 30
    assert lab.ecdf({"run": r}).series[0].name == "run"


def test_ten_thousand_times_and_no_time():
    shown = Ecdf({f"run {i}": [0.0, *(1e-6 * n for n in range(1, 10_000))] for i in range(9)})
    assert len(shown.svg().encode()) < MOST_BYTES
    assert "6 took no time that could be measured" in shown.text()
    assert "3 more not drawn" in shown.text()
    ET.fromstring(Ecdf([0.0]).svg())


@pytest.mark.parametrize("times", [[], {}, {"a": []}, [-1.0], [float("nan")], [float("inf")]])
def test_times_that_cannot_be(times):
    with pytest.raises(ValueError, match=r"nothing to draw|seconds, 0 or more"):
        Ecdf(times)


@pytest.mark.leaves_behind("threads")  # of numpy, which computes with one a CPU
@pytest.mark.hang_guard(120)  # it is imported, with all its fonts
def test_on_matplotlib():
    matplotlib = pytest.importorskip(
        "matplotlib", reason="matplotlib is missing: `make .venv/.lab`"
    )
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    shown = Ecdf({f"run {i}": [1e-5, 2e-3 * (i + 1)] for i in range(7)})
    assert shown.plot(axes) is axes
    assert [line.get_label() for line in axes.lines] == [f"run {i}" for i in range(6)]
    assert [line.get_color() for line in axes.lines][:2] == ["#0072b2", "#d55e00"]
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in axes.lines}) == 6
    assert list(axes.lines[1].get_xdata()) == [1e-5, 1e-5, 4e-3]
    assert list(axes.lines[1].get_ydata()) == [0, 0.5, 1]
    assert axes.get_xscale() == "log"
    assert axes.get_legend().get_texts()[0].get_text() == "run 0"
    own = Ecdf([1.0]).plot()
    matplotlib.pyplot.close(own.figure)


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"plot\(\) needs matplotlib: pip install matplotlib"):
        Ecdf([1.0]).plot()


# ---- rings


def test_a_ring_step_by_step():
    shown = RingState([30_000, 30_000, 30_000, "receive", 20_000, "receive", "receive", "receive"])
    assert [(step.action, step.head, step.tail) for step in shown.steps] == [
        ("empty", 0, 0),
        ("send 30000", 0, 30_008),
        ("send 30000", 0, 60_016),
        ("send 30000", 0, 60_016),
        ("receive", 30_008, 60_016),
        ("send 20000", 30_008, 80_024),
        ("receive", 60_016, 80_024),
        ("receive", 80_024, 80_024),
        ("receive", 80_024, 80_024),
    ]
    assert [step.outcome for step in shown.steps if step.outcome] == [
        "would wait: no room",
        "would wait: empty",
    ]
    steps = parts(shown, "step")
    assert len(steps) == 9
    # The record that goes round the end of the ring is in two pieces.
    drawn = [[g.get("class") for g in step.iter(f"{SVG}g")].count("record") for step in steps]
    assert drawn == [0, 1, 2, 2, 1, 3, 2, 0, 0]
    for step in steps:
        kinds = [p.get("class").split()[0] for p in step.iter(f"{SVG}path")]
        assert kinds == ["head", "tail"]
    assert "2 steps would have waited" in shown.description


def test_a_ring_of_given_states():
    steps = [RingStep(EVIL, EVIL, 100, 90, 120, ((90, 120, 22),))]
    shown = RingState(steps)
    assert len(parts(shown, "record")) == 2
    assert "\x1b" not in shown.text() + shown.svg()
    assert "######" in shown.text()
    with pytest.raises(TypeError, match="either actions or steps"):
        RingState([*steps, "receive"])


@pytest.mark.parametrize("action", ["send", -1, 40_000, 1.5])
def test_actions_that_cannot_be(action):
    with pytest.raises(ValueError, match="an action is 'receive', or how many bytes to send"):
        lab.ring([action])


def test_a_thousand_steps():
    shown = lab.ring([100, "receive"] * 500)
    assert len(shown.svg().encode()) < MOST_BYTES
    assert len(parts(shown, "step")) == 39
    assert "962 steps not shown" in shown.text()


# ---- the kernel's view


def test_what_this_process_has_open():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    conn, _ = server.accept()
    client.send(b"hello")
    left, right = socket.socketpair()
    read, write = os.pipe()
    a, b = ipcx.pair("shm://")
    try:
        shown = KernelView(os.getpid())
    finally:
        for one in (server, client, conn, left, right, a, b):
            one.close()
        os.close(read)
        os.close(write)
    mine = {fd.fd: fd for fd in shown.processes[0].descriptors}
    port = shown.processes[0] and next(fd for fd in mine.values() if fd.state == "LISTEN").what
    established = [fd for fd in mine.values() if fd.state == "ESTABLISHED" and port in fd.what]
    assert len(established) == 2
    assert [fd.queues for fd in established if fd.what.startswith(port)] == ["5 / 0"]
    assert mine[read].kind == mine[write].kind == "pipe"
    assert (mine[read].state, mine[write].state) == ("r", "w")
    text = shown.text()
    assert re.search(rf"pipe \d+  ⇄ notebook fd {write} ", text)
    assert "STREAM CONNECTED" in text
    assert "/memfd:ipcx-shm" in text
    rows = [words(row) for row in parts(shown, "row")]
    assert any("LISTEN" in row and row[row.index("LISTEN") - 1] == "◌" for row in rows)


def test_ends_meet():
    left, right = socket.socketpair()
    with left, right:
        seen = _kernel.look([(os.getpid(), "me")])
        ends = _kernel.other_ends(seen)
        assert ends[os.getpid(), left.fileno()] == [(os.getpid(), right.fileno())]


def test_a_process_that_is_no_more():
    (seen,) = _kernel.look([(2**22 + 1, "gone")])
    assert seen.state == "ended"
    assert seen.descriptors == seen.segments == seen.waits == ()
    assert "gone" in KernelView(seen).text()


def test_many_descriptors_and_hostile_names():
    fds = tuple(_kernel.Descriptor(n, "file", EVIL, "r", "", 0) for n in range(1000))
    shown = KernelView(_kernel.Process(1, EVIL, "sleeps", fds, (), ()), everything=True)
    assert len(shown.svg().encode()) < MOST_BYTES
    assert "881 rows more are not shown" in shown.text()
    assert "<script" not in shown.svg()
    assert "\x1b" not in shown.text() + shown.svg()
    hidden = KernelView(_kernel.Process(1, "a", "sleeps", fds, (), ()))
    assert "1000 descriptors of plain files" in hidden.text()


def test_whom_one_may_ask_for():
    with pytest.raises(TypeError, match="a pid, a process or the name of one of the lab's"):
        lab.kernel("no such process")


def test_a_broken_answer_of_the_kernel():
    found = {}
    assert not _kernel._take(struct.pack("=IHHII", 16, 3, 0, 0, 0), found)
    assert not _kernel._take(struct.pack("=IHHII", 0, 20, 0, 0, 0), found)
    assert _kernel._take(b"short", found)
    assert found == {}


# ---- who waits for whom


def test_a_cycle_is_red_dashed_and_said_in_words():
    shown = WaitGraph([("a", "b", "recv"), ("b", "c"), ("c", "a"), ("d", "a", "send")])
    assert shown.cycles == [["a", "b", "c"]]
    red, others = parts(shown, "cycle"), parts(shown, "waits")
    assert [hint(one) for one in red] == [
        "a waits for b: recv",
        "b waits for c",
        "c waits for a",
    ]
    assert [hint(one) for one in others] == ["d waits for a: send"]
    for one in red:
        line = one.find(f".//{SVG}line")
        assert "s-red" in line.get("class")
        assert line.get("stroke-dasharray")
    assert others[0].find(f".//{SVG}line").get("stroke-dasharray") is None
    assert len(parts(shown, "node")) == 4
    sentence = "Deadlock: a waits for b, b waits for c, c waits for a. None of them can go on."
    assert sentence in shown.description
    assert "✗ " + sentence in shown.text()
    said = [one for one in root(shown).iter(f"{SVG}text") if "verdict" in (one.get("class") or "")]
    assert " ".join(one.text for one in said) == "✗ " + sentence


def test_without_a_cycle():
    shown = WaitGraph([("a", "b"), ("b", "c"), ("a", "c")])
    assert shown.cycles == []
    assert parts(shown, "cycle") == []
    assert "No cycle" in shown.text()
    assert "Nobody waits for anybody." in WaitGraph([], nodes=["a"]).text()
    ET.fromstring(WaitGraph([]).svg())


def test_who_waits_for_himself_and_two_cycles():
    shown = WaitGraph([("a", "a"), ("b", "c"), ("c", "b")])
    assert sorted(map(sorted, shown.cycles)) == [["a"], ["b", "c"]]
    assert "a waits for itself." in shown.text()
    assert "Neither of them can go on." in shown.text()


def test_a_thousand_edges_and_hostile_names():
    edges = [(f"p{i % 50}", f"p{(i * 7 + 1) % 50}", f"lock {i}") for i in range(1000)]
    shown = WaitGraph(edges)
    assert len(shown.svg().encode()) < MOST_BYTES
    assert "Thinned out: 20 of 50 processes" in shown.text()
    shown = WaitGraph([(EVIL, "b\n", EVIL)])
    assert "<script" not in shown.svg()
    assert "\x1b" not in shown.text() + shown.svg()


def boxes(group, label_size=11):
    for text in group.findall(f"{SVG}text"):
        width = width_of("".join(text.itertext()), label_size)
        x = float(text.get("x")) - {"middle": width / 2, "end": width}.get(
            text.get("text-anchor"), 0
        )
        yield x, float(text.get("y")) - label_size * 0.7, x + width, float(text.get("y"))


def crosses(line, box):
    """Whether some point of the line is within the box."""
    (x1, y1, x2, y2), (left, top, right, bottom) = line, box
    for at in range(401):
        x, y = x1 + (x2 - x1) * at / 400, y1 + (y2 - y1) * at / 400
        if left < x < right and top < y < bottom:
            return True
    return False


def test_no_words_of_a_graph_with_many_edges_cross_an_arrow():
    names = ["server", "client", "worker 1", "worker 2", "worker 3", "worker 4", "worker 5"]
    pairs = [(0, 2), (2, 3), (3, 0), (4, 0), (5, 2), (6, 3), (6, 0), (1, 0), (1, 4), (4, 6), (5, 1),
             (3, 5), (2, 1)]  # fmt: skip
    edges = [(names[i], names[j], f"recv on 127.0.0.1:4{i}{j}00") for i, j in pairs]
    shown = lab.waits(edges)
    groups = parts(shown, "cycle") + parts(shown, "waits")
    lines = [
        tuple(float(line.get(key)) for key in ("x1", "y1", "x2", "y2"))
        for group in groups
        for line in group.iter(f"{SVG}line")
    ]
    assert len(groups) == len(lines) == 13
    told = words(root(shown))
    for group in groups:
        for box in boxes(group):
            assert not any(crosses(line, box) for line in lines)
    for waiter, holder, what in edges:  # each stands at its arrow or below
        assert what in told or any(word.endswith(f"{waiter} → {holder}: {what}") for word in told)


def test_edges_that_cannot_be():
    with pytest.raises(ValueError, match=r"an edge is \(who waits, for whom\)"):
        lab.waits(["ab"])
    with pytest.raises(TypeError, match="either edges, or pids"):
        lab.waits("a", [("a", "b")])


SERVER = """
from ipcx import socket
s = socket.create_server(("127.0.0.1", {port}))
print("up", flush=True)
conn, _ = s.accept()
conn.recv(1)
"""
CLIENT = """
from ipcx import socket
s = socket.create_connection(("127.0.0.1", {port}))
print("up", flush=True)
s.recv(1)
"""
LOCKER = """
from ipcx.sync import Event, Mutex
one, two = Mutex({one!r}), Mutex({two!r})
with one:
    print("up", flush=True)
    Event({go!r}).wait()
    two.acquire()
"""


def found(cycles):
    """Who waits for whom, once there are so many cycles."""
    while True:
        shown = lab.waits()
        if len(shown.cycles) >= cycles:
            return shown


@pytest.fixture
def ended():
    yield
    lab.stop()


@pytest.mark.hang_guard(40)
def test_two_processes_that_wait_for_each_other(ended):
    port = lab.port("displays")
    lab.start(SERVER.format(port=port), name="server", until="up")
    lab.start(CLIENT.format(port=port), name="client", until="up")
    shown = found(1)
    assert sorted(shown.cycles[0]) == ["client", "server"]
    assert {edge.what.partition(",")[0] for edge in shown.edges} == {"recv on tcp"}


@pytest.mark.hang_guard(40)
def test_two_locks_in_the_wrong_order(ended, unique_name):
    one, two, go = unique_name(), unique_name(), unique_name()
    event = Event(go)
    try:
        lab.start(LOCKER.format(one=one, two=two, go=go), name="p", until="up")
        lab.start(LOCKER.format(one=two, two=one, go=go), name="q", until="up")
        event.set()
        shown = found(1)
    finally:
        event.close()
    assert sorted(shown.edges) == [
        ("p", "q", f"acquire Mutex {two!r}"),
        ("q", "p", f"acquire Mutex {one!r}"),
    ]


@pytest.mark.hang_guard(40)
def test_a_pipe_that_is_read_by_who_holds_its_other_end(ended):
    program = "import os; r, w = os.pipe(); print('up', flush=True); os.read(r, 1)"
    lab.start(program, name="reader", until="up")
    shown = found(1)
    assert shown.cycles == [["reader"]]
    assert "reader waits for itself" in shown.text()


# ---- the guide


BLOCKS = re.findall(
    r"^```\{display\}\n(.*?)^```$",
    (ROOT / "docs" / "guides" / "notebooks.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.hang_guard(40)
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_guide(block, ended):
    names = {"__name__": "__main__"}
    lines = block.rstrip().splitlines()
    exec("\n".join(lines[:-1]), names)
    shown = eval(lines[-1], names)
    assert len(shown.svg().encode()) < MOST_BYTES
    assert shown.text()
