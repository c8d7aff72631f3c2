# SPDX-License-Identifier: Apache-2.0
"""The largest message that goes without asking, over every transport."""

import hashlib
import mmap

import pytest

from contract.kit import Kit
from socket_help import GUARD

LARGEST = 64 << 20


def _available() -> int:
    with open("/proc/meminfo") as source:
        told = dict(line.split(":") for line in source)
    return int(told["MemAvailable"].split()[0]) << 10


@pytest.mark.needs("large")
@pytest.mark.drivers("sync")
@pytest.mark.hang_guard(60)
def test_the_largest(kit: Kit) -> None:
    """The default limit itself; half of it, where memory is scarce."""
    size = LARGEST if _available() > 16 * LARGEST else LARGEST // 2
    one, two = kit.pair()
    message = mmap.mmap(-1, size)
    message[-9:] = b"the end.\n"
    wanted = hashlib.blake2b(message).digest()
    sending = kit.background(one.send, message)
    got = two.receive(timeout=4 * GUARD)  # tls:// encrypts in one thread, decrypts in the other
    sending.finish()
    assert len(got) == size
    assert hashlib.blake2b(got).digest() == wanted
    del got
    message.close()
