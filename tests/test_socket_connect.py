# SPDX-License-Identifier: Apache-2.0
"""Making connections: connect, accept, bind, listen and the functions on top of them."""

import errno
import os
import socket as stdlib

import pytest

from socket_help import (
    HAS_IPV6,
    STREAMS,
    Background,
    Kit,
    abstract_name,
    attempt,
    both,
    family_of,
    same,
    until,
)

streams = pytest.mark.parametrize("kind", [*STREAMS, "seqpacket"])
tcp = pytest.mark.parametrize("kind", ["tcp4", "tcp6"])
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="no IPv6 loopback on this machine")
# Where the arguments are wrong the stdlib's function leaves its socket to the collector.
leaves_to_the_collector = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
TIMEOUTS = (None, 8.0, 0.0)


@streams
@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_connect_and_accept(kind: str, timeout: float | None) -> None:
    def scenario(kit: Kit):
        listener, client = kit.listener(kind), kit.of(kind)
        client.settimeout(timeout)
        first = attempt(client.connect, listener.getsockname())
        conn, address = listener.accept()
        kit.keep(conn)
        until(lambda: attempt(client.getpeername)[0] == "returned")
        again = attempt(client.connect, listener.getsockname())
        third = client.connect_ex(listener.getsockname())
        if kind.startswith("tcp"):
            assert address == client.getsockname()
            address = len(address)
        client.settimeout(None)
        conn.sendall(b"hello")
        return first, again, third, address, conn.gettimeout(), client.recv(5)

    same(scenario)


@streams
@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_accept_when_nobody_comes(kind: str, timeout: float | None) -> None:
    def scenario(kit: Kit):
        listener = kit.listener(kind)
        listener.settimeout(0.02 if timeout is None else timeout / 400)
        return attempt(listener.accept)

    same(scenario)


@streams
@pytest.mark.parametrize("timeout", [None, 8.0])
def test_accept_waits(kind: str, timeout: float | None) -> None:
    def scenario(kit: Kit):
        listener = kit.listener(kind)
        listener.settimeout(timeout)
        thread = Background(listener.accept).until_blocked()
        client = kit.of(kind)
        client.connect(listener.getsockname())
        conn, address = thread.finish()
        kit.keep(conn)
        return address == client.getsockname() or address, conn.gettimeout()

    same(scenario)


@tcp
@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_connect_refused(kind: str, timeout: float | None) -> None:
    def scenario(kit: Kit):
        nobody = kit.bound(kind)
        address = nobody.getsockname()
        client, other = kit.of(kind), kit.of(kind)
        client.settimeout(timeout)
        other.settimeout(timeout)
        told = [attempt(client.connect, address), other.connect_ex(address)]
        if timeout == 0.0:
            until(lambda: client.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_ERROR) == 111)
        return told

    same(scenario)


@pytest.mark.parametrize("kind", ["unix", "seqpacket", "unix-dgram"])
@pytest.mark.parametrize("timeout", TIMEOUTS)
def test_connect_to_a_name_nobody_has(kind: str, timeout: float | None) -> None:
    def scenario(kit: Kit):
        client = kit.of(kind)
        client.settimeout(timeout)
        folder = kit.folder()
        told = []
        for address in (f"{folder}/none", abstract_name(), folder, "/dev/null", ""):
            told.append(attempt(client.connect, address))
            told.append(attempt(client.connect_ex, address))
        return [part.replace(folder, "F") if isinstance(part, str) else part for part in told]

    same(scenario)


def test_connect_to_a_full_unix_listener() -> None:
    def scenario(kit: Kit):
        listener = kit.listener("unix", 0)
        first = kit.of("unix")
        first.connect(listener.getsockname())
        told = []
        for timeout in (0.0, 0.02):
            client = kit.of("unix")
            client.settimeout(timeout)
            told.append(attempt(client.connect, listener.getsockname()))
            told.append(client.connect_ex(listener.getsockname()))
        return told

    same(scenario)


def test_connect_waits_for_a_full_unix_listener() -> None:
    def scenario(kit: Kit):
        listener = kit.listener("unix", 0)
        first, second = kit.of("unix"), kit.of("unix")
        first.connect(listener.getsockname())
        thread = Background(second.connect, listener.getsockname()).until_blocked()
        kit.keep(listener.accept()[0])
        told = thread.finish()
        kit.keep(listener.accept()[0]).sendall(b"in")
        return told, second.recv(9)

    same(scenario)


