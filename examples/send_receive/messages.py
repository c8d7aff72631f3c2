"""Messages: text or binary, of fixed or variable length; what is sent whole arrives whole.

TCP alone carries bytes and forgets where a message ended. A channel does not.
"""

import struct

import ipcx

with ipcx.listen("tcp://127.0.0.1:0") as listener:
    client = ipcx.connect(listener.url)
    server = listener.accept()

with client, server:
    client.send("a text of any length: grüß dich")
    client.send(b"\x00\x01 bytes of any length")
    client.send(struct.pack("!ihd", 7, -1, 0.5))  # fixed: 4 + 2 + 8 bytes
    client.send("")
    for _ in range(4):
        message = server.receive()
        kind = "text" if isinstance(message, str) else "binary"
        print(f"{kind}, {len(message)} long: {message!r}")
