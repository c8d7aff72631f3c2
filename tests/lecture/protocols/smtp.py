"""smtplib over ipcx: one letter, with a line that begins with a full stop."""

import smtplib

from scripted import Scripted, is_ours

with (
    Scripted(
        b"220 ready\r\n",
        (b"ehlo here", b"250-server\r\n250 8BITMIME\r\n"),
        (b"mail FROM:<me@here>", b"250 ok\r\n"),
        (b"rcpt TO:<you@there>", b"250 ok\r\n"),
        (b"data", b"354 go on\r\n"),
        (b".", b"250 taken\r\n"),
        (b"QUIT", b"221 bye\r\n"),
    ) as server,
    smtplib.SMTP("127.0.0.1", server.port, local_hostname="here") as post,
):
    is_ours(post.sock)
    print(post.sendmail("me@here", "you@there", "Subject: hello\n\n.dots\n"))
print(server.heard[-5:-2])
