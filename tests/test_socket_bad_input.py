# SPDX-License-Identifier: Apache-2.0
"""Wrong types, wrong numbers, wrong addresses, closed sockets: the stdlib's exception and text."""

import array
import socket as stdlib

import pytest

from socket_help import STREAMS, Kit, abstract_name, attempt, both, same

READ_ONLY = b"read-only"


class Index:
    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Broken:
    """Fails whatever it is asked."""

    def __index__(self):
        raise ZeroDivisionError("broken")

    __len__ = __iter__ = __float__ = __bool__ = __str__ = __index__


def fresh(value):
    """`value` with copies of what a call may write into."""
    if isinstance(value, (bytearray, array.array)):
        return value[:]
    return type(value)(map(fresh, value)) if isinstance(value, (tuple, list)) else value


def fresh_values(kwargs: dict) -> dict:
    return {name: fresh(value) for name, value in kwargs.items()}


def without_numbers(told, *socks) -> str:
    """Ports, which differ from run to run, and how the method was called, which is not ours.

    A built-in method says "recv() takes no keyword arguments" when it is called bound, and
    "socket.recv() takes …" when it is called through its class, as ``sock.recv(…)`` does.
    """
    text = str(told).replace("socket.", "")
    for sock in socks:
        if sock.family == stdlib.AF_INET:
            text = text.replace(str(sock.getsockname()[1]), "PORT")
    return text


def strided() -> memoryview:
    return memoryview(bytearray(20))[::2]


def floats() -> array.array:
    return array.array("d", [1.0, 2.0])


NUMBERS = (None, "1", 1.5, b"1", -1, -(1 << 70), 1 << 31, 1 << 32, 1 << 63, 1 << 70, Index(4),
           Index(-4), True, [], Broken())  # fmt: skip
NOT_BUFFERS = (None, 1, "text", [], [b"x"], 1.5, {}, object, strided(), Broken())

CALLS: dict[str, list[tuple]] = {
    "recv": [(), (1, 2, 3), ("x",), *((n,) for n in NUMBERS if n not in (1 << 31, 1 << 32)),
             *((4, n) for n in NUMBERS)],
    "recv_into": [(), (1,), (READ_ONLY,), (strided(),), (floats(),), (bytearray(4), 5),
                  (bytearray(4), -1), (bytearray(4), "x"), (bytearray(4), 1, "x"), ("text",),
                  *((bytearray(4), n) for n in NUMBERS), *((b,) for b in NOT_BUFFERS),
                  (bytearray(4), 1, 0, 0)],
    "recvfrom": [(), (1, 2, 3), *((n,) for n in NUMBERS if n not in (1 << 31, 1 << 32))],
    "recvfrom_into": [(), (1,), (READ_ONLY,), (bytearray(4), 5), (bytearray(4), -1), (strided(),),
                      *((bytearray(4), n) for n in NUMBERS), *((b,) for b in NOT_BUFFERS)],
    "recvmsg": [(), (1, 2, 3, 4), *((n,) for n in NUMBERS if n not in (1 << 31, 1 << 32)),
                *((4, n) for n in NUMBERS if n not in (1 << 31, 1 << 32)),
                *((4, 4, n) for n in NUMBERS)],
    "recvmsg_into": [(), (1,), ([1],), ([READ_ONLY],), ([strided()],), (["x"],), (bytearray(3),),
                     ([bytearray(3), READ_ONLY],), (None,), (Broken(),), ([],),
                     *(([bytearray(4)], n) for n in NUMBERS if n not in (1 << 31, 1 << 32)),
                     *(([bytearray(4)], 4, n) for n in NUMBERS)],
    "send": [(), (b"x", 1, 2), *((b,) for b in NOT_BUFFERS), *((b"x", n) for n in NUMBERS)],
    "sendall": [(), (b"x", 1, 2), *((b,) for b in NOT_BUFFERS), *((b"x", n) for n in NUMBERS)],
    "sendto": [(), (b"x",), (b"x", 1), (b"x", 1, 2), (b"x", 1, 2, 3), (1, 2), ("x", 0, "y"),
               (b"x", "y", "z"), (b"x", 1.5, "z"), (strided(), "z"), (b"x", Broken(), "z"),
               (b"x", 1 << 40, "z")],
    "sendmsg": [(), (1,), (b"x",), ([1],), (["x"],), ([strided()],), (None,), (Broken(),),
                ([b"x"], 1), ([b"x"], [1]), ([b"x"], [()]), ([b"x"], [(1, 2)]),
                ([b"x"], [(1, 2, 3)]), ([b"x"], [("a", 2, b"")]), ([b"x"], [(1, 1, "x")]),
                ([b"x"], [(1, 1, b"")], "f"), ([b"x"], [], 0, 5, 6), ([b"x"], None),
                ([b"x"], [(1 << 40, 1, b"")]), ([b"x"], Broken()),
                *(([b"x"], [], n) for n in NUMBERS)],
    "bind": [(), (1, 2)],
    "connect": [(), (1, 2)],
    "connect_ex": [(), (1, 2)],
    "accept": [(1,)],
    "shutdown": [(), (1, 2), (3,), (-1,), (99,), *((n,) for n in NUMBERS)],
    "close": [(1,)],
    "detach": [(1,)],
    "listen": [(1, 2), *((n,) for n in NUMBERS)],
    "settimeout": [(), (1, 2)],
    "setblocking": [(), (1, 2)],
    "gettimeout": [(1,)],
    "fileno": [(1,)],
    "dup": [(1,)],
    "makefile": [("q",), ("rx",), (1,), ("r", 0), ("rb", "x"), ("r", -1, 3)],
    "getsockname": [(1,)],
    "getpeername": [(1,)],
}  # fmt: skip

