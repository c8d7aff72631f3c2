"""One protocol in three languages: all clients understand all servers, which bear odd clients.

Each server is started once and serves whole tests one after the other, as it is meant to.
"""

import contextlib
import itertools
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipcx import _examples
from ipcx.tour import engine, languages, ports
from ipcx.tour.model import IPCX, JAVA, STDLIB, C
from ipcx.tour.stations import STATIONS

EVERYTHING = (STDLIB, IPCX, C, JAVA)
HUNG = 60  # for one program, on a busy machine: a hang guard, not a bound
LONG = "".join(itertools.islice(itertools.cycle("a long line of many words, "), 10_000))
LINES = {"short": "Hello from the keyboard!", "long": LONG}
BY_NAME = {station.name: station for station in STATIONS}

pytestmark = pytest.mark.hang_guard(2 * HUNG)


class Workshop:
    """The examples, copied out, with free ports in them, and compiled where they must be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = engine.environment()
        self.tcp, self.udp = ports.free_port(()), 0
        self.udp = ports.free_port((self.tcp,))
        for name in ("upper_tcp", "upper_udp"):
            for source in (_examples.folder() / name).iterdir():
                if source.is_file():
                    copy = folder / name / source.name
                    copy.parent.mkdir(exist_ok=True)
                    new = {6789: self.tcp, 9876: self.udp}
                    copy.write_text(ports.renumbered(source.read_text(), new))
        for on in (C, JAVA):
            if languages.lacks(on) is None:
                sources = sorted(folder.glob(f"*/*.{on}"))
                assert languages.build(on, sources, self.env) is None

    def command(self, name: str, role: str, on: str) -> list[str]:
        """Of the client or the server of a station, on that; skips where the machine lacks it."""
        if (why := languages.lacks(on)) is not None:
            pytest.skip(why)
        actor = next(actor for actor in BY_NAME[name].actors if actor.name == role)
        return engine.command(actor, self.folder / actor.source(on), on)

    def run(self, name: str, role: str, on: str, line: str) -> subprocess.CompletedProcess[str]:
        return self.execute(self.command(name, role, on), line)

    def java(self, program: str, line: str) -> str:
        """What a client in Java says when that line is typed."""
        command = languages.LANGUAGES[JAVA].command(self.folder / "upper_udp" / program)
        done = self.execute(command, line)
        assert done.returncode == 0
        return done.stdout

    def execute(self, command: list[str], line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=line + "\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env,
            timeout=HUNG,
        )

    @contextlib.contextmanager
    def serving(self, command: list[str], kind: str) -> Iterator[None]:
        """While a server runs, which must be there to the end and go by SIGTERM."""
        with open(self.folder / "said", "wb") as said:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=self.env
            )
        try:
            while not (ports.listens(self.tcp) if kind == "tcp" else ports.receives(self.udp)):
                assert process.poll() is None, (self.folder / "said").read_text()
                time.sleep(engine.LOOK_AGAIN)
            yield
            assert process.poll() is None, (self.folder / "said").read_text()
            process.terminate()
            assert process.wait(HUNG) in (-15, 128 + 15)  # a JVM says it in its own way
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def other_ports(tmp_path_factory) -> Workshop:
    """A second workshop, in which no server runs unless a test starts one."""
    return Workshop(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module", params=EVERYTHING)
def tcp_server(request, workshop) -> Iterator[str]:
    with workshop.serving(workshop.command("upper_tcp", "server", request.param), "tcp"):
        yield request.param


@pytest.fixture(scope="module", params=EVERYTHING)
def udp_server(request, workshop) -> Iterator[str]:
    with workshop.serving(workshop.command("upper_udp", "server", request.param), "udp"):
        yield request.param


# ---------------------------------------------------------------- all with all


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("client", EVERYTHING)
def test_every_client_understands_every_server_over_tcp(workshop, tcp_server, client, line):
    done = workshop.run("upper_tcp", "client", client, LINES[line])
    assert done.stdout == f"FROM SERVER: {LINES[line].upper()}\n"
    assert done.returncode == 0


@pytest.mark.parametrize("client", EVERYTHING)
def test_every_client_understands_every_server_over_udp(workshop, udp_server, client):
    done = workshop.run("upper_udp", "client", client, LINES["short"])
    assert done.stdout == f"FROM SERVER:{LINES['short'].upper()}\n"
    assert done.returncode == 0


# ---------------------------------------------------------------- TCP: a stream of bytes


@pytest.fixture
def tcp(workshop, tcp_server) -> Iterator[socket.socket]:
    with dial(workshop) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield s


def dial(workshop: Workshop) -> socket.socket:
    return socket.create_connection(("127.0.0.1", workshop.tcp), timeout=HUNG)


def answer(s: socket.socket) -> bytes:
    """All that the server says until it hangs up."""
    return b"".join(iter(lambda: s.recv(65536), b""))


def test_a_line_that_comes_byte_by_byte_is_put_together(tcp):
    for byte in b"byte by byte":
        tcp.send(bytes([byte]))
    tcp.setblocking(False)
    with pytest.raises(BlockingIOError):
        tcp.recv(1)
    tcp.settimeout(HUNG)
    tcp.send(b"\n")
    assert answer(tcp) == b"BYTE BY BYTE\n"


RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"half a li", b"a whole line\n"])
def test_after_a_client_that_has_gone_the_next_one_is_served(workshop, tcp_server, sent, how):
    for _ in range(3):
        with dial(workshop) as gone:
            gone.sendall(sent)
            if how == "reset":
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with dial(workshop) as next_one:
        next_one.sendall(b"next\n")
        assert answer(next_one) == b"NEXT\n"


def test_clients_are_served_one_after_the_other(workshop, tcp_server):
    with dial(workshop) as first, dial(workshop) as second:
        second.sendall(b"second\n")
        first.sendall(b"first\n")
        assert answer(first) == b"FIRST\n"
        assert answer(second) == b"SECOND\n"


@pytest.mark.parametrize("client", EVERYTHING)
def test_in_how_many_segments_a_line_is_sent(other_ports, client):
    """Java's writeBytes() writes each byte on its own; the kernel sends the first one at once."""
    command = other_ports.command("upper_tcp", "client", client)
    with socket.create_server(("127.0.0.1", other_ports.tcp)) as listener:
        listener.settimeout(HUNG)
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": other_ports.env}
        with subprocess.Popen(command, **options) as process:
            conn, _ = listener.accept()
            with conn, conn.makefile("rb") as lines:
                process.stdin.write(b"byte by byte\n")
                process.stdin.flush()
                assert lines.readline() == b"byte by byte\n"
                info = conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
                (segments,) = struct.unpack_from("I", info, 152)  # tcpi_data_segs_in
                conn.sendall(b"answer\n")
            assert process.communicate(timeout=HUNG)[0] == b"FROM SERVER: answer\n"
    assert segments > 1 if client == JAVA else segments == 1


