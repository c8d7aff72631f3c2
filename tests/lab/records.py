"""Records made by hand, for tests of what is drawn of them; and what there is in real ones."""

from ipcx.lab.model import Event, Message, Record


def record(script, sent=(), kind="stream", offsets=()):
    """A record of calls `(key, process, time, took, op, data or None, error)`.

    `sent`: (key of the send, key of the receive or None, data); `offsets` in its stream of each,
    else one behind the other.
    """
    rows = sorted(script, key=lambda row: row[2])
    lanes = list(dict.fromkeys(row[1] for row in rows))
    index = {row[0]: i for i, row in enumerate(rows)}
    counted = dict.fromkeys(lanes, 0)
    events = []
    for _, lane, time, took, op, data, error in rows:
        at = lanes.index(lane)
        events.append(
            Event(
                lane, 1000 + at, counted[lane], time, took, op, kind, f"127.0.0.1:{5000 + at}", "",
                "", None if data is None else len(data), (data or b"")[:256], error,
            )
        )  # fmt: skip
        counted[lane] += 1
    messages, behind = [], dict.fromkeys(lanes, 0)
    for at, (send, receive, data) in enumerate(sent):
        lane = events[index[send]].process
        offset = (offsets[at] if offsets else behind[lane]) if kind == "stream" else None
        behind[lane] += len(data)
        taker = None if receive is None else index[receive]
        messages.append(Message(index[send], taker, offset, len(data), data[:256]))
    return Record(lanes, events, messages)


def exchange():
    """A request and its answer over TCP."""
    return record(
        [
            ("connect", "client", 0.0011, 0.0001, "connect", None, ""),
            ("accept", "server", 0.0012, 0.0010, "accept", None, ""),
            ("ask", "client", 0.0020, 0.00002, "send", b"hello server", ""),
            ("heard", "server", 0.0021, 0.0009, "recv", b"hello server", ""),
            ("answer", "server", 0.0050, 0.00002, "send", b"HELLO", ""),
            ("got", "client", 0.0052, 0.0031, "recv", b"HELLO", ""),
            ("close", "client", 0.0053, 0, "close", None, ""),
            ("end", "server", 0.0056, 0.0004, "recv", b"", ""),
        ],
        [("ask", "heard", b"hello server"), ("answer", "got", b"HELLO")],
    )


def lossy(count=5, lost=(1, 3)):
    """Datagrams, some of which are lost; the last wait times out."""
    script, sent, time = [], [], 0.0
    for i in range(count):
        time += 0.004
        data = b"%d data" % i
        script.append((f"s{i}", "sender", time, 0.00001, "sendto", data, ""))
        if i in lost:
            sent.append((f"s{i}", None, data))
        else:
            script.append((f"r{i}", "receiver", time + 0.001, 0.003, "recvfrom", data, ""))
            sent.append((f"s{i}", f"r{i}", data))
    timed_out = "TimeoutError: timed out"
    script.append(("late", "receiver", time + 0.1, 0.09, "recvfrom", None, timed_out))
    return record(script, sent, "datagram")


def many(count, lanes=("sender", "receiver")):
    """So many messages, several on their way at once, from one of the lanes to the next."""
    script, sent = [], []
    for i in range(count):
        time, data = 0.0001 * (i + 1), b"message %d" % i
        start, end = lanes[i % len(lanes)], lanes[(i + 1) % len(lanes)]
        script.append((f"s{i}", start, time, 0.00001, "send", data, ""))
        script.append(
            (f"r{i}", end, time + 0.00005 + (i * 37 % 11) * 0.00003, 0.00003, "recv", data, "")
        )
        sent.append((f"s{i}", f"r{i}", data))
    return record(script, sent)


def moved(record):
    """Each message: who sent it, by what, who received it, by what, and its bytes."""
    out = []
    for m in record.messages:
        send = record.events[m.send]
        got = None if m.receive is None else record.events[m.receive]
        out.append((send.op, None if got is None else got.op, m.data))
    return out
