/* SPDX-License-Identifier: Apache-2.0
 * What help() says of ipcx.Channel, ipcx.Listener and their methods. Texts only. */
#ifndef IPCX_PY_CHAN_DOC_H
#define IPCX_PY_CHAN_DOC_H

#define DOC_CHANNEL                                                                                \
    "One end of a channel: whole messages, in order, to and from the other end.\n\n"               \
    "connect() and accept() make ends, pair() makes two that belong together. What\n"              \
    "went in by send() comes out by receive(): str as str, anything with bytes\n"                  \
    "(bytes, bytearray, memoryview, arrays) as bytes, and over inproc:// the object\n"             \
    "itself. Time-outs are in seconds: None waits as long as it takes, 0 polls.\n\n"               \
    "Any number of threads may use an end; close() ends their calls with Closed. An\n"             \
    "end belongs to the process that uses it first: another one, made by fork, gets\n"             \
    "ForkedError. Use it in a `with` block: unclosed, it is closed when it is\n"                   \
    "collected (with a ResourceWarning) or at exit, which waits 1 s for what it owes."

#define DOC_SEND                                                                                   \
    "send($self, msg, sync=False, timeout=None)\n--\n\n"                                           \
    "Send one message, whole: str or anything with bytes, which is not copied.\n\n"                \
    "Returns when the transport has taken it: the receiver may be busy still, or\n"                \
    "not have started. With sync=True it returns when the receiver has received it\n"              \
    "(a rendezvous). Over unix:// an unused end of another channel can be given away.\n\n"         \
    "Timeout, and WouldBlock with timeout=0, say in exc.begun what became of it:\n"                \
    "False: nothing was sent, try again. True: the channel has the rest, or a\n"                   \
    "message not yet received, and goes on with it by itself: do not send it again.\n"             \
    "PeerClosed and PeerDied: nobody is there to receive; exc.unreceived counts the\n"             \
    "messages lost where the transport can know. MessageTooLarge: nothing was sent."

#define DOC_RECEIVE                                                                                \
    "receive($self, timeout=None)\n--\n\n"                                                         \
    "The next message: bytes, str, or what else the transport carries.\n\n"                        \
    "timeout=0 polls: WouldBlock if there is none. A receive that timed out or was\n"              \
    "interrupted has lost nothing. PeerClosed: the peer has closed its end, and all\n"             \
    "it had sent was received; PeerDied: it hung up without saying so. `for msg in\n"              \
    "channel` ends at the first and raises the second. ProtocolError (exc.offset):\n"              \
    "the peer speaks something else, and the channel is of no more use."

#define DOC_POLL                                                                                   \
    "poll($self, timeout=0)\n--\n\n"                                                               \
    "Whether receive() would return or raise at once: a message is there, or the end.\n\n"         \
    "Waits up to timeout seconds for that; None: as long as it takes."

#define DOC_SEND_MANY                                                                              \
    "send_many($self, messages, timeout=None)\n--\n\n"                                             \
    "Send all of them in their order, many with one system call; returns how many.\n\n"            \
    "When it fails, exc.sent is how many are done with: go on with\n"                              \
    "messages[exc.sent:]. The last of those done with may be under way still; it goes\n"           \
    "out before anything else."

#define DOC_RECEIVE_MANY                                                                           \
    "receive_many($self, max=256, timeout=None)\n--\n\n"                                           \
    "Wait for one message, then take what else is there already: a list of at most max;\n"         \
    "fewer of long ones: none is added once they make 256 KiB together.\n\n"                       \
    "An end or an error behind the messages is told by the next call."

#define DOC_RECEIVE_INTO                                                                           \
    "receive_into($self, buffer, timeout=None)\n--\n\n"                                            \
    "The next message into a writable buffer of yours; returns its size in bytes.\n\n"             \
    "MessageTooLarge when it does not fit: it is not lost, receive() returns it. A\n"              \
    "text arrives as its UTF-8 bytes. What the buffer holds after an exception is\n"               \
    "not defined."

#define DOC_FLUSH                                                                                  \
    "flush($self, timeout=None)\n--\n\n"                                                           \
    "Wait until a begun message is sent, the rest of it, and a key is proven."

