"""Echo servers under the same load: ipcx.server against what else serves many clients.

The load is one C program (load_server.c) on one CPU, the server is a process on another. Each
connection has one request of 64 B under way. ipcx speaks its frames (76 B each way, and a HELLO at
the beginning); the others echo bare bytes. Contestants alternate in random order; a ratio is the
median of those within rounds. The rows over TLS have a load in Python (load_tls.py), one
certificate for all, and need the package cryptography.
"""

import argparse
import json
import os
import pathlib
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress

import report
from contestant import compile_c

PEERS = ("C loop", "ipcx", "python loop", "uvloop", "asyncio", "threads")
ROWS = {
    "requests-100": ("requests", 100),
    "requests-500": ("requests", 500),
    "requests-5000": ("requests", 5000),
    "connects": ("burst", 1000),
    "connects-32": ("connects", 32),
    "tls-requests-100": ("requests", 100),
    "tls-handshakes-8": ("handshakes", 8),
}
TLS_PEERS = ("ipcx", "uvloop", "asyncio protocol")


# ---- the servers, each in a process of its own


def announce(port):
    print(port, flush=True)


def secured():
    """The context of a row over TLS, or None."""
    pem = os.environ.get("IPCX_BENCH_PEM")
    if pem is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


def ipcx_server():
    from ipcx.server import Server

    context = secured()
    url = "tcp://127.0.0.1:0" if context is None else "tls://127.0.0.1:0"
    with Server(url, backlog=4096, tls=context) as server:
        announce(server.url.rpartition(":")[2])
        for peer, message in server:
            peer.send(message)


def python_loop():
    import select
    import socket

    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    announce(listener.getsockname()[1])
    peers = {}
    while True:
        for fd, _ in poll.poll():
            peer = peers.get(fd)
            if peer is None:
                try:
                    while True:
                        new, _ = listener.accept()
                        new.setblocking(False)
                        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        peers[new.fileno()] = new
                        poll.register(new, select.EPOLLIN)
                except BlockingIOError:
                    continue
            try:
                data = peer.recv(16384)
            except OSError:
                data = b""
            if data:
                peer.send(data)
            else:
                del peers[fd]
                poll.unregister(fd)
                peer.close()


def uvloop_protocol():
    import uvloop

    protocol(uvloop.run)


def asyncio_protocol():
    import asyncio

    protocol(asyncio.run)


def protocol(run):
    import asyncio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=4096, ssl=secured())
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    run(main())


def asyncio_streams():
    import asyncio

    async def echo(reader, writer):
        try:
            while data := await reader.read(16384):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def threads():
    import socketserver

    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                while data := self.request.recv(16384):
                    self.request.sendall(data)
            except OSError:
                pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 4096

    with Server(("127.0.0.1", 0), Echo) as server:
        announce(server.server_address[1])
        server.serve_forever()


SERVERS = {
    "ipcx": ipcx_server,
    "python loop": python_loop,
    "uvloop": uvloop_protocol,
    "asyncio": asyncio_streams,
    "asyncio protocol": asyncio_protocol,
    "threads": threads,
}


# ---- the bench

TLS_LOAD = pathlib.Path(__file__).with_name("load_tls.py")


