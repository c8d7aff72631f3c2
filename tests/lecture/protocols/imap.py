"""imaplib over ipcx: log in, choose a mailbox, fetch a header by its length."""

import imaplib

from scripted import Scripted, is_ours


def answer(*lines):
    """Lines of data, then "tag OK" with the tag that the client has chosen."""

    def say(command):
        return b"".join(lines) + command.split()[0] + b" OK done\r\n"

    return say


with Scripted(
    b"* OK ready\r\n",
    (b"CAPABILITY", answer(b"* CAPABILITY IMAP4REV1\r\n")),
    (b"LOGIN", answer()),
    (b"SELECT", answer(b"* 1 EXISTS\r\n")),
    (b"FETCH", answer(b"* 1 FETCH (BODY[HEADER] {16}\r\nSubject: hello\r\n)\r\n")),
    (b"LOGOUT", answer(b"* BYE\r\n")),
) as server:
    box = imaplib.IMAP4("127.0.0.1", server.port)
    is_ours(box.sock, box.socket())
    box.login("me", "secret")
    print(box.select())
    print(box.fetch("1", "(BODY[HEADER])"))
    box.logout()
