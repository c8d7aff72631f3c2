"""ftplib over ipcx: log in, fetch a file over a second connection, quit."""

import ftplib
import socket
import threading

from scripted import Scripted, is_ours

data = socket.create_server(("127.0.0.1", 0))


def give():
    with data:
        conn, _ = data.accept()
    with conn:
        conn.sendall(b"the file\r\nof two lines\r\n")


port = data.getsockname()[1]
giver = threading.Thread(target=give)
giver.start()
with Scripted(
    b"220 ready\r\n",
    (b"USER me", b"331 password\r\n"),
    (b"PASS secret", b"230 welcome\r\n"),
    (b"TYPE I", b"200 binary\r\n"),
    (b"PASV", f"227 go (127,0,0,1,{port // 256},{port % 256})\r\n".encode()),
    (b"RETR notes", b"150 here it comes\r\n226 done\r\n"),
    (b"QUIT", b"221 bye\r\n"),
) as server:
    with ftplib.FTP() as ftp:
        ftp.connect("127.0.0.1", server.port)
        ftp.login("me", "secret")
        ftp.voidcmd("TYPE I")
        with ftp.transfercmd("RETR notes") as conn:
            is_ours(ftp.sock, conn)
            print(conn.recv(1024, socket.MSG_WAITALL))
        print(ftp.voidresp())
    giver.join()
