"""What the slides state of UDP: loss, ports, silence, many clients, one to many."""

import re
from types import SimpleNamespace

import pytest

from ipcx.tour import stations_datagrams as stations

needs_multicast = pytest.mark.skipif(
    stations.lacks_multicast() is not None, reason="no route for multicast on this machine"
)


def test_what_finds_no_room_is_lost(scene):
    sent, lost, last, read = scene("udp_loss").play("overflow.py")
    assert sent == "Sent 200 datagrams of 1000 bytes; sendto() has not complained"
    arrived, gone = map(int, re.fullmatch(r"(\d+) arrived, (\d+) are lost", lost).groups())
    assert arrived > 0
    assert gone > 0
    assert arrived + gone == 200
    assert last == "It is the last ones that found no room: True"
    assert read == "Read one by one: 200 of 200 arrived"


def test_two_servers_are_told_apart_by_their_ports(scene):
    stage = scene("udp_two_servers", 9001, 9002)
    servers = {}
    for name, port in (("red", stage.ports[9001]), ("blue", stage.ports[9002])):
        servers[name] = stage.start("server.py", name)
        assert servers[name].stdout.readline() == f"Waiting at port {port}\n"
    assert stage.play("client.py") == [
        f"Port {stage.ports[9001]} says 'I am the red server'",
        f"Port {stage.ports[9002]} says 'I am the blue server'",
    ]
    heard = [stage.end(server) for server in servers.values()]
    assert heard[0] == heard[1]  # one and the same socket asked both
    assert re.fullmatch(
        r"Received b'Who are you\?' from \('127\.0\.0\.1', \d+\)", *(line for (line,) in heard[:1])
    )


def test_a_server_that_never_answers(scene):
    stage = scene("udp_silent", 9003)
    server = stage.start("server.py")
    assert server.stdout.readline() == f"Waiting at port {stage.ports[9003]}\n"
    assert stage.play("client.py") == [
        *(f"Try {n}: no answer within 0.3 seconds" for n in (1, 2, 3)),
        "Given up",
    ]
    assert stage.end(server) == [
        f"Received b'Question, try {n}' and say nothing" for n in (1, 2, 3)
    ]


def test_no_server_at_all(scene):
    stage = scene("udp_silent", 9003)
    assert stage.play("nobody.py") == [
        "connect() went well",
        "send() went well, too: 17 bytes",
        "recv(): Connection refused",
    ]
    assert stage.play("client.py")[-1] == "Given up"  # sendto() hears nothing of it


def test_one_socket_for_many_clients(scene):
    stage = scene("udp_many_clients", 9004)
    server = stage.start("server.py")
    assert server.stdout.readline() == f"Waiting at port {stage.ports[9004]}\n"
    assert stage.play("clients.py") == ["50 of 50 were answered"]
    assert stage.end(server) == ["Answered 50 different clients with one socket"]


def test_a_server_is_found_by_asking_everybody(scene):
    stage = scene("udp_discovery", 9005)
    server = stage.start("server.py")
    assert server.stdout.readline() == f"Waiting for questions at port {stage.ports[9005]}\n"
    found, received = stage.play("client.py")
    assert re.fullmatch(r"It is at \('127\.0\.0\.1', \d+\)", found)
    assert str(stage.ports[9005]) not in found
    assert received == "Received 'You have found me'"
    assert stage.end(server) == ["Asked b'Where is the service?'"]


def receivers(stage):
    """Two of them, waiting; and what they said until then."""
    both, said = [], []
    for name in ("A", "B"):
        both.append(stage.start("receiver.py", name))
        lines = iter(both[-1].stdout.readline, f"{name} waits\n")
        said += [line.rstrip() for line in lines]
    return both, said


def test_broadcast_reaches_everybody(scene):
    stage = scene("udp_to_many", 9007)
    both, _ = receivers(stage)
    assert stage.play("broadcast.py") == ["Broadcast must be allowed first", "Sent once"]
    assert [stage.end(one) for one in both] == [
        [f"{name} received b'Hello, everybody!'"] for name in ("A", "B")
    ]


@needs_multicast
def test_multicast_reaches_the_members(scene):
    stage = scene("udp_to_many", 9007)
    both, said = receivers(stage)
    assert said == []
    assert stage.play("multicast.py") == ["Sent once"]
    assert [stage.end(one) for one in both] == [
        [f"{name} received b'Hello, members!'"] for name in ("A", "B")
    ]


def test_without_multicast_the_programs_say_so_and_broadcast_goes_on(scene):
    stage = scene("udp_to_many", 9007)
    stage.edit("receiver.py", '"239.1.2.3"', '"127.0.0.1"')  # not a group: refused
    both, said = receivers(stage)
    assert len(said) == 2
    assert all(line.startswith("This machine has no multicast: ") for line in said)
    assert stage.play("broadcast.py")[-1] == "Sent once"
    assert [stage.end(one) for one in both] == [
        [f"{name} received b'Hello, everybody!'"] for name in ("A", "B")
    ]
    stage.edit("multicast.py", '"127.0.0.1"', '"203.0.113.7"')  # no interface of ours
    sender = stage.start("multicast.py")
    said, complaint = sender.communicate()
    assert (said, sender.returncode) == ("", 1)
    assert complaint.startswith("This machine has no route for multicast: ")
    assert complaint.count("\n") == 1


def test_without_multicast_the_tour_says_so(monkeypatch):
    def refuse(*_):
        raise OSError(19, "No such device")

    monkeypatch.setattr(
        stations,
        "socket",
        SimpleNamespace(AF_INET=2, SOCK_DGRAM=2, inet_aton=lambda _: b"", socket=refuse),
    )
    station = next(s for s in stations.DATAGRAMS if s.name == "udp_multicast")
    assert station.missing() == "this machine has no route for multicast (No such device)"
