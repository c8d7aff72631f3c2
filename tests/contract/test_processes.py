# SPDX-License-Identifier: Apache-2.0
"""fork, exec, multiprocessing, and ends that travel through a channel."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

import ipcx
from contract import lab, peers
from contract.kit import LAST, NIGHT, Kit
from socket_help import GUARD

pytestmark = pytest.mark.drivers("sync")  # a loop does not survive a fork either


class Child:
    """A forked child that tells what its `work` returned, or its exception."""

    def __init__(self, work: Callable, *args) -> None:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: they are the point
            self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(reading)
                signal.alarm(int(GUARD) + 1)
                try:
                    told = ["returned", work(*args)]
                except BaseException as error:
                    told = [type(error).__name__, str(error)]
                os.write(writing, json.dumps(told).encode())
            finally:
                os._exit(0)
        os.close(writing)
        self.reading = reading

    def told(self):
        """What it returned; its end has been waited for."""
        data = b""
        while piece := os.read(self.reading, 65536):
            data += piece
        os.close(self.reading)
        os.waitpid(self.pid, 0)
        assert data, "the child was killed"
        return json.loads(data)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.reading)


USES = {
    "send": lambda end: end.send(b"x"),
    "receive": lambda end: end.receive(timeout=1),
    "poll": lambda end: end.poll(),
    "send_many": lambda end: end.send_many([b"x"]),
    "receive_many": lambda end: end.receive_many(timeout=1),
    "receive_into": lambda end: end.receive_into(bytearray(9), timeout=1),
    "flush": lambda end: end.flush(),
    "iteration": lambda end: next(iter(end)),
    "rendezvous": lambda end: end.send(b"x", sync=True, timeout=1),
    "fileno": lambda end: end.fileno(),
}


@pytest.mark.parametrize("use", USES)
def test_a_used_end_is_the_parents(kit: Kit, use: str) -> None:
    """The child is told whose it is; the parent does not notice."""
    one, two = kit.pair()
    one.send(b"used")
    kind, text = Child(USES[use], one).told()
    assert kind == "ForkedError"
    assert str(os.getpid()) in text
    assert two.receive(timeout=GUARD) == b"used"
    kit.still_works(one, two)


def test_closing_a_used_end_in_the_child(kit: Kit) -> None:
    """It is let go of there, without a goodbye; and so it is at the child's end."""
    one, two = kit.pair()
    one.send(b"used")

    def work() -> None:
        one.close()
        two.close()

    assert Child(work).told() == ["returned", None]
    assert two.receive(timeout=GUARD) == b"used"
    kit.still_works(one, two)


@pytest.mark.needs("process", "duplex")
def test_an_unused_end_is_the_childs(kit: Kit) -> None:
    one, two = kit.pair()

    def work() -> list:
        two.send("from the child")
        got = two.receive(timeout=GUARD)
        two.close()
        return [os.getppid(), got]

    child = Child(work)
    two.close()  # only let go of: the child goes on
    assert one.receive(timeout=GUARD) == "from the child"
    one.send("for the child")
    assert child.told() == ["returned", [os.getpid(), "for the child"]]
    with pytest.raises(ipcx.PeerClosed) as caught:
        one.receive(timeout=GUARD)
    assert type(caught.value) is ipcx.PeerClosed


@pytest.mark.needs("process", "duplex")
def test_both_ends_to_two_children(kit: Kit) -> None:
    one, two = kit.pair()

    def speak() -> None:
        one.send("hello")
        one.close()

    first, second = Child(speak), Child(lambda: list(two))
    one.close()
    two.close()
    assert first.told() == ["returned", None]
    assert second.told() == ["returned", ["hello"]]


@pytest.mark.needs("process", "death")
def test_the_parent_learns_of_the_childs_death(kit: Kit) -> None:
    one, two = kit.pair()

    def work() -> None:
        two.send("ready")
        signal.pause()

    child = Child(work)
    two.close()
    assert one.receive(timeout=GUARD) == "ready"
    child.kill()
    with pytest.raises(ipcx.PeerDied):
        one.receive(timeout=GUARD)


@pytest.mark.needs("process", "death")
def test_a_death_is_seen_although_an_earlier_child_lives(kit: Kit) -> None:
    """The other child inherited descriptors of both ends, and does not keep the stream open."""
    one, two = kit.pair()
    one.poll()  # ours from now on

    def work() -> None:
        two.send("ready")
        signal.pause()

    child = Child(work)
    two.close()
    assert one.receive(timeout=GUARD) == "ready"
    bystander = Child(signal.pause)
    child.kill()
    with pytest.raises(ipcx.PeerDied):
        one.receive(timeout=GUARD)
    bystander.kill()


