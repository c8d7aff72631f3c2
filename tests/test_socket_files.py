# SPDX-License-Identifier: Apache-2.0
"""makefile, sendfile, dup, detach: the socket as a file, and more than one owner of one."""

import io
import os
import socket as stdlib
import ssl
import subprocess
import sys
import tempfile

import pytest

from ipcx import socket as ours
from socket_help import Background, Kit, attempt, both, same, take


@pytest.mark.parametrize("mode", ["r", "w", "rw", "rb", "wb", "rwb", "b", ""])
@pytest.mark.parametrize("buffering", [None, 0, 1, -1, 4096])
def test_makefile_types(mode: str, buffering: int | None) -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair()

        def make():
            file = kit.keep(one.makefile(mode, buffering, encoding=None if "b" in mode else "utf8"))
            return type(file), file.readable(), file.writable(), getattr(file, "mode", None)

        return attempt(make)

    same(scenario)


@both
def test_makefile_text_and_binary(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair("tcp4")
        writer = kit.keep(one.makefile("w", encoding="utf-8", newline="\r\n"))
        reader = kit.keep(two.makefile("r", encoding="utf-8", newline=None))
        print("grüße", "zwei", sep="\n", file=writer, flush=True)
        assert reader.readline() == "grüße\n"
        assert reader.readline() == "zwei\n"
        with one.makefile("rwb") as both_ways:
            both_ways.write(b"x" * 100_000)
            answer = Background(take, two, 100_000)
            both_ways.flush()
            assert answer.finish() == b"x" * 100_000
            two.sendall(b"back\nmore")
            two.shutdown(net.SHUT_WR)
            assert list(both_ways) == [b"back\n", b"more"]


@both
def test_file_keeps_the_socket_open(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        file = one.makefile("rb")
        one.close()
        assert one.fileno() >= 0
        assert "[closed]" in repr(one)
        two.sendall(b"line\n")
        assert file.readline() == b"line\n"
        file.close()
        assert one.fileno() == -1
        with pytest.raises(ValueError, match="closed file"):
            file.read()


@both
def test_many_files_of_one_socket(net) -> None:
    with Kit(net) as kit:
        one, _two = kit.pair()
        files = [one.makefile("rb", buffering=0) for _ in range(3)]
        one.close()
        for file in files:
            assert one.fileno() >= 0
            file.close()
            file.close()
        assert one.fileno() == -1


@both
def test_nonblocking_file(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        one.setblocking(False)
        raw = kit.keep(one.makefile("rwb", buffering=0))
        assert raw.read(1) is None
        two.sendall(b"abc")
        assert raw.read(2) == b"ab"
        assert raw.write(bytes(8 << 20)) > 0
        assert raw.write(b"x") is None


@both
def test_readinto_and_peek_through_a_buffer(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        file = kit.keep(one.makefile("rb"))
        two.sendall(b"0123456789")
        assert file.peek(1)[:1] == b"0"
        buffer = bytearray(4)
        assert file.readinto(buffer) == 4
        assert buffer == b"0123"
        assert isinstance(file, io.BufferedReader)


# ---- sendfile


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(bytes(range(256)) * 4096)
    with path.open("rb") as opened:
        yield opened


@pytest.mark.parametrize("kind", ["unix", "tcp4"])
@pytest.mark.parametrize("timeout", [None, 8.0])
@pytest.mark.parametrize(
    ("offset", "count"), [(0, None), (5, None), (0, 1000), (7, 1 << 30), (1 << 20, None), (3, 1)]
)
def test_sendfile(file, kind: str, timeout: float | None, offset: int, count: int | None) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair(kind)
        one.settimeout(timeout)
        reader = Background(take, two, 1 << 21)
        sent = one.sendfile(file, offset, count)
        one.shutdown(stdlib.SHUT_WR)
        return sent, file.tell(), reader.finish()

    same(scenario)


def test_sendfile_of_what_is_no_regular_file() -> None:
    def scenario(kit: Kit):
        one, two = kit.pair()
        memory = io.BytesIO(b"0123456789" * 1000)
        sent = [one.sendfile(memory), memory.tell(), one.sendfile(memory, 5, 7), memory.tell()]
        return sent, take(two, 10_007)

    same(scenario)


def test_sendfile_wrong_arguments(file, tmp_path) -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair()
        datagram, _ = kit.pair("udp4")
        told = [attempt(one.sendfile, file, 0, count) for count in (0, -1, "x", 1.5)] + [
            attempt(one.sendfile, 5),
            attempt(datagram.sendfile, file),
            attempt(one.sendfile),
        ]
        with (tmp_path / "content").open(encoding="latin1") as text:
            told.append(attempt(one.sendfile, text))
        one.setblocking(False)
        told.append(attempt(one.sendfile, file))
        one.close()
        told.append(attempt(one.sendfile, file))
        return told

    same(scenario)


def test_sendfile_times_out() -> None:
    def scenario(kit: Kit):
        one, _two = kit.pair()
        one.settimeout(0.05)
        with tempfile.TemporaryFile() as big:
            big.truncate(64 << 20)
            told = attempt(one.sendfile, big)
            return told, big.tell() > 0

    same(scenario)


def test_sendfile_to_a_peer_that_is_gone(file) -> None:
    def scenario(kit: Kit):
        one, two = kit.pair()
        two.close()
        return attempt(one.sendfile, file)

    same(scenario)


# ---- more than one owner


@both
def test_dup_shares_the_connection_and_not_the_object(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        one.settimeout(3)
        copy = kit.keep(one.dup())
        assert (copy.gettimeout(), copy.family, copy.type) == (3, one.family, one.type)
        assert not copy.get_inheritable()
        one.close()
        two.sendall(b"x")
        assert copy.recv(9) == b"x"


@both
def test_detached_descriptor_lives_on(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        again = kit.keep(net.socket(fileno=one.detach()))
        two.sendall(b"x")
        assert again.recv(9) == b"x"
        one.close()
        two.sendall(b"y")
        assert again.recv(9) == b"y"


@both
def test_descriptor_is_not_inherited(net) -> None:
    with Kit(net) as kit:
        one, _two = kit.pair()
        listener = kit.listener("tcp4")
        client = kit.of("tcp4")
        client.connect(listener.getsockname())
        conn = kit.keep(listener.accept()[0])
        made = [one, listener, client, conn, kit.keep(one.dup()), kit.keep(conn.dup())]
        made.append(kit.keep(net.fromfd(one.fileno(), one.family, one.type)))
        assert not [sock for sock in made if sock.get_inheritable()]
        code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
        command = [sys.executable, "-c", code]
        out = subprocess.run(command, stdout=subprocess.PIPE, close_fds=False, check=True).stdout
        inherited = set(map(int, out.decode().strip("[]\n").split(",")))
        assert not inherited & {sock.fileno() for sock in made}


@both
def test_inheritable_on_request(net) -> None:
    with Kit(net) as kit:
        one, two = kit.pair()
        code = "import os, sys; os.write(int(sys.argv[1]), b'from the child')"
        number = one.fileno()
        subprocess.run([sys.executable, "-c", code, str(number)], pass_fds=[number], check=True)
        assert two.recv(99) == b"from the child"


# ---- ssl takes it


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout", folder / "key",
         "-out", folder / "cert"],
        capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl(1) makes no certificate here")
    return folder


@pytest.mark.leaves_behind("names")  # the certificate's folder is the module's
@pytest.mark.parametrize("timeout", [None, 8.0])
def test_ssl_over_our_socket(certificate, timeout: float | None) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate / "cert", certificate / "key")
    client = ssl.create_default_context(cafile=certificate / "cert")
    with Kit(ours) as kit:
        one, two = kit.pair("tcp4")
        one.settimeout(timeout)
        two.settimeout(timeout)
        wrapped = Background(server.wrap_socket, two, server_side=True)
        mine = kit.enter_context(client.wrap_socket(one, server_hostname="localhost"))
        theirs = kit.enter_context(wrapped.finish())
        mine.sendall(b"secret")
        assert theirs.recv(99) == b"secret"
        assert isinstance(theirs, stdlib.socket)
        assert theirs.gettimeout() == timeout


def test_os_functions_take_the_descriptor() -> None:
    with Kit(ours) as kit:
        one, two = kit.pair()
        os.write(one.fileno(), b"x")
        assert os.read(two.fileno(), 9) == b"x"