@tcp
def test_connect_with_a_timeout_nobody_answers(kind: str) -> None:
    """A listener whose backlog is full answers nobody."""

    def scenario(kit: Kit):
        listener = kit.listener(kind, 0)
        for _ in range(4):
            filler = kit.of(kind)
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        told = []
        for timeout in (0.05, 0.0):
            one, two = kit.of(kind), kit.of(kind)
            one.settimeout(timeout)
            two.settimeout(timeout)
            told.append(attempt(one.connect, listener.getsockname()))
            told.append(two.connect_ex(listener.getsockname()))
            told.append(two.connect_ex(listener.getsockname()) if timeout == 0.0 else None)
        return told

    same(scenario)


@tcp
def test_nonblocking_connect_ends_in_select(kind: str) -> None:
    def scenario(kit: Kit):
        import select

        listener, client = kit.listener(kind), kit.of(kind)
        client.setblocking(False)
        told = [client.connect_ex(listener.getsockname())]
        select.select([], [client], [], 8)
        told.append(client.getsockopt(stdlib.SOL_SOCKET, stdlib.SO_ERROR))
        told.append(client.connect_ex(listener.getsockname()))
        told.append(client.connect_ex(listener.getsockname()))
        return told

    same(scenario)


def test_datagram_connect_and_disconnect() -> None:
    def scenario(kit: Kit):
        one, two = kit.bound("udp4"), kit.bound("udp4")
        one.connect(two.getsockname())
        told = [one.send(b"x"), two.recv(9), attempt(one.sendto, b"y", two.getsockname())]
        three = kit.bound("udp4")
        told.append(one.connect(three.getsockname()))
        return [*told, one.send(b"z"), three.recv(9), one.getpeername() == three.getsockname()]

    same(scenario)


@streams
def test_listen_backlog(kind: str) -> None:
    def scenario(kit: Kit):
        sock = kit.bound(kind)
        told = [
            attempt(sock.listen, *args)
            for args in [(), (5,), (0,), (-1,), (1 << 30,), (1 << 31,), (1 << 70,), ("x",), (1.5,),
                         (None,), (1, 2), (True,)]
        ]  # fmt: skip
        return [*told, attempt(kit.of("udp4").listen), attempt(sock.accept, 1)]

    same(scenario)


def test_accept_on_what_does_not_listen() -> None:
    def scenario(kit: Kit):
        told = []
        for kind in (*STREAMS, "udp4", "unix-dgram", "seqpacket"):
            sock = kit.of(kind)
            told.append(attempt(sock.accept))
            if kind in STREAMS:  # of a datagram socket the stdlib's would wait for a connection
                sock.settimeout(0.05)
                told.append(attempt(sock.accept))
        one, _two = kit.pair("unix")
        return [*told, attempt(one.accept)]

    same(scenario)


def test_bind_conflicts() -> None:
    def scenario(kit: Kit):
        told = []
        for kind in (*STREAMS, "udp4", "unix-dgram", "seqpacket"):
            first = kit.bound(kind)
            second = kit.of(kind)
            told.append(attempt(second.bind, first.getsockname()))
            if family_of(kind) != stdlib.AF_UNIX:
                told.append(attempt(first.bind, (kit.address(kind)[0], 0)))
        return told

    same(scenario)


@pytest.mark.parametrize("as_bytes", [False, True])
def test_unix_path(as_bytes: bool) -> None:
    def scenario(kit: Kit):
        folder = kit.folder()
        told = []
        for name in ("plain", "ümlaut", "\udcff", "x" * (107 - len(folder) - 1)):
            path: str | bytes = f"{folder}/{name}"
            path = os.fsencode(path) if as_bytes else path
            listener, client = kit.of("unix"), kit.of("unix")
            listener.bind(path)
            listener.listen()
            client.connect(bytearray(path) if as_bytes else path)
            conn, address = listener.accept()
            kit.keep(conn)
            name_again = listener.getsockname()
            told += [name_again.replace(folder, "F"), client.getpeername() == name_again, address]
            told.append(client.getsockname())
            told.append(attempt(kit.of("unix").bind, path))
        return told

    same(scenario)