@pytest.mark.needs("process", "listen", "death")
def test_the_child_learns_of_the_parents_death(kit: Kit) -> None:
    """The killed process had forked: its child must not keep the end open (multiprocessing!)."""
    listener = kit.listener()

    def work() -> None:
        with ipcx.connect(listener.url) as end:
            end.send("ready")
            grandchild = os.fork()
            end.send(str(grandchild)) if grandchild else None
            signal.pause()

    child = Child(work)
    channel = kit.accept(listener)
    assert channel.receive(timeout=GUARD) == "ready"
    grandchild = int(channel.receive(timeout=GUARD))
    pidfd = os.pidfd_open(grandchild)
    try:
        child.kill()
        with pytest.raises(ipcx.PeerDied):
            channel.receive(timeout=GUARD)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


@pytest.mark.needs("reliable", "long")
def test_a_fork_while_threads_wait_in_it(kit: Kit) -> None:
    one, two = kit.narrow()
    count = kit.fill(one)
    receiving = kit.waiting(one.receive)
    sending = kit.waiting(one.send, LAST)
    assert Child(one.receive).told()[0] == "ForkedError"
    assert Child(one.send, b"x").told()[0] == "ForkedError"
    receiving.until_waiting()
    sending.until_waiting()
    kit.drain(one, two, count)
    assert two.receive(timeout=GUARD) == LAST
    sending.finish()
    two.send(b"for the parent")
    assert receiving.finish() == b"for the parent"


@pytest.mark.hang_guard(60)
def test_many_forks(kit: Kit) -> None:
    one, two = kit.pair()
    receiving = kit.background(lambda: list(two))
    rounds = 1000 if NIGHT else 10
    for number in range(rounds):
        one.send(b"%d" % number)
        assert Child(one.send, b"x").told()[0] == "ForkedError"
    one.close()
    assert receiving.finish() == [b"%d" % n for n in range(rounds)]


@pytest.mark.needs("process", "duplex")
def test_new_channels_in_a_child(kit: Kit) -> None:
    """What the child makes itself is its own."""
    one, _two = kit.pair()
    one.poll()

    def work() -> str:
        three, four = ipcx.pair(kit.transport.url)
        with three, four:
            three.send("new")
            return four.receive(timeout=GUARD)

    assert Child(work).told() == ["returned", "new"]


@pytest.mark.needs("duplex")
def test_exec_inherits_nothing(kit: Kit) -> None:
    """Not even by a program that asks for everything."""

    def listing() -> str:
        code = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in range(3, 99)"
        code += " if os.path.exists(f'/proc/self/fd/{n}') or os.path.islink(f'/proc/self/fd/{n}')])"
        command = [sys.executable, "-Sc", code]
        return subprocess.run(command, close_fds=False, stdout=-1, text=True, check=True).stdout

    before = listing()
    one, two = kit.pair()
    one.fileno()
    two.fileno()
    one.send(b"x")
    two.receive(timeout=GUARD)
    assert listing() == before


# ---- multiprocessing

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def process() -> Iterator[Callable]:
    """`process(method, function, *args)`: a started multiprocessing.Process, ended at the end."""
    made = []

    def start(method: str, function: Callable, *args):
        one = multiprocessing.get_context(method).Process(target=function, args=args)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            one.start()
        made.append(one)
        return one

    yield start
    for one in made:
        one.kill()
        one.join()
        one.close()


@pytest.mark.needs("process", "duplex")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.hang_guard(30)
def test_an_end_as_an_argument(kit: Kit, process: Callable, method: str) -> None:
    one, two = kit.pair()
    if method != "fork" and not kit.transport.can("handed"):
        with pytest.raises(TypeError, match="this process"):
            process(method, peers.speaks_and_echoes, two)
        return
    child = process(method, peers.speaks_and_echoes, two)
    two.close()
    assert one.receive(timeout=20) == str(child.pid)
    for message in (b"1", "zwei", bytes(50_000)):
        one.send(message)
        assert one.receive(timeout=GUARD) == message
    one.close()
    child.join(GUARD)
    assert child.exitcode == 0


@pytest.mark.needs("process", "death")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.hang_guard(30)
def test_the_death_of_who_got_an_end(kit: Kit, process: Callable, method: str) -> None:
    if method != "fork" and not kit.transport.can("handed"):
        return
    one, two = kit.pair()
    child = process(method, peers.idles_with, two)
    two.close()
    assert one.receive(timeout=20) == "ready"
    child.kill()
    with pytest.raises(ipcx.PeerDied):
        one.receive(timeout=GUARD)


@pytest.mark.needs("duplex")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_used_end_is_no_argument(kit: Kit, process: Callable, method: str) -> None:
    one, two = kit.pair()
    two.send(b"used")
    with pytest.raises(TypeError):
        process(method, peers.speaks_and_echoes, two)
    assert one.receive(timeout=GUARD) == b"used"
    kit.still_works(one, two)


def test_pickle_alone_is_refused(kit: Kit) -> None:
    one, two = kit.pair()
    with pytest.raises((TypeError, RuntimeError)):
        pickle.dumps(one)
    kit.still_works(one, two)


