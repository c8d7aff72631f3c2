"""The lecture's server with a secret function: it answers until the client closes."""

import socket

HOST = "127.0.0.1"
PORT = 65432


def prepareReply(inData):
    """The secret: a name comes in as bytes, and an introduction goes out as bytes."""
    name = inData.decode()
    surname = name.split()[-1] if name.split() else "Nobody"
    return f"The name is {surname}. {name}.".encode()


with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.bind((HOST, PORT))
    s.listen()
    conn, addr = s.accept()
    with conn:
        print("Connected by", addr)
        while True:
            data = conn.recv(1024)
            if not data:  # b"": the client has closed its end
                break
            response = prepareReply(data)
            conn.sendall(response)
