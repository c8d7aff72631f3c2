# SPDX-License-Identifier: Apache-2.0
"""The module and the type as such: names, identities, what makes which type, subclasses, repr."""

import copy
import gc
import inspect
import io
import pickle
import socket as stdlib
import sys
import warnings
import weakref
from unittest import mock

import pytest

from ipcx import _core
from ipcx import socket as ours
from socket_help import Kit, both, same

FUNCTIONS_THAT_MAKE = {
    "create_connection",
    "create_server",
    "fromfd",
    "has_dualstack_ipv6",
    "socketpair",
    "_fallback_socketpair",  # since 3.13
} & vars(stdlib).keys()


def test_every_name_of_the_stdlib_is_there() -> None:
    assert set(stdlib.__all__) <= set(ours.__all__)
    assert not [name for name in stdlib.__all__ if not hasattr(ours, name)]
    missing = {n for n in vars(stdlib) if not n.startswith("__")} - set(vars(ours))
    assert not missing


def test_what_makes_no_socket_is_the_very_same_object() -> None:
    different = {
        name
        for name, value in vars(stdlib).items()
        if not name.startswith("__") and getattr(ours, name) is not value
    }
    assert different == FUNCTIONS_THAT_MAKE | {"socket"}


@pytest.mark.parametrize(
    "name",
    ["error", "timeout", "gaierror", "herror", "AddressFamily", "SocketKind", "MsgFlag",
     "AddressInfo", "gethostbyname", "inet_aton", "ntohs", "SocketType", "SocketIO",
     "_GLOBAL_DEFAULT_TIMEOUT", "setdefaulttimeout", "getdefaulttimeout", "has_ipv6", "CAPI"],
)  # fmt: skip
def test_identity(name: str) -> None:
    assert getattr(ours, name) is getattr(stdlib, name)


@pytest.mark.parametrize("name", sorted(FUNCTIONS_THAT_MAKE))
def test_function_has_the_same_face(name: str) -> None:
    mine, theirs = getattr(ours, name), getattr(stdlib, name)
    assert mine.__doc__ == theirs.__doc__
    assert mine.__name__ == theirs.__name__
    assert inspect.signature(mine) == inspect.signature(theirs)
    if name != "socketpair":  # a step of the core's
        assert mine.__code__ is theirs.__code__


def test_type_is_a_subclass_of_the_stdlibs() -> None:
    assert issubclass(ours.socket, stdlib.socket)
    assert ours.socket is not stdlib.socket
    assert ours.socket.__mro__[1:] == stdlib.socket.__mro__
    assert ours.socket.__name__ == "socket"
    assert ours.socket.__module__ == "ipcx.socket"
    assert ours.socket is _core.socket


def test_every_attribute_of_the_type_is_there() -> None:
    assert set(dir(stdlib.socket)) <= set(dir(ours.socket))


@pytest.mark.parametrize(
    "verb",
    [
        "accept",
        "bind",
        "close",
        "connect",
        "connect_ex",
        "detach",
        "listen",
        "recv",
        "recv_into",
        "recvfrom",
        "recvfrom_into",
        "recvmsg",
        "recvmsg_into",
        "send",
        "sendall",
        "sendmsg",
        "sendto",
        "setblocking",
        "settimeout",
        "shutdown",
    ],
)
def test_verb_is_the_cores(verb: str) -> None:
    assert verb in vars(ours.socket)
    assert getattr(ours.socket, verb).__doc__
    assert getattr(ours.socket, verb).__name__ == verb


@both
def test_no_dict_and_no_new_attributes(net) -> None:
    with net.socket() as sock:
        assert not hasattr(sock, "__dict__")
        with pytest.raises(AttributeError, match="no attribute 'extra'"):
            sock.extra = 1


@both
def test_weak_reference(net) -> None:
    sock = net.socket()
    gone: list[int] = []
    reference = weakref.ref(sock, lambda _: gone.append(1))
    assert reference() is sock
    sock.close()
    del sock
    assert reference() is None
    assert gone == [1]


@both
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_refuses_to_be_pickled(net, protocol: int) -> None:
    with net.socket() as sock:
        # With protocols 0 and 1 the stdlib's says so in an accidental way.
        with pytest.raises(TypeError, match=r"cannot (pickle 'socket'|be interpreted)"):
            pickle.dumps(sock, protocol)
        with pytest.raises(TypeError, match=r"cannot pickle 'socket' object"):
            copy.copy(sock)