KEYWORDS = {
    "recv": [{"bufsize": 4}, {"buffersize": 4}, {"size": 1}, {"flags": 0}],
    "recv_into": [{"buffer": bytearray(4)}, {"nbytes": 4}, {"flags": 0}, {"colour": 1}],
    "recvfrom_into": [{"buffer": bytearray(4)}, {"nbytes": 4}, {"colour": 1}],
    "recvfrom": [{"bufsize": 4}],
    "recvmsg": [{"bufsize": 4}],
    "recvmsg_into": [{"buffers": []}],
    "send": [{"data": b"x"}],
    "sendall": [{"data": b"x"}],
    "sendto": [{"data": b"x"}],
    "sendmsg": [{"buffers": [b"x"]}],
    "bind": [{"address": "x"}],
    "connect": [{"address": "x"}],
    "connect_ex": [{"address": "x"}],
    "accept": [{"flags": 1}],
    "listen": [{"backlog": 1}],
    "shutdown": [{"how": 1}, {"flag": 1}],
    "settimeout": [{"timeout": 1}, {"value": 1}],
    "setblocking": [{"flag": 1}],
    "close": [{"x": 1}],
    "detach": [{"x": 1}],
}


@pytest.mark.parametrize("verb", CALLS)
@pytest.mark.parametrize("kind", ["unix", "tcp4", "udp4"])
def test_wrong_arguments(verb: str, kind: str) -> None:
    """The message that is there stays there whenever the call is refused."""

    def scenario(kit: Kit):
        told = []
        for number, args in enumerate(CALLS[verb]):
            one, two = kit.pair(kind)
            names = (kit.keep(one.dup()), kit.keep(two.dup()))
            two.send(b"abcdefgh")
            one.settimeout(0)
            given = fresh(args)
            result = [number, attempt(getattr(one, verb), *given)]
            if not verb.startswith(("makefile", "dup")):
                result.append([bytes(part) for part in given if isinstance(part, bytearray)])
            if one.fileno() >= 0:
                one.setblocking(False)
                result.append(attempt(one.recv, 9))
                two.setblocking(False)
                result.append(attempt(two.recv, 9))
            told.append(without_numbers(result, *names).split(" at 0x")[0])
            kit.close()
        return told

    same(scenario)


@pytest.mark.parametrize("verb", KEYWORDS)
def test_keyword_arguments(verb: str) -> None:
    def scenario(kit: Kit):
        told = []
        for kwargs in KEYWORDS[verb]:
            one, two = kit.pair("unix")
            two.send(b"abcdefgh")
            told.append(without_numbers(attempt(getattr(one, verb), **fresh_values(kwargs))))
            positional = {"recv_into": (bytearray(8),), "recvfrom_into": (bytearray(8),)}
            if verb in positional and "buffer" not in kwargs:
                told.append(
                    without_numbers(attempt(getattr(one, verb), *positional[verb], **kwargs))
                )
        return told

    same(scenario)


def test_keywords_of_recv_into_are_taken() -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("unix")
        told = []
        for kwargs in ({"nbytes": 3}, {"flags": stdlib.MSG_PEEK}, {"nbytes": 2, "flags": 0}):
            two.send(b"abcdefgh")
            buffer = bytearray(8)
            told += [one.recv_into(buffer, **kwargs), bytes(buffer)]
            told.append(one.recvfrom_into(buffer=buffer, **kwargs)[0])
        return told

    same(scenario)


