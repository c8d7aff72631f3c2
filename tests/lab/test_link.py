"""lab.link: the same seed, the same trouble; what TCP cannot have is refused."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from ipcx.lab._link import Link, link

NOWHERE = ("127.0.0.1", 9)


def through(number: int, **trouble: object) -> tuple[list[int], Link]:
    """The numbers of the datagrams that come out at the other end; the last one always does."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        server.bind(("127.0.0.1", 0))
        with link("udp", server.getsockname(), **trouble) as between:  # type: ignore[arg-type]
            for one in range(number):
                client.sendto(b"%d" % one, (between.host, between.port))
            arrived = []
            want = number - sum(fate.what == "lost" for fate in settled(between, number))
            want += between.counts["duplicated"]
            server.settimeout(10)
            for _ in range(want):
                arrived.append(int(server.recv(100)))
            other.sendto(b"", server.getsockname())  # nothing more was on its way
            assert server.recv(100) == b""
            return arrived, between


def settled(between: Link, number: int) -> list:
    """The fates, once all of that many datagrams have met theirs."""
    while len(between.fates) < number:
        threading.Event().wait(0.001)
    return between.fates


def test_the_same_seed_loses_the_same_datagrams():
    first, between = through(60, loss=0.3, seed=7)
    again, _ = through(60, loss=0.3, seed=7)
    other, _ = through(60, loss=0.3, seed=8)
    assert first == again
    assert first != other
    assert between.counts["lost"] == 60 - len(first) > 5
    # What else is asked for draws nothing away from the loss.
    kept, _ = through(60, loss=0.3, duplicate=0.5, seed=7)
    assert sorted(set(kept)) == first


def test_chosen_datagrams():
    arrived, between = through(6, loss=[0, 3], duplicate={1})
    assert arrived == [1, 1, 2, 4, 5]
    assert between.fates[:2] == [("there", 0, "lost"), ("there", 1, "duplicated")]
    assert between.counts == {
        "datagrams": 6,
        "passed": 3,
        "lost": 2,
        "duplicated": 1,
        "held back": 0,
        "largest": 1,
    }


def test_a_datagram_is_overtaken_and_the_last_one_arrives_nevertheless():
    assert through(5, reorder=[1, 4])[0] == [0, 2, 1, 3, 4]