# ---- over a channel


KINDS = ("unix://", "tcp://", "pipe://")


@pytest.mark.needs("ends", "process")
@pytest.mark.parametrize("kind", KINDS)
def test_an_end_through_a_channel(kit: Kit, kind: str) -> None:
    one, two = kit.pair()
    near, far = map(kit.keep, ipcx.pair(kind))
    one.send("before")
    one.send(far)
    one.send("after")
    assert two.receive(timeout=GUARD) == "before"
    got = kit.keep(two.receive(timeout=GUARD))
    assert two.receive(timeout=GUARD) == "after"
    assert type(got) is type(near)
    near.send("through it")
    assert got.receive(timeout=GUARD) == "through it"
    got.send(bytes(10_000))
    assert len(near.receive(timeout=GUARD)) == 10_000
    with pytest.raises((ipcx.Closed, ipcx.ForkedError)):
        far.send(b"gone")
    far.close()
    got.close()
    assert list(near) == []


@pytest.mark.needs("ends", "process")
@pytest.mark.parametrize("kind", KINDS)
def test_an_end_to_another_process(kit: Kit, kind: str) -> None:
    channel, peer = kit.peer("receives_end")
    near, far = map(kit.keep, ipcx.pair(kind))
    channel.send(far)
    far.close()
    assert near.receive(timeout=GUARD) == f"from {peer.pid}"
    near.send("and back")
    assert [peer.told(), peer.told()] == ["Channel", "done"]
    assert list(near) == []


@pytest.mark.needs("ends", "process")
def test_a_used_end_is_not_handed_over(kit: Kit) -> None:
    one, two = kit.pair()
    near, far = map(kit.keep, ipcx.pair("unix://"))
    far.send(b"used")
    with pytest.raises(TypeError, match="use"):
        one.send(far)
    assert near.receive(timeout=GUARD) == b"used"
    kit.still_works(near, far)
    kit.still_works(one, two)


@pytest.mark.needs("ends", "process")
def test_an_end_that_nobody_receives(kit: Kit) -> None:
    """Its descriptors are closed with the channel it was in; its peer sees the end."""
    one, two = kit.pair()
    near, far = map(kit.keep, ipcx.pair("unix://"))
    one.send(far)
    far.close()
    one.close(timeout=0)
    two.close(timeout=0)
    with pytest.raises(ipcx.PeerClosed):
        near.receive(timeout=GUARD)


@pytest.mark.needs("ends", "process")
def test_many_ends_through_one_channel(kit: Kit) -> None:
    one, two = kit.pair()
    pairs = [tuple(map(kit.keep, ipcx.pair("unix://"))) for _ in range(20)]
    for _, far in pairs:
        one.send(far)
        one.send(b"and a message")
    for near, _ in pairs:
        got = kit.keep(two.receive(timeout=GUARD))
        assert two.receive(timeout=GUARD) == b"and a message"
        near.send(b"x")
        assert got.receive(timeout=GUARD) == b"x"


def test_ends_that_cannot_travel(kit: Kit) -> None:
    one, two = kit.pair()
    if kit.transport.can("objects"):
        return  # there the end itself is passed
    kinds = ["inproc://"] if kit.transport.can("ends") else ["inproc://", *KINDS]
    for kind in kinds:
        near, far = map(kit.keep, ipcx.pair(kind))
        with pytest.raises((ipcx.Unsupported, TypeError)):
            one.send(far)
        kit.still_works(near, far)
    kit.still_works(one, two)


# ---- listeners


@pytest.mark.needs("listen", "process")
def test_a_listener_after_a_fork(kit: Kit) -> None:
    """The child's end does not take the address away from the parent."""
    listener = kit.listener()
    assert Child(lambda: None).told() == ["returned", None]
    assert Child(listener.close).told() == ["returned", None]
    kit.still_works(*kit.connected(listener))


@pytest.mark.needs("listen", "process")
def test_rebinding_after_a_kill(kit: Kit) -> None:
    """What a killed listener has left behind is in nobody's way."""
    url = kit.address()
    for _ in range(1000 if NIGHT else 3):
        with kit.run("listens", url) as peer:
            url = peer.told()
            with pytest.raises(ipcx.AddressInUse):
                ipcx.listen(url, **lab.listening(url))
            peer.kill()
        listener = kit.listener(url)
        with kit.driver.connect(listener.url) as one, listener.accept(timeout=GUARD) as two:
            kit.still_works(one, two)
        listener.close()


@pytest.mark.needs("listen", "process")
@pytest.mark.schemes("unix://", "tcp://", "tls://", "udp://")
def test_a_live_listener_of_another_process_is_named(kit: Kit) -> None:
    peer = kit.run("listens", kit.address())
    url = peer.told()
    with pytest.raises(ipcx.AddressInUse, match=f"process {peer.pid} listens"):
        ipcx.listen(url, **lab.listening(url))
