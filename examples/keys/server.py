"""A server for those who have the key. Both sides prove that they have it; nobody sends it.

python keys/server.py                        on this host, at a port of its own, which it prints
python keys/server.py tcp://0.0.0.0:50008    for other hosts, too: with a key that is allowed
"""

import sys

from ipcx.server import Server

KEY = "a lab's key; a real one is secrets.token_bytes(32)"

with Server(sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:0", authkey=KEY) as server:
    print(server.url, flush=True)
    for peer, message in server:
        if message == "the end":
            break
        peer.send(f"Hello, {message}")
print("served", server.stats().joined, "and turned away", server.stats().strangers)
