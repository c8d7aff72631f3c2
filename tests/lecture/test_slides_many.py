"""Can multiple clients use the server? The five servers, fifty clients, and some that misbehave."""

import contextlib
import socket
import struct

import pytest

SERVERS = {
    "iterative.py": ", one after the other",
    "threaded.py": ", each by a thread",
    "forking.py": ", each by a process",
    "selector.py": " by one thread that waits for all",
    "async_io.py": ", each by a coroutine",
}
PORT = 8083
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() drops everything and resets


@pytest.mark.parametrize("program", SERVERS)
def test_fifty_clients_are_served(scene, program):
    stage = scene("many_clients", PORT)
    server = stage.serve(program, PORT)
    assert stage.play("clients.py") == [
        "50 clients are connected at the same time",
        "50 of 50 were answered",
    ]
    assert stage.end(server) == ["Listening", f"Served 50 of 50 clients{SERVERS[program]}"]


def come(address: tuple[str, int], data: bytes) -> socket.socket:
    client = socket.create_connection(address)
    with contextlib.suppress(ConnectionError):  # the server may have had enough
        client.sendall(data)
    return client


@pytest.mark.hang_guard(30)
@pytest.mark.parametrize("program", SERVERS)
def test_those_that_misbehave_do_not_stop_the_others(scene, program):
    """One says nothing, for ever; one goes in the middle of its line, one without a good-bye, one
    never ends its line, one never says anything and goes."""
    stage = scene("many_clients", PORT)
    stage.edit(program, "CLIENTS = 50", "CLIENTS = 55")
    server = stage.serve(program, PORT)
    address = ("127.0.0.1", stage.ports[PORT])
    with come(address, b"") as silent:
        come(address, b"half a l").close()
        with come(address, b"half a l") as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        come(address, b"x" * 100_000).close()
        come(address, b"").close()
        assert stage.play("clients.py")[-1] == "50 of 50 were answered"
        if program == "iterative.py":  # it gives up who says nothing
            assert silent.recv(1) == b""
        else:
            assert server.poll() is None
    first, *complaints, last = stage.end(server)
    assert first == "Listening"
    assert all(line.startswith("A client was given up: ") for line in complaints)
    assert last == f"Served 50 of 55 clients{SERVERS[program]}"


def test_a_port_that_is_taken_is_explained_and_its_holder_goes_on(scene):
    stage = scene("many_clients", PORT)
    server = stage.serve("threaded.py", PORT)
    second = stage.start("selector.py")
    said, complaints = second.communicate()
    assert (said, second.returncode) == ("", 1)
    assert "[Errno 98] Address already in use" in complaints
    holder = f"Port {stage.ports[PORT]} is held by "
    assert (holder in complaints) == (stage.on == "ipcx")
    assert stage.play("clients.py")[-1] == "50 of 50 were answered"
    assert stage.end(server)[-1] == "Served 50 of 50 clients, each by a thread"


@pytest.mark.parametrize("program", SERVERS)
def test_a_server_may_be_started_again_at_once(scene, program):
    """Its port is in TIME_WAIT: the servers that close first have asked for SO_REUSEADDR."""
    stage = scene("many_clients", PORT)
    stage.edit(program, "CLIENTS = 50", "CLIENTS = 1")
    stage.edit("clients.py", "CLIENTS = 50", "CLIENTS = 1")
    for _ in range(2):
        server = stage.serve(program, PORT)
        assert stage.play("clients.py")[-1] == "1 of 1 were answered"
        assert stage.end(server)[-1].startswith("Served 1 of 1 clients")
