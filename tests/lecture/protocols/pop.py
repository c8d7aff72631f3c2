"""poplib over ipcx: a mailbox with one message."""

import poplib

from scripted import Scripted, is_ours

with Scripted(
    b"+OK ready\r\n",
    (b"USER me", b"+OK\r\n"),
    (b"PASS secret", b"+OK\r\n"),
    (b"STAT", b"+OK 1 20\r\n"),
    (b"RETR 1", b"+OK\r\nSubject: hello\r\n\r\n..dots\r\n.\r\n"),
    (b"QUIT", b"+OK bye\r\n"),
) as server:
    box = poplib.POP3("127.0.0.1", server.port)
    is_ours(box.sock)
    box.user("me")
    box.pass_("secret")
    print(box.stat())
    print(box.retr(1)[1])
    box.quit()
