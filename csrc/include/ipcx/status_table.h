/* SPDX-License-Identifier: Apache-2.0
 * The one table of outcomes: the enum, the texts, the Python exceptions, the stub, `ipcx explain`
 * and the documentation's table are all made from it, and tests/test_status.py walks it.
 *
 * Columns: X(NAME, value, exception, bases, text)
 *   NAME       IPCX_<NAME> in C
 *   value      0 done; > 0 an ordinary answer (free, no text filled in); < 0 a failure
 *   exception  the Python exception's name, "" where no exception stands for it
 *   bases      its bases, separated by blanks: the standard library's or those of earlier rows;
 *              every exception made here derives from Error. "" where `exception` is itself one
 *              of Python's own
 *   text       what happened, one line
 * What an outcome means to a person (causes, cure, errno, a program) is in explain_table.h.
 * New rows are appended to their block; a value is never used again. */
#ifndef IPCX_STATUS_TABLE_H
#define IPCX_STATUS_TABLE_H

#define IPCX_STATUS_TABLE(X)                                                                       \
    X(OK, 0, "", "", "done")                                                                       \
    X(TIMEOUT, 4, "Timeout", "Error TimeoutError", "the deadline passed")                          \
    X(AGAIN, 1, "WouldBlock", "Timeout BlockingIOError", "nothing there yet, or no room yet")      \
    X(MORE, 2, "", "", "more bytes are needed")                                                    \
    X(EOF, 3, "", "", "the peer has closed its end")                                               \
    X(INTR, 5, "", "", "a signal arrived; call again with the same deadline")                      \
    X(INVALID, -1, "ValueError", "", "an argument is not acceptable")                              \
    X(NOMEM, -2, "MemoryError", "", "no memory")                                                   \
    X(SYSTEM, -3, "OSError", "", "a system call failed")                                           \
    X(REFUSED, -4, "ConnectRefused", "Error ConnectionRefusedError", "nobody listens there")       \
    X(ADDRESS_IN_USE, -5, "AddressInUse", "Error OSError", "the address is taken")                 \
    X(PEER_CLOSED, -6, "PeerClosed", "Error ConnectionError EOFError", "the peer closed its end")  \
    X(CLOSED, -7, "Closed", "Error ValueError", "used after close")                                \
    X(PROTOCOL, -8, "ProtocolError", "Error ValueError", "the peer broke the protocol")            \
    X(TOO_LARGE, -9, "MessageTooLarge", "Error ValueError", "over the limit")                      \
    X(EXHAUSTED, -10, "ResourceExhausted", "Error OSError", "a resource of the system is used up") \
    X(RESOLVE, -11, "socket.gaierror", "", "the host name cannot be resolved")                     \
    X(UNSUPPORTED, -12, "Unsupported", "Error io.UnsupportedOperation", "not possible here")       \
    X(VERSION, -13, "VersionMismatch", "ProtocolError", "the peer speaks another version")         \
    X(CORRUPT, -14, "CorruptData", "ProtocolError", "the data were changed on the way")            \
    X(PEER_DIED, -15, "PeerDied", "PeerClosed", "the peer died without goodbye")                   \
    X(FORKED, -16, "ForkedError", "Error RuntimeError", "another process owns this end")           \
    X(INVALID_URL, -17, "InvalidURL", "Error ValueError", "that is no address of a channel")       \
    X(AUTH, -18, "AuthError", "Error PermissionError", "the peer is not who it should be")         \
    X(INSECURE, -19, "InsecureAddress", "Error PermissionError", "open to the network")            \
    X(DEADLOCK, -20, "Deadlock", "Error RuntimeError", "it would wait for ever")                   \
    X(NOT_OWNER, -21, "NotOwner", "Error RuntimeError", "that is not yours to release")            \
    X(BROKEN, -22, "BrokenBarrier", "Error RuntimeError", "the barrier is broken")

#endif
