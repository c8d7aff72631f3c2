"""Two programs as they are, and what passed between them: what `ipcx draw` makes a picture of.

The programs know nothing of it. Each writes down what it sends and receives; which bytes came out
where is found out afterwards. `ipcx draw server.py -- client.py` does the same with yours.
"""

import tempfile
from pathlib import Path

from ipcx.lab.draw import run

SERVER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(sys.argv[1])
    listener.listen()
    conn, _ = listener.accept()
    with conn:
        while piece := conn.recv(5):
            conn.sendall(piece.upper())
"""
CLIENT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(b"who is there?")
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(100):
        pass
"""

with tempfile.TemporaryDirectory() as folder:
    programs = []
    for name, text in (("server", SERVER), ("client", CLIENT)):
        path = Path(folder, f"{name}.py")
        path.write_text(text)
        programs.append([str(path), str(Path(folder, "socket"))])
    record, _ = run(programs)

for message in record.messages:
    send, receive = record.events[message.send], record.events[message.receive]
    if send.process == "client":
        print(f"{send.process}'s {send.op} → {receive.process}'s {receive.op}: {message.data}")
print("Each is sent before it is received: " + str(
    all(record.events[m.send].lamport < record.events[m.receive].lamport for m in record.messages)
))  # fmt: skip
