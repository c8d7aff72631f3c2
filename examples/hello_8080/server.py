"""The lecture's first server: one client, one message each way.

What the slide leaves open is added: the message is printed, and the listening socket is closed.
"""

import socket

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.bind(("localhost", 8080))
server.listen(1)

client, addr = server.accept()  # waits for a client; `client` is a second, new socket
data = client.recv(1024)
print("Received", data)
client.send(b"Hello from server!")
client.close()
server.close()