@pytest.mark.parametrize("verb", [verb for verb in CALLS if verb not in ("dup", "makefile")])
def test_unbound_and_on_the_wrong_object(verb: str) -> None:
    def scenario(kit: Kit):
        method = getattr(kit.net.socket, verb)
        told = [attempt(method), attempt(method, 1), attempt(method, None, 2)]
        # Methods in Python notice it at the first attribute they miss.
        return [part[1].replace("AttributeError", "TypeError") for part in told]

    same(scenario)


# ---- addresses


INET = [
    None, 1, "127.0.0.1", b"127.0.0.1", (), ("127.0.0.1",), ("127.0.0.1", 1, 2), (1, 2),
    ("127.0.0.1", "80"), ("127.0.0.1", 80.0), ("127.0.0.1", None), ("127.0.0.1", -1),
    ("127.0.0.1", 65536), ("127.0.0.1", 1 << 31), ("127.0.0.1", 1 << 40), ("127.0.0.1", 1 << 80),
    ("127.0.0.1", -(1 << 80)), (None, 0), ("a\0b", 0), ("127.0.0.1\0", 0), (b"a\0b", 0),
    ("\ud800", 0), ("", 0, 0), ["127.0.0.1", 0], ("300.1.1.1", 0), ("1.2.3.4.5", 0), ("::1", 0),
    ("x" * 300, 0), ("x" * 70 + ".example", 0), ("..", 0), ("<broadcast>", -5), (bytearray(), -1),
    ("127.0.0.1", True, 3), ({}, 1), Broken(), ("127.0.0.1", Broken()), (Broken(), 1),
    ("no-such-host.invalid.", 0), ("127.1", 99999), (b"\xff", 0), (memoryview(b"x"), 0),
]  # fmt: skip
INET6 = [
    None, 1, "::1", (), ("::1",), ("::1", 1, 2, 3, 4), ("::1", "80"), ("::1", -1), ("::1", 65536),
    ("::1", 1, -1), ("::1", 1, 1 << 20), ("::1", 1, 1 << 40), ("::1", 1, "x"), ("::1", 1, 0, -1),
    ("::1", 1, 0, 1 << 40), ("::1", 1, 0, "x"), ("127.0.0.1", 0, "y"), ("g::1", 0), ("::1%", 0),
    ("::1%nodev", 0), ("a\0b", 0), [("::1", 0)], ("::1", 1.5), (None, 1, 0), Broken(),
]  # fmt: skip
UNIX = [None, 1, 1.5, (), ("x", 1), [], {}, Broken(), object, "x" * 200, b"x" * 200, "\ud800",
        "a\0b", b"a\0b", bytearray(b"x" * 108), memoryview(b"x" * 109), strided(),
        floats()]  # fmt: skip
ADDRESSES = {"tcp4": INET, "udp4": INET, "tcp6": INET6, "udp6": INET6, "unix": UNIX,
             "unix-dgram": UNIX, "seqpacket": UNIX}  # fmt: skip


