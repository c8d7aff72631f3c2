# SPDX-License-Identifier: Apache-2.0
"""Other processes, cheaply: one that has imported everything and forks a peer for whoever asks.

`python -m contract.zygote FD`: each datagram on the socket FD is a request with descriptors; a peer
runs `contract.peers.FUNCTION(link, …)`. Invariant: a peer's only descriptors are those of its
request, so what it holds open ends with it.
"""

import json
import os
import signal
import socket
import sys
import threading
import traceback

import ipcx
from contract import peers


class Link:
    """What a peer tells the test that asked for it, and what it is told: a line of JSON each."""

    def __init__(self, sock: socket.socket) -> None:
        self.file = sock.makefile("rw", newline="\n")

    def tell(self, what: object = "ready") -> None:
        self.file.write(json.dumps(what) + "\n")
        self.file.flush()

    def told(self) -> object:
        """Waits; the end of the test ends the process."""
        line = self.file.readline()
        if not line:
            os._exit(0)
        return json.loads(line)


def run(request: dict, descriptors: list[int]) -> None:
    link = Link(socket.socket(fileno=descriptors[0]))
    link.tell(os.getpid())
    function = getattr(peers, request["function"])
    arguments = list(request["arguments"])
    if request["url"] is not None:
        channel = ipcx.connect(request["url"].format(*descriptors[1:]), **request["key"])
        if request["key"]:
            channel.flush()  # whatever it does next, it has proven itself
        arguments.insert(0, channel)
    elif descriptors[1:]:
        arguments.insert(0, descriptors[1:])
    function(link, *arguments)


def serve(control: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 8)
        if not data:
            return
        if os.fork() == 0:
            status = 1
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                run(json.loads(data), descriptors)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    assert threading.active_count() == 1
    serve(socket.socket(fileno=int(sys.argv[1])))
