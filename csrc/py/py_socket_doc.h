/* SPDX-License-Identifier: Apache-2.0
 * What help() says of ipcx.socket.socket and its methods. Texts only. */
#ifndef IPCX_PY_SOCKET_DOC_H
#define IPCX_PY_SOCKET_DOC_H

#define DOC_SOCKET                                                                                 \
    "socket(family=AF_INET, type=SOCK_STREAM, proto=0, fileno=None) -> socket object\n\n"          \
    "One end of a conversation between two processes. A subclass of the stdlib's\n"                \
    "socket.socket: same methods, results and exceptions, with every system call\n"                \
    "on data or connections made by ipcx's C core.\n\n"                                            \
    "Beyond the stdlib: recv_exactly(n) and recv_until(delimiter), and close() from\n"             \
    "another thread ends every blocking call, which raises OSError(EBADF).\n"                      \
    "Time-outs are in seconds. See socket(2), unix(7), ip(7), tcp(7) and udp(7)."

#define DOC_RECV                                                                                   \
    "recv(bufsize[, flags]) -> bytes\n\n"                                                          \
    "Receive at most bufsize bytes; waits until there is at least one. A stream is\n"              \
    "not cut into messages: what one send() wrote may arrive in several recv()s, or\n"             \
    "several in one. b'' from a stream means that the peer has closed its end.\n"                  \
    "TimeoutError when the time-out passes, BlockingIOError on a non-blocking socket\n"            \
    "with nothing there, ConnectionResetError when the peer reset. See recv(2)."

#define DOC_RECV_INTO                                                                              \
    "recv_into(buffer[, nbytes[, flags]]) -> count\n\n"                                            \
    "Like recv(), into a writable buffer of yours: no new bytes object is made.\n"                 \
    "nbytes is the most to take; 0 or nothing means len(buffer) bytes. ValueError\n"               \
    "when nbytes is larger than the buffer. 0 from a stream means that the peer has\n"             \
    "closed its end. See recv(2)."

#define DOC_RECVFROM                                                                               \
    "recvfrom(bufsize[, flags]) -> (bytes, address)\n\n"                                           \
    "Like recv(), and tells who sent it: (host, port) for IPv4, (host, port,\n"                    \
    "flowinfo, scope_id) for IPv6, a path for Unix sockets. One datagram is one\n"                 \
    "result; what does not fit into bufsize bytes is lost. See recvfrom(2)."

#define DOC_RECVFROM_INTO                                                                          \
    "recvfrom_into(buffer[, nbytes[, flags]]) -> (count, address)\n\n"                             \
    "Like recvfrom(), into a writable buffer of yours. nbytes is the most to take;\n"              \
    "0 or nothing means len(buffer) bytes. See recvfrom(2)."

#define DOC_RECVMSG                                                                                \
    "recvmsg(bufsize[, ancbufsize[, flags]]) -> (bytes, ancdata, msg_flags, address)\n\n"          \
    "Receive up to bufsize bytes and ancillary data, such as file descriptors. The\n"              \
    "latter needs ancbufsize bytes of space, counted with CMSG_SPACE(); 0 takes none.\n"           \
    "ancdata is a list of (level, type, bytes). msg_flags has MSG_TRUNC or MSG_CTRUNC\n"           \
    "when something did not fit. Descriptors received before an error are closed\n"                \
    "again. See recvmsg(2) and unix(7)."

#define DOC_RECVMSG_INTO                                                                           \
    "recvmsg_into(buffers[, ancbufsize[, flags]]) -> (count, ancdata, msg_flags, address)\n\n"     \
    "Like recvmsg(), scattering the bytes over writable buffers of yours, which are\n"             \
    "filled one after the other. See recvmsg(2), and readv(2) for scattering."

#define DOC_SEND                                                                                   \
    "send(data[, flags]) -> count\n\n"                                                             \
    "Send bytes; the number that the kernel took is returned, which may be fewer than\n"           \
    "len(data): use sendall() for all of them. Taken does not mean received. Waits\n"              \
    "while the send buffer is full. TimeoutError when the time-out passes,\n"                      \
    "BlockingIOError on a non-blocking socket without room, BrokenPipeError when the\n"            \
    "peer has closed; EMSGSIZE for a datagram that is too large. See send(2)."

#define DOC_SENDALL                                                                                \
    "sendall(data[, flags]) -> None\n\n"                                                           \
    "Send all of the bytes, in as many steps as it takes; the time-out is one for the\n"           \
    "whole call. After an error nobody can tell how much was sent. Errors as for\n"                \
    "send(). See send(2)."

#define DOC_SENDTO                                                                                 \
    "sendto(data[, flags], address) -> count\n\n"                                                  \
    "Send bytes as one datagram to address: (host, port), or a path for Unix sockets.\n"           \
    "No connection is needed; a UDP datagram that nobody takes is lost without an\n"               \
    "error here. EMSGSIZE when it is larger than the protocol allows\n"                            \
    "(65507 bytes for UDP over IPv4). See sendto(2) and udp(7)."

#define DOC_SENDMSG                                                                                \
    "sendmsg(buffers[, ancdata[, flags[, address]]]) -> count\n\n"                                 \
    "Send the bytes of several buffers as one piece, without joining them first, with\n"           \
    "ancillary data as (level, type, bytes) beside them, such as file descriptors.\n"              \
    "The number of bytes sent is returned, ancillary data not counted. On a stream it\n"           \
    "may be fewer than all. See sendmsg(2), unix(7) and cmsg(3)."

