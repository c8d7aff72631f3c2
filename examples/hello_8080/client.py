"""The lecture's first client: it connects, says hello and waits for the answer.

What the slide leaves open is added: the answer is printed.
"""

import socket

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("localhost", 8080))  # the server must be listening by now
client.send(b"Hello from client!")
response = client.recv(1024)
print("Received", response)
client.close()