@contextlib.contextmanager
def two_of_udp(host):
    """A server, bound so, and a client."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as server,
        socket.socket(type=socket.SOCK_DGRAM) as client,
    ):
        server.bind((host, 0))
        server.settimeout(10)
        client.settimeout(10)
        yield server, client


def test_answers_come_back_and_have_a_trouble_of_their_own():
    with (
        two_of_udp("127.0.0.1") as (server, client),
        link("udp", server.getsockname(), delay="1ms", back={"loss": [0]}) as between,
    ):
        for word in (b"one", b"two"):
            client.sendto(word, (between.host, between.port))
            data, where = server.recvfrom(100)
            server.sendto(data * 2, where)
        assert client.recv(100) == b"twotwo"
        assert [fate for fate in between.fates if fate.what == "lost"] == [("back", 0, "lost")]


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", ""])
def test_answers_come_back_however_the_server_is_called(host):
    with (
        two_of_udp("") as (server, client),
        link("udp", (host, server.getsockname()[1])) as between,
    ):
        client.sendto(b"who", (between.host, between.port))
        data, where = server.recvfrom(100)
        server.sendto(data * 2, where)
        assert client.recv(100) == b"whowho"


@pytest.mark.parametrize("host", ["::1", "no such host"])
def test_a_udp_link_to_what_is_no_ipv4_address_is_refused(host):
    with pytest.raises(ValueError, match="to an IPv4 address or its name, not") as refused:
        link("udp", (host, 9))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("to", [9, "x", ("127.0.0.1",), None, ("127.0.0.1", "http")])
def test_where_to_is_a_host_and_a_port(to):
    with pytest.raises(TypeError, match=r"to is the server's \(host, port\), not"):
        link("tcp", to)


def test_it_is_a_lane_of_a_record_and_what_it_loses_is_lost():
    from ipcx import lab
    from ipcx import socket as recorded

    with (
        lab.record("ends") as seen,
        recorded.socket(type=socket.SOCK_DGRAM) as server,
        recorded.socket(type=socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", 0))
        with link("udp", server.getsockname(), loss=[1]) as between:
            for word in (b"one", b"two", b"three"):
                client.sendto(word, (between.host, between.port))
            assert [server.recv(100) for _ in range(2)] == [b"one", b"three"]
    assert set(seen.processes) == {"ends", "link"}
    assert [message.data for message in seen.lost] == [b"two"]
    ways = [
        (seen.events[message.send].process, seen.events[message.receive].process)
        for message in seen.messages
        if message.data == b"one" and message.receive is not None
    ]
    assert ways == [("ends", "link"), ("link", "ends")]


def test_a_stream_is_recorded_on_both_sides_of_the_link():
    from ipcx import lab
    from ipcx import socket as recorded

    with (
        lab.record("ends") as seen,
        recorded.create_server(("127.0.0.1", 0)) as listener,
        link("tcp", listener.getsockname(), split=2) as between,
    ):
        with recorded.create_connection((between.host, between.port)) as client:
            client.sendall(b"12345")
        with listener.accept()[0] as server:
            while server.recv(100):
                pass
    receives = [each for each in seen.events if each.process == "ends" and each.op == "recv"]
    assert [each.data for each in receives] == [b"12", b"34", b"5", b""]
    assert seen.lost == []


@contextlib.contextmanager
def connected(**trouble: object) -> Iterator[tuple[socket.socket, socket.socket, Link]]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        link("tcp", listener.getsockname(), **trouble) as between,  # type: ignore[arg-type]
        socket.create_connection((between.host, between.port), timeout=10) as client,
    ):
        listener.settimeout(10)
        server = listener.accept()[0]
        with server:
            server.settimeout(10)
            yield client, server, between


def pieces(sock: socket.socket) -> list[bytes]:
    found = []
    while data := sock.recv(1024):
        found.append(data)
    return found


def test_split_gives_each_recv_one_byte_however_slow_the_reader_is():
    with connected(split=True) as (client, server, between):
        client.sendall(b"a message of some bytes")
        client.shutdown(socket.SHUT_WR)
        first = server.recv(1024)
        threading.Event().wait(0.05)  # much could have gathered meanwhile
        assert [first, *pieces(server)] == [bytes([b]) for b in b"a message of some bytes"]
        assert between.counts["pieces"] == 23


def test_pieces_of_three():
    with connected(split=3) as (client, server, _):
        client.sendall(b"0123456789")
        client.shutdown(socket.SHUT_WR)
        assert pieces(server) == [b"012", b"345", b"678", b"9"]


def test_a_peek_leaves_the_byte_and_the_next_one_comes_nevertheless():
    with connected(split=True) as (client, server, _):
        client.sendall(b"12")
        while len(server.recv(2, socket.MSG_PEEK)) < 2:
            threading.Event().wait(0.01)
        assert server.recv(2) == b"12"


def test_merge_makes_one_of_many():
    with connected(merge=True) as (client, server, between):
        for _ in range(5):
            client.sendall(b"ten bytes.")
        client.shutdown(socket.SHUT_WR)
        assert pieces(server) == [b"ten bytes." * 5]
        server.sendall(b"the other way, too")
        assert client.recv(100) == b"the other way, too"
        assert between.counts["pieces"] == 2


def test_cut_ends_the_stream_after_so_many_bytes():
    with connected(cut=7) as (client, server, between):
        client.sendall(b"0123456789")
        assert b"".join(pieces(server)) == b"0123456"
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert between.counts["cut"] == 1


def test_half_open_is_silent_and_closes_nothing():
    with connected(half_open=4) as (client, server, between):
        client.sendall(b"0123456789")
        assert server.recv(100) == b"0123"
        client.close()
        server.setblocking(False)
        threading.Event().wait(0.05)
        with pytest.raises(BlockingIOError):
            server.recv(1)
        server.sendall(b"nobody hears that")
        assert between.counts["silent"] == 1


def test_much_passes_both_ways():
    data = bytes(range(256)) * 20_000
    with connected() as (client, server, _):

        def echo() -> None:
            while piece := server.recv(1 << 16):
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)

        def give() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=one) for one in (echo, give)]
        for thread in threads:
            thread.start()
        assert b"".join(pieces(client)) == data
        for thread in threads:
            thread.join()


def test_nobody_listens():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody else gets that port meanwhile
        with (
            link("tcp", bound.getsockname()) as between,
            pytest.raises(ConnectionResetError),  # at once, maybe: then connecting is told of it
            socket.create_connection((between.host, between.port), timeout=10) as client,
        ):
            client.recv(1)


@pytest.mark.parametrize(
    ("kind", "trouble", "words"),
    [
        ("tcp", {"loss": 0.1}, "loss= on a tcp link: TCP repairs loss by itself"),
        ("tcp", {"reorder": True}, "TCP puts the segments in order again"),
        ("tcp", {"back": {"duplicate": [1]}}, "TCP drops what comes twice"),
        ("udp", {"split": True}, "a datagram arrives whole or not at all"),
        ("udp", {"merge": 3}, "two datagrams are never received as one"),
        ("udp", {"cut": 3}, "no connection that could be cut"),
        ("udp", {"half_open": True}, "no connection that could be half open"),
        ("tcp", {"split": True, "merge": True}, "choose one"),
        ("tcp", {"cut": 1, "half_open": 1}, "choose one"),
        ("tcp", {"cut": -1}, "after how many bytes"),
        ("tcp", {"split": -1}, "a number of bytes"),
        ("udp", {"loss": 2}, "between 0 and 1"),
        ("udp", {"delay": "soon"}, "'5ms'"),
        ("udp", {"delay": ("2s", "1s")}, "the shorter one"),
        ("udp", {"delay": 100}, "between 0 and 60"),
        ("sctp", {}, "kind is 'udp' or 'tcp'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(kind, trouble, words):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        link(kind, NOWHERE, **trouble)
    assert words in str(refused.value)


def test_no_trouble_is_allowed_in_words_of_the_other_kind():
    link("tcp", NOWHERE, loss=0, reorder=False, there={"split": True}).close()
    link("udp", NOWHERE, split=False, cut=False, delay="0s").close()
    with pytest.raises(TypeError, match="not 'jitter'"):
        link("udp", NOWHERE, back={"jitter": 1})


def test_it_is_closed_once_and_says_what_it_is():
    between = link("udp", NOWHERE)
    assert repr(between).startswith(f"<udp link 127.0.0.1:{between.port} to 127.0.0.1:9: 0 data")
    between.close()
    between.close()