class Running:
    """A server in a process, and what the load finds there."""

    def __init__(self, name, load, cpus, pem=None):
        command = (
            [load, "serve"] if name == "C loop" else [sys.executable, __file__, "--serve", name]
        )
        self.name, self.cpus, self.pem = name, cpus, pem
        self.load = [load] if pem is None else [sys.executable, TLS_LOAD]
        self.process = subprocess.Popen(
            ["taskset", "-c", str(cpus[0]), *command],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ if pem is None else {**os.environ, "IPCX_BENCH_PEM": str(pem)},
        )  # fmt: skip
        self.port = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def command(self, *arguments):
        protocol = "ipcx" if self.name == "ipcx" else "plain"
        verb, *rest = arguments
        return ["taskset", "-c", str(self.cpus[1]), *self.load, verb, self.port, protocol, *rest]

    def rate(self, verb, connections, ms):
        """Answers a second, and microseconds of the server's CPU for each."""
        before = self.cpu()
        done = subprocess.run(
            self.command(verb, str(connections), str(ms), str(self.pem or self.process.pid)),
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        rate, answers = done.stdout.split()
        return float(rate), (self.cpu() - before) / 1e3 / float(answers)

    def cpu(self):
        """Nanoseconds that the server has run so far, all threads together."""
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with suppress(OSError), open(f"/proc/{self.process.pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
        return total

    def memory(self):
        """Bytes of the process that are its alone."""
        with open(f"/proc/{self.process.pid}/smaps_rollup") as lines:
            return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024

    def idle(self, connections):
        """Bytes a connection takes, beyond the kernel's, when nothing happens on it."""
        before = self.memory()
        with subprocess.Popen(
            self.command("idle", str(connections)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as load:  # fmt: skip
            assert load.stdout.readline() == "ready\n"
            time.sleep(0.2)
            grown = self.memory() - before
            load.stdin.close()
        return grown / connections


def certificate(folder):
    """A file with a certificate and its key, for all servers of the rows over TLS."""
    from ipcx import _certificates

    pem = pathlib.Path(folder) / "server.pem"
    pem.write_bytes(b"".join(_certificates.self_signed(("localhost", "127.0.0.1"), 1)))
    return pem


def measure(row, names, load, cpus, options, pem):
    verb, connections = ROWS[row]
    pem = pem if row.startswith("tls-") else None
    rates, costs = defaultdict(list), defaultdict(list)
    for _ in range(options.rounds):
        for name in random.sample(names, len(names)):
            if name == "threads" and connections > 500:
                continue
            try:
                with Running(name, load, cpus, pem) as server:
                    rate, cost = server.rate(verb, connections, options.ms)
                    rates[name].append(rate)
                    costs[name].append(cost)
            except (RuntimeError, ValueError) as error:
                print(f"{row} {name}: {error}", file=sys.stderr)
                rates[name].append(float("nan"))
    return rates, costs


def ratio(ours, theirs):
    pairs = [a / b for a, b in zip(ours, theirs, strict=False) if b == b and a == a]
    return statistics.median(pairs) if pairs else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--only", metavar="ROW", action="append", choices=[*ROWS, "idle"])
    parser.add_argument("--list", action="store_true", help="print the rows and leave")
    parser.add_argument("--peers", help="only these, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ms", type=int, default=1000, help="of load in each trial")
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if options.serve:
        SERVERS[options.serve]()
        return
    if options.list:
        for row, (verb, connections) in ROWS.items():
            print(f"{row:24} {verb} on {connections} connections")
        print(f"{'idle':24} memory of an idle connection")
        return
    if options.quick:
        options.rounds, options.ms = 1, 200
    names = options.peers.split(",") if options.peers else list(PEERS)
    rows = options.only or [*ROWS, "idle"]
    with tempfile.TemporaryDirectory() as folder:
        compare(rows, names, options, folder)


def compare(rows, names, options, folder):
    try:
        pem = certificate(folder)
    except ImportError:
        pem = None
    (load,) = compile_c("load_server.c")
    allowed = sorted(os.sched_getaffinity(0))
    cpus = [allowed[0], allowed[-1]]
    found = {"machine": report.machine(), "rows": {}, "cpu": {}}
    for row in rows:
        if row == "idle":
            with Running("ipcx", load, cpus) as server:
                found["idle"] = server.idle(2000)
            print(f"{row:14} {found['idle']:.0f} B a connection (goal: 8192 at most)")
            continue
        chosen = names
        if row.startswith("tls-"):
            chosen = [name for name in TLS_PEERS if not options.peers or name in names]
            if pem is None:
                print(f"{row:14} left out: it needs the package cryptography")
                continue
        rates, costs = measure(row, chosen, load, cpus, options, pem)
        found["rows"][row] = rates
        found["cpu"][row] = costs
        print(f"{row:14} {'answers/s':>12} {'ipcx x':>7} {'CPU us each':>12} {'ipcx x':>7}")
        for name in chosen:
            if rates[name]:
                faster = ratio(rates["ipcx"], rates[name])
                cheaper = ratio(costs[name], costs["ipcx"])
                print(
                    f"  {name:12} {statistics.median(rates[name]):12,.0f} {faster:7.2f}"
                    f" {statistics.median(costs[name] or [0]):12.2f} {cheaper:7.2f}"
                )
    base = found["rows"].get("requests-100", {}).get("ipcx")
    for row in ("requests-500", "requests-5000"):
        more = found["rows"].get(row, {}).get("ipcx")
        if base and more:
            print(f"{row:14} ipcx keeps {ratio(more, base):.2f} of its rate at 100 (goal: 0.80)")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