def test_unix_names_that_do_not_fit() -> None:
    def scenario(kit: Kit):
        sock = kit.of("unix")
        told = []
        for name in ("x" * 108, b"x" * 108, "\0" + "x" * 108, b"\0" + b"x" * 200, "x" * 5000):
            for call in (sock.bind, sock.connect, sock.connect_ex):
                told.append(attempt(call, name))
            told.append(attempt(kit.of("unix-dgram").sendto, b"x", name))
        return told

    same(scenario)


def test_unix_names_with_nul() -> None:
    def scenario(kit: Kit):
        told = []
        for name in ("a\0b", b"a\0b", "\0", b"\0", "\0a\0b", bytearray(b"\0q\0\0")):
            sock, client = kit.of("unix"), kit.of("unix")
            folder = kit.folder()
            told.append(attempt(client.connect, name))
            if name[0] in ("\0", 0) and len(name) > 1:
                told.append(attempt(sock.bind, name))
                told.append(sock.getsockname())
            else:
                told.append(attempt(sock.bind, f"{folder}/" + "a\0b"))
                told.append(os.listdir(folder))
        return told

    same(scenario)


def test_unix_autobind() -> None:
    def scenario(kit: Kit):
        sock = kit.of("unix-dgram")
        sock.bind("")
        name = sock.getsockname()
        other = kit.of("unix-dgram")
        other.sendto(b"x", name)
        return type(name), name[:1], len(name), sock.recvfrom(9)

    same(scenario)


def test_unix_abstract_and_unnamed() -> None:
    def scenario(kit: Kit):
        name = abstract_name()
        listener, client = kit.of("unix"), kit.of("unix")
        listener.bind(name)
        listener.listen()
        client.connect(name.encode())
        conn, address = listener.accept()
        kit.keep(conn)
        return (
            listener.getsockname() == name.encode(), type(listener.getsockname()), address,
            client.getpeername() == name.encode(), client.getsockname(), conn.getpeername(),
        )  # fmt: skip

    same(scenario)


# ---- the functions of the module


@tcp
def test_create_connection(kind: str) -> None:
    def scenario(kit: Kit):
        net, listener = kit.net, kit.listener(kind)
        address = listener.getsockname()[:2]
        told = []
        for kwargs in [
            {}, {"timeout": None}, {"timeout": 3}, {"timeout": net._GLOBAL_DEFAULT_TIMEOUT},
            {"source_address": (address[0], 0)}, {"all_errors": True},
        ]:  # fmt: skip
            sock = kit.keep(net.create_connection(address, **kwargs))
            told.append(sock)
            kit.keep(listener.accept()[0])
        return told

    same(scenario)


@leaves_to_the_collector
def test_create_connection_failures() -> None:
    def scenario(kit: Kit):
        net = kit.net
        nobody = kit.bound("tcp4")
        port = nobody.getsockname()[1]
        told = []
        for all_errors in (False, True):
            for host in ("127.0.0.1", "localhost"):
                told.append(attempt(net.create_connection, (host, port), 5, all_errors=all_errors))
            for args in [
                (("127.0.0.1", port, 3),), (("127.0.0.1",),), ("127.0.0.1",), (7,), ((1, 2),),
                (("127.0.0.1", 70000),), (("127.0.0.1", -1),), (("127.0.0.1", "no-service"),),
                (("127.0.0.1", port), -1), (("127.0.0.1", port), "x"),
                (("127.0.0.1", port), 1, ("127.0.0.1", "x")), (("127.0.0.1", port), 1, 5),
                (("not an address", port),), (("127.0.0.1", None),), (("300.300.300.300", 1),),
            ]:  # fmt: skip
                told.append(attempt(net.create_connection, *args, all_errors=all_errors))
        return repr(told).replace(str(port), "PORT")

    same(scenario)


@both
def test_create_connection_leaves_nothing_behind_when_it_fails(net) -> None:
    with Kit(net) as kit:
        port = kit.bound("tcp4").getsockname()[1]
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(ConnectionRefusedError):
                net.create_connection(("127.0.0.1", port))
        assert len(os.listdir("/proc/self/fd")) == before


def option(sock, level: int, name: int) -> int:
    return sock.getsockopt(level, name)


