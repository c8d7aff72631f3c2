"""A client without the key, one with another, and one with the right one.

python keys/client.py tcp://127.0.0.1:50008
"""

import sys

import ipcx

KEY = "a lab's key; a real one is secrets.token_bytes(32)"


def greet(key: str | None) -> str:
    with ipcx.connect(sys.argv[1], authkey=key) as channel:
        channel.send("James")  # waits until the server has proven itself, too
        answer = channel.receive()
        channel.send("the end")
        return str(answer)


for key in (None, "a guess", KEY):
    try:
        print(greet(key))
    except ipcx.AuthError as error:
        print("AuthError:", error)