#define DOC_ACCEPT                                                                                 \
    "accept() -> (socket object, address)\n\n"                                                     \
    "Wait for a client of this listening socket. The result is a new socket for this\n"            \
    "one conversation and the address of the client; the listening socket goes on\n"               \
    "listening. The new socket has the default time-out, and its descriptor is not\n"              \
    "inherited by child programs. TimeoutError when the time-out passes, EMFILE when\n"            \
    "the process has no descriptor left. See accept(2)."

#define DOC_CONNECT                                                                                \
    "connect(address)\n\n"                                                                         \
    "Connect to a server at address: (host, port), or a path for Unix sockets. On a\n"             \
    "datagram socket: choose the peer for send() and recv(); nothing is sent.\n"                   \
    "ConnectionRefusedError when nobody listens there, TimeoutError when the time-out\n"           \
    "passes, socket.gaierror for a name that does not resolve. A name is resolved\n"               \
    "first, and that is not covered by the time-out. See connect(2)."

#define DOC_CONNECT_EX                                                                             \
    "connect_ex(address) -> errno\n\n"                                                             \
    "Like connect(), but a failure of connect(2) is returned as its errno, 0 being\n"              \
    "success: EINPROGRESS on a non-blocking socket, whose result getsockopt(SOL_SOCKET,\n"         \
    "SO_ERROR) tells once it is writable; EAGAIN when the time-out passed. Other errors,\n"        \
    "such as an unknown host, still raise."

#define DOC_BIND                                                                                   \
    "bind(address)\n\n"                                                                            \
    "Give the socket its own address: (host, port), or a path for Unix sockets. Host\n"            \
    "'' means every address of this machine, port 0 any free port (getsockname() tells\n"          \
    "which). EADDRINUSE when the address is taken, EADDRNOTAVAIL when it is not this\n"            \
    "machine's, PermissionError below port 1024 without the right. See bind(2)."

#define DOC_LISTEN                                                                                 \
    "listen([backlog])\n\n"                                                                        \
    "Make this a passive socket, one that waits for clients to accept(). backlog is\n"             \
    "how many finished connections may queue up for accept(); less than 0 counts as\n"             \
    "0, nothing means the smaller of SOMAXCONN and 128. See listen(2)."

#define DOC_SHUTDOWN                                                                               \
    "shutdown(how)\n\n"                                                                            \
    "End one direction or both of the connection itself, for every copy of the\n"                  \
    "descriptor in any process. SHUT_WR: the peer reads the rest and then b''; you can\n"          \
    "still receive. SHUT_RD: receiving ends. SHUT_RDWR: both. ENOTCONN when there is\n"            \
    "no connection. See shutdown(2)."

#define DOC_SETTIMEOUT                                                                             \
    "settimeout(timeout)\n\n"                                                                      \
    "Seconds (a float) that each blocking call may take; then it raises TimeoutError\n"            \
    "and the socket stays usable. None: wait as long as it takes. 0: never wait, raise\n"          \
    "BlockingIOError instead. Measured on the monotonic clock: setting the wall clock\n"           \
    "does not move it. ValueError when negative."

#define DOC_SETBLOCKING                                                                            \
    "setblocking(flag)\n\n"                                                                        \
    "setblocking(True) is settimeout(None): wait as long as it takes.\n"                           \
    "setblocking(False) is settimeout(0.0): never wait."

#define DOC_CLOSE                                                                                  \
    "close()\n\n"                                                                                  \
    "Close this end; calling it again does nothing. Afterwards fileno() is -1 and every\n"         \
    "operation raises OSError(EBADF), and so does each blocking call that another\n"               \
    "thread is in at that moment (the stdlib leaves it blocked). The connection ends\n"            \
    "when the last copy of the descriptor is closed: dup(), a child process, an open\n"            \
    "makefile() each keep one. See close(2)."

#define DOC_DETACH                                                                                 \
    "detach() -> file descriptor\n\n"                                                              \
    "Close the socket object without closing the descriptor, which is returned and is\n"           \
    "yours from now on: os.close(fd), or socket(fileno=fd) to make it a socket again."

#define DOC_RECV_EXACTLY                                                                           \
    "recv_exactly(n) -> bytes\n\n"                                                                 \
    "Receive exactly n bytes of a stream, in as many steps as it takes; the time-out\n"            \
    "is one for the whole call. Not in the stdlib.\n"                                              \
    "ipcx.PeerClosed (an EOFError and a ConnectionError) when the peer closes before,\n"           \
    "TimeoutError when the time-out passes; both carry the bytes already taken as\n"               \
    ".partial. ValueError when n is negative or the socket is no stream."

#define DOC_RECV_UNTIL                                                                             \
    "recv_until(delimiter, limit=65536) -> bytes\n\n"                                              \
    "Receive up to and including delimiter (bytes, at least one), and take nothing\n"              \
    "past it: the next call sees what follows. The time-out is one for the whole call.\n"          \
    "Not in the stdlib.\n"                                                                         \
    "ipcx.MessageTooLarge (a ValueError) when limit bytes hold no delimiter,\n"                    \
    "ipcx.PeerClosed when the peer closes before it, TimeoutError; each carries the\n"             \
    "bytes already taken as .partial."

#define DOC_SENDFILE_STEP                                                                          \
    "_sendfile_step(fd, offset, count) -> count\n\n"                                               \
    "One sendfile(2) of the file fd, with the socket's time-out; 0 at the file's end.\n"           \
    "What sendfile() is made of (ipcx/socket.py)."

#endif