#define DOC_CLOSE                                                                                  \
    "close($self, timeout=5)\n--\n\n"                                                              \
    "Say goodbye and close; calling it again does nothing.\n\n"                                    \
    "What send() has begun is sent first. Timeout when that takes longer, with the\n"              \
    "number of messages lost in exc.unsent; the channel is closed all the same.\n"                 \
    "timeout=0 waits for nothing and says nothing. Calls of other threads that wait\n"             \
    "on this end raise Closed. Of an end that was never used here and may have been\n"             \
    "given to another process, only this process's copy is let go of."

#define DOC_FILENO                                                                                 \
    "fileno($self)\n--\n\n"                                                                        \
    "A descriptor for select, poll and selectors: readable when receive() would not\n"             \
    "wait, now and then without a reason (use receive(timeout=0)). The channel's own."

#define DOC_STATS                                                                                  \
    "stats($self)\n--\n\n"                                                                         \
    "What has passed through this end, as a named tuple: ChannelStats."

#define DOC_URL "What it was connected to or accepted from; the scheme alone for a pair's end."
#define DOC_MAX_MESSAGE "The longest message this end receives, in bytes."
#define DOC_UNPROVEN "Whether a send would wait for the peer's PROOF; poll() finishes it."
#define DOC_ANSWERS "How many acknowledgements and proofs were taken in, by whatever call."
#define DOC_CLOSED "Whether close() was called."

#define DOC_SEND_NOW                                                                               \
    "_send_now($self, msg, sync, sending, /)\n--\n\n"                                              \
    "Try to send without waiting. None: done. Else a token, to be given as `sending`\n"            \
    "when _send_fileno() is writable (sync: when fileno() is readable)."

#define DOC_RECEIVE_NOW                                                                            \
    "_receive_now($self, /)\n--\n\n"                                                               \
    "The next message, or NotImplemented if there is none without waiting."

#define DOC_SEND_FILENO                                                                            \
    "_send_fileno($self, /)\n--\n\n"                                                               \
    "A descriptor that is writable when a send is worth another try."

#define DOC_EXPORT                                                                                 \
    "_export($self, /)\n--\n\n"                                                                    \
    "(descriptors, note): what another process needs to make this unused end its own."

#define DOC_LISTENER                                                                               \
    "Waits for peers at an address; listen() makes it.\n\n"                                        \
    "`for channel in listener` accepts one after the other, until it is closed."

#define DOC_ACCEPT                                                                                 \
    "accept($self, timeout=None)\n--\n\n"                                                          \
    "Wait for the next peer and return a Channel to it.\n\n"                                       \
    "Its handshake is done by then; who is silent for handshake_timeout seconds, or\n"             \
    "speaks something else, keeps nobody waiting and is dropped (stats() counts)."

#define DOC_LISTENER_CLOSE                                                                         \
    "close($self)\n--\n\n"                                                                         \
    "Stop listening; calling it again does nothing.\n\n"                                           \
    "Channels that were accepted live on. accept() in another thread raises Closed,\n"             \
    "iteration ends. A path that listen() made is removed."

#define DOC_LISTENER_FILENO                                                                        \
    "fileno($self)\n--\n\n"                                                                        \
    "A descriptor that is readable when accept(timeout=0) is worth a try."

#define DOC_LISTENER_STATS                                                                         \
    "stats($self)\n--\n\n"                                                                         \
    "Peers accepted, dropped and in their handshake, as a named tuple: ListenerStats."

#define DOC_LISTENER_URL "Where it listens, port or path filled in: what connect() takes."

#define DOC_CONNECT                                                                                \
    "(url, timeout, max_message, checksum, authkey, allow_uids, trust, ring,\n"                    \
    "vanish_timeout, make): the core of ipcx.connect()."
#define DOC_LISTEN                                                                                 \
    "(url, max_message, checksum, handshake_timeout, backlog, insecure, capacity, copy,\n"         \
    "authkey, allow_uids, trust, max_segment, vanish_timeout, make): of ipcx.listen()."
#define DOC_PAIR                                                                                   \
    "(url, max_message, checksum, capacity, copy, trust, ring, make): the core of ipcx.pair()."
#define DOC_IMPORT                                                                                 \
    "(descriptors, note): the end that Channel._export() described; takes the descriptors."
#define DOC_SET_STATS "(ChannelStats, ListenerStats): what stats() makes."
#define DOC_SET_TLS "(judge, SSLError, SSLWantReadError, Session): what ipcx.tls gives the core."
#define DOC_TLS "What TLS has agreed on, an ipcx.tls.Session; None where it does not encrypt."
#define DOC_EXIT                                                                                   \
    "Closes every listener and every channel in use, within so many seconds; at exit only."

#endif
