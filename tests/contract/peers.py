# SPDX-License-Identifier: Apache-2.0
"""What other processes do in the tests.

A function gets its `link` to the test (zygote.py), then the channel, if the test asked for one by
its URL, or else a list of descriptors, if it sent some. `_signalled` and what is below it run by
`multiprocessing`, which must find them in a module.
"""

import contextlib
import os
import signal
import socket
import time

import ipcx
from contract import lab

SAMPLES = 3  # how often in a row a thread must be seen in one and the same sleep
SAMPLE = 0.0015


def _look(pid: int, tid: int) -> list[str]:
    """Its state, and how often it has gone to sleep."""
    with open(f"/proc/{pid}/task/{tid}/status") as source:
        return [one for one in source.read().splitlines() if one.startswith(("State", "vol"))]


def asleep(pid: int, *threads: int) -> bool:
    """Whether threads sleep in the kernel, and were not called to the CPU between the looks."""
    seen = None
    for sample in range(SAMPLES):
        if sample:
            time.sleep(SAMPLE)
        try:
            look = [_look(pid, thread) for thread in threads]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if seen not in (None, look) or any(one[0].split()[1] != "S" for one in look):
            return False
        seen = look
    return True


def until_asleep(pid: int, tid: int) -> None:
    while not asleep(pid, tid):
        time.sleep(SAMPLE)


# ---- who signals


def signals(link, pid: int, tid: int, numbers: list[int]) -> None:
    """Each signal once the thread sleeps; the test's own end stops it."""
    for number in numbers:
        until_asleep(pid, tid)
        os.kill(pid, number)
    link.told()


# ---- who talks


def idles(link, channel, *messages) -> None:
    for message in messages:
        channel.send(message)
    link.tell()
    link.told()


def answers(link, channel, *messages) -> None:
    """After a question, so that nothing is unread when it is killed: TCP would take that for a
    reason to drop what is still on its way."""
    channel.receive()
    idles(link, channel, *messages)


def echoes(link, channel) -> None:
    with contextlib.suppress(ipcx.PeerClosed):
        for message in channel:
            channel.send(message)
    channel.close()


def says_goodbye(link, channel, *messages) -> None:
    for message in messages:
        channel.send(message)
    channel.close()
    link.tell()
    link.told()


def exits_without_goodbye(link, channel, *messages) -> None:
    for message in messages:
        channel.send(message)
    os._exit(0)


def receives(link, channel, count: int) -> None:
    """Tells the length of each message, in order."""
    for _ in range(count):
        link.tell(len(channel.receive()))
    link.told()


def receives_end(link, channel) -> None:
    """Gets an end through the channel and greets whoever has the other one."""
    end = channel.receive()
    end.send(f"from {os.getpid()}")
    link.tell(type(end).__name__)
    assert end.receive() == "and back"
    end.close()
    channel.close()
    link.tell("done")


def tells_how_it_ended(link, channel) -> None:
    link.tell()
    try:
        for message in channel:
            link.tell(message)
        link.tell("end")
    except ipcx.PeerClosed as error:
        link.tell(type(error).__name__)


def writes_and_idles(link, descriptors: list[int], data: str) -> None:
    """Raw bytes, to a descriptor that nobody else has."""
    os.write(descriptors[-1], bytes.fromhex(data))
    link.tell()
    link.told()


# ---- who listens


def listens(link, url: str) -> None:
    with ipcx.listen(url, **lab.listening(url)) as listener:
        link.tell(listener.url)
        link.told()


# ---- functions for multiprocessing.Process


def speaks_and_echoes(end) -> None:
    end.send(str(os.getpid()))
    for message in end:
        end.send(message)
    end.close()


def idles_with(end) -> None:
    end.send("ready")
    signal.pause()


def raw_connection(url: str) -> socket.socket:
    """A plain socket connected to where a channel listens."""
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(rest)
        return sock
    if scheme != "tcp":
        raise ValueError(f"{url} is no stream")
    host, _, port = rest.rpartition(":")
    sock = socket.create_connection((host.strip("[]"), int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # pieces go as they are
    return sock