def test_repr_says_the_module_and_else_the_same() -> None:
    def scenario(kit: Kit):
        one, two = kit.pair("tcp4")
        texts = []
        for sock in (one, two, kit.socket(stdlib.AF_UNIX, stdlib.SOCK_DGRAM), *kit.pair("unix")):
            text = repr(sock).replace(f"fd={sock.fileno()}", "fd=N")
            for name in (sock.getsockname, sock.getpeername):
                try:
                    text = text.replace(f"addr={name() or '-'}", "addr=NAME")
                except OSError:
                    text += " no name"
            texts.append(text.replace("ipcx.socket.socket", "socket.socket"))
            sock.close()
            texts.append(repr(sock).replace("ipcx.socket.socket", "socket.socket"))
        return texts

    same(scenario)
    with ours.socket() as sock:
        assert repr(sock).startswith("<ipcx.socket.socket fd=")


@both
def test_resource_warning_text(net) -> None:
    sock = net.socket()
    text = repr(sock)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del sock
        gc.collect()
    assert [(w.category, str(w.message)) for w in caught] == [(ResourceWarning, f"unclosed {text}")]


@both
def test_no_warning_for_a_closed_or_detached_one(net, recwarn) -> None:
    net.socket().close()
    sock = net.socket()
    net.close(sock.detach())
    del sock
    with net.socket():
        pass
    gc.collect()
    assert not recwarn.list


class Sub:
    """What a subclass may do, for either base."""

    @staticmethod
    def of(net):
        class Mine(net.socket):
            def __init__(self, *args, **kwargs) -> None:
                super().__init__(*args, **kwargs)
                self.calls: list[str] = []

            def _real_close(self, *args) -> None:
                self.calls.append("_real_close")
                super()._real_close(*args)

            def recv_into(self, *args) -> int:
                self.calls.append("recv_into")
                return super().recv_into(*args)

        return Mine


@both
def test_subclass_overrides_real_close_and_recv_into(net) -> None:
    mine = Sub.of(net)
    one, two = net.socketpair()
    with mine(fileno=one.detach()) as sock, two:
        two.sendall(b"line\n")
        with sock.makefile("rb") as file:
            assert file.readline() == b"line\n"
            sock.close()
            assert sock.calls == ["recv_into"]
            assert sock.fileno() != -1
        assert sock.calls == ["recv_into", "_real_close"]
        assert sock.fileno() == -1


@both
def test_subclass_dup_keeps_the_class(net) -> None:
    with Sub.of(net)() as sock, sock.dup() as copied:
        assert type(copied) is type(sock)
        assert copied.fileno() != sock.fileno()


@both
def test_subclass_accepts_the_modules_own_type(net) -> None:
    with Sub.of(net)() as listener, net.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        conn, _ = listener.accept()
        with conn:
            assert type(conn) is net.socket


@both
def test_subclass_whose_init_never_calls_ours(net) -> None:
    class Lazy(net.socket):
        def __init__(self) -> None:
            pass

    sock = Lazy()
    assert sock.fileno() == -1
    for verb, args in [("recv", (1,)), ("send", (b"x",)), ("accept", ()), ("listen", ())]:
        with pytest.raises(OSError, match=r"\[Errno 9\]|bad family"):
            getattr(sock, verb)(*args)
    # The class has no _closed yet, and says so as the stdlib's does.
    assert "[closed]" not in repr(sock)


@both
def test_init_twice_takes_the_new_descriptor(net) -> None:
    one, two = net.socketpair()
    with one, two:
        old = one.fileno()
        one.__init__(net.AF_INET, net.SOCK_DGRAM)
        net.close(old)
        assert one.type == net.SOCK_DGRAM
        one.bind(("127.0.0.1", 0))
        one.sendto(b"me", one.getsockname())
        assert one.recv(2) == b"me"


@both
def test_uninitialised_object(net) -> None:
    sock = net.socket.__new__(net.socket)
    assert sock.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        sock.recv(1)
    del sock


@both
def test_what_the_module_makes_is_its_own_type(net) -> None:
    with net.create_server(("127.0.0.1", 0)) as server:
        assert type(server) is net.socket
        with net.create_connection(server.getsockname()) as client:
            assert type(client) is net.socket
            conn, _ = server.accept()
            with conn, conn.dup() as again:
                assert type(conn) is net.socket
                assert type(again) is net.socket
                with net.fromfd(conn.fileno(), net.AF_INET, net.SOCK_STREAM) as other:
                    assert type(other) is net.socket
    for sock in net.socketpair():
        with sock:
            assert type(sock) is net.socket


@both
def test_globals_can_be_replaced_by_tests(net) -> None:
    """As programs' tests do with mock.patch("socket.socket")."""
    with mock.patch.object(net, "socket") as fake:
        made = net.create_connection(("127.0.0.1", 9), timeout=3)
    assert made is fake.return_value
    made.connect.assert_called_once_with(("127.0.0.1", 9))
    made.settimeout.assert_called_once_with(3)
    refuse = mock.patch.object(net, "getaddrinfo", side_effect=net.gaierror(-2, "no"))
    with refuse, pytest.raises(net.gaierror):
        net.create_connection(("127.0.0.1", 9))


