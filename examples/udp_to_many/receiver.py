"""Point-to-multipoint: one datagram, many receivers (the slides' definition of a socket).

Start two of these. Each waits for one datagram that is sent to everybody (broadcast) or to the
members of a group (multicast). Broadcast reaches who is there; a group is joined.
"""

import socket
import sys

GROUP = "239.1.2.3"
PORT = 9007
INTERFACE = "127.0.0.1"

name = sys.argv[1]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # several may have this port
    s.bind(("", PORT))
    try:
        member = socket.inet_aton(GROUP) + socket.inet_aton(INTERFACE)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    except OSError as error:
        print("This machine has no multicast:", error.strerror)
    print(name, "waits")
    data, addr = s.recvfrom(1024)
    print(name, "received", data)
