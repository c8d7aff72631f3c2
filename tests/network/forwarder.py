# SPDX-License-Identifier: Apache-2.0
"""The wire of network/link.py: a process between two network namespaces, each with a TUN device.

    namespace a: tun ──▶ this process: rules of "ab" ──▶ namespace b: tun, and back by those of "ba"

`python forwarder.py FD`: orders come over the socket FD as lines of JSON, an answer a line; the
namespaces go the other way, as descriptors. Everything lives in descriptors of this process and of
its parent: when both are gone, however they went, nothing is left.
"""

import contextlib
import ctypes
import dataclasses
import fcntl
import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
SET_FLAGS, SET_ADDRESS, SET_MASK, SET_MTU, GET_INDEX = 0x8914, 0x8916, 0x891C, 0x8922, 0x8933
IFF_UP_RUNNING = 0x41
TCP, UDP = 6, 17
NOISE = {0, 2, 58}  # what a kernel says by itself: hop by hop options, IGMP, ICMPv6
MTU = 1500
LATE = 0.05  # who was to be overtaken, and nobody comes, goes after so many seconds
_libc = ctypes.CDLL(None, use_errno=True)


# ---------------------------------------------------------------- namespaces and devices


def new_namespace() -> int:
    if _libc.unshare(CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare(CLONE_NEWNET): {os.strerror(number)}")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def interface(sock: socket.socket, request: int, name: str, *value: bytes) -> bytes:
    return fcntl.ioctl(sock, request, struct.pack("16s24s", name.encode(), b"".join(value)))


def address(ip: str) -> bytes:
    return struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(ip))


def new_host(ip: str, ip6: str) -> tuple[int, int]:
    """(namespace, TUN device) of a host that has these addresses, and lo."""
    namespace = new_namespace()
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"link", IFF_TUN_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        interface(sock, SET_ADDRESS, "link", address(ip))
        interface(sock, SET_MASK, "link", address("255.255.255.0"))
        interface(sock, SET_MTU, "link", struct.pack("i", MTU))
        for name in ("lo", "link"):
            interface(sock, SET_FLAGS, name, struct.pack("H", IFF_UP_RUNNING))
        index = struct.unpack_from("16xi", interface(sock, GET_INDEX, "link"))[0]
    with (
        contextlib.suppress(OSError),  # a kernel without IPv6: the link has none either
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock,
    ):
        six = socket.inet_pton(socket.AF_INET6, ip6)
        fcntl.ioctl(sock, SET_ADDRESS, struct.pack("16sIi", six, 64, index))
        for _ in range(400):  # the kernel makes it usable a little later, at its leisure
            with contextlib.suppress(OSError):
                sock.bind((ip6, 0))
                break
            time.sleep(0.005)
    return namespace, tun


# ---------------------------------------------------------------- packets


def protocol(packet: bytes) -> int:
    if packet[0] >> 4 == 4:
        return packet[9]
    return packet[6] if packet[0] >> 4 == 6 else 0