@leaves_to_the_collector
@needs_ipv6
def test_create_server() -> None:
    def scenario(kit: Kit):
        net = kit.net
        told = [net.has_dualstack_ipv6()]
        for kwargs in [
            {}, {"backlog": 0}, {"backlog": 5}, {"reuse_port": True}, {"family": net.AF_INET6},
            {"family": net.AF_INET6, "dualstack_ipv6": True}, {"dualstack_ipv6": True},
            {"family": net.AF_UNIX}, {"backlog": "x"}, {"colour": 1},
        ]:  # fmt: skip
            host = "::1" if kwargs.get("family") == net.AF_INET6 else "127.0.0.1"
            if kwargs.get("family") == net.AF_INET6 and kwargs.get("dualstack_ipv6"):
                host = ""
            made = []

            def make(address=(host, 0), kwargs=kwargs, made=made):
                made.append(kit.keep(net.create_server(address, **kwargs)))
                return made[0]

            told.append(attempt(make))
            for sock in made:
                told.append(option(sock, net.SOL_SOCKET, net.SO_REUSEADDR))
                told.append(option(sock, net.SOL_SOCKET, net.SO_REUSEPORT))
                if sock.family == net.AF_INET6:
                    told.append(option(sock, net.IPPROTO_IPV6, net.IPV6_V6ONLY))
        return told

    same(scenario)


@both
@needs_ipv6
def test_dualstack_server_takes_both(net) -> None:
    with Kit(net) as kit:
        server = kit.keep(net.create_server(("", 0), family=net.AF_INET6, dualstack_ipv6=True))
        port = server.getsockname()[1]
        for host, seen in [("127.0.0.1", "::ffff:127.0.0.1"), ("::1", "::1")]:
            kit.keep(net.create_connection((host, port)))
            conn, address = server.accept()
            kit.keep(conn)
            assert address[0] == seen


def test_create_server_conflict_names_the_address() -> None:
    def scenario(kit: Kit):
        first = kit.keep(kit.net.create_server(("127.0.0.1", 0)))
        port = first.getsockname()[1]
        told = attempt(kit.net.create_server, ("127.0.0.1", port))
        return repr(told).replace(str(port), "PORT")

    same(scenario)


@leaves_to_the_collector
def test_socketpair_arguments() -> None:
    def scenario(kit: Kit):
        net = kit.net
        told = []
        for args in [
            (), (net.AF_UNIX,), (None, net.SOCK_DGRAM), (net.AF_UNIX, net.SOCK_SEQPACKET),
            (net.AF_INET,), (net.AF_UNIX, 77), ("x",), (net.AF_UNIX, 1, 5), (1, 2, 3, 4),
        ]:  # fmt: skip
            made = attempt(net.socketpair, *args)
            told.append(made)
            if made[0] == "returned":
                one, two = map(kit.keep, net.socketpair(*args))
                told.append((one.get_inheritable(), one.getsockname(), two.getpeername()))
        return told

    same(scenario)


@both
def test_fromfd_duplicates(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        again = kit.keep(net.fromfd(one.fileno(), net.AF_UNIX, net.SOCK_STREAM))
        assert again.fileno() != one.fileno()
        assert not again.get_inheritable()
        one.close()
        two.send(b"x")
        assert again.recv(1) == b"x"
        with pytest.raises(OSError, match="Errno 9"):
            net.fromfd(-1, net.AF_UNIX, net.SOCK_STREAM)


@both
def test_netlink_is_the_base_classes_business(net) -> None:
    """A family the core does not know: address and data as the stdlib has them."""
    with Kit(net) as kit:
        sock = kit.socket(net.AF_NETLINK, net.SOCK_RAW, 0)
        sock.bind((0, 0))
        assert sock.getsockname()[1] == 0
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recvfrom(10)
        request = (16).to_bytes(4, "little") + (3).to_bytes(2, "little") + b"\1\0" + bytes(8)
        assert sock.sendto(request, (0, 0)) == 16
        with pytest.raises(TypeError, match="AF_NETLINK address must be tuple"):
            sock.sendto(request, "x")
        assert sock.connect_ex((0, 0)) == 0


@both
def test_ipv6_scope_and_flow(net) -> None:
    if not HAS_IPV6:
        pytest.skip("no IPv6 loopback on this machine")
    with Kit(net) as kit:
        one, two = kit.of("udp6"), kit.of("udp6")
        one.bind(("::1", 0, 0, 0))
        name = one.getsockname()
        assert name[2:] == (0, 0)
        two.sendto(b"x", (name[0], name[1], 0, 0))
        two.sendto(b"y", ("::1", name[1], 7))
        assert one.recvfrom(9)[1][0] == "::1"
        assert errno.EINVAL == 22