# ---------------------------------------------------------------- UDP: datagrams


@pytest.fixture
def udp(workshop, udp_server) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(HUNG)
        s.connect(("127.0.0.1", workshop.udp))
        yield s


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 9000])
def test_a_datagram_is_answered_up_to_1024_bytes(udp, size):
    sent = LONG[:size].encode()
    udp.send(sent)
    assert udp.recv(65536) == sent[:1024].upper()


def test_a_shorter_datagram_after_a_longer_one_is_as_it_was_sent(udp):
    for sent in (b"my secret password", b"hello", b""):
        udp.send(sent)
        assert udp.recv(65536) == sent.upper()


def test_one_socket_answers_each_to_its_own_address(workshop, udp, udp_server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.settimeout(HUNG)
        other.sendto(b"other", ("127.0.0.1", workshop.udp))
        udp.send(b"one")
        assert udp.recv(65536) == b"ONE"
        assert other.recv(65536) == b"OTHER"


def test_the_slides_getdata_pads_with_nul_and_getlength_cures_it(other_ports):
    if (why := languages.lacks(JAVA)) is not None:
        pytest.skip(why)
    server = languages.LANGUAGES[JAVA].command(other_ports.folder / "upper_udp" / "UDPServer.java")
    with other_ports.serving(server, "udp"):
        assert other_ports.java("UDPClient.java", "hello") == "FROM SERVER:HELLO\n"
        assert other_ports.java("UDPClientPadded.java", "hello") == (
            "FROM SERVER:HELLO" + "\0" * 1019 + "\nThese are 1024 characters.\n"
        )
    server[-1] = "UDPServerPadded"
    with other_ports.serving(server, "udp"):
        padded = "FROM SERVER:LONGER" + "\0" * 1018 + "\n"
        assert other_ports.java("UDPClient.java", "longer") == padded
        # What the client before has sent is still there.
        padded = "FROM SERVER:ABCGER" + "\0" * 1018 + "\n"
        assert other_ports.java("UDPClient.java", "abc") == padded


# ---------------------------------------------------------------- what goes wrong by hand


def test_a_tcp_port_that_is_taken_is_told(workshop, tcp_server):
    done = workshop.run("upper_tcp", "server", tcp_server, "")
    assert done.returncode != 0
    assert "Address already in use" in done.stdout


def test_a_udp_port_that_is_taken_is_told(workshop, udp_server):
    done = workshop.run("upper_udp", "server", udp_server, "")
    assert done.returncode != 0
    assert "Address already in use" in done.stdout


@pytest.mark.parametrize("client", EVERYTHING)
def test_a_server_that_is_not_there_is_told(other_ports, client):
    done = other_ports.run("upper_tcp", "client", client, "anybody?")
    assert done.returncode != 0
    assert "Connection refused" in done.stdout


# ---------------------------------------------------------------- the text of the programs


PROGRAMS_IN_C = sorted(_examples.folder().glob("*/*.c"))
PROGRAMS_IN_JAVA = sorted(_examples.folder().glob("*/*.java"))


@pytest.mark.parametrize("program", PROGRAMS_IN_C, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_compiler_has_nothing_to_say_about_the_c(program, tmp_path):
    if (why := languages.lacks(C)) is not None:
        pytest.skip(why)
    strict = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror", "-O2"]
    subprocess.run(["cc", *strict, program, "-o", tmp_path / "program"], check=True)


def test_a_compiler_has_nothing_to_say_about_the_java(tmp_path):
    if (why := languages.lacks(JAVA)) is not None:
        pytest.skip(why)
    strict = ["-J-XX:-UsePerfData", "-Xlint:all", "-Werror", "-d", tmp_path]
    subprocess.run(["javac", *strict, *PROGRAMS_IN_JAVA], check=True)


def in_order(text: str, *calls: str) -> bool:
    """Whether the calls stand in the text in that order."""
    rest = text
    for call in calls:
        _, found, rest = rest.partition(f"{call}(")
        if not found:
            return False
    return True


@pytest.mark.parametrize(
    ("program", "calls"),
    [
        ("c_fragments/stream_client.c", ["= socket", "connect", "write"]),
        ("c_fragments/stream_server.c", ["= socket", "bind", "listen", "accept", "read"]),
        ("c_fragments/datagram_sender.c", ["= socket", "bind", "sendto"]),
        ("c_fragments/datagram_receiver.c", ["= socket", "bind", "recvfrom"]),
        ("upper_tcp/TCPServer.java", ["new ServerSocket", "accept", "readLine", "writeBytes"]),
        ("upper_tcp/TCPClient.java", ["new Socket", "readLine", "writeBytes", "readLine"]),
        ("upper_udp/UDPServer.java", ["new DatagramSocket", "receive", "getAddress", "send"]),
        ("upper_udp/UDPClient.java", ["new DatagramSocket", "getByName", "send", "receive"]),
    ],
)
def test_the_calls_are_the_lectures_in_their_order(program, calls):
    assert in_order((_examples.folder() / program).read_text(), *calls)