def header_size(packet: bytes) -> int:
    return (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def flipped(packet: bytes, chance: random.Random) -> bytes:
    """One bit behind the ports, which the receiver's kernel sees by the checksum."""
    first = header_size(packet) + 8
    broken = bytearray(packet)
    if first < len(packet):
        broken[chance.randrange(first, len(packet))] ^= 1 << chance.randrange(8)
    return bytes(broken)


def forged(packet: bytes, chance: random.Random) -> bytes:
    """One bit of what TCP or UDP carries, and their checksum mended: no kernel sees it."""
    start, kind = header_size(packet), protocol(packet)
    first = start + (8 if kind == UDP else (packet[start + 12] >> 4) * 4 if kind == TCP else 65536)
    if first >= len(packet):
        return packet
    at = chance.randrange(first, len(packet))
    broken = bytearray(packet)
    broken[at] ^= 1 << chance.randrange(8)
    word = (at - start) // 2 * 2 + start
    before, after = (int.from_bytes(p[word : word + 2].ljust(2, b"\0"), "big")
                     for p in (packet, bytes(broken)))  # fmt: skip
    place = start + (6 if kind == UDP else 16)
    total = (int.from_bytes(packet[place : place + 2], "big") ^ 0xFFFF) + (before ^ 0xFFFF) + after
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    broken[place : place + 2] = ((total ^ 0xFFFF) or 0xFFFF).to_bytes(2, "big")
    return bytes(broken)


def fragments(packet: bytes) -> list[bytes]:
    """An IPv4 packet as two, which the receiver's kernel puts together; any other as it is."""
    start = header_size(packet)
    at = (len(packet) - start) // 16 * 8
    if packet[0] >> 4 != 4 or at <= 0:  # shortened to less than its header
        return [packet]
    flags = int.from_bytes(packet[6:8], "big")
    parts = []
    halves = ((0, packet[start : start + at], True), (at, packet[start + at :], False))
    for offset, data, more in halves:
        head = bytearray(packet[:start])
        head[2:4] = (start + len(data)).to_bytes(2, "big")
        where = (flags & 0x1FFF) + offset // 8
        head[6:8] = (where | (0x2000 if more or flags & 0x2000 else 0)).to_bytes(2, "big")
        head[10:12] = bytes(2)
        head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
        parts.append(bytes(head) + data)
    return parts


# ---------------------------------------------------------------- one direction


@dataclasses.dataclass
class Rules:
    """Chances from 0 to 1, seconds, and what they are for."""

    loss: float = 0
    duplicate: float = 0
    reorder: float = 0
    corrupt: float = 0
    forge: float = 0
    split: float = 0
    shorten: float = 0
    delay: float = 0
    jitter: float = 0
    gap: int = 3
    drop: tuple[int, ...] = ()
    only: str | None = None

    def heeds(self, packet: bytes) -> bool:
        kind = protocol(packet)
        return kind == {"tcp": TCP, "udp": UDP}[self.only] if self.only else kind not in NOISE


COUNTS = ("seen", "passed", "lost", "cut", "duplicated", "reordered",
          "corrupted", "forged", "split", "shortened")  # fmt: skip


class Direction:
    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)
        self.rules = Rules()
        self.cut = self.holds = False
        self.held: list[bytes] = []
        self.under_way: list[tuple[float, int, bytes]] = []  # a heap: when, serial, packet
        self.late: list[tuple[float, int, int, bytes]] = []  # at last when, after whom, number
        self.serial = itertools.count()
        self.out = -1
        self.count_anew()

    def count_anew(self) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.order: list[int] = []

    def chosen(self, rule: str, count: str) -> bool:
        chance = getattr(self.rules, rule)
        if chance == 0 or self.chance.random() >= chance:
            return False
        self.counts[count] += 1
        return True

    def take(self, packet: bytes) -> None:
        """What has come in at this end of the wire."""
        if self.cut:
            self.counts["cut"] += 1
        elif self.holds:
            self.held.append(packet)
        elif not self.rules.heeds(packet):
            self.send(packet)
        else:
            self.treat(packet)

    def treat(self, packet: bytes) -> None:
        number = self.counts["seen"]
        self.counts["seen"] += 1
        if number in self.rules.drop:
            self.counts["lost"] += 1
        elif not self.chosen("loss", "lost"):
            if self.chosen("corrupt", "corrupted"):
                packet = flipped(packet, self.chance)
            if self.chosen("forge", "forged"):
                packet = forged(packet, self.chance)
            if self.chosen("shorten", "shortened"):
                packet = packet[: self.chance.randrange(1, len(packet))]
            if self.chosen("reorder", "reordered"):
                self.late.append((time.monotonic() + LATE, number + self.rules.gap, number, packet))
            else:
                self.go(number, packet)
        self.hurry(lambda _when, after: number >= after)

    def hurry(self, due) -> None:
        """Those whose time has come to be overtaken no longer."""
        for entry in [entry for entry in self.late if due(*entry[:2])]:
            self.late.remove(entry)
            self.go(*entry[2:])

    def go(self, number: int, packet: bytes) -> None:
        self.order.append(number)
        self.counts["passed"] += 1
        parts = fragments(packet) if self.chosen("split", "split") else [packet]
        if self.chosen("duplicate", "duplicated"):
            self.order.append(number)
            parts = parts * 2
        when = time.monotonic() + self.rules.delay + self.chance.random() * self.rules.jitter
        for part in parts:
            if self.rules.delay or self.rules.jitter:
                heapq.heappush(self.under_way, (when, next(self.serial), part))
            else:
                self.send(part)

    def send(self, packet: bytes) -> None:
        # Cut short, or wrong, so that no kernel takes it; or its host has just gone.
        with contextlib.suppress(OSError):
            os.write(self.out, packet)

    def tick(self) -> float:
        """Sends what is due; how long until the next is, for ever if nothing waits."""
        now = time.monotonic()
        self.hurry(lambda when, _after: when <= now)
        while self.under_way and self.under_way[0][0] <= now:
            self.send(heapq.heappop(self.under_way)[2])
        waiting = [self.under_way[0][0]] if self.under_way else []
        return min(waiting + [entry[0] for entry in self.late], default=float("inf")) - now

    def forget(self) -> None:
        self.held.clear()
        self.under_way.clear()
        self.late.clear()

    def release(self) -> None:
        self.holds = False
        held, self.held = self.held, []
        for packet in held:
            self.take(packet)

    def rest(self) -> int:
        return len(self.held) + len(self.under_way) + len(self.late)


