"""Several processes serve one port; the system deals out the clients, each to one of them.

python workers.py                              two, at a port of the system's choice
python workers.py tcp://127.0.0.1:50008 8      eight
It prints the URL and who serves, and ends with its input. A worker that dies takes its own clients
with it, and no others; another takes its place.
"""

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import wait

import ipcx
from ipcx.server import Server


def work(url, parent):
    """One worker: a server of its own, made here, in the process that serves."""
    with Server(url, reuse_port=True) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.close())  # ends the loop
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
        parent.send(server.url)
        parent.close()
        for peer, message in server:
            peer.send(f"{os.getpid()}: {message}")


def start(url):
    """A worker, and the URL at which it serves."""
    mine, its = ipcx.pair("unix://")
    worker = multiprocessing.Process(target=work, args=(url, its))
    worker.start()
    its.close()
    with mine:
        return worker, mine.receive(timeout=30)


def main(url="tcp://127.0.0.1:0", count="2"):
    workers = []
    for _ in range(int(count)):
        worker, url = start(url)  # the first one finds the port
        workers.append(worker)
    print(url, *(worker.pid for worker in workers), flush=True)
    while sys.stdin not in wait([sys.stdin, *(worker.sentinel for worker in workers)]):
        for number, worker in enumerate(workers):
            if not worker.is_alive():
                workers[number], _ = start(url)
                print("instead of", worker.pid, "now", workers[number].pid, flush=True)
    for worker in workers:
        worker.terminate()
        worker.join()
    print("served by", len(workers), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
