"""Synchronous or asynchronous? The table of the slide, measured.

Every row is the same work: messages of 64 bytes from one thread to another. "waited" is how often
the sender had to.
"""

import threading
import time

import ipcx

COUNT = 5_000
MESSAGE = b"x" * 64


def receiver(channel):
    for _ in range(COUNT):
        channel.receive()


def measure(url, sync, **options):
    a, b = ipcx.pair(url, **options)
    with a, b:
        thread = threading.Thread(target=receiver, args=(b,))
        begin = time.perf_counter()
        thread.start()
        for _ in range(COUNT):
            a.send(MESSAGE, sync=sync)
        thread.join()
        seconds = time.perf_counter() - begin
        return COUNT / seconds, a.stats().send_waits


print(f"{'transport':<12} {'send':<14} {'messages/s':>12} {'waited':>8}")
waited = {}
for url, options in ("inproc://", {"copy": True}), ("unix://", {}), ("tcp://", {}):
    for sync in False, True:
        rate, waits = measure(url, sync, **options)
        waited[url, sync] = waits
        print(
            f"{url:<12} {'synchronous' if sync else 'asynchronous':<14} {rate:>12,.0f} {waits:>8}"
        )

more = all(waited[url, True] > waited[url, False] for url, _ in waited)
print("The synchronous sender had to wait more often, everywhere:", more)
