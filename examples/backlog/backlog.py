"""backlog: the number of unaccepted connections that the system allows (the slide on listen()).

Here listen(2) is called, and accept() is not. You see that Linux connects one more than that, and
does not refuse the next: it leaves it waiting, for a place may become free. accept() makes one.
"""

import socket

HOST = "127.0.0.1"
PORT = 0  # any free port
BACKLOG = 2


def knock(address):
    """A client that does not wait long. Gives its socket, or None if it was not connected."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(0.5)
    try:
        client.connect(address)
        return client
    except TimeoutError:
        client.close()
        return None


with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.bind((HOST, PORT))
    s.listen(BACKLOG)
    address = s.getsockname()
    clients = []
    while client := knock(address):
        clients.append(client)
    print(f"listen({BACKLOG}): {len(clients)} are connected, and nobody has called accept()")
    print("The next one gets no answer")

    conn, addr = s.accept()
    client = knock(address)
    print("After one accept() another one is connected:", client is not None)
    for each in (conn, *clients, client):
        if each:
            each.close()
