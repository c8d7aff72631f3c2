"""A UDP packet may never arrive: the receiver's buffer overflows, and nobody is told.

Two hundred datagrams are sent to a socket with a small buffer that is not read meanwhile; then to
the same socket, read one by one. You see how many arrive each time.
"""

import socket

HOST = "127.0.0.1"
PORT = 0  # any free port
DATAGRAMS = 200


def drain(receiver):
    """Takes what has arrived, until nothing comes any more."""
    numbers = []
    try:
        while True:
            numbers.append(int(receiver.recv(2000)[:3]))
    except TimeoutError:
        return numbers


with (
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
):
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    receiver.bind((HOST, PORT))
    receiver.settimeout(0.2)
    address = receiver.getsockname()

    for number in range(DATAGRAMS):
        sender.sendto(b"%03d" % number + bytes(997), address)
    print("Sent", DATAGRAMS, "datagrams of 1000 bytes; sendto() has not complained")
    arrived = drain(receiver)
    print(len(arrived), "arrived,", DATAGRAMS - len(arrived), "are lost")
    print("It is the last ones that found no room:", arrived == list(range(len(arrived))))

    read = 0
    for number in range(DATAGRAMS):
        sender.sendto(b"%03d" % number + bytes(997), address)
        read += int(receiver.recv(2000)[:3]) == number
    print("Read one by one:", read, "of", DATAGRAMS, "arrived")
