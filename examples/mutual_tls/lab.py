"""Mutual TLS in a lab: both sides show a certificate, and who has none is not let in.

Needs the package cryptography. In earnest the certificates come from an authority, as files:
context.load_cert_chain("mine.pem"), context.load_verify_locations("authority.pem").
"""

import threading

import ipcx
import ipcx.tls

server_side, client_side = ipcx.tls.self_signed(mutual=True)
_, nobodys = ipcx.tls.self_signed()  # of another lab: it trusts others, and has no certificate

listener = ipcx.listen("tls://127.0.0.1:0", tls=server_side)


def serve() -> None:
    for channel in listener:  # until it is closed; who is not let in raises nothing here
        with channel:
            ((_, name),) = channel.tls.getpeercert()["subject"][0]
            channel.send(f"hello, {name}; this is {channel.tls.version()}")


thread = threading.Thread(target=serve)
thread.start()

with ipcx.connect(listener.url, tls=client_side) as channel:
    print(channel.receive())

try:
    with ipcx.connect(listener.url, tls=nobodys) as channel:
        print(channel.receive())
except ipcx.AuthError as error:
    print("another one:", error)

listener.close()
thread.join()