@pytest.mark.parametrize("kind", ADDRESSES)
@pytest.mark.parametrize("verb", ["bind", "connect", "connect_ex", "sendto", "sendmsg"])
def test_wrong_addresses(kind: str, verb: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def scenario(kit: Kit):
        told = []
        for number, address in enumerate(ADDRESSES[kind]):
            sock = kit.of(kind)
            sock.settimeout(0)
            args: tuple = (address,)
            if verb == "sendto":
                args = (b"x", address)
            elif verb == "sendmsg":
                args = ([b"x"], [], 0, address)
            told.append((number, attempt(getattr(sock, verb), *args)))
            if verb == "sendto":
                told.append(attempt(sock.sendto, b"x", 0, address))
            sock.close()
        for path in tmp_path.iterdir():
            path.unlink()
        return told

    same(scenario)


@pytest.mark.parametrize("port", [0, 65535])
def test_ports_at_the_edge(port: int) -> None:
    def scenario(kit: Kit):
        told = []
        for kind in ("tcp4", "udp4", "tcp6", "udp6"):
            host = "127.0.0.1" if kind[-1] == "4" else "::1"
            told.append(attempt(kit.of(kind).connect_ex, (host, port)))
        return told

    same(scenario)


def test_hosts_that_mean_something() -> None:
    def scenario(kit: Kit):
        told = []
        for host in ("", "<broadcast>", "localhost", b"127.0.0.1", bytearray(b"127.0.0.1"), "127.1",
                     "0x7f.1", "2130706433", "0177.0.0.1", " 127.0.0.1", "127.0.0.1 ", "０.0.0.0",
                     "1.1", "0", "LOCALHOST", "localhost."):  # fmt: skip
            sock = kit.of("udp4")
            told.append((host, attempt(sock.bind, (host, 0))[:3], sock.getsockname()[0]))
        for host in ("", "::", "::1", "localhost", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1", "::1%lo"):
            sock = kit.of("udp6")
            told.append((host, attempt(sock.bind, (host, 0))[:3], sock.getsockname()[0]))
        return told

    same(scenario)


# ---- closed and detached sockets


VERBS = {
    "accept": (), "bind": (("127.0.0.1", 0),), "bind wrong": ("x",), "connect": (("127.0.0.1", 9),),
    "connect_ex": (("127.0.0.1", 9),), "listen": (), "recv": (1,), "recv 0": (0,),
    "recv large": (100_000,), "recv waitall": (4, stdlib.MSG_WAITALL), "recv_into": (bytearray(1),),
    "recv_into 0": (bytearray(),), "recvfrom": (1,), "recvfrom_into": (bytearray(1),),
    "recvmsg": (1,), "recvmsg anc": (1, 64), "recvmsg_into": ([bytearray(1)],), "send": (b"x",),
    "send large": (bytes(100_000),), "send empty": (b"",), "sendall": (b"x",),
    "sendall empty": (b"",), "sendmsg": ([b"x"],), "sendmsg empty": ([],),
    "sendto": (b"x", ("127.0.0.1", 9)), "settimeout": (1,), "settimeout None": (None,),
    "settimeout wrong": ("x",), "setblocking": (False,), "shutdown": (2,), "gettimeout": (),
    "getblocking": (), "getsockname": (), "getpeername": (), "getsockopt": (1, 2),
    "setsockopt": (1, 2, 1), "fileno": (), "close": (), "detach": (), "dup": (),
    "get_inheritable": (), "set_inheritable": (True,), "makefile": (),
}  # fmt: skip


@pytest.mark.parametrize("how", ["close", "detach", "with"])
@pytest.mark.parametrize("timeout", [None, 1.0, 0.0])
@pytest.mark.parametrize("kind", ["tcp4", "unix", "udp4"])
def test_closed_socket(how: str, timeout: float | None, kind: str) -> None:
    def scenario(kit: Kit):
        told = []
        for name, args in VERBS.items():
            sock = kit.of(kind)
            sock.settimeout(timeout)
            if how == "detach":
                stdlib.close(sock.detach())
            elif how == "with":
                with sock:
                    pass
            else:
                sock.close()
            result = attempt(getattr(sock, name.split()[0]), *args)
            if name == "makefile":
                result = result[0]
            told.append((name, result))
        return told

    same(scenario)


@pytest.mark.parametrize("kind", [*STREAMS, "seqpacket", "udp4", "unix-dgram"])
@pytest.mark.parametrize("timeout", [None, 1.0, 0.0])
def test_fresh_socket_that_is_not_connected(kind: str, timeout: float | None) -> None:
    waits = {"udp4", "unix-dgram"}

    def scenario(kit: Kit):
        told = []
        for name, args in VERBS.items():
            verb = name.split()[0]
            if verb in ("bind", "connect", "connect_ex", "detach", "dup", "makefile", "close"):
                continue
            if kind in waits and verb.startswith(("recv", "accept")) and timeout != 0.0:
                continue  # it would wait for a datagram
            if (verb == "accept" and timeout) or ("sendto" in verb and kind != "unix"):
                continue  # the stdlib's polls before it asks the kernel
            sock = kit.of(kind)
            sock.settimeout(timeout)
            told.append((name, attempt(getattr(sock, verb), *args)))
            if verb == "fileno":
                told.pop()
            sock.close()
        return told

    same(scenario)


def test_file_descriptor_closed_behind_the_back() -> None:
    def scenario(kit: Kit):
        told = []
        for name, args in VERBS.items():
            if name.split()[0] in ("fileno", "detach", "makefile", "dup"):
                continue
            sock = kit.net.socket()
            stdlib.close(sock.fileno())
            told.append((name, attempt(getattr(sock, name.split()[0]), *args)))
            sock.detach()
        return told

    same(scenario)


@both
def test_arguments_that_play_tricks_while_they_are_converted(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair("unix")
        two.send(b"abcdefgh")
        buffer = bytearray(8)

        class Trick:
            def __index__(self) -> int:
                buffer.clear()
                return 8

        class Closes:
            def __index__(self) -> int:
                one.close()
                return 1

        with pytest.raises((BufferError, ValueError)):
            one.recv_into(buffer, Trick())
        with pytest.raises(OSError, match="Errno 9"):
            one.recv(Closes())


def test_sendmsg_sequence_that_closes_the_socket() -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair("unix")

        def parts():
            yield b"x"
            one.close()
            yield b"y"

        return attempt(one.sendmsg, parts())

    same(scenario)


def test_abstract_name_helper_is_unique() -> None:
    assert abstract_name() != abstract_name()