# ---------------------------------------------------------------- both


class Forwarder:
    def __init__(self, orders: socket.socket, seed: str, addresses: dict[str, list[str]]) -> None:
        self.orders = orders
        self.lines = orders.makefile("rb", buffering=0)
        self.addresses = addresses
        self.ways = {way: Direction(f"{seed} {way}") for way in ("ab", "ba")}
        self.tuns: dict[str, int] = {}
        for side in "ab":
            self.host(side)

    def host(self, side: str) -> None:
        """A new machine at that end, in the place of the one that was there."""
        if side in self.tuns:
            os.close(self.tuns.pop(side))
        namespace, tun = new_host(*self.addresses[side])
        self.tuns[side] = tun
        self.ways["ba" if side == "a" else "ab"].out = tun
        socket.send_fds(self.orders, [b"+"], [namespace])
        os.close(namespace)

    def obey(self, order: dict) -> object:
        ways = [self.ways[way] for way in order.get("ways", ["ab", "ba"])]
        for way in ways:
            match order["do"]:
                case "set":
                    way.rules = Rules(**order["rules"])
                case "cut":
                    way.cut = True
                    way.forget()
                case "mend":
                    way.cut = False
                case "hold":
                    way.holds = True
                case "release":
                    way.release()
                case "count_anew":
                    way.count_anew()
                case "look":
                    return {"counts": way.counts, "order": way.order, "rest": way.rest()}
                case "reboot":
                    way.forget()
        if order["do"] == "reboot":
            self.host(order["side"])
        return None

    def packets(self, side: str) -> None:
        way = self.ways["ab" if side == "a" else "ba"]
        for _ in range(64):
            try:
                packet = os.read(self.tuns[side], 65536)
            except OSError:
                return
            if packet:
                way.take(packet)

    def run(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self.orders, select.POLLIN)
            names = {tun: side for side, tun in self.tuns.items()}
            for tun in names:
                poll.register(tun, select.POLLIN)
            wait = max(0.0, min(way.tick() for way in self.ways.values()))
            ready = poll.poll(None if wait == float("inf") else wait * 1000 + 1)
            for fd, _ in ready:
                if fd in names:
                    self.packets(names[fd])
            if any(fd not in names for fd, _ in ready):
                line = self.lines.readline()
                if not line:
                    return
                answer = json.dumps(self.obey(json.loads(line)))
                self.orders.sendall(answer.encode() + b"\n")


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        orders.set_inheritable(False)
        start = json.loads(orders.makefile("rb", buffering=0).readline())
        try:
            forwarder = Forwarder(orders, start["seed"], start["addresses"])
        except OSError as error:
            orders.sendall(b"-" + f"{error.strerror or error}".encode())
            return
        forwarder.run()


if __name__ == "__main__":
    main()
