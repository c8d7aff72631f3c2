"""Computation speed-up: a task in parts, each in a process of its own; measured."""

import os
import time
from itertools import pairwise

import work

from ipcx import process

LIMIT = 60_000
CPUS = len(os.sched_getaffinity(0))


def in_parts(many):
    """The primes below LIMIT, and the seconds it took."""
    # The larger the numbers, the longer it takes: parts of about the same work.
    edges = [round(LIMIT * (part / many) ** (2 / 3)) for part in range(many + 1)]
    start = time.perf_counter()
    parts = [
        process.spawn(work.primes, first, last, channel=None) for first, last in pairwise(edges)
    ]
    found = sum(part.result() for part in parts)
    return found, time.perf_counter() - start


found, alone = in_parts(1)
print(f"1 process: {found} primes in {alone:.2f} s")
for many in sorted({2, min(CPUS, 8)} - {1}):
    again, together = in_parts(many)
    times = f"{alone / together:.2f} times as fast"
    print(f"{many} processes: {again} primes in {together:.2f} s, {times}")
print(f"CPUs that may be used: {CPUS}; more processes than these are of no use")
