/* SPDX-License-Identifier: Apache-2.0
 * What help() says of the C side of ipcx.server: peers and a server's methods. Texts only. */
#ifndef IPCX_PY_SERVER_DOC_H
#define IPCX_PY_SERVER_DOC_H

#define DOC_PEER                                                                                   \
    "One client of a Server; the same object as long as it is connected.\n\n"                      \
    "`data` is the program's: whatever it wants to remember of this peer."

#define DOC_PEER_SEND                                                                              \
    "send($self, message, timeout=None)\n--\n\n"                                                   \
    "Send one message: str or anything with bytes. Returns whether it is on its way.\n\n"          \
    "What the peer does not take at once is queued, up to the server's max_backlog;\n"             \
    "then on_full decides. Only with on_full=\"block\" does it wait, up to timeout\n"              \
    "seconds (Timeout). False: the peer has gone, or goes now because it does not\n"               \
    "read or the message is over the limit that it named; or the message was dropped\n"            \
    "(on_full=\"drop_newest\"). A peer that goes raises nothing: the loop that serves\n"           \
    "the others goes on."

#define DOC_PEER_CLOSE                                                                             \
    "close($self)\n--\n\n"                                                                         \
    "Say goodbye: what is queued goes out first, and no message of its comes any more.\n\n"        \
    "Does not wait: the server sees to it whenever it is asked for messages."

#define DOC_PEER_STATS "stats($self)\n--\n\nWhat has passed between it and the server: a PeerStats."
#define DOC_PEER_ID "1, 2, 3 … in the order of their coming."
#define DOC_PEER_URL "Over TCP its own address, over a Unix socket the server's URL."
#define DOC_PEER_CLOSED "Whether it has left, or is leaving."
#define DOC_PEER_REASON                                                                            \
    "Why it was dropped, in words; None as long as it is there, and after a clean end."
#define DOC_PEER_PID "Over a Unix socket, the process that connected; else None."
#define DOC_PEER_UID "Over a Unix socket, its user; else None."
#define DOC_PEER_TLS                                                                               \
    "What TLS has agreed on for it (`ipcx.tls.Session`); None over other addresses."
#define DOC_PEER_DATA "The program's own; None at first."

#define DOC_SERVER "The core of ipcx.server.Server."

#define DOC_SERVER_RECEIVE                                                                         \
    "receive($self, timeout=None)\n--\n\n"                                                         \
    "The next message: (peer, message). Timeout, WouldBlock as of a Channel.\n\n"                  \
    "A client's send(sync=True) returns when its message is handed out here."

#define DOC_SERVER_RECEIVE_MANY                                                                    \
    "receive_many($self, max=256, timeout=None)\n--\n\n"                                           \
    "Wait for one message, then take what else is there: a list of (peer, message)."

#define DOC_SERVER_EVENT                                                                           \
    "_event($self, timeout=None)\n--\n\n"                                                          \
    "What happens next, joins and leaves among it: (kind, peer, message)."

#define DOC_SERVER_RECEIVE_NOW                                                                     \
    "_receive_now($self)\n--\n\nThe next (peer, message), or NotImplemented."

#define DOC_SERVER_BROADCAST                                                                       \
    "broadcast($self, message, except_=None)\n--\n\n"                                              \
    "Send to every peer, but `except_`; returns to how many.\n\n"                                  \
    "Never waits: a peer without room is treated as on_full says, and with \"block\"\n"            \
    "or \"error\" it is passed over and the message counted as dropped."

#define DOC_SERVER_CLOSE                                                                           \
    "close($self, timeout=5)\n--\n\n"                                                              \
    "Stop listening, send what is queued and a goodbye to every peer.\n\n"                         \
    "Loops and calls in other threads end. Timeout: closed all the same, and\n"                    \
    "exc.unsent messages were lost; timeout=0 drops them silently."

#define DOC_SERVER_FILENO                                                                          \
    "fileno($self)\n--\n\n"                                                                        \
    "Readable when receive(timeout=0) is worth a try: take until WouldBlock."

#define DOC_SERVER_STATS "stats($self)\n--\n\nWhat has come to it so far: a ServerStats."
#define DOC_SERVER_URLS "The real addresses, ports and paths filled in."
#define DOC_SERVER_URL "The first of them."
#define DOC_SERVER_PEERS "Who is connected now: a list."
#define DOC_SERVER_CLOSED "Whether close() was called."

#endif
