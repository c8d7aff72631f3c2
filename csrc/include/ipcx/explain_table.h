/* SPDX-License-Identifier: Apache-2.0
 * The one table's second half: what each outcome means to a person. `ipcx explain NAME`, the notes
 * on exceptions and the documentation take their words from here, and ipcx_status_from_errno its
 * cases.
 * Invariant: every status of status_table.h has a row here and no errno has two; each program is
 * complete, harmless, and ends in exactly what it explains: tests/test_status.py runs them all.
 *
 * Columns: STATUS(NAME, what, causes, cure, program) for the outcome as such, and
 *          ERRNO(NAME, ERRNO, what, causes, cure, program) for one errno that comes out as NAME.
 *   NAME     a status of status_table.h
 *   what     what happened, a sentence
 *   causes   the usual causes, most common first, separated by newlines
 *   cure     what to do
 *   program  the smallest Python program in which it happens, "" while no module can show it */
#ifndef IPCX_EXPLAIN_TABLE_H
#define IPCX_EXPLAIN_TABLE_H

/* clang-format off */
#define IPCX_EXPLAIN_TABLE(STATUS, ERRNO)                                                          \
    STATUS(OK,                                                                                     \
          "The call did what it was asked to.",                                                    \
          "",                                                                                      \
          "Nothing to do.",                                                                        \
          "")                                                                                      \
    ERRNO(AGAIN, EAGAIN,                                                                           \
          "The socket does not wait (time-out 0), and nothing is there yet or no room is free.",   \
          "setblocking(False) or settimeout(0) was called on this socket\n"                        \
          "the peer has not sent yet, or has not yet taken what you sent",                         \
          "Wait until the socket is ready (selectors, asyncio), or let the call wait: "            \
          "settimeout(seconds).",                                                                  \
          "from ipcx import socket\n"                                                              \
          "a, b = socket.socketpair()\n"                                                           \
          "a.setblocking(False)\n"                                                                 \
          "a.recv(1)\n")                                                                           \
    ERRNO(AGAIN, EINPROGRESS,                                                                      \
          "connect() has begun and goes on without you: the socket does not wait.",                \
          "connect() on a socket with time-out 0",                                                 \
          "Wait until it is writable, then ask getsockopt(SOL_SOCKET, SO_ERROR); or use "          \
          "settimeout(seconds).",                                                                  \
          "from ipcx import socket\n"                                                              \
          "server = socket.create_server((\"127.0.0.1\", 0))\n"                                    \
          "client = socket.socket()\n"                                                             \
          "client.setblocking(False)\n"                                                            \
          "client.connect(server.getsockname())\n")                                                \
    STATUS(MORE,                                                                                   \
          "The message is not complete: more bytes are needed before it can be taken.",            \
          "a stream hands over bytes, not messages: one send may arrive in several pieces",        \
          "Feed the next bytes and ask again; in Python recv_exactly() and recv_until() do so.",   \
          "")                                                                                      \
    STATUS(EOF,                                                                                    \
          "The peer has closed its end and all it sent has been read: recv() returns b''.",        \
          "the peer called close() or shutdown(SHUT_WR)\n"                                         \
          "the peer's process has ended",                                                          \
          "End the loop that reads: `while data := sock.recv(4096): ...`.",                        \
          "from ipcx import socket\n"                                                              \
          "a, b = socket.socketpair()\n"                                                           \
          "b.close()\n"                                                                            \
          "print(a.recv(1))\n")                                                                    \
    STATUS(TIMEOUT,                                                                                \
          "The time the call was given passed before it could finish.",                            \
          "the peer is slow, busy or stuck\n"                                                      \
          "both sides wait for the other to send first\n"                                          \
          "settimeout() is too short for this work",                                               \
          "The socket is still good: call again, or allow more time with settimeout().",           \
          "from ipcx import socket\n"                                                              \
          "a, b = socket.socketpair()\n"                                                           \
          "a.settimeout(0.05)\n"                                                                   \
          "a.recv(1)\n")                                                                           \
    ERRNO(INTR, EINTR,                                                                             \
          "A signal arrived while the call waited.",                                               \
          "Ctrl-C, an alarm, a child that ended",                                                  \
          "In Python nothing: the handler runs and the call goes on, unless the handler "          \
          "raises. In C call again with the same deadline.",                                       \
          "import signal\n"                                                                        \
          "from ipcx import socket\n"                                                              \
          "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"                            \
          "signal.setitimer(signal.ITIMER_REAL, 0.05)\n"                                           \
          "a, b = socket.socketpair()\n"                                                           \
          "a.recv(1)\n")                                                                           \
    STATUS(INVALID,                                                                                \
          "An argument is outside what the call accepts.",                                         \
          "a port outside 0-65535, a negative size or time-out\n"                                  \
          "a path that is too long or has a NUL in it",                                            \
          "Read the message: it names the argument and its limits.",                               \
          "from ipcx import socket\n"                                                              \
          "socket.socket().settimeout(-1)\n")                                                      \
    ERRNO(NOMEM, ENOMEM,                                                                           \
          "There is not enough memory for what was asked.",                                        \
          "a size that is far too large, perhaps a length read from a peer unchecked\n"            \
          "the machine or the container is out of memory",                                         \
          "Check lengths before using them; read in pieces.",                                      \
          "from ipcx import socket\n"                                                              \
          "a, b = socket.socketpair()\n"                                                           \
          "a.recv(1 << 62)\n")                                                                     \
    STATUS(SYSTEM,                                                                                 \
          "A system call failed for a reason without a name of its own here.",                     \
          "see the errno in the exception: `ipcx explain ERRNO`",                                  \
          "Look at exc.errno and exc.strerror; errno(3) lists them all.",                          \
          "from ipcx import socket\n"                                                              \
          "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 9999)\n")                             \
    ERRNO(SYSTEM, EACCES,                                                                          \
          "The system does not permit it: most often a bind to a port below 1024.",                \
          "ports below 1024 are for privileged programs\n"                                         \
          "a Unix socket's path in a directory you may not write\n"                                \
          "a broadcast without SO_BROADCAST",                                                      \
          "Choose a port from 1024 up, or 0 and let the system choose; or lower "                  \
          "net.ipv4.ip_unprivileged_port_start.",                                                  \
          "from ipcx import socket\n"                                                              \
          "server = socket.socket()\n"                                                             \
          "server.bind((\"127.0.0.1\", 80))\n")                                                    \
    ERRNO(SYSTEM, ETIMEDOUT,                                                                       \
          "The other machine stopped answering and the kernel gave the connection up.",            \
          "the host is down, or a firewall drops the packets silently\n"                           \
          "the cable, the Wi-Fi or the VPN is gone\n"                                              \
          "the peer lives but has read nothing for longer than TCP_USER_TIMEOUT",                  \
          "Check address and firewall; close the socket and connect again. For a limit of your "   \
          "own use settimeout().",                                                                 \
          "from ipcx import socket\n"                                                              \
          "server = socket.create_server((\"127.0.0.1\", 0))\n"                                    \
          "client = socket.create_connection(server.getsockname())\n"                              \
          "client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)\n"                  \
          "while True:\n"                                                                          \
          "    client.send(bytes(1 << 20))\n")                                                     \
    ERRNO(SYSTEM, ENOTCONN,                                                                        \
          "The socket is not connected to anyone.",                                                \
          "recv() or send() on the listening socket instead of the one accept() returned\n"        \
          "connect() was never called, or failed",                                                 \
          "Talk through `conn, address = server.accept()`; connect() before you send.",            \
          "from ipcx import socket\n"                                                              \
          "server = socket.create_server((\"127.0.0.1\", 0))\n"                                    \
          "server.recv(1)\n")                                                                      \
    ERRNO(SYSTEM, EADDRNOTAVAIL,                                                                   \
          "This address does not belong to this machine.",                                         \
          "bind() to the other machine's address: bind is about your own end\n"                    \
          "an address of a network that is down",                                                  \
          "Bind to 127.0.0.1 (this machine only) or '' (every address of it).",                    \
          "from ipcx import socket\n"                                                              \
          "socket.socket().bind((\"192.0.2.1\", 0))\n")                                            \
    ERRNO(SYSTEM, ENOENT,                                                                          \
          "There is no such path: nobody has bound a Unix socket there.",                          \
          "the server is not running\n"                                                            \
          "another directory: a relative path is taken from where you started",                    \
          "Start the server first; give both sides the same absolute path.",                       \
          "from ipcx import socket\n"                                                              \
          "socket.socket(socket.AF_UNIX).connect(\"/nonexistent/ipcx.sock\")\n")                   \
    ERRNO(REFUSED, ECONNREFUSED,                                                                   \
          "The machine answered that nobody listens at that address.",                             \
          "the server is not running yet, or has ended\n"                                          \
          "another port or address than the server's\n"                                            \
          "the server bound 127.0.0.1 and you come from outside\n"                                 \
          "the server's queue of a Unix socket is full\n"                                          \
          "at fifo:///path there is no named pipe, or one that nobody reads",                      \
          "Start the server first and compare host and port: `ss -ltn` lists who listens.",        \
          "from ipcx import socket\n"                                                              \
          "nobody = socket.socket()\n"                                                             \
          "nobody.bind((\"127.0.0.1\", 0))\n"                                                      \
          "socket.create_connection(nobody.getsockname())\n")                                      \
    ERRNO(ADDRESS_IN_USE, EADDRINUSE,                                                              \
          "Another socket holds this address.",                                                    \
          "the program is still running in another terminal\n"                                     \
          "it has just ended: TIME_WAIT keeps the port for a minute\n"                             \
          "a Unix socket's file was left behind",                                                  \
          "End the other program (`ss -ltnp` names it); set SO_REUSEADDR before bind(), as "       \
          "create_server() does; unlink the old path.",                                            \
          "from ipcx import socket\n"                                                              \
          "first = socket.create_server((\"127.0.0.1\", 0))\n"                                     \
          "second = socket.create_server(first.getsockname())\n")                                  \
    STATUS(PEER_CLOSED,                                                                            \
          "The peer closed its end before the whole message had come.",                            \
          "the peer's process ended or was killed\n"                                               \
          "it sent less than it had announced",                                                    \
          "What did arrive is in exc.partial; treat the message as lost and connect again.",       \
          "from ipcx import socket\n"                                                              \
          "a, b = socket.socketpair()\n"                                                           \
          "b.sendall(b\"half\")\n"                                                                 \
          "b.close()\n"                                                                            \
          "a.recv_exactly(8)\n")                                                                   \
    ERRNO(PEER_CLOSED, EPIPE,                                                                      \
          "You sent to a peer that has closed its end.",                                           \
          "the peer called close() or ended\n"                                                     \
          "the last reader of a pipe has gone\n"                                                   \
          "you called shutdown(SHUT_WR) yourself",                                                 \
          "Nobody will read it: stop sending, close, connect again. A peer that says why it "      \
          "leaves helps.",                                                                         \
          "from ipcx import socket\n"                                                              \
          "a, b = socket.socketpair()\n"                                                           \
          "b.close()\n"                                                                            \
          "a.send(b\"x\")\n")                                                                      \
    ERRNO(PEER_CLOSED, ECONNRESET,                                                                 \
          "The peer broke the connection off; what was under way is lost.",                        \
          "the peer closed with data it had not read\n"                                            \
          "the peer's process was killed or its machine restarted\n"                               \
          "SO_LINGER with time 0",                                                                 \
          "Let the reader read to the end before it closes; agree in the protocol who closes "     \
          "first.",                                                                                \
          "from ipcx import socket\n"                                                              \
          "server = socket.create_server((\"127.0.0.1\", 0))\n"                                    \
          "client = socket.create_connection(server.getsockname())\n"                              \
          "conn, address = server.accept()\n"                                                      \
          "client.sendall(b\"never read\")\n"                                                      \
          "conn.recv(1, socket.MSG_PEEK)\n"                                                        \
          "conn.close()\n"                                                                         \
          "client.recv(1)\n")                                                                      \
    ERRNO(CLOSED, EBADF,                                                                           \
          "The socket was closed already, here or in another thread.",                             \
          "used after close() or after its `with` block\n"                                         \
          "another thread called close() while this one waited\n"                                  \
          "detach() gave the descriptor away",                                                     \
          "Keep the work inside the `with` block; after a close from another thread, let the "     \
          "loop end.",                                                                             \
          "from ipcx import socket\n"                                                              \
          "with socket.socket() as sock:\n"                                                        \
          "    pass\n"                                                                             \
          "sock.recv(1)\n")                                                                        \
    STATUS(PROTOCOL,                                                                               \
          "The peer sent something the protocol does not allow.",                                  \
          "the two sides speak different protocols or versions\n"                                  \
          "a port that belongs to another program\n"                                               \
          "bytes were lost, or read twice, on the way to the decoder",                             \
          "The connection cannot be used further: close it; compare both sides' protocol, byte "   \
          "by byte.",                                                                              \
          "from ipcx.framing import Decoder\n"                                                     \
          "decoder = Decoder()\n"                                                                  \
          "decoder.feed(b\"GET / HTTP/1.1\")\n"                                                    \
          "decoder.next()\n")                                                                      \
    STATUS(TOO_LARGE,                                                                              \
          "The message is larger than the limit that was agreed.",                                 \
          "the delimiter never came: the peer speaks another protocol\n"                           \
          "the limit is too low for honest messages\n"                                             \
          "over udp:// a message is a datagram, over fifo:// one write: 60 000 and 4 084 bytes",   \
          "Raise the limit only if such messages are meant to be; what was read is in "            \
          "exc.partial.",                                                                          \
          "from ipcx import socket\n"                                                              \
          "a, b = socket.socketpair()\n"                                                           \
          "b.sendall(b\"no line end in here\")\n"                                                  \
          "a.recv_until(b\"\\n\", limit=8)\n")                                                     \
    ERRNO(TOO_LARGE, EMSGSIZE,                                                                     \
          "The datagram is larger than this socket can send in one piece.",                        \
          "UDP over IPv4 carries at most 65 507 bytes a datagram\n"                                \
          "a Unix datagram must fit the send buffer (SO_SNDBUF)",                                  \
          "Send smaller datagrams (under 1 400 bytes over a network), or use a stream.",           \
          "from ipcx import socket\n"                                                              \
          "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"                              \
          "sock.sendto(bytes(65508), (\"127.0.0.1\", 9))\n")                                       \
    ERRNO(EXHAUSTED, EMFILE,                                                                       \
          "This process has as many descriptors open as it may (RLIMIT_NOFILE).",                  \
          "sockets that are never closed\n"                                                        \
          "a server with more clients than `ulimit -n`",                                           \
          "Close what you open (`with`); raise the limit: resource.setrlimit(RLIMIT_NOFILE, "      \
          "...) or `ulimit -n`.",                                                                  \
          "import resource\n"                                                                      \
          "from ipcx import socket\n"                                                              \
          "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n"                                 \
          "sockets = [socket.socket() for _ in range(17)]\n")                                      \
    ERRNO(EXHAUSTED, ENFILE,                                                                       \
          "The whole machine has as many files open as it may (fs.file-max).",                     \
          "some program leaks descriptors: `ls /proc/PID/fd | wc -l` finds it",                    \
          "End that program; raise fs.file-max. The program below shows used, free and most.",     \
          "print(open(\"/proc/sys/fs/file-nr\").read())\n")                                        \
    ERRNO(EXHAUSTED, ENOBUFS,                                                                      \
          "The kernel has no buffer for this call.",                                               \
          "ancillary data over net.core.optmem_max\n"                                              \
          "a network card whose queue is full",                                                    \
          "Send less at once, or wait a little and try again.",                                    \
          "from ipcx import socket\n"                                                              \
          "a, b = socket.socketpair()\n"                                                           \
          "a.sendmsg([b\"x\"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, bytes(1 << 20))])\n")       \
    STATUS(RESOLVE,                                                                                \
          "No address could be found for this host name.",                                         \
          "a typing error in the name\n"                                                           \
          "no network, or no name server (/etc/resolv.conf)\n"                                     \
          "the name has no address of this family (IPv4, IPv6)",                                   \
          "Try `getent hosts NAME`; on one machine use 127.0.0.1 or ::1.",                         \
          "from ipcx import socket\n"                                                              \
          "socket.create_connection((\"no-such-host.invalid\", 80))\n")                            \
    ERRNO(UNSUPPORTED, EOPNOTSUPP,                                                                 \
          "This kind of socket cannot do that.",                                                   \
          "listen() or accept() on a datagram socket: only streams have connections\n"             \
          "a flag such as MSG_OOB where there is none",                                            \
          "Use SOCK_STREAM for connections; for datagrams recvfrom() alone is enough.",            \
          "from ipcx import socket\n"                                                              \
          "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).listen()\n")                           \
    STATUS(VERSION,                                                                                \
          "The peer speaks a version of the protocol that this side does not know.",               \
          "one side was updated and the other was not\n"                                           \
          "bytes were lost, and what follows is read as a header",                                 \
          "Bring both sides to the same version; exc.offset is where the header says it.",         \
          "from ipcx.framing import Decoder\n"                                                     \
          "decoder = Decoder()\n"                                                                  \
          "decoder.feed(b\"IX\\x02\")\n"                                                           \
          "decoder.next()\n")                                                                      \
    STATUS(CORRUPT,                                                                                \
          "A message's checksum does not fit its bytes: they were changed on the way.",            \
          "a fault of memory, disk or network card on the way\n"                                   \
          "something between the two rewrites what passes\n"                                       \
          "the peer computes the checksum in another way",                                         \
          "Nothing of that message was delivered. Close the connection and connect again.",        \
          "from ipcx.framing import Decoder, Encoder\n"                                            \
          "frame = bytearray(Encoder().encode(\"a text\", crc=True))\n"                            \
          "frame[14] ^= 1\n"                                                                       \
          "decoder = Decoder()\n"                                                                  \
          "decoder.feed(frame)\n"                                                                  \
          "decoder.next()\n")                                                                  \
    STATUS(PEER_DIED,                                                                              \
          "The peer hung up without saying goodbye: it was killed, it crashed, or its host "       \
          "went away.",                                                                            \
          "the process at the other end was killed or ended without close()\n"                     \
          "an exception ended it before it came to close()\n"                                      \
          "its host has vanished (power, network): it did not answer for vanish_timeout seconds",  \
          "What it had sent was delivered before this. Look at how that process ended, start "     \
          "it again and connect again.",                                                           \
          "import os\n"                                                                            \
          "import ipcx\n"                                                                          \
          "a, b = ipcx.pair(\"unix://\")\n"                                                        \
          "if os.fork() == 0:\n"                                                                   \
          "    b.send(\"hello\")\n"                                                                \
          "    os._exit(1)  # no close(): as if it had been killed\n"                              \
          "b.close()\n"                                                                            \
          "print(a.receive())\n"                                                                   \
          "a.receive()\n")                                                                         \
    STATUS(FORKED,                                                                                 \
          "This end belongs to another process, the one that used it first; a child made by "      \
          "fork has only a copy.",                                                                 \
          "the end was used before the fork and is used again in the child\n"                      \
          "the end was handed to another process and is used here still",                          \
          "Use each end in one process: make the pair, fork, then use one end here and the "       \
          "other there. Or let the child call connect() itself.",                                  \
          "import os\n"                                                                            \
          "import ipcx\n"                                                                          \
          "a, b = ipcx.pair(\"unix://\")\n"                                                        \
          "a.send(\"used here first\")\n"                                                          \
          "if os.fork() == 0:\n"                                                                   \
          "    a.send(\"and again in the child\")\n"                                               \
          "raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n")                           \
    STATUS(INVALID_URL,                                                                            \
          "The text is no address of a channel.",                                                  \
          "a misspelt scheme\n"                                                                    \
          "two slashes where a path needs three: unix:///run/app.sock\n"                           \
          "no port behind the host: tcp://localhost:5000",                                         \
          "Write scheme://address; the message says which schemes there are.",                     \
          "import ipcx\n"                                                                          \
          "ipcx.connect(\"tpc://127.0.0.1:5000\")\n")                                              \
    STATUS(AUTH,                                                                                   \
          "The peer could not prove to be who it should be, so nothing it said was looked at.",    \
          "different keys on the two sides\n"                                                      \
          "a process of another user\n"                                                            \
          "no key at all on one side",                                                             \
          "Give both sides the same authkey, or name the users that may connect: allow_uids.",     \
          "import threading\n"                                                                     \
          "import ipcx\n"                                                                          \
          "listener = ipcx.listen(\"unix://\", authkey=\"mountain\")\n"                            \
          "threading.Thread(target=list, args=[listener], daemon=True).start()\n"                  \
          "ipcx.connect(listener.url, authkey=\"valley\").receive()\n")                                                                                      \
    STATUS(INSECURE,                                                                               \
          "The listener would be open to the whole network, and nothing would protect it.",        \
          "an address like 0.0.0.0, or the host's own, where 127.0.0.1 was meant",                 \
          "Listen on 127.0.0.1 for this host alone. For others, give both sides an authkey, or "   \
          "say insecure=True if the network is yours alone.",                                                               \
          "import ipcx\n"                                                                          \
          "ipcx.listen(\"tcp://0.0.0.0:0\")\n")                                                    \
    STATUS(DEADLOCK,                                                                               \
          "What is waited for is held by the very thread that now asks for it: nobody could ever " \
          "release it.",                                                                           \
          "a function that takes the lock calls another that takes it as well\n"                   \
          "a reader of a read-write lock wants to write without having released it first\n"        \
          "a signal handler receives over the tls:// channel in whose work it came",               \
          "Take the lock in one place and call the others inside, or give each a form that "       \
          "expects it to be held.",                                                                \
          "from ipcx.sync import Mutex\n"                                                          \
          "mutex = Mutex()\n"                                                                      \
          "with mutex, mutex:\n"                                                                   \
          "    pass\n")                                                                            \
    STATUS(NOT_OWNER,                                                                              \
          "Only who has taken a lock can release it: this thread has not, or not by this object.", \
          "release() twice, or without acquire()\n"                                                \
          "acquired in one thread and released in another\n"                                       \
          "acquired before os.fork() and released in the child: the parent has it",                \
          "Write `with mutex:`, which pairs the two. What one process takes and another gives "    \
          "back is a Semaphore.",                                                                  \
          "from ipcx.sync import Mutex\n"                                                          \
          "Mutex().release()\n")                                                                   \
    STATUS(BROKEN,                                                                                 \
          "Not all will come to this barrier: somebody who belongs to it died or called abort().", \
          "a process that takes part was killed\n"                                                 \
          "abort() or reset() was called while others waited",                                     \
          "Find out who died; reset() makes the barrier usable again for those who are left.",     \
          "from ipcx.sync import Barrier\n"                                                        \
          "barrier = Barrier(2)\n"                                                                 \
          "barrier.abort()\n"                                                                      \
          "barrier.wait()\n")
/* clang-format on */

#endif
