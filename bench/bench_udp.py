"""udp:// in batches against the loop that the stdlib's socket takes: 64 messages of 64 B each way.

A batch is sent and then received, in one thread, over the loopback. Contestants alternate; a ratio
is the median of those within rounds. The kernel's own work for each datagram is in both.
"""

import argparse
import json
import socket
import statistics
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


def measure(pairs: int, rounds: int) -> dict[str, float]:
    ratios, rates = [], []
    for _ in range(pairs):
        mine, theirs = ours(rounds), stdlib(rounds)
        ratios.append(theirs / mine)
        rates.append(rounds * len(BATCH) / mine)
    return {"messages_per_second": statistics.median(rates), "ratio": statistics.median(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description="udp:// in batches against the stdlib's loop")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="two short pairs: a smoke test")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.rounds = 2, 20
    found = measure(options.pairs, options.rounds)
    print(f"udp://  {found['messages_per_second']:,.0f} messages/s")
    print(f"stdlib  udp:// is {found['ratio']:.2f} times as fast (goal: 2)")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
