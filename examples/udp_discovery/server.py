"""The slide asks: can the client send without knowing the server's IP address and/or port number?

Not to one server. But it can ask everybody (a broadcast), and the server tells its address by
answering. Here the service is at whatever port the kernel has chosen; only the port where one asks
must be agreed on, as well-known ports are.
"""

import socket

ASK_PORT = 9005

with (
    socket.create_server(("127.0.0.1", 0)) as service,
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s,
):
    s.bind(("", ASK_PORT))
    print("Waiting for questions at port", ASK_PORT)
    data, addr = s.recvfrom(1024)
    print("Asked", data)
    s.sendto(str(service.getsockname()[1]).encode(), addr)

    conn, addr = service.accept()
    with conn:
        conn.sendall(b"You have found me")
