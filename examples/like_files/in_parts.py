"""sendmsg() and recvmsg(): one datagram out of several parts, and into several buffers.

The slide lists them for connectionless sockets. The parts are joined on the way out; recvmsg() also
says from where it came, and in `flags` whether a piece was cut off because it did not fit.
"""

import socket

HOST = "127.0.0.1"
PORT = 0  # any free port

with (
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
):
    server.bind((HOST, PORT))
    client.bind((HOST, PORT))
    to = server.getsockname()

    sent = client.sendmsg([b"head", b"|", b"and body"], [], 0, to)
    data, ancillary, flags, address = server.recvmsg(1024)
    print("sendmsg() sent", sent, "bytes of three parts; received", data)
    print("From the client:", address == client.getsockname())

    client.sendmsg([b"head", b"and body"], [], 0, to)
    head, body = bytearray(4), bytearray(100)
    count, ancillary, flags, address = server.recvmsg_into([head, body])
    print("recvmsg_into() filled two buffers:", bytes(head), bytes(body[: count - 4]))

    client.sendto(b"too long for four", to)
    data, ancillary, flags, address = server.recvmsg(4)
    print("Only 4 bytes were asked for:", data, "- cut off:", bool(flags & socket.MSG_TRUNC))
