"""Workers: threads that share a server, and processes that share a port."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import pytest

import ipcx
from ipcx.server import Server

SOON = 20
EXAMPLE = Path(__file__).parent.parent / "examples/server/workers.py"


def answer(server):
    for peer, message in server:
        peer.send(f"{os.getpid()} {message}")


def work(url, parent):
    """A worker process."""
    with Server(url, reuse_port=True) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.close())
        parent.send(server.url)
        answer(server)
        parent.send(f"served {server.stats().joined}")
        parent.close()


class Worker:
    def __init__(self, url, method):
        self.told, its = ipcx.pair("unix://")
        context = multiprocessing.get_context(method)
        self.process = context.Process(target=work, args=(url, its))
        self.process.start()
        its.close()
        self.url = self.told.receive(timeout=SOON)

    def end(self):
        self.process.terminate()
        self.process.join(SOON)
        assert self.process.exitcode == 0, f"a worker ended with {self.process.exitcode}"
        told = self.told.receive(timeout=SOON)
        self.told.close()
        return told


@contextlib.contextmanager
def workers(method, count):
    made = [Worker("tcp://127.0.0.1:0", method)]
    try:
        made += [Worker(made[0].url, method) for _ in range(count - 1)]
        yield made
    finally:
        for worker in made:
            worker.process.kill()
            worker.process.join(SOON)
            worker.told.close()


def ask(client, what):
    client.send(what)
    pid, _, said = client.receive(timeout=SOON).partition(" ")
    assert said == what
    return int(pid)


@pytest.mark.hang_guard(60)
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_each_client_is_served_by_exactly_one_process(method):
    with workers(method, 3) as made, contextlib.ExitStack() as stack:
        url = made[0].url
        clients = [stack.enter_context(ipcx.connect(url)) for _ in range(40)]
        served = [ask(client, f"I am {n}") for n, client in enumerate(clients)]
        assert set(served) <= {worker.process.pid for worker in made}
        assert len(set(served)) > 1
        for turn in range(3):
            assert [ask(client, f"turn {turn}") for client in clients] == served

        victim = made[0].process
        victim.kill()
        victim.join(SOON)
        for client, pid in zip(clients, served, strict=True):
            if pid != victim.pid:
                assert ask(client, "still there?") == pid
            else:
                with pytest.raises(ipcx.PeerDied):
                    client.receive(timeout=SOON)
        with ipcx.connect(url) as client:  # newcomers go to those who are left
            assert ask(client, "new") in {worker.process.pid for worker in made[1:]}
        counted = [served.count(worker.process.pid) for worker in made[1:]]
        told = [worker.end() for worker in made[1:]]
        assert sum(int(line.split()[1]) for line in told) == sum(counted) + 1


def test_a_port_is_shared_only_by_those_who_say_so():
    with Server("tcp://127.0.0.1:0", reuse_port=True) as one, pytest.raises(ipcx.AddressInUse):
        Server(one.url)
    with Server("tcp://127.0.0.1:0") as one, pytest.raises(ipcx.AddressInUse):
        Server(one.url, reuse_port=True)


def test_a_path_is_shared_by_nobody(tmp_path):
    url = f"unix://{tmp_path}/s"
    with Server(url, reuse_port=True), pytest.raises(ipcx.AddressInUse):
        Server(url, reuse_port=True)


# ---- threads


def test_threads_that_share_a_server_hand_out_each_message_once():
    seen = defaultdict(list)

    def serve(server):
        for peer, message in server:
            seen[threading.get_ident()].append((peer.id, message))
            peer.send(message)

    with Server("tcp://127.0.0.1:0") as server:
        threads = [threading.Thread(target=serve, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        clients = [ipcx.connect(server.url) for _ in range(10)]
        for client in clients:
            client.send_many(f"{n}" for n in range(100))
        for client in clients:
            assert sorted(int(client.receive(timeout=SOON)) for _ in range(100)) == list(range(100))
            client.close()
        server.close()
        for thread in threads:
            thread.join(SOON)
    told = [pair for messages in seen.values() for pair in messages]
    assert len(told) == len(set(told)) == 1000


def test_a_server_for_each_thread():
    """They share the port; each client is one thread's, and its answers keep their order."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Server("tcp://127.0.0.1:0", reuse_port=True))
        others = [stack.enter_context(Server(first.url, reuse_port=True)) for _ in range(2)]
        servers = [first, *others]
        threads = [threading.Thread(target=answer, args=(server,)) for server in servers]
        for thread in threads:
            thread.start()
        for _ in range(20):
            with ipcx.connect(first.url) as client:
                client.send_many(f"{n}" for n in range(50))
                got = [client.receive(timeout=SOON).split()[1] for _ in range(50)]
                assert got == [f"{n}" for n in range(50)]
        for server in servers:
            server.close()
        for thread in threads:
            thread.join(SOON)
        assert sum(server.stats().joined for server in servers) == 20


# ---- the example


@pytest.mark.hang_guard(60)
def test_the_example():
    with subprocess.Popen(
        [sys.executable, EXAMPLE, "tcp://127.0.0.1:0", "2"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        url, *pids = running.stdout.readline().split()
        assert len(pids) == 2
        with ipcx.connect(url) as client:
            client.send("hello")
            pid, _, said = client.receive(timeout=SOON).partition(": ")
            assert (pid in pids, said) == (True, "hello")
            os.kill(int(pid), signal.SIGKILL)
            with pytest.raises(ipcx.PeerDied):
                client.receive(timeout=SOON)
        assert running.stdout.readline().split()[:4] == ["instead", "of", pid, "now"]
        with ipcx.connect(url) as client:
            client.send("again")
            assert client.receive(timeout=SOON).endswith(": again")
        running.stdin.close()
        assert running.stdout.read() == "served by 2\n"
        assert running.wait() == 0