@both
def test_methods_can_be_replaced_on_the_type(net) -> None:
    refused = ConnectionRefusedError(111, "x")
    refuse = mock.patch.object(net.socket, "connect", side_effect=refused)
    with refuse, pytest.raises(ConnectionRefusedError):
        net.create_connection(("127.0.0.1", 9))
    assert "connect" in vars(net.socket) or net is stdlib


@both
def test_family_and_type_are_enums(net) -> None:
    with net.socket(net.AF_INET6, net.SOCK_DGRAM) as sock:
        assert sock.family is net.AddressFamily.AF_INET6
        assert sock.type is net.SocketKind.SOCK_DGRAM
        assert sock.proto == 0


@both
def test_inheritable(net) -> None:
    with net.socket() as sock:
        assert sock.get_inheritable() is False
        sock.set_inheritable(True)
        assert sock.get_inheritable() is True


@both
def test_fileno_and_close_and_detach(net) -> None:
    sock = net.socket()
    number = sock.fileno()
    assert number >= 0
    assert sock.detach() == number
    assert sock.fileno() == -1
    assert sock.detach() == -1
    assert sock.close() is None
    net.close(number)
    sock = net.socket()
    sock.close()
    sock.close()
    assert sock.fileno() == -1
    assert "[closed]" in repr(sock)


@both
def test_with_closes(net) -> None:
    with net.socket() as sock:
        assert sock.fileno() >= 0
    assert sock.fileno() == -1
    with pytest.raises(ZeroDivisionError), net.socket() as sock:
        1 / 0  # noqa: B018
    assert sock.fileno() == -1


def test_constructor_arguments() -> None:
    def scenario(kit: Kit):
        told = []
        for args, kwargs in [
            ((), {}), ((stdlib.AF_INET,), {}), ((2, 1), {}), ((2, 1, 6), {}), ((-1, -1, -1), {}),
            ((), {"family": 10}), ((), {"type": 2}), ((), {"proto": 17, "type": 2}),
            ((2, 2049), {}), ((2, 1 | stdlib.SOCK_CLOEXEC), {}), ((True, True), {}),
            ((2, 77), {}), ((99, 1), {}), ((2, 1, 255), {}), (("inet",), {}), ((2, "x"), {}),
            ((2, 1, 0, None, 5), {}), ((), {"fileno": "x"}), ((), {"fileno": -1}),
            ((), {"fileno": 1 << 40}), ((), {"fileno": 99999}), ((), {"colour": 1}),
            ((2,), {"family": 2}), ((1 << 40,), {}), ((2.0,), {}), ((None,), {}),
            ((), {"fileno": 1.5}), ((), {"fileno": -2}), ((-5,), {}), ((2, -3), {}),
        ]:  # fmt: skip
            try:
                sock = kit.net.socket(*args, **kwargs)
            except Exception as error:
                told.append((type(error), error.args, str(error)))
            else:
                with sock:
                    told.append(
                        (sock.family, sock.type, sock.proto, sock.gettimeout(),
                         sock.get_inheritable(), type(sock.family), type(sock.type))
                    )  # fmt: skip
        return told

    same(scenario)


@both
def test_fileno_argument_detects_family_type_and_proto(net) -> None:
    for family, kind in [(net.AF_INET, net.SOCK_STREAM), (net.AF_UNIX, net.SOCK_SEQPACKET),
                         (net.AF_INET6, net.SOCK_DGRAM)]:  # fmt: skip
        first = net.socket(family, kind)
        with net.socket(fileno=first.detach()) as sock:
            assert (sock.family, sock.type) == (family, kind)
            assert sock.gettimeout() is None


@both
def test_fileno_argument_refuses_a_file(net, tmp_path) -> None:
    with (tmp_path / "f").open("wb") as file, pytest.raises(OSError, match=r"Errno 88") as info:
        net.socket(fileno=file.fileno())
    assert info.value.errno == 88


@both
def test_a_socket_keeps_its_class_alive_and_is_seen_by_gc_as_the_stdlibs(net) -> None:
    class Mine(net.socket):
        pass

    reference = weakref.ref(Mine)
    sock = Mine()
    sock.me = sock
    sock.close()
    del sock, Mine
    gc.collect()
    assert reference() is None


def test_size_is_reported() -> None:
    with ours.socket() as sock:
        assert sys.getsizeof(sock) >= sys.getsizeof(stdlib.socket.__new__(stdlib.socket))


@both
def test_socketio_is_the_stdlibs(net) -> None:
    one, two = net.socketpair()
    with one, two, one.makefile("rb", buffering=0) as raw:
        assert type(raw) is stdlib.SocketIO
        assert isinstance(raw, io.RawIOBase)
        assert raw.name == one.fileno()
