"""udp:// in batches against the loop that the stdlib's socket takes: 64 messages of 64 B each way.

A batch is sent and then received, in one thread, over the loopback. Contestants alternate; a ratio
is the median of those within rounds. The kernel's own work for each datagram is in both.
"""

import socket
import statistics
import sys
import time

import ipcx

BATCH = [b"x" * 64] * 64


def ours(rounds: int) -> float:
    one, two = ipcx.pair("udp://")
    with one, two:
        started = time.perf_counter()
        for _ in range(rounds):
            one.send_many(BATCH)
            got = 0
            while got < len(BATCH):
                got += len(two.receive_many(len(BATCH)))
        return time.perf_counter() - started


def stdlib(rounds: int) -> float:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        two.bind(("127.0.0.1", 0))
        one.connect(two.getsockname())
        started = time.perf_counter()
        for _ in range(rounds):
            for message in BATCH:
                one.send(message)
            for _ in BATCH:
                two.recv(65535)
        return time.perf_counter() - started


def main(pairs: int = 15, rounds: int = 300) -> None:
    ratios, rates = [], []
    for _ in range(pairs):
        mine, theirs = ours(rounds), stdlib(rounds)
        ratios.append(theirs / mine)
        rates.append(rounds * len(BATCH) / mine)
    print(f"udp://  {statistics.median(rates):,.0f} messages/s")
    print(f"stdlib  udp:// is {statistics.median(ratios):.2f} times as fast (goal: 2)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
