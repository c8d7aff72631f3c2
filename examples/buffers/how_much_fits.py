"""Sending and receiving buffers: how much can be sent to somebody who does not read?

send() only copies into the kernel's buffers, the sender's and then the receiver's. Once both are
full it waits. You see how many bytes fitted, that smaller buffers hold less, and that nothing of
it is lost: all of it is read afterwards.
"""

import socket

HOST = "127.0.0.1"
PORT = 0  # any free port


def fill(size):
    """Sends until send() has to wait. Gives the number of bytes that fitted."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s, socket.socket() as client:
        if size:  # before the connection is made; the kernel doubles it for its own use
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        s.bind((HOST, PORT))
        s.listen()
        client.connect(s.getsockname())
        conn, addr = s.accept()
        client.settimeout(0.2)  # how long "it waits" must last before we believe it
        sent = received = 0
        try:
            while True:
                sent += client.send(bytes(4096))
        except TimeoutError:
            client.close()
        with conn:
            while data := conn.recv(65536):
                received += len(data)
    print(sent, "bytes fitted before send() had to wait;", received, "were read afterwards")
    return sent


print("Smaller buffers hold less:", fill(4096) < fill(None))
