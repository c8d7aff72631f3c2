"""What the children of the other programs do: in a module, functions can be imported by name."""

import os
import signal
import time

from ipcx.shared_memory import SharedMemory


def counts_alone(channel, until):
    """Independent: this variable is this process's own."""
    counter = 0
    while counter < until:
        counter += 1
    channel.send(str(counter))


def crashes(channel):
    channel.send("all is well")
    os.kill(os.getpid(), signal.SIGKILL)


def letters(channel, name, wanted):
    """Looks at the memory of that name, where it is; nothing of it is sent."""
    shared = SharedMemory(name)
    count = bytes(shared.buf).count(wanted.encode())
    shared.close()
    channel.send(f"{wanted} is there {count} times")


def primes(first, last):
    """How many there are, the slow way."""
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(max(first, 2), last))


def split(to_parent, words):
    """One module: text in, words out. It does not know who counts them."""
    for text in to_parent:
        for word in text.split():
            words.send(word)
    words.close()


def longest(to_parent, words):
    """Another module: words in, the longest out."""
    to_parent.send(max(words, key=len))


def how_many(to_parent, words):
    """In its place: words in, their number out."""
    to_parent.send(str(len(list(words))))


def task(what, seconds):
    """What somebody wants to have done while doing something else."""
    for step in (1, 2):
        time.sleep(seconds / 2)
        print(f"{what}, step {step} of 2", flush=True)
