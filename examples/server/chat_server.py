"""A chat room: what one client says, the others hear. One loop, no threads.

python chat_server.py                        at a path of its own, which it prints
python chat_server.py tcp://127.0.0.1:50007
"""

import sys

from ipcx.server import Server

with Server(sys.argv[1] if len(sys.argv) > 1 else "unix://") as server:
    print(server.url, flush=True)
    for kind, peer, message in server.events():
        if kind == "join":
            peer.data = f"guest {peer.id}"
            peer.send(f"You are {peer.data}, of {len(server.peers)}.")
        elif kind == "leave":
            server.broadcast(f"{peer.data} has left.")
        elif message == "the end":
            break
        else:
            server.broadcast(f"{peer.data}: {message}", except_=peer)
print("served", server.stats().joined)
